"""What a command on the server prints, line by line while it runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import fabric
import paramiko

from .commands import line
from .connection import CONNECT, ConnectionFailed

_PIECE = 32 << 10  # bytes


def stream(connection: fabric.Connection, argv: Sequence[str]) -> Iterator[str]:
    """Lines without their ends, errors among them, until the command ends. Its input stays open as long as this does: it can tell
    when nobody reads any more. Raises ConnectionFailed where the connection ends first."""
    lost = f"The connection to {connection.host} was lost."
    try:
        channel = connection.transport.open_session(timeout=CONNECT)
        channel.set_combine_stderr(True)
        channel.exec_command(line(argv))
    except (OSError, EOFError, paramiko.SSHException):
        raise ConnectionFailed(lost) from None
    try:
        rest = b""
        while piece := channel.recv(_PIECE):
            *rows, rest = (rest + piece).split(b"\n")
            yield from (row.decode(errors="replace") for row in rows)
        if rest:
            yield rest.decode(errors="replace")
        if not channel.exit_status_ready() and not connection.transport.is_active():
            raise ConnectionFailed(lost)
    except (OSError, EOFError, paramiko.SSHException):
        raise ConnectionFailed(lost) from None
    finally:
        channel.close()
