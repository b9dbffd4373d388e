"""Real nodes that are killed and come back: who could be answered is answered, and nothing that was acknowledged is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from searchapi.engines.opensearch.client import Cluster
from searchapi.engines.opensearch.target import Target
from searchapi.exceptions import EngineError, EngineUnavailable
from tests.opensearch.server import OpenSearch

pytestmark = pytest.mark.slow
INDEX = "/searchapi.books"


@contextmanager
def opened(server: OpenSearch, **options: object) -> Iterator[Cluster]:
    cluster = Cluster(Target.parse(server.engine_url()), threads=6, **options)
    try:
        yield cluster
    finally:
        cluster.close()


def eventually(done, within: float = 120.0) -> float:
    """How long it took, in seconds."""
    began = time.monotonic()
    while True:
        try:
            if done():
                return time.monotonic() - began
        except (EngineError, OSError):
            pass
        assert time.monotonic() - began < within
        time.sleep(0.05)


class Load:
    """A context manager: threads that read and write all the time. reads, failures: of reads; acknowledged: ids."""

    def __init__(self, cluster: Cluster, readers: int = 2, writers: int = 2):
        self._cluster, self._stop = cluster, threading.Event()
        self.reads, self.failures, self.acknowledged, self.refused = 0, [], set(), 0
        self._threads = [threading.Thread(target=self._read) for _ in range(readers)]
        self._threads += [threading.Thread(target=self._write, args=(n,)) for n in range(writers)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(120)

    def _read(self) -> None:
        while not self._stop.wait(0.002):
            try:
                found = self._cluster.ask("POST", f"{INDEX}/_search", {"query": {"match_all": {}}}, again=True, timeout=20)
                assert found["_shards"]["failed"] == 0
                assert self._cluster.ask("GET", f"{INDEX}/_doc/first", again=True, timeout=20)["found"]
            except Exception as error:
                self.failures.append(error)
            self.reads += 2

    def _write(self, writer: int) -> None:
        n = 0
        while not self._stop.wait(0.005):
            n += 1
            try:
                self._cluster.ask("PUT", f"{INDEX}/_doc/{writer}-{n}", {"n": n}, timeout=60)
                self.acknowledged.add(f"{writer}-{n}")
            except EngineUnavailable:
                self.refused += 1


def make(cluster: Cluster, replicas: int) -> None:
    cluster.ask("PUT", INDEX, {"settings": {"number_of_replicas": replicas}})
    cluster.ask("PUT", f"{INDEX}/_doc/first", {"n": 0}, params={"refresh": "true"})
    cluster.ask("GET", f"/_cluster/health{INDEX}", params={"wait_for_status": "green", "timeout": "60s"}, timeout=70)


def test_one_node_of_two_is_killed(tmp_path: Path):
    """No read fails, no acknowledged write is lost; when it is back it is asked again."""
    with OpenSearch(tmp_path, 2) as server, opened(server) as cluster:
        make(cluster, 1)
        with Load(cluster) as load:
            eventually(lambda: load.reads > 200)
            server.nodes[1].kill()
            at, acknowledged = load.reads, len(load.acknowledged)
            eventually(lambda: load.reads > at + 600 and len(load.acknowledged) > acknowledged + 50)
            server.nodes[1].start()
            eventually(lambda: cluster.ask("GET", "/_cluster/health")["number_of_nodes"] == 2)
            at = load.reads
            eventually(lambda: load.reads > at + 200)
        print(f"\n{load.reads} reads, {len(load.failures)} failed; {len(load.acknowledged)} writes, {load.refused} refused")
        assert load.failures == []
        cluster.ask("POST", f"{INDEX}/_refresh")
        found = cluster.ask("POST", f"{INDEX}/_mget", {"ids": sorted(load.acknowledged)}, timeout=60)["docs"]
        assert {doc["_id"] for doc in found if doc["found"]} == load.acknowledged
        eventually(lambda: cluster.ask("GET", "/") and all(node.failures == 0 for node in cluster._nodes), 20)


def test_the_node_that_leads_is_killed(tmp_path: Path):
    """What is there can be read still."""
    with OpenSearch(tmp_path, 2) as server, opened(server) as cluster:
        make(cluster, 1)
        with Load(cluster, writers=0) as load:
            eventually(lambda: load.reads > 200)
            server.nodes[0].kill()
            at = load.reads
            eventually(lambda: load.reads > at + 600)
        print(f"\n{load.reads} reads, {len(load.failures)} failed")
        assert load.failures == []


def test_a_cluster_that_is_stopped(tmp_path: Path):
    """Once that is known, requests are refused within 50 ms, with when to come again. It is used again by itself, and has all."""
    with OpenSearch(tmp_path) as server, opened(server) as cluster:
        make(cluster, 0)
        server.nodes[0].stop()
        for _ in range(4):
            with pytest.raises(EngineUnavailable):
                cluster.ask("GET", f"{INDEX}/_doc/first", again=True)
        took = []
        for _ in range(50):
            started = time.perf_counter()
            with pytest.raises(EngineUnavailable) as caught:
                cluster.ask("GET", f"{INDEX}/_doc/first", again=True)
            took.append(time.perf_counter() - started)
            assert 1 <= caught.value.retry_after <= 10
        print(f"\nrefused within {sorted(took)[25] * 1e6:.0f} µs, at most {max(took) * 1000:.1f} ms")
        assert sorted(took)[25] < 0.05
        server.nodes[0].start()
        server.wait()
        took = eventually(lambda: cluster.ask("GET", f"{INDEX}/_doc/first")["found"], 30)
        print(f"answered {took:.1f} s after it was back")
