"""What is counted, for Prometheus: docs/metrics.md says what each name means.

Under Gunicorn each worker counts in files of the instance (`metricfiles.py`) and any worker answers for all of them; without it, as
in tests, an application counts in memory for itself. Labels are bounded: a route is the text of its rule, and whatever is at no
address is one. What is known elsewhere (documents and lag of indexes) is asked for when it is scraped.
"""

from __future__ import annotations

import fcntl
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

from flask import Flask, Response, request
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector

from . import __version__, idempotency, logs, ratelimit
from .config import Settings
from .engines.base import Engine
from .exceptions import EngineError, Overloaded
from .metricfiles import ALIVE, VARIABLE, counted, locked

UNMATCHED = "unmatched"  # the route of what has no address here, and its method, which a client can make up
BUCKETS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)  # seconds
LIMITS = ("key", "address", "bad_keys")  # kinds of rate limits
MAX_INDEXES = 100  # whose figures a scrape shows, the first by name
MAX_SCRAPES = 2  # at once, in a worker
SCRAPE_PATIENCE = 2.0  # seconds that a scrape waits while files of dead workers are added up


class Metrics:
    """The figures of one application. Children are made once for each set of labels: making one costs more than counting."""

    def __init__(self, settings: Settings):
        folder = os.environ.get(VARIABLE)
        self._folder = Path(folder) if folder else None
        self._started = time.time()
        self._build = {
            "version": __version__,
            "release": settings.release or __version__,
            "environment": settings.environment,
        }
        of = self._registry = CollectorRegistry()
        self.requests = Histogram(
            "searchapi_request_duration_seconds",
            "Time to answer a request, by its route, method and class of status.",
            ("route", "method", "status"),
            buckets=BUCKETS,
            registry=of,
        )
        self.engine = Histogram(
            "searchapi_engine_duration_seconds", "Of a search, the time in the engine.", ("route",), buckets=BUCKETS, registry=of
        )
        live = {"registry": of, "multiprocess_mode": "livesum"}
        self.in_flight = Gauge("searchapi_requests_in_flight", "Requests that have a turn.", ("turn",), **live)
        self.waiting = Gauge("searchapi_requests_waiting", "Requests in line for a turn.", ("turn",), **live)
        self.shed = Counter("searchapi_requests_shed", "Requests refused because too much was to do.", ("turn",), registry=of)
        self.unauthorized = Counter("searchapi_unauthorized", "Requests without a key, or with a wrong one.", registry=of)
        self.rate_limited = Counter("searchapi_rate_limited", "Requests refused by a rate limit.", ("kind",), registry=of)
        for kind in LIMITS:  # a row that is there from the start can be added to others
            self.rate_limited.labels(kind)
        self.fallbacks = Counter("searchapi_ratelimit_fallbacks", "Times that a worker lost Redis.", registry=of)
        self.replayed = Counter("searchapi_idempotent_replays", "Writes answered again and not done again.", registry=of)
        self.in_memory = Gauge("searchapi_ratelimit_in_memory", "Workers that count rate limits for themselves.", **live)
        self.in_memory.set(0 if settings.redis_url else 1)
        self.workers = Gauge("searchapi_workers", "Worker processes.", **live)
        self.workers.set(1)
        self._scrapes = threading.BoundedSemaphore(MAX_SCRAPES)

    def on_limited(self, app: Flask, kind: str) -> None:
        self.rate_limited.labels(kind).inc()

    def on_storage(self, app: Flask, here: bool) -> None:
        self.in_memory.set(0 if here else 1)
        if not here:
            self.fallbacks.inc()

    def text(self, accept: str | None, figures: Callable[[], Iterator[Metric]]) -> tuple[bytes, str]:
        """Everything in the format that an Accept header asks for, and the content type of that. figures: what is added to it.
        Raises Overloaded: a scrape takes no turn, so there must not be many at once."""
        if not self._scrapes.acquire(blocking=False):
            raise Overloaded(f"{MAX_SCRAPES} others are being answered with these figures.")
        try:
            encode, content_type = choose_encoder(accept)
            return encode(_Scrape([*self._counted(), *self._about(), *figures()])), content_type
        finally:
            self._scrapes.release()

    def _counted(self) -> list[Metric]:
        if self._folder is None:
            return list(self._registry.collect())
        with locked(self._folder, fcntl.LOCK_SH, SCRAPE_PATIENCE) as held:
            if not held:
                raise Overloaded("The figures are being added up.")
            files = [os.fspath(file) for file in self._folder.glob("*.db") if counted(file)]
            return list(MultiProcessCollector.merge(files, accumulate=True))

    def _about(self) -> Iterator[Metric]:
        yield InfoMetricFamily("searchapi_build", "What is running.", self._build)
        started = (self._folder / ALIVE).stat().st_mtime if self._folder else self._started
        yield GaugeMetricFamily("searchapi_start_time_seconds", "When this instance began, since 1970.", started)


class _Scrape:
    """What an encoder wants of a registry."""

    def __init__(self, found: list[Metric]):
        self._found = found

    def collect(self) -> list[Metric]:
        return self._found


def init_app(app: Flask, settings: Settings) -> None:
    metrics = app.extensions["metrics"] = Metrics(settings)
    ratelimit.limited.connect(metrics.on_limited, app)  # weakly: the application holds it
    ratelimit.storage_changed.connect(metrics.on_storage, app)
    durations: dict[tuple[str, str, int], Histogram] = {}
    engine: dict[str, Histogram] = {}

    @app.after_request
    def count(response: Response) -> Response:
        asked, status = request._get_current_object(), response.status_code
        rule, environ = asked.url_rule, asked.environ
        route, method = (rule.rule, asked.method) if rule is not None else (UNMATCHED, UNMATCHED)
        duration = durations.get((route, method, status // 100))
        if duration is None:
            duration = durations[route, method, status // 100] = metrics.requests.labels(route, method, f"{status // 100}xx")
        if status == 401:
            metrics.unauthorized.inc()
        if "HTTP_IDEMPOTENCY_KEY" in environ and idempotency.REPLAYED in response.headers:
            metrics.replayed.inc()
        if response.is_streamed:
            response.call_on_close(lambda: duration.observe(perf_counter() - logs.started(environ)))
            return response
        engine_ms = logs.noted(environ, "engine_ms")
        if engine_ms is not None:
            if route not in engine:
                engine[route] = metrics.engine.labels(route)
            engine[route].observe(engine_ms / 1000)
        duration.observe(perf_counter() - logs.started(environ))
        return response


def of_indexes(engine: Engine, shown: Callable[[str], str | None]) -> Iterator[Metric]:
    """Figures of indexes; none while the engine is away. shown: the name that whoever asks knows an index by, None for one that it
    may not know of."""
    try:
        names = sorted((known, name) for name in engine.names() if (known := shown(name)))
        found = engine.progresses([name for _, name in names[:MAX_INDEXES]])
    except EngineError:
        return
    yield GaugeMetricFamily("searchapi_indexes", "Indexes that this key may see.", len(names))
    documents = GaugeMetricFamily("searchapi_index_documents", "Documents of an index.", labels=("index",))
    behind = GaugeMetricFamily("searchapi_index_lag_documents", "Writes that searches do not see yet.", labels=("index",))
    age = GaugeMetricFamily("searchapi_index_lag_seconds", "Age of the oldest of them.", labels=("index",))
    for known, name in names[:MAX_INDEXES]:
        if (progress := found.get(name)) is not None:
            documents.add_metric((known,), progress.documents)
            behind.add_metric((known,), progress.lag)
            age.add_metric((known,), progress.lag_seconds)
    yield from (documents, behind, age)
