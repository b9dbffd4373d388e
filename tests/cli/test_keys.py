"""`keys create|list|rotate|revoke|secret`, as processes; and that a server honours what they do."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from searchapi.cli import outcome
from searchapi.config import Settings
from searchapi.engines.embedded import SystemDatabase
from searchapi.keystore import SCOPES, KeyStore
from searchapi.keytext import is_key
from searchapi.secretkey import secret_key

from .conftest import environment
from .test_commands import refused


def created(cli, *arguments: object, **settings: object) -> str:
    """The key that `keys create` prints."""
    done = cli("keys", "create", *arguments, **settings)
    assert done.returncode == 0, done.stderr
    [text] = done.stdout.splitlines()
    assert is_key(text)
    return text


def test_create_says_what_it_is(cli, data_dir):
    """The key alone is on stdout; stderr says what it is, that it is shown once, what it may do and how to end it."""
    done = cli("keys", "create", "--scope", "search", "--scope", "documents:read", "--index", "books", "--index", "films-*")
    [text] = done.stdout.splitlines()
    assert is_key(text) and text not in done.stderr
    for words in ("only this once", "search, documents:read", "books, films-*", str(data_dir), f"keys revoke {text[3:15]}"):
        assert words in done.stderr


def test_quiet(cli):
    """Nothing but the key, for KEY=$(…)."""
    done = cli("keys", "create", "--admin", "--quiet")
    assert is_key(done.stdout.removesuffix("\n")) and done.stderr == ""


def test_what_was_asked_for_is_kept(cli, data_dir):
    """Every option reaches the record."""
    options = ["--description", "importer", "--rate-limit", "600/minute", "--rate-limit-per-ip", "off", "--max-page-size", 50]
    text = created(cli, "--scope", "documents:write", "--index", "books", "--expires", "30d", *options)
    key = SystemDatabase(data_dir).keys()[text[3:15]]
    assert (key.scopes, key.indexes, key.description) == (("documents:write",), ("books",), "importer")
    assert (key.rate_limit, key.rate_limit_per_ip, key.max_page_size) == ("600/minute", "off", 50)
    days = (time.mktime(time.strptime(key.expires_at[:10], "%Y-%m-%d")) - time.time()) / 86_400
    assert 28 < days < 32
    until = created(cli, "--admin", "--expires", "2099-01-31T02:00:00+02:00")
    key = SystemDatabase(data_dir).keys()[until[3:15]]
    assert key.expires_at == "2099-01-31T00:00:00.000Z" and set(key.scopes) == set(SCOPES) and key.indexes == ("*",)


def test_list_rotate_revoke(cli):
    """The list shows what each key may do and never a secret; rotate and revoke take an id or a whole key."""
    assert "keys create --admin" in cli("keys", "list").stderr
    admin = created(cli, "--admin")
    shop = created(cli, "--scope", "search", "--index", "books", "--description", "the shop")
    listed = cli("keys", "list").stdout
    assert [line.split()[0] for line in listed.splitlines()] == ["ID", admin[3:15], shop[3:15]]
    assert re.search(rf"{shop[3:15]}  active +never +search +books +the shop\n", listed)
    assert admin[16:] not in listed and shop[16:] not in listed

    done = cli("keys", "rotate", shop[3:15], "--overlap", "1h")
    new = done.stdout.strip()
    assert is_key(new) and new[:16] == shop[:16] and new != shop and "valid until" in done.stderr
    assert "old secret can be" in refused(cli("keys", "rotate", shop, "--overlap", "1h"))
    assert "no longer valid" in cli("keys", "rotate", shop).stderr

    assert cli("keys", "revoke", new).stdout == f"Revoked {shop[3:15]} (the shop).\n"
    assert cli("keys", "revoke", shop[3:15]).returncode == 0
    assert shop[3:15] not in cli("keys", "list").stdout
    assert re.search(rf"{shop[3:15]}  revoked 20", cli("keys", "list", "--all").stdout)
    assert "make a new one" in refused(cli("keys", "rotate", shop))


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["create"], 2, "--admin, or --scope search"),
        (["create", "--admin", "--scope", "search"], 2, "not both"),
        (["create", "--scope", "serch"], 1, "did you mean 'search'"),
        (["create", "--admin", "--index", "Books"], 1, "books-*"),
        (["create", "--admin", "--expires", "3x"], 2, "12h or 30d"),
        (["create", "--admin", "--expires", "tomorrow"], 2, "2027-01-31T00:00:00Z"),
        (["create", "--admin", "--expires", "2020-01-01"], 1, "has passed"),
        (["create", "--admin", "--expires", "999999999w"], 2, "year 9999"),
        (["create", "--admin", "--rate-limit", "600"], 1, "rate_limit must be a number per second"),
        (["create", "--admin", "--max-page-size", "0"], 1, "max_page_size must be a whole number from 1"),
        (["create", "--admin", "--description", "a\nb"], 1, "one line"),
        (["rotate", "nosuch"], 1, "keys list --all"),
        (["rotate", "nosuch", "--overlap", "1"], 2, "12h or 30d"),
        (["rotate", "nosuch", "--overlap", "99w"], 1, "30 days"),
        (["revoke", "nosuch"], 1, "keys list --all"),
        (["revoke"], 2, "ID"),
        (["rvoke", "x"], 2, "revoke"),
    ],
)
def test_what_is_typed_wrong(tmp_path, monkeypatch, capsys, arguments, status, words):
    """One line that says what to type, and no key. (In this process: seventeen others would take their time.)"""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_DIR", str(tmp_path / "data"))
    assert outcome(["keys", *arguments]) == status
    said = capsys.readouterr()
    [line] = said.err.splitlines()
    assert said.out == "" and line.startswith("searchapi: ") and words in line
    assert not (tmp_path / "data").exists() or not SystemDatabase(tmp_path / "data").keys()


def test_secret_needs_no_settings(cli, tmp_path, data_dir):
    """It prints another value each time, which SECRET_KEY takes, whatever the settings are."""
    (tmp_path / ".env").write_text("PORT=not a port\n")
    values = [cli("keys", "secret", ENVIRONMENT="nowhere").stdout.strip() for _ in range(2)]
    assert len(set(values)) == 2 and all(re.fullmatch(r"[A-Za-z0-9_-]{64}", value) for value in values)
    assert not data_dir.exists()
    (tmp_path / ".env").write_text(f"SECRET_KEY={values[0]}\nENVIRONMENT=production\n")
    created(cli, "--admin")
    assert not (data_dir / "secret_key").exists()


def test_production_needs_a_secret_key(cli, data_dir):
    """It says so, and makes nothing."""
    line = refused(cli("keys", "create", "--admin", ENVIRONMENT="production"))
    assert "SECRET_KEY is empty, but production needs one; `python -m searchapi keys secret` prints one" in line
    assert not data_dir.exists()


def test_a_damaged_secret_key_file(cli, data_dir):
    """It is not replaced unasked."""
    created(cli, "--admin")
    (data_dir / "secret_key").write_bytes(b"")
    assert "secret_key is damaged" in refused(cli("keys", "create", "--admin"))


def test_commands_at_once(tmp_path, data_dir):
    """Several that all come first agree on one SECRET_KEY, and every key is there."""
    command = [sys.executable, "-m", "searchapi", "keys", "create", "--admin", "--quiet"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    started = [subprocess.Popen(command, cwd=tmp_path, env=environment(DATA_DIR=data_dir), **pipes) for _ in range(4)]
    found = [process.communicate(timeout=120) for process in started]
    assert [errors for _, errors in found] == [""] * 4
    assert {text[3:15] for text, _ in found} == set(SystemDatabase(data_dir).keys())
    store = KeyStore(secret_key(Settings(data_dir=data_dir)), SystemDatabase(data_dir))
    for text, _ in found:
        assert store.verify(text.strip(), "2026-01-01T00:00:00.000Z").key_id == text[3:15]


# ------------------------------------------------------------------------------------------------------- a server


@pytest.fixture
def server(tmp_path: Path, data_dir: Path):
    """`server(path, key)` is the status of a request to a real Gunicorn; `server.stop()` ends it as systemd does."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    settings = environment(DATA_DIR=data_dir, PORT=port, WORKERS=2, REQUIRE_KEYS="true")
    command = [sys.executable, "-m", "gunicorn", "-c", "python:searchapi.gunicorn_conf", "searchapi.wsgi:app"]
    log = tmp_path / "server.log"
    with log.open("wb") as errors, subprocess.Popen(command, cwd=tmp_path, env=settings, stderr=errors) as process:

        def ask(path: str, key: str = "") -> tuple[int, dict]:
            request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
            if key:
                request.add_header("Authorization", f"Bearer {key}")
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.status, json.load(answer)
            except urllib.error.HTTPError as error:
                return error.code, json.load(error)

        def stop() -> None:
            process.terminate()
            assert process.wait(60) == 0, log.read_text()

        ask.stop = stop
        end = time.monotonic() + 60
        while True:
            try:
                ask("/health")
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < end, log.read_text()
                time.sleep(0.05)
        yield ask
        if process.poll() is None:
            stop()


def test_a_running_server_knows_at_once(cli, server, data_dir):
    """What the command line makes, rotates and revokes counts for the next request to every worker; the last use is written, also
    that of a worker's last minute."""
    admin = created(cli, "--admin")
    assert server("/v1/indexes")[0] == 401
    for _ in range(8):  # both workers
        assert server("/v1/keys", admin)[0] == 200

    def last_use() -> str | None:
        return SystemDatabase(data_dir).keys()[admin[3:15]].last_used_at

    end = time.monotonic() + 30
    while not (first := last_use()):
        assert time.monotonic() < end
        time.sleep(0.1)

    rotated = cli("keys", "rotate", admin, "--quiet").stdout.strip()
    assert {server("/v1/keys", admin)[1]["code"] for _ in range(8)} == {"invalid_key"}
    assert {server("/v1/keys", rotated)[0] for _ in range(8)} == {200}
    used = last_use()
    cli("keys", "revoke", rotated)
    assert {server("/v1/keys", rotated)[1]["code"] for _ in range(8)} == {"revoked_key"}
    server.stop()
    assert first <= used < last_use()  # the other worker may have written its own first use later


def test_another_secret_key(cli):
    """`check`, `keys list` and `keys create` say that there are keys which it does not fit; with the old one they say nothing."""
    created(cli, "--scope", "search")
    other = {"SECRET_KEY": "another secret of the tests, 0123456789"}
    assert "made with another SECRET_KEY" not in cli("check").stdout + cli("keys", "list").stderr
    [line] = [line for line in cli("check", "--quiet", **other).stdout.splitlines() if "keys" in line.split()]
    assert line.startswith("warning") and "1 of 1 were made with another SECRET_KEY" in line
    listed = cli("keys", "list", **other)
    assert "other SECRET_KEY" in listed.stdout and "1 key was made with another SECRET_KEY" in listed.stderr
    assert "1 key was made with another SECRET_KEY" in cli("keys", "create", "--admin", **other).stderr


def test_as_another_user(cli, data_dir, tmp_path):
    """Who may not write in the data folder is told so, in one line: an operator's first slip in production."""
    if os.getuid() != 0 or shutil.which("setpriv") is None:
        pytest.skip("needs root, to be somebody else, and setpriv")
    created(cli, "--admin")
    for folder in (data_dir, *data_dir.parents):
        if "pytest-of-" in str(folder):
            folder.chmod(0o755)
    command = ["setpriv", "--reuid", "65534", "--clear-groups", sys.executable, "-B", "-m", "searchapi", "keys", "list"]
    variables = environment(DATA_DIR=data_dir, SECRET_KEY="a secret of the tests, 0123456789 01234")
    done = subprocess.run(command, capture_output=True, text=True, cwd="/", env=variables, timeout=120)
    assert "This user cannot write there; run this as the folder's owner." in refused(done)
