"""How two tables are matched: which column is compared with which, and by what key both sides find a row."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

from pydbsync.config.routes import RouteSettings
from pydbsync.config.settings import Settings
from pydbsync.config.shapes import columns_of
from pydbsync.engine.routing import row_route
from pydbsync.errors import OperationError, PlanError
from pydbsync.model import INTEGER_KINDS, TEXT_KINDS, Column, TableName, TableSchema
from pydbsync.ops.chunks import RowKey
from pydbsync.ops.servers import Server
from pydbsync.ops.verify.pairs import TablePair
from pydbsync.ops.verify.sides import Side, SideTable
from pydbsync.plan.canonical import ONE_TO_ONE, ComparedColumn, RowText


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
    is_key_masked: bool = False
    """Whether the source has no index for the key, as a route masks it: each range of it is a pass over the table."""


def open_sides(
    pair: TablePair, settings: Settings, source: Server, target: Server, *, ignored: Collection[str] = ()
) -> TableSides:
    """Read both ends' definitions. `ignored` are columns that are left out, by their name or with database and table.

    Raises OperationError where they cannot be compared.
    """
    source_dialect, target_dialect = source.dialect, target.dialect
    across_brands = source_dialect.is_mariadb != target_dialect.is_mariadb
    target_schema = target.table(pair.target)
    if target_schema is None:
        raise OperationError(f"{pair.target} is not at the target any more")
    tables = _source_tables(pair, settings, source, target_schema)
    columns = compared_columns(settings, tables[0].schema, target_schema, ignored=ignored)
    if not columns:
        raise OperationError("the two tables have no column in common: is it the right table?")
    names, charset = _common_key([table.schema for table in tables], target_schema, columns)
    packet_bytes = min(server.call(lambda connection: connection.max_allowed_packet) for server in (source, target))
    row_text = partial(RowText, across_brands=across_brands, packet_bytes=packet_bytes)
    by_source = {column.source.name: column.target.name for column in columns}
    source_parts = [
        (
            table,
            row_text(
                compared_columns(settings, table.schema, target_schema, ignored=ignored), source_dialect, is_source=True
            ),
            RowKey(table.schema, names=names, charset=charset) if names else None,
        )
        for table in tables
    ]
    target_part = (
        SideTable(target_schema, ""),
        row_text(columns, target_dialect, is_source=False),
        RowKey(target_schema, names=tuple(by_source[name] for name in names), charset=charset) if names else None,
    )
    return TableSides(
        pair=pair,
        columns=columns,
        source=Side(source, source_parts, columns, across_brands=across_brands),
        target=Side(target, [target_part], columns, across_brands=across_brands),
        has_key=bool(names),
        key_names=names,
        source_schemas=tuple(table.schema for table in tables),
        target_schema=target_schema,
        across_brands=across_brands,
        is_key_masked=_is_masked(pair, names),
    )


def _source_tables(pair: TablePair, settings: Settings, source: Server, target_schema: TableSchema) -> list[SideTable]:
    """The source's tables as their routes make them. Raises OperationError where they cannot be compared as one."""
    tables: list[SideTable] = []
    for part in pair.sources:
        schema = source.table(part.name, with_referrers=False)  # only who writes a table must know who refers to it
        if schema is None:
            raise OperationError(f"{part.name} is not at the source any more")
        if part.route is not None:
            schema = routed_view(settings, part.route, schema, target_schema)
        has_shard = any(column.name.lower() == part.shard_column.lower() for column in schema.columns)
        tables.append(SideTable(schema, part.condition if has_shard else ""))
    first = tables[0].schema
    for table in tables[1:]:
        if [column.name for column in table.schema.columns] != [column.name for column in first.columns]:
            raise OperationError(
                f"{first.name} and {table.schema.name} have different columns; compare them one by one with --tables"
            )
    return tables


def _is_masked(pair: TablePair, key: Collection[str]) -> bool:
    """Whether a route masks a column of the key."""
    names = {name.lower() for name in key}
    return any(
        part.route.rename.get(column, column).lower() in names
        for part in pair.sources
        if part.route is not None
        for column in part.route.mask
    )


def routed_view(settings: Settings, route: RouteSettings, source: TableSchema, target: TableSchema) -> TableSchema:
    """The source's table as a route makes it. Raises OperationError where the route cannot be followed."""
    try:
        return row_route(settings, route, source, target).view(source)
    except PlanError as exc:
        raise OperationError(str(exc)) from exc


def compared_columns(
    settings: Settings, source: TableSchema, target: TableSchema, *, ignored: Collection[str] = ()
) -> tuple[ComparedColumn, ...]:
    """The columns that both have, in the source's order; what replay adds to listed timestamps is known.

    A column of the row key is never left out.
    """
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
        # Since when a row is the current one, each server knows for itself.
        and column.name not in (source.period or ())
        and found.name not in (target.period or ())
        and (column.name in source.row_key or not is_ignored(source.name, column.name, ignored))
    )


def is_ignored(table: TableName, column: str, ignored: Collection[str]) -> bool:
    """Whether a column is named by `column` or `database.table.column`."""
    names = {column.lower(), f"{table}.{column}".lower()}
    return any(each.lower() in names for each in ignored)


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
    if len(charsets) > 1 and not charsets <= ONE_TO_ONE:
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
    return kinds <= INTEGER_KINDS or (source.kind == target.kind and source.digits == target.digits)
