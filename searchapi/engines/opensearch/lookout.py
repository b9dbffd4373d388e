"""When to look again at what is kept far away and asked for with every request.

- younger than EVERY: nothing is done, 0.2 µs
- younger than STALE: good, and a thread begins to look
- older: who asks waits for the look, unless it takes long, or the last one did. So a change is seen within STALE while the other
  side answers, and a slow one holds up nobody
- older than GOOD_FOR: there is no answer without a look
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from math import inf
from time import monotonic

from ...exceptions import EngineError, EngineUnavailable

log = logging.getLogger("searchapi.opensearch")

# Seconds.
EVERY = 0.5
STALE = 1.0
GOOD_FOR = 30.0
PATIENCE = 0.5  # with a look, where there is something to go on with
WITHOUT = 5.0  # with a look, where there is not


class Lookout:
    """look: learns what there is to learn, or raises. It runs in a thread of its own, one at a time, while somebody asks."""

    def __init__(self, look: Callable[[], None]):
        self._look = look
        self._at = -inf  # when the last look that succeeded began
        self._next = -inf  # not again before; inf once it is closed
        self._began: float | None = None  # when the look under way did
        self._ended = 0  # looks
        self._prompt = True  # the last one was
        self._failure: Exception | None = None
        self._turn = threading.Condition()

    def check(self) -> None:
        """Returns when what is known is good to go on with. Raises EngineUnavailable."""
        if monotonic() - self._at < EVERY:
            return
        with self._turn:
            now = monotonic()
            age = now - self._at
            if self._began is None and age >= EVERY and now >= self._next:
                threading.Thread(target=self._run, args=(now,), name="system-lookout", daemon=True).start()
                self._began = now
            if age < STALE:
                return
            if self._began is not None and (patience := self._patience(age)):
                seen, left = self._ended, self._began + patience - now
                self._turn.wait_for(lambda: self._ended > seen, max(left, 0))
            if monotonic() - self._at >= GOOD_FOR:
                raise self._unavailable()

    def close(self) -> None:
        """No look begins any more, and one that is under way has ended, or takes long."""
        with self._turn:
            self._next = inf
            self._turn.wait_for(lambda: self._began is None, PATIENCE)

    def _patience(self, age: float) -> float:
        return WITHOUT if age >= GOOD_FOR else PATIENCE if self._prompt else 0

    def _run(self, began: float) -> None:
        failure: Exception | None = None
        try:
            self._look()
        except EngineError as error:
            failure = error
        except Exception as error:  # a mistake of ours; the next look may do better, and nobody waits for ever
            if self._next != inf:
                log.exception("what the cluster keeps for the API could not be read")
            failure = error
        with self._turn:
            ended = monotonic()
            if failure is None:
                self._at = began
            else:
                self._next = max(self._next, ended + EVERY)
            self._prompt = failure is None and ended - began < PATIENCE
            self._failure, self._began = failure, None
            self._ended += 1
            self._turn.notify_all()

    def _unavailable(self) -> EngineUnavailable:
        known = self._failure if isinstance(self._failure, EngineUnavailable) else None
        error = EngineUnavailable(known.detail if known else "The search engine does not answer.")
        error.retry_after = known.retry_after if known else EngineUnavailable.retry_after
        return error
