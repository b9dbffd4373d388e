"""documents.db: versions that never come back, tombstones, transactions, what a generation's state may become."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time

import pytest

from searchapi.engines.embedded import EmbeddedEngine, generation, sqlite
from searchapi.engines.embedded import indexer as indexer_module
from searchapi.engines.embedded.indexer import Indexer
from searchapi.engines.embedded.sqlite import Connections, connect
from searchapi.engines.embedded.store import Store
from searchapi.engines.embedded.system import SystemDatabase
from searchapi.exceptions import DocumentNotFound, EngineUnavailable, Invalid, VersionConflict
from searchapi.model import Compare, Field, IndexSettings, Operation, Query


@pytest.fixture
def system(tmp_path) -> SystemDatabase:
    return SystemDatabase(tmp_path)


@pytest.fixture
def store(system) -> Store:
    """An index's store, registered so that an indexer finds it."""
    folder = system.folder("u1")
    Store.create(folder, IndexSettings())
    system.register("books", "u1")
    return Store(folder, Connections())


@pytest.fixture
def indexer(store, system):
    indexer = Indexer(system.data_dir)
    yield indexer
    indexer.close()


def put(id: str, version: int | None = None, **fields) -> Operation:
    return Operation("put", id, {"id": id, **fields}, version=version)


def write(store: Store, *operations: Operation) -> int:
    """Write what must be accepted; answers the seq."""
    result = store.write(operations)
    assert [outcome.error for outcome in result.outcomes] == [None] * len(operations)
    return result.seq


def settle(indexer: Indexer) -> None:
    for _ in range(100):
        if not indexer.step():
            return
    raise AssertionError("the indexer never came to rest")


def live_seq(store: Store) -> int:
    return generation.read_reached(store.folder / store.state().one("live").name).seq


# ---------------------------------------------------------------------------------------------------------- versions


def test_a_version_never_comes_back(store):
    """Deleted, forgotten and made again, a document has a version that it never had, so no old ETag fits it."""
    write(store, put("a"), put("a"), put("b"))
    seen = {1, 2, 3}
    for _ in range(3):
        write(store, Operation("delete", "a"))
        store.prune(store.newest_seq())
        write(store, put("a"))
        version = store.get("a").version
        assert version > max(seen)
        seen.add(version)


def test_a_given_version_keeps_later_ones_above_it(store):
    """A restored version is kept, and whatever is written afterwards is above it, whichever document it is."""
    assert write(store, put("a", version=500)) == 500
    assert store.get("a").version == 500
    assert write(store, put("b")) == 501
    assert store.get("b").version == 501
    write(store, put("c", version=7))
    assert store.get("c").version == 7
    assert write(store, put("a")) > 502


def test_a_given_version_is_reached_by_the_index(store, indexer):
    """Who waits for the seq of a restored version does not wait for ever."""
    seq = write(store, put("a", version=500))
    settle(indexer)
    assert live_seq(store) == seq == 500


def test_conditions_speak_of_the_document_that_is_there(store):
    """If-Match of a deleted document's version fails, and If-None-Match holds once it is deleted."""
    write(store, put("a"))
    write(store, Operation("delete", "a"))
    refused = store.write([Operation("put", "a", {"id": "a"}, if_match=1)]).outcomes[0].error
    assert isinstance(refused, VersionConflict)
    assert store.write([Operation("put", "a", {"id": "a"}, if_none_match=True)]).outcomes[0].created


# ------------------------------------------------------------------------------------------------------ transactions


def test_a_batch_is_all_or_nothing(store, monkeypatch):
    """An error that is not a document's own rolls the whole batch back: documents, counters and new fields."""
    write(store, put("a"))
    before = store.state()
    with monkeypatch.context() as patched:
        patched.setattr("searchapi.engines.embedded.store.save_fields", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.write([put("b", colour="red"), put("c")])
    assert [d.id for d in store.scan(None, None)] == ["a"]
    assert store.counters()["documents"] == 1
    assert store.state() == before
    assert store.newest_seq() == 1


def test_a_refused_document_leaves_the_others(store):
    """Each operation is wholly applied or not at all, and the count of documents follows."""
    result = store.write([put("a", n=1), put("b", n="many"), Operation("delete", "nowhere"), put("c", n=2)])
    assert [type(o.error) for o in result.outcomes] == [type(None), Invalid, DocumentNotFound, type(None)]
    assert store.counters()["documents"] == 2
    assert [d.id for d in store.scan(None, None)] == ["a", "c"]


def test_a_busy_writer_is_waited_for(store):
    """A write that meets another one waits for it and then goes on."""
    with contextlib.closing(connect(store.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.3, lambda: other.execute("ROLLBACK"))
        timer.start()
        write(store, put("a"))
        timer.join()
    assert store.get("a").version == 1


def test_a_writer_busy_for_too_long_is_ours_to_say(store, monkeypatch):
    """Where another holds the file too long the error is ours and says so; nothing was written, and reading goes on."""
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT", 0.1)
    with contextlib.closing(connect(store.path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(EngineUnavailable) as caught:
            store.write([put("a")])
        assert caught.value.code == "store_busy"
        with pytest.raises(DocumentNotFound):
            store.get("a")
        other.execute("ROLLBACK")
    write(store, put("a"))


def test_a_damaged_file_is_ours_to_say(tmp_path):
    """A documents.db that is no database is an error of ours, with what to do."""
    folder = tmp_path / "index"
    folder.mkdir()
    (folder / "documents.db").write_bytes(b"no database at all, but long enough to be read as one" * 100)
    with pytest.raises(EngineUnavailable) as caught:
        Store(folder, Connections()).get("a")
    assert caught.value.code == "store_damaged"
    assert "backup" in caught.value.detail


def test_what_was_seen_is_never_taken_for_another_connections(store):
    """After its connection was closed for another's sake a store sees what was written meanwhile, whatever the new one counts."""
    connections = Connections()
    reader = Store(store.folder, connections)
    reader.state()
    for n in range(5):
        connections.drop(reader.path)
        write(store, put("a", **{f"field{n}": n}))
        assert f"field{n}" in reader.state().fields
    assert isinstance(reader.connection, sqlite3.Connection)


# -------------------------------------------------------------------------------------------------------- tombstones


def test_tombstones_stay_until_every_kept_generation_has_passed_them(store, indexer):
    """A generation that has not seen the delete keeps its tombstone; once it has, the tombstone goes."""
    write(store, put("a"), put("b"))
    settle(indexer)
    settle(indexer)
    seq = write(store, Operation("delete", "a"))
    indexer._prune(indexer._stores["u1"])
    assert store.has_tombstones(seq)
    settle(indexer)
    indexer._prune(indexer._stores["u1"])
    assert not store.has_tombstones(seq)
    assert store.counters()["pruned_seq"] == seq


def test_another_formats_generation_keeps_tombstones(store, indexer, system, monkeypatch):
    """Two releases side by side: what one has indexed stays until the other has."""
    write(store, put("a"))
    settle(indexer)
    monkeypatch.setattr(generation, "FORMAT", "other")
    second = Indexer(system.data_dir)
    settle(second)
    second.close()
    monkeypatch.undo()
    seq = write(store, Operation("delete", "a"))
    settle(indexer)
    indexer._prune(indexer._stores["u1"])
    assert store.has_tombstones(seq)


def test_an_index_is_rebuilt_after_its_newest_writes_were_pruned(store, indexer):
    """The last seq may belong to a tombstone that is gone: a new generation still comes to be the live one."""
    write(store, put("a"), put("b"))
    settle(indexer)
    seq = write(store, Operation("delete", "b"))
    settle(indexer)
    indexer._prune(indexer._stores["u1"])
    old = store.state().one("live").name
    store.start_rebuild()
    settle(indexer)
    assert store.state().one("live").name != old
    assert live_seq(store) == seq


# ------------------------------------------------------------------------------------------------------- generations


def test_a_generation_given_up_does_not_become_live(store, indexer):
    """Settings that change just before a switch begin another generation; the one that answers goes on until that is ready."""
    write(store, put("a"))
    settle(indexer)
    old = store.state().one("live").name
    store.start_rebuild()
    given_up = store.state().one("building").name
    store.start_rebuild()
    assert not store.set_generation(given_up, "live")
    assert store.state().one("live").name == old


def test_fields_that_come_while_a_batch_is_indexed_are_indexed(store, indexer, monkeypatch):
    """A document with a new field, written between the indexer's looks at the fields and at the documents, is found by it."""
    write(store, put("a"))
    settle(indexer)
    write(store, put("b"))
    checked = indexer._checked

    def and_then_a_write(of: Store):
        state = checked(of)
        monkeypatch.setattr(indexer, "_checked", checked)
        writer = Store(store.folder, Connections())
        write(writer, put("c", colour="red"))
        return state

    monkeypatch.setattr(indexer, "_checked", and_then_a_write)
    settle(indexer)
    engine = EmbeddedEngine(indexer.data_dir)
    assert [hit.id for hit in engine.search("books", Query(filter=Compare("colour", "=", "red"))).hits] == ["c"]
    engine.close()


def test_fields_of_another_release_are_indexed(store, indexer, system, monkeypatch):
    """A field that a release of another format has added is found by this one too."""
    write(store, put("a"))
    settle(indexer)
    with monkeypatch.context() as patched:
        patched.setattr(generation, "FORMAT", "other")
        write(Store(store.folder, Connections()), put("b", colour="red"))
    settle(indexer)
    settle(indexer)
    write(store, put("c", colour="red"))
    settle(indexer)
    engine = EmbeddedEngine(indexer.data_dir)
    assert [hit.id for hit in engine.search("books", Query(filter=Compare("colour", "=", "red"))).hits] == ["b", "c"]
    engine.close()


def test_settings_tell_beforehand_whether_they_need_a_rebuild(store, indexer):
    """A dry run changes nothing; a boost needs no rebuild, a language does."""
    write(store, put("a", title="words"))
    settle(indexer)
    boosted = IndexSettings(fields={"title": Field("title", "text", boost=3.0)})
    assert store.put_settings(boosted, dry_run=True)[1] is False
    german = IndexSettings(language="german")
    assert store.put_settings(german, dry_run=True)[1] is True
    assert store.state().settings == IndexSettings()


def test_many_idle_indexes_are_left_alone(system):
    """More indexes than there are connections: once all is indexed, a pass opens none of them, and a write to any is seen."""
    stores = []
    for n in range(sqlite.CONNECTIONS + 4):
        Store.create(system.folder(f"u{n}"), IndexSettings())
        system.register(f"books{n}", f"u{n}")
        stores.append(Store(system.folder(f"u{n}"), Connections()))
    indexer = Indexer(system.data_dir)
    settle(indexer)
    for _ in range(50):  # a connection that is closed tidies its file up, which is looked at once more
        time.sleep(2 * indexer_module.SETTLED)
        indexer._housekept = time.monotonic()  # housekeeping looks at all of them
        opened = set(indexer.connections.open.values())
        assert not indexer.step()
        if set(indexer.connections.open.values()) == opened:
            break
    else:
        raise AssertionError("indexes without writes are opened again and again")
    for store in stores:
        seq = write(store, put("a"))
        settle(indexer)
        assert live_seq(store) == seq
    indexer.close()


def test_connections_are_as_many_as_are_used_at_once(tmp_path):
    """Many threads, one after the other, share one; what one has read is known to the next; what another wrote is seen."""
    Store.create(tmp_path / "a", IndexSettings())
    connections, seen = Connections(), []
    store, other = Store(tmp_path / "a", connections), Store(tmp_path / "a", Connections())

    def work() -> None:
        seen.append((store.connection.serial, store.state()))
        connections.rest()
        assert not connections.open

    for n in range(10):
        if n == 5:
            write(other, put("a", colour="red"))
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert len({serial for serial, _ in seen}) == 1
    assert [state is seen[0][1] for _, state in seen] == [True] * 5 + [False] * 5
    assert "colour" in seen[5][1].fields and seen[5][1] is seen[9][1]


def test_connections_at_once(tmp_path):
    """Two threads at the same time never have the same one; those that rest are bounded, and are closed with the rest."""
    Store.create(tmp_path / "a", IndexSettings())
    connections, barrier, held = Connections(), threading.Barrier(sqlite.RESTING + 3), []
    store = Store(tmp_path / "a", connections)

    def work() -> None:
        held.append(store.connection)
        barrier.wait()
        assert store.newest_seq() == 0
        connections.rest()

    threads = [threading.Thread(target=work) for _ in range(sqlite.RESTING + 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({id(connection) for connection in held}) == len(held)
    assert connections._count == sqlite.RESTING
    connections.drop(store.path)
    assert connections._count == 0 and not connections._resting
    for connection in held:
        with pytest.raises(sqlite3.ProgrammingError):
            connection.execute("SELECT 1")
    assert store.newest_seq() == 0
    connections.close()
