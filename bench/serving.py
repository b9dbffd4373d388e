"""Serving: the search route against a no-op route in the same Gunicorn, and one client's wait against the engine's own time."""

from __future__ import annotations

from collections.abc import Iterator

from .corpora import Corpus, Unavailable, packages, stdlib
from .figures import Aim, Pair, compared
from .inprocess import Searches, opened
from .load import Load, load
from .options import Options
from .queries import FULL, KINDS, Words, draw, paths
from .servers import Server, bodies, running
from .table import Part, Row

CLIENTS = (1, 8)
AIMS = {
    ("python", "exact", 8): Aim(">=", 0.40),
    ("packages", "exact", 8): Aim(">=", 0.25),
    ("python", "one_typo", 8): Aim(">=", 0.15),
    ("python", "two_typos", 8): Aim(">=", 0.15),
    ("packages", "one_typo", 8): Aim(">=", 0.15),
    ("packages", "two_typos", 8): Aim(">=", 0.15),
}
OVERHEAD = 1.2  # no-op requests that one search may cost beside the engine's own time
WAIT = Aim("<=", 1.0)


def serving(options: Options, say) -> Part:
    notes = [
        "Ours: requests/s of searches with 10 hits, highlighting off. Reference: requests/s of the no-op route. At one client also "
        f"the median wait, in ms, against the engine's own median + {OVERHEAD} × the no-op's.",
        "",
    ]
    rows: list[Row] = []
    for collect in (stdlib, packages):
        try:
            corpus = collect(options.documents)
        except Unavailable as error:
            notes.append(f"- Debian packages: skipped, because {error}.")
            continue
        notes.append(f"- {corpus.described()}; facets over {' and '.join(corpus.facets)}.")
        with running() as (ours, floor, data):
            say(f"{corpus.title}: indexing {len(corpus.documents):,} documents")
            ours.create(corpus.name, corpus.settings)
            ours.load(corpus.name, bodies(corpus.documents))
            with opened(data) as engine:
                rows += _corpus(corpus, ours, floor, Searches(engine, corpus.name), options, notes, say)
    return Part("serving", rows, notes)


def addresses(corpus: Corpus, options: Options) -> Iterator[tuple[str, list[str]]]:
    """(kind, addresses of searches) of every kind."""
    known = Words.of(corpus.documents, corpus.settings)
    for kind in KINDS:
        extra = {"facets": ",".join(corpus.facets)} if kind == "facets" else {}
        yield kind, paths(corpus.name, draw(known, kind, options.queries), **extra)


def _corpus(
    corpus: Corpus, ours: Server, floor: Server, engine: Searches, options: Options, notes: list[str], say
) -> Iterator[Row]:
    for kind, listed in addresses(corpus, options):
        notes.append(f"- {corpus.title}, {KINDS[kind]}: {answered(ours, listed)}")
        for clients in CLIENTS:
            say(f"{corpus.title}: {KINDS[kind]}, {clients} client{'s' * (clients > 1)}")
            rounds = [_round(ours, floor, listed, clients, options.seconds) for _ in range(options.rounds)]
            what = f"{KINDS[kind]}, {clients} client{'s' * (clients > 1)}"
            figures = compared([Pair(a.per_second, b.per_second) for a, b in rounds])
            yield Row(what, corpus.title, "requests/s", figures, AIMS.get((corpus.name, kind, clients)))
            if clients == 1:
                own = [engine.p50_ms(listed) for _ in rounds]
                waits = [Pair(a.p50_ms, e + OVERHEAD * b.p50_ms) for (a, b), e in zip(rounds, own, strict=True)]
                engine_ms = compared([Pair(e, 1.0) for e in own]).ours
                yield Row(f"{KINDS[kind]}, p50 (engine {engine_ms:.2f} ms)", corpus.title, "ms", compared(waits), WAIT)


def _round(ours: Server, floor: Server, listed: list[str], clients: int, seconds: int) -> tuple[Load, Load]:
    return load(ours.base, listed, clients, seconds), load(floor.base, ["/"], clients, seconds)


def answered(ours: Server, listed: list[str]) -> str:
    """What the answers hold, in words, so that a reader can see what was measured. Every search is asked once, which also warms."""
    answers = [ours.get(path) for path in listed]
    full = sum(len(a["hits"]) == FULL for a in answers)
    mended = sum("corrections" in a for a in answers)
    return f"{len(answers)} searches, {full / len(answers):.0%} with 10 hits, {mended / len(answers):.0%} with corrections."
