"""Random tables with random damage, which verify must find exactly: each row that differs, and no other.

A table is known here as a list of rows of indexes into pools of values, so that what differs is computed without any
server. `python -m tests.torture --verify 2000` takes the lab's MariaDB servers, or the pair of PYDBSYNC_TEST_MYSQL_…
"""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import NamedTuple
from unittest.mock import patch

from pydbsync.ops.chunks import ChunkSize
from pydbsync.ops.verify import compare as comparison
from pydbsync.ops.verify.compare import CompareOptions
from pydbsync.ops.verify.report import TableReport
from pydbsync.ops.verify.run import Verification, VerifyOptions
from pydbsync.plan.quoting import quote_name
from tests.comparing import LOG, QUICK, run_sql, settings_for
from tests.servers import Endpoint
from tests.torture.odd_settings import odd_settings
from tests.torture.pools import Pool, Pools

DATABASE = "fuzz"
PACKETS = (1 << 14, 1 << 16, 1 << 20)
TABLES = 20
"""Compared in one run of verify."""
NAMES = (
    "digest", "bucket", "shard", "n", "count", "Id", "ID", "key", "value", "`", "a`b", "x.y", " lead", "sum",
    "HEX(`a`)", "ключ", "名前", "é", "#", "%s", "%", "'", '"', "\\", "--", "/*", "group", "1", "-", "t",
    "CAST(`a` AS CHAR)", "@v0", "total", "rows", "printed", "MOD", "SHA2", "LEFT", "CONCAT_WS", "IF", "COUNT(*)",
    "SUM(1)", "NULL", "TRUE", "FALSE", ".", "a.b.c", "{}", "?", ":x", "$", "own", "source", "target", "table",
    "CASE", "FOR UPDATE", "LIMIT", "row", "ſ", "\ta",
)  # fmt: skip

Row = tuple[int, ...]


class Table(NamedTuple):
    """A table at both ends; keyed by its first columns, or a multiset without a key."""

    name: str
    columns: tuple[str, ...]
    pools: tuple[Pool, ...]
    key: int
    source: list[Row]
    target: list[Row]
    order: tuple[int, ...]
    """In which the target's columns stand."""
    rest: tuple[str, str]
    """Kind of the key, and how the table is kept, such as in partitions."""
    own: str
    """A column that only the target has, if any."""
    ignored: int
    """How many columns at the end are not compared."""
    hidden: tuple[int, ...] = (0, 0)
    """Places of a column that is invisible at the source, and of one that is at the target; 0 where none is."""

    def statements(self, *, is_source: bool) -> list[str]:
        order = range(len(self.columns)) if is_source else self.order
        types = [pool.source if is_source else pool.target for pool in self.pools]
        hidden = self.hidden[not is_source]
        listed = [
            f"{quote_name(self.columns[at])} {types[at]}{' INVISIBLE' if hidden and at == hidden else ''}"
            for at in order
        ]
        if self.own and not is_source:
            listed.insert(len(listed) // 2, self.own)
        if self.key:
            listed.append(f"{self.rest[0]} ({', '.join(map(quote_name, self.columns[: self.key]))})")
        rows = self.source if is_source else self.target
        made = [f"CREATE TABLE {quote_name(self.name)} ({', '.join(listed)}){self.rest[1] if self.key else ''}"]
        names = ", ".join(map(quote_name, self.columns))
        for start in range(0, len(rows), 20):
            values = (
                f"({', '.join(pool.literals[index] for pool, index in zip(self.pools, row, strict=True))})"
                for row in rows[start : start + 20]
            )
            made.append(f"INSERT INTO {quote_name(self.name)} ({names}) VALUES {', '.join(values)}")
        return made

    def compared(self, rows: Sequence[Row]) -> list[Row]:
        """Without the columns that are left out."""
        return [row[: len(row) - self.ignored] for row in rows]

    def wanted(self, *, by_key: bool) -> Counter[tuple[str, int, int]]:
        """(kind, times at the source, times at the target) of each row that differs."""
        found: Counter[tuple[str, int, int]] = Counter()
        ends = [self.compared(rows) for rows in (self.source, self.target)]
        if by_key:
            source, target = ({row[: self.key]: row for row in rows} for rows in ends)
            for key in source.keys() | target.keys():
                if source.get(key) != target.get(key):
                    kind = "missing" if key not in target else "extra" if key not in source else "changed"
                    found[kind, int(key in source), int(key in target)] += 1
            return found
        held = [Counter(rows) for rows in ends]
        for row in held[0].keys() | held[1].keys():
            counts = held[0][row], held[1][row]
            if counts[0] != counts[1]:
                kind = "missing" if counts[0] > counts[1] else "extra"
                found[kind, counts[0], counts[1]] += 1
        return found


class Fuzz:
    """Rounds of random tables between two servers."""

    def __init__(self, source: Endpoint, target: Endpoint, *, seed: int) -> None:
        self._source, self._target = source, target
        self._random = random.Random(seed)
        self._pools = Pools(self._random, source, target)

    def run(self, rounds: int, *, say: Callable[[str], None] = lambda text: None) -> list[str]:
        """What was not found as it is, a sentence a table; nothing when all was."""
        wrong: list[str] = []
        for start in range(0, rounds, TABLES):
            found = self._round(min(TABLES, rounds - start))
            wrong += found
            if found:
                say("\n".join(found))
            if start % 200 < TABLES:
                say(f"{start + TABLES} of {rounds} tables, {len(wrong)} wrong")
        return wrong

    def _round(self, count: int) -> list[str]:
        chance = self._random
        packet = chance.choice(PACKETS)
        tables = [self._table(f"t{number}", packet) for number in range(count)]
        for end in (self._source, self._target):
            end.query(f"DROP DATABASE IF EXISTS {DATABASE}")
            end.query(f"CREATE DATABASE {DATABASE} CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
            is_source = end is self._source
            run_sql(end, [sql for table in tables for sql in table.statements(is_source=is_source)], database=DATABASE)
        lowered = chance.choice([(self._source,), (self._target,), (self._source, self._target)])
        options = VerifyOptions(
            settle=QUICK, data_only=True, tables=(f"{DATABASE}.*",), compare=CompareOptions(chunk_s=0.01),
            ignored=tuple(
                f"{DATABASE}.{table.name}.{name}"
                for table in tables
                for name in table.columns[len(table.columns) - table.ignored :]
            ),
        )  # fmt: skip
        pieces = small_pieces(chance)
        with pieces, packets_of(packet, *lowered), odd_settings(chance, self._source, self._target) as odd:
            settings = settings_for(self._source, self._target)
            report = Verification(settings, options, stop=threading.Event(), log=LOG).run()
        reports = {each.target.table: each for each in report.tables}
        return [why for table in tables for why in _judged(table, reports.get(table.name), f"packet {packet} {odd}")]

    def _table(self, name: str, packet: int) -> Table:
        chance = self._random
        keys = [self._pools.key() for _ in range(chance.choice([0, 1, 1, 2]))]
        has_nulls = chance.random() < 0.1
        if has_nulls:
            keys = list(map(_nullable, keys))
        others = [self._pools.value(packet) for _ in range(chance.randint(1, 8))]
        pools = (*keys, *others) or (self._pools.key(),)
        columns = chance.sample(_one_case(NAMES), len(pools) + 1)
        rows: list[Row] = []
        for number in range(chance.choice([0, 1, 5, 40, 120, 190])):
            key = [(number * 7 + at) % len(pool.literals) for at, pool in enumerate(keys)]
            if has_nulls and chance.random() < 0.3:
                key = [0 for _ in keys]
            rows.append((*key, *(self._value(pool) for pool in others)))
        source = list({_of_key(row, len(keys), has_nulls): row for row in rows}.values()) if keys else rows
        target = self._damaged(source, keys, others)
        order = [*range(len(pools))]
        if chance.random() < 0.3:
            chance.shuffle(order)
        own = f"{quote_name(columns.pop())} VARCHAR(9) NULL DEFAULT 'own'" if chance.random() < 0.2 else ""
        rest = (
            chance.choice(["PRIMARY KEY", "PRIMARY KEY", "UNIQUE KEY"]),
            chance.choice(["", "", "", " PARTITION BY KEY () PARTITIONS 3", " ROW_FORMAT=REDUNDANT"]),
        )
        if has_nulls or any(pool.source == "GEOMETRY" for pool in pools):  # which no table in partitions has
            rest = ("UNIQUE KEY" if has_nulls else rest[0], "")
        hidden = tuple(chance.choice([0, 0, 0, *range(len(keys), len(pools))]) for _ in range(2))
        ignored = chance.choice([0, 0, 0, 0, 1]) if len(others) > 1 else 0
        columns = columns[: len(pools)]
        return Table(
            name, tuple(columns), pools, len(keys), source, target, tuple(order), rest, own, ignored,
            (hidden[0], hidden[1]),
        )  # fmt: skip

    def _value(self, pool: Pool) -> int:
        """Mostly a short value: long ones take time."""
        last = len(pool.literals) - 1
        return self._random.randint(0, last if self._random.random() < 0.2 else min(last, 6))

    def _damaged(self, rows: Sequence[Row], keys: Sequence[Pool], others: Sequence[Pool]) -> list[Row]:
        chance = self._random
        held = list(rows)
        if chance.random() < 0.2:
            return held
        for _ in range(chance.choice([1, 1, 2, 8])):
            what = chance.choice(["change", "change", "remove", "add"])
            if what == "change" and held:
                at = chance.randrange(len(held))
                row, column = list(held[at]), len(keys) + chance.randrange(len(others))
                row[column] = self._value(others[column - len(keys)])
                held[at] = tuple(row)
            elif what == "remove" and held:
                held.pop(chance.randrange(len(held)))
            elif what == "add":
                key = tuple(chance.randrange(len(pool.literals)) for pool in keys)
                if keys and any(row[: len(keys)] == key for row in held):
                    continue
                again = held and not keys and chance.random() < 0.5
                held.append(chance.choice(held) if again else (*key, *(self._value(pool) for pool in others)))
        chance.shuffle(held)
        return held


def _nullable(pool: Pool) -> Pool:
    """As a column of a unique key that tells no rows apart, since NULL may be there many times."""
    source, target = (f"{each.removesuffix(' NOT NULL')} NULL" for each in pool[:2])
    return Pool(source, target, ("NULL", *pool.literals))


def _of_key(row: Row, count: int, has_nulls: bool) -> Row:
    """Of what there may be one row: its key, or where a NULL is in it the row itself."""
    key = row[:count]
    return row if has_nulls and 0 in key else key


def _one_case(names: Sequence[str]) -> list[str]:
    """Names that differ for a server, which takes `Id` and `ID` for one."""
    return list({name.lower(): name for name in names}.values())


def _judged(table: Table, report: TableReport | None, setting: str) -> Iterator[str]:
    if report is None:
        yield f"{table.name}: no report"
        return
    # A key whose columns have several character sets is not one for both sides; then it is a multiset.
    wanted = table.wanted(by_key=bool(report.key))
    found = Counter((each.kind, each.source_count, each.target_count) for each in report.differences)
    status = "different" if wanted else "equal"
    if (report.status, report.error, found) != (status, "", wanted):
        yield (
            f"{setting}: {report.status} {report.error} {report.notes}\n  found  {dict(found)}\n"
            f"  wanted {dict(wanted)}\n  "
            + "\n  ".join(table.statements(is_source=is_source)[0] for is_source in (True, False))
        )


@contextmanager
def small_pieces(chance: random.Random) -> Iterator[None]:
    """Chunks of a few rows, and buckets: a table of a thousand rows has as many ends of pieces as one of a billion."""
    if chance.random() < 0.2:
        yield
        return
    rows = chance.choice([1, 2, 3, 7, 20])
    sizes = partial(ChunkSize, first=rows, least=rows, most=chance.choice([rows, 4 * rows]))
    held = chance.choice([3, 40, 300_000])
    with patch.multiple(
        comparison, ChunkSize=sizes, _BUCKET_ROWS=chance.choice([5, 2_000]), _DIGESTS_AT_ONCE=held,
        _BUCKETS_AT_ONCE=chance.choice([2, 1_024]), _CANDIDATES=chance.choice([2, 2_000]),
    ):  # fmt: skip
        yield


@contextmanager
def packets_of(size: int, *servers: Endpoint) -> Iterator[None]:
    """New sessions of these servers have packets of this size."""
    with ExitStack() as stack:
        for server in servers:
            ((before,),) = server.query("SELECT @@GLOBAL.max_allowed_packet")
            server.query(f"SET GLOBAL max_allowed_packet = {size}")
            stack.callback(server.query, f"SET GLOBAL max_allowed_packet = {before}")
        yield
