"""SECRET_KEY: what everything secret is derived from. In development, where there is none, DATA_DIR/secret_key holds one.

Whoever needs it first makes it: workers, the indexer and the command line may all start at once, on a folder that is not there yet.
"""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import tempfile
from pathlib import Path

from .config import Settings, SettingsError

FILE = "secret_key"
_LEAST = 32  # characters


def derived(key: bytes, purpose: str, text: str) -> bytes:
    """32 bytes that only who knows SECRET_KEY can make; other purposes give other bytes."""
    return hmac.digest(key, f"searchapi.{purpose}:{text}".encode(), "sha256")


def fingerprint(key: bytes) -> str:
    """By which one SECRET_KEY is told from another. It says no more of it than any hash of an API key does."""
    return derived(key, "fingerprint", "").hex()[:12]


def new_secret_key() -> str:
    return secrets.token_urlsafe(48)


def secret_key(settings: Settings) -> bytes:
    """Raises SettingsError where there is none and none can be made or read."""
    if settings.secret_key:
        return settings.secret_key.encode()
    if not settings.development:
        raise SettingsError(
            f"SECRET_KEY is empty, but {settings.environment} needs one; `python -m searchapi keys secret` prints one."
        )
    path = settings.data_dir.absolute() / FILE
    try:
        if not path.exists():
            _make(path)
        found = path.read_bytes().strip()
    except OSError as error:
        raise SettingsError(
            f"SECRET_KEY is not set, and {path} cannot be made or read: {error.strerror}. Set SECRET_KEY, or run as the user that"
            " owns the folder; `python -m searchapi keys secret` prints a value."
        ) from None
    if len(found) < _LEAST:
        raise SettingsError(
            f"{path} is damaged: it holds {len(found)} bytes. Bring it back from a backup; or delete it, and every key has to be"
            " made anew."
        )
    return found


def _make(path: Path) -> None:
    """Written whole under another name, then given its own if nobody was first: no reader ever sees a part of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{FILE}-", dir=path.parent)  # for this user alone: 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(new_secret_key().encode())
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink()
