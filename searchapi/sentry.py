"""Errors to Sentry, where SENTRY_DSN names a project; times of requests, where SENTRY_TRACES gives a share. No Flask here: the
indexer reports its errors with this too.

What is logged as an error is an event: an exception that no route expected, a search that the engine could not do, a failure of the
indexer. Nothing of Sentry's is done for a request that does not fail. Events hold no headers, bodies, query strings or local
variables; what is left passes `scrub.py`. A DSN that is wrong, down or slow costs one line: events are sent by a thread of its own,
from a bounded queue.
"""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from . import __version__, logs
from .config import Settings

if TYPE_CHECKING:
    from flask import Flask, Response
    from sentry_sdk.tracing import Transaction

log = logging.getLogger(__name__)

PER_MINUTE = 30  # events of a process; what goes wrong more often is the same thing again
SHUTDOWN = 2.0  # seconds that what is queued may take at the end

_transaction: ContextVar[Transaction | None] = ContextVar("searchapi.transaction", default=None)


def init(settings: Settings) -> None:
    """After the fork. Nothing is imported where there is no DSN: the SDK takes 5 MB."""
    if not settings.sentry_dsn:
        return
    import sentry_sdk
    from sentry_sdk.integrations.atexit import AtexitIntegration
    from sentry_sdk.integrations.dedupe import DedupeIntegration
    from sentry_sdk.integrations.logging import LoggingIntegration

    logging.getLogger("urllib3").setLevel(logging.ERROR)  # it warns of each try
    logging.getLogger("sentry_sdk").setLevel(logging.CRITICAL)
    try:
        sentry_sdk.init(
            dsn=settings.sentry_dsn,
            release=settings.release or __version__,
            environment=settings.environment,
            traces_sample_rate=settings.sentry_traces or None,
            before_send=_limited(PER_MINUTE, _completed),
            before_send_transaction=_scrubbed,
            transport=_transport(),
            shutdown_timeout=SHUTDOWN,
            default_integrations=False,
            auto_enabling_integrations=False,
            integrations=[
                AtexitIntegration(callback=lambda pending, timeout: None),
                DedupeIntegration(),
                LoggingIntegration(level=None, event_level=logging.ERROR, sentry_logs_level=None),
            ],
            include_local_variables=False,
            max_request_body_size="never",
            max_breadcrumbs=0,
            auto_session_tracking=False,
            send_client_reports=False,
            enable_backpressure_handling=False,
            enable_metrics=False,
            spotlight=False,
            debug=False,
        )
    except ValueError as error:  # BadDsn is one
        log.warning("SENTRY_DSN cannot be used, so errors are not reported: %s", error)


def init_app(app: Flask, settings: Settings) -> None:
    """Times of a share of the requests. The others pay for one random number."""
    share = settings.sentry_traces
    if not (settings.sentry_dsn and share):
        return
    import sentry_sdk

    @app.before_request
    def begin() -> None:
        if random.random() >= share:
            return
        facts = logs.current()
        name = f"{facts['method']} {facts['route']}"
        started = sentry_sdk.start_transaction(op="http.server", name=name, source="route", sampled=True)
        started.sample_rate = share  # what Sentry multiplies by
        logs.note(trace=started.trace_id)
        _transaction.set(started)

    @app.after_request
    def end(response: Response) -> Response:
        started = _transaction.get()
        if started is not None:
            _transaction.set(None)
            facts, status = logs.current(), response.status_code
            finish = lambda: _finish(started, facts, status)  # noqa: E731
            response.call_on_close(finish) if response.is_streamed else finish()
        return response


def _finish(transaction: Transaction, facts: dict[str, Any], status: int) -> None:
    if engine := facts.get("engine_ms"):
        now = time.time()
        transaction.start_child(op="db", name="engine", start_timestamp=now - engine / 1000).finish(end_timestamp=now)
    for name, value in _tags(facts).items():
        transaction.set_tag(name, value)
    transaction.set_http_status(status)
    transaction.finish()


# -------------------------------------------------------------------------------------------------------- events


def _completed(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any]:
    """With what is known of the request that failed, and without secrets."""
    facts = logs.current()
    if facts:
        event.setdefault("tags", {}).update(_tags(facts))
        event["transaction"] = f"{facts['method']} {facts['route']}"
        if facts.get("key"):
            event["user"] = {"id": facts["key"]}
    return _scrubbed(event, hint)


def _tags(facts: dict[str, Any]) -> dict[str, str]:
    return {name: facts[name] for name in ("request_id", "route", "index") if facts.get(name)}


def _scrubbed(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any]:
    return logs.scrubber().tree(event)


def _limited(most: int, then: Callable[..., Any]) -> Callable[..., Any]:
    """The first `most` events of each minute: a loop of crashes must not eat the project's quota."""
    minute, sent = 0, 0

    def before_send(event: dict[str, Any], hint: dict[str, Any]) -> dict[str, Any] | None:
        nonlocal minute, sent
        now = int(time.monotonic() // 60)
        if now != minute:
            minute, sent = now, 0
        sent += 1
        return then(event, hint) if sent <= most else None

    return before_send


def _transport() -> type:
    from sentry_sdk.transport import HttpTransport

    class Transport(HttpTransport):
        """Says once that Sentry does not take events."""

        TIMEOUT = 10  # seconds
        told = False

        def on_dropped_event(self, reason: str) -> None:
            if not Transport.told:
                Transport.told = True
                log.warning("Sentry does not take events (%s); this is said once", reason)

    return Transport
