"""What the source consists of, and how it is made at the target: databases and tables, before any row."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Container, Iterable

import msgspec

from pydbsync.apply.catalog import SYSTEM_DATABASES, in_user_databases
from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.schema_change import run_statement
from pydbsync.apply.ddl.shown import show_create
from pydbsync.config.settings import Settings
from pydbsync.engine.routing import table_routes
from pydbsync.errors import OperationError, PermanentError, PlanError
from pydbsync.model import SchemaChange, TableName
from pydbsync.plan.ddl.collations import StatementServer
from pydbsync.plan.ddl.for_target import PlannedSchemaChange, plan_schema_change
from pydbsync.plan.quoting import quote_name, quote_table
from pydbsync.route.filters import Filters
from pydbsync.route.router import Router

WITHOUT_ROWS = frozenset({"blackhole", "federated", "mrg_myisam", "connect", "spider", "s3", "ndbcluster"})
"""Engines whose rows are elsewhere, or nowhere: the table is made, its rows are not copied."""

ADVICE = "exclude it, or make it by hand and copy with --existing keep"
_SHAPE = re.compile(r"^  `(?:[^`]|``)+` \w*(?:geom|point|linestring|polygon)\w*\b", re.MULTILINE | re.IGNORECASE)
_COUNTER = re.compile(r" AUTO_INCREMENT=\d+")
_GONE = (1146, 1049, 1356)


class SourceTable(msgspec.Struct):
    """A base table of the source as it was found."""

    name: TableName
    engine: str
    is_transactional: bool
    estimated_rows: int
    size_bytes: int
    """Of the rows, as the server's statistics say."""
    create_sql: str
    fingerprint: str
    """Another one after every change of the definition, and after a rename that put another table in its place."""

    @property
    def has_rows(self) -> bool:
        """Whether the rows are the table's own."""
        return self.engine not in WITHOUT_ROWS


class Inventory(msgspec.Struct):
    """All that takes part."""

    tables: dict[TableName, SourceTable]
    views: tuple[TableName, ...]
    sequences: dict[TableName, str]
    """Name → CREATE SEQUENCE."""
    databases: dict[str, str]
    """Name → CREATE DATABASE."""
    left_out: tuple[str, ...]
    """What is not copied at all, as sentences."""
    unreadable: tuple[str, ...] = ()
    """Tables that the source itself cannot open, as sentences."""


def read_inventory(
    connection: Connection,
    router: Router,
    *,
    chosen: Filters,
    own: Iterable[TableName],
    with_empty: bool,
    to_mariadb: bool = True,
) -> Inventory:
    """What the source has now. `own` are tables of pydbsync itself; `with_empty` takes databases without tables too;
    `to_mariadb` says whether the target takes MariaDB's reference systems."""
    own = set(own)
    tables: dict[TableName, SourceTable] = {}
    views: list[TableName] = []
    sequences: dict[TableName, str] = {}
    left_out: list[str] = []
    unreadable: list[str] = []
    found = connection.rows(
        "SELECT t.table_schema, t.table_name, t.table_type, t.engine, IFNULL(e.transactions, 'NO'), t.table_rows,"
        " t.data_length, t.create_time FROM information_schema.tables t"
        " LEFT JOIN information_schema.engines e ON e.engine = t.engine"
        f" WHERE {in_user_databases('t.table_schema')} ORDER BY t.table_schema, t.table_name"
    )
    for database, table, kind, engine, transactions, rows, size, created in found:
        name = TableName(str(database), str(table))
        if name in own or not (router.takes(name) and chosen.takes(name)):
            continue
        if kind == "VIEW":
            views.append(name)
        elif kind == "SEQUENCE":
            sequences[name] = show_create(connection, f"SHOW CREATE SEQUENCE {quote_table(name)}")
        elif kind in ("BASE TABLE", "SYSTEM VERSIONED"):
            try:
                create_sql = read_definition(connection, name)
            except PermanentError as exc:
                unreadable.append(_unreadable(name, exc))
                continue
            if create_sql is None:
                continue
            fingerprint = _fingerprint(create_sql, created)
            for column, number in _reference_systems(connection, name, create_sql):
                if to_mariadb:
                    create_sql = _with_system(create_sql, column, number)
                    continue
                left_out.append(
                    f"the reference system {number} of column {column} of {name}: MySQL would take no row of another"
                    f" SRID; where all rows have it, ALTER TABLE … MODIFY … SRID {number} adds it there"
                )
            if kind == "SYSTEM VERSIONED":
                left_out.append(f"the history of {name}: its rows of today are copied")
            tables[name] = SourceTable(
                name=name, engine=str(engine or "").lower(), is_transactional=transactions == "YES",
                estimated_rows=int(rows or 0), size_bytes=int(size or 0), create_sql=create_sql,
                fingerprint=fingerprint,
            )  # fmt: skip
    names = {name.database for name in (*tables, *views, *sequences)}
    names |= {
        str(name) for (name,) in connection.rows("SHOW DATABASES")
        if name not in SYSTEM_DATABASES and name not in {each.database for each in own} and with_empty
        and router.filters.takes_database(str(name))
    }  # fmt: skip
    databases = {name: show_create(connection, f"SHOW CREATE DATABASE {quote_name(name)}") for name in sorted(names)}
    return Inventory(tables, tuple(views), sequences, databases, tuple(left_out), tuple(unreadable))


def _reference_systems(connection: Connection, name: TableName, create_sql: str) -> list[tuple[str, int]]:
    """The REF_SYSTEM_ID of columns, which MariaDB's SHOW CREATE TABLE leaves out (10.11, 11.8)."""
    if not connection.dialect.is_mariadb or not _SHAPE.search(create_sql):
        return []
    found = connection.rows(
        "SELECT g_geometry_column, srid FROM information_schema.geometry_columns"
        " WHERE f_table_schema = %s AND f_table_name = %s AND srid <> 0",
        name,
    )
    return [(str(column), int(number)) for column, number in found]


def _with_system(create_sql: str, column: str, number: int) -> str:
    shown = re.compile(rf"^(  {re.escape(quote_name(column))} \w+)(?! REF_SYSTEM_ID)", re.MULTILINE)
    return shown.sub(rf"\g<1> REF_SYSTEM_ID={number}", create_sql, count=1)


def unreadable_rows(connection: Connection, tables: Iterable[SourceTable]) -> list[str]:
    """Why no row of some tables can be read (a broken or discarded file), a sentence each."""
    found = []
    for table in tables:
        if table.has_rows:
            try:
                connection.rows(f"SELECT 1 FROM {quote_table(table.name)} LIMIT 1")
            except PermanentError as exc:
                if exc.code not in _GONE:
                    found.append(_unreadable(table.name, exc))
    return found


def _unreadable(name: TableName, exc: PermanentError) -> str:
    return f"{name} cannot be read at the source: {exc}; mend it there (CHECK TABLE says more), or exclude it"


def read_definition(connection: Connection, name: TableName) -> str | None:
    """CREATE TABLE as the server writes it; None if the table has gone."""
    try:
        return show_create(connection, f"SHOW CREATE TABLE {quote_table(name)}")
    except PermanentError as exc:
        if exc.code in _GONE:
            return None
        raise


def read_fingerprint(connection: Connection, name: TableName) -> str | None:
    """What `SourceTable.fingerprint` would be now; None if the table has gone."""
    created = connection.rows(
        "SELECT create_time FROM information_schema.tables WHERE table_schema = %s AND table_name = %s", name
    )
    create_sql = read_definition(connection, name)
    return _fingerprint(create_sql, created[0][0]) if created and create_sql is not None else None


def _fingerprint(create_sql: str, created: object) -> str:
    return hashlib.sha1(f"{_COUNTER.sub('', create_sql)}\0{created}".encode(), usedforsecurity=False).hexdigest()


def read_families(connection: Connection) -> list[set[TableName]]:
    """Tables that foreign keys with CASCADE, SET NULL or SET DEFAULT tie together, however far."""
    found = connection.rows(
        "SELECT constraint_schema, table_name, unique_constraint_schema, referenced_table_name"
        " FROM information_schema.referential_constraints"
        f" WHERE {in_user_databases('constraint_schema')} AND (delete_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT')"
        " OR update_rule IN ('CASCADE', 'SET NULL', 'SET DEFAULT'))"
    )
    families: list[set[TableName]] = []
    for child_database, child, parent_database, parent in found:
        family = {TableName(str(child_database), str(child)), TableName(str(parent_database), str(parent))}
        touching = [each for each in families if each & family]
        families = [each for each in families if each not in touching]
        families.append(family.union(*touching))
    return families


class Builder:
    """Makes databases and tables at the target, under their names there, in its brand's words."""

    def __init__(
        self, target: Connection, settings: Settings, router: Router, *, source_server: StatementServer, ts: int
    ) -> None:
        self._target = target
        self._settings = settings
        self._router = router
        self._source_server = source_server
        self._target_server = target.dialect.server
        self._ts = ts
        self.notes: list[str] = []
        if not target.dialect.is_mariadb:
            # What the source holds may be wider than a strict target would let be made.
            self._try("SET SESSION innodb_strict_mode = 0")
        else:
            target.execute("SET SESSION innodb_strict_mode = 0")

    def make_database(self, name: str, create_sql: str) -> list[str]:
        """Make all target databases of a source database, where they are missing; which it was."""
        made = []
        for database in self._router.all_databases(name):
            if self._target.rows("SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", (database,)):
                continue
            change = SchemaChange(kind="database-create", database=name, table=None, ts=self._ts, sql=create_sql)
            self._run(self._plan(change, name, database))
            made.append(database)
        return made

    def make_sequence(self, name: TableName, create_sql: str) -> None:
        """Make it in all its target databases, where it is missing. Raises PermanentError."""
        head = f"CREATE SEQUENCE {quote_name(name.table)}"
        for database in self._router.databases(name.database):
            there = quote_table(TableName(database, name.table))
            self._target.execute(f"CREATE SEQUENCE IF NOT EXISTS {there}{create_sql.removeprefix(head)}".encode())

    def make_table(self, table: SourceTable, database: str) -> None:
        """Make the table in one target database. Raises OperationError where it cannot be said in the target's words,
        or the target refuses."""
        try:
            run_statement(self._target, self.plan_table(table, database))
        except PermanentError as exc:
            raise OperationError(
                f"{table.name} cannot be made at the target, which refuses its CREATE TABLE: {exc}; {ADVICE}"
            ) from exc

    def plan_table(self, table: SourceTable, database: str) -> PlannedSchemaChange:
        """The statement that would make it. Raises OperationError where it cannot be said in the target's words."""
        name = table.name
        change = SchemaChange(
            kind="table-create", database=name.database, table=name.table, ts=self._ts, sql=table.create_sql
        )
        return self._plan(change, name.database, database)

    def drop_database(self, name: str, *, only: Container[str]) -> None:
        """Drop the target databases of a source database that has gone, where nothing is left in them."""
        for database in self._router.all_databases(name):
            if database in only and not self._target.rows(
                "SELECT 1 FROM information_schema.tables WHERE table_schema = %s UNION ALL"
                " SELECT 1 FROM information_schema.routines WHERE routine_schema = %s UNION ALL"
                " SELECT 1 FROM information_schema.events WHERE event_schema = %s",
                (database, database, database),
            ):
                self._target.execute(f"DROP DATABASE IF EXISTS {quote_name(database)}".encode())

    def drop_table(self, name: TableName) -> None:
        """Drop a table of the target, if it is there."""
        self._target.execute(f"DROP TABLE IF EXISTS {quote_table(name)}".encode())

    def _plan(self, change: SchemaChange, source: str, target: str) -> PlannedSchemaChange:
        def rename(database: str) -> str:
            if change.table is None and database == source:  # of a database tables may go to several
                return target
            return self._router.rename(database, shard_of=source, shard=target)

        try:
            planned = plan_schema_change(
                change, rename=rename, in_scope=lambda database, table: True, target=self._target_server,
                source=self._source_server, routes=table_routes(self._settings, self._router, source, target),
            )  # fmt: skip
        except PlanError as exc:
            where = f"{change.database}.{change.table}" if change.table else change.database
            raise OperationError(f"{where} cannot be made at the target: {exc}; {ADVICE}") from exc
        if planned is None:
            raise OperationError(f"there is nothing to make of {change.sql!r}")
        for note in planned.notes:
            if note not in self.notes:
                self.notes.append(note)
        return planned

    def _run(self, planned: PlannedSchemaChange) -> None:
        try:
            run_statement(self._target, planned)
        except PermanentError as exc:
            first_line = planned.sql.splitlines()[0]
            raise OperationError(f"the target refuses {first_line!r}: {exc}") from exc

    def _try(self, sql: str) -> None:
        try:
            self._target.execute(sql)
        except PermanentError as exc:
            if exc.code not in (1227, 1193):  # needs a privilege; a table that minds says so
                raise
