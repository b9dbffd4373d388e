"""Reading a request: its path, query parameters, conditions and JSON body, each checked or refused with a clear error.

Paths are taken raw: an id sent as `a%2Fb` is the id `a/b`, and never meets an address below `documents/`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

import orjson
from flask import Flask, request
from werkzeug.exceptions import BadRequest, RequestEntityTooLarge, UnsupportedMediaType
from werkzeug.routing import BaseConverter

from .config import Settings
from .exceptions import Fault, Invalid, TooLarge, Unreadable
from .ndjson import JSON_TYPES, NDJSON_TYPES, ReadLimits, read_document, read_documents
from .wording import abridged

JSON = "application/json"
MAX_PARAMETERS = 100  # of a query string
MERGE_PATCH = "application/merge-patch+json"

# ---------------------------------------------------------------------------------------------------------- path


def raw_path(wsgi_app: Callable) -> Callable:
    """WSGI middleware: PATH_INFO becomes the path as sent, its segments still percent-encoded (in one canonical way)."""

    def call(environ: dict[str, Any], start_response: Callable) -> Iterable[bytes]:
        raw = environ.get("RAW_URI") or environ.get("REQUEST_URI")
        if raw:
            path = raw.partition("?")[0] if raw[0] == "/" else urlsplit(raw).path
            environ["PATH_INFO"] = canonical(path.partition("#")[0]) or "/"
        return wsgi_app(environ, start_response)

    return call


def canonical(path: str) -> str:
    """Each segment decoded and encoded again, so that `%69ndexes` is `indexes` and `%2f` is `%2F`."""
    if path.isascii() and "%" not in path:
        return path
    safe = ":@!$&'()*+,;=~"
    return "/".join(quote(unquote_to_bytes(part.encode("latin-1")), safe=safe) for part in path.split("/"))


class Segment(BaseConverter):
    """One percent-encoded path segment, as the text it stands for."""

    regex = "[^/]+"
    part_isolating = True

    def to_python(self, value: str) -> str:
        if "%" not in value:
            return value
        try:
            return unquote(value, errors="strict")
        except UnicodeDecodeError:
            raise BadRequest("The path is not UTF-8 once its percent-encoding is undone.") from None

    def to_url(self, value: str) -> str:
        return quote(value, safe="")


def init_app(app: Flask) -> None:
    app.url_map.merge_slashes = False
    app.url_map.converters["segment"] = Segment
    app.wsgi_app = raw_path(app.wsgi_app)


# ---------------------------------------------------------------------------------------------- query parameters


def no_body() -> None:
    """A GET that sends one means it to be heard: other engines search by it."""
    environ = request.environ
    if environ.get("CONTENT_LENGTH", "0") not in ("", "0") or "HTTP_TRANSFER_ENCODING" in environ:
        raise Unreadable(
            "A GET has no body here: put its fields into the query string, or send it with POST.", code="unexpected_body"
        )


def query_lists() -> dict[str, list[str]]:
    """Every query parameter with its values, in order. Raises Unreadable where they are not UTF-8."""
    text = request.environ.get("QUERY_STRING")
    if not text:
        return {}
    parts = text.split("&")
    if len(parts) > MAX_PARAMETERS:
        raise Unreadable(f"The query string has more than {MAX_PARAMETERS} parameters.")
    found: dict[str, list[str]] = {}
    for part in parts:
        if part:
            name, _, value = part.partition("=")
            found.setdefault(decoded(name), []).append(decoded(value))
    return found


def decoded(text: str) -> str:
    """A name or value of a query string as the text it stands for. Raises Unreadable."""
    if "+" in text:
        text = text.replace("+", " ")
    if "%" not in text and text.isascii():
        return text
    try:
        return unquote_to_bytes(text.encode("latin-1")).decode()
    except UnicodeDecodeError:
        raise Unreadable("The query string is not UTF-8 once its percent-encoding is undone.") from None


def parameters(*known: str) -> dict[str, str]:
    """The query parameters of a route that knows these, each given at most once. Raises Invalid."""
    given = query_lists()
    for name, values in given.items():
        if name not in known:
            raise Invalid.at(name, "unknown_parameter", f"There is no parameter {name!r} here{_instead(name, known)}")
        if len(values) > 1:
            raise Invalid.at(name, "repeated_parameter", f"{name} is given {len(values)} times, but may be given once.")
    return {name: values[0] for name, values in given.items()}


def _instead(name: str, known: tuple[str, ...]) -> str:
    if near := difflib.get_close_matches(name, known, 1):
        return f"; did you mean {near[0]!r}?"
    return f"; it knows {', '.join(known)}." if known else "; it takes none."


def flag(given: dict[str, str], name: str) -> bool:
    """A parameter that is `true` or `false` (left out)."""
    value = given.get(name, "false")
    if value not in ("true", "false", ""):
        raise Invalid.at(name, "wrong_type", f"{name} must be true or false, not {value!r}.")
    return value != "false"


def number(given: dict[str, str], name: str, default: int, low: int, high: int, cap: str = "") -> int:
    """cap: the setting that `high` comes from."""
    text = given.get(name)
    if text is None:
        return default
    if not re.fullmatch(r"[0-9]{1,18}", text) or not low <= int(text) <= high:
        most = f"{high} ({cap})" if cap else f"{high}"
        raise Invalid.at(name, "out_of_range", f"{name} must be a whole number from {low} to {most}, not {abridged(text)!r}.")
    return int(text)


def waits(given: dict[str, str]) -> bool:
    """Whether `refresh=wait_for` was asked for."""
    value = given.get("refresh", "false")
    if value not in ("wait_for", "false"):
        raise Invalid.at("refresh", "wrong_value", f"refresh must be wait_for, not {value!r}.")
    return value == "wait_for"


# ---------------------------------------------------------------------------------------------------- conditions


def version_in(header: str) -> int | None:
    """The version that an `If-Match` names; None where it is absent or `*`. One that no document can have is 0."""
    text = request.headers.get(header)
    if text is None or text.strip() == "*":
        return None
    match = re.fullmatch(r'\s*(?:W/)?"?([0-9]{1,18})"?\s*', text)
    return int(match[1]) if match else 0


def must_exist() -> bool:
    """Whether `If-Match: *` was sent: only where there is such a document."""
    return request.headers.get("If-Match", "").strip() == "*"


def must_be_new() -> bool:
    """Whether `If-None-Match: *` was sent. Raises Invalid for anything else: a write knows only that."""
    text = request.headers.get("If-None-Match")
    if text is None:
        return False
    if text.strip() != "*":
        raise Invalid.at("If-None-Match", "wrong_value", f"If-None-Match on a write must be *, not {text!r}.")
    return True


def is_current(version: int) -> bool:
    """Whether the `If-None-Match` of a GET names this version: the client has it already."""
    text = request.headers.get("If-None-Match")
    return text is not None and (
        text.strip() == "*" or f'"{version}"' in [part.strip().removeprefix("W/") for part in text.split(",")]
    )


# ---------------------------------------------------------------------------------------------------------- body


def content_type(*accepted: str) -> str:
    """The media type of the body, one of those accepted. Raises UnsupportedMediaType, which names the first two."""
    given = request.mimetype
    if request.headers.get("Content-Encoding", "identity").lower() not in ("identity", ""):
        raise UnsupportedMediaType("Compressed bodies are not read here; send the body without Content-Encoding.")
    if given not in accepted:
        came = repr(given) if given else "no Content-Type"
        raise UnsupportedMediaType(f"Send Content-Type: {' or '.join(accepted[:2])}; this request has {came}.")
    return given


def json_body(*accepted: str) -> Any:
    """The body as JSON. Raises UnsupportedMediaType, TooLarge or Unreadable."""
    content_type(*(accepted or (JSON,)))
    data = request.get_data(cache=False)
    if not data.strip():
        raise Unreadable("The body is empty; JSON was expected.")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"The body is not JSON: {error}.") from None


def json_object(*accepted: str, members: tuple[str, ...] = ()) -> dict[str, Any]:
    """The body as a JSON object, with no members but those named, where any are. Raises Invalid."""
    body = json_body(*accepted)
    if not isinstance(body, dict):
        raise Invalid.at("", "not_an_object", f"The body must be a JSON object, not {json_kind(body)}.")
    for name in body:
        if members and name not in members:
            raise Invalid.at(f"/{name}", "unknown_member", f"There is no member {name!r} here{_instead(name, members)}")
    return body


def document_body(settings: Settings, *accepted: str) -> dict[str, Any]:
    """The body as one document. Raises TooLarge and Invalid as well."""
    content_type(*accepted)
    data = request.get_data(cache=False)
    if len(data) > settings.max_document_bytes:
        most = f"A document can have {settings.max_document_bytes} bytes; this one has {len(data)}."
        raise TooLarge(most, code="document_too_large")
    if data.lstrip()[:1] == b"[":
        raise Invalid.at("", "not_an_object", "The body must be one document, a JSON object, not an array.")
    return read_document(data)


def documents_body(settings: Settings) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """The body as many documents, read as they are taken: see ndjson.read_documents. Raises UnsupportedMediaType at once."""
    kind = content_type(*JSON_TYPES, *NDJSON_TYPES)
    return _documents(kind, ReadLimits(settings.max_document_bytes, settings.max_documents, settings.max_body_bytes))


def _documents(kind: str, limits: ReadLimits) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    try:
        yield from read_documents(request.stream, kind, limits)
    except RequestEntityTooLarge:  # a body without a length; one with a length is refused before it is read
        raise TooLarge(f"The body is longer than {limits.max_json_bytes} bytes; send it in parts.") from None


def member(body: dict[str, Any], name: str, example: str) -> Any:
    """A member that must be there. Raises Invalid."""
    if name not in body:
        raise Invalid.at(f"/{name}", "missing_member", f"The body needs {name!r}, as {example}.")
    return body[name]


def json_kind(value: Any) -> str:
    """What a JSON value is, for a message: `a string`."""
    kinds = {dict: "an object", list: "an array", str: "a string", bool: "a boolean", type(None): "null"}
    return kinds.get(type(value), "a number")


@contextmanager
def below(pointer: str) -> Iterator[None]:
    """The pointers of an Invalid raised inside begin at this one."""
    try:
        yield
    except Invalid as error:
        faults = tuple(Fault(pointer + fault.pointer, fault.code, fault.detail) for fault in error.errors)
        raise Invalid(error.detail, code=error.code, errors=faults) from None
