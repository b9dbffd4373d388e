"""Orders by fields, and where a page of one ended.

Where a document has no value, OpenSearch takes the largest or smallest number there is in its place, so that it comes last. An
integer may really be that number. So integers are asked for twice, the second time the other way round: there the real one comes
before.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...model import Field, Query, Sort
from . import mapping

_MISSING = {"long": (2**63 - 1, -(2**63)), "double": ("Infinity", "-Infinity")}  # ascending, descending
_ORDERS = ("asc", "desc")


def order(query: Query, fields: dict[str, Field]) -> list[Any]:
    """As the request's `sort`; the id ends it."""
    made: list[Any] = []
    for _, sort, field in _placed(query, fields):
        for descending in _keys(sort, field):
            made.append({mapping.value_name(field): {"order": _ORDERS[descending], "missing": "_last"}})
    return [*made, {"id": "asc"}]


def after(query: Query, fields: dict[str, Field]) -> list[Any]:
    """As the request's `search_after`, of what a cursor carries."""
    values = query.page.after or ()
    found = []
    for n, sort, field in _placed(query, fields):
        missing = _MISSING.get(_kind(field))
        for descending in _keys(sort, field):
            none = values[n] is None and missing is not None
            found.append(missing[descending] if none else int(values[n]) if isinstance(values[n], bool) else values[n])
    return [*found, values[-1]]


def values(found: Sequence[Any], query: Query, fields: dict[str, Field]) -> tuple[Any, ...]:
    """What a cursor carries, of a hit's `sort`: None where there is no value."""
    read: list[Any] = [None] * len(query.sort)
    rest = iter(found)
    for n, sort, field in _placed(query, fields):
        missing = _MISSING.get(_kind(field))
        keys = [(next(rest), descending) for descending in _keys(sort, field)]
        none = missing is not None and all(value == missing[descending] for value, descending in keys)
        read[n] = None if none else keys[0][0]
    return (*read, found[-1])


def _placed(query: Query, fields: dict[str, Field]) -> Iterator[tuple[int, Sort, Field]]:
    """Without fields that no document has yet: they order nothing."""
    return ((n, sort, field) for n, sort in enumerate(query.sort) if (field := fields.get(sort.field)) is not None)


def _keys(sort: Sort, field: Field) -> tuple[bool, ...]:
    """Whether descending, for each time that the field is asked for."""
    return (sort.descending, not sort.descending) if field.type == "integer" else (sort.descending,)


def _kind(field: Field) -> str:
    return "keyword" if field.type in ("text", "keyword") else "double" if field.type == "float" else "long"
