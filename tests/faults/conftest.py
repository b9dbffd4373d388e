"""Seeds and sites for the tests of faults."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from .support import Site


@pytest.fixture
def seed(request) -> int:
    """Another one in every run, printed where the test fails; FAULTS_SEED repeats a run."""
    chosen = int(os.environ.get("FAULTS_SEED") or random.randrange(1 << 30))
    print(f"repeat with FAULTS_SEED={chosen}")
    return chosen


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Site(tmp_path / "data") as site:
        yield site
