"""Masked, filtered, renamed and merged tables: replay, copy, verify and repair by the same routes, on real servers."""

from __future__ import annotations

import contextlib
import random
import threading
from pathlib import Path
from typing import Any

import pymysql
import pytest

from pydbsync.engine.routing import router_from
from pydbsync.errors import ConfigError
from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.ops.parked.select import Selection
from pydbsync.ops.parked.view import ALL
from pydbsync.ops.servers import Server
from pydbsync.ops.verify.compare import CompareOptions
from pydbsync.ops.verify.explain import explained
from pydbsync.ops.verify.matching import open_sides
from pydbsync.ops.verify.pairs import find_pairs
from tests.comparing import LOG, compare, run_sql, settings_for
from tests.integration.captured import Capture
from tests.integration.copying import copy
from tests.integration.engine import parked, replay
from tests.repairing import Bench
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

KEY = {"key": "0123456789abcdef0123456789abcdef"}
CUSTOMERS = {
    "table": "shop.customers",
    "columns": {
        "leave_out": ["note"],
        "rename": {"name": "full_name"},
        "add": {"site": {"value": 3, "type": "INT NOT NULL DEFAULT 0"}},
        "mask": {
            "id": "hash", "email": {"fake": "email"}, "phone": "hash", "born": {"fake": "date"},
            "name": {"fake": "name"},
        },
    },
    "where": "status <> 'gone'",
}  # fmt: skip
ORDERS = {
    "table": "shop.orders_*",
    "to": "archive.orders",
    "columns": {"leave_out": ["note"], "mask": {"customer": "hash"}},
    "where": "total >= 10.5 AND NOT (status = 'draft' OR status IS NULL)",
}
EVEN = {"table": "shop.plain", "to": "archive.even", "where": "id % 2 = 0", "apply_mode": "upsert"}
ROUTES: dict[str, Any] = {"routes": [CUSTOMERS, ORDERS, EVEN], "mask_key": KEY}
TABLES = [
    "CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
    "USE shop",
    """CREATE TABLE customers (
        id INT NOT NULL, name VARCHAR(40), email VARCHAR(80) NOT NULL, phone VARCHAR(30), born DATE, note TEXT,
        status VARCHAR(10) NOT NULL, PRIMARY KEY (id), UNIQUE KEY email (email), KEY name_born (name, born),
        KEY n (note(5))
    )""",
    *(
        f"""CREATE TABLE orders_{number} (
            id INT NOT NULL PRIMARY KEY, customer INT NOT NULL, total DECIMAL(10,2), status VARCHAR(10), note TEXT,
            KEY c (customer)
        )"""
        for number in (1, 2)
    ),
    "CREATE TABLE plain (id INT PRIMARY KEY, v VARCHAR(20))",
]  # fmt: skip


def changes(draw: random.Random, count: int) -> list[str]:
    """Statements that move rows in and out of the conditions."""
    found = []
    for _ in range(count):
        number, shop = draw.randrange(1, 40), draw.choice([1, 2])
        order = number * 2 + shop - 1  # merged: no two tables have the same key
        status = draw.choice(["'open'", "'gone'", "'GONE '", "'draft'", "'Draft'", "'sént'"])
        total = draw.choice(["10.49", "10.50", "10.51", "99", "NULL"])
        born = f"'19{draw.randrange(50, 99)}-0{draw.randrange(1, 9)}-11'"
        email = f"'Mail{number}.{draw.randrange(9)}@real.test'"
        customer = f"{number}, 'Name {number}', {email}, '+49 {number}', {born}, 'é {number}'"
        found.append(
            draw.choice([
                f"REPLACE INTO customers (id, name, email, phone, born, note, status) VALUES ({customer}, {status})",
                f"UPDATE customers SET status = {status} WHERE id BETWEEN {number} AND {number + 3}",
                f"UPDATE customers SET note = 'only this', phone = IF(id % 2, NULL, phone) WHERE id = {number}",
                f"UPDATE customers SET id = id + 100 WHERE id = {number}",
                f"DELETE FROM customers WHERE id = {number}",
                f"REPLACE INTO orders_{shop} (id, customer, total, status, note) VALUES ({order}, {number}, {total},"
                f" {draw.choice([status, 'NULL'])}, 'x')",
                f"UPDATE orders_{shop} SET total = {total}, status = {status} WHERE id > {order} LIMIT 4",
                f"DELETE FROM orders_{shop} WHERE id = {order}",
                f"REPLACE INTO plain VALUES ({number}, {status})",
            ])
        )  # fmt: skip
    return found


DDL = [
    "ALTER TABLE customers ADD COLUMN level INT NOT NULL DEFAULT 1 AFTER note, MODIFY status VARCHAR(12) NOT NULL",
    "ALTER TABLE customers DROP COLUMN note, ADD KEY (level)",
    "ALTER TABLE orders_1 ADD COLUMN tax DECIMAL(6,2) NULL",
    "ALTER TABLE orders_2 ADD COLUMN tax DECIMAL(6,2) NULL",
    "ALTER TABLE customers ADD COLUMN note VARCHAR(20) NULL FIRST",
    "CREATE INDEX by_note ON customers (note)",
    "ALTER TABLE customers DROP COLUMN name",
    "ALTER TABLE customers ADD COLUMN name VARCHAR(30) NULL AFTER level",
]


class Ends:
    """Source, target and the messages between them."""

    def __init__(self, source: Endpoint, target: Endpoint, folder: Path) -> None:
        self.source, self.target = source, target
        self.bench = Bench(source, target, folder, **ROUTES)
        self._capture = Capture(source, folder, exact=True)
        self._capture.read()
        self.stream = "memory"
        target.query("CREATE DATABASE archive CHARACTER SET utf8mb4")

    def run(self, *statements: str) -> None:
        run_sql(self.source, statements, database="shop")

    def change(self, draw: random.Random, count: int) -> None:
        """So many random changes, but for those that the source refuses: a column that is gone, a key that is there."""
        with self.source.connect(database="shop") as connection, connection.cursor() as cursor:
            for sql in changes(draw, count):
                with contextlib.suppress(pymysql.err.OperationalError, pymysql.err.IntegrityError):
                    cursor.execute(sql)

    def replay(self, **options: Any) -> None:
        server = "mysql 9.7" if self.source.brand == "mysql" else "mariadb 10.11"
        given = {
            "source_server": server,
            "lossy_values": "off",
            "source_db_info": self.source.db_info,
            **ROUTES,
            **options,
        }
        replay(self.target, self._capture.read(), stream=self.stream, **given)

    def unequal(self) -> dict[str, Any]:
        return {
            name: (table.status, table.error, table.structure, table.differences[:2])
            for name, table in compare(self.bench.settings).items()
            if table.status != "equal"
        }


@pytest.fixture
def ends(fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path) -> Ends:
    return Ends(fresh_source, fresh_target, tmp_path)


def test_rows_that_enter_and_leave_conditions_end_equal_with_ddl_between(ends: Ends) -> None:
    draw = random.Random(7)
    run_sql(ends.source, TABLES)
    for statement in [None, *DDL]:
        if statement is not None:
            ends.run(statement)
        ends.change(draw, 60)
        ends.replay()
        assert parked(ends.target) == []
    assert ends.unequal() == {}
    columns = {name for (name,) in ends.target.query(
        "SELECT column_name FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = 'customers'"
    )}  # fmt: skip
    assert columns == {"id", "full_name", "email", "phone", "born", "status", "level", "site"}
    rows = ends.target.query("SELECT id, full_name, email, phone, status, site FROM shop.customers")
    wanted = ends.source.query("SELECT id, email, status FROM shop.customers WHERE status <> 'gone'")
    assert len(rows) == len(wanted) > 5
    assert not {row[0] for row in rows} & {row[0] for row in wanted}
    assert all(row[2].endswith("@example.com") and row[5] == 3 for row in rows)
    taken = "total >= 10.5 AND status <> 'draft'"
    ((first,), (second,)) = (ends.source.query(f"SELECT COUNT(*) FROM shop.orders_{n} WHERE {taken}") for n in (1, 2))
    assert ends.target.query("SELECT COUNT(*) FROM archive.orders") == [(first[0] + second[0],)]
    # a join by a masked key holds
    joined = "SELECT COUNT(*) FROM {} o JOIN shop.customers c ON c.id = o.customer"
    in_source = sum(
        ends.source.query(
            f"{joined.format(f'shop.orders_{n}')} AND c.status <> 'gone' AND {taken.replace('status', 'o.status')}"
        )[0][0]
        for n in (1, 2)
    )
    assert ends.target.query(joined.format("archive.orders")) == [(in_source,)]


def test_copy_writes_by_the_routes_and_replay_goes_on(ends: Ends) -> None:
    draw = random.Random(8)
    run_sql(ends.source, TABLES)
    ends.change(draw, 200)
    ends.target.query("DROP DATABASE archive")
    copy(ends.bench.settings, streams=(ends.stream,))
    assert ends.unequal() == {}
    assert ends.target.query("SHOW TABLES FROM archive") == [("even",), ("orders",)]
    ends.change(draw, 100)
    ends.run("ALTER TABLE customers ADD COLUMN level INT NOT NULL DEFAULT 1 AFTER note")
    ends.change(draw, 100)
    ends.replay()  # what came before the copy is in the messages too
    assert parked(ends.target) == []
    assert ends.unequal() == {}


def test_copy_fills_tables_that_were_made_for_the_routes(ends: Ends) -> None:
    run_sql(ends.source, TABLES)
    ends.change(random.Random(12), 200)
    run_sql(
        ends.target,
        "CREATE DATABASE shop;\nCREATE TABLE archive.even (id INT PRIMARY KEY, v VARCHAR(20), own INT DEFAULT 5);\n"
        "CREATE TABLE archive.orders (id INT NOT NULL PRIMARY KEY, customer INT NOT NULL, total DECIMAL(10,2),"
        " status VARCHAR(10) COLLATE utf8mb4_general_ci)",
    )
    settings = settings_for(ends.source, ends.target, **{**ROUTES, "exclude": ["shop.customers"]})
    copy(settings, existing="keep", streams=(ends.stream,))
    assert {name for name, table in compare(settings, data_only=True).items() if table.status != "equal"} == set()
    assert ends.target.query("SELECT COUNT(*) FROM archive.orders")[0][0] > 3


def test_what_verify_explains_shows_no_key(ends: Ends) -> None:
    run_sql(ends.source, TABLES)
    ends.replay()
    settings = ends.bench.settings
    lines: list[str] = []
    source, target = (Server(end.connect_keywords(), key=end.key, retry=settings.retry, stop=threading.Event())
                      for end in (settings.source, settings.target) if end is not None)  # fmt: skip
    for pair in find_pairs(settings, router_from(settings), source, target, tables=(), is_shared=False).pairs:
        lines += explained(open_sides(pair, settings, source, target), CompareOptions())
    source.close()
    target.close()
    key = KEY["key"].encode().ljust(64, b"\0")
    pads = [bytes(each ^ pad for each in key).hex() for pad in (0x36, 0x5C)]
    assert "SHA2(CONCAT(X'***', " in str(lines)
    assert [line for line in lines if any(pad[:32] in line for pad in pads) or KEY["key"] in line] == []


def test_a_table_of_another_name_keeps_its_order_behind_what_is_parked(ends: Ends) -> None:
    run_sql(ends.source, TABLES)
    ends.replay()
    ends.target.query("ALTER TABLE archive.even MODIFY v VARCHAR(3)")
    for sql in (
        "INSERT INTO plain VALUES (2, 'too long'), (4, 'ok')", "UPDATE plain SET v = 'x' WHERE id = 2",
        "UPDATE plain SET v = 'y' WHERE id = 4", "UPDATE plain SET id = 6 WHERE id = 2",
    ):  # fmt: skip
        ends.run(sql)
        ends.replay()
    waiting = parked(ends.target)
    assert [(each.kind, each.behind) for each in waiting[1:]] == [
        ("update", waiting[0].id), ("update", waiting[1].id),
    ]  # fmt: skip
    assert ends.target.query("SELECT target_database, target_table FROM pydbsync.parked GROUP BY 1, 2") == [
        ("archive", "even")
    ]
    ends.target.query("ALTER TABLE archive.even MODIFY v VARCHAR(20)")
    desk = ParkedDesk(ends.bench.settings, log=LOG)
    assert [len(list(desk.find(Selection(tables=(name,))))) for name in ("archive.even", "shop.plain", "x.*")] == [
        len(waiting), len(waiting), 0,
    ]  # fmt: skip
    assert all(outcome.applied for outcome in desk.retry(ALL))
    desk.close()
    assert ends.unequal() == {}


def test_a_row_of_which_a_condition_cannot_tell_waits_alone(ends: Ends) -> None:
    route = {"table": "shop.t", "to": "archive.u", "where": "v LIKE 'f%'"}
    run_sql(ends.source, "CREATE DATABASE shop CHARACTER SET utf8mb4;\nUSE shop;\n"
            "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9) COLLATE utf8mb4_unicode_ci)")  # fmt: skip
    ends.run(
        "INSERT INTO t VALUES (1, 'fin'), (2, 'ﬁn'), (3, 'Fun'), (4, 'gun'), (5, '日')",
        "UPDATE t SET v = 'f' WHERE id > 1",
    )
    ends.replay(routes=[route])
    assert [(each.kind, bool(each.behind)) for each in parked(ends.target)] == [("insert", False), ("update", True)]
    assert "which has a character that" in parked(ends.target)[1].reason
    assert ends.target.query("SELECT id FROM archive.u ORDER BY id") == [(1,), (3,), (4,), (5,)]


def test_a_statement_names_each_table_where_its_rows_go(ends: Ends) -> None:
    """Of the tables of a swap, a foreign key and a template one has a route to another database, the others none."""
    routes = [{"table": "shop.plain", "to": "archive.other"}]
    run_sql(ends.source, TABLES)
    ends.run("INSERT INTO plain VALUES (1, 'x')", "CREATE TABLE parents (id INT PRIMARY KEY)")
    ends.replay(routes=routes)
    ends.run(
        "CREATE TABLE like_it LIKE plain", "CREATE TABLE _plain_new LIKE parents",
        "ALTER TABLE plain ADD p INT, ADD CONSTRAINT f FOREIGN KEY (p) REFERENCES parents (id)",
        "INSERT INTO _plain_new VALUES (7)", "INSERT INTO like_it VALUES (2, 'y')",
        "RENAME TABLE plain TO _plain_old, _plain_new TO plain", "INSERT INTO plain VALUES (8)",
    )  # fmt: skip
    ends.replay(routes=routes, schema_changes={"rename-table": "park"})
    first, second, row = parked(ends.target)
    assert (first.behind, second.behind, row.behind) == (None, first.id, second.id)
    desk = ParkedDesk(settings_for(ends.source, ends.target, **{**ROUTES, "routes": routes}), log=LOG)
    assert all(outcome.applied for outcome in desk.retry(ALL))
    desk.close()
    tables = ("archive.other", "shop._plain_old", "shop.like_it")
    found = [ends.target.query(f"SELECT * FROM {name} ORDER BY 1") for name in tables]
    assert found == [[(7,), (8,)], [(1, "x", None)], [(2, "y")]]
    points = "SELECT unique_constraint_schema, referenced_table_name, table_name FROM information_schema."
    assert ends.target.query(f"{points}referential_constraints") == [("shop", "parents", "_plain_old")]
    ends.run("DROP TABLE plain", "RENAME TABLE _plain_old TO plain", "UPDATE plain SET p = 7")
    ends.replay(routes=routes)
    assert parked(ends.target) == []
    assert ends.target.query("SELECT * FROM archive.other") == [(1, "x", 7)]


def test_tables_that_are_merged_take_nothing_from_each_other(ends: Ends) -> None:
    run_sql(ends.source, TABLES)
    ends.run(
        "INSERT INTO orders_1 VALUES (1, 1, 11, 'open', NULL)", "INSERT INTO orders_2 VALUES (2, 1, 12, 'open', NULL)"
    )
    ends.replay()
    fed = "SELECT DISTINCT target_database, target_table FROM pydbsync.feeder"
    assert ends.target.query(fed) == [("archive", "orders")]  # by which another configuration sees that it is fed
    rows = ends.target.query("SELECT id, total FROM archive.orders ORDER BY id")
    one = compare(ends.bench.settings, tables=("shop.orders_1",))["archive.orders"]
    assert (one.different, one.unknown_extra) == (0, 1)
    ends.run(
        "INSERT INTO orders_2 VALUES (1, 9, 99, 'open', 'the key of the other one')",
        "ALTER TABLE orders_1 ADD COLUMN own INT", "RENAME TABLE orders_1 TO orders_3", "DROP TABLE orders_2",
    )  # fmt: skip
    ends.replay()
    assert ends.target.query("SELECT id, total FROM archive.orders ORDER BY id") == rows
    reasons = [each.reason for each in parked(ends.target)]
    assert "Duplicate entry" in reasons[0]
    assert "in its way" in reasons[0]
    assert any("several sources feed archive.orders" in reason for reason in reasons[1:])


def test_keys_are_dropped_by_the_names_of_the_source_and_what_the_server_has_named_is_not_passed_over(
    ends: Ends,
) -> None:
    route = {"table": "shop.kids", "to": "shop.youth", "columns": {"rename": {"a": "z", "b": "y"}}}
    run_sql(ends.source, [*TABLES, "CREATE TABLE parents (id INT PRIMARY KEY)"])
    ends.run(
        "CREATE TABLE kids (id INT PRIMARY KEY, a VARCHAR(9) UNIQUE, b INT, KEY (a),"
        " FOREIGN KEY (b) REFERENCES parents (id))",
        "CREATE TABLE orders_3 LIKE orders_1",
    )
    ends.replay(routes=[route, ORDERS])
    index = (
        "SELECT DISTINCT index_name FROM information_schema.statistics WHERE (table_name, column_name) = ('youth', 'z')"
    )
    assert sorted(ends.target.query(index)) == [("a",), ("a_2",)]
    ends.run("ALTER TABLE kids DROP KEY a, DROP KEY a_2", "INSERT INTO orders_3 VALUES (1, 1, 11, 'open', NULL)")
    ends.replay(routes=[route, ORDERS])
    assert ends.target.query(index) == []
    assert ends.target.query("SELECT id FROM archive.orders") == [(1,)]
    assert parked(ends.target) == []
    ends.run("ALTER TABLE kids DROP FOREIGN KEY kids_ibfk_1")
    ends.replay(routes=[route, ORDERS])
    (held,) = parked(ends.target)
    assert "the server has named kids_ibfk_1 after the table, which is called youth here" in held.reason


def test_statements_that_would_unmask_are_held_and_rows_wait(ends: Ends) -> None:
    run_sql(ends.source, TABLES)
    ends.change(random.Random(10), 50)
    ends.replay()
    ends.run(
        "ALTER TABLE customers CHANGE email mail VARCHAR(80) NOT NULL",
        "REPLACE INTO customers (id, name, mail, status) VALUES (1, 'n', 'clear@real.test', 'open')",
    )
    ends.replay()
    first, second = parked(ends.target)
    assert "the column email becomes mail" in first.reason
    assert second.behind == first.id
    assert not [row for row in ends.target.query("SELECT * FROM shop.customers") if "clear@" in str(row)]


def test_a_route_that_does_not_fit_is_refused_at_start(ends: Ends) -> None:
    run_sql(ends.source, TABLES)
    ends.replay()
    for wrong, why in (
        ({"where": "phone > 'a'"}, "the order of"),
        ({"where": "born = 1"}, "the server would convert"),
        ({"columns": {"mask": {"status": {"fake": "email"}}}}, "a faked email takes"),
        ({"columns": {"mask": {"email": {"fake": "city"}}}}, "two values could get the same city"),
    ):
        with pytest.raises(ConfigError, match="cannot go its way") as caught:
            ends.replay(routes=[{"table": "shop.customers", **wrong}])
        assert why in str(caught.value)


def test_broken_rows_are_repaired_by_the_routes(ends: Ends) -> None:
    run_sql(ends.source, TABLES)
    ends.change(random.Random(9), 200)
    ends.replay()
    assert ends.unequal() == {}
    broken = [
        "UPDATE shop.customers SET email = CONCAT('x', email) ORDER BY id LIMIT 3",
        "DELETE FROM shop.customers ORDER BY id DESC LIMIT 2",
        "UPDATE archive.orders SET customer = 5 ORDER BY id LIMIT 2",
        "INSERT INTO archive.orders (id, customer, total, status) VALUES (9999, 1, 1, 'draft')",
    ]
    for sql in broken:
        ends.target.query(sql)
    assert ends.bench.different() == {"shop.customers": 5, "archive.orders": 3}
    plan = ends.bench.make_plan()
    assert plan.left_out == ()
    assert "@real.test" not in ends.bench.plan.read_text()
    outcome = ends.bench.apply()
    assert (outcome.done, outcome.refused, outcome.different) == (8, (), 0)
    assert ends.unequal() == {}


def test_an_online_schema_change_of_a_masked_table_is_one_change_and_shows_nothing(ends: Ends) -> None:
    run_sql(ends.source, TABLES)
    ends.change(random.Random(11), 80)
    ends.replay()
    ends.run(
        "create /* gh-ost */ table `shop`.`_customers_gho` like `shop`.`customers`",
        "alter /* gh-ost */ table `shop`.`_customers_gho` ADD COLUMN level INT NOT NULL DEFAULT 7, DROP COLUMN note",
        "INSERT INTO _customers_gho (id, name, email, phone, born, status)"
        " SELECT id, name, email, phone, born, status FROM customers",
        "rename /* gh-ost */ table `shop`.`customers` to `shop`.`_customers_del`,"
        " `shop`.`_customers_gho` to `shop`.`customers`",
        "drop /* gh-ost */ table if exists `shop`.`_customers_del`",
        "UPDATE customers SET level = 8 ORDER BY id LIMIT 3",
    )
    ends.replay()
    assert parked(ends.target) == []
    assert ends.unequal() == {}
    assert ends.target.query("SHOW TABLES FROM shop") == [("customers",)]
    assert {level for (level,) in ends.target.query("SELECT level FROM shop.customers")} <= {7, 8}


def a_copy_of_customers(source: Endpoint, tool: str) -> list[str]:
    """What a tool does to add a column and drop another, up to the swap, which is the last."""
    new, old = ("_customers_gho", "_customers_del") if tool == "gh-ost" else ("_customers_new", "_customers_old")
    mark = "/* gh-ost */ " if tool == "gh-ost" else ""
    shown = source.query("SHOW CREATE TABLE shop.customers")[0][1]
    return [
        f"create {mark}table `shop`.`{new}` like `shop`.`customers`"
        if mark
        else shown.replace("CREATE TABLE `customers` (", f"CREATE TABLE `shop`.`{new}` (", 1),
        f"alter {mark}table `shop`.`{new}` ADD COLUMN level INT NOT NULL DEFAULT 7, DROP COLUMN note",
        f"INSERT INTO {new} (id, name, email, phone, born, status)"
        " SELECT id, name, email, phone, born, status FROM customers",
        f"rename {mark}table `shop`.`customers` to `shop`.`{old}`, `shop`.`{new}` to `shop`.`customers`",
    ]


@pytest.mark.parametrize(
    ("tool", "change"),
    [
        ("gh-ost", ""),
        ("pt-osc", ""),
        ("gh-ost", "UPDATE _customers_gho SET name = 'other' WHERE status = 'open' LIMIT 1"),
        ("pt-osc", "UPDATE _customers_new SET status = 'gone' WHERE status = 'open' LIMIT 1"),
        ("gh-ost", "DELETE FROM _customers_gho WHERE status = 'gone' LIMIT 1"),
    ],
    ids=["a copy", "a copy of pt-osc", "another value", "one that is not taken", "one that never was"],
)
def test_the_copy_of_a_table_with_a_route_is_compared_behind_it(
    ends: Ends, caplog: pytest.LogCaptureFixture, tool: str, change: str
) -> None:
    run_sql(ends.source, TABLES)
    customers = ", ".join(
        f"({n}, 'n{n}', 'm{n}@real.test', '1', NULL, 'x', '{'gone' if n % 3 else 'open'}')" for n in range(40)
    )
    ends.run(f"INSERT INTO customers VALUES {customers}")
    *made, swap = a_copy_of_customers(ends.source, tool)
    ends.run(*made, *filter(None, [change]), swap, "UPDATE customers SET level = 8 WHERE status = 'open' LIMIT 3")
    ends.replay(batch_rows=7)
    found = parked(ends.target)
    assert "were not compared" not in caplog.text
    assert "cannot be compared" not in caplog.text
    if change.startswith("UPDATE"):
        assert "it is no copy of it" in found[0].reason
        assert "@real" not in found[0].reason
    else:  # a row that the route does not take may be missing
        assert found == []
        ends.run(f"DROP TABLE {swap.split('`')[7]}")
        assert ends.unequal() == {}
    assert ends.target.query("SHOW TABLES FROM shop") == [("customers",)]


EVENTS = {
    "table": "shop.events",
    "to": "shop.occurrences",
    "columns": {
        "leave_out": ["tenant", "at2"],
        "rename": {"kind": "sort"},
        "mask": {"uid": "hash", "owner": "hash", "tiny": "hash", "body": "hash", "amount": {"constant": "1.5"}},
    },
    "where": "tenant % 3 = 1 AND at >= '2024-01-02' AND kind <> 'X' AND (at2 IS NULL OR at2 < '2024-01-04')",
}
LOG_TABLE = {
    "table": "shop.log",
    "columns": {"leave_out": ["d"], "mask": {"b": "hash", "c": "hash"}},
    "where": "a <> 2",
}
MORE_TABLES = [
    "CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
    "USE shop",
    """CREATE TABLE events (
        uid BINARY(16) NOT NULL, owner BIGINT UNSIGNED NOT NULL, tiny TINYINT, tenant SMALLINT, at DATETIME(3),
        at2 DATE,
        kind ENUM('a', 'x', 'é') NOT NULL, amount DECIMAL(6,2),
        body LONGTEXT CHARACTER SET latin1,
        PRIMARY KEY (uid, owner)
    )""",
    "CREATE TABLE log (a INT, b VARCHAR(20), c VARBINARY(40), d INT)",
]


def test_conditions_on_what_is_left_out_and_rows_without_a_key(ends: Ends) -> None:
    routes = {"routes": [EVENTS, LOG_TABLE]}
    ends.bench.settings = settings_for(ends.source, ends.target, **{**ROUTES, **routes})
    run_sql(ends.source, MORE_TABLES)
    draw = random.Random(13)
    for _ in range(3):
        statements = []
        for _ in range(80):
            uid = f"UNHEX('{draw.choice(['00', 'ff', 'a1'])}000000000000000000000000000{draw.randrange(8)}0')"
            day, other = (f"'2024-01-0{draw.randrange(1, 6)}'" for _ in range(2))
            owner = draw.choice(["0", "1", "18446744073709551615", "9223372036854775808"])
            tenant, a = draw.choice(["1", "-2", "4", "NULL", "3"]), draw.randrange(4)
            statements.append(draw.choice([
                f"REPLACE INTO events VALUES ({uid}, {owner}, {draw.choice(['-128', '0', '127', 'NULL'])}, {tenant},"
                f" {day},"
                f" {draw.choice([other, 'NULL'])}, {draw.choice(['1', '2', '3'])}, {draw.randrange(99)},"
                f" REPEAT('é', {draw.choice([0, 1, 5000])}))",
                f"UPDATE events SET tenant = {tenant} WHERE at = {day}",
                f"UPDATE events SET at = {day}, kind = {draw.choice(['1', '2'])} WHERE uid = {uid}",
                f"UPDATE IGNORE events SET owner = {owner} WHERE uid = {uid} LIMIT 1",
                f"DELETE FROM events WHERE uid = {uid} AND owner = {owner}",
                f"INSERT INTO log VALUES ({a}, 'b{draw.randrange(3)}', UNHEX('00ff'), {a}), ({a}, NULL, NULL, 1)",
                f"UPDATE log SET a = {draw.randrange(4)}, d = d + 1 WHERE a = {a} LIMIT 1",
                f"UPDATE log SET d = 5 WHERE a = {a}",
                f"DELETE FROM log WHERE a = {a} LIMIT 1",
            ]))  # fmt: skip
        ends.run(*statements)
        ends.replay(**routes)
        assert parked(ends.target) == []
        assert ends.unequal() == {}
    assert ends.target.query("SELECT COUNT(*) FROM shop.occurrences")[0][0] > 3
    assert ends.target.query("SELECT COUNT(*) FROM shop.log WHERE a = 2 OR b LIKE 'b%'") == [(0,)]
    assert ends.target.query("SELECT COUNT(*) FROM shop.log")[0][0] > 3
    ends.target.query("UPDATE shop.occurrences SET tiny = 1, sort = 'a' LIMIT 2")
    ends.target.query("DELETE FROM shop.log LIMIT 2")
    ends.bench.make_plan()
    assert ends.bench.apply().different == 0
    assert ends.unequal() == {}
