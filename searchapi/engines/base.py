"""The engine port: what an engine must offer. It speaks `model` only: no DSL, no request, no HTTP status.

Two small ports. `Engine` holds documents and searches them; `SystemStore` holds aliases, keys, tasks and claims.
An engine may assume that every Query and Operation it gets is valid for the index, with one exception: types of documents are
checked inside its write transaction, by `documents.py`, because another process may have inferred a field meanwhile.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from ..model import (
    Document,
    EngineHealth,
    Expansion,
    Field,
    Filter,
    IndexInfo,
    IndexProgress,
    IndexSettings,
    IndexStats,
    Key,
    Once,
    Operation,
    Query,
    Result,
    SettingsChange,
    Task,
    WriteResult,
)
from .changes import Changes


@dataclass(frozen=True, slots=True)
class Capabilities:
    """Differences between engines, as data. `query.parse` checks them once; nothing else asks which engine it has."""

    engine: str
    relevance_cursor: bool = False  # a cursor in relevance order that neither skips nor repeats
    partial_results: bool = False  # an answer with what was found by the deadline


ExpandKind = Literal["prefix", "typo"]


class Reading(Protocol):
    """What can be asked of an index at one moment: every answer is of the same documents, whatever is written meanwhile."""

    def search(self, query: Query) -> Result:
        """Raises DeadlineExceeded."""

    def expand(self, word: str, fields: Sequence[str], kind: ExpandKind, distance: int, limit: int) -> list[Expansion]:
        """Words of the index that `word` (analysed) begins, or that are within `distance` typos (Damerau-Levenshtein, the first
        letter may differ), best first by (distance, frequency, word). Never the word itself."""

    def frequency(self, word: str, fields: Sequence[str]) -> int:
        """Documents that hold the analysed word as it stands, in the field that has most of them."""


class Engine(Protocol):
    """Raises IndexNotFound for any method that names an index which is not there, EngineUnavailable where the engine is away."""

    capabilities: Capabilities

    # indexes
    def names(self) -> list[str]:
        """Of all indexes, sorted, without opening any."""

    def indexes(self) -> list[IndexInfo]: ...
    def index(self, name: str) -> IndexInfo: ...
    def create_index(self, name: str, settings: IndexSettings, fields: Iterable[Field] = ()) -> IndexInfo:
        """fields: those that its documents are known to bring, as inferred elsewhere (migration and restore only).
        Raises IndexExists."""

    def delete_index(self, name: str) -> None: ...
    def update_settings(self, name: str, settings: IndexSettings, dry_run: bool = False) -> SettingsChange:
        """Replace the settings. Searches go on with the old analysis until a rebuild, where one is needed, is done.
        Raises Invalid where a field's type would change under documents that do not fit it."""

    def stats(self, name: str) -> IndexStats: ...
    def progress(self, name: str) -> IndexProgress:
        """The part of the stats that is cheap: asked of many indexes every few seconds, and opens none for searching."""

    def progresses(self, names: Sequence[str]) -> dict[str, IndexProgress]:
        """The same of many at once; those that cannot be told, and those that are not there, are left out. Other than `progress`
        it makes nothing visible to searches: `seq` may be what they see."""

    def rebuild(self, name: str) -> str:
        """Build the index anew from the documents, beside the one that answers; returns at once, with the id of its task."""

    # documents
    def write(self, name: str, operations: Sequence[Operation], once: Once | None = None) -> WriteResult:
        """Apply in order, in one transaction: each operation wholly or not at all, one Outcome each.
        Raises StorageFull and then nothing was written.

        once: its key and fingerprint are kept with the result, in the same transaction. Where they are known, nothing is written
        and the result is that of then (`replayed`), whatever has happened to the documents since; two at once are one and a
        replay. Raises IdempotencyReused where the key is known with another fingerprint."""

    def get(self, name: str, id: str) -> Document:
        """The newest acknowledged version. Raises DocumentNotFound."""

    def scan(self, name: str, after: str | None = None, limit: int | None = None) -> Iterator[Document]:
        """Documents in the order of their ids (by code point), those after `after`."""

    def changes(self, name: str, after: str | None, limit: int = 1000) -> Changes:
        """What was written after a position, deletes too; None: nothing, only the position of now. Who follows asks every few
        minutes (changes.ASKED_OFTEN). Raises PositionLost."""

    def delete_where(self, name: str, filter: Filter, progress=lambda done: None) -> int:
        """Wait for the seq that is current now, then delete what matches then and still matches. Returns how many."""

    def wait(self, name: str, seq: int, timeout: float) -> bool:
        """Whether searches saw `seq` within timeout seconds."""

    # search
    def reading(self, name: str) -> AbstractContextManager[Reading]:
        """One moment of the index, for all the steps of one request."""

    def search(self, name: str, query: Query) -> Result:
        """`Reading.search` for a single step, and so the two below."""

    def expand(
        self, name: str, word: str, fields: Sequence[str], kind: ExpandKind, distance: int = 1, limit: int = 20
    ) -> list[Expansion]: ...
    def frequency(self, name: str, word: str, fields: Sequence[str]) -> int: ...

    def health(self) -> EngineHealth: ...
    def rest(self) -> None:
        """This thread has done what it was asked for: what it has open may serve another, of which there may be many."""

    def close(self) -> None: ...


class SystemStore(Protocol):
    """Aliases, keys, tasks and claims. An alias shares the namespace of indexes."""

    def aliases(self) -> dict[str, str]: ...
    def set_alias(self, alias: str, index: str) -> None: ...
    def delete_alias(self, alias: str) -> None:
        """Raises AliasNotFound."""

    def resolve(self, name: str) -> str:
        """An alias's index, or the name itself."""

    def keys(self, stale: bool = False) -> Mapping[str, Key]:
        """Every key by its id, the revoked ones too, in the order they were made. What another process or host wrote is seen
        within a second. Asked for with every request, so it must cost microseconds while nothing changes. Raises EngineUnavailable
        where they are kept elsewhere and have not been seen for long; stale: as they were then, if they ever were seen."""

    def add_key(self, key: Key) -> None: ...
    def update_key(self, id: str, change: Callable[[Key], Key]) -> Key:
        """Replace a key by what `change` makes of it, in one step. Raises KeyNotFound, and what `change` raises."""

    def touch_keys(self, used: Mapping[str, str]) -> None:
        """Note when keys were last used: {id: time}. Ids that are not there are ignored, and times never go back."""

    def create_task(self, kind: str, index: str | None, detail: dict) -> Task: ...
    def task(self, id: str) -> Task:
        """Raises TaskNotFound."""

    def tasks(self, index: str | None = None, limit: int = 50) -> list[Task]: ...
    def update_task(self, id: str, **changes) -> None: ...
    def claim_task(self) -> Task | None:
        """Take the oldest queued task, or one left running by a worker that is gone; marks it running."""

    def claim(self, once: Once, holder: str) -> bytes | None:
        """What `finish` kept for this key, or None: then it is `holder`'s (a random text) to do, and to finish or release.
        Raises IdempotencyReused where the key was claimed with another fingerprint, IdempotencyUnfinished while another holder is
        at it. A holder whose process has ended, or who has not finished within a minute, loses the claim to who asks next."""

    def finish(self, key: str, holder: str, answer: bytes) -> None:
        """Keep the answer. Nothing happens where the holder has lost the claim, here and in `release`."""

    def release(self, key: str, holder: str) -> None:
        """It was not done: who asks next may."""

    def prune_claims(self, before_ms: int) -> int:
        """Forget what was claimed before then (milliseconds since 1970), a bounded number at a time. Returns how many."""


class Worker(Protocol):
    """What is done beside the requests, in a process of its own: indexing, tasks, and taking away what is no longer needed. Any
    number may run."""

    def run(self, stop: threading.Event) -> None:
        """Until `stop` is set."""
