"""The lines of a run for whoever watches, as they come, until it has ended."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import time
from typing import Any

from .places import Places
from .settling import repair
from .system import UNIT, Failed

OK, FAILED, GONE = 0, 1, 3  # exit statuses; GONE: nobody watches any more
LAST = "== "  # how the last line of a run begins
LOOK = 1.0  # seconds between looks whether the run is still there
GRACE = 5.0  # seconds that its last lines may take through journald


def conclude(record: dict[str, Any]) -> None:
    """The last line of a run: what became of it."""
    what = " ".join(filter(None, (record["action"], "of" if record["to"] else None, record["to"])))
    print(f"{LAST}{record['outcome']}: {what}{': ' + record['reason'] if record['reason'] else ''}", flush=True)


def follow(places: Places, run: str, watcher: int) -> int:
    """An exit status. watcher: a descriptor that is at its end when nobody watches any more, as when SSH was cut."""
    with subprocess.Popen(places.system.journal(run), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as journal:
        try:
            return _follow(places, run, watcher, journal.stdout.fileno())
        finally:
            journal.kill()


def _follow(places: Places, run: str, watcher: int, journal: int) -> int:
    rest, ended = b"", None
    while True:
        readable, _, _ = select.select([watcher, journal], [], [], LOOK)
        if watcher in readable and not os.read(watcher, 4096):
            return GONE
        if journal in readable:
            *lines, rest = (rest + os.read(journal, 65536)).split(b"\n")
            for line in (raw.decode(errors="replace") for raw in lines):
                print(line, flush=True)
                if line.startswith(LAST):
                    return OK if line.startswith(f"{LAST}ok") else FAILED
        elif any(unit.active for unit in places.system.units(f"{UNIT}.service")):
            ended = None
        else:
            ended = ended or time.monotonic()
            if time.monotonic() - ended > GRACE:
                return _without_last_line(places, run)


def _without_last_line(places: Places, run: str) -> int:
    """It was killed, or the server was restarted under it."""
    with places.locked() as free:
        if free and (places.under_way() or {}).get("run") == run:
            with contextlib.suppress(Failed, OSError):  # the record says what became of it, or that nobody knows
                repair(places, print)
    record = places.record_of(run)
    if record is None:
        print(f"{LAST}failed: it ended without a word; `fab unlock` cleans up, and says what is live", flush=True)
        return FAILED
    conclude(record)
    return OK if record["outcome"] == "ok" else FAILED
