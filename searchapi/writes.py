"""Writing many documents: in chunks, so that memory stays bounded however long the request is. No Flask.

Each chunk is one transaction of the engine. A document that is refused leaves the others of its batch alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import orjson

from .documents import document_id
from .engines.base import Engine
from .exceptions import Fault, Invalid, SearchAPIError
from .model import Operation

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
    """What became of a batch. seq: of the last chunk, None where nothing was accepted. refused counts more than errors lists."""

    accepted: int = 0
    refused: int = 0
    errors: list[Refused] = field(default_factory=list)
    seq: int | None = None

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
) -> Batch:
    """Write the items in order. `before` is called once, before the first write.

    Raises what the engine or the reading of items raises; its detail then says how many documents were accepted before.
    """
    batch = Batch()
    try:
        for chunk in _chunks(_operations(items, kind, primary_key, batch)):
            if batch.seq is None:
                before()
            result = engine.write(name, chunk)
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


def _faults(error: SearchAPIError) -> tuple[Fault, ...]:
    return error.errors or (Fault("", error.code, error.detail),)


def _operations(items: Documents, kind: Literal["put", "patch"], primary_key: str, batch: Batch) -> Iterator[Operation]:
    for position, document in items:
        if isinstance(document, Fault):
            batch.refuse(position, None, (document,))
            continue
        try:
            id = document_id(document, primary_key)
        except Invalid as error:
            batch.refuse(position, None, error.errors, f"/{position}")
            continue
        yield Operation(kind, id, document, position)


def _chunks(operations: Iterable[Operation]) -> Iterator[list[Operation]]:
    chunk: list[Operation] = []
    size = 0
    for operation in operations:
        chunk.append(operation)
        size += len(orjson.dumps(operation.document))
        if len(chunk) >= CHUNK_OPERATIONS or size >= CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
