"""Idempotency records in SQLite: files of older releases, read-only disks, forgetting in bounded steps, what a record weighs."""

from __future__ import annotations

import contextlib
import sqlite3
import time

import pytest

from searchapi import exceptions
from searchapi.config import Settings
from searchapi.engines.embedded import EmbeddedEngine
from searchapi.engines.embedded import indexer as indexer_module
from searchapi.engines.embedded import once as records
from searchapi.engines.embedded.indexer import Indexer
from searchapi.engines.once import packed, unpacked
from searchapi.exceptions import EngineUnavailable, Fault, Invalid, VersionConflict
from searchapi.model import IndexSettings, Once, Operation, Outcome, WriteResult

HOUR = 3_600_000  # milliseconds


@pytest.fixture
def engine(tmp_path):
    engine = EmbeddedEngine(tmp_path)
    engine.create_index("books", IndexSettings())
    yield engine
    engine.close()


def put(id: str) -> list[Operation]:
    return [Operation("put", id, {"id": id})]


def store(engine: EmbeddedEngine):
    return engine._store("books")


def tables(path) -> set[str]:
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        return {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}


def count(engine: EmbeddedEngine) -> int:
    return store(engine).connection.execute("SELECT count(*) FROM once").fetchone()[0]


def test_files_without_the_tables(engine, tmp_path):
    """A file of an older release has no table of records: it is made by the first write that needs it, by nothing else."""
    documents, system = store(engine).path, tmp_path / "system.db"
    engine.write("books", put("a"))
    assert store(engine).prune_once(0) == engine.system.prune_claims(0) == 0
    assert "once" not in tables(documents) and "claims" not in tables(system)
    engine.write("books", put("b"), Once("key", b"x"))
    engine.system.claim(Once("key", b"x"), "holder")
    assert "once" in tables(documents) and "claims" in tables(system)


def test_a_disk_that_is_read_only(engine, tmp_path):
    """Nothing is made there: what only reads goes on as it did, and a write is refused like any other."""
    engine.write("books", put("a"))
    for path in (store(engine).path, tmp_path / "system.db"):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    engine.connections.close()
    for connection in (store(engine).connection, engine.connections.get(engine.system.path)):
        connection.execute("PRAGMA query_only = ON")  # SQLITE_READONLY, as such a disk answers; chmod does not stop root
    assert engine.get("books", "a").id == "a"
    assert store(engine).prune_once(2**60) == engine.system.prune_claims(2**60) == 0
    for write in (
        lambda: engine.write("books", put("b"), Once("key", b"x")),
        lambda: engine.system.claim(Once("key", b"x"), "holder"),
    ):
        with pytest.raises(EngineUnavailable) as caught:
            write()
        assert caught.value.code == "store_unwritable"


def test_a_write_that_fails_leaves_no_record(engine, monkeypatch):
    """The record and the write are one transaction: a crash before its end has neither."""
    with monkeypatch.context() as patch:
        patch.setattr(records, "record", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            engine.write("books", put("a"), Once("key", b"x"))
    result = engine.write("books", put("a"), Once("key", b"x"))
    assert not result.replayed and result.outcomes[0].created and result.seq == 1


def test_forgetting_is_bounded(engine, monkeypatch):
    """The oldest first, so many in one transaction; what is younger stays."""
    monkeypatch.setattr(records, "PRUNED", 4)
    now = int(time.time() * 1000)
    for n in range(10):
        monkeypatch.setattr(records, "now_ms", lambda n=n: now - (10 - n) * HOUR)
        engine.write("books", put(f"d{n}"), Once(f"key-{n}", b"x"))
    assert [store(engine).prune_once(now - 3 * HOUR) for _ in range(4)] == [4, 3, 0, 0]
    assert count(engine) == 3
    assert engine.write("books", put("d7"), Once("key-7", b"x")).replayed
    assert not engine.write("books", put("d6"), Once("key-6", b"x")).replayed


def test_the_indexer_forgets(engine, tmp_path, monkeypatch):
    """After IDEMPOTENCY_HOURS, for documents and for other requests, and not before."""
    now = int(time.time() * 1000)
    for name, hours in (("old", 3), ("young", 1)):
        monkeypatch.setattr(records, "now_ms", lambda hours=hours: now - hours * HOUR)
        engine.write("books", put(name), Once(name, b"x"))
        engine.system.claim(Once(name, b"x"), "holder")
        engine.system.finish(name, "holder", b"answer")
    monkeypatch.undo()
    monkeypatch.setattr(indexer_module, "HOUSEKEEPING", 0.0)
    indexer = Indexer(tmp_path, idempotency_hours=2)
    try:
        indexer.step()
    finally:
        indexer.close()
    assert engine.write("books", put("young"), Once("young", b"x")).replayed
    assert engine.system.claim(Once("young", b"x"), "other") == b"answer"
    assert not engine.write("books", put("old"), Once("old", b"x")).replayed
    assert engine.system.claim(Once("old", b"x"), "other") is None


def test_as_long_as_the_setting_says():
    """The setting's default is the indexer's own."""
    assert Indexer.__init__.__defaults__ == (Settings().idempotency_hours,)


def kinds(kind=exceptions.SearchAPIError):
    if kind.__module__ == exceptions.__name__:  # an engine has kinds of its own, which no outcome holds
        yield kind
    for child in kind.__subclasses__():
        yield from kinds(child)


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
def test_refusals_come_back_whole(kind):
    """Whatever refused an operation: its kind, code, words and faults."""
    error = kind.__new__(kind)
    exceptions.SearchAPIError.__init__(error, "Why not.", code="a_code", errors=(Fault("/a", "code", "detail"),))
    found = unpacked(packed(WriteResult(7, (Outcome(3, "x", error=error),))), [Operation("put", "x", {}, 3)])
    back = found.outcomes[0].error
    assert (type(back), back.code, back.detail, back.errors) == (kind, error.code, error.detail, error.errors)
    assert (found.seq, found.replayed, found.outcomes[0].position, found.outcomes[0].id) == (7, True, 3, "x")


def test_refusals_of_a_newer_release():
    """A kind that is not known here is a conflict."""
    error = VersionConflict("no")
    record = packed(WriteResult(7, (Outcome(0, "x", error=error),))).replace(b"VersionConflict", b"OfTheFuture")
    assert type(unpacked(record, [Operation("put", "x")]).outcomes[0].error) is exceptions.Conflict


def test_what_a_record_weighs(engine):
    """Printed: bytes that the file grows by for each key, one document and in a batch of a thousand; the bounds are generous."""
    path, sizes = store(engine).path, {}

    def size() -> int:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return path.stat().st_size

    batch = [Operation("put", f"{n}", {"id": f"{n}"}, n) for n in range(1000)]
    detail = "year: expected a whole number, got a string, 'number {}', in a document whose other fields are as they should be."
    errors = [Invalid.at("/year", "field_type", detail.format(n)) for n in range(1000)]
    for name, operations, rounds in (("one", put("a"), 2000), ("batch of 1000", batch, 20), ("refused 1000", batch, 20)):
        engine.write("books", operations, Once(f"{name} first", b"x" * 16))
        before = size()
        with store(engine)._writing() as connection:
            refused = name.startswith("refused")
            outcomes = (
                Outcome(o.position, o.id, 10**6 + n, error=errors[n] if refused else None) for n, o in enumerate(operations)
            )
            result = packed(WriteResult(10**6, tuple(outcomes)))
            for n in range(rounds):
                once = Once(f"Ai3mOoFq2JxT:8e03978e-40d5-43dd-bc93-{name[:3]}{n:09}/0", b"x" * 16)
                records.record(connection, once, result)
        sizes[name] = (size() - before) / rounds
    print({name: round(value) for name, value in sizes.items()})
    assert sizes["one"] < 400 and sizes["batch of 1000"] < 20_000 and sizes["refused 1000"] < 50_000


@pytest.mark.parametrize("count", [1, 500])
def test_what_a_fault_says_is_kept(count):
    """Whatever characters are in it, in short records and in long ones."""
    operations = [Operation("put", f"{n}", {"n": "x"}, n) for n in range(count)]
    error = Invalid.at("/n", "field_type", 'Expected "a number", got \u2028é\U0001f600.')
    record = packed(WriteResult(0, tuple(Outcome(o.position, o.id, error=error) for o in operations)))
    assert len(record) < 5000
    for outcome, operation in zip(unpacked(record, operations).outcomes, operations, strict=True):
        assert (outcome.id, outcome.position, outcome.error.errors) == (operation.id, operation.position, error.errors)
