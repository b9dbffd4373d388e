"""One document by its id, with its version as ETag."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

from flask import Blueprint, Response

from .. import serialise
from ..documents import document_id
from ..exceptions import Invalid
from ..guard import guard
from ..idempotency import by_engine, once, told
from ..incoming import JSON, MERGE_PATCH, document_body, is_current, must_be_new, must_exist, parameters, version_in, waits
from ..model import Operation
from ..services import services

bp = Blueprint("document", __name__, url_prefix="/v1/indexes/<segment:index>/documents/<segment:id>")


@bp.get("")
@guard("documents:read")
def get_document(index: str, id: str) -> Response:
    parameters()
    s = services()
    found = s.engine.get(s.info(index).name, id)
    if is_current(found.version):
        return serialise.nothing(304, serialise.etag(found.version))
    return serialise.raw(found.body, serialise.etag(found.version))


@bp.put("")
@guard("documents:write", turn="write")
@by_engine
def put_document(index: str, id: str) -> Response:
    """Create or replace."""
    return _write(index, id, "put", document_body(services().settings, JSON))


@bp.patch("")
@guard("documents:write", turn="write")
@by_engine
def patch_document(index: str, id: str) -> Response:
    """Merge (RFC 7396): null removes a field."""
    return _write(index, id, "patch", document_body(services().settings, JSON, MERGE_PATCH))


@bp.delete("")
@guard("documents:write", turn="write")
@by_engine
def delete_document(index: str, id: str) -> Response:
    return _write(index, id, "delete", None)


def _write(index: str, id: str, kind: Any, document: dict[str, Any] | None) -> Response:
    s, wait = services(), waits(parameters("refresh"))
    info = s.info(index)
    if document is not None:
        document = _with_id(document, info.settings.primary_key, id)
    if_match = "*" if must_exist() else version_in("If-Match")
    operation = Operation(kind, id, document, if_match=if_match, if_none_match=must_be_new())
    result = told(s.write_one(info.name, operation, once()))
    outcome = result.outcomes[0]
    if outcome.error is not None:
        raise outcome.error
    body: dict[str, Any] = {"id": id, "version": outcome.version, "seq": result.seq}
    if wait:
        body["refreshed"] = s.refreshed(info.name, result.seq)
    if kind == "delete":
        return serialise.answer(body) if body.get("refreshed") is False else serialise.nothing()
    headers = serialise.etag(outcome.version)
    if outcome.created:
        headers["Location"] = f"/v1/indexes/{quote(index)}/documents/{quote(id, safe='')}"
    return serialise.answer(body, 201 if outcome.created else 200, headers)


def _with_id(document: dict[str, Any], primary_key: str, id: str) -> dict[str, Any]:
    """The document with the id of the path; a different one in the body is refused."""
    if primary_key not in document:
        return {primary_key: id, **document}
    if document_id(document, primary_key) != id:
        raise Invalid.at(
            f"/{primary_key}", "other_id", f"The path says {id!r}, but {primary_key} in the body is {document[primary_key]!r}."
        )
    return document
