"""The rows of a transaction until its end is read, in bounded memory.

Maxwell's messages carry the number that stands in a transaction's last event, and its last row is marked; so nothing
of a transaction can be sent before all of it was read. What is kept is the binlog's own bytes, past a limit on disk.
"""

from __future__ import annotations

import struct
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Final

from pydbsync.model import ChangeKind
from pydbsync.ops.capture.rows.encode import RowsEvent, TableEncoder

_RECORD: Final = struct.Struct("<IB?IQHII")
"""Number of the encoder, kind, is_partial, ts, server_id, length of the position, `at`, length of the body."""
_KINDS: Final[tuple[ChangeKind, ...]] = ("insert", "update", "delete")
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
        self._cuts: list[tuple[int, int]] = []

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

    def cut(self, first: int) -> None:
        """The events from this number on were taken back, as far as their tables can."""
        self._cuts.append((first, self._count))

    def clear(self) -> None:
        """Forget everything and give the disk's space back."""
        self._events.clear()
        self._cuts.clear()
        self._encoders.clear()
        self._size_bytes = self._count = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def events(
        self, survives: Callable[[TableEncoder], bool] = lambda encoder: False
    ) -> Iterator[tuple[TableEncoder, RowsEvent, bool]]:
        """Each event with its encoder and whether it is the last; of those taken back the ones that survived it."""
        is_left = self._left(survives) if self._cuts else None
        count = self._count
        if is_left is not None:
            count = sum(1 for number, (encoder, _) in enumerate(self._all()) if is_left(number, encoder))
        for number, (encoder, event) in enumerate(self._all()):
            if is_left is None or is_left(number, encoder):
                count -= 1
                yield encoder, event, not count
            del event  # one large row at a time

    def _left(self, survives: Callable[[TableEncoder], bool]) -> Callable[[int, TableEncoder], bool]:
        answers: dict[TableEncoder, bool] = {}

        def is_left(number: int, encoder: TableEncoder) -> bool:
            if not any(first <= number < behind for first, behind in self._cuts):
                return True
            if encoder not in answers:
                answers[encoder] = survives(encoder)
            return answers[encoder]

        return is_left

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
