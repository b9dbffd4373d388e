"""What a search should find, worked out the slow and obvious way over raw documents: the oracle for the engines' tests.

Nothing here knows an engine. Values are made comparable as the contract says: dates become integers (milliseconds since 1970
UTC), integers in a float field floats, `null` and `[]` no value at all.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from searchapi import analysis
from searchapi.model import And, Between, Compare, Exists, Field, Filter, In, Not, Or, Range, Sort, StartsWith

Raw = Mapping[str, Any]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ORDER = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge, "=": operator.eq}


def millis(text: str) -> int:
    """RFC 3339, or a day alone (its midnight UTC), as milliseconds since 1970 UTC."""
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // timedelta(milliseconds=1)


def values(document: Raw, name: str, type: str = "keyword") -> list:
    """All values that a document holds in a field, by dotted name, in the type's comparable form. Integer ids are strings."""
    convert = {"date": millis, "float": float, "keyword": str}.get(type, lambda value: value)
    return [convert(value) for value in _leaves(document, name.split(".")) if value is not None]


def _leaves(found: Any, path: Sequence[str]) -> list:
    if isinstance(found, list):
        return [leaf for element in found for leaf in _leaves(element, path)]
    if path:
        return _leaves(found.get(path[0]), path[1:]) if isinstance(found, Mapping) else []
    return [found]


def matches(node: Filter | None, document: Raw, fields: Mapping[str, Field]) -> bool:
    """Whether a document passes a filter. Missing values pass no comparison, `NOT` is the complement, `!=` is NOT =."""

    def any_value(name: str, test) -> bool:
        return any(test(value) for value in values(document, name, fields[name].type))

    match node:
        case None:
            return True
        case Compare(field, "!=", value):
            return not any_value(field, lambda held: held == value)
        case Compare(field, op, value):
            return any_value(field, lambda held: _ORDER[op](held, value))
        case In(field, wanted):
            return any_value(field, lambda held: held in wanted)
        case Between(field, low, high):
            return any_value(field, lambda held: low <= held <= high)
        case StartsWith(field, prefix):
            return any_value(field, lambda held: held.startswith(prefix))
        case Exists(field):
            return any_value(field, lambda held: True)
        case Not(inner):
            return not matches(inner, document, fields)
        case And(nodes):
            return all(matches(inner, document, fields) for inner in nodes)
        case Or(nodes):
            return any(matches(inner, document, fields) for inner in nodes)
    raise AssertionError(f"no such filter node: {node!r}")


def order(documents: Iterable[Raw], sort: Sequence[Sort], fields: Mapping[str, Field]) -> list[str]:
    """The ids in order: field by field, missing values last both ways, ties by id ascending."""
    ordered = sorted(documents, key=lambda document: str(document["id"]))
    for key in reversed(sort):
        held = {id(d): values(d, key.field, fields[key.field].type) for d in ordered}
        present = [d for d in ordered if held[id(d)]]
        present.sort(key=lambda d: held[id(d)][0], reverse=key.descending)  # ties keep their order
        ordered = present + [d for d in ordered if not held[id(d)]]
    return [str(document["id"]) for document in ordered]


def terms(documents: Iterable[Raw], name: str, limit: int, type: str = "keyword") -> tuple[list[tuple[Any, int]], int, int]:
    """(values with the number of documents that hold each, the sum beyond the limit, documents without a value)."""
    documents = list(documents)
    counts = Counter(value for d in documents for value in set(values(d, name, type)))
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return ranked[:limit], sum(n for _, n in ranked[limit:]), sum(not values(d, name, type) for d in documents)


def ranges(documents: Iterable[Raw], name: str, buckets: Sequence[Range], type: str) -> list[tuple[str, int]]:
    """Documents with a value in low <= value < high, for each bucket."""

    def holds(document: Raw, bucket: Range) -> bool:
        held = values(document, name, type)
        return any((bucket.low is None or bucket.low <= v) and (bucket.high is None or v < bucket.high) for v in held)

    documents = list(documents)
    return [(bucket.key, sum(holds(d, bucket) for d in documents)) for bucket in buckets]


def stats(documents: Iterable[Raw], name: str, type: str) -> dict[str, float | int | None]:
    """min, max, avg, sum and count of all values; None for all but the count (and the sum) where there is none."""
    held = [value for d in documents for value in values(d, name, type)]
    if not held:
        return {"min": None, "max": None, "avg": None, "sum": None, "count": 0}
    return {"min": min(held), "max": max(held), "avg": sum(held) / len(held), "sum": sum(held), "count": len(held)}


# ----------------------------------------------------------------------------------------------------------- words


def vocabulary(documents: Iterable[Raw], fields: Iterable[Field]) -> Counter[str]:
    """Every word of the text fields, the forms of identifiers included, with the number of documents that hold it."""
    fields = list(fields)
    return Counter(word for d in documents for word in set().union(*(_words(d, f.name) for f in fields)))


def _words(document: Raw, name: str) -> set[str]:
    texts = values(document, name)
    return {word for text in texts for word in analysis.words(text) + analysis.words(analysis.identifier_forms(text))}


def holds(document: Raw, word: str, fields: Iterable[Field], default_language: str) -> bool:
    """Whether any of the fields holds the word as it stands or its stem."""
    for field in fields:
        language = field.language or default_language
        held = _words(document, field.name)
        if word in held or analysis.stem(word, language) in {analysis.stem(w, language) for w in held}:
            return True
    return False


def distance(left: str, right: str) -> int:
    """Damerau-Levenshtein (optimal string alignment): letters put in, left out, exchanged, or two neighbours swapped."""
    rows = [[max(i, j) if 0 in (i, j) else 0 for j in range(len(right) + 1)] for i in range(len(left) + 1)]
    for i, a in enumerate(left, 1):
        for j, b in enumerate(right, 1):
            rows[i][j] = min(rows[i - 1][j] + 1, rows[i][j - 1] + 1, rows[i - 1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                rows[i][j] = min(rows[i][j], rows[i - 2][j - 2] + 1)
    return rows[-1][-1]
