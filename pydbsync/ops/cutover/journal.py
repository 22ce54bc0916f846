"""What of a cut-over has been done: its runs and steps in the state schema of the server that is gone to, and the lock.

Each fact that the undoing needs is stored before what it is about is done. Times are those of that server's clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.tables.operator_audit import actor_here
from pydbsync.config.settings import Settings
from pydbsync.errors import ApplyError, ConfigError, OperationError, PermanentError, TransientError
from pydbsync.plan.quoting import quote_name

Command: TypeAlias = Literal["cutover", "rollback", "failover"]
_MISSING = (1049, 1146)
_NO_SESSION = 1094
_TEXT = 16_000
_LOCK = "pydbsync cutover"
"""One at a time, whatever the plan and its state schema: each would take the server that the other one has closed for
one that was closed before."""
_ANSWER_S = 10.0
"""After so long without an answer it is looked whether the server still works on the statement: applications wait."""
_PATIENCE_S = 10.0
"""How long the journal's server may be away before a step fails."""
_LOOK_S = 0.2
_T = TypeVar("_T")


class Taken(OperationError):
    """Another call has the lock: nothing may be done or undone here."""


class RunRow(msgspec.Struct, frozen=True):
    """One row of `cutover_run`."""

    id: int
    plan: str
    command: str
    turn: int
    state: str
    """running, undoing, undone or done."""
    source: str
    target: str
    actor: str
    facts: dict[str, Any]
    result: str | None
    started: str
    ended: str | None

    @property
    def is_open(self) -> bool:
        """Whether a next call has to go on with it."""
        return self.state in ("running", "undoing")


class StepRow(NamedTuple):
    """One row of `cutover_step`."""

    number: int
    name: str
    state: str
    """begun, done, undoing or undone."""
    result: str
    seconds: float | None


class CutoverJournal:
    """The runs of one plan at one server. Raises TransientError, PermanentError."""

    def __init__(self, settings: Settings, plan: str) -> None:
        """Connect, and make the tables. Raises ConfigError, TransientError."""
        self._settings = settings
        self._plan = plan
        schema = quote_name(settings.state_schema)
        self._run, self._step = f"{schema}.`cutover_run`", f"{schema}.`cutover_step`"
        self.schema = settings.state_schema
        self._held: Connection | None = None
        self._session = 0
        """The server's number of the session that has the lock; 0 before it was taken."""
        ensure_state_schema(self.connection, settings.state_schema)

    @property
    def connection(self) -> Connection:
        """That of the lock, made anew where it was lost. Raises ConfigError, TransientError."""
        if self._held is None or not self._held.is_open():
            target = self._settings.target
            self._held = Connection(target.connect_keywords(), key=target.key, statement_timeout_s=_ANSWER_S)
        return self._held

    def lock(self) -> None:
        """Keep all others away for as long as the connection lasts. Raises Taken where another is at it."""
        self._asked(self._take)

    def _take(self, connection: Connection) -> None:
        if self._session and self._session != connection.connection_id:
            # The line broke, and the server may not have seen it yet: our own former session must not keep us away.
            if connection.value("SELECT IS_USED_LOCK(%s)", (_LOCK,)) == self._session:
                try:
                    connection.run(f"KILL {self._session}")
                except PermanentError as exc:
                    if exc.code != _NO_SESSION:
                        raise
            wait_s = _PATIENCE_S
        else:
            wait_s = 0
        if connection.value(
            "SELECT IF(IS_USED_LOCK(%s) = CONNECTION_ID(), 1, GET_LOCK(%s, %s))", (_LOCK, _LOCK, wait_s)
        ):
            self._session = connection.connection_id
            return
        holder = connection.value("SELECT IS_USED_LOCK(%s)", (_LOCK,))
        raise Taken(
            f"another cut-over is at work at {self._settings.target.address} (session {holder} there): wait for it, or"
            " end it and call this again"
        )

    def _asked(self, question: Callable[[Connection], _T]) -> _T:
        """The answer, over another connection where this one was lost: which has to take the lock again.

        Raises TransientError where the server stays away, Taken where another call has come in between.
        """
        ends_at = time.monotonic() + _PATIENCE_S
        while True:
            try:
                connection = self._connected()
                if self._session and self._session != connection.connection_id:
                    self._take(connection)
                return question(connection)
            except TransientError:
                if time.monotonic() >= ends_at:
                    raise
                time.sleep(_LOOK_S)

    def _connected(self) -> Connection:
        """Raises TransientError while the server refuses us too: it may be starting."""
        try:
            return self.connection
        except ConfigError as exc:
            raise TransientError(str(exc)) from exc

    def newest(self) -> RunRow | None:
        """The last run of the plan."""
        found = self._rows(
            "SELECT id, plan, command, turn, state, source, target, actor, facts, result, CAST(started_at AS CHAR),"
            f" CAST(ended_at AS CHAR) FROM {self._run} WHERE plan = %s ORDER BY id DESC LIMIT 1",
            (self._plan,),
        )
        return _run_row(found[0]) if found else None

    def turn(self) -> int:
        """How many ways were gone by then, as this server knows it."""
        sql = f"SELECT COALESCE(MAX(turn), 0) FROM {self._run} WHERE plan = %s AND state = 'done'"
        return int(self._rows(sql, (self._plan,))[0][0])

    def begin(self, command: Command, *, turn: int, source: str, target: str) -> RunRow:
        """A new run."""
        self.connection.run(
            f"INSERT INTO {self._run} (plan, command, turn, state, source, target, actor, facts)"
            " VALUES (%s, %s, %s, 'running', %s, %s, %s, '{}')",
            (self._plan, command, turn, source[:255], target[:255], actor_here()),
        )
        found = self.newest()
        if found is None:
            raise OperationError(f"the run that was written to {self._run} is gone")
        return found

    def keep(self, run: int, facts: dict[str, Any]) -> None:
        """Store what must be known later."""
        self._write(f"UPDATE {self._run} SET facts = %s WHERE id = %s", (msgspec.json.encode(facts).decode(), run))

    def set_state(self, run: int, state: str, result: str = "") -> None:
        """How the run stands; `result` where it has ended."""
        ended = "CURRENT_TIMESTAMP(6)" if state in ("done", "undone") else "NULL"
        self._write(
            f"UPDATE {self._run} SET state = %s, result = %s, ended_at = {ended}, actor = %s WHERE id = %s",
            (state, result[:_TEXT], actor_here(), run),
        )

    def steps(self, run: int) -> dict[str, StepRow]:
        """What was begun, by name."""
        rows = self._rows(
            "SELECT number, name, state, result, TIMESTAMPDIFF(MICROSECOND, begun_at, ended_at) / 1e6"
            f" FROM {self._step} WHERE run_id = %s ORDER BY number",
            (run,),
        )
        return {
            str(name): StepRow(int(number), str(name), str(state), str(result or ""), _seconds(seconds))
            for number, name, state, result, seconds in rows
        }

    def begin_step(self, run: int, number: int, name: str) -> None:
        """It is about to be done; again, after a kill, with the time of its first beginning."""
        self._write(
            f"INSERT INTO {self._step} (run_id, number, name, state, actor) VALUES (%s, %s, %s, 'begun', %s)"
            " ON DUPLICATE KEY UPDATE state = 'begun', actor = VALUES(actor)",
            (run, number, name, actor_here()),
        )

    def end_step(self, run: int, number: int, state: str, result: str) -> None:
        """It is done, or undone."""
        self._write(
            f"UPDATE {self._step} SET state = %s, result = %s, ended_at = CURRENT_TIMESTAMP(6)"
            " WHERE run_id = %s AND number = %s",
            (state, result[:_TEXT], run, number),
        )

    def seconds_between(self, run: int, first: str, last: str) -> float | None:
        """From the beginning of one step to the end of another."""
        found = self._rows(
            "SELECT TIMESTAMPDIFF(MICROSECOND, MIN(IF(name = %s, begun_at, NULL)), MAX(IF(name = %s, ended_at,"
            f" NULL))) / 1e6 FROM {self._step} WHERE run_id = %s",
            (first, last, run),
        )
        return _seconds(found[0][0])

    def _rows(self, sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
        return self._asked(lambda connection: connection.rows(sql, parameters))

    def _write(self, sql: str, parameters: tuple[object, ...]) -> None:
        """A statement that can be made twice."""
        self._asked(lambda connection: connection.run(sql, parameters))

    def close(self) -> None:
        """Give the lock back. Never raises."""
        if self._held is not None:
            self._held.close()


def read_runs(connection: Connection, schema: str) -> list[RunRow]:
    """The newest run of each plan that a state schema knows; none where it is older than the tables."""
    try:
        rows = connection.rows(
            "SELECT id, plan, command, turn, state, source, target, actor, facts, result, CAST(started_at AS CHAR),"
            f" CAST(ended_at AS CHAR) FROM {quote_name(schema)}.cutover_run WHERE id IN"
            f" (SELECT MAX(id) FROM {quote_name(schema)}.cutover_run GROUP BY plan) ORDER BY id DESC"
        )
    except ApplyError as exc:
        if exc.code in _MISSING:
            return []
        raise
    return [_run_row(row) for row in rows]


def _run_row(row: tuple[Any, ...]) -> RunRow:
    number, plan, command, turn, state, source, target, actor, facts, result, started, ended = row
    return RunRow(
        int(number), plan, command, int(turn), state, source, target, actor, msgspec.json.decode(facts), result,
        started, ended,
    )  # fmt: skip


def _seconds(value: object) -> float | None:
    return None if value is None else float(str(value))


def open_journal(settings: Settings, plan: str) -> CutoverJournal:
    """As the constructor; a server that is away is a ConfigError that names its key."""
    try:
        return CutoverJournal(settings, plan)
    except TransientError as exc:
        raise ConfigError(str(exc), key=settings.target.key) from exc
