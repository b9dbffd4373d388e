"""The values that flow through searchapi: frozen, engine-neutral, no I/O, no Flask.

    routes -> query.parse -> SearchRequest -> search.py -> Query -> engine -> Result -> SearchAnswer -> serialise

A `SearchRequest` is what the client asked for, checked against the index's fields. A `Query` is what the engine runs:
every word already resolved to exact terms (prefixes and typos expanded, synonyms joined), so that both engines match alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

# ----------------------------------------------------------------------------------------------- fields and settings

FieldType = Literal["text", "keyword", "integer", "float", "boolean", "date"]
FIELD_TYPES: tuple[str, ...] = ("text", "keyword", "integer", "float", "boolean", "date")


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an index, declared in its settings or inferred from its documents.

    name:     dotted for objects (`author.name`).
    boost:    factor on the scores of matches in this field (text only), > 0.
    language: of the stemmer and stop words; None means the index's language (text only).
    keyword:  a text field's whole values can also be filtered, faceted and sorted (its keyword twin).
    array:    some document has held several values; such a field cannot be sorted by.
    inferred: from documents, not from settings; an inferred integer may widen to float.
    """

    name: str
    type: FieldType
    boost: float = 1.0
    language: str | None = None
    keyword: bool = True
    array: bool = False
    inferred: bool = False

    @property
    def is_text(self) -> bool:
        return self.type == "text"

    @property
    def has_values(self) -> bool:
        """Whether whole values can be filtered, faceted and sorted."""
        return self.type != "text" or self.keyword


@dataclass(frozen=True, slots=True)
class Synonyms:
    """One synonym rule, of phrases as typed. Two-way: every phrase finds every other (`sources == targets`).
    One-way: a source finds the targets as well as itself, never the reverse."""

    sources: tuple[str, ...]
    targets: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class TypoRules:
    """From how many letters on a word may hold one or two typos (Algolia's and Meilisearch's habit: 5 and 9)."""

    enabled: bool = True
    one_from: int = 5
    two_from: int = 9
    exact_words: tuple[str, ...] = ()  # never corrected


@dataclass(frozen=True, slots=True)
class IndexSettings:
    """What a user sets for an index. `fields` holds only declared fields; inferred ones are in `IndexInfo.fields`.

    stop_words: None means the language's own list; () means none.
    dynamic:    False refuses documents with fields that are not declared.
    """

    primary_key: str = "id"
    language: str = "english"
    fields: Mapping[str, Field] = field(default_factory=dict)
    stop_words: tuple[str, ...] | None = None
    synonyms: tuple[Synonyms, ...] = ()
    typo: TypoRules = TypoRules()
    dynamic: bool = True


@dataclass(frozen=True, slots=True)
class IndexInfo:
    """An index as it stands. `fields`: declared and inferred together, by name. `version` moves with every change of
    settings or fields, so that it can key caches."""

    name: str
    uid: str
    created_at: str  # RFC 3339, UTC
    settings: IndexSettings
    fields: Mapping[str, Field]
    version: int

    @property
    def text_fields(self) -> tuple[Field, ...]:
        return tuple(f for f in self.fields.values() if f.type == "text")


@dataclass(frozen=True, slots=True)
class SettingsChange:
    """What a change of settings does (or, in a dry run, would do)."""

    changed: tuple[str, ...]  # names of the settings that differ, as `fields.title.language`
    rebuild: bool  # needs a new generation, built beside the old one, which goes on answering
    documents: int  # that a rebuild would read
    task_id: str | None = None  # the rebuild's task, where one was started


@dataclass(frozen=True, slots=True)
class IndexProgress:
    """documents: acknowledged. seq: of the newest write. indexed_seq: up to which searches see. lag: writes between the two.
    lag_seconds: age of the oldest unindexed write."""

    documents: int
    seq: int
    indexed_seq: int
    lag: int
    lag_seconds: float


@dataclass(frozen=True, slots=True)
class IndexStats:
    """Its progress, and size_bytes: documents + index on disk."""

    documents: int
    size_bytes: int
    seq: int
    indexed_seq: int
    lag: int
    lag_seconds: float
    rebuilding: bool
    fields: Mapping[str, int]  # field -> documents that hold it, where the engine can tell


# ------------------------------------------------------------------------------------------------------- documents


@dataclass(frozen=True, slots=True)
class Document:
    """A stored document. `body` is its JSON (UTF-8), as an object that contains the primary key."""

    id: str
    version: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Operation:
    """One write. kind `put` replaces or creates; `patch` merges into what is there (RFC 7396: null removes a field);
    `delete` removes. `position` is its place in the request, for errors.

    if_match:      the version that must be current, "*" for any (`If-Match: *`: there must be such a document), or None.
    if_none_match: only if there is no such document (`If-None-Match: *`).
    version:       keep this version instead of making one (migration and restore only).
    """

    kind: Literal["put", "patch", "delete"]
    id: str
    document: Mapping[str, Any] | None = None
    position: int = 0
    if_match: int | Literal["*"] | None = None
    if_none_match: bool = False
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one Operation: `version` where it was applied, `error` where not. `created`: was not there before."""

    position: int
    id: str
    version: int | None = None
    created: bool = False
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class WriteResult:
    """`seq`: searches that have seen it have seen every accepted operation. replayed: it is that of an earlier time (Once)."""

    seq: int
    outcomes: tuple[Outcome, ...]
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Once:
    """What is to be done once, however often it is asked for. key: what names it. fingerprint: of all that it consists of, so that
    another one under the same key is told from the same one again."""

    key: str
    fingerprint: bytes


# ---------------------------------------------------------------------------------------------------------- filters
# Values are already of the field's type: str, int, float, bool; dates are integers, milliseconds since 1970 UTC.


@dataclass(frozen=True, slots=True)
class Compare:
    """`field op value`, op one of = != < <= > >=. Never matches a missing value, but for `!=`, which is NOT =."""

    field: str
    op: str
    value: Any


@dataclass(frozen=True, slots=True)
class In:
    field: str
    values: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Between:
    """`field low TO high`, both ends included."""

    field: str
    low: Any
    high: Any


@dataclass(frozen=True, slots=True)
class StartsWith:
    field: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Exists:
    field: str


@dataclass(frozen=True, slots=True)
class Not:
    node: Filter


@dataclass(frozen=True, slots=True)
class And:
    nodes: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class Or:
    nodes: tuple[Filter, ...]


Filter = Compare | In | Between | StartsWith | Exists | Not | And | Or

# ------------------------------------------------------------------------------------------- the q language, parsed


@dataclass(frozen=True, slots=True)
class Word:
    """One word as typed, outside quotes. field: from `field:word`, or None for all text fields. last: it ends the query with
    nothing typed after it, so that it may be the beginning of a longer word."""

    text: str
    field: str | None = None
    last: bool = False
    position: int = 0  # in q, code points


@dataclass(frozen=True, slots=True)
class Phrase:
    """Words in quotes: in this order, next to each other, never corrected."""

    text: str
    field: str | None = None
    position: int = 0


@dataclass(frozen=True, slots=True)
class TextQuery:
    """The q language after parsing: `wanted` and `excluded` parts in the order typed."""

    wanted: tuple[Word | Phrase, ...] = ()
    excluded: tuple[Word | Phrase, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not self.wanted and not self.excluded


# --------------------------------------------------------------------------------------------- sort, pages, facets


@dataclass(frozen=True, slots=True)
class Sort:
    field: str
    descending: bool = False


@dataclass(frozen=True, slots=True)
class Page:
    """limit and offset in hits; `after` the sort values of the last hit seen, from a cursor (None: from the start).

    walk: all pages are cut from one moment of the index, by a cursor in any order; only where the engine can
    (`Capabilities.relevance_cursor`), and asked for only in order of relevance. `after` is then (moment, score, id)."""

    limit: int = 20
    offset: int = 0
    after: tuple[Any, ...] | None = None
    walk: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """A bucket of a range facet: low <= value < high, either end open with None. `key` names it in the answer."""

    key: str
    low: float | int | None
    high: float | int | None


@dataclass(frozen=True, slots=True)
class Facet:
    """One facet to count. kind `terms` counts values (at most `limit`, most frequent first, ties by value), `ranges` counts
    buckets, `stats` gives min max avg sum count. `exclude`: leave this facet's own filter out of its counts: every top-level
    AND part of the filter that speaks only of this field."""

    field: str
    kind: Literal["terms", "ranges", "stats"] = "terms"
    limit: int = 20
    ranges: tuple[Range, ...] = ()
    exclude: bool = False


@dataclass(frozen=True, slots=True)
class Highlight:
    """fields: to mark, () for all text fields. tags: None answers ranges, a pair answers HTML-safe marked text.
    snippet_length: 0 gives whole values, else windows of about so many code points around the matches."""

    fields: tuple[str, ...] = ()
    tags: tuple[str, str] | None = None
    snippet_length: int = 0


MatchMode = Literal["all", "any", "relax"]


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """What a client asked for, checked against the index's fields by `query.parse`."""

    text: TextQuery = TextQuery()
    q: str = ""
    filter: Filter | None = None
    facets: tuple[Facet, ...] = ()
    sort: tuple[Sort, ...] = ()
    page: Page = Page()
    fields: tuple[str, ...] | None = None  # of the documents to answer; None: whole documents
    highlight: Highlight | None = None
    match: MatchMode = "relax"
    typo: bool = True
    timeout_ms: int = 1000
    explain: bool = False
    plan: str | None = None  # the decision of the first page, carried in the cursor: see search.py


@dataclass(frozen=True, slots=True)
class SuggestRequest:
    """Completions of the last word of q, and did-you-mean for the rest. `field`: only from this text field."""

    q: str
    field: str | None = None
    limit: int = 8


# -------------------------------------------------------------------------- what an engine runs: every word resolved


@dataclass(frozen=True, slots=True)
class Term:
    """One analysed word. fields: names of text fields. weight: factor on its score. stem: also match its stem (a little
    lower than the word as it stands); False for corrections and prefixes, which are words of the index already."""

    word: str
    fields: tuple[str, ...]
    weight: float = 1.0
    stem: bool = True


@dataclass(frozen=True, slots=True)
class Near:
    """Words within `slop` moves of this order, compared as they stand (`stem` False) or by their stems; `words` are never stemmed
    yet. Scored by its best field alone: a phrase (slop 0) as the words it consists of, else `CLOSE`."""

    words: tuple[str, ...]
    fields: tuple[str, ...]
    slop: int = 0
    weight: float = 1.0
    stem: bool = False


@dataclass(frozen=True, slots=True)
class AnyOf:
    """Matches where any node does, scored by its best node (dis_max)."""

    nodes: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class AllOf:
    """Matches where all nodes do, scored by their sum."""

    nodes: tuple[Node, ...]


Node = Term | Near | AnyOf | AllOf


@dataclass(frozen=True, slots=True)
class Match:
    """The text part of a Query. A document matches if `clauses` do (all of them, or any where `any_clause`) and none of
    `excluded`. Its score is the sum of its matching clauses, plus that of the `extras` that match (proximity), plus `TIER` for
    each of `tiers` that matches: so documents that fulfil more tiers always rank above those that fulfil fewer. A field's boost
    counts with the power `boost_power`: below 1, where a word is found matters less."""

    clauses: tuple[Node, ...] = ()
    any_clause: bool = False
    excluded: tuple[Node, ...] = ()
    extras: tuple[Node, ...] = ()
    tiers: tuple[Node, ...] = ()
    boost_power: float = 1.0


STEM_WEIGHT = 0.8  # of a stem beside the word as it stands, so that the same form ranks first
TIE_BREAKER = 0.2  # of the other fields' scores, beside the best one's
CLOSE = 10.0  # the score of words near each other: how often, and how near, engines count differently
TIER = 1000.0  # above any sum of BM25 scores that the caps on clauses allow; f32 keeps 1e-4 of resolution beside it


@dataclass(frozen=True, slots=True)
class Query:
    """What an engine runs. An engine may assume that it is valid for the index. match None matches everything.
    sort () means by relevance where there is a match with clauses, else by id. Every order ends in the id, ascending.
    enough: where fewer documents match, only `total` is wanted: the caller will ask another way."""

    match: Match | None = None
    filter: Filter | None = None
    facets: tuple[Facet, ...] = ()
    sort: tuple[Sort, ...] = ()
    page: Page = Page()
    deadline: float | None = None  # time.monotonic() seconds; checked between steps
    explain: bool = False
    enough: int = 0


@dataclass(frozen=True, slots=True)
class Hit:
    """body: JSON bytes from the same snapshot that matched. sort_values: what a cursor carries, where there can be one."""

    id: str
    body: bytes
    score: float | None = None
    sort_values: tuple[Any, ...] | None = None
    explain: Any = None


@dataclass(frozen=True, slots=True)
class FacetResult:
    """terms: `values` [(value, count)], `other` documents' values beyond the limit. ranges: `values` [(key, count)]. `missing`:
    matching documents without the field. stats: {min, max, avg, sum, count} with None for an empty set."""

    kind: str
    values: tuple[tuple[Any, int], ...] = ()
    other: int = 0
    missing: int = 0
    stats: Mapping[str, float | int | None] | None = None


@dataclass(frozen=True, slots=True)
class Result:
    hits: tuple[Hit, ...]
    total: int
    total_exact: bool = True
    facets: Mapping[str, FacetResult] = field(default_factory=dict)
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Expansion:
    """A word of the index close to one that was typed. frequency: documents that hold it, roughly."""

    word: str
    distance: int
    frequency: int


@dataclass(frozen=True, slots=True)
class Correction:
    """`word` as typed was also searched as `to`, best first."""

    word: str
    to: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Marked:
    """A highlighted value: code-point ranges [start, end) into text; `html` instead where tags were asked for."""

    text: str
    ranges: tuple[tuple[int, int], ...] = ()
    html: str | None = None


@dataclass(frozen=True, slots=True)
class AnsweredHit:
    """A hit as it goes out. document: JSON bytes, whole or narrowed to the fields asked for."""

    id: str
    document: bytes
    highlights: Mapping[str, Marked | tuple[Marked, ...]] | None = None
    explain: Any = None


@dataclass(frozen=True, slots=True)
class SearchAnswer:
    """cursor: goes on after the last hit, None where there is no more or the engine cannot. offset: of the next page, where
    paging by offset can go on. engine_ms: wall time of Engine.search and expand."""

    hits: tuple[AnsweredHit, ...]
    total: int
    total_exact: bool
    facets: Mapping[str, FacetResult]
    corrections: tuple[Correction, ...]
    next_offset: int | None
    cursor: str | None
    engine_ms: float
    partial: bool = False


@dataclass(frozen=True, slots=True)
class Suggestion:
    """text: the query completed. ranges: code-point ranges of what was added or matched. count: documents that hold the word."""

    text: str
    ranges: tuple[tuple[int, int], ...]
    count: int


@dataclass(frozen=True, slots=True)
class SuggestAnswer:
    suggestions: tuple[Suggestion, ...]
    corrections: tuple[Correction, ...]


# -------------------------------------------------------------------------------------------------- system records


@dataclass(frozen=True, slots=True)
class Task:
    """Long work. status: queued, running, succeeded, failed. progress: done of total, where it can be told."""

    id: str
    kind: str
    index: str | None
    status: str
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    done: int = 0
    total: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """An API key as it is kept: everything but its secret. Times are RFC 3339, UTC.

    digest:            keyed hash of the secret; previous_digest is that of the secret before, valid until previous_until.
    scopes:            what it may do; see keystore.SCOPES.
    indexes:           names and `prefix*` of the indexes that it may know of.
    rate_limit:        `600/minute` in units of cost, instead of RATE_LIMIT_PER_KEY; rate_limit_per_ip the same for each address.
    max_page_size:     hits or documents on a page, where that is less than MAX_PAGE_SIZE.
    epoch:             counts rotations: what was signed under an older one is no longer valid.
    made_with:         fingerprint of the SECRET_KEY that the digest was made with; empty where it is not known.
    """

    id: str
    digest: str
    scopes: tuple[str, ...]
    indexes: tuple[str, ...]
    created_at: str
    description: str = ""
    expires_at: str | None = None
    last_used_at: str | None = None
    revoked_at: str | None = None
    rate_limit: str | None = None
    rate_limit_per_ip: str | None = None
    max_page_size: int | None = None
    previous_digest: str | None = None
    previous_until: str | None = None
    epoch: int = 1
    made_with: str = ""


@dataclass(frozen=True, slots=True)
class EngineHealth:
    """ok: can search. detail: figures for `/db-health` (latency_ms, documents, indexes, writable …)."""

    ok: bool
    detail: Mapping[str, Any] = field(default_factory=dict)
    reason: str | None = None
