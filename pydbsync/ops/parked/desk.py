"""Mends parked changes: retry in order, edit, skip; every step is written down.

A retry goes through the same planner as replay and commits the row together with its new status. The workers go on
meanwhile: a worker sees that nothing waits any more and applies later changes of the row itself again; what it parked
behind in between waits for the next retry.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from pydbsync.apply.catalog import LiveCatalog
from pydbsync.apply.ddl.running import run_planned
from pydbsync.apply.feeders import Feeders
from pydbsync.apply.mark import MarkedConnection
from pydbsync.apply.server_errors import DUPLICATE_CODE
from pydbsync.apply.tables.operator_audit import actor_here
from pydbsync.apply.tables.parked import read_rests
from pydbsync.config.settings import Settings
from pydbsync.decode.maxwell import decode_message
from pydbsync.engine.routing import router_from
from pydbsync.engine.table_plans import TablePlans
from pydbsync.errors import DecodeError, OperationError, PermanentError, PlanError
from pydbsync.model import Change, RowChange
from pydbsync.ops.parked.conflicts import NoConflict, ParkedConflicts
from pydbsync.ops.parked.foreign import Foreign
from pydbsync.ops.parked.retry import Retry, RetryOutcome
from pydbsync.ops.parked.select import Selection
from pydbsync.ops.parked.statements import ParkedStatements
from pydbsync.ops.parked.view import ALL, PAGE, UNREADABLE, ParkedView, is_schema_change
from pydbsync.plan.agreement import said_by
from pydbsync.plan.batch import RowBatch, single_statements
from pydbsync.plan.rows import TablePlan
from pydbsync.process.source_server import AskedSource


class ParkedDesk(ParkedView):
    """Mends what is parked, and writes down who did it."""

    def __init__(self, settings: Settings, log: logging.Logger, *, actor: str | None = None) -> None:
        """Connect to the target. `actor` is who is written down beside each step; without it the user of this process.

        Raises ConfigError, TransientError.
        """
        connection = MarkedConnection(
            settings.target.connect_keywords(), key=settings.target.key, read_timeout_s=600,
            schema=settings.state_schema, tool="parked",
        )  # fmt: skip
        super().__init__(settings, connection)
        self._actor = actor
        catalog = LiveCatalog(Feeders(schema=settings.state_schema))
        catalog.attach(connection)
        router = router_from(settings)
        asked = AskedSource(settings.source, log)
        self._plans = TablePlans(
            settings,
            router=router,
            catalog=catalog,
            log=log,
            ask_source=asked,
            ask_collation=asked.collation_of,
            ask_table=asked.table,
            keeps_others=True,
        )
        self._plans.attach()
        self._foreign = Foreign(settings, self._plans.target_columns)
        self._takes_unread = False
        self._conflicts = ParkedConflicts(connection, settings)
        self._statements = ParkedStatements(
            settings, connection, view=self, plans=self._plans, router=router,
            write_audits=self.write_audits,
        )  # fmt: skip

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def skip(self, selection: Selection, *, reason: str) -> int:
        """Give these up for good; how many. Raises OperationError without a reason, or if one that is named is not
        parked any more."""
        if not reason.strip():
            raise OperationError("a skip needs a reason: it is kept beside the change")
        for parked_id in selection.ids:
            self.still_parked(parked_id)
        where, values = self._where(selection)
        count = before = 0
        while True:
            found = self.rows(
                f"SELECT id FROM {self._table} WHERE status = 'parked' AND {where} AND id > %s"
                f" ORDER BY id LIMIT {PAGE}",
                (*values, before),
            )
            if not found:
                return count
            ids, before = [int(row[0]) for row in found], int(found[-1][0])
            with self._connection.transaction():
                still = self.rows(
                    f"SELECT id FROM {self._table} WHERE status = 'parked' AND id IN ({', '.join(map(str, ids))})"
                    " FOR UPDATE",
                    (),
                )
                skipped = [int(row[0]) for row in still]
                if skipped:
                    self._write_skipped(skipped, reason)
            count += len(skipped)

    def _write_skipped(self, ids: Sequence[int], reason: str) -> None:
        listed = ", ".join(map(str, ids))
        self._connection.run(f"UPDATE {self._table} SET status = 'skipped' WHERE id IN ({listed})")
        self._conflicts.write_skipped(self._table, listed)
        self.write_audits(ids, "skip", reason)

    def keep(self, parked_id: int, *, reason: str) -> None:
        """Skip one whose conflict is decided for the target's row: what of the change is in no conflict is made, and
        what cannot stay beside the target's row at the other end goes. Raises OperationError."""
        parked = self.still_parked(parked_id)
        with self._connection.transaction():
            for change in self._changes_of(parked_id):
                for plan, sent in self._plans.route(change):
                    if plan.conflicts is None or parked.target_database not in ("", plan.name.database):
                        continue
                    self._connection.execute(b"SAVEPOINT one_kept")
                    try:
                        self._conflicts.settle(parked.stream, sent, plan, take="target")
                    except NoConflict:  # whoever has written the row meanwhile has decided
                        self._connection.execute(b"ROLLBACK TO SAVEPOINT one_kept")
                    except (PlanError, PermanentError) as exc:
                        raise OperationError(f"parked {parked_id}: {exc}; it stays parked") from exc
            self._write_skipped([parked_id], reason)

    def _changes_of(self, parked_id: int) -> list[RowChange]:
        """What is parked, locked for the transaction under way. Raises OperationError."""
        found = self.changes([parked_id]).get(parked_id)
        if not isinstance(found, Sequence):
            raise OperationError(f"parked {parked_id} cannot be read, or is not parked any more: {found}")
        return [change for change in found if isinstance(change, RowChange)]

    def edit(self, parked_id: int, text: bytes, *, stream: str | None = None) -> None:
        """Have a retry use this message (or, for a schema change, this SQL) instead. Raises OperationError."""
        parked = self.still_parked(parked_id, stream=stream)
        if parked.text == text:
            raise OperationError(f"nothing was changed in {parked_id}")
        if not parked.is_schema_change:
            try:
                decode_message(text)
            except DecodeError as exc:
                raise OperationError(f"the edited text cannot be used: {exc}") from exc
        with self._connection.transaction():
            self._connection.run(f"UPDATE {self._table} SET edited = _binary %s WHERE id = %s", (text, parked_id))
            self.write_audits([parked_id], "edit", text.decode("utf-8", "backslashreplace"))

    def retry(self, selection: Selection = ALL, *, takes_unread: bool = False) -> Iterator[RetryOutcome]:
        """Apply these in order; one that another parked change blocks, or that is refused again, stays. All messages of
        one statement go together: it is run once. What was told is committed. `takes_unread`: those too that could not
        be read when they came, though later changes of their rows may have been applied."""
        self._takes_unread = takes_unread
        if selection.ids:
            self.count(selection)
        schema = self._settings.state_schema
        return Retry(self, self._statements, self._connection, table=self._table, schema=schema).run(selection)

    # -- steps of a retry --------------------------------------------------------------------------------------------

    def changes(self, ids: Sequence[int]) -> dict[int, Sequence[Change] | DecodeError]:
        """Of those that are still parked, what a retry applies; locked for the transaction under way."""
        if not ids:
            return {}
        found = self._connection.rows(
            f"SELECT id, kind, message, edited, input_format FROM {self._table}"
            f" WHERE id IN ({', '.join(map(str, ids))}) AND status = 'parked' FOR UPDATE"
        )
        rests = read_rests(self._connection, self._settings.state_schema, [int(row[0]) for row in found])
        changes: dict[int, Sequence[Change] | DecodeError] = {}
        for parked_id, kind, message, edited, input_format in found:
            whole = message + rests.get(int(parked_id), b"")
            try:
                if edited is None and kind == UNREADABLE:
                    changes[int(parked_id)] = self._foreign.changes(
                        input_format, whole, takes_unread=self._takes_unread
                    )  # fmt: skip
                else:
                    # Of an edited schema change `edited` is SQL; its message tells what it is.
                    takes_edited = edited is not None and not is_schema_change(kind)
                    changes[int(parked_id)] = [decode_message(edited if takes_edited else whole)]
            except DecodeError as exc:
                changes[int(parked_id)] = exc
        return changes

    def apply_row(self, stream: str, change: RowChange, target_database: str, *, is_left: bool) -> tuple[int, bool]:
        """Make the change of this stream, as part of the running transaction; how many statements it took, and whether
        all tables have transactions. `is_left`: what it waited behind was skipped, so that in a table of several
        sources the row of its key may be another one's. Raises PlanError then."""
        count, is_transactional = 0, True
        for plan, sent in self._plans.route(said_by(change, self._settings.source_state_schema) or change):
            if target_database and plan.name.database != target_database:
                continue  # parked once for each shard
            is_transactional = is_transactional and plan.schema.transactional
            if plan.conflicts is not None:
                count += self._conflicts.settle(stream, sent, plan)
                continue
            if is_left and plan.is_merged and plan.has_key and sent.kind in ("update", "delete"):
                self._refuse_another_row(sent, plan)
            for statement in single_statements(sent, plan, in_place=True):
                try:
                    run_planned(self._connection, statement)
                except PermanentError as exc:
                    if exc.code != DUPLICATE_CODE or not plan.keeps_others:
                        raise
                    raise PermanentError(
                        f"{exc}; a row that came later may have this value: retry it together with what waits behind"
                        " it, or skip it",
                        code=exc.code,
                    ) from exc
                count += 1
        return count, is_transactional

    def _refuse_another_row(self, change: RowChange, plan: TablePlan) -> None:
        old = plan.old_image(change)
        where = plan.shape_for(old).where_row(old, uses_key=True)
        if not self._connection.rows(b"SELECT 1 FROM %s WHERE %s" % (plan.quoted, where)):
            raise PlanError(
                f"several sources feed {plan.name}, what this {change.kind} waited behind was skipped, and the row of"
                " its key is not the one that it is about: skip it too"
            )

    def apply_batch(self, changes: Sequence[tuple[RowChange, str]]) -> bool:
        """Make these, each at a target database, as one batch, as part of the running transaction; False, with nothing
        done, where a conflict is to be decided or a table cannot take a refused change back."""
        batch = RowBatch()
        for change, target_database in changes:
            for plan, sent in self._plans.route(change):
                if target_database and plan.name.database != target_database:
                    continue  # parked once for each shard
                if plan.conflicts is not None or not plan.schema.transactional:
                    return False
                batch.add(sent, plan)
        for statement in batch.statements():
            run_planned(self._connection, statement)
        return True

    def write_found(self) -> None:
        """Write down the conflicts by which the change before was refused, once it is taken back."""
        self._conflicts.write_found()

    def write_audits(self, ids: Sequence[int], action: str, detail: str) -> None:
        """Write down who did this with these changes, as part of the running transaction if there is one."""
        actor = self._actor or actor_here()
        for start in range(0, len(ids), PAGE):
            part = ids[start : start + PAGE]
            self._connection.run(
                f"INSERT INTO {self._audit} (parked_id, action, actor, detail) SELECT id, %s, %s, %s"
                f" FROM {self._table} WHERE id IN ({', '.join(map(str, part))})",
                (action, actor, detail),
            )
