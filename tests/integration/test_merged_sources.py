"""Several sources of one table: what one of them writes, alters or deletes never takes anything of another."""

from __future__ import annotations

from typing import Any

import pytest

from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.ops.parked.retry import RetryOutcome
from pydbsync.ops.parked.select import Selection
from tests.integration.engine import LOG, parked, replay, settings_for
from tests.maxwell import Binlog, Step, delete, insert, update
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

MERGED: dict[str, Any] = {"dbname_rewrite": {"s1": "d", "s2": "d"}, "source_server": "mariadb 10.11"}


@pytest.fixture
def log(fresh_target: Endpoint) -> Binlog:
    fresh_target.query("CREATE DATABASE d")
    return Binlog()


def mend(target: Endpoint, *skipped: int) -> list[RetryOutcome]:
    """Skip these, then retry the others."""
    desk = ParkedDesk(settings_for(target, **MERGED), LOG)
    try:
        if skipped:
            desk.skip(Selection(ids=skipped), reason="the other one's row stays")
        return list(desk.retry())
    finally:
        desk.close()


KEYS = {
    "beginning": "UNIQUE KEY m (mail(3))",
    "collation": "UNIQUE KEY m (mail)",
    "generated": "g VARCHAR(9) AS (LEFT(mail, 3)) STORED, UNIQUE KEY m (g)",
    "expression": "UNIQUE KEY m ((LEFT(mail, 3)))",
}


@pytest.mark.parametrize("case", KEYS)
def test_the_row_in_the_way_is_shown_whatever_the_key_is_made_of(
    fresh_target: Endpoint, log: Binlog, case: str
) -> None:
    if case == "expression" and fresh_target.brand != "mysql":
        pytest.skip("MariaDB has no keys on expressions")
    column = "mail VARCHAR(30) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci NOT NULL"
    fresh_target.query(f"CREATE TABLE d.t (id INT PRIMARY KEY, {column}, n INT, {KEYS[case]})")
    theirs = {"id": 11, "mail": "ANN" if case == "collation" else "annemarie", "n": 2}
    rows = [
        insert("s1.t", {"id": 1, "mail": "ann", "n": 1}),
        insert("s2.t", theirs),
        update("s2.t", {**theirs, "n": 3}, {"n": 2}),
        update("s1.t", {"id": 1, "mail": "ann", "n": 4}, {"n": 1}),
    ]
    replay(fresh_target, log.each(rows), **MERGED)
    assert fresh_target.query("SELECT id, mail, n FROM d.t") == [(1, "ann", 4)]
    found = parked(fresh_target)
    assert [each.table for each in found] == ["s2.t", "s2.t"]
    assert 'the row that came: {"id":11' in found[0].reason
    assert 'in its way: {"id":1,"mail":"ann","n":1' in found[0].reason


# One source's statement on `n`, beside a value of another one's: whether that is to be looked at first.
RETYPED = [
    ("DECIMAL(9,2)", "5.55", "MODIFY n DECIMAL(9,0)", True),
    ("DECIMAL(9,2)", "5", "MODIFY n DECIMAL(9,0)", False),
    ("DECIMAL(9,2)", "5.5", "CHANGE n n INT", True),
    ("DECIMAL(9,2)", "5.5", "ADD x INT, MODIFY n DECIMAL(9,0) AFTER x", True),
    ("DECIMAL(9,2)", "5.5", "MODIFY n VARCHAR(20)", False),
    ("DATETIME(3)", "'2020-01-01 10:00:00.789'", "MODIFY n DATETIME", True),
    ("DATETIME(3)", "'2020-01-01 10:00:00'", "MODIFY n DATETIME", False),
    ("DATETIME", "'2020-01-01 10:00:00'", "MODIFY n DATE", True),
    ("DOUBLE", "1.23456789012", "MODIFY n FLOAT", True),
    ("BIGINT", "9007199254740993", "MODIFY n DOUBLE", True),
    ("BIGINT", "9007199254740992", "MODIFY n DOUBLE", False),
    ("VARCHAR(9)", "'b  '", "MODIFY n CHAR(9)", True),
    ("VARCHAR(9)", "'b'", "MODIFY n CHAR(9)", False),
    ("VARCHAR(9)", "'b    '", "MODIFY n VARCHAR(3)", True),
    ("VARCHAR(9)", "'007'", "MODIFY n INT", True),
    ("VARBINARY(9)", "x'0100'", "MODIFY n BINARY(9)", True),
    ("INT", "2", "REORGANIZE PARTITION p0 INTO (PARTITION p0 VALUES IN (1))", True),
    ("INT", "1", "REORGANIZE PARTITION p0 INTO (PARTITION p0 VALUES IN (1))", False),
    ("INT", "2", "REORGANIZE PARTITION p0 INTO (PARTITION a VALUES IN (1), PARTITION b VALUES IN (2))", False),
]


def test_what_one_source_s_statement_would_cut_of_the_values_of_others_is_looked_at_first(
    fresh_target: Endpoint, log: Binlog
) -> None:
    messages = []
    for number, (kind, value, clause, _) in enumerate(RETYPED):
        key = "PRIMARY KEY (id, n)" if "PARTITION" in clause else "PRIMARY KEY (id)"
        parts = " PARTITION BY LIST (n) (PARTITION p0 VALUES IN (1, 2))" if "PARTITION" in clause else ""
        fresh_target.query(f"CREATE TABLE d.t{number} (id INT, n {kind}, {key}){parts}")
        fresh_target.query(f"INSERT INTO d.t{number} VALUES (1, {value})")
        messages += log.ddl(f"ALTER TABLE t{number} {clause}", f"s1.t{number}", columns=["id", "n"])
    before = [fresh_target.query(f"SELECT * FROM d.t{number}") for number in range(len(RETYPED))]
    replay(fresh_target, messages, **MERGED)
    found = {each.table: each.reason for each in parked(fresh_target)}
    assert [f"s1.t{number}" in found for number in range(len(RETYPED))] == [is_cut for *_, is_cut in RETYPED]
    assert all("several sources feed d.t" in reason and "retry it when n" in reason for reason in found.values())
    after = [fresh_target.query(f"SELECT * FROM d.t{number}") for number in range(len(RETYPED))]
    assert all(after[n] == before[n] for n, (*_, is_cut) in enumerate(RETYPED) if is_cut)
    left = fresh_target.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'pydbsync'")
    assert not [name for (name,) in left if name.startswith("retyped_")]
    # an operator knows better, but for what the server refuses in strict mode
    assert [each.id for each in mend(fresh_target) if not each.applied and "1265" not in each.detail] == []


@pytest.mark.parametrize("block", [1, 1000])
def test_what_follows_of_a_row_that_was_given_up_is_not_done_to_another_one(
    fresh_target: Endpoint, log: Binlog, block: int
) -> None:
    fresh_target.query("CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(9))")

    def row(text: str) -> dict[str, Any]:
        return {"id": 5, "v": text}

    rows = [insert("s1.t", row("first")), insert("s2.t", row("a")), update("s2.t", row("b"), {"v": "a"})]
    replay(fresh_target, log.each(rows), block=block, **MERGED)
    collision, update_of_it = parked(fresh_target)
    (outcome,) = mend(fresh_target, collision.id)
    assert "the row of its key is not the one that it is about: skip it too" in outcome.detail
    assert mend(fresh_target, update_of_it.id) == []
    # what comes of it later waits for somebody who looks, and what comes of the other one does not
    replay(fresh_target, log.each([update("s1.t", row("mine"), {"v": "first"})]), block=block, **MERGED)
    replay(fresh_target, log.each([delete("s2.t", row("b"))]), block=block, **MERGED)
    (waits,) = parked(fresh_target)
    assert waits.behind == collision.id
    assert f"({collision.id}) met another source's row in d.t and was skipped" in waits.reason
    assert fresh_target.query("SELECT * FROM d.t") == [(5, "mine")]
    # once the row is the one that it is about, it is made
    fresh_target.query("UPDATE d.t SET v = 'b'")
    assert [each.applied for each in mend(fresh_target)] == [True]
    assert fresh_target.query("SELECT * FROM d.t") == []


@pytest.mark.parametrize("action", ["ON DELETE CASCADE", "ON UPDATE SET NULL"])
def test_children_under_a_row_that_another_source_has_parked_stay(
    fresh_target: Endpoint, log: Binlog, action: str
) -> None:
    fresh_target.query("CREATE TABLE d.p (id INT PRIMARY KEY, v INT)")
    fresh_target.query(f"CREATE TABLE d.c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES d.p (id) {action})")
    for stream, number in (("q1", 1), ("q2", 2)):
        rows = [insert(f"s{number}.p", {"id": 1, "v": number}), insert(f"s{number}.c", {"id": number, "p": 1})]
        replay(fresh_target, log.each(rows), stream=stream, **MERGED)
    (collision,) = parked(fresh_target)

    def change(number: int, new: int) -> Step:
        if "DELETE" in action:
            return delete("s1.p", {"id": number, "v": 1})
        return update("s1.p", {"id": new, "v": 1}, {"id": number})

    # a row that nobody has parked passes its change on
    rows = [insert("s1.p", {"id": 3, "v": 1}), insert("s1.c", {"id": 3, "p": 3}), change(3, 4)]
    replay(fresh_target, log.each(rows), stream="q1", **MERGED)
    assert len(parked(fresh_target)) == 1
    left = [] if "DELETE" in action else [(3, None)]
    assert fresh_target.query("SELECT * FROM d.c ORDER BY id") == [(1, 1), (2, 1), *left]
    replay(fresh_target, log.each([change(1, 9)]), stream="q1", **MERGED)
    assert fresh_target.query("SELECT * FROM d.c ORDER BY id") == [(1, 1), (2, 1), *left]
    assert f"'q2' has parked a row of this key ({collision.id})" in parked(fresh_target)[-1].reason
