"""Types between MySQL and MariaDB: copy, replay, verify and repair agree on one form of each value.

Each type is a column of its own key, one of a table without a key, a default, and what a generated column is made of.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.comparing import compare, run_sql
from tests.integration.captured import Capture
from tests.integration.copying import copy
from tests.integration.engine import parked, replay
from tests.matrices import LONG
from tests.repairing import Bench
from tests.servers import Endpoint

VALUES: dict[str, tuple[str, str]] = {
    "TINYINT": ("-128", "127"),
    "TINYINT(1)": ("1", "0"),
    "MEDIUMINT UNSIGNED": ("16777215", "0"),
    "BIGINT UNSIGNED": ("18446744073709551615", "3"),
    "INT(5) ZEROFILL": ("7", "123456"),
    "DECIMAL(10,3)": ("1.5", "-9999999.999"),
    "DECIMAL(30,30)": ("0.123456789012345678901234567891", "-0.5"),
    "DECIMAL(5,2) UNSIGNED ZEROFILL": ("1.5", "0"),
    "FLOAT": ("0.1", "1e30"),
    "DOUBLE": ("0.1", "2.2250738585072014e-308"),
    "FLOAT(7,3)": ("1.234", "-1"),
    "DOUBLE(10,2)": ("1.25", "-1"),
    "BIT(1)": ("b'1'", "b'0'"),
    "BIT(64)": (f"b'{'1' * 64}'", "b'1'"),
    "YEAR": ("2155", "0"),
    "DATE": ("'2020-02-29'", "'0000-00-00'"),
    "TIME": ("'-838:59:59'", "'00:00:00'"),
    "TIME(6)": ("'12:00:00.000001'", "'-00:00:00.5'"),
    "DATETIME": ("'2020-01-01 00:00:00'", "'0000-00-00'"),
    "DATETIME(6)": ("'9999-12-31 23:59:59.999999'", "'1000-01-01'"),
    "TIMESTAMP NULL": ("'2020-01-01 00:00:01'", "'1971-01-01'"),
    "TIMESTAMP(3) NULL": ("'2038-01-19 03:14:07.999'", "'2020-01-01'"),
    "CHAR(10)": ("'é'", "''"),
    "VARCHAR(20)": ("'b '", "'😀'"),
    "VARCHAR(20) COLLATE utf8mb4_unicode_ci": ("'a'", "'ß'"),
    "VARCHAR(20) CHARACTER SET latin1": ("'é'", "'x'"),
    "CHAR(10) CHARACTER SET utf16": ("'é'", "'😀'"),
    "VARCHAR(10) CHARACTER SET ucs2": ("'é'", "'x'"),
    "VARCHAR(10) CHARACTER SET utf8mb3": ("'é'", "'中'"),
    "VARCHAR(10) CHARACTER SET sjis": ("'ア'", "'ソ'"),
    "VARCHAR(10) CHARACTER SET gbk": ("'中'", "'名'"),
    "VARCHAR(10) CHARACTER SET greek": ("'Ω'", "'a'"),
    "BINARY(5)": ("X'6162630000'", "X'0000000000'"),
    "VARBINARY(20)": ("X'FF00'", "X'00'"),
    "TINYBLOB": ("X'00FF'", "''"),
    "LONGTEXT CHARACTER SET latin1": ("'é'", "''"),
    "TEXT": ("'😀'", "'x '"),
    "ENUM('a','b','')": ("'a'", "''"),
    "ENUM('é','ß') CHARACTER SET latin1": ("'ß'", "'é'"),
    "SET('x','y','é')": ("'x,é'", "''"),
    "JSON": ("'{\"a\": 1.0}'", "'[1, null]'"),
    "POINT": ("ST_GeomFromText('POINT(1 2)')", "ST_GeomFromText('POINT(-1 0.1)')"),
    "GEOMETRY": ("ST_GeomFromText('LINESTRING(0 0,1 1)')", "ST_GeomFromText('POINT(2 1)')"),
}
"""Two values of each."""
SOME = (
    "DECIMAL(30,30)", "FLOAT", "DOUBLE", "BIT(64)", "YEAR", "TIME(6)", "TIMESTAMP(3) NULL", "VARCHAR(20)",
    "CHAR(10) CHARACTER SET utf16", "VARCHAR(10) CHARACTER SET sjis", "BINARY(5)", "ENUM('a','b','')", "JSON", "POINT",
)  # fmt: skip
"""Those that the brands keep or print in ways of their own."""
WITHOUT_KEY = ("JSON", "POINT", "GEOMETRY")
WITHOUT_DEFAULT = ("TINYBLOB", "LONGTEXT", "TEXT", *WITHOUT_KEY)
"""On MySQL, but for expressions."""


@pytest.fixture
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Bench:
    source, target = (
        request.getfixturevalue("mariadb" if f"{brand}_{role}" == "mariadb_target" else f"{brand}_{role}")
        for brand, role in zip(request.param.split(" to "), ("source", "target"), strict=True)
    )
    for end in (source, target):
        end.drop_databases()
    return Bench(source, target, tmp_path)


def tables(kinds: Sequence[str]) -> Iterator[str]:
    """The statements that make them, with rows of both values, and of none."""
    numbered = [(n, (kind, VALUES[kind])) for n, kind in enumerate(kinds)]
    for n, (kind, values) in numbered:
        if kind not in WITHOUT_KEY:
            part = "(5)" if re.match("TINYBLOB|LONGTEXT|TEXT", kind) else ""
            yield f"CREATE TABLE k{n} (c {kind.removesuffix(' NULL')} NOT NULL, v INT, PRIMARY KEY (c{part}))"
            yield f"INSERT INTO k{n} VALUES ({values[0]}, 1), ({values[1]}, 2)"
    columns = [f"c{n} {kind}" for n, (kind, _) in numbered]
    made = [
        f"g{n} {kind.removesuffix(' NULL')} AS (c{n}) {'STORED' if n % 2 else 'VIRTUAL'}"
        for n, (kind, _) in numbered
        if n % 3 == 0 and kind != "JSON" and "ZEROFILL" not in kind
    ]
    rows = [", ".join(values[at] for _, (_, values) in numbered) for at in (0, 1)]
    rows.append(", ".join(["NULL"] * len(numbered)))
    for table, key in (("n", ""), ("g", " PRIMARY KEY")):
        names = ", ".join(["id", *(f"c{n}" for n, _ in numbered)])
        yield f"CREATE TABLE {table} (id INT{key}, {', '.join([*columns, *(made if key else [])])})"
        yield f"INSERT INTO {table} ({names}) VALUES {', '.join(f'({at}, {row})' for at, row in enumerate(rows))}"
    with_default = [
        f"c{n} {kind} DEFAULT {values[0]}" for n, (kind, values) in numbered if not kind.startswith(WITHOUT_DEFAULT)
    ]
    yield f"CREATE TABLE d (id INT PRIMARY KEY, {', '.join(with_default)})"
    yield "INSERT INTO d (id) VALUES (1), (2)"


def different(bench: Bench) -> dict[str, object]:
    """The tables that are not equal, and why."""
    return {
        name: (table.error, table.structure, [(each.kind, each.source, each.target) for each in table.differences])
        for name, table in compare(bench.settings, tables=("shop.*",)).items()
        if table.status != "equal"
    }


def change(end: Endpoint, kinds: Sequence[str], keyed: list[str], *more: str) -> None:
    """The same of each table by whose key a type is, and more."""
    names = [f"k{n}" for n, kind in enumerate(kinds) if kind not in WITHOUT_KEY]
    run_sql(end, [*(sql.format(name) for name in names for sql in keyed), *more], database="shop")


@pytest.mark.mysql
@pytest.mark.parametrize(
    ("bench", "kinds"),
    [
        ("mariadb to mysql", SOME),
        pytest.param("mariadb to mysql", tuple(VALUES), marks=LONG),
        pytest.param("mysql to mariadb", tuple(VALUES), marks=LONG),
    ],
    indirect=["bench"],
    ids=["some", "all", "back"],
)
def test_types_have_one_form_on_both_brands(bench: Bench, kinds: Sequence[str], tmp_path: Path) -> None:
    source, target = bench.source, bench.target
    capture = Capture(source, tmp_path, exact=True)
    capture.read()
    source.query("CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    run_sql(source, tables(kinds), database="shop")
    copy(bench.settings, streams=("file",), trust_stream=True)
    assert different(bench) == {}

    some = ["UPDATE {0} SET v = v + 100", "DELETE FROM {0} WHERE v = 102"]
    change(source, kinds, some, "UPDATE n SET id = id + 10", "UPDATE g SET id = id + 10",
           "INSERT INTO d (id) VALUES (3)",
           "DELETE FROM n WHERE id = 11", "UPDATE d SET id = 4 WHERE id = 1")  # fmt: skip
    version = source.query("SELECT @@version")[0][0].partition("-")[0]
    replay(
        target, capture.read(), stream="file", lossy_values="off", source_server=f"{source.brand} {version}",
        include=["shop.*"],
    )  # fmt: skip
    assert parked(target) == []
    assert different(bench) == {}

    change(target, kinds, ["DELETE FROM {0}"], "DELETE FROM n WHERE id = 10", "DELETE FROM g WHERE id < 12",
           "DELETE FROM d")  # fmt: skip
    plan = bench.make_plan()
    assert plan.left_out == ()
    outcome = bench.apply()
    assert (outcome.done, outcome.refused, outcome.different) == (len(plan.changes), (), 0)
    assert different(bench) == {}
