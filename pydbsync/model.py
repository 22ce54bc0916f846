"""The words of pydbsync: what travels from stage to stage. No I/O."""

from __future__ import annotations

from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec

from pydbsync.errors import PlanError

ChangeKind: TypeAlias = Literal["insert", "update", "delete"]
RowKind: TypeAlias = Literal[ChangeKind, "bootstrap-insert"]
SchemaKind: TypeAlias = Literal[
    "table-create", "table-alter", "table-drop", "database-create", "database-alter", "database-drop"
]
End: TypeAlias = Literal["source", "target"]


class Delivery(NamedTuple):
    """One message as the broker or a file handed it over."""

    body: bytes
    tag: int
    """What to acknowledge: the delivery tag of AMQP, or the line number of a file (from 1)."""
    redelivered: bool = False


NO_JSON = msgspec.Raw()
"""Stands where a message has no such field; compare with `is`."""


COMMIT_ROW = 2**62
"""The last row of a transaction has no xoffset: it counts as behind all others."""

# What the binlog has room for; a message that says otherwise is none of Maxwell's.
Seconds: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
ServerId: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=2**32)]
RowNumber: TypeAlias = Annotated[int, msgspec.Meta(ge=0, lt=COMMIT_ROW)]
Name: TypeAlias = Annotated[str, msgspec.Meta(min_length=1)]
"""A table without one would stand for its whole database."""


class RowChange(msgspec.Struct, frozen=True, gc=False):
    """One changed row. Fields carry the names of Maxwell's data format; `data` and `old` stay JSON text.

    `ts` is in seconds. `xoffset` counts the rows of a transaction from 0; its last row has `commit` instead.
    Maxwell's primary_key fields are not kept: the key is read from `data`, by the target's own idea of it.
    Source: https://maxwells-daemon.io/dataformat/
    """

    kind: RowKind = msgspec.field(name="type")
    database: Name
    table: Name
    ts: Seconds
    data: msgspec.Raw
    old: msgspec.Raw = NO_JSON
    xid: int | None = None
    xoffset: RowNumber | None = None
    commit: bool = False
    position: str | None = None
    gtid: str | None = None
    server_id: ServerId | None = None
    thread_id: int | None = None
    """Only MySQL's binlog has it."""


_decode_image = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def read_image(image: msgspec.Raw) -> dict[str, msgspec.Raw]:
    """The JSON token of each column of a row's `data` or `old`, in order. Raises PlanError if it is no object."""
    try:
        return _decode_image(image)
    except msgspec.MsgspecError as exc:
        raise PlanError(f"the image of a row is no JSON object: {exc}") from exc


class SessionSettings(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a DDL statement's meaning depended on, named and valued as the source's session variables.

    Capture sends what the binlog tells; None where it does not. Maxwell sends nothing of it.
    """

    sql_mode: str | None = None
    """Without ANSI_QUOTES and NO_BACKSLASH_ESCAPES: the statement's text is spelled as without them."""
    collation_connection: str | None = None
    collation_server: str | None = None
    collation_database: str | None = None
    """Of the session's default database."""
    default_collation_for_utf8mb4: str | None = None
    """MySQL 8 and newer."""
    character_set_collations: str | None = None
    """MariaDB 11.2 and newer."""
    explicit_defaults_for_timestamp: bool | None = None
    time_zone: str | None = None
    """Only where the statement depended on it."""
    system_time_zone: str | None = None
    """What SYSTEM meant at the source, beside `time_zone` SYSTEM: an offset or a zone by name, or as the server
    abbreviates it where none is found that is like it."""
    timestamp: float | None = None
    """The moment of NOW(), with its fraction, where the statement depended on that."""
    auto_increment_increment: int | None = None
    """Capture sends it and the next one only where one of them is not 1, as the binlog does."""
    auto_increment_offset: int | None = None
    lc_time_names: str | int | None = None
    """In which language dates are spelled: a name, or the number that the binlog has for it. Sent where it is not
    en_US, which is 0."""
    default_week_format: int | None = None
    """This and the next one are the source's global ones, which the binlog does not tell; capture sends them where they
    are not 0 and 4."""
    div_precision_increment: int | None = None
    old_mode: str | None = None
    """MariaDB's global one, by which `utf8` is utf8mb3 or utf8mb4; capture sends it where it is the latter."""


class SchemaChange(msgspec.Struct, frozen=True):
    """One DDL message. A statement on several tables comes as several of them, equal in `sql` and `position`.

    `ts` is in seconds (Maxwell sends milliseconds here, always whole seconds). `old` and `def_` are Maxwell's
    descriptions of the table before and after, as JSON text; `database` and `table` name it before.
    """

    kind: SchemaKind
    database: str
    table: str | None
    ts: int
    sql: str
    old: msgspec.Raw = NO_JSON
    def_: msgspec.Raw = NO_JSON
    charset: str | None = None
    position: str | None = None
    gtid: str | None = None
    session: SessionSettings | None = None


class Marker(msgspec.Struct, frozen=True):
    """A message that changes nothing but has a meaning of its own: bootstrap-start and bootstrap-complete."""

    kind: Literal["bootstrap-start", "bootstrap-complete"]
    database: str
    table: str
    ts: int


Change: TypeAlias = RowChange | SchemaChange | Marker


class Place(NamedTuple):
    """A place in a source's binlog; compares in stream order within one `base`."""

    file: int
    offset: int
    xoffset: int
    """The row's number in its transaction, or COMMIT_ROW; 0 for DDL, which has an offset of its own."""


class TableName(NamedTuple):
    """A table's full name, unquoted."""

    database: str
    table: str

    def __str__(self) -> str:
        return f"{self.database}.{self.table}"


# Kinds of columns, as Column.kind names them.
BINARY_KINDS = frozenset({"binary", "varbinary", "tinyblob", "blob", "mediumblob", "longblob"})
BYTES_KINDS = BINARY_KINDS | {"vector"}
"""Kinds of columns whose values are bytes, in base64 in messages."""
TEXT_KINDS = frozenset({"char", "varchar", "tinytext", "text", "mediumtext", "longtext"})
FLOAT_KINDS = frozenset({"float", "double"})
INTEGER_KINDS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
TEMPORAL_KINDS = frozenset({"date", "time", "datetime", "timestamp"})
GEOMETRY_KINDS = frozenset(
    {
        "geometry", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
        "geometrycollection", "geomcollection",
    }
)  # fmt: skip


class Column(msgspec.Struct, frozen=True):
    """One column of a table, as information_schema.columns describes it."""

    name: str
    kind: str
    """data_type in lower case (`int`, `varbinary`, …); `json` for MariaDB's checked LONGTEXT too."""
    column_type: str = ""
    charset: str | None = None
    size: int | None = None
    """Length in bytes of strings, or in bits of BIT."""
    digits: int = 0
    """Fractional digits of temporal columns."""
    nullable: bool = True
    generated: bool = False
    by_session: str = ""
    """Of a generated column that is stored: the setting of the session that writes the row by which it is computed."""
    unsigned: bool = False
    labels: tuple[str, ...] = ()
    """The labels of ENUM and SET."""
    srid: int | None = None
    native_json: bool = False
    """True for MySQL's JSON type, whose values compare as JSON, not as text."""
    collation: str | None = None
    """Of text columns, ENUM and SET."""


class Referrer(NamedTuple):
    """A foreign key of another (or the same) table that points at this one and passes changes on."""

    child: TableName
    columns: tuple[str, ...]
    """The columns of this table that it refers to."""
    on_delete: str
    on_update: str


class Period(NamedTuple):
    """The columns in which a system-versioned table of MariaDB keeps since when and until when a row was current."""

    start: str
    end: str

    def is_missing(self, schema: TableSchema) -> bool:
        """Whether the table lists neither of them."""
        return not any(column.name.lower() in (self.start, self.end) for column in schema.columns)


class TableSchema(msgspec.Struct, frozen=True):
    """The target's table as its catalogue describes it now."""

    name: TableName
    columns: tuple[Column, ...]
    primary_key: tuple[str, ...] = ()
    unique_keys: tuple[tuple[str, ...], ...] = ()
    """Unique keys other than the primary key; a key on an expression or a prefix is listed with its columns."""
    row_key: tuple[str, ...] = ()
    """The columns that identify a row: the primary key, else a unique key without NULLs, else nothing."""
    referrers: tuple[Referrer, ...] = ()
    """Foreign keys with CASCADE, SET NULL or SET DEFAULT that point at this table."""
    triggers: tuple[str, ...] = ()
    transactional: bool = True
    collation: str = ""
    """What a text column gets that names none."""
    period: Period | None = None
    """Of a system-versioned table that declares these columns; the keys are those of current rows, without the end."""
    binlog_lacks: frozenset[str] = frozenset()
    """The generated columns that the server leaves out of UPDATE and DELETE in its binlog."""
    rows_sql: str = ""
    """What stands for the table in FROM where a route makes other columns of its rows, or takes only some of them."""
