"""A TCP proxy in front of a real server, for what a network does: delays, silence, broken and refused connections."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
import time

METHODS = (b"GET ", b"PUT ", b"POST ", b"HEAD ", b"DELETE ")


class Proxy:
    """A context manager. What `mode` says counts for the connections that are there, too.

    mode: `pass`; `hang`: what comes is read, and nothing answered; `reset`: the connection breaks when something comes;
    `answer`: everything is answered with `canned`. delay: seconds that each answer waits. refuse() and listen(): whether it takes
    connections at all.
    """

    def __init__(self, upstream: int, host: str = "127.0.0.1"):
        self.mode, self.delay, self.canned = "pass", 0.0, b""
        self.requests = 0  # that have begun
        self.open = self.most = 0  # connections: now, and at once
        self._upstream, self._host = upstream, host
        self._lock = threading.Lock()
        self._sockets: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._listener: socket.socket | None = None
        self.port = 0

    def __enter__(self) -> Proxy:
        self.listen()
        return self

    def __exit__(self, *_: object) -> None:
        self.refuse()
        for thread in self._threads:
            thread.join(10)

    def answer(self, status: int, body: bytes = b"{}", kind: str = "application/json") -> None:
        """From now on."""
        head = f"HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
        self.mode, self.canned = "answer", head.encode() + body

    def listen(self) -> None:
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        self._listener = socket.create_server((self._host, self.port), family=family)
        self.port = self._listener.getsockname()[1]
        self._start(self._accept, self._listener)

    def refuse(self) -> None:
        """No connection is taken, and those that are there are closed."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # which wakes up who accepts
            listener.close()
        with self._lock:
            left = list(self._sockets)
        for one in left:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def _start(self, target, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            self._start(self._serve, client)

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket() as server:
            with self._lock:
                self._sockets |= {client, server}
                self.open += 1
                self.most = max(self.most, self.open)
            back = threading.Thread(target=self._answers, args=(server, client), daemon=True)
            with contextlib.suppress(OSError):
                server.connect(("127.0.0.1", self._upstream))
                back.start()
                self._asks(client, server)
            for one in (client, server):
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            if back.ident is not None:
                back.join(30)
            with self._lock:
                self._sockets -= {client, server}
                self.open -= 1

    def _asks(self, client: socket.socket, server: socket.socket) -> None:
        while data := client.recv(65536):
            if data.startswith(METHODS):
                self.requests += 1
                if self.mode == "answer":
                    client.sendall(self.canned)
            if self.mode == "reset":
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return client.close()
            if self.mode == "pass":
                server.sendall(data)

    def _answers(self, server: socket.socket, client: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(65536):
                if self.delay:
                    time.sleep(self.delay)
                client.sendall(data)
