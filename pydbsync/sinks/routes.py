"""Rows of the source as routes make them for a sink, which has no tables of its own to tell the types."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from pydbsync.config.routes import AddedColumn, RouteSettings
from pydbsync.config.settings import Settings
from pydbsync.engine.routing import row_settings
from pydbsync.errors import PlanError
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.plan.routed.rows import RowRoute, source_columns
from pydbsync.route.router import Router

_TEXT_BYTES = 255 * 4


class SinkRoutes:
    """The routes of source tables, each compiled by the table as it is now."""

    def __init__(
        self, settings: Settings, router: Router, table: Callable[[TableName], TableSchema | None] | None
    ) -> None:
        """`table` reads one of the source, by its name there."""
        self._settings = settings
        self._router = router
        self._table = table
        self._found: dict[TableName, RowRoute | None] = {}

    def forget(self) -> None:
        """The source's tables may have changed."""
        self._found.clear()

    def settings(self, source: TableName) -> RouteSettings | None:
        """What is said of a source table's rows; None where they come as they are."""
        return row_settings(self._settings, self._router, source)

    def route(self, source: TableName) -> RowRoute | None:
        """The table's route; None where its rows come as they are. Raises PlanError where it cannot be followed
        exactly, TransientError while the source is away."""
        if source not in self._found:
            settings, compiled = self.settings(source), None
            if settings is not None:
                schema = self._table(source) if self._table is not None else None
                if schema is None:
                    raise PlanError(f"the source has no table {source} any more, by whose types its route is followed")
                compiled = RowRoute(
                    settings, routed_table(schema, settings), source_columns(schema), key=self._settings.mask_key
                )
            self._found[source] = compiled
        return self._found[source]


def routed_table(schema: TableSchema, route: RouteSettings) -> TableSchema:
    """The source's table as its rows come by the route."""
    names = {
        column.name: route.rename.get(column.name.lower(), column.name)
        for column in schema.columns
        if column.name.lower() not in route.leave_out
    }
    columns = [
        msgspec.structs.replace(
            column, name=names[column.name], nullable=column.nullable or column.name.lower() in route.mask
        )
        for column in schema.columns
        if column.name in names
    ]
    columns += [_column(name, added) for name, added in route.add.items()]

    def key(of: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(names.get(name, name) for name in of)

    return msgspec.structs.replace(
        schema,
        columns=tuple(columns),
        primary_key=key(schema.primary_key),
        unique_keys=tuple(key(each) for each in schema.unique_keys if all(name in names for name in each)),
        row_key=key(schema.row_key),
    )


def _column(name: str, added: AddedColumn) -> Column:
    if isinstance(added.value, int):
        unsigned = added.value >= 2**63
        return Column(name, "bigint", "bigint unsigned" if unsigned else "bigint", unsigned=unsigned)
    return Column(name, "varchar", "varchar(255)", charset="utf8mb4", size=_TEXT_BYTES, collation="utf8mb4_bin")
