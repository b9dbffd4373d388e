"""Request parameters -> SearchRequest and SuggestRequest: names, types and bounds, checked against one index.

A query string and a JSON body have the same parameters. In a query string every value is text, lists are separated by commas, and
an error points to the parameter (`limit`); in JSON values are native, and an error points into the body (`/limit`). All faults of
a request are raised together, as one Invalid.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from ..documents import pointer
from ..engines.base import Capabilities
from ..exceptions import Fault, Invalid
from ..model import Highlight, IndexInfo, Page, SearchRequest, Sort, SuggestRequest, TextQuery
from . import cursor
from .facets import parse_facets
from .fields import clean, has_surrogates, nearest, no_such_field, no_values, shown
from .filters import parse_filter
from .limits import DEFAULT_LIMITS, Limits
from .text import parse_text

SEARCH_PARAMETERS = (
    "q filter facets sort limit offset cursor fields highlight highlight_format snippet_length match typo timeout_ms explain"
).split()
SUGGEST_PARAMETERS = ("q", "field", "limit")
MATCH_MODES = ("all", "any", "relax")
HIGHLIGHT_FORMATS = ("ranges", "html")
HTML_TAGS = ("<em>", "</em>")
MAX_TAG = 200  # code points of an opening or closing tag

_INTEGER = re.compile(r"-?[0-9]{1,18}")
_HIGHLIGHT_KEYS = ("fields", "format", "tags")
T = TypeVar("T")


def search_from_args(
    args: Mapping[str, list[str]], info: IndexInfo, capabilities: Capabilities, limits: Limits = DEFAULT_LIMITS
) -> SearchRequest:
    """The search that a query string asks for; `args` holds all values of each name. Raises Invalid."""
    return _search(_Reader.of_args(args, SEARCH_PARAMETERS), info, capabilities, limits)


def search_from_json(
    body: dict[str, Any], info: IndexInfo, capabilities: Capabilities, limits: Limits = DEFAULT_LIMITS
) -> SearchRequest:
    """The search that a decoded JSON body asks for; null is the same as absent. Raises Invalid."""
    return _search(_Reader.of_json(body, SEARCH_PARAMETERS), info, capabilities, limits)


def suggest_from_args(args: Mapping[str, list[str]], info: IndexInfo, limits: Limits = DEFAULT_LIMITS) -> SuggestRequest:
    """The completions that a query string asks for. Raises Invalid."""
    reader = _Reader.of_args(args, SUGGEST_PARAMETERS)
    q = reader.text("q", "")
    reader.attempt(lambda: parse_text(q, info, limits))  # for its caps: a text that cannot be searched is not completed either
    field = reader.text("field")
    if field is not None:
        reader.attempt(lambda: _text_field(field, "field", reader.at("field"), info))
    limit = reader.integer("limit", 1, limits.max_suggestions, limits.default_suggestions, "max_suggestions")
    reader.finish()
    return SuggestRequest(q, field, limit)


def _search(reader: _Reader, info: IndexInfo, capabilities: Capabilities, limits: Limits) -> SearchRequest:
    q = reader.text("q", "")
    filter_text, facets, token = reader.text("filter"), reader.value("facets"), reader.text("cursor")
    request = SearchRequest(
        text=reader.attempt(lambda: parse_text(q, info, limits)) or TextQuery(),
        q=q,
        filter=None if filter_text is None else reader.attempt(lambda: parse_filter(filter_text, info, limits)),
        facets=() if facets is None else reader.attempt(lambda: parse_facets(facets, info, limits, reader.at("facets"))) or (),
        sort=_sort(reader, info, limits),
        page=_page(reader, limits),
        fields=_fields(reader, info),
        highlight=_highlight(reader, info, limits),
        match=reader.choice("match", MATCH_MODES, "relax"),
        typo=reader.boolean("typo", True),
        timeout_ms=reader.integer("timeout_ms", 1, limits.max_timeout_ms, limits.default_timeout_ms, "max_timeout_ms"),
        explain=reader.boolean("explain", False),
    )
    if token is not None:
        _refuse_cursor(reader, request, capabilities)
        if not reader.faults:  # of a search that is wrong there is no telling whether the cursor is its own
            request = reader.attempt(lambda: _after(token, request, info)) or request
    reader.finish()
    return request


# ------------------------------------------------------------------------------------------------- each parameter


def _sort(reader: _Reader, info: IndexInfo, limits: Limits) -> tuple[Sort, ...]:
    sorts: list[Sort] = []
    for at, name in reader.names("sort"):
        descending = name.startswith("-")
        sort = Sort(name.removeprefix("-").strip() if descending else name, descending)
        problem = _unsortable(sort.field, info)
        if problem:
            reader.fault(at, *problem)
        elif any(sort.field == other.field for other in sorts):
            reader.fault(at, "duplicate", f'sort: "{sort.field}" is named twice')
        else:
            sorts.append(sort)
    if len(sorts) > limits.max_sort_fields:
        most = f"sort: expected at most {limits.max_sort_fields} fields (max_sort_fields), found {len(sorts)}"
        reader.fault(reader.at("sort"), "too_many_sort_fields", most)
    return tuple(sorts)


def _unsortable(name: str, info: IndexInfo) -> tuple[str, str] | None:
    """(code, detail) of why the index cannot be sorted by `name`."""
    field = info.fields.get(name)
    if field is None:
        plain, _, direction = name.partition(":")
        if plain in info.fields and direction in ("asc", "desc"):
            wanted = f"-{plain}" if direction == "desc" else plain
            return "unknown_field", f'sort: expected a field\'s name, with - before it for descending; did you mean "{wanted}"?'
        return "unknown_field", f"sort: {no_such_field(name, info)}"
    if field.array:
        return "array_field", f'sort: "{name}" holds several values in some documents, so there is no order by it'
    if not field.has_values:
        return "no_values", f"sort: {no_values(field)}"
    return None


def _page(reader: _Reader, limits: Limits) -> Page:
    cap = limits.max_page
    limit = reader.integer("limit", 0, cap, min(limits.default_limit, cap), "max_page")
    offset = reader.integer("offset", 0, None, 0)
    if offset and reader.value("cursor") is not None:
        reader.fault(reader.at("offset"), "offset_with_cursor", "offset: a cursor says itself where to go on; leave offset out")
    elif limit + offset > cap:
        detail = f"offset: expected limit + offset of at most {cap} (max_page), found {limit} + {offset}; go on with the cursor"
        reader.fault(reader.at("offset"), "page_too_deep", f"{detail} of the answer before (the parameter cursor)")
    return Page(limit, offset)


def _refuse_cursor(reader: _Reader, request: SearchRequest, capabilities: Capabilities) -> None:
    if request.text.wanted and not request.sort and not capabilities.relevance_cursor:
        detail = f"cursor: the engine {capabilities.engine} has no cursor in order of relevance; add sort, or page by offset"
        reader.fault(reader.at("cursor"), "unsupported_cursor", f"{detail} (up to max_page)")


def _after(token: str, request: SearchRequest, info: IndexInfo) -> SearchRequest:
    values, plan = cursor.decode(token, request, info)
    return replace(request, page=replace(request.page, after=values), plan=plan)


def _fields(reader: _Reader, info: IndexInfo) -> tuple[str, ...] | None:
    if reader.value("fields") is None:
        return None
    names = []
    for at, name in reader.names("fields"):
        if name in info.fields or any(known.startswith(name + ".") for known in info.fields):
            names.append(name)
        else:
            reader.fault(at, "unknown_field", f"fields: {no_such_field(name, info)}")
    return tuple(dict.fromkeys(names))


def _highlight(reader: _Reader, info: IndexInfo, limits: Limits) -> Highlight | None:
    """highlight is true, false, a list of fields, or in JSON {"fields": […], "format": "html", "tags": ["<b>", "</b>"]}."""
    length = reader.integer("snippet_length", 0, limits.max_snippet_length, 0, "max_snippet_length")
    format_ = reader.choice("highlight_format", HIGHLIGHT_FORMATS, None)
    value = reader.value("highlight")
    if value is None:
        for name in ("highlight_format", "snippet_length"):
            if reader.value(name) is not None:
                reader.fault(reader.at(name), "needs_highlight", f"{name}: it works with highlight only; add highlight=true")
        return None
    inner = reader
    tags = None
    if isinstance(value, dict):
        inner = reader.inside("highlight", _HIGHLIGHT_KEYS)
        format_ = inner.choice("format", HIGHLIGHT_FORMATS, format_)
        tags = _tags(inner)
        if tags and format_ == "ranges":
            inner.fault(inner.at("tags"), "highlight_tags", 'highlight: tags belong to the format "html"')
        value, name = inner.value("fields", True), "fields"
    else:
        name = "highlight"
    names: list[str] = []
    if not (value is True or value is False or str(value).lower() in ("true", "false")):
        for at, field in inner.names(name):
            if inner.attempt(lambda field=field, at=at: _text_field(field, "highlight", at, info)):
                names.append(field)
    elif str(value).lower() == "false":
        return None
    if format_ == "html" and not tags:
        tags = HTML_TAGS
    return Highlight(tuple(dict.fromkeys(names)), tags, length)


def _tags(reader: _Reader) -> tuple[str, str] | None:
    tags = reader.value("tags")
    if tags is None:
        return None
    if not (isinstance(tags, list) and len(tags) == 2 and all(_is_tag(tag) for tag in tags)):
        expected = f"expected two strings of at most {MAX_TAG} characters"
        reader.fault(reader.at("tags"), "highlight_tags", f'highlight: {expected}, such as ["<b>", "</b>"], at tags')
        return None
    return tags[0], tags[1]


def _is_tag(tag: Any) -> bool:
    return isinstance(tag, str) and len(tag) <= MAX_TAG and not has_surrogates(tag)


def _text_field(name: str, parameter: str, at: str, info: IndexInfo) -> bool:
    field = info.fields.get(name)
    if field is None:
        raise Invalid.at(at, "unknown_field", f"{parameter}: {no_such_field(name, info)}")
    if not field.is_text:
        raise Invalid.at(at, "not_a_text_field", f'{parameter}: expected a text field; "{name}" is of type {field.type}')
    return True


# ---------------------------------------------------------------------------------------------------------- reading


class _Reader:
    """The parameters of one request: gives out checked values, or the default where one is wrong, and notes the faults."""

    def __init__(self, values: Mapping[str, Any], native: bool, prefix: str, faults: list[Fault]):
        self.values = values
        self.native = native  # JSON: values have types, and pointers are JSON Pointers
        self.prefix = prefix
        self.faults = faults

    @classmethod
    def of_args(cls, args: Mapping[str, list[str]], known: list[str] | tuple[str, ...]) -> _Reader:
        reader = cls({name: given[0] for name, given in args.items() if given}, False, "", [])
        reader.refuse_unknown(known)
        for name, given in args.items():
            if len(given) > 1 and name in known:
                reader.fault(name, "repeated_parameter", f"{name}: expected it once, found {len(given)} times")
        return reader

    @classmethod
    def of_json(cls, body: Any, known: list[str] | tuple[str, ...]) -> _Reader:
        if not isinstance(body, dict):
            raise Invalid.at("", "wrong_type", f"expected a JSON object with the parameters of a search, found {shown(body)}")
        reader = cls(body, True, "", [])
        reader.refuse_unknown(known)
        return reader

    def inside(self, name: str, known: tuple[str, ...]) -> _Reader:
        """A reader of the object at `name`, whose faults are this one's."""
        reader = _Reader(self.values[name], True, self.at(name), self.faults)
        reader.refuse_unknown(known)
        return reader

    def refuse_unknown(self, known: list[str] | tuple[str, ...]) -> None:
        for name in self.values:
            if name not in known:
                detail = f"there is no parameter {shown(name)}{nearest(name, known)}"
                self.fault(self.at(name), "unknown_parameter", detail)

    def at(self, name: str) -> str:
        return self.prefix + pointer(name) if self.native else clean(name)

    def fault(self, at: str, code: str, detail: str) -> None:
        self.faults.append(Fault(at, code, detail))

    def attempt(self, read: Callable[[], T]) -> T | None:
        """What `read` gives, or None where it raises Invalid, whose faults are noted."""
        try:
            return read()
        except Invalid as error:
            for fault in error.errors:  # the parsers of q, filter and cursor point to the bare parameter
                self.faults.append(fault if fault.pointer.startswith("/") else replace(fault, pointer=self.at(fault.pointer)))
            return None

    def finish(self) -> None:
        if self.faults:
            raise Invalid.of(self.faults)

    # values
    def value(self, name: str, default: Any = None) -> Any:
        """The value as it came; the default where it is absent, null, or blank in a query string."""
        value = self.values.get(name)
        blank = value is None or (not self.native and not value.strip())
        return default if blank else value

    def wrong(self, name: str, expected: str, value: Any) -> None:
        self.fault(self.at(name), "wrong_value", f"{name}: expected {expected}, found {shown(value)}")

    def text(self, name: str, default: str | None = None) -> str | None:
        value = self.value(name, default)
        if value is not None and not isinstance(value, str):
            self.wrong(name, "a string", value)
            return default
        if value is not None and not value.strip() and name != "q":
            return default
        return value if value is None else clean(value)

    def integer(self, name: str, low: int, high: int | None, default: int, cap: str = "") -> int:
        value = self.value(name)
        if value is None:
            return default
        number = value if self.native else int(value) if _INTEGER.fullmatch(value.strip()) else None
        if type(number) is not int or number < low or (high is not None and number > high):
            bounds = f"from {low}" if high is None else f"from {low} to {high}" + (f" ({cap})" if cap else "")
            self.wrong(name, f"an integer {bounds}", value)
            return default
        return number

    def boolean(self, name: str, default: bool) -> bool:
        value = self.value(name)
        if value is None:
            return default
        read = value if self.native else {"true": True, "false": False}.get(value.strip().lower())
        if not isinstance(read, bool):
            self.wrong(name, "true or false", value)
            return default
        return read

    def choice(self, name: str, choices: tuple[str, ...], default: Any) -> Any:
        value = self.value(name)
        if value is None or value in choices:
            return default if value is None else value
        self.wrong(name, " or ".join((", ".join(choices[:-1]), choices[-1])), value)
        return default

    def names(self, name: str) -> list[tuple[str, str]]:
        """(pointer, name) of each name in a list, or in text with commas."""
        value = self.value(name, "")
        if isinstance(value, str):
            return [(self.at(name), part.strip()) for part in value.split(",")] if value.strip() else []
        if not isinstance(value, list):
            self.wrong(name, "a list of field names", value)
            return []
        found = []
        for position, entry in enumerate(value):
            if isinstance(entry, str):
                found.append((f"{self.at(name)}/{position}", entry.strip()))
            else:
                at = f"{self.at(name)}/{position}"
                self.fault(at, "wrong_value", f"{name}: expected a field's name, found {shown(entry)}")
        return found
