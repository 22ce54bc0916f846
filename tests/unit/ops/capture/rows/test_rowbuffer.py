"""A transaction's rows until its end."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import pytest

from pydbsync.model import Column, TableName
from pydbsync.ops.capture.binlog.tablemap import TableMap
from pydbsync.ops.capture.binlog.wires import LONG, Wire
from pydbsync.ops.capture.history.schema import TableDef
from pydbsync.ops.capture.rows.encode import RowsEvent, TableEncoder
from pydbsync.ops.capture.rows.rowbuffer import RowBuffer
from tests.unit.ops.capture.rows.test_encode import CHARSETS


def encoder(table: str) -> TableEncoder:
    name = TableName("d", table)
    definition = TableDef(name, "utf8mb4", (Column("id", "int"),))
    return TableEncoder(TableMap(name, (Wire(LONG),)), definition, CHARSETS)


A, B = encoder("a"), encoder("b")


def event(number: int) -> RowsEvent:
    kinds: tuple[Literal["insert", "update", "delete"], ...] = ("insert", "update", "delete")
    kind = kinds[number % 3]
    return RowsEvent(kind, 2**31 + number, 2**32 - 1, f"bin.000001:{number}", bytes([number]) * 50, 10, number == 4)


@pytest.mark.parametrize("limit_bytes", [0, 1000, 10**9])
def test_events_come_back_in_order_from_memory_and_from_disk(limit_bytes: int, tmp_path: Path) -> None:
    buffer = RowBuffer(limit_bytes, str(tmp_path))
    put = [((A, B)[number % 2], event(number)) for number in range(9)]
    for table, rows in put:
        buffer.append(table, rows)
    assert buffer.is_spilled == (limit_bytes < 10**9)
    assert list(buffer.events()) == [(*pair, number == 8) for number, pair in enumerate(put)]
    assert len(buffer) == 9


@pytest.mark.parametrize("limit_bytes", [0, 120, 10**9])
def test_what_was_taken_back_is_left_out_but_for_tables_that_cannot(limit_bytes: int) -> None:
    buffer = RowBuffer(limit_bytes)
    for number in range(4):
        buffer.append((A, B)[number % 2], event(number))
    buffer.cut(1)
    buffer.append(B, event(4))

    def left(survives: TableEncoder | None) -> list[tuple[str, bool]]:
        return [(rows.position, is_last) for _, rows, is_last in buffer.events(lambda table: table is survives)]

    assert left(None) == [("bin.000001:0", False), ("bin.000001:4", True)]
    assert left(A) == [("bin.000001:0", False), ("bin.000001:2", False), ("bin.000001:4", True)]
    buffer.cut(0)
    assert left(A) == [("bin.000001:0", False), ("bin.000001:2", True)]
    assert left(None) == []
    buffer.clear()
    buffer.append(B, event(1))
    assert left(None) == [("bin.000001:1", True)]


def test_a_cleared_buffer_is_empty_and_leaves_nothing_on_disk(tmp_path: Path) -> None:
    buffer = RowBuffer(0, str(tmp_path))
    buffer.append(A, event(1))
    buffer.clear()
    assert (len(buffer), list(buffer.events()), buffer.is_spilled) == (0, [], False)
    assert list(tmp_path.iterdir()) == []
    buffer.append(B, event(2))
    assert [table for table, _, _ in buffer.events()] == [B]
