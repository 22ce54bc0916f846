"""How changes of one source table are written to the target, by a shape for each set of columns that comes."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, TypeAlias

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import GEOMETRY_KINDS, NO_JSON, RowChange, TableName, TableSchema, read_image
from pydbsync.plan.ddl.tool_tables import bases_of
from pydbsync.plan.identity import Readings, readings_of, row_identity
from pydbsync.plan.quoting import quote_name, quote_table
from pydbsync.plan.row_images import column_names, key_decoder
from pydbsync.plan.row_shape import (
    LONG_KINDS,
    MET,
    NO_LOSS,
    NO_OVERRIDES,
    ColumnOverrides,
    ConflictRule,
    LossPolicy,
    RowShape,
)
from pydbsync.plan.target import DEFAULT_DIALECT, Dialect


class Strategy(enum.Enum):
    """How the rows of a table are written."""

    REPLACE = "replace"
    """By key, batched: REPLACE INTO of last images, DELETE … IN."""
    UPSERT = "upsert"
    """By key, batched: INSERT … ON DUPLICATE KEY UPDATE, which leaves columns of the target's own alone."""
    MERGED = "merged"
    """By key, batched: INSERT, which the server refuses where a row of another source is in the way."""
    KEYLESS = "keyless"
    """A multiset of whole rows: INSERT, DELETE … LIMIT n, affected rows checked."""
    ORDERED = "ordered"
    """INSERT, UPDATE, DELETE one by one in the stream's order, affected rows checked."""


ApplyMode: TypeAlias = Literal["replace", "upsert", "plain"]


class TablePlan:
    """One target table, and how changes of one source table are written to it."""

    def __init__(
        self,
        schema: TableSchema,
        *,
        overrides: ColumnOverrides = NO_OVERRIDES,
        dialect: Dialect = DEFAULT_DIALECT,
        loss: LossPolicy = NO_LOSS,
        apply_mode: ApplyMode = "replace",
        passes_actions_on: bool | None = True,
        is_merged: bool = False,
        conflicts: ConflictRule | None = None,
        children: Sequence[TableName] = (),
        keeps_others: bool = False,
    ) -> None:
        """`passes_actions_on`: whether the target must cascade itself; None where that is not known. `conflicts`: what
        decides them; None where nobody looks for any. `children`: the tables to which changes are passed on, and those
        to which these pass them on. `keeps_others`: rows with a value of theirs in a unique key stay, since they may
        have come later."""
        self.schema = schema
        self.passes_actions_on = passes_actions_on
        self.apply_mode = apply_mode
        self.is_merged = is_merged
        # What was read as it should be may be another's a moment later: nothing is written over then either.
        self.conflicts = conflicts
        self.has_other_keys = bool(schema.unique_keys) and set(schema.unique_keys) != {schema.row_key}
        self.keeps_others = keeps_others and self.has_other_keys and not is_merged and conflicts is None
        self._inserts = is_merged or conflicts is not None or self.keeps_others
        self.referrers = () if passes_actions_on is False else schema.referrers
        self._children = children
        self.name: TableName = schema.name
        self.quoted = quote_table(schema.name).encode()
        self.row_key = schema.row_key
        self.documents = tuple(c.name.lower() for c in schema.columns if c.native_json and not c.generated)
        """Columns of MySQL's JSON, which holds 1 and 1.0 for one."""
        self.compares_rows = not dialect.is_mariadb or not _has_recoded_text(schema)
        """Whether `(a, b) IN ((1, 'x'), …)` finds what `a = 1 AND b = 'x'` does."""
        self.overrides = overrides
        self._dialect = dialect
        self._loss = loss
        self._shapes: dict[tuple[str, ...], RowShape] = {}
        self.shape: RowShape | None = None
        self._key_of: Callable[[msgspec.Raw], bytes] | None = None
        self._key_names: tuple[str, ...] = ()
        self._key_markers: tuple[bytes, ...] = ()

    @functools.cached_property
    def key_readings(self) -> Readings | None:
        """How the collations of the key read its letters; None where that is not known."""
        return readings_of(column for column in self.schema.columns if column.name in self.row_key)

    def shape_for(self, data: msgspec.Raw) -> RowShape:
        """The compiled shape for this row image. Raises PlanError for a column that the target does not have."""
        names = column_names(data)
        shape = self._shapes.get(names)
        if shape is None:
            shape = RowShape(self.schema, names, overrides=self.overrides, dialect=self._dialect, loss=self._loss)
            self._shapes[names] = shape
        if shape is not self.shape:
            self.shape = shape
            self._compile_key(shape)
        return shape

    def strategy_for(self, shape: RowShape) -> Strategy:
        """How rows of this shape are written."""
        if not self.row_key or not shape.has_columns(self.row_key):
            return Strategy.KEYLESS
        if self.apply_mode == "plain":
            return Strategy.ORDERED
        is_whole = len(shape.written) == sum(not column.generated for column in self.schema.columns)
        if self._inserts:
            # Whatever writes over a row that is there would remove one of another source without a word.
            return Strategy.MERGED if self.apply_mode == "replace" and is_whole else Strategy.ORDERED
        if self.apply_mode == "replace" and is_whole:
            return Strategy.REPLACE
        # REPLACE would set the target's own columns back to their defaults. ON DUPLICATE KEY UPDATE finds the row by
        # whichever unique key collides first, so it is safe only where there is a single one.
        return Strategy.ORDERED if self.has_other_keys else Strategy.UPSERT

    def rows_in_the_way(self, data: msgspec.Raw) -> tuple[list[str], list[str]]:
        """Names of columns, and queries for these of the rows that have the image's values in a unique key."""
        shape, listed = self.shape_for(data), self._listed(data)
        queries = []
        for key in dict.fromkeys((self.row_key, *self.schema.unique_keys)):
            if key and shape.has_columns(key):
                pairs = zip(key, shape.key_literals(data, key), strict=True)
                condition = b" AND ".join(quote_name(name).encode() + b" = " + literal for name, literal in pairs)
                queries.append(
                    f"SELECT {', '.join(listed.values())} FROM {quote_table(self.name)}"
                    f" WHERE {condition.decode('utf-8')} LIMIT 1"
                )
        return list(listed), queries

    def row_in_the_way(self, data: msgspec.Raw) -> tuple[list[bytes], str]:
        """Statements by which the server finds the row that an INSERT of the image meets, whatever its key is made of
        (beginnings of columns, expressions), and the query that tells of it what `rows_in_the_way` would. What they
        write is to be taken back."""
        shape, listed = self.shape_for(data), self._listed(data)
        seen = [f"@pydbsync_{place}" for place in range(len(listed))]
        # IS NULL of a column that cannot be NULL would be answered without a look.
        pairs = zip(seen, listed.values(), strict=True)
        looks = "".join(f" + IFNULL(LENGTH({name} := {value}), 0)" for name, value in pairs)
        first = quote_name(shape.written[0].name)
        tail = f" ON DUPLICATE KEY UPDATE {first} = IF({MET} := 1{looks}, {first}, {first})"
        insert = shape.statement(shape.insert_head, data, tail.encode())
        return [f"SET {MET} = 0".encode(), insert], f"SELECT {', '.join(seen)} FROM DUAL WHERE {MET}"

    def _listed(self, data: msgspec.Raw) -> dict[str, str]:
        """The columns of an image that can be shown, each with what is shown of it."""
        return {
            column.name: f"LEFT({quote_name(column.name)}, 100)"
            if column.kind in LONG_KINDS
            else quote_name(column.name)
            for column in self.shape_for(data).columns
            if column.kind not in GEOMETRY_KINDS
        }

    def passes_on(self, change: RowChange) -> bool:
        """Whether the change reaches children, by foreign keys with CASCADE, SET NULL or SET DEFAULT."""
        if change.kind == "delete":
            return bool(self.referrers)
        if change.kind != "update" or change.old is NO_JSON:
            return False
        changed = {name.lower() for name in read_image(change.old)}
        return any(name.lower() in changed for referrer in self.referrers for name in referrer.columns)

    def passes_to(self, change: RowChange) -> Sequence[TableName]:
        """The tables whose rows the target changes along with the row."""
        return self._children if self.referrers and self.passes_on(change) else ()

    def _compile_key(self, shape: RowShape) -> None:
        by_target = {column.name: name for column, name in zip(shape.columns, shape.names, strict=True)}
        self._key_names = tuple(by_target.get(name, name) for name in self.row_key)
        self._key_of = key_decoder(self._key_names)
        # Maxwell may spell a name outside ASCII with escapes: then only a full decode can tell.
        is_plain = all(name.isascii() and name.isprintable() for name in self._key_names)
        self._key_markers = tuple(msgspec.json.encode(name) + b":" for name in self._key_names) if is_plain else (b":",)

    def key_of(self, data: msgspec.Raw) -> bytes:
        """The identity of a row within this table: the JSON tokens of its key columns.

        Finer than the key's collation ('a' and 'A' differ here), which plan/batch.py accounts for. Raises PlanError if
        a key column is missing.
        """
        if self._key_of is None:
            self.shape_for(data)
        try:
            return self._key_of(data)  # type: ignore[misc]
        except msgspec.ValidationError:
            self.shape_for(data)  # of sources that are merged, one may write `ID` and one `id`
        try:
            return self._key_of(data)  # type: ignore[misc]
        except msgspec.ValidationError as exc:
            raise PlanError(f"the row has no value for the key of {self.name}: {exc}") from exc

    @property
    def has_key(self) -> bool:
        """Whether the table has a key that tells its rows apart."""
        return bool(self.row_key)

    def identity(self, change: RowChange) -> list[bytes]:
        """Digests of the row before and after the change; nothing where its key cannot be read."""
        return row_identity(change, self)

    def old_image(self, change: RowChange) -> msgspec.Raw:
        """The whole row before an update: `data` with the values of `old` put back."""
        if change.old is NO_JSON:
            return change.data
        image = read_image(change.data)
        image.update(read_image(change.old))
        return msgspec.Raw(msgspec.json.encode(image))

    def may_change_key(self, change: RowChange) -> bool:
        """Whether an update may have changed a key column (false positives are harmless)."""
        if change.old is NO_JSON:
            return False
        if self._key_of is None:
            self.shape_for(change.data)
        old = bytes(change.old)
        return any(marker in old for marker in self._key_markers)


_ENCODED_ALIKE = frozenset({None, "binary", "ascii", "utf8", "utf8mb3", "utf8mb4"})


def _has_recoded_text(schema: TableSchema) -> bool:
    """Whether a key of several columns has text in another encoding than the statement's.

    MariaDB (10.11.19) compares a value of a row in IN byte for byte with what the column holds, without a conversion:
    letters beyond ASCII are not found, in ucs2, utf16 and utf32 none at all. Alone in IN, and behind =, they are.
    """
    return len(schema.row_key) > 1 and any(
        column.charset not in _ENCODED_ALIKE for column in schema.columns if column.name in schema.row_key
    )


def overrides_for(
    name: TableName,
    binary: Mapping[str, Mapping[str, frozenset[str]]],
    timestamp: Mapping[str, Mapping[str, frozenset[str]]],
    shift_s: int,
) -> ColumnOverrides:
    """The config's `binary_columns` and `timestamp_columns` for a source table; names compare in lower case.

    The copy of an online schema change goes by its real table, unless it is named itself.
    """
    database, tables = name.database.lower(), [each.lower() for each in (name.table, *bases_of(name.table))]

    def of(columns: Mapping[str, Mapping[str, frozenset[str]]]) -> frozenset[str]:
        there = columns.get(database, {})
        return next((there[table] for table in tables if table in there), frozenset())

    return ColumnOverrides(binary=of(binary), timestamp=of(timestamp), shift_s=shift_s)
