"""Memory: the proportional set size (PSS) of all processes of searchapi, which counts a shared page once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from .corpora import Unavailable, packages, stdlib
from .figures import Aim, Pair, compared
from .load import load
from .options import Options
from .servers import Server, bodies, running
from .serving import addresses
from .table import Part, Row

MOST = 200.0  # MB
AIM = Aim("<=", 1.0)
MB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes. pss: of all; anonymous: what cannot be given back by dropping pages of files."""

    pss: int
    anonymous: int


def memory(options: Options, say) -> Part:
    try:
        corpus = packages(options.documents)
    except Unavailable:
        corpus = stdlib(options.documents)
    rows: list[Row] = []
    notes = [
        "Ours: the sum of PSS over Gunicorn's master and workers and the indexer, mapped files of the index included. "
        f"Reference: {MOST:.0f} MB.",
        "",
        f"- {corpus.described()}.",
    ]

    def read(what: str, ours: Server, floor: Server) -> None:
        found, bare = measured(ours.pids()), measured(floor.pids())
        rows.append(Row(what, corpus.title, "MB", compared([Pair(found.pss / MB, MOST)]), AIM))
        notes.append(
            f"- {what}: of {found.pss / MB:.0f} MB {found.anonymous / MB:.0f} MB are anonymous, the rest are pages of files; "
            f"the no-op server holds {bare.pss / MB:.0f} MB."
        )

    with running() as (ours, floor, _):
        say(f"memory: indexing {len(corpus.documents):,} documents")
        ours.create(corpus.name, corpus.settings)
        ours.load(corpus.name, bodies(corpus.documents))
        read("just indexed", ours, floor)
        mixed = [path for _, listed in addresses(corpus, options) for path in listed]
        say(f"memory: {options.searches:,} searches")
        _search(ours, mixed, options.searches)
        read(f"after {options.searches:,} searches", ours, floor)
        ours.restart()
        read("started again, idle", ours, floor)
        _search(ours, mixed, options.searches)
        read(f"started again, after {options.searches:,} searches", ours, floor)
    return Part("memory", rows, notes)


def _search(ours: Server, listed: list[str], count: int) -> None:
    done = 0
    while done < count:
        done += load(ours.base, listed, 8, 2).requests


def measured(pids: Iterable[int]) -> Memory:
    """Of these processes, those that have ended left out."""
    found = []
    for pid in pids:
        try:
            found.append(rollup(Path(f"/proc/{pid}/smaps_rollup").read_text()))
        except (FileNotFoundError, ProcessLookupError):
            continue
    return Memory(sum(m.pss for m in found), sum(m.anonymous for m in found))


def rollup(text: str) -> Memory:
    """/proc/PID/smaps_rollup (Documentation/filesystems/proc.rst), whose figures are in kB."""
    lines = (line.partition(":") for line in text.splitlines()[1:])
    kilobytes = {name: int(rest.split()[0]) for name, _, rest in lines}
    return Memory(kilobytes["Pss"] * 1024, kilobytes["Pss_Anon"] * 1024)
