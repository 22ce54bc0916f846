"""Malformed values reach no table: each row is stored as the server reads it, or parked, and the worker goes on."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.engine import parked, replay
from tests.servers import Endpoint
from tests.unit.plan.test_malformed import TOKENS

pytestmark = pytest.mark.kept_state

KINDS = (
    "TINYINT", "BIGINT UNSIGNED", "YEAR", "DECIMAL(20,5)", "FLOAT", "DOUBLE", "DATE", "TIME(3)", "DATETIME",
    "TIMESTAMP", "BIT(1)", "BIT(32)", "BIT(64)", "BINARY(4)", "VARBINARY(4)", "BLOB", "CHAR(4)",
    "VARCHAR(4) CHARACTER SET latin1", "TEXT", "JSON", "ENUM('a','b')", "SET('a','b')", "GEOMETRY", "POINT",
)  # fmt: skip


def messages() -> Iterator[bytes]:
    place = 1000
    for number, _ in enumerate(KINDS):
        for token in TOKENS:
            if len(token) < 3000:
                place += 1
                head = f'"database":"d","table":"t{number}","type":"insert","ts":1700000000,"xid":{place},"commit":true'
                yield f'{{{head},"position":"binlog.000001:{place}","data":{{"id":{place},"c":{token}}}}}'.encode()


def test_malformed_values_are_parked_and_nothing_else_happens(fresh_target: Endpoint) -> None:
    fresh_target.query("CREATE DATABASE d CHARACTER SET utf8mb4")
    for number, kind in enumerate(KINDS):
        fresh_target.query(f"CREATE TABLE d.t{number} (id INT PRIMARY KEY, c {kind} NULL)")
    sent = list(messages())
    replay(fresh_target, sent, lossy_values="off")
    kept = sum(fresh_target.query(f"SELECT COUNT(*) FROM d.t{number}")[0][0] for number, _ in enumerate(KINDS))
    assert kept + len(parked(fresh_target)) == len(sent)
    assert kept > len(KINDS)
    for number, kind in enumerate(KINDS):
        nulls = fresh_target.query(f"SELECT COUNT(*) FROM d.t{number} WHERE c IS NULL")
        assert nulls == [(1,)], f"{kind}: NULL is a value, and nothing else is it"
    assert all(each.reason for each in parked(fresh_target))


def test_names_that_nothing_can_have_are_parked(fresh_target: Endpoint) -> None:
    fresh_target.query("CREATE DATABASE d")
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY)")
    sent = []
    for number, (database, table) in enumerate([("", "t"), ("e", ""), ("a\0b", "t"), ("d", "a\0b"), ("d", "t")]):
        head = {"database": database, "table": table, "ts": 1700000000}
        place = f"binlog.000001:{1000 + 10 * number}"
        insert = {"type": "insert", "xid": number, "commit": True, "position": place + "1", "data": {"id": number}}
        alter = {"type": "table-alter", "position": place + "2", "sql": f"ALTER TABLE t ADD c{number} INT"}
        sent += [json.dumps({**head, **each}).encode() for each in (insert, alter, {"type": "bootstrap-start"})]
    replay(fresh_target, sent, lossy_values="off")
    assert fresh_target.query("SELECT id FROM d.t") == [(4,)]
    assert len(parked(fresh_target)) == 4 * 3


def test_a_message_that_names_no_table_holds_up_no_other(fresh_target: Endpoint) -> None:
    fresh_target.query("CREATE DATABASE d")
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY)")
    sent: list[bytes] = []

    def send(**fields: object) -> None:
        head = {"database": "d", "ts": 1700000000, "position": f"binlog.000001:{1000 + len(sent)}"}
        sent.append(json.dumps({**head, **fields}).encode())

    send(table="", type="insert", xid=1, commit=True, data={"id": 1})
    send(table="t", type="insert", xid=2, commit=True, data={"id": 2})
    send(type="table-alter", sql="ALTER TABLE t CHANGE nothing more INT")  # Debezium's may not tell it
    send(table="t", type="insert", xid=3, commit=True, data={"id": 3})
    send(type="table-alter", sql="OPTIMIZE NO_WRITE_TO_BINLOG TABLE t")
    fresh_target.query("CREATE TABLE d.u (id INT PRIMARY KEY)")
    send(table="u", type="insert", xid=4, commit=True, data={"id": 4})
    replay(fresh_target, sent, lossy_values="off")
    assert (fresh_target.query("SELECT id FROM d.t"), fresh_target.query("SELECT id FROM d.u")) == ([(2,)], [(4,)])
    found = parked(fresh_target)
    assert [(each.kind, each.table, each.behind) for each in found] == [
        ("unreadable", ".", None),
        ("table-alter", "d.t", None),
        ("insert", "d.t", found[1].id),
        ("table-alter", "d.", None),
    ]
