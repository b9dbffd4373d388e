"""What an index is at one moment: its settings, fields and generations, as documents.db keeps them beside the documents.

The functions take a connection inside a transaction of store.py, which alone decides what changes together.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any

import orjson

from ... import schema
from ...model import Field, IndexSettings
from ..fields import as_set
from . import generation
from .generation import Layout, Placement, lay_out


@dataclass(frozen=True, slots=True)
class Generation:
    """state: building (being filled), live (answers), retired (just left, still open somewhere), broken (found unreadable)."""

    name: str
    state: str
    placement: Placement


@dataclass(frozen=True)
class State:
    """What is known of an index at one moment. `version` moves with every change of settings, fields or generations.

    fields: as writes are checked against. searched: as searches see them, in the live generation; equal to `fields` but while
    a rebuild is under way."""

    uuid: str
    version: int
    settings: IndexSettings
    fields: dict[str, Field]
    epoch: int
    ever_live: bool
    generations: tuple[Generation, ...]

    def one(self, state: str) -> Generation | None:
        return next((g for g in self.generations if g.state == state), None)

    @cached_property
    def searched(self) -> dict[str, Field]:
        live = self.one("live")
        if live is None:
            return self.fields
        return {name: as_set(slots.field, self.fields.get(name)) for name, slots in live.placement.slots.items()}


def read_state(connection: sqlite3.Connection) -> State:
    meta = {key: orjson.loads(value) for key, value in connection.execute("SELECT key, value FROM meta")}
    rows = connection.execute("SELECT name, state, layout, placement FROM generations WHERE format = ?", (generation.FORMAT,))
    return State(
        uuid=meta["uuid"],
        version=meta["version"],
        settings=schema.parse_settings(meta["settings"]),
        fields={row["name"]: Field(**row) for row in meta["fields"]},
        epoch=meta["epoch"],
        ever_live=meta["ever_live"],
        generations=tuple(
            Generation(name, state, Placement.from_json(Layout.from_json(layout), placement))
            for name, state, layout, placement in rows
        ),
    )


def save_fields(connection: sqlite3.Connection, state: State, fields: dict[str, Field], changed: dict[str, Field]) -> None:
    """New fields join every generation that has spare slots for them; the indexer builds a wider one where they ran out."""
    set_meta(connection, "fields", [asdict(f) for f in fields.values()])
    for g in state.generations:
        place(connection, g, changed.values())
    bump(connection)


def needs_another(state: State, fields: dict[str, Field]) -> bool:
    """Whether these fields need a generation of their own. One that is half built beside a live one was laid out for the settings
    before these: it is begun again."""
    live, building = state.one("live"), state.one("building")
    current = live or building
    return current is None or (live is not None and building is not None) or current.placement.place(fields.values()) is None


def place(connection: sqlite3.Connection, g: Generation, fields: Iterable[Field]) -> None:
    placement = g.placement
    for field in fields:  # one by one: those that fit join, whatever becomes of the others
        placement = placement.place([field]) or placement
    connection.execute("UPDATE generations SET placement = ? WHERE name = ?", (placement.to_json(), g.name))


def start_generation(connection: sqlite3.Connection, fields: dict[str, Field], language: str, epoch: int) -> str:
    connection.execute("DELETE FROM generations WHERE format = ? AND state = 'building'", (generation.FORMAT,))
    placement = lay_out(fields.values(), language, epoch)
    add_generation(connection, placement)
    set_meta(connection, "epoch", epoch)
    return placement.layout.name


def add_generation(connection: sqlite3.Connection, placement: Placement) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO generations(name, format, state, layout, placement, changed_ms) VALUES (?, ?, 'building', ?, ?, ?)",
        (placement.layout.name, generation.FORMAT, placement.layout.to_json(), placement.to_json(), now_ms()),
    )


def get_meta(connection: sqlite3.Connection, key: str) -> Any:
    return orjson.loads(connection.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()[0])


def set_meta(connection: sqlite3.Connection, key: str, value: Any) -> None:
    connection.execute("INSERT OR REPLACE INTO meta(key, value) VALUES (?, ?)", (key, orjson.dumps(value)))


def bump(connection: sqlite3.Connection) -> None:
    set_meta(connection, "version", get_meta(connection, "version") + 1)


def last_seq(connection: sqlite3.Connection) -> int:
    row = connection.execute("SELECT seq FROM sqlite_sequence WHERE name = 'documents'").fetchone()
    return row[0] if row else 0


def now_ms() -> int:
    return int(time.time() * 1000)
