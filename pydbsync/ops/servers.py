"""Servers that are read from: one connection each, made anew after each loss, because reading again harms nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any, TypeVar

from pydbsync.apply.catalog import in_user_databases, read_table
from pydbsync.apply.connection import Connection
from pydbsync.apply.mark import MarkedConnection
from pydbsync.apply.retrying import Retrying
from pydbsync.apply.server_errors import SLOW_CODES
from pydbsync.backoff import Backoff
from pydbsync.config.settings import RetrySettings, Settings
from pydbsync.errors import ConfigError, OperationError, PermanentError, Stopped, TransientError
from pydbsync.model import TableName, TableSchema
from pydbsync.ops.answers import exact_rows
from pydbsync.plan.quoting import quote_table
from pydbsync.plan.target import Dialect

_T = TypeVar("_T")

ATTEMPTS = 21
"""Failures in a row, back-off between them, after which a server counts as away for good."""
SLOW_ATTEMPTS = 3
"""The same for a statement that the server ends because it takes long: the next one would take as long."""

_LOOK_S = 10.0
"""After so long without an answer it is looked whether the server still works on the statement."""
_DENIED = (1142, 1143)
"""No right on the table, or on a column of it."""

log = logging.getLogger("pydbsync.servers")


class Server:
    """Queries to one server, tried again while it is away. Several threads may ask; one is answered at a time."""

    def __init__(
        self,
        keywords: Mapping[str, Any],
        *,
        key: str,
        retry: RetrySettings,
        stop: threading.Event,
        marks: tuple[str, str] | None = None,
        is_interrupted: bool = False,
    ) -> None:
        """`marks` are the server's state schema and the name of the tool, where it is written to. `is_interrupted`: a
        statement that waits for somebody's lock is ended by the server once `stop` is set, and does not take effect
        later."""
        self._marks = marks
        self._is_interrupted = is_interrupted
        self._keywords = keywords
        self._key = key
        self._name = "the source" if key == "source_db_info" else "the target"
        self._retry = retry
        self._stop = stop
        self._connection: Connection | None = None
        self._lock = threading.RLock()

    def another(self) -> Server:
        """The same server over a connection of its own."""
        return Server(
            self._keywords, key=self._key, retry=self._retry, stop=self._stop, marks=self._marks,
            is_interrupted=self._is_interrupted,
        )  # fmt: skip

    def call(self, question: Callable[[Connection], _T]) -> _T:
        """The answer of `question`, which may be asked several times; a line tells when that begins to take long.

        Raises PermanentError, ConfigError if the server refuses the user, TransientError if it stays away, Stopped.
        """
        retrying = Retrying(
            Backoff(self._retry.first_s, self._retry.max_s),
            stop=self._stop,
            log=log,
            says=f"{self._name} does not answer now, and is asked again",
            stopped="stopped while reading",
            told_at=2,
        )
        while True:
            if self._stop.is_set():
                raise Stopped("stopped while reading")
            try:
                with self._lock:
                    return question(self.connection())
            except TransientError as exc:
                retrying.failed(exc, self.close, limit=SLOW_ATTEMPTS if exc.code in SLOW_CODES else ATTEMPTS)

    def connection(self) -> Connection:
        """The open connection. Raises TransientError, ConfigError."""
        if self._connection is None or not self._connection.is_open():
            if self._is_interrupted:
                self._connection = Connection(
                    self._keywords, key=self._key, statement_timeout_s=_LOOK_S, stop=self._stop
                )
            elif self._marks is None:
                self._connection = Connection(self._keywords, key=self._key)
            else:
                schema, tool = self._marks
                self._connection = MarkedConnection(self._keywords, key=self._key, schema=schema, tool=tool)
        return self._connection

    def rows(self, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        return self.call(lambda connection: connection.rows(sql, parameters))

    def exact_rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The same for a query whose values matter. Raises DoubtfulError if the server warns of one."""
        return self.call(lambda connection: exact_rows(connection, sql))

    def timed_rows(self, sql: str) -> tuple[list[tuple[Any, ...]], float]:
        """The same, and the seconds that the server took, without the wait for others."""

        def ask(connection: Connection) -> tuple[list[tuple[Any, ...]], float]:
            started = time.monotonic()
            return exact_rows(connection, sql), time.monotonic() - started

        return self.call(ask)

    def value(self, sql: str, parameters: tuple[object, ...] = ()) -> Any:
        """The first column of the first row; None if there is none."""
        return self.call(lambda connection: connection.value(sql, parameters))

    def table(self, name: TableName, *, with_referrers: bool = True) -> TableSchema | None:
        """One table as the server's catalogue describes it now. Raises OperationError if the user may not read it."""

        def read(connection: Connection) -> TableSchema | None:
            found = read_table(connection, name, with_referrers=with_referrers)
            if found is not None:
                _refuse_hidden_columns(connection, name)
            return found

        return self.call(read)

    @property
    def dialect(self) -> Dialect:
        """Brand and version."""
        return self.call(lambda connection: connection.dialect)

    def close(self) -> None:
        """Close the connection; the next query makes another. Never raises."""
        with self._lock:
            if self._connection is not None:
                self._connection.close()
            self._connection = None


def _refuse_hidden_columns(connection: Connection, name: TableName) -> None:
    """The catalogue leaves out columns that the user may not read, as if the table had none of them."""
    try:
        connection.rows(f"SELECT * FROM {quote_table(name)} LIMIT 0")
        if not connection.dialect.is_mariadb:  # where `*` leaves out an invisible column, whoever may not read it
            connection.rows(f"SHOW CREATE TABLE {quote_table(name)}")
    except PermanentError as exc:
        if exc.code not in _DENIED:
            raise
        raise OperationError(f"{name} cannot be read ({exc}); grant the user SELECT on it") from exc


def read_names(server: Server | Connection, *, of_all_kinds: bool = False) -> list[TableName]:
    """All base tables but the server's own; of all kinds, views and sequences too."""
    only = "" if of_all_kinds else " AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')"
    found = server.rows(
        "SELECT table_schema, table_name FROM information_schema.tables WHERE"
        f" {in_user_databases('table_schema')}{only} ORDER BY table_schema, table_name"
    )
    return [TableName(str(d), str(t)) for d, t in found]


def read_column_names(server: Server, tables: Collection[TableName]) -> set[tuple[TableName, str]]:
    """The columns of these tables."""
    wanted = set(tables)
    databases = sorted({name.database for name in wanted})
    found = server.rows(
        "SELECT table_schema, table_name, column_name FROM information_schema.columns WHERE table_schema IN"
        f" ({', '.join(['%s'] * len(databases))})",
        tuple(databases),
    )
    return {(name, str(column)) for d, t, column in found if (name := TableName(str(d), str(t))) in wanted}


class Servers:
    """Both ends of a copy, a comparison or a repair. Raises ConfigError if no source is configured."""

    def __init__(
        self, settings: Settings, stop: threading.Event, *, writer: str = "", is_interrupted: bool = False
    ) -> None:
        """`writer` names the tool, where it writes at the target: it does so with marks."""
        if settings.source is None:
            raise ConfigError("is missing: the source, for capture, copy and verify", key="source_db_info")
        source, target = settings.source, settings.target
        self.source = Server(
            source.connect_keywords(), key=source.key, retry=settings.retry, stop=stop, is_interrupted=is_interrupted
        )
        self.target = Server(
            target.connect_keywords(), key=target.key, retry=settings.retry, stop=stop,
            marks=(settings.state_schema, writer) if writer else None, is_interrupted=is_interrupted,
        )  # fmt: skip

    def close(self) -> None:
        """Close both. Never raises."""
        self.source.close()
        self.target.close()
