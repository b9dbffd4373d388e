"""scripts/run: it serves, it stops, and what is in its way it says in one line."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

import pytest

from .conftest import CHECKOUT, environment, free_port, needed, shell


def gone(running) -> bool:
    """Whether every process ends, some time after the first did."""
    end = time.monotonic() + 30
    while running.processes() and time.monotonic() < end:
        time.sleep(0.05)
    return not running.processes()


def test_printed_examples(server, tmp_path):
    """Three commands, and each finds something."""
    examples = server.examples()
    assert len(examples) == 3
    answers = [shell(example, server.port, tmp_path)[0] for example in examples]
    assert all(answer["hits"] for answer in answers)
    assert answers[0]["hits"][0]["id"] == "os.path.splitext"
    assert "<em>tempfile</em>" in str(answers[1]["hits"])
    assert answers[2]["hits"][0]["id"] == "json.loads"
    assert answers[2]["facets"]["module"]["values"]


def test_printed_way_to_a_key(server, tmp_path):
    """The line that it prints makes a key that may write."""
    [command] = [line.strip() for line in server.said.splitlines() if line.startswith("  KEY=")]
    address = f"http://127.0.0.1:{server.port}/v1/indexes/python/documents/mine"
    write = f"""curl -s -X PUT {address} -H "Authorization: Bearer $KEY" -H 'Content-Type: application/json' -d '{{}}'"""
    [answer] = shell(f"cd {CHECKOUT}\n{command}\n{write}", server.port, tmp_path)
    assert answer["id"] == "mine"


def test_all_documents_are_served(server, tmp_path):
    """The index `python` holds the whole library, and searches see it when the examples are printed."""
    [answer] = shell(f"curl -s 'http://127.0.0.1:{server.port}/v1/indexes/python/search?limit=1'", server.port, tmp_path)
    assert answer["total"] > 9000


@pytest.mark.slow
def test_stop_and_start_again(start, tmp_path, capsys):
    """Ctrl-C ends every process; started again it collects nothing and serves at once."""
    first = start(tmp_path / "data")
    first.wait_for("Try, in another terminal")
    assert "Collecting" in first.said
    assert len(first.processes()) >= 4, "the parent, the indexer, Gunicorn and its workers"
    assert first.stop(signal.SIGINT) == 0
    assert first.said.endswith("Stopped.\n") and gone(first)

    second = start(tmp_path / "data", PORT=first.port)
    seconds = second.wait_for("Serving on")
    with capsys.disabled():
        print(f" [second start: {seconds:.1f} s] ", end="")
    assert "Collecting" not in second.said and "Making" not in second.said
    assert second.stop(signal.SIGTERM) == 0 and gone(second)


def test_port_that_is_busy(start, tmp_path):
    """Said before anything is done, also where nobody listens any more."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        running = start(tmp_path / "data", PORT=taken.getsockname()[1])
        assert running.process.wait(60) == 1
    [line] = running.said.splitlines()
    assert f"port {running.port} is busy" in line and f"PORT={running.port + 1}" in line
    assert not (tmp_path / "data").exists()


@pytest.mark.slow
def test_two_at_once(start, tmp_path):
    """The second says that the port is busy, even while the first is still collecting."""
    first = start(tmp_path / "data")
    first.wait_for("Collecting")
    second = start(tmp_path / "data", PORT=first.port)
    assert second.process.wait(60) == 1 and "is busy" in second.said
    first.wait_for("Serving on")
    assert first.stop() == 0


@pytest.mark.slow
def test_stopped_while_collecting(start, tmp_path):
    """The next start collects anew."""
    first = start(tmp_path / "data")
    first.wait_for("Collecting")
    assert first.stop() == 130
    assert first.said.splitlines()[-1] == "searchapi: stopped" and gone(first)
    second = start(tmp_path / "data")
    second.wait_for("Serving on")
    assert "Collecting" in second.said
    assert second.stop() == 0


@pytest.mark.parametrize("victim", ["searchapi indexer", "gunicorn"])
def test_one_process_dies(start, small_data, victim):
    """Then all stop, with exit 1 and the reason."""
    running = start(small_data)
    running.wait_for("Serving on")
    commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode() for pid in running.processes()}
    os.kill(min(pid for pid, command in commands.items() if f"-m {victim}" in command), signal.SIGKILL)
    assert running.process.wait(60) == 1
    assert "was killed by signal 9, so everything was stopped" in running.said.splitlines()[-1]
    assert gone(running)


def test_parent_is_killed(start, small_data):
    """`kill -9` leaves nothing behind."""
    running = start(small_data)
    running.wait_for("Serving on")
    running.stop(signal.SIGKILL)
    assert gone(running)


@pytest.mark.parametrize(("setting", "value"), [("PORT", "http"), ("HOST", "0.0.0.0"), ("THREADS", "0")])
def test_bad_setting(start, venv, tmp_path, setting, value):
    """One line that names it; 127.0.0.1 is all that development may listen on."""
    values = {setting: value}
    if setting == "PORT":
        done = run_script(VENV=venv, DATA_DIR=tmp_path, **values)
    else:
        running = start(tmp_path / "data", **values)
        done = subprocess.CompletedProcess([], running.process.wait(60), "", running.said)
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert line.startswith(f"searchapi: {setting} is ")


def run_script(cwd: Path = CHECKOUT, **settings: object) -> subprocess.CompletedProcess:
    return subprocess.run(
        [cwd / "scripts" / "run"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(**settings),
        timeout=300,
        check=False,
    )


def copy_of_checkout(folder: Path) -> Path:
    folder.mkdir(parents=True)
    for name in ("scripts", "searchapi"):
        shutil.copytree(CHECKOUT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("requirements.txt", "requirements-dev.txt", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, folder)
    return folder


def test_read_only_folder(tmp_path, tmp_path_factory):
    """Someone else's copy: one line, before anything is tried."""
    if os.getuid() != 0:
        pytest.skip("needs root, to become another user")
    setpriv = needed("setpriv")
    copy = copy_of_checkout(tmp_path / "copy")
    base = tmp_path_factory.getbasetemp()
    ours = base.parent if base.parent.name.startswith("pytest-of-") else base
    for folder in (tmp_path, *tmp_path.parents):
        if folder.is_relative_to(ours):
            folder.chmod(folder.stat().st_mode | 0o055)
    done = subprocess.run(
        [setpriv, "--reuid=65534", "--regid=65534", "--clear-groups", copy / "scripts" / "run"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        env=environment(PORT=free_port(), HOME="/nonexistent", PATH="/usr/local/bin:/usr/bin:/bin"),
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "cannot write .venv in" in line and "VENV=" in line


def test_read_only_data_folder(start, tmp_path):
    """A data folder that is a file stands for one that cannot be used: one line."""
    (tmp_path / "data").write_text("")
    running = start(tmp_path / "data")
    assert running.process.wait(60) == 1
    [line] = running.said.splitlines()
    assert str(tmp_path / "data") in line


@pytest.mark.slow
def test_environment_from_nothing(tmp_path):
    """No network: one line. Then interrupted in the middle. Then it works, and a second start makes nothing."""
    copy = copy_of_checkout(tmp_path / "copy")
    values = {"PORT": free_port(), "DATA_DIR": tmp_path / "data"}
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_FIND_LINKS": "", "PIP_RETRIES": 0, "PIP_NO_CACHE_DIR": 1}
    done = run_script(copy, **values, **nowhere)
    assert done.returncode == 1
    assert "check the network" in done.stderr.splitlines()[-1] and ".venv.log" in done.stderr.splitlines()[-1]

    log = tmp_path / "log"
    with log.open("w") as output:
        process = subprocess.Popen(
            [copy / "scripts" / "run"], stdout=output, stderr=output, env=environment(**values), process_group=0
        )
        wait_for(process, log, "Installing")
        time.sleep(0.5)
        os.killpg(process.pid, signal.SIGTERM)  # background processes of sh are deaf to SIGINT
        assert process.wait(60) != 0

    with log.open("w") as output:
        process = subprocess.Popen(
            [copy / "scripts" / "run"], stdout=output, stderr=output, env=environment(**values), process_group=0
        )
        wait_for(process, log, "Serving on")
        process.terminate()
        assert process.wait(60) == 0
    assert "Making .venv" in log.read_text(), "what was left half made is made anew"
    assert not (copy / ".venv.making").exists()


def wait_for(process: subprocess.Popen, log: Path, text: str) -> None:
    end = time.monotonic() + 240
    while text not in log.read_text():
        assert process.poll() is None and time.monotonic() < end, log.read_text()
        time.sleep(0.05)
