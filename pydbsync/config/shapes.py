"""Reads configuration values that have a shape of their own: queue bindings, column sets, globs, policies."""

from __future__ import annotations

import re
import zoneinfo
from dataclasses import dataclass, replace
from typing import Final

from pydbsync.config.values import (
    ColumnSets,
    FrozenMapping,
    OptionKind,
    Scalar,
    join_key,
    nearest,
    one_of,
    read_list,
    read_mapping,
    refuse,
    text,
)
from pydbsync.errors import ConfigError

SCHEMA_KINDS: Final = (
    "create-table",
    "alter-table",
    "rename-table",
    "drop-table",
    "truncate-table",
    "create-index",
    "drop-index",
    "create-database",
    "alter-database",
    "drop-database",
)
EXCHANGE_TYPES: Final = ("topic", "direct", "fanout", "headers")

_POLICY: Final = one_of("apply", "skip", "park", "stop")
_NAME_LIMIT_BYTES: Final = 255
"""Names and routing keys are short strings of AMQP 0-9-1."""
STREAM_LIMIT: Final = 190
"""What the column `stream` of the state schema holds."""


@dataclass(frozen=True, kw_only=True)
class QueueSettings:
    """One queue, read by one worker, and how it is bound to its exchange."""

    queue: str
    exchange: str
    exchange_type: str
    routing_keys: tuple[str, ...]
    arguments: FrozenMapping[str, Scalar] = FrozenMapping[str, Scalar]()
    """Arguments for declaring the queue, `x-queue-type` included."""
    stream_name: str = ""

    @property
    def stream(self) -> str:
        """The name of its checkpoint, of its lock and of what is parked of it."""
        return self.stream_name or self.queue


def _amqp_name(value: object, key: str, expected: str) -> str:
    name = text(expected).read(value, key)
    if len(name.encode()) > _NAME_LIMIT_BYTES:
        refuse(f"{expected} of at most {_NAME_LIMIT_BYTES} bytes", value, key)
    return name


def _read_exchange(value: object, key: str) -> tuple[str, str]:
    pair = read_list(value, key, of="two texts, [name, type]")
    if len(pair) != 2:
        raise ConfigError(f"expected [name, type], got a list of {len(pair)}", key=key)
    name = _amqp_name(pair[0], f"{key}[0]", "the name of an exchange (text)")
    kind = text("the type of an exchange (text)").read(pair[1], f"{key}[1]")
    # Types of plugins, such as x-consistent-hash, begin with x-.
    if kind not in EXCHANGE_TYPES and not kind.startswith("x-"):
        raise ConfigError(f"unknown type {kind!r} of an exchange; {nearest(kind, EXCHANGE_TYPES)}", key=f"{key}[1]")
    return name, kind


def _read_queues(value: object, key: str) -> tuple[QueueSettings, ...]:
    found: dict[str, QueueSettings] = {}
    for index, entry in enumerate(read_list(value, key, of="mappings {'exchange': [name, type], 'queues': {…}}")):
        here = f"{key}[{index}]"
        binding = read_mapping(entry, here)
        for name in binding:
            if name not in ("exchange", "queues"):
                raise ConfigError(f"unknown key; {nearest(name, ('exchange', 'queues'))}", key=join_key(here, name))
        for name, what in (("exchange", "[name, type] of an exchange"), ("queues", "{queue: [routing keys]}")):
            if name not in binding:
                raise ConfigError(f"is missing: {what}", key=join_key(here, name))
        exchange, exchange_type = _read_exchange(binding["exchange"], f"{here}.exchange")
        queues = read_mapping(binding["queues"], f"{here}.queues", of="a mapping {queue: [routing keys]}")
        for queue, keys in queues.items():
            place = f"{here}.queues.{queue}"
            _amqp_name(queue, place, "the name of a queue (text)")
            if queue in found:
                # Two workers on one queue would break its order.
                raise ConfigError(
                    f"the queue is already bound to exchange {found[queue].exchange!r}; name it once, and bind it to a "
                    "second exchange with rabbitmqadmin",
                    key=place,
                )
            routing_keys = tuple(
                _amqp_name(each, f"{place}[{n}]", "a routing key (text)")
                for n, each in enumerate(read_list(keys, place, of="routing keys"))
            )
            found[queue] = QueueSettings(
                queue=queue, exchange=exchange, exchange_type=exchange_type, routing_keys=routing_keys
            )
    if not found:
        raise ConfigError("expected at least one queue, got none", key=key)
    return tuple(found.values())


def _read_arguments(value: object, key: str) -> FrozenMapping[str, Scalar]:
    found: dict[str, Scalar] = {}
    for name, each in read_mapping(value, key).items():
        if not isinstance(each, str | int | float | bool):
            refuse("text or a number", each, join_key(key, name))
        if name == "x-queue-type":
            raise ConfigError("the type of queues is set by queue_type", key=join_key(key, name))
        found[name] = each
    return FrozenMapping(found)


def _read_texts(value: object, key: str) -> tuple[str, ...]:
    return tuple(text().read(each, f"{key}[{n}]") for n, each in enumerate(read_list(value, key, of="names")))


def _read_globs(value: object, key: str) -> tuple[str, ...]:
    globs = read_list(value, key, of="globs such as 'shop.*'")
    found = []
    for n, each in enumerate(globs):
        glob = text("a glob such as 'shop.*'").read(each, f"{key}[{n}]")
        if "." not in glob:
            raise ConfigError(
                f"expected database.table, got {glob!r}; for a whole database write '{glob}.*'", key=f"{key}[{n}]"
            )
        found.append(glob)
    return tuple(found)


def _read_column_sets(value: object, key: str) -> ColumnSets:
    """Names in lower case: the original compared so, and MySQL's column names have no case."""
    databases: dict[str, dict[str, frozenset[str]]] = {}
    for database, tables in read_mapping(value, key, of="a mapping {database: {table: [columns]}}").items():
        of_database = databases.setdefault(database.lower(), {})
        here = join_key(key, database)
        for table, columns in read_mapping(tables, here, of="a mapping {table: [columns]}").items():
            place = join_key(here, table)
            names = frozenset(
                text("the name of a column (text)").read(each, f"{place}[{n}]").lower()
                for n, each in enumerate(read_list(columns, place, of="columns"))
            )
            of_database[table.lower()] = of_database.get(table.lower(), frozenset()) | names
    return FrozenMapping((database, FrozenMapping(tables)) for database, tables in databases.items())


def columns_of(columns: ColumnSets, database: str, table: str) -> frozenset[str]:
    """The configured columns of a source table, in lower case."""
    of_database = columns.get(database.lower())
    return of_database.get(table.lower(), frozenset()) if of_database else frozenset()


def _read_rewrite(value: object, key: str) -> FrozenMapping[str, str]:
    given = read_mapping(value, key, of="a mapping {source database: target database}")
    return FrozenMapping(
        (source, text("the name of a database (text)").read(target, join_key(key, source)))
        for source, target in given.items()
    )


def _read_stream_names(value: object, key: str) -> FrozenMapping[str, str]:
    given = read_mapping(value, key, of="a mapping {queue: name}")
    return FrozenMapping(
        (queue, text("the name of a stream (text)").read(name, join_key(key, queue))) for queue, name in given.items()
    )


def name_streams(
    queues: tuple[QueueSettings, ...], names: FrozenMapping[str, str], key: str
) -> tuple[QueueSettings, ...]:
    """The queues with the names of their streams. Raises ConfigError where a name fits none, or two."""
    for queue in names:
        if queue not in {each.queue for each in queues}:
            raise ConfigError(
                f"no such queue is bound; {nearest(queue, [each.queue for each in queues])}", key=join_key(key, queue)
            )
    named = tuple(replace(each, stream_name=names.get(each.queue, "")) for each in queues)
    streams: dict[str, str] = {}
    for each in named:
        if len(each.stream) > STREAM_LIMIT:
            raise ConfigError(
                f"expected at most {STREAM_LIMIT} characters for the name of a stream, got {len(each.stream)};"
                " give the queue a shorter one here",
                key=join_key(key, each.queue),
            )
        name = each.stream.rstrip(" ")  # as the target's tables compare it
        if name in streams:
            raise ConfigError(
                f"the queue {streams[name]!r} has the stream {each.stream!r} already",
                key=join_key(key, each.queue),
            )
        streams[name] = each.queue
    return named


def _read_policies(value: object, key: str) -> FrozenMapping[str, str]:
    if isinstance(value, str):
        policy = _POLICY.read(value, key)
        return FrozenMapping((kind, policy) for kind in SCHEMA_KINDS)
    policies = dict.fromkeys(SCHEMA_KINDS, "apply")
    for kind, each in read_mapping(value, key, of="a policy or a mapping {kind: policy}").items():
        if kind not in SCHEMA_KINDS:
            raise ConfigError(f"unknown kind of schema change; {nearest(kind, SCHEMA_KINDS)}", key=join_key(key, kind))
        policies[kind] = _POLICY.read(each, join_key(key, kind))
    return FrozenMapping(policies)


def _show_policies(policies: FrozenMapping[str, str]) -> str:
    first = policies[SCHEMA_KINDS[0]]
    others = [f"{kind}: {policy}" for kind, policy in policies.items() if policy != first]
    return ", ".join([first, *others])


def _read_table_name(value: object, key: str) -> str:
    name = text("database.table").read(value, key)
    database, dot, table = name.partition(".")
    if not (database and dot and table):
        refuse("database.table", value, key)
    return name


def _read_log_prefix(value: object, key: str) -> str:
    if value == "":
        return ""
    prefix = text().read(value, key)
    try:
        prefix % "name"
    except (TypeError, ValueError):
        refuse("a file name with one %s for the name of the process, such as 'maxwell_%s.log'", value, key)
    return prefix


def _show_mapping(value: object) -> str:
    return "empty" if not value else str(value)


QUEUES: Final = OptionKind("list of `{exchange: [name, type], queues: {queue: [routing keys]}}`", _read_queues)
QUEUE_ARGUMENTS: Final = OptionKind("mapping", _read_arguments, _show_mapping)
COLUMN_SETS: Final = OptionKind("mapping `{database: {table: [columns]}}`", _read_column_sets, _show_mapping)
REWRITE: Final = OptionKind("mapping `{source: target}`", _read_rewrite, _show_mapping)
STREAM_NAMES: Final = OptionKind("mapping `{queue: name}`", _read_stream_names, _show_mapping)
GLOBS: Final = OptionKind("list of text", _read_globs, lambda value: ", ".join(value) or "empty")
TEXTS: Final = OptionKind("list of text", _read_texts, ", ".join)
SCHEMA_POLICIES: Final = OptionKind("policy, or mapping `{kind: policy}`", _read_policies, _show_policies)
TABLE_NAME: Final = OptionKind("text", _read_table_name)
LOG_PREFIX: Final = OptionKind("text", _read_log_prefix)


def _read_server(value: object, key: str) -> str:
    name = text("auto, or brand and version such as `mysql 8.4`").read(value, key).lower()
    if not re.fullmatch(r"auto|(?:mysql|mariadb) \d+\.\d+(?:\.\d+)?", name):
        refuse("auto, or brand and version such as `mysql 8.4` or `mariadb 10.11`", value, key)
    return name


INPUT_FORMATS: Final = ("maxwell", "canal", "debezium")
DEBEZIUM_CHOICES: Final = {
    "decimal.handling.mode": ("precise", "string", "double"),
    "binary.handling.mode": ("bytes", "base64", "base64-url-safe", "hex"),
    "time.precision.mode": (
        "adaptive_time_microseconds",
        "adaptive",
        "connect",
        "isostring",
        "microseconds",
        "nanoseconds",
    ),
}
"""By the connector's own names; its defaults come first."""


def _read_input_format(value: object, key: str) -> str | FrozenMapping[str, str]:
    choice = one_of(*INPUT_FORMATS)
    if isinstance(value, str):
        return choice.read(value, key)
    given = read_mapping(value, key, of="the name of a format, or a mapping {queue: format}")
    return FrozenMapping((queue, choice.read(name, join_key(key, queue))) for queue, name in given.items())


def _read_time_zone(value: object, key: str) -> str:
    name = text("the name of a time zone").read(value, key)
    try:
        zoneinfo.ZoneInfo(name)
    except (OSError, ValueError, KeyError):
        refuse("the name of a time zone such as Asia/Shanghai", value, key)
    return name


def _read_debezium_modes(value: object, key: str) -> FrozenMapping[str, str]:
    given = read_mapping(value, key)
    for name in given:
        if name not in DEBEZIUM_CHOICES:
            raise ConfigError(f"unknown key; {nearest(name, DEBEZIUM_CHOICES)}", key=join_key(key, name))
    return FrozenMapping(
        (name, one_of(*DEBEZIUM_CHOICES[name]).read(mode, join_key(key, name))) for name, mode in given.items()
    )


INPUT_FORMAT: Final = OptionKind("name, or mapping `{queue: name}`", _read_input_format, str)
TIME_ZONE: Final = OptionKind("name of a time zone", _read_time_zone)
DEBEZIUM_MODES: Final = OptionKind("mapping", _read_debezium_modes, _show_mapping)


SOURCE_SERVER: Final = OptionKind("`auto`, or brand and version", _read_server)
"""What the source is, for what its messages do not tell."""
