"""`python -m pydbsync prune`."""

from __future__ import annotations

from typing import Annotated

import typer

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.tables.retention import Retention
from pydbsync.commands.shared import CONFIG, ConfigOption, open_settings
from pydbsync.errors import ConfigError, OperationError, TransientError


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(prune)


def prune(
    config: ConfigOption = CONFIG,
    days: Annotated[int, typer.Option(min=0, help="Keep so many days [default: history_days].")] = 0,
) -> None:
    """Delete old history from the state schema: what is mended, run or repaired, and recognises no repeat."""
    settings, _ = open_settings(config, "prune", require=("db_info",))
    kept_days = days or settings.history_days
    if not kept_days:
        raise OperationError("say how many days are kept: --days N, or history_days in the configuration")
    try:
        connection = Connection(settings.target.connect_keywords(), key=settings.target.key, read_timeout_s=600)
        try:
            ensure_state_schema(connection, settings.state_schema)
            pruned = Retention(settings.state_schema).prune(connection, kept_days)
        finally:
            connection.close()
    except TransientError as exc:
        raise ConfigError(f"{exc}; run it again for the rest", key=settings.target.key) from exc
    typer.echo(
        f"deleted: {pruned.parked:,} parked changes that were mended, {pruned.schema_changes:,} schema changes,"
        f" {pruned.repairs:,} repaired rows, {pruned.conflicts:,} conflicts; older than {kept_days} days"
    )
