"""What a document may hold, and what of it is indexed: pure functions over decoded JSON.

A field's name is its path: `{"author": {"name": "x"}}` and `{"author.name": "x"}` are the same field, `author.name`. Arrays of
objects flatten to arrays of their leaves. `null` and `[]` are missing values. Whoever indexes documents calls `check` first, with
the fields known so far, and `values` after it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from difflib import get_close_matches
from math import isfinite
from typing import Any

from .exceptions import Fault, Invalid
from .model import Field, FieldType, IndexSettings

MAX_FIELDS = 500  # of an index, the primary key included
MAX_NAME = 255  # characters of a field's name
MAX_DEPTH = 20  # objects within objects
MAX_ID = 512  # UTF-8 bytes
MAX_KEYWORD = (
    32_766  # UTF-8 bytes of a keyword: the longest term that Lucene takes (tantivy: 65,530), so that every engine can hold it
)
MAX_FAULTS = 100  # reported for one document
INTEGERS = range(-(2**63), 2**63)

_SEGMENT = re.compile(r"[a-z0-9_][a-z0-9_-]*")
_NAME = re.compile(rf"{_SEGMENT.pattern}(?:\.{_SEGMENT.pattern})*")
_INFERRED: dict[type, FieldType] = {str: "text", bool: "boolean", int: "integer", float: "float"}
_STRINGS = ("text", "keyword")
_EXPECTED = {
    "text": "a string",
    "keyword": "a string",
    "integer": "an integer",
    "float": "a number",
    "boolean": "true or false",
    "date": 'a date such as "2024-05-31" or "2024-05-31T18:30:00Z", or integer milliseconds since 1970',
}


# ---------------------------------------------------------------------------------------------------------- checking


def document_id(document: Mapping[str, Any], primary_key: str) -> str:
    """A document's id: 1 to 512 bytes of UTF-8; an integer becomes its digits. Raises Invalid (`missing_id`, `invalid_id`)."""
    value = document.get(primary_key)
    if type(value) is int and abs(value) < 2**64:
        return str(value)
    if type(value) is str:
        if value.isascii() and 0 < len(value) <= MAX_ID:
            return value
        problem = _id_problem(value)
        if problem is None:
            return value
    elif value is None:
        raise Invalid.at(
            pointer(primary_key), "missing_id", f"{primary_key}: the document has no id; expected a string or an integer here."
        )
    else:
        problem = f"expected a string or an integer, got {shown(value)}"
    raise Invalid.at(pointer(primary_key), "invalid_id", f"{primary_key}: {problem}.")


def _id_problem(value: str) -> str | None:
    if not value:
        return "an id cannot be empty"
    if not _is_unicode(value):
        return f"an id must be valid Unicode, got {shown(value)} with half of a surrogate pair"
    size = len(value.encode())
    return f"an id is at most {MAX_ID} bytes of UTF-8, got {size}" if size > MAX_ID else None


def initial_fields(settings: IndexSettings) -> dict[str, Field]:
    """The fields of an index that holds no documents yet: its primary key, a keyword, and those declared."""
    return {settings.primary_key: Field(settings.primary_key, "keyword"), **settings.fields}


def check(document: Mapping[str, Any], settings: IndexSettings, fields: Mapping[str, Field]) -> dict[str, Field]:
    """Check one document against the fields known so far. Returns those that it adds (inferred) or changes (an inferred integer
    that meets a float; `array`). Raises Invalid with one Fault for each wrong field, pointing into the document."""
    checker = _Checker(settings, fields)
    try:
        document_id(document, settings.primary_key)
    except Invalid as error:
        checker.faults.extend(error.errors)
    get = fields.get
    for name, value in document.items():
        # The usual case first: a known field and a plain value that fits it.
        if value.__class__ is str:
            field = get(name)
            if field is not None and field.type in _STRINGS and len(value) <= MAX_KEYWORD and value.isascii():
                continue
        elif value is None:
            continue
        checker.member(name, value, (name,), 1, False)
    if checker.dotted or (checker.objects and any("." in name for name in document)):
        checker.refuse_twins(document)
    if checker.faults:
        raise Invalid.of(checker.faults)
    return checker.changed


Keys = tuple[str | int, ...]  # the keys and positions that lead to a value; made into a JSON Pointer only for a fault


class _Checker:
    """One document on its way through `check`."""

    __slots__ = ("changed", "dotted", "faults", "fields", "key", "objects", "settings", "wrong")

    def __init__(self, settings: IndexSettings, fields: Mapping[str, Field]):
        self.settings = settings
        self.fields = fields
        self.key = settings.primary_key
        self.changed: dict[str, Field] = {}
        self.faults: list[Fault] = []
        self.wrong: set[str] = set()  # fields that have a fault already
        self.objects = self.dotted = False  # whether the document holds objects; and a name with a dot in one
        if self.key not in fields:
            self.changed[self.key] = Field(self.key, "keyword")

    def fault(self, name: str, at: Keys, code: str, detail: str) -> None:
        if name not in self.wrong and len(self.faults) < MAX_FAULTS:
            self.wrong.add(name)
            self.faults.append(Fault(pointer(*at), code, f"{printable(name)}: {detail}."))

    def known(self, name: str) -> Field | None:
        return self.changed.get(name) or self.fields.get(name)

    def member(self, name: str, value: Any, at: Keys, depth: int, array: bool) -> None:
        """One name of an object, with whatever it holds. `array`: there is an array somewhere above."""
        if value is None or name == self.key:  # `document_id` has seen the primary key
            return
        if isinstance(value, Mapping):
            self.object(name, value, at, depth, array)
        elif isinstance(value, list):
            self.array(name, value, at, depth)
        else:
            self.scalar(name, value, at, array)

    def object(self, name: str, value: Mapping[str, Any], at: Keys, depth: int, array: bool) -> None:
        self.objects = True
        field = self.known(name)
        if field is not None:
            self.fault(name, at, "field_conflict", f"expected {_EXPECTED[field.type]}, got an object{_origin(field)}")
        elif depth >= MAX_DEPTH:
            self.fault(name, at, "too_deep", f"objects can be nested {MAX_DEPTH} deep, not deeper")
        else:
            for key, inner in value.items():
                self.dotted = self.dotted or "." in key
                self.member(f"{name}.{key}", inner, (*at, key), depth + 1, array)

    def array(self, name: str, value: list, at: Keys, depth: int) -> None:
        for position, element in enumerate(value):
            if isinstance(element, list):
                self.fault(name, (*at, position), "nested_array", "an array cannot hold arrays; use one array, or objects in it")
            elif element is not None:
                self.member(name, element, (*at, position), depth, True)

    def scalar(self, name: str, value: Any, at: Keys, array: bool) -> None:
        field = known = self.known(name) or self.infer(name, value, at)
        if field is None:
            return
        fault = _mismatch(field, value)
        if fault and field.inferred and field.type == "integer" and value.__class__ is float and isfinite(value):
            field, fault = replace(field, type="float"), None
        if fault:
            self.fault(name, at, *fault)
            return
        if array and not field.array:
            field = replace(field, array=True)
        if field is not known or name not in self.fields:
            self.changed[name] = field

    def infer(self, name: str, value: Any, at: Keys) -> Field | None:
        """The field that a new name becomes, or None and a fault."""
        kind = _INFERRED.get(value.__class__)
        if problem := name_problem(name):
            self.fault(name, at, "field_name", problem)
        elif not self.settings.dynamic:
            near = get_close_matches(name, self.fields, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            self.fault(
                name, at, "unknown_field", f"this field is not declared, and the index does not add fields (dynamic is false){hint}"
            )
        elif kind is None:
            self.fault(name, at, "field_type", f"expected a JSON value, got {shown(value)}")
        elif other := overlapping(name, (*self.fields, *self.changed)):
            self.fault(name, at, "field_conflict", f"{other!r} is a field already; a field cannot be both a value and an object")
        elif len(self.fields) + len(self.changed.keys() - self.fields.keys()) >= MAX_FIELDS:
            self.fault(
                "", at, "too_many_fields", f"{printable(name)} would be one more field than the {MAX_FIELDS} an index can have"
            )
        else:
            return Field(name, kind, inferred=True)
        return None

    def refuse_twins(self, document: Mapping[str, Any]) -> None:
        """Refuse a field that is given twice, as `a.b` and as `b` in `a`: which of the two would a later change mean?"""
        paths: dict[str, Keys] = {}
        for name, path in _leaves(document, "", ()):
            if paths.setdefault(name, path) != path:
                self.fault(name, path, "field_conflict", f"given twice, at {pointer(*paths[name])} and at {pointer(*path)}")


def _mismatch(field: Field, value: Any) -> tuple[str, str] | None:
    """(code, detail) where a value does not fit its field."""
    kind, type_ = value.__class__, field.type
    if type_ in _STRINGS:
        if kind is str:
            return _string_problem(type_, value)
    elif type_ == "integer":
        if kind is int:
            return None if value in INTEGERS else ("number_range", f"expected an integer of 64 bits, got {shown(value)}")
    elif type_ == "float":
        if (kind is float and isfinite(value)) or (kind is int and value in INTEGERS):
            return None
        if kind is float or kind is int:
            return "number_range", f"expected a finite number of 64 bits, got {shown(value)}"
    elif type_ == "boolean":
        if kind is bool:
            return None
    else:
        try:
            parse_date(value)
            return None
        except ValueError as error:
            return "invalid_date", f"{error}"
    cure = f'; send it as a string: "{value}"' if type_ in _STRINGS and _is_plain_number(value) else ""
    return "field_type", f"expected {_EXPECTED[type_]}, got {shown(value)}{cure}{_origin(field)}"


def _string_problem(type_: str, value: str) -> tuple[str, str] | None:
    if not _is_unicode(value):
        return "invalid_text", f"expected valid Unicode, got {shown(value)} with half of a surrogate pair"
    if type_ == "keyword" and len(value) * 4 > MAX_KEYWORD and (size := len(value.encode())) > MAX_KEYWORD:
        return (
            "value_too_long",
            f"a keyword is at most {MAX_KEYWORD} bytes of UTF-8, got {size}; declare the field as text for longer values",
        )
    return None


def _origin(field: Field) -> str:
    return (
        f" (the field became {field.type} by an earlier document; declare it in the settings to choose)" if field.inferred else ""
    )


def overlapping(name: str, names: Iterable[str]) -> str | None:
    """A field that is the parent or the child of `name`."""
    inside = name + "."
    return next((other for other in names if other.startswith(inside) or name.startswith(other + ".")), None)


def _leaves(value: Any, name: str, path: Keys) -> Iterator[tuple[str, Keys]]:
    """(field name, the keys that lead there, without positions in arrays) of every value."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{name}.{key}" if name else key, (*path, key))
    elif isinstance(value, list):
        for element in value:
            yield from _leaves(element, name, path)
    elif value is not None:
        yield name, path


def name_problem(name: str) -> str | None:
    """What is wrong with a field's name, as part of a sentence; None where it is good."""
    if _NAME.fullmatch(name) and len(name) <= MAX_NAME:
        return None
    if len(name) > MAX_NAME:
        return f"a field name is at most {MAX_NAME} characters, got {len(name)}"
    rule = "a field name holds lowercase letters, digits, _ and - (not first), with . between the names of nested objects"
    better = re.sub(r"[^a-z0-9_.-]+", "_", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return f"{rule}; try {better!r}" if better != name and _NAME.fullmatch(better) else rule


# ---------------------------------------------------------------------------------------------------------- indexing


def values(document: Mapping[str, Any], fields: Mapping[str, Field]) -> dict[str, list[Any]]:
    """The values to index, by field name: str, int, float (integers too), bool, dates as int milliseconds. Missing ones are absent,
    and so are names that are not in `fields`. The document has passed `check`."""
    found: dict[str, list[Any]] = {}
    get = fields.get
    for name, value in document.items():
        if value.__class__ is str:
            field = get(name)
            if field is not None:
                found[name] = [value if field.type != "date" else parse_date(value)]
        elif value is not None:
            _collect(name, value, get(name), fields, found)
    return found


def _collect(name: str, value: Any, field: Field | None, fields: Mapping[str, Field], found: dict[str, list[Any]]) -> None:
    if isinstance(value, list):
        for element in value:
            _collect(name, element, field, fields, found)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            inner_name = f"{name}.{key}"
            _collect(inner_name, inner, fields.get(inner_name), fields, found)
    elif value is not None and field is not None:
        if field.type == "float":
            value = float(value)
        elif field.type == "date":
            value = parse_date(value)
        elif value.__class__ is int and field.type == "keyword":  # the primary key
            value = str(value)
        found.setdefault(name, []).append(value)


def text_values(document: Mapping[str, Any], field_name: str) -> list[str]:
    """The strings at a dotted name, in order, also those in arrays and in arrays of objects."""
    value = document.get(field_name)
    if value.__class__ is str:
        return [value]
    return [leaf for leaf in _at(document, field_name) if isinstance(leaf, str)]


def _at(value: Any, name: str) -> Iterator[Any]:
    """The values at a dotted name, below an object or an array of them."""
    if isinstance(value, list):
        for element in value:
            yield from _at(element, name)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            if key == name:
                yield from _flat(inner)
            elif name.startswith(key + "."):
                yield from _at(inner, name[len(key) + 1 :])


def _flat(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for element in value:
            yield from _flat(element)
    else:
        yield value


# ------------------------------------------------------------------------------------------------- changing, choosing


def merge_patch(target: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A new document: `target` with `patch` merged in, where null removes (RFC 7396). Neither is changed."""
    result = dict(target)
    work = [(result, patch)]
    while work:
        into, changes = work.pop()
        for key, value in changes.items():
            if value is None:
                into.pop(key, None)
            elif isinstance(value, Mapping):
                old = into.get(key)
                into[key] = dict(old) if isinstance(old, Mapping) else {}
                work.append((into[key], value))
            else:
                into[key] = value
    return result


def select(document: Mapping[str, Any], fields: Sequence[str]) -> dict[str, Any]:
    """The parts of a document that dotted names choose, nested as they were. A parent chooses all below it."""
    return _narrow(document, "", set(fields))


def _narrow(document: Mapping[str, Any], prefix: str, wanted: set[str]) -> dict[str, Any]:
    kept = {}
    for key, value in document.items():
        name = prefix + key
        if name in wanted or any(name.startswith(parent + ".") for parent in wanted):
            kept[key] = value
        elif isinstance(value, (Mapping, list)) and any(child.startswith(name + ".") for child in wanted):
            inner = _narrow_value(value, name + ".", wanted)
            if inner:
                kept[key] = inner
    return kept


def _narrow_value(value: Any, prefix: str, wanted: set[str]) -> Any:
    if isinstance(value, Mapping):
        return _narrow(value, prefix, wanted)
    return [inner for element in value if isinstance(element, Mapping) and (inner := _narrow(element, prefix, wanted))]


# ------------------------------------------------------------------------------------------------------------- dates

_DATE = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt ]([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?([Zz]|[+-][0-9]{2}:[0-9]{2})?)?"
)
_EPOCH = date(1970, 1, 1).toordinal()
_EARLIEST = (date.min.toordinal() - _EPOCH) * 86_400_000
_LATEST = (date.max.toordinal() - _EPOCH + 1) * 86_400_000 - 1


def parse_date(value: str | int) -> int:
    """Milliseconds since 1970 UTC of an RFC 3339 date or date-time (seconds may be left out; without an offset it is UTC; digits
    beyond milliseconds are cut), or of an integer that is such milliseconds already. Years 1 to 9999. Raises ValueError."""
    if value.__class__ is int:
        ms = value
    else:
        match = _DATE.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise ValueError(f"expected {_EXPECTED['date']}, got {shown(value)}")
        ms = _milliseconds(match, value)
    if not _EARLIEST <= ms <= _LATEST:
        raise ValueError(f"expected a date in the years 1 to 9999, got {shown(value)}")
    return ms


def _milliseconds(match: re.Match, text: str) -> int:
    year, month, day, hour, minute, second, fraction, offset = match.groups()
    try:
        days = date(int(year), int(month), int(day)).toordinal() - _EPOCH
    except ValueError as error:
        raise ValueError(f"there is no such date as {text!r}: {error}") from None
    if hour is None:
        return days * 86_400_000
    hours, minutes, seconds = int(hour), int(minute), int(second or 0)
    shift = 0
    if offset and offset not in "Zz":
        east, west = int(offset[1:3]), int(offset[4:])
        shift = (east * 60 + west) * (-1 if offset[0] == "-" else 1)
        if east > 23 or west > 59:
            raise ValueError(f"there is no such offset as {offset} in {text!r}")
    if hours > 23 or minutes > 59 or seconds > 60:  # 60: a leap second, which counts as the next one
        raise ValueError(f"there is no such time of day as in {text!r}")
    milliseconds = int((fraction or "0")[:3].ljust(3, "0"))
    return ((days * 24 + hours) * 60 + minutes - shift) * 60_000 + seconds * 1000 + milliseconds


def format_date(ms: int) -> str:
    """RFC 3339 in UTC, with milliseconds only where they are not zero: `2024-05-31T18:30:00Z`."""
    moment = datetime(1970, 1, 1) + timedelta(milliseconds=ms)
    return moment.isoformat(timespec="milliseconds" if ms % 1000 else "seconds") + "Z"


# ---------------------------------------------------------------------------------------------------------- in errors


def pointer(*keys: str | int) -> str:
    """A JSON Pointer (RFC 6901): `pointer("a/b", 0)` -> `"/a~1b/0"`."""
    return "".join("/" + printable(str(key)).replace("~", "~0").replace("/", "~1") for key in keys)


def printable(text: str) -> str:
    """A string that can be sent as UTF-8: halves of surrogate pairs are written out."""
    return text if _is_unicode(text) else text.encode("utf-8", "backslashreplace").decode()


def shown(value: Any) -> str:
    """A value in an error, short: `the string "cheap"`, `the number 1.5`, `an array`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return f"the integer {value}" if abs(value) < 2**64 else "an integer of more than 64 bits"
    if isinstance(value, float):
        return f"the number {value}"
    if isinstance(value, str):
        text = printable(value if len(value) <= 40 else value[:39] + "…")
        return f"the string {json.dumps(text, ensure_ascii=False)}"
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "an array"
    return "null" if value is None else f"a Python {type(value).__name__}"


def _is_unicode(text: str) -> bool:
    """Whether it can be encoded: JSON's escapes can leave half of a surrogate pair behind."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _is_plain_number(value: Any) -> bool:
    return (value.__class__ is int and value in INTEGERS) or (value.__class__ is float and isfinite(value))
