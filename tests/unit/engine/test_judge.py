"""What the judge says of changes that come back within the newest second."""

from __future__ import annotations

import msgspec
import pytest

from pydbsync.engine.judge import Judge, Verdict
from pydbsync.model import Delivery, RowChange
from pydbsync.places import Checkpoint
from pydbsync.work import StreamState


def change(number: int, file: int = 9) -> RowChange:
    return RowChange(
        kind="insert", database="d", table="t", ts=100, data=msgspec.Raw(b'{"a":1}'), commit=True, xid=number,
        position=f"b.{file:06d}:{number}00", server_id=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("comes", "verdict"),
    [
        ((2, True), Verdict.LATE),
        ((2, False), Verdict.NEW),
        ((3, True), Verdict.DUPLICATE),
        ((3, False), Verdict.DUPLICATE),
    ],
)
def test_what_another_consumer_gave_back_is_late_and_what_is_sent_anew_is_not(
    comes: tuple[int, bool], verdict: Verdict
) -> None:
    judge = Judge(StreamState(Checkpoint()), copy=None, heartbeat_table="h.h", carries_everything=False)
    for tag, number in enumerate((1, 3, 4), start=1):
        assert judge.judge_row(Delivery(b"", tag, False), change(number)).verdict is Verdict.NEW
    number, redelivered = comes
    if number == 3:
        judge = Judge(
            judge.state(StreamState(Checkpoint())), copy=None, heartbeat_table="h.h", carries_everything=False
        )
    assert judge.judge_row(Delivery(b"", 4, redelivered), change(number)).verdict is verdict
