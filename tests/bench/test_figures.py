"""Ratios, medians, aims and the table that shows them."""

from __future__ import annotations

import pytest

from bench.figures import Aim, Pair, compared, interleaved
from bench.table import Part, Row, put, shown, write

TABLE = Row("a | b", "packages", "requests/s", compared([Pair(500, 2000)]), Aim(">=", 0.4))


def test_the_ratio_is_the_median_of_the_rounds_ratios():
    """A slow round slows both sides: it moves the medians of the sides, and the ratio stays what the rounds say."""
    found = compared([Pair(10, 20), Pair(1, 2), Pair(30, 100)])
    assert (found.ratio, found.low, found.high, found.rounds) == (0.5, 0.3, 0.5, 3)
    assert (found.ours, found.reference) == (10, 20)


def test_an_even_number_of_rounds_takes_the_middle_of_two():
    assert compared([Pair(1, 4), Pair(3, 4)]).ratio == 0.5


def test_no_round_is_an_error():
    with pytest.raises(ValueError, match="at least one round"):
        compared([])


def test_rounds_take_turns():
    """A B A B, never A A B B: what changes on the machine meets both."""
    order: list[str] = []

    def measure(name: str, value: float) -> float:
        order.append(name)
        return value

    found = interleaved(lambda: measure("ours", 1), lambda: measure("reference", 2), 3)
    assert order == ["ours", "reference"] * 3
    assert found.ratio == 0.5


@pytest.mark.parametrize(
    ("aim", "ratio", "met"),
    [(Aim(">=", 0.4), 0.4, True), (Aim(">=", 0.4), 0.39, False), (Aim("<=", 3), 3.0, True), (Aim("<=", 3), 3.1, False)],
)
def test_an_aim_includes_its_bound(aim, ratio, met):
    assert aim.met(ratio) is met


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0494, "0.0494"), (0.4, "0.4"), (1.5, "1.50"), (12.34, "12.3"), (99.96, "100"), (1339.6, "1,340")],
)
def test_three_digits_are_shown(value, text):
    assert shown(value) == text


def test_a_part_is_a_markdown_table():
    """As many cells in each line, a bar in a cell escaped, the verdict at the end."""
    lines = Part("serving", [TABLE], ["A note."]).markdown().splitlines()
    assert lines[0] == "A note."
    head, rule, row = lines[2:]
    assert head.startswith("| What | Corpus |") and rule == "|" + " --- |" * 8
    assert row == r"| a \| b | packages | 500 requests/s | 2,000 requests/s | 0.25 | 0.25 – 0.25 | ≥ 0.4 | no |"


def test_a_row_without_an_aim_has_no_verdict():
    assert Row("x", "y", "s", compared([Pair(1, 1)])).cells()[-2:] == ("", "")


def test_a_page_is_changed_only_between_its_markers(tmp_path):
    """Other parts and the words around them stay; doing it again changes nothing."""
    page = tmp_path / "page.md"
    page.write_text(
        "before\n<!-- bench: serving -->\nold\n<!-- /bench: serving -->\nafter <!-- bench: x -->kept<!-- /bench: x -->\n"
    )
    part = Part("serving", [TABLE], [r"with \1 and \g<0>"])
    write(page, [part])
    once = page.read_text()
    write(page, [part])
    assert page.read_text() == once
    assert "old" not in once and r"with \1 and \g<0>" in once
    assert once.startswith("before\n<!-- bench: serving -->\n") and once.endswith("after <!-- bench: x -->kept<!-- /bench: x -->\n")


def test_a_page_without_markers_is_refused():
    with pytest.raises(ValueError, match="expected the markers"):
        put("no markers", "serving", "text")
