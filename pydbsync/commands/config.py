"""`python -m pydbsync config check|show`."""

from __future__ import annotations

from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from pydbsync.commands.shared import (
    CONFIG,
    ConfigOption,
    Format,
    FormatOption,
    JsonOption,
    is_json,
    print_json,
    text_console,
)
from pydbsync.config.file import load_settings
from pydbsync.config.origins import show_settings
from pydbsync.config.settings import Settings, describe

config_app = typer.Typer(
    help="Look at the configuration without connecting anywhere.", no_args_is_help=True, rich_markup_mode=None
)
_EXIT_WARNED = 1


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(config_app, name="config")


@config_app.command("check")
def check_command(config: ConfigOption = CONFIG) -> None:
    """Read the configuration and say what it would do. Exit code 0 well, 1 with warnings, 2 wrong."""
    settings, warnings = _load(config)
    for line in describe(settings):
        typer.echo(line)
    for text in warnings:
        typer.echo(f"warning: {text}")
    typer.echo(f"{config} can be used; pydbsync doctor looks at the servers")
    raise typer.Exit(_EXIT_WARNED if warnings else 0)


@config_app.command("show")
def show_command(
    config: ConfigOption = CONFIG, output: FormatOption = Format.TEXT, as_json: JsonOption = False
) -> None:
    """Every setting, secrets masked, and where it comes from: a line, the environment, a file, or the default."""
    settings, _ = _load(config)
    shown = show_settings(config, settings)
    if is_json(output, as_json):
        print_json([each._asdict() for each in shown])
        return
    console = text_console()
    if not console.is_terminal:
        for each in shown:
            typer.echo(f"{each.key} = {each.value}  # {each.origin}")
        return
    table = Table(box=None, pad_edge=False)
    for title in ("key", "value", "from"):
        table.add_column(title, overflow="fold")
    for each in shown:
        table.add_row(*(Text(part) for part in each))
    console.print(table)


def _load(config: Path) -> tuple[Settings, tuple[str, ...]]:
    return load_settings(config, require=("db_info",))
