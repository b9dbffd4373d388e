"""The OpenSearch engine: the port over a cluster that others may share.

Documents, their index and everything that the API keeps (system.py) are in OpenSearch, so any number of hosts serve the same.
"""

from __future__ import annotations

import contextlib
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import quote

from ... import schema
from ...documents import DEFAULT_LIMITS, DocumentLimits
from ...exceptions import DocumentNotFound, EngineError, EngineUnavailable
from ...model import (
    Document,
    EngineHealth,
    Expansion,
    Field,
    Filter,
    IndexInfo,
    IndexProgress,
    IndexSettings,
    IndexStats,
    Once,
    Operation,
    Query,
    Result,
    SettingsChange,
    WriteResult,
)
from ..base import Capabilities
from ..changes import Changes
from ..fields import fields_under, restored
from ..once import packed, unpacked
from . import following
from .client import Cluster, NotThere
from .compile import GONE, Compiler
from .concretes import SLOW, Concretes
from .mapping import LAYOUT, joined, properties
from .names import Names
from .registry import ASKED, Concrete, Index, Registry
from .searching import Reading, Remembered
from .system import OpenSearchSystem, now
from .table import LONGEST
from .target import Target
from .writing import Current, Writer

REBUILD = "rebuild"
DELETE_CHUNK = 1_000  # documents of a delete by filter read and written at once
SCAN_CHUNK = 500
PATIENCE = 30.0  # seconds that a write waits for the same one, which another request has begun
log = logging.getLogger("searchapi.opensearch")


class OpenSearchEngine:
    capabilities = Capabilities(engine="opensearch", relevance_cursor=True, partial_results=True)

    def __init__(self, target: Target, *, limits: DocumentLimits = DEFAULT_LIMITS, threads: int = 8):
        self.limits = limits
        self.cluster = Cluster(target, threads=threads)
        self.names_of = Names(target.prefix)
        self.system = OpenSearchSystem(self.cluster, target.prefix)
        self.registry = Registry(self.system, self.names_of)
        self.writer = Writer(self.cluster, self.registry, limits)
        self._remembered: dict[str, Remembered] = {}
        self.concretes = Concretes(self.cluster, self.registry)

    # ------------------------------------------------------------------------------------------------------- indexes

    def names(self) -> list[str]:
        return [index.name for index in self.registry.all()]

    def indexes(self) -> list[IndexInfo]:
        return [index.info for index in self.registry.all()]

    def index(self, name: str) -> IndexInfo:
        return self.registry.get(name).info

    def create_index(self, name: str, settings: IndexSettings, fields: Iterable[Field] = ()) -> IndexInfo:
        fields = restored(settings, fields)
        index = Index(name, uuid.uuid4().hex, now(), 1, settings, fields, Concrete(1, 0, fields, LAYOUT))
        self.concretes.make(index, index.live)
        try:
            self.registry.add(index)
        except BaseException:
            self.concretes.drop(index)
            raise
        self.concretes.point(index)
        return index.info

    def delete_index(self, name: str) -> None:
        index = self.registry.remove(name)
        self._remembered.pop(index.uid, None)
        self.concretes.drop(index)

    def update_settings(self, name: str, settings: IndexSettings, dry_run: bool = False) -> SettingsChange:
        index = self.registry.fresh(name)
        documents = self.concretes.count(index)
        changed = schema.differences(index.settings, settings)
        if not changed:
            return SettingsChange((), False, documents)
        rebuild = False

        def change(now: Index) -> Index:
            nonlocal rebuild
            fields = fields_under(settings, now.settings, now.fields, self.limits, lambda: self.scan(name))
            held = joined(now.live.fields, fields)
            rebuild = held is None or now.rebuilding
            wanted = replace(now, settings=settings, fields=fields)
            if held is None or rebuild or dry_run:
                return replace(wanted, task=ASKED if rebuild else None)
            new = [field for name, field in held.items() if name not in now.live.fields or now.live.fields[name] != field]
            if new:
                path = f"/{self.registry.concrete(now)}/_mapping"
                self.cluster.ask("PUT", path, {"properties": properties(new)}, again=True)
            return replace(wanted, live=replace(now.live, fields=held))

        if dry_run:
            change(index)
            return SettingsChange(changed, rebuild, documents)
        self.registry.change(name, change)
        return SettingsChange(changed, rebuild, documents, self._asked(name) if rebuild else None)

    def rebuild(self, name: str) -> str:
        self.registry.change(name, lambda index: replace(index, task=ASKED))
        return self._asked(name)

    def _asked(self, name: str) -> str:
        return self.system.create_task(REBUILD, name, {}).id

    def stats(self, name: str) -> IndexStats:
        index, done = self.registry.get(name), self.progress(name)
        with self.there(name):
            return self.concretes.stats(index, done)

    def progress(self, name: str) -> IndexProgress:
        """Searches see every write up to this moment: OpenSearch is told to refresh, as it does by itself every half second."""
        index = self.registry.get(name)
        with self.there(name):
            seq = self._newest(index)
            self.concretes.refreshes.now(self.registry.concrete(index))
            return IndexProgress(self.concretes.count(index), seq, seq, 0, 0.0)

    def progresses(self, names: Sequence[str]) -> dict[str, IndexProgress]:
        known = {index.name: index for index in self.registry.all()}
        return self.concretes.progresses([known[name] for name in names if name in known])

    @contextlib.contextmanager
    def there(self, name: str) -> Iterator[None]:
        """Where a concrete index is gone, another host has deleted or rebuilt it, which was not known here yet."""
        try:
            yield
        except NotThere as error:
            self.registry.fresh(name)
            log.warning("an index of OpenSearch was not there: %s", error, extra={"index": name})
            raise EngineUnavailable("The index is just being made anew. Try again soon.", code="index_rebuilding") from None

    def _newest(self, index: Index) -> int:
        return index.live.base + self.concretes.checkpoint(index) + 1

    # ----------------------------------------------------------------------------------------------------- documents

    def write(self, name: str, operations: Sequence[Operation], once: Once | None = None) -> WriteResult:
        if once is None:
            return self._written(name, operations)
        index, holder = self.registry.get(name), uuid.uuid4().hex
        own = Once(f"{index.uid}/{once.key}", once.fingerprint)
        known = self.system.claim(own, holder, PATIENCE)
        if known is not None:
            return unpacked(known, operations)
        try:
            result = self._written(name, operations)
        except Exception:
            self.system.release(own.key, holder)
            raise
        if any(isinstance(outcome.error, EngineError) for outcome in result.outcomes):  # who asks again may have more luck
            self.system.release(own.key, holder)
        else:
            self.system.finish(own.key, holder, packed(result))
        return result

    def _written(self, name: str, operations: Sequence[Operation]) -> WriteResult:
        result = self.writer.write(name, operations)
        return result if result.seq else replace(result, seq=self._newest(self.registry.get(name)))

    def get(self, name: str, id: str) -> Document:
        index = self.registry.get(name)
        if len(id.encode()) > LONGEST:  # a client may ask for anything
            raise DocumentNotFound(id)
        found = self._get(index, id)
        if found is None:
            now = self.registry.fresh(name)  # another host may have deleted the index, or made it anew
            found = self._get(now, id) if self.registry.concrete(now) != self.registry.concrete(index) else None
        if found is None or not found["found"] or found["_source"].get("gone"):
            raise DocumentNotFound(id)
        return _document(found["_source"])

    def _get(self, index: Index, id: str) -> dict[str, Any] | None:
        path = f"/{self.registry.concrete(index)}/_doc/{quote(id, safe='')}"
        return self.cluster.ask("GET", path, again=True, missing=True)

    def scan(self, name: str, after: str | None = None, limit: int | None = None) -> Iterator[Document]:
        index = self.registry.get(name)
        held = self.registry.concrete(index)
        with self.there(name):
            self.concretes.refreshes.now(held)
        left = limit
        while left is None or left > 0:
            size = SCAN_CHUNK if left is None else min(left, SCAN_CHUNK)
            body: dict[str, Any] = {"size": size, "sort": [{"id": "asc"}], "query": {"bool": {"must_not": [GONE]}}}
            body |= {"track_total_hits": False} | ({"search_after": [after]} if after else {})
            # Of the primary shard: who has followed the writes must not read what another copy had before them.
            params = {"preference": "_primary"}
            with self.there(name):
                answer = self.cluster.ask("POST", f"/{held}/_search", body, params=params, again=True, timeout=SLOW)
            rows = answer["hits"]["hits"]
            for row in rows:
                yield _document(row["_source"])
            if len(rows) < size:
                return
            after = rows[-1]["_source"]["id"]
            left = None if left is None else left - size

    def changes(self, name: str, after: str | None, limit: int = 1000) -> Changes:
        return following.changes(self, name, after, limit)

    def delete_where(self, name: str, filter: Filter, progress: Callable[[int], None] = lambda done: None) -> int:
        """Documents written after this began, and those rewritten meanwhile, stay: they came after the delete."""
        with self.there(name):
            return self._delete_where(name, filter, progress)

    def _delete_where(self, name: str, filter: Filter, progress: Callable[[int], None]) -> int:
        index = self.registry.fresh(name)
        upto, deleted = self.concretes.checkpoint(index), 0
        held = self.registry.concrete(index)
        written = {"range": {"_seq_no": {"lte": upto}}}
        query = {"bool": {"filter": [Compiler(index.live.fields).filter(filter), written], "must_not": [GONE]}}
        body = {"size": DELETE_CHUNK, "query": query, "seq_no_primary_term": True, "_source": ["version"], "sort": ["_doc"]}
        while True:
            self.concretes.refreshes.now(held)
            params = {"preference": "_primary"}  # whose checkpoint that is: another copy may be a moment behind
            rows = self.cluster.ask("POST", f"/{held}/_search", body, params=params, again=True, timeout=SLOW)["hits"]["hits"]
            if not rows:
                return deleted
            stamp = time.time_ns() // 1000
            changes = [
                (row["_id"], Current(None, None, max(row["_source"]["version"] + 1, stamp), row["_seq_no"], row["_primary_term"]))
                for row in rows
            ]
            sent = self.writer.send(index, changes)
            if sent.moved:
                raise EngineUnavailable("The index was rebuilt meanwhile. Try again.", code="index_rebuilding")
            for error in sent.refused.values():  # a full disk
                raise error
            deleted += len(rows) - len(sent.again)
            progress(deleted)

    def wait(self, name: str, seq: int, timeout: float) -> bool:
        index = self.registry.get(name)
        with self.there(name):
            self.concretes.refreshes.now(self.registry.concrete(index), max(timeout, 1.0))
        self._words(index).clear()
        return True

    # -------------------------------------------------------------------------------------------------------- search

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[Reading]:
        index = self.registry.get(name)
        names = self.names_of.data(index.uid, "")
        with self.there(name):
            yield Reading(self.cluster, self.registry.concrete(index), index.searched, self._words(index), names)

    def _words(self, index: Index) -> Remembered:
        return self._remembered.setdefault(index.uid, Remembered())

    def search(self, name: str, query: Query) -> Result:
        with self.reading(name) as reading:
            return reading.search(query)

    def expand(self, name: str, word: str, fields: Sequence[str], kind: str, distance: int = 1, limit: int = 20) -> list[Expansion]:
        with self.reading(name) as reading:
            return reading.expand(word, fields, kind, distance, limit)

    def frequency(self, name: str, word: str, fields: Sequence[str]) -> int:
        with self.reading(name) as reading:
            return reading.frequency(word, fields)

    # -------------------------------------------------------------------------------------------------------- health

    def health(self) -> EngineHealth:
        """Whether every index has its primary shard; how long that took to find out."""
        started = time.perf_counter()
        try:
            found = self.cluster.ask("GET", f"/_cluster/health/{self.names_of.everything}", params={"timeout": "2s"}, again=True)
            names = self.names()
            documents = sum(progress.documents for progress in self.progresses(names).values())
        except EngineUnavailable as error:
            return EngineHealth(False, {"engine": "opensearch"}, error.detail)
        detail = {
            "engine": "opensearch",
            "cluster": found["status"],
            "nodes": found["number_of_nodes"],
            "indexes": len(names),
            "documents": documents,
            "latency_ms": round((time.perf_counter() - started) * 1000, 3),
        }
        ok = found["status"] != "red"
        return EngineHealth(ok, detail, None if ok else "Part of the indexes is on nodes that are away.")

    def rest(self) -> None:
        """Connections are kept for whoever comes next."""

    def close(self) -> None:
        self.system.close()
        self.cluster.close()


def _document(source: dict[str, Any]) -> Document:
    return Document(source["id"], source["version"], source["body"].encode())
