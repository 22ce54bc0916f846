"""What was done of a plan is recorded in the target, in the same transaction as the rows."""

from __future__ import annotations

from collections.abc import Iterable

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.errors import PermanentError
from pydbsync.ops.repair.change import PlannedChange
from pydbsync.plan.quoting import quote_name

_MISSING = (1049, 1146)
"""No such database, no such table."""


class RepairJournal:
    """Which changes of a plan stand in the target, and what the rows looked like afterwards."""

    def __init__(self, state_schema: str, plan: str) -> None:
        self._schema = state_schema
        self._table = f"{quote_name(state_schema)}.`repair`"
        self._plan = plan

    def prepare(self, connection: Connection) -> None:
        """Make the state schema, or bring it up to date. Raises ConfigError if the user may not."""
        ensure_state_schema(connection, self._schema)

    def statuses(self, connection: Connection) -> dict[int, str]:
        """The status of each change that was done, by its number."""
        found = connection.rows(f"SELECT number, status FROM {self._table} WHERE plan = %s", (self._plan,))
        return {int(number): str(status) for number, status in found}

    def statuses_if_any(self, connection: Connection) -> dict[int, str]:
        """The same where nothing may have been prepared yet."""
        try:
            return self.statuses(connection)
        except PermanentError as exc:
            if exc.code in _MISSING:
                return {}
            raise

    def recorded(self, connection: Connection, changes: Iterable[PlannedChange]) -> dict[int, tuple[str, bytes | None]]:
        """The same for some changes, within the running transaction; another run of the plan waits for its end."""
        listed = ", ".join(str(change.number) for change in changes)
        found = connection.rows(
            f"SELECT number, status, after_image FROM {self._table} WHERE plan = %s AND number IN ({listed})"
            " FOR UPDATE",
            (self._plan,),
        )
        return {int(number): (status, image) for number, status, image in found}

    def write(self, connection: Connection, number: int, status: str, image: bytes | None) -> None:
        """Record one change as part of the running transaction."""
        connection.run(
            f"REPLACE INTO {self._table} (plan, number, status, after_image) VALUES (%s, %s, %s, %s)",
            (self._plan, number, status, image),
        )
