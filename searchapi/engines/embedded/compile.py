"""Query -> tantivy. Every word in a Query is an exact term already; here it only finds its slots.

A text field is in the index twice, as it stands (t<n>) and stemmed (s<n>). A word scores by its best field (dis_max), the words
of a query by their sum. Filters and exclusions never score.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from tantivy import FieldType, Occur
from tantivy import Query as TQuery

from ... import model
from ...analysis import stem
from ...model import STEM_WEIGHT, TIE_BREAKER, AllOf, AnyOf, Match, Near, Node, Term
from ..values import KEYWORD_LENGTH
from .generation import Column, indexed_value
from .index import Snapshot

_MUST, _SHOULD, _MUST_NOT = Occur.Must, Occur.Should, Occur.MustNot
_TYPES = {"integer": FieldType.Integer, "boolean": FieldType.Integer, "date": FieldType.Integer, "float": FieldType.Float}
_REGEX_SPECIAL = re.compile(r"[\\.+*?()|\[\]{}^$#&\-~/@\"]")  # not < and >: escaped they are edges of words


_term_query, _boost_query = TQuery.term_query, TQuery.boost_query


class Compiler:
    def __init__(self, snapshot: Snapshot):
        self.opened = snapshot.opened
        self.schema = snapshot.schema
        self.placement = snapshot.placement
        self.slots = snapshot.placement.slots
        self.boost_power = 1.0
        self._compiled: dict[int, TQuery] = {}  # by the identity of nodes that the match keeps alive

    # ------------------------------------------------------------------------------------------------------ the whole

    def query(self, match: Match | None, filter: model.Filter | None) -> TQuery:
        parts: list[tuple[Occur, TQuery]] = []
        if match is not None:
            parts += self._match(match)
        if filter is not None:
            parts.append((_MUST, unscored(self.filter(filter))))
        if not parts:
            return TQuery.all_query()
        if len(parts) == 1 and parts[0][0] is _MUST:
            return parts[0][1]
        if all(occur is not _MUST for occur, _ in parts):  # only exclusions match nothing by themselves
            parts.append((_MUST, TQuery.all_query()))
        return TQuery.boolean_query(parts)

    def _match(self, match: Match) -> list[tuple[Occur, TQuery]]:
        self.boost_power = match.boost_power
        self._compiled.clear()
        clauses = [self.node(node) for node in match.clauses]
        if match.any_clause and len(clauses) > 1:
            clauses = [TQuery.boolean_query([(_SHOULD, clause) for clause in clauses])]
        parts = [(_MUST, clause) for clause in clauses]
        parts += [(_SHOULD, self.node(node)) for node in match.extras]
        parts += [(_SHOULD, TQuery.const_score_query(self.node(node), model.TIER)) for node in match.tiers]
        parts += [(_MUST_NOT, self.node(node)) for node in match.excluded]
        return parts

    # --------------------------------------------------------------------------------------------------------- words

    def node(self, node: Node) -> TQuery:
        """Clauses come again in tiers: each node is compiled once."""
        query = self._compiled.get(id(node))
        if query is None:
            query = self._compiled[id(node)] = self._node(node)
        return query

    def _node(self, node: Node) -> TQuery:
        if isinstance(node, AllOf):
            return TQuery.boolean_query([(_MUST, self.node(child)) for child in node.nodes])
        leaves = self._leaves(node)
        if len(leaves) == 1:
            return leaves[0]
        if not leaves:
            return TQuery.empty_query()
        return TQuery.disjunction_max_query(list(leaves), 0.0 if isinstance(node, Near) else TIE_BREAKER)

    def _leaves(self, node: Node) -> Sequence[TQuery]:
        """What a dis_max is over; a nested AnyOf joins its parent's."""
        if isinstance(node, Term):
            return self._term(node)
        if isinstance(node, Near):
            return self._near(node)
        if isinstance(node, AnyOf):
            return [leaf for child in node.nodes for leaf in self._leaves(child)]
        return [self.node(node)]

    def _term(self, term: Term) -> tuple[TQuery, ...]:
        """Made once for a word, as long as neither the index nor the weights of its fields change."""
        columns = self.placement.columns(term.fields, self.boost_power)
        return self.opened.compiled(columns, (term.word, term.weight, term.stem), lambda: tuple(self._forms(term, columns)))

    def _forms(self, term: Term, columns: tuple[Column, ...]) -> Iterator[TQuery]:
        schema, word, holds = self.schema, term.word, self._holds
        for column in columns:
            weight = term.weight * column.weight
            if holds(column.words, word):
                yield boosted(_term_query(schema, column.words, word, "freq"), weight)
            if term.stem and column.stems is not None and holds(column.stems, stemmed := stem(word, column.language)):
                yield boosted(_term_query(schema, column.stems, stemmed, "freq"), weight * STEM_WEIGHT)

    def _near(self, near: Near) -> tuple[TQuery, ...]:
        columns = self.placement.columns(near.fields, self.boost_power)
        return self.opened.compiled(
            columns, (near.words, near.slop, near.weight, near.stem), lambda: tuple(self._neighbours(near, columns))
        )

    def _neighbours(self, near: Near, columns: tuple[Column, ...]) -> Iterator[TQuery]:
        for column in columns:
            stemmed = near.stem and column.stems is not None
            words = [stem(word, column.language) for word in near.words] if stemmed else list(near.words)
            name = column.stems if stemmed else column.words
            if not all(self._holds(name, word) for word in words):
                continue
            if len(words) == 1:
                query = _term_query(self.schema, name, words[0], "freq")
            else:
                query = TQuery.phrase_query(self.schema, name, words, near.slop)
            weight = near.weight * column.weight
            yield boosted(query, weight) if not near.slop else TQuery.const_score_query(query, model.CLOSE * weight)

    def _holds(self, name: str, word: str) -> bool:
        """Whether a tantivy field holds a word at all: asking, and remembering, costs less than looking for it in every segment."""
        return self.opened.frequency(name, word) > 0

    # ------------------------------------------------------------------------------------------------------- filters

    def filter(self, node: model.Filter) -> TQuery:
        return getattr(self, "_" + type(node).__name__.lower())(node)

    def _and(self, node: model.And) -> TQuery:
        return TQuery.boolean_query([(_MUST, self.filter(child)) for child in node.nodes])

    def _or(self, node: model.Or) -> TQuery:
        return TQuery.boolean_query([(_SHOULD, self.filter(child)) for child in node.nodes])

    def _not(self, node: model.Not) -> TQuery:
        return TQuery.boolean_query([(_MUST, TQuery.all_query()), (_MUST_NOT, self.filter(node.node))])

    def _compare(self, node: model.Compare) -> TQuery:
        if node.op == "!=":
            return self._not(model.Not(model.Compare(node.field, "=", node.value)))
        if node.op == "=":
            slots = self.slots.get(node.field)
            if slots is None:
                return TQuery.empty_query()
            return TQuery.term_query(self.schema, slots.value_name, indexed_value(slots, node.value), "basic")
        if node.op in ("<", "<="):
            return self._range(node.field, None, node.value, include_high=node.op == "<=")
        return self._range(node.field, node.value, None, include_low=node.op == ">=")

    def _in(self, node: model.In) -> TQuery:
        slots = self.slots.get(node.field)
        if slots is None:
            return TQuery.empty_query()
        return TQuery.term_set_query(self.schema, slots.value_name, [indexed_value(slots, value) for value in node.values])

    def _between(self, node: model.Between) -> TQuery:
        return self._range(node.field, node.low, node.high)

    def _range(self, field, low, high, *, include_low: bool = True, include_high: bool = True) -> TQuery:
        slots = self.slots.get(field)
        if slots is None:
            return TQuery.empty_query()
        include_low, include_high = include_low or low is None, include_high or high is None  # an open end is always inclusive
        low, high = (None if value is None else indexed_value(slots, value) for value in (low, high))
        return TQuery.range_query(self.schema, slots.value_name, _TYPES[slots.field.type], low, high, include_low, include_high)

    def _startswith(self, node: model.StartsWith) -> TQuery:
        slots = self.slots.get(node.field)
        if slots is None:
            return TQuery.empty_query()
        pattern = _REGEX_SPECIAL.sub(r"\\\g<0>", node.prefix[: None if slots.field.type == "keyword" else KEYWORD_LENGTH])
        return TQuery.regex_query(self.schema, slots.value_name, f"(?s){pattern}.*")

    def _exists(self, node: model.Exists) -> TQuery:
        return TQuery.term_query(self.schema, "_fields", node.field, "basic")


def boosted(query: TQuery, weight: float) -> TQuery:
    return query if weight == 1.0 else _boost_query(query, weight)


def unscored(query: TQuery) -> TQuery:
    return TQuery.const_score_query(query, 0.0)
