"""The scripts as a person types them, on ports and data folders of their own."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from searchapi import demo
from searchapi.engines.embedded import EmbeddedEngine
from searchapi.model import Operation
from tests.ports import free_port

CHECKOUT = Path(__file__).resolve().parents[2]
STARTS_WITHIN = 120.0  # seconds; generous, for a busy machine


def needed(program: str) -> str:
    """The path of a program; without it the test is skipped, or fails where CI could have installed it."""
    path = shutil.which(program)
    if path is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs the program {program}")
    return path


def environment(**settings: object) -> dict[str, str]:
    """The tests' environment without any setting of searchapi, and with these."""
    kept = {name: text for name, text in os.environ.items() if name in ("PATH", "HOME", "LANG", "CI") or name.startswith("PIP_")}
    return {**kept, **{name: str(value) for name, value in settings.items()}}


@pytest.fixture(scope="session")
def venv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the scripts take for a finished environment: this interpreter, with the stamps of both requirements."""
    folder = tmp_path_factory.mktemp("venv")
    (folder / "bin").mkdir()
    python = folder / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    for name in ("requirements.txt", "requirements-dev.txt"):
        stamp = subprocess.run(["cksum"], input=(CHECKOUT / name).read_bytes(), capture_output=True, check=True).stdout
        (folder / f"{name}.stamp").write_bytes(stamp)
    return folder


@dataclass
class Running:
    """A started scripts/run. `said` is what it has printed so far."""

    process: subprocess.Popen
    data_dir: Path
    port: int
    log: Path
    marker: str  # in the environment of every process it starts

    @property
    def said(self) -> str:
        return self.log.read_text()

    def wait_for(self, text: str) -> float:
        """Wait until it has said so; the seconds it took."""
        start = time.monotonic()
        while text not in self.said:
            assert self.process.poll() is None, f"it ended:\n{self.said}"
            assert time.monotonic() - start < STARTS_WITHIN, f"it did not say {text!r}:\n{self.said}"
            time.sleep(0.02)
        return time.monotonic() - start

    def examples(self) -> list[str]:
        return re.findall(r"^  (curl .*)$", self.said, re.MULTILINE)

    def processes(self) -> list[int]:
        """Every process that was started by it and is still there."""
        found = []
        for folder in Path("/proc").iterdir():
            try:
                alive = folder.name.isdigit() and (folder / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
                if alive and self.marker.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:  # gone meanwhile
                continue
        return found

    def stop(self, number: int = signal.SIGINT) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@pytest.fixture(scope="session")
def start(venv: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Running]]:
    """`start(data_dir, PORT=…)` runs scripts/run; what is left at the end is stopped."""
    started: list[Running] = []

    def run(data_dir: Path, **settings: object) -> Running:
        marker = f"SEARCHAPI_TEST_RUN={os.getpid()}-{len(started)}-"
        name, _, value = marker.partition("=")
        values = {"VENV": venv, "DATA_DIR": data_dir, "PORT": free_port(), name: value, **settings}
        log = tmp_path_factory.mktemp("run") / "log"
        with log.open("w") as output:
            process = subprocess.Popen(
                [CHECKOUT / "scripts" / "run"],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=environment(**values),
                start_new_session=True,
            )
        started.append(Running(process, data_dir, int(values["PORT"]), log, marker))
        return started[-1]

    yield run
    for running in started:
        if running.process.poll() is None:
            running.stop()
        running.process.wait(60)


@pytest.fixture
def small_data(tmp_path: Path) -> Path:
    """A data folder with an index `python` of one document, so that a start has nothing to collect."""
    engine = EmbeddedEngine(tmp_path / "data")
    engine.create_index(demo.INDEX, demo.SETTINGS)
    engine.write(demo.INDEX, [Operation("put", "json", {"id": "json"})])
    engine.close()
    return tmp_path / "data"


@pytest.fixture(scope="session")
def server(start: Callable[..., Running], tmp_path_factory: pytest.TempPathFactory) -> Running:
    """A server with the demonstration data, started once for all tests that only ask it."""
    needed("curl")
    running = start(tmp_path_factory.mktemp("served"))
    running.wait_for("Try, in another terminal")
    return running


def shell(command: str, port: int, cwd: Path, **settings: object) -> list[dict]:
    """Run an example on another port than the usual; the JSON values it printed, a line each. It must exit with 0."""
    command = command.replace("127.0.0.1:8000", f"127.0.0.1:{port}")
    done = subprocess.run(
        ["sh", "-e", "-c", command.replace("curl ", "curl -w '\\n' ")],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment(**settings),
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def examples(page: str) -> list[str]:
    """The ```sh examples of a page, in order."""
    return re.findall(r"^```sh\n(.*?)^```$", (CHECKOUT / page).read_text(), re.MULTILINE | re.DOTALL)
