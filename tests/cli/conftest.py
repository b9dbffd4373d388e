"""The command line as a person uses it: processes on a data folder of their own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]


def environment(**settings: object) -> dict[str, str]:
    """The tests' environment without any setting of searchapi, and with these."""
    kept = {name: text for name, text in os.environ.items() if name in ("PATH", "HOME", "LANG", "CI") or name.startswith("PIP_")}
    return {**kept, "PYTHONPATH": str(CHECKOUT), **{name: str(value) for name, value in settings.items()}}


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def cli(tmp_path: Path, data_dir: Path) -> Callable[..., subprocess.CompletedProcess]:
    """`cli("index", "list", input=b"…", PORT=1)` runs a command; its output is text."""

    def run(*arguments: object, input: str | None = None, **settings: object) -> subprocess.CompletedProcess:
        command = [sys.executable, "-m", "searchapi", *map(str, arguments)]
        variables = environment(**{"DATA_DIR": data_dir, **settings})
        feed = {"stdin": subprocess.DEVNULL} if input is None else {"input": input}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=variables, timeout=120, **feed)

    return run


@pytest.fixture
def indexer(tmp_path: Path, data_dir: Path) -> Iterator[subprocess.Popen]:
    """A running indexer on the data folder; it must stop cleanly."""
    command = [sys.executable, "-m", "searchapi", "indexer"]
    with subprocess.Popen(command, cwd=tmp_path, env=environment(DATA_DIR=data_dir), stderr=subprocess.PIPE) as process:
        yield process
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
