"""The whole of a move: indexes one after another, then aliases and keys, and what is said of it in the end."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..engines.changes import PositionLost
from ..exceptions import Conflict, EngineUnavailable, Invalid, NotFound, StorageFull
from ..wording import nearest
from . import records, searches, verifying
from .copying import Copy
from .ends import End, Held, Source
from .memory import Memory

ROUNDS = 5  # of a copy whose position is lost again and again
Tell = Callable[[str], None]


@dataclass(slots=True)
class Report:
    """lines: what was done. faults: what is not as it should be; then the move has failed."""

    lines: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def chosen(source: Source, names: Sequence[str]) -> list[str]:
    """The indexes that are asked for, by name or alias; all where none are. Raises NotFound with the nearest name."""
    known, aliases = source.names(), source.aliases()
    found = []
    for name in names:
        index = aliases.get(name, name)
        if index not in known:
            near = nearest(name, [*known, *aliases])
            hint = f"did you mean {near!r}?" if near else f"it has {len(known)}."
            raise NotFound(f"{source.shown} has no index named {name!r}; {hint}", code="index_not_found")
        found.append(index)
    return list(dict.fromkeys(found)) or known


def move(
    source: Source,
    target: End,
    names: Mapping[str, str],
    remember: Path,
    tell: Tell,
    *,
    overwrite: bool = False,
    system: bool = True,
) -> Report:
    """names: {in the source: in the target}. remember: where it is kept how far this is. system: aliases and keys as well.

    Raises Conflict where the target holds something else under a name, StorageFull where there is no room."""
    report = Report()
    moves = [_Move(source, name, target, into, remember, tell) for name, into in names.items()]
    for each in moves:  # everything that can be refused is, before anything is written
        each.refuse(overwrite=overwrite)
    _refuse_room(source, target, [each.held for each in moves if each.new])
    records.refuse_taken(source, target, names, overwrite=overwrite)
    for each in moves:
        each.run(report)
    if system:
        report.faults += records.move_aliases(source, target, names) + records.move_keys(source, target)
        aliases = sum(index in names for index in source.aliases().values())
        report.lines.append(f"{_counted(aliases, 'alias', 'aliases')}, {_counted(len(source.keys()), 'key', 'keys')}")
        if said := records.foreign(source, target.settings):
            report.lines.append(said)
    return report


def _counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def _refuse_room(source: Source, target: End, coming: Sequence[Held]) -> None:
    free = target.engine.health().detail.get("free_bytes")
    needed = sum(held.size_bytes for held in coming)
    if free is not None and needed > free:
        raise StorageFull(
            f"{target.shown} has room for {free >> 20:,} MiB; {source.shown} takes {needed >> 20:,} MiB. Nothing was written."
        )


class _Move:
    """One index."""

    def __init__(self, source: Source, name: str, target: End, into: str, remember: Path, tell: Tell):
        self.source, self.name, self.target, self.into, self.tell = source, name, target, into, tell
        self.memory = Memory.load(remember, f"{source.shown} {name}", target.shown, into)
        self.held = source.held(name)
        self.new = self.replaced = False

    # ------------------------------------------------------------------------------------------------------- refusing

    def refuse(self, *, overwrite: bool) -> None:
        """Raises Conflict where the target has something of this name that this move did not write."""
        alias = self.target.aliases().get(self.into)
        if alias is not None:
            raise Conflict(f"{self.into!r} is an alias of {alias!r} in the target.")
        if self.into not in self.target.names():
            self.new = True
            return
        reason = self._other()
        if reason is None:
            return
        if not overwrite:
            raise Conflict(f"The target has an index {self.into!r} {reason}; --overwrite deletes it and moves {self.name!r} anew.")
        self.new = self.replaced = True

    def _other(self) -> str | None:
        """What of the target's index is not of this move."""
        there, memory = self.target.held(self.into), self.memory
        if memory.target != there.uid:
            if there.documents or there.settings != self.held.settings:
                return f"already, with {_counted(there.documents, 'document', 'documents')}"
            self.new = self.replaced = True  # empty: as good as none
            return None
        if memory.source != self.held.uid:
            return "that was moved from another index of this name"
        if memory.checksum is not None and self._written_since():
            return "that has been written to since it was moved"
        return None

    def _written_since(self) -> bool:
        """Whether others have written to the target since it was last found equal."""
        try:
            return bool(self.target.changes(self.into, self.memory.written, 1).rows)
        except PositionLost:
            checksum = verifying.Checksum()
            for document in self.target.engine.scan(self.into):
                checksum.add(document)
            return str(checksum) != self.memory.checksum

    # ---------------------------------------------------------------------------------------------------------- doing

    def run(self, report: Report) -> None:
        if self.replaced:
            self.target.engine.delete_index(self.into)
        if self.new:
            self._make()
        copy = Copy(self.source, self.name, self.target, self.into, self.memory, self.tell)
        for _ in range(ROUNDS):
            try:
                verdict, found = self._once(copy)
                break
            except PositionLost:
                self.tell(f"{self.name}: what was written since cannot be told one by one: comparing all documents again")
                self.new = False
                self.memory.begin()
                self.memory.save()
        else:
            raise EngineUnavailable(f"{self.name!r} was rebuilt again and again while it was copied. Try again.")
        self._report(report, copy, verdict, found)

    def _make(self) -> None:
        info = self.target.engine.create_index(self.into, self.held.settings, self.held.fields.values())
        self.memory.begin()
        self.memory.source, self.memory.target, self.memory.checksum, self.memory.written = self.held.uid, info.uid, None, None
        self.memory.save()

    def _once(self, copy: Copy) -> tuple[verifying.Verdict, searches.Compared]:
        was, self.memory.checksum = self.memory.checksum, None
        if was is not None:
            self.memory.save()
        if not self.new:
            with contextlib.suppress(Invalid):  # of documents that are not as in the source yet
                self._settings(copy)
        copy.run(self.held.documents, empty=self.new)
        self._settings(copy)
        self.tell(f"{self.name}: comparing")
        verdict = verifying.compare(copy)
        found = searches.compare(copy, verdict.sample)
        copy.follow()
        self._settings(copy)
        self.memory.written = self.target.changes(self.into, None, 1).position
        if verdict.equal:
            self.memory.checksum = str(verdict.target)
        else:
            self.memory.begin()  # the next run writes what differs, or says again why it cannot
        self.memory.save()
        return verdict, found

    def _settings(self, copy: Copy) -> None:
        """Settings that were changed meanwhile."""
        wanted = copy.patiently(lambda: self.source.held(self.name).settings)
        if self.target.engine.index(self.into).settings != wanted:
            self.tell(f"{self.name}: its settings have changed")
            copy.patiently(lambda: self.target.engine.update_settings(self.into, wanted))

    def _report(self, report: Report, copy: Copy, verdict: verifying.Verdict, found: searches.Compared) -> None:
        named = self.name if self.name == self.into else f"{self.name} as {self.into}"
        count = _counted(verdict.source.documents, "document", "documents")
        done = f"{copy.written:,} written, {copy.deleted:,} deleted" if copy.written or copy.deleted else "nothing to write"
        line = f"{named}: {count}, checksum {verdict.source}; {done}"
        if found.asked or found.moving:
            line += f"; {_counted(found.asked, 'search', 'searches')} compared"
        if found.moving:
            line += f", {found.moving} not, because documents were written meanwhile"
        report.lines.append(line)
        report.faults += [f"{self.name}: {each}" for each in verdict.differences + found.differences]
        if verdict.different > len(verdict.differences):
            report.faults.append(f"{self.name}: {verdict.different - len(verdict.differences):,} more documents differ")
