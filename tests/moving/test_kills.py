"""Moves that are killed at any moment and begun again, while the source is written: in the end both sides agree."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from searchapi.exceptions import SearchAPIError
from searchapi.model import Operation

from .conftest import put, stored

CHECKOUT = Path(__file__).resolve().parents[2]
KILLS = 8

pytestmark = pytest.mark.slow


def command(lab, *arguments: str, **settings: str) -> subprocess.Popen:
    kept = {name: text for name, text in os.environ.items() if name in ("PATH", "HOME", "LANG")}
    variables = {**kept, "PYTHONPATH": str(CHECKOUT), "SECRET_KEY": lab.settings.secret_key, "DATA_DIR": str(lab.folder / "own")}
    line = [sys.executable, "-m", "searchapi", *arguments]
    return subprocess.Popen(
        line, cwd=lab.folder, env=variables | settings, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def killed_again_and_again(lab, chance: random.Random, *arguments: str, **settings: str) -> int:
    """How many were killed before they had ended."""
    killed = 0
    for _ in range(KILLS):
        with command(lab, *arguments, **settings) as process:
            try:
                process.communicate(timeout=0.4 + chance.random() * 2.5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.communicate()
                killed += 1
    return killed


def ended(lab, *arguments: str, **settings: str) -> str:
    with command(lab, *arguments, **settings) as process:
        said, wrong = process.communicate(timeout=300)
    assert process.returncode == 0, wrong
    return said


@pytest.mark.parametrize("way", ["embedded opensearch", "opensearch embedded"])
def test_migrate_killed_at_random(lab, way):
    """Writers go on all the time; after the last run without them both sides hold the same."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    chance, names = random.Random(seed), way.split()
    first, second = lab.filled(getattr(lab, names[0])(), 6000), getattr(lab, names[1])()
    stop = threading.Event()

    def write(number: int) -> None:
        own = random.Random(seed + number)
        while not stop.is_set():
            n = own.randrange(7000)
            try:
                first.engine.write(
                    "shelf", [Operation("delete", put(n).id) if own.random() < 0.3 else put(n, year=own.randrange(99))]
                )
            except SearchAPIError:
                time.sleep(0.1)
            time.sleep(0.01)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    arguments = ("migrate", "--from", first.shown, "--to", second.shown)
    try:
        killed = killed_again_and_again(lab, chance, *arguments)
    finally:
        stop.set()
        for writer in writers:
            writer.join()
    assert killed > KILLS // 2
    said = ended(lab, *arguments)
    assert stored(first) == stored(second) and "searches compared" in said
    assert "nothing to write" in ended(lab, *arguments)


def test_load_killed_at_random(lab):
    """The same of a load."""
    chance = random.Random(random.randrange(1 << 30))
    first, second = lab.filled(lab.embedded(), 8000), lab.opensearch()
    assert ended(lab, "dump", "all.tar", DATA_DIR=str(first.settings.data_dir))
    killed_again_and_again(lab, chance, "load", "all.tar", ENGINE_URL=second.shown)
    ended(lab, "load", "all.tar", ENGINE_URL=second.shown)
    assert stored(first) == stored(second)
