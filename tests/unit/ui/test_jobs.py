"""A retry behind the page: one at a time, told of while it goes on, and of its end whatever it is."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

import pytest

from pydbsync.errors import TransientError
from pydbsync.ops.parked.retry import RetryOutcome
from pydbsync.ui.jobs import Jobs


@pytest.fixture
def jobs() -> Jobs:
    return Jobs(logging.getLogger("tests.jobs"))


def test_a_long_one_goes_on_and_no_second_begins(jobs: Jobs) -> None:
    goes_on = threading.Event()

    def work() -> Iterator[RetryOutcome]:
        yield RetryOutcome(1, True, "1 statement(s)")
        assert goes_on.wait(60)
        yield RetryOutcome(2, False, "refused")

    job = jobs.start("retry", work, wait_s=0)
    assert job is not None
    assert jobs.start("another", lambda: (), wait_s=0) is None
    assert not job.is_over
    goes_on.set()
    jobs.close(60)
    assert (job.is_over, job.applied, job.stayed, [each.id for each in job.refused]) == (True, 1, 1, [2])
    assert jobs.start("another", lambda: (), wait_s=60) is jobs.newest


@pytest.mark.parametrize(
    ("fault", "says"),
    [(TransientError("the target is gone"), "the target is gone; what was told"), (ValueError(), "its log")],
)
def test_one_that_fails_says_so_and_keeps_what_was_done(jobs: Jobs, fault: Exception, says: str) -> None:
    def work() -> Iterator[RetryOutcome]:
        yield RetryOutcome(1, True, "1 statement(s)")
        raise fault

    job = jobs.start("retry", work, wait_s=60)
    assert job is not None
    assert (job.is_over, job.applied) == (True, 1)
    assert says in job.error
