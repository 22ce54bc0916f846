"""Writes to the target: rows, checkpoint and parked changes in one transaction."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Generator, Sequence
from functools import partial
from typing import Any

import msgspec

from pydbsync.apply.agreement import agreement_for
from pydbsync.apply.attempt import Attempt
from pydbsync.apply.catalog import LiveCatalog, collation_of, databases_with_table, read_table
from pydbsync.apply.conflicts import ConflictFinder
from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.copy_check import CopyCheck
from pydbsync.apply.ddl.copy_rows import CopyRowsTable
from pydbsync.apply.ddl.running import commit, run_all, run_planned
from pydbsync.apply.ddl.schema_steps import SchemaSteps
from pydbsync.apply.ddl.structure_watch import StructureWatch
from pydbsync.apply.feeders import Feeders
from pydbsync.apply.origin import StreamOrigin
from pydbsync.apply.parking import Parking
from pydbsync.apply.server_errors import DUPLICATE_CODE
from pydbsync.apply.session import StreamSession
from pydbsync.apply.table_start import TableStarts, load_copy_start
from pydbsync.apply.tables.pause import PauseTable
from pydbsync.config.settings import Settings
from pydbsync.errors import (
    CheckpointConflict,
    LossyValueError,
    PermanentError,
    PlanError,
    StopError,
    StructureChanged,
    TransientError,
)
from pydbsync.killpoints import kill_point
from pydbsync.model import RowChange, TableName
from pydbsync.places import Checkpoint
from pydbsync.plan.agreement import SaidOfRow
from pydbsync.plan.batch import RowBatch, single_statements
from pydbsync.plan.ddl.altered_copy import AlteredCopy
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.lexer import shorten
from pydbsync.plan.ddl.online import OnlineChanges
from pydbsync.plan.quoting import quote_table
from pydbsync.plan.row_statements import RowStatement, show_image
from pydbsync.plan.rows import TablePlan
from pydbsync.plan.target import Dialect
from pydbsync.protocols import Decode
from pydbsync.work import (
    PENDING,
    CopyRows,
    Entry,
    ParkedChange,
    ParkedRows,
    Pauses,
    SchemaStep,
    StreamState,
    Work,
    park_row,
)

_LOOK_S = 1.0
_SHOWN = 500


class Applier:
    """Writes one stream to the target, which it owns. Used by one thread."""

    def __init__(
        self,
        settings: Settings,
        *,
        stream: str,
        log: logging.Logger,
        origin: StreamOrigin | None = None,
        tell: Callable[[str], object] = lambda state: None,
        connected: Callable[[], object] = lambda: None,
        examine: Callable[[Connection], object] = lambda connection: None,
    ) -> None:
        """`origin` is whose stream it is, where it comes from a queue; `tell` hears in a word or two what is waited
        for, `connected` of each new connection. `examine` looks at the target before the first change, and may raise
        ConfigError."""
        self._examine: Callable[[Connection], object] | None = examine
        self._settings = settings
        self._stream = stream
        self._log = log
        self._feeders = Feeders(schema=settings.state_schema, stream=stream)
        catalog = LiveCatalog(self._feeders)
        self._session = StreamSession(
            settings, stream=stream, catalog=catalog, log=log, origin=origin, tell=tell, connected=connected
        )
        self._parking = Parking(settings, session=self._session, stream=stream)
        self._schema = SchemaSteps(settings, session=self._session, parking=self._parking, stream=stream, log=log)
        self._agreement = agreement_for(settings, stream=stream)
        self._conflicts = ConflictFinder(schema=settings.state_schema, stream=stream, agreement=self._agreement)
        self._copy_rows = CopyRowsTable(schema=settings.state_schema, stream=stream)
        self._swept: frozenset[str] | None = None
        """The copies under way when nothing was left of others."""
        self._structure = StructureWatch()
        self._looked_at = 0.0
        self._attempt: Attempt[list[tuple[int, ParkedChange]]] | None = None
        """What was begun and is not finished."""
        self._sent: list[tuple[int, ParkedChange]] = []
        """What the last transaction that was sent has parked."""
        self._told_missing: set[TableName | None] = set()
        self._pause_table = PauseTable(settings.state_schema)
        self._pauses = Pauses()
        self.server_id = 0
        """The target's, where replay runs in both directions."""

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
    def pauses(self) -> Pauses:
        """What an operator has paused, as `look_around` has seen it last."""
        return self._pauses

    @property
    def dialect(self) -> Dialect:
        """What the target is."""
        return self._session.connection.dialect

    def acquire(self, stop: threading.Event, *, is_away: bool = False) -> StreamState | None:
        """Connect, wait for the stream's lock, take the checkpoint over; None if `stop` was set first.

        Waits while the server is away; `is_away` says that its going was told already. Raises ConfigError if it refuses
        the user or the state schema.
        """

        def on_owned(connection: Connection) -> None:
            if self._examine is not None:
                self._examine(connection)
                self._examine = None
            self._parking.load(connection)
            self._pauses = self._pause_table.of_stream(connection, self._stream)
            self._feeders.load(connection)
            if self._settings.two_way is not None:
                self.server_id = int(connection.value("SELECT @@server_id"))
            self._structure.has_changed(connection)  # what is planned from now on is planned for this

        return self._session.acquire(stop, on_owned=on_owned, is_away=is_away)

    def use(self, settings: Settings) -> None:
        """These hold from now on. Only between transactions."""
        self._settings = settings
        self._session.use(settings)
        self._parking.use(settings)
        self._schema.use(settings)
        if self._agreement is not None:
            self._agreement.is_preferred = settings.conflicts.prefer == "target"

    def release(self) -> None:
        """Close the connection, and with it give back the lock. Never raises."""
        if self._attempt is not None:
            self._attempt.end()
        self._attempt = None
        self._session.release()

    def keep_alive(self) -> None:
        """Say something to an idle connection in time, or the server takes the lock away. Raises CheckpointConflict."""
        self._session.keep_alive()

    def copy_start(self, checkpoint: Checkpoint) -> TableStarts | None:
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

    def collation_of(self, database: str) -> str | None:
        """What a table of the target's database gets that names none; None where there is no such database."""
        return self._session.repeat(lambda connection: collation_of(connection, database))

    def count_rows(self, table: TableName) -> int | None:
        """How many rows the target's table has; None where rows of it are parked, or there is no such table."""
        if self.parked.blocker_of_table(table) is not None:
            return None
        sql = f"SELECT COUNT(*) FROM {quote_table(table)}"
        try:
            return self._session.repeat(lambda connection: int(connection.value(sql)))
        except PermanentError:
            return None

    def misfit_of_copy(self, wanted: AlteredCopy, decode: Decode) -> str:
        """In what the rows that came for the copy are other than its changes make of the target's table; empty where
        they are the same. Raises Stopped."""
        check = CopyCheck(
            wanted, rows=self._copy_rows, schema=self._settings.state_schema, decode=decode,
            repeat=self._session.repeat, stop=self._session.stop, log=self._log,
        )  # fmt: skip
        return check.misfit()

    def look_around(self) -> bool:
        """Notice what others have done meanwhile, at most once a second: changes that were mended, and tables that were
        altered, which is what it returns. To be called between transactions."""
        if time.monotonic() - self._looked_at < _LOOK_S:
            return False
        self._looked_at = time.monotonic()
        self._parking.refresh()
        found = self._session.repeat(lambda connection: self._pause_table.of_stream(connection, self._stream))
        self._pauses = found or Pauses()
        self._session.repeat(self._sweep)
        has_company = self._session.repeat(self._feeders.have_come)
        return bool(self._session.repeat(self._structure.has_changed)) or bool(has_company)

    def kept_rows(self, copy: CopyRows) -> tuple[Sequence[int], Sequence[bytes]]:
        """The next messages that were kept of the copy and not taken up, in order, with what tells which they are."""
        return self._session.repeat(lambda connection: self._copy_rows.read(connection, copy)) or ((), ())

    def _sweep(self, connection: Connection) -> None:
        """Forget the rows of copies that have been swapped, or dropped, a few at a time."""
        under_way = OnlineChanges.from_json("" if self.state is None else self.state.ghosts).kept
        if under_way == self._swept:
            return
        with connection.transaction():
            if self._session.row.is_ours(connection) and not self._copy_rows.sweep(connection, under_way):
                self._swept = under_way

    def was_parked(self, position: str, message: bytes) -> bool:
        """Whether this very message of the stream was parked before, whatever became of it since."""
        return self._parking.has(position, message)

    def refuse_if_stopping(self, parked: ParkedChange) -> None:
        """Raises StopError if the policy is to stop rather than to park."""
        self._parking.refuse_if_stopping(parked)

    def has_decided(self, step: SchemaStep[PlannedSchemaChange]) -> bool:
        """Whether the statement was run, skipped or parked before the last stop."""
        return self._schema.has_decided(step)

    def has_begun(self, step: SchemaStep[PlannedSchemaChange]) -> bool:
        """Whether the statement may have run before the last stop."""
        return self._schema.has_begun(step)

    def change_schema(self, step: SchemaStep[PlannedSchemaChange], state: StreamState) -> str:
        """Run one DDL statement and store the state; what became of it: done, skipped, parked, or "again" where it had
        run before.

        Waits while the target is away. Raises StopError by policy.
        """
        return self._schema.run(step, state)

    def begin(self, work: Work[TablePlan]) -> None:
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

    def finish(self, work: Work[TablePlan]) -> list[ParkedChange]:
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
                if not work.outside:
                    self._refuse_old_plans(work)
                begun, singly = None, True
        self._session.state = work.state
        if parked is None:  # committed, but the answer was lost
            parked = self._sent
        work.conflicts = self._conflicts.decided
        for parked_id, change in parked:
            self.parked.remember(parked_id, change)
        return [change for _, change in parked[: len(parked) - len(work.parked)]]

    def _refuse_old_plans(self, work: Work[TablePlan]) -> None:
        """Raises StructureChanged if a table was altered since it was planned for."""
        for plan in {plan for _, _, plan in work.entries}:
            found = self._session.repeat(lambda connection: read_table(connection, plan.name))  # noqa: B023
            if found is not None and found != plan.schema:  # for one that is gone there is no other plan
                raise StructureChanged(f"{plan.name} is not as it was any more at the target: somebody has altered it")

    def _steps(
        self, connection: Connection, work: Work[TablePlan], *, singly: bool
    ) -> Generator[None, None, list[tuple[int, ParkedChange]]]:
        """One try; yields whenever the target works on a statement and the caller may do something else."""
        self._apply_outside(connection, work)
        connection.execute(b"START TRANSACTION")
        try:
            self._session.row.write(connection, work.state)
            if self.state is None or work.state.bootstrapped != self.state.bootstrapped:
                self._session.row.write_bootstrapped(connection, work.state.bootstrapped)
            refused: list[ParkedChange] = []
            self._conflicts.begin(connection)
            if not singly and self._settings.detects_conflicts:
                singly = yield from self._conflicts.are_in(connection, work.entries)
            if singly:
                blocked = ParkedRows()
                for entry in work.entries:
                    if entry[2].schema.transactional:
                        self._make_or_park(connection, entry, refused, blocked, repeats=work.state.bootstrapped)
            elif isinstance(work.batch, RowBatch):
                statements = (each for each in work.batch.statements() if each.is_transactional)
                # What is made again behind a bootstrap may have gone before.
                is_exact = not work.state.bootstrapped
                yield from run_all(
                    connection, statements, missed=self._tell_missing if is_exact else None,
                    passes=partial(self._parking.refuse_of_others, connection),
                )  # fmt: skip
            self._copy_rows.write(connection, work.kept)
            self._copy_rows.forget(connection, work.taken_up)
            parked = [
                each
                for changes in (work.outside_refused, refused, work.parked)
                for each in self._parking.write(connection, changes)
            ]
            if parked:
                kill_point("after-parking")
            if not work.keeps_all:
                self._parking.check_limit(connection, len(parked))
            self._sent = parked
            kill_point("before-commit")
        except BaseException:
            connection.rollback()
            raise
        yield from commit(connection)
        return parked

    def _apply_outside(self, connection: Connection, work: Work[TablePlan]) -> None:
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
        self,
        connection: Connection,
        entry: Entry[TablePlan],
        refused: list[ParkedChange],
        blocked: ParkedRows,
        *,
        repeats: Collection[TableName] = (),
    ) -> None:
        """Make one change; if the target refuses it, or the row waits for one in `refused`, it is added there. Of the
        source tables `repeats` changes come that the rows hold already."""
        _, change, plan = entry
        behind = blocked.blocker_of_row(plan.name, plan.identity(change), plan.passes_to(change)) if blocked else None
        if behind is None and isinstance(change, SaidOfRow):
            behind = self._parking.blocker(connection, plan.name, plan.identity(change))
        if behind is not None:
            parked: ParkedChange | None = park_row(entry, "waits behind a parked change of the same row", behind=behind)
        else:
            parked = self._make(connection, entry, repeats)
        if parked is not None:
            self.refuse_if_stopping(parked)
            blocked.remember(PENDING + len(refused), parked)
            refused.append(parked)

    def _make(
        self, connection: Connection, entry: Entry[TablePlan], repeats: Collection[TableName]
    ) -> ParkedChange | None:
        """One change by itself; its record if it cannot be made, or should not."""
        _, change, plan = entry
        if plan.conflicts is not None:
            return self._settle(connection, entry, repeats)
        try:
            statements = single_statements(change, plan, in_place=True)
        except PlanError as exc:
            return self._unplanned(entry, exc)
        if plan.schema.transactional:
            connection.execute(b"SAVEPOINT one_change")
        try:
            for statement in statements:
                run_planned(
                    connection, statement, missed=self._tell_missing,
                    passes=partial(self._parking.refuse_of_others, connection),
                )  # fmt: skip
        except PermanentError as exc:
            if plan.schema.transactional:
                connection.execute(b"ROLLBACK TO SAVEPOINT one_change")
            in_the_way = _row_in_the_way(connection, entry) if exc.code == DUPLICATE_CODE else ""
            return park_row(entry, f"{exc}{in_the_way}", code=exc.code)
        return None

    def _settle(
        self, connection: Connection, entry: Entry[TablePlan], repeats: Collection[TableName]
    ) -> ParkedChange | None:
        """The same where the target's row may be another one than the source's was."""
        change = entry[1]
        comes_once = change.position is not None and TableName(change.database, change.table) not in repeats
        try:
            return self._conflicts.settle(connection, entry, tells_same=comes_once)
        except PlanError as exc:
            return self._unplanned(entry, exc)
        except PermanentError as exc:
            in_the_way = _row_in_the_way(connection, entry) if exc.code == DUPLICATE_CODE else ""
            return park_row(entry, f"{exc}{in_the_way}", code=exc.code)

    def _unplanned(self, entry: Entry[TablePlan], error: PlanError) -> ParkedChange:
        if isinstance(error, LossyValueError) and self._settings.lossy_values == "stop":
            raise StopError(f"{error}; nothing after it was applied") from error
        return park_row(entry, str(error))

    def _tell_missing(self, statement: RowStatement, matched: int) -> None:
        if statement.table not in self._told_missing:
            self._told_missing.add(statement.table)
            self._log.warning(
                "%s: %d of %d rows that the source has deleted or given another key were not there at the target:"
                " compare the table with the source (said once for the table)",
                statement.table, statement.held - matched, statement.held,
            )  # fmt: skip


def _row_in_the_way(connection: Connection, entry: Entry[TablePlan]) -> str:
    """The row that came, and the row that has the same value in a unique key at the target, as a sentence."""
    _, change, plan = entry
    names, queries = plan.rows_in_the_way(change.data)
    try:
        rows = [row for query in queries for row in connection.rows(query)]
        rows = rows or _row_met(connection, change, plan)
    except PermanentError:
        rows = []
    found = [dict(zip(names, row, strict=True)) for row in rows]
    there = "; ".join(dict.fromkeys(shorten(_as_json(row), _SHOWN) for row in found))
    return f"; the row that came: {show_image(change.data)}" + (f"; in its way: {there}" if there else "")


def _row_met(connection: Connection, change: RowChange, plan: TablePlan) -> list[tuple[Any, ...]]:
    """The row that an INSERT of the change's image meets, by a key that no condition was made for."""
    if not plan.schema.transactional:
        return []
    looks, ask = plan.row_in_the_way(change.data)
    connection.execute(b"SAVEPOINT one_look")
    try:
        for sql in looks:
            connection.execute(sql)
    finally:
        if connection.is_open():
            connection.execute(b"ROLLBACK TO SAVEPOINT one_look")
    return connection.rows(ask)


def _as_json(row: dict[str, object]) -> str:
    return str(msgspec.json.encode(row, enc_hook=str), "utf-8")
