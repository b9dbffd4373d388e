"""What is run on a server, as lists of arguments. Pure: no command is put together as a text anywhere else."""

from __future__ import annotations

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
