"""What a copy would do at the target, found out before anything is done: what it would make, and what forbids it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from pydbsync.apply.catalog import read_table
from pydbsync.apply.connection import Connection
from pydbsync.apply.server_errors import SLOW_CODES
from pydbsync.errors import ApplyError, OperationError, PermanentError
from pydbsync.model import TableName, TableSchema
from pydbsync.ops.conditions import without_table
from pydbsync.ops.copy.definitions import Builder, Inventory
from pydbsync.ops.copy.fields import RowForm
from pydbsync.ops.copy.options import CopyOptions, Existing
from pydbsync.ops.copy.own_tables import OwnTables, is_empty
from pydbsync.ops.copy.tasks import Target
from pydbsync.plan.ddl.lexer import shorten
from pydbsync.plan.quoting import quote_table

_LOOK_S = 2
"""So long each CHECK is looked at."""
_LARGE_BYTES = 10 * 10**9
"""From here on a copy takes long enough for its cost to be said."""


class Preview(msgspec.Struct):
    """Names are those of the target."""

    databases: list[str] = msgspec.field(default_factory=list)
    """To be made."""
    made: list[TableName] = msgspec.field(default_factory=list)
    dropped: list[TableName] = msgspec.field(default_factory=list)
    """Not the copy's: dropped, and made anew."""
    filled: list[TableName] = msgspec.field(default_factory=list)
    """Kept as they are."""
    programs: list[str] = msgspec.field(default_factory=list)
    """Views, triggers, routines and events to be made, with their kind in front."""
    left_out: list[str] = msgspec.field(default_factory=list)
    problems: list[str] = msgspec.field(default_factory=list)
    """Why no copy can be begun, a sentence for each table."""
    notes: list[str] = msgspec.field(default_factory=list)
    """What to know before it is begun."""


def preview(
    source: Connection,
    target: Connection,
    inventory: Inventory,
    *,
    own: OwnTables,
    builder: Builder,
    targets: Callable[[TableName], Sequence[Target]],
    form: Callable[[TableSchema, TableSchema], RowForm],
    existing: Existing,
    is_added: bool,
) -> Preview:
    """Look at every table on both sides; writes nothing. Raises PermanentError, TransientError."""
    found = Preview()
    others = own.others(each.name for name in inventory.tables for each in targets(name))
    refused = []
    views = set(_views(target, others)) if existing != "stop" else set()
    for name in sorted(views):
        found.problems.append(f"{name} is a view or a sequence at the target, no table: drop it, or exclude the table")
    for table in inventory.tables.values():
        for name in dict.fromkeys(each.name for each in targets(table.name)):
            if name in found.made or name in found.dropped or name in refused or name in views:
                continue  # another source table comes to it as well
            if name in others and existing == "keep":
                if not is_added and not is_empty(target, name):
                    refused.append(name)
                else:
                    found.filled.append(name)
                    found.problems += _lacking(source, target, table.name, name, form)
                continue
            if name in others and existing == "stop" and not is_added:
                refused.append(name)
                continue
            (found.dropped if name in others else found.made).append(name)
            try:
                builder.plan_table(table, name.database)
            except OperationError as exc:
                found.problems.append(str(exc))
    if refused:
        listed = ", ".join(map(str, sorted(refused)))
        found.problems.append(
            f"the target has {len(refused)} of the tables already ({listed}): drop them, let copy do it with"
            " --existing drop, or fill empty ones with --existing keep"
        )
    databases = {name.database for name in (*found.made, *found.dropped)}
    there = {str(row[0]) for row in target.rows("SELECT schema_name FROM information_schema.schemata")}
    found.databases = sorted(databases - there)
    found.notes += _firing(target, found.filled)
    return found


def _views(target: Connection, names: Iterable[TableName]) -> Iterator[TableName]:
    """Those of the names that stand for something else than a table."""
    for name in names:
        if target.rows(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s"
            " AND table_type NOT IN ('BASE TABLE', 'SYSTEM VERSIONED')",
            name,
        ):
            yield name


def wrong_conditions(source: Connection, inventory: Inventory, options: CopyOptions) -> list[str]:
    """What is wrong with --where, a sentence for each."""
    problems = without_table(options.where, inventory.tables, done="copied")
    for name in inventory.tables:
        condition = options.condition(name)
        if condition:
            try:
                source.rows(f"SELECT 1 FROM {quote_table(name)} WHERE {condition} LIMIT 0")
            except PermanentError as exc:
                problems.append(f"--where of {name}: {exc}")
    return problems


def broken_checks(
    source: Connection, target: Connection, tables: Iterable[TableName], options: CopyOptions
) -> list[str]:
    """Tables whose rows a CHECK forbids: MariaDB has them from sessions with check_constraint_checks=0, and MySQL takes
    none of them. Where that cannot be seen in a moment, the row tells that the target refuses."""
    if target.dialect.is_mariadb or not source.dialect.is_mariadb:
        return []
    names, problems = set(tables), []
    for database, table, constraint, clause in source.rows(
        "SELECT constraint_schema, table_name, constraint_name, check_clause FROM information_schema.check_constraints"
        " ORDER BY 1, 2, 3"
    ):
        name = TableName(str(database), str(table))
        if name not in names:
            continue
        given = options.condition(name)
        broken = f"SELECT * FROM {quote_table(name)} WHERE NOT ({clause})" + (f" AND ({given})" if given else "")
        try:
            found = source.rows(f"SET STATEMENT max_statement_time = {_LOOK_S} FOR {broken} LIMIT 1")
        except ApplyError as exc:
            if exc.code not in SLOW_CODES:
                raise
            continue
        if found:
            problems.append(
                f"{name} has rows at the source that its CHECK {constraint} forbids, and MySQL takes none of them"
                f" ({shorten(broken, 300)}): mend them there, or make the table by hand with the CHECK NOT ENFORCED and"
                " copy with --existing keep"
            )
    return problems


def expected_cost(inventory: Inventory, options: CopyOptions) -> list[str]:
    """What a copy of many rows takes, in words."""
    size = sum(table.size_bytes for table in inventory.tables.values() if table.has_rows)
    if size < _LARGE_BYTES or options.structure_only:
        return []
    snapshot = (
        " While the snapshot is open the source keeps all older versions of changed rows in its undo tablespaces"
        " (history list), which can grow by what is changed meanwhile."
    )
    if options.watermark:
        snapshot = ""
    return [
        f"the source has about {size / 1e9:,.0f} GB of rows: the target needs as much and its indexes, and its binlog"
        f" once more if it writes one.{snapshot} The source's binlog must be kept until replay has passed the copy's"
        " end."
    ]


def _lacking(
    source: Connection,
    target: Connection,
    source_name: TableName,
    name: TableName,
    form: Callable[[TableSchema, TableSchema], RowForm],
) -> list[str]:
    """Why a table that is kept cannot take the rows."""
    at_source = read_table(source, source_name, with_referrers=False)
    at_target = read_table(target, name, with_referrers=False)
    if at_source is None:
        return []  # gone meanwhile: the round finds that out
    if at_target is None:
        return [f"{name} at the target is a view, which takes no rows of {source_name}: drop it"]
    try:
        form(at_source, at_target)
    except OperationError as exc:
        return [str(exc)]
    return []


def _firing(target: Connection, names: Sequence[TableName]) -> list[str]:
    """The triggers that copied rows set off, a sentence for each table."""
    fired: dict[TableName, list[str]] = {}
    wanted = set(names)
    for database in {name.database for name in wanted}:
        for table, trigger in target.rows(
            "SELECT event_object_table, trigger_name FROM information_schema.triggers WHERE event_object_schema = %s"
            " AND event_manipulation IN ('INSERT', 'DELETE') ORDER BY event_object_table, trigger_name",
            (database,),
        ):
            fired.setdefault(TableName(database, str(table)), []).append(str(trigger))
    return [
        f"{name} at the target has triggers ({', '.join(triggers)}): they are set off by the rows of the copy, and may"
        " change them; drop them until the copy and replay are done"
        for name, triggers in fired.items()
        if name in wanted
    ]


def refuse(problems: Iterable[str]) -> None:
    """Raises OperationError that tells all of them, if there are any."""
    told = list(dict.fromkeys(problems))
    if len(told) == 1:
        raise OperationError(told[0])
    if told:
        raise OperationError(f"{len(told)} things forbid the copy:\n" + "\n".join(f"- {text}" for text in told))
