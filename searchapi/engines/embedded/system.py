"""system.db: which indexes there are, aliases, keys, tasks and claims. One small SQLite file beside the indexes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from functools import lru_cache
from pathlib import Path
from typing import Any

import orjson

from ...dates import now
from ...exceptions import AliasNotFound, EngineUnavailable, IndexExists, IndexNotFound, KeyNotFound, TaskNotFound
from ...model import Key, Once, Task
from ..keys import age, key_of
from . import once as records
from . import processes
from .sqlite import Connections, connect, mapped_errors, seen, transaction

_SCHEMA = """
CREATE TABLE IF NOT EXISTS indexes(name TEXT PRIMARY KEY, uid TEXT NOT NULL UNIQUE, created_at TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS trash(uid TEXT PRIMARY KEY);
CREATE TABLE IF NOT EXISTS aliases(alias TEXT PRIMARY KEY, name TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS tasks(
    id TEXT PRIMARY KEY, kind TEXT NOT NULL, name TEXT, status TEXT NOT NULL, created_at TEXT NOT NULL, started_at TEXT,
    finished_at TEXT, done INTEGER NOT NULL DEFAULT 0, total INTEGER, detail BLOB NOT NULL, error TEXT, worker TEXT);
CREATE INDEX IF NOT EXISTS tasks_by_status ON tasks(status, created_at);
CREATE TABLE IF NOT EXISTS keys(id TEXT PRIMARY KEY, record BLOB NOT NULL) WITHOUT ROWID;
"""
REBUILD = "rebuild"  # a kind of task that only tells: the indexer does it from the store, and nobody claims it
_TASK = "id, kind, name, status, created_at, started_at, finished_at, done, total, detail, error"
_TASK_CHANGES = {"status", "started_at", "finished_at", "done", "total", "detail", "error"}


class SystemDatabase:
    """The SystemStore of the embedded engine, and its registry of indexes (name -> uid, the folder's name)."""

    def __init__(self, data_dir: Path, connections: Connections | None = None):
        self.data_dir = Path(data_dir)
        self.path = self.data_dir / "system.db"
        self._connections = connections or Connections()
        self._ensure()

    def _ensure(self) -> None:
        try:
            self.data_dir.mkdir(parents=True, exist_ok=True)
            if not self.path.exists() or self._lacks_tables():
                with mapped_errors("start"), contextlib.closing(connect(self.path, create=True)) as connection:
                    connection.executescript(_SCHEMA)
        except OSError as error:
            raise EngineUnavailable(
                f"The data folder {self.data_dir} cannot be used: {error.strerror}.", code="data_dir"
            ) from error
        except EngineUnavailable as error:
            why = error.detail
            if not os.access(self.data_dir, os.W_OK) and not self._read_only():
                why = "This user cannot write there; run this as the folder's owner."
            raise EngineUnavailable(f"The data folder {self.data_dir} cannot be used. {why}", code="data_dir") from error

    def _read_only(self) -> bool:
        return bool(os.statvfs(self.data_dir).f_flag & os.ST_RDONLY)

    def _lacks_tables(self) -> bool:
        """Another process may have made the file and not yet its tables."""
        with mapped_errors("start"), contextlib.closing(connect(self.path)) as connection:
            return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'keys'").fetchone() is None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with mapped_errors("write"), transaction(self._connections.get(self.path)) as connection:
            yield connection
            connection.known = None  # data_version does not move for a connection's own writes

    def _names(self) -> tuple[Any, dict[str, tuple[str, str]], dict[str, str], dict[str, Key]]:
        """(_, {name: (uid, created_at)}, {alias: name}, {id: key}), read again only when the file was written (3 µs otherwise)."""
        with mapped_errors("read"):
            connection = self._connections.get(self.path)
            stamp = seen(connection)
            known = connection.known
            if known is None or known[0] != stamp:
                rows = connection.execute("SELECT name, uid, created_at FROM indexes ORDER BY name")
                indexes = {name: (uid, created) for name, uid, created in rows}
                aliases = dict(connection.execute("SELECT alias, name FROM aliases ORDER BY alias").fetchall())
                keys = sorted((_key(record) for (record,) in connection.execute("SELECT record FROM keys")), key=age)
                known = connection.known = (stamp, indexes, aliases, {key.id: key for key in keys})
            return known

    def _read(self, sql: str, *parameters: Any) -> list[tuple]:
        with mapped_errors("read"):
            return self._connections.get(self.path).execute(sql, parameters).fetchall()

    # ------------------------------------------------------------------------------------------------------- indexes

    def folder(self, uid: str) -> Path:
        return self.data_dir / "indexes" / uid

    def registered(self) -> list[tuple[str, str, str]]:
        """(name, uid, created_at) of every index, by name."""
        return [(name, *rest) for name, rest in self._names()[1].items()]

    def find(self, name: str) -> tuple[str, str]:
        """(uid, created_at)."""
        try:
            return self._names()[1][name]
        except KeyError:
            raise IndexNotFound(name) from None

    def register(self, name: str, uid: str) -> None:
        """Raises IndexExists."""
        with self._writing() as connection:
            taken = connection.execute(
                "SELECT 1 FROM indexes WHERE name = ?1 UNION SELECT 1 FROM aliases WHERE alias = ?1", (name,)
            )
            if taken.fetchone():
                raise IndexExists(name)
            connection.execute("INSERT INTO indexes(name, uid, created_at) VALUES (?, ?, ?)", (name, uid, now()))

    def unregister(self, name: str) -> str:
        """The index is gone from now on; its folder is swept by the indexer. Its aliases go with it."""
        with self._writing() as connection:
            row = connection.execute("SELECT uid FROM indexes WHERE name = ?", (name,)).fetchone()
            if row is None:
                raise IndexNotFound(name)
            connection.execute("DELETE FROM indexes WHERE name = ?", (name,))
            connection.execute("DELETE FROM aliases WHERE name = ?", (name,))
            connection.execute("INSERT INTO trash(uid) VALUES (?)", row)
            return row[0]

    def trash(self) -> list[str]:
        return [uid for (uid,) in self._read("SELECT uid FROM trash")]

    def swept(self, uid: str) -> None:
        with self._writing() as connection:
            connection.execute("DELETE FROM trash WHERE uid = ?", (uid,))

    # ------------------------------------------------------------------------------------------------------- aliases

    def aliases(self) -> dict[str, str]:
        return dict(self._names()[2])

    def set_alias(self, alias: str, index: str) -> None:
        """Raises IndexExists where an index has that name, IndexNotFound where there is none to point at."""
        with self._writing() as connection:
            if connection.execute("SELECT 1 FROM indexes WHERE name = ?", (alias,)).fetchone():
                raise IndexExists(alias)
            if not connection.execute("SELECT 1 FROM indexes WHERE name = ?", (index,)).fetchone():
                raise IndexNotFound(index)
            connection.execute("INSERT OR REPLACE INTO aliases(alias, name) VALUES (?, ?)", (alias, index))

    def delete_alias(self, alias: str) -> None:
        with self._writing() as connection:
            if not connection.execute("DELETE FROM aliases WHERE alias = ?", (alias,)).rowcount:
                raise AliasNotFound(alias)

    def resolve(self, name: str) -> str:
        return self._names()[2].get(name, name)

    # ---------------------------------------------------------------------------------------------------------- keys

    def keys(self, stale: bool = False) -> Mapping[str, Key]:
        return self._names()[3]

    def add_key(self, key: Key) -> None:
        with self._writing() as connection:
            connection.execute("INSERT INTO keys(id, record) VALUES (?, ?)", (key.id, orjson.dumps(key)))

    def update_key(self, id: str, change: Callable[[Key], Key]) -> Key:
        with self._writing() as connection:
            row = connection.execute("SELECT record FROM keys WHERE id = ?", (id,)).fetchone()
            if row is None:
                raise KeyNotFound(id)
            key = change(_key(row[0]))
            connection.execute("UPDATE keys SET record = ? WHERE id = ?", (_changed(row[0], asdict(key)), id))
            return key

    def touch_keys(self, used: Mapping[str, str]) -> None:
        with self._writing() as connection:
            for id, at in used.items():
                row = connection.execute("SELECT record FROM keys WHERE id = ?", (id,)).fetchone()
                if row and (_key(row[0]).last_used_at or "") < at:
                    record = _changed(row[0], {"last_used_at": at})
                    connection.execute("UPDATE keys SET record = ? WHERE id = ?", (record, id))

    # --------------------------------------------------------------------------------------------------------- tasks

    def create_task(self, kind: str, index: str | None, detail: dict) -> Task:
        id = uuid.uuid4().hex
        with self._writing() as connection:
            connection.execute(
                "INSERT INTO tasks(id, kind, name, status, created_at, detail) VALUES (?, ?, ?, 'queued', ?, ?)",
                (id, kind, index, now(), orjson.dumps(detail)),
            )
        return self.task(id)

    def task(self, id: str) -> Task:
        rows = self._read(f"SELECT {_TASK} FROM tasks WHERE id = ?", id)
        if not rows:
            raise TaskNotFound(id)
        return _task(rows[0])

    def tasks(self, index: str | None = None, limit: int = 50) -> list[Task]:
        rows = self._read(
            f"SELECT {_TASK} FROM tasks WHERE ?1 IS NULL OR name = ?1 ORDER BY created_at DESC, id LIMIT ?2", index, limit
        )
        return [_task(row) for row in rows]

    def open_rebuilds(self) -> list[Task]:
        rows = self._read(f"SELECT {_TASK} FROM tasks WHERE status IN ('queued', 'running') AND kind = ?", REBUILD)
        return [_task(row) for row in rows]

    def update_task(self, id: str, **changes: Any) -> None:
        unknown = set(changes) - _TASK_CHANGES
        if unknown:
            raise ValueError(f"a task has no {sorted(unknown)}")
        values = [orjson.dumps(value) if key == "detail" else value for key, value in changes.items()]
        with self._writing() as connection:
            connection.execute(f"UPDATE tasks SET {', '.join(f'{key} = ?' for key in changes)} WHERE id = ?", (*values, id))

    def claim_task(self) -> Task | None:
        """The oldest queued task, or one left running by a worker that is gone: every kind can be run again from its start."""
        if not self._read("SELECT 1 FROM tasks WHERE status IN ('queued', 'running') AND kind <> ? LIMIT 1", REBUILD):
            return None
        with self._writing() as connection:
            rows = connection.execute(
                "SELECT id, worker FROM tasks WHERE status IN ('queued', 'running') AND kind <> ? ORDER BY created_at, id",
                (REBUILD,),
            ).fetchall()
            me = self._me()
            for id, worker in rows:
                if worker is None or worker == me or not self._alive(worker):  # ours, and yet not being done: it failed to end
                    connection.execute(
                        "UPDATE tasks SET status = 'running', worker = ?, started_at = ? WHERE id = ?", (me, now(), id)
                    )
                    return _task(connection.execute(f"SELECT {_TASK} FROM tasks WHERE id = ?", (id,)).fetchone())
        return None

    def _me(self) -> str:
        return processes.me(self.data_dir)

    def _alive(self, worker: str) -> bool:
        return processes.alive(self.data_dir, worker)

    # -------------------------------------------------------------------------------------------------------- claims

    def claim(self, once: Once, holder: str) -> bytes | None:
        with self._writing() as connection:
            return records.claim(connection, once, holder, self._me(), self._alive)

    def finish(self, key: str, holder: str, answer: bytes) -> None:
        with self._writing() as connection:
            records.finish(connection, key, holder, answer)

    def release(self, key: str, holder: str) -> None:
        with self._writing() as connection:
            records.release(connection, key, holder)

    def prune_claims(self, before_ms: int) -> int:
        with mapped_errors("read"):
            if not records.outdated(self._connections.get(self.path), "claims", before_ms):
                return 0
        with self._writing() as connection:
            return records.prune(connection, "claims", before_ms)


def _task(row: tuple) -> Task:
    return Task(*row[:9], detail=orjson.loads(row[9]), error=row[10])


@lru_cache(maxsize=10_000)  # every write to the file has every thread read the keys again, and few have changed
def _key(record: bytes) -> Key:
    return key_of(orjson.loads(record))


def _changed(record: bytes, members: dict[str, Any]) -> bytes:
    """What only a newer release knows of a key is kept: it may be what that key is narrowed by."""
    return orjson.dumps(orjson.loads(record) | members)
