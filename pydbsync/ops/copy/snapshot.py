"""One moment of the source, seen by several connections, and the place of the binlog that belongs to it.

What the source is asked for, the gentlest way first:

- MariaDB tells each snapshot its own place (status variables binlog_snapshot_file and _position, see
  https://mariadb.com/kb/en/enhancements-for-start-transaction-with-consistent/). If the snapshots of all connections
  happen to have the same, nothing is locked at all; else commits are held up for a moment (BACKUP STAGE BLOCK_COMMIT).
- MySQL has no such thing: FLUSH TABLES WITH READ LOCK for a moment, but not while a long query runs, for which others
  would have to wait; then LOCK TABLES, which a query that only reads does not mind.
- Without the right to either, LOCK TABLES … READ on the tables that are copied. Every transaction that has written to
  one of them is committed then, and none can begin to.

A lock is asked for with a short limit and given back at once when it does not come, since writers queue up behind a
waiting lock.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import msgspec

from pydbsync.apply.answered import exact_text
from pydbsync.apply.connection import Connection
from pydbsync.apply.table_start import TableStart
from pydbsync.errors import OperationError, PermanentError, Stopped, TransientError
from pydbsync.gtids import GtidSet
from pydbsync.model import Place, TableName
from pydbsync.ops.copy.options import Locking
from pydbsync.ops.copy.sessions import SourceReader
from pydbsync.places import parse_position
from pydbsync.plan.ddl.lexer import shorten
from pydbsync.plan.quoting import quote_table

_ATTEMPTS = 20
_LOCK_TIMEOUT = 1205
_REFUSED = (1044, 1045, 1142, 1227, 1044)
_FREE_ATTEMPTS = 3
_LONG_S = 1


class Moment(msgspec.Struct):
    """What is known of the moment that a snapshot shows."""

    start: TableStart
    """The place, without a base where the source did not tell it."""
    server_id: int | None
    lock_s: float
    how: str
    """For the log: what was locked."""

    @property
    def place(self) -> str:
        """As MySQL writes it."""
        if not self.start.base:
            return f"marker {self.start.marker}"
        return f"{self.start.base}.{self.start.place.file:06d}:{self.start.place.offset}"


class SnapshotTaker:
    """Opens snapshots on connections to one source. Owns the connection that locks."""

    def __init__(
        self, control: Connection, *, locking: Locking, lock_wait_s: int, stop: threading.Event, log: logging.Logger
    ) -> None:
        self._control = control
        self._locking = locking
        self._lock_wait_s = max(1, lock_wait_s)
        self._stop = stop
        self._log = log
        control.run("SET SESSION lock_wait_timeout = %s", (self._lock_wait_s,))

    def take(self, readers: Sequence[SourceReader], tables: Sequence[TableName]) -> Moment:
        """One snapshot on all readers. Raises OperationError where rights or the binlog are missing, Stopped."""
        if self._control.dialect.is_mariadb and self._locking != "tables":
            moment = self._take_free(readers)
            if moment is not None:
                return moment
        with self._locked(tables) as how:
            began = time.monotonic()
            _open(readers)
            if self._control.dialect.is_mariadb and "tables" not in how:
                places = {_own_place(reader) for reader in readers}
                if len(places) != 1:
                    raise OperationError(f"the snapshots are not of one moment although {how}: {sorted(places)}")
            start = self.place_now()
            server_id = self.server_id()
        return Moment(start, server_id, time.monotonic() - began, how)

    def take_at_marker(
        self,
        readers: Sequence[SourceReader],
        tables: Sequence[TableName],
        marker: TableName,
        write: Callable[[], TableStart],
    ) -> Moment:
        """One snapshot on all readers at the very place of a marker row, which `write` inserts, of the tables alone.

        The binlog is not asked. Raises OperationError without the right to lock the tables.
        """
        _, undo = self._lock_tables(tables, also=f"{quote_table(marker)} WRITE")
        try:
            began = time.monotonic()
            start = write()
            _open(readers)
        finally:
            self._control.execute(undo)
        return Moment(start, None, time.monotonic() - began, "the tables were locked")

    def place_now(self) -> TableStart:
        """The end of the binlog. Raises OperationError where it cannot be had."""
        dialect = self._control.dialect
        is_new = not dialect.is_mariadb and dialect.version >= (8, 2)
        try:
            found = self._control.rows("SHOW BINARY LOG STATUS" if is_new else "SHOW MASTER STATUS")
        except PermanentError as exc:
            raise OperationError(
                f"the place of the source's binlog cannot be read ({exc}); grant the user"
                f" {'BINLOG MONITOR' if dialect.is_mariadb else 'REPLICATION CLIENT'}, or copy with --watermark"
            ) from exc
        if not found:
            raise OperationError("the source writes no binlog (log_bin is off): there is nothing to go on from")
        gtids = str(found[0][4]).replace("\n", "") if len(found[0]) > 4 else ""
        return self._start(str(found[0][0]), int(found[0][1]), gtids)

    def _start(self, file_name: str, offset: int, gtids: str) -> TableStart:
        base, file, _ = parse_position(f"{file_name}:{offset}")
        try:
            GtidSet(gtids)
        except ValueError:  # tagged GTIDs of MySQL 8.3, which the checkpoint does not hold
            gtids = ""
        now = int(self._control.value("SELECT UNIX_TIMESTAMP()"))
        return TableStart(base=base, place=Place(file, offset, -1), newest_ts=now, gtids=gtids)

    def read_only(self) -> str:
        """Which variable forbids writing at the source, whatever rights we have; empty if none does."""
        names = ["read_only"] if self._control.dialect.is_mariadb else ["super_read_only", "read_only"]
        for name in names:
            value = str(self._control.value(f"SELECT @@GLOBAL.{name}")).upper()
            if value not in ("0", "OFF", "NO_LOCK", "NONE"):
                return name
        return ""

    def server_id(self) -> int | None:
        """The source's own; None if it is a replica, whose binlog holds changes of other servers."""
        own, *above = self.server_ids()
        return None if above else own

    def server_ids(self) -> list[int]:
        """The source's own, and those of the servers that it replicates; 0 stands for those that are not shown."""
        is_mariadb = self._control.dialect.is_mariadb
        statements = ("SHOW ALL SLAVES STATUS",) if is_mariadb else ("SHOW REPLICA STATUS", "SHOW SLAVE STATUS")
        found = [int(self._control.value("SELECT @@server_id"))]
        for statement in statements:
            try:
                rows = self._control.named_rows(statement)
            except PermanentError:
                continue
            found += [int(row.get("Source_Server_Id") or row.get("Master_Server_Id") or 0) for row in rows]
            return found
        if is_mariadb and self._control.value("SELECT @@gtid_slave_pos"):  # without the right SLAVE MONITOR
            found.append(0)
        return found

    def _take_free(self, readers: Sequence[SourceReader]) -> Moment | None:
        for _ in range(_FREE_ATTEMPTS):
            _open(readers)
            places = {_own_place(reader) for reader in readers}
            if len(places) == 1:
                file_name, offset = places.pop()
                if not file_name:
                    raise OperationError("the source writes no binlog (log_bin is off): there is nothing to go on from")
                return Moment(self._start(file_name, offset, ""), self.server_id(), 0.0, "nothing was locked")
        return None

    @contextmanager
    def _locked(self, tables: Sequence[TableName]) -> Iterator[str]:
        how, undo = self._get_lock(tables)
        try:
            yield how
        finally:
            self._control.execute(undo)

    def _get_lock(self, tables: Sequence[TableName]) -> tuple[str, str]:
        """What was locked, and the statement that gives it back."""
        control = self._control
        if self._locking == "tables":
            return self._lock_tables(tables)
        try:
            if control.dialect.is_mariadb and control.dialect.version >= (10, 4):
                self._lock("BACKUP STAGE START", "BACKUP STAGE BLOCK_COMMIT", undo="BACKUP STAGE END")
                return "commits were held up", "BACKUP STAGE END"
            query = self.long_query()
            if query and tables and self._locking == "auto":
                self._log.info("%s: not to make others wait for it, the tables are locked for a moment instead", query)
                try:
                    return self._lock_tables(tables)
                except OperationError as exc:
                    self._log.info("%s", exc)
            self._lock("FLUSH TABLES WITH READ LOCK", undo="UNLOCK TABLES", is_flush=True)
            return "writing was held up", "UNLOCK TABLES"
        except PermanentError as exc:
            if exc.code not in _REFUSED or self._locking == "global":
                raise OperationError(
                    f"the source does not let itself be locked for a moment ({exc}); grant the user RELOAD, or"
                    " copy with --watermark, which locks nothing"
                ) from exc
            self._log.info("no right to a global lock (%s): the tables are locked for a moment instead", exc)
        return self._lock_tables(tables)

    def _lock_tables(self, tables: Sequence[TableName], *, also: str = "") -> tuple[str, str]:
        listed = [f"{quote_table(name)} READ" for name in tables] + ([also] if also else [])
        try:
            self._lock(f"LOCK TABLES {', '.join(listed)}", undo="UNLOCK TABLES")
        except PermanentError as exc:
            raise OperationError(
                f"the tables cannot be locked for the moment of the snapshot ({exc}); grant the user LOCK TABLES and"
                " SELECT on them, or RELOAD"
            ) from exc
        return "the tables were locked", "UNLOCK TABLES"

    def long_query(self) -> str:
        """A statement of another session that runs for a second or longer, as words; empty if none does.

        FLUSH TABLES waits for it, and whoever wants the same table waits as well until it ends, even after FLUSH has
        given up (tried on MySQL 9.7). Without the right PROCESS only statements of the same user are seen.
        """
        own = self._control.connection_id
        for row in self._control.rows("SHOW PROCESSLIST"):
            number, user, command, seconds, text = int(row[0]), str(row[1]), str(row[4]), int(row[5] or 0), row[7]
            is_server = user in ("system user", "event_scheduler")
            if number != own and not is_server and command in ("Query", "Execute") and seconds >= _LONG_S and text:
                return (
                    f"connection {number} of {user} runs a statement for {seconds} s ({shorten(exact_text(text), 60)})"
                )
        return ""

    def _lock(self, *statements: str, undo: str, is_flush: bool = False) -> None:
        what = f"its lock did not come within {self._lock_wait_s} s"
        for attempt in range(1, _ATTEMPTS + 1):
            query = self.long_query() if is_flush else ""
            if query:
                what = query
            else:
                try:
                    for statement in statements:
                        self._control.execute(statement)
                    return
                except TransientError as exc:
                    if exc.code != _LOCK_TIMEOUT:
                        raise
                    self._control.execute(undo)
            if attempt == 1:
                self._log.warning("the source is busy with long transactions or queries: %s, trying again", what)
            if self._stop.wait(min(1.0 * attempt, 10.0)):
                raise Stopped("stopped while waiting for the moment of the snapshot")
        raise OperationError(
            f"in {_ATTEMPTS} attempts the source was never free for a moment within {self._lock_wait_s} s: a long"
            f" transaction or query holds it ({what}); see its process list, or raise --lock-wait-s"
        )


def _open(readers: Sequence[SourceReader]) -> None:
    for reader in readers:
        reader.open_snapshot()


def _own_place(reader: SourceReader) -> tuple[str, int]:
    """MariaDB: the place that belongs to this connection's snapshot."""
    found = {
        exact_text(name).lower(): exact_text(value)
        for name, value in reader.rows("SHOW STATUS LIKE 'binlog_snapshot_%'")
    }
    return found.get("binlog_snapshot_file", ""), int(found.get("binlog_snapshot_position") or 0)
