"""fab: its list is the manual, and what goes wrong is one line."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
TASKS = ("deploy", "keys", "logs", "provision", "releases", "rollback", "snapshot", "status", "unlock")


def fab(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-m", "fabric", *arguments]
    return subprocess.run(argv, cwd=folder, capture_output=True, text=True, timeout=60)


@pytest.fixture
def elsewhere(tmp_path):
    """A checkout with a hosts.toml of its own."""
    (tmp_path / "searchapi").symlink_to(ROOT / "searchapi")
    shutil.copy(ROOT / "fabfile.py", tmp_path)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy", ignore=shutil.ignore_patterns("hosts.toml", "*.env", "__pycache__"))
    return tmp_path


def test_every_task_says_what_it_does():
    done = fab("--list")
    assert done.returncode == 0, done.stderr
    rows = [row for row in done.stdout.splitlines()[2:] if row.strip()]
    listed = {row.split()[0]: row.split(maxsplit=1)[1] for row in rows if not row.startswith("    ")}
    assert tuple(listed) == TASKS
    assert all(text[0].isupper() for text in listed.values())


@pytest.mark.parametrize("task", TASKS)
def test_every_task_takes_the_name_of_a_server(task):
    done = fab("--help", task)
    assert done.returncode == 0 and "--to=STRING" in done.stdout


@pytest.mark.parametrize(("arguments", "says"), [(["status"], "There is no "), (["keys", "--command", "a 'b"], "--command")])
def test_a_mistake_is_one_line_and_the_status_1(elsewhere, arguments, says):
    done = fab(*arguments, folder=elsewhere)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("fab: ") and says in done.stderr and done.stderr.count("\n") == 1


def test_a_server_that_cannot_be_reached_is_one_line(elsewhere):
    host_key = "SHA256:" + "a" * 43
    rows = ["[x]", 'address = "127.0.0.1"', "port = 1", f'host_key = "{host_key}"', 'domain = "a.example"', 'email = "a@b"']
    (elsewhere / "deploy" / "hosts.toml").write_text("\n".join(rows))
    done = fab("provision", folder=elsewhere)
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "127.0.0.1, port 1, cannot be reached as" in done.stderr and "Traceback" not in done.stderr


def test_the_application_does_not_know_of_shipping():
    """A server runs searchapi without Fabric."""
    for path in (ROOT / "searchapi").rglob("*.py"):
        for row in path.read_text().splitlines():
            words = row.split()
            assert words[:1] not in (["import"], ["from"]) or words[1].split(".")[0] not in ("deploy", "fabfile", "fabric"), path
