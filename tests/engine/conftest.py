"""The engines under test, loaded with the corpus, and a way to ask them as a client would.

A second engine joins by an entry in `OPEN`: everything in this folder speaks to the port, the query side and the service only.
"""

from __future__ import annotations

import itertools
import re
import secrets
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import pytest

from searchapi.engines.base import Engine, SystemStore
from searchapi.engines.embedded import EmbeddedEngine, SystemDatabase
from searchapi.engines.embedded.indexer import Indexer
from searchapi.engines.opensearch.engine import OpenSearchEngine
from searchapi.engines.opensearch.target import Target
from searchapi.engines.opensearch.worker import Worker
from searchapi.model import IndexInfo, IndexSettings, Operation, SearchAnswer, SearchRequest, SuggestAnswer, WriteResult
from searchapi.query.limits import Limits
from searchapi.query.params import search_from_args, search_from_json, suggest_from_args
from searchapi.search import SearchService
from tests.opensearch import server

from .corpus import LIBRARY, PLAIN, SETTINGS

PATIENCE = 30  # seconds until a write must be searchable: generous, the machine is shared


@dataclass
class Harness:
    """An engine with its indexer running, and what the tests do with it again and again."""

    engine: Engine
    system: SystemStore
    limits: Limits = field(default_factory=Limits)
    _names: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self):
        self.service = SearchService(self.engine, self.limits)

    def new_index(self, settings: IndexSettings | None = None) -> str:
        name = f"scratch-{next(self._names)}"
        self.engine.create_index(name, settings or IndexSettings())
        return name

    def write(self, name: str, *operations: Operation) -> WriteResult:
        """Write, and wait until searches see it."""
        result = self.engine.write(name, operations)
        assert self.engine.wait(name, result.seq, PATIENCE), "the indexer did not catch up"
        return result

    def put(self, name: str, documents: list[dict[str, Any]]) -> WriteResult:
        """Put documents, each of which must be accepted."""
        result = self.write(name, *(Operation("put", str(d["id"]), d, n) for n, d in enumerate(documents)))
        assert [outcome for outcome in result.outcomes if outcome.error] == []
        return result

    def request(self, name: str, **parameters: Any) -> tuple[IndexInfo, SearchRequest]:
        """The checked request that these query parameters make (as text, in the way of a URL)."""
        info = self.engine.index(name)
        args = {key: [value if isinstance(value, str) else orjson.dumps(value).decode()] for key, value in parameters.items()}
        return info, search_from_args(args, info, self.engine.capabilities, self.limits)

    def ask(self, name: str, **parameters: Any) -> SearchAnswer:
        return self.service.search(*self.request(name, **parameters))

    def post(self, name: str, body: dict[str, Any]) -> SearchAnswer:
        """The same with a JSON body."""
        info = self.engine.index(name)
        return self.service.search(info, search_from_json(body, info, self.engine.capabilities, self.limits))

    def suggest(self, name: str, **parameters: str) -> SuggestAnswer:
        info = self.engine.index(name)
        return self.service.suggest(info, suggest_from_args({k: [v] for k, v in parameters.items()}, info, self.limits))


@contextmanager
def _embedded(data_dir: Path) -> Iterator[Harness]:
    engine, system, stop = EmbeddedEngine(data_dir), SystemDatabase(data_dir), threading.Event()
    indexer = threading.Thread(target=Indexer(data_dir).run, args=(stop,), name="indexer")
    indexer.start()
    try:
        yield Harness(engine, system)
    finally:
        stop.set()
        indexer.join(PATIENCE)
        engine.close()
        assert not indexer.is_alive(), "the indexer did not stop"


@contextmanager
def _opensearch(node: str) -> Iterator[Harness]:
    prefix, stop = f"t{secrets.token_hex(6)}", threading.Event()
    target = Target.parse(f"{re.sub('^http', 'opensearch', node)}/{prefix}")
    engine = OpenSearchEngine(target)
    worker = threading.Thread(target=Worker(OpenSearchEngine(target)).run, args=(stop,), name="worker")
    worker.start()
    try:
        yield Harness(engine, engine.system)
    finally:
        stop.set()
        worker.join(PATIENCE)
        engine.close()
        server.ask(node, f"/{prefix}.*?expand_wildcards=all", "DELETE")
        assert not worker.is_alive(), "the worker did not stop"


OPEN = {"embedded": _embedded, "opensearch": _opensearch}


@pytest.fixture(scope="session", params=list(OPEN))
def harness(request, tmp_path_factory) -> Iterator[Harness]:
    """Each engine in turn, with the two indexes of the corpus in it: `library` and `plain`."""
    where = request.getfixturevalue("opensearch_node") if request.param == "opensearch" else tmp_path_factory.mktemp("data")
    with OPEN[request.param](where) as harness:
        for name, settings, documents in (("library", SETTINGS, LIBRARY), ("plain", IndexSettings(), PLAIN)):
            harness.engine.create_index(name, settings)
            harness.put(name, documents)
        yield harness


@pytest.fixture(scope="session")
def engine(harness) -> Engine:
    return harness.engine


@pytest.fixture(scope="session")
def ask(harness) -> Callable[..., SearchAnswer]:
    """`ask(q=…, filter=…)` of the library."""
    return lambda **parameters: harness.ask("library", **parameters)


def ids(answer: SearchAnswer) -> list[str]:
    return [hit.id for hit in answer.hits]
