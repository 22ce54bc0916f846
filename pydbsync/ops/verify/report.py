"""What was compared and what differed: for people, for machines, for repair, and for a run that goes on later."""

from __future__ import annotations

from pathlib import Path
from typing import Final, Literal, TypeAlias

import msgspec

from pydbsync.errors import OperationError
from pydbsync.files import write_result
from pydbsync.killpoints import kill_point
from pydbsync.model import TableName
from pydbsync.ops.chunks import Chunk
from pydbsync.ops.verify.matching import TableSides
from pydbsync.ops.verify.pairs import TablePair
from pydbsync.ops.verify.settle import RowVerdict
from pydbsync.ops.verify.sides import FoundRow, Request
from pydbsync.plan.canonical import UNSPEAKABLE, ColumnForm, ComparedColumn

FORMAT: Final = 1
EXIT_EQUAL, EXIT_DIFFERENT, EXIT_UNKNOWN = 0, 1, 2
_SHOWN = 500
"""Characters of a value that a report keeps; repair reads the rows themselves again."""

TableStatus: TypeAlias = Literal["equal", "different", "unknown", "skipped", "unfinished"]


class RowDifference(msgspec.Struct):
    """One row that is not the same. Values stand in the order of the table's `columns`; text as text, bytes as 0x…."""

    kind: Literal["changed", "missing", "extra", "collision"]
    """`missing` at the target, `extra` at the target; a `collision` is a key that several merged tables have."""
    requests: list[Request]
    """By what the row is found again: printed keys, or digests where the table has no key."""
    source: list[str | None] | None
    target: list[str | None] | None
    source_count: int
    target_count: int
    is_proven: bool


class TableProgress(msgspec.Struct):
    """How far a table was compared when the report was written."""

    after: Chunk | None = None
    candidates: list[Request] = []
    shape: str = ""
    """A digest of columns and keys, by which `after` is a place."""


class TableReport(msgspec.Struct):
    """One target table and the source tables it holds."""

    target: TableName
    sources: list[TableName]
    status: TableStatus = "unfinished"
    key: list[str] = []
    columns: list[str] = []
    structure: list[str] = []
    notes: list[str] = []
    error: str = ""
    source_rows: int = 0
    target_rows: int = 0
    chunks: int = 0
    chunks_differing: int = 0
    different: int = 0
    unproven: int = 0
    """Differences of which it is not known whether the change is only still on its way."""
    in_flux: int = 0
    """Rows that changed whenever they were looked at."""
    unreadable: int = 0
    """Rows that a server could not give as they are."""
    parked: int = 0
    """Changes of the table that wait in the target's table `parked`."""
    unknown_extra: int = 0
    """Rows that only the target has, where other sources write to it too."""
    is_cut: bool = False
    """Whether the comparison ended at the limit of differences."""
    differences: list[RowDifference] = []
    elapsed_s: float = 0.0
    progress: TableProgress | None = None

    def close(self) -> None:
        """Set the status; nothing more is compared."""
        self.progress = None
        if self.structure or self.different:
            self.status = "different"
        elif self.error or self.in_flux or self.unreadable:
            self.status = "unknown"
        else:
            self.status = "equal"


class VerifyReport(msgspec.Struct):
    """A whole run."""

    source: str
    target: str
    options: dict[str, str]
    started_at: str
    """UTC, as ISO 8601."""
    finished_at: str = ""
    format: int = FORMAT
    rounds: int = 0
    place_note: str = ""
    """Why differences could not be proven, where they could not."""
    not_compared: list[str] = []
    """Views, triggers, events and routines of the source, which nobody compares."""
    tables: list[TableReport] = []
    counters: list[str] = []
    """What to run at the target before the switch, so that no number of the source is given out again."""

    def exit_code(self) -> int:
        """0 equal, 1 different, 2 where something could not be compared and nothing differed."""
        found = {table.status for table in self.tables}
        if "different" in found:
            return EXIT_DIFFERENT
        is_unknown = found & {"unknown", "unfinished"} or found == {"skipped"} or not self.finished_at
        return EXIT_UNKNOWN if is_unknown else EXIT_EQUAL

    def table(self, target: TableName) -> TableReport | None:
        """The entry of a target table."""
        return next((table for table in self.tables if table.target == target), None)


def new_table_report(pair: TablePair) -> TableReport:
    """An entry for a table that nothing is known of yet."""
    return TableReport(target=pair.target, sources=[part.name for part in pair.sources])


def row_difference(verdict: RowVerdict, sides: TableSides) -> RowDifference:
    """A verdict as the report keeps it."""
    source, target = verdict.source, verdict.target
    source_count, target_count = (found.count if found else 0 for found in (source, target))
    kind: Literal["changed", "missing", "extra", "collision"] = "changed"
    if sides.has_key and max(source_count, target_count) > 1:
        kind = "collision"
    elif target_count < source_count:
        kind = "missing"
    elif source_count < target_count:
        kind = "extra"
    requests = sorted({request for found in (source, target) if found for request in found.requests})
    return RowDifference(
        kind=kind,
        requests=requests,
        source=_show_row(source, sides.columns),
        target=_show_row(target, sides.columns),
        source_count=source_count,
        target_count=target_count,
        is_proven=verdict.is_proven,
    )


def _show_row(found: FoundRow | None, columns: tuple[ComparedColumn, ...]) -> list[str | None] | None:
    if found is None:
        return None
    return [show_value(value, column.form) for value, column in zip(found.values, columns, strict=True)]


def show_value(value: bytes | None, form: ColumnForm) -> str | None:
    """A canonical value for people."""
    if value is None:
        return None
    if form is ColumnForm.TEXT and value.startswith(UNSPEAKABLE):
        return f"0x{value[1 : _SHOWN + 1].decode('ascii')}"
    shown = f"0x{value[:_SHOWN].hex().upper()}" if form is ColumnForm.BINARY else value.decode("utf-8", "replace")
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}… ({len(value)} bytes)"


def write_report(report: VerifyReport, path: Path) -> None:
    """Replace the file in one step, so that a run that is killed leaves a whole one."""
    kill_point("before-report")
    write_result(path, [msgspec.json.format(msgspec.json.encode(report), indent=1), b"\n"], replaces=True)
    kill_point("after-report")


def read_report(path: Path) -> VerifyReport:
    """Raises OperationError if it cannot be read."""
    try:
        report = msgspec.json.decode(path.read_bytes(), type=VerifyReport)
    except OSError as exc:
        raise OperationError(f"the report {path} cannot be read: {exc.strerror}") from exc
    except msgspec.MsgspecError as exc:
        raise OperationError(f"{path} is no report of verify: {exc}") from exc
    if report.format != FORMAT:
        raise OperationError(
            f"{path} is a report of another version of pydbsync (format {report.format}); verify again"
        )
    return report
