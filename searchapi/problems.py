"""Errors as answers: the one place that knows which HTTP status an exception means.

Every error is RFC 9457 `application/problem+json`: `{type, title, status, detail, code, request_id, errors?}`, where `errors` is
`[{pointer, code, detail}]`. `code` is stable and is what a program should look at; docs/errors.md lists them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import orjson
from flask import Flask, Response, current_app, request
from werkzeug.exceptions import HTTPException

from . import exceptions, logs

log = logging.getLogger("searchapi.problems")

STATUSES: dict[type[exceptions.SearchAPIError], int] = {
    exceptions.Unreadable: 400,
    exceptions.NotAuthenticated: 401,
    exceptions.NotPermitted: 403,
    exceptions.NotFound: 404,
    exceptions.BodyTimeout: 408,
    exceptions.Conflict: 409,
    exceptions.VersionConflict: 412,
    exceptions.TooLarge: 413,
    exceptions.Invalid: 422,
    exceptions.Unsupported: 422,
    exceptions.IdempotencyReused: 422,
    exceptions.RateLimited: 429,
    exceptions.Overloaded: 503,
    exceptions.EngineUnavailable: 503,
    exceptions.SearchAPIError: 500,
}

# What HTTP itself refuses, before a route is reached or while its body is read: status -> code.
HTTP_CODES: dict[int, str] = {
    400: "unreadable",
    401: "unauthorized",
    403: "forbidden",
    404: "no_such_address",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    500: "internal_error",
    503: "not_ready",
}

HTTP_DETAILS: dict[int, str] = {
    404: "There is nothing at this address. All but /health, /health/ready, /db-health and /metrics is under /v1.",
    500: "Something went wrong here, not with your request. The log has it under this request_id.",
}

# What Gunicorn refuses before there is a request (`worker.py`): code -> (status, detail).
SERVER_CODES: dict[str, tuple[int, str]] = {
    "bad_request": (400, "This is not HTTP that is understood here."),
    "invalid_header": (400, "A header is not valid."),
    "request_timeout": (408, "The request did not arrive within BODY_TIMEOUT_MS."),
    "request_line_too_long": (414, "The request line is longer than 8,190 bytes; send a long search with POST."),
    "expectation_failed": (417, "Of Expect only 100-continue is understood."),
    "headers_too_large": (431, "A header may have 8,190 bytes, and a request 100 headers."),
    "internal_error": (500, HTTP_DETAILS[500]),
    "unsupported_transfer_coding": (501, "Of Transfer-Encoding only chunked is understood; Content-Encoding may be gzip."),
    "http_version_not_supported": (505, "HTTP/1.0 and HTTP/1.1 are spoken here."),
}


def status_of(error: type[exceptions.SearchAPIError]) -> int:
    """The status of a kind of error: its own, or that of the nearest kind above it."""
    return next(STATUSES[kind] for kind in error.__mro__ if kind in STATUSES)


def problem(
    status: int, code: str, detail: str, *, errors: list[dict[str, Any]] | None = None, headers: Mapping[str, str] | None = None
) -> Response:
    """A problem as an answer."""
    body = _body(status, code, detail, logs.request_id())
    if errors:
        body["errors"] = errors
    logs.note(code=code)
    response = Response(logs.scrubber().answer(orjson.dumps(body)), status, headers, content_type="application/problem+json")
    response.headers["Cache-Control"] = "no-store"
    return response


def of_server(code: str, request_id: str, header: str | None = None) -> tuple[int, bytes]:
    """(status, body) of a problem that Gunicorn found. header: the one that it is about."""
    status, detail = SERVER_CODES[code]
    if header:
        detail += f" It is about {header}."
    return status, orjson.dumps(_body(status, code, detail, request_id))


def _body(status: int, code: str, detail: str, request_id: str | None) -> dict[str, Any]:
    return {
        "type": f"urn:searchapi:problem:{code}",
        "title": code.replace("_", " ").capitalize(),
        "status": status,
        "detail": detail,
        "code": code,
        "request_id": request_id,
    }


def _known(error: exceptions.SearchAPIError) -> Response:
    status = status_of(type(error))
    if status == 500:
        return _unknown(error)
    if isinstance(error, exceptions.IndexNotFound) and (asked := (request.view_args or {}).get("index")) is not None:
        error = exceptions.IndexNotFound(asked)  # one that was just deleted; the caller may know it by an alias alone
    errors = [{"pointer": fault.pointer, "code": fault.code, "detail": fault.detail} for fault in error.errors]
    headers = {}
    if retry := getattr(error, "retry_after", None):
        headers["Retry-After"] = str(retry)
    if status == 401:
        headers["WWW-Authenticate"] = 'Bearer realm="searchapi"'
    if status == 503 and not isinstance(error, exceptions.Overloaded):  # that one has a counter and the request's line
        log.warning("%s: %s", error.code, error.detail)
    return problem(status, error.code, error.detail or "No more is known about it.", errors=errors, headers=headers)


def _http(error: HTTPException) -> Response:
    """Werkzeug's own errors: addresses, methods, body sizes. Redirects go out as they are."""
    status = error.code or 500
    if status < 400:
        return error.get_response()
    headers = {name: value for name, value in error.get_headers() if name not in ("Content-Type", "Content-Length")}
    detail = error.description or ""
    if "Allow" in headers:
        headers["Allow"] = ", ".join(sorted(headers["Allow"].split(", ")))
    if status in HTTP_DETAILS:
        detail = HTTP_DETAILS[status]
    elif status == 405:
        detail = f"This address answers {headers.get('Allow', 'nothing')} only."
    elif status == 413:
        detail = f"The body is longer than {current_app.config['MAX_CONTENT_LENGTH']} bytes; send it in parts."
    return problem(status, HTTP_CODES.get(status, "refused"), detail, headers=headers)


def _unknown(error: Exception) -> Response:
    log.error("unhandled %s", type(error).__name__, exc_info=error)
    return problem(500, HTTP_CODES[500], HTTP_DETAILS[500])


def refused_batch(errors: list[dict[str, Any]], refused: int) -> Response:
    """A batch of which nothing was accepted."""
    detail = "The document was not accepted." if refused == 1 else f"None of the {refused:,} documents was accepted."
    return problem(422, "nothing_accepted", detail, errors=errors)


def init_app(app: Flask) -> None:
    app.register_error_handler(exceptions.SearchAPIError, _known)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unknown)
