"""Admission: who may work now, who waits for a turn, who is told at once to come back later.

Gunicorn's threads take requests from a queue without an end: under load every answer would come later and later, that of /health
too. So it gets more threads than may work at once (`gunicorn_conf.py`), and who works is decided here. A worker has some turns for
reads, some for writes, some for exports (`guard.current().turn` says which one a route takes). Where none is free, up to
MAX_WAITING requests for the same kind stand in line, each for MAX_WAIT_MS at most; the next one is refused. Kinds do not share
their lines: an import never makes a search wait.

A turn is given back when the answer is made, before it is sent: a slow client does not hold one. An export's is held until its
stream is closed.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any, NoReturn

from flask import Flask, current_app, has_request_context, request

from . import guard
from .config import Settings
from .exceptions import Overloaded

if TYPE_CHECKING:
    from .metrics import Metrics

_HELD = "searchapi.turn"


class Turns:
    """The turns of one kind. size: how many there are. line: how many may wait for one, in order. patience: seconds each waits."""

    def __init__(self, kind: str, size: int, line: int, patience: float, metrics: Metrics):
        self._size, self._free, self._places, self._patience = size, size, line, patience
        self._line: deque[threading.Lock] = deque()
        self._lock = threading.Lock()
        self._in_flight = metrics.in_flight.labels(kind)
        self._waiting = metrics.waiting.labels(kind)
        self._shed = metrics.shed.labels(kind)

    def state(self) -> dict[str, int]:
        return {"in_flight": self._size - self._free, "waiting": len(self._line)}

    def take(self) -> None:
        """Raises Overloaded."""
        with self._lock:
            place = self._place()
        if place is not None and not self._called(place):
            self._refuse()
        self._in_flight.inc()

    def take_free(self) -> bool:
        """Whether there was a free one; never waits."""
        with self._lock:
            if self._free == 0:
                return False
            self._free -= 1
        self._in_flight.inc()
        return True

    def give(self) -> None:
        """To the first in line, else it is free."""
        self._in_flight.dec()
        with self._lock:
            if self._line:
                self._line.popleft().release()
            else:
                self._free += 1

    def _place(self) -> threading.Lock | None:
        """None where a turn was free, else a place in line: a lock that is released by who gives up a turn."""
        if self._free:
            self._free -= 1
            return None
        if len(self._line) >= self._places:
            self._refuse()
        place = threading.Lock()
        place.acquire()
        self._line.append(place)
        return place

    def _refuse(self) -> NoReturn:
        self._shed.inc()
        raise Overloaded("This server has more to do than it can. Try again soon.")

    def _called(self, place: threading.Lock) -> bool:
        """Whether the turn came in time. It may come between the end of the patience and the leaving of the line."""
        self._waiting.inc()
        try:
            if place.acquire(timeout=self._patience):
                return True
            with self._lock:
                if place.acquire(blocking=False):
                    return True
                self._line.remove(place)
                return False
        finally:
            self._waiting.dec()


class Admission:
    """The turns of a worker. aside: seats for those that have given theirs back and only wait."""

    def __init__(self, settings: Settings, metrics: Metrics):
        patience = settings.max_wait_ms / 1000
        sizes = {"read": settings.threads, "write": settings.write_threads, "stream": settings.stream_threads}
        self.turns = {kind: Turns(kind, size, settings.max_waiting, patience, metrics) for kind, size in sizes.items()}
        self.aside = Turns("aside", settings.max_waiting, 0, 0, metrics)

    def state(self) -> dict[str, dict[str, int]]:
        """Of this worker, by kind."""
        return {kind: turns.state() for kind, turns in {**self.turns, "aside": self.aside}.items()}


def init_app(app: Flask, settings: Settings) -> None:
    """After the metrics, and after those that refuse a request for its own sake: they take no turn."""
    admission = app.extensions["admission"] = Admission(settings, app.extensions["metrics"])

    @app.before_request
    def admit() -> None:
        kind = guard.current().turn
        if kind is not None:
            turns = admission.turns[kind]
            turns.take()
            request.environ[_HELD] = turns

    app.wsgi_app = _releasing(app.wsgi_app, admission.turns["stream"], app.extensions["searchapi"].engine.rest)


def step_aside() -> None:
    """What is left to do is to wait for something: another may have the turn meanwhile. Where too many wait so, it is kept. Does
    nothing outside a request."""
    if has_request_context() and (held := request.environ.get(_HELD)) is not None:
        aside = current_app.extensions["admission"].aside
        if held is not aside and aside.take_free():
            request.environ[_HELD] = aside
            held.give()


def _releasing(wsgi_app: Callable, stream: Turns, rest: Callable[[], None]) -> Callable:
    """WSGI middleware: outside of everything that can fail, it gives every turn back, once."""

    def done(environ: dict[str, Any]) -> None:
        held = environ.pop(_HELD, None)
        if held is not None:
            held.give()
        rest()

    def call(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        try:
            answer = wsgi_app(environ, start_response)
        except BaseException:
            done(environ)
            raise
        if environ.get(_HELD) is stream:
            return _Stream(answer, lambda: done(environ))
        done(environ)
        return answer

    return call


class _Stream:
    """An answer whose turn is held until its last piece was taken, or until the server closes it, as WSGI (PEP 3333) says that it
    does whatever happens."""

    def __init__(self, answer: Iterable[bytes], done: Callable[[], None]):
        self._answer, self._done = answer, done

    def __iter__(self) -> Iterator[bytes]:
        try:
            yield from self._answer
        finally:
            self._done()

    def close(self) -> None:
        try:
            if hasattr(self._answer, "close"):
                self._answer.close()
        finally:
            self._done()
