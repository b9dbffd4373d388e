"""What is run on a server, as lists of arguments. Pure: no command is put together as a text anywhere else."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

Argv = list[str]


def line(argv: Sequence[str]) -> str:
    """A command as a shell reads it, every argument quoted. Raises ValueError for what no shell can be given."""
    if any("\0" in argument for argument in argv):
        raise ValueError("an argument holds a NUL byte")
    return shlex.join(argv)


def as_root(argv: Sequence[str], user: str) -> Argv:
    """The command with root's rights; never asks for a password."""
    return list(argv) if user == "root" else ["sudo", "-n", "--", *argv]


def shell(script: str, *arguments: str) -> Argv:
    """A constant script with its arguments as $1, $2, …: values never become part of it."""
    return ["sh", "-ceu", script, "sh", *arguments]


# -------------------------------------------------------------------------------------------------------- releases

BASE = "/srv/searchapi"
RELEASES = f"{BASE}/releases"
UNIT = "searchapi-deploy.service"  # what ships runs as this unit: there is one of a name, so the name is the lock
LEVELS = ("err", "warning", "notice", "info", "debug")
_REQUEST = re.compile(r"[A-Za-z0-9._-]{8,64}")
_ONHOST = ("/usr/bin/python3", "-B", "-m", "deploy.onhost")

_SHIP = """
partial="$1/.$2.$4.partial"
trap 'rm -rf -- "$partial"' EXIT
umask 022
mkdir -- "$partial"
tar -xzf - -C "$partial" --no-same-owner --no-same-permissions
printf '%s\\n' "$3" >"$partial/REVISION"
printf 'RELEASE=%s\\n' "$2" >"$partial/release.env"
chmod -R a-w,a+rX -- "$partial"
sync -f -- "$partial"
if [ -e "$1/$2" ]; then echo "somebody else ships the same commit in the same second; $2 is there already" >&2; exit 1; fi
mv -T -- "$partial" "$1/$2"
sync -- "$1"
"""
_LIVE = """
if slot=$(readlink -- "$1/live.sock"); then readlink -e -- "$1/slots/$(basename -- "$slot" .sock)"
elif [ -d "$1/releases" ]; then find "$1/releases" -mindepth 1 -maxdepth 1 -type d -name '[0-9]*' | sort | tail -n 1; fi
"""


def ship(name: str, revision: str, token: str) -> Argv:
    """Unpacks a tar.gz from its input as a release, which is there whole or not at all. token: no other attempt has the same."""
    return shell(_SHIP, RELEASES, name, revision, token)


def live_folder() -> Argv:
    """Prints the folder of the live release; of the newest where none is live; nothing where there is none."""
    return shell(_LIVE, BASE)


def onhost(folder: str, *arguments: str) -> Argv:
    """What a release's `deploy.onhost` does, in the foreground."""
    return shell('cd -- "$1"; shift; exec "$@"', folder, *_ONHOST, *arguments)


def start(folder: str, run: str, *arguments: str) -> Argv:
    """The same as the unit, which goes on whatever becomes of the connection. It leaves the service the processor and the disk,
    and repairs what is half done when it was killed."""
    repair = " ".join((*_ONHOST, "repair", "--run", run, "--by", "systemd"))
    properties = (
        f"WorkingDirectory={folder}",
        f"SyslogIdentifier=searchapi-deploy-{run}",
        f"ExecStopPost={repair}",
        "KillMode=mixed",
        "TimeoutStopSec=60s",
        "CPUWeight=20",
        "IOWeight=20",
        "LogRateLimitIntervalSec=0",
    )
    options = [f"--property={each}" for each in properties]
    return ["systemd-run", "--quiet", "--collect", f"--unit={UNIT}", "--service-type=exec", *options, "--", *_ONHOST, *arguments]


def stop_run() -> Argv:
    return ["systemctl", "stop", UNIT]


def run_state() -> Argv:
    return ["systemctl", "show", "--property=ActiveState", "--value", UNIT]


def logs(
    *,
    follow: bool = False,
    lines: int = 100,
    slot: str | None = None,
    since: str | None = None,
    until: str | None = None,
    level: str | None = None,
    request: str | None = None,
) -> Argv:
    """What a slot's processes wrote; without one, all of them, deploys, and what Nginx could not pass on. Raises ValueError.

    since, until: as journalctl takes them, `-1h`, `2026-11-23 12:00`. level: that and all that is worse. request: the id that a
    client was shown as X-Request-ID; without `since` it is looked for in all that is kept."""
    if level is not None and level not in LEVELS:
        raise ValueError(f"there is no level {level!r}; there are {', '.join(LEVELS)}")
    if request is not None and not _REQUEST.fullmatch(request):
        raise ValueError(f"{request!r} is no request id: 8 to 64 letters, digits, `.`, `_` and `-`, as X-Request-ID has it")
    argv = ["journalctl", "--no-pager", "--quiet", "--output=short-iso"]
    argv += [f"--unit=searchapi{part}@{slot or '*'}.service" for part in ("", "-indexer")]
    argv += [f"--unit={UNIT}", "--unit=nginx.service"] if slot is None else []
    argv += [f"--{name}={value}" for name, value in (("priority", level), ("since", since), ("until", until)) if value is not None]
    if request is not None:
        argv += ["--case-sensitive=true", f'--grep="request_id": ?"{re.escape(request)}"']
    elif follow or (since is None and until is None):
        argv.append(f"--lines={lines}")
    return argv + ["--follow"] * follow
