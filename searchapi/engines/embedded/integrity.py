"""Whether a generation's files are whole, read without tantivy, which notices damage only where a search happens to touch it.

Every file that tantivy writes ends in a footer: JSON with the CRC-32 of what is before it, its length and a magic number, both
little-endian u32 (tantivy, `src/directory/footer.rs`).
"""

from __future__ import annotations

import mmap
import re
import struct
import zlib
from pathlib import Path

import orjson

from .generation import WORDS

_MAGIC = 1337
_SUFFIXES = ("fast", "fieldnorm", "idx", "pos", "store", "term")
_CHUNK = 1 << 20


def damage(path: Path, *, checksums: bool = True) -> str | None:
    """What is wrong with the tantivy index in this folder, None where it is whole. Without checksums only lost and truncated files
    are found, in a moment. A file that a merge has just removed is not damage: the index then speaks of others. Raises OSError
    where the files cannot be read for another reason than that they are missing (too many open files, a failing disk)."""
    for _ in range(3):
        before = _meta(path)
        if before is None:
            return f"{path.name}: meta.json is lost or unreadable"
        found = next((fault for name in _files(before) if (fault := _fault(path / name, checksums))), None)
        if found is None or _meta(path) == before:
            return found
    return None  # it is being written faster than it can be read, so it is alive


# Of errors while opening a generation: a full or read-only disk, too many open files, no memory. Only tantivy's text tells.
_MACHINE = re.compile(r"code: \d+|os error \d+|Failed to acquire Lockfile|Failed to open file for write")


def opening_fault(path: Path, error: BaseException) -> str | None:
    """What is wrong with a generation that could not be opened; None where it may be whole and the machine is to blame, so that
    trying again later helps and building it anew would not."""
    try:
        found = damage(path) or damage(path / WORDS)
    except OSError:
        return None
    if found or isinstance(error, FileNotFoundError):
        return found or str(error)
    return None if isinstance(error, OSError) or _MACHINE.search(str(error)) else str(error)


def _meta(path: Path) -> bytes | None:
    try:
        raw = (path / "meta.json").read_bytes()
        orjson.loads(raw)["segments"]
    except (FileNotFoundError, NotADirectoryError, ValueError, KeyError, TypeError):
        return None
    return raw


def _files(meta: bytes) -> list[str]:
    names = []
    for segment in orjson.loads(meta)["segments"]:
        stem = segment["segment_id"].replace("-", "")
        names += [f"{stem}.{suffix}" for suffix in _SUFFIXES]
        if segment.get("deletes"):
            names.append(f"{stem}.{segment['deletes']['opstamp']}.del")
    return names


def _fault(path: Path, checksums: bool) -> str | None:
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            length, magic = struct.unpack("<II", content[-8:])
            if magic != _MAGIC:
                return f"{path.name} is truncated"
            end = len(content) - 8 - length
            return f"{path.name} is damaged" if checksums and _crc(content, end) != orjson.loads(content[end:-8])["crc"] else None
    except (FileNotFoundError, ValueError, KeyError, struct.error) as error:
        return f"{path.name}: {error}"


def _crc(content: mmap.mmap, end: int) -> int:
    crc = 0
    for start in range(0, end, _CHUNK):
        crc = zlib.crc32(content[start : min(start + _CHUNK, end)], crc)
    return crc
