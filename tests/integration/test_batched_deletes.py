"""Deletes in batches find what deletes one by one find: every type and character set as a key, alone or with others."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pydbsync.apply.catalog import read_table
from pydbsync.apply.connection import Connection
from pydbsync.model import TableName
from pydbsync.plan.batch import RowBatch, single_statements
from pydbsync.plan.row_statements import KEYS_PER_DELETE
from pydbsync.plan.rows import TablePlan
from tests.integration.engine import settings_for
from tests.servers import Endpoint
from tests.unit.plan.tables import delete, insert

pytestmark = pytest.mark.kept_state

LETTERS = "aZéüŁжλşאاก中本あｱ한€\u00a5\\~"
"""What of it a character set has no room for is left out."""


def _b64(value: bytes) -> str:
    return base64.b64encode(value).decode()


class Number(str):
    """A JSON number that is written just so."""


TYPES: dict[str, Sequence[Any]] = {
    "TINYINT": [-128, 0, 127],
    "SMALLINT UNSIGNED": [0, 65535],
    "MEDIUMINT": [-8388608, 8388607],
    "INT": [-2147483648, 0, 2147483647],
    "BIGINT": [-9223372036854775808, -1, 0, 9007199254740993, 9223372036854775807],
    "BIGINT UNSIGNED": [0, 9007199254740993, 9223372036854775807, 9223372036854775808, 18446744073709551615],
    "DECIMAL(65,30)": [Number("1.00000000000000000000001E-7"), Number("1.00000000000000000000002E-7"), Number("-1.5")],
    "DECIMAL(65,0)": [Number("9" * 65), Number("9" * 64 + "8"), 1],
    "FLOAT": [Number("0.1"), Number("3.4028235E38"), Number("16777216"), Number("-0.3")],
    "DOUBLE": [Number("0.1"), Number("0.30000000000000004"), Number("1.7976931348623157E308"), Number("-2.5E-308")],
    "BIT(1)": [0, 1],
    "BIT(32)": [0, 1, Number("-2147483648")],
    "BIT(64)": [0, 1, 9223372036854775808, 18446744073709551615],
    "YEAR": [1900, 1901, 2024, 2155],
    "DATE": ["0000-00-00", "1000-01-01", "2024-02-29", "9999-12-31"],
    "TIME": ["00:00:00", "-838:59:59", "838:59:59", "-00:00:01"],
    "TIME(6)": ["00:00:00.000001", "12:00:00.999999"],
    "DATETIME": ["0000-00-00 00:00:00", "2024-01-01 00:00:00"],
    "DATETIME(6)": ["2024-01-01 00:00:00.000001", "2024-01-01 00:00:00.000002"],
    "TIMESTAMP(3)": ["1970-01-01 00:00:01.000", "2038-01-19 03:14:07.999"],
    "BINARY(4)": [_b64(b"ab"), _b64(b"ab\0\1"), "", _b64(b"\xff\\'\"")],
    "VARBINARY(4)": [_b64(b"ab"), _b64(b"ab\0"), _b64(b"AB"), "", _b64(b"\xc3\x28")],
    "ENUM('a','é','1','')": ["a", "é", "1", ""],
    "ENUM('a','é','ü') CHARACTER SET latin1": ["a", "é", "ü"],
    "ENUM('a','é','中') CHARACTER SET ucs2": ["a", "é", "中"],
    "SET('a','é','c')": [["a"], ["a", "é"], [], ["c"]],
    "SET('a','é','ü') CHARACTER SET latin1": [["a"], ["a", "é"], ["ü"]],
    "ENUM('it''s','a\\\\b','x,y','','0')": ["it's", "a\\b", "x,y", "", "0"],
    "SET('it''s','a b','%')": [["it's"], ["it's", "%"], [], ["a b"]],
    "INT(6) UNSIGNED ZEROFILL": [0, 42, 4294967295],
    "DECIMAL(9,3) UNSIGNED": [Number("0.000"), Number("0.001"), Number("999999.999")],
    "FLOAT(9,3)": [Number("0.1"), Number("1.125"), Number("-2.5")],
    "DOUBLE(12,2)": [Number("0.1"), Number("1234567890.12")],
    "BIT(9)": [0, 255, 256, 511],
    "BIT(33)": [0, 4294967295, 4294967296],
    "TIME(3)": ["-00:00:00.001", "-838:59:58.999", "00:00:00.000"],
    "TIMESTAMP": ["2024-03-31 01:30:00", "2024-10-27 00:30:00", "2024-10-27 01:30:00"],
    "CHAR(5)": ["", "a", "é", "a  b", " a"],
    "CHAR(5) CHARACTER SET latin1": ["", "a", "é", "a  b", " a"],
    "CHAR(5) CHARACTER SET utf16": ["", "a", "é", "a  b", " a"],
    "CHAR(5) CHARACTER SET utf32 COLLATE utf32_bin": ["", "a", "A", " a"],
    "VARCHAR(9) COLLATE utf8mb4_bin": ["a", "A", "á", "é", "😀", "😁"],
    "VARCHAR(9) COLLATE utf8mb4_general_ci": ["e", "a ", "z\u0301", "ß", "😀"],
    "VARCHAR(9) CHARACTER SET latin1 COLLATE latin1_german2_ci": ["ä", "ß", "o", "ue "],
    "TEXT CHARACTER SET utf8mb4": ["aaab", "bé ", "c\\\\"],
    "TEXT CHARACTER SET latin1": ["aaab", "bé ", "é"],
    "TEXT CHARACTER SET ucs2": ["aaab", "bé ", "é"],
    "BLOB": [_b64(b"aaab"), _b64(b"b\0"), _b64(b"\xff\0'")],
}  # fmt: skip
NOPAD = {
    "mariadb": ("utf8mb4_nopad_bin", "utf8mb4_general_nopad_ci"),
    "mysql": ("utf8mb4_0900_bin", "utf8mb4_0900_ai_ci"),
}
"""A space at the end counts."""
MARIADB_TYPES: dict[str, Sequence[Any]] = {
    "UUID": ["714f9c60-e4b2-11f1-9c62-02fc00000001", "00000000-0000-0000-0000-000000000000"],
    "INET6": ["::", "2001:db8::1", "::ffff:1.2.3.4"],
    "INET4": ["0.0.0.0", "10.0.0.1", "255.255.255.255"],
}


@pytest.fixture(scope="module")
def connection(target: Endpoint) -> Iterator[Connection]:
    settings = settings_for(target)
    connection = Connection(settings.target.connect_keywords())
    target.drop_databases()
    target.query("CREATE DATABASE d CHARACTER SET utf8mb4")
    yield connection
    connection.close()


def keys_of(connection: Connection) -> Iterator[tuple[str, Sequence[Any]]]:
    """Each type of a key with values of it: every character set among them."""
    yield from TYPES.items()
    if connection.dialect.is_mariadb:
        yield from MARIADB_TYPES.items()
    for collation in NOPAD[connection.dialect.brand]:
        yield f"VARCHAR(9) COLLATE {collation}", ["", " ", "a", "a ", "a  ", "é"]
    for (charset,) in connection.rows(
        "SELECT character_set_name FROM information_schema.character_sets"
        " WHERE character_set_name <> 'binary' ORDER BY 1"
    ):
        known = [
            letter
            for letter in LETTERS
            if connection.value(f"SELECT CONVERT(CONVERT(%s USING {charset}) USING utf8mb4) = %s", (letter, letter))
        ]
        words = ["", "a", "".join(known[:8]), "".join(known[8:]), *known[2:]]
        yield f"VARCHAR(12) CHARACTER SET {charset}", list(dict.fromkeys(words))


def image(**columns: Any) -> str:
    text = json.dumps(columns, ensure_ascii=False, separators=(",", ":"))
    for value in columns.values():
        if isinstance(value, Number):
            text = text.replace(f'"{value}"', value)
    return text


def lost(connection: Connection, kind: str, values: Sequence[Any], *, key: str) -> list[str]:
    """What a batch of deletes leaves in a table with this key, and what deletes one by one leave, as sentences."""
    columns = f"k {kind} NOT NULL, w VARCHAR(20) NOT NULL, n INT, v INT"
    connection.execute("DROP TABLE IF EXISTS d.t")
    if kind.startswith(("TEXT", "BLOB")):
        key = re.sub(r"\bk\b", "k(3)", key)  # a part of the value is the key, all of it tells the row
    connection.execute(f"CREATE TABLE d.t ({columns}, PRIMARY KEY ({key}))")
    schema = read_table(connection, TableName("d", "t"))
    assert schema is not None
    plan = TablePlan(schema, dialect=connection.dialect)
    rows = [image(k=value, w="é", n=n, v=1) for n, value in enumerate(values)]
    found = []
    for is_batch in (True, False):
        filled, emptied = RowBatch(), RowBatch()
        for row in rows:
            filled.add(insert(row), plan)
            emptied.add(delete(row), plan)
        for statement in filled.statements():
            connection.execute(statement.sql)
        there = int(connection.value("SELECT COUNT(*) FROM d.t"))  # a collation may take two of them for one
        singles = [each for row in rows for each in single_statements(delete(row), plan)]
        matched = sum(connection.execute(each.sql) for each in (emptied.statements() if is_batch else singles))
        left = int(connection.value("SELECT COUNT(*) FROM d.t"))
        if left or matched != there:
            way = "in a batch" if is_batch else "one by one"
            found.append(f"{kind}, key ({key}), {way}: {left} left of {there}, {matched} matched")
    return found


def test_a_batch_of_deletes_finds_every_row_that_one_by_one_finds(connection: Connection) -> None:
    failures = []
    for kind, values in keys_of(connection):
        for key in ("k", "n, k, w"):
            failures += lost(connection, kind, values, key=key)
    if failures:
        pytest.fail("\n".join(failures))


MANY: dict[str, Sequence[Any]] = {
    "BIGINT UNSIGNED": range(2**64 - KEYS_PER_DELETE - 1, 2**64),
    "DECIMAL(20,10)": [Number(f"{n}.5") for n in range(KEYS_PER_DELETE + 1)],
    "DATE": [f"{1000 + n}-02-28" for n in range(KEYS_PER_DELETE + 1)],
    "VARCHAR(12)": [f"é{n}" for n in range(KEYS_PER_DELETE + 1)],
    "VARCHAR(12) CHARACTER SET latin1": [f"é{n}" for n in range(KEYS_PER_DELETE + 1)],
}
"""More than one statement takes; MariaDB makes a subquery of so long a list (in_predicate_conversion_threshold)."""


@pytest.mark.parametrize("kind", MANY)
def test_long_lists_of_keys_find_every_row_too(connection: Connection, kind: str) -> None:
    assert lost(connection, kind, MANY[kind], key="k") == []
    assert lost(connection, kind, MANY[kind], key="k, w") == []
