"""What `python -m searchapi indexer` does for this engine: tasks, one after another, and what is no longer needed. Any number of
hosts may run one; each task is done by one of them."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from ...exceptions import EngineError, EngineUnavailable, IndexNotFound, SearchAPIError
from ...model import Task
from ..tasks import conclude, delete_where
from .client import NotThere
from .concretes import SLOW
from .engine import REBUILD, OpenSearchEngine
from .rebuild import Rebuild, Replaced
from .registry import Index
from .system import now

log = logging.getLogger(__name__)

POLL = 0.25  # seconds between looks for a task
AWAY = 1.0  # seconds between them while there is no answer
HOUSEKEEPING = 15.0  # seconds between looks at what is no longer needed
RENEW = 10.0  # seconds between signs of life for the task that is being done
RETIRED_FOR = 60.0  # seconds a concrete index that was left stays, for searches and writes that were under way
EMPTY_FOR = 300.0  # seconds that an index which no record names stays: it may just be being made
TOMBSTONES_FOR = 3600.0  # seconds a deleted document's trace stays, for those who follow the writes


class Worker:
    def __init__(self, engine: OpenSearchEngine, idempotency_hours: float = 24):
        self._kept = idempotency_hours * 3600
        self.engine, self.system, self.registry = engine, engine.system, engine.registry
        self._housekept = time.monotonic()
        self._stop = threading.Event()
        self._empty: dict[str, float] = {}  # concrete indexes that no record names, and when they were first seen

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set: then what is under way is given up, and left to the next worker. The cluster may be away."""
        self._stop, away, wait = stop, False, 0.0
        try:
            while not stop.wait(wait):
                try:
                    wait = 0.0 if self.step() else POLL
                    away = False
                except EngineError as error:
                    if not away:  # one line; the client says when nodes are back
                        log.warning("tasks wait for the search engine: %s", error.detail)
                    away, wait = True, AWAY
                except Exception:  # a mistake of ours must not end what all indexes depend on
                    log.exception("tasks: an unexpected error")
                    wait = AWAY
        finally:
            self.engine.close()

    def step(self) -> bool:
        """Do the oldest task there is, if any."""
        if time.monotonic() - self._housekept > HOUSEKEEPING:
            self._housekept = time.monotonic()
            self.housekeep()
        task = self.system.claim_task()
        if task is None:
            return False
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(task.id, ended), name="renewing", daemon=True)
        renewing.start()
        try:
            conclude(self.system, task, self._do, now, again=(EngineUnavailable,))
        finally:
            ended.set()
            renewing.join()
        return True

    def _renew(self, id: str, ended: threading.Event) -> None:
        while not ended.wait(RENEW):
            try:
                self.system.renew_task(id)
            except EngineError as error:
                log.warning("tasks: %s", error.detail)

    def _do(self, task: Task) -> dict[str, Any]:
        if task.kind == "delete_where":
            return delete_where(self.engine, self.system, task)
        if task.kind == REBUILD:
            try:
                Rebuild(self.engine, task.index, lambda done, of: self._tell(task, done, of)).run()
            except Replaced:
                return {"replaced": True}
            return {}
        raise SearchAPIError(f"There is no task of the kind {task.kind!r}.")

    def _tell(self, task: Task, done: int, of: int) -> None:
        if self._stop.is_set():
            self.system.update_task(task.id, status="queued")
            raise EngineUnavailable("The indexer ends; the next one does this.")
        self.system.update_task(task.id, done=done, total=of)

    # --------------------------------------------------------------------------------------------------- housekeeping

    def housekeep(self) -> None:
        for index in self.registry.all():
            try:
                self._retired(index)
                if index.building is None:
                    self._tombstones(index)
            except (IndexNotFound, NotThere):
                continue
        self._abandoned()
        self.system.prune_claims(int((time.time() - self._kept) * 1000))

    def _retired(self, index: Index) -> None:
        before = (datetime.now(UTC) - timedelta(seconds=RETIRED_FOR)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        old = [n for n, at in index.retired if at < before]
        for n in old:
            path = f"/{self.registry.names.data(index.uid, n)}"
            self.engine.cluster.ask("DELETE", path, missing=True, again=True, timeout=SLOW)
        if old:
            self.registry.change(index.name, lambda found: _without(found, old))

    def _abandoned(self) -> None:
        """Indexes that are empty and that no record names: who was making one was killed in between."""
        pattern = self.registry.names.data("*", "*")
        params = {"format": "json", "h": "index,docs.count", "expand_wildcards": "open"}
        found = self.engine.cluster.ask("GET", f"/_cat/indices/{pattern}", params=params, again=True, timeout=SLOW)
        known = {self.registry.names.data(index.uid, n) for index in self.registry.all() for n in index.numbers}
        at = time.monotonic()
        empty = {row["index"] for row in found if row["docs.count"] == "0"} - known
        self._empty = {name: self._empty.get(name, at) for name in empty}
        for name in [name for name, since in self._empty.items() if at - since > EMPTY_FOR]:
            log.info("an index that was never used goes: %s", name)
            self.engine.cluster.ask("DELETE", f"/{name}", missing=True, again=True, timeout=SLOW)

    def _tombstones(self, index: Index) -> None:
        before = int((time.time() - TOMBSTONES_FOR) * 1000)
        old = {"bool": {"filter": [{"exists": {"field": "gone"}}, {"range": {"at": {"lt": before}}}]}}
        path = f"/{self.registry.concrete(index)}/_delete_by_query"
        params = {"conflicts": "proceed", "max_docs": "10000"}
        self.engine.cluster.ask("POST", path, {"query": old}, params=params, timeout=SLOW)


def _without(index: Index, old: list[int]) -> Index:
    return replace(index, retired=tuple((n, at) for n, at in index.retired if n not in old))
