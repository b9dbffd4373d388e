"""Questions to an instance, over its own socket, before any traffic goes there."""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import re
import socket
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from .system import Failed

PATIENCE = 10.0  # seconds for one answer
READY = 3.0  # the same of /health/ready, which answers within 2 s itself
PAUSE = 0.1  # seconds between questions of a soak
STUCK = 40.0  # seconds without any progress after which an instance is not waited for any longer
BUILDING = 180.0  # the same where it builds its indexes first: they are committed in large pieces
SLOW = 1.0  # seconds for the usual search of a soak from which on it is compared with the live one's
SLOWER = 5  # times as slow as that is too slow
COMPARED = 10  # answers of the live one
TELL = 15.0  # seconds between lines about progress
_WORD = re.compile(r"[^\W_]{3,20}")


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    body: bytes

    @property
    def json(self) -> Any:
        with contextlib.suppress(ValueError):
            return json.loads(self.body)
        return None

    @property
    def said(self) -> str:
        """The status, and an error's own words."""
        found = self.json
        detail = found.get("detail") if isinstance(found, dict) else None
        return f"{self.status}{f' ({detail})' if detail else ''}"


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, patience: float):
        super().__init__("localhost", timeout=patience)
        self.path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self.path))


@dataclass
class Instance:
    """What listens on a unix socket. key: sent with every request; `key_id` is what is before its secret."""

    socket: Path
    key: str | None = field(default=None, repr=False)

    def get(self, path: str, patience: float = PATIENCE) -> Answer:
        """Raises OSError where there is no answer."""
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        connection = _Connection(self.socket, patience)
        try:
            connection.request("GET", path, headers=headers)
            response = connection.getresponse()
            return Answer(response.status, response.read())
        except http.client.HTTPException as error:
            raise OSError(f"the answer was cut off ({type(error).__name__})") from None
        finally:
            connection.close()

    def ready(self) -> str | None:
        """None where it can search; else why not."""
        try:
            answer = self.get("/health/ready", READY)
        except OSError as error:
            return f"no answer: {error}"
        return None if answer.status == 200 else f"/health/ready answers {answer.said}"

    def ask(self, path: str) -> Any:
        """The body of an answer that must be a good one; None where what was asked for is gone. Raises Failed."""
        try:
            answer = self.get(path)
        except OSError as error:
            raise Failed(f"GET {path}: {error}") from None
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise Failed(f"GET {path} answers {answer.said}")
        return answer.json

    def indexes(self) -> list[str]:
        return [row["name"] for row in self.ask("/v1/indexes")["indexes"]]

    def progress(self, index: str) -> tuple[int, int]:
        """(the newest write of an index, the newest one that searches see)."""
        stats = self.ask(f"/v1/indexes/{quote(index, safe='')}/stats")
        return (stats["seq"], stats["indexed_seq"]) if stats else (0, 0)


# ------------------------------------------------------------------------------------------------------------ waiting


class Waiting:
    """For something that goes on while a figure moves. stuck: seconds without a move after which it is given up. say: told how far
    it is, now and then."""

    def __init__(self, figure: int, stuck: float, say: Callable[[str], None]):
        self._figure, self._stuck, self._say = figure, stuck, say
        self._moved = self._told = time.monotonic()

    def go_on(self, figure: int, told: str, stuck: str) -> None:
        """A moment. told: how far it is. stuck: why it is given up. Raises Failed."""
        if figure != self._figure:
            self._figure, self._moved = figure, time.monotonic()
        if time.monotonic() - self._moved > self._stuck:
            raise Failed(stuck)
        if time.monotonic() - self._told > TELL:
            self._told = time.monotonic()
            self._say(told)
        time.sleep(PAUSE)


def wait_ready(
    instance: Instance, look: Callable[[], None], reached: Callable[[], int], say: Callable[[str], None], stuck: float
) -> None:
    """Until it can search every index. look: raises where the processes are not as they should be. reached: a figure that moves
    while indexes are built. stuck: seconds without any move after which it is given up. Raises Failed."""
    waiting = Waiting(reached(), stuck, say)
    while (why := instance.ready()) is not None:
        look()
        now = reached()
        told = f"waiting: {why}; {now:,} writes are in its indexes"
        waiting.go_on(now, told, f"it was not ready within {stuck:.0f} s: {why}")


def wait_caught_up(instance: Instance, look: Callable[[], None], say: Callable[[str], None]) -> list[str]:
    """Until searches see, in every index, all that had been written when this began. The indexes. Raises Failed."""
    indexes = instance.indexes()
    goals = {index: instance.progress(index)[0] for index in indexes}
    waiting = Waiting(-1, STUCK, say)
    while goals:
        seen = {index: instance.progress(index)[1] for index in goals}
        goals = {index: goal for index, goal in goals.items() if seen[index] < goal}
        if not goals:
            break
        look()
        behind = ", ".join(f"{index} at {seen[index]:,} of {goal:,}" for index, goal in itertools.islice(goals.items(), 3))
        given_up = f"its index did not catch up with the documents within {STUCK:.0f} s: {behind}"
        waiting.go_on(sum(seen.values()), f"catching up: {behind}", given_up)
    return indexes


def search_all(instance: Instance, indexes: list[str], look: Callable[[], None]) -> list[str]:
    """One search over every index, with a word that is in it. The addresses of these searches; without indexes, of questions to the
    engine. Raises Failed."""
    found = ["/health/ready", "/v1/indexes", "/db-health"]
    for index in indexes:
        look()
        path = f"/v1/indexes/{quote(index, safe='')}/search"
        answer = instance.ask(f"{path}?limit=3")
        if answer is None:
            continue
        word = _word_of(answer.get("hits", []))
        searched = f"{path}?limit=5&q={quote(word)}"
        if instance.ask(searched) is not None:
            found.append(searched)
    for path in found[:3]:
        instance.ask(path)
    return found


def soak(instance: Instance, paths: list[str], seconds: float, look: Callable[[], None]) -> list[tuple[float, str]]:
    """Ask again and again for this long. The seconds that each answer took, and to what, all of them good ones. Raises Failed."""
    end, took = time.monotonic() + seconds, []
    for path in itertools.cycle(paths):
        if time.monotonic() >= end:
            break
        took.append((timed(instance, path), path))
        look()
        time.sleep(PAUSE)
    return took


def timed(instance: Instance, path: str) -> float:
    """Seconds until a good answer is there. Raises Failed."""
    began = time.monotonic()
    instance.ask(path)
    return time.monotonic() - began


def require_speed(took: list[tuple[float, str]], live: Instance) -> None:
    """That its searches are not far slower than those of the one that serves. Raises Failed."""
    searches = [(seconds, path) for seconds, path in took if "/search?" in path]
    if not searches or (median := statistics.median(seconds for seconds, _ in searches)) < SLOW:
        return
    try:
        usual = statistics.median(timed(live, path) for _, path in searches[:COMPARED])
    except (Failed, OSError):
        return  # whatever is the matter there, the new one is not to blame
    if median > SLOWER * usual:
        raise Failed(f"a search takes it {median:.1f} s, and what is live {usual:.2f} s")


def _word_of(hits: list[dict[str, Any]]) -> str:
    for hit in hits:
        for text in _texts(hit.get("document")):
            if found := _WORD.search(text):
                return found[0]
    return "a"


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
