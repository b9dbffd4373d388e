"""Budgets: nothing is given twice, nearly nothing is lost, and most requests ask nobody."""

from __future__ import annotations

import random
import threading
import time

import pytest
from limits.storage import storage_from_string

from searchapi import leases
from searchapi.leases import Bucket, Budgets, Shared, limit
from tests.redis import Redis

NOW = 1_800_000_000.0
ids = iter(range(1_000_000))


@pytest.fixture(scope="module")
def redis(tmp_path_factory):
    with Redis(tmp_path_factory.mktemp("redis")) as redis:
        yield redis


@pytest.fixture
def four(redis):
    """Four workers over one Redis."""
    storages = [storage_from_string(f"redis+unix://{redis.socket}") for _ in range(4)]
    yield [worker(Shared(storage), 4) for storage in storages]
    for storage in storages:
        storage.storage.close()


def worker(shared: Shared, workers: int = 1, told: list[Bucket] | None = None) -> Budgets:
    return Budgets(shared, workers, (told if told is not None else []).append)


def alone() -> Budgets:
    return worker(Shared(None))


def spent(budgets: Budgets, who: str, rate: str, cost: int = 1, now: float = NOW) -> bool:
    return budgets.spend(budgets.bucket("key", who, limit(rate)), cost, now)


def passed(workers: list[Budgets], rate: str, weights: list[int], cost: int = 1, seed: int = 0) -> int:
    """How much all workers let through of far too much, spread over them by weight."""
    who, chance = f"client-{next(ids)}", random.Random(seed)
    chosen = chance.choices(workers, weights, k=2 * limit(rate).amount // cost + 50)
    return sum(spent(one, who, rate, cost) for one in chosen) * cost


@pytest.mark.parametrize("rate", ["1/day", "5/day", "100/day", "399/hour", "6000/hour", "20000/day"])
@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (1, 0, 0, 0), (1000, 1, 1, 1), (10, 5, 2, 1)])
def test_four_workers_hold_a_limit(four, rate, weights):
    """However clients are spread over workers, they never pass a limit, and lose at most 2 % of a large one, nothing of a small."""
    most = limit(rate).amount
    through = passed(four, rate, weights)
    assert through <= most
    assert through >= (most if most < 400 else 0.98 * most), through


def test_costs_of_many_sizes(four):
    """Requests that cost more than a lease are counted as exactly."""
    assert passed(four, "1000/day", (1, 1, 1, 1), cost=100) == 1000
    assert 966 <= passed(four, "1000/day", (1, 1, 1, 1), cost=33) <= 990


def test_leases_that_no_request_used(four):
    """Workers that were asked once and never again keep at most 2 % between them."""
    who = "left alone"
    assert all(spent(one, who, "6000/day") for one in four[1:])
    through = sum(spent(four[0], who, "6000/day") for _ in range(7000)) + 3
    assert 0.98 * 6000 <= through <= 6000


def test_threads(four):
    """Threads of a worker do not spend the same thing twice."""
    who, through = "threads", []

    def run(one: Budgets) -> None:
        through.append(sum(spent(one, who, "3000/day") for _ in range(600)))

    threads = [threading.Thread(target=run, args=(one,)) for one in four * 2]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert 0.98 * 3000 <= sum(through) <= 3000


def test_most_requests_ask_nobody(redis, four):
    """A large limit costs a round trip for every many requests; a client that has used up its own costs none at all."""
    before = redis.commands()
    for _ in range(1500):
        spent(four[0], "asks", "6000/day")
    asked = redis.commands() - before
    print(f"{asked} round trips for 1500 requests")
    assert asked <= 1500 / 20
    while spent(four[0], "asks", "6000/day"):
        pass
    before = redis.commands()
    assert not any(spent(four[0], "asks", "6000/day") for _ in range(500))
    assert redis.commands() == before


def test_windows_end_by_themselves_in_redis(redis, four):
    """Nothing is left behind in Redis, not for those who never come back either."""
    spent(four[0], "leaves", "10/minute")
    with redis.client() as client:
        name = next(name for name in client.scan_iter("*leaves*"))
        assert 0 < client.ttl(name) <= 61


def test_one_line_a_window(redis):
    """Of all workers one tells that a limit is used up, once."""
    storage = storage_from_string(f"redis+unix://{redis.socket}")
    told: list[Bucket] = []
    workers = [worker(Shared(storage), 4, told) for _ in range(4)]
    passed(workers, "50/day", (1, 1, 1, 1))
    assert [bucket.limit.text for bucket in told] == ["50/day"]
    storage.storage.close()


def test_alone():
    """Without Redis a worker counts exactly."""
    told: list[Bucket] = []
    one = worker(Shared(None), 4, told)
    assert sum(spent(one, "x", "100/day") for _ in range(300)) == 100
    assert len(told) == 1


def test_a_window_ends():
    """When it does, all of the budget is there again, and `seconds_left` said so before."""
    one = alone()
    bucket = one.bucket("key", "x", limit("5/minute"))
    assert all(one.spend(bucket, 1, NOW) for _ in range(5))
    assert not one.spend(bucket, 1, NOW)
    wait = bucket.seconds_left(NOW)
    assert 1 <= wait <= 60
    assert not one.spend(bucket, 1, bucket.ends - 0.001)
    assert one.spend(bucket, 5, NOW + wait)


def test_windows_do_not_begin_together():
    """Else everybody who was told to wait would come back in the same second."""
    one = alone()
    ends = set()
    for number in range(100):
        bucket = one.bucket("key", str(number), limit("5/minute"))
        one.spend(bucket, 1, NOW)
        assert NOW < bucket.ends <= NOW + 60
        ends.add(round(bucket.ends))
    assert len(ends) > 30


def test_a_clock_set_back():
    """It begins another window instead of waiting for the old one."""
    one = alone()
    assert spent(one, "x", "1/hour")
    assert not spent(one, "x", "1/hour")
    assert spent(one, "x", "1/hour", now=NOW - 7200)


def test_more_than_the_whole_budget():
    """It is refused, and costs nothing."""
    one = alone()
    assert not spent(one, "x", "10/day", cost=11)
    assert spent(one, "x", "10/day", cost=10)


def test_a_refusal_costs_nothing():
    """What is left is there for what costs less."""
    one = alone()
    assert spent(one, "x", "10/day", cost=8)
    assert not spent(one, "x", "10/day", cost=3)
    assert spent(one, "x", "10/day", cost=2)


def test_charged_afterwards():
    """What was done is charged even where it is more than there was; what was not done is given back."""
    one = alone()
    bucket = one.bucket("key", "x", limit("10/day"))
    one.spend(bucket, 1, NOW)
    one.charge(bucket, 4, NOW)
    assert bucket.remaining == 5
    one.refund(bucket, 1, NOW)
    assert bucket.remaining == 6
    one.charge(bucket, 100, NOW)
    assert bucket.remaining == 0
    assert not one.spend(bucket, 1, NOW)


def test_charged_afterwards_for_all_workers(four):
    """The others know of it too."""
    charged = four[0].bucket("key", "charged", limit("100/day"))
    four[0].charge(charged, 1000, NOW)
    assert not any(spent(one, "charged", "100/day") for one in four)


def test_memory_is_bounded(monkeypatch):
    """A client of very many addresses does not fill the memory; who comes often is remembered."""
    monkeypatch.setattr(leases, "MOST_BUCKETS", 100)
    one = alone()
    assert spent(one, "often", "1000/day", cost=1000)
    for number in range(5000):
        spent(one, f"once-{number}", "1000/day")
        assert not spent(one, "often", "1000/day")
    assert len(one._young) + len(one._old) <= 200


def test_off():
    """`off` is no limit."""
    assert limit("off") is None
    assert (limit("600/minute").amount, limit("600/minute").period) == (600, 60)


# ----------------------------------------------------------------------------------------------------- Redis away


class Failing:
    """A storage that fails when it is told to; what a real Redis does is in test_ratelimit.py and tests/faults."""

    def __init__(self):
        self.counts: dict[str, int] = {}
        self.fails = False

    def incr(self, name: str, period: int, amount: int = 1) -> int:
        if self.fails:
            raise OSError("away")
        self.counts[name] = self.counts.get(name, 0) + amount
        return self.counts[name]


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(leases, "PAUSE", 0.01)


def back(shared: Shared) -> None:
    end = time.monotonic() + 30
    while not shared.here:
        assert time.monotonic() < end
        time.sleep(0.005)


def test_away_goes_on_from_what_was_left(quick):
    """A client does not get a second budget because Redis went away in the middle of one."""
    storage = Failing()
    one = worker(Shared(storage), 2)
    assert sum(spent(one, "x", "1000/day") for _ in range(700)) == 700
    storage.fails = True
    assert sum(spent(one, "x", "1000/day") for _ in range(700)) == 300
    storage.fails = False
    back(one.shared)


def test_back_again_it_is_told(quick):
    """What was spent meanwhile counts for the others when Redis is back, emptied or not."""
    storage = Failing()
    one, other = worker(Shared(storage), 2), worker(Shared(storage), 2)
    storage.fails = True
    assert sum(spent(one, "x", "1000/day") for _ in range(600)) == 600
    assert (one.shared.here, one.shared.fallbacks) == (False, 1)
    storage.fails = False
    back(one.shared)
    assert spent(one, "x", "1000/day")
    assert 370 <= sum(spent(other, "x", "1000/day") for _ in range(1000)) <= 399
    assert one.shared.fallbacks == 1


def test_changes_are_told_once(quick):
    """Going and coming back: one call each, however many requests there were."""
    storage, changes = Failing(), []
    one = worker(Shared(storage, changes.append))
    storage.fails = True
    for number in range(50):
        assert spent(one, f"x{number}", "1000/day")
    assert changes == [False]
    storage.fails = False
    back(one.shared)
    end = time.monotonic() + 30
    while changes != [False, True]:
        assert time.monotonic() < end
        time.sleep(0.005)
