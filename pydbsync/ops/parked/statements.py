"""The retry of a schema change that was parked: run once, whatever breaks off, and written down before and behind."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Sequence

import msgspec

from pydbsync.apply.catalog import collation_of
from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.merged_sources import MergedSources
from pydbsync.apply.ddl.run_mark import RunMark, mark_of
from pydbsync.apply.ddl.schema_change import prove_passed_over, prove_refused, read_state, run_statement
from pydbsync.apply.feeders import Feeders
from pydbsync.config.settings import Settings
from pydbsync.decode.maxwell import decode_message
from pydbsync.engine.table_plans import TablePlans
from pydbsync.errors import PermanentError, PlanError
from pydbsync.model import Change, SchemaChange, TableName
from pydbsync.ops.parked.view import Parked, ParkedView
from pydbsync.plan.ddl.for_target import PlannedSchemaChange, Touched, plan_schema_change
from pydbsync.plan.quoting import quote_name
from pydbsync.route.router import Router

_MARKED, _BEGUN, _RAN = "mark", "begin", "ran"
"""What is written down of a statement before it, and behind it where it has a mark."""


def _is_of(change: Change, own: Change) -> bool:
    return isinstance(change, SchemaChange) and isinstance(own, SchemaChange) and change.sql == own.sql


class ParkedStatements:
    """Runs the statements of parked messages at the target."""

    def __init__(
        self,
        settings: Settings,
        connection: Connection,
        *,
        view: ParkedView,
        plans: TablePlans,
        router: Router,
        write_audits: Callable[[Sequence[int], str, str], None],
    ) -> None:
        self._settings, self._connection = settings, connection
        self._view = view
        self._plans, self._router = plans, router
        self._write_audits = write_audits
        schema = quote_name(settings.state_schema)
        self._table, self._audit = f"{schema}.`parked`", f"{schema}.`parked_audit`"

    def same(self, parked_id: int) -> list[int]:
        """The other messages of the same statement that are parked for the same shard, in order."""
        parked = self._view.named(parked_id)
        if parked.edited is not None or not parked.position:
            return []
        # By routes the tables of one statement may be in several databases.
        is_one = bool(self._router.tables) and not self._router.is_sharded(parked.source_database)
        found = self._connection.rows(
            f"SELECT id FROM {self._table} WHERE stream = %s AND status = 'parked' AND position = %s"
            " AND (%s OR target_database = %s) AND kind LIKE 'table-%%' AND id <> %s AND edited IS NULL ORDER BY id",
            (parked.stream, parked.position, is_one, parked.target_database, parked.id),
        )
        ids = [int(row[0]) for row in found]
        own = decode_message(parked.message)
        return [each.id for each in self._view.read(ids) if _is_of(decode_message(each.message), own)] if ids else []

    def apply(self, parked_id: int, others: Sequence[int]) -> str:
        """Run the statement, and mark all its messages; what ran."""
        parked = self._view.still_parked(parked_id)
        change = decode_message(parked.message)
        if not isinstance(change, SchemaChange):
            raise PlanError("this is no schema change")
        decoded = [decode_message(other.message) for other in self._view.read(others)] if others else []
        siblings = [message for message in decoded if isinstance(message, SchemaChange)]
        planned = self._plan(parked, change, siblings)
        if planned is None:
            raise PlanError("the filters leave the table out; skip it")
        schema = self._settings.state_schema
        sources = MergedSources(
            schema=schema, stream=parked.stream, feeders=Feeders(schema=schema, stream=parked.stream)
        )
        lock = f"pydbsync retry {schema[:32]} {parked.id}"
        if self._connection.value("SELECT GET_LOCK(%s, 0)", (lock,)) != 1:
            raise PlanError("another retry runs it now")
        try:
            if self._view.named(parked.id).status != "parked":
                raise PlanError("it is mended already, by somebody else")
            mark, has_run = self._begin(parked, planned)
            try:
                ran = "had run before an earlier retry was broken off"
                if not has_run:
                    ran = self._run(change, planned, mark, sources)
                if mark is not None:
                    self._write_audits([parked.id], _RAN, planned.sql)
            finally:
                if mark is not None and self._connection.is_open():
                    mark.clear(self._connection, lambda sql: None)
        finally:
            if self._connection.is_open():
                self._connection.value("SELECT RELEASE_LOCK(%s)", (lock,))
        self._plans.forget()
        ids = [parked.id, *others]
        with self._connection.transaction():
            self._connection.run(
                f"UPDATE {self._table} SET status = 'applied' WHERE id IN ({', '.join(map(str, ids))})"
            )
            self._write_audits(ids, "retry", ran)
            sources.ran_by_hand(self._connection, change, planned, ran)
        return ran

    def _begin(self, parked: Parked, planned: PlannedSchemaChange) -> tuple[RunMark | None, bool]:
        """Write down how the tables are before the statement; its mark, if it needs one, and whether it ran in an
        earlier retry that was broken off. Raises PlanError where that cannot be told: not every one may run twice."""
        about = planned
        if not planned.touched and planned.database is None:  # words of an operator
            name = TableName(parked.target_database, parked.target_table or parked.source_table)
            about = msgspec.structs.replace(planned, touched=(Touched(name, name),))
        state = repr(sorted(read_state(self._connection, about).items()))
        is_now = hashlib.sha1(f"{planned.sql}\0{state}".encode(), usedforsecurity=False).hexdigest()
        kept = dict(
            self._view.rows(
                f"SELECT action, detail FROM {self._audit} WHERE parked_id = %s AND id >= COALESCE((SELECT MAX(id) FROM"
                f" {self._audit} WHERE parked_id = %s AND action NOT IN ('{_MARKED}', '{_BEGUN}', '{_RAN}')), 0)"
                " ORDER BY id",
                (parked.id, parked.id),
            )
        )
        was, _, sql = str(kept.get(_BEGUN, "")).partition(" ")
        if sql == planned.sql:
            mark = RunMark.from_json(kept.get(_MARKED))
            if _RAN in kept or (mark is not None and mark.has_run(self._connection)):
                return mark, True
            if mark is None and was != is_now:
                raise PlanError(
                    "an earlier retry of it was broken off, and its tables are not as they were before that: look"
                    " whether it has run, then skip it, or retry it once more to run it"
                )
        own = hashlib.sha1(f"parked {parked.id}\0{planned.sql}".encode(), usedforsecurity=False).hexdigest()
        mark = mark_of(self._connection, planned, schema=self._settings.state_schema, about=own)
        if mark is not None:
            self._write_audits([parked.id], _MARKED, mark.to_json())
        self._write_audits([parked.id], _BEGUN, f"{is_now} {planned.sql}")
        return mark, False

    def _run(
        self, change: SchemaChange, planned: PlannedSchemaChange, mark: RunMark | None, sources: MergedSources
    ) -> str:
        """What ran, and why it is another text than that of the statement."""
        if mark is not None:
            with contextlib.suppress(PermanentError):  # without the mark it says the same, or runs
                run_statement(self._connection, planned, rest=mark.sql, why="")
                return f"ran {planned.sql}"
        passed: list[PermanentError] = []
        try:
            ran = run_statement(self._connection, planned, passed_over=passed.append)
        except PermanentError as exc:
            proof = prove_refused(self._connection, change, planned, exc, schema=self._settings.state_schema)
            if proof.rest:
                ran = run_statement(self._connection, planned, rest=proof.rest)
            elif proof.is_done:
                return "; ".join(filter(None, (f"not run, the target has all of it already ({exc})", proof.reason)))
            elif planned.is_merged and (ahead := sources.ahead(self._connection, change, planned)):
                return f"not run, the same statement of {ahead} has run here ({exc})"
            elif proof.reason:
                raise PermanentError(f"{exc}; {proof.reason}", code=exc.code) from exc
            else:
                raise
        if passed and planned.touched:
            schema = self._settings.state_schema
            lacks, _ = prove_passed_over(self._connection, change, planned, passed[0], schema=schema)
            if lacks:
                raise PermanentError(lacks, code=passed[0].code)
        return f"ran {ran.sql or 'nothing'}" + (f" ({ran.why})" if ran.why else "")

    def _plan(self, parked: Parked, change: SchemaChange, siblings: list[SchemaChange]) -> PlannedSchemaChange | None:
        def rename(database: str) -> str:
            return self._router.rename(database, shard_of=change.database, shard=parked.target_database or None)

        def in_scope(database: str, table: str | None) -> bool:
            if table is None:
                return self._router.filters.takes_database(database)
            return self._router.takes(TableName(database, table))

        if parked.edited is not None:
            # The operator's own words, for the target as they stand.
            sql = parked.edited.decode("utf-8")
            return PlannedSchemaChange(
                sql=sql, action="alter-table", default_database=parked.target_database or None, touched=(),
                database=None, ts=change.ts,
            )  # fmt: skip
        target = self._connection.dialect.server
        if change.kind == "table-create":
            there = parked.target_database or rename(change.database)
            target = target._replace(collation=collation_of(self._connection, there))
        name = TableName(change.database, change.table or "")
        is_merged = self._plans.are_merged(change, rename(change.database))
        planned = plan_schema_change(
            change, rename=rename, in_scope=in_scope, target=target, source=self._plans.source_of(change),
            siblings=siblings or None, is_merged=is_merged,
            routes=self._plans.table_routes(change.database, rename(change.database)),
        )  # fmt: skip
        return planned and msgspec.structs.replace(planned, source=self._router.source_name(name))
