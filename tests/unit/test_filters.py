"""The filter language."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapi.exceptions import Invalid
from searchapi.model import And, Between, Compare, Exists, In, Not, Or, StartsWith
from searchapi.query.filters import KEYWORDS, OPERATORS, format_filter, parse_filter
from searchapi.query.limits import Limits
from tests.unit.query_index import FIELDS, INFO

KIND = Compare("kind", "=", "function")
YEAR = Compare("year", ">=", 2020)
JAN_31 = 1_706_659_200_000  # 2024-01-31T00:00:00Z

GOOD = [
    ('kind = "function"', KIND),
    ("kind = function", KIND),
    ("kind='function'", KIND),
    ('"kind" = "function"', KIND),
    ("  kind\n=\tfunction ", KIND),
    ('kind != "a"', Compare("kind", "!=", "a")),
    ("year < 5", Compare("year", "<", 5)),
    ("year<=-5", Compare("year", "<=", -5)),
    ("year > +5", Compare("year", ">", 5)),
    ("year >= 2020", YEAR),
    ('year >= "2020"', YEAR),
    ("year = 9223372036854775807", Compare("year", "=", 2**63 - 1)),
    ("price = 1.5", Compare("price", "=", 1.5)),
    ("price > -.5e3", Compare("price", ">", -500.0)),
    ("price = 3", Compare("price", "=", 3.0)),
    ("deprecated = true", Compare("deprecated", "=", True)),
    ("deprecated != FALSE", Compare("deprecated", "!=", False)),
    ('published = "2024-01-31"', Compare("published", "=", JAN_31)),
    ("published >= 2024-01-31", Compare("published", ">=", JAN_31)),
    ('published < "2024-01-31T01:00:00+01:00"', Compare("published", "<", JAN_31)),
    ('published > "2024-01-31T00:00:00.25Z"', Compare("published", ">", JAN_31 + 250)),
    (f"published <= {JAN_31}", Compare("published", "<=", JAN_31)),
    ("published = 0", Compare("published", "=", 0)),
    ("kind = 5", Compare("kind", "=", "5")),
    ('kind = ""', Compare("kind", "=", "")),
    (r'kind = "a\"b\\c\n"', Compare("kind", "=", 'a"b\\c\n')),
    ("kind = 'it\\'s \"so\"'", Compare("kind", "=", 'it\'s "so"')),
    ('kind = "AND"', Compare("kind", "=", "AND")),
    ("name = größe", Compare("name", "=", "größe")),
    ("author.name = knuth", Compare("author.name", "=", "knuth")),
    ("tags IN [\"a\", b, 'c']", In("tags", ("a", "b", "c"))),
    ("year in [1]", In("year", (1,))),
    ("tags NOT IN [a]", Not(In("tags", ("a",)))),
    ("NOT tags IN [a]", Not(In("tags", ("a",)))),
    ("price 10 TO 20", Between("price", 10.0, 20.0)),
    ("price 10 to 10", Between("price", 10.0, 10.0)),
    ("published 2024-01-31 TO 2024-02-01", Between("published", JAN_31, JAN_31 + 86_400_000)),
    ('name STARTS WITH "js"', StartsWith("name", "js")),
    ("kind starts with js", StartsWith("kind", "js")),
    ('kind STARTS WITH ""', Exists("kind")),
    ("EXISTS kind", Exists("kind")),
    ("exists author.born", Exists("author.born")),
    ("NOT kind = function", Not(KIND)),
    ("not not kind = function", Not(Not(KIND))),
    ("((kind = function))", KIND),
    ("kind = function AND year >= 2020", And((KIND, YEAR))),
    ("kind = function or year >= 2020", Or((KIND, YEAR))),
    ("kind = function AND (year >= 2020 AND EXISTS tags)", And((KIND, YEAR, Exists("tags")))),
    ("kind = function OR year >= 2020 AND EXISTS tags", Or((KIND, And((YEAR, Exists("tags")))))),
    ("(kind = function OR year >= 2020) AND EXISTS tags", And((Or((KIND, YEAR)), Exists("tags")))),
    ("NOT kind = function AND year >= 2020", And((Not(KIND), YEAR))),
    ("NOT (kind = function AND year >= 2020)", Not(And((KIND, YEAR)))),
    (
        'kind = "function" AND (year >= 2020 OR tags IN ["a", "b"]) AND NOT deprecated = true',
        And((KIND, Or((YEAR, In("tags", ("a", "b")))), Not(Compare("deprecated", "=", True)))),
    ),
    # fields that are named like keywords, or begin with a digit
    ("exists = true", Compare("exists", "=", True)),
    ("NOT exists = true", Not(Compare("exists", "=", True))),
    ('EXISTS "exists"', Exists("exists")),
    ('"to" in [a]', In("to", ("a",))),
    ("2nd-hand = true", Compare("2nd-hand", "=", True)),
]


@pytest.mark.parametrize(("text", "node"), GOOD, ids=[text for text, _ in GOOD])
def test_parse(text, node):
    """The text becomes this node, with values of the field's type, and its printed form the same node again."""
    parsed = parse_filter(text, INFO)
    assert parsed == node
    assert repr(parsed) == repr(node)  # 1 == 1.0 == True, but their types differ
    assert parse_filter(format_filter(node, INFO), INFO) == node


OPERATOR = "an operator (= != < <= > >= IN, NOT IN, STARTS WITH, or a value TO a value)"
CONDITION = 'a condition such as kind = "function"'
DATE = 'a date such as "2024-05-31" or "2024-05-31T18:30:00Z", or integer milliseconds since 1970'
BAD = [
    ("", "filter_syntax", 1, f"expected {CONDITION}, found end of filter"),
    ("   ", "filter_syntax", 4, f"expected {CONDITION}, found end of filter"),
    ('kind     = "', "filter_syntax", 12, "the string that begins here has no closing quote"),
    ("price     =", "filter_syntax", 12, 'expected a value after "=", found end of filter'),
    ("kind", "filter_syntax", 5, f'expected {OPERATOR} after "kind", found end of filter'),
    ("kind function", "filter_syntax", 6, f'expected {OPERATOR} after "kind", found "function"'),
    ("kind LIKE x", "filter_syntax", 6, f'expected {OPERATOR} after "kind", found "LIKE"'),
    ("kind == x", "filter_syntax", 6, 'unknown operator "=="; did you mean =?'),
    ("kind <> x", "filter_syntax", 6, 'unknown operator "<>"; did you mean !=?'),
    ("kind =!= x", "filter_syntax", 6, 'unknown operator "=!="'),
    ("kind = and", "filter_syntax", 8, 'expected a value after "=", found "and" (a keyword; in quotes it is a value)'),
    ("kind = a b = c", "filter_syntax", 10, 'expected AND, OR or the end of the filter, found "b"'),
    ("kind = a && b = c", "filter_syntax", 10, 'expected AND, OR or the end of the filter, found "&&"'),
    ("kind = a AND", "filter_syntax", 13, f"expected {CONDITION}, found end of filter"),
    ("AND kind = a", "filter_syntax", 1, f'expected {CONDITION}, found "AND"'),
    ("NOT", "filter_syntax", 4, f"expected {CONDITION}, found end of filter"),
    ("(kind = a", "filter_syntax", 10, 'expected AND, OR or ")", found end of filter'),
    ("kind = a)", "filter_syntax", 9, 'expected AND, OR or the end of the filter, found ")"'),
    ("()", "filter_syntax", 2, f'expected {CONDITION}, found ")"'),
    ("EXISTS", "filter_syntax", 7, "expected a field after EXISTS, found end of filter"),
    ("kind IN a", "filter_syntax", 9, 'expected "[" after "IN", found "a"'),
    ("kind IN []", "filter_syntax", 10, 'expected a value after "[", found "]"'),
    ("kind IN [a", "filter_syntax", 11, 'expected "," or "]", found end of filter'),
    ("kind NOT IN [a,]", "filter_syntax", 16, 'expected a value after ",", found "]"'),
    ("price 10 20", "filter_syntax", 7, f'expected {OPERATOR} after "price", found "10"'),
    ("price 10 TO", "filter_syntax", 12, 'expected a value after "TO", found end of filter'),
    ("name STARTS js", "filter_syntax", 6, f'expected {OPERATOR} after "name", found "STARTS"'),
    (r'kind = "C:\qux"', "filter_syntax", 11, r'unknown escape "\q"; a backslash itself is written \\'),
    ("kind = a\ud800", "filter_syntax", 9, "expected Unicode text, found half of a surrogate pair"),
    ("kin = a", "unknown_field", 1, 'there is no field "kin" in this index; did you mean "kind"?'),
    ("NOT Year = 3", "unknown_field", 5, 'there is no field "Year" in this index; did you mean "year"?'),
    ("author = knuth", "unknown_field", 1, 'there is no field "author" in this index; did you mean "author.born"?'),
    ("kind:function", "unknown_field", 1, 'there is no field "kind:function" in this index; did you mean kind = "function"?'),
    ("zzzzzz = 1", "unknown_field", 1, 'there is no field "zzzzzz" in this index'),
    (
        "summary = a",
        "no_values",
        1,
        '"summary" is a text field without whole values ("keyword": false in the settings), so it can only be searched with q',
    ),
    ("year = abc", "filter_type", 8, 'expected an integer for "year", found "abc"'),
    ("year > 1.5", "filter_type", 8, 'expected an integer for "year", found "1.5"'),
    (
        "year = 9223372036854775808",
        "filter_type",
        8,
        'expected an integer of at most 64 bits for "year", found "9223372036854775808"',
    ),
    ("price = 1e999", "filter_type", 9, 'expected a number that fits 64 bits for "price", found "1e999"'),
    ("price = nan", "filter_type", 9, 'expected a number for "price", found "nan"'),
    ("price IN [1, 1_0]", "filter_type", 14, 'expected a number for "price", found "1_0"'),
    ("deprecated = 1", "filter_type", 14, 'expected true or false for "deprecated", found "1"'),
    ("published > 2020", "filter_type", 13, 'expected a date for "published", found 2020; write the year as "2020-01-01"'),
    ("published > soon", "filter_type", 13, f'"published" is a date: expected {DATE}, got the string "soon"'),
    (
        "published > 2024-02-31",
        "filter_type",
        13,
        "\"published\" is a date: there is no such date as '2024-02-31': day is out of range for month",
    ),
    ("kind > a", "filter_type", 6, '> works on fields of type date, float, integer; "kind" is of type keyword'),
    (
        "deprecated false TO true",
        "filter_type",
        12,
        'TO works on fields of type date, float, integer; "deprecated" is of type boolean',
    ),
    (f'kind STARTS WITH "{"é" * 451}"', "filter_too_long", 18, "STARTS WITH: expected at most 900 bytes, found 902"),
    ("year STARTS WITH 2", "filter_type", 6, 'STARTS WITH works on fields of type keyword, text; "year" is of type integer'),
    ("price 20 TO 10", "filter_type", 10, 'expected the lower end before TO: "price" low TO high'),
]


@pytest.mark.parametrize(("text", "code", "column", "detail"), BAD, ids=[ascii(case[0]) for case in BAD])
def test_refused(text, code, column, detail):
    """The error says where, what was expected and what came."""
    with pytest.raises(Invalid) as caught:
        parse_filter(text, INFO)
    (fault,) = caught.value.errors
    assert (fault.pointer, fault.code, fault.detail) == ("filter", code, f"filter, column {column}: {detail}")


def test_long_values_are_shortened_in_errors():
    """An error repeats at most 60 characters of what came."""
    with pytest.raises(Invalid) as caught:
        parse_filter(f"year = {'9x' * 100}", INFO)
    assert caught.value.detail == f'filter, column 8: expected an integer for "year", found "{"9x" * 30}…"'


CAPS = [
    ("x" * 31, Limits(max_filter_length=30), "max_filter_length"),
    ("((((year = 1))))", Limits(max_filter_depth=3), "max_filter_depth"),
    ("NOT NOT year = 1", Limits(max_filter_depth=1), "max_filter_depth"),
    ("year = 1 AND year = 2", Limits(max_filter_nodes=2), "max_filter_nodes"),
    ("year IN [1, 2, 3]", Limits(max_in_values=2), "max_in_values"),
    ("(" * 4000, Limits(), "max_filter_depth"),
    ("NOT " * 2000, Limits(), "max_filter_depth"),
    ("year = 1 OR " * 300 + "year = 1", Limits(), "max_filter_nodes"),
]


@pytest.mark.parametrize(("text", "limits", "name"), CAPS, ids=[f"{name}-{len(text)}" for text, _, name in CAPS])
def test_caps(text, limits, name):
    """A filter over a cap is refused, and the error names the cap."""
    with pytest.raises(Invalid) as caught:
        parse_filter(text, INFO, limits)
    assert caught.value.errors[0].code in ("filter_too_long", "filter_too_complex")
    assert f"({name.upper()})" in caught.value.detail


def test_caps_are_reached():
    """What is exactly at a cap is fine."""
    parse_filter("(((year = 1)))", INFO, Limits(max_filter_depth=3))
    parse_filter("year = 1 AND year = 2", INFO, Limits(max_filter_nodes=3))
    parse_filter("year IN [1, 2]", INFO, Limits(max_in_values=2))
    parse_filter("year = 1", INFO, Limits(max_filter_length=8))


def test_format():
    """The printed form is the one a person would write."""
    text = "kind='a' and (year>=2020 or tags not in [x,'y\"']) and not (price 1 to 2 and exists \"to\") and published>2024-01-31"
    assert format_filter(parse_filter(text, INFO), INFO) == (
        'kind = "a" AND (year >= 2020 OR tags NOT IN ["x", "y\\""]) AND NOT (price 1.0 TO 2.0 AND EXISTS "to") '
        'AND published > "2024-01-31T00:00:00Z"'
    )


# ------------------------------------------------------------------------------------------------------- properties

VALUES = {
    "text": st.text(max_size=20),
    "keyword": st.text(max_size=20),
    "integer": st.integers(-(2**63), 2**63 - 1),
    "float": st.floats(allow_nan=False, allow_infinity=False),
    "boolean": st.booleans(),
    "date": st.integers(-62_135_596_800_000, 253_402_300_799_999),  # the years 1 to 9999
}


@st.composite
def leaves(draw):
    field = draw(st.sampled_from([f for f in FIELDS if f.has_values]))
    value = VALUES[field.type]
    kinds = ["=", "!=", "in", "exists"]
    kinds += ["<", "<=", ">", ">=", "to"] if field.type in ("integer", "float", "date") else []
    kinds += ["starts"] if field.type in ("text", "keyword") else []
    kind = draw(st.sampled_from(kinds))
    match kind:
        case "in":
            return In(field.name, tuple(draw(st.lists(value, min_size=1, max_size=4))))
        case "to":
            return Between(field.name, *sorted((draw(value), draw(value))))
        case "starts":
            return StartsWith(field.name, draw(value.filter(bool)))
        case "exists":
            return Exists(field.name)
    return Compare(field.name, kind, draw(value))


def joined(build):
    """And or Or of two nodes or more, in the parser's normal form: none of its own kind directly inside."""

    def make(nodes):
        return build(tuple(leaf for node in nodes for leaf in (node.nodes if isinstance(node, build) else (node,))))

    return lambda inner: st.lists(inner, min_size=2, max_size=4).map(make)


NODES = st.recursive(leaves(), lambda inner: st.one_of(inner.map(Not), joined(And)(inner), joined(Or)(inner)), max_leaves=12)
ROOMY = Limits(max_filter_depth=100, max_filter_nodes=1000, max_filter_length=100_000)


@given(NODES)
def test_round_trip(node):
    """Every valid node prints as text that parses to the same node."""
    text = format_filter(node, INFO)
    assert parse_filter(text, INFO, ROOMY) == node
    assert format_filter(parse_filter(text, INFO, ROOMY), INFO) == text


MARKS = ["(", ")", "[", "]", ",", '"', "'", "\\", "\ud800", "\0"]
WORDS = [*OPERATORS, *KEYWORDS, *INFO.fields, *MARKS, "1", "1.5", "true", "2024-01-31", "x"]


@given(st.one_of(st.text(), st.lists(st.one_of(st.sampled_from(WORDS), st.text(max_size=5)), max_size=15).map(" ".join)))
def test_any_string(text):
    """Any string parses or raises Invalid; what parses round-trips."""
    try:
        node = parse_filter(text, INFO)
    except Invalid as error:
        (fault,) = error.errors
        assert fault.pointer == "filter"
        fault.detail.encode()
        return
    assert parse_filter(format_filter(node, INFO), INFO, ROOMY) == node
