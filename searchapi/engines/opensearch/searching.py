"""What is asked of an index when it is searched. One search is one request, so all of its answer is of one moment."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

from ...exceptions import DeadlineExceeded
from ...model import Expansion, Field, Hit, Query, Result
from . import facets, mapping, sorting
from .client import Cluster, NotThere
from .compile import GONE, Compiler
from .distance import distance as typos_between
from .distance import other_first_letter, quoted
from .moments import KEPT, Moments, expired

GRACE = 0.5  # seconds that an answer may come after the deadline that OpenSearch was told
CANDIDATES = 100  # words a typo is compared with
LONGEST = 24  # letters of a word whose first one may be wrong beside another typo: the pattern grows with the square
REMEMBERED = 1.0  # seconds for which what was asked about words is good: as long as a write may take to be seen
MOST_REMEMBERED = 5_000


class Remembered:
    """What was asked about the words of one index, for a moment."""

    def __init__(self) -> None:
        self._answers: dict[Any, tuple[float, Any]] = {}

    def recall(self, question: Any, ask: Callable[[], Any]) -> Any:
        known = self._answers.get(question)
        if known is None or known[0] < time.monotonic():
            if len(self._answers) >= MOST_REMEMBERED:
                self._answers.clear()
            began = time.monotonic()
            known = self._answers[question] = (began + REMEMBERED, ask())
        return known[1]

    def clear(self) -> None:
        self._answers.clear()


class Reading:
    """fields: those that the concrete index holds. own: how the names of all concrete indexes of this index begin."""

    def __init__(self, cluster: Cluster, index: str, fields: dict[str, Field], remembered: Remembered, own: str):
        self.cluster, self.index, self.fields, self.remembered = cluster, index, fields, remembered
        self._moments = Moments(cluster, index, own)

    # -------------------------------------------------------------------------------------------------------- search

    def search(self, query: Query) -> Result:
        compiler = Compiler(self.fields)
        moment = self._moments.of(query.page) if query.page.walk else None
        answer = self._ask(_body(query, compiler, moment), query.deadline)
        total = answer["hits"]["total"]["value"]
        partial = bool(answer["timed_out"])
        if total < query.enough and not partial:
            return Result((), total)
        hits = tuple(_hit(row, query, self.fields, moment) for row in answer["hits"]["hits"])
        if moment is not None and len(hits) < query.page.limit:  # one more than a page: it was the last
            self._moments.forget(moment)
        counted = facets.results(query, compiler, answer["aggregations"]) if query.facets else {}
        return Result(hits, total, total_exact=not partial, facets=counted, partial=partial)

    def _ask(self, body: dict[str, Any], deadline: float | None = None) -> Any:
        timeout = None
        if deadline is not None:
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeadlineExceeded("The search did not finish within its timeout_ms.")
            body["timeout"] = f"{max(1, int(left * 1000))}ms"
            timeout = left + GRACE
        path = "/_search" if "pit" in body else f"/{self.index}/_search"
        try:
            return self.cluster.ask("POST", path, body, again=True, timeout=timeout)
        except NotThere:
            if "pit" not in body:
                raise
            raise expired() from None

    # --------------------------------------------------------------------------------------------------------- words

    def _texts(self, names: Sequence[str]) -> list[Field]:
        return [field for name in names if (field := self.fields.get(name)) is not None and field.is_text]

    def frequency(self, word: str, fields: Sequence[str]) -> int:
        return self._frequencies([word], fields)[word]

    def _frequencies(self, words: Sequence[str], fields: Sequence[str]) -> dict[str, int]:
        """{word: documents that hold it, in the field that has most of them}."""
        names = tuple(mapping.words(field) for field in self._texts(fields))
        asked = tuple(words)
        return self.remembered.recall(("count", asked, names), lambda: self._count(asked, names))

    def _count(self, words: Sequence[str], names: Sequence[str]) -> dict[str, int]:
        if not names or not words:
            return dict.fromkeys(words, 0)
        filters = {f"{n}.{m}": {"term": {name: word}} for n, word in enumerate(words) for m, name in enumerate(names)}
        body = {"size": 0, "track_total_hits": False, "query": _living(filters.values())}
        found = self._ask(body | {"aggs": {"words": {"filters": {"filters": filters}}}})["aggregations"]["words"]["buckets"]
        places = range(len(names))
        return {word: max(found[f"{n}.{m}"]["doc_count"] for m in places) for n, word in enumerate(words)}

    def expand(self, word: str, fields: Sequence[str], kind: str, distance: int, limit: int) -> list[Expansion]:
        texts = self._texts(fields)
        if not texts:
            return []
        names = tuple(field.name for field in texts)
        if kind == "prefix":
            return self.remembered.recall(("prefix", word, names, limit), lambda: self._prefixed(word, texts, limit))
        return self.remembered.recall(("typo", word, names, distance, limit), lambda: self._misspelt(word, texts, distance, limit))

    def _prefixed(self, word: str, texts: list[Field], limit: int) -> list[Expansion]:
        """Words that `word` begins, the most frequent first."""
        begins = [{"prefix": {mapping.words(field): {"value": word}}} for field in texts]
        pattern = quoted(word) + ".+"
        columns = {
            field.name: {"terms": {"field": mapping.vocabulary(field), "include": pattern, "size": limit}} for field in texts
        }
        found = self._ask({"size": 0, "track_total_hits": False, "query": _living(begins), "aggs": columns})["aggregations"]
        counts: dict[str, int] = {}
        for answer in found.values():
            for bucket in answer["buckets"]:
                counts[bucket["key"]] = max(bucket["doc_count"], counts.get(bucket["key"], 0))
        ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))[:limit]
        return [Expansion(found, 0, n) for found, n in ranked]

    def _misspelt(self, word: str, texts: list[Field], distance: int, limit: int) -> list[Expansion]:
        """Words within `distance` typos, by (distance, frequency). OpenSearch's term suggester finds words that may be gone with
        their documents, so those that are left are counted; and with two typos none whose first letter is another, so those are
        asked for by a pattern."""
        answer = self._ask(_near(word, texts, distance))
        frequencies: dict[str, int] = {}
        for entries in answer["suggest"].values():
            for option in (option for entry in entries for option in entry["options"]):
                frequencies[option["text"]] = max(option["freq"], frequencies.get(option["text"], 0))
        counted: dict[str, int] = {}
        for found in answer.get("aggregations", {}).values():
            for bucket in found["buckets"]:
                counted[bucket["key"]] = max(bucket["doc_count"], counted.get(bucket["key"], 0))
        near = {each: typos_between(word, each, distance) for each in frequencies.keys() - counted.keys()}
        likely = sorted((e for e in near if 0 < near[e] <= distance), key=lambda e: (near[e], -frequencies[e], e))[: 2 * limit]
        counted |= self._frequencies(likely, [field.name for field in texts]) if likely else {}
        found = [Expansion(each, typos_between(word, each, distance), n) for each, n in counted.items() if n and each != word]
        return sorted(found, key=lambda e: (e.distance, -e.frequency, e.word))[:limit]


def _near(word: str, texts: list[Field], distance: int) -> dict[str, Any]:
    term = {
        "suggest_mode": "always",
        "max_edits": distance,
        "prefix_length": 0,
        "min_word_length": 1,
        "accuracy": 0.0,
        "max_term_freq": 1e9,  # also of a frequent word: whether one is wanted was decided before
        "size": CANDIDATES,
        "shard_size": CANDIDATES,
        "max_inspections": 10,
        "string_distance": "damerau_levenshtein",
        "sort": "frequency",
    }
    suggest = {field.name: {"text": word, "term": term | {"field": mapping.words(field)}} for field in texts}
    body: dict[str, Any] = {"size": 0, "track_total_hits": False, "suggest": suggest}
    if distance > 1 and len(word) <= LONGEST:
        pattern = other_first_letter(word)
        fuzzy = {"value": word, "fuzziness": 2, "prefix_length": 0, "max_expansions": CANDIDATES, "transpositions": True}
        body["query"] = _living({"fuzzy": {mapping.words(field): fuzzy}} for field in texts)
        body["aggs"] = {
            field.name: {"terms": {"field": mapping.vocabulary(field), "include": pattern, "size": CANDIDATES}} for field in texts
        }
    return body


def _living(any_of: Any) -> dict[str, Any]:
    return {"bool": {"filter": [{"bool": {"should": list(any_of), "minimum_should_match": 1}}], "must_not": [GONE]}}


# --------------------------------------------------------------------------------------------------------- one search


def _body(query: Query, compiler: Compiler, moment: str | None) -> dict[str, Any]:
    page = query.page
    body: dict[str, Any] = {
        "query": compiler.query(query.match, None if facets.apart(query) else query.filter),
        "size": page.limit,
        "from": page.offset,
        "track_total_hits": True,
        "sort": _sort(query, compiler.fields),
        "_source": ["body"],
    }
    if query.facets:
        body["aggs"] = facets.requests(query, compiler)
        if facets.apart(query) and query.filter is not None:
            body["post_filter"] = compiler.filter(query.filter)
    if moment is not None:
        body["pit"] = {"id": moment, "keep_alive": KEPT}
    if page.after is not None:
        body["search_after"] = list(page.after[1:]) if page.walk else sorting.after(query, compiler.fields)
    if query.explain:
        body["explain"] = True
    return body


def _by_relevance(query: Query) -> bool:
    return not query.sort and query.match is not None and bool(query.match.clauses)


def _sort(query: Query, fields: dict[str, Field]) -> list[Any]:
    if _by_relevance(query):
        return ["_score", {"id": "asc"}]
    return sorting.order(query, fields)


def _hit(row: dict[str, Any], query: Query, fields: dict[str, Field], moment: str | None) -> Hit:
    by_relevance = _by_relevance(query)
    if moment is not None:
        values: tuple[Any, ...] | None = (moment, row["_score"], row["_id"])
    else:
        values = None if by_relevance else sorting.values(row["sort"], query, fields)
    body = row["_source"]["body"].encode()
    return Hit(row["_id"], body, row["_score"] if by_relevance else None, values, row.get("_explanation"))
