"""A file of documents as it is imported: what format it is, how far it has been read, on which line a document stands."""

from __future__ import annotations

import os
import stat
from bisect import bisect_right
from typing import BinaryIO

from ..ndjson import JSON_TYPES, NDJSON_TYPES

HEAD = 64 << 10  # bytes looked at to tell the format


class Source:
    """A binary stream for `ndjson.read_documents`. read_bytes: how many were handed out."""

    def __init__(self, stream: BinaryIO):
        self._stream = stream
        self._head = stream.read(HEAD)
        self.is_ndjson = looks_like_ndjson(self._head)
        self.read_bytes = 0
        self._line = 1
        self._seen = False  # whether the line that is being read holds anything but spaces
        self._blank: list[int] = []  # for each blank line, how many documents stand before it

    @property
    def content_type(self) -> str:
        return NDJSON_TYPES[0] if self.is_ndjson else JSON_TYPES[0]

    @property
    def size(self) -> int | None:
        """In bytes, where it can be told: not of a pipe."""
        try:
            facts = os.fstat(self._stream.fileno())
        except (OSError, ValueError):
            return None
        return facts.st_size if stat.S_ISREG(facts.st_mode) else None

    def read(self, size: int) -> bytes:
        data, self._head = (self._head or self._stream.read(size)), b""
        self.read_bytes += len(data)
        if self.is_ndjson:
            self._count_lines(data)
        return data

    def _count_lines(self, data: bytes) -> None:
        *whole, rest = data.split(b"\n")
        for line in whole:
            if not (self._seen or line.strip()):
                self._blank.append(self._line - 1 - len(self._blank))
            self._line += 1
            self._seen = False
        self._seen = self._seen or bool(rest.strip())

    def place(self, position: int) -> str:
        """Where the document at `position` (from 0) stands, for a person."""
        if self.is_ndjson:
            return f"line {position + 1 + bisect_right(self._blank, position)}"
        return f"document {position + 1}"


def looks_like_ndjson(head: bytes) -> bool:
    """Whether the first line is a whole object, as against an array or the beginning of an object on several lines."""
    first, newline, _ = head.removeprefix(b"\xef\xbb\xbf").lstrip().partition(b"\n")
    return first.startswith(b"{") and (not newline or first.rstrip().endswith(b"}"))
