"""Which indexes there are, and what each one is at the moment: a record in P.system, the same for every host.

A record changes by compare-and-swap alone. Where two hosts infer a field at the same time, the second looks again at what the first
has made of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

from ... import schema
from ...exceptions import EngineUnavailable, IndexNotFound
from ...model import Field, IndexInfo, IndexSettings
from ..fields import as_set
from .client import Conflict
from .names import Names
from .system import OpenSearchSystem, Record

KIND = "index"
ASKED = "asked"  # in the place of a rebuild's run, until a worker has taken it up
TRIES = 20  # of a compare-and-swap


@dataclass(frozen=True, slots=True)
class Concrete:
    """One index of OpenSearch. n: counts them. base: what its `_seq_no`s are counted from, so that `seq` never goes back. fields:
    those that it holds, as it holds them. layout: of mapping.py."""

    n: int
    base: int
    fields: Mapping[str, Field]
    layout: int


@dataclass(frozen=True)
class Index:
    """What is known of an index. fields: as writes are checked against. live: what answers. building: what is being filled for
    settings that `live` cannot hold. task: which run of a rebuild does it, or ASKED. retired: (n, when) of those that were left."""

    name: str
    uid: str
    created_at: str
    version: int
    settings: IndexSettings
    fields: Mapping[str, Field]
    live: Concrete
    building: Concrete | None = None
    task: str | None = None
    retired: tuple[tuple[int, str], ...] = ()

    @cached_property
    def info(self) -> IndexInfo:
        return IndexInfo(self.name, self.uid, self.created_at, self.settings, self.searched, self.version)

    @property
    def numbers(self) -> set[int]:
        """Of all its concrete indexes that there may be."""
        return {self.live.n, *([self.building.n] if self.building else []), *self.left_behind}

    @property
    def left_behind(self) -> set[int]:
        return {n for n, _ in self.retired}

    def left(self, at: str) -> Index:
        """Without what was being built, which is no longer needed."""
        if self.building is None:
            return self
        return replace(self, building=None, retired=(*self.retired, (self.building.n, at)))

    @property
    def rebuilding(self) -> bool:
        return self.task is not None

    @cached_property
    def searched(self) -> dict[str, Field]:
        """The fields as searches see them: equal to `fields` but while a rebuild is under way."""
        return {name: as_set(field, self.fields.get(name)) for name, field in self.live.fields.items()}


class Registry:
    def __init__(self, system: OpenSearchSystem, names: Names):
        self.system, self.names = system, names

    def all(self) -> list[Index]:
        """By name, from what this process knows: not older than a second."""
        return [_read(found) for _, found in sorted(self.system.records(KIND).items())]

    def get(self, name: str) -> Index:
        """Raises IndexNotFound."""
        found = self.system.records(KIND).get(name)
        if found is None:
            raise IndexNotFound(name)
        return _read(found)

    def fresh(self, name: str) -> Index:
        """As it is now, asked of OpenSearch. Raises IndexNotFound."""
        found = self.system.read(KIND, name)
        if found is None:
            raise IndexNotFound(name)
        return _read(found)

    def add(self, index: Index) -> None:
        """Raises IndexExists."""
        self.system.register(index.name, to_json(index))

    def remove(self, name: str) -> Index:
        """The index is gone from now on, and its aliases. Raises IndexNotFound."""
        index = self.fresh(name)
        self.system.unregister(name)
        return index

    def change(self, name: str, change: Callable[[Index], Index | None]) -> Index:
        """Replace a record by what `change` makes of it; None leaves it. Raises IndexNotFound, and what `change` raises."""
        for _ in range(TRIES):
            found = self.system.read(KIND, name)
            if found is None:
                raise IndexNotFound(name)
            index = _read(found)
            wanted = change(index)
            if wanted is None:
                return index
            wanted = replace(wanted, version=index.version + 1)
            try:
                self.system.put(KIND, name, to_json(wanted), expect=(found.seq_no, found.primary_term))
            except Conflict:
                continue
            return wanted
        raise EngineUnavailable("The index's record is changed by many at once. Try again soon.")

    def concrete(self, index: Index, held: Concrete | None = None) -> str:
        return self.names.data(index.uid, (held or index.live).n)

    def into(self, index: Index, held: Concrete | None = None) -> str:
        """Where it is written to."""
        return self.names.into(index.uid, (held or index.live).n)


def to_json(index: Index) -> dict[str, Any]:
    return {
        "name": index.name,
        "uid": index.uid,
        "created_at": index.created_at,
        "version": index.version,
        "settings": schema.settings_to_json(index.settings),
        "fields": [asdict(field) for field in index.fields.values()],
        "live": _held(index.live),
        "building": index.building and _held(index.building),
        "task": index.task,
        "retired": [list(each) for each in index.retired],
    }


def _held(held: Concrete) -> dict[str, Any]:
    return {"n": held.n, "base": held.base, "fields": [asdict(f) for f in held.fields.values()], "layout": held.layout}


def _read(found: Record) -> Index:
    """Made once for each state of a record."""
    return _parsed(found.record["uid"], found.seq_no, found.primary_term, _Unhashed(found.record))


class _Unhashed:
    """What belongs to a key of the cache without being part of it."""

    def __init__(self, row: dict[str, Any]):
        self.row = row

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Unhashed)

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=1000)
def _parsed(uid: str, seq_no: int, primary_term: int, unhashed: _Unhashed) -> Index:
    row = unhashed.row
    return Index(
        name=row["name"],
        uid=row["uid"],
        created_at=row["created_at"],
        version=row["version"],
        settings=schema.parse_settings(row["settings"]),
        fields=_fields(row["fields"]),
        live=_concrete(row["live"]),
        building=row["building"] and _concrete(row["building"]),
        task=row["task"],
        retired=tuple((n, at) for n, at in row["retired"]),
    )


def _concrete(row: dict[str, Any]) -> Concrete:
    return Concrete(row["n"], row["base"], _fields(row["fields"]), row["layout"])


def _fields(rows: list[dict[str, Any]]) -> dict[str, Field]:
    return {row["name"]: Field(**row) for row in rows}
