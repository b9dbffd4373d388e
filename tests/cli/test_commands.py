"""Every command: its good case, and its bad ones in one line each."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys

import pytest

from tests.ports import free_port
from tests.redis import Redis

from .conftest import environment

BOOKS = """{"id": 1, "title": "The Left Hand of Darkness", "year": 1969}
{"id": 2, "title": "The Dispossessed", "year": 1974}
{"id": 3, "title": "A Wizard of Earthsea", "year": 1968}
"""


def refused(done, status: int = 1) -> str:
    """The one line on stderr of a command that failed, without a traceback."""
    assert done.returncode == status, done
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("searchapi: ")
    return line


def test_help(cli):
    """Every command is listed, and has help."""
    overview = cli("--help").stdout
    for command in ("run", "indexer", "check", "index", "import", "export", "search", "rebuild"):
        assert f"  {command} " in overview
        done = cli(command, "--help")
        assert done.returncode == 0 and "Usage: " in done.stdout


def test_version(cli):
    """It is the package's."""
    from searchapi import __version__

    assert cli("--version").stdout.split()[-1] == __version__


def test_unknown_command_and_option(cli):
    """Typed wrong: exit 2, one line, and the nearest."""
    assert "'index'" in refused(cli("indx"), 2)
    assert "'--limit'" in refused(cli("search", "x", "--limti", 3), 2)


def test_import_list_search_export_delete(cli, indexer, tmp_path):
    """The life of an index."""
    (tmp_path / "books.ndjson").write_text(BOOKS)
    done = cli("import", "books", "books.ndjson", "--wait")
    assert done.returncode == 0 and done.stdout.startswith("Imported 3 documents into books"), done

    listed = cli("index", "list").stdout.splitlines()
    assert [line.split() for line in listed][1][:2] == ["books", "3"]
    assert json.loads(cli("index", "list", "--json").stdout)[0]["name"] == "books"

    found = cli("search", "books", "dispossesed")
    assert "1. 2\n" in found.stdout and "title: The Dispossessed" in found.stdout and "1 hit." in found.stdout
    assert "dispossesed: also searched as dispossessed" in found.stdout
    answer = json.loads(cli("search", "books", "--filter", "year < 1970", "--sort=-year", "--facets", "year", "--json").stdout)
    assert [hit["id"] for hit in answer["hits"]] == ["1", "3"]
    assert answer["facets"]["year"]["values"][0] == {"value": 1968, "count": 1}

    assert [json.loads(line)["id"] for line in cli("export", "books").stdout.splitlines()] == ["1", "2", "3"]
    assert cli("export", "books", "--output", "copy.ndjson").stdout == "Exported 3 documents to copy.ndjson.\n"
    assert cli("import", "copy", "copy.ndjson").returncode == 0
    assert [path.name for path in tmp_path.glob("*copy.ndjson*")] == ["copy.ndjson"]

    assert cli("rebuild", "books", "--wait").stdout == "Rebuilt books: 3 documents.\n"
    assert cli("index", "delete", "books", "--yes").stdout == "Deleted books: 3 documents.\n"
    assert "There is no index named 'books'" in refused(cli("search", "books", "x"))


def test_search_excludes_words(cli, indexer, tmp_path):
    """`-word` is not taken for an option."""
    assert cli("import", "books", "--wait", input=BOOKS).returncode == 0
    found = cli("search", "books", "the", "-darkness", "--json")
    assert [hit["id"] for hit in json.loads(found.stdout)["hits"]] == ["2"]


def test_search_faults(cli):
    """What is wrong with a search is said as over HTTP."""
    assert cli("import", "books", input=BOOKS).returncode == 0
    assert "yaer" in refused(cli("search", "books", "--filter", "yaer = 1"))
    assert "Did you mean 'books'?" in refused(cli("search", "boks", "x"))


def test_index_create(cli, tmp_path):
    """With settings from a file; twice is an error; a bad setting is named."""
    (tmp_path / "settings.json").write_text('{"primary_key": "isbn", "fields": {"title": {"type": "text", "boost": 2}}}')
    assert cli("index", "create", "books", "--settings", "settings.json").stdout == "Created books.\n"
    [book] = json.loads(cli("index", "list", "--json").stdout)
    assert book["settings"]["primary_key"] == "isbn" and book["fields"]["title"]["boost"] == 2
    assert "exists already" in refused(cli("index", "create", "books"))
    assert "primry_key" in refused(cli("index", "create", "other", "--settings", "-", input='{"primry_key": "x"}'))
    assert "not JSON" in refused(cli("index", "create", "other", "--settings", "-", input="{"))
    assert "Bad Name" in refused(cli("index", "create", "Bad Name"))


def test_index_delete_asks(cli):
    """Where no one can be asked it needs --yes, and nothing is deleted."""
    assert cli("import", "books", input=BOOKS).returncode == 0
    assert "--yes" in refused(cli("index", "delete", "books"), 2)
    assert "books" in cli("index", "list").stdout


def test_check(cli, tmp_path):
    """Every setting has a line; unsafe ones are refused with exit code 1."""
    done = cli("check")
    assert done.returncode == 0
    assert any(line.split()[:2] == ["ok", "DATA_DIR"] for line in done.stdout.splitlines())
    bad = cli("check", "--quiet", HOST="0.0.0.0")
    assert bad.returncode == 1
    assert bad.stdout.startswith("error  HOST") and bad.stderr == "searchapi: refused: HOST\n"
    assert "PORT" in refused(cli("check", PORT="many"))


def test_check_asks_redis(cli, tmp_path):
    """Whether it answers; without its password."""
    with Redis(tmp_path) as redis:
        assert verdict(cli("check", REDIS_URL=redis.url).stdout, "Redis") == "ok"
    gone = cli("check", REDIS_URL=f"redis://:hunter2@127.0.0.1:{free_port()}")
    assert gone.returncode == 0 and verdict(gone.stdout, "Redis") == "warning" and "hunter2" not in gone.stdout + gone.stderr
    odd = cli("check", REDIS_URL="redis://:hunter2@127.0.0.1:6379?max_connections=many")
    assert odd.returncode == 1 and verdict(odd.stdout, "Redis") == "error" and "hunter2" not in odd.stdout + odd.stderr


def test_check_asks_opensearch(cli, opensearch_url):
    """Each host of ENGINE_URL; nothing is made there, and no password is shown. Where no host answers, it may serve yet."""
    away, there = free_port(), opensearch_url.partition("://")[2]
    done = cli("check", ENGINE_URL=f"opensearch://u:hunter2@127.0.0.1:{away},{there}")
    told = [line.split(maxsplit=1) for line in done.stdout.splitlines() if line.split()[1] == "OpenSearch"]
    assert done.returncode == 0 and [level for level, _ in told] == ["warning", "ok"] and f"127.0.0.1:{away}" in told[0][1]
    assert verdict(done.stdout, "keys") is None  # as nothing was ever kept there
    gone = cli("check", ENGINE_URL=f"opensearch://u:hunter2@127.0.0.1:{away}/x")
    assert gone.returncode == 0 and verdict(gone.stdout, "OpenSearch") == verdict(gone.stdout, "keys") == "warning"
    assert "hunter2" not in done.stdout + done.stderr + gone.stdout + gone.stderr
    odd = cli("check", ENGINE_URL=f"opensearchs://127.0.0.1:{away}/x?ca=/absent.pem")
    assert odd.returncode == 1 and verdict(odd.stdout, "OpenSearch") == "error" and "/absent.pem" in odd.stdout


def test_check_of_keys(cli, data_dir):
    """None are made, and no folder for them; none in a folder is a warning."""
    shutil.rmtree(data_dir, ignore_errors=True)
    assert verdict(cli("check").stdout, "keys") is None and not data_dir.exists()
    assert cli("import", "books", input=BOOKS).returncode == 0
    assert verdict(cli("check").stdout, "keys") == "warning"
    assert cli("keys", "create", "--admin").returncode == 0
    assert verdict(cli("check").stdout, "keys") == "ok"


def verdict(text: str, name: str) -> str | None:
    return next((line.split()[0] for line in text.splitlines() if line.split()[1] == name), None)


def test_data_dir_that_is_a_file(cli, tmp_path):
    """One line, no traceback."""
    (tmp_path / "file").write_text("")
    assert "file" in refused(cli("index", "list", DATA_DIR=tmp_path / "file"))


def test_export_to_a_folder_that_is_missing(cli, tmp_path):
    """The file that was asked for is named, not the one that is written first."""
    assert cli("index", "create", "books").returncode == 0
    assert (
        refused(cli("export", "books", "--output", "missing/copy.ndjson"))
        == "searchapi: missing/copy.ndjson: No such file or directory"
    )


def test_export_into_a_closed_pipe(cli, tmp_path, data_dir):
    """`export | head` prints what is read and no error."""
    many = "".join(json.dumps({"id": n, "text": "word " * 50}) + "\n" for n in range(3000))
    assert cli("import", "many", input=many).returncode == 0
    script = f"{sys.executable} -m searchapi export many | head -n 1"
    variables = environment(DATA_DIR=data_dir)
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, cwd=tmp_path, env=variables, check=True)
    assert done.stderr == "" and json.loads(done.stdout)["id"] == "0"


@pytest.mark.parametrize("arguments", [("export", "nothing"), ("rebuild", "nothing"), ("index", "delete", "nothing", "--yes")])
def test_missing_index(cli, arguments):
    """Every command says so alike, and where it looked."""
    line = refused(cli(*arguments))
    assert "There is no index named 'nothing'." in line and "The data is in " in line
