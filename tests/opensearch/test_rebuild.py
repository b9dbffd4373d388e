"""A rebuild that is killed where it hurts, that sleeps, and that two workers do at the same time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest

from searchapi.engines.opensearch import worker as workers
from searchapi.engines.opensearch import writing
from searchapi.engines.opensearch.engine import OpenSearchEngine
from searchapi.engines.opensearch.rebuild import Rebuild, Replaced
from searchapi.engines.opensearch.target import Target
from searchapi.exceptions import EngineUnavailable, IndexNotFound
from searchapi.model import IndexSettings, Operation
from tests.opensearch import server


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def engine(opensearch_url) -> Iterator[OpenSearchEngine]:
    """With an index of 30 documents."""
    engine = OpenSearchEngine(Target.parse(opensearch_url))
    engine.create_index("books", IndexSettings())
    put(engine, *range(30))
    yield engine
    engine.close()


def put(engine: OpenSearchEngine, *numbers: int) -> None:
    operations = [Operation("put", str(n), {"id": str(n), "n": n, "text": f"word{n}"}, at) for at, n in enumerate(numbers)]
    assert not [outcome.error for outcome in engine.write("books", operations).outcomes if outcome.error]


def ids(engine: OpenSearchEngine) -> set[int]:
    return {int(document.id) for document in engine.scan("books")}


def rebuild(engine: OpenSearchEngine) -> Rebuild:
    return Rebuild(engine, "books", lambda done, of: None)


def killed_at(monkeypatch, step: str, run: Rebuild) -> None:
    """Without anything that would tidy up."""
    with monkeypatch.context() as patch:

        def die(*_: object) -> None:
            raise Killed

        patch.setattr(run, step, die)
        patch.setattr(run, "_give_up", lambda *_, **__: None)
        with pytest.raises(Killed):
            run.run()


def concretes(engine: OpenSearchEngine, node: str) -> set[str]:
    return set(server.ask(node, f"/{engine.registry.names.data('*', '*')}/_settings"))


def test_killed_while_writes_are_held(engine, opensearch_node, monkeypatch):
    """Who writes waits for a moment, then lets go of the hold; the next run does the rebuild, and nothing is left of the first."""
    monkeypatch.setattr(writing, "HELD", 0.5)
    killed_at(monkeypatch, "_switch", rebuild(engine))
    assert engine.registry.fresh("books").building is not None
    began = time.monotonic()
    put(engine, 30)
    print(f"the write took {time.monotonic() - began:.1f} s")
    assert engine.registry.fresh("books").building is None
    rebuild(engine).run()
    put(engine, 31)
    assert ids(engine) == set(range(32))
    monkeypatch.setattr(workers, "RETIRED_FOR", -1.0)
    workers.Worker(engine).housekeep()
    assert concretes(engine, opensearch_node) == {engine.registry.concrete(engine.registry.fresh("books"))}


def test_one_that_slept_cannot_end(engine, monkeypatch):
    """Writes were let go meanwhile: it begins again, and what was written is there."""
    monkeypatch.setattr(writing, "HELD", 0.2)
    run = rebuild(engine)
    switch = run._switch

    def late(last: int):
        put(engine, 30)  # which lets go of the hold
        return switch(last)

    monkeypatch.setattr(run, "_switch", late)
    with pytest.raises(EngineUnavailable):
        run.run()
    assert ids(engine) == set(range(31))
    rebuild(engine).run()
    assert ids(engine) == set(range(31))
    assert engine.registry.fresh("books").task is None


def test_another_run_takes_its_place(engine, opensearch_node, monkeypatch):
    """Only the run that the record names may end; the other leaves alone what is not its own."""
    run = rebuild(engine)
    switch = run._switch

    def overtaken(last: int):
        rebuild(engine).run()
        return switch(last)

    monkeypatch.setattr(run, "_switch", overtaken)
    with pytest.raises(Replaced):
        run.run()
    put(engine, 30)
    index = engine.registry.fresh("books")
    assert ids(engine) == set(range(31)) and (index.building, index.task) == (None, None)


def test_what_was_written_without_the_hold(engine, monkeypatch):
    """Where the hold was taken away under a rebuild that goes on, what came in between is carried over, the newest of each."""
    run = rebuild(engine)
    switch = run._switch

    def unheld(last: int):
        writing.let_go(engine.cluster, engine.registry.concrete(engine.registry.fresh("books")))
        put(engine, 30, 31)
        engine.write("books", [Operation("delete", "3", None, 0), Operation("put", "4", {"id": "4", "n": 400}, 1)])
        return switch(last)

    monkeypatch.setattr(run, "_switch", unheld)
    run.run()
    assert ids(engine) == set(range(32)) - {3}
    assert b"400" in engine.get("books", "4").body


def test_the_answer_to_the_switch_is_lost(engine, monkeypatch):
    """What was built is live then, and is not taken away with what failed."""
    run = rebuild(engine)
    switch = run._switch

    def lost(last: int):
        switch(last)
        raise EngineUnavailable("The search engine does not answer.")

    monkeypatch.setattr(run, "_switch", lost)
    with pytest.raises(EngineUnavailable):
        run.run()
    put(engine, 30)
    assert ids(engine) == set(range(31)) and engine.registry.fresh("books").live.n == 2


def test_the_index_is_deleted_meanwhile(engine, opensearch_node, monkeypatch):
    """Nothing is left, neither of it nor of what was being built, and a write does not bring it back."""
    run = rebuild(engine)
    make = engine.concretes.make

    def deleted(index, held) -> None:
        engine.delete_index("books")
        make(index, held)

    monkeypatch.setattr(engine.concretes, "make", deleted)
    with pytest.raises(IndexNotFound):
        run.run()
    with pytest.raises(IndexNotFound):
        put(engine, 1)
    assert concretes(engine, opensearch_node) == set()


def test_a_write_to_an_index_that_another_host_deleted(engine, opensearch_url, opensearch_node):
    """Whoever does not know it yet is told, and no index comes of it."""
    other = OpenSearchEngine(Target.parse(opensearch_url))
    try:
        assert other.names() == ["books"]
        engine.delete_index("books")
        for ask in (
            lambda: put(other, 1),
            lambda: other.get("books", "1"),
            lambda: other.stats("books"),
            lambda: other.frequency("books", "word1", ["text"]),
        ):
            with pytest.raises(IndexNotFound) as raised:
                ask()
            assert "'books'" in raised.value.detail
        assert concretes(engine, opensearch_node) == set()
    finally:
        other.close()


def test_a_worker_that_is_to_stop(engine, monkeypatch):
    """It gives up a rebuild, whose task is free for the next worker at once, and writes go on."""
    task, stop = engine.rebuild("books"), threading.Event()
    worker = workers.Worker(engine)
    monkeypatch.setattr(engine, "close", lambda: None)  # as this test goes on with it
    claim = engine.system.claim_task

    def claimed():
        found = claim()
        stop.set()
        return found

    monkeypatch.setattr(engine.system, "claim_task", claimed)
    worker.run(stop)
    assert engine.system.task(task).status == "queued"
    put(engine, 30)
    monkeypatch.setattr(engine.system, "claim_task", claim)
    assert workers.Worker(engine).step()
    assert engine.system.task(task).status == "succeeded" and ids(engine) == set(range(31))


def test_an_index_that_nobody_finished_making(engine, opensearch_node, monkeypatch):
    """It goes, where it is empty and no record names it; one with documents is left, whoever it belongs to."""
    names = [engine.registry.names.data(uid, 1) for uid in ("1" * 32, "2" * 32)]
    for name in names:
        server.ask(opensearch_node, f"/{name}", "PUT", {"settings": {"number_of_shards": 1}})
    server.ask(opensearch_node, f"/{names[1]}/_doc/1?refresh=true", "PUT", {"a": 1})
    monkeypatch.setattr(workers, "EMPTY_FOR", -1.0)
    workers.Worker(engine).housekeep()
    assert concretes(engine, opensearch_node) == {names[1], engine.registry.concrete(engine.registry.fresh("books"))}
