"""What keeps a cluster that is away, or ill, from costing more than it must: a budget of retries, and a circuit breaker."""

from __future__ import annotations

import threading
from collections.abc import Callable
from time import monotonic


class Budget:
    """A token bucket: each request earns a share of a retry, so that retries are at most that share of the load for long.
    most: what may be saved up for one bad moment."""

    def __init__(self, share: float = 0.2, most: float = 10.0):
        self._share, self._most = share, most
        self._saved = most
        self._lock = threading.Lock()

    def earn(self) -> None:
        with self._lock:
            self._saved = min(self._saved + self._share, self._most)

    def spend(self) -> bool:
        """Whether there is one."""
        with self._lock:
            if self._saved < 1:
                return False
            self._saved -= 1
            return True


class Open(Exception):
    """The circuit is open. retry_after: seconds until a request is let through again."""

    def __init__(self, retry_after: float):
        super().__init__()
        self.retry_after = retry_after


class Breaker:
    """Closed, it lets all pass. After `after` failures one behind the other it opens for `first` seconds, twice as long each time
    until `longest`; then one request is let through to look, and the others still are not."""

    LEASE = 3.0  # seconds that the one which looks may take before another may

    def __init__(
        self, after: int = 3, slow_after: int = 5, first: float = 0.5, longest: float = 5.0, clock: Callable[[], float] = monotonic
    ):
        self._after, self._slow_after, self._first, self._longest, self._clock = after, slow_after, first, longest, clock
        self._failures = self._slow = 0
        self._wait = first
        self._until: float | None = None  # None while closed
        self._lock = threading.Lock()

    @property
    def open(self) -> bool:
        return self._until is not None

    def enter(self) -> bool:
        """Whether this request must look first whether anybody answers, and then say `seen` or `failed`. Raises Open."""
        if self._until is None and self._slow < self._slow_after:
            return False
        with self._lock:
            if self._until is None:
                look, self._slow = self._slow >= self._slow_after, 0
                return look
            now = self._clock()
            if now < self._until:
                raise Open(self._until - now)
            self._until = now + self.LEASE
            return True

    def seen(self) -> None:
        """Somebody answers again. One more failure opens it again, until an answer was a good one."""
        with self._lock:
            if self._until is not None:
                self._failures, self._until = self._after - 1, None

    def passed(self) -> None:
        if self._failures or self._slow or self._until is not None:
            with self._lock:
                self._failures, self._slow, self._wait, self._until = 0, 0, self._first, None

    def failed(self, *, looking: bool = False) -> None:
        """Nobody answered. looking: by the request that was let through to look."""
        with self._lock:
            self._failures += 1
            if self._until is not None and not looking:
                return  # of a request that was under way when it opened
            if looking or self._failures >= self._after:
                self._until = self._clock() + self._wait
                self._wait = min(2 * self._wait, self._longest)

    def slow(self) -> None:
        """No answer in time: it may be the question. After some of them the next request looks first."""
        with self._lock:
            self._slow += 1
