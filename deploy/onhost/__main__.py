"""`python3 -B -m deploy.onhost`: what `deploy/release.py` calls on the server, as root."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import sys
import time
from typing import NoReturn

from . import copying, telling
from .checks import Refused
from .following import conclude, follow
from .places import Places, moment
from .settling import repair
from .shift import Interrupted, Shift
from .system import Failed, System

BUSY = 4  # exit status: another one is under way


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(prog="python3 -m deploy.onhost", description=__doc__)
    commands = made.add_subparsers(dest="command", required=True)
    changing = argparse.ArgumentParser(add_help=False)
    changing.add_argument("--run", required=True)
    changing.add_argument("--by", required=True)
    deploy = commands.add_parser("deploy", parents=[changing])
    deploy.add_argument("release")
    rollback = commands.add_parser("rollback", parents=[changing])
    rollback.add_argument("--to")
    commands.add_parser("snapshot", parents=[changing])
    commands.add_parser("repair", parents=[changing])
    commands.add_parser("status")
    commands.add_parser("releases")
    commands.add_parser("follow").add_argument("run")
    commands.add_parser("span").add_argument("release")
    administer = commands.add_parser("administer")
    administer.add_argument("arguments", nargs=argparse.REMAINDER)
    return made


def main(arguments: list[str] | None = None, places: Places | None = None) -> int:
    given = parser().parse_args(arguments)
    places = places or Places(System())
    if given.command in ("status", "releases"):
        print("\n".join(getattr(telling, given.command)(places)))
        return 0
    if given.command == "follow":
        return follow(places, given.run, sys.stdin.fileno())
    if given.command == "span":
        print(json.dumps(telling.span(places, given.release)))
        return 0
    if given.command == "administer":
        return _administer(places, given.arguments)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, _stop)
    with contextlib.suppress(Interrupted), places.locked() as free:
        if free:
            return _change(places, given)
        print("another deploy, rollback or snapshot is under way", flush=True)
        return BUSY
    return 1


def _change(places: Places, given: argparse.Namespace) -> int:
    """Exit status 0 where it was done. The last line says what became of it."""
    began = time.monotonic()

    def say(line: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {line}", flush=True)

    if places.system.stopping():
        say("the server shuts down: this is taken up after it")
        return 1
    shift = Shift(places, given.run, given.by, say)
    try:
        left = repair(places, say)
        if given.command == "repair":
            if left is not None:
                conclude(left)
            return 0
        if given.command == "deploy":
            shift.deploy(given.release)
        elif given.command == "rollback":
            shift.rollback(given.to)
        else:
            _snapshot(places, given, say)
    except (Failed, Interrupted, OSError) as error:
        if places.under_way():  # the server shuts down, or undoing failed: repair has the last word
            say(f"not brought to its end: {error or 'it was told to stop'}")
            return 1
        conclude(
            places.record_of(given.run) or note(places, given, "refused" if isinstance(error, Refused) else "failed", str(error))
        )
        return 1
    conclude(places.record_of(given.run))
    return 0


def _snapshot(places: Places, given: argparse.Namespace, say) -> None:
    began = moment()
    made = copying.snapshot(places, say)
    note(places, given, "ok", None, to=made.name, started=began)


def note(places: Places, given: argparse.Namespace, outcome: str, reason: str | None, **more: str) -> dict:
    """A record of what had no intent: a snapshot, or what was refused before one."""
    record = {
        "run": given.run,
        "action": given.command,
        "by": given.by,
        "from": None,
        "to": None,
        "slot": None,
        "started": moment(),
    }
    record |= {"ended": moment(), "outcome": outcome, "reason": reason, **more}
    with contextlib.suppress(OSError):  # a full disk: the journal has it
        places.system.append(places.history, json.dumps(record))
    places.system.record(json.dumps(record))
    return record


def _administer(places: Places, arguments: list[str]) -> int:
    """`python -m searchapi …` of the live release, in place of this process: what it prints is only seen by who asked."""
    live = places.live_release()
    if live is None:
        print("nothing is live yet; run `fab deploy` first", file=sys.stderr)
        return 1
    argv = places.system.administration(live.path, *arguments)
    os.execvp(argv[0], argv)


def _stop(*_: object) -> NoReturn:
    raise Interrupted


if __name__ == "__main__":
    sys.exit(main())
