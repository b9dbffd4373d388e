"""How far a move is: a small file for each index under DATA_DIR/moves. Without it a move begins again: only time is lost."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import orjson

from ..exceptions import Conflict

FOLDER = "moves"


@dataclass(slots=True)
class Memory:
    """source, target: uid of each index. position: up to which the source was followed; None before the first document. after: the
    id up to which documents were copied; copied: all were. checksum: of the target when it was last found equal; None while that
    is not so. written: the target's position then, after which only others write."""

    path: Path
    source: str = ""
    target: str = ""
    position: str | None = None
    after: str | None = None
    copied: bool = False
    checksum: str | None = None
    written: str | None = None

    @classmethod
    def load(cls, data_dir: Path, source: str, target: str, name: str) -> Memory:
        """What is remembered of moving this index from here to there; what cannot be read is nothing."""
        key = hashlib.sha256(f"{source}\0{target}\0{name}".encode(errors="surrogateescape")).hexdigest()[:16]
        memory = cls(data_dir / FOLDER / f"{key}.json")
        try:
            known = orjson.loads(memory.path.read_bytes())
        except (FileNotFoundError, ValueError):
            return memory
        for field in fields(cls):
            if field.name != "path" and field.name in known:
                setattr(memory, field.name, known[field.name])
        return memory

    def save(self) -> None:
        """Whole or not at all."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        new = self.path.with_suffix(".new")
        new.write_bytes(orjson.dumps({name: value for name, value in asdict(self).items() if name != "path"}))
        new.replace(self.path)

    def begin(self) -> None:
        """Nothing was copied yet."""
        self.position, self.after, self.copied = None, None, False


@contextmanager
def alone(data_dir: Path) -> Iterator[None]:
    """Moves that share this folder are made one after another. Raises Conflict where another is under way."""
    folder = data_dir / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(f"Another move is under way here ({folder / 'lock'} is held).") from None
    try:
        yield
    finally:
        os.close(descriptor)
