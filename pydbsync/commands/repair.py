"""`python -m pydbsync repair`."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from pydbsync.commands.shared import (
    CONFIG,
    CheckpointOption,
    ConfigOption,
    ExcludeOption,
    LagOption,
    RateOption,
    StallOption,
    TablesOption,
    ThreadsOption,
    WaitOption,
    WhereOption,
    YesOption,
    open_settings,
    run_sink_tool,
)
from pydbsync.config.settings import Settings
from pydbsync.errors import OperationError, TransientError
from pydbsync.ops.brake import LoadLimits
from pydbsync.ops.conditions import read_conditions
from pydbsync.ops.repair.plan import read_plan
from pydbsync.ops.repair.planning import Choice
from pydbsync.ops.repair.run import Repair, RepairOptions, RepairOutcome, describe_plan
from pydbsync.ops.told import Told, telling
from pydbsync.ops.verify.report import EXIT_DIFFERENT, EXIT_EQUAL, EXIT_UNKNOWN
from pydbsync.ops.verify.settle import SettleOptions
from pydbsync.process.stop_signals import stop_on_signals

_REFUSED_SHOWN = 20


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(repair)


def repair(
    context: typer.Context,
    plan: Annotated[
        Path | None, typer.Option(help="The plan (SQL): written with --report, else read and applied.")
    ] = None,
    config: ConfigOption = CONFIG,
    report: Annotated[Path | None, typer.Option(help="Make the plan from this report of verify.")] = None,
    yes: YesOption = False,
    undo: Annotated[bool, typer.Option("--undo", help="Put back what the plan changed.")] = False,
    unproven: Annotated[
        bool, typer.Option(help="Repair rows too of which it is not known whether a change is on its way.")
    ] = False,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    where: WhereOption = None,
    explain: Annotated[bool, typer.Option(help="Say what would be done with each table, and do nothing.")] = False,
    transaction_rows: Annotated[int, typer.Option(min=1, help="Rows of one transaction at most.")] = 100,
    rate: RateOption = 0,
    max_threads_running: ThreadsOption = 0,
    max_lag_s: LagOption = 0,
    wait_s: WaitOption = 600,
    stall_s: StallOption = 10,
    stream: CheckpointOption = None,
) -> None:
    """Make rows that verify found to differ equal again, by a plan that can be read, applied and undone.

    Exit code 0 if all rows are as wanted, 1 if some are not or were left out, 2 if it could not be done.
    """
    if report is not None and undo:
        raise OperationError("--undo takes back a plan that was applied; it goes without --report")
    settings, log = open_settings(config, "repair")
    if settings.sink is not None:
        run_sink_tool(
            context, settings, log, "repair", tables=tables or (), exclude=exclude or (),
            stream=stream[0] if stream else None, wait_s=wait_s,
            as_json=False,
        )  # fmt: skip
    if plan is None:
        raise OperationError("--plan is missing: the file that the plan is written to, or read from")
    if report is None and (tables or exclude or where):
        raise OperationError("--tables, --exclude and --where choose what is planned; they go with --report")
    options = RepairOptions(
        settle=SettleOptions(wait_s=wait_s, stall_s=stall_s),
        limits=LoadLimits(threads_running=max_threads_running, lag_s=max_lag_s, rows_per_s=rate),
        group_rows=transaction_rows,
        takes_unproven=unproven,
        choice=Choice(tuple(tables or ()), tuple(exclude or ()), read_conditions(where)),
        streams=tuple(stream or ()),
    )
    with (
        contextlib.nullcontext(Told("repair", "", "rows")) if explain else telling(settings, "repair") as told,
        Repair(settings, options, stop=stop_on_signals(), log=log) as worker,
    ):
        told.says("undoing a plan" if undo else "planning" if report is not None else "applying a plan")
        try:
            if explain:
                code = _explain(worker, report, plan)
            else:
                code = _run(worker, settings, plan, report, yes=yes, undo=undo)
        except TransientError as exc:
            typer.echo(f"repair: {exc}; run it again with the plan to go on", err=True)
            code = EXIT_UNKNOWN
        told.row.exit_code = code
    raise typer.Exit(code)


def _run(worker: Repair, settings: Settings, path: Path, report: Path | None, *, yes: bool, undo: bool) -> int:
    left_out: tuple[str, ...] = ()
    if report is not None:
        made = worker.make_plan(report, path)
        left_out = made.left_out
        for text in left_out:
            typer.echo(f"left out: {text}")
        if not made.changes:
            typer.echo("nothing to repair: the rows are equal by now" if not made.left_out else "no plan was written")
            return EXIT_DIFFERENT if made.left_out else EXIT_EQUAL
        typer.echo(f"{path}: {describe_plan(made)}")
    else:
        typer.echo(f"{path}: {describe_plan(read_plan(path))}")
    question = f"Put back what it changed at {settings.target.address}?" if undo else "Apply it?"
    if not yes and not _confirms(question):
        typer.echo(f"nothing was changed; `--plan {path} --yes` without --report applies it")
        return EXIT_DIFFERENT
    outcome = worker.undo(path) if undo else worker.apply(path)
    _show(outcome, undo=undo)
    return EXIT_DIFFERENT if outcome.refused or outcome.different or left_out else EXIT_EQUAL


def _explain(worker: Repair, report: Path | None, path: Path) -> int:
    plan, lines = worker.explain(report, path)
    for text in plan.left_out:
        typer.echo(f"left out: {text}")
    for line in lines or ["nothing to repair"]:
        typer.echo(line)
    return EXIT_DIFFERENT if plan.changes or plan.left_out else EXIT_EQUAL


def _confirms(question: str) -> bool:
    return sys.stdin.isatty() and typer.confirm(question)


def _show(outcome: RepairOutcome, *, undo: bool) -> None:
    for why in outcome.refused[:_REFUSED_SHOWN]:
        typer.echo(f"refused: {why}")
    if len(outcome.refused) > _REFUSED_SHOWN:
        typer.echo(f"refused: … and {len(outcome.refused) - _REFUSED_SHOWN} more")
    earlier = f" ({outcome.before} by an earlier run)" if outcome.before else ""
    if undo:
        typer.echo(f"{outcome.done} changes undone{earlier}, {len(outcome.refused)} refused")
        return
    typer.echo(
        f"{outcome.done} changes applied{earlier}, {len(outcome.refused)} refused; compared again:"
        f" {outcome.equal} rows equal, {outcome.different} different"
    )
