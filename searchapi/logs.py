"""What is logged: one JSON line an event to stderr, one event a request, each with its request id.

Under journald (JOURNAL_STREAM is set) a line begins with `<priority>`, so that `journalctl -p err` works. In development a line is
short and meant for a person. A request's line holds method, route, status, bytes, ms, and what the route noted: index, hits,
engine_ms and q, as a hash unless LOG_QUERIES is `clear`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from time import perf_counter
from typing import Any

import orjson
from flask import Flask, Response, has_request_context, request

from .config import Settings

log = logging.getLogger("searchapi.request")

_GIVEN = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_LEVELS = {logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
_OF_EVERY_RECORD = frozenset((*vars(logging.makeLogRecord({})), "message", "taskName"))
_ID, _START, _NOTES = "searchapi.request_id", "searchapi.start", "searchapi.notes"


def request_id() -> str | None:
    """The id of the request being answered, None outside one."""
    return request.environ.get(_ID) if has_request_context() else None


def note(**facts: Any) -> None:
    """Add to the line of the request being answered: index, hits, engine_ms, q."""
    request.environ[_NOTES].update(facts)


def noted(environ: dict[str, Any], name: str) -> Any:
    """What was noted so of a request; None where it was not."""
    return environ[_NOTES].get(name)


def started(environ: dict[str, Any]) -> float:
    """When the request came to us, by perf_counter()."""
    return environ[_START]


# --------------------------------------------------------------------------------------------------------- lines


class JSONLines(logging.Formatter):
    """`{"time", "level", "logger", "message", "request_id", …}` and `extra`. prefix: journald's `<priority>` comes first."""

    def __init__(self, prefix: bool):
        super().__init__()
        self.prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": timestamp(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if known := request_id():
            line["request_id"] = known
        line |= {name: value for name, value in vars(record).items() if name not in _OF_EVERY_RECORD}
        if record.exc_info:
            line["traceback"] = _traceback(record)
        try:
            text = orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        except TypeError:  # half a surrogate pair, an integer of more than 64 bits: the line matters more than its form
            text = json.dumps(line, default=str)
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{text}" if self.prefix else text


def timestamp(now: float) -> str:
    """RFC 3339, UTC, milliseconds."""
    return f"{_second(int(now))}.{int(now % 1 * 1000):03}Z"


@lru_cache(maxsize=4)
def _second(now: int) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _traceback(record: logging.LogRecord) -> str:
    """Its last 40 frames: a runaway recursion has thousands."""
    return "".join(traceback.format_exception(*record.exc_info, limit=-40)) if record.exc_info and record.exc_info[0] else ""


class ForPeople(logging.Formatter):
    """`12:30:01 warning: the disk is nearly full`: development's lines."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{time.strftime('%H:%M:%S')} {record.levelname.lower()}: {record.getMessage()}"
        return f"{text}\n{_traceback(record)}".rstrip()


def formatter(settings: Settings) -> logging.Formatter:
    return ForPeople() if _for_people(settings) else JSONLines(prefix=to_journald())


def _for_people(settings: Settings) -> bool:
    return settings.development and not to_journald()


def to_journald() -> bool:
    """Whether stderr is journald's: JOURNAL_STREAM names its device and inode, but outlives a redirection."""
    try:
        stderr = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


def configure(settings: Settings) -> None:
    """Send every logger's lines to stderr in our form. Done again, it replaces what it did before."""
    root = logging.getLogger()
    for old in [h for h in root.handlers if getattr(h, "of_searchapi", False)]:
        root.removeHandler(old)
    handler = logging.StreamHandler(sys.stderr)
    handler.of_searchapi = True
    handler.setFormatter(formatter(settings))
    root.addHandler(handler)
    logging.getLogger("searchapi").setLevel(settings.log_level.upper())


# ------------------------------------------------------------------------------------------------------ requests


def init_app(app: Flask, settings: Settings) -> None:
    clear = settings.log_queries == "clear"
    write = _person_writer() if _for_people(settings) else _json_writer(to_journald())

    @app.before_request
    def begin() -> None:
        environ = request.environ
        given = environ.get("HTTP_X_REQUEST_ID")
        environ[_ID] = given if given and _GIVEN.match(given) else os.urandom(12).hex()
        environ[_NOTES] = {}
        environ[_START] = perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        asked = request._get_current_object()
        environ = asked.environ
        response.headers["X-Request-ID"] = environ[_ID]
        facts = {
            "request_id": environ[_ID],
            "method": asked.method,
            "path": environ["PATH_INFO"],
            "route": asked.url_rule.rule if asked.url_rule else None,
            "status": response.status_code,
            **environ[_NOTES],
        }
        if "q" in facts and not clear:
            facts["q"] = hashlib.blake2b(facts["q"].encode(), digest_size=6).hexdigest()
        if response.is_streamed:
            response.call_on_close(lambda: _emit(write, facts, environ[_START]))
        else:
            facts["bytes"] = response.content_length
            _emit(write, facts, environ[_START])
        return response


def _emit(write: Callable[[dict[str, Any], int], None], facts: dict[str, Any], start: float) -> None:
    status = facts["status"]
    level = logging.INFO if status < 500 else logging.WARNING if status == 503 else logging.ERROR
    if log.isEnabledFor(level):
        facts["ms"] = round((perf_counter() - start) * 1000, 2)
        write(facts, level)


# These lines go straight to stderr, each in one write: `logging` would cost as much as the rest of the edge together.


def _json_writer(prefix: bool) -> Callable[[dict[str, Any], int], None]:
    def write(facts: dict[str, Any], level: int) -> None:
        head = {"time": timestamp(time.time()), "level": _LEVELS[level], "logger": log.name}
        line = orjson.dumps(head | facts, option=orjson.OPT_APPEND_NEWLINE)
        _to_stderr(b"<%d>%b" % (_PRIORITIES[level], line) if prefix else line)

    return write


def _person_writer() -> Callable[[dict[str, Any], int], None]:
    """`12:30:01 GET /v1/indexes/python/search 200 1.9 ms 10 hits`"""

    def write(facts: dict[str, Any], level: int) -> None:
        hits = f" {facts['hits']} hit{'s' * (facts['hits'] != 1)}" if "hits" in facts else ""
        line = f"{time.strftime('%H:%M:%S')} {facts['method']} {facts['path']} {facts['status']} {facts['ms']} ms{hits}\n"
        _to_stderr(line.encode())

    return write


def _to_stderr(line: bytes) -> None:
    with contextlib.suppress(OSError):  # a closed or full stderr must not fail a request that was answered
        os.write(2, line)
