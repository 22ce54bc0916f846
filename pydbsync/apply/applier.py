"""Writes to the target: rows, checkpoint and parked changes in one transaction, and DDL by its own path."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import TypeAlias, TypeVar

import msgspec

from pydbsync.apply.catalog import LiveCatalog, databases_with_table
from pydbsync.apply.checkpoint import CheckpointRow, StreamState
from pydbsync.apply.connection import LOST_CODES, Connection
from pydbsync.apply.parked import PENDING, ParkedChange, ParkedRows, ParkedTable, describe_change
from pydbsync.apply.running import run_planned
from pydbsync.apply.schema_change import Journal, is_already_so, read_state, run_statement, statement_hash
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.table_start import CopyStart, load_copy_start
from pydbsync.backoff import Backoff
from pydbsync.errors import (
    CheckpointConflict,
    LossyValueError,
    PermanentError,
    PlanError,
    StopError,
    Stopped,
    TransientError,
)
from pydbsync.killpoints import kill_point
from pydbsync.model import Delivery, RowChange, SchemaChange
from pydbsync.places import Checkpoint
from pydbsync.plan.batch import Batch, single_statements
from pydbsync.plan.ddl import PlannedSchemaChange
from pydbsync.plan.identity import row_identity
from pydbsync.plan.rows import Dialect, TablePlan
from pydbsync.settings import Settings

_T = TypeVar("_T")
_PARKED_LOOK_S = 1.0


Entry: TypeAlias = tuple[Delivery, RowChange, TablePlan]
"""One row change on its way to one target table."""


class Work(msgspec.Struct):
    """What one transaction on the target will hold."""

    batch: Batch
    entries: list[Entry]
    parked: list[ParkedChange]
    state: StreamState
    """The checkpoint row as it will be after the commit."""
    outside: int = 0
    """How many changes of tables without transactions are done already, before the transaction."""
    outside_refused: list[ParkedChange] = msgspec.field(default_factory=list)
    """What the target refused of them."""


class Applier:
    """Owns the connection to the target and the lock of one stream. Used by one thread."""

    def __init__(self, settings: Settings, *, stream: str, log: logging.Logger) -> None:
        self._settings = settings
        self._stream = stream
        self._log = log
        self._row = CheckpointRow(schema=settings.state_schema, stream=stream)
        self._parked_table = ParkedTable(schema=settings.state_schema, stream=stream)
        self._journal = Journal(schema=settings.state_schema, stream=stream)
        self._connection: Connection | None = None
        self._used_at = 0.0
        self._parked_seen_at = 0.0
        self._sent: list[tuple[int, ParkedChange]] = []
        """What the last transaction that was sent has parked."""
        self._stop = threading.Event()
        self._is_owner = False
        self.catalog = LiveCatalog()
        self.parked = ParkedRows()
        self.state: StreamState | None = None

    # -- ownership ---------------------------------------------------------------------------------------------------

    def acquire(self, stop: threading.Event, *, is_away: bool = False) -> StreamState | None:
        """Connect, wait for the stream's lock, take the checkpoint over; None if `stop` was set first.

        Waits while the server is away; `is_away` says that its going was told already. Raises ConfigError if it refuses
        the user or the state schema.
        """
        self._stop = stop
        if self._is_owner and self._is_still_owner():
            return self.state
        self._is_owner = False
        backoff = Backoff(self._settings.retry.first_s, self._settings.retry.max_s)
        while not stop.is_set():
            try:
                connection = self._connect()
                ensure_state_schema(connection, self._settings.state_schema)
                if not self._row.try_lock(connection):
                    self._log.info("waiting for %s: it is owned by %s", self._stream, self._row.holder(connection))
                    if not self._row.wait_for_lock(connection, stop):
                        return None
                self.state = self._row.take_over(connection)
                self.parked = self._parked_table.load(connection)
                self._is_owner = True
                if is_away:
                    self._log.info("the target is back")
                return self.state
            except TransientError as exc:
                self._drop_connection()
                if not is_away:
                    self._log.warning("the target is away, waiting: %s", exc)
                is_away = True
                backoff.wait(stop)
        return None

    def _is_still_owner(self) -> bool:
        """Whether the lock was kept while the source was away: the server may have hung up on the idle connection."""
        connection = self._connection
        try:
            return connection is not None and connection.is_open() and self._row.is_locked_by(connection)
        except (TransientError, PermanentError):
            return False

    def release(self) -> None:
        """Close the connection, and with it give back the lock. Never raises."""
        self._is_owner = False
        self._drop_connection()

    def keep_alive(self) -> None:
        """Say something to an idle connection in time, or the server takes the lock away. Raises CheckpointConflict."""
        if time.monotonic() - self._used_at > self._settings.lock_timeout_s / 3:
            self._repeat(lambda connection: connection.execute(b"DO 1"))

    @property
    def dialect(self) -> Dialect:
        """What the target is."""
        return self.connection.dialect

    def copy_start(self, checkpoint: Checkpoint) -> CopyStart | None:
        """What `pydbsync copy` has left to be observed behind this place. Raises StopError while it is unfinished."""
        return self._repeat(
            lambda connection: load_copy_start(
                connection, self._settings.state_schema, self._stream, checkpoint, run=self._repeat, log=self._log
            )
        )

    def databases_with_table(self, table: str) -> list[str]:
        """The databases of the target that have a table of this name."""
        return self._repeat(lambda connection: databases_with_table(connection, table)) or []

    def refresh_parked(self) -> None:
        """Notice what the operator has mended meanwhile; looks at most once a second, and only if something is parked.

        To be called between batches: what an open batch is about to park is not in the table yet.
        """
        if not self.parked.count or time.monotonic() - self._parked_seen_at < _PARKED_LOOK_S:
            return
        self._parked_seen_at = time.monotonic()
        if self._repeat(self._parked_table.count) != self.parked.count:
            self.parked = self._repeat(self._parked_table.load) or ParkedRows()

    @property
    def connection(self) -> Connection:
        """The open connection. Raises TransientError if it was lost."""
        if self._connection is None or not self._connection.is_open():
            raise TransientError("the connection to the target was lost", code=2013)
        self._used_at = time.monotonic()
        return self._connection

    def _connect(self) -> Connection:
        self._drop_connection()
        lock_timeout_s = max(2, round(self._settings.lock_timeout_s))
        connection = Connection(
            self._settings.target.connect_keywords(),
            key=self._settings.target.key,
            wait_timeout_s=lock_timeout_s,
            statement_timeout_s=self._settings.statement_timeout_s,
            on_slow=self._tell_slow,
        )
        self._connection = connection
        self._used_at = time.monotonic()
        self.catalog.attach(connection)
        return connection

    def _tell_slow(self) -> None:
        self._log.info(
            "the target works on a statement for over %g s (a large ALTER, a lock, or a disk without room?); it is"
            " waited for", self._settings.statement_timeout_s,
        )  # fmt: skip

    def _drop_connection(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _reconnect(self) -> StreamState:
        """After a lost connection: the lock again, and the row as it is committed. Raises CheckpointConflict if
        another worker owned the stream in between."""
        connection = self._connect()
        try:
            is_locked = False
            while not is_locked:
                if self._stop.is_set():
                    raise Stopped("stopped while waiting for the target")
                is_locked = self._row.try_lock(connection, wait_s=1.0)
                if not self._row.is_ours(connection):
                    raise CheckpointConflict(
                        f"{self._row.holder(connection)} has taken over {self._stream!r} while the connection to the"
                        " target was lost; what was not committed is given back to the queue"
                    )
            state = self._row.read(connection)
        except BaseException:
            self._drop_connection()  # it is of no use without the lock, and before it is known what was committed
            raise
        if state is None:
            raise CheckpointConflict(f"the checkpoint row of {self._stream!r} was removed")
        return state

    # -- rows --------------------------------------------------------------------------------------------------------

    def apply(self, work: Work) -> list[ParkedChange]:
        """Commit the work, once, whatever is lost on the way; what the target refused and was parked instead.

        Waits while the target is away. Raises StopError by policy, CheckpointConflict, ConfigError.
        """
        singly = False
        while True:
            try:
                parked = self._repeat(
                    lambda connection, singly=singly: self._apply_once(connection, work, singly=singly),  # type: ignore[misc]
                    expected_commits=work.state.commits,
                )
                break
            except (PermanentError, PlanError) as exc:
                if singly:
                    raise StopError(f"the target refuses the transaction itself: {exc}") from exc
                singly = True
        self.state = work.state
        if parked is None:  # committed, but the answer was lost
            parked = self._sent
        for parked_id, change in parked:
            self.parked.remember(parked_id, change)
        return [change for _, change in parked[: len(parked) - len(work.parked)]]

    def _apply_once(self, connection: Connection, work: Work, *, singly: bool) -> list[tuple[int, ParkedChange]]:
        self._apply_outside(connection, work)
        connection.execute(b"START TRANSACTION")
        try:
            self._row.write(connection, work.state)
            if self.state is None or work.state.bootstrapped != self.state.bootstrapped:
                self._row.write_bootstrapped(connection, work.state.bootstrapped)
            refused: list[ParkedChange] = []
            if singly:
                blocked = ParkedRows()
                for entry in work.entries:
                    if entry[2].schema.transactional:
                        self._make_or_park(connection, entry, refused, blocked)
            else:
                for statement in work.batch.statements():
                    if statement.is_transactional:
                        kill_point("mid-batch")
                        run_planned(connection, statement)
            parked: list[tuple[int, ParkedChange]] = []
            for changes in (work.outside_refused, refused, work.parked):
                first = len(parked)
                for change in changes:
                    if change.behind is not None and change.behind >= PENDING:
                        behind, _ = parked[first + change.behind - PENDING]
                        change = msgspec.structs.replace(change, behind=behind)
                    parked.append((self._parked_table.write(connection, change), change))
            if parked:
                kill_point("after-parking")
            self._check_limit(len(parked))
            self._sent = parked
            kill_point("before-commit")
        except BaseException:
            connection.rollback()
            raise
        connection.commit()
        return parked

    def _apply_outside(self, connection: Connection, work: Work) -> None:
        """Changes of tables without transactions are made one by one before the transaction, so that none is made
        again when something else is refused; a crash in between repeats them, which nothing can prevent."""
        if all(plan.schema.transactional for plan in {plan for _, _, plan in work.entries}):
            return
        if not self._row.is_ours(connection):
            raise CheckpointConflict(f"another worker has taken over {self._stream!r}")
        blocked = ParkedRows()
        for place, refused in enumerate(work.outside_refused):
            blocked.remember(PENDING + place, refused)
        for entry in [each for each in work.entries if not each[2].schema.transactional][work.outside :]:
            self._make_or_park(connection, entry, work.outside_refused, blocked)
            work.outside += 1

    def _make_or_park(
        self, connection: Connection, entry: Entry, refused: list[ParkedChange], blocked: ParkedRows
    ) -> None:
        """Make one change; if the target refuses it, or the row waits for one in `refused`, it is added there."""
        _, change, plan = entry
        behind = blocked.blocker(plan.name, row_identity(change, plan)) if blocked else None
        if behind is not None:
            parked: ParkedChange | None = park_row(entry, "waits behind a parked change of the same row", behind=behind)
        else:
            parked = self._make(connection, entry)
        if parked is not None:
            self.refuse_if_stopping(parked)
            blocked.remember(PENDING + len(refused), parked)
            refused.append(parked)

    def _make(self, connection: Connection, entry: Entry) -> ParkedChange | None:
        """One change by itself; its record if it cannot be made."""
        _, change, plan = entry
        try:
            statements = single_statements(change, plan)
        except PlanError as exc:
            if isinstance(exc, LossyValueError) and self._settings.lossy_values == "stop":
                raise StopError(f"{exc}; nothing after it was applied") from exc
            return park_row(entry, str(exc))
        if plan.schema.transactional:
            connection.execute(b"SAVEPOINT one_change")
        try:
            for statement in statements:
                run_planned(connection, statement)
        except PermanentError as exc:
            if plan.schema.transactional:
                connection.execute(b"ROLLBACK TO SAVEPOINT one_change")
            return park_row(entry, str(exc), code=exc.code)
        return None

    def was_parked(self, position: str, message: bytes) -> bool:
        """Whether this very message of the stream was parked before, whatever became of it since."""
        return bool(self._repeat(lambda connection: self._parked_table.has(connection, position, message)))

    def refuse_if_stopping(self, parked: ParkedChange) -> None:
        """Raises StopError if the policy is to stop rather than to park."""
        if self._settings.on_error == "stop":
            raise StopError(
                f"{parked.kind} of {parked.source} at {parked.position or 'an unknown place'} cannot be applied:"
                f" {parked.reason}; nothing after it was applied (on_error is stop)"
            )

    def _check_limit(self, coming: int) -> None:
        limit = self._settings.max_parked
        if limit and coming and self.parked.count + coming > limit:
            raise StopError(
                f"more than max_parked ({limit}) changes of {self._stream!r} are parked; look at them with"
                " `python -m pydbsync parked list` before going on"
            )

    # -- schema changes ----------------------------------------------------------------------------------------------

    def change_schema(
        self, change: SchemaChange, planned: PlannedSchemaChange, *, policy: str, state: StreamState, body: bytes
    ) -> str:
        """Run one DDL statement and move the checkpoint past it; what became of it: done, skipped, parked, or "again"
        where it had run before.

        Waits while the target is away. Raises StopError by policy.
        """
        digest = statement_hash(change, planned)
        entry = self._repeat(lambda connection: self._journal.find(connection, digest))
        status, note = "done", "; ".join(planned.notes)
        failure: PermanentError | None = None
        if entry is not None and entry.status != "intent":
            status, note = entry.status, entry.note
            self._log.debug("schema change at %s has run already: %s", change.position, planned.sql)
        elif policy in ("skip", "park", "stop"):
            if policy == "stop":
                raise StopError(f"a schema change came and the policy says stop: {planned.sql}")
            status = "skipped" if policy == "skip" else "parked"
            failure = PermanentError("the policy for this kind of schema change is park") if policy == "park" else None
            self._write_intent(digest, change, planned, before={}, state=state)
        else:
            failure = self._run_schema_change(digest, change, planned, entry_before=entry and entry.before, state=state)
            if failure is not None:
                status, note = "parked", str(failure)
        parked = self._park_schema(change, planned, body, failure) if status == "parked" else None
        try:
            if parked is not None:
                self.refuse_if_stopping(parked)
            self._end_schema_change(digest, status, note, state, parked)
        except StopError:
            self._repeat(lambda connection: self._journal.forget_intent(connection, digest))
            raise
        self.catalog.forget()
        return "again" if entry is not None and entry.status == status == "done" else status

    def _run_schema_change(
        self,
        digest: str,
        change: SchemaChange,
        planned: PlannedSchemaChange,
        *,
        entry_before: dict[str, str | None] | None,
        state: StreamState,
    ) -> PermanentError | None:
        before = entry_before
        if before is None:
            try:
                before = self._repeat(lambda connection: read_state(connection, planned)) or {}
            except PermanentError as exc:  # a name that the target refuses, or a table that the user may not see
                self._write_intent(digest, change, planned, before={}, state=state)
                return exc
            self._write_intent(digest, change, planned, before=before, state=state)
            kill_point("after-intent")
        elif self._repeat(lambda connection: read_state(connection, planned)) != before:
            self._log.info("the schema change had run before the last stop: %s", planned.sql)
            return None
        backoff = Backoff(self._settings.retry.first_s, self._settings.retry.max_s)
        is_interrupted = False
        while True:
            try:
                ran = run_statement(self.connection, planned, stop=self._stop)
                if ran != planned.sql:
                    self._log.info("left out keys that another source's statement has made; ran: %s", ran or "nothing")
                kill_point("after-ddl")
                return None
            except TransientError as exc:
                if not is_interrupted:
                    self._log.warning("a schema change was interrupted, trying again: %s", exc)
                is_interrupted = True
                if exc.code in LOST_CODES:
                    self._drop_connection()
                if backoff.wait(self._stop):
                    raise Stopped("stopped while a schema change could not be run") from exc
                # The lock of the lost connection is free only when its statement has ended, so what is seen is final.
                if self._repeat(lambda connection: read_state(connection, planned)) != before:
                    return None
            except PermanentError as exc:
                if self._repeat(lambda connection, error=exc: is_already_so(connection, change, planned, error)):  # type: ignore[misc]
                    self._log.info("the target is already as the schema change makes it: %s (%s)", planned.sql, exc)
                    return None
                return exc

    def _write_intent(
        self,
        digest: str,
        change: SchemaChange,
        planned: PlannedSchemaChange,
        *,
        before: dict[str, str | None],
        state: StreamState,
    ) -> None:
        # The fence holds for DDL too: the intent commits only while the row is ours. The place stays where it is.
        current = self.state if self.state is not None else state

        def write(connection: Connection) -> None:
            with connection.transaction():
                self._row.write(connection, current)
                self._journal.write_intent(connection, digest, change, planned=planned, before=before)

        self._repeat(write)

    def _end_schema_change(
        self, digest: str, status: str, note: str, state: StreamState, parked: ParkedChange | None
    ) -> None:
        def write(connection: Connection) -> int:
            with connection.transaction():
                self._row.write(connection, state)
                self._journal.write_end(connection, digest, status=status, note=note)
                parked_id = self._parked_table.write(connection, parked) if parked else 0
                self._check_limit(1 if parked else 0)
                kill_point("before-commit")
            return parked_id

        parked_id = self._repeat(write, expected_commits=state.commits)
        self.state = state
        if parked is None:
            return
        if parked_id is None:  # committed, but the answer was lost
            self.parked = self._repeat(self._parked_table.load) or ParkedRows()
        else:
            self.parked.remember(parked_id, parked)

    def _park_schema(
        self, change: SchemaChange, planned: PlannedSchemaChange, body: bytes, failure: PermanentError | None
    ) -> ParkedChange:
        kind, position, source = describe_change(change)
        database = planned.database or planned.default_database or change.database
        if planned.touched:
            name = next(name for name in (*planned.touched[0],) if name is not None)
            database = name.database
        reason = f"{failure or 'parked before'}: {planned.sql}"
        code = failure.code if failure else 0
        return ParkedChange(
            message=body, reason=reason, code=code, kind=kind, position=position, source=source,
            target_database=database, is_whole_table=True,
        )  # fmt: skip

    # -- faults ------------------------------------------------------------------------------------------------------

    def _repeat(self, step: Callable[[Connection], _T], *, expected_commits: int | None = None) -> _T | None:
        """Run a step until it succeeds, through lost connections and deadlocks.

        A commit whose answer was lost is not guessed at: if the row read back counts `expected_commits`, it was done,
        and None is returned. Raises PermanentError, PlanError, StopError, CheckpointConflict.
        """
        backoff = Backoff(self._settings.retry.first_s, self._settings.retry.max_s)
        is_away = False
        while True:
            try:
                if self._connection is None or not self._connection.is_open():
                    committed = self._reconnect()
                    if expected_commits is not None and committed.commits == expected_commits:
                        self._log.info("the target is back, and has committed what it did not answer")
                        return None
                result = step(self.connection)
                self._used_at = time.monotonic()
                if is_away:
                    self._log.info("the target takes it again")
                return result
            except TransientError as exc:
                if exc.code in LOST_CODES:
                    self._drop_connection()
                if not is_away:
                    self._log.warning("the target does not take it now, trying again: %s", exc)
                is_away = True
                if backoff.wait(self._stop):
                    raise Stopped("stopped while the target was away") from exc


def park_row(entry: Entry, reason: str, *, code: int = 0, behind: int | None = None) -> ParkedChange:
    """The record of a row change that is not applied."""
    delivery, change, plan = entry
    kind, position, source = describe_change(change)
    return ParkedChange(
        message=delivery.body, reason=reason, code=code, kind=kind, position=position, source=source,
        target_database=plan.name.database, row_keys=tuple(row_identity(change, plan)), behind=behind,
    )  # fmt: skip
