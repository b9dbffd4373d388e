"""The arithmetic of every row: rounds in which both sides ran, the ratio of each, and the median of those."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pair:
    """What one round measured, in the same unit: `ours`, and `reference` right after it on the same machine."""

    ours: float
    reference: float

    @property
    def ratio(self) -> float:
        return self.ours / self.reference


@dataclass(frozen=True, slots=True)
class Compared:
    """The medians over all rounds. ratio: the median of the rounds' ratios, not the ratio of the medians, so that what slows the
    machine down for a while slows both sides of a round. low and high: of the rounds' ratios."""

    ours: float
    reference: float
    ratio: float
    low: float
    high: float
    rounds: int


def compared(pairs: Sequence[Pair]) -> Compared:
    """Raises ValueError for no pairs."""
    if not pairs:
        raise ValueError("expected at least one round, got none")
    ratios = [pair.ratio for pair in pairs]
    return Compared(
        ours=statistics.median(pair.ours for pair in pairs),
        reference=statistics.median(pair.reference for pair in pairs),
        ratio=statistics.median(ratios),
        low=min(ratios),
        high=max(ratios),
        rounds=len(pairs),
    )


def interleaved(ours: Callable[[], float], reference: Callable[[], float], rounds: int) -> Compared:
    """A B A B …: ours and the reference by turns, `rounds` times."""
    return compared([Pair(ours(), reference()) for _ in range(rounds)])


@dataclass(frozen=True, slots=True)
class Aim:
    """A bound on a ratio: at least (`>=`) or at most (`<=`) `bound`."""

    op: str
    bound: float

    def met(self, ratio: float) -> bool:
        return ratio >= self.bound if self.op == ">=" else ratio <= self.bound

    def __str__(self) -> str:
        return f"{'≥' if self.op == '>=' else '≤'} {self.bound:g}"
