"""SHOW CREATE of a table or a database, with the bytes that the server wrote."""

from __future__ import annotations

from pydbsync.apply.connection import Connection
from pydbsync.plan.ddl.shown import shown_text


def show_create(connection: Connection, statement: str) -> str:
    """The definition that `SHOW CREATE …` tells. Raises TransientError, PermanentError.

    As text, MySQL 9.7 would answer `?` for each byte of a `_binary` string, and MariaDB 10.11 sends bytes that are no
    text at all.
    """
    connection.execute("SET character_set_results = binary")
    try:
        value = connection.rows(statement)[0][1]
    finally:
        if connection.is_open():
            connection.execute("SET character_set_results = utf8mb4")
    return shown_text(value) if isinstance(value, bytes) else str(value)
