"""A machine is looked at first, and only what differs is changed; by real commands, over a real connection."""

from __future__ import annotations

import grp
import os
import pwd
from contextlib import closing

import pytest

from deploy.connection import CommandFailed, connect
from deploy.machine import INSTALL, Machine, diff

ME = f"{pwd.getpwuid(os.getuid()).pw_name}:{grp.getgrgid(os.getgid()).gr_name}"
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="makes files that belong to root")


@pytest.fixture
def said():
    return []


@pytest.fixture
def machine(sshd, said):
    with closing(connect(sshd.host)) as connection:
        yield Machine(connection, say=said.append)


@pytest.fixture
def planning(sshd, said):
    with closing(connect(sshd.host)) as connection:
        yield Machine(connection, plan=True, say=said.append)


def inventory(folder):
    """Everything below it, to compare."""
    return {
        path: (path.lstat().st_mode, path.lstat().st_mtime_ns, path.read_bytes() if path.is_file() else None)
        for path in sorted(folder.rglob("*"))
    }


def test_a_file_is_written_once(machine, said, tmp_path):
    path = tmp_path / "a file; touch pwned"
    assert machine.file(str(path), "one\n", ME, 0o640) is True
    assert path.read_text() == "one\n" and path.stat().st_mode & 0o7777 == 0o640
    assert machine.file(str(path), "one\n", ME, 0o640) is False
    assert said == [f"write {path}"] == machine.changes
    assert not list(tmp_path.rglob("pwned")) and not list(tmp_path.rglob("*.new"))


@pytest.mark.parametrize("text", ["", "\n", "no end", "é🙂\x01\r\n", "x" * 300_000, "$(id)`id`'\"\\\n"])
def test_a_file_holds_exactly_its_text(machine, tmp_path, text):
    path = tmp_path / "file"
    machine.file(str(path), text, ME, 0o600)
    assert path.read_bytes() == text.encode()
    assert machine.file(str(path), text, ME, 0o600) is False


def test_another_mode_is_a_change(machine, tmp_path):
    path = tmp_path / "file"
    path.write_text("one\n")
    path.chmod(0o666)
    assert machine.file(str(path), "one\n", ME, 0o644) is True
    assert path.stat().st_mode & 0o7777 == 0o644


def test_a_link_in_the_place_of_a_file_is_replaced_not_followed(machine, tmp_path):
    """Who could make one would choose what root writes to."""
    other = tmp_path / "other"
    other.write_text("kept")
    path = tmp_path / "file"
    path.symlink_to(other)
    assert machine.file(str(path), "new\n", ME) is True
    assert not path.is_symlink() and other.read_text() == "kept"


def test_a_folder_is_made_once(machine, tmp_path):
    path = tmp_path / "folder"
    assert machine.folder(str(path), ME, 0o750) is True
    assert machine.folder(str(path), ME, 0o750) is False
    path.chmod(0o777)
    assert machine.folder(str(path), ME, 0o750) is True
    assert path.stat().st_mode & 0o7777 == 0o750


def test_many_are_looked_at_in_one_round_trip(machine, sshd, tmp_path):
    wanted = {str(tmp_path / f"f{n}"): (ME, 0o755) for n in range(20)}
    machine.folders(wanted)
    sshd.commands.clear()
    machine.folders(wanted)
    assert len(sshd.commands) == 1


def test_links_and_what_must_not_be(machine, said, tmp_path):
    link = tmp_path / "link"
    assert machine.link(str(link), "one") and machine.link(str(link), "two") and not machine.link(str(link), "two")
    assert link.readlink().name == "two"
    assert machine.gone(str(link)) and not machine.gone(str(link))
    assert not link.is_symlink()
    assert len(said) == 3


def test_a_change_that_fails_says_what_it_was(machine, tmp_path):
    with pytest.raises(CommandFailed, match=r"Could not write .*/absent/file: "):
        machine.file(str(tmp_path / "absent" / "file"), "x", ME)


def test_a_plan_touches_nothing_and_shows_everything(planning, said, tmp_path):
    """Files as differences, all else as the command that would run."""
    path, link = tmp_path / "file", tmp_path / "link"
    path.write_text("one\ntwo\n")
    before = inventory(tmp_path)
    planning.file(str(path), "one\nthree\n", ME)
    planning.file(str(tmp_path / "new"), "a\n", ME)
    planning.folder(str(tmp_path / "folder"), ME, 0o700)
    planning.link(str(link), "file")
    planning.gone(str(path))
    planning.user("searchapi-test-user", ["useradd", "searchapi-test-user"], groups=["somewhere"])
    planning.packages(["searchapi-no-such-package"])
    assert inventory(tmp_path) == before
    text = "\n".join(said)
    assert f"would write {path}" in text and "-two\n+three" in text and "+++ " + str(path) in text
    assert "--- /dev/null" in text and "+a" in text
    assert "  nothing -> directory:" + ME + ":700" in text
    assert "  useradd searchapi-test-user" in text and "  usermod -aG somewhere -- searchapi-test-user" in text
    assert "  apt-get update\n  " + " ".join(INSTALL[:4]) in text
    assert len(planning.changes) == 8


def test_what_is_shown_instead_of_a_secret_file(planning, said, tmp_path):
    planning.file(str(tmp_path / "env"), "SECRET=hidden\n", ME, 0o600, detail="  + SECRET (not shown)")
    assert "hidden" not in "\n".join(said) and "not shown" in said[0]


def test_packages_that_are_there_are_not_asked_for_again(machine, sshd, said):
    sshd.program("dpkg-query", 'shift 3; for name do echo "$name installed"; done')
    sshd.program("apt-get", "echo called; exit 9")
    assert machine.packages(["one", "two"]) is False
    assert said == []


def test_a_lock_of_apt_is_waited_for(machine, sshd, tmp_path):
    """A server that updates itself on its first day holds it for minutes; any other fault is told at once."""
    log = tmp_path / "apt"
    sshd.program("sleep", "exit 0")
    sshd.program("dpkg-query", "exit 1")
    sshd.program(
        "apt-get",
        f'echo "$*" >>{log}; if [ "$1" = update ] && [ "$(wc -l <{log})" -lt 3 ]; then echo "Could not get lock" >&2; exit 9; fi',
    )
    assert machine.packages(["one", "two"]) is True
    assert log.read_text().splitlines() == ["update -q"] * 3 + [" ".join([*INSTALL[1:], "one", "two"])]
    sshd.program("apt-get", 'echo "E: no network" >&2; exit 100')
    with pytest.raises(CommandFailed, match="Could not install one: E: no network"):
        machine.packages(["one"])


def test_units_that_run_and_are_enabled_stay_as_they_are(machine, sshd, said, tmp_path):
    log = tmp_path / "systemctl"
    states = r"printf 'ActiveState=active\nUnitFileState=enabled\n\nActiveState=inactive\nUnitFileState=enabled\n'"
    sshd.program("systemctl", f'echo "$*" >>{log}; [ "$1" != show ] || {states}')
    machine.units("a.service", "b.timer")
    assert log.read_text().splitlines()[1:] == ["enable --now --quiet b.timer"]
    assert said == ["enable and start b.timer"]


@needs_root
class TestApplying:
    @pytest.fixture(autouse=True)
    def place(self, monkeypatch, tmp_path, sshd):
        self.folder, self.log = tmp_path / "etc", tmp_path / "log"
        monkeypatch.setattr("deploy.machine._PENDING", str(tmp_path / "pending"))
        monkeypatch.setattr("deploy.machine._UNITS", str(tmp_path / "etc/units"))
        sshd.program("reload", f'echo "$*" >>{self.log}')
        sshd.program("systemctl", f'echo "systemctl $*" >>{self.log}')

    def ran(self):
        rows = self.log.read_text().splitlines() if self.log.exists() else []
        self.log.unlink(missing_ok=True)
        return rows

    def test_what_follows_a_change_follows_once(self, machine, said):
        texts = {f"{self.folder}/deep/one": "1\n", f"{self.folder}/two": "2\n"}
        assert machine.apply("x", texts, ("reload it", ["reload", "it"])) is True
        assert self.ran() == ["it"]
        assert machine.apply("x", texts, ("reload it", ["reload", "it"])) is False
        assert self.ran() == [] and said[-1] == "reload it" and machine.changes == said

    def test_units_are_read_again_before_what_follows(self, machine):
        machine.apply("x", {f"{self.folder}/units/a.service": "[Unit]\n"}, ("restart", ["reload", "a"]))
        assert self.ran() == ["systemctl daemon-reload", "a"]

    def test_what_must_not_be_there_goes(self, machine):
        self.folder.mkdir()
        (self.folder / "old").write_text("old")
        assert machine.apply("x", {}, ("reload it", ["reload", "it"]), without=[f"{self.folder}/old"]) is True
        assert not (self.folder / "old").exists() and self.ran() == ["it"]

    def test_a_test_that_fails_takes_everything_back(self, machine):
        """Files that were there have their old text, owner and mode; new ones are gone; nothing was reloaded."""
        self.folder.mkdir()
        old = self.folder / "old"
        old.write_text("good\n")
        old.chmod(0o640)
        texts = {str(old): "bad\n", f"{self.folder}/new": "bad\n"}
        with pytest.raises(CommandFailed, match="x would not take its new files, so the old ones are back: line 3 is bad"):
            machine.apply("x", texts, ("reload it", ["reload"]), test=["sh", "-c", "echo line 3 is bad >&2; false"])
        assert old.read_text() == "good\n" and old.stat().st_mode & 0o777 == 0o640
        assert [path.name for path in self.folder.iterdir()] == ["old"] and self.ran() == []

    def test_what_an_interruption_left_undone_is_done_by_the_next_run(self, machine, sshd):
        """The files are as they should be, but nobody has read them yet."""
        texts = {f"{self.folder}/one": "1\n"}
        sshd.program("reload", "exit 1")
        with pytest.raises(CommandFailed):
            machine.apply("x", texts, ("reload it", ["reload", "it"]))
        sshd.program("reload", f'echo "$*" >>{self.log}')
        assert machine.apply("x", texts, ("reload it", ["reload", "it"])) is True
        assert "it" in self.ran()
        assert machine.apply("x", texts, ("reload it", ["reload", "it"])) is False

    def test_a_plan_of_it_touches_nothing(self, planning, said, tmp_path):
        before = inventory(tmp_path)
        planning.apply("x", {f"{self.folder}/units/a": "1\n"}, ("reload it", ["reload", "it"]), test=["false"])
        assert inventory(tmp_path) == before
        assert "would reload it\n  reload it" in said and any("+1" in row for row in said)


def test_a_difference_of_a_text_without_an_end_is_still_lines():
    assert diff("f", "a", "b") == "--- f\n+++ f\n@@ -1 +1 @@\n-a\n+b\n"
