"""Writing many documents: in chunks, so that memory stays bounded however long the request is. No Flask.

Each chunk is one transaction of the engine. A document that is refused leaves the others of its batch alone.

What is written under an Idempotency-Key is recorded chunk by chunk, each in the transaction that writes it. So a batch that was cut
off and is sent again replays the chunks that were done and goes on with the rest. The last chunk is known to be the last when it
is written, and its fingerprint says so: neither a longer batch nor a shorter one passes for the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from .documents import document_id
from .engines.base import Engine
from .exceptions import Fault, Invalid, SearchAPIError
from .model import Once, Operation

CHUNK_OPERATIONS = 1000
CHUNK_BYTES = 4 << 20
Documents = Iterable[tuple[int, Mapping[str, Any] | Fault]]  # (position, document or what is wrong with it), as ndjson reads them
REPORTED = 1000  # errors that an answer lists; the rest is only counted


@dataclass(frozen=True, slots=True)
class Refused:
    """A document that was not accepted. pointer: JSON Pointer into the batch, as `/2/price`."""

    position: int
    id: str | None
    code: str
    detail: str
    pointer: str


@dataclass(slots=True)
class Batch:
    """What became of a batch. seq: of the last chunk, None where nothing was accepted. refused counts more than errors lists.
    read: documents that the request had, so far. replayed: all that was written had been written before, under the same key."""

    accepted: int = 0
    refused: int = 0
    errors: list[Refused] = field(default_factory=list)
    seq: int | None = None
    read: int = 0
    replayed: bool = False

    def refuse(self, position: int, id: str | None, faults: Iterable[Fault], prefix: str = "") -> None:
        for fault in faults:
            if len(self.errors) < REPORTED:
                self.errors.append(Refused(position, id, fault.code, fault.detail, prefix + fault.pointer))
        self.refused += 1


def write_batch(
    engine: Engine,
    name: str,
    kind: Literal["put", "patch"],
    items: Documents,
    primary_key: str,
    before: Callable[[], None] = lambda: None,
    once: Once | None = None,
) -> Batch:
    """Write the items in order. `before` is called once, before the first write. once: of the whole request.

    Raises what the engine or the reading of items raises; its detail then says how many documents were accepted before.
    """
    batch = Batch()
    try:
        for number, (chunk, last) in enumerate(_chunks(_operations(items, kind, primary_key, batch))):
            if number == 0:
                before()
            result = engine.write(name, chunk, once and part(once, number, chunk, batch.read if last else None))
            batch.replayed = result.replayed and (batch.replayed or number == 0)
            for outcome in result.outcomes:
                if outcome.error is None:
                    batch.accepted += 1
                elif isinstance(outcome.error, SearchAPIError):
                    batch.refuse(outcome.position, outcome.id, _faults(outcome.error), f"/{outcome.position}")
                else:
                    raise outcome.error
            batch.seq = result.seq
    except SearchAPIError as error:
        if batch.accepted:
            error.detail += (
                f" Before that, {batch.accepted} documents of this request were accepted; sending all again does no harm."
            )
        raise
    batch.errors.sort(key=lambda refused: refused.position)
    return batch


def part(once: Once, number: int, operations: Sequence[Operation], end: int | None) -> Once:
    """Of the part with this number of a request, from 0. end: how many documents the request had in all, where this is its last
    part. Conditions are in the request's own fingerprint: as they were sent, not as they are understood."""
    digest = hashlib.blake2b(once.fingerprint, digest_size=16)
    for o in operations:
        digest.update(orjson.dumps((o.kind, o.id, o.position, o.document)))
    digest.update(b"goes on" if end is None else b"ends at %d" % end)
    return Once(f"{once.key}/{number}", digest.digest())


def _faults(error: SearchAPIError) -> tuple[Fault, ...]:
    return error.errors or (Fault("", error.code, error.detail),)


def _operations(items: Documents, kind: Literal["put", "patch"], primary_key: str, batch: Batch) -> Iterator[Operation]:
    for position, document in items:
        batch.read = position + 1
        if isinstance(document, Fault):
            batch.refuse(position, None, (document,))
            continue
        try:
            id = document_id(document, primary_key)
        except Invalid as error:
            batch.refuse(position, None, error.errors, f"/{position}")
            continue
        yield Operation(kind, id, document, position)


def _chunks(operations: Iterable[Operation]) -> Iterator[tuple[list[Operation], bool]]:
    """(chunk, whether it is the last)."""
    chunk: list[Operation] = []
    size = 0
    for operation in operations:
        if len(chunk) >= CHUNK_OPERATIONS or size >= CHUNK_BYTES:
            yield chunk, False
            chunk, size = [], 0
        chunk.append(operation)
        size += len(orjson.dumps(operation.document))
    if chunk:
        yield chunk, True
