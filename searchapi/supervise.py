"""A few child processes under one parent: they all run, or none does.

The parent stops them all on SIGINT, SIGTERM or SIGHUP, or as soon as one of them ends. They do not see the terminal's Ctrl-C
themselves, so that they stop once and in order; and where the parent is killed, the kernel stops them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence

STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
GRACE = 15.0  # seconds to end by itself
LOOK = 0.1  # seconds between looks at the children
PR_SET_PDEATHSIG = 1  # prctl(2)


class ChildEnded(Exception):
    """A child that should run has ended: its name and how."""


class Supervisor:
    """`with Supervisor() as s: s.start(…); s.wait()`. Leaving it ends every child."""

    def __init__(self) -> None:
        self.stopped = threading.Event()  # by a signal
        self._children: list[tuple[str, subprocess.Popen]] = []

    def __enter__(self) -> Supervisor:
        for number in STOP_SIGNALS:
            signal.signal(number, self._signalled)
        return self

    def _signalled(self, *_: object) -> None:
        if self.stopped.is_set():  # asked again: do not wait any longer
            for _, child in self._children:
                child.kill()
        self.stopped.set()

    def __exit__(self, *_: object) -> None:
        """End the children, the last one first, so that those that depend on others end before them."""
        deadline = time.monotonic() + GRACE
        for _, child in reversed(self._children):
            child.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(max(0.0, deadline - time.monotonic()))
            child.kill()
            child.wait()

    def start(self, name: str, command: Sequence[str], pass_fds: Sequence[int] = ()) -> None:
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, pass_fds=pass_fds, process_group=0, preexec_fn=dies_with_parent(os.getpid())
        )
        self._children.append((name, child))

    def look(self) -> None:
        """Raise ChildEnded if a child has."""
        for name, child in self._children:
            status = child.poll()
            if status is not None:
                how = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
                raise ChildEnded(f"the {name} {how}")

    def wait(self, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait until asked to stop (False) or `until` says so (True). Raises ChildEnded."""
        while not self.stopped.wait(LOOK):
            self.look()
            if until():
                return True
        return False


def dies_with_parent(parent: int) -> Callable[[], None] | None:
    """What a child calls so that the kernel sends it SIGTERM when the parent has gone, however that happened. Linux only."""
    if not sys.platform.startswith("linux"):
        return None
    prctl = ctypes.CDLL(None).prctl

    def ask() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask
