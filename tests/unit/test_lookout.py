"""When a store looks again at what is kept far away: the moments that a real cluster shows only by chance."""

from __future__ import annotations

import contextlib
import logging
import threading
import time

import pytest

from searchapi.engines.opensearch import lookout, records
from searchapi.engines.opensearch.lookout import Lookout
from searchapi.engines.opensearch.names import Names
from searchapi.engines.opensearch.records import Records, source_of
from searchapi.engines.opensearch.table import Stamp
from searchapi.exceptions import DeadlineExceeded, EngineError, EngineUnavailable


class Far:
    """What is looked at. A look ends when it is let go, and fails where there is an error."""

    def __init__(self):
        self.looks, self.under_way, self.most = 0, 0, 0
        self.go, self.error = threading.Event(), None
        self.go.set()

    def look(self) -> None:
        self.looks += 1
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        assert self.go.wait(30)
        self.under_way -= 1
        if self.error:
            raise self.error

    def let_go(self) -> None:
        self.go.set()
        while self.under_way:
            time.sleep(0.001)


@pytest.fixture
def far() -> Far:
    return Far()


@pytest.fixture
def watch(far):
    found = Lookout(far.look)
    yield found
    far.go.set()
    found.close()


def pause(watch: Lookout, seconds: float) -> None:
    """As if so much time had gone by."""
    watch._at -= seconds
    watch._next -= seconds


class Requests:
    """So many at the same moment."""

    def __init__(self, watch: Lookout, count: int = 8):
        self._threads = [threading.Thread(target=watch.check) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    @property
    def wait(self) -> bool:
        """Whether all still do, after a moment."""
        time.sleep(0.1)
        return all(thread.is_alive() for thread in self._threads)

    def are_answered(self) -> bool:
        for thread in self._threads:
            thread.join(30)
        return not any(thread.is_alive() for thread in self._threads)


def test_the_first_look_is_waited_for(watch, far, monkeypatch):
    """By all who come meanwhile; and only one of them looks."""
    monkeypatch.setattr(lookout, "WITHOUT", 60.0)
    far.go.clear()
    requests = Requests(watch)
    assert requests.wait
    far.let_go()
    assert requests.are_answered() and (far.looks, far.most) == (1, 1)


def test_while_it_is_fresh_nobody_looks(watch, far, monkeypatch):
    monkeypatch.setattr(lookout, "EVERY", 60.0)
    for _ in range(1000):
        watch.check()
    assert far.looks == 1


def test_while_it_is_young_nobody_waits(watch, far, monkeypatch):
    """One looks, and all go on with what is known."""
    monkeypatch.setattr(lookout, "STALE", 60.0)
    watch.check()
    far.go.clear()
    pause(watch, 0.7)
    assert Requests(watch).are_answered() and far.under_way == 1
    far.let_go()
    assert (far.looks, far.most) == (2, 1)


def test_when_it_is_stale_all_wait(watch, far, monkeypatch):
    """So that what was changed a second ago is seen."""
    monkeypatch.setattr(lookout, "PATIENCE", 60.0)
    watch.check()
    far.go.clear()
    pause(watch, 1.2)
    requests = Requests(watch)
    assert requests.wait
    far.let_go()
    assert requests.are_answered() and (far.looks, far.most) == (2, 1)


def test_a_look_that_takes_long_is_not_waited_for(watch, far, monkeypatch):
    """Not for longer than PATIENCE; and after a slow one the next not at all, until one is quick again."""
    watch.check()
    far.go.clear()
    pause(watch, 1.2)
    requests = Requests(watch)
    assert requests.are_answered() and far.under_way == 1
    far.let_go()
    far.go.clear()
    monkeypatch.setattr(lookout, "PATIENCE", 60.0)
    pause(watch, 5)
    assert Requests(watch).are_answered() and far.under_way == 1
    far.let_go()
    far.go.clear()
    pause(watch, 5)
    requests = Requests(watch)
    assert requests.wait
    far.let_go()
    assert requests.are_answered() and far.looks == 4


def test_for_how_long_what_is_known_is_good(watch, far):
    """Where looks fail it goes on with what is known, then it says why not, in the words of the cluster."""
    watch.check()
    far.error = EngineUnavailable("The search engine is busy.")
    far.error.retry_after = 7
    pause(watch, 29)
    watch.check()
    pause(watch, 1.5)
    for _ in range(50):
        with pytest.raises(EngineUnavailable, match=r"The search engine is busy\.") as caught:
            watch.check()
        assert caught.value.retry_after == 7
    assert far.looks <= 3, "not everybody who comes looks again"
    far.error = None
    pause(watch, 1)
    watch.check()


def test_a_mistake_of_ours(watch, far, caplog):
    """It is logged, tells the client nothing, and the next look may do better."""
    far.error = KeyError("planted")
    with caplog.at_level(logging.ERROR), pytest.raises(EngineUnavailable) as caught:
        watch.check()
    assert "planted" in caplog.text and "planted" not in caught.value.detail
    far.error = None
    time.sleep(lookout.EVERY + 0.1)
    watch.check()


# ------------------------------------------------------------------------------------------- what a shard may show


class Shard:
    """A table whose writes can be found in another order than they were numbered, as a search between two of them finds them."""

    def __init__(self):
        self.docs: dict[str, tuple[int, int, dict]] = {}  # id: (number, term, source) of what searches find
        self.done = -1
        self.refreshes, self.searches = 0, 0
        self.statistics, self.hangs = True, False
        self.replica: list[bool] = []  # of each search

    def write(self, id: str, number: int, term: int = 1, **record) -> None:
        self.docs[id] = number, term, source_of("other", record)

    def checkpoint(self, timeout: float) -> int:
        if not self.statistics:
            raise EngineError("no statistics")
        return self.done

    def refresh(self, timeout: float) -> None:
        self.refreshes += 1

    def search(self, body: dict, timeout: float, replica: bool) -> list[dict]:
        self.searches += 1
        self.replica.append(replica)
        if self.hangs and not replica:
            raise DeadlineExceeded("late")
        start = body["query"]["range"]["_seq_no"]["gte"]
        found = sorted((number, term, id, source) for id, (number, term, source) in self.docs.items() if number >= start)
        return [
            {"_id": id, "_source": source, "_seq_no": number, "_primary_term": term}
            for number, term, id, source in found[: body["size"]]
        ]


@pytest.fixture
def store() -> Records:
    found = Records(None, Names("x"))
    found._table = Shard()
    return found


def known(store: Records) -> dict[str, dict]:
    return {id: record.record for id, record in store._kinds.get("other", {}).items()}


@pytest.mark.parametrize("statistics", [True, False])
def test_writes_that_are_found_late(store, statistics):
    """A lower number that is found after a higher one is not missed, whenever that is."""
    shard = store._table
    shard.statistics = statistics
    shard.write("other:a", 0)
    shard.done = 0
    store._look()
    shard.write("other:c", 2)  # 1 is under way
    store._look()
    store._look()
    assert known(store) == {"a": {}, "c": {}}
    shard.write("other:b", 1)
    shard.write("other:c", 3, n=1)
    shard.done = 3
    store._look()
    assert known(store) == {"a": {}, "b": {}, "c": {"n": 1}}


def test_nothing_new_costs_one_search(store):
    """And finds one record, however many there are."""
    shard = store._table
    for n in range(50):
        shard.write(f"other:{n}", n)
    shard.done = 49
    store._look()
    searches, refreshes, version = shard.searches, shard.refreshes, store.version
    for _ in range(5):
        store._look()
    assert (shard.searches, shard.refreshes, store.version) == (searches + 5, refreshes, version)


def test_writes_that_were_lost_with_their_node(store):
    """What was found and then lost is forgotten: its number is missing, or is another's, of a later term."""
    shard = store._table
    shard.write("other:a", 0)
    shard.write("other:lost", 1)
    shard.done = 1
    store._look()
    assert set(known(store)) == {"a", "lost"}
    del shard.docs["other:lost"]
    store._look()
    assert set(known(store)) == {"a"}
    shard.write("other:lost", 1)
    store._look()
    del shard.docs["other:lost"]
    shard.write("other:b", 1, term=2)
    store._look()
    assert set(known(store)) == {"a", "b"}


def test_a_trace_that_is_missing(store, monkeypatch):
    """Where a lost write was not the newest, reading all of it again now and then finds that out."""
    shard = store._table
    shard.write("other:lost", 0)
    shard.write("other:b", 1)
    shard.done = 1
    store._look()
    del shard.docs["other:lost"]
    store._look()
    assert "lost" in known(store)
    monkeypatch.setattr(records, "ANEW", 0.0)
    before = store._kinds["other"]["b"]
    store._look()
    assert set(known(store)) == {"b"} and store._kinds["other"]["b"] is before


def test_our_own_writes_while_all_are_read(store):
    """They are not forgotten, though the search does not find them."""
    shard = store._table
    shard.write("other:a", 0)
    search = shard.search

    def meanwhile(body: dict, **more) -> list[dict]:
        found = search(body, **more)
        store._own(records.seen_of("other:mine", source_of("other", {}), Stamp(5, 1)))
        return found

    shard.search = meanwhile
    store._look()
    assert set(known(store)) == {"a", "mine"}
    shard.search = search
    store._look()
    assert set(known(store)) == {"a", "mine"}


def test_an_older_state_is_not_taken_for_a_newer(store):
    """A look that began before our own write and ends after it."""
    shard = store._table
    shard.write("other:a", 3, n=1)
    shard.done = 3
    store._look()
    store._own(records.seen_of("other:a", source_of("other", {"n": 2}), Stamp(7, 1)))
    store._look()
    assert known(store) == {"a": {"n": 2}}
    store._own(records.seen_of("other:a", {"kind": "other", "record": "{}", "gone": True}, Stamp(8, 1)))
    store._look()
    assert known(store) == {}


def test_a_node_that_hangs(store):
    """After a search that was not answered a replica is asked, then the primary again. A replica that is behind teaches nothing."""
    shard = store._table
    shard.write("other:a", 0)
    shard.done = 0
    store._look()
    shard.replica, shard.hangs = [], True
    for _ in range(2):
        with pytest.raises(DeadlineExceeded):
            store._look()
        store._look()
    assert shard.replica == [False, True, False, True] and known(store) == {"a": {}}
    shard.write("other:b", 1)
    shard.done = 1
    looks(store, 2)
    assert set(known(store)) == {"a", "b"}
    del shard.docs["other:b"]
    looks(store, 4)
    assert set(known(store)) == {"a", "b"}
    shard.hangs = False
    looks(store, 2)
    assert set(known(store)) == {"a"}


def looks(store: Records, count: int) -> None:
    """So many, of which some fail."""
    for _ in range(count):
        with contextlib.suppress(EngineUnavailable):
            store._look()
