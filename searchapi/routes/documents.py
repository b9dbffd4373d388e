"""Documents: many at once, a page of them, all of them, by filter."""

from __future__ import annotations

from typing import Literal
from urllib.parse import quote

from flask import Blueprint, Response, request

from .. import problems, serialise, visibility
from ..auth import grant
from ..exceptions import Invalid
from ..guard import guard
from ..idempotency import by_engine, once, told
from ..incoming import documents_body, number, parameters, waits
from ..query.filters import parse_filter
from ..services import services

bp = Blueprint("documents", __name__, url_prefix="/v1/indexes/<segment:index>")


@bp.post("/documents")
@guard("documents:write", turn="write")
@by_engine
def put_documents(index: str) -> Response:
    """Upsert a JSON array, one JSON object or NDJSON; the index is created by its first documents."""
    return _batch(index, "put", parameters("refresh", "primary_key"))


@bp.patch("/documents")
@guard("documents:write", turn="write")
@by_engine
def patch_documents(index: str) -> Response:
    """Merge each document (RFC 7396) into the one with its id."""
    return _batch(index, "patch", parameters("refresh"))


def _batch(index: str, kind: Literal["put", "patch"], given: dict[str, str]) -> Response:
    s, wait = services(), waits(given)
    may_create = "indexes:admin" in grant().scopes
    result = s.write_many(index, kind, documents_body(s.settings), given.get("primary_key"), may_create, once())
    body = serialise.batch(told(result))
    if result.errors and not result.accepted:
        return problems.refused_batch(body["errors"], result.refused)
    if wait and result.seq is not None:
        body["refreshed"] = s.refreshed(s.system.resolve(index), result.seq)
    return serialise.answer(body)


@bp.get("/documents")
@guard("documents:read")
def list_documents(index: str) -> Response:
    """A page, in the order of ids; `cursor` is the last id of the page before."""
    given, s = parameters("limit", "cursor"), services()
    limits = s.limits
    limit = number(given, "limit", limits.default_page_size, 1, limits.max_page_size, limits.page_size_cap)
    found = list(s.engine.scan(s.info(index).name, given.get("cursor"), limit + 1))
    following = None
    if len(found) > limit:
        following = f"{request.environ['PATH_INFO']}?limit={limit}&cursor={quote(found[limit - 1].id, safe='')}"
    return serialise.answer(serialise.page(found[:limit], following))


@bp.get("/export")
@guard("documents:read", cost=10, turn="stream")
def export(index: str) -> Response:
    """All documents, as NDJSON, in the order of ids."""
    parameters()
    s = services()
    documents = s.engine.scan(s.info(index).name)
    return Response(serialise.lines(documents), content_type="application/x-ndjson")


@bp.delete("/documents")
@guard("documents:write", cost=10, turn="write")
def delete_documents(index: str) -> Response:
    """Delete what matches `filter`, as a task; `refresh=wait_for` waits for it, bounded."""
    given, s = parameters("filter", "refresh"), services()
    text, wait, info = given.get("filter", ""), waits(given), s.info(index)
    if not text.strip():
        raise Invalid.at("filter", "missing_filter", "Deleting documents needs a filter, as filter=year < 2020.")
    parse_filter(text, info, s.limits)
    task = s.system.create_task("delete_where", info.name, {"filter": text})
    if wait:
        task = s.finished(task)
    status = 200 if task.finished_at else 202
    task = visibility.by_name(task, index)
    return serialise.answer(serialise.task(task), status, serialise.task_address(task.id))
