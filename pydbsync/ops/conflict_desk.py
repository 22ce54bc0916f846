"""Looks at conflicts that were decided, and decides them anew: the source's row, the target's, or another one.

What an operator writes is a change like any other: it is not marked, so that where replay runs in both directions the
other end gets it too, which by then has the same row. A conflict that was parked is decided by its parked change.
"""

from __future__ import annotations

import datetime as dt
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from pydbsync.apply.catalog import read_table
from pydbsync.apply.conflicts import read_there
from pydbsync.apply.connection import Connection
from pydbsync.apply.ddl.running import run_planned
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.tables.operator_audit import actor_here, write_audit
from pydbsync.config.settings import Settings, columns_of
from pydbsync.errors import OperationError, PermanentError, PlanError
from pydbsync.model import End, TableName, read_image
from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.ops.parked.select import Selection
from pydbsync.plan.conflicts import ChangedPart
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.row_statements import RowStatement, respell, shape_of, show_image, where_key
from pydbsync.plan.rows import TablePlan
from pydbsync.route.filters import Filters

_PAGE = 500


class Recorded(msgspec.Struct, frozen=True):
    """One row of the table `conflict`."""

    id: int
    stream: str
    position: str
    kind: str
    source_database: str
    source_table: str
    target_database: str
    target_table: str
    found: str
    policy: str
    decision: str
    status: str
    before_image: bytes | None
    after_image: bytes | None
    found_image: bytes | None
    note: str
    decided_at: dt.datetime

    @property
    def source(self) -> TableName:
        """The table that the change comes from."""
        return TableName(self.source_database, self.source_table)

    @property
    def target(self) -> TableName:
        """The table that it goes to."""
        return TableName(self.target_database, self.target_table)

    @property
    def about(self) -> str:
        """What the operators' steps with it are written down under."""
        return f"conflict {self.id}"


class ConflictSelection(msgspec.Struct, frozen=True):
    """All that is left out means all."""

    stream: str | None = None
    tables: tuple[str, ...] = ()
    """Globs of `database.table`, by the names of the source or of the target."""
    decisions: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    older_than_s: float | None = None
    newer_than_s: float | None = None
    every_status: bool = False


class ConflictDesk:
    """The operator's view of the conflicts of one state schema."""

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        """Connect to the target. Raises ConfigError, TransientError."""
        self._settings, self._log = settings, log
        self._connection = Connection(settings.target.connect_keywords(), key=settings.target.key, read_timeout_s=600)
        ensure_state_schema(self._connection, settings.state_schema)
        self._table = f"{quote_name(settings.state_schema)}.`conflict`"
        self._parked = f"{quote_name(settings.state_schema)}.`parked`"
        self._desk: ParkedDesk | None = None

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
        if self._desk is not None:
            self._desk.close()

    def find(self, selection: ConflictSelection) -> Iterator[Recorded]:
        """Conflicts, the newest first, read as they are asked for."""
        parts, values = _conditions(selection)
        globs = Filters(include=selection.tables)
        before = 2**63
        while True:
            rows = self._read(f"{' AND '.join((*parts, 'id < %s'))} ORDER BY id DESC LIMIT {_PAGE}", (*values, before))
            for each in rows:
                before = each.id
                if not selection.tables or globs.takes(each.source) or globs.takes(each.target):
                    yield each
            if len(rows) < _PAGE:
                return

    def named(self, conflict_id: int) -> Recorded:
        """The one with this id. Raises OperationError."""
        found = self._read("id = %s", (conflict_id,))
        if not found:
            raise OperationError(f"there is no conflict {conflict_id}")
        return found[0]

    def _read(self, where: str, values: tuple[object, ...]) -> list[Recorded]:
        names = ", ".join(quote_name(name) for name in Recorded.__struct_fields__)
        try:
            rows = self._connection.rows(f"SELECT {names} FROM {self._table} WHERE {where}", values)
        except PermanentError as exc:
            schema = self._settings.state_schema
            raise OperationError(f"the state schema {schema!r} cannot be read in the target: {exc}") from exc
        return [
            msgspec.convert(dict(zip(Recorded.__struct_fields__, row, strict=True)), Recorded, strict=False)
            for row in rows
        ]

    def history(self, conflict: Recorded) -> list[tuple[str, str, str, dt.datetime]]:
        """(action, actor, detail, when) of what operators did with it."""
        return [
            (str(action), str(actor), str(detail), done_at)
            for action, actor, detail, done_at in self._connection.rows(
                "SELECT action, actor, detail, done_at FROM"
                f" {quote_name(self._settings.state_schema)}.`operator_audit` WHERE about = %s ORDER BY id",
                (conflict.about,),
            )
        ]

    # -- another decision ----------------------------------------------------------------------------------------------

    def resolve(
        self, conflict: Recorded, *, take: End | None = None, row: bytes | None = None, even_if_changed: bool = False
    ) -> str:
        """Have the source's row, the target's or this one under the key; what was done. Raises OperationError where the
        row has changed since, or nothing tells what it was."""
        if conflict.note and None in (conflict.before_image or conflict.after_image, conflict.found_image):
            raise OperationError(f"conflict {conflict.id} cannot be resolved by its images: {conflict.note}")
        if conflict.decision == "parked" and conflict.status == "decided":
            return self._resolve_parked(conflict, take, row)
        plan = self._plan(conflict)
        steps = _steps(conflict, take, row)
        if row is not None and plan.key_of(steps[0].key) not in _keys(plan, conflict):
            raise OperationError(f"--row: it has another key than the rows of conflict {conflict.id}")
        with self._connection.transaction():
            try:
                written = [self._step(plan, step, even_if_changed=even_if_changed) for step in steps]
            except (PlanError, PermanentError) as exc:
                raise OperationError(f"conflict {conflict.id}: {exc}; nothing was changed") from exc
            chosen = f"take the {take}'s row" if row is None else f"write {show_image(msgspec.Raw(row))}"
            self._mark(conflict, f"{chosen}: {sum(written)} row(s) written")
        return f"{chosen}: {sum(written)} row(s) written"

    def _resolve_parked(self, conflict: Recorded, take: End | None, row: bytes | None) -> str:
        """Retry or skip the parked change that waits for the decision."""
        found = self._connection.rows(
            f"SELECT p.id FROM {self._parked} p LEFT JOIN {self._parked} b ON b.id = p.behind AND b.status = 'parked'"
            " WHERE p.stream = %s AND p.position = %s AND p.source_database = %s AND p.source_table = %s"
            " AND p.target_database = %s AND p.status = 'parked' AND b.id IS NULL",
            (conflict.stream, conflict.position, *conflict.source, conflict.target_database),
        )
        if row is not None or not found:
            raise OperationError(
                f"conflict {conflict.id} was parked, and its change "
                + ("decides it: `--take source` or `--take target`" if found else "is mended or skipped already")
            )
        desk = self._desk = self._desk or ParkedDesk(self._settings, self._log)
        ids = tuple(int(each[0]) for each in found)
        if take == "source":
            outcomes = list(desk.retry(Selection(ids=ids)))
            if refused := [each for each in outcomes if not each.applied]:
                raise OperationError(f"conflict {conflict.id}: {refused[0].detail}; it stays parked")
        else:
            for parked_id in ids:
                desk.keep(parked_id, reason=f"conflict {conflict.id}: the target's row is kept")
        said = f"take the {take}'s row: parked {ids[0]} is {'applied' if take == 'source' else 'skipped'}"
        with self._connection.transaction():
            self._mark(conflict, said)
        return f"{said}; what waits behind it: `parked retry`"

    def _mark(self, conflict: Recorded, detail: str) -> None:
        self._connection.run(
            f"UPDATE {self._table} SET status = 'resolved' WHERE stream = %s AND position = %s AND id = %s",
            (conflict.stream, conflict.position, conflict.id),
        )
        write_audit(
            self._connection, self._settings.state_schema, "resolve", conflict.about, actor=actor_here(), detail=detail
        )

    def _plan(self, conflict: Recorded) -> TablePlan:
        schema = read_table(self._connection, conflict.target)
        if schema is None or not schema.row_key:
            raise OperationError(
                f"conflict {conflict.id}: the target has no table {conflict.target} with a key any more"
            )
        source = (conflict.source_database, conflict.source_table)
        for columns in (self._settings.binary_columns, self._settings.timestamp_columns):
            if columns_of(columns, *source):
                raise OperationError(
                    f"conflict {conflict.id}: {conflict.source} has columns in binary_columns or timestamp_columns,"
                    " which the two rows spell in different ways; write the row by hand"
                )
        return TablePlan(schema, dialect=self._connection.dialect, apply_mode="plain", passes_actions_on=False)

    def _step(self, plan: TablePlan, step: _RowStep, *, even_if_changed: bool) -> bool:
        """Bring one row to what is wanted; whether anything was written."""
        there = read_there(self._connection, plan, ChangedPart(step.left, step.wanted), key=step.key)
        is_wanted = there is None if step.wanted is None else there is not None and there.as_after
        own = where_key(plan, step.key)
        # To MySQL a document is the wanted one whether it has 1 or 1.0, and stays as it is.
        apart = (
            list(respell(plan, step.wanted, there.image, own))
            if step.wanted is not None and there is not None and there.image is not None
            else []
        )
        if is_wanted and not apart:
            return False
        is_left = there is None if step.left is None else there is not None and there.as_before
        if not is_wanted and not is_left and not even_if_changed:
            shown = "gone" if there is None else show_image(there.image) if there.image else "another one"
            raise OperationError(
                f"the target's row has changed since the conflict was decided: it is {shown}; look at it, then use"
                " --even-if-changed"
            )
        is_respelled = sum(self._connection.execute(each.sql) for each in apart) > 0
        if is_wanted and not is_respelled:
            return False
        if step.wanted is None:
            sql = b"DELETE FROM %s WHERE %s" % (plan.quoted, own)
        elif there is None:
            shape = shape_of(plan, step.wanted)
            sql = shape.statement(shape.insert_head, step.wanted)
        else:
            sql = b"UPDATE %s SET %s WHERE %s" % (
                plan.quoted,
                shape_of(plan, step.wanted).assignments(step.wanted),
                own,
            )
        run_planned(self._connection, RowStatement(sql, 1, affected=1, table=plan.name))
        return True


class _RowStep(msgspec.Struct, frozen=True):
    """A row that is to be another one."""

    key: msgspec.Raw
    left: msgspec.Raw | None
    """What the decision has left under the key."""
    wanted: msgspec.Raw | None


def _raw(image: bytes | None) -> msgspec.Raw | None:
    return None if image is None else msgspec.Raw(image)


def _steps(conflict: Recorded, take: End | None, row: bytes | None) -> list[_RowStep]:
    """What is to be under each key that the conflict is about; removals come first."""
    after, found = _raw(conflict.after_image), _raw(conflict.found_image)
    key = after or _raw(conflict.before_image)
    assert key is not None  # noqa: S101 (a change has one of them)
    source_won = conflict.decision in ("source", "same") or (conflict.decision == "parked")
    if row is not None:
        wanted = msgspec.Raw(row)
        _check_row(wanted)
        left = after if source_won else found
        if conflict.found == "unique" and found is not None:
            left = after if source_won else None
        return [_RowStep(wanted, left, wanted)]
    if conflict.found == "unique" and found is not None:
        holder = _RowStep(found, None if source_won else found, None if take == "source" else found)
        own = _RowStep(key, after if source_won else None, after if take == "source" else None)
        return [holder, own] if take == "source" else [own, holder]
    return [_RowStep(key, after if source_won else found, after if take == "source" else found)]


def _keys(plan: TablePlan, conflict: Recorded) -> list[bytes]:
    """The keys of all images."""
    images = map(_raw, (conflict.before_image, conflict.after_image, conflict.found_image))
    return [plan.key_of(image) for image in images if image is not None]


def _check_row(row: msgspec.Raw) -> None:
    try:
        read_image(row)
    except PlanError as exc:
        raise OperationError(f"--row holds no row: {exc}") from exc


def _conditions(selection: ConflictSelection) -> tuple[list[str], list[object]]:
    parts: list[str] = ["TRUE"]
    values: list[Any] = []
    if not selection.every_status:
        parts.append("status = 'decided'")
    for sql, value in (
        ("stream = %s", selection.stream),
        ("decided_at <= CURRENT_TIMESTAMP(6) - INTERVAL %s SECOND", selection.older_than_s),
        ("decided_at >= CURRENT_TIMESTAMP(6) - INTERVAL %s SECOND", selection.newer_than_s),
    ):
        if value is not None:
            parts.append(sql)
            values.append(value)
    for column, chosen in (("decision", selection.decisions), ("found", selection.found)):
        if chosen:
            parts.append(f"{quote_name(column)} IN ({', '.join(['%s'] * len(chosen))})")
            values += _words(chosen)
    return parts, values


def _words(chosen: Sequence[str]) -> list[str]:
    return [each.lower() for each in chosen]
