"""What an operator's retry does where the target's row is another one than the parked change expects.

A change that was parked as a conflict is decided by whoever asks for it again. One that waited behind it has not been
looked at by anybody: its policy decides, and where that is to park, the conflict is written down and the change stays.
"""

from __future__ import annotations

from pydbsync.apply.agreement import agreement_for
from pydbsync.apply.conflicts import ConflictFinder
from pydbsync.apply.connection import Connection
from pydbsync.apply.tables.conflict import ConflictTable
from pydbsync.config.settings import Settings
from pydbsync.errors import PlanError
from pydbsync.model import Delivery, End, RowChange
from pydbsync.plan.conflicts import decided_for
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.rows import TablePlan
from pydbsync.work import Conflict, describe_change


class NoConflict(Exception):
    """There is none any more of which a side could be taken."""


class ParkedConflicts:
    """Decides conflicts of parked changes, in transactions of the desk."""

    def __init__(self, connection: Connection, settings: Settings) -> None:
        self._connection, self._settings, self._schema = connection, settings, settings.state_schema
        self._found: list[tuple[ConflictTable, Conflict]] = []
        """What a retry has found that is taken back."""

    def settle(self, stream: str, change: RowChange, plan: TablePlan, *, take: End | None = None) -> int:
        """Make the change, or leave the target's row; whether it was made. Raises PlanError where its policy parks it,
        PermanentError, and NoConflict where a side is to be taken and the target's row is as expected."""
        position = describe_change(change)[1]
        table = ConflictTable(schema=self._schema, stream=stream)
        is_told = table.is_parked(self._connection, position, plan.name)
        if take is not None or is_told:
            plan = decided_for(plan, take or "source")
        agreement = agreement_for(self._settings, stream=stream, answers=False)
        conflicts = ConflictFinder(schema=self._schema, stream=stream, agreement=agreement)
        entry = (Delivery(b"", 0), change, plan)
        parked = conflicts.settle(self._connection, entry, tells_same=False, is_told=is_told)
        if parked is not None:
            self._found += [(table, each) for each in conflicts.decided]
            raise PlanError(parked.reason)
        if take is not None and not conflicts.decided:
            raise NoConflict
        table.write_resolved(self._connection, position, plan.name)
        return int(all(each.decision == "source" for each in conflicts.decided))

    def write_found(self) -> None:
        """Write down the conflicts for which a change stays parked, once what a retry did of it is taken back."""
        for table, conflict in self._found:
            table.write(self._connection, conflict)
        self._found.clear()

    def write_skipped(self, parked: str, ids: str) -> None:
        """Conflicts whose changes, in the table `parked`, an operator has skipped are decided."""
        self._connection.run(
            f"UPDATE {quote_name(self._schema)}.`conflict` c JOIN {parked} p ON c.stream = p.stream"
            " AND c.`position` = p.`position` AND c.source_database = p.source_database"
            " AND c.source_table = p.source_table AND c.target_database = p.target_database"
            f" SET c.status = 'resolved' WHERE p.id IN ({ids}) AND c.decision = 'parked' AND c.status = 'decided'"
        )
