"""How far the stream must have come before a difference is no lag, and whether it has."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pydbsync.apply.checkpoint import CheckpointRow
from pydbsync.config.settings import Settings
from pydbsync.engine.gaps import HEARTBEAT_COLUMN
from pydbsync.errors import ApplyError, TransientError
from pydbsync.model import TableName
from pydbsync.ops.servers import Server
from pydbsync.ops.verify.place import SourcePlace, Streams
from pydbsync.plan.quoting import quote_table


class Marks(NamedTuple):
    """The source at the end of a look: the place of its binlog, and the heartbeat's number."""

    place: SourcePlace | None
    beat: int | None

    @property
    def is_known(self) -> bool:
        """Whether anything can be proven with it."""
        return self.place is not None or self.beat is not None

    def is_void(self, newer: object) -> bool:
        """Whether it is not known, or that of another server."""
        if not isinstance(newer, Marks) or not newer.is_known:
            return False
        ours, theirs = self.place, newer.place
        is_moved = ours is not None and theirs is not None and ours[::3] != theirs[::3]  # base, server_id
        return not self.is_known or is_moved


class Passing:
    """Reads the source's marks, and asks the checkpoints whether they were passed."""

    def __init__(self, settings: Settings, source: Server, target: Server) -> None:
        self._settings = settings
        self._source = source
        self._target = target
        self._streams = Streams(settings, source, target)
        database, _, table = settings.heartbeat_table.partition(".")
        self._heartbeat = quote_table(TableName(database, table))

    def marks(self) -> Marks:
        """As they are now: all that the source has by now is before them."""
        place = self._streams.source_place()
        try:
            beat = self._source.value(f"SELECT {HEARTBEAT_COLUMN} FROM {self._heartbeat} WHERE id = 1")
        except TransientError:
            raise
        except ApplyError:  # there is none, or it may not be read
            beat = None
        return Marks(place, None if beat is None else int(beat))

    def why_unknown(self, marks: Marks) -> str:
        """Why nothing can be proven with these marks; empty where it can."""
        return "" if marks.is_known else self._streams.why_unknown

    def streams(self, tables: Sequence[TableName]) -> list[str]:
        """The streams that carry these source tables."""
        return self._streams.names(tables)

    def has_passed(self, marks: Marks, tables: Sequence[TableName]) -> bool:
        """Whether each stream of these source tables is beyond the marks."""
        names = self.streams(tables)
        return bool(names) and all(self._is_beyond(marks, name) for name in names)

    def _is_beyond(self, marks: Marks, stream: str) -> bool:
        state = self._target.call(CheckpointRow(schema=self._settings.state_schema, stream=stream).read)
        if state is None:
            return False
        if marks.beat is not None and state.heartbeat is not None and state.heartbeat > marks.beat:
            return True  # it was counted up behind the look, and what the source did before came before it
        place, at = marks.place, state.checkpoint
        if place is None or at.base != place.base or at.server_id not in (None, place.server_id):
            return False
        return (at.place.file, at.place.offset) >= (place.file, place.offset)
