"""One operation applied to one document: what both engines do between what is there and what is to be there."""

from __future__ import annotations

from typing import Any

import orjson

from .. import documents
from ..documents import DocumentLimits
from ..exceptions import DocumentNotFound, Invalid, TooLarge, VersionConflict
from ..model import Operation


def check_condition(op: Operation, current: int | None) -> None:
    """current: the document's version, None where there is none. Raises VersionConflict."""
    if op.if_none_match and current is not None:
        raise VersionConflict(f"There is a document with the id {op.id!r} already.")
    if op.if_match == "*":
        if current is None:
            raise VersionConflict(f"There is no document {op.id!r}.")
    elif op.if_match is not None and op.if_match != current:
        found = "it is not there" if current is None else f"it is at {current}"
        raise VersionConflict(f"Document {op.id!r} is not at version {op.if_match}: {found}.")


def merged(op: Operation, old: bytes | None, primary_key: str) -> Any:
    """The document that a put or patch makes. old: the body that is there. Raises DocumentNotFound, Invalid."""
    if op.kind == "put":
        given = op.document or {}
        return {**given, primary_key: op.id} if given.get(primary_key).__class__ is int else given  # integer ids become strings
    if old is None:
        raise DocumentNotFound(op.id)
    found = documents.merge_patch(orjson.loads(old), op.document or {})
    if primary_key not in found or str(found[primary_key]) != op.id:
        raise Invalid.at(f"/{primary_key}", "id_changed", f"A partial update cannot change the id ({primary_key}) of {op.id!r}.")
    found[primary_key] = op.id
    return found


def body_of(op: Operation, document: Any, limits: DocumentLimits) -> bytes:
    """Its JSON. Raises TooLarge where a patch has made it too long; a put's length is known before."""
    body = orjson.dumps(document)
    if op.kind == "patch" and len(body) > limits.max_document_bytes:
        most = f"With this change the document would have {len(body):,} bytes; the most is"
        raise TooLarge(f"{most} {limits.max_document_bytes:,} (MAX_DOCUMENT_BYTES).", code="document_too_large")
    return body
