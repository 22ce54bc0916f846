"""What lies behind an applied place, and what takes a change back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from pydbsync.decode.maxwell import decode_message
from pydbsync.model import COMMIT_ROW, RowChange, SchemaChange
from pydbsync.ops.cutover.dangling import Last, inverse


def change(kind: str = "insert", *, at: str = "binlog.000003:500", **more: Any) -> RowChange:
    body = {"database": "shop", "table": "orders", "type": kind, "ts": 1, "data": {"id": 1, "n": "a"}, "position": at}
    found = decode_message(json.dumps({**body, **more}).encode())
    assert isinstance(found, RowChange)
    return found


def last(file: int, offset: int, xoffset: int) -> Last:
    return Last("sync", "binlog", file, offset, xoffset, 1, "", "", "")


@pytest.mark.parametrize(
    ("place", "found", "is_behind"),
    [
        ((3, 500, COMMIT_ROW), change(commit=True), False),
        ((3, 500, 1), change(xoffset=1), False),
        ((3, 500, 1), change(xoffset=2), True),
        ((3, 500, 1), change(commit=True), True),
        ((3, 499, COMMIT_ROW), change(xoffset=0), True),
        ((2, 900, COMMIT_ROW), change(xoffset=0), True),
        ((4, 4, 0), change(commit=True), False),
    ],
)
def test_a_change_is_behind_the_place_of_its_queue_or_not(
    place: tuple[int, int, int], found: RowChange, is_behind: bool
) -> None:
    assert last(*place).is_before(found) is is_behind


def test_a_schema_change_at_the_place_itself_has_run() -> None:
    ddl = SchemaChange("table-alter", "shop", "orders", 1, "ALTER …", position="binlog.000003:500")
    assert last(3, 500, 0).is_before(ddl) is False
    assert last(3, 499, COMMIT_ROW).is_before(ddl) is True


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (change("insert"), {"type": "delete", "data": {"id": 1, "n": "a"}}),
        (change("delete"), {"type": "insert", "data": {"id": 1, "n": "a"}}),
        (
            change("update", old={"n": None}),
            {"type": "update", "data": {"id": 1, "n": None}, "old": {"n": "a"}},
        ),
        (
            change("update", old={"id": 7}),
            {"type": "update", "data": {"id": 7, "n": "a"}, "old": {"id": 1}},
        ),
    ],
)
def test_the_inverse_puts_back_what_was_there(found: RowChange, wanted: dict[str, Any]) -> None:
    message = json.loads(inverse(found, "shop_new", number=7))
    place = {"position": "failover-undo.000001:7", "xid": 7, "commit": True}
    assert message == {"database": "shop_new", "table": "orders", "ts": 1, **place, **wanted}


def test_an_exact_number_keeps_its_digits_on_the_way_back() -> None:
    head = b'{"database":"d","table":"t","type":"update","ts":1,'
    found = decode_message(head + b'"data":{"id":1,"n":1.10},"old":{"n":1234567890123456789.5}}')
    assert isinstance(found, RowChange)
    assert b'"n":1234567890123456789.5' in inverse(found, "d", number=1)
