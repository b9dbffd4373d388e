"""Connections to a server whose host key is known beforehand. Nothing is learned on a first visit; known_hosts plays no part."""

from __future__ import annotations

import base64
import hashlib
import hmac
import logging
import socket
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import fabric
import paramiko
from cryptography.exceptions import UnsupportedAlgorithm
from paramiko.pkey import UnknownKeyType
from paramiko.ssh_exception import NoValidConnectionsError

from .commands import line
from .inventory import Host

CONNECT = 15  # seconds
KEEPALIVE = 15  # seconds between signs of life
SILENCE = 60  # seconds for which nothing that was sent is acknowledged, and the connection is lost

logging.getLogger("paramiko").addHandler(logging.NullHandler())  # what it would print with a traceback, we say in one line


class ConnectionFailed(Exception):
    """The server could not be reached, was not the one that is expected, or did not let us in: in one line."""


class NotLetIn(ConnectionFailed):
    """The server is the right one, but takes none of our keys for this user. locked: at least one could not be shown to it."""

    def __init__(self, message: str, locked: bool = False):
        super().__init__(message + " One has a passphrase: `ssh-add` it to your SSH agent." * locked)
        self.locked = locked


class CommandFailed(Exception):
    """A command on the server ended with an error: what was run, and the end of what it said, which is also `said`."""

    def __init__(self, message: str, said: str = ""):
        super().__init__(message)
        self.said = said


@dataclass(frozen=True, slots=True)
class Done:
    """status: of the command's exit, -1 where a signal ended it. out, err: what it printed."""

    status: int
    out: str
    err: str


class PinnedKey(paramiko.MissingHostKeyPolicy):
    """Accepts one key alone; asked for every host, because no known hosts are loaded."""

    def __init__(self, fingerprint: str):
        self.fingerprint = fingerprint.rstrip("=")

    def missing_host_key(self, client: paramiko.SSHClient, hostname: str, key: paramiko.PKey) -> None:
        found = fingerprint(key)
        if not hmac.compare_digest(found, self.fingerprint):
            raise ConnectionFailed(
                f"{hostname} shows the {key.get_name()} host key {found}, but hosts.toml has {self.fingerprint}: this is another "
                "server, or somebody stands in between; or that is the fingerprint of another of its keys. Nothing was sent to it."
            )


def fingerprint(key: paramiko.PKey) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def connect(host: Host, user: str | None = None) -> fabric.Connection:
    """An open connection as `user`, the host's own unless given. Raises ConnectionFailed."""
    options = {"banner_timeout": CONNECT, "auth_timeout": CONNECT, **_keys(host)}
    config = fabric.Config(overrides={"load_ssh_configs": False}, lazy=True)
    made = fabric.Connection(
        host.address, user=user or host.user, port=host.port, connect_timeout=CONNECT, connect_kwargs=options, config=config
    )
    made.client.set_missing_host_key_policy(PinnedKey(host.host_key))
    try:
        made.open()
    except (ConnectionFailed, OSError, EOFError, paramiko.SSHException) as error:
        refused = isinstance(error, paramiko.AuthenticationException) or _is_open(made)
        made.client.close()
        if isinstance(error, ConnectionFailed):
            raise
        if refused:  # also where paramiko says something else, of the last key that it tried
            raise NotLetIn(
                f"{host.address} takes none of your SSH keys for the user {made.user}.", _is_locked(error, host)
            ) from None
        where = f"{host.address}, port {host.port},"
        raise ConnectionFailed(f"{where} cannot be reached as {made.user}: {_reason(error)}.") from None
    made.transport.set_keepalive(KEEPALIVE)
    if hasattr(socket, "TCP_USER_TIMEOUT"):
        made.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, SILENCE * 1000)
    return made


def _keys(host: Host) -> dict[str, Any]:
    """Which private keys are shown: the identity alone, or what the agent and ~/.ssh have. One with a passphrase is the agent's."""
    if host.identity is None:
        return {"allow_agent": True, "look_for_keys": True}
    try:
        return {"pkey": paramiko.PKey.from_path(host.identity), "allow_agent": False, "look_for_keys": False}
    except OSError as error:
        raise ConnectionFailed(f"[{host.name}] identity: {host.identity} cannot be read: {error.strerror}.") from None
    except (paramiko.PasswordRequiredException, TypeError):
        return {"allow_agent": True, "look_for_keys": False}
    except (paramiko.SSHException, UnknownKeyType, ValueError, UnsupportedAlgorithm):
        raise ConnectionFailed(f"[{host.name}] identity: {host.identity} is no private key of OpenSSH.") from None


def _is_locked(error: Exception, host: Host) -> bool:
    """Whether a key was not shown because nobody was there to unlock it."""
    if host.identity is None:
        return isinstance(error, paramiko.PasswordRequiredException)
    return "pkey" not in _keys(host)


def _reason(error: Exception) -> str:
    """Why no connection was made, in a few words. paramiko puts the errors of all addresses of a name into one without a text."""
    if isinstance(error, NoValidConnectionsError):
        error = next(iter(error.errors.values()))
    if "protocol banner" in str(error):  # so OpenSSH 10 does for a while with an address whose logins failed
        return "what answers is no SSH server, or one that takes nobody from here for a minute after logins that failed"
    return getattr(error, "strerror", None) or str(error) or type(error).__name__


def _is_open(connection: fabric.Connection) -> bool:
    transport = connection.client.get_transport()
    return transport is not None and transport.is_active() and transport.initial_kex_done


def execute(connection: fabric.Connection, argv: Sequence[str], stdin: bytes = b"", check: bool = True) -> Done:
    """Run one command without a terminal, `stdin` as its input. Raises CommandFailed where it fails and `check` is set, and
    ConnectionFailed where the connection ends before it does."""
    command = line(argv)
    try:
        done = _run(connection, command, stdin)
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise ConnectionFailed(f"The connection to {connection.host} was lost: {error or type(error).__name__}.") from None
    if done.status < 0 and not connection.transport.is_active():
        raise ConnectionFailed(f"The connection to {connection.host} was lost.")
    if check and done.status:
        said = " / ".join((done.err.strip() or done.out.strip()).splitlines()[-5:]) or "it said nothing"
        raise CommandFailed(f"{' '.join(command.split())[:200]} ended with {done.status}: {said}", said)
    return done


def _run(connection: fabric.Connection, command: str, stdin: bytes) -> Done:
    """All three streams at once: one that is full would stop the command."""
    channel = connection.transport.open_session(timeout=CONNECT)
    try:
        channel.exec_command(command)
        printed: dict[str, bytes] = {}
        streams = {"out": channel.makefile("rb"), "err": channel.makefile_stderr("rb")}
        readers = [threading.Thread(target=_keep, args=(printed, name, stream), daemon=True) for name, stream in streams.items()]
        for reader in readers:
            reader.start()
        try:
            channel.sendall(stdin)
            channel.shutdown_write()
        except OSError:  # it has ended, or closed its input: its status says why
            pass
        for reader in readers:
            reader.join()
        return Done(channel.recv_exit_status(), *(printed.get(name, b"").decode(errors="replace") for name in streams))
    finally:
        channel.close()


def _keep(printed: dict[str, bytes], name: str, stream: paramiko.ChannelFile) -> None:
    printed[name] = stream.read()
