"""`Idempotency-Key`: a write that is sent again, because its answer was lost, is answered and not done again.

The header is that of draft-ietf-httpapi-idempotency-key-header-07: its string, `"8e03978e"`, or the bare text, as most clients send
it; both are the same key. It is remembered for the API key that sent it alone. Two ways lead to "once":

- documents: the engine commits the record together with the write (`once`, `by_engine`), so nothing can come between them
- every other route with a write turn: claimed in the SystemStore, done, and finished with its answer. Where the server dies between
  the two, the claim is taken over and the request is done anew

Refusals that left no trace are forgotten: what is sent again is looked at anew. Reads ignore the header.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
import re
from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import orjson
from flask import Flask, Response, after_this_request, request

from . import logs
from .auth import grant
from .exceptions import EngineError, Invalid
from .incoming import request_body
from .keytext import PATTERN
from .model import Once, WriteResult
from .services import services
from .writes import Batch

log = logging.getLogger(__name__)

REPLAYED = "Idempotency-Replayed"
LONGEST = 255  # characters of a key
_HEADER = "HTTP_IDEMPOTENCY_KEY"
_BARE = re.compile(r"[!#-+\--\[\]-~]+")  # visible ASCII without `"`, `\` and `,`: a comma is what joins a header sent twice
_STRING = re.compile(r'"((?:[!#-\[\]-~]|\\["\\])+)"')  # of RFC 8941, without spaces
_CONDITIONS = ("HTTP_IF_MATCH", "HTTP_IF_NONE_MATCH")

View = TypeVar("View", bound=Callable[..., Any])
Result = TypeVar("Result", WriteResult, Batch)


# ---------------------------------------------------------------------------------------------------- by the engine


def by_engine(view: View) -> View:
    """For a route that hands `once()` to the engine."""
    view.once_by_engine = True  # type: ignore[attr-defined]
    return view


def once() -> Once | None:
    """Of the request being answered, but for its body; None without the header. Raises Invalid."""
    return _once(b"") if _HEADER in request.environ else None


def told(result: Result) -> Result:
    """The same result, after noting for the answer that it is that of an earlier time."""
    if result.replayed:
        logs.note(replayed=True)
        after_this_request(_marked)
    return result


def _marked(response: Response) -> Response:
    response.headers[REPLAYED] = "true"
    return response


def _once(body: bytes) -> Once:
    environ = request.environ
    parts = [environ["REQUEST_METHOD"], environ["PATH_INFO"], environ.get("QUERY_STRING", "")]
    digest = hashlib.blake2b(orjson.dumps(parts + [environ.get(name) for name in _CONDITIONS]), digest_size=16)
    digest.update(body)
    return Once(f"{grant().key_id}:{key_in(environ[_HEADER])}", digest.digest())


def key_in(header: str) -> str:
    """The key that a header holds. Raises Invalid."""
    text = header.strip()
    if string := _STRING.fullmatch(text):
        key = re.sub(r"\\(.)", r"\1", string[1])
    elif _BARE.fullmatch(text):
        key = text
    else:
        key = ""
    if not 1 <= len(key) <= LONGEST:
        detail = f"Idempotency-Key must be 1 to {LONGEST} visible ASCII characters, as 8e03978e-40d5-43dd-bc93-6894a57f9324."
        raise Invalid.at("Idempotency-Key", "invalid_idempotency_key", detail)
    return key


# -------------------------------------------------------------------------------------------------------- by claims


def init_app(app: Flask) -> None:
    """After the guards. Each route with a write turn honours the header; one without the header costs a look."""
    for name, declared in app.extensions["guards"].items():
        view = app.view_functions[name]
        if declared.turn == "write" and not getattr(view, "once_by_engine", False):
            app.view_functions[name] = _claimed(view)


def _claimed(view: View) -> View:
    @wraps(view)
    def call(**arguments: Any) -> Response:
        if _HEADER not in request.environ:
            return view(**arguments)
        asked, holder, system = _once(_body()), os.urandom(12).hex(), services().system
        known = system.claim(asked, holder)
        if known is not None:
            logs.note(replayed=True)
            return _marked(_unpacked(known))
        try:
            response = view(**arguments)
        except BaseException:
            _settle(system.release, asked.key, holder)
            raise
        if response.status_code < 400:
            _settle(system.finish, asked.key, holder, _packed(response))
        else:
            _settle(system.release, asked.key, holder)
        return response

    return call  # type: ignore[return-value]


def _body() -> bytes:
    """The body as it was meant, unpacked, so that packing it another way changes nothing. The route reads it again; and refuses it
    where it is too long, of which one byte too many is left to tell."""
    settings, environ = services().settings, request.environ
    data = request_body(settings).read_all(settings.max_document_bytes)
    environ.pop("HTTP_CONTENT_ENCODING", None)
    environ["wsgi.input"], environ["CONTENT_LENGTH"] = io.BytesIO(data), str(len(data))
    return data


def _settle(end: Callable[..., None], *arguments: Any) -> None:
    """What was done, or refused, stays so where the store fails now: the claim then lapses by itself."""
    try:
        end(*arguments)
    except EngineError as error:
        log.error("an idempotency record could not be kept: %s", error.detail)


def _packed(response: Response) -> bytes:
    """`[status, [[header, value]], body]`, without what is shown only once."""
    body = response.get_data().decode()
    if PATTERN.search(body):
        body = orjson.dumps(_without_keys(orjson.loads(body))).decode()
    headers = [(name, value) for name, value in response.headers if name != "Content-Length"]
    return orjson.dumps([response.status_code, headers, body])


def _without_keys(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_keys(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_without_keys(inner) for inner in value]
    return None if isinstance(value, str) and PATTERN.search(value) else value


def _unpacked(record: bytes) -> Response:
    status, headers, body = orjson.loads(record)
    response = Response(body, status)
    response.headers.clear()
    response.headers.extend(headers)
    return response
