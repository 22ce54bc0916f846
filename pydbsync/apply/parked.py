"""Parked changes: stored with their reason in the transaction that moves the checkpoint past them."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.model import RowChange, SchemaChange, TableName
from pydbsync.plan.quoting import quote_name

PENDING = 2**62
"""Added to the place of a change in the list of those that are about to be parked: its id is not known yet."""

_PIECE_BYTES = 2**20
_LEAST_PIECE_BYTES = 2**9


class ParkedChange(msgspec.Struct, frozen=True):
    """One change that was not applied, as the table `parked` keeps it."""

    message: bytes
    """The message as it arrived."""
    reason: str
    code: int = 0
    """The server's error number, 0 where the target was not asked."""
    kind: str = ""
    position: str = ""
    source: TableName = TableName("", "")
    target_database: str = ""
    row_keys: tuple[bytes, ...] = ()
    """Identities of the row (before and after): later changes of either are parked behind this one."""
    is_whole_table: bool = False
    behind: int | None = None
    """The id of the parked change that this one waits for, or PENDING and its place in the same transaction."""

    @property
    def target(self) -> TableName:
        """The table that it would have changed."""
        return TableName(self.target_database or self.source.database, self.source.table)


class ParkedRows:
    """Which rows and tables of a stream have something parked, so that what follows keeps its order behind it."""

    def __init__(self) -> None:
        self._tables: dict[TableName, int] = {}
        self._rows: dict[tuple[TableName, bytes], int] = {}
        self.count = 0

    def __bool__(self) -> bool:
        return bool(self._tables or self._rows)

    def blocker(self, target: TableName, keys: Iterable[bytes]) -> int | None:
        """The id of the newest parked change that a change of this row must wait for; None if there is none."""
        found = [self._tables[target]] if target in self._tables else []
        found += [self._rows[target, key] for key in keys if (target, key) in self._rows]
        return max(found, default=None)

    def remember(self, parked_id: int, parked: ParkedChange) -> None:
        """Later changes wait behind this one."""
        target = parked.target
        if parked.is_whole_table:
            self._tables[target] = parked_id
        for key in parked.row_keys:
            self._rows[target, key] = parked_id
        self.count += 1


class ParkedTable:
    """The table `parked` of one stream."""

    def __init__(self, *, schema: str, stream: str) -> None:
        self._schema = schema
        self._table = f"{quote_name(schema)}.`parked`"
        self._stream = stream

    def load(self, connection: Connection) -> ParkedRows:
        """What is parked now."""
        rows = ParkedRows()
        for parked_id, source_database, source_table, target_database, keys, is_whole in connection.rows(
            "SELECT id, source_database, source_table, target_database, row_keys, is_whole_table"
            f" FROM {self._table} WHERE stream = %s AND status = 'parked' ORDER BY id",
            (self._stream,),
        ):
            rows.remember(
                int(parked_id),
                ParkedChange(
                    message=b"",
                    reason="",
                    source=TableName(source_database, source_table),
                    target_database=target_database,
                    row_keys=tuple(msgspec.msgpack.decode(keys, type=list[bytes])),
                    is_whole_table=bool(is_whole),
                ),
            )
        return rows

    def count(self, connection: Connection) -> int:
        """How many are parked now: fewer than before when the operator has mended some."""
        return int(
            connection.value(
                f"SELECT COUNT(*) FROM {self._table} WHERE stream = %s AND status = 'parked'", (self._stream,)
            )
        )

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
            " row_keys, is_whole_table, behind, reason, code, message)"
            " VALUES (%s, %s, %s, %s, %s, %s, _binary %s, %s, %s, %s, %s, _binary %s)",
            (
                self._stream,
                parked.position[:255],
                parked.kind,
                parked.source.database[:64],
                parked.source.table[:64],
                parked.target_database[:64],
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


def describe_change(change: RowChange | SchemaChange) -> tuple[str, str, TableName]:
    """Kind, position with row number, and source table of a change, for the record."""
    position = change.position or ""
    if isinstance(change, RowChange):
        if change.xoffset is not None:
            position += f"/{change.xoffset}"
        return change.kind, position, TableName(change.database, change.table)
    return change.kind, position, TableName(change.database, change.table or "")
