"""One index on its way: its documents in the order of their ids, then what changed meanwhile.

A document is written only where the target has another one, with the version that it has in the source. While documents are copied
the source is followed as well, so that there is never much to catch up with. Where the position is lost (engines/changes.py) the
documents are compared from the first one on: what is the same is not written again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

import orjson

from ..exceptions import DocumentNotFound, EngineUnavailable, StorageFull
from ..model import Document, Operation
from .ends import End, Source
from .memory import Memory

T = TypeVar("T")
Tell = Callable[[str], None]

CHUNK = 500  # documents read and written at once
FOLLOW = 15.0  # seconds between looks at what changed, while documents are copied
TOLD = 5.0  # seconds between lines of progress
PATIENCE = 120.0  # seconds that an engine may be away
LASTING = ("store_damaged", "store_unwritable", "data_dir")  # what waiting does not mend


def patiently(call: Callable[[], T], tell: Tell) -> T:
    """What an engine that is away for a moment answers in the end. Only for what may be done twice."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            return call()
        except StorageFull:
            raise
        except EngineUnavailable as error:
            if error.code in LASTING or time.monotonic() > end:
                raise
            tell(f"waiting: {error.detail}")
            time.sleep(min(getattr(error, "retry_after", 1), 5))


class Copy:
    """name: in the source. into: in the target. refused: {id: why} of what the target does not take."""

    def __init__(self, source: Source, name: str, target: End, into: str, memory: Memory, tell: Tell):
        self.source, self.name, self.target, self.into, self.memory = source, name, target, into, memory
        self.refused: dict[str, str] = {}
        self.written = self.deleted = 0
        self._tell = lambda line: tell(f"{name}: {line}")
        self._told = time.monotonic()

    def patiently(self, call: Callable[[], T]) -> T:
        return patiently(call, self._tell)

    def run(self, total: int, *, empty: bool) -> None:
        """Copy what is not copied yet, and catch up. total: documents, for the progress. empty: the target is known to hold none
        of them. Raises PositionLost; `memory.begin()` and another run then do."""
        memory, done, followed = self.memory, 0, time.monotonic()
        if memory.position is None:
            memory.position = self._changes(None).position
            memory.save()
        elif memory.copied:
            self.follow()
            return
        for rows, there, until in self.pairs(memory.after, read_target=not empty):
            self._write(differences(rows, there))
            done += len(rows)
            memory.after, memory.copied = until or memory.after, until is None
            if time.monotonic() - followed > FOLLOW:
                self.follow()
                followed = time.monotonic()
            memory.save()
            self._progress(f"{done:,} of about {total:,} documents")
        self.follow()

    def follow(self) -> int:
        """Do to the target what was done to the source since. How many writes that was. Raises PositionLost."""
        seen = 0
        while True:
            found = self._changes(self.memory.position)
            self._write([_operation(row.id, row.version, row.body) for row in found.rows])
            seen += len(found.rows)
            if found.position != self.memory.position:
                self.memory.position = found.position
                self.memory.save()
            if not found.more:
                return seen
            self._progress(f"caught up with {seen:,} writes")

    def _changes(self, after: str | None):
        return self.patiently(lambda: self.source.changes(self.name, after, CHUNK))

    def pairs(
        self, after: str | None = None, *, read_target: bool = True
    ) -> Iterator[tuple[list[Document], list[Document], str | None]]:
        """(documents of the source, those of the target in the same range of ids, the last id of the range or None at the end)."""
        while True:
            rows = self.patiently(lambda after=after: self.source.read(self.name, after, CHUNK))
            until = rows[-1].id if len(rows) == CHUNK else None
            yield rows, list(self._between(after, until)) if read_target else [], until
            if until is None:
                return
            after = until

    def _between(self, after: str | None, until: str | None) -> Iterator[Document]:
        """The target's documents beyond `after`, up to and with `until`."""
        while True:
            rows = self.patiently(lambda after=after: self.target.read(self.into, after, CHUNK))
            for row in rows:
                if until is not None and row.id > until:
                    return
                yield row
            if len(rows) < CHUNK or rows[-1].id == until:
                return
            after = rows[-1].id

    def _write(self, operations: list[Operation]) -> None:
        for start in range(0, len(operations), CHUNK):
            self.patiently(lambda start=start: self._write_once(operations[start : start + CHUNK]))

    def _write_once(self, operations: list[Operation]) -> None:
        for operation, outcome in zip(operations, self.target.engine.write(self.into, operations).outcomes, strict=True):
            error = outcome.error
            if isinstance(error, EngineUnavailable):
                raise error
            self.refused.pop(operation.id, None)
            if error is not None and not isinstance(error, DocumentNotFound):
                self.refused[operation.id] = "; ".join(fault.detail for fault in getattr(error, "errors", ())) or str(error)
            elif error is None and operation.kind == "delete":
                self.deleted += 1
            elif error is None:
                self.written += 1

    def waiting(self, shown: str) -> None:
        self._progress(f"waiting until {shown} has indexed its documents")

    def _progress(self, line: str) -> None:
        if time.monotonic() - self._told > TOLD:
            self._told = time.monotonic()
            self._tell(line)


def differences(rows: Iterable[Document], there: Iterable[Document]) -> list[Operation]:
    """What makes the target's documents the source's, in the order of ids."""
    found = {document.id: document for document in there}
    operations = []
    for row in rows:
        known = found.pop(row.id, None)
        if known != row:
            operations.append(_operation(row.id, row.version, row.body))
    return operations + [Operation("delete", id) for id in found]


def _operation(id: str, version: int, body: bytes | None) -> Operation:
    if body is None:
        return Operation("delete", id, version=version)
    return Operation("put", id, orjson.loads(body), version=version)
