"""The source's binlog as events with their places.

mysql-replication's BinLogStreamReader logs in as a replica, agrees on checksums, heartbeats and GTIDs and asks for the
binlog; from the first format description on, the frames are taken off the same connection here. The package would
make three Python objects of each frame, which alone costs more than what is done with it.
"""

from __future__ import annotations

import logging
import select
import socket
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import pymysql
from msgspec import Struct
from pymysqlreplication import BinLogStreamReader
from pymysqlreplication.event import FormatDescriptionEvent

from pydbsync.apply.raw_connection import RawConnection
from pydbsync.apply.server_errors import LOST_CODES, TRANSIENT_CODES
from pydbsync.errors import OperationError, SourceError
from pydbsync.ops.capture.binlog.kinds import FORMAT_DESCRIPTION, HEARTBEAT, HEARTBEAT_V2, ROTATE
from pydbsync.ops.capture.binlog.refusals import refusal

_HEADER: Final = struct.Struct("<IBIIIH")
_WRAP: Final = 1 << 32
_LONGEST: Final = 0xFFFFFF
"""A packet of this size goes on in the next one."""
_RECEIVE_BYTES: Final = 256 * 1024
_NOT_IN_THE_FILE: Final = frozenset((HEARTBEAT, HEARTBEAT_V2, ROTATE, FORMAT_DESCRIPTION))
"""Events that the server may make up for a replica: their places say nothing."""
_ARTIFICIAL: Final = 0x20
"""A header's flag, of any other event that the server makes up."""
IGNORABLE_FLAG: Final = 0x80
"""A header's flag: who does not know the kind of the event passes over it, as replicas do (Amazon Aurora pads its
transactions with such events, of kind 100)."""
_LEAST_SILENCE_S: Final = 10.0
_BEFORE_STATUS: Final = 0x0F6A7026
"""The CRC-32 to begin with, so that the status byte 0 in front of an event does not count."""
_WHOLE: Final = 0x2144DF1C
"""The CRC-32 of anything with its own CRC-32 behind it."""
_BINLOG_DUMP: Final = 0x12
_WITH_TEXTS: Final = 2
"""A flag of that command: MariaDB is to send the statements' texts too."""
_TELLS_PLACES: Final = "SHOW GLOBAL VARIABLES LIKE 'binlog_legacy_event_pos'"
THREAD_SPECIFIC: Final = 0x4
"""Flag of a statement whose meaning depends on its connection: on its temporary tables, or on CONNECTION_ID()."""
_CRC32: Final = 1
"""How a format description says that the events behind it have checksums."""
_ASKED_OTHERWISE: Final = {
    "SHOW GLOBAL VARIABLES LIKE 'BINLOG_CHECKSUM'": "SELECT 'binlog_checksum', 'CRC32'",
    "SET @master_binlog_checksum= @@global.binlog_checksum": "SET @master_binlog_checksum = 'CRC32'",
    "SHOW VARIABLES LIKE 'BINLOG_ROW_METADATA';": "SELECT 'binlog_row_metadata', 'MINIMAL'",
}
"""What mysql-replication asks (1.0.17), and what is asked instead. It takes the source's setting of this moment for all
files; each file was written with the setting of its own time, which its format description tells. Of rows it reads
nothing here, and MySQL goes through all its variables to tell of one."""


class FileMark(NamedTuple):
    """What tells a binlog file from another one of the same name, as a reset source writes it."""

    born: int
    """When the file was begun, in seconds since 1970, as its format description says."""
    start: int = 0
    """Where an event before the place starts, which ended a transaction; 0 where none is known."""
    kind: int = 0
    ts: int = 0
    server_id: int = 0
    head: bytes = b""
    """The first bytes of the event; its number of the transaction is in it."""


MARK_BYTES: Final = 40


class BinlogPlace(NamedTuple):
    """A place between two transactions: `file:offset`, and the GTIDs up to it where the source has any."""

    file: str
    offset: int
    gtids: str = ""
    mark: FileMark | None = None

    def __str__(self) -> str:
        return f"{self.file}:{self.offset}"


class Event(Struct, frozen=True, gc=False):
    """One event of the binlog without its header and checksum."""

    kind: int
    ts: int
    """Seconds since 1970; 0 for events that the server makes up for a replica."""
    server_id: int
    start: int
    """Offset in the file where the event starts."""
    end: int
    body: bytes
    flags: int = 0

    def mark(self, born: int) -> FileMark:
        """By which it is known again, in a file that was begun at `born`."""
        return FileMark(born, self.start, self.kind, self.ts, self.server_id, self.body[:MARK_BYTES])


class _Incoming:
    """What comes over a socket, received in large pieces; fits where PyMySQL has its buffered file."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._data = b""
        self._at = 0

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes, or fewer where the connection ends."""
        at = self._at
        end = at + size
        if end > len(self._data):
            self._receive(size)
            at, end = 0, size
        self._at = end
        return self._data[at:end]

    def close(self) -> None:
        """The socket is PyMySQL's to close."""

    def frames(self, on_wait: Callable[[], None]) -> Iterator[bytes]:
        """The payloads of packets; `on_wait` is called before there is nothing to do but wait."""
        while True:
            data, at = self._data, self._at
            while len(data) - at >= 4:
                size = data[at] | data[at + 1] << 8 | data[at + 2] << 16
                end = at + 4 + size
                if end > len(data) or size == _LONGEST:
                    break
                self._at = end
                yield data[at + 4 : end]
                at = end
            self._at = at
            if not self._has_more():
                on_wait()
            header = self._exactly(4)
            size = header[0] | header[1] << 8 | header[2] << 16
            if size < _LONGEST:
                yield self._exactly(size)
            else:
                yield self._long_frame(size)

    def _long_frame(self, size: int) -> bytes:
        parts = []
        while True:
            parts.append(self._exactly(size))
            if size < _LONGEST:
                return b"".join(parts)
            header = self._exactly(4)
            size = header[0] | header[1] << 8 | header[2] << 16

    def _exactly(self, size: int) -> bytes:
        data = self.read(size)
        if len(data) < size:
            raise pymysql.err.OperationalError(2013, "the source closed the connection")
        return data

    def _receive(self, size: int) -> None:
        """Have at least `size` bytes at the front of the buffer."""
        parts = [self._data[self._at :]]
        missing = size - len(parts[0])
        while missing > 0:
            part = self._sock.recv(max(missing, _RECEIVE_BYTES) if missing < 2**20 else 2**20)
            if not part:
                break
            parts.append(part)
            missing -= len(part)
        self._data = b"".join(parts)
        self._at = 0

    def _has_more(self) -> bool:
        pending = getattr(self._sock, "pending", None)
        return bool(pending and pending()) or bool(select.select([self._sock], [], [], 0)[0])


class DumpConnection(RawConnection):
    """A PyMySQL connection that hands out the frames of a binlog dump."""

    _sock: socket.socket
    _rfile: _Incoming
    _wants_texts = False

    def connect(self, sock: Any = None) -> None:
        """Log in."""
        super().connect(sock)
        self._rfile = _Incoming(self._sock)
        if "MariaDB" in str(self.get_server_info()):  # type: ignore[no-untyped-call]
            with self.cursor() as cursor:
                cursor.execute(_TELLS_PLACES)
                self._wants_texts = [value for _, value in cursor.fetchall()] == ["OFF"]

    def query(self, sql: str | bytes, unbuffered: bool = False) -> int:
        """As PyMySQL's, but that checksums are taken whatever the source's setting is now."""
        asked = _ASKED_OTHERWISE.get(sql, sql) if isinstance(sql, str) else sql
        return int(super().query(asked, unbuffered))

    def _write_bytes(self, data: bytes) -> None:
        """As PyMySQL's, with all events asked for by whose sizes places are counted, and with the length put right that
        mysql-replication announces for MariaDB's GTIDs.

        It says one byte too few (1.0.17). The server leaves that byte unread and then closes the connection with a
        reset, which throws away what was still on its way.
        """
        if data[4:5] == bytes((_BINLOG_DUMP,)):
            flags = int.from_bytes(data[9:11], "little") | (_WITH_TEXTS if self._wants_texts else 0)
            data = (len(data) - 4).to_bytes(3, "little") + data[3:9] + flags.to_bytes(2, "little") + data[11:]
        super()._write_bytes(data)  # type: ignore[misc]

    def frames(self, on_wait: Callable[[], None], *, silence_s: float) -> Iterator[bytes]:
        """The payloads of packets: a status byte, then an event. Raises pymysql.OperationalError.

        After `silence_s` without a byte (the source sends heartbeats) the connection counts as lost.
        """
        self._sock.settimeout(silence_s)
        try:
            yield from self._rfile.frames(on_wait)
        except OSError as exc:
            raise pymysql.err.OperationalError(2013, f"nothing comes from the source: {exc}") from exc


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
        self._server_id = server_id
        by_gtid = by_gtid and bool(place.gtids)  # without any, mysql-replication would begin at the end of the binlog
        if not by_gtid and place.offset >= _WRAP:
            raise OperationError(
                f"{place} lies behind 4 GiB, and a source is asked for places before that alone: go on by_gtid, or "
                "once the source has begun another file (FLUSH BINARY LOGS)"
            )
        self._silence_s = max(_LEAST_SILENCE_S, 10 * heartbeat_s)
        made: list[DumpConnection] = []

        logging.getLogger("pymysqlreplication").setLevel(logging.ERROR)  # what it warns of is checked here

        def connect(db: str | None = None, **keywords: Any) -> DumpConnection:
            if db is not None:
                keywords["database"] = db
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
            found = refusal(*_told(exc), str(place) if place.file else place.gtids, server_id=server_id)
            raise (found or translated(exc)) from exc
        if first is None or not made:
            raise SourceError("the source ended the binlog before it began")
        self.file = self._stream.log_file or place.file
        self._connection = made[0]
        self._has_checksum = first.checksum_algorithm == _CRC32
        self._offset = self._stream.log_pos or 4
        self.ended = 0
        """How many bytes the file before this one had, by its last event; without what four bytes do not hold."""
        self.born = int(first.timestamp)
        """When the file was begun, in seconds since 1970."""
        self.begins_at = BinlogPlace(self.file, self._offset, place.gtids, FileMark(self.born))
        """Where the first event stands: the place that was asked for, or what the GTIDs came to."""

    def is_of(self, mark: FileMark) -> bool:
        """Whether this is the binlog that the mark was made in; the reader has to begin at `mark.start`, where it has
        one. Uses the reader up. Raises SourceError."""
        if self.born != mark.born:
            return False
        if not mark.start:
            return True
        try:
            event = next((event for event in self.events() if event.start >= mark.start), None)
        except OperationError:  # the server finds no event there
            return False
        return event is not None and event.mark(self.born) == mark

    def close(self) -> None:
        """End the connection."""
        self._stream.close()

    def events(self, on_wait: Callable[[], None] = lambda: None) -> Iterator[Event]:
        """Events in the binlog's order; HEARTBEAT comes about each second when there is nothing else.

        `on_wait` is called when all that has come was given out. Raises SourceError when the connection is lost.
        """
        try:
            yield from self._events(on_wait)
        except pymysql.MySQLError as exc:
            raise SourceError(f"the connection to the source is lost: {exc.args[-1] if exc.args else exc}") from exc

    def _events(self, on_wait: Callable[[], None]) -> Iterator[Event]:
        unpack = _HEADER.unpack_from
        crc32 = zlib.crc32
        has_checksum = self._has_checksum
        for frame in self._connection.frames(on_wait, silence_s=self._silence_s):
            status = frame[0]
            if status:
                if status == 0xFE and len(frame) < 9:
                    return
                raise self._refusal(frame)
            ts, kind, server_id, size, end, flags = unpack(frame, 1)
            if has_checksum or kind == FORMAT_DESCRIPTION:
                if crc32(frame, _BEFORE_STATUS) != _WHOLE:
                    raise SourceError(f"an event before {self.file}:{end} arrived damaged (wrong checksum)")
                body = frame[20:-4]
            else:
                body = frame[20:]
            if kind == FORMAT_DESCRIPTION:
                # Its last bytes say how this file's events are checked: one byte algorithm, four bytes checksum. The
                # checksum is there in any case.
                has_checksum = self._has_checksum = frame[-5] == _CRC32
            frame = b""  # a large event shall not be kept twice, here and below
            if kind == ROTATE:
                before, self.file = self.file, body[8:].decode("utf-8")
                if before != self.file:
                    own = 0 if flags & _ARTIFICIAL else size
                    self.ended = (end or self._offset + own) % _WRAP
                self._offset = int.from_bytes(body[:8], "little")
            if end:
                # A transaction can be larger than 4 GB, and the header has four bytes for the place.
                end += self._offset // _WRAP * _WRAP
                if end < self._offset:
                    end += _WRAP
            elif kind not in _NOT_IN_THE_FILE and not flags & _ARTIFICIAL:
                # MariaDB from 11.4 tells places at the ends of transactions alone (binlog_legacy_event_pos=OFF).
                end = self._offset + size
            if end and kind not in _NOT_IN_THE_FILE:
                self._offset = end
            event = Event(kind, ts, server_id, end - size, end, body, flags)
            del body
            yield event
            del event

    def _refusal(self, frame: bytes) -> Exception:
        """The server's error packet: code, a mark and SQL state, then text."""
        code, text = int.from_bytes(frame[1:3], "little"), frame[9:].decode("utf-8", "replace")
        place = f"{self.file}:{self._offset}"
        return refusal(code, text, place, server_id=self._server_id) or SourceError(
            f"the source ended the binlog of {self.file} with error {code}: {text}"
        )


def is_lost(exc: Exception) -> bool:
    """Whether there is no connection (any more)."""
    return not isinstance(exc, pymysql.MySQLError) or _told(exc)[0] in LOST_CODES


def translated(exc: Exception, server: str = "the source") -> Exception:
    """The error of a server as ours: SourceError where another try may succeed, else OperationError."""
    code, text = _told(exc)
    if is_lost(exc) or code in TRANSIENT_CODES:
        return SourceError(f"{server} cannot be reached: {text}")
    return OperationError(f"{server} refuses what capture needs ({code}): {text}")


def _told(exc: Exception) -> tuple[int, str]:
    """The server's code and its words; 0 where the error is none of its own."""
    code = exc.args[0] if exc.args and isinstance(exc.args[0], int) else 0
    return code, str(exc.args[-1] if exc.args else exc)
