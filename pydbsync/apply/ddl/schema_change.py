"""Runs DDL so that a crash at any instruction leaves a question that the live schema answers.

DDL cannot be rolled back, so what must be true together is written in two steps: an intent row, with the tables as
they were, is committed before the statement, a done row with the checkpoint after it. If a worker finds an intent
without its end, the statement has run if and only if the tables no longer look as they did before.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Container
from typing import Final, NamedTuple

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.clause_proof import Proof
from pydbsync.apply.ddl.merged_keys import unnamed_keys_left
from pydbsync.apply.ddl.schema_session import session_of
from pydbsync.apply.ddl.shown import show_create
from pydbsync.apply.ddl.structure_proof import prove
from pydbsync.apply.server_errors import DUPLICATE_CODE
from pydbsync.errors import PermanentError, PlanError, TransientError
from pydbsync.model import SchemaChange, TableName
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.guards import read_guarded
from pydbsync.plan.ddl.lexer import shorten
from pydbsync.plan.ddl.online_log import hold_writers
from pydbsync.plan.quoting import quote_name, quote_table

_NO_SUCH = (1146, 1049, 1051, 1008)
"""What a statement says of a table or database that is not there."""

_COUNTER = re.compile(r"(?<=\n\) ENGINE=)(\w+) AUTO_INCREMENT=\d+")
"""Rows move it, those of other workers and those that a crash took back: it says nothing of a statement."""


_CONDITION = re.compile(r"\bEXISTS\b", re.IGNORECASE)

_ALREADY_CODES = frozenset(
    {
        1007, 1008, 1049, 1050, 1051, 1054, 1060, 1061, 1068, 1091, 1146, 1176, 1481, 1493, 1495, 1505, 1507, 1508,
        1517, 1826, 3821, 3822, 3940,
    }
)  # fmt: skip
"""Errors of a statement of which something was done before: what it makes is there, or what it takes is not."""


RAN: Final = "ran"
"""The note of a statement that ran and is not ended."""


class JournalEntry(NamedTuple):
    """What the table `schema_change` says of one statement."""

    status: str
    before: dict[str, str | None]
    note: str


def statement_hash(change: SchemaChange, planned: PlannedSchemaChange) -> str:
    """One value for one run of one statement on one target database: all its messages and re-deliveries share it."""
    parts = (change.position or "", str(change.ts), change.sql, planned.default_database or "", planned.database or "")
    return hashlib.sha1("\0".join(parts).encode(), usedforsecurity=False).hexdigest()


class SchemaJournal:
    """The table `schema_change`."""

    def __init__(self, *, schema: str, stream: str) -> None:
        self._table = f"{quote_name(schema)}.`schema_change`"
        self._stream = stream

    def find(
        self, connection: Connection, digest: str, apart: Callable[[], Container[str]] = tuple
    ) -> tuple[str, JournalEntry | None]:
        """What is known of the statement, None before its intent was committed, and the hash that it stands under.

        Two servers that were set up alike run the same statement at the same place and second. `apart` tells the
        streams of other servers: what stands there of one of these is another statement, and ours has its own hash.
        """
        own = hashlib.sha1(f"{digest}\0{self._stream}".encode(), usedforsecurity=False).hexdigest()
        found = {
            each: (str(stream), JournalEntry(status, msgspec.json.decode(before, type=dict[str, str | None]), note))
            for each, stream, status, before, note in connection.rows(
                f"SELECT statement_hash, stream, status, before_state, note FROM {self._table}"
                " WHERE statement_hash IN (%s, %s)",
                (digest, own),
            )
        }
        if own in found:
            return own, found[own][1]
        if digest not in found:
            return digest, None
        stream, entry = found[digest]
        return (own, None) if stream != self._stream and stream in apart() else (digest, entry)

    def write_intent(
        self,
        connection: Connection,
        digest: str,
        change: SchemaChange,
        *,
        planned: PlannedSchemaChange,
        before: dict[str, str | None],
    ) -> None:
        """Part of the transaction before the statement. Another queue's unfinished intent is taken over."""
        connection.run(
            f"INSERT INTO {self._table}"
            " (statement_hash, position, stream, status, default_database, statement, before_state, note, ts)"
            " VALUES (%s, %s, %s, 'intent', %s, %s, %s, '', %s)"
            " ON DUPLICATE KEY UPDATE stream = VALUES(stream)",
            (
                digest,
                (change.position or "")[:190],
                self._stream,
                planned.default_database,
                planned.sql[: connection.max_allowed_packet // 8],  # to be read by people; it may not run at all
                msgspec.json.encode(before).decode(),
                change.ts,
            ),
        )

    def announce(self, connection: Connection, digest: str, sql: str) -> None:
        """Until the end is written this runs instead of what was planned: what it leaves in the binlog must be known
        for ours."""
        connection.run(
            f"UPDATE {self._table} SET statement = %s WHERE statement_hash = %s AND status = 'intent'",
            (sql[: connection.max_allowed_packet // 8], digest),
        )

    def write_run(self, connection: Connection, digest: str) -> None:
        """The statement ran, and its mark is about to be taken away."""
        connection.run(
            f"UPDATE {self._table} SET note = %s WHERE statement_hash = %s AND status = 'intent'", (RAN, digest)
        )

    def write_end(
        self, connection: Connection, digest: str, planned: PlannedSchemaChange, *, status: str, note: str
    ) -> None:
        """Part of the transaction that moves the checkpoint past the statement."""
        connection.run(
            f"UPDATE {self._table} SET status = %s, note = %s, statement = %s, ended_at = CURRENT_TIMESTAMP(6)"
            " WHERE statement_hash = %s",
            (status, note[:16000], planned.sql[: connection.max_allowed_packet // 8], digest),
        )

    def forget_intent(self, connection: Connection, digest: str) -> None:
        """The statement was refused and the worker stops: what the operator does now must not pass for it."""
        connection.run(f"DELETE FROM {self._table} WHERE statement_hash = %s AND status = 'intent'", (digest,))


def read_state(connection: Connection, planned: PlannedSchemaChange) -> dict[str, str | None]:
    """How the tables and databases that the statement names look now; None for what does not exist."""
    state: dict[str, str | None] = {}
    if planned.database is not None:
        state[quote_name(planned.database)] = _show(connection, f"SHOW CREATE DATABASE {quote_name(planned.database)}")
    for touched in planned.touched:
        for name in touched:
            if name is not None:
                text = quote_table(name)
                shown = _show(connection, f"SHOW CREATE TABLE {text}")
                state[text] = shown and _COUNTER.sub(r"\1", shown)
    if planned.exchanged is not None:
        # An exchange shows in no structure, and done twice it is undone: the rows must tell.
        state["rows"] = str(connection.rows(f"CHECKSUM TABLE {quote_table(planned.exchanged)} EXTENDED")[0][1])
    return state


def _show(connection: Connection, sql: str) -> str | None:
    try:
        return show_create(connection, sql)
    except PermanentError as exc:
        if exc.code in _NO_SUCH:
            return None
        raise


class RanPart(NamedTuple):
    """What of a statement ran, in the end."""

    sql: str | None
    """None where nothing was left to run."""
    why: str = ""
    """Why it is another text than the planned one."""


def run_statement(
    connection: Connection,
    planned: PlannedSchemaChange,
    *,
    stop: threading.Event | None = None,
    rest: str = "",
    why: str = "left out what the target has already",
    announce: Callable[[str], object] = lambda sql: None,
    passed_over: Callable[[PermanentError], object] = lambda note: None,
) -> RanPart:
    """The statement itself under the right default database and the source's clock, or the `rest` of it that a proof
    has found missing (or another text, as `why` says). What ran: without the unnamed keys that a table of several
    sources has already, and with writers held off where what they wrote has ended it. `announce` is told a text that is
    another one than the planned one, before it runs; `passed_over` what the server says that it has not done because of
    IF [NOT] EXISTS.

    Raises ApplyError, and Stopped while another worker adds keys to the table.
    """
    if rest:
        announce(rest)
        planned = msgspec.structs.replace(planned, sql=rest)
    else:
        why = ""
    if not planned.is_merged:
        return _run_holding(connection, planned, planned.sql, why, announce, passed_over)
    with unnamed_keys_left(connection, planned, stop or threading.Event()) as sql:
        if sql != planned.sql:
            why = "left out keys that another source's statement has made"
        if sql is None:
            return RanPart(None, why)
        if sql != planned.sql:
            announce(sql)
        return _run_holding(connection, planned, sql, why, announce, passed_over)


def _run_holding(
    connection: Connection,
    planned: PlannedSchemaChange,
    sql: str,
    why: str,
    announce: Callable[[str], object],
    passed_over: Callable[[PermanentError], object],
) -> RanPart:
    """Run it; where rows that others were refused have ended it, once more with writers held off."""
    try:
        _run(connection, planned, sql, passed_over)
        return RanPart(sql, why)
    except PermanentError as exc:
        held = _with_writers_held(connection, sql) if exc.code == DUPLICATE_CODE else None
        if held is None:
            raise
        announce(held)
        _run(connection, planned, held, passed_over)
        text = f"what others wrote meanwhile stood against it ({exc}), so that they waited"
        return RanPart(held, f"{why}; {text}" if why else text)


def _with_writers_held(connection: Connection, sql: str) -> str | None:
    try:
        return hold_writers(sql, brand=connection.dialect.brand)
    except PlanError:  # words of an operator
        return None


def _run(
    connection: Connection,
    planned: PlannedSchemaChange,
    sql: str,
    passed_over: Callable[[PermanentError], object],
) -> None:
    with session_of(connection, planned):
        connection.use(planned.default_database)
        connection.execute(sql.encode("utf-8"))
        if _CONDITION.search(sql):
            for _, code, text in connection.rows("SHOW WARNINGS"):
                if int(code) in _ALREADY_CODES:
                    passed_over(PermanentError(str(text), code=int(code)))
                    return


def prove_refused(
    connection: Connection, change: SchemaChange, planned: PlannedSchemaChange, error: PermanentError, *, schema: str
) -> Proof:
    """What of a statement is done that was refused since something is there already, or gone already.

    The same DDL arrives from every shard that is merged into one target, and runs there once. A table in the state
    `schema` is made and dropped, for comparing.
    """
    if error.code not in _ALREADY_CODES and "errno: 121" not in str(error):  # MariaDB's duplicate constraint name
        return Proof()
    about = hashlib.sha1(repr(planned.touched).encode(), usedforsecurity=False).hexdigest()[:20]
    lock = f"pydbsync proof {about}"
    if connection.value("SELECT GET_LOCK(%s, 10)", (lock,)) != 1:
        raise TransientError("another worker compares the same table", code=1205)
    try:
        with session_of(connection, planned):
            return prove(connection, change, planned, copy=TableName(schema, f"proof_{about}"))
    finally:
        if connection.is_open():
            connection.value("SELECT RELEASE_LOCK(%s)", (lock,))


def prove_passed_over(
    connection: Connection, change: SchemaChange, planned: PlannedSchemaChange, note: PermanentError, *, schema: str
) -> tuple[str, list[str]]:
    """What the target lacks of a statement of which it took a part for done, by IF [NOT] EXISTS; empty where nothing is
    known to be lacking. And what is to be told: that the source may have passed over the same is not known."""
    told: list[str] = []
    try:
        found = read_guarded(planned.sql, change, brand=connection.dialect.brand)
    except PlanError:
        return "", told
    for sql in found.certain:
        proof = prove_refused(connection, change, msgspec.structs.replace(planned, sql=sql), note, schema=schema)
        if not proof.is_done:
            lacks = proof.reason or f"nothing shows that {shorten(sql)} is done"
            return f"the target has passed over a part of it ({note}), and has not what the source made; {lacks}", told
        if proof.reason:
            told.append(proof.reason)
    for sql in found.doubtful:
        proof = prove_refused(connection, change, msgspec.structs.replace(planned, sql=sql), note, schema=schema)
        if not proof.is_done:
            told.append(
                f"the target has passed over a part of {shorten(planned.sql)} ({note}): {proof.reason or shorten(sql)};"
                " its message does not tell whether the source has too: compare the table with the source"
            )
    return "", told
