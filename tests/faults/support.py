"""Real processes over one data folder, and clients that remember what was acknowledged.

Ended are only processes that were started here, by their ids, or those that Gunicorn started for us.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import orjson

from searchapi.config import Settings
from searchapi.engines import open_engine
from tests.keys import admin_key, bearer
from tests.ports import free_port

PATIENCE = 120.0  # seconds for what must come about by itself: generous, the machine may be crowded
CHECKOUT = Path(__file__).resolve().parents[2]
OTHER_FORMAT = "other"  # what the second release calls its generations
UNLIMITED = {"RATE_LIMIT_PER_KEY": "off", "RATE_LIMIT_PER_IP": "off"}  # clients here ask as fast as they can

# A release whose generations have another format: the same code with the constant changed.
_OTHER_INDEXER = f"""
import signal, sys, threading
from pathlib import Path
from searchapi.engines.embedded import generation
generation.FORMAT = {OTHER_FORMAT!r}
from searchapi.engines.embedded.indexer import Indexer
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
Indexer(Path(sys.argv[1])).run(stop)
"""


def eventually(true: Callable[[], Any], what: str, patience: float = PATIENCE) -> Any:
    """The first true answer; fails with `what` where there is none in time."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if answer := true():
            return answer
        time.sleep(0.05)
    raise AssertionError(f"not within {patience:.0f} s: {what}")


class Process:
    """One process of ours; what it says goes to `log`."""

    def __init__(self, log: Path, *arguments: str, **environment: str):
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=CHECKOUT,
                env={**os.environ, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def send(self, number: int) -> None:
        self._process.send_signal(number)

    def wait(self, timeout: float = PATIENCE) -> int:
        return self._process.wait(timeout)

    def kill(self) -> None:
        self.send(signal.SIGKILL)
        self.wait()

    def stop(self) -> int:
        """SIGTERM, and its exit status; killed where it does not end."""
        self.send(signal.SIGTERM)
        try:
            return self.wait(40)
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"did not stop: {self.said()[-2000:]}") from None

    def children(self) -> list[int]:
        with contextlib.suppress(OSError):
            return [int(pid) for pid in Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()]
        return []

    def said(self) -> str:
        return self.log.read_text(errors="replace")


class Site:
    """A data folder with an indexer and a server on it, as they run in production. A context manager: leaving it ends them."""

    def __init__(self, data: Path, logs: Path | None = None, **environment: str):
        self.data = data
        self.logs = logs or data.parent
        self.port = free_port()
        self.processes: list[Process] = []
        self._clients: list[Client] = []
        self._environment = {
            "DATA_DIR": str(data),
            "PORT": str(self.port),
            "ENVIRONMENT": "development",
            **UNLIMITED,
            **environment,
        }

    @cached_property
    def key(self) -> str:
        """One that may do everything, made when a client first needs it."""
        engine, system = open_engine(Settings(data_dir=self.data, engine_url=self._environment.get("ENGINE_URL", "embedded:")))
        try:
            return admin_key(self.data, system)
        finally:
            engine.close()

    def __enter__(self) -> Site:
        return self

    def __exit__(self, *_: object) -> None:
        for client in self._clients:
            client.close()
        for process in self.processes:
            if process.running:
                process.send(signal.SIGCONT)
                process.send(signal.SIGTERM)
        for process in self.processes:
            if process.running:
                try:
                    process.wait(40)
                except subprocess.TimeoutExpired:
                    process.kill()

    def start(self, *arguments: str) -> Process:
        process = Process(self.logs / "log", *arguments, **self._environment)
        self.processes.append(process)
        return process

    def indexer(self, other_format: bool = False) -> Process:
        if other_format:
            return self.start("-c", _OTHER_INDEXER, str(self.data))
        return self.start("-m", "searchapi", "indexer")

    def server(self, ready: bool = True) -> Process:
        server = self.start("-m", "gunicorn", "-c", "python:searchapi.gunicorn_conf", "searchapi.wsgi:app")
        if ready:
            client = self.client()
            eventually(lambda: client.status("GET", "/health/ready") == 200, "the server is ready")
        return server

    def client(self) -> Client:
        self._clients.append(Client(self.port, self.key))
        return self._clients[-1]

    def lock_holders(self) -> set[int]:
        """Processes that hold a lock on a generation, as the kernel has it."""
        inodes = {path.stat().st_ino for path in self.data.glob("indexes/*/*.lock")}
        held = set()
        for line in Path("/proc/locks").read_text().splitlines():
            parts = line.split()
            if "FLOCK" in parts and "->" not in parts and int(parts[5].rpartition(":")[2]) in inodes:
                held.add(int(parts[4]))
        return held

    def said(self) -> str:
        return (self.logs / "log").read_text(errors="replace")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: Any


class Client:
    """One keep-alive connection. A broken one answers None and is opened anew."""

    def __init__(self, port: int, key: str):
        self._port = port
        self._headers = bearer(key)
        self._connection: http.client.HTTPConnection | None = None

    def send(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> http.client.HTTPConnection:
        if self._connection is None:
            self._connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {}) | dict(headers)
        self._connection.request(method, path, orjson.dumps(body) if body is not None else None, headers)
        return self._connection

    def ask(self, method: str, path: str, body: Any = None, headers: Mapping[str, str] = {}) -> Answer | None:
        try:
            response = self.send(method, path, body, headers).getresponse()
            raw = response.read()
            kind = response.headers.get_content_type()
            decoded = orjson.loads(raw) if raw and kind.endswith("json") and "ndjson" not in kind else raw
            return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, decoded)
        except (OSError, http.client.HTTPException):
            self.close()
            return None

    def status(self, method: str, path: str, body: Any = None) -> int | None:
        answer = self.ask(method, path, body)
        return answer.status if answer is not None else None

    def must(self, method: str, path: str, body: Any = None) -> Any:
        """The body of a 2xx."""
        answer = self.ask(method, path, body)
        assert answer is not None and answer.status < 300, (method, path, answer)
        return answer.body

    def export(self, index: str) -> dict[str, Any]:
        lines = self.must("GET", f"/v1/indexes/{index}/export").splitlines()
        documents = [orjson.loads(line) for line in lines]
        found = {document["id"]: document for document in documents}
        assert len(found) == len(documents), "an id twice in the export"
        return found

    def search_all(self, index: str) -> dict[str, Any]:
        """Every document that searches see, by cursors."""
        body: dict[str, Any] | None = {"sort": ["n"], "limit": 200, "timeout_ms": 10_000}
        found: dict[str, Any] = {}
        while body is not None:
            answer = self.must("POST", f"/v1/indexes/{index}/search", body)
            for hit in answer["hits"]:
                assert hit["id"] not in found, f"{hit['id']} twice in a search"
                found[hit["id"]] = hit["document"]
            body = answer.get("next")
        return found

    def lag(self, index: str) -> int | None:
        answer = self.ask("GET", f"/v1/indexes/{index}/stats")
        return answer.body["lag"] if answer is not None and answer.status == 200 else None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


@dataclass
class Ledger:
    """What one client was told. Only it writes these documents, one request at a time, so their order is known.

    A write without a 2xx may or may not be there: `perhaps` holds those since the last acknowledged one."""

    acknowledged: dict[str, Any] = field(default_factory=dict)  # id -> document, None once deleted
    perhaps: dict[str, list[Any]] = field(default_factory=dict)
    sent: list[tuple[str, Any]] = field(default_factory=list)  # in order, before it is known what becomes of it
    writes: int = 0
    refused: int = 0

    def note(self, id: str, document: Any, accepted: bool, *, may_be_there: bool = True) -> None:
        if accepted:
            self.acknowledged[id] = document
            self.perhaps.pop(id, None)
            self.writes += 1
        else:
            self.refused += 1
            if may_be_there:
                self.perhaps.setdefault(id, []).append(document)

    def told(self) -> tuple[int, dict[str, list[Any]]]:
        """(how many were sent, what may be there of each document) by now. Asked from another thread: what is sent meanwhile
        counts as sent later."""
        count = len(self.sent)
        known = dict(self.acknowledged)
        return count, {id: [document, *self.perhaps.get(id, [])] for id, document in known.items()}

    def check(self, found: dict[str, Any]) -> None:
        for id in self.acknowledged.keys() | self.perhaps.keys():
            allowed = [self.acknowledged.get(id), *self.perhaps.get(id, [])]
            assert found.get(id) in allowed, f"{id}: {found.get(id)} is there, but {allowed} is what was written"


class Writer(threading.Thread):
    """A client that puts and deletes documents of its own until told to stop, one in six a batch."""

    def __init__(self, site: Site, index: str, number: int, seed: int, pause: float = 0.005, padding: int = 40):
        super().__init__(name=f"writer-{number}")
        self.ledger = Ledger()
        self.refusals: list[Answer] = []
        self.failure: BaseException | None = None
        self._client = site.client()
        self._path = f"/v1/indexes/{index}/documents"
        self._number = number
        self._random = random.Random(seed * 1000 + number)
        self._pause = pause
        self._padding = padding
        self._stop_asked = threading.Event()

    def run(self) -> None:
        try:
            while not self._stop_asked.wait(self._pause):
                self._write()
        except BaseException as error:
            self.failure = error
        finally:
            self._client.close()

    def end(self) -> Ledger:
        self._stop_asked.set()
        self.join()
        if self.failure is not None:
            raise self.failure
        return self.ledger

    def _document(self) -> dict[str, Any]:
        id = f"w{self._number}-{self._random.randrange(400)}"
        padding = "".join(self._random.choices("abcdefgh ", k=self._padding))
        return {"id": id, "n": self._random.randrange(1_000_000), "text": f"word{self._random.randrange(500)} {padding}"}

    def _write(self) -> None:
        kind, document = self._random.random(), self._document()
        if kind < 0.7:
            self.ledger.sent.append((document["id"], document))
            self._sent(self._client.ask("PUT", f"{self._path}/{document['id']}", document), [document])
        elif kind < 0.83:
            batch = list({d["id"]: d for d in (self._document() for _ in range(20))}.values())
            self.ledger.sent += [(d["id"], d) for d in batch]
            self._sent(self._client.ask("POST", self._path, batch), batch)
        else:
            self.ledger.sent.append((document["id"], None))
            answer = self._client.ask("DELETE", f"{self._path}/{document['id']}")
            gone = answer is not None and answer.status in (204, 404)
            self._noted(answer, document["id"], None, gone)

    def _sent(self, answer: Answer | None, documents: list[dict[str, Any]]) -> None:
        for document in documents:
            self._noted(answer, document["id"], document, answer is not None and answer.status < 300)

    def _noted(self, answer: Answer | None, id: str, document: Any, accepted: bool) -> None:
        if answer is not None and not accepted:
            self.refusals.append(answer)
        whole = answer is not None and answer.status == 503 and answer.body.get("code") == "storage_full"
        self.ledger.note(id, document, accepted, may_be_there=not whole)


@contextlib.contextmanager
def writing(site: Site, index: str, seed: int, count: int = 4, **rest: Any) -> Iterator[list[Writer]]:
    writers = [Writer(site, index, n, seed, **rest) for n in range(count)]
    for writer in writers:
        writer.start()
    try:
        yield writers
    finally:
        for writer in writers:
            writer.end()


def assert_whole(client: Client, index: str, ledgers: list[Ledger]) -> int:
    """Everything acknowledged is there, once, and the index has come to agree with the documents by itself. How many there are."""
    eventually(lambda: client.lag(index) == 0, "the index catches up")
    documents = client.export(index)
    for ledger in ledgers:
        ledger.check(documents)
    found = client.search_all(index)
    assert found.keys() == documents.keys()
    assert found == documents
    assert client.must("GET", f"/v1/indexes/{index}/search?limit=0")["total"] == len(documents)
    return len(documents)


def create(client: Client, index: str, **settings: Any) -> None:
    fields = {"n": {"type": "integer"}, "text": {"type": "text"}}
    client.must("POST", "/v1/indexes", {"name": index, "settings": {"fields": fields, **settings}})
