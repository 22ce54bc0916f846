"""Repair on real servers: rows broken on purpose are made equal by a plan, and broken again by its reverse."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pymysql
import pytest

from pydbsync.apply.connection import Connection
from pydbsync.errors import OperationError
from pydbsync.ops.repair import keyed, keyless
from pydbsync.ops.repair.change import PlannedChange
from pydbsync.ops.repair.group import execute
from pydbsync.ops.repair.plan import read_plan
from pydbsync.ops.repair.run import Repair, RepairOptions, RepairOutcome, describe_plan
from pydbsync.plan.row_statements import RowStatement
from tests.commands import call
from tests.comparing import LOG, QUICK, compare, on_both, run_sql
from tests.integration.test_verify import ALL_TYPES
from tests.matrices import LONG
from tests.processes import wait_for
from tests.repairing import OPTIONS, Bench, change
from tests.servers import Endpoint
from tests.state import differences

pytestmark = pytest.mark.kept_state

KEYLESS = """
CREATE TABLE k (a INT NULL, b VARCHAR(9) NULL, f FLOAT NULL, bi BINARY(4) NULL);
INSERT INTO k VALUES (1, 'x', 0.1, UNHEX('01000000')), (1, 'x', 0.1, UNHEX('01000000')), (2, 'A', 0.2, NULL),
  (2, 'a', 0.2, NULL), (NULL, NULL, NULL, NULL), (NULL, '', NULL, NULL)
"""
UNIQUE = "CREATE TABLE u (id INT PRIMARY KEY, e VARCHAR(20) UNIQUE)"

PLAN_END = "\n-- end of the plan\n"


@pytest.fixture
def bench(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Bench:
    return Bench(fresh_source, fresh_target, tmp_path)


BREAKS = (
    "UPDATE t SET c = 'C7', l = 'E', n = 0, u = 0, f = 1e10, dd = -1e-300, b = 0, y = 0, dt = '0000-00-00', ts = NULL,"
    " tm = '-838:59:59.5', da = '2000-00-00', e = '', s = '', bi = '', bl = NULL, tx = '', j = '[1, \"\\\\u00e9\"]',"
    " g = ST_GeomFromText('POLYGON((0 0, 4 0, 4 4, 0 0))', 3857) WHERE id IN (7, 8)",
    "UPDATE t SET bl = REPEAT(UNHEX('0A275C00FF2D2D20'), 20000) WHERE id = 9",
    "UPDATE t SET tx = REPEAT('\\'\\\\\\n-- change x \"', 5000) WHERE id = 9",
    "DELETE FROM t WHERE id IN (1, 300, 1000)",
    "INSERT INTO t (id, c, e) VALUES (-5, 'extra\\'\\n', 'b'), (0, NULL, NULL), (2000, '😀', 'a')",
    "DELETE FROM k WHERE a = 1 LIMIT 1",
    "UPDATE k SET b = 'A' WHERE CAST(b AS BINARY) = CAST('a' AS BINARY)",
    "INSERT INTO k VALUES (9, 'new', 0.7, UNHEX('00FF')), (9, 'new', 0.7, UNHEX('00FF')), (NULL, NULL, NULL, NULL)",
)


@pytest.fixture
def broken(bench: Bench) -> Bench:
    on_both(bench.source, bench.target, ALL_TYPES + ";\n" + KEYLESS)
    change(bench.target, *BREAKS)
    return bench


def test_broken_rows_of_all_types_are_repaired_and_broken_again_by_undo(broken: Bench) -> None:
    before = broken.states()
    plan = broken.make_plan()
    assert plan.left_out == ()
    assert {str(each.table) for each in plan.changes} == {"shop.t", "shop.k"}
    outcome = broken.apply()
    assert (outcome.done, outcome.refused, outcome.different) == (len(plan.changes), (), 0)
    assert broken.is_equal()
    assert broken.different() == {}
    undone = broken.undo()
    assert (undone.done, undone.refused) == (len(plan.changes), ())
    assert list(differences(before[1], broken.states()[1], data_only=True)) == []


def test_long_numbers_of_rows_without_a_key_differ_in_their_last_digits(bench: Bench) -> None:
    """The servers group rows in a table of their own, in which a DOUBLE has 22 characters."""
    on_both(bench.source, bench.target, "CREATE TABLE t (d DOUBLE, l DOUBLE(255,30), e DECIMAL(5,5))")
    rows = [
        ("-6.954981326455496e-14{}", "-1.25", "0"),
        ("-1.25", "-1e20{}", "0"),
        ("0", "0", "-0.1234{}"),
        ("{}", "{}", "0"),
    ]
    for server, digit in ((bench.source, "1"), (bench.target, "2")):
        change(server, *(f"INSERT INTO t VALUES ({', '.join(row).format(*digit * 2)})" for row in rows))
    assert bench.different() == {"shop.t": 8}
    bench.make_plan()
    assert bench.apply().different == 0
    assert bench.is_equal()


def test_a_row_whose_key_is_the_empty_text_is_repaired(bench: Bench) -> None:
    on_both(bench.source, bench.target, "CREATE TABLE t (k VARCHAR(9) PRIMARY KEY, v INT)")
    change(bench.source, "INSERT INTO t VALUES ('', 1), ('a', 1)")
    change(bench.target, "INSERT INTO t VALUES ('', 2), ('b', 1)")
    assert bench.make_plan().left_out == ()
    bench.apply()
    assert bench.is_equal()


def test_the_plan_is_sql_with_the_reverse_of_each_change_beside_it(bench: Bench) -> None:
    on_both(bench.source, bench.target, "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))")
    change(bench.source, "INSERT INTO t VALUES (1, 'it\\'s'), (2, NULL)")
    change(bench.target, "INSERT INTO t VALUES (1, 'was'), (3, 'x')")
    bench.make_plan()
    lines = [line for line in bench.plan.read_text().splitlines() if line and not line.startswith("-- change ")]
    assert [line for line in lines if "shop`.`t`" in line] == [
        "DELETE FROM `shop`.`t` WHERE `id` = 3 LIMIT 1;",
        '-- undo: INSERT INTO `shop`.`t` (`id`, `v`) VALUES (3,"x");',
        'UPDATE `shop`.`t` SET `id` = 1, `v` = "it\'s" WHERE `id` = 1 LIMIT 1;',
        '-- undo: UPDATE `shop`.`t` SET `id` = 1, `v` = "was" WHERE `id` = 1 LIMIT 1;',
        "INSERT INTO `shop`.`t` (`id`, `v`) VALUES (2,null);",
        "-- undo: DELETE FROM `shop`.`t` WHERE `id` = 2 LIMIT 1;",
    ]
    sql = [line for line in lines if not line.startswith("--")]
    change(bench.target, *sql)
    assert bench.is_equal()


def test_rows_that_swapped_a_unique_value_are_repaired(bench: Bench) -> None:
    on_both(bench.source, bench.target, UNIQUE)
    change(bench.source, "INSERT INTO u VALUES (1, 'a'), (2, 'b'), (3, 'c')")
    change(bench.target, "INSERT INTO u VALUES (1, 'b'), (2, 'a'), (4, 'c')")
    bench.make_plan()
    assert bench.apply().different == 0
    assert bench.is_equal()
    bench.undo()
    assert bench.target.query("SELECT * FROM shop.u ORDER BY id") == [(1, "b"), (2, "a"), (4, "c")]


def test_rows_that_refer_to_each_other_in_a_circle_are_repaired(bench: Bench) -> None:
    on_both(
        bench.source, bench.target,
        "CREATE TABLE p (id INT PRIMARY KEY, best INT, up INT, FOREIGN KEY (up) REFERENCES p (id) ON DELETE CASCADE);\n"
        "CREATE TABLE c (id INT PRIMARY KEY, p INT NOT NULL, FOREIGN KEY (p) REFERENCES p (id) ON DELETE CASCADE);\n"
        "ALTER TABLE p ADD FOREIGN KEY (best) REFERENCES c (id) ON DELETE SET NULL;\n"
        "INSERT INTO p VALUES (1, 1, 2), (2, 2, 3), (3, NULL, 1), (4, 4, 4);\n"
        "INSERT INTO c VALUES (1, 1), (2, 2), (4, 4)",
    )  # fmt: skip
    change(bench.target, "DELETE FROM p WHERE id < 3", "DELETE FROM c WHERE id = 1", "INSERT INTO p VALUES (9, 4, 9)")
    change(bench.source, "UPDATE p SET best = 2 WHERE id = 4", "DELETE FROM c WHERE id = 4")
    broken = bench.target.query("SELECT * FROM shop.p UNION ALL SELECT id, p, 0 FROM shop.c ORDER BY 1, 2, 3")
    assert bench.make_plan().left_out == ()
    assert bench.apply().different == 0
    assert bench.is_equal()
    assert bench.undo().refused == ()
    assert bench.target.query("SELECT * FROM shop.p UNION ALL SELECT id, p, 0 FROM shop.c ORDER BY 1, 2, 3") == broken


def test_rows_that_swapped_a_unique_value_keep_what_only_the_target_has(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    bench = Bench(fresh_source, fresh_target, tmp_path, apply_mode="upsert")
    on_both(fresh_source, fresh_target, "CREATE TABLE u (id INT PRIMARY KEY, v INT, u INT UNIQUE)")
    change(fresh_source, "INSERT INTO u VALUES (1, 1, 10), (2, 2, 20), (3, 3, 30)")
    own = "score INT DEFAULT 5, seen TIMESTAMP NOT NULL DEFAULT '2020-01-01' ON UPDATE CURRENT_TIMESTAMP"
    change(fresh_target, f"ALTER TABLE u ADD COLUMN ({own})")
    change(fresh_target, "INSERT INTO u (id, v, u, score) VALUES (1, 9, 20, 71), (2, 2, 30, 72), (4, 4, 10, 74)")
    before = fresh_target.query("SELECT id, v, u, score, seen FROM shop.u ORDER BY id")
    plan = bench.make_plan()
    outcome = bench.apply()
    assert (outcome.done, outcome.refused, outcome.different) == (len(plan.changes), (), 0)
    (seen,) = {row[4] for row in before}
    assert fresh_target.query("SELECT id, v, u, score, seen FROM shop.u ORDER BY id") == [
        (1, 1, 10, 71, seen),
        (2, 2, 20, 72, seen),
        (3, 3, 30, 5, seen),
    ]
    assert bench.undo().refused == ()
    assert fresh_target.query("SELECT id, v, u, score, seen FROM shop.u ORDER BY id") == before


def test_values_that_move_through_a_whole_table_are_repaired_in_small_transactions(bench: Bench) -> None:
    # A prefix as key too: what collides there is not known before.
    on_both(bench.source, bench.target, "CREATE TABLE u (id INT PRIMARY KEY, e VARCHAR(20), UNIQUE (e(4)))")
    numbers = range(1, 31)
    change(bench.source, f"INSERT INTO u VALUES {', '.join(f'({n}, {n + 1000})' for n in numbers)}")
    moved = [*(f"({n}, {n + 1001})" for n in numbers[:20]), "(31, 1001)", "(22, '1023x')", "(23, '1022y')"]
    change(bench.target, f"INSERT INTO u VALUES {', '.join(moved)}")
    before = bench.states()
    options = RepairOptions(settle=QUICK, takes_unproven=True, group_rows=3)
    plan = bench.make_plan(options)
    outcome = bench.apply(options)
    assert (outcome.done, outcome.refused, outcome.different) == (len(plan.changes), (), 0)
    assert bench.is_equal()
    assert bench.undo(options).refused == ()
    assert list(differences(before[1], bench.states()[1], data_only=True)) == []


def test_one_row_that_cannot_be_written_does_not_hold_up_the_others_of_its_transaction(bench: Bench) -> None:
    on_both(bench.source, bench.target, UNIQUE)
    change(bench.source, "INSERT INTO u VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd')")
    change(bench.target, "INSERT INTO u VALUES (1, 'b'), (2, 'a')")
    bench.make_plan()
    change(bench.target, "INSERT INTO u VALUES (9, 'c')")
    outcome = bench.apply()
    assert (outcome.done, len(outcome.refused), outcome.different) == (3, 1, 1)
    assert bench.target.query("SELECT * FROM shop.u ORDER BY id") == [(1, "a"), (2, "b"), (4, "d"), (9, "c")]


def test_a_plan_that_was_taken_back_can_be_applied_again(broken: Bench) -> None:
    before = broken.states()
    plan = broken.make_plan()
    for _ in range(2):
        outcome = broken.apply()
        assert (outcome.done, outcome.before, outcome.refused) == (len(plan.changes), 0, ())
        assert broken.is_equal()
        undone = broken.undo()
        assert (undone.done, undone.before, undone.refused) == (len(plan.changes), 0, ())
        assert list(differences(before[1], broken.states()[1], data_only=True)) == []
    again = broken.undo()
    assert (again.done, again.before) == (0, len(plan.changes))


def test_a_row_that_the_target_cannot_hold_is_refused_and_stays_as_it_was(bench: Bench) -> None:
    on_both(bench.source, bench.target, "CREATE TABLE t (id INT PRIMARY KEY, d DOUBLE, v INT)")
    change(bench.source, "INSERT INTO t VALUES (1, 0.1, 1), (2, 1.5, 2)")
    change(bench.target, "ALTER TABLE t MODIFY d FLOAT", "INSERT INTO t VALUES (1, 9, 9), (2, 9, 9)")
    bench.make_plan()
    outcome = bench.apply()
    assert outcome.done == 1
    (why,) = outcome.refused
    assert "the target does not hold the source's value of d as it was written" in why
    assert bench.target.query("SELECT id, v FROM shop.t ORDER BY id") == [(1, 9), (2, 2)]


def test_triggers_that_will_fire_are_told_of_once(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    on_both(
        bench.source,
        bench.target,
        "CREATE TABLE t (id INT PRIMARY KEY, v INT);\nCREATE TABLE n (count INT);\nINSERT INTO n VALUES (0);\n"
        "CREATE TRIGGER counted AFTER INSERT ON t FOR EACH ROW UPDATE n SET count = count + 1;\n"
        "INSERT INTO t VALUES (1, 1), (2, 2)",
    )
    change(bench.target, "DELETE FROM t WHERE id = 1")
    bench.verify()

    def plan_and_apply(repair: Repair) -> RepairOutcome:
        repair.make_plan(bench.report, bench.plan)
        return repair.apply(bench.plan)

    outcome = bench.with_repair(OPTIONS, plan_and_apply)
    assert (outcome.done, outcome.refused, bench.different()) == (1, (), {"shop.n": 2})
    (said,) = [each.getMessage() for each in caplog.records if "triggers" in each.getMessage()]
    assert said.startswith("shop.t has triggers at the target (counted): they fire when its rows are repaired")


@pytest.mark.parametrize("key", ["PRIMARY KEY (id)", pytest.param("KEY (v)", marks=LONG)])
def test_nobody_writes_a_missing_row_between_the_look_and_the_commit(
    bench: Bench, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    on_both(bench.source, bench.target, f"CREATE TABLE t (id INT NOT NULL, v INT, {key})")
    change(bench.source, "INSERT INTO t VALUES (1, 1), (5, 5), (9, 9)")
    change(bench.target, "INSERT INTO t VALUES (1, 1), (9, 9)")
    bench.make_plan()
    met = []

    def meet(connection: Connection, planned: PlannedChange, statements: list[RowStatement]) -> None:
        if not statements:
            return
        with bench.target.connect(database="shop") as other, other.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = 1")
            with pytest.raises(pymysql.OperationalError) as waited:
                cursor.execute("INSERT INTO t VALUES (5, 5)")
            met.append(waited.value.args[0])
        execute(connection, planned, statements)

    for module in (keyed, keyless):
        monkeypatch.setattr(module, "execute", meet)
    assert bench.apply().done == 1
    assert met == [1205]  # Lock wait timeout exceeded
    assert bench.is_equal()


@pytest.mark.parametrize(
    ("key", "planned", "meanwhile"),
    [
        ("PRIMARY KEY (id)", "UPDATE t SET v = 6 WHERE id = 5", "UPDATE t SET v = 6 WHERE id = 5"),
        ("PRIMARY KEY (id)", "DELETE FROM t WHERE id = 5", "DELETE FROM t WHERE id = 5"),
        ("KEY (v)", "DELETE FROM t WHERE id = 5", "DELETE FROM t WHERE id = 5"),
    ],
)
def test_a_row_that_the_source_changes_while_repair_waits_for_a_lock_is_refused(
    bench: Bench, key: str, planned: str, meanwhile: str
) -> None:
    on_both(bench.source, bench.target, f"CREATE TABLE t (id INT NOT NULL, v INT, {key})")
    for end in (bench.source, bench.target):
        change(end, "INSERT INTO t VALUES (1, 1), (5, 5), (9, 9)")
    change(bench.target, planned)
    bench.make_plan()
    outcomes: list[RepairOutcome] = []
    with bench.target.connect(database="shop") as other, other.cursor() as cursor:
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("BEGIN")
        cursor.execute("SELECT * FROM t WHERE id = 5 FOR UPDATE")
        thread = threading.Thread(target=lambda: outcomes.append(bench.apply()))
        thread.start()
        waiting = "SELECT 1 FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        wait_for(lambda: bench.target.query(waiting), what="repair waits for the lock")
        # What replay does of it finds the row as it shall be, or no row, and waits for nothing.
        change(bench.source, meanwhile)
        cursor.execute("COMMIT")
        thread.join()
    (outcome,) = outcomes
    assert outcome.done == 0
    assert [text.partition(": ")[2] for text in outcome.refused] == [
        "the source's row has changed since the plan was made"
    ]
    assert bench.is_equal()


def test_rows_without_a_key_are_repaired_without_a_pass_over_the_table_for_each(bench: Bench) -> None:
    def rows_read() -> int:
        ends = (bench.source, bench.target)
        return sum(int(end.query("SHOW GLOBAL STATUS LIKE 'Handler_read_rnd_next'")[0][1]) for end in ends)

    on_both(bench.source, bench.target, "CREATE TABLE k (a INT, b INT)")
    numbers = range(1000)
    for end in (bench.source, bench.target):
        change(end, f"INSERT INTO k VALUES {', '.join(f'({n}, {n})' for n in numbers)}")
    # Rows that are too many, too few, and once where they shall be twice.
    change(bench.target, "DELETE FROM k WHERE a < 30", "INSERT INTO k SELECT a, -b FROM k WHERE a < 60")
    change(bench.target, "INSERT INTO k SELECT * FROM k WHERE a BETWEEN 60 AND 89")
    change(bench.source, "INSERT INTO k SELECT * FROM k WHERE a BETWEEN 100 AND 129")
    bench.verify()
    before = rows_read()
    bench.with_repair(OPTIONS, lambda repair: repair.make_plan(bench.report, bench.plan))
    assert bench.apply().different == 0
    assert bench.undo().refused == ()
    assert rows_read() - before < 60 * len(numbers)  # of 120 changes, each planned, applied and undone
    assert bench.apply().different == 0
    assert bench.is_equal()


def test_rows_without_a_key_keep_what_only_the_target_has(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    bench = Bench(fresh_source, fresh_target, tmp_path, apply_mode="upsert")
    on_both(fresh_source, fresh_target, "CREATE TABLE k (a INT, b INT)")
    change(fresh_target, "ALTER TABLE k ADD COLUMN own INT DEFAULT 5")
    change(fresh_source, "INSERT INTO k VALUES (1, 1), (2, 2), (2, 2)")
    change(fresh_target, "INSERT INTO k VALUES (1, 1, 6), (3, 3, 7), (3, 3, 8), (3, 3, 8), (2, 2, 9)")
    before = fresh_target.query("SELECT * FROM shop.k ORDER BY a, own")
    plan = bench.make_plan()
    outcome = bench.apply()
    assert (outcome.done, outcome.refused, outcome.different) == (len(plan.changes), (), 0)
    assert fresh_target.query("SELECT * FROM shop.k ORDER BY a, own") == [(1, 1, 6), (2, 2, 5), (2, 2, 9)]
    assert bench.undo().refused == ()
    assert fresh_target.query("SELECT * FROM shop.k ORDER BY a, own") == before


def test_a_unique_value_that_another_row_holds_is_refused_not_overwritten(bench: Bench) -> None:
    on_both(bench.source, bench.target, UNIQUE)
    change(bench.source, "INSERT INTO u VALUES (1, 'a'), (2, 'b')")
    bench.make_plan()
    change(bench.target, "INSERT INTO u VALUES (9, 'a')")
    outcome = bench.apply()
    assert (outcome.done, len(outcome.refused), outcome.different) == (1, 1, 1)
    assert "Duplicate entry" in outcome.refused[0]
    assert bench.target.query("SELECT * FROM shop.u ORDER BY id") == [(2, "b"), (9, "a")]


@pytest.mark.mysql  # MariaDB stores -0 as 0
def test_zeros_of_both_signs_are_two_values_of_rows_without_a_key(bench: Bench) -> None:
    on_both(bench.source, bench.target, "CREATE TABLE k (d DOUBLE, f FLOAT)")
    change(bench.source, "INSERT INTO k VALUES (0e0, -0e0), (1, 1)")
    change(bench.target, "INSERT INTO k VALUES (-0e0, 0e0), (1, 1)")
    before = bench.states()[1]
    bench.make_plan()
    assert bench.apply().refused == ()
    assert bench.different() == {}
    assert bench.undo().refused == ()
    assert bench.states()[1] == before


def test_a_table_without_transactions_is_left_out(bench: Bench) -> None:
    on_both(bench.source, bench.target, UNIQUE + ";\nCREATE TABLE k (a INT);\nCREATE TABLE t (id INT PRIMARY KEY)")
    change(bench.target, "ALTER TABLE u ENGINE=MyISAM", "ALTER TABLE k ENGINE=MyISAM")
    change(bench.source, "INSERT INTO u VALUES (1, 'a')", "INSERT INTO k VALUES (1)", "INSERT INTO t VALUES (1)")
    plan = bench.make_plan()
    assert [str(each.table) for each in plan.changes] == ["shop.t"]
    assert [text.partition(" (its")[0] for text in plan.left_out] == [
        "shop.k: shop.k has no transactions at the target",
        "shop.u: shop.u has no transactions at the target",
    ]


def test_columns_of_the_targets_own_keep_their_values(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    bench = Bench(fresh_source, fresh_target, tmp_path, apply_mode="upsert")
    on_both(fresh_source, fresh_target, "CREATE TABLE t (id INT PRIMARY KEY, v INT, UNIQUE KEY v (v))")
    change(fresh_target, "ALTER TABLE t ADD COLUMN own INT DEFAULT 1 FIRST")
    change(fresh_source, "INSERT INTO t VALUES (1, 1), (2, 2)")
    change(fresh_target, "INSERT INTO t (own, id, v) VALUES (71, 1, 9), (73, 3, 3)")
    bench.make_plan()
    assert bench.apply().different == 0
    assert fresh_target.query("SELECT id, v, own FROM shop.t ORDER BY id") == [(1, 1, 71), (2, 2, 1)]
    bench.undo()
    assert fresh_target.query("SELECT id, v, own FROM shop.t ORDER BY id") == [(1, 9, 71), (3, 3, 73)]


def test_a_row_changed_at_the_target_since_the_plan_is_refused(broken: Bench) -> None:
    plan = broken.make_plan()
    change(broken.target, "UPDATE t SET c = 'newer' WHERE id = 7", "DELETE FROM k WHERE a = 9 LIMIT 1")
    outcome = broken.apply()
    assert outcome.done == len(plan.changes) - 2
    assert all("the target's row has changed" in why for why in outcome.refused)
    assert broken.target.query("SELECT c FROM shop.t WHERE id = 7") == [("newer",)]


def test_a_row_changed_at_the_source_since_the_plan_is_refused(broken: Bench) -> None:
    plan = broken.make_plan()
    change(broken.source, "UPDATE t SET c = 'newer' WHERE id = 7", "INSERT INTO t (id) VALUES (-5)")
    outcome = broken.apply()
    assert outcome.done == len(plan.changes) - 2
    assert all("the source's row has changed" in why for why in outcome.refused)
    assert broken.target.query("SELECT c FROM shop.t WHERE id IN (-5, 7) ORDER BY id") == [("extra'\n",), ("C7",)]


def test_undo_refuses_rows_that_changed_since_the_repair(broken: Bench) -> None:
    plan = broken.make_plan()
    broken.apply()
    change(broken.target, "UPDATE t SET c = 'newer' WHERE id = 7", "INSERT INTO t (id) VALUES (-5)")
    undone = broken.undo()
    assert undone.done == len(plan.changes) - 2
    assert all("the row has changed since the repair" in why for why in undone.refused)
    assert broken.target.query("SELECT c FROM shop.t WHERE id IN (-5, 7) ORDER BY id") == [(None,), ("newer",)]


def test_a_repair_that_was_killed_goes_on_and_does_nothing_twice(broken: Bench) -> None:
    plan = broken.make_plan()
    command = [sys.executable, "-m", "pydbsync", "repair", *broken.options(), "--yes"]
    process = subprocess.Popen([*command, "--transaction-rows", "1", "--rate", "2"])

    def done() -> int:
        found = broken.target.query("SELECT COUNT(*) FROM information_schema.tables WHERE table_name = 'repair'")
        return int(broken.target.query("SELECT COUNT(*) FROM pydbsync.repair")[0][0]) if found[0][0] else 0

    wait_for(lambda: done() >= 2, what="two changes that are committed")
    process.kill()
    process.wait()
    before = done()
    assert before < len(plan.changes)
    outcome = broken.apply()
    assert (outcome.before, outcome.done, outcome.refused) == (before, len(plan.changes) - before, ())
    assert broken.is_equal()
    assert broken.apply().before == len(plan.changes)
    assert broken.is_equal()


def test_changes_can_be_deleted_from_the_plan_but_not_edited(broken: Bench) -> None:
    plan = broken.make_plan()
    text = broken.plan.read_text().removesuffix(PLAN_END)
    head, *blocks = text.split("\n-- change ")
    kept = [block for block in blocks if '"kind":"delete"' in block]
    broken.plan.write_text("\n-- change ".join([head, *kept]) + PLAN_END)
    assert broken.apply().done == len(kept) < len(plan.changes)
    edited = next(block for block in kept if "WHERE `id` = 2000" in block)
    broken.plan.write_text("\n-- change ".join([head, edited.replace("`id` = 2000", "`id` = 2000 OR 1")]) + PLAN_END)
    with pytest.raises(OperationError, match="were edited"):
        broken.apply()


def test_a_plan_that_holds_a_change_twice_is_refused_and_what_was_taken_out_is_told(broken: Bench) -> None:
    plan = broken.make_plan()
    whole = broken.plan.read_bytes()
    first, *changes = whole.split(b"\n-- change ")
    before = broken.states()[1]
    for content in (
        b"\n-- change ".join((first, changes[0], *changes)),
        whole.replace(b'"number":2,', b'"number":1,', 1),
    ):
        broken.plan.write_bytes(content)
        for work in (broken.apply, broken.undo):
            with pytest.raises(OperationError, match="twice"):
                work()
    assert list(differences(before, broken.states()[1], data_only=True)) == []
    broken.plan.write_bytes(b"\n-- change ".join((first, *changes[:-3])) + PLAN_END.encode())
    assert "(3 that were planned are not in the file)" in describe_plan(read_plan(broken.plan))
    assert "not in the file" not in describe_plan(plan)


def test_a_plan_of_other_servers_is_refused(broken: Bench) -> None:
    broken.make_plan()
    whole = broken.plan.read_text()
    head = read_plan(broken.plan).head
    for end in (head.source, head.target):
        broken.plan.write_text(whole.replace(f'"{end}"', f'"{end}9"', 1))
        for work in (broken.apply, broken.undo):
            with pytest.raises(OperationError, match="name the one that it was made with by --config"):
                work()


def test_a_plan_is_never_overwritten(broken: Bench) -> None:
    broken.make_plan()
    content = broken.plan.read_bytes()
    with pytest.raises(OperationError, match="exists"):
        broken.make_plan()
    assert broken.plan.read_bytes() == content


def test_unproven_rows_are_left_out_unless_they_are_asked_for(broken: Bench) -> None:
    plan = broken.make_plan(RepairOptions(settle=QUICK))
    assert plan.changes == ()
    assert all("unproven" in text for text in plan.left_out)
    assert not broken.plan.exists()


def test_what_is_equal_by_now_is_not_planned(broken: Bench) -> None:
    broken.verify()
    change(broken.target, "DELETE FROM t WHERE id IN (-5, 0, 2000)")
    with Repair(broken.settings, OPTIONS, stop=threading.Event(), log=LOG) as repair:
        plan = repair.make_plan(broken.report, broken.plan)
    assert [each.request for each in plan.changes if each.kind == "delete" and str(each.table) == "shop.t"] == []


def test_merged_tables_are_repaired_from_the_source_that_has_the_row(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    for name, key in (("s1", 1), ("s2", 2)):
        create = f"CREATE TABLE {name}.t (id INT PRIMARY KEY, v INT)"
        run_sql(fresh_source, [f"CREATE DATABASE {name}", create, f"INSERT INTO {name}.t VALUES ({key}, {key})"])
    run_sql(fresh_source, ["INSERT INTO s1.t VALUES (5, 5)", "INSERT INTO s2.t VALUES (5, 6)"])
    run_sql(fresh_target, ["CREATE DATABASE one", "CREATE TABLE one.t (id INT PRIMARY KEY, v INT)"])
    run_sql(fresh_target, ["INSERT INTO one.t VALUES (2, 9)"])
    bench = Bench(fresh_source, fresh_target, tmp_path, dbname_rewrite={"s1": "one", "s2": "one"})
    plan = bench.make_plan()
    assert plan.left_out == ("one.t: a key that several source tables have cannot be repaired",)
    assert bench.apply().different == 0
    assert fresh_target.query("SELECT * FROM one.t ORDER BY id") == [(1, 1), (2, 2)]


def test_rows_of_a_column_that_the_target_does_not_have_are_left_out_and_the_rest_is_planned(bench: Bench) -> None:
    on_both(bench.source, bench.target, "CREATE TABLE t (id INT PRIMARY KEY, v INT)")
    change(bench.source, "ALTER TABLE t ADD COLUMN w INT", "INSERT INTO t VALUES (1, 1, 1), (2, 2, 2)")
    change(bench.target, "INSERT INTO t VALUES (3, 3)")
    plan = bench.make_plan()
    assert [each.request for each in plan.changes] == [("3",)]
    (why,) = plan.left_out
    assert why.startswith("shop.t: 2 rows: shop.t has no column 'w'")


def test_json_null_is_left_out_with_its_reason(bench: Bench) -> None:
    on_both(bench.source, bench.target, "CREATE TABLE t (id INT PRIMARY KEY, j JSON)")
    change(bench.source, "INSERT INTO t VALUES (1, 'null'), (2, '[null]')")
    plan = bench.make_plan()
    assert [each.request for each in plan.changes] == [("2",)]
    assert plan.left_out == ("shop.t: a row: column j holds JSON's null, which a message cannot tell from NULL",)


@pytest.mark.mysql
@pytest.mark.parametrize("key", [pytest.param("PRIMARY KEY (id)", marks=LONG), "KEY (id)"])
def test_vectors_are_repaired_bit_by_bit(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path, key: str
) -> None:
    bench = Bench(fresh_source, fresh_target, tmp_path)
    on_both(bench.source, bench.target, f"CREATE TABLE t (id INT NOT NULL, v VECTOR(2), w VECTOR(1), {key})")
    change(bench.source, "INSERT INTO t VALUES (1, X'CDCCCC3D01000000', NULL), (2, NULL, X'00000080'), (3, NULL, NULL)")
    change(bench.target, "INSERT INTO t VALUES (1, X'CDCCCC3D02000000', NULL), (2, NULL, X'00000000'), (4, NULL, NULL)")
    before = bench.states()[1]
    assert bench.make_plan().left_out == ()
    assert bench.apply().different == 0
    assert bench.is_equal()
    bench.undo()
    assert list(differences(before, bench.states()[1], data_only=True)) == []


@pytest.mark.parametrize("key", [pytest.param("PRIMARY KEY (id)", marks=LONG), "KEY (id)"])
def test_documents_that_a_server_may_take_for_the_same_are_told_apart(bench: Bench, key: str) -> None:
    on_both(bench.source, bench.target, f"CREATE TABLE j (id INT NOT NULL, d JSON, {key})")
    documents = ("1", "1.0"), ("[0.0]", "[-0.0]"), ('{"a": 1, "b": 3, "a": 2}', '{"a": 2, "b": 3}'), ('"a"', '"A"')
    for number, ends in enumerate(documents):
        for end, document in zip((bench.source, bench.target), ends, strict=True):
            change(end, f"INSERT INTO j VALUES ({number}, '{document}')")
    rows = bench.source.query("SELECT COUNT(*) FROM shop.j WHERE id <> 2 OR CAST(d AS CHAR) LIKE '%3%2%'")[0][0]
    assert bench.different() == {"shop.j": rows * (1 if key == "PRIMARY KEY (id)" else 2)}  # MySQL keeps one of a key
    before = bench.states()[1]
    plan = bench.make_plan()
    outcome = bench.apply()
    assert (outcome.done, outcome.refused, outcome.different) == (len(plan.changes), (), 0)
    assert bench.source.query("SELECT id, d FROM shop.j ORDER BY id") == bench.target.query(
        "SELECT id, d FROM shop.j ORDER BY id"
    )
    assert bench.undo().refused == ()
    assert list(differences(before, bench.states()[1], data_only=True)) == []


OTHER_WIDTHS = (
    ("DECIMAL(10,2)", "DECIMAL(40,6)", "1.5", "1.500001"),
    ("DECIMAL(10,2)", "INT", "-20.00", "-2"),
    ("DECIMAL(8,2) ZEROFILL", "DECIMAL(8,2) UNSIGNED", "1.5", "1.51"),
    ("DOUBLE ZEROFILL", "DOUBLE", "2.5", "2.25"),
    ("INT(9) ZEROFILL", "BIGINT", "30", "3"),
    ("DATETIME", "DATETIME(6)", "'2020-01-01 00:00:01'", "'2020-01-01 00:00:01.000001'"),
    ("DATETIME(3)", "DATETIME", "'0000-00-00'", "'2020-01-01 00:00:01'"),
    ("TIMESTAMP(6) NULL", "DATETIME(6)", "'2020-01-01 00:00:01.5'", "'2020-01-01 00:00:01'"),
    ("TIME", "TIME(2)", "'-838:59:59'", "'838:59:59'"),
    ("DATE", "DATETIME(1)", "'2020-02-29'", "'2020-02-29 00:00:00.1'"),
)
"""Types of a column at both ends, a value that both hold, another one at the target."""


@pytest.mark.parametrize("key", [pytest.param("PRIMARY KEY (id)", marks=LONG), "KEY (id)"])
def test_types_of_other_widths_hold_the_same_values(bench: Bench, key: str) -> None:
    names = [f"c{number}" for number in range(len(OTHER_WIDTHS))]
    for end, at in ((bench.source, 0), (bench.target, 1)):
        columns = ", ".join(f"{name} {sql[at]}" for name, sql in zip(names, OTHER_WIDTHS, strict=True))
        values = ", ".join(each[2] for each in OTHER_WIDTHS)
        end.query("CREATE DATABASE shop CHARACTER SET utf8mb4")
        change(end, f"CREATE TABLE w (id INT NOT NULL, {columns}, {key})", "INSERT INTO w (id) VALUES (0)")
        change(end, *(f"INSERT INTO w VALUES ({number}, {values})" for number in range(1, 2 + len(names))))
    assert bench.different() == {}
    for number, (name, (_, _, _, other)) in enumerate(zip(names, OTHER_WIDTHS, strict=True), start=1):
        change(bench.target, f"UPDATE w SET {name} = {other} WHERE id = {number}")
    before = bench.states()[1]
    assert bench.different() == {"shop.w": len(names) * (1 if key == "PRIMARY KEY (id)" else 2)}
    plan = bench.make_plan()
    assert plan.left_out == ()
    outcome = bench.apply()
    assert (outcome.done, outcome.refused, outcome.different) == (len(plan.changes), (), 0)
    assert bench.different() == {}
    assert bench.undo().refused == ()
    assert list(differences(before, bench.states()[1], data_only=True)) == []


@pytest.mark.mysql
@pytest.mark.parametrize("key", [pytest.param("PRIMARY KEY (id)", marks=LONG), "KEY (id)"])
def test_a_document_that_the_target_cannot_hold_is_left_out_with_its_reason(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path, key: str
) -> None:
    bench = Bench(fresh_source, fresh_target, tmp_path)
    on_both(bench.source, bench.target, f"CREATE TABLE j (id INT NOT NULL, d JSON, {key})")
    documents = (
        "JSON_ARRAY(CAST(12345678901234567890.123456789 AS DECIMAL(40,15)))",
        "JSON_ARRAY(CAST(7.5 AS DECIMAL(9,3)), DATE'2020-01-01', TIME'10:11:12', x'00ff')",
        "JSON_OBJECT('n', CAST(12345678901234567890123 AS DECIMAL(30)))",
        "'[1e-310, 18446744073709551615, 0.1234567890123456, 1e20, 1.0, 1]'",
    )
    for number, document in enumerate(documents, start=1):
        change(bench.source, f"INSERT INTO j SELECT {number}, {document}")
    # The first as a copy writes it: the nearest DOUBLE. The others were made by somebody at the target.
    change(bench.target, "INSERT INTO j VALUES (1, '[12345678901234567890.123456789]'), (9, '[1.0]')")
    change(bench.target, "INSERT INTO j SELECT 10, JSON_ARRAY(DATE'2020-01-01', CAST(1.0 AS DECIMAL(4,2)))")
    before = bench.states()[1]
    plan = bench.make_plan()
    assert sorted(each.kind for each in plan.changes) == ["delete", "delete", "insert", "insert"]
    (why, *others) = plan.left_out
    assert why.startswith("shop.j: 2 rows: column d holds a document with a number that the target would not hold")
    assert others == (
        [] if key == "PRIMARY KEY (id)" else ["shop.j: a row: it stands for a row that the target cannot hold as it is"]
    )
    outcome = bench.apply()
    assert (outcome.done, outcome.refused, outcome.different) == (4, (), 0)
    assert [row[0] for row in bench.target.query("SELECT id FROM shop.j ORDER BY id")] == [1, 2, 4]
    assert bench.undo().refused == ()
    assert list(differences(before, bench.states()[1], data_only=True)) == []


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_asks_applies_compares_and_takes_back(broken: Bench) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return call("repair", *broken.options(), *arguments)

    broken.verify()
    made = run("--report", str(broken.report), "--unproven")
    assert made.returncode == 1
    assert "nothing was changed" in made.stdout
    assert not broken.is_equal()
    count = len(read_plan(broken.plan).changes)
    applied = run("--yes")
    assert applied.returncode == 0
    assert f"{count} changes applied, 0 refused; compared again: {count} rows equal, 0 different" in applied.stdout
    assert broken.is_equal()
    undone = run("--undo", "--yes")
    assert undone.returncode == 0
    assert f"{count} changes undone, 0 refused" in undone.stdout
    assert not broken.is_equal()


def test_the_exit_code_tells_that_rows_were_left_out(bench: Bench) -> None:
    on_both(bench.source, bench.target, "CREATE TABLE t (id INT PRIMARY KEY, j JSON)")
    change(bench.source, "INSERT INTO t VALUES (1, 'null'), (2, '[null]')")
    bench.verify()
    done = call("repair", *bench.options(), "--report", str(bench.report), "--unproven", "--yes")
    assert "left out: shop.t: " in done.stdout
    assert "1 changes applied, 0 refused" in done.stdout
    assert done.returncode == 1


def test_tables_and_rows_are_chosen_and_explained_before_anything_is_written(bench: Bench) -> None:
    tables = (
        "CREATE TABLE {} (id INT PRIMARY KEY, v VARCHAR(20))",
        "INSERT INTO {} VALUES (1, 'a'), (2, 'b'), (3, 'c')",
    )
    for name in ("t", "u", "w"):
        on_both(bench.source, bench.target, ";\n".join(tables).format(name, name))
        change(bench.target, f"UPDATE {name} SET v = 'x' WHERE id < 3", f"INSERT INTO {name} VALUES (9, 'y')")
    bench.verify()

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return call("repair", *bench.options(), *arguments)

    chosen = ("--report", str(bench.report), "--unproven", "--exclude", "*.w", "--where", "shop.*=id > 1 -- or so")
    told = run(*chosen, "--explain")
    assert told.returncode == 1
    assert told.stdout.splitlines() == [
        "shop.t: 1 delete, 1 update; rows are found by id",
        "  delete id = 9",
        '  update id = 2: v "x" → "b"',
        "shop.u: 1 delete, 1 update; rows are found by id",
        "  delete id = 9",
        '  update id = 2: v "x" → "b"',
    ]
    assert not bench.plan.exists()
    assert run(*chosen, "--tables", "shop.t", "--yes").returncode == 0
    assert bench.plan.stat().st_mode & 0o077 == bench.report.stat().st_mode & 0o077 == 0
    assert "  delete id = 9 (applied)" in run("--explain").stdout
    assert bench.target.query("SELECT * FROM shop.t ORDER BY id") == [(1, "x"), (2, "b"), (3, "c")]
    assert bench.different() == {"shop.t": 1, "shop.u": 3, "shop.w": 3}
    assert "they go with --report" in run("--where", "shop.t=id = 1").stderr
    wrong = run("--report", str(bench.report), "--plan", str(bench.folder / "q.sql"), "--where", "*=nothing = 1")
    assert "left out: shop.t: Unknown column 'nothing'" in wrong.stdout


def test_what_verify_says_after_a_repair_is_equal(broken: Bench) -> None:
    broken.make_plan()
    broken.apply()
    assert {table.status for table in compare(broken.settings, data_only=True).values()} == {"equal"}


def test_rows_are_repaired_on_the_other_brand(mysql_source: Endpoint, mariadb: Endpoint, tmp_path: Path) -> None:
    for end in (mysql_source, mariadb):
        end.drop_databases()
    bench = Bench(mysql_source, mariadb, tmp_path)
    on_both(mysql_source, mariadb, ALL_TYPES + ";\n" + KEYLESS)
    assert bench.different() == {}
    change(mariadb, *BREAKS)
    broken = bench.different()
    assert broken.keys() == {"shop.t", "shop.k"}
    plan = bench.make_plan()
    outcome = bench.apply()
    assert (outcome.done, outcome.refused, outcome.different) == (len(plan.changes), (), 0)
    assert bench.different() == {}
    assert bench.undo().refused == ()
    assert bench.different() == broken
