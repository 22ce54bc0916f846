"""`python -m pydbsync status`."""

from __future__ import annotations

import sys
import time
from typing import Annotated

import typer
from rich.console import Console
from rich.live import Live

from pydbsync.commands.shared import CONFIG, ConfigOption, Format, FormatOption, JsonOption, is_json, print_json
from pydbsync.config.file import load_settings
from pydbsync.ops.status.facts import Status
from pydbsync.ops.status.judge import judge
from pydbsync.ops.status.read import read_status
from pydbsync.ops.status.show import shown


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


def status(
    config: ConfigOption = CONFIG,
    watch: Annotated[bool, typer.Option("--watch", help="Again and again, until Ctrl-C.")] = False,
    every_s: Annotated[float, typer.Option(min=0.2, help="Seconds between two looks of --watch.")] = 2,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """What workers and tools are doing: exit code 0 healthy, 1 degraded (it says how), 2 down. Reads alone."""
    settings, _ = load_settings(config, require=("db_info",))

    def look() -> Status:
        found = read_status(settings)
        judge(found)
        return found

    found = look()
    if is_json(output, as_json):
        while True:
            print_json(found)
            if not watch:
                raise typer.Exit(found.exit_code())
            time.sleep(every_s)
            found = look()
    console = Console(highlight=False, soft_wrap=not sys.stdout.isatty())
    if not watch:
        console.print(shown(found), end="")
        raise typer.Exit(found.exit_code())
    try:
        # A screen that is too short cuts the end off: what is to be done comes first.
        first = shown(found, todo_first=console.is_terminal)
        with Live(first, console=console, screen=console.is_terminal, auto_refresh=False) as live:
            while True:
                time.sleep(every_s)
                found = look()
                live.update(shown(found, todo_first=console.is_terminal), refresh=True)
    except KeyboardInterrupt:
        raise typer.Exit(found.exit_code()) from None
