"""The load itself: that it finds what it is to find, against a server on loopback that fails on purpose."""

from __future__ import annotations

import datetime
import http.server
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from .load import Plan, figures, load
from .server import DOMAIN

SECONDS = 3.0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with a certificate for the domain, and its key."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string(f"CN={DOMAIN}")
    now = datetime.datetime.now(datetime.UTC)
    day = datetime.timedelta(days=1)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number(), now - day, now + day)
    made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(DOMAIN)]), critical=False).sign(key, hashes.SHA256())
    path = tmp_path_factory.mktemp("tls") / "both.pem"
    plain = serialization.NoEncryption()
    path.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    )
    return str(path)


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers 200, unless the server's `fault` says another status; None closes the connection without an answer."""

    protocol_version = "HTTP/1.1"
    asked = 0  # on this connection

    def answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.asked += 1
        status = self.server.fault(self)
        if status is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    do_GET = do_PUT = do_POST = answer

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def serve(certificate: str) -> Iterator[Callable[[Callable[[Handler], int | None]], int]]:
    """`serve(fault)` starts a server; its port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    started = []

    def run(fault: Callable[[Handler], int | None]) -> int:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.fault, server.handle_error = fault, lambda *_: None
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        started.append(server)
        return server.server_address[1]

    yield run
    for server in started:
        server.shutdown()
        server.server_close()


FAULTS: dict[str, tuple[Callable[[Handler], int | None], bool, bool]] = {  # name: (fault, resets, failures)
    "none": (lambda h: 200, False, False),
    "reused connections are closed": (lambda h: None if h.asked > 3 else 200, True, False),
    "a 5xx now and then": (lambda h: 503 if "q=river" in h.path else 200, False, True),
    "a 4xx now and then": (lambda h: 429 if "q=river" in h.path else 200, False, True),
    "fresh connections are closed": (lambda h: None if h.asked == 1 and "q=river" in h.path else 200, False, True),
}


@pytest.mark.parametrize("name", FAULTS)
def test_what_counts(serve, certificate, tmp_path, name):
    """Resets of reused connections are counted and are no failure; a 5xx, a 4xx and an error on a fresh connection are."""
    fault, resets, failures = FAULTS[name]
    plan = Plan(
        *("127.0.0.1", DOMAIN, certificate, ("127.0.0.1",), "sk_of_the_tests", "books", 30.0),
        *(str(tmp_path / "events"), str(tmp_path / "acknowledged"), serve(fault)),
    )
    with load(plan, tmp_path) as running:
        with running.during("all"):
            time.sleep(SECONDS)
        running.stop()
    found = figures(running.events())
    assert found.requests > 20 and (found.resets > 0) == resets and bool(found.failures) == failures, found
    assert figures(running.within("all")).requests >= found.requests - 10
    assert json.loads((tmp_path / "acknowledged").read_text())
