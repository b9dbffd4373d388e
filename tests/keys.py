"""Keys for tests."""

from __future__ import annotations

from pathlib import Path

from searchapi.config import Settings
from searchapi.engines.base import SystemStore
from searchapi.engines.embedded import SystemDatabase
from searchapi.engines.embedded.sqlite import Connections
from searchapi.keystore import SCOPES, KeyStore
from searchapi.secretkey import secret_key

CREATED = "2026-01-01T00:00:00.000Z"


def admin_key(data_dir: Path, system: SystemStore | None = None) -> str:
    """A key with every scope on every index, as its text. Nothing stays open."""
    connections = Connections()
    try:
        store = KeyStore(secret_key(Settings(data_dir=data_dir)), system or SystemDatabase(data_dir, connections))
        return store.create(SCOPES, ("*",), CREATED)[1]
    finally:
        connections.close()


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}
