"""A ⇄ B: what replay has written at one side is known again in its stream and left out, whatever is cut or killed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from pydbsync.apply.connection import Connection
from pydbsync.apply.mark import send_mark
from pydbsync.engine.marks import SentMarks, writer_of
from pydbsync.errors import ConfigError, PermanentError, StopError
from pydbsync.process.two_way import MarkWriter
from tests.integration.captured import run
from tests.integration.engine import LOG, settings_for
from tests.integration.two_way import TwoWay, is_a_start
from tests.matrices import LONG
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

TABLES = (
    "CREATE DATABASE d",
    "CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(20))",
    "CREATE TABLE d.keyless (a INT, b VARCHAR(20))",
    "CREATE TABLE d.u (id INT PRIMARY KEY, v INT UNIQUE)",
)
"""Of both sides before anything is captured."""


@pytest.fixture
def two_way(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> TwoWay:
    for server in (fresh_source, fresh_target):
        run(server, TABLES)
    return TwoWay(fresh_source, fresh_target, tmp_path)


def write(server: Endpoint, first: int, *settings: str) -> int:
    """Changes of all kinds to rows from `first` on, in a session with these settings; how many."""
    run(
        server,
        (
            *settings,
            "BEGIN",
            f"INSERT INTO d.t VALUES ({first}, 'a'), ({first + 1}, 'b'), ({first + 2}, 'c')",
            f"INSERT INTO d.u VALUES ({first}, {first})",
            "COMMIT",
            f"INSERT INTO d.keyless VALUES ({first}, 'x'), ({first}, 'x')",
            "BEGIN",
            f"UPDATE d.t SET v = 'new' WHERE id = {first}",
            f"DELETE FROM d.t WHERE id = {first + 1}",
            f"DELETE FROM d.keyless WHERE a = {first} LIMIT 1",
            f"UPDATE d.t SET id = {first + 9} WHERE id = {first + 2}",
            "COMMIT",
        ),
    )
    return 10


def test_what_is_written_at_both_sides_comes_to_the_other_once(two_way: TwoWay) -> None:
    for number in range(3):
        written = [write(two_way.a, 100 * number), write(two_way.b, 100 * number + 50)]
        before = two_way.forth.applied, two_way.back.applied
        assert two_way.settle() <= 4
        assert [two_way.forth.applied - before[0], two_way.back.applied - before[1]] == written
        assert two_way.differences("d") == []
    assert two_way.forth.echoes
    assert two_way.back.echoes


def test_transactions_of_other_gtid_domains_or_tags_stand_between_those_of_replay(two_way: TwoWay) -> None:
    of_brand = {"mariadb": "SET gtid_domain_id = 5", "mysql": "SET gtid_next = 'AUTOMATIC:app'"}
    written = [0, 0]
    for number in range(2):
        for side, server in enumerate((two_way.a, two_way.b)):
            written[side] += write(server, 100 * number + 50 * side)
            written[side] += write(server, 100 * number + 50 * side + 20, of_brand[server.brand])
        two_way.settle()
    assert [two_way.forth.applied, two_way.back.applied] == written
    assert two_way.differences("d") == []


def test_a_state_schema_that_is_dropped_by_hand_is_made_anew_and_nothing_goes_round(two_way: TwoWay) -> None:
    written = [write(two_way.a, 1), write(two_way.b, 50)]
    two_way.settle()
    run(two_way.b, ("BEGIN", "DELETE FROM pydbsync.mark", "INSERT INTO d.t VALUES (900, 'by hand')", "COMMIT"))
    run(two_way.b, ("DROP DATABASE pydbsync",))
    written = [written[0] + write(two_way.a, 100), written[1] + write(two_way.b, 150) + 1]
    two_way.settle()
    run(two_way.a, ("USE d", "ALTER TABLE t ADD c INT"))
    two_way.settle()
    assert [two_way.forth.applied, two_way.back.applied] == written
    assert (two_way.forth.schema_changes, two_way.back.schema_changes) == (1, 0)
    assert two_way.differences("d") == []


def test_marks_are_written_again_where_the_state_schema_of_the_source_was_dropped(two_way: TwoWay) -> None:
    settings = settings_for(two_way.b, source_db_info=two_way.a.db_info, two_way={"mark_s": 0.5})
    marks = SentMarks("forth", schema="pydbsync")
    marks.is_following = True
    writer = MarkWriter(settings, marks, log=LOG)
    with closing(Connection(two_way.a.db_info)) as connection:
        for is_dropped in (False, True):
            if is_dropped:
                marks.came(2)
                run(two_way.a, ("DROP DATABASE pydbsync",))
                with pytest.raises(PermanentError, match="pydbsync"):
                    writer._write(connection)
            writer._write(connection)
            assert two_way.a.query("SELECT tool FROM pydbsync.mark") == [("two-way",)]


def test_replay_that_has_only_marks_to_pass_writes_nothing(two_way: TwoWay) -> None:
    write(two_way.a, 1)
    two_way.settle()
    run(two_way.a, ("UPDATE pydbsync.checkpoint SET owner_info = 'somebody else'",))
    count = len(two_way.back.messages)
    assert two_way.settle() == 2, "the row of the state schema, and nothing that follows from it"
    assert all(map(is_a_start, two_way.back.messages[count:]))


@pytest.mark.parametrize(
    "limits",
    [
        {"block": 1},
        pytest.param({"transaction_rows": 2}, marks=LONG),
        pytest.param({"batch_rows": 1, "block": 3}, marks=LONG),
    ],
)
def test_an_echo_in_pieces_is_left_out_whole(two_way: TwoWay, limits: dict[str, int]) -> None:
    written = write(two_way.a, 1)
    two_way.settle(**limits)
    assert (two_way.forth.applied, two_way.back.applied) == (written, 0)
    assert two_way.differences("d") == []


def test_a_start_in_the_middle_of_an_echo_goes_on_with_it(two_way: TwoWay) -> None:
    write(two_way.a, 1)
    two_way.forth.apply(two_way.forth.read())
    messages = two_way.back.read()
    for number in range(len(messages)):
        two_way.back.apply(messages[number : number + 1])
    assert two_way.back.applied == 0
    # What comes again from anywhere, as after a crash of the publisher, is left out too.
    for start in range(len(messages)):
        two_way.back.apply(messages[start:])
    assert two_way.back.applied == 0
    assert two_way.settle() <= 3


def test_an_echo_in_several_queues_is_left_out_of_each(two_way: TwoWay) -> None:
    written = write(two_way.a, 1) + write(two_way.a, 200)
    two_way.forth.apply(two_way.forth.read(), batch_rows=2)
    own = write(two_way.b, 400)
    messages = two_way.back.read()
    applied = 0
    for number, table in enumerate(("t", "u", "keyless")):
        mine = [each for each in messages if json.loads(each)["table"] in ("checkpoint", "mark", table)]
        two_way.back.stream = f"back-{number}"
        applied += two_way.back.apply(mine, carries_everything=False).applied
    assert (two_way.forth.applied, applied) == (written, own)
    assert two_way.differences("d") == []


def test_rows_whose_mark_did_not_come_are_parked_in_a_queue_that_carries_everything(two_way: TwoWay) -> None:
    run(two_way.a, ("INSERT INTO d.t VALUES (1, 'a'), (2, 'b')", "INSERT INTO d.u VALUES (1, 1)"))
    two_way.forth.apply(two_way.forth.read())
    echo = [each for each in two_way.back.read() if not is_a_start(each)]
    run(two_way.a, ("UPDATE d.t SET v = 'newer'",))
    run(two_way.b, ("BEGIN", "INSERT INTO d.t VALUES (9, 'own'), (10, 'own')", "COMMIT"))
    own = two_way.back.read()
    first = next(number for number, each in enumerate(echo) if json.loads(each)["database"] == "d")
    for number in range(first, len(echo)):  # a start in between goes on with it
        two_way.back.apply(echo[number : number + 1])
    two_way.back.apply(own)
    assert two_way.a.query("SELECT id, v FROM d.t ORDER BY id") == [
        (1, "newer"), (2, "newer"), (9, "own"), (10, "own"),
    ]  # fmt: skip
    reasons = two_way.a.query("SELECT reason FROM pydbsync.parked ORDER BY id")
    assert len(reasons) == 3
    assert all("the mark with which pydbsync begins what it writes may have been among them" in str(each[0])
               for each in reasons)  # fmt: skip


def test_a_mark_that_is_lost_is_found_where_nothing_follows_but_our_own(two_way: TwoWay) -> None:
    messages: list[bytes] = []
    for number in (1, 2):
        run(two_way.a, (f"INSERT INTO d.t VALUES ({number}, 'a')",))
        two_way.forth.apply(two_way.forth.read())
        messages += [each for each in two_way.back.read() if number == 1 or json.loads(each)["table"] == "t"]
    with closing(Connection(two_way.b.db_info)) as connection:
        send_mark(connection, "pydbsync", writer_of("back"))
    messages += two_way.back.read()
    with pytest.raises(StopError, match=r"'forth' of the other direction commit .* were made"):
        two_way.back.apply(messages, carries_everything=False)


def test_schema_changes_of_each_side_run_once_at_the_other(two_way: TwoWay) -> None:
    of_a = (
        "ALTER TABLE d.t ADD c INT DEFAULT 7, ADD INDEX (v)",
        "CREATE TABLE d.n (id INT PRIMARY KEY)",
        "CREATE DATABASE e",
        "CREATE TABLE e.t LIKE d.t",
        "ALTER TABLE d.u ADD INDEX (v)",
    )
    of_b = (
        "RENAME TABLE d.n TO d.m, d.u TO e.u",
        "ALTER TABLE d.t ADD INDEX (v), FORCE",
        "DROP TABLE d.m, e.t",
        "TRUNCATE TABLE d.keyless",
        "DROP DATABASE e",
    )
    write(two_way.a, 1)
    for server, direction, statements in (
        (two_way.a, two_way.forth, of_a),
        (two_way.b, two_way.back, of_b),
    ):
        two_way.settle()
        for sql in statements:
            before = two_way.forth.schema_changes, two_way.back.schema_changes
            run(server, ("USE d", sql))
            two_way.settle()
            ran = [two_way.forth.schema_changes - before[0], two_way.back.schema_changes - before[1]]
            assert ran == ([1, 0] if direction is two_way.forth else [0, 1]), sql
            assert two_way.differences("d", "e") == [], sql


def gh_ost(table: str) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """What gh-ost runs for `ADD c`: before it copies, the copying, the swap."""
    gho = f"`d`.`_{table}_gho`"
    begin = (
        f"create /* gh-ost */ table {gho} like `d`.`{table}`",
        f"alter /* gh-ost */ table {gho} ADD COLUMN c INT NOT NULL DEFAULT 7",
    )
    copy = (f"REPLACE /* gh-ost */ INTO {gho} (id, v) SELECT id, v FROM d.{table}",)
    swap = (
        f"rename /* gh-ost */ table `d`.`{table}` to `d`.`_{table}_del`, {gho} to `d`.`{table}`",
        f"drop /* gh-ost */ table if exists `d`.`_{table}_del`",
    )
    return begin, copy, swap


def pt_osc(table: str, shown: str) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """The same of pt-online-schema-change, whose triggers write into the copy what replay writes into the table."""
    new = f"`d`.`_{table}_new`"
    row = f"REPLACE INTO {new} (id, v) VALUES (NEW.id, NEW.v)"
    gone = f"DELETE IGNORE FROM {new} WHERE id <=> OLD.id"
    begin = (
        shown.replace(f"CREATE TABLE `{table}` (", f"CREATE TABLE {new} (", 1),
        f"ALTER TABLE {new} ADD COLUMN c INT NOT NULL DEFAULT 7",
        f"CREATE TRIGGER d.pt_del AFTER DELETE ON d.{table} FOR EACH ROW {gone}",
        f"CREATE TRIGGER d.pt_upd AFTER UPDATE ON d.{table} FOR EACH ROW BEGIN {gone}; {row}; END",
        f"CREATE TRIGGER d.pt_ins AFTER INSERT ON d.{table} FOR EACH ROW {row}",
    )
    copy = (f"INSERT LOW_PRIORITY IGNORE INTO {new} (id, v) SELECT id, v FROM d.{table} LOCK IN SHARE MODE",)
    swap = (
        f"RENAME TABLE `d`.`{table}` TO `d`.`_{table}_old`, {new} TO `d`.`{table}`",
        f"DROP TABLE IF EXISTS `d`.`_{table}_old`",
    )
    return begin, copy, swap


@pytest.mark.parametrize("tool", ["gh-ost", pytest.param("pt-online-schema-change", marks=LONG)])
def test_a_table_is_changed_online_at_one_side_while_the_other_writes_it(two_way: TwoWay, tool: str) -> None:
    a, b = two_way.a, two_way.b
    write(a, 1)
    two_way.settle()
    applied = two_way.back.applied
    shown = str(a.query("SHOW CREATE TABLE d.t")[0][1])
    begin, copy, swap = gh_ost("t") if tool == "gh-ost" else pt_osc("t", shown)
    run(a, ("USE d", *begin))
    run(
        b, ("INSERT INTO d.t VALUES (500, 'b')", "UPDATE d.t SET v = 'b' WHERE id = 1", "DELETE FROM d.t WHERE id = 10")
    )
    two_way.settle()
    run(a, copy)
    run(b, ("INSERT INTO d.t VALUES (501, 'on its way')", "UPDATE d.t SET v = 'too' WHERE id = 500"))
    run(a, ("INSERT INTO d.t VALUES (502, 'a')",))
    run(a, ("USE d", *(copy if tool == "gh-ost" else ()), *swap))
    two_way.settle()
    run(b, ("UPDATE d.t SET c = 9 WHERE id = 501",))
    two_way.settle()
    assert (two_way.forth.schema_changes, two_way.back.schema_changes) == (1, 0)
    assert two_way.back.applied - applied == 6
    for server in (a, b):
        assert server.query("SELECT reason FROM pydbsync.parked") == []
        assert server.query("SELECT * FROM d.t ORDER BY id") == [
            (1, "b", 7), (500, "too", 7), (501, "on its way", 9), (502, "a", 7),
        ]  # fmt: skip
    assert two_way.differences("d") == []


def test_databases_have_other_names_at_each_side(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    run(fresh_source, ("CREATE DATABASE d1", "CREATE TABLE d1.t (id INT PRIMARY KEY, v INT)"))
    run(fresh_target, ("CREATE DATABASE d2", "CREATE TABLE d2.t (id INT PRIMARY KEY, v INT)"))
    two_way = TwoWay(
        fresh_source,
        fresh_target,
        tmp_path,
        forth={"dbname_rewrite": {"d1": "d2"}},
        back={"dbname_rewrite": {"d2": "d1"}},
    )
    run(fresh_source, ("INSERT INTO d1.t VALUES (1, 1)", "ALTER TABLE d1.t ADD c INT"))
    two_way.settle()
    run(fresh_target, ("INSERT INTO d2.t VALUES (2, 2, 2)", "ALTER TABLE d2.t ADD e INT"))
    two_way.settle()
    assert (two_way.forth.applied, two_way.back.applied) == (1, 1)
    expected = [(1, 1, None, None), (2, 2, 2, None)]
    assert fresh_source.query("SELECT * FROM d1.t ORDER BY id") == expected
    assert fresh_target.query("SELECT * FROM d2.t ORDER BY id") == expected


def test_tables_and_columns_have_other_names_at_each_side(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    run(fresh_source, ("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY, v INT, u INT UNIQUE)"))
    run(fresh_target, ("CREATE DATABASE d", "CREATE TABLE d.s (k INT PRIMARY KEY, w INT, u INT UNIQUE)"))
    routes = (
        {"table": "d.t", "to": "d.s", "columns": {"rename": {"id": "k", "v": "w"}}},
        {"table": "d.s", "to": "d.t", "columns": {"rename": {"k": "id", "w": "v"}}},
    )
    forth, back = (
        {"routes": [route], "detect_conflicts": "on", "conflicts": {"prefer": side}}
        for route, side in zip(routes, ("source", "target"), strict=True)
    )
    two_way = TwoWay(fresh_source, fresh_target, tmp_path, forth=forth, back=back)
    run(fresh_source, ("INSERT INTO d.t VALUES (1, 5, 1), (2, 5, 2)",))
    two_way.settle()
    run(fresh_target, ("INSERT INTO d.s VALUES (3, 5, 3)", "UPDATE d.s SET k = 4 WHERE k = 2"))
    two_way.settle()
    # A row that comes back to what it was, and a unique value that goes to another row: both ends have to agree.
    run(fresh_source, ("UPDATE d.t SET v = 6 WHERE id = 1", "UPDATE d.t SET v = 5 WHERE id = 1"))
    run(fresh_source, ("UPDATE d.t SET u = 9 WHERE id = 3",))
    run(fresh_target, ("UPDATE d.s SET w = 7 WHERE k = 1", "INSERT INTO d.s VALUES (8, 1, 9)"))
    two_way.settle()
    run(fresh_source, ("ALTER TABLE d.t ADD c INT, ADD INDEX (v)",))
    two_way.settle()
    run(fresh_target, ("UPDATE d.s SET c = 2 WHERE k = 4", "ALTER TABLE d.s DROP c"))
    two_way.settle()
    rows = fresh_source.query("SELECT id, v, u FROM d.t ORDER BY id")
    assert rows == fresh_target.query("SELECT k, w, u FROM d.s ORDER BY k")
    assert rows == [(1, 7, 1), (3, 5, 9), (4, 5, 2)]
    for server in (fresh_source, fresh_target):
        assert server.query("SELECT reason FROM pydbsync.parked") == []
        assert server.query("SELECT number FROM pydbsync.told") == []


def test_shards_at_one_side_are_one_database_at_the_other(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    table = "t (id INT PRIMARY KEY, k INT, v INT)"
    run(fresh_source, ("CREATE DATABASE d", f"CREATE TABLE d.{table}"))
    for shard in ("d0", "d1"):
        run(fresh_target, (f"CREATE DATABASE {shard}", f"CREATE TABLE {shard}.{table}"))
    split = {"databases": ["d"], "column": "k", "modulo": 2, "instances": 1}
    two_way = TwoWay(
        fresh_source, fresh_target, tmp_path,
        forth={"sharding": split, "db_corpmod": 0}, back={"dbname_rewrite": {"d0": "d", "d1": "d"}},
    )  # fmt: skip
    run(fresh_source, ("INSERT INTO d.t VALUES (1, 2, 0), (2, 4, 0), (3, 3, 0)", "UPDATE d.t SET v = 1 WHERE id < 3"))
    two_way.settle()
    run(
        fresh_target,
        ("INSERT INTO d0.t VALUES (4, 6, 0)", "INSERT INTO d1.t VALUES (5, 5, 0)", "DELETE FROM d1.t WHERE id = 3"),
    )
    two_way.settle()
    assert (two_way.forth.applied, two_way.back.applied) == (5, 3)
    run(fresh_source, ("ALTER TABLE d.t ADD c INT, ADD INDEX (v)",))
    two_way.settle()
    assert (two_way.forth.schema_changes, two_way.back.schema_changes) == (2, 0)
    assert fresh_source.query("SELECT id, v FROM d.t ORDER BY id") == [(1, 1), (2, 1), (4, 0), (5, 0)]
    assert fresh_target.query("SELECT id, v FROM d0.t ORDER BY id") == [(1, 1), (2, 1), (4, 0)]
    assert fresh_target.query("SELECT id, v FROM d1.t") == [(5, 0)]
    for server in (fresh_source, fresh_target):
        assert server.query("SELECT reason FROM pydbsync.parked") == []


OLD = "CREATE TABLE d.old (id INT PRIMARY KEY) ENGINE=MyISAM"


def test_tables_without_transactions_are_parked_where_they_come_later(two_way: TwoWay) -> None:
    run(two_way.a, (OLD, "INSERT INTO d.old VALUES (1)"))
    messages = two_way.forth.read()
    run(two_way.a, ("ALTER TABLE d.old ENGINE=InnoDB",))  # what the start looks at
    two_way.forth.apply(messages)
    parked = two_way.b.query("SELECT reason FROM pydbsync.parked WHERE source_table = 'old'")
    assert len(parked) == 1
    assert "ENGINE=InnoDB" in str(parked[0][0])


@pytest.mark.parametrize("side", ["source", pytest.param("target", marks=LONG)])
def test_tables_without_transactions_are_refused_at_the_start_of_either_direction(two_way: TwoWay, side: str) -> None:
    has, other = (two_way.a, two_way.b) if side == "source" else (two_way.b, two_way.a)
    run(has, (OLD,))
    run(other, ("CREATE TABLE d.old (id INT PRIMARY KEY)",))
    two_way.forth.read(), two_way.back.read()
    sides = [side, "target" if side == "source" else "source"]
    for direction, where in zip((two_way.forth, two_way.back), sides, strict=True):
        with pytest.raises(ConfigError, match=rf"without transactions: d\.old \(MyISAM\) of the {where}\..*InnoDB"):
            direction.apply([])
    two_way.forth.apply([], exclude=["d.old"])


TYPES = """
    CREATE TABLE d.types (id INT PRIMARY KEY, j JSON, f FLOAT, dd DOUBLE, dt DATETIME(6), ts TIMESTAMP(3) NULL,
    b VARBINARY(20), t TEXT CHARACTER SET latin1, c CHAR(5) COLLATE utf8mb4_bin, e ENUM('x','y'), st SET('a','b'),
    bi BIT(12), de DECIMAL(30,10), tm TIME(2), n INT, u INT UNIQUE) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci
"""
VALUES = """'{{"a": [1, 2.50, "é"]}}', 0.1, 0.1, '2024-01-01 00:00:00.000001', '2024-01-01 00:00:00.5', X'00ff61', 'é',
    'ab', 'y', 'a,b', 257, 1.5, '10:11:12.5', 1, {0}"""


@pytest.mark.mysql
def test_servers_of_two_brands_hear_each_other(
    mariadb_source: Endpoint, mysql_target: Endpoint, tmp_path: Path
) -> None:
    source = mariadb_source
    sides = (source, mysql_target)
    for server in sides:
        server.drop_databases()
        run(server, (*TABLES, TYPES))
    both = [
        {"detect_conflicts": "on", "exclude": ["d.keyless"], "conflicts": {
            "prefer": side, "policy": "prefer", "tables": {"d.types": "newest:n"},
        }} for side in ("source", "target")
    ]  # fmt: skip
    two_way = TwoWay(*sides, tmp_path, forth=both[0], back=both[1])
    for first, server in zip((10, 20), sides, strict=True):
        run(server, [f"INSERT INTO d.types VALUES ({key}, {VALUES.format(key)})" for key in (first, first + 1)])
        run(server, (f"UPDATE d.types SET f = f * 3, j = '[1.0, true]', id = {first + 5} WHERE id = {first}",))
    two_way.settle()
    assert (two_way.forth.applied, two_way.back.applied) == (3, 3)
    for name, n, server in zip("AB", (7, 8), sides, strict=True):
        run(server, (f"UPDATE d.types SET t = '{name}', n = {n} WHERE id = 15",))
        run(server, (f"INSERT INTO d.types (id, n, u) VALUES (9{n}, {n}, 99)",))
    run(source, ("UPDATE d.types SET j = '{}' WHERE id = 21",))
    run(mysql_target, ("DELETE FROM d.types WHERE id = 21",))
    two_way.settle()
    run(
        source,
        ("USE d", "ALTER TABLE types ADD extra INT DEFAULT 7, ADD INDEX (n)", "CREATE TABLE a (id INT PRIMARY KEY)"),
    )
    two_way.settle()
    run(
        mysql_target,
        ("USE d", "ALTER TABLE types ADD more VARCHAR(9) COLLATE utf8mb4_general_ci", "RENAME TABLE a TO c"),
    )
    two_way.settle()
    assert (two_way.forth.schema_changes, two_way.back.schema_changes) == (2, 2)
    assert two_way.differences("d") == []
    assert source.query("SELECT id, t FROM d.types WHERE id IN (15, 21, 97, 98) ORDER BY id") == [(15, "B"), (98, None)]
    for server in sides:
        assert server.query("SELECT reason FROM pydbsync.parked") == []
        assert len(server.query("SELECT id FROM pydbsync.conflict")) == 3
