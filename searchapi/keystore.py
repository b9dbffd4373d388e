"""API keys: made, checked, rotated and revoked. No Flask: `auth.py` asks it who is at the door.

A key is `sk_<id>_<secret><checksum>`. The id is public: it is what the log names. The secret has 190 random bits and is kept only
as a keyed hash, HMAC-SHA256 under SECRET_KEY: whoever reads the database cannot use what is in it. The checksum (CRC-32 of all
before it, as GitHub's tokens have one) lets a scanner for leaked secrets tell a key from noise without asking the server.
"""

from __future__ import annotations

import hmac
import os
import re
import secrets
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .config import Settings
from .engines.base import SystemStore
from .exceptions import NotAuthenticated
from .model import Key

SCOPES: dict[str, str] = {
    "search": "search and suggest; the names and fields of indexes",
    "documents:read": "read documents by id, by page, all of them",
    "documents:write": "write and delete documents",
    "indexes:admin": "make, change and delete indexes and aliases; read tasks",
    "keys:admin": "make, change and revoke keys, none with more than its own has",
    "metrics": "figures for those who operate it",
}
EVERY_INDEX = ("*",)

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID, _SECRET, _CHECKSUM = 12, 32, 6  # letters
PATTERN = re.compile(rf"sk_([0-9A-Za-z]{{{_ID}}})_([0-9A-Za-z]{{{_SECRET}}})([0-9A-Za-z]{{{_CHECKSUM}}})")


@dataclass(frozen=True, slots=True)
class Grant:
    """What a request may do: that of its key, or of nobody (`key_id` None). Times and secrets are behind it: it was checked."""

    key_id: str | None
    scopes: frozenset[str]
    indexes: tuple[str, ...]
    rate_limit: str | None = None
    rate_limit_per_ip: str | None = None
    max_page_size: int | None = None

    def sees(self, name: str) -> bool:
        """Whether it may know of the index or alias with this name."""
        return any(covers(pattern, name) for pattern in self.indexes)


def covers(pattern: str, name: str) -> bool:
    """Whether a pattern, a name or `prefix*`, takes in a name, or all that another pattern does."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


NOBODY = Grant(None, frozenset(("search",)), EVERY_INDEX)  # who searches without a key, in development


# ---------------------------------------------------------------------------------------------------------- text


def new_text() -> tuple[str, str, str]:
    """(id, secret, the key as it is shown once)."""
    id, secret = _random(_ID), _random(_SECRET)
    return id, secret, written(id, secret)


def new_secret() -> str:
    return _random(_SECRET)


def written(id: str, secret: str) -> str:
    text = f"sk_{id}_{secret}"
    return text + _checksum(text)


def _random(letters: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(letters))


def _checksum(text: str) -> str:
    number, letters = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM):
        number, digit = divmod(number, len(_ALPHABET))
        letters = _ALPHABET[digit] + letters
    return letters


def is_key(text: str) -> bool:
    """Whether a text is written as a key is, its checksum included."""
    return PATTERN.fullmatch(text) is not None and _checksum(text[:-_CHECKSUM]) == text[-_CHECKSUM:]


# ------------------------------------------------------------------------------------------------------- secrets


def secret_key(settings: Settings) -> bytes:
    """SECRET_KEY; in development, where there is none, one that DATA_DIR/secret_key holds and that is made there."""
    if settings.secret_key:
        return settings.secret_key.encode()
    path = settings.data_dir / "secret_key"
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return _read_secret(path)
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_urlsafe(48).encode())
    return _read_secret(path)


def _read_secret(path: Path) -> bytes:
    return path.read_bytes()


def derived(key: bytes, purpose: str, text: str) -> bytes:
    """32 bytes that only who knows SECRET_KEY can make; other purposes give other bytes."""
    return hmac.digest(key, f"searchapi.{purpose}:{text}".encode(), "sha256")


# --------------------------------------------------------------------------------------------------------- store


class KeyStore:
    """The keys of one installation."""

    def __init__(self, key: bytes, system: SystemStore):
        self._key, self._system = key, system

    def digest(self, id: str, secret: str) -> str:
        return derived(self._key, "key", f"{id}:{secret}").hex()

    def verify(self, text: str, now: str) -> Grant:
        """What the key that a request brought may do, at `now` (RFC 3339). Raises NotAuthenticated; that a key is revoked or has
        expired is told only to who knows its secret."""
        match = PATTERN.fullmatch(text)
        key = self._system.keys().get(match[1]) if match else None
        if match is None or key is None or not self._matches(key, match[2], now) or _checksum(text[:-_CHECKSUM]) != match[3]:
            raise NotAuthenticated("This key is not valid.", code="invalid_key")
        if key.revoked_at:
            raise NotAuthenticated("This key was revoked.", code="revoked_key")
        if key.expires_at and key.expires_at <= now:
            raise NotAuthenticated(f"This key expired at {key.expires_at}.", code="expired_key")
        return Grant(key.id, frozenset(key.scopes), key.indexes, key.rate_limit, key.rate_limit_per_ip, key.max_page_size)

    def _matches(self, key: Key, secret: str, now: str) -> bool:
        digest = self.digest(key.id, secret)
        if hmac.compare_digest(digest, key.digest):
            return True
        overlapping = key.previous_digest and (key.previous_until or "") > now
        return bool(overlapping) and hmac.compare_digest(digest, key.previous_digest)

    def create(self, scopes: Iterable[str], indexes: Iterable[str], now: str, **more: Any) -> tuple[Key, str]:
        """A new key, and its text, which cannot be had again. `more`: the other members of a Key that may be chosen."""
        id, secret, text = new_text()
        key = Key(id, self.digest(id, secret), tuple(scopes), tuple(indexes), created_at=now, **more)
        self._system.add_key(key)
        return key, text
