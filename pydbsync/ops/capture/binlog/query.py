"""Query events of the binlog: who ran which statement, in which session."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Final, NamedTuple

from pydbsync.ops.capture.binlog.session import CHARSET, SQL_MODE, TOO_MANY_DATABASES, UPDATED_DATABASES, read_variables
from pydbsync.ops.capture.binlog.tablemap import packed_integer
from pydbsync.ops.capture.charsets import Charsets


class Query(NamedTuple):
    """One Query event."""

    thread_id: int
    database: str
    """The session's default database; empty without one."""
    status: bytes
    """The status variables, which tell the session."""
    raw: bytes
    """The statement's bytes."""

    @property
    def sql_mode(self) -> int:
        """Its bits."""
        return int.from_bytes(read_variables(self.status).get(SQL_MODE, b""), "little")

    @property
    def collation(self) -> int | None:
        """Of the client: in which character set the statement is written."""
        charset = read_variables(self.status).get(CHARSET)
        return None if charset is None else int.from_bytes(charset[:2], "little")

    @property
    def updated_databases(self) -> tuple[str, ...] | None:
        """What the statement changed, its functions and triggers included; None where that is not told (MariaDB)."""
        names = read_variables(self.status).get(UPDATED_DATABASES)
        if not names or names[0] == TOO_MANY_DATABASES:
            return None
        return tuple(name.decode("utf-8") for name in names[1:].split(b"\0")[: names[0]])

    def sql(self, charsets: Charsets, names: Mapping[int, str]) -> str:
        """The statement's text."""
        collation = self.collation
        charset = names.get(collation, "utf8mb4") if collation is not None else "utf8mb4"
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
    database = body[at : at + database_size].decode("utf-8")
    raw = body[at + database_size + 1 :]
    return Query(thread_id, database, body[13:at], decompress(raw) if is_compressed else raw)


_BEFORE_STATUS_OF_LOAD: Final = 26


def parse_load(body: bytes) -> Query:
    """Read the body of an EXECUTE_LOAD_QUERY_EVENT: LOAD DATA as a statement."""
    database_size = body[8]
    at = _BEFORE_STATUS_OF_LOAD + int.from_bytes(body[11:13], "little")
    database = body[at : at + database_size].decode("utf-8")
    status = body[_BEFORE_STATUS_OF_LOAD:at]
    return Query(int.from_bytes(body[:4], "little"), database, status, body[at + database_size + 1 :])


def decompress(raw: bytes) -> bytes:
    """MariaDB's compressed events (log_bin_compress). Source: sql/log_event.cc of MariaDB, binlog_buf_uncompress."""
    length_bytes = raw[0] & 7
    return zlib.decompress(raw[1 + length_bytes :])


def decompress_rows(body: bytes, header_bytes: int, *, is_update: bool) -> bytes:
    """The body of a rows event as it was before MariaDB compressed the images behind the bitmaps of columns."""
    count, at = packed_integer(body, header_bytes)
    at += (count + 7) // 8 * (2 if is_update else 1)
    return body[:at] + decompress(body[at:])
