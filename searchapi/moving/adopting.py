"""Taking over an index of OpenSearch that we did not make: read, its settings inferred, its documents written into one of ours."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

import orjson

from ..engines.changes import Changes, PositionLost
from ..exceptions import Conflict, StorageFull
from ..model import Document, IndexSettings, Key
from ..schema import check_name
from . import foreign, moves
from .copying import Tell
from .ends import End, Held
from .foreign import Foreign, Spool
from .inferring import Plan
from .memory import FOLDER


class Adopted:
    """A Source: the documents of a spool, as a plan makes them ours."""

    live = False

    def __init__(self, shown: str, index: Foreign, spool: Spool, plan: Plan, settings: IndexSettings):
        self.shown, self._index, self._spool, self._plan, self._settings = shown, index, spool, plan, settings
        self._stamp = spool.stamp()

    def names(self) -> list[str]:
        return [self._index.name]

    def held(self, name: str) -> Held:
        return Held(self._index.uid, self._settings, {}, self._spool.count(), self._index.size_bytes)

    def read(self, name: str, after: str | None, limit: int) -> list[Document]:
        rows = self._spool.rows(after, limit)
        return [Document(id, version, orjson.dumps(self._plan.document(id, source))) for id, version, source in rows]

    def get(self, name: str, id: str) -> Document | None:
        raise AssertionError("a spool does not change")

    def changes(self, name: str, after: str | None, limit: int) -> Changes:
        """None while these documents are read; those of another time are not the same ones."""
        if after not in (None, self._stamp):
            raise PositionLost
        return Changes(self._stamp)

    def aliases(self) -> Mapping[str, str]:
        return {}

    def keys(self) -> Mapping[str, Key]:
        return {}


def adopt(
    url: str,
    index: str,
    target: End,
    data_dir: Path,
    tell: Tell,
    *,
    overwrite: bool,
    name: str | None,
    primary_key: str | None,
    language: str | None,
) -> moves.Report:
    """Raises Conflict, NotFound, Invalid."""
    into = check_name(name or _name(index))
    with foreign.connected(url) as cluster, contextlib.closing(Spool(data_dir / FOLDER / "spool.db")) as spool:
        found = foreign.look(cluster, index)
        if found.size_bytes > (free := shutil.disk_usage(data_dir).free):
            needed = f"reading {found.name!r} takes about {found.size_bytes >> 20:,} MiB there"
            raise StorageFull(f"DATA_DIR has room for {free >> 20:,} MiB; {needed}.")
        plan = Plan.of(found.mapping, primary_key, language)
        tell(f"{found.name}: reading {found.count:,} documents")
        spool.fill(cluster, found, tell)
        for id, _, source in spool.rows():
            plan.study(id, source)
        settings = plan.settings()
        if found.aliases:
            plan.note("aliases", f"its aliases are not taken: {', '.join(found.aliases)}")
        if into in target.names() and not overwrite:
            there = target.engine.index(into).settings.primary_key
            if there != settings.primary_key:
                raise Conflict(f"The target's {into!r} has the primary key {there!r}; --overwrite deletes it and begins anew.")
        source = Adopted(found.uid, found, spool, plan, settings)
        report = moves.move(source, target, {found.name: into}, data_dir, tell, overwrite=overwrite, system=False)
    report.lines[:0] = [f"note: {note}" for note in plan.notes.values()]
    report.faults += found.faults
    return report


def _name(index: str) -> str:
    return re.sub(r"[^a-z0-9_-]+", "-", index.lower()).strip("-_")[:100] or index
