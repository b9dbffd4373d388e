"""Request parameters -> SearchRequest and SuggestRequest: names, types and bounds, checked against one index.

A query string and a JSON body have the same parameters, read by `reader.py`. All faults of a request are raised together, as one
Invalid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..engines.base import Capabilities
from ..exceptions import Invalid
from ..model import Highlight, IndexInfo, Page, SearchRequest, Sort, SuggestRequest, TextQuery
from . import cursor
from .facets import parse_facets
from .fields import has_surrogates, no_such_field, no_values
from .filters import parse_filter
from .limits import DEFAULT_LIMITS, Limits
from .reader import Reader
from .text import parse_text

SEARCH_PARAMETERS = (
    "q filter facets sort limit offset cursor fields highlight highlight_format snippet_length match typo timeout_ms explain"
).split()
SUGGEST_PARAMETERS = ("q", "field", "limit")
MATCH_MODES = ("all", "any", "relax")
HIGHLIGHT_FORMATS = ("ranges", "html")
HTML_TAGS = ("<em>", "</em>")
MAX_TAG = 200  # code points of an opening or closing tag

_HIGHLIGHT_KEYS = ("fields", "format", "tags")


def search_from_args(
    args: Mapping[str, list[str]], info: IndexInfo, capabilities: Capabilities, limits: Limits = DEFAULT_LIMITS
) -> SearchRequest:
    """The search that a query string asks for; `args` holds all values of each name. Raises Invalid."""
    return _search(Reader.of_args(args, SEARCH_PARAMETERS), info, capabilities, limits)


def search_from_json(
    body: dict[str, Any], info: IndexInfo, capabilities: Capabilities, limits: Limits = DEFAULT_LIMITS
) -> SearchRequest:
    """The search that a decoded JSON body asks for; null is the same as absent. Raises Invalid."""
    return _search(Reader.of_json(body, SEARCH_PARAMETERS), info, capabilities, limits)


def suggest_from_args(args: Mapping[str, list[str]], info: IndexInfo, limits: Limits = DEFAULT_LIMITS) -> SuggestRequest:
    """The completions that a query string asks for. Raises Invalid."""
    reader = Reader.of_args(args, SUGGEST_PARAMETERS)
    q = reader.text("q", "")
    reader.attempt(lambda: parse_text(q, info, limits))  # for its caps: a text that cannot be searched is not completed either
    field = reader.text("field")
    if field is not None:
        reader.attempt(lambda: _text_field(field, "field", reader.at("field"), info))
    most = limits.max_suggestions
    limit = reader.integer("limit", 1, most, min(limits.default_suggestions, most), "MAX_SUGGESTIONS")
    reader.finish()
    return SuggestRequest(q, field, limit)


def _search(reader: Reader, info: IndexInfo, capabilities: Capabilities, limits: Limits) -> SearchRequest:
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
        timeout_ms=reader.integer("timeout_ms", 1, limits.max_timeout_ms, limits.default_timeout_ms, "MAX_TIMEOUT_MS"),
        explain=reader.boolean("explain", False),
    )
    if token is not None:
        _refuse_cursor(reader, request, capabilities)
        if not reader.faults:  # of a search that is wrong there is no telling whether the cursor is its own
            request = reader.attempt(lambda: _after(token, request, info)) or request
    reader.finish()
    return request


# ------------------------------------------------------------------------------------------------- each parameter


def _sort(reader: Reader, info: IndexInfo, limits: Limits) -> tuple[Sort, ...]:
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
        most = f"sort: expected at most {limits.max_sort_fields} fields (MAX_SORT_FIELDS), found {len(sorts)}"
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


def _page(reader: Reader, limits: Limits) -> Page:
    cap = limits.max_page
    size, whose = min((limits.max_page_size, limits.page_size_cap), (cap, "MAX_PAGE"), key=lambda most: most[0])
    limit = reader.integer("limit", 0, size, limits.default_page_size, whose)
    offset = reader.integer("offset", 0, None, 0)
    if offset and reader.value("cursor") is not None:
        reader.fault(reader.at("offset"), "offset_with_cursor", "offset: a cursor says itself where to go on; leave offset out")
    elif limit + offset > cap:
        detail = f"offset: expected limit + offset of at most {cap} (MAX_PAGE), found {limit} + {offset}; go on with the cursor"
        reader.fault(reader.at("offset"), "page_too_deep", f"{detail} of the answer before (the parameter cursor)")
    return Page(limit, offset)


def _refuse_cursor(reader: Reader, request: SearchRequest, capabilities: Capabilities) -> None:
    if request.text.wanted and not request.sort and not capabilities.relevance_cursor:
        detail = f"cursor: the engine {capabilities.engine} has no cursor in order of relevance; add sort, or page by offset"
        reader.fault(reader.at("cursor"), "unsupported_cursor", f"{detail} (up to MAX_PAGE)")


def _after(token: str, request: SearchRequest, info: IndexInfo) -> SearchRequest:
    walk = bool(request.text.wanted) and not request.sort
    if token == cursor.START:
        return replace(request, page=replace(request.page, walk=walk))
    values, plan = cursor.decode(token, request, info)
    return replace(request, page=replace(request.page, after=values, walk=walk), plan=plan)


def _fields(reader: Reader, info: IndexInfo) -> tuple[str, ...] | None:
    if reader.value("fields") is None:
        return None
    names = []
    for at, name in reader.names("fields"):
        parent = name + "."
        if name in info.fields or any(known.startswith(parent) for known in info.fields):
            names.append(name)
        else:
            reader.fault(at, "unknown_field", f"fields: {no_such_field(name, info)}")
    return tuple(dict.fromkeys(names))


def _highlight(reader: Reader, info: IndexInfo, limits: Limits) -> Highlight | None:
    """highlight is true, false, field names, or in JSON {"fields": […], "format": "html", "tags": ["<b>", "</b>"]}."""
    length = reader.integer("snippet_length", 0, limits.max_snippet_length, 0, "MAX_SNIPPET_LENGTH")
    form = reader.choice("highlight_format", HIGHLIGHT_FORMATS, None)
    value = reader.value("highlight")
    if value is None:
        for name in ("highlight_format", "snippet_length"):
            if reader.value(name) is not None:
                reader.fault(reader.at(name), "needs_highlight", f"{name}: it works with highlight only; add highlight=true")
        return None
    tags = None
    if isinstance(value, dict):
        inner = reader.inside("highlight", _HIGHLIGHT_KEYS)
        form = inner.choice("format", HIGHLIGHT_FORMATS, form)
        tags = _tags(inner)
        if tags and form == "ranges":
            inner.fault(inner.at("tags"), "highlight_tags", 'highlight: tags belong to the format "html"')
        everywhere = inner.value("fields") is None
        given = inner.names("fields")
    else:
        switch = {"true": True, "false": False}.get(value.strip().lower(), value) if isinstance(value, str) else value
        if switch is False:
            return None
        everywhere = switch is True
        given = [] if everywhere else reader.names("highlight", "true, false or a list of field names")
    names = [name for at, name in given if reader.attempt(lambda name=name, at=at: _text_field(name, "highlight", at, info))]
    if not names and not everywhere:
        return None
    return Highlight(tuple(dict.fromkeys(names)), tags or (HTML_TAGS if form == "html" else None), length)


def _tags(reader: Reader) -> tuple[str, str] | None:
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
