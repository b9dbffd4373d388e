"""`fab provision`: from a bare server to one that waits for its first deploy. Its topics are in an order, and each looks first and
changes only what differs: it may be run again at any time, after an interruption too."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing

import fabric

from . import envfile, https, topics
from .commands import as_root
from .connection import NotLetIn, connect, execute
from .inventory import Host, InventoryError
from .machine import Machine
from .topics import Job, ProvisionFailed
from .web import DEBIAN

TOPICS: tuple[Callable[[Job], None], ...] = (
    topics.alone,
    topics.packages,
    topics.users,
    topics.folders,
    topics.sshd,
    topics.firewall,
    topics.upgrades,
    topics.redis,
    topics.settings,
    topics.services,
    https.nginx,
)


def provision(host: Host, plan: bool = False, say: Callable[[str], None] = print) -> Machine:
    """Make the server what it should be, or with `plan` tell what would be done. Raises InventoryError, ConnectionFailed,
    CommandFailed, LockedOut and ProvisionFailed; each run goes on where the one before has ended."""
    began = time.monotonic()
    own = envfile.given(host)
    if host.acme_ca is not None and not host.acme_ca.is_file():
        raise InventoryError(f"[{host.name}] acme_ca: there is no file {host.acme_ca}.")
    with closing(first_connection(host)) as connection:
        machine = Machine(connection, plan, say)
        say(f"{machine.release.get('PRETTY_NAME', 'A server')} at {host.address}, as {connection.user}")
        supported(machine.release)
        job = Job(machine, host, envfile.wanted(host, own, machine.read(envfile.PATH)[1]))
        for topic in TOPICS:
            topic(job)
    for note in job.notes:
        say(f"Note: {note}")
    count = f"{len(machine.changes)} change{'' if len(machine.changes) == 1 else 's'}"
    say(f"{count} would be made, nothing was touched" if plan else f"{count} in {time.monotonic() - began:.0f} s")
    return machine


def first_connection(host: Host) -> fabric.Connection:
    """As the host's user where it is there and may do everything, else as root. Raises ConnectionFailed."""
    try:
        connection = connect(host)
    except NotLetIn:
        if host.user == "root":
            raise
        try:
            return connect(host, "root")
        except NotLetIn as refused:
            raise NotLetIn(
                f"{host.address} takes none of your SSH keys for the user {host.user}, nor for root. Add your public key to root's "
                "authorized_keys in the server's console, or name the private one as `identity`.",
                refused.locked,
            ) from None
    if execute(connection, as_root(["true"], host.user), check=False).status:
        connection.close()
        return connect(host, "root")
    return connection


def supported(release: dict[str, str]) -> None:
    """Raises ProvisionFailed."""
    system, version = release.get("ID", "?"), release.get("VERSION_ID", "")
    known = version in DEBIAN if system == "debian" else system == "ubuntu" and _number(version) >= 24.04
    if not known:
        raise ProvisionFailed(
            f"The server runs {release.get('PRETTY_NAME', system)}; searchapi needs Debian 12 or 13, or Ubuntu 24.04 or later."
        )


def _number(version: str) -> float:
    try:
        return float(version)
    except ValueError:
        return 0.0
