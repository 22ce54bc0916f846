"""The statements and conditions of a planned change, made by the planner of replay."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import FLOAT_KINDS, NO_JSON, ChangeKind, Column, RowChange, TableSchema, read_image
from pydbsync.ops.repair.change import PlannedChange
from pydbsync.ops.repair.order import KeyValue, Moves, fold
from pydbsync.plan.batch import RowBatch
from pydbsync.plan.literals import NULL, document_literal, not_null_document_literal
from pydbsync.plan.normal import is_same_to_mysql
from pydbsync.plan.quoting import quote_name, quote_table
from pydbsync.plan.row_shape import ColumnOverrides
from pydbsync.plan.row_statements import RowStatement
from pydbsync.plan.rows import TablePlan
from pydbsync.plan.target import Dialect


class ChangeWriter:
    """Statements for one target table: one row each, exactly one row affected."""

    def __init__(
        self, schema: TableSchema, *, overrides: ColumnOverrides, dialect: Dialect, own: frozenset[str] = frozenset()
    ) -> None:
        """`own` are the columns that only the target has, whose values a row must not lose."""
        self.schema = schema
        self.quoted = quote_table(schema.name).encode()
        # Foreign keys do nothing here: the children that a change of the source touched differ by themselves.
        common = {"dialect": dialect, "apply_mode": "plain", "passes_actions_on": False}
        self._incoming = TablePlan(schema, overrides=overrides, **common)  # type: ignore[arg-type]
        self._own = TablePlan(schema, **common)  # type: ignore[arg-type]
        self.own = own
        self._documents = {column.name: column for column in schema.columns if column.kind == "json"}
        # Two rows that swap a unique value collide when they are updated one by one. So all rows are removed first and
        # written afterwards, where another unique key is.
        self.replaces = bool(set(schema.unique_keys) - {schema.row_key})
        keeps_signs = not dialect.is_mariadb  # of zeros
        self._signed = [c.name for c in schema.columns if c.kind in FLOAT_KINDS and keeps_signs and not c.generated]
        self._compared = {column.name.lower() for column in schema.columns if column.native_json}
        self._keys = [key for key in dict.fromkeys((schema.row_key, *schema.unique_keys)) if key]

    def removals(self, change: PlannedChange) -> list[RowStatement]:
        """What takes the old row away, if the change does it so."""
        if change.kind == "delete" or self._is_replaced(change):
            return self._of(change, "delete", change.before, self._own)
        return []

    def writes(self, change: PlannedChange) -> list[RowStatement]:
        """What writes the new row."""
        if change.kind == "insert" or self._is_replaced(change):
            return self._of(change, "insert", self._whole(change), self._incoming)
        return self._of(change, "update", self._whole(change), self._incoming) if change.kind == "update" else []

    def undo_removals(self, change: PlannedChange) -> list[RowStatement]:
        """What takes the row away that the change wrote."""
        if change.kind == "insert" or self._is_replaced(change):
            return self._of(change, "delete", change.after, self._incoming)
        return []

    def undo_writes(self, change: PlannedChange) -> list[RowStatement]:
        """What puts the row back that was there."""
        if change.kind == "delete" or self._is_replaced(change):
            return self._of(change, "insert", change.before, self._own)
        return self._of(change, "update", change.before, self._own) if change.kind == "update" else []

    def moves(self, change: PlannedChange) -> Moves:
        """The unique values that the target's row gives away, and those that the new one takes."""
        return Moves(self._key_values(change.before, self._own), self._key_values(change.after, self._incoming))

    def undo_moves(self, change: PlannedChange) -> Moves:
        """The same for the way back."""
        there = self.moves(change)
        return Moves(there.takes, there.gives)

    def where(self, change: PlannedChange) -> bytes:
        """The condition for the rows that come or go, in a table without a key."""
        if change.kind == "insert":
            return self._where_row(change.after, self._incoming)
        return self._where_row(change.before, self._own)

    def inserts(self, change: PlannedChange, copies: int, *, packet_bytes: int) -> list[RowStatement]:
        """So many copies of the row that comes or goes with the change, as many a statement as the server takes."""
        is_incoming = change.kind == "insert"
        plan, image = (self._incoming, change.after) if is_incoming else (self._own, change.before)
        row = self._row("insert", image)
        together = max(1, packet_bytes // (4 * len(bytes(image))))
        found: list[RowStatement] = []
        while copies:
            batch = RowBatch()
            for _ in range(min(copies, together)):
                batch.add(row, plan)
            copies -= batch.rows
            found += batch.statements()
        return found

    def is_whole(self, change: PlannedChange) -> bool:
        """Whether the image has all that a row without a key is, so that one can be taken for the other."""
        return change.kind == "delete" or not self.own

    def _is_replaced(self, change: PlannedChange) -> bool:
        """Whether an update is made by DELETE and INSERT: also where MySQL would hold the documents for the same."""
        if change.kind != "update" or self.replaces or not self._compared:
            return change.kind == "update" and self.replaces
        before, after = (
            {name.lower(): bytes(token) for name, token in read_image(image).items()}
            for image in (change.before, change.after)
        )
        return any(
            before[name] != after[name] and is_same_to_mysql(before[name], after[name])
            for name in self._compared & before.keys() & after.keys()
        )

    def _whole(self, change: PlannedChange) -> msgspec.Raw:
        """The source's row, with the values that the target's own columns have."""
        if not (self.own and change.before):
            return change.after
        kept = {name: token for name, token in read_image(change.before).items() if name in self.own}
        return msgspec.Raw(msgspec.json.encode({**read_image(change.after), **kept}))

    def _of(self, change: PlannedChange, kind: ChangeKind, image: msgspec.Raw, plan: TablePlan) -> list[RowStatement]:
        if not image:
            raise PlanError(f"change {change.number} has no image to {kind}")
        row = self._row(kind, image)
        batch = RowBatch()
        for _ in range(change.copies):
            batch.add(row, plan)
        return list(batch.statements())

    def _row(self, kind: ChangeKind, image: msgspec.Raw) -> RowChange:
        name = self.schema.name
        return RowChange(kind=kind, database=name.database, table=name.table, ts=0, data=image, old=NO_JSON)

    def _key_values(self, image: msgspec.Raw, plan: TablePlan) -> frozenset[KeyValue]:
        if not image:
            return frozenset()
        shape = plan.shape_for(image)
        found: list[KeyValue] = []
        for number, key in enumerate(self._keys):
            literals = shape.key_literals(image, key) if shape.has_columns(key) else ()
            if literals and all(literal.upper() != b"NULL" for literal in literals):  # NULLs do not collide
                found.append((number, *map(fold, literals)))
        return frozenset(found)

    def _where_row(self, image: msgspec.Raw, plan: TablePlan) -> bytes:
        """Rows equal to the image. Documents are compared as they print, so that 1 and 1.0 differ."""
        values = read_image(image)
        by_name = {name.lower(): column for name, column in self._documents.items()}
        documents = {name: by_name[name.lower()] for name in values if name.lower() in by_name}
        rest = msgspec.Raw(msgspec.json.encode({name: each for name, each in values.items() if name not in documents}))
        parts = [plan.shape_for(rest).where_row(rest)] if len(documents) < len(values) else []
        parts += [
            _document_condition(column, bytes(values[name]))
            for name, column in documents.items()
            if not column.generated
        ]
        parts += [_sign_condition(name, values) for name in self._signed if name in values]
        return b" AND ".join(part for part in parts if part)


def _sign_condition(name: str, values: Mapping[str, msgspec.Raw]) -> bytes:
    """Tells -0 from 0, which are equal to MySQL and two values all the same; nothing for other numbers."""
    token = bytes(values[name])
    if token == NULL or float(token) != 0:
        return b""
    return b"LEFT(%s, 1) %s '-'" % (quote_name(name).encode(), b"=" if token.startswith(b"-") else b"<>")


def _document_condition(column: Column, token: bytes) -> bytes:
    name = quote_name(column.name).encode()
    if token == NULL and column.nullable:
        return name + b" IS NULL"
    literal = document_literal(token) if column.nullable else not_null_document_literal(token)
    if not column.native_json:  # an image has blanks for line breaks
        text = b"REPLACE(REPLACE(CAST(%s AS BINARY), '\\n', ' '), '\\r', ' ')" % name
        return b"%s = CAST(%s AS BINARY)" % (text, literal)
    # As it came, with a DECIMAL 1.50 inside, or as it is when it has been written from text.
    stored = b"CAST(CAST(CAST(%s AS JSON) AS CHAR) AS BINARY)" % literal
    return b"CAST(CAST(%s AS CHAR) AS BINARY) IN (CAST(%s AS BINARY), %s)" % (name, literal, stored)
