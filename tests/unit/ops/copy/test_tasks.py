"""Who works on which table, and how large the next chunk is."""

from __future__ import annotations

import threading

from pydbsync.apply.table_start import TableStart
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.ops.chunks import Chunk
from pydbsync.ops.copy.definitions import SourceTable
from pydbsync.ops.copy.options import CopiedTable, CopyObserver, CopyOptions
from pydbsync.ops.copy.tasks import RoundTasks, TableTask

GOING = threading.Event()


def task(name: str = "t", *, size: int = 100_000, rows: int = 1000, key: bool = True) -> TableTask:
    table = SourceTable(TableName("d", name), "innodb", True, rows, size, "", "")
    made = TableTask(
        table, CopiedTable(table.name, (table.name,)), targets=(), start=TableStart(), replace=False, is_shared=False,
        chunk_s=0.5,
    )  # fmt: skip
    made.schema = TableSchema(table.name, (Column("id", "int"),), row_key=("id",) if key else ())
    return made


def test_the_largest_table_comes_first_and_others_help_when_it_is_prepared() -> None:
    large, small = task("large", size=2_000_000), task("small")
    board = RoundTasks([small, large], CopyObserver())
    assert board.next(stop=GOING) == (large, True)
    assert board.next(stop=GOING) == (small, True)
    board.prepared(large)
    assert board.next(stop=GOING) == (large, False)


def test_a_table_is_finished_once_by_the_last_of_its_workers() -> None:
    only, finished = task(), []
    board = RoundTasks([only], CopyObserver())
    board.next(stop=GOING)
    board.prepared(only)
    board.next(stop=GOING)
    only.is_planned_whole = True

    def finish() -> str:
        finished.append(1)
        return ""

    board.released(only, finish)
    assert finished == []
    board.released(only, finish)
    assert finished == [1]
    assert only.report.state == "done"
    assert board.next(stop=GOING) is None
    assert board.unfinished() == []


def test_a_chunk_of_a_worker_that_lost_its_source_is_for_others() -> None:
    only = task()
    board = RoundTasks([only], CopyObserver())
    board.next(stop=GOING)
    board.prepared(only)
    only.is_planned_whole = True
    board.lost(only, Chunk(3), was_new=False)
    assert board.next(stop=GOING) == (only, False)
    assert list(only.returned) == [Chunk(3)]


def test_a_table_without_a_key_whose_worker_lost_its_source_is_left_to_another_round() -> None:
    only = task(key=False)
    board = RoundTasks([only], CopyObserver())
    board.next(stop=GOING)
    board.lost(only, None, was_new=True)
    assert board.next(stop=GOING) is None
    assert board.unfinished() == [only]


def test_a_table_that_was_altered_is_noted_once_with_the_reason() -> None:
    only = task()
    board = RoundTasks([only], CopyObserver())
    board.next(stop=GOING)
    board.prepared(only)
    board.next(stop=GOING)
    board.changed(only, "it was rebuilt", was_new=False)
    board.changed(only, "a column was dropped", was_new=False)
    assert [(each.name.table, why) for each, why in board.again] == [("t", "it was rebuilt")]
    assert only.report.state == "again"


def test_finishing_can_say_that_the_table_must_be_copied_again() -> None:
    only = task()
    board = RoundTasks([only], CopyObserver())
    board.next(stop=GOING)
    board.prepared(only)
    only.is_planned_whole = True
    board.released(only, lambda: "its definition changed")
    assert board.again == [(only, "its definition changed")]


def test_nobody_gets_work_after_a_failure_an_end_or_a_stop() -> None:
    failed, ended, stopped = (RoundTasks([task()], CopyObserver()) for _ in range(3))
    first = ValueError("first")
    failed.failed(first)
    failed.failed(ValueError("second"))
    ended.end()
    stop = threading.Event()
    stop.set()
    assert failed.error is first
    assert [failed.next(stop=GOING), ended.next(stop=GOING), stopped.next(stop=stop)] == [None] * 3


def test_a_chunk_never_has_more_bytes_than_a_packet_takes() -> None:
    wide = task(size=10_000_000, rows=1000)
    assert wide.rows_wanted(limit_bytes=40_000) == 4
    wide.took(4, 80_000, 0.001)
    assert wide.rows_wanted(limit_bytes=40_000) == 2
    wide.was_too_large()
    assert wide.rows_wanted(limit_bytes=40_000) == 1


def test_a_run_is_known_again_by_what_decides_on_its_outcome() -> None:
    options = CopyOptions(tables=("a.*", "b.*"), existing="keep", jobs=9, rows_per_s=5, watermark=True,
                          where=(("c.*", "id > 1"), ("d.t", "TRUE")))  # fmt: skip
    assert options.described() == {
        "tables": "a.* b.*", "exclude": "", "where": "c.*=id > 1; d.t=TRUE", "streams": "", "mode": "watermark",
    }  # fmt: skip
    assert CopyOptions(jobs=1).described() == CopyOptions(jobs=8, rows_per_s=7, chunk_s=9, loading="insert").described()
