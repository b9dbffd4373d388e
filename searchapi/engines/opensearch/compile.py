"""Query -> OpenSearch's query DSL. Every word in a Query is an exact term already; client text is nowhere but in the values of
`term`, `terms`, `prefix`, `range` and `match_phrase`.

A word scores by its best field (dis_max), the words of a query by their sum. Filters and exclusions never score.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ... import model
from ...analysis import stem
from ...model import STEM_WEIGHT, TIE_BREAKER, AllOf, AnyOf, Field, Match, Near, Node, Term
from ..values import KEYWORD_LENGTH
from .encode import exact_value
from .mapping import stems, value_name, words

DSL = dict[str, Any]
NOTHING: DSL = {"match_none": {}}
ALL: DSL = {"match_all": {}}
GONE: DSL = {"exists": {"field": "gone"}}
LIVING: DSL = {"bool": {"must_not": [GONE]}}
_OPERATORS = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte"}


class Compiler:
    """fields: those that the concrete index holds."""

    def __init__(self, fields: Mapping[str, Field]):
        self.fields = fields
        self.boost_power = 1.0

    # ------------------------------------------------------------------------------------------------------ the whole

    def query(self, match: Match | None, filter: model.Filter | None) -> DSL:
        made: DSL = {"must_not": [GONE], "filter": []}
        if match is not None:
            self._match(match, made)
        if filter is not None:
            made["filter"].append(self.filter(filter))
        if not made.get("must"):
            made["filter"].append(ALL)  # a `should` alone would have to match
        return {"bool": made | {"minimum_should_match": 0}}

    def _match(self, match: Match, made: DSL) -> None:
        self.boost_power = match.boost_power
        clauses = [self.node(node) for node in match.clauses]
        if match.any_clause and len(clauses) > 1:
            clauses = [{"bool": {"should": clauses, "minimum_should_match": 1}}]
        made["must"] = clauses
        made["should"] = [self.node(node) for node in match.extras]
        made["should"] += [{"constant_score": {"filter": self.node(node), "boost": model.TIER}} for node in match.tiers]
        made["must_not"] = [GONE, *(self.node(node) for node in match.excluded)]

    # --------------------------------------------------------------------------------------------------------- words

    def node(self, node: Node) -> DSL:
        if isinstance(node, AllOf):
            return {"bool": {"must": [self.node(child) for child in node.nodes]}}
        leaves = list(self._leaves(node))
        if len(leaves) == 1:
            return leaves[0]
        if not leaves:
            return NOTHING
        return {"dis_max": {"queries": leaves, "tie_breaker": 0.0 if isinstance(node, Near) else TIE_BREAKER}}

    def _leaves(self, node: Node) -> Iterator[DSL]:
        """What a dis_max is over; a nested AnyOf joins its parent's."""
        if isinstance(node, Term):
            yield from self._term(node)
        elif isinstance(node, Near):
            yield from self._near(node)
        elif isinstance(node, AnyOf):
            for child in node.nodes:
                yield from self._leaves(child)
        else:
            yield self.node(node)

    def _columns(self, names: tuple[str, ...]) -> Iterator[tuple[Field, float]]:
        for name in names:
            field = self.fields.get(name)
            if field is not None and field.is_text:
                yield field, field.boost**self.boost_power

    def _term(self, term: Term) -> Iterator[DSL]:
        for field, boost in self._columns(term.fields):
            weight = term.weight * boost
            yield {"term": {words(field): {"value": term.word, "boost": weight}}}
            if term.stem and (name := stems(field)) is not None:
                stemmed = stem(term.word, field.language or "none")
                yield {"term": {name: {"value": stemmed, "boost": weight * STEM_WEIGHT}}}

    def _near(self, near: Near) -> Iterator[DSL]:
        for field, boost in self._columns(near.fields):
            name = stems(field) if near.stem else None
            made = [stem(word, field.language or "none") for word in near.words] if name else list(near.words)
            name, weight = name or words(field), near.weight * boost
            if len(made) == 1:
                phrase: DSL = {"term": {name: {"value": made[0], "boost": weight}}}
            else:
                asked = {"query": " ".join(made), "slop": near.slop, "boost": 1.0 if near.slop else weight}
                phrase = {"match_phrase": {name: asked}}
            yield {"constant_score": {"filter": phrase, "boost": model.CLOSE * weight}} if near.slop else phrase

    # ------------------------------------------------------------------------------------------------------- filters

    def filter(self, node: model.Filter) -> DSL:
        return getattr(self, "_" + type(node).__name__.lower())(node)

    def _and(self, node: model.And) -> DSL:
        return {"bool": {"filter": [self.filter(child) for child in node.nodes]}}

    def _or(self, node: model.Or) -> DSL:
        return {"bool": {"should": [self.filter(child) for child in node.nodes], "minimum_should_match": 1}}

    def _not(self, node: model.Not) -> DSL:
        return {"bool": {"must_not": [self.filter(node.node)]}}

    def _compare(self, node: model.Compare) -> DSL:
        if node.op == "!=":
            return self._not(model.Not(model.Compare(node.field, "=", node.value)))
        if node.op == "=":
            return self._in(model.In(node.field, (node.value,)))
        return self._range(node.field, {_OPERATORS[node.op]: node.value})

    def _in(self, node: model.In) -> DSL:
        field = self.fields.get(node.field)
        if field is None:
            return NOTHING
        return {"terms": {value_name(field): [exact_value(field, value) for value in node.values]}}

    def _between(self, node: model.Between) -> DSL:
        return self._range(node.field, {"gte": node.low, "lte": node.high})

    def _range(self, name: str, bounds: DSL) -> DSL:
        field = self.fields.get(name)
        if field is None:
            return NOTHING
        return {"range": {value_name(field): {bound: exact_value(field, value) for bound, value in bounds.items()}}}

    def within(self, name: str, low: Any, high: Any) -> DSL:
        """low <= value < high, either end open with None; both open is any value."""
        bounds = {bound: value for bound, value in (("gte", low), ("lt", high)) if value is not None}
        return self._range(name, bounds) if bounds else ALL

    def _startswith(self, node: model.StartsWith) -> DSL:
        field = self.fields.get(node.field)
        if field is None:
            return NOTHING
        prefix = node.prefix if field.type == "keyword" else node.prefix[:KEYWORD_LENGTH]
        return {"prefix": {value_name(field): {"value": prefix}}}

    def _exists(self, node: model.Exists) -> DSL:
        return {"term": {"has": node.field}}
