"""Following an index's writes: what is read is enough to hold the same documents elsewhere, whatever happens in between."""

from __future__ import annotations

import random
import threading
import time

import orjson
import pytest

from searchapi.engines.changes import PositionLost
from searchapi.exceptions import IndexNotFound
from searchapi.model import Field, IndexSettings, Operation

from .conftest import PATIENCE


def put(id: str, **document) -> Operation:
    return Operation("put", id, {"id": id, **document})


def follow(engine, name: str, position: str, into: dict[str, tuple[int, bytes]], limit: int = 1000) -> str:
    """Apply what was written since to `into`."""
    while True:
        found = engine.changes(name, position, limit)
        assert len(found.rows) <= limit
        for row in found.rows:
            if row.body is None:
                into.pop(row.id, None)
            else:
                into[row.id] = (row.version, row.body)
        position = found.position
        if not found.more:
            return position


def stored(engine, name: str) -> dict[str, tuple[int, bytes]]:
    return {document.id: (document.version, document.body) for document in engine.scan(name)}


@pytest.fixture
def index(harness) -> str:
    return harness.new_index()


def test_changes_in_order(harness, index):
    """From a position on: puts, patches and deletes in the order they were written, each document as it is now; then nothing."""
    engine = harness.engine
    engine.write(index, [put("a", n=1), put("b", n=1)])
    begun = engine.changes(index, None)
    assert begun.rows == () and not begun.more
    for operation in (put("c", n=1), Operation("delete", "a"), Operation("patch", "b", {"n": 2}), put("c", n=2)):
        engine.write(index, [operation])
    found = engine.changes(index, begun.position)
    assert [(row.id, row.body and orjson.loads(row.body)) for row in found.rows] == [
        ("a", None),
        ("b", {"id": "b", "n": 2}),
        ("c", {"id": "c", "n": 2}),
    ]
    assert {row.id: row.version for row in found.rows if row.body} == {id: engine.get(index, id).version for id in "bc"}
    assert engine.changes(index, found.position).rows == ()


def test_changes_in_pages(harness, index):
    """Read in small pages, nothing is missed and nothing comes twice."""
    engine = harness.engine
    position = engine.changes(index, None).position
    engine.write(index, [put(f"d{n:02}", n=n) for n in range(25)])
    seen: list[str] = []
    while True:
        found = engine.changes(index, position, 10)
        seen += [row.id for row in found.rows]
        position = found.position
        if not found.more:
            break
    assert seen == [f"d{n:02}" for n in range(25)]


def test_followed_while_written(harness, index):
    """Who follows while several write comes to hold what is there, the deletes too."""
    engine, stop = harness.engine, threading.Event()
    engine.write(index, [put(f"d{n}", n=0) for n in range(50)])
    position, held = engine.changes(index, None).position, stored(engine, index)

    def write(seed: int) -> None:
        rng = random.Random(seed)
        while not stop.is_set():
            id = f"d{rng.randrange(60)}"
            engine.write(index, [Operation("delete", id) if rng.random() < 0.3 else put(id, n=rng.randrange(1000))])

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    for writer in writers:
        writer.start()
    end = time.monotonic() + 2
    while time.monotonic() < end:
        position = follow(engine, index, position, held, 20)
    stop.set()
    for writer in writers:
        writer.join()
    follow(engine, index, position, held)
    assert held == stored(engine, index)


def test_a_lost_position_is_told(harness, index):
    """Of another index of the name, and of one that has never been as far."""
    engine = harness.engine
    engine.write(index, [put("a", n=1)])
    position = engine.changes(index, None).position
    head, _, rest = position.partition(":")
    with pytest.raises(PositionLost):
        engine.changes(index, f"{head}:{'999' + rest}")
    engine.delete_index(index)
    with pytest.raises(IndexNotFound):
        engine.changes(index, position)
    engine.create_index(index, IndexSettings())
    with pytest.raises(PositionLost):
        engine.changes(index, position)


def test_after_a_rebuild(harness, index):
    """A follower goes on after a rebuild, or is told to begin anew: nothing is missed unsaid."""
    engine = harness.engine
    engine.write(index, [put("a", n=1), put("b", n=1)])
    position, held = engine.changes(index, None).position, stored(engine, index)
    task = engine.rebuild(index)
    engine.write(index, [Operation("delete", "a"), put("c", n=1)])
    end = time.monotonic() + PATIENCE
    while harness.system.task(task).status in ("queued", "running") and time.monotonic() < end:
        time.sleep(0.05)
    try:
        follow(engine, index, position, held)
    except PositionLost:
        return
    assert held == stored(engine, index)


def test_known_fields_of_a_new_index(harness):
    """An index that is made for another's documents has their fields as they were inferred, whichever document comes first."""
    name = f"{harness.new_index()}-again"
    known = [Field("n", "float", inferred=True), Field("tags", "text", language="english", array=True, inferred=True)]
    info = harness.engine.create_index(
        name, IndexSettings(fields={"year": Field("year", "integer")}), [*known, Field("year", "integer", array=True)]
    )
    assert info.fields["n"] == known[0] and info.fields["tags"] == known[1] and info.fields["year"].array
    harness.put(name, [{"id": "1", "n": 1, "tags": "x", "year": 1999}])
    assert harness.engine.index(name).fields["n"] == known[0]
