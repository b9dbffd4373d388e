"""The operations of one write transaction, applied one after another, each wholly or not at all."""

from __future__ import annotations

import sqlite3
from typing import Any

from ... import documents
from ...exceptions import DocumentNotFound, SearchAPIError
from ...model import Field, Operation, Outcome
from ..applying import body_of, check_condition, merged
from ..fields import resolved
from .state import State, last_seq, now_ms

# Whether a document is there, and its body only where it is needed.
_READ = {
    False: "SELECT version, CASE WHEN body IS NULL THEN NULL ELSE 1 END FROM documents WHERE id = ?",
    True: "SELECT version, body FROM documents WHERE id = ?",
}

INSERT = "INSERT OR REPLACE INTO documents(seq, id, version, written_ms, body) VALUES (?, ?, ?, ?, ?)"


class Batch:
    """The operations of one transaction as they are applied, one after another."""

    def __init__(self, connection: sqlite3.Connection, state: State, limits: documents.DocumentLimits):
        self.connection = connection
        self.limits = limits
        self.settings = state.settings
        self.fields = dict(state.fields)
        self.changed_fields: dict[str, Field] = {}
        self.seq = last_seq(connection)
        self.count = 0
        self._now = now_ms()

    def apply(self, operation: Operation) -> Outcome:
        try:
            return self._apply(operation)
        except SearchAPIError as error:
            return Outcome(operation.position, operation.id, error=error)

    def _apply(self, op: Operation) -> Outcome:
        row = self.connection.execute(_READ[op.kind == "patch"], (op.id,)).fetchone()
        exists = row is not None and row[1] is not None
        check_condition(op, row[0] if exists else None)
        if op.kind == "delete":
            if not exists:
                raise DocumentNotFound(op.id)
            body = None
        else:
            document = merged(op, row[1] if exists else None, self.settings.primary_key)
            self._check(document)
            body = body_of(op, document, self.limits)
        version = self._store(op, body)
        self.count += (body is not None) - exists
        return Outcome(op.position, op.id, version=version, created=body is not None and not exists)

    def _check(self, document: Any) -> None:
        changed = documents.check(document, self.settings, self.fields, self.limits)
        if changed:
            changed = {name: resolved(f, self.settings) for name, f in changed.items()}
            self.fields.update(changed)
            self.changed_fields.update(changed)

    def _store(self, op: Operation, body: bytes | None) -> int:
        self.seq += 1
        version = self.seq if op.version is None else op.version
        self.connection.execute(INSERT, (self.seq, op.id, version, self._now, body))
        if version > self.seq:  # a restored version: later ones must be above it, so that an ETag never comes back
            self.connection.execute("UPDATE sqlite_sequence SET seq = ? WHERE name = 'documents'", (version,))
            self.seq = version
        return version
