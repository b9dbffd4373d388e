"""Who works on a data folder: names that live as long as their process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from searchapi.engines.embedded import processes

OTHER = """
import sys
from pathlib import Path
from searchapi.engines.embedded import processes
print(processes.me(Path(sys.argv[1])), processes.alive(Path(sys.argv[1]), sys.argv[2]), flush=True)
sys.stdin.read()
"""


def other(folder: Path, name: str) -> subprocess.Popen:
    command = [sys.executable, "-c", OTHER, str(folder), name]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_a_process_lives_until_it_ends(tmp_path):
    """Each sees the other, until it is killed; a name that nobody has is of none that lives."""
    mine = processes.me(tmp_path)
    assert mine == processes.me(tmp_path) and processes.alive(tmp_path, mine)
    with other(tmp_path, mine) as process:
        name, sees_us = process.stdout.readline().split()
        assert sees_us == "True" and name != mine
        assert processes.alive(tmp_path, name) and processes.alive(tmp_path, name)
        process.kill()
        process.wait()
        assert not processes.alive(tmp_path, name)
    assert not processes.alive(tmp_path, "1")


def test_asking_about_others_loses_nothing(tmp_path):
    """Who asks about one that has ended keeps its own name."""
    mine = processes.me(tmp_path)
    assert not processes.alive(tmp_path, "2")
    with other(tmp_path, mine) as process:
        assert process.stdout.readline().split()[1] == "True"
        process.kill()


def test_names_of_older_releases(tmp_path):
    """A process id with a start time, as they once were, is of nobody."""
    assert not processes.alive(tmp_path, "412:8191") and not processes.alive(tmp_path, "")
