"""Answers: from `model` to JSON. Documents are never parsed again: their stored bytes go out as they are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any
from urllib.parse import quote, unquote_plus

import orjson
from flask import Response

from .documents import format_date
from .model import (
    AnsweredHit,
    Document,
    Facet,
    FacetResult,
    IndexInfo,
    IndexStats,
    Key,
    Marked,
    SearchAnswer,
    SearchRequest,
    SettingsChange,
    SuggestAnswer,
    Task,
)
from .writes import Batch

JSON = "application/json"


def answer(value: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Any JSON value as an answer."""
    return Response(orjson.dumps(value), status, headers, content_type=JSON)


def raw(body: bytes, headers: Mapping[str, str] | None = None) -> Response:
    """JSON bytes as an answer."""
    return Response(body, 200, headers, content_type=JSON)


def nothing(status: int = 204, headers: Mapping[str, str] | None = None) -> Response:
    """An answer without a body."""
    response = Response(status=status, headers=headers)
    del response.headers["Content-Type"]
    return response


# ------------------------------------------------------------------------------------------------------- records


def etag(version: int) -> dict[str, str]:
    return {"ETag": f'"{version}"'}


def stats(figures: IndexStats) -> dict[str, Any]:
    return asdict(figures)


def settings_change(change: SettingsChange) -> tuple[dict[str, Any], int, dict[str, str]]:
    """Body, status and headers: 202 with the task's address where a rebuild was started."""
    body: dict[str, Any] = {"changed": change.changed, "rebuild": change.rebuild, "documents": change.documents}
    if change.task_id is None:
        return body, 200, {}
    return body | {"task_id": change.task_id}, 202, task_address(change.task_id)


def task_address(id: str) -> dict[str, str]:
    return {"Location": f"/v1/tasks/{id}"}


def batch(result: Batch) -> dict[str, Any]:
    body: dict[str, Any] = {"accepted": result.accepted, "errors": [asdict(error) for error in result.errors], "seq": result.seq}
    if result.refused > len(result.errors):
        body["refused"] = result.refused
    return body


def task(record: Task) -> dict[str, Any]:
    return asdict(record)


_OF_A_KEY = (
    "id",
    "description",
    "scopes",
    "indexes",
    "created_at",
    "expires_at",
    "last_used_at",
    "revoked_at",
    "rate_limit",
    "rate_limit_per_ip",
    "max_page_size",
    "previous_until",
    "epoch",
)


def key(record: Key) -> dict[str, Any]:
    """Named one by one, so that no digest ever leaves."""
    return {name: getattr(record, name) for name in _OF_A_KEY}


def page(documents: list[Document], following: str | None) -> dict[str, Any]:
    body: dict[str, Any] = {"documents": [orjson.Fragment(d.body) for d in documents]}
    if following:
        body["next"] = following
    return body


def lines(documents: Iterable[Document]) -> Iterator[bytes]:
    """NDJSON, in pieces of some 64 kB."""
    piece = bytearray()
    for document in documents:
        piece += document.body
        piece += b"\n"
        if len(piece) > 1 << 16:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)


# -------------------------------------------------------------------------------------------------------- search


def search(found: SearchAnswer, asked: SearchRequest, info: IndexInfo, following: Any, took_ms: float) -> bytes:
    """`following`: what `next` says, None to leave it out."""
    body: dict[str, Any] = {
        "hits": [_hit(hit) for hit in found.hits],
        "total": found.total,
        "total_exact": found.total_exact,
    }
    if asked.facets:
        body["facets"] = {f.field: facet(found.facets[f.field], f, info) for f in asked.facets}
    if found.corrections:
        body["corrections"] = [{"word": c.word, "to": c.to} for c in found.corrections]
    if found.partial:
        body["partial"] = True
    if following is not None:
        body["next"] = following
    body["took_ms"] = round(took_ms, 2)
    return orjson.dumps(body)


def _hit(hit: AnsweredHit) -> dict[str, Any]:
    body: dict[str, Any] = {"id": hit.id, "document": orjson.Fragment(hit.document)}
    if hit.highlights is not None:
        body["highlights"] = {field: _marks(marked) for field, marked in hit.highlights.items()}
    if hit.explain is not None:
        body["explain"] = hit.explain
    return body


def _marks(marked: Marked | tuple[Marked, ...]) -> Any:
    if isinstance(marked, tuple):
        return [_marks(one) for one in marked]
    if marked.html is not None:
        return {"text": marked.text, "html": marked.html}
    return {"text": marked.text, "ranges": marked.ranges}


def facet(result: FacetResult, asked: Facet, info: IndexInfo) -> dict[str, Any]:
    """`{values: [{value, count}], other, missing}`; ranges `{values: [{key, from, to, count}], missing}`; or the statistics."""
    date = info.fields[asked.field].type == "date"
    if asked.kind == "stats":
        figures = result.stats or {}
        if date:  # a sum of dates means nothing
            figures = {
                name: _date(value) if name in ("min", "max", "avg") else value for name, value in figures.items() if name != "sum"
            }
        return {**figures, "missing": result.missing}
    if asked.kind == "ranges":
        bounds = {r.key: (_date(r.low), _date(r.high)) if date else (r.low, r.high) for r in asked.ranges}
        values = [{"key": key, "from": bounds[key][0], "to": bounds[key][1], "count": count} for key, count in result.values]
        return {"values": values, "missing": result.missing}
    values = [{"value": _date(value) if date else value, "count": count} for value, count in result.values]
    return {"values": values, "other": result.other, "missing": result.missing}


def _date(ms: float | int | None) -> str | None:
    return None if ms is None else format_date(round(ms))


def next_link(found: SearchAnswer, path: str, query: str) -> str | None:
    """Path and query of the next page, for a GET: a cursor where there is one, for it neither skips nor repeats."""
    if found.cursor is None and found.next_offset is None:
        return None
    rest = [part for part in query.split("&") if part and _name(part) not in ("offset", "cursor")]
    rest.append(f"cursor={quote(found.cursor, safe='')}" if found.cursor is not None else f"offset={found.next_offset}")
    return f"{path}?{'&'.join(rest)}"


def _name(part: str) -> str:
    name = part.partition("=")[0]
    return unquote_plus(name) if "%" in name else name


def next_body(found: SearchAnswer, body: Mapping[str, Any]) -> dict[str, Any] | None:
    """The body that asks for the next page, for a POST."""
    if found.cursor is None and found.next_offset is None:
        return None
    rest = {name: value for name, value in body.items() if name not in ("offset", "cursor")}
    return rest | ({"cursor": found.cursor} if found.cursor is not None else {"offset": found.next_offset})


def suggest(found: SuggestAnswer) -> dict[str, Any]:
    return {
        "suggestions": [{"text": s.text, "ranges": s.ranges, "count": s.count} for s in found.suggestions],
        "corrections": [{"word": c.word, "to": c.to} for c in found.corrections],
    }
