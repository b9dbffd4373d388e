"""The same commands on an OpenSearch: ENGINE_URL is all that differs."""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pytest

from searchapi.cli.run import key_command
from tests.ports import free_port

from .conftest import environment


@pytest.fixture
def command(cli, opensearch_url):
    """`command("index", "list")` must do it; its output."""

    def run(*arguments: object, **rest) -> str:
        done = cli(*arguments, ENGINE_URL=opensearch_url, **rest)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_import_search_export_keys(command, cli, opensearch_url, data_dir):
    """Documents in and out, found, counted; keys made and revoked. Nothing of it is in the data folder."""
    lines = '{"id": "1", "title": "Split a path"}\n{"id": "2", "title": "Other things"}\n'
    assert "Imported 2 documents" in command("import", "books", "--wait", input=lines)
    assert "books          2" in command("index", "list")
    assert "also searched as split" in command("search", "books", "spilt")
    assert json.loads(command("search", "books", "path", "--json"))["total"] == 1
    assert command("export", "books").splitlines() == ['{"id":"1","title":"Split a path"}', '{"id":"2","title":"Other things"}']
    key = command("keys", "create", "--admin", "--quiet").strip()
    assert key.split("_")[1] in command("keys", "list")
    command("keys", "revoke", key.split("_")[1])
    assert "revoked" in command("keys", "list", "--all")
    assert "OpenSearch" in command("check") and "answers at" in command("check")
    missing = cli("search", "boks", "x", ENGINE_URL=opensearch_url)
    assert missing.returncode == 1 and "Did you mean 'books'?" in missing.stderr
    assert {path.name for path in data_dir.iterdir()} <= {"secret_key", "imports"}
    command("index", "delete", "books", "--yes")
    assert cli("index", "list", ENGINE_URL=opensearch_url).stderr.startswith("No indexes in opensearch://127.0.0.1:")


def test_the_indexer_does_the_tasks(command, tmp_path, data_dir, opensearch_url):
    """A rebuild is done by it, and SIGTERM ends it in order."""
    command("import", "books", input='{"id": "1", "title": "Split a path"}\n')
    argv = [sys.executable, "-m", "searchapi", "indexer"]
    variables = environment(DATA_DIR=data_dir, ENGINE_URL=opensearch_url)
    with subprocess.Popen(argv, cwd=tmp_path, env=variables, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert "Rebuilt books: 1 document." in command("rebuild", "books", "--wait", "--timeout", "60")
        finally:
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=60)
    assert process.returncode == 0 and "Traceback" not in errors, errors


def test_a_cluster_that_is_away(cli):
    """One line, without the password, and nothing hangs; check warns, for a server may start before its cluster."""
    url = f"opensearch://someone:hidden-word@127.0.0.1:{free_port()}/shop"
    for arguments in (("index", "list"), ("search", "books", "x"), ("keys", "list"), ("export", "books")):
        done = cli(*arguments, ENGINE_URL=url)
        assert done.returncode == 1 and len(done.stderr.splitlines()) <= 2, done.stderr
        assert "does not answer" in done.stderr and "Traceback" not in done.stderr
        assert "hidden-word" not in done.stdout + done.stderr
    done = cli("check", ENGINE_URL=url)
    assert "warning" in done.stdout and "does not answer" in done.stdout and "hidden-word" not in done.stdout + done.stderr


def test_how_a_key_is_made(monkeypatch):
    """What `run` tells to type has the settings that were given with it, but no password."""
    monkeypatch.setenv("DATA_DIR", "/a folder")
    monkeypatch.setenv("ENGINE_URL", "opensearch://search:9200/shop")
    assert key_command().startswith("KEY=$(DATA_DIR='/a folder' ENGINE_URL=opensearch://search:9200/shop ")
    monkeypatch.setenv("ENGINE_URL", "opensearch://someone:hidden-word@search:9200/shop")
    assert "ENGINE_URL=… " in key_command() and "hidden-word" not in key_command()
