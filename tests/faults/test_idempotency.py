"""Writes that are sent until they are answered, while what answers is killed: each is done exactly once."""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import threading
import time
from typing import Any

import pytest

from .support import Answer, Process, Site, create, eventually

SECONDS = 12.0  # of kills
LONG = 2500  # documents of a batch that is written in several transactions

pytestmark = pytest.mark.slow


class Persistent(threading.Thread):
    """A client with documents of its own. Each write has a key and is sent until there is an answer, to which nobody may listen.

    A write that was done twice, or taken for done when it was not, would meet a condition that does not hold."""

    def __init__(self, site: Site, number: int, seed: int):
        super().__init__(name=f"persistent-{number}")
        self.documents: dict[str, tuple[int, str]] = {}  # id -> (n, ETag)
        self.written = self.replays = self.tries = 0  # operations on documents; answers from a record; requests
        self.failure: BaseException | None = None
        self._client, self._number = site.client(), number
        self._random = random.Random(seed * 1000 + number)
        self._made = 0
        self._stop_asked = threading.Event()

    def run(self) -> None:
        try:
            while not self._stop_asked.is_set():
                self._random.choices([self._create, self._change, self._delete, self._batch, self._alias], [4, 8, 2, 1, 1])[0]()
        except BaseException as error:
            self.failure = error

    def stop(self) -> None:
        self._stop_asked.set()

    def check(self) -> None:
        if self.failure is not None:
            raise self.failure

    def _create(self) -> None:
        id = self._new()
        answer = self._persist("PUT", f"/v1/indexes/books/documents/{id}", {"n": 0}, 201, {"If-None-Match": "*"})
        self.written += 1
        self.documents[id] = 0, answer.headers["etag"]

    def _change(self) -> None:
        if self.documents:
            id = self._random.choice(list(self.documents))
            n, etag = self.documents[id]
            answer = self._persist("PATCH", f"/v1/indexes/books/documents/{id}", {"n": n + 1}, 200, {"If-Match": etag})
            self.written += 1
            self.documents[id] = n + 1, answer.headers["etag"]

    def _delete(self) -> None:
        if self.documents:
            id = self._random.choice(list(self.documents))
            self._persist("DELETE", f"/v1/indexes/books/documents/{id}", None, 204, {"If-Match": self.documents.pop(id)[1]})
            self.written += 1

    def _batch(self) -> None:
        """Its documents are not changed again: their versions are not told."""
        count = self._random.choice([20, LONG])
        batch = [{"id": self._new(), "n": -1} for _ in range(count)]
        answer = self._persist("POST", "/v1/indexes/books/documents", batch, 200, {})
        assert (answer.body["accepted"], answer.body["errors"]) == (count, [])
        self.written += count

    def _alias(self) -> None:
        """Claimed, so not exactly once; but nobody is locked out by a claim whose process is dead."""
        self._persist("PUT", f"/v1/aliases/alias-{self._number}", {"index": "books"}, 200, {})

    def _new(self) -> str:
        self._made += 1
        return f"w{self._number}-{self._made}"

    def _persist(self, method: str, path: str, body: Any, status: int, headers: dict[str, str]) -> Answer:
        headers = {"Idempotency-Key": f"{self._number}-{self._random.getrandbits(64):x}", **headers}

        def answered() -> Answer | None:
            self.tries += 1
            if self._random.random() < 0.2:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    self._client.send(method, path, body, headers)
                self._client.close()
                return None
            answer = self._client.ask(method, path, body, headers)
            busy = answer is None or answer.status == 503 or answer.status == 409
            return None if busy else answer

        answer = eventually(answered, f"{method} {path} is answered")
        assert answer.status == status, (method, path, headers, answer)
        self.replays += "idempotency-replayed" in answer.headers
        return answer


def test_each_write_once_whatever_is_killed(site: Site, seed: int):
    """Every write is answered as if nothing had happened; the store has counted as many as were meant, and has what was meant."""
    chance, server, kills = random.Random(seed), site.server(), 0
    create(site.client(), "books")
    threads = [Persistent(site, number, seed) for number in range(4)]
    for thread in threads:
        thread.start()
    end, servers = time.monotonic() + SECONDS, 0
    try:
        while time.monotonic() < end:
            time.sleep(chance.uniform(0.05, 0.5))
            if chance.random() < 0.1:
                _kill_all(server)
                server, servers = site.server(), servers + 1
            else:
                kills += _kill_one(server, chance)
    finally:
        for thread in threads:
            thread.stop()
        for thread in threads:
            thread.join()
    for thread in threads:
        thread.check()
    written = sum(thread.written for thread in threads)
    client = site.client()
    eventually(lambda: client.status("GET", "/health/ready") == 200, "the server is back")
    assert client.must("GET", "/v1/indexes/books/stats")["seq"] == written
    found = client.export("books")
    for thread in threads:
        mine = {id: document["n"] for id, document in found.items() if id.startswith(f"w{thread._number}-") and document["n"] >= 0}
        assert mine == {id: n for id, (n, _) in thread.documents.items()}
    tries, replays = sum(thread.tries for thread in threads), sum(thread.replays for thread in threads)
    assert kills and replays
    print(f"{kills} workers and {servers} servers killed; {written} documents written in {tries} requests, {replays} replays")


def _kill_one(server: Process, chance: random.Random) -> int:
    workers = server.children()
    if workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(chance.choice(workers), signal.SIGKILL)
    return len(workers[:1])


def _kill_all(server: Process) -> None:
    workers = server.children()
    server.kill()
    for pid in workers:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
