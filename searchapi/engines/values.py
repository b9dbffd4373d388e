"""Whole values as both engines index them, and filters as both take them apart."""

from __future__ import annotations

import hashlib

from .. import model

KEYWORD_LENGTH = 200  # code points of a text's whole value kept in the index as they stand


def keyword_value(value: str) -> str:
    """A text's whole value as its keyword twin holds it. Long ones keep their beginning (for sorting and STARTS WITH) and a hash of
    all of it (so that `=` stays exact), because a column of whole texts would be as large as the texts."""
    if len(value) <= KEYWORD_LENGTH:
        return value
    digest = hashlib.blake2b(value.encode(), digest_size=12).hexdigest()
    return f"{value[:KEYWORD_LENGTH]}\x00{digest}"


def keyword_shown(value: str) -> str:
    """What a person sees of `keyword_value`'s answer."""
    return value.partition("\x00")[0] + "…" if len(value) == KEYWORD_LENGTH + 25 and value[KEYWORD_LENGTH] == "\x00" else value


def without(node: model.Filter | None, field: str) -> model.Filter | None:
    """The filter less its top-level AND parts that speak only of this field."""
    if node is None:
        return None
    parts = node.nodes if isinstance(node, model.And) else (node,)
    kept = tuple(part for part in parts if fields_of(part) != {field})
    if len(kept) == len(parts):
        return node
    return None if not kept else kept[0] if len(kept) == 1 else model.And(kept)


def fields_of(node: model.Filter) -> set[str]:
    if isinstance(node, (model.And, model.Or)):
        return set().union(*(fields_of(child) for child in node.nodes))
    return fields_of(node.node) if isinstance(node, model.Not) else {node.field}
