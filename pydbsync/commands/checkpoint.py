"""`python -m pydbsync checkpoint show|set`."""

from __future__ import annotations

import logging
from typing import Annotated

import msgspec
import typer

from pydbsync.commands.shared import (
    CONFIG,
    ConfigOption,
    Format,
    FormatOption,
    JsonOption,
    YesOption,
    confirm,
    is_json,
    open_settings,
    print_json,
)
from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError, TransientError
from pydbsync.ops.checkpoint_desk import CheckpointDesk
from pydbsync.ops.sinks.checkpoint import SinkCheckpointDesk

checkpoint_app = typer.Typer(
    help="Look how far each stream is applied, and move that place.", no_args_is_help=True, rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(checkpoint_app, name="checkpoint")


@checkpoint_app.command("show")
def show_command(
    streams: Annotated[list[str] | None, typer.Argument(help="Queues or streams; all without any.")] = None,
    config: ConfigOption = CONFIG,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """How far each stream is applied, and who owns it."""
    settings, log = open_settings(config, "checkpoint", require=("db_info",))
    desk = _desk(settings, log)
    try:
        found = desk.shown([_stream(settings, each) for each in streams or ()])
    finally:
        desk.close()
    if is_json(output, as_json):
        print_json([msgspec.structs.asdict(each) for each in found])
        return
    for each in found:
        typer.echo(f"{each.stream}: {each.position or 'no place yet'}")
        if each.gtids:
            typer.echo(f"  GTIDs    {each.gtids}")
        typer.echo(f"  newest   {each.newest or 'nothing yet'} UTC, applied {each.applied:,}, parked {each.parked:,}")
        written = f", written {each.updated} UTC" if each.updated else ""
        typer.echo(f"  owner    {each.owner if each.is_owned else 'nobody'}{written}")
    if not found:
        typer.echo("there is no checkpoint yet")


@checkpoint_app.command("set")
def set_command(
    stream: Annotated[str, typer.Argument(help="The queue or stream.")],
    to: Annotated[str, typer.Option("--to", metavar="PLACE", help="All up to and with this place counts as applied.")],
    gtids: Annotated[
        str | None, typer.Option("--gtids", metavar="SET", help="The GTIDs that count as applied with it.")
    ] = None,
    config: ConfigOption = CONFIG,
    yes: YesOption = False,
) -> None:
    """Move a stream's place, after saying what is skipped or repeated by it. Not while a worker owns the stream."""
    settings, log = open_settings(config, "checkpoint", require=("db_info",))
    desk = _desk(settings, log)
    try:
        move = desk.plan(_stream(settings, stream), to, gtids=gtids)
        for text in move.consequences:
            typer.echo(text)
        if not yes:
            confirm(f"Move {move.stream} to {move.wanted.position()}?", "nothing was changed")
        desk.apply(move)
    finally:
        desk.close()
    typer.echo(f"{move.stream} stands at {move.wanted.position()}")


def _desk(settings: Settings, log: logging.Logger) -> CheckpointDesk:
    if settings.sink is None:
        return CheckpointDesk(settings)
    try:
        return SinkCheckpointDesk(settings, log)
    except TransientError as exc:
        raise ConfigError(str(exc), key="sink") from exc


def _stream(settings: Settings, name: str) -> str:
    return next((each.stream for each in settings.queues if each.queue == name), name)
