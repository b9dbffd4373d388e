"""Suggestions: how the last word may go on, and what a misspelt one may have meant."""

from __future__ import annotations

import pytest

from searchapi.exceptions import Invalid

from .. import naive
from .corpus import LIBRARY, SETTINGS

WORDS = naive.vocabulary(LIBRARY, [f for f in SETTINGS.fields.values() if f.is_text])


def texts(answer) -> list[str]:
    return [suggestion.text for suggestion in answer.suggestions]


@pytest.fixture(scope="module")
def suggest(harness):
    return lambda **parameters: harness.suggest("library", **parameters)


@pytest.mark.parametrize(
    ("q", "expected"),
    [
        ("mari", ["marigold", "marimba", "marinade"]),
        ("marz", ["marzipan"]),
        ("saxop", ["saxophone"]),
        ("MARIG", ["marigold"]),
        ("übergr", ["ubergrosse"]),
        ("nosuchw", []),
    ],
)
def test_completions(suggest, q, expected):
    """The words of the index that the last word begins."""
    assert [text.casefold().replace("ü", "u").replace("ö", "o").replace("ß", "ss") for text in texts(suggest(q=q))] == expected


def test_the_most_frequent_come_first(suggest):
    """Completions are ordered by how many documents hold them, and say how many."""
    answer = suggest(q="mar", limit="20")
    assert set(texts(answer)) == {word for word in WORDS if word.startswith("mar") and word != "mar"}
    assert texts(answer)[0] == "market"
    counts = [suggestion.count for suggestion in answer.suggestions]
    assert counts == sorted(counts, reverse=True)
    assert all(0 < suggestion.count <= WORDS[suggestion.text] for suggestion in answer.suggestions)


def test_words_before_the_last_stay(suggest):
    """Only the last word is completed; the text before it stays in the suggestion."""
    assert "marigold" in " ".join(texts(suggest(q="seeds marig")))
    assert all(text.startswith("seeds ") for text in texts(suggest(q="seeds marig")))


def test_ranges_are_within_the_text(suggest):
    """The ranges of a suggestion are of its own text."""
    for suggestion in suggest(q="seeds mari").suggestions:
        assert suggestion.ranges
        assert all(0 <= start < end <= len(suggestion.text) for start, end in suggestion.ranges)


def test_limit(suggest):
    """No more than asked for."""
    assert len(suggest(q="m", limit="2").suggestions) == 2


def test_one_field(suggest):
    """Completions of one text field come from it alone."""
    assert texts(suggest(q="wal", field="title")) == ["walnut"]
    assert texts(suggest(q="obsid", field="title")) == []
    assert texts(suggest(q="obsid", field="lines")) == ["obsidian"]


@pytest.mark.parametrize(
    ("q", "word", "to"),
    [("saxaphone lessons", "saxaphone", "saxophone"), ("trumpit ", "trumpit", "trumpet"), ("kitchne", "kitchne", "kitchen")],
)
def test_did_you_mean(suggest, q, word, to):
    """A word that the index does not hold is corrected to one that it does."""
    assert {c.word: c.to[0] for c in suggest(q=q).corrections} == {word: to}


def test_nothing_to_correct(suggest):
    """Words of the index, short words and numbers are left alone."""
    assert suggest(q="quartz lantern ").corrections == ()
    assert suggest(q="oboi ").corrections == ()
    assert suggest(q="48214 ").corrections == ()


@pytest.mark.parametrize("q", ["", "   ", "-", '"'])
def test_nothing_typed(suggest, q):
    """Nothing to complete gives no error."""
    assert suggest(q=q).corrections == ()


def test_a_wrong_parameter_is_named(suggest):
    """What cannot be suggested from is refused at its parameter."""
    with pytest.raises(Invalid) as caught:
        suggest(q="x", field="kind")
    assert [fault.pointer for fault in caught.value.errors] == ["field"]
    with pytest.raises(Invalid) as caught:
        suggest(q="x", limit="0")
    assert [fault.pointer for fault in caught.value.errors] == ["limit"]


def test_an_empty_index_suggests_nothing(harness):
    """Before the first document there is nothing to suggest."""
    answer = harness.suggest(harness.new_index(), q="word")
    assert (answer.suggestions, answer.corrections) == ((), ())
