"""Budgets for each window of time, shared by all workers and spent without asking: what `ratelimit.py` counts with. No Flask.

A worker takes a piece of a budget's window, a *lease*, by one INCRBY in Redis, and spends it by itself; it asks again only when
that is used up, and no more in a window of which nothing is left. What idle workers still hold is at most 1/50 of a budget, and
nothing is ever given twice: all workers together let through 98 to 100 % of a budget, and exactly a small one. A window begins
and ends by the clock, shifted for each bucket so that they do not all begin anew at once.

Without Redis, or while it is away, a worker leases to itself all that it knows to be left: it counts alone.
"""

from __future__ import annotations

import logging
import math
import threading
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import limits
from limits.storage import Storage

log = logging.getLogger("searchapi.ratelimit")

IDLE_SHARE = 50  # idle workers hold at most 1/50 of a budget together
MOST_BUCKETS = 10_000  # that a worker remembers, twice; a forgotten one costs its lease
PAUSE = 0.5  # seconds between two questions whether Redis is back


@dataclass(frozen=True, slots=True, eq=False)
class Limit:
    """`600/minute` is amount 600 in a period of 60 seconds."""

    text: str
    amount: int
    period: int
    item: limits.RateLimitItem


@lru_cache(maxsize=1024)
def limit(text: str) -> Limit | None:
    """None for `off`."""
    if text == "off":
        return None
    item = limits.parse(text)
    return Limit(text, item.amount, item.get_expiry(), item)


class Bucket:
    """What one worker knows of the current window of one client's budget. kind: `key`, `address` or `bad_keys`; who: which one.

    left:  leased and not spent yet.
    rest:  what nobody had leased, as far as is known.
    alone: leased to itself without Redis, part of `left` or spent.
    owed:  spent without Redis, which it must still be told.
    """

    __slots__ = ("alone", "ends", "kind", "left", "limit", "lock", "owed", "rest", "shift", "starts", "told", "who")

    def __init__(self, kind: str, who: str, limit: Limit):
        self.kind, self.who, self.limit = kind, who, limit
        self.lock = threading.Lock()
        self.shift = zlib.crc32(f"{kind}/{who}".encode()) / 2**32 * limit.period
        self.starts = self.ends = 0.0
        self.left = self.rest = self.alone = self.owed = 0
        self.told = False

    @property
    def remaining(self) -> int:
        return self.left + self.rest

    def seconds_left(self, now: float) -> int:
        """Until the window ends, rounded up: who waits so long meets a new one."""
        return max(1, math.ceil(self.ends - now))

    def covers(self, now: float) -> bool:
        return self.starts <= now < self.ends  # false as well where the clock was set back

    def begin(self, now: float) -> None:
        """The window that `now` is in."""
        number = (now + self.shift) // self.limit.period
        self.starts = number * self.limit.period - self.shift
        self.ends = self.starts + self.limit.period
        self.left = self.alone = self.owed = 0
        self.rest, self.told = self.limit.amount, False

    def name(self) -> str:
        """Of its window in Redis."""
        return self.limit.item.key_for(self.kind, self.who, round(self.ends))


class Budgets:
    """The buckets of one worker. spent: called with a bucket, once in a window, by the worker that finds it used up."""

    def __init__(self, shared: Shared, workers: int, spent: Callable[[Bucket], None]):
        self.shared, self._workers, self._spent = shared, workers, spent
        self._young: dict[tuple[str, str, str], Bucket] = {}
        self._old: dict[tuple[str, str, str], Bucket] = {}

    def bucket(self, kind: str, who: str, limit: Limit) -> Bucket:
        """Bounded: what was not asked for since MOST_BUCKETS others were is forgotten."""
        id = (kind, who, limit.text)
        found = self._young.get(id)
        if found is None:
            found = self._young.setdefault(id, self._old.get(id) or Bucket(kind, who, limit))
            if len(self._young) >= MOST_BUCKETS:
                self._old, self._young = self._young, {}
        return found

    def spend(self, bucket: Bucket, cost: int, now: float) -> bool:
        """Whether there was so much; nothing is spent where there was not, and nothing asked for what never can be."""
        with bucket.lock:
            self._up_to_date(bucket, now)
            if bucket.left < cost <= bucket.limit.amount and bucket.rest:
                self._lease(bucket, cost)
            if bucket.left >= cost:
                bucket.left -= cost
                return True
            if not self.shared.here:
                self._tell(bucket)
            return False

    def charge(self, bucket: Bucket, cost: int, now: float) -> None:
        """For what was done already: spent even where there was not so much."""
        with bucket.lock:
            self._up_to_date(bucket, now)
            if bucket.left < cost:
                self._lease(bucket, cost)
            bucket.left = max(0, bucket.left - cost)

    def refund(self, bucket: Bucket, cost: int, now: float) -> None:
        """For what was not done in the end."""
        with bucket.lock:
            if bucket.covers(now):
                bucket.left += cost

    def _up_to_date(self, bucket: Bucket, now: float) -> None:
        if not bucket.covers(now):
            bucket.begin(now)
        elif bucket.alone and self.shared.here:  # Redis is back: it is told what was spent meanwhile, and asked for the rest
            bucket.owed += max(0, bucket.alone - bucket.left)
            bucket.left = max(0, bucket.left - bucket.alone)
            bucket.alone, bucket.rest = 0, bucket.limit.amount

    def _lease(self, bucket: Bucket, cost: int) -> None:
        """A piece that is at least `cost`, or what is left. Pieces get smaller towards the end."""
        most = bucket.limit.amount
        wanted = max(cost, min(most // (IDLE_SHARE * self._workers), bucket.rest // self._workers))
        count = self.shared.add(bucket.name(), bucket.limit.period, wanted + bucket.owed) if self.shared.here else None
        if count is None:
            bucket.left, bucket.alone, bucket.rest = bucket.left + bucket.rest, bucket.alone + bucket.rest, 0
            return
        bucket.left += max(0, min(wanted, most - count + wanted))
        bucket.rest = max(0, most - count)
        if count - wanted - bucket.owed <= most < count:  # of all workers only one sees it pass
            self._tell(bucket)
        bucket.owed = 0

    def _tell(self, bucket: Bucket) -> None:
        if not bucket.told:
            bucket.told = True
            self._spent(bucket)


class Shared:
    """Counters in Redis that are not waited for: the first failure sends everybody on without it, and a thread of its own asks
    until it is back. here: whether it is asked now. fallbacks: how often it went away."""

    def __init__(self, storage: Storage | None, changed: Callable[[bool], None] = lambda here: None):
        self._storage, self._changed = storage, changed
        self.here = storage is not None
        self.fallbacks = 0
        self._lock = threading.Lock()

    def add(self, name: str, period: int, amount: int) -> int | None:
        """The counter after it was added to, None where Redis is away."""
        try:
            return self._storage.incr(name, period + 1, amount)
        except Exception as error:  # whatever it is, no request may fail by it
            self._away(error)
            return None

    def _away(self, error: Exception) -> None:
        with self._lock:
            if not self.here:
                return
            self.here = False
            self.fallbacks += 1
        log.warning("Redis is away, each worker counts rate limits for itself: %s: %s", type(error).__name__, error)
        self._changed(False)
        try:
            threading.Thread(target=self._until_back, name="redis-watch", daemon=True).start()
        except RuntimeError:  # there can be no more threads: the next request asks
            self.here = True

    def _until_back(self) -> None:
        since = time.monotonic()
        while True:
            time.sleep(PAUSE)
            try:
                self._storage.incr("searchapi/probe", 1)  # a write: one that is full or read-only is not back
            except Exception:
                continue
            self.here = True
            log.warning("Redis is back, rate limits are shared again", extra={"away_seconds": round(time.monotonic() - since, 1)})
            self._changed(True)
            return
