"""The line that every request has: who asked for what, what was answered, how long it took (docs/logs.md lists its members).

A route adds what only it knows with `logs.note`: hits, engine_ms and q, which is logged as a keyed hash unless LOG_QUERIES is
`clear`: without SECRET_KEY nobody can find the words by hashing a dictionary.
"""

from __future__ import annotations

import hashlib
import logging
import os
import random
import re
from collections.abc import Callable, Iterable
from time import perf_counter
from typing import Any

from flask import Flask, Response, request

from . import logs
from .body import READ_SO_FAR
from .config import Settings
from .secretkey import derived

log = logging.getLogger(__name__)

_GIVEN = re.compile(r"(?!.*(?:sk_[0-9A-Za-z]{12}_|eyJ[\w-]{12}))[A-Za-z0-9._-]{8,64}\Z")  # but no key, and no JWT
_LONGEST = 1000  # characters of a path, which may have 8,190
_REFUSED = frozenset((401, 403, 429))  # who did this is worth knowing; of others the address, personal data, is not kept


def init_app(app: Flask, settings: Settings, secret: bytes) -> None:
    """Before all else that looks at requests: they have their id from here on. secret: SECRET_KEY."""
    finish = _finisher(settings, secret)

    @app.before_request
    def begin() -> None:
        asked = request._get_current_object()
        environ = asked.environ
        given, path, rule = environ.get("HTTP_X_REQUEST_ID"), environ["PATH_INFO"], asked.url_rule
        facts = {
            "request_id": given if given and _GIVEN.match(given) else os.urandom(12).hex(),
            "method": asked.method,
            "route": rule.rule if rule else None,
            "path": path if len(path) <= _LONGEST else f"{path[:_LONGEST]}…",
        }
        if asked.view_args and "index" in asked.view_args:
            facts["index"] = asked.view_args["index"][:_LONGEST]
        logs.begin(environ, facts)

    @app.after_request
    def end(response: Response) -> Response:
        environ = request._get_current_object().environ
        facts = logs.facts_of(environ)
        response.headers["X-Request-ID"] = facts["request_id"]
        facts["status"] = response.status_code
        if response.is_streamed and facts["method"] != "HEAD":
            response.response = Watched(response.response, facts)
            response.call_on_close(lambda: finish(facts, environ))
        else:
            facts["bytes"] = 0 if facts["method"] == "HEAD" else sum(map(len, response.response))
            finish(facts, environ)
        return response


def _finisher(settings: Settings, secret: bytes) -> Callable[[dict[str, Any], dict[str, Any]], None]:
    """What completes the line of an answered request and writes it."""
    clear, sample = settings.log_queries == "clear", settings.log_sample
    key = derived(secret, "log", "q")

    def finish(facts: dict[str, Any], environ: dict[str, Any]) -> None:
        if "ms" in facts:  # a stream that is closed twice
            return
        logs.end(facts)
        facts["ms"] = round((perf_counter() - logs.started(environ)) * 1000, 2)
        status = facts["status"]
        level = logging.INFO if status < 500 else logging.WARNING if status == 503 else logging.ERROR
        if "broken" in facts:
            level = logging.ERROR
        elif sample < 1 and 200 <= status < 300:
            if random.random() >= sample:
                return
            facts["sample"] = sample
        if READ_SO_FAR in environ:
            facts["body"] = environ[READ_SO_FAR]
        if status in _REFUSED:
            facts["address"] = environ.get("REMOTE_ADDR", "")[:80]
        if "q" in facts and not clear:
            facts["q"] = hashlib.blake2b(facts["q"].encode(errors="surrogatepass"), digest_size=6, key=key).hexdigest()
        logs.request_line(facts, level)

    return finish


class Watched:
    """The chunks of a streamed answer. Its line says how much was sent, and whether that was all: an answer whose status went out
    as 200 can still break off (`broken`), or lose its reader (`aborted`)."""

    def __init__(self, chunks: Iterable[bytes], facts: dict[str, Any]):
        self._chunks, self._facts = iter(chunks), facts
        facts["bytes"], facts["aborted"] = 0, True

    def __iter__(self) -> Watched:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            del self._facts["aborted"]
            raise
        except Exception as error:
            del self._facts["aborted"]
            self._facts["broken"] = True
            log.error("an answer broke off: %s", type(error).__name__, exc_info=error)
            raise
        self._facts["bytes"] += len(chunk)
        return chunk

    def close(self) -> None:
        if close := getattr(self._chunks, "close", None):
            close()
