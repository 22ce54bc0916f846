"""The target's tables, read from its information_schema when they are first needed and after each schema change."""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Iterable
from typing import Any

import msgspec

from pydbsync.apply.answered import text_or_empty
from pydbsync.apply.connection import Connection
from pydbsync.apply.feeders import Feeders
from pydbsync.errors import TransientError
from pydbsync.model import GEOMETRY_KINDS, Column, Period, Referrer, TableName, TableSchema
from pydbsync.plan.ddl.lexer import unquote_string
from pydbsync.plan.lossy import computed_by
from pydbsync.plan.target import Dialect

JSON_CHECK = re.compile(r"json_valid\(`((?:[^`]|``)*)`\)", re.IGNORECASE)
"""How MariaDB says in a CHECK clause that a column, in backquotes, was declared JSON."""
SYSTEM_DATABASES = frozenset({"information_schema", "mysql", "performance_schema", "sys"})
"""Databases of the server itself, which are no data."""
_SKIPPED = 1684
_SKIPPED_FOR_S = 30.0
_LOOK_AGAIN_S = 0.02
_ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT")
_LABEL = re.compile(r"'(?:[^'\\]|''|\\.)*'", re.DOTALL)


class LiveCatalog:
    """`Catalog` over a connection; remembers tables until `forget`."""

    def __init__(self, feeders: Feeders | None = None) -> None:
        """`feeders` is of the stream that the tables are planned for."""
        self._connection: Connection | None = None
        self._tables: dict[TableName, TableSchema] = {}
        self._feeders = feeders

    def attach(self, connection: Connection) -> None:
        """Read over this connection from now on; what was remembered may be old."""
        self._connection = connection
        self._tables.clear()

    @property
    def dialect(self) -> Dialect:
        """What the server is; a guess before the first connection."""
        return self._connection.dialect if self._connection is not None else Dialect()

    def table(self, name: TableName) -> TableSchema | None:
        """The table's schema; None where there is no such table (a view is none)."""
        found = self._tables.get(name)
        if found is None and self._connection is not None:
            found = read_table(self._connection, name)
            if found is not None:  # a table that is missing may be made by hand at any time
                self._tables[name] = found
        return found

    def feeders(self, name: TableName, server_id: int | None) -> tuple[str, ...]:
        """Streams of other servers than this one that feed the table as well."""
        if self._feeders is None or self._connection is None:
            return ()
        return self._feeders.others(self._connection, name, server_id)

    def is_fed(self, name: TableName) -> bool:
        """Whether this stream has fed the table."""
        return self._feeders is not None and self._feeders.has(name)

    def feeders_in(self, database: str, table: str | None) -> tuple[str, ...]:
        """Streams of other servers that feed a table which this stream feeds too, or any one in the database."""
        if self._feeders is None or self._connection is None:
            return ()
        return self._feeders.others_in(self._connection, database, table)

    def collation_of(self, database: str) -> str | None:
        """What a table of the database gets that names none; None where there is no such database."""
        return collation_of(self._connection, database) if self._connection is not None else None

    def forget(self, database: str | None = None) -> None:
        """Look again next time. Foreign keys cross databases, so all tables are forgotten."""
        self._tables.clear()


def look_up(connection: Connection, sql: str, about: tuple[object, ...]) -> list[tuple[Any, ...]]:
    """Rows of information_schema, of all tables that they are about. Raises TransientError, PermanentError.

    On MariaDB a session that holds a lock waits there for nobody, and workers hold that of their stream: a table which
    another session alters at that moment is passed over with a warning, as if it, its columns or keys did not exist.
    """
    deadline = time.monotonic() + _SKIPPED_FOR_S
    while True:
        found = connection.rows(sql, about)
        if not connection.warnings or all(code != _SKIPPED for _, code, _ in connection.rows("SHOW WARNINGS")):
            return found
        if time.monotonic() > deadline:
            raise TransientError("another session alters the tables that are looked at", code=_SKIPPED)
        time.sleep(_LOOK_AGAIN_S)


def in_user_databases(column: str) -> str:
    """The condition that this column of information_schema names no database of the server itself, by bytes: `Sys` is
    one like any other. A MariaDB that is asked about all tables opens two hundred of its own and their views without
    it; each table of information_schema in a join needs its own."""
    names = ", ".join(f"'{name}'" for name in sorted(SYSTEM_DATABASES))
    return f"CAST({column} AS BINARY) NOT IN ({names})"


def databases_with_table(connection: Connection, table: str) -> list[str]:
    """The databases of the target that have a base table of this name."""
    found = look_up(
        connection,
        "SELECT table_schema FROM information_schema.tables WHERE table_name = %s AND table_type <> 'VIEW'"
        " ORDER BY table_schema",
        (table,),
    )
    return [str(row[0]) for row in found]


def collation_of(connection: Connection, database: str) -> str | None:
    """What a table of the database gets that names none; None where there is no such database."""
    found = look_up(
        connection,
        "SELECT default_collation_name FROM information_schema.schemata WHERE schema_name = %s",
        (database,),
    )
    return str(found[0][0]) if found else None


def read_table(connection: Connection, name: TableName, *, with_referrers: bool = True) -> TableSchema | None:
    """One table as information_schema describes it now; None where there is no such base table.

    Whether foreign keys refer to the table can stand in any other one: to answer that, MariaDB opens them all. Who
    reads many tables and need not know leaves it out.
    """
    kind = look_up(
        connection,
        "SELECT t.table_collation, IFNULL(e.transactions, 'NO') FROM information_schema.tables t"
        " LEFT JOIN information_schema.engines e ON e.engine = t.engine"
        " WHERE t.table_schema = %s AND t.table_name = %s AND t.table_type <> 'VIEW'",
        name,
    )
    if not kind:
        return None
    columns, period = _read_columns(connection, name)
    primary, unique, row_key = _read_keys(connection, name, {column.name: column for column in columns}, period)
    return TableSchema(
        name=name,
        columns=columns,
        primary_key=primary,
        unique_keys=unique,
        row_key=row_key,
        referrers=_read_referrers(connection, name) if with_referrers else (),
        triggers=tuple(
            str(row[0])
            for row in look_up(
                connection,
                "SELECT trigger_name FROM information_schema.triggers"
                " WHERE event_object_schema = %s AND event_object_table = %s ORDER BY trigger_name",
                name,
            )
        ),
        transactional=kind[0][1] == "YES",
        collation=text_or_empty(kind[0][0]),
        period=period,
        binlog_lacks=_left_out(connection.dialect, columns, {*primary, *(period or ())}),
    )


def _left_out(dialect: Dialect, columns: Iterable[Column], kept: Collection[str]) -> frozenset[str]:
    """MariaDB (seen on 11.8, not on 10.11) has only keys and periods of the generated columns in UPDATE and DELETE."""
    if not dialect.is_mariadb or dialect.version < (11, 8):
        return frozenset()
    return frozenset(column.name for column in columns if column.generated and column.name not in kept)


def _read_columns(connection: Connection, name: TableName) -> tuple[tuple[Column, ...], Period | None]:
    is_mariadb = connection.dialect.is_mariadb
    srid = "srs_id" if not is_mariadb and connection.dialect.version >= (8, 0, 3) else "NULL"
    checked = _json_columns(connection, name) if is_mariadb else frozenset()
    found = look_up(
        connection,
        "SELECT column_name, data_type, column_type, character_set_name, character_octet_length, numeric_precision,"
        f" datetime_precision, is_nullable, extra, generation_expression, {srid}, collation_name"
        " FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s ORDER BY ordinal_position",
        name,
    )
    # MariaDB opens every table of the server to answer this, so only those with geometry are asked for.
    has_geometry = is_mariadb and any(str(row[1]).lower() in GEOMETRY_KINDS for row in found)
    reference_systems = _reference_systems(connection, name) if has_geometry else {}
    columns = []
    period: dict[str, str] = {}
    for column, kind, full, charset, octets, precision, digits, nullable, extra, expression, srs, collation in found:
        kind, full = str(kind).lower(), text_or_empty(full)
        is_json = kind == "json" or column in checked
        if is_mariadb and text_or_empty(expression) in ("ROW START", "ROW END"):
            period[text_or_empty(expression)] = str(column)
        columns.append(
            Column(
                name=column,
                kind="json" if is_json else kind,
                column_type=full,
                charset="utf8mb4" if kind == "json" else charset,
                size=int(precision) if kind == "bit" and precision else (int(octets) if octets is not None else None),
                digits=int(digits or 0),
                nullable=nullable == "YES",
                generated=bool(text_or_empty(expression))
                or "GENERATED" in str(extra).upper().replace("DEFAULT_GENERATED", ""),
                unsigned="unsigned" in full,
                labels=read_labels(full) if kind in ("enum", "set") else (),
                srid=int(srs) if srs is not None else reference_systems.get(column),
                native_json=kind == "json",
                collation=None if collation is None else str(collation),
            )
        )
    timestamps = {column.name.lower() for column in columns if column.kind == "timestamp"}
    for index, (column, row) in enumerate(zip(columns, found, strict=True)):
        if "STORED" in str(row[8]).upper() and (setting := computed_by(text_or_empty(row[9]), timestamps)):
            columns[index] = msgspec.structs.replace(column, by_session=setting)
    return tuple(columns), Period(period["ROW START"], period["ROW END"]) if len(period) == 2 else None


def _reference_systems(connection: Connection, name: TableName) -> dict[str, int]:
    """MariaDB's REF_SYSTEM_ID of geometry columns, where one is declared."""
    found = look_up(
        connection,
        "SELECT g_geometry_column, srid FROM information_schema.geometry_columns"
        " WHERE g_table_schema = %s AND g_table_name = %s AND srid <> 0",
        name,
    )
    return {str(column): int(srid) for column, srid in found}


def _json_columns(connection: Connection, name: TableName) -> frozenset[str]:
    """MariaDB's JSON is LONGTEXT with a CHECK of its own."""
    clauses = look_up(
        connection,
        "SELECT check_clause FROM information_schema.check_constraints"
        " WHERE constraint_schema = %s AND table_name = %s",
        name,
    )
    matches = (JSON_CHECK.fullmatch(text_or_empty(clause).strip()) for (clause,) in clauses)
    return frozenset(match[1].replace("``", "`") for match in matches if match)


def read_labels(column_type: str) -> tuple[str, ...]:
    """The labels of `enum(...)` as information_schema spells it: string literals, quotes and backslashes escaped."""
    return tuple(unquote_string(match[0]) for match in _LABEL.finditer(column_type))


def _read_keys(
    connection: Connection, name: TableName, columns: dict[str, Column], period: Period | None
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], tuple[str, ...]]:
    keys: dict[str, list[tuple[str | None, object]]] = {}
    for index, column, part in look_up(
        connection,
        "SELECT index_name, column_name, sub_part FROM information_schema.statistics"
        " WHERE table_schema = %s AND table_name = %s AND non_unique = 0 ORDER BY index_name, seq_in_index",
        name,
    ):
        if period is None or column != period.end:  # MariaDB adds it to each key of a versioned table
            keys.setdefault(str(index), []).append((column, part))
    primary = tuple(str(column) for column, _ in keys.get("PRIMARY", []))
    unique = tuple(
        tuple(str(column) for column, _ in parts if column is not None)
        for index, parts in keys.items()
        if index != "PRIMARY"
    )
    if primary:
        return primary, unique, primary
    for index in sorted(keys):
        parts = keys[index]
        if all(
            column is not None and part is None and not columns[column].nullable and not columns[column].generated
            for column, part in parts
        ):
            return (), unique, tuple(str(column) for column, _ in parts)
    return (), unique, ()


def _read_referrers(connection: Connection, name: TableName) -> tuple[Referrer, ...]:
    found: dict[tuple[str, str, str], list[tuple[str, str, str]]] = {}
    for child_db, constraint, child, column, on_delete, on_update, *parent in look_up(
        connection,
        "SELECT k.table_schema, k.constraint_name, k.table_name, k.referenced_column_name, r.delete_rule, r.update_rule"
        ", k.referenced_table_schema, k.referenced_table_name"
        " FROM information_schema.key_column_usage k JOIN information_schema.referential_constraints r"
        "  ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name"
        "  AND r.table_name = k.table_name"
        f" WHERE {in_user_databases('k.table_schema')} AND {in_user_databases('r.constraint_schema')}"
        "  AND k.referenced_table_schema = %s AND k.referenced_table_name = %s"
        " ORDER BY k.table_schema, k.table_name, k.constraint_name, k.ordinal_position",
        name,
    ):
        # MariaDB finds `T` here when it is asked for `t`.
        if tuple(parent) == name or connection.value("SELECT @@lower_case_table_names") != 0:
            found.setdefault((child_db, child, constraint), []).append((column, on_delete, on_update))
    return tuple(
        Referrer(TableName(db, child), tuple(part[0] for part in parts), parts[0][1], parts[0][2])
        for (db, child, _), parts in found.items()
        if _passes_on(parts)
    )


def _passes_on(parts: Iterable[tuple[str, str, str]]) -> bool:
    return any(on_delete in _ACTIONS or on_update in _ACTIONS for _, on_delete, on_update in parts)
