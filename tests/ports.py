"""Ports for tests."""

from __future__ import annotations

import socket


def free_port() -> int:
    """One on the loopback address that nothing listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]
