"""The workflows: what actionlint says of them, that they do what the scripts do, and that no moved tag changes them."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests import gotools

from .conftest import CHECKOUT, environment

WORKFLOWS = sorted((CHECKOUT / ".github" / "workflows").glob("*.yml"))


def test_actionlint():
    """It finds nothing."""
    try:
        actionlint = gotools.built(*gotools.ACTIONLINT)
    except gotools.Unavailable as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    done = subprocess.run([actionlint, "-no-color", *WORKFLOWS], cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and done.stdout == "", done.stdout + done.stderr


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_pinned(workflow):
    """Every action of others is named by its commit, with the version beside it, and no job may do more than read."""
    text = workflow.read_text()
    for used in re.findall(r"uses: (\S+.*)", text):
        assert re.fullmatch(r"\./\S+|[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", used), used
    assert text.count("permissions:") == 1 and "permissions:\n  contents: read\n" in text


def test_the_scripts_are_the_steps():
    """Lint, secrets, tests, audit and shipping: nothing that could not be done on one's own machine."""
    run = {name for path in WORKFLOWS for name in re.findall(r"run: .*?(scripts/\w+)", path.read_text())}
    assert run == {f"scripts/{name}" for name in ("lint", "secrets", "test", "audit", "fab")}


def test_no_approval_holds_up_the_next_run():
    """A run of main waits for somebody's approval, for days perhaps, and keeps its group meanwhile: it is a group of its own."""
    [ci] = [path.read_text() for path in WORKFLOWS if path.name == "ci.yml"]
    assert "group: ci-${{ github.event_name == 'pull_request' && github.ref || github.run_id }}\n" in ci


@pytest.mark.parametrize(
    ("answer", "status", "said"),
    [
        ('{"dependencies": [{"name": "flask", "version": "3.1.3", "vulns": []}]}', 0, "1 of 1 packages"),
        (
            '{"dependencies": [{"name": "flask", "version": "0.1", "vulns": [{"id": "CVE-1", "fix_versions": ["0.2"], '
            '"description": "Bad."}]}]}',
            1,
            "flask 0.1: CVE-1, mended in 0.2. Bad.",
        ),
        ('{"dependencies": [{"name": "flask", "skip_reason": "not found"}]}', 3, "could not be asked about flask"),
        ("", 3, "PyPI could not be asked"),
    ],
)
def test_audit_verdicts(tmp_path, answer, status, said):
    """What pip-audit finds decides; that it could not ask is not taken for an answer."""
    (tmp_path / "scripts").mkdir()
    for name in ("audit", "lib.sh"):
        (tmp_path / "scripts" / name).write_bytes((CHECKOUT / "scripts" / name).read_bytes())
    tools = tmp_path / ".venv-audit" / "bin"
    tools.mkdir(parents=True)
    version = re.search(r"pip-audit==(\S+)", (CHECKOUT / "scripts" / "audit").read_text())[1]
    (tools / "pip-audit").write_text(f"#!/bin/sh\n[ \"$1\" = --version ] && echo 'pip-audit {version}' || printf '%s' '{answer}'\n")
    (tools / "pip-audit").chmod(0o755)
    (tools / "python").symlink_to(sys.executable)
    done = subprocess.run(["sh", tmp_path / "scripts" / "audit"], capture_output=True, text=True, env=environment(), check=False)
    assert done.returncode == status and said in done.stdout + done.stderr, done.stderr
