"""What is logged: a line a request, in the form of its reader."""

from __future__ import annotations

import json
import logging
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from searchapi import logs
from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase
from searchapi.model import SearchAnswer


@pytest.fixture
def client_of(tmp_path):
    """A client of an application with some settings and a search service that finds one thing; and the root logger put back."""
    system = SystemDatabase(tmp_path)
    engine = EmbeddedEngine(tmp_path, system)

    def make(**values):
        app = create_app(Settings(data_dir=tmp_path, **values), engine, system)
        found = SimpleNamespace(search=lambda info, asked: SearchAnswer((), 0, True, {}, (), None, None, 1.5))
        services = app.extensions["searchapi"]
        app.extensions["searchapi"] = type(services)(services.settings, engine, system, found, services.limits)
        client = app.test_client()
        client.post("/v1/indexes", json={"name": "books"})
        return client

    yield make
    logs.configure(Settings())
    engine.close()


PRODUCTION = Settings(environment="production")


def lines(capfd) -> list[str]:
    """What was written to stderr since."""
    return capfd.readouterr().err.splitlines()


@pytest.fixture
def journald(capfd, monkeypatch):
    """Stderr is journald's."""
    stderr = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stderr.st_dev}:{stderr.st_ino}")


def test_a_line_a_request(client_of, capfd, journald):
    """Method, route, status, bytes, times, index, hits, and a hash of what was searched for."""
    client = client_of()
    lines(capfd)
    response = client.get("/v1/indexes/books/search?q=secret+words", headers={"X-Request-ID": "trace-0001"})
    (text,) = lines(capfd)
    assert text.startswith("<6>{")
    line = json.loads(text[3:])
    assert line["request_id"] == "trace-0001" and line["level"] == "info" and line["time"].endswith("Z")
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/indexes/<segment:index>/search", 200)
    assert line["path"] == "/v1/indexes/books/search" and line["bytes"] == len(response.data)
    assert (line["index"], line["hits"], line["engine_ms"]) == ("books", 0, 1.5) and line["ms"] > 0
    assert len(line["q"]) == 12 and "secret" not in text


def test_queries_in_clear(client_of, capfd, journald):
    """LOG_QUERIES=clear writes the words, for those who want that."""
    client = client_of(log_queries="clear")
    lines(capfd)
    client.get("/v1/indexes/books/search?q=secret+words%0A")
    (text,) = lines(capfd)
    assert json.loads(text[3:])["q"] == "secret words\n"


def test_production_is_json(client_of, capfd, monkeypatch):
    """Without journald there is no priority; a refused request has its line too."""
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    client = client_of(environment="production")
    lines(capfd)
    client.get("/v1/indexes")
    (text,) = lines(capfd)
    assert json.loads(text)["status"] == 401


def test_for_people(client_of, capfd):
    """In development a line is short."""
    client = client_of()
    lines(capfd)
    client.get("/v1/indexes/books/search?q=secret")
    client.get("/v1/indexes/books/documents/a%2Fb%0A")
    first, second = lines(capfd)
    assert first.split(" ", 1)[1].startswith("GET /v1/indexes/books/search 200 ") and first.endswith(" ms 0 hits")
    assert "documents/a%2Fb%0A 404" in second


def test_streams_are_logged_when_they_end(client_of, capfd):
    """An export's line comes when its last byte was read."""
    client = client_of()
    client.post("/v1/indexes/books/documents", json=[{"id": 1}])
    lines(capfd)
    response = client.get("/v1/indexes/books/export", buffered=False)
    assert lines(capfd) == []
    assert response.data == b'{"id":"1"}\n'
    response.close()
    (text,) = lines(capfd)
    assert "/export 200" in text


def test_log_level(client_of, capfd):
    """LOG_LEVEL=error writes no line for what went well."""
    client = client_of(log_level="error")
    lines(capfd)
    client.get("/health")
    assert lines(capfd) == []


def test_stderr_that_is_closed(client_of, monkeypatch):
    """A line that cannot be written does not fail its request."""

    def closed(fd, data):
        raise BrokenPipeError

    client = client_of()
    monkeypatch.setattr(logs.os, "write", closed)
    assert client.get("/health").status_code == 200


def record(level: int, message: str, *arguments, **extra) -> logging.LogRecord:
    made = logging.LogRecord("searchapi", level, "", 0, message, arguments, None)
    vars(made).update(extra)
    return made


def test_journald(journald, monkeypatch):
    """Under journald a line begins with its priority; not where stderr was sent elsewhere."""
    full = record(logging.WARNING, "disk %s", "full")
    for settings in (PRODUCTION, Settings()):
        text = logs.formatter(settings).format(full)
        assert text.startswith("<4>{") and json.loads(text[3:])["message"] == "disk full"
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    assert logs.formatter(PRODUCTION).format(full).startswith("{")
    assert logs.formatter(Settings()).format(full).endswith("warning: disk full")


def test_extra_facts():
    """What a module adds to its line is in it, whatever its type."""
    line = json.loads(logs.JSONLines(prefix=False).format(record(logging.INFO, "built", index="x", folder=Path("/a"), huge=2**70)))
    assert (line["index"], line["folder"], line["huge"], line["message"]) == ("x", "/a", 2**70, "built")
    assert json.loads(logs.JSONLines(prefix=False).format(record(logging.INFO, "bad \ud800")))["message"] == "bad \ud800"


def test_tracebacks_stay_short():
    """A runaway recursion is logged in some forty frames, on one line of JSON."""

    def fall():
        fall()

    try:
        fall()
    except RecursionError:
        record = logging.LogRecord("searchapi", logging.ERROR, "", 0, "failed", (), sys.exc_info())
    text = logs.JSONLines(prefix=False).format(record)
    assert "\n" not in text and "RecursionError" in text and len(text) < 20_000
    assert "RecursionError" in logs.ForPeople().format(record)


def test_levels():
    """LOG_LEVEL is the least severe level that is written; configuring twice does not write twice."""
    before = len(logging.getLogger().handlers)
    try:
        logs.configure(Settings(log_level="error"))
        logs.configure(Settings(log_level="error"))
        assert len(logging.getLogger().handlers) <= before + 1
        assert not logging.getLogger("searchapi.request").isEnabledFor(logging.INFO)
    finally:
        logs.configure(Settings())
