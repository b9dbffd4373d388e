"""A real Nginx with the files of a server, moved into a folder and onto free ports; a small upstream; a stand-in for journald."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from socketserver import ThreadingUnixStreamServer

import pytest

from deploy import web
from deploy.inventory import Host
from tests.redis import free_port

DOMAIN = "search.example.com"
HOST = Host("production", "203.0.113.10", "SHA256:" + "A" * 43, DOMAIN, "you@example.com")
STARTS_WITHIN = 30.0
# Who a client is, where a test plays several. And no folder of the machine's own.
OWN = """
set_real_ip_from 127.0.0.0/8;
real_ip_header X-Test-Address;
client_body_temp_path {root}/body;
proxy_temp_path {root}/proxy;
fastcgi_temp_path {root}/fastcgi;
uwsgi_temp_path {root}/uwsgi;
scgi_temp_path {root}/scgi;
"""


def program(name: str) -> str:
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    if path is None:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(f"needs the program {name}")
    return path


def installed() -> web.Server:
    """The versions of this machine. certbot's plays no part here."""
    said = subprocess.run([program("nginx"), "-V"], capture_output=True, text=True, check=True, timeout=30).stderr
    return web.server(said, "certbot 2.1.0", ipv6=has_ipv6(), certificate=True)


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@dataclass
class Asked:
    """A request as the upstream saw it."""

    method: str
    path: str
    headers: dict[str, str]
    body: int
    slot: str


class Upstream:
    """Stands for the application: a slot's socket. `/v1/large`, `/v1/slow`, `/v1/broken`, `/v1/dropped`; everything else is
    answered with what was asked for."""

    def __init__(self, path: Path):
        self.path, self.asked = path, []
        self.release = threading.Event()  # of those who wait at /v1/slow
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                body = self._body()
                upstream.asked.append(
                    Asked(self.command, self.path, {k.lower(): v for k, v in self.headers.items()}, len(body), path.stem)
                )
                where = self.path.partition("?")[0]
                if where == "/v1/dropped":
                    self.close_connection = True
                    return
                if where == "/v1/slow":
                    upstream.release.wait(30)
                if where == "/v1/broken":
                    self._start(200, ("Transfer-Encoding", "chunked"))
                    self.wfile.write(b"5\r\nhello\r\n")
                    self.close_connection = True
                    return
                answer = json.dumps({"path": self.path, "fill": "x" * 5000 if where == "/v1/large" else ""}).encode()
                self._start(200, ("Content-Length", str(len(answer))))
                self.wfile.write(answer)

            do_POST = do_PUT = do_DELETE = do_HEAD = do_GET

            def _start(self, status: int, *headers: tuple[str, str]) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("X-Request-ID", self.headers.get("X-Request-ID", ""))
                for name, value in headers:
                    self.send_header(name, value)
                self.end_headers()

            def _body(self) -> bytes:
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))

            def address_string(self) -> str:
                return "unix"

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingUnixStreamServer(str(path), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self.release.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(30)
        self.path.unlink(missing_ok=True)


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]  # names in lower case
    body: bytes

    def header(self, name: str) -> str | None:
        """Its value; None where it is missing, and never there twice."""
        found = [value for key, value in self.headers if key == name]
        assert len(found) <= 1, self.headers
        return found[0] if found else None

    @property
    def problem(self) -> dict:
        """The body of an error, which has the one shape that all have."""
        assert self.header("content-type") == "application/problem+json", (self.headers, self.body[:200])
        found = json.loads(self.body)
        assert set(found) == {"type", "title", "status", "detail", "code", "request_id"}
        assert found["status"] == self.status and found["type"] == f"urn:searchapi:problem:{found['code']}"
        assert found["title"] == found["code"].replace("_", " ").capitalize() and found["detail"]
        assert found["request_id"] == self.header("x-request-id") and self.header("cache-control") == "no-store"
        return found


class Refused(Exception):
    """The connection was closed without an answer."""


@dataclass
class Nginx:
    """A context manager. settings: as of web.files. edit: changes the files' texts, for what would take too long in a test."""

    root: Path
    server: web.Server = field(default_factory=installed)
    settings: Mapping[str, str] = field(default_factory=dict)
    edit: Callable[[str], str] = str

    def __post_init__(self):
        self.http, self.https = free_port(), free_port()
        self.ipv6 = self.server.ipv6
        self.config = self.root / "etc/nginx/nginx.conf"
        self.live, self.journal_socket = self.root / "live.sock", self.root / "log.sock"
        self.certificate = self.root / f"etc/letsencrypt/live/{DOMAIN}/fullchain.pem"
        for folder in ("log", "acme", "etc/nginx/conf.d", "etc/nginx/modules-enabled"):
            (self.root / folder).mkdir(parents=True)
        (self.root / "etc/nginx/mime.types").write_text("types { text/html html; application/json json; }\n")
        (self.root / "etc/nginx/conf.d/test.conf").write_text(OWN.format(root=self.root))
        certify(self.certificate)
        self.write()
        self._journal: list[str] = []
        self._process: subprocess.Popen | None = None

    def write(self, **changes: object) -> None:
        """The files of a server that has changed so."""
        self.server = replace(self.server, **changes)
        for path, text in web.files(HOST, self.server, self.settings).items():
            if path.startswith("/etc/nginx/"):
                moved = self.root / path[1:]
                moved.parent.mkdir(parents=True, exist_ok=True)
                moved.write_text(self._moved(self.edit(text)))

    def _moved(self, text: str) -> str:
        places = {
            "/etc/nginx": self.root / "etc/nginx",
            "/etc/letsencrypt": self.root / "etc/letsencrypt",
            " buffer=32k flush=1s": "",  # a test waits for each line
            "/var/log/nginx": self.root / "log",
            "/var/www/acme": self.root / "acme",
            "/srv/searchapi/live.sock": self.live,
            "/dev/log": self.journal_socket,
            "/run/nginx.pid": self.root / "nginx.pid",
            "user www-data;": "user root;" if os.geteuid() == 0 else "",
            "listen 80": f"listen 127.0.0.1:{self.http}",
            "listen [::]:80": f"listen [::1]:{self.http}",
            "listen 443": f"listen 127.0.0.1:{self.https}",
            "listen [::]:443": f"listen [::1]:{self.https}",
        }
        for place, moved in places.items():
            text = text.replace(place, str(moved))
        return text

    def test(self) -> subprocess.CompletedProcess:
        """nginx -t"""
        return subprocess.run(self._command("-t"), capture_output=True, text=True, timeout=60)

    def _command(self, *arguments: str) -> list[str]:
        lock = f"lock_file {self.root}/nginx.lock;"
        return [program("nginx"), "-c", str(self.config), "-e", str(self.root / "log/stderr"), "-g", lock, *arguments]

    def __enter__(self) -> Nginx:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._listener.bind(str(self.journal_socket))
        self._reader = threading.Thread(target=self._read_journal, daemon=True)
        self._reader.start()
        command = self._command()
        command[command.index("-g") + 1] += " daemon off;"
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + STARTS_WITHIN
        while not self._listens():
            assert self._process.poll() is None and time.monotonic() < end, self.logs()
            time.sleep(0.02)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(30)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", str(self.journal_socket))
        self._reader.join(30)
        self._listener.close()

    def _read_journal(self) -> None:
        """All the time, because what finds the socket full is lost."""
        while line := self._listener.recv(65536):
            self._journal.append(line.decode())

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.https), 5).close()
        except OSError:
            return False
        return True

    def reload(self) -> None:
        """And wait until the new workers are there: the file of the process is not written, so by who answers."""
        before = self._workers()
        self._process.send_signal(signal.SIGHUP)
        end = time.monotonic() + STARTS_WITHIN
        while self._workers() & before or not self._workers():
            assert time.monotonic() < end, "old workers stay"
            time.sleep(0.02)

    def _workers(self) -> set[str]:
        return set(Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split())

    # asking

    def connect(self, *, name: str | None = DOMAIN, tls: bool = True, ipv6: bool = False) -> socket.socket:
        """A connection; name: of the TLS handshake."""
        address = "::1" if ipv6 else "127.0.0.1"
        plain = socket.create_connection((address, self.https if tls else self.http), 30)
        if not tls:
            return plain
        context = ssl.create_default_context(cafile=self.certificate)
        context.check_hostname = name == DOMAIN
        try:
            return context.wrap_socket(plain, server_hostname=name)
        except BaseException:
            plain.close()
            raise

    def ask(
        self,
        target: str = "/v1/indexes",
        method: str = "GET",
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        **how: object,
    ) -> Answer:
        """One request on a connection of its own."""
        with self.connect(**how) as connection:
            return ask(connection, target, method, headers, body)

    # what was written

    def lines(self, request_id: str | None = None) -> list[dict]:
        """Of the access log, each of them JSON; with an id that one's, as soon as it is there."""
        return self._found(lambda: [json.loads(row) for row in self._read("access.log").splitlines()], request_id)

    def journal(self, request_id: str | None = None) -> list[dict]:
        """The same of what went to the journal."""
        return self._found(lambda: [json.loads(row.partition("nginx: ")[2]) for row in self._journal if "{" in row], request_id)

    def told_the_journal(self, request_id: str) -> bool:
        """Whether it did. The line is sent at once, and the access log's is written later: look there before."""
        return any(f'"{request_id}"' in row for row in self._journal)

    def _found(self, read: Callable[[], list[dict]], request_id: str | None) -> list[dict]:
        end = time.monotonic() + 10
        while True:
            rows = [row for row in read() if request_id in (None, row["request_id"])]
            if rows or request_id is None or time.monotonic() > end:
                return rows
            time.sleep(0.05)

    def logs(self) -> str:
        """All that was written, anywhere."""
        return "\n".join([*self._journal, self._read("access.log"), self._read("stderr")])

    def _read(self, name: str) -> str:
        path = self.root / "log" / name
        return path.read_text() if path.exists() else ""


def ask(
    connection: socket.socket,
    target: str = "/v1/indexes",
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
) -> Answer:
    """One request, exactly so. `headers` win over those that belong to every request."""
    given = {"Host": DOMAIN} | ({} if body is None else {"Content-Length": str(len(body))}) | dict(headers or {})
    head = "".join(f"{name}: {value}\r\n" for name, value in given.items() if value is not None)
    return send(connection, f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b""), method)


def send(connection: socket.socket, data: bytes, method: str = "GET") -> Answer:
    """Exactly these bytes. Raises Refused where nothing comes back."""
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent: the answer is there
        connection.sendall(data)
    response = http.client.HTTPResponse(connection, method=method)
    try:
        response.begin()
        body = response.read()
    except (http.client.RemoteDisconnected, http.client.BadStatusLine, ConnectionResetError) as error:
        raise Refused(repr(error)) from None
    finally:
        response.close()
    return Answer(response.status, [(name.lower(), value) for name, value in response.getheaders()], body)


def certify(fullchain: Path, domain: str = DOMAIN) -> None:
    """A certificate that is its own authority, and its key."""
    fullchain.parent.mkdir(parents=True)
    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", str(fullchain.parent / "privkey.pem")]
    subject = ["-subj", f"/CN={domain}", "-addext", f"subjectAltName=DNS:{domain}"]
    command = [program("openssl"), "req", "-x509", *key, *subject, "-days", "2", "-out", str(fullchain)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)


@contextlib.contextmanager
def running(root: Path, **options: object) -> Iterator[tuple[Nginx, Upstream]]:
    """Nginx and its upstream, which is the blue slot."""
    nginx = Nginx(root, **options)
    upstream = Upstream(root / "blue.sock")
    nginx.live.symlink_to(upstream.path)
    try:
        with nginx:
            yield nginx, upstream
    finally:
        upstream.close()
