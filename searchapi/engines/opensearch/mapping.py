"""A concrete index of OpenSearch: its settings and mapping, and where the fields of documents lie in it.

    id body version gone at   the document's id, JSON, version; that it was deleted, and when it was written (ms since 1970)
    has                       names of the fields that it holds (for EXISTS)
    t/<field>                 a text's words as they stand
    s/<field>                 the same, stemmed by the field's language; not for "none"
    w/<field>                 the same words once each, as columns: what prefixes are completed from
    k/<field>                 whole values of text (`values.keyword_value`) and keyword
    i/<field>                 integers, booleans as 0 or 1, dates as milliseconds since 1970 UTC
    f/<field>                 floats; an inferred integer lies here as well, so that widening it needs no rebuild

A dot in a field's name is a slash here: to OpenSearch a dot means an object.

Words and stems are made by `analysis.py` and come with spaces between them, so both engines have the same words by construction.
Scores agree as well: BM25 as tantivy computes it, which counts documents and words over the whole index, Lucene only over those
documents that have the field. So each document has a mark (MARK) in each text field, in the same place as its first word: it is in
the field's counts of documents and words, and not in the document's length.
https://docs.rs/tantivy/latest/src/tantivy/query/bm25.rs.html; `doc.length`:
https://lucene.apache.org/core/10_0_0/core/org/apache/lucene/search/similarities/Similarity.html
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from ...model import Field

LAYOUT = 1  # of what is described above; another release may lay out differently, and then rebuilds
MARK = "\x01"
K1, B = 1.2, 0.75  # tantivy's

_IDF = "double n = field.docCount; return query.boost * Math.log(1.0 + (n - term.docFreq + 0.5) / (term.docFreq + 0.5));"
_SCORE = (
    "double n = field.docCount; double average = (field.sumTotalTermFreq - n) / n;"
    f" double norm = {K1} * ({1 - B} + {B} * doc.length / average);"
    f" return weight * doc.freq * {1 + K1} / (doc.freq + norm);"
)

SETTINGS: dict[str, Any] = {
    "number_of_shards": 1,  # scores, facets and the order of writes are exact on one
    "auto_expand_replicas": "0-1",
    "refresh_interval": "500ms",
    "mapping.total_fields.limit": 10_000,
    "max_result_window": 100_000,
    "max_regex_length": 20_000,  # distance.py's patterns
    "analysis": {  # only what bears the mark is taken apart: a pattern that fits every word takes a fifth of the time of indexing
        "filter": {"mark": {"type": "pattern_capture", "preserve_original": False, "patterns": [f"^({MARK})(.+)$"]}},
        "analyzer": {"words": {"type": "custom", "tokenizer": "whitespace", "filter": ["mark"]}},
    },
    "similarity": {
        "words": {"type": "scripted", "weight_script": {"source": _IDF}, "script": {"source": _SCORE}},
    },
}

_UNSEARCHED = {"type": "keyword", "index": False, "doc_values": False}
_KEYWORD = {"type": "keyword"}
_WORDS = {"type": "text", "analyzer": "words", "similarity": "words", "position_increment_gap": 1}
_COLUMN = {"type": "keyword", "index": False}
_SOURCE = ("id", "body", "version", "gone", "at")


def index_body(fields: Iterable[Field]) -> dict[str, Any]:
    """What creates a concrete index for these fields."""
    fixed = {
        "id": _KEYWORD,
        "body": _UNSEARCHED,
        "version": {"type": "long", "index": False, "doc_values": False},
        "gone": {"type": "boolean"},
        "at": {"type": "long"},
        "has": _KEYWORD,
    }
    mappings = {
        "dynamic": "strict",
        "_meta": {"layout": LAYOUT},
        "_source": {"includes": list(_SOURCE)},
        "properties": fixed | properties(fields),
    }
    return {"settings": {"index": SETTINGS}, "mappings": mappings}


def properties(fields: Iterable[Field]) -> dict[str, Any]:
    """The part of a mapping that these fields are."""
    found: dict[str, Any] = {}
    for field in fields:
        if field.is_text:
            found[words(field)] = _WORDS
            found[vocabulary(field)] = _COLUMN
            if (stemmed := stems(field)) is not None:
                found[stemmed] = _WORDS
        if field.type == "keyword" or (field.is_text and field.keyword):
            found[f"k/{_name(field)}"] = _KEYWORD
        elif field.type in ("integer", "boolean", "date"):
            found[f"i/{_name(field)}"] = {"type": "long"}
        if has_float(field):
            found[f"f/{_name(field)}"] = {"type": "double"}
    return found


def words(field: Field) -> str:
    return f"t/{_name(field)}"


def stems(field: Field) -> str | None:
    return None if field.language == "none" else f"s/{_name(field)}"


def vocabulary(field: Field) -> str:
    return f"w/{_name(field)}"


def has_float(field: Field) -> bool:
    return field.type == "float" or (field.type == "integer" and field.inferred)


def value_name(field: Field) -> str:
    """Where whole values lie, of the type to filter, facet and sort by."""
    kind = {"text": "k", "keyword": "k", "float": "f"}.get(field.type, "i")
    return f"{kind}/{_name(field)}"


def _name(field: Field) -> str:
    return field.name.replace(".", "/")


# ------------------------------------------------------------------------------------------------- what needs a rebuild


def joined(placed: Mapping[str, Field], wanted: Mapping[str, Field]) -> dict[str, Field] | None:
    """The fields that a concrete index holds, once `wanted` have joined those that it holds now; None where one of them must be
    filled anew, so that only another index can hold them."""
    found = dict(placed)
    for name, field in wanted.items():
        old = placed.get(name)
        if old is not None and not _same_place(old, field):
            return None
        found[name] = field
    return found


def _same_place(old: Field, new: Field) -> bool:
    widened = old.type == "integer" and new.type == "float" and has_float(old)
    if new.type != old.type and not widened:
        return False
    if new.type == "integer" and has_float(new) and not has_float(old):
        return False
    return not new.is_text or (new.language == old.language and (old.keyword or not new.keyword))
