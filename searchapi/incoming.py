"""Reading a request: its path, query parameters, conditions and JSON body, each checked or refused with a clear error.

Paths are taken raw: an id sent as `a%2Fb` is the id `a/b`, and never meets an address below `documents/`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote, unquote_to_bytes, urlsplit

import orjson
from flask import Flask, request
from werkzeug.exceptions import BadRequest, UnsupportedMediaType
from werkzeug.routing import BaseConverter

from .body import GZIP, Body
from .config import Settings
from .exceptions import Fault, Invalid, TooLarge, Unreadable
from .ndjson import BOM, JSON_TYPES, NDJSON_TYPES, ReadLimits, read_document, read_documents
from .services import services
from .wording import abridged, nearest, pointer

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
            here = abridged(name)
            raise Invalid.at(here, "unknown_parameter", f"There is no parameter {here!r} here{_instead(name, known)}")
        if len(values) > 1:
            raise Invalid.at(name, "repeated_parameter", f"{name} is given {len(values)} times, but may be given once.")
    return {name: values[0] for name, values in given.items()}


def _instead(name: str, known: tuple[str, ...]) -> str:
    if near := nearest(name, known):
        return f"; did you mean {near!r}?"
    return f"; it knows {', '.join(known)}." if known else "; it takes none."


def flag(given: dict[str, str], name: str) -> bool:
    """A parameter that is `true` or `false` (left out)."""
    value = given.get(name, "false")
    if value not in ("true", "false", ""):
        raise Invalid.at(name, "wrong_type", f"{name} must be true or false, not {abridged(value)!r}.")
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
        raise Invalid.at("refresh", "wrong_value", f"refresh must be wait_for, not {abridged(value)!r}.")
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
        raise Invalid.at("If-None-Match", "wrong_value", f"If-None-Match on a write must be *, not {abridged(text)!r}.")
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
    if given not in accepted:
        came = repr(abridged(given)) if given else "no Content-Type"
        raise UnsupportedMediaType(f"Send Content-Type: {' or '.join(accepted[:2])}; this request has {came}.")
    return given


def request_body(settings: Settings, *, streamed: bool = False) -> Body:
    """The body as it was meant, unpacked. streamed: nobody keeps the whole of it. Raises UnsupportedMediaType and TooLarge."""
    encoding = request.environ.get("HTTP_CONTENT_ENCODING", "").strip().lower()
    if encoding == "identity":
        encoding = ""
    if encoding and encoding not in GZIP:
        came = f"this request has {abridged(encoding)!r}"
        raise UnsupportedMediaType(f"Send the body as it is, or with Content-Encoding: gzip; {came}.")
    most, cap = settings.max_body_bytes, "MAX_BODY_BYTES, for what is not NDJSON"
    if streamed:
        most, cap = settings.max_unpacked_bytes, "MAX_UNPACKED_BYTES"
    return Body(request.environ, encoding, settings.max_body_bytes, most, cap)


def json_body(settings: Settings, *accepted: str) -> Any:
    """The body as JSON, at most MAX_DOCUMENT_BYTES: decoded it takes some 25 times as much. Raises UnsupportedMediaType, TooLarge
    or Unreadable."""
    content_type(*(accepted or (JSON,)))
    data = request_body(settings).read_all(settings.max_document_bytes)
    if len(data) > settings.max_document_bytes:
        most = f"{settings.max_document_bytes:,} bytes (MAX_DOCUMENT_BYTES)"
        raise TooLarge(f"The body is too long; what is no batch of documents can have {most}.")
    data = data.removeprefix(BOM)
    if not data.strip():
        raise Unreadable("The body is empty; JSON was expected.")
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"The body is not JSON: {error}.") from None


def json_object(*accepted: str, members: tuple[str, ...] = ()) -> dict[str, Any]:
    """The body as a JSON object, with no members but those named, where any are. Raises Invalid."""
    found = json_body(services().settings, *accepted)
    if not isinstance(found, dict):
        raise Invalid.at("", "not_an_object", f"The body must be a JSON object, not {json_kind(found)}.")
    for name in found:
        if members and name not in members:
            here = pointer(abridged(name))
            raise Invalid.at(here, "unknown_member", f"There is no member {abridged(name)!r} here{_instead(name, members)}")
    return found


def document_body(settings: Settings, *accepted: str) -> dict[str, Any]:
    """The body as one document. Raises TooLarge and Invalid as well as what `json_body` does."""
    content_type(*accepted)
    data = request_body(settings).read_all(settings.max_document_bytes)
    if len(data) > settings.max_document_bytes:
        most = f"{settings.max_document_bytes:,} bytes (MAX_DOCUMENT_BYTES)"
        raise TooLarge(f"A document can have {most}; this one has more.", code="document_too_large")
    if data.lstrip()[:1] == b"[":
        raise Invalid.at("", "not_an_object", "The body must be one document, a JSON object, not an array.")
    return read_document(data)


def documents_body(settings: Settings) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """The body as many documents, read as they are taken: see ndjson.read_documents. Raises UnsupportedMediaType at once, and
    TooLarge where the body says beforehand that it is too long."""
    kind = content_type(*JSON_TYPES, *NDJSON_TYPES)
    limits = ReadLimits(settings.max_document_bytes, settings.max_documents, settings.max_body_bytes)
    return read_documents(request_body(settings, streamed=kind in NDJSON_TYPES), kind, limits)


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
def below(place: str) -> Iterator[None]:
    """The pointers of an Invalid raised inside begin at this one."""
    try:
        yield
    except Invalid as error:
        faults = tuple(Fault(place + fault.pointer, fault.code, fault.detail) for fault in error.errors)
        raise Invalid(error.detail, code=error.code, errors=faults) from None
