"""Writes a first configuration, commented, from a few answers or from Maxwell's own file; it holds no password."""

from __future__ import annotations

import os
import pprint
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
import yaml

from pydbsync.config.settings import Settings
from pydbsync.errors import OperationError
from pydbsync.ops.doctor.grants import grant_statement
from pydbsync.ops.doctor.rights import BINLOG, HEARTBEAT, ROWS, SCHEMA_CHANGES, STATE

PASSWORDS: Final = {
    "db_info": "PYDBSYNC_TARGET_PASSWORD",
    "source_db_info": "PYDBSYNC_SOURCE_PASSWORD",
    "rabbitmq_conn_info": "PYDBSYNC_RABBITMQ_PASSWORD",
}
"""Environment variables that the written configuration takes its passwords from."""


class ServerUrl(msgspec.Struct, frozen=True):
    """One server as a URL says it. The password is for the first try alone."""

    host: str
    port: int
    user: str
    password: str | None = None
    vhost: str = "/"


class Answers(msgspec.Struct, frozen=True):
    """What the configuration is made of."""

    target: ServerUrl
    rabbitmq: ServerUrl
    source: ServerUrl | None = None
    exchange: str = "maxwell"
    exchange_type: str = "topic"
    queue: str = "pydbsync"
    routing_keys: tuple[str, ...] = ("#",)
    maxwell_database: str = "maxwell"


def read_place(url: str, *, scheme: str, port: int, option: str) -> ServerUrl:
    """`mysql://user:password@host:port` or `amqp://user:password@host:port/vhost`. Raises OperationError."""
    parts = urlsplit(url if "://" in url else f"{scheme}://{url}")
    try:
        number = parts.port or port
    except ValueError as exc:
        raise OperationError(f"{option}: the port is no number from 1 to 65535") from exc
    if parts.scheme not in (scheme, f"{scheme}s", "mariadb") or not parts.hostname or not parts.username:
        raise OperationError(f"{option}: expected {scheme}://user@host:{port}, with the password if you like")
    return ServerUrl(
        host=parts.hostname,
        port=number,
        user=unquote(parts.username),
        password=None if parts.password is None else unquote(parts.password),
        vhost=unquote(parts.path[1:]) or "/",
    )


def places_of_maxwell(given: Mapping[str, str]) -> tuple[ServerUrl, ServerUrl]:
    """The source and RabbitMQ as Maxwell's config.properties has them."""
    source = ServerUrl(
        host=given.get("replication_host") or given["host"],
        port=int(given.get("replication_port") or given["port"]),
        user=given.get("user", "maxwell"),
        password=given.get("password"),
    )
    rabbitmq = ServerUrl(
        host=given["rabbitmq_host"],
        port=int(given["rabbitmq_port"]),
        user=given["rabbitmq_user"],
        password=given.get("rabbitmq_pass"),
        vhost=given["rabbitmq_virtual_host"],
    )
    return source, rabbitmq


def configuration(answers: Answers) -> Iterator[tuple[str, str, Any]]:
    """(comment, key, value) in the order in which they are written."""
    yield (
        f"The target. Its password is in the environment: export {PASSWORDS['db_info']}=…\n"
        "(password_file: FILE is another way; docs/config.md has TLS and all other keys.)",
        "db_info",
        _server(answers.target, "db_info"),
    )
    if answers.source is not None:
        yield (
            "The source: for doctor, copy, verify, repair, heartbeat and capture; the workers themselves do not"
            " read it.",
            "source_db_info",
            _server(answers.source, "source_db_info"),
        )
    rabbitmq = {**_server(answers.rabbitmq, "rabbitmq_conn_info"), "vhost": answers.rabbitmq.vhost}
    yield "RabbitMQ.", "rabbitmq_conn_info", rabbitmq
    yield (
        "What is read: one worker a queue, in order. Tables that belong together (foreign keys) go to one queue.\n"
        "The first start declares exchange, queue and bindings; start it before Maxwell.",
        "rabbitmq_queue_bind",
        [{"exchange": [answers.exchange, answers.exchange_type],
          "queues": {answers.queue: list(answers.routing_keys)}}],
    )  # fmt: skip
    if answers.maxwell_database != "maxwell":
        yield "Maxwell's own database, whose changes are not applied.", "maxwell_database", answers.maxwell_database


def _server(place: ServerUrl, key: str) -> dict[str, Any]:
    return {"host": place.host, "port": place.port, "user": place.user, "password_env": PASSWORDS[key]}


def rendered(answers: Answers, *, as_yaml: bool) -> str:
    """The text of the file."""
    parts = ["# Written by pydbsync init. Next: pydbsync doctor, then pydbsync run (docs/migration.md).\n"]
    for comment, key, value in configuration(answers):
        parts.append("".join(f"# {line}\n" for line in comment.splitlines()))
        if as_yaml:
            parts[-1] += yaml.safe_dump({key: value}, sort_keys=False, allow_unicode=True)
        else:
            parts[-1] += f"{key} = {pprint.pformat(value, sort_dicts=False)}\n"
    return "\n".join(parts)


def write_new(path: Path, text: str) -> None:
    """Raises OperationError if there is such a file."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as exc:
        raise OperationError(f"{path} exists, and init writes over nothing: name another file with --file") from exc
    except OSError as exc:
        raise OperationError(f"{path} cannot be written: {exc.strerror}") from exc


def passwords_of(answers: Answers) -> dict[str, str]:
    """For the environment of the first try: those that are known; an empty one where there is none."""
    places = {"db_info": answers.target, "source_db_info": answers.source, "rabbitmq_conn_info": answers.rabbitmq}
    return {
        PASSWORDS[key]: place.password if place.password is not None else os.environ.get(PASSWORDS[key], "")
        for key, place in places.items()
        if place is not None
    }


def needed_rights(settings: Settings, answers: Answers) -> Iterator[str]:
    """Statements that give each user what it needs; DATABASE stands for each database that is replayed."""
    target = f"{answers.target.user}@%"
    yield "-- at the target, for each database that is replayed:"
    yield grant_statement((*ROWS, *SCHEMA_CHANGES), "DATABASE", "*", target)
    yield grant_statement(STATE, settings.state_schema, "*", target)
    if answers.source is not None:
        source = f"{answers.source.user}@%"
        yield "-- at the source, for doctor, copy, verify and capture:"
        yield grant_statement(("SELECT",), "*", "*", source)
        yield grant_statement(BINLOG, "*", "*", source)
        yield grant_statement(HEARTBEAT, settings.heartbeat_table.partition(".")[0], "*", source)
    yield "-- at RabbitMQ:"
    names, own = f"'^({answers.queue}|{answers.exchange})$'", f"'^{answers.queue}$'"
    vhost, user = answers.rabbitmq.vhost, answers.rabbitmq.user
    yield f"rabbitmqctl set_permissions -p {vhost} {user} {names} {own} {names}"
