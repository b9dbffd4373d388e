"""Following the writes of an index by `_seq_no`, as a rebuild does.

A position is `<concrete index>:<_seq_no>:<when it was asked for>`: another concrete index counts anew, and what was deleted is
forgotten some time later (worker.TOMBSTONES_FOR).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from ..changes import Change, Changes, PositionLost
from .client import NotThere
from .concretes import SLOW

if TYPE_CHECKING:
    from .engine import OpenSearchEngine

REMEMBERED = 3000.0  # seconds; less than a tombstone stays, because hosts' clocks differ


def changes(engine: OpenSearchEngine, name: str, after: str | None, limit: int) -> Changes:
    """As Engine.changes."""
    index, asked_at = engine.registry.fresh(name), int(time.time())
    held = engine.registry.concrete(index)
    try:
        newest = engine.concretes.checkpoint(index)
        if after is None:
            return Changes(f"{held}:{newest}:{asked_at}")
        known, seq, before = after.rsplit(":", 2)
        at = int(seq)
        if known != held or at > newest or asked_at - int(before) > REMEMBERED:
            raise PositionLost
        if at == newest:
            return Changes(f"{held}:{newest}:{asked_at}")
        rows = _rows(engine, held, at, newest, limit)
    except NotThere:  # the concrete index was left for another, and is gone
        raise PositionLost from None
    more = len(rows) == limit
    reached = rows[-1]["_seq_no"] if more else newest
    # Until all is read, what was deleted since the position before may still be to come.
    return Changes(f"{held}:{reached}:{before if more else asked_at}", tuple(_change(row["_source"]) for row in rows), more)


def _rows(engine: OpenSearchEngine, held: str, after: int, upto: int, limit: int) -> list[dict]:
    engine.cluster.ask("POST", f"/{held}/_refresh", again=True, timeout=SLOW)
    body = {
        "size": limit,
        "sort": [{"_seq_no": "asc"}],
        "query": {"range": {"_seq_no": {"gt": after, "lte": upto}}},
        "seq_no_primary_term": True,
        "track_total_hits": False,
    }
    # The primary shard is what the checkpoint is of; another may be a moment behind.
    params = {"preference": "_primary"}
    return engine.cluster.ask("POST", f"/{held}/_search", body, params=params, again=True, timeout=SLOW)["hits"]["hits"]


def _change(source: dict) -> Change:
    return Change(source["id"], source["version"], None if source.get("gone") else source["body"].encode())
