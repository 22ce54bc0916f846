"""The state schema in the target: made and brought up to date at start, with clear errors where rights are missing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

from pydbsync import __version__
from pydbsync.apply.connection import Connection
from pydbsync.apply.tables.migrations import (
    MIGRATIONS,
    VERSION_TABLE,
    Migration,
    MigrationStep,
    PresentSchema,
    RowsChange,
    missing_columns,
    newest_version,
    statements,
    taken,
)
from pydbsync.errors import ConfigError, PermanentError, TransientError
from pydbsync.plan.quoting import quote_name

_LOCK_WAIT_S = 60
_DONE_BY_ANOTHER = (1050, 1060, 1061)
"""A table, column or key of the name is there already: in a cluster the lock holds at one node only."""


def ensure_state_schema(connection: Connection, schema: str, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Make the state schema, or bring an older one up to date; writes nothing where all is right.

    Raises ConfigError if the user may not, or if the schema is newer than this pydbsync; TransientError while another
    process brings it up to date.
    """
    schema_work = _SchemaUpgrade(connection, schema, migrations)
    try:
        if schema_work.is_done():
            return
        lock = f"pydbsync schema:{hashlib.sha256(schema.encode()).hexdigest()[:40]}"
        if connection.value("SELECT GET_LOCK(%s, %s)", (lock, _LOCK_WAIT_S)) != 1:
            raise TransientError(
                f"another process has been bringing the state schema {schema!r} up to date for {_LOCK_WAIT_S} s"
                " (a large table takes its time; SHOW PROCESSLIST at the target shows it)"
            )
        try:
            schema_work.do()
        finally:
            if connection.is_open():
                connection.value("SELECT RELEASE_LOCK(%s)", (lock,))
    except PermanentError as exc:
        raise ConfigError(
            f"the state schema {schema!r} cannot be read, made or brought up to date in the target: {exc}; grant"
            " the user SELECT, INSERT, UPDATE, DELETE on it, and CREATE, ALTER, INDEX, or start once as a user that has"
            " these (docs/rights.md)",
            key="state_schema",
        ) from exc


def check_state_version(connection: Connection, schema: str) -> int:
    """The version of the state schema, 0 where there is none yet. Raises ConfigError if it is newer than we are."""
    return _SchemaUpgrade(connection, schema, MIGRATIONS).version()


def lost_parts(connection: Connection, schema: str) -> list[str]:
    """Tables, and tables with columns, that the recorded versions have made and that are not there any more; the next
    start makes them anew, empty."""
    return _SchemaUpgrade(connection, schema, MIGRATIONS).lost()


class _SchemaUpgrade:
    """What is to be done to one state schema."""

    def __init__(self, connection: Connection, schema: str, migrations: Sequence[Migration]) -> None:
        self._connection = connection
        self._schema = schema
        self._migrations = migrations
        self._versions = f"{quote_name(schema)}.{quote_name(VERSION_TABLE.name)}"

    def version(self) -> int:
        """The newest that is recorded."""
        return max(self._recorded(self._look()), default=0)

    def is_done(self) -> bool:
        """Whether nothing is to be done: every version recorded, every table, column and key there."""
        found = self._look()
        recorded = self._recorded(found)
        return {migration.version for migration in self._migrations} <= recorded and not any(
            self._statements(step, found, is_recorded=True)
            for migration in self._migrations
            for step in migration.steps
        )

    def lost(self) -> list[str]:
        """What a recorded version should have: `parked`, or `worker (lag_s)`."""
        found = self._look()
        recorded = self._recorded(found)
        lost: dict[str, list[str]] = {}
        for migration in self._migrations:
            for step in migration.steps:
                if migration.version not in recorded or isinstance(step, RowsChange):
                    continue
                columns = lost.setdefault(step.name, [])
                if found.has_table(step.name):
                    columns += missing_columns(step, found)
                elif not columns:
                    columns.append("")
        return [f"{name} ({', '.join(columns)})" if columns[0] else name for name, columns in lost.items() if columns]

    def do(self) -> None:
        """Take the steps that are not taken yet, in order. Needs the lock."""
        self._take_all()
        if not self.is_done():  # in a cluster another process has made a table of an older form meanwhile
            self._take_all()

    def _take_all(self) -> None:
        found = self._look()
        recorded = self._recorded(found)
        if not found.columns and not self._connection.rows(
            "SELECT 1 FROM information_schema.schemata WHERE schema_name = %s", (self._schema,)
        ):
            self._connection.execute(f"CREATE DATABASE IF NOT EXISTS {quote_name(self._schema)} CHARACTER SET utf8mb4")
        found = self._take(VERSION_TABLE, found)
        for migration in self._migrations:
            is_recorded = migration.version in recorded
            for step in migration.steps:
                found = self._take(step, found, is_recorded=is_recorded)
            if not is_recorded:
                self._connection.run(
                    f"INSERT INTO {self._versions} (version, says, made_by) VALUES (%s, %s, %s)"
                    " ON DUPLICATE KEY UPDATE version = VALUES(version)",
                    (migration.version, migration.says, f"pydbsync {__version__}"),
                )

    def _take(self, step: MigrationStep, found: PresentSchema, *, is_recorded: bool = False) -> PresentSchema:
        """Take one step if it is not taken yet; what there is afterwards."""
        for sql in self._statements(step, found, is_recorded=is_recorded):
            try:
                self._connection.execute(sql)
            except PermanentError as exc:
                found = self._look_again(step, found)
                if exc.code not in _DONE_BY_ANOTHER or self._statements(step, found, is_recorded=is_recorded):
                    raise
            else:
                # Each look opens tables, and a new schema has many: what went through is taken for done till the end.
                found = found if isinstance(step, RowsChange) else taken(step, found, later=self._steps())
        return found

    def _statements(self, step: MigrationStep, found: PresentSchema, *, is_recorded: bool) -> list[str]:
        return list(statements(self._schema, step, found, later=self._steps(), is_recorded=is_recorded))

    def _steps(self) -> Iterator[MigrationStep]:
        return (step for migration in self._migrations for step in migration.steps)

    def _look_again(self, step: MigrationStep, found: PresentSchema) -> PresentSchema:
        """What there is after a step: at its own table alone, since a look at all of them opens each."""
        if isinstance(step, RowsChange):
            return found
        now = self._look(step.name)
        return PresentSchema(
            frozenset(each for each in found.columns if each[0] != step.name) | now.columns,
            frozenset(each for each in found.keys if each[0] != step.name) | now.keys,
        )

    def _look(self, table: str | None = None) -> PresentSchema:
        """Of all tables, or of one."""
        where = "table_schema = %s"
        names: tuple[str, ...] = (self._schema,)
        if table is not None:
            where, names = f"{where} AND table_name = %s", (self._schema, table)
        columns = self._connection.rows(
            f"SELECT LOWER(table_name), LOWER(column_name) FROM information_schema.columns WHERE {where}", names
        )
        keys = self._connection.rows(
            f"SELECT DISTINCT LOWER(table_name), LOWER(index_name) FROM information_schema.statistics WHERE {where}",
            names,
        )
        return PresentSchema(
            frozenset((str(t), str(c)) for t, c in columns), frozenset((str(t), str(k)) for t, k in keys)
        )

    def _recorded(self, found: PresentSchema) -> set[int]:
        """The versions that are recorded. Raises ConfigError for one that this pydbsync does not know."""
        if not found.has_table(VERSION_TABLE.name):
            return set()
        rows = self._connection.rows(f"SELECT version, made_by FROM {self._versions} ORDER BY version DESC")
        newest = newest_version(self._migrations)
        if rows and int(rows[0][0]) > newest:
            raise ConfigError(
                f"the state schema {self._schema!r} has version {rows[0][0]}, made by {rows[0][1]}; this is pydbsync"
                f" {__version__}, which knows versions up to {newest}: nothing was written; run the newer one"
                " (docs/upgrading.md tells the way back)",
                key="state_schema",
            )
        return {int(version) for version, _ in rows}
