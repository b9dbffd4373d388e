"""What a key may know of: the names of indexes, aliases and tasks that it is shown.

`auth.py` has already answered 404 where the path names an index that the key may not see. Here is what is left: lists, names in
bodies, and indexes reached by an alias, whose own name the key may not know.
"""

from __future__ import annotations

from dataclasses import replace

from .auth import grant
from .exceptions import AliasNotFound, IndexNotFound, NotPermitted, TaskNotFound
from .keystore import Grant
from .model import IndexInfo, Task
from .services import services

LONGEST_LIST = 1000


def shown(index: str) -> str | None:
    """The name under which the caller knows an index: its own, else that of an alias for it; None where it may know of neither."""
    known = grant()
    if known.sees(index):
        return index
    aliases = services().system.aliases()
    return next((alias for alias, target in sorted(aliases.items()) if target == index and known.sees(alias)), None)


def indexes() -> list[tuple[str, IndexInfo]]:
    """(name, index) of those that the caller may know of, by name. Only they are opened, so the others cost no time either."""
    engine = services().engine
    names = ((shown(index), index) for index in engine.names())
    return sorted(((name, engine.index(index)) for name, index in names if name), key=lambda pair: pair[0])


def aliases() -> list[dict[str, str | None]]:
    """`{name, index}` of the aliases that the caller may know of; `index` is null where it may not know of that one."""
    known = grant()
    found = sorted(services().system.aliases().items())
    return [{"name": alias, "index": index if known.sees(index) else None} for alias, index in found if known.sees(alias)]


def alias(name: str) -> dict[str, str | None]:
    """One of them. Raises AliasNotFound."""
    for found in aliases():
        if found["name"] == name:
            return found
    raise AliasNotFound(name)


def must_see(index: str) -> str:
    """An index that a body or parameter names. Raises IndexNotFound."""
    if not grant().sees(index):
        raise IndexNotFound(index)
    return index


def may_make(index: str) -> str:
    """The name of an index to be made. Raises NotPermitted; whether there is one already plays no part."""
    known = grant()
    if not known.sees(index):
        raise NotPermitted(f"This key is for the indexes {', '.join(known.indexes)}.", code="forbidden_name")
    return index


def seen(task: Task, known: Grant) -> Task | None:
    """The task as the caller may know it, None where it may not."""
    if task.index is None:
        return task if "*" in known.indexes else None
    name = shown(task.index)
    return None if name is None else task if name == task.index else replace(task, index=name)


def by_name(task: Task, asked: str) -> Task:
    """A task that the caller has just made, of the index that it asked for by this name."""
    return task if task.index is None or grant().sees(task.index) else replace(task, index=asked)


def task(id: str) -> Task:
    """Raises TaskNotFound, also for a task of an index that the caller may not know of."""
    found = seen(services().system.task(id), grant())
    if found is None:
        raise TaskNotFound(id)
    return found


def tasks(index: str | None, limit: int) -> list[Task]:
    """The newest tasks that the caller may know of."""
    system, known = services().system, grant()
    if "*" in known.indexes:
        return system.tasks(index, limit)
    visible = (seen(one, known) for one in system.tasks(index, LONGEST_LIST))
    return [one for one in visible if one is not None][:limit]
