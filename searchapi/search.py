"""The search service: all that both engines share between a checked request and its answer.

How a query is decided, once, whatever the page:

1. every word as typed (or its stem, its synonyms, and for the last word what it begins);
2. where that finds fewer than FEW documents, words may hold typos;
3. where that too falls short and `match` is "relax", any word will do, documents with all of them first. Sorted by fields nothing
   comes first for what it holds, so there any word will do only where no document holds them all.

The step that was taken is the request's `plan`; a cursor carries it, so that all pages, facets and totals speak of one query.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import orjson

from . import analysis, documents
from .engines.base import Engine, Reading
from .highlight import highlight
from .interpret import PREFIXES, TYPOS, Interpretation, interpret
from .model import (
    AnsweredHit,
    Correction,
    Expansion,
    Facet,
    FacetResult,
    Hit,
    IndexInfo,
    Match,
    Query,
    Result,
    SearchAnswer,
    SearchRequest,
    SuggestAnswer,
    Suggestion,
    SuggestRequest,
    TypoRules,
)
from .query import cursor
from .query.limits import Limits

FEW = 10  # documents; fewer than these and the next step of the plan is tried
EXACT, CORRECTED, RELAXED = "exact", "corrected", "relaxed"
COMPLETED_FROM = 3  # letters from which on an unknown word is completed where any word will do
DID_YOU_MEAN = 3  # corrections offered for a word by suggest


class SearchService:
    def __init__(self, engine: Engine, limits: Limits | None = None):
        self.engine = engine
        self.limits = limits or Limits()

    def search(self, info: IndexInfo, request: SearchRequest) -> SearchAnswer:
        """Raises DeadlineExceeded, IndexNotFound, EngineUnavailable."""
        with self.engine.reading(info.name) as reading:
            return _Search(reading, self.limits, info, request).answer()

    def suggest(self, info: IndexInfo, request: SuggestRequest) -> SuggestAnswer:
        """Completions of the last word, and for words that the index does not hold, what may have been meant."""
        with self.engine.reading(info.name) as reading:
            return _suggest(reading, info, request)


def _suggest(reading: Reading, info: IndexInfo, request: SuggestRequest) -> SuggestAnswer:
    fields = (request.field,) if request.field else tuple(f.name for f in info.text_fields)
    made = _outer(analysis.tokens(request.q))
    typing = made[-1] if made and request.q[made[-1].end :] == "" else None
    completions = reading.expand(typing.word, fields, "prefix", 0, request.limit) if typing else []
    corrections, best = [], {}
    for token in made:
        if (token is typing and completions) or reading.frequency(token.word, fields):
            continue
        distance = typos_allowed(token.word, info.settings.typo)
        found = reading.expand(token.word, fields, "typo", distance, DID_YOU_MEAN) if distance else []
        if found:
            best[token] = found
            corrections.append(Correction(request.q[token.start : token.end], tuple(e.word for e in found)))
    if typing in best:
        completions = best[typing][: request.limit]
    suggestions = [_completed(request.q, typing, e) for e in completions] if typing else []
    return SuggestAnswer(tuple(suggestions), tuple(corrections))


class _Search:
    """One search on its way from request to answer."""

    def __init__(self, reading: Reading, limits: Limits, info: IndexInfo, request: SearchRequest):
        self.reading, self.limits, self.info, self.request = reading, limits, info, request
        self.deadline = time.monotonic() + request.timeout_ms / 1000
        self.engine_time = 0.0
        self.corrections: dict[str, list[Expansion]] = {}

    def answer(self) -> SearchAnswer:
        request = self.request
        read = interpret(request.text, self.info, self)
        plan, match, result = self._decide(read)
        hits = result.hits[: request.page.limit]
        return SearchAnswer(
            hits=tuple(self._hit(hit, match) for hit in hits),
            total=result.total,
            total_exact=result.total_exact,
            facets={f.field: result.facets.get(f.field) or _no_facet(f) for f in request.facets},
            corrections=self._corrections(read) if plan != EXACT else (),
            next_offset=self._next_offset(result, len(hits)),
            cursor=self._cursor(result, hits, plan),
            engine_ms=round(self.engine_time * 1000, 3),
            partial=result.partial,
        )

    # ---------------------------------------------------------------------------------------------------- the plan

    def _decide(self, read: Interpretation) -> tuple[str, Match | None, Result]:
        request, any_clause = self.request, self.request.match == "any"
        if not read.required:
            match = Match(excluded=read.excluded) if read.excluded else None
            if request.text.wanted:  # of words that no index holds, as one of thousands of letters
                return EXACT, None, Result((), 0)
            return EXACT, match, self._run(match)
        exact = read.exact(any_clause)
        if request.plan == EXACT:
            return EXACT, exact, self._run(exact)
        total = 0
        if request.plan is None:
            result = self._run(exact, FEW)
            if result.total >= FEW or result.partial:
                return EXACT, exact, result
            total = result.total
        return self._beyond_exact(read, exact, total)

    def _beyond_exact(self, read: Interpretation, exact: Match, total: int) -> tuple[str, Match, Result]:
        """The next steps, where `total` documents, fewer than FEW, hold the words as typed. Only the step that is taken is read."""
        request, plan, match = self.request, EXACT, exact
        may_relax = request.match == "relax" and request.plan != CORRECTED and len(read.required) > 1
        if request.typo and self.info.settings.typo.enabled:
            self.corrections = self._typos(read)
        if request.plan == CORRECTED or (self.corrections and request.plan is None):
            plan, match = CORRECTED, read.corrected(self.corrections, request.match == "any")
            result = self._run(match, FEW if may_relax else 0)
            if result.total >= FEW or not may_relax or result.partial:
                return plan, match, result
            total = result.total
        if may_relax and not (request.sort and total):
            relaxed, corrections = self._relaxed(read)
            result = self._run(relaxed, 0 if request.plan == RELAXED else total + 1)
            if result.total > total or request.plan == RELAXED or result.partial:
                self.corrections = corrections
                return RELAXED, relaxed, result
        return plan, match, self._run(match)

    def _relaxed(self, read: Interpretation) -> tuple[Match, dict[str, list[Expansion]]]:
        """Any word. One that no document holds, and that no typo explains, stands for the words it begins."""
        words = {part.word: part.fields for part in read.required if part.word is not None}
        known = {word for word, fields in words.items() if self.frequency(word, fields)}
        corrections = dict(self.corrections)
        if self.request.typo:
            for word in words.keys() - known - corrections.keys():
                longer = self.expand(word, words[word], "prefix", 0, PREFIXES) if len(word) >= COMPLETED_FROM else []
                if longer:
                    corrections[word] = longer
        return read.relaxed(corrections, known), {word: found for word, found in corrections.items() if word not in known}

    def _typos(self, read: Interpretation) -> dict[str, list[Expansion]]:
        """Corrections of words that are in fewer than FEW documents: one that is in more is what was meant."""
        found = {}
        for part in read.required:
            distance = typos_allowed(part.word, self.info.settings.typo) if part.word is not None else 0
            if distance and self.frequency(part.word, part.fields) >= FEW:
                continue
            if distance and (words := self.expand(part.word, part.fields, "typo", distance, TYPOS)):
                found[part.word] = words
        return found

    def _run(self, match: Match | None, enough: int = 0) -> Result:
        page = self.request.page
        if self._has_cursor:  # one more tells whether there is a next page
            page = replace(page, limit=page.limit + 1 if page.limit else 0)
        asked = self.request
        query = Query(match, asked.filter, asked.facets, asked.sort, page, self.deadline, asked.explain, enough)
        started = time.perf_counter()
        try:
            return self.reading.search(query)
        finally:
            self.engine_time += time.perf_counter() - started

    def expand(self, word: str, fields: Sequence[str], kind: str, distance: int, limit: int) -> list[Expansion]:
        started = time.perf_counter()
        try:
            return self.reading.expand(word, fields, kind, distance, limit)
        finally:
            self.engine_time += time.perf_counter() - started

    def frequency(self, word: str, fields: Sequence[str]) -> int:
        started = time.perf_counter()
        try:
            return self.reading.frequency(word, fields)
        finally:
            self.engine_time += time.perf_counter() - started

    # --------------------------------------------------------------------------------------------------- the answer

    @property
    def _has_cursor(self) -> bool:
        """Whether a cursor can go on: by sort fields, by ids where nothing ranks, or because one was asked for."""
        return bool(self.request.sort) or not self.request.text.wanted or self.request.page.walk

    def _hit(self, hit: Hit, match: Match | None) -> AnsweredHit:
        request, body, highlights = self.request, hit.body, None
        if request.highlight is not None or request.fields is not None:
            document = orjson.loads(body)
            if request.highlight is not None:
                highlights = highlight(document, match or Match(), self.info.fields, self.info.settings.language, request.highlight)
            if request.fields is not None:
                body = orjson.dumps(documents.select(document, request.fields))
        explain = {"score": hit.score, "engine": hit.explain} if request.explain else None
        return AnsweredHit(hit.id, body, highlights, explain)

    def _corrections(self, read: Interpretation) -> tuple[Correction, ...]:
        typed = {part.word: part.typed for part in read.required if part.word is not None}
        return tuple(Correction(typed[word], tuple(e.word for e in found)) for word, found in self.corrections.items())

    def _next_offset(self, result: Result, shown: int) -> int | None:
        page = self.request.page
        following = page.offset + page.limit
        more = shown == page.limit > 0 and result.total > following and page.after is None
        return following if more and following + page.limit <= self.limits.max_page else None

    def _cursor(self, result: Result, hits: tuple[Hit, ...], plan: str) -> str | None:
        if not self._has_cursor or not hits or len(result.hits) <= len(hits):
            return None
        return cursor.encode(hits[-1].sort_values, self.request, self.info, plan)


def _no_facet(facet: Facet) -> FacetResult:
    """What a facet counts where there is nothing to count."""
    if facet.kind == "ranges":
        return FacetResult("ranges", tuple((r.key, 0) for r in facet.ranges))
    stats = {"min": None, "max": None, "avg": None, "sum": 0, "count": 0} if facet.kind == "stats" else None
    return FacetResult(facet.kind, stats=stats)


def typos_allowed(word: str, rules: TypoRules) -> int:
    """0, 1 or 2. Never on numbers: a digit means what it says."""
    if not rules.enabled or any(c.isdigit() for c in word) or word in rules.exact_words:
        return 0
    return 2 if len(word) >= rules.two_from else 1 if len(word) >= rules.one_from else 0


def _outer(tokens: list[analysis.Token]) -> list[analysis.Token]:
    """Without the parts of identifiers, which overlap the words they come from."""
    found: list[analysis.Token] = []
    for token in tokens:
        if not found or token.start >= found[-1].end:
            found.append(token)
    return found


def _completed(q: str, typing: analysis.Token, expansion: Expansion) -> Suggestion:
    """The query with its last word completed; the range is what was added, or the whole word where it was corrected."""
    text = q[: typing.start] + expansion.word
    start = typing.end if expansion.word.startswith(typing.word) and expansion.distance == 0 else typing.start
    return Suggestion(text, ((min(start, len(text)), len(text)),), expansion.frequency)
