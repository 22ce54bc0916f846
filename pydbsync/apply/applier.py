"""Writes to the target: rows, checkpoint and parked changes in one transaction."""

from __future__ import annotations

import logging
import threading
from collections.abc import Generator
from typing import TypeAlias

import msgspec

from pydbsync.apply.attempt import Attempt
from pydbsync.apply.catalog import LiveCatalog, databases_with_table
from pydbsync.apply.checkpoint import StreamState
from pydbsync.apply.connection import Connection
from pydbsync.apply.parked import PENDING, ParkedChange, ParkedRows, describe_change
from pydbsync.apply.parking import Parking
from pydbsync.apply.running import commit, run_all, run_planned
from pydbsync.apply.schema_steps import SchemaSteps
from pydbsync.apply.session import Session
from pydbsync.apply.table_start import CopyStart, load_copy_start
from pydbsync.config.settings import Settings
from pydbsync.errors import (
    CheckpointConflict,
    LossyValueError,
    PermanentError,
    PlanError,
    StopError,
    TransientError,
)
from pydbsync.killpoints import kill_point
from pydbsync.model import Delivery, RowChange, SchemaChange
from pydbsync.places import Checkpoint
from pydbsync.plan.batch import Batch, single_statements
from pydbsync.plan.ddl import PlannedSchemaChange
from pydbsync.plan.identity import row_identity
from pydbsync.plan.rows import Dialect, TablePlan

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
    """Writes one stream to the target, which it owns. Used by one thread."""

    def __init__(self, settings: Settings, *, stream: str, log: logging.Logger) -> None:
        self._settings = settings
        self._stream = stream
        self._log = log
        self._session = Session(settings, stream=stream, log=log)
        self._parking = Parking(settings, session=self._session, stream=stream)
        self._schema = SchemaSteps(settings, session=self._session, parking=self._parking, stream=stream, log=log)
        self._attempt: Attempt[list[tuple[int, ParkedChange]]] | None = None
        """What was begun and is not finished."""
        self._sent: list[tuple[int, ParkedChange]] = []
        """What the last transaction that was sent has parked."""

    @property
    def catalog(self) -> LiveCatalog:
        """The tables of the target."""
        return self._session.catalog

    @property
    def state(self) -> StreamState | None:
        """The checkpoint row as it was committed last."""
        return self._session.state

    @property
    def parked(self) -> ParkedRows:
        """What later changes must wait behind."""
        return self._parking.rows

    @property
    def dialect(self) -> Dialect:
        """What the target is."""
        return self._session.connection.dialect

    def acquire(self, stop: threading.Event, *, is_away: bool = False) -> StreamState | None:
        """Connect, wait for the stream's lock, take the checkpoint over; None if `stop` was set first.

        Waits while the server is away; `is_away` says that its going was told already. Raises ConfigError if it refuses
        the user or the state schema.
        """
        return self._session.acquire(stop, on_owned=self._parking.load, is_away=is_away)

    def release(self) -> None:
        """Close the connection, and with it give back the lock. Never raises."""
        if self._attempt is not None:
            self._attempt.end()
        self._attempt = None
        self._session.release()

    def keep_alive(self) -> None:
        """Say something to an idle connection in time, or the server takes the lock away. Raises CheckpointConflict."""
        self._session.keep_alive()

    def copy_start(self, checkpoint: Checkpoint) -> CopyStart | None:
        """What `pydbsync copy` has left to be observed behind this place. Raises StopError while it is unfinished."""
        return self._session.repeat(
            lambda connection: load_copy_start(
                connection,
                self._settings.state_schema,
                self._stream,
                checkpoint,
                run=self._session.repeat,
                log=self._log,
            )
        )

    def databases_with_table(self, table: str) -> list[str]:
        """The databases of the target that have a table of this name."""
        return self._session.repeat(lambda connection: databases_with_table(connection, table)) or []

    def refresh_parked(self) -> None:
        """Notice what the operator has mended meanwhile; to be called between batches."""
        self._parking.refresh()

    def was_parked(self, position: str, message: bytes) -> bool:
        """Whether this very message of the stream was parked before, whatever became of it since."""
        return self._parking.has(position, message)

    def refuse_if_stopping(self, parked: ParkedChange) -> None:
        """Raises StopError if the policy is to stop rather than to park."""
        self._parking.refuse_if_stopping(parked)

    def change_schema(
        self, change: SchemaChange, planned: PlannedSchemaChange, *, policy: str, state: StreamState, body: bytes
    ) -> str:
        """Run one DDL statement and move the checkpoint past it; what became of it: done, skipped, parked, or "again"
        where it had run before.

        Waits while the target is away. Raises StopError by policy.
        """
        return self._schema.run(change, planned, policy=policy, state=state, body=body)

    def begin(self, work: Work) -> None:
        """Begin to commit the work, without a wait for what the target does meanwhile: `advance` now and then, `finish`
        before the next one is begun."""
        try:
            connection = self._session.connection
        except TransientError:
            return  # `finish` makes another
        self._attempt = Attempt(connection, self._steps(connection, work, singly=False))

    def advance(self) -> bool:
        """Go on with what was begun as far as the target has answered; whether `finish` would not wait."""
        if self._attempt is not None:
            self._attempt.advance()
        return self._attempt is None or self._attempt.has_ended

    def finish(self, work: Work) -> list[ParkedChange]:
        """Commit what was begun, once, whatever is lost on the way; what the target refused and was parked instead.

        Waits while the target is away. Raises StopError by policy, CheckpointConflict, ConfigError.
        """
        attempt, self._attempt = self._attempt, None
        begun, singly = None if attempt is None else attempt.finish, False

        def whole(connection: Connection) -> list[tuple[int, ParkedChange]]:
            return Attempt(connection, self._steps(connection, work, singly=singly)).finish()

        while True:
            try:
                parked = self._session.repeat(whole, begun=begun, expected_commits=work.state.commits)
                break
            except (PermanentError, PlanError) as exc:
                if singly:
                    raise StopError(f"the target refuses the transaction itself: {exc}") from exc
                begun, singly = None, True
        self._session.state = work.state
        if parked is None:  # committed, but the answer was lost
            parked = self._sent
        for parked_id, change in parked:
            self.parked.remember(parked_id, change)
        return [change for _, change in parked[: len(parked) - len(work.parked)]]

    def _steps(
        self, connection: Connection, work: Work, *, singly: bool
    ) -> Generator[None, None, list[tuple[int, ParkedChange]]]:
        """One try; yields whenever the target works on a statement and the caller may do something else."""
        self._apply_outside(connection, work)
        connection.execute(b"START TRANSACTION")
        try:
            self._session.row.write(connection, work.state)
            if self.state is None or work.state.bootstrapped != self.state.bootstrapped:
                self._session.row.write_bootstrapped(connection, work.state.bootstrapped)
            refused: list[ParkedChange] = []
            if singly:
                blocked = ParkedRows()
                for entry in work.entries:
                    if entry[2].schema.transactional:
                        self._make_or_park(connection, entry, refused, blocked)
            else:
                yield from run_all(connection, (each for each in work.batch.statements() if each.is_transactional))
            parked: list[tuple[int, ParkedChange]] = []
            for changes in (work.outside_refused, refused, work.parked):
                first = len(parked)
                for change in changes:
                    if change.behind is not None and change.behind >= PENDING:
                        behind, _ = parked[first + change.behind - PENDING]
                        change = msgspec.structs.replace(change, behind=behind)
                    parked.append((self._parking.write(connection, change), change))
            if parked:
                kill_point("after-parking")
            self._parking.check_limit(len(parked))
            self._sent = parked
            kill_point("before-commit")
        except BaseException:
            connection.rollback()
            raise
        yield from commit(connection)
        return parked

    def _apply_outside(self, connection: Connection, work: Work) -> None:
        """Changes of tables without transactions are made one by one before the transaction, so that none is made
        again when something else is refused; a crash in between repeats them, which nothing can prevent."""
        if all(plan.schema.transactional for plan in {plan for _, _, plan in work.entries}):
            return
        if not self._session.row.is_ours(connection):
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


def park_row(entry: Entry, reason: str, *, code: int = 0, behind: int | None = None) -> ParkedChange:
    """The record of a row change that is not applied."""
    delivery, change, plan = entry
    kind, position, source = describe_change(change)
    return ParkedChange(
        message=delivery.body, reason=reason, code=code, kind=kind, position=position, source=source,
        target_database=plan.name.database, row_keys=tuple(row_identity(change, plan)), behind=behind,
    )  # fmt: skip
