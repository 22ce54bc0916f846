"""`python -m pydbsync counters`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Annotated

import typer

from pydbsync.config.file import load_settings
from pydbsync.ops.counters import behind_of, raise_counters
from pydbsync.ops.servers import Servers
from pydbsync.process.logs import start_logging

_EXIT_BEHIND = 1


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def counters(
        config: Annotated[Path, typer.Option("--config", help="Configuration, .py or .yaml.")] = Path("config.py"),
        apply: Annotated[bool, typer.Option(help="Raise them at the target.")] = False,
    ) -> None:
        """List the tables and sequences of the target that would give out numbers which the source has given out: to be
        raised at the switch. Exit code 1 if there are any left."""
        settings, warnings = load_settings(config, require=("db_info", "source_db_info"))
        log = start_logging(settings, "counters")
        for text in warnings:
            log.warning("%s", text)
        servers = Servers(settings, threading.Event())
        try:
            found = behind_of(settings, servers)
            if apply:
                servers.target.call(lambda connection: raise_counters(connection, found))
        finally:
            servers.close()
        for counter in found:
            typer.echo(f"{counter.statement};" if not apply else f"raised: {counter}")
        if not found:
            typer.echo("no number of the source would be given out again")
        raise typer.Exit(_EXIT_BEHIND if found and not apply else 0)
