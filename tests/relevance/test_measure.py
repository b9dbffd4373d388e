"""The figures themselves, on orders whose values can be worked out by hand."""

from __future__ import annotations

import pytest

from .measure import KINDS, known_items, long_questions, mean, ndcg, rank_of_first, reciprocal_rank, success


def test_the_first_wanted_id_sets_the_rank():
    """Ranks count from 1 and only the first wanted id matters."""
    assert rank_of_first(["a", "b", "c"], {"c", "b"}) == 2
    assert reciprocal_rank(["a", "b", "c"], {"c", "b"}) == 0.5


def test_nothing_below_the_depth_counts():
    """An id at rank 11 is a miss for a depth of 10."""
    ranked = [str(n) for n in range(1, 12)]
    assert reciprocal_rank(ranked, {"10"}) == pytest.approx(0.1)
    assert reciprocal_rank(ranked, {"11"}) == 0
    assert rank_of_first([], {"a"}) is None


def test_success_is_about_the_first_place():
    """success@1 is 1 only for a wanted id at the top."""
    assert success(["a", "b"], {"a"}) == 1
    assert success(["b", "a"], {"a"}) == 0
    assert success(["b", "a"], {"a"}, depth=2) == 1
    assert success([], {"a"}) == 0


def test_ndcg_of_the_best_order_is_one():
    """The ideal order has 1, however the equal grades stand."""
    grades = {"a": 3, "b": 2, "c": 2, "d": 1}
    assert ndcg(["a", "c", "b", "d"], grades) == pytest.approx(1)
    assert ndcg(["x", "y"], grades) == 0
    assert ndcg(["a"], {}) == 0


def test_ndcg_by_hand():
    """(1, 3) instead of (3, 1): (1 + 7 / log2 3) / (7 + 1 / log2 3)."""
    assert ndcg(["b", "a"], {"a": 3, "b": 1}) == pytest.approx((1 + 4.416508) / (7 + 0.630930), abs=1e-6)
    assert ndcg(["x", "a"], {"a": 2}) == pytest.approx(0.630930, abs=1e-6)


def test_the_ideal_is_cut_at_the_depth_too():
    """With more judged ids than places, ten of the best grade are perfect."""
    grades = {str(n): 3 for n in range(20)}
    assert ndcg([str(n) for n in range(10)], grades) == pytest.approx(1)


def test_the_mean_of_nothing_is_zero():
    """A kind without questions has the figure 0 instead of an error."""
    assert mean([]) == 0
    assert mean([1.0, 0.0]) == 0.5


def test_the_questions_are_well_formed():
    """Enough of each kind, no question twice, every question judged, grades from 1 to 3 with an answer among them."""
    known, long = known_items(), long_questions()
    asked = [question.q for question in known] + [question.q for question in long]
    assert len(asked) == len(set(asked))
    assert len(known) >= 70
    assert {question.kind for question in known} == set(KINDS)
    assert all(question.ids for question in known)
    assert len(long) >= 32
    assert all(10 <= len(question.q.split()) <= 25 for question in long)
    assert all(set(question.grades.values()) <= {1, 2, 3} and 3 in question.grades.values() for question in long)
