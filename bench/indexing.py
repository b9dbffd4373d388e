"""Indexing: NDJSON over HTTP until every document can be found, against a plain tantivy loop over the same lines."""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Sequence

import orjson
import tantivy

from searchapi.model import IndexSettings

from .corpora import Corpus, Unavailable, packages, stdlib
from .figures import Aim, interleaved
from .options import Options
from .servers import Server, bodies, running
from .table import Part, Row

AIM = Aim("<=", 3.0)
HEAP = 40_000_000  # bytes, as the indexer's writer has


def indexing(options: Options, say) -> Part:
    notes = [
        "Ours: NDJSON over HTTP in bodies of 4 MiB, until every document can be found. Reference: one loop that decodes the same "
        "lines and adds them to tantivy: one writer thread, each text field indexed once, the body stored, one commit at the end.",
        "",
    ]
    rows = []
    for collect in (stdlib, packages):
        try:
            corpus = collect(options.documents)
        except Unavailable as error:
            notes.append(f"- Debian packages: skipped, because {error}.")
            continue
        notes.append(f"- {corpus.described()}.")
        say(f"{corpus.title}: indexing {len(corpus.documents):,} documents, {options.rounds} times")
        rows.append(_row(corpus, options))
    return Part("indexing", rows, notes)


def _row(corpus: Corpus, options: Options) -> Row:
    sent = list(bodies(corpus.documents))
    names = (f"{corpus.name}-{n}" for n in itertools.count(1))
    with running() as (ours, _, _):
        figures = interleaved(
            lambda: over_http(ours, next(names), corpus.settings, sent), lambda: plain(sent, corpus.settings), options.rounds
        )
    return Row("documents until they can be found", corpus.title, "s", figures, AIM)


def over_http(ours: Server, name: str, settings: IndexSettings, sent: Sequence[bytes]) -> float:
    """Seconds from the first byte until the last document can be found. The index is removed again."""
    ours.create(name, settings)
    started = time.perf_counter()
    ours.load(name, iter(sent))
    took = time.perf_counter() - started
    ours.ask("DELETE", f"/v1/indexes/{name}")
    return took


def plain(sent: Sequence[bytes], settings: IndexSettings) -> float:
    """Seconds of the plain loop over the same lines."""
    texts = [f.name for f in settings.fields.values() if f.is_text]
    builder = tantivy.SchemaBuilder()
    builder.add_bytes_field("_body", stored=True)
    for name in texts:
        builder.add_text_field(name)
    with tempfile.TemporaryDirectory(prefix="searchapi-bench-") as folder:
        started = time.perf_counter()
        writer = tantivy.Index(builder.build(), folder).writer(HEAP, 1)
        for body in sent:
            for line in body.splitlines():
                document, made = orjson.loads(line), tantivy.Document()
                made.add_bytes("_body", line)
                for name in texts:
                    value = document.get(name)
                    if value:
                        made.add_text(name, value)
                writer.add_document(made)
        writer.commit()
        took = time.perf_counter() - started
        writer.wait_merging_threads()
    return took
