"""P.system: what every request asks for. All of it is kept in memory, and what others change is seen within a second.

Each record is a document `{kind, record, gone}`, `record` being its JSON. Deleting marks it as gone, so every change has a
`_seq_no` of its own, and all that is newer than some `_seq_no` is all that has changed. That is the cheap look (0.8 ms; asking for
the statistics 0.4, but they are of the primary and the replica, and wait for a node that hangs): it asks for what is there from
the newest that was found on, and so finds at least that one.

Writes are numbered before they can be found, so a higher number may be found before a lower. `_floor` is the number up to which
nothing can be missing: after a change the shard says up to where all writes are done, and a refresh lets searches find them.
https://www.elastic.co/blog/elasticsearch-sequence-ids-6-0 (local checkpoints)

An index and an alias are both named by the document `name:<name>`, so a name belongs to one of them.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable, Mapping
from time import monotonic
from types import MappingProxyType
from typing import Any, NamedTuple

import orjson

from ...exceptions import EngineError, EngineUnavailable
from .client import Cluster, Conflict
from .lookout import Lookout
from .names import Names
from .table import KEYWORD, UNSEARCHED, Stamp, Table, stamp_of

LOOK = 3.0  # seconds that each request of a look may take
PAGE = 1000  # records in one answer
ANEW = 300.0  # seconds until all are read again: writes that were seen and then lost with their node leave no other trace
NAMED = ("index", "alias")  # kinds whose ids are names
_NONE: Mapping[str, Record] = MappingProxyType({})


class Record(NamedTuple):
    """What is kept, and which state of it that is, for `put` and `remove`."""

    record: dict[str, Any]
    seq_no: int
    primary_term: int

    @property
    def stamp(self) -> Stamp:
        return Stamp(self.seq_no, self.primary_term)


class Seen(NamedTuple):
    """A document as it was seen. record: None where it is gone."""

    id: str
    kind: str
    record: Record | None
    order: tuple[int, int]  # primary term, _seq_no: after a primary shard is lost, numbers may be given again

    @property
    def name(self) -> str:
        return self.id.partition(":")[2]


class Records:
    """`version` moves with every change that this process has seen."""

    def __init__(self, cluster: Cluster, names: Names):
        self._table = Table(cluster, names.system, {"kind": KEYWORD, "record": UNSEARCHED, "gone": {"type": "boolean"}})
        self._lookout = Lookout(self._look)
        self._lock = threading.Lock()
        self._seen: dict[str, Seen] = {}
        self._kinds: dict[str, dict[str, Record]] = {}
        self._newest: Seen | None = None  # that a search has found
        self._floor = -1
        self._replica = False  # whether the next search asks one
        self._read_at: float | None = None  # when all were read
        self._meanwhile: list[Seen] | None = None  # what is written by us while all are being read
        self.version = 0

    def close(self) -> None:
        """Before the cluster is."""
        self._lookout.close()

    # ------------------------------------------------------------------------------------------------------- reading

    def records(self, kind: str, stale: bool = False) -> Mapping[str, Record]:
        """All of a kind by id, as known here; the same object until one of them changes. Raises EngineUnavailable where the
        cluster has not been reached for too long. stale: not then, if it was ever reached."""
        try:
            self._lookout.check()
        except EngineError:
            if not stale or self._read_at is None:
                raise
        return self._kinds.get(kind, _NONE)

    def read(self, kind: str, id: str) -> Record | None:
        """As it is now, asked of the cluster."""
        found = self._get(_id(kind, id))
        return found.record if found is not None and found.kind == kind else None

    def _get(self, id: str) -> Seen | None:
        """Also one that is gone."""
        found = self._table.get(id)
        if found is None:
            return None
        seen = seen_of(id, *found)
        self._own(seen)
        return seen

    # ------------------------------------------------------------------------------------------------------- writing

    def put(self, kind: str, id: str, record: Mapping[str, Any], *, expect: tuple[int, int] | None) -> Stamp:
        """expect: the state that it replaces; None where it is new. Raises Conflict where that is no longer so; something new may
        be there only if it is the very same, sent a second time because the first answer was lost."""
        id, source = _id(kind, id), source_of(kind, record)
        stamp = self._create(id, source) if expect is None else self._table.replace(id, source, expect)
        self._own(seen_of(id, source, stamp))
        return stamp

    def _create(self, id: str, source: dict[str, Any]) -> Stamp:
        try:
            return self._table.create(id, source, again=True)
        except Conflict:
            found = self._get(id)
            if found is None:
                raise
            stamp = Stamp(found.order[1], found.order[0])
            if found == seen_of(id, source, stamp):
                return stamp
            if not self._free(found):
                raise
        return self._table.replace(id, source, stamp)

    def _free(self, found: Seen) -> bool:
        """Whether what is there may be overwritten by something new."""
        return found.record is None

    def remove(self, kind: str, id: str, expect: tuple[int, int]) -> None:
        """Raises Conflict where it is not in the state that is expected."""
        id, source = _id(kind, id), {"kind": kind, "record": "{}", "gone": True}
        self._own(seen_of(id, source, self._table.replace(id, source, expect)))

    def _own(self, *seen: Seen) -> None:
        """Known at once here. It does not count as found: a search may not find it yet."""
        with self._lock:
            if self._meanwhile is not None:
                self._meanwhile.extend(seen)
            self._take(seen)

    # ------------------------------------------------------------------------------------------------------- looking

    def _look(self) -> None:
        if self._read_at is None or monotonic() > self._read_at + ANEW or not self._go_on():
            self._read_all()

    def _go_on(self) -> bool:
        """See what has changed. False where that cannot be told: too much has, or the index is another one, restored from a backup
        or left by a node that took its newest writes with it."""
        newest, start = self._newest, min(self._floor + 1, self._newest.order[1]) if self._newest else 0
        replica = self._replica
        found = self._page(start)
        if len(found) == PAGE or not (newest is None or any(one.id == newest.id and one.order >= newest.order for one in found)):
            if replica:
                raise EngineUnavailable("The search engine is not ready.")  # that one is behind; nothing is to be forgotten
            return False
        self._find(found)
        if self._newest is not None and self._floor < self._newest.order[1]:
            with contextlib.suppress(EngineError):  # what was found is known; the next look finds it again
                checkpoint = self._settled()
                found = self._page(start)
                if len(found) < PAGE:
                    self._find(found)
                    self._floor = max(self._floor, checkpoint)
        return True

    def _read_all(self) -> None:
        began = monotonic()
        self._meanwhile = []
        try:
            floor = -1
            with contextlib.suppress(EngineError):  # the next look then reads all of it again
                floor = self._settled()
            found: list[Seen] = []
            while page := self._page(found[-1].order[1] + 1 if found else 0):
                found += page
            with self._lock:
                self._take([*found, *self._meanwhile], anew=True)
                self._newest = max(found, key=_order, default=None)
                self._floor, self._read_at = floor, began
        finally:
            self._meanwhile = None

    def _settled(self) -> int:
        """The `_seq_no` up to which searches find everything from now on."""
        checkpoint = self._table.checkpoint(timeout=LOOK)
        self._table.refresh(timeout=LOOK)
        return checkpoint

    def _page(self, start: int) -> list[Seen]:
        """After one that failed the next asks a replica, then the primary again."""
        body = {"query": {"range": {"_seq_no": {"gte": start}}}, "sort": [{"_seq_no": "asc"}], "size": PAGE}
        replica, self._replica = self._replica, not self._replica
        hits = self._table.search(body, timeout=LOOK, replica=replica)
        self._replica = False
        return [seen_of(hit["_id"], hit["_source"], stamp_of(hit)) for hit in hits]

    def _find(self, found: list[Seen]) -> None:
        with self._lock:
            self._take(found)
            self._newest = max([*found, self._newest] if self._newest else found, key=_order, default=None)

    def _take(self, found: Iterable[Seen], *, anew: bool = False) -> None:
        """Know what is newer than what was known; anew: and nothing else. What has not changed stays the same object."""
        seen = {} if anew else self._seen
        newer = [one for one in found if one.id not in seen or seen[one.id].order < one.order]
        if not (newer or anew):
            return
        seen = dict(seen)
        for one in sorted(newer, key=_order):
            known = self._seen.get(one.id)
            seen[one.id] = known if known == one else one
        kinds: dict[str, dict[str, Record]] = {}
        for one in seen.values():
            if one.record is not None:
                kinds.setdefault(one.kind, {})[one.name] = one.record
        for kind, known in self._kinds.items():
            if kinds.get(kind) == known:
                kinds[kind] = known
        self._seen, self._kinds, self.version = seen, kinds, self.version + (seen != self._seen)


def _id(kind: str, id: str) -> str:
    return f"{'name' if kind in NAMED else kind}:{id}"


def source_of(kind: str, record: Mapping[str, Any]) -> dict[str, Any]:
    """The document of a record."""
    return {"kind": kind, "record": orjson.dumps(record).decode(), "gone": False}


def seen_of(id: str, source: Mapping[str, Any], stamp: Stamp) -> Seen:
    record = None if source["gone"] else Record(orjson.loads(source["record"]), *stamp)
    return Seen(id, source["kind"], record, (stamp.primary_term, stamp.seq_no))


def _order(seen: Seen) -> tuple[int, int]:
    return seen.order
