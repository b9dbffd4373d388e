"""Documents from a request body or a file: a JSON array, one JSON object, or NDJSON (a document a line) read as a stream.

Bad documents become Faults, so that the good ones beside them are kept. Of equal keys in one object the last one counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import orjson

from .exceptions import Fault, Invalid, TooLarge, Unreadable
from .wording import abridged, pointer, shown

JSON_TYPES = ("application/json",)
NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines")

_CHUNK = 256 * 1024  # bytes read at a time
BOM = b"\xef\xbb\xbf"
_DIGITS = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))  # translates digits to "0", all else to a space
_LONG_NUMBER = b"0" * 19  # shorter runs of digits always fit in 64 bits


@dataclass(frozen=True, slots=True)
class ReadLimits:
    """max_document_bytes: of one document, as it is sent. max_documents: in one body. max_json_bytes: of a body that is not NDJSON,
    because it has to be decoded as a whole."""

    max_document_bytes: int = 1024 * 1024
    max_documents: int = 100_000
    max_json_bytes: int = 64 * 1024 * 1024


def media_type(content_type: str) -> str:
    """`"Application/JSON; charset=utf-8"` -> `"application/json"`."""
    return content_type.partition(";")[0].strip().lower()


def read_documents(
    stream: BinaryIO, content_type: str, limits: ReadLimits = ReadLimits()
) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    """(position from 0, document or what is wrong with it). NDJSON is read as it is consumed, a line at a time in memory.

    Raises Unreadable where a body that is not NDJSON cannot be decoded, Invalid where it is not an array or object or its type is
    not known, TooLarge past `max_documents` (NDJSON: after those before were handed out) or `max_json_bytes`.
    """
    kind = media_type(content_type)
    if kind in NDJSON_TYPES:
        return _read_lines(stream, limits)
    if kind in JSON_TYPES:
        return _read_json(stream, limits)
    known = ", ".join((*JSON_TYPES, NDJSON_TYPES[0], NDJSON_TYPES[2]))
    got = f"got {shown(kind)}" if kind else "none was given"
    raise Invalid.at("content-type", "unsupported_media_type", f"Expected documents as one of {known}; {got}.")


def read_document(data: bytes) -> dict[str, Any]:
    """One document alone, as the body of its PUT. Raises Unreadable or Invalid, pointing into the document."""
    try:
        value, suspect = _decode(data.removeprefix(BOM))
    except ValueError as error:
        raise Unreadable(f"The body is not JSON: {_reason(error)}.") from error
    document = _object((), value, suspect)
    if isinstance(document, Fault):
        raise Invalid.of([document])
    return document


# ------------------------------------------------------------------------------------------------------------- NDJSON


def _read_lines(stream: BinaryIO, limits: ReadLimits) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    position = blank = 0
    for number, line in enumerate(_lines(stream, limits.max_document_bytes), 1):
        if number == 1 and line is not None:
            line = line.removeprefix(BOM)
        if line is not None and not line.strip():
            blank += 1
            if blank > limits.max_documents:  # a few kB of gzip may be hundreds of millions of them: half a minute of a processor
                raise TooLarge(f"A request can hold {limits.max_documents:,} blank lines (MAX_DOCUMENTS).")
            continue
        if position == limits.max_documents:
            raise _too_many(limits)
        yield position, _document(position, number, line, limits)
        position += 1


def _document(position: int, number: int, line: bytes | None, limits: ReadLimits) -> dict[str, Any] | Fault:
    if line is None:
        most = f"{limits.max_document_bytes:,} bytes (MAX_DOCUMENT_BYTES)"
        detail = f"Line {number} is longer than the {most} that a document can have."
        return Fault(pointer(position), "document_too_large", detail)
    try:
        value, suspect = _decode(line)
    except ValueError as error:
        hint = ""
        if number == 1 and line.lstrip().startswith(b"["):
            hint = " This looks like a JSON array: send it as application/json."
        return Fault(pointer(position), "unreadable_line", f"Line {number} is not JSON: {_reason(error)}.{hint}")
    return _object((position,), value, suspect, f"Line {number}: ")


def _lines(stream: BinaryIO, limit: int) -> Iterator[bytes | None]:
    """The lines of a stream, without their newlines; None for each that is longer than `limit` bytes. (Not `readline`: on a raw
    stream it reads byte by byte.)"""
    tail, skipping = b"", False
    while chunk := stream.read(_CHUNK):
        first, *more = (tail + chunk).split(b"\n")
        if more:
            yield None if skipping or len(first) > limit else first
            for line in more[:-1]:
                yield None if len(line) > limit else line
            skipping = False
        tail = more[-1] if more else first
        if skipping or len(tail) > limit:
            tail, skipping = b"", True
    if tail or skipping:
        yield None if skipping or len(tail) > limit else tail


# --------------------------------------------------------------------------------------------------------------- JSON


def _read_json(stream: BinaryIO, limits: ReadLimits) -> Iterator[tuple[int, dict[str, Any] | Fault]]:
    body = _read_all(stream, limits.max_json_bytes).removeprefix(BOM)
    if not body.strip():
        raise Unreadable("Expected an array of documents or one document as JSON, got nothing.")
    try:
        value, suspect = _decode(body)
    except ValueError as error:
        hint = ""
        if body.lstrip().startswith(b"{") and b"\n" in body.strip():
            hint = " If this is a document a line, send it as application/x-ndjson."
        raise Unreadable(f"The body is not JSON: {_reason(error)}.{hint}") from error
    if isinstance(value, dict):
        value = [value]
    elif not isinstance(value, list):
        raise Invalid.at("", "wrong_type", f"Expected an array of documents or one document, got {shown(value)}.")
    if len(value) > limits.max_documents:
        raise _too_many(limits)
    measure = len(body) > limits.max_document_bytes
    for position, element in enumerate(value):
        document = _object((position,), element, suspect)
        if measure and isinstance(document, dict) and (size := len(orjson.dumps(document))) > limits.max_document_bytes:
            detail = f"This document has {size:,} bytes; the most is {limits.max_document_bytes:,} (MAX_DOCUMENT_BYTES)."
            yield position, Fault(pointer(position), "document_too_large", detail)
        else:
            yield position, document


def _read_all(stream: BinaryIO, limit: int) -> bytes:
    chunks, size = [], 0
    while chunk := stream.read(_CHUNK):
        size += len(chunk)
        if size > limit:
            raise TooLarge(
                f"A JSON body can have {limit:,} bytes; send more documents as application/x-ndjson, which is read as a stream."
            )
        chunks.append(chunk)
    return b"".join(chunks)


# ------------------------------------------------------------------------------------------------------------ decoding


def _decode(data: bytes) -> tuple[Any, bool]:
    """Decoded JSON, and whether it may hold integers of more than 64 bits. orjson reads those as floats, changing them silently:
    where there may be one they are read again as they stand, for `_object` to refuse. Raises ValueError."""
    value = orjson.loads(data)
    if _LONG_NUMBER not in data.translate(_DIGITS):
        return value, False
    try:
        return json.loads(data, parse_int=lambda digits: int(digits[:21])), True  # 21 digits are too many already
    except RecursionError:
        raise ValueError("objects or arrays are nested too deep") from None


def _object(at: tuple[int, ...], value: Any, suspect: bool, prefix: str = "") -> dict[str, Any] | Fault:
    """The document, or a Fault where it is no object or holds an integer that 64 bits cannot."""
    if not isinstance(value, dict):
        return Fault(pointer(*at), "not_an_object", f"{prefix}Expected an object, got {shown(value)}.")
    place = _too_big(value) if suspect else None
    if place is None:
        return value
    name = ".".join(key for key in place if isinstance(key, str))
    detail = f"{prefix}{abridged(name)}: expected a number of 64 bits, got an integer of more."
    return Fault(pointer(*at, *place), "number_range", detail)


def _too_big(document: dict[str, Any]) -> tuple[str | int, ...] | None:
    """The keys that lead to an integer of more than 64 bits."""
    work: list[tuple[tuple[str | int, ...], Any]] = [((), document)]
    while work:
        place, value = work.pop()
        if isinstance(value, dict):
            work += [((*place, key), inner) for key, inner in value.items()]
        elif isinstance(value, list):
            work += [((*place, index), inner) for index, inner in enumerate(value)]
        elif isinstance(value, int) and not -(2**63) <= value < 2**64:
            return place
    return None


def _too_many(limits: ReadLimits) -> TooLarge:
    most = f"{limits.max_documents:,} documents (MAX_DOCUMENTS)"
    return TooLarge(f"A request can hold {most}; send the rest in further requests.")


def _reason(error: ValueError) -> str:
    """orjson's words and the place, without the line of a one-line text."""
    if isinstance(error, json.JSONDecodeError):
        line = f"line {error.lineno}, " if error.lineno > 1 else ""
        return f"{error.msg} ({line}column {error.colno})"
    return str(error)
