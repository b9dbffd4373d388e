"""A change that would lock us out is taken back. systemd's timer is stood in for here; tests/e2e has the real one."""

from __future__ import annotations

import os
from contextlib import closing

import pytest

from deploy import guard
from deploy.connection import CommandFailed, connect
from deploy.guard import LockedOut, guarded
from deploy.machine import Machine

pytestmark = pytest.mark.skipif(os.getuid() != 0, reason="makes files that belong to root")


@pytest.fixture
def place(sshd, tmp_path, monkeypatch):
    """systemd-run keeps which unit the timer would start; `systemctl start` of it does what its file says, as a timer would."""
    state = tmp_path / "state"
    state.mkdir()
    units = tmp_path / "units"
    units.mkdir()
    monkeypatch.setattr(guard, "_STATE", str(tmp_path / "guard"))
    monkeypatch.setattr(guard, "_UNITS", str(units))
    monkeypatch.setattr(guard, "PATIENCE", 0.5)
    sshd.program("systemd-run", f'for option do echo "$option" >>{state}/options; done; : >{state}/armed')
    sshd.program(
        "systemctl",
        f"""echo "$*" >>{state}/log
case $1 in
    start) sh -c "$(sed -n s/^ExecStart=//p "{units}/$2")" ;;
    stop) rm {state}/armed ;;
esac""",
    )
    sshd.program("effect", f'if [ -e "$1" ]; then cat "$1"; else echo nothing; fi >>{state}/effects')
    return state


def left(tmp_path) -> list[str]:
    """What would take a change back."""
    return sorted(path.name for folder in ("state/armed", "units/*", "guard/*") for path in tmp_path.glob(folder))


@pytest.fixture
def machine(sshd):
    with closing(connect(sshd.host)) as connection:
        yield Machine(connection, say=lambda what: None)


def test_a_change_that_lets_us_in_stays(machine, sshd, place, tmp_path):
    path = tmp_path / "10.conf"
    assert guarded(machine, sshd.host, "x", str(path), "good\n", ["effect", str(path)]) is True
    assert path.read_text() == "good\n" and not left(tmp_path)
    assert (place / "options").read_text().splitlines() == [
        "--quiet",
        "--collect",
        "--unit=searchapi-guard-x.service",
        "--on-active=180s",
        "--timer-property=AccuracySec=1s",
    ]
    assert guarded(machine, sshd.host, "x", str(path), "good\n", ["effect", str(path)]) is False
    assert (place / "effects").read_text() == "good\n"


@pytest.mark.parametrize("before", [None, "old; $(touch pwned)\n"])
def test_a_change_that_locks_us_out_is_taken_back(machine, sshd, place, tmp_path, before):
    """At once, over the connection that is still there; the old file is in effect again, or there is none as before."""
    path = tmp_path / "a file.conf"
    if before is not None:
        path.write_text(before)
        path.chmod(0o640)
    sshd.program("effect", f'if grep -q bad "$1" 2>/dev/null; then echo bad; else echo as before; fi >>{place}/effects')
    sshd.users.clear()
    with pytest.raises(LockedOut, match=r"was taken back, nothing has changed: 127\.0\.0\.1 takes none of your SSH keys"):
        guarded(machine, sshd.host, "x", str(path), "bad\n", ["effect", str(path)])
    assert (path.read_text() if path.exists() else None) == before
    assert before is None or path.stat().st_mode & 0o777 == 0o640
    assert (place / "effects").read_text() == "bad\nas before\n" and not left(tmp_path)


def test_a_change_that_cannot_be_brought_into_effect_is_taken_back(machine, sshd, place, tmp_path):
    path = tmp_path / "10.conf"
    sshd.program("effect", 'if [ -e "$1" ]; then echo "line 1 is bad" >&2; exit 1; fi')
    with pytest.raises(LockedOut, match="nothing has changed: line 1 is bad"):
        guarded(machine, sshd.host, "x", str(path), "bad\n", ["effect", str(path)])
    assert not path.exists()


def test_a_change_without_effect_is_taken_back(machine, sshd, place, tmp_path):
    def proof() -> None:
        raise CommandFailed("another file is stronger")

    path = tmp_path / "10.conf"
    with pytest.raises(LockedOut, match="another file is stronger"):
        guarded(machine, sshd.host, "x", str(path), "good\n", ["effect", str(path)], proof)
    assert not path.exists()


def test_where_the_connection_is_lost_the_timer_is_left_to_do_it(machine, sshd, place, tmp_path):
    path = tmp_path / "10.conf"

    def cut() -> None:
        sshd.cut()

    sshd.users.clear()
    with pytest.raises(LockedOut, match="takes itself back within 180 s"):
        guarded(machine, sshd.host, "x", str(path), "bad\n", ["effect", str(path)], cut)
    assert path.exists() and left(tmp_path) == ["armed", "searchapi-guard-x.service", "x"]


@pytest.mark.parametrize("rebooted", [False, True])
def test_what_an_interrupted_run_has_left_is_taken_back_first(machine, sshd, place, tmp_path, monkeypatch, rebooted):
    """All that it needs outlasts a reboot, which has it done at boot where it still can."""

    class Died(BaseException):
        pass

    def die(host) -> None:
        raise Died

    path = tmp_path / "10.conf"
    path.write_text("old\n")
    with monkeypatch.context() as patched:
        patched.setattr(guard, "comes_in", die)
        with pytest.raises(Died):
            guarded(machine, sshd.host, "x", str(path), "good\n", ["effect", str(path)])
    assert path.read_text() == "good\n" and left(tmp_path) == ["armed", "searchapi-guard-x.service", "x"]
    if rebooted:  # then there is no timer
        (place / "armed").unlink()
    assert "enable --quiet searchapi-guard-x.service" in (place / "log").read_text().splitlines()
    assert guarded(machine, sshd.host, "x", str(path), "good\n", ["effect", str(path)]) is True
    assert (place / "effects").read_text() == "good\nold\ngood\n" and not left(tmp_path)
    assert any(change.startswith("take back an unfinished change") for change in machine.changes)


def test_a_plan_arms_nothing(sshd, place, tmp_path):
    said = []
    path = tmp_path / "10.conf"
    with closing(connect(sshd.host)) as connection:
        guarded(Machine(connection, plan=True, say=said.append), sshd.host, "x", str(path), "good\n", ["effect", str(path)])
    assert not path.exists() and list(place.iterdir()) == []
    assert "unless a fresh connection works" in said[-1]
