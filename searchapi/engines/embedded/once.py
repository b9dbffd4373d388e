"""Idempotency records: of writes in documents.db, committed with the write itself, and of other requests in system.db.

    once      digest of the key, when, fingerprint, record: a write of documents and its result (engines/once.py)
    claims    digest of the key, when, fingerprint, holder, worker, answer: another request; without an answer it is being done

The tables are made by the first write that needs them: a file of an older release is changed by nothing else, and one on a
read-only disk is read as it is. Rows are in the order of time, so pruning looks at the oldest only. The functions take a
connection inside a transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from typing import Literal

from ...model import Once
from ..once import STALE_MS, digest, same, unfinished
from .state import now_ms

PRUNED = 10_000  # rows in one transaction, some 20 ms
Table = Literal["once", "claims"]

_SCHEMA = {
    "once": "CREATE TABLE IF NOT EXISTS once("
    "number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, at_ms INTEGER NOT NULL, fingerprint BLOB NOT NULL,"
    " record BLOB NOT NULL)",
    "claims": "CREATE TABLE IF NOT EXISTS claims("
    "number INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, at_ms INTEGER NOT NULL, fingerprint BLOB NOT NULL, holder TEXT NOT NULL,"
    " worker TEXT NOT NULL, answer BLOB)",
}


def recorded(connection: sqlite3.Connection, once: Once) -> bytes | None:
    """The record of a write that was done, None for one that is new. Raises IdempotencyReused."""
    connection.execute(_SCHEMA["once"])
    row = connection.execute("SELECT fingerprint, record FROM once WHERE key = ?", (digest(once.key),)).fetchone()
    if row is None:
        return None
    same(once, row[0])
    return row[1]


def record(connection: sqlite3.Connection, once: Once, record: bytes) -> None:
    connection.execute(
        "INSERT INTO once(key, at_ms, fingerprint, record) VALUES (?, ?, ?, ?)",
        (digest(once.key), now_ms(), once.fingerprint, record),
    )


def claim(connection: sqlite3.Connection, once: Once, holder: str, worker: str, alive: Callable[[str], bool]) -> bytes | None:
    """The answer of a request that was done, None where it is now `holder`'s to do. Raises IdempotencyReused and
    IdempotencyUnfinished."""
    connection.execute(_SCHEMA["claims"])
    row = connection.execute("SELECT fingerprint, answer, worker, at_ms FROM claims WHERE key = ?", (digest(once.key),)).fetchone()
    now = now_ms()
    if row is not None:
        fingerprint, answer, other, at_ms = row
        same(once, fingerprint)
        if answer is not None:
            return answer
        if alive(other) and now - at_ms < STALE_MS:
            raise unfinished()
        connection.execute("DELETE FROM claims WHERE key = ?", (digest(once.key),))
    connection.execute(
        "INSERT INTO claims(key, at_ms, fingerprint, holder, worker) VALUES (?, ?, ?, ?, ?)",
        (digest(once.key), now, once.fingerprint, holder, worker),
    )
    return None


def finish(connection: sqlite3.Connection, key: str, holder: str, answer: bytes) -> None:
    connection.execute("UPDATE claims SET answer = ? WHERE key = ? AND holder = ?", (answer, digest(key), holder))


def release(connection: sqlite3.Connection, key: str, holder: str) -> None:
    connection.execute("DELETE FROM claims WHERE key = ? AND holder = ?", (digest(key), holder))


def outdated(connection: sqlite3.Connection, table: Table, before_ms: int) -> bool:
    """Whether there is something to prune. Outside of a transaction, too; a file without the table has nothing."""
    if connection.execute("SELECT 1 FROM sqlite_master WHERE name = ?", (table,)).fetchone() is None:
        return False
    oldest = connection.execute(f"SELECT at_ms FROM {table} ORDER BY number LIMIT 1").fetchone()
    return oldest is not None and oldest[0] < before_ms


def prune(connection: sqlite3.Connection, table: Table, before_ms: int) -> int:
    """Forget the oldest, at most PRUNED of them. Returns how many."""
    rows = connection.execute(f"SELECT number, at_ms FROM {table} ORDER BY number LIMIT ?", (PRUNED,)).fetchall()
    old = [number for number, at_ms in rows if at_ms < before_ms]
    connection.executemany(f"DELETE FROM {table} WHERE number = ?", [(number,) for number in old])
    return len(old)
