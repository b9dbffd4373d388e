"""Lines of the log: their form, what cannot break them, and what Python and Gunicorn say by themselves."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from searchapi import logs
from searchapi.config import Settings

CHECKOUT = Path(__file__).resolve().parents[2]
PRODUCTION = Settings(environment="production", secret_key="0123456789abcdefghijklmnopqrstuvwxyz")
log = logging.getLogger("searchapi.test")


@pytest.fixture
def configure(monkeypatch) -> Iterator[Callable[..., None]]:
    """`configure(settings, journald=…)`; afterwards the root logger is as it was."""

    def configure(settings: Settings, journald: bool = False) -> None:
        stderr = os.fstat(2)
        monkeypatch.setenv("JOURNAL_STREAM", f"{stderr.st_dev}:{stderr.st_ino}" if journald else "1:2")
        logs.configure(settings)

    yield configure
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    logs.configure(Settings())
    root = logging.getLogger()
    root.handlers = [handler for handler in root.handlers if not isinstance(handler, logs.Lines)]


def lines(capfd) -> list[str]:
    """What was written to stderr since; each line ends with a newline."""
    text = capfd.readouterr().err
    assert text == "" or text.endswith("\n")
    return text.split("\n")[:-1]


def test_members(configure, capfd):
    """Time, level, logger, message, what the caller adds, and the request where there is one."""
    configure(PRODUCTION)
    log.warning("disk %s", "full", extra={"index": "x", "folder": Path("/a"), "huge": 2**70, "bad": "\ud800"})
    facts = {"request_id": "trace-0001"}
    logs.begin({}, facts)
    logs.end({"request_id": "another-one"})
    log.error("failed")
    logs.end(facts)
    log.error("again")
    first, second, third = map(json.loads, lines(capfd))
    assert first.pop("time").endswith("Z")
    assert first == {
        "level": "warning",
        "logger": "searchapi.test",
        "message": "disk full",
        "index": "x",
        "folder": "/a",
        "huge": 2**70,
        "bad": "\ud800",
    }
    assert second["request_id"] == "trace-0001" and "request_id" not in third


def test_priorities(configure, capfd):
    """Under journald a line begins with its priority, in development too; not where stderr was sent elsewhere."""
    for settings in (PRODUCTION, Settings(log_level="debug")):
        configure(settings, journald=True)
        logging.getLogger("searchapi").setLevel(logging.DEBUG)
        for level in (logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR, logging.CRITICAL):
            log.log(level, "x")
        logs.request_line({"status": 503}, logging.WARNING)
        assert [line[:4] for line in lines(capfd)] == ["<7>{", "<6>{", "<4>{", "<3>{", "<2>{", "<4>{"]
    configure(PRODUCTION)
    log.error("x")
    assert lines(capfd)[0].startswith("{")


def test_for_people(configure, capfd):
    """In development a line is short; that of a request that failed has the id which the client was told."""
    configure(Settings())
    log.warning("disk full", extra={"index": "x"})
    facts = {"request_id": "abcdef0123", "method": "GET", "path": "/x", "ms": 1.5}
    logs.request_line(facts | {"status": 422, "code": "invalid"}, logging.INFO)
    logs.request_line(facts | {"status": 200, "hits": 1}, logging.INFO)
    first, second, third = (line[8:] for line in lines(capfd))
    assert first == " warning: disk full"
    assert second == " GET /x 422 invalid 1.5 ms abcdef0123" and third == " GET /x 200 1.5 ms 1 hit"


HOSTILE = [
    "\n",
    "\r",
    "\x00",
    "\x1b[31m",
    "\x9b31m",
    "\x85",
    "\u2028",
    "\u2029",
    "\u202e",
    "\u2066",
    "\x7f",
    "\ud800",
    '"',
    "\\",
    "</script>",
]


@pytest.mark.parametrize("text", HOSTILE, ids=ascii)
def test_nothing_breaks_a_line(configure, capfd, text):
    """Newlines, control characters, ANSI, changes of direction: JSON brings them back as they were, for people they are escaped."""
    said = f'a{text}12:00:00 GET / 200 {{"level":"error"}}'
    for settings in (PRODUCTION, Settings()):
        for write in (
            lambda: log.warning("%s", said),
            lambda: log.warning(said, extra={"name2": said}),
            lambda: logs.request_line({"method": "GET", "path": said, "status": 200}, logging.INFO),
        ):
            configure(settings)
            write()
            (line,) = lines(capfd)
            assert not any(
                ord(c) < 32 or 0x7F <= ord(c) < 0xA0 or 0x2028 <= ord(c) < 0x202F or 0x2066 <= ord(c) < 0x206A for c in line
            )
            if settings is PRODUCTION:
                assert said in json.loads(line).values()


def test_tracebacks(configure, capfd):
    """One line of JSON, some forty frames of a runaway recursion; for people indented, so that nothing in it looks like a line."""

    def fall():
        fall()

    for settings in (PRODUCTION, Settings()):
        configure(settings)
        for error in (RecursionError, ValueError):
            try:
                if error is ValueError:
                    raise ValueError("a\n12:00:00 GET / 200\x1b[31m")
                fall()
            except error:
                log.exception("failed")
        written = lines(capfd)
        if settings is PRODUCTION:
            first, second = map(json.loads, written)
            assert "RecursionError" in first["traceback"] and len(first["traceback"]) < 20_000
            assert second["traceback"].endswith("ValueError: a\n12:00:00 GET / 200\x1b[31m\n")
        else:
            assert [line for line in written if not line.startswith("  ")] == [line for line in written if " error: failed" in line]
            assert "  12:00:00 GET / 200\\u001b[31m" in written


def test_long_texts_lose_their_middle(configure, capfd):
    """journald cuts a line at 48 KiB: a message or traceback never comes near."""
    configure(PRODUCTION)
    try:
        raise ValueError("y" * 1_000_000)
    except ValueError:
        log.exception("x" * 1_000_000, extra={"more": "z" * 1_000_000})
    (line,) = lines(capfd)
    assert len(line) < 30_000 and "characters left out" in json.loads(line)["message"]


def test_arguments_that_do_not_fit(configure, capfd):
    """A mistake in a call of `log` is a line that says so, not a traceback with the arguments."""
    configure(PRODUCTION)
    logs.Lines().handle(logging.LogRecord("x", logging.ERROR, "", 0, "%d things", ("sk_4fJ0aZ71Qw2x_0123456789",), None))
    (line,) = lines(capfd)
    assert "could not be written" in json.loads(line)["message"] and "sk_" not in line


def test_secrets_are_gone(configure, capfd):
    """In messages, in what comes with them, in tracebacks, in lines of requests; for people too."""
    key = "sk_4fJ0aZ71Qw2x_0123456789ABCDEFGHIJKLMNOPQRSTUVabcdef"  # pragma: allowlist secret
    for settings in (PRODUCTION, Settings(secret_key=PRODUCTION.secret_key)):
        configure(settings)
        try:
            raise ValueError(f"{key} {settings.secret_key}")
        except ValueError:
            log.exception("with %s", key, extra={"key": key, "headers": {"Authorization": "Basic YTpi"}})
        logs.request_line({"method": "GET", "path": f"/v1/{key}", "status": 404, "q": settings.secret_key}, logging.INFO)
        text = capfd.readouterr().err
        assert "sk_4fJ0aZ71Qw2x_[redacted]" in text and "[redacted]" in text
        assert "0123456789ABCDEF" not in text and settings.secret_key not in text and "YTpi" not in text


def test_levels(configure, capfd):
    """LOG_LEVEL is the least severe level that is written; configuring twice does not write twice."""
    configure(Settings(log_level="error"))
    configure(Settings(log_level="error"))
    log.warning("x")
    logs.request_line({"status": 200}, logging.INFO)
    assert lines(capfd) == []
    log.error("x")
    logs.request_line({"status": 500}, logging.ERROR)
    assert len(lines(capfd)) == 2


def test_stderr_that_fails(configure, monkeypatch):
    """A line that cannot be written, or not at once, fails nobody."""
    written = []

    def piecemeal(descriptor, data):
        written.append(bytes(data[:100]))
        return len(written[-1])

    def closed(descriptor, data):
        raise BrokenPipeError

    configure(PRODUCTION)
    monkeypatch.setattr(logs.os, "write", piecemeal)
    log.error("x" * 300)
    assert len(written) > 3 and json.loads(b"".join(written))["message"] == "x" * 300
    monkeypatch.setattr(logs.os, "write", closed)
    log.error("x")
    logs.request_line({"status": 200}, logging.INFO)


def test_gunicorn_says_no_queries(configure, capfd):
    """Gunicorn's records lose the query strings of addresses, before anybody sees them."""
    configure(PRODUCTION)
    gunicorn = logging.getLogger("test.gunicorn")
    gunicorn.addFilter(logs.WithoutQueries())
    gunicorn.error("Error handling request %s %s", "GET", "/v1/indexes/x/search?q=private+words&limit=1")
    gunicorn.error("why?")
    assert logs.WithoutQueries().filter(logging.LogRecord("x", logging.ERROR, "", 0, "%d", ("bad",), None))
    first, second = (json.loads(line)["message"] for line in lines(capfd))
    assert first == "Error handling request GET /v1/indexes/x/search?…" and second == "why?"


PROGRAM = """
import sys, threading, warnings
from searchapi import logs
from searchapi.config import Settings
logs.configure(Settings(environment="production"))
logs.last_resort()
warnings.simplefilter("always")
warnings.warn("old thing", DeprecationWarning)
class Bad:
    def __del__(self):
        raise ValueError("in del")
Bad()
def fail():
    raise ValueError("in a thread\\nsk_4fJ0aZ71Qw2x_0123456789ABCDEFGHIJKLMNOPQRSTUV")
thread = threading.Thread(target=fail)
thread.start()
thread.join()
loaded = sorted({"flask", "werkzeug", "sentry_sdk"} & set(sys.modules))
raise RuntimeError(f"at the end {loaded}")
"""


def test_what_python_prints(tmp_path):
    """Warnings and exceptions that nobody caught are lines like all others. Nothing of the edge is loaded for that."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(CHECKOUT)}, timeout=60
    )
    assert done.returncode == 1
    warning, deleted, thread, last = map(json.loads, done.stderr.splitlines())
    assert warning["level"] == "warning" and "DeprecationWarning: old thing" in warning["message"]
    assert "ValueError: in del" in deleted["traceback"]
    assert "sk_4fJ0aZ71Qw2x_[redacted]" in thread["traceback"] and "0123456789AB" not in done.stderr
    assert last["level"] == "critical" and "RuntimeError: at the end []" in last["traceback"]
