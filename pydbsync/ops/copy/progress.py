"""How a running copy is shown: bars on a terminal, a line now and then elsewhere, and a summary at the end."""

from __future__ import annotations

import threading
import time

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from pydbsync.model import TableName
from pydbsync.ops.copy.options import CopiedTable, CopyObserver, CopyReport
from pydbsync.ops.told import Told

_LINE_EVERY_S = 5.0
_SHOWN = 12
"""Tables that have a bar at the same time."""


class BarObserver(CopyObserver):
    """One bar for the whole and one for each table at work. Use as a context."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(bar_width=24), TextColumn("{task.percentage:>3.0f} %"),
            _RowsShown(), _Rate(), TimeRemainingColumn(), console=console, transient=True,
        )  # fmt: skip
        self._lock = threading.Lock()
        self._bars: dict[TableName, TaskID] = {}
        self._whole: TaskID | None = None
        self._report = CopyReport()

    def __enter__(self) -> BarObserver:
        self._progress.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._progress.stop()

    def began(self, report: CopyReport) -> None:
        with self._lock:
            self._report = report
            total = max(1, sum(table.estimated_rows for table in report.tables))
            if self._whole is None:
                self._whole = self._progress.add_task("all tables", total=total)
            self._progress.update(self._whole, total=total, completed=report.rows)

    def phase(self, text: str) -> None:
        with self._lock:
            if self._whole is not None:
                self._progress.update(self._whole, description=text)

    def table(self, table: CopiedTable) -> None:
        with self._lock:
            bar = self._bars.get(table.name)
            if table.state in ("done", "again"):
                if bar is not None:
                    self._progress.remove_task(self._bars.pop(table.name))
            elif bar is None and len(self._bars) < _SHOWN:
                bar = self._bars[table.name] = self._progress.add_task(str(table.name), total=table.estimated_rows)
            if bar is not None and table.name in self._bars:
                # The estimate may be too low by half; a bar that is full before the table is done says nothing.
                total = max(table.estimated_rows, table.rows + table.rows // 10 + 1)
                self._progress.update(bar, completed=table.rows, total=total)
            if self._whole is not None:
                self._progress.update(self._whole, completed=self._report.rows, description="all tables")

    def note(self, text: str) -> None:
        self._progress.console.print(text, highlight=False)


class LineObserver(CopyObserver):
    """Plain lines: what begins, each table that ends, and every few seconds how far it is."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._report = CopyReport()
        self._began_at = self._said_at = time.monotonic()
        self._rows_before: int | None = None
        """Copied by an earlier run."""
        self._lock = threading.Lock()

    def began(self, report: CopyReport) -> None:
        with self._lock:
            self._report = report
            if self._rows_before is None:
                self._rows_before = report.rows

    def phase(self, text: str) -> None:
        if text != "copying" and not text.startswith("making "):
            self._print(text)

    def table(self, table: CopiedTable) -> None:
        with self._lock:
            if table.state == "done":
                rate = table.rows / table.seconds if table.seconds else 0.0
                self._print(f"{table.name}: {table.rows:,} rows in {table.seconds:.1f} s, {rate:,.0f} rows/s")
            elif table.state == "again":
                self._print(f"{table.name}: to be copied again: {table.note}")
            elif time.monotonic() - self._said_at > _LINE_EVERY_S:
                self._said_at = time.monotonic()
                self._print(self._how_far())

    def note(self, text: str) -> None:
        self._print(text)

    def _how_far(self) -> str:
        rows, elapsed_s = self._report.rows, time.monotonic() - self._began_at
        total = sum(max(table.estimated_rows, table.rows) for table in self._report.tables)
        rate = max(0, rows - (self._rows_before or 0)) / elapsed_s if elapsed_s else 0.0
        left = f", about {(total - rows) / rate:.0f} s left" if rate else ""
        return f"{rows:,} of about {total:,} rows, {rate:,.0f} rows/s{left}"

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, soft_wrap=True, markup=False)


class _RowsShown(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.completed:,.0f} rows".replace(",", " "))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f}/s".replace(",", " ") if task.speed else "")


class ToldObserver(CopyObserver):
    """Passes on what it hears, and has it written into the state schema."""

    def __init__(self, inner: CopyObserver, told: Told) -> None:
        self._inner = inner
        self._told = told
        self._report = CopyReport()
        told.look = self._look

    def began(self, report: CopyReport) -> None:
        self._report = report
        self._inner.began(report)

    def phase(self, text: str) -> None:
        self._told.says(text)
        self._inner.phase(text)

    def table(self, table: CopiedTable) -> None:
        self._inner.table(table)

    def note(self, text: str) -> None:
        self._inner.note(text)

    def _look(self) -> None:
        row, report = self._told.row, self._report
        if tables := list(report.tables):
            row.done, row.size_bytes = report.rows, report.size_bytes
            row.total = sum(max(table.estimated_rows, table.rows) for table in tables)
            row.result = f"{sum(table.state == 'done' for table in tables)} of {len(tables)} tables"


def show_report(report: CopyReport, console: Console) -> None:
    """The summary: every table, then where replay goes on and what was left out."""
    table = Table(box=None, pad_edge=False)
    for title in ("table", "target"):
        table.add_column(title, overflow="fold")
    for title in ("rows", "MB", "s", "rows/s"):
        table.add_column(title, justify="right")
    for each in sorted(report.tables, key=lambda each: -each.rows):
        targets = ", ".join(str(name) for name in each.targets if name != each.name) or "same name"
        seconds, rate = (f"{each.seconds:.1f}", f"{each.rows / each.seconds:,.0f}") if each.seconds else ("", "")
        table.add_row(str(each.name), targets, f"{each.rows:,}", f"{each.size_bytes / 1e6:,.1f}", seconds, rate)
    console.print(table)
    for line in summary_lines(report):
        console.print(line, highlight=False, soft_wrap=True, markup=False)


def summary_lines(report: CopyReport) -> list[str]:
    """What follows the list of tables, a line each."""
    now = sum(table.rows for table in report.tables if table.seconds)
    rate = now / report.seconds if report.seconds else 0.0
    by_now = "" if now == report.rows else f"; by this run {now:,} rows"
    lines = [
        f"{report.rows:,} rows, {report.size_bytes / 1e6:,.1f} MB{by_now} in {report.seconds:.1f} s,"
        f" {rate:,.0f} rows/s; {report.rounds} snapshot(s), source locked for {report.lock_s * 1000:.0f} ms"
    ]
    for title, names in (
        ("views", report.views), ("triggers", report.triggers), ("routines", report.routines), ("events", report.events)
    ):  # fmt: skip
        if names:
            lines.append(f"{title}: {', '.join(map(str, names))}")
    lines += [f"note: {text}" for text in report.notes]
    lines += [f"left out: {text}" for text in report.left_out]
    lines += [
        f"not proven: {name} has no transactions at the source, and no key; compare it with `python -m pydbsync verify`"
        for name in report.unproven
    ]
    if report.place:
        gtids = f" ({report.gtids})" if report.gtids else ""
        lines.append(f"replay of {', '.join(report.streams)} goes on at {report.place}{gtids}")
        behind = "at once" if report.end_place == report.place else f"when replay has passed {report.end_place}"
        lines.append(f"the target is consistent {behind}")
    return lines
