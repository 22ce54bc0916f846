"""The last comparisons as the state schema keeps them: each table, with so many of its differences as people read."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.errors import PermanentError
from pydbsync.ops.verify.report import TableReport, VerifyReport
from pydbsync.plan.quoting import quote_name

ROWS_OF_A_TABLE: Final = 20
_TABLES: Final = 1000
_MOST_BYTES: Final = 256 * 2**10
_TEXTS: Final = 20
"""Sentences about one table, such as those about its structure."""
_MISSING: Final = (1049, 1146)


class KeptComparison(NamedTuple):
    """A comparison, and how many seconds ago it was written down."""

    report: VerifyReport
    age_s: float


def kept_findings(report: VerifyReport) -> str:
    """The report with the rows of its tables cut, as JSON of a bounded size; the counts in it are whole."""
    tables = sorted(report.tables, key=lambda table: table.status == "equal")[:_TABLES]
    left = _MOST_BYTES
    cut: list[TableReport] = []
    for table in tables:
        small = msgspec.structs.replace(
            table, progress=None, differences=[], structure=table.structure[:_TEXTS], notes=table.notes[:_TEXTS]
        )
        left -= len(msgspec.json.encode(small))
        if left < 0 and cut:
            break
        for difference in table.differences[:ROWS_OF_A_TABLE]:
            left -= len(msgspec.json.encode(difference))
            if left < 0:
                break
            small.differences.append(difference)
        cut.append(small)
    found = msgspec.structs.replace(report, tables=cut, not_compared=[], counters=report.counters[:_TEXTS])
    return msgspec.json.encode(found).decode()


def read_kept(connection: Connection, schema: str) -> KeptComparison | None:
    """The newest one; None where there is none, or it is of another version. Raises TransientError, PermanentError."""
    try:
        rows = connection.rows(
            "SELECT findings, TIMESTAMPDIFF(SECOND, written_at, CURRENT_TIMESTAMP)"
            f" FROM {quote_name(schema)}.`task_findings` WHERE kind = 'verify' ORDER BY task_id DESC LIMIT 1"
        )
    except PermanentError as exc:
        if exc.code in _MISSING:
            return None
        raise
    if not rows:
        return None
    try:
        return KeptComparison(msgspec.json.decode(rows[0][0], type=VerifyReport), float(rows[0][1]))
    except msgspec.MsgspecError:
        return None
