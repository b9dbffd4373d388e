"""Tasks: long work that a request starts and the indexer process does, one after another, in a thread beside the indexing."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from ...exceptions import EngineError, IndexNotFound, SearchAPIError
from ...model import Task
from ..tasks import conclude, delete_where
from .engine import EmbeddedEngine
from .system import now

log = logging.getLogger(__name__)

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
        conclude(system, task, self._do, now)
        return True

    def _do(self, task: Task) -> dict:
        if task.kind == "delete_where":
            return delete_where(self._engine, self._engine.system, task)
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
