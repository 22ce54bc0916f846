"""The step that compares both servers: all rows, or those that have changed since all were equal."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydbsync.ops.cutover.work import CutoverStep, CutoverWork, StepFailed
from pydbsync.ops.told import telling
from pydbsync.ops.verify.compare import CompareOptions, Since
from pydbsync.ops.verify.report import VerifyReport
from pydbsync.ops.verify.run import Verification, VerifyOptions
from pydbsync.ops.verify.settle import SettleOptions
from pydbsync.ops.words import listed
from pydbsync.plan.quoting import quote_name

_MARGIN_S = 60
_ZONES_S = 36 * 3600
"""A DATETIME is meant in whatever zone the application has, and a DATE is the beginning of its day."""
_LIVE_PASSES = 3


class Verify(CutoverStep):
    """Both servers hold the same rows."""

    name = "verify"
    says = "compare both servers"
    limit = "verify_s"

    def do(self, work: CutoverWork) -> str:
        if work.plan.verify == "none":
            return "nothing was compared, as the plan says"
        return compare(work, is_live=work.is_two_way)


def compare(work: CutoverWork, *, is_live: bool = False) -> str:
    """Compare as the plan says. Raises StepFailed where something differs, or could not be compared.

    `is_live`: while the application writes; rows that changed whenever they were looked at say nothing then, and are
    not looked at for long.
    """
    way = work.way
    since = since_last(work) if work.plan.since_column else None
    settle = SettleOptions(passes=_LIVE_PASSES) if is_live else SettleOptions()
    options = VerifyOptions(jobs=work.plan.verify_jobs, compare=CompareOptions(since=since), settle=settle)
    with telling(way.settings, "verify", name=work.command) as told:
        report = Verification(way.settings, options, stop=work.stop, log=work.log).run()
        told.row.exit_code = report.exit_code()
    if work.stop.is_set():
        work.wait(0)
    only_in_flux = is_live and all(
        table.status == "equal" or (table.in_flux and not (table.different or table.structure or table.error))
        for table in report.tables
    )
    if report.exit_code() != 0 and not only_in_flux:
        raise StepFailed(f"both servers are not equal: {different(report)}; `pydbsync verify` shows the rows")
    rows = sum(table.source_rows for table in report.tables)
    changed = f" that have changed since {since.value}" if since else ""
    return f"{len(report.tables)} tables with {rows:,} rows{changed} are equal"


def since_last(work: CutoverWork) -> Since:
    """From when on rows are compared: the beginning of the last comparison of all rows that was equal."""
    source, target = work.servers().source, work.servers().target
    ((found, is_to_come),) = target.rows(
        "SELECT CAST(CONVERT_TZ(MAX(started_at), @@session.time_zone, '+00:00') AS CHAR),"
        " MAX(started_at) > CURRENT_TIMESTAMP(6) FROM"
        f" {quote_name(work.way.settings.state_schema)}.task WHERE kind = 'verify' AND exit_code = 0 AND name = ''"
    )
    if found is None:
        raise StepFailed(
            "no comparison of all rows has been equal yet: `pydbsync verify`, or `verify: full` in the plan"
        )
    if is_to_come:
        raise StepFailed(
            f"the last comparison of all rows began at {found} UTC, which is still to come by the clock of"
            f" {work.way.target}: it was set back, and rows could be left out; `pydbsync verify` once more, or"
            " `verify: full` in the plan"
        )
    # The target's clock says when that was, and the source's when a row has changed.
    now = "SELECT UNIX_TIMESTAMP(NOW(6))"
    margin_s = _MARGIN_S + max(0.0, float(target.value(now)) - float(source.value(now)))
    if source.value(
        "SELECT 1 FROM information_schema.columns WHERE column_name = %s AND data_type <> 'timestamp' LIMIT 1",
        (work.plan.since_column,),
    ):
        margin_s += _ZONES_S
    begun = datetime.fromisoformat(str(found)) - timedelta(seconds=margin_s)
    return Since(work.plan.since_column, begun.replace(microsecond=0).isoformat(" "))


def different(report: VerifyReport) -> str:
    """Which tables, and how."""
    return listed(
        f"{table.target} ({table.error or '; '.join(table.structure) or f'{table.different:,} rows differ'})"
        for table in report.tables
        if table.status != "equal"
    )
