"""What is asked of a concrete index as a whole: making and naming it, how far it is, how much it holds."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any

from ...exceptions import EngineUnavailable
from ...model import IndexProgress, IndexStats
from .client import Cluster
from .compile import LIVING
from .mapping import index_body
from .registry import Concrete, Index, Registry

SLOW = 60.0  # seconds for what reads or writes much
FIGURES = {
    "size": 0,
    "track_total_hits": False,
    "aggs": {"living": {"filter": LIVING}, "newest": {"max": {"field": "_seq_no"}}},
}


class Concretes:
    def __init__(self, cluster: Cluster, registry: Registry):
        self.cluster, self.registry = cluster, registry
        self.refreshes = Refreshes(cluster)

    def make(self, index: Index, held: Concrete) -> None:
        """The concrete index, empty."""
        body = index_body(held.fields.values()) | {"aliases": {self.registry.into(index, held): {}}}
        self.cluster.ask("PUT", f"/{self.registry.concrete(index, held)}", body, timeout=SLOW)

    def point(self, index: Index) -> None:
        """The alias, by which people and other programs find what is live."""
        alias, name = self.registry.names.alias(index.name), self.registry.concrete(index)
        actions: list[dict[str, Any]] = [
            {"remove": {"index": self.registry.names.data(index.uid, "*"), "alias": alias, "must_exist": False}}
        ]
        actions.append({"add": {"index": name, "alias": alias}})
        self.cluster.ask("POST", "/_aliases", {"actions": actions}, again=True, timeout=SLOW)

    def drop(self, index: Index) -> None:
        for n in index.numbers:
            self.cluster.ask("DELETE", f"/{self.registry.names.data(index.uid, n)}", missing=True, again=True, timeout=SLOW)

    def stats(self, index: Index, done: IndexProgress) -> IndexStats:
        held = self.registry.concrete(index)
        size = self.cluster.ask("GET", f"/{held}/_stats/store", again=True)["_all"]["total"]["store"]["size_in_bytes"]
        body = {"size": 0, "query": LIVING, "aggs": {"has": {"terms": {"field": "has", "size": 10_000}}}}
        buckets = self.cluster.ask("POST", f"/{held}/_search", body, again=True)["aggregations"]["has"]["buckets"]
        counts = {bucket["key"]: bucket["doc_count"] for bucket in buckets}
        fields = {field: counts.get(field, 0) for field in index.fields}
        return IndexStats(done.documents, size, done.seq, done.indexed_seq, done.lag, done.lag_seconds, index.rebuilding, fields)

    def progresses(self, indexes: Sequence[Index]) -> dict[str, IndexProgress]:
        """By name, in one request. What searches see is half a second behind at most, which is no lag to speak of."""
        lines: list[dict[str, Any]] = []
        for index in indexes:
            lines += [{"index": self.registry.concrete(index)}, FIGURES]
        answers = self.cluster.ask("POST", "/_msearch", lines, again=True)["responses"] if lines else ()
        found = {}
        for index, answer in zip(indexes, answers, strict=True):
            if "aggregations" in answer:
                newest, living = (answer["aggregations"][name] for name in ("newest", "living"))
                seq = index.live.base + int(newest["value"] if newest["value"] is not None else -1) + 1
                found[index.name] = IndexProgress(living["doc_count"], seq, seq, 0, 0.0)
        return found

    def checkpoint(self, index: Index, held: Concrete | None = None) -> int:
        """The `_seq_no` up to which everything is written; -1 for nothing."""
        return self.checkpoint_of(self.registry.concrete(index, held))

    def checkpoint_of(self, name: str) -> int:
        """The same of a concrete index by its name."""
        shards = self.cluster.ask("GET", f"/{name}/_stats/completion", params={"level": "shards"}, again=True)["indices"][name][
            "shards"
        ]
        copies = (copy for shard in shards.values() for copy in shard)
        primary = next((copy for copy in copies if copy["routing"]["primary"]), None)
        if primary is None:
            raise EngineUnavailable("The search engine is not ready.")
        return primary["seq_no"]["local_checkpoint"]

    def count(self, index: Index) -> int:
        path = f"/{self.registry.concrete(index)}/_count"
        return self.cluster.ask("POST", path, {"query": LIVING}, again=True)["count"]


class Refreshes:
    """Refreshing an index on behalf of many who wait: one that began after somebody came is good for them too."""

    def __init__(self, cluster: Cluster):
        self._cluster = cluster
        self._locks: dict[str, threading.Lock] = {}
        self._begun: dict[str, float] = {}  # when the last one that has ended began

    def now(self, index: str, timeout: float = SLOW) -> None:
        """Returns when searches see what was written before it was called."""
        came = time.monotonic()
        with self._locks.setdefault(index, threading.Lock()):
            if self._begun.get(index, 0.0) > came:
                return
            began = time.monotonic()
            self._cluster.ask("POST", f"/{index}/_refresh", again=True, timeout=timeout)
            self._begun[index] = began
