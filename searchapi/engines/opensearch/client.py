"""What is asked of an OpenSearch cluster goes through a `Cluster`: timeouts, retries, failover, breaker, and what errors mean."""

from __future__ import annotations

import logging
import math
import random
import time
from collections.abc import Mapping
from time import monotonic
from typing import Any
from urllib.parse import urlencode

import orjson

from ...exceptions import DeadlineExceeded, EngineError, EngineUnavailable, StorageFull
from .circuit import Breaker, Budget, Open
from .nodes import CONNECT, JSON, NDJSON, Broken, Late, Node, Nodes, Unsent
from .target import Target

log = logging.getLogger("searchapi.opensearch")

TIMEOUT = 10.0  # seconds
TRIES = 3  # of one request at most, where nodes were reached
PAUSE = 0.05  # seconds, about, before the same node is asked again
BUSY = (429, 502, 503, 504)
# What OpenSearch says with 503 where not one index but the whole cluster is away. A proxy's own 5xx says none of it.
AWAY = (
    "cluster_manager_not_discovered_exception",
    "master_not_discovered_exception",
    "node_closed_exception",
    "cluster_block_exception",
)
SHOWN = 500  # characters of an error that go to the log


class Conflict(Exception):
    """409: what is there is not what the writer had seen. Or it exists already."""


class NotThere(Exception):
    """404: no such document or index."""


class Blocked(EngineUnavailable):
    """The index, or the cluster, takes no writes."""


class Cluster:
    """Thread-safe. Open it after a fork, and one for all threads.

    threads: how many will ask at once; as many connections to each node are kept. timeout: seconds for a request that gives none.
    """

    def __init__(self, target: Target, *, threads: int, timeout: float = TIMEOUT):
        self._timeout = timeout
        self._nodes = Nodes(target, threads)
        self._breaker = Breaker()
        self._budget = Budget(most=max(10, 2 * threads))

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        params: Mapping[str, str] | None = None,
        again: bool = False,
        timeout: float | None = None,
        missing: bool = False,
    ) -> Any:
        """The decoded JSON of a 2xx; None where it has no body.

        path: percent-encoded, `/P.data.x.1/_search`. body: a dict is sent as JSON, a list of dicts as NDJSON, bytes as they are.
        again: it may be sent a second time, to another node: reads, and writes that are safe to repeat. What has not reached a
        node is sent to another in any case. timeout: seconds for all of it. missing: None for a 404.

        Raises Conflict, NotThere, Blocked, StorageFull, EngineUnavailable (nobody answers, or all are busy; with `retry_after`),
        DeadlineExceeded (the given timeout is over), EngineError (anything else).
        """
        data, kind = encoded(body)
        url = f"{path}?{urlencode(params)}" if params else path
        deadline = monotonic() + (self._timeout if timeout is None else timeout)
        self._enter()
        self._budget.earn()
        try:
            status, raw = self._send(method, url, data, kind, deadline, again)
        except Late:
            self._breaker.slow()
            if timeout is not None:
                raise DeadlineExceeded("The search engine did not answer in time.") from None
            raise EngineUnavailable("The search engine did not answer in time.") from None
        except (Unsent, Broken):
            if all(node.failures for node in self._nodes):  # else another answers: writes that broke with one do not speak for it
                self._breaker.failed()
            raise EngineUnavailable("The search engine does not answer.") from None
        answer = _decoded(status, raw)
        if status >= 500 and _is_away(status, answer):
            self._breaker.failed()
        else:
            self._breaker.passed()
        if status < 300:
            return answer
        if status == 404 and missing:
            return None
        raise error_of(status, answer)

    def close(self) -> None:
        self._nodes.close()

    def _enter(self) -> None:
        """Past the breaker, or EngineUnavailable at once."""
        try:
            looks = self._breaker.enter()
        except Open as error:
            raise _unavailable("The search engine does not answer.", error.retry_after) from None
        if looks:
            tried: list[Node] = []
            while len(tried) < len(self._nodes):
                node = self._nodes.choose(tried)
                if self._nodes.look(node):
                    return self._breaker.seen()
                tried.append(node)
            self._breaker.failed(looking=True)
            raise EngineUnavailable("The search engine does not answer.")

    def _send(self, method: str, url: str, data: bytes | None, kind: str, deadline: float, again: bool) -> tuple[int, bytes]:
        """(status, body) of the node that answered, after failover and retries. Raises Unsent, Broken, Late."""
        tried: list[Node] = []
        tries = 0
        while True:
            node = self._nodes.choose(tried)
            left = deadline - monotonic()
            more = len(tried) + 1 < len(self._nodes)  # another node could be asked
            try:
                if left <= 0:
                    raise Late("no time is left")
                status, raw = node.send(method, url, data, kind, min(CONNECT, left / 2 if more else left), left)
            except Unsent as error:
                self._nodes.failed(node, error)
                if not more:
                    raise
            except Broken as error:
                self._nodes.failed(node, error)
                tries += 1
                if not (again and self._may_retry(tries, deadline, 0 if more else PAUSE)):
                    raise
            except Late as error:
                self._nodes.slow(node, error)
                raise
            else:
                self._nodes.answered(node)
                tries += 1
                if status not in BUSY or not (again and self._may_retry(tries, deadline, 0 if more else PAUSE)):
                    return status, raw
            tried.append(node)

    def _may_retry(self, tries: int, deadline: float, pause: float) -> bool:
        pause *= random.uniform(1, 3)
        if tries >= TRIES or monotonic() + pause >= deadline or not self._budget.spend():
            return False
        time.sleep(pause)
        return True


def encoded(body: Any) -> tuple[bytes | None, str]:
    """(bytes, content type) of what is sent."""
    if body is None or isinstance(body, bytes):
        return body, JSON
    if isinstance(body, list):
        return b"\n".join(map(orjson.dumps, body)) + b"\n", NDJSON
    return orjson.dumps(body), JSON


def error_of(status: int, answer: Any) -> Exception:
    """What an answer that is no 2xx means, or an item of a bulk: its `status`, and the item or the whole body."""
    error = answer.get("error") if isinstance(answer, dict) else None
    type_, reason = (error.get("type"), str(error.get("reason"))) if isinstance(error, dict) else (None, "")
    said = orjson.dumps(answer).decode()[:SHOWN] if isinstance(answer, dict) else str(answer)[:SHOWN]
    if status == 409 or type_ == "resource_already_exists_exception":
        return Conflict(said)
    if status == 404:
        return NotThere(said)
    if type_ == "cluster_block_exception" and status != 503:
        if "flood-stage" in reason or "create-index blocked" in reason:
            return StorageFull("The disk of the search engine is full.")
        return Blocked("The search engine takes no writes now.")
    if status in (401, 403):
        log.error("OpenSearch refused the user of ENGINE_URL with %d: %s", status, said)
        return EngineUnavailable("The search engine refuses this service.")
    if status in BUSY:
        log.warning("OpenSearch answered %d: %s", status, said)
        return _unavailable(
            "The search engine is busy." if status == 429 else "The search engine is not ready.", EngineUnavailable.retry_after
        )
    return EngineError(f"OpenSearch answered {status}: {said}")


def _unavailable(detail: str, retry_after: float) -> EngineUnavailable:
    error = EngineUnavailable(detail)
    error.retry_after = max(1, math.ceil(retry_after))
    return error


def _decoded(status: int, raw: bytes) -> Any:
    if not raw:
        return None
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        text = raw[:SHOWN].decode("utf-8", "replace")
        if status < 300:
            raise EngineError(f"OpenSearch answered {status} with what is no JSON: {text}") from None
        return text


def _is_away(status: int, answer: Any) -> bool:
    """Whether nobody in the cluster can answer, and not only for one index."""
    if status not in (502, 503, 504):
        return False
    error = answer.get("error") if isinstance(answer, dict) else None
    return not isinstance(error, dict) or error.get("type") in AWAY
