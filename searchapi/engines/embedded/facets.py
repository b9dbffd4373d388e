"""Facets over tantivy's aggregations, made exact where tantivy's own are approximate.

Traps this goes round (measured): a terms aggregation over several segments is approximate unless `segment_size` is large; range
aggregations fill the gaps between ranges and count a document once for each of its values; there is no count of documents
without a value.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tantivy import Occur, Searcher
from tantivy import Query as TQuery

from ... import model
from ...model import Facet, FacetResult
from ..values import keyword_shown, without
from .compile import Compiler
from .generation import Slots

EXACT_TERMS = 65_000  # distinct values a segment hands over; counts are exact up to so many
TIES = 1_000  # values fetched, so that equal counts at the limit are ordered by value


class FacetCounter:
    """Counts facets over one searcher. `matching(filter)` is the whole query under another filter."""

    def __init__(
        self, searcher: Searcher, compiler: Compiler, query: model.Query, matching: Callable[[model.Filter | None], TQuery]
    ):
        self.searcher = searcher
        self.compiler = compiler
        self.query = query
        self.matching = matching

    def count(self, whole: TQuery, total: int) -> dict[str, FacetResult]:
        """Facets that leave their own filter out are counted apart, the others in one aggregation."""
        together = [f for f in self.query.facets if not self._apart(f)]
        found = self._aggregate(whole, total, together)
        for facet in self.query.facets:
            if self._apart(facet):
                query = self.matching(without(self.query.filter, facet.field))
                found.update(self._aggregate(query, count(self.searcher, query), [facet]))
        return {facet.field: found[facet.field] for facet in self.query.facets}

    def _apart(self, facet: Facet) -> bool:
        return facet.exclude and without(self.query.filter, facet.field) != self.query.filter

    def _aggregate(self, query: TQuery, total: int, facets: list[Facet]) -> dict[str, FacetResult]:
        requests: dict[str, Any] = {}
        for facet in facets:
            slots = self.compiler.slots.get(facet.field)
            if slots is not None:
                requests.update(_requests(facet, slots))
        answers = self.searcher.aggregate(query, requests) if requests else {}
        return {facet.field: self._read(facet, query, total, answers) for facet in facets}

    def _read(self, facet: Facet, query: TQuery, total: int, answers: dict) -> FacetResult:
        slots = self.compiler.slots.get(facet.field)
        if slots is None:  # no document of this generation has it
            return FacetResult(facet.kind, missing=total, stats=_NO_STATS if facet.kind == "stats" else None)
        if facet.kind == "terms":
            return self._terms(facet, slots, query, total, answers[facet.field])
        if facet.kind == "stats":
            stats = answers[facet.field]
            return FacetResult("stats", missing=self._missing(facet, query, total), stats=_stats(stats, slots))
        counts = tuple((r.key, self._in_range(r, slots, query, answers, n, facet)) for n, r in enumerate(facet.ranges))
        return FacetResult("ranges", counts, missing=self._missing(facet, query, total))

    def _terms(self, facet: Facet, slots: Slots, query: TQuery, total: int, answer: dict) -> FacetResult:
        counts = sorted(((b["key"], b["doc_count"]) for b in answer["buckets"]), key=lambda pair: (-pair[1], pair[0]))
        shown, cut = counts[: facet.limit], counts[facet.limit :]
        other = answer["sum_other_doc_count"] + sum(n for _, n in cut)
        # Where a document counts once, what is in no bucket has no value.
        missing = self._missing(facet, query, total) if slots.field.array else total - other - sum(n for _, n in shown)
        return FacetResult("terms", tuple((_shown(slots, key), n) for key, n in shown), other, missing)

    def _in_range(self, wanted: model.Range, slots: Slots, query: TQuery, answers: dict, n: int, facet: Facet) -> int:
        if slots.field.array:  # an aggregation would count a document once for each value in the range
            bounds = [model.Compare(facet.field, op, v) for op, v in ((">=", wanted.low), ("<", wanted.high)) if v is not None]
            both = self.compiler._range(facet.field, wanted.low, wanted.high, include_high=False) if bounds else TQuery.all_query()
            return count(self.searcher, TQuery.boolean_query([(Occur.Must, query), (Occur.Must, both)]))
        return next(
            b["doc_count"]
            for b in answers[f"{facet.field}\x00{n}"]["buckets"]
            if b.get("from") == wanted.low and b.get("to") == wanted.high
        )

    def _missing(self, facet: Facet, query: TQuery, total: int) -> int:
        exists = self.compiler.filter(model.Exists(facet.field))
        return total - count(self.searcher, TQuery.boolean_query([(Occur.Must, query), (Occur.Must, exists)]))


_NO_STATS = {"min": None, "max": None, "avg": None, "sum": 0, "count": 0}


def _requests(facet: Facet, slots: Slots) -> dict[str, Any]:
    name = slots.value_name
    if facet.kind == "terms":
        size = max(facet.limit, TIES)
        return {facet.field: {"terms": {"field": name, "size": size, "segment_size": EXACT_TERMS, "order": {"_count": "desc"}}}}
    if facet.kind == "stats":
        return {facet.field: {"stats": {"field": name}}}
    if slots.field.array:
        return {}
    return {f"{facet.field}\x00{n}": {"range": {"field": name, "ranges": [_bounds(r)]}} for n, r in enumerate(facet.ranges)}


def _bounds(wanted: model.Range) -> dict[str, float]:
    return {key: float(value) for key, value in (("from", wanted.low), ("to", wanted.high)) if value is not None}


def _shown(slots: Slots, key: Any) -> Any:
    kind = slots.field.type
    if kind == "boolean":
        return bool(key)
    if kind == "float":
        return float(key)
    return key if kind == "keyword" else keyword_shown(key) if kind == "text" else int(key)


def _stats(stats: dict, slots: Slots) -> dict[str, Any]:
    whole = slots.field.type != "float"
    figures = {key: int(v) if whole and v is not None else v for key, v in ((k, stats[k]) for k in ("min", "max", "sum"))}
    return {"min": figures["min"], "max": figures["max"], "avg": stats["avg"], "sum": figures["sum"], "count": int(stats["count"])}


def count(searcher: Searcher, query: TQuery) -> int:
    return searcher.search(query, 1, count=True).count
