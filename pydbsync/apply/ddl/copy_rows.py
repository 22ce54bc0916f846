"""Rows that came for the copies of online schema changes and were left out: kept until the swap, compressed."""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.plan.quoting import quote_name
from pydbsync.work import CopyRows

COPY_ROWS: Final = """
        id BIGINT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        stream VARCHAR(190) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL,
        began CHAR(40) CHARACTER SET ascii NOT NULL,
        is_last TINYINT NOT NULL,
        messages LONGBLOB NOT NULL,
        KEY copy (stream, began, id)
    """
_PIECE_BYTES = 2**20
_CHUNK = 50
_LEVEL = 1
"""Messages of one table have most of their bytes in common: more work makes them little shorter."""


class CopyRowsTable:
    """The table `copy_rows` of one stream: what one transaction has left out of a copy is one entry, in pieces."""

    def __init__(self, *, schema: str, stream: str) -> None:
        self._table = f"{quote_name(schema)}.`copy_rows`"
        self._stream = stream

    def write(self, connection: Connection, kept: Mapping[CopyRows, Sequence[bytes]]) -> None:
        """Store these as part of the running transaction."""
        most = max(2**9, min(_PIECE_BYTES, (connection.max_allowed_packet - 2**12) // 2))  # escaped, twice as long
        for copy, messages in kept.items():
            packed = zlib.compress(msgspec.msgpack.encode(messages), _LEVEL)
            for start in range(0, len(packed), most):
                connection.run(
                    f"INSERT INTO {self._table} (stream, began, is_last, messages) VALUES (%s, %s, %s, _binary %s)",
                    (self._stream, copy.began, int(start + most >= len(packed)), packed[start : start + most]),
                )

    def read(self, connection: Connection, copy: CopyRows, *, behind: int = 0) -> tuple[list[int], list[bytes]]:
        """The first entry that is left of the copy behind this id, and its ids; nothing where none is."""
        ids: list[int] = []
        pieces: list[bytes] = []
        while True:
            found = connection.rows(
                f"SELECT id, is_last, messages FROM {self._table} WHERE stream = %s AND began = %s AND id > %s"
                " ORDER BY id LIMIT 1",
                (self._stream, copy.began, ids[-1] if ids else behind),
            )
            if not found:
                return [], []
            number, is_last, piece = found[0]
            ids.append(int(number))
            pieces.append(piece)
            if is_last:
                return ids, msgspec.msgpack.decode(zlib.decompress(b"".join(pieces)), type=list[bytes])

    def forget(self, connection: Connection, ids: Iterable[int]) -> None:
        """They are applied, by the running transaction."""
        if listed := ", ".join(map(str, ids)):
            connection.run(f"DELETE FROM {self._table} WHERE id IN ({listed})")

    def sweep(self, connection: Connection, under_way: Collection[str]) -> bool:
        """Delete some of what is kept of copies that are not under way any more; whether there may be more."""
        but = f" AND began NOT IN ({', '.join(['%s'] * len(under_way))})" if under_way else ""
        deleted = connection.run(
            f"DELETE FROM {self._table} WHERE stream = %s{but} ORDER BY began, id LIMIT {_CHUNK}",
            (self._stream, *sorted(under_way)),
        )
        return deleted == _CHUNK
