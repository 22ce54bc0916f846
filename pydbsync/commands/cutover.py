"""`python -m pydbsync cutover` and `rollback`."""

from __future__ import annotations

import logging
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from pydbsync.commands.shared import Format, FormatOption, JsonOption, YesOption, is_json, print_json
from pydbsync.errors import OperationError
from pydbsync.ops.cutover.journal import Command
from pydbsync.ops.cutover.report import verdict, write_report
from pydbsync.ops.cutover.run import CutoverCall, CutoverOutcome
from pydbsync.ops.cutover.ways import Ways, load_ways
from pydbsync.ops.cutover.work import Undone
from pydbsync.process.logs import start_logging
from pydbsync.process.stop_signals import stop_on_signals

PlanArgument = Annotated[Path, typer.Argument(metavar="PLAN", help="The plan, .yaml or .py.")]
UndoOption = Annotated[
    bool, typer.Option("--undo", help="Take back what a call has left that was killed before the switch.")
]
_EXIT_ATTENTION = 1
_EXIT_UNDONE = 3


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("rehearse")(rehearse_command)
    app.command()(cutover)
    app.command()(rollback)


def rehearse_command(
    plan: PlanArgument,
    back: Annotated[bool, typer.Option("--rollback", help="Rehearse the way back.")] = False,
    copy: Annotated[bool, typer.Option("--copy", help="Run `pydbsync copy` first, and replay behind it.")] = False,
    drains: Annotated[int, typer.Option(min=1, help="How often it is measured how long the queues take.")] = 5,
    verifies: Annotated[int, typer.Option(min=1, help="How often both servers are compared.")] = 2,
    reports: Annotated[Path, typer.Option(metavar="FOLDER", help="Where the reports go.")] = Path(),
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Everything of a cutover but the switch: how long writing would stop, and what would stop it, as reports
    in Markdown and HTML. Exit code 1 where something stands against it."""
    ways = load_ways(plan)
    command: Command = "rollback" if back else "cutover"
    wants_json = is_json(output, as_json)
    if copy:
        copied = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "pydbsync", "copy", "--config", str(ways.of(command)[0].config)], check=False,
            stdout=sys.stderr if wants_json else None,
        )  # fmt: skip
        if copied.returncode:
            raise typer.Exit(copied.returncode)
    call = call_of(ways, command, ask=lambda question: None, to_stderr=wants_json)
    found = call.rehearse(drains=drains, verifies=verifies, is_copied=copy)
    files = write_report(found, reports, f"{ways.plan.name}-rehearsal")
    if wants_json:
        print_json(found)
    else:
        for text in (*found.stops, *found.notes):
            typer.echo(f"- {text}")
        typer.echo(verdict(found))
        typer.echo(f"reports: {', '.join(str(file) for file in files[-2:])}")
    raise typer.Exit(_EXIT_ATTENTION if found.stops else 0)


def cutover(
    plan: PlanArgument,
    yes: YesOption = False,
    undo: UndoOption = False,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Send the applications from the source of a plan to its target, step by step, each with its undo. Exit code 0
    done, 1 done with something to see to, 3 nothing has changed; after a kill the same call goes on."""
    _go(plan, "cutover", yes=yes, undo=undo, as_json=is_json(output, as_json))


def rollback(
    plan: PlanArgument,
    yes: YesOption = False,
    undo: UndoOption = False,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Go back to the server that a cutover has left, with all that was written meanwhile: the same steps the other
    way."""
    _go(plan, "rollback", yes=yes, undo=undo, as_json=is_json(output, as_json))


def _go(path: Path, command: Command, *, yes: bool, undo: bool, as_json: bool) -> None:
    ways = load_ways(path)
    ask = asking(command, yes=yes)
    call = call_of(ways, command, ask=ask, to_stderr=as_json)
    with ended(command, undo=undo):
        found = call.run(undo=undo)
    if as_json:
        print_json(found)
    else:
        show(found)
    raise typer.Exit(_EXIT_ATTENTION if found.problems else 0)


def asking(command: str, *, yes: bool) -> Callable[[str], None]:
    """Asks a person; a no in the midst of the steps is a failure like others, and they are undone."""

    def ask(question: str) -> None:
        if yes:
            return
        if not sys.stdin.isatty():
            raise OperationError(f"{command}: --yes is needed where nobody can be asked")
        try:
            is_wanted = typer.confirm(question)
        except typer.Abort:
            is_wanted = False
        if not is_wanted:
            raise OperationError(f"{command}: the answer was no")

    return ask


@contextmanager
def ended(command: str, *, undo: bool) -> Iterator[None]:
    """Exit code 3 where everything was undone; 0 where that was asked for."""
    try:
        yield
    except Undone as exc:
        typer.echo(f"{command}: {exc}", err=True)
        raise typer.Exit(0 if undo else _EXIT_UNDONE) from exc


def call_of(
    ways: Ways, command: Command, *, ask: Callable[[str], None], to_stderr: bool, is_back: bool = False
) -> CutoverCall:
    """The call, with its log and its signals."""
    way = ways.back if is_back else ways.of(command)[0]
    log = start_logging(way.settings, command)
    log.setLevel(logging.WARNING)
    return CutoverCall(
        ways,
        command,
        is_back=is_back,
        tell=lambda text: typer.echo(text, err=to_stderr),
        ask=ask,
        log=log,
        stop=stop_on_signals(),
    )


def show(found: CutoverOutcome) -> None:
    """The end of it, for people."""
    stopped = f"{found.write_stop_s:.2f} s" if found.write_stop_s is not None else "not known"
    typer.echo(f"{found.command} of {found.plan} is done: {found.target} is in charge. Applications could not write for"
               f" {stopped}.")  # fmt: skip
    for problem in found.problems:
        typer.echo(problem, err=True)
