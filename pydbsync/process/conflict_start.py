"""Before replay begins: the tables in which no conflict could be found or decided, or no mark would stand."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from pydbsync.apply.catalog import in_user_databases
from pydbsync.apply.connection import Connection, connection_for_questions
from pydbsync.config.conflicts import BY_COLUMN, ConflictPolicy
from pydbsync.config.settings import Settings, TargetSettings
from pydbsync.engine.routing import conflict_policy, router_from
from pydbsync.errors import ApplyError, ConfigError, PermanentError
from pydbsync.model import TableName
from pydbsync.plan.conflicts import ORDERED_KINDS
from pydbsync.plan.quoting import quote_name

_SHOWN = 5
NEEDS_TRANSACTIONS = "ALTER TABLE ... ENGINE=InnoDB at both servers, or leave them out (exclude)"
_ANSWER_S = 4.0
_MISSING = (1049, 1146)
_ALIVE_S = 30
"""A worker writes what it does once a second."""
_ACTIONS = ("CASCADE", "SET NULL", "SET DEFAULT")


class Unfit(NamedTuple):
    """A table that takes part, and why no conflict of it can be found or decided."""

    table: TableName
    why: str


def unfit_tables(connection: Connection, settings: Settings, sources: Iterable[TableName]) -> Iterator[Unfit]:
    """Of the target's tables that these of the source go to, those that have no key or no transactions, or lack the
    column that their policy goes by."""
    router = router_from(settings)
    tables, keyed = _tables(connection), _keyed(connection)
    engines = _engines_with_transactions(connection)
    kinds: dict[str, Mapping[TableName, str]] = {}
    for source in sources:
        for name in router.targets(source) if router.takes(source) else ():
            if name not in tables:
                continue
            if name not in keyed:
                yield Unfit(name, "it has no key")
            elif tables[name].lower() not in engines:
                yield Unfit(name, f"{tables[name]} has no transactions")
            elif (policy := conflict_policy(settings.conflicts, source)).name in BY_COLUMN:
                column = policy.column.lower()
                if column not in kinds:
                    kinds[column] = _kinds(connection, column)
                if why := _cannot_decide(policy, kinds[column].get(name)):
                    yield Unfit(name, why)


def tables_of(connection: Connection) -> list[TableName]:
    """All tables of a server but its own."""
    return list(_tables(connection))


def without_transactions(connection: Connection, names: Iterable[TableName]) -> list[str]:
    """Those of the tables whose storage engine has no transactions, with the engine."""
    tables, engines = _tables(connection), _engines_with_transactions(connection)
    return [
        f"{name} ({tables[name]})"
        for name in dict.fromkeys(names)
        if name in tables and tables[name].lower() not in engines
    ]


def unmarkable(target: Connection, source: Connection, settings: Settings) -> list[str]:
    """Tables of which nothing would tell what one of two directions has written: their rows are no part of a marked
    transaction. Empty where replay goes one way."""
    if settings.two_way is None:
        return []
    router = router_from(settings)
    names = [name for name in tables_of(source) if router.takes(name)]
    targets = [each for name in names for each in router.targets(name)]
    found = [f"{each} of the source" for each in without_transactions(source, names)]
    return found + [f"{each} of the target" for each in without_transactions(target, targets)]


def acting_children(source: Connection, target: Connection, settings: Settings) -> list[str]:
    """Tables whose rows change with those that their foreign keys point at, where that stands in no binlog: of a parent
    that is in conflict each end would keep other children."""
    if not settings.detects_conflicts or not any(
        each.dialect.is_mariadb or each.dialect.version < (9, 6) for each in (source, target)
    ):
        return []
    acting = {
        TableName(str(database), str(table))
        for database, table in target.rows(
            "SELECT constraint_schema, table_name FROM information_schema.referential_constraints"
            f" WHERE {in_user_databases('constraint_schema')}"
            f"  AND (delete_rule IN {_ACTIONS} OR update_rule IN {_ACTIONS})"
        )
    }
    router = router_from(settings)
    targets = {each for name in tables_of(source) if router.takes(name) for each in router.targets(name)}
    return [str(name) for name in sorted(acting & targets)]


def refuse_unfit(connection: Connection, settings: Settings, log: logging.Logger) -> None:
    """Raises ConfigError where a table that takes part is unfit, as far as the source tells which do."""
    if settings.source is None or not (settings.detects_conflicts or settings.two_way is not None):
        return
    try:
        with _asked(settings.source) as source:
            names = tables_of(source)
            unmarked = unmarkable(connection, source, settings)
            acting = acting_children(source, connection, settings)
    except (ApplyError, ConfigError) as exc:
        log.info("which tables take part is not known, and none is looked at for conflicts beforehand: %s", exc)
        return
    if unmarked:
        raise ConfigError(
            f"tables without transactions: {listed(unmarked)}. What one direction writes there the other could not"
            f" tell from what others write; {NEEDS_TRANSACTIONS}",
            key="two_way",
        )
    if not settings.detects_conflicts:
        return
    if acting:
        log.warning(
            "foreign keys change rows of %s, which stands in no binlog: of a parent that is in conflict each end may"
            " keep other children, compare them (verify)", listed(acting),
        )  # fmt: skip
    unfit = list(unfit_tables(connection, settings, names))
    if unfit:
        shown = listed([f"{each.table}: {each.why}" for each in unfit])
        raise ConfigError(
            f"conflicts cannot be found or decided in tables of the target: {shown}. Give them a primary key,"
            " InnoDB, or another policy (conflicts.tables), or leave them out (exclude)",
            key="detect_conflicts",
        )


def listed(names: Sequence[str]) -> str:
    """The first of them, and how many more there are."""
    more = f"; and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more


@contextmanager
def _asked(server: TargetSettings) -> Iterator[Connection]:
    """A connection for a question or two. Raises ApplyError, ConfigError."""
    connection = connection_for_questions(server, answer_s=_ANSWER_S)
    try:
        yield connection
    finally:
        connection.close()


def other_end(settings: Settings) -> Iterator[str]:
    """Why the policies of workers that apply the other direction now do not go with these, as sentences. Raises
    ApplyError and ConfigError where the other end cannot be asked."""
    if settings.two_way is None or settings.source is None or not settings.detects_conflicts:
        return
    with _asked(settings.source) as source:
        try:
            rows = source.rows(
                f"SELECT stream, conflict_rule FROM {quote_name(settings.source_state_schema)}.`worker`"
                f" WHERE state <> 'stopped' AND written_at > CURRENT_TIMESTAMP - INTERVAL {_ALIVE_S} SECOND"
            )
        except PermanentError as exc:
            if exc.code in _MISSING:
                return  # no worker has ever run there
            raise
    has_other_names = bool(settings.dbname_rewrite or settings.routes)
    for stream, rule in rows:
        if rule is None:
            yield f"{stream} at the other end does not look for conflicts"
        elif why := settings.conflicts.contradicts(str(rule), has_other_names=has_other_names):
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


def _tables(connection: Connection) -> dict[TableName, str]:
    """The engine of each."""
    rows = connection.rows(
        "SELECT table_schema, table_name, COALESCE(engine, '') FROM information_schema.tables"
        f" WHERE table_type = 'BASE TABLE' AND {in_user_databases('table_schema')} ORDER BY table_schema, table_name"
    )
    return {TableName(str(database), str(table)): str(engine) for database, table, engine in rows}


def _engines_with_transactions(connection: Connection) -> frozenset[str]:
    rows = connection.rows("SELECT engine FROM information_schema.engines WHERE transactions = 'YES'")
    return frozenset(str(engine).lower() for (engine,) in rows)


def _keyed(connection: Connection) -> frozenset[TableName]:
    """Tables with a unique key in which no column may be NULL."""
    rows = connection.rows(
        "SELECT DISTINCT table_schema, table_name FROM information_schema.statistics"
        f" WHERE non_unique = 0 AND {in_user_databases('table_schema')}"
        " GROUP BY table_schema, table_name, index_name"
        " HAVING SUM(nullable = 'YES' OR column_name IS NULL OR sub_part IS NOT NULL) = 0"
    )
    return frozenset(TableName(str(database), str(table)) for database, table in rows)


def _kinds(connection: Connection, column: str) -> dict[TableName, str]:
    rows = connection.rows(
        "SELECT table_schema, table_name, data_type FROM information_schema.columns"
        f" WHERE column_name = %s AND {in_user_databases('table_schema')}",
        (column,),
    )
    return {TableName(str(database), str(table)): str(kind).lower() for database, table, kind in rows}


def _cannot_decide(policy: ConflictPolicy, kind: str | None) -> str:
    if kind is None:
        return f"it has no column {policy.column!r}, by which {policy} decides"
    if kind not in ORDERED_KINDS:
        return f"{policy.column} is {kind}, and only numbers and times have one order on every server ({policy})"
    return ""
