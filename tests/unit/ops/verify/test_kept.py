"""What is kept of a comparison has a bounded size, whole counts, and what differs first."""

from __future__ import annotations

import msgspec

from pydbsync.model import TableName
from pydbsync.ops.verify.kept import ROWS_OF_A_TABLE, kept_findings
from pydbsync.ops.verify.report import RowDifference, TableReport, VerifyReport


def table(name: str, *, rows: int = 0, value: str = "v") -> TableReport:
    difference = RowDifference("changed", [], [value], ["other"], 1, 1, True)
    found = TableReport(TableName("d", name), [], different=rows, columns=["c"], differences=[difference] * rows)
    found.close()
    return found


def kept(*tables: TableReport) -> VerifyReport:
    report = VerifyReport("s", "t", {}, "now", finished_at="then", tables=list(tables))
    return msgspec.json.decode(kept_findings(report), type=VerifyReport)


def test_what_differs_comes_first_with_some_of_its_rows_and_all_its_count() -> None:
    found = kept(table("equal"), table("differs", rows=ROWS_OF_A_TABLE + 5))
    assert [each.target.table for each in found.tables] == ["differs", "equal"]
    assert (len(found.tables[0].differences), found.tables[0].different) == (ROWS_OF_A_TABLE, ROWS_OF_A_TABLE + 5)


def test_many_tables_with_large_values_stay_small() -> None:
    tables = [table(f"t{number}", rows=30, value="x" * 500) for number in range(400)]
    text = kept_findings(VerifyReport("s", "t", {}, "now", tables=tables))
    assert len(text) < 600_000
    assert len(tables[0].differences) == 30, "the report itself is whole"
