"""The q language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapi import analysis
from searchapi.exceptions import Invalid
from searchapi.model import Phrase, TextQuery, Word
from searchapi.query.fields import clean
from searchapi.query.limits import Limits
from searchapi.query.text import parse_text
from tests.unit.query_index import INFO


def short(part: Word | Phrase) -> str:
    """`name:open*` for a last word in a field, `"a b"` for a phrase."""
    field = f"{part.field}:" if part.field else ""
    return field + (f'"{part.text}"' if isinstance(part, Phrase) else part.text + "*" * part.last)


WANTED = [
    ("", []),
    ("   ", []),
    ("json decoder", ["json", "decoder*"]),
    ("json decoder ", ["json", "decoder"]),
    ("json\u00a0decoder\t", ["json", "decoder"]),
    ("Größe", ["grosse*"]),
    ("re-use", ["re", "use*"]),
    ("os.path.join", ["os", "path", "join*"]),
    ("foo!", ["foo"]),
    ("C++", ["c"]),
    ("read_text", ["read", "text*"]),
    ("JSONDecoder.read_te", ["jsondecoder", "read", "te*"]),
    ("don't", ["don", "t*"]),
    ('"parse a string"', ['"parse a string"']),
    ('json "parse a string" x', ["json", '"parse a string"', "x*"]),
    ("“parse a” „string”", ['"parse a"', '"string"']),
    ('"parse a', ['"parse a"']),
    ('foo"bar baz', ["foo", '"bar baz"']),
    ('"', []),
    ('""', []),
    ('"..."', []),
    ("-", []),
    ("- a", ["a*"]),
    ("--verbose", ["verbose*"]),
    ("git commit --amend", ["git", "commit", "amend*"]),
    ('"a"-b', ['"a"', "b*"]),
    ("name:open", ["name:open*"]),
    ("name:open file", ["name:open", "file*"]),
    ("author.name:knuth", ["author.name:knuth*"]),
    ('name:"open file"', ['name:"open file"']),
    ('name:"open', ['name:"open"']),
    ("name:os.path", ["name:os", "name:path*"]),
    ("name:", []),
    ("name: open", ["open*"]),
    ('name:""', []),
    ("name::open", ["name:open*"]),
    ("summary:text", ["summary:text*"]),
    ("std::vector", ["std", "vector*"]),
    ("foo:bar", ["foo", "bar*"]),
    ("Name:open", ["name", "open*"]),
    ("author:knuth", ["author", "knuth*"]),
    ("kind:", ["kind"]),
    ("year: 2020", ["year", "2020*"]),
    ("https://docs.python.org/3/", ["https", "docs", "python", "org", "3"]),
    (":::", []),
    ("a\0b", ["a", "b*"]),
    ("x" * 101, []),
    ("\ud800a", ["a*"]),
]


@pytest.mark.parametrize(("q", "expected"), WANTED, ids=[repr(q)[:40] for q, _ in WANTED])
def test_wanted(q, expected):
    """What is typed becomes these words and phrases, and nothing is excluded."""
    text = parse_text(q, INFO)
    assert [short(part) for part in text.wanted] == expected
    assert text.excluded == ()


EXCLUDED = [
    ("-old", [], ["old"]),
    ("json -old", ["json"], ["old"]),
    ("-old json", ["json*"], ["old"]),
    ('-"in C"', [], ['"in C"']),
    ('-"in C', [], ['"in C"']),
    ('-"in C" json', ["json*"], ['"in C"']),
    ("-name:open", [], ["name:open"]),
    ('-name:"open file" x', ["x*"], ['name:"open file"']),
    ("-os.path", [], ['"os.path"']),
    ("-name:", [], []),
    ('-""', [], []),
    ('- "a"', ['"a"'], []),
    ("-kind:", [], ["kind"]),
]


@pytest.mark.parametrize(("q", "wanted", "excluded"), EXCLUDED, ids=[q for q, _, _ in EXCLUDED])
def test_excluded(q, wanted, excluded):
    """A hyphen at the beginning of a part excludes it; several words in one part are excluded as a phrase."""
    text = parse_text(q, INFO)
    assert ([short(p) for p in text.wanted], [short(p) for p in text.excluded]) == (wanted, excluded)


def test_whole_value():
    """Every attribute of the parts, as an engine gets them."""
    assert parse_text('a "b c" -name:d re-use', INFO) == TextQuery(
        wanted=(Word("a", position=0), Phrase("b c", position=3), Word("re", position=16), Word("use", last=True, position=19)),
        excluded=(Word("d", "name", position=14),),
    )


BAD = [
    (
        "kind:function",
        "not_a_text_field",
        'q: "kind" is a field of type keyword, which q does not search; use the parameter filter: kind = "function"',
    ),
    (
        '-year:"2020"',
        "not_a_text_field",
        'q: "year" is a field of type integer, which q does not search; use the parameter filter: year = …',
    ),
    ("x" * 1001, "query_too_long", "q: expected at most 1000 characters (MAX_QUERY_LENGTH), found 1001"),
    ("a " * 65, "too_many_clauses", "q: expected at most 64 words and phrases (MAX_CLAUSES), found 65"),
]


@pytest.mark.parametrize(("q", "code", "detail"), BAD, ids=[code for _, code, _ in BAD])
def test_refused(q, code, detail):
    """The few things that are errors, with their whole message."""
    with pytest.raises(Invalid) as caught:
        parse_text(q, INFO)
    (fault,) = caught.value.errors
    assert (fault.pointer, fault.code, fault.detail) == ("q", code, detail)


def test_limits():
    """The caps are those that are passed."""
    assert len(parse_text("a b", INFO, Limits(max_clauses=2)).wanted) == 2
    with pytest.raises(Invalid, match="MAX_CLAUSES"):
        parse_text("a b -c", INFO, Limits(max_clauses=2))
    with pytest.raises(Invalid, match="MAX_QUERY_LENGTH"):
        parse_text("abc", INFO, Limits(max_query_length=2))


ODD = st.sampled_from(['"', "-", ":", " ", "name:", "kind:", "a", "os.path", "readText", "é", "\ud800", "\0"])
PIECES = st.lists(st.one_of(ODD, st.text()), max_size=12).map("".join)


@given(PIECES)
def test_any_string(q):
    """Any string parses or raises Invalid; positions point at the parts, and only the end of q can be `last`."""
    try:
        text = parse_text(q, INFO)
    except Invalid as error:
        assert error.errors[0].pointer == "q"
        return
    for part in text.wanted + text.excluded:
        assert analysis.words(part.text)
        assert 0 <= part.position < len(q)
        if isinstance(part, Word):
            assert part.text in analysis.words(clean(q))
            assert not q[part.position].isspace()
    last = [part for part in text.wanted if isinstance(part, Word) and part.last]
    assert last in ([], [text.wanted[-1]] if text.wanted else [])
    assert not (last and q[-1:].isspace())
    assert not any(isinstance(part, Word) and part.last for part in text.excluded)


@given(st.lists(st.from_regex(r"[a-z]{1,8}", fullmatch=True), min_size=1, max_size=20))
def test_plain_words(words):
    """Plain words between blanks are themselves, each where it stands."""
    q = " ".join(words)
    wanted = parse_text(q, INFO).wanted
    assert [w.text for w in wanted] == words
    assert all(q[w.position :].startswith(w.text) for w in wanted)
    assert [w.last for w in wanted] == [False] * (len(words) - 1) + [True]
