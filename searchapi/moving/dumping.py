"""Writing a dump, while the source is written."""

from __future__ import annotations

import hashlib
import os
import shutil
import tarfile
import uuid
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import orjson

from .. import __version__
from ..dates import now
from ..engines.changes import PositionLost
from ..exceptions import Conflict, EngineUnavailable, StorageFull
from ..model import Document
from .copying import CHUNK, Tell, patiently
from .dump import ALIASES, FORMAT, KEYS, MANIFEST, index_to_json, line_of, path_of
from .ends import End
from .loading import Dump, Folder
from .verifying import Checksum

ROUNDS = 5


def dump(source: End, names: Sequence[str], output: Path, tell: Tell) -> list[str]:
    """Written under another name until it is whole. What was done, for a person. Raises Conflict where `output` is there."""
    if output.exists():
        raise Conflict(f"{output} is there already; choose another name, or take it away.")
    if not output.absolute().parent.is_dir():
        raise Conflict(f"{output.absolute().parent} is no folder.")
    held = {name: source.held(name) for name in names}
    free, needed = shutil.disk_usage(output.absolute().parent).free, sum(each.size_bytes for each in held.values())
    if needed > free:
        raise StorageFull(f"{output.absolute().parent} has room for {free >> 20:,} MiB; the indexes take {needed >> 20:,} MiB.")
    partial = output.absolute().with_name(f".{output.name}.{os.getpid()}")
    partial.mkdir(mode=0o700)
    try:
        lines = _Writer(source, partial, tell).write(names)
        if output.suffix == ".tar":
            tar = partial / "all.tar"
            _pack(partial, tar)
            tar.replace(output)
        else:
            partial.replace(output)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return lines


def _pack(folder: Path, tar: Path) -> None:
    """The manifest first, so that who looks need not read on. A file that is in it is no longer needed beside it."""
    with os.fdopen(os.open(tar, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as packed:
            rest = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST and path != tar)
            for path in [folder / MANIFEST, *rest]:
                packed.add(path, arcname=str(path.relative_to(folder)))
                path.unlink()
        file.flush()
        os.fsync(file.fileno())


class _Writer:
    def __init__(self, source: End, folder: Path, tell: Tell):
        self.source, self.folder, self._tell = source, folder, tell
        self._files: dict[str, dict[str, int | str]] = {}

    def write(self, names: Sequence[str]) -> list[str]:
        indexes = {name: self._index(name) for name in names}
        aliases = {alias: index for alias, index in self.source.aliases().items() if index in indexes}
        self._file(ALIASES, orjson.dumps(aliases, option=orjson.OPT_INDENT_2) + b"\n")
        keys = self.source.keys().values()
        self._file(KEYS, b"".join(orjson.dumps(asdict(key)) + b"\n" for key in keys))
        manifest = {
            "format": FORMAT,
            "id": uuid.uuid4().hex,
            "created_at": now(),
            "searchapi": __version__,
            "engine": self.source.engine.capabilities.engine,
            "indexes": indexes,
            "files": self._files,
        }
        (self.folder / MANIFEST).write_bytes(orjson.dumps(manifest, option=orjson.OPT_INDENT_2) + b"\n")
        lines = [f"{name}: {row['documents']:,} documents, checksum {row['checksum']}" for name, row in indexes.items()]
        return [*lines, f"{len(aliases):,} aliases, {len(keys):,} keys"]

    def _index(self, name: str) -> dict[str, int | str]:
        for _ in range(ROUNDS):
            try:
                self._documents(name)
                break
            except PositionLost:
                self._tell(f"{name}: it was rebuilt meanwhile: beginning again")
        else:
            raise EngineUnavailable(f"{name!r} was rebuilt again and again while it was dumped. Try again.")
        held = self.source.held(name)
        self._file(
            path_of(name, "settings.json"),
            orjson.dumps(index_to_json(held.settings, dict(held.fields)), option=orjson.OPT_INDENT_2),
        )
        checksum, written = Checksum(), Dump(Folder(self.folder), {"id": "", "indexes": {name: {}}, "files": self._files})
        for document in written.scan(name):  # read again as it would be loaded
            checksum.add(document)
        return {"documents": checksum.documents, "checksum": str(checksum)}

    def _documents(self, name: str) -> None:
        position, after, done = self._changes(name, None).position, None, 0
        with self._open(path_of(name, "documents.ndjson")) as file, self._open(path_of(name, "changes.ndjson")) as changes:
            while rows := self._read(name, after):
                for row in rows:
                    file.write(line_of(row.id, row.version, row.body))
                after, done = rows[-1].id, done + len(rows)
                if done % (20 * CHUNK) == 0:
                    self._tell(f"{name}: {done:,} documents")
                    position = self._follow(name, position, changes)
            self._follow(name, position, changes)
        for kind in ("documents.ndjson", "changes.ndjson"):
            self._seal(path_of(name, kind))

    def _read(self, name: str, after: str | None) -> list[Document]:
        return patiently(lambda: self.source.read(name, after, CHUNK), self._tell)

    def _follow(self, name: str, position: str, file: BinaryIO) -> str:
        while True:
            found = self._changes(name, position)
            for row in found.rows:
                file.write(line_of(row.id, row.version, row.body))
            position = found.position
            if not found.more:
                return position

    def _changes(self, name: str, after: str | None):
        return patiently(lambda: self.source.changes(name, after, CHUNK), self._tell)

    # --------------------------------------------------------------------------------------------------------- files

    def _open(self, path: str) -> BinaryIO:
        (self.folder / path).parent.mkdir(parents=True, exist_ok=True)
        return (self.folder / path).open("wb")

    def _file(self, path: str, data: bytes) -> None:
        with self._open(path) as file:
            file.write(data)
        self._seal(path)

    def _seal(self, path: str) -> None:
        """Safe on the disk, its size and SHA-256 noted."""
        with (self.folder / path).open("rb") as file:
            os.fsync(file.fileno())
            self._files[path] = {
                "bytes": os.fstat(file.fileno()).st_size,
                "sha256": hashlib.file_digest(file, "sha256").hexdigest(),
            }
