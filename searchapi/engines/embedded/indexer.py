"""The one writer of tantivy: carries every write of SQLite to the generations, in the order of seq.

An indexer holds a generation's flock, tails `documents.db` by seq, applies batches (delete by id, then add: replaying is
harmless), commits, and publishes the seq it has reached. What it finds lost, stale, of another store or unreadable, it builds
anew from the documents, beside the one that answers where there is one, and then switches in one transaction. It is also the worker
for tasks. Killed at any moment, the next one goes on from what was published.

Two releases run side by side while one takes over from the other. Of several indexers of one format, one works and the others
wait for it to end; those of different formats write generations of their own, and all work.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import gc
import logging
import os
import shutil
import threading
import time
from collections import OrderedDict
from pathlib import Path

from ...exceptions import EngineUnavailable, SearchAPIError
from . import generation
from .generation import read_reached
from .integrity import damage, opening_fault
from .sqlite import Connections
from .state import Generation, State
from .store import FileStamp, Store
from .system import SystemDatabase
from .tasks import TaskWorker
from .writer import GenerationWriter

log = logging.getLogger(__name__)

OPEN_WRITERS = 8  # generations with an open writer; an open one finishes its merges
IDLE = 0.02  # seconds between looks where nothing happens; the wait doubles up to IDLE_MOST
IDLE_MOST = 0.1
REST_AFTER = 10.0  # seconds without a write after which a writer is closed
RETIRED_FOR = 15.0  # seconds a generation that was left stays on disk, for searches that have it open
HOUSEKEEPING = 5.0  # seconds between looks for tombstones, retired generations, idempotency records and trash
SETTLED = 0.05  # seconds after which another write cannot leave a file's times as they are
FAILED_WAIT = 30.0  # seconds at most before an index that failed is tried again
TURN = 0.1  # seconds between looks whether the indexer that works has ended


class Indexer:
    """Runs until told to stop. `step` does one pass over all indexes; it is all that a test needs."""

    def __init__(self, data_dir: Path, idempotency_hours: float = 24):
        self.data_dir = Path(data_dir)
        self.remembered_ms = int(idempotency_hours * 3_600_000)  # how long what was done once is remembered
        self.connections = Connections()
        self.system = SystemDatabase(self.data_dir, self.connections)
        self.tasks = TaskWorker(self.data_dir)
        self._stores: dict[str, Store] = {}
        self._writers: OrderedDict[Path, GenerationWriter] = OrderedDict()
        self._used: dict[Path, float] = {}  # when a writer last had something to do
        self._locks: dict[Path, int] = {}
        self._failed: dict[str, tuple[float, float]] = {}  # uid -> (try again at, the wait before)
        self._idle: dict[str, FileStamp] = {}  # uid -> the stamp of its store when there was nothing left to do
        self._housekept = 0.0

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set; while another of our format runs on the folder, only wait for it to end."""
        turn = None
        try:
            turn = self._turn(stop)
            if turn is not None:
                self._work(stop)
        finally:
            self.close()
            if turn is not None:
                os.close(turn)

    def _turn(self, stop: threading.Event) -> int | None:
        """The lock that says whose turn it is, held; None when there is nothing more to wait for. A lock of each generation alone
        would not do: both would judge what is stale, and begin to rebuild it."""
        descriptor = os.open(self.data_dir / f"indexer-{generation.FORMAT}.lock", os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if not _free(descriptor):
            log.info("another indexer works on this folder: waiting for it to end")
            while not _free(descriptor):
                if stop.wait(TURN):
                    os.close(descriptor)
                    return None
            log.info("the other indexer has ended: taking over")
        return descriptor

    def _work(self, stop: threading.Event) -> None:
        tasks = threading.Thread(target=self.tasks.run, args=(stop,), name="tasks")
        tasks.start()
        wait = IDLE
        try:
            while not stop.is_set():
                wait = IDLE if self._guarded_step() else min(wait * 2, IDLE_MOST)
                stop.wait(wait)
        finally:
            stop.set()
            tasks.join()

    def _guarded_step(self) -> bool:
        try:
            return self.step()
        except EngineUnavailable as error:  # of system.db: busy, full or read-only; the next step tries again
            log.error("indexer: %s", error.detail)
            return False

    def close(self) -> None:
        for path in list(self._writers):
            self._close_writer(path)
        for path in list(self._locks):
            self._unlock(path)
        self.connections.close()

    # ------------------------------------------------------------------------------------------------------ one pass

    def step(self) -> bool:
        """One pass over every index. Whether anything was done."""
        done = False
        registered = {uid for _, uid, _ in self.system.registered()}
        for uid in self._stores.keys() - registered:
            self._leave(uid)
        for uid in registered:
            done |= self._index_step(uid)
        if time.monotonic() - self._housekept > HOUSEKEEPING:
            self._housekept = time.monotonic()
            self._housekeeping()
        return done

    def _index_step(self, uid: str) -> bool:
        again, waited = self._failed.get(uid, (0.0, 0.0))
        if time.monotonic() < again:
            return False
        store = self._stores.get(uid)
        if store is None:
            store = self._stores[uid] = Store(self.system.folder(uid), self.connections)
        try:
            stamp = store.file_stamp()
            if self._idle.get(uid) == stamp:
                return False
            done = self._advance(store)
            self._failed.pop(uid, None)
            if not done and time.time() - stamp.newest > SETTLED:
                self._idle[uid] = stamp
            return done
        except (SearchAPIError, ValueError, OSError, RuntimeError) as error:
            # A full or failing disk: writers are given up, what was published stays, and it is tried again later.
            wait = min(max(0.5, waited * 2), FAILED_WAIT)
            self._failed[uid] = (time.monotonic() + wait, wait)
            log.error("indexing failed, trying again in %.1f s: %s", wait, error, extra={"folder": uid})
            self._close_all(store.folder)
            return False

    def _advance(self, store: Store) -> bool:
        state = self._checked(store)
        done = False
        for g in state.generations:
            if g.state in ("live", "building") and not self._done_with(store, g) and self._lock(store.folder / g.name):
                try:
                    done |= self._writer(store, state, g).advance(store, state, g)
                except (ValueError, OSError) as error:
                    self._give_up_damaged(store, g, error)
                    raise
                if g.state == "building":
                    done |= self._switch(store, state, g)
        return done

    def _checked(self, store: Store) -> State:
        """The state, after starting what it asks for: a generation of our format, one in place of what cannot be trusted, one with
        more slots."""
        state = store.state()
        live, building = state.one("live"), state.one("building")
        if live is not None and not self._trusted(store, state, live):
            log.warning("generation lost or stale: rebuilding", extra={"folder": store.folder.name, "generation": live.name})
            store.set_generation(live.name, "broken")
            live = None
        if building is None and (live is None or _outgrown(live, state)):
            store.start_rebuild()
        elif live is not None and live.placement.place(state.fields.values()) not in (None, live.placement):
            store.place_fields(live.name)
        return store.state()

    def _trusted(self, store: Store, state: State, g: Generation) -> bool:
        reached = read_reached(store.folder / g.name)
        return (
            reached is not None
            and reached.uuid == state.uuid
            and reached.seq <= store.newest_seq()
            and reached.seq >= store.counters()["pruned_seq"]
            and reached.written_ms in (None, store.written_ms(reached.seq) or reached.written_ms)
        )

    def _writer(self, store: Store, state: State, g: Generation) -> GenerationWriter:
        path = store.folder / g.name
        writer = self._writers.get(path)
        if writer is None:
            writer = self._open(store, state, g, path)
            self._writers[path] = writer
            while len(self._writers) > OPEN_WRITERS:
                self._close_writer(next(iter(self._writers)))
        self._writers.move_to_end(path)
        self._used[path] = time.monotonic()
        return writer

    def _open(self, store: Store, state: State, g: Generation, path: Path) -> GenerationWriter:
        fresh = g.state == "building" and not self._trusted(store, state, g)
        fault = None if fresh else damage(path, checksums=False) or damage(path / generation.WORDS, checksums=False)
        if fault:
            raise ValueError(fault)
        return GenerationWriter(path, state.uuid, g.placement.layout, fresh=fresh)

    def _done_with(self, store: Store, g: Generation) -> bool:
        """Whether a writer that was closed for another's sake need not be opened again: nothing has come since."""
        path = store.folder / g.name
        if g.state != "live" or path in self._writers or path not in self._locks:
            return False
        reached = read_reached(path)
        return reached is not None and reached.seq >= store.newest_seq()

    def _give_up_damaged(self, store: Store, g: Generation, error: Exception) -> None:
        """Where its files are to blame it is built anew; a full or read-only disk, or too many open files, is no reason to."""
        path = store.folder / g.name
        fault = damage(path) or damage(path / generation.WORDS) if path in self._writers else opening_fault(path, error)
        if not fault:
            return
        log.warning("generation unreadable: rebuilding: %s", fault, extra={"folder": store.folder.name, "generation": g.name})
        if g.state == "live":
            store.set_generation(g.name, "broken")
        else:
            self._close_writer(path)
            shutil.rmtree(path, ignore_errors=True)

    def _switch(self, store: Store, state: State, g: Generation) -> bool:
        """Make a generation that has caught up the live one. It must have passed all that searches have been told they see. Not all
        that was written by now: where writes never pause, it would never be."""
        live, writer = state.one("live"), self._writers[store.folder / g.name]
        shown = read_reached(store.folder / live.name) if live is not None else None
        if writer.caught_up and (shown is None or writer.reached >= shown.seq) and store.set_generation(g.name, "live"):
            log.info("generation live", extra={"folder": store.folder.name, "generation": g.name, "seq": writer.reached})
        return True

    # -------------------------------------------------------------------------------------------------- housekeeping

    def _housekeeping(self) -> None:
        self._idle.clear()  # look at every generation again: it may have been lost or damaged where nothing was written
        self._rest()
        for uid in self.system.trash():
            self._leave(uid)
            shutil.rmtree(self.system.folder(uid), ignore_errors=True)
            if not self.system.folder(uid).exists():
                self.system.swept(uid)
        forgotten_ms = int(time.time() * 1000) - self.remembered_ms
        with contextlib.suppress(SearchAPIError):
            self.system.prune_claims(forgotten_ms)
        for store in list(self._stores.values()):
            with contextlib.suppress(SearchAPIError, OSError):  # a full or read-only disk: nothing here is urgent
                self._sweep(store)
                self._prune(store)
                store.prune_once(forgotten_ms)

    def _rest(self) -> None:
        """Writers that have had nothing to do for a while give their memory back; the next write opens them again."""
        idle = [path for path, used in self._used.items() if time.monotonic() - used > REST_AFTER]
        for path in idle:
            del self._used[path]
            with contextlib.suppress(ValueError, OSError, RuntimeError):  # a failing disk: what is committed is there
                self._writers.pop(path).rest()
        if idle:
            trim_memory()

    def _sweep(self, store: Store) -> None:
        """Remove generations of our format that were left long enough ago, or that nothing names."""
        for name in store.retired(int((time.time() - RETIRED_FOR) * 1000)):
            self._remove(store.folder / name)
            store.forget_generation(name)
        known = set(store.generation_names())
        for path in store.folder.glob(f"{generation.FORMAT}-*"):
            if path.is_dir() and path.name not in known and time.time() - path.stat().st_mtime > RETIRED_FOR:
                self._remove(path)

    def _remove(self, path: Path) -> None:
        if self._lock(path):
            self._close_writer(path)
            shutil.rmtree(path, ignore_errors=True)
            self._unlock(path)
            path.with_name(path.name + ".lock").unlink(missing_ok=True)

    def _prune(self, store: Store) -> None:
        """Tombstones that every generation on disk has passed are of no more use. One of another format that nobody tails any more
        holds them back for a week; then it will be found stale, and rebuilt, by whoever comes back to it. They stay, too, while
        somebody follows the writes."""
        if store.followed:
            return
        state, oldest = store.state(), store.newest_seq()
        for name in store.generation_names():
            reached = read_reached(store.folder / name)
            ours = any(g.name == name for g in state.generations)
            if reached is None or reached.uuid != state.uuid:
                if ours:
                    return
            elif ours or time.time() - (store.folder / name / generation.REACHED).stat().st_mtime < 7 * 86400:
                oldest = min(oldest, reached.seq)
        while store.has_tombstones(oldest) and store.prune(oldest):
            pass

    # --------------------------------------------------------------------------------------------------------- locks

    def _lock(self, path: Path) -> bool:
        """Whether this process holds the generation; it keeps it until it stops. flock ends with the process, however it ends."""
        if path in self._locks:
            return True
        descriptor = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
        if not _free(descriptor):
            os.close(descriptor)
            return False
        self._locks[path] = descriptor
        return True

    def _unlock(self, path: Path) -> None:
        descriptor = self._locks.pop(path, None)
        if descriptor is not None:
            os.close(descriptor)

    def _close_writer(self, path: Path) -> None:
        self._used.pop(path, None)
        writer = self._writers.pop(path, None)
        if writer is not None:
            writer.close()

    def _close_all(self, folder: Path) -> None:
        for path in [p for p in self._writers if p.parent == folder]:
            self._close_writer(path)

    def _leave(self, uid: str) -> None:
        folder = self.system.folder(uid)
        self._close_all(folder)
        for path in [p for p in self._locks if p.parent == folder]:
            self._unlock(path)
        self._idle.pop(uid, None)
        store = self._stores.pop(uid, None)
        if store is not None:
            self.connections.drop(store.path)


def _free(descriptor: int) -> bool:
    """Whether nobody else holds the lock; we do from then on, until it is closed or this process ends."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _outgrown(live: Generation, state: State) -> bool:
    """Whether it lacks fields: it has no slots left for them, or another release added them and it holds documents without them."""
    return live.placement.place(state.fields.values()) is None or not state.fields.keys() <= live.placement.slots.keys()


def trim_memory() -> None:
    """Give freed memory back to the system, where the C library keeps it otherwise (glibc does)."""
    gc.collect()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
