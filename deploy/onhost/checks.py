"""What would stop a deploy later, found before anything is changed."""

from __future__ import annotations

import os

from . import tidying
from .places import Places, Release, parts
from .system import Failed, memory

DISK = 512 << 20  # bytes free, beside what a rebuild of the indexes needs
MEMORY = 256 << 20  # bytes free for a second instance and its indexer


class Refused(Failed):
    """Nothing was changed, and the release is not to blame."""


def preflight(places: Places, release: Release, slot: str) -> None:
    """Raises Refused."""
    if not release.there:
        raise Refused(f"{release.name} was not shipped whole; deploy again")
    if release == places.live_release():
        raise Refused(f"{release.name} is live already")
    if missing := _missing(places, slot):
        raise Refused(f"this server is not provisioned ({missing}); run `fab provision`")
    require_formats(places, release)
    _require_disk(places, release)
    if not places.running(slot) and (free := memory()) < MEMORY:  # what runs there is stopped, and gives its memory back
        raise Refused(f"{free >> 20} MiB of memory are free; a second instance needs {MEMORY >> 20} MiB")


def _missing(places: Places, slot: str) -> str | None:
    if absent := [unit.name for unit in places.system.units(*parts(slot)) if not unit.loaded]:
        return f"{absent[0]} is missing"
    if not places.system.has_user():
        return "there is no user searchapi"
    return None if places.env.exists() else f"{places.env} is missing"


def _require_disk(places: Places, release: Release) -> None:
    """Another format of generations is built beside the one that is there."""
    rebuilt = places.live_release() is not None and release.formats.index not in tidying.formats(places.data)
    need = DISK + (tidying.size(places.data) if rebuilt else 0)
    figures = os.statvfs(places.data)
    if (free := figures.f_bavail * figures.f_frsize) < need:
        raise Refused(f"{free >> 20} MiB are free on the disk, {need >> 20} MiB are needed")


def require_formats(places: Places, release: Release) -> None:
    """That it can read the data, and that the one it stands beside can read what it writes. Raises Refused."""
    formats, written, live = release.formats, places.data_written(), places.live_release()
    if not formats.read(written):
        reads = " to ".join(str(number) for number in dict.fromkeys(formats.reads))
        hint = "; `fab snapshot`s taken before that can be restored (docs/operations.md)" if written > formats.reads[1] else ""
        raise Refused(f"{release.name} reads data of the format {reads}, and what is here was written in {written}{hint}")
    if live is not None and live.there and not live.formats.read(formats.writes):
        reads = " to ".join(str(number) for number in dict.fromkeys(live.formats.reads))
        both = f"{release.name} writes data of the format {formats.writes}, and the live {live.name} reads {reads}"
        raise Refused(f"{both}: deploy a release that reads both and writes the old one first")
