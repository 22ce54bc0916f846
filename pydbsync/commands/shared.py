"""What the commands have in common: options that mean the same everywhere, and the way settings and log are opened."""

from __future__ import annotations

import importlib
import logging
import sys
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NoReturn

import msgspec
import typer
from rich.console import Console

from pydbsync.config.file import load_settings
from pydbsync.config.settings import Settings
from pydbsync.errors import OperationError
from pydbsync.process.logs import start_logging

BOTH_ENDS = ("db_info", "source_db_info")
"""The settings without which nothing can be compared or copied."""
CONFIG = Path("config.py")


class Format(str, Enum):
    """How the outcome is printed."""

    TEXT = "text"
    JSON = "json"


ConfigOption = Annotated[Path, typer.Option("--config", help="Configuration, .py or .yaml.")]
FormatOption = Annotated[Format, typer.Option("--format", help="How the outcome is printed.")]
JsonOption = Annotated[bool, typer.Option("--json", help="The same as --format json.")]
SummaryOption = Annotated[Path | None, typer.Option("--summary-json", help="Write the figures of the run here.")]
MaxwellOption = Annotated[
    Path | None, typer.Option("--maxwell", metavar="FILE", help="Read Maxwell's own config.properties.")
]
TablesOption = Annotated[
    list[str] | None, typer.Option("--tables", help="Only these source tables, globs such as 'shop.*'; repeatable.")
]
ExcludeOption = Annotated[
    list[str] | None, typer.Option("--exclude", help="Not these source tables, globs such as 'shop.log*'; repeatable.")
]
WhereOption = Annotated[
    list[str] | None,
    typer.Option(
        "--where", metavar="TABLE=SQL", help="Only such rows of a source table (glob such as 'shop.*'); repeatable."
    ),
]
StreamOption = Annotated[str | None, typer.Option("--stream", help="Only this queue.")]
TableOption = Annotated[
    list[str] | None,
    typer.Option("--table", help="Only this table, at the source or the target; globs such as 'shop.*'; repeatable."),
]
CheckpointOption = Annotated[
    list[str] | None,
    typer.Option("--stream", help="The checkpoints of these streams, rather than those of the queues; repeatable."),
]
RateOption = Annotated[float, typer.Option("--rate", min=0, help="Rows a second; 0 is no limit.")]
ThreadsOption = Annotated[
    int, typer.Option("--max-threads-running", min=0, help="Wait while a server runs more statements; 0 is no limit.")
]
LagOption = Annotated[
    float,
    typer.Option("--max-lag-s", min=0, help="Wait while the target is further behind the source; 0 is no limit."),
]
WaitOption = Annotated[float, typer.Option("--wait-s", min=0, help="Longest wait for the target to catch up.")]
StallOption = Annotated[
    float, typer.Option("--stall-s", min=0, help="A queue whose replay has not moved for so long is not waited for.")
]
YesOption = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]
ChunkOption = Annotated[float, typer.Option("--chunk-s", min=0.01, help="Seconds that one query should take.")]


def open_settings(
    config: Path, name: str, *, require: tuple[str, ...] = BOTH_ENDS, console: Console | None = None
) -> tuple[Settings, logging.Logger]:
    """The configuration, and the log of the command `name`, which begins with what is to be warned of.

    `console` is a terminal on which something else is shown too. Raises ConfigError.
    """
    settings, warnings = load_settings(config, require=require)
    log = start_logging(settings, name, console=console if console is not None and console.is_terminal else None)
    for text in warnings:
        log.warning("%s", text)
    return settings, log


def is_json(output: Format, as_json: bool) -> bool:
    """Whether either option asks for JSON."""
    return as_json or output is Format.JSON


def print_json(value: object) -> None:
    """Print an object on standard output, indented."""
    sys.stdout.buffer.write(msgspec.json.format(msgspec.json.encode(value), indent=1) + b"\n")
    sys.stdout.buffer.flush()


def text_console() -> Console:
    """Standard output for tables and sentences; nothing is wrapped where it is no terminal."""
    return Console(highlight=False, soft_wrap=not sys.stdout.isatty())


def confirm(question: str, refused: str) -> None:
    """Ask a person at the terminal; ends the command where the answer is no, or nobody is there to give one.

    `refused` says what was not done. Exit code 1 after a no; raises OperationError without a terminal.
    """
    if not sys.stdin.isatty():
        raise OperationError(f"{refused}: --yes is needed where nobody can be asked")
    if not typer.confirm(question):
        typer.echo(refused)
        raise typer.Exit(1)


_OF_SINKS = frozenset({"config", "tables", "exclude", "stream", "wait_s", "output", "as_json", "yes"})
"""Options that copy, verify and repair take where the target is a sink."""


def run_sink_tool(
    context: typer.Context, settings: Settings, log: logging.Logger, step: str, **options: Any
) -> NoReturn:
    """`step` is copy, verify or repair of a target that is no MySQL; ends the command. Raises OperationError for an
    option that is given and means nothing there."""
    for name in context.params:
        source = context.get_parameter_source(name)
        if name not in _OF_SINKS and source is not None and source.name == "COMMANDLINE":
            raise OperationError(f"--{name.replace('_', '-')} means nothing where the target is a sink")
    tools = importlib.import_module("pydbsync.commands.sinks")  # which loads what a MySQL does not need
    raise typer.Exit(tools.run_tool(settings, log, step, **options))
