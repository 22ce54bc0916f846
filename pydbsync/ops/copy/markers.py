"""Rows that the copy writes at the source, to be known again when they come along in the stream."""

from __future__ import annotations

import secrets

from pydbsync.apply.connection import Connection
from pydbsync.apply.table_start import TableStart
from pydbsync.config.settings import Settings
from pydbsync.errors import PermanentError
from pydbsync.model import TableName
from pydbsync.plan.quoting import quote_name, quote_table

KEPT_DAYS = 7
_REFUSED = 1142


def marker_table(settings: Settings) -> TableName:
    """Beside the heartbeat: `pydbsync_heartbeat.heartbeat_marker`."""
    database, _, table = settings.heartbeat_table.partition(".")
    return TableName(database, f"{table}_marker")


class Markers:
    """The table of markers at the source."""

    def __init__(self, connection: Connection, table: TableName) -> None:
        self._connection = connection
        self.table = table

    def ensure(self) -> None:
        """Make the table where it is missing, and clear old rows away. Raises PermanentError without the right to."""
        name = quote_table(self.table)
        if not self._connection.rows(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s", self.table
        ):
            self._connection.execute(f"CREATE DATABASE IF NOT EXISTS {quote_name(self.table.database)}")
            self._connection.execute(
                f"CREATE TABLE IF NOT EXISTS {name} (id VARCHAR(64) CHARACTER SET ascii NOT NULL PRIMARY KEY,"
                " written_at TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP) ENGINE=InnoDB"
            )
        try:
            self._connection.execute(f"DELETE FROM {name} WHERE written_at < NOW() - INTERVAL {KEPT_DAYS} DAY")
        except PermanentError as exc:
            if exc.code != _REFUSED:  # without the right to, old rows stay
                raise

    def write(self) -> TableStart:
        """A new marker, committed: what was committed before it comes before it in the stream, and has no newer time.

        Raises PermanentError, TransientError.
        """
        number = secrets.token_hex(8)
        self._connection.run(f"INSERT INTO {quote_table(self.table)} (id) VALUES (%s)", (number,))
        now = int(self._connection.value("SELECT UNIX_TIMESTAMP()"))
        return TableStart(newest_ts=now, marker=number)
