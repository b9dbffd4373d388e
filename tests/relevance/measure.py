"""How good an order of answers is: the judged questions and the three figures over them. Pure, but for reading the two files.

A known-item question has a set of ids, each of which a person would accept as the answer. A long question has graded ids:
3 answers it, 2 helps, 1 is related; everything else counts as 0.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log2
from pathlib import Path

HERE = Path(__file__).parent
KINDS = ("plain", "typo", "prefix", "plural", "identifier")
DEPTH = 10  # how far down an answer is looked at


@dataclass(frozen=True, slots=True)
class KnownItem:
    q: str
    ids: frozenset[str]
    kind: str


@dataclass(frozen=True, slots=True)
class LongQuestion:
    q: str
    grades: Mapping[str, int]


def known_items() -> list[KnownItem]:
    rows = json.loads((HERE / "known_items.json").read_text(encoding="utf-8"))
    return [KnownItem(row["q"], frozenset(row["ids"]), row["kind"]) for row in rows]


def long_questions() -> list[LongQuestion]:
    rows = json.loads((HERE / "long_questions.json").read_text(encoding="utf-8"))
    return [LongQuestion(row["q"], row["ids"]) for row in rows]


def rank_of_first(ranked: Sequence[str], wanted: Collection[str], depth: int = DEPTH) -> int | None:
    """The rank, from 1, of the first wanted id, or None where the first `depth` hold none."""
    return next((rank for rank, id in enumerate(ranked[:depth], 1) if id in wanted), None)


def reciprocal_rank(ranked: Sequence[str], wanted: Collection[str], depth: int = DEPTH) -> float:
    """1 / the rank of the first wanted id, 0 where the first `depth` hold none. Its mean over questions is MRR@depth."""
    rank = rank_of_first(ranked, wanted, depth)
    return 1 / rank if rank else 0.0


def success(ranked: Sequence[str], wanted: Collection[str], depth: int = 1) -> float:
    """1 where one of the first `depth` is wanted, else 0."""
    return 1.0 if rank_of_first(ranked, wanted, depth) else 0.0


def ndcg(ranked: Sequence[str], grades: Mapping[str, int], depth: int = DEPTH) -> float:
    """Normalised discounted cumulative gain, 0 to 1: gain 2^grade - 1, discount log2(rank + 1), divided by that of the best
    possible order of all judged ids (Burges et al., "Learning to Rank using Gradient Descent", 2005). 0 where nothing is judged.
    """
    ideal = _discounted(sorted(grades.values(), reverse=True)[:depth])
    return _discounted([grades.get(id, 0) for id in ranked[:depth]]) / ideal if ideal else 0.0


def _discounted(grades: Sequence[int]) -> float:
    return sum((2**grade - 1) / log2(rank + 1) for rank, grade in enumerate(grades, 1))


def mean(values: Collection[float]) -> float:
    """The arithmetic mean, 0 of nothing."""
    return sum(values) / len(values) if values else 0.0
