"""`python -m pydbsync counters`."""

from __future__ import annotations

import threading
from typing import Annotated

import typer

from pydbsync.commands.shared import CONFIG, ConfigOption, open_settings
from pydbsync.ops.counters import behind_of, raise_counters, unseen_counters
from pydbsync.ops.servers import Servers

_EXIT_BEHIND = 1


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(counters)


def counters(
    config: ConfigOption = CONFIG,
    apply: Annotated[bool, typer.Option(help="Raise them at the target.")] = False,
) -> None:
    """List the tables and sequences of the target that would give out numbers which the source has given out: to be
    raised at the switch. Exit code 1 if there are any left, or could not be compared."""
    settings, _ = open_settings(config, "counters")
    servers = Servers(settings, threading.Event(), writer="counters")
    try:
        unseen = unseen_counters(settings, servers)
        found = behind_of(settings, servers)
        if apply:
            servers.target.call(lambda connection: raise_counters(connection, found))
    finally:
        servers.close()
    for counter in found:
        typer.echo(f"{counter.statement};" if not apply else f"raised: {counter}")
    for name in unseen:
        typer.echo(f"not compared: {name} is not at the target, or its user has no SELECT on it")
    if not found and not unseen:
        typer.echo("no number of the source would be given out again")
    raise typer.Exit(_EXIT_BEHIND if (found and not apply) or unseen else 0)
