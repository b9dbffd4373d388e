"""Snapshots: consistent while everything goes on, and good for bringing the data back."""

from __future__ import annotations

import contextlib
import json
import shutil
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from deploy.onhost import copying
from deploy.onhost.system import Failed
from searchapi.engines.embedded import EmbeddedEngine
from searchapi.engines.embedded.indexer import Indexer
from searchapi.model import IndexSettings, Match, Operation, Query, Term

from .local import Server


@pytest.fixture
def engine(server: Server) -> Iterator[EmbeddedEngine]:
    """Of the server's data, with an index."""
    engine = EmbeddedEngine(server.places.data)
    engine.create_index("books", IndexSettings())
    yield engine
    engine.close()


def put(engine: EmbeddedEngine, *numbers: int) -> None:
    engine.write("books", [Operation("put", str(n), {"id": str(n), "title": f"words {n}"}) for n in numbers])


def settle(data: Path) -> None:
    indexer = Indexer(data)
    while indexer.step():
        pass
    indexer.close()


def test_a_snapshot_made_while_documents_are_written(server: Server, engine: EmbeddedEngine) -> None:
    """It holds whole transactions of one moment, SQLite finds nothing wrong, generations are left out, and it says what it is."""
    put(engine, *range(100))
    settle(server.places.data)
    stopped = threading.Event()

    def write() -> None:
        while not stopped.is_set():
            put(engine, *range(100, 150))
            engine.write("books", [Operation("delete", str(n)) for n in range(100, 150)])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        made = [copying.snapshot(server.places, server.said.append)]
    finally:
        stopped.set()
        writer.join()
    about = json.loads((made[0] / "snapshot.json").read_text())
    (index,) = about["indexes"]
    assert index["name"] == "books" and index["documents"] in (100, 150)
    folder = made[0] / "indexes" / index["uid"]
    assert [path.name for path in folder.iterdir()] == ["documents.db"] and (made[0] / "system.db").is_file()
    with contextlib.closing(sqlite3.connect(folder / "documents.db")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


def test_data_comes_back_from_a_snapshot(server: Server, engine: EmbeddedEngine, tmp_path: Path) -> None:
    """Put in the place of the data, as docs/operations.md says, it is searched again, and what came later is not there."""
    put(engine, 1, 2, 3)
    settle(server.places.data)
    made = copying.snapshot(server.places, server.said.append)
    put(engine, 4)
    restored = tmp_path / "data"
    restored.mkdir()
    for path in made.iterdir():
        if path.name != "snapshot.json":
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, restored / path.name)
    settle(restored)
    again = EmbeddedEngine(restored)
    try:
        assert again.search("books", Query(match=Match((Term("words", ("title",)),)))).total == 3
        put(again, 5)
        settle(restored)
        assert again.search("books", Query(match=Match((Term("words", ("title",)),)))).total == 4
    finally:
        again.close()


def test_an_index_that_is_deleted_meanwhile(server: Server, engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy begins again: it has no index without its documents."""
    put(engine, 1)
    engine.create_index("films", IndexSettings())
    copy, copied = copying.copy, []

    def slow(source: Path, target: Path) -> int:
        if len(copied) == 1:
            engine.delete_index("films")
            settle_trash(server.places.data)
        copied.append(source)
        return copy(source, target)

    monkeypatch.setattr(copying, "copy", slow)
    to = server.root / "copy"
    to.mkdir()
    found = copying.copy_all(server.places.data, to)
    assert [index["name"] for index in found["indexes"]] == ["books"] and len(copied) > 3


def settle_trash(data: Path) -> None:
    indexer = Indexer(data)
    indexer._housekeeping()
    indexer.close()


def test_three_are_kept(server: Server, engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """The newest; what an interrupted one has left goes."""
    (server.places.backups / "20200101T000000Z.partial").mkdir(parents=True)
    made = []
    for second in range(5):
        monkeypatch.setattr(copying.time, "strftime", lambda *_, second=second: f"20260101T00000{second}Z")
        made.append(copying.snapshot(server.places, server.said.append))
    assert copying.snapshots(server.places) == made[:1:-1]
    assert sorted(path.name for path in server.places.backups.iterdir()) == [path.name for path in made[2:]]


def test_what_cannot_be_copied_leaves_nothing(server: Server, engine: EmbeddedEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room, or a damaged file: one line, and no half snapshot that somebody might trust."""
    put(engine, *range(500))
    with monkeypatch.context() as patched, pytest.raises(Failed, match="a snapshot needs"):
        patched.setattr(copying, "SPARE", 1 << 60)
        copying.snapshot(server.places, server.said.append)
    engine.close()
    (database,) = server.places.data.glob("indexes/*/documents.db")
    for left in database.parent.glob("documents.db-*"):
        left.unlink()
    raw = bytearray(database.read_bytes())
    raw[4096:] = b"\xff" * (len(raw) - 4096)
    database.write_bytes(raw)
    with pytest.raises(Failed, match=r"the snapshot failed: .*(damaged|malformed)"):
        copying.snapshot(server.places, server.said.append)
    assert list(server.places.backups.iterdir()) == []


def test_an_empty_folder(server: Server) -> None:
    assert json.loads((copying.snapshot(server.places, server.said.append) / "snapshot.json").read_text())["indexes"] == []


def test_the_program_says_what_is_wrong(tmp_path: Path) -> None:
    """In one line, not a traceback."""
    (tmp_path / "system.db").write_text("this is no database, but long enough to be taken for one" * 20)
    (tmp_path / "to").mkdir()
    with pytest.raises(Failed) as raised:
        Server(tmp_path).system.run([sys.executable, "-m", "deploy.onhost.copying", str(tmp_path), str(tmp_path / "to")])
    assert "file is not a database" in str(raised.value) and "Traceback" not in str(raised.value)
