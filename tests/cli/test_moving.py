"""migrate, dump and load, as they are typed: what is said on which stream, and the exit status."""

from __future__ import annotations

import re

import pytest

DOCUMENTS = "".join(f'{{"id": "{n}", "title": "green door {n}", "year": {1990 + n % 30}}}\n' for n in range(300))


@pytest.fixture
def doors(cli):
    """A data folder with 300 documents and a key."""
    assert cli("import", "doors", input=DOCUMENTS).returncode == 0
    assert cli("keys", "create", "--admin", "--quiet").returncode == 0


def test_to_opensearch_and_back(cli, doors, opensearch_url, tmp_path):
    """Says what it did, and what to do next; done again it writes nothing; the way back ends where it began."""
    done = cli("migrate", "--to", opensearch_url)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert re.match(r"doors: 300 documents, checksum [0-9a-f]{32}; 300 written, 0 deleted; \d+ searches compared", lines[0])
    assert "0 aliases, 1 key" in lines and any("same SECRET_KEY" in line for line in lines)
    assert lines[-1].startswith("Next: ") and f"ENGINE_URL={opensearch_url}" in lines[-1] and "restart" in lines[-1]
    again = cli("migrate", "--to", opensearch_url, "--index", "doors")
    assert again.returncode == 0 and "nothing to write" in again.stdout.splitlines()[0]
    assert cli("search", "doors", "green", ENGINE_URL=opensearch_url).stdout.endswith("10 of 300 hits; --limit shows more.\n")
    back = cli("migrate", "--from", opensearch_url, "--to", f"embedded:{tmp_path / 'back'}")
    assert back.returncode == 0 and f"DATA_DIR={tmp_path / 'back'}" in back.stdout.splitlines()[-1]
    assert cli("export", "doors", DATA_DIR=tmp_path / "back").stdout == cli("export", "doors").stdout
    settled = cli("migrate", "--from", opensearch_url, DATA_DIR=tmp_path / "third")
    assert settled.returncode == 0 and settled.stdout.splitlines()[-1].startswith("Done: ")
    assert "made with another SECRET_KEY" in settled.stdout


def test_dump_and_load(cli, doors, tmp_path):
    """One file, read by an engine that is empty."""
    dumped = cli("dump", "all.tar")
    assert dumped.returncode == 0 and dumped.stdout.splitlines()[0].startswith("doors: 300 documents, checksum ")
    assert dumped.stdout.splitlines()[-1].startswith("Dumped to all.tar.")
    loaded = cli("load", "all.tar", DATA_DIR=tmp_path / "copy")
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines()[0].split(";")[0] == dumped.stdout.splitlines()[0]
    assert cli("export", "doors", DATA_DIR=tmp_path / "copy").stdout == cli("export", "doors").stdout
    assert cli("dump", "all.tar").returncode == 1


@pytest.mark.parametrize(
    ("arguments", "status", "told"),
    [
        ((), 2, "Say --to"),
        (("--to", "embedded:"), 1, "--from and --to are the same"),
        (("--to", "embedded:other", "--index", "dors"), 1, "did you mean 'doors'?"),
        (("--from", "embedded:nowhere"), 1, "There is nothing in "),
        (("--to", "http://h:9200"), 1, "must be `embedded:`, or for OpenSearch opensearch://"),
        (("--to", "opensearch://u:hunter2@127.0.0.1:1/x"), 1, "The search engine does not answer"),
        (("--to", "opensearch://u:hunter2@h:x/y"), 1, "--to is not usable"),
        (("--to", "embedded:other", "--as", "x"), 2, "belong to --adopt"),
        (("--to", "embedded:other", "--adopt", "x", "--index", "y"), 2, "--adopt takes one index"),
        (("--to", "embedded:other", "--adopt", "x"), 1, "--from names the OpenSearch"),
    ],
)
def test_refused(cli, doors, tmp_path, arguments, status, told):
    """What cannot be done is said in one line, the last one, without a password, and nothing is made."""
    done = cli("migrate", *arguments)
    assert done.returncode == status, done.stderr
    assert told in done.stderr.splitlines()[-1] and "Traceback" not in done.stderr and "hunter2" not in done.stderr + done.stdout
    assert not (tmp_path / "nowhere").exists() and not list((tmp_path / "other").glob("indexes/*"))


def test_other_data_is_refused(cli, doors, tmp_path):
    """Until --overwrite is said."""
    other = tmp_path / "other"
    cli("import", "doors", input='{"id": "x"}\n', DATA_DIR=other)
    done = cli("migrate", "--to", f"embedded:{other}")
    assert done.returncode == 1 and "--overwrite" in done.stderr and done.stdout == ""
    assert cli("migrate", "--to", f"embedded:{other}", "--overwrite").returncode == 0
    assert cli("export", "doors", DATA_DIR=other).stdout == cli("export", "doors").stdout


def test_a_damaged_dump(cli, doors, tmp_path):
    """The file that differs is named."""
    assert cli("dump", "all").returncode == 0
    with (tmp_path / "all/indexes/doors/documents.ndjson").open("ab") as file:
        file.write(b"{}\n")
    done = cli("load", "all", DATA_DIR=tmp_path / "copy")
    assert done.returncode == 1 and "documents.ndjson is not as it was written" in done.stderr and done.stderr.count("\n") == 1


def test_adopt(cli, tmp_path, opensearch_node):
    """An index that was made by hand, into one of ours under another name; notes come before what was done."""
    from tests.opensearch import server

    server.ask(opensearch_node, "/their_shop", "PUT", {"mappings": {"properties": {"firstName": {"type": "keyword"}}}})
    try:
        server.ask(opensearch_node, "/their_shop/_doc/7?refresh=true", "PUT", {"firstName": "Ann"})
        url = re.sub("^http", "opensearch", opensearch_node)
        done = cli("migrate", "--adopt", "their_shop", "--from", url, "--as", "shop")
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert lines[0] == "note: firstName is called first_name here" and lines[1].startswith("their_shop as shop: 1 document, ")
        assert lines[-1].startswith("Done: ")
        assert cli("export", "shop").stdout == '{"id":"7","first_name":"Ann"}\n'
    finally:
        server.ask(opensearch_node, "/their_shop", "DELETE")
