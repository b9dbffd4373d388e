"""Batches: chunks, refusals, and what is said when the engine fails in the middle."""

from __future__ import annotations

import pytest

from searchapi import writes
from searchapi.exceptions import Fault, Invalid, StorageFull, VersionConflict
from searchapi.model import Operation, Outcome, WriteResult
from searchapi.writes import write_batch


class Engine:
    """Accepts all, but what `refuses` answers an error for, until `room` documents are written."""

    def __init__(self, room: int = 10**9, refuses=lambda operation: None):
        self.room, self.refuses, self.chunks, self.seq = room, refuses, [], 0

    def write(self, name: str, operations: list[Operation], once=None) -> WriteResult:
        if len(operations) > self.room:
            raise StorageFull("The disk is full.")
        self.room -= len(operations)
        self.chunks.append(len(operations))
        self.seq += len(operations)
        return WriteResult(self.seq, tuple(Outcome(o.position, o.id, error=self.refuses(o)) for o in operations))


def documents(count: int, **more):
    return ((n, {"id": n, **more}) for n in range(count))


def test_chunks_by_count():
    """At most 1,000 operations in one transaction; the seq is that of the last."""
    engine = Engine()
    batch = write_batch(engine, "x", "put", documents(2500), "id")
    assert engine.chunks == [1000, 1000, 500] and (batch.accepted, batch.refused, batch.seq) == (2500, 0, 2500)


def test_chunks_by_size(monkeypatch):
    """Long documents make shorter chunks, so that memory stays bounded."""
    monkeypatch.setattr(writes, "CHUNK_BYTES", 10_000)
    engine = Engine()
    write_batch(engine, "x", "put", documents(10, text="x" * 4000), "id")
    assert engine.chunks == [3, 3, 3, 1]


def test_read_as_consumed():
    """Documents are read no further than the chunk that is written."""
    read = []

    def items():
        for n in range(2500):
            read.append(n)
            yield n, {"id": n}

    class Watching(Engine):
        def write(self, name, operations, once=None):
            assert len(read) - self.seq <= 1001  # one more tells whether the chunk is the last
            return super().write(name, operations)

    assert write_batch(Watching(), "x", "put", items(), "id").accepted == 2500


def test_refused_in_order():
    """What could not be read, has no id or was refused by the engine, in the order of the batch, with pointers into it."""
    items = [(0, {"id": "a"}), (1, Fault("/1", "unreadable_line", "no")), (2, {}), (3, {"id": "d"}), (4, {"id": "e"})]
    refuses = {"a": Invalid.at("/year", "field_type", "no"), "d": VersionConflict("other")}
    batch = write_batch(Engine(refuses=lambda o: refuses.get(o.id)), "x", "put", items, "id")
    assert [(e.position, e.id, e.pointer, e.code) for e in batch.errors] == [
        (0, "a", "/0/year", "field_type"),
        (1, None, "/1", "unreadable_line"),
        (2, None, "/2/id", "missing_id"),
        (3, "d", "/3", "version_conflict"),
    ]
    assert (batch.accepted, batch.refused) == (1, 4)


def test_reported_errors_are_bounded():
    """Of very many errors the first are listed and all are counted."""
    batch = write_batch(Engine(), "x", "put", ((n, {}) for n in range(3000)), "id")
    assert (len(batch.errors), batch.refused, batch.accepted, batch.seq) == (writes.REPORTED, 3000, 0, None)


def test_failure_in_the_middle():
    """The disk filling up says how many documents were accepted before."""
    with pytest.raises(StorageFull) as caught:
        write_batch(Engine(room=2000), "x", "put", documents(2500), "id")
    assert "2000 documents" in caught.value.detail
    with pytest.raises(StorageFull) as caught:
        write_batch(Engine(room=0), "x", "put", documents(5), "id")
    assert caught.value.detail == "The disk is full."


def test_before_the_first_write():
    """`before` runs once, and not where nothing can be written."""
    calls = []
    write_batch(Engine(), "x", "put", documents(1500), "id", lambda: calls.append(1))
    write_batch(Engine(), "x", "put", [(0, {})], "id", lambda: calls.append(2))
    assert calls == [1]


def test_unexpected_errors_are_raised():
    """An error that is none of ours is not reported as the document's fault."""
    with pytest.raises(ZeroDivisionError):
        write_batch(Engine(refuses=lambda o: ZeroDivisionError()), "x", "put", documents(1), "id")
