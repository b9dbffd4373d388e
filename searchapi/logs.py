"""What is logged: one JSON line an event to stderr, one event a request, each with its request id.

Under journald (JOURNAL_STREAM is set) a line begins with `<priority>`, so that `journalctl -p err` works. In development a line is
short and meant for a person. A request's line holds method, route, status, bytes, ms, and what the route noted: index, hits,
engine_ms and q, as a hash unless LOG_QUERIES is `clear`.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import traceback
from datetime import UTC, datetime
from time import perf_counter
from typing import Any

import orjson
from flask import Flask, Response, has_request_context, request

from .config import Settings

log = logging.getLogger("searchapi.request")

_GIVEN = re.compile(r"[A-Za-z0-9._-]{8,64}\Z")
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_ID, _START, _NOTES = "searchapi.request_id", "searchapi.start", "searchapi.notes"


def request_id() -> str | None:
    """The id of the request being answered, None outside one."""
    return request.environ.get(_ID) if has_request_context() else None


def note(**facts: Any) -> None:
    """Add to the line of the request being answered: index, hits, engine_ms, q."""
    request.environ[_NOTES].update(facts)


# --------------------------------------------------------------------------------------------------------- lines


class JSONLines(logging.Formatter):
    """`{"time", "level", "logger", "message", "request_id", …}`; `prefix` puts journald's `<priority>` before it."""

    def __init__(self, prefix: bool):
        super().__init__()
        self.prefix = prefix

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "level": record.levelname.lower(),
            "logger": record.name,
        }
        facts = getattr(record, "facts", None)
        if facts is not None:
            line.update(facts)
        else:
            line["message"] = record.getMessage()
            if known := request_id():
                line["request_id"] = known
        if record.exc_info:
            line["traceback"] = _traceback(record)
        text = orjson.dumps(line, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
        return f"<{_PRIORITIES.get(record.levelno, 6)}>{text}" if self.prefix else text


def _traceback(record: logging.LogRecord) -> str:
    """Its last 40 frames: a runaway recursion has thousands."""
    return "".join(traceback.format_exception(*record.exc_info, limit=-40)) if record.exc_info and record.exc_info[0] else ""


class ForPeople(logging.Formatter):
    """`12:30:01 GET /v1/indexes/python/search 200 1.9 ms 10 hits`: development's lines."""

    def format(self, record: logging.LogRecord) -> str:
        time = datetime.fromtimestamp(record.created).strftime("%H:%M:%S")
        facts = getattr(record, "facts", None)
        if facts is None:
            text = f"{record.levelname.lower()}: {record.getMessage()}"
            return f"{time} {text}\n{_traceback(record)}".rstrip()
        hits = f" {facts['hits']} hits" if "hits" in facts else ""
        return f"{time} {facts['method']} {facts['path']} {facts['status']} {facts['ms']} ms{hits}"


def formatter(settings: Settings) -> logging.Formatter:
    journald = _to_journald()
    return ForPeople() if settings.development and not journald else JSONLines(prefix=journald)


def _to_journald() -> bool:
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

    @app.before_request
    def begin() -> None:
        environ = request.environ
        given = environ.get("HTTP_X_REQUEST_ID")
        environ[_ID] = given if given and _GIVEN.match(given) else os.urandom(12).hex()
        environ[_NOTES] = {}
        environ[_START] = perf_counter()

    @app.after_request
    def end(response: Response) -> Response:
        environ = request.environ
        response.headers["X-Request-ID"] = environ[_ID]
        rule = request.url_rule
        facts = {
            "request_id": environ[_ID],
            "method": request.method,
            "path": environ["PATH_INFO"],
            "route": rule.rule if rule else None,
            "status": response.status_code,
            **environ[_NOTES],
        }
        if "q" in facts and not clear:
            facts["q"] = hashlib.blake2b(facts["q"].encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()
        if response.is_streamed:
            response.call_on_close(lambda: _emit(facts, environ[_START]))
        else:
            facts["bytes"] = response.content_length
            _emit(facts, environ[_START])
        return response


def _emit(facts: dict[str, Any], start: float) -> None:
    facts["ms"] = round((perf_counter() - start) * 1000, 2)
    status = facts["status"]
    level = logging.INFO if status < 500 else logging.WARNING if status == 503 else logging.ERROR
    log.log(level, "request", extra={"facts": facts})
