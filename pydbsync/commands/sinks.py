"""`copy`, `verify` and `repair` where the configuration has a sink."""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence

import typer

from pydbsync.commands.shared import print_json
from pydbsync.config.settings import Settings
from pydbsync.errors import OperationError, TransientError
from pydbsync.ops.sinks.told import tell_end
from pydbsync.ops.sinks.tool import SinkTool, TableOutcome
from pydbsync.ops.words import counted
from pydbsync.process.stop_signals import stop_on_signals

DIFFERENT, UNKNOWN = 1, 2


def run_tool(
    settings: Settings,
    log: logging.Logger,
    step: str,
    *,
    tables: Sequence[str],
    exclude: Sequence[str],
    stream: str | None = None,
    wait_s: float = 600,
    as_json: bool,
) -> int:
    """copy, verify or repair, and what was found; the exit code is 1 where something differs, 2 where nobody knows."""
    began_at = time.time()
    with _away_is_told():
        tool = SinkTool(
            settings, tables=tables, exclude=exclude, stream=stream, wait_s=wait_s, stop=stop_on_signals(), log=log
        )  # fmt: skip
        with contextlib.closing(tool):
            found = {"copy": tool.copy, "verify": tool.verify, "repair": tool.repair}[step]()
    if as_json:
        print_json(found)
    else:
        for outcome in found:
            _show(outcome)
    left = [each for each in found if not each.is_equal and each.mended < each.missing + each.different + each.extra]
    code = 0
    if left:
        code = UNKNOWN if any(each.note for each in left) else DIFFERENT
    result = f"{len(found) - len(left)} of {counted(len(found), 'table')} equal"
    tell_end(
        settings, log, step, began_at=began_at, exit_code=code, done=sum(each.rows for each in found), result=result
    )
    return code


def _show(outcome: TableOutcome) -> None:
    found = f"{outcome.missing} missing, {outcome.different} different, {outcome.extra} extra"
    what = "equal" if outcome.is_equal else f"{found}{f'; {outcome.mended} mended' if outcome.mended else ''}"
    typer.echo(f"{outcome.table}: {outcome.rows:,} rows, {what}{f' ({outcome.note})' if outcome.note else ''}")
    for key in outcome.keys:
        typer.echo(f"  {key}")


@contextlib.contextmanager
def _away_is_told() -> Iterator[None]:
    try:
        yield
    except TransientError as exc:
        raise OperationError(f"{exc}; run it again") from exc
