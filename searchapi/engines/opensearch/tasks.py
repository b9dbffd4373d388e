"""P.tasks: long work, and who does it. Any number of workers on any hosts: each task is done by one of them.

Who claims a task has it for LEASE seconds, and longer by renewing it or telling how far it is. A worker that is gone does neither,
and another takes its task over. Leases are compared with this host's clock, so the clocks of all hosts must agree to some seconds.

A document is `{record}`, the task as JSON, beside what tasks are found by.
"""

from __future__ import annotations

import functools
import os
import socket
import time
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import orjson

from ...dates import now
from ...exceptions import EngineUnavailable, TaskNotFound
from ...model import Task
from .client import Cluster, Conflict
from .names import Names
from .table import KEYWORD, UNSEARCHED, Stamp, Table, attempts

LEASE = 30.0  # seconds
CLAIMED = 10  # tasks that are looked at for one to claim: others may be quicker with the first

_FIELDS = dict.fromkeys(("id", "kind", "index", "status", "created_at", "worker"), KEYWORD) | {"lease_ms": {"type": "long"}}
_CHANGES = {"status", "started_at", "finished_at", "done", "total", "detail", "error"}
_OPEN = ["queued", "running"]


class TaskLost(EngineUnavailable):
    """Another worker has the task by now, or it has ended: who is told this must leave it alone. No client ever is."""


class Tasks:
    """worker: who claims; by default this process."""

    def __init__(self, cluster: Cluster, names: Names, worker: str | None = None):
        self._table = Table(cluster, names.tasks, _FIELDS | {"record": UNSEARCHED})
        self._worker = worker

    @property
    def _me(self) -> str:
        return self._worker or _process(os.getpid())

    def create(self, kind: str, index: str | None, detail: Mapping[str, Any]) -> Task:
        task = Task(uuid.uuid4().hex, kind, index, "queued", now(), detail=dict(detail))
        record = {name: getattr(task, name) for name in Task.__dataclass_fields__}
        try:
            self._table.create(task.id, _source(record), again=True)
        except Conflict:
            pass  # with itself, sent a second time
        return task

    def get(self, id: str) -> Task:
        """Raises TaskNotFound."""
        found = self._table.get(id)
        if found is None:
            raise TaskNotFound(id)
        return _task(_record(found[0]))

    def newest(self, index: str | None, limit: int) -> list[Task]:
        query = {"match_all": {}} if index is None else {"term": {"index": index}}
        body = {"query": query, "sort": [{"created_at": "desc"}, {"id": "asc"}], "size": limit}
        return [_task(_record(hit["_source"])) for hit in self._table.search(body)]

    def update(self, id: str, changes: Mapping[str, Any]) -> None:
        """One that is not there is passed over. Raises TaskLost for one that another worker is at."""
        unknown = set(changes) - _CHANGES
        if unknown:
            raise ValueError(f"a task has no {sorted(unknown)}")

        def change(source: Mapping[str, Any]) -> dict[str, Any]:
            if source["status"] == "running" and source.get("worker") not in (None, self._me):
                raise TaskLost("Another worker has taken this task over.")
            return _source(_record(source) | changes, source.get("worker"))

        self._change(id, change, visible="status" in changes)

    def renew(self, id: str) -> None:
        """It is still being done by this worker. Raises TaskLost where that may not be so."""

        def change(source: Mapping[str, Any]) -> dict[str, Any]:
            if source["status"] != "running" or source.get("worker") != self._me:
                raise TaskLost("This task is no longer this worker's.")
            return _source(_record(source), self._me)

        self._change(id, change, visible=False)

    def claim(self) -> Task | None:
        """The oldest that is queued, or that was left. One that this worker has already was left too: it failed to end it."""
        held = {"filter": [{"term": {"status": "running"}}, {"range": {"lease_ms": {"gt": _now_ms()}}}]}
        held |= {"must_not": [{"term": {"worker": self._me}}]}
        query = {"bool": {"filter": [{"terms": {"status": _OPEN}}], "must_not": [{"bool": held}]}}
        body = {"query": query, "sort": [{"created_at": "asc"}, {"id": "asc"}], "size": CLAIMED}
        for hit in self._table.search(body):
            record = _record(hit["_source"]) | {"status": "running", "started_at": now()}
            try:
                self._table.replace(hit["_id"], _source(record, self._me), Stamp(hit["_seq_no"], hit["_primary_term"]))
            except Conflict:
                continue
            return _task(record)
        return None

    def _change(self, id: str, change: Callable[[Mapping[str, Any]], dict[str, Any]], *, visible: bool) -> None:
        for _ in attempts("The task"):
            found = self._table.get(id)
            if found is None:
                return
            try:
                self._table.replace(id, change(found[0]), found[1], visible=visible)
            except Conflict:
                continue
            return


@functools.cache
def _process(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}:{os.urandom(6).hex()}"


def _now_ms() -> int:
    return int(time.time() * 1000)


def _source(record: Mapping[str, Any], worker: str | None = None) -> dict[str, Any]:
    """The document of a task. What a newer release keeps of it is kept. worker: whose it is, from now on for LEASE."""
    found_by = {name: record[name] for name in ("id", "kind", "index", "status", "created_at")}
    lease = {"worker": worker, "lease_ms": _now_ms() + int(LEASE * 1000)} if worker else {}
    return found_by | lease | {"record": orjson.dumps(record).decode()}


def _record(source: Mapping[str, Any]) -> dict[str, Any]:
    return orjson.loads(source["record"])


def _task(record: Mapping[str, Any]) -> Task:
    return Task(**{name: value for name, value in record.items() if name in Task.__dataclass_fields__})
