"""What is read from wrk and from /proc, and the command line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import __main__ as command
from bench.load import Load, LoadFailed, read, together
from bench.memory import Memory, measured, rollup
from bench.servers import bodies, descendants, parents
from bench.table import Part

ROLLUP = """\
5581e0a00000-7ffe8a5fe000 ---p 00000000 00:00 0    [rollup]
Rss:               60184 kB
Pss:               31005 kB
Pss_Dirty:         25000 kB
Pss_Anon:          24988 kB
Pss_File:           6017 kB
"""


def test_wrk_is_read():
    output = 'Running 1s test\n{"requests": 1500, "seconds": 3.000000, "p50_ms": 1.5000, "p99_ms": 7.2500, "bad": 0}\n'
    found = read(output, "", 0)
    assert (found.requests, found.per_second, found.p50_ms, found.p99_ms) == (1500, 500, 1.5, 7.25)


@pytest.mark.parametrize(
    ("output", "errors", "status"),
    [
        ('{"requests": 10, "seconds": 1, "p50_ms": 1, "p99_ms": 1, "bad": 1}', "", 0),
        ('{"requests": 0, "seconds": 1, "p50_ms": 0, "p99_ms": 0, "bad": 0}', "", 0),
        ("", "unable to connect to 127.0.0.1:1 Connection refused", 1),
        ("no line of ours", "", 0),
    ],
)
def test_a_load_with_errors_is_no_figure(output, errors, status):
    with pytest.raises(LoadFailed):
        read(output, errors, status)


def test_clients_are_summed():
    """Requests and rates of all clients together, latencies of the one in the middle."""
    found = together([Load(1000, 500.0, 4.0, 9.0), Load(500, 250.0, 8.0, 20.0), Load(1500, 750.0, 5.0, 10.0)])
    assert (found.requests, found.per_second, found.p50_ms, found.p99_ms) == (3000, 1500.0, 5.0, 10.0)


def test_memory_is_read_in_bytes():
    assert rollup(ROLLUP) == Memory(pss=31005 * 1024, anonymous=24988 * 1024)


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="needs Linux 4.14 or newer")
def test_memory_of_a_process_that_ended_is_left_out():
    alone = measured([os.getpid()])
    assert alone.pss >= alone.anonymous > 0
    assert measured([2**22 + 1]) == Memory(0, 0)


def test_descendants_are_found_at_every_depth():
    assert descendants([10, 99], {1: 0, 10: 1, 11: 10, 12: 11, 20: 1}) == [10, 11, 12]


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
def test_parents_of_this_process():
    assert parents()[os.getpid()] == os.getppid()


def test_bodies_hold_every_document_once():
    documents = [{"id": str(n), "text": "x" * 50} for n in range(100)]
    found = list(bodies(documents, size=1_000))
    assert len(found) > 3 and all(len(body) < 1_100 for body in found)
    assert b"".join(found).count(b"\n") == 100


def test_a_missing_wrk_is_said_with_its_remedy(monkeypatch, capsys):
    monkeypatch.setenv("PATH", "")
    assert command.main(["--quick"]) == 1
    assert "apt-get install -y wrk" in capsys.readouterr().err


def test_what_was_measured_before_a_failure_is_kept(monkeypatch, capsys, tmp_path):
    """A part that fails ends the run with its reason, and the page has the parts before it."""

    def fails(options, say):
        raise LoadFailed("3 of 10 requests failed")

    page = tmp_path / "page.md"
    page.write_text("<!-- bench: serving -->\n<!-- /bench: serving -->\n")
    monkeypatch.setattr(command.load, "missing", lambda: None)
    monkeypatch.setattr(command.signal, "signal", lambda *_: None)
    monkeypatch.setattr(command, "PARTS", {"serving": lambda options, say: Part("serving", [], ["measured"]), "memory": fails})
    assert command.main(["--quick", "--output", str(page)]) == 1
    said = capsys.readouterr()
    assert "bench: 3 of 10 requests failed" in said.err and "## serving" in said.out
    assert "measured" in page.read_text() and "tantivy" in page.read_text()
