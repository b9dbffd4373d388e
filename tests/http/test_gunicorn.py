"""Real Gunicorn over a socket: what it refuses itself, slow clients, connections after errors, memory."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

import searchapi
from tests.keys import admin_key

ROOT = Path(searchapi.__file__).parent.parent
STARTS_WITHIN = 60.0  # seconds; generous, for a busy machine
PATIENCE = 1.5  # seconds: BODY_TIMEOUT_MS of the server here


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def problem(self) -> dict:
        """The body of an error, which has the one shape that all have."""
        assert self.headers["content-type"] == "application/problem+json", (self.headers, self.body[:200])
        found = json.loads(self.body)
        assert found["status"] == self.status and found["type"] == f"urn:searchapi:problem:{found['code']}"
        assert found["title"] and found["detail"] and found["request_id"] == self.headers["x-request-id"]
        return found


class Client:
    """One connection, and exactly the bytes that are asked for."""

    def __init__(self, path: Path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        try:
            self.socket.connect(str(path))
        except OSError:
            self.socket.close()
            raise
        self.came = b""

    def send(self, data: bytes) -> Client:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent: the answer is there
            self.socket.sendall(data)
        return self

    def _more(self) -> bool:
        data = self.socket.recv(1 << 16)
        self.came += data
        return bool(data)

    def answer(self) -> Answer:
        while b"\r\n\r\n" not in self.came:
            assert self._more(), f"closed after {self.came!r}"
        head, _, self.came = self.came.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers["content-length"])
        while len(self.came) < length:
            assert self._more()
        body, self.came = self.came[:length], self.came[length:]
        return Answer(int(first.split()[1]), headers, body)

    def closed(self) -> bool:
        """Whether the server closes the connection, with nothing more on it."""
        try:
            return not self._more()
        except ConnectionResetError:
            return True

    def close(self) -> None:
        self.socket.close()


@dataclass
class Server:
    process: subprocess.Popen
    path: Path
    log: Path
    key: str
    clients: list[Client] = field(default_factory=list)

    def client(self) -> Client:
        self.clients.append(Client(self.path))
        return self.clients[-1]

    def head(self, method: str, path: str, *headers: str) -> bytes:
        lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Authorization: Bearer {self.key}", *headers]
        return "\r\n".join([*lines, "", ""]).encode("latin-1")

    def ask(self, method: str, path: str, body: bytes = b"", *headers: str, kind: str = "application/json") -> bytes:
        return self.head(method, path, f"Content-Type: {kind}", f"Content-Length: {len(body)}", *headers) + body

    def healthy(self) -> None:
        """It still answers, at once."""
        started = time.monotonic()
        assert self.client().send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").answer().status == 200
        assert time.monotonic() - started < 10

    def lines(self) -> list[dict]:
        """The lines of the log."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def line_of(self, request_id: str) -> dict:
        end = time.monotonic() + 10
        while time.monotonic() < end:
            for line in self.lines():
                if line.get("request_id") == request_id:
                    return line
            time.sleep(0.02)
        raise AssertionError(f"no line of {request_id}")

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in children.read_text().split()]


@contextlib.contextmanager
def served(folder: Path, **settings: object) -> Iterator[Server]:
    key = admin_key(folder / "data") if (folder / "data").mkdir() is None else ""
    path, log = folder / "socket", folder / "log"
    given = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT),
        "DATA_DIR": str(folder / "data"),
        "ENVIRONMENT": "staging",
        "SECRET_KEY": (folder / "data/secret_key").read_text(),
        "WORKERS": "1",
        "RATE_LIMIT_PER_IP": "off",
        "RATE_LIMIT_PER_KEY": "off",
        **{name: str(value) for name, value in settings.items()},
    }
    command = [sys.executable, "-m", "gunicorn", "-c", "python:searchapi.gunicorn_conf", "--bind", f"unix:{path}"]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "searchapi.wsgi:app"], cwd=folder, env=given, stdout=output, stderr=output)
    server = Server(process, path, log, key)
    try:
        end = time.monotonic() + STARTS_WITHIN
        while True:
            assert process.poll() is None and time.monotonic() < end, log.read_text()
            try:
                server.healthy()
                break
            except (OSError, AssertionError):
                time.sleep(0.05)
        yield server
    finally:
        for client in server.clients:
            client.close()
        process.send_signal(signal.SIGTERM)
        process.wait(60)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with served(tmp_path_factory.mktemp("gunicorn"), BODY_TIMEOUT_MS=int(PATIENCE * 1000), MAX_BODY_BYTES="1MiB") as running:
        client = running.client()
        assert client.send(running.ask("POST", "/v1/indexes", b'{"name": "books"}')).answer().status == 201
        yield running


DOCUMENTS = "/v1/indexes/books/documents"

# ------------------------------------------------------------------------------------------------- what it refuses itself

SECRET = "sk_abcdefghijkl_0123456789012345678901234567890123456"  # pragma: allowlist secret
HOST = b"Host: x\r\n"


@pytest.mark.parametrize(
    ("sent", "status", "code"),
    [
        (b"GET /%b HTTP/1.1\r\n%b\r\n" % (b"x" * 9000, HOST), 414, "request_line_too_long"),
        (b"GET / HTTP/1.1\r\n%bX-A: %b\r\n\r\n" % (HOST, b"x" * 9000), 431, "headers_too_large"),
        (b"GET / HTTP/1.1\r\n%b%b\r\n" % (HOST, b"X-A: 1\r\n" * 150), 431, "headers_too_large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "bad_request"),
        (b"nonsense\r\n\r\n", 400, "bad_request"),
        (b"get / HTTP/1.1\r\n%b\r\n" % HOST, 400, "bad_request"),
        (b"GET /\x00 HTTP/1.1\r\n%b\r\n" % HOST, 400, "bad_request"),
        (b"GET /\xff\xfe HTTP/1.1\r\n%b\r\n" % HOST, 400, "bad_request"),
        (b"GET /a b HTTP/1.1\r\n%b\r\n" % HOST, 400, "bad_request"),
        (b"GET / HTTP/3.0\r\n%b\r\n" % HOST, 505, "http_version_not_supported"),
        (b"GET / HTTP/1.1\r\n%bX-A: a\x00b\r\n\r\n" % HOST, 400, "invalid_header"),
        (b"GET / HTTP/1.1\r\n%bX A: b\r\n\r\n" % HOST, 400, "invalid_header"),
        (b"GET / HTTP/1.1\r\n%bX-A: a\r\n folded\r\n\r\n" % HOST, 400, "invalid_header"),
        (b"GET / HTTP/1.1\r\n%b%b\r\n" % (HOST, HOST), 400, "invalid_header"),
        (b"GET / HTTP/1.1\r\n%bAuthorization Bearer %b\r\n\r\n" % (HOST, SECRET.encode()), 400, "invalid_header"),
        (b"POST / HTTP/1.1\r\n%bContent-Length: -1\r\n\r\n" % HOST, 400, "invalid_header"),
        (b"POST / HTTP/1.1\r\n%bContent-Length: 1\r\nContent-Length: 2\r\n\r\n" % HOST, 400, "invalid_header"),
        (b"POST / HTTP/1.1\r\n%bContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n" % HOST, 400, "invalid_header"),
        (b"POST / HTTP/1.1\r\n%bTransfer-Encoding: brotli, chunked\r\n\r\n" % HOST, 501, "unsupported_transfer_coding"),
        (b"GET / HTTP/1.1\r\n%bExpect: tea\r\n\r\n" % HOST, 417, "expectation_failed"),
    ],
)
def test_what_is_no_request(server, sent, status, code):
    """A problem with an id and the end of the connection, one line in the log at info, nothing of what came in either."""
    client = server.client().send(sent)
    answer = client.answer()
    assert answer.problem["code"] == code and answer.status == status
    assert answer.headers["connection"] == "close" and client.closed()
    line = server.line_of(answer.problem["request_id"])
    assert (line["level"], line["status"], line["code"]) == ("info", status, code) and "traceback" not in line
    assert SECRET not in server.log.read_text() and SECRET.encode() not in answer.body
    assert answer.body.isascii() and b"\\x" not in answer.body
    server.healthy()


@pytest.mark.parametrize("name", ["SCRIPT_NAME", "SCRIPT-NAME", "PATH_INFO", "REMOTE_ADDR", "REMOTE_USER"])
def test_headers_named_as_variables(server, name):
    """A header does not become a variable of WSGI by its name: neither a way around a check nor an error of ours."""
    before = len(server.lines())
    answer = server.client().send(b"GET /v1/indexes HTTP/1.1\r\n%b%b: /health\r\n\r\n" % (HOST, name.encode())).answer()
    assert (answer.status, answer.problem["code"]) == (401, "unauthorized")
    assert server.line_of(answer.headers["x-request-id"])["path"] == "/v1/indexes"
    assert not [line for line in server.lines()[before:] if line["level"] == "error"]


def test_a_header_is_named(server):
    """Which header it is about is said where it is a name."""
    sent = b"GET / HTTP/1.1\r\nHost: x\r\nX-Thing: a\x01b\r\n\r\n"
    assert "x-thing" in server.client().send(sent).answer().problem["detail"]


@pytest.mark.parametrize(
    "chunks", [b"zz\r\n", b"5\r\nabcdeXX", b"-5\r\nabc", b"5\r\n[1,2,\r\nqq\r\n", b"3;a=\x00\r\nabc\r\n0\r\n\r\n", b"f" * 9000]
)
@pytest.mark.parametrize("path", [DOCUMENTS, "/v1/indexes/books/search"])
def test_bad_chunks(server, chunks, path):
    """Found while the body is read: 400 as any other, and the connection ends, for nobody knows where the next request begins."""
    head = server.head("POST", path, "Content-Type: application/json", "Transfer-Encoding: chunked")
    client = server.client().send(head + chunks)
    answer = client.answer()
    assert answer.status == 400 and answer.problem["code"] == "incomplete_body"
    assert answer.headers["connection"] == "close" and client.closed()
    assert server.line_of(answer.problem["request_id"])["level"] == "info"


@pytest.mark.parametrize("given", ['"}{"level":"error"', "x" * 8000, "\xff\xfe\xa0\x85", "short", "a b c d e f g h"])
def test_request_ids(server, given):
    """One that does not look like one is not kept, and every line of the log is one JSON object."""
    sent = server.head("GET", "/v1/indexes/nothing%00%0a%1b", f"X-Request-ID: {given}")
    answer = server.client().send(sent).answer()
    assert answer.status == 404 and re.fullmatch(r"[0-9a-f]{24}", answer.problem["request_id"])
    assert server.line_of(answer.problem["request_id"])["status"] == 404


# --------------------------------------------------------------------------------------------------------- slow clients


def trickle(client: Client, pieces, pause: float) -> None:
    for piece in pieces:
        client.send(piece)
        time.sleep(pause)


@pytest.mark.parametrize("kind", ["application/json", "application/x-ndjson"])
def test_a_slow_body(server, kind):
    """Bytes that keep dribbling in do not buy time: 408 after BODY_TIMEOUT_MS in all, and the connection ends."""
    started = time.monotonic()
    client = server.client().send(server.head("POST", DOCUMENTS, f"Content-Type: {kind}", "Content-Length: 1000"))
    trickle(client, [b" "] * 20, 0.1)
    answer = client.answer()
    assert (answer.status, answer.problem["code"]) == (408, "body_timeout") and "BODY_TIMEOUT_MS" in answer.problem["detail"]
    assert answer.headers["connection"] == "close" and client.closed()
    assert time.monotonic() - started > PATIENCE
    server.healthy()


def test_a_slow_head(server):
    """The same for the head."""
    client = server.client()
    trickle(client, [b"GET / HTTP/1.1\r\n", *[b"X-A: 1\r\n"] * 20], 0.1)
    answer = client.answer()
    assert (answer.status, answer.problem["code"]) == (408, "request_timeout") and client.closed()


def test_slow_but_in_time(server):
    """A body in pieces is taken, and the connection goes on with a new patience."""
    client = server.client()
    for number in range(3):
        body = b'{"id": %d, "text": "slow"}\n' % number
        client.send(server.head("POST", DOCUMENTS, "Content-Type: application/x-ndjson", f"Content-Length: {len(body)}"))
        trickle(client, [body[:5], body[5:9], body[9:]], PATIENCE / 6)
        answer = client.answer()
        assert answer.status == 200 and json.loads(answer.body)["accepted"] == 1
        assert answer.headers["connection"] == "keep-alive"


def test_who_does_not_speak_holds_nothing(server):
    """Many connections that send nothing, or that are refused and never closed by the client, do not keep others waiting."""
    silent = [server.client() for _ in range(60)]
    refused = [server.client().send(b"nonsense\r\n\r\n") for _ in range(20)]
    started = time.monotonic()
    for _ in range(5):
        server.healthy()
    took = time.monotonic() - started
    print(f" [5 answers beside 80 idle connections: {took * 1000:.0f} ms] ", end="")
    assert took < 5
    assert all(client.answer().status == 400 for client in refused)
    assert all(client.closed() for client in silent), "they are closed when their patience is over"


@pytest.fixture(scope="module")
def heavy(server) -> bytes:
    """A request whose answer, 4 MB, is more than a socket keeps."""
    for id in range(4):
        body = b'{"text": "%b"}' % (b"x" * 1_000_000)
        assert server.client().send(server.ask("PUT", f"{DOCUMENTS}/heavy-{id}", body)).answer().status == 201
    return server.head("GET", f"{DOCUMENTS}?limit=4&cursor=heavy-")


def test_who_does_not_read_holds_nothing(server, heavy):
    """More clients than there are threads ask for much and take nothing: they are let go of, and nothing is called an error."""
    before = len(server.lines())
    clients = [server.client().send(heavy[:-2] + b"Connection: close\r\n\r\n") for _ in range(60)]
    time.sleep(PATIENCE)
    server.healthy()
    time.sleep(PATIENCE)
    for client in clients:
        while client._more():
            pass
    assert len([client for client in clients if len(client.came) < 3_000_000]) > 40
    assert not [line for line in server.lines()[before:] if line["level"] == "error"]


def test_slow_to_read(server, heavy):
    """Who takes its time, but not too much for each part, gets all."""
    client = server.client().send(heavy)
    while len(client.came) < 2_000_000:
        time.sleep(PATIENCE / 30)
        assert client._more()
    assert len(client.answer().body) > 4_000_000


def test_a_client_that_goes_away(server):
    """In the middle of a body: nothing of the unfinished line is written, one line in the log, and the server goes on."""
    body = b'{"id": "whole"}\n{"id": "cut", "text": "'
    client = server.client()
    request_id = f"gone-{os.getpid()}-away"
    head = server.head(
        "POST", DOCUMENTS, "Content-Type: application/x-ndjson", "Content-Length: 500", f"X-Request-ID: {request_id}"
    )
    client.send(head + body).close()
    line = server.line_of(request_id)
    assert (line["status"], line["code"], line["level"]) == (400, "incomplete_body", "info")
    assert server.client().send(server.ask("GET", f"{DOCUMENTS}/cut")).answer().status == 404
    server.healthy()


# ------------------------------------------------------------------------------------------- connections after errors


SMUGGLED = b"GET /v1/indexes/smuggled HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.mark.parametrize("headers", [(), ("Content-Encoding: br",)])
@pytest.mark.parametrize("size", [0, 1000, 60_000, 900_000, 2_000_000])
def test_a_body_that_was_not_read(server, size, headers):
    """It is never taken for the next request: the connection goes on after it, or ends and the answer says so."""
    body = SMUGGLED + b" " * size
    path = "/v1/nowhere" if not headers else DOCUMENTS
    client = server.client().send(server.ask("POST", path, body, *headers))
    answer = client.answer()
    assert answer.status in (404, 405, 413, 415)
    if answer.headers["connection"] == "close":
        assert client.closed() and size > 1000
    else:
        assert size < 900_000
        assert client.send(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n").answer().body == b'{"status":"ok"}'


def test_a_chunked_body_that_is_too_long(server):
    """Cut off at MAX_BODY_BYTES with 413, and the connection ends."""
    head = server.head("POST", DOCUMENTS, "Content-Type: application/x-ndjson", "Transfer-Encoding: chunked")
    client = server.client().send(head)
    for _ in range(20):
        client.send(b"20000\r\n" + b"\n" * 0x20000 + b"\r\n")
    answer = client.answer()
    assert (answer.status, answer.problem["code"]) == (413, "too_large") and answer.headers["connection"] == "close"
    server.healthy()


def test_pipelined_requests(server):
    """What comes behind a body that was read is the next request."""
    one = server.ask("POST", DOCUMENTS, b'[{"id": "pipe"}]')
    client = server.client().send(one + server.ask("GET", f"{DOCUMENTS}/pipe") + server.ask("GET", "/health"))
    assert [client.answer().status for _ in range(3)] == [200, 200, 200]


@pytest.mark.slow
def test_stopping(tmp_path, capsys):
    """Connections that say nothing do not keep a server that is told to stop."""
    with served(tmp_path) as server:
        silent = [server.client() for _ in range(5)]
        server.healthy()
        started = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(60) == 0
        took = time.monotonic() - started
        assert all(client.closed() for client in silent)
    with capsys.disabled():
        print(f" [stopped in {took:.1f} s] ", end="")
    assert took < 15, "Gunicorn's grace is 30 s"


# ---------------------------------------------------------------------------------------------------------------- memory


def resident(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    return int(re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())[1]) * 1024


def send_chunked(server: Server, packed: bool, megabytes: int) -> Answer:
    """NDJSON of about so many megabytes, made while it is sent."""
    extra = ("Content-Encoding: gzip",) if packed else ()
    client = server.client()
    client.socket.settimeout(120)
    client.send(server.head("POST", DOCUMENTS, "Content-Type: application/x-ndjson", "Transfer-Encoding: chunked", *extra))
    packer = zlib.compressobj(1, wbits=31)
    text = "".join(chr(97 + n % 26) for n in range(50_000))
    for number in range(megabytes * 20):
        piece = b'{"id": %d, "text": "%b"}\n' % (number % 50, text.encode())
        piece = packer.compress(piece) if packed else piece
        if piece:
            client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
    rest = packer.flush() if packed else b""
    client.send((b"%x\r\n%b\r\n" % (len(rest), rest) if rest else b"") + b"0\r\n\r\n")
    return client.answer()


@pytest.mark.slow
def test_memory_is_bounded(tmp_path, capsys):
    """NDJSON of 200 MB, plain and as gzip, and a bomb: the worker's memory hardly grows, and the workers are the same after it."""
    with served(tmp_path, MAX_BODY_BYTES="256MiB", MAX_UNPACKED_BYTES="256MiB", BODY_TIMEOUT_MS=600_000) as server:
        server.client().send(server.ask("POST", "/v1/indexes", b'{"name": "books"}')).answer()
        server.client().send(server.ask("POST", DOCUMENTS, b'[{"id": 1, "text": "x"}]')).answer()
        workers = server.workers()
        (pid,) = workers
        before, said = resident(pid), []
        for packed in (False, True):
            started = time.monotonic()
            answer = send_chunked(server, packed, 200)
            assert answer.status == 200 and json.loads(answer.body)["accepted"] == 4000
            grown = resident(pid) - before
            said.append(f"200 MB{' as gzip' if packed else ''}: {grown >> 20} MiB more, {time.monotonic() - started:.1f} s")
            assert grown < 80 << 20
        bomb = gzip.compress(bytes(1 << 20), 9) * 250
        answer = (
            server.client()
            .send(server.ask("POST", DOCUMENTS, bomb, "Content-Encoding: gzip", kind="application/x-ndjson"))
            .answer()
        )
        assert answer.status == 422 and answer.problem["errors"][0]["code"] == "document_too_large"
        bomb = gzip.compress(bytes(1 << 20), 9) * 300
        for kind in ("application/json", "application/x-ndjson"):
            answer = server.client().send(server.ask("POST", DOCUMENTS, bomb, "Content-Encoding: gzip", kind=kind)).answer()
            assert answer.problem["code"] == "unpacked_too_large", answer.body
            server.healthy()
        said.append(f"at most {resident(pid) >> 20} MiB in all")
        assert server.workers() == workers
    with capsys.disabled():
        print(f" [{'; '.join(said)}] ", end="")
