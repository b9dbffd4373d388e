"""Keys for tests."""

from __future__ import annotations

from pathlib import Path

from searchapi.config import Settings
from searchapi.engines.base import SystemStore
from searchapi.engines.embedded import SystemDatabase
from searchapi.keystore import SCOPES, KeyStore, secret_key

CREATED = "2026-01-01T00:00:00.000Z"


def admin_key(data_dir: Path, system: SystemStore | None = None) -> str:
    """A key with every scope on every index, as its text."""
    store = KeyStore(secret_key(Settings(data_dir=data_dir)), system or SystemDatabase(data_dir))
    return store.create(SCOPES, ("*",), CREATED)[1]


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
