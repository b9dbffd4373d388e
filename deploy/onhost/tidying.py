"""What is no longer needed: old releases, their packages, and generations that no release reads any more.

Run as a program, `python3 -m deploy.onhost.tidying DATA FORMAT…`, it removes generations of other formats than these; that is done
as the user who owns the data.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from .environment import COMPLETE
from .places import NAME, SLOTS, Places, Release, folders
from .system import Failed

KEPT = 5
SHIPPING = 3600.0  # seconds that a release which was never tried is left alone: somebody may be about to
CODE = Path(__file__).resolve().parent.parent.parent
_GENERATION = re.compile(r"([a-z0-9]+)-[0-9a-f]{6,64}")


def tidy(places: Places, say: Callable[[str], None]) -> None:
    """Never fails: what cannot be removed is said, and tried again by the next deploy."""
    try:
        _releases(places, say)
        _environments(places)
        _generations(places, say)
    except (Failed, OSError) as error:
        say(f"tidying up: {error}")


def kept(places: Places) -> list[Release]:
    """Those in a slot, always; then those that were live, the latest first; then the newest others: five together."""
    there = {release.name: release for release in places.all_releases()}
    slots = [found.name for slot in SLOTS if (found := places.in_slot(slot)) is not None]
    ordered = dict.fromkeys([*slots, *reversed(places.trail()), *(name for name in there if not places.why_bad(name)), *there])
    return [there[name] for name in ordered if name in there][: max(KEPT, len(set(slots)))]


def _releases(places: Places, say: Callable[[str], None]) -> None:
    keep = {release.name for release in kept(places)}
    known = {record.get("to") for record in places.records()}
    for path in folders(places.releases):
        if path.name not in keep and (path.name in known or _age(path) > SHIPPING):
            places.system.remove(path)
            if NAME.fullmatch(path.name):
                say(f"removed the old release {path.name}")
    for path in folders(places.bad):
        if not (places.releases / path.name).exists():
            places.system.remove(path)


def _environments(places: Places) -> None:
    used = {release.environment for release in places.all_releases()}
    for path in folders(places.venvs):
        if path not in used and ((path / COMPLETE).exists() or _age(path) > SHIPPING):
            places.system.remove(path)


def _age(path: Path) -> float:
    return time.time() - path.lstat().st_mtime


# --------------------------------------------------------------------------------------------------------- generations


def _generations(places: Places, say: Callable[[str], None]) -> None:
    """Those of formats that no release here reads. Where it is not known what one reads, all are left."""
    try:
        read = {release.formats.index for release in places.all_releases()}
    except Failed:
        return
    foreign = formats(places.data) - read
    if foreign and read:
        argv = [sys.executable, "-B", "-m", __name__, str(places.data), *sorted(read)]
        for line in places.system.run_on_data(argv, cwd=CODE).splitlines():
            say(line)


def formats(data: Path) -> set[str]:
    """The formats of the generations that there are."""
    return {match[1] for path in data.glob("indexes/*/*-*") if path.is_dir() and (match := _GENERATION.fullmatch(path.name))}


def size(data: Path) -> int:
    """Bytes of all generations."""
    total = 0
    for path in data.glob("indexes/*/*-*/**/*"):
        with contextlib.suppress(OSError):
            total += path.lstat().st_size
    return total


def reached(data: Path, format: str) -> int:
    """How many writes the generations of a format have taken in: a figure that moves while they are built."""
    total = 0
    for path in data.glob(f"indexes/*/{format}-*/reached.json"):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            total += int(json.loads(path.read_bytes())["seq"])
    return total


def remove_foreign(data: Path, read: Iterable[str]) -> list[str]:
    """Remove the generations of other formats that no indexer holds, and say so."""
    said = []
    for path in data.glob("indexes/*/*-*"):
        match = _GENERATION.fullmatch(path.name)
        if path.is_symlink() or not path.is_dir() or match is None or match[1] in set(read):
            continue
        with _unused(path) as free:
            if free:
                shutil.rmtree(path)
                path.with_name(path.name + ".lock").unlink(missing_ok=True)
        said.append(
            f"{'removed' if free else 'left, for it is in use,'} a generation of the format {match[1]}, which no release here reads"
        )
    return said


@contextlib.contextmanager
def _unused(path: Path):
    """Holds the lock that an indexer would hold (searchapi/engines/embedded/indexer.py). False where one does."""
    descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    print("\n".join(remove_foreign(Path(sys.argv[1]), sys.argv[2:])))
