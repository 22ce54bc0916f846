"""Finds changes that are in conflict with the target's rows, decides them and writes down each one, in the transaction
that applies the rest.

A batch is looked at in a few locking reads, which tell only whether each row is as its change expects it; most batches
go on as ever then. Where one is not, all of the batch is made change by change: each row is read and locked, compared
and decided, and sees what the batch itself has written before. Between such a read and the write somebody may insert
the row all the same, since what is not there cannot be locked: nothing is written over then, the server refuses it as a
duplicate, and it is looked at again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from pydbsync.apply.agreement import Agreement
from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.running import run_planned
from pydbsync.apply.server_errors import DUPLICATE_CODE
from pydbsync.apply.tables.conflict import ConflictTable
from pydbsync.errors import OperationError, PermanentError, PlanError
from pydbsync.killpoints import kill_point
from pydbsync.model import NO_JSON, RowChange, TableName
from pydbsync.plan.agreement import AGREE, ASK, DIFFER, INSIST, TELL, SaidOfRow, Saying
from pydbsync.plan.batch import single_statements
from pydbsync.plan.canonical import canonical_bytes
from pydbsync.plan.conflicts import (
    ChangedPart,
    ConflictState,
    Decision,
    Expected,
    decide,
    look_at_holders,
    look_at_key,
    parts_of,
    unique_conditions,
)
from pydbsync.plan.images import image_expression, image_token
from pydbsync.plan.row_statements import RowStatement, respell, shape_of, where_key
from pydbsync.plan.rows import TablePlan
from pydbsync.work import Conflict, Entry, ParkedChange, describe_change, park_row

_TRIES = 5
_FOUND_TEXT = {
    "exists": "the target has a row under its key already",
    "changed": "the target's row was changed",
    "missing": "the target has no such row",
    "unique": "another row of the target holds its unique value",
}


class TargetRow(NamedTuple):
    """A row of the target."""

    as_before: bool
    as_after: bool
    comparison: int
    image: msgspec.Raw | None
    note: str
    """Why it has no image."""


class _Holder(NamedTuple):
    """A row of the target that holds a unique value of the row that comes."""

    there: TargetRow
    condition: bytes
    decision: Decision


class _Judged(NamedTuple):
    """One part of a change beside what the target has."""

    part: ChangedPart
    there: TargetRow | None
    found: ConflictState | None
    """None where all is as expected."""
    decision: Decision | None
    holders: list[_Holder]

    @property
    def is_in_conflict(self) -> bool:
        return self.found is not None or bool(self.holders)

    @property
    def must_wait(self) -> bool:
        return self.decision == "parked" or any(each.decision == "parked" for each in self.holders)

    @property
    def is_made(self) -> bool:
        """Whether the part of the change is made."""
        return self.decision in (None, "source")


class ConflictFinder:
    """Looks for the conflicts of one stream."""

    def __init__(self, *, schema: str, stream: str, agreement: Agreement | None = None) -> None:
        """`agreement` talks with the other end of the rows that were in conflict, where there is one."""
        self._table = ConflictTable(schema=schema, stream=stream)
        self._agreement = agreement
        self.decided: list[Conflict] = []
        """Those of the transaction that was begun last."""

    def begin(self, connection: Connection) -> None:
        """Another transaction begins."""
        self.decided = []
        if self._agreement is not None:
            self._agreement.begin(connection)

    def are_in(self, connection: Connection, entries: Sequence[Entry[TablePlan]]) -> Generator[None, None, bool]:
        """Whether a change may be in conflict, so that each has to be settled by itself; yields whenever an answer is
        waited for."""
        try:
            expected = Expected()
            for _, change, plan in entries:
                if plan.conflicts is None:
                    continue
                if refusal(plan) or isinstance(change, SaidOfRow) or not expected.add(change, plan):
                    return True
            for statement in expected.statements():
                if len(statement.sql) + 64 > connection.max_allowed_packet:
                    return True
                connection.send(statement.sql)
                yield
                if connection.receive() != statement.affected:
                    return True
        except PlanError:
            return True  # said of the one change that it is about
        if self._agreement is not None:
            self._agreement.touch(connection, entries)
        return False

    def settle(
        self, connection: Connection, entry: Entry[TablePlan], *, tells_same: bool, is_told: bool = False
    ) -> ParkedChange | None:
        """Make one change, or leave the target's row, as is decided; its record if it is to be parked. With
        `tells_same` it is written down too where both sides have done the same; nothing is where it `is_told` already.

        Raises PermanentError, PlanError; nothing of it is done then.
        """
        if sentence := refusal(entry[2]):
            return park_row(entry, sentence)
        if self._agreement is not None:
            self._agreement.touch(connection, (entry,))
        for again in reversed(range(_TRIES)):
            connection.execute(b"SAVEPOINT one_decision")
            try:
                parked, conflicts = self._settle(connection, entry)
                told = [each for each in conflicts if tells_same or each.decision != "same"]
                for each in () if is_told else told:
                    self._table.write(connection, each)
                break
            except (PermanentError, PlanError) as exc:
                connection.execute(b"ROLLBACK TO SAVEPOINT one_decision")
                # Somebody has inserted it since we looked: now it is there to be seen.
                if not again or not isinstance(exc, PermanentError) or exc.code != DUPLICATE_CODE:
                    raise
        self.decided += told
        if told:
            kill_point("after-conflict")
        return parked

    def _settle(self, connection: Connection, entry: Entry[TablePlan]) -> tuple[ParkedChange | None, list[Conflict]]:
        _, change, plan = entry
        if isinstance(change, SaidOfRow):
            return None, self._hear(connection, change, plan)
        judged: list[_Judged] = []
        moved: msgspec.Raw | None = None
        for part in parts_of(change, plan):
            judged.append(_judge(connection, plan, part, moved))
            if part.after is None and judged[-1].decision != "target":
                moved = part.before  # its unique values go with it
        waits = any(each.must_wait for each in judged)
        conflicts = [conflict for each in judged for conflict in _told(change, plan, each, waits=waits)]
        if waits:
            return park_row(entry, _sentence(conflicts)), conflicts
        if not any(each.is_in_conflict for each in judged):
            statements: Iterable[RowStatement] = single_statements(change, plan, in_place=True)
        else:
            statements = (statement for each in judged if each.is_made for statement in _writes(plan, each))
        for statement in statements:
            run_planned(connection, statement)
        return None, self._speak_of(connection, plan, judged, conflicts)

    def _speak_of(
        self, connection: Connection, plan: TablePlan, judged: Iterable[_Judged], conflicts: list[Conflict]
    ) -> list[Conflict]:
        """Tell the other end how the rows that were in conflict stand now, or ask it; the conflicts with a note where
        that cannot be."""
        agreement, notes = self._agreement, []
        if agreement is None:
            return conflicts
        for each in judged:
            if not each.is_in_conflict:
                continue
            for key in (each.part.key, *(holder.there.image for holder in each.holders)):
                if key is None:
                    notes.append("the row that holds the unique value has no image")
                elif not agreement.is_preferred:
                    agreement.say(connection, plan, ASK, key)
                elif why := self._tell(connection, plan, TELL, key):
                    notes.append(why)
        if not notes:
            return conflicts
        note = f"the other end is not told of it, compare the table (verify): {notes[0]}"
        return [msgspec.structs.replace(each, note=each.note or note) for each in conflicts]

    def _tell(self, connection: Connection, plan: TablePlan, saying: Saying, key: msgspec.Raw) -> str:
        """Tell the row that stands under the key of this image now; why it cannot be told, if so."""
        assert self._agreement is not None  # noqa: S101 (it is asked before)
        there = read_there(connection, plan, ChangedPart(None, None), key=key)
        if there is not None and there.image is None:
            return there.note
        if not self._agreement.say(connection, plan, saying, key, None if there is None else there.image):
            return f"a row of {plan.name} is too long for a message (max_allowed_packet)"
        return ""

    def _hear(self, connection: Connection, said: SaidOfRow, plan: TablePlan) -> list[Conflict]:
        """Do what the word asks for; the conflicts that are decided by it. Raises PlanError where that cannot be."""
        agreement, word = self._agreement, said.word
        if agreement is None or word is None:
            return []
        if agreement.is_preferred:
            answer = agreement.answer(connection, plan, said)
            if answer is not None and (why := self._tell(connection, plan, answer, said.data)):
                raise PlanError(f"the other end has found a conflict of this row, and cannot be told of it: {why}")
            return []
        if word.saying not in (TELL, INSIST):
            return []
        there = read_there(connection, plan, ChangedPart(None, said.row), key=said.data)
        is_same = there is None if said.row is None else there is not None and there.as_after
        conflicts: list[Conflict] = []
        if not is_same and word.saying == INSIST:
            conflicts = self._obey(connection, said, plan, there)
            is_same = True
        agreement.say(connection, plan, AGREE if is_same else DIFFER, said.data, number=word.number)
        return conflicts

    def _obey(
        self, connection: Connection, said: SaidOfRow, plan: TablePlan, there: TargetRow | None
    ) -> list[Conflict]:
        """Take the other end's row; the conflicts that are decided by that."""
        assert self._agreement is not None  # noqa: S101 (it has heard)
        holders = []
        for condition in unique_conditions(plan, said.row) if said.row is not None else ():
            sql = look_at_holders(plan, said.data, condition, _listed(plan, connection))
            holders += [_Holder(row, condition, "source") for row in _read(connection, plan, sql, is_own=False)]
        found: ConflictState = "missing" if there is None else "exists" if said.row is None else "changed"
        part = ChangedPart(said.data, None) if said.row is None else ChangedPart(None, said.row)
        judged = _Judged(part, there, found, "source", holders)
        for statement in _writes(plan, judged):
            run_planned(connection, statement)
        for holder in holders:
            if holder.there.image is None:
                raise PlanError(holder.there.note)
            self._agreement.say(connection, plan, ASK, holder.there.image)
        note = "both ends have decided, and did not end with the same row: that of the preferred one is taken"
        return [
            msgspec.structs.replace(each, before=None, note=each.note or note)
            for each in _told(said, plan, judged, waits=False)
        ]


def refusal(plan: TablePlan) -> str:
    """Why no conflict can be found in the table, as a sentence; empty where one can."""
    if not plan.row_key:
        return (
            f"{plan.name} has no key, so that nobody can tell whether the target's row was changed meanwhile: give it"
            " a primary key, or leave it out (exclude), or set detect_conflicts off"
        )
    if not plan.schema.transactional:
        return (
            f"{plan.name} has no transactions at the target (its storage engine), so that its row cannot be read and"
            " written in one step: convert it to InnoDB, or leave it out (exclude), or set detect_conflicts off"
        )
    return ""


def read_there(
    connection: Connection, plan: TablePlan, part: ChangedPart, *, key: msgspec.Raw | None = None
) -> TargetRow | None:
    """The target's row under the part's key, or under that of another image, read and locked; None where there is
    none."""
    sql = look_at_key(plan, part, _listed(plan, connection), key=key)
    rows = _read(connection, plan, sql, is_own=True)
    return rows[0] if rows else None


def _judge(connection: Connection, plan: TablePlan, part: ChangedPart, moved: msgspec.Raw | None) -> _Judged:
    there = read_there(connection, plan, part)
    found: ConflictState | None = None
    if part.before is None:
        found = None if there is None else "exists"
    elif there is None:
        found = "missing"
    elif not there.as_before:
        found = "changed"
    decision: Decision | None = None
    if found is not None:
        is_same = there is None if part.after is None else there is not None and there.as_after
        decision = "same" if is_same else decide(plan, part, found, 0 if there is None else there.comparison)
    holders: list[_Holder] = []
    if part.after is not None and decision in (None, "source"):
        for condition in unique_conditions(plan, part.after, without=moved):
            sql = look_at_holders(plan, part.after, condition, _listed(plan, connection))
            for row in _read(connection, plan, sql, is_own=False):
                if all(row.image is None or row.image != each.there.image for each in holders):
                    holders.append(_Holder(row, condition, decide(plan, part, "unique", row.comparison)))
    return _Judged(part, there, found, decision, holders)


def _listed(plan: TablePlan, connection: Connection) -> bytes:
    return ", ".join(image_expression(column, connection.dialect) for column in plan.schema.columns).encode()


def _read(connection: Connection, plan: TablePlan, sql: bytes, *, is_own: bool) -> list[TargetRow]:
    found = []
    for row in connection.rows(sql):
        flags, values = (row[:3], row[3:]) if is_own else ((0, 0, row[0]), row[1:])
        note = ""
        image: msgspec.Raw | None = None
        try:
            members = (
                msgspec.json.encode(column.name) + b":" + image_token(column, canonical_bytes(value))
                for column, value in zip(plan.schema.columns, values, strict=True)
            )
            image = msgspec.Raw(b"{" + b",".join(members) + b"}")
        except OperationError as exc:
            note = f"the target's row has no image: {exc}"
        as_before, as_after, comparison = (int(flag) for flag in flags)
        found.append(TargetRow(bool(as_before), bool(as_after), comparison, image, note))
    return found


def _writes(plan: TablePlan, judged: _Judged) -> Iterator[RowStatement]:
    """What makes the part of a change whose row wins."""
    part = judged.part
    own = where_key(plan, part.key)
    if part.after is None or any(each.decision == "target" for each in judged.holders):
        if judged.there is not None:
            yield _statement(plan, b"DELETE FROM %s WHERE %s" % (plan.quoted, own), affected=1)
        return
    for each in judged.holders:
        yield _statement(plan, b"DELETE FROM %s WHERE %s" % (plan.quoted, each.condition))
    shape = shape_of(plan, part.after)
    if judged.there is None:
        sql = shape.statement(shape.insert_head, part.after)
    else:
        yield from respell(plan, part.after, judged.there.image or NO_JSON, own)
        sql = b"UPDATE %s SET %s WHERE %s" % (plan.quoted, shape.assignments(part.after), own)
    yield _statement(plan, sql, affected=1)._replace(error_values=shape.error_values(part.after))


def _statement(plan: TablePlan, sql: bytes, *, affected: int | None = None) -> RowStatement:
    return RowStatement(sql, 0, affected=affected, table=plan.name, checks_foreign_keys=bool(plan.referrers))


def _told(change: RowChange, plan: TablePlan, judged: _Judged, *, waits: bool) -> Iterator[Conflict]:
    kind, position, source = describe_change(change)
    part = judged.part

    def told(found: ConflictState, decision: Decision, there: TargetRow | None) -> Conflict:
        return Conflict(
            position=position, kind=kind, source=source, target=TableName(*plan.name), found=found,
            policy=str(plan.conflicts.policy) if plan.conflicts else "", decision="parked" if waits else decision,
            before=part.before, after=part.after, there=None if there is None else there.image,
            note="" if there is None else there.note,
        )  # fmt: skip

    if judged.found is not None and judged.decision is not None:
        yield told(judged.found, judged.decision, judged.there)
    for each in judged.holders:
        yield told("unique", each.decision, each.there)


def _sentence(conflicts: list[Conflict]) -> str:
    what = "; ".join(dict.fromkeys(_FOUND_TEXT[each.found] for each in conflicts))
    return (
        f"conflict: {what}; its policy is to park: `conflicts list` and `show` tell the rows, `conflicts resolve` takes"
        " the source's or the target's"
    )
