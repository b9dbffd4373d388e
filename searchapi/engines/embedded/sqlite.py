"""SQLite connections as this engine wants them, and the one place where sqlite3's errors end.

Every database is WAL with synchronous=FULL: a committed write survives a power cut. A thread has at most one connection for a
database and at most CONNECTIONS in all, up to RESTING wait for a thread; nothing is opened before a thread first needs it, so
nothing crosses a fork.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...exceptions import EngineUnavailable, StorageFull

CONNECTIONS = 16  # open for a thread; the least recently used is closed first
RESTING = 48  # open for no thread; the same
BUSY_TIMEOUT = 15.0  # seconds a writer waits for the others

_READ_ONLY = {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_PERM}


@contextlib.contextmanager
def mapped_errors(what: str) -> Iterator[None]:
    """Turn sqlite3's errors into ours. `what` is said to the client: "write", "read"."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", None)
        primary = code & 0xFF if code is not None else None
        if primary == sqlite3.SQLITE_FULL:
            raise StorageFull("The disk is full: nothing was written. Free some space and try again.") from error
        if primary in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise EngineUnavailable(f"The store stayed busy for too long to {what}. Try again.", code="store_busy") from error
        if primary in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise EngineUnavailable(
                f"The store cannot {what}: a file of its documents is damaged. Restore it from a backup.", code="store_damaged"
            ) from error
        if primary in _READ_ONLY:
            raise EngineUnavailable(
                f"The store cannot {what}: its disk is read-only or failing.", code="store_unwritable"
            ) from error
        raise
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise StorageFull("The disk is full: nothing was written. Free some space and try again.") from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO):
            raise EngineUnavailable(f"The store cannot {what}: {error.strerror}.", code="store_unwritable") from error
        raise


class Connection(sqlite3.Connection):
    """serial: never used again, as id() is; with PRAGMA data_version, which starts anew with every connection, it tells what was
    seen of a file. known: what was read then, with that, by who uses the file; None where it must be read."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.serial = next(_SERIALS)
        self.known: Any = None

    def __del__(self) -> None:
        """The connections of a thread end with it."""
        with contextlib.suppress(sqlite3.Error):
            self.close()


_SERIALS = itertools.count()


def seen(connection: Connection) -> tuple[int, int]:
    """What changes when another connection has written (3 µs)."""
    return connection.serial, connection.execute("PRAGMA data_version").fetchone()[0]


def connect(path: Path, *, create: bool = False) -> Connection:
    """A connection in autocommit, so that transactions begin and end where the code says so."""
    mode = "rwc" if create else "rw"
    uri = f"file:{_quoted(path)}?mode={mode}"
    connection = sqlite3.connect(
        uri, uri=True, timeout=BUSY_TIMEOUT, isolation_level=None, check_same_thread=False, factory=Connection
    )
    try:
        if create:
            _use_wal(connection)
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA temp_store=MEMORY")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _use_wal(connection: Connection) -> None:
    """Two processes that do this to a new file at once: SQLite tells one of them at once that it is busy, whatever its timeout."""
    end = time.monotonic() + BUSY_TIMEOUT
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED) or time.monotonic() > end:
                raise
            time.sleep(0.01)


def _quoted(path: Path) -> str:
    return os.fspath(path).replace("%", "%25").replace("?", "%3f").replace("#", "%23")


class Connections:
    """Connections by path, least recently used first. A thread has its own; when it has come to rest they wait for whoever needs
    one next, so that there are as many as are used at once, not as many as there are threads: each has a cache of its own."""

    def __init__(self) -> None:
        self._threads = threading.local()
        self._resting: OrderedDict[Path, list[Connection]] = OrderedDict()
        self._count = 0  # of those
        self._lock = threading.Lock()

    @property
    def open(self) -> OrderedDict[Path, Connection]:
        """This thread's."""
        try:
            return self._threads.open
        except AttributeError:
            self._threads.open = OrderedDict()
            return self._threads.open

    def get(self, path: Path) -> Connection:
        mine = self.open
        connection = mine.get(path)
        if connection is None:
            connection = mine[path] = self._rested(path) or connect(path)
            while len(mine) > CONNECTIONS:
                mine.popitem(last=False)[1].close()
        else:
            mine.move_to_end(path)
        return connection

    def rest(self) -> None:
        """This thread needs none for now."""
        mine = self.open
        if not mine:
            return
        with self._lock:
            for path, connection in mine.items():
                self._resting.setdefault(path, []).append(connection)
                self._resting.move_to_end(path)
            self._count += len(mine)
            mine.clear()
            while self._count > RESTING:
                self._taken(next(iter(self._resting)), 0).close()

    def _rested(self, path: Path) -> Connection | None:
        """The one that was used last: its cache knows most."""
        with self._lock:
            return self._taken(path, -1) if path in self._resting else None

    def _taken(self, path: Path, position: int) -> Connection:
        resting = self._resting[path]
        connection = resting.pop(position)
        self._count -= 1
        if not resting:
            del self._resting[path]
        return connection

    def drop(self, path: Path) -> None:
        connection = self.open.pop(path, None) or self._rested(path)
        while connection is not None:
            connection.close()
            connection = self._rested(path)

    def close(self) -> None:
        self.rest()
        for path in list(self._resting):
            self.drop(path)


@contextlib.contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """BEGIN IMMEDIATE: the write lock is taken before the first read, so that what is read is what is written upon (a read
    before the write fails with BUSY_SNAPSHOT)."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield connection
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise
