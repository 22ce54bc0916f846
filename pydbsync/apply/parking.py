"""What of one stream is parked now, and how much of it may be."""

from __future__ import annotations

import time

from pydbsync.apply.connection import Connection
from pydbsync.apply.parked import ParkedChange, ParkedRows, ParkedTable
from pydbsync.apply.session import Session
from pydbsync.config.settings import Settings
from pydbsync.errors import StopError

_LOOK_S = 1.0


class Parking:
    """The parked changes of one stream: in the table, and as replay must know them."""

    def __init__(self, settings: Settings, *, session: Session, stream: str) -> None:
        self._settings = settings
        self._session = session
        self._stream = stream
        self._table = ParkedTable(schema=settings.state_schema, stream=stream)
        self._seen_at = 0.0
        self.rows = ParkedRows()

    def load(self, connection: Connection) -> None:
        """Read what is parked."""
        self.rows = self._table.load(connection)

    def reload(self) -> None:
        """The same, whatever is lost on the way."""
        self.rows = self._session.repeat(self._table.load) or ParkedRows()

    def refresh(self) -> None:
        """Notice what the operator has mended meanwhile; looks at most once a second, and only if something is parked.

        To be called between batches: what an open batch is about to park is not in the table yet.
        """
        if not self.rows.count or time.monotonic() - self._seen_at < _LOOK_S:
            return
        self._seen_at = time.monotonic()
        if self._session.repeat(self._table.count) != self.rows.count:
            self.reload()

    def has(self, position: str, message: bytes) -> bool:
        """Whether this very message of the stream was parked before, whatever became of it since."""
        return bool(self._session.repeat(lambda connection: self._table.has(connection, position, message)))

    def write(self, connection: Connection, change: ParkedChange) -> int:
        """Store one as part of the running transaction; its id."""
        return self._table.write(connection, change)

    def refuse_if_stopping(self, parked: ParkedChange) -> None:
        """Raises StopError if the policy is to stop rather than to park."""
        if self._settings.on_error == "stop":
            raise StopError(
                f"{parked.kind} of {parked.source} at {parked.position or 'an unknown place'} cannot be applied:"
                f" {parked.reason}; nothing after it was applied (on_error is stop)"
            )

    def check_limit(self, coming: int) -> None:
        """Raises StopError if with these there are more than may be."""
        limit = self._settings.max_parked
        if limit and coming and self.rows.count + coming > limit:
            raise StopError(
                f"more than max_parked ({limit}) changes of {self._stream!r} are parked; look at them with"
                " `python -m pydbsync parked list` before going on"
            )
