"""What both engines keep of what is done once: how a key is told again, and a write's result, compactly, and back again. See
Engine.write and SystemStore.claim."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Sequence
from typing import Any

import orjson

from .. import exceptions
from ..exceptions import Fault, IdempotencyReused, IdempotencyUnfinished, SearchAPIError
from ..model import Once, Operation, Outcome, WriteResult

STALE_MS = 60_000  # after which a claim without an answer may be taken over, even where its process lives on

_LONG = 1000  # bytes of JSON from which a record is compressed: of a thousand refusals most words are the same


def digest(key: str) -> bytes:
    """Of 16 bytes: a key may have some 300, and is in a table and in its index."""
    return hashlib.blake2b(key.encode(), digest_size=16).digest()


def same(once: Once, fingerprint: bytes) -> None:
    """Whether it is what was asked for under its key before. Raises IdempotencyReused."""
    if fingerprint != once.fingerprint:
        raise IdempotencyReused("This Idempotency-Key came with another request before; every request needs a key of its own.")


def unfinished() -> IdempotencyUnfinished:
    return IdempotencyUnfinished("The request with this Idempotency-Key is still being done. Send it again in a moment.")


def packed(result: WriteResult) -> bytes:
    """JSON, a long one compressed: `[seq, [one an operation]]`, where one is its version, negative where the document is new, or
    what refused it: `[kind of error, code, detail, [[pointer, code, detail]]]`. Ids and positions are in the operations, which come
    again."""
    text = orjson.dumps([result.seq, [_packed(outcome) for outcome in result.outcomes]])
    return zlib.compress(text, 1) if len(text) > _LONG else text


def _packed(outcome: Outcome) -> Any:
    error = outcome.error
    if isinstance(error, SearchAPIError):
        return [type(error).__name__, error.code, error.detail, [[f.pointer, f.code, f.detail] for f in error.errors]]
    return -outcome.version if outcome.created else outcome.version


def unpacked(record: bytes, operations: Sequence[Operation]) -> WriteResult:
    """The result of these operations when they were done."""
    seq, entries = orjson.loads(record if record.startswith(b"[") else zlib.decompress(record))
    outcomes = (_unpacked(entry, operation) for entry, operation in zip(entries, operations, strict=True))
    return WriteResult(seq, tuple(outcomes), replayed=True)


def _unpacked(entry: Any, operation: Operation) -> Outcome:
    if isinstance(entry, int):
        return Outcome(operation.position, operation.id, version=abs(entry), created=entry < 0)
    kind, code, detail, faults = entry
    known = getattr(exceptions, kind, exceptions.Conflict)  # the record may be of a release that knows more kinds
    error = known.__new__(known)
    SearchAPIError.__init__(error, detail, code=code, errors=tuple(Fault(*fault) for fault in faults))
    return Outcome(operation.position, operation.id, error=error)
