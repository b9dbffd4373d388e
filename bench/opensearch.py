"""The OpenSearch engine: our search route against the same query sent straight to OpenSearch, our import against the bulk helper
of opensearch-py. OpenSearch runs on the same machine, and both sides share its cores with it."""

from __future__ import annotations

import itertools
import re
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import orjson
from opensearchpy import OpenSearch as Client
from opensearchpy import helpers

from searchapi.engines.opensearch.engine import OpenSearchEngine
from searchapi.engines.opensearch.target import Target
from searchapi.query.limits import Limits
from searchapi.query.params import search_from_args
from searchapi.search import SearchService
from tests.opensearch import server as nodes

from .corpora import Corpus, Unavailable, stdlib
from .figures import Aim, Pair, compared, interleaved
from .load import Load, load
from .options import Options
from .queries import KINDS, Words, draw, paths
from .servers import Server, bodies, noop, searchapi, started
from .table import Part, Row

CLIENTS = (1, 8)
KIND = "exact"
WAIT, RATE, BULK = Aim("<=", 1.0), Aim(">=", 0.7), Aim(">=", 0.8)
WARM = 6  # times as long as a round, before the first one
NOOPS = 3  # no-op requests that our route may cost beside the same query asked directly


def opensearch(options: Options, say) -> Part:
    try:
        corpus = stdlib(options.documents)
    except Unavailable as error:
        return Part("opensearch", [], [f"- Skipped, because {error}."])
    notes = [
        f"Ours: searches of {KINDS[KIND]} with 10 hits, the API in front of OpenSearch. Reference: the query that it sends, sent "
        f"straight to OpenSearch; at one client the median wait against that + {NOOPS} × the no-op route's. Bulk: ours through "
        "POST in bodies of 4 MiB, the reference's through the bulk helper of opensearch-py with standard analysis, both until "
        "all can be found.",
        "",
        f"- {corpus.described()}; one node, heap 512 MB, one shard.",
    ]
    with running() as (ours, floor, node, target):
        say(f"{corpus.title}: indexing {len(corpus.documents):,} documents")
        ours.create(corpus.name, corpus.settings)
        ours.load(corpus.name, bodies(corpus.documents))
        asked = draw(Words.of(corpus.documents, corpus.settings), KIND, options.queries)
        direct = queries(target, corpus, asked)
        rows = [*_searching(ours, floor, node, paths(corpus.name, asked), direct, corpus, options, say)]
        say("bulk")
        rows.append(_bulk(ours, node, corpus, options))
    return Part("opensearch", rows, notes)


@contextmanager
def running() -> Iterator[tuple[Server, Server, str, Target]]:
    """(searchapi on a node, the no-op application, the node's URL, the node as the engine knows it)."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="searchapi-bench-")))
        cluster = stack.enter_context(nodes.OpenSearch(folder / "node", jvm=nodes.FULL))
        url, target = cluster.nodes[0].url, cluster.engine_url("bench")
        ours = stack.enter_context(started(searchapi(folder, folder / "data", ENGINE_URL=target)))
        floor = stack.enter_context(started(noop(folder)))
        yield ours, floor, url, Target.parse(target)


def queries(target: Target, corpus: Corpus, asked: Sequence[str]) -> list[str]:
    """What our route sends to OpenSearch in the end for each of these, as `path\\tbody`."""
    engine = OpenSearchEngine(target)
    sent: list[str] = []
    ask = engine.cluster.ask

    def noting(method: str, path: str, body: Any = None, **rest: Any) -> Any:
        if path.endswith("/_search") and isinstance(body, dict) and body.get("size"):
            kept = {name: value for name, value in body.items() if name != "timeout"}
            sent.append(f"{path}\t{orjson.dumps(kept).decode()}")
        return ask(method, path, body, **rest)

    engine.cluster.ask = noting  # type: ignore[method-assign]
    try:
        info, service = engine.index(corpus.name), SearchService(engine)
        for q in asked:
            service.search(info, search_from_args({"q": [q], "limit": ["10"]}, info, engine.capabilities, Limits()))
    finally:
        engine.close()
    return sent


def _searching(
    ours: Server, floor: Server, node: str, listed: list[str], direct: list[str], corpus: Corpus, options: Options, say
) -> Iterator[Row]:
    for base, asked in ((ours.base, listed), (node, direct)):  # a JVM compiles for half a minute until it is as fast as it gets
        load(base, asked, 4, WARM * options.seconds)
    for clients in CLIENTS:
        say(f"{clients} client{'s' * (clients > 1)}")
        rounds: list[tuple[Load, Load, Load]] = []
        for _ in range(options.rounds):
            three = (load(ours.base, listed, clients, options.seconds), load(node, direct, clients, options.seconds))
            rounds.append((*three, load(floor.base, ["/"], clients, options.seconds)))
        what = f"{KINDS[KIND]}, {clients} client{'s' * (clients > 1)}"
        rates = compared([Pair(a.per_second, b.per_second) for a, b, _ in rounds])
        yield Row(what, corpus.title, "requests/s", rates, RATE)
        if clients == 1:
            waits = [Pair(a.p50_ms, b.p50_ms + NOOPS * c.p50_ms) for a, b, c in rounds]
            yield Row(f"{KINDS[KIND]}, p50", corpus.title, "ms", compared(waits), WAIT)


def _bulk(ours: Server, node: str, corpus: Corpus, options: Options) -> Row:
    sent, names, client = list(bodies(corpus.documents)), itertools.count(1), Client(node, timeout=120)
    count = len(corpus.documents)

    def through_us() -> float:
        name = f"bulk-{next(names)}"
        ours.create(name, corpus.settings)
        began = time.perf_counter()
        ours.load(name, iter(sent))
        took = time.perf_counter() - began
        ours.ask("DELETE", f"/v1/indexes/{name}")
        return count / took

    def directly() -> float:
        name = f"direct-{next(names)}"
        texts = {f.name: {"type": "text"} for f in corpus.settings.fields.values() if f.is_text}
        client.indices.create(index=name, body={"settings": {"number_of_replicas": 0}, "mappings": {"properties": texts}})
        began = time.perf_counter()
        helpers.bulk(client, ({"_index": name, "_id": re.sub("^$", "-", d["id"]), "_source": d} for d in corpus.documents))
        client.indices.refresh(index=name)
        took = time.perf_counter() - began
        client.indices.delete(index=name)
        return count / took

    return Row("bulk", corpus.title, "documents/s", interleaved(through_us, directly, options.rounds), BULK)
