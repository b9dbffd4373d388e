from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from .local import Server, quick
from .sshserver import SshServer


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[SshServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    with SshServer(folder) as server:
        yield server


@pytest.fixture
def server() -> Iterator[Server]:
    """Nothing deployed yet."""
    made = Server.make(Path(tempfile.mkdtemp(prefix="rel-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None)))
    try:
        with quick():
            yield made
    finally:
        made.end()
