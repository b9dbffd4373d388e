"""One application a module over a real engine, with an indexer beside it, and a client that checks every answer.

The modules in ON_BOTH run a second time, over OpenSearch: the same requests, the same answers. That run is marked `slow`, and a
test of how the embedded engine keeps things takes the fixture `embedded_only`.
"""

from __future__ import annotations

import io
import itertools
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import Headers
from werkzeug.test import TestResponse

from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.engines import open_engine, open_worker
from searchapi.engines.base import Engine, SystemStore
from tests.keys import admin_key
from tests.opensearch import server

ON_BOTH = {
    "test_bodies",
    "test_document",
    "test_documents",
    "test_health",
    "test_hostile",
    "test_idempotency",
    "test_indexes",
    "test_keys",
    "test_scopes",
    "test_search",
}

_names = itertools.count()
_MEMBERS = {"type", "title", "status", "detail", "code", "request_id"}


def assert_problem(response: TestResponse, status: int, code: str | None = None) -> dict:
    """The one shape of every error; answers its body."""
    assert response.status_code == status, response.get_data(as_text=True)
    assert response.mimetype == "application/problem+json"
    body = response.get_json()
    assert _MEMBERS <= set(body) <= _MEMBERS | {"errors"}
    assert body["status"] == status
    assert body["type"] == f"urn:searchapi:problem:{body['code']}"
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", body["code"])
    assert body["title"] and body["detail"]
    assert "Traceback" not in body["detail"] and "sqlite" not in body["detail"].lower()
    assert body["request_id"] == response.headers["X-Request-ID"]
    for error in body.get("errors", []):
        assert {"pointer", "code", "detail"} <= set(error)
    if status in (401, 405, 503):
        assert {401: "WWW-Authenticate", 405: "Allow", 503: "Retry-After"}[status] in response.headers
    if code:
        codes = {body["code"], *(error["code"] for error in body.get("errors", []))}
        assert code in codes, body
    return body


def chunked(pieces) -> dict:
    """Arguments for a request whose body has no known length."""
    stream = {"wsgi.input": _Stream(pieces), "wsgi.input_terminated": True}
    return {"headers": {"Transfer-Encoding": "chunked"}, "environ_overrides": stream}


class _Stream(io.RawIOBase):
    """What such a body looks like to WSGI."""

    def __init__(self, pieces):
        super().__init__()
        self.pieces, self.left = pieces, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while len(self.left) < len(buffer) and (piece := next(self.pieces, None)):
            self.left += piece
        out, self.left = self.left[: len(buffer)], self.left[len(buffer) :]
        buffer[: len(out)] = out
        return len(out)


@dataclass
class API:
    """`api.get("/health")` answers the decoded body of a 2xx; `api.get(path, fails=404)` the problem. key: sent with every request
    that brings no Authorization of its own."""

    client: FlaskClient
    key: str | None = None

    def call(self, method: str, path: str, *, fails: int = 0, code: str | None = None, status: int = 0, **rest):
        response = self.raw(method, path, **rest)
        if fails:
            return assert_problem(response, fails, code)
        assert response.status_code == status if status else response.status_code < 300, response.get_data(as_text=True)
        return orjson.loads(response.data) if response.mimetype == "application/json" else response.data

    def raw(self, method: str, path: str, **rest) -> TestResponse:
        headers = Headers(rest.pop("headers", None))
        if self.key and "Authorization" not in headers:
            headers["Authorization"] = f"Bearer {self.key}"
        response = self.client.open(path, method=method, headers=headers, **rest)
        assert ("Content-Type" in response.headers) == (response.status_code not in (204, 304))
        assert re.fullmatch(r"[A-Za-z0-9._-]{8,64}", response.headers["X-Request-ID"])
        return response

    def get(self, path: str, **rest):
        return self.call("GET", path, **rest)

    def post(self, path: str, **rest):
        return self.call("POST", path, **rest)

    def put(self, path: str, **rest):
        return self.call("PUT", path, **rest)

    def patch(self, path: str, **rest):
        return self.call("PATCH", path, **rest)

    def delete(self, path: str, **rest):
        return self.call("DELETE", path, **rest)

    def lines(self, path: str, text: str | bytes, **rest):
        return self.post(path, data=text, content_type="application/x-ndjson", **rest)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("data")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "engine_name" in metafunc.fixturenames:
        both = metafunc.module.__name__.rpartition(".")[2] in ON_BOTH and "embedded_only" not in metafunc.fixturenames
        second = [pytest.param("opensearch", marks=pytest.mark.slow)] if both else []
        metafunc.parametrize("engine_name", ["embedded", *second], indirect=True, scope="module")


@pytest.fixture(scope="module")
def engine_name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def embedded_only() -> None:
    """Taken by a test that looks behind the port."""


@pytest.fixture(scope="module")
def engine_url(request: pytest.FixtureRequest, engine_name: str) -> Iterator[str]:
    """An ENGINE_URL, where nothing is kept yet."""
    if engine_name == "embedded":
        yield "embedded:"
        return
    with server.prefixed(request.getfixturevalue("opensearch_node")) as url:
        yield url


@pytest.fixture(scope="module")
def settings(data_dir: Path, engine_url: str) -> Settings:
    small = {"max_document_bytes": 10_000, "max_body_bytes": 200_000, "max_documents": 50, "max_page": 50}
    unlimited = {"rate_limit_per_ip": "off", "rate_limit_per_key": "off", "rate_limit_bad_keys": "off"}
    times = {"wait_timeout_ms": 25_000, "default_timeout_ms": 10_000}
    return Settings(data_dir=data_dir, engine_url=engine_url, **small, **unlimited, **times)


@pytest.fixture(scope="module")
def app(settings: Settings) -> Iterator[Flask]:
    """The application and an indexer thread on the same data."""
    engine, system = open_engine(settings)
    stop = threading.Event()
    made = create_app(settings, engine, system)  # before the thread: where this fails nothing would end it
    thread = threading.Thread(target=open_worker(settings).run, args=(stop,))
    thread.start()
    made.config["ADMIN_KEY"] = admin_key(settings.data_dir, system)
    yield made
    stop.set()
    thread.join(30)
    engine.close()


@pytest.fixture
def engine(app: Flask) -> Engine:
    """The application's."""
    return app.extensions["searchapi"].engine


@pytest.fixture
def system(app: Flask) -> SystemStore:
    return app.extensions["searchapi"].system


@pytest.fixture
def api(app: Flask) -> API:
    return admin(app)


def admin(app: Flask) -> API:
    """A client that may do everything."""
    return API(app.test_client(), app.config["ADMIN_KEY"])


@pytest.fixture
def name() -> str:
    """A name that no index has yet."""
    return f"index-{next(_names)}"


BOOKS = [
    {"id": "a", "title": "The art of parsing", "kind": "guide", "year": 2001, "out": "2020-05-31T10:00:00Z"},
    {"id": "b", "title": "Parsing for all", "kind": "guide", "year": 2010, "out": "2021-05-31T10:00:00Z"},
    {"id": "c", "title": "Cooking with fire", "kind": "recipe", "year": 2020, "out": "2022-05-31T10:00:00Z"},
]


def filled(api: API, name: str) -> str:
    """The path of a new index with three documents that searches see."""
    fields = {"out": {"type": "date"}, "kind": {"type": "keyword"}}
    api.post("/v1/indexes", json={"name": name, "settings": {"fields": fields}})
    answer = api.post(f"/v1/indexes/{name}/documents?refresh=wait_for", json=BOOKS)
    assert (answer["accepted"], answer["refreshed"]) == (3, True)
    return f"/v1/indexes/{name}"


@pytest.fixture
def books(api: API, name: str) -> str:
    """An index of the test's own, for those that write."""
    return filled(api, name)


@pytest.fixture(scope="module")
def library(app: Flask) -> str:
    """The same for those that only read."""
    return filled(admin(app), "library")


@pytest.fixture(scope="module")
def shelf(app: Flask) -> str:
    """An index that is never searched: several tests write to it, each its own documents."""
    admin(app).post("/v1/indexes", json={"name": "shelf"})
    return "/v1/indexes/shelf"
