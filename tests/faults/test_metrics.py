"""/metrics over several workers that are killed and replaced under load: counters never go back, and nothing is counted twice."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from .support import Client, Site, eventually

pytestmark = pytest.mark.slow

HEALTH = 'searchapi_request_duration_seconds_count{method="GET",route="/health",status="2xx"}'


def figures(client: Client) -> dict[str, float] | None:
    """Every counter by its row; None where the worker that was asked was killed meanwhile."""
    answer = client.ask("GET", "/metrics")
    if answer is None:
        return None
    assert answer.status == 200, answer
    found = {}
    for family in text_string_to_metric_families(answer.body.decode()):
        for sample in family.samples:
            labels = ",".join(f'{name}="{value}"' for name, value in sorted(sample.labels.items()))
            if family.type in ("counter", "histogram") or sample.name == "searchapi_workers":
                found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def must(client: Client) -> dict[str, float]:
    return eventually(lambda: figures(client), "a scrape", 30)


class Load(threading.Thread):
    def __init__(self, site: Site, stop: threading.Event):
        super().__init__()
        self.sent = self.answered = 0
        self._site, self._stop_asked = site, stop

    def run(self) -> None:
        client = self._site.client()
        while not self._stop_asked.wait(0.001):
            self.sent += 1
            if client.status("GET", "/health") == 200:
                self.answered += 1
        client.close()


class Scraper(threading.Thread):
    """Asks all the time, and finds rows that have gone back or away."""

    def __init__(self, site: Site, stop: threading.Event):
        super().__init__()
        self.scrapes, self.faults, self.failure = 0, [], None
        self._site, self._stop_asked = site, stop

    def run(self) -> None:
        client, before = self._site.client(), {}
        try:
            while not self._stop_asked.wait(0.005):
                found = figures(client)
                client.close()  # so that each worker is asked in turn
                if found is not None:
                    self.scrapes += 1
                    self.faults += [
                        (name, value, found.get(name))
                        for name, value in before.items()
                        if "workers" not in name and not found.get(name, -1.0) >= value
                    ]
                    before = found
        except BaseException as error:
            self.failure = error


def test_workers_die_and_are_replaced(tmp_path, seed):
    """kill -9, HUP and both at once, while clients ask and two scrape: what was counted stays counted, once."""
    chance, stop = random.Random(seed), threading.Event()
    with Site(tmp_path / "data", WORKERS="4", RUNTIME_DIRECTORY=str(tmp_path)) as site:
        server = site.server()
        clients, scrapers = [Load(site, stop) for _ in range(4)], [Scraper(site, stop) for _ in range(2)]
        for thread in (*clients, *scrapers):
            thread.start()
        kills = 0
        for round in range(8):
            time.sleep(chance.uniform(0.3, 1.0))
            for pid in chance.sample(server.children(), k=min(chance.choice((1, 1, 2)), len(server.children()))):
                os.kill(pid, signal.SIGKILL)
                kills += 1
            if round in (2, 5):
                server.send(signal.SIGHUP)
        client = site.client()
        eventually(lambda: (figures(client) or {}).get("searchapi_workers{}") == 4, "all workers are back")
        time.sleep(1)
        stop.set()
        for thread in (*clients, *scrapers):
            thread.join()
        eventually(
            lambda: len(list(tmp_path.glob("searchapi-metrics-*/*.db"))) == 4 * 3 + 2, "the files of the dead are one of each kind"
        )
        sent, answered = sum(c.sent for c in clients), sum(c.answered for c in clients)
        counted = must(client)[HEALTH]
        scrapes = sum(s.scrapes for s in scrapers)
        print(f"{kills} kills and 2 HUPs; sent {sent}, answered {answered}, counted {counted:.0f}; {scrapes} scrapes")
        assert [s.failure for s in scrapers] == [None, None] and [s.faults for s in scrapers] == [[], []]
        assert answered <= counted <= sent and scrapes > 20
        assert server.stop() == 0
    assert not list(tmp_path.glob("searchapi-metrics-*"))


def test_after_the_storm_it_is_exact(tmp_path):
    """Where nothing was in flight when workers were killed, what is counted is what was sent."""
    with Site(tmp_path / "data", WORKERS="3", RUNTIME_DIRECTORY=str(tmp_path)) as site:
        server = site.server()
        for round in range(1, 5):
            for _ in range(50):
                client = site.client()
                assert client.status("GET", "/health") == 200
                client.close()
            found = must(site.client())
            assert found[HEALTH] == round * 50
            before = set(server.children())
            for pid in before:
                os.kill(pid, signal.SIGKILL)
            eventually(lambda before=before: len(set(server.children()) - before) == 3, "other workers")
            eventually(lambda: site.client().status("GET", "/health/ready") == 200, "they are ready")


def test_two_instances(tmp_path):
    """Side by side, as in a deploy, each counts for itself; what a killed one leaves, the next one takes away."""
    run = {"RUNTIME_DIRECTORY": str(tmp_path), "WORKERS": "2"}
    with Site(tmp_path / "one", tmp_path, **run) as one, Site(tmp_path / "two", tmp_path, **run) as two:
        first, _ = one.server(), two.server()
        for _ in range(20):
            assert one.client().status("GET", "/health") == 200
        assert must(one.client())[HEALTH] == 20 and HEALTH not in must(two.client())
        folders = set(tmp_path.glob("searchapi-metrics-*"))
        assert len(folders) == 2
        workers = first.children()
        first.kill()
        eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "its workers have gone as well")
        one.server()
        assert len(set(tmp_path.glob("searchapi-metrics-*")) & folders) == 1
        assert HEALTH not in must(one.client())  # another instance begins at zero
