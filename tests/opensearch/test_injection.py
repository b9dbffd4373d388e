"""Hostile text in every parameter that takes text: OpenSearch answers what the embedded engine does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.engines import open_engine, open_worker
from tests.http.conftest import API
from tests.keys import admin_key
from tests.opensearch import server
from tests.opensearch.hostile import STRINGS

pytestmark = pytest.mark.slow


FIELDS = {
    "kind": {"type": "keyword"},
    "out": {"type": "date"},
    "year": {"type": "integer"},
    "price": {"type": "float"},
    "new": {"type": "boolean"},
}
BOOKS = [
    {"id": "a", "title": "The art of parsing", "kind": "guide", "year": 2001, "out": "2020-05-31T10:00:00Z", "tags": ["a", "b"]},
    {
        "id": "b",
        "title": "Parsing for all, a guide",
        "kind": "guide",
        "year": 2010,
        "price": 9.5,
        "new": True,
        "a": {"b": "nested"},
    },
    {"id": "c", "title": "Cooking with fire", "kind": "recipe", "year": 2020, "new": False, "tags": ["*", "{}"]},
    {"id": "1", "title": "one 1 x * ? ~", "kind": "*", "year": -1},
    {"id": "*", "title": "All that is: *:*", "kind": '{"match_all":{}}'},
]
ITSELF = [{"id": f"h{n}", "title": text, "kind": text, "year": n} for n, text in enumerate(STRINGS)]


@contextlib.contextmanager
def serving(folder: Path, engine_url: str) -> Iterator[API]:
    unlimited = {"rate_limit_per_ip": "off", "rate_limit_per_key": "off", "rate_limit_bad_keys": "off"}
    times = {"wait_timeout_ms": 60_000, "default_timeout_ms": 30_000, "max_timeout_ms": 60_000}
    settings = Settings(data_dir=folder, engine_url=engine_url, max_page=1000, log_level="ERROR", **unlimited, **times)
    engine, system = open_engine(settings)
    stop, app = threading.Event(), create_app(settings, engine, system)
    worker = threading.Thread(target=open_worker(settings).run, args=(stop,))
    worker.start()
    try:
        api = API(app.test_client(), admin_key(folder, system))
        api.post("/v1/indexes", json={"name": "books", "settings": {"fields": FIELDS}})
        for start in range(0, len(ITSELF), 100):
            api.post("/v1/indexes/books/documents", json=ITSELF[start : start + 100])
        api.post("/v1/indexes/books/documents?refresh=wait_for", json=BOOKS)
        yield api
    finally:
        stop.set()
        worker.join(60)
        engine.close()


@pytest.fixture(scope="module")
def both(tmp_path_factory, opensearch_node) -> Iterator[tuple[API, API]]:
    """(embedded, OpenSearch), with the same documents: the hostile strings among them."""
    folders = tmp_path_factory.mktemp("embedded"), tmp_path_factory.mktemp("opensearch")
    with server.prefixed(opensearch_node) as url, serving(folders[0], "embedded:") as one, serving(folders[1], url) as other:
        yield one, other


Asked = Callable[[str], tuple[str, str, dict[str, Any]]]
ROOT = "/v1/indexes/books"


def literal(text: str) -> str:
    """As the filter language writes it."""
    return orjson.dumps(text).decode()


def get(path: str, **parameters: str) -> tuple[str, str, dict[str, Any]]:
    return "GET", path, {"query_string": parameters}


def post(path: str, body: Any) -> tuple[str, str, dict[str, Any]]:
    return "POST", path, {"data": orjson.dumps(body), "content_type": "application/json"}


PLACES: dict[str, Asked] = {
    "q": lambda s: get(f"{ROOT}/search", q=s, limit="1000", facets="kind(limit: 1000)"),
    "q, posted": lambda s: post(f"{ROOT}/search", {"q": s, "limit": 1000, "highlight": ["title"]}),
    "q, any word": lambda s: get(f"{ROOT}/search", q=s, limit="1000", match="any"),
    "q, all words, no typos": lambda s: get(f"{ROOT}/search", q=s, limit="1000", match="all", typo="false"),
    "filter": lambda s: get(f"{ROOT}/search", filter=s, limit="1000", sort="id"),
    "filter =": lambda s: get(f"{ROOT}/search", filter=f"kind = {literal(s)}", limit="1000", sort="id"),
    "filter != of text": lambda s: get(f"{ROOT}/search", filter=f"title != {literal(s)}", limit="5", sort="id"),
    "filter IN": lambda s: get(f"{ROOT}/search", filter=f'kind IN [{literal(s)}, "guide"]', limit="1000", sort="id"),
    "filter STARTS WITH": lambda s: get(f"{ROOT}/search", filter=f"kind STARTS WITH {literal(s)}", limit="1000", sort="id"),
    "filter STARTS WITH of text": lambda s: get(
        f"{ROOT}/search", filter=f"title STARTS WITH {literal(s)}", limit="1000", sort="id"
    ),
    "filter range": lambda s: get(f"{ROOT}/search", filter=f"kind >= {literal(s)}", limit="1000", sort="id"),
    "filter, another type": lambda s: get(f"{ROOT}/search", filter=f"year = {literal(s)}", limit="1000", sort="id"),
    "filter EXISTS": lambda s: get(f"{ROOT}/search", filter=f"EXISTS {s}", limit="1000", sort="id"),
    "facets": lambda s: get(f"{ROOT}/search", facets=s, limit="0"),
    "facets, posted": lambda s: post(f"{ROOT}/search", {"facets": {s: {}}, "limit": 0}),
    "facets, of ranges": lambda s: get(f"{ROOT}/search", facets=f"year(ranges: {s})", limit="0"),
    "sort": lambda s: get(f"{ROOT}/search", sort=s, limit="1000"),
    "sort, descending": lambda s: get(f"{ROOT}/search", sort=f"-{s}", limit="1000"),
    "fields": lambda s: get(f"{ROOT}/search", fields=s, limit="5", sort="id"),
    "highlight": lambda s: get(f"{ROOT}/search", q="parsing", highlight=s, limit="1000"),
    "cursor": lambda s: get(f"{ROOT}/search", cursor=s, sort="id"),
    "limit": lambda s: get(f"{ROOT}/search", limit=s, sort="id"),
    "timeout_ms": lambda s: get(f"{ROOT}/search", timeout_ms=s, sort="id", limit="1"),
    "a parameter's name": lambda s: get(f"{ROOT}/search", **{s: "x"}),
    "suggest": lambda s: get(f"{ROOT}/suggest", q=s),
    "suggest, fields": lambda s: get(f"{ROOT}/suggest", q="pars", fields=s),
    "a document's id": lambda s: get(f"{ROOT}/documents/{quote(s, safe='')}"),
    "an id to delete": lambda s: ("DELETE", f"{ROOT}/documents/nothing-{quote(s, safe='')}", {}),
    "documents after": lambda s: get(f"{ROOT}/documents", after=s, limit="3"),
    "delete by filter": lambda s: (
        "DELETE",
        f"{ROOT}/documents",
        {"query_string": {"filter": f"year = 9999999 AND kind = {literal(s)}"}},
    ),
    "an index's name": lambda s: get(f"/v1/indexes/{quote(s, safe='')}/search", q="parsing"),
    "an alias's name": lambda s: ("PUT", f"/v1/aliases/{quote(s, safe='')}", {"json": {"index": "nothing"}}),
    "an alias's index": lambda s: (
        "PUT",
        "/v1/aliases/elsewhere",
        {"data": orjson.dumps({"index": s}), "content_type": "application/json"},
    ),
    "a task's id": lambda s: get(f"/v1/tasks/{quote(s, safe='')}"),
    "tasks of an index": lambda s: get("/v1/tasks", index=s),
    "a key's id": lambda s: get(f"/v1/keys/{quote(s, safe='')}"),
}


def answer(api: API, asked: tuple[str, str, dict[str, Any]]) -> Any:
    """(status, body) without what differs from one request to the next, hits of a search by relevance in the order of their ids."""
    method, path, rest = asked
    response = api.raw(method, path, **rest)
    if response.mimetype not in ("application/json", "application/problem+json"):
        return response.status_code, response.data
    body = orjson.loads(response.data)
    for member in ("request_id", "took_ms", "seq", "next", "version", "created_at"):
        if isinstance(body, dict):
            body.pop(member, None)
    if isinstance(body, dict) and "hits" in body:
        if "sort" not in rest.get("query_string", {}):
            body["hits"].sort(key=lambda hit: hit["id"])
        body["hits"] = [{name: hit[name] for name in ("id", "document", "highlights") if name in hit} for hit in body["hits"]]
    if isinstance(body, dict) and "id" in body and "status" in body and "kind" in body:  # a task: its id and times are its own
        body = {"kind": body["kind"]}
    return response.status_code, body


def compared(both: tuple[API, API], ask: Asked, strings: list[str]) -> None:
    told, statuses = [], set()
    for text in strings:
        expected, found = (answer(api, ask(text)) for api in both)
        assert expected[0] < 500, (text, expected)
        statuses.add(expected[0])
        if expected != found:
            told.append(f"{text[:80]!r}: {difference(expected, found)}")
    assert not told, f"{len(told)} of {len(strings)} differ\n" + "\n".join(told[:12])
    assert statuses


def difference(expected: Any, found: Any) -> str:
    if expected[0] == found[0] and isinstance(expected[1], dict) and isinstance(found[1], dict):
        members = [name for name in expected[1] | found[1] if expected[1].get(name) != found[1].get(name)]
        return "; ".join(f"{name}: {str(expected[1].get(name))[:300]} and {str(found[1].get(name))[:300]}" for name in members)
    return f"{str(expected)[:400]} and {str(found)[:400]}"


@pytest.mark.parametrize("place", list(PLACES))
def test_both_engines_answer_the_same(both, place):
    """Status, ids, totals, facets, suggestions, and what is told of an error."""
    strings = [text for text in STRINGS if not (place == "cursor" and text == "*")]  # which is a capability
    compared(both, PLACES[place], strings)


def test_as_what_is_kept(both):
    """As an id, a field's name and a value of a document: both keep it, or refuse it in the same words, and give it back."""
    written = {
        "an id": lambda s: ("PUT", f"{ROOT}/documents/{quote(s, safe='')}", {"json": {"title": "kept"}}),
        "a value": lambda s: (
            "PUT",
            f"{ROOT}/documents/value",
            {"data": orjson.dumps({"title": s, "kind": s}), "content_type": "application/json"},
        ),
        "an id in a batch": lambda s: post(f"{ROOT}/documents", [{"id": s, "title": "kept in a batch"}]),
        "read": lambda s: get(f"{ROOT}/documents/{quote(s, safe='')}"),
        "deleted": lambda s: ("DELETE", f"{ROOT}/documents/{quote(s, safe='')}", {}),
    }
    for ask in written.values():
        compared(both, ask, [text for text in STRINGS if text not in ("a", "b", "c", "1", "*")])
    compared(both, lambda s: post("/v1/indexes/named/documents", [{"id": s, s: "x"}]), STRINGS[:150])


def test_as_settings(both):
    """As a name, a language, a stop word, a synonym, a primary key."""
    for body in (
        lambda s: {"name": s},
        lambda s: {"name": "made", "settings": {"primary_key": s}},
        lambda s: {"name": "made", "settings": {"language": s}},
        lambda s: {"name": "made", "settings": {"fields": {s: {"type": "text"}}}},
        lambda s: {"name": "made", "settings": {"stop_words": [s], "synonyms": [[s, "parsing"]]}},
    ):
        for text in STRINGS[::3]:
            expected, found = (answer(api, post("/v1/indexes", body(text))) for api in both)
            assert expected == found, (text, difference(expected, found))
            if expected[0] == 201:
                for api in both:
                    api.delete(f"/v1/indexes/{body(text)['name']}")
