"""Verify against real servers: equal rows of every type are equal, and each broken row is named, exactly."""

from __future__ import annotations

import json
import struct
import subprocess
import threading
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pydbsync.apply.connection import Connection
from pydbsync.config.settings import RetrySettings, Settings
from pydbsync.errors import OperationError, TransientError
from pydbsync.ops.servers import Server
from pydbsync.ops.verify.compare import CompareOptions, Since, TableComparison
from pydbsync.ops.verify.report import TableReport
from pydbsync.ops.verify.run import Verification, VerifyOptions
from pydbsync.ops.verify.show import summary
from pydbsync.ops.verify.sides import Side
from tests.commands import call
from tests.comparing import LOG, QUICK, compare, found, on_both, run_sql, settings_for
from tests.examining import global_variables
from tests.servers import Endpoint

ALL_TYPES = """
CREATE TABLE t (
  id INT PRIMARY KEY, c VARCHAR(40) NULL, d VARCHAR(40) NULL, l VARCHAR(40) CHARACTER SET latin1 NULL,
  n DECIMAL(20, 10) NULL, u BIGINT UNSIGNED NULL, f FLOAT NULL, dd DOUBLE NULL, b BIT(40) NULL, y YEAR NULL,
  dt DATETIME(6) NULL, ts TIMESTAMP(3) NULL, tm TIME(6) NULL, da DATE NULL, e ENUM('', 'a', 'b') NULL,
  s SET('x', 'y') NULL, bi BINARY(4) NULL, bl LONGBLOB NULL, tx LONGTEXT NULL, j JSON NULL, g GEOMETRY NULL
);
INSERT INTO t SELECT n, CONCAT('c', n), REPEAT('é', n % 20), CONCAT('é', n), n * 0.5, 18446744073709551615 - n, n / 7e0,
  n / 3e20, n * 1000000007, 1970 + n % 100, DATE_ADD('2020-01-01', INTERVAL n * 1000003 MICROSECOND),
  DATE_ADD('2021-02-03 04:05:06', INTERVAL n SECOND), SEC_TO_TIME(n * 1000 - 300000),
  DATE_ADD('1000-01-01', INTERVAL n DAY),
  1 + n % 3, n % 4, UNHEX(LPAD(HEX(n), 8, '0')), REPEAT(UNHEX('FF00'), n), REPEAT('😀', n % 300),
  CONCAT('{"n": ', n, ', "list": [1, 2.5, null], "text": "é😀"}'), POINT(n, -n / 3e0)
FROM (WITH RECURSIVE q AS (SELECT 1 n UNION ALL SELECT n + 1 FROM q WHERE n < 600) SELECT n FROM q) numbers;
INSERT INTO t (id) VALUES (1000);
"""


def change(server: Endpoint, *statements: str) -> None:
    run_sql(server, statements, database="shop")


@pytest.fixture
def shop(fresh_source: Endpoint, fresh_target: Endpoint) -> Settings:
    """The settings of a comparison of both ends' database `shop`."""
    return settings_for(fresh_source, fresh_target)


def only(reports: dict[str, TableReport]) -> TableReport:
    (report,) = reports.values()
    return report


def test_equal_tables_of_all_types_are_equal(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(source, target, ALL_TYPES)
    report = only(compare(shop))
    assert (report.status, report.structure, report.source_rows, report.target_rows) == ("equal", [], 601, 601)
    assert report.chunks_differing == 0


BROKEN: dict[str, tuple[str, dict[str, Any] | None, dict[str, Any] | None]] = {
    "case": ("c = 'C7'", {"c": "c7"}, {"c": "C7"}),
    "blank at the end": ("c = 'c7 '", {"c": "c7"}, {"c": "c7 "}),
    "null and empty": ("c = NULL", {"c": "c7"}, {"c": None}),
    "empty and null": ("bl = ''", {"bl": "0x" + "FF00" * 7}, {"bl": "0x"}),
    "accent": ("d = REPEAT('e', 7)", {"d": "é" * 7}, {"d": "e" * 7}),
    "column boundary": ("c = 'c', d = '7ééééééé'", {"c": "c7", "d": "é" * 7}, {"c": "c", "d": "7ééééééé"}),
    "decimal": ("n = n + 0.0000000001", {"n": "3.5000000000"}, {"n": "3.5000000001"}),
    "float's last bit": ("f = f + 1.2e-7", {"f": "1"}, {"f": "1.0000001192092896"}),
    "unsigned": ("u = u + 1", {"u": str(2**64 - 8)}, {"u": str(2**64 - 7)}),
    "bit": ("b = b + 1", {"b": str(7 * 1000000007)}, {"b": str(7 * 1000000007 + 1)}),
    "microsecond": (
        "dt = DATE_ADD(dt, INTERVAL 1 MICROSECOND)",
        {"dt": "2020-01-01 00:00:07.000021"},
        {"dt": "2020-01-01 00:00:07.000022"},
    ),
    "zero date": ("da = '0000-00-00'", {"da": "1000-01-08"}, {"da": "0000-00-00"}),
    "enum": ("e = 'b'", {"e": "a"}, {"e": "b"}),
    "set": ("s = 'y'", {"s": "x,y"}, {"s": "y"}),
    "binary": ("bi = UNHEX('00000700')", {"bi": "0x00000007"}, {"bi": "0x00000700"}),
    "blob": ("bl = CONCAT(bl, UNHEX('00'))", {"bl": "0x" + "FF00" * 7}, {"bl": "0x" + "FF00" * 7 + "00"}),
    "text": ("tx = CONCAT(tx, ' ')", {"tx": "😀" * 7}, {"tx": "😀" * 7 + " "}),
    "srid": ("g = ST_GeomFromText('POINT(1 1)', 3857)", None, None),
}


@pytest.fixture(scope="module")
def all_types(source: Endpoint, target: Endpoint) -> Settings:
    """A table of all types at both ends, made once; the target has its row 7 in a database of its own too."""
    for end in (source, target):
        if end.server:
            end.server.start()
        end.drop_databases()
    on_both(source, target, ALL_TYPES)
    for sql in (
        "CREATE DATABASE kept",
        "CREATE TABLE kept.t LIKE shop.t",
        "INSERT INTO kept.t SELECT * FROM shop.t WHERE id = 7",
    ):
        target.query(sql)
    return settings_for(source, target)


@pytest.mark.parametrize("name", BROKEN)
def test_one_changed_value_is_found_and_shown(all_types: Settings, target: Endpoint, name: str) -> None:
    assignment, wanted, held = BROKEN[name]
    change(target, "REPLACE INTO t SELECT * FROM kept.t", f"UPDATE t SET {assignment} WHERE id = 7")
    report = only(compare(all_types))
    assert (report.status, report.different) == ("different", 1)
    ((kind, at_source, at_target),) = found(report)
    assert kind == "changed"
    if wanted is not None and held is not None:
        assert (at_source, at_target) == ({"id": "7", **wanted}, {"id": "7", **held})
    else:
        assert at_source.keys() == {"id", "g"}


def test_values_swapped_between_two_rows_are_found(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(source, target, ALL_TYPES)
    change(target, "UPDATE t SET c = IF(id = 7, 'c8', 'c7') WHERE id IN (7, 8)")
    assert [(kind, row["id"], row["c"]) for kind, row, _ in found(only(compare(shop)))] == [
        ("changed", "7", "c7"),
        ("changed", "8", "c8"),
    ]


def test_missing_and_extra_rows_are_named(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(source, target, "CREATE TABLE t (a INT, b VARCHAR(9), v INT, PRIMARY KEY (a, b))")
    rows = ", ".join(f"({n}, '{chr(97 + n % 26)}', {n})" for n in range(5000))
    for end in (source, target):
        change(end, f"INSERT INTO t VALUES {rows}")
    change(target, "DELETE FROM t WHERE a IN (0, 2500, 4999)", "INSERT INTO t VALUES (-1, '', 0), (77, 'Ö', NULL)")
    report = only(compare(shop))
    assert found(report) == [
        ("extra", None, {"a": "-1", "b": "", "v": "0"}),
        ("extra", None, {"a": "77", "b": "Ö", "v": None}),
        ("missing", {"a": "0", "b": "a", "v": "0"}, None),
        ("missing", {"a": "2500", "b": "e", "v": "2500"}, None),
        ("missing", {"a": "4999", "b": "h", "v": "4999"}, None),
    ]


def test_a_table_without_a_key_is_a_multiset_of_rows(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(source, target, "CREATE TABLE t (a INT NULL, b VARCHAR(9) NULL, f FLOAT)")
    rows = ", ".join(f"({n % 7}, 'x', {n % 7} / 3)" for n in range(300))
    for end in (source, target):
        change(end, f"INSERT INTO t VALUES {rows}, (NULL, NULL, NULL), (NULL, '', NULL)")
    assert only(compare(shop)).status == "equal"
    change(
        target,
        "DELETE FROM t WHERE a = 3 LIMIT 2",
        "INSERT INTO t VALUES (4, 'x', 4 / 3), (4, 'X', 4 / 3)",
        "UPDATE t SET b = '' WHERE a IS NULL",
    )
    report = only(compare(shop))
    counts = {
        tuple((row.source or row.target or [])[:2]): (row.kind, row.source_count, row.target_count)
        for row in report.differences
    }
    assert counts == {
        ("3", "x"): ("missing", 43, 41),
        ("4", "x"): ("extra", 43, 44),
        ("4", "X"): ("extra", 0, 1),
        (None, None): ("missing", 1, 0),
        (None, ""): ("extra", 1, 2),
    }


def test_rows_that_cancel_each_other_out_in_pairs_are_found(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(source, target, "CREATE TABLE t (a INT)")
    change(source, "INSERT INTO t VALUES (1), (1), (2), (2)")
    change(target, "INSERT INTO t VALUES (3), (3), (4), (4)")
    assert only(compare(shop)).different == 4


def test_the_same_document_spelled_otherwise_is_equal(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(source, target, "CREATE TABLE t (id INT PRIMARY KEY, j JSON);\nCREATE TABLE k (j JSON)")
    for table, key in (("t", "1, "), ("k", "")):
        change(source, f'INSERT INTO {table} VALUES ({key}\'{{"b": 1.50, "a": [1, 2]}}\')')
        change(target, f'INSERT INTO {table} VALUES ({key}\'{{"a":[1,2],"b":1.5}}\')')
    reports = compare(shop)
    assert {name: report.status for name, report in reports.items()} == {"shop.t": "equal", "shop.k": "equal"}


def test_a_float_in_a_double_is_equal_whether_copy_or_replay_wrote_it(
    shop: Settings, source: Endpoint, target: Endpoint
) -> None:
    for end, kind in ((source, "FLOAT"), (target, "DOUBLE")):
        end.query("CREATE DATABASE shop")
        change(end, f"CREATE TABLE t (id INT PRIMARY KEY, f {kind})", f"CREATE TABLE k (f {kind})")
    values = [0.1, 16777217.0, 1e-7, 3.4028234663852886e38, 1.1754943508222875e-38, 1e-45, 1 / 3, -2.5, 0.0, 123456.789]
    rows = ", ".join(f"({number}, {value!r})" for number, value in enumerate(values))
    change(source, f"INSERT INTO t VALUES {rows}, (99, NULL)", "INSERT INTO k SELECT f FROM t")
    exact = [(number, struct.unpack("f", struct.pack("f", value))[0]) for number, value in enumerate(values)]
    shortest = [
        (number, next(text for d in range(6, 18) if as_float(text := f"{f:.{d}g}") == f)) for number, f in exact
    ]
    chunks = []
    for written in (exact, shortest):
        change(target, f"INSERT INTO t VALUES {', '.join(f'({n}, {f})' for n, f in written)}, (99, NULL)",
               "INSERT INTO k SELECT f FROM t")  # fmt: skip
        reports = compare(shop)
        # The structure is another.
        assert [(each.different, each.status) for each in reports.values()] == [(0, "different")] * 2
        chunks.append(reports["shop.t"].chunks_differing)
        change(target, "DELETE FROM t WHERE id <> 0", "DELETE FROM k")
        change(target, "UPDATE t SET f = f + 1.5e-8", "INSERT INTO k SELECT f FROM t")
        assert compare(shop)["shop.t"].different == len(values) + 1
        change(target, "DELETE FROM t", "DELETE FROM k")
    assert chunks[0] == 0


def as_float(text: str) -> float:
    return float(struct.unpack("f", struct.pack("f", float(text)))[0])


@pytest.mark.mariadb
def test_of_a_system_versioned_table_the_current_rows_and_its_versioning_are_compared(
    shop: Settings, source: Endpoint, target: Endpoint
) -> None:
    for end in (source, target):
        end.query("CREATE DATABASE shop")
    plain = "CREATE TABLE {} (id INT PRIMARY KEY, v INT, w INT)"
    period = (
        "rs TIMESTAMP(6) GENERATED ALWAYS AS ROW START, re TIMESTAMP(6) GENERATED ALWAYS AS ROW END,"
        " PERIOD FOR SYSTEM_TIME (rs, re)"
    )
    versioned = {
        "a": (f"{plain.format('a')} WITH SYSTEM VERSIONING",) * 2,
        "b": (f"{plain.format('b')} WITH SYSTEM VERSIONING", plain.format("b")),
        "c": (plain.format("c"), f"{plain.format('c')} WITH SYSTEM VERSIONING"),
        "d": (f"CREATE TABLE d (id INT PRIMARY KEY, v INT, w INT, {period}) WITH SYSTEM VERSIONING",
              f"{plain.format('d')} WITH SYSTEM VERSIONING"),
        "e": (f"{plain.format('e')} WITH SYSTEM VERSIONING",
              "CREATE TABLE e (id INT PRIMARY KEY, v INT, w INT WITHOUT SYSTEM VERSIONING) WITH SYSTEM VERSIONING"),
    }  # fmt: skip
    for end, number in ((source, 0), (target, 1)):
        change(end, *(each[number] for each in versioned.values()))
    for name in versioned:
        change(source, f"INSERT INTO {name} (id, v) VALUES (1, 1), (2, 2)", f"UPDATE {name} SET v = 9 WHERE id = 1",
               f"DELETE FROM {name} WHERE id = 2")  # fmt: skip
        change(target, f"INSERT INTO {name} (id, v) VALUES (1, 9), (3, 3)", f"DELETE FROM {name} WHERE id = 3")
    reports = {name.removeprefix("shop."): each for name, each in compare(shop).items()}
    assert {name: each.different for name, each in reports.items()} == dict.fromkeys(versioned, 0)
    ways = {name: [text for text in each.structure if "versioned" in text] for name, each in reports.items()}
    assert ways == {
        "a": [],
        "b": ["the table is system-versioned at the source, not system-versioned at the target"],
        "c": ["the table is not system-versioned at the source, system-versioned at the target"],
        "d": ["the table is system-versioned by rs and re at the source, system-versioned at the target"],
        "e": ["the table is system-versioned at the source, system-versioned without w at the target"],
    }
    told = {name for name, each in reports.items() if any("not its history" in note for note in each.notes)}
    assert told == {"a", "b", "d", "e"}
    change(target, "UPDATE a SET v = 8")
    assert compare(shop)["shop.a"].different == 1


@pytest.mark.mariadb
def test_how_values_are_kept_is_no_difference(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    for end, word in ((source, "COMPRESSED"), (target, "")):
        end.query("CREATE DATABASE shop")
        change(end, f"CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(99) {word}, b BLOB {word})")
        change(end, "INSERT INTO t VALUES (1, REPEAT('a', 99), REPEAT('b', 999))")
    report = compare(shop)["shop.t"]
    assert report.structure == []
    assert report.status == "equal"


def test_structure_is_compared_column_by_column(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    for end in (source, target):
        end.query("CREATE DATABASE shop")
    change(
        source,
        "CREATE TABLE p (id INT PRIMARY KEY)",
        "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(10) CHARACTER SET latin1 NOT NULL, b INT, c INT, KEY a (a),"
        " KEY b (b), CONSTRAINT fk FOREIGN KEY (b) REFERENCES p (id) ON DELETE CASCADE)",
        "CREATE TABLE gone (id INT)",
    )
    change(
        target,
        "CREATE TABLE p (id INT PRIMARY KEY)",
        "CREATE TABLE t (id INT PRIMARY KEY, b INT, a VARCHAR(20) CHARACTER SET latin1, d INT, KEY a (a, b),"
        " KEY b (b))",
        "CREATE TABLE new (id INT)",
    )
    reports = compare(shop)
    assert {name: report.status for name, report in reports.items()} == {
        "shop.p": "equal",
        "shop.t": "different",
        "shop.gone": "different",
        "shop.new": "different",
    }
    assert reports["shop.gone"].structure == ["the target has no such table"]
    assert reports["shop.new"].structure == ["the source has no such table"]
    assert reports["shop.t"].structure == [
        "column a is varchar(10) not null latin1 at the source, varchar(20) latin1 at the target",
        "column c is missing at the target",
        "column d is at the target only",
        "the target's columns stand in another order: id, b, a",
        "index a is (a) at the source, (a, b) at the target",
        "foreign key fk (b) to shop.p (id) on delete cascade on update restrict is missing at the target"
        " (a user without REFERENCES is shown none)",
    ]
    assert compare(shop, data_only=True)["shop.t"].status == "equal"


def test_defaults_of_timestamps_are_compared_as_moments(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    for end, zone, default, other in ((source, "+08:00", "08", "08"), (target, "+05:00", "05", "08")):
        end.query("CREATE DATABASE shop")
        with end.connect(database="shop") as connection, connection.cursor() as cursor:
            cursor.execute("SET time_zone = %s", (zone,))
            cursor.execute(
                f"CREATE TABLE t (id INT PRIMARY KEY, a TIMESTAMP NOT NULL DEFAULT '2020-01-01 {default}:00:00',"
                " b TIMESTAMP(3) NULL DEFAULT NULL, c TIMESTAMP DEFAULT CURRENT_TIMESTAMP)"
            )
            cursor.execute(
                f"CREATE TABLE u (id INT PRIMARY KEY, a TIMESTAMP(1) NOT NULL DEFAULT '2020-01-01 {other}:00:00.5')"
            )
    reports = compare(shop)
    assert reports["shop.t"].structure == []
    assert [text.replace("'", "") for text in reports["shop.u"].structure] == [
        "column a is by default 2020-01-01 00:00:00.5 at the source, 2020-01-01 03:00:00.5 at the target"
    ]


def test_checks_and_partitions_are_compared(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    same = "j JSON, CONSTRAINT cs CHECK (a > 0), CONSTRAINT ds CHECK (a < 100)"
    parts = "PARTITION BY RANGE (id) (PARTITION p VALUES LESS THAN (10), PARTITION q VALUES LESS THAN {})"
    on_both(source, target, f"CREATE TABLE s (id INT PRIMARY KEY, a INT, {same}) {parts.format('MAXVALUE')}")
    change(
        source, "CREATE TABLE t (id INT PRIMARY KEY, a INT, CONSTRAINT c CHECK (a > 0), CONSTRAINT e CHECK (a <> 7))"
    )
    change(
        target, "CREATE TABLE t (id INT PRIMARY KEY, a INT, CONSTRAINT c CHECK (a > 1), CONSTRAINT f CHECK (a <> 8))"
    )
    change(source, f"CREATE TABLE p (id INT PRIMARY KEY) {parts.format('MAXVALUE')}")
    change(target, f"CREATE TABLE p (id INT PRIMARY KEY) {parts.format('(20)')}")
    change(source, "CREATE TABLE q (id INT PRIMARY KEY) PARTITION BY KEY (id) PARTITIONS 3")
    change(target, "CREATE TABLE q (id INT PRIMARY KEY)")
    reports = compare(shop)
    assert reports["shop.s"].structure == []
    assert [text.replace("(", "").replace(")", "") for text in reports["shop.t"].structure] == [
        "CHECK constraint c is `a` > 0 at the source, `a` > 1 at the target",
        "CHECK constraint e `a` <> 7 is missing at the target",
        "CHECK constraint f `a` <> 8 is at the target only",
    ]
    (ranges,) = reports["shop.p"].structure
    assert "p 10, q MAXVALUE at the source" in ranges
    assert "p 10, q 20 at the target" in ranges
    assert "not partitioned at the target" in reports["shop.q"].structure[0]
    assert compare(shop, data_only=True)["shop.t"].status == "equal"


def test_what_columns_and_indexes_are_made_of_is_compared(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    is_mysql = "MariaDB" not in str(source.query("SELECT @@version"))
    hidden = "INVISIBLE" if is_mysql else "IGNORED"
    defaults, of_expression, of_bytes = " DEFAULT 'none'", " DEFAULT 'uuid()'", "X'00FF'"
    system = " SRID 4326" if is_mysql else " REF_SYSTEM_ID=4326"
    for end, added, order, keyed in ((source, 1, " DESC", "LOWER(s)"), (target, 2, "", "UPPER(s)")):
        end.query("CREATE DATABASE shop")
        change(
            end,
            f"CREATE TABLE t (id INT PRIMARY KEY, a INT, g INT AS (a + {added}) VIRTUAL, h INT AS (a + 5) STORED,"
            f" n VARCHAR(9){defaults}, f VARCHAR(40){of_expression}, o POINT{system}, b BINARY(2) DEFAULT {of_bytes},"
            f" c VARBINARY(9) DEFAULT X'27FF5C00',"
            f" s VARCHAR(9), KEY d (a{order}), KEY h (h){'' if order else ' ' + hidden}, KEY s (s),"
            f" {f'KEY e (({keyed}))' if is_mysql else 'KEY e (s)'})",
        )
        defaults, of_expression, system, of_bytes = "", " DEFAULT (uuid())", "", "X'00FE'"
    found = compare(shop)["shop.t"].structure
    by_expression = ["index e is (lower(`s`)) at the source, (upper(`s`)) at the target"] if is_mysql else []
    assert [text.replace("(`a` +", "`a` +").replace("1)", "1").replace("2)", "2") for text in found] == [
        "column g is generated as `a` + 1 at the source, `a` + 2 at the target",
        "column n is by default 'none' at the source, NULL at the target",
        "column f is by default 'uuid()' at the source, uuid() at the target",
        "column o is of SRID 4326 at the source, any at the target",
        "column b is by default 0x00FF at the source, 0x00FE at the target",
        "index d is (a DESC) at the source, (a) at the target",
        *by_expression,
        "index h is (h) at the source, (h) and not used by the server at the target",
    ]


def test_a_table_that_the_user_may_not_see_is_not_said_to_be_missing(
    fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    tables = "CREATE TABLE t (id INT);\nCREATE TABLE u (id INT);\nCREATE TABLE v (id INT, s INT INVISIBLE)"
    on_both(fresh_source, fresh_target, tables)
    hidden = {}
    for end in (fresh_source, fresh_target):
        end.query("DROP USER IF EXISTS hidden")
        end.query("CREATE USER hidden IDENTIFIED BY 'hidden'")
        end.query("GRANT SELECT ON shop.t TO hidden")
        end.query("GRANT SELECT (id) ON shop.v TO hidden")
        hidden[end] = replace(end, user="hidden", password="hidden")
    for source, target, which in (
        (hidden[fresh_source], fresh_target, "source"),
        (fresh_source, hidden[fresh_target], "target"),
    ):
        reports = compare(settings_for(source, target), data_only=True)
        assert (reports["shop.t"].status, reports["shop.u"].status) == ("equal", "unknown")
        assert reports["shop.v"].status == "unknown"
        assert reports["shop.v"].error.endswith("grant the user SELECT on it")
        assert f"the {which} has no such table, or does not show it to the user" in reports["shop.u"].error
    for end in (fresh_source, fresh_target):
        end.query("DROP USER hidden")


def test_what_is_not_compared_is_named(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(source, target, "CREATE TABLE t (id INT PRIMARY KEY)")
    change(
        source,
        "CREATE VIEW v AS SELECT * FROM t",
        "CREATE TRIGGER g BEFORE INSERT ON t FOR EACH ROW SET @a = 1",
        "CREATE EVENT e ON SCHEDULE EVERY 1 YEAR DO DO 1",
        "CREATE PROCEDURE p() DO 1",
    )
    report = Verification(shop, VerifyOptions(settle=QUICK), stop=threading.Event(), log=LOG).run()
    assert report.not_compared == ["view shop.v", "trigger shop.g", "event shop.e", "routine shop.p"]
    assert "Not compared: view shop.v, trigger shop.g" in summary(report).plain
    assert report.exit_code() == 0


def test_labels_in_another_order_are_the_same_values(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    values = (
        "INSERT INTO {} VALUES (1, 'a', 'a,b'), (2, 'b', 'é,c'), (3, 'c', ''), (4, NULL, NULL), (5, 'a', 'a,b,c,é')"
    )
    for end, labels in ((source, "'a','b','c','é'"), (target, "'é','c','b','a','z'")):
        end.query("CREATE DATABASE shop CHARACTER SET utf8mb4")
        for name, key in (("t", "PRIMARY KEY"), ("k", "NOT NULL")):
            change(end, f"CREATE TABLE {name} (id INT {key}, e ENUM({labels}), s SET({labels}))", values.format(name))
    reports = compare(shop)
    assert [report.different for report in reports.values()] == [0, 0]
    change(target, "UPDATE t SET s = 'b' WHERE id = 1", "UPDATE k SET s = 'a' WHERE id = 3")
    assert {name: report.different for name, report in compare(shop).items()} == {"shop.t": 1, "shop.k": 2}


def test_a_number_is_not_the_double_that_it_was_rounded_to(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    rows = "(1, 9007199254740992, 0.1, 0.30), (2, 9007199254740993, 0.1, 0.10000000000000000001)"
    for end, kinds in ((source, ("BIGINT", "DECIMAL(4,3)", "DECIMAL(30,20)")), (target, ("DOUBLE",) * 3)):
        end.query("CREATE DATABASE shop")
        for name, key in (("t", "PRIMARY KEY"), ("k", "NOT NULL")):
            columns = ", ".join(f"{column} {kind}" for column, kind in zip("bcd", kinds, strict=True))
            change(end, f"CREATE TABLE {name} (id INT {key}, {columns})", f"INSERT INTO {name} VALUES {rows}")
    reports = compare(shop, data_only=True)
    assert [each[1]["id"] for each in found(reports["shop.t"])] == ["2"]
    assert reports["shop.k"].different == 2


def test_a_label_that_prints_as_none_is_told_from_it(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    # ENUM's error value, and a SET without members.
    rows = {
        source: "(1, 2, 1), (2, 0, 2), (3, 2, 0), (4, NULL, NULL)",
        target: "(1, 0, 1), (2, 0, 3), (3, 2, 1), (4, NULL, NULL)",
    }
    for end, values in rows.items():
        end.query("CREATE DATABASE shop CHARACTER SET utf8mb4")
        for name, key in (("t", "PRIMARY KEY"), ("k", "NOT NULL")):
            change(
                end,
                f"CREATE TABLE {name} (id INT {key}, e ENUM('a','') CHARACTER SET latin1, s SET('','a'))",
                f"INSERT INTO {name} VALUES {values}",
            )
    assert {name: report.different for name, report in compare(shop).items()} == {"shop.t": 3, "shop.k": 6}


def test_names_that_need_quoting_are_compared(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    odd = "a`b.c '\"% ü"
    statements = (
        f"CREATE TABLE `{odd.replace('`', '``')}` (`{odd.replace('`', '``')}` VARCHAR(9) PRIMARY KEY, `order` INT);\n"
        f"INSERT INTO `{odd.replace('`', '``')}` VALUES ('x', 1), ('\\'\\\\', 2)"
    )
    on_both(source, target, statements, database="sho.p%")
    assert only(compare(shop)).status == "equal"
    run_sql(target, [f"UPDATE `{odd.replace('`', '``')}` SET `order` = 3 WHERE `order` = 2"], database="sho.p%")
    assert found(only(compare(shop))) == [("changed", {odd: "'\\", "order": "2"}, {odd: "'\\", "order": "3"})]


def test_only_chosen_tables_are_compared(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    statements = "CREATE TABLE a (id INT PRIMARY KEY);\nCREATE TABLE b (id INT);\nCREATE TABLE c (id INT)"
    on_both(fresh_source, fresh_target, statements)
    settings = settings_for(fresh_source, fresh_target, exclude=["*.c"])
    assert set(compare(settings)) == {"shop.a", "shop.b"}
    assert set(compare(settings, tables=("shop.b", "*.a"))) == {"shop.a", "shop.b"}
    for options, given, why in (
        ({}, {"tables": ("shop.b", "shpo.*")}, r"--tables names shpo\.\*, and no table that is compared"),
        ({}, {"tables": ("shop.bb",)}, r"--tables names shop\.bb, .*is called so \(is shop\.b .*meant\?\)"),
        ({}, {"exclude": ("shop.bb", "*.a")}, r"--exclude names shop\.bb, and no table .*\(is shop\.b .*meant\?\)"),
        ({}, {"tables": ("shop.b", "shop.C")}, r"--tables names 'shop.C', and the source calls it shop\.c"),
        ({}, {"exclude": ("Shop.c",)}, r"--exclude names 'Shop.c', and the source calls it shop\.c"),
        ({"include": ["shop.a", "Shop.*"]}, {}, r"include names 'Shop\.\*', and the source calls it shop\.b"),
        ({"dbname_rewrite": {"SHOP": "z"}}, {}, "dbname_rewrite names 'SHOP', and the source calls it shop"),
    ):
        with pytest.raises(OperationError, match=why):
            compare(settings_for(fresh_source, fresh_target, **options), **given)


def test_renamed_databases_are_compared_under_both_names(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    run_sql(fresh_source, ["CREATE DATABASE a", "CREATE TABLE a.t (id INT PRIMARY KEY)", "INSERT INTO a.t VALUES (1)"])
    run_sql(fresh_target, ["CREATE DATABASE z", "CREATE TABLE z.t (id INT PRIMARY KEY)", "INSERT INTO z.t VALUES (1)"])
    settings = settings_for(fresh_source, fresh_target, dbname_rewrite={"a": "z"})
    assert compare(settings)["z.t"].status == "equal"
    run_sql(fresh_target, ["INSERT INTO z.t VALUES (2)"])
    assert found(compare(settings)["z.t"]) == [("extra", None, {"id": "2"})]


def merged(source: Endpoint, target: Endpoint) -> None:
    """Two source databases of 3,000 rows each that are one at the target."""
    for name, start in (("s1", 0), ("s2", 3000)):
        rows = ", ".join(f"({n}, {n % 10})" for n in range(start, start + 3000))
        create = f"CREATE TABLE {name}.t (id INT PRIMARY KEY, v INT)"
        run_sql(source, [f"CREATE DATABASE {name}", create, f"INSERT INTO {name}.t VALUES {rows}"])
    rows = ", ".join(f"({n}, {n % 10})" for n in range(6000))
    create = "CREATE TABLE one.t (id INT PRIMARY KEY, v INT)"
    run_sql(target, ["CREATE DATABASE one", create, f"INSERT INTO one.t VALUES {rows}"])


def test_merged_databases_are_compared_as_one(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    merged(fresh_source, fresh_target)
    settings = settings_for(fresh_source, fresh_target, dbname_rewrite={"s1": "one", "s2": "one"})
    report = compare(settings)["one.t"]
    assert (report.status, report.source_rows, report.target_rows) == ("equal", 6000, 6000)
    statements = ["UPDATE one.t SET v = 99 WHERE id = 10", "DELETE FROM one.t WHERE id = 5000"]
    run_sql(fresh_target, [*statements, "INSERT INTO one.t VALUES (9000, 1)"])
    assert found(compare(settings)["one.t"]) == [
        ("changed", {"id": "10", "v": "0"}, {"id": "10", "v": "99"}),
        ("extra", None, {"id": "9000", "v": "1"}),
        ("missing", {"id": "5000", "v": "0"}, None),
    ]


def test_a_key_of_two_merged_tables_is_called_so(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    merged(fresh_source, fresh_target)
    run_sql(fresh_source, ["INSERT INTO s2.t VALUES (7, 1)"])
    settings = settings_for(fresh_source, fresh_target, dbname_rewrite={"s1": "one", "s2": "one"})
    (difference,) = compare(settings)["one.t"].differences
    assert (difference.kind, difference.source_count, difference.target_count) == ("collision", 2, 1)


def test_rows_of_sources_that_are_not_here_say_nothing(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    merged(fresh_source, fresh_target)
    run_sql(fresh_source, ["DROP DATABASE s2"])
    run_sql(fresh_target, ["UPDATE one.t SET v = 99 WHERE id = 10"])
    settings = settings_for(fresh_source, fresh_target, dbname_rewrite={"s1": "one", "s2": "one"})
    report = compare(settings)["one.t"]
    assert (report.different, report.unknown_extra) == (1, 3000)
    alone = settings_for(fresh_source, fresh_target, dbname_rewrite={"s1": "one"})
    assert compare(alone)["one.t"].different == 3001
    assert compare(alone, is_shared=True)["one.t"].different == 1


def test_shards_hold_the_rows_of_their_number(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    rows = [(n, n - 20 if n % 9 else None) for n in range(200)]
    run_sql(fresh_source, ["CREATE DATABASE crm", "CREATE TABLE crm.t (id INT PRIMARY KEY, corp INT)"])
    run_sql(fresh_source, [f"INSERT INTO crm.t VALUES {values(rows)}"])
    for shard in (1, 3):
        held = [row for row in rows if not row[1] or row[1] % 4 == shard]
        create = f"CREATE TABLE crm{shard}.t (id INT PRIMARY KEY, corp INT)"
        run_sql(
            fresh_target, [f"CREATE DATABASE crm{shard}", create, f"INSERT INTO crm{shard}.t VALUES {values(held)}"]
        )
    sharding = {"databases": ["crm"], "column": "corp", "modulo": 4, "instances": 2}
    settings = settings_for(fresh_source, fresh_target, db_corpmod=1, sharding=sharding)
    assert {name: report.status for name, report in compare(settings).items()} == {
        "crm1.t": "equal",
        "crm3.t": "equal",
    }
    run_sql(fresh_target, ["INSERT INTO crm3.t SELECT * FROM crm1.t WHERE id = 25", "DELETE FROM crm1.t WHERE id = 25"])
    reports = compare(settings)
    assert [found(reports[name]) for name in ("crm1.t", "crm3.t")] == [
        [("missing", {"id": "25", "corp": "5"}, None)],
        [("extra", None, {"id": "25", "corp": "5"})],
    ]


def values(rows: list[tuple[Any, ...]]) -> str:
    return ", ".join("(" + ", ".join("NULL" if each is None else str(each) for each in row) + ")" for row in rows)


def test_a_text_key_that_sorts_otherwise_at_the_target_loses_no_row(
    shop: Settings, source: Endpoint, target: Endpoint
) -> None:
    for end, collation in ((source, "utf8mb4_general_ci"), (target, "utf8mb4_bin")):
        end.query("CREATE DATABASE shop")
        change(end, f"CREATE TABLE t (k VARCHAR(20) COLLATE {collation} PRIMARY KEY, v INT)")
        rows = ", ".join(f"('{'aBcDÄöé'[n % 7]}{n * 7919 % 4001}', {n})" for n in range(4000))
        change(end, f"INSERT INTO t VALUES {rows}")
    report = only(compare(shop, data_only=True))
    assert (report.status, report.chunks > 1) == ("equal", True)
    change(target, "DELETE FROM t WHERE v = 3999", "UPDATE t SET v = -1 WHERE v = 17", "INSERT INTO t VALUES ('zz', 0)")
    assert sorted(kind for kind, _, _ in found(only(compare(shop, data_only=True)))) == ["changed", "extra", "missing"]


def test_a_key_in_another_character_set_is_matched(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    for end, charset in ((source, "latin1"), (target, "utf8mb4")):
        end.query("CREATE DATABASE shop")
        change(end, f"CREATE TABLE t (k VARCHAR(20) CHARACTER SET {charset} PRIMARY KEY, v INT)")
        change(end, "INSERT INTO t VALUES ('é1', 1), ('ü2', 2), ('x', 3)")
    assert only(compare(shop, data_only=True)).status == "equal"
    change(target, "UPDATE t SET v = 9 WHERE v = 2", "INSERT INTO t VALUES ('😀', 4)")
    assert found(only(compare(shop, data_only=True))) == [
        ("changed", {"k": "ü2", "v": "2"}, {"k": "ü2", "v": "9"}),
        ("extra", None, {"k": "😀", "v": "4"}),
    ]


def test_only_rows_since_a_time_are_compared(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(
        source,
        target,
        "CREATE TABLE t (id INT PRIMARY KEY, v INT, changed DATETIME);\nCREATE TABLE u (id INT PRIMARY KEY);\n"
        "CREATE TABLE w (id INT PRIMARY KEY, changed VARCHAR(20));\n"
        "INSERT INTO t VALUES (1, 1, '2020-01-01'), (2, 2, '2021-01-01'), (3, 3, '2021-06-01')",
    )
    change(target, "UPDATE t SET v = 9 WHERE id IN (1, 3)", "INSERT INTO u VALUES (1)")
    reports = compare(shop, compare=CompareOptions(since=Since("changed", "2021-01-01")))
    assert found(reports["shop.t"]) == [("changed", {"id": "3", "v": "3"}, {"id": "3", "v": "9"})]
    assert reports["shop.t"].source_rows == 2
    assert (reports["shop.u"].status, reports["shop.u"].notes) == (
        "skipped",
        ["not compared: it has no column changed"],
    )
    assert (reports["shop.w"].status, reports["shop.w"].notes) == (
        "skipped",
        ["not compared: its column changed holds no times; --where takes any condition"],
    )
    options = VerifyOptions(
        settle=QUICK, tables=("shop.w",), compare=CompareOptions(since=Since("changed", "2021-01-01"))
    )
    assert Verification(shop, options, stop=threading.Event(), log=LOG).run().exit_code() == 2  # nothing was compared


def test_a_sample_takes_a_share_of_the_chunks(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(source, target, "CREATE TABLE t (id INT PRIMARY KEY)")
    rows = ", ".join(f"({n})" for n in range(30000))
    for end in (source, target):
        change(end, f"INSERT INTO t VALUES {rows}")
    sampled = compare(shop, compare=CompareOptions(sample_percent=30, chunk_s=0.0001))["shop.t"]
    assert 0 < sampled.source_rows < 30000
    again = compare(shop, compare=CompareOptions(sample_percent=100, chunk_s=0.0001))["shop.t"]
    assert again.source_rows == 30000
    assert sampled.chunks < again.chunks


def test_a_table_is_left_at_the_limit_of_differences(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(source, target, "CREATE TABLE t (id INT PRIMARY KEY)")
    change(source, f"INSERT INTO t VALUES {', '.join(f'({n})' for n in range(20000))}")
    report = compare(shop, compare=CompareOptions(max_differences=100))["shop.t"]
    assert report.is_cut
    assert 100 <= report.different < 20000


def test_a_row_longer_than_a_packet_is_compared_by_its_digest(
    shop: Settings, source: Endpoint, target: Endpoint
) -> None:
    on_both(source, target, "CREATE TABLE t (id INT PRIMARY KEY, a LONGTEXT, b LONGTEXT, c LONGBLOB)")
    limit = 2**20
    with ExitStack() as stack:
        for end in (source, target):
            stack.enter_context(global_variables(end, [f"SET GLOBAL max_allowed_packet = {limit}"]))
            change(end, f"INSERT INTO t (id, a) VALUES (1, REPEAT('x', {limit // 2}))")
            for column in "bc":
                change(end, f"UPDATE t SET {column} = REPEAT('{column}', {limit // 2}) WHERE id = 1")
        assert only(compare(shop)).status == "equal"
        change(target, "UPDATE t SET c = CONCAT(c, 'c') WHERE id = 1")
        ((kind, at_source, at_target),) = found(only(compare(shop)))
    assert kind == "changed"
    assert at_source["c"] != at_target["c"]


def test_a_table_that_cannot_be_read_is_said_to_be_unknown(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    on_both(fresh_source, fresh_target, "CREATE TABLE t (id INT PRIMARY KEY);\nCREATE TABLE u (id INT PRIMARY KEY)")
    run_sql(fresh_target, ["DROP USER IF EXISTS half@'%'", "CREATE USER half@'%' IDENTIFIED BY 'half'"])
    run_sql(fresh_target, ["GRANT SELECT ON shop.t TO half@'%'", "GRANT INSERT ON shop.u TO half@'%'"])
    user = {**fresh_target.db_info, "user": "half", "password": "half"}
    reports = compare(settings_for(fresh_source, fresh_target, db_info=user), data_only=True)
    assert reports["shop.t"].status == "equal"
    assert reports["shop.u"].status == "unknown"
    assert "SELECT command denied" in reports["shop.u"].error


def test_a_table_without_a_key_is_compared_in_bounded_memory(
    shop: Settings, source: Endpoint, target: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pydbsync.ops.verify.compare._DIGESTS_AT_ONCE", 50)
    monkeypatch.setattr("pydbsync.ops.verify.compare._BUCKETS", 8)
    rows = ", ".join(f"({n % 900})" for n in range(1000))
    on_both(source, target, f"CREATE TABLE k (a INT);\nINSERT INTO k VALUES {rows};\nINSERT INTO k VALUES {rows}")
    change(target, "DELETE FROM k WHERE a BETWEEN 100 AND 299", "INSERT INTO k VALUES (7), (2000), (2000)")
    most = 0
    asked = Side.bucket_digests

    def watched(self: Side, buckets: int, chosen: Iterable[int], condition: str) -> Counter[str]:
        nonlocal most
        found = asked(self, buckets, chosen, condition)
        most = max(most, len(found))
        return found

    monkeypatch.setattr(Side, "bucket_digests", watched)
    report = only(compare(shop))
    assert (report.different, report.source_rows) == (202, 2000)
    assert 0 < most <= 50
    assert only(compare(shop, compare=CompareOptions(max_differences=10))).is_cut


# -- what is left out ------------------------------------------------------------------------------------------------

PARTS = """
CREATE TABLE t (a INT PRIMARY KEY, v INT, note VARCHAR(20));
CREATE TABLE k (a INT, v INT, note VARCHAR(20));
CREATE TABLE log_1 (a INT PRIMARY KEY, v INT, note VARCHAR(20));
INSERT INTO t VALUES (1, 1, 'x'), (2, 2, 'x'), (3, 3, 'x');
INSERT INTO k SELECT * FROM t;
INSERT INTO log_1 SELECT * FROM t
"""


def test_tables_rows_and_columns_can_be_left_out(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(source, target, PARTS)
    for table in ("t", "k", "log_1"):
        change(target, f"UPDATE {table} SET note = 'y' WHERE a = 1", f"UPDATE {table} SET v = 0 WHERE a = 3")

    def different(**options: Any) -> dict[str, int]:
        return {name: report.different for name, report in compare(shop, jobs=2, **options).items()}

    assert different() == {"shop.t": 2, "shop.k": 4, "shop.log_1": 2}
    assert different(exclude=("*.log_*",)) == {"shop.t": 2, "shop.k": 4}
    assert different(tables=("shop.t", "shop.k"), ignored=("NOTE",)) == {"shop.t": 1, "shop.k": 2}
    assert different(tables=("shop.t", "shop.k"), ignored=("shop.t.note", "a")) == {"shop.t": 1, "shop.k": 4}
    only_first = CompareOptions(where=(("shop.*", "a < 2 -- the first"),))
    assert different(compare=only_first) == {"shop.t": 1, "shop.k": 2, "shop.log_1": 1}
    report = compare(shop, tables=("shop.t",), ignored=("note",))["shop.t"]
    assert (report.columns, report.notes) == (["a", "v"], ["not compared: note"])
    only_t = CompareOptions(where=(("shop.t", "a < 2"),))
    assert different(compare=only_t) == {"shop.t": 1, "shop.k": 4, "shop.log_1": 2}
    with pytest.raises(OperationError, match=r"--where names shop\.none, and no table that is compared is called so"):
        different(compare=CompareOptions(where=(("shop.none", "TRUE"),)))
    for given, why in (
        ({"ignored": ("shop.t.nots",)}, r"--ignore-columns names shop\.t\.nots, .*\(is shop\.t\.note .*meant\?\)"),
        ({"ignored": ("note", "shop.u.note")}, r"--ignore-columns names shop\.u\.note, and no column that the user"),
        (
            {"compare": CompareOptions(since=Since("changed_at", "2021-01-01"))},
            "--since names changed_at, and no column",
        ),
    ):
        with pytest.raises(OperationError, match=why):
            different(**given)
    wrong = compare(shop, compare=CompareOptions(where=(("*.t", "no_column = 1"),)), tables=("shop.t",))["shop.t"]
    assert wrong.status == "unknown"
    assert "no_column" in wrong.error


def test_a_column_that_is_left_out_counts_for_nothing_in_the_structure(
    shop: Settings, source: Endpoint, target: Endpoint
) -> None:
    on_both(source, target, PARTS)
    change(target, "ALTER TABLE t DROP COLUMN note")
    assert compare(shop, tables=("shop.t",))["shop.t"].structure == ["column note is missing at the target"]
    assert compare(shop, tables=("shop.t",), ignored=("shop.t.note",))["shop.t"].status == "equal"


def test_explain_says_what_would_be_done_and_reads_no_row(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    on_both(source, target, PARTS)
    change(target, "DROP TABLE log_1", "ALTER TABLE k ADD own INT")
    options = VerifyOptions(compare=CompareOptions(where=(("shop.*", "v > 1"),)), ignored=("note",))
    lines = list(Verification(shop, options, stop=threading.Event(), log=LOG).explain())
    assert lines[0] == "shop.log_1: the target has no such table"
    assert lines[1:5] == [
        "shop.k: in one pass, as a multiset of rows: there is no key that both sides share",
        "    not compared at the source: note",
        "    not compared at the target: note, own",
        "    compared: 2 columns",
    ]
    assert lines[7] == "shop.t: in ranges of its key (a) of about 0.5 s each"
    assert lines[-1].startswith("    target: SELECT COUNT(*), SUM(")
    assert lines[-1].endswith("FROM `shop`.`t` FORCE INDEX (PRIMARY) WHERE (v > 1 )")


def test_several_tables_are_compared_at_the_same_time(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    tables = ";\n".join(f"CREATE TABLE t{n} (a INT PRIMARY KEY);\nINSERT INTO t{n} VALUES (1), (2)" for n in range(8))
    on_both(source, target, tables)
    change(target, "DELETE FROM t5 WHERE a = 2", "DROP TABLE t7")
    at_once = threading.Barrier(3, timeout=30)
    seen: set[str] = set()

    def meet(report: TableReport) -> None:
        seen.add(str(report.target))

    original = TableComparison.run

    def run(self: TableComparison) -> None:
        if self.report.target.table in ("t0", "t1", "t2"):
            at_once.wait()
        original(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(TableComparison, "run", run)
        reports = compare(shop, jobs=3, on_progress=meet)
    assert {name: report.status for name, report in reports.items() if report.status != "equal"} == {
        "shop.t5": "different",
        "shop.t7": "different",
    }
    assert len(seen) == 7


# -- the command -----------------------------------------------------------------------------------------------------


def command(source: Endpoint, target: Endpoint, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`pydbsync verify --config … ARGUMENTS`."""
    config = folder / "config.py"
    config.write_text(f"db_info = {target.db_info}\nsource_db_info = {source.db_info}\nlog_file_prefix = ''\n")
    return call("verify", "--config", str(config), *arguments)


def test_the_command_says_equal_different_and_unknown_by_its_exit_code(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    nothing = command(fresh_source, fresh_target, tmp_path)
    assert nothing.returncode == 2
    assert "there is nothing to compare" in nothing.stderr
    on_both(fresh_source, fresh_target, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))")
    change(fresh_source, "INSERT INTO t VALUES (1, 'one'), (2, 'two')")
    change(fresh_target, "INSERT INTO t VALUES (1, 'one'), (2, 'TWO')")
    different = command(fresh_source, fresh_target, tmp_path)
    assert different.returncode == 1
    lines = [line.split() for line in different.stdout.splitlines()]
    assert ["v", "two", "TWO"] in lines
    assert "1 table: 1 different; 2 rows compared, 1 differ" in different.stdout
    change(fresh_target, "UPDATE t SET v = 'two' WHERE id = 2")
    equal = command(fresh_source, fresh_target, tmp_path)
    assert (equal.returncode, equal.stdout.split()[:2]) == (0, ["equal", "shop.t"])


def test_the_command_prints_and_writes_the_report_as_json(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    on_both(fresh_source, fresh_target, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))")
    change(fresh_source, "INSERT INTO t VALUES (1, NULL)")
    done = command(fresh_source, fresh_target, tmp_path, "--format", "json", "--report", str(tmp_path / "report"))
    printed, written = json.loads(done.stdout), json.loads((tmp_path / "report").read_text())
    assert printed == written
    (table,) = printed["tables"]
    assert (table["target"], table["status"]) == (["shop", "t"], "different")
    (difference,) = table["differences"]
    assert (difference["kind"], difference["source"], difference["target"]) == ("missing", ["1", None], None)


def test_the_command_refuses_a_wrong_option_in_one_sentence(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    done = command(fresh_source, fresh_target, tmp_path, "--since", "yesterday")
    assert done.returncode == 2
    assert "expected COLUMN=TIME" in done.stderr
    assert "Traceback" not in done.stderr
    done = command(fresh_source, fresh_target, tmp_path, "--since", "changed=01/02/2030")
    assert done.returncode == 2
    assert "--since: '01/02/2030' can be understood in several ways" in done.stderr


@contextmanager
def impatient(*ends: Endpoint) -> Iterator[None]:
    """Servers that end statements after a moment and cut answers, as hosted ones are set up, keep no warnings, print
    names without quotes, show what was years ago (MariaDB), or warn that they read more than they must (MySQL)."""
    with ExitStack() as stack:
        for end in ends:
            cursor = stack.enter_context(stack.enter_context(end.connect()).cursor())
            cursor.execute("SELECT @@version")
            is_mariadb = "MariaDB" in str(cursor.fetchall())
            limit, least = ("max_statement_time", "0.002") if is_mariadb else ("max_execution_time", "2")
            for name, value, usual in (
                (limit, least, "0"), ("sql_select_limit", "5", "DEFAULT"), ("max_error_count", "0", "DEFAULT"),
                ("sql_quote_show_create", "0", "DEFAULT"),
                *([("system_versioning_asof", "'2001-01-01'", "DEFAULT")] if is_mariadb else
                  [("range_optimizer_max_mem_size", "1", "DEFAULT")]),
            ):  # fmt: skip
                cursor.execute(f"SET GLOBAL {name} = {value}")
                stack.callback(cursor.execute, f"SET GLOBAL {name} = {usual}")
        yield


def test_limits_of_the_server_on_statements_and_answers_do_not_cut_a_comparison(
    shop: Settings, source: Endpoint, target: Endpoint
) -> None:
    rows = ", ".join(f"({n}, REPEAT('x', 900), '[1, 2]')" for n in range(3000))
    kept = "" if "MariaDB" not in str(source.query("SELECT @@version")) else " WITH SYSTEM VERSIONING"
    tables = f"CREATE TABLE t (a INT PRIMARY KEY, b TEXT, j JSON){kept};\nCREATE TABLE k (a INT, b TEXT, j JSON)"
    on_both(source, target, f"{tables};\nINSERT INTO t VALUES {rows};\nINSERT INTO k VALUES {rows}")
    change(target, "DELETE FROM t WHERE a = 2999", "DELETE FROM k WHERE a = 2999 LIMIT 1")
    change(target, "UPDATE t SET j = '[1,2]' WHERE a < 9", "UPDATE k SET j = '[ 1,2]' WHERE a < 9")
    with impatient(source, target):
        reports = compare(shop)
    assert {name: (each.error, each.source_rows, each.different) for name, each in reports.items()} == {
        "shop.t": ("", 3000, 1),
        "shop.k": ("", 3000, 1),
    }


def test_what_the_server_ends_is_asked_for_in_smaller_pieces(
    shop: Settings, source: Endpoint, target: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = ", ".join(f"({n}, {n})" for n in range(1000))
    on_both(source, target, f"CREATE TABLE t (a INT PRIMARY KEY, v INT);\nINSERT INTO t VALUES {rows}")
    more = ", ".join(f"({n}, {n})" for n in range(2000, 3000))
    change(target, "UPDATE t SET v = 0 WHERE a = 500", f"INSERT INTO t VALUES {more}")
    largest = 100
    asked = Server.timed_rows

    def ended(self: Server, sql: str) -> tuple[list[tuple[Any, ...]], float]:
        found, elapsed_s = asked(self, sql)
        if found[0][0] > largest:
            raise TransientError("Query execution was interrupted (1317)", code=1317)
        return found, elapsed_s

    monkeypatch.setattr(Server, "timed_rows", ended)
    report = only(compare(shop))
    assert (report.source_rows, report.target_rows, report.different) == (1000, 2000, 1001)
    largest = 0
    report = only(compare(shop))
    assert report.status == "unknown"
    assert "the server ends what takes long" in report.error


def test_a_server_that_does_not_answer_is_told_of_once(
    shop: Settings, target: Endpoint, caplog: pytest.LogCaptureFixture
) -> None:
    retry = RetrySettings(first_s=0.001, max_s=0.001)
    server = Server(shop.target.connect_keywords(), key=shop.target.key, retry=retry, stop=threading.Event())

    def refuse(connection: Connection) -> None:
        raise TransientError("the server is shutting down (1053)", code=1053)

    with pytest.raises(TransientError):
        server.call(refuse)
    server.close()
    (said,) = [record.getMessage() for record in caplog.records if "asked again" in record.getMessage()]
    assert said == "the target does not answer now, and is asked again: the server is shutting down (1053)"
