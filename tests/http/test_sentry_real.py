"""Real processes, as systemd starts them, whose stderr is journald's: each line in its form, and what they report to Sentry."""

from __future__ import annotations

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from searchapi import keytext
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase
from searchapi.keystore import SCOPES, KeyStore
from searchapi.schema import parse_settings
from tests.keys import CREATED
from tests.ports import free_port
from tests.sentryserver import Sentry, eventually

pytestmark = pytest.mark.slow

CHECKOUT = Path(__file__).resolve().parents[2]
SECRET_KEY = "an unguessable secret of the tests 0123456789"
OTHER = keytext.written("4fJ0aZ71Qw2x", "plantedKEY0123456789ABCDEFGHIJKL")


class Process:
    """A process of ours whose stderr is a file that it takes for journald's."""

    def __init__(self, folder: Path, *arguments: str, **settings: str):
        self.log = folder / "log"
        with self.log.open("w") as stderr:
            stat = os.fstat(stderr.fileno())
            kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
            mine = {"JOURNAL_STREAM": f"{stat.st_dev}:{stat.st_ino}", "PYTHONPATH": str(CHECKOUT)}
            self.process = subprocess.Popen(
                [sys.executable, "-m", *arguments], cwd=folder, env={**kept, **mine, **settings}, stderr=stderr, stdout=stderr
            )

    def lines(self) -> list[tuple[int, dict]]:
        """(priority, line). Fails where something else was written."""
        found = []
        for text in self.log.read_text().splitlines():
            match = re.fullmatch(r"<([0-7])>(\{.*\})", text)
            assert match, text
            found.append((int(match[1]), json.loads(match[2])))
        return found

    def said(self, text: str) -> list[tuple[int, dict]]:
        return [(priority, line) for priority, line in self.lines() if text in line.get("message", "")]

    def stop(self) -> float:
        """The seconds that it took after SIGTERM."""
        start = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)
        return time.monotonic() - start


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    with Sentry() as sentry:
        yield sentry


@pytest.fixture
def key(tmp_path: Path) -> str:
    """A key, and an index `books` for it."""
    system = SystemDatabase(tmp_path / "data")
    engine = EmbeddedEngine(tmp_path / "data", system)
    text = KeyStore(SECRET_KEY.encode(), system).create(SCOPES, ("*",), CREATED)[1]
    engine.create_index("books", parse_settings({}))
    engine.close()
    return text


@pytest.fixture
def start(tmp_path: Path, sentry: Sentry) -> Iterator:
    """`start("gunicorn", …)` in production, with Sentry."""
    running = []

    def start(*arguments: str, **settings: str) -> Process:
        mine = {"ENVIRONMENT": "production", "SECRET_KEY": SECRET_KEY, "DATA_DIR": str(tmp_path / "data"), "SENTRY_DSN": sentry.dsn}
        running.append(Process(tmp_path, *arguments, **mine, RELEASE="shop-7", **settings))
        return running[-1]

    yield start
    for process in running:
        if process.process.poll() is None:
            process.process.kill()
            process.process.wait(60)


def get(port: int, path: str, key: str) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request("GET", path, headers={"Authorization": f"Bearer {key}", "Cookie": "c=planted-cookie"})
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    except OSError:
        return 0, {}
    finally:
        connection.close()


def test_a_server(start, key, sentry):
    """Gunicorn's lines and ours are JSON with priorities, from the start to the end; a crash is reported; no secret is anywhere."""
    port = free_port()
    planted = {"CRASH_WITH": f"{OTHER} {SECRET_KEY}"}
    server = start("gunicorn", "-c", "python:searchapi.gunicorn_conf", "tests.crashing:app", PORT=str(port), **planted)
    eventually(lambda: get(port, "/health", key)[0] == 200, "the server to answer")
    assert get(port, "/v1/indexes/books", key)[0] == 200
    assert get(port, f"/v1/indexes/{OTHER}", key)[0] == 404
    status, problem = get(port, "/v1/indexes/books/search?q=planted-query", key)
    assert status == 500
    (event,) = sentry.wait("event")
    assert (event["release"], event["environment"], event["user"]) == ("shop-7", "production", {"id": key[3:15]})
    assert event["tags"] == {
        "request_id": problem["request_id"],
        "route": "/v1/indexes/<segment:index>/search",
        "index": "books",
    }
    assert event["exception"]["values"][0]["value"] == "a mistake of ours, with sk_4fJ0aZ71Qw2x_[redacted] [redacted]"

    lines = server.lines()
    requests = [(priority, line["status"], line["path"]) for priority, line in lines if line["logger"] == "searchapi.request"]
    assert (6, 404, "/v1/indexes/sk_4fJ0aZ71Qw2x_[redacted]") in requests and (3, 500, "/v1/indexes/books/search") in requests
    (crash,) = [(p, line) for p, line in lines if line.get("request_id") == problem["request_id"] and "traceback" in line]
    assert crash[0] == 3 and "RuntimeError: a mistake of ours" in crash[1]["traceback"]

    booted = server.said("Booting worker")
    assert {priority for priority, _ in booted} == {6} and len(booted) == 2
    os.kill(int(booted[0][1]["message"].rpartition(" ")[2]), signal.SIGKILL)
    eventually(lambda: len(server.said("Booting worker")) == 3, "another worker")
    assert [priority for priority, _ in server.said("SIGKILL")] == [3]
    assert {line["logger"] for _, line in server.lines()} <= {"gunicorn.error", "searchapi.request", "searchapi.problems"}

    sentry.hangs = True
    get(port, "/v1/indexes/books/search?q=x", key)
    took = server.stop()
    print(f"stopping with a Sentry that hangs took {took:.1f} s")
    assert took < 20 and server.process.returncode == 0
    everything = server.log.read_text() + b"".join(sentry.raw).decode()
    for secret in (key[16:], OTHER[16:], SECRET_KEY, "planted-query", "planted-cookie"):
        assert secret not in everything


def test_a_server_that_cannot_start(start, tmp_path):
    """Why it cannot is a line of its own with a high priority, also where no worker can be."""
    server = start("gunicorn", "-c", "python:searchapi.gunicorn_conf", "searchapi.wsgi:app", REQUIRE_KEYS="false")
    server.process.wait(60)
    assert server.log.read_text().startswith("<2>searchapi cannot start: REQUIRE_KEYS")
    (tmp_path / "data").write_text("no folder")
    server = start("gunicorn", "-c", "python:searchapi.gunicorn_conf", "searchapi.wsgi:app", PORT=str(free_port()))
    server.process.wait(60)
    assert {priority for priority, _ in server.said("cannot start")} == {2}
    assert server.process.returncode  # 4, or 1 where a second worker fails while Gunicorn halts for the first


def test_an_indexer(start, key, sentry, tmp_path):
    """What the indexer logs as an error is reported, without a request."""
    (documents,) = (tmp_path / "data").glob("indexes/*/documents.db")
    for path in documents.parent.glob("documents.db*"):
        path.unlink()
    documents.write_bytes(b"no database" * 1000)
    indexer = start("searchapi", "indexer")
    event = sentry.wait("event")[0]
    assert event["logger"] == "searchapi.engines.embedded.indexer" and "user" not in event and event["release"] == "shop-7"
    priority, line = next((p, line) for p, line in indexer.lines() if line["level"] == "error")
    assert priority == 3 and line["message"] == event["logentry"]["formatted"]
    assert indexer.stop() < 20
