"""The folder in which workers count: dead ones are added up, once, and folders of killed instances go away."""

from __future__ import annotations

import fcntl
import os
import threading
from pathlib import Path

import pytest
from prometheus_client.mmap_dict import MmapedDict, mmap_key
from prometheus_client.multiprocess import MultiProcessCollector

from searchapi import metricfiles
from searchapi.metricfiles import ALIVE, PREFIX, VARIABLE, MetricFiles, counted, locked


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path))
    monkeypatch.setenv(VARIABLE, "put back after the test")
    return tmp_path


def worker(files: MetricFiles, pid: int, count: float, names: int = 1) -> None:
    """What a worker with this id has counted."""
    for kind in ("counter", "histogram", "gauge_livesum"):
        values = MmapedDict(str(files.path / f"{kind}_{pid}.db"))
        for number in range(names):
            values.write_value(mmap_key(f"{kind}_{number}", f"{kind}_{number}", ["x"], ["é"], "Help."), count, 0.0)
        values.close()


def sums(files: MetricFiles) -> dict[str, float]:
    found = [str(file) for file in files.path.glob("*.db") if counted(file)]
    return {sample.name: sample.value for metric in MultiProcessCollector.merge(found) for sample in metric.samples}


def test_the_dead_are_added_up(base):
    """Counters stay, gauges go, and however many die there are as many files, of the same size."""
    files = MetricFiles()
    assert os.environ[VARIABLE] == str(files.path)
    worker(files, 1, 5)
    for pid in range(100, 150):
        worker(files, pid, 2)
        before = sums(files)
        files.died(pid, {1})
        after = sums(files)
        assert after["counter_0"] == before["counter_0"] and after["histogram_0"] == before["histogram_0"]
        assert after["gauge_livesum_0"] == 5
    assert after["counter_0"] == 5 + 50 * 2
    names = {file.name for file in files.path.iterdir()}
    dead = {"counter_dead.db", "histogram_dead.db"}
    assert names == {ALIVE, "adding.lock", "counter_1.db", "histogram_1.db", "gauge_livesum_1.db"} | dead
    assert all((files.path / name).stat().st_size < 1 << 17 for name in dead)
    files.remove()
    assert list(base.iterdir()) == []


def test_many_names(base):
    """More than the first file of a worker holds."""
    files = MetricFiles()
    for pid in (7, 8):
        worker(files, pid, 3, names=2000)
        files.died(pid, set())
    found = sums(files)
    assert len(found) == 4000 and set(found.values()) == {6}
    files.remove()


def test_not_while_a_scrape_reads(base, monkeypatch):
    """Files are not added up while they are read; the next death makes up for it. A scrape waits while they are."""
    monkeypatch.setattr(metricfiles, "PATIENCE", 0.05)
    files = MetricFiles()
    for pid in (7, 8):
        worker(files, pid, 3)
    with locked(files.path, fcntl.LOCK_SH, 1) as held, locked(files.path, fcntl.LOCK_SH, 1) as too:
        assert held and too  # scrapes do not exclude each other
        files.died(7, {8})
        assert (files.path / "counter_7.db").exists() and not (files.path / "gauge_livesum_7.db").exists()
    assert sums(files)["counter_0"] == 6
    files.died(8, set())
    assert not list(files.path.glob("*_[78].db")) and sums(files)["counter_0"] == 6
    entered, leave = threading.Event(), threading.Event()

    def add_up() -> None:
        with locked(files.path, fcntl.LOCK_EX, 1):
            entered.set()
            leave.wait(30)

    thread = threading.Thread(target=add_up)
    thread.start()
    assert entered.wait(30)
    with locked(files.path, fcntl.LOCK_SH, 0.05) as held:
        assert not held
    leave.set()
    with locked(files.path, fcntl.LOCK_SH, 30) as held:
        assert held
    thread.join()
    files.remove()


def test_a_number_that_is_given_again(base, monkeypatch):
    """A worker that got the process id of a dead one goes on counting in its files: they are not taken away."""
    monkeypatch.setattr(metricfiles, "PATIENCE", 0.05)
    files = MetricFiles()
    worker(files, 7, 3)
    with locked(files.path, fcntl.LOCK_SH, 1):
        files.died(7, set())
    worker(files, 7, 4)
    worker(files, 9, 1)
    files.died(9, {7})
    assert (files.path / "counter_7.db").exists() and sums(files)["counter_0"] == 5
    files.remove()


def test_what_cannot_be_added_up_does_not_end_the_server(base, caplog):
    """A full disk, a damaged file: it is logged, and the figures stay as they are."""
    files = MetricFiles()
    worker(files, 7, 3)
    (files.path / "histogram_7.db").write_bytes(b"\xff\xff\x00\x00" + bytes(100))
    files.died(7, set())
    assert "were not added up" in caplog.text
    assert (files.path / "histogram_7.db").exists()
    files.remove()


def test_an_empty_file_is_left_out(base):
    """A worker's file is empty for a moment after it was made."""
    files = MetricFiles()
    worker(files, 7, 3)
    (files.path / "counter_8.db").touch()
    assert sums(files)["counter_0"] == 3
    files.died(8, {7})
    assert not counted(files.path / "gone.db")
    files.remove()


def test_folders_of_killed_instances_are_swept(base):
    """Another instance's folder is its own while it lives; one that was killed leaves a folder for the next to take away."""
    living, killed = MetricFiles(), MetricFiles()
    assert living.path != killed.path and living.path.parent == base
    os.close(killed._alive)  # what the system does when its last process is gone
    (base / f"{PREFIX}other").mkdir()  # not made by us: nothing tells that it is dead
    another = MetricFiles()
    assert {path.name for path in base.iterdir()} == {living.path.name, another.path.name, f"{PREFIX}other"}
    living.remove()
    another.remove()


def test_where_the_folder_is(base, monkeypatch):
    """systemd's folder for this instance, the first where there are several; else in memory."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", f"{base}:/elsewhere")
    files = MetricFiles()
    assert files.path.parent == base
    files.remove()
    monkeypatch.delenv("RUNTIME_DIRECTORY")
    files = MetricFiles()
    assert files.path.name.startswith(PREFIX) and files.path.stat().st_mode & 0o777 == 0o700
    files.remove()
