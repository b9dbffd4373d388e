"""Shipping: what the tasks of `fabfile.py` do, on this machine's side. What happens on the server is in `deploy/onhost`.

Whatever changes a server runs there as the unit `searchapi-deploy` and is only followed from here: where the connection is cut it
goes on and ends by itself, one way or the other.
"""

from __future__ import annotations

import contextlib
import getpass
import json
import os
import re
import secrets
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import fabric

from . import commands
from .commands import Argv, as_root
from .connection import CommandFailed, ConnectionFailed, Done, NotLetIn, connect, execute
from .inventory import Host
from .streaming import stream

ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ("deploy", "searchapi", "requirements.txt")
NEEDED = ("deploy/onhost/__main__.py", "requirements.txt", "searchapi/data.json")  # what a server does not take a release without
PATIENCE = 180.0  # seconds in which a lost connection may come back
ENDING = 15.0  # seconds in which a run that has said its last word is gone
AGAIN = 3.0  # seconds between attempts
MUTE = 3  # times that the lines may end without the last one: then the server cannot tell, as with a mistake in deploy/onhost

Say = Callable[[str], None]


class ReleaseError(Exception):
    """Why it was not done, in one line, and what to type."""


# ----------------------------------------------------------------------------------------------------------- tasks


def deploy(host: Host, ref: str = "HEAD", say: Say = print, repository: Path = ROOT) -> None:
    """Ship a commit and put it live. Raises ReleaseError, ConnectionFailed, CommandFailed."""
    commit, revision = chosen(repository, ref)
    with opened(host) as connection:
        for warning in misdirected(host):
            say(f"warning: {warning}")
        _require_room(connection)
        name = f"{_stamp()}-{commit[:12]}"
        say(f"shipping {name} to {host.name}: {revision['subject']}")
        try:
            _ask(connection, commands.ship(name, json.dumps(revision), secrets.token_hex(4)), archive(repository, commit))
        except CommandFailed as error:
            raise ReleaseError(f"{name} could not be shipped, and nothing was changed: {error.said or error}.") from None
        _run(host, connection, f"{commands.RELEASES}/{name}", say, "deploy", name)


def rollback(host: Host, to: str | None = None, say: Say = print) -> None:
    """Back to the release that was live before this one, or to `to`."""
    with opened(host) as connection:
        _run(host, connection, _live(connection), say, "rollback", *(["--to", to] if to else []))


def snapshot(host: Host, say: Say = print) -> None:
    """A consistent copy of the data, on the server."""
    with opened(host) as connection:
        _run(host, connection, _live(connection), say, "snapshot")


def releases(host: Host, say: Say = print) -> None:
    """Which releases are there, and what became of each."""
    with opened(host) as connection:
        say(_ask(connection, commands.onhost(_live(connection), "releases")).out.rstrip())


def status(host: Host, say: Say = print) -> None:
    """One screen about the server."""
    with opened(host) as connection:
        say(_ask(connection, commands.onhost(_live(connection), "status")).out.rstrip())


def keys(host: Host, arguments: Sequence[str] = ("create", "--admin"), say: Say = print) -> None:
    """`python -m searchapi keys …` on the server: a first key for all there is, shown this once. Nothing keeps what is printed."""
    with opened(host) as connection:
        done = _ask(connection, commands.onhost(_live(connection), "administer", "keys", *arguments))
        say("\n".join(filter(None, (done.out.strip(), done.err.strip()))))


def logs(host: Host, release: str | None = None, say: Say = print, **options) -> None:
    """The journal. options: those of `commands.logs`. release: what it wrote while it last was in a slot."""
    try:
        argv = commands.logs(**options)
    except ValueError as error:
        raise ReleaseError(f"{error}.") from None
    with opened(host) as connection:
        if release is not None:
            found = json.loads(_ask(connection, commands.onhost(_live(connection), "span", release)).out)
            if found is None:
                raise ReleaseError(f"{release} never ran; `fab releases` shows those that there are.")
            found = {name: value for name, value in found.items() if options.get(name) is None}
            argv = commands.logs(**options | found)
        for row in stream(connection, as_root(argv, connection.user)):
            say(row)


def unlock(host: Host, say: Say = print) -> None:
    """Stop a deploy, rollback or snapshot that hangs, and clean up after it. What was live before stays live."""
    with opened(host) as connection:
        folder = _live(connection)
        if _busy(connection):
            say("stopping what is under way")
            _ask(connection, commands.stop_run())  # it undoes what it has begun
        run = ["--run", _new_run(), "--by", who()]
        try:
            said = _ask(connection, commands.onhost(folder, "repair", *run)).out.rstrip()
        except CommandFailed as error:
            raise ReleaseError(
                f"It could not be cleaned up: {error.said or error}. Mend that and run `fab unlock` again."
            ) from None
        say(said or "nothing is half done")
        say(_ask(connection, commands.onhost(folder, "releases")).out.rstrip())


# -------------------------------------------------------------------------------------------------------- the commit


def chosen(repository: Path, ref: str) -> tuple[str, dict[str, str]]:
    """(commit, what REVISION says of it). Raises ReleaseError for a ref that there is not, for one that cannot be shipped, and,
    where it is what is checked out, for changes that are not in it."""
    try:
        commit = _git(repository, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip()
    except ReleaseError:
        raise ReleaseError(f"There is no commit {ref!r} in {repository}; `git log --oneline` shows those that there are.") from None
    if commit == _git(repository, "rev-parse", "HEAD").strip() and (changed := _uncommitted(repository)):
        more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
        listed = f"{', '.join(changed[:3])}{more}"
        raise ReleaseError(f"There are changes that are not committed, and would not be shipped: {listed}. Commit them first.")
    if not set(NEEDED) <= set(_git(repository, "ls-tree", "--name-only", commit, "--", *NEEDED).split()):
        raise ReleaseError(f"{commit[:12]} is from before releases could be shipped like this; choose a later commit.")
    subject = _git(repository, "log", "-1", "--format=%s", commit).strip()
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    return commit, {"commit": commit, "subject": subject, "shipped_by": who(), "shipped_at": now}


def archive(repository: Path, commit: str) -> bytes:
    """A tar.gz of what a server runs."""
    return _git_bytes(repository, "archive", "--format=tar.gz", commit, "--", *SHIPPED)


def _uncommitted(repository: Path) -> list[str]:
    """Changed files, and new ones among those that are shipped: what was forgotten to be added."""
    rows = _git(repository, "status", "--porcelain=v1", "--untracked-files=all").splitlines()
    return [row[3:] for row in rows if row[:2] != "??" or row[3:].startswith(SHIPPED)]


def _git(repository: Path, *arguments: str) -> str:
    return _git_bytes(repository, *arguments).decode(errors="replace")


def _git_bytes(repository: Path, *arguments: str) -> bytes:
    try:
        return subprocess.run(["git", "-C", str(repository), *arguments], capture_output=True, check=True).stdout
    except OSError as error:
        raise ReleaseError(f"git cannot be run: {error.strerror}.") from None
    except subprocess.CalledProcessError as error:
        raise ReleaseError(f"git {arguments[0]} failed: {error.stderr.decode(errors='replace').strip()}") from None


# -------------------------------------------------------------------------------------------------------- the server


@contextlib.contextmanager
def opened(host: Host) -> Iterator[fabric.Connection]:
    try:
        connection = connect(host)
    except NotLetIn as error:
        raise NotLetIn(f"{error} A new server is made ready by `fab provision`.") from None
    with contextlib.closing(connection):
        yield connection


def misdirected(host: Host) -> list[str]:
    """What speaks against the domain leading to this server. No fault: it may stand behind a proxy."""
    wanted, found = _addresses(host.address), _addresses(host.domain)
    if not found:
        return [f"{host.domain} has no address; point it at {host.address}, or nobody finds the server"]
    if wanted and not wanted & found:
        return [f"{host.domain} leads to {', '.join(sorted(found))}, not to {host.address}"]
    return []


def _addresses(name: str) -> set[str]:
    with contextlib.suppress(OSError):
        return {row[4][0] for row in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)}
    return set()


def who() -> str:
    """Who ships, as the server's records have it."""
    actor = os.environ.get("GITHUB_ACTOR")
    with contextlib.suppress(OSError, KeyError):
        return re.sub(r"[^A-Za-z0-9@._-]", "-", f"{actor}@github" if actor else f"{getpass.getuser()}@{socket.gethostname()}")[:80]
    return "somebody"


def _new_run() -> str:
    return f"{_stamp()}-{secrets.token_hex(2)}"


def _stamp() -> str:
    """When names of releases and runs were given, so that they sort by it."""
    return time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())


def _ask(connection: fabric.Connection, argv: Argv, stdin: bytes = b"") -> Done:
    return execute(connection, as_root(argv, connection.user), stdin)


def _live(connection: fabric.Connection) -> str:
    folder = _ask(connection, commands.live_folder()).out.strip()
    if not folder:
        raise ReleaseError("No release is there yet; run `fab deploy`.")
    return folder


def _busy(connection: fabric.Connection) -> bool:
    """Whether something is under way. One that is about to end is waited for."""
    end = time.monotonic() + ENDING
    while (state := _ask(connection, commands.run_state()).out.strip()) == "deactivating" and time.monotonic() < end:
        time.sleep(0.2)
    return state not in ("inactive", "failed")


def _require_room(connection: fabric.Connection) -> None:
    """That releases can be shipped to it, and that nobody else is about to. The server looks at everything else itself."""
    if execute(connection, ["test", "-d", commands.RELEASES], check=False).status:
        raise ReleaseError("This server is not provisioned; run `fab provision`.")
    if _busy(connection):
        raise _under_way()


def _under_way() -> ReleaseError:
    return ReleaseError(
        "Another deploy, rollback or snapshot is under way: `fab status` tells which. One that hangs is stopped by `fab unlock`."
    )


def _run(host: Host, connection: fabric.Connection, folder: str, say: Say, *arguments: str) -> None:
    """Start the unit and follow it to its end. Raises ReleaseError with its last line where it was not done."""
    run = _new_run()
    try:
        _ask(connection, commands.start(folder, run, *arguments, "--run", run, "--by", who()))
    except CommandFailed:
        if _busy(connection):
            raise _under_way() from None
        raise
    last = follow(host, connection, folder, run, say)
    if not last.startswith("== ok"):
        raise ReleaseError(last.removeprefix("== "))


def follow(host: Host, connection: fabric.Connection, folder: str, run: str, say: Say) -> str:
    """Say the lines of a run until its last, which is returned. A lost connection is made again; the run goes on meanwhile."""
    argv = commands.onhost(folder, "follow", run)
    shown, last, mute = 0, "", 0
    with contextlib.ExitStack() as stack:
        while True:
            try:
                for number, row in enumerate(stream(connection, as_root(argv, connection.user))):
                    if number >= shown or row.startswith("== "):
                        say(row)
                        shown, last = max(shown, number + 1), row
                if last.startswith("== "):
                    return last
                mute += 1
                if mute == MUTE:
                    told = f" It said last: {last.strip()}." if last else ""
                    raise ReleaseError(f"The server does not say what becomes of it; `fab status` tells what is live.{told}")
                raise ConnectionFailed("The lines from the server ended.")
            except ConnectionFailed as error:
                say(f"{error} It goes on there; connecting again …")
                connection = stack.enter_context(contextlib.closing(_connected_again(host)))


def _connected_again(host: Host) -> fabric.Connection:
    end = time.monotonic() + PATIENCE
    while True:
        time.sleep(AGAIN)
        try:
            return connect(host)
        except ConnectionFailed as error:
            if time.monotonic() > end:
                raise ReleaseError(f"{error} What became of it, `fab status` tells.") from None
