"""Before conflicts are looked for: the tables of the target in which none could be found, or none decided."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from pydbsync.apply.connection import Connection
from pydbsync.config.conflicts import BY_COLUMN, ConflictPolicy
from pydbsync.config.settings import Settings
from pydbsync.engine.table_plans import conflict_policy, router_from
from pydbsync.errors import ApplyError, ConfigError
from pydbsync.model import TableName
from pydbsync.plan.conflicts import ORDERED_KINDS
from pydbsync.plan.quoting import quote_name

_SHOWN = 5
_ANSWER_S = 4.0
_ALIVE_S = 30
"""A worker writes what it does once a second."""
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


def other_end(settings: Settings) -> Iterator[str]:
    """Why the policies of workers that apply the other direction now do not go with these, as sentences. Raises
    ApplyError and ConfigError where the other end cannot be asked."""
    if settings.two_way is None or settings.source is None or not settings.detects_conflicts:
        return
    keywords = {**settings.source.connect_keywords(), "connect_timeout": _ANSWER_S}
    connection = Connection(keywords, key=settings.source.key, read_timeout_s=_ANSWER_S)
    try:
        rows = connection.rows(
            f"SELECT stream, conflict_rule FROM {quote_name(settings.source_state_schema)}.`worker`"
            f" WHERE state <> 'stopped' AND written_at > CURRENT_TIMESTAMP - INTERVAL {_ALIVE_S} SECOND"
        )
    finally:
        connection.close()
    for stream, rule in rows:
        if rule is None:
            yield f"{stream} at the other end does not look for conflicts"
        elif why := settings.conflicts.contradicts(str(rule), has_other_names=bool(settings.dbname_rewrite)):
            yield f"{stream} at the other end: {why}"


def refuse_other_end(settings: Settings, log: logging.Logger) -> None:
    """Raises ConfigError where a worker that applies the other direction now decides otherwise. Where the other end
    cannot be asked, its own worker asks this one."""
    try:
        found = list(other_end(settings))
    except (ApplyError, ConfigError) as exc:
        log.info("what decides conflicts at the other end is not known: %s", exc)
        return
    if found:
        raise ConfigError(
            f"both ends would end with different rows: {found[0]}. Give both the same policies and prefer the same"
            " server, `source` at one end and `target` at the other; stop both, then start them (docs/conflicts.md)",
            key="conflicts",
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
