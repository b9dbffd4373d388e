"""Gunicorn's threaded worker, with four differences.

- What it refuses itself, before there is a request, is a problem (RFC 9457) and one line in the log, like every other error.
- A request must arrive within BODY_TIMEOUT_MS, its head and its body together, not counting the time that we take meanwhile: a
  socket loses its patience. Gunicorn's own would wait for ever, and hold a thread.
- An answer must be taken: each 256 KiB of it within BODY_TIMEOUT_MS, or the connection is closed.
- Clients that are slow to speak or to close do not hold up the loop that accepts connections, nor a thread before they have spoken.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import select
import selectors
import socket
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from functools import partial
from http import HTTPStatus
from typing import Any

from gunicorn import util
from gunicorn.http import errors
from gunicorn.workers.gthread import TConn, ThreadWorker

from . import config, logs, problems
from .exceptions import BodyTimeout

DRAINED = 64 * 1024  # bytes of an unread body that Gunicorn reads and drops, so that the connection can be used again
PIECE = 256 * 1024  # bytes of an answer that a client may take BODY_TIMEOUT_MS for

# Of the errors of Gunicorn's that are the client's: the code in problems.SERVER_CODES. The first that fits counts.
CODES: tuple[tuple[type[Exception] | tuple[type[Exception], ...], str], ...] = (
    (BodyTimeout, "request_timeout"),
    (errors.LimitRequestLine, "request_line_too_long"),
    (errors.LimitRequestHeaders, "headers_too_large"),
    (errors.ExpectationFailed, "expectation_failed"),
    (errors.UnsupportedTransferCoding, "unsupported_transfer_coding"),
    (errors.InvalidHTTPVersion, "http_version_not_supported"),
    ((errors.InvalidHeader, errors.InvalidHeaderName, errors.ObsoleteFolding, errors.InvalidSchemeHeaders), "invalid_header"),
    (errors.ParseException, "bad_request"),
)
OURS = (errors.InvalidResponseHeader, errors.InvalidResponseHeaderName, errors.ConfigurationProblem)


class PatientSocket(socket.socket):
    """A socket that waits `patience` seconds in all for what is to be received, then raises BodyTimeout. What is there already is
    received at no cost. What is sent must be taken: each PIECE within `pace` seconds, else BrokenPipeError is raised, as if the
    client had gone. Where a timeout was set, that one holds."""

    __slots__ = ("pace", "patience")

    def __init__(self, given: socket.socket, pace: float):
        super().__init__(given.family, given.type, given.proto, given.detach())
        self.setblocking(False)  # as Gunicorn has made it, which Python does not see
        self.patience, self.pace = 0.0, pace

    def sendall(self, data: bytes, flags: int = 0) -> None:
        if self.gettimeout() is not None:
            return super().sendall(data, flags)
        try:
            sent = self.send(data, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:
            sent = 0
        if sent < len(data):
            self._send_slowly(memoryview(data)[sent:], flags)

    def _send_slowly(self, data: memoryview, flags: int) -> None:
        self.settimeout(self.pace)
        try:
            for start in range(0, len(data), PIECE):
                super().sendall(data[start : start + PIECE], flags)
        except TimeoutError:
            raise BrokenPipeError(errno.EPIPE, "The client does not take its answer.") from None
        finally:
            self.settimeout(None)

    def recv(self, size: int, flags: int = 0) -> bytes:
        if self.gettimeout() is not None:
            return super().recv(size, flags)
        try:
            return super().recv(size, flags | socket.MSG_DONTWAIT)
        except BlockingIOError:
            self._wait()
        return super().recv(size, flags)

    def _wait(self) -> None:
        poll, started = select.poll(), time.monotonic()
        poll.register(self, select.POLLIN)
        if self.patience <= 0 or not poll.poll(self.patience * 1000):
            raise BodyTimeout("The request took too long to arrive (BODY_TIMEOUT_MS). Send less at a time.")
        self.patience -= time.monotonic() - started


class Worker(ThreadWorker):
    def init_process(self) -> None:
        self._patience = config.load().body_timeout_ms / 1000
        super().init_process()

    def load_wsgi(self) -> None:
        super().load_wsgi()
        self._application, self.wsgi = self.wsgi, self._answer

    # ---------------------------------------------------------------------------------------------- connections

    def enqueue_req(self, conn: TConn) -> None:
        """A new connection waits for its first byte in the poller; Gunicorn would keep a thread for it."""
        if conn.initialized or conn.data_ready:
            super().enqueue_req(conn)
            return
        conn.sock = PatientSocket(conn.sock, self._patience)
        conn.timeout = time.monotonic() + self._patience
        self.pending_conns.append(conn)
        self.poller.register(conn.sock, selectors.EVENT_READ, partial(self.on_pending_socket_readable, conn))

    def handle(self, conn: TConn) -> Any:
        """In a thread of its own: one request. The connection is closed here too, because it is closed by waiting, up to two
        seconds, for the client to do the same, and the loop must not wait."""
        conn.sock.patience = self._patience
        kept = super().handle(conn)
        if not kept:
            util.close_graceful(conn.sock)
        return kept

    def finish_request(self, conn: TConn, future: Future) -> None:
        if conn.sock.fileno() == -1:
            self.nr_conns -= 1
        else:
            super().finish_request(conn, future)

    def _cap_keepalive(self, deadline: float) -> None:
        """When the worker stops, those that have not spoken do not keep it."""
        super()._cap_keepalive(deadline)
        for conn in self.pending_conns:
            conn.timeout = min(conn.timeout, deadline)

    # -------------------------------------------------------------------------------------------------- answers

    def _answer(self, environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        """The application's answer. Where too much of the body is left unread, or nobody knows where it ends, the connection cannot
        be used again, and the answer says so."""
        body = environ["wsgi.input"]
        answer = self._application(environ, start_response)
        if body.failed or _left(body.reader) > DRAINED:
            start_response.__self__.force_close()  # type: ignore[attr-defined]
        return answer

    def handle_error(self, request: Any, client: socket.socket, address: Any, error: Exception) -> None:
        """Answer and log what became no request. Nothing of it is repeated: it may be anything, also a key."""
        code = _code_of(error)
        if code == "internal_error":
            self.log.exception("a request could not be answered")
        request_id = os.urandom(12).hex()
        status, body = problems.of_server(code, request_id, _header_of(error))
        facts = {"request_id": request_id, "status": status, "code": code, "bytes": len(body)}
        logs.request_line(facts, logging.INFO if code != "internal_error" else logging.ERROR)
        head = (
            f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Type: application/problem+json\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nX-Request-ID: {request_id}\r\nConnection: close\r\n\r\n"
        )
        try:
            util.write_nonblock(client, head.encode() + body)
        except OSError:
            self.log.debug("The client was gone before it could be told.")


def _code_of(error: Exception) -> str:
    """The code in problems.SERVER_CODES."""
    if isinstance(error, OURS):
        return "internal_error"
    if isinstance(error, errors.InvalidHTTPVersion) and not isinstance(error.version, tuple):  # none at all
        return "bad_request"
    return next((code for kinds, code in CODES if isinstance(error, kinds)), "internal_error")


def _left(reader: Any) -> int:
    """How much of a body Gunicorn has not read yet; of chunks nobody knows."""
    if hasattr(reader, "length"):
        return reader.length
    return DRAINED + 1 if getattr(reader, "parser", None) is not None else 0


def _header_of(error: Exception) -> str | None:
    """The name of the header that an error is about, where it is one: the error may hold the whole line."""
    name = str(getattr(error, "hdr", "")).partition(":")[0]
    return name.lower() if re.fullmatch(r"[A-Za-z0-9-]{1,60}", name) else None
