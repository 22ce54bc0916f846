"""The source's binlog as events with their places.

mysql-replication's BinLogStreamReader logs in as a replica, agrees on checksums, heartbeats and GTIDs and asks for the
binlog; from the first format description on, the frames are taken off the same connection here. The package would
make three Python objects of each frame, which alone costs more than what is done with it.
"""

from __future__ import annotations

import logging
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pymysql
from pymysql.connections import Connection
from pymysql.cursors import Cursor
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.event import FormatDescriptionEvent

from pydbsync.errors import OperationError, SourceError

if TYPE_CHECKING:
    from typing import Protocol

    class _BufferedFile(Protocol):
        def read(self, size: int) -> bytes: ...


QUERY: Final = 2
STOP: Final = 3
ROTATE: Final = 4
FORMAT_DESCRIPTION: Final = 15
XID: Final = 16
EXECUTE_LOAD_QUERY: Final = 18
TABLE_MAP: Final = 19
WRITE_V1, UPDATE_V1, DELETE_V1 = 23, 24, 25
INCIDENT: Final = 26
HEARTBEAT: Final = 27
WRITE_V2, UPDATE_V2, DELETE_V2 = 30, 31, 32
GTID, ANONYMOUS_GTID = 33, 34
XA_PREPARE: Final = 38
PARTIAL_UPDATE: Final = 39
TRANSACTION_PAYLOAD: Final = 40
HEARTBEAT_V2: Final = 41
GTID_TAGGED: Final = 42
MARIADB_GTID: Final = 162
MARIADB_QUERY_COMPRESSED: Final = 165
MARIADB_WRITE_COMPRESSED_V1, MARIADB_UPDATE_COMPRESSED_V1, MARIADB_DELETE_COMPRESSED_V1 = 166, 167, 168
MARIADB_WRITE_COMPRESSED, MARIADB_UPDATE_COMPRESSED, MARIADB_DELETE_COMPRESSED = 169, 170, 171

_HEADER: Final = struct.Struct("<IBIIIH")
_WRAP: Final = 1 << 32
_PURGED: Final = 1236
"""ER_SOURCE_FATAL_ERROR_READING_BINLOG: the file is purged, or the place is none."""
_LOST: Final = frozenset({2003, 2006, 2013, 1053, 1040, 1077, 1158, 1159, 1160, 1161})


class BinlogPlace(NamedTuple):
    """A place between two transactions: `file:offset`, and the GTIDs up to it where the source has any."""

    file: str
    offset: int
    gtids: str = ""

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"


class Event(NamedTuple):
    """One event of the binlog without its header and checksum."""

    kind: int
    ts: int
    """Seconds since 1970; 0 for events that the server makes up for a replica."""
    server_id: int
    start: int
    """Offset in the file where the event starts."""
    end: int
    body: bytes


class DumpConnection(Connection):
    """A PyMySQL connection that hands out the frames of a binlog dump."""

    _rfile: _BufferedFile
    has_checksum: bool

    def connect(self, sock: Any = None) -> None:
        """Log in, and ask how the events will be checked."""
        super().connect(sock)
        with self.cursor(Cursor) as cursor:
            cursor.execute("SELECT @@GLOBAL.binlog_checksum <> 'NONE'")
            ((has_checksum,),) = cursor.fetchall()
            self.has_checksum = bool(has_checksum)

    def read_frame(self) -> bytes:
        """The payload of one packet: a status byte, then an event. Raises pymysql.OperationalError."""
        payload = b""
        while True:
            header = self._read_exactly(4)
            size = header[0] | header[1] << 8 | header[2] << 16
            payload = payload + self._read_exactly(size) if payload else self._read_exactly(size)
            if size < 0xFFFFFF:
                return payload

    def _read_exactly(self, size: int) -> bytes:
        try:
            data = self._rfile.read(size)
        except OSError as exc:
            raise pymysql.err.OperationalError(2013, f"Lost connection to the source: {exc}") from exc
        if len(data) < size:
            raise pymysql.err.OperationalError(2013, "Lost connection to the source")
        return data


class BinlogReader:
    """Reads one source from one place on. Each instance is one connection; a new one is made after an error."""

    def __init__(
        self,
        source: Mapping[str, Any],
        *,
        server_id: int,
        place: BinlogPlace,
        by_gtid: bool = False,
        is_mariadb: bool = False,
        follow: bool = True,
        heartbeat_s: float = 1.0,
    ) -> None:
        """Connect and ask for the binlog; without `follow` the events end where the binlog ends now.

        `source` has PyMySQL's keywords. Raises OperationError where the source refuses for good (the place was
        purged, a right is missing) and SourceError where another try may succeed.
        """
        self.file = place.file
        self._mariadb = is_mariadb
        made: list[DumpConnection] = []

        logging.getLogger("pymysqlreplication").setLevel(logging.ERROR)  # what it warns of is checked here

        def connect(**keywords: Any) -> DumpConnection:
            connection = DumpConnection(**keywords)
            made.append(connection)
            return connection

        self._stream = BinLogStreamReader(
            connection_settings={**source, "autocommit": True},
            server_id=server_id,
            blocking=follow,
            resume_stream=True,
            log_file=None if by_gtid else place.file,
            log_pos=None if by_gtid else place.offset,
            auto_position=place.gtids if by_gtid else None,
            is_mariadb=is_mariadb and by_gtid,
            slave_heartbeat=heartbeat_s,
            only_events=[FormatDescriptionEvent],
            pymysql_wrapper=connect,
            enable_logging=False,
        )
        try:
            first = self._stream.fetchone()
        except (pymysql.MySQLError, OSError) as exc:
            self._stream.close()
            raise _translated(exc, place) from exc
        if first is None or not made:
            raise SourceError("the source ended the binlog before it began")
        self.file = self._stream.log_file or place.file
        self._connection = made[0]
        self._has_checksum = made[0].has_checksum
        self._offset = self._stream.log_pos or 4

    def close(self) -> None:
        """End the connection."""
        self._stream.close()

    def events(self) -> Iterator[Event]:
        """Events in the binlog's order; HEARTBEAT comes about each second when there is nothing else."""
        read_frame = self._connection.read_frame
        unpack = _HEADER.unpack_from
        crc32 = zlib.crc32
        has_checksum = self._has_checksum
        while True:
            try:
                frame = read_frame()
            except pymysql.MySQLError as exc:
                raise SourceError(f"the source's binlog broke off: {exc}") from exc
            status = frame[0]
            if status:
                if status == 0xFE and len(frame) < 9:
                    return
                raise _refusal(frame, self.file)
            ts, kind, server_id, size, end, _flags = unpack(frame, 1)
            if has_checksum:
                body = frame[20:-4]
                if crc32(frame[1:-4]) != int.from_bytes(frame[-4:], "little"):
                    raise SourceError(f"an event before {self.file}:{end} arrived damaged (wrong checksum)")
            else:
                body = frame[20:]
            if kind == ROTATE:
                self.file = body[8:].decode("utf-8")
                self._offset = int.from_bytes(body[:8], "little")
            elif kind == FORMAT_DESCRIPTION:
                # Its last bytes say how this file's events are checked: one byte algorithm, four bytes checksum.
                has_checksum = self._has_checksum = frame[-5] == 1
            if end:
                # A transaction can be larger than 4 GB, and the header has four bytes for the place.
                end += self._offset // _WRAP * _WRAP
                if end < self._offset:
                    end += _WRAP
                if kind not in (HEARTBEAT, HEARTBEAT_V2, ROTATE, FORMAT_DESCRIPTION):
                    self._offset = end
            yield Event(kind, ts, server_id, end - size, end, body)


def _refusal(frame: bytes, file: str) -> Exception:
    """The server's error packet: code, a mark and SQL state, then text."""
    code = int.from_bytes(frame[1:3], "little")
    text = frame[9:].decode("utf-8", "replace")
    if code == _PURGED:
        return OperationError(f"the source cannot serve its binlog from {file} on ({text}): copy the data anew")
    return SourceError(f"the source ended the binlog of {file} with error {code}: {text}")


def _translated(exc: Exception, place: BinlogPlace) -> Exception:
    code = exc.args[0] if exc.args and isinstance(exc.args[0], int) else 0
    text = exc.args[1] if len(exc.args) > 1 else exc
    if code == _PURGED:
        return OperationError(f"the source cannot serve its binlog from {place} on ({text}): copy the data anew")
    if code in _LOST or not isinstance(exc, pymysql.MySQLError):
        return SourceError(f"the source cannot be reached: {text}")
    return OperationError(f"the source refuses to send its binlog ({code}): {text}")
