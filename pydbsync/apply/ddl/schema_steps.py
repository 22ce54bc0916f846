"""A schema change in its two steps: the intent before the statement, its end with the checkpoint after it."""

from __future__ import annotations

import logging
from functools import partial
from typing import NamedTuple

from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.clause_proof import Proof
from pydbsync.apply.ddl.merged_sources import MergedSources
from pydbsync.apply.ddl.run_mark import MARK, RunMark, mark_of
from pydbsync.apply.ddl.schema_change import (
    RAN,
    JournalEntry,
    SchemaJournal,
    prove_passed_over,
    prove_refused,
    read_state,
    run_statement,
    statement_hash,
)
from pydbsync.apply.feeders import Feeders
from pydbsync.apply.parking import Parking
from pydbsync.apply.retrying import Retrying
from pydbsync.apply.session import StreamSession
from pydbsync.backoff import Backoff
from pydbsync.config.settings import Settings
from pydbsync.errors import PermanentError, StopError, TransientError
from pydbsync.killpoints import kill_point
from pydbsync.model import SchemaChange, TableName
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.lexer import shorten
from pydbsync.work import ParkedChange, SchemaStep, StreamState, describe_change, held_by, key_of_table


class _RunEnd(NamedTuple):
    """How the run of a statement went."""

    failure: PermanentError | None = None
    note: str = ""
    """What is otherwise than that the whole statement ran."""
    is_run: bool = True
    """Whether the target has run it, or a part of it."""


class SchemaSteps:
    """Runs the schema changes of one stream."""

    def __init__(
        self, settings: Settings, *, session: StreamSession, parking: Parking, stream: str, log: logging.Logger
    ) -> None:
        self._settings = settings
        self._session = session
        self._parking = parking
        self._journal = SchemaJournal(schema=settings.state_schema, stream=stream)
        self._feeders = Feeders(schema=settings.state_schema, stream=stream)
        self._sources = MergedSources(schema=settings.state_schema, stream=stream, feeders=self._feeders)
        self._log = log

    def use(self, settings: Settings) -> None:
        """These hold from now on."""
        self._settings = settings

    def has_decided(self, step: SchemaStep[PlannedSchemaChange]) -> bool:
        """Whether the journal knows what became of the statement."""
        _, entry = self._find(step)
        return entry is not None and entry.status != "intent"

    def has_begun(self, step: SchemaStep[PlannedSchemaChange]) -> bool:
        """Whether the statement may have run before the last stop."""
        return self._find(step)[1] is not None

    def _find(self, step: SchemaStep[PlannedSchemaChange]) -> tuple[str, JournalEntry | None]:
        digest = statement_hash(step.change, step.planned)
        found = self._session.repeat(
            lambda connection: self._journal.find(connection, digest, partial(self._feeders.apart, connection))
        )
        return found or (digest, None)

    def run(self, step: SchemaStep[PlannedSchemaChange], state: StreamState) -> str:
        """Run one DDL statement and store the state; what became of it: done, skipped, parked, or "again" where it had
        run before.

        Waits while the target is away. Raises StopError by policy.
        """
        change, planned, policy = step.change, step.planned, step.policy
        digest, entry = self._find(step)
        status, note = "done", "; ".join(planned.notes)
        failure: PermanentError | None = None
        ending = _RunEnd(is_run=False)
        if entry is not None and entry.status != "intent":
            status, note = entry.status, entry.note
            self._log.debug("schema change at %s has run already: %s", change.position, planned.sql)
        elif policy in ("skip", "park", "stop"):
            if policy == "stop":
                raise StopError(f"a schema change came and the policy says stop: {planned.sql}")
            status = "skipped" if policy == "skip" else "parked"
            why = step.why or "the policy for this kind of schema change is park"
            failure, note = (PermanentError(why), why) if policy == "park" else (None, note)
            self._write_intent(digest, change, planned, before={}, state=state)
        else:
            ending = self._run_once(digest, change, planned, entry=entry, state=state)
            failure = ending.failure
            if failure is not None:
                status, note = "parked", str(failure)
            elif ending.note:
                note = ending.note
        body = step.messages[0].delivery.body
        parked = park_schema(change, planned, body, failure) if failure is not None else None
        try:
            if parked is not None:
                self._parking.refuse_if_stopping(parked)
            self._write_end(digest, status, note, state, parked, planned)
        except StopError:
            if parked is not None:  # not where it ran: the next start must find that it has
                self._session.repeat(lambda connection: self._journal.forget_intent(connection, digest))
            raise
        self._session.catalog.forget()
        if entry is None or entry.status == "intent":
            self._tell(planned, status, note, ending)
        return "again" if status == "done" and not ending.is_run else status

    def _tell(self, planned: PlannedSchemaChange, status: str, note: str, ending: _RunEnd) -> None:
        """Say what became of the statement; never that something ran which did not."""
        sql = shorten(planned.sql, 300)
        if status != "done":
            why = f" ({note})" if status == "parked" else ""
            self._log.warning("schema change %s: %s%s", status, sql, why)
        elif not ending.is_run:
            self._log.info("schema change %s: %s", note, sql)
        elif ending.note:
            self._log.info("schema change: %s", note)
        else:
            self._log.info("schema change: %s%s", sql, f" ({note})" if note else "")

    def _run_once(
        self,
        digest: str,
        change: SchemaChange,
        planned: PlannedSchemaChange,
        *,
        entry: JournalEntry | None,
        state: StreamState,
    ) -> _RunEnd:
        """Run the statement, or what the target lacks of it, once whatever is lost on the way."""
        begun = self._begin(digest, change, planned, state) if entry is None else self._take_up(digest, planned, entry)
        if isinstance(begun, _RunEnd):
            return begun
        if planned.is_merged:
            taken = self._session.repeat(lambda connection: self._sources.collision(connection, change, planned))
            if taken:
                return _RunEnd(PermanentError(taken))
        retrying = Retrying(
            Backoff(self._settings.retry.first_s, self._settings.retry.max_s),
            stop=self._session.stop,
            log=self._log,
            says="a schema change was interrupted, trying again",
            stopped="stopped while a schema change could not be run",
        )
        before, mark = begun
        rest, why = mark.sql if mark is not None else "", ""
        while True:
            try:
                connection = self._session.connection
                passed: list[PermanentError] = []
                ran = run_statement(
                    connection, planned, stop=self._session.stop, rest=rest, why=why,
                    announce=partial(self._journal.announce, connection, digest),
                    passed_over=passed.append,
                )  # fmt: skip
            except TransientError as exc:
                retrying.failed(exc, self._session.drop_connection)
                # The lock of the lost connection is free only when its statement has ended, so what is seen is final.
                if self._has_run(planned, before, mark):
                    self._clear(digest, mark)
                    return _RunEnd()
            except PermanentError as exc:
                if mark is not None:  # without the mark it says the same, or runs
                    self._session.repeat(partial(mark.clear, announce=lambda sql: None))
                    rest, mark = "", None
                    continue
                if rest:
                    return _RunEnd(exc)
                left = self._left_of(change, planned, exc)
                if isinstance(left, _RunEnd):
                    return left
                rest, why = left, "left out what the target has already"
            else:
                kill_point("after-ddl")
                self._clear(digest, mark)
                if passed and (lacks := self._passed_over(change, planned, passed[0])):
                    return _RunEnd(PermanentError(lacks, code=passed[0].code))
                note = f"{ran.why}; ran: {ran.sql or 'nothing'}" if ran.why else ""
                return _RunEnd(note=note, is_run=ran.sql is not None)

    def _begin(
        self, digest: str, change: SchemaChange, planned: PlannedSchemaChange, state: StreamState
    ) -> tuple[dict[str, str | None], RunMark | None] | _RunEnd:
        """Write the intent of a statement that was never begun, with what `_look` has seen."""
        try:
            seen = self._session.repeat(lambda connection: self._look(connection, digest, planned))
        except PermanentError as exc:  # a name that the target refuses, or a table that the user may not see
            self._write_intent(digest, change, planned, before={}, state=state)
            return _RunEnd(exc)
        before, mark = seen or ({}, None)
        kept = before if mark is None else {**before, MARK: mark.to_json()}
        self._write_intent(digest, change, planned, before=kept, state=state)
        kill_point("after-intent")
        return before, mark

    def _take_up(
        self, digest: str, planned: PlannedSchemaChange, entry: JournalEntry
    ) -> tuple[dict[str, str | None], RunMark | None] | _RunEnd:
        """Go on with a statement whose intent was written before the last stop; its end, if it has run."""
        before = dict(entry.before)
        mark = RunMark.from_json(before.pop(MARK, None))
        if entry.note == RAN or self._has_run(planned, before, mark):
            self._log.info("the schema change had run before the last stop: %s", planned.sql)
            self._clear(digest, mark)
            return _RunEnd()
        return before, mark

    def _left_of(self, change: SchemaChange, planned: PlannedSchemaChange, error: PermanentError) -> _RunEnd | str:
        """Of a statement that was refused, the clauses that the target lacks and can be run alone; else its end."""
        proof = self._prove(change, planned, error)
        if proof.is_done and proof.reason:
            self._log.warning("%s", proof.reason)
            return _RunEnd(note=f"not run: {error}; {proof.reason}", is_run=False)
        if proof.is_done:
            return _RunEnd(note=f"not run, the target has all of it already ({error})", is_run=False)
        ahead = self._ahead(change, planned) if planned.is_merged and not proof.rest else None
        if ahead is not None:
            return _RunEnd(note=f"not run, the same statement of {ahead} has run here ({error})", is_run=False)
        if not proof.rest:
            return _RunEnd(PermanentError(f"{error}; {proof.reason}", code=error.code) if proof.reason else error)
        return proof.rest

    def _look(
        self, connection: Connection, digest: str, planned: PlannedSchemaChange
    ) -> tuple[dict[str, str | None], RunMark | None]:
        """How the tables are before the statement, and the mark by which alone it would show that it ran."""
        before = read_state(connection, planned)
        return before, mark_of(connection, planned, schema=self._settings.state_schema, about=digest)

    def _has_run(self, planned: PlannedSchemaChange, before: dict[str, str | None], mark: RunMark | None) -> bool:
        """Whether a statement whose end is not known has run."""
        if mark is not None:
            return bool(self._session.repeat(mark.has_run))
        return self._session.repeat(lambda connection: read_state(connection, planned)) != before

    def _clear(self, digest: str, mark: RunMark | None) -> None:
        """Take the mark away, once it is written down what it says."""
        if mark is None:
            return

        def clear(connection: Connection) -> None:
            self._journal.write_run(connection, digest)
            kill_point("after-run-mark")
            mark.clear(connection, partial(self._journal.announce, connection, digest))

        self._session.repeat(clear)

    def _passed_over(self, change: SchemaChange, planned: PlannedSchemaChange, note: PermanentError) -> str:
        """What the target lacks of a statement since it took a part of it for done; empty where nothing is known to
        be lacking."""
        schema = self._settings.state_schema
        found = self._session.repeat(
            lambda connection: prove_passed_over(connection, change, planned, note, schema=schema)
        )
        lacks, told = found or ("", [])
        for text in told:
            self._log.warning("%s", text)
        return lacks

    def _ahead(self, change: SchemaChange, planned: PlannedSchemaChange) -> str | None:
        return self._session.repeat(lambda connection: self._sources.ahead(connection, change, planned))

    def _prove(self, change: SchemaChange, planned: PlannedSchemaChange, error: PermanentError) -> Proof:
        schema = self._settings.state_schema
        found = self._session.repeat(
            lambda connection: prove_refused(connection, change, planned, error, schema=schema)
        )
        return found or Proof()

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
        current = self._session.state if self._session.state is not None else state

        def write(connection: Connection) -> None:
            with connection.transaction():
                self._session.row.write(connection, current)
                self._journal.write_intent(connection, digest, change, planned=planned, before=before)
                self._sources.write(connection, digest, change, planned)

        self._session.repeat(write)

    def _write_end(
        self,
        digest: str,
        status: str,
        note: str,
        state: StreamState,
        parked: ParkedChange | None,
        planned: PlannedSchemaChange,
    ) -> None:
        coming = [parked] if parked is not None else []

        def write(connection: Connection) -> list[int]:
            with connection.transaction():
                self._session.row.write(connection, state)
                self._journal.write_end(connection, digest, planned, status=status, note=note)
                self._parking.write(connection, coming)
                self._parking.check_limit(connection, len(coming))
                void = self._parking.void(connection, planned) if status == "done" and self._parking.rows else []
                kill_point("before-commit")
            return void

        void = self._session.repeat(write, expected_commits=state.commits)
        self._session.state = state
        if void:
            self._log.warning(
                "%d parked change(s) are void, their rows went with: %s (ids %s)", len(void), planned.sql,
                ", ".join(map(str, void[:20])),
            )  # fmt: skip
        if coming or void or void is None:
            self._parking.reload()


def park_schema(
    change: SchemaChange, planned: PlannedSchemaChange, body: bytes, failure: PermanentError
) -> ParkedChange:
    """The record of a schema change that is not applied."""
    kind, position, source = describe_change(change)
    database, table = planned.database or planned.default_database or change.database, ""
    if planned.touched:
        name = next(name for name in (*planned.touched[0],) if name is not None)
        database, table = name.database, name.table if planned.is_routed and name.table != source.table else ""
    is_whole, keys = held_by(kind, TableName(database, table or source.table))
    return ParkedChange(
        message=body, reason=f"{failure}: {planned.sql}", code=failure.code, kind=kind, position=position,
        source=source, target_database=database, target_table=table, is_whole_table=is_whole,
        row_keys=(*keys, *map(key_of_table, planned.holds)),
    )  # fmt: skip
