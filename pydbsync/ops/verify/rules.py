"""Partitions and versioning of a table, and what of a database is not compared."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from pydbsync.apply.answered import text_or_empty
from pydbsync.apply.connection import Connection
from pydbsync.errors import ApplyError, TransientError
from pydbsync.model import TableName
from pydbsync.ops.servers import Server
from pydbsync.plan.expressions import SpelledExpression, read_expression

_NAMED = 20


def read_partitions(connection: Connection, name: TableName) -> SpelledExpression:
    """How the table is partitioned, in one line; empty if it is not."""
    rows = connection.rows(
        "SELECT partition_method, partition_expression, subpartition_method, subpartition_expression, partition_name,"
        " partition_description, subpartition_name FROM information_schema.partitions WHERE table_schema = %s"
        " AND table_name = %s AND partition_name IS NOT NULL"
        " ORDER BY partition_ordinal_position, subpartition_ordinal_position",
        name,
    )
    if not rows:
        return SpelledExpression("")
    method, expression, sub, sub_expression, *_ = map(text_or_empty, rows[0])
    by, then = read_expression(expression), read_expression(sub_expression)
    parts = {text_or_empty(row[4]): read_expression(text_or_empty(row[5])).text for row in rows}
    split = f" by {sub} ({then.text}): {', '.join(text_or_empty(row[6]) for row in rows)}" if sub else ""
    listed = ", ".join(f"{part} {limit}".strip() for part, limit in parts.items())
    return SpelledExpression(f"by {method} ({by.text}): {listed}{split}", by.functions | then.functions)


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
        if text_or_empty(expression) in ("ROW START", "ROW END"):
            period.append(str(column))
        elif "WITHOUT SYSTEM VERSIONING" in text_or_empty(extra).upper():
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
    yield from (TableName(text_or_empty(database), text_or_empty(name)) for database, name in rows)
