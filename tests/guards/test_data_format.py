"""`searchapi/data.json` is what a deploy or rollback is refused by: it must move with what is on the disk."""

from __future__ import annotations

import contextlib
import hashlib
import json
import sqlite3
from pathlib import Path

import searchapi
from searchapi.engines.embedded import EmbeddedEngine
from searchapi.engines.embedded.generation import FORMAT
from searchapi.model import IndexSettings, Once, Operation

WRITTEN = json.loads((Path(searchapi.__file__).parent / "data.json").read_text())
TABLES = {1: "a2610782a250713b"}  # pragma: allowlist secret; of each format: what `digest` says


def digest(folder: Path) -> str:
    """Of the tables in all databases of a data folder."""
    found = []
    for path in (folder / "system.db", *folder.glob("indexes/*/documents.db")):
        with contextlib.closing(sqlite3.connect(path)) as connection:
            rows = connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY name")
            found += [f"{path.name}: {' '.join(sql.split())}" for (sql,) in rows]
    return hashlib.blake2b("\n".join(found).encode(), digest_size=8).hexdigest()


def test_it_can_read_what_it_writes() -> None:
    low, high = WRITTEN["reads"]
    assert set(WRITTEN) == {"reads", "writes", "index"} and 1 <= low <= WRITTEN["writes"] <= high


def test_it_names_the_format_of_generations() -> None:
    """It decides whether a deploy waits for indexes that are built anew, and which ones are removed."""
    assert WRITTEN["index"] == FORMAT


def test_tables_are_those_of_the_format(tmp_path: Path) -> None:
    """Where tables change, decide in data.json who can read what (docs/architecture.md, Formats), and add a line to TABLES."""
    engine = EmbeddedEngine(tmp_path)
    engine.create_index("books", IndexSettings())
    once = Once("key", b"of this request")  # some tables are made by the first write that needs them
    engine.write("books", [Operation("put", "1", {"id": "1"})], once)
    engine.system.claim(once, "holder")
    engine.close()
    assert TABLES.get(WRITTEN["writes"]) == digest(tmp_path)
