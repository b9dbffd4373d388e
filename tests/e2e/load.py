"""A bounded load from outside, through TLS: readers on fresh and on reused connections, and writers that remember what was
acknowledged.

It is a process of its own, `python -m tests.e2e.load plan.json`, so that what the tests do meanwhile does not slow it down. Every
client has an address and a pace; the whole ends by itself after `seconds`.

What counts as a failure: any error on a fresh connection, a 5xx, and an idempotent request that fails again after one retry on a
new connection. A reused connection that was closed under a request is a reset: counted, and no failure. A 4xx is not the server's
fault, but none of these requests should have one, so it counts as a failure too.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import statistics
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .server import Web

PATIENCE = 10.0  # seconds that one answer may take
QUERIES = ("house", "tempest", "garden", "green", "stone", "winter", "river", "tempst", "gard")  # two with a typo or unfinished
PACES = {"fresh": 0.2, "reused": 0.1, "write": 0.2}  # seconds between the requests of one client
CLIENTS = ("fresh", "fresh", "reused", "reused", "write", "write")  # each from an address of its own


@dataclass(frozen=True, slots=True)
class Plan:
    """seconds: when it ends at the latest. sources: an address for each client, to come from."""

    address: str
    domain: str
    authority: str
    sources: tuple[str, ...]
    key: str
    index: str
    seconds: float
    events: str
    acknowledged: str
    port: int = 443

    def web(self, number: int) -> Web:
        return Web(self.address, Path(self.authority), self.sources[number % len(self.sources)], self.domain, self.port)


class Failed(Exception):
    """An answer that no client should get."""


class Client(threading.Thread):
    """One client. Every request is a line of the plan's events: [when, kind, milliseconds, outcome]."""

    def __init__(self, kind: str, number: int, plan: Plan, stop: threading.Event, events: list):
        super().__init__(name=f"{kind}-{number}", daemon=True)
        self.kind, self.number, self.plan, self.stop, self.events = kind, number, plan, stop, events
        self.web = plan.web(number)
        self.context = self.web.context()
        self.connection: http.client.HTTPSConnection | None = None
        self.acknowledged: dict[str, int] = {}
        self.turn = 0

    def run(self) -> None:
        pace, due = PACES[self.kind], time.monotonic() + self.number * 0.03
        while not self.stop.wait(max(due - time.monotonic(), 0)):
            due = max(due + pace, time.monotonic() - pace)  # late ones are not made up for
            self.turn += 1
            began = time.monotonic()
            try:
                outcome = "reset" if self.step() else "ok"
            except (Failed, OSError, http.client.HTTPException) as error:
                outcome = f"failed: {type(error).__name__}: {error}"[:300]
                self.close()
            self.events.append((began, self.kind, round((time.monotonic() - began) * 1000, 1), outcome))
        self.close()

    def step(self) -> bool:
        """One request; whether it met a reset and was sent again."""
        if self.kind == "write":
            return self.write()
        path = f"/v1/indexes/{self.plan.index}/search?q={QUERIES[self.turn % len(QUERIES)]}&limit=5"
        if self.kind == "fresh":
            self.close()
        return self.send("GET", path)

    def write(self) -> bool:
        """A document that is written again and again, or, every fourth time, three at once that are new."""
        base = f"/v1/indexes/{self.plan.index}/documents"
        if self.turn % 4:
            identity = f"w{self.number}-{self.turn % 20}"
            reset = self.send("PUT", f"{base}/{identity}", self.document(identity))
            self.acknowledged[identity] = self.turn
            return reset
        names = [f"b{self.number}-{self.turn}-{k}" for k in range(3)]
        reset = self.send("POST", base, [self.document(name) for name in names], **{"Idempotency-Key": f"{self.name}-{self.turn}"})
        self.acknowledged |= dict.fromkeys(names, self.turn)
        return reset

    def document(self, identity: str) -> dict:
        return {"id": identity, "turn": self.turn, "title": f"written by {self.name}", "text": QUERIES[self.turn % len(QUERIES)]}

    def send(self, method: str, path: str, body: object = None, **headers: str) -> bool:
        reused = self.connection is not None
        try:
            self.once(method, path, body, headers)
        except (OSError, http.client.HTTPException):
            self.close()
            if not reused:
                raise
            self.once(method, path, body, headers)  # every request here is idempotent
            return True
        return False

    def once(self, method: str, path: str, body: object, headers: dict[str, str]) -> None:
        if self.connection is None:
            self.connection = self.web.connect(PATIENCE, self.context)
        text = None if body is None else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.plan.key}", "Content-Type": "application/json", **headers}
        self.connection.request(method, path, text, sent)
        answer = self.connection.getresponse()
        said = answer.read()
        if answer.will_close:
            self.close()
        if answer.status >= 400:
            raise Failed(f"{method} {path}: {answer.status} {said[:200].decode(errors='replace')}")

    def close(self) -> None:
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def main(path: str) -> None:
    plan = Plan(**json.loads(Path(path).read_text()))
    stop, events = threading.Event(), []
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    clients = [Client(kind, number, plan, stop, events) for number, kind in enumerate(CLIENTS)]
    for client in clients:
        client.start()
    stop.wait(plan.seconds)
    stop.set()
    for client in clients:
        client.join(3 * PATIENCE)
    with Path(plan.events).open("w") as file:
        file.writelines(json.dumps(event) + "\n" for event in sorted(events))
    acknowledged = {name: turn for client in clients for name, turn in client.acknowledged.items()}
    Path(plan.acknowledged).write_text(json.dumps(acknowledged))


# ------------------------------------------------------------------------------------------------- for the tests


@dataclass(frozen=True, slots=True)
class Event:
    """One request. at: time.monotonic() when it began, which all processes of a machine share."""

    at: float
    kind: str
    ms: float
    outcome: str


@dataclass(slots=True)
class Figures:
    """requests: how many; median and worst latency in seconds; resets of reused connections, failures with what was wrong."""

    requests: int
    median: float
    worst: float
    resets: int
    failures: list[str]

    def __str__(self) -> str:
        counted = f"{self.requests} requests, {len(self.failures)} failed, {self.resets} resets"
        return f"{counted}, median {self.median:.3f} s, worst {self.worst:.3f} s"


def figures(events: Iterable[Event]) -> Figures:
    found = list(events)
    times = [event.ms / 1000 for event in found] or [0.0]
    outcomes = Counter(event.outcome for event in found)
    failures = [f"{event.kind} at {event.at:.1f}: {event.outcome}" for event in found if event.outcome.startswith("failed")]
    return Figures(len(found), statistics.median(times), max(times), outcomes["reset"], failures)


@dataclass
class Load:
    """A running load. `during` marks what is done meanwhile; after `stop` its events can be asked for."""

    plan: Plan
    process: subprocess.Popen
    windows: list[tuple[str, float, float]] = field(default_factory=list)

    @contextlib.contextmanager
    def during(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        assert self.process.poll() is None, "the load has ended"
        try:
            yield
        finally:
            self.windows.append((what, began, time.monotonic()))

    def stop(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        assert self.process.wait(60) == 0, "the load broke down"

    def events(self) -> list[Event]:
        return [Event(*json.loads(line)) for line in Path(self.plan.events).read_text().splitlines()]

    def within(self, what: str) -> list[Event]:
        """What was under way in windows of this name."""
        spans = [(began, ended) for name, began, ended in self.windows if name == what]
        return [e for e in self.events() if any(e.at <= ended and e.at + e.ms / 1000 >= began for began, ended in spans)]

    def acknowledged(self) -> dict[str, int]:
        """Document id -> the last value that was acknowledged."""
        return json.loads(Path(self.plan.acknowledged).read_text())


@contextlib.contextmanager
def load(plan: Plan, folder: Path) -> Iterator[Load]:
    """The load, while the block runs and for `plan.seconds` at most."""
    written = folder / "plan.json"
    written.write_text(json.dumps(asdict(plan)))
    checkout = Path(__file__).resolve().parents[2]
    process = subprocess.Popen([sys.executable, "-m", "tests.e2e.load", str(written)], cwd=checkout, stdin=subprocess.DEVNULL)
    running = Load(plan, process)
    try:
        yield running
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(60)


if __name__ == "__main__":
    main(sys.argv[1])
