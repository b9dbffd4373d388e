"""The folder in which the workers of one instance count together (prometheus_client's multiprocess mode).

Each worker counts in files of its own, which are named by its process id and mapped into its memory: a worker that is killed loses
nothing. A scrape adds all files up. Gunicorn's master makes the folder before the first worker starts, adds the files of dead
workers to one, so that they do not pile up, and removes the folder when it ends. A lock keeps a scrape from reading files while
they are added up: it would count them twice. Another lock is held as long as the instance lives, so that the next one can tell what
a killed one left behind.

Nothing here may import prometheus_client before `make` has run: it reads its mode from the environment, once.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
KINDS = ("counter", "histogram")  # of what dead workers have counted; gauges end with their worker
PREFIX = "searchapi-metrics-"
ALIVE, ADDING = "alive.lock", "adding.lock"
PATIENCE = 0.5  # seconds that the master waits for a scrape to end

log = logging.getLogger("gunicorn.error")


class MetricFiles:
    """Owned by Gunicorn's master."""

    def __init__(self) -> None:
        """In $RUNTIME_DIRECTORY (systemd gives one to each instance), else in memory, else where temporary files are."""
        base = _base()
        _sweep(base)
        making = Path(tempfile.mkdtemp(prefix=".making-", dir=base))  # nobody sweeps it before it is locked
        self._alive = os.open(making / ALIVE, os.O_CREAT | os.O_RDWR, 0o600)
        fcntl.flock(self._alive, fcntl.LOCK_EX)
        self.path = making.rename(base / making.name.replace(".making-", PREFIX))
        self._dead: set[int] = set()
        os.environ[VARIABLE] = os.fspath(self.path)

    def died(self, pid: int, living: set[int]) -> None:
        """A worker is gone. Where its files cannot be added up now (a scrape takes long, the disk is full), they are when the next
        one dies; until then they count as they are."""
        from prometheus_client.multiprocess import mark_process_dead

        self._dead.add(pid)
        self._dead -= living  # the system has given a number again: that worker goes on counting in the same files
        try:
            mark_process_dead(pid, os.fspath(self.path))
            with locked(self.path, fcntl.LOCK_EX, PATIENCE) as held:
                if held:
                    for kind in KINDS:
                        _add_up(self.path, kind, self._dead)
                    self._dead.clear()
        except Exception:  # it would end the server
            log.exception("the figures of worker %s were not added up", pid)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._alive)


@contextlib.contextmanager
def locked(folder: Path, how: int, patience: float) -> Iterator[bool]:
    """The lock against adding up, shared (a scrape) or not. False where it could not be had in time."""
    file = os.open(folder / ADDING, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        end = time.monotonic() + patience
        while not (held := _try(file, how)) and time.monotonic() < end:
            time.sleep(0.01)
        yield held
    finally:
        os.close(file)


def _try(file: int, how: int) -> bool:
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _base() -> Path:
    runtime = os.environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]
    shared = Path("/dev/shm")
    return Path(runtime) if runtime else shared if shared.is_dir() else Path(tempfile.gettempdir())


def _sweep(base: Path) -> None:
    """Folders of instances of this user that were killed: their lock is free."""
    for folder in base.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if folder.stat().st_uid == os.getuid():
                file = os.open(folder / ALIVE, os.O_RDWR | os.O_NOFOLLOW)
                try:
                    if _try(file, fcntl.LOCK_EX):
                        shutil.rmtree(folder, ignore_errors=True)
                finally:
                    os.close(file)


def _add_up(folder: Path, kind: str, pids: set[int]) -> None:
    """What these have counted joins the file of the dead, whole or not at all."""
    from prometheus_client.mmap_dict import MmapedDict

    files = [file for pid in pids if counted(file := folder / f"{kind}_{pid}.db")]
    if not files:
        return
    dead = folder / f"{kind}_dead.db"
    sums: dict[str, float] = {}
    for file in [dead, *files] if dead.exists() else files:
        for key, value, _, _ in MmapedDict.read_all_values_from_file(os.fspath(file)):
            sums[key] = sums.get(key, 0.0) + value
    fresh = dead.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    size = 8 + sum(len(key.encode()) + 32 for key in sums)  # an entry: its length, the key, padding, two doubles
    with fresh.open("wb") as file:  # where memory is short this fails, but writing into a mapped hole kills the process
        os.posix_fallocate(file.fileno(), 0, size)
    written = MmapedDict(os.fspath(fresh))
    for key, value in sums.items():
        written.write_value(key, value, 0.0)
    written.close()
    fresh.replace(dead)
    for file in files:
        file.unlink()


def counted(file: Path) -> bool:
    """Whether there is something in it: a worker's file is empty for a moment, when it has just been made."""
    with contextlib.suppress(FileNotFoundError):
        return file.stat().st_size > 0
    return False
