"""The workloads: which rows change how, in which transactions, the same for the same seed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random
from typing import Literal, NamedTuple

from benchmarks.tables import Row, Table, documents, events, orders, sysbench, wide

DATABASE = "bench"


class Change(NamedTuple):
    """One changed row; `old` is its image before (update, delete), `new` after (insert, update)."""

    kind: Literal["insert", "update", "delete"]
    table: Table
    old: Row | None
    new: Row | None


Transaction = list[Change]


class Rows:
    """The live rows of one table; any of them can be picked at random in constant time."""

    def __init__(self, table: Table, random: Random, count: int) -> None:
        self.table = table
        self._random = random
        self._next_key = 1
        self._rows: list[Row] = []
        self._hot = 0
        for _ in range(count):
            self._rows.append(self._new())

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self._rows)

    def heat(self, share: float) -> None:
        """From now on nine picks of ten fall on this share of the rows."""
        self._hot = max(1, int(len(self._rows) * share))

    def insert(self) -> Change:
        row = self._new()
        self._rows.append(row)
        return Change("insert", self.table, None, row)

    def insert_copy(self) -> Change:
        """The same row once more: only for tables without a key."""
        row = self._rows[self._pick()]
        self._rows.append(row)
        return Change("insert", self.table, None, row)

    def update(self, *columns: str) -> Change:
        """New values for these columns of one row, for all but the key when none is named."""
        return self.update_at(self._pick(), *columns)

    def update_at(self, index: int, *columns: str) -> Change:
        old = new = self._rows[index]
        while new == old:  # an update that changes nothing writes nothing to the binlog
            new = tuple(
                column.make(self._random) if place and (not columns or column.name in columns) else value
                for place, (column, value) in enumerate(zip(self.table.columns, old, strict=True))
            )
        self._rows[index] = new
        return Change("update", self.table, old, new)

    def delete(self) -> Change:
        index = self._pick()
        old = self._rows[index]
        last = self._rows.pop()
        if index < len(self._rows):
            self._rows[index] = last
        return Change("delete", self.table, old, None)

    def replace(self) -> list[Change]:
        """Delete a row and insert another under the same key, as sysbench does."""
        index = self._pick()
        old = self._rows[index]
        key = old[0]
        assert isinstance(key, int)
        new = self.table.make_row(self._random, key)
        self._rows[index] = new
        return [Change("delete", self.table, old, None), Change("insert", self.table, None, new)]

    def _new(self) -> Row:
        row = self.table.make_row(self._random, self._next_key)
        self._next_key += 1
        return row

    def _pick(self) -> int:
        top = self._hot if self._hot and self._random.random() < 0.9 else len(self._rows)
        return int(self._random.random() * min(top, len(self._rows)))


@dataclass(frozen=True)
class Workload:
    """`changes` rows changed over `base` rows a table, in transactions that `make` yields without end."""

    name: str
    title: str
    tables: tuple[Table, ...]
    base: int
    changes: int
    make: Callable[[list[Rows], Random], Iterator[Transaction]]

    def start(self, seed: int) -> Run:
        random = Random(f"{self.name} {seed}")
        return Run(self, random, [Rows(table, random, self.base) for table in self.tables])

    def scaled(self, share: float) -> Workload:
        """The first part of the same stream: the same base rows, fewer changes."""
        return Workload(self.name, self.title, self.tables, self.base, max(400, int(self.changes * share)), self.make)


@dataclass
class Run:
    """One run through a workload; `rows` are the base rows until `transactions` is iterated."""

    workload: Workload
    random: Random
    rows: list[Rows]

    def transactions(self) -> Iterator[Transaction]:
        left = self.workload.changes
        for transaction in self.workload.make(self.rows, self.random):
            yield transaction[:left]
            left -= len(transaction)
            if left <= 0:
                return


def sysbench_transaction(tables: list[Rows], random: Random) -> Transaction:
    """sysbench's oltp_write_only: an indexed update, a plain one, a row deleted and inserted again."""
    pick = random.choice
    return [pick(tables).update("k"), pick(tables).update("c"), *pick(tables).replace()]


def orders_transaction(tables: Rows) -> Transaction:
    """An order comes, one is priced, one gets a note, one goes."""
    return [
        tables.insert(),
        tables.update("net", "tax", "changed_at"),
        tables.update("note", "token", "changed_at"),
        tables.delete(),
    ]


def mixed(rows: list[Rows], random: Random) -> Iterator[Transaction]:
    *sbtests, orders_rows = rows
    while True:
        if random.random() < 0.75:
            yield sysbench_transaction(sbtests, random)
        else:
            yield orders_transaction(orders_rows)


def hot(rows: list[Rows], random: Random) -> Iterator[Transaction]:
    for table in rows:
        table.heat(0.1)
    *sbtests, orders_rows = rows
    while True:
        if random.random() < 0.75:
            yield sysbench_transaction(sbtests, random)
        else:
            changes = [orders_rows.update("net", "tax"), orders_rows.update("note"), orders_rows.update("token")]
            yield [*changes, orders_rows.update("changed_at", "customer")]


def wide_rows(rows: list[Rows], random: Random) -> Iterator[Transaction]:
    (table,) = rows
    while True:
        yield [table.insert(), table.update("c01", "c02", "c03"), table.update("c30", "c31"), table.delete()]


def large_texts(rows: list[Rows], random: Random) -> Iterator[Transaction]:
    (table,) = rows
    while True:
        yield [table.insert(), table.update("version"), table.update("body"), table.delete()]


def keyless(rows: list[Rows], random: Random) -> Iterator[Transaction]:
    """Five inserts in eight changes, one of them a copy of another row; two updates, one delete."""
    (table,) = rows
    while True:
        yield [table.insert(), table.insert(), table.update("amount"), table.insert_copy()]
        yield [table.insert(), table.insert(), table.update("what", "at"), table.delete()]


def deletes(rows: list[Rows], random: Random) -> Iterator[Transaction]:
    while True:
        table = random.choice(rows)
        yield [table.delete(), table.delete(), table.delete(), table.insert()]


def huge(rows: list[Rows], random: Random) -> Iterator[Transaction]:
    """100,000 rows inserted in one transaction, then 100,000 rows updated in one."""
    (table,) = rows
    while True:
        first = len(table)
        yield [table.insert() for _ in range(HUGE_ROWS)]
        yield [table.update_at(index, "c") for index in range(first, first + HUGE_ROWS)]


HUGE_ROWS = 100_000

WORKLOADS = {
    w.name: w
    for w in (
        Workload("mixed", "mixed", (sysbench(1), sysbench(2), sysbench(3), orders()), 10_000, 200_000, mixed),
        Workload("hot", "hot rows", (sysbench(1), sysbench(2), sysbench(3), orders()), 10_000, 200_000, hot),
        Workload("wide", "wide rows (60 columns)", (wide(),), 5_000, 60_000, wide_rows),
        Workload("text", "4 KB text rows", (documents(),), 2_000, 30_000, large_texts),
        Workload("keyless", "no key at all", (events("events", indexed=False),), 500, 6_000, keyless),
        Workload("keyless-index", "no key, an index", (events("events", indexed=True),), 10_000, 60_000, keyless),
        Workload("deletes", "delete-heavy", (sysbench(1), orders()), 60_000, 120_000, deletes),
        Workload("huge", "100,000-row transactions", (sysbench(1),), 1_000, 2 * HUGE_ROWS, huge),
    )
}
