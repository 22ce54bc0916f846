"""The size of batches follows the time that the target takes for them."""

from __future__ import annotations

import pytest

from pydbsync.engine.pace import LEAST_ROWS, BatchPace


def test_batches_that_the_target_takes_quickly_are_as_large_as_they_may_be() -> None:
    pace = BatchPace(most_rows=5_000, time_s=1.0)
    pace.took(5_000, 0.2)
    assert pace.rows == 5_000


def test_after_a_slow_batch_the_next_one_has_the_rows_that_fit_the_time() -> None:
    pace = BatchPace(most_rows=5_000, time_s=1.0)
    pace.took(5_000, 10.0)
    assert pace.rows == 500


def test_a_small_batch_that_was_slow_does_not_make_the_limit_larger() -> None:
    pace = BatchPace(most_rows=5_000, time_s=1.0)
    pace.took(5_000, 50.0)
    pace.took(100, 1.1)
    assert pace.rows == 90


def test_an_hour_of_waiting_leaves_batches_that_are_worth_a_commit_and_grow_again() -> None:
    pace = BatchPace(most_rows=5_000, time_s=1.0)
    pace.took(5_000, 3_600.0)
    sizes = [pace.rows]
    while pace.rows < 5_000:
        pace.took(pace.rows, 0.1)
        sizes.append(pace.rows)
    assert sizes == [LEAST_ROWS, 100, 200, 400, 800, 1_600, 3_200, 5_000]


def test_a_limit_below_the_least_is_kept() -> None:
    pace = BatchPace(most_rows=1, time_s=1.0)
    pace.took(1, 60.0)
    assert pace.rows == 1


def test_a_rate_bounds_the_batches_and_has_the_next_one_wait() -> None:
    pace = BatchPace(most_rows=5_000, time_s=0.5, rows_per_s=100)
    assert pace.rows == 50
    assert pace.wait_s(10.0) == 0
    pace.began(50, 10.0)
    assert pace.wait_s(10.1) == pytest.approx(0.4)
    pace.began(1_000, 10.5)  # a transaction that is not cut
    assert pace.wait_s(11.5) == pytest.approx(9.0)
    assert pace.wait_s(100.0) == 0


def test_without_a_rate_nothing_waits() -> None:
    pace = BatchPace(most_rows=5_000, time_s=1.0)
    pace.began(5_000, 10.0)
    assert pace.wait_s(10.0) == 0
