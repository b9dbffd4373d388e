"""What both engines keep of a write that is done once: its result, compactly, and back again. See Engine.write."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import Any

import orjson

from .. import exceptions
from ..exceptions import Fault, SearchAPIError
from ..model import Operation, Outcome, WriteResult

_LONG = 1000  # bytes of JSON from which a record is compressed: of a thousand refusals most words are the same


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
