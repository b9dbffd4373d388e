"""Is it alive, can it search, how is its engine."""

from __future__ import annotations

from time import perf_counter

from flask import Blueprint, Response

from .. import serialise
from ..exceptions import EngineUnavailable
from ..guard import guard
from ..incoming import parameters
from ..services import services

bp = Blueprint("health", __name__)


@bp.get("/health")
@guard(cost=0, turn=None)
def health() -> Response:
    """Liveness, for load balancers: never touches the engine."""
    return serialise.answer({"status": "ok"})


@bp.get("/health/ready")
@guard(cost=0, turn=None)
def ready() -> Response:
    """Readiness: can this instance search?"""
    if not services().engine.health().ok:
        raise EngineUnavailable("This instance cannot search now.", code="not_ready")
    return serialise.answer({"status": "ready"})


@bp.get("/db-health")
@guard("metrics")
def engine() -> Response:
    """The engine: its state, the latency of asking it, and its figures."""
    parameters()
    started = perf_counter()
    state = services().engine.health()
    if not state.ok:
        raise EngineUnavailable(state.reason or "The engine cannot search now.")
    latency = round((perf_counter() - started) * 1000, 2)
    name = services().engine.capabilities.engine
    return serialise.answer({"status": "ok", "engine": name, "latency_ms": latency, **state.detail})
