"""Load from wrk: so many clients, each with one connection kept alive, for so many seconds."""

from __future__ import annotations

import json
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

STAGGER = 0.03  # seconds between clients that come
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


def load(base: str, paths: Sequence[str], clients: int, seconds: int, headers: Mapping[str, str] | None = None) -> Load:
    """Ask `base` for the paths in turn, with these headers. Raises LoadFailed, also where one answer was an error: figures of
    errors mean nothing.

    Connections are kept alive, and which worker accepts one is decided once. Eight that come in one moment are all taken by the
    worker that wakes first, and the other core idles; so they come one after another, each as a process of its own and from its
    own place in the list, while those before them keep their worker busy."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="ascii") as listed:
        listed.write("\n".join(paths) + "\n")
        listed.flush()
        started = []
        for client in range(clients):
            place = str(client * len(paths) // clients)
            sent = [part for name, value in (headers or {}).items() for part in ("-H", f"{name}: {value}")]
            command = ["wrk", "-t1", "-c1", f"-d{seconds}s", "--timeout", "15s", *sent, "-s", str(SCRIPT)]
            command += [base, "--", listed.name, place]
            started.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
            time.sleep(STAGGER if clients > 1 else 0)
        ended = [(*process.communicate(), process.returncode) for process in started]
    return together([read(*one) for one in ended])


def together(loads: Sequence[Load]) -> Load:
    """Clients side by side: requests and rates summed, latencies the median of theirs."""
    return Load(
        sum(one.requests for one in loads),
        sum(one.per_second for one in loads),
        statistics.median(one.p50_ms for one in loads),
        statistics.median(one.p99_ms for one in loads),
    )


def read(output: str, errors: str, status: int) -> Load:
    """What wrk.lua printed last."""
    line = next((line for line in reversed(output.splitlines()) if line.startswith("{")), None)
    if status or line is None:
        raise LoadFailed(f"wrk failed: {(errors or output).strip()[-300:]}")
    found = json.loads(line)
    if found["bad"] or not found["requests"]:
        raise LoadFailed(f"{found['bad']} of {found['requests']} requests failed")
    return Load(found["requests"], found["requests"] / found["seconds"], found["p50_ms"], found["p99_ms"])
