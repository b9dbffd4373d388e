"""What only shows when something is missing: no indexer, a full disk, settings or a folder that cannot be used."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import searchapi
from searchapi.app import create_app
from searchapi.config import Settings
from searchapi.engines.embedded import EmbeddedEngine
from searchapi.exceptions import DeadlineExceeded, StorageFull
from searchapi.search import SearchService
from tests.keys import admin_key

from .conftest import API, assert_problem, chunked

ROOT = Path(searchapi.__file__).parent.parent


@pytest.fixture
def engine(tmp_path):
    engine = EmbeddedEngine(tmp_path)
    yield engine
    engine.close()


@pytest.fixture
def alone(tmp_path, engine):
    """An application without an indexer, which waits 50 ms."""
    app = create_app(Settings(data_dir=tmp_path, wait_timeout_ms=50), engine, engine.system)
    return API(app.test_client(), admin_key(tmp_path, engine.system))


def test_waiting_is_bounded(alone):
    """Where the index does not catch up in time, the write is kept and the answer says so."""
    path = "/v1/indexes/books/documents"
    assert alone.post(f"{path}?refresh=wait_for", json=[{"id": 1}, {"id": 2}])["refreshed"] is False
    assert alone.put(f"{path}/3?refresh=wait_for", json={}, status=201)["refreshed"] is False
    assert alone.delete(f"{path}/3?refresh=wait_for", status=200)["refreshed"] is False
    task = alone.delete(f"{path}?filter=id=1&refresh=wait_for", status=202)
    assert task["status"] == "queued" and task["finished_at"] is None
    assert alone.get(f"{path}/1") == {"id": "1"}


def test_a_stream_that_turns_out_too_long(tmp_path, engine):
    """A body without a length is cut off at the cap; what was accepted before is kept, and told."""
    app = create_app(Settings(data_dir=tmp_path, max_body_bytes=100_000, max_document_bytes=1000), engine, engine.system)
    lines = (b'{"id": %d, "text": "%b"}\n' % (n, b"x" * 40) for n in range(5000))
    rest = chunked(lines) | {"content_type": "application/x-ndjson"}
    api = API(app.test_client(), admin_key(tmp_path, engine.system))
    body = api.post("/v1/indexes/books/documents", fails=413, code="too_large", **rest)
    assert "1000 documents of this request were accepted" in body["detail"]
    assert engine.stats("books").documents == 1000


def test_full_disk(alone, engine, monkeypatch):
    """A write is refused with 503 and when to come again; reads go on."""
    alone.post("/v1/indexes/books/documents", json=[{"id": 1}])

    def full(*arguments, **more):
        raise StorageFull("The disk is full: nothing was written.")

    monkeypatch.setattr(engine, "write", full)
    for method, path in (("POST", ""), ("PATCH", ""), ("PUT", "/1"), ("PATCH", "/1")):
        response = alone.raw(method, f"/v1/indexes/books/documents{path}", json={"id": 1})
        assert_problem(response, 503, "storage_full")
        assert response.headers["Retry-After"] == "30"
    assert alone.get("/v1/indexes/books/documents/1") == {"id": "1"}


def test_deadline(alone, monkeypatch):
    """A search that takes too long is 503."""

    def slow(self, info, asked):
        raise DeadlineExceeded("The search did not finish within 1000 ms.")

    alone.post("/v1/indexes", json={"name": "books"})
    monkeypatch.setattr(SearchService, "search", slow)
    alone.get("/v1/indexes/books/search", fails=503, code="deadline_exceeded")


def started(module: str, **settings: str) -> subprocess.CompletedProcess:
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **settings}
    return subprocess.run([sys.executable, "-c", f"import {module}"], cwd="/", env=known, capture_output=True, text=True)


def test_a_start_that_cannot_be(tmp_path):
    """One line that says why, and the status at which Gunicorn gives up."""
    (tmp_path / "file").write_text("")
    folder, data = str(tmp_path / "file/data"), str(tmp_path)
    secret = "an unguessable secret of the tests 0123456789"  # without one, it is made there first
    wsgi, conf = "searchapi.wsgi", "searchapi.gunicorn_conf"
    with ThreadPoolExecutor() as at_once:
        no_folder = [at_once.submit(started, wsgi, DATA_DIR=folder, **more) for more in ({}, {"SECRET_KEY": secret})]
        unread = {module: at_once.submit(started, module, DATA_DIR=data, PORT="http") for module in (wsgi, conf)}
        unsafe = {module: at_once.submit(started, module, DATA_DIR=data, HOST="0.0.0.0") for module in (wsgi, conf)}
    for done in (future.result() for future in no_folder):
        [line] = done.stderr.splitlines()
        assert done.returncode == 4 and "searchapi cannot start: " in line
        assert folder in line and "Not a directory" in line
    for module, status in ((wsgi, 4), (conf, 1)):
        done = unread[module].result()
        assert done.returncode == status
        assert done.stderr == "searchapi cannot start: PORT is 'http', but it must be a whole number from 1 to 65535.\n"
        done = unsafe[module].result()
        assert done.returncode == status and "HOST is 0.0.0.0" in done.stderr


def test_gunicorn_settings(tmp_path):
    """What is set for Gunicorn, and no name of its own by accident."""
    code = (
        "import searchapi.gunicorn_conf as c; from gunicorn.config import KNOWN_SETTINGS;"
        "print(sorted(set(vars(c)) & {s.name for s in KNOWN_SETTINGS})); print(c.bind, c.workers, c.threads)"
    )
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), "HOST": "::1", "PORT": "9001", "WORKERS": "3", "THREADS": "5"}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=known, capture_output=True, text=True, check=True)
    names, values = done.stdout.splitlines()
    assert values == f"[::1]:9001 3 {5 + 2 + 2 + 4 * 8 + 4}"
    assert ast.literal_eval(names) == sorted(
        "accesslog bind child_exit control_socket_disable forwarder_headers graceful_timeout keepalive limit_request_line "
        "logconfig_dict on_exit on_starting post_worker_init preload_app threads timeout worker_class worker_exit worker_tmp_dir "
        "workers".split()
    )
