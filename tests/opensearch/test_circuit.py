"""The budget of retries, and the circuit breaker, by a clock of the test's own."""

from __future__ import annotations

import pytest

from searchapi.engines.opensearch.circuit import Breaker, Budget, Open


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breaker(clock) -> Breaker:
    return Breaker(after=3, slow_after=5, first=0.5, longest=2.0, clock=clock)


def opened(breaker: Breaker) -> Breaker:
    for _ in range(3):
        assert breaker.enter() is False
        breaker.failed()
    return breaker


def test_a_budget_is_a_share_of_the_requests():
    """Some may be spent at once, then one in five requests."""
    budget = Budget(0.2, 10)
    assert sum(budget.spend() for _ in range(100)) == 10
    spent = 0
    for _ in range(1000):
        budget.earn()
        spent += budget.spend()
    assert 190 <= spent <= 200
    for _ in range(1000):
        budget.earn()
    assert sum(budget.spend() for _ in range(100)) == 10


def test_it_opens_after_failures_one_behind_the_other(breaker):
    for _ in range(5):
        breaker.failed()
        breaker.failed()
        breaker.passed()
    assert breaker.enter() is False and not breaker.open
    opened(breaker)
    with pytest.raises(Open) as caught:
        breaker.enter()
    assert breaker.open and caught.value.retry_after == 0.5


def test_one_is_let_through_to_look(breaker, clock):
    """The others are told how long that may take; where the one says nothing, another is let through."""
    opened(breaker)
    clock.now += 0.5
    assert breaker.enter() is True
    with pytest.raises(Open) as caught:
        breaker.enter()
    assert caught.value.retry_after == Breaker.LEASE
    clock.now += Breaker.LEASE
    assert breaker.enter() is True


def test_it_waits_longer_each_time(breaker, clock):
    opened(breaker)
    for wait in (0.5, 1.0, 2.0, 2.0):
        clock.now += wait - 0.001
        with pytest.raises(Open):
            breaker.enter()
        clock.now += 0.002
        assert breaker.enter() is True
        breaker.failed(looking=True)


def test_what_was_under_way_when_it_opened_changes_nothing(breaker, clock):
    opened(breaker)
    for _ in range(9):
        breaker.failed()
    clock.now += 0.5
    assert breaker.enter() is True


def test_when_somebody_answers_again(breaker, clock):
    """All are let through; a single failure opens it again, for longer, until an answer was a good one."""
    opened(breaker)
    clock.now += 0.5
    assert breaker.enter() is True
    breaker.seen()
    assert breaker.enter() is False
    breaker.failed()
    with pytest.raises(Open) as caught:
        breaker.enter()
    assert caught.value.retry_after == 1.0
    clock.now += 1.0
    assert breaker.enter() is True
    breaker.seen()
    breaker.passed()
    breaker.failed()
    assert breaker.enter() is False and not breaker.open


def test_slow_answers_have_one_request_look(breaker):
    """It is told to look, and the others pass: it may be the questions that are slow."""
    for _ in range(5):
        assert breaker.enter() is False
        breaker.slow()
    assert breaker.enter() is True and breaker.enter() is False
    breaker.seen()
    assert not breaker.open
    for _ in range(5):
        breaker.slow()
    assert breaker.enter() is True
    breaker.failed(looking=True)
    with pytest.raises(Open):
        breaker.enter()
