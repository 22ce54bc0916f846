"""A sink that writes each change as a line of JSON: to a file, once each, or to standard output, at least once."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import BinaryIO

import msgspec

from pydbsync.errors import ConfigError, TransientError
from pydbsync.model import NO_JSON, RowKind, TableName
from pydbsync.sinks.writer import RefusedRow, SinkRow, SinkSchemaChange

STANDARD_OUTPUT = "-"


class _Line(msgspec.Struct, omit_defaults=True):
    place: str
    """Lines of one stream compare by it, as bytes, in the order of the source."""
    database: str
    table: str
    type: str
    ts: int
    data: msgspec.Raw = NO_JSON
    old: msgspec.Raw = NO_JSON
    sql: str | None = None


class _LinePlace(msgspec.Struct):
    place: str = ""


_decode_place = msgspec.json.Decoder(_LinePlace).decode


class NdjsonSink:
    """The last line of the file is the fence: what stands at or before its place was written already."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._last = ""

    def open(self) -> None:
        """Go on behind the last whole line."""
        self.close()
        if self._path == STANDARD_OUTPUT:
            self._file = sys.stdout.buffer
            return
        try:
            self._file = open(self._path, "ab+")  # noqa: SIM115 (open until `close`)
            self._last = _cut_to_last_line(self._file)
        except OSError as exc:
            raise ConfigError(f"the file {self._path!r} cannot be written: {exc.strerror}", key="sink.path") from exc

    def key_columns(self, table: TableName) -> Sequence[str]:
        """None is known: what is parked of a table holds up the table."""
        return ()

    def check(self, row: SinkRow) -> None:
        row.image()

    def write(self, rows: Sequence[SinkRow]) -> Sequence[RefusedRow]:
        self._append([(row.place, _row_line(row)) for row in rows if not row.place or row.place > self._last])
        return ()

    def change_schema(self, change: SinkSchemaChange) -> None:
        if not change.place or change.place > self._last:
            names = [name for pair in change.touched[:1] for name in pair if name is not None]
            table = names[0] if names else TableName(change.database or "", "")
            source = change.change
            line = _Line(change.place, table.database, table.table, change.action, source.ts, sql=source.sql)
            self._append([(change.place, line)])

    def close(self) -> None:
        if self._file is not None and self._path != STANDARD_OUTPUT:
            with suppress(OSError):
                self._file.close()
        self._file = None

    def _append(self, lines: Sequence[tuple[str, _Line]]) -> None:
        if self._file is None:
            raise TransientError(f"{self._path} is not open")
        try:
            self._file.write(b"".join(msgspec.json.encode(line) + b"\n" for _, line in lines))
            self._file.flush()
            if self._path != STANDARD_OUTPUT:
                os.fsync(self._file.fileno())
        except OSError as exc:  # half a line is cut off when the file is opened again
            raise TransientError(f"{self._path} cannot be written: {exc}") from exc
        self._last = max([self._last, *(place for place, _ in lines)])


def _row_line(row: SinkRow) -> _Line:
    change = row.change
    kind: RowKind = change.kind
    return _Line(row.place, row.table.database, row.table.table, kind, change.ts, data=change.data, old=change.old)


def _cut_to_last_line(file: BinaryIO) -> str:
    """The place of the last whole line that has one; half a line behind it, which a crash has left, is cut off."""
    end = file.seek(0, os.SEEK_END)
    tail, start = b"", end
    place = None
    while start > 0 and not place:
        size = min(start, max(1 << 16, len(tail)))
        start -= size
        file.seek(start)
        tail = file.read(size) + tail
        whole = tail[: tail.rfind(b"\n") + 1]
        if whole and len(whole) < len(tail):
            file.truncate(start + len(whole))
            tail = whole
        lines = whole.split(b"\n")[:-1]
        for line in reversed(lines if start == 0 else lines[1:]):
            place = _decode_place(line).place
            if place:
                break
    if place is None and tail and not tail.endswith(b"\n"):
        file.truncate(0)
    file.seek(0, os.SEEK_END)
    return place or ""
