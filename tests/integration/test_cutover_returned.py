"""What an old source has beyond the target: listed beside what is there now, and carried over by the policies."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from pydbsync.config.file import load_settings
from pydbsync.errors import OperationError
from pydbsync.model import COMMIT_ROW, RowChange
from pydbsync.ops.cutover.dangling import Last, read_changes
from pydbsync.ops.cutover.fence import source_place
from pydbsync.ops.cutover.journal import CutoverJournal
from pydbsync.ops.cutover.returned import Preference, Return
from pydbsync.ops.cutover.work import CutoverWork, Direction
from pydbsync.places import parse_position
from tests.integration.cutting import opened, work_of
from tests.processes import write_config
from tests.servers import Endpoint

TABLES = (
    "CREATE DATABASE shop",
    "CREATE TABLE shop.orders (id INT AUTO_INCREMENT PRIMARY KEY, token VARCHAR(40) NOT NULL, note TEXT, v INT)",
    "INSERT INTO shop.orders VALUES (1, 'a', NULL, 1), (2, 'b', NULL, 1), (3, 'c', NULL, 1), (5, 'e', NULL, 1)",
    "CREATE TABLE shop.hits (page VARCHAR(20))",
)
LATE = (
    "INSERT INTO shop.orders VALUES (4, 'd', NULL, 1)",
    "UPDATE shop.orders SET note = 'late', v = 2 WHERE id = 2",
    "DELETE FROM shop.orders WHERE id = 3",
    "UPDATE shop.orders SET note = 'mine', v = 3 WHERE id = 1",
    "UPDATE shop.orders SET note = 'later', v = 3 WHERE id = 2",
    "UPDATE shop.orders SET note = 'old', v = 2 WHERE id = 5",
    "INSERT INTO shop.hits VALUES ('/')",
)
HERE = (
    "UPDATE shop.orders SET note = 'theirs', v = 2 WHERE id = 1",
    "UPDATE shop.orders SET note = 'new', v = 9 WHERE id = 5",
)
BESIDE = [
    ("insert", 4, None, "free"),
    ("update", 2, (2, None), "free"),
    ("delete", 3, (3, None), "free"),
    ("update", 1, (1, "theirs"), "conflict"),
    ("update", 2, (2, None), "free"),
    ("update", 5, (5, "new"), "conflict"),
    ("insert", None, None, "unknown"),
]
FREE = [(2, "later"), (4, None)]
CARRIED: dict[Preference, tuple[list[tuple[int, str | None]], int]] = {
    "policies": ([(1, "mine"), *FREE, (5, "new")], 0),  # the larger v
    "source": ([(1, "mine"), *FREE, (5, "old")], 1),
    "target": ([(1, "theirs"), *FREE, (5, "new")], 0),
    "ask": ([(1, "mine"), *FREE, (5, "new")], 0),
}
"""Rows of the target, and of the table without a key, by who wins."""


@pytest.fixture
def journal(fresh_target: Endpoint) -> Iterator[CutoverJournal]:
    journal = opened(fresh_target)
    yield journal
    journal.close()


def last_of(work: CutoverWork) -> Last:
    place = source_place(work, work.way)
    return Last("sync", place.base, place.file, place.offset, 0, place.server_id, f"{place}", "", "")


def test_each_change_is_listed_beside_the_row_that_is_there_and_carried_by_the_policy(
    journal: CutoverJournal, fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    config = write_config(
        {"db_info": fresh_target.db_info, "source_db_info": fresh_source.db_info, "include": ["shop.*"],
         "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}],
         "rabbitmq_conn_info": {"host": "nowhere"}, "lossy_values": "off",
         "log_file_prefix": str(tmp_path / "%s.log"), "conflicts": {"policy": "larger:v", "prefer": "target"}},
        tmp_path / "forth.py",
    )  # fmt: skip
    settings, _ = load_settings(config)
    for server in (fresh_source, fresh_target):
        for sql in TABLES:
            server.query(sql)
    work = work_of(journal, forth=settings, command="failover")
    last = last_of(work)
    for sql in LATE:
        fresh_source.query(sql)
    for sql in HERE:
        fresh_target.query(sql)
    way = Direction("forth", settings, config)
    changes = read_changes(way, [last], threading.Event())
    fresh_source.query("INSERT INTO shop.orders VALUES (9, 'written while it is undone', NULL, 1)")
    for policy, (rows, hits) in CARRIED.items():
        for table in ("orders", "hits"):
            fresh_target.query(f"DELETE FROM shop.{table}")
        for sql in (TABLES[2], *HERE):
            fresh_target.query(sql)
        work = work_of(journal, forth=settings, command="failover")
        work.way = way
        work.facts["last"] = [last.as_facts()]
        settling = Return(work, lambda change: (change.after or {}).get("id") == 1)
        found = settling.beside(changes)
        shown = [(c.kind, (c.after or c.before or {}).get("id"), c.now and (c.now["id"], c.now["note"]), c.standing)
                 for c in found]  # fmt: skip
        assert shown == BESIDE
        said = settling.carry_over(changes, found, policy)
        assert fresh_target.query("SELECT id, note FROM shop.orders ORDER BY id") == rows, policy
        assert fresh_target.query("SELECT COUNT(*) FROM shop.hits") == [(hits,)], policy
        assert ("conflicts: " in said) is True, said
        assert len(settling.changes()) == len(LATE) + 1  # until the end that the binlog had when it began
        with pytest.raises(OperationError, match=f"another way \\(--carry-over {policy}\\)"):
            settling.begin("undo", found)
        settling.begin(policy, found)
        journal.set_state(work.row.id, "done")
    decided = "SELECT stream, decision, COUNT(*) FROM pydbsync.conflict WHERE decision <> 'same' GROUP BY 1, 2"
    ids = [number for (number,) in fresh_target.query("SELECT id FROM pydbsync.cutover_run ORDER BY id")]
    assert sorted(fresh_target.query(decided)) == sorted([
        (f"failover-{ids[0]}-policies", "source", 1), (f"failover-{ids[0]}-policies", "target", 1),
        (f"failover-{ids[1]}-source", "source", 2), (f"failover-{ids[2]}-target", "target", 2),
        (f"failover-{ids[3]}-ask", "source", 1),
    ])  # fmt: skip

    for wrong, why in (
        (replaced(last, offset=2**31), "has lost what the target has"),
        (replaced(last, file=last.file + 1), "has lost what the target has"),
        (replaced(last, server_id=4711), "it is not the old source"),
    ):
        with pytest.raises(OperationError, match=why):
            read_changes(way, [wrong], threading.Event())

    change = changes[0][1]
    base, file, offset = parse_position(change.position or "")
    assert isinstance(change, RowChange)
    at = Last("sync", base, file, offset, COMMIT_ROW, last.server_id, change.position or "", "", "", change.xid)
    assert len(read_changes(way, [at], threading.Event())) == len(LATE)
    with pytest.raises(OperationError, match="its binlog is another one"):
        read_changes(way, [replaced(at, xid=4711)], threading.Event())


ODD = (
    "UPDATE shop.orders, shop.names SET orders.note = 'both', names.name = 'both' WHERE orders.id = names.id",
    "DELETE shop.orders, shop.names FROM shop.orders JOIN shop.names ON orders.id = names.id WHERE orders.id = 2",
    "INSERT INTO shop.orders VALUES (9, 'big', REPEAT('x', 3000000), 1)",
    "INSERT INTO shop.orders VALUES (10, 'plain', NULL, 1)",
    "ALTER TABLE shop.names ADD COLUMN c INT",
    "INSERT INTO shop.names VALUES (9, 'wide', 1)",
)
"""What the old source wrote: statements of several tables, a row longer than the target takes, DDL."""


def test_what_the_target_cannot_be_asked_for_is_listed_all_the_same(
    journal: CutoverJournal, fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    config = write_config(
        {"db_info": fresh_target.db_info, "source_db_info": fresh_source.db_info, "include": ["shop.*"],
         "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}],
         "rabbitmq_conn_info": {"host": "nowhere"}, "lossy_values": "off",
         "log_file_prefix": str(tmp_path / "%s.log")},
        tmp_path / "forth.py",
    )  # fmt: skip
    settings, _ = load_settings(config)
    for server in (fresh_source, fresh_target):
        for sql in (
            "CREATE DATABASE shop",
            "CREATE TABLE shop.orders (id INT PRIMARY KEY, token VARCHAR(40) NOT NULL, note LONGTEXT, v INT)",
            "INSERT INTO shop.orders VALUES (1, 'a', NULL, 1), (2, 'b', NULL, 1)",
            "CREATE TABLE shop.names (id INT PRIMARY KEY, name VARCHAR(20))",
            "INSERT INTO shop.names VALUES (1, 'a'), (2, 'b')",
        ):
            server.query(sql)
    ((former,),) = fresh_target.query("SELECT @@global.max_allowed_packet")
    fresh_target.query("SET GLOBAL max_allowed_packet = 1048576")
    ((metadata,),) = fresh_source.query("SELECT @@global.binlog_row_metadata")
    fresh_source.query("SET GLOBAL binlog_row_metadata = 'FULL'")
    try:
        work = work_of(journal, forth=settings, command="failover")
        last = last_of(work)
        for sql in ODD:
            fresh_source.query(sql)
        work.way = Direction("forth", settings, config)
        work.facts["last"] = [last.as_facts()]
        settling = Return(work, lambda change: True)
        changes = settling.changes()
        found = settling.beside(changes)
        assert [(each.kind, each.table, each.standing) for each in found] == [
            *(("update", f"shop.{name}", "free") for name in ("orders", "orders", "names", "names")),
            ("delete", "shop.orders", "free"), ("delete", "shop.names", "free"), ("insert", "shop.orders", "free"),
            ("insert", "shop.orders", "free"), ("table-alter", "shop.names", "unknown"),
            ("insert", "shop.names", "unknown"),
        ]  # fmt: skip
        assert found[-1].statement.startswith("the target cannot take it: shop.names has no column 'c'")
        with pytest.raises(OperationError, match=r"1 of the changes could not be applied at .* and are parked"):
            settling.carry_over(changes, found, "target")
        assert fresh_target.query("SELECT id, note FROM shop.orders ORDER BY id") == [(1, "both"), (10, None)]
        assert fresh_target.query("SELECT * FROM shop.names") == [(1, "both")]
        for server in (fresh_source, fresh_target):
            server.query("SET GLOBAL binlog_row_metadata = 'MINIMAL'")
        work.facts["last"] = [last_of(work).as_facts()]
        fresh_source.query("INSERT INTO shop.orders VALUES (11, 'before', NULL, 1)")
        fresh_source.query("ALTER TABLE shop.orders DROP COLUMN v")
        with pytest.raises(OperationError, match=r"cannot all be read: the columns of shop.orders .* copy it anew"):
            settling.changes()
    finally:
        fresh_target.query(f"SET GLOBAL max_allowed_packet = {former}")
        fresh_source.query(f"SET GLOBAL binlog_row_metadata = '{metadata}'")


def replaced(last: Last, **changed: int) -> Last:
    return Last(**{**last.as_facts(), **changed})
