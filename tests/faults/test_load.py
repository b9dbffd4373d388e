"""Many processes at once; settings that need a rebuild and a second release, while reads and writes go on."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Iterator

import pytest

from searchapi.engines.embedded import EmbeddedEngine
from searchapi.model import Compare, Exists, Field, IndexSettings, Match, Page, Query, Sort, Term

from . import load
from .load import INDEX, WRITERS, Shared
from .support import OTHER_FORMAT, PATIENCE, Site, eventually

SECONDS = float(os.environ.get("FAULTS_SECONDS") or 60)  # of load; fewer for a quick look

pytestmark = pytest.mark.slow


class Crowd:
    """Processes of `load`, and what they said."""

    def __init__(self, site: Site, seed: int):
        self._context = multiprocessing.get_context("spawn")
        self.shared = Shared.make(self._context)
        self._site, self._seed = site, seed
        self._processes: list = []

    def start(self, role: str, numbers, format: str | None = None) -> None:
        for number in numbers:
            arguments = (role, str(self._site.data), self.shared, number, self._seed, format)
            process = self._context.Process(target=load.run, args=arguments)
            process.start()
            self._processes.append(process)
        eventually(lambda: self.shared.ready.value == len(self._processes), "the processes have begun")

    def work(self, seconds: float) -> None:
        """Let them; ends early where one has failed."""
        self.shared.stop.wait(seconds)
        assert self.shared.failures.empty(), self.shared.failures.get()

    def end(self) -> dict[str, tuple[int, float]]:
        """role -> (what was done, the longest step in seconds)."""
        self.shared.stop.set()
        done: dict[str, tuple[int, float]] = {}
        finished = 0
        while finished < len(self._processes) and self.shared.failures.empty():
            role, count, slowest = self.shared.counts.get(timeout=PATIENCE)
            before = done.get(role, (0, 0.0))
            done[role] = (before[0] + count, max(before[1], slowest))
            finished += 1
        for process in self._processes:
            process.join(PATIENCE)
        assert self.shared.failures.empty(), self.shared.failures.get()
        return done


@contextlib.contextmanager
def crowd(site: Site, seed: int) -> Iterator[Crowd]:
    crowd = Crowd(site, seed)
    try:
        yield crowd
    finally:
        crowd.shared.stop.set()
        for process in crowd._processes:
            process.join(PATIENCE)
        for queue in (crowd.shared.failures, crowd.shared.counts):
            queue.close()
            queue.join_thread()


@pytest.fixture
def engine(site: Site) -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine(site.data)
    fields = {"group": Field("group", "keyword"), "n": Field("n", "integer"), "text": Field("text", "text")}
    engine.create_index(INDEX, IndexSettings(fields=fields))
    yield engine
    engine.close()


def test_eight_readers_and_four_writers(site: Site, engine: EmbeddedEngine, seed: int):
    """No lock error reaches a client, no read by id is stale, no document is shown under a group that its body is not of, and the
    lag goes back to nothing."""
    site.indexer()
    eventually(lambda: engine.wait(INDEX, 0, 0), "the index is there")
    with crowd(site, seed) as people:
        people.start("write", range(WRITERS))
        people.start("read", range(8))
        people.work(SECONDS)
        lag = engine.stats(INDEX).lag
        done = people.end()
    started = time.monotonic()
    eventually(lambda: engine.stats(INDEX).lag == 0, "the lag is back to nothing")
    assert done["write"][0] > 0 and done["read"][0] > 0
    documents = {d.id: d.body for d in engine.scan(INDEX)}
    found = engine.search(INDEX, Query(sort=(Sort("n"),), page=Page(limit=1000)))
    assert {hit.id: hit.body for hit in found.hits} == documents
    print(f"{done}; lag {lag} at the end of the load, nothing {time.monotonic() - started:.1f} s later")


def test_settings_that_need_a_rebuild_under_load(site: Site, engine: EmbeddedEngine, seed: int):
    """The language changes while all go on: no search fails, no write is missed, no total drops, and the old files go away."""
    site.indexer()
    eventually(lambda: engine.wait(INDEX, 0, 0), "the index is there")
    store = engine._store(INDEX)
    with crowd(site, seed) as people:
        people.start("add", (0, 1, 3))
        people.start("write", (0,))
        people.start("read", (0,))
        people.work(SECONDS / 12)
        for language in ("german", "none", "english"):
            before = store.state().one("live").name
            assert engine.update_settings(INDEX, _language(engine, language)).rebuild
            eventually(lambda before=before: _other(store, before) or people.shared.stop.is_set(), "the new generation is live")
            people.work(SECONDS / 12)
        done = people.end()
    _agree(engine, people)
    stems = Query(match=Match(clauses=(Term("house", ("text",)),)))
    assert engine.search(INDEX, stems).total == people.shared.added[0]
    eventually(
        lambda: [p.name for p in store.folder.iterdir() if p.is_dir()] == [store.state().one("live").name], "the old files go away"
    )
    print(f"{done}; 3 rebuilds, {people.shared.added[0]} documents added, none missed")


def _language(engine: EmbeddedEngine, language: str) -> IndexSettings:
    return IndexSettings(language=language, fields=engine.index(INDEX).settings.fields)


def _other(store, before: str) -> bool:
    live = store.state().one("live")
    return live is not None and live.name != before


def test_a_second_release_with_another_format_under_load(site: Site, engine: EmbeddedEngine, seed: int):
    """Both releases' indexers on one folder, both releases' readers and writers: nothing fails, nothing is missed, and fields that
    one release adds are found by the other."""
    site.indexer()
    eventually(lambda: engine.wait(INDEX, 0, 0), "the index is there")
    store = engine._store(INDEX)
    with crowd(site, seed) as people:
        people.start("add", (0, 1))
        people.start("read", (0,))
        people.start("write", (0,))
        people.work(SECONDS / 12)
        second = site.indexer(other_format=True)
        people.start("add", (2, 3), OTHER_FORMAT)
        people.work(SECONDS / 4)
        done = people.end()
    _agree(engine, people)
    formats = {path.name.partition("-")[0] for path in store.folder.iterdir() if path.is_dir()}
    assert OTHER_FORMAT in formats and len(formats) == 2
    assert second.running
    for field in store.state().fields:
        if field.startswith("field_"):
            eventually(lambda field=field: engine.search(INDEX, Query(filter=Exists(field))).total == 1, f"{field} is found")
            eventually(
                lambda field=field: engine.search(INDEX, Query(filter=Compare(field, "=", "new"))).total == 1, f"{field} is found"
            )
    assert "Traceback" not in site.said()
    print(f"{done}; two formats side by side, {people.shared.added[0]} documents added, none missed")


def _agree(engine: EmbeddedEngine, people: Crowd) -> None:
    """The index agrees with the documents, one by one, and all that were added are there."""
    eventually(lambda: engine.stats(INDEX).lag == 0 and not engine.stats(INDEX).rebuilding, "the lag is back to nothing")
    documents = {d.id: d.body for d in engine.scan(INDEX)}
    assert sum(id.startswith("n") for id in documents) == people.shared.added[0] > 0
    found, after = {}, None
    while True:
        hits = engine.search(INDEX, Query(sort=(Sort("n"),), page=Page(limit=500, after=after))).hits
        if not hits:
            break
        found.update((hit.id, hit.body) for hit in hits)
        after = hits[-1].sort_values
    assert found == documents
