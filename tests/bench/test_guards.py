"""The benchmark of guards: each line has the guards that it names, and the load brings what they ask for."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path

import pytest

from bench.bare import stripped
from bench.guards import ALWAYS, NONE, Guarded, every, one_by_one
from bench.load import load
from bench.redis import redis
from searchapi import config
from searchapi.app import create_app
from searchapi.config import Settings

DSN = "http://nobody@127.0.0.1:9/1"


def hooks(app) -> set[str]:
    """The modules of searchapi that see every request."""
    kinds = (app.before_request_funcs, app.after_request_funcs)
    return {hook.__module__.removeprefix("searchapi.") for kind in kinds for hook in kind.get(None, [])}


def test_what_no_setting_switches_off_is_taken_out(tmp_path):
    """And nothing else is."""
    app = create_app(Settings(data_dir=tmp_path))
    before = hooks(app)
    assert set(ALWAYS) < before
    assert hooks(stripped(app, ALWAYS)) == before - set(ALWAYS)
    with pytest.raises(LookupError, match="nonsense"):
        stripped(app, ["nonsense"])


@pytest.mark.parametrize("guarded", [Guarded("no guards"), every(DSN), *one_by_one(DSN)], ids=lambda guarded: guarded.what)
def test_settings(guarded, monkeypatch, tmp_path):
    """They are read and may be served with, and those of a line differ from none."""
    for setting in config.SETTINGS:
        monkeypatch.delenv(setting.name, raising=False)
    given = NONE | dict(guarded.settings) | {"DATA_DIR": str(tmp_path), "SECRET_KEY": "a secret of the tests 0123456789 abc"}
    assert set(given) <= {setting.name for setting in config.SETTINGS}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    settings = config.load()
    config.require_safe(settings)
    assert settings.require_keys == guarded.key
    assert (settings.rate_limit_per_key != "off") == ("ratelimit" not in guarded.without)
    assert guarded.what == "no guards" or guarded.settings or guarded.without != ALWAYS


def test_headers_reach_wrk(monkeypatch, tmp_path):
    """wrk sends those that it is told on its command line, in every request of a script."""
    program = tmp_path / "wrk"
    program.write_text(
        f'#!/bin/sh\nfor part; do echo "$part"; done >>{tmp_path}/said\n'
        """echo '{"requests": 1, "seconds": 1, "p50_ms": 1, "p99_ms": 1, "bad": 0}'\n"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    load("http://127.0.0.1:1", ["/"], 1, 1, {"Authorization": "Bearer x", "Origin": "http://localhost"})
    said = (tmp_path / "said").read_text().splitlines()
    assert [said[i + 1] for i, part in enumerate(said) if part == "-H"] == ["Authorization: Bearer x", "Origin: http://localhost"]


def test_redis_of_a_run():
    """It answers on its socket, and is gone after the run."""
    if shutil.which("redis-server") is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)("needs the program redis-server")
    with redis() as url:
        path = Path(url.removeprefix("unix://"))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(b"PING\r\n")
            assert client.recv(16) == b"+PONG\r\n"
    assert not path.exists()
