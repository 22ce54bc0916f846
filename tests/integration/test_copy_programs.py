"""Views, triggers, routines and events that copy makes or names, and the choices of what is copied at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from pydbsync.errors import OperationError
from pydbsync.ops.copy.options import CopyOptions
from pydbsync.ops.copy.run import preview_copy
from tests.commands import call
from tests.comparing import run_sql, settings_for
from tests.integration.copying import copy, state_differences
from tests.processes import write_config
from tests.servers import Endpoint

PROGRAMS = [
    "CREATE TABLE t (id INT PRIMARY KEY AUTO_INCREMENT, v INT, price INT)", "CREATE TABLE log (line VARCHAR(40))",
    "INSERT INTO t (v) VALUES (1)",
    "CREATE FUNCTION twice(n INT) RETURNS INT DETERMINISTIC RETURN n * 2",
    "CREATE PROCEDURE tidy() BEGIN DELETE FROM shop.log; END",
    "CREATE VIEW doubled AS SELECT shop.twice(v) AS w FROM t",
    "CREATE VIEW again AS SELECT w, shop.twice(w) AS x FROM doubled WHERE w <> 7",
    "CREATE TRIGGER tr BEFORE INSERT ON shop.t FOR EACH ROW SET NEW.price = shop.twice(7)",
    "SET sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
    """CREATE PROCEDURE plain() SELECT 'a\\' AS "line" FROM "shop"."log" WHERE line = ', it''s'""",
    "SET sql_mode = 'ANSI_QUOTES,STRICT_TRANS_TABLES'",
    """CREATE TRIGGER quoted AFTER INSERT ON "shop"."t" FOR EACH ROW INSERT INTO "shop"."log" VALUES ('do "enable"')""",
    "SET sql_mode = DEFAULT",
    "CREATE EVENT daily ON SCHEDULE EVERY 1 DAY COMMENT 'enable' DO DELETE FROM shop.log WHERE line = 'enable'",
    "CREATE EVENT once ON SCHEDULE AT '2037-01-01 10:00:00' ON COMPLETION PRESERVE DO DELETE FROM shop.log",
]  # fmt: skip
KINDS: dict[str, Any] = {"views": True, "triggers": True, "routines": True, "events": True}


def make(source: Endpoint, statements: list[str]) -> None:
    source.query("CREATE DATABASE IF NOT EXISTS shop CHARACTER SET utf8mb4")
    if source.brand == "mysql":
        source.query("SET GLOBAL log_bin_trust_function_creators = 1")
    run_sql(source, statements, database="shop")


def bodies(end: Endpoint, database: str) -> list[tuple[object, ...]]:
    return end.query(
        "SELECT trigger_name, action_statement, sql_mode FROM information_schema.triggers"
        f" WHERE trigger_schema = '{database}' UNION ALL SELECT routine_name, routine_definition, sql_mode"
        f" FROM information_schema.routines WHERE routine_schema = '{database}' UNION ALL"
        " SELECT event_name, event_definition, sql_mode FROM information_schema.events"
        f" WHERE event_schema = '{database}' ORDER BY 1"
    )


def test_programs_are_made_where_asked_for_and_events_do_not_run(
    fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    make(fresh_source, PROGRAMS)
    if fresh_target.brand == "mysql":
        fresh_target.query("SET GLOBAL log_bin_trust_function_creators = 1")
    report = copy(settings_for(fresh_source, fresh_target), **KINDS)
    assert report.left_out == []
    assert bodies(fresh_target, "shop") == bodies(fresh_source, "shop") != []
    states = "SELECT event_name, status FROM information_schema.events ORDER BY event_name"
    assert fresh_target.query(states) == [("daily", "DISABLED"), ("once", "DISABLED")]
    assert "the events shop.daily, shop.once are disabled at the target" in "\n".join(report.notes)
    fresh_target.query("INSERT INTO shop.t (v) VALUES (4)")
    assert fresh_target.query("SELECT price FROM shop.t WHERE v = 4") == [(14,)]
    assert fresh_target.query("SELECT * FROM shop.log") == [('do "enable"',)]
    # As it is when a copy goes on that was killed before it had made all of them.
    fresh_target.query("DROP VIEW shop.doubled")
    fresh_target.query("ALTER EVENT shop.daily COMMENT 'mine'")
    fresh_target.query("DROP PROCEDURE shop.tidy")
    again = copy(settings_for(fresh_source, fresh_target), structure_only=True, existing="drop", **KINDS)
    (left,) = again.left_out
    assert left.startswith("the event shop.daily: Event 'daily' already exists")
    kinds = ("views", "triggers", "routines")
    assert [sorted(getattr(again, kind)) for kind in kinds] == [sorted(getattr(report, kind)) for kind in kinds]
    assert bodies(fresh_target, "shop") == bodies(fresh_source, "shop")


def test_programs_go_to_another_database_and_what_nobody_asked_for_is_named_one_by_one(
    fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    make(fresh_source, PROGRAMS)
    report = copy(settings_for(fresh_source, fresh_target, dbname_rewrite={"shop": "store"}), views=False)
    assert {text.partition(":")[0] for text in report.left_out} == {
        "the function shop.twice", "the procedure shop.tidy", "the procedure shop.plain",
        "the view shop.doubled", "the view shop.again",
        "the trigger shop.tr",
        "the trigger shop.quoted", "the event shop.daily", "the event shop.once",
    }  # fmt: skip
    assert bodies(fresh_target, "store") == []
    if fresh_target.brand == "mysql":
        fresh_target.query("SET GLOBAL log_bin_trust_function_creators = 1")
    report = copy(
        settings_for(fresh_source, fresh_target, dbname_rewrite={"shop": "store"}), **KINDS, existing="drop",
        overwrite_checkpoint=True,
    )  # fmt: skip
    assert report.left_out == []
    fresh_target.query("INSERT INTO store.t (v) VALUES (4)")
    assert fresh_target.query("SELECT price FROM store.t WHERE v = 4") == [(14,)]
    assert "shop" not in str(bodies(fresh_target, "store")).lower()


def test_views_follow_the_routes_of_tables_and_what_cannot_is_named(
    fresh_source: Endpoint, fresh_target: Endpoint
) -> None:
    routes = [
        {"table": "shop.t", "to": "store.goods"},
        {"table": "shop.log", "columns": {"rename": {"line": "text"}}},
        {"table": "shop.m", "columns": {"mask": {"v": "hash"}}},
    ]
    make(fresh_source, [
        *PROGRAMS[:-4], "CREATE TABLE m (id INT PRIMARY KEY, v VARCHAR(64))", "INSERT INTO m VALUES (1, 'clear')",
        "CREATE VIEW aliased AS SELECT shop.id, m.v FROM t AS shop JOIN m ON m.id = shop.id",
        "CREATE VIEW later AS SELECT id FROM aliased", "CREATE VIEW of_log AS SELECT line FROM log",
    ])  # fmt: skip
    fresh_target.query("CREATE DATABASE store")
    if fresh_target.brand == "mysql":
        fresh_target.query("SET GLOBAL log_bin_trust_function_creators = 1")
    settings = settings_for(fresh_source, fresh_target, routes=routes, mask_key={"key": "0123456789abcdef"})
    report = copy(settings, **KINDS)
    told = dict(text.split(": ", 1) for text in report.left_out)
    assert set(told) == {
        "the procedure shop.tidy", "the procedure shop.plain", "the view shop.of_log", "the trigger shop.tr",
    }  # fmt: skip
    assert told["the view shop.of_log"] == (
        "it names shop.log, of which line are called otherwise at the target (routes): make it by hand"
    )
    assert "it names shop.t, which is called store.goods at the target" in told["the trigger shop.tr"]
    assert fresh_target.query("SELECT * FROM shop.doubled") == [(2,)]
    assert fresh_target.query("SELECT id FROM shop.later") == [(1,)]
    ((value,),) = fresh_target.query("SELECT v FROM shop.aliased")
    assert value != "clear"


@pytest.mark.parametrize("way", ["to mysql", "to mariadb"])
def test_programs_of_the_other_brand_are_made_or_named(
    mysql_source: Endpoint, mysql_target: Endpoint, mariadb_source: Endpoint, mariadb: Endpoint, way: str
) -> None:
    source, target = (mariadb_source, mysql_target) if way == "to mysql" else (mysql_source, mariadb)
    for end in (source, target):
        if end.server:
            end.server.start()
        end.drop_databases()
    mysql_target.query("SET GLOBAL log_bin_trust_function_creators = 1")
    other = [
        "SET sql_mode = 'ORACLE'", "CREATE PROCEDURE other AS BEGIN NULL; END", "SET sql_mode = DEFAULT",
        "CREATE OR REPLACE TRIGGER again BEFORE UPDATE ON t FOR EACH ROW SET NEW.price = 8",
    ]  # fmt: skip
    make(source, PROGRAMS + (other if way == "to mysql" else []))
    report = copy(settings_for(source, target), **KINDS)
    if way == "to mysql":
        (left,) = report.left_out
        assert left.startswith("the procedure shop.other: it was made with the sql_mode ORACLE, ")
    else:
        assert report.left_out == []
    assert len(report.triggers) == (3 if way == "to mysql" else 2)
    target.query("INSERT INTO shop.t (v) VALUES (4)")
    assert target.query("SELECT price FROM shop.t WHERE v = 4") == [(14,)]
    assert target.query("SELECT * FROM shop.log") == [('do "enable"',)]


def test_a_definer_that_the_target_lacks_is_named_before(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    make(fresh_source, ["CREATE TABLE t (id INT PRIMARY KEY)"])
    user = "'gone'@'10.%'"
    fresh_source.query(f"DROP USER IF EXISTS {user}")
    fresh_source.query(f"CREATE USER {user}")
    fresh_source.query(f"GRANT SELECT ON *.* TO {user}")
    try:
        make(fresh_source, [
            f"CREATE DEFINER={user} VIEW v AS SELECT * FROM t", f"CREATE DEFINER={user} VIEW w AS SELECT * FROM t",
            "CREATE VIEW own AS SELECT * FROM t",
        ])  # fmt: skip
        settings = settings_for(fresh_source, fresh_target)
        wanted = "the target does not have the user gone@10.%, definer of shop.v, shop.w: "
        assert [note for note in preview_copy(settings, CopyOptions()).notes if note.startswith(wanted)]
        assert [note for note in copy(settings).notes if note.startswith(wanted)]
    finally:
        fresh_source.query(f"DROP USER {user}")


# -- what is copied ----------------------------------------------------------------------------------------------------

SHOP = [
    "CREATE TABLE a (id INT PRIMARY KEY, v INT)", "INSERT INTO a VALUES (1, 1), (2, 2), (3, 3)",
    "CREATE TABLE k (v INT)", "INSERT INTO k VALUES (1), (1), (5)", "CREATE TABLE log (v INT)",
    "CREATE VIEW v AS SELECT * FROM a",
]  # fmt: skip


def test_tables_and_rows_can_be_left_out(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    make(fresh_source, SHOP)
    settings = settings_for(fresh_source, fresh_target)
    for where, why in (
        (("shop.none", "TRUE"), "--where names shop.none, and no table that is copied is called so"),
        (("shop.a", "nothing > 1"), r"--where of shop\.a: Unknown column 'nothing'"),
    ):
        with pytest.raises(OperationError, match=why):
            copy(settings, where=(where,))
    copy(settings, exclude=("shop.lo*",), where=(("shop.a", "v > 1 OR v IS NULL"), ("shop.*", "v <> 2")))
    assert fresh_target.query("SELECT * FROM shop.a") == [(3, 3)]
    assert fresh_target.query("SELECT * FROM shop.k ORDER BY v") == [(1,), (1,), (5,)]
    assert [name for (name,) in fresh_target.query("SHOW TABLES FROM shop")] == ["a", "k", "v"]


def test_structure_alone_leaves_no_rows_and_no_checkpoint(fresh_source: Endpoint, fresh_target: Endpoint) -> None:
    make(fresh_source, SHOP)
    settings = settings_for(fresh_source, fresh_target)
    report = copy(settings, structure_only=True)
    assert [str(name) for name in report.views] == ["shop.v"]
    assert fresh_target.query("SELECT COUNT(*) FROM shop.a") == [(0,)]
    assert fresh_target.query("SELECT COUNT(*) FROM pydbsync.copy_start") == [(0,)]
    copy(settings, existing="keep", views=False)
    assert state_differences(fresh_source, fresh_target, ["shop"]) == []


def test_a_dry_run_tells_what_would_be_made_and_dropped_and_changes_nothing(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    make(fresh_source, [*SHOP, "CREATE TRIGGER tr BEFORE INSERT ON a FOR EACH ROW SET NEW.v = 1"])
    ends = {"db_info": fresh_target.db_info, "source_db_info": fresh_source.db_info, "log_file_prefix": ""}
    config = str(write_config(ends, tmp_path / "config.py"))
    told = call("copy", "--config", config, "--dry-run")
    assert told.returncode == 0, told
    assert told.stdout.splitlines()[:5] == [
        "make the database shop", "make shop.a", "make shop.k", "make shop.log", "make the view shop.v",
    ]  # fmt: skip
    assert "left out: the trigger shop.tr: " in told.stdout
    assert [name for (name,) in fresh_target.query("SHOW DATABASES") if name in ("shop", "pydbsync")] == []
    assert fresh_source.query("SHOW DATABASES LIKE 'pydbsync%'") == []
    make(fresh_target, ["CREATE TABLE a (other INT)", "INSERT INTO a VALUES (7)", "CREATE TABLE log (v INT)"])
    told = call("copy", "--config", config, "--dry-run")
    assert told.returncode == 2
    assert "refused: the target has 2 of the tables already (shop.a, shop.log): " in told.stdout
    told = call("copy", "--config", config, "--dry-run", "--existing", "drop")
    assert told.returncode == 0
    assert {"drop what is there, and make shop.a", "drop what is there, and make shop.log"} < set(
        told.stdout.splitlines()
    )
    told = call("copy", "--config", config, "--dry-run", "--existing", "keep", "--exclude", "shop.a")
    assert told.returncode == 0
    assert "fill shop.log" in told.stdout.splitlines()
    assert fresh_target.query("SELECT * FROM shop.a") == [(7,)]
