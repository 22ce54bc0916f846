"""Query events of the binlog: who ran which statement, in which session."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from pydbsync.ops.capture.rows.charsets import Charsets
from pydbsync.ops.capture.rows.tablemap import packed_integer

_FLAGS, _SQL_MODE, _CATALOG, _AUTO_INCREMENT, _CHARSET, _CATALOG_NZ = 0, 1, 2, 3, 4, 6
_SKIPPED: Final = {_FLAGS: 4, _AUTO_INCREMENT: 4}


class Query(NamedTuple):
    """One Query event."""

    thread_id: int
    database: str
    """The session's default database; empty without one."""
    sql_mode: int
    collation: int | None
    """Of the client: in which character set the statement is written."""
    raw: bytes
    """The statement's bytes."""

    def sql(self, charsets: Charsets, names: Mapping[int, str]) -> str:
        """The statement's text."""
        charset = names.get(self.collation, "utf8mb4") if self.collation is not None else "utf8mb4"
        if charset == "binary":
            charset = "utf8mb4"
        return charsets.decoder(charset)(self.raw)


def parse_query(body: bytes, *, is_compressed: bool = False) -> Query:
    """Read the body of a QUERY_EVENT, or of MariaDB's QUERY_COMPRESSED_EVENT.

    Source: https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Query__event.html
    """
    thread_id = int.from_bytes(body[:4], "little")
    database_size = body[8]
    status_size = int.from_bytes(body[11:13], "little")
    at = 13 + status_size
    sql_mode, collation = _read_status(body[13:at])
    database = body[at : at + database_size].decode("utf-8")
    raw = body[at + database_size + 1 :]
    return Query(thread_id, database, sql_mode, collation, decompress(raw) if is_compressed else raw)


def _read_status(variables: bytes) -> tuple[int, int | None]:
    """sql_mode and the client's collation; they stand before anything whose length is not known here."""
    sql_mode, at = 0, 0
    while at < len(variables):
        code = variables[at]
        at += 1
        if code == _SQL_MODE:
            sql_mode = int.from_bytes(variables[at : at + 8], "little")
            at += 8
        elif code == _CHARSET:
            return sql_mode, int.from_bytes(variables[at : at + 2], "little")
        elif code in _SKIPPED:
            at += _SKIPPED[code]
        elif code == _CATALOG_NZ:
            at += 1 + variables[at]
        elif code == _CATALOG:
            at += 2 + variables[at]
        else:
            break
    return sql_mode, None


def decompress(raw: bytes) -> bytes:
    """MariaDB's compressed events (log_bin_compress). Source: sql/log_event.cc of MariaDB, binlog_buf_uncompress."""
    length_bytes = raw[0] & 7
    return zlib.decompress(raw[1 + length_bytes :])


def decompress_rows(body: bytes, header_bytes: int, *, is_update: bool) -> bytes:
    """The body of a rows event as it was before MariaDB compressed the images behind the bitmaps of columns."""
    count, at = packed_integer(body, header_bytes)
    at += (count + 7) // 8 * (2 if is_update else 1)
    return body[:at] + decompress(body[at:])
