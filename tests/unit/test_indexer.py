"""The indexer's own habits: when it commits, when it gives memory back, and starting beside others."""

from __future__ import annotations

import contextlib
import threading
import time

import pytest

from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase
from searchapi.engines.embedded import indexer as indexer_module
from searchapi.engines.embedded import writer as writer_module
from searchapi.engines.embedded.indexer import Indexer
from searchapi.model import IndexSettings, Match, Operation, Query, Term


@pytest.fixture
def engine(tmp_path):
    engine = EmbeddedEngine(tmp_path)
    engine.create_index("books", IndexSettings())
    yield engine
    engine.close()


@pytest.fixture
def indexer(tmp_path):
    indexer = Indexer(tmp_path)
    yield indexer
    indexer.close()


def put(engine, ids, title="words"):
    return engine.write("books", [Operation("put", str(n), {"id": str(n), "title": title}) for n in ids]).seq


def total(engine, word="words"):
    return engine.search("books", Query(match=Match((Term(word, ("title",)),)))).total


def settle(indexer):
    while indexer.step():
        pass


def test_an_idle_writer_is_closed_and_opened_again(engine, indexer, monkeypatch):
    """Its memory is given back, what was written stays, and the next write is indexed."""
    put(engine, range(3))
    settle(indexer)
    monkeypatch.setattr(indexer_module, "REST_AFTER", -1.0)
    monkeypatch.setattr(indexer_module, "HOUSEKEEPING", -1.0)
    indexer.step()
    assert not indexer._writers and total(engine) == 3
    seq = put(engine, range(3, 5))
    settle(indexer)
    assert engine.wait("books", seq, 0) and total(engine) == 5


def test_a_load_is_committed_once_it_pauses(engine, indexer, monkeypatch):
    """While a load goes on its commits wait for more; when nothing more comes, everything is there."""
    settle(indexer)
    monkeypatch.setattr(writer_module, "HOLD", 600.0)  # however busy the machine is
    commits = []
    commit = writer_module.GenerationWriter._commit
    monkeypatch.setattr(writer_module.GenerationWriter, "_commit", lambda self, *args: commits.append(1) or commit(self, *args))
    for part in range(4):
        seq = put(engine, range(part * writer_module.BULK, (part + 1) * writer_module.BULK))
        assert indexer.step() and not commits and total(engine) == 0
    settle(indexer)
    assert len(commits) == 1 and engine.wait("books", seq, 0) and total(engine) == 4 * writer_module.BULK


def test_a_load_that_never_pauses_is_seen_after_a_while(engine, indexer, monkeypatch):
    """HOLD bounds how long a load's writes wait."""
    settle(indexer)
    monkeypatch.setattr(writer_module, "HOLD", 0.0)
    put(engine, range(writer_module.BULK))
    indexer.step()
    assert total(engine) == writer_module.BULK


def test_a_generation_that_is_built_comes_to_answer_under_a_load(engine, indexer):
    """It waits for nothing once it has all that there was: where writes never pause it would never answer."""
    put(engine, range(writer_module.BULK))
    settle(indexer)
    engine.rebuild("books")
    for part in range(1, 20):
        put(engine, range(part * writer_module.BULK, (part + 1) * writer_module.BULK))
        indexer.step()
        if not engine.stats("books").rebuilding:
            break
    assert not engine.stats("books").rebuilding and total(engine) >= writer_module.BULK


def test_a_few_writes_are_committed_at_once(engine, indexer):
    """Nothing waits where there is no load."""
    settle(indexer)
    seq = put(engine, range(3))
    indexer.step()
    assert engine.wait("books", seq, 0) and total(engine) == 3


def test_a_new_data_folder_takes_many_starts_at_once(tmp_path):
    """Server and indexer make system.db together: none of them fails, and all see the same one."""
    failures = []

    def start(folder, barrier):
        barrier.wait()
        try:
            SystemDatabase(folder).registered()
        except Exception as error:
            failures.append(error)

    for n in range(20):
        barrier = threading.Barrier(6)
        threads = [threading.Thread(target=start, args=(tmp_path / str(n), barrier)) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures


@contextlib.contextmanager
def running(folder):
    """An indexer at work, or waiting for its turn; its thread and what stops it."""
    stop = threading.Event()
    thread = threading.Thread(target=Indexer(folder).run, args=(stop,))
    thread.start()
    try:
        yield thread, stop
    finally:
        stop.set()
        thread.join()


def test_one_works_and_the_next_waits_for_its_end(tmp_path, engine, caplog):
    """The one that waits touches nothing, says so once, and takes over at once with what the first has left."""
    caplog.set_level("INFO", logger="searchapi")
    with running(tmp_path) as (first, stop_first):
        assert engine.wait("books", put(engine, range(3)), 20)
        with running(tmp_path):
            time.sleep(0.5)
            before = engine.stats("books")
            stop_first.set()
            first.join()
            started = time.monotonic()
            assert engine.wait("books", put(engine, range(3, 5)), 20)
            print(f"taken over and indexed within {time.monotonic() - started:.2f} s")
    assert not before.rebuilding and total(engine) == 5
    said = [record.getMessage() for record in caplog.records if "another indexer" in record.getMessage()]
    assert len(said) == 1 and "taking over" in caplog.text
    assert not [record for record in caplog.records if record.levelname != "INFO"]


def test_one_that_waits_can_be_stopped(tmp_path, engine):
    """It does not have to get its turn first."""
    with running(tmp_path) as (first, _):
        assert engine.wait("books", put(engine, [1]), 20)
        with running(tmp_path) as (second, stop_second):
            stop_second.set()
            second.join(20)
            assert not second.is_alive() and first.is_alive()
