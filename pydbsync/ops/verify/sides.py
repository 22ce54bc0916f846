"""The two ends of a compared table: what each server says of a chunk, and the rows behind it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.config_shapes import columns_of
from pydbsync.errors import OperationError
from pydbsync.model import Column, TableSchema
from pydbsync.ops.chunks import Chunk, KeyValues, RowKey, boundary
from pydbsync.ops.verify.canonical import ComparedColumn, RowText, Values, canonical_bytes, is_whole
from pydbsync.ops.verify.pairs import TablePair
from pydbsync.ops.verify.server import Server
from pydbsync.plan.literals import TEXT_KINDS
from pydbsync.plan.quoting import quote_table
from pydbsync.plan.rows import Dialect
from pydbsync.settings import Settings

_ONE_TO_ONE = frozenset({"ascii", "latin1", "utf8", "utf8mb3", "utf8mb4", "ucs2", "utf16", "utf16le", "utf32"})
"""Character sets in which each character has one code: a key that went through UTF-8 is found again."""
_DIGEST = 32
"""Hexadecimal digits of a row's digest by which a row without a key is called: 128 bits."""

Request = KeyValues
"""By what a row is asked for: its key, or where there is none its digest, alone in a tuple."""


class Sum(NamedTuple):
    """How many rows, and the sum of their digests. Sums of disjoint sets of rows add up."""

    rows: int = 0
    total: int = 0

    def plus(self, other: Sum) -> Sum:
        return Sum(self.rows + other.rows, self.total + other.total)


class Found(msgspec.Struct, frozen=True):
    """What one side holds under one identity."""

    state: object
    """Equal on both sides exactly if the rows are the same: the rows' values, or without a key their number."""
    count: int
    values: Values
    requests: frozenset[Request]


class SideTable(NamedTuple):
    """One table of a side."""

    schema: TableSchema
    condition: str


class Side:
    """One server's tables behind a pair; several at the source where they are merged into one."""

    def __init__(
        self,
        server: Server,
        tables: Sequence[tuple[SideTable, RowText, RowKey | None]],
        columns: Sequence[ComparedColumn],
        *,
        across_brands: bool,
    ) -> None:
        self.server = server
        self.tables = tables
        self._columns = columns
        self._across_brands = across_brands

    # -- tables with a key -------------------------------------------------------------------------------------------

    def boundary(self, lower: KeyValues | None, rows: int) -> KeyValues | None:
        """The upper end of a chunk of so many rows behind `lower`; None where the table ends before."""
        (_, _, key), *_ = self.tables
        if key is None:
            return None
        return self.server.call(lambda connection: boundary(connection, key, lower, rows=rows))

    def chunk_sum(self, chunk: Chunk, condition: str) -> tuple[Sum, float]:
        """All rows of the chunk for which the condition holds, and the seconds that it took.

        Raises OperationError for a row that is too long.
        """
        found, elapsed_s = Sum(), 0.0
        for table, text, key in self.tables:
            ((rows, total),), took_s = self.server.timed_rows(
                f"SELECT COUNT(*), {text.sum} FROM {_from(table, key)} WHERE"
                f" {_both(_where(key, chunk), table.condition, condition)}"
            )
            found = found.plus(Sum(int(rows), int(total or 0)))
            elapsed_s += took_s
        _check(found.total, self.tables)
        return found, elapsed_s

    def chunk_digests(self, chunk: Chunk, condition: str) -> dict[KeyValues, tuple[str, ...]]:
        """The digest of each row of the chunk by its key; several where merged tables share a key."""
        found: dict[KeyValues, tuple[str, ...]] = {}
        for table, text, key in self.tables:
            if key is None:
                continue
            for *printed, digest in self.server.rows(
                f"SELECT {', '.join(key.printed)}, LEFT({text.digest}, {_DIGEST}) FROM {_from(table, key)} WHERE"
                f" {_both(_where(key, chunk), table.condition, condition)}"
            ):
                values = key.values(printed)
                found[values] = tuple(sorted((*found.get(values, ()), _ascii(digest))))
        return found

    # -- tables without a key ----------------------------------------------------------------------------------------

    def bucket_sums(self, buckets: int, condition: str) -> dict[int, Sum]:
        """All rows, spread over so many buckets by their digests; one pass over the table."""
        found: dict[int, Sum] = {}
        for table, text, key in self.tables:
            for bucket, rows, total in self.server.rows(
                f"SELECT MOD({text.number}, {buckets}) AS bucket, COUNT(*), {text.sum} FROM {_from(table, key)}"
                f" WHERE {_both(table.condition, condition)} GROUP BY bucket"
            ):
                _check(int(total), self.tables)
                found[int(bucket)] = found.get(int(bucket), Sum()).plus(Sum(int(rows), int(total)))
        return found

    def bucket_digests(self, buckets: int, chosen: Iterable[int], condition: str) -> Counter[str]:
        """How often each digest occurs in some of the buckets."""
        listed = ", ".join(map(str, chosen))
        found: Counter[str] = Counter()
        for table, text, key in self.tables:
            for digest, rows in self.server.rows(
                f"SELECT LEFT({text.digest}, {_DIGEST}) AS digest, COUNT(*) FROM {_from(table, key)} WHERE"
                f" {_both(f'MOD({text.number}, {buckets}) IN ({listed})', table.condition, condition)} GROUP BY digest"
            ):
                found[_ascii(digest)] += int(rows)
        return found

    # -- single rows -------------------------------------------------------------------------------------------------

    def fetch(self, requests: Collection[Request]) -> dict[object, Found]:
        """What there is now under these requests, by identity: the key, or without one the row's own values."""
        found: dict[object, Found] = {}
        if not requests:
            return found
        for table in self.tables:
            key = table[2]
            for request, count, row in self.read(table, table[1].values, requests):
                values = tuple(map(canonical_bytes, row))
                normal = tuple(
                    column.normal(value, across_brands=self._across_brands)
                    for column, value in zip(self._columns, values, strict=True)
                )
                identity: object = normal if key is None else request
                if key is not None and request not in requests:  # a collation holds it for the one asked for
                    continue
                before = found.get(identity)
                rows: tuple[object, ...] = (normal,)
                if before is not None:
                    count += before.count
                    rows = tuple(sorted((*before.state, normal), key=repr)) if key is not None else rows  # type: ignore[misc]
                found[identity] = Found(
                    state=count if key is None else rows,
                    count=count,
                    values=values,
                    requests=frozenset({request}) | (before.requests if before else frozenset()),
                )
        return found

    def read(
        self,
        part: tuple[SideTable, RowText, RowKey | None],
        expressions: Sequence[str],
        requests: Collection[Request],
        *,
        within: Connection | None = None,
    ) -> Iterable[tuple[Request, int, Sequence[object]]]:
        """(request, number of rows, what was selected) for the rows of one table under these requests.

        A row may come that was not asked for, where a collation holds its key for the same. `within` is a connection
        with an open transaction, by which the rows are read and locked.
        """
        table, text, key = part
        if key is None:
            listed = ", ".join(f"'{digest}'" for (digest,) in requests)
            head = f"LEFT({text.digest}, {_DIGEST}) AS digest, COUNT(*)"
            where, tail, width = f"LEFT({text.digest}, {_DIGEST}) IN ({listed})", " GROUP BY digest", 1
        else:
            head = ", ".join((*key.printed, "1"))
            where, tail, width = key.any_of(requests), "", len(key.printed)
        rows = self.server.rows
        if within is not None:
            rows, tail = within.rows, f"{tail} FOR UPDATE"
        for row in rows(
            f"SELECT {head}, {', '.join(expressions)} FROM {_from(table, key)} WHERE"
            f" {_both(where, table.condition)}{tail}"
        ):
            request = (_ascii(row[0]),) if key is None else key.values(row[:width])
            yield request, int(row[width]), row[width + 1 :]


class TableSides(NamedTuple):
    """A pair with both its ends, ready to be compared."""

    pair: TablePair
    columns: tuple[ComparedColumn, ...]
    source: Side
    target: Side
    has_key: bool
    key_names: tuple[str, ...]
    source_schemas: tuple[TableSchema, ...]
    target_schema: TableSchema
    across_brands: bool


def open_sides(pair: TablePair, settings: Settings, source: Server, target: Server) -> TableSides:
    """Read both ends' definitions. Raises OperationError where they cannot be compared."""
    source_dialect, target_dialect = source.dialect, target.dialect
    across_brands = source_dialect.is_mariadb != target_dialect.is_mariadb
    target_schema = target.table(pair.target)
    if target_schema is None:
        raise OperationError(f"{pair.target} is not at the target any more")
    tables: list[SideTable] = []
    for part in pair.sources:
        schema = source.table(part.name)
        if schema is None:
            raise OperationError(f"{part.name} is not at the source any more")
        has_shard = any(column.name.lower() == part.shard_column.lower() for column in schema.columns)
        tables.append(SideTable(schema, part.condition if has_shard else ""))
    first = tables[0].schema
    for table in tables[1:]:
        if [column.name for column in table.schema.columns] != [column.name for column in first.columns]:
            raise OperationError(
                f"{first.name} and {table.schema.name} have different columns; compare them one by one with --tables"
            )
    columns = compared_columns(settings, first, target_schema)
    if not columns:
        raise OperationError("the two tables have no column in common")
    names, charset = _common_key([table.schema for table in tables], target_schema, columns)
    source_side = Side(
        source,
        [
            (
                table,
                _row_text(settings, table.schema, target_schema, source_dialect, across_brands),
                RowKey(table.schema, names=names, charset=charset) if names else None,
            )
            for table in tables
        ],
        columns,
        across_brands=across_brands,
    )
    by_source = {column.source.name: column.target.name for column in columns}
    target_side = Side(
        target,
        [
            (
                SideTable(target_schema, ""),
                RowText(columns, target_dialect, is_source=False, across_brands=across_brands),
                RowKey(target_schema, names=tuple(by_source[name] for name in names), charset=charset)
                if names
                else None,
            )
        ],
        columns,
        across_brands=across_brands,
    )
    return TableSides(
        pair=pair,
        columns=columns,
        source=source_side,
        target=target_side,
        has_key=bool(names),
        key_names=names,
        source_schemas=tuple(table.schema for table in tables),
        target_schema=target_schema,
        across_brands=across_brands,
    )


def _row_text(
    settings: Settings, schema: TableSchema, target: TableSchema, dialect: Dialect, across_brands: bool
) -> RowText:
    columns = compared_columns(settings, schema, target)
    return RowText(columns, dialect, is_source=True, across_brands=across_brands)


def compared_columns(settings: Settings, source: TableSchema, target: TableSchema) -> tuple[ComparedColumn, ...]:
    """The columns that both have, in the source's order; what replay adds to listed timestamps is known."""
    shifted = columns_of(settings.timestamp_columns, source.name.database, source.name.table)
    by_name = _by_name(target.columns)
    return tuple(
        ComparedColumn(
            source=column,
            target=found,
            shift_s=settings.timestamp_offset_s if column.name.lower() in shifted and found.kind != "timestamp" else 0,
        )
        for column in source.columns
        if (found := by_name.get(column.name.lower())) is not None
    )


def _by_name(columns: Iterable[Column]) -> Mapping[str, Column]:
    return {column.name.lower(): column for column in columns}


def _common_key(
    sources: Sequence[TableSchema], target: TableSchema, columns: Sequence[ComparedColumn]
) -> tuple[tuple[str, ...], str | None]:
    """The key by which both sides find a row, and the character set it is printed in; no names if there is none.

    A key that does not come through whole (other labels of an ENUM, a character set with several codes for one
    character, another type) is not used: then rows are compared as a multiset, by their digests.
    """
    key = sources[0].row_key
    wanted = {name.lower() for name in key}
    if any({name.lower() for name in schema.row_key} != wanted for schema in (*sources, target)):
        return (), None
    by_name = {column.source.name: column for column in columns}
    parts = [by_name[name] for name in key]
    charsets = {
        column.charset
        for part in parts
        for column in (part.source, part.target, *_same_column(sources[1:], part.source.name))
        if column.kind in TEXT_KINDS
    }
    if len(charsets) > 1 and not charsets <= _ONE_TO_ONE:
        return (), None
    if any(part.shift_s or not _is_same_kind(part) for part in parts):
        return (), None
    try:
        RowKey(sources[0], names=key)
        RowKey(target, names=tuple(part.target.name for part in parts))
    except OperationError:
        return (), None
    return key, "utf8mb4" if len(charsets) > 1 else None


def _same_column(schemas: Iterable[TableSchema], name: str) -> list[Column]:
    return [column for schema in schemas for column in schema.columns if column.name == name]


_WHOLE_NUMBERS = frozenset({"tinyint", "smallint", "mediumint", "int", "bigint"})
_BYTES = frozenset({"binary", "varbinary"})


def _is_same_kind(part: ComparedColumn) -> bool:
    source, target = part.source, part.target
    if source.kind in ("enum", "set"):
        return source.kind == target.kind and source.labels == target.labels
    if source.kind in TEXT_KINDS and target.kind in TEXT_KINDS:
        return (source.charset in (None, "binary")) == (target.charset in (None, "binary"))
    kinds = {source.kind, target.kind}
    if kinds <= _BYTES:  # BINARY pads with zero bytes, which VARBINARY holds for different
        return source.kind == target.kind and (source.kind != "binary" or source.size == target.size)
    if kinds == {"decimal"}:  # 1.5 and 1.50 are one value but two texts
        return source.column_type.split(" ")[0] == target.column_type.split(" ")[0]
    if kinds <= {"datetime", "timestamp"}:
        return source.digits == target.digits
    return kinds <= _WHOLE_NUMBERS or (source.kind == target.kind and source.digits == target.digits)


def _from(table: SideTable, key: RowKey | None) -> str:
    quoted = quote_table(table.schema.name)
    uses_primary = key is not None and bool(table.schema.primary_key) and key.names == table.schema.primary_key
    return f"{quoted} FORCE INDEX (PRIMARY)" if uses_primary else quoted


def _where(key: RowKey | None, chunk: Chunk) -> str:
    return "TRUE" if key is None else key.where(chunk)


def _both(*conditions: str) -> str:
    return " AND ".join(each for each in conditions if each and each != "TRUE") or "TRUE"


def _check(total: int, tables: Sequence[tuple[SideTable, RowText, RowKey | None]]) -> None:
    if not is_whole(total):
        raise OperationError(
            f"a row of {tables[0][0].schema.name} is longer than the server's max_allowed_packet and cannot be compared"
        )


def _ascii(value: object) -> str:
    return value.decode("ascii") if isinstance(value, bytes) else str(value)
