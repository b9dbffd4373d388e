"""Load from wrk: so many clients, each with one connection kept alive, for so many seconds."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SCRIPT = Path(__file__).with_name("wrk.lua")


class LoadFailed(Exception):
    """wrk is missing, could not run, or was answered with errors."""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk measured: requests answered, their number a second, latencies in milliseconds."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float


def missing() -> str | None:
    return None if shutil.which("wrk") else "wrk is missing; type: apt-get install -y wrk"


def load(base: str, paths: Sequence[str], clients: int, seconds: int) -> Load:
    """Ask `base` for the paths in turn. Raises LoadFailed, also where one answer was an error: figures of errors mean nothing.

    Connections are kept alive, and which worker accepts which is chance: all eight at one of two workers halve the figure. So many
    clients connect anew every second, and the figure is of all those seconds."""
    if clients == 1:
        return _wrk(base, paths, clients, seconds)
    return together([_wrk(base, paths, clients, 1) for _ in range(seconds)])


def together(loads: Sequence[Load]) -> Load:
    """Loads one after another as one: requests and time summed, latencies the median of theirs."""
    requests = sum(one.requests for one in loads)
    seconds = sum(one.requests / one.per_second for one in loads)
    return Load(
        requests, requests / seconds, statistics.median(one.p50_ms for one in loads), statistics.median(one.p99_ms for one in loads)
    )


def _wrk(base: str, paths: Sequence[str], clients: int, seconds: int) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="ascii") as listed:
        listed.write("\n".join(paths) + "\n")
        listed.flush()
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "15s", "-s", str(SCRIPT), base, "--", listed.name]
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
    return read(ran.stdout, ran.stderr, ran.returncode)


def read(output: str, errors: str, status: int) -> Load:
    """What wrk.lua printed last."""
    line = next((line for line in reversed(output.splitlines()) if line.startswith("{")), None)
    if status or line is None:
        raise LoadFailed(f"wrk failed: {(errors or output).strip()[-300:]}")
    found = json.loads(line)
    if found["bad"] or not found["requests"]:
        raise LoadFailed(f"{found['bad']} of {found['requests']} requests failed")
    return Load(found["requests"], found["requests"] / found["seconds"], found["p50_ms"], found["p99_ms"])
