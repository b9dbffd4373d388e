"""The reading side of a generation: open readers, reloaded when the indexer has published more.

Workers only read. Before a search they compare what the indexer has published with what they have opened (a stat) and reload
if it moved, so a write is seen by every worker within a second, and a reader never needs a lock that a writer holds.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tantivy

from .generation import REACHED, Layout, Placement, open_index, open_words, read_reached
from .integrity import opening_fault

LEARNED = 20_000  # answers about words kept for one moment of a generation
COMPILED = 2_000  # queries of words and neighbours, of some 2 kB each
OPEN_READERS = 32  # generations; each holds mapped files and a watcher thread


class Opened:
    """The searchers of one moment of a generation. learned: what was asked about its words, for as long as they are these.
    queries: the queries that were made for them."""

    __slots__ = ("learned", "queries", "searcher", "words")

    def __init__(self, searcher: tantivy.Searcher, words: tantivy.Searcher):
        self.searcher = searcher
        self.words = words
        self.learned: dict[tuple, Any] = {}
        self.queries: dict[tuple, tuple[tuple, tuple]] = {}

    def recall(self, question: tuple, answer: Callable[[], Any]) -> Any:
        """The answer as it was given before, else a new one: people ask about the same words again and again."""
        known = self.learned.get(question)
        if known is None:
            if len(self.learned) >= LEARNED:
                self.learned.clear()
            known = self.learned[question] = answer()
        return known

    def compiled(self, columns: tuple, question: tuple, make: Callable[[], tuple]) -> tuple:
        """What `make` made for the very same columns before, else made anew. Their identity is asked for, because a comparison
        would cost as much as is gained; the answer keeps them alive, so that no others can have it."""
        known = self.queries.get((id(columns), question))
        if known is None:
            if len(self.queries) >= COMPILED:
                self.queries.clear()
            known = self.queries[id(columns), question] = (columns, make())
        return known[1]

    def frequency(self, name: str, word: str) -> int:
        """Documents that hold the word in a tantivy field."""
        known = self.learned.get((name, word))
        return known if known is not None else self.recall((name, word), lambda: self.searcher.doc_freq(name, word))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One moment of one generation, which a search uses from its first step to its last."""

    opened: Opened
    schema: tantivy.Schema
    words_schema: tantivy.Schema
    placement: Placement

    @property
    def searcher(self) -> tantivy.Searcher:
        return self.opened.searcher

    @property
    def words(self) -> tantivy.Searcher:
        return self.opened.words


class Reader:
    """An open generation. Raises OSError or ValueError where it cannot be opened or read."""

    def __init__(self, path: Path, layout: Layout):
        self.path = path
        self._index = open_index(path, layout)
        self._words = open_words(path)
        for index in (self._index, self._words):
            index.config_reader("manual", 0)
        self._schema, self._words_schema = self._index.schema, self._words.schema
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._opened: Opened | None = None

    def snapshot(self, placement: Placement) -> Snapshot:
        stamp = published(self.path)
        if stamp != self._stamp:
            with self._lock:
                if stamp != self._stamp:
                    self._reload(stamp)
        return Snapshot(self._opened, self._schema, self._words_schema, placement)

    def _reload(self, stamp: tuple[int, int]) -> None:
        try:
            self._words.reload()
            self._index.reload()
        except (ValueError, OSError) as error:
            if self._opened is None or opening_fault(self.path, error):
                raise
            return  # a disk that has turned read-only: what is open goes on
        self._opened = Opened(self._index.searcher(), self._words.searcher())
        self._stamp = stamp


def published(path: Path) -> tuple[int, int]:
    """What changes whenever the indexer has published. Raises FileNotFoundError where the generation is gone."""
    status = (path / REACHED).stat()
    return status.st_mtime_ns, status.st_ino


class Readers:
    """Open generations by path, the least recently used closed first."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, Reader] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, path: Path, layout: Layout) -> Reader:
        reader = self._open.get(path)
        if reader is None:
            with self._lock:
                reader = self._open.get(path)
                if reader is None:
                    reader = self._open[path] = Reader(path, layout)
                    while len(self._open) > OPEN_READERS:
                        self._open.popitem(last=False)
        elif len(self._open) > OPEN_READERS // 2:  # order matters only when closing is near
            with self._lock:
                if path in self._open:
                    self._open.move_to_end(path)
        return reader

    def drop(self, matches: Callable[[Path], bool]) -> None:
        with self._lock:
            for path in [p for p in self._open if matches(p)]:
                del self._open[path]


def reached_seq(path: Path, uuid: str) -> int:
    """The seq up to which searches of this generation see; 0 where it is lost or of another store."""
    reached = read_reached(path)
    return reached.seq if reached is not None and reached.uuid == uuid else 0
