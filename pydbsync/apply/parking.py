"""What of one stream is parked now, and how much of it may be."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.apply.session import StreamSession
from pydbsync.apply.tables.parked import ParkedTable
from pydbsync.config.settings import Settings
from pydbsync.errors import PermanentError, StopError
from pydbsync.model import TableName
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.row_statements import RowStatement
from pydbsync.work import PENDING, ParkedChange, ParkedRows

_SHARE = 20
"""Many that are mended one after the other are read again at most for one part in so many of the time."""


class Parking:
    """The parked changes of one stream: in the table, and as replay must know them."""

    def __init__(self, settings: Settings, *, session: StreamSession, stream: str) -> None:
        self._settings = settings
        self._session = session
        self._stream = stream
        self._table = ParkedTable(schema=settings.state_schema, stream=stream)
        self.rows = ParkedRows()
        self._looks_at = 0.0

    def use(self, settings: Settings) -> None:
        """These hold from now on."""
        self._settings = settings

    def load(self, connection: Connection) -> None:
        """Read what is parked."""
        self.rows = self._table.load(connection)

    def reload(self) -> None:
        """The same, whatever is lost on the way."""
        self.rows = self._session.repeat(self._table.load) or ParkedRows()

    def refresh(self) -> None:
        """Notice what the operator has mended meanwhile, if something is parked.

        To be called between transactions: what one is about to park is not in the table yet.
        """
        if not self.rows.count or time.monotonic() < self._looks_at:
            return
        if self._session.repeat(self._table.count) != self.rows.count:
            began_at = time.monotonic()
            self.reload()
            now = time.monotonic()
            self._looks_at = now + _SHARE * (now - began_at)

    def blocker(self, connection: Connection, target: TableName, keys: Collection[bytes]) -> int | None:
        """The id of what is parked of these rows at this moment. It stays so until the running transaction ends: what
        is parked behind it is seen by whoever mends it."""
        found = self.rows.blocker_of_row(target, keys) if self.rows else None
        return found if found is not None and self._table.holds(connection, found) else None

    def refuse_of_others(self, connection: Connection, statement: RowStatement) -> None:
        """Raises PermanentError if another stream has parked a row of the key whose change passes on to children: some
        of them may stand under that one."""
        assert statement.table is not None  # noqa: S101 (it has a row)
        found = self._table.of_others(connection, statement.table, statement.row)
        if found is not None:
            raise PermanentError(
                f"several sources feed {statement.table}, and {found[1]!r} has parked a row of this key"
                f" ({found[0]}): children of that one would change with those of this; mend that one, or move its"
                " children, then retry this"
            )

    def has(self, position: str, message: bytes) -> bool:
        """Whether this very message of the stream was parked before, whatever became of it since."""
        return bool(self._session.repeat(lambda connection: self._table.has(connection, position, message)))

    def write(self, connection: Connection, changes: Iterable[ParkedChange]) -> list[tuple[int, ParkedChange]]:
        """Store these as part of the running transaction; each with its id, which those behind it name."""
        written: list[tuple[int, ParkedChange]] = []
        for change in changes:
            if change.behind is not None and change.behind >= PENDING:
                behind, _ = written[change.behind - PENDING]
                change = msgspec.structs.replace(change, behind=behind)
            written.append((self._table.write(connection, change), change))
        return written

    def void(self, connection: Connection, planned: PlannedSchemaChange) -> list[int]:
        """Give up what is parked of rows that the statement has taken away, as part of the running transaction; the
        ids."""
        reason = f"void: its row went with {planned.sql}"[:16000]
        if planned.action == "drop-database" and planned.database is not None:
            return self._table.void(connection, planned.database, None, reason)
        if planned.action not in ("drop-table", "truncate-table"):
            return []
        gone = [name for name, _ in planned.touched if name is not None]
        return [each for name in gone for each in self._table.void(connection, name.database, name.table, reason)]

    def refuse_if_stopping(self, parked: ParkedChange) -> None:
        """Raises StopError if the policy is to stop rather than to park."""
        if self._settings.on_error == "stop":
            raise StopError(
                f"{parked.kind} of {parked.source} at {parked.position or 'an unknown place'} cannot be applied:"
                f" {parked.reason}; nothing after it was applied (on_error is stop)"
            )

    def check_limit(self, connection: Connection, coming: int) -> None:
        """Raises StopError if with these, which are written already, there are more than may be."""
        limit = self._settings.max_parked
        if not limit or not coming or self.rows.count + coming <= limit:
            return
        if self._table.count(connection) > limit:  # the operator may have mended some meanwhile
            raise StopError(
                f"more than max_parked ({limit}) changes of {self._stream!r} are parked; look at them with"
                " `python -m pydbsync parked list` before going on"
            )
