"""`python -m tests.relevance.report`: the figures of searchapi beside plain BM25, and every question that it misses."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from searchapi import demo

from .measure import (
    DEPTH,
    KINDS,
    KnownItem,
    LongQuestion,
    known_items,
    long_questions,
    mean,
    ndcg,
    rank_of_first,
    reciprocal_rank,
    success,
)
from .systems import PlainBM25, SearchAPI, System


@dataclass(frozen=True, slots=True)
class Answers:
    """What one system answered: (question, ids of the first DEPTH hits) each."""

    known: Sequence[tuple[KnownItem, list[str]]]
    long: Sequence[tuple[LongQuestion, list[str]]]

    def of_kind(self, kind: str | None) -> list[tuple[KnownItem, list[str]]]:
        return [(question, ranked) for question, ranked in self.known if kind in (None, question.kind)]

    def mrr(self, kind: str | None = None) -> float:
        return mean([reciprocal_rank(ranked, question.ids) for question, ranked in self.of_kind(kind)])

    def success(self, kind: str | None = None) -> float:
        return mean([success(ranked, question.ids) for question, ranked in self.of_kind(kind)])

    def ndcg(self) -> float:
        return mean([ndcg(ranked, question.grades) for question, ranked in self.long])


def ask(system: System) -> Answers:
    """Put every question to a system."""
    known = [(question, system.search(question.q)) for question in known_items()]
    return Answers(known, [(question, system.search(question.q)) for question in long_questions()])


def render(ours: Answers, plain: Answers) -> str:
    lines = [
        f"{'known items':<24}{'questions':>10}{'MRR@10':>18}{'success@1':>18}",
        f"{'':<34}{'ours  plain BM25':>18}{'ours  plain BM25':>18}",
    ]
    for kind in (*KINDS, None):
        figures = [ours.mrr(kind), plain.mrr(kind), ours.success(kind), plain.success(kind)]
        count = len(ours.of_kind(kind))
        lines.append(f"{kind or 'all':<24}{count:>10}" + "".join(f"{a:>8.3f}{b:>10.3f}" for a, b in (figures[:2], figures[2:])))
    lines += [
        "",
        f"{'long questions':<24}{'questions':>10}{'nDCG@10':>18}",
        f"{'all':<24}{len(ours.long):>10}{ours.ndcg():>8.3f}{plain.ndcg():>10.3f}",
    ]
    return "\n".join([*lines, "", *misses(ours), "", *weakest(ours, plain)])


def misses(answers: Answers) -> list[str]:
    """The known-item questions whose first hit is not wanted: what was wanted, where it came, and what came before it."""
    lines = ["known items whose first hit is another (rank of the wanted one, or - where it is not among the first ten)"]
    for question, ranked in answers.known:
        rank = rank_of_first(ranked, question.ids)
        if rank != 1:
            before = ranked[: min((rank or DEPTH + 1) - 1, 4)]
            lines.append(f"  {rank or '-':>2}  {question.kind:<11}{question.q!r} wants {' | '.join(sorted(question.ids)[:3])}")
            lines.append(f"      came: {', '.join(f'{at} {id}' for at, id in enumerate(before, 1)) or 'nothing'}")
    return lines


def weakest(ours: Answers, plain: Answers, below: float = 0.3) -> list[str]:
    """The long questions with an nDCG@10 under `below`, or under that of plain BM25."""
    lines = [f"long questions with nDCG@10 under {below}, or under plain BM25"]
    for (question, ranked), (_, other) in zip(ours.long, plain.long, strict=True):
        figure, plainly = ndcg(ranked, question.grades), ndcg(other, question.grades)
        if figure < below or figure < plainly:
            wanted = [id for id, grade in question.grades.items() if grade == 3]
            lines.append(f"  {figure:.2f} (plain {plainly:.2f}) {question.q!r} wants {' | '.join(wanted[:3])}")
            lines.append(f"      came: {', '.join(f'{id} ({question.grades.get(id, 0)})' for id in ranked[:5]) or 'nothing'}")
    return lines


def main() -> None:
    documents = list(demo.collect())
    with tempfile.TemporaryDirectory() as folder:
        searchapi = SearchAPI(documents, Path(folder))
        print(render(ask(searchapi), ask(PlainBM25(documents))))
        searchapi.close()


if __name__ == "__main__":
    main()
