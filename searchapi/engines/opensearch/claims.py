"""P.once: what was asked for under an idempotency key, and what was answered.

A claim is made before anything is done: OpenSearch creates the document of a key once, however many ask. It has no answer until
`finish`; a claim that never gets one, because its process died, is taken over after STALE_MS, by the clock of who asks.

    digest of the key -> at_ms, fingerprint (hex), holder, answer (base64)
"""

from __future__ import annotations

import time
from base64 import b64decode, b64encode
from typing import Any

from ...exceptions import EngineError
from ...model import Once
from .. import once as shared
from .client import Cluster, Conflict, NotThere
from .names import Names
from .table import Stamp, Table, attempts

PRUNED = 5_000  # records forgotten at a time, some 300 ms
LOOK = 0.05  # seconds between looks at another's claim

_HIDDEN = {"type": "keyword", "index": False, "doc_values": False}
_FIELDS = {"at_ms": {"type": "long"}, "fingerprint": _HIDDEN, "holder": _HIDDEN, "answer": {"type": "binary"}}


class Claims:
    def __init__(self, cluster: Cluster, names: Names):
        self._table = Table(cluster, names.once, _FIELDS)

    def claim(self, once: Once, holder: str, patience: float = 0.0) -> bytes | None:
        """As SystemStore.claim. patience: seconds to wait for another holder's answer before IdempotencyUnfinished."""
        id, until = _id(once.key), time.monotonic() + patience
        while True:
            mine = {"at_ms": _now_ms(), "fingerprint": once.fingerprint.hex(), "holder": holder}
            try:
                self._table.create(id, mine, visible=False, again=True)
                return None
            except Conflict:
                found = self._table.get(id)
            if found is None:
                continue  # just released
            there, stamp = found
            shared.same(once, bytes.fromhex(there["fingerprint"]))
            if "answer" in there:
                return b64decode(there["answer"])
            if there["holder"] == holder:
                return None  # by this very request, of which the cluster's first answer was lost
            if _now_ms() - there["at_ms"] >= shared.STALE_MS:
                try:
                    self._table.replace(id, mine, stamp, visible=False)
                    return None
                except Conflict:
                    continue
            if time.monotonic() >= until:
                raise shared.unfinished()
            time.sleep(LOOK)

    def finish(self, key: str, holder: str, answer: bytes) -> None:
        for _ in attempts("The idempotency record"):
            found = self._held(key, holder)
            if found is None:
                return
            there, stamp = found
            try:
                self._table.replace(_id(key), there | {"answer": b64encode(answer).decode()}, stamp, visible=False)
            except Conflict:
                continue
            return

    def release(self, key: str, holder: str) -> None:
        for _ in attempts("The idempotency record"):
            found = self._held(key, holder)
            if found is None:
                return
            try:
                self._table.delete(_id(key), found[1])
            except (Conflict, NotThere):
                continue
            return

    def _held(self, key: str, holder: str) -> tuple[dict[str, Any], Stamp] | None:
        """The claim, where it is still this holder's."""
        found = self._table.get(_id(key))
        return found if found is not None and found[0]["holder"] == holder else None

    def prune(self, before_ms: int) -> int:
        """Forget the oldest, at most PRUNED of them. Returns how many. One that was taken over meanwhile stays."""
        self._table.refresh()
        old = {"range": {"at_ms": {"lt": before_ms}}}
        hits = self._table.search({"query": old, "sort": [{"at_ms": "asc"}], "size": PRUNED, "_source": False})
        lines = [
            {"delete": {"_id": hit["_id"], "if_seq_no": hit["_seq_no"], "if_primary_term": hit["_primary_term"]}} for hit in hits
        ]
        results = self._table.bulk(lines)
        if refused := [result for result in results if result["status"] not in (200, 404, 409)]:
            raise EngineError(f"Idempotency records could not be forgotten: {refused[0].get('error')}")
        return sum(result["status"] == 200 for result in results)


def _id(key: str) -> str:
    return shared.digest(key).hex()


def _now_ms() -> int:
    return int(time.time() * 1000)
