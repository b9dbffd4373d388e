"""What all scripts have in common."""

from __future__ import annotations

import re
import subprocess

import pytest

from .conftest import CHECKOUT, environment

SCRIPTS = sorted(path for path in (CHECKOUT / "scripts").iterdir() if path.is_file() and not path.suffix)


def test_the_scripts_are_all_there():
    """The developer interface, as docs/development.md lists it."""
    listed = re.findall(r"^\| `scripts/(\w+)`", (CHECKOUT / "docs" / "development.md").read_text(), re.MULTILINE)
    assert (
        {path.name for path in SCRIPTS}
        == set(listed)
        == {"run", "test", "lint", "secrets", "audit", "fab", "bench", "lock", "docs"}
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_help(script, tmp_path):
    """It tells what the script does, and does nothing."""
    done = subprocess.run(
        [script, "--help"], capture_output=True, text=True, env=environment(VENV=tmp_path / "venv"), cwd=tmp_path, check=True
    )
    assert done.stdout.strip() and done.stderr == "" and "#" not in done.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("script", [*SCRIPTS, CHECKOUT / "scripts" / "lib.sh"], ids=lambda path: path.name)
def test_posix(script):
    """They are for any POSIX shell; dash, Debian's, reads them."""
    text = script.read_text()
    assert not re.search(r"\[\[|\bfunction \w|\blocal\b|<<<|\$'", text)
    subprocess.run(["sh", "-n", script], check=True)


def test_requirements_name_no_place():
    """No index, host or folder: packages come from wherever the machine is set up to get them."""
    for name in ("requirements.txt", "requirements-dev.txt"):
        text = (CHECKOUT / name).read_text()
        assert "://" not in text and "--index" not in text and "--find-links" not in text
        pinned = re.findall(r"^([\w.-]+)==\S+ \\$", text, re.MULTILINE)
        assert len(pinned) == len(re.findall(r"^\w", text, re.MULTILINE)) and text.count("--hash=sha256:") > len(pinned)


def test_a_developer_has_what_a_server_runs():
    """The same versions in both files."""
    runtime, development = (
        dict(re.findall(r"^([\w.-]+)==(\S+)", (CHECKOUT / name).read_text(), re.MULTILINE))
        for name in ("requirements.txt", "requirements-dev.txt")
    )
    assert runtime.items() <= development.items()


def test_every_dependency_has_its_reason():
    """docs/dependencies.md has a line for each that pyproject.toml names, and for no other."""
    import tomllib

    project = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]
    asked = {re.match(r"[\w-]+", need)[0] for need in (*project["dependencies"], *project["optional-dependencies"]["dev"])}
    listed = re.findall(r"^\| `([\w-]+)` \|", (CHECKOUT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    assert set(listed) == asked
