"""kill -9 at random moments, orderly stops, one indexer taking over from another, a copy of the folder as a power cut leaves it."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time

import pytest

from .support import Process, Site, assert_whole, create, eventually, writing

KILLS = int(os.environ.get("FAULTS_KILLS") or 100)  # fewer for a quick look

pytestmark = pytest.mark.slow


def test_kills_under_writes(site: Site, seed: int):
    """Whatever is killed whenever: acknowledged documents are there with their last body, none twice, and the index catches up."""
    chance = random.Random(seed)
    indexer, server = site.indexer(), site.server()
    client, killed = site.client(), {"indexer": 0, "worker": 0}
    create(client, "books")
    started = time.monotonic()
    with writing(site, "books", seed) as writers:
        for _ in range(KILLS):
            if chance.random() < 0.8:  # the others are killed while they start
                eventually(site.lock_holders, "an indexer is at work")
            time.sleep(chance.uniform(0.0, 0.5))
            if chance.random() < 0.5:
                indexer.kill()
                indexer = site.indexer()
                killed["indexer"] += 1
            else:
                killed["worker"] += _kill_one(server, chance)
            if chance.random() < 0.05:
                language = chance.choice(["english", "german", "none"])  # some of the kills meet a generation being built
                client.ask("PATCH", "/v1/indexes/books/settings", {"language": language})
    seconds = time.monotonic() - started
    ledgers = [writer.ledger for writer in writers]
    for writer in writers:
        unexpected = [a for a in writer.refusals if a.status < 500]
        assert not unexpected, unexpected[:3]
    there = assert_whole(client, "books", ledgers)
    writes, lost = sum(ledger.writes for ledger in ledgers), sum(ledger.refused for ledger in ledgers)
    assert writes > KILLS
    print(f"{killed} kills in {seconds:.0f} s; {writes} writes acknowledged, {lost} not; {there} documents, all as they must be")


def _kill_one(server: Process, chance: random.Random) -> int:
    workers = server.children()
    if not workers:
        return 0
    os.kill(chance.choice(workers), signal.SIGKILL)
    return 1


def test_stopping_leaves_nothing_locked(site: Site, seed: int):
    """SIGTERM to the indexer: it ends by itself, and the next one goes on at once."""
    indexer = site.indexer()
    site.server()
    client = site.client()
    create(client, "books")
    with writing(site, "books", seed, count=2) as writers:
        for _ in range(3):
            holder = indexer.pid
            eventually(lambda holder=holder: holder in site.lock_holders(), "the indexer is at work")
            time.sleep(0.3)
            assert indexer.stop() == 0
            assert site.lock_holders() == set()
            indexer = site.indexer()
    started = time.monotonic()
    there = assert_whole(client, "books", [writer.ledger for writer in writers])
    print(f"3 stops; {there} documents; caught up within {time.monotonic() - started:.1f} s")


def test_one_indexer_writes_and_another_takes_over(site: Site):
    """Two indexers on one folder: one writes, and when it is killed the other goes on."""
    first = site.indexer()
    site.server()
    client = site.client()
    create(client, "books")
    client.must("PUT", "/v1/indexes/books/documents/a?refresh=wait_for", {"id": "a", "n": 1})
    second = site.indexer()
    time.sleep(2)
    assert site.lock_holders() == {first.pid}
    client.must("PUT", "/v1/indexes/books/documents/b?refresh=wait_for", {"id": "b", "n": 2})
    first.kill()
    started = time.monotonic()
    client.must("PUT", "/v1/indexes/books/documents/c", {"id": "c", "n": 3})
    eventually(lambda: client.lag("books") == 0, "the second indexer takes over")
    print(f"taken over within {time.monotonic() - started:.1f} s")
    assert site.lock_holders() == {second.pid}
    assert set(client.search_all("books")) == {"a", "b", "c"}
    assert "Traceback" not in site.said()


def test_a_power_cut(site: Site, seed: int, tmp_path):
    """The folder as it is at one instant: everything acknowledged before is there, and the index catches up from it."""
    indexer, server = site.indexer(), site.server()
    client = site.client()
    create(client, "books")
    copies = []
    with writing(site, "books", seed) as writers:
        for n in range(3):
            time.sleep(random.Random(seed + n).uniform(1.0, 2.0))
            processes = [server.pid, *server.children(), indexer.pid]
            told = [writer.ledger.told() for writer in writers]
            for pid in processes:
                os.kill(pid, signal.SIGSTOP)
            try:
                shutil.copytree(site.data, tmp_path / f"copy{n}")
            finally:
                for pid in reversed(processes):
                    os.kill(pid, signal.SIGCONT)
            copies.append((tmp_path / f"copy{n}", told))
    site.__exit__()
    for folder, told in copies:
        _start_from(folder, told, [writer.ledger.sent for writer in writers])


def _start_from(folder, told, sent) -> None:
    """What is there of a document must be what was acknowledged last before the cut, or what its client sent after that and before
    the copy was made."""
    with Site(folder, folder) as site:
        site.indexer()
        site.server()
        client = site.client()
        eventually(lambda: client.lag("books") == 0, "the index catches up")
        documents = client.export("books")
        assert client.search_all("books") == documents
        kept = same = 0
        for (count, known), log in zip(told, sent, strict=True):
            later = log[max(0, count - 25) : count + 200]  # of one client: what was under way, and what it sent before the stop
            for id, allowed in known.items():
                kept += 1
                same += documents.get(id) == allowed[0]
                under_way = [document for sent_id, document in later if sent_id == id]
                assert documents.get(id) in allowed + under_way, f"{id}: {documents.get(id)}, not {allowed} nor {under_way}"
        assert kept
        print(f"{kept} acknowledged writes before the cut, {same} as they were then; {len(documents)} documents")
