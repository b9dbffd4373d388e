"""What every SystemStore must do with keys."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from searchapi.exceptions import KeyNotFound
from searchapi.model import Key

_ids = (f"key{n:09}" for n in itertools.count())


@pytest.fixture
def system(harness):
    return harness.system


def new(created_at: str = "2026-01-01T00:00:00.000Z", **members) -> Key:
    return Key(next(_ids), "digest", ("search",), ("*",), created_at, **members)


def elsewhere(act: Callable) -> object:
    """What `act` answers in another thread, which has its own connection as another process does."""
    found = []
    thread = threading.Thread(target=lambda: found.append(act()))
    thread.start()
    thread.join()
    return found[0]


def test_a_key_is_kept_as_it_is(system):
    """Every member comes back, here and for others."""
    key = Key(
        next(_ids),
        "digest",
        ("search", "metrics"),
        ("books", "films-*"),
        "2026-01-01T00:00:00.000Z",
        "the shop, «ß»",
        "2027-01-01T00:00:00.000Z",
        "2026-01-02T00:00:00.000Z",
        "2026-01-03T00:00:00.000Z",
        "5/second",
        "off",
        7,
        "digest before",
        "2026-01-04T00:00:00.000Z",
        9,
        "0123456789ab",
    )
    assert all(getattr(key, name) not in (None, "") for name in Key.__dataclass_fields__)
    system.add_key(key)
    assert system.keys()[key.id] == key == elsewhere(lambda: system.keys()[key.id])


def test_in_the_order_they_were_made(system):
    """By time, then by id; the revoked ones too."""
    times = ["2026-03-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z", "2026-02-01T00:00:00.000Z", "2026-01-01T00:00:00.000Z"]
    made = [new(time, revoked_at="2026-05-01T00:00:00.000Z") for time in times]
    for key in reversed(made):
        system.add_key(key)
    expected = sorted(made, key=lambda key: (key.created_at, key.id))
    assert [key for key in system.keys().values() if key in made] == expected


def test_a_change_is_one_step(system):
    """Changes at once by several threads: none is lost."""
    key = new()
    system.add_key(key)

    def count() -> None:
        for _ in range(10):
            system.update_key(key.id, lambda known: replace(known, epoch=known.epoch + 1))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert system.keys()[key.id].epoch == 41


def test_a_change_that_raises_changes_nothing(system):
    """What it raises comes out, and the next change goes through."""
    key = new()
    system.add_key(key)

    def refuse(known: Key) -> Key:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        system.update_key(key.id, refuse)
    assert system.keys()[key.id] == key
    assert system.update_key(key.id, lambda known: replace(known, description="yes")).description == "yes"
    with pytest.raises(KeyNotFound):
        system.update_key("nosuch", lambda known: known)


def test_last_use_never_goes_back(system):
    """Workers write in any order; a key that is not there is passed over; nothing else of a key is touched."""
    key = new()
    system.add_key(key)
    for at in ("2026-05-02T00:00:00.000Z", "2026-05-01T00:00:00.000Z"):
        system.touch_keys({key.id: at, "nosuch": at})
        assert system.keys()[key.id] == replace(key, last_used_at="2026-05-02T00:00:00.000Z")
    assert system.keys().get("nosuch") is None
    system.touch_keys({})


def test_others_see_a_change_within_a_second(system):
    """A thread that has read the keys before sees what another one wrote."""
    key, seen, ready, changed = new(), [], threading.Event(), threading.Event()
    system.add_key(key)

    def watch() -> None:
        seen.append(system.keys()[key.id].revoked_at)
        ready.set()
        changed.wait(30)
        start = time.monotonic()
        while system.keys()[key.id].revoked_at is None and time.monotonic() < start + 30:
            time.sleep(0.01)
        seen.append(system.keys()[key.id].revoked_at)
        seen.append(time.monotonic() - start)

    thread = threading.Thread(target=watch)
    thread.start()
    ready.wait(30)
    system.update_key(key.id, lambda known: replace(known, revoked_at="2026-05-01T00:00:00.000Z"))
    changed.set()
    thread.join()
    assert seen[:2] == [None, "2026-05-01T00:00:00.000Z"]
    print(f"seen after {seen[2] * 1000:.1f} ms")


def test_asking_costs_microseconds(system):
    """It is done with every request."""
    system.keys()
    best = float("inf")
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(200):
            system.keys()
        best = min(best, (time.perf_counter() - start) / 200)
    print(f"keys() takes {best * 1e6:.1f} µs")
    assert best < 0.001
