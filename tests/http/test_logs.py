"""What is logged: a line a request, in the form of its reader."""

from __future__ import annotations

import json
import logging
import os
import sys
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


def lines(caplog, settings: Settings) -> list[str]:
    """The lines of the requests, in the form that these settings give them."""
    form = logs.formatter(settings)
    return [form.format(record) for record in caplog.records if record.name == "searchapi.request"]


PRODUCTION = Settings(environment="production")


def test_a_line_a_request(client_of, caplog):
    """Method, route, status, bytes, times, index, hits, and a hash of what was searched for."""
    client = client_of()
    caplog.clear()
    response = client.get("/v1/indexes/books/search?q=secret+words", headers={"X-Request-ID": "trace-0001"})
    (line,) = [json.loads(line) for line in lines(caplog, PRODUCTION)]
    assert line["request_id"] == "trace-0001" and line["level"] == "info"
    assert (line["method"], line["route"], line["status"]) == ("GET", "/v1/indexes/<segment:index>/search", 200)
    assert line["path"] == "/v1/indexes/books/search" and line["bytes"] == len(response.data)
    assert (line["index"], line["hits"], line["engine_ms"]) == ("books", 0, 1.5) and line["ms"] > 0
    assert len(line["q"]) == 12 and "secret" not in str(line)


def test_queries_in_clear(client_of, caplog):
    """LOG_QUERIES=clear writes the words, for those who want that."""
    client = client_of(log_queries="clear")
    caplog.clear()
    client.get("/v1/indexes/books/search?q=secret+words")
    assert json.loads(lines(caplog, PRODUCTION)[0])["q"] == "secret words"


def test_for_people(client_of, caplog):
    """In development a line is short."""
    client = client_of()
    caplog.clear()
    client.get("/v1/indexes/books/search?q=secret")
    client.get("/v1/indexes/books/documents/a%2Fb%0A")
    first, second = lines(caplog, Settings())
    assert first.split(" ", 1)[1].startswith("GET /v1/indexes/books/search 200 ") and first.endswith(" ms 0 hits")
    assert "documents/a%2Fb%0A 404" in second and "\n" not in second


def test_streams_are_logged_when_they_end(client_of, caplog):
    """An export's line comes when its last byte was read."""
    client = client_of()
    client.post("/v1/indexes/books/documents", json=[{"id": 1}])
    caplog.clear()
    response = client.get("/v1/indexes/books/export", buffered=False)
    assert lines(caplog, PRODUCTION) == []
    assert response.data == b'{"id":1}\n'
    response.close()
    assert json.loads(lines(caplog, PRODUCTION)[0])["status"] == 200


def test_journald(tmp_path, monkeypatch, capfd):
    """Under journald a line begins with its priority; not where stderr was sent elsewhere."""
    record = logging.LogRecord("searchapi", logging.WARNING, "", 0, "disk %s", ("full",), None)
    monkeypatch.setenv("JOURNAL_STREAM", "1:2")
    assert logs.formatter(PRODUCTION).format(record).startswith("{")
    stderr = os.fstat(2)
    monkeypatch.setenv("JOURNAL_STREAM", f"{stderr.st_dev}:{stderr.st_ino}")
    for settings in (PRODUCTION, Settings()):
        text = logs.formatter(settings).format(record)
        assert text.startswith("<4>{") and json.loads(text[3:])["message"] == "disk full"


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
