"""Changes that could lock us out of a server. Such a change takes itself back after some minutes, by a timer on the server that
needs nobody, or when the server reboots; a second, fresh connection that works stops that."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable

from .commands import Argv, as_root, line, shell
from .connection import CommandFailed, ConnectionFailed, NotLetIn, connect, execute
from .inventory import Host
from .machine import Machine
from .render import render

SECONDS = 180
PATIENCE = 20  # seconds in which a fresh connection must work
_STATE = "/var/lib/searchapi-guard"
_UNITS = "/etc/systemd/system"

# $1 the folder of what is needed to go back, $2 where the unit's file is to be, $3 the file, $4 seconds, $5 the unit's text; stdin:
# what undoes the change. The unit comes last: where it is, all that it needs is.
_ARM = """umask 077
rm -rf -- "$1"; install -d -m 700 -- "${1%/*}" "$1"
cat >"$1/undo"
if [ -e "$3" ]; then cp -a -- "$3" "$1/was"; fi
printf %s "$5" >"$1/unit"; chmod 644 "$1/unit"; sync -f -- "$1"; mv -fT -- "$1/unit" "$2"
unit=${2##*/}
systemctl enable --quiet "$unit"
systemd-run --quiet --collect --unit="$unit" --on-active="$4s" --timer-property=AccuracySec=1s"""
# Runs with the folder, the unit's file, the file and the command that brings the file into effect as $1, $2, $3, $4…
_UNDO = """state=$1 unit=$2 path=$3
shift 3
if [ -e "$state/was" ]; then cp -a -- "$state/was" "$path.old"; mv -fT -- "$path.old" "$path"; else rm -f -- "$path"; fi
"$@"
systemctl disable --quiet "${unit##*/}"
rm -rf -- "$unit" "$state"
"""
# The timer first: where it is up already, the change is taken back and this fails.
_DISARM = """unit=${2##*/}
systemctl stop "${unit%.service}.timer"
systemctl disable --quiet "$unit"
rm -rf -- "$2" "$1"
systemctl daemon-reload"""


class LockedOut(Exception):
    """A change was taken back, because with it nobody could have come in: why, in one line."""


def guarded(
    machine: Machine,
    host: Host,
    name: str,
    path: str,
    text: str,
    effect: Argv,
    proof: Callable[[], None] = lambda: None,
    seconds: int = SECONDS,
) -> bool:
    """The file `path` with this text, brought into effect by a command that works with and without the file. Answers whether it was
    another. proof: raises CommandFailed where the file has no effect. Raises LockedOut, and everything is as it was before."""
    unit, state = f"{_UNITS}/searchapi-guard-{name}.service", f"{_STATE}/{name}"
    if not machine.plan and machine.holds(["test", "-e", unit]):
        machine.do(f"take back an unfinished change of {path}", _take_back(name))
    if machine.same(path, text):
        return False
    if machine.plan:
        machine.file(path, text)
        machine.tell(f"  {line(effect)}\n  and back again in {seconds} s, unless a fresh connection works")
        return True
    undo = f"set -- {line([state, unit, path, *effect])}\n{_UNDO}".encode()
    service = render("server/guard.service", UNDO=f"{state}/undo")
    execute(machine.connection, as_root(shell(_ARM, state, unit, path, str(seconds), service), machine.connection.user), undo)
    try:
        machine.file(path, text)
        machine.ask(effect)
        proof()
        comes_in(host)
    except (CommandFailed, ConnectionFailed) as error:
        why = getattr(error, "said", "") or error
        with contextlib.suppress(CommandFailed, ConnectionFailed):
            machine.ask(_take_back(name))
            raise LockedOut(f"{path} was taken back, nothing has changed: {why}") from None
        raise LockedOut(f"{path} takes itself back within {seconds} s: {why}") from None
    machine.ask(shell(_DISARM, state, unit))
    return True


def comes_in(host: Host) -> None:
    """A fresh connection as the host's user, who may do everything. Raises ConnectionFailed or CommandFailed."""
    end = time.monotonic() + PATIENCE
    while True:
        try:
            fresh = connect(host)
            break
        except NotLetIn:
            raise
        except ConnectionFailed:  # a moment after its reload sshd does not listen
            if time.monotonic() > end:
                raise
        time.sleep(0.5)
    with contextlib.closing(fresh):
        execute(fresh, as_root(["true"], host.user))


def _take_back(name: str) -> Argv:
    """Now, and not a second time by itself. After a reboot there is no timer."""
    return shell('systemctl start "$1.service"; systemctl stop "$1.timer" 2>/dev/null || :', f"searchapi-guard-{name}")
