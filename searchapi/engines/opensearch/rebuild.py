"""Building an index anew beside the one that answers, for settings that it cannot hold. Its documents are read by `_seq_no` and
sent to the next concrete index, while writes go on. Then writes are held for the last of them, and the record names the next one.

Nothing is lost wherever this is killed: the record names one live index at any moment. What was begun is left to the housekeeping
by whoever does it again. A hold on writes that was left is taken away by the next run, or by who writes (writing.py). Only the run
that the record names may end, so one that slept meanwhile cannot; and should a hold have been taken away under it by another that
slept, what was written then is carried over afterwards.

https://docs.opensearch.org/latest/api-reference/document-apis/index-document/ (`version_type=external`): a document is written
only over an older one, so sending it again does nothing.
"""

from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson

from ...exceptions import EngineError, EngineUnavailable, IndexNotFound, SearchAPIError
from .client import Conflict, NotThere
from .concretes import SLOW
from .encode import Encoder, tombstone
from .engine import OpenSearchEngine
from .mapping import LAYOUT
from .registry import ASKED, Concrete, Index
from .system import now
from .writing import BULK, CHUNK, INTO, hold, let_go

log = logging.getLogger("searchapi.opensearch")

ROWS = 1_000  # documents read at once
CLOSE = 2_000  # writes; when so few are left, those to come are held
MOST = 2**63 - 1  # a `_seq_no`


class Replaced(Exception):
    """Settings have changed meanwhile, and another rebuild takes the place of this one."""


class Rebuild:
    """One rebuild. progress: called with (done, total) writes."""

    def __init__(self, engine: OpenSearchEngine, name: str, progress: Callable[[int, int], None]):
        self.engine, self.registry, self.cluster = engine, engine.registry, engine.cluster
        self.name, self._progress = name, progress
        self._me = uuid.uuid4().hex  # this run: its task may have had others
        self._building: tuple[str, int] | None = None  # uid, n
        self._done = 0

    def run(self) -> None:
        """Raises IndexNotFound, EngineUnavailable, EngineError, Replaced; the index that answers is then as it was."""
        with self.engine.there(self.name):
            self._run()

    def _run(self) -> None:
        held: str | None = None  # the index whose writes may be held up
        try:
            index = self._begin()
            live = self.registry.concrete(index)
            upto = self._copy(index, -1, CLOSE)
            self._refresh(index)
            held = live
            hold(self.cluster, live)
            last = self._copy(index, upto, 0)
            self._refresh(index)
            index = self._switch(last)
        except BaseException as error:
            with contextlib.suppress(SearchAPIError, Conflict, NotThere):
                self._give_up(held, again=isinstance(error, EngineUnavailable))
            raise
        self._late(index, live, last)
        self.engine.concretes.point(index)

    # ------------------------------------------------------------------------------------------------------- the steps

    def _begin(self) -> Index:
        """The record with the index that is to be built. Another run, which has left something or is still at it, ends here."""

        def change(index: Index) -> Index:
            building = Concrete(max(index.numbers) + 1, 0, dict(index.fields), LAYOUT)
            return replace(index.left(now()), building=building, task=self._me)

        index = self.registry.change(self.name, change)
        let_go(self.cluster, self.registry.concrete(index))
        self._building = index.uid, index.building.n
        self.engine.concretes.make(index, index.building)
        return index

    def _give_up(self, held: str | None, again: bool) -> None:
        """What was begun goes. held: the index whose writes this run may have held up. again: it will be tried again."""

        def change(index: Index) -> Index | None:
            return replace(index.left(now()), task=ASKED if again else None) if self._mine(index) else None

        try:
            index = self.registry.change(self.name, change)
        except IndexNotFound:
            return self._remove()
        if held is not None and index.building is None and held == self.registry.concrete(index):
            let_go(self.cluster, held)
        # Where the answer to the switch was lost, what was built is live now.
        if self._building is not None and (index.uid != self._building[0] or self._building[1] in index.left_behind):
            self._remove()

    def _remove(self) -> None:
        if self._building is not None:
            self.cluster.ask("DELETE", f"/{self.registry.names.data(*self._building)}", missing=True, again=True, timeout=SLOW)

    def _mine(self, index: Index) -> bool:
        return index.task == self._me

    def _switch(self, last: int) -> Index:
        def change(index: Index) -> Index:
            self._check(index)
            fields = {name: replace(field, boost=index.fields[name].boost) for name, field in index.building.fields.items()}
            live = replace(index.building, base=index.live.base + last + 1, fields=fields)
            return replace(index, live=live, building=None, task=None, retired=(*index.retired, (index.live.n, now())))

        return self.registry.change(self.name, change)

    def _check(self, index: Index) -> None:
        """Whether this run may go on. Raises Replaced, and EngineUnavailable where writes would not wait for it any longer."""
        if not self._mine(index):
            raise Replaced
        if index.building is None:
            raise EngineUnavailable("The rebuild held up writes for too long. It is tried again.")

    def _late(self, index: Index, left: str, last: int) -> None:
        """Carry over what was written to the index that was left after all had been read. There is nothing, unless the hold was
        taken away meanwhile."""
        hold(self.cluster, left)
        if self.engine.concretes.checkpoint_of(left) == last:
            return
        self.cluster.ask("POST", f"/{left}/_refresh", again=True, timeout=SLOW)
        while rows := self._rows(left, last, MOST):
            log.warning("a rebuild carries over %d late writes", len(rows), extra={"index": self.name})
            self.engine.writer.carry(self.name, [row["_source"] for row in rows])
            last = rows[-1]["_seq_no"]

    def _refresh(self, index: Index) -> None:
        """So that it can be searched at once when it is switched to."""
        self.cluster.ask("POST", f"/{self.registry.concrete(index, index.building)}/_refresh", again=True, timeout=SLOW)

    # ------------------------------------------------------------------------------------------------------- copying

    def _copy(self, index: Index, upto: int, close: int) -> int:
        """Send what was written after `upto`, until no more than `close` writes are left. The `_seq_no` that was reached."""
        live = self.registry.concrete(index)
        while True:
            newest = self.engine.concretes.checkpoint(index)
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
        params = {"preference": "_primary"}  # whose checkpoint that is: another copy may be a moment behind
        return self.cluster.ask("POST", f"/{live}/_search", body, params=params, again=True, timeout=SLOW)["hits"]["hits"]

    def _send(self, rows: list[dict[str, Any]]) -> None:
        """The fields are asked for after the documents were read: a field that one of them has is in the record by then."""
        index = self.registry.fresh(self.name)
        self._check(index)
        encoder, name = Encoder(index.building.fields), self.registry.into(index, index.building)
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
        answer = self.cluster.ask("POST", f"/{name}/_bulk", b"\n".join(lines) + b"\n", params=INTO, again=True, timeout=BULK)
        for row in answer["items"] if answer["errors"] else ():
            (item,) = row.values()
            if item["status"] in (404, 429, 503):  # 404: another run has begun
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
