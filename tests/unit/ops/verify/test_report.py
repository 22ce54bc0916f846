"""The report: its exit code, its file, and what people see of it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, Literal

import pytest
from rich.console import Console

from pydbsync.errors import OperationError
from pydbsync.model import TableName
from pydbsync.ops.chunks import Chunk
from pydbsync.ops.verify.report import (
    RowDifference,
    TableProgress,
    TableReport,
    VerifyReport,
    read_report,
    show_value,
    write_report,
)
from pydbsync.ops.verify.show import show_report
from pydbsync.plan.canonical import ColumnForm

NAME = TableName("shop", "t")


def table(**fields: Any) -> TableReport:
    entry = TableReport(target=NAME, sources=[NAME], key=["id"], columns=["id", "v"], **fields)
    entry.close()
    return entry


def report(*tables: TableReport, finished: bool = True) -> VerifyReport:
    return VerifyReport(
        source="s", target="t", options={}, started_at="then", finished_at="now" if finished else "", tables=[*tables]
    )


EQUAL, DIFFERENT, UNKNOWN = table(), table(different=1), table(error="gone")
SKIPPED = TableReport(target=NAME, sources=[NAME], status="skipped")


@pytest.mark.parametrize(
    ("entry", "status"),
    [
        (table(), "equal"),
        (table(different=1), "different"),
        (table(different=1, error="gone"), "different"),
        (table(structure=["column a is missing at the target"]), "different"),
        (table(error="gone"), "unknown"),
        (table(in_flux=1), "unknown"),
        (table(unknown_extra=5), "equal"),
    ],
)
def test_a_table_has_one_status(entry: TableReport, status: str) -> None:
    assert entry.status == status


@pytest.mark.parametrize(
    ("entries", "finished", "code"),
    [
        ([EQUAL, SKIPPED], True, 0),
        ([EQUAL, DIFFERENT], True, 1),
        ([UNKNOWN, DIFFERENT], True, 1),
        ([UNKNOWN, EQUAL], True, 2),
        ([EQUAL], False, 2),
    ],
)
def test_the_exit_code_tells_equal_different_and_unknown(entries: list[TableReport], finished: bool, code: int) -> None:
    assert report(*entries, finished=finished).exit_code() == code


def changed(source: list[str | None] | None, target: list[str | None] | None, **fields: Any) -> RowDifference:
    kind: Literal["missing", "extra", "changed"] = (
        "missing" if target is None else "extra" if source is None else "changed"
    )
    counts = {"source_count": int(source is not None), "target_count": int(target is not None), "is_proven": True}
    return RowDifference(kind=kind, requests=[("1",)], source=source, target=target, **{**counts, **fields})


def text_of(found: VerifyReport, limit: int = 20) -> str:
    out = io.StringIO()
    show_report(found, Console(file=out, width=100, highlight=False), limit=limit)
    return "\n".join(line.rstrip() for line in out.getvalue().splitlines())


def test_rows_that_differ_are_shown_side_by_side() -> None:
    entry = table(
        different=3,
        chunks=1,
        source_rows=1234,
        differences=[changed(["1", "a"], ["1", None]), changed(["2", "[b]"], None), changed(None, ["3", ""])],
    )
    assert text_of(report(entry)) == (
        "different shop.t  1,234 rows, 3 differ\n"
        "    row differs: id = 1\n"
        "       column  source  target\n"
        "       v       a       NULL\n"
        "    row is missing at the target: id = 2\n"
        "       column  source  target\n"
        "       id      2\n"
        "       v       [b]\n"
        "    row is at the target only: id = 3\n"
        "       column  source  target\n"
        "       id              3\n"
        "       v\n"
        "1 table: 1 different; 1,234 rows compared, 3 differ"
    )


def test_only_so_many_rows_are_shown() -> None:
    entry = table(different=9, differences=[changed(["1", "a"], None), changed(["2", "b"], None)])
    shown = text_of(report(entry), limit=1)
    assert "id = 2" not in shown
    assert "… and 8 more" in shown


def test_values_of_rows_are_no_markup() -> None:
    entry = table(different=1, differences=[changed(["1", "[red]x[/red]"], ["1", "[/]"])])
    assert "[red]x[/red]  [/]" in text_of(report(entry))


def test_why_nothing_is_proven_is_said() -> None:
    found = report(table(different=1, unproven=1, differences=[changed(["1", "a"], None, is_proven=False)]))
    found.place_note = "no checkpoint"
    shown = text_of(found)
    assert "missing at the target, unproven: id = 1" in shown
    assert shown.endswith("Differences are unproven: no checkpoint")


@pytest.mark.parametrize(
    ("value", "form", "shown"),
    [
        (None, ColumnForm.TEXT, None),
        ("é".encode(), ColumnForm.TEXT, "é"),
        (b"\x00\xff", ColumnForm.BINARY, "0x00FF"),
        (b"x" * 600, ColumnForm.TEXT, "x" * 500 + "… (600 bytes)"),
        (b"\x01" * 600, ColumnForm.BINARY, "0x" + "01" * 249 + "… (600 bytes)"),
    ],
)
def test_values_are_shown_for_people(value: bytes | None, form: ColumnForm, shown: str | None) -> None:
    assert show_value(value, form) == shown


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    entry = TableReport(target=TableName("a.b", "c.d"), sources=[NAME])
    entry.progress = TableProgress(after=Chunk(3, ("1",), ("C3A9", "2")), candidates=[("7",)])
    found = report(entry, DIFFERENT, finished=False)
    write_report(found, tmp_path / "report.json")
    assert read_report(tmp_path / "report.json") == found
    assert list(tmp_path.iterdir()) == [tmp_path / "report.json"]


@pytest.mark.parametrize(
    ("content", "reason"), [("{", "is no report"), ('{"source": 1}', "is no report"), (None, "cannot be read")]
)
def test_what_is_no_report_is_refused(tmp_path: Path, content: str | None, reason: str) -> None:
    path = tmp_path / "report.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(OperationError, match=reason):
        read_report(path)
