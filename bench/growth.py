"""Growth: the same searches over a corpus and over one ten times as large, by HTTP and in the engine."""

from __future__ import annotations

import itertools

from . import zipf
from .figures import Aim, Pair, compared
from .inprocess import Searches, opened
from .load import load
from .options import Options
from .queries import Words, draw, paths
from .servers import Server, bodies, running
from .table import Part, Row

AIM = Aim("<=", 12.0)
SAMPLE = 2_000  # documents, in both corpora, that queries are drawn from
PAGE = 1_000
PATIENT = {"timeout_ms": "10000"}
SORT = {"sort": "-published,price"}


def growth(options: Options, say) -> Part:
    small, large = options.growth
    names = {size: f"zipf-{size}" for size in options.growth}
    notes = [
        f"Ours: median time of a search over {large:,} generated documents. Reference: over the first {small:,} of them. "
        f"Words, brands and categories follow Zipf's law; deep cursors go on after {options.depth:,} documents.",
        "",
    ]
    rows = []
    with running() as (ours, _, data):
        for size, name in names.items():
            say(f"indexing {size:,} generated documents")
            ours.create(name, zipf.SETTINGS)
            ours.load(name, bodies(zipf.documents(size)))
        asked = {size: searches(ours, name, options) for size, name in names.items()}
        with opened(data) as engine:
            engines = {size: Searches(engine, name) for size, name in names.items()}
            for what in asked[small]:
                say(f"growth: {what}")
                lists = {size: asked[size][what] for size in names}
                for searches_of in engines:  # once, to warm
                    engines[searches_of].p50_ms(lists[searches_of])
                own = [
                    Pair(engines[large].p50_ms(lists[large]), engines[small].p50_ms(lists[small])) for _ in range(options.rounds)
                ]
                http = [
                    Pair(*(load(ours.base, lists[size], 1, options.seconds).p50_ms for size in (large, small)))
                    for _ in range(options.rounds)
                ]
                rows.append(Row(f"{what}, engine p50", "generated", "ms", compared(own), AIM))
                rows.append(Row(f"{what}, HTTP p50", "generated", "ms", compared(http)))
    return Part("growth", rows, notes)


def searches(ours: Server, name: str, options: Options) -> dict[str, list[str]]:
    """Addresses by what they measure."""
    known = Words.of(zipf.documents(min(SAMPLE, options.growth[0])), zipf.SETTINGS)
    exact = draw(known, "exact", options.growth_queries)
    return {
        "exact words": paths(name, exact, **PATIENT),
        "prefixes": paths(name, draw(known, "prefixes", options.growth_queries), **PATIENT),
        "two typos in every word": paths(name, draw(known, "two_typos", options.growth_queries), **PATIENT),
        "two facets": paths(name, exact, facets="category,brand", **PATIENT),
        "sort by two fields": paths(name, exact, **SORT, **PATIENT),
        "deep cursors": deep(ours, name, options),
    }


def deep(ours: Server, name: str, options: Options) -> list[str]:
    """Pages of all documents by two fields, each going on where the one before ended, from `depth` documents on."""
    following = paths(name, [""], **SORT, **PATIENT)[0].replace("limit=10&", f"limit={PAGE}&")
    for _ in range(options.depth // PAGE):
        following = ours.get(following)["next"]
    following = following.replace(f"limit={PAGE}&", "limit=10&")
    found = []
    for _ in itertools.repeat(None, min(options.growth_queries, 20)):
        found.append(following)
        following = ours.get(following)["next"]
    return found
