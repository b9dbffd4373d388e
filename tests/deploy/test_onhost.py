"""What happens on a server when a release is shipped: with real processes, and with each step cut short."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from deploy.onhost import __main__ as program
from deploy.onhost import asking, checks, environment, following, system, tidying
from deploy.onhost.asking import Instance
from deploy.onhost.checks import Refused
from deploy.onhost.places import Places, cooling, parts
from deploy.onhost.shift import Interrupted
from deploy.onhost.system import Failed
from tests.deploy.local import REPOSITORY, Server, children


class Client(threading.Thread):
    """Asks through the live socket without a pause. failures: what it should not have seen; seen: the releases, in order."""

    def __init__(self, places: Places):
        super().__init__()
        self.places, self.stopped, self.failures, self.seen, self.asked = places, threading.Event(), [], [], 0

    def run(self) -> None:
        while not self.stopped.is_set():
            try:
                answer = Instance(self.places.live).get("/release")
                if answer.status != 200:
                    self.failures.append(answer.said)
                elif not self.seen or self.seen[-1] != answer.json:
                    self.seen.append(answer.json)
            except OSError as error:
                self.failures.append(str(error))
            self.asked += 1
            time.sleep(0.002)

    def __enter__(self) -> Client:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stopped.set()
        self.join()


# ---------------------------------------------------------------------------------------------------------- deploying


def test_deploys_alternate_between_the_slots_and_no_request_fails(server: Server) -> None:
    """Each deploy goes live in the idle slot; a client sees each release once, in order, and not one failure."""
    names = [server.deploy()]
    assert server.places.live_slot() == "blue"
    with Client(server.places) as client:
        names += [server.deploy() for _ in range(3)]
    assert client.failures == [] and client.seen == names and client.asked > 50
    assert server.live == names[-1] and server.places.live_slot() == "green"
    server.settled()


def test_the_record_says_who_did_what(server: Server) -> None:
    """A line of history.jsonl for each, and the same in the journal."""
    first, second = server.deploy(), server.deploy()
    records = server.places.records()
    assert [(r["action"], r["from"], r["to"], r["outcome"], r["by"]) for r in records] == [
        ("deploy", None, first, "ok", "tester"),
        ("deploy", first, second, "ok", "tester"),
    ]
    assert all(r["started"] <= r["ended"] for r in records)
    assert [json.loads(row) for row in (server.root / "journal").read_text().splitlines()] == records


def test_the_old_slot_stays_warm(server: Server) -> None:
    """It goes on running, and a timer will stop it; the live one's is not running."""
    server.deploy()
    server.deploy()
    assert server.places.warm("blue") and server.places.warm("green")
    assert [unit.active for unit in server.system.units(cooling("blue"), cooling("green"))] == [True, False]


def test_the_key_of_a_soak_is_revoked(server: Server) -> None:
    """It is short-lived, may only search and read figures, and is ended; its secret is on no command line."""
    server.deploy()
    made, ended = (server.root / "keys").read_text().splitlines()
    assert made.startswith("keys create --scope search --scope metrics --expires 15m")
    assert ended == "keys revoke 0123456789ab"


BROKEN = {
    "import": "no module named sorrow",
    "unready": "cannot search now",
    "crash": "ended by itself",
    "wrong": "/search?limit=5&q=mice answers 500",
    "behind": "did not catch up",
    "settings": "does not suit this release",
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_release_never_takes_traffic(server: Server, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is wrong with it, the live one goes on, it is stopped, and the reason is kept with it."""
    good = server.deploy()
    monkeypatch.setattr(asking, "STUCK", 5.0 if kind == "unready" else 1.0 if kind == "behind" else 60.0)
    with Client(server.places) as client, pytest.raises(Failed, match=BROKEN[kind].replace("?", r"\?")):
        bad = server.ship(kind=kind)
        server.shift().deploy(bad, soak=1.5 if kind == "crash" else 0.2)
    assert client.failures == [] and client.seen == [good]
    assert not server.places.running("green")
    assert BROKEN[kind] in server.places.why_bad(bad)
    assert server.places.records()[-1]["outcome"] == "failed"
    server.settled()


def test_a_first_release_that_is_broken_leaves_nothing_live(server: Server) -> None:
    """There is nothing to go back to; the next deploy is the first."""
    with pytest.raises(Failed):
        server.deploy(kind="import")
    assert server.places.live_slot() is None and not server.places.running("blue")
    assert server.deploy() == server.live


def test_one_that_answers_far_more_slowly_is_refused(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Than the live one, that is: where all is slow, or nothing is live yet, it is not to blame."""
    monkeypatch.setattr(asking, "SLOW", 0.3)
    for _ in range(2):
        server.shift().deploy(slow := server.ship(kind="slow"), soak=1.5)
        assert server.live == slow
    good = server.deploy()
    with pytest.raises(Failed, match=r"a search takes it \d\.\d s, and what is live 0\.\d\d s"):
        server.shift().deploy(server.ship(kind="slow"), soak=1.5)
    assert server.live == good
    server.settled()


def test_a_release_that_starts_slowly_is_waited_for(server: Server) -> None:
    server.deploy()
    assert server.deploy(kind="later") == server.live


def test_what_cannot_work_is_refused_before_anything_changes(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disk, memory, units that are not there: one line each, and the warm slot is not touched."""
    server.deploy()
    server.deploy()
    name = server.ship()
    for place, value, word in (
        (checks, ("DISK", 1 << 60), "MiB are needed"),
        (server.places, ("env", Path("/no")), "fab provision"),
    ):
        with monkeypatch.context() as patched:
            patched.setattr(place, *value)
            with pytest.raises(Refused, match=word):
                server.deploy(name)
    server.system.stop(cooling("blue"), *parts("blue"))
    with monkeypatch.context() as patched, pytest.raises(Refused, match="of memory are free"):
        patched.setattr(checks, "MEMORY", 1 << 60)
        server.deploy(name)
    assert server.places.why_bad(name) is None
    assert [r["outcome"] for r in server.places.records()[2:]] == ["refused"] * 3
    server.settled()
    assert server.deploy(name) == server.live


# ------------------------------------------------------------------------------------------------------------ formats


def test_formats_expand_before_they_move(server: Server) -> None:
    """What cannot read the data is refused, and so is what would write data that the live release cannot read; the way from
    one format to the next is a release that reads both."""
    old = server.deploy(reads=(1, 1), writes=1)
    with pytest.raises(Refused, match="deploy a release that reads both"):
        server.deploy(reads=(1, 2), writes=2)
    server.deploy(reads=(1, 2), writes=1)
    assert server.places.data_written() == 1
    server.deploy(reads=(1, 2), writes=2)
    assert server.places.data_written() == 2
    with pytest.raises(Refused, match="what is here was written in 2"):
        server.rollback(old)
    with pytest.raises(Refused, match="what is here was written in 2"):
        server.deploy(reads=(1, 1), writes=1)
    server.rollback()
    server.settled()


def test_a_snapshot_is_taken_before_a_format_moves(server: Server) -> None:
    """And only then."""
    server.deploy(reads=(1, 2), writes=1)
    server.deploy(reads=(1, 2), writes=1)
    assert not server.places.backups.exists()
    server.deploy(reads=(1, 2), writes=2)
    assert len(list(server.places.backups.iterdir())) == 1


# ------------------------------------------------------------------------------------------------------------ rollback


def test_rollback_to_the_warm_slot_starts_nothing(server: Server) -> None:
    """It is a rename; what was left is warm in turn."""
    first, _ = server.deploy(), server.deploy()
    before = {unit.name: unit.pid for unit in server.system.units(*parts("blue"), *parts("green"))}
    began = time.monotonic()
    with Client(server.places) as client:
        server.rollback()
    print(f"warm rollback: {time.monotonic() - began:.2f} s")
    after = {unit.name: unit.pid for unit in server.system.units(*parts("blue"), *parts("green"))}
    assert server.live == first and client.failures == []
    assert {name for name in before if before[name] != after[name]} == {"searchapi-indexer@green.service"}  # it hands over
    server.settled()


def test_rollback_goes_further_back_each_time(server: Server) -> None:
    """Not forward to what was left; that takes its name. A release that is deployed then is before the next."""
    first, second, third = (server.deploy() for _ in range(3))
    server.rollback()
    assert server.live == second
    server.rollback()
    assert server.live == first
    with pytest.raises(Refused, match="no release before"):
        server.rollback()
    server.rollback(third)
    assert server.live == third
    server.deploy()
    server.rollback()
    assert server.live == third
    server.settled()


def test_rollback_never_takes_a_bad_release(server: Server) -> None:
    """Neither by itself nor by name; nor one that was never live."""
    first = server.deploy()
    server.deploy()
    with pytest.raises(Failed):
        server.deploy(bad := server.ship(kind="wrong"))
    never = server.ship()
    with pytest.raises(Refused, match="is bad"):
        server.rollback(bad)
    with pytest.raises(Refused, match="never live"):
        server.rollback(never)
    with pytest.raises(Failed, match="is no release"):
        server.rollback("../../etc")
    server.rollback()
    assert server.live == first


def test_a_warm_release_that_has_died_is_started_again(server: Server) -> None:
    first = server.deploy()
    server.deploy()
    (web,) = (unit for unit in server.system.units(*parts("blue")) if unit.name == "searchapi@blue.service")
    for pid in (*children(web.pid), web.pid):
        os.kill(pid, 9)
    server.rollback()
    assert server.live == first
    server.settled()


# ------------------------------------------------------------------------------------------------------------ cut short


def test_told_to_stop_it_undoes_what_it_began(server: Server) -> None:
    """SIGTERM, as `fab unlock` sends it: the live one goes on, the other is stopped, and it is nobody's fault."""
    good = server.deploy()
    bad = server.ship(kind="unready")
    shift = server.shift("told")
    server.system.start = _interrupted(server.system.start)
    with pytest.raises(Interrupted):
        shift.deploy(bad)
    assert server.live == good and server.places.why_bad(bad) is None
    assert server.places.record_of("told")["outcome"] == "interrupted"
    server.settled()


def test_a_shutdown_is_not_waited_for(server: Server) -> None:
    """systemd stops our units and waits for us: nothing is undone, nobody is blamed for what ends, repair takes it up after."""
    good, name = server.deploy(), server.ship()
    (server.root / "stopping").touch()
    for what in (Interrupted, Failed("searchapi@green.service is inactive")):
        server.system.start = _interrupted(server.system.start, what)
        with pytest.raises(Interrupted):
            server.shift("shutdown").deploy(name)
        del server.system.start
        assert server.places.under_way()["phase"] == "starting" and server.places.why_bad(name) is None
    assert _program(server, "repair", "--run", "r1", "--by", "systemd") == 1
    (server.root / "stopping").unlink()
    server.system.reboot()
    assert server.live == good
    assert server.repair()["outcome"] == "interrupted"
    server.settled()


def _interrupted(start, error=Interrupted):
    def once(*units: str) -> None:
        start(*units)
        if "searchapi@green.service" in units:
            raise error

    return once


@pytest.mark.parametrize("moment", ["before link", "after link"])
def test_a_power_cut_at_the_switch(server: Server, moment: str) -> None:
    """Before the rename the old one is live after the reboot, after it the new one; repair ends it accordingly."""
    old, new = server.deploy(), server.ship()
    assert server.killed(f"{moment} {server.places.live}", "deploy", new) is not None
    server.system.reboot()
    assert server.live == (new if moment.startswith("after") else old)
    record = server.repair()
    assert record["outcome"] == ("ok" if moment.startswith("after") else "interrupted") and record["to"] == new
    server.settled()
    assert server.deploy() == server.live


@pytest.mark.slow
@pytest.mark.parametrize("reboot", [False, True], ids=["killed", "power cut"])
def test_cut_short_anywhere(server: Server, reboot: bool) -> None:
    """Killed before and after every single change: a client always gets an answer, of a release that was found good; a reboot
    starts what is live; repair leaves one record and everything in order; the next deploy works."""
    live, where, at = server.deploy(), "", 0
    with Client(server.places) if not reboot else contextlib.nullcontext() as client:
        while where is not None:
            at, name = at + 1, server.ship()
            where = server.killed(str(at), "deploy", name)
            if reboot:
                server.system.reboot()
            assert server.live in (live, name), where
            server.repair()
            server.settled()
            records = [record for record in server.places.records() if record["run"] == f"run-{at}"]
            assert len(records) == (0 if at == 1 else 1), where  # at 1 it was killed before it wrote down what it meant to do
            assert server.live == (name if records and records[0]["outcome"] == "ok" else live), where
            live = server.live
    assert at > 30 and (reboot or client.failures == [])
    print(f"{at - 1} moments")


@pytest.mark.slow
def test_a_rollback_cut_short_anywhere(server: Server) -> None:
    """The same, warm: the live one or the one before is live, and the other goes on cooling down."""
    first, second = server.deploy(), server.deploy()
    with Client(server.places) as client:
        where, at = "", 0
        while where is not None:
            at += 1
            where = server.killed(str(at), "rollback", first)
            server.repair()
            server.settled()
            assert server.live in (first, second), where
            if server.live == first:
                server.rollback(second)
    assert client.failures == [] and at > 10


# ------------------------------------------------------------------------------------------------------------- tidying


@pytest.mark.slow
def test_five_releases_are_kept(server: Server) -> None:
    """The live, the warm, and those that were live last; broken ones go first, what was only just shipped stays."""
    good = [server.deploy() for _ in range(4)]
    for _ in range(2):
        with pytest.raises(Failed):
            server.deploy(kind="import")
    good += [server.deploy() for _ in range(3)]
    shipped = server.ship()
    good.append(server.deploy())
    there = {release.name for release in server.places.all_releases()}
    assert there == {*good[-5:], shipped}
    assert not list(server.places.bad.iterdir())


def test_environments_that_nothing_uses_are_removed(server: Server) -> None:
    """Half-made ones are somebody's who is at work, until they are old."""
    unused, partial, old = (server.places.venvs / name for name in ("unused", "partial", "old"))
    for path in (unused, partial, old):
        path.mkdir()
    (unused / environment.COMPLETE).touch()
    os.utime(old, (0, 0))
    name = server.deploy()
    assert {path.name for path in server.places.venvs.iterdir()} == {
        "partial",
        server.places.release(name).environment.name,
    }


def test_generations_that_no_release_reads_are_removed(server: Server) -> None:
    """Those of the kept releases' formats stay, and so does what an indexer holds."""
    folder = server.places.data / "indexes" / "abc"
    for format in ("t0", "t1", "t2"):
        (folder / f"{format}-0123456789ab").mkdir(parents=True)
        (folder / f"{format}-0123456789ab" / "reached.json").write_text('{"uuid": "u", "seq": 12}')
        (folder / f"{format}-0123456789ab.lock").touch()
    assert tidying.reached(server.places.data, "t1") == 12 and tidying.formats(server.places.data) == {"t0", "t1", "t2"}
    with (folder / "t2-0123456789ab.lock").open() as held:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX)
        server.deploy(index="t1")
        assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["t1-0123456789ab", "t2-0123456789ab"]
        assert any("left, for it is in use" in line for line in server.said)
    server.deploy(index="t2")
    server.deploy(index="t2")
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["t1-0123456789ab", "t2-0123456789ab"]


# --------------------------------------------------------------------------------------------------------- environment


@pytest.mark.slow
def test_an_environment_is_made_once(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """By hashes, from wheels; an interrupted one is begun again; one that fails leaves nothing."""
    monkeypatch.setattr(environment, "PYTHON", sys.executable)
    name = server.ship()
    release = server.places.release(name)
    (release.path / "requirements.txt").write_text("# another\n")
    folder = server.places.venvs / environment.name_of(b"# another\n")
    folder.mkdir()
    (folder / "left").touch()
    assert environment.prepare(server.places, release) == f"packages installed ({folder.name})"
    assert release.environment == folder and not (folder / "left").exists()
    made = (folder / "bin/python").lstat().st_ino
    other = server.places.release(server.ship())
    (other.path / "requirements.txt").write_text("# another\n")
    assert "shared" in environment.prepare(server.places, other)
    assert (folder / "bin/python").lstat().st_ino == made
    assert list((other.path / "searchapi").glob("__pycache__/*.pyc"))
    (other.path / "requirements.txt").write_text("flask==3.0.0\n")  # without a hash
    with pytest.raises(Failed, match="cannot be installed"):
        environment.prepare(server.places, other)
    assert not (server.places.venvs / environment.name_of(b"flask==3.0.0\n")).exists()


# ------------------------------------------------------------------------------------------------------------- program


def test_the_program_says_what_became_of_it(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    """The last line, and the exit status; what is refused beforehand has a record too."""
    assert _program(server, "rollback", "--run", "r1", "--by", "me") == 1
    assert capsys.readouterr().out.splitlines()[-1].startswith("== refused: rollback: nothing was deployed yet")
    name = server.ship()
    assert _program(server, "deploy", name, "--run", "r2", "--by", "me") == 0
    assert capsys.readouterr().out.splitlines()[-1] == f"== ok: deploy of {name}"
    assert [record["run"] for record in server.places.records()] == ["r1", "r2"]


def test_two_at_once_are_refused(server: Server, capsys: pytest.CaptureFixture[str]) -> None:
    with server.places.locked() as free:
        assert free
        assert _program(server, "repair", "--run", "r1", "--by", "me") == program.BUSY
    assert "under way" in capsys.readouterr().out


def _program(server: Server, *arguments: str) -> int:
    import signal

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)}
    from deploy.onhost import shift

    soak = shift.SOAK
    try:
        shift.Shift.deploy.__defaults__ = (0.1,)
        return program.main(list(arguments), server.places)
    finally:
        shift.Shift.deploy.__defaults__ = (soak,)
        for number, handler in before.items():
            signal.signal(number, handler)


@pytest.mark.parametrize("step", ["write", "append"])
def test_a_full_disk_is_said_and_what_serves_goes_on(
    server: Server, step: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not even what is meant can be written down, or what became of it: no traceback, and the next one repairs."""
    first = server.deploy()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(server.system, step, full)
        assert _program(server, "deploy", server.ship(), "--run", "r1", "--by", "me") == 1
        assert "No space left on device" in capsys.readouterr().out.splitlines()[-1]
        assert _program(server, "repair", "--run", "r2", "--by", "me") == (0 if step == "write" else 1)
    assert step == "append" or server.live == first
    if step == "write":
        with monkeypatch.context() as patched:  # full in the middle: the new slot is stopped all the same
            patched.setattr(asking, "wait_ready", lambda *_: patched.setattr(server.system, step, full) or full())
            assert _program(server, "deploy", server.ship(), "--run", "r4", "--by", "me") == 1
        assert server.live == first and not server.places.running(server.places.idle_slot())
    assert _program(server, "repair", "--run", "r3", "--by", "me") == 0
    server.settled()


def test_following_ends_with_the_run(server: Server, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """All lines from the first, then an exit status; a run that was killed without a word is found out; and it ends when nobody
    watches any more."""
    monkeypatch.setattr(following, "LOOK", 0.05)
    monkeypatch.setattr(following, "GRACE", 0.2)
    reading, writing = os.pipe()
    (server.root / "r1.log").write_text("  0.1 s  first\n== ok: deploy of x\n")
    assert following.follow(server.places, "r1", reading) == following.OK
    assert capsys.readouterr().out.splitlines() == ["  0.1 s  first", "== ok: deploy of x"]
    (server.root / "r2.log").write_text("  0.1 s  first\n")
    assert following.follow(server.places, "r2", reading) == following.FAILED
    assert "fab unlock" in capsys.readouterr().out
    server.system.start(system.UNIT + ".socket")
    os.close(writing)
    assert following.follow(server.places, "r2", reading) == following.GONE
    os.close(reading)


def test_it_needs_nothing_but_the_standard_library(tmp_path: Path) -> None:
    """On a server it runs with Debian's Python, before any package is installed."""
    with contextlib.suppress(FileNotFoundError):
        argv = [
            sys.executable,
            "-I",
            "-S",
            "-c",
            f"import sys; sys.path.insert(0, {str(REPOSITORY)!r}); import deploy.onhost.__main__",
        ]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
