"""`python -m pydbsync pause` and `resume`."""

from __future__ import annotations

import contextlib
import logging
from typing import Annotated

import typer

from pydbsync.apply.tables.pause import about_pause
from pydbsync.commands.parked import open_desk
from pydbsync.commands.shared import CONFIG, ConfigOption, open_settings
from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError, OperationError, TransientError
from pydbsync.ops.parked.held import apply_what_waits
from pydbsync.ops.parked.select import Selection
from pydbsync.ops.pause_desk import PauseDesk, SinkPauseDesk

QueuesArgument = Annotated[list[str] | None, typer.Argument(help="Queues, or the names of their streams.")]
EveryOption = Annotated[bool, typer.Option("--every-queue", help="All queues of the configuration.")]
DdlOption = Annotated[
    list[str] | None,
    typer.Option("--ddl", metavar="TABLE", help="The schema changes of this source table, or glob; repeatable."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(pause)
    app.command()(resume)


def pause(
    queues: QueuesArgument = None,
    every: EveryOption = False,
    ddl: DdlOption = None,
    reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
    config: ConfigOption = CONFIG,
) -> None:
    """Have workers wait, or park the schema changes of a table, until `resume`; without a name, list pauses."""
    settings, log = open_settings(config, "pause", require=("db_info",))
    with contextlib.closing(_open(settings, log)) as desk:
        if not queues and not every and not ddl:
            found = desk.all()
            for each in found:
                typer.echo(each)
            if not found:
                typer.echo("nothing is paused")
            return
        for stream, tables in _meant(settings, queues, every, ddl):
            added = desk.add(stream, tables, reason=reason)
            typer.echo(f"{about_pause(stream, tables)}: {'paused' if added else 'was paused already'}")


def resume(
    queues: QueuesArgument = None,
    every: EveryOption = False,
    ddl: DdlOption = None,
    config: ConfigOption = CONFIG,
) -> None:
    """End what `pause` began; of a table's schema changes, apply what waits. Exit code 1 if some of it stays."""
    settings, log = open_settings(config, "resume", require=("db_info",))
    meant = _meant(settings, queues, every, ddl)
    if not meant:
        raise OperationError("name a queue, --every-queue or --ddl TABLE; `pydbsync pause` lists what is paused")
    with contextlib.closing(_open(settings, log)) as desk:
        for stream, tables in meant:
            removed = desk.remove(stream, tables)
            typer.echo(f"{about_pause(stream, tables)}: {'goes on' if removed else 'was not paused'}")
    globs = tuple(tables for _, tables in meant if tables)
    if globs:
        with contextlib.closing(open_desk(settings, log)) as parked:
            waited = apply_what_waits(parked, Selection(tables=globs))
        typer.echo(f"{waited.applied:,} that waited were applied")
        for each in waited.refused[:1]:
            typer.echo(f"{each.id}: stays parked: {each.detail}")
        if refused := len(waited.refused):
            typer.echo(f"{refused:,} stay parked: look at them with `pydbsync parked list`, then `parked retry`")
            raise typer.Exit(1)


def _meant(settings: Settings, queues: list[str] | None, every: bool, ddl: list[str] | None) -> list[tuple[str, str]]:
    """(stream, glob of tables) of all that is named: one of the two is empty. Raises OperationError."""
    streams = {each.queue: each.stream for each in settings.queues}
    meant: list[tuple[str, str]] = []
    for name in [*streams] if every else queues or []:
        if name not in streams and name not in streams.values():
            known = ", ".join(streams) or "none"
            raise OperationError(f"the configuration has no queue {name!r}; it has {known}")
        meant.append((streams.get(name, name), ""))
    for glob in ddl or []:
        if "." not in glob:
            raise OperationError(f"--ddl: expected database.table, got {glob!r}; for a whole database '{glob}.*'")
        meant.append(("", glob))
    return meant


def _open(settings: Settings, log: logging.Logger) -> PauseDesk | SinkPauseDesk:
    try:
        return PauseDesk(settings) if settings.sink is None else SinkPauseDesk(settings, log)
    except TransientError as exc:
        raise ConfigError(str(exc), key=settings.target.key if settings.sink is None else "sink") from exc
