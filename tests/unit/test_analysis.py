"""How words are made: splitting, folding, stems, identifiers, and where each word stands in its text."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapi import analysis


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Größe, re-use", ["grosse", "re", "use"]),
        ("os.path.read_text", ["os", "path", "read", "text"]),
        ("don't", ["don", "t"]),
        ("naïve élan", ["naive", "elan"]),
        ("Zu\u0308rich", ["zurich"]),
        ("日本語 3.14", ["日本語", "3", "14"]),
        ("", []),
        ("--- !!", []),
        ("x" * 101 + " y", ["y"]),
    ],
)
def test_words(text, expected):
    """Split at everything that is not a letter or digit, lowercased, folded; no encoded data."""
    assert analysis.words(text) == expected


@pytest.mark.parametrize(
    ("word", "language", "expected"),
    [
        ("running", "english", "run"),
        ("häuser", "german", "haus"),
        ("running", "none", "running"),
        ("json", "english", "json"),
    ],
)
def test_stem(word, language, expected):
    """Snowball's stem of a word that `words` made."""
    assert analysis.stem(analysis.words(word)[0], language) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("JSONDecoder.read_text", "JSON Decoder readtext"),
        ("assertIsNotNone", "assert Is Not None"),
        ("getHTTPResponse", "get HTTP Response"),
        ("x_y_z", "xyz"),
        ("HTMLParser2 HTMLParser2", "HTML Parser2"),
        ("plain words, utf8", ""),
        ("__init__", ""),
    ],
)
def test_identifier_forms(text, expected):
    """camelCase in its parts, snake_case joined, each identifier once."""
    assert analysis.identifier_forms(text) == expected


def test_stop_words():
    """Snowball's list for English, tantivy's for others, none for "none"."""
    assert all(analysis.is_stop_word(word, "english") for word in ("the", "how", "do", "i"))
    assert not analysis.is_stop_word("json", "english")
    assert analysis.is_stop_word("und", "german") and not analysis.is_stop_word("und", "english")
    assert not analysis.is_stop_word("the", "none")


def test_tokens_hold_identifiers_and_their_parts():
    """Parts overlap the word they come from, the longer one first."""
    found = [(token.word, token.start, token.end) for token in analysis.tokens("a JSONDecoder read_text")]
    assert found == [
        ("a", 0, 1),
        ("jsondecoder", 2, 13),
        ("json", 2, 6),
        ("decoder", 6, 13),
        ("readtext", 14, 23),
        ("read", 14, 18),
        ("text", 19, 23),
    ]


def test_tokens_of_decomposed_text_stand_in_the_text_as_it_is():
    """An accent apart from its letter belongs to the word, and to its range."""
    text = "in Zu\u0308rich now"
    assert [(t.word, text[t.start : t.end]) for t in analysis.tokens(text)] == [
        ("in", "in"),
        ("zurich", "Zu\u0308rich"),
        ("now", "now"),
    ]


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_tokens_agree_with_words(text):
    """Every word has its place, and a place within the text."""
    found = analysis.tokens(text)
    assert set(analysis.words(text)) <= {token.word for token in found}
    assert all(0 <= token.start < token.end <= len(text) for token in found)


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_normal_forms_give_the_same_words(text):
    """However accents are written, the words are the same."""
    assert analysis.words(unicodedata.normalize("NFD", text)) == analysis.words(unicodedata.normalize("NFC", text))
