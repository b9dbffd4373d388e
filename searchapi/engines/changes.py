"""What was written to an index, in the order in which it was: how one engine is followed by another while it takes writes.

A position is opaque text of the engine that gave it. It may be kept in a file, and outlives the process.
"""

from __future__ import annotations

from dataclasses import dataclass

ASKED_OFTEN = 600.0  # seconds between two questions after which a deleted document may have left no trace


class PositionLost(Exception):
    """What was written after the position cannot be told any more: the index was rebuilt or restored, or what was deleted since has
    left no trace. Whoever follows begins anew."""


@dataclass(frozen=True, slots=True)
class Change:
    """A document as its last write left it. body: its JSON, None where it was deleted."""

    id: str
    version: int
    body: bytes | None


@dataclass(frozen=True, slots=True)
class Changes:
    """rows: in the order in which they were written; of each document only what is newest. position: to ask from next time.
    more: whether the next question has an answer at once."""

    position: str
    rows: tuple[Change, ...] = ()
    more: bool = False
