"""Tasks, as the worker of either engine does one: run, then told what became of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any

from ..exceptions import IndexNotFound, SearchAPIError
from ..model import Task
from ..query.filters import parse_filter
from ..query.limits import Limits
from .base import Engine, SystemStore

log = logging.getLogger(__name__)

# A task's filter was checked against the server's own limits when the task was made.
ACCEPTED = Limits(max_filter_length=1_000_000, max_filter_nodes=100_000, max_in_values=1_000_000, max_filter_depth=200)


def conclude(
    system: SystemStore,
    task: Task,
    do: Callable[[Task], Mapping[str, Any]],
    now: Callable[[], str],
    again: tuple[type[Exception], ...] = (),
) -> None:
    """Run a task. do: answers what joins its detail. again: what is raised, and leaves the task to be tried again."""
    try:
        detail = {**task.detail, **do(task)}
        system.update_task(task.id, status="succeeded", finished_at=now(), detail=detail)
    except IndexNotFound:  # its name is not told: who asks may know it by an alias alone
        system.update_task(task.id, status="failed", finished_at=now(), error="The index was deleted.")
    except again:
        raise
    except SearchAPIError as error:
        system.update_task(task.id, status="failed", finished_at=now(), error=error.detail)
    except Exception:
        log.exception("task failed", extra={"task": task.id})
        system.update_task(task.id, status="failed", finished_at=now(), error="An unexpected error; the log has it.")


def delete_where(engine: Engine, system: SystemStore, task: Task) -> dict[str, Any]:
    """The task of that kind: {filter: text}."""
    filter = parse_filter(task.detail["filter"], engine.index(task.index), ACCEPTED)
    done = engine.delete_where(task.index, filter, lambda n: system.update_task(task.id, done=n))
    system.update_task(task.id, done=done, total=done)
    return {"deleted": done}
