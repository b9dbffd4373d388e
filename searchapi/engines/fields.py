"""An index's fields, declared and inferred together, and what becomes of them under new settings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import orjson

from .. import documents
from ..documents import DocumentLimits
from ..exceptions import Fault, Invalid
from ..model import Document, Field, IndexSettings


def all_fields(settings: IndexSettings, inferred: Iterable[Field]) -> dict[str, Field]:
    """Declared and inferred fields together; the primary key always among them."""
    fields = {settings.primary_key: Field(settings.primary_key, "keyword")}
    fields.update({f.name: f for f in inferred})
    fields.update(settings.fields)
    return {name: resolved(f, settings) for name, f in fields.items()}


def restored(settings: IndexSettings, known: Iterable[Field]) -> dict[str, Field]:
    """The fields of an index that is filled with the documents of another, of which these fields are known."""
    known = {field.name: field for field in known}
    fields = all_fields(settings, (f for f in known.values() if f.inferred and f.name not in settings.fields))
    return {name: replace(f, array=f.array or (name in known and known[name].array)) for name, f in fields.items()}


def resolved(field: Field, settings: IndexSettings) -> Field:
    return replace(field, language=field.language or settings.language) if field.type == "text" else field


def as_set(indexed: Field, wanted: Field | None) -> Field:
    """A field as an index holds it, with those of its new settings that need no rebuild."""
    return replace(indexed, boost=wanted.boost, array=wanted.array) if wanted is not None else indexed


def fields_under(
    settings: IndexSettings,
    before: IndexSettings,
    known: Mapping[str, Field],
    limits: DocumentLimits,
    scan: Callable[[], Iterable[Document]],
) -> dict[str, Field]:
    """Every field under new settings: what documents have brought stays, unless declared otherwise and they all fit. known: the
    fields until now. scan: the documents, read where a field's type changes. Raises Invalid."""
    if settings.primary_key != before.primary_key:
        raise Invalid.at(
            "/primary_key",
            "primary_key_fixed",
            f"The primary key of an index stays {before.primary_key!r}; make another index.",
        )
    kept = [
        replace(f, inferred=True, language=None)
        for f in known.values()
        if f.name not in settings.fields and f.name != settings.primary_key
    ]
    fields = all_fields(settings, kept)
    fields = {name: replace(f, array=f.array or (name in known and known[name].array)) for name, f in fields.items()}
    if len(fields) > max(limits.max_fields, len(known)):
        detail = f"With the {len(kept)} that its documents have, the index would have {len(fields)} fields; the most is"
        raise Invalid.at("/fields", "too_many_fields", f"{detail} {limits.max_fields} (MAX_FIELDS).")
    if any(fields[name].type != f.type for name, f in known.items()):
        _check_documents(replace(settings, dynamic=True), fields, scan())
    return fields


def _check_documents(settings: IndexSettings, fields: dict[str, Field], found: Iterable[Document]) -> None:
    for document in found:
        try:
            documents.check(orjson.loads(document.body), settings, fields)
        except Invalid as error:
            fault = error.errors[0]
            detail = f"Document {document.id!r} does not fit these settings: {fault.detail}"
            raise Invalid(
                "The documents do not fit these settings.", errors=(Fault("/fields", "settings_conflict", detail),)
            ) from error
