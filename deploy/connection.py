"""Connections to a server whose host key is known beforehand. Nothing is learned on a first visit; known_hosts plays no part."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Sequence
from dataclasses import dataclass

import fabric
import paramiko

from .commands import line
from .inventory import Host

CONNECT = 15  # seconds
KEEPALIVE = 15  # seconds between signs of life; three unanswered ones end a connection


class ConnectionFailed(Exception):
    """The server could not be reached, was not the one that is expected, or did not let us in: in one line."""


class CommandFailed(Exception):
    """A command on the server ended with an error: what was run, and the end of what it said."""


@dataclass(frozen=True, slots=True)
class Done:
    """status: of the command's exit. out, err: what it printed."""

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
                f"{hostname} shows the host key {found}, but hosts.toml has {self.fingerprint}: this is another server, or "
                "somebody stands in between. Nothing was sent to it."
            )


def fingerprint(key: paramiko.PKey) -> str:
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def connect(host: Host, user: str | None = None) -> fabric.Connection:
    """An open connection as `user`, the host's own unless given. Raises ConnectionFailed."""
    options = {"allow_agent": True, "banner_timeout": CONNECT, "auth_timeout": CONNECT}
    if host.identity is not None:
        options |= {"key_filename": str(host.identity), "look_for_keys": False}
    config = fabric.Config(overrides={"load_ssh_configs": False}, lazy=True)
    made = fabric.Connection(
        host.address, user=user or host.user, port=host.port, connect_timeout=CONNECT, connect_kwargs=options, config=config
    )
    made.client.set_missing_host_key_policy(PinnedKey(host.host_key))
    try:
        made.open()
    except ConnectionFailed:
        raise
    except paramiko.AuthenticationException:
        raise ConnectionFailed(f"{made.user}@{host.address} does not let this key in.") from None
    except (OSError, EOFError, paramiko.SSHException) as error:
        raise ConnectionFailed(f"{made.user}@{host.address}:{host.port} cannot be reached: {error}.") from None
    made.transport.set_keepalive(KEEPALIVE)
    return made


def execute(connection: fabric.Connection, argv: Sequence[str], stdin: bytes = b"", check: bool = True) -> Done:
    """Run one command without a terminal, `stdin` as its input. Raises CommandFailed where it fails and `check` is set."""
    channel = connection.transport.open_session(timeout=CONNECT)
    try:
        channel.exec_command(line(argv))
        writer, out, err = channel.makefile_stdin("wb"), channel.makefile("rb"), channel.makefile_stderr("rb")
        writer.write(stdin)
        writer.close()
        channel.shutdown_write()
        done = Done(*_read(channel, out, err))
    finally:
        channel.close()
    if check and done.status:
        said = (done.err or done.out).strip().splitlines()[-5:]
        raise CommandFailed(f"{line(argv)[:300]} ended with {done.status}: {' / '.join(said) or 'it said nothing'}")
    return done


def _read(channel: paramiko.Channel, out, err) -> tuple[int, str, str]:
    """Both streams at once: one that is full would stop the command."""
    import threading

    errors: list[bytes] = []
    reader = threading.Thread(target=lambda: errors.append(err.read()), daemon=True)
    reader.start()
    printed = out.read()
    reader.join()
    return channel.recv_exit_status(), printed.decode(errors="replace"), b"".join(errors).decode(errors="replace")
