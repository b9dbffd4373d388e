"""OpenSearch's nodes killed, stopped and slow; rebuilds whose workers are killed; two hosts that do the same at the same time."""

from __future__ import annotations

import contextlib
import os
import random
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from searchapi.config import Settings
from searchapi.engines import open_engine
from searchapi.engines.opensearch import worker as workers
from searchapi.engines.opensearch.engine import OpenSearchEngine
from searchapi.engines.opensearch.target import Target
from tests.keys import bearer
from tests.opensearch import server
from tests.opensearch.proxy import Proxy

from .support import Answer, Client, Site, assert_whole, create, eventually, writing

pytestmark = pytest.mark.slow

KILLS = int(os.environ.get("FAULTS_REBUILDS") or 6)
SOON = 10.0  # seconds: far more than the one that is promised, for the machine is shared


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Callable[..., Site]]:
    """`host(engine_url)` -> a host that serves it; each call makes another."""
    with contextlib.ExitStack() as stack:

        def make(url: str, **environment: str) -> Site:
            names = {"ENGINE_URL": url, "WORKERS": "1", "LOG_LEVEL": "WARNING", "IDEMPOTENCY_HOURS": "1", **environment}
            return stack.enter_context(Site(tmp_path / "data", **names))

        yield make


class Reader(threading.Thread):
    """A client that asks for the same again and again. statuses: what came, with how many seconds it took."""

    def __init__(self, site: Site, path: str, pause: float = 0.02):
        super().__init__(name=f"reads {path}")
        self.answers: list[tuple[int | None, float, float]] = []  # status, seconds, when
        self._client, self._path, self._pause = site.client(), path, pause
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(self._pause):
            began = time.monotonic()
            self.answers.append((self._client.status("GET", self._path), time.monotonic() - began, began))
        self._client.close()

    def end(self) -> None:
        self._stop_asked.set()
        self.join()


@contextlib.contextmanager
def reading(site: Site, *paths: str) -> Iterator[list[Reader]]:
    readers = [Reader(site, path) for path in paths]
    for reader in readers:
        reader.start()
    try:
        yield readers
    finally:
        for reader in readers:
            reader.end()


def timed(client: Client, path: str) -> tuple[Answer, float]:
    began = time.perf_counter()
    answer = client.ask("GET", path)
    assert answer is not None
    return answer, time.perf_counter() - began


# ------------------------------------------------------------------------------------------------------------- the nodes


def test_one_node_of_two_is_killed(tmp_path: Path, host, seed: int):
    """No read fails that the other could serve, nothing acknowledged is lost, writes go on; it comes back, and is used again."""
    with server.OpenSearch(tmp_path / "cluster", nodes=2) as cluster:
        site = host(cluster.engine_url())
        site.server()
        client = site.client()
        create(client, "books")
        client.must("PUT", "/v1/indexes/books/documents/fixed", {"n": -1, "text": "fixed"})
        eventually(lambda: server.ask(cluster.nodes[0].url, "/_cluster/health")["status"] == "green", "both nodes have all")
        search = "/v1/indexes/books/search?timeout_ms=10000&q="  # this machine may be busy
        paths = f"{search}fixed", "/v1/indexes/books/documents/fixed", f"{search}word1&facets=n"
        with writing(site, "books", seed, count=3) as writers, reading(site, *paths) as readers:
            time.sleep(2)
            cluster.nodes[1].kill()
            killed, before = time.monotonic(), sum(writer.ledger.writes for writer in writers)
            eventually(lambda: sum(writer.ledger.writes for writer in writers) > before + 30, "writes go on")
            again = time.monotonic() - killed
            time.sleep(3)
            cluster.nodes[1].start()
            cluster.wait(2)
            time.sleep(3)
        failed = [(status, round(at - killed, 2)) for reader in readers for status, _, at in reader.answers if status != 200]
        slowest = max(seconds for reader in readers for _, seconds, _ in reader.answers)
        assert not failed, f"{failed[:10]}, {len(failed)} of {sum(len(reader.answers) for reader in readers)} reads"
        ledgers = [writer.ledger for writer in writers]
        there = assert_whole(client, "books", [*ledgers, _fixed()])
        lost = sum(ledger.refused for ledger in ledgers)
        print(f"30 writes {again:.2f} s after the kill, {lost} refused; slowest read {slowest:.2f} s; {there} documents")


def _fixed():
    from .support import Ledger

    return Ledger(acknowledged={"fixed": {"id": "fixed", "n": -1, "text": "fixed"}})


def test_the_cluster_is_stopped(tmp_path: Path, host):
    """503 with Retry-After at once, /health quick, not ready, the figures still there; all of it comes back by itself."""
    with server.OpenSearch(tmp_path / "cluster") as cluster:
        site = host(cluster.engine_url())
        site.server()
        client, node = site.client(), cluster.nodes[0]
        create(client, "books")
        client.must("PUT", "/v1/indexes/books/documents/a?refresh=wait_for", {"text": "here"})
        node.kill()
        eventually(lambda: client.status("GET", "/v1/indexes/books/search?q=here") == 503, "the engine is away")
        for seconds in (0, 35):  # then the keys have not been seen for long
            time.sleep(seconds)
            times: list[float] = []
            for path in ("/v1/indexes/books/search?q=here", "/v1/indexes/books/documents/a", "/db-health") * 20:
                answer, took = timed(client, path)
                assert answer.status == 503 and int(answer.headers["retry-after"]) >= 1, (path, answer)
                times.append(took)
            alive, quick = timed(client, "/health")
            figures, scrape = timed(client, "/metrics")
            assert alive.status == 200 and figures.status == 200 and b"searchapi_request_duration_seconds" in figures.body
            assert client.ask("GET", "/health/ready").status == 503
            print(
                f"after {seconds} s: 503 in {statistics.median(times) * 1000:.1f} ms, at most {max(times) * 1000:.0f} ms;", end=" "
            )
            print(f"/health {quick * 1000:.1f} ms, /metrics {scrape * 1000:.1f} ms")
            assert statistics.median(times) < 0.05 and max(times) < 1.0 and quick < 0.5
        node.start()
        cluster.wait()
        began = time.monotonic()
        eventually(lambda: client.status("GET", "/v1/indexes/books/search?q=here") == 200, "it is back")
        assert client.must("GET", "/v1/indexes/books/search?q=here")["total"] == 1
        assert client.ask("GET", "/health/ready").status == 200
        print(f"back {time.monotonic() - began:.1f} s after the node")


def test_a_slow_engine(tmp_path: Path, host, opensearch_node):
    """What does not need it answers at once, while every search takes seconds: health, keys that are refused, what is not there."""
    with Proxy(int(opensearch_node.rpartition(":")[2])) as proxy, server.prefixed(opensearch_node) as url:
        prefix = url.rpartition("/")[2]
        site = host(f"opensearch://127.0.0.1:{proxy.port}/{prefix}", THREADS="4", MAX_WAITING="8")
        site.server()
        client = site.client()
        create(client, "books")
        client.must("PUT", "/v1/indexes/books/documents/a?refresh=wait_for", {"text": "here"})
        stranger = Client(site.port, "sk_aaaaaaaaaaaa_bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb")
        proxy.delay = 2.0
        with reading(site, *["/v1/indexes/books/search?q=here&timeout_ms=10000"] * 3):
            time.sleep(4)
            took: dict[str, list[float]] = {}
            for _ in range(20):
                for who, path, status in (
                    (client, "/health", 200),
                    (stranger, "/v1/indexes/books/search?q=x", 401),
                    (client, "/nowhere", 404),
                    (client, "/v1/indexes/nothing/search?q=x", 404),
                ):
                    answer, seconds = timed(who, path)
                    assert answer.status == status, (path, answer)
                    took.setdefault(path, []).append(seconds)
                time.sleep(0.1)
        stranger.close()
        print({path: f"{statistics.median(found) * 1000:.1f} ms, at most {max(found) * 1000:.0f}" for path, found in took.items()})
        # Whoever asks when what is kept in memory is a second old waits for it for half a second, once.
        assert all(statistics.median(found) < 0.2 for found in took.values()) and max(took["/health"]) < 0.5
        proxy.delay = 0.0


# -------------------------------------------------------------------------------------------------------------- rebuilds


def test_rebuilds_whose_workers_are_killed(tmp_path: Path, host, opensearch_node, seed: int, monkeypatch):
    """Every acknowledged write is there in the end, writes are held up for seconds at most, and nothing is left over."""
    chance = random.Random(seed)
    with server.prefixed(opensearch_node) as url:
        site = host(url)
        site.server()
        client = site.client()
        create(client, "books")
        for start in range(0, 4000, 500):
            client.must(
                "POST",
                "/v1/indexes/books/documents",
                [{"id": f"d{n}", "n": n, "text": f"word{n % 500}"} for n in range(start, start + 500)],
            )
        worker = site.indexer()
        with writing(site, "books", seed, count=2) as writers, watching(writers) as watch:
            for n in range(KILLS):
                client.must("PATCH", "/v1/indexes/books/settings", {"language": ("german", "english", "none")[n % 3]})
                time.sleep(chance.uniform(0.2, 4.0))
                worker.kill()
                worker = site.indexer()
            eventually(lambda: not _settling(client), "the last rebuild is done", 240)
        ledgers = [writer.ledger for writer in writers]
        for ledger in ledgers:
            ledger.check(client.export("books"))
        documents = client.export("books")
        assert {f"d{n}" for n in range(4000)} <= documents.keys()
        assert client.search_all("books") == documents
        refused = [answer.status for writer in writers for answer in writer.refusals]
        writes = sum(ledger.writes for ledger in ledgers)
        print(f"{KILLS} kills, {writes} writes, refused {refused}; longest pause {watch.longest:.1f} s")
        assert watch.longest < 30
        worker.stop()
        _nothing_is_left(url, opensearch_node, monkeypatch)


def _settling(client: Client) -> bool:
    tasks = client.must("GET", "/v1/tasks?index=books")["tasks"]
    return any(task["status"] in ("queued", "running") for task in tasks)


def _nothing_is_left(url: str, node: str, monkeypatch) -> None:
    """One concrete index, which takes writes, once the housekeeping has been."""
    target = Target.parse(url)
    monkeypatch.setattr(workers, "RETIRED_FOR", -1.0)
    monkeypatch.setattr(workers, "EMPTY_FOR", -1.0)
    engine = OpenSearchEngine(target)
    try:
        workers.Worker(engine).housekeep()
        index = engine.registry.fresh("books")
        assert (index.building, index.task, index.retired) == (None, None, ())
        found = server.ask(node, f"/{target.prefix}.data.*/_settings?flat_settings=true")
        assert list(found) == [engine.registry.concrete(index)]
        assert "index.blocks.write" not in found[engine.registry.concrete(index)]["settings"]
    finally:
        engine.close()


class Watch(threading.Thread):
    """longest: seconds in which none of the writers was told that something is written."""

    def __init__(self, writers: list[Any]):
        super().__init__(name="watch")
        self.longest, self._writers, self._over = 0.0, writers, threading.Event()

    def run(self) -> None:
        known, since = -1, time.monotonic()
        while not self._over.wait(0.05):
            now = sum(writer.ledger.writes for writer in self._writers)
            if now != known:
                known, since = now, time.monotonic()
            self.longest = max(self.longest, time.monotonic() - since)


@contextlib.contextmanager
def watching(writers: list[Any]) -> Iterator[Watch]:
    watch = Watch(writers)
    watch.start()
    try:
        yield watch
    finally:
        watch._over.set()
        watch.join()


# ------------------------------------------------------------------------------------------------------------- two hosts


@pytest.fixture
def two(host, opensearch_url) -> tuple[Client, Client, Client]:
    """A client of each of two hosts, one of which has an indexer, and another of the second: each is for one thread."""
    sites = [host(opensearch_url), host(opensearch_url)]
    for site in sites:
        site.server(ready=False)
    sites[0].indexer()
    clients = [site.client() for site in (*sites, sites[1])]
    for client in clients:
        eventually(lambda client=client: client.status("GET", "/health/ready") == 200, "the server is ready")
    return tuple(clients)


def at_once(*calls: Callable[[], Any]) -> list[Any]:
    results: list[Any] = [None] * len(calls)
    barrier = threading.Barrier(len(calls))

    def run(n: int) -> None:
        barrier.wait()
        results[n] = calls[n]()

    threads = [threading.Thread(target=run, args=(n,)) for n in range(len(calls))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def test_two_hosts_infer_fields(two):
    """Each field has one type for both, each document is checked by it, and none that was accepted is lost."""
    one, other, _ = two
    one.must("POST", "/v1/indexes", {"name": "books"})
    eventually(lambda: other.status("GET", "/v1/indexes/books") == 200, "the other host knows it", SOON)
    accepted: dict[str, dict] = {}
    for n in range(25):
        documents = [{"id": f"a{n}", f"f{n}": "text", f"a{n}": n}, {"id": f"b{n}", f"f{n}": n, f"b{n}": True}]
        answers = at_once(
            lambda n=n, d=documents: one.ask("PUT", f"/v1/indexes/books/documents/a{n}", d[0]),
            lambda n=n, d=documents: other.ask("PUT", f"/v1/indexes/books/documents/b{n}", d[1]),
        )
        accepted |= {d["id"]: d for d, answer in zip(documents, answers, strict=True) if answer.status == 201}
        assert sorted(answer.status for answer in answers) in ([201, 201], [201, 422]), answers
        assert [answer.status for answer in answers].count(422) == 1, "text and a number in one field"
    assert one.export("books") == other.export("books") == accepted
    eventually(lambda: _fields(one) == _fields(other), "both agree", SOON)
    assert len(_fields(one)) == 1 + 2 * 25
    for id, document in accepted.items():
        name, value = next((name, value) for name, value in document.items() if name[0] in "ab")
        assert one.must("POST", "/v1/indexes/books/search", {"filter": f"{name} = {str(value).lower()}"})["hits"][0]["id"] == id


def _fields(client: Client) -> dict:
    return client.must("GET", "/v1/indexes/books")["fields"]


def test_two_hosts_make_and_delete_the_same_index(two, opensearch_url, opensearch_node):
    """One of two makes it, one of two deletes it; what is written meanwhile is in the index that there is, or was refused."""
    one, other, _ = two
    for _ in range(10):
        made = at_once(*[lambda c=c: c.status("POST", "/v1/indexes", {"name": "books"}) for c in (one, other)])
        assert sorted(made) == [201, 409]
        gone = at_once(
            lambda: one.status("DELETE", "/v1/indexes/books"),
            lambda: other.status("DELETE", "/v1/indexes/books"),
        )
        assert sorted(gone) in ([204, 204], [204, 404]) and 204 in gone, gone
        told = (
            one.ask("PUT", "/v1/indexes/books/documents/x", {"n": 1}),
            other.ask("PUT", "/v1/indexes/books/documents/x", {"n": 1}),
        )
        assert {answer.status for answer in told} == {404}, told
    for n in range(10):  # one writes while the other deletes it and makes it anew
        one.must("POST", "/v1/indexes", {"name": "books"})
        other.ask("GET", "/v1/indexes/books")
        written, _ = at_once(
            lambda n=n: [one.ask("PUT", f"/v1/indexes/books/documents/{n}-{m}", {"n": m}) for m in range(10)],
            lambda: [other.must("DELETE", "/v1/indexes/books"), other.must("POST", "/v1/indexes", {"name": "books"})],
        )
        assert {answer.status for answer in written} <= {201, 404, 503}, written
        eventually(lambda: one.status("GET", "/v1/indexes/books") == 200, "it is known that there is another", SOON)
        found = one.export("books")
        assert found == other.export("books")
        last = [answer.status == 201 for answer in written]
        after = len(last) - last[::-1].index(False) if False in last else 0  # those since the last that was refused
        assert all(f"{n}-{m}" in found for m in range(after, 10)) or after == 0
        one.must("DELETE", "/v1/indexes/books")
        eventually(lambda: other.status("GET", "/v1/indexes/books") == 404, "the other host knows that it is gone", SOON)
    prefix = Target.parse(opensearch_url).prefix
    assert server.ask(opensearch_node, f"/{prefix}.data.*/_settings?allow_no_indices=true") == {}


def test_settings_change_on_one_host_while_the_other_writes(two, seed):
    """No write is lost, and both agree within a second."""
    one, other, third = two
    create(one, "books")
    eventually(lambda: other.status("GET", "/v1/indexes/books") == 200, "the other host knows it", SOON)
    stop, written = threading.Event(), {}

    def write() -> None:
        n = 0
        while not stop.wait(0.002):
            answer = third.ask("PUT", f"/v1/indexes/books/documents/{n}", {"n": n, "text": f"word{n}", f"new{n % 10}": "x"})
            if answer is not None and answer.status == 201:
                written[str(n)] = {"id": str(n), "n": n, "text": f"word{n}", f"new{n % 10}": "x"}
            n += 1

    thread = threading.Thread(target=write)
    thread.start()
    waited = []
    try:
        for n in range(8):
            settings = {"language": ("german", "none")[n % 2]} if n % 2 else {"synonyms": [["a", f"b{n}"]]}
            one.must("PATCH", "/v1/indexes/books/settings", settings)
            began = time.monotonic()
            eventually(lambda: _settings(one) == _settings(other), "both agree", SOON)
            waited.append(time.monotonic() - began)
            time.sleep(0.5)
        eventually(lambda: not _settling(one), "the rebuilds are done", 120)
    finally:
        stop.set()
        thread.join()
    assert one.export("books") == other.export("books") == written and len(written) > 20
    assert one.search_all("books") == written
    print(f"{len(written)} writes; both agreed within {max(waited):.2f} s")


def _settings(client: Client) -> dict:
    return client.must("GET", "/v1/indexes/books")["settings"]


def test_a_revoked_key_is_refused_on_the_other_host(two):
    """Within a second, also while it is used all the time."""
    one, other, _ = two
    waited = []
    for _ in range(5):
        key = one.must("POST", "/v1/keys", {"scopes": ["search"], "indexes": ["*"]})
        eventually(lambda key=key: other.ask("GET", "/v1/indexes", headers=bearer(key["key"])).status == 200, "it is known", SOON)
        one.must("DELETE", f"/v1/keys/{key['id']}")
        began = time.monotonic()
        eventually(lambda key=key: other.ask("GET", "/v1/indexes", headers=bearer(key["key"])).status == 401, "it is refused", SOON)
        waited.append(time.monotonic() - began)
    print(f"refused on the other host after {max(waited):.2f} s at most")
    assert statistics.median(waited) < 2


def test_the_worker_waits_for_the_cluster(tmp_path: Path, host):
    """An indexer that is started before its cluster does its tasks when that is there."""
    with server.OpenSearch(tmp_path / "cluster") as cluster:
        url, node = cluster.engine_url(), cluster.nodes[0]
        node.stop()
        site = host(url)
        worker = site.start("-m", "searchapi", "indexer")
        time.sleep(6)
        assert worker.running
        node.start()
        cluster.wait()
        engine, system = open_engine(Settings(data_dir=tmp_path / "data", engine_url=url))
        try:
            task = eventually(lambda: _rebuilt(engine), "a task can be made")
            eventually(lambda: system.task(task).status == "succeeded", "it is done")
        finally:
            engine.close()
        assert worker.running and worker.stop() == 0
        assert "Traceback" not in worker.said()


def _rebuilt(engine: Any) -> str:
    from searchapi.model import IndexSettings

    engine.create_index("books", IndexSettings())
    return engine.rebuild("books")
