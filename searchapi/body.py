"""The body of a request as a stream: unpacked where it is gzip, and bounded in size however it comes.

A body may hold MAX_BODY_BYTES as it is sent and, where it is gzip, MAX_UNPACKED_BYTES unpacked. It is unpacked as it is read, so
what is in memory is what was asked for. How long it may take is up to `worker.py`, whose sockets lose their patience.
"""

from __future__ import annotations

import zlib
from typing import Any

from .exceptions import SearchAPIError, TooLarge, Unreadable

GZIP = ("gzip", "x-gzip")  # RFC 9110, 8.4.1.3: the two are one
MAX_MEMBERS = 10_000  # of a gzip body: each costs as much as some thousand bytes, and may hold none
READ_SO_FAR = "searchapi.body_read"  # where in the environ the number of bytes is kept that were read, unpacked

_PACKED = 64 * 1024  # bytes of a gzip body that are read at a time
_GZIP_WINDOW = 31  # zlib's wbits for gzip's header and trailer, which are checked


class Body:
    """One request's body. Reading raises TooLarge, BodyTimeout, or Unreadable where it is not gzip or ends too early."""

    def __init__(self, environ: dict[str, Any], encoding: str, max_bytes: int, max_unpacked: int, cap: str):
        """encoding: `gzip`, `x-gzip` or empty. cap: the setting that `max_unpacked` comes from."""
        self._environ, self._stream = environ, environ["wsgi.input"]
        self._max_bytes, self._max_unpacked, self._cap = max_bytes, max_unpacked, cap
        self._length = self._announced()
        self._came = self._read = 0  # bytes as they were sent, bytes unpacked
        self._member = zlib.decompressobj(_GZIP_WINDOW) if encoding in GZIP else None
        self._members = 0
        self._packed, self._begun, self._more = b"", False, False  # of the member: unused input, any input, perhaps more output

    def _announced(self) -> int | None:
        """Content-Length; None for a body that says itself where it ends. Raises TooLarge, before anything is read."""
        text = self._environ.get("CONTENT_LENGTH") or ""
        if not (text.isascii() and text.isdigit()):
            return None if self._environ.get("wsgi.input_terminated") else 0
        if int(text[:20]) > self._max_bytes:
            raise self._too_long(f"of {int(text[:20]):,} bytes")
        return int(text)

    def _too_long(self, which: str) -> TooLarge:
        return TooLarge(f"A body {which} is too long; it can have {self._max_bytes:,} (MAX_BODY_BYTES). Send it in parts.")

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none at the end. What a cap allows is handed out before its error is raised."""
        if self._member is None:
            data = self._sent(size)
        else:
            data = self._unpacked(max(1, min(size, self._max_unpacked - self._read)))
            if data and self._read == self._max_unpacked:
                most = f"The body unpacks to more than {self._max_unpacked:,} bytes ({self._cap}); send it in parts."
                raise TooLarge(most, code="unpacked_too_large")
        self._read += len(data)
        self._environ[READ_SO_FAR] = self._read
        return data

    def read_all(self, most: int) -> bytes:
        """The whole body, or just more than `most` bytes of a longer one."""
        pieces, size = [], 0
        while size <= most and (piece := self.read(min(most + 1 - size, 1 << 20))):
            pieces.append(piece)
            size += len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _sent(self, size: int) -> bytes:
        """The next bytes as they were sent."""
        if self._length is not None:
            size = min(size, self._length - self._came)
            if size <= 0:
                return b""
        else:
            size = max(1, min(size, self._max_bytes - self._came))
        try:
            data = self._stream.read(size)
        except SearchAPIError:
            raise
        except Exception as error:  # Gunicorn has a kind for each way to spoil a chunk, and OSErrors for a client that is gone
            lost = "The body could not be read to its end: its chunks are not well formed, or the connection was lost."
            raise Unreadable(lost, code="incomplete_body") from error
        if data and self._came == self._max_bytes:
            raise self._too_long(f"of more than {self._max_bytes:,} bytes")
        self._came += len(data)
        if not data and self._length is not None:
            lost = f"The body ended after {self._came:,} bytes; Content-Length announced {self._length:,}."
            raise Unreadable(lost, code="incomplete_body")
        return data

    def _unpacked(self, size: int) -> bytes:
        """The next bytes that a gzip body unpacks to. It may have several members, one after another (RFC 1952, 2.2)."""
        while True:
            if not self._packed and not self._more:
                self._packed = self._sent(_PACKED)
                if not self._packed:
                    if self._begun or not self._members:
                        raise Unreadable("The gzip body ends before it is complete.", code="incomplete_body")
                    return b""
            try:
                data = self._member.decompress(self._packed, size)
            except zlib.error:
                where = "after its first part, something follows that is not" if self._members else "it is not"
                raise Unreadable(f"The body cannot be unpacked: {where} gzip, or it is damaged.") from None
            self._begun, self._more = True, len(data) == size
            self._packed = self._member.unconsumed_tail
            if self._member.eof:
                self._next_member(self._member.unused_data)
            if data:
                return data

    def _next_member(self, rest: bytes) -> None:
        self._members += 1
        if self._members > MAX_MEMBERS:
            raise Unreadable(f"The gzip body has more than {MAX_MEMBERS:,} members.")
        self._member = zlib.decompressobj(_GZIP_WINDOW)
        self._packed, self._begun, self._more = rest, False, False
