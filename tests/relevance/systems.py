"""The two that are compared: plain BM25, as anyone gets it out of the box, and searchapi with its defaults. Both answer ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import tantivy

from searchapi.demo import SETTINGS
from searchapi.engines.embedded import EmbeddedEngine
from searchapi.engines.embedded.indexer import Indexer
from searchapi.model import IndexSettings, Operation
from searchapi.query.limits import Limits
from searchapi.query.params import search_from_args
from searchapi.search import SearchService

from .measure import DEPTH

INDEX = "python"
BATCH = 1000


class System(Protocol):
    def search(self, q: str) -> list[str]:
        """The ids of the first DEPTH hits, best first."""


class PlainBM25:
    """One tantivy index over the qualified name and the docstring: words split at what is not a letter or digit and lowercased, a
    query is any of its words in either field. No stemming, stop words, boosts, typos or prefixes. (The qualified name, because
    BM25 over the last part of it alone does worse, and what is compared with should be the better one.)"""

    def __init__(self, documents: Sequence[Mapping[str, Any]]):
        schema = tantivy.SchemaBuilder()
        schema.add_text_field("id", stored=True, tokenizer_name="raw")
        schema.add_text_field("name", tokenizer_name="default")
        schema.add_text_field("doc", tokenizer_name="default")
        self._schema = schema.build()
        self._index = tantivy.Index(self._schema)
        writer = self._index.writer(num_threads=1)
        for document in documents:
            writer.add_document(tantivy.Document(id=document["id"], name=document["id"], doc=document["doc"]))
        writer.commit()
        writer.wait_merging_threads()
        self._index.reload()
        splitting = tantivy.TextAnalyzerBuilder(tantivy.Tokenizer.simple())
        self._analyzer = splitting.filter(tantivy.Filter.lowercase()).build()

    def search(self, q: str) -> list[str]:
        clauses = [
            (tantivy.Occur.Should, tantivy.Query.term_query(self._schema, field, word))
            for word in self._analyzer.analyze(q)
            for field in ("name", "doc")
        ]
        searcher = self._index.searcher()
        hits = searcher.search(tantivy.Query.boolean_query(clauses), DEPTH).hits
        return [searcher.doc(address)["id"][0] for _, address in hits]


class SearchAPI:
    """The service in process, over an embedded engine of its own, with the demo's settings and the defaults of every parameter."""

    def __init__(self, documents: Sequence[Mapping[str, Any]], data_dir: Path, settings: IndexSettings = SETTINGS):
        self._limits = Limits()
        self._engine = EmbeddedEngine(data_dir)
        self._engine.create_index(INDEX, settings)
        indexer = Indexer(data_dir)
        for start in range(0, len(documents), BATCH):
            batch = documents[start : start + BATCH]
            self._engine.write(INDEX, [Operation("put", str(d["id"]), d, at) for at, d in enumerate(batch)])
        while indexer.step():
            pass
        self._info = self._engine.index(INDEX)
        self._service = SearchService(self._engine, self._limits)

    def search(self, q: str) -> list[str]:
        arguments = {"q": [q], "limit": [str(DEPTH)]}
        request = search_from_args(arguments, self._info, self._engine.capabilities, self._limits)
        return [hit.id for hit in self._service.search(self._info, request).hits]

    def close(self) -> None:
        self._engine.close()
