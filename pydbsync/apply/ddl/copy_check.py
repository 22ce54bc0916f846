"""Whether the rows that came for the copy of an online schema change are those that its changes make of the real table.

They came, so they are there to be asked: in pieces they are written to a table of the state schema that is shaped like
the copy. Beside it the same statements are run on the real table's rows of the same keys, so that the server itself
converts them. Rows that are the same to the last byte go; what is left at the end is other than it would be. Nothing is
held here: a row that came, and was changed later, waits in that table for its last image.
"""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

from pydbsync.apply.catalog import look_up, read_table
from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.copy_rows import CopyRowsTable
from pydbsync.apply.ddl.running import run_all
from pydbsync.apply.ddl.schema_session import session_of
from pydbsync.errors import PermanentError, PlanError, Stopped
from pydbsync.model import RowChange, TableName, TableSchema
from pydbsync.plan.batch import RowBatch
from pydbsync.plan.ddl.altered_copy import (
    AlteredCopy,
    on_copy,
    renamed_columns,
    same_key,
    same_row,
    shared_key,
    written_columns,
)
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.quoting import quote_name, quote_table
from pydbsync.plan.rows import TablePlan
from pydbsync.protocols import Decode

_PIECE = 10_000
_PIECE_BYTES = 16 * 2**20
_ROUND = "pydbsync_round"
_DENIED = (1044, 1142)
_T = TypeVar("_T")


class CopyCheck:
    """One comparison. `repeat` runs a step until it succeeds, over a connection that may be another one each time."""

    def __init__(
        self,
        wanted: AlteredCopy,
        *,
        rows: CopyRowsTable,
        schema: str,
        decode: Decode,
        repeat: Callable[[Callable[[Connection], object]], object],
        stop: threading.Event,
        log: logging.Logger,
    ) -> None:
        self._wanted = wanted
        self._rows = rows
        self._decode = decode
        self._repeat = repeat
        self._stop = stop
        self._log = log
        began = wanted.copy.began[:20]
        self._came = TableName(schema, f"copied_{began}")
        """The rows whose last image is not known to be that of the real table."""
        self._made = TableName(schema, f"altered_{began}")
        """What the changes make of the real table's rows of those keys."""

    def misfit(self) -> str:
        """What is otherwise, as a sentence; empty where nothing is. Raises StopError, CheckpointConflict, Stopped."""
        try:
            return self._misfit()
        except (PlanError, PermanentError) as exc:
            if not self._wanted.has_to_be:
                self._log.warning(
                    "the rows that came for %s cannot be compared with those of %s: %s; verify %s",
                    self._wanted.copy.copy, self._wanted.real, exc, self._wanted.real,
                )  # fmt: skip
                return ""
            if isinstance(exc, PermanentError) and exc.code in _DENIED:
                self._log.warning(
                    "the rows that came for %s are not compared with those of %s, since the user may not make and drop"
                    " tables in the state schema (docs/rights.md): verify %s (%s)",
                    self._wanted.copy.copy, self._wanted.real, self._wanted.real, exc,
                )  # fmt: skip
                return ""
            return f"they cannot be compared: {exc}"
        finally:
            with contextlib.suppress(PermanentError):
                self._repeat(self._drop)

    def _misfit(self) -> str:
        copy = self._wanted.copy
        before, shape = self._ask(self._begin)
        piece = _Piece(self._wanted, before, shape, self._came, self._made)
        sent = self._wanted.sent(shape)
        behind = 0
        while True:
            ids, messages = self._ask(partial(self._rows.read, copy=copy, behind=behind))
            if not ids:
                break
            if self._stop.is_set():
                raise Stopped("stopped while the rows of an online schema change were compared")
            behind = ids[-1]
            for message in messages:
                for change in copy.rows_in(self._decode(message)):
                    piece.changes += sent(change)
            piece.bytes += sum(map(len, messages))
            if len(piece.changes) >= _PIECE or piece.bytes >= _PIECE_BYTES:
                self._repeat(piece.compare)
                piece.changes, piece.bytes = [], 0
        self._repeat(piece.compare)
        return self._ask(piece.left)

    def _ask(self, step: Callable[[Connection], _T]) -> _T:
        """What a step finds, once it succeeds."""
        found: list[_T] = []
        self._repeat(lambda connection: found.append(step(connection)))
        return found[-1]

    def _drop(self, connection: Connection) -> None:
        connection.execute(f"DROP TABLE IF EXISTS {quote_table(self._came)}, {quote_table(self._made)}")

    def _begin(self, connection: Connection) -> tuple[TableSchema, TableSchema]:
        """Make the table of what came; the real table's shape, and that of the copy."""
        self._drop(connection)
        real = read_table(connection, self._wanted.real, with_referrers=False)
        if real is None:
            raise PlanError(f"there is no table {self._wanted.real}")
        make_altered(connection, self._came, self._wanted.real, self._wanted.changes)
        shape = read_table(connection, self._came, with_referrers=False)
        if shape is None or not shape.row_key:
            raise PlanError("no key tells the rows of the copy apart, and no tool copies such a table")
        came = quote_table(self._came)
        for name in _other_keys(connection, shape):
            connection.execute(f"ALTER TABLE {came} DROP INDEX {quote_name(name)}")
        connection.execute(f"ALTER TABLE {came} ADD COLUMN {_ROUND} TINYINT NOT NULL DEFAULT 0")
        return real, shape


class _Piece:
    """Some of the rows that came."""

    def __init__(
        self, wanted: AlteredCopy, real: TableSchema, shape: TableSchema, came: TableName, made: TableName
    ) -> None:
        self._wanted = wanted
        self._real = real
        self._shape = shape
        self._came, self._made = came, made
        self.changes: list[RowChange] = []
        self.bytes = 0
        self._has_left = False
        """Whether rows of former pieces wait for their last image."""

    def compare(self, connection: Connection) -> None:
        """Write what came, and take away what is the same; may run again."""
        if not self.changes:
            return
        batch = RowBatch()
        bare = TableSchema(name=self._came, columns=self._shape.columns, row_key=self._shape.row_key)
        plan = TablePlan(
            bare, overrides=self._wanted.overrides, dialect=connection.dialect, passes_actions_on=False
        )  # fmt: skip
        for change in self.changes:
            batch.add(change, plan)
        with connection.transaction():
            for _ in run_all(connection, batch.statements()):
                pass
        came, made, real = map(quote_table, (self._came, self._made, self._wanted.real))
        new = f"{_ROUND} = 0"
        count = connection.value(f"SELECT COUNT(*) FROM {came} WHERE {new}")
        if not count:
            return
        brand = connection.dialect.brand
        key = shared_key(
            self._real, self._shape, renamed_columns((each.sql for each in self._wanted.changes), brand=brand)
        )
        if key is None:
            raise PlanError(f"the copy has no key of {self._wanted.real} left")
        connection.execute(f"DROP TABLE IF EXISTS {made}")
        listed = written_columns(self._real)
        columns = ", ".join(listed)

        def fill() -> None:
            connection.execute(
                f"REPLACE INTO {made} ({columns}) SELECT {', '.join(f'r.{name}' for name in listed)}"
                f" FROM {came} s STRAIGHT_JOIN {real} r ON {same_key(self._real, self._shape, key)}"
                f" WHERE s.{_ROUND} = 0"
            )

        make_altered(connection, self._made, self._wanted.real, self._wanted.changes, fill=fill)
        by_key, same = same_row(self._shape.columns, self._shape.row_key)
        found = f"{came} s JOIN {made} m ON {by_key} WHERE s.{new} AND {same}"
        if connection.value(f"SELECT COUNT(*) FROM {found}") == count:  # as it is with a tool, but for what was changed
            connection.execute(f"DELETE FROM {came} WHERE {new}" if self._has_left else f"TRUNCATE TABLE {came}")
            return
        self._has_left = True
        connection.execute(f"DELETE s FROM {found}")
        connection.execute(f"UPDATE {came} SET {_ROUND} = 1 WHERE {new}")

    def left(self, connection: Connection) -> str:
        """What is otherwise of all that came, as a sentence; empty if nothing is."""
        came = quote_table(self._came)
        count = int(connection.value(f"SELECT COUNT(*) FROM {came}"))
        if not count:
            return ""
        names = self._shape.row_key
        keys = connection.rows(f"SELECT {', '.join(map(quote_name, names))} FROM {came} LIMIT 1")
        shown = ", ".join(f"{name} = {value}" for name, value in zip(names, keys[0], strict=True))
        return (
            f"{count:,} of the rows that came for {self._wanted.copy.copy} are other than its changes make of those of"
            f" {self._wanted.real}, such as {shown[:100]}"
        )


def make_altered(
    connection: Connection,
    name: TableName,
    real: TableName,
    changes: Sequence[PlannedSchemaChange],
    *,
    fill: Callable[[], object] = lambda: None,
) -> None:
    """A table like the real one, filled and then altered as the real one would be. Raises PlanError, ApplyError."""
    connection.execute(f"CREATE TABLE {quote_table(name)} LIKE {quote_table(real)}")
    fill()
    for planned in changes:
        sql = on_copy(planned.sql, name, brand=connection.dialect.brand)
        if not sql:
            continue
        with session_of(connection, planned):
            connection.use(planned.default_database)
            connection.execute(sql.encode("utf-8"))


def _other_keys(connection: Connection, shape: TableSchema) -> list[str]:
    """The keys that tell no rows apart, or others than `row_key` does, but for those that AUTO_INCREMENT needs."""
    found: dict[str, list[str]] = {}
    unique: set[str] = set()
    for name, column, non_unique in look_up(
        connection,
        "SELECT index_name, column_name, non_unique FROM information_schema.statistics"
        " WHERE table_schema = %s AND table_name = %s ORDER BY index_name, seq_in_index",
        shape.name,
    ):
        found.setdefault(str(name), []).append("" if column is None else str(column))
        if not int(non_unique):
            unique.add(str(name))
    counted = connection.value(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"
        " AND extra LIKE '%%auto_increment%%'",
        shape.name,
    )
    own = next(name for name in sorted(found, key=lambda each: (each != "PRIMARY", each))
               if name in unique and tuple(found[name]) == shape.row_key)  # fmt: skip
    return [name for name, columns in found.items() if name != own and columns[0] != counted]
