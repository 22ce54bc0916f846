"""CHECK constraints and partitions of a table, and what of a database is not compared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from pydbsync.apply.catalog import JSON_CHECK
from pydbsync.apply.connection import Connection
from pydbsync.errors import ApplyError, TransientError
from pydbsync.model import TableName, TableSchema
from pydbsync.ops.servers import Server

_NAMED = 20


def read_checks(connection: Connection, schema: TableSchema) -> dict[str, str]:
    """The CHECK constraints by name, but for those that make JSON of MariaDB's text."""
    if connection.dialect.is_mariadb:
        # A column's own CHECK has the column's name, which a constraint of the table may have too.
        level = "c.level" if connection.dialect.version >= (10, 5, 10) else "''"
        rows = connection.rows(
            f"SELECT CONCAT(c.constraint_name, IF({level} = 'Column', ' (of the column)', '')), c.check_clause, 'YES'"
            " FROM information_schema.check_constraints c WHERE c.constraint_schema = %s AND c.table_name = %s",
            schema.name,
        )
    elif connection.dialect.version >= (8, 0, 16):
        rows = connection.rows(
            "SELECT c.constraint_name, c.check_clause, t.enforced FROM information_schema.check_constraints c"
            " JOIN information_schema.table_constraints t ON t.constraint_schema = c.constraint_schema"
            "  AND t.constraint_name = c.constraint_name AND t.constraint_type = 'CHECK'"
            " WHERE t.table_schema = %s AND t.table_name = %s",
            schema.name,
        )
    else:
        return {}
    documents = {column.name for column in schema.columns if column.kind == "json"}
    found = {}
    for name, clause, enforced in rows:
        text = _text(clause)
        is_json = (match := JSON_CHECK.fullmatch(text.strip())) and match[1].replace("``", "`") in documents
        if not is_json:
            found[str(name)] = text + ("" if str(enforced).upper() == "YES" else " not enforced")
    return found


def read_partitions(connection: Connection, name: TableName) -> str:
    """How the table is partitioned, in one line; empty if it is not."""
    rows = connection.rows(
        "SELECT partition_method, partition_expression, subpartition_method, subpartition_expression, partition_name,"
        " partition_description FROM information_schema.partitions WHERE table_schema = %s AND table_name = %s"
        " AND partition_name IS NOT NULL ORDER BY partition_ordinal_position, subpartition_ordinal_position",
        name,
    )
    if not rows:
        return ""
    method, expression, sub, sub_expression, _, _ = map(_text, rows[0])
    parts = dict.fromkeys(f"{_text(row[4])} {_text(row[5])}".strip() for row in rows)
    split = f" by {sub} ({sub_expression}), {len(rows)} in all" if sub else ""
    return f"by {method} ({expression}){split}: {', '.join(parts)}"


def read_versioning(connection: Connection, name: TableName) -> str:
    """How MariaDB keeps the former rows of the table, in one line; empty where it does not."""
    if not connection.dialect.is_mariadb or not connection.rows(
        "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
        " AND table_type = 'SYSTEM VERSIONED'",
        name,
    ):
        return ""
    period, without = [], []
    for column, extra, expression in connection.rows(
        "SELECT column_name, extra, generation_expression FROM information_schema.columns WHERE table_schema = %s"
        " AND table_name = %s ORDER BY ordinal_position",
        name,
    ):
        if _text(expression) in ("ROW START", "ROW END"):
            period.append(str(column))
        elif "WITHOUT SYSTEM VERSIONING" in _text(extra).upper():
            without.append(str(column))
    parts = ["system-versioned", f"by {' and '.join(period)}" if period else ""]
    return " ".join([*filter(None, parts), *([f"without {', '.join(without)}"] if without else [])])


def not_compared(source: Server, databases: Collection[str]) -> list[str]:
    """Views, triggers, events and routines of the source's databases: nobody says whether the target has them."""
    if not databases:
        return []
    marks = ", ".join(["%s"] * len(databases))
    found: list[str] = []
    for what, names in (
        ("view", f"SELECT table_schema, table_name FROM information_schema.views WHERE table_schema IN ({marks})"),
        (
            "trigger",
            f"SELECT trigger_schema, trigger_name FROM information_schema.triggers WHERE trigger_schema IN ({marks})",
        ),
        ("event", f"SELECT event_schema, event_name FROM information_schema.events WHERE event_schema IN ({marks})"),
        (
            "routine",
            f"SELECT routine_schema, routine_name FROM information_schema.routines WHERE routine_schema IN ({marks})",
        ),
    ):
        found += [f"{what} {name}" for name in sorted(_names(source, names, tuple(databases)))]
    return [*found[:_NAMED], f"{len(found) - _NAMED} more"] if len(found) > _NAMED else found


def _names(source: Server, sql: str, databases: tuple[str, ...]) -> Iterator[TableName]:
    try:
        rows: Iterable[tuple[object, ...]] = source.rows(sql, databases)
    except TransientError:
        raise
    except ApplyError:  # a view whose tables are gone, or what the user may not see
        rows = ()
    yield from (TableName(_text(database), _text(name)) for database, name in rows)


def _text(value: object) -> str:
    if isinstance(value, bytes):
        return value.decode("utf-8")
    return "" if value is None else str(value)
