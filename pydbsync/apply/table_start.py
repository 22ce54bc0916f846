"""Where replay begins after a copy: for the stream as a whole, and for tables that were read at a later place.

A copy reads rows as they are at one place of the source's binlog. What the stream says of a table at or before its
place is in the copied rows already: a key would bear it twice, a table without a key would not. So each table that was
not read at the stream's own checkpoint has a start of its own, and replay passes over its changes up to there.

A place can also be a marker: a row that the copy wrote at the source, known by its number when it comes along in the
stream. It serves where nobody tells the copy binlog places, and it proves that the stream began before the copy.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Mapping
from typing import TypeVar

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.errors import PermanentError, StopError
from pydbsync.gtids import GtidSet
from pydbsync.model import Place, RowChange, SchemaChange, TableName
from pydbsync.places import Checkpoint, parse_position
from pydbsync.plan.quoting import quote_name

_T = TypeVar("_T")

Run = Callable[[Callable[[Connection], _T]], _T]
"""Runs a step on the target's connection, again after a lost one."""

ALL_TABLES = TableName("*", "*")
OVERLAP_WAIT_S = 30.0
"""How long a stream waits for another one of the same copy to prove that the stream began before the copy."""


class TableStart(msgspec.Struct):
    """From where on the changes of a table are new."""

    base: str = ""
    place: Place = Place(0, 0, -1)
    newest_ts: int = 0
    """The time at the source when it was read, in seconds: no change before it has a newer `ts`."""
    gtids: str = ""
    marker: str = ""
    """Where it is known, instead of the place: the marker's number. Its place is filled in when it is seen."""

    def is_known(self) -> bool:
        """False until the marker has come."""
        return bool(self.base) or not self.marker


class StartRow(msgspec.Struct):
    """The row `copy_start` of a stream."""

    run_id: int
    phase: str
    is_proven: bool
    queue_existed: bool
    base: str = ""
    place: Place = Place(0, 0, -1)
    """The checkpoint that the copy wrote; no base where the copy knows markers only."""
    end: Place = Place(0, 0, -1)
    """The latest place at which a table was read: behind it the target is consistent."""
    end_ts: int = 0
    marker_table: TableName = TableName("", "")
    end_marker: str = ""


def read_start_row(connection: Connection, schema: str, stream: str) -> StartRow | None:
    """The row `copy_start`; None if the stream was never copied for."""
    try:
        found = connection.rows(
            "SELECT run_id, phase, is_proven, queue_existed, binlog_base, binlog_file, binlog_offset, end_file,"
            " end_offset, end_ts, marker_database, marker_table, end_marker"
            f" FROM {quote_name(schema)}.`copy_start` WHERE stream = %s",
            (stream,),
        )
    except PermanentError as exc:
        if exc.code == 1146:  # nobody has ever copied into this target
            return None
        raise
    if not found:
        return None
    run_id, phase, proven, existed, base, file, offset, end_file, end_offset, end_ts, database, table, marker = found[0]
    return StartRow(
        run_id=int(run_id), phase=phase, is_proven=bool(proven), queue_existed=bool(existed), base=base,
        place=Place(int(file), int(offset), -1), end=Place(int(end_file), int(end_offset), -1), end_ts=int(end_ts),
        marker_table=TableName(database, table), end_marker=marker,
    )  # fmt: skip


def write_start_row(connection: Connection, schema: str, stream: str, row: StartRow) -> None:
    """Store the row, as part of the running transaction if there is one."""
    connection.run(
        f"REPLACE INTO {quote_name(schema)}.`copy_start` (stream, run_id, phase, is_proven, queue_existed, binlog_base,"
        " binlog_file, binlog_offset, end_file, end_offset, end_ts, marker_database, marker_table, end_marker)"
        " VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s)",
        (
            stream, row.run_id, row.phase, int(row.is_proven), int(row.queue_existed), row.base, row.place.file,
            row.place.offset, row.end.file, row.end.offset, row.end_ts, *row.marker_table, row.end_marker,
        ),
    )  # fmt: skip


def load_table_starts(connection: Connection, schema: str, stream: str) -> dict[TableName, TableStart]:
    """The starts of a stream's source tables."""
    return {
        TableName(database, table): TableStart(
            base=base, place=Place(int(file), int(offset), -1), newest_ts=int(ts), gtids=gtids, marker=marker
        )
        for database, table, base, file, offset, ts, gtids, marker in connection.rows(
            "SELECT source_database, source_table, binlog_base, binlog_file, binlog_offset, newest_ts, gtids, marker"
            f" FROM {quote_name(schema)}.`table_start` WHERE stream = %s",
            (stream,),
        )
    }


def write_table_starts(
    connection: Connection, schema: str, stream: str, starts: Mapping[TableName, TableStart], *, keep: bool = False
) -> None:
    """Store the starts of a stream, instead of all former ones unless `keep`."""
    table = f"{quote_name(schema)}.`table_start`"
    if not keep:
        connection.run(f"DELETE FROM {table} WHERE stream = %s", (stream,))
    for name, start in starts.items():
        connection.run(
            f"REPLACE INTO {table} (stream, source_database, source_table, binlog_base, binlog_file, binlog_offset,"
            " newest_ts, gtids, marker) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (stream, *name, start.base, start.place.file, start.place.offset, start.newest_ts, start.gtids,
             start.marker),
        )  # fmt: skip


def load_copy_start(
    connection: Connection, schema: str, stream: str, checkpoint: Checkpoint, *, run: Run[object], log: logging.Logger
) -> TableStarts | None:
    """What a copy has left to be observed by the replay of a stream that goes on behind `checkpoint`.

    None if there was no copy or all of it is behind. To be called for every subscription anew, since what comes again
    after a lost connection must be judged again. Raises StopError while the copy is unfinished.
    """
    row = read_start_row(connection, schema, stream)
    if row is None:
        return None
    if row.phase == "copying":
        raise StopError(
            f"the copy for {stream!r} was begun and is not finished: finish it with `python -m pydbsync copy`, then"
            " start replay"
        )
    starts = load_table_starts(connection, schema, stream)
    are_passed = all(
        start.is_known() and start.base == checkpoint.base and start.place <= checkpoint.place
        for start in starts.values()
    )
    if row.phase == "consistent" and are_passed:
        return None
    return TableStarts(row, starts, schema=schema, stream=stream, run=run, log=log)


class TableStarts:
    """Tells replay which changes the copied rows hold already. Used by one thread."""

    def __init__(
        self,
        row: StartRow,
        starts: dict[TableName, TableStart],
        *,
        schema: str,
        stream: str,
        run: Run[object],
        log: logging.Logger,
    ) -> None:
        self._row = row
        self._starts = starts
        self._gtids = {name: GtidSet(start.gtids) for name, start in starts.items() if start.gtids}
        self._schema, self._stream = schema, stream
        self._run, self._log = run, log
        self._waiter = threading.Event()
        self.is_done = False
        """True once nothing is left to observe: the target is consistent, and no table begins later."""

    def skips(self, change: RowChange | SchemaChange) -> bool:
        """Whether the change is in the copied rows already. To be asked of every change, before any other judgement.

        Raises StopError if the stream began behind the copy.
        """
        row = self._row
        base, place = "", None
        if change.position is not None:
            base, file, offset = parse_position(change.position)
            place = Place(file, offset, 0)
        if not row.is_proven:
            self._prove(change, base, place)
        if isinstance(change, RowChange) and (change.database, change.table) == row.marker_table:
            self._see_marker(change, base, place)
            return True
        is_old = self._is_old(change, base, place)
        if not is_old and self._is_behind_end(change, base, place):
            self._finish(change.position or "the end marker")
        return is_old

    def _is_old(self, change: RowChange | SchemaChange, base: str, place: Place | None) -> bool:
        name = TableName(change.database, change.table or "")
        if name not in self._starts:
            name = ALL_TABLES
        return name in self._starts and self._covers(name, self._starts[name], change, base, place)

    def _covers(
        self, name: TableName, start: TableStart, change: RowChange | SchemaChange, base: str, place: Place | None
    ) -> bool:
        if not start.is_known():
            if change.ts > start.newest_ts:
                raise StopError(
                    f"{self._stream}: the marker {start.marker} of the copy has not come, but changes newer than it"
                    f" have: the stream began behind the copy, or the changes of {self._row.marker_table} do not reach"
                    " this queue. See that they do, and copy again"
                )
            return True
        if change.ts > start.newest_ts:
            return False
        if place is not None and base == start.base:
            return place <= start.place
        return change.gtid is not None and name in self._gtids and change.gtid in self._gtids[name]

    def _see_marker(self, change: RowChange, base: str, place: Place | None) -> None:
        number = str(msgspec.json.decode(change.data, type=dict[str, object]).get("id", ""))
        if change.kind != "insert":
            return
        met = {name: start for name, start in self._starts.items() if start.marker == number and not start.is_known()}
        for start in met.values():
            if place is None:
                start.marker = ""
                start.newest_ts = 0
            else:
                start.base, start.place = base, Place(place.file, place.offset, 0)
        if met:
            self._log.info("the copy's marker %s has come: %d table(s) start here", number, len(met))
            self._run(lambda connection: self._store(connection, met))
        if number == self._row.end_marker:
            self._finish(change.position or f"marker {number}")

    def _store(self, connection: Connection, starts: dict[TableName, TableStart]) -> None:
        with connection.transaction():
            write_table_starts(connection, self._schema, self._stream, starts, keep=True)

    def _prove(self, change: RowChange | SchemaChange, base: str, place: Place | None) -> None:
        row = self._row
        if not row.base:  # the markers prove it
            row.is_proven = True
            return
        if place is None:
            raise StopError(
                f"{self._stream}: the messages carry no position, so it cannot be told which of them the copy holds"
                " already; run Maxwell with output_binlog_position, or copy with --watermark"
            )
        if base == row.base and place <= row.place:
            row.is_proven = True
            self._run(self._store_proof)
            self._log.info("the stream begins before the copy: what it says up to the copy's place is passed over")
            return
        waited_s = 0.0
        while waited_s < OVERLAP_WAIT_S and row.queue_existed:
            if self._run(self._is_proven_elsewhere):
                row.is_proven = True
                return
            self._waiter.wait(0.5)
            waited_s += 0.5
        raise StopError(
            f"{self._stream}: the stream begins at {change.position}, behind the copy's place"
            f" {row.base}.{row.place.file:06d}:{row.place.offset}: what happened in between would be lost. Start the"
            " stream at or before that place, and if it is known to begin just there, say so with"
            f" `python -m pydbsync copy --trust-stream --stream {self._stream}`"
        )

    def _store_proof(self, connection: Connection) -> None:
        connection.run(
            f"UPDATE {quote_name(self._schema)}.`copy_start` SET is_proven = 1"
            " WHERE run_id = %s AND (stream = %s OR queue_existed)",
            (self._row.run_id, self._stream),
        )

    def _is_proven_elsewhere(self, connection: Connection) -> bool:
        row = read_start_row(connection, self._schema, self._stream)
        return row is not None and row.is_proven

    def _is_behind_end(self, change: RowChange | SchemaChange, base: str, place: Place | None) -> bool:
        row = self._row
        if row.end_marker or not row.is_proven:
            return False
        return change.ts > row.end_ts or (base == row.base and place is not None and place > row.end)

    def _finish(self, where: str) -> None:
        if self._row.phase != "consistent":
            self._row.phase = "consistent"
            self._run(
                lambda connection: connection.run(
                    f"UPDATE {quote_name(self._schema)}.`copy_start` SET phase = 'consistent' WHERE stream = %s",
                    (self._stream,),
                )
            )
            self._log.info(
                "%s: replay has passed the copy's last place at %s: consistent from here", self._stream, where
            )
        self.is_done = True
