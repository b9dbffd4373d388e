"""Is it alive, can it search, how is its engine."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from time import monotonic, perf_counter
from typing import Any

from flask import Blueprint, Response, current_app

from .. import auth, ratelimit, serialise
from ..engines.base import Engine
from ..exceptions import EngineUnavailable, SearchAPIError
from ..guard import guard
from ..incoming import parameters
from ..keystore import Grant
from ..model import EngineHealth
from ..services import services

bp = Blueprint("health", __name__)

FRESH = 0.5  # seconds that an answer of the engine is good for: anybody may ask, and it looks at every index
PATIENCE = 2.0  # seconds to wait for the one who is asking it
ENGINE_FIGURES = ("free_bytes", "latency_ms")  # what tells nothing of indexes that a key may not see


class Readiness:
    """The engine's health, asked for by one request at a time and not all the time."""

    def __init__(self, engine: Engine):
        self._engine, self._lock = engine, threading.Lock()
        self._known: tuple[float, EngineHealth] | None = None

    def health(self) -> EngineHealth:
        if (known := self._fresh()) is not None:
            return known
        if not self._lock.acquire(timeout=PATIENCE):
            return EngineHealth(False, reason="The engine does not answer.")
        try:
            if (known := self._fresh()) is None:
                known = self._engine.health()
                self._known = monotonic(), known
            return known
        finally:
            self._lock.release()

    def _fresh(self) -> EngineHealth | None:
        known = self._known
        return known[1] if known is not None and monotonic() - known[0] < FRESH else None


@bp.record_once
def _prepare(state: Any) -> None:
    state.app.extensions["readiness"] = Readiness(state.app.extensions["searchapi"].engine)


@bp.get("/health")
@guard(cost=0, turn=None)
def health() -> Response:
    """Liveness, for load balancers: never touches the engine."""
    return serialise.answer({"status": "ok"})


@bp.get("/health/ready")
@guard(cost=0, turn=None)
def ready() -> Response:
    """Readiness: can this instance search? With a key that has the scope `metrics`, how it is doing."""
    state = current_app.extensions["readiness"].health()
    if not state.ok:
        raise EngineUnavailable("This instance cannot search now.", code="not_ready")
    grant = _operator()
    return serialise.answer({"status": "ready", **(_details(state.detail, grant) if grant else {})})


def _operator() -> Grant | None:
    """Who may see details. A wrong key counts as wrong, but whoever asks for readiness, a load balancer, is answered."""
    try:
        grant = auth.offered()
    except SearchAPIError as error:
        with contextlib.suppress(SearchAPIError):
            ratelimit.refused(error)
        return None
    return grant if grant is not None and "metrics" in grant.scopes else None


def _details(detail: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    """lag: of the indexes that the key may see, all writes and the age of the oldest. in_flight, waiting: of this worker."""
    engine, lag, oldest = services().engine, 0, 0.0
    for progress in engine.progresses([name for name in engine.names() if grant.sees(name)]).values():
        lag, oldest = lag + progress.lag, max(oldest, progress.lag_seconds)
    limits = {name: figure for name, figure in ratelimit.state().items() if name != "refused"}
    of_engine = {"name": engine.capabilities.engine, "lag": lag, "lag_seconds": round(oldest, 3), **_figures(detail, grant)}
    return {"engine": of_engine, "rate_limits": limits, "turns": current_app.extensions["admission"].state()}


def _figures(detail: Mapping[str, Any], grant: Grant) -> dict[str, Any]:
    """What the engine says of itself, without the sums of all indexes where the key is not for all."""
    everything = "*" in grant.indexes
    return {name: figure for name, figure in detail.items() if name != "engine" and (everything or name in ENGINE_FIGURES)}


@bp.get("/db-health")
@guard("metrics")
def engine() -> Response:
    """The engine: its state, the latency of asking it, and its figures."""
    parameters()
    started, grant = perf_counter(), auth.grant()
    state = services().engine.health()
    if not state.ok:
        reason = state.reason if "*" in grant.indexes else None  # it names the index
        raise EngineUnavailable(reason or "The engine cannot search now.")
    latency = round((perf_counter() - started) * 1000, 2)
    name = services().engine.capabilities.engine
    return serialise.answer({"status": "ok", "engine": name, "latency_ms": latency, **_figures(state.detail, grant)})
