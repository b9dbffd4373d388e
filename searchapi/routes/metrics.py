"""Figures for Prometheus."""

from __future__ import annotations

from flask import Blueprint, Response, current_app, request

from .. import visibility
from ..guard import guard
from ..incoming import parameters
from ..metrics import of_indexes
from ..services import services

bp = Blueprint("metrics", __name__)


@bp.get("/metrics")
@guard("metrics", turn=None)
def scrape() -> Response:
    """All workers together, in Prometheus's text format or OpenMetrics, as `Accept` asks."""
    parameters()
    engine = services().engine
    accept = request.headers.get("Accept")
    text, content_type = current_app.extensions["metrics"].text(accept, lambda: of_indexes(engine, visibility.shown))
    return Response(text, content_type=content_type)
