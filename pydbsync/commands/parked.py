"""`python -m pydbsync parked list|show|retry|edit|skip`."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.table import Table

from pydbsync.commands.shared import (
    CONFIG,
    ConfigOption,
    Format,
    FormatOption,
    JsonOption,
    is_json,
    open_settings,
)
from pydbsync.errors import ConfigError, OperationError, TransientError
from pydbsync.ops.parked_desk import Parked, ParkedDesk

StreamOption = Annotated[str | None, typer.Option("--stream", help="Only this queue.")]

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
    every: Annotated[bool, typer.Option("--all", help="Applied and skipped ones too.")] = False,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """What is parked, in order; as JSON, one object a line."""
    with _desk(config) as desk:
        found = desk.find(stream=stream, every_status=every)
    if is_json(output, as_json):
        for each in found:
            print(json.dumps(_as_object(each), ensure_ascii=False))
        return
    table = Table(box=None, pad_edge=False)
    for title in ("id", "queue", "status", "kind", "table", "place", "behind", "reason"):
        table.add_column(title, overflow="fold")
    for each in found:
        behind = "" if each.behind is None else str(each.behind)
        table.add_row(
            str(each.id),
            each.stream,
            each.status,
            each.kind,
            str(each.source),
            each.position,
            behind,
            each.reason[:200],
        )
    Console().print(table if found else "nothing is parked")


@parked_app.command("show")
def show_command(
    parked_id: int,
    config: ConfigOption = CONFIG,
    output: FormatOption = Format.TEXT,
    as_json: JsonOption = False,
) -> None:
    """One parked change whole: message, reason, history."""
    with _desk(config) as desk:
        each = desk.find(ids=[parked_id])[0]
        history = desk.history(parked_id)
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
    ids: Annotated[list[int] | None, typer.Argument(help="Ids; without any, all that are parked.")] = None,
    config: ConfigOption = CONFIG,
    stream: StreamOption = None,
) -> None:
    """Apply parked changes in order; exit code 1 if one stays."""
    with _desk(config) as desk:
        candidates = [each for each in desk.find(stream=stream, ids=ids or ()) if each.status == "parked"]
        outcomes = desk.retry(candidates)
    for each in outcomes:
        print(f"{each.id}: {'applied' if each.applied else 'stays parked'}: {each.detail}")
    if not outcomes:
        print("nothing is parked")
    if not all(each.applied for each in outcomes):
        raise typer.Exit(1)


@parked_app.command("edit")
def edit_command(
    parked_id: int,
    config: ConfigOption = CONFIG,
    message_file: Annotated[Path | None, typer.Option(help="Take the new text from here, not from an editor.")] = None,
) -> None:
    """Change the message (of a schema change: the SQL) that a retry uses."""
    with _desk(config) as desk:
        each = desk.find(ids=[parked_id])[0]
        text = message_file.read_bytes() if message_file is not None else _edit(_editable(each))
        desk.edit(parked_id, text.rstrip(b"\n"))
    print(f"{parked_id} is edited; apply it with `parked retry {parked_id}`")


@parked_app.command("skip")
def skip_command(
    parked_id: int,
    reason: Annotated[str, typer.Option(help="Why it is given up; kept beside the change.")],
    config: ConfigOption = CONFIG,
) -> None:
    """Give one up for good."""
    with _desk(config) as desk:
        desk.skip(parked_id, reason=reason)
    print(f"{parked_id} is skipped")


@contextmanager
def _desk(config: Path) -> Iterator[ParkedDesk]:
    settings, log = open_settings(config, "parked", require=("db_info",))
    try:
        desk = ParkedDesk(settings, log)
    except TransientError as exc:
        raise ConfigError(str(exc), key=settings.target.key) from exc
    try:
        yield desk
    finally:
        desk.close()


def _as_object(each: Parked) -> dict[str, object]:
    return {
        "id": each.id, "stream": each.stream, "status": each.status, "kind": each.kind, "table": str(each.source),
        "target_database": each.target_database, "position": each.position, "behind": each.behind,
        "reason": each.reason, "code": each.code, "parked_at": str(each.parked_at),
        "message": each.message.decode("utf-8", "backslashreplace"),
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
