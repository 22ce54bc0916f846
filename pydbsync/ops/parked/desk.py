"""Looks at parked changes and mends them: retry in order, edit, skip; every step is written down.

A retry goes through the same planner as replay and commits the row together with its new status. The workers go on
meanwhile: a worker sees that nothing waits any more and applies later changes of the row itself again; what it parked
behind in between waits for the next retry.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import logging
from collections.abc import Collection, Iterator, Sequence
from typing import Any

import msgspec

from pydbsync.apply.catalog import LiveCatalog, collation_of, read_table
from pydbsync.apply.ddl.merged_sources import MergedSources
from pydbsync.apply.ddl.run_mark import RunMark, mark_of
from pydbsync.apply.ddl.running import run_planned
from pydbsync.apply.ddl.schema_change import prove_passed_over, prove_refused, read_state, run_statement
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
from pydbsync.model import Change, RowChange, SchemaChange, TableName, TableSchema
from pydbsync.ops.parked.conflicts import NoConflict, ParkedConflicts
from pydbsync.ops.parked.counts import Count, counts_by, shape_of
from pydbsync.ops.parked.foreign import Foreign
from pydbsync.ops.parked.retry import Retry, RetryOutcome
from pydbsync.ops.parked.select import Selection, WhereClause
from pydbsync.plan.agreement import said_by
from pydbsync.plan.batch import RowBatch, single_statements
from pydbsync.plan.ddl.for_target import PlannedSchemaChange, Touched, plan_schema_change
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.rows import TablePlan
from pydbsync.process.source_server import AskedSource

ALL = Selection()
UNREADABLE = "unreadable"
_MARKED, _BEGUN, _RAN = "mark", "begin", "ran"
"""What is written down of a statement before it, and behind it where it has a mark."""
_PAGE = 2000
_BRIEF_REASON = 1000
_GROUP = 250
_GROUP_BYTES = 8 * 2**20


class Parked(msgspec.Struct, frozen=True):
    """One row of the table `parked`."""

    id: int
    stream: str
    status: str
    position: str
    kind: str
    source_database: str
    source_table: str
    target_database: str
    target_table: str
    behind: int | None
    reason: str
    code: int
    parked_at: dt.datetime
    is_whole_table: bool
    row_keys: tuple[bytes, ...]
    message: bytes
    edited: bytes | None
    input_format: str
    """What the message is of; another than maxwell for one that could not be read."""

    @property
    def is_schema_change(self) -> bool:
        """Whether it is a message of a DDL statement."""
        return _is_schema_change(self.kind)

    @property
    def target(self) -> TableName:
        """The table that it would have changed; a database itself has no table."""
        return TableName(self.target_database or self.source_database, self.target_table or self.source_table)

    @property
    def source(self) -> TableName:
        """The table that it comes from."""
        return TableName(self.source_database, self.source_table)

    @property
    def text(self) -> bytes:
        """What a retry uses: the edited message or SQL, else the message as it arrived."""
        return self.message if self.edited is None else self.edited


class Brief(msgspec.Struct, frozen=True):
    """One row of the table `parked` without its message."""

    id: int
    stream: str
    status: str
    kind: str
    source_database: str
    source_table: str
    target_database: str
    behind: int | None
    reason: str
    """The beginning of it."""
    code: int
    age_s: float
    size_bytes: int
    """Of the message."""
    is_edited: bool

    @property
    def source(self) -> TableName:
        """The table that it comes from."""
        return TableName(self.source_database, self.source_table)


def _is_schema_change(kind: str) -> bool:
    return kind.startswith(("table-", "database-"))


def _read_keys(packed: bytes) -> tuple[bytes, ...]:
    return tuple(msgspec.msgpack.decode(packed, type=list[bytes]))


def _is_of(change: Change, own: Change) -> bool:
    return isinstance(change, SchemaChange) and isinstance(own, SchemaChange) and change.sql == own.sql


class ParkedDesk:
    """The operator's view of all parked changes of one state schema."""

    def __init__(self, settings: Settings, log: logging.Logger, *, actor: str | None = None) -> None:
        """Connect to the target. `actor` is who is written down beside each step; without it the user of this process.

        Raises ConfigError, TransientError.
        """
        self._settings = settings
        self._actor = actor
        self._connection = MarkedConnection(
            settings.target.connect_keywords(), key=settings.target.key, read_timeout_s=600,
            schema=settings.state_schema, tool="parked",
        )  # fmt: skip
        schema = quote_name(settings.state_schema)
        self._table, self._audit = f"{schema}.`parked`", f"{schema}.`parked_audit`"
        self._pieces = f"{schema}.`parked_piece`"
        catalog = LiveCatalog(Feeders(schema=settings.state_schema))
        catalog.attach(self._connection)
        self._router = router_from(settings)
        asked = AskedSource(settings.source, log)
        self._plans = TablePlans(
            settings,
            router=self._router,
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
        self._conflicts = ParkedConflicts(self._connection, settings)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def find(self, selection: Selection = ALL) -> Iterator[Parked]:
        """Parked changes in order, read as they are asked for. Raises OperationError."""
        for group in self._groups(selection):
            yield from self._read(group)

    def named(self, parked_id: int, *, stream: str | None = None) -> Parked:
        """The one with this id. Raises OperationError."""
        return next(self.find(Selection(ids=(parked_id,), stream=stream)))

    def briefs(self, selection: Selection, *, above: int = 0, limit: int) -> list[Brief]:
        """The next of them in order, those with an id above this one; no message is read."""
        where, values = self._where(selection)
        pieces = f"(SELECT SUM(LENGTH(piece)) FROM {self._pieces} WHERE parked_id = id)"
        found = self._rows(
            "SELECT id, stream, status, kind, source_database, source_table, target_database, behind,"
            f" LEFT(reason, {_BRIEF_REASON}), code, TIMESTAMPDIFF(SECOND, parked_at, CURRENT_TIMESTAMP),"
            f" CAST(LENGTH(message) + COALESCE({pieces}, 0) AS UNSIGNED), edited IS NOT NULL FROM {self._table}"
            f" WHERE {where} AND id > %s ORDER BY id LIMIT {int(limit)}",
            (*values, above),
        )
        return [
            msgspec.convert(dict(zip(Brief.__struct_fields__, row, strict=True)), Brief, strict=False) for row in found
        ]

    def target_table(self, name: TableName) -> TableSchema | None:
        """The table as the target's catalogue describes it now; None where there is none."""
        return read_table(self._connection, name)

    def count(self, selection: Selection) -> int:
        """How many are meant. Raises OperationError where one that is named is not there."""
        where, values = self._where(selection)
        count = int(self._rows(f"SELECT COUNT(*) FROM {self._table} WHERE {where}", values)[0][0])
        if selection.ids and count < len(set(selection.ids)):
            found = {each for group in self._groups(selection, checks=False) for each in group}
            if missing := set(selection.ids) - found:
                raise OperationError(f"there is no parked change {min(missing)}")
        return count

    def counts(self, selection: Selection, *, by: Collection[str]) -> list[Count]:
        """How many are meant, by what is alike in `by`; the most first."""
        where, values = self._where(selection)
        group = "stream, source_database, source_table, kind, code, LEFT(reason, 1000), behind IS NOT NULL"
        found = self._rows(
            f"SELECT {group}, COUNT(*), MIN(id), MIN(parked_at) FROM {self._table} WHERE {where} GROUP BY {group}",
            values,
        )
        return counts_by(found, by)

    def groups(self, selection: Selection, *, limit: int) -> list[Count]:
        """How many are meant, by table and error number, each with the reason of its first: quick with many."""
        where, values = self._where(selection)
        found = self._rows(
            "SELECT source_database, source_table, code, COUNT(*), CAST(SUM(behind IS NOT NULL) AS UNSIGNED), MIN(id),"
            f" MIN(parked_at) FROM {self._table} WHERE {where} GROUP BY source_database, source_table, code"
            f" ORDER BY COUNT(*) DESC, MIN(id) LIMIT {int(limit)}",
            values,
        )
        ids = ", ".join(str(int(row[5])) for row in found)
        reasons = (
            dict(self._rows(f"SELECT id, LEFT(reason, {_BRIEF_REASON}) FROM {self._table} WHERE id IN ({ids})", ()))
            if ids
            else {}
        )
        return [
            Count(
                count=int(count), waiting=int(waiting), first_id=int(first), oldest=oldest, table=f"{database}.{table}",
                code=int(code), reason=shape_of(str(reasons.get(first, ""))),
            )
            for database, table, code, count, waiting, first, oldest in found
        ]  # fmt: skip

    def _where(self, selection: Selection) -> WhereClause:
        try:
            return selection.condition(self._connection, self._settings.state_schema)
        except PermanentError as exc:
            raise self._unreadable(exc) from exc

    def _rows(self, sql: str, values: tuple[object, ...]) -> list[tuple[Any, ...]]:
        try:
            return self._connection.rows(sql, values)
        except PermanentError as exc:
            raise self._unreadable(exc) from exc

    def _unreadable(self, error: PermanentError) -> OperationError:
        return OperationError(f"the state schema {self._settings.state_schema!r} cannot be read in the target: {error}")

    def _groups(self, selection: Selection, *, checks: bool = True) -> Iterator[list[int]]:
        """Ids in order, so many as may be held with their messages."""
        if checks and selection.ids:
            self.count(selection)
        where, values = self._where(selection)
        pieces = f"(SELECT SUM(LENGTH(piece)) FROM {self._pieces} WHERE parked_id = id)"
        group: list[int] = []
        before = size_bytes = 0
        while True:
            found = self._rows(
                f"SELECT id, LENGTH(message) + COALESCE({pieces}, 0) FROM {self._table}"
                f" WHERE {where} AND id > %s ORDER BY id LIMIT {_PAGE}",
                (*values, before),
            )
            for parked_id, size in found:
                if group and (len(group) >= _GROUP or size_bytes + int(size) > _GROUP_BYTES):
                    yield group
                    group, size_bytes = [], 0
                group.append(int(parked_id))
                size_bytes += int(size)
            if len(found) < _PAGE:
                break
            before = int(found[-1][0])
        if group:
            yield group

    def _read(self, ids: Sequence[int]) -> Iterator[Parked]:
        found = self._rows(
            "SELECT id, stream, status, position, kind, source_database, source_table,"
            " target_database, target_table, behind, reason, code, parked_at, is_whole_table, row_keys, message,"
            f" edited, input_format FROM {self._table} WHERE id IN ({', '.join(map(str, ids))}) ORDER BY id",
            (),
        )
        rests = read_rests(self._connection, self._settings.state_schema, [int(row[0]) for row in found])
        for row in found:
            yield msgspec.convert(
                {
                    **dict(zip(Parked.__struct_fields__, row, strict=True)),
                    "row_keys": _read_keys(row[14]),
                    "message": row[15] + rests.get(int(row[0]), b""),
                },
                Parked,
                strict=False,
            )

    def history(self, parked_id: int, *, stream: str | None = None) -> list[tuple[str, str, str, dt.datetime]]:
        """(action, actor, detail, when) of one parked change."""
        return [
            (str(action), str(actor), str(detail), done_at)
            for action, actor, detail, done_at in self._connection.rows(
                f"SELECT action, actor, detail, done_at FROM {self._audit} WHERE parked_id = %s ORDER BY id",
                (parked_id,),
            )
        ]

    def skip(self, selection: Selection, *, reason: str) -> int:
        """Give these up for good; how many. Raises OperationError without a reason, or if one that is named is not
        parked any more."""
        if not reason.strip():
            raise OperationError("a skip needs a reason: it is kept beside the change")
        for parked_id in selection.ids:
            self._still_parked(parked_id)
        where, values = self._where(selection)
        count = before = 0
        while True:
            found = self._rows(
                f"SELECT id FROM {self._table} WHERE status = 'parked' AND {where} AND id > %s"
                f" ORDER BY id LIMIT {_PAGE}",
                (*values, before),
            )
            if not found:
                return count
            ids, before = [int(row[0]) for row in found], int(found[-1][0])
            with self._connection.transaction():
                still = self._rows(
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
        parked = self._still_parked(parked_id)
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
        parked = self._still_parked(parked_id, stream=stream)
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
        return Retry(self, self._connection, table=self._table, schema=schema).run(selection)

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
                    takes_edited = edited is not None and not _is_schema_change(kind)
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

    def same_statement(self, parked_id: int) -> list[int]:
        """The other messages of the same statement that are parked for the same shard, in order."""
        parked = self.named(parked_id)
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
        return [each.id for each in self._read(ids) if _is_of(decode_message(each.message), own)] if ids else []

    def apply_schema_change(self, parked_id: int, others: Sequence[int]) -> str:
        """Run the statement, and mark all its messages; what ran."""
        parked = self._still_parked(parked_id)
        change = decode_message(parked.message)
        if not isinstance(change, SchemaChange):
            raise PlanError("this is no schema change")
        decoded = [decode_message(other.message) for other in self._read(others)] if others else []
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
            if self.named(parked.id).status != "parked":
                raise PlanError("it is mended already, by somebody else")
            mark, has_run = self._begin(parked, planned)
            try:
                ran = "had run before an earlier retry was broken off"
                if not has_run:
                    ran = self._run(change, planned, mark, sources)
                if mark is not None:
                    self.write_audits([parked.id], _RAN, planned.sql)
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
            self.write_audits(ids, "retry", ran)
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
            self._rows(
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
            self.write_audits([parked.id], _MARKED, mark.to_json())
        self.write_audits([parked.id], _BEGUN, f"{is_now} {planned.sql}")
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

    def _still_parked(self, parked_id: int, *, stream: str | None = None) -> Parked:
        parked = self.named(parked_id, stream=stream)
        if parked.status != "parked":
            raise OperationError(f"{parked_id} is {parked.status} already")
        return parked

    def write_audits(self, ids: Sequence[int], action: str, detail: str) -> None:
        """Write down who did this with these changes, as part of the running transaction if there is one."""
        actor = self._actor or actor_here()
        for start in range(0, len(ids), _PAGE):
            part = ids[start : start + _PAGE]
            self._connection.run(
                f"INSERT INTO {self._audit} (parked_id, action, actor, detail) SELECT id, %s, %s, %s"
                f" FROM {self._table} WHERE id IN ({', '.join(map(str, part))})",
                (action, actor, detail),
            )
