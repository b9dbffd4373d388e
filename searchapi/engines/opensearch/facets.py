"""Facets over OpenSearch's aggregations; exact, because an index has one shard."""

from __future__ import annotations

from typing import Any

from ... import model
from ...model import Facet, FacetResult, Field
from ..values import keyword_shown, without
from .compile import Compiler
from .mapping import value_name

_NO_STATS = {"min": None, "max": None, "avg": None, "sum": 0, "count": 0}
_FOUND = "found"


def requests(query: model.Query, compiler: Compiler) -> dict[str, Any]:
    """Aggregations for all facets of a query, each under the filter that it counts with: so the hits' own filter is to be the
    request's `post_filter` where a facet leaves part of it out."""
    together = not apart(query)
    made = {}
    for facet in query.facets:
        filter = without(query.filter, facet.field) if facet.exclude else query.filter
        asked = compiler.filter(filter) if filter is not None and not together else {"match_all": {}}
        made[facet.field] = {"filter": asked, "aggs": _aggregations(facet, compiler)}
    return made


def apart(query: model.Query) -> bool:
    """Whether a facet is counted under another filter than the hits."""
    return any(f.exclude and without(query.filter, f.field) != query.filter for f in query.facets)


def _aggregations(facet: Facet, compiler: Compiler) -> dict[str, Any]:
    field = compiler.fields.get(facet.field)
    if field is None:
        return {}
    missing = {"missing": {"filter": {"bool": {"must_not": [compiler.filter(model.Exists(facet.field))]}}}}
    if facet.kind == "terms":
        if not facet.limit:
            return missing
        return missing | {_FOUND: {"terms": {"field": value_name(field), "size": facet.limit}}}
    if facet.kind == "stats":
        return missing | {_FOUND: {"stats": {"field": value_name(field)}}}
    ranges = {str(n): compiler.within(facet.field, r.low, r.high) for n, r in enumerate(facet.ranges)}
    return missing | {_FOUND: {"filters": {"filters": ranges}}}


def results(query: model.Query, compiler: Compiler, answers: dict[str, Any]) -> dict[str, FacetResult]:
    return {facet.field: _result(facet, compiler.fields.get(facet.field), answers[facet.field]) for facet in query.facets}


def _result(facet: Facet, field: Field | None, answer: dict[str, Any]) -> FacetResult:
    if field is None:  # no document has it yet
        ranges = tuple((r.key, 0) for r in facet.ranges)
        return FacetResult(facet.kind, ranges, missing=answer["doc_count"], stats=_NO_STATS if facet.kind == "stats" else None)
    missing, found = answer["missing"]["doc_count"], answer.get(_FOUND)
    if facet.kind == "terms":
        values = tuple((_shown(field, b["key"]), b["doc_count"]) for b in found["buckets"])
        return FacetResult("terms", values, found["sum_other_doc_count"], missing)
    if facet.kind == "stats":
        return FacetResult("stats", missing=missing, stats=_stats(found, field))
    counts = tuple((r.key, found["buckets"][str(n)]["doc_count"]) for n, r in enumerate(facet.ranges))
    return FacetResult("ranges", counts, missing=missing)


def _shown(field: Field, key: Any) -> Any:
    if field.type == "boolean":
        return bool(key)
    if field.type == "float":
        return float(key)
    return keyword_shown(key) if field.type == "text" else key if field.type == "keyword" else int(key)


def _stats(stats: dict[str, Any], field: Field) -> dict[str, Any]:
    if not stats["count"]:
        return dict(_NO_STATS)
    whole = field.type != "float"
    figures = {key: int(stats[key]) if whole else stats[key] for key in ("min", "max", "sum")}
    return {"min": figures["min"], "max": figures["max"], "avg": stats["avg"], "sum": figures["sum"], "count": int(stats["count"])}
