"""Searches in this process, on a data folder that a server may have open as well: the engine's own time, without HTTP."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs

from searchapi.engines.embedded import EmbeddedEngine
from searchapi.model import IndexInfo, SearchAnswer
from searchapi.query.params import search_from_args
from searchapi.search import SearchService


class Searches:
    """Searches of one index, asked for by the same addresses as over HTTP."""

    def __init__(self, engine: EmbeddedEngine, index: str):
        self._engine = engine
        self._info: IndexInfo = engine.index(index)
        self._service = SearchService(engine)

    def answer(self, path: str) -> SearchAnswer:
        arguments = parse_qs(path.partition("?")[2], keep_blank_values=True)
        request = search_from_args(arguments, self._info, self._engine.capabilities)
        return self._service.search(self._info, request)

    def p50_ms(self, paths: Sequence[str]) -> float:
        """The median time that Engine.search and expand took for these searches."""
        return statistics.median(self.answer(path).engine_ms for path in paths)


@contextmanager
def opened(data_dir: Path) -> Iterator[EmbeddedEngine]:
    engine = EmbeddedEngine(data_dir)
    try:
        yield engine
    finally:
        engine.close()
