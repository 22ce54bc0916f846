"""`python -m pydbsync heartbeat`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pydbsync.config.file import load_settings
from pydbsync.ops.heartbeat import run_heartbeat
from pydbsync.process.logs import start_logging
from pydbsync.process.worker import stop_on_signals


def register(app: typer.Typer) -> None:
    """Add the command."""

    @app.command()
    def heartbeat(
        config: Annotated[Path, typer.Option("--config", help="Configuration, .py or .yaml.")] = Path("config.py"),
        beats: Annotated[int | None, typer.Option(help="Stop after so many.")] = None,
    ) -> None:
        """Count up one row at the source each second, so that a loss on the way here can be proven."""
        settings, warnings = load_settings(config, require=("source_db_info",))
        log = start_logging(settings, "heartbeat")
        for text in warnings:
            log.warning("%s", text)
        log.info("writing %s at the source, once a second", settings.heartbeat_table)
        run_heartbeat(settings, stop_on_signals(), log, beats=beats)
