"""Before conflicts are looked for: the tables of the target in which none could be found, or none decided."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydbsync.apply.connection import Connection
from pydbsync.config.conflicts import BY_COLUMN, ConflictPolicy
from pydbsync.config.settings import Settings
from pydbsync.engine.table_plans import conflict_policy, router_from
from pydbsync.errors import ConfigError
from pydbsync.model import TableName
from pydbsync.plan.conflicts import ORDERED_KINDS

_SHOWN = 5
_SYSTEM = ("information_schema", "mysql", "performance_schema", "sys")


class Unfit(NamedTuple):
    """A table that takes part, and why no conflict of it can be found or decided."""

    table: TableName
    why: str


def unfit_tables(connection: Connection, settings: Settings) -> Iterator[Unfit]:
    """Tables of the target that have no key or no transactions, or lack the column that their policy goes by."""
    router = router_from(settings)
    tables = _tables(connection)
    keyed = _keyed(connection)
    engines = {str(row[0]).lower() for row in connection.rows(
        "SELECT engine FROM information_schema.engines WHERE transactions = 'YES'"
    )}  # fmt: skip
    kinds: dict[str, Mapping[TableName, str]] = {}
    for name, engine in tables:
        sources = [TableName(source, name.table) for source in router.sources(name.database)]
        source = next((each for each in sources if router.takes(each)), None)
        if source is None:
            continue
        if name not in keyed:
            yield Unfit(name, "it has no key")
        elif engine.lower() not in engines:
            yield Unfit(name, f"{engine} has no transactions")
        elif (policy := conflict_policy(settings.conflicts, source)).name in BY_COLUMN:
            column = policy.column.lower()
            if column not in kinds:
                kinds[column] = _kinds(connection, column)
            if why := _cannot_decide(policy, kinds[column].get(name)):
                yield Unfit(name, why)


def refuse_unfit(connection: Connection, settings: Settings) -> None:
    """Raises ConfigError where there are such tables."""
    if not settings.detects_conflicts:
        return
    unfit = list(unfit_tables(connection, settings))
    if unfit:
        shown = "; ".join(f"{each.table}: {each.why}" for each in unfit[:_SHOWN])
        more = f"; and {len(unfit) - _SHOWN:,} more" if len(unfit) > _SHOWN else ""
        raise ConfigError(
            f"conflicts cannot be found or decided in tables of the target: {shown}{more}. Give them a primary key,"
            " InnoDB, or another policy (conflicts.tables), or leave them out (exclude)",
            key="detect_conflicts",
        )


def _tables(connection: Connection) -> list[tuple[TableName, str]]:
    rows = connection.rows(
        "SELECT table_schema, table_name, COALESCE(engine, '') FROM information_schema.tables"
        f" WHERE table_type = 'BASE TABLE' AND table_schema NOT IN {_SYSTEM} ORDER BY table_schema, table_name"
    )
    return [(TableName(str(database), str(table)), str(engine)) for database, table, engine in rows]


def _keyed(connection: Connection) -> frozenset[TableName]:
    """Tables with a unique key in which no column may be NULL."""
    rows = connection.rows(
        "SELECT DISTINCT table_schema, table_name FROM information_schema.statistics"
        f" WHERE non_unique = 0 AND table_schema NOT IN {_SYSTEM}"
        " GROUP BY table_schema, table_name, index_name"
        " HAVING SUM(nullable = 'YES' OR column_name IS NULL OR sub_part IS NOT NULL) = 0"
    )
    return frozenset(TableName(str(database), str(table)) for database, table in rows)


def _kinds(connection: Connection, column: str) -> dict[TableName, str]:
    rows = connection.rows(
        "SELECT table_schema, table_name, data_type FROM information_schema.columns"
        f" WHERE column_name = %s AND table_schema NOT IN {_SYSTEM}",
        (column,),
    )
    return {TableName(str(database), str(table)): str(kind).lower() for database, table, kind in rows}


def _cannot_decide(policy: ConflictPolicy, kind: str | None) -> str:
    if kind is None:
        return f"it has no column {policy.column!r}, by which {policy} decides"
    if kind not in ORDERED_KINDS:
        return f"{policy.column} is {kind}, and only numbers and times have one order on every server ({policy})"
    return ""
