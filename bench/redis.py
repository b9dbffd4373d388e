"""A Redis for one run, on a unix socket, that keeps nothing."""

from __future__ import annotations

import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .corpora import Unavailable
from .servers import START_SECONDS, ServerFailed


@contextmanager
def redis() -> Iterator[str]:
    """Its URL, as REDIS_URL takes it. Raises Unavailable."""
    program = shutil.which("redis-server")
    if program is None:
        raise Unavailable("redis-server is missing; type: apt-get install -y redis-server")
    with tempfile.TemporaryDirectory(prefix="searchapi-bench-") as folder:
        path = Path(folder, "redis.sock")
        command = [program, "--port", "0", "--unixsocket", str(path), "--save", "", "--appendonly", "no", "--dir", folder]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            try:
                _wait(process, path)
                yield f"unix://{path}"
            finally:
                process.terminate()


def _wait(process: subprocess.Popen, path: Path) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        with socket.socket(socket.AF_UNIX) as client:
            try:
                client.connect(str(path))
                return
            except OSError:
                time.sleep(0.02)
    raise ServerFailed(f"Redis did not start (status {process.poll()})")
