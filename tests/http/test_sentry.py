"""What Sentry hears, against a server that keeps it; and that it can be wrong, down or slow without anybody noticing."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import SimpleNamespace

import pytest
import sentry_sdk

from searchapi import __version__, logs, sentry
from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase
from searchapi.keystore import SCOPES, KeyStore
from searchapi.model import SearchAnswer
from tests.keys import CREATED
from tests.ports import free_port
from tests.sentryserver import KEY, Sentry

from .conftest import API

SECRET = "an unguessable secret of the tests 0123456789"
SEARCH = "/v1/indexes/books/search"
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTYifQ.dozjgNryP4J3jVmNHl0w5N"  # pragma: allowlist secret


@pytest.fixture
def server() -> Iterator[Sentry]:
    with Sentry() as server:
        yield server


@pytest.fixture
def api_of(tmp_path) -> Iterator[Callable[..., API]]:
    """`api_of(sentry_dsn=…)`: an application whose searches are `api.searches.search`. Afterwards nothing is reported any more."""
    system = SystemDatabase(tmp_path)
    engine = EmbeddedEngine(tmp_path, system)
    off = {"rate_limit_per_key": "off", "rate_limit_per_ip": "off"}

    def make(**values) -> API:
        settings = Settings(**{"environment": "staging", "secret_key": SECRET, "data_dir": tmp_path, **off, **values})
        app = create_app(settings, engine, system)
        key, text = KeyStore(SECRET.encode(), system).create(SCOPES, ("*",), CREATED)
        api = API(app.test_client(), text)
        api.key_id = key.id
        api.searches = SimpleNamespace(search=lambda info, asked: SearchAnswer((), 0, True, {}, (), None, None, 20.0))
        app.extensions["searchapi"] = replace(app.extensions["searchapi"], search=api.searches)
        if not engine.names():
            api.post("/v1/indexes", json={"name": "books"})
        return api

    yield make
    close()
    engine.close()


def close() -> float:
    """Stop as at the end of the process; the seconds it took."""
    start = time.perf_counter()
    sentry_sdk.get_client().close()
    took = time.perf_counter() - start
    sentry_sdk.get_global_scope().set_client(None)
    logs.configure(Settings())
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, logs.Lines)]
    for name in ("urllib3", "sentry_sdk"):
        logging.getLogger(name).setLevel(logging.NOTSET)
    return took


def crash(info, asked):
    local = f"local-{asked.q}"
    raise RuntimeError(f"a mistake of ours, with {SECRET} and {JWT} and {len(local)}")


def test_a_crash(api_of, server):
    """The event has the exception, where it was, release, environment, request, key, route and index; no secret and no words."""
    api = api_of(sentry_dsn=server.dsn, release="shop-7", redis_url="")
    api.searches.search = crash
    problem = api.get(f"{SEARCH}?q=private", fails=500, headers={"Cookie": "c=cookie-value", "User-Agent": "agent-value"})
    (event,) = server.wait("event")
    (error,) = event["exception"]["values"]
    assert error["type"] == "RuntimeError" and error["value"].startswith("a mistake of ours, with [redacted] and [redacted]")
    assert error["stacktrace"]["frames"][-1]["function"] == "crash"
    assert not any("vars" in frame for frame in error["stacktrace"]["frames"])
    assert (event["release"], event["environment"], event["level"]) == ("shop-7", "staging", "error")
    assert event["user"] == {"id": api.key_id}
    assert event["transaction"] == "GET /v1/indexes/<segment:index>/search"
    assert event["tags"] == {
        "request_id": problem["request_id"],
        "route": "/v1/indexes/<segment:index>/search",
        "index": "books",
    }
    assert "request" not in event and not event.get("breadcrumbs", {}).get("values")
    for secret in (SECRET, JWT, KEY, api.key[16:], "private", "cookie-value", "agent-value"):
        assert secret not in json.dumps(event), secret


def test_what_is_no_error(api_of, server):
    """Nothing is sent for what is refused or goes well, nor twice for one exception; the release is the version by default."""
    api = api_of(sentry_dsn=server.dsn)
    api.get(f"{SEARCH}?q=x")
    api.get("/v1/indexes/none", fails=404)
    api.get(f"{SEARCH}?colour=red", fails=422)
    api.raw("GET", "/v1/indexes", headers={"Authorization": "Bearer none"})
    logging.getLogger("searchapi.test").warning("only a warning")
    error = RuntimeError("once")
    for name in ("searchapi.test", "gunicorn.error"):
        logging.getLogger(name).error("failed", exc_info=error)
    logging.getLogger("searchapi.engines.embedded.indexer").error("indexing failed: %s", "full", extra={"folder": "uid"})
    first, second = server.wait("event", 2)
    time.sleep(0.2)
    assert len(server.items("event")) == 2 and server.items("transaction") == []
    assert first["release"] == __version__ and "user" not in first and "tags" not in first
    assert second["logentry"]["formatted"] == "indexing failed: full" and second["extra"] == {"folder": "uid"}


def test_a_loop_of_crashes(api_of, server):
    """What fails again and again is sent at most PER_MINUTE times a minute."""
    api = api_of(sentry_dsn=server.dsn)
    api.searches.search = crash
    for _ in range(sentry.PER_MINUTE + 20):
        api.get(f"{SEARCH}?q=x", fails=500)
    server.wait("event", sentry.PER_MINUTE - 1)
    sentry_sdk.get_client().flush(5)
    assert len(server.items("event")) <= 2 * sentry.PER_MINUTE  # a minute may have ended meanwhile


def test_limit(monkeypatch):
    """The cap is one of each minute."""
    now = 0.0
    monkeypatch.setattr(sentry.time, "monotonic", lambda: now)
    send = sentry._limited(2, lambda event, hint: event)
    sent = []
    for now in (100.0, 110.0, 119.9, 120.1, 130.0, 140.0, 300.0):  # noqa: B007
        sent.append(send({}, {}) is not None)
    assert sent == [True, True, False, True, True, False, True]


def test_traces(api_of, server, monkeypatch):
    """A sampled request is a transaction named by its route, with the engine's time in it; the others are none."""
    draws = iter([0.9, 0.9, 0.2, 0.25, 0.1])  # the first is that of making the index
    monkeypatch.setattr(sentry.random, "random", draws.__next__)
    api = api_of(sentry_dsn=server.dsn, sentry_traces=0.25)
    api.get(f"{SEARCH}?q=private")
    id = api.raw("GET", f"{SEARCH}?q=private").headers["X-Request-ID"]
    api.get(f"{SEARCH}?q=private")
    with api.raw("GET", "/v1/indexes/books/export", buffered=False) as response:
        assert response.status_code == 200
    search, export = server.wait("transaction", 2)
    assert search["transaction"] == "GET /v1/indexes/<segment:index>/search"
    assert search["contexts"]["trace"]["op"] == "http.server" and search["contexts"]["trace"]["status"] == "ok"
    assert search["tags"]["request_id"] == id and search["tags"]["index"] == "books"
    (span,) = search["spans"]
    assert span["op"] == "db" and round(span_ms(span)) == 20
    assert export["transaction"].endswith("/export")
    header = json.loads(server.raw[0].split(b"\n")[0])
    assert float(header["trace"]["sample_rate"]) == 0.25 and header["trace"]["environment"] == "staging"
    assert len(server.items("transaction")) == 2 and b"private" not in b"".join(server.raw)


def span_ms(span: dict) -> float:
    start, end = (time.strptime(span[name][:19], "%Y-%m-%dT%H:%M:%S") for name in ("start_timestamp", "timestamp"))
    fraction = [float(f"0.{span[name][20:].rstrip('Z')}") for name in ("start_timestamp", "timestamp")]
    return ((time.mktime(end) + fraction[1]) - (time.mktime(start) + fraction[0])) * 1000


RARER = [pytest.param(fault, marks=pytest.mark.slow) for fault in ("no such host", "400", "403", "429", "redirect")]


@pytest.mark.parametrize("fault", ["down", "hangs", "500", *RARER])
def test_a_dsn_that_does_not_answer(api_of, server, capfd, fault):
    """No request fails or waits, there is one line at most, and the end is not held up by more than two seconds."""
    server.hangs, server.status = fault == "hangs", {"redirect": 302}.get(fault) or (int(fault) if fault.isdigit() else 200)
    dsn = {"down": f"http://{KEY}@127.0.0.1:{free_port()}/42", "no such host": f"http://{KEY}@nowhere.invalid/42"}
    api = api_of(sentry_dsn=dsn.get(fault, server.dsn), sentry_traces=1)
    api.searches.search = crash
    capfd.readouterr()
    slowest = 0.0
    for _ in range(10):
        start = time.perf_counter()
        api.get(f"{SEARCH}?q=x", fails=500)
        slowest = max(slowest, time.perf_counter() - start)
    took = close()
    written = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    others = [line for line in written if line["logger"] not in ("searchapi.request", "searchapi.problems")]
    print(f"{fault}: slowest request {slowest * 1000:.1f} ms, closing took {took:.2f} s, said {others}")
    assert slowest < 1 and took < sentry.SHUTDOWN + 1
    assert len(others) <= 1 and all("Sentry does not take events" in line["message"] for line in others)


@pytest.mark.parametrize("dsn", ["http://key@host/", "http://key@host/project", "http://key@host:port/1", "http://key@:80/1"])
def test_a_dsn_that_is_none(api_of, capfd, dsn):
    """One line says so, and everything else goes on; the line does not show it."""
    api = api_of(sentry_dsn=dsn, sentry_traces=1)
    api.searches.search = crash
    api.get(f"{SEARCH}?q=x", fails=500)
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    (warning,) = [line for line in lines if line["logger"] == "searchapi.sentry"]
    assert warning["message"].startswith("SENTRY_DSN cannot be used")


def test_without_a_dsn(api_of, monkeypatch):
    """Nothing is set up, whatever the environment says."""
    monkeypatch.setenv("SENTRY_DSN", "http://key@127.0.0.1/1")
    api = api_of(sentry_dsn="", sentry_traces=1)
    assert not sentry_sdk.get_client().is_active()
    api.get(f"{SEARCH}?q=x")
