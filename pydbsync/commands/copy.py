"""`python -m pydbsync copy`."""

from __future__ import annotations

import contextlib
from enum import Enum
from typing import Annotated

import typer
from rich.console import Console

from pydbsync.commands.shared import (
    CONFIG,
    CheckpointOption,
    ChunkOption,
    ConfigOption,
    ExcludeOption,
    Format,
    FormatOption,
    JsonOption,
    RateOption,
    TablesOption,
    ThreadsOption,
    WhereOption,
    is_json,
    open_settings,
    print_json,
    run_sink_tool,
    text_console,
)
from pydbsync.errors import OperationError, TransientError
from pydbsync.ops.conditions import read_conditions
from pydbsync.ops.copy.options import CopyObserver, CopyOptions
from pydbsync.ops.copy.preview import Preview
from pydbsync.ops.copy.progress import BarObserver, LineObserver, ToldObserver, show_report
from pydbsync.ops.copy.run import preview_copy, run_copy
from pydbsync.ops.told import telling
from pydbsync.process.stop_signals import stop_on_signals


class ExistingChoice(str, Enum):
    """What to do with tables that the target has already."""

    STOP = "stop"
    DROP = "drop"
    KEEP = "keep"


class LoadingChoice(str, Enum):
    """How rows are written."""

    AUTO = "auto"
    LOAD = "load"
    INSERT = "insert"


class LockingChoice(str, Enum):
    """What is locked for the moment of the snapshot."""

    AUTO = "auto"
    GLOBAL = "global"
    TABLES = "tables"


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(copy)


def copy(
    context: typer.Context,
    config: ConfigOption = CONFIG,
    tables: TablesOption = None,
    exclude: ExcludeOption = None,
    where: WhereOption = None,
    structure_only: Annotated[bool, typer.Option(help="Make tables and views; no rows, no checkpoint.")] = False,
    dry_run: Annotated[bool, typer.Option(help="Tell what would be made and dropped; change nothing.")] = False,
    stream: CheckpointOption = None,
    jobs: Annotated[int, typer.Option(min=1, max=64, help="Connections to either server at the same time.")] = 4,
    existing: Annotated[
        ExistingChoice,
        typer.Option(help="Tables that the target has: stop, drop them, or keep and fill empty ones."),
    ] = ExistingChoice.STOP,
    views: Annotated[bool, typer.Option(help="Make the views.")] = True,
    triggers: Annotated[bool, typer.Option(help="Make the triggers, for the day of the cut-over.")] = False,
    routines: Annotated[bool, typer.Option(help="Make procedures and functions.")] = False,
    events: Annotated[bool, typer.Option(help="Make the events, disabled.")] = False,
    watermark: Annotated[
        bool, typer.Option(help="Without the binlog's place: marks in the stream where the copy begins and ends.")
    ] = False,
    rate: RateOption = 0,
    max_threads_running: ThreadsOption = 0,
    replica: Annotated[
        list[str] | None, typer.Option(metavar="HOST[:PORT]", help="A replica of the target; repeatable.")
    ] = None,
    max_replica_lag_s: Annotated[
        float, typer.Option(min=0, help="Wait while a replica is further behind the target; 0 is no limit.")
    ] = 0,
    chunk_s: ChunkOption = 0.5,
    late_keys_mb: Annotated[
        int, typer.Option(min=0, help="Tables of so many MB get keys that are not unique behind the rows; 0: none.")
    ] = 128,
    load: Annotated[LoadingChoice, typer.Option(help="LOAD DATA LOCAL, or INSERT; auto takes what is allowed.")] = (
        LoadingChoice.AUTO
    ),
    lock: Annotated[
        LockingChoice, typer.Option(help="What is locked for the moment of the snapshot.")
    ] = LockingChoice.AUTO,
    lock_wait_s: Annotated[int, typer.Option(min=1, help="Longest wait for the lock, per attempt.")] = 3,
    restart: Annotated[bool, typer.Option(help="Give up a copy that was begun, and begin anew.")] = False,
    overwrite_checkpoint: Annotated[
        bool, typer.Option(help="Copy although replay has gone on already; it goes on from the copy then.")
    ] = False,
    trust_stream: Annotated[
        bool, typer.Option(help="Take it on trust that the stream begins at or before the copy's place.")
    ] = False,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Copy tables from source to target, and have replay go on exactly there. Run again, it goes on."""
    if max_replica_lag_s and not replica:
        raise OperationError("--max-replica-lag-s: name the replicas of the target that are meant with --replica")
    console = Console(stderr=True)
    settings, log = open_settings(config, "copy", console=console)
    if settings.sink is not None:
        run_sink_tool(
            context, settings, log, "copy", tables=tables or (), exclude=exclude or (),
            stream=stream[0] if stream else None,
            as_json=is_json(output, as_json),
        )  # fmt: skip
    options = CopyOptions(
        tables=tuple(tables or ()),
        streams=tuple(stream or ()),
        jobs=jobs,
        existing=existing.value,
        views=views,
        triggers=triggers,
        routines=routines,
        events=events,
        exclude=tuple(exclude or ()),
        where=read_conditions(where),
        structure_only=structure_only,
        late_keys_bytes=late_keys_mb << 20,
        loading=load.value,
        locking=lock.value,
        lock_wait_s=lock_wait_s,
        chunk_s=chunk_s,
        watermark=watermark,
        rows_per_s=rate,
        threads_running=max_threads_running,
        replicas=tuple(replica or ()),
        lag_s=max_replica_lag_s,
        restart=restart,
        overwrite_checkpoint=overwrite_checkpoint,
        trust_stream=trust_stream,
    )
    stop = stop_on_signals()
    observer: CopyObserver
    with contextlib.ExitStack() as stack:
        observer = stack.enter_context(BarObserver(console)) if console.is_terminal else LineObserver(console)
        if dry_run:
            show_preview(preview_copy(settings, options, log=log))
            return
        told = stack.enter_context(telling(settings, "copy", name=", ".join(options.streams)))
        observer = ToldObserver(observer, told)
        try:
            report = run_copy(settings, options, stop=stop, observer=observer, log=log)
        except TransientError as exc:
            raise OperationError(f"{exc}; no copy was begun") from exc
    if is_json(output, as_json):
        print_json(report)
    else:
        show_report(report, text_console())


def show_preview(found: Preview) -> None:
    """Print what a copy would do on standard output. Exit code 2 if it would be refused."""
    for title, names in (
        ("make the database", found.databases),
        ("make", found.made),
        ("drop what is there, and make", found.dropped),
        ("fill", found.filled),
        ("make the", found.programs),
    ):
        for name in names:
            typer.echo(f"{title} {name}")
    for text in found.left_out:
        typer.echo(f"left out: {text}")
    for text in found.notes:
        typer.echo(f"note: {text}")
    for text in found.problems:
        typer.echo(f"refused: {text}")
    raise typer.Exit(2 if found.problems else 0)
