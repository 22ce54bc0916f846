"""Events of the binlog as messages: transactions put together, DDL followed, filters applied."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator

from msgspec import structs

from pydbsync.errors import OperationError, PlanError, StopError
from pydbsync.model import TableName
from pydbsync.ops.capture.batch import Batch, ChangesSettings, Counts
from pydbsync.ops.capture.binlog import kinds as k
from pydbsync.ops.capture.binlog.gtids import MariadbGtids, read_gtid, read_mariadb_gtid, read_tagged_gtid
from pydbsync.ops.capture.binlog.payload import payload_events
from pydbsync.ops.capture.binlog.query import Query, parse_query
from pydbsync.ops.capture.binlog.reader import BinlogPlace, Event
from pydbsync.ops.capture.binlog.session import read_session
from pydbsync.ops.capture.history.follow import Delta, FollowedSchema, Session
from pydbsync.ops.capture.history.spelling import REAL_AS_FLOAT, name_its_database, spell_by_default
from pydbsync.ops.capture.history.statements import kind_of, read_sequence, read_xa, read_xa_prepare
from pydbsync.ops.capture.rows.charsets import Charsets
from pydbsync.ops.capture.rows.encode import TableEncoder, Transaction, encode_schema_message, table_of
from pydbsync.ops.capture.rows.rowbuffer import RowBuffer
from pydbsync.ops.capture.rows.tables import ROWS, Tables
from pydbsync.ops.servers import SYSTEM_DATABASES
from pydbsync.places import GtidSet
from pydbsync.plan.lexer import shorten
from pydbsync.plan.statement import Statement, parse_statement

log = logging.getLogger("pydbsync.capture")


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
    ) -> None:
        """`on_delta` is told of each change of the schema before its messages are given out."""
        self.counts = Counts()
        self._settings = settings
        self._schema = schema
        self._charsets = charsets
        self._on_delta = on_delta
        self._is_transactional = is_transactional
        self._gtids = GtidSet(place.gtids) if not settings.is_mariadb else None
        self._mariadb_gtids = MariadbGtids(place.gtids) if settings.is_mariadb else None
        self._file, self._offset = place.file, place.offset
        self._is_open = False
        self._gtid: str | None = None
        self._thread_id: int | None = None
        self._has_begun = False
        """Whether rows come until a COMMIT; a statement outside ends itself."""
        self._skip_statement = False
        self._tables = Tables(
            schema,
            charsets,
            settings.collations,
            takes=self._takes,
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
        return BinlogPlace(self._file, self._offset, self._gtids_text())

    def close(self) -> None:
        """Give up what was not given out."""
        self._buffer.clear()
        for buffer, _ in self._prepared.values():
            buffer.clear()

    def take(self, event: Event, file: str) -> Iterable[Batch]:
        """The messages that this event completes; `file` is the binlog file it stands in."""
        kind = event.kind
        if kind in ROWS:
            self._is_open = True
            rows = self._tables.rows(event, self._file)
            if rows is not None:
                self._buffer.append(*rows)
            return ()
        if kind == k.TABLE_MAP:
            self._tables.see(event.body)
            return ()
        if kind == k.XID:
            return self._commit(event, int.from_bytes(event.body[:8], "little"))
        if kind in (k.QUERY, k.MARIADB_QUERY_COMPRESSED):
            return self._query(event)
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
        elif kind not in k.NOTES:
            self._unreadable(event, "", k.UNREADABLE.get(kind, f"it is an event of type {kind}, which is not known"))
        elif not self._is_open and kind not in (k.HEARTBEAT, k.HEARTBEAT_V2):
            self._offset = max(self._offset, event.end)
        return ()

    # transactions

    def _begin(self, event: Event, gtid: str | None) -> None:
        self._is_open = True
        self._gtid = gtid
        self._thread_id = None

    def _commit(self, event: Event, xid: int | None) -> Iterator[Batch]:
        yield from self._publish(self._buffer, Transaction(xid, self._shown_gtid(), self._thread_id))
        self._end_transaction(event)

    def _publish(
        self,
        buffer: RowBuffer,
        transaction: Transaction,
        *,
        keep: Callable[[TableEncoder], bool] | None = None,
        position: str | None = None,
    ) -> Iterator[Batch]:
        number = 0
        for encoder, rows, is_last in buffer.events(keep):
            if position is not None:
                rows = structs.replace(rows, position=position)
            bodies = encoder.encode(rows, transaction, number, is_last=is_last)
            number += len(bodies)
            del rows  # one large row at a time
            yield Batch(encoder.table.name, bodies)
            del bodies
        if number:
            self.counts.rows += number
            self.counts.transactions += 1
        buffer.clear()

    def _end_transaction(self, event: Event) -> None:
        if self._gtid is not None:
            if self._gtids is not None:
                self._gtids.add(self._gtid)
            elif self._mariadb_gtids is not None:
                self._mariadb_gtids.add(self._gtid)
        self._is_open = False
        self._gtid = self._thread_id = None
        self._has_begun = self._skip_statement = False
        self._offset = event.end

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
        self._file = file
        self._tables.forget()
        if not self._is_open:
            self._offset = int.from_bytes(event.body[:8], "little")

    def _payload(self, event: Event, file: str) -> Iterator[Batch]:
        """A compressed transaction: its events, all at the place of the one that carries them."""
        for inner in payload_events(event):
            yield from self.take(inner, file)

    def _learn(self, delta: Delta) -> None:
        """The binlog knows a table better than its DDL told."""
        self._schema.take(delta)
        self._remember(delta, self.place)

    def _remember(self, delta: Delta, place: BinlogPlace) -> None:
        """The schema has changed; what follows from it is given out afterwards."""
        self._tables.forget()
        self._on_delta(place, delta)

    # statements

    def _query(self, event: Event) -> Iterable[Batch]:
        query = parse_query(event.body, is_compressed=event.kind == k.MARIADB_QUERY_COMPRESSED)
        raw = query.raw
        if raw == b"BEGIN":
            self._is_open = self._has_begun = True
            self._thread_id = None if self._settings.is_mariadb else query.thread_id
            return ()
        if raw == b"COMMIT":
            return self._commit(event, None)
        if raw.startswith((b"SAVEPOINT", b"RELEASE")):
            return ()
        if raw == b"ROLLBACK":
            return self._rolled_back(event)
        kind, sql = kind_of(query.sql(self._charsets, self._settings.collations))
        if kind == "ddl":
            return self._ddl(event, query, sql)
        if kind == "xa":
            return self._xa_statement(event, sql)
        if kind == "sequence":
            delta = Delta(sequences=(read_sequence(sql, query.database),))
            self._schema.take(delta)
            self._remember(delta, self._behind(event))
        elif kind == "dml":
            self._unreadable(event, sql, "it changes rows and is written as a statement; set binlog_format=ROW")
        elif kind == "rollback-to":
            self._unreadable(event, sql, "it takes back a part of what a transaction did to tables of several engines")
        if not self._has_begun:
            self._end_transaction(event)
        return ()

    def _rolled_back(self, event: Event) -> Iterator[Batch]:
        """A transaction that was rolled back, yet had changed tables that cannot be: their rows stay changed."""
        yield from self._publish(
            self._buffer,
            Transaction(None, self._shown_gtid(), self._thread_id),
            keep=lambda encoder: not self._is_transactional(encoder.table.name),
        )
        self._end_transaction(event)

    def _unreadable(self, event: Event, sql: str, why: str) -> None:
        text = (
            f"what stands at {self._file}:{event.start} cannot be published: {why}{': ' if sql else ''}{shorten(sql)}"
        )
        if self._settings.on_unreadable == "stop":
            raise StopError(text)
        self.counts.skipped_statements += 1
        log.error("left out: %s", text)

    def _ddl(self, event: Event, query: Query, sql: str) -> Iterator[Batch]:
        if self._skip_statement:
            self._end_transaction(event)
            return
        session = Session(query.database, bool(query.sql_mode & REAL_AS_FLOAT))
        statement: Statement | None = None
        try:
            statement = parse_statement(spell_by_default(sql, query.sql_mode), brand=self._schema.brand)
            sql = name_its_database(statement, query.database)
            messages, delta = self._schema.apply(statement, session)
        except PlanError as exc:
            self._unreadable(event, sql, str(exc))
            messages, delta = [], Delta()
        continues = statement is not None and self._continues(statement)
        if delta != Delta():
            self._remember(delta, self._behind(event))
        position = f"{self._file}:{event.start}"
        settings = self._settings
        told = read_session(
            query.status,
            ts=event.ts,
            collations=settings.collation_names,
            charsets=settings.collations,
            is_mariadb=settings.is_mariadb,
            system_time_zone=settings.system_time_zone,
        )
        for message in messages:
            name = table_of(message)
            if self._takes(name) or (message.definition is not None and self._takes(message.definition.name)):
                body = encode_schema_message(
                    message, ts=event.ts, sql=sql, position=position, gtid=self._shown_gtid(), session=told
                )
                self.counts.schema_changes += 1
                yield Batch(name, [body])
        if continues:
            self._thread_id = None if self._settings.is_mariadb else query.thread_id
        else:
            self._end_transaction(event)

    def _takes(self, name: TableName) -> bool:
        """Whether a table's changes are published; without a table's name, the DDL of the database itself."""
        if name.database in SYSTEM_DATABASES:
            return False
        filters = self._settings.filters
        return filters.takes(name) if name.table else filters.takes_database(name.database)

    def _continues(self, statement: Statement) -> bool:
        """Whether rows of the same transaction follow: CREATE TABLE … SELECT is written as CREATE TABLE and rows."""
        if self._settings.is_mariadb:
            return self._has_begun
        return statement.transaction_tail is not None

    # MariaDB

    def _mariadb_gtid(self, event: Event) -> str:
        found = read_mariadb_gtid(event.body)
        self._has_begun = not found.is_standalone
        self._skip_statement = found.is_half_of_alter
        return f"{found.domain}-{event.server_id}-{found.sequence}"

    # XA

    def _xa_statement(self, event: Event, sql: str) -> Iterable[Batch]:
        action, name = read_xa(sql)
        if action == "COMMIT":
            return self._xa_commit(event, name)
        if action == "ROLLBACK":
            if name in self._prepared:
                self._prepared.pop(name)[0].clear()
            self._end_transaction(event)
        return ()

    def _xa_prepare(self, event: Event) -> Iterable[Batch]:
        if event.body[0]:  # XA COMMIT … ONE PHASE
            return self._commit(event, None)
        self._prepared[read_xa_prepare(event.body)] = (
            self._buffer,
            BinlogPlace(self._file, self._offset, self._gtids_text()),
        )
        self._buffer = self._new_buffer()
        self._end_transaction(event)
        return ()

    def _xa_commit(self, event: Event, name: str) -> Iterator[Batch]:
        # The rows were written before other transactions that came first: they count from the place of the commit.
        buffer, _ = self._prepared.pop(name, (None, None))
        if buffer is None:
            raise OperationError(
                f"XA COMMIT at {self._file}:{event.start} is for a transaction that was prepared before the place "
                "where capture began: start it at an earlier place"
            )
        transaction = Transaction(None, self._shown_gtid(), None)
        yield from self._publish(buffer, transaction, position=f"{self._file}:{event.start}")
        self._end_transaction(event)
