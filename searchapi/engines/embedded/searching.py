"""One search over one snapshot: the query compiled, run, its hits read from the very segments that matched them."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import orjson
import tantivy
from tantivy import DocAddress, FieldType, Occur, Order
from tantivy import Query as TQuery

from ... import model
from ...exceptions import DeadlineExceeded
from ...model import Expansion, Hit, Query, Result, Sort
from .compile import Compiler
from .facets import FacetCounter, count
from .generation import Slots
from .index import Snapshot


class Reading:
    """One moment of an index, for all the steps of one request. snapshot: None for an index that no generation has ever
    answered for, which is empty to a search."""

    def __init__(self, snapshot: Snapshot | None):
        self._snapshot = snapshot

    def search(self, query: Query) -> Result:
        return Search(self._snapshot, query).run() if self._snapshot else Result((), 0)

    def expand(self, word: str, fields: Sequence[str], kind: str, distance: int, limit: int) -> list[Expansion]:
        snapshot = self._snapshot
        if snapshot is None:
            return []
        columns = _columns(snapshot, fields)
        if kind == "prefix":
            return snapshot.opened.recall(("prefix", word, columns, limit), lambda: prefixed(snapshot, word, columns, limit))
        question = ("typo", word, columns, distance, limit)
        return snapshot.opened.recall(question, lambda: misspelt(snapshot, word, columns, distance, limit))

    def frequency(self, word: str, fields: Sequence[str]) -> int:
        snapshot = self._snapshot
        if snapshot is None:
            return 0
        return frequency(snapshot, word, _columns(snapshot, fields))

    def matching(self, filter: model.Filter, upto: int, limit: int) -> list[tuple[str, int]]:
        """(id, seq) of at most `limit` documents that match and were written up to `upto`."""
        return matching(self._snapshot, filter, upto, limit) if self._snapshot else []


TIES = 16  # hits ranked beyond a page, so that equal scores around its end are ordered by id
MANY_TIES = 500  # the same where more are equal; beyond so many, equal scores stay in the order of the segments


class Search:
    """`Query` on one `Snapshot`. Tantivy cannot be cancelled: the deadline is checked between steps."""

    def __init__(self, snapshot: Snapshot, query: Query):
        self.snapshot = snapshot
        self.searcher = snapshot.searcher
        self.query = query
        self.compiler = Compiler(snapshot)
        self._read: dict[tuple[int, int], tantivy.Document] = {}

    def run(self) -> Result:
        self._in_time()
        compiled = self.compiler.query(self.query.match, self.query.filter)
        by_relevance = not self.query.sort and self.query.match is not None and bool(self.query.match.clauses)
        hits, total = (self._by_relevance if by_relevance else self._by_fields)(compiled)
        if total < self.query.enough:
            return Result((), total)
        facets = {}
        if self.query.facets:
            self._in_time()
            counter = FacetCounter(self.searcher, self.compiler, self.query, lambda f: self.compiler.query(self.query.match, f))
            facets = counter.count(compiled, total)
        self._in_time()
        return Result(tuple(hits), total, facets=facets)

    def _in_time(self) -> None:
        if self.query.deadline is not None and time.monotonic() > self.query.deadline:
            raise DeadlineExceeded("The search did not finish within its timeout_ms.")

    # -------------------------------------------------------------------------------------------------- by relevance

    def _by_relevance(self, compiled: TQuery) -> tuple[list[Hit], int]:
        page = self.query.page
        wanted = page.offset + page.limit
        found = self.searcher.search(compiled, max(1, wanted + TIES), count=True)
        if (
            0 < wanted < len(found.hits) < found.count and found.hits[wanted - 1][0] == found.hits[-1][0]
        ):  # no end of equals in sight
            found = self.searcher.search(compiled, wanted + MANY_TIES, count=True)
        if found.count < self.query.enough:
            return [], found.count
        ranked = self._ties_by_id(found.hits, page.offset, wanted)
        return [self._hit(address, compiled, score=score) for score, address in ranked[page.offset : wanted]], found.count

    def _ties_by_id(self, hits: list[tuple[float, DocAddress]], start: int, end: int) -> list[tuple[float, DocAddress]]:
        """The hits with every run of equal scores that reaches into [start, end) ordered by id."""
        ordered, at = list(hits), 0
        while at < min(end, len(hits)):
            after = at + 1
            while after < len(hits) and hits[after][0] == hits[at][0]:
                after += 1
            if after > start and after - at > 1:
                ordered[at:after] = sorted(hits[at:after], key=lambda hit: self._id(hit[1]))
            at = after
        return ordered

    def _id(self, address: DocAddress) -> str:
        return self._document(address).get_first("_id")

    def _document(self, address: DocAddress) -> tantivy.Document:
        """Read once, for its place among equal scores and for its body."""
        key = (address.segment_ord, address.doc)
        document = self._read.get(key)
        if document is None:
            document = self._read[key] = self.searcher.doc(address)
        return document

    def _hit(self, address: DocAddress, compiled: TQuery, score: float | None = None, values: tuple | None = None) -> Hit:
        document = self._document(address)
        explanation = orjson.loads(compiled.explain(self.searcher, address).to_json()) if self.query.explain else None
        return Hit(document.get_first("_id"), document.get_first("_body"), score, values, explanation)

    # ----------------------------------------------------------------------------------------------------- by fields

    def _by_fields(self, compiled: TQuery) -> tuple[list[Hit], int]:
        """By the sort fields and then the id: one composite aggregation, the only order of several fields that is exact
        (`top_hits` gives null for text, `order_by_field` takes one field)."""
        page, total = self.query.page, count(self.searcher, compiled)
        if not page.limit or total < self.query.enough:
            return [], total
        rows = self._keys(compiled, page.offset + page.limit)[page.offset :]
        addresses = self._addresses([row[-1] for row in rows])
        hits = [self._hit(addresses[row[-1]], compiled, values=row) for row in rows]
        return hits, total

    def _keys(self, compiled: TQuery, size: int) -> list[tuple[Any, ...]]:
        if not self.query.sort and self.query.page.after is None:
            found = self.searcher.search(compiled, size, count=False, order_by_field="_id", order=Order.Asc)
            return [(value,) for value, _ in found.hits]
        sorts = [(n, sort, slots) for n, sort in enumerate(self.query.sort) if (slots := self.compiler.slots.get(sort.field))]
        composite: dict[str, Any] = {
            "size": size,
            "sources": [*(_source(n, s, slots) for n, s, slots in sorts), {"id": {"terms": {"field": "_id"}}}],
        }
        after = self.query.page.after
        if after is not None:
            composite["after"] = {str(n): _after(slots, after[n]) for n, _, slots in sorts} | {"id": f"str:{after[-1]}"}
        buckets = self.searcher.aggregate(compiled, {"page": {"composite": composite}})["page"]["buckets"]
        kinds = {n: slots.field.type for n, _, slots in sorts}
        # A field that no document of this generation has is missing everywhere: it orders nothing.
        return [
            (*(_value(kinds.get(n), bucket["key"].get(str(n))) for n in range(len(self.query.sort))), bucket["key"]["id"])
            for bucket in buckets
        ]

    def _addresses(self, ids: Sequence[str]) -> dict[str, DocAddress]:
        if not ids:
            return {}
        found = self.searcher.search(TQuery.term_set_query(self.snapshot.schema, "_id", list(ids)), len(ids), count=False)
        return {self._id(address): address for _, address in found.hits}


def matching(snapshot: Snapshot, filter: model.Filter, upto: int, limit: int) -> list[tuple[str, int]]:
    """(id, seq) of at most `limit` documents that match and were written up to `upto`."""
    searcher, compiler = snapshot.searcher, Compiler(snapshot)
    old = TQuery.range_query(snapshot.schema, "_seq", FieldType.Integer, None, upto)
    query = TQuery.boolean_query([(Occur.Must, compiler.query(None, filter)), (Occur.Must, old)])
    addresses = [address for _, address in searcher.search(query, limit, count=False).hits]
    seqs = searcher.fast_field_values("_seq", addresses)
    return [(searcher.doc(address).get_first("_id"), seq) for address, seq in zip(addresses, seqs, strict=True)]


def _source(n: int, sort: Sort, slots: Slots) -> dict[str, Any]:
    order = "desc" if sort.descending else "asc"
    return {str(n): {"terms": {"field": slots.value_name, "order": order, "missing_bucket": True, "missing_order": "last"}}}


def _after(slots: Slots, value: Any) -> str:
    """A sort value as tantivy spells it in the key to go on after."""
    if value is None:
        return "null:"
    kind = slots.field.type
    if kind in ("text", "keyword"):
        return f"str:{value}"
    return f"f64:{float(value)!r}" if kind == "float" else f"i64:{int(value)}"


def _value(kind: str | None, key: Any) -> Any:
    if key is None or kind is None:
        return None
    return float(key) if kind == "float" else key if isinstance(key, str) else int(key)


# ------------------------------------------------------------------------------------------------------- vocabulary

CANDIDATES = 100  # words a typo is compared with, the most frequent first


def prefixed(snapshot: Snapshot, word: str, columns: tuple[str, ...], limit: int) -> list[Expansion]:
    """Words that `word` begins, the most frequent first."""
    counts: dict[str, int] = {}
    for name in columns:
        for found, n in snapshot.searcher.terms_with_prefix(name, word, None, limit + 1):
            counts[found] = max(n, counts.get(found, 0))
    counts.pop(word, None)
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
    return [Expansion(found, 0, n) for found, n in ranked]


def misspelt(snapshot: Snapshot, word: str, columns: tuple[str, ...], distance: int, limit: int) -> list[Expansion]:
    """Words within `distance` (1 or 2) typos of `word`, by (distance, frequency)."""
    near = _within(snapshot, word, 1)
    distances = (
        dict.fromkeys(_within(snapshot, word, distance), 2) | dict.fromkeys(near, 1) if distance > 1 else dict.fromkeys(near, 1)
    )
    counted = [Expansion(w, d, n) for w, d in distances.items() if (n := frequency(snapshot, w, columns))]
    return sorted(counted, key=lambda e: (e.distance, -e.frequency, e.word))[:limit]


def _within(snapshot: Snapshot, word: str, distance: int) -> set[str]:
    """Insertions, deletions, substitutions and swaps of neighbours count as one typo each (Damerau-Levenshtein)."""
    query = TQuery.fuzzy_term_query(snapshot.words_schema, "word", word, distance)
    found = snapshot.words.search(query, CANDIDATES, count=False, order_by_field="n")
    return {snapshot.words.doc(address).get_first("word") for _, address in found.hits} - {word}


def frequency(snapshot: Snapshot, word: str, columns: tuple[str, ...]) -> int:
    """Documents that hold the word in the field that has most of them."""
    return max((snapshot.opened.frequency(name, word) for name in columns), default=0)


def _columns(snapshot: Snapshot, fields: Sequence[str]) -> tuple[str, ...]:
    """Where the words of these fields are, as they stand."""
    slots = snapshot.placement.slots
    return tuple(f"t{found.text}" for name in fields if (found := slots.get(name)) is not None and found.text is not None)
