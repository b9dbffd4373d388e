"""The SystemStore of the OpenSearch engine: keys and aliases in P.system, tasks in P.tasks, claims in P.once. Any number of hosts
share it. P.system holds the records of indexes as well, for registry.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from ... import exceptions
from ...dates import now
from ...exceptions import AliasNotFound, EngineError, IndexExists, IndexNotFound, KeyNotFound
from ...model import Key, Once, Task
from ..keys import age, key_of
from .claims import Claims
from .client import Cluster, Conflict, error_of
from .names import Names
from .records import Record, Records, Seen, seen_of, source_of
from .table import attempts, stamp_of
from .tasks import TaskLost, Tasks

__all__ = ["OpenSearchSystem", "Record", "TaskLost", "now"]

TOUCHED = 1_000  # keys whose last use is written in one request


class OpenSearchSystem(Records):
    """Nothing is asked of the cluster before it is needed. Indexes that are missing are made then.

    worker: who claims tasks; by default this process."""

    def __init__(self, cluster: Cluster, prefix: str, worker: str | None = None):
        names = Names(prefix)
        super().__init__(cluster, names)
        self._tasks, self._claims = Tasks(cluster, names, worker), Claims(cluster, names)
        self._keys: tuple[Mapping[str, Record], dict[str, tuple[Record, Key]], dict[str, Key]] = ({}, {}, {})
        self._pointing: tuple[Mapping[str, Record], Mapping[str, Record], dict[str, str]] = ({}, {}, {})

    # ------------------------------------------------------------------------------------------------------- indexes

    def register(self, name: str, record: Mapping[str, Any]) -> None:
        """Keep the record of a new index; its `uid` is what tells it from another that has the name later. Raises IndexExists."""
        try:
            self.put("index", name, record, expect=None)
        except Conflict:
            raise IndexExists(name) from None

    def unregister(self, name: str) -> None:
        """The index is gone from now on, and with it its aliases. Raises IndexNotFound."""
        for _ in attempts("The index's record"):
            found = self.read("index", name)
            if found is None:
                raise IndexNotFound(name)
            try:
                self.remove("index", name, found.stamp)
            except Conflict:
                continue
            return self._tidy(name)

    def _tidy(self, index: str) -> None:
        """Mark its aliases as gone too. They are already, for what they pointed at is: one that is not known here yet is left, and
        whoever wants the name has it."""
        for alias, known in list(self._kinds.get("alias", {}).items()):
            if known.record["index"] == index:
                try:
                    self.remove("alias", alias, known.stamp)
                except (Conflict, EngineError):
                    continue

    # ------------------------------------------------------------------------------------------------------- aliases
    # `{index, uid}`: it is there while an index of that name and uid is. So an index and all its aliases go in one step.

    def aliases(self) -> dict[str, str]:
        return dict(self._aliases())

    def resolve(self, name: str) -> str:
        return self._aliases().get(name, name)

    def _aliases(self) -> dict[str, str]:
        indexes, aliases = self.records("index"), self.records("alias")
        known = self._pointing
        if known[0] is not indexes or known[1] is not aliases:
            found = ((alias, held.record) for alias, held in sorted(aliases.items()))
            known = self._pointing = indexes, aliases, {a: r["index"] for a, r in found if _points(r, indexes.get(r["index"]))}
        return known[2]

    def set_alias(self, alias: str, index: str) -> None:
        """Raises IndexExists where an index has that name, IndexNotFound where there is none to point at."""
        for _ in attempts("The alias"):
            if self.read("index", alias) is not None:
                raise IndexExists(alias)
            target, there = self.read("index", index), self.read("alias", alias)
            if target is None:
                raise IndexNotFound(index)
            record = {"index": index, "uid": target.record["uid"]}
            if there is not None and there.record == record:
                return
            try:
                self.put("alias", alias, record, expect=there.stamp if there else None)
            except Conflict:
                continue
            return

    def delete_alias(self, alias: str) -> None:
        for _ in attempts("The alias"):
            there = self.read("alias", alias)
            if there is None or not self._is_alive(there):
                raise AliasNotFound(alias)
            try:
                self.remove("alias", alias, there.stamp)
            except Conflict:
                continue
            return

    def _is_alive(self, alias: Record) -> bool:
        return _points(alias.record, self.read("index", alias.record["index"]))

    def _free(self, found: Seen) -> bool:
        """An alias whose index is gone has no right to its name any more."""
        return super()._free(found) or (found.kind == "alias" and not self._is_alive(found.record))

    # ---------------------------------------------------------------------------------------------------------- keys

    def keys(self, stale: bool = False) -> Mapping[str, Key]:
        records = self.records("key", stale)
        if self._keys[0] is not records:
            known, made = self._keys[1], {}
            for id, held in records.items():
                before = known.get(id)
                made[id] = before if before is not None and before[0] is held else (held, key_of(held.record))
            keys = sorted((key for _, key in made.values()), key=age)
            self._keys = records, made, {key.id: key for key in keys}
        return self._keys[2]

    def add_key(self, key: Key) -> None:
        try:
            self.put("key", key.id, asdict(key), expect=None)
        except Conflict:
            raise exceptions.Conflict("There is a key with this id already.") from None

    def update_key(self, id: str, change: Callable[[Key], Key]) -> Key:
        """`change` is called again where somebody else has changed the key meanwhile."""
        for _ in attempts("The key"):
            found = self.read("key", id)
            if found is None:
                raise KeyNotFound(id)
            key = change(key_of(found.record))
            try:
                self.put("key", id, found.record | asdict(key), expect=found.stamp)
            except Conflict:
                continue
            return key
        raise AssertionError("attempts end by raising")

    def touch_keys(self, used: Mapping[str, str]) -> None:
        """Others see it a second or two later: nothing depends on it."""
        ids = list(used)
        for start in range(0, len(ids), TOUCHED):
            left = {id: used[id] for id in ids[start : start + TOUCHED]}
            for _ in attempts("The last use of keys"):
                left = self._touch(left)
                if not left:
                    break

    def _touch(self, used: dict[str, str]) -> dict[str, str]:
        """Those that somebody else has changed meanwhile."""
        lines: list[dict[str, Any]] = []
        wanted: list[tuple[str, dict[str, Any]]] = []
        for id, (source, stamp) in self._table.get_all([f"key:{id}" for id in used]).items():
            seen = seen_of(id, source, stamp)
            at = used[seen.name]
            if seen.record is not None and (seen.record.record.get("last_used_at") or "") < at:
                wanted.append((id, source_of("key", seen.record.record | {"last_used_at": at})))
                action = {"_id": id, "if_seq_no": stamp.seq_no, "if_primary_term": stamp.primary_term}
                lines += [{"index": action}, wanted[-1][1]]
        again: dict[str, str] = {}
        for (id, source), result in zip(wanted, self._table.bulk(lines), strict=True):
            if result["status"] == 409:
                again[id.partition(":")[2]] = used[id.partition(":")[2]]
            elif result["status"] >= 300:
                raise error_of(result["status"], result)
            else:
                self._own(seen_of(id, source, stamp_of(result)))
        return again

    # --------------------------------------------------------------------------------------------------------- tasks

    def create_task(self, kind: str, index: str | None, detail: Mapping[str, Any]) -> Task:
        return self._tasks.create(kind, index, detail)

    def task(self, id: str) -> Task:
        return self._tasks.get(id)

    def tasks(self, index: str | None = None, limit: int = 50) -> list[Task]:
        return self._tasks.newest(index, limit)

    def update_task(self, id: str, **changes: Any) -> None:
        self._tasks.update(id, changes)

    def claim_task(self) -> Task | None:
        return self._tasks.claim()

    def renew_task(self, id: str) -> None:
        """A worker that is at a task for long says so, several times in tasks.LEASE seconds. Raises TaskLost."""
        self._tasks.renew(id)

    # -------------------------------------------------------------------------------------------------------- claims

    def claim(self, once: Once, holder: str, patience: float = 0.0) -> bytes | None:
        """patience: seconds to wait for another holder to finish, before IdempotencyUnfinished."""
        return self._claims.claim(once, holder, patience)

    def finish(self, key: str, holder: str, answer: bytes) -> None:
        self._claims.finish(key, holder, answer)

    def release(self, key: str, holder: str) -> None:
        self._claims.release(key, holder)

    def prune_claims(self, before_ms: int) -> int:
        return self._claims.prune(before_ms)


def _points(alias: Mapping[str, Any], target: Record | None) -> bool:
    """Whether it is the index that the alias was made for."""
    return target is not None and target.record["uid"] == alias["uid"]
