"""How long a run takes: the full one, or a quick one that only shows that everything works."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Options:
    """rounds: of each row. seconds: of wrk for one figure. documents: at most of a corpus, None for all. queries: of each kind.
    growth: documents of the smaller and the larger corpus. searches: before memory is read again."""

    rounds: int = 5
    seconds: int = 3
    documents: int | None = None
    queries: int = 500
    growth: tuple[int, int] = (100_000, 1_000_000)
    growth_queries: int = 100
    depth: int = 50_000  # documents that a deep cursor has passed
    searches: int = 10_000


QUICK = Options(
    rounds=1, seconds=1, documents=1_500, queries=40, growth=(2_000, 20_000), growth_queries=10, depth=1_000, searches=200
)
