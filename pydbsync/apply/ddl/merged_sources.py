"""What the schema changes of several sources have done to a table of them all, so that none takes from another."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from functools import partial

import msgspec

from pydbsync.apply.catalog import read_table
from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.copy_check import make_altered
from pydbsync.apply.ddl.schema_change import SchemaJournal, statement_hash
from pydbsync.apply.feeders import Feeders
from pydbsync.errors import PermanentError, PlanError
from pydbsync.model import Column, SchemaChange, TableName
from pydbsync.plan.ddl.altered_copy import written_columns
from pydbsync.plan.ddl.definition import read_description
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.merged import (
    RanStatement,
    columns_taken,
    cut_values,
    ran_for,
    reorganized,
    retyped,
    takes_rows,
    took_column,
)
from pydbsync.plan.ddl.table_definition import unlike
from pydbsync.plan.quoting import quote_name, quote_table

_NO_SUCH = (1049, 1146, 1735)
"""No such database, table, partition: nothing can be taken."""
_NO_PLACE = 1526
"""A row is in no partition."""


class MergedSources:
    """The table `schema_change_source`: whose statement each one in the journal was."""

    def __init__(self, *, schema: str, stream: str, feeders: Feeders) -> None:
        self._feeders = feeders
        self._schema, self._stream = schema, stream
        self._table = f"{quote_name(schema)}.`schema_change_source`"
        self._journal = f"{quote_name(schema)}.`schema_change`"

    def write(self, connection: Connection, digest: str, change: SchemaChange, planned: PlannedSchemaChange) -> None:
        """Part of the transaction that commits the intent."""
        name = _subject(planned)
        if planned.is_merged and name is not None:
            connection.run(
                f"INSERT IGNORE INTO {self._table} (statement_hash, source_database, target) VALUES (%s, %s, %s)",
                (digest, planned.source or change.database, quote_table(name)),
            )

    def ahead(self, connection: Connection, change: SchemaChange, planned: PlannedSchemaChange) -> str | None:
        """Another source whose very statement has run on the table, which has changed since by what else it ran."""
        return ran_for(planned.source or change.database, planned.sql, self._ran(connection, planned))

    def ran_by_hand(
        self, connection: Connection, change: SchemaChange, planned: PlannedSchemaChange, note: str
    ) -> None:
        """A parked statement was run by an operator: from now on it counts among what its source has run, and is known
        for done where it comes again. Part of a running transaction."""
        journal = SchemaJournal(schema=self._schema, stream=self._stream)
        digest = statement_hash(change, planned)
        digest, _ = journal.find(connection, digest, partial(self._feeders.apart, connection))
        journal.write_intent(connection, digest, change, planned=planned, before={})
        journal.write_end(connection, digest, planned, status="done", note=note)
        self.write(connection, digest, change, planned)

    def _ran(self, connection: Connection, planned: PlannedSchemaChange) -> list[RanStatement]:
        name = _subject(planned)
        if name is None:
            return []
        rows = connection.rows(
            f"SELECT s.source_database, j.statement, j.stream FROM {self._table} s"
            f" JOIN {self._journal} j USING (statement_hash)"
            " WHERE s.target = %s AND j.status = 'done' ORDER BY j.id",
            (quote_table(name),),
        )
        # Databases of two servers may have one name.
        apart = self._feeders.apart(connection) if rows else {}
        return [
            RanStatement(f"{source} of {apart[stream]}" if stream in apart else str(source), str(sql))
            for source, sql, stream in rows
        ]

    def collision(self, connection: Connection, change: SchemaChange, planned: PlannedSchemaChange) -> str:
        """What the statement would take from other sources, as a sentence; empty where nothing is known of that."""
        try:
            if planned.action == "drop-database":
                return self._rows_of_database(connection, planned)
            return (
                self._columns(connection, change, planned)
                or self._rows(connection, change, planned)
                or self._values(connection, change, planned)
                or self._places(connection, change, planned)
            )
        except PlanError:
            return ""

    def _columns(self, connection: Connection, change: SchemaChange, planned: PlannedSchemaChange) -> str:
        name, brand = _subject(planned), connection.dialect.brand
        taken = columns_taken(planned.sql, brand=brand) if planned.action == "alter-table" else []
        table = read_table(connection, name) if taken and name is not None else None
        if table is None:
            return ""
        old = read_description(change.old)
        described = {column.name.lower(): column for column in old.columns} if old else {}
        live = {column.name.lower(): column for column in table.columns}
        for column in (each.lower() for each in taken if each.lower() in live):
            if column in described and (fault := unlike(described[column], live[column])):
                return (
                    f"{name} has the column {fault}: another source has made that column anew, and its values would be"
                    " lost"
                )
            if other := took_column(
                planned.source or change.database, column, self._ran(connection, planned), brand=brand
            ):
                return (
                    f"{other} has taken the column {column} of {name} away before, and it was made anew since: this"
                    f" statement of {change.database} would take the new one, with the values of other sources"
                )
        return ""

    def _rows(self, connection: Connection, change: SchemaChange, planned: PlannedSchemaChange) -> str:
        partitions = takes_rows(planned.sql, brand=connection.dialect.brand)
        if partitions is None:
            return ""
        names = [name for each in planned.touched if (name := each.before or each.after) is not None]
        chosen = f" PARTITION ({', '.join(map(quote_name, partitions))})" if partitions else ""
        for name in names:
            if _has_rows(connection, f"{quote_table(name)}{chosen}"):
                return (
                    f"several sources feed {name}, and this statement of {change.database} would take the rows of the"
                    " others too; retry it when none of them needs these rows"
                )
        return ""

    def _values(self, connection: Connection, change: SchemaChange, planned: PlannedSchemaChange) -> str:
        """Of columns that get another type; what strict mode refuses is left to the server."""
        name, brand = _subject(planned), connection.dialect.brand
        changed = retyped(planned.sql, brand=brand) if planned.action == "alter-table" else []
        live = read_table(connection, name) if changed and name is not None else None
        if live is None or name is None:
            return ""
        columns = {column.name.lower(): column for column in live.columns}
        whole = self._after(connection, planned, name)
        for before, after, sql in changed:
            there = whole or self._after(connection, msgspec.structs.replace(planned, sql=sql), name)
            old, new = columns.get(before.lower()), there.get(after.lower())
            if old is None or new is None or old.generated or not (condition := cut_values(old, new)):
                continue
            found = connection.rows(f"SELECT {quote_name(old.name)} FROM {quote_table(name)} WHERE {condition} LIMIT 1")
            if found:
                value = found[0][0]
                shown = f"0x{value.hex()}" if isinstance(value, bytes) else repr(str(value))
                return (
                    f"several sources feed {name}, and this statement of {change.database} makes {old.name}"
                    f" {new.column_type} of {old.column_type}: values would be cut, and others may need them (such as"
                    f" {shown[:50]}); retry it when nobody does"
                )
        return ""

    def _places(self, connection: Connection, change: SchemaChange, planned: PlannedSchemaChange) -> str:
        """Of rows whose partition is made anew: tried in an empty copy, where one without a place is refused."""
        name, partitions = _subject(planned), reorganized(planned.sql, brand=connection.dialect.brand)
        table = read_table(connection, name) if partitions and name is not None else None
        if table is None or name is None:
            return ""
        columns = ", ".join(written_columns(table))
        chosen = f"{quote_table(name)} PARTITION ({', '.join(map(quote_name, partitions))})"
        with self._copy_of(name, connection) as copy:
            try:
                make_altered(connection, copy, name, [planned])
                with connection.transaction():
                    connection.execute(
                        f"INSERT INTO {quote_table(copy)} ({columns}) SELECT {columns} FROM {chosen}".encode()
                    )
            except PermanentError as exc:
                if exc.code == _NO_PLACE:
                    return (
                        f"several sources feed {name}, and by this statement of {change.database} rows lose their place"
                        f" in any partition ({exc}): they would be gone; retry it when nobody needs them"
                    )
        return ""

    def _after(self, connection: Connection, planned: PlannedSchemaChange, name: TableName) -> dict[str, Column]:
        """The columns as the server makes them, tried on an empty copy; none where it refuses the statement."""
        with self._copy_of(name, connection) as copy:
            try:
                make_altered(connection, copy, name, [planned])
                made = read_table(connection, copy, with_referrers=False)
            except (PermanentError, PlanError):
                return {}
        return {column.name.lower(): column for column in made.columns} if made else {}

    @contextlib.contextmanager
    def _copy_of(self, name: TableName, connection: Connection) -> Iterator[TableName]:
        """The name for a copy in the state schema, which is gone afterwards."""
        about = hashlib.sha1(f"{self._stream}\0{name}".encode(), usedforsecurity=False).hexdigest()
        copy = TableName(self._schema, f"retyped_{about[:20]}")
        drop = f"DROP TABLE IF EXISTS {quote_table(copy)}"
        with contextlib.suppress(PermanentError):  # whoever may not make one need not drop it
            connection.execute(drop)
        try:
            yield copy
        finally:
            if connection.is_open():
                with contextlib.suppress(PermanentError):
                    connection.execute(drop)

    def _rows_of_database(self, connection: Connection, planned: PlannedSchemaChange) -> str:
        tables = connection.rows(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = %s AND table_type = 'BASE TABLE'",
            (planned.database,),
        )
        for (table,) in tables:
            name = TableName(planned.database or "", str(table))
            if _has_rows(connection, quote_table(name)):
                return f"several sources feed {planned.database}, and {name} has rows; retry it when none needs them"
        return ""


def _subject(planned: PlannedSchemaChange) -> TableName | None:
    return planned.touched[0].before or planned.touched[0].after if planned.touched else None


def _has_rows(connection: Connection, table: str) -> bool:
    try:
        return bool(connection.rows(f"SELECT 1 FROM {table} LIMIT 1"))
    except PermanentError as exc:
        if exc.code in _NO_SUCH:
            return False
        raise
