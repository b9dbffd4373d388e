"""Admission: turns, lines for them, refusals, and that every turn is given back."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from searchapi.admission import Turns
from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase
from searchapi.exceptions import Overloaded
from searchapi.metrics import Metrics
from tests.keys import admin_key

from .conftest import API

IDLE = {"in_flight": 0, "waiting": 0}
PATIENCE = 30.0  # seconds: generous, the machine may be crowded


class Gated:
    """The real engine, but every look at an index waits until the gate is open."""

    def __init__(self, real: EmbeddedEngine):
        self.real, self.gate, self.inside = real, threading.Event(), threading.Semaphore(0)
        self.gate.set()

    def index(self, name: str):
        self.inside.release()
        assert self.gate.wait(PATIENCE)
        return self.real.index(name)

    def __getattr__(self, name: str):
        return getattr(self.real, name)


class Door:
    """An application over such an engine, with an index `books`."""

    def __init__(self, folder, **settings):
        system = SystemDatabase(folder)
        self.engine = Gated(EmbeddedEngine(folder, system))
        small = {"threads": 2, "write_threads": 1, "stream_threads": 1, "max_waiting": 1, "max_wait_ms": 20_000}
        unlimited = {"rate_limit_per_ip": "off", "rate_limit_per_key": "off", "rate_limit_bad_keys": "off"}
        self.app = create_app(Settings(data_dir=folder, **(small | unlimited | settings)), self.engine, system)
        self.key = admin_key(folder, system)
        self.api = API(self.app.test_client(), self.key)
        self.api.post("/v1/indexes", json={"name": "books"})
        self.api.put("/v1/indexes/books/documents/a", json={"title": "x"})

    def state(self) -> dict[str, dict[str, int]]:
        return self.app.extensions["admission"].state()

    def at_rest(self) -> bool:
        return all(state == IDLE for state in self.state().values())

    def asking(self, method: str, path: str, **rest) -> Asking:
        return Asking(API(self.app.test_client(), self.key), method, path, rest)

    @contextmanager
    def shut(self) -> Iterator[None]:
        """Whoever comes to the engine waits there."""
        self.engine.gate.clear()
        while self.engine.inside.acquire(blocking=False):
            pass
        try:
            yield
        finally:
            self.engine.gate.set()

    def counted(self, name: str) -> float:
        text = self.api.get("/metrics").decode()
        return float(next(line.split()[-1] for line in text.splitlines() if line.startswith(name)))


class Asking(threading.Thread):
    """A request in a thread of its own."""

    def __init__(self, api: API, method: str, path: str, rest: dict):
        super().__init__()
        self._ask = lambda: api.raw(method, path, **rest)
        self.start()

    def run(self) -> None:
        self.answer = self._ask()
        self.ended = time.monotonic()

    def status(self) -> int:
        self.join(PATIENCE)
        return self.answer.status_code


def until(true) -> None:
    end = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


@pytest.fixture
def door(tmp_path) -> Door:
    return Door(tmp_path)


DOCUMENT = "/v1/indexes/books/documents/a"


def test_more_than_there_are_turns_for(door):
    """Two work, one waits, the next is refused at once; health, and what takes no turn of theirs, is answered meanwhile."""
    with door.shut():
        working = [door.asking("GET", DOCUMENT) for _ in range(2)]
        for _ in working:
            assert door.engine.inside.acquire(timeout=PATIENCE)
        waiting = door.asking("GET", DOCUMENT)
        until(lambda: door.state()["read"] == {"in_flight": 2, "waiting": 1})
        started = time.monotonic()
        body = door.api.get(DOCUMENT, fails=503, code="overloaded")
        assert time.monotonic() - started < 10 and body["status"] == 503  # it did not wait for its turn
        assert door.api.raw("GET", DOCUMENT).headers["Retry-After"] == "1"
        assert door.api.get("/health") == {"status": "ok"}
        assert door.api.get("/health/ready")["turns"]["read"] == {"in_flight": 2, "waiting": 1}
        assert door.counted('searchapi_requests_shed_total{turn="read"}') == 2
        assert door.counted('searchapi_requests_in_flight{turn="read"}') == 2
        assert door.counted('searchapi_requests_waiting{turn="read"}') == 1
        API(door.app.test_client()).get("/v1/indexes/books/documents/a", fails=401)  # who may not, is told so, busy or not
        door.api.post("/v1/indexes", json={"name": "others"})  # writes have turns of their own
    assert [ask.status() for ask in (*working, waiting)] == [200, 200, 200]
    assert door.at_rest()


def test_waits_no_longer_than_it_may(tmp_path):
    """Who has waited MAX_WAIT_MS is refused, and leaves no trace in the line."""
    door = Door(tmp_path, threads=1, max_wait_ms=50)
    with door.shut():
        working = door.asking("GET", DOCUMENT)
        assert door.engine.inside.acquire(timeout=PATIENCE)
        for _ in range(3):
            door.api.get(DOCUMENT, fails=503, code="overloaded")
        assert door.state()["read"] == {"in_flight": 1, "waiting": 0}
    assert working.status() == 200
    assert door.api.get(DOCUMENT)["title"] == "x" and door.at_rest()


def test_an_error_anywhere_gives_the_turn_back(tmp_path):
    """Refusals, crashes in the route and after it, what is no Exception, HEAD, 304: one turn of each kind is enough for all."""
    door = Door(tmp_path, threads=1, max_waiting=0)
    api = door.api
    etag = api.raw("GET", DOCUMENT).headers["ETag"]

    def crash(*_):
        raise RuntimeError("planted")

    def end(*_):
        raise SystemExit

    for _ in range(3):
        api.get("/v1/indexes/none/documents/a", fails=404)
        api.get("/v1/indexes/books/search?nope=1", fails=422)
        api.put(DOCUMENT, data="{", content_type="application/json", fails=400)
        api.call("PUT", "/v1/indexes/books", fails=405)
        api.get("/v1/indexes/none/export", fails=404)
        assert api.raw("HEAD", DOCUMENT).status_code == 200
        assert api.raw("HEAD", "/v1/indexes/books/export").status_code == 200
        assert api.raw("GET", DOCUMENT, headers={"If-None-Match": etag}).status_code == 304
        door.engine.get = crash
        api.get(DOCUMENT, fails=500)
        door.engine.get = end
        with pytest.raises(SystemExit):
            api.raw("GET", DOCUMENT)
        del door.engine.get
        assert door.at_rest(), door.state()
    door.app.after_request_funcs.setdefault(None, []).append(crash)
    for _ in range(3):
        assert api.client.get(DOCUMENT, headers={"Authorization": f"Bearer {door.key}"}).status_code == 500
        assert door.at_rest()


def test_an_export_holds_its_turn_until_it_is_closed(tmp_path):
    """Until its end, or until the client has gone; others are refused meanwhile, and searches are not."""
    door = Door(tmp_path, max_waiting=0)
    door.api.post("/v1/indexes/books/documents", json=[{"id": str(n), "text": "word " * 200} for n in range(300)])
    headers = {"Authorization": f"Bearer {door.key}"}
    for how in ("to the end", "left early", "not even begun"):
        response = door.app.test_client().get("/v1/indexes/books/export", headers=headers)
        pieces = response.iter_encoded()
        if how != "not even begun":
            next(pieces)
        assert door.state()["stream"]["in_flight"] == 1
        door.api.get("/v1/indexes/books/export", fails=503, code="overloaded")
        assert door.api.get(DOCUMENT)["title"] == "x"
        if how == "to the end":
            assert b"".join(pieces)
            assert door.at_rest()
        response.close()
        assert door.at_rest(), how
    assert door.counted('searchapi_request_duration_seconds_count{method="GET",route="/v1/indexes/<segment:index>/export"') >= 3


@pytest.mark.parametrize(("seats", "other"), [(1, 200), (0, 503)])
def test_who_waits_for_the_index_lets_others_write(tmp_path, seats, other):
    """`refresh=wait_for` has given its turn to the next write, as long as there are seats to wait in. (No indexer runs here.)"""
    door = Door(tmp_path, max_waiting=seats, wait_timeout_ms=1500)
    waiting = door.asking("PUT", DOCUMENT + "?refresh=wait_for", json={"title": "y"})
    until(lambda: door.state()["aside" if seats else "write"]["in_flight"] == 1)
    assert door.api.raw("PUT", "/v1/indexes/books/documents/b", json={"title": "z"}).status_code == (201 if other == 200 else other)
    assert waiting.status() == 200 and waiting.answer.get_json()["refreshed"] is False
    assert door.at_rest()


def test_in_the_order_they_came():
    """The line is one: who came first goes first."""
    turns, order = Turns("read", 1, 8, PATIENCE, Metrics(Settings())), []

    def work(number: int) -> None:
        turns.take()
        order.append(number)
        turns.give()

    turns.take()
    threads = [threading.Thread(target=work, args=(n,)) for n in range(8)]
    for number, thread in enumerate(threads):
        thread.start()
        until(lambda n=number: turns.state()["waiting"] == n + 1)
    with pytest.raises(Overloaded):
        turns.take()
    turns.give()
    for thread in threads:
        thread.join(PATIENCE)
    assert order == list(range(8)) and turns.state() == IDLE


def test_turns_are_never_lost_nor_doubled():
    """Where turns come just as the patience ends, nobody works beyond their number, and all are there in the end."""
    size, inside, most, refused = 2, 0, 0, 0
    turns, lock, stop = Turns("read", size, 4, 0.0005, Metrics(Settings())), threading.Lock(), time.monotonic() + 1.0

    def work() -> None:
        nonlocal inside, most, refused
        while time.monotonic() < stop:
            try:
                turns.take()
            except Overloaded:
                with lock:
                    refused += 1
                continue
            with lock:
                inside += 1
                most = max(most, inside)
            time.sleep(0.0005)
            with lock:
                inside -= 1
            turns.give()

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert most <= size and refused and turns.state() == IDLE
    assert turns.take_free() and turns.take_free() and not turns.take_free()


def test_there_is_always_a_thread_to_refuse_with(tmp_path):
    """Gunicorn has more threads than can have something to do at once."""
    env = {"PATH": "", "PYTHONPATH": str(tmp_path.cwd()), "THREADS": "7", "WRITE_THREADS": "5", "STREAM_THREADS": "3"}
    code = "import searchapi.gunicorn_conf as c; print(c.threads)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=env, capture_output=True, text=True, check=True)
    kinds = Door(tmp_path, threads=7, write_threads=5, stream_threads=3, max_waiting=8).app.extensions["admission"]
    busy = sum(turns._size + turns._places for turns in (*kinds.turns.values(), kinds.aside))
    assert int(done.stdout) >= busy + 2
