"""Which tables of the target are the copy's own: only what its journal proves to be so is ever dropped or emptied."""

from __future__ import annotations

from collections.abc import Iterable

from pydbsync.apply.connection import Connection
from pydbsync.errors import OperationError
from pydbsync.model import TableName
from pydbsync.ops.copy.definitions import Builder, SourceTable, read_fingerprint
from pydbsync.ops.copy.journal import CopyJournal, MadeRecord
from pydbsync.ops.copy.late_keys import add_keys, drop_keys, keys_to_be_late
from pydbsync.plan.quoting import quote_table

_CLAIMED = MadeRecord("made")
"""Of a table about which nothing else is known yet: none that stands there is the copy's."""
_WHOLE = ""
"""Stands for a table where a database is meant."""


def standing(target: Connection, names: Iterable[TableName]) -> set[TableName]:
    """Those of the names that the target has, as tables or as views."""
    wanted = set(names)
    found: set[TableName] = set()
    for database in {name.database for name in wanted}:
        found |= {
            TableName(str(schema), str(table))
            for schema, table in target.rows(
                "SELECT table_schema, table_name FROM information_schema.tables WHERE table_schema = %s", (database,)
            )
        }
    if int(target.value("SELECT @@lower_case_table_names")):
        lower = {TableName(name.database.lower(), name.table.lower()) for name in found}
        return {name for name in wanted if TableName(name.database.lower(), name.table.lower()) in lower}
    return found & wanted


def is_empty(target: Connection, name: TableName) -> bool:
    """Whether a table that is there has no rows."""
    return not target.rows(f"SELECT 1 FROM {quote_table(name)} LIMIT 1")


class OwnTables:
    """What one run has made, and what becomes of it."""

    def __init__(self, target: Connection, journal: CopyJournal, builder: Builder) -> None:
        """Those of `journal.run_id`; none if no run is begun."""
        self._target = target
        self._journal = journal
        self._builder = builder
        self._records = journal.made(target) if journal.run_id else {}

    def others(self, names: Iterable[TableName]) -> set[TableName]:
        """Those of the names that the target has and that this run neither made nor took over."""
        return {
            name for name in standing(self._target, names)
            if not self._is_made(name) and not self._is_kept(name)
        }  # fmt: skip

    def make_database(self, name: str, create_sql: str) -> None:
        """Make all target databases of a source database, where they are missing."""
        for database in self._builder.make_database(name, create_sql):
            self._note(self._target, TableName(database, _WHOLE), MadeRecord("made"))

    def place(
        self, table: SourceTable, name: TableName, *, may_drop: bool, may_keep: bool, may_empty: bool,
        is_large: bool = False,
    ) -> None:  # fmt: skip
        """See to it that an empty table of this name is there: made anew, or kept as it is.

        A large one gets its keys when its rows are there, by `add_late_keys`.
        `may_drop`, `may_keep` (an empty one) and `may_empty` are said of tables that are not the copy's. Raises
        OperationError for such a table otherwise, where another copy fills it, and where the table cannot be made.
        """
        self._claim(name)
        if self._exists(name):
            if not self._is_made(name) and not may_drop:
                if not (self._is_kept(name) or may_empty or (may_keep and is_empty(self._target, name))):
                    self._forget(name)
                    raise OperationError(f"the target has {name}, which this copy has not made: drop it, or exclude it")
                self._note(self._target, name, MadeRecord("kept"))
                self._target.execute(f"DELETE FROM {quote_table(name)}".encode())
                return
            self._builder.drop_table(name)
        self._note(self._target, name, MadeRecord("making"))
        try:
            self._builder.make_table(table, name.database)
        except OperationError:
            # What stands there later was made by somebody else.
            self._forget(name)
            raise
        if is_large and (keys := keys_to_be_late(self._target, name)):
            # Noted down before they go: whoever goes on after a kill adds those that are missing.
            self._note(self._target, name, MadeRecord("making", late_keys=tuple(keys.values())))
            drop_keys(self._target, name, keys)
        self.note_made(self._target, name)

    def _claim(self, name: TableName) -> None:
        """Note the table down before anything is done to it, then look whether another copy has: of two at once, whose
        rows would be each other's to remove, at least one sees the other."""
        if name in self._records:
            return
        self._note(self._target, name, _CLAIMED)
        streams = self._journal.other_streams(self._target, name)
        if streams is not None:
            self._forget(name)
            raise OperationError(
                f"{name} belongs to another copy that is not finished, of the streams {streams}: let it end, or give it"
                " up with --restart and these --stream"
            )

    def add_late_keys(self, connection: Connection, name: TableName) -> None:
        """The rows are there: add the keys that were taken off."""
        record = self._records.get(name)
        if record is not None and record.late_keys:
            add_keys(connection, name, record.late_keys)
            self._note(connection, name, MadeRecord("made", read_fingerprint(connection, name) or ""))

    def note_made(self, connection: Connection, name: TableName) -> None:
        """The table is the copy's as it stands there now. A kept one stays what it is."""
        if not self._is_kept(name):
            record = self._records.get(name, MadeRecord("made"))
            fingerprint = read_fingerprint(connection, name) or ""
            self._note(connection, name, MadeRecord("made", fingerprint, record.late_keys))

    def empty(self, connection: Connection, name: TableName) -> None:
        """Remove all rows of a table of this copy, at once."""
        record = self._records.get(name)
        if record is not None and record.status == "made":
            # The table gets another time of creation: until that is noted down it is known by being empty.
            self._note(connection, name, MadeRecord("making", record.fingerprint, record.late_keys))
        connection.execute(f"TRUNCATE TABLE {quote_table(name)}".encode())
        self.note_made(connection, name)

    def remove(self, names: Iterable[TableName]) -> list[TableName]:
        """Drop what was made, empty what was kept; the names of what is left, not being known as the copy's."""
        wanted = set(names)
        there = standing(self._target, wanted)
        left = []
        for name in sorted(wanted):
            if name in there and self._is_made(name):
                self._builder.drop_table(name)
            elif name in there and self._is_kept(name):
                self._target.execute(f"DELETE FROM {quote_table(name)}".encode())
            elif name in there:
                left.append(name)
            self._forget(name)
        return left

    def remove_all(self) -> list[TableName]:
        """As `remove`, of all that the run has made."""
        return self.remove([name for name in self._records if name.table != _WHOLE])

    def remove_database(self, name: str) -> None:
        """Drop the target databases of a source database that this copy has made, if nothing is left in them."""
        self._builder.drop_database(name, only={each.database for each in self._records if each.table == _WHOLE})

    def _note(self, connection: Connection, name: TableName, record: MadeRecord) -> None:
        self._journal.write_made(connection, name, record)
        self._records[name] = record

    def _forget(self, name: TableName) -> None:
        self._journal.forget_made(self._target, name)
        self._records.pop(name, None)

    def _exists(self, name: TableName) -> bool:
        return bool(
            self._target.rows(
                "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = %s", name
            )
        )

    def _is_made(self, name: TableName) -> bool:
        """Whether the table that stands there now is the one that this run made."""
        record = self._records.get(name)
        if record is None or record.status == "kept":
            return False
        if record.fingerprint and record.fingerprint == read_fingerprint(self._target, name):
            return True
        # Killed between the statement that made it and the note.
        return record.status == "making" and is_empty(self._target, name)

    def _is_kept(self, name: TableName) -> bool:
        record = self._records.get(name)
        return record is not None and record.status == "kept"
