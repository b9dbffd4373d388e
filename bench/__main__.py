"""The command line: `python -m bench`."""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sqlite3
import sys
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from . import load, table
from .corpora import Unavailable
from .growth import growth
from .guards import guards
from .indexing import indexing
from .load import LoadFailed
from .memory import memory
from .opensearch import opensearch
from .options import QUICK, Options
from .servers import THREADS, WORKERS, ServerFailed
from .serving import serving

PARTS = {"serving": serving, "guards": guards, "indexing": indexing, "growth": growth, "memory": memory, "opensearch": opensearch}
PACKAGES = ("tantivy", "flask", "werkzeug", "gunicorn", "orjson")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def machine(options: Options) -> str:
    """What a run ran on, in one line."""
    found = [f"Python {platform.python_version()}", *(f"{name} {version(name)}" for name in PACKAGES)]
    found += [f"SQLite {sqlite3.sqlite_version}", f"Gunicorn with {WORKERS} workers × {THREADS} threads"]
    found += [f"{len(os.sched_getaffinity(0))} cores ({processor()}), shared with wrk, which asks"]
    rounds = f"medians of {options.rounds} rounds" if options.rounds > 1 else "one round only"
    return f"{', '.join(found)}; {rounds}, {options.seconds} s for each figure of wrk."


def processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def arguments(given: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench", description="Measures searchapi against the least that could be there."
    )
    parser.add_argument(
        "--quick", action="store_true", help="small corpora, one short round: shows that it works, its figures mean nothing"
    )
    parser.add_argument("--only", choices=PARTS, action="append", help="only this part; may be given several times")
    parser.add_argument("--rounds", type=int, metavar="N", help="of each row, instead of 5")
    parser.add_argument("--seconds", type=int, metavar="N", help="of wrk for each figure, instead of 3")
    parser.add_argument("--output", type=Path, metavar="PAGE", help="also put the tables into this page, between its markers")
    return parser.parse_args(given)


def main(given: list[str] | None = None) -> int:
    asked = arguments(given)
    options = QUICK if asked.quick else Options()
    options = replace(options, **{name: value for name in ("rounds", "seconds") if (value := getattr(asked, name))})
    if lacking := load.missing():
        say(f"bench: {lacking}")
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # unwinds, so that the servers are stopped too
    parts = []
    try:
        for name in asked.only or PARTS:
            part = PARTS[name](options, say)
            part = replace(part, notes=[machine(options), "", *part.notes])
            print(f"## {name}\n\n{part.markdown()}\n", flush=True)
            parts.append(part)
    except (LoadFailed, ServerFailed, Unavailable, OSError, ValueError) as error:
        say(f"bench: {error}")
        return 1
    except KeyboardInterrupt:
        return 130
    finally:
        if asked.output and parts:
            table.write(asked.output, parts)
    return 0


if __name__ == "__main__":
    sys.exit(main())
