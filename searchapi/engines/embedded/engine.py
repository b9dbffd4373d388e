"""The embedded engine: the port over SQLite and tantivy.

Writes go to SQLite and are acknowledged when it has committed; an indexer (`indexer.py`) carries them to tantivy; reads by id
come from SQLite, searches from the live generation.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from tantivy import Query as TQuery

from ...documents import DEFAULT_LIMITS, DocumentLimits
from ...exceptions import EngineError, EngineUnavailable, IndexNotFound, SearchAPIError
from ...model import (
    Document,
    EngineHealth,
    Expansion,
    Field,
    Filter,
    IndexInfo,
    IndexProgress,
    IndexSettings,
    IndexStats,
    Once,
    Operation,
    Query,
    Result,
    SettingsChange,
    WriteResult,
)
from ..base import Capabilities
from ..changes import Changes
from . import searching
from .facets import count
from .generation import WORDS
from .index import Readers, Snapshot, reached_seq
from .integrity import damage, opening_fault
from .sqlite import Connections
from .store import Store
from .system import REBUILD, SystemDatabase

log = logging.getLogger(__name__)

DELETE_CHUNK = 10_000  # documents of a delete by filter in one transaction
CATCH_UP = 600.0  # seconds a delete by filter waits for the indexer
_PANIC = "pyo3_runtime"  # where tantivy's panics come from; they are no Exceptions
POLL = 0.01  # seconds between looks at what the indexer has published


class EmbeddedEngine:
    capabilities = Capabilities(engine="embedded")

    def __init__(self, data_dir: Path, system: SystemDatabase | None = None, limits: DocumentLimits = DEFAULT_LIMITS):
        self.data_dir = Path(data_dir)
        self.limits = limits
        self.connections = Connections()
        self.system = system or SystemDatabase(self.data_dir, self.connections)
        self._stores: dict[str, Store] = {}
        self._readers = Readers()

    # ------------------------------------------------------------------------------------------------------- indexes

    def names(self) -> list[str]:
        return [name for name, _, _ in self.system.registered()]

    def indexes(self) -> list[IndexInfo]:
        return [self._info(name, uid, created, self._open(uid)) for name, uid, created in self.system.registered()]

    def index(self, name: str) -> IndexInfo:
        uid, created = self.system.find(name)
        return self._info(name, uid, created, self._open(uid))

    def create_index(self, name: str, settings: IndexSettings, fields: Iterable[Field] = ()) -> IndexInfo:
        uid = uuid.uuid4().hex
        folder = self.system.folder(uid)
        try:
            Store.create(folder, settings, fields)
            self.system.register(name, uid)
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return self.index(name)

    def delete_index(self, name: str) -> None:
        uid = self.system.unregister(name)
        store = self._stores.pop(uid, None)
        self._readers.drop(lambda path: path.parent == self.system.folder(uid))
        if store is not None:
            self.connections.drop(store.path)

    def update_settings(self, name: str, settings: IndexSettings, dry_run: bool = False) -> SettingsChange:
        store = self._store(name)
        changed, rebuild, begun = store.put_settings(settings, dry_run=dry_run)
        task = self._rebuild_task(name, begun) if begun else None
        return SettingsChange(changed, rebuild, store.counters()["documents"], task)

    def rebuild(self, name: str) -> str:
        return self._rebuild_task(name, self._store(name).start_rebuild())

    def _rebuild_task(self, name: str, generation: str) -> str:
        """What is asked of the indexer is in the store already; the task tells how far it is."""
        return self.system.create_task(REBUILD, name, {"generation": generation}).id

    def rebuild_progress(self, name: str, generation: str) -> tuple[str, int, int]:
        """(state of the generation, or "gone"; seq reached; newest seq)."""
        store = self._store(name)
        state = store.state()
        found = next((g.state for g in state.generations if g.name == generation), "gone")
        return found, reached_seq(store.folder / generation, state.uuid), store.newest_seq()

    def stats(self, name: str) -> IndexStats:
        store = self._store(name)
        state, done = store.state(), self._progress(store)
        size = sum(path.stat().st_size for path in _files(store.folder))
        fields = {}
        with contextlib.suppress(EngineUnavailable):
            snapshot = self._snapshot(store)
            if snapshot is not None:
                fields = {name: _holding(snapshot, name) for name in state.fields}
        building = state.one("building") is not None
        return IndexStats(done.documents, size, done.seq, done.indexed_seq, done.lag, done.lag_seconds, building, fields)

    def progress(self, name: str) -> IndexProgress:
        return self._progress(self._store(name))

    def progresses(self, names: Sequence[str]) -> dict[str, IndexProgress]:
        found = {}
        for name in names:
            with contextlib.suppress(SearchAPIError):  # deleted meanwhile, or its disk fails: then the others matter
                found[name] = self.progress(name)
        return found

    def _progress(self, store: Store) -> IndexProgress:
        state, seq = store.state(), store.newest_seq()
        live = state.one("live")
        indexed = reached_seq(store.folder / live.name, state.uuid) if live else 0
        return IndexProgress(store.counters()["documents"], seq, indexed, *store.lag(indexed))

    # ----------------------------------------------------------------------------------------------------- documents

    def write(self, name: str, operations: Sequence[Operation], once: Once | None = None) -> WriteResult:
        return self._store(name).write(operations, once)

    def get(self, name: str, id: str) -> Document:
        return self._store(name).get(id)

    def scan(self, name: str, after: str | None = None, limit: int | None = None) -> Iterator[Document]:
        return self._store(name).scan(after, limit)

    def changes(self, name: str, after: str | None, limit: int = 1000) -> Changes:
        return self._store(name).follow(after, limit)

    def delete_where(self, name: str, filter: Filter, progress: Callable[[int], None] = lambda done: None) -> int:
        """Documents written after this began, and those rewritten meanwhile, stay: they came after the delete."""
        store = self._store(name)
        deleted, upto = 0, store.newest_seq()
        self._caught_up(store, upto)
        while True:
            with self.reading(name) as reading:
                found = reading.matching(filter, upto, DELETE_CHUNK)
            if not found:
                return deleted
            count, seq = store.delete_unchanged(found)
            deleted += count
            progress(deleted)
            self._caught_up(store, seq)

    def _caught_up(self, store: Store, seq: int) -> None:
        if not self._wait(store, seq, CATCH_UP):
            raise EngineUnavailable("The index did not catch up with the documents; is the indexer running?", code="index_behind")

    def wait(self, name: str, seq: int, timeout: float) -> bool:
        return self._wait(self._store(name), seq, timeout)

    def _wait(self, store: Store, seq: int, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while True:
            state = store.state()
            live = state.one("live")
            if live is not None and reached_seq(store.folder / live.name, state.uuid) >= seq:
                return True
            if time.monotonic() >= deadline:
                return False
            time.sleep(POLL)

    # -------------------------------------------------------------------------------------------------------- search

    def search(self, name: str, query: Query) -> Result:
        with self.reading(name) as reading:
            return reading.search(query)

    def expand(self, name: str, word: str, fields: Sequence[str], kind: str, distance: int = 1, limit: int = 20) -> list[Expansion]:
        with self.reading(name) as reading:
            return reading.expand(word, fields, kind, distance, limit)

    def frequency(self, name: str, word: str, fields: Sequence[str]) -> int:
        with self.reading(name) as reading:
            return reading.frequency(word, fields)

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[searching.Reading]:
        """A generation that tantivy cannot read is reported, so that the indexer builds another."""
        store = self._store(name)
        try:
            yield searching.Reading(self._snapshot(store))
        except SearchAPIError:
            raise
        except BaseException as error:
            if isinstance(error, (ValueError, OSError, RuntimeError)) or type(error).__module__ == _PANIC:
                raise self._failed(store, error) from error
            raise

    def _snapshot(self, store: Store) -> Snapshot | None:
        for attempt in (1, 2):
            state = store.state()
            live = state.one("live")
            if live is None:
                if state.ever_live:
                    raise EngineUnavailable(
                        "The index is being rebuilt from its documents. Try again soon.", code="index_rebuilding"
                    )
                return None
            try:
                return self._readers.get(store.folder / live.name, live.placement.layout).snapshot(live.placement)
            except FileNotFoundError as error:  # it was switched and swept between the two looks, or it is lost
                self._readers.drop(lambda path: path.parent == store.folder)
                if attempt == 2:
                    raise self._unopened(store, live.name, error) from error
            except BaseException as error:
                if not isinstance(error, (ValueError, OSError)) and type(error).__module__ != _PANIC:
                    raise
                raise self._unopened(store, live.name, error) from error
        raise AssertionError("the second attempt returns or raises")

    def _failed(self, store: Store, error: BaseException) -> EngineError:
        """A search that tantivy could not do: because of damage, or of a mistake of ours, which no rebuild would mend."""
        live = store.state().one("live")
        fault = live and (damage(store.folder / live.name) or damage(store.folder / live.name / WORDS))
        if fault:
            return self._broken(store, live.name, fault)
        log.error("search failed: %s", error, extra={"folder": store.folder.name})
        return EngineError("The engine could not run this search.")

    def _unopened(self, store: Store, name: str, error: BaseException) -> EngineUnavailable:
        fault = opening_fault(store.folder / name, error)
        if fault:
            return self._broken(store, name, fault)
        log.error("generation cannot be opened: %s", error, extra={"folder": store.folder.name, "generation": name})
        return EngineUnavailable(
            "The index cannot be opened: the disk is read-only or full, or the machine is out of memory or open files.",
            code="index_unreadable",
        )

    def _broken(self, store: Store, name: str, fault: str) -> EngineUnavailable:
        log.error("generation unreadable: %s", fault, extra={"folder": store.folder.name, "generation": name})
        self._readers.drop(lambda path: path.parent == store.folder)
        with contextlib.suppress(EngineUnavailable):  # on a read-only disk there is nothing to be done but to say so
            store.set_generation(name, "broken")
        return EngineUnavailable(
            "The index cannot be read and will be rebuilt from its documents. Try again soon.", code="index_broken"
        )

    # -------------------------------------------------------------------------------------------------------- health

    def health(self) -> EngineHealth:
        """Whether every index can be searched; how long that took to find out."""
        started = time.perf_counter()
        documents, reasons, names = 0, [], self.system.registered()
        for name, uid, _ in names:
            try:
                store = self._open(uid)
                self._snapshot(store)
                documents += store.counters()["documents"]
            except IndexNotFound:
                continue
            except EngineUnavailable as error:
                reasons.append(f"{name}: {error.detail}")
        detail = {
            "engine": "embedded",
            "indexes": len(names),
            "documents": documents,
            "free_bytes": shutil.disk_usage(self.data_dir).free,
            "latency_ms": round((time.perf_counter() - started) * 1000, 3),
        }
        return EngineHealth(not reasons, detail, reasons[0] if reasons else None)

    def rest(self) -> None:
        self.connections.rest()

    def close(self) -> None:
        self._readers.drop(lambda path: True)
        self.connections.close()

    # ------------------------------------------------------------------------------------------------------- opening

    def _store(self, name: str) -> Store:
        return self._open(self.system.find(name)[0])

    def _open(self, uid: str) -> Store:
        store = self._stores.get(uid)
        if store is None:
            store = self._stores[uid] = Store(self.system.folder(uid), self.connections, self.limits)
        return store

    def _info(self, name: str, uid: str, created: str, store: Store) -> IndexInfo:
        state = store.state()
        return IndexInfo(name, uid, created, state.settings, state.searched, state.version)


def _holding(snapshot: Snapshot, field: str) -> int:
    """How many documents hold a field. Tantivy's doc_freq would count those too that were replaced and are not merged away yet."""
    return count(snapshot.searcher, TQuery.term_query(snapshot.schema, "_fields", field, "basic"))


def _files(folder: Path) -> Iterator[Path]:
    for path in folder.rglob("*"):
        with contextlib.suppress(OSError):
            if path.is_file():
                yield path
