"""When keys were last used: noted in memory with every request (0.2 µs), written by a thread at most once a minute."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping

log = logging.getLogger("searchapi.keys")

EVERY = 60.0  # seconds between two writes
SOON = 1.0  # seconds until the first


class LastUse:
    """The uses that a worker has not written yet. write: `SystemStore.touch_keys`. A thread is there only while there is something
    to write, so nothing of it crosses a fork. What a killed worker had not written is lost."""

    def __init__(self, write: Callable[[Mapping[str, str]], None], every: float = EVERY, soon: float = SOON):
        self._write, self._every, self._soon = write, every, soon
        self._used: dict[str, str] = {}
        self._timer: threading.Timer | None = None
        self._written = -every  # when, by time.monotonic()
        self._lock = threading.Lock()
        self._failing = False

    def note(self, id: str, at: str) -> None:
        self._used[id] = at
        if self._timer is None:
            self._start()

    def _start(self) -> None:
        with self._lock:
            if self._timer is None:
                wait = max(self._soon, self._written + self._every - time.monotonic())
                self._timer = threading.Timer(wait, self.flush)
                self._timer.daemon = True
                self._timer.start()

    def flush(self) -> None:
        """Write what was noted. Never raises: what cannot be written now is tried again after the next use."""
        with self._lock:
            if self._timer is not None:
                self._timer.cancel()
            self._timer, self._written = None, time.monotonic()
            used = dict(self._used.popitem() for _ in range(len(self._used)))  # requests go on noting meanwhile
        if not used:
            return
        try:
            self._write(used)
            self._failing = False
        except Exception as error:  # a full disk, a folder that is gone: no request may fail for it, nor the end of a worker
            for id, at in used.items():
                self._used.setdefault(id, at)
            if not self._failing:
                log.warning("the last use of keys cannot be written: %s", error)
            self._failing = True
