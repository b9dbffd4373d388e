"""`import`: formats, refused documents, and going on after an interruption."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time

import pytest

from .conftest import environment


def ids(cli, index: str) -> list:
    return [json.loads(line)["id"] for line in cli("export", index).stdout.splitlines()]


@pytest.mark.parametrize(
    "text",
    [
        '[{"id": 1}, {"id": 2}]',
        '[\n  {"id": 1},\n  {"id": 2}\n]\n',
        '{"id": 1}\n{"id": 2}\n',
        '{"id": 1}\r\n\r\n  {"id": 2}',
        '\ufeff{"id": 1}\n{"id": 2}\n',
    ],
)
def test_formats(cli, text):
    """A JSON array or a document a line, told apart by what is in it."""
    done = cli("import", "things", input=text)
    assert done.returncode == 0, done
    assert ids(cli, "things") == ["1", "2"]


def test_one_object_on_several_lines(cli):
    """It is JSON, not NDJSON."""
    assert cli("import", "things", input='{\n "id": 1\n}').returncode == 0
    assert ids(cli, "things") == ["1"]


def test_refused_documents(cli, tmp_path):
    """Each is reported with its line, blank ones counted; the others are kept; exit 1."""
    (tmp_path / "x.ndjson").write_text('{"id": 1, "n": 1}\n\n{"id": 2, "n": "one"}\nnonsense\n\n{"n": 3}\n{"id": 4, "n": 4}\n')
    done = cli("import", "things", "x.ndjson")
    assert done.returncode == 1
    assert [line.split(": ")[1].lower().split(" is ")[0] for line in done.stderr.splitlines()] == ["line 3", "line 4", "line 6"]
    assert "expected an integer" in done.stderr.splitlines()[0]
    assert "2 documents" in done.stdout and "3 refused" in done.stdout
    assert ids(cli, "things") == ["1", "4"]


def test_refused_documents_of_an_array(cli, tmp_path):
    """They have no line, so they are counted."""
    (tmp_path / "x.json").write_text('[{"id": 1}, {"nope": 2}]')
    done = cli("import", "things", "x.json")
    assert done.returncode == 1 and done.stderr.startswith("x.json: document 2: ")


def test_primary_key(cli):
    """An index that is created takes it; one that is there keeps its own."""
    assert cli("import", "books", "--primary-key", "isbn", input='{"isbn": "a"}').returncode == 0
    assert cli("import", "books", input='{"isbn": "b"}').returncode == 0
    done = cli("import", "books", "--primary-key", "id", input='{"id": "c"}')
    assert done.returncode == 1 and "isbn" in done.stderr


def test_missing_file(cli):
    """One line."""
    done = cli("import", "things", "nowhere.json")
    assert (done.returncode, done.stderr) == (1, "searchapi: nowhere.json: No such file or directory\n")


def test_wait_without_an_indexer(cli):
    """The documents are kept, and the line says what to look at."""
    done = cli("import", "things", "--wait", "--timeout", "0.1", input='{"id": 1}')
    assert done.returncode == 1 and "is the indexer running?" in done.stderr
    assert ids(cli, "things") == ["1"]


def test_stdin_cannot_be_resumed(cli):
    """Typed wrong: exit 2."""
    assert cli("import", "things", "--resume", input="").returncode == 2


def test_resume_after_kill(cli, tmp_path, data_dir):
    """Killed in the middle and resumed: every document is there, and none that was acknowledged is written again."""
    total = 40_000
    file = tmp_path / "many.ndjson"
    file.write_text("".join(f'{{"id": {n:06}, "text": "document number {n}"}}\n'.replace(": 0", ": 10") for n in range(total)))
    command = [sys.executable, "-m", "searchapi", "import", "many", str(file)]
    with subprocess.Popen(command, env=environment(DATA_DIR=data_dir), cwd=tmp_path, stdout=subprocess.DEVNULL) as process:
        end = time.monotonic() + 60
        while not list(data_dir.glob("imports/*.json")) and time.monotonic() < end:
            time.sleep(0.005)
        process.kill()
    assert process.returncode == -signal.SIGKILL
    [state] = data_dir.glob("imports/*.json")
    done_before = json.loads(state.read_bytes())["position"]
    assert 0 < done_before < total

    done = cli("import", "many", file, "--resume")
    assert done.returncode == 0, done
    assert f"Imported {total - done_before:,} documents" in done.stdout and f"after the first {done_before:,}" in done.stdout
    assert len(set(ids(cli, "many"))) == total
    assert not list(data_dir.glob("imports/*"))


def test_resume_refuses_what_has_changed(cli, tmp_path, data_dir):
    """Another file, or another index of that name, and positions mean nothing."""
    file = tmp_path / "x.ndjson"
    file.write_text('{"id": 1}\n{"id": 2}\n')
    (data_dir / "imports").mkdir(parents=True)
    assert cli("import", "things", file, "--resume").returncode == 0, "nothing remembered: from the start"

    from searchapi.cli.resume import Progress

    [info] = json.loads(cli("index", "list", "--json").stdout)
    uid = next(path.name for path in (data_dir / "indexes").iterdir())
    Progress(data_dir, "things", file).save(uid, 1)
    assert "Imported 1 document into" in cli("import", "things", file, "--resume").stdout

    Progress(data_dir, "things", file).save(uid, 1)
    file.write_text('{"id": 1}\n{"id": 2}\n{"id": 3}\n')
    assert "has changed" in cli("import", "things", file, "--resume").stderr
    Progress(data_dir, "things", file).save(uid, 1)
    assert cli("index", "delete", info["name"], "--yes").returncode == 0
    assert "not the index" in cli("import", "things", file, "--resume").stderr
