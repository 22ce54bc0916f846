"""Parked changes: stored with their reason in the transaction that moves the checkpoint past them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.apply.server_errors import DUPLICATE_CODE
from pydbsync.model import TableName
from pydbsync.plan.quoting import quote_name
from pydbsync.work import ParkedChange, ParkedRows

_PIECE_BYTES = 2**20
_LEAST_PIECE_BYTES = 2**9


class ParkedTable:
    """The table `parked` of one stream."""

    def __init__(self, *, schema: str, stream: str) -> None:
        self._schema = schema
        self._table = f"{quote_name(schema)}.`parked`"
        self._stream = stream

    def load(self, connection: Connection) -> ParkedRows:
        """What is parked now, and what was given up of rows that met another one."""
        rows = ParkedRows()
        for (
            parked_id,
            source_database,
            source_table,
            target_database,
            target_table,
            keys,
            is_whole,
            is_left,
        ) in connection.rows(
            "SELECT id, source_database, source_table, target_database, target_table, row_keys, is_whole_table,"
            f" status = 'skipped' FROM {self._table} WHERE stream = %s AND (status = 'parked'"
            f" OR status = 'skipped' AND code = {DUPLICATE_CODE} AND NOT is_whole_table) ORDER BY id",
            (self._stream,),
        ):
            found = ParkedChange(
                message=b"",
                reason="",
                source=TableName(source_database, source_table),
                target_database=target_database,
                target_table=target_table,
                row_keys=tuple(msgspec.msgpack.decode(keys, type=list[bytes])),
                is_whole_table=bool(is_whole),
            )
            if is_left:
                rows.leave(int(parked_id), found)
            else:
                rows.remember(int(parked_id), found)
        return rows

    def void(self, connection: Connection, database: str, table: str | None, reason: str) -> list[int]:
        """Give up what is parked of a table's rows, or of a whole database's, as part of the running transaction: the
        rows are gone at the source. The ids."""
        where, about = ("target_database = %s", (database,)) if table is None else (
            "target_database = %s AND COALESCE(NULLIF(target_table, ''), source_table) = %s", (database, table)
        )  # fmt: skip
        found = connection.rows(
            f"SELECT id FROM {self._table} WHERE stream = %s AND status = 'parked' AND NOT is_whole_table AND {where}",
            (self._stream, *about),
        )
        ids = [int(row[0]) for row in found]
        for parked_id in ids:
            connection.run(f"UPDATE {self._table} SET status = 'skipped' WHERE id = %s", (parked_id,))
            connection.run(
                f"INSERT INTO {quote_name(self._schema)}.`parked_audit` (parked_id, action, actor, detail)"
                " VALUES (%s, 'void', 'replay', %s)",
                (parked_id, reason),
            )
        return ids

    def count(self, connection: Connection) -> int:
        """How many are parked now: fewer than before when the operator has mended some."""
        return int(
            connection.value(
                f"SELECT COUNT(*) FROM {self._table} WHERE stream = %s AND status = 'parked'", (self._stream,)
            )
        )

    def holds(self, connection: Connection, parked_id: int) -> bool:
        """Whether this one is parked still; it is locked as it is."""
        found = connection.rows(
            f"SELECT status = 'parked' FROM {self._table} WHERE id = %s LOCK IN SHARE MODE", (parked_id,)
        )
        return bool(found and found[0][0])

    def of_others(self, connection: Connection, target: TableName, keys: Iterable[bytes]) -> tuple[int, str] | None:
        """The id and stream of what another stream has parked of one of these rows, or None."""
        for key in keys:
            found = connection.rows(
                f"SELECT id, stream FROM {self._table} WHERE status = 'parked' AND stream <> %s"
                " AND target_database = %s AND COALESCE(NULLIF(target_table, ''), source_table) = %s"
                " AND LOCATE(_binary %s, row_keys) > 0 LIMIT 1",
                (self._stream, *target, key),
            )
            if found:
                return int(found[0][0]), str(found[0][1])
        return None

    def has(self, connection: Connection, position: str, message: bytes) -> bool:
        """Whether this message stands in the table, in whatever state."""
        found = connection.rows(
            f"SELECT id, message FROM {self._table}"
            " WHERE stream = %s AND position = %s AND LEFT(message, 1000) = _binary %s",
            (self._stream, position[:255], message[:1000]),
        )
        ids = [int(parked_id) for parked_id, first in found if message.startswith(first)]
        rests = read_rests(connection, self._schema, ids)
        return any(first + rests.get(int(parked_id), b"") == message for parked_id, first in found)

    def write(self, connection: Connection, parked: ParkedChange) -> int:
        """Store one as part of the running transaction; its id.

        A large message is stored in pieces: it may be longer than any statement that the target takes.
        """
        # Escaped, a piece may be twice as long, and the reason stands beside the first one.
        piece_bytes = max(_LEAST_PIECE_BYTES, min(_PIECE_BYTES, (connection.max_allowed_packet - 2**15) // 2))
        connection.run(
            f"INSERT INTO {self._table} (stream, position, kind, source_database, source_table, target_database,"
            " target_table, input_format, row_keys, is_whole_table, behind, reason, code, message)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, _binary %s, %s, %s, %s, %s, _binary %s)",
            (
                self._stream,
                parked.position[:255],
                parked.kind,
                parked.source.database[:64],
                parked.source.table[:64],
                parked.target_database[:64],
                parked.target_table[:64],
                parked.input_format,
                msgspec.msgpack.encode(list(parked.row_keys)),
                int(parked.is_whole_table),
                parked.behind,
                parked.reason[:16000],
                parked.code,
                parked.message[:piece_bytes],
            ),
        )
        parked_id = int(connection.value("SELECT LAST_INSERT_ID()"))
        for number, start in enumerate(range(piece_bytes, len(parked.message), piece_bytes), start=1):
            connection.run(
                f"INSERT INTO {quote_name(self._schema)}.`parked_piece` (parked_id, number, piece)"
                " VALUES (%s, %s, _binary %s)",
                (parked_id, number, parked.message[start : start + piece_bytes]),
            )
        return parked_id


def read_rests(connection: Connection, schema: str, ids: Iterable[int]) -> dict[int, bytes]:
    """What of these parked messages stands in pieces behind the column `message`; nothing for most."""
    listed = ", ".join(map(str, ids))
    if not listed:
        return {}
    pieces: dict[int, list[bytes]] = {}
    for parked_id, piece in connection.rows(
        f"SELECT parked_id, piece FROM {quote_name(schema)}.`parked_piece` WHERE parked_id IN ({listed})"
        " ORDER BY parked_id, number"
    ):
        pieces.setdefault(int(parked_id), []).append(piece)
    return {parked_id: b"".join(each) for parked_id, each in pieces.items()}
