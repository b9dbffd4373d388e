"""Three times the load that there are turns for: who is admitted is answered in bounded time, the others at once, health always."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from .support import Process, Site, eventually

pytestmark = pytest.mark.slow

SLOW_MS, THREADS, WAITING, WORKERS = 50, 4, 8, 2
CLIENTS = 3 * WORKERS * (THREADS + WAITING)
DOCUMENT = "/v1/indexes/books/documents/a"


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    given = {"THREADS": THREADS, "MAX_WAITING": WAITING, "MAX_WAIT_MS": 1000, "WORKERS": WORKERS, "SLOW_MS": SLOW_MS}
    with Site(tmp_path / "data", RUNTIME_DIRECTORY=str(tmp_path), **{name: str(value) for name, value in given.items()}) as site:
        yield site


def slow_server(site: Site) -> Process:
    server = site.start("-m", "gunicorn", "-c", "python:searchapi.gunicorn_conf", "tests.faults.slow:app")
    client = site.client()
    eventually(lambda: client.status("GET", "/health/ready") == 200, "the server is ready")
    client.must("POST", "/v1/indexes", {"name": "books"})
    client.must("PUT", DOCUMENT, {"title": "x"})
    return server


@dataclass
class Load:
    """Clients that ask again as soon as they are answered. times: seconds by status; broken: connections without an answer."""

    site: Site
    stop: threading.Event = field(default_factory=threading.Event)
    times: dict[int, list[float]] = field(default_factory=dict)
    broken: int = 0

    def run(self, path: str, pause: float = 0.0) -> None:
        client = self.site.client()
        while not self.stop.wait(pause):
            started = time.perf_counter()
            answer = client.ask("GET", path)
            if answer is None:
                self.broken += 1
            else:
                self.times.setdefault(answer.status, []).append(time.perf_counter() - started)
                assert answer.status == 200 or (answer.body["code"], answer.headers["retry-after"]) == ("overloaded", "1")
        client.close()


def shown(times: list[float]) -> str:
    ordered = sorted(times)
    return f"{len(times)}: p50 {ordered[len(times) // 2] * 1000:.1f} ms, max {ordered[-1] * 1000:.0f} ms"


def in_flight(site: Site) -> dict[str, float]:
    lines = site.client().must("GET", "/metrics").decode().splitlines()
    names = ("searchapi_requests_in_flight", "searchapi_requests_waiting", "searchapi_requests_shed_total")
    return {line.split()[0]: float(line.split()[1]) for line in lines if line.startswith(names)}


def test_three_times_too_much(site):
    """Who is admitted waits no longer than it may, the others are refused quickly, /health is answered, and in the end all turns
    are free."""
    slow_server(site)
    load, health = Load(site), Load(site)
    health.stop = load.stop
    threads = [threading.Thread(target=load.run, args=(DOCUMENT, 0.01)) for _ in range(CLIENTS)]
    threads += [threading.Thread(target=health.run, args=("/health", 0.02)) for _ in range(2)]
    for thread in threads:
        thread.start()
    time.sleep(8)
    busy = in_flight(site)
    load.stop.set()
    for thread in threads:
        thread.join()
    print(f"{CLIENTS} clients; admitted {shown(load.times[200])}; refused {shown(load.times[503])}")
    print(f"/health {shown(health.times[200])}")
    assert load.broken == health.broken == 0 and load.times.keys() == {200, 503} and health.times.keys() == {200}
    assert max(load.times[200]) < 1.0 + 20 * SLOW_MS / 1000 + 5  # its patience, its work, a crowded machine
    assert max(load.times[503]) < 1.0 + 5 and sorted(load.times[503])[len(load.times[503]) // 2] < 1.0
    assert max(health.times[200]) < 5
    assert len(load.times[200]) > 100  # it went on working
    assert busy['searchapi_requests_in_flight{turn="read"}'] <= WORKERS * THREADS
    assert busy['searchapi_requests_waiting{turn="read"}'] <= WORKERS * (WAITING + THREADS)  # who was called counts until it wakes
    after = in_flight(site)
    assert after['searchapi_requests_shed_total{turn="read"}'] == len(load.times[503])
    assert all(value == 0 for name, value in after.items() if "shed" not in name), after
    assert site.client().status("GET", DOCUMENT) == 200


def test_stopped_under_load(site):
    """SIGTERM while turns are held and others wait for them: every request that was sent is answered."""
    server = slow_server(site)
    load = Load(site)
    statuses: list[int | None] = []

    def once() -> None:
        statuses.append(site.client().status("GET", DOCUMENT))

    threads = [threading.Thread(target=once) for _ in range(WORKERS * (THREADS + WAITING))]
    for thread in threads:
        thread.start()
    eventually(lambda: in_flight(site)['searchapi_requests_in_flight{turn="read"}'] > 0, "they are at work", 20)
    server.send(signal.SIGTERM)
    for thread in threads:
        thread.join()
    assert server.wait() == 0
    assert set(statuses) <= {200, 503} and statuses.count(200) >= THREADS, statuses
    assert load.broken == 0
