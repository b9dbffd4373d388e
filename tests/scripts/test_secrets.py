"""scripts/secrets: a planted secret is found and named by its place, and what only looks like one is let through."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from searchapi import keytext

from .conftest import CHECKOUT, environment, needed

OURS = keytext.written(keytext.new_id(), keytext.new_secret())
RANDOM = "9fK2xQ7vLm4TzR8wYc1N"  # pragma: allowlist secret

# Each is put together here, so that this file holds none.
PLANTED = {
    "searchapi key": f"curl -H 'Authorization: Bearer {OURS}' https://search.example/v1/indexes\n",
    "Private Key": "-----BEGIN " + "EC PRIVATE KEY-----\nMHcCAQEEI\n",
    "Secret Keyword": f'redis_pass{"word"} = "{RANDOM}"\n',
    "Basic Auth Credentials": f"REDIS_URL=rediss://searchapi:{RANDOM}@redis.internal:6380/0\n",
    "AWS Access Key": "AKIA" + "QWERTZUIOPASDFGH\n",
}


def secrets(*arguments: object, cwd: Path = CHECKOUT, **settings: object) -> subprocess.CompletedProcess:
    """scripts/secrets with the environment that these tests run in."""
    variables = environment(**settings) | {"PYTHONDONTWRITEBYTECODE": "1"}
    command = [cwd / "scripts" / "secrets", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=variables, timeout=300, check=False)


@pytest.mark.parametrize("kind", PLANTED)
def test_planted(venv, tmp_path, kind):
    """It fails, and says which kind of secret is in which line, without repeating it."""
    path = tmp_path / "notes.py"
    path.write_text(f"# one\n# two\n{PLANTED[kind]}")
    done = secrets(path, VENV=venv)
    assert done.returncode == 1
    assert f"{path}:3: {kind}" in done.stderr.splitlines()
    assert OURS not in done.stderr and RANDOM not in done.stderr and done.stdout == ""


def test_what_is_none(venv, tmp_path):
    """A key with another checksum, a value of the tests, a marked line."""
    wrong = OURS[:-1] + ("a" if OURS[-1] != "a" else "b")
    path = tmp_path / "notes.py"
    path.write_text(
        f"# like {wrong}\n"
        'SECRET_KEY = "an unguessable secret of the tests 0123456789"\n'
        f'SECRET_KEY = "{RANDOM}"  # pragma: allowlist secret\n'
    )
    done = secrets(path, VENV=venv)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.fixture
def repository(venv, tmp_path) -> Path:
    """A repository with our scripts, and nothing that differs from its one commit."""
    git = needed("git")
    folder = tmp_path / "repository"
    for name in ("scripts/lib.sh", "scripts/secrets", "scripts/own_keys.py", "searchapi/keytext.py", "requirements-dev.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes((CHECKOUT / name).read_bytes())
    (folder / "scripts/secrets").chmod(0o755)
    (folder / "searchapi/__init__.py").touch()
    me = ["-c", "user.name=Tests", "-c", "user.email=tests@example.com", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["add", "."], [*me, "commit", "-q", "-m", "All"]):
        subprocess.run([git, *command], cwd=folder, check=True, env=environment(GIT_CONFIG_GLOBAL=os.devnull))
    return folder


def test_a_repository(venv, repository):
    """New files count before they are added, ignored ones do not; --changed looks only at what differs from the last commit."""
    assert secrets(VENV=venv, cwd=repository).returncode == 0
    (repository / ".gitignore").write_text(".env\n")
    (repository / ".env").write_text(f"SECRET_KEY={OURS}\n")
    assert secrets(VENV=venv, cwd=repository).returncode == 0
    (repository / "a note.txt").write_text(f"{OURS}\n")
    for arguments in ((), ("--changed",)):
        done = secrets(*arguments, VENV=venv, cwd=repository)
        assert done.returncode == 1 and done.stderr.splitlines()[0] == "a note.txt:1: searchapi key"
    (repository / "a note.txt").unlink()
    (repository / "searchapi/__init__.py").unlink()  # a tracked file that is gone is no error
    assert secrets(VENV=venv, cwd=repository).returncode == secrets("--changed", VENV=venv, cwd=repository).returncode == 0


def test_no_repository(venv, repository, tmp_path):
    """Nothing is passed off as scanned where git cannot say which files there are."""
    (repository / ".git").rename(tmp_path / "elsewhere")
    done = secrets(VENV=venv, cwd=repository, GIT_CEILING_DIRECTORIES=tmp_path)
    assert done.returncode == 1 and "git cannot list the files here" in done.stderr


@pytest.mark.parametrize("fails", ["none", "lint", "secrets"])
def test_ci_stops_at_the_first_that_fails(tmp_path, fails):
    """.ci/run: lint, the scan for secrets, the audit, the tests, the e2e; a secret ends it before anything is tested."""
    (tmp_path / ".ci").mkdir()
    (tmp_path / ".ci/run").write_bytes((CHECKOUT / ".ci/run").read_bytes())
    (tmp_path / ".ci/run").chmod(0o755)
    for folder, names in (("scripts", ("lint", "secrets", "audit", "test")), ("bin", tuple(PROGRAMS))):
        (tmp_path / folder).mkdir()
        for name in names:
            (tmp_path / folder / name).write_text(f"#!/bin/sh\necho {name}\n[ {name} != {fails} ]\n")
            (tmp_path / folder / name).chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run([tmp_path / ".ci/run"], capture_output=True, text=True, env=environment(PATH=path), check=False)
    order = ["lint", "secrets", "audit", "test", "test"]
    expected = order if fails == "none" else order[: order.index(fails) + 1]
    assert done.stdout.split() == expected and (done.returncode == 0) == (fails == "none"), done.stderr


PROGRAMS = (
    "curl",
    "wrk",
    "setpriv",
    "redis-server",
    "openssl",
    "nginx",
    "java",
    "mvn",
    "git",
    "python3",
)  # as if they were there: nothing is installed
