"""Values around and beyond max_allowed_packet: where a server warns and gives NULL or '', nobody takes it for true."""

from __future__ import annotations

from pathlib import Path

import pytest

from pydbsync.ops.verify.report import TableReport
from tests.comparing import compare, on_both, run_sql
from tests.integration.copying import copy
from tests.repairing import Bench
from tests.servers import Endpoint
from tests.torture.comparisons import packets_of

pytestmark = pytest.mark.kept_state

PACKET = 1 << 16
LENGTHS = (PACKET // 4, PACKET - 1, PACKET + 1, 3 * PACKET)
LONG = {
    "b": ("LONGBLOB", "REPEAT(X'FF00', {0} DIV 2)", "CONCAT({0}, X'00')"),
    "d": ("LONGTEXT", "REPEAT('é', {0} DIV 2)", "CONCAT({0}, ' ')"),
    "e": ("LONGTEXT CHARACTER SET latin1", "REPEAT('é', {0})", "CONCAT({0}, 'e')"),
    "u": ("LONGTEXT CHARACTER SET ucs2", "REPEAT('é', {0} DIV 2)", "CONCAT({0}, 'E')"),
    "n": ("LONGTEXT NOT NULL", "REPEAT('n', {0})", "UPPER({0})"),
    "j": ("JSON", "JSON_ARRAY(REPEAT('j', {0}))", "JSON_ARRAY(LENGTH({0}))"),
    "g": (
        "GEOMETRY",
        "ST_GeomFromText(CONCAT('LINESTRING(0 0', REPEAT(',1 1', {0} DIV 16), ')'))",
        "ST_GeomFromText('POINT(1 1)')",
    ),
}
"""Columns that may hold more: their type, a value of about so many bytes, another one."""


@pytest.fixture
def bench(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Bench:
    return Bench(fresh_source, fresh_target, tmp_path)


def is_mysql(server: Endpoint) -> bool:
    return "MariaDB" not in str(server.query("SELECT @@version"))


def make_long(bench: Bench, key: str) -> None:
    """One row for each column and length, whose value in it is so long."""
    columns = ", ".join(f"{name} {sql}" for name, (sql, _, _) in LONG.items())
    rows = []
    for number, length in enumerate(LENGTHS):
        for at, (name, (_, value, _)) in enumerate(LONG.items()):
            also = ", n" if name != "n" else ""
            rows.append(
                f"INSERT INTO t (id, {name}{also}) VALUES ({10 * number + at}, {value.format(length)}"
                f"{', ' + repr('') if also else ''})"
            )
    on_both(bench.source, bench.target, f"CREATE TABLE t (id INT {key}, {columns});\n" + ";\n".join(rows))


def report_of(bench: Bench) -> TableReport:
    (report,) = compare(bench.settings).values()
    return report


@pytest.mark.parametrize("key", ["PRIMARY KEY", ""], ids=["key", "no-key"])
@pytest.mark.parametrize("lowered", ["source", "both"])
def test_values_beyond_a_packet_are_compared_or_named(bench: Bench, key: str, lowered: str) -> None:
    make_long(bench, key)
    # MySQL gives no JSON that is longer as text: neither whole nor in pieces.
    unreadable = {15, 25, 35} if is_mysql(bench.source) else set()
    ends = (bench.source,) if lowered == "source" else (bench.source, bench.target)
    with packets_of(PACKET, *ends):
        if unreadable and not key:
            assert "Result of j() was larger than max_allowed_packet" in report_of(bench).error
            run_sql(bench.source, ["DELETE FROM shop.t WHERE j IS NOT NULL"])
            run_sql(bench.target, ["DELETE FROM shop.t WHERE j IS NOT NULL"])
        equal = report_of(bench)
        wanted = "unknown" if unreadable and key else "equal"
        assert (equal.status, equal.different, equal.error, equal.structure) == (wanted, 0, "", [])
        assert equal.unreadable == (len(unreadable) if key else 0)
    changed = set()
    for number in range(len(LENGTHS)):
        for at, (name, (_, _, other)) in enumerate(LONG.items()):
            row = 10 * number + at
            if row in unreadable or (unreadable and not key and name == "j"):
                continue
            changed.add(row)
            run_sql(bench.target, [f"UPDATE shop.t SET {name} = {other.format(name)} WHERE id = {row}"])
    with packets_of(PACKET, *ends):
        broken = report_of(bench)
    at = broken.columns.index("id")
    found = [int((each.source or each.target or [""])[at] or -1) for each in broken.differences]
    assert sorted(found) == sorted(changed if key else [*changed, *changed])


def test_rows_whose_columns_are_too_long_together_are_compared_one_by_one(bench: Bench) -> None:
    names = [f"c{number}" for number in range(40)]
    columns = ", ".join(f"{name} VARCHAR(400)" for name in names)
    values = ", ".join(f"REPEAT('{chr(97 + n % 26)}', 400)" for n in range(40))
    for table, key in (("t", "PRIMARY KEY"), ("k", "")):
        on_both(
            bench.source,
            bench.target,
            f"CREATE TABLE {table} (id INT {key}, {columns});\n"
            f"INSERT INTO {table} VALUES (1, {values}), (2, {values});\n"
            f"INSERT INTO {table} (id) VALUES (3)",
        )
    with packets_of(1 << 14, bench.source, bench.target):
        assert {each.status for each in compare(bench.settings).values()} == {"equal"}
        for table in ("t", "k"):
            run_sql(bench.target, [f"UPDATE shop.{table} SET c39 = CONCAT(LEFT(c39, 399), 'X') WHERE id = 2"])
        assert {name: each.different for name, each in compare(bench.settings).items()} == {"shop.t": 1, "shop.k": 2}


@pytest.mark.parametrize("lowered", ["source", "target"])
def test_rows_whose_keys_are_too_long_for_one_statement_are_asked_for_in_several(bench: Bench, lowered: str) -> None:
    rows = ", ".join(f"(CONCAT(REPEAT('é', 180), {number}), 1)" for number in range(60))
    on_both(
        bench.source,
        bench.target,
        f"CREATE TABLE t (k VARCHAR(190) COLLATE utf8mb4_bin PRIMARY KEY, v INT);\nINSERT INTO t VALUES {rows}",
    )
    run_sql(bench.target, ["UPDATE shop.t SET v = 2"])
    with packets_of(1 << 14, getattr(bench, lowered)):
        assert (report_of(bench).different, report_of(bench).error) == (60, "")
        assert bench.make_plan().left_out == ()
        outcome = bench.apply()
    assert (outcome.done, outcome.refused, outcome.different) == (60, (), 0)


def test_rows_without_a_key_are_repaired_in_statements_that_the_target_takes(bench: Bench) -> None:
    rows = ", ".join(f"({n % 40}, REPEAT('x', 900 + {n % 40}))" for n in range(160))
    on_both(bench.source, bench.target, f"CREATE TABLE t (a INT, v TEXT);\nINSERT INTO t VALUES {rows}")
    many = ", ".join(["(50, REPEAT('y', 900))"] * 200)
    run_sql(bench.source, [f"INSERT INTO shop.t VALUES {many}, (99, REPEAT('z', 40000))"])
    run_sql(bench.target, ["UPDATE shop.t SET v = CONCAT(v, '!') WHERE a < 30", "DELETE FROM shop.t WHERE a = 35"])
    with packets_of(PACKET, bench.target):
        plan = bench.make_plan()
        assert [text.rpartition(" ")[2] for text in plan.left_out] == ["(max_allowed_packet)"]
        for _ in range(2):
            done = bench.apply()
            assert (done.done, done.refused, done.different) == (len(plan.changes), (), 0)
            assert [table.different for table in bench.verify().tables] == [1]
            assert bench.undo().refused == ()


def test_nothing_is_repaired_that_could_not_be_read(bench: Bench) -> None:
    make_long(bench, "PRIMARY KEY")
    make_keyless = "CREATE TABLE shop.k AS SELECT * FROM shop.t"
    for end in (bench.source, bench.target):
        run_sql(end, [make_keyless])
    run_sql(
        bench.target, ["UPDATE shop.t SET n = 'broken' WHERE id = 0", "UPDATE shop.k SET n = 'broken' WHERE id = 0"]
    )
    before = bench.states()[0]
    with packets_of(PACKET, bench.source):
        bench.make_plan()
        done = bench.apply()
    assert done.refused == ()
    assert bench.states()[0] == before
    if not is_mysql(bench.source):
        assert bench.is_equal()
    else:  # a table without a key is not compared there at all, since MySQL gives no JSON beyond a packet
        assert bench.target.query("SELECT n FROM shop.t WHERE id = 0") == [("",)]


def test_bytes_that_unicode_lacks_are_compared_as_they_are(bench: Bench) -> None:
    for table, key in (("t", "PRIMARY KEY"), ("k", "")):
        on_both(
            bench.source,
            bench.target,
            f"CREATE TABLE {table} (id INT {key}, v VARCHAR(20) CHARACTER SET greek);\n"
            f"INSERT INTO {table} VALUES (1, X'41D242'), (2, X'C1'), (3, '?')",
        )
    assert {each.status for each in compare(bench.settings).values()} == {"equal"}
    for table in ("t", "k"):
        run_sql(bench.target, [f"UPDATE shop.{table} SET v = X'41FF42' WHERE id = 1"])
    reports = compare(bench.settings)
    assert {name: each.different for name, each in reports.items()} == {"shop.t": 1, "shop.k": 2}
    (row,) = reports["shop.t"].differences
    assert (row.source, row.target) == (["1", "0x41D242"], ["1", "0x41FF42"])
    plan = bench.make_plan()
    assert plan.changes == ()
    assert "Unicode lacks" in plan.left_out[0]
    run_sql(bench.target, ["ALTER TABLE shop.t MODIFY v VARCHAR(20) CHARACTER SET utf8mb4"])
    report = compare(bench.settings, data_only=True)["shop.t"]
    assert [(row.source, row.target) for row in report.differences] == [(["1", "0x41D242"], ["1", "A?B"])]


def test_copy_carries_what_is_longer_than_the_source_s_packet(bench: Bench) -> None:
    make_long(bench, "PRIMARY KEY")
    run_sql(bench.source, ["CREATE TABLE shop.k AS SELECT * FROM shop.t"])
    run_sql(bench.target, ["DROP DATABASE shop"])
    if is_mysql(bench.source):
        for table in ("t", "k"):
            run_sql(bench.source, [f"DELETE FROM shop.{table} WHERE j IS NOT NULL AND id > 9"])
    with packets_of(PACKET, bench.source):
        copy(bench.settings, streams=("file",), trust_stream=True)
    assert bench.is_equal()
