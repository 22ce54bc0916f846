"""What capture is told: a frozen set of options, each with its default and its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from pydbsync.config.settings import AmqpSettings, RetrySettings
from pydbsync.errors import ConfigError
from pydbsync.model import TableName

Output = Literal["rabbitmq", "file", "stdout"]
FIRST_SERVER_ID: Final = 0x50000000


@dataclass(frozen=True, kw_only=True)
class StateTable:
    """A schema of a server, usually the target's state schema, where capture keeps its state in two tables."""

    connect: Mapping[str, Any] = field(repr=False)
    """PyMySQL's keywords."""
    schema: str = "pydbsync"


@dataclass(frozen=True, kw_only=True)
class CaptureSettings:
    """All options of one capture."""

    source: Mapping[str, Any] = field(repr=False)
    """PyMySQL's keywords for the source, as Settings.source.connect_keywords() gives them."""
    output: Output = "rabbitmq"
    amqp: AmqpSettings | None = None
    """RabbitMQ, where that is the output."""
    exchange: str = "maxwell"
    exchange_type: str | None = "topic"
    """Of which type to make a missing exchange (durable); None: it must be there."""
    routing_key: str = "%db%.%table%"
    """Maxwell's template. For a database's own DDL the table's part is empty."""
    queues: tuple[str, ...] = ()
    """Queues of RabbitMQ that take the messages, as far as they are known: whether they refuse when they are full."""
    bundle_bytes: int = 0
    """Consecutive messages with the same routing key become one of RabbitMQ's, of about this size: several JSON texts
    in one message, which pydbsync reads and Maxwell's other consumers do not. 0: one message each."""
    file: Path | None = None
    """The file that grows, where that is the output."""

    state: Path | StateTable = Path("capture-state")
    """The folder of its place and schema history, or tables."""
    name: str = "capture"
    """Tells captures apart that share a state schema or a source."""
    start: str = "now"
    """Where to begin without a state: `now`, `binlog.000002:1234`, or a set of GTIDs."""
    by_gtid: bool = False
    """Resume by GTIDs, which a fail-over to a replica survives, rather than by file and offset."""
    with_gtid: bool | None = None
    """Whether messages have `gtid`; None as Maxwell: from MySQL yes, from MariaDB no."""
    follow: bool = True
    """Go on when the end of the binlog is reached; without, stop there."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    """Globs of `database.table`; exclude wins. Left-out rows are not counted in xoffset."""
    state_schema: str = ""
    """The source's own state schema, where replay runs in both directions: of it the marks are published and nothing
    else, whatever `include` and `exclude` say."""
    exact: bool = False
    """Write geometry with its SRID (`SRID=4326;POINT (1 2)`), which Maxwell's consumers may not read."""
    on_unreadable: Literal["stop", "skip"] = "stop"
    """What to do with what changes rows or tables and cannot be published: stop, or log it and go on."""
    skip_at: tuple[str, ...] = ()
    """Places (`binlog.000002:1234`, as the error names them) that are left out although others stop."""

    server_id: int | None = None
    """Under which the source knows this reader; no other replica may have it. None: made from `name`."""
    buffer_bytes: int = 32 * 2**20
    """A transaction up to this size is put together in memory, a larger one on disk."""
    temporary_folder: Path | None = None
    checkpoint_s: float = 1.0
    """The place is stored about so often; after a crash so much is sent again."""
    retry: RetrySettings = field(default_factory=RetrySettings)

    def __post_init__(self) -> None:
        if self.output == "rabbitmq" and self.amqp is None:
            raise ConfigError("is missing: capture publishes to RabbitMQ", key="rabbitmq_conn_info")
        if self.output == "file" and self.file is None:
            raise ConfigError("is missing: the file that capture writes", key="file")
        if not 0 < len(self.name) <= 32:
            raise ConfigError(f"expected 1 to 32 characters, got {self.name!r}", key="name")

    def routing_key_of(self, table: TableName) -> str:
        """The routing key of a table's messages."""
        return self.routing_key.replace("%db%", table.database).replace("%table%", table.table)
