"""`python -m pydbsync failover`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pydbsync.commands.cutover import UndoOption, asking, call_of, ended, show
from pydbsync.commands.drill import run_drill
from pydbsync.commands.shared import Format, FormatOption, JsonOption, YesOption, confirm, is_json, print_json
from pydbsync.errors import OperationError
from pydbsync.ops.cutover.dangling import Dangling
from pydbsync.ops.cutover.failover import Dead, not_empty, places, said
from pydbsync.ops.cutover.returned import POLICIES, Preference, Return, Returned
from pydbsync.ops.cutover.run import CutoverCall
from pydbsync.ops.cutover.ways import load_ways
from pydbsync.ops.cutover.work import CutoverWork, StepFailed


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(failover)


def failover(
    plan: Annotated[
        Path | None, typer.Argument(metavar="PLAN", help="The plan, .yaml or .py; a drill on the lab needs none.")
    ] = None,
    yes: YesOption = False,
    undo: UndoOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what the target has and lacks now, and change nothing.")
    ] = False,
    drill: Annotated[
        bool,
        typer.Option(
            "--drill",
            help="Kill a source of the lab, or of a plan for drills, and try both endings: all of it is checked.",
        ),
    ] = False,
    returned: Annotated[
        bool, typer.Option("--returned", help="The old source is back: close it, and list what the target lacks.")
    ] = False,
    carry_over: Annotated[
        str | None,
        typer.Option(
            metavar="policies|source|target|ask",
            help="Write that at the target; where both changed a row, this one wins, or `conflicts` decides.",
        ),
    ] = None,
    undo_old: Annotated[bool, typer.Option("--undo-old", help="Take it back at the old source.")] = False,
    follow: Annotated[bool, typer.Option("--follow", help="Have the old source follow the target.")] = False,
    leave_queues: Annotated[
        bool,
        typer.Option(
            "--leave-queues", help="The broker is dead too: what it holds is listed when the old source is back."
        ),
    ] = False,
    back: Annotated[bool, typer.Option("--back", help="The server that a cutover went to is dead.")] = False,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Open the target of a source that is dead, with all that has arrived; with --returned settle what the
    old source has beyond that. Exit code 1 where changes are left to be settled."""
    wants_json = is_json(output, as_json)
    if drill:
        raise typer.Exit(run_drill(plan, yes=yes, as_json=wants_json))
    if plan is None:
        raise OperationError("which plan? Only --drill does without one")
    ways = load_ways(plan)
    call = call_of(ways, "failover", ask=asking("failover", yes=yes), to_stderr=wants_json, is_back=back)
    if dry_run:
        _print(call.look(_look), as_json=wants_json)
        raise typer.Exit(0)
    if returned:
        raise typer.Exit(_settle(call, _policy(carry_over), undo_old, follow, yes=yes, as_json=wants_json))
    if carry_over or undo_old or follow:
        raise OperationError("--carry-over, --undo-old and --follow belong to --returned")
    with ended("failover", undo=undo):
        found = call.failover(undo=undo, leaves_queues=leave_queues)
    if wants_json:
        print_json(found)
    else:
        show(found)
    raise typer.Exit(1 if found.problems else 0)


def _policy(text: str | None) -> Preference | None:
    for policy in POLICIES:
        if text == policy:
            return policy
    if text is not None:
        raise OperationError(f"--carry-over: expected {', '.join(POLICIES)}, got {text!r}")
    return None


def _look(work: CutoverWork) -> Returned:
    found = Returned(work.plan.name, work.way.source, work.way.target)
    last = places(work)
    for each in last:
        work.tell(said(each))
    try:
        work.tell(not_empty(work, work.way) or "nothing waits in the queues")
    except StepFailed as exc:
        work.tell(f"{exc}: a failover would need --leave-queues")
    for problem in Dead().look(work):
        work.tell(f"a failover would be refused now: {problem}")
    work.facts["last"] = [each.as_facts() for each in last]
    settling = Return(work, _choose)
    found.changes = settling.beside(settling.changes())
    found.done = "nothing was changed: this is what the target would lack if the source died now"
    return found


def _settle(
    call: CutoverCall, policy: Preference | None, undo_old: bool, follow: bool, *, yes: bool, as_json: bool
) -> int:
    if policy and undo_old:
        raise OperationError("--carry-over and --undo-old are two ways to settle the same changes: choose one")

    def settle(work: CutoverWork) -> Returned:
        settling = Return(work, _choose)
        found = Returned(work.plan.name, work.way.source, work.way.target, is_settled=bool(settling.settled))
        if settling.settled and (policy or undo_old):
            settling.begin(policy or "undo", [])
        if settling.settled or (follow and not (policy or undo_old)):
            found.done = settling.settled
            if not settling.settled and settling.is_begun:
                raise OperationError(settling.is_begun)
        else:
            work.tell(settling.close_source())
            changes = settling.changes()
            found.changes = settling.beside(changes)
            if (policy or undo_old) and not yes:
                where = work.way.source if undo_old else work.way.target
                confirm(f"{len(changes):,} changes: settle them at {where}?", "failover: nothing was settled")
            if policy:
                found.done = settling.carry_over(changes, found.changes, policy)
            elif undo_old:
                found.done = settling.undo_at_source(changes, found.changes)
        if follow:
            found.done = "; ".join(filter(None, (found.done, settling.follow())))
        found.is_settled = not found.changes or bool(found.done and "ATTENTION" not in found.done)
        return found

    found = call.returned(settle)
    _print(found, as_json=as_json)
    return 0 if found.is_settled else 1


def _choose(change: Dangling) -> bool:
    confirmable = typer.confirm(f"{change}\ncarry it over?", default=False)
    return bool(confirmable)


def _print(found: Returned, *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    for change in found.changes:
        typer.echo(str(change))
    typer.echo(f"{found.source} has {len(found.changes):,} changes that {found.target} never got")
    if found.done:
        typer.echo(found.done)
