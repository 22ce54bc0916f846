"""Events of the binlog as messages: transactions put together, DDL followed, filters applied."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from msgspec import structs

from pydbsync.errors import OperationError
from pydbsync.gtids import GtidSet
from pydbsync.model import TableName
from pydbsync.ops.capture.batch import ChangesSettings, Counts, TableMessages
from pydbsync.ops.capture.binlog import kinds as k
from pydbsync.ops.capture.binlog.gtids import MariadbGtids, read_gtid, read_mariadb_gtid, read_tagged_gtid
from pydbsync.ops.capture.binlog.payload import payload_events
from pydbsync.ops.capture.binlog.query import Query, parse_load, parse_query
from pydbsync.ops.capture.binlog.reader import IGNORABLE_FLAG, BinlogPlace, Event, FileMark
from pydbsync.ops.capture.charsets import Charsets
from pydbsync.ops.capture.ddl import Ddl, DdlMessages, UnreadableDdl, session_of
from pydbsync.ops.capture.history.follow import Delta, FollowedSchema
from pydbsync.ops.capture.history.spelling import spell_by_default
from pydbsync.ops.capture.rows.encode import TableEncoder, Transaction
from pydbsync.ops.capture.rows.encoders import ROWS, TableEncoders, UnknownTable
from pydbsync.ops.capture.rows.rowbuffer import RowBuffer
from pydbsync.ops.capture.unreadable import Programs, Reach, Unreadable
from pydbsync.plan.ddl.recognise import Recognised, read_xa_prepare, recognise

log = logging.getLogger("pydbsync.capture")

_WRITTEN_AS_STATEMENT: Final = (
    "it changes rows and is written as a statement; set binlog_format=ROW, in new sessions too"
)

_RESTARTED: Final = slice(52, 56)
"""Of a format description: when the server began, in the first file that it wrote since, else 0."""


class Changes:
    """Takes events in order and gives messages. `place` is where a new reader may start after what was given out."""

    def __init__(
        self,
        settings: ChangesSettings,
        schema: FollowedSchema,
        charsets: Charsets,
        place: BinlogPlace,
        *,
        on_delta: Callable[[BinlogPlace, Delta], None] = lambda place, delta: None,
        is_transactional: Callable[[TableName], bool] = lambda name: True,
        programs: Programs = lambda databases: [],
        on_left: Callable[[str], None] = lambda file: None,
    ) -> None:
        """`on_delta` is told of each change of the schema before its messages are given out, `on_left` of each file of
        the binlog behind whose end another one begins."""
        self.counts = Counts()
        self.unknown_table: TableName | None = None
        """Whose rows could not be read; the catalogue may tell."""
        self._settings = settings
        self._schema = schema
        self._charsets = charsets
        self._on_delta = on_delta
        self._on_left = on_left
        self._is_transactional = is_transactional
        self._gtids = GtidSet(place.gtids) if not settings.is_mariadb else None
        self._mariadb_gtids = MariadbGtids(place.gtids) if settings.is_mariadb else None
        self._file, self._offset = place.file, place.offset
        self._mark = place.mark
        self._born = place.mark.born if place.mark else 0
        """When the file was begun; 0 while it has not said so."""
        self._is_open = False
        self._gtid: str | None = None
        self._thread_id: int | None = None
        self._has_begun = False
        """Whether rows come until a COMMIT; a statement outside ends itself."""
        self._skip_statement = False
        self._savepoints: dict[str, int] = {}
        """How many events each one lies behind."""
        self._messages = DdlMessages(settings, schema)
        self._policy = Unreadable(settings.on_unreadable, settings.skip_at, self._left_out)
        self._reach = Reach(
            schema.brand,
            takes_database=self._messages.takes_database,
            databases=lambda: schema.databases,
            programs=programs,
        )
        self._tables = TableEncoders(
            schema,
            charsets,
            settings.collations,
            takes=self._messages.takes,
            learn=self._learn,
            mariadb=settings.is_mariadb,
            with_srid=settings.with_srid,
        )
        self._buffer = self._new_buffer()
        self._prepared: dict[str, tuple[RowBuffer, BinlogPlace]] = {}

    @property
    def place(self) -> BinlogPlace:
        """The end of the last transaction given out; with XA transactions prepared, the start of the oldest one."""
        for _, start in self._prepared.values():
            return start
        return self._here()

    @property
    def end(self) -> BinlogPlace | None:
        """`place` without its GTIDs, whose text costs more than a transaction; None while an XA transaction is
        prepared."""
        return None if self._prepared else BinlogPlace(self._file, self._offset, "", self._mark)

    def _here(self) -> BinlogPlace:
        return BinlogPlace(self._file, self._offset, self._gtids_text(), self._mark)

    def close(self) -> None:
        """Give up what was not given out."""
        self._buffer.clear()
        for buffer, _ in self._prepared.values():
            buffer.clear()

    def take(self, event: Event, file: str) -> Iterable[TableMessages]:
        """The messages that this event completes; `file` is the binlog file it stands in."""
        kind = event.kind
        if kind in ROWS:
            self._rows(event)
            return ()
        if kind == k.TABLE_MAP:
            self._table_map(event)
            return ()
        if kind == k.XID:
            self._refuse_half(event)
            return self._commit(event, int.from_bytes(event.body[:8], "little"))
        if kind in (k.QUERY, k.MARIADB_QUERY_COMPRESSED):
            return self._query(event)
        if self._is_open and (kind in k.BEGINNINGS or (kind == k.ROTATE and file != self._file)):
            return self._without_end(event, file)
        if kind == k.GTID:
            self._begin(event, read_gtid(event.body))
        elif kind == k.GTID_TAGGED:
            self._begin(event, read_tagged_gtid(event.body))
        elif kind == k.ANONYMOUS_GTID:
            self._begin(event, None)
        elif kind == k.MARIADB_GTID:
            self._begin(event, self._mariadb_gtid(event))
        elif kind == k.ROTATE:
            self._rotate(file, event)
        elif kind == k.XA_PREPARE:
            return self._xa_prepare(event)
        elif kind == k.TRANSACTION_PAYLOAD:
            return self._payload(event, file)
        elif kind == k.EXECUTE_LOAD_QUERY:
            return self._load(event)
        elif kind not in k.NOTES and not event.flags & IGNORABLE_FLAG:
            self._unreadable(event, "", k.UNREADABLE.get(kind, f"it is an event of type {kind}, which is not known"))
            if not self._has_begun:
                self._end_transaction(event)
        elif not self._is_open and kind not in (k.HEARTBEAT, k.HEARTBEAT_V2):
            self._offset = max(self._offset, event.end)
            if kind == k.FORMAT_DESCRIPTION:
                if not self._born:
                    self._born = event.ts
                    self._mark = FileMark(event.ts)
                if self._schema.temporary and int.from_bytes(event.body[_RESTARTED], "little"):
                    self._learn(self._schema.restarted())
        return ()

    # rows

    def _refuse_half(self, event: Event) -> None:
        if not self._is_open:
            raise OperationError(
                f"{self._file}:{event.start}, where capture began, lies inside a transaction, whose first part would be"
                " left out: give --start a place between two transactions (of a GTID event in SHOW BINLOG EVENTS)"
            )

    def _table_map(self, event: Event) -> None:
        self._refuse_half(event)
        try:
            self._tables.see(event.body)
        except OperationError as exc:
            self.unknown_table = exc.name if isinstance(exc, UnknownTable) else None
            self._policy.leave_out(self._at(event), "", str(exc), error=OperationError)

    def _rows(self, event: Event) -> None:
        self._refuse_half(event)
        if self._settings.skip_at and self._at(event) in self._settings.skip_at:
            self._unreadable(event, "", "these rows were to be left out")
            return
        try:
            rows = self._tables.rows(event, self._file)
        except OperationError as exc:
            self._policy.leave_out(self._at(event), "", str(exc), error=OperationError)
            return
        if rows is not None:
            self._buffer.append(*rows)

    # transactions

    def _begin(self, event: Event, gtid: str | None) -> None:
        self._is_open = True
        self._gtid = gtid
        self._thread_id = None

    def _commit(self, event: Event, xid: int | None) -> Iterator[TableMessages]:
        yield from self._publish(self._buffer, Transaction(xid, self._shown_gtid(), self._thread_id))
        self._end_transaction(event)

    def _publish(
        self,
        buffer: RowBuffer,
        transaction: Transaction,
        *,
        position: str | None = None,
    ) -> Iterator[TableMessages]:
        number = 0
        for encoder, rows, is_last in buffer.events(self._cannot_take_back):
            if position is not None:
                rows = structs.replace(rows, position=position)
            bodies = encoder.encode(rows, transaction, number, is_last=is_last)
            number += len(bodies)
            del rows  # one large row at a time
            yield TableMessages(encoder.table.name, bodies)
            del bodies
        if number:
            self.counts.rows += number
            self.counts.transactions += 1
        buffer.clear()

    def _cannot_take_back(self, encoder: TableEncoder) -> bool:
        return not self._is_transactional(encoder.table.name)

    def _end_transaction(self, event: Event) -> None:
        if self._gtid is not None:
            if self._gtids is not None:
                self._gtids.add(self._gtid)
            elif self._mariadb_gtids is not None:
                self._mariadb_gtids.add(self._gtid)
        self._is_open = False
        self._gtid = self._thread_id = None
        self._has_begun = self._skip_statement = False
        self._savepoints.clear()
        self._offset = event.end
        self._set_mark(event)

    def _without_end(self, event: Event, file: str) -> Iterator[TableMessages]:
        """A source that crashed while it wrote a transaction leaves its first events in the file, and has not committed
        it (MariaDB 10.11; MySQL cuts them off when it starts again)."""
        log.warning(
            "the transaction behind %s:%d has no end: the source crashed while it wrote it, and has rolled it back",
            self._file, self._offset,
        )  # fmt: skip
        self._buffer.cut(0)
        yield from self._publish(self._buffer, Transaction(None, self._shown_gtid(), self._thread_id))
        self._gtid = None  # of which the source knows nothing either
        self._is_open = self._has_begun = self._skip_statement = False
        self._savepoints.clear()
        yield from self.take(event, file)

    def _set_mark(self, event: Event) -> None:
        self._mark = event.mark(self._born) if self._born else None

    def _behind(self, event: Event) -> BinlogPlace:
        return BinlogPlace(self._file, event.end, self._gtids_text())

    def _gtids_text(self) -> str:
        return str(self._gtids if self._gtids is not None else self._mariadb_gtids)

    def _shown_gtid(self) -> str | None:
        return self._gtid if self._settings.with_gtid else None

    def _new_buffer(self) -> RowBuffer:
        return RowBuffer(self._settings.buffer_bytes, self._settings.temporary_folder)

    def _rotate(self, file: str, event: Event) -> None:
        # A new file begins between two transactions; the events that the server makes up say so too.
        if file != self._file:
            self._on_left(self._file)
            self._born, self._mark = 0, None
        self._file = file
        self._tables.forget()
        if not self._is_open:
            self._offset = int.from_bytes(event.body[:8], "little")

    def _payload(self, event: Event, file: str) -> Iterator[TableMessages]:
        """A compressed transaction: its events, all at the place of the one that carries them."""
        for inner in payload_events(event):
            yield from self.take(inner, file)
        if not self._is_open:
            self._set_mark(event)

    def _learn(self, delta: Delta) -> None:
        """The binlog knows a table better than its DDL told."""
        self._schema.take(delta)
        self._remember(delta, self.place)

    def _remember(self, delta: Delta, place: BinlogPlace) -> None:
        """The schema has changed; what follows from it is given out afterwards."""
        self._tables.forget()
        self._on_delta(place, delta)

    # statements

    def _query(self, event: Event) -> Iterable[TableMessages]:
        self._refuse_half(event)
        query = parse_query(event.body, is_compressed=event.kind == k.MARIADB_QUERY_COMPRESSED)
        if query.raw == b"BEGIN":
            return self._begun(query)
        if query.raw == b"COMMIT":
            return self._commit(event, None)
        text = query.sql(self._charsets, self._settings.collations)
        found = recognise(spell_by_default(text, query.sql_mode), self._schema.brand)
        kind = found.kind
        if kind == "emptied":  # inside a transaction somebody's own DELETE
            kind = "rows" if self._has_begun else "ddl"
        if kind == "begin":
            return self._begun(query)
        if kind == "commit":
            return self._commit(event, None)
        if kind == "rollback":
            return self._rolled_back(event)
        if kind in ("ddl", "sequence"):
            return self._ddl(event, query, found)
        if kind == "xa":
            return self._xa_statement(event, found)
        if kind == "savepoint":
            self._savepoints[found.name] = len(self._buffer)
        elif kind == "rollback-to":
            self._back_to_savepoint(event, found)
        elif kind == "rows":
            if not self._schema.is_of_temporary(found.tokens, session_of(query, event)):
                self._unreadable_unless_left_out(event, query, found, _WRITTEN_AS_STATEMENT)
        elif kind == "unknown":
            self._unreadable(event, found.sql, "it is a statement that is not known here and may have changed rows")
        if not self._has_begun:
            self._end_transaction(event)
        return ()

    def _begun(self, query: Query) -> Iterable[TableMessages]:
        self._is_open = self._has_begun = True
        self._thread_id = None if self._settings.is_mariadb else query.thread_id
        return ()

    def _rolled_back(self, event: Event) -> Iterator[TableMessages]:
        """A transaction that was rolled back, yet had changed tables that cannot be: their rows stay changed."""
        self._buffer.cut(0)
        return self._commit(event, None)

    def _back_to_savepoint(self, event: Event, found: Recognised) -> None:
        mark = self._savepoints.get(found.name)
        if mark is None:
            self._unreadable(event, found.sql, "it goes back to a savepoint that the transaction has not")
            return
        self._buffer.cut(mark)
        self._savepoints = {name: at for name, at in self._savepoints.items() if at <= mark}

    def _load(self, event: Event) -> Iterable[TableMessages]:
        query = parse_load(event.body)
        sql = query.sql(self._charsets, self._settings.collations)
        self._unreadable_unless_left_out(event, query, recognise(sql, self._schema.brand), _WRITTEN_AS_STATEMENT)
        return ()

    def _unreadable_unless_left_out(self, event: Event, query: Query, found: Recognised, why: str) -> None:
        if self._reach.covers(found.tokens, query.database, query.updated_databases):
            self._unreadable(event, found.sql, why)

    def _unreadable(self, event: Event, sql: str, why: str) -> None:
        self._policy.leave_out(self._at(event), sql, why)

    def _at(self, event: Event) -> str:
        return f"{self._file}:{event.start}"

    def _left_out(self) -> None:
        self.counts.skipped_statements += 1

    def _ddl(self, event: Event, query: Query, found: Recognised) -> Iterator[TableMessages]:
        if self._skip_statement:
            self._end_transaction(event)
            return
        read = self._messages.sequence if found.kind == "sequence" else self._messages.read
        try:
            ddl = read(found, query, event=event, position=self._at(event), gtid=self._shown_gtid())
        except UnreadableDdl as exc:
            is_ours = exc.is_ours and self._reach.covers(found.tokens, query.database, query.updated_databases)
            if is_ours:
                self._unreadable(event, found.sql, str(exc))
            uncertain = (name for name in exc.tables if is_ours or not self._messages.takes(name))
            ddl = Ddl([], Delta(uncertain=tuple(sorted(uncertain))), starts_transaction=False)
            self._schema.take(ddl.delta)
        if ddl.delta != Delta():
            self._remember(ddl.delta, self._behind(event))
        self.counts.schema_changes += len(ddl.batches)
        yield from ddl.batches
        # Rows of the same transaction follow CREATE TABLE … SELECT.
        if self._has_begun if self._settings.is_mariadb else ddl.starts_transaction:
            self._thread_id = None if self._settings.is_mariadb else query.thread_id
        else:
            self._end_transaction(event)

    # MariaDB

    def _mariadb_gtid(self, event: Event) -> str:
        found = read_mariadb_gtid(event.body)
        self._has_begun = not found.is_standalone
        self._skip_statement = found.is_half_of_alter
        return f"{found.domain}-{event.server_id}-{found.sequence}"

    # XA

    def _xa_statement(self, event: Event, found: Recognised) -> Iterable[TableMessages]:
        action, name = found.tokens[1].upper, found.name
        if action in ("START", "BEGIN"):  # what stands up to its XA END, savepoints among it, ends nothing
            self._is_open = self._has_begun = True
        elif action == "COMMIT":
            return self._xa_commit(event, name)
        if action == "ROLLBACK":
            if name in self._prepared:
                self._prepared.pop(name)[0].clear()
            self._end_transaction(event)
        return ()

    def _xa_prepare(self, event: Event) -> Iterable[TableMessages]:
        if event.body[0]:  # XA COMMIT … ONE PHASE
            return self._commit(event, None)
        self._prepared[read_xa_prepare(event.body)] = (
            self._buffer,
            self._here(),
        )
        self._buffer = self._new_buffer()
        self._end_transaction(event)
        return ()

    def _xa_commit(self, event: Event, name: str) -> Iterator[TableMessages]:
        # The rows were written before other transactions that came first: they count from the place of the commit.
        buffer, _ = self._prepared.pop(name, (None, None))
        if buffer is None:
            self._unreadable(
                event, f"XA COMMIT {name}",
                "its transaction was prepared before the place where capture began, so that its rows were not read",
            )  # fmt: skip
            self._end_transaction(event)
            return
        transaction = Transaction(None, self._shown_gtid(), None)
        yield from self._publish(buffer, transaction, position=self._at(event))
        self._end_transaction(event)
