"""Compressed transactions of MySQL, on every Python."""

from __future__ import annotations

import importlib
import struct
import sys
from types import ModuleType

import pytest

from pydbsync.errors import OperationError
from pydbsync.ops.capture.binlog.kinds import TRANSACTION_PAYLOAD
from pydbsync.ops.capture.binlog.payload import payload_events
from pydbsync.ops.capture.binlog.reader import Event

INNER = [(2, b"BEGIN"), (30, b"rows" * 1000), (16, b"12345678")]
PLAIN = b"".join(struct.pack("<IBIIIH", 7, kind, 1, 19 + len(body), 0, kind) + body for kind, body in INNER)


def compress(data: bytes) -> bytes:
    if sys.version_info >= (3, 14):
        zstd = importlib.import_module("compression.zstd")
        return bytes(zstd.compress(data))
    return bytes(importlib.import_module("zstandard").ZstdCompressor().compress(data))


def payload(data: bytes, *, algorithm: int = 0, size: int = len(PLAIN)) -> Event:
    """The fields are type, length and value, all packed integers."""
    fields = b"\x02" + (b"\x03\xfc\xff\0" if algorithm == 255 else b"\x01" + bytes((algorithm,)))
    fields += b"\x03\x03\xfc" + size.to_bytes(2, "little") + b"\x01\x03\xfc" + (1).to_bytes(2, "little") + b"\0"
    return Event(TRANSACTION_PAYLOAD, 7, 1, 100, 900, fields + data)


@pytest.mark.parametrize("frame_bytes", [len(PLAIN), 2000, 7])
def test_all_events_come_out_at_the_place_of_the_one_that_carries_them(frame_bytes: int) -> None:
    data = b"".join(compress(PLAIN[at : at + frame_bytes]) for at in range(0, len(PLAIN), frame_bytes))
    found = list(payload_events(payload(data)))
    assert [(event.kind, event.body) for event in found] == INNER
    assert {(event.start, event.end) for event in found} == {(100, 900)}
    assert [event.flags for event in found] == [kind for kind, _ in INNER]


def test_what_is_not_compressed_is_read_as_it_is() -> None:
    assert [event.kind for event in payload_events(payload(PLAIN, algorithm=255))] == [2, 30, 16]


def test_a_transaction_that_is_not_whole_is_refused() -> None:
    with pytest.raises(OperationError, match="announces: it is damaged"):
        list(payload_events(payload(compress(PLAIN[:-27]))))
    with pytest.raises(OperationError, match="unknown way"):
        list(payload_events(payload(b"", algorithm=9)))


def test_without_a_module_for_zstd_its_name_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    data = compress(PLAIN)

    def missing(name: str) -> ModuleType:
        raise ImportError(name)

    monkeypatch.setattr(importlib, "import_module", missing)
    with pytest.raises(OperationError, match="install the package zstandard"):
        list(payload_events(payload(data)))
