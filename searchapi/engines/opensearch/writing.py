"""A batch of writes: what is there is read, the operations are applied to it here, and what comes of them is sent on condition that
nobody has written meanwhile. Those documents that somebody has are read and done again.

OpenSearch has no transactions over documents: each document is written wholly or not at all, a batch is not.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
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

TRIES = 12  # of a document that others write at the same time
PAUSE = 0.02  # seconds before the next, times the tries so far
CHUNK = 8 << 20  # bytes of one bulk request, about
BULK = 60.0  # seconds


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
    """seq_no: the highest that was given. again: ids that somebody else has written, or whose index moved. refused: {id: error}."""

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
        for tries in range(TRIES):
            current = self._current(index, left)
            batch = Batch(index, current, self.limits)
            done = {n: batch.apply(op) for n, op in enumerate(left)}
            if batch.changed_fields:
                try:
                    index = self._join(index, batch)
                except Moved:
                    index = self.registry.fresh(name)
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
            if not left:
                break
            if sent.moved:
                index = self.registry.fresh(name)
            time.sleep(PAUSE * (tries + 1))
        for op in left:
            error = EngineUnavailable("Others write this document all the time. Try again soon.", code="busy")
            outcomes[id(op)] = Outcome(op.position, op.id, error=error)
        return WriteResult(seq, tuple(outcomes[id(op)] for op in operations))

    # ------------------------------------------------------------------------------------------------------- reading

    def _current(self, index: Index, operations: Iterable[Operation]) -> dict[str, Current]:
        """What is there under each id, in the order in which the operations first name it."""
        wanted: dict[str, bool] = {}
        for op in operations:
            wanted[op.id] = wanted.get(op.id, False) or op.kind == "patch"
        found = {id: Current() for id in wanted}
        plain, whole = ["version", "gone"], ["version", "gone", "body"]
        asked = [{"_id": id, "_source": whole if bodies else plain} for id, bodies in wanted.items()]
        path = f"/{self.registry.concrete(index)}/_mget"
        for row in self.cluster.ask("POST", path, {"docs": asked}, again=True)["docs"] if asked else ():
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
            if now.version != index.version:
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
        self.cluster.ask("PUT", path, {"properties": properties(fields)}, again=True)

    # ------------------------------------------------------------------------------------------------------- sending

    def send(self, index: Index, changes: Sequence[tuple[str, Current]]) -> Sent:
        """Write what is to be, where what is there is what was read."""
        sent, encoder, at = Sent(), encoder_of(index), int(time.time() * 1000)
        name = self.registry.concrete(index)
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
        answer = self.cluster.ask("POST", f"/{name}/_bulk", b"\n".join(lines) + b"\n", timeout=BULK)
        for row in answer["items"]:
            (item,) = row.values()
            status = item["status"]
            if status < 300:
                sent.seq_no = max(sent.seq_no, item["_seq_no"])
            elif status == 409 or status == 429:
                sent.again.add(item["_id"])
            elif status in (403, 404):  # blocked: a rebuild is about to switch; or switched
                sent.again.add(item["_id"])
                sent.moved = True
            else:
                sent.refused[item["_id"]] = _refused(item["error"])


def _action(id: str, current: Current) -> dict[str, Any]:
    if current.seq_no is None:
        return {"create": {"_id": id}}
    return {"index": {"_id": id, "if_seq_no": current.seq_no, "if_primary_term": current.primary_term}}


def _refused(error: dict[str, Any]) -> SearchAPIError:
    if "flood" in str(error.get("reason", "")):
        return StorageFull("The search engine's disk is full.")
    return EngineError("The engine could not write this document.")


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
