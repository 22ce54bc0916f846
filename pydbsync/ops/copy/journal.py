"""What a copy has done, kept in the target beside the rows, so that one that was killed goes on where it was."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.apply.table_start import TableStart
from pydbsync.model import TableName
from pydbsync.ops.chunks import Chunk, KeyValues
from pydbsync.plan.quoting import quote_name

_T = TypeVar("_T")

_TABLES = ("copy_run", "copy_table", "copy_chunk", "copy_made")


class RunRecord(msgspec.Struct):
    """One row of `copy_run`."""

    id: int
    options: dict[str, str]
    source: dict[str, str]
    """By what the source is known again."""
    start: TableStart
    """Of the first snapshot: where the streams go on from."""
    latest: TableStart
    """Of the last one."""
    default: TableStart
    """A place before the last inventory was read."""
    rounds: int


class TableRecord(msgspec.Struct):
    """One row of `copy_table`."""

    name: TableName
    round: int
    status: str
    start: TableStart
    fingerprint: str
    rows: int = 0
    size_bytes: int = 0


class MadeRecord(msgspec.Struct, frozen=True):
    """One row of `copy_made`: a table or, with an empty name, a database of the target."""

    status: str
    """making: made from here on, and without rows until it is made; kept: found empty, and filled."""
    fingerprint: str = ""
    """Of the table when it was made: another one is not the copy's."""
    late_keys: tuple[str, ...] = ()
    """Definitions of keys that are to be added when the rows are there."""


class ChunkRecord(msgspec.Struct):
    """One row of `copy_chunk`."""

    chunk: Chunk
    is_done: bool
    rows: int
    size_bytes: int


class CopyJournal:
    """The four tables. Methods with a connection write as part of its running transaction."""

    def __init__(self, schema: str) -> None:
        self._runs, self._tables, self._chunks, self._made = (
            f"{quote_name(schema)}.{quote_name(name)}" for name in _TABLES
        )
        self.run_id = 0

    # -- runs --------------------------------------------------------------------------------------------------------

    def running(self, connection: Connection) -> list[RunRecord]:
        """Runs that are not finished."""
        found = connection.rows(
            "SELECT id, options, source, start, latest, before_latest, rounds"
            f" FROM {self._runs} WHERE status = 'running' ORDER BY id"
        )
        return [
            RunRecord(
                id=int(run_id),
                options=_decode(options, dict[str, str]),
                source=_decode(source, dict[str, str]),
                start=_decode(start, TableStart),
                latest=_decode(latest, TableStart),
                default=_decode(default, TableStart),
                rounds=int(rounds),
            )
            for run_id, options, source, start, latest, default, rounds in found
        ]

    def is_done(self, connection: Connection, run_id: int) -> bool:
        """Whether the run is finished."""
        return bool(connection.value(f"SELECT status = 'done' FROM {self._runs} WHERE id = %s", (run_id,)))

    def begin(self, connection: Connection, options: dict[str, str], source: dict[str, str]) -> int:
        """A new run; its number, which all other methods mean from now on."""
        nowhere = _encode(TableStart())
        connection.run(
            f"INSERT INTO {self._runs} (status, options, source, start, latest, before_latest)"
            " VALUES ('running', %s, %s, %s, %s, %s)",
            (_encode(options), _encode(source), nowhere, nowhere, nowhere),
        )
        self.run_id = int(connection.value("SELECT LAST_INSERT_ID()"))
        return self.run_id

    def set_start(
        self, connection: Connection, start: TableStart, latest: TableStart, default: TableStart, rounds: int
    ) -> None:
        """Where the first and the last snapshot were, what came before the last one, and how many there have been."""
        connection.run(
            f"UPDATE {self._runs} SET start = %s, latest = %s, before_latest = %s, rounds = %s WHERE id = %s",
            (_encode(start), _encode(latest), _encode(default), rounds, self.run_id),
        )

    def end(self, connection: Connection, run_id: int, status: str) -> None:
        """The run is done or given up; what is known of its chunks is not needed any more."""
        connection.run(
            f"UPDATE {self._runs} SET status = %s, ended_at = CURRENT_TIMESTAMP(6) WHERE id = %s", (status, run_id)
        )
        connection.run(f"DELETE FROM {self._chunks} WHERE run_id = %s", (run_id,))

    # -- tables ------------------------------------------------------------------------------------------------------

    def tables(self, connection: Connection, run_id: int | None = None) -> dict[TableName, TableRecord]:
        """All tables of a run."""
        found = connection.rows(
            "SELECT source_database, source_table, round, status, start, fingerprint, row_count, size_bytes"
            f" FROM {self._tables} WHERE run_id = %s",
            (self.run_id if run_id is None else run_id,),
        )
        return {
            TableName(database, table): TableRecord(
                name=TableName(database, table), round=int(number), status=status, start=_decode(start, TableStart),
                fingerprint=fingerprint, rows=int(rows), size_bytes=int(size),
            )
            for database, table, number, status, start, fingerprint, rows, size in found
        }  # fmt: skip

    def write_table(self, connection: Connection, record: TableRecord, *, forget_chunks: bool = False) -> None:
        """Store a table's row."""
        connection.run(
            f"REPLACE INTO {self._tables} (run_id, source_database, source_table, round, status, start, fingerprint,"
            " row_count, size_bytes) VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
            (
                self.run_id, *record.name, record.round, record.status, _encode(record.start), record.fingerprint,
                record.rows, record.size_bytes,
            ),
        )  # fmt: skip
        if forget_chunks:
            connection.run(f"DELETE FROM {self._chunks} WHERE {_KEY}", (self.run_id, *record.name))

    # -- what was made at the target ---------------------------------------------------------------------------------

    def made(self, connection: Connection, run_id: int | None = None) -> dict[TableName, MadeRecord]:
        """What a run has made or taken over at the target."""
        found = connection.rows(
            f"SELECT target_database, target_table, status, fingerprint, late_keys FROM {self._made} WHERE run_id = %s",
            (self.run_id if run_id is None else run_id,),
        )
        return {
            TableName(database, table): MadeRecord(status, fingerprint, _decode(late_keys, tuple[str, ...]))
            for database, table, status, fingerprint, late_keys in found
        }

    def write_made(self, connection: Connection, name: TableName, record: MadeRecord) -> None:
        """Store what is known of a table of the target."""
        connection.run(
            f"REPLACE INTO {self._made} (run_id, target_database, target_table, status, fingerprint, late_keys)"
            " VALUES (%s, %s, %s, %s, %s, %s)",
            (self.run_id, *name, record.status, record.fingerprint, _encode(record.late_keys)),
        )

    def other_streams(self, connection: Connection, name: TableName) -> str | None:
        """The streams of another unfinished run that has noted down a table of the target; None without one."""
        found = connection.rows(
            f"SELECT r.options FROM {self._runs} r JOIN {self._made} m ON m.run_id = r.id"
            " WHERE r.status = 'running' AND r.id <> %s AND m.target_database = %s AND m.target_table = %s LIMIT 1",
            (self.run_id, *name),
        )
        return _decode(found[0][0], dict[str, str]).get("streams", "") if found else None

    def forget_made(self, connection: Connection, name: TableName) -> None:
        """The table is not there, or not the copy's."""
        connection.run(
            f"DELETE FROM {self._made} WHERE run_id = %s AND target_database = %s AND target_table = %s",
            (self.run_id, *name),
        )

    # -- chunks ------------------------------------------------------------------------------------------------------

    def chunks(self, connection: Connection, name: TableName) -> list[ChunkRecord]:
        """The chunks of a table, done or planned, in the order of their key."""
        found = connection.rows(
            f"SELECT number, lower_key, upper_key, is_done, row_count, size_bytes FROM {self._chunks}"
            f" WHERE {_KEY} ORDER BY number",
            (self.run_id, *name),
        )
        return [
            ChunkRecord(Chunk(int(number), _key(lower), _key(upper)), bool(done), int(rows), int(size))
            for number, lower, upper, done, rows, size in found
        ]

    def plan_chunk(self, connection: Connection, name: TableName, chunk: Chunk) -> None:
        """The chunk is about to be copied."""
        connection.run(
            f"INSERT INTO {self._chunks} (run_id, source_database, source_table, number, lower_key, upper_key, is_done)"
            " VALUES (%s, %s, %s, %s, %s, %s, 0) ON DUPLICATE KEY UPDATE is_done = is_done",
            (self.run_id, *name, chunk.index, _key_text(chunk.lower), _key_text(chunk.upper)),
        )

    def end_chunk(self, connection: Connection, name: TableName, chunk: Chunk, *, rows: int, size_bytes: int) -> None:
        """The chunk's rows are written: part of their transaction."""
        connection.execute(
            f"UPDATE {self._chunks} SET is_done = 1, row_count = {rows:d}, size_bytes = {size_bytes:d} WHERE run_id ="
            f" {self.run_id:d} AND source_database = {_hex(name.database)} AND source_table = {_hex(name.table)}"
            f" AND number = {chunk.index:d}"
        )

    def is_chunk_done(self, connection: Connection, name: TableName, chunk: Chunk) -> bool:
        """Whether the chunk is committed."""
        return bool(
            connection.value(
                f"SELECT is_done FROM {self._chunks} WHERE run_id = {self.run_id:d} AND source_database ="
                f" {_hex(name.database)} AND source_table = {_hex(name.table)} AND number = {chunk.index:d}"
            )
        )


_KEY = "run_id = %s AND source_database = %s AND source_table = %s"


def _hex(text: str) -> str:
    # The writers' sessions speak bytes, in which a text in quotes would be no name.
    return f"_utf8mb4 X'{text.encode().hex()}'"


def _encode(value: object) -> str:
    return msgspec.json.encode(value).decode()


def _decode(text: str, kind: type[_T]) -> _T:
    return msgspec.json.decode(text, type=kind)


def _key(text: str | None) -> KeyValues | None:
    return None if text is None else msgspec.json.decode(text, type=tuple[str, ...])


def _key_text(key: Iterable[str] | None) -> str | None:
    return None if key is None else _encode(list(key))
