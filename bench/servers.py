"""Servers on loopback for one run: searchapi with its indexer, and the no-op application, each in the same Gunicorn.

Everything lies in one temporary folder and ends with the context. stderr is /dev/null, and JOURNAL_STREAM names it, so that the
lines that production would log are made and written, but nothing keeps them.
"""

from __future__ import annotations

import http.client
import os
import secrets
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from searchapi.config import SETTINGS
from searchapi.model import IndexSettings
from searchapi.schema import settings_to_json

ROOT = Path(__file__).resolve().parent.parent
WORKERS, THREADS = 2, 4
START_SECONDS = 60.0
BATCH_BYTES = 4 << 20
CATCH_UP_SECONDS = 3600.0


class ServerFailed(Exception):
    """A server did not start, or refused what a benchmark asked of it."""


@dataclass
class Server:
    """One listening server and the processes that belong to it. ready: the path that says when it answers. log: what the
    processes beside Gunicorn say. headers: sent with every request."""

    port: int
    ready: str
    commands: list[list[str]]
    environment: dict[str, str]
    log: Path
    headers: dict[str, str] = field(default_factory=dict)
    processes: list[subprocess.Popen] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def get(self, path: str) -> Any:
        return self.ask("GET", path)

    def ask(self, method: str, path: str, body: bytes | None = None, kind: str = "application/json") -> Any:
        """The JSON that is answered. Raises ServerFailed for an error."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, body, self.headers | ({"Content-Type": kind} if body is not None else {}))
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= 400:
            raise ServerFailed(f"{method} {path[:200]} was answered {answer.status}: {data[:300].decode(errors='replace')}")
        return orjson.loads(data) if data else None

    def create(self, name: str, settings: IndexSettings) -> None:
        self.ask("POST", "/v1/indexes", orjson.dumps({"name": name, "settings": settings_to_json(settings)}))

    def load(self, name: str, bodies: Iterator[bytes]) -> None:
        """Post NDJSON bodies and wait until every document in them can be found."""
        for body in bodies:
            answer = self.ask("POST", f"/v1/indexes/{name}/documents", body, "application/x-ndjson")
            if answer["errors"]:
                raise ServerFailed(f"a document was refused: {answer['errors'][0]}")
        until = time.monotonic() + CATCH_UP_SECONDS
        while self.get(f"/v1/indexes/{name}/stats")["lag"]:
            self.alive()
            if time.monotonic() > until:
                raise ServerFailed(f"the index {name} did not catch up within {CATCH_UP_SECONDS:.0f} s")
            time.sleep(0.02)

    def alive(self) -> None:
        """Raises ServerFailed where one of its processes has ended."""
        for process in self.processes:
            if process.poll() is not None:
                command = " ".join(map(str, process.args[1:]))
                raise ServerFailed(f"`python {command}` ended with status {process.returncode}{self._last_words()}")

    def _last_words(self) -> str:
        lines = self.log.read_text(errors="replace").split("\n")
        said = [line for line in lines if line.strip()]
        return f": {said[-1]}" if said else "; it said nothing"

    def pids(self) -> list[int]:
        """Of all its processes, children included."""
        return descendants([process.pid for process in self.processes], parents())

    def start(self) -> None:
        """Raises ServerFailed where it does not answer within START_SECONDS."""
        self.processes += [_start(command, self.environment, self.log) for command in self.commands]
        _wait(self)

    def restart(self) -> None:
        self.stop()
        self.start()

    def stop(self) -> None:
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()


def bodies(documents, size: int = BATCH_BYTES) -> Iterator[bytes]:
    """NDJSON bodies of about `size` bytes."""
    piece = bytearray()
    for document in documents:
        piece += orjson.dumps(document) + b"\n"
        if len(piece) >= size:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


# ------------------------------------------------------------------------------------------------------ starting


@contextmanager
def running() -> Iterator[tuple[Server, Server, Path]]:
    """(searchapi, the no-op application, the data folder), both answering."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="searchapi-bench-")))
        data = folder / "data"
        ours = stack.enter_context(started(searchapi(folder, data)))
        floor = stack.enter_context(started(noop(folder)))
        yield ours, floor, data


@contextmanager
def started(server: Server) -> Iterator[Server]:
    try:
        server.start()
        yield server
    finally:
        server.stop()


def searchapi(folder: Path, data_dir: Path, **settings: str) -> Server:
    """With a key that may do everything; searching needs none."""
    port = free_port()
    commands = [[sys.executable, "-m", "searchapi", "indexer"], _gunicorn("searchapi.wsgi:app")]
    environment = _environment(folder, data_dir, port) | settings
    headers = {"Authorization": f"Bearer {admin_key(environment)}"}
    return Server(port, "/health/ready", commands, environment, folder / "indexer.log", headers)


def beside(first: Server, app: str, headers: dict[str, str], settings: dict[str, str]) -> Server:
    """Another Gunicorn on the data folder of the first, with these settings."""
    port = free_port()
    environment = first.environment | {"PORT": str(port)} | settings
    return Server(port, "/health/ready", [_gunicorn(app)], environment, first.log, headers)


def admin_key(environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "searchapi", "keys", "create", "--admin", "--quiet"]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ServerFailed(f"no key could be made: {done.stderr.strip()}")
    return done.stdout.strip()


def noop(folder: Path) -> Server:
    port = free_port()
    return Server(port, "/", [_gunicorn("bench.noop:app")], _environment(folder, folder / "noop", port), folder / "noop.log")


def _gunicorn(app: str) -> list[str]:
    return [sys.executable, "-m", "gunicorn", "-c", "python:searchapi.gunicorn_conf", app]


def _environment(folder: Path, data_dir: Path, port: int) -> dict[str, str]:
    """This process's, less every setting of searchapi: those come from a file with nothing but a secret, and from here."""
    if not (folder / "env").exists():
        (folder / "env").write_text(f"SECRET_KEY={secrets.token_urlsafe(48)}\n")
    log = Path(os.devnull).stat()
    names = {s.name for s in SETTINGS}
    return {name: value for name, value in os.environ.items() if name not in names} | {
        "CREDENTIALS_DIRECTORY": str(folder),
        "JOURNAL_STREAM": f"{log.st_dev}:{log.st_ino}",
        "DATA_DIR": str(data_dir),
        "PORT": str(port),
        "WORKERS": str(WORKERS),
        "THREADS": str(THREADS),
        "RATE_LIMIT_PER_KEY": "off",
        "RATE_LIMIT_PER_IP": "off",
        "DEFAULT_TIMEOUT_MS": "10000",  # a busy machine makes figures worse, it must not end the run
        "MAX_WAIT_MS": "10000",
    }


def _start(command: list[str], environment: dict[str, str], log: Path) -> subprocess.Popen:
    """Gunicorn's lines go nowhere; what another process says is kept to explain its end."""
    with Path(os.devnull).open("ab") as nowhere, log.open("ab") as kept:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=nowhere,
            stderr=nowhere if "gunicorn" in command else kept,
        )


def _wait(server: Server) -> None:
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until:
        server.alive()
        try:
            server.get(server.ready)
            return
        except (OSError, ServerFailed, http.client.HTTPException):
            time.sleep(0.05)
    raise ServerFailed(f"nothing answered at {server.base}{server.ready} within {START_SECONDS:.0f} s")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return listening.getsockname()[1]


# ------------------------------------------------------------------------------------------------------- processes


def parents() -> dict[int, int]:
    """The parent of every process of this machine."""
    found = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                text = (entry / "stat").read_text(errors="replace")
            except OSError:  # it has ended meanwhile
                continue
            found[int(entry.name)] = int(text.rpartition(")")[2].split()[1])
    return found


def descendants(roots: list[int], parent: dict[int, int]) -> list[int]:
    """The roots that are there and all below them, ascending."""
    found = {pid for pid in roots if pid in parent}
    while more := {pid for pid, above in parent.items() if above in found and pid not in found}:
        found |= more
    return sorted(found)
