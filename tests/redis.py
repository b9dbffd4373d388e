"""A real Redis for a test: on a unix socket, on a port, with TLS and users of its own. Ended by its own process id."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest
import redis

from tests.ports import free_port

START_SECONDS = 30.0
# All that rate limits need; docs/limits.md shows it.
LEAST_RIGHTS = "~searchapi:* +evalsha +script|load +incrby +expire"


class Redis:
    """A context manager that starts one in `folder`. options: as of redis-server, `maxmemory="1mb"`."""

    def __init__(self, folder: Path, *, tls: bool = False, users: tuple[str, ...] = (), **options: str):
        self.socket = folder / "redis.sock"
        self.port = free_port() if tls else 0
        self.certificate = folder / "ca.crt"
        self._log = folder / "redis.log"
        self._command = [
            _program("redis-server"),
            "--unixsocket",
            str(self.socket),
            "--port",
            "0",
            "--save",
            "",
            "--dir",
            str(folder),
        ]
        if tls:
            _certificates(folder)
            paths = [
                "--tls-cert-file",
                folder / "redis.crt",
                "--tls-key-file",
                folder / "redis.key",
                "--tls-ca-cert-file",
                self.certificate,
            ]
            self._command += ["--bind", "127.0.0.1", "--tls-port", str(self.port), "--tls-auth-clients", "no", *map(str, paths)]
        for name, value in options.items():
            self._command += [f"--{name.replace('_', '-')}", value]
        for user in users:
            self._command += ["--user", *user.split()]
        self._process: subprocess.Popen | None = None

    @property
    def url(self) -> str:
        return f"unix://{self.socket}?db=0"

    def tls_url(self, login: str) -> str:
        return f"rediss://{login}@127.0.0.1:{self.port}/0?ssl_ca_certs={self.certificate}"

    def __enter__(self) -> Redis:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None:
            self.resume()
            self.kill()

    def start(self) -> None:
        self.socket.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        end = time.monotonic() + START_SECONDS
        while not self._answers():
            assert self._process.poll() is None and time.monotonic() < end, self._log.read_text()
            time.sleep(0.02)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as one:
            try:
                one.connect(str(self.socket))
            except OSError:
                return False
        return True

    def kill(self) -> None:
        """SIGKILL: nothing that it held is left."""
        self._process.kill()
        self._process.wait(30)
        self._process = None

    def hang(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def client(self) -> redis.Redis:
        return redis.from_url(self.url, decode_responses=True)

    def commands(self) -> int:
        """How many it has been asked for, this one not counted."""
        with self.client() as client:
            stats = client.info("commandstats")
        return sum(figures["calls"] for name, figures in stats.items() if name == "cmdstat_evalsha")


def _program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs the program {name}")
    return path


def _certificates(folder: Path) -> None:
    """An authority of our own, and a certificate of it for 127.0.0.1."""
    openssl = _program("openssl")

    def run(*arguments: str) -> None:
        subprocess.run([openssl, *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    (folder / "ext").write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
    run("req", "-x509", *key, "-days", "2", "-subj", "/CN=test authority", "-keyout", "ca.key", "-out", "ca.crt")
    run("req", *key, "-subj", "/CN=redis", "-keyout", "redis.key", "-out", "redis.csr")
    run(
        "x509",
        "-req",
        "-in",
        "redis.csr",
        "-CA",
        "ca.crt",
        "-CAkey",
        "ca.key",
        "-days",
        "2",
        "-extfile",
        "ext",
        "-out",
        "redis.crt",
    )
