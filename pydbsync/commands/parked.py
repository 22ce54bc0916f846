"""`python -m pydbsync parked list|counts|show|retry|edit|skip`."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated

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
    print_json,
    text_console,
)
from pydbsync.commands.times import read_span
from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError, OperationError, TransientError
from pydbsync.ops.parked.counts import FIELDS
from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.ops.parked.select import Selection
from pydbsync.ops.parked.view import Parked
from pydbsync.ops.sinks.desk import SinkDesk

_CHUNK = 1000
SHOWN = 200
"""How many `list` shows as text unless told."""

IdsArgument = Annotated[list[int] | None, typer.Argument(help="Ids; without any, all that the options mean.")]
IdStreamOption = Annotated[str | None, typer.Option("--stream", help="Of this queue, where a sink has several.")]
KindOption = Annotated[
    list[str] | None, typer.Option("--kind", help="Only such changes: insert, 'table-*', …; repeatable.")
]
BecauseOption = Annotated[str, typer.Option("--because", help="Only those whose reason holds this text.")]
CodeOption = Annotated[int | None, typer.Option("--code", help="Only those with this error number of the server.")]
OlderOption = Annotated[str, typer.Option("--older-than", help="Only those parked longer ago: 90s, 5m, 2h, 3d.")]
NewerOption = Annotated[str, typer.Option("--newer-than", help="Only those parked since: 90s, 5m, 2h, 3d.")]
AllOption = Annotated[bool, typer.Option("--all", help="Applied and skipped ones too.")]

parked_app = typer.Typer(
    help="Look at changes that could not be applied, and mend them.", no_args_is_help=True, rich_markup_mode=None
)


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(parked_app, name="parked")


@parked_app.command("list")
def list_command(
    config: ConfigOption = CONFIG,
    stream: StreamOption = None,
    table: TableOption = None,
    kind: KindOption = None,
    because: BecauseOption = "",
    code: CodeOption = None,
    older_than: OlderOption = "",
    newer_than: NewerOption = "",
    every: AllOption = False,
    limit: Annotated[
        int | None, typer.Option(min=0, help=f"Show so many; 0 is all. {SHOWN} where it is text, else all.")
    ] = None,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """What is parked, in order; as JSON, one object a line."""
    selection = _selection(stream, table, kind, because, code, older_than, newer_than, every=every)
    shows_json = is_json(output, as_json)
    most = (0 if shows_json else SHOWN) if limit is None else limit
    with _desk(config) as desk:
        found = desk.find(selection)
        if shows_json:
            for each in islice(found, most or None):
                print(json.dumps(_as_object(each), ensure_ascii=False))
            return
        shown = 0
        while rows := list(islice(found, min(_CHUNK, most - shown) if most else _CHUNK)):
            text_console().print(_table(rows))
            shown += len(rows)
        count = desk.count(selection) if shown == most else shown
    if not shown:
        typer.echo("nothing is parked")
    if count > shown:
        typer.echo(f"{shown} of {count} are shown; `parked counts` tells what they are, --limit 0 shows all")


@parked_app.command("counts")
def counts_command(
    config: ConfigOption = CONFIG,
    by: Annotated[list[str] | None, typer.Option("--by", help=f"Count by {', '.join(FIELDS)}; repeatable.")] = None,
    stream: StreamOption = None,
    table: TableOption = None,
    kind: KindOption = None,
    because: BecauseOption = "",
    code: CodeOption = None,
    older_than: OlderOption = "",
    newer_than: NewerOption = "",
    every: AllOption = False,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """How many are parked, by table and reason unless told otherwise; values in a reason count as equal."""
    fields = tuple(by or ("table", "kind", "code", "reason"))
    for name in fields:
        if name not in FIELDS:
            raise OperationError(f"--by: {name!r} is none of {', '.join(FIELDS)}")
    selection = _selection(stream, table, kind, because, code, older_than, newer_than, every=every)
    with _desk(config) as desk:
        found = desk.counts(selection, by=fields)
    if is_json(output, as_json):
        print_json(
            [
                {"count": each.count, "waiting": each.waiting, **{name: getattr(each, name) for name in fields},
                 "first_id": each.first_id, "oldest": str(each.oldest)}
                for each in found
            ]
        )  # fmt: skip
        return
    shown = Table(box=None, pad_edge=False)
    for title in ("count", "of them waiting", *("queue" if name == "stream" else name for name in fields), "first id"):
        shown.add_column(title, overflow="fold")
    shown.add_column("oldest", no_wrap=True)
    for each in found:
        cells = (str(getattr(each, name)) for name in fields)
        oldest = f"{each.oldest:%Y-%m-%d %H:%M:%S}"
        shown.add_row(f"{each.count:,}", f"{each.waiting:,}", *cells, str(each.first_id), oldest)
    if found:
        text_console().print(shown)
    typer.echo(f"{sum(each.count for each in found):,} parked" if found else "nothing is parked")


@parked_app.command("show")
def show_command(
    parked_id: int,
    config: ConfigOption = CONFIG,
    stream: IdStreamOption = None,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """One parked change whole: message, reason, history."""
    with _desk(config) as desk:
        each = desk.named(parked_id, stream=stream)
        history = desk.history(parked_id, stream=stream)
    if is_json(output, as_json):
        print(json.dumps({**_as_object(each), "history": [list(map(str, line)) for line in history]}))
        return
    for name, value in _as_object(each).items():
        if name not in ("message", "edited"):
            print(f"{name:16} {'' if value is None else value}")
    print(f"{'message':16} {_pretty(each.message)}")
    if each.edited is not None:
        print(f"{'edited':16} {_pretty(each.edited)}")
    for action, actor, detail, done_at in history:
        print(f"{done_at}  {action} by {actor}: {detail}")


@parked_app.command("retry")
def retry_command(
    ids: IdsArgument = None,
    config: ConfigOption = CONFIG,
    stream: StreamOption = None,
    table: TableOption = None,
    kind: KindOption = None,
    because: BecauseOption = "",
    code: CodeOption = None,
    older_than: OlderOption = "",
    newer_than: NewerOption = "",
    quiet: Annotated[bool, typer.Option("--quiet", help="Leave out what is well.")] = False,
    unread: Annotated[
        bool,
        typer.Option(
            "--unread", help="Those too that could not be read when they came: later changes may be applied already."
        ),
    ] = False,
) -> None:
    """Apply parked changes in order; exit code 1 if one stays."""
    selection = _selection(stream, table, kind, because, code, older_than, newer_than, ids=ids)
    applied = stayed = 0
    with _desk(config) as desk:
        try:
            for each in desk.retry(selection, takes_unread=unread):
                applied, stayed = applied + each.applied, stayed + (not each.applied)
                if not (quiet and each.applied):
                    typer.echo(f"{each.id}: {'applied' if each.applied else 'stays parked'}: {each.detail}")
        except TransientError as exc:
            raise OperationError(f"{exc}; what was told is done, run it again for the rest") from exc
    typer.echo(f"{applied:,} applied, {stayed:,} stay parked" if applied + stayed else "nothing is parked")
    if stayed:
        raise typer.Exit(1)


@parked_app.command("edit")
def edit_command(
    parked_id: int,
    config: ConfigOption = CONFIG,
    message_file: Annotated[Path | None, typer.Option(help="Take the new text from here, not from an editor.")] = None,
    stream: IdStreamOption = None,
) -> None:
    """Change the message (of a schema change: the SQL) that a retry uses."""
    with _desk(config) as desk:
        each = desk.named(parked_id, stream=stream)
        text = message_file.read_bytes() if message_file is not None else _edit(_editable(each))
        desk.edit(parked_id, text.rstrip(b"\n"), stream=stream)
    print(f"{parked_id} is edited; apply it with `parked retry {parked_id}`")


@parked_app.command("skip")
def skip_command(
    reason: Annotated[str, typer.Option(help="Why; it is kept.")],
    ids: IdsArgument = None,
    config: ConfigOption = CONFIG,
    stream: StreamOption = None,
    table: TableOption = None,
    kind: KindOption = None,
    because: BecauseOption = "",
    code: CodeOption = None,
    older_than: OlderOption = "",
    newer_than: NewerOption = "",
    everything: Annotated[bool, typer.Option("--everything", help="All that are parked, of all queues.")] = False,
    yes: YesOption = False,
) -> None:
    """Give parked changes up for good. More than one only with --yes, or an answer at the terminal."""
    selection = _selection(stream, table, kind, because, code, older_than, newer_than, ids=ids)
    if selection.is_everything and not everything:
        raise OperationError("name ids, or say which by --table, --because, …; --everything means all")
    with _desk(config) as desk:
        count = desk.count(selection)
        if not reason.strip():
            raise OperationError("a skip needs a reason: it is kept beside the change")
        if count > 1 and not yes:
            for each in desk.counts(selection, by=("table", "reason")):
                typer.echo(f"{each.count:,} of {each.table}: {each.reason}")
            confirm(f"Give up {count:,} changes for good? They are then missing at the target.", "nothing was skipped")
        skipped = desk.skip(selection, reason=reason)
    if len(selection.ids) == 1:
        typer.echo(f"{selection.ids[0]} is skipped")
    else:
        typer.echo(f"{skipped:,} skipped" if skipped else "nothing is parked")


@contextmanager
def _desk(config: Path) -> Iterator[ParkedDesk | SinkDesk]:
    settings, log = open_settings(config, "parked", require=("db_info",))
    desk = open_desk(settings, log)
    try:
        yield desk
    finally:
        desk.close()


def open_desk(settings: Settings, log: logging.Logger) -> ParkedDesk | SinkDesk:
    """What is parked, wherever it is kept. Raises ConfigError."""
    try:
        return ParkedDesk(settings, log) if settings.sink is None else SinkDesk(settings, log)
    except TransientError as exc:
        raise ConfigError(str(exc), key=settings.target.key if settings.sink is None else "sink") from exc


def _selection(
    stream: str | None,
    tables: list[str] | None,
    kinds: list[str] | None,
    because: str,
    code: int | None,
    older_than: str,
    newer_than: str,
    *,
    ids: list[int] | None = None,
    every: bool = False,
) -> Selection:
    return Selection(
        ids=tuple(ids or ()), stream=stream, tables=tuple(tables or ()), kinds=tuple(kinds or ()), because=because,
        code=code, older_than_s=read_span(older_than, option="--older-than") if older_than else None,
        newer_than_s=read_span(newer_than, option="--newer-than") if newer_than else None, every_status=every,
    )  # fmt: skip


def _table(rows: list[Parked]) -> Table:
    table = Table(box=None, pad_edge=False)
    for title in ("id", "queue", "status", "kind", "table", "place", "behind", "reason"):
        table.add_column(title, overflow="fold")
    for each in rows:
        behind = "" if each.behind is None else str(each.behind)
        table.add_row(
            str(each.id), each.stream, each.status, each.kind, str(each.source), each.position, behind,
            each.reason[:200],
        )  # fmt: skip
    return table


def _as_object(each: Parked) -> dict[str, object]:
    return {
        "id": each.id, "stream": each.stream, "status": each.status, "kind": each.kind, "table": str(each.source),
        "target_database": each.target_database, "target_table": each.target_table,
        "position": each.position, "behind": each.behind,
        "reason": each.reason, "code": each.code, "parked_at": str(each.parked_at),
        "input_format": each.input_format, "message": each.message.decode("utf-8", "backslashreplace"),
        "edited": None if each.edited is None else each.edited.decode("utf-8", "backslashreplace"),
    }  # fmt: skip


def _pretty(message: bytes) -> str:
    try:
        return msgspec.json.format(message, indent=2).decode("utf-8", "backslashreplace")
    except msgspec.DecodeError:
        return message.decode("utf-8", "backslashreplace")


def _editable(each: Parked) -> bytes:
    if each.edited is not None or not each.is_schema_change:
        return each.text
    return str(msgspec.json.decode(each.message)["sql"]).encode()


def _edit(text: bytes) -> bytes:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "parked.json"
        file.write_bytes(text)
        try:
            subprocess.run([*shlex.split(editor), str(file)], check=True)  # noqa: S603
        except (OSError, subprocess.CalledProcessError) as exc:
            raise OperationError(f"the editor {editor!r} did not end well: {exc}; use --message-file") from exc
        return file.read_bytes()
