"""The demonstration data: what is collected, and that collecting starts nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest

from searchapi import demo, pydocs


@pytest.fixture(scope="module")
def documents(demo_documents) -> dict[str, dict]:
    found = demo_documents
    by_id = {document["id"]: document for document in found}
    assert len(by_id) == len(found), "ids are unique"
    assert list(by_id) == sorted(by_id), "and in order"
    return by_id


def test_how_many(documents):
    """About 10,300 documents; Debian's own Python leaves a few modules out."""
    assert 8500 < len(documents) < 11330


def test_every_document_has_the_declared_fields(documents):
    """The settings refuse other fields, so a document may hold no others."""
    for document in documents.values():
        assert list(document) == list(demo.SETTINGS.fields)
        assert all(isinstance(value, str) for value in document.values())
        assert document["id"] and document["name"] and document["module"]
        assert document["kind"] in ("module", "class", "function", "method", "property")


@pytest.mark.parametrize(
    ("id", "kind", "module"),
    [
        ("json", "module", "json"),
        ("json.loads", "function", "json"),
        ("json.JSONDecoder", "class", "json"),
        ("os.path.splitext", "function", "os.path"),
        ("os.mkdir", "function", "os"),
        ("pathlib.Path.read_text", "method", "pathlib"),
        ("pathlib.PurePath.suffix", "property", "pathlib"),
        ("str.split", "method", "builtins"),
        ("len", "function", "builtins"),
        ("math.sqrt", "function", "math"),
        ("collections.deque.appendleft", "method", "collections"),
        ("collections.abc.Mapping.get", "method", "collections.abc"),
        ("datetime.datetime.strftime", "method", "datetime"),
        ("itertools.chain.from_iterable", "method", "itertools"),
        ("random.choice", "function", "random"),
        ("hashlib.sha256", "function", "hashlib"),
        ("re.Pattern.match", "method", "re"),
        ("threading.Lock", None, "threading"),
        ("concurrent.futures.ThreadPoolExecutor", "class", "concurrent.futures"),
        ("asyncio.gather", "function", "asyncio"),
        ("tarfile.open", None, "tarfile"),
    ],
)
def test_known_things(documents, id, kind, module):
    """Things are documented under the name by which people import them, wherever and in whatever language they are written."""
    document = documents[id]
    assert document["kind"] == kind or kind is None
    assert document["module"] == module
    assert document["name"] == id.rsplit(".", 1)[-1]


@pytest.mark.parametrize("id", ["json.decoder.JSONDecoder", "posixpath.splitext", "asyncio.tasks.gather", "select.error", "posix"])
def test_nothing_twice(documents, id):
    """What a package re-exports is not there again under the module that defines it."""
    assert id not in documents


def test_nothing_private_and_no_tests(documents):
    """No part of a name begins with an underscore, and no test or program is in."""
    for id in documents:
        parts = id.split(".")
        assert not any(part.startswith("_") for part in parts)
        assert not {"idlelib", "turtledemo", "antigravity", "this"} & set(parts)


def test_texts(documents):
    """Signature, summary and doc of functions in Python and in C."""
    loads = documents["json.loads"]
    assert loads["signature"].startswith("loads(s, *")
    assert loads["summary"].startswith("Deserialize ``s``")
    assert loads["doc"].startswith(loads["summary"][:12]) and len(loads["doc"]) > len(loads["summary"])
    assert documents["os.path.splitext"]["summary"] == "Split the extension from a pathname."
    assert documents["range"]["signature"].startswith("range(stop)")
    assert documents["range"]["summary"].startswith("Return an object that produces a sequence of integers")
    assert documents["random.choice"]["signature"] == "choice(seq)"


def test_collecting_again(documents):
    """It counts up to the number of modules before the first document, and finds the same: nothing depends on the order of sets
    or folders."""
    seen = []
    again = demo.collect(lambda done, total: seen.append((done, total)))
    first = next(again)
    assert seen == sorted(seen)
    assert seen[-1][0] == seen[-1][1] > 300
    assert [first, *again] == list(documents.values())


def test_collecting_starts_nothing(tmp_path):
    """No browser is opened (antigravity), nothing is printed (this), no process or connection is made."""
    script = f"""
import runpy, sys
def watch(event, arguments):
    if event in ("subprocess.Popen", "os.system", "os.posix_spawn", "os.fork", "os.exec", "socket.connect", "webbrowser.open"):
        print("STARTED", event, arguments, file=sys.stderr)
sys.addaudithook(watch)
runpy.run_path({pydocs.__file__!r}, run_name="__main__")
loaded = {{"antigravity", "this", "turtle", "tkinter", "idlelib", "webbrowser"}} & set(sys.modules)
print("LOADED", sorted(loaded), file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stderr.splitlines() == ["LOADED []"]
    assert all(line.startswith("{") for line in done.stdout.splitlines())
    assert list(tmp_path.iterdir()) == []


def test_a_failing_collector_says_so(monkeypatch, tmp_path):
    """Not a short list of documents, but an error with the reason."""
    broken = tmp_path / "broken.py"
    broken.write_text("print('{\"progress\": [1, 2]}')\nraise SystemExit('no such luck')\n")
    monkeypatch.setattr(demo, "SCRIPT", broken)
    with pytest.raises(RuntimeError, match="no such luck"):
        list(demo.collect())
