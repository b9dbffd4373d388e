"""The facets of a search: the text form of a query string and the form of JSON, both read to the same `Facet`.

    facets  = facet { "," facet }
    facet   = field [ "(" option { "," option } ")" ]
    option  = "limit:" count | "ranges:" range { "," range } | "stats" | "exclude"
    range   = [ low ] ".." [ high ]                  low <= value < high; dates as RFC 3339

    kind,year(ranges: ..2000, 2000..2010, 2010..),price(stats),tags(limit: 5, exclude)

In JSON a facet is that text, a field's name, or an object:

    {"field": "year", "kind": "ranges", "limit": 5, "ranges": [{"to": 2000}, {"from": 2000, "to": 2010}], "exclude": true}
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

from ..exceptions import Fault, Invalid
from ..model import Facet, Field, IndexInfo, Range
from .fields import ORDERED, nearest, no_such_field, no_values, shown, value_from_json, value_from_text
from .limits import Limits

KINDS = ("terms", "ranges", "stats")
_KEYS = ("field", "kind", "limit", "ranges", "exclude")
_OPTIONS = ("limit:", "ranges:", "stats", "exclude")
_FACET = re.compile(r"([^(),]*)(?:\(([^()]*)\)\s*)?(?:,|\Z)")
_EXAMPLE = "kind,year(ranges: ..2000, 2000..),price(stats),tags(limit: 5, exclude)"


def parse_facets(value: Any, info: IndexInfo, limits: Limits, at: str, default_limit: int = 20) -> tuple[Facet, ...]:
    """Read facets from text or decoded JSON. `at` points to the parameter. Raises Invalid with every fault that it found."""
    if isinstance(value, str):
        entries = [(at, value)]
    elif isinstance(value, list):
        entries = [(f"{at}/{position}", entry) for position, entry in enumerate(value[: limits.max_facets + 1])]
    else:
        raise Invalid.at(at, "wrong_type", f"facets: expected a list of field names and objects, found {shown(value)}")
    facets: dict[str, Facet] = {}
    faults: list[Fault] = []
    count = 0
    for place, entry in entries:
        try:
            for options in _from_text(entry, place) if isinstance(entry, str) else (_from_json(entry, place),):
                count += 1
                if count > limits.max_facets:
                    raise Invalid.at(
                        at, "too_many_facets", f"facets: expected at most {limits.max_facets} (MAX_FACETS), found more"
                    )
                facet = _facet(options, info, limits, place, default_limit)
                if facet.field in facets:
                    raise Invalid.at(place, "duplicate", f'facets: "{facet.field}" is named twice; one facet a field')
                facets[facet.field] = facet
        except Invalid as error:
            faults += error.errors
    if faults:
        raise Invalid.of(faults)
    return tuple(facets.values())


# ------------------------------------------------------------------------------------------------- text -> options


def _from_text(text: str, at: str) -> Iterator[dict[str, Any]]:
    """The facets of a query string as objects like those of JSON, but with their values as text."""
    end = 0
    while end < len(text) or not text:
        match = _FACET.match(text, end)
        if match is None:
            raise Invalid.at(at, "facets_syntax", f"facets, column {end + 1}: expected facets such as {_EXAMPLE}")
        end = match.end()
        name, options = match[1].strip(), match[2]
        if not name:
            raise Invalid.at(at, "facets_syntax", f"facets, column {match.start() + 1}: expected a field's name")
        yield {"field": name, **(_options(options, at) if options is not None else {})}


def _options(text: str, at: str) -> dict[str, Any]:
    """`limit: 5, exclude` -> {"limit": "5", "exclude": True}"""
    options: dict[str, Any] = {}

    def put(key: str, value: Any) -> None:
        if key in options:
            raise Invalid.at(at, "facets_syntax", f'facets: "{key}" is given twice in ({text.strip()[:60]})')
        options[key] = value

    for item in (part.strip() for part in text.split(",")):
        key, colon, value = item.partition(":")
        if "ranges" in options and ".." in item and key.strip() != "ranges":
            options["ranges"].append(item)
        elif colon and key.strip() == "ranges":
            put("ranges", [value.strip()])
        elif colon and key.strip() == "limit":
            put("limit", value.strip())
        elif item == "stats":
            put("kind", "stats")
        elif item == "exclude":
            put("exclude", True)
        else:
            known = nearest(item, _OPTIONS)
            expected = "expected limit: 5, ranges: 1..2, stats or exclude"
            raise Invalid.at(at, "facets_syntax", f"facets: {expected}, found {shown(item)}{known}")
    return options


def _from_json(entry: Any, at: str) -> dict[str, Any]:
    """The entry without its nulls, if it is an object with a facet's keys."""
    if not isinstance(entry, dict):
        raise Invalid.at(at, "wrong_type", f"facets: expected a field's name or an object, found {shown(entry)}")
    for key in entry:
        if key not in _KEYS:
            raise Invalid.at(at, "unknown_key", f"facets: there is no key {shown(key)} in a facet{nearest(key, _KEYS)}")
    options = {key: value for key, value in entry.items() if value is not None}
    if not isinstance(options.get("field"), str):
        found = shown(entry["field"]) if "field" in entry else "none"
        raise Invalid.at(at, "wrong_type", f"facets: expected a field's name at field, found {found}")
    return options


# ------------------------------------------------------------------------------------------------ options -> Facet


def _facet(options: dict[str, Any], info: IndexInfo, limits: Limits, at: str, default_limit: int) -> Facet:
    name = options["field"]
    field = info.fields.get(name)
    if field is None:
        raise Invalid.at(at, "unknown_field", f"facets: {no_such_field(name, info)}")
    if not field.has_values:
        raise Invalid.at(at, "no_values", f"facets: {no_values(field)}")
    kind = options.get("kind", "ranges" if "ranges" in options else "terms")
    if kind not in KINDS:
        raise Invalid.at(at, "unknown_value", f'facets: expected "terms", "ranges" or "stats" as kind, found {shown(kind)}')
    if kind != "terms" and field.type not in ORDERED:
        only = f'{kind} needs a field of type integer, float or date; "{name}" is of type {field.type}'
        raise Invalid.at(at, "facet_type", f"facets: {only}")
    for key, owner in (("limit", "terms"), ("ranges", "ranges")):
        if key in options and kind != owner:
            other = f'{key} belongs to a facet of kind {owner}, and that of "{name}" is of kind {kind}'
            raise Invalid.at(at, "facet_option", f"facets: {other}")
    exclude = options.get("exclude", False)
    if not isinstance(exclude, bool):
        raise Invalid.at(at, "wrong_type", f"facets: expected true or false at exclude, found {shown(exclude)}")
    return Facet(
        field=name,
        kind=kind,
        limit=_limit(options.get("limit", min(default_limit, limits.max_facet_values)), limits, at),
        ranges=_ranges(options.get("ranges"), field, limits, at) if kind == "ranges" else (),
        exclude=exclude,
    )


def _limit(value: Any, limits: Limits, at: str) -> int:
    number = int(value) if isinstance(value, str) and re.fullmatch("[0-9]{1,9}", value) else value
    if type(number) is not int or not 1 <= number <= limits.max_facet_values:
        expected = f"expected an integer from 1 to {limits.max_facet_values} (MAX_FACET_VALUES) at limit"
        raise Invalid.at(at, "out_of_range", f"facets: {expected}, found {shown(value)}")
    return number


def _ranges(value: Any, field: Field, limits: Limits, at: str) -> tuple[Range, ...]:
    if not isinstance(value, list) or not value:
        found = "none" if value in (None, []) else shown(value)
        raise Invalid.at(at, "facet_ranges", f'facets: expected a list of ranges for "{field.name}", found {found}')
    if len(value) > limits.max_facet_ranges:
        most = f'expected at most {limits.max_facet_ranges} ranges (MAX_FACET_RANGES) for "{field.name}"'
        raise Invalid.at(at, "too_many_ranges", f"facets: {most}, found {len(value)}")
    ranges = tuple(_range(entry, field, at) for entry in value)
    if len({r.key for r in ranges}) < len(ranges):
        raise Invalid.at(at, "duplicate", f'facets: a range of "{field.name}" is given twice')
    return ranges


def _range(entry: Any, field: Field, at: str) -> Range:
    """One bucket, of `low..high` or {"from": low, "to": high}."""
    read: Callable[[Field, Any], Any]
    if isinstance(entry, str):
        low, dots, high = (part.strip() for part in entry.partition(".."))
        if not dots or not (low or high):
            expected = f'expected a range as low..high, low.. or ..high for "{field.name}"'
            raise Invalid.at(at, "facet_ranges", f"facets: {expected}, found {shown(entry)}")
        key, ends, read = entry, (low or None, high or None), value_from_text
    elif isinstance(entry, dict) and entry and not entry.keys() - {"from", "to"}:
        ends, read = (entry.get("from"), entry.get("to")), value_from_json
        key = "..".join("" if end is None else str(end) for end in ends)
    else:
        expected = f'expected a range as {{"from": low, "to": high}} for "{field.name}"'
        raise Invalid.at(at, "facet_ranges", f"facets: {expected}, found {shown(entry)}")
    try:
        first, last = (None if end is None else read(field, end) for end in ends)
    except ValueError as error:
        raise Invalid.at(at, "facet_ranges", f"facets: {error}") from None
    if first is None and last is None:
        raise Invalid.at(at, "facet_ranges", f'facets: a range of "{field.name}" has neither end; expected one at least')
    if first is not None and last is not None and first >= last:
        raise Invalid.at(at, "facet_ranges", f'facets: expected the lower end first in the range {shown(key)} of "{field.name}"')
    return Range(key, first, last)
