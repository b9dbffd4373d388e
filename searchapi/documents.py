"""What a document may hold, and what of it is indexed: pure functions over decoded JSON.

A field's name is its path: `{"author": {"name": "x"}}` and `{"author.name": "x"}` are the same field, `author.name`. Arrays of
objects flatten to arrays of their leaves. `null` and `[]` are missing values. Whoever indexes documents calls `check` first, with
the fields known so far, and `values` after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from .checking import DEFAULT_LIMITS, INTEGERS, MAX_FIELDS, MAX_ID, DocumentLimits, check, document_id, initial_fields
from .dates import format_date, parse_date
from .model import Field
from .wording import pointer

__all__ = [
    "DEFAULT_LIMITS",
    "INTEGERS",
    "MAX_FIELDS",
    "MAX_ID",
    "DocumentLimits",
    "check",
    "document_id",
    "format_date",
    "initial_fields",
    "merge_patch",
    "parse_date",
    "pointer",
    "select",
    "text_values",
    "values",
]


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
        elif value.__class__ is int and field.type in ("keyword", "text"):  # the primary key
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
