"""The line of a request: what is in it, when it is written, what a client can do to it."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from searchapi import logs, requestlog
from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase
from searchapi.exceptions import EngineUnavailable
from searchapi.keystore import SCOPES, KeyStore
from searchapi.model import SearchAnswer
from tests.keys import CREATED

from .conftest import API, BOOKS, chunked

SECRET = "an unguessable secret of the tests 0123456789"
ROUTE = "/v1/indexes/<segment:index>"


@pytest.fixture
def api_of(tmp_path, capfd) -> Iterator[Callable[..., API]]:
    """`api_of(log_sample=0.1)`: an application in production with an index `books`. A search finds nothing, in 1.5 ms; what it
    should do instead is `api.searches.search`."""
    system = SystemDatabase(tmp_path)
    engine = EmbeddedEngine(tmp_path, system)
    off = {"rate_limit_per_key": "off", "rate_limit_per_ip": "off", "rate_limit_bad_keys": "off"}

    def make(**values) -> API:
        settings = Settings(**{"environment": "production", "secret_key": SECRET, "data_dir": tmp_path, **off, **values})
        app = create_app(settings, engine, system)
        key, text = KeyStore(settings.secret_key.encode(), system).create(SCOPES, ("*",), CREATED)
        api = API(app.test_client(), text)
        api.key_id = key.id
        api.searches = SimpleNamespace(search=lambda info, asked: SearchAnswer((), 0, True, {}, (), None, None, 1.5))
        app.extensions["searchapi"] = replace(app.extensions["searchapi"], search=api.searches)
        if not engine.names():
            api.post("/v1/indexes", json={"name": "books", "settings": {"fields": {"year": {"type": "integer"}}}})
            api.post("/v1/indexes/books/documents", json=BOOKS)
            api.put("/v1/aliases/latest", json={"index": "books"})
        capfd.readouterr()
        return api

    yield make
    logs.configure(Settings())
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, logs.Lines)]
    engine.close()


def lines(capfd) -> list[dict]:
    """What was logged since."""
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def line(capfd) -> dict:
    (only,) = lines(capfd)
    return only


def test_members(api_of, capfd):
    """All of them, of a search; nothing of the filter."""
    api = api_of()
    path = "/v1/indexes/latest/search"
    response = api.raw("GET", f"{path}?q=secret+words&filter=year%3E1999", headers={"X-Request-ID": "trace-0001"})
    found = line(capfd)
    assert found.pop("time").endswith("Z") and found.pop("ms") > 0 and len(found.pop("q")) == 12
    assert found == {
        "level": "info",
        "logger": "searchapi.request",
        "request_id": "trace-0001",
        "method": "GET",
        "route": f"{ROUTE}/search",
        "path": path,
        "index": "latest",
        "key": api.key_id,
        "hits": 0,
        "engine_ms": 1.5,
        "status": 200,
        "bytes": len(response.data),
    }


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/documents", [{"id": "x"}], 200, None),
        ("POST", "/documents", [{"id": None}], 422, "nothing_accepted"),
        ("PUT", "/documents/x", {"year": "no year"}, 422, "invalid"),
        ("PATCH", "/documents/a", {"year": 1}, 200, None),
        ("GET", "/documents/none", None, 404, "document_not_found"),
        ("GET", "/search?q=x&colour=red", None, 422, "invalid"),
        ("PATCH", "/settings", {"fields": 1}, 422, "invalid"),
        ("TRACE", "/search", None, 405, "method_not_allowed"),
        ("GET", "/nothing/here", None, 404, "no_such_address"),
    ],
)
def test_writes_and_refusals(api_of, capfd, method, path, body, status, code):
    """Each has its index, its code where it failed, and the bytes of its body that were read."""
    api = api_of()
    data = json.dumps(body).encode() if body is not None else None
    response = api.raw(method, f"/v1/indexes/books{path}", data=data, content_type="application/json" if body is not None else None)
    found = line(capfd)
    assert (found["status"], found.get("code"), found["bytes"]) == (status, code, len(response.data))
    assert found.get("index") == ("books" if status != 405 and code != "no_such_address" else None)
    assert found.get("body") == (len(data) if data is not None else None)
    assert found["level"] == "info" and "address" not in found


def test_bodies_of_unknown_length(api_of, capfd):
    """A chunked body is counted as it is read."""
    api = api_of()
    pieces = [b'{"id": "%d"}\n' % i for i in range(100)]
    api.post("/v1/indexes/books/documents", content_type="application/x-ndjson", **chunked(iter(pieces)))
    assert line(capfd)["body"] == sum(map(len, pieces))


def test_who_is_refused(api_of, capfd):
    """Of a request that may not be, the address is logged as well, and the key's id where the key is one of ours."""
    api = api_of(proxy_hops=1)
    forwarded = {"X-Forwarded-For": "203.0.113.7"}
    api.raw("GET", "/v1/indexes", headers={**forwarded, "Authorization": "Bearer sk_nonsense"})
    api.raw("GET", "/health", headers=forwarded)
    api.raw("GET", "/v1/indexes", headers=forwarded)
    refused, open_to_all, permitted = [found for found in lines(capfd) if found["logger"] == "searchapi.request"]
    assert (refused["status"], refused["code"], refused["address"]) == (401, "invalid_key", "203.0.113.7")
    assert "address" not in open_to_all and "address" not in permitted
    assert permitted["key"] == api.key_id and "key" not in refused


def test_levels(api_of, capfd):
    """5xx is an error, 503 a warning, all else a piece of information; LOG_LEVEL holds for these lines too."""
    api = api_of(log_level="warning")

    def crash(info, asked):
        raise RuntimeError("a mistake of ours")

    def away(info, asked):
        raise EngineUnavailable("away")

    api.get("/health")
    api.get("/v1/indexes/none", fails=404)
    assert lines(capfd) == []
    api.searches.search = crash
    id = api.get("/v1/indexes/books/search?q=x", fails=500)["request_id"]
    record, request = lines(capfd)
    assert (record["level"], record["request_id"]) == (request["level"], request["request_id"]) == ("error", id)
    assert "a mistake of ours" in record["traceback"] and request["code"] == "internal_error"
    api.searches.search = away
    api.get("/v1/indexes/books/search?q=x", fails=503)
    assert [(found["level"], found.get("status")) for found in lines(capfd)] == [("warning", None), ("warning", 503)]


def test_q_is_a_keyed_hash(api_of, capfd):
    """The same q has the same hash in every worker, another one under another SECRET_KEY; the hash of q alone is nowhere."""
    api, worker, other = api_of(), api_of(), api_of(secret_key="another secret of the tests 0123456789")
    seen = []
    for asked in (api, worker, other):
        asked.get("/v1/indexes/books/search?q=secret+words")
        asked.post("/v1/indexes/books/search", json={"q": "secret words"})
        asked.get("/v1/indexes/books/search?q=secret+word")
        seen += [found["q"] for found in lines(capfd)]
    assert len(set(seen[0:2] + seen[3:5])) == 1 and len(set(seen)) == 4
    for plain in (hashlib.blake2b(b"secret words", digest_size=6), hashlib.sha256(b"secret words"), hashlib.md5(b"secret words")):
        assert not plain.hexdigest().startswith(seen[0])


def test_q_in_clear(api_of, capfd):
    """LOG_QUERIES=clear writes the words, for those who want that; the filter not even then."""
    api = api_of(log_queries="clear")
    api.get("/v1/indexes/books/search?q=secret+words%0A&filter=year%3E1999")
    text = capfd.readouterr().err
    assert json.loads(text)["q"] == "secret words\n" and "1999" not in text


def test_sampling(api_of, capfd, monkeypatch):
    """LOG_SAMPLE is the share of 2xx that is logged, and is in their lines; all others always are."""
    api = api_of(log_sample=0.25)
    monkeypatch.setattr(requestlog.random, "random", iter([0.2, 0.3, 0.9, 0.0]).__next__)
    for _ in range(4):
        api.get("/health")
        api.get("/v1/indexes/none", fails=404)
    found = lines(capfd)
    assert [f["status"] for f in found] == [200, 404, 404, 404, 200, 404]
    assert [f.get("sample") for f in found if f["status"] == 200] == [0.25, 0.25]
    assert not any("sample" in f for f in found if f["status"] == 404)
    monkeypatch.undo()
    none, every = api_of(log_sample=0), api_of(log_sample=1)
    none.get("/health")
    assert lines(capfd) == []
    every.get("/health")
    assert "sample" not in line(capfd)


def test_streams(api_of, capfd, monkeypatch):
    """An export's line comes when its last byte was read, and says how many there were; whether its reader went, or it broke."""
    api = api_of(log_sample=0)
    monkeypatch.setattr(requestlog.random, "random", lambda: -1.0)
    with api.raw("GET", "/v1/indexes/books/export", buffered=False) as response:
        assert lines(capfd) == []
        size = len(response.data)
    found = line(capfd)
    assert (found["status"], found["bytes"], found["index"]) == (200, size, "books") and not {"aborted", "broken"} & set(found)

    with api.raw("GET", "/v1/indexes/books/export", buffered=False) as response:
        next(response.iter_encoded())
    found = line(capfd)
    assert found["aborted"] is True and 0 < found["bytes"] <= size

    def breaks(name):
        yield from document * 5000
        raise EngineUnavailable("The disk is gone.")

    engine = api.client.application.extensions["searchapi"].engine
    document = list(engine.scan("books"))[:1]
    monkeypatch.setattr(type(engine), "scan", lambda self, name: breaks(name))
    monkeypatch.setattr(requestlog.random, "random", lambda: 2.0)
    with api.raw("GET", "/v1/indexes/books/export", buffered=False) as response, pytest.raises(EngineUnavailable):
        list(response.iter_encoded())
    record, found = lines(capfd)
    assert found["broken"] is True and found["level"] == "error" and "aborted" not in found
    assert record["request_id"] == found["request_id"] and "The disk is gone." in record["traceback"]


def test_head(api_of, capfd):
    """The answer to a HEAD has no bytes, whatever its Content-Length says; also that of a stream."""
    api = api_of()
    api.raw("HEAD", "/v1/indexes/books")
    with api.raw("HEAD", "/v1/indexes/books/export"):
        pass
    assert [(found["method"], found["bytes"], found.get("aborted")) for found in lines(capfd)] == [("HEAD", 0, None)] * 2


@pytest.mark.parametrize("given", ["abcd.EF_g-1", "x" * 8, "x" * 64])
def test_request_ids_that_are_kept(api_of, capfd, given):
    """8 to 64 letters, digits, `.`, `_` and `-`."""
    assert api_of().raw("GET", "/health", headers={"X-Request-ID": given}).headers["X-Request-ID"] == given
    assert line(capfd)["request_id"] == given


@pytest.mark.parametrize(
    "given",
    [
        "",
        "short",
        "x" * 65,
        "x" * 5000,
        'abcdefgh","level":"error',
        "abcdefgh\x7f",
        "abcdefgh\x1b[31m",
        "abcdefgh ijkl",
        "<3>abcdefgh",
        "abcdefgh/..",
        "ünïcödé!",
        "abcdefgh,abcdefgh",
        "abcdefgh\x85",
        "\tabcdefgh",
        "%0aabcdefgh",
        "١٢٣٤٥٦٧٨",
    ],
)
def test_request_ids_that_would_break_a_line(api_of, capfd, given):
    """Another one is made, and nothing of theirs is logged."""
    sent = given.encode().decode("latin-1")
    response = api_of().client.get("/health", environ_overrides={"HTTP_X_REQUEST_ID": sent})
    found = line(capfd)
    assert found["request_id"] == response.headers["X-Request-ID"]
    assert len(found["request_id"]) == 24 and int(found["request_id"], 16) >= 0


@pytest.mark.parametrize("path", ["/v1/a%0A%0D%00b", "/v1/a%1b[31m", "/v1/%C2%85%E2%80%A8", "/v1/%ff", '/v1/"}', "/" + "x" * 8000])
@pytest.mark.parametrize("settings", [{}, {"environment": "development"}])
def test_paths_that_would_break_a_line(api_of, capfd, path, settings):
    """One line, as ASCII, of bounded length; in development too."""
    api_of(**settings).raw("GET", path, query_string="x=%0A<3>")
    text = capfd.readouterr().err
    assert text.count("\n") == 1 and text.endswith("\n") and len(text) < 1500
    assert text[:-1].replace("…", "").isascii() and text[:-1].isprintable()


def test_development(api_of, capfd):
    """A line for a person."""
    api = api_of(environment="development")
    api.get("/v1/indexes/books/search?q=secret")
    api.get("/v1/indexes/books/documents/a%2Fb%0A", fails=404)
    first, second = capfd.readouterr().err.splitlines()
    assert first.split(" ", 1)[1].startswith("GET /v1/indexes/books/search 200 ") and first.endswith(" ms 0 hits")
    assert "documents/a%2Fb%0A 404 document_not_found" in second


def test_journald(api_of, capfd, monkeypatch):
    """Under journald the line of a request begins with its priority."""
    stderr = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stderr.st_dev}:{stderr.st_ino}")
    api = api_of()
    api.searches.search = None
    api.get("/health")
    api.get("/v1/indexes/books/search?q=x", fails=500)
    assert [text[:4] for text in capfd.readouterr().err.splitlines()] == ["<6>{", "<3>{", "<3>{"]


def test_requests_at_once(api_of, capfd):
    """What several threads log at once has the id of its own request; what is logged after one has none."""
    api = api_of()

    def crash(info, asked):
        logging.getLogger("searchapi.test").warning("searching", extra={"asked": asked.q})
        raise RuntimeError(asked.q)

    def ask(word: str) -> None:
        for _ in range(10):
            path = f"/v1/indexes/books/search?q={word}"
            API(api.client.application.test_client(), api.key).get(path, fails=500, headers={"X-Request-ID": f"request-{word}"})

    api.searches.search = crash
    threads = [threading.Thread(target=ask, args=(f"word-{i}",)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    logging.getLogger("searchapi.test").warning("afterwards")
    *found, last = lines(capfd)
    assert len(found) == 4 * 10 * 3 and "request_id" not in last
    for record in found:
        if "asked" in record:
            assert record["request_id"] == f"request-{record['asked']}"
        if "traceback" in record:
            assert f"RuntimeError: {record['request_id'][8:]}" in record["traceback"]


def test_the_docs(api_of, capfd, monkeypatch):
    """docs/logs.md lists the members that lines of requests have, and no others."""
    page = (Path(__file__).resolve().parents[2] / "docs" / "logs.md").read_text()
    documented = set(re.findall(r"^\| `(\w+)` \|", page.partition("| Member |")[2].partition("\n\n")[0], re.MULTILINE))
    monkeypatch.setattr(requestlog.random, "random", lambda: 0.0)
    api = api_of(log_sample=0.5)
    api.get("/v1/indexes/books/search?q=x")
    api.post("/v1/indexes/books/documents", json=BOOKS)
    api.raw("GET", "/v1/indexes", headers={"Authorization": "Bearer none"})
    with api.raw("GET", "/v1/indexes/books/export", buffered=False):
        pass
    found = {member for each in lines(capfd) if each["logger"] == "searchapi.request" for member in each}
    assert found | {"broken", "trace"} == documented


def test_notes_outside_a_request():
    """A note that belongs to no request is none."""
    logs.note(hits=1)
    assert logs.current() is None and logs.request_id() is None
