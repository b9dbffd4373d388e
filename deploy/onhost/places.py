"""What is where on the server, and what was done so far. Everything is read anew when it is asked for: files are the truth."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..units import SLOTS, cooling, indexer, parts, web
from .system import Failed, System, Unit

__all__ = ["SLOTS", "Formats", "Places", "Release", "cooling", "folders", "indexer", "moment", "parts", "web"]

NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Formats:
    """A release's `searchapi/data.json`. reads: the oldest and the newest format of documents that it can read. writes: the one
    that it leaves behind. index: the format of its generations."""

    reads: tuple[int, int]
    writes: int
    index: str

    def read(self, written: int | None) -> bool:
        return written is None or self.reads[0] <= written <= self.reads[1]


@dataclass(frozen=True, slots=True)
class Release:
    """name: `<UTC time>-<commit>`, so that names are in the order in which they were shipped. Its folder may be gone."""

    name: str
    path: Path

    @property
    def there(self) -> bool:
        return (self.path / "REVISION").is_file()

    @property
    def revision(self) -> dict[str, Any]:
        """{commit, subject, shipped_by, shipped_at}; empty where it cannot be read."""
        return _json(self.path / "REVISION") or {}

    @property
    def formats(self) -> Formats:
        """Raises Failed."""
        found = _json(self.path / "searchapi" / "data.json")
        try:
            low, high = found["reads"]
            return Formats((int(low), int(high)), int(found["writes"]), str(found["index"]))
        except (TypeError, KeyError, ValueError):
            raise Failed(f"{self.name} has no searchapi/data.json that says which data it can read") from None

    @property
    def environment(self) -> Path | None:
        """Where its packages are; None before they are there."""
        link = self.path / ".venv"
        return link.readlink() if link.is_symlink() else None


class Places:
    """root: `/`, another folder in tests."""

    def __init__(self, system: System, root: Path = Path("/")):
        self.system = system
        base = root / "srv/searchapi"
        self.releases, self.venvs, self.slots, self.live = base / "releases", base / "venvs", base / "slots", base / "live.sock"
        self.run, self.env = root / "run/searchapi", root / "etc/searchapi/env"
        self.data, self.backups = root / "var/lib/searchapi", root / "var/backups/searchapi"
        self.certificates = root / "etc/letsencrypt/live"
        state = root / "var/lib/searchapi-deploy"
        self.state, self.history, self.bad, self.written, self.intent, self.lock = (
            state,
            state / "history.jsonl",
            state / "bad",
            state / "data.json",
            state / "intent.json",
            state / "lock",
        )

    @contextlib.contextmanager
    def locked(self) -> Iterator[bool]:
        """Whether nobody else changes anything, as long as this lasts. The name of the unit `searchapi-deploy` keeps others out;
        this keeps out who comes another way."""
        self.state.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            yield False
            return
        try:
            yield True
        finally:
            os.close(descriptor)

    # releases

    def release(self, name: str) -> Release:
        """Raises Failed for what is no name of a release: it becomes part of paths."""
        if not NAME.fullmatch(name):
            raise Failed(f"{name!r} is no release; `fab releases` shows those that there are")
        return Release(name, self.releases / name)

    def all_releases(self) -> list[Release]:
        """The newest first."""
        names = [path.name for path in self.releases.iterdir() if NAME.fullmatch(path.name)] if self.releases.is_dir() else []
        return [release for name in sorted(names, reverse=True) if (release := self.release(name)).there]

    def why_bad(self, name: str) -> str | None:
        with contextlib.suppress(OSError):
            return (self.bad / name).read_text().strip()
        return None

    def mark_bad(self, name: str, reason: str) -> None:
        self.bad.mkdir(exist_ok=True)
        self.system.write(self.bad / name, reason + "\n")

    # slots

    def live_slot(self) -> str | None:
        """Where live.sock points, and so where traffic goes. None before the first deploy."""
        with contextlib.suppress(OSError):
            slot = self.live.readlink().name.removesuffix(".sock")
            return slot if slot in SLOTS else None
        return None

    def idle_slot(self) -> str:
        return SLOTS[1] if self.live_slot() == SLOTS[0] else SLOTS[0]

    def in_slot(self, slot: str | None) -> Release | None:
        with contextlib.suppress(OSError, Failed):
            return self.release((self.slots / slot).readlink().name) if slot else None
        return None

    def live_release(self) -> Release | None:
        return self.in_slot(self.live_slot())

    def socket(self, slot: str) -> Path:
        return self.run / f"{slot}.sock"

    def running(self, slot: str) -> list[Unit]:
        return [unit for unit in self.system.units(*parts(slot)) if unit.active]

    def warm(self, slot: str) -> bool:
        """Whether all of a slot runs, so that traffic could go there now."""
        return all(unit.state == "active" for unit in self.system.units(*parts(slot)))

    # what was done

    def records(self) -> list[dict[str, Any]]:
        """The lines of history.jsonl, the oldest first; one that a power cut damaged is left out."""
        with contextlib.suppress(OSError):
            return [record for line in self.history.read_text(errors="replace").splitlines() if (record := _parsed(line))]
        return []

    def record_of(self, run: str) -> dict[str, Any] | None:
        return next((record for record in reversed(self.records()) if record.get("run") == run), None)

    def trail(self) -> list[str]:
        """The releases that were live one after another, the live one last. Going back leaves the last one out: going back again
        goes further back, not forward."""
        trail: list[str] = []
        for record in self.records():
            if record.get("outcome") == "ok" and record.get("action") in ("deploy", "rollback") and (to := record.get("to")):
                trail = trail[: trail.index(to) + 1] if to in trail else [*trail, to]
        live = self.live_release()
        if live is not None and live.name in trail:
            return trail[: trail.index(live.name) + 1]
        return [*trail, live.name] if live is not None else trail

    def was_live(self, name: str) -> bool:
        """Whether a release ever had the traffic."""
        return any(record.get("to") == name and record.get("outcome") == "ok" for record in self.records())

    def data_written(self) -> int | None:
        """The newest format of documents that any release here may have left; None where none has run."""
        found = _json(self.written)
        return found.get("written") if isinstance(found, dict) else None

    def wrote(self, format: int) -> None:
        if format > (self.data_written() or 0):
            self.system.write(self.written, json.dumps({"written": format}) + "\n")

    def under_way(self) -> dict[str, Any] | None:
        """What a deploy or rollback that has not ended meant to do."""
        found = _json(self.intent)
        return found if isinstance(found, dict) else None


def moment(at: float | None = None) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at))


def folders(path: Path) -> Iterator[Path]:
    with contextlib.suppress(OSError):
        yield from sorted(path.iterdir())


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _parsed(line: str) -> dict[str, Any] | None:
    with contextlib.suppress(ValueError):
        found = json.loads(line)
        return found if isinstance(found, dict) else None
    return None
