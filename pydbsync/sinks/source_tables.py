"""The source's tables as they are now, for sinks that need the types of columns."""

from __future__ import annotations

from pydbsync.apply.catalog import read_table
from pydbsync.apply.connection import Connection
from pydbsync.config.settings import Settings
from pydbsync.errors import ConfigError, TransientError
from pydbsync.model import TableName, TableSchema
from pydbsync.route.router import Router


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

    def __call__(self, name: TableName) -> TableSchema | None:
        """The source's table that goes to this name; None if there is none. Raises TransientError, ConfigError."""
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
        for database in self._router.sources(name.database):
            found = read_table(self._connection, TableName(database, name.table))
            if found is not None:
                return found
        return None

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None
