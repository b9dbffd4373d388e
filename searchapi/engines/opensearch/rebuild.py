"""Building an index anew beside the one that answers, for settings that it cannot hold. Its documents are read by `_seq_no` and
sent to the next concrete index, while writes go on. Then writes are held for the last of them, and the record names the next one.

Nothing is lost wherever this is killed: the record names one live index at any moment. What was begun is removed by whoever does
it again, and a hold on writes that was left is taken away first.

https://docs.opensearch.org/latest/api-reference/document-apis/index-document/ (`version_type=external`): a document is written
only over an older one, so sending it again does nothing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from ...exceptions import EngineError, EngineUnavailable
from .client import NotThere
from .encode import Encoder, tombstone
from .engine import SLOW, OpenSearchEngine
from .mapping import LAYOUT
from .registry import Concrete, Index
from .system import now
from .writing import BULK, CHUNK

ROWS = 1_000  # documents read at once
CLOSE = 2_000  # writes; when so few are left, those to come are held


class Replaced(Exception):
    """Settings have changed meanwhile, and another rebuild takes the place of this one."""


class Rebuild:
    """One rebuild. progress: called with (done, total) writes."""

    def __init__(self, engine: OpenSearchEngine, name: str, task: str, progress: Callable[[int, int], None]):
        self.engine, self.registry, self.cluster = engine, engine.registry, engine.cluster
        self.name, self.task, self._progress = name, task, progress
        self._done = 0

    def run(self) -> None:
        """Raises IndexNotFound, EngineUnavailable, EngineError, Replaced; the index that answers is then as it was."""
        index = self._begin()
        live = self.registry.concrete(index)
        try:
            upto = self._copy(index, -1, CLOSE)
            self._hold(live, True)
            last = self._copy(index, upto, 0)
            self.cluster.ask("POST", f"/{self.registry.concrete(index, index.building)}/_refresh", again=True, timeout=SLOW)
            index = self._switch(last)
        except BaseException:
            with contextlib.suppress(EngineUnavailable, EngineError, NotThere):
                self._give_up(mine=True)
            raise
        self.engine.point(index)

    # ------------------------------------------------------------------------------------------------------- the steps

    def _begin(self) -> Index:
        """The record with the index that is to be built. What another run has left goes."""
        self._give_up()

        def change(index: Index) -> Index:
            n = max([index.live.n, *(n for n, _ in index.retired)]) + 1
            return replace(index, building=Concrete(n, 0, dict(index.fields), LAYOUT), task=self.task)

        index = self.registry.change(self.name, change)
        self._remove(index, index.building)
        self.engine.make(index, index.building)
        return index

    def _give_up(self, mine: bool = False) -> None:
        """What was begun goes. mine: unless it is another's by now."""
        index = self.registry.fresh(self.name)
        if mine and index.task != self.task:
            return
        self._hold(self.registry.concrete(index), False)
        if index.building is not None:
            self.registry.change(self.name, lambda found: replace(found, building=None, task=None))
            self._remove(index, index.building)

    def _remove(self, index: Index, held: Concrete) -> None:
        self.cluster.ask("DELETE", f"/{self.registry.concrete(index, held)}", missing=True, again=True, timeout=SLOW)

    def _hold(self, live: str, held: bool) -> None:
        """Whether writes are refused for the moment; who writes waits."""
        body = {"index.blocks.write": True if held else None}
        self.cluster.ask("PUT", f"/{live}/_settings", body, again=True, timeout=SLOW)

    def _switch(self, last: int) -> Index:
        def change(index: Index) -> Index:
            if index.building is None or index.task != self.task:
                raise Replaced
            fields = {name: replace(field, boost=index.fields[name].boost) for name, field in index.building.fields.items()}
            live = replace(index.building, base=index.live.base + last + 1, fields=fields)
            return replace(index, live=live, building=None, task=None, retired=(*index.retired, (index.live.n, now())))

        return self.registry.change(self.name, change)

    # ------------------------------------------------------------------------------------------------------- copying

    def _copy(self, index: Index, upto: int, close: int) -> int:
        """Send what was written after `upto`, until no more than `close` writes are left. The `_seq_no` that was reached."""
        live = self.registry.concrete(index)
        while True:
            newest = self.engine.checkpoint(index)
            self.cluster.ask("POST", f"/{live}/_refresh", again=True, timeout=SLOW)
            begun, at = newest - upto, upto
            while rows := self._rows(live, at, newest):
                self._send(rows)
                at = rows[-1]["_seq_no"]
                self._done += len(rows)
                self._progress(self._done, self._done + newest - at)
            upto = newest
            if begun <= close or not close:
                return upto

    def _rows(self, live: str, after: int, upto: int) -> list[dict[str, Any]]:
        body = {
            "size": ROWS,
            "sort": [{"_seq_no": "asc"}],
            "query": {"range": {"_seq_no": {"gt": after, "lte": upto}}},
            "seq_no_primary_term": True,
            "track_total_hits": False,
        }
        return self.cluster.ask("POST", f"/{live}/_search", body, again=True, timeout=SLOW)["hits"]["hits"]

    def _send(self, rows: list[dict[str, Any]]) -> None:
        """The fields are asked for after the documents were read: a field that one of them has is in the record by then."""
        index = self.registry.fresh(self.name)
        if index.building is None or index.task != self.task:
            raise Replaced
        encoder, name = Encoder(index.building.fields), self.registry.concrete(index, index.building)
        lines: list[bytes] = []
        size = 0
        for row in rows:
            lines += _lines(row, encoder)
            size += len(lines[-1])
            if size > CHUNK:
                self._bulk(name, lines)
                lines, size = [], 0
        if lines:
            self._bulk(name, lines)

    def _bulk(self, name: str, lines: list[bytes]) -> None:
        answer = self.cluster.ask("POST", f"/{name}/_bulk", b"\n".join(lines) + b"\n", again=True, timeout=BULK)
        for row in answer["items"] if answer["errors"] else ():
            (item,) = row.values()
            if item["status"] == 429:
                raise EngineUnavailable("The search engine is busy.")
            if item["status"] >= 300 and item["status"] != 409:  # 409: a newer one is there already
                raise EngineError(f"A document could not be copied: {item['error'].get('type')}.")


def _lines(row: dict[str, Any], encoder: Encoder) -> list[bytes]:
    source = row["_source"]
    id, version, at = source["id"], source["version"], source["at"]
    action = {"index": {"_id": id, "version": row["_seq_no"] + 1, "version_type": "external"}}
    gone = source.get("gone", False)
    document = tombstone(id, version, at) if gone else encoder.document(id, version, source["body"].encode(), at)
    return [orjson.dumps(action), orjson.dumps(document)]
