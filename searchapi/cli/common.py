"""What the commands share: the engine that the settings name, and errors in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from .. import config
from ..config import Settings
from ..engines import open_engine, place
from ..engines.base import Engine, SystemStore
from ..exceptions import IndexNotFound, SearchAPIError
from ..model import IndexInfo
from ..wording import nearest


@dataclass(frozen=True, slots=True)
class Workplace:
    settings: Settings
    engine: Engine
    system: SystemStore

    def info(self, name: str) -> IndexInfo:
        """The index that a name or alias stands for. Fails with the nearest name that there is."""
        try:
            return self.engine.index(self.system.resolve(name))
        except IndexNotFound as error:
            names = [*(known.name for known in self.engine.indexes()), *self.system.aliases()]
            near = nearest(name, names)
            hint = f" Did you mean {near!r}?" if near else f" The data is in {place(self.settings)}."
            raise click.ClickException(error.detail + hint) from None


@contextmanager
def workplace() -> Iterator[Workplace]:
    """The engine, opened for one command and closed after it."""
    settings = config.load()
    engine, system = open_engine(settings)
    try:
        yield Workplace(settings, engine, system)
    finally:
        engine.close()


def one_line(error: Exception) -> str:
    faults = getattr(error, "errors", ())
    if isinstance(error, SearchAPIError) and len(faults) > 1:
        return "; ".join(fault.detail for fault in faults)
    return " ".join(str(error).split()) or type(error).__name__


def counted(number: int, thing: str = "document") -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def table(rows: list[tuple[str, ...]], right: frozenset[int] = frozenset()) -> Iterator[str]:
    """Rows of cells as lines of aligned columns; the columns in `right` to the right."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.rjust(w) if i in right else cell.ljust(w) for i, (cell, w) in enumerate(zip(row, widths, strict=True)))
        yield "  ".join(cells).rstrip()
