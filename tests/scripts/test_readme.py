"""Every example in the README and on the command line's page is run."""

from __future__ import annotations

import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import CHECKOUT, environment, examples, shell

README = examples("README.md")


def test_the_readme_has_its_examples():
    """The first is the command that the fixture `server` runs; then come searches."""
    assert README[0] == "scripts/run\n"
    assert len(README) >= 5


@pytest.fixture(scope="module")
def key(server, tmp_path_factory) -> str:
    """Made as the README says."""
    [example] = [example for example in README if example.startswith("KEY=")]
    command = f'{example.replace(".venv/bin/python", sys.executable)}echo "$KEY"'
    settings = environment(DATA_DIR=server.data_dir, PYTHONPATH=CHECKOUT)
    done = subprocess.run(["sh", "-e", "-c", command], env=settings, cwd=CHECKOUT, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout.strip()


@pytest.mark.parametrize("example", [example for example in README[1:] if "curl " in example])
def test_readme(server, key, tmp_path, example):
    """It exits with 0, and what is a search has hits."""
    answers = shell(example, server.port, tmp_path, KEY=key)
    assert len(answers) == example.count("curl ")
    for answer in answers:
        assert answer.get("hits") or answer.get("accepted"), answer


def test_readme_answers(server, tmp_path):
    """What the README shows is what comes first."""
    first, typo, filtered = (shell(example, server.port, tmp_path)[0] for example in README[1:4])
    assert first["hits"][0]["id"] == "os.path.splitext"
    assert {"word": "tempfle", "to": ["tempfile"]} in typo["corrections"]
    assert any("<em>tempfile</em>" in str(hit["highlights"]) for hit in typo["hits"])
    assert {value["value"] for value in filtered["facets"]["kind"]["values"]} == {"function", "class"}


def test_links_of_the_pages_lead_somewhere():
    """Every relative link of the README and of docs/ names a file."""
    for page in (CHECKOUT / "README.md", *(CHECKOUT / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_command_line_page(tmp_path):
    """docs/cli.md, from top to bottom in one folder, beside a running indexer."""
    python = f'python() {{ {sys.executable} "$@"; }}\n'
    settings = {"DATA_DIR": tmp_path / "data", "PYTHONPATH": CHECKOUT}
    command = [sys.executable, "-m", "searchapi", "indexer"]
    with subprocess.Popen(command, env=environment(**settings), stderr=subprocess.DEVNULL) as indexer:
        try:
            answers = [shell(python + example, 0, tmp_path, **settings) for example in examples("docs/cli.md")]
        finally:
            indexer.send_signal(signal.SIGTERM)
    assert answers[2][-1]["total"] == 2, "the search with --json"
    assert Path(tmp_path, "copy.ndjson").read_text().count("\n") == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("page", "command", "shown"),
    [
        ("relevance.md", "python -m tests.relevance.report", "success@1"),
        ("performance.md", 'python -m bench.profile "list items "', "in the service"),
        ("performance.md", "python -m bench.costs", "all guards: + "),
    ],
)
def test_commands_of_the_pages(page, command, shown):
    """The commands that print figures do print them."""
    assert command in (CHECKOUT / "docs" / page).read_text()
    arguments = shlex.split(command)[1:]
    done = subprocess.run([sys.executable, *arguments], cwd=CHECKOUT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and shown in done.stdout, done.stderr
