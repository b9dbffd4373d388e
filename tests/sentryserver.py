"""A stand-in for Sentry on the loopback address that keeps what it is sent."""

from __future__ import annotations

import gzip
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

KEY = "0123456789abcdef0123456789abcdef"  # of its one project  # pragma: allowlist secret
WITHIN = 30.0  # seconds; generous, for a busy machine


@dataclass
class Sentry:
    """`with Sentry() as sentry: … sentry.dsn …`. status: what it answers; hangs: it does not answer at all."""

    status: int = 200
    hangs: bool = False
    raw: list[bytes] = field(default_factory=list)  # bodies, unpacked

    def __enter__(self) -> Sentry:
        sentry, self._over = self, threading.Event()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                sentry.raw.append(gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
                if sentry.hangs:
                    sentry._over.wait(60)
                self.send_response(sentry.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))
        self._thread.start()
        self.dsn = f"http://{KEY}@127.0.0.1:{self._server.server_port}/42"
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def items(self, kind: str) -> list[dict[str, Any]]:
        """What came in envelopes: `event` or `transaction`."""
        found = []
        for body in list(self.raw):
            _, *rest = body.split(b"\n")
            for head, payload in zip(rest[::2], rest[1::2], strict=False):
                if head and json.loads(head)["type"] == kind:
                    found.append(json.loads(payload))
        return found

    def wait(self, kind: str, count: int = 1) -> list[dict[str, Any]]:
        """At least so many of them."""
        eventually(lambda: len(self.items(kind)) >= count, f"{count} {kind}s; there are {self.raw!r}")
        return self.items(kind)


def eventually(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + WITHIN
    while not true():
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)
