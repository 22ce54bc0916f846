"""`python -m pydbsync conflicts list|show|resolve`."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated, get_args

import msgspec
import typer
from rich.table import Table

from pydbsync.commands.shared import (
    CONFIG,
    ConfigOption,
    Format,
    FormatOption,
    JsonOption,
    StreamOption,
    TableOption,
    YesOption,
    confirm,
    is_json,
    open_settings,
    text_console,
)
from pydbsync.commands.times import read_span
from pydbsync.errors import ConfigError, OperationError, TransientError
from pydbsync.model import End, read_image
from pydbsync.ops.conflict_desk import ConflictDesk, ConflictSelection, Recorded
from pydbsync.plan.conflicts import ConflictState, Decision

SHOWN = 200
"""How many `list` shows as text unless told."""
_SHOWN_CHARACTERS = 60

conflicts_app = typer.Typer(
    help="Look at changes that found another row at the target, and decide anew whose stays.", no_args_is_help=True,
    rich_markup_mode=None,
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(conflicts_app, name="conflicts")


@conflicts_app.command("list")
def list_command(
    config: ConfigOption = CONFIG,
    stream: StreamOption = None,
    table: TableOption = None,
    decision: Annotated[
        list[str] | None, typer.Option("--decision", help="Only source, target, same or parked; repeatable.")
    ] = None,
    found: Annotated[
        list[str] | None, typer.Option("--found", help="Only exists, changed, missing or unique; repeatable.")
    ] = None,
    older_than: Annotated[str, typer.Option("--older-than", help="Only those decided longer ago: 90s, 2h, 3d.")] = "",
    newer_than: Annotated[str, typer.Option("--newer-than", help="Only those decided since: 90s, 2h, 3d.")] = "",
    every: Annotated[bool, typer.Option("--all", help="Those that were resolved too.")] = False,
    limit: Annotated[
        int | None, typer.Option(min=0, help=f"Show so many; 0 is all. {SHOWN} where it is text, else all.")
    ] = None,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Conflicts, the newest first; as JSON, one object a line."""
    selection = ConflictSelection(
        stream=stream, tables=_globs(table), decisions=_words(decision, get_args(Decision), "--decision"),
        found=_words(found, get_args(ConflictState), "--found"),
        older_than_s=read_span(older_than, option="--older-than") if older_than else None,
        newer_than_s=read_span(newer_than, option="--newer-than") if newer_than else None, every_status=every,
    )  # fmt: skip
    shows_json = is_json(output, as_json)
    most = (0 if shows_json else SHOWN) if limit is None else limit
    with _desk(config) as desk:
        rows = desk.find(selection)
        if shows_json:
            for each in islice(rows, most or None):
                print(json.dumps(_as_object(each), ensure_ascii=False))
            return
        shown = list(islice(rows, most or None))
        has_more = next(rows, None) is not None
    if shown:
        text_console().print(_table(shown))
    else:
        typer.echo("there is no conflict")
    if has_more:
        typer.echo(f"there are more than {most:,}; --limit 0 shows all")


@conflicts_app.command("show")
def show_command(
    conflict_id: int,
    config: ConfigOption = CONFIG,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """One conflict whole: the row before, after and as it was found, by column; and what operators did."""
    with _desk(config) as desk:
        each = desk.named(conflict_id)
        history = desk.history(each)
    if is_json(output, as_json):
        print(json.dumps({**_as_object(each), "history": [list(map(str, line)) for line in history]}))
        return
    for name, value in _as_object(each).items():
        if name not in ("before", "after", "found_row"):
            print(f"{name:12} {value}")
    text_console().print(_columns(each))
    for action, actor, detail, done_at in history:
        print(f"{done_at}  {action} by {actor}: {detail}")


@conflicts_app.command("resolve")
def resolve_command(
    conflict_id: int,
    take: Annotated[str | None, typer.Option("--take", help="Whose row is to stay: source or target.")] = None,
    row: Annotated[str | None, typer.Option("--row", metavar="JSON", help="Another row, all its columns.")] = None,
    even_if_changed: Annotated[
        bool, typer.Option("--even-if-changed", help="Also where the row was written since.")
    ] = False,
    yes: YesOption = False,
    config: ConfigOption = CONFIG,
) -> None:
    """Decide a conflict anew. What is written reaches the other end too, where replay runs in both directions."""
    if (take is None) == (row is None) or take not in (None, "source", "target"):
        raise OperationError("say which row is to stay: --take source, --take target or --row JSON")
    chosen: End | None = "source" if take == "source" else "target" if take else None
    with _desk(config) as desk:
        each = desk.named(conflict_id)
        if not yes:
            text_console().print(_columns(each))
            confirm(f"Write this row of {each.target}: {row or f'the one of the {take}'}?", "nothing was changed")
        said = desk.resolve(
            each, take=chosen, row=None if row is None else row.encode(), even_if_changed=even_if_changed
        )
    typer.echo(f"{conflict_id}: {said}")


@contextmanager
def _desk(config: Path) -> Iterator[ConflictDesk]:
    settings, log = open_settings(config, "conflicts", require=("db_info",))
    try:
        desk = ConflictDesk(settings, log)
    except TransientError as exc:
        raise ConfigError(str(exc), key=settings.target.key) from exc
    try:
        yield desk
    finally:
        desk.close()


def _globs(tables: list[str] | None) -> tuple[str, ...]:
    for glob in tables or ():
        if "." not in glob:
            raise OperationError(f"--table: expected database.table, got {glob!r}; for a whole database '{glob}.*'")
    return tuple(tables or ())


def _words(given: list[str] | None, known: tuple[str, ...], option: str) -> tuple[str, ...]:
    for word in given or ():
        if word not in known:
            raise OperationError(f"{option}: {word!r} is none of {', '.join(known)}")
    return tuple(given or ())


def _table(rows: list[Recorded]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("id", "queue", "kind", "table", "found", "decision", "policy", "place", "key"):
        table.add_column(title, overflow="fold")
    table.add_column("decided", no_wrap=True)
    for each in rows:
        table.add_row(
            str(each.id), each.stream, each.kind, str(each.source), each.found,
            each.decision if each.status == "decided" else f"{each.decision}, {each.status}", each.policy,
            each.position, _first_value(each), f"{each.decided_at:%Y-%m-%d %H:%M:%S}",
        )  # fmt: skip
    return table


def _first_value(each: Recorded) -> str:
    """The first column of the row, which is its key in most tables."""
    values = _values(each.after_image or each.before_image)
    return next((f"{name} {value}" for name, value in values.items()), "")


def _columns(each: Recorded) -> Table:
    images = {
        "before": _values(each.before_image), "after (source)": _values(each.after_image),
        "found (target)": _values(each.found_image),
    }  # fmt: skip
    table = Table(box=None, pad_edge=False)
    for title in ("column", *images):
        table.add_column(title, overflow="fold")
    for name in dict.fromkeys(name for values in images.values() for name in values):
        table.add_row(name, *(values.get(name, "") for values in images.values()))
    return table


def _values(image: bytes | None) -> dict[str, str]:
    if image is None:
        return {}
    return {
        name: _shorten(bytes(token).decode("utf-8", "backslashreplace"))
        for name, token in read_image(msgspec.Raw(image)).items()
    }


def _shorten(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"


def _as_object(each: Recorded) -> dict[str, object]:
    return {
        "id": each.id, "stream": each.stream, "status": each.status, "kind": each.kind, "table": str(each.source),
        "target": str(each.target), "position": each.position, "found": each.found, "decision": each.decision,
        "policy": each.policy, "note": each.note, "decided_at": str(each.decided_at),
        "before": _document(each.before_image), "after": _document(each.after_image),
        "found_row": _document(each.found_image),
    }  # fmt: skip


def _document(image: bytes | None) -> object:
    return None if image is None else json.loads(image)
