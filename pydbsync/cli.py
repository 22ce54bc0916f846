"""The command line: `python -m pydbsync COMMAND`, `pydbsync COMMAND`, and the scripts of the original."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from pydbsync import __version__
from pydbsync.errors import PydbsyncError

HOMES: Mapping[str, str] = {
    "run": "run",
    "replay": "run",
    **{name: name for name in ("capture", "copy", "counters", "doctor", "heartbeat", "parked", "repair", "verify")},
}
"""Each command's module in pydbsync.commands, which adds it with `register(app)`."""


def _version(value: bool) -> None:
    if value:
        typer.echo(f"pydbsync {__version__}")
        raise typer.Exit()


def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


def application(word: str = "") -> typer.Typer:
    """With the module of this command alone, since each loads what it works with; else with all of them."""
    app = typer.Typer(
        name="pydbsync",
        help="Replays the row changes that Maxwell publishes to RabbitMQ on another MySQL or MariaDB, exactly once.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich takes `[default: …]` in a help text for markup and leaves it out
        context_settings={"max_content_width": 120},
    )
    app.callback()(_root)
    for module in [HOMES[word]] if word in HOMES else dict.fromkeys(HOMES.values()):
        importlib.import_module(f"pydbsync.commands.{module}").register(app)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; ends the process with its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        application(words[0] if words else "")(args=words, standalone_mode=True)
    except PydbsyncError as exc:
        print(f"pydbsync: {exc}", file=sys.stderr)
        sys.exit(exc.exit_code)


def main_of_script(*options: str) -> None:
    """`python mysql_sync.py [OPTIONS]` is `python -m pydbsync run [OPTIONS]`, with the configuration beside it."""
    main(["run", *options, *sys.argv[1:]])
