"""Checkpoints that a sink keeps beside its rows, shown and moved as those of the state schema."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import msgspec

from pydbsync.config.settings import Settings
from pydbsync.errors import OperationError
from pydbsync.ops.checkpoint_desk import CheckpointDesk, PlaceMove, ShownCheckpoint, all_of, shown_state
from pydbsync.ops.sinks.desk import open_keeps, own
from pydbsync.places import Checkpoint
from pydbsync.work import StreamState


class SinkCheckpointDesk(CheckpointDesk):
    """The checkpoints of the streams of one configuration."""

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        """Raises ConfigError, TransientError."""
        self._settings = settings
        self._log = log
        self._parts = open_keeps(settings, log)

    def close(self) -> None:
        for parts in self._parts.values():
            parts.keep.close()
            parts.writer.close()

    def shown(self, streams: Sequence[str] = ()) -> list[ShownCheckpoint]:
        found = []
        for stream, parts in self._parts.items():
            state = parts.keep.peek()
            if state is not None and (not streams or stream in streams):
                is_owned = parts.keep.is_locked()
                found.append(
                    shown_state(
                        stream, state, parked=parts.keep.parked_count(), owner=parts.keep.holder() if is_owned else "",
                        is_owned=is_owned, updated="",
                    )
                )  # fmt: skip
        return all_of(streams, found)

    def apply(self, move: PlaceMove) -> None:
        keep = self._parts[move.stream].keep
        keep.open()
        own(move.stream, keep, self._log, to="move its place")
        state = keep.take_over()
        if state.commits != (move.former.commits if move.former is not None else 0):
            raise OperationError(f"{move.stream} has been moved meanwhile: look again")
        # Places of another binlog must compare as newer than all that the sink has.
        begins = move.former is not None and move.former.checkpoint.base not in ("", move.wanted.base)
        keep.commit(
            msgspec.structs.replace(
                state, checkpoint=move.wanted, commits=state.commits + 1, generation=state.generation + begins
            ),
            (),
        )

    def _consequences(self, stream: str, before: Checkpoint, wanted: Checkpoint) -> list[str]:
        texts = super()._consequences(stream, before, wanted)
        if before.base == wanted.base and wanted.place < before.place:
            texts.append("what the sink has by its place already (lines of a file, keys of Redis) is not written again")
        return texts

    def _read(self, stream: str) -> StreamState | None:
        if stream not in self._parts:
            raise OperationError(f"there is no stream {stream!r}; there are {', '.join(self._parts)}")
        return self._parts[stream].keep.peek()

    def _parked(self, stream: str) -> int:
        return self._parts[stream].keep.parked_count()

    def _statements(self, stream: str, first: Checkpoint, last: Checkpoint) -> list[str]:
        return []
