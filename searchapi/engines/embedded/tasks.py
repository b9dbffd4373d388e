"""Tasks: long work that a request starts and the indexer process does, one after another, in a thread beside the indexing."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from ...exceptions import EngineError, IndexNotFound, SearchAPIError
from ...model import Task
from ...query.filters import parse_filter
from ...query.limits import Limits
from .engine import EmbeddedEngine
from .system import now

log = logging.getLogger(__name__)

# A task's filter was checked against the server's own limits when the task was made.
ACCEPTED = Limits(max_filter_length=1_000_000, max_filter_nodes=100_000, max_in_values=1_000_000, max_filter_depth=200)
POLL = 0.1  # seconds between looks for a task


class TaskWorker:
    """Runs `delete_where` {filter: text}; tells of `rebuild` {generation: name}, which the indexer does."""

    def __init__(self, data_dir: Path):
        self._data_dir = data_dir
        self._engine: EmbeddedEngine | None = None

    def run(self, stop: threading.Event) -> None:
        try:
            while not stop.wait(POLL):
                try:
                    self.step()
                except EngineError as error:  # busy, full or read-only: the task stays claimed by this process and is tried again
                    log.error("tasks: %s", error.detail)
        finally:
            if self._engine is not None:
                self._engine.close()

    def step(self) -> bool:
        """Do the oldest task there is, if any."""
        if self._engine is None:
            self._engine = EmbeddedEngine(self._data_dir)
        system = self._engine.system
        for rebuild in system.open_rebuilds():
            self._tell(rebuild)
        task = system.claim_task()
        if task is None:
            return False
        try:
            detail = {**task.detail, **self._do(task)}
            system.update_task(task.id, status="succeeded", finished_at=now(), detail=detail)
        except IndexNotFound:  # its name is not told: who asks may know it by an alias alone
            system.update_task(task.id, status="failed", finished_at=now(), error="The index was deleted.")
        except SearchAPIError as error:
            system.update_task(task.id, status="failed", finished_at=now(), error=error.detail)
        except Exception:
            log.exception("task failed", extra={"task": task.id})
            system.update_task(task.id, status="failed", finished_at=now(), error="An unexpected error; the log has it.")
        return True

    def _do(self, task: Task) -> dict:
        engine = self._engine
        if task.kind == "delete_where":
            info = engine.index(task.index)
            filter = parse_filter(task.detail["filter"], info, ACCEPTED)
            done = engine.delete_where(task.index, filter, lambda n: engine.system.update_task(task.id, done=n))
            engine.system.update_task(task.id, done=done, total=done)
            return {"deleted": done}
        raise SearchAPIError(f"There is no task of the kind {task.kind!r}.")

    def _tell(self, task: Task) -> None:
        """How far a rebuild is. One that another replaced is done when that is: it holds the same documents and newer settings."""
        try:
            state, reached, newest = self._engine.rebuild_progress(task.index, task.detail["generation"])
        except IndexNotFound:
            state, reached, newest = "gone", task.done, task.done
        changes = {"status": "running", "started_at": task.started_at or now(), "done": reached, "total": max(reached, newest)}
        if state != "building":
            changes |= {"status": "succeeded", "finished_at": now()}
        if any(getattr(task, key) != value for key, value in changes.items()):
            self._engine.system.update_task(task.id, **changes)
