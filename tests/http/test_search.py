"""Searching over HTTP: the answer's shape, pages, facets, highlights, suggestions."""

from __future__ import annotations

import pytest

from searchapi import serialise
from searchapi.model import Correction, Facet, FacetResult, Field, IndexInfo, IndexSettings, SearchAnswer, SearchRequest


def ids(answer: dict) -> list[str]:
    return [hit["id"] for hit in answer["hits"]]


def search(api, path: str, **query):
    return api.get(f"{path}/search", query_string=query)


def test_shape(api, library):
    """An answer has its hits with whole documents, totals and the time; nothing that was not asked for."""
    answer = search(api, library, q="parsing")
    assert set(answer) == {"hits", "total", "total_exact", "took_ms"}
    assert sorted(ids(answer)) == ["a", "b"] and answer["total"] == 2 and answer["total_exact"] is True
    hit = answer["hits"][0]
    assert set(hit) == {"id", "document"}
    assert hit["document"] == api.get(f"{library}/documents/{hit['id']}")
    assert answer["took_ms"] > 0


def test_everything(api, library):
    """Without q everything matches, in the order of ids."""
    assert ids(search(api, library)) == ["a", "b", "c"]


def test_filter_and_sort(api, library):
    """A filter narrows, sort orders, fields choose."""
    answer = search(api, library, filter='kind = "guide" AND year > 1999', sort="-year", fields="year")
    assert [hit["document"] for hit in answer["hits"]] == [{"year": 2010}, {"year": 2001}]
    assert ids(search(api, library, filter='out >= "2021-01-01"')) == ["b", "c"]


def test_post_is_the_same(api, library):
    """POST takes the same in JSON."""
    got = search(api, library, q="parsing", filter="year > 2001", facets="kind", limit=5)
    posted = api.post(f"{library}/search", json={"q": "parsing", "filter": "year > 2001", "facets": ["kind"], "limit": 5})
    assert {**got, "took_ms": 0} == {**posted, "took_ms": 0}


def test_facets(api, library):
    """Counts of values, ranges and dates, and figures."""
    facets = search(api, library, facets="kind,year(ranges: ..2005, 2005..),out")["facets"]
    assert facets["kind"] == {"values": [{"value": "guide", "count": 2}, {"value": "recipe", "count": 1}], "other": 0, "missing": 0}
    assert [(r["from"], r["to"], r["count"]) for r in facets["year"]["values"]] == [(None, 2005, 1), (2005, None, 2)]
    assert {"value": "2020-05-31T10:00:00Z", "count": 1} in facets["out"]["values"]
    stats = search(api, library, facets="year(stats),out(stats)")["facets"]
    assert (stats["year"]["min"], stats["year"]["max"], stats["year"]["count"]) == (2001, 2020, 3)
    assert (stats["out"]["min"], stats["out"]["max"]) == ("2020-05-31T10:00:00Z", "2022-05-31T10:00:00Z")
    assert "sum" not in stats["out"]


def test_highlights(api, library):
    """Ranges in code points, or marked text that is safe in HTML."""
    answer = search(api, library, q="cooking", highlight="title")
    assert answer["hits"][0]["highlights"] == {"title": {"text": "Cooking with fire", "ranges": [[0, 7]]}}
    answer = search(api, library, q="cooking", highlight="title", highlight_format="html")
    assert answer["hits"][0]["highlights"]["title"]["html"] == "<em>Cooking</em> with fire"


def test_highlighted_arrays(api, books):
    """An array's highlights are a list."""
    api.post(f"{books}/documents?refresh=wait_for", json=[{"id": "d", "notes": ["green apple", "red apple"]}])
    marks = search(api, books, q="apple", highlight="notes")["hits"][0]["highlights"]["notes"]
    assert [mark["text"] for mark in marks] == ["green apple", "red apple"] and marks[1]["ranges"] == [[4, 9]]


def test_corrections(api, library):
    """A typo is corrected, and the answer says so."""
    answer = search(api, library, q="cookign fire")
    assert ids(answer)[0] == "c"
    assert answer["corrections"] == [{"word": "cookign", "to": ["cooking"]}]
    assert "corrections" not in search(api, library, q="cookign", typo="false")


def test_explain(api, library):
    """Explaining adds something to each hit."""
    assert all(hit["explain"] for hit in search(api, library, q="parsing", explain="true")["hits"])


def follow(api, path: str, **query) -> list[str]:
    """The ids of every page, by its `next` links."""
    answer = search(api, path, **query)
    seen = ids(answer)
    while "next" in answer:
        answer = api.get(answer["next"])
        assert ids(answer), "a link led to an empty page"
        seen += ids(answer)
    return seen


@pytest.fixture
def many(api, name):
    """60 documents in twos and threes: more than a page may be deep here (MAX_PAGE is 50)."""
    path = f"/v1/indexes/{name}"
    for start in (0, 30):
        body = [{"id": f"n/{n:02}", "title": "same & same", "group": n % 7, "even": n % 2 == 0} for n in range(start, start + 30)]
        assert api.post(f"{path}/documents?refresh=wait_for", json=body)["refreshed"]
    return path


def test_links_by_cursor(api, many):
    """`next` leads through every document once, past the cap on offsets, in the order asked for."""
    wanted = [f"n/{n:02}" for n in sorted(range(60), key=lambda n: (-(n % 7), n))]
    assert follow(api, many, sort="-group", limit=7) == wanted
    assert follow(api, many, sort="-group", limit=7, filter="even = true AND group >= 0") == [
        i for i in wanted if int(i[2:]) % 2 == 0
    ]
    assert follow(api, many, limit=9) == [f"n/{n:02}" for n in range(60)]


def test_links_by_offset(api, many):
    """In order of relevance pages go by offset, up to the cap."""
    seen = follow(api, many, q="same & same", limit=9)
    assert len(seen) == len(set(seen)) and len(seen) >= 45
    api.get(f"{many}/search?limit=10&offset=41", fails=422, code="page_too_deep")


def test_next_body(api, many):
    """A POST's `next` is the body of the next request."""
    body, seen = {"sort": ["group"], "limit": 25, "fields": ["group"], "offset": 1}, []
    while body:
        answer = api.post(f"{many}/search", json=body)
        seen += ids(answer)
        body = answer.get("next")
        assert body is None or "offset" not in body
    assert seen == [f"n/{n:02}" for n in sorted(range(60), key=lambda n: (n % 7, n))][1:]


def test_next_link_keeps_the_rest():
    """Of the query string only offset and cursor are replaced, however they are written."""
    answer = SearchAnswer((), 9, True, {}, (), 4, None, 0.0)
    assert serialise.next_link(answer, "/p", "q=a%26b&off%73et=2&&limit=2") == "/p?q=a%26b&limit=2&offset=4"
    assert serialise.next_link(answer, "/p", "") == "/p?offset=4"
    cursor = SearchAnswer((), 9, True, {}, (), 4, "a+b/c=", 0.0)
    assert serialise.next_link(cursor, "/p", "cursor=x&q=1") == "/p?q=1&cursor=a%2Bb%2Fc%3D"


def test_partial_and_unasked():
    """A partial answer says so; facets and corrections appear in the documented form."""
    info = IndexInfo("x", "u", "2024-01-01T00:00:00Z", IndexSettings(), {"n": Field("n", "integer")}, 1)
    asked = SearchRequest(facets=(Facet("n", kind="stats"),))
    empty = {"n": FacetResult("stats", stats={"min": None, "max": None, "avg": None, "sum": 0, "count": 0}, missing=3)}
    answer = SearchAnswer((), 0, False, empty, (Correction("a", ("b", "c")),), None, None, 0.0, partial=True)
    text = serialise.search(answer, asked, info, None, 1.234)
    assert b'"partial":true' in text and b'"corrections":[{"word":"a","to":["b","c"]}]' in text and b'"took_ms":1.23' in text
    assert b'"facets":{"n":{"min":null,"max":null,"avg":null,"sum":0,"count":0,"missing":3}}' in text


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ("filter=year+%3E", "filter"),
        ("filter=yeer+%3D+1", "filter"),
        ("sort=nope", "sort"),
        ("limit=x", "limit"),
        ("limit=51", "limit"),
        ("facets=nope", "facets"),
        ("match=some", "match"),
        ("cursor=rubbish", "cursor"),
        ("highlight=year", "highlight"),
        ("timeout_ms=0", "timeout_ms"),
        ("q=" + "x" * 1001, "q"),
    ],
)
def test_bad_searches(api, library, query, pointer):
    """What is wrong is named by its parameter; in JSON by its pointer."""
    body = api.get(f"{library}/search?{query}", fails=422)
    assert body["errors"][0]["pointer"] == pointer


def test_bad_posts(api, library):
    """A POST that cannot be read, is no object, or holds what is unknown."""
    assert api.post(f"{library}/search", json={"limit": "x"}, fails=422)["errors"][0]["pointer"] == "/limit"
    assert "filter" in api.post(f"{library}/search", json={"fliter": "x"}, fails=422)["detail"]
    api.post(f"{library}/search", json=[], fails=422, code="not_an_object")
    api.post(f"{library}/search", data="{", content_type="application/json", fails=400, code="unreadable")
    api.post(f"{library}/search", data="{}", fails=415)
    api.post(f"{library}/search?q=x", json={}, fails=422, code="unknown_parameter")


def test_suggest(api, library):
    """Completions of the last word, with how many documents hold it."""
    answer = api.get(f"{library}/suggest?q=pars")
    assert answer["suggestions"][0]["text"] == "parsing" and answer["suggestions"][0]["count"] == 2
    assert answer["corrections"] == []
    assert len(api.get(f"{library}/suggest?q=c&limit=1")["suggestions"]) <= 1
    api.get(f"{library}/suggest?q=c&limit=x", fails=422)
    api.get(f"{library}/suggest?q=c&field=year", fails=422)


@pytest.mark.parametrize("route", ["search", "suggest?q=x"])
def test_a_get_with_a_body_is_refused(api, library, route):
    """A body that a GET would ignore is an error that says where it belongs."""
    error = api.get(f"{library}/{route}", json={"q": "chair"}, fails=400)
    assert error["code"] == "unexpected_body" and "POST" in error["detail"]
