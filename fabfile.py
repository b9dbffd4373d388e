"""From a bare server to HTTPS, and from one release to the next. docs/deploy.md is the tour, `fab --help TASK` says more of each.

Servers stand in deploy/hosts.toml; `--to NAME` chooses one where there are several. What is done is in the package `deploy`.
"""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator

from invoke import Exit, task

from deploy import inventory
from deploy import provision as _provision
from deploy import release as _release
from deploy.connection import CommandFailed, ConnectionFailed
from deploy.guard import LockedOut
from deploy.inventory import Host, InventoryError
from deploy.topics import ProvisionFailed

_ERRORS = (InventoryError, ConnectionFailed, CommandFailed, LockedOut, ProvisionFailed, _release.ReleaseError)
_TO = {"to": "the server, by its name in deploy/hosts.toml; not needed where there is one"}


@contextlib.contextmanager
def server(name: str | None) -> Iterator[Host]:
    """The one that is meant. An error that we know is one line and the exit status 1."""
    try:
        yield inventory.host(name)
    except _ERRORS as error:
        raise Exit(f"fab: {error}", code=1) from None


def say(text: str) -> None:
    print(text, flush=True)


@task(auto_shortflags=False, help=_TO | {"plan": "only tell what would be done"})
def provision(context, to=None, plan=False):
    """Make a bare server ready, or an older one as it should be. Again and again, if you like."""
    with server(to) as host:
        _provision.provision(host, plan, say)


@task(auto_shortflags=False, help=_TO | {"ref": "the commit, as git names it"})
def deploy(context, to=None, ref="HEAD"):
    """Ship a commit and put it live, if it proves good; nobody notices."""
    with server(to) as host:
        _release.deploy(host, ref, say)


@task(auto_shortflags=False, help=_TO | {"release": "which, of `fab releases`; else the one before"})
def rollback(context, to=None, release=None):
    """Go back to the release before, or to any that was live."""
    with server(to) as host:
        _release.rollback(host, release, say)


@task(auto_shortflags=False, help=_TO)
def releases(context, to=None):
    """List the releases, and what became of each."""
    with server(to) as host:
        _release.releases(host, say)


@task(auto_shortflags=False, help=_TO)
def status(context, to=None):
    """Show how the server is, on one screen."""
    with server(to) as host:
        _release.status(host, say)


@task(
    auto_shortflags=False,
    help=_TO
    | {
        "follow": "go on as lines come",
        "lines": "how many of the last ones",
        "level": "err, warning, notice, info or debug: that and worse",
        "request": "of one request, by its X-Request-ID",
        "release": "of one release, by its name",
        "since": "as journalctl takes it: -1h, 2026-11-23 12:00",
        "until": "the same",
    },
)
def logs(context, to=None, follow=False, lines=100, level=None, request=None, release=None, since=None, until=None):
    """Show what the server logs."""
    with server(to) as host:
        options = {"follow": follow, "lines": lines, "level": level, "request": request, "since": since, "until": until}
        _release.logs(host, release, say, **options)


@task(auto_shortflags=False, help=_TO | {"command": "what `python -m searchapi keys` has beside: list, revoke, …"})
def keys(context, to=None, command="create --admin"):
    """Make an API key that may do everything, shown this once."""
    try:
        arguments = shlex.split(command)
    except ValueError as error:
        raise Exit(f"fab: --command: {error}.", code=1) from None
    with server(to) as host:
        _release.keys(host, arguments, say)


@task(auto_shortflags=False, help=_TO)
def snapshot(context, to=None):
    """Make a consistent copy of the data, on the server."""
    with server(to) as host:
        _release.snapshot(host, say)


@task(auto_shortflags=False, help=_TO)
def unlock(context, to=None):
    """Stop a deploy that hangs, and clean up after it."""
    with server(to) as host:
        _release.unlock(host, say)
