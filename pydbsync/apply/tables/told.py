"""The table `told`: rows of which the preferred side has told the other end how they stand, and has no answer yet."""

from __future__ import annotations

from typing import Final

from pydbsync.apply.connection import Connection
from pydbsync.model import TableName
from pydbsync.plan.agreement import RowId
from pydbsync.plan.quoting import quote_name

TOLD_TABLE: Final = """
    stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    target_database VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    target_table VARCHAR(64) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
    row_id CHAR(32) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    number CHAR(16) CHARACTER SET ascii COLLATE ascii_bin NOT NULL,
    is_touched TINYINT NOT NULL DEFAULT 0,
    told_at TIMESTAMP(6) NOT NULL DEFAULT CURRENT_TIMESTAMP(6),
    PRIMARY KEY (stream, target_database, target_table, row_id)
"""
"""`row_id` is a digest of the key; `is_touched` says that a change of the row has come since."""
_MOST: Final = 10_000
_ROW: Final = "stream = %s AND target_database = %s AND target_table = %s AND row_id = %s"


class ToldTable:
    """That of one stream, as part of the running transaction."""

    def __init__(self, *, schema: str, stream: str) -> None:
        self._table = f"{quote_name(schema)}.`told`"
        self._stream = stream

    def read(self, connection: Connection) -> list[tuple[RowId, str, bool]]:
        """What is not answered; of very many the newest, since what is not known is told again."""
        rows = connection.rows(
            f"SELECT target_database, target_table, row_id, number, is_touched FROM {self._table} WHERE stream = %s"
            f" ORDER BY told_at DESC LIMIT {_MOST}",
            (self._stream,),
        )
        return [
            ((TableName(str(database), str(table)), bytes.fromhex(digest)), str(number), bool(is_touched))
            for database, table, digest, number, is_touched in rows
        ]

    def write(self, connection: Connection, row_id: RowId, number: str) -> None:
        """It is told of this row."""
        connection.run(
            f"REPLACE INTO {self._table} (stream, target_database, target_table, row_id, number)"
            " VALUES (%s, %s, %s, %s, %s)",
            (*self._values(row_id), number),
        )

    def touch(self, connection: Connection, row_id: RowId) -> None:
        """A change of it has come."""
        connection.run(f"UPDATE {self._table} SET is_touched = 1 WHERE {_ROW}", self._values(row_id))

    def forget(self, connection: Connection, row_id: RowId, number: str) -> None:
        """This was answered."""
        connection.run(f"DELETE FROM {self._table} WHERE {_ROW} AND number = %s", (*self._values(row_id), number))

    def _values(self, row_id: RowId) -> tuple[str, ...]:
        (database, table), digest = row_id
        return (self._stream, database, table, digest.hex())
