from __future__ import annotations

import logging
import threading

import pytest

from pydbsync.apply.retrying import Retrying
from pydbsync.backoff import Backoff
from pydbsync.errors import Stopped, TransientError

LOST, DEADLOCK, READ_ONLY, LEFTOVER = 2013, 1213, 1290, 1050


def made(*, told_at: int = 1, stop: threading.Event | None = None) -> Retrying:
    return Retrying(
        Backoff(0, 0),
        stop=stop or threading.Event(),
        log=logging.getLogger("test.retrying"),
        says="trying again",
        stopped="stopped meanwhile",
        told_at=told_at,
    )


@pytest.mark.parametrize(("code", "dropped"), [(LOST, 1), (READ_ONLY, 1), (LEFTOVER, 1), (DEADLOCK, 0)])
def test_a_connection_is_dropped_where_another_one_may_do(code: int, dropped: int) -> None:
    drops: list[None] = []
    made().failed(TransientError("no", code=code), lambda: drops.append(None))
    assert len(drops) == dropped


@pytest.mark.parametrize("told_at", [1, 2])
def test_it_is_said_once_with_the_words_of_the_server(told_at: int, caplog: pytest.LogCaptureFixture) -> None:
    retrying = made(told_at=told_at)
    for number in range(1, 5):
        retrying.failed(TransientError(f"failure {number}", code=DEADLOCK), lambda: None)
    assert caplog.messages == [f"trying again: failure {told_at}"]


def test_a_limit_ends_it_also_where_other_failures_with_a_higher_limit_came_before() -> None:
    retrying, exc = made(), TransientError("slow", code=3024)
    for _ in range(3):
        retrying.failed(TransientError("away", code=LOST), lambda: None, limit=20)
    with pytest.raises(TransientError) as raised:
        retrying.failed(exc, lambda: None, limit=3)
    assert raised.value is exc


def test_a_stop_ends_the_waiting() -> None:
    stop = threading.Event()
    stop.set()
    with pytest.raises(Stopped, match="stopped meanwhile"):
        made(stop=stop).failed(TransientError("away", code=LOST), lambda: None)
