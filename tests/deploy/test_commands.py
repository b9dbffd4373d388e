"""What is run on a server, argument by argument."""

from __future__ import annotations

import os
import shlex
import stat
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from deploy import commands
from deploy.onhost import system
from deploy.onhost.system import administration

HOSTILE = ("it's", "$(touch /tmp/x)", "`id`", "a;b|c&d", 'two\nlines "and" \\', "--output=/etc/passwd", "*", "")
ONHOST = ["/usr/bin/python3", "-B", "-m", "deploy.onhost"]
NAME = "20261123T202600Z-96dfe750858c"


@pytest.mark.parametrize("value", HOSTILE)
def test_values_never_become_commands(value: str) -> None:
    """A shell reads each command as the arguments that it is made of, whatever they hold."""
    for argv in (
        commands.ship(value, value, value),
        commands.onhost(value, "rollback", "--to", value),
        commands.start(value, value, value),
    ):
        assert shlex.split(commands.line(argv)) == argv
        script = argv.index("-ceu") + 1 if "-ceu" in argv else None
        assert script is None or not value or value == "*" or value not in argv[script]


def test_onhost() -> None:
    folder = f"/srv/searchapi/releases/{NAME}"
    assert commands.onhost(folder, "status") == [
        *("sh", "-ceu", 'cd -- "$1"; shift; exec "$@"', "sh", folder),
        *(*ONHOST, "status"),
    ]


def test_the_unit() -> None:
    """It is the lock, tells its lines apart from those of others, leaves the service the processor, and repairs what is left."""
    assert commands.start(f"/srv/searchapi/releases/{NAME}", "run1", "deploy", NAME, "--run", "run1", "--by", "ann@laptop") == [
        *("systemd-run", "--quiet", "--collect", "--unit=searchapi-deploy.service", "--service-type=exec"),
        f"--property=WorkingDirectory=/srv/searchapi/releases/{NAME}",
        "--property=SyslogIdentifier=searchapi-deploy-run1",
        "--property=ExecStopPost=/usr/bin/python3 -B -m deploy.onhost repair --run run1 --by systemd",
        *("--property=KillMode=mixed", "--property=TimeoutStopSec=60s", "--property=CPUWeight=20", "--property=IOWeight=20"),
        *("--property=LogRateLimitIntervalSec=0", "--", *ONHOST, "deploy", NAME, "--run", "run1", "--by", "ann@laptop"),
    ]
    assert commands.stop_run() == ["systemctl", "stop", "searchapi-deploy.service"]
    assert commands.run_state() == ["systemctl", "show", "--property=ActiveState", "--value", "searchapi-deploy.service"]


def test_administration() -> None:
    """As the service's user, with its settings as a credential; what it is told is no part of any environment."""
    pairs = ["ENVIRONMENT=production", "DATA_DIR=/var/lib/searchapi"]
    options = [
        *("--property=User=searchapi", "--property=Group=searchapi", "--property=LoadCredential=env:/etc/searchapi/env"),
        *("--property=WorkingDirectory=/r", "--property=UMask=0077", "--property=RuntimeMaxSec=60s"),
        *("--property=TimeoutStopSec=5s", "--property=NoNewPrivileges=yes", "--property=CPUWeight=20"),
        "--property=Environment=ENVIRONMENT=production",
        "--property=Environment=DATA_DIR=/var/lib/searchapi",  # pragma: allowlist secret
    ]
    command = ["--", "/r/.venv/bin/python", "-B", "-m", "searchapi", "keys", "list"]
    run = ["systemd-run", "--quiet", "--collect"]
    assert administration("/r", pairs, ["keys", "list"], True) == [*run, "--pipe", "--wait", *options, *command]
    assert administration("/r", pairs, ["keys", "list"], False) == [*run, *options, *command]


def test_an_administrative_command_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """systemd ends it after a while, and this is told apart from one that fails."""
    monkeypatch.setattr(system, "LIMIT", 0.2)
    monkeypatch.setattr(system.System, "administration", lambda self, *_, waiting: ["sh", "-c", f"sleep {waiting}; exit 1"])
    with pytest.raises(system.Failed, match=r"`python -m searchapi keys list` did not end within 0 s"):
        system.System().administer(Path("/r"), "keys", "list", waiting=0.3)
    with pytest.raises(system.Failed, match="ended with 1"):
        system.System().administer(Path("/r"), "keys", "list", waiting=0)


ALL = [f"--unit={unit}.service" for unit in ("searchapi@*", "searchapi-indexer@*", "searchapi-deploy", "nginx")]
BLUE = ["--unit=searchapi@blue.service", "--unit=searchapi-indexer@blue.service"]
JOURNAL = ["journalctl", "--no-pager", "--quiet", "--output=short-iso"]


@pytest.mark.parametrize(
    ("options", "argv"),
    [
        ({}, [*ALL, "--lines=100"]),
        ({"follow": True, "lines": 5}, [*ALL, "--lines=5", "--follow"]),
        ({"slot": "blue", "level": "err"}, [*BLUE, "--priority=err", "--lines=100"]),
        ({"since": "-1h", "until": "-1min"}, [*ALL, "--since=-1h", "--until=-1min"]),
        ({"since": "-1h", "follow": True}, [*ALL, "--since=-1h", "--lines=100", "--follow"]),
        ({"request": "abc.def-1"}, [*ALL, "--case-sensitive=true", r'--grep="request_id": ?"abc\.def\-1"']),
    ],
)
def test_logs(options: dict, argv: list[str]) -> None:
    assert commands.logs(**options) == [*JOURNAL, *argv]


@pytest.mark.parametrize("options", [{"request": "short"}, {"request": 'a".*"aaaaaaa'}, {"level": "loud"}, {"level": "err..alert"}])
def test_logs_of_what_there_is_not(options: dict) -> None:
    with pytest.raises(ValueError, match=r"is no request id|there is no level"):
        commands.logs(**options)


# ------------------------------------------------------------------------------------------------------- the scripts


@pytest.fixture
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """/srv/searchapi, somewhere else."""
    (tmp_path / "releases").mkdir()
    monkeypatch.setattr(commands, "BASE", str(tmp_path))
    monkeypatch.setattr(commands, "RELEASES", str(tmp_path / "releases"))
    return tmp_path


def _archive(**texts: str) -> bytes:
    packed = BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in texts.items():
            member = tarfile.TarInfo(f"searchapi/{name}.py")
            member.size, member.mode, member.uid = len(text), 0o664, 1234
            tar.addfile(member, BytesIO(text.encode()))
    return packed.getvalue()


def _run(argv: list[str], stdin: bytes = b"") -> subprocess.CompletedProcess:
    return subprocess.run(["sh", "-c", commands.line(argv)], input=stdin, capture_output=True, check=False)


def test_a_release_is_there_whole_and_read_only(base: Path) -> None:
    """With what it is, and the setting that names it."""
    revision = '{"subject": "it\'s \\"$(id)\\" \\\\n %s"}'
    done = _run(commands.ship(NAME, revision, "a1"), _archive(app="x = 1\n"))
    assert done.returncode == 0, done.stderr
    folder = base / "releases" / NAME
    assert [path.name for path in folder.parent.iterdir()] == [NAME]
    assert sorted(path.name for path in folder.iterdir()) == ["REVISION", "release.env", "searchapi"]
    assert (folder / "REVISION").read_text() == revision + "\n"
    assert (folder / "release.env").read_text() == f"RELEASE={NAME}\n"
    for path in (folder, *folder.rglob("*")):
        mode = stat.S_IMODE(path.stat().st_mode)
        assert mode == (0o555 if path.is_dir() else 0o444), path
        assert path.stat().st_uid == os.getuid()


def test_half_an_archive_is_no_release(base: Path) -> None:
    """As where the connection was cut."""
    whole = _archive(app="x = 1\n" * 5000)
    assert _run(commands.ship(NAME, "{}", "a1"), whole[: len(whole) // 2]).returncode != 0
    assert list((base / "releases").iterdir()) == []
    assert _run(commands.ship(NAME, "{}", "a1"), whole).returncode == 0


def test_two_ship_the_same_at_once(base: Path) -> None:
    """One of them does, whole; the other is told so, and what it brought is gone."""
    with subprocess.Popen(["sh", "-c", commands.line(commands.ship(NAME, "{}", "a1"))], stdin=subprocess.PIPE) as slow:
        assert _run(commands.ship(NAME, "{}", "b2"), _archive(app="x = 1\n")).returncode == 0
        slow.communicate(_archive(app="x = 1\n"), timeout=20)
        assert slow.returncode == 1
    assert "in the same second" in _run(commands.ship(NAME, "{}", "c3"), _archive(app="x = 1\n")).stderr.decode()
    assert [path.name for path in (base / "releases").iterdir()] == [NAME]
    assert (base / "releases" / NAME / "searchapi" / "app.py").read_text() == "x = 1\n"


def test_the_live_folder(base: Path) -> None:
    """That of the live slot; before there is one, the newest release; before that, none."""
    argv = commands.live_folder()
    assert (_run(argv).returncode, _run(argv).stdout) == (0, b"")
    older, newer = (base / "releases" / name for name in ("20260101T000000Z-aaaaaaaaaaaa", NAME))
    for path in (older, newer, base / "releases" / f".{NAME}.partial"):
        path.mkdir()
    assert _run(argv).stdout.decode().strip() == str(newer)
    (base / "slots").mkdir()
    (base / "slots" / "green").symlink_to(older)
    (base / "live.sock").symlink_to("/run/searchapi/green.sock")
    assert _run(argv).stdout.decode().strip() == str(older)
