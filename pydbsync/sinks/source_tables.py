"""The source's tables as they are now, for sinks that need the types of columns."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Final

from pydbsync.apply.catalog import read_table
from pydbsync.apply.connection import Connection
from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError, TransientError
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.route.router import Router
from pydbsync.sinks.routes import SinkRoutes, routed_table

_READ_AGAIN_S: Final = 10.0


class SourceTables:
    """Reads one table at a time, over a connection that is made when it is needed."""

    def __init__(self, settings: Settings, router: Router) -> None:
        """Raises ConfigError where the settings name no source."""
        if settings.source is None:
            raise ConfigError(
                "is missing: the types of columns are read from the source, without which no value would be exact",
                key="source_db_info",
            )
        self._source = settings.source
        self._router = router
        self._connection: Connection | None = None
        self.routes = SinkRoutes(settings, router, self.of_source) if settings.routes else None
        """None where rows come as they are."""

    def __call__(self, name: TableName) -> TableSchema | None:
        """The source's table that goes to this name; None if there is none. Raises TransientError, ConfigError."""
        return next(filter(None, map(self.of_source, self._sources(name))), None)

    def routed(self, name: TableName) -> TableSchema | None:
        """The same as its rows come by its route."""
        for source in self._sources(name):
            if (found := self.of_source(source)) is not None:
                route = self.routes.settings(source) if self.routes is not None else None
                return found if route is None else routed_table(found, route)
        return None

    def _sources(self, name: TableName) -> list[TableName]:
        return [TableName(database, name.table) for database in self._router.sources(name.database)]

    def of_source(self, name: TableName) -> TableSchema | None:
        """The table of this name at the source; None if there is none. Raises TransientError, ConfigError."""
        for attempt in (1, 2):
            try:
                return self._read(name)
            except TransientError:
                self.close()  # an idle connection may have been given up by the server
                if attempt == 2:
                    raise
        return None

    def _read(self, name: TableName) -> TableSchema | None:
        if self._connection is None or not self._connection.is_open():
            self._connection = Connection(self._source.connect_keywords(), key=self._source.key)
        return read_table(self._connection, name)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class SourceColumns:
    """The columns of the source's tables, for messages that do not tell what their values are; the same object as long
    as they are the same."""

    def __init__(self, settings: Settings, router: Router) -> None:
        self._tables = SourceTables(settings, router) if settings.source is not None else None
        self._router = router
        self._found: dict[TableName, tuple[Mapping[str, Column] | None, float]] = {}

    def __call__(self, table: TableName) -> Mapping[str, Column] | None:
        """By the source's name; None where the table is not there, or there is nobody to ask. Raises TransientError."""
        if self._tables is None:
            return None
        known, read_at = self._found.get(table, (None, 0.0))
        if table in self._found and time.monotonic() - read_at < _READ_AGAIN_S:
            return known
        schema = self._tables(TableName(self._router.rename(table.database), table.table))
        found = None if schema is None else {column.name: column for column in schema.columns}
        self._found[table] = (known if known == found else found, time.monotonic())
        return self._found[table][0]
