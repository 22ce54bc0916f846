"""The rows of a transaction until its end is read, in bounded memory.

Maxwell's messages carry the number that stands in a transaction's last event, and its last row is marked; so nothing
of a transaction can be sent before all of it was read. What is kept is the binlog's own bytes, past a limit on disk.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Final, Literal

from pydbsync.ops.capture.rows.encode import RowsEvent, TableEncoder

_RECORD: Final = struct.Struct("<IB?IQHII")
"""Number of the encoder, kind, is_partial, ts, server_id, length of the position, `at`, length of the body."""
_KINDS: Final[tuple[Literal["insert", "update", "delete"], ...]] = ("insert", "update", "delete")
_OVERHEAD_BYTES: Final = 400
"""What Python adds to one event, about."""


class RowBuffer:
    """Rows events in order, each with the encoder of its table."""

    def __init__(self, limit_bytes: int, folder: str | None = None) -> None:
        """Past `limit_bytes` the events go to an unnamed file in `folder` (the system's temporary folder)."""
        self._limit_bytes = limit_bytes
        self._folder = folder
        self._events: list[tuple[TableEncoder, RowsEvent]] = []
        self._size_bytes = 0
        self._count = 0
        self._file: IO[bytes] | None = None
        self._encoders: dict[TableEncoder, int] = {}

    def __len__(self) -> int:
        return self._count

    @property
    def is_spilled(self) -> bool:
        """Whether some of it is on disk."""
        return self._file is not None

    def append(self, encoder: TableEncoder, event: RowsEvent) -> None:
        """Keep one event."""
        self._events.append((encoder, event))
        self._count += 1
        self._size_bytes += len(event.body) + _OVERHEAD_BYTES
        if self._size_bytes > self._limit_bytes:
            self._spill()

    def clear(self) -> None:
        """Forget everything and give the disk's space back."""
        self._events.clear()
        self._encoders.clear()
        self._size_bytes = self._count = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def events(
        self, keep: Callable[[TableEncoder], bool] | None = None
    ) -> Iterator[tuple[TableEncoder, RowsEvent, bool]]:
        """Each event with its encoder and whether it is the last; `keep` leaves out tables."""
        count = self._count if keep is None else sum(1 for encoder, _ in self._all() if keep(encoder))
        for encoder, event in self._all():
            if keep is None or keep(encoder):
                count -= 1
                yield encoder, event, not count
            del event  # one large row at a time

    def _all(self) -> Iterator[tuple[TableEncoder, RowsEvent]]:
        if self._file is not None:
            encoders = list(self._encoders)
            self._file.seek(0)
            while head := self._file.read(_RECORD.size):
                number, kind, is_partial, ts, server_id, position, at, size = _RECORD.unpack(head)
                text = self._file.read(position).decode("utf-8")
                event = RowsEvent(_KINDS[kind], ts, server_id, text, self._file.read(size), at, is_partial)
                yield encoders[number], event
                del event
        yield from self._events

    def _spill(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile(dir=self._folder, prefix="pydbsync-")  # noqa: SIM115 (closed by clear)
        for encoder, event in self._events:
            number = self._encoders.setdefault(encoder, len(self._encoders))
            position = event.position.encode("utf-8")
            self._file.write(
                _RECORD.pack(
                    number, _KINDS.index(event.kind), event.is_partial, event.ts, event.server_id, len(position),
                    event.at, len(event.body),
                )
            )  # fmt: skip
            self._file.write(position)
            self._file.write(event.body)
        self._events.clear()
        self._size_bytes = 0
