"""A table in pieces: ranges of its row key, which stay the same rows whatever is written meanwhile.

A chunk is a range (lower, upper] of the row key. The first has no lower end and the last no upper end, so that the
chunks of a table cover every row there is or will be, on any server: a row that does not lie above a boundary lies at
or below it. That holds even where two servers sort a boundary differently, so that a chunk may hold other rows there
than here, but none is in no chunk.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.errors import OperationError
from pydbsync.model import (
    BINARY_KINDS,
    FLOAT_KINDS,
    INTEGER_KINDS,
    TEMPORAL_KINDS,
    TEXT_KINDS,
    Column,
    TableName,
    TableSchema,
)
from pydbsync.ops.answers import exact_rows
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.routed.rows import qualifier, rows_of

KeyValues = tuple[str, ...]
"""A row's key, one printed value a column: numbers and times as the server prints them, text and bytes in hex."""

_SHAPES = {
    "number": re.compile(r"-?\d+(\.\d+)?"),
    "float": re.compile(r"-?\d+(\.\d+)?(e[+-]?\d+)?"),
    "time": re.compile(r"[-0-9: .]+"),
    "address": re.compile(r"[0-9a-fA-F:.-]+"),
    "hex": re.compile(r"([0-9A-F]{2})*"),
}
_LISTED_LABELS = 256
"""ENUMs with more labels than this compare by number, without the index."""


class Chunk(msgspec.Struct, frozen=True):
    """The rows with lower < key <= upper; None is no limit. Plain data: JSON keeps it for a later run."""

    index: int
    lower: KeyValues | None = None
    upper: KeyValues | None = None


class KeyColumn:
    """How one column of a row key is printed exactly, and how its printed values are compared with."""

    def __init__(self, column: Column, *, charset: str | None = None) -> None:
        """`charset` is the one that text is printed in, the column's own by default."""
        self.column = column
        self.name = quote_name(column.name)
        kind = column.kind
        self._before, self._after, self._shape = "", "", ""
        self.printed = f"CAST({self.name} AS CHAR)"
        if kind in INTEGER_KINDS or kind == "decimal":
            self._shape = "number"
            if "zerofill" in column.column_type:
                self.printed = f"CAST({self.name} + 0 AS CHAR)"
        elif kind in ("bit", "enum", "set"):
            self._shape, self.printed = "number", f"CAST({self.name} + 0 AS CHAR)"
        elif kind in FLOAT_KINDS:
            # A FLOAT column prints six digits, but whole in an expression; a DOUBLE the other way round (MySQL 9.7).
            self._shape = "float"
            if kind == "float":
                self.printed = f"CAST({self.name} * 1e0 AS CHAR)"
        elif kind in TEMPORAL_KINDS or kind == "year":
            self._shape, self._before, self._after = "time", "'", "'"
        elif kind in BINARY_KINDS or (kind in TEXT_KINDS and column.charset in (None, "binary")):
            self._shape, self._before, self._after, self.printed = "hex", "X'", "'", f"HEX({self.name})"
        elif kind in TEXT_KINDS:
            # With the introducer the bytes are text; the comparison takes its collation from the column.
            charset = charset or column.charset
            self._shape, self._before, self._after = "hex", f"_{charset} X'", "'"
            self.printed = f"HEX({self.name})"
            if charset != column.charset:
                # What the column's own character set lacks becomes '?', which is at least no error.
                self._before, self._after = f"CONVERT({self._before}", f"' USING {column.charset})"
                self.printed = f"HEX(CONVERT({self.name} USING {charset}))"
        elif kind in ("uuid", "inet4", "inet6"):
            # Without the character set, a session that speaks bytes takes both for the bytes that are stored.
            self._shape, self._before, self._after = "address", "_ascii '", "'"
            self.printed = f"CAST({self.name} AS CHAR CHARACTER SET ascii)"
        else:
            raise OperationError(f"column {column.name} is of type {kind}, by which no table can be read in chunks")

    def literal(self, value: str) -> str:
        """A printed value as SQL. Raises OperationError for text that was never printed by such a column."""
        if not _SHAPES[self._shape].fullmatch(value):
            raise OperationError(f"{value[:60]!r} is no value of the key column {self.column.name}")
        if self._shape == "float" and "e" not in value:
            return value + "e0"
        return f"{self._before}{value}{self._after}"

    def value(self, printed: object) -> str:
        """What the server printed as text that is the same on every brand and compares exactly."""
        # CAST … AS CHAR may come as bytes, depending on the brand.
        text = printed.decode("ascii") if isinstance(printed, bytes) else str(printed)
        if self._shape != "float":
            return text
        number = float(text)
        return repr(struct.unpack("f", struct.pack("f", number))[0] if self.column.kind == "float" else number)

    def equal(self, value: str) -> str:
        return f"{self.name} = {self.literal(value)}"

    def above(self, value: str) -> str:
        return self._beyond(value, ">")

    def below(self, value: str) -> str:
        return self._beyond(value, "<")

    def at_least(self, value: str) -> str | None:
        """A wider condition in front, by which the optimizer finds the range of the index's first column."""
        return None if self.column.kind in ("enum", "set") else f"{self.name} >= {self.literal(value)}"

    def at_most(self, value: str) -> str | None:
        return None if self.column.kind in ("enum", "set") else f"{self.name} <= {self.literal(value)}"

    def _beyond(self, value: str, operator: str) -> str:
        literal = self.literal(value)
        labels = len(self.column.labels)
        if self.column.kind == "enum" and labels <= _LISTED_LABELS:
            # `>` between an ENUM and a number is no range of the index, a list of numbers is several.
            number = int(value)
            listed = range(number + 1, labels + 1) if operator == ">" else range(number)
            return f"{self.name} IN ({', '.join(map(str, listed))})" if listed else "FALSE"
        if self.column.kind in ("enum", "set"):
            return f"{self.name} + 0 {operator} {literal}"
        return f"{self.name} {operator} {literal}"


class RowKey:
    """The row key of a table as SQL. Raises OperationError for a column that cannot be compared exactly.

    `names` gives the columns in another order than the table's own; `charset` is the one that text is printed in.
    """

    def __init__(
        self, schema: TableSchema, *, names: tuple[str, ...] | None = None, charset: str | None = None
    ) -> None:
        by_name = {column.name: column for column in schema.columns}
        self.table = schema.name
        self.names = schema.row_key if names is None else names
        self.columns = tuple(KeyColumn(by_name[name], charset=charset) for name in self.names)
        # With the table's name, since in ORDER BY a bare one may mean what is selected: the column `HEX(``b``)`.
        self.rows = rows_of(schema)
        self.order_by = ", ".join(f"{qualifier(schema)}.{column.name}" for column in self.columns)
        self.printed = tuple(column.printed for column in self.columns)

    def values(self, printed: Sequence[object]) -> KeyValues:
        """The key of a row of which `printed` was selected."""
        return tuple(column.value(each) for column, each in zip(self.columns, printed, strict=True))

    def where(self, chunk: Chunk) -> str:
        """The condition of a chunk, in a form by which both brands read just that range of the index.

        MySQL and MariaDB do not use an index for (a, b) > (x, y), but for a > x OR (a = x AND b > y).
        """
        parts: list[str] = []
        if chunk.lower is not None:
            first = self.columns[0].at_least(chunk.lower[0])
            parts += [first] if first else []
            parts.append(self._after(chunk.lower))
        if chunk.upper is not None:
            first = self.columns[0].at_most(chunk.upper[0])
            parts += [first] if first else []
            parts.append(self._up_to(chunk.upper))
        return " AND ".join(parts) if parts else "TRUE"

    def any_of(self, keys: Iterable[Sequence[str]]) -> str:
        """The condition of single rows."""
        found = [" AND ".join(c.equal(v) for c, v in zip(self.columns, key, strict=True)) for key in keys]
        return "(" + " OR ".join(f"({each})" for each in found) + ")" if found else "FALSE"

    def _after(self, values: KeyValues) -> str:
        condition = ""
        for column, value in zip(reversed(self.columns), reversed(values), strict=True):
            above = column.above(value)
            condition = f"({above} OR ({column.equal(value)} AND {condition}))" if condition else above
        return condition

    def _up_to(self, values: KeyValues) -> str:
        condition = ""
        for column, value in zip(reversed(self.columns), reversed(values), strict=True):
            below = column.below(value)
            rest = condition or column.equal(value)
            condition = f"({below} OR ({column.equal(value)} AND {rest}))" if condition else f"({below} OR {rest})"
        return condition


class ChunkSize:
    """How many rows a chunk has, so that one takes about `target_s` seconds; follows what chunks really took."""

    def __init__(self, *, target_s: float, first: int = 2000, least: int = 100, most: int = 200_000) -> None:
        self._target_s = target_s
        self._least, self._most = least, most
        self.rows = max(least, min(first, most))

    def took(self, rows: int, elapsed_s: float) -> None:
        """A chunk of so many rows took so long. Grows at most twofold a time, shrinks at once."""
        if rows <= 0:
            return
        wanted = rows * self._target_s / max(elapsed_s, 1e-6)
        if wanted > self.rows:
            wanted = min(wanted, self.rows * 2, rows * 4)
            wanted = max(wanted, self.rows)
        self.rows = round(max(self._least, min(wanted, self._most)))


def key_chunks(
    connection: Connection, schema: TableSchema, rows: int | Callable[[], int], *, after: Chunk | None = None
) -> Iterator[Chunk]:
    """The chunks of a table in the order of its row key, from behind `after` on; the last one has no upper end.

    `rows` is asked before each chunk. Each boundary is read when its chunk is asked for, by one look along the index.
    A table without a key is one chunk. Raises OperationError if the key cannot be
    compared, PermanentError or TransientError if the server fails.
    """
    index = 0 if after is None else after.index + 1
    lower = None if after is None else after.upper
    if after is not None and lower is None:
        return
    if not schema.row_key:
        yield Chunk(index)
        return
    key = RowKey(schema)
    while True:
        count = rows if isinstance(rows, int) else rows()
        upper = boundary(connection, key, lower, rows=max(count, 1))
        yield Chunk(index, lower, upper)
        if upper is None:
            return
        index, lower = index + 1, upper


def boundary(connection: Connection, key: RowKey, lower: KeyValues | None, *, rows: int) -> KeyValues | None:
    """The key of the row that is the `rows`-th behind `lower`; None if there are fewer."""
    found = exact_rows(
        connection,
        f"SELECT {', '.join(key.printed)} FROM {key.rows} WHERE {key.where(Chunk(0, lower))}"
        f" ORDER BY {key.order_by} LIMIT 1 OFFSET {rows - 1}",
    )
    return key.values(found[0]) if found else None


def estimated_rows(connection: Connection, name: TableName) -> int:
    """About how many rows the table has, as the server's statistics say."""
    return int(
        connection.value(
            "SELECT table_rows FROM information_schema.tables WHERE table_schema = %s AND table_name = %s", name
        )
        or 0
    )
