"""The gate: searchapi with its defaults finds known items, and serves long questions at least as well as plain BM25."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from .measure import known_items, long_questions
from .report import Answers, ask, misses, render, weakest
from .systems import PlainBM25, SearchAPI

# What must be reached. A change that costs answers fails here; docs/relevance.md has what is measured.
KNOWN_ITEM_MRR = 0.80
KNOWN_ITEM_SUCCESS = 0.72


@pytest.fixture(scope="module")
def documents(demo_documents) -> list[dict]:
    return demo_documents


@pytest.fixture(scope="module")
def ours(documents, tmp_path_factory) -> Iterator[Answers]:
    system = SearchAPI(documents, tmp_path_factory.mktemp("relevance"))
    yield ask(system)
    system.close()


@pytest.fixture(scope="module")
def plain(documents) -> Answers:
    return ask(PlainBM25(documents))


def test_every_judged_id_is_a_document(documents):
    """A judgment of what cannot be found would measure nothing."""
    ids = {document["id"] for document in documents}
    judged = {id for question in known_items() for id in question.ids} | {
        id for question in long_questions() for id in question.grades
    }
    assert judged - ids == set()


def test_known_items_are_found(ours, plain):
    """MRR@10 and success@1 over all kinds of question together; the message of a failure is the whole report."""
    mrr, first = ours.mrr(), ours.success()
    assert mrr >= KNOWN_ITEM_MRR and first >= KNOWN_ITEM_SUCCESS, render(ours, plain)


def test_long_questions_are_served_as_well(ours, plain):
    """The defaults that help short questions must not cost the long ones: nDCG@10 is that of plain BM25 or better."""
    figure, floor = ours.ndcg(), plain.ndcg()
    assert figure >= floor, "\n".join(weakest(ours, plain))


def test_the_report_names_what_was_missed(ours, plain):
    """Every known item without a first place is in the report with what came instead."""
    missed = [question.q for question, ranked in ours.known if not set(ranked[:1]) & question.ids]
    assert len(misses(ours)) == 1 + 2 * len(missed)
    report = render(ours, plain)
    assert all(repr(q) in report for q in missed)
