"""A consistent copy of the data, made while the service goes on.

`system.db` is copied first and says which indexes there are; then each one's `documents.db`, every file at one moment of its own
(SQLite's backup API, https://www.sqlite.org/backup.html). Generations are left out: they are made from the documents. So is
SECRET_KEY, which is in /etc/searchapi/env: without it the API keys of a copy are of no use.

Run as a program, `python3 -m deploy.onhost.copying FROM TO`, it is the part that is done as the user who owns the data.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from .places import Places, folders, moment
from .system import USER, Failed

KEPT = 3
SPARE = 256 << 20  # bytes that stay free
TRIES = 3  # an index that is deleted meanwhile begins it again
PARTIAL = ".partial"
CODE = Path(__file__).resolve().parent.parent.parent


def snapshot(places: Places, say: Callable[[str], None]) -> Path:
    """The folder of a new snapshot; the newest three are kept. Raises Failed."""
    if places.elsewhere():
        raise Failed("the data is in OpenSearch (ENGINE_URL), not on this server: its own snapshots keep it (docs/operations.md)")
    system, folder = places.system, places.backups
    for left in folders(folder):
        if left.name.endswith(PARTIAL):
            system.remove(left)
    folder.mkdir(parents=True, exist_ok=True)
    _require_room(places)
    made = folder / time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    partial = made.with_name(made.name + PARTIAL)
    partial.mkdir(mode=0o700)
    try:
        system.chown(partial, USER)
        found = json.loads(system.run_on_data([sys.executable, "-B", "-m", __name__, str(places.data), str(partial)], cwd=CODE))
        live = places.live_release()
        about = {"time": moment(), "release": live.name if live else None, "data_format": places.data_written(), **found}
        system.chown(partial, "root")
        system.write(partial / "snapshot.json", json.dumps(about, indent=2) + "\n", mode=0o600)
        system.rename(partial, made)
    except (Failed, OSError, ValueError) as error:
        system.remove(partial)
        raise Failed(f"the snapshot failed: {error}") from None
    say(f"snapshot {made}: {len(found['indexes'])} indexes, {found['bytes'] >> 20} MiB")
    for old in snapshots(places)[KEPT:]:
        system.remove(old)
    return made


def snapshots(places: Places) -> list[Path]:
    """The newest first."""
    return [path for path in reversed(list(folders(places.backups))) if (path / "snapshot.json").is_file()]


def _require_room(places: Places) -> None:
    need = SPARE + sum(path.stat().st_size for name in ("*.db", "indexes/*/*.db") for path in _with_wal(places.data, name))
    figures = os.statvfs(places.backups)
    if (free := figures.f_bavail * figures.f_frsize) < need:
        raise Failed(f"a snapshot needs {need >> 20} MiB, and {free >> 20} MiB are free")


def _with_wal(data: Path, pattern: str) -> list[Path]:
    return [*data.glob(pattern), *data.glob(pattern + "-wal")]


# ------------------------------------------------------------------------------------------- as the owner of the data


def copy_all(data: Path, to: Path) -> dict[str, Any]:
    """{indexes: [{name, uid, documents}], bytes}. Raises OSError, sqlite3.Error."""
    for attempt in range(1, TRIES + 1):
        try:
            return _copy_once(data, to)
        except FileNotFoundError:  # an index of system.db's is gone: it was deleted meanwhile
            if attempt == TRIES:
                raise
    raise AssertionError("the last attempt returns or raises")


def _copy_once(data: Path, to: Path) -> dict[str, Any]:
    system = to / "system.db"
    if not (data / "system.db").exists():
        return {"indexes": [], "bytes": 0}
    total, found = copy(data / "system.db", system), []
    with contextlib.closing(sqlite3.connect(system)) as connection:
        registered = connection.execute("SELECT name, uid FROM indexes ORDER BY name").fetchall()
    for name, uid in registered:
        target = to / "indexes" / uid / "documents.db"
        target.parent.mkdir(parents=True, exist_ok=True)
        total += copy(data / "indexes" / uid / "documents.db", target)
        with contextlib.closing(sqlite3.connect(target)) as connection:
            (documents,) = connection.execute("SELECT count(*) FROM documents WHERE body IS NOT NULL").fetchone()
        found.append({"name": name, "uid": uid, "documents": documents})
    return {"indexes": found, "bytes": total}


def copy(source: Path, target: Path) -> int:
    """One database, as it was at one moment, checked, in one file and on the disk. Its bytes."""
    if not source.exists():
        raise FileNotFoundError(2, "no such database", str(source))
    target.unlink(missing_ok=True)
    quoted = str(source).replace("%", "%25").replace("?", "%3f").replace("#", "%23")
    with (
        contextlib.closing(sqlite3.connect(f"file:{quoted}?mode=rw", uri=True, timeout=15)) as reading,
        contextlib.closing(sqlite3.connect(target)) as writing,
    ):
        reading.backup(writing)  # all pages in one step: whoever writes meanwhile does not begin it again
        writing.execute("PRAGMA journal_mode=DELETE")
        (verdict,) = writing.execute("PRAGMA quick_check(1)").fetchone()
        if verdict != "ok":
            raise sqlite3.DatabaseError(f"{source.parent.name}/{source.name} is damaged: {verdict}")
    descriptor = os.open(target, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    return target.stat().st_size


if __name__ == "__main__":
    try:
        print(json.dumps(copy_all(Path(sys.argv[1]), Path(sys.argv[2]))))
    except (OSError, sqlite3.Error) as error:
        sys.exit(str(error))
