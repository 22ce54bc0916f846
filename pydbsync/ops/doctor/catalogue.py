"""The tables of both ends as the checks need them: read with a few queries, whatever their number."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple

import msgspec

from pydbsync.apply.answered import exact_text
from pydbsync.apply.catalog import SYSTEM_DATABASES
from pydbsync.apply.connection import Connection
from pydbsync.model import TableName
from pydbsync.ops.doctor.examination import Away, Examination


class ColumnFacts(NamedTuple):
    """One column as information_schema has it."""

    name: str
    kind: str
    column_type: str
    charset: str | None
    collation: str | None
    nullable: bool
    has_default: bool
    generated: bool
    octets: int | None


class TableFacts(msgspec.Struct, frozen=True):
    """One base table, or a view that stands in the place of one."""

    name: TableName
    engine: str
    collation: str
    is_view: bool
    columns: Mapping[str, ColumnFacts]
    """By name in lower case."""
    primary_key: tuple[str, ...]
    row_key: tuple[str, ...]
    """The primary key, else a unique key without NULLs, else nothing."""
    unique_keys: Mapping[str, tuple[tuple[str, int], ...]] = {}
    """Those beside the primary key, by name: each column in lower case, and how much of it, 0 for all."""


class ForeignKey(NamedTuple):
    """A child's reference to its parent."""

    name: str
    child: TableName
    parent: TableName
    on_delete: str
    on_update: str

    @property
    def acts(self) -> bool:
        """Whether a change of the parent changes the child."""
        return bool({self.on_delete, self.on_update} & {"CASCADE", "SET NULL", "SET DEFAULT"})


class Pair(NamedTuple):
    """A source table and one of the target tables that it goes to; `target` is None where that does not exist."""

    source: TableFacts
    target_name: TableName
    target: TableFacts | None


def read_tables(connection: Connection, databases: Iterable[str] | None = None) -> dict[TableName, TableFacts]:
    """All tables and views of these databases, or of all but the server's own. Raises TransientError,
    PermanentError."""
    where, about = _condition(databases)
    if not about:
        return {}
    primary: dict[TableName, list[str]] = {}
    unique: dict[tuple[TableName, str], list[tuple[str | None, int | None]]] = {}
    for database, table, index, column, part in connection.rows(
        f"SELECT table_schema, table_name, index_name, column_name, sub_part FROM information_schema.statistics"
        f" WHERE {where} AND non_unique = 0 ORDER BY table_schema, table_name, index_name, seq_in_index",
        about,
    ):
        name = TableName(str(database), str(table))
        if index == "PRIMARY":
            primary.setdefault(name, []).append(str(column))
        else:
            unique.setdefault((name, str(index)), []).append((column, part and int(part)))
    columns: dict[TableName, dict[str, ColumnFacts]] = {}
    for database, table, column, kind, full, charset, collation, nullable, default, extra, octets in connection.rows(
        "SELECT table_schema, table_name, column_name, data_type, column_type, character_set_name, collation_name,"
        " is_nullable, column_default, extra, character_octet_length FROM information_schema.columns"
        f" WHERE {where} ORDER BY table_schema, table_name, ordinal_position",
        about,
    ):
        marks = str(extra).upper().replace("DEFAULT_GENERATED", "")
        columns.setdefault(TableName(str(database), str(table)), {})[str(column).lower()] = ColumnFacts(
            name=str(column),
            kind=str(kind).lower(),
            column_type=exact_text(full).lower(),
            charset=charset,
            collation=collation,
            nullable=nullable == "YES",
            has_default=default is not None or "AUTO_INCREMENT" in marks,
            generated="GENERATED" in marks or "VIRTUAL" in marks or "PERSISTENT" in marks or "STORED" in marks,
            octets=None if octets is None else int(octets),
        )
    found = {}
    for database, table, kind, engine, collation in connection.rows(
        "SELECT table_schema, table_name, table_type, engine, table_collation FROM information_schema.tables"
        f" WHERE {where} AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED', 'VIEW')",
        about,
    ):
        name = TableName(str(database), str(table))
        own = columns.get(name, {})
        key = tuple(primary.get(name, ())) or next(
            (
                tuple(str(column) for column, _ in parts)
                for (table_name, _), parts in unique.items()
                if table_name == name and _identifies(parts, own)
            ),
            (),
        )
        found[name] = TableFacts(
            name=name,
            engine=str(engine or ""),
            collation=str(collation or ""),
            is_view=kind == "VIEW",
            columns=own,
            primary_key=tuple(primary.get(name, ())),
            row_key=key,
            unique_keys={
                index: tuple((str(column).lower(), part or 0) for column, part in parts)
                for (table_name, index), parts in unique.items()
                if table_name == name and all(column is not None for column, _ in parts)
            },
        )
    return found


def read_foreign_keys(connection: Connection, databases: Iterable[str] | None = None) -> list[ForeignKey]:
    """Those of these databases' tables."""
    where, about = _condition(databases, column="constraint_schema")
    if not about:
        return []
    parents = {
        (str(schema), str(table), str(name)): TableName(str(parent_schema), str(parent))
        for schema, table, name, parent_schema, parent in connection.rows(
            "SELECT DISTINCT table_schema, table_name, constraint_name, referenced_table_schema, referenced_table_name"
            f" FROM information_schema.key_column_usage WHERE {where} AND referenced_table_name IS NOT NULL",
            about,
        )
    }
    return [
        ForeignKey(
            str(name),
            TableName(str(schema), str(table)),
            parents[str(schema), str(table), str(name)],
            str(on_delete),
            str(on_update),
        )
        for schema, table, name, on_delete, on_update in connection.rows(
            "SELECT constraint_schema, table_name, constraint_name, delete_rule, update_rule"
            f" FROM information_schema.referential_constraints WHERE {where}",
            about,
        )
        if (str(schema), str(table), str(name)) in parents
    ]


def source_tables(exam: Examination) -> dict[TableName, TableFacts]:
    """The source's base tables that take part. Raises Away, ApplyError."""

    def read() -> dict[TableName, TableFacts]:
        own = {exam.settings.heartbeat_table}
        return {
            name: table
            for name, table in every_source_table(exam).items()
            if not table.is_view and exam.router.takes(name) and str(name) not in own
        }

    return exam.known("source tables", read)


def every_source_table(exam: Examination) -> dict[TableName, TableFacts]:
    """Those of the source and its views, whether they take part or not. Raises Away, ApplyError."""
    return exam.known("every source table", lambda: read_tables(exam.source()))


def source_databases(exam: Examination) -> tuple[str, ...]:
    """Those of `source_tables`, by name. Raises Away, ApplyError."""
    return tuple(sorted({name.database for name in source_tables(exam)}))


def target_databases(exam: Examination) -> list[str]:
    """The databases at the target that are written to, as far as source and configuration tell. Raises Away."""

    def find() -> list[str]:
        settings = exam.settings
        try:
            names = {db for name in source_tables(exam) for db in exam.router.all_databases(name.database)}
        except Away:
            names = set(settings.dbname_rewrite.values())
            plain = [glob.partition(".")[0] for glob in settings.include]
            names |= {db for name in plain if not set(name) & set("*?[") for db in exam.router.databases(name)}
            if not names:
                heartbeat = settings.heartbeat_table.partition(".")[0]
                own = SYSTEM_DATABASES | {settings.state_schema, settings.maxwell_database, heartbeat}
                present = {str(row[0]) for row in exam.target().rows("SHOW DATABASES")} - own
                names = {name for name in present if exam.router.filters.takes_database(name)}
        return sorted(names)

    return exam.known("target databases", find)


def target_tables(exam: Examination) -> dict[TableName, TableFacts]:
    """The tables and views of those databases. Raises Away, ApplyError."""
    return exam.known("target tables", lambda: read_tables(exam.target(), target_databases(exam)))


def pairs(exam: Examination) -> list[Pair]:
    """Each source table with each of its targets. Raises Away, ApplyError."""

    def find() -> list[Pair]:
        folds = folding(exam.target())
        present = {
            TableName(folds(name.database), folds(name.table)): table for name, table in target_tables(exam).items()
        }
        found = []
        for name, table in source_tables(exam).items():
            for wanted in exam.router.targets(name):
                found.append(Pair(table, wanted, present.get(TableName(folds(wanted.database), folds(wanted.table)))))
        return found

    return exam.known("pairs", find)


def folding(connection: Connection) -> Callable[[str], str]:
    """How the server compares names of databases and tables."""
    return str.lower if int(connection.value("SELECT @@lower_case_table_names")) else str


def _identifies(parts: list[tuple[str | None, int | None]], columns: Mapping[str, ColumnFacts]) -> bool:
    for column, part in parts:
        facts = columns.get(str(column).lower()) if column is not None else None
        if facts is None or part is not None or facts.nullable or facts.generated:
            return False
    return True


def _condition(databases: Iterable[str] | None, column: str = "table_schema") -> tuple[str, tuple[object, ...]]:
    if databases is None:
        return f"{column} NOT IN %s", (tuple(sorted(SYSTEM_DATABASES)),)
    names = tuple(databases)
    return f"{column} IN %s", (names,) if names else ()
