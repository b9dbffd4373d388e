"""What is done once: writes of documents by the engine, other requests by claims in the system store."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from searchapi import writes
from searchapi.exceptions import DocumentNotFound, IdempotencyReused, IdempotencyUnfinished, Invalid, VersionConflict
from searchapi.model import Field, IndexSettings, Once, Operation
from searchapi.writes import write_batch

_keys = itertools.count()


def new(fingerprint: bytes = b"same") -> Once:
    """A key that was never seen."""
    return Once(f"key-{next(_keys)}", fingerprint)


def put(id: str, position: int = 0, **fields: Any) -> Operation:
    return Operation("put", id, {"id": id, **fields}, position)


def at_once(count: int, do: Callable[[], Any]) -> list[Any]:
    """What each of so many threads was answered, or what it raised."""
    barrier, answers = threading.Barrier(count), []

    def run() -> None:
        barrier.wait()
        try:
            answers.append(do())
        except Exception as error:
            answers.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def told(outcome) -> tuple:
    """An outcome as it can be compared."""
    error = outcome.error
    said = error and (type(error), error.code, error.detail, error.errors)
    return outcome.position, outcome.id, outcome.version, outcome.created, said


# -------------------------------------------------------------------------------------------------------- documents


@pytest.fixture(scope="module")
def index(harness):
    return harness.new_index(IndexSettings(fields={"n": Field("n", "integer")}))


def test_a_replay_writes_nothing(harness, index):
    """The same again answers the same and leaves no trace, whatever became of the document meanwhile."""
    once, engine = new(), harness.engine
    first = engine.write(index, [put("replay", n=1)], once)
    assert not first.replayed and first.outcomes[0].created
    second = engine.write(index, [put("replay", n=2)])
    again = engine.write(index, [put("replay", n=1)], once)
    assert again.replayed and again.seq == first.seq
    assert [told(o) for o in again.outcomes] == [told(o) for o in first.outcomes]
    assert engine.get(index, "replay").version == second.outcomes[0].version
    assert engine.write(index, [put("after", n=1)]).seq == second.seq + 1
    assert engine.wait(index, again.seq, 30)


def test_every_outcome_is_kept(harness, index):
    """Of many operations each has the outcome it had: created, replaced, deleted, refused, with every word of the refusal."""
    engine, once = harness.engine, new()
    version = engine.write(index, [put("old", n=1)]).outcomes[0].version
    operations = [
        put("many-1", 0, n=1),
        put("old", 1, n=2),
        put("many-2", 2, n="no number"),
        Operation("patch", "absent", {"n": 1}, 3),
        Operation("delete", "many-1", position=4),
        Operation("put", "old", {"id": "old"}, 5, if_match=version),
        Operation("put", "old", {"id": "old"}, 6, if_none_match=True),
        Operation("delete", "absent", position=7, if_match="*"),
    ]
    first = engine.write(index, operations, once)
    assert [type(o.error) for o in first.outcomes] == [
        *[type(None)] * 2,
        Invalid,
        DocumentNotFound,
        type(None),
        *[VersionConflict] * 3,
    ]
    again = engine.write(index, operations, once)
    assert [told(o) for o in again.outcomes] == [told(o) for o in first.outcomes]
    assert (again.seq, again.replayed) == (first.seq, True)


def test_another_write_under_the_same_key(harness, index):
    """It is refused, and nothing of it is written."""
    once, engine = new(), harness.engine
    engine.write(index, [put("mine", n=1)], once)
    with pytest.raises(IdempotencyReused):
        engine.write(index, [put("other", n=1)], Once(once.key, b"other"))
    with pytest.raises(DocumentNotFound):
        engine.get(index, "other")


def test_a_refusal_is_kept_too(harness, index):
    """What a condition decided is not decided anew: the answer to the first is the answer."""
    once, engine = new(), harness.engine
    create = Operation("put", "guarded", {"id": "guarded"}, if_none_match=True)
    engine.write(index, [put("guarded", n=1)])
    assert isinstance(engine.write(index, [create], once).outcomes[0].error, VersionConflict)
    engine.write(index, [Operation("delete", "guarded")])
    assert isinstance(engine.write(index, [create], once).outcomes[0].error, VersionConflict)
    with pytest.raises(DocumentNotFound):
        engine.get(index, "guarded")


def test_many_at_once(harness, index):
    """Eight at the same moment: one is done, the others are told what became of it."""
    once, engine = new(), harness.engine
    before = engine.write(index, [put("counted", n=0)]).seq
    answers = at_once(8, lambda: engine.write(index, [Operation("patch", "counted", {"n": 1})], once))
    assert {answer.seq for answer in answers} == {before + 1}
    assert {answer.outcomes[0].version for answer in answers} == {engine.get(index, "counted").version}
    assert sorted(answer.replayed for answer in answers) == [False] + [True] * 7


def test_keys_belong_to_an_index(harness, index):
    """The record is kept with the documents: in another index the key is new."""
    once, engine = new(), harness.engine
    other = harness.new_index()
    assert not engine.write(index, [put("x")], once).replayed
    assert not engine.write(other, [put("x")], once).replayed


def test_any_version(harness, index):
    """`*` asks for a document, of whatever version."""
    missing, _, there = harness.engine.write(
        index, [Operation("delete", "any", if_match="*"), put("any", 1), Operation("put", "any", {"id": "any"}, 2, if_match="*")]
    ).outcomes
    assert isinstance(missing.error, VersionConflict) and there.error is None


# ---------------------------------------------------------------------------------------------------------- batches


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(writes, "CHUNK_OPERATIONS", 4)


def documents(count: int, first: int = 0) -> list[tuple[int, dict[str, Any]]]:
    return [(n, {"id": f"b{first + n}", "n": n}) for n in range(count)]


def told_batch(batch) -> tuple:
    return batch.accepted, batch.refused, batch.seq, batch.errors


def test_a_batch_that_was_cut_off(harness, small_chunks):
    """Sent again, its chunks that were done are replayed and the rest is written: as if it had never been cut off."""
    engine, once, name = harness.engine, new(), harness.new_index(IndexSettings(fields={"n": Field("n", "integer")}))
    items = documents(11)
    items[1] = (1, {"id": "b1", "n": "no number"})
    items[6] = (6, {"no": "id"})

    def cut_off():
        yield from items[:10]
        raise ConnectionError

    with pytest.raises(ConnectionError):
        write_batch(engine, name, "put", cut_off(), "id", once=once)
    reached = engine.get(name, "b4").version
    whole = write_batch(engine, name, "put", iter(items), "id", once=once)
    assert (whole.accepted, whole.refused, whole.replayed) == (9, 2, False)
    assert engine.get(name, "b4").version == reached and whole.seq == 9
    again = write_batch(engine, name, "put", iter(items), "id", once=once)
    assert told_batch(again) == told_batch(whole) and again.replayed
    uncut = write_batch(engine, harness.new_index(IndexSettings(fields={"n": Field("n", "integer")})), "put", iter(items), "id")
    assert told_batch(uncut) == told_batch(whole)


@pytest.mark.parametrize("count", [1, 4, 7, 8])
@pytest.mark.parametrize("other", [1, 3, 4, 5, 7, 8, 9, 12])
def test_the_end_of_a_batch(harness, small_chunks, count, other):
    """Neither a shorter nor a longer one is taken for the same, wherever its chunks end, and nothing of it is written."""
    if count == other:
        return
    engine, once, name = harness.engine, new(), harness.new_index()
    seq = write_batch(engine, name, "put", documents(count), "id", once=once).seq
    with pytest.raises(IdempotencyReused):
        write_batch(engine, name, "put", documents(other), "id", once=once)
    assert engine.write(name, []).seq == seq


def test_what_follows_the_last_document(harness, small_chunks):
    """Documents that could not be read belong to the request, also at its end."""
    engine, once, name = harness.engine, new(), harness.new_index()
    write_batch(engine, name, "put", [*documents(2), (2, {})], "id", once=once)
    with pytest.raises(IdempotencyReused):
        write_batch(engine, name, "put", documents(2), "id", once=once)
    assert write_batch(engine, name, "put", [*documents(2), (2, {})], "id", once=once).replayed


@pytest.mark.parametrize("change", [lambda o: ("patch", o.id, o.document), lambda o: (o.kind, "x", o.document)])
def test_fingerprints(change):
    """Every part of an operation counts; spaces and the like in what was sent do not, for they are not in it."""
    operation, once = put("a", n=1), new()
    other = Operation(*change(operation))
    assert writes.part(once, 0, [operation], 1) == writes.part(once, 0, [put("a", n=1)], 1)
    parts = [
        writes.part(once, 0, [operation], 1),
        writes.part(once, 0, [other], 1),
        writes.part(once, 0, [operation], None),
        writes.part(once, 0, [operation], 2),
        writes.part(once, 0, [put("a", 1, n=1)], 1),
        writes.part(once, 0, [put("a", n=2)], 1),
        writes.part(Once(once.key, b"another request"), 0, [operation], 1),
    ]
    assert len({part.fingerprint for part in parts}) == len(parts) and len({part.key for part in parts}) == 1


# ----------------------------------------------------------------------------------------------------------- claims


def test_claim_finish_replay(harness):
    """Who claims first does it; everybody after is told what was kept."""
    once, system = new(), harness.system
    assert system.claim(once, "first") is None
    with pytest.raises(IdempotencyUnfinished):
        system.claim(once, "second")
    with pytest.raises(IdempotencyReused):
        system.claim(Once(once.key, b"other"), "third")
    system.finish(once.key, "first", b"answer")
    assert system.claim(once, "second") == b"answer" == system.claim(once, "fourth")
    with pytest.raises(IdempotencyReused):
        system.claim(Once(once.key, b"other"), "third")


def test_released_claims(harness):
    """What was not done may be done by who asks next, another request too."""
    once, system = new(), harness.system
    system.claim(once, "first")
    system.release(once.key, "first")
    assert system.claim(Once(once.key, b"other"), "second") is None


def test_claims_of_others(harness):
    """Nobody finishes or releases what another holds."""
    once, system = new(), harness.system
    system.claim(once, "first")
    system.finish(once.key, "second", b"answer")
    system.release(once.key, "second")
    with pytest.raises(IdempotencyUnfinished):
        system.claim(once, "third")


def test_claims_at_once(harness):
    """Eight at the same moment: one may, the others wait."""
    once, holders = new(), itertools.count()
    answers = at_once(8, lambda: harness.system.claim(once, f"holder-{next(holders)}"))
    assert [answer for answer in answers if answer is None] == [None]
    assert all(isinstance(answer, IdempotencyUnfinished) for answer in answers if answer is not None)


def test_pruned_claims(harness):
    """What is older than asked is forgotten, what is newer is not."""
    old, young, system = new(), new(), harness.system
    system.claim(old, "holder")
    system.finish(old.key, "holder", b"old")
    time.sleep(0.02)
    between = int(time.time() * 1000)
    time.sleep(0.02)
    system.claim(young, "holder")
    system.finish(young.key, "holder", b"young")
    assert system.prune_claims(between) >= 1 and system.prune_claims(between) == 0
    assert system.claim(young, "again") == b"young"
    assert system.claim(old, "again") is None
