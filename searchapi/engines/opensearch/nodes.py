"""The nodes of a cluster: a bounded pool of connections to each, and which of them is asked next."""

from __future__ import annotations

import itertools
import logging
import re
import ssl
import threading
from collections.abc import Collection, Iterator
from time import monotonic

from opensearchpy import Urllib3HttpConnection
from urllib3 import BaseHTTPResponse, Timeout
from urllib3.exceptions import ConnectTimeoutError, EmptyPoolError, HTTPError, NewConnectionError, ReadTimeoutError
from urllib3.util.retry import Retry

from ...exceptions import EngineUnavailable, Invalid
from .target import Target

log = logging.getLogger("searchapi.opensearch")

JSON = "application/json"
NDJSON = "application/x-ndjson"
CONNECT = 1.0  # seconds
PART = 65536  # bytes
LOOK = 0.5  # seconds that a node which was left out has to say that it is back
FIRST_OUT, LONGEST_OUT = 0.1, 5.0  # seconds
SLOW_AFTER = 2  # requests, one behind the other, that a node did not answer in time


_NO_RETRY = Retry(False)  # nor is a redirect followed


class Unsent(Exception):
    """The node was not reached: nothing of the request has happened."""


class Broken(Exception):
    """The connection broke: whether the node did what was asked is not known."""


class Late(Exception):
    """The node did not answer in time; nor is it known whether it did what was asked."""


class Node(Urllib3HttpConnection):
    """opensearch-py's connections to one node, as many as there are threads. It is used for what it knows of TLS and users;
    its errors and its log lines, one or two with a traceback for each request that fails, are replaced by ours."""

    def __init__(self, target: Target, host: str, port: int, size: int, context: ssl.SSLContext | None):
        self.name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        headers = {"authorization": target.authorization} if target.authorization else None  # its own would be Latin-1
        super().__init__(
            host, port, headers=headers, use_ssl=context is not None, ssl_context=context, pool_maxsize=size, timeout=None
        )
        self.out_until = 0.0  # while it is left out, by monotonic()
        self.failures = self.late = 0  # one behind the other

    def _create_urllib3_pool(self) -> None:
        super()._create_urllib3_pool()
        self.pool.block = True  # never more connections than that

    def send(self, method: str, url: str, body: bytes | None, kind: str, connect: float, within: float) -> tuple[int, bytes]:
        """(status, body). Raises Unsent, Broken and Late. connect, within: seconds, for the connection and for the answer."""
        pool = self.pool
        if pool is None:
            raise EngineUnavailable("The connection to the search engine is closed.")
        ends = monotonic() + within
        options = {"timeout": Timeout(connect=connect, read=within), "pool_timeout": connect, "retries": _NO_RETRY}
        headers = self.headers | {"content-type": kind}
        try:
            response = pool.urlopen(method, url, body, headers, preload_content=False, **options)
            return response.status, _body(response, ends)
        except EmptyPoolError:  # more threads than were said
            raise EngineUnavailable("All connections to the search engine are in use.") from None
        except (NewConnectionError, ConnectTimeoutError) as error:
            raise Unsent(f"{self.name}: {_reason(error)}") from None
        except ReadTimeoutError:
            raise Late(f"{self.name}: no answer within {within:.1f} s") from None
        except (HTTPError, OSError) as error:
            raise Broken(f"{self.name}: {_reason(error)}") from None


def _body(response: BaseHTTPResponse, ends: float) -> bytes:
    """A long one part by part: the timeout of a socket is for each of them, and a slow network has many."""
    left = response.length_remaining
    if left is not None and left <= PART:
        return response.data
    parts = []
    while part := response.read1(PART):
        parts.append(part)
        if monotonic() > ends:
            response.close()
            response.release_conn()  # closed as it is, its place in the pool is free
            raise ReadTimeoutError(None, None, "its end did not come")
    return b"".join(parts)


def _reason(error: Exception) -> str:
    """`Connection refused`, without what urllib3 puts before it."""
    error = next((arg for arg in error.args if isinstance(arg, Exception)), error)
    text = re.sub(r"^Failed to establish a new connection: (\[Errno -?\d+\] )?", "", str(error).rpartition("): ")[2])
    return text or type(error).__name__


class Nodes:
    """All nodes of a target. One that was not reached is left out for a short time, longer each time, and asked whether it is
    back before it is trusted with a request."""

    def __init__(self, target: Target, size: int):
        context = _context(target) if target.tls else None
        self._nodes = [Node(target, host, port, size, context) for host, port in target.hosts]
        self._turn = itertools.count()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._nodes)

    def __iter__(self) -> Iterator[Node]:
        return iter(self._nodes)

    def choose(self, tried: Collection[Node] = ()) -> Node:
        """The next in turn of those that are there and were not tried; else the one that may be back soonest."""
        turn = next(self._turn)
        nodes = [self._nodes[(turn + i) % len(self._nodes)] for i in range(len(self._nodes))]
        nodes = [node for node in nodes if node not in tried] or nodes
        if len(nodes) == 1:
            return nodes[0]
        now = monotonic()
        for node in nodes:
            if node.out_until <= now and (not node.failures or self._is_back(node)):
                return node
        return min(nodes, key=lambda node: node.out_until)

    def _is_back(self, node: Node) -> bool:
        """One thread looks, and for the others it is still left out."""
        with self._lock:
            now = monotonic()
            if node.out_until > now:
                return False
            node.out_until = now + 2 * LOOK
        return self.look(node, LOOK)

    def look(self, node: Node, within: float = CONNECT) -> bool:
        """Whether the node answers at all: anything, but not that what stands behind a proxy is away."""
        try:
            status, _ = node.send("GET", "/", None, JSON, within, within)
        except (Unsent, Broken, Late) as error:
            self.failed(node, error)
            return False
        if status in (502, 503, 504):
            self.failed(node, f"{node.name}: answers {status}")
            return False
        self.answered(node)
        return True

    def answered(self, node: Node) -> None:
        if node.failures or node.late:
            if node.failures:
                log.info("OpenSearch is back: %s", node.name)
            node.failures = node.late = 0
            node.out_until = 0.0

    def failed(self, node: Node, why: object) -> None:
        with self._lock:
            if not node.failures:  # one line, and one when it is back; the requests that fail have theirs
                log.warning("OpenSearch does not answer: %s", why)
            node.out_until = monotonic() + min(FIRST_OUT * 2**node.failures, LONGEST_OUT)
            node.failures = min(node.failures + 1, 16)

    def slow(self, node: Node, why: object) -> None:
        node.late += 1
        if node.late >= SLOW_AFTER:
            self.failed(node, why)

    def close(self) -> None:
        for node in self._nodes:
            node.close()


def _context(target: Target) -> ssl.SSLContext:
    """Raises Invalid where a file cannot be used."""
    name, path = "ca", target.ca
    try:
        context = ssl.create_default_context(cafile=target.ca)
        if target.cert is not None:
            name, path = "cert", target.cert
            context.load_cert_chain(
                target.cert, target.key, password=""
            )  # a key with a password is refused: nobody is asked for it
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Invalid.at("ENGINE_URL", "tls_file", f"ENGINE_URL: its {name}, {path}, cannot be used: {why}.") from None
    return context
