"""What the parts of the query side share: looking up a field, reading a value of its type, and saying what went wrong."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import Any

from ..documents import parse_date
from ..model import Field, IndexInfo

INTEGERS = range(-(2**63), 2**63)
ORDERED = frozenset({"integer", "float", "date"})  # types with ranges and statistics

_SURROGATES = re.compile("[\ud800-\udfff]")
_INTEGER = re.compile(r"[+-]?[0-9]{1,30}")
_NUMBER = re.compile(r"[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,5})?")
_LONGEST_NAME = 300  # code points of an unknown name that are compared with the known ones
_SHOWN = 60  # code points of a client's text that an error repeats


def clean(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot carry, replaced by U+FFFD. Lengths and positions stay."""
    return _SURROGATES.sub("\ufffd", text)


def has_surrogates(text: str) -> bool:
    return _SURROGATES.search(text) is not None


def shown(value: Any) -> str:
    """A client's value as an error repeats it: quoted if it is text, shortened, safe to encode."""
    if isinstance(value, str):
        text = clean(value)
        return f'"{text}"' if len(text) <= _SHOWN else f'"{text[:_SHOWN]}…"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return str(value) if not isinstance(value, int) or value in INTEGERS else "an integer beyond 64 bits"
    return {list: "a list", dict: "an object"}.get(type(value), "something else")


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean "kind"?` for the known name closest to `name`, a child of it first (`author` -> `author.name`);
    else the names there are, where they are few; else nothing. To be put behind an error."""
    name, known = name[:_LONGEST_NAME], sorted(known)
    parent = name + "."
    children = [k for k in known if k.startswith(parent)]
    close = children[:1] or get_close_matches(name.lower(), known, n=1)
    if close:
        return f'; did you mean "{close[0]}"?'
    return f"; there are: {', '.join(known)}" if 0 < len(known) <= 12 else ""


def no_such_field(name: str, info: IndexInfo) -> str:
    return f"there is no field {shown(name)} in this index{nearest(name, info.fields)}"


def no_values(field: Field) -> str:
    return (
        f'"{field.name}" is a text field without whole values ("keyword": false in the settings), so it can only be searched with q'
    )


def value_from_text(field: Field, text: str, quoted: bool = False) -> Any:
    """A value of the field's type from a filter or a query string. Raises ValueError, whose message says what was expected and
    what came. A quoted number is a number too, but a quoted date is never milliseconds."""
    if field.type in ("text", "keyword"):
        return text
    if field.type == "boolean":
        if text.lower() in ("true", "false"):
            return text.lower() == "true"
        raise _mismatch(field, "true or false", text)
    if field.type == "date":
        return _date(field, int(text) if not quoted and _INTEGER.fullmatch(text) else text)
    if field.type == "integer":
        if not _INTEGER.fullmatch(text):
            raise _mismatch(field, "an integer", text)
        return _integer(field, int(text))
    if not _NUMBER.fullmatch(text):
        raise _mismatch(field, "a number", text)
    return _float(field, float(text), text)


def value_from_json(field: Field, value: Any) -> Any:
    """A value of an integer, float or date field from JSON. Raises ValueError as `value_from_text` does."""
    if field.type == "date" and type(value) in (int, str):
        return _date(field, value)
    if field.type == "integer" and type(value) is int:
        return _integer(field, value)
    if field.type == "float" and type(value) in (int, float):
        return _float(field, value, value)
    raise _mismatch(field, {"integer": "an integer", "float": "a number"}.get(field.type, "a date"), value)


def _mismatch(field: Field, expected: str, value: Any) -> ValueError:
    return ValueError(f'expected {expected} for "{field.name}", found {shown(value)}')


def _integer(field: Field, value: int) -> int:
    if value not in INTEGERS:
        raise _mismatch(field, "an integer of at most 64 bits", str(value))
    return value


def _float(field: Field, value: int | float, written: Any) -> float:
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _mismatch(field, "a number that fits 64 bits", written)
    return number


def _date(field: Field, value: int | str) -> int:
    # Nobody asks for the third second of 1970, and many would write a year so: better an error than every document.
    if type(value) is int and 1000 <= value <= 9999:
        raise ValueError(f'expected a date for "{field.name}", found {value}; write the year as "{value}-01-01"')
    if type(value) is str and len(value) > _SHOWN:
        raise _mismatch(field, "a date", value)
    try:
        return parse_date(value)
    except ValueError as error:
        raise ValueError(f'"{field.name}" is a date: {error}') from None
