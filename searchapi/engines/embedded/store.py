"""One index's documents in SQLite: the truth, of which a generation is derived.

    documents    seq (never reused), id, version, when, body; a deleted document stays as a tombstone (body NULL) until every
                 kept generation has passed it
    generations  name, format, state, layout, placement: which tantivy indexes there are, and which one answers
    meta         settings, fields, uuid, counters: one JSON value a key
    once         what was written once under an Idempotency-Key, and its result: see once.py

Everything that must change together is in this one file, because a transaction over several WAL databases is not
crash-atomic. `seq` is given inside BEGIN IMMEDIATE, so the order of commits is the order of seq, and whoever tails by seq
misses nothing.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
import uuid
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ... import documents, schema
from ...documents import DocumentLimits
from ...exceptions import DocumentNotFound
from ...model import Document, Field, IndexSettings, Once, Operation, WriteResult
from ..changes import ASKED_OFTEN, Change, Changes, PositionLost
from ..fields import fields_under, restored
from ..once import packed, unpacked
from . import generation
from . import once as records
from .batch import INSERT, Batch
from .generation import lay_out
from .sqlite import Connection, Connections, connect, mapped_errors, seen, transaction
from .state import (
    State,
    add_generation,
    bump,
    get_meta,
    last_seq,
    needs_another,
    now_ms,
    place,
    read_state,
    save_fields,
    set_meta,
    start_generation,
)

_SCHEMA = """
CREATE TABLE documents(
    seq INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, version INTEGER NOT NULL, written_ms INTEGER NOT NULL,
    body BLOB);
CREATE INDEX tombstones ON documents(seq) WHERE body IS NULL;
CREATE TABLE generations(
    name TEXT PRIMARY KEY, format TEXT NOT NULL, state TEXT NOT NULL, layout BLOB NOT NULL, placement BLOB NOT NULL,
    changed_ms INTEGER);
CREATE TABLE meta(key TEXT PRIMARY KEY, value BLOB NOT NULL);
"""

SCAN_CHUNK = 500  # documents a read holds SQLite's snapshot for


@dataclass(frozen=True, slots=True)
class FileStamp:
    """files: (inode, time of the last change in ns, size) of each."""

    files: tuple[tuple[int, int, int], ...]

    @property
    def newest(self) -> float:
        """When the latest of them changed, seconds since 1970."""
        return max(changed for _, changed, _ in self.files) / 1e9


class Store:
    """documents.db of one index. Methods raise ours, never sqlite3's errors."""

    def __init__(self, folder: Path, connections: Connections, limits: DocumentLimits = documents.DEFAULT_LIMITS):
        self.folder = folder
        self.limits = limits
        self.path = folder / "documents.db"
        self._connections = connections

    # ------------------------------------------------------------------------------------------------ making, reading

    @classmethod
    def create(cls, folder: Path, settings: IndexSettings, known: Iterable[Field] = ()) -> None:
        """known: fields that its documents will bring. Raises StorageFull, EngineUnavailable; the folder is then to be removed."""
        fields = restored(settings, known)
        with mapped_errors("write"):
            folder.mkdir(parents=True)
            with contextlib.closing(connect(folder / "documents.db", create=True)) as connection:
                connection.executescript(_SCHEMA)
                with transaction(connection):
                    meta = {"uuid": uuid.uuid4().hex, "version": 1, "epoch": 0, "documents": 0, "pruned_seq": 0, "ever_live": False}
                    meta |= {"settings": schema.settings_to_json(settings), "fields": [asdict(f) for f in fields.values()]}
                    for key, value in meta.items():
                        set_meta(connection, key, value)
                    add_generation(connection, lay_out(fields.values(), settings.language))

    @property
    def connection(self) -> Connection:
        return self._connections.get(self.path)

    def state(self) -> State:
        """The newest State; 3 µs where nothing was written since this connection was last asked (PRAGMA data_version)."""
        with mapped_errors("read"):
            stamp, connection = self.stamp(), self.connection
            known = connection.known
            if known is None or known[0] != stamp:
                fresh = known is None or known[1].version != get_meta(connection, "version")
                known = connection.known = (stamp, read_state(connection) if fresh else known[1])
            return known[1]

    def stamp(self) -> tuple[int, int]:
        """What changes when another connection has written."""
        with mapped_errors("read"):
            return seen(self.connection)

    def file_stamp(self) -> FileStamp:
        """What changes when anyone has written, told without a connection, of which there are fewer than there may be indexes. An
        empty WAL is none: it comes and goes with readers."""
        with mapped_errors("read"):
            found = [self.path.stat()]
            with contextlib.suppress(FileNotFoundError):
                wal = self.path.with_name("documents.db-wal").stat()
                found += [wal] if wal.st_size else []
        return FileStamp(tuple((s.st_ino, s.st_mtime_ns, s.st_size) for s in found))

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with mapped_errors("write"), transaction(self.connection) as connection:
            yield connection
            connection.known = None  # data_version does not move for a connection's own writes

    def newest_seq(self) -> int:
        with mapped_errors("read"):
            return last_seq(self.connection)

    def counters(self) -> dict[str, int]:
        with mapped_errors("read"):
            return {key: get_meta(self.connection, key) for key in ("documents", "pruned_seq")}

    def lag(self, seq: int) -> tuple[int, float]:
        """(writes after seq, seconds since the oldest of them)."""
        with mapped_errors("read"):
            count, oldest = self.connection.execute(
                "SELECT count(*), min(written_ms) FROM documents WHERE seq > ?", (seq,)
            ).fetchone()
        return count, max(0.0, time.time() - oldest / 1000) if count else 0.0

    def get(self, id: str) -> Document:
        with mapped_errors("read"):
            row = self.connection.execute("SELECT version, body FROM documents WHERE id = ?", (id,)).fetchone()
        if row is None or row[1] is None:
            raise DocumentNotFound(id)
        return Document(id, row[0], row[1])

    def scan(self, after: str | None, limit: int | None) -> Iterator[Document]:
        """By id, in chunks, so that a slow reader of an export holds no snapshot and the WAL can shrink."""
        left = limit
        while left is None or left > 0:
            size = SCAN_CHUNK if left is None else min(left, SCAN_CHUNK)
            with mapped_errors("read"):
                rows = self.connection.execute(
                    "SELECT id, version, body FROM documents WHERE body IS NOT NULL AND id > ? ORDER BY id LIMIT ?",
                    (after or "", size),  # no id is empty
                ).fetchall()
            for row in rows:
                yield Document(*row)
            if len(rows) < size:
                return
            after = rows[-1][0]
            left = None if left is None else left - size

    @contextlib.contextmanager
    def reading(self) -> Iterator[int]:
        """One moment of the file for all that is read inside. Gives the seq of the newest write then."""
        with mapped_errors("read"):
            connection = self.connection
            connection.execute("BEGIN")
            try:
                yield last_seq(connection)
            finally:
                connection.execute("ROLLBACK")

    def written_ms(self, seq: int) -> int | None:
        """When the document that has this seq was written; None where none has it (any more)."""
        with mapped_errors("read"):
            row = self.connection.execute("SELECT written_ms FROM documents WHERE seq = ?", (seq,)).fetchone()
        return row[0] if row else None

    def changes(self, after: int, limit: int) -> list[tuple[int, str, bytes | None]]:
        """(seq, id, body or None for a deleted one) of the writes after `after`, in order."""
        with mapped_errors("read"):
            return self.connection.execute(
                "SELECT seq, id, body FROM documents WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit)
            ).fetchall()

    def follow(self, after: str | None, limit: int) -> Changes:
        """As Engine.changes. A position is `<uuid>:<seq>`; while somebody asks, tombstones are kept (`followed`)."""
        with contextlib.suppress(OSError):  # a read-only disk: nothing is pruned there either
            self._followed.touch()
        with self.reading() as newest:
            uuid, pruned = get_meta(self.connection, "uuid"), get_meta(self.connection, "pruned_seq")
            if after is None:
                return Changes(f"{uuid}:{newest}")
            known, _, seq = after.rpartition(":")
            if known != uuid or not pruned <= int(seq) <= newest:
                raise PositionLost
            rows = self.connection.execute(
                "SELECT seq, id, version, body FROM documents WHERE seq > ? ORDER BY seq LIMIT ?", (int(seq), limit)
            ).fetchall()
        more = len(rows) == limit
        return Changes(f"{uuid}:{rows[-1][0] if more else newest}", tuple(Change(*row[1:]) for row in rows), more)

    @property
    def _followed(self) -> Path:
        return self.folder / "followed"

    @property
    def followed(self) -> bool:
        """Whether somebody follows the writes, and needs to see what is deleted."""
        with contextlib.suppress(FileNotFoundError):
            return time.time() - self._followed.stat().st_mtime < 2 * ASKED_OFTEN
        return False

    # ------------------------------------------------------------------------------------------------------- writing

    def write(self, operations: Sequence[Operation], once: Once | None = None) -> WriteResult:
        """Each operation wholly or not at all, all in one transaction, and the record of `once` in the same."""
        with self._writing() as connection:
            if once is not None and (known := records.recorded(connection, once)) is not None:
                return unpacked(known, operations)
            state = self.state()
            batch = Batch(connection, state, self.limits)
            outcomes = tuple(batch.apply(operation) for operation in operations)
            if batch.changed_fields:
                save_fields(connection, state, batch.fields, batch.changed_fields)
            if batch.count:
                set_meta(connection, "documents", get_meta(connection, "documents") + batch.count)
            result = WriteResult(batch.seq, outcomes)
            if once is not None:
                records.record(connection, once, packed(result))
            return result

    def delete_unchanged(self, documents: Sequence[tuple[str, int]]) -> tuple[int, int]:
        """Delete those (id, seq) that nobody has written since. Returns (how many, the seq to wait for)."""
        with self._writing() as connection:
            seq, now, deleted = last_seq(connection), now_ms(), 0
            for id, known in documents:
                found = connection.execute("SELECT 1 FROM documents WHERE id = ? AND seq = ? AND body IS NOT NULL", (id, known))
                if found.fetchone():
                    seq, deleted = seq + 1, deleted + 1
                    connection.execute(INSERT, (seq, id, seq, now, None))
            if deleted:
                set_meta(connection, "documents", get_meta(connection, "documents") - deleted)
            return deleted, seq

    def put_settings(self, settings: IndexSettings, *, dry_run: bool) -> tuple[tuple[str, ...], bool, str | None]:
        """(names of changed settings, whether a rebuild is needed, the name of the generation that was begun for it)."""
        with self._writing() as connection:
            state = self.state()
            changed = schema.differences(state.settings, settings)
            if not changed:
                return (), False, None
            fields = fields_under(settings, state.settings, state.fields, self.limits, lambda: self.scan(None, None))
            rebuild = needs_another(state, fields)
            if dry_run:
                return changed, rebuild, None
            set_meta(connection, "settings", schema.settings_to_json(settings))
            set_meta(connection, "fields", [asdict(f) for f in fields.values()])
            begun = None
            if rebuild:
                begun = start_generation(connection, fields, settings.language, state.epoch + 1)
            else:
                for g in state.generations:
                    place(connection, g, fields.values())
            bump(connection)
            return changed, rebuild, begun

    # ---------------------------------------------------------------------------------------- generations, by the indexer

    def start_rebuild(self) -> str:
        """A generation to be built anew from the documents, beside the one that answers. Its name."""
        with self._writing() as connection:
            state = self.state()
            begun = start_generation(connection, state.fields, state.settings.language, state.epoch + 1)
            bump(connection)
            return begun

    def set_generation(self, name: str, state: str) -> bool:
        """Making one `live` retires the one that was: one transaction, so that there is always one that answers. False, and nothing
        changes, where the generation was given up meanwhile (other settings began another)."""
        with self._writing() as connection:
            now = now_ms()
            if not connection.execute("SELECT 1 FROM generations WHERE name=? AND state<>'retired'", (name,)).fetchone():
                return False
            if state == "live":
                connection.execute(
                    "UPDATE generations SET state='retired', changed_ms=?"
                    " WHERE format=? AND state IN ('live','broken') AND name<>?",
                    (now, generation.FORMAT, name),
                )
                set_meta(connection, "ever_live", True)
            connection.execute("UPDATE generations SET state=?, changed_ms=? WHERE name=?", (state, now, name))
            bump(connection)
            return True

    def place_fields(self, name: str) -> None:
        """Bring a generation's placement to the fields as they are now; what finds no slot stays out."""
        with self._writing() as connection:
            state = self.state()
            found = next((g for g in state.generations if g.name == name), None)
            if found is not None:
                place(connection, found, state.fields.values())
                bump(connection)

    def forget_generation(self, name: str) -> None:
        with self._writing() as connection:
            connection.execute("DELETE FROM generations WHERE name=?", (name,))
            bump(connection)

    def retired(self, before_ms: int) -> list[str]:
        with mapped_errors("read"):
            rows = self.connection.execute(
                "SELECT name FROM generations WHERE format=? AND state='retired' AND changed_ms < ?", (generation.FORMAT, before_ms)
            )
            return [name for (name,) in rows]

    def generation_names(self) -> list[str]:
        """Of every format."""
        with mapped_errors("read"):
            return [name for (name,) in self.connection.execute("SELECT name FROM generations")]

    def prune(self, upto: int, limit: int = 5000) -> int:
        """Drop tombstones that every kept generation has passed. Returns how many."""
        with self._writing() as connection:
            rows = connection.execute(
                "SELECT seq FROM documents WHERE body IS NULL AND seq <= ? ORDER BY seq LIMIT ?", (upto, limit)
            ).fetchall()
            if rows:
                connection.executemany("DELETE FROM documents WHERE seq = ?", rows)
                set_meta(connection, "pruned_seq", rows[-1][0])
            return len(rows)

    def has_tombstones(self, upto: int) -> bool:
        with mapped_errors("read"):
            row = self.connection.execute("SELECT 1 FROM documents WHERE body IS NULL AND seq <= ? LIMIT 1", (upto,)).fetchone()
        return row is not None

    def prune_once(self, before_ms: int) -> int:
        """Forget what was written once before then, a bounded number at a time. Returns how many."""
        with mapped_errors("read"):
            if not records.outdated(self.connection, "once", before_ms):
                return 0
        with self._writing() as connection:
            return records.prune(connection, "once", before_ms)
