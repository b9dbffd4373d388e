"""One generation being written: documents of SQLite to tantivy documents, in batches, each published when it is committed."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import tantivy

from ...analysis import composed, identifier_forms, words
from ...documents import values
from ...model import Field
from .generation import Layout, Placement, Reached, Slots, indexed_value, open_index, open_words, read_reached, write_reached
from .state import Generation, State
from .store import Store

HEAP = 40_000_000  # bytes of tantivy's writer, one thread
WORDS_HEAP = 15_000_000
ROWS = 1_000  # documents read from SQLite at once
PASS = 1.0  # seconds one pass takes at most: other indexes wait
BULK = 500  # writes; so many at once are a load, whose commits wait for more, because every segment makes every search dearer
HOLD = 4.0  # seconds a load's writes wait at most
COMMIT_BYTES = 64 * 1024 * 1024  # of documents in one commit, at most


class GenerationWriter:
    """Raises ValueError or OSError where tantivy cannot open, write or commit; it is then to be closed and opened again.

    reached: every write up to this seq is committed and published.
    caught_up: and that was all there was when the last pass began."""

    def __init__(self, path: Path, uuid: str, layout: Layout, *, fresh: bool):
        if fresh:
            shutil.rmtree(path, ignore_errors=True)
        self.path = path
        self._uuid = uuid
        self._layout = layout
        index = open_index(path, layout, create=fresh)
        vocabulary = open_words(path, create=fresh)
        if fresh:
            write_reached(path, Reached(uuid, 0))
        reached = read_reached(path)
        self.reached = reached.seq if reached is not None else 0
        self.caught_up = False
        self._applied = self.reached  # in tantivy's writer, committed or not
        self._rows = self._bytes = 0  # of that, not committed
        self._since = 0.0
        self._index = index
        self._writer = index.writer(HEAP, 1)
        if not fresh:
            with contextlib.suppress(ValueError):  # on a full disk it removes, and then fails to note it
                self._writer.garbage_collect_files()  # what failed commits have left would keep a full disk full
        self._vocabulary = _Vocabulary(vocabulary)
        self._placed: Placement | None = None
        self._encoder: _Encoder | None = None

    def advance(self, store: Store, state: State, g: Generation) -> bool:
        """Apply what was written since, for at most about PASS; commit and publish it, unless it is part of a load that goes on.
        Whether there was anything."""
        if g.placement is not self._placed:
            self._placed, self._encoder = g.placement, _Encoder(g.placement, self._vocabulary)
        before, self.caught_up = self._applied, False
        # One moment of the store for all of it: a document with a field newer than `placement` must not be indexed without it,
        # and one that is rewritten meanwhile must not slip from behind the seq that is published to after it.
        with store.reading() as newest:
            if store.state().version != state.version:
                return True
            self._applied = self._apply(store, newest)
            written_ms = store.written_ms(self._applied)
        if self._applied != self.reached:
            if self._may_wait(quiet=self._applied == before, behind=self._applied < newest, answers=g.state == "live"):
                return True
            self._commit(written_ms)
            self.caught_up = self.reached == newest
            return True
        self.caught_up = self.reached == newest
        return False

    def _may_wait(self, *, quiet: bool, behind: bool, answers: bool) -> bool:
        """Whether what is not committed may wait for more. A generation that does not answer yet waits while it is behind, and no
        longer: where writes never pause it would never come to answer."""
        if quiet or self._rows < BULK or self._bytes > COMMIT_BYTES:
            return False
        return time.monotonic() - self._since < HOLD if answers else behind

    def _apply(self, store: Store, newest: int) -> int:
        """The seq up to which everything is in: `newest`, the last there is, or less where there was too much for one pass."""
        started, seq = time.monotonic(), self._applied
        if not self._rows:
            self._since = started
        while rows := store.changes(seq, ROWS):
            for seq, id, body in rows:
                self._writer.delete_documents_by_term("_id", id)
                if body is not None:
                    self._writer.add_document(self._encoder.document(seq, id, body))
                    self._bytes += len(body)
            self._rows += len(rows)
            if self._bytes > COMMIT_BYTES or time.monotonic() - started > PASS:
                return seq
        return newest  # the last rows may be gone: tombstones that were pruned, or a version given from outside

    def _commit(self, written_ms: int | None) -> None:
        self._vocabulary.commit()  # first: a word that is in no document yet does no harm
        self._writer.commit()
        write_reached(self.path, Reached(self._uuid, self._applied, written_ms))
        self.reached, self._rows, self._bytes = self._applied, 0, 0
        if self._vocabulary.wants_counting:
            self._index.reload()
            self._vocabulary.recount(self._index.searcher(), [f"t{n}" for n in range(len(self._layout.text))])

    def rest(self) -> None:
        """Finish what merges there are, and close."""
        self._writer.wait_merging_threads()
        self._vocabulary.writer.wait_merging_threads()
        del self._writer, self._vocabulary, self._encoder

    def close(self) -> None:
        """Give up what is not committed, and the lock."""
        for writer in (self._writer, self._vocabulary.writer):
            with contextlib.suppress(ValueError, OSError, RuntimeError):
                writer.rollback()
        del self._writer, self._vocabulary, self._encoder


class _Encoder:
    """Documents as one placement lays them out."""

    def __init__(self, placement: Placement, vocabulary: _Vocabulary):
        self._fields: dict[str, Field] = {name: slots.field for name, slots in placement.slots.items()}
        self._adders = {name: _adder(slots) for name, slots in placement.slots.items()}
        self._vocabulary = vocabulary

    def document(self, seq: int, id: str, body: bytes) -> tantivy.Document:
        document = tantivy.Document()
        document.add_text("_id", id)
        document.add_integer("_seq", seq)
        document.add_bytes("_body", body)
        texts: list[str] = []
        for name, found in values(orjson.loads(body), self._fields).items():
            try:
                self._adders[name](document, found, texts)
            except TypeError:  # of a type that this older generation does not hold; the next one will
                pass
            document.add_text("_fields", name)
        if texts:
            self._vocabulary.add("\n".join(texts))
        return document


Adder = Callable[[tantivy.Document, list[Any], list[str]], None]


def _adder(slots: Slots) -> Adder:
    """How a field's values join a tantivy document; what was text is also appended to the list. Raises TypeError."""
    kind = slots.field.type
    if kind == "text":
        return _text_adder(slots)
    return _keyword_adder(slots) if kind == "keyword" else _number_adder(slots)


def _text_adder(slots: Slots) -> Adder:
    names = (f"t{slots.text}", f"s{slots.text}") if slots.field.language != "none" else (f"t{slots.text}",)
    keyword = _keyword_adder(slots) if slots.keyword is not None else None

    def add(document: tantivy.Document, found: list[Any], texts: list[str]) -> None:
        add_text = document.add_text
        for value in found:
            value = composed(_expected(value, str))
            forms = identifier_forms(value)
            for name in names:
                add_text(name, value)
            texts.append(value)
            if forms:
                for name in names:
                    add_text(name, forms)
                texts.append(forms)
        if keyword is not None:
            keyword(document, found, texts)

    return add


def _keyword_adder(slots: Slots) -> Adder:
    name = f"k{slots.keyword}"

    def add(document: tantivy.Document, found: list[Any], texts: list[str]) -> None:
        for value in found if len(found) == 1 else dict.fromkeys(found):
            document.add_text(name, indexed_value(slots, _expected(value, str)))

    return add


def _number_adder(slots: Slots) -> Adder:
    integer = f"i{slots.integer}" if slots.integer is not None else None
    float_ = f"f{slots.float}" if slots.float is not None else None

    def add(document: tantivy.Document, found: list[Any], texts: list[str]) -> None:
        for value in found if len(found) == 1 else dict.fromkeys(found):
            _expected(value, (int, float))
            if integer is not None and isinstance(value, int):
                document.add_integer(integer, int(value))
            if float_ is not None:
                document.add_float(float_, float(value))

    return add


def _expected(value: Any, kind: type | tuple[type, ...]) -> Any:
    if not isinstance(value, kind):
        raise TypeError(f"{value!r} is not of this generation's type")
    return value


class _Vocabulary:
    """The words of a generation, as an index of their own in which typos are looked up. New words join with every commit;
    their frequencies are counted anew when their number has doubled, so that counting stays a small part of writing."""

    def __init__(self, index: tantivy.Index):
        self._schema = index.schema
        self.writer = index.writer(WORDS_HEAP, 1)
        index.reload()
        self._known = {word for word, _ in index.searcher().terms_with_prefix("word", "")}
        self._counted = len(self._known)
        self._new = False

    def add(self, text: str) -> None:
        for word in set(words(text)) - self._known:
            self._known.add(word)
            self._put(word, 1)

    def _put(self, word: str, n: int) -> None:
        document = tantivy.Document()
        document.add_text("word", word)
        document.add_integer("n", n)
        self.writer.add_document(document)
        self._new = True

    def commit(self) -> None:
        if self._new:
            self.writer.commit()
            self._new = False

    @property
    def wants_counting(self) -> bool:
        return len(self._known) > 2 * self._counted + 100

    def recount(self, searcher: tantivy.Searcher, fields: list[str]) -> None:
        """Words that no document holds any more leave."""
        counts: dict[str, int] = {}
        for name in fields:
            for word, n in searcher.terms_with_prefix(name, ""):
                counts[word] = max(n, counts.get(word, 0))
        self.writer.delete_all_documents()
        for word, n in counts.items():
            self._put(word, n)
        self.commit()
        self._known = set(counts)
        self._counted = len(counts)
