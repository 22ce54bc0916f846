"""Whether somebody has run DDL at the target, told by the server's own counters: one statement, however many tables."""

from __future__ import annotations

from pydbsync.apply.connection import Connection

_COUNTED = (
    "alter_db", "alter_table", "create_db", "create_index", "create_table", "create_trigger", "drop_db", "drop_index",
    "drop_table", "drop_trigger", "rename_table",
)  # fmt: skip
_SQL = (
    "SHOW GLOBAL STATUS WHERE variable_name IN ("
    + ", ".join(f"'Com_{name}'" for name in (*_COUNTED, "create_sequence", "drop_sequence"))
    + ")"
)


class StructureWatch:
    """Compares the server's counts of DDL statements with those of the last look.

    They count what is run by whomever, our own statements and those on temporary tables as well: looking once too often
    costs a few reads of the catalogue. They say nothing of what was run between two looks a moment ago; a row that does
    not fit its table makes the table be looked at again at once.
    """

    def __init__(self) -> None:
        self._seen: dict[str, int] = {}

    def has_changed(self, connection: Connection) -> bool:
        """Whether DDL was run since the last look, or the server is another one or was started anew."""
        seen = {str(name): int(value) for name, value in connection.rows(_SQL)}
        former, self._seen = self._seen, seen
        return bool(former) and former != seen
