"""Where the state of a stream is kept when its sink has no transactions to keep it in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from pydbsync.errors import TransientError
from pydbsync.work import PENDING, ParkedChange, StreamState


class KeepWentBack(TransientError):
    """The keep lacks what was committed last: the stream begins anew at what it has."""


class KeptDeed(msgspec.Struct):
    """What somebody did with a parked change; `at` in seconds since 1970."""

    action: str
    actor: str
    detail: str
    at: float


class KeptPause(msgspec.Struct, frozen=True):
    """A stream that is paused, or the schema changes of some tables, by a glob; the time in UTC."""

    schema_changes_of: str
    actor: str
    reason: str
    asked_at: str

    def __str__(self) -> str:
        return f"since {self.asked_at} UTC by {self.actor}: {self.reason or 'no reason given'}"


class KeptChange(msgspec.Struct):
    """A parked change as a keep holds it."""

    id: int
    change: ParkedChange
    status: str = "parked"
    """parked, applied or skipped."""
    generation: int = 0
    """That of the stream when it was parked: with it the change has its place again."""
    parked_at: float = 0.0
    """In seconds since 1970, by the worker's clock."""
    edited: bytes | None = None
    """The text that a retry uses instead."""
    history: tuple[KeptDeed, ...] = ()
    """What operators did with it."""


class Keep(Protocol):
    """Keeps the state of one stream, which one worker owns at a time."""

    def open(self) -> None:
        """Connect, again after each loss. Raises TransientError, ConfigError."""

    def lock(self) -> bool:
        """Whether the stream is ours from now on; False while another worker owns it. Raises TransientError."""

    def holder(self) -> str:
        """Who owns the stream, for people."""

    def is_ours(self) -> bool:
        """Whether the lock is still ours. Raises TransientError."""

    def take_over(self) -> StreamState:
        """The state as it is kept, marked with a new epoch, so that whoever owned the stream before can commit nothing
        more. Raises TransientError."""

    def commit(self, state: StreamState, parked: Sequence[ParkedChange]) -> list[int]:
        """Keep the state and what is parked, at once; the ids of the parked. The same again is done once. Raises
        CheckpointConflict, WentBack, TransientError."""

    def keep_alive(self) -> None:
        """Go on owning the stream. Raises CheckpointConflict, TransientError."""

    def parked(self) -> list[KeptChange]:
        """All that was ever parked, in order. Raises TransientError."""

    def parked_count(self) -> int:
        """How many changes are parked now; no change is read for it. Raises TransientError."""

    def close(self) -> None:
        """Give the lock back. Never raises."""

    # What an operator asks, whoever owns the stream; with `parked`, `parked_count` and `holder`.

    @property
    def lock_lasts_s(self) -> float:
        """So long an owner that was killed still counts as one."""

    def open_to_look(self) -> None:
        """Connect; nothing is made. Raises TransientError, ConfigError."""

    def peek(self) -> StreamState | None:
        """The state as it is kept; None where there is none. Raises TransientError, ConfigError."""

    def changed_at(self) -> float | None:
        """When the state was kept last, in seconds since 1970; None where that is not known. Raises TransientError."""

    def is_locked(self) -> bool:
        """Whether anybody owns the stream. Raises TransientError."""

    def amend(self, kept: KeptChange) -> None:
        """Replace a parked change by what became of it. Raises TransientError."""

    def pauses(self) -> list[KeptPause]:
        """What is paused of the stream. Raises TransientError."""

    def pause(self, pauses: Sequence[KeptPause]) -> None:
        """Replace what is paused. Raises TransientError."""

    # What a worker tells of itself (`sinks/notes.py`), also over a keep that owns nothing.

    def note(self, name: str, text: bytes) -> None:
        """Put this in place of what was noted by the name. Raises TransientError, ConfigError."""

    def notes(self, names: Sequence[str]) -> list[bytes | None]:
        """What was noted last by each name. Raises TransientError, ConfigError."""


def behind_ids(change: ParkedChange, ids: Sequence[int]) -> ParkedChange:
    """The change as it is kept: what it waits for, if that is kept in the same commit, by its id."""
    if change.behind is None or change.behind < PENDING:
        return change
    return msgspec.structs.replace(change, behind=ids[change.behind - PENDING])


encode = msgspec.json.Encoder().encode
decode_state = msgspec.json.Decoder(StreamState).decode
decode_kept = msgspec.json.Decoder(KeptChange).decode
decode_pauses = msgspec.json.Decoder(list[KeptPause]).decode
