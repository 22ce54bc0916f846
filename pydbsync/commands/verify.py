"""`python -m pydbsync verify`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from pydbsync.commands.shared import (
    CONFIG,
    CheckpointOption,
    ChunkOption,
    ConfigOption,
    ExcludeOption,
    Format,
    FormatOption,
    JsonOption,
    LagOption,
    StallOption,
    TablesOption,
    ThreadsOption,
    WaitOption,
    WhereOption,
    is_json,
    open_settings,
    print_json,
    run_sink_tool,
    text_console,
)
from pydbsync.commands.times import read_time
from pydbsync.errors import OperationError, TransientError
from pydbsync.ops.brake import LoadLimits
from pydbsync.ops.conditions import read_conditions
from pydbsync.ops.told import Told, telling
from pydbsync.ops.verify.compare import CompareOptions, Since
from pydbsync.ops.verify.kept import kept_findings
from pydbsync.ops.verify.report import EXIT_UNKNOWN, TableReport, VerifyReport
from pydbsync.ops.verify.run import Verification, VerifyOptions
from pydbsync.ops.verify.settle import SettleOptions
from pydbsync.ops.verify.show import show_report, title
from pydbsync.ops.words import counted
from pydbsync.process.stop_signals import stop_on_signals

_CONTINUOUS_RATE = 2000.0


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(verify)


def verify(
    context: typer.Context,
    config: ConfigOption = CONFIG,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    where: WhereOption = None,
    ignore_columns: Annotated[
        list[str] | None,
        typer.Option(metavar="COLUMN", help="Not these columns, 'note' or 'shop.orders.note'; repeatable."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Tables that are compared at the same time.")] = 1,
    explain: Annotated[bool, typer.Option(help="Say what would be done with each table, and do nothing.")] = False,
    data_only: Annotated[bool, typer.Option(help="Rows alone, not the structure.")] = False,
    sample: Annotated[float, typer.Option(min=0, max=100, help="Share of the chunks to compare, percent.")] = 100,
    since: Annotated[
        str | None,
        typer.Option(metavar="COLUMN=TIME", help="Only rows whose column is at or after it, in UTC or with an offset."),
    ] = None,
    shared_target: Annotated[
        bool, typer.Option(help="Other sources write to the target's tables too: its own rows are no difference.")
    ] = False,
    continuous: Annotated[bool, typer.Option(help="Round after round until stopped, at a low rate.")] = False,
    rate: Annotated[
        float | None,
        typer.Option(min=0, help=f"Rows a second; 0 is no limit (continuous: {_CONTINUOUS_RATE:g})."),
    ] = None,
    limit: Annotated[int, typer.Option(min=0, help="Rows that are shown of each table.")] = 20,
    max_differences: Annotated[int, typer.Option(min=1, help="Leave a table when it has so many.")] = 10_000,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
    report: Annotated[
        Path | None, typer.Option(help="Write a report (JSON) here; an unfinished one is gone on with.")
    ] = None,
    restart: Annotated[bool, typer.Option(help="Begin anew, whatever the report holds.")] = False,
    max_threads_running: ThreadsOption = 0,
    max_lag_s: LagOption = 0,
    chunk_s: ChunkOption = 0.5,
    wait_s: WaitOption = 600,
    stall_s: StallOption = 10,
    stream: CheckpointOption = None,
) -> None:
    """Compare source and target, structure and rows: exit code 0 equal, 1 different, 2 could not be compared."""
    settings, log = open_settings(config, "verify")
    if settings.sink is not None:
        run_sink_tool(
            context, settings, log, "verify", tables=tables or (), exclude=exclude or (),
            stream=stream[0] if stream else None, wait_s=wait_s,
            as_json=is_json(output, as_json),
        )  # fmt: skip
    rows_per_s = rate if rate is not None else (_CONTINUOUS_RATE if continuous else 0.0)
    options = VerifyOptions(
        tables=tuple(tables or ()),
        exclude=tuple(exclude or ()),
        ignored=tuple(ignore_columns or ()),
        jobs=jobs,
        compare=CompareOptions(
            chunk_s=chunk_s,
            sample_percent=sample,
            since=read_since(since),
            where=read_conditions(where),
            max_differences=max_differences,
        ),
        settle=SettleOptions(wait_s=wait_s, stall_s=stall_s),
        limits=LoadLimits(threads_running=max_threads_running, lag_s=max_lag_s, rows_per_s=rows_per_s),
        data_only=data_only,
        is_shared=shared_target,
        streams=tuple(stream or ()),
        report=report,
        restart=restart,
        continuous=continuous,
    )
    stop = stop_on_signals()
    if explain:
        for line in Verification(settings, options, stop=stop, log=log).explain():
            typer.echo(line)
        raise typer.Exit(0)
    # A cut-over that builds on the last comparison asks for one of all rows.
    name = "part" if tables or exclude or ignore_columns or where or since or sample < 100 else ""
    with telling(settings, "verify", name=name) as told, LiveTables(Console(stderr=True)) as live:
        progress = ToldTables(told, live.update)
        verification = Verification(settings, options, stop=stop, log=log, on_progress=progress.update)
        told.look = lambda: progress.look(verification.report)
        try:
            found = verification.run()
        except TransientError as exc:
            typer.echo(f"verify: {exc}; run it again to go on", err=True)
            raise typer.Exit(EXIT_UNKNOWN) from exc
        progress.ended(found)
    show(found, limit, as_json=is_json(output, as_json))
    raise typer.Exit(found.exit_code())


def read_since(text: str | None) -> Since | None:
    """`updated_at=2030-01-31 12:00:00`. Raises OperationError."""
    if text is None:
        return None
    column, equals, value = text.partition("=")
    if not (column and equals and value):
        raise OperationError(f"--since: expected COLUMN=TIME such as 'updated_at=2030-01-31 12:00:00', got {text!r}")
    time = read_time(value, option="--since")
    return Since(column, time.isoformat(" "))


def show(report: VerifyReport, limit: int, *, as_json: bool) -> None:
    """Print the report on standard output."""
    if as_json:
        print_json(report)
    else:
        show_report(report, text_console(), limit=limit)


class ToldTables:
    """Passes progress on, and has it written into the state schema."""

    def __init__(self, told: Told, then: Callable[[TableReport], None]) -> None:
        self._told = told
        self._then = then
        self._rows: dict[str, tuple[int, int]] = {}
        self._rounds = 0

    def update(self, table: TableReport) -> None:
        """How far the table is."""
        self._rows[str(table.target)] = (table.source_rows, table.different)
        row = self._told.row
        row.done = sum(rows for rows, _ in self._rows.values())
        different = sum(count for _, count in self._rows.values())
        self._told.says(f"{table.target}, {different:,} rows differ so far")
        self._then(table)

    def look(self, report: VerifyReport) -> None:
        """Keep what a round has found when it is over."""
        if report.rounds > self._rounds:
            self._rounds = report.rounds
            self._told.findings = kept_findings(report)

    def ended(self, report: VerifyReport) -> None:
        """What came out."""
        self._told.findings = kept_findings(report)
        counts = Counter(table.status for table in report.tables)
        self._told.row.exit_code = report.exit_code()
        self._told.row.result = ", ".join(f"{counted(number, 'table')} {status}" for status, number in counts.items())


class LiveTables:
    """A line for the table that is compared, where the terminal can show one."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(pulse_style="cyan"),
            TextColumn("{task.fields[rows]:,} rows, {task.fields[different]:,} differ"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> LiveTables:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def update(self, table: TableReport) -> None:
        """Show how far the table is."""
        fields = {"rows": table.source_rows, "different": table.different}
        if self._task is None:
            self._task = self._progress.add_task(title(table), total=None, **fields)  # type: ignore[arg-type]
        self._progress.update(self._task, description=title(table), **fields)  # type: ignore[arg-type]
