"""Every example of docs/api.md, run in order against a real Gunicorn, and its answer compared with the one shown."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

import searchapi
from searchapi.engines.embedded.indexer import Indexer
from tests.keys import admin_key, bearer
from tests.ports import free_port

ROOT = Path(searchapi.__file__).parent.parent
_BLOCK = re.compile(r"^```sh\n(.*?)^```\n(?:```json\n(.*?)^```\n)?", re.M | re.S)
PATIENCE = {"WAIT_TIMEOUT_MS": "25000", "DEFAULT_TIMEOUT_MS": "10000"}  # on a busy machine too, the examples answer what they show
_CURL = 'curl() { command curl -sS --fail-with-body "$@" && echo; }\n'

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


@pytest.fixture(scope="module")
def port(data):
    """A Gunicorn of two workers, as in production but for the environment, and an indexer."""
    port = free_port()
    known = {
        "DATA_DIR": str(data),
        "PORT": str(port),
        "WORKERS": "2",
        **PATIENCE,
        "PYTHONPATH": str(ROOT),
        "PATH": os.environ["PATH"],
    }
    log = data.parent / f"{data.name}.log"
    command = [sys.executable, "-m", "gunicorn", "-c", "python:searchapi.gunicorn_conf", "searchapi.wsgi:app"]
    with log.open("wb") as stderr:
        server = subprocess.Popen(command, cwd=data, env=known, stderr=stderr)
    stop = threading.Event()
    indexer = threading.Thread(target=Indexer(data).run, args=(stop,))
    indexer.start()
    try:
        end = time.monotonic() + 60
        while not answers(port):
            assert server.poll() is None and time.monotonic() < end, log.read_text()
            time.sleep(0.05)
        yield port
    finally:
        stop.set()
        indexer.join(30)
        server.terminate()
        assert server.wait(30) == 0, log.read_text()


def assert_like(found, shown, at: str = "") -> None:
    """Equal, but for what is shown as an ellipsis."""
    if shown == "…":
        return
    if isinstance(shown, dict):
        assert isinstance(found, dict) and set(found) == set(shown), f"{at}: {found}"
        for key, value in shown.items():
            assert_like(found[key], value, f"{at}/{key}")
    elif isinstance(shown, list):
        assert isinstance(found, list) and len(found) == len(shown), f"{at}: {found}"
        for position, value in enumerate(shown):
            assert_like(found[position], value, f"{at}/{position}")
    else:
        assert found == shown, f"{at}: {found!r}"


@pytest.fixture(scope="module")
def key(data, port) -> str:
    return admin_key(data)


def run(script: str, folder: Path, **environment: str) -> subprocess.CompletedProcess:
    known = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT), **environment}
    return subprocess.run(["sh", "-e", "-c", script], cwd=folder, env=known, capture_output=True, text=True, timeout=60)


def test_the_first_key(port, data, tmp_path):
    """The page's way to the first key makes one that may do everything."""
    [script] = [script for script, _ in _BLOCK.findall((ROOT / "docs/api.md").read_text()) if script.startswith("KEY=")]
    done = run(script.replace(".venv/bin/python", sys.executable) + 'echo "$KEY"', tmp_path, DATA_DIR=str(data))
    assert done.returncode == 0, done.stderr
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/tasks", headers=bearer(done.stdout.strip()))
    with urllib.request.urlopen(request, timeout=30) as answer:
        assert answer.status == 200


def test_examples(port, key, tmp_path):
    """Each example succeeds and answers what the page shows."""
    examples = _BLOCK.findall((ROOT / "docs/api.md").read_text())
    assert len(examples) > 12
    for script, shown in examples:
        if script.startswith("KEY="):
            continue
        script = _CURL + script.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
        done = run(script, tmp_path, KEY=key)
        assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"
        if shown:
            last = done.stdout.strip().splitlines()[-1]
            assert_like(json.loads(last), json.loads(shown), script)
    assert len((tmp_path / "books.ndjson").read_text().splitlines()) == 5  # four documents, and curl's own newline here


def test_examples_of_keys(port, data, tmp_path):
    """docs/keys.md from top to bottom in one shell: each key is used as the page says."""
    examples = _BLOCK.findall((ROOT / "docs/keys.md").read_text())
    assert len(examples) > 7
    script = _CURL + "".join(f"{script}echo ----\n" for script, _ in examples)
    script = script.replace("127.0.0.1:8000", f"127.0.0.1:{port}").replace(".venv/bin/python", sys.executable)
    done = run(script, tmp_path, DATA_DIR=str(data))
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    said = done.stdout.split("----\n")
    for (script, shown), answer in zip(examples, said, strict=False):
        if shown:
            assert_like(json.loads(answer.strip().splitlines()[-1]), json.loads(shown), script)


def test_slashes_in_ids_over_a_real_server(port, key):
    """Gunicorn hands the raw path through: an id with a slash is not two segments."""
    base = f"http://127.0.0.1:{port}/v1/indexes/paths/documents"

    def call(method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        request = urllib.request.Request(base + path, body, {"Content-Type": "application/json", **bearer(key)}, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    assert call("POST", "", b'[{"id": "x"}]')[0] == 200
    assert call("PUT", "/a%2Fb%20%C3%A9", b"{}")[0] == 201
    assert json.loads(call("GET", "/a%2fb%20%C3%A9")[1])["id"] == "a/b é"
    status, body = call("GET", "/a/b")
    assert status == 404 and json.loads(body)["code"] == "no_such_address"
