"""Facets: counted over everything that matches, whatever the page, as the naive count over the same documents."""

from __future__ import annotations

from typing import Any

import pytest

from searchapi.exceptions import Invalid
from searchapi.model import Range

from .. import naive
from .conftest import ids
from .corpus import LIBRARY, SETTINGS
from .test_filters import Doc


def _matching(test) -> list[dict[str, Any]]:
    return [raw for raw in LIBRARY if test(Doc(raw))]


def everything(_: Doc) -> bool:
    return True


TERMS = [  # filter, the same in Python, field, limit
    (None, everything, "kind", 20),
    (None, everything, "kind", 2),
    (None, everything, "kind", 1),
    (None, everything, "tags", 20),
    (None, everything, "tags", 3),
    (None, everything, "author.country", 20),
    (None, everything, "author.country", 2),
    (None, everything, "author.name", 20),
    (None, everything, "available", 20),
    (None, everything, "year", 5),
    (None, everything, "year", 100),
    (None, everything, "rating", 20),
    (None, everything, "price", 4),
    (None, everything, "sizes", 6),
    (None, everything, "title", 2),
    (None, everything, "code", 20),
    (None, everything, "id", 3),
    ('kind = "book"', lambda d: d.kind == ["book"], "kind", 20),
    ('kind = "book"', lambda d: d.kind == ["book"], "tags", 4),
    ('kind = "book"', lambda d: d.kind == ["book"], "available", 4),
    ('tags = "sale"', lambda d: "sale" in d.tags, "tags", 20),
    ("NOT EXISTS tags", lambda d: not d.tags, "tags", 20),
    ("NOT EXISTS tags", lambda d: not d.tags, "year", 3),
    ("year >= 2015", lambda d: any(v >= 2015 for v in d.year), "author.country", 20),
    ('kind = "nothing"', lambda d: False, "tags", 20),
]


@pytest.mark.parametrize(("filter", "test", "field", "limit"), TERMS, ids=[f"{f} by {n} ({k})" for f, _, n, k in TERMS])
def test_terms(ask, filter, test, field, limit):
    """Values by count, then by value; `other` is what the limit cut off; `missing` the documents without a value."""
    type = SETTINGS.fields[field].type if field != "id" else "keyword"
    answer = ask(facets=f"{field}(limit: {limit})", limit="0", **({"filter": filter} if filter else {}))
    values, other, missing = naive.terms(_matching(test), field, limit, type)
    result = answer.facets[field]
    assert result.kind == "terms"
    assert list(result.values) == values
    assert (result.other, result.missing) == (other, missing)


def test_terms_come_in_their_own_type(ask):
    """A boolean facet counts booleans, an integer one integers, a float one floats."""
    facets = ask(facets="available,year,rating", limit="0").facets
    assert {type(value) for value, _ in facets["available"].values} == {bool}
    assert {type(value) for value, _ in facets["year"].values} == {int}
    assert {type(value) for value, _ in facets["rating"].values} == {float}


def test_a_repeated_value_counts_its_document_once(ask):
    """`e05` holds the tag `dup` twice and `e07` once: two documents."""
    assert dict(ask(facets="tags", limit="0").facets["tags"].values)["dup"] == 2


RANGES = [  # facet as typed, field, type, buckets
    (
        "year(ranges: ..2000, 2000..2010, 2010..)",
        "year",
        "integer",
        [("..2000", None, 2000), ("2000..2010", 2000, 2010), ("2010..", 2010, None)],
    ),
    ("year(ranges: 2005..2006)", "year", "integer", [("2005..2006", 2005, 2006)]),
    ("year(ranges: 2000..2020, 2010..2015)", "year", "integer", [("2000..2020", 2000, 2020), ("2010..2015", 2010, 2015)]),
    ("year(ranges: 3000..)", "year", "integer", [("3000..", 3000, None)]),
    ("year(ranges: -50..1)", "year", "integer", [("-50..1", -50, 1)]),
    (
        "price(ranges: ..9.99, 9.99..10, 10..20, 20..)",
        "price",
        "float",
        [("..9.99", None, 9.99), ("9.99..10", 9.99, 10), ("10..20", 10, 20), ("20..", 20, None)],
    ),
    ("rating(ranges: 1..2.5, 2.5..5)", "rating", "float", [("1..2.5", 1, 2.5), ("2.5..5", 2.5, 5)]),
    ("sizes(ranges: ..35, 35..40, 40..)", "sizes", "integer", [("..35", None, 35), ("35..40", 35, 40), ("40..", 40, None)]),
    (
        "published(ranges: ..2018-01-01, 2018-01-01..2020-01-01, 2020-01-01..)",
        "published",
        "date",
        [
            ("..2018-01-01", None, "2018-01-01"),
            ("2018-01-01..2020-01-01", "2018-01-01", "2020-01-01"),
            ("2020-01-01..", "2020-01-01", None),
        ],
    ),
    ("events(ranges: 2000-01-01..2006-01-01)", "events", "date", [("2000-01-01..2006-01-01", "2000-01-01", "2006-01-01")]),
]


@pytest.mark.parametrize(("text", "field", "type", "buckets"), RANGES, ids=[text for text, *_ in RANGES])
@pytest.mark.parametrize("kind", [None, "book"])
def test_ranges(ask, text, field, type, buckets, kind):
    """Documents in low <= v < high, each counted once in a bucket; buckets may overlap, and keep their order."""
    edge = naive.millis if type == "date" else lambda value: value
    wanted = [Range(key, *(None if v is None else edge(v) for v in ends)) for key, *ends in buckets]
    documents = _matching(lambda d: kind is None or d.kind == [kind])
    answer = ask(facets=text, limit="0", **({"filter": f"kind = {kind}"} if kind else {}))
    result = answer.facets[field]
    assert result.kind == "ranges"
    assert list(result.values) == naive.ranges(documents, field, wanted, type)
    assert result.missing == sum(not naive.values(d, field, type) for d in documents)


@pytest.mark.parametrize("filter", [None, 'kind = "person"', "year > 2010 AND available = true", 'kind = "nothing"'])
@pytest.mark.parametrize("field", ["price", "year", "rating", "published"])
def test_stats(ask, harness, filter, field):
    """min, max, avg, sum and count of the values; None where there are none."""
    found = set(ids(ask(limit="400", **({"filter": filter} if filter else {}))))
    documents = [d for d in LIBRARY if str(d["id"]) in found]
    result = ask(facets=f"{field}(stats)", limit="0", **({"filter": filter} if filter else {})).facets[field]
    expected = naive.stats(documents, field, SETTINGS.fields[field].type)
    assert result.kind == "stats"
    assert result.stats["count"] == expected["count"]
    assert result.missing == len(documents) - expected["count"]
    if expected["count"]:
        assert {k: result.stats[k] for k in ("min", "max")} == {k: expected[k] for k in ("min", "max")}
        assert {k: result.stats[k] for k in ("avg", "sum")} == pytest.approx({k: expected[k] for k in ("avg", "sum")})
    else:
        assert [result.stats[k] for k in ("min", "max", "avg")] == [None, None, None]


EXCLUDE = [  # filter, facet, the filter that the facet's counts go by
    ('kind = "book"', "kind", everything),
    ('kind = "book" AND available = true', "kind", lambda d: d.available == [True]),
    ('kind = "book" AND available = true', "available", lambda d: d.kind == ["book"]),
    ('kind = "book" AND available = true', "tags", lambda d: d.kind == ["book"] and d.available == [True]),
    ('(kind = "book" OR kind = "person") AND year > 2000', "kind", lambda d: any(v > 2000 for v in d.year)),
    ('NOT kind = "book" AND year > 2000', "kind", lambda d: any(v > 2000 for v in d.year)),
    ("year > 2000 AND year < 2010 AND kind = book", "year", lambda d: d.kind == ["book"]),
    ('kind = "book" OR available = true', "kind", lambda d: d.kind == ["book"] or d.available == [True]),
    ('(kind = "book" OR available = true) AND kind = "person"', "kind", lambda d: d.kind == ["book"] or d.available == [True]),
    ('tags = "sale" AND tags = "rare"', "tags", everything),
]


@pytest.mark.parametrize(("filter", "field", "test"), EXCLUDE, ids=[f"{f} without {n}" for f, n, _ in EXCLUDE])
def test_exclude_leaves_out_the_facets_own_filter(ask, filter, field, test):
    """With `exclude`, the top-level AND parts that speak of this field alone do not narrow its counts; hits they do."""
    answer = ask(filter=filter, facets=f"{field}(limit: 50, exclude)", limit="0")
    values, other, missing = naive.terms(_matching(test), field, 50, SETTINGS.fields[field].type)
    assert list(answer.facets[field].values) == values
    assert (answer.facets[field].other, answer.facets[field].missing) == (other, missing)
    assert answer.total == ask(filter=filter, limit="0").total


def test_excluding_one_facet_does_not_touch_another(ask):
    """Facets with and without `exclude` in one request each count by their own filter."""
    facets = ask(filter='kind = "book" AND available = true', facets="kind(exclude),tags,available", limit="0").facets
    assert list(facets) == ["kind", "tags", "available"]
    assert dict(facets["available"].values) == {True: len(_matching(lambda d: d.kind == ["book"] and d.available == [True]))}
    assert len(facets["kind"].values) > 1


def test_facets_count_all_matches_of_words(ask):
    """With words, facets are of all that match, also of corrected words, and no other page has other counts."""
    assert ask(q="quartz", facets="kind", limit="1").facets["kind"].values == (("note", 3),)
    assert ask(q="saxaphone ", facets="kind").facets["kind"].values == (("note", 1),)
    whole = ask(q="river ", facets="kind,year(ranges: 2000..2010),price(stats)", limit="300")
    found = set(ids(whole))
    documents = [d for d in LIBRARY if str(d["id"]) in found]
    assert list(whole.facets["kind"].values) == naive.terms(documents, "kind", 20)[0]
    paged = ask(q="river ", facets="kind,year(ranges: 2000..2010),price(stats)", limit="2", offset="3")
    assert paged.facets == whole.facets


def test_excluded_facets_respect_the_words(ask):
    """Leaving out the filter does not leave out the words."""
    found = set(ids(ask(q="river ", limit="300")))
    documents = [d for d in LIBRARY if str(d["id"]) in found]
    answer = ask(q="river ", filter='kind = "book"', facets="kind(exclude)", limit="0")
    assert list(answer.facets["kind"].values) == naive.terms(documents, "kind", 20)[0]


def test_no_facets_unless_asked(ask):
    """An answer has the facets asked for, and no others."""
    assert dict(ask(q="quartz").facets) == {}
    assert set(ask(q="quartz", facets="kind,year").facets) == {"kind", "year"}


def test_inferred_facets(harness):
    """Fields without a declaration are counted by their inferred types."""
    facets = harness.ask("plain", facets="labels,ok,count,name(limit: 1)").facets
    assert facets["labels"].values == (("y", 2), ("x", 1))
    assert (facets["ok"].values, facets["ok"].missing) == (((False, 1), (True, 1)), 2)
    assert facets["count"].values == ((3.0, 1), (5.0, 1), (7.5, 1))
    assert (facets["name"].values, facets["name"].other) == ((("A fox runs", 1),), 3)


@pytest.mark.parametrize(
    ("facets", "says"),
    [
        ("knid", "kind"),
        ("body", "keyword"),
        ("kind(stats)", "stats"),
        ("kind(ranges: a..b)", "ranges"),
        ("year(ranges: soon..)", "integer"),
        ("year(ranges: 2010..2000)", "lower"),
        ("kind(limit: 0)", "limit"),
        ("kind(limt: 5)", "limit"),
        ("kind,kind", "twice"),
        ("kind(", ""),
    ],
)
def test_a_wrong_facet_is_an_error_that_helps(ask, facets, says):
    """A facet that cannot be counted is refused, with what was expected."""
    with pytest.raises(Invalid) as caught:
        ask(facets=facets)
    assert caught.value.errors[0].pointer == "facets"
    assert says in caught.value.errors[0].detail
