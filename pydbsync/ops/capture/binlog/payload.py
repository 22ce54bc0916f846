"""Transactions that MySQL has compressed (binlog_transaction_compression): one event that holds all others."""

from __future__ import annotations

import importlib
import struct
from collections.abc import Callable, Iterator
from typing import Final

from pydbsync.errors import OperationError
from pydbsync.ops.capture.binlog.reader import Event
from pydbsync.ops.capture.binlog.tablemap import packed_integer

_END, _SIZE, _ALGORITHM, _WHOLE_SIZE = 0, 1, 2, 3
_ZSTD: Final = 0
_NONE: Final = 255
_HEADER: Final = struct.Struct("<IBIIIH")


def payload_events(event: Event) -> Iterator[Event]:
    """The events inside a TRANSACTION_PAYLOAD_EVENT; all have its place.

    Raises OperationError without a module that reads zstd. Source:
    https://dev.mysql.com/doc/dev/mysql-server/latest/classmysql_1_1binlog_1_1event_1_1Transaction__payload__event.html
    """
    body, at = event.body, 0
    fields = {_ALGORITHM: _NONE, _WHOLE_SIZE: 0}
    while True:
        field, at = packed_integer(body, at)
        if field == _END:
            break
        size, at = packed_integer(body, at)
        fields[field], _ = packed_integer(body, at)
        at += size
    data = body[at:]
    if fields[_ALGORITHM] == _ZSTD:
        data = _decompressor()(data)
    elif fields[_ALGORITHM] != _NONE:
        raise OperationError(f"a transaction at {event.start} is compressed in an unknown way ({fields[_ALGORITHM]})")
    if fields[_WHOLE_SIZE] not in (0, len(data)):
        raise OperationError(
            f"a compressed transaction at {event.start} has {len(data)} bytes and not the {fields[_WHOLE_SIZE]} it "
            "announces: it is damaged"
        )
    at = 0
    while at < len(data):
        ts, kind, server_id, size, _, flags = _HEADER.unpack_from(data, at)
        yield Event(kind, ts, server_id, event.start, event.end, data[at + _HEADER.size : at + size], flags)
        at += size


def _decompressor() -> Callable[[bytes], bytes]:
    """Python 3.14 reads zstd itself, before that the package zstandard does."""
    for name in ("compression.zstd", "zstandard"):
        try:
            module = importlib.import_module(name)
        except ImportError:
            continue
        if name == "zstandard":
            return lambda data: bytes(module.ZstdDecompressor().stream_reader(data, read_across_frames=True).read())
        return lambda data: bytes(module.decompress(data))
    raise OperationError(
        "the source compresses transactions: install the package zstandard, or set binlog_transaction_compression=OFF"
    )
