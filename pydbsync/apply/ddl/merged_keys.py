"""Adds keys without names to a table that several sources feed once, by the keys that the table has at that moment."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from pydbsync.apply.catalog import look_up
from pydbsync.apply.connection import Connection
from pydbsync.errors import PlanError, Stopped
from pydbsync.model import TableName
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.lexer import Brand
from pydbsync.plan.ddl.unnamed_keys import BY_COLUMNS, KeyPart, KeyShape, adds_unnamed_keys, without_keys_there
from pydbsync.plan.quoting import quote_table

_WAIT_S = 1.0


@contextmanager
def unnamed_keys_left(connection: Connection, planned: PlannedSchemaChange, stop: Event) -> Iterator[str | None]:
    """The statement without the keys that are there, to be run inside; None where nothing is left.

    Inside no other worker adds keys so, or two of them would find the same one missing. Raises ApplyError, Stopped.
    """
    brand = connection.dialect.brand
    name = planned.touched[0].before if planned.action == "alter-table" and planned.touched else None
    if name is None or not _adds_unnamed_keys(planned.sql, brand):
        yield planned.sql
        return
    lock = "pydbsync keys " + hashlib.sha1(quote_table(name).encode(), usedforsecurity=False).hexdigest()
    while connection.value("SELECT GET_LOCK(%s, %s)", (lock, _WAIT_S)) != 1:
        if stop.is_set():
            raise Stopped(f"stopped while another worker changes the keys of {name.database}.{name.table}")
    try:
        there, lengths = _read_keys(connection, name), _read_lengths(connection, name)
        yield without_keys_there(planned.sql, brand=brand, there=there, lengths=lengths)
    finally:
        if connection.is_open():
            connection.value("SELECT RELEASE_LOCK(%s)", (lock,))


def _adds_unnamed_keys(sql: str, brand: Brand) -> bool:
    try:
        return adds_unnamed_keys(sql, brand=brand)
    except PlanError:  # words of an operator
        return False


def _read_keys(connection: Connection, name: TableName) -> dict[str, KeyShape]:
    """The keys that consist of columns, but for the primary one; none where there is no such table."""
    # Not SHOW INDEX: on MySQL it refuses a table that another worker alters (1684), for the cardinality alone.
    rows = look_up(
        connection,
        "SELECT index_name, non_unique, column_name, sub_part, collation, index_type FROM information_schema.statistics"
        " WHERE table_schema = %s AND table_name = %s ORDER BY index_name, seq_in_index",
        name,
    )
    found: dict[str, KeyShape] = {}
    on_expressions = {"PRIMARY"}
    for key, not_unique, column, prefix, order, kind in rows:
        if column is None:
            on_expressions.add(key)
            continue
        by_columns = BY_COLUMNS.get(kind)
        part = KeyPart(str(column).lower(), None if by_columns or prefix is None else int(prefix), order == "D")
        before = found[key].parts if key in found else ()
        shape = KeyShape("plain" if int(not_unique) else "unique", (*before, part))
        if by_columns:
            shape = shape._replace(kind=by_columns)
        found[key] = shape
    return {key: shape for key, shape in found.items() if key not in on_expressions}


def _read_lengths(connection: Connection, name: TableName) -> dict[str, int]:
    rows = look_up(
        connection,
        "SELECT column_name, character_maximum_length FROM information_schema.columns"
        " WHERE table_schema = %s AND table_name = %s AND character_maximum_length IS NOT NULL",
        name,
    )
    return {str(column).lower(): int(length) for column, length in rows}
