"""What the processes of the load tests do: functions at the top of a module, because each runs in a fresh Python."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from searchapi.engines.embedded import EmbeddedEngine, generation
from searchapi.exceptions import DocumentNotFound, EngineUnavailable
from searchapi.model import Compare, Operation, Page, Query

GROUPS = ("a", "b", "c")
IDS = 240  # documents that change, a quarter for each writer
WRITERS = 4
INDEX = "books"


@dataclass
class Shared:
    """versions: last acknowledged version of each document that changes. added: (documents only ever added and acknowledged, the
    seq of the last of them). ready: processes that have begun. stop: set when all is to end."""

    versions: Any
    added: Any
    ready: Any
    stop: Any
    failures: Any
    counts: Any

    @classmethod
    def make(cls, context) -> Shared:
        return cls(
            context.Array("q", IDS), context.Array("q", 2), context.Value("q"), context.Event(), context.Queue(), context.Queue()
        )


def run(role: str, data: str, shared: Shared, number: int, seed: int, format: str | None) -> None:
    """One process. What goes wrong is put in `failures`; its figures in `counts`."""
    if format:
        generation.FORMAT = format
    engine, chance = EmbeddedEngine(Path(data)), random.Random(seed * 100 + number)
    with shared.ready.get_lock():
        shared.ready.value += 1
    try:
        count, slowest = 0, 0.0
        work = {"write": Writing, "read": Reading, "add": Adding}[role](engine, shared, chance, number)
        while not shared.stop.is_set():
            started = time.perf_counter()
            count += work.step()
            slowest = max(slowest, time.perf_counter() - started)
        shared.counts.put((role, count, slowest))
    except BaseException as error:
        shared.failures.put(f"{role} {number} {format or ''}: {type(error).__name__}: {error} {getattr(error, 'code', '')}")
        shared.stop.set()
        raise
    finally:
        engine.close()


class Writing:
    """Rewrites its quarter of the documents, each time under another group; the body names its group."""

    def __init__(self, engine: EmbeddedEngine, shared: Shared, chance: random.Random, number: int):
        self.engine, self.shared, self.chance, self.number = engine, shared, chance, number

    def step(self) -> int:
        n = self.chance.randrange(self.number, IDS, WRITERS)
        group = self.chance.choice(GROUPS)
        document = {"id": f"d{n}", "n": n, "group": group, "body_group": group, "text": f"word{self.chance.randrange(300)}"}
        outcome = self.engine.write(INDEX, [Operation("put", document["id"], document)]).outcomes[0]
        if outcome.error is not None:
            raise outcome.error
        self.shared.versions[n] = outcome.version
        time.sleep(0.002)
        return 1


class Reading:
    """Reads by id what was just acknowledged, and searches by group."""

    def __init__(self, engine: EmbeddedEngine, shared: Shared, chance: random.Random, number: int):
        self.engine, self.shared, self.chance = engine, shared, chance

    def step(self) -> int:
        n = self.chance.randrange(IDS)
        known = self.shared.versions[n]
        try:
            version = self.engine.get(INDEX, f"d{n}").version
        except DocumentNotFound:
            version = 0
        if version < known:
            raise AssertionError(f"d{n} was at {known}, but {version} was read")
        group = self.chance.choice(GROUPS)
        for hit in self.engine.search(INDEX, Query(filter=Compare("group", "=", group), page=Page(limit=50))).hits:
            body = orjson.loads(hit.body)
            if body["group"] != group or body["body_group"] != group:
                raise AssertionError(f"{hit.id} has {body}, but was found under {group!r}")
        return 1


class Adding:
    """number even: adds documents, and now and then a field of a new name. Odd: counts them. A count must never fall, nor be below
    what was acknowledged before the index said that it had caught up with it. A release whose own generation is not there yet is
    not asked for it: it is what a deploy waits for."""

    def __init__(self, engine: EmbeddedEngine, shared: Shared, chance: random.Random, number: int):
        self.engine, self.shared, self.number = engine, shared, number
        self.most, self.written, self.ready = 0, 0, False

    def step(self) -> int:
        return self._count() if self.number % 2 else self._add()

    def _add(self) -> int:
        documents = [{"id": f"n{self.number}-{self.written + k}", "text": "the houses of added things"} for k in range(5)]
        if self.written % 200 == 0:
            documents[0][f"field_{self.number}_{self.written // 200}"] = "new"
        result = self.engine.write(INDEX, [Operation("put", d["id"], d) for d in documents])
        for outcome in result.outcomes:
            if outcome.error is not None:
                raise outcome.error
        self.written += len(documents)
        with self.shared.added.get_lock():
            self.shared.added[0] += len(documents)
            self.shared.added[1] = max(result.seq, self.shared.added[1])
        time.sleep(0.01)
        return len(documents)

    def _count(self) -> int:
        with self.shared.added.get_lock():
            added, seq = self.shared.added[:]
        try:
            reached = self.engine.wait(INDEX, seq, 1.0)
            total = self.engine.search(INDEX, Query(page=Page(limit=1))).total
        except EngineUnavailable as error:
            if self.ready or error.code != "index_rebuilding":
                raise
            time.sleep(0.05)
            return 0
        self.ready = True
        if total < self.most or (reached and total < added):
            raise AssertionError(f"{total} found, after {self.most}, with {added} acknowledged and {reached=}")
        self.most = max(total, self.most)
        return 1
