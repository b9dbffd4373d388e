"""Which processes work on a data folder: each locks one byte of `processes.lock`, and the kernel frees it when the process ends,
however it ends. The byte's place, a random number, is the process's name.

Process ids would not do. They come back, and one unit of systemd need not see the processes of another (ProtectProc,
PrivateUsers).
"""

from __future__ import annotations

import fcntl
import os
import secrets
import threading
from functools import cache
from pathlib import Path

FILE = "processes.lock"

_naming = threading.Lock()


def me(data_dir: Path) -> str:
    """This process's name. Raises OSError."""
    with _naming:
        return _name(data_dir, os.getpid())


def alive(data_dir: Path, name: str) -> bool:
    """Whether the process with this name still runs. Raises OSError."""
    with _naming:
        try:
            if name == _name(data_dir, os.getpid()):  # it would not find its own lock
                return True
            place = int(name, 16)
        except ValueError:  # of an older release, which is gone
            return False
        file = _file(data_dir, os.getpid())
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
        except (BlockingIOError, PermissionError):
            return True
        fcntl.lockf(file, fcntl.LOCK_UN, 1, place)
        return False


@cache
def _name(data_dir: Path, pid: int) -> str:
    place = secrets.randbits(62)
    fcntl.lockf(_file(data_dir, pid), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    return f"{place:x}"


@cache
def _file(data_dir: Path, pid: int) -> int:
    """Never closed: with any descriptor of the file that a process closes, it loses all its locks there. A child opens its own,
    because it inherits no lock."""
    return os.open(data_dir / FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
