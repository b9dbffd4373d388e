"""Health, and what every answer and every error has in common."""

from __future__ import annotations

import threading
import time

import pytest

from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase
from searchapi.exceptions import EngineUnavailable
from searchapi.model import EngineHealth
from tests.keys import admin_key

from .conftest import API, assert_problem


class Away:
    """An engine that is away: what the real one cannot show on demand."""

    def __init__(self, real):
        self.capabilities = real.capabilities

    def health(self) -> EngineHealth:
        return EngineHealth(False, reason="The engine is away.")

    def rest(self) -> None:
        pass

    def __getattr__(self, method):
        def call(*args, **kwargs):
            raise EngineUnavailable("The engine is away.")

        return call


class Faked:
    """The real engine but for what a test replaces."""

    def __init__(self, real):
        self.real = real

    def __getattr__(self, name):
        return getattr(self.real, name)


class Broken(Away):
    def health(self) -> EngineHealth:
        raise RuntimeError("secret: /var/lib/searchapi/documents.db")


def app_over(tmp_path, kind):
    system = SystemDatabase(tmp_path)
    real = EmbeddedEngine(tmp_path, system)
    app = create_app(Settings(data_dir=tmp_path), kind(real), system)
    return API(app.test_client(), admin_key(tmp_path, system))


def test_alive(api):
    """Liveness says ok, whatever parameters a load balancer adds."""
    assert api.get("/health") == {"status": "ok"}
    assert api.get("/health?probe=1") == {"status": "ok"}


def test_ready(app, api):
    """Readiness says its status only, and with a key for metrics how it is doing. A wrong key changes nothing for a balancer."""
    anybody = API(app.test_client())
    assert anybody.get("/health/ready") == {"status": "ready"}
    for wrong in ("Bearer sk_nothing", "Basic eDp5", "Bearer", ""):
        assert anybody.get("/health/ready", headers={"Authorization": wrong}) == {"status": "ready"}, wrong
    body = api.get("/health/ready")
    assert body["status"] == "ready" and body["engine"]["lag"] == 0 and body["engine"]["lag_seconds"] == 0
    assert body["turns"]["read"] == {"in_flight": 0, "waiting": 0}
    assert body["rate_limits"]["storage"] == "memory"


def test_readiness_is_not_asked_all_the_time(tmp_path):
    """Anybody may ask, and the engine looks at every index: many at once are one look."""

    class Counting(Faked):
        looks = 0

        def health(self):
            type(self).looks += 1
            time.sleep(0.05)
            return self.real.health()

    api = app_over(tmp_path, Counting)
    threads = [threading.Thread(target=API(api.client.application.test_client()).get, args=("/health/ready",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert Counting.looks == 1


def test_engine_figures(api, engine_name, library):
    """The engine's state, latency and documents."""
    body = api.get("/db-health")
    assert (body["status"], body["engine"]) == ("ok", engine_name)
    assert body["latency_ms"] >= 0 and body["documents"] >= 3


def test_engine_away(tmp_path):
    """Liveness does not ask the engine; all else is 503 with Retry-After."""
    api = app_over(tmp_path, Away)
    assert api.get("/health") == {"status": "ok"}
    api.get("/health/ready", fails=503, code="not_ready")
    api.get("/db-health", fails=503, code="engine_unavailable")
    api.get("/v1/indexes/x/search?q=a", fails=503, code="engine_unavailable")
    api.post("/v1/indexes/x/documents", json=[{"id": 1}], fails=503)


def test_unexpected_error(tmp_path):
    """What nobody foresaw is a 500 that tells nothing of the inside."""
    body = app_over(tmp_path, Broken).get("/health/ready", fails=500, code="internal_error")
    assert "secret" not in str(body) and "documents.db" not in str(body)


def test_unknown_address(api):
    """An unknown address is one problem like any other."""
    for path in ("/", "/nope", "/v1", "/v1/", "/v1/indexes/", "/v2/indexes", "/health/", "/v1//indexes", "/v1/indexes/a/nope"):
        api.get(path, fails=404, code="no_such_address")


def test_wrong_method(api):
    """405 names what the address answers, in Allow and in words."""
    response = api.raw("DELETE", "/health")
    body = assert_problem(response, 405, "method_not_allowed")
    assert "GET" in response.headers["Allow"] and "GET" in body["detail"]


@pytest.mark.parametrize("method", ["get", "GET", "post", "put", "patch", "delete"])
def test_unknown_parameter(api, library, method):
    """Every route refuses a parameter it does not know."""
    routes = {
        "get": [
            f"{library}{rest}"
            for rest in ("", "/settings", "/stats", "/documents", "/documents/a", "/export", "/search", "/suggest")
        ],
        "GET": ["/v1/indexes", "/v1/aliases", "/v1/aliases/x", "/v1/tasks", "/v1/tasks/x", "/db-health"],
        "post": ["/v1/indexes", f"{library}/documents", f"{library}/search"],
        "put": [f"{library}/settings", f"{library}/documents/a", "/v1/aliases/x"],
        "patch": [f"{library}/settings", f"{library}/documents", f"{library}/documents/a"],
        "delete": [library, f"{library}/documents", f"{library}/documents/a", "/v1/aliases/x"],
    }
    for path in routes[method]:
        rest = {"json": {}} if method in ("post", "put", "patch") else {}
        body = api.call(method.upper(), f"{path}?refrehs=wait_for", fails=422, **rest)
        assert "refrehs" in body["detail"], (path, body)


def test_suggests_the_nearest_parameter(api, library):
    """A misspelt parameter is answered with the right one."""
    assert "refresh" in api.delete(f"{library}/documents?refrsh=wait_for", fails=422)["detail"]
    assert "filter" in api.get(f"{library}/search?fliter=x", fails=422)["detail"]


def test_repeated_parameter(api, library):
    """A parameter given twice is refused, not guessed at."""
    api.get(f"{library}/documents?limit=1&limit=2", fails=422, code="repeated_parameter")


def test_query_string_that_is_not_utf8(api, library):
    """What cannot be decoded is 400."""
    api.get(f"{library}/documents?cursor=%ff", fails=400, code="unreadable")
    api.get(f"{library}/search?q=%ff", fails=400, code="unreadable")
    api.get(f"{library}/documents?" + "&".join(f"a{n}=1" for n in range(101)), fails=400, code="unreadable")


def test_request_id(api):
    """A given id is kept where it is one; else one is made, new for each request."""
    assert api.raw("GET", "/health", headers={"X-Request-ID": "trace-1234"}).headers["X-Request-ID"] == "trace-1234"
    made = {
        api.raw("GET", "/health", headers={"X-Request-ID": bad}).headers["X-Request-ID"]
        for bad in ("short", "a" * 65, "a b c d e", "é" * 9)
    }
    assert len(made) == 4 and all(len(id) == 24 for id in made)


def test_head_and_options(api, library):
    """HEAD answers the headers of GET; OPTIONS the methods."""
    response = api.raw("HEAD", f"{library}/documents/a")
    assert response.status_code == 200 and response.data == b"" and response.headers["ETag"]
    assert "DELETE" in api.raw("OPTIONS", f"{library}/documents/a").headers["Allow"]
