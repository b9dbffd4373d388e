"""Documents, settings, aliases and keys from one engine to another: the same on both sides, whatever happens meanwhile."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import threading
import time
from dataclasses import replace

import pytest

from searchapi.exceptions import Conflict, EngineError, EngineUnavailable, NotFound, SearchAPIError
from searchapi.keystore import KeyStore, moment
from searchapi.model import Field, IndexSettings, Operation
from searchapi.moving import copying, moves, searches, verifying
from searchapi.secretkey import secret_key

from .conftest import SETTINGS, put, stored


def test_there_and_back(lab):
    """From the embedded engine to OpenSearch and back: documents, versions, settings, fields, aliases and keys are the same."""
    first = lab.filled(lab.embedded())
    first.engine.create_index("empty", IndexSettings(language="german"))
    first.system.set_alias("current", "shelf")
    text = lab.key(first)
    second, third = lab.opensearch(), lab.embedded()
    there, back = lab.move(first, second), lab.move(second, third)
    assert there.faults == back.faults == []
    assert stored(first) == stored(second) == stored(third) and len(stored(first)) == 1200
    for name in ("shelf", "empty"):
        before, after = first.engine.index(name), third.engine.index(name)
        assert (before.settings, dict(before.fields)) == (after.settings, dict(after.fields))
    assert third.system.aliases() == {"current": "shelf"}
    assert KeyStore(secret_key(lab.settings), third.system).verify(text, moment(1)).scopes == {"search"}
    assert any("1,200 documents" in line and "searches compared" in line for line in back.lines)


def test_again_changes_nothing(lab):
    """A move that is done may be done again: nothing is written, and nothing is read as changed."""
    first, second = lab.filled(lab.embedded(), 700), lab.embedded()
    lab.move(first, second)
    position = second.engine.changes("shelf", None).position
    again = lab.move(first, second)
    assert again.faults == [] and "nothing to write" in again.lines[0]
    assert second.engine.changes("shelf", position).rows == ()


def test_a_later_move_takes_what_changed(lab):
    """What was written, deleted, revoked and set since the last move arrives with the next one, and no more is written."""
    first, second = lab.filled(lab.opensearch(), 700), lab.embedded()
    lab.key(first)
    first.system.set_alias("old", "shelf")
    lab.move(first, second)
    gone = put(3).id
    first.engine.write("shelf", [put(1, title="Changed"), Operation("delete", gone), put(701)])
    first.system.delete_alias("old")
    first.system.set_alias("new", "shelf")
    (id,) = first.keys()
    KeyStore(secret_key(lab.settings), first.system).revoke(id, moment(5))
    first.engine.update_settings("shelf", replace(SETTINGS, stop_words=("river",)))
    report = lab.move(first, second)
    assert report.faults == [] and "2 written, 1 deleted" in report.lines[0]
    assert stored(first) == stored(second) and gone not in stored(second)
    assert second.system.aliases() == {"new": "shelf"} and second.keys()[id].revoked_at == moment(5)
    assert second.engine.index("shelf").settings.stop_words == ("river",)


@pytest.mark.parametrize("way", [pytest.param("embedded to opensearch", marks=pytest.mark.slow), "opensearch to embedded"])
def test_while_it_is_written(lab, way, monkeypatch):
    """Writers go on through all of it: the move ends, finds no difference, and another one after them makes both the same."""
    monkeypatch.setattr(searches, "TRIES", 2)
    names = way.split(" to ")
    first, second = lab.filled(getattr(lab, names[0])(), 900), getattr(lab, names[1])()
    stop, failed = threading.Event(), []

    def write(seed: int) -> None:
        chance = random.Random(seed)
        while not stop.is_set():
            n = chance.randrange(1200)
            operation = Operation("delete", put(n).id) if chance.random() < 0.3 else put(n, year=chance.randrange(1900, 2000))
            try:
                first.engine.write("shelf", [operation])
            except SearchAPIError as error:
                failed.append(error)
            time.sleep(0.03)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(2)]
    for writer in writers:
        writer.start()
    try:
        report = lab.move(first, second)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert failed == [] and report.faults == []
    assert lab.move(first, second).faults == [] and stored(first) == stored(second)


def test_a_rebuild_in_the_middle_is_noticed(lab, monkeypatch):
    """A source whose numbers begin anew is compared from its first document on; what was deleted meanwhile goes."""
    first, second = lab.filled(lab.opensearch(), 1200), lab.embedded()
    told, gone = [], [put(n).id for n in range(40)]
    once = copying.Copy.follow
    rebuilt = []

    def follow(copy):
        if not rebuilt:
            rebuilt.append(True)
            task = first.engine.rebuild("shelf")
            first.engine.write("shelf", [Operation("delete", id) for id in gone])
            with first.indexing():
                end = time.monotonic() + 60
                while first.system.task(task).status in ("queued", "running") and time.monotonic() < end:
                    time.sleep(0.05)
        return once(copy)

    monkeypatch.setattr(copying.Copy, "follow", follow)
    report = moves.move(first, second, {"shelf": "shelf"}, lab.folder, told.append)
    assert report.faults == [] and stored(first) == stored(second) and len(stored(second)) == 1160
    assert any("comparing all documents again" in line for line in told)


def test_goes_on_where_it_was(lab, monkeypatch):
    """Stopped in the middle, the next move writes only what is left."""
    first, second = lab.filled(lab.embedded(), 1800), lab.embedded()
    written = []
    once = copying.Copy._write_once

    def write(copy, operations):
        if len(written) == 2:
            raise KeyboardInterrupt
        written.append(len(operations))
        once(copy, operations)

    monkeypatch.setattr(copying.Copy, "_write_once", write)
    with pytest.raises(KeyboardInterrupt):
        lab.move(first, second)
    monkeypatch.undo()
    assert len(stored(second)) == 1000
    report = lab.move(first, second)
    assert report.faults == [] and "800 written" in report.lines[0] and stored(first) == stored(second)


def test_other_data_in_the_target_is_refused(lab):
    """An index of that name that this move did not write stays as it is, unless --overwrite; so does one that was written since."""
    first, second = lab.filled(lab.embedded(), 30), lab.embedded()
    second.engine.create_index("shelf", IndexSettings())
    second.engine.write("shelf", [Operation("put", "x", {"id": "x"})])
    with pytest.raises(Conflict, match="already, with 1 document; --overwrite"):
        lab.move(first, second)
    assert list(stored(second)) == ["x"]
    assert lab.move(first, second, overwrite=True).faults == [] and stored(first) == stored(second)
    second.engine.write("shelf", [put(500)])
    with pytest.raises(Conflict, match="written to since"):
        lab.move(first, second)
    assert put(500).id in stored(second)


def test_names_that_are_taken(lab):
    """An alias where the index would be, and an alias that means another index there, are refused before anything is written."""
    first, second = lab.filled(lab.embedded(), 10), lab.embedded()
    first.system.set_alias("current", "shelf")
    second.engine.create_index("other", IndexSettings())
    second.system.set_alias("current", "other")
    with pytest.raises(Conflict, match="points to 'other' in the target"):
        lab.move(first, second)
    second.system.set_alias("shelf", "other")
    with pytest.raises(Conflict, match="'shelf' is an alias"):
        lab.move(first, second)
    assert second.names() == ["other"]


def test_chosen_indexes(lab):
    """By name or by alias; one that is not there is told with the nearest that is."""
    end = lab.filled(lab.embedded(), 1)
    end.engine.create_index("other", IndexSettings())
    end.system.set_alias("current", "shelf")
    assert moves.chosen(end, []) == ["other", "shelf"] and moves.chosen(end, ["current", "shelf"]) == ["shelf"]
    with pytest.raises(NotFound, match="did you mean 'shelf'"):
        moves.chosen(end, ["shelv"])


def test_differences_are_told(lab, monkeypatch):
    """A document that is missing, one that is too much, one of another version and one of another body are each named."""
    first, second = lab.filled(lab.embedded(), 60), lab.embedded()
    lab.move(first, second)
    ids = sorted(stored(first))
    one, two, three = ids[5], ids[10], ids[20]
    version = stored(second)[three][0]
    spoil = [
        Operation("delete", one),
        Operation("put", two, {"id": two, "title": "other"}),
        Operation("put", three, {"id": three}, version=version),
        Operation("put", "zz", {"id": "zz"}),
    ]
    compare = verifying.compare
    monkeypatch.setattr(verifying, "compare", lambda copy: second.engine.write("shelf", spoil) and compare(copy))
    report = lab.move(first, second)
    told = " | ".join(report.faults)
    assert f"document '{one}' is missing in the target" in told and "document 'zz' is only in the target" in told
    assert f"document '{two}' has version" in told and f"document '{three}' has another body" in told
    assert any("search" in fault for fault in report.faults)
    monkeypatch.undo()
    mended = lab.move(first, second)
    assert mended.faults == [] and "3 written, 1 deleted" in mended.lines[0] and stored(first) == stored(second)


def test_types_do_not_depend_on_the_order(lab):
    """Fields keep the types that they were inferred with: in the order of ids others would be, and documents be refused."""
    first, second = lab.embedded(), lab.opensearch()
    first.engine.create_index("mixed", IndexSettings())
    first.engine.write("mixed", [Operation("put", "b", {"id": "b", "n": 1}), Operation("put", "c", {"id": "c", "n": 1.5})])
    first.engine.write("mixed", [Operation("put", "a", {"id": "a", "n": 2, "tags": ["x", "y"]})])
    assert lab.move(first, second).faults == []
    assert second.engine.index("mixed").fields["n"] == first.engine.index("mixed").fields["n"] == Field("n", "float", inferred=True)


def test_no_room(lab, monkeypatch):
    """A target whose disk is too small is told so before anything is written."""
    first, second = lab.filled(lab.embedded(), 100), lab.embedded()
    health = second.engine.health()
    monkeypatch.setattr(type(second.engine), "health", lambda self: replace(health, detail={"free_bytes": 10}))
    with pytest.raises(SearchAPIError, match="has room for 0 MiB"):
        lab.move(first, second)
    assert second.names() == []


def test_an_index_that_this_release_cannot_read(lab):
    """Is named, and nothing is written."""
    first, second = lab.filled(lab.embedded(), 10), lab.embedded()
    first.engine.create_index("newer", IndexSettings())
    folder = first.settings.data_dir
    first.engine.close()
    (path,) = (path for path in folder.glob("indexes/*/documents.db") if path.parent.name == first.system.find("newer")[0])
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.execute("DROP TABLE meta")
        connection.commit()
    with pytest.raises(EngineError, match=r"'newer' in .* cannot be read by this release"):
        lab.move(lab.open(f"embedded:{folder}"), second)
    assert second.names() == []


def test_an_engine_that_is_away_for_a_moment(lab, monkeypatch):
    """Is waited for."""
    first, second = lab.filled(lab.embedded(), 50), lab.embedded()
    write, failed = type(second.engine).write, []

    def fail_once(engine, name, operations, once=None):
        if not failed:
            failed.append(name)
            error = EngineUnavailable("away")
            error.retry_after = 0
            raise error
        return write(engine, name, operations, once)

    monkeypatch.setattr(type(second.engine), "write", fail_once)
    assert lab.move(first, second).faults == [] and failed == ["shelf"] and stored(first) == stored(second)
