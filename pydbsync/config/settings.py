"""The facts of a run: every option declared once, frozen, checked at start, passwords masked."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pydbsync.config.alerts import AlertSettings
from pydbsync.config.conflicts import ConflictSettings
from pydbsync.config.routes import MASK_KEY, ROUTES, RouteSettings, check_routes, check_sink_routes, describe_route
from pydbsync.config.search import SearchSettings
from pydbsync.config.servers import (
    AMQP,
    PUBLIC_PASSWORD,
    TARGET,
    AmqpSettings,
    TargetSettings,
    TlsSettings,
    target_warnings,
)
from pydbsync.config.shapes import (
    COLUMN_SETS,
    DEBEZIUM_MODES,
    GLOBS,
    INPUT_FORMAT,
    LOG_PREFIX,
    QUEUE_ARGUMENTS,
    QUEUES,
    REWRITE,
    SCHEMA_POLICIES,
    SOURCE_SERVER,
    STREAM_NAMES,
    TABLE_NAME,
    TEXTS,
    TIME_ZONE,
    QueueSettings,
    columns_of,
    name_streams,
)
from pydbsync.config.sinks import SINK, RedisSettings, SinkSettings, check_sink
from pydbsync.config.two_way import TWO_WAY, TwoWaySettings
from pydbsync.config.ui import UiSettings, read_ui
from pydbsync.config.values import (
    FLAG,
    SECRET,
    UTC_OFFSET,
    ColumnSets,
    FrozenMapping,
    OptionKind,
    Scalar,
    Secret,
    nearest,
    one_of,
    option,
    options_of,
    read_mapping,
    read_section,
    seconds,
    section_kind,
    size,
    text,
    whole,
)
from pydbsync.config.watching import DdlWatchSettings
from pydbsync.errors import ConfigError

__all__ = [
    "REQUIRED",
    "AlertSettings",
    "AmqpSettings",
    "FrozenMapping",
    "QueueSettings",
    "RetrySettings",
    "Secret",
    "Settings",
    "ShardSettings",
    "TargetSettings",
    "TlsSettings",
    "TwoWaySettings",
    "columns_of",
    "describe",
    "settings_from_mapping",
]

REQUIRED: Final = ("db_info", "rabbitmq_conn_info", "rabbitmq_queue_bind")
"""What a replay from RabbitMQ cannot do without."""

NOT_CONFIGURED: Final = TargetSettings(connect=FrozenMapping())


@dataclass(frozen=True, kw_only=True)
class ShardSettings:
    """The shard router of binlog_consumer.py; its defaults are the original's."""

    databases: tuple[str, ...] = option(("d_ec_crm",), TEXTS, "source databases that are split")
    column: str = option("f_corp_id", text(), "column whose value picks the shard")
    modulo: int = option(128, whole(1, 1_000_000), "number of shards")
    instances: int = option(4, whole(1, 1_000_000), "number of instances that the shards are spread over")

    def owned(self, corpmod: int | None) -> tuple[int, ...]:
        """The shards of the instance `db_corpmod`: n belongs to instance n modulo `instances`.

        The original also counts the shard of the number `db_corpmod` itself, which matters past `instances`.
        """
        if corpmod is None:
            raise ConfigError("is missing: it says which shards this instance owns", key="db_corpmod")
        if corpmod >= self.modulo:
            raise ConfigError(
                f"expected a number below {self.modulo} (sharding.modulo), got {corpmod}", key="db_corpmod"
            )
        return tuple(n for n in range(self.modulo) if n % self.instances == corpmod or n == corpmod)


@dataclass(frozen=True, kw_only=True)
class RetrySettings:
    """Waiting between attempts: exponential with full jitter."""

    first_s: float = option(
        0.5, seconds(0.001, 3600), "upper limit of the first wait; it doubles each time", unit="seconds"
    )
    max_s: float = option(30.0, seconds(0.001, 3600), "upper limit of any wait", unit="seconds")

    def __post_init__(self) -> None:
        if self.first_s > self.max_s:
            raise ConfigError(
                f"expected at most retry.max_s ({self.max_s:g}), got {self.first_s:g}", key="retry.first_s"
            )


@dataclass(frozen=True, kw_only=True)
class Settings:
    """All of them. Field names are the keys of the configuration, but for those that name another `key`."""

    target: TargetSettings = option(NOT_CONFIGURED, TARGET, "the target", key="db_info")
    source: TargetSettings | None = option(
        None, TARGET, "the source, for capture, copy and verify", key="source_db_info"
    )
    sink: SinkSettings | None = option(None, SINK, "the target, where it is no MySQL; `db_info` is not used then")
    amqp: AmqpSettings = option(AmqpSettings(host="127.0.0.1"), AMQP, "RabbitMQ", key="rabbitmq_conn_info")
    queues: tuple[QueueSettings, ...] = option(
        (), QUEUES, "exchanges, queues and routing keys", key="rabbitmq_queue_bind"
    )
    source_server: str = option(
        "auto", SOURCE_SERVER, "the server that Maxwell reads; auto asks `source_db_info`, or takes what GTIDs tell"
    )
    queue_type: str = option("classic", one_of("classic", "quorum"), "type of queues that are declared")
    queue_arguments: FrozenMapping[str, Scalar] = option(
        FrozenMapping[str, Scalar](), QUEUE_ARGUMENTS, "more arguments of queues that are declared"
    )
    stream_names: FrozenMapping[str, str] = option(
        FrozenMapping[str, str](), STREAM_NAMES, "names of checkpoints of queues; the queue's own when not named"
    )
    input_format: str | FrozenMapping[str, str] = option(
        "maxwell", INPUT_FORMAT, "what the messages are of: maxwell (`pydbsync capture` too), canal or debezium"
    )
    maxwell_secret_key: Secret | None = option(None, SECRET, "Maxwell's secret_key, where it encrypts its messages")
    maxwell_former_secret_key: Secret | None = option(
        None, SECRET, "the one before, for messages that are still in the queue when it was changed"
    )
    canal_time_zone: str = option("UTC", TIME_ZONE, "time zone of canal's Java, in which it writes TIMESTAMP")
    debezium_modes: FrozenMapping[str, str] = option(
        FrozenMapping[str, str](), DEBEZIUM_MODES,
        "the connector's binary.handling.mode, and for messages without a schema decimal.handling.mode and"
        " time.precision.mode",
    )  # fmt: skip
    corpmod: int | None = option(None, whole(0, 1_000_000), "number of this instance", key="db_corpmod")

    binary_columns: ColumnSets = option(
        ColumnSets(), COLUMN_SETS, "columns that Maxwell sends as base64, beside what the target's catalogue says"
    )
    timestamp_columns: ColumnSets = option(ColumnSets(), COLUMN_SETS, "columns that are TIMESTAMP at the source only")
    timestamp_offset_s: int = option(
        8 * 3600, UTC_OFFSET, "offset from UTC for `timestamp_columns`", key="timestamp_offset"
    )
    dbname_rewrite: FrozenMapping[str, str] = option(
        FrozenMapping[str, str](), REWRITE, "databases that have another name at the target"
    )
    routes: tuple[RouteSettings, ...] = option(
        (), ROUTES, "tables that have another name, other columns, masked values or only some rows at the target"
    )
    mask_key: Secret | None = option(None, MASK_KEY, "key of masks that have none of their own")
    include: tuple[str, ...] = option((), GLOBS, "only these source tables")
    exclude: tuple[str, ...] = option((), GLOBS, "not these source tables")
    include_maxwell_database: bool = option(False, FLAG, "whether changes of Maxwell's own database are applied")
    maxwell_database: str = option("maxwell", text(), "name of Maxwell's own database at the source")
    sharding: ShardSettings | None = option(
        None, section_kind(ShardSettings), "split databases by the value of a column"
    )

    state_schema: str = option("pydbsync", text(), "schema of the target for checkpoint and parked changes")
    two_way: TwoWaySettings | None = option(
        None, TWO_WAY, "whether the other direction is replayed too: what it has written at the source is left out here"
    )
    apply_mode: str = option("replace", one_of("replace", "upsert", "plain"), "how rows are written")
    prefetch: int = option(10_000, whole(1, 65_535), "messages read ahead, per queue", unit="messages")
    read_ahead_bytes: int = option(32 * 2**20, size(2**16), "size of what is read ahead, per queue", unit="bytes")
    batch_rows: int = option(5_000, whole(1, 1_000_000), "a batch closes at this many rows", unit="rows")
    batch_bytes: int = option(8 * 2**20, size(2**10), "a batch closes at this size of messages", unit="bytes")
    batch_time_s: float = option(
        1.0, seconds(0.001), "a batch closes at this age; one that took the target longer is followed by smaller ones",
        unit="seconds",
    )  # fmt: skip
    target_rows_per_s: int = option(
        0,
        whole(0, 10_000_000),
        "most rows a second that a queue writes to the target; 0 is no limit",
        unit="rows a second",
    )
    transaction_rows: int = option(100_000, whole(1, 100_000_000), "a longer source transaction is cut", unit="rows")
    transaction_wait_s: float = option(0.2, seconds(0), "wait for the rest of a source transaction", unit="seconds")
    lock_timeout_s: float = option(30.0, seconds(1), "a worker silent for so long loses its queue", unit="seconds")
    statement_timeout_s: float = option(
        60.0, seconds(1), "look whether the target still works on a statement that has no answer yet", unit="seconds"
    )
    state_interval_s: float = option(
        1.0, seconds(0), "how often a worker writes what it is doing into the state schema; 0 is never", unit="seconds"
    )
    consumer_poll_s: float = option(
        1.0, seconds(0.01), "longest time between two looks at the queue's consumers", unit="seconds"
    )
    retry: RetrySettings = option(RetrySettings(), section_kind(RetrySettings), "back-off while a server is away")

    detect_conflicts: str = option(
        "auto", one_of("auto", "on", "off"),
        "compare each change with the target's row, which others may have changed; auto does so with `two_way`",
    )  # fmt: skip
    conflicts: ConflictSettings = option(
        ConflictSettings(), section_kind(ConflictSettings), "whose row stays where both sides have changed it"
    )

    on_error: str = option("park", one_of("park", "stop"), "what to do with a change that cannot be applied")
    max_parked: int = option(10_000, whole(0, 2**31), "stop at this many parked changes; 0 is no limit", unit="changes")
    history_days: int = option(
        0, whole(0, 36_500), "keep what was mended, run or repaired for so long in the state schema; 0 is for good",
        unit="days",
    )  # fmt: skip
    lossy_values: str = option(
        "warn",
        one_of("warn", "stop", "park", "off"),
        "what to do with a value that Maxwell may not have carried whole; off for streams of `pydbsync capture`",
    )
    trusted_columns: tuple[str, ...] = option(
        (), TEXTS, "globs of `database.table.column` at the target, whose values are known to arrive whole"
    )
    schema_changes: FrozenMapping[str, str] = option(
        SCHEMA_POLICIES.read("apply", ""), SCHEMA_POLICIES, "what to do with DDL"
    )
    ddl_watch: DdlWatchSettings = option(
        DdlWatchSettings(), section_kind(DdlWatchSettings), "looks for schema changes of the source that never arrive"
    )
    online_schema_change: str = option("collapse", one_of("collapse", "off"), "ghost tables of gh-ost and pt-osc")
    referential_actions: str = option("auto", one_of("auto", "on", "off"), "whether the target must cascade itself")
    on_gap: str = option("warn", one_of("warn", "stop"), "what to do at a proven hole in the stream")
    heartbeat_table: str = option(
        "pydbsync_heartbeat.heartbeat", TABLE_NAME, "table at the source that counts up each second"
    )
    heartbeat_stall_s: float = option(10.0, seconds(1), "no new heartbeat for so long is a stall", unit="seconds")

    metrics_host: str = option("127.0.0.1", text(), "address of the metrics port")
    metrics_port: int = option(0, whole(0, 65_535), "port of the metrics; 0 is off")
    alerts: AlertSettings = option(
        AlertSettings(), section_kind(AlertSettings), "alerts by webhook and e-mail, without a Prometheus"
    )
    ui: UiSettings = option(
        UiSettings(), OptionKind("mapping", read_ui, section=UiSettings), "the web page of `pydbsync ui`"
    )
    log_file_prefix: str = option("maxwell_%s.log", LOG_PREFIX, "log file, `%s` is the name of the process")
    log_file_bytes: int = option(2**30, size(0), "a log file is rotated at this size; 0 is never", unit="bytes")
    log_format: str = option("text", one_of("text", "json"), "form of log lines")
    log_level: str = option("info", one_of("info", "debug", "warn", "error"), "least level that is logged")
    stream: str = option("file", text(), "checkpoint name of a replay from a file")

    @property
    def source_state_schema(self) -> str:
        """The state schema of the source, where replay runs in both directions; empty where it does not."""
        return "" if self.two_way is None else self.two_way.source_state_schema or self.state_schema

    @property
    def detects_conflicts(self) -> bool:
        """Whether each change is compared with the target's row."""
        return self.detect_conflicts == "on" or (self.detect_conflicts == "auto" and self.two_way is not None)

    @property
    def direction(self) -> Literal["replay", "rollback"]:
        """`rollback` if databases are rewritten (many shards back into one), as in the original."""
        return "rollback" if self.dbname_rewrite else "replay"

    def input_format_of(self, queue: str) -> str:
        """What the messages of a queue, or of a file's stream, are of."""
        given = self.input_format
        return given if isinstance(given, str) else given.get(queue, "maxwell")

    def sharded(self) -> Settings:
        """As binlog_consumer.py runs: split by `sharding`, else as the original did; not in the rollback direction."""
        if self.direction == "rollback":
            return self
        sharding = self.sharding or ShardSettings()
        sharding.owned(self.corpmod)
        return dataclasses.replace(self, sharding=sharding)

    def secrets(self) -> tuple[Secret, ...]:
        """Every password of the run, for masking."""
        servers = [self.target, *([self.source] if self.source else [])]
        found = [value for server in servers for value in server.connect.values() if isinstance(value, Secret)]
        if isinstance(self.sink, RedisSettings):
            asked = self.sink.sentinel
            found += [each for each in (self.sink.password, asked and asked.password) if each]
        if isinstance(self.sink, SearchSettings):
            found += [each for each in (self.sink.password, self.sink.api_key) if each]
        return (
            *found,
            *([self.amqp.password] if self.amqp.password != PUBLIC_PASSWORD else []),
            *self.alerts.secrets(),
            *([self.ui.token] if self.ui.token is not None else []),
            *(key for key in (self.maxwell_secret_key, self.maxwell_former_secret_key) if key is not None),
            *([self.mask_key] if self.mask_key is not None else []),
            *(mask.key for route in self.routes for mask in route.mask.values() if mask.key is not None),
        )


def settings_from_mapping(
    given: Mapping[str, object], *, require: Collection[str] = REQUIRED
) -> tuple[Settings, tuple[str, ...]]:
    """Settings, and warnings as sentences. `require` names the keys that this run cannot do without.

    Raises ConfigError with the path of the wrong key.
    """
    read_mapping(given, "")
    options = options_of(Settings)
    scratch = [name for name in given if (base := re.sub(r"\d+$", "", name)) != name and base in options]
    known = {name: value for name, value in given.items() if name not in scratch}
    for name in known:
        if name not in options:
            raise ConfigError(f"unknown key; {nearest(name, options)}", key=name)
    if known.get("sink") is not None:  # the rows, and how far they went, are there
        require = [name for name in require if name != "db_info"]
    for name in require:
        if known.get(name) is None:
            raise ConfigError(f"is missing: {options[name].metadata['doc']}", key=name)
    settings = read_section(Settings, known, "")
    arguments = dict(settings.queue_arguments)
    if settings.queue_type == "quorum":
        arguments["x-queue-type"] = "quorum"
    queues = tuple(dataclasses.replace(queue, arguments=FrozenMapping(arguments)) for queue in settings.queues)
    queues = name_streams(queues, settings.stream_names, "stream_names")
    if settings.sink is not None:
        check_sink(settings.sink, len(queues))
        check_sink_routes(settings.routes, has_source=settings.source is not None)
    sharding = settings.sharding if settings.direction == "replay" else None
    check_routes(
        settings.routes, settings.mask_key, sharded=sharding.databases if sharding else (),
        is_two_way=settings.two_way is not None,
    )  # fmt: skip
    if settings.two_way is not None:
        _check_two_way(settings)
    _check_watch(settings)
    if settings.detects_conflicts:
        if settings.sink is not None:
            raise ConfigError("only a MySQL or MariaDB target has rows to compare with", key="detect_conflicts")
        settings.conflicts.check(two_way=settings.two_way is not None)
    warnings = (*_scratch_warnings(scratch), *_warnings(known, settings))
    settings = dataclasses.replace(settings, queues=queues)
    if settings.direction == "rollback":
        return dataclasses.replace(settings, sharding=None), warnings
    return settings.sharded() if settings.sharding else settings, warnings


def _check_two_way(settings: Settings) -> None:
    """Raises ConfigError where replay in both directions cannot be told apart."""
    if settings.sink is not None:
        raise ConfigError("replay in both directions is between two MySQL servers: there is no way back from a sink",
                          key="two_way")  # fmt: skip
    if settings.source is None:
        raise ConfigError("is missing: with two_way marks are written at the source", key="source_db_info")
    formats = settings.input_format
    if set([formats] if isinstance(formats, str) else formats.values()) - {"maxwell"}:
        raise ConfigError("with two_way the messages must be Maxwell's or capture's", key="input_format")


def _check_watch(settings: Settings) -> None:
    if settings.ddl_watch.is_on and settings.source is None:
        raise ConfigError("needs source_db_info: it compares the target with the source", key="ddl_watch.policy")
    if settings.ddl_watch.is_on and settings.sink is not None:
        raise ConfigError("it compares tables, and a sink has none; leave it off", key="ddl_watch.policy")


def _scratch_warnings(names: list[str]) -> list[str]:
    """The original's own config keeps spare values under such names as `dbname_rewrite2`."""
    return [f"{name}: not used; it looks like a spare copy of {re.sub(r'[0-9]+$', '', name)}" for name in names]


def _warnings(given: Mapping[str, object], settings: Settings) -> list[str]:
    found: list[str] = []
    for key in ("db_info", "source_db_info"):
        if isinstance(section := given.get(key), Mapping):
            found += target_warnings(section, key)
    if settings.sharding and settings.dbname_rewrite:
        found.append("sharding: not used, because dbname_rewrite is set (rollback direction)")
    if settings.amqp.tls and not settings.amqp.tls.verify:
        found.append("rabbitmq_conn_info.tls.verify: the certificate of RabbitMQ is not checked")
    return found


def source_globs(settings: Settings) -> list[tuple[str, str]]:
    """(key, glob) of whatever names databases and tables of the source."""
    found = [("include", each) for each in settings.include]
    found += [("exclude", each) for each in settings.exclude]
    found += [("dbname_rewrite", each) for each in settings.dbname_rewrite]
    found += [("routes", route.table) for route in settings.routes]
    if settings.sharding is not None:
        found += [("sharding.databases", each) for each in settings.sharding.databases]
    return found


def describe(settings: Settings) -> list[str]:
    """What will be done, a line each, for the log at start. No secrets."""
    target = f"{settings.target.address}; rows by {settings.apply_mode}; state in {settings.state_schema}"
    lines = [
        f"target: {target if settings.sink is None else settings.sink.address}",
        f"direction: {settings.direction}",
    ]
    if settings.queues:
        lines.insert(0, f"RabbitMQ: {settings.amqp.address}; {len(settings.queues)} queue(s), {settings.queue_type}")
    for queue in settings.queues:
        keys = ", ".join(queue.routing_keys) or "no routing keys"
        lines.append(f"queue {queue.queue}: from exchange {queue.exchange} ({queue.exchange_type}) by {keys}")
    lines += [f"database {source} -> {target}" for source, target in settings.dbname_rewrite.items()]
    lines += [f"route {describe_route(route)}" for route in settings.routes]
    if sharding := settings.sharding:
        owned = sharding.owned(settings.corpmod)
        lines.append(
            f"shards of {', '.join(sharding.databases)}: {sharding.column} modulo {sharding.modulo}; "
            f"instance {settings.corpmod} owns {len(owned)} of them"
        )
    if settings.include or settings.exclude:
        lines.append(
            f"tables: {', '.join(settings.include) or 'all'}"
            + (f", without {', '.join(settings.exclude)}" if settings.exclude else "")
        )
    lines.append(f"schema changes: {SCHEMA_POLICIES.show(settings.schema_changes)}")
    limit = f", at most {settings.max_parked}" if settings.on_error == "park" and settings.max_parked else ""
    lines.append(
        f"on error: {settings.on_error}{limit}; lossy values: {settings.lossy_values}; gaps: {settings.on_gap}"
    )
    return lines
