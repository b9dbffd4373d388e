"""The small indexes that the API keeps for itself: documents by id, and writes that hold only while nobody else has written."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from ...exceptions import EngineUnavailable
from .client import Cluster, Conflict, NotThere

log = logging.getLogger("searchapi.opensearch")

TRIES = 100  # of a compare-and-swap; each time at least one of those who try gets through
LONGEST = 512  # bytes of an id that OpenSearch takes
STARTING = 5.0  # seconds that an index which another host has just made may take until it answers
UNSEARCHED = {"type": "text", "index": False}  # of any length
KEYWORD = {"type": "keyword"}


class Stamp(NamedTuple):
    """Which state of a document was read, or came of a write."""

    seq_no: int
    primary_term: int


def stamp_of(answer: Mapping[str, Any]) -> Stamp:
    return Stamp(answer["_seq_no"], answer["_primary_term"])


def attempts(what: str) -> Iterator[int]:
    """Of a compare-and-swap, with a moment between them. Raises EngineUnavailable when there were enough."""
    for attempt in range(TRIES):
        if attempt:
            time.sleep(min(0.001 * attempt, 0.05))
        yield attempt
    raise EngineUnavailable(f"{what} is changed by many at once. Try again soon.")


class Table:
    """One index of one shard, made when it is first needed and missing. fields: its mapping; others are refused.

    visible: whether searches find a write when it is acknowledged; otherwise within about a second. Reads by id always do."""

    def __init__(self, cluster: Cluster, name: str, fields: Mapping[str, Any]):
        self.cluster, self.name, self._fields = cluster, name, fields
        self._made = False
        self._making = threading.Lock()

    def get(self, id: str) -> tuple[dict[str, Any], Stamp] | None:
        """The document as it is now."""
        if len(id.encode()) > LONGEST:  # a client may ask for anything
            return None
        found = self.cluster.ask("GET", f"/{self.name}/_doc/{quote(id, safe='')}", again=True, missing=True)
        return (found["_source"], stamp_of(found)) if found and found["found"] else None

    def get_all(self, ids: list[str]) -> dict[str, tuple[dict[str, Any], Stamp]]:
        """Those that are there, as they are now."""
        docs = self._ask("POST", "_mget", {"ids": ids})["docs"] if ids else []
        return {doc["_id"]: (doc["_source"], stamp_of(doc)) for doc in docs if doc.get("found")}

    def create(self, id: str, source: Mapping[str, Any], *, visible: bool = True, again: bool = False) -> Stamp:
        """Raises Conflict where it is there. again: it may be sent twice, and then finds itself there."""
        self.make()
        path = f"/{self.name}/_create/{quote(id, safe='')}"
        return stamp_of(self.cluster.ask("PUT", path, source, params=_refresh(visible), again=again))

    def replace(self, id: str, source: Mapping[str, Any], expect: Stamp | tuple[int, int], *, visible: bool = True) -> Stamp:
        """Raises Conflict where it is not as it was read."""
        params = _refresh(visible) | _if(expect)
        return stamp_of(self.cluster.ask("PUT", f"/{self.name}/_doc/{quote(id, safe='')}", source, params=params))

    def delete(self, id: str, expect: Stamp) -> None:
        """Raises Conflict, as `replace`, and NotThere."""
        self.cluster.ask("DELETE", f"/{self.name}/_doc/{quote(id, safe='')}", params=_if(expect))

    def bulk(self, lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """What became of each operation of a bulk request. Searches find it later."""
        if not lines:
            return []
        self.make()
        answer = self.cluster.ask("POST", f"/{self.name}/_bulk", lines)
        return [result for item in answer["items"] for result in item.values()]

    def search(self, body: Mapping[str, Any], *, timeout: float | None = None, replica: bool = False) -> list[dict[str, Any]]:
        """Hits, each with its stamp: of the primary shard while it can be reached, for another may be a moment behind. replica: of
        another one, where there is one: the primary's node may hang, which OpenSearch takes half a minute to notice."""
        params = {"preference": "_replica_first" if replica else "_primary_first"}
        body = {"seq_no_primary_term": True, "track_total_hits": False} | body
        return self._ask("POST", "_search", body, params=params, timeout=timeout)["hits"]["hits"]

    def refresh(self, *, timeout: float | None = None) -> None:
        """Searches find what was written until now."""
        self._ask("POST", "_refresh", timeout=timeout)

    def checkpoint(self, *, timeout: float | None = None) -> int:
        """The `_seq_no` up to which all writes are done; -1 for none."""
        # completion is the cheapest metric; what is wanted comes with each
        answer = self._ask("GET", "_stats/completion", params={"level": "shards"}, timeout=timeout)
        copies = (copy for shard in answer["indices"][self.name]["shards"].values() for copy in shard)
        primary = next((copy for copy in copies if copy["routing"]["primary"]), None)
        if primary is None:
            raise EngineUnavailable("The search engine is not ready.")
        return primary["seq_no"]["local_checkpoint"]

    def _ask(self, method: str, path: str, body: Any = None, **more: Any) -> Any:
        """What reads. Raises EngineUnavailable where somebody has deleted the index: it may be about to be restored."""
        self.make()
        try:
            return self.cluster.ask(method, f"/{self.name}/{path}", body, again=True, **more)
        except NotThere:
            log.error("the index %s is gone from OpenSearch; restore it, or restart to begin without it", self.name)
            raise EngineUnavailable("The search engine is not ready.") from None

    def make(self) -> None:
        """Make the index where it is missing. A write to it would make it, too, but with fields as they come."""
        if self._made:
            return
        with self._making:
            if self._made:
                return
            if self.cluster.ask("GET", f"/{self.name}", again=True, missing=True) is None:
                settings = {"number_of_shards": 1, "auto_expand_replicas": "0-1"}
                body = {"settings": settings, "mappings": {"dynamic": "strict", "properties": self._fields}}
                try:
                    self.cluster.ask("PUT", f"/{self.name}", body, again=True)
                except Conflict:
                    pass  # another host, at the same moment
            self._started()
            self._made = True

    def _started(self) -> None:
        """Wait for the shard of an index that was made a moment ago."""
        end = time.monotonic() + STARTING
        while True:
            try:
                self.cluster.ask("POST", f"/{self.name}/_search", {"size": 0}, again=True)
                return
            except EngineUnavailable:
                if time.monotonic() > end:
                    raise
            time.sleep(0.1)


def _refresh(visible: bool) -> dict[str, str]:
    return {"refresh": "true"} if visible else {}


def _if(expect: Stamp | tuple[int, int]) -> dict[str, str]:
    return {"if_seq_no": str(expect[0]), "if_primary_term": str(expect[1])}
