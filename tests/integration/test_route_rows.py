"""Conditions and masks of routes say here what the servers say: values × expressions, asked of both."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pymysql
import pytest

from pydbsync.apply.catalog import read_table
from pydbsync.apply.connection import Connection
from pydbsync.config.expressions import parse_condition
from pydbsync.config.routes import MaskSettings
from pydbsync.config.values import Secret
from pydbsync.errors import PlanError
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.plan.canonical import canonical_bytes, form_of, in_bytes, spell
from pydbsync.plan.images import image_expression, image_token
from pydbsync.plan.routed.conditions import compile_condition
from pydbsync.plan.routed.masks import make_mask
from pydbsync.plan.routed.rows import source_columns
from pydbsync.plan.routed.texts import folds
from tests.servers import Endpoint

TABLE = TableName("d", "t")
DEFINITION = """
    id INT PRIMARY KEY, i INT, u BIGINT UNSIGNED, s SMALLINT NOT NULL, `order` TINYINT UNSIGNED, dec1 DECIMAL(12,3),
    b VARCHAR(20) COLLATE utf8mb4_bin, g VARCHAR(20) COLLATE utf8mb4_general_ci,
    n VARCHAR(20) COLLATE utf8mb4_unicode_ci, z VARCHAR(20) COLLATE {newest},
    l VARCHAR(20) CHARACTER SET latin1 COLLATE latin1_swedish_ci, c CHAR(8) COLLATE utf8mb4_general_ci,
    day DATE, at DATETIME(3), ts TIMESTAMP NULL, e ENUM('draft', 'sent') COLLATE utf8mb4_general_ci NOT NULL,
    by_ VARBINARY(20), fixed BINARY(24), nullable_enum ENUM('a')
"""
NEWEST = {"mariadb": "utf8mb4_uca1400_ai_ci", "mysql": "utf8mb4_0900_ai_ci"}

WORDS = [
    None, "", " ", "a", "A", "a ", "ab", "draft", "Draft", "DRAFT ", "dräft", "draf", "draftz", "x%y", "x_y", "it's",
    "ﬁn", "fin", "ＡＢ", "ａb", "日本", "ж", "e\u0301", "é", "E", "a\x01", "a\t", "ß", "ss", "Å", "\u00a0", "K", "K",
    "😀",
]  # fmt: skip
NUMBERS = [None, 0, 1, -1, 2, 5, 7, 10, -7, 100, 32767, -32768, 12345]
BIG = [None, 0, 1, 2, 7, 2**63, 2**64 - 1]
DECIMALS = [None, "0", "0.001", "1.5", "-1.5", "1.500", "10", "-0.001", "999999999.999"]
DAYS = [None, "2024-01-01", "2024-02-29", "1999-12-31", "2024-01-02"]
TIMES = [None, "2024-01-01 00:00:00", "2024-01-01 00:00:00.001", "2024-01-01 12:00:00.5", "1999-12-31 23:59:59.999"]

EXPRESSIONS = [
    "i", "NOT i", "i = 1", "i <> 1", "i <=> NULL", "i = NULL", "i IS NULL", "i IS NOT NULL AND i > 3",
    "i != 2 OR u = 7",
    "i IN (1, 2, NULL)", "i NOT IN (1, 2)", "i NOT IN (1, NULL)", "i BETWEEN -1 AND 5", "i NOT BETWEEN 0 AND s",
    "i % 3 = 0", "i % 3 = -1", "i MOD 0 IS NULL", "i DIV 3 = -2", "i DIV 0 IS NULL", "s % -3 = 1", "u % 5 = 2",
    "i + 1 > s", "i * s - 1 < 100", "0 - i >= 1", "u > 9223372036854775807", "u >= i", "u = 18446744073709551615",
    "i - 2 * 3 < 0", "(i - 2) * 3 < 0", "dec1 > 1.4", "dec1 = 1.5", "dec1 <= -0.001", "dec1 * 2 = 3", "dec1 + i >= 1.5",
    "dec1 * dec1 < 2.26", "dec1 - 0.5 IN (1, 1.000, -2)", "i = 1.0", "i > 0.5", "dec1", "`order` > 3",
    "i = TRUE", "FALSE OR i",
    "NOT (i = 1 AND s <> 2)", "NOT i = 1 AND s <> 2", "i = 1 OR s = 2 AND u = 7", "NULL", "i AND NULL", "i OR NULL",
    "day = '2024-01-01'", "day > '2024-01-01'", "day <= '2024-01-01 12:00:00'", "at >= '2024-01-01'", "at = day",
    "at < '2024-01-01 12:00:00.5'", "at BETWEEN '2024-01-01' AND '2024-01-01 00:00:00.001'",
    "ts = '2024-01-01 00:00:00'",
    "ts IN ('2024-01-01', '1999-12-31 23:59:59')", "day NOT IN ('2024-01-01')", "e = 'draft'", "e <> 'DRAFT'",
    "e IN ('sent', 'x')",
    "COALESCE(i, s) > 3", "IFNULL(i, 0) = 0", "COALESCE(NULL, i, u, -1) < 5", "COALESCE(dec1, i, 0.5) <= 1.5",
    "COALESCE(u, 0) + 1 > 2", "COALESCE(NULL) IS NULL", "COALESCE(day, day) = '2024-01-01'", "IFNULL(i, s) DIV 3 = 1",
    "ABS(i) > 5", "ABS(dec1) = 1.5", "ABS(u) > 7", "ABS(i - s) <= 7", "MOD(i, 3) = -1", "MOD(u, 5) IN (0, 2)",
    "YEAR(day) = 2024", "YEAR(at) - 3000 < -976", "MONTH(day) + DAY(day) = 2", "DAYOFMONTH(at) <> 1",
    "YEAR(ts) IS NULL", "DATE(at) = '2024-01-01'", "DATE(at) = day", "DATE(ts) < at",
    "CHAR_LENGTH(b) = 2", "CHAR_LENGTH(c) < 2", "CHARACTER_LENGTH(l) - 3 < 0", "CHAR_LENGTH(z) % 2 = 1",
    "COALESCE(b, 'none') = 'none'", "COALESCE(g, 'Draft') = 'draft'", "IFNULL(l, 'x') IN ('X', 'ss')",
    "COALESCE(z, 'a') <> 'A '", "COALESCE(b, 'm') < 'n'", "COALESCE(b, '') LIKE 'a%'", "COALESCE('x', b) = 'x'",
    "by_ IS NULL", "fixed IS NOT NULL", "b IS NULL OR b = ''", "b <=> NULL", "b <=> 'a'",
]  # fmt: skip
LITERALS = ["", " ", "a", "A ", "draft", "Draft ", "AB", "fin", "ss", "e", "K", "it''s", "a\u0001"]
OF_TEXT = [
    "{c} = '{w}'",
    "{c} <> '{w}'",
    "{c} IN ('zz', '{w}')",
    "{c} NOT IN ('{w}', 'ab')",
    "{c} <=> '{w}'",
    "'{w}' = {c}",
]
PATTERNS = ["a%", "%A", "dr_ft%", "_", "", "%", "__", "x\u0001", "A_%"]
ORDERED = ["b < '{w}'", "b >= '{w}'", "b BETWEEN '{w}' AND 'draft'", "b > '{w}' AND b <= 'z'"]


@pytest.fixture(scope="module")
def table(source: Endpoint) -> Endpoint:
    source.drop_databases()
    source.query("CREATE DATABASE d CHARACTER SET utf8mb4")
    source.query(f"CREATE TABLE d.t ({DEFINITION.format(newest=NEWEST[source.brand])}) CHARACTER SET utf8mb4")
    draw = random.Random(15)
    latin = [each for each in WORDS if each is None or each.encode("latin-1", "ignore").decode("latin-1") == each]
    rows = [
        (
            number, draw.choice(NUMBERS), draw.choice(BIG), draw.choice(NUMBERS[1:]), draw.choice([None, 0, 3, 200]),
            draw.choice(DECIMALS), *(WORDS[(number * k) % len(WORDS)] for k in (1, 1, 1, 1)),
            latin[number % len(latin)], (draw.choice(WORDS) or "")[:8] or None, draw.choice(DAYS), draw.choice(TIMES),
            draw.choice(TIMES[:2]), draw.choice(["draft", "sent"]), draw.choice([None, b"", b"\x00\xff", b"abc"]),
            draw.choice([None, b"", b"\x01\x00", b"x" * 24]), None,
        )
        for number in range(300)
    ]  # fmt: skip
    with source.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00'")
        cursor.executemany(f"INSERT INTO d.t VALUES ({', '.join(['%s'] * 19)})", rows)
        connection.commit()
    return source


@pytest.fixture(scope="module")
def connection(table: Endpoint) -> Iterator[Connection]:
    found = Connection(
        {"host": table.host, "port": table.port, "user": table.user, "password": table.password}, key="source_db_info"
    )
    yield found
    found.close()


@pytest.fixture(scope="module")
def schema(connection: Connection) -> TableSchema:
    found = read_table(connection, TABLE)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def tokens(connection: Connection, schema: TableSchema) -> dict[int, dict[str, bytes]]:
    """Each row as a message has it."""
    listed = ", ".join(image_expression(column, connection.dialect) for column in schema.columns)
    return {
        int(row[0]): {
            column.name: image_token(column, canonical_bytes(value))
            for column, value in zip(schema.columns, row, strict=True)
        }
        for row in connection.rows(f"SELECT {listed} FROM d.t")
    }


def of_texts() -> Iterator[str]:
    for column in ("b", "g", "n", "z", "l", "c"):
        for number, word in enumerate(LITERALS):
            if column == "b" or word.isprintable():
                yield OF_TEXT[number % len(OF_TEXT)].format(c=column, w=word)
                yield OF_TEXT[(number + 3) % len(OF_TEXT)].format(c=column, w=word)
        for pattern in PATTERNS:
            if pattern.isprintable():
                yield f"{column} LIKE '{pattern}'"
                yield f"{column} NOT LIKE '{pattern}'"
    yield from (each.format(w=word) for each in ORDERED for word in LITERALS)
    yield "b = 'é' OR b = '日本' OR b > 'ж'"


def drawn(draw: random.Random, count: int) -> Iterator[str]:
    """Conditions of all forms within each other, with NULLs, signs, and numbers at the edges."""

    def number(depth: int) -> str:
        leaf = draw.choice([
            "i", "s", "u", "`order`", "dec1", "0", "1", "-1", "3", "2.5", "-0.001", "7.000", "32767", "NULL", "TRUE",
        ])  # fmt: skip
        if depth == 0 or draw.random() < 0.4:
            return leaf
        if draw.random() < 0.3:
            whole = [draw.choice(["i", "s", "u", "`order`", "5", "-3", "0", "1"]) for _ in range(2)]
            return f"({whole[0]} {draw.choice(['%', 'DIV', 'MOD'])} {whole[1]})"
        return f"({number(depth - 1)} {draw.choice('+-*')} {number(depth - 1)})"

    def predicate() -> str:
        a, b, c = (number(2) for _ in range(3))
        word, column = draw.choice(["a", "A ", "draft", "fin", "ss", ""]), draw.choice(["b", "g", "n", "z", "l", "c"])
        return draw.choice([
            f"{a} {draw.choice(['=', '<>', '<', '<=', '>', '>=', '<=>', '!='])} {b}",
            f"{a} {draw.choice(['', 'NOT '])}BETWEEN {b} AND {c}",
            f"{a} {draw.choice(['', 'NOT '])}IN ({b}, {c}, {draw.choice(['NULL', '1', 'i'])})",
            f"{draw.choice(['i', 'day', 'b', 'u', 'at'])} IS {draw.choice(['', 'NOT '])}NULL",
            f"{column} {draw.choice(['=', '<>', '<=>'])} '{word}'",
            f"{column} {draw.choice(['', 'NOT '])}IN ('{word}', 'zz', NULL)",
            f"{draw.choice(['day', 'at', 'ts'])} {draw.choice(['<', '>=', '=', '<>'])} '2024-01-0{draw.choice('12')}'",
            number(1),
        ])  # fmt: skip

    def condition(depth: int) -> str:
        if depth == 0 or draw.random() < 0.3:
            return predicate()
        parts = [condition(depth - 1) for _ in range(draw.choice([1, 2, 3]))]
        joined = draw.choice([" AND ", " OR "]).join(f"({part})" if draw.random() < 0.5 else part for part in parts)
        return f"NOT ({joined})" if draw.random() < 0.3 else joined

    return (condition(3) for _ in range(count))


def test_conditions_are_evaluated_as_by_the_server(
    table: Endpoint, connection: Connection, schema: TableSchema, tokens: dict[int, dict[str, bytes]]
) -> None:
    columns = source_columns(schema)
    different, undecided, refused = [], set(), 0
    with table.connect() as plain, plain.cursor() as cursor:
        cursor.execute("SET time_zone = '+00:00', sql_mode = ''")
        for sql in [*EXPRESSIONS, *of_texts(), *drawn(random.Random(5), 250)]:
            compiled = compile_condition(parse_condition(sql), columns)
            try:
                cursor.execute(f"SELECT id, ({sql}) + 0 FROM d.t")
                wanted = dict(cursor.fetchall())
            except pymysql.err.Error as exc:  # out of range, in a part that need not be looked at here
                if exc.args[0] != 1690:
                    raise
                refused += 1
                continue
            connection.execute(b"SET NAMES binary")
            spelled = dict(connection.rows(f"SELECT id, {compiled.sql} + 0 FROM d.t"))
            connection.execute(b"SET NAMES utf8mb4")
            for number, row in tokens.items():
                expected = None if wanted[number] is None else bool(wanted[number])
                in_sql = None if spelled[number] is None else bool(spelled[number])
                try:
                    found = compiled.holds(row)
                except PlanError:
                    undecided.add(sql)
                    found = expected
                if not expected == found == in_sql:
                    different.append((sql, row, expected, found, in_sql))
    assert different == []
    assert refused < 100
    # LIKE, on characters that a collation holds for none or for several letters, and what is out of range
    assert [sql for sql in undecided if "LIKE" not in sql and "u" not in sql and "order" not in sql] == []


def test_an_overflow_at_the_source_is_one_here(
    table: Endpoint, schema: TableSchema, tokens: dict[int, dict[str, bytes]]
) -> None:
    condition = compile_condition(parse_condition("u - 5 > 0"), source_columns(schema))
    with pytest.raises(pymysql.err.Error, match="out of range"):
        table.query("SELECT id FROM d.t WHERE u - 5 > 0")
    with pytest.raises(PlanError, match="out of range"):
        [condition.holds(row) for row in tokens.values()]


KEY = Secret("a key of some length, and 'quotes'")
MASKS: list[tuple[str, str, MaskSettings]] = [
    *((name, name, MaskSettings(kind="hash")) for name in ("i", "u", "s", "order", "b", "g", "l", "c", "by_", "fixed")),
    ("b", "b", MaskSettings(kind="null")),
    ("b", "b", MaskSettings(kind="constant", constant="it's é")),
    ("i", "i", MaskSettings(kind="constant", constant=-3)),
    ("u", "u", MaskSettings(kind="constant", constant=2**64 - 1)),
    ("dec1", "dec1", MaskSettings(kind="constant", constant="1.5")),
    ("at", "at", MaskSettings(kind="constant", constant="2024-01-01 00:00:00.5")),
    ("day", "day", MaskSettings(kind="fake", fake="date")),
    *((name, "b", MaskSettings(kind="fake", fake=fake)) for name in ("b", "i") for fake in (
        "email", "first_name", "last_name", "name", "phone", "city", "street", "company",
    )),
    ("g", "c", MaskSettings(kind="fake", fake="street")),
]  # fmt: skip


@pytest.mark.parametrize("names", ["binary", "utf8mb4"])
def test_masks_are_the_same_by_the_server(
    connection: Connection, schema: TableSchema, tokens: dict[int, dict[str, bytes]], names: str
) -> None:
    columns = source_columns(schema)
    different = []
    for name, to, settings in MASKS:
        mask = make_mask(settings, columns[name], columns[to], key=KEY, is_unique=False)
        connection.execute(f"SET NAMES {names}".encode())
        shown = Column(**{**{each: getattr(mask.column, each) for each in mask.column.__struct_fields__}, "name": "x"})
        text = in_bytes(spell(shown, connection.dialect, form=form_of(shown)), form_of(shown))
        found = dict(connection.rows(f"SELECT id, {text} FROM (SELECT id, {mask.sql} AS x FROM d.t) AS r"))
        connection.execute(b"SET NAMES utf8mb4")
        for number, row in tokens.items():
            here = mask.token(row[name])
            value = canonical_bytes(found[number])
            there = image_token(shown, value)
            if here != there and not same_constant(settings, here, there):
                different.append((name, to, settings, row[name], here, there))
    assert different[:3] == []


def same_constant(settings: MaskSettings, here: bytes, there: bytes) -> bool:
    """A DECIMAL and a time come with all their digits."""
    return settings.kind == "constant" and here.strip(b'"') == there.strip(b'"').rstrip(b"0")


def test_masks_fit_and_differ(table: Endpoint, schema: TableSchema, tokens: dict[int, dict[str, bytes]]) -> None:
    columns = source_columns(schema)
    for name in ("i", "s", "order", "u"):
        mask = make_mask(MaskSettings(kind="hash"), columns[name], columns[name], key=KEY, is_unique=True)
        values = {bytes(row[name]) for row in tokens.values()}
        assert len({mask.token(value) for value in values}) == len(values)
        others = [mask.token(value) for value in values]
        assert any(mask.token(value) != value for value in values), others


FAMILIES = {
    "general_ci": "utf8mb4_general_ci", "unicode_ci": "utf8mb4_unicode_ci", "newest": "",
    "swedish_ci": "latin1_swedish_ci",
}  # fmt: skip


@pytest.mark.parametrize("family", FAMILIES)
def test_characters_are_held_for_ascii_as_by_the_server(table: Endpoint, family: str) -> None:
    """Of the first 12,288 characters; folds.txt was made of all."""
    collation = FAMILIES[family] or NEWEST[table.brand]
    family = collation.removeprefix("utf8mb4_") if family == "newest" else family
    charset, last = ("latin1", 0xFF) if family == "swedish_ci" else ("utf8mb4", 0x2FFF)
    text = f"CONVERT(CHAR(n USING utf32) USING {charset})"
    with table.connect() as connection, connection.cursor() as cursor:
        name = "cte_max_recursion_depth" if table.brand == "mysql" else "max_recursive_iterations"
        cursor.execute(f"SET SESSION {name} = 20000")
        cursor.execute(
            f"WITH RECURSIVE s (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM s WHERE n < {last})"
            f" SELECT n, HEX(WEIGHT_STRING({text} COLLATE {collation})), {text} = '?' FROM s"
        )
        weights = {int(n): (str(weight or ""), bool(lost) and n != 0x3F) for n, weight, lost in cursor.fetchall()}
    ascii_of = {weights[code][0]: chr(code).lower() for code in range(0x20, 0x7F)}
    found = {}
    for code, (weight, is_lost) in weights.items():
        parts = [weight] if weight in ascii_of else [weight[at : at + 4] for at in range(0, len(weight), 4)]
        if not 0x20 <= code < 0x7F and not is_lost and all(part in ascii_of for part in parts):
            found[chr(code)] = "".join(ascii_of[part] for part in parts)
    assert {each: fold for each, fold in folds(family).items() if ord(each) <= last} == found
