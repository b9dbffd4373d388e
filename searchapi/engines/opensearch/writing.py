"""A batch of writes: what is there is read, the operations are applied to it here, and what comes of them is sent on condition that
nobody has written meanwhile. Those documents that somebody has are read and done again.

OpenSearch has no transactions over documents: each document is written wholly or not at all, a batch is not.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

import orjson

from ... import documents
from ...documents import DocumentLimits
from ...exceptions import DocumentNotFound, EngineError, EngineUnavailable, SearchAPIError, StorageFull
from ...model import Field, Operation, Outcome, WriteResult
from ..applying import body_of, check_condition, merged
from ..fields import resolved
from .client import Cluster
from .encode import Encoder, tombstone
from .mapping import joined, properties
from .registry import Index, Registry
from .system import now

TRIES = 12  # of a document that others write at the same time
PAUSE, LONGEST_PAUSE = 0.02, 0.25  # seconds before the next: the first, times the tries so far
HELD = 5.0  # seconds that a rebuild may hold up writes: then it, or what is left of it, has to begin again
PATIENCE = 20.0  # seconds that a write waits for an index that moves
CHUNK = 8 << 20  # bytes of one bulk request, about
BULK = 60.0  # seconds
INTO = {"require_alias": "true"}

log = logging.getLogger("searchapi.opensearch")


@dataclass(slots=True)
class Current:
    """One document as it is and as it is to be. version: None where there is none. last: the highest version it ever had. seq_no,
    primary_term: of what OpenSearch has under its id, a tombstone too; None for nothing."""

    version: int | None = None
    body: bytes | None = None
    last: int = 0
    seq_no: int | None = None
    primary_term: int | None = None
    changed: bool = False


@dataclass(slots=True)
class Sent:
    """seq_no: the highest that was given. again: ids that somebody else has written, or whose index moved. refused: {id: error}.
    moved: the index is another by now, or takes no writes for the moment."""

    seq_no: int = -1
    again: set[str] = field(default_factory=set)
    refused: dict[str, SearchAPIError] = field(default_factory=dict)
    moved: bool = False


class Moved(Exception):
    """The index's record is another than the one that was worked with."""


class Writer:
    def __init__(self, cluster: Cluster, registry: Registry, limits: DocumentLimits):
        self.cluster, self.registry, self.limits = cluster, registry, limits

    def write(self, name: str, operations: Sequence[Operation]) -> WriteResult:
        """`seq` is 0 where nothing was written. Raises IndexNotFound, StorageFull, EngineUnavailable."""
        index, left, seq = self.registry.get(name), list(operations), 0
        outcomes: dict[int, Outcome] = {}
        tries = Tries()
        while left and tries.more():
            try:
                current = self._current(index, left)
                batch = Batch(index, current, self.limits)
                done = {n: batch.apply(op) for n, op in enumerate(left)}
                if batch.changed_fields:
                    index = self._join(index, batch)
            except Moved:
                index = self.registry.fresh(name)
                tries.failed()
                continue
            sent = self.send(index, [(id, each) for id, each in current.items() if each.changed])
            if sent.seq_no >= 0:
                seq = max(seq, index.live.base + sent.seq_no + 1)
            again = []
            for n, op in enumerate(left):
                if op.id in sent.again:
                    again.append(op)
                elif op.id in sent.refused and done[n].error is None:
                    outcomes[id(op)] = replace(done[n], version=None, created=False, error=sent.refused[op.id])
                else:
                    outcomes[id(op)] = done[n]
            left = again
            if left:
                index = self._where(name, tries) if sent.moved else index
                tries.failed(held=sent.moved)
        for op in left:
            error = EngineUnavailable("Others write this document all the time. Try again soon.", code="busy")
            outcomes[id(op)] = Outcome(op.position, op.id, error=error)
        return WriteResult(seq, tuple(outcomes[id(op)] for op in operations))

    def _where(self, name: str, tries: Tries) -> Index:
        """The index as it is now, where writes did not reach it. One that is held for a rebuild for too long, because who did that
        was killed, is let go: without `building` in its record that rebuild cannot end."""
        index = self.registry.fresh(name)
        if tries.held_for() < HELD or index.building is None:
            return index
        log.warning("a rebuild holds up writes for more than %d s; it has to begin again", HELD, extra={"index": name})
        tries.let_go()
        index = self.registry.change(name, lambda found: found.left(now()) if found.live.n == index.live.n else None)
        let_go(self.cluster, self.registry.concrete(index))
        return index

    def carry(self, name: str, sources: Iterable[Mapping[str, Any]]) -> None:
        """Write documents as another concrete index of this one holds them, where they are newer than what is here."""
        left = {source["id"]: source for source in sources}
        tries = Tries()
        while left and tries.more():
            index, changes = self.registry.fresh(name), []
            for id, current in self._read(index, dict.fromkeys(left, False)).items():
                if left[id]["version"] > current.last:
                    gone, current.last = left[id].get("gone", False), left[id]["version"]
                    current.body = None if gone else left[id]["body"].encode()
                    changes.append((id, current))
            left = {id: left[id] for id in self.send(index, changes).again}
            tries.failed()

    # ------------------------------------------------------------------------------------------------------- reading

    def _current(self, index: Index, operations: Iterable[Operation]) -> dict[str, Current]:
        """What is there under each id, in the order in which the operations first name it."""
        wanted: dict[str, bool] = {}
        for op in operations:
            wanted[op.id] = wanted.get(op.id, False) or op.kind == "patch"
        return self._read(index, wanted)

    def _read(self, index: Index, wanted: Mapping[str, bool]) -> dict[str, Current]:
        """wanted: ids, and whether their bodies are. Raises Moved."""
        found = {id: Current() for id in wanted}
        plain, whole = ["version", "gone"], ["version", "gone", "body"]
        asked = [{"_id": id, "_source": whole if bodies else plain} for id, bodies in wanted.items()]
        path = f"/{self.registry.concrete(index)}/_mget"
        for row in self.cluster.ask("POST", path, {"docs": asked}, again=True)["docs"] if asked else ():
            if "error" in row:
                if row["error"].get("type") == "index_not_found_exception":
                    raise Moved
                raise EngineUnavailable("The search engine is not ready.")
            if row.get("found"):
                source = row["_source"]
                gone = source.get("gone", False)
                body = source["body"].encode() if "body" in source else None
                version = None if gone else source["version"]
                found[row["_id"]] = Current(version, body, source["version"], row["_seq_no"], row["_primary_term"])
        return found

    # ------------------------------------------------------------------------------------------------------- fields

    def _join(self, index: Index, batch: Batch) -> Index:
        """The index with the fields that its documents have brought, for all hosts. Raises Moved where it changed meanwhile."""

        def change(now: Index) -> Index:
            if (now.uid, now.version) != (index.uid, index.version):
                raise Moved
            live = joined(now.live.fields, batch.changed_fields)
            building = now.building and joined(now.building.fields, batch.changed_fields)
            if live is None:
                raise AssertionError("a field that documents bring always finds its place")
            for held, fields in ((now.live, live), (now.building, building)):
                if held is not None and fields is not None:
                    self._map(now, held.n, [fields[name] for name in batch.changed_fields])
            changes: dict[str, Any] = {"fields": batch.fields, "live": replace(now.live, fields=live)}
            if now.building and building:
                changes["building"] = replace(now.building, fields=building)
            return replace(now, **changes)

        return self.registry.change(index.name, change)

    def _map(self, index: Index, n: int, fields: Sequence[Field]) -> None:
        path = f"/{self.registry.names.data(index.uid, n)}/_mapping"
        done = self.cluster.ask("PUT", path, {"properties": properties(fields)}, again=True, missing=True)
        if done is None and n == index.live.n:
            raise Moved

    # ------------------------------------------------------------------------------------------------------- sending

    def send(self, index: Index, changes: Sequence[tuple[str, Current]]) -> Sent:
        """Write what is to be, where what is there is what was read."""
        sent, encoder, at = Sent(), encoder_of(index), int(time.time() * 1000)
        name = self.registry.into(index)
        lines: list[bytes] = []
        size = 0
        for id, current in changes:
            if current.body is None:
                source = tombstone(id, current.last, at)
            else:
                source = encoder.document(id, current.last, current.body, at)
            lines += [orjson.dumps(_action(id, current)), orjson.dumps(source)]
            size += len(lines[-1])
            if size > CHUNK:
                self._bulk(name, lines, sent)
                lines, size = [], 0
        if lines:
            self._bulk(name, lines, sent)
        return sent

    def _bulk(self, name: str, lines: list[bytes], sent: Sent) -> None:
        answer = self.cluster.ask("POST", f"/{name}/_bulk", b"\n".join(lines) + b"\n", params=INTO, timeout=BULK)
        for row in answer["items"]:
            (item,) = row.values()
            status = item["status"]
            if status < 300:
                sent.seq_no = max(sent.seq_no, item["_seq_no"])
            elif "flood" in str(item["error"].get("reason", "")):
                sent.refused[item["_id"]] = StorageFull("The search engine's disk is full.")
            elif status == 409 or status == 429:
                sent.again.add(item["_id"])
            elif status in (403, 404):  # blocked: a rebuild is about to switch; or switched
                sent.again.add(item["_id"])
                sent.moved = True
            elif status == 503:
                sent.refused[item["_id"]] = EngineUnavailable("The search engine is not ready.")
            else:
                log.error("OpenSearch refused a document with %d: %s", status, item["error"].get("type"))
                sent.refused[item["_id"]] = EngineError("The engine could not write this document.")


def _action(id: str, current: Current) -> dict[str, Any]:
    if current.seq_no is None:
        return {"create": {"_id": id}}
    return {"index": {"_id": id, "if_seq_no": current.seq_no, "if_primary_term": current.primary_term}}


class Tries:
    """How often, and for how long, a batch is tried."""

    def __init__(self) -> None:
        self._tries = 0
        self._held: float | None = None  # since when the index takes no writes
        self._until = time.monotonic() + PATIENCE

    def more(self) -> bool:
        return time.monotonic() < self._until if self._held is not None else self._tries < TRIES

    def failed(self, *, held: bool = False) -> None:
        self._tries += 1
        self._held = (self._held or time.monotonic()) if held else None
        time.sleep(min(PAUSE * self._tries, LONGEST_PAUSE))

    def held_for(self) -> float:
        """Seconds."""
        return 0.0 if self._held is None else time.monotonic() - self._held

    def let_go(self) -> None:
        self._held = None


def hold(cluster: Cluster, concrete: str) -> None:
    """Writes are refused from now on, and those that were under way are done when this returns; who writes waits.

    https://docs.opensearch.org/latest/api-reference/index-apis/blocks/"""
    cluster.ask("PUT", f"/{concrete}/_block/write", again=True, timeout=BULK)


def let_go(cluster: Cluster, concrete: str) -> None:
    cluster.ask("PUT", f"/{concrete}/_settings", {"index.blocks.write": None}, again=True, missing=True, timeout=BULK)


@lru_cache(maxsize=64)
def _encoder(key: tuple, fields: tuple[Field, ...]) -> Encoder:
    return Encoder({field.name: field for field in fields})


def encoder_of(index: Index) -> Encoder:
    return _encoder((index.uid, index.live.n, index.version), tuple(index.live.fields.values()))


class Batch:
    """Operations applied one after another to what was read."""

    def __init__(self, index: Index, current: dict[str, Current], limits: DocumentLimits):
        self.current, self.limits, self.settings = current, limits, index.settings
        self.fields = dict(index.fields)
        self.changed_fields: dict[str, Field] = {}
        self._now = time.time_ns() // 1000

    def apply(self, op: Operation) -> Outcome:
        try:
            return self._apply(op)
        except SearchAPIError as error:
            return Outcome(op.position, op.id, error=error)

    def _apply(self, op: Operation) -> Outcome:
        current = self.current[op.id]
        existed = current.version is not None
        check_condition(op, current.version)
        body = None
        if op.kind == "delete":
            if not existed:
                raise DocumentNotFound(op.id)
        else:
            document = merged(op, current.body if existed else None, self.settings.primary_key)
            self._check(document)
            body = body_of(op, document, self.limits)
        # Microseconds since 1970 or the next one: an ETag never comes back, also where every trace of the document is gone.
        current.last = op.version if op.version is not None else max(current.last + 1, self._now)
        current.version, current.body, current.changed = (None if body is None else current.last), body, True
        return Outcome(op.position, op.id, version=current.last, created=body is not None and not existed)

    def _check(self, document: Any) -> None:
        changed = documents.check(document, self.settings, self.fields, self.limits)
        if changed:
            changed = {name: resolved(f, self.settings) for name, f in changed.items()}
            self.fields.update(changed)
            self.changed_fields.update(changed)
