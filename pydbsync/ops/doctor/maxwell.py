"""Maxwell itself: the flags in its config.properties, and the places that it keeps at the source."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from pydbsync.errors import ApplyError, ConfigError
from pydbsync.ops.doctor.binlog import binlog_files
from pydbsync.ops.doctor.catalogue import ColumnFacts, source_tables
from pydbsync.ops.doctor.examination import Away, Examination, NoTables
from pydbsync.ops.doctor.finding import Finding, Level, error, ok, unknown, warning
from pydbsync.ops.doctor.reach import addresses_of
from pydbsync.ops.doctor.variables import number, variables
from pydbsync.ops.status.read import StateReader
from pydbsync.ops.words import listed
from pydbsync.plan.quoting import quote_name

_SILENT_S = 60
_NO_SUCH = (1049, 1146)


class Flag(NamedTuple):
    """What a setting of Maxwell must be, and what happens otherwise."""

    name: str
    wanted: str
    level: Level
    otherwise: str


FLAGS: Final = (
    Flag("producer", "rabbitmq", "error", "nothing is published to RabbitMQ"),
    Flag("output_binlog_position", "true", "error",
         "messages carry no position: what comes twice is applied twice, and a loss cannot be told"),
    Flag("output_xoffset", "true", "error",
         "rows of one transaction cannot be told apart: after a crash of Maxwell some come twice"),
    Flag("output_commit_info", "true", "error", "where a transaction ends is not in the messages: rows come one by"
                                                " one"),
    Flag("output_ddl", "true", "error", "schema changes never arrive: rows are parked after the first ALTER"),
    Flag("output_nulls", "true", "error", "columns that are NULL are left out: they keep their old value at the"
                                          " target"),
    Flag("output_null_zerodates", "false", "error", "zero dates arrive as NULL"),
    Flag("output_naming_strategy", "none", "error", "columns arrive under other names than they have"),
    Flag("encrypt", "none", "error", "messages are encrypted, and maxwell_secret_key is not set"),
    Flag("exclude_columns", "", "error", "these columns never arrive"),
    Flag("javascript", "", "warning", "a filter in JavaScript can change or leave out rows; what it leaves out is a"
                                      " hole"),
    Flag("output_gtid_position", "true", "warning",
         "messages carry no GTID: after a fail-over of the source the place cannot be told (with gtid_mode)"),
    Flag("output_server_id", "true", "warning", "messages do not say which server wrote them: a fail-over is"
                                                " noticed late"),
    Flag("rabbitmq_message_persistent", "true", "error", "RabbitMQ loses what is waiting when it starts again"),
    Flag("replay", "false", "error", "Maxwell keeps no place: after each start it reads what it was told at first"),
    Flag("rabbitmq_exchange_autodelete", "false", "warning", "the exchange goes with its last binding"),
)  # fmt: skip
"""docs/maxwell.md has the same list; a test compares them."""


def check_flags(exam: Examination) -> Iterator[Finding]:
    """What --maxwell FILE sets, over Maxwell's own defaults."""
    given = exam.maxwell
    if given is None:
        return
    wrong = 0
    for flag in FLAGS:
        value = given.get(flag.name, "")
        if value.lower() != flag.wanted:
            if flag.name == "output_gtid_position" and _has_no_gtids(exam):
                continue
            if flag.name == "encrypt" and (own := exam.settings.maxwell_secret_key) is not None:
                if own.reveal() != given.get("secret_key", ""):
                    wrong += 1
                    yield error(
                        "maxwell-flags", "Maxwell's secret_key is another one than maxwell_secret_key: no message could"
                        " be read", "maxwell_secret_key: the secret_key of config.properties",
                    )  # fmt: skip
                continue
            wrong += 1
            yield Finding(
                level=flag.level,
                check="maxwell-flags",
                text=f"Maxwell runs with {flag.name}={value or 'nothing'}: {flag.otherwise}",
                remedy=f"{flag.name}={flag.wanted} in config.properties"
                + ("" if flag.wanted else " (leave it out)")
                + ", and restart Maxwell",
            )
    yield from _exchange(exam, given)
    yield from _addresses(exam, given)
    if not wrong:
        yield ok("maxwell-flags", "Maxwell's flags are as they must be")


def _exchange(exam: Examination, given: dict[str, str]) -> Iterator[Finding]:
    name = given["rabbitmq_exchange"]
    queues = [queue for queue in exam.settings.queues if queue.exchange == name]
    if exam.settings.queues and not queues:
        exchanges = dict.fromkeys(queue.exchange for queue in exam.settings.queues)
        yield error(
            "maxwell-exchange",
            f"Maxwell publishes to exchange {name}, and rabbitmq_queue_bind binds {listed(exchanges)}",
            f"rabbitmq_exchange={next(iter(exchanges))} in config.properties, or ['{name}', …] in rabbitmq_queue_bind",
        )
    if given["rabbitmq_declare_exchange"].lower() == "false":
        return
    for queue in queues[:1]:
        kind = given["rabbitmq_exchange_type"]
        if kind != queue.exchange_type:
            yield error(
                "maxwell-exchange",
                f"Maxwell declares exchange {name} as {kind}, the configuration as {queue.exchange_type}: whoever comes"
                " second is refused, or routing keys mean nothing",
                f"rabbitmq_exchange_type={queue.exchange_type} in config.properties, and restart Maxwell",
            )
        if given["rabbitmq_exchange_durable"].lower() != "true":
            yield error(
                "maxwell-exchange",
                f"Maxwell declares exchange {name} as not durable: it is lost when RabbitMQ starts again, with its"
                f" bindings",
                "rabbitmq_exchange_durable=true in config.properties, and restart Maxwell",
            )


def _addresses(exam: Examination, given: dict[str, str]) -> Iterator[Finding]:
    settings = exam.settings
    if given["rabbitmq_virtual_host"] != settings.amqp.vhost and settings.queues:
        yield warning(
            "maxwell-address",
            f"Maxwell publishes to the virtual host {given['rabbitmq_virtual_host']}, the workers read"
            f" {settings.amqp.vhost}",
            "make rabbitmq_virtual_host in config.properties and rabbitmq_conn_info.vhost the same",
        )
    if settings.queues and not _same_place(
        (given["rabbitmq_host"], given["rabbitmq_port"]), (settings.amqp.host, settings.amqp.port)
    ):
        yield warning(
            "maxwell-address",
            f"Maxwell publishes to RabbitMQ at {given['rabbitmq_host']}:{given['rabbitmq_port']}, the workers read at"
            f" {settings.amqp.host}:{settings.amqp.port}",
            "see that both lead to one broker, as Maxwell's machine and this one see it: rabbitmq_host and"
            " rabbitmq_port in config.properties, or rabbitmq_conn_info.host and .port",
        )
    if settings.source is not None:
        host = given.get("replication_host", given["host"])
        port = given.get("replication_port", given["port"])
        connect = settings.source.connect
        if not _same_place((host, port), (connect.get("host", "localhost"), connect.get("port", 3306))):
            yield warning(
                "maxwell-address",
                f"Maxwell reads the binlog of {host}:{port}, and source_db_info is {settings.source.address}: copy and"
                " verify would look at another server",
                "see that both lead to one server: host and port in config.properties, or source_db_info",
            )
    if given["schema_database"] != settings.maxwell_database:
        yield warning(
            "maxwell-address",
            f"Maxwell's own database is {given['schema_database']}, and maxwell_database says"
            f" {settings.maxwell_database}:"
            " changes of the former would be applied",
            f"maxwell_database: {given['schema_database']}",
        )
    if settings.source is not None:
        for end in ("source", "target"):
            known = variables(exam, end)
            if number(known.get("server_id")) == number(given["replica_server_id"]):
                yield error(
                    "server-id",
                    f"Maxwell reads as server_id {given['replica_server_id']} (replica_server_id), which is the"
                    f" {end}'s own:"
                    " the source ends one of two readers of the same number",
                    "replica_server_id=… in config.properties: a number that no server and no other reader has",
                )


def _same_place(one: tuple[object, object], other: tuple[object, object]) -> bool:
    """Whether two addresses may lead to one server: names of one machine are many, and `localhost` of another machine
    is another one."""
    if str(one[1]) != str(other[1]):
        return False
    found = [addresses_of(str(host)) for host, _ in (one, other)]
    return bool(found[0] & found[1])


def check_readers(exam: Examination) -> Iterator[Finding]:
    """Two readers of one server_id throw each other out."""
    connection = exam.source()
    try:
        if connection.dialect.is_mariadb or connection.dialect.version < (8, 0, 22):
            rows = connection.named_rows("SHOW SLAVE HOSTS")
        else:
            rows = connection.named_rows("SHOW REPLICAS")
    except ApplyError:
        return
    numbers = [int(row.get("Server_id") or row.get("Server_Id") or 0) for row in rows]
    own = number(variables(exam, "source").get("server_id"))
    doubled = sorted({each for each in numbers if numbers.count(each) > 1} | ({own} & set(numbers)))
    if doubled:
        yield error(
            "server-id",
            f"two readers of the source have the server_id {listed(doubled)}: the source ends one of them again and"
            f" again",
            "replica_server_id of Maxwell (config.properties), --server-id of pydbsync capture, server_id of a"
            " replica: each"
            " its own",
        )


def _positions(exam: Examination) -> list[tuple[Any, ...]]:
    """Client, file, offset and last heartbeat of each Maxwell that has a place in this source. Raises Away,
    ApplyError; nothing where there is no database of Maxwell's."""

    def read() -> list[tuple[Any, ...]]:
        try:
            return exam.source().rows(
                "SELECT client_id, binlog_file, binlog_position, last_heartbeat_read FROM"
                f" {quote_name(exam.settings.maxwell_database)}.`positions` WHERE server_id = @@server_id"
            )
        except ApplyError as exc:
            if exc.code in _NO_SUCH:
                return []
            raise

    return exam.known("maxwell positions", read)


def check_places(exam: Examination) -> Iterator[Finding]:
    """Maxwell's own database at the source: where it is, and whether the binlog is still there."""
    database = quote_name(exam.settings.maxwell_database)
    try:
        rows = _positions(exam)
    except ApplyError as exc:
        yield unknown(
            "maxwell-places",
            f"Maxwell's place cannot be seen: {exc}",
            "needs " + exam.granting("source", ("SELECT",), exam.settings.maxwell_database),
        )
        return
    files = binlog_files(exam)
    for row in rows:
        client, file, position, _ = row
        if exam.maxwell is not None and client != exam.maxwell["client_id"]:
            continue
        if files and file not in files:
            yield error(
                "maxwell-places",
                f"Maxwell ({client}) stands at {file}:{position}, which the source has purged: what lies between is"
                " lost",
                "stop it, pydbsync copy the tables anew, and start it at the present end of the binlog",
            )
        elif _age_s(row) >= _SILENT_S:
            yield warning(
                "maxwell-places",
                f"Maxwell ({client}) has read nothing for {_age_s(row):,.0f} s: it does not run, or is that far behind",
                "start it and read its log; where it has been replaced, DELETE FROM"
                f" {database}.positions WHERE client_id = '{client}'",
            )
        else:
            yield ok("maxwell-places", f"Maxwell ({client}) reads the binlog, at {file}:{position}")


def check_publishers(exam: Examination) -> Iterator[Finding]:
    """Two programs that publish one source."""
    try:
        maxwells = [f"Maxwell ({row[0]})" for row in _positions(exam) if _age_s(row) < _SILENT_S]
    except ApplyError:
        maxwells = []
    names = [*maxwells, *_captures(exam)]
    if len(names) > 1:
        yield warning(
            "publishers",
            f"{len(names)} programs read this source to publish it: {listed(names)}: if they publish to one exchange,"
            " all comes twice and counts as duplicates, and a queue fills twice as fast",
            "stop all but one, or give each an exchange of its own",
        )


def _captures(exam: Examination) -> list[str]:
    """Runs of pydbsync capture that write their progress into the state schema now."""
    try:
        tasks = StateReader(exam.target(), exam.settings).tasks()
    except (Away, NoTables, ConfigError):
        return []
    return [
        f"pydbsync capture (pid {task.pid} on {task.host})"
        for task in tasks if task.kind == "capture" and task.is_fresh and not task.is_over
    ]  # fmt: skip


def check_types(exam: Examination) -> Iterator[Finding]:
    """Columns at which Maxwell ends, again at each start."""
    if exam.settings.lossy_values == "off":  # it says that the stream is one of capture
        return
    fatal: dict[str, list[str]] = {}
    for table in source_tables(exam).values():
        for column in table.columns.values():
            if why := _ends_at(column):
                fatal.setdefault(why, []).append(f"{table.name}.{column.name}")
    for why, names in fatal.items():
        yield (warning if exam.maxwell is None else error)(
            "maxwell-types",
            f"Maxwell ends at {why}: {listed(names)}",
            "publish with pydbsync capture (lossy_values: off), which reads them, or leave these tables out of"
            " Maxwell's filter",
        )


def _ends_at(column: ColumnFacts) -> str:
    if column.kind in ("vector", "uuid", "inet4", "inet6"):
        return f"columns of type {column.kind.upper()}"
    if column.charset in ("koi8r", "utf16le", "eucjpms"):
        return f"columns of the character set {column.charset}"
    if "compressed" in column.column_type:
        return "compressed columns"
    if column.kind in ("enum", "set") and any(ord(sign) > 0xFFFF for sign in column.column_type):
        return "labels with 4-byte characters"
    return ""


def _age_s(row: tuple[Any, ...]) -> float:
    heartbeat = row[3]
    return time.time() - int(heartbeat) / 1000 if heartbeat else float("inf")


def _has_no_gtids(exam: Examination) -> bool:
    if exam.settings.source is None:
        return True
    return variables(exam, "source").get("gtid_mode", "OFF").upper() == "OFF"
