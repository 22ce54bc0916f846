"""`python -m pydbsync init`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from pydbsync.commands.shared import CONFIG, MaxwellOption, text_console
from pydbsync.config.file import load_settings
from pydbsync.config.maxwell_file import read_maxwell_file
from pydbsync.errors import OperationError
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.run import examine
from pydbsync.ops.doctor.show import show_report
from pydbsync.ops.init import (
    PASSWORDS,
    Answers,
    ServerUrl,
    needed_rights,
    passwords_of,
    places_of_maxwell,
    read_place,
    rendered,
    write_new,
)

_MYSQL, _AMQP = 3306, 5672


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(init)


def init(
    file: Annotated[Path, typer.Option(help="File to write, .py or .yaml; nothing is written over.")] = CONFIG,
    maxwell: MaxwellOption = None,
    target: Annotated[
        str | None, typer.Option(metavar="URL", help="Target, such as mysql://user:password@host:3306.")
    ] = None,
    source: Annotated[str | None, typer.Option(metavar="URL", help="Source, in the same way.")] = None,
    rabbitmq: Annotated[
        str | None, typer.Option(metavar="URL", help="RabbitMQ, such as amqp://user:password@host:5672/vhost.")
    ] = None,
    exchange: Annotated[str | None, typer.Option(help="Exchange that Maxwell publishes to [default: maxwell].")] = None,
    queue: Annotated[str, typer.Option(help="Queue that is made for the worker.")] = "pydbsync",
    routing_key: Annotated[
        list[str] | None,
        typer.Option("--routing-key", help="What the queue is bound by; repeatable [default: #, everything]."),
    ] = None,
    connect: Annotated[bool, typer.Option(help="Try the connections and rights afterwards.")] = True,
) -> None:
    """Write a commented configuration from a few answers; passwords stay in the environment. Exit code 0 well, 1
    or 2
    as doctor finds the servers."""
    if file.exists():
        raise OperationError(f"{file} exists, and init writes over nothing: name another file with --file")
    given = read_maxwell_file(maxwell) if maxwell else None
    at_source, at_rabbitmq = places_of_maxwell(given) if given else (None, None)
    if source:
        at_source = read_place(source, scheme="mysql", port=_MYSQL, option="--source")
    if rabbitmq:
        at_rabbitmq = read_place(rabbitmq, scheme="amqp", port=_AMQP, option="--rabbitmq")
    answers = Answers(
        target=read_place(target, scheme="mysql", port=_MYSQL, option="--target")
        if target
        else _ask("--target", "target (where changes are written)", "mysql", _MYSQL),
        rabbitmq=at_rabbitmq or _ask("--rabbitmq", "RabbitMQ", "amqp", _AMQP),
        source=at_source or (_ask_source() if sys.stdin.isatty() else None),
        exchange=exchange or (given["rabbitmq_exchange"] if given else "maxwell"),
        queue=queue,
        routing_keys=tuple(routing_key or ["#"]),
        maxwell_database=given["schema_database"] if given else "maxwell",
    )
    write_new(file, rendered(answers, as_yaml=file.suffix.lower() in (".yaml", ".yml")))
    raise typer.Exit(_tell(file, answers, given, connect=connect))


def _tell(file: Path, answers: Answers, given: dict[str, str] | None, *, connect: bool) -> int:
    os.environ.update(passwords_of(answers))
    settings, _ = load_settings(file)
    typer.echo(f"{file} is written. It takes passwords from the environment:")
    for key, name in PASSWORDS.items():
        if key != "source_db_info" or answers.source is not None:
            typer.echo(f"    export {name}=…")
    typer.echo("The rights that are needed (docs/rights.md):")
    for line in needed_rights(settings, answers):
        typer.echo(f"    {line}")
    groups = ["connections", "rights"] if connect else []
    if given is not None:
        groups.append("maxwell")
    code = 0
    if connect:
        report = examine(Examination(settings, maxwell=given), only=groups)
        show_report(report, text_console(), quiet=True)
        code = report.exit_code()
    typer.echo(f"Next: pydbsync doctor --config {file}")
    return code


def _ask(option: str, what: str, scheme: str, port: int) -> ServerUrl:
    if not sys.stdin.isatty():
        raise OperationError(f"{option} is missing: {what}, as {scheme}://user:password@host:{port}")
    typer.echo(f"{what}:")
    host = typer.prompt("  host", default="127.0.0.1")
    number = typer.prompt("  port", default=port, type=int)
    user = typer.prompt("  user", default="pydbsync")
    password = typer.prompt("  password (not written to the file)", default="", hide_input=True, show_default=False)
    vhost = typer.prompt("  virtual host", default="/") if scheme == "amqp" else "/"
    return ServerUrl(host=host, port=number, user=user, password=password, vhost=vhost)


def _ask_source() -> ServerUrl | None:
    if not typer.confirm("Can the source be reached from here (for doctor, copy, verify)?", default=True):
        return None
    return _ask("--source", "source (where changes come from)", "mysql", _MYSQL)
