"""Typo tolerance: 1 from 5 letters, 2 from 9, never in numbers or phrases, and only where the words as typed fall short."""

from __future__ import annotations

import pytest

from searchapi.model import IndexSettings, TypoRules

from .. import naive
from .conftest import ids
from .corpus import LIBRARY, SETTINGS

TEXT = [f for f in SETTINGS.fields.values() if f.is_text]
WORDS = naive.vocabulary(LIBRARY, TEXT)

# q -> the ids, and what is said to have been corrected: {typed: the words of the index in reach}.
CORRECTED = [
    ("trumpit ", "t02", {"trumpit": "trumpet"}),  # exchanged
    ("trumpett ", "t02", {"trumpett": "trumpet"}),  # put in
    ("trumpt ", "t02", {"trumpt": "trumpet"}),  # left out
    ("turmpet ", "t02", {"turmpet": "trumpet"}),  # neighbours swapped
    ("drumpet ", "t02", {"drumpet": "trumpet"}),  # the first letter
    ("TRUMPIT ", "t02", {"trumpit": "trumpet"}),
    ("trümpit ", "t02", {"trumpit": "trumpet"}),
    ("title:trumpit ", "t02", {"trumpit": "trumpet"}),
    ("paino ", "t04", {"paino": "piano"}),  # five letters hold one
    ("saxaphone ", "t01", {"saxaphone": "saxophone"}),  # nine letters hold two
    ("saxaphona ", "t01", {"saxaphona": "saxophone"}),
    ("axopohone ", "t01", {"axopohone": "saxophone"}),
    ("saxaphonee ", "t01", {"saxaphonee": "saxophone"}),
    ("saxaphone lesons ", "t01", {"saxaphone": "saxophone", "lesons": "lessons"}),
    ("saxaphone lessons ", "t01", {"saxaphone": "saxophone"}),
    ("trumpit valves", "t02", {"trumpit": "trumpet"}),
    ("valves trumpit", "t02", {"trumpit": "trumpet"}),  # the last word may be a prefix and yet be corrected
    ("marrigold seeds ", "p01", {"marrigold": "marigold"}),
    ("kettel -quartz ", "w06", {"kettel": "kettle"}),
    ("москву ", "f04", {"москву": "москва"}),
    ("jsondecodr ", "i01", {"jsondecodr": "jsondecoder"}),
    ("decodre ", "i01", {"decodre": "decoder"}),
]
NOT_CORRECTED = [
    ("trmpit ", ""),  # two typos in six letters
    ("saxofone ", ""),  # two typos in eight letters
    ("saxofona ", ""),
    ("sexaphona ", ""),  # three typos in nine letters
    ("oboi ", ""),  # four letters
    ("oobe ", ""),
    ("48214 ", ""),  # numbers
    ("48231 ", ""),
    ("kx90210y ", ""),  # words with digits are numbers of a kind too: part numbers, versions
    ('"saxaphone lessons"', ""),
    ('"trumpit"', ""),
    ("drumkit ", ""),  # in the settings as never corrected
    ("trumpet -valvez ", "t02"),  # excluded words
    ("trumpet -valves ", ""),
    ("trumpet ", "t02"),
]


def _reach(word: str) -> set[str]:
    typos = 2 if len(word) >= 9 else 1 if len(word) >= 5 else 0
    return {w for w in WORDS if naive.distance(w, word) <= typos and w != word}


@pytest.mark.parametrize(("q", "expected", "corrections"), CORRECTED, ids=[q for q, *_ in CORRECTED])
def test_corrected(ask, q, expected, corrections):
    """A misspelt word finds the word of the index that is near, and the answer names both."""
    for typed, word in corrections.items():
        assert _reach(typed) == {word}, "the corpus no longer isolates this case"
    answer = ask(q=q, match="all")
    assert ids(answer) == expected.split()
    assert answer.total == len(ids(answer))
    assert {c.word: c.to for c in answer.corrections} == {typed: (word,) for typed, word in corrections.items()}


@pytest.mark.parametrize("q", [q for q, *_ in CORRECTED])
def test_typo_false_corrects_nothing(ask, q):
    """With typo=false the same queries find nothing."""
    answer = ask(q=q, match="all", typo="false")
    assert (ids(answer), answer.total, answer.corrections) == ([], 0, ())


@pytest.mark.parametrize(("q", "expected"), NOT_CORRECTED, ids=[q for q, _ in NOT_CORRECTED])
def test_not_corrected(ask, q, expected):
    """Short words, numbers, phrases, excluded words and words listed in the settings stay as typed."""
    answer = ask(q=q, match="all")
    assert ids(answer) == expected.split()
    assert answer.corrections == ()


def test_exact_above_corrected(ask):
    """A word that is in the index is corrected too where few documents hold it, below the exact ones."""
    assert ids(ask(q="violin ", match="all")) == ["t05", "t06"]
    assert ids(ask(q="violine ", match="all")) == ["t06", "t05"]


def test_exact_above_corrected_of_a_boosted_field(harness):
    """A corrected word in the most boosted field, again and again, stays below an exact one in a long text."""
    settings = IndexSettings(fields={"title": SETTINGS.fields["title"], "body": SETTINGS.fields["body"]})
    name = harness.new_index(settings)
    harness.put(
        name,
        [
            {"id": "corrected", "title": "candle candle candle"},
            {"id": "exact", "body": "filling words all the way " * 40 + "candel"},
        ],
    )
    assert ids(harness.ask(name, q="candel ")) == ["exact", "corrected"]


def test_enough_exact_hits_are_not_corrected(ask):
    """`rivel` is one typo from `river`, but the ten and more documents with `river` are enough."""
    assert "rivel" in _reach("river")
    answer = ask(q="river ", match="all", limit="300")
    assert "t08" not in ids(answer)
    assert answer.total == WORDS["river"] >= 10
    assert answer.corrections == ()


def test_a_common_word_is_found_from_its_misspelling(ask):
    """A misspelling that stands nowhere finds every document with the word it meant."""
    assert _reach("kitchne") == {"kitchen"}
    assert ask(q="kitchne ").total == WORDS["kitchen"]


def test_relax_corrects_before_it_drops_words(ask):
    """In the default mode a misspelt word is corrected first: the document with all words, one corrected, is on top of those
    with one word."""
    found = ids(ask(q="lantren quartz "))
    assert sorted(found[:2]) == ["w01", "w02"]
    assert set(found) == {"w01", "w02", "w03", "w05"}


def test_the_decision_is_the_same_on_every_page(ask):
    """Facets and totals of a corrected query are of that query, whatever the page."""
    first, second = ask(q="kitchne ", limit="5"), ask(q="kitchne ", limit="5", offset="5")
    assert first.total == second.total == WORDS["kitchen"]
    assert first.corrections == second.corrections != ()
    assert not set(ids(first)) & set(ids(second))


def test_typos_can_be_switched_off_in_the_settings(harness):
    """With typo rules disabled nothing is corrected; with other lengths, those count."""
    off = harness.new_index(IndexSettings(typo=TypoRules(enabled=False)))
    early = harness.new_index(IndexSettings(typo=TypoRules(one_from=3, two_from=6)))
    for name in (off, early):
        harness.put(name, [{"id": "1", "text": "trumpet oboe"}])
    assert [ids(harness.ask(off, q=q)) for q in ("trumpit ", "oboi ")] == [[], []]
    assert [ids(harness.ask(early, q=q)) for q in ("trimpit ", "oboi ", "obui ")] == [["1"], ["1"], []]
