"""What a sink is: one class that writes rows, each with its place; all else of a stream is done for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

import msgspec

from pydbsync.model import COMMIT_ROW, NO_JSON, RowChange, SchemaChange, TableName, read_image
from pydbsync.places import parse_position
from pydbsync.plan.ddl.for_target import Touched
from pydbsync.plan.ddl.syntax import Action


class SinkRow(NamedTuple):
    """One row change on its way to a sink."""

    table: TableName
    """By the name that it has behind `dbname_rewrite`."""
    change: RowChange
    place: str
    """Where the change stands: texts of one stream compare, as bytes, in the order of the source. Empty where the
    message has no position."""
    is_late: bool = False
    """Whether it was parked, and is written behind others that are newer."""

    @property
    def mode(self) -> str:
        """How a fence takes it: `placed`, by its place; without one a row of a bootstrap fills what is missing and was
        not deleted (`bootstrap`), and any other is written always (`unplaced`)."""
        if self.place:
            return "placed"
        return "bootstrap" if self.change.kind == "bootstrap-insert" else "unplaced"

    def image(self) -> Mapping[str, msgspec.Raw]:
        """The JSON token of each column: the row as it is now, for a deletion as it was last. Raises PlanError."""
        return read_image(self.change.data)

    def old_image(self) -> Mapping[str, msgspec.Raw]:
        """The row before an update; as `image` for the other kinds. Raises PlanError."""
        image = dict(read_image(self.change.data))
        if self.change.kind == "update" and self.change.old is not NO_JSON:
            image.update(read_image(self.change.old))
        return image


class SinkSchemaChange(msgspec.Struct, frozen=True):
    """One DDL statement of the source. All names are those behind `dbname_rewrite`."""

    action: Action
    touched: tuple[Touched, ...]
    """The tables that it makes (no `before`), drops (no `after`), alters or renames; none for databases."""
    database: str | None
    """The database that is made, altered or dropped."""
    place: str
    change: SchemaChange

    @property
    def gone(self) -> tuple[TableName, ...]:
        """Tables whose rows the statement takes away, under the names that they had."""
        if self.action in ("drop-table", "truncate-table"):
            return tuple(name for name, _ in self.touched if name is not None)
        return ()


class RefusedRow(NamedTuple):
    """A row that the target does not take, however often it is tried."""

    number: int
    """Of the rows, from 0, that were given to `write`."""
    reason: str


class RowWriter(Protocol):
    """A sink. Rows that were written may come again, after a crash all since the last checkpoint, and from two workers
    at once: what came before, by its place, must change nothing then."""

    def open(self) -> None:
        """Connect, again after each loss. Raises TransientError while the target is away, ConfigError."""

    def key_columns(self, table: TableName) -> Sequence[str] | None:
        """The columns that tell the rows of a table apart, as far as the sink knows (none: the whole table waits for a
        change that was parked); None for a table that it does not take."""

    def check(self, row: SinkRow) -> None:
        """Raises PlanError for a row that cannot be written: it is parked, and what is of the same row behind it. The
        row has no place yet."""

    def write(self, rows: Sequence[SinkRow]) -> Sequence[RefusedRow]:
        """Write these, in order; what the target refused of them. The rest is safe on return. Raises TransientError,
        after which all of them come again."""

    def change_schema(self, change: SinkSchemaChange) -> None:
        """A statement stands here in the stream. Raises TransientError."""

    def close(self) -> None:
        """Never raises."""


_NO_NUMBER, _LAST = "00", "99"


def place_of(change: RowChange | SchemaChange, generation: int) -> str:
    """The change's place as text that compares in stream order; empty where the message has none. `generation` counts
    how often the stream has begun anew. Raises ValueError for a position that is none."""
    if change.position is None:
        return ""
    _, file, offset = parse_position(change.position)
    row = change.xoffset if isinstance(change, RowChange) and not change.commit else None
    if isinstance(change, SchemaChange):
        return order(generation, file, offset, 0)
    return order(generation, file, offset, COMMIT_ROW if change.commit else row)


def order(generation: int, file: int, offset: int, row: int | None) -> str:
    """Two digits for the number of digits, then the digits: such numbers compare as texts, by any collation. COMMIT_ROW
    is behind all, and no number before all."""
    last = _NO_NUMBER if row is None else _LAST if row == COMMIT_ROW else _number(row)
    return f"{_number(generation)}{_number(file)}{_number(offset)}{last}"


def _number(number: int) -> str:
    digits = str(number)
    return f"{len(digits):02}{digits}"
