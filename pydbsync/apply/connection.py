"""One connection to a MySQL or MariaDB server, with a session whose settings are set and read back, not hoped for."""

from __future__ import annotations

import re
import socket
import ssl
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
import pymysql
from pymysql.constants import CLIENT, COMMAND

from pydbsync.apply.patient_connection import PatientConnection, in_pieces, keep_alive
from pydbsync.apply.server_errors import (
    EXPIRED,
    FULL_CODES,
    REFUSED_CODES,
    UNKNOWN_VARIABLE,
    address,
    connect_error,
    server_error,
)
from pydbsync.config.servers import TargetSettings
from pydbsync.errors import ApplyError, ConfigError, PermanentError, TransientError
from pydbsync.plan.ddl.collations import COLLATIONS_OF_11_5
from pydbsync.plan.ddl.session import DEFAULT_SQL_MODE
from pydbsync.plan.target import Dialect

OLDEST_MYSQL = (5, 7)
"""Before it the keys of the state schema are too long for an index, and catalogues have no generated columns."""
ROW_SQL_MODE = "ALLOW_INVALID_DATES,NO_AUTO_VALUE_ON_ZERO,STRICT_TRANS_TABLES"
"""Rows: a value that does not fit is an error, never cut; zero dates, days that no calendar has (the source may have
stored 2024-02-31) and the id 0 are values like others."""
SCHEMA_SQL_MODE = DEFAULT_SQL_MODE


_LOOK_S = 10.0
"""How long a second connection may take to look at the first one's statement."""


class Connection:
    """A connection that speaks bytes of SQL and raises this project's errors. One thread at a time may use it."""

    def __init__(
        self,
        keywords: Mapping[str, Any],
        *,
        key: str = "db_info",
        wait_timeout_s: int = 28800,
        read_timeout_s: float = 0,
        statement_timeout_s: float = 0,
        on_slow: Callable[[], object] = lambda: None,
        stop: threading.Event | None = None,
    ) -> None:
        """Connect. `keywords` are PyMySQL's; `wait_timeout_s` is after how much silence the server hangs up.

        With `read_timeout_s` a statement that takes longer counts as a lost connection. With `statement_timeout_s` it
        does so only if the server, asked over a second connection, does not run it any more: a slow statement is waited
        for, with one call of `on_slow`; a line on which nothing comes is not. Once `stop` is set, a statement that
        waits or writes rows is ended by the server (1317) after two seconds.

        Raises TransientError if the server cannot be reached now, ConfigError if it refuses the user.
        """
        self._key = key
        self._keywords = keywords
        self.warnings = 0
        """How many the last query of `rows` gave; SHOW WARNINGS tells them."""
        self._is_answer_due = False
        self.let_end: Callable[[], object] = lambda: None
        """Called when something else is to be said while the answer to `send` is due; must `receive` it."""
        given = dict(keywords)
        given.setdefault("connect_timeout", 10)
        if statement_timeout_s:
            given.update(read_timeout=given["connect_timeout"], write_timeout=statement_timeout_s)
        elif read_timeout_s:
            given.setdefault("read_timeout", read_timeout_s)
            given.setdefault("write_timeout", read_timeout_s)
        given.update(
            charset="utf8mb4",
            autocommit=True,
            use_unicode=True,
            # Matched, not changed rows: an UPDATE to the values that are there already has found its row.
            client_flag=CLIENT.FOUND_ROWS,
        )
        try:
            self._raw = PatientConnection(**given)
        except pymysql.Error as exc:
            raise connect_error(exc, key, given) from exc
        except (OSError, RuntimeError) as exc:
            raise TransientError(f"the database server cannot be reached: {exc}", code=2003) from exc
        keep_alive(self._raw)
        # MariaDB before 11 puts 5.5.5- before its version, for old replicas.
        version = str(self._raw.get_server_info()).removeprefix("5.5.5-")  # type: ignore[no-untyped-call]
        self.version = version
        self.dialect = Dialect(is_mariadb="mariadb" in version.lower(), version=_version_numbers(version))
        if not self.dialect.is_mariadb and self.dialect.version < OLDEST_MYSQL:
            self.close()
            way = "; where Maxwell reads it, say source_server: mysql 5.6 instead" if key == "source_db_info" else ""
            raise ConfigError(f"{address(given)} is MySQL {version}, and must be 5.7 or newer{way}", key=key)
        try:
            self._set_session(wait_timeout_s)
        except PermanentError as exc:
            self.close()
            if exc.code == EXPIRED:  # let in, to set another one
                raise ConfigError(f"{address(given)}: {REFUSED_CODES[EXPIRED]}: {exc}", key=key) from exc
            raise
        self._raw.limit_bytes = self.max_allowed_packet
        self._raw.whose = "the source's" if key == "source_db_info" else "the target's"
        if statement_timeout_s:
            self._raw._read_timeout = statement_timeout_s  # type: ignore[attr-defined]
            self._raw.still_runs = self._still_runs
            self._raw.on_slow = on_slow
            self._raw.interrupt = self._interrupt
            self._raw.stop = stop or threading.Event()
            self._raw.look_s = statement_timeout_s

    @property
    def connection_id(self) -> int:
        """The server's number of this connection, as in its process list."""
        return int(self._raw.thread_id())  # type: ignore[no-untyped-call]

    def certificate(self) -> Mapping[str, Any]:
        """The server's certificate as Python's ssl shows it; empty without TLS, or where it is not checked."""
        sock = getattr(self._raw, "_sock", None)
        return (sock.getpeercert() or {}) if isinstance(sock, ssl.SSLSocket) else {}

    def execute(self, sql: bytes | str) -> int:
        """Run one statement; the number of matched or inserted rows. Raises TransientError or PermanentError."""
        with self._turn():
            return int(self._raw.query(in_pieces(sql)))

    def send(self, sql: bytes) -> None:
        """Begin one statement and do not wait for its end, which `receive` tells. Raises TransientError,
        PermanentError."""
        with self._turn():
            self._raw._execute_command(COMMAND.COM_QUERY, in_pieces(sql))
        self._is_answer_due = True

    def has_answer(self) -> bool:
        """Whether `receive` would not wait."""
        return not self.is_open() or self._raw.has_answer()

    def receive(self) -> int:
        """Wait for the end of what `send` began; gives and raises what `execute` does."""
        self._is_answer_due = False
        with self._turn():
            return int(self._raw._read_query_result())

    def rows(self, sql: str | bytes, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query with %s parameters (in text). Raises TransientError or PermanentError."""
        with self._turn(), self._raw.cursor() as cursor:
            cursor.execute(sql, parameters or None)  # type: ignore[arg-type]  # bytes go as they are
            found = list(cursor.fetchall())
            warned = cursor.warning_count
        self.warnings = warned
        return found

    def named_rows(self, sql: str) -> list[dict[str, Any]]:
        """All rows of a query, or of a SHOW, by the names of its columns. Raises TransientError or PermanentError."""
        with self._turn(), self._raw.cursor(pymysql.cursors.DictCursor) as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def run(self, sql: str, parameters: tuple[object, ...] = ()) -> int:
        """One statement with %s parameters; the number of matched rows. Raises TransientError or PermanentError."""
        with self._turn(), self._raw.cursor() as cursor:
            return int(cursor.execute(sql, parameters or None))

    def value(self, sql: str, parameters: tuple[object, ...] = ()) -> Any:
        """The first column of the first row; None if there is none."""
        found = self.rows(sql, parameters)
        return found[0][0] if found else None

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """COMMIT at the end, ROLLBACK on any error (where the connection still stands)."""
        self.execute(b"START TRANSACTION")
        try:
            yield
        except BaseException:
            self.rollback()
            raise
        self.commit()

    def commit(self) -> None:
        """Commit. After any error the connection is closed; see committing."""
        with self.committing():
            self.execute(b"COMMIT")

    @contextmanager
    def committing(self) -> Iterator[None]:
        """Close the connection after any error inside: whether the server has committed is to be read back.

        A COMMIT that a read-only server refuses, for one, leaves its transaction open, and the next START TRANSACTION
        would commit it.
        """
        try:
            yield
        except BaseException:
            self.close()
            raise

    def rollback(self) -> None:
        """Roll back; a connection that is gone has done so itself."""
        try:
            self._raw.rollback()
        except Exception:
            self.close()

    def is_open(self) -> bool:
        """Whether the connection was not lost as far as is known."""
        return bool(self._raw.open)

    def close(self) -> None:
        """Close; never raises."""
        try:
            self._raw.close()
        except Exception:
            self._raw._force_close()  # type: ignore[attr-defined]

    def abort(self) -> None:
        """Cut the line under a statement that another thread waits for: that one fails as after a loss."""
        sock = getattr(self._raw, "_sock", None)
        if sock is not None:
            with suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)

    def use(self, database: str | None) -> None:
        """Make this the default database. Raises PermanentError if it does not exist."""
        if database is not None:
            with self._turn():
                self._raw.select_db(database)

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """What is said inside is not said into the midst of something else, and fails with this project's errors."""
        if self._is_answer_due:
            self.let_end()
        try:
            yield
        except Exception as exc:
            raise server_error(exc) from exc

    def _still_runs(self) -> bool:
        """Whether the server still works on this connection's statement, as a second connection sees it."""
        try:
            with self._beside() as other:
                return _work_of(other, self.connection_id)[0] != "Sleep"
        except TransientError as exc:
            return exc.code in FULL_CODES
        except (ApplyError, ConfigError):
            return False

    def _interrupt(self, is_cheap: bool) -> None:
        """Have the server end the statement, unless that would throw away what an ALTER has done so far."""
        with suppress(ApplyError, ConfigError), self._beside() as other:
            command, state = _work_of(other, self.connection_id)
            if command != "Sleep" and (is_cheap or _WAITS_FOR_LOCK.search(state)):
                other.execute(f"KILL QUERY {self.connection_id}")

    @contextmanager
    def _beside(self) -> Iterator[Connection]:
        """A second connection, to look after this one. Raises TransientError, ConfigError."""
        other = Connection({**self._keywords, "connect_timeout": _LOOK_S}, key=self._key, read_timeout_s=_LOOK_S)
        try:
            yield other
        finally:
            other.close()

    def _set_session(self, wait_timeout_s: int) -> None:
        wanted, limits, may_fail = _variables(self.dialect, wait_timeout_s)
        self._set_variables({**wanted, **limits}, passed_over=limits)
        for name, value in may_fail.items():
            # It needs a privilege, or the version does not know it; a table that minds it says so.
            self._set_variables({name: value}, passed_over=may_fail, whatever=True)
        # The variable has one name in MySQL and two in MariaDB; the statement is the same everywhere.
        self.execute(b"SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED, READ WRITE")
        names = "time_zone", "sql_mode", "foreign_key_checks", "max_error_count", "max_allowed_packet"
        asked = ", ".join(f"@@SESSION.{name}" for name in names)
        zone, mode, checks, kept, packet, charset = self.rows(f"SELECT {asked}, @@character_set_server")[0]
        if zone != "+00:00" or set(mode.split(",")) != set(ROW_SQL_MODE.split(",")) or int(checks):
            raise ConfigError(
                f"the target changed the session's settings (time_zone {zone}, sql_mode {mode},"
                f" foreign_key_checks {checks}); a proxy or an init_command is in the way",
                key=self._key,
            )
        # On MySQL it needs a right to be set, which nothing else here does: only where the server keeps fewer than any
        # does by itself. Without warnings nothing could be proven; with few of them most can.
        if int(kept) < _USUAL_WARNINGS:
            self._set_variables({"max_error_count": 65_535}, passed_over=["max_error_count"], whatever=int(kept) > 0)
        self.max_allowed_packet = int(packet)
        self.dialect = msgspec.structs.replace(self.dialect, charset=str(charset))

    def _set_variables(
        self, values: Mapping[str, int | str], *, passed_over: Collection[str], whatever: bool = False
    ) -> None:
        """In one statement if the server takes it, else one by one. Those to be `passed_over` it need not know, and
        need not let the session set for `whatever` reason."""
        try:
            self.execute("SET SESSION " + ", ".join(f"{name} = {value}" for name, value in values.items()))
        except PermanentError as exc:
            if exc.code == EXPIRED:
                raise
            if len(values) > 1:
                for name, value in values.items():
                    self._set_variables({name: value}, passed_over=passed_over, whatever=whatever)
                return
            (name,) = values
            if name not in passed_over or not (whatever or exc.code == UNKNOWN_VARIABLE):
                raise ConfigError(f"the server does not let the session set {name}: {exc}", key=self._key) from exc


def _variables(dialect: Dialect, wait_timeout_s: int) -> tuple[_Variables, _Variables, _Variables]:
    """What a session must have; limits that it must not have, of which the server need not know all; and what can be
    wanted only of some servers and users. Values as they stand in the statement."""
    wanted: _Variables = {
        "time_zone": "'+00:00'",
        "sql_mode": f"'{ROW_SQL_MODE}'",
        "foreign_key_checks": 0,
        "unique_checks": 1,
        "wait_timeout": wait_timeout_s,
        "net_write_timeout": 600,
        "group_concat_max_len": 1 << 20,
    }
    # Of what a server may set for all sessions: an answer that is cut, or broken off, is no answer. Names are quoted as
    # they are looked for (of MariaDB's JSON in its CHECK).
    limits: _Variables = {
        "sql_select_limit": 2**64 - 1,
        "max_statement_time" if dialect.is_mariadb else "max_execution_time": 0,
        "sql_safe_updates": 0,
        "sql_big_selects": 1,
        "sql_auto_is_null": 0,
        "completion_type": 0,
        "sql_quote_show_create": 1,
    }
    # Row formats, and rows of a length, that the source has taken with it or without it.
    may_fail: _Variables = {"innodb_strict_mode": 0}
    if dialect.is_mariadb:
        limits["system_versioning_asof"] = "DEFAULT"  # which is now, whatever the server's own default is
        may_fail["sql_if_exists"] = 0
        # What was altered at the source was so with this, which no message tells.
        may_fail["system_versioning_alter_history"] = "KEEP"
        if dialect.version >= (11, 2):  # statements are translated for a server with its own defaults
            wanted["character_set_collations"] = f"'{COLLATIONS_OF_11_5 if dialect.version >= (11, 5) else ''}'"
        return wanted, limits, may_fail
    # Off in a session that creates tables verbatim: the source's statement spells out its invisible key.
    if dialect.version >= (8, 0, 30):
        may_fail["sql_generate_invisible_primary_key"] = 0
        # Else that key is neither in the catalogue nor in SHOW CREATE TABLE, and in the binlog all the same.
        may_fail["show_gipk_in_create_table_and_information_schema"] = 1
    if dialect.version >= (8, 0, 13):
        may_fail["sql_require_primary_key"] = 0
    return wanted, limits, may_fail


_Variables = dict[str, int | str]
_USUAL_WARNINGS = 64
_WAITS_FOR_LOCK = re.compile(r"waiting for .*lock", re.IGNORECASE)
"""The state of a statement that has not begun: "Waiting for table metadata lock" and its like."""


def _work_of(other: Connection, connection_id: int) -> tuple[str, str]:
    """Command and state of a connection, as another one sees them; ("Sleep", "") where it has gone."""
    # Without the privilege PROCESS it shows the connections of the same user, and that is enough.
    for number, _, _, _, command, _, state, *_ in other.rows("SHOW PROCESSLIST"):
        if int(number) == connection_id:
            return str(command), str(state or "")
    return "Sleep", ""


def _version_numbers(version: str) -> tuple[int, ...]:
    found = re.match(r"(\d+)\.(\d+)\.(\d+)", version)
    return tuple(int(number) for number in found.groups()) if found else (0, 0, 0)


def connection_for_questions(server: TargetSettings, *, answer_s: float, read_s: float | None = None) -> Connection:
    """To a server that is given up where it takes longer than `answer_s` seconds to connect, or `read_s` (the same
    where it is not given) to answer. Raises ConfigError, TransientError."""
    keywords = {**server.connect_keywords(), "connect_timeout": answer_s}
    return Connection(keywords, key=server.key, read_timeout_s=answer_s if read_s is None else read_s)
