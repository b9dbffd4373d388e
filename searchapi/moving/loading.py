"""Reading a dump, as a source to move from. Every file is compared with the checksum in the manifest before anything is written."""

from __future__ import annotations

import contextlib
import hashlib
import tarfile
from collections.abc import Iterator, Mapping
from functools import cached_property
from heapq import merge
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import orjson

from ..engines.changes import Changes
from ..exceptions import Invalid, Unreadable
from ..model import Document, Key
from ..schema import check_name
from .dump import ALIASES, FORMAT, KEYS, MANIFEST, document_of, index_from_json, key_from_json, path_of
from .ends import Held


class Files(Protocol):
    """name: for people. open raises FileNotFoundError."""

    name: str

    def open(self, path: str) -> BinaryIO: ...


class Folder:
    def __init__(self, path: Path):
        self.name, self._path = str(path), path

    def open(self, path: str) -> BinaryIO:
        return (self._path / path).open("rb")


class Tar:
    """Read where it lies; nothing is unpacked."""

    def __init__(self, path: Path, tar: tarfile.TarFile):
        self.name = str(path)
        self._tar, self._members = tar, {member.name: member for member in tar.getmembers() if member.isfile()}

    def open(self, path: str) -> BinaryIO:
        if path not in self._members:
            raise FileNotFoundError(path)
        return self._tar.extractfile(self._members[path])


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Dump]:
    """A dump, whole and undamaged. Raises Unreadable."""
    with contextlib.ExitStack() as stack:
        if path.is_dir():
            files: Files = Folder(path)
        else:
            try:
                tar = stack.enter_context(tarfile.open(path, "r:"))
                files = Tar(path, tar)
            except (tarfile.TarError, OSError) as error:
                raise Unreadable(f"{path} is no dump: expected the folder or the tar file that `dump` wrote ({error}).") from None
        dump = Dump(files, _manifest(files))
        dump.check()
        yield dump


def _manifest(files: Files) -> dict[str, Any]:
    try:
        with files.open(MANIFEST) as file:
            manifest = orjson.loads(file.read())
        found, indexes, listed = manifest["format"], manifest["indexes"], manifest["files"]
        str(manifest["id"]), [(check_name(name), row["documents"], row["checksum"]) for name, row in indexes.items()]
        [(row["bytes"], row["sha256"]) for row in listed.values()]
    except FileNotFoundError:
        raise Unreadable(f"{files.name} is no whole dump: it has no {MANIFEST}.") from None
    except (ValueError, TypeError, KeyError, AttributeError, Invalid, OSError, tarfile.TarError) as error:
        raise Unreadable(f"{files.name}: {MANIFEST} is damaged ({error}).") from None
    if found != FORMAT:
        raise Unreadable(f"{files.name} has format {found!r}; this release reads {FORMAT}. Load it with the release that wrote it.")
    return manifest


class Dump:
    """A Source. Documents are read in order, in one pass."""

    live = False

    def __init__(self, files: Files, manifest: Mapping[str, Any]):
        self._files, self._manifest = files, manifest
        self.shown = f"dump {manifest['id']}" if manifest["id"] else files.name
        self._at: tuple[str, str | None, Iterator[Document]] | None = None

    def check(self) -> None:
        """Raises Unreadable for the first file that is not as it was written."""
        needed = {ALIASES, KEYS}
        needed |= {path_of(name, kind) for name in self.names() for kind in ("settings.json", "documents.ndjson", "changes.ndjson")}
        for path in sorted(needed | self._manifest["files"].keys()):
            known = self._manifest["files"].get(path)
            try:
                with self._files.open(path) as file:
                    size, digest = 0, hashlib.sha256()
                    while data := file.read(1 << 20):
                        size += len(data)
                        digest.update(data)
            except FileNotFoundError:
                raise Unreadable(f"{self._files.name} is not whole: {path} is missing.") from None
            except (tarfile.TarError, OSError) as error:
                raise Unreadable(f"{self._files.name}: {path} cannot be read: {error}.") from None
            if known is None or size != known["bytes"] or digest.hexdigest() != known["sha256"]:
                what = (
                    f"it has {size:,} bytes, not {known['bytes']:,}" if known and size != known["bytes"] else "its checksum differs"
                )
                raise Unreadable(f"{self._files.name}: {path} is not as it was written: {what}. Nothing was loaded.")

    def names(self) -> list[str]:
        return sorted(self._manifest["indexes"])

    def held(self, name: str) -> Held:
        path = path_of(name, "settings.json")
        with self._files.open(path) as file:
            settings, fields = index_from_json(file.read(), f"{self._files.name}: {path}")
        row = self._manifest["indexes"][name]
        size = self._manifest["files"][path_of(name, "documents.ndjson")]["bytes"]
        return Held(f"{self._manifest['id']}/{name}", settings, fields, row["documents"], size)

    def aliases(self) -> Mapping[str, str]:
        return self._aliases

    @cached_property
    def _aliases(self) -> dict[str, str]:
        with self._files.open(ALIASES) as file:
            return orjson.loads(file.read())

    def keys(self) -> Mapping[str, Key]:
        return self._keys

    @cached_property
    def _keys(self) -> dict[str, Key]:
        with self._files.open(KEYS) as file:
            lines = enumerate(file.read().splitlines(), 1)
            keys = [key_from_json(line, f"{self._files.name}: {KEYS}, line {number}") for number, line in lines]
        return {key.id: key for key in keys}

    def read(self, name: str, after: str | None, limit: int) -> list[Document]:
        if self._at is None or self._at[:2] != (name, after):
            self._at = (name, after, self.scan(name, after))
        rows = []
        for row in self._at[2]:
            rows.append(row)
            if len(rows) == limit:
                break
        self._at = (name, rows[-1].id if rows else after, self._at[2])
        return rows

    def get(self, name: str, id: str) -> Document | None:
        raise AssertionError("a dump does not change")

    def changes(self, name: str, after: str | None, limit: int) -> Changes:
        return Changes(self._manifest["id"])

    def scan(self, name: str, after: str | None = None) -> Iterator[Document]:
        """In the order of ids, beyond `after`, as the changes have left them. Raises Unreadable."""
        changed = dict(self._lines(path_of(name, "changes.ndjson")))  # of each document the last one counts
        plain = (document for id, document in self._lines(path_of(name, "documents.ndjson")) if id not in changed and document)
        later = (document for _, document in sorted(changed.items()) if document)
        for document in merge(plain, later, key=lambda document: document.id):
            if after is None or document.id > after:
                yield document

    def _lines(self, path: str) -> Iterator[tuple[str, Document | None]]:
        with self._files.open(path) as file:
            for number, line in enumerate(file, 1):
                yield document_of(line, f"{self._files.name}: {path}, line {number}")
