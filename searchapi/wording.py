"""How errors name places and values, so that every part says it alike."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import lru_cache
from typing import Any

SHOWN = 60  # characters of a string
MAX_TYPED = 300  # characters: comparing longer ones with names is slow and finds nothing


def pointer(*keys: str | int) -> str:
    """A JSON Pointer (RFC 6901): `pointer("a/b", 0)` -> `"/a~1b/0"`. Keys too long for any name are abridged: an error must not be
    many times as long as what it is about."""
    return "".join("/" + _segment(str(key)) for key in keys)


def _segment(key: str) -> str:
    shown = printable(key) if len(key) <= MAX_TYPED else abridged(key)
    return shown.replace("~", "~0").replace("/", "~1")


def printable(text: str) -> str:
    """A string that can be sent as UTF-8: halves of surrogate pairs are written out."""
    return text if is_unicode(text) else text.encode("utf-8", "backslashreplace").decode()


def abridged(text: str) -> str:
    """The beginning of a string that may be long, printable."""
    return printable(text if len(text) <= SHOWN else text[: SHOWN - 1] + "…")


def nearest(text: object, known: Iterable[str]) -> str | None:
    """The known name that is most like what was typed, None where none is or it is no name at all."""
    return _nearest(text.lower(), tuple(known)) if isinstance(text, str) and len(text) <= MAX_TYPED else None


@lru_cache(maxsize=1000)  # a batch repeats its mistakes, and comparing with 500 names takes milliseconds
def _nearest(text: str, known: tuple[str, ...]) -> str | None:
    near = get_close_matches(text, known, 1)
    return near[0] if near else None


def shown(value: Any) -> str:
    """A value in an error, short: `the string "cheap"`, `the number 1.5`, `an array`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"the integer {value}" if abs(value) < 2**64 else "an integer of more than 64 bits"
    if isinstance(value, float):
        return f"the number {value}"
    if isinstance(value, str):
        return f"the string {json.dumps(abridged(value), ensure_ascii=False)}"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "an array"
    return "null" if value is None else f"a Python {type(value).__name__}"


def is_unicode(text: str) -> bool:
    """Whether it can be encoded: JSON's escapes can leave half of a surrogate pair behind."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
