"""The commands that replay: `run` follows queues, `replay` reads a file."""

from __future__ import annotations

import importlib
import logging
import sys
from typing import Annotated

import typer

from pydbsync.commands.shared import CONFIG, ConfigOption, SummaryOption
from pydbsync.config.file import load_settings
from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError
from pydbsync.process.run import RunOptions, run
from pydbsync.process.supervisor import Watch


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("run")(run_command)
    app.command("replay")(replay_command)


def run_command(
    config: ConfigOption = CONFIG,
    until_drained: Annotated[bool, typer.Option(help="Stop when every queue is empty and applied.")] = False,
    from_file: Annotated[
        str | None, typer.Option("--from", metavar="FILE|-", help="Replay Maxwell's NDJSON from here instead.")
    ] = None,
    stream: Annotated[str | None, typer.Option(help="Name of the checkpoint for --from.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the SQL, a statement a line; change nothing.")] = False,
    summary_json: SummaryOption = None,
    shards: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Follow the queues of the configuration (as `python mysql_sync.py` does)."""
    require = () if from_file is not None else ("db_info", "rabbitmq_conn_info", "rabbitmq_queue_bind")

    def load() -> tuple[Settings, tuple[str, ...]]:
        found, texts = load_settings(config, require=require if not dry_run else ())
        return (found.sharded() if shards and not found.dbname_rewrite else found), texts

    settings, warnings = load()
    if dry_run:
        if settings.sink is not None:
            raise ConfigError("a dry run prints SQL, and a sink has none", key="sink")
        print_statements = importlib.import_module("pydbsync.process.dry_run").dry_run
        raise typer.Exit(print_statements(settings, from_file=from_file, out=sys.stdout))
    if from_file is not None and settings.sink is None and not settings.target.connect:
        raise ConfigError("is missing: it says how to reach the target", key="db_info")
    options = RunOptions(
        until_drained=until_drained, from_file=from_file, stream=stream, summary_json=summary_json, reload=load,
        watch=_watch if settings.ddl_watch.is_on else None,
    )  # fmt: skip
    raise typer.Exit(run(settings, warnings, options))


def _watch(settings: Settings, log: logging.Logger) -> Watch:
    found: Watch = importlib.import_module("pydbsync.ops.ddl_watch.watch").DdlWatch(settings, log)
    return found


def replay_command(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="Maxwell's NDJSON; - is standard input.")],
    config: ConfigOption = CONFIG,
    stream: Annotated[str | None, typer.Option(help="Name of the checkpoint.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Print the SQL, a statement a line; change nothing.")] = False,
    summary_json: SummaryOption = None,
) -> None:
    """Replay a file of messages through the same pipeline."""
    run_command(
        config=config, from_file=file, stream=stream, dry_run=dry_run, summary_json=summary_json, until_drained=True
    )
