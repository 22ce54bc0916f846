"""DDL of the binlog as messages, and what it makes of the followed tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

from pydbsync.apply.catalog import SYSTEM_DATABASES
from pydbsync.errors import PlanError
from pydbsync.model import TableName
from pydbsync.ops.capture.batch import ChangesSettings, TableMessages
from pydbsync.ops.capture.binlog.query import Query
from pydbsync.ops.capture.binlog.reader import THREAD_SPECIFIC, Event
from pydbsync.ops.capture.binlog.session import read_session
from pydbsync.ops.capture.history.follow import Delta, FollowedSchema, StatementSession
from pydbsync.ops.capture.history.messages import SchemaText, encode_schema_message, table_of
from pydbsync.ops.capture.history.spelling import ORACLE, REAL_AS_FLOAT, name_its_database
from pydbsync.plan.ddl.recognise import Recognised
from pydbsync.plan.ddl.statement import Statement, parse_statement
from pydbsync.plan.quoting import quote_table

_FILES: Final = frozenset({"IMPORT", "DISCARD"})


class Ddl(NamedTuple):
    """One statement read."""

    batches: list[TableMessages]
    delta: Delta
    starts_transaction: bool
    """MySQL writes CREATE TABLE … SELECT as CREATE TABLE … START TRANSACTION and rows."""


class UnreadableDdl(PlanError):
    """DDL that cannot be published.

    `tables` are those whose columns it may have changed; `is_ours` says whether it may be about any that is published.
    """

    def __init__(self, message: str, tables: set[TableName], *, is_ours: bool) -> None:
        super().__init__(message)
        self.tables = tables
        self.is_ours = is_ours


def session_of(query: Query, event: Event) -> StatementSession:
    """What the meaning of the event's statement depends on."""
    mode = query.sql_mode
    return StatementSession(
        query.database, bool(mode & REAL_AS_FLOAT), bool(mode & ORACLE), query.thread_id,
        bool(event.flags & THREAD_SPECIFIC),
    )  # fmt: skip


class DdlMessages:
    """Moves the followed schema over DDL and gives the messages."""

    def __init__(self, settings: ChangesSettings, schema: FollowedSchema) -> None:
        self._settings = settings
        self._schema = schema

    def read(self, found: Recognised, query: Query, *, event: Event, position: str, gtid: str | None) -> Ddl:
        """Raises UnreadableDdl."""
        statement: Statement | None = None
        try:
            statement = parse_statement(found.sql, brand=self._schema.brand)
            if any(clause[0].upper in _FILES for clause in statement.clauses):
                raise PlanError("it exchanges the table's rows with a file")
            sql = name_its_database(statement, query.database)
            messages, delta = self._schema.apply(statement, session_of(query, event))
        except PlanError as exc:
            is_ours = statement is None or any(map(self.takes, self._names(statement, query.database)))
            raise UnreadableDdl(str(exc), self._schema.named_in(found.tokens), is_ours=is_ours) from exc
        batches = self._batches(messages, sql, query, event.ts, position, gtid)
        return Ddl(batches, delta, statement.transaction_tail is not None)

    def sequence(self, found: Recognised, query: Query, *, event: Event, position: str, gtid: str | None) -> Ddl:
        """CREATE, ALTER or DROP SEQUENCE; a table whose place it takes is dropped."""
        messages, delta = self._schema.sequence(found.tokens, query.database)
        batches = [
            batch for message in messages
            for batch in self._batches(
                [message], f"DROP TABLE {quote_table(table_of(message))}", query, event.ts, position, gtid
            )
        ]  # fmt: skip
        return Ddl(batches, delta, starts_transaction=False)

    def _batches(
        self, messages: Iterable[SchemaText], sql: str, query: Query, ts: int, position: str, gtid: str | None
    ) -> list[TableMessages]:
        settings = self._settings
        session = read_session(
            query.status,
            ts=ts,
            collations=settings.collation_names,
            charsets=settings.collations,
            is_mariadb=settings.is_mariadb,
            system_time_zone=settings.system_time_zone,
        )
        session = msgspec.structs.replace(
            session,
            default_week_format=settings.default_week_format,
            div_precision_increment=settings.div_precision_increment,
            old_mode=settings.old_mode,
        )
        return [
            TableMessages(
                table_of(message),
                [encode_schema_message(message, ts=ts, sql=sql, position=position, gtid=gtid, session=session)],
            )
            for message in messages
            if self.takes(table_of(message)) or (message.definition is not None and self.takes(message.definition.name))
        ]

    def takes(self, name: TableName) -> bool:
        """Whether a table's changes are published; without a table's name, the DDL of the database itself."""
        if name.database in SYSTEM_DATABASES:
            return False
        filters = self._settings.filters
        return filters.takes(name) if name.table else filters.takes_database(name.database)

    def takes_database(self, database: str) -> bool:
        """Whether anything in the database may be published."""
        return self.takes(TableName(database, ""))

    def _names(self, statement: Statement, default: str) -> list[TableName]:
        return [
            self._schema.folded(TableName(name.database if name.database is not None else default, name.table or ""))
            for name in statement.names
        ]
