"""Shipping from the laptop: which commit, and following what becomes of it over connections that break."""

from __future__ import annotations

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from deploy import commands, release
from deploy.connection import ConnectionFailed
from deploy.inventory import Host
from deploy.release import ReleaseError

from .sshserver import SshServer

# ----------------------------------------------------------------------------------------------------------- the commit


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Two commits: one from before, and one that can be shipped, which has the tag v1."""
    folder = tmp_path / "repository"
    folder.mkdir()
    _git(folder, "init", "--quiet")
    for name, value in (("user.name", "Ann"), ("user.email", "ann@example.com")):
        _git(folder, "config", name, value)
    (folder / "README.md").write_text("one\n")
    _git(folder, "add", "README.md")
    _git(folder, "commit", "--quiet", "-m", "before")
    for path in (*release.NEEDED, "searchapi/app.py", "tests/test_app.py"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text("\n")
        _git(folder, "add", path)
    _git(folder, "commit", "--quiet", "-m", 'It\'s "the" $(first)')
    _git(folder, "tag", "v1")
    return folder


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True).stdout


def test_a_commit_is_shipped(repository: Path) -> None:
    """What a server runs and nothing else; REVISION says whence it is."""
    commit, revision = release.chosen(repository, "HEAD")
    assert commit == _git(repository, "rev-parse", "v1").strip() == revision["commit"]
    assert revision["subject"] == 'It\'s "the" $(first)' and revision["shipped_by"] == release.who()
    with tarfile.open(fileobj=BytesIO(release.archive(repository, commit))) as tar:
        assert {name for name in tar.getnames() if "." in name} == {*release.NEEDED, "searchapi/app.py"}


@pytest.mark.parametrize("ref", ["nothing", "--all", "", "v1:searchapi", "$(id)", "a b"])
def test_what_is_no_commit_is_refused(repository: Path, ref: str) -> None:
    with pytest.raises(ReleaseError, match="There is no commit"):
        release.chosen(repository, ref)


def test_what_is_not_committed_is_not_forgotten(repository: Path) -> None:
    """A change, and a new file among those that are shipped, are refused; a note beside them is not, and neither are changes where
    another commit is shipped."""
    (repository / "notes.txt").write_text("mine\n")
    release.chosen(repository, "HEAD")
    (repository / "searchapi" / "new.py").write_text("\n")
    with pytest.raises(ReleaseError, match=r"not committed.*searchapi/new\.py"):
        release.chosen(repository, "HEAD")
    (repository / "searchapi" / "new.py").unlink()
    (repository / "README.md").write_text("two\n")
    with pytest.raises(ReleaseError, match=r"not committed.*README\.md"):
        release.chosen(repository, "v1")
    _git(repository, "commit", "--quiet", "--all", "-m", "second")
    (repository / "README.md").write_text("three\n")
    assert release.chosen(repository, "v1")[1]["subject"].startswith("It's")


def test_a_commit_from_before_is_refused(repository: Path) -> None:
    with pytest.raises(ReleaseError, match="before releases could be shipped"):
        release.chosen(repository, "v1~1")


def test_where_there_is_no_git(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match="There is no commit"):
        release.chosen(tmp_path, "HEAD")


# ----------------------------------------------------------------------------------------------------------- the server

ONHOST = """
echo "$@" >>"$HOME/asked"
case "$1" in
    follow) if [ -e "$HOME/cut" ]; then cat "$HOME/cut"; rm "$HOME/cut"; cat >/dev/null; else cat "$HOME/lines"; fi ;;
    administer) echo sk_key; echo "shown once" >&2 ;;
    *) echo "said by $1" ;;
esac
"""


@pytest.fixture
def server(sshd: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SshServer:
    """Provisioned, with one release. Its systemd and its `onhost` are scripts that do as little as is needed here."""
    base = tmp_path / "srv"
    (base / "releases/20260101T000000Z-aaaaaaaaaaaa").mkdir(parents=True)
    monkeypatch.setattr(commands, "BASE", str(base))
    monkeypatch.setattr(commands, "RELEASES", str(base / "releases"))
    monkeypatch.setattr(commands, "_ONHOST", ("onhost",))
    monkeypatch.setattr(release, "AGAIN", 0.05)
    monkeypatch.setattr(release, "ENDING", 0.5)
    sshd.program("onhost", ONHOST)
    sshd.program("systemd-run", 'echo "$@" >>"$HOME/started"; test ! -e "$HOME/busy" || { echo already loaded >&2; exit 1; }')
    sshd.program("systemctl", 'if [ -e "$HOME/busy" ]; then cat "$HOME/busy"; else echo inactive; fi')
    (sshd.folder / "lines").write_text("  0.1 s  first\n  0.2 s  second\n== ok: deploy of x\n")
    return sshd


def test_a_deploy(server: SshServer, repository: Path) -> None:
    """It ships, starts the unit in the new release's folder, and says every line of it."""
    said: list[str] = []
    release.deploy(server.host, "HEAD", said.append, repository)
    (name,) = (path.name for path in Path(commands.RELEASES).iterdir() if "aaaa" not in path.name)
    assert name.endswith(_git(repository, "rev-parse", "--short=12", "HEAD").strip())
    assert said[-3:] == ["  0.1 s  first", "  0.2 s  second", "== ok: deploy of x"]
    started = (server.folder / "started").read_text()
    assert f"WorkingDirectory={commands.RELEASES}/{name} " in started and f"-- onhost deploy {name} --run " in started
    assert started.rstrip().endswith(f"--by {release.who()}")


def test_what_failed_is_an_error_with_its_reason(server: SshServer) -> None:
    (server.folder / "lines").write_text("== failed: rollback of x: it was not ready\n")
    with pytest.raises(ReleaseError, match=r"^failed: rollback of x: it was not ready$"):
        release.rollback(server.host, say=lambda _: None)


def test_a_server_that_has_no_room(server: SshServer, repository: Path) -> None:
    """Why nothing was shipped, without the script that says so; and nothing of it is left."""
    server.program("tar", "echo 'tar: x: No space left on device' >&2; exit 2")
    with pytest.raises(ReleaseError, match=r"could not be shipped, and nothing was changed: tar: x: No space left on device\."):
        release.deploy(server.host, "HEAD", lambda _: None, repository)
    assert len(list(Path(commands.RELEASES).iterdir())) == 1


def test_one_at_a_time(server: SshServer, repository: Path) -> None:
    """Nothing is shipped while something is under way; one that is ending is waited for, and not for ever."""
    for state in ("active", "deactivating"):
        (server.folder / "busy").write_text(state)
        with pytest.raises(ReleaseError, match="under way"):
            release.deploy(server.host, "HEAD", lambda _: None, repository)
        with pytest.raises(ReleaseError, match="under way"):
            release.rollback(server.host, say=lambda _: None)
    assert len(list(Path(commands.RELEASES).iterdir())) == 1


def test_a_server_that_is_bare(server: SshServer, repository: Path) -> None:
    """Each task says what to type first."""
    Path(commands.RELEASES, "20260101T000000Z-aaaaaaaaaaaa").rmdir()
    with pytest.raises(ReleaseError, match="run `fab deploy`"):
        release.status(server.host)
    Path(commands.RELEASES).rmdir()
    with pytest.raises(ReleaseError, match="run `fab provision`"):
        release.deploy(server.host, "HEAD", lambda _: None, repository)


@pytest.mark.parametrize("again", ["  0.1 s  first\n  0.2 s  second\n== ok: deploy of x\n", "== interrupted: deploy of x\n"])
def test_a_cut_connection_is_made_again(server: SshServer, again: str) -> None:
    """The run goes on meanwhile; no line is said twice, the last is said whatever became of the ones before."""
    (server.folder / "cut").write_text("  0.1 s  first\n")
    (server.folder / "lines").write_text(again)
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.endswith("first"):
            server.cut()

    outcome = again.splitlines()[-1]
    if "ok" in outcome:
        release.rollback(server.host, say=say)
    else:
        with pytest.raises(ReleaseError, match="interrupted"):
            release.rollback(server.host, say=say)
    assert said[0] == "  0.1 s  first" and said[-1] == outcome
    assert [line for line in said if line.startswith(" ")] == ["  0.1 s  first", "  0.2 s  second"][: 2 if "ok" in outcome else 1]
    assert len((server.folder / "started").read_text().splitlines()) == 1


def test_a_server_that_does_not_come_back(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a while it is given up, with a word where to look."""
    monkeypatch.setattr(release, "PATIENCE", 0.2)
    (server.folder / "cut").write_text("  0.1 s  first\n")

    def say(line: str) -> None:
        if line.endswith("first"):
            server.users.clear()
            server.cut()

    with pytest.raises(ReleaseError, match="`fab status` tells"):
        release.rollback(server.host, say=say)


def test_a_server_that_does_not_say(server: SshServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where what was shipped has a mistake in its own deploy/onhost: it is not asked again for ever."""
    monkeypatch.setattr(release, "AGAIN", 0.01)
    (server.folder / "lines").write_text("Traceback:\nSyntaxError: invalid syntax\n")
    said: list[str] = []
    with pytest.raises(ReleaseError, match=r"`fab status` tells what is live\. It said last: SyntaxError: invalid syntax\."):
        release.rollback(server.host, say=said.append)
    assert said.count("SyntaxError: invalid syntax") == 1


def test_a_server_that_was_not_provisioned(server: SshServer) -> None:
    """It has no user to ship as: what to type."""
    server.users.clear()
    with pytest.raises(ConnectionFailed, match=r"takes none of your SSH keys.* `fab provision`\."):
        release.status(server.host)


def test_a_key_is_shown_once(server: SshServer) -> None:
    """To who asked, and to nobody else."""
    said: list[str] = []
    release.keys(server.host, say=said.append)
    assert said == ["sk_key\nshown once"]
    assert (server.folder / "asked").read_text() == "administer keys create --admin\n"
    assert not any("sk_key" in command for command in server.commands)


def test_unlock(server: SshServer) -> None:
    """What is under way is stopped, then repaired; the releases show how things are."""
    said: list[str] = []
    server.program(
        "systemctl", 'if [ "$1" = stop ]; then rm "$HOME/busy"; elif [ -e "$HOME/busy" ]; then echo active; else echo inactive; fi'
    )
    (server.folder / "busy").touch()
    release.unlock(server.host, said.append)
    assert not (server.folder / "busy").exists()
    assert said == ["stopping what is under way", "said by repair", "said by releases"]


def test_logs(server: SshServer) -> None:
    """Lines as they come; of a release, those of its time in its slot."""
    said: list[str] = []
    server.program("journalctl", 'echo "$@"')
    server.program("onhost", """echo '{"slot": "blue", "since": "2026-11-23 12:00:00 UTC", "until": null}'""")
    release.logs(server.host, "20260101T000000Z-aaaaaaaaaaaa", said.append, level="err")
    assert said == [" ".join(commands.logs(slot="blue", since="2026-11-23 12:00:00 UTC", level="err")[1:])]
    with pytest.raises(ReleaseError, match="is no request id"):
        release.logs(server.host, say=said.append, request="x")
    server.program("onhost", "echo null")
    with pytest.raises(ReleaseError, match="never ran"):
        release.logs(server.host, "20260101T000000Z-bbbbbbbbbbbb", said.append)


# ------------------------------------------------------------------------------------------------------------- the rest


def test_a_domain_that_leads_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A warning, and none where it cannot be told."""
    host = Host("t", "192.0.2.1", "SHA256:x", "search.example.com", "you@example.com")
    for found, word in (({"192.0.2.1"}, None), ({"192.0.2.9"}, "leads to 192.0.2.9"), (set(), "has no address")):
        monkeypatch.setattr(release, "_addresses", lambda name, found=found: {name} if name[0].isdigit() else found)
        warnings = release.misdirected(host)
        assert (warnings == []) if word is None else (word in warnings[0])


def test_who_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that is safe in a record, a command and a log."""
    monkeypatch.setenv("GITHUB_ACTOR", "ann;$(id)\n")
    assert release.who() == "ann---id---github".replace("-github", "@github")
