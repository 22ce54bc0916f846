"""Back-off: limits that double, full jitter below them, and a wait that an event ends."""

from __future__ import annotations

import threading
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydbsync.backoff import Backoff, delays


def highest() -> float:
    return 1.0


class Recorder:
    """An event that remembers how long it was asked to wait."""

    def __init__(self, *, is_set: bool) -> None:
        self.is_set = is_set
        self.asked_s: list[float] = []

    def wait(self, timeout: float) -> bool:
        self.asked_s.append(timeout)
        return self.is_set


def test_limits_double_up_to_the_highest() -> None:
    assert list(islice(delays(0.5, 30, chance=highest), 9)) == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]


def test_limits_stay_finite_for_ever() -> None:
    waits = delays(0.5, 30, chance=highest)
    assert next(islice(waits, 5000, None)) == 30


def test_a_first_limit_above_the_highest_is_cut() -> None:
    assert next(delays(5, 2, chance=highest)) == 2


@given(chances=st.lists(st.floats(0, 1), min_size=1, max_size=50))
def test_each_wait_is_the_chance_of_its_limit(chances: list[float]) -> None:
    drawn = iter(chances)
    waits = list(islice(delays(1, 8, chance=lambda: next(drawn)), len(chances)))
    limits = [min(2.0**n, 8) for n in range(len(chances))]
    assert waits == [limit * chance for limit, chance in zip(limits, chances, strict=True)]


def test_two_workers_do_not_wait_alike() -> None:
    assert list(islice(delays(1, 1), 20)) != list(islice(delays(1, 1), 20))


def test_success_starts_over() -> None:
    backoff = Backoff(1, 8, chance=highest)
    assert [backoff.next_s() for _ in range(3)] == [1, 2, 4]
    assert backoff.attempts == 3
    backoff.reset()
    assert (backoff.attempts, backoff.next_s()) == (0, 1)


@pytest.mark.parametrize("is_set", [True, False])
def test_waiting_hands_the_delay_to_the_event_and_tells_whether_it_was_set(is_set: bool) -> None:
    stop = Recorder(is_set=is_set)
    backoff = Backoff(1, 8, chance=highest)
    assert [backoff.wait(stop), backoff.wait(stop)] == [is_set, is_set]
    assert stop.asked_s == [1, 2]


def test_an_event_that_is_set_ends_the_wait() -> None:
    stop = threading.Event()
    stop.set()
    assert Backoff(3600, 3600, chance=highest).wait(stop) is True
