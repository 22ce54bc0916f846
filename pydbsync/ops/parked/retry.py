"""Applies parked changes in order, many in one transaction of the target, and reads no more of them than it holds.

One pass in the order in which they were parked: what stays is remembered, without its message, as what later ones of
its rows wait for. A group goes as a batch, as in replay, of each row the last image. Where one is refused, or cannot be
taken back, those of the group are made one by one. The workers go on meanwhile; a transaction that meets theirs (a
deadlock, a lock) is made again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Protocol

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.backoff import Backoff
from pydbsync.errors import DecodeError, PermanentError, PlanError, TransientError
from pydbsync.model import Change, RowChange, SchemaChange, TableName
from pydbsync.ops.parked.select import Selection
from pydbsync.ops.parked.statements import ParkedStatements
from pydbsync.ops.parked.waiting import Waiting

GROUP = 100
"""Changes of one transaction: it is short, so that replay hardly waits for its locks."""
_GROUP_BYTES = 8 * 2**20
_PAGE = 2000
_TRIES = 8
_MET_OTHERS = (1205, 1213, 1020)
"""Lock wait timeout, deadlock, and MariaDB's record that has changed since the last read: again is enough."""


class RetryOutcome(msgspec.Struct, frozen=True):
    """What became of one retry."""

    id: int
    applied: bool
    detail: str


class Header(msgspec.Struct, frozen=True):
    """A parked change without its message."""

    id: int
    stream: str
    source_database: str
    source_table: str
    target_database: str
    target_table: str
    row_keys: bytes
    is_whole_table: bool
    behind: int | None
    is_wanted: bool
    size_bytes: int

    @property
    def target(self) -> TableName:
        """The table that it would have changed; a database itself has no table."""
        return TableName(self.target_database or self.source_database, self.target_table or self.source_table)

    @property
    def keys(self) -> list[bytes]:
        """Identities of its row."""
        return msgspec.msgpack.decode(self.row_keys, type=list[bytes])


class _OneByOne(Exception):
    """A batch is given up: its changes are made one by one."""


class Desk(Protocol):
    """What the retry asks of the desk."""

    def write_audits(self, ids: Sequence[int], action: str, detail: str) -> None: ...

    def apply_row(self, stream: str, change: RowChange, target_database: str, *, is_left: bool) -> tuple[int, bool]:
        """How many statements it took, and whether all tables have transactions. `is_left`: what it waited behind was
        skipped."""

    def write_found(self) -> None:
        """Write down the conflicts by which the change before was refused, once it is taken back."""

    def apply_batch(self, changes: Sequence[tuple[RowChange, str]]) -> bool:
        """Make these, each at a target database, as one batch; False, with nothing done, where they need to be made one
        by one."""

    def changes(self, ids: Sequence[int]) -> dict[int, Sequence[Change] | DecodeError]:
        """Of those that are still parked, what a retry applies: one change, but for messages that could not be read
        when they came. They are locked for the transaction under way."""


class Retry:
    """One pass over what is parked."""

    def __init__(
        self, desk: Desk, statements: ParkedStatements, connection: Connection, *, table: str, schema: str
    ) -> None:
        self._desk, self._statements = desk, statements
        self._connection = connection
        self._table = table
        self._schema = schema
        self._waiting: dict[str, Waiting] = {}
        self._done: set[int] = set()
        """Mended before its turn came, with another message of its statement."""
        self._added: list[Header] = []
        self._is_smooth = True
        """Whether all of the group before was applied, so that the next one is tried as a batch."""
        self._skipped: frozenset[int] = frozenset()
        """Of what those of the group waited behind, what was skipped."""

    def run(self, selection: Selection) -> Iterator[RetryOutcome]:
        """The outcome of each that is meant, in order."""
        for group in _in_groups(self._headers(selection)):
            start, backoff = 0, Backoff(0.05, 1.0)
            self._skipped = self._skipped_before(group)
            while start < len(group):
                self._added = []
                try:
                    found = self._batch(group[start:]) if self._is_smooth else None
                    outcomes, start = self._transaction(group, start) if found is None else (found, len(group))
                except TransientError as exc:
                    self._forget_added()
                    if exc.code not in _MET_OTHERS or backoff.attempts >= _TRIES:
                        raise
                    backoff.wait(threading.Event())
                    continue
                self._is_smooth = all(each.applied for each in outcomes)
                yield from outcomes

    def _skipped_before(self, group: Sequence[Header]) -> frozenset[int]:
        behind = {each.behind for each in group if each.is_wanted and each.behind is not None}
        if not behind:
            return frozenset()
        listed = ", ".join(map(str, sorted(behind)))
        found = self._connection.rows(f"SELECT id FROM {self._table} WHERE status = 'skipped' AND id IN ({listed})")
        return frozenset(int(row[0]) for row in found)

    def _headers(self, selection: Selection) -> Iterator[Header]:
        """All that are parked of the streams that are meant, up to the last that is, in order."""
        wanted, values = selection.condition(self._connection, self._schema)
        parked = f"status = 'parked' AND {wanted}"
        last = self._connection.value(f"SELECT MAX(id) FROM {self._table} WHERE {parked}", values)
        streams = self._connection.rows(f"SELECT DISTINCT stream FROM {self._table} WHERE {parked}", values)
        listed = ", ".join(["%s"] * len(streams))
        before = 0
        while last is not None and before < last:
            found = self._read(
                f"{wanted}, LENGTH(COALESCE(edited, message)) FROM {self._table}"
                f" WHERE status = 'parked' AND stream IN ({listed}) AND id > %s AND id <= %s ORDER BY id LIMIT {_PAGE}",
                (*values, *(stream for (stream,) in streams), before, last),
            )
            yield from found
            if len(found) < _PAGE:
                return
            before = found[-1].id

    def _read(self, rest: str, values: tuple[object, ...] = ()) -> list[Header]:
        """By a query without its first columns."""
        return [
            Header(
                id=int(row[0]), stream=row[1], source_database=row[2], source_table=row[3], target_database=row[4],
                target_table=row[5], row_keys=row[6], is_whole_table=bool(row[7]),
                behind=None if row[8] is None else int(row[8]), is_wanted=bool(row[9]), size_bytes=int(row[10]),
            )
            for row in self._connection.rows(
                "SELECT id, stream, source_database, source_table, target_database, target_table, row_keys,"
                f" is_whole_table, behind, {rest}",
                values,
            )
        ]  # fmt: skip

    def _batch(self, group: Sequence[Header]) -> list[RetryOutcome] | None:
        """All of these in one transaction and one batch; None, with nothing done, if one of them needs a look of its
        own."""
        try:
            with self._connection.transaction():
                found = self._desk.changes([each.id for each in group if each.is_wanted and each.id not in self._done])
                taken: list[int] = []
                rows: list[tuple[RowChange, str]] = []
                looked_at: dict[int, bool] = {}
                for each in group:
                    if each.id in self._done:
                        continue
                    if not each.is_wanted:
                        self._stay(each)
                        continue
                    changes = found.get(each.id)
                    if not isinstance(changes, Sequence) or self._blocker(each, looked_at) is not None:
                        raise _OneByOne
                    if each.behind in self._skipped:
                        raise _OneByOne
                    for change in changes:
                        if not isinstance(change, RowChange):
                            raise _OneByOne
                        rows.append((change, each.target_database))
                    taken.append(each.id)
                if not self._desk.apply_batch(rows):
                    raise _OneByOne
                self._write(taken)
        except (_OneByOne, PlanError, PermanentError):
            self._forget_added()
            self._added = []
            return None
        return [RetryOutcome(each, True, f"in a batch of {len(taken)}") for each in taken]

    def _forget_added(self) -> None:
        for each in self._added:
            self._waiting[each.stream].remove(each.id)

    def _transaction(self, group: Sequence[Header], start: int) -> tuple[list[RetryOutcome], int]:
        """The next changes of the group: rows in one transaction, or one schema change; with the place behind them."""
        applied: list[int] = []
        outcomes: list[RetryOutcome] = []
        looked_at: dict[int, bool] = {}
        place = start
        wanted = [each.id for each in group[start:] if each.is_wanted and each.id not in self._done]
        with self._connection.transaction():
            found = self._desk.changes(wanted)
            while place < len(group):
                each = group[place]
                changes = found.get(each.id)
                if isinstance(changes, Sequence) and any(isinstance(change, SchemaChange) for change in changes):
                    break
                place += 1
                if each.id in self._done:
                    continue
                if not each.is_wanted:
                    self._stay(each)
                    continue
                if changes is None:
                    outcomes.append(RetryOutcome(each.id, False, "it is mended already, by somebody else"))
                    continue
                outcome, is_transactional = self._row(each, changes, looked_at)
                outcomes.append(outcome)
                if outcome.applied:
                    applied.append(each.id)
                else:
                    self._stay(each)
                if not is_transactional:
                    break  # what cannot be taken back is told at once
            self._write(applied)
        if place == start:
            return self._schema_change(group[place]), place + 1
        return outcomes, place

    def _row(
        self, each: Header, changes: Sequence[Change] | DecodeError, looked_at: dict[int, bool]
    ) -> tuple[RetryOutcome, bool]:
        """What becomes of one row change in the running transaction, and whether its tables have transactions."""
        blocker = self._blocker(each, looked_at)
        if blocker is not None:
            return RetryOutcome(each.id, False, f"waits behind {blocker}, which is still parked"), True
        self._connection.execute(b"SAVEPOINT one_change")
        try:
            if isinstance(changes, DecodeError):
                raise changes
            count, is_transactional = 0, True
            for change in changes:
                if not isinstance(change, RowChange):
                    raise PlanError(f"a {change.kind} changes nothing; skip it")
                statements, is_so = self._desk.apply_row(
                    each.stream, change, each.target_database, is_left=each.behind in self._skipped
                )
                count, is_transactional = count + statements, is_transactional and is_so
        except (DecodeError, PlanError, PermanentError) as exc:
            self._connection.execute(b"ROLLBACK TO SAVEPOINT one_change")
            self._desk.write_found()
            self._desk.write_audits([each.id], "retry", f"refused: {exc}")
            return RetryOutcome(each.id, False, str(exc)), True
        return RetryOutcome(each.id, True, f"{count} statement(s)"), is_transactional

    def _write(self, applied: list[int]) -> None:
        if applied:
            self._connection.run(
                f"UPDATE {self._table} SET status = 'applied' WHERE id IN ({', '.join(map(str, applied))})"
            )
            self._desk.write_audits(applied, "retry", "applied")

    def _schema_change(self, each: Header) -> list[RetryOutcome]:
        """One statement, with all its messages: of none of their tables may anything wait."""
        others = self._statements.same(each.id)
        together = [each]
        if others:
            listed = ", ".join(map(str, others))
            together += self._read(f"1, 0 FROM {self._table} WHERE id IN ({listed})")
        ids = frozenset((each.id, *others))
        found = [self._blocker(message, {}, ids) for message in together]
        blocker = min((first for first in found if first is not None), default=None)
        if blocker is not None:
            self._stay(each)
            return [RetryOutcome(each.id, False, f"waits behind {blocker}, which is still parked")]
        try:
            detail = self._statements.apply(each.id, others)
        except (DecodeError, PlanError, PermanentError) as exc:
            self._desk.write_audits([each.id], "retry", f"refused: {exc}")
            self._stay(each)
            return [RetryOutcome(each.id, False, str(exc))]
        self._done |= set(others)
        waiting = self._waiting.get(each.stream)
        for other in others:
            if waiting is not None:
                waiting.remove(other)
        return [RetryOutcome(done, True, detail) for done in sorted((each.id, *others))]

    def _stay(self, each: Header) -> None:
        waiting = self._waiting.setdefault(each.stream, Waiting())
        waiting.add(each.id, each.target, each.keys, is_whole_table=each.is_whole_table)
        self._added.append(each)

    def _blocker(self, each: Header, looked_at: dict[int, bool], together: frozenset[int] = frozenset()) -> int | None:
        """The first that this one must wait for; None if there is none."""
        waiting = self._waiting.get(each.stream)
        while waiting is not None:
            found = waiting.blocker(
                each.target, each.keys, is_whole_table=each.is_whole_table, behind=each.behind, together=together
            )
            if found is None:
                break
            if found not in looked_at:
                status = self._connection.value(f"SELECT status FROM {self._table} WHERE id = %s", (found,))
                looked_at[found] = status == "parked"
            if looked_at[found]:
                return found
            waiting.remove(found)  # somebody else has mended it meanwhile
        return None


def _in_groups(headers: Iterator[Header]) -> Iterator[list[Header]]:
    group: list[Header] = []
    size_bytes = 0
    for each in headers:
        if group and (len(group) >= GROUP or size_bytes + each.size_bytes > _GROUP_BYTES):
            yield group
            group, size_bytes = [], 0
        group.append(each)
        size_bytes += each.size_bytes if each.is_wanted else 0
    if group:
        yield group
