"""The command line: `python -m pydbsync COMMAND`, `pydbsync COMMAND`, and the scripts of the original."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from pydbsync import __version__
from pydbsync.commands.examples import SENTENCES, add_examples, name_values
from pydbsync.errors import ConfigError, PydbsyncError

HOMES: Mapping[str, str] = {
    "run": "run",
    "replay": "run",
    **{name: name for name in ("alerts", "capture", "checkpoint", "config", "conflicts", "copy", "counters")},
    **dict.fromkeys(("rehearse", "cutover", "rollback"), "cutover"),
    "failover": "failover",
    "doctor": "doctor",
    **{name: name for name in ("heartbeat", "init", "parked", "pause", "prune", "repair", "status")},
    "resume": "pause",
    "ui": "ui",
    "verify": "verify",
}
"""Each command's module in pydbsync.commands, which adds it with `register(app)`."""


_OF_FILES = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.ENOENT, errno.EISDIR, errno.ENOTDIR}
)
"""What a disk or a folder refuses, which its owner mends; all else is a fault of ours."""


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
    app = _empty()
    for module in [HOMES[word]] if word in HOMES else dict.fromkeys(HOMES.values()):
        importlib.import_module(f"pydbsync.commands.{module}").register(app)
    add_examples(app)
    name_values(app)
    return app


def overview() -> typer.Typer:
    """All commands by name and sentence, and none of them loaded: for `--help`, `--version` and what is no command."""
    app = _empty()
    for name in HOMES:
        app.command(name, help=SENTENCES.get(name, ""))(_root)
    return app


def _empty() -> typer.Typer:
    app = typer.Typer(
        name="pydbsync",
        help="Replays the row changes that Maxwell publishes to RabbitMQ on another MySQL or MariaDB, exactly once.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich takes `[default: …]` in a help text for markup and leaves it out
        context_settings={"max_content_width": 120},
    )
    app.callback()(_root)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; ends the process with its exit code."""
    _open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        word = _command(words)
        (application(word) if word in HOMES else overview())(args=words, standalone_mode=True)
    except PydbsyncError as exc:
        print(f"pydbsync: {exc}", file=sys.stderr)
        sys.exit(exc.command_exit_code)
    except OSError as exc:
        if exc.errno not in _OF_FILES:
            raise
        print(f"pydbsync: {exc.filename or 'a file'} cannot be written or read: {exc.strerror}", file=sys.stderr)
        sys.exit(ConfigError("").command_exit_code)


def _open_streams() -> None:
    """Where input or output was closed by whoever started us, the next file or connection would be taken for it."""
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # it takes the lowest number that is free
    sys.stdout = sys.stdout or os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", encoding="utf-8", closefd=False)


def _command(words: Sequence[str]) -> str:
    """The command that is to run, or to be completed by a shell; its words are then in the environment."""
    if "_PYDBSYNC_COMPLETE" in os.environ:
        typed = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS") or ""
        words = typed.split()[1:]
    return words[0] if words else ""


def main_of_script(*options: str) -> None:
    """`python mysql_sync.py [OPTIONS]` is `python -m pydbsync run [OPTIONS]`, with the configuration beside it."""
    main(["run", *options, *sys.argv[1:]])
