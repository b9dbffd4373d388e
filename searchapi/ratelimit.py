"""How much one client may ask for (flask-limiter), by its key and by its address, in units of what a search costs.

A request costs what its route declares, and 1 more for every 64 KiB that its body begins. flask-limiter makes the storage that
REDIS_URL names; its decorators are not used: they ask Redis two to four times a request, `leases.py` once for many requests.

The fields `RateLimit-Policy` and `RateLimit` are those of draft-ietf-httpapi-ratelimit-headers-10.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections import Counter
from typing import Any

import redis
from blinker import Namespace
from flask import Flask, Response, current_app, request
from flask_limiter import Limiter
from limits.storage import Storage
from redis.backoff import NoBackoff
from redis.retry import Retry

from . import address, auth, guard
from .body import READ_SO_FAR
from .config import Settings, SettingsError
from .exceptions import RateLimited, SearchAPIError, TooLarge
from .keystore import Grant
from .leases import Bucket, Budgets, Shared, limit

log = logging.getLogger("searchapi.ratelimit")

BODY_UNIT = 64 << 10  # bytes of a body that cost 1
REDIS_TIMEOUT = 0.05  # seconds: what a request can lose to a Redis that hangs, once

# kind: `key`, `address` or `bad_keys`. here: whether limits are shared through Redis again, or each worker counts for itself.
limited = Namespace().signal("limited")  # (app, kind)
storage_changed = Namespace().signal("storage-changed")  # (app, here)

_COUNTED = "searchapi.counted"  # in environ: (the budgets that the request was counted in, what its body cost)
_KEY_ID = re.compile(r"Bearer\s+sk_([0-9A-Za-z]{12})_")


def init_app(app: Flask, settings: Settings) -> None:
    """After `auth`, which is to call `refused`."""
    limits = app.extensions["ratelimit"] = RateLimits(app, settings)
    app.before_request(limits.spend)
    app.after_request(limits.finish)


def refused(error: SearchAPIError) -> None:
    """A request that was refused for who sent it. Raises RateLimited where there were too many."""
    limits().refused(error)


def limits() -> RateLimits:
    return current_app.extensions["ratelimit"]


def state() -> dict[str, Any]:
    """Of this worker: `storage` (`redis` or `memory`), `fallbacks` (how often Redis went away), `refused` by kind."""
    return limits().state()


class RateLimits:
    def __init__(self, app: Flask, settings: Settings):
        self._app, self._settings = app, settings
        self._per_ip = limit(settings.rate_limit_per_ip)
        self._bad_keys = limit(settings.rate_limit_bad_keys)
        self._shared = Shared(_storage(app, settings.redis_url), lambda here: storage_changed.send(app, here=here))
        self._budgets = Budgets(self._shared, settings.workers, _used_up)
        self._refused: Counter[str] = Counter(key=0, address=0, bad_keys=0)
        self._lock = threading.Lock()

    def state(self) -> dict[str, Any]:
        storage = "redis" if self._shared.here else "memory"
        return {"storage": storage, "fallbacks": self._shared.fallbacks, "refused": dict(self._refused)}

    # a request

    def spend(self) -> None:
        """Before a request is answered. Raises RateLimited, and TooLarge for what can never pass."""
        cost = guard.current().cost
        if not cost:
            return
        environ = request.environ
        of_body, grant = self._of_body(environ), auth.known()
        budgets = self._of(grant, environ)
        environ[_COUNTED] = budgets, of_body
        self._spend(budgets, cost + of_body)

    def refused(self, error: SearchAPIError) -> None:
        environ, now = request.environ, time.time()
        budgets = self._of(auth.known(), environ)
        environ[_COUNTED] = budgets, 0
        self._spend(budgets, 1)
        if error.code == "invalid_key" and self._bad_keys:
            who = address.client(environ)
            bucket = self._budgets.bucket("bad_keys", who, self._bad_keys)
            budgets.append(bucket)
            if not self._budgets.spend(bucket, 1, now):
                self._refuse([bucket], bucket, 1, now)
            named = _KEY_ID.match(environ.get("HTTP_AUTHORIZATION", ""))
            log.warning("a wrong key came from %s", who, extra={"address": who, "key": named and named[1]})

    def finish(self, response: Response) -> Response:
        """After a request was answered."""
        environ = request.environ
        budgets, of_body = environ.get(_COUNTED, ((), 0))
        if not budgets:
            return response
        now = time.time()
        more = -(-environ.get(READ_SO_FAR, 0) // BODY_UNIT) - of_body
        if more > 0:  # it came without a length, or packed: what it was is known now
            for bucket in budgets:
                self._budgets.charge(bucket, more, now)
        policies = [f'"{b.kind}";q={b.limit.amount};w={b.limit.period}' for b in budgets]
        response.headers.add("RateLimit-Policy", ", ".join(policies))
        response.headers.add("RateLimit", ", ".join([f'"{b.kind}";r={b.remaining};t={b.seconds_left(now)}' for b in budgets]))
        return response

    # budgets

    def _of_body(self, environ: dict[str, Any]) -> int:
        length = environ.get("CONTENT_LENGTH")
        if not length or not length.isdecimal():
            return 0
        size = int(length)
        return 0 if size > self._settings.max_body_bytes else -(-size // BODY_UNIT)  # one too long is refused without being read

    def _of(self, grant: Grant | None, environ: dict[str, Any]) -> list[Bucket]:
        """The budgets of the key, where there is one, and of the address."""
        budgets = self._of_address(grant, environ)
        if grant is not None and grant.key_id and (per_key := limit(grant.rate_limit or self._settings.rate_limit_per_key)):
            budgets.insert(0, self._budgets.bucket("key", grant.key_id, per_key))
        return budgets

    def _of_address(self, grant: Grant | None, environ: dict[str, Any]) -> list[Bucket]:
        """The address's own budget, or the one that the key gives each address: none where that is off."""
        who = address.client(environ)
        if grant is None or grant.rate_limit_per_ip is None:
            return [self._budgets.bucket("address", who, self._per_ip)] if self._per_ip else []
        per_ip = limit(grant.rate_limit_per_ip)
        return [self._budgets.bucket("address", f"{grant.key_id}@{who}", per_ip)] if per_ip else []

    def _spend(self, budgets: list[Bucket], cost: int) -> None:
        """All of them or none."""
        now = time.time()
        for position, bucket in enumerate(budgets):
            if not self._budgets.spend(bucket, cost, now):
                for spent in budgets[:position]:
                    self._budgets.refund(spent, cost, now)
                self._refuse(budgets, bucket, cost, now)

    def _refuse(self, budgets: list[Bucket], by: Bucket, cost: int, now: float) -> None:
        allowed = _whose(by)
        if cost > by.limit.amount:
            self._spend(budgets, 1)  # or it could be asked for without end
            raise TooLarge(f"This request costs {cost}, but {allowed} in all; send it in parts.", code="too_costly")
        with self._lock:
            self._refused[by.kind] += 1
        limited.send(self._app, kind=by.kind)
        seconds = max(b.seconds_left(now) for b in budgets if b is by or b.remaining < cost)
        raise RateLimited(f"{allowed[0].upper()}{allowed[1:]}; send this again in {seconds} s.", seconds)


def _whose(bucket: Bucket) -> str:
    who, text = bucket.who.rpartition("@")[2], bucket.limit.text
    if bucket.kind == "key":
        return f"this key may cost {text}"
    if bucket.kind == "address":
        return f"this address, {who}, may cost {text}"
    return f"from this address, {who}, no more than {_in_words(bucket)} are looked at"


def _in_words(bad_keys: Bucket) -> str:
    return f"{bad_keys.limit.amount} wrong keys in one {bad_keys.limit.item.GRANULARITY.name}"


def _used_up(bucket: Bucket) -> None:
    """One line a window, not one for each request that is refused in it."""
    facts = {"limit": bucket.kind, "of": bucket.who, "rate": bucket.limit.text}
    if bucket.kind == "bad_keys":
        log.warning("%s came from %s: more are answered 429", _in_words(bucket), bucket.who, extra=facts)
    else:
        log.info("rate limit used up: %s of %s", bucket.limit.text, bucket.who, extra=facts)


def _storage(app: Flask, url: str) -> Storage | None:
    """Raises SettingsError for a URL that Redis's client does not understand. Nothing is connected yet."""
    if not url:
        return None
    options = {
        "key_prefix": "searchapi",
        "socket_timeout": REDIS_TIMEOUT,
        "socket_connect_timeout": REDIS_TIMEOUT,
        "retry": Retry(NoBackoff(), 1, (redis.ConnectionError,)),  # a connection that Redis had closed; never a second wait
    }
    limiter = Limiter(address.of_request, storage_uri=re.sub("^unix:", "redis+unix:", url), storage_options=options)
    app.extensions["limiter"] = {limiter}  # it hangs its own checks before and after requests where it is not there yet
    try:
        limiter.init_app(app)
        limiter.storage.get_connection().connection_pool.make_connection()
    except Exception as error:  # whatever an option in the URL led to; its text may hold the password
        raise SettingsError(f"REDIS_URL cannot be used ({type(error).__name__}); is an option in it misspelt?") from None
    return limiter.storage
