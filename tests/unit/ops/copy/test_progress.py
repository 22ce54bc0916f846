"""What a running copy shows, and the summary at its end."""

from __future__ import annotations

import io
import re

from rich.console import Console

from pydbsync.model import TableName
from pydbsync.ops.copy.options import CopiedTable, CopyReport
from pydbsync.ops.copy.progress import BarObserver, LineObserver, show_report, summary_lines


def console(*, terminal: bool = False, width: int = 100) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, color_system=None)


def printed(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def table(name: str = "t", *, rows: int = 0, estimated: int = 0, state: str = "copying", note: str = "") -> CopiedTable:
    report = CopiedTable(TableName("shop", name), (TableName("shop", name),), estimated_rows=estimated, rows=rows)
    report.state, report.note, report.seconds = state, note, 2.0  # type: ignore[assignment]
    return report


def test_lines_name_each_table_that_ends_and_why_another_is_copied_again() -> None:
    shown = console()
    observer = LineObserver(shown)
    observer.began(CopyReport(tables=[table(rows=10)]))
    observer.phase("reading the structure")
    observer.phase("making shop.t")
    observer.phase("copying")
    observer.table(table(rows=10))
    observer.table(table(rows=10, state="done"))
    observer.table(table("u", state="again", note="a column was dropped or renamed"))
    observer.note("[local_infile] is off")
    assert printed(shown).splitlines() == [
        "reading the structure",
        "shop.t: 10 rows in 2.0 s, 5 rows/s",
        "shop.u: to be copied again: a column was dropped or renamed",
        "[local_infile] is off",
    ]


def test_long_lines_are_not_broken_where_nobody_reads_them_on_a_terminal() -> None:
    shown = console(width=40)
    LineObserver(shown).note("x " * 100)
    assert len(printed(shown).splitlines()) == 1


def test_each_table_at_work_has_a_bar_with_its_rows() -> None:
    shown = console(terminal=True)
    report = CopyReport(tables=[table(rows=1234, estimated=5000), table("u", estimated=100)])
    with BarObserver(shown) as observer:
        observer.began(report)
        observer.table(report.tables[0])
        observer.note("something to know")
    out = printed(shown)
    assert "shop.t" in out
    assert "1 234 rows" in out
    assert re.search(r"shop\.t .* 25 %", out)
    assert "all tables" in out
    assert "something to know" in out
    assert "shop.u" not in out


def test_a_bar_is_not_full_before_its_table_is_done() -> None:
    shown = console(terminal=True)
    each = table(rows=900, estimated=100)
    with BarObserver(shown) as observer:
        observer.began(CopyReport(tables=[each]))
        observer.table(each)
    assert re.search(r"shop\.t .* 91 %", printed(shown))


def test_a_bar_goes_when_its_table_is_done() -> None:
    shown = console(terminal=True)
    each = table(rows=900, estimated=100)
    with BarObserver(shown) as observer:
        observer.began(CopyReport(tables=[each]))
        observer.table(each)
        each.state = "done"
        observer.table(each)
        before = len(printed(shown))
    assert "all tables" in printed(shown)[before:]
    assert "shop.t" not in printed(shown)[before:]


def test_the_summary_says_where_replay_goes_on_and_what_was_left_out() -> None:
    report = CopyReport(
        tables=[table(rows=30), table("u", rows=10)], views=[TableName("shop", "v")],
        triggers=[TableName("shop", "tr")], left_out=["1 event of shop"], notes=["a note"],
        unproven=[TableName("shop", "m")], streams=("a", "b"), place="bin.000001:4", end_place="bin.000001:9",
        gtids="x:1-5", rounds=2, lock_s=0.25, seconds=4.0,
    )  # fmt: skip
    assert summary_lines(report) == [
        "40 rows, 0.0 MB in 4.0 s, 10 rows/s; 2 snapshot(s), source locked for 250 ms",
        "views: shop.v",
        "triggers: shop.tr",
        "note: a note",
        "left out: 1 event of shop",
        "not proven: shop.m has no transactions at the source, and no key; compare it with `python -m pydbsync verify`",
        "replay of a, b goes on at bin.000001:4 (x:1-5)",
        "the target is consistent when replay has passed bin.000001:9",
    ]


def test_the_summary_of_nothing_divides_by_nothing() -> None:
    report = CopyReport(streams=("a",), place="marker x", end_place="marker x")
    assert summary_lines(report)[0].startswith("0 rows, 0.0 MB in 0.0 s, 0 rows/s")
    assert summary_lines(report)[-1] == "the target is consistent at once"


def test_the_list_of_tables_has_the_largest_first_and_the_names_at_the_target() -> None:
    shown = console()
    moved = table("small", rows=1)
    moved.targets = (TableName("store", "small"),)
    show_report(CopyReport(tables=[moved, table("large", rows=50)]), shown)
    lines = printed(shown).splitlines()
    assert [line.split()[0] for line in lines[1:3]] == ["shop.large", "shop.small"]
    assert "same name" in lines[1]
    assert "store.small" in lines[2]
