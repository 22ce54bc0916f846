"""Frames off a connection, and the places of events: long frames, files beyond 4 GiB, damage."""

from __future__ import annotations

import socket
import struct
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import pymysql
import pytest

from pydbsync.errors import OperationError, SourceError
from pydbsync.ops.capture.binlog.kinds import (
    FORMAT_DESCRIPTION,
    MARIADB_GTID,
    MARIADB_GTID_LIST,
    QUERY,
    ROTATE,
    TABLE_MAP,
    WRITE_V1,
    WRITE_V2,
    XID,
)
from pydbsync.ops.capture.binlog.reader import BinlogReader, Event, _Incoming
from pydbsync.ops.capture.changes import _RESTARTED

LONGEST = 0xFFFFFF


def packets(payload: bytes) -> bytes:
    """A payload as MySQL sends it: in packets of at most 16 MiB, the last of which is shorter."""
    parts = []
    for start in range(0, len(payload) + 1, LONGEST):
        part = payload[start : start + LONGEST]
        parts.append(len(part).to_bytes(3, "little") + b"\0" + part)
    return b"".join(parts)


@contextmanager
def sent(data: bytes, *, pieces: int = 65536) -> Iterator[_Incoming]:
    """What arrives when `data` was sent in small pieces and the connection was closed."""
    near, far = socket.socketpair()

    def send() -> None:
        for start in range(0, len(data), pieces):
            far.sendall(data[start : start + pieces])
        far.close()

    thread = threading.Thread(daemon=True, target=send)
    thread.start()
    try:
        yield _Incoming(near)
    finally:
        near.close()
        thread.join()


@pytest.mark.parametrize("size", [LONGEST - 1, LONGEST, LONGEST + 1, 2 * LONGEST, 2 * LONGEST + 5])
def test_long_frames_come_together_again(size: int) -> None:
    long = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    with sent(packets(b"before") + packets(long) + packets(b"") + packets(b"behind"), pieces=1 << 20) as incoming:
        frames = incoming.frames(lambda: None)
        assert next(frames) == b"before"
        assert next(frames) == long
        assert [next(frames), next(frames)] == [b"", b"behind"]
        with pytest.raises(pymysql.err.OperationalError, match="closed the connection"):
            next(frames)


def test_frames_may_arrive_in_any_pieces() -> None:
    wanted = [bytes([number]) * (number * 37 % 301) for number in range(100)]
    data = b"".join(map(packets, wanted))
    for pieces in (1, 3, 4, 7, 1000):
        with sent(data, pieces=pieces) as incoming:
            frames = incoming.frames(lambda: None)
            assert [next(frames) for _ in wanted] == wanted


def test_a_frame_that_breaks_off_is_a_lost_connection() -> None:
    for cut in (2, 5, 100):
        with sent(packets(b"x" * 200)[:cut]) as incoming, pytest.raises(pymysql.err.OperationalError):
            next(incoming.frames(lambda: None))


class _Frames:
    """Stands where the connection is."""

    def __init__(self, frames: Iterable[bytes]) -> None:
        self._frames = frames

    def frames(self, on_wait: object, *, silence_s: float) -> Iterator[bytes]:
        yield from self._frames


def frame(kind: int, end: int, body: bytes, *, size: int | None = None, flags: int = 0, damage: bool = False) -> bytes:
    event = struct.pack("<IBIIIH", 1000, kind, 1, (23 + len(body)) if size is None else size, end % 2**32, flags) + body
    checksum = zlib.crc32(event) ^ damage
    return b"\0" + event + checksum.to_bytes(4, "little")


def reader(frames: Iterable[bytes], *, offset: int = 4) -> BinlogReader:
    made = BinlogReader.__new__(BinlogReader)
    made.file = "b.000001"
    made._connection = _Frames(frames)  # type: ignore[assignment]
    made._has_checksum = True
    made._offset = offset
    made._silence_s = 1.0
    made._server_id = 7
    return made


GIB4 = 1 << 32


@pytest.mark.parametrize("sizes", [[100, 100, 100, 300], [96, 4, 200, 2**20], [100, 2**31, 2**31, 2**31, 5000]])
@pytest.mark.parametrize("before", [100, 150, 200, 201])
def test_places_go_on_beyond_4_gib(sizes: list[int], before: int) -> None:
    """The header has four bytes for the end of an event; one may end exactly at 4 GiB, which reads as 0."""
    start = GIB4 - before
    ends = [start + sum(sizes[: index + 1]) for index in range(len(sizes))]
    found = list(
        reader(
            [frame(WRITE_V2, end, b"x", size=size) for end, size in zip(ends, sizes, strict=True)], offset=start
        ).events()
    )
    assert [(event.start, event.end) for event in found] == [
        (end - size, end) for end, size in zip(ends, sizes, strict=True)
    ]


@pytest.mark.parametrize("start", [1000, GIB4 - 300, GIB4 - 100])
def test_events_without_places_lie_between_those_that_have_one(start: int) -> None:
    """MariaDB from 11.4 tells places at the ends of transactions alone, and leaves out what replicas do not ask for."""
    left_out = 70
    frames = [
        frame(MARIADB_GTID, start + 42, b"x", size=42),
        *(frame(kind, 0, b"x", size=size) for kind, size in ((TABLE_MAP, 46), (WRITE_V1, 63), (WRITE_V1, 8200))),
        frame(XID, start + 42 + left_out + 46 + 63 + 8200 + 31, b"12345678", size=31),
        frame(MARIADB_GTID_LIST, 0, b"x", size=40, flags=0x20),
        frame(MARIADB_GTID, start + 8500, b"x", size=42),
    ]
    found = [(event.kind, event.start - start, event.end - start) for event in reader(frames, offset=start).events()]
    assert found[:5] == [
        (MARIADB_GTID, 0, 42), (TABLE_MAP, 42, 88), (WRITE_V1, 88, 151), (WRITE_V1, 151, 8351), (XID, 8421, 8452),
    ]  # fmt: skip
    assert found[6:] == [(MARIADB_GTID, 8458, 8500)]


def test_a_new_file_begins_anew_behind_one_beyond_4_gib() -> None:
    name = (4).to_bytes(8, "little") + b"b.000002"
    made = reader(
        [
            frame(XID, GIB4 + 1000, b"12345678"), frame(ROTATE, GIB4 + 1100, name), frame(ROTATE, 0, name),
            frame(FORMAT_DESCRIPTION, 120, b"x" * 30 + b"\1"), frame(QUERY, 300, b"x", size=180),
        ],
        offset=GIB4 + 900,
    )  # fmt: skip
    found: list[Event] = list(made.events())
    assert made.file == "b.000002"
    assert (found[0].end, found[-1].start, found[-1].end) == (GIB4 + 1000, 120, 300)


def test_damage_is_found_and_read_again() -> None:
    events = reader([frame(XID, 200, b"12345678"), frame(XID, 300, b"12345678", damage=True)]).events()
    next(events)
    with pytest.raises(SourceError, match="wrong checksum"):
        next(events)


def test_the_sources_own_end_and_errors() -> None:
    assert list(reader([b"\xfe\0\0\2\0"]).events()) == []
    error = b"\xff" + (1236).to_bytes(2, "little") + b"#HY000" + b"Could not find first log file name in binary log"
    with pytest.raises(OperationError, match=r"from b\.000001:4 on .*copy the data anew"):
        list(reader([error]).events())


_COMMON = "00041a08000000080808020000000a0a0a2a2a001234"
LENGTHS = {
    "5.7.44-log": f"380d0008001200040404041200005f{_COMMON}00",
    "8.0.17": f"000d00080000000004000400000060{_COMMON}000a",
    "8.0.27": f"000d00080000000004000400000061{_COMMON}000a28",
    "8.0.43-0ubuntu0.24.04.1": f"000d00080000000004000400000062{_COMMON}000a2800",
    "8.3.0": f"000d00080000000004000400000063{_COMMON}000a280000",
    "8.4.11": "000d0008000000000400040000006300041a08000000000000020000000a0a0a2a2a001234000a280000",
}
"""The lengths of the post-headers of all kinds of events that a version of MySQL knows, as its files have them; those
of 9.7 are 8.4's."""


@pytest.mark.parametrize("has_checksum", [True, False])
@pytest.mark.parametrize("version", LENGTHS)
def test_a_file_is_read_whatever_kinds_of_events_its_version_knows(version: str, has_checksum: bool) -> None:
    head = struct.pack("<H50sIB", 4, version.encode(), 1_700_000_000, 19) + bytes.fromhex(LENGTHS[version])
    row = frame(WRITE_V2, 300, b"row")
    made = reader([frame(FORMAT_DESCRIPTION, 127, head + bytes((has_checksum,))), row if has_checksum else row[:-4]])
    made._has_checksum = not has_checksum  # of the file before
    description, event = made.events()
    assert int.from_bytes(description.body[_RESTARTED], "little") == 1_700_000_000
    assert (event.kind, event.body) == (WRITE_V2, b"row")
