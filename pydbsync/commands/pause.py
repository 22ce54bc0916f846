"""`python -m pydbsync pause` and `resume`."""

from __future__ import annotations

from typing import Annotated

import typer

from pydbsync.apply.connection import Connection
from pydbsync.apply.operator_audit import actor_here
from pydbsync.apply.pause_table import PauseTable
from pydbsync.apply.state import ensure_state_schema
from pydbsync.commands.shared import CONFIG, ConfigOption, open_settings
from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError, OperationError, TransientError
from pydbsync.ops.parked_desk import ParkedDesk
from pydbsync.ops.parked_held import apply_what_waits
from pydbsync.ops.parked_select import Selection

QueuesArgument = Annotated[list[str] | None, typer.Argument(help="Queues, or the names of their streams.")]
EveryOption = Annotated[bool, typer.Option("--every-queue", help="All queues of the configuration.")]
DdlOption = Annotated[
    list[str] | None,
    typer.Option("--ddl", metavar="TABLE", help="The schema changes of this source table, or glob; repeatable."),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""

    @app.command()
    def pause(
        queues: QueuesArgument = None,
        every: EveryOption = False,
        ddl: DdlOption = None,
        reason: Annotated[str, typer.Option(help="Why; it is kept.")] = "",
        config: ConfigOption = CONFIG,
    ) -> None:
        """Have workers wait, or park the schema changes of a table, until `resume`; without a name, list pauses."""
        settings, _ = open_settings(config, "pause", require=("db_info",))
        connection = _connect(settings)
        try:
            table = PauseTable(settings.state_schema)
            if not queues and not every and not ddl:
                found = table.all(connection)
                for each in found:
                    typer.echo(str(each))
                if not found:
                    typer.echo("nothing is paused")
                return
            for stream, tables in _meant(settings, queues, every, ddl):
                added = table.add(connection, stream, tables, actor=actor_here(), reason=reason)
                typer.echo(f"{_name(stream, tables)}: {'paused' if added else 'was paused already'}")
        finally:
            connection.close()

    @app.command()
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
        connection = _connect(settings)
        try:
            table = PauseTable(settings.state_schema)
            for stream, tables in meant:
                removed = table.remove(connection, stream, tables, actor=actor_here())
                typer.echo(f"{_name(stream, tables)}: {'goes on' if removed else 'was not paused'}")
        finally:
            connection.close()
        globs = tuple(tables for _, tables in meant if tables)
        if globs:
            desk = ParkedDesk(settings, log)
            try:
                found = apply_what_waits(desk, Selection(tables=globs))
            finally:
                desk.close()
            typer.echo(f"{found.applied:,} that waited were applied")
            for each in found.refused[:1]:
                typer.echo(f"{each.id}: stays parked: {each.detail}")
            if found.refused:
                typer.echo(
                    f"{len(found.refused):,} stay parked: look at them with `pydbsync parked list`, then `parked retry`"
                )
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


def _name(stream: str, tables: str) -> str:
    return f"schema changes of {tables}" if tables else stream


def _connect(settings: Settings) -> Connection:
    try:
        connection = Connection(settings.target.connect_keywords(), key=settings.target.key, read_timeout_s=60)
        ensure_state_schema(connection, settings.state_schema)
    except TransientError as exc:
        raise ConfigError(str(exc), key=settings.target.key) from exc
    return connection
