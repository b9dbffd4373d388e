"""Parameters of a search and of suggestions, from a query string and from JSON."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from searchapi.engines.base import Capabilities
from searchapi.exceptions import Invalid
from searchapi.model import Compare, Facet, Highlight, Page, Range, SearchRequest, Sort, SuggestRequest, TextQuery, Word
from searchapi.query import cursor
from searchapi.query.filters import parse_filter
from searchapi.query.limits import Limits
from searchapi.query.params import SEARCH_PARAMETERS, search_from_args, search_from_json, suggest_from_args
from searchapi.query.text import parse_text
from tests.unit.query_index import INFO

EMBEDDED = Capabilities("embedded")
ROOT = Path(__file__).parents[2]


def get(query: str, info=INFO, capabilities=EMBEDDED, limits=Limits()) -> SearchRequest:
    return search_from_args(parse_qs(query, keep_blank_values=True), info, capabilities, limits)


def post(body, info=INFO, capabilities=EMBEDDED, limits=Limits()) -> SearchRequest:
    return search_from_json(body, info, capabilities, limits)


def faults(call, *args, **kwargs) -> list[tuple[str, str, str]]:
    with pytest.raises(Invalid) as caught:
        call(*args, **kwargs)
    return [(fault.pointer, fault.code, fault.detail) for fault in caught.value.errors]


RANGES = (Range("..2000", None, 2000), Range("2000..2010", 2000, 2010), Range("2010..", 2010, None))
JAN = 1_704_067_200_000  # 2024-01-01T00:00:00Z

# (query string, JSON body, what of the request differs from the default)
SAME = [
    ("", {}, {}),
    ("q=&filter=&facets=&sort=&cursor=&fields=&highlight=&limit=&typo=", dict.fromkeys(SEARCH_PARAMETERS), {}),
    ("q=json", {"q": "json"}, {"q": "json", "text": TextQuery((Word("json", last=True),))}),
    ("filter=kind+%3D+a", {"filter": "kind = a"}, {"filter": Compare("kind", "=", "a")}),
    ("sort=-year,name", {"sort": ["-year", "name"]}, {"sort": (Sort("year", True), Sort("name"))}),
    ("sort=-year, name", {"sort": "-year,name"}, {"sort": (Sort("year", True), Sort("name"))}),
    ("limit=0", {"limit": 0}, {"page": Page(0)}),
    ("limit=10&offset=990", {"limit": 10, "offset": 990}, {"page": Page(10, 990)}),
    ("fields=name,author,name", {"fields": ["name", "author", "name"]}, {"fields": ("name", "author")}),
    ("fields=author.name", {"fields": "author.name"}, {"fields": ("author.name",)}),
    (
        "match=any&typo=false&explain=true",
        {"match": "any", "typo": False, "explain": True},
        {"match": "any", "typo": False, "explain": True},
    ),
    ("timeout_ms=10000", {"timeout_ms": 10000}, {"timeout_ms": 10000}),
    ("highlight=true", {"highlight": True}, {"highlight": Highlight()}),
    ("highlight=false&snippet_length=9", {"highlight": False, "snippet_length": 9}, {}),
    ("highlight=name,summary", {"highlight": ["name", "summary"]}, {"highlight": Highlight(("name", "summary"))}),
    (
        "highlight=name&highlight_format=html&snippet_length=100",
        {"highlight": {"fields": ["name"], "format": "html"}, "snippet_length": 100},
        {"highlight": Highlight(("name",), ("<em>", "</em>"), 100)},
    ),
    ("highlight=true&highlight_format=ranges", {"highlight": {}, "highlight_format": "ranges"}, {"highlight": Highlight()}),
    ("facets=kind", {"facets": "kind"}, {"facets": (Facet("kind"),)}),
    (
        "facets=kind, year(ranges: ..2000, 2000..2010, 2010..) ,price(stats),tags(limit: 5, exclude)",
        {
            "facets": [
                "kind",
                {"field": "year", "ranges": [{"to": 2000}, {"from": 2000, "to": 2010}, {"from": 2010}]},
                {"field": "price", "kind": "stats"},
                {"field": "tags", "limit": 5, "exclude": True},
            ]
        },
        {
            "facets": (
                Facet("kind"),
                Facet("year", "ranges", ranges=RANGES),
                Facet("price", "stats"),
                Facet("tags", limit=5, exclude=True),
            )
        },
    ),
    (
        "facets=published(ranges:2024-01-01..2024-01-01T00:00:01Z, exclude)",
        {"facets": [{"field": "published", "ranges": [{"from": "2024-01-01", "to": "2024-01-01T00:00:01Z"}], "exclude": True}]},
        {
            "facets": (
                Facet("published", "ranges", ranges=(Range("2024-01-01..2024-01-01T00:00:01Z", JAN, JAN + 1000),), exclude=True),
            )
        },
    ),
    (
        "facets=price(ranges: -1.5..2)",
        {"facets": [{"field": "price", "kind": "ranges", "ranges": ["-1.5..2"]}]},
        {"facets": (Facet("price", "ranges", ranges=(Range("-1.5..2", -1.5, 2.0),)),)},
    ),
]


@pytest.mark.parametrize(("query", "body", "changes"), SAME, ids=[query[:50] or "nothing" for query, _, _ in SAME])
def test_both_ways(query, body, changes):
    """A query string and a JSON body make the same request."""
    expected = replace(SearchRequest(), **changes)
    assert get(query) == expected
    assert post(body) == expected
    assert post(orjson.loads(orjson.dumps(body))) == expected


def test_own_tags():
    """JSON may bring tags, which make the format HTML."""
    request = post({"highlight": {"tags": ["<b>", "</b>"]}})
    assert request.highlight == Highlight((), ("<b>", "</b>"), 0)


def test_an_empty_list_selects_nothing():
    """An empty list is none of the fields, not all of them."""
    assert post({"fields": []}).fields == ()
    assert post({"highlight": []}).highlight is None
    assert post({"highlight": {"fields": []}}).highlight is None
    assert post({"facets": [], "sort": []}) == SearchRequest()


def test_limits_give_the_defaults():
    """Default page size and timeout come from the limits."""
    request = get("", limits=Limits(default_limit=7, default_timeout_ms=55))
    assert (request.page.limit, request.timeout_ms) == (7, 55)


BAD_GET = [
    ("lmit=3", "lmit", "unknown_parameter", 'there is no parameter "lmit"; did you mean "limit"?'),
    ("query=x", "query", "unknown_parameter", 'there is no parameter "query"'),
    ("limit=1&limit=2", "limit", "repeated_parameter", "limit: expected it once, found 2 times"),
    ("limit=x", "limit", "wrong_value", 'limit: expected an integer from 0 to 1000 (MAX_PAGE_SIZE), found "x"'),
    ("limit=-1", "limit", "wrong_value", 'limit: expected an integer from 0 to 1000 (MAX_PAGE_SIZE), found "-1"'),
    ("limit=1.5", "limit", "wrong_value", 'limit: expected an integer from 0 to 1000 (MAX_PAGE_SIZE), found "1.5"'),
    ("limit=1001", "limit", "wrong_value", 'limit: expected an integer from 0 to 1000 (MAX_PAGE_SIZE), found "1001"'),
    ("offset=-1", "offset", "wrong_value", 'offset: expected an integer from 0, found "-1"'),
    (
        "offset=990&limit=11",
        "offset",
        "page_too_deep",
        "offset: expected limit + offset of at most 1000 (MAX_PAGE), found 11 + 990; go on with the cursor of the answer before "
        "(the parameter cursor)",
    ),
    ("cursor=abc&offset=1", "offset", "offset_with_cursor", "offset: a cursor says itself where to go on; leave offset out"),
    ("cursor=abc", "cursor", "invalid_cursor", "cursor: expected the cursor of an earlier answer, unchanged and whole"),
    (
        "cursor=abc&q=x",
        "cursor",
        "unsupported_cursor",
        "cursor: the engine embedded has no cursor in order of relevance; add sort, or page by offset (up to MAX_PAGE)",
    ),
    ("sort=yeer", "sort", "unknown_field", 'sort: there is no field "yeer" in this index; did you mean "year"?'),
    ("sort=-tags", "sort", "array_field", 'sort: "tags" holds several values in some documents, so there is no order by it'),
    (
        "sort=summary",
        "sort",
        "no_values",
        'sort: "summary" is a text field without whole values ("keyword": false in the settings), so it can only be searched '
        "with q",
    ),
    (
        "sort=year:desc",
        "sort",
        "unknown_field",
        'sort: expected a field\'s name, with - before it for descending; did you mean "-year"?',
    ),
    ("sort=year,-year", "sort", "duplicate", 'sort: "year" is named twice'),
    (
        "sort=year,price,name,kind,id,published",
        "sort",
        "too_many_sort_fields",
        "sort: expected at most 5 fields (MAX_SORT_FIELDS), found 6",
    ),
    ("fields=nam", "fields", "unknown_field", 'fields: there is no field "nam" in this index; did you mean "name"?'),
    ("highlight=kind", "highlight", "not_a_text_field", 'highlight: expected a text field; "kind" is of type keyword'),
    (
        "highlight=sumary",
        "highlight",
        "unknown_field",
        'highlight: there is no field "sumary" in this index; did you mean "summary"?',
    ),
    (
        "highlight=true&highlight_format=xml",
        "highlight_format",
        "wrong_value",
        'highlight_format: expected ranges or html, found "xml"',
    ),
    ("snippet_length=5", "snippet_length", "needs_highlight", "snippet_length: it works with highlight only; add highlight=true"),
    (
        "highlight=true&snippet_length=2001",
        "snippet_length",
        "wrong_value",
        'snippet_length: expected an integer from 0 to 2000 (MAX_SNIPPET_LENGTH), found "2001"',
    ),
    ("match=most", "match", "wrong_value", 'match: expected all, any or relax, found "most"'),
    ("typo=yes", "typo", "wrong_value", 'typo: expected true or false, found "yes"'),
    ("timeout_ms=0", "timeout_ms", "wrong_value", 'timeout_ms: expected an integer from 1 to 10000 (MAX_TIMEOUT_MS), found "0"'),
    ("filter=kind =", "filter", "filter_syntax", 'filter, column 7: expected a value after "=", found end of filter'),
    ("facets=knd", "facets", "unknown_field", 'facets: there is no field "knd" in this index; did you mean "kind"?'),
    ("facets=kind,kind", "facets", "duplicate", 'facets: "kind" is named twice; one facet a field'),
    ("facets=kind,,tags", "facets", "facets_syntax", "facets, column 6: expected a field's name"),
    (
        "facets=kind,year(limit: 3",
        "facets",
        "facets_syntax",
        "facets, column 6: expected facets such as kind,year(ranges: ..2000, 2000..),price(stats),tags(limit: 5, exclude)",
    ),
    (
        "facets=kind(limt: 3)",
        "facets",
        "facets_syntax",
        'facets: expected limit: 5, ranges: 1..2, stats or exclude, found "limt: 3"; did you mean "limit:"?',
    ),
    ("facets=kind(limit: 1, limit: 2)", "facets", "facets_syntax", 'facets: "limit" is given twice in (limit: 1, limit: 2)'),
    (
        "facets=kind(limit: 0)",
        "facets",
        "out_of_range",
        'facets: expected an integer from 1 to 1000 (MAX_FACET_VALUES) at limit, found "0"',
    ),
    (
        "facets=kind(stats)",
        "facets",
        "facet_type",
        'facets: stats needs a field of type integer, float or date; "kind" is of type keyword',
    ),
    (
        "facets=year(stats, limit: 3)",
        "facets",
        "facet_option",
        'facets: limit belongs to a facet of kind terms, and that of "year" is of kind stats',
    ),
    (
        "facets=year(ranges: 5)",
        "facets",
        "facet_ranges",
        'facets: expected a range as low..high, low.. or ..high for "year", found "5"',
    ),
    (
        "facets=year(ranges: ..)",
        "facets",
        "facet_ranges",
        'facets: expected a range as low..high, low.. or ..high for "year", found ".."',
    ),
    ("facets=year(ranges: 1..a)", "facets", "facet_ranges", 'facets: expected an integer for "year", found "a"'),
    ("facets=year(ranges: 2..2)", "facets", "facet_ranges", 'facets: expected the lower end first in the range "2..2" of "year"'),
    ("facets=year(ranges: 1..2, 1..2)", "facets", "duplicate", 'facets: a range of "year" is given twice'),
    (
        "facets=published(ranges: 2020..)",
        "facets",
        "facet_ranges",
        'facets: expected a date for "published", found 2020; write the year as "2020-01-01"',
    ),
]


@pytest.mark.parametrize(("query", "pointer", "code", "detail"), BAD_GET, ids=[case[0][:50] for case in BAD_GET])
def test_refused_in_a_query_string(query, pointer, code, detail):
    """The error points to the parameter and says what was expected."""
    assert faults(get, query) == [(pointer, code, detail)]


BAD_POST = [
    ([], "", "wrong_type", "expected a JSON object with the parameters of a search, found a list"),
    ({"a/b": 1}, "/a~1b", "unknown_parameter", 'there is no parameter "a/b"'),
    ({"limit": "3"}, "/limit", "wrong_value", 'limit: expected an integer from 0 to 1000 (MAX_PAGE_SIZE), found "3"'),
    ({"limit": True}, "/limit", "wrong_value", "limit: expected an integer from 0 to 1000 (MAX_PAGE_SIZE), found true"),
    ({"limit": 3.0}, "/limit", "wrong_value", "limit: expected an integer from 0 to 1000 (MAX_PAGE_SIZE), found 3.0"),
    ({"typo": "false"}, "/typo", "wrong_value", 'typo: expected true or false, found "false"'),
    ({"q": 3}, "/q", "wrong_value", "q: expected a string, found 3"),
    ({"q": "kind:x"}, "/q", "not_a_text_field", None),
    ({"filter": {"kind": "a"}}, "/filter", "wrong_value", "filter: expected a string, found an object"),
    ({"filter": "kind"}, "/filter", "filter_syntax", None),
    ({"sort": ["year", 3]}, "/sort/1", "wrong_value", "sort: expected a field's name, found 3"),
    ({"sort": ["name", "-nme"]}, "/sort/1", "unknown_field", 'sort: there is no field "nme" in this index; did you mean "name"?'),
    ({"sort": {"year": "desc"}}, "/sort", "wrong_value", "sort: expected a list of field names, found an object"),
    ({"fields": ["name", "x" * 99]}, "/fields/1", "unknown_field", f'fields: there is no field "{"x" * 60}…" in this index'),
    ({"match": ["all"]}, "/match", "wrong_value", "match: expected all, any or relax, found a list"),
    ({"cursor": 5}, "/cursor", "wrong_value", "cursor: expected a string, found 5"),
    ({"cursor": "abc"}, "/cursor", "invalid_cursor", None),
    ({"highlight": 1}, "/highlight", "wrong_value", "highlight: expected true, false or a list of field names, found 1"),
    (
        {"highlight": {"filds": []}},
        "/highlight/filds",
        "unknown_parameter",
        'there is no parameter "filds"; did you mean "fields"?',
    ),
    ({"highlight": {"fields": ["kind"]}}, "/highlight/fields/0", "not_a_text_field", None),
    (
        {"highlight": {"tags": ["<b>"]}},
        "/highlight/tags",
        "highlight_tags",
        'highlight: expected two strings of at most 200 characters, such as ["<b>", "</b>"], at tags',
    ),
    ({"highlight": {"tags": ["<b>", "\ud800"]}}, "/highlight/tags", "highlight_tags", None),
    (
        {"highlight": {"tags": ["<b>", "</b>"], "format": "ranges"}},
        "/highlight/tags",
        "highlight_tags",
        'highlight: tags belong to the format "html"',
    ),
    ({"facets": {"field": "kind"}}, "/facets", "wrong_type", "facets: expected a list of field names and objects, found an object"),
    ({"facets": ["kind", 3]}, "/facets/1", "wrong_type", "facets: expected a field's name or an object, found 3"),
    ({"facets": [""]}, "/facets/0", "facets_syntax", "facets, column 1: expected a field's name"),
    (
        {"facets": [{"fild": "kind"}]},
        "/facets/0",
        "unknown_key",
        'facets: there is no key "fild" in a facet; did you mean "field"?',
    ),
    ({"facets": [{"limit": 3}]}, "/facets/0", "wrong_type", "facets: expected a field's name at field, found none"),
    (
        {"facets": [{"field": "kind", "limit": True}]},
        "/facets/0",
        "out_of_range",
        "facets: expected an integer from 1 to 1000 (MAX_FACET_VALUES) at limit, found true",
    ),
    (
        {"facets": [{"field": "kind", "exclude": "yes"}]},
        "/facets/0",
        "wrong_type",
        'facets: expected true or false at exclude, found "yes"',
    ),
    (
        {"facets": [{"field": "year", "kind": "histogram"}]},
        "/facets/0",
        "unknown_value",
        'facets: expected "terms", "ranges" or "stats" as kind, found "histogram"',
    ),
    (
        {"facets": [{"field": "year", "kind": "ranges"}]},
        "/facets/0",
        "facet_ranges",
        'facets: expected a list of ranges for "year", found none',
    ),
    (
        {"facets": [{"field": "year", "ranges": [{"low": 1}]}]},
        "/facets/0",
        "facet_ranges",
        'facets: expected a range as {"from": low, "to": high} for "year", found an object',
    ),
    (
        {"facets": [{"field": "year", "ranges": [{"from": None}]}]},
        "/facets/0",
        "facet_ranges",
        'facets: a range of "year" has neither end; expected one at least',
    ),
    ({"facets": [{"field": "year", "ranges": [{"from": 1.5}]}]}, "/facets/0", "facet_ranges", None),
    ({"facets": [{"field": "price", "ranges": [{"from": 10**400}]}]}, "/facets/0", "facet_ranges", None),
    ({"facets": [{"field": "published", "ranges": [{"to": "soon"}]}]}, "/facets/0", "facet_ranges", None),
    ({"facets": [{"field": "summary"}]}, "/facets/0", "no_values", None),
]


@pytest.mark.parametrize(
    ("body", "pointer", "code", "detail"), BAD_POST, ids=[f"{p}-{c}-{i}" for i, (_, p, c, _) in enumerate(BAD_POST)]
)
def test_refused_in_json(body, pointer, code, detail):
    """The error has a JSON Pointer into the body."""
    ((found_pointer, found_code, found_detail),) = faults(post, body)
    assert (found_pointer, found_code) == (pointer, code)
    assert detail is None or found_detail == detail
    assert found_detail.encode()


def test_all_faults_at_once():
    """Everything that is wrong with a request is told, each with its place."""
    found = faults(get, "q=kind:x&filter=a&limit=x&sort=nope&facets=kind(stats),zzz&colour=red")
    assert [pointer for pointer, _, _ in found] == ["colour", "q", "filter", "facets", "sort", "limit"]
    found = faults(post, {"facets": [3, "kind", {"field": "zzz"}], "fields": ["name", "zzz", 1]})
    assert {pointer for pointer, _, _ in found} == {"/facets/0", "/facets/2", "/fields/1", "/fields/2"}


def test_faults_are_capped():
    """A request that is wrong in thousands of places is answered soon, and shortly."""
    assert len(faults(post, {f"unknown-{n}": n for n in range(10_000)})) == 20
    assert len(faults(post, {"fields": [f"unknown-{n}" for n in range(500)], "sort": [1] * 400})) == 20
    assert faults(post, {"fields": ["name"] * 501}) == [
        ("/fields", "too_many_names", "fields: expected at most 500 names, as an index has fields, found 501")
    ]
    ((pointer, _, detail),) = faults(post, {"x" * 1_000_000: 1})
    assert len(pointer) + len(detail) < 300


def test_unknown_field_lists_a_few():
    """Where no known name is near and there are few, all are told."""
    info = replace(INFO, fields={name: INFO.fields[name] for name in ("id", "kind")})
    assert faults(get, "sort=zzz", info) == [
        ("sort", "unknown_field", 'sort: there is no field "zzz" in this index; there are: id, kind')
    ]


def test_caps_on_facets():
    """Too many facets or ranges name their limit."""
    limits = Limits(max_facets=2, max_facet_ranges=2)
    assert get("facets=kind,tags", limits=limits).facets == (Facet("kind"), Facet("tags"))
    ((_, code, detail),) = faults(get, "facets=kind,tags,year", limits=limits)
    assert (code, detail) == ("too_many_facets", "facets: expected at most 2 (MAX_FACETS), found more")
    ((_, code, detail),) = faults(get, "facets=year(ranges: 1..2, 2..3, 3..4)", limits=limits)
    assert (code, detail) == ("too_many_ranges", 'facets: expected at most 2 ranges (MAX_FACET_RANGES) for "year", found 3')


# ---------------------------------------------------------------------------------------------------------- cursors


def test_cursor_goes_on():
    """The values and plan of a cursor come into the request."""
    first = get("q=json&sort=-year&limit=3")
    token = cursor.encode((2020, "id-1"), first, INFO, "plan")
    request = get(f"q=json&sort=-year&limit=5&cursor={token}")
    assert request == replace(first, page=Page(5, 0, (2020, "id-1")), plan="plan")
    assert post({"q": "json", "sort": "-year", "limit": 5, "cursor": token, "offset": 0}) == request


def test_cursor_of_another_search():
    """A cursor with another q is refused, in JSON with its pointer."""
    token = cursor.encode((2020, "id-1"), get("q=json&sort=-year"), INFO)
    ((pointer, code, _),) = faults(post, {"q": "xml", "sort": "-year", "cursor": token})
    assert (pointer, code) == ("/cursor", "cursor_mismatch")


def test_cursor_in_order_of_relevance():
    """Without sort a cursor needs the engine's capability, but not where q only excludes or is empty."""
    able = Capabilities("other", relevance_cursor=True)
    first = get("q=json")
    token = cursor.encode(("a moment", 1.5, "id-1"), first, INFO)
    page = get(f"q=json&cursor={token}", capabilities=able).page
    assert page.after == ("a moment", 1.5, "id-1") and page.walk and get("q=json&cursor=*", capabilities=able).page.walk
    assert [code for _, code, _ in faults(get, f"q=json&cursor={token}")] == ["unsupported_cursor"]
    for q in ("", "-json"):
        token = cursor.encode(("id-1",), get(f"q={q}"), INFO)
        assert get(f"q={q}&cursor={token}").page.after == ("id-1",)


# ---------------------------------------------------------------------------------------------------------- suggest


def suggest(query: str) -> SuggestRequest:
    return suggest_from_args(parse_qs(query, keep_blank_values=True), INFO)


def test_suggest():
    """q, field and limit, with their defaults."""
    assert suggest("") == SuggestRequest("", None, 8)
    assert suggest("q=js+&field=name&limit=50") == SuggestRequest("js ", "name", 50)


@pytest.mark.parametrize(
    ("query", "pointer", "code"),
    [
        ("filter=x", "filter", "unknown_parameter"),
        ("field=kind", "field", "not_a_text_field"),
        ("field=nme", "field", "unknown_field"),
        ("limit=0", "limit", "wrong_value"),
        ("limit=51", "limit", "wrong_value"),
        (f"q={'x' * 1001}", "q", "query_too_long"),
    ],
)
def test_suggest_refused(query, pointer, code):
    """Suggestions check their parameters alike."""
    assert [(p, c) for p, c, _ in faults(suggest, query)] == [(pointer, code)]


# ------------------------------------------------------------------------------------------------------- properties

NAMES = st.one_of(st.sampled_from([*SEARCH_PARAMETERS, "field"]), st.text(max_size=5))
TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [*INFO.fields, "kind(", "year(ranges: 1..", "..", "true", "html", "1", "-1", "\ud800", "kind = a", "relax", "-year,name"]
    ),
    st.text(alphabet="kindyear(),:.. 12;-limtsruxc", max_size=40),
)
JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(
            st.sampled_from(["field", "kind", "limit", "ranges", "exclude", "from", "to", "fields", "format", "tags", "\ud800"]),
            inner,
        ),
    ),
    max_leaves=8,
)


def only_invalid(call, *args) -> None:
    try:
        call(*args)
    except Invalid as error:
        assert error.errors
        for fault in error.errors:
            (fault.pointer + fault.code + fault.detail).encode()  # can be sent


@given(st.dictionaries(NAMES, st.lists(TEXTS, max_size=2), max_size=6))
def test_any_query_string(args):
    """Whatever a query string holds, it makes a request or raises Invalid with errors that can be sent."""
    only_invalid(search_from_args, args, INFO, EMBEDDED)
    only_invalid(suggest_from_args, args, INFO)


@given(st.dictionaries(NAMES, JSON, max_size=6))
def test_any_json(body):
    """Whatever a body holds, it makes a request or raises Invalid with errors that can be sent."""
    only_invalid(search_from_json, body, INFO, EMBEDDED)


# ------------------------------------------------------------------------------------------------------------- docs

DOCS = (ROOT / "docs/query.md").read_text()


def examples(label: str) -> list[str]:
    found = re.findall(rf"^```{label}\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)
    assert found
    return [found_line for block in found for found_line in block.splitlines()]


@pytest.mark.parametrize("line", examples("filter"))
def test_documented_filters(line):
    """Every filter in the docs parses."""
    parse_filter(line, INFO)


@pytest.mark.parametrize("line", examples("q"))
def test_documented_q(line):
    """Every q in the docs parses to something."""
    assert not parse_text(line, INFO).is_empty


@pytest.mark.parametrize("line", examples("facets"))
def test_documented_facets(line):
    """Every list of facets in the docs is read."""
    assert search_from_args({"facets": [line]}, INFO, EMBEDDED).facets


def test_documented_json():
    """Every JSON body in the docs is a search."""
    blocks = re.findall(r"^```json\n(.*?)^```$", DOCS, re.DOTALL | re.MULTILINE)
    assert len(blocks) == 2
    assert [bool(post(orjson.loads(block))) for block in blocks] == [True, True]


def test_documented_parameters_and_limits():
    """The table has every parameter, and the figures are those of the defaults."""
    rows = re.findall(r"^\| `(\w+)` \|", DOCS, re.MULTILINE)
    assert rows == SEARCH_PARAMETERS
    limits = Limits()
    for number, phrase in [
        (limits.max_query_length, "{:,} characters, and"),
        (limits.max_clauses, "{} words and phrases"),
        (limits.max_filter_length, "{:,} characters, 200"),
        (limits.max_filter_nodes, "{} conditions"),
        (limits.max_filter_depth, "{} levels"),
        (limits.max_in_values, "{:,} values in a list"),
        (limits.max_sort_fields, "At most {} fields"),
        (limits.max_page, "at most {:,}"),
        (limits.max_snippet_length, "at most {:,} | 0"),
        (limits.max_timeout_ms, "1 to {:,}"),
        (limits.max_suggestions, "1 to {}"),
    ]:
        assert phrase.format(number) in DOCS
