"""What a route may call: built once by `create_app`, kept in `app.extensions["searchapi"]`.

Here is what joins the two ports: names that are aliases, indexes made by their first documents, tasks that are waited for.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Literal

from flask import current_app, g

from .admission import step_aside
from .config import Settings
from .engines.base import Engine, SystemStore
from .exceptions import IndexExists, IndexNotFound, Invalid
from .keystore import KeyStore
from .model import IndexInfo, IndexSettings, Once, Operation, Task, WriteResult
from .query.limits import Limits, limits_for
from .schema import check_name, parse_settings
from .search import SearchService
from .writes import Batch, Documents, part, write_batch


@dataclass(frozen=True, slots=True)
class Services:
    settings: Settings
    engine: Engine
    system: SystemStore
    keys: KeyStore
    search: SearchService

    @property
    def limits(self) -> Limits:
        """What the request being answered is checked against: the settings, and what its key lowers of them."""
        caller = g.get("flask_httpauth_user")  # auth.known(), which imports this module
        if caller is None or caller.max_page_size is None:
            return self.settings.limits
        return limits_for(self.settings.limits, caller.max_page_size)

    # indexes and aliases

    def info(self, name: str) -> IndexInfo:
        """The index that a name or alias stands for. Raises IndexNotFound."""
        try:
            return self.engine.index(self.system.resolve(name))
        except IndexNotFound:
            raise IndexNotFound(name) from None  # the index of an alias has a name that the caller need not know

    def create_index(self, name: str, settings: IndexSettings) -> IndexInfo:
        """Raises Invalid for a bad name, IndexExists for one that an index or alias has."""
        return self.engine.create_index(check_name(name), settings)

    def set_alias(self, alias: str, index: str) -> None:
        """Point an alias at an index, in one step. Raises IndexNotFound, and IndexExists where the alias's name is an index's."""
        self.system.set_alias(check_name(alias, "alias"), index)

    # documents

    def write_one(self, name: str, operation: Operation, once: Once | None = None) -> WriteResult:
        """The result of one operation, which its outcome may say was refused. once: of the request."""
        return self.engine.write(name, [operation], once and part(once, 0, [operation], 1))

    def write_many(
        self,
        name: str,
        kind: Literal["put", "patch"],
        items: Documents,
        primary_key: str | None,
        may_create: bool,
        once: Once | None = None,
    ) -> Batch:
        """Write a batch. Puts create the index where it is missing, once a document can be written, with `primary_key` or `id`."""
        asked, name = name, self.system.resolve(name)
        try:
            known = self.engine.index(name).settings.primary_key
        except IndexNotFound:
            if kind != "put" or not may_create:
                raise IndexNotFound(asked) from None
            settings = parse_settings({"primary_key": primary_key or "id"})
            check_name(name)
            return write_batch(self.engine, name, kind, items, settings.primary_key, lambda: self._ensure(name, settings), once)
        if primary_key not in (None, known):
            raise Invalid.at("primary_key", "other_primary_key", f"The primary key of {asked!r} is {known!r}, not {primary_key!r}.")
        return write_batch(self.engine, name, kind, items, known, once=once)

    def _ensure(self, name: str, settings: IndexSettings) -> None:
        try:
            self.engine.create_index(name, settings)
        except IndexExists:  # another request made it meanwhile
            if self.engine.index(name).settings.primary_key != settings.primary_key:
                raise

    def refreshed(self, name: str, seq: int) -> bool:
        """Wait, bounded, until searches see `seq`. Others may work meanwhile."""
        step_aside()
        return self.engine.wait(name, seq, self.settings.wait_timeout_ms / 1000)

    # tasks

    def finished(self, task: Task) -> Task:
        """The task once it has ended, or as it stands after WAIT_TIMEOUT_MS. Others may work meanwhile."""
        step_aside()
        end, pause = time.monotonic() + self.settings.wait_timeout_ms / 1000, 0.01
        while task.status in ("queued", "running") and time.monotonic() < end:
            time.sleep(pause)
            pause = min(pause * 1.5, 0.2)
            task = self.system.task(task.id)
        return task


def services() -> Services:
    return current_app.extensions["searchapi"]
