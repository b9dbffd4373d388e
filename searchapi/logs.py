"""What is written to stderr: one line an event, JSON, each with the id of the request that it belongs to. No Flask here: the
indexer writes its lines with this too. The line that every request has is put together in `requestlog.py`.

Under journald (JOURNAL_STREAM is set) a line begins with `<priority>`, so that `journalctl -p err` works. In development a line is
short and meant for a person. Every line passes `_put`, which takes secrets out (`scrub.py`) and escapes what could break it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
import threading
import time
import traceback
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from time import perf_counter
from types import TracebackType
from typing import Any

from .config import Settings
from .scrub import Scrubber, encoded, secrets_of

_requests = logging.getLogger("searchapi.request")  # whose level decides, and whose name they have; the lines go past it

_LONGEST = 8000  # characters of a text in a record's line; journald takes 48 KiB a line
_PRIORITIES = {logging.DEBUG: 7, logging.INFO: 6, logging.WARNING: 4, logging.ERROR: 3, logging.CRITICAL: 2}
_LEVELS = {logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error"}
_OF_EVERY_RECORD = frozenset((*vars(logging.makeLogRecord({})), "message", "taskName"))
# What JSON lets pass, and a terminal obeys or a reader takes for the end of a line: DEL, C1, line separators, changes of direction.
_UNSAFE = re.compile(rb"\x7f|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")
_QUERY = re.compile(r"(/\S*)\?\S*")

_FACTS, _START = "searchapi.facts", "searchapi.start"  # in the environ
_request: ContextVar[dict[str, Any] | None] = ContextVar("searchapi.request", default=None)


# ------------------------------------------------------------------------------------------------------- requests


def begin(environ: dict[str, Any], facts: dict[str, Any]) -> None:
    """From here on this thread answers a request, of which these things are known: `request_id`, `route` and others."""
    environ[_FACTS], environ[_START] = facts, perf_counter()
    _request.set(facts)


def end(facts: dict[str, Any]) -> None:
    """From here on it does not. A stream may be closed late, when the thread answers another one."""
    if _request.get() is facts:
        _request.set(None)


def current() -> dict[str, Any] | None:
    """What is known of the request being answered, None outside one."""
    return _request.get()


def facts_of(environ: dict[str, Any]) -> dict[str, Any]:
    """The same of a request that has begun, also when it is over."""
    return environ[_FACTS]


def noted(environ: dict[str, Any], name: str) -> Any:
    """One of them; None where it was not noted."""
    return environ[_FACTS].get(name)


def started(environ: dict[str, Any]) -> float:
    """When the request came to us, by perf_counter()."""
    return environ[_START]


def request_id() -> str | None:
    """The id of the request being answered, None outside one."""
    facts = _request.get()
    return facts["request_id"] if facts else None


def note(**facts: Any) -> None:
    """Add to the line of the request being answered: hits, engine_ms, q, key, code."""
    known = _request.get()
    if known is not None:
        known.update(facts)


def request_line(facts: dict[str, Any], level: int) -> None:
    """The line of one request: `method`, `path`, `status`, `ms` and what else is known. For `requestlog.py`, and for what Gunicorn
    refuses before there is a request."""
    if not _requests.isEnabledFor(level):
        return
    if _form.people:
        _put(_form.scrubber.text(_request_for_people(facts)).encode(errors="backslashreplace"), level)
    else:
        head = {"time": timestamp(time.time()), "level": _LEVELS[level], "logger": _requests.name}
        _put(encoded(head | facts), level)


def _request_for_people(facts: dict[str, Any]) -> str:
    """`12:30:01 GET /v1/indexes/python/search 200 1.9 ms 10 hits`; what failed ends in its request id."""
    words = [time.strftime("%H:%M:%S"), facts.get("method"), facts.get("path"), facts["status"], facts.get("code")]
    if "ms" in facts:
        words.append(f"{facts['ms']} ms")
    if "hits" in facts:
        words.append(f"{facts['hits']} hit{'s' * (facts['hits'] != 1)}")
    if facts["status"] >= 400:
        words.append(facts.get("request_id"))
    return " ".join(_printable(str(word)) for word in words if word is not None)


# -------------------------------------------------------------------------------------------------------- records


class Lines(logging.Handler):
    """Writes records, in the form that `configure` chose last."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = _record_for_people(record) if _form.people else encoded(_members(record))
        except Exception as error:  # arguments that do not fit the message; logging itself would print them as they are
            line = encoded({"level": "error", "logger": record.name, "message": f"a line could not be written: {error!r}"})
        _put(line, record.levelno)


def _members(record: logging.LogRecord) -> dict[str, Any]:
    """`{"time", "level", "logger", "message", "request_id"?, …, "traceback"?}`, with what came as `extra`."""
    line: dict[str, Any] = {
        "time": timestamp(record.created),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _cut(record.getMessage()),
    }
    if known := request_id():
        line["request_id"] = known
    for name, value in vars(record).items():
        if name not in _OF_EVERY_RECORD:
            line[name] = _cut(value) if isinstance(value, str) else value
    if record.exc_info:
        line["traceback"] = _traceback(record)
    return line


def _record_for_people(record: logging.LogRecord) -> bytes:
    """`12:30:01 warning: the disk is nearly full`, and below it, indented, a traceback."""
    text = f"{time.strftime('%H:%M:%S')} {record.levelname.lower()}: {_printable(_cut(record.getMessage()))}"
    lines = _traceback(record).splitlines() if record.exc_info else []
    return "\n  ".join(_form.scrubber.text(line) for line in (text, *map(_printable, lines))).encode(errors="backslashreplace")


def _traceback(record: logging.LogRecord) -> str:
    """Its last 40 frames: a runaway recursion has thousands."""
    return _cut("".join(traceback.format_exception(*record.exc_info, limit=-40))) if record.exc_info and record.exc_info[0] else ""


def _cut(text: str) -> str:
    """A text that is too long loses its middle: a traceback says most at its end."""
    if len(text) <= _LONGEST:
        return text
    half = _LONGEST // 2
    return f"{text[:half]} … {len(text) - _LONGEST} characters left out … {text[-half:]}"


def _printable(text: str) -> str:
    return _CONTROL.sub(lambda match: f"\\u{ord(match[0]):04x}", text)


def timestamp(now: float) -> str:
    """RFC 3339, UTC, milliseconds."""
    return f"{_second(int(now))}.{int(now % 1 * 1000):03}Z"


@lru_cache(maxsize=4)
def _second(now: int) -> str:
    return datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%S")


class WithoutQueries(logging.Filter):
    """For Gunicorn's records: the addresses in them lose their query strings, which hold what people search for."""

    def filter(self, record: logging.LogRecord) -> bool:
        with contextlib.suppress(Exception):  # Lines says what is wrong with such a record
            message = record.getMessage()
            if "?" in message:
                record.msg, record.args = _QUERY.sub(r"\1?…", message), ()
        return True


# ---------------------------------------------------------------------------------------------------------- lines


@dataclass(frozen=True, slots=True)
class Form:
    """people: short lines, not JSON. priority: journald's comes first."""

    people: bool = False
    priority: bool = False
    scrubber: Scrubber = field(default_factory=Scrubber)


_form = Form()


def configure(settings: Settings, *secrets: str) -> None:
    """Send every logger's lines to stderr in the form of its reader, without `secrets` and those among the settings. Done again, it
    replaces what it did before."""
    global _form
    journald = to_journald()
    _form = Form(settings.development and not journald, journald, Scrubber([*secrets_of(settings), *secrets]))
    root = logging.getLogger()
    for old in [handler for handler in root.handlers if isinstance(handler, Lines)]:
        root.removeHandler(old)
    root.addHandler(Lines())
    logging.getLogger("searchapi").setLevel(settings.log_level.upper())


def last_resort() -> None:
    """What Python itself prints becomes lines as well: warnings, and exceptions that nobody caught, in any thread. For processes
    that are ours alone."""
    logging.captureWarnings(True)
    sys.excepthook = _uncaught
    threading.excepthook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)
    sys.unraisablehook = lambda args: _uncaught(args.exc_type, args.exc_value, args.exc_traceback)


def _uncaught(kind: type[BaseException], error: BaseException | None, where: TracebackType | None) -> None:
    if issubclass(kind, (KeyboardInterrupt, SystemExit)):
        return
    logging.getLogger("searchapi").critical("uncaught %s", kind.__name__, exc_info=(kind, error or kind(), where))


def to_journald() -> bool:
    """Whether stderr is journald's: JOURNAL_STREAM names its device and inode, but outlives a redirection."""
    try:
        stderr = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{stderr.st_dev}:{stderr.st_ino}"


def scrubber() -> Scrubber:
    """What takes secrets out, those among the settings too."""
    return _form.scrubber


def _put(line: bytes, level: int) -> None:
    """One line, in one write, so that those of several threads and processes never mix. `logging` would cost as much as the rest of
    the edge together."""
    if not _form.people:
        line = _form.scrubber.line(line)
    if not line.isascii() or b"\x7f" in line:
        line = _UNSAFE.sub(lambda match: b"\\u%04x" % ord(match[0].decode()), line)
    line = b"<%d>%b\n" % (_PRIORITIES.get(level, 6), line) if _form.priority else line + b"\n"
    try:
        while line := line[os.write(2, line) :]:
            pass
    except OSError:  # a closed or full stderr must not fail a request that was answered
        pass
