"""Rows of a table without a key: a multiset, looked at and changed in a few passes over the table a group."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

from pydbsync.apply.connection import Connection
from pydbsync.errors import PermanentError
from pydbsync.ops.answers import exact_rows
from pydbsync.ops.repair.change import PlannedChange
from pydbsync.ops.repair.group import (
    CHANGED_SINCE,
    SOURCE_CHANGED,
    TARGET_CHANGED,
    ChangeRefused,
    Refusals,
    TableRepair,
    exclusive_transaction,
    execute,
    refusal,
    refusing,
)
from pydbsync.ops.repair.journal import RepairJournal
from pydbsync.ops.repair.writer import ChangeWriter
from pydbsync.ops.verify.sides import Request, Side
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.row_statements import RowStatement

_PASS_BYTES = 1 << 20
"""Conditions of one pass over the table; fewer where the server takes no such statement, in which they stand twice."""


class KeylessChange(NamedTuple):
    """A change with the condition of its row, and how many such rows there are and shall be."""

    change: PlannedChange
    where: bytes
    has: int
    wants: int


class KeylessRows:
    """Applies and undoes changes of one table without a key, a group of them in one transaction."""

    def __init__(self, table: TableRepair, journal: RepairJournal) -> None:
        self._sides = table.sides
        self._writer = table.writer
        self._journal = journal

    def apply(self, connection: Connection, group: list[PlannedChange]) -> Refusals:
        """Write the rows; those that are not as the plan knows them are refused. Raises ChangeRefused, ApplyError."""
        refused: Refusals = {}
        at_source = count_under(self._sides.source, {change.request for change in group})
        with exclusive_transaction(connection):
            recorded = self._journal.recorded(connection, group)
            todo = [change for change in group if recorded.get(change.number, ("",))[0] != "applied"]
            moves: list[KeylessChange] = []
            for change, where, has in self._counted(connection, todo):
                if at_source[change.request] != change.source_had:
                    refused[change.number] = refusal(change, SOURCE_CHANGED)
                elif has != change.had:
                    refused[change.number] = refusal(change, TARGET_CHANGED)
                else:
                    moves.append(KeylessChange(change, where, has, _after(change)))
            self._move(connection, moves, status="applied")
            # Again, now that the rows are locked: replay's DELETE does not wait for rows that are not there yet.
            now = count_under(self._sides.source, {move.change.request for move in moves})
            for move in moves:
                if now[move.change.request] != move.change.source_had:
                    raise ChangeRefused(move.change, refusal(move.change, SOURCE_CHANGED))
        return refused

    def undo(self, connection: Connection, group: list[PlannedChange]) -> Refusals:
        """Put the rows back; those that have changed since are refused. Raises ChangeRefused, ApplyError."""
        refused: Refusals = {}
        with exclusive_transaction(connection):
            recorded = self._journal.recorded(connection, group)
            todo = [change for change in group if recorded.get(change.number, ("",))[0] == "applied"]
            moves: list[KeylessChange] = []
            for change, where, has in self._counted(connection, todo):
                if has == _after(change):
                    moves.append(KeylessChange(change, where, has, change.had))
                else:
                    refused[change.number] = refusal(change, CHANGED_SINCE)
            self._move(connection, moves, status="undone")
        return refused

    def _counted(
        self, connection: Connection, changes: Sequence[PlannedChange]
    ) -> Iterator[tuple[PlannedChange, bytes, int]]:
        """How many rows there are of each, locked, as are those that are not there."""
        conditions = []
        for change in changes:
            with refusing(change):
                conditions.append(self._writer.where(change))
        counts = count_rows(connection, self._writer, conditions, locks=True)
        yield from zip(changes, conditions, counts, strict=True)

    def _move(self, connection: Connection, moves: Sequence[KeylessChange], *, status: str) -> None:
        remove(connection, self._writer, [move for move in moves if move.wants < move.has])
        for move in moves:
            if move.wants > move.has:
                with refusing(move.change):
                    added = self._writer.inserts(
                        move.change, move.wants - move.has, packet_bytes=connection.max_allowed_packet
                    )
                execute(connection, move.change, added)
        counts = count_rows(connection, self._writer, [move.where for move in moves], locks=True)
        for move, count in zip(moves, counts, strict=True):
            if count != move.wants:
                why = f"the target holds {count} such rows afterwards instead of {move.wants}"
                raise ChangeRefused(move.change, refusal(move.change, why))
            self._journal.write(connection, move.change.number, status, None)


def _after(change: PlannedChange) -> int:
    return change.had + (change.copies if change.kind == "insert" else -change.copies)


def remove(connection: Connection, writer: ChangeWriter, moves: Sequence[KeylessChange]) -> None:
    """Take away what is too much.

    All rows of many changes go in one pass, and those that stay are written again; where an image has not all of the
    row's columns, so many rows go in a pass of their own. Raises PermanentError, ChangeRefused.
    """
    whole = [move for move in moves if not move.wants or writer.is_whole(move.change)]
    packet_bytes = connection.max_allowed_packet
    for part in _passes([move.where for move in whole], packet_bytes):
        chosen = [whole[index] for index in part]
        sql = b"DELETE FROM %s WHERE %s" % (writer.quoted, _any_of([move.where for move in chosen]))
        gone, expected = connection.execute(sql), sum(move.has for move in chosen)
        if gone != expected:
            raise PermanentError(f"{gone} rows were matched instead of {expected}")
    for move in whole:
        if move.wants:
            with refusing(move.change):
                kept = writer.inserts(move.change, move.wants, packet_bytes=packet_bytes)
            execute(connection, move.change, kept)
    for move in moves:
        if move.wants and not writer.is_whole(move.change):
            count = move.has - move.wants
            order = _as_inserted_first(connection, writer)
            sql = b"DELETE FROM %s WHERE %s%s LIMIT %d" % (writer.quoted, move.where, order, count)
            execute(connection, move.change, [RowStatement(sql, count, affected=count)])


def _as_inserted_first(connection: Connection, writer: ChangeWriter) -> bytes:
    """The order in which rows are taken that a repair wrote: the target's own columns have what INSERT gives them."""
    parts = []
    for name in sorted(writer.own):
        column = quote_name(name)
        try:
            connection.rows(f"SELECT DEFAULT({column}) FROM {writer.quoted.decode()} LIMIT 0")
        except PermanentError:
            continue  # it has none, or an expression that gives another value each time
        parts.append(f"({column} <=> DEFAULT({column}))")
    return f" ORDER BY {' + '.join(parts)} DESC".encode() if parts else b""


def count_rows(
    connection: Connection, writer: ChangeWriter, conditions: Sequence[bytes], *, locks: bool = False
) -> list[int]:
    """How many rows fulfil each condition; `locks` keeps others off them until the transaction ends.

    Raises DoubtfulError if the server warns of a value that was compared.
    """
    counts = [0] * len(conditions)
    end = b" FOR UPDATE" if locks else b""
    for part in _passes(conditions, connection.max_allowed_packet):
        chosen = [conditions[index] for index in part]
        counted = b", ".join(b"COUNT(IF(%s, 1, NULL))" % condition for condition in chosen)
        sql = b"SELECT %s FROM %s WHERE %s%s" % (counted, writer.quoted, _any_of(chosen), end)
        (row,) = exact_rows(connection, sql.decode("utf-8", "surrogateescape"))
        for index, count in zip(part, row, strict=True):
            counts[index] = int(count)
    return counts


def count_under(side: Side, requests: Collection[Request]) -> Counter[Request]:
    """How many rows a side holds under each of these digests."""
    found: Counter[Request] = Counter()
    for table in side.tables if requests else ():
        for request, count, _ in side.read(table, ["1"], requests):
            found[request] += count
    return found


def digests_at(side: Side, writer: ChangeWriter, changes: Iterable[PlannedChange]) -> set[Request]:
    """The digests that rows have where they have come to: it may spell a value otherwise."""
    conditions = [writer.where(change) for change in changes if change.kind == "insert"]
    found: set[Request] = set()
    for part in _passes(conditions, side.server.call(lambda connection: connection.max_allowed_packet)):
        found |= side.digests(_any_of([conditions[index] for index in part]).decode("utf-8", "surrogateescape"))
    return found


def _any_of(conditions: Sequence[bytes]) -> bytes:
    return b" OR ".join(b"(%s)" % condition for condition in conditions)


def _passes(conditions: Sequence[bytes], packet_bytes: int) -> Iterator[list[int]]:
    """The places of conditions that are asked for in one pass."""
    most = min(_PASS_BYTES, packet_bytes // 4)
    part: list[int] = []
    size = 0
    for index, condition in enumerate(conditions):
        if part and size + len(condition) > most:
            yield part
            part, size = [], 0
        part.append(index)
        size += len(condition)
    if part:
        yield part
