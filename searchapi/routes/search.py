"""Searching: GET with parameters, POST with JSON. Everything here is on the hot path."""

from __future__ import annotations

from time import perf_counter

from flask import Blueprint, Response, request

from .. import logs, serialise
from ..guard import guard
from ..incoming import json_object, no_body, parameters, query_lists
from ..query.params import search_from_args, search_from_json, suggest_from_args
from ..services import services

bp = Blueprint("search", __name__, url_prefix="/v1/indexes/<segment:index>")


@bp.get("/search")
@guard("search")
def search_get(index: str) -> Response:
    started, s = perf_counter(), services()
    no_body()
    info = s.info(index)
    asked = search_from_args(query_lists(), info, s.engine.capabilities, s.limits)
    found = s.search.search(info, asked)
    following = serialise.next_link(found, request.environ["PATH_INFO"], request.environ["QUERY_STRING"])
    logs.note(q=asked.q, hits=len(found.hits), engine_ms=found.engine_ms)
    return serialise.raw(serialise.search(found, asked, info, following, (perf_counter() - started) * 1000))


@bp.post("/search")
@guard("search")
def search_post(index: str) -> Response:
    started, s = perf_counter(), services()
    parameters()
    body, info = json_object(), s.info(index)
    asked = search_from_json(body, info, s.engine.capabilities, s.limits)
    found = s.search.search(info, asked)
    following = serialise.next_body(found, body)
    logs.note(q=asked.q, hits=len(found.hits), engine_ms=found.engine_ms)
    return serialise.raw(serialise.search(found, asked, info, following, (perf_counter() - started) * 1000))


@bp.get("/suggest")
@guard("search")
def suggest(index: str) -> Response:
    s = services()
    no_body()
    info = s.info(index)
    asked = suggest_from_args(query_lists(), info, s.limits)
    found = s.search.suggest(info, asked)
    logs.note(q=asked.q, hits=len(found.suggestions))
    return serialise.answer(serialise.suggest(found))
