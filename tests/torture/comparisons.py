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
from typing import NamedTuple

from pydbsync.ops.verify.compare import CompareOptions
from pydbsync.ops.verify.report import TableReport
from pydbsync.ops.verify.run import Verification, VerifyOptions
from pydbsync.plan.quoting import quote_name
from tests.comparing import LOG, QUICK, run_sql, settings_for
from tests.servers import Endpoint

DATABASE = "fuzz"
PACKETS = (1 << 14, 1 << 16, 1 << 20)
TABLES = 20
"""Compared in one run of verify."""
NAMES = (
    "digest", "bucket", "shard", "n", "count", "Id", "ID", "key", "value", "`", "a`b", "x.y", " lead", "sum",
    "HEX(`a`)", "ключ", "名前", "é", "#", "%s", "%", "'", '"', "\\", "--", "/*", "group", "1", "-", "t",
    "CAST(`a` AS CHAR)", "@v0",
)  # fmt: skip

Row = tuple[int, ...]


class Pool(NamedTuple):
    """A column's type at both ends, and literals of values that all differ; the first may be NULL."""

    source: str
    target: str
    literals: tuple[str, ...]


class Table(NamedTuple):
    """A table at both ends; keyed by its first columns, or a multiset without a key."""

    name: str
    columns: tuple[str, ...]
    pools: tuple[Pool, ...]
    key: int
    source: list[Row]
    target: list[Row]

    def statements(self, *, is_source: bool) -> list[str]:
        types = (pool.source if is_source else pool.target for pool in self.pools)
        listed = [f"{quote_name(name)} {sql}" for name, sql in zip(self.columns, types, strict=True)]
        if self.key:
            listed.append(f"PRIMARY KEY ({', '.join(map(quote_name, self.columns[: self.key]))})")
        rows = self.source if is_source else self.target
        made = [f"CREATE TABLE {quote_name(self.name)} ({', '.join(listed)})"]
        for start in range(0, len(rows), 20):
            values = (
                f"({', '.join(pool.literals[index] for pool, index in zip(self.pools, row, strict=True))})"
                for row in rows[start : start + 20]
            )
            made.append(f"INSERT INTO {quote_name(self.name)} VALUES {', '.join(values)}")
        return made

    def wanted(self, *, by_key: bool) -> Counter[tuple[str, int, int]]:
        """(kind, times at the source, times at the target) of each row that differs."""
        found: Counter[tuple[str, int, int]] = Counter()
        if by_key:
            source, target = ({row[: self.key]: row for row in rows} for rows in (self.source, self.target))
            for key in source.keys() | target.keys():
                if source.get(key) != target.get(key):
                    kind = "missing" if key not in target else "extra" if key not in source else "changed"
                    found[kind, int(key in source), int(key in target)] += 1
            return found
        held = (Counter(self.source), Counter(self.target))
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
        self._mysql = any("MariaDB" not in str(end.query("SELECT @@version")) for end in (source, target))

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
            settle=QUICK, data_only=True, tables=(f"{DATABASE}.*",), compare=CompareOptions(chunk_s=0.01)
        )
        with packets_of(packet, *lowered):
            settings = settings_for(self._source, self._target)
            report = Verification(settings, options, stop=threading.Event(), log=LOG).run()
        reports = {each.target.table: each for each in report.tables}
        return [why for table in tables for why in _judged(table, reports.get(table.name), packet)]

    def _table(self, name: str, packet: int) -> Table:
        chance = self._random
        keys = [self._key() for _ in range(chance.choice([0, 1, 1, 2]))]
        others = [self._pool(packet) for _ in range(chance.randint(1, 8))]
        pools = (*keys, *others) or (self._key(),)
        columns = chance.sample(_one_case(NAMES), len(pools))
        rows: list[Row] = []
        for number in range(chance.choice([0, 1, 5, 40, 120])):
            key = [(number * 7 + at) % len(pool.literals) for at, pool in enumerate(keys)]
            rows.append((*key, *(self._value(pool) for pool in others)))
        source = list({row[: len(keys)]: row for row in rows}.values()) if keys else rows
        target = self._damaged(source, keys, others)
        return Table(name, tuple(columns), pools, len(keys), source, target)

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

    # -- columns -----------------------------------------------------------------------------------------------------

    def _key(self) -> Pool:
        chance = self._random
        numbers = [str(number * chance.choice([1, 3, 1000])) for number in range(-100, 100)]
        texts = [f"'{chr(97 + n % 26)}{'é' if n % 3 else 'É'}{n}'" for n in range(200)]
        kinds: list[tuple[str, str, list[str]]] = [
            ("INT NOT NULL", "BIGINT NOT NULL", list(dict.fromkeys(numbers))),
            ("DECIMAL(12,2) NOT NULL",) * 2 + ([f"{n}.25" for n in range(200)],),
            ("DATETIME(3) NOT NULL",) * 2 + ([f"'2020-01-01' + INTERVAL {n} MINUTE" for n in range(200)],),
            ("VARBINARY(20) NOT NULL",) * 2 + ([f"X'{n:04X}FF'" for n in range(200)],),
        ]
        for source, target in (("utf8mb4", "utf8mb4"), ("latin1", "latin1"), ("ucs2", "ucs2"), ("latin1", "utf8mb4"),
                               ("ucs2", "latin1"), ("utf16", "utf8mb4"), ("sjis", "sjis")):  # fmt: skip
            literals = (
                texts
                if "sjis" not in (source, target)
                else [text.replace("é", "e").replace("É", "e") for text in texts]
            )
            kinds.append((_varchar(source, 20), _varchar(target, 20), literals))
        source, target, literals = chance.choice(kinds)
        return Pool(source, target, tuple(literals))

    def _pool(self, packet: int) -> Pool:
        chance = self._random
        kind = chance.choice(
            ("number", "text", "text", "text", "bytes", "long text", "long text", "long bytes", "json", "other")
        )
        if kind == "number":
            return _numbers(chance)
        if kind == "other":
            return _others(chance)
        if kind == "bytes":
            sql = chance.choice(["VARBINARY(400)", "BLOB", "BINARY(3)"])
            several = ["NULL", "X''", "X'00'", "X'0000'", "X'FF'", "X'61'", "X'41'", "X'2327'"]
            padded = ["NULL", "X'000000'", "X'FF0000'", "X'616263'", "X'00FF00'"]
            return Pool(sql, sql, tuple(padded if sql == "BINARY(3)" else several))
        if kind == "json":
            return _json(chance, packet, is_mysql=self._mysql)
        if kind == "long bytes":
            lengths = _lengths(chance, packet)
            long = [f"REPEAT(X'{chance.choice(['00', 'FF', '27', '5C'])}', {length})" for length in lengths]
            return Pool(
                "LONGBLOB", "LONGBLOB", ("NULL", "''", "'a'", *long, *(f"CONCAT({each}, X'01')" for each in long))
            )
        charset, other = chance.choice(_CHARSETS)
        literals = ["NULL", "''", "'a'", "'A'", "'a '", "'#'", "'NULL'", "'a#1'", "'0'", "'a\\0'", r"'\\'", "'\\''"]
        letter = _LETTERS.get(charset if other == "utf8mb4" else other, "")
        literals += [f"'{letter}'", f"'{letter}a'"] if letter else []
        if charset == other and charset in ("greek", "cp1251"):
            literals += [f"X'41{byte}'" for byte in _UNDEFINED[charset]]
        if kind == "text":
            size = chance.choice((40, 255, 1000))
            return Pool(f"{_varchar(charset, size)} NULL", f"{_varchar(other, size)} NULL", tuple(literals))
        for length in _lengths(chance, packet):
            whole = f"REPEAT('{letter or 'x'}', {length})"
            literals += [whole, f"CONCAT({whole}, ' ')", f"CONCAT({whole}, 'X')"]
        return Pool(f"LONGTEXT CHARACTER SET {charset}", f"LONGTEXT CHARACTER SET {other}", tuple(literals))


_CHARSETS = (
    ("utf8mb4", "utf8mb4"), ("latin1", "latin1"), ("ucs2", "ucs2"), ("latin1", "utf8mb4"), ("utf8mb3", "utf8mb4"),
    ("greek", "greek"), ("greek", "utf8mb4"), ("sjis", "sjis"), ("gbk", "utf8mb4"), ("utf16", "latin1"),
    ("utf32", "utf32"), ("cp1251", "cp1251"), ("ascii", "utf8mb4"),
)  # fmt: skip
"""Of a column at the source and at the target."""
_LETTERS = {
    "utf8mb4": "😀", "utf8mb3": "é", "latin1": "é", "ucs2": "é", "utf16": "é", "utf32": "😀", "greek": "Ω",
    "sjis": "ソ", "gbk": "名", "cp1251": "ж",
}  # fmt: skip
_UNDEFINED = {"greek": ("D2", "FF"), "cp1251": ("98",)}
"""Bytes that are no character of Unicode."""


def _varchar(charset: str, size: int) -> str:
    return f"VARCHAR({size}) CHARACTER SET {charset}" + (" NOT NULL" if size == 20 else "")


def _lengths(chance: random.Random, packet: int) -> list[int]:
    around = (packet // 64, packet // 32, packet // 16, packet // 8, packet // 4, packet // 2, packet)
    return sorted({max(20, chance.choice(around) + chance.choice([-1, 0, 1])) for _ in range(2)})


def _numbers(chance: random.Random) -> Pool:
    kind, literals = chance.choice((
        ("INT", ["NULL", "0", "1", "-1", "2147483647"]),
        ("INT(5) ZEROFILL", ["NULL", "0", "1", "123456"]),
        ("BIGINT UNSIGNED", ["NULL", "0", "18446744073709551615", "18446744073709551614", "9223372036854775808"]),
        ("DECIMAL(30,10)", ["NULL", "0", "0.0000000001", "-0.0000000001", "12345678901234567890.1234567891"]),
        ("DECIMAL(30,30)", ["NULL", "0", "-0.000000000000000000000000000221", "-0.000000000000000000000000000222"]),
        ("DOUBLE", ["NULL", "0", "1e0", "1.0000000000000002e0", "1e-300", "5e-324", "1.7976931348623157e308", "0.1e0",
                    "-6.954981326455496e-141", "-6.954981326455496e-142"]),
        ("FLOAT", ["NULL", "0", "1e0", "1.0000001e0", "0.1e0", "16777217e0", "3.4028235e38"]),
        ("BIT(40)", ["NULL", "0", "1", "b'1000000000000000000000000000000000000000'"]),
    ))  # fmt: skip
    return Pool(kind, kind, tuple(literals))


def _others(chance: random.Random) -> Pool:
    kind, literals = chance.choice((
        ("DATETIME(6)", ["NULL", "'0000-00-00'", "'2020-01-01'", "'2020-01-01 00:00:00.000001'"]),
        ("TIMESTAMP(3) NULL", ["NULL", "'2020-01-01'", "'2020-01-01 00:00:00.001'", "'2038-01-01'"]),
        ("TIME(6)", ["NULL", "'00:00:00'", "'-00:00:01'", "'838:59:59'", "'-838:59:59'", "'00:00:00.000001'"]),
        ("DATE", ["NULL", "'0000-00-00'", "'2020-02-00'", "'2020-02-29'"]),
        ("YEAR", ["NULL", "0", "1999", "2000"]),
        ("ENUM('a','b','','A ') COLLATE utf8mb4_bin", ["NULL", "'a'", "'b'", "''", "'A'"]),
        ("SET('x','y','z')", ["NULL", "''", "'x'", "'x,y'", "'y,z'"]),
        ("GEOMETRY", ["NULL", "ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(2 1)')",
                      "ST_GeomFromText('POINT(1 2)', 3857)", "ST_GeomFromText('LINESTRING(0 0, 1 1)')"]),
    ))  # fmt: skip
    return Pool(kind, kind, tuple(literals))


def _json(chance: random.Random, packet: int, *, is_mysql: bool) -> Pool:
    literals = ["NULL", "'null'", "'1'", "'1.0'", "'\"1\"'", "'[]'", "'{}'", "'{\"a\": 1}'", "'{\"A\": 1}'", "'[1, 2]'"]
    for length in _lengths(chance, packet):
        size = min(length, packet // 2) if is_mysql else length  # beyond a packet MySQL gives none
        literals += [f"JSON_ARRAY(REPEAT('j', {size}))", f"JSON_ARRAY(REPEAT('j', {size}), 1)"]
    return Pool("JSON", "JSON", tuple(dict.fromkeys(literals)))


def _one_case(names: Sequence[str]) -> list[str]:
    """Names that differ for a server, which takes `Id` and `ID` for one."""
    return list({name.lower(): name for name in names}.values())


def _judged(table: Table, report: TableReport | None, packet: int) -> Iterator[str]:
    if report is None:
        yield f"{table.name}: no report"
        return
    # A key whose columns have several character sets is not one for both sides; then it is a multiset.
    wanted = table.wanted(by_key=bool(report.key))
    found = Counter((each.kind, each.source_count, each.target_count) for each in report.differences)
    status = "different" if wanted else "equal"
    if (report.status, report.error, found) != (status, "", wanted):
        yield (
            f"packet {packet}: {report.status} {report.error} {report.notes}\n  found  {dict(found)}\n"
            f"  wanted {dict(wanted)}\n  "
            + "\n  ".join(table.statements(is_source=is_source)[0] for is_source in (True, False))
        )


@contextmanager
def packets_of(size: int, *servers: Endpoint) -> Iterator[None]:
    """New sessions of these servers have packets of this size."""
    with ExitStack() as stack:
        for server in servers:
            ((before,),) = server.query("SELECT @@GLOBAL.max_allowed_packet")
            server.query(f"SET GLOBAL max_allowed_packet = {size}")
            stack.callback(server.query, f"SET GLOBAL max_allowed_packet = {before}")
        yield
