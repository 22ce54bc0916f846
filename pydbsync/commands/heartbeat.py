"""`python -m pydbsync heartbeat`."""

from __future__ import annotations

from typing import Annotated

import typer

from pydbsync.commands.shared import CONFIG, ConfigOption, open_settings
from pydbsync.ops.heartbeat import run_heartbeat
from pydbsync.ops.told import telling
from pydbsync.process.stop_signals import stop_on_signals


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(heartbeat)


def heartbeat(
    config: ConfigOption = CONFIG,
    beats: Annotated[int | None, typer.Option(help="Stop after so many.")] = None,
) -> None:
    """Count up one row at the source each second, so that a loss on the way here can be proven."""
    settings, log = open_settings(config, "heartbeat", require=("source_db_info",))
    log.info("writing %s at the source, once a second", settings.heartbeat_table)
    with telling(settings, "heartbeat", unit="beats") as told:
        run_heartbeat(settings, stop_on_signals(), log, beats=beats, told=told)
