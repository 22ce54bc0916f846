"""Random tables, values and transactions on a real source end equal on a real target.

Each example makes a table of random types, keys and character sets, runs random transactions on it, takes them through
message form (capture, exact where Maxwell is not) and replays them, in one of the ways to apply. PYDBSYNC_EXAMPLES says
how many; a short run is part of `make test`.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Callable
from dataclasses import dataclass

import pymysql
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.captured import Capture
from tests.integration.engine import parked, replay
from tests.servers import Endpoint
from tests.state import differences, read_state

EXAMPLES = int(os.environ.get("PYDBSYNC_EXAMPLES", "25"))
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Kind:
    """A column's type, SQL literals of its values, and whether a key can be made of it."""

    sql: str
    values: st.SearchStrategy[str]
    in_key: bool = True


def integers(name: str, bits: int) -> list[Kind]:
    low, high = -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    edges = st.sampled_from([low, -1, 0, 1, high])
    unsigned = st.sampled_from([0, 1, high + 1, 2**bits - 1]) | st.integers(0, 2**bits - 1)
    return [
        Kind(name, (edges | st.integers(low, high)).map(str)),
        Kind(f"{name} UNSIGNED", unsigned.map(str)),
    ]


def decimals(digits: int, scale: int) -> Kind:
    low = -(10**digits) + 1

    def written(number: int) -> str:
        sign, text = "-" if number < 0 else "", str(abs(number)).rjust(scale + 1, "0")
        return f"{sign}{text[: len(text) - scale]}.{text[len(text) - scale :]}" if scale else f"{sign}{text}"

    return Kind(f"DECIMAL({digits},{scale})", st.integers(low, -low).map(written))


def text_literal(text: str) -> str:
    return f"_utf8mb4 X'{text.encode().hex()}'"


def texts(charset: str, collation: str, codec: str, size: int, kind: str = "VARCHAR") -> Kind:
    characters = st.characters(codec=codec, exclude_categories=["Cs"])
    if charset in ("latin1", "utf8mb3", "gbk"):
        characters = characters.filter(lambda character: _can_hold(character, charset, codec))
    odd = st.sampled_from(
        ["", "a", "A", "a ", "é", "'", '"', "\\", "\\'", "\0", "\f", "\n", "\x1a", "%s", "{}", "null"]
    )
    value = (odd | st.text(characters, max_size=size)).map(lambda text: text[:size])
    length = "" if kind.endswith("TEXT") else f"({size})"
    return Kind(
        f"{kind}{length} CHARACTER SET {charset} COLLATE {collation}",
        value.map(text_literal),
        in_key=not kind.endswith("TEXT"),
    )


def _can_hold(character: str, charset: str, codec: str) -> bool:
    try:
        raw = character.encode(codec)
    except UnicodeEncodeError:
        return False
    if charset == "utf8mb3":
        return ord(character) < 0x10000
    # the servers' latin1 is windows-1252, and their gbk has fewer characters than Python's
    return ord(character) < 0x80 or (len(raw) == 2 and "\u4e00" <= character <= "\u9fa5" if charset == "gbk" else True)


def binaries(sql: str, size: int, in_key: bool = True) -> Kind:
    value = st.sampled_from([b"", b"\0", b"ab\0\0", b"\xff" * size]) | st.binary(max_size=size)
    return Kind(sql, value.map(lambda raw: f"X'{raw[:size].hex()}'"), in_key)


def moments(sql: str, digits: int, *, first: int, last: int) -> Kind:
    def written(parts: tuple[int, int, int, int, int]) -> str:
        year, month, day, second, fraction = parts
        time = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        tail = f".{fraction:06d}"[: digits + 1] if digits else ""
        return f"'{year:04d}-{month:02d}-{day:02d} {time}{tail}'"

    parts = st.tuples(
        st.integers(first, last), st.integers(1, 12), st.integers(1, 28), st.integers(0, 86399), st.integers(0, 999999)
    )
    return Kind(f"{sql}({digits})", parts.map(written))


def times(digits: int) -> Kind:
    def written(parts: tuple[bool, int, int]) -> str:
        negative, second, fraction = parts
        text = f"{second // 3600:02d}:{second // 60 % 60:02d}:{second % 60:02d}"
        tail = f".{fraction:06d}"[: digits + 1] if digits else ""
        return f"'{'-' if negative else ''}{text}{tail}'"

    parts = st.tuples(st.booleans(), st.integers(0, 838 * 3600), st.integers(0, 999999))
    return Kind(f"TIME({digits})", parts.map(written))


_floats = st.floats(allow_nan=False, allow_infinity=False, width=32) | st.sampled_from([0.0, 0.1, 16777217.0, 1e-30])
_doubles = st.floats(allow_nan=False, allow_infinity=False) | st.sampled_from([0.1, 1e308, 5e-324, 123456789.123456789])
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(st.characters(codec="utf-8"), max_size=8),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text("abc", max_size=3), children, max_size=3),
    max_leaves=6,
)


def json_literal(value: object) -> str:
    import json

    return text_literal(json.dumps(value, ensure_ascii=False))


LABELS = ("a", "b", "it's", "x y", "é", "1")
_labels = ", ".join("'" + label.replace("'", "''") + "'" for label in LABELS)

KINDS: list[Kind] = [
    *integers("TINYINT", 8),
    *integers("SMALLINT", 16),
    *integers("MEDIUMINT", 24),
    *integers("INT", 32),
    *integers("BIGINT", 64),
    decimals(5, 2),
    decimals(30, 30),
    decimals(65, 30),
    decimals(20, 0),
    Kind("FLOAT", _floats.map(repr), in_key=False),
    Kind("DOUBLE", _doubles.map(repr)),
    *[Kind(f"BIT({bits})", st.integers(0, 2**bits - 1).map(str)) for bits in (1, 8, 31, 32, 33, 63, 64)],
    texts("utf8mb4", "utf8mb4_general_ci", "utf-8", 12),
    texts("utf8mb4", "utf8mb4_bin", "utf-8", 12, "CHAR"),
    texts("utf8mb4", "utf8mb4_unicode_ci", "utf-8", 40, "TEXT"),
    texts("utf8mb3", "utf8mb3_general_ci", "utf-8", 12),
    texts("latin1", "latin1_swedish_ci", "cp1252", 12),
    texts("gbk", "gbk_chinese_ci", "gbk", 12),
    binaries("BINARY(6)", 6),
    binaries("VARBINARY(9)", 9),
    binaries("BLOB", 60, in_key=False),
    Kind("DATE", st.dates().map(lambda day: f"'{day.isoformat()}'") | st.just("'0000-00-00'")),
    *[times(digits) for digits in (0, 3, 6)],
    *[moments("DATETIME", digits, first=1000, last=9999) for digits in (0, 6)],
    *[moments("TIMESTAMP", digits, first=1971, last=2037) for digits in (0, 2, 6)],
    Kind("YEAR", st.sampled_from(["0", "1901", "2155", "2024"])),
    Kind(f"ENUM({_labels})", st.sampled_from(LABELS).map(text_literal)),
    Kind(f"SET({_labels})", st.sets(st.sampled_from(LABELS)).map(lambda found: text_literal(",".join(sorted(found))))),
    Kind("JSON", _json.map(json_literal), in_key=False),
    Kind("POINT", st.tuples(st.integers(-9, 9), st.integers(-9, 9)).map(lambda p: f"POINT({p[0]}, {p[1]})"), False),
]


@dataclass(frozen=True)
class Table:
    """A random table: its CREATE TABLE and how to draw a value of each column."""

    create: str
    columns: list[tuple[str, st.SearchStrategy[str]]]


@st.composite
def tables(draw: Callable[..., object], name: str) -> Table:
    kinds: list[Kind] = draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=6))  # type: ignore[assignment]
    names = [f"c{index}" for index in range(len(kinds))]
    keyable = [name for name, kind in zip(names, kinds, strict=True) if kind.in_key]
    key = draw(st.sampled_from(["none", "primary", "unique not null", "primary and unique"]))
    parts = list(dict.fromkeys(draw(st.lists(st.sampled_from(keyable), min_size=1, max_size=2)))) if keyable else []  # type: ignore[call-overload]
    not_null = set(parts) if key != "none" else set()
    lines, columns = [], []
    for column, kind in zip(names, kinds, strict=True):
        nullable = column not in not_null and draw(st.booleans())
        # TIMESTAMP is NOT NULL with a clock of its own unless it is told otherwise
        lines.append(f"{column} {kind.sql} {'NULL' if nullable else 'NOT NULL'}")
        columns.append((column, kind.values | st.just("NULL") if nullable else kind.values))
    if parts and key.startswith("primary"):  # type: ignore[attr-defined]
        lines.append(f"PRIMARY KEY ({', '.join(parts)})")
    if parts and key == "unique not null":
        lines.append(f"UNIQUE KEY u ({', '.join(parts)})")
    if keyable and key == "primary and unique":
        lines.append(f"UNIQUE KEY second ({draw(st.sampled_from(keyable))})")
    return Table(f"CREATE TABLE {name} ({', '.join(lines)})", columns)


@st.composite
def statements(draw: Callable[..., object], table: Table, name: str) -> str:
    verb = draw(st.sampled_from(["insert", "insert", "insert", "update", "delete", "replace"]))
    column, values = draw(st.sampled_from(table.columns))  # type: ignore[misc]
    order = f"ORDER BY {column} {draw(st.sampled_from(['ASC', 'DESC']))} LIMIT {draw(st.integers(1, 3))}"
    if verb == "delete":
        return f"DELETE FROM {name} {order}"
    if verb == "update":
        return f"UPDATE {name} SET {column} = {draw(values)} {order}"
    rows = draw(st.integers(1, 3))
    drawn = [f"({', '.join(str(draw(each)) for _, each in table.columns)})" for _ in range(rows)]  # type: ignore[call-overload]
    return f"{str(verb).upper()} INTO {name} ({', '.join(column for column, _ in table.columns)}) VALUES {', '.join(drawn)}"


@pytest.fixture(scope="module")
def capture(source: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Capture:
    captured = Capture(source, tmp_path_factory.mktemp("random"), exact=True)
    captured.read()
    return captured


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    derandomize=EXAMPLES <= 25,
)
@given(data=st.data())
def test_random_tables_end_equal(data: st.DataObject, source: Endpoint, target: Endpoint, capture: Capture) -> None:
    database = f"random_{next(_numbers)}"
    table = data.draw(tables("t"), label="table")
    with source.connect() as connection, connection.cursor() as cursor:
        cursor.execute(f"DROP DATABASE IF EXISTS {database}")
        cursor.execute(f"CREATE DATABASE {database} CHARACTER SET utf8mb4")
        cursor.execute(f"USE {database}")
        cursor.execute("SET sql_mode = 'STRICT_TRANS_TABLES,NO_AUTO_VALUE_ON_ZERO', time_zone = '+03:00'")
        cursor.execute(table.create)
        for _ in range(data.draw(st.integers(1, 5), label="transactions")):
            cursor.execute("BEGIN")
            for sql in data.draw(st.lists(statements(table, "t"), min_size=1, max_size=5), label="statements"):
                # a value that is there already is refused and leaves the transaction as it was
                with contextlib.suppress(pymysql.IntegrityError, pymysql.DataError, pymysql.OperationalError):
                    cursor.execute(sql)
            cursor.execute(data.draw(st.sampled_from(["COMMIT", "COMMIT", "COMMIT", "ROLLBACK"])))
    target.query(f"DROP DATABASE IF EXISTS {database}")
    replay(
        target,
        capture.read(),
        stream=database,
        block=data.draw(st.sampled_from([1, 3, 1000])),
        lossy_values="off",
        apply_mode=data.draw(st.sampled_from(["replace", "replace", "upsert", "plain"]), label="apply_mode"),
        batch_rows=data.draw(st.sampled_from([1, 4, 5000])),
        transaction_rows=data.draw(st.sampled_from([2, 100_000])),
        source_server="mysql 9.7" if source.brand == "mysql" else "mariadb 10.11",
    )
    assert [each for each in parked(target) if each.table == f"{database}.t"] == []
    with source.connect() as at_source, target.connect() as at_target:
        wanted, found = read_state(at_source, [database]), read_state(at_target, [database])
    assert list(differences(wanted, found, data_only=False)) == []
    for endpoint in (source, target):
        endpoint.query(f"DROP DATABASE {database}")
