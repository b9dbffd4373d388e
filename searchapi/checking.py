"""Whether a document fits its index: ids, names of fields, types and their inference.

The names of `documents.py` that speak of checking live here; import them from there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from math import isfinite
from typing import Any

from .dates import EXPECTED_DATE, parse_date
from .exceptions import Fault, Invalid
from .model import Field, FieldType, IndexSettings
from .wording import abridged, is_unicode, nearest, pointer, shown

MAX_FIELDS = 500  # that any index can have: what MAX_FIELDS may be set to
MAX_NAME = 255  # characters of a field's name
MAX_ID = 512  # UTF-8 bytes
MAX_KEYWORD = 32_766  # UTF-8 bytes of a keyword: the longest term that every engine holds (Lucene's limit; tantivy's is 65,530)
MAX_FAULTS = 100  # reported for one document
INTEGERS = range(-(2**63), 2**63)

_SEGMENT = re.compile(r"[a-z0-9_][a-z0-9_-]*")
_NAME = re.compile(rf"{_SEGMENT.pattern}(?:\.{_SEGMENT.pattern})*")
_INFERRED: dict[type, FieldType] = {str: "text", bool: "boolean", int: "integer", float: "float"}
_STRINGS = ("text", "keyword")
_NUMBERS = ("integer", "float")
_EXPECTED = {
    "text": "a string",
    "keyword": "a string",
    "integer": "an integer",
    "float": "a number",
    "boolean": "true or false",
    "date": EXPECTED_DATE,
}


@dataclass(frozen=True, slots=True)
class DocumentLimits:
    """What MAX_FIELDS and the settings beside it say. Every error about one of them names it.

    max_fields: of an index, the primary key included. max_nesting: objects within objects. max_array: elements of one array.
    max_document_bytes: of a document as JSON, after a change too.
    """

    max_fields: int = MAX_FIELDS
    max_nesting: int = 20
    max_array: int = 10_000
    max_document_bytes: int = 1 << 20


DEFAULT_LIMITS = DocumentLimits()


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
        detail = f"{primary_key}: the document has no id; expected a string or an integer here."
        raise Invalid.at(pointer(primary_key), "missing_id", detail)
    else:
        problem = f"expected a string or an integer, got {shown(value)}"
    raise Invalid.at(pointer(primary_key), "invalid_id", f"{primary_key}: {problem}.")


def _id_problem(value: str) -> str | None:
    if not value:
        return "an id cannot be empty"
    if not is_unicode(value):
        return f"an id must be valid Unicode, got {shown(value)} with half of a surrogate pair"
    size = len(value.encode())
    return f"an id is at most {MAX_ID} bytes of UTF-8, got {size}" if size > MAX_ID else None


def initial_fields(settings: IndexSettings) -> dict[str, Field]:
    """The fields of an index that holds no documents yet: its primary key, a keyword unless declared, and those declared."""
    return {settings.primary_key: Field(settings.primary_key, "keyword"), **settings.fields}


def check(
    document: Mapping[str, Any], settings: IndexSettings, fields: Mapping[str, Field], limits: DocumentLimits = DEFAULT_LIMITS
) -> dict[str, Field]:
    """Check one document against the fields known so far. Returns those that it adds (inferred) or changes (an inferred integer
    that meets a float; `array`). Raises Invalid with one Fault for each wrong field, pointing into the document."""
    checker = _Checker(settings, fields, limits)
    try:
        document_id(document, settings.primary_key)
    except Invalid as error:
        checker.faults.extend(error.errors)
    get = fields.get
    for name, value in document.items():
        field = get(name)
        if value is not None and (field is None or not _fits(field, value)):
            checker.member(name, value, (name,), 1, False)
    if checker.dotted or (checker.objects and any("." in name for name in document)):
        checker.refuse_twins(document)
    if checker.faults:
        raise Invalid.of(checker.faults)
    return checker.changed


Keys = tuple[str | int, ...]  # the keys and positions that lead to a value; made into a JSON Pointer only for a fault


class _Checker:
    """One document on its way through `check`."""

    __slots__ = ("changed", "dotted", "faults", "fields", "held", "key", "limits", "objects", "settings", "wrong")

    def __init__(self, settings: IndexSettings, fields: Mapping[str, Field], limits: DocumentLimits):
        self.settings = settings
        self.limits = limits
        self.fields = fields
        self.key = settings.primary_key
        self.changed: dict[str, Field] = {}
        self.faults: list[Fault] = []
        self.wrong: set[str] = set()  # fields that have a fault already
        self.held: set[str] = set()  # names that held an object, perhaps an empty one, which leaves no field behind
        self.objects = self.dotted = False  # whether the document holds objects; and a name with a dot in one
        if self.key not in fields:
            self.changed[self.key] = Field(self.key, "keyword")

    def fault(self, name: str, at: Keys, code: str, detail: str) -> None:
        if name not in self.wrong:
            self.wrong.add(name)
            stop = "" if detail.endswith("?") else "."
            self.faults.append(Fault(pointer(*at), code, f"{abridged(name)}: {detail}{stop}"))

    def known(self, name: str) -> Field | None:
        return self.changed.get(name) or self.fields.get(name)

    def member(self, name: str, value: Any, at: Keys, depth: int, array: bool) -> None:
        """One name of an object, with whatever it holds. `array`: there is an array somewhere above."""
        if value is None or name == self.key or len(self.faults) >= MAX_FAULTS:  # `document_id` has seen the primary key
            return
        field = self.fields.get(name)
        if field is not None and (field.array or not array) and _fits(field, value):
            return
        if isinstance(value, Mapping):
            self.object(name, value, at, depth, array)
        elif isinstance(value, list):
            self.array(name, value, at, depth)
        else:
            self.scalar(name, value, at, array)

    def object(self, name: str, value: Mapping[str, Any], at: Keys, depth: int, array: bool) -> None:
        self.objects = True
        self.held.add(name)
        field = self.known(name)
        if field is not None:
            self.fault(name, at, "field_conflict", f"expected {_EXPECTED[field.type]}, got an object{_origin(field)}")
        elif depth >= self.limits.max_nesting:
            self.fault(name, at, "too_deep", f"objects can be nested {self.limits.max_nesting} deep (MAX_NESTING), not deeper")
        else:
            for key, inner in value.items():
                self.dotted = self.dotted or "." in key
                self.member(f"{name}.{key}", inner, (*at, key), depth + 1, array)

    def array(self, name: str, value: list, at: Keys, depth: int) -> None:
        if len(value) > self.limits.max_array:
            most = f"an array can have {self.limits.max_array:,} elements (MAX_ARRAY), got {len(value):,}"
            self.fault(name, at, "array_too_long", most)
            return
        field = self.known(name)
        if field is not None and field.array and all(_fits(field, element) for element in value):
            return
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
            near = nearest(name, self.fields)
            hint = f"; did you mean {near!r}?" if near else ""
            self.fault(
                name, at, "unknown_field", f"this field is not declared, and the index does not add fields (dynamic is false){hint}"
            )
        elif kind is None:
            self.fault(name, at, "field_type", f"expected a JSON value, got {shown(value)}")
        elif other := overlapping(name, (*self.fields, *self.changed)):
            self.fault(name, at, "field_conflict", f"{other!r} is a field already; a field cannot be both a value and an object")
        elif name in self.held:
            self.fault(name, at, "field_conflict", "it holds an object as well; a field cannot be both a value and an object")
        elif len(self.fields) + len(self.changed.keys() - self.fields.keys()) >= self.limits.max_fields:
            most = f"{abridged(name)} would be one more field than the {self.limits.max_fields} an index can have (MAX_FIELDS)"
            self.fault("", at, "too_many_fields", most)  # of all that are too many, the first is told
        else:
            return Field(name, kind, inferred=True)
        return None

    def refuse_twins(self, document: Mapping[str, Any]) -> None:
        """Refuse a field that is given twice, as `a.b` and as `b` in `a`: which of the two would a later change mean?"""
        paths: dict[str, Keys] = {}
        for name, path in _leaves(document, "", ()):
            if paths.setdefault(name, path) != path:
                self.fault(name, path, "field_conflict", f"given twice, at {pointer(*paths[name])} and at {pointer(*path)}")


def _fits(field: Field, value: Any) -> bool:
    """Whether a plain value certainly fits its field: the usual case, decided fast. `_mismatch` decides the rest."""
    kind = value.__class__
    if kind is str:
        return field.type in _STRINGS and len(value) <= MAX_KEYWORD and value.isascii()
    if kind is int:
        return field.type in _NUMBERS and value in INTEGERS
    if kind is float:
        return field.type == "float" and isfinite(value)
    return kind is bool and field.type == "boolean"


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
    if not is_unicode(value):
        return "invalid_text", f"expected valid Unicode, got {shown(value)} with half of a surrogate pair"
    if type_ == "keyword" and len(value) * 4 > MAX_KEYWORD and (size := len(value.encode())) > MAX_KEYWORD:
        return (
            "value_too_long",
            f"a keyword is at most {MAX_KEYWORD} bytes of UTF-8, got {size}; declare the field as text for longer values",
        )
    return None


def _is_plain_number(value: Any) -> bool:
    return (value.__class__ is int and value in INTEGERS) or (value.__class__ is float and isfinite(value))


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
