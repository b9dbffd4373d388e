"""What is moved from and to: an engine that a URL names, opened, and the little that every source has to offer."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from ..checking import MAX_FIELDS
from ..config import Settings
from ..config.casts import engine_shown, engine_url
from ..engines import is_there, open_engine, open_worker, whereabouts
from ..engines.base import Engine, SystemStore
from ..engines.changes import Changes
from ..exceptions import Conflict, DocumentNotFound, EngineError, Invalid, NotFound, SearchAPIError
from ..model import Document, Field, IndexSettings, Key

STOPPING = 60.0  # seconds that what indexes may take to end


@dataclass(frozen=True, slots=True)
class Held:
    """An index to be moved. uid: tells it from another of its name. documents: how many, about."""

    uid: str
    settings: IndexSettings
    fields: Mapping[str, Field]
    documents: int
    size_bytes: int = 0


class Source(Protocol):
    """live: whether it may be written meanwhile."""

    shown: str
    live: bool

    def names(self) -> list[str]: ...
    def held(self, name: str) -> Held: ...
    def read(self, name: str, after: str | None, limit: int) -> list[Document]:
        """The next documents in the order of their ids, as they are now."""

    def get(self, name: str, id: str) -> Document | None: ...
    def changes(self, name: str, after: str | None, limit: int) -> Changes:
        """As Engine.changes; of a source that is not live, none."""

    def aliases(self) -> Mapping[str, str]: ...
    def keys(self) -> Mapping[str, Key]: ...


@dataclass(frozen=True, slots=True)
class End:
    """An engine. shown: its URL without user and password."""

    settings: Settings
    engine: Engine
    system: SystemStore
    shown: str
    live: bool = True

    def names(self) -> list[str]:
        return self.engine.names()

    def held(self, name: str) -> Held:
        try:
            info, stats = self.engine.index(name), self.engine.stats(name)
        except SearchAPIError:
            raise
        except Exception as error:  # tables, members or types that only another release knows
            why = f"cannot be read by this release ({type(error).__name__}: {error}); move it with the one that wrote it"
            raise EngineError(f"The index {name!r} in {self.shown} {why}.") from error
        return Held(info.uid, info.settings, info.fields, stats.documents, stats.size_bytes)

    def read(self, name: str, after: str | None, limit: int) -> list[Document]:
        return list(self.engine.scan(name, after, limit))

    def get(self, name: str, id: str) -> Document | None:
        try:
            return self.engine.get(name, id)
        except DocumentNotFound:
            return None

    def changes(self, name: str, after: str | None, limit: int) -> Changes:
        return self.engine.changes(name, after, limit)

    def aliases(self) -> Mapping[str, str]:
        return self.system.aliases()

    def keys(self) -> Mapping[str, Key]:
        return self.system.keys()

    @contextmanager
    def indexing(self) -> Iterator[None]:
        """While its documents are carried into its index, and its tasks done, also where no server of it runs."""
        stop, worker = threading.Event(), open_worker(self.settings)
        thread = threading.Thread(target=worker.run, args=(stop,), name="indexing", daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join(STOPPING)


def settings_of(url: str, base: Settings, option: str) -> Settings:
    """The settings with this engine. `embedded:` is DATA_DIR, `embedded:/path` another data folder. Raises Invalid."""
    if url.startswith("embedded:") and url != "embedded:":
        path = Path(url.removeprefix("embedded:")).expanduser()
        return replace(base, engine_url="embedded:", data_dir=path)
    try:
        return replace(base, engine_url=engine_url(url))
    except ValueError as error:
        shown = engine_shown(url)
        said = f"{option} is {'not usable' if shown is None else repr(shown)}, but it must be {error}, or embedded:/path."
        raise Invalid.at(option, "unknown_engine", said) from None


def shown(settings: Settings) -> str:
    if settings.engine_url == "embedded:":
        return f"embedded:{settings.data_dir.absolute()}"
    return engine_shown(settings.engine_url) or "OpenSearch"


@contextmanager
def opened(settings: Settings, *, receives: bool) -> Iterator[End]:
    """receives: documents of another engine are written, which may have been made under higher limits than are set here; and what
    is missing is made. A source is never made: raises NotFound."""
    if receives:
        most = {"max_fields": MAX_FIELDS, "max_nesting": 1000, "max_array": 1 << 30, "max_document_bytes": 1 << 30}
        settings = replace(settings, **most)
    elif not is_there(settings):
        raise NotFound(f"There is nothing in {shown(settings)}.")
    engine, system = open_engine(settings)
    try:
        yield End(settings, engine, system, shown(settings))
    finally:
        engine.close()


def refuse_same(source: Settings, target: Settings) -> None:
    """Raises Conflict where both are one."""
    if whereabouts(source) == whereabouts(target):
        raise Conflict(f"--from and --to are the same: {shown(target)}.")
