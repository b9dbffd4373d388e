from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .sshserver import SshServer


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[SshServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    with SshServer(folder) as server:
        yield server
