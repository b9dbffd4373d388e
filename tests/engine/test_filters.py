"""Filters: each row is a filter as typed, and the same thing said in Python over the raw document."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from searchapi.exceptions import Invalid
from searchapi.model import Field, IndexSettings, Query, StartsWith

from ..naive import millis, values
from .conftest import ids
from .corpus import LIBRARY, SETTINGS


class Doc:
    """A raw document whose fields read as lists of their values: `d.year`, `d["author.country"]`."""

    def __init__(self, raw: dict[str, Any]):
        self._raw = raw

    def __getattr__(self, name: str) -> list:
        field = SETTINGS.fields.get(name)
        return values(self._raw, name, field.type if field else "keyword")

    __getitem__ = __getattr__


Test = Callable[[Doc], bool]
ROWS: list[tuple[str, Test]] = [
    # keyword
    ('kind = "book"', lambda d: "book" in d.kind),
    ("kind = book", lambda d: "book" in d.kind),
    ('kind = "Book"', lambda d: False),
    ('kind = "boo"', lambda d: False),
    ('kind != "book"', lambda d: "book" not in d.kind),
    ('NOT kind = "book"', lambda d: "book" not in d.kind),
    ('kind IN ["book", "person"]', lambda d: bool({"book", "person"} & set(d.kind))),
    ('kind IN ["nothing"]', lambda d: False),
    ('kind NOT IN ["book", "person"]', lambda d: not {"book", "person"} & set(d.kind)),
    ('NOT kind IN ["book", "person"]', lambda d: not {"book", "person"} & set(d.kind)),
    ('kind STARTS WITH "p"', lambda d: any(v.startswith("p") for v in d.kind)),
    ('kind STARTS WITH "P"', lambda d: False),
    ('kind STARTS WITH ""', lambda d: True),
    ("EXISTS kind", lambda d: True),
    ("NOT EXISTS kind", lambda d: False),
    ('code = "js-lib"', lambda d: "js-lib" in d.code),
    ('code = "JS-lib"', lambda d: "JS-lib" in d.code),
    ('code STARTS WITH "js"', lambda d: any(v.startswith("js") for v in d.code)),
    (f'code STARTS WITH "{"😀" * 200}"', lambda d: False),
    (r"""code STARTS WITH ".+*?()|[]{}^$#&-~/<>@'\"\\" """, lambda d: False),
    ('code STARTS WITH "js-"', lambda d: any(v.startswith("js-") for v in d.code)),
    ('code = "say \\"hi\\""', lambda d: 'say "hi"' in d.code),
    ('code = "back\\\\slash"', lambda d: "back\\slash" in d.code),
    ('code = "line\\nbreak"', lambda d: "line\nbreak" in d.code),
    ('code = "it\'s 50 % (off)"', lambda d: "it's 50 % (off)" in d.code),
    ('code STARTS WITH "say \\""', lambda d: any(v.startswith('say "') for v in d.code)),
    ("EXISTS code", lambda d: bool(d.code)),
    ('code != "js"', lambda d: "js" not in d.code),
    # the id
    ('id = "w01"', lambda d: d.id == ["w01"]),
    ('id = "42"', lambda d: d.id == ["42"]),
    ('id = "a/b"', lambda d: d.id == ["a/b"]),
    ('id = "ünï ç"', lambda d: d.id == ["ünï ç"]),
    ('id IN ["w01", "t01", "none"]', lambda d: d.id[0] in ("w01", "t01")),
    ('id STARTS WITH "book-00"', lambda d: d.id[0].startswith("book-00")),
    ('id != "w01"', lambda d: d.id != ["w01"]),
    # arrays of keywords: one element is enough
    ('tags = "fiction"', lambda d: "fiction" in d.tags),
    ('tags = "Science Fiction"', lambda d: "Science Fiction" in d.tags),
    ('tags = "science fiction"', lambda d: False),
    ('tags = "Science"', lambda d: False),
    ('tags = "dup"', lambda d: "dup" in d.tags),
    ('tags = "Ünïcode tag"', lambda d: "Ünïcode tag" in d.tags),
    ('tags != "fiction"', lambda d: "fiction" not in d.tags),
    ('tags IN ["sale", "rare"]', lambda d: bool({"sale", "rare"} & set(d.tags))),
    ('tags = "sale" AND tags = "rare"', lambda d: {"sale", "rare"} <= set(d.tags)),
    ('tags = "sale" AND NOT tags = "rare"', lambda d: "sale" in d.tags and "rare" not in d.tags),
    ('tags STARTS WITH "Sci"', lambda d: any(t.startswith("Sci") for t in d.tags)),
    ("EXISTS tags", lambda d: bool(d.tags)),
    ("NOT EXISTS tags", lambda d: not d.tags),
    # integers
    ("year = 2000", lambda d: 2000 in d.year),
    ("year != 2000", lambda d: 2000 not in d.year),
    ("year < 2000", lambda d: any(v < 2000 for v in d.year)),
    ("year <= 2000", lambda d: any(v <= 2000 for v in d.year)),
    ("year > 2000", lambda d: any(v > 2000 for v in d.year)),
    ("year >= 2000", lambda d: any(v >= 2000 for v in d.year)),
    ("year>=2000", lambda d: any(v >= 2000 for v in d.year)),
    ("NOT year >= 2000", lambda d: not any(v >= 2000 for v in d.year)),
    ("year >= 2000 AND year < 2010", lambda d: any(2000 <= v < 2010 for v in d.year)),
    ("year 2000 TO 2010", lambda d: any(2000 <= v <= 2010 for v in d.year)),
    ("year 2000 TO 2000", lambda d: 2000 in d.year),
    ("NOT year 2000 TO 2010", lambda d: not any(2000 <= v <= 2010 for v in d.year)),
    ("year IN [1999, 2001, 2003]", lambda d: bool({1999, 2001, 2003} & set(d.year))),
    ("year = 0", lambda d: 0 in d.year),
    ("year = -44", lambda d: -44 in d.year),
    ("year < 0", lambda d: any(v < 0 for v in d.year)),
    ("year -50 TO 0", lambda d: any(-50 <= v <= 0 for v in d.year)),
    ("year = 9007199254740992", lambda d: 2**53 in d.year),
    ("year = 9007199254740993", lambda d: False),
    ("year > 9007199254740991", lambda d: 2**53 in d.year),
    ("EXISTS year", lambda d: bool(d.year)),
    ("NOT EXISTS year", lambda d: not d.year),
    # arrays of integers
    ("sizes = 40", lambda d: 40 in d.sizes),
    ("sizes != 40", lambda d: 40 not in d.sizes),
    ("sizes > 45", lambda d: any(v > 45 for v in d.sizes)),
    ("sizes < 32", lambda d: any(v < 32 for v in d.sizes)),
    ("sizes 36 TO 38", lambda d: any(36 <= v <= 38 for v in d.sizes)),
    ("sizes 8 TO 29", lambda d: any(8 <= v <= 29 for v in d.sizes)),
    ("sizes > 8 AND sizes < 29", lambda d: any(v > 8 for v in d.sizes) and any(v < 29 for v in d.sizes)),
    ("NOT sizes > 35", lambda d: not any(v > 35 for v in d.sizes)),
    ("EXISTS sizes", lambda d: bool(d.sizes)),
    # floats
    ("price = 9.99", lambda d: 9.99 in d.price),
    ("price = 10", lambda d: 10.0 in d.price),
    ("price = 10.0", lambda d: 10.0 in d.price),
    ("price != 9.99", lambda d: 9.99 not in d.price),
    ("price < 10", lambda d: any(v < 10 for v in d.price)),
    ("price <= 10", lambda d: any(v <= 10 for v in d.price)),
    ("price > 9.99", lambda d: any(v > 9.99 for v in d.price)),
    ("price >= 9.99", lambda d: any(v >= 9.99 for v in d.price)),
    ("price 10 TO 20", lambda d: any(10 <= v <= 20 for v in d.price)),
    ("price -2 TO 0", lambda d: any(-2 <= v <= 0 for v in d.price)),
    ("price 9.99 TO 10.0", lambda d: any(9.99 <= v <= 10.0 for v in d.price)),
    ("price IN [9.99, 20]", lambda d: bool({9.99, 20.0} & set(d.price))),
    ("price >= 1e15", lambda d: any(v >= 1e15 for v in d.price)),
    ("price = 0", lambda d: 0.0 in d.price),
    ("price = -1.5", lambda d: -1.5 in d.price),
    ("rating = 5", lambda d: 5.0 in d.rating),
    ("rating >= 4.5", lambda d: any(v >= 4.5 for v in d.rating)),
    ("NOT rating >= 4.5", lambda d: not any(v >= 4.5 for v in d.rating)),
    ("EXISTS rating", lambda d: bool(d.rating)),
    ("NOT EXISTS rating", lambda d: not d.rating),
    # booleans
    ("available = true", lambda d: True in d.available),
    ("available = false", lambda d: False in d.available),
    ("available != true", lambda d: True not in d.available),
    ("NOT available = true", lambda d: True not in d.available),
    ("available IN [true, false]", lambda d: bool(d.available)),
    ("EXISTS available", lambda d: bool(d.available)),
    # dates: a day is its first moment in UTC
    ('published = "2020-02-29"', lambda d: millis("2020-02-29") in d.published),
    ('published != "2020-02-29"', lambda d: millis("2020-02-29") not in d.published),
    ('published >= "2020-01-01"', lambda d: any(v >= millis("2020-01-01") for v in d.published)),
    ('published < "2020-01-01"', lambda d: any(v < millis("2020-01-01") for v in d.published)),
    ('published > "2019-12-31T23:59:59.998Z"', lambda d: any(v > millis("2019-12-31T23:59:59.998+00:00") for v in d.published)),
    ('published = "2019-12-31T23:59:59.999Z"', lambda d: d.id == ["e03"]),
    ('published = "2019-12-31T23:59:59Z"', lambda d: False),
    ('published = "2021-05-04T08:00:00Z"', lambda d: d.id == ["e04"]),
    ('published = "2021-05-04T03:00:00-05:00"', lambda d: d.id == ["e04"]),
    ('published < "1970-01-01"', lambda d: d.id == ["e01"]),
    (
        'published "2018-01-01" TO "2018-12-31"',
        lambda d: any(millis("2018-01-01") <= v <= millis("2018-12-31") for v in d.published),
    ),
    ("published < 0", lambda d: d.id == ["e01"]),
    ("EXISTS published", lambda d: bool(d.published)),
    ("NOT EXISTS published", lambda d: not d.published),
    ('events = "2001-01-01"', lambda d: d.id == ["e07"]),
    ('events > "2005-01-01"', lambda d: d.id[0] in ("e07", "e08")),
    ('events "2002-01-01" TO "2010-01-01"', lambda d: d.id == ["e08"]),
    ('NOT events > "2006-01-01"', lambda d: d.id != ["e07"]),
    # text fields by their whole values
    ('title = "Quartz clock"', lambda d: d.id == ["w02"]),
    ('title = "quartz clock"', lambda d: False),
    ('title = "Quartz"', lambda d: False),
    ('title STARTS WITH "Quartz "', lambda d: d.id[0] in ("w01", "w02")),
    ('title IN ["Edges", "Bolt"]', lambda d: bool({"Edges", "Bolt"} & set(d.title))),
    ("EXISTS title", lambda d: bool(d.title)),
    # nested names
    ('author.country = "DE"', lambda d: "DE" in d["author.country"]),
    ('author.country != "DE"', lambda d: "DE" not in d["author.country"]),
    ('author.country IN ["DE", "FR"]', lambda d: bool({"DE", "FR"} & set(d["author.country"]))),
    ('author.name = "Eva Lund"', lambda d: "Eva Lund" in d["author.name"]),
    ('author.name STARTS WITH "A"', lambda d: any(v.startswith("A") for v in d["author.name"])),
    ("EXISTS author.country", lambda d: bool(d["author.country"])),
    ("EXISTS author.name AND NOT EXISTS author.country", lambda d: bool(d["author.name"]) and not d["author.country"]),
    # and, or, not, parentheses
    ('kind = "book" AND year >= 2010', lambda d: "book" in d.kind and any(v >= 2010 for v in d.year)),
    ('kind = "book" OR kind = "person"', lambda d: d.kind[0] in ("book", "person")),
    (
        'kind = "book" OR kind = "person" AND available = true',
        lambda d: "book" in d.kind or ("person" in d.kind and True in d.available),
    ),
    (
        '(kind = "book" OR kind = "person") AND available = true',
        lambda d: d.kind[0] in ("book", "person") and True in d.available,
    ),
    ('NOT (kind = "book" OR kind = "person")', lambda d: d.kind[0] not in ("book", "person")),
    ('NOT (kind = "book" AND available = true)', lambda d: not ("book" in d.kind and True in d.available)),
    ('NOT NOT kind = "book"', lambda d: "book" in d.kind),
    ('NOT kind = "book" AND year > 2000', lambda d: "book" not in d.kind and any(v > 2000 for v in d.year)),
    ("NOT EXISTS year AND NOT EXISTS price", lambda d: not d.year and not d.price),
    ("NOT EXISTS year OR NOT EXISTS price", lambda d: not d.year or not d.price),
    (
        "kind = book and not available = true or exists code",
        lambda d: ("book" in d.kind and True not in d.available) or bool(d.code),
    ),
    (
        'kind = "book" AND (year >= 2020 OR tags IN ["sale", "rare"]) AND NOT available = true',
        lambda d: (
            "book" in d.kind
            and (any(v >= 2020 for v in d.year) or bool({"sale", "rare"} & set(d.tags)))
            and True not in d.available
        ),
    ),
    ("EXISTS year AND NOT EXISTS year", lambda d: False),
    ("EXISTS year OR NOT EXISTS year", lambda d: True),
]


@pytest.mark.parametrize(("text", "test"), ROWS, ids=[text for text, _ in ROWS])
def test_filter(ask, text, test):
    """A filter alone finds exactly the documents that pass it, by id."""
    expected = sorted(str(raw["id"]) for raw in LIBRARY if test(Doc(raw)))
    answer = ask(filter=text, limit="400")
    assert ids(answer) == expected
    assert answer.total == len(expected)


@pytest.mark.parametrize(
    ("q", "text", "expected"),
    [
        ("quartz", 'kind = "note"', "w01 w02 w03"),
        ("quartz", 'kind = "book"', ""),
        ("quartz", 'id != "w02"', "w01 w03"),
        ("brass", 'title STARTS WITH "W"', "w04"),
        ("saxaphone ", 'id = "t01"', "t01"),
        ("lantern -quartz", "NOT EXISTS year", "w05"),
    ],
)
def test_filter_narrows_words(ask, q, text, expected):
    """With words, both must hold."""
    assert sorted(ids(ask(q=q, filter=text))) == expected.split()


def test_a_filter_does_not_rank(ask):
    """What passes a filter is in the same order as without it."""
    unfiltered = ids(ask(q="river ", limit="300"))
    passing = set(ids(ask(filter="available = true", limit="300")))
    assert ids(ask(q="river ", filter="available = true", limit="300")) == [id for id in unfiltered if id in passing]


LONG = "long " * 50  # beyond what an engine may keep of a value in one piece


@pytest.fixture(scope="module")
def long_values(harness) -> str:
    name = harness.new_index(IndexSettings(fields={"k": Field("k", "keyword")}))
    harness.put(
        name, [{"id": "1", "k": LONG + "b"}, {"id": "2", "k": LONG + "a"}, {"id": "3", "k": LONG}, {"id": "4", "k": "long "}]
    )
    return name


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (f'k = "{LONG}a"', "2"),
        (f'k = "{LONG}"', "3"),
        (f'k != "{LONG}a"', "1 3 4"),
        (f'k IN ["{LONG}a", "{LONG}b"]', "1 2"),
        ('k STARTS WITH "long "', "1 2 3 4"),
        ('k STARTS WITH "long long "', "1 2 3"),
        (f'k STARTS WITH "{LONG}"', "1 2 3"),
        (f'k STARTS WITH "{LONG}a"', "2"),
        (f'k STARTS WITH "{LONG}c"', ""),
    ],
    ids=lambda value: value.replace(LONG, "LONG "),
)
def test_long_values_are_whole_values(harness, long_values, filter, expected):
    """Values of some hundred characters compare to their last one."""
    assert ids(harness.ask(long_values, filter=filter)) == expected.split()


def test_long_values_sort_and_count(harness, long_values):
    """And so they sort, and are counted as what they are: a value of a facet can be filtered by."""
    assert ids(harness.ask(long_values, sort="k")) == ["4", "3", "2", "1"]
    facet = harness.ask(long_values, facets="k").facets["k"]
    assert facet.values == (("long ", 1), (LONG, 1), (LONG + "a", 1), (LONG + "b", 1))


@pytest.mark.parametrize(("prefix", "expected"), [("a", "1 2 3"), ("a\x00", "3"), ("a\x00b", "3"), ("a\x00c", "")])
def test_a_prefix_may_hold_any_character(harness, prefix, expected):
    """Also one that an engine might use for itself."""
    name = harness.new_index(IndexSettings(fields={"k": Field("k", "keyword")}))
    harness.put(name, [{"id": "1", "k": "a"}, {"id": "2", "k": "ab"}, {"id": "3", "k": "a\x00b"}])
    assert [hit.id for hit in harness.engine.search(name, Query(filter=StartsWith("k", prefix))).hits] == expected.split()


def test_filter_on_inferred_fields(harness):
    """Inferred fields filter by the types that their documents gave them; an inferred string by its keyword twin."""
    rows = {
        'name = "Badger"': ["4"],
        'name STARTS WITH "A "': ["2"],
        "count >= 5": ["2", "3"],
        "count = 7.5": ["3"],
        "count != 3": ["2", "3", "4"],
        "ratio = 2": ["2"],
        "ok = false": ["2"],
        "NOT EXISTS ok": ["3", "4"],
        'labels = "y"': ["1", "3"],
        "NOT EXISTS labels": ["2", "4"],
        'nested.deep.word = "burrow"': ["3"],
    }
    assert {text: ids(harness.ask("plain", filter=text)) for text in rows} == rows


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('knid = "book"', "kind"),
        ("year = soon", "integer"),
        ('year = "soon"', "integer"),
        ("available = 1", "true or false"),
        ('published > "yesterday"', "date"),
        ('kind = "book', ""),
        ('(kind = "book"', ""),
        ('kind = "book")', ""),
        ("kind", ""),
        ("kind =", ""),
        ("AND", ""),
        ('kind = "a" kind = "b"', ""),
        ('year STARTS WITH "20"', "STARTS WITH"),
        ('code < "js"', "<"),
        ('code "a" TO "js"', "TO"),
        ("available > false", ">"),
        ("year 2010 TO 2000", "lower"),
        ("body = 5", "keyword"),
        ("kind IN []", ""),
    ],
)
def test_a_wrong_filter_is_an_error_that_helps(ask, text, says):
    """A filter that cannot be meant is refused, with what was expected."""
    with pytest.raises(Invalid) as caught:
        ask(filter=text)
    assert [fault.pointer for fault in caught.value.errors] == ["filter"]
    assert says in caught.value.errors[0].detail
