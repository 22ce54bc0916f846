from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import pytest

from pydbsync.errors import PlanError
from pydbsync.model import Column, SchemaChange, SchemaKind, TableName
from pydbsync.plan.ddl.for_target import PlannedSchemaChange, Touched, plan_schema_change
from tests.unit.plan.corpus import Recorded, RecordedCase, recorded_cases

KINDS: dict[str, SchemaKind] = {
    "CREATE TABLE": "table-create", "DROP TABLE": "table-drop", "CREATE DATABASE": "database-create",
    "ALTER DATABASE": "database-alter", "DROP DATABASE": "database-drop", "CREATE SCHEMA": "database-create",
    "ALTER SCHEMA": "database-alter", "DROP SCHEMA": "database-drop",
}  # fmt: skip


def described(full: str, columns: Sequence[str] = ()) -> msgspec.Raw:
    database, table = full.split(".")
    described_columns = [{"type": "int", "name": name, "signed": True} for name in columns]
    return msgspec.Raw(json.dumps({"database": database, "table": table, "columns": described_columns}).encode())


def message(sql: str, before: str = "d.t", after: str | None = None, columns: Sequence[str] = ()) -> SchemaChange:
    database, _, table = before.partition(".")
    kind = KINDS.get(" ".join(sql.upper().split()[:2]), "table-alter")
    return SchemaChange(
        kind=kind, database=database, table=table or None, ts=1700000000, sql=sql,
        old=described(before) if kind == "table-alter" else msgspec.Raw(),
        def_=described(after or before, columns) if kind in ("table-alter", "table-create") else msgspec.Raw(),
    )  # fmt: skip


def keep(name: str) -> str:
    return name


def everything(_database: str, _table: str | None) -> bool:
    return True


def new(name: str) -> str:
    return {"d": "new", "e": "other", "o`dd": "ne`w", "表": "t2"}.get(name, name)


def plan(change: SchemaChange, rename: Callable[[str], str] = new, **options: Any) -> PlannedSchemaChange:
    planned = plan_schema_change(change, rename=rename, in_scope=options.pop("in_scope", everything), **options)
    assert planned is not None
    return planned


# The statement, the full name of its table at the source, and the statement for the target, where d is new and e other.
RENAMED = [
    ("CREATE TABLE t (a INT)", "d.t", "CREATE TABLE t (a INT)"),
    ("CREATE TABLE d.t (d INT, KEY d (d))", "d.t", "CREATE TABLE `new`.t (d INT, KEY d (d))"),
    ("CREATE TABLE `d`.`d` (`d.x` INT)", "d.d", "CREATE TABLE `new`.`d` (`d.x` INT)"),
    ("create table d . t(d int)", "d.t", "create table `new` . t(d int)"),
    ("CREATE TABLE d./* d.t */t (a INT) -- d.t", "d.t", "CREATE TABLE `new`./* d.t */t (a INT) -- d.t"),
    ("/* d.t */ CREATE TABLE IF NOT EXISTS d.t (a INT)", "d.t", "/* d.t */ CREATE TABLE IF NOT EXISTS `new`.t (a INT)"),
    ("CREATE TABLE d.t (a INT COMMENT 'd.t') COMMENT='`d`.t'", "d.t",
     "CREATE TABLE `new`.t (a INT COMMENT 'd.t') COMMENT='`d`.t'"),
    ('CREATE TABLE d.t (a VARCHAR(9) DEFAULT "d.t")', "d.t", 'CREATE TABLE `new`.t (a VARCHAR(9) DEFAULT "d.t")'),
    ("CREATE TABLE `o``dd`.t (a INT)", "o`dd.t", "CREATE TABLE `ne``w`.t (a INT)"),
    ("CREATE TABLE 表.表 (a INT)", "表.表", "CREATE TABLE `t2`.表 (a INT)"),
    ("CREATE TABLE d.1e3 (a INT)", "d.1e3", "CREATE TABLE `new`.`1e3` (a INT)"),
    ("CREATE TABLE d.123abc (9lives INT)", "d.123abc", "CREATE TABLE `new`.`123abc` (9lives INT)"),
    ("CREATE TABLE d.t LIKE e.u", "d.t", "CREATE TABLE `new`.t LIKE `other`.u"),
    ("CREATE TABLE d.t (LIKE e.u)", "d.t", "CREATE TABLE `new`.t (LIKE `other`.u)"),
    ("CREATE TABLE t LIKE u", "d.t", "CREATE TABLE t LIKE u"),
    ("CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES e.p (id), b INT REFERENCES `d`.q(id))", "d.t",
     "CREATE TABLE t (a INT, FOREIGN KEY (a) REFERENCES `other`.p (id), b INT REFERENCES `new`.q(id))"),
    ("CREATE TABLE d.t (a INT CHECK (d.t.a > 0), d INT AS (t.a + 1))", "d.t",
     "CREATE TABLE `new`.t (a INT CHECK (`new`.t.a > 0), d INT AS (t.a + 1))"),
    ("CREATE TABLE t (a INT) ENGINE=MERGE UNION=(d.x, e.y, z)", "d.t",
     "CREATE TABLE t (a INT) ENGINE=MERGE UNION=(`new`.x, `other`.y, z)"),
    ("CREATE TABLE d.t (a INT) /*!50100 PARTITION BY HASH (a) */", "d.t",
     "CREATE TABLE `new`.t (a INT) /*!50100 PARTITION BY HASH (a) */"),
    ("CREATE TABLE d.t (a INT) START TRANSACTION", "d.t", "CREATE TABLE `new`.t (a INT)"),
    ("CREATE TABLE d.t (start INT) START TRANSACTION\n/*!50100 PARTITION BY HASH (`start`)\nPARTITIONS 3 */", "d.t",
     "CREATE TABLE `new`.t (start INT)\n/*!50100 PARTITION BY HASH (`start`)\nPARTITIONS 3 */"),
    ("ALTER TABLE d.t CONVERT PARTITION p TO TABLE e.u", "d.t",
     "ALTER TABLE `new`.t CONVERT PARTITION p TO TABLE `other`.u"),
    ("ALTER TABLE d.t ADD d INT AFTER d, ADD INDEX d (d), COMMENT 'd.t'", "d.t",
     "ALTER TABLE `new`.t ADD d INT AFTER d, ADD INDEX d (d), COMMENT 'd.t'"),
    ("/*!50001 ALTER TABLE d.t ADD c INT */", "d.t", "/*!50001 ALTER TABLE `new`.t ADD c INT */"),
    ("ALTER TABLE d.t EXCHANGE PARTITION p WITH TABLE e.u", "d.t",
     "ALTER TABLE `new`.t EXCHANGE PARTITION p WITH TABLE `other`.u"),
    ("ALTER TABLE t ADD CONSTRAINT d FOREIGN KEY d (d) REFERENCES d.p (d)", "d.t",
     "ALTER TABLE t ADD CONSTRAINT d FOREIGN KEY d (d) REFERENCES `new`.p (d)"),
    ("ALTER IGNORE TABLE d.t WAIT 5 DROP INDEX d", "d.t", "ALTER IGNORE TABLE `new`.t WAIT 5 DROP INDEX d"),
    ("ALTER TABLE d.t RENAME COLUMN d TO e, RENAME KEY e TO d", "d.t",
     "ALTER TABLE `new`.t RENAME COLUMN d TO e, RENAME KEY e TO d"),
    ("DROP TABLE `d`.`t`,`e`.`u` /* generated by server */", "d.t",
     "DROP TABLE `new`.`t`,`other`.`u` /* generated by server */"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "table", "expected"), RENAMED)
def test_database_names_are_exchanged_where_they_name_a_database(sql: str, table: str, expected: str) -> None:
    planned = plan(message(sql, table))
    assert planned.sql == expected
    assert planned.default_database == new(table.partition(".")[0])


@pytest.mark.parametrize(("sql", "table", "_expected"), RENAMED)
def test_without_renaming_the_text_stays(sql: str, table: str, _expected: str) -> None:
    assert plan(message(sql, table), keep).sql == sql.replace(" START TRANSACTION", "")


@pytest.mark.parametrize(
    ("sql", "expected", "default"),
    [
        ("CREATE DATABASE d", "CREATE DATABASE `new`", None),
        (
            "create schema if not exists `d` charset gbk /* d */",
            "create schema if not exists `new` charset gbk /* d */",
            None,
        ),
        ("ALTER DATABASE d CHARACTER SET utf8mb4", "ALTER DATABASE `new` CHARACTER SET utf8mb4", None),
        ("ALTER DATABASE DEFAULT CHARACTER SET gbk", "ALTER DATABASE DEFAULT CHARACTER SET gbk", "new"),
        ("ALTER SCHEMA CHARSET = gbk", "ALTER SCHEMA CHARSET = gbk", "new"),
        ("ALTER DATABASE COLLATE gbk_bin", "ALTER DATABASE COLLATE gbk_bin", "new"),
        ("DROP DATABASE IF EXISTS d", "DROP DATABASE IF EXISTS `new`", None),
    ],
)
def test_statements_on_databases(sql: str, expected: str, default: str | None) -> None:
    planned = plan(message(sql, "d"))
    assert (planned.sql, planned.default_database, planned.database) == (expected, default, "new")


def test_a_database_may_be_called_like_an_option() -> None:
    planned = plan(message("ALTER DATABASE comment CHARACTER SET gbk", "comment"), lambda name: name + "2")
    assert planned.sql == "ALTER DATABASE `comment2` CHARACTER SET gbk"


def test_the_tables_touched_are_named_as_on_the_target() -> None:
    a, b, c = TableName("new", "a"), TableName("other", "b"), TableName("new", "c")
    assert plan(message("CREATE TABLE a (x INT)", "d.a")).touched == (Touched(None, a),)
    assert plan(message("ALTER TABLE d.a ADD y INT", "d.a")).touched == (Touched(a, a),)
    assert plan(message("DROP TABLE d.a, e.b", "d.a")).touched == (Touched(a, None), Touched(b, None))
    assert plan(message("RENAME TABLE d.a TO d.c, e.b TO d.a", "d.a", "d.c")).touched == (Touched(a, c), Touched(b, a))
    assert plan(message("ALTER TABLE a RENAME TO e.b", "d.a", "e.b")).touched == (Touched(a, b),)


# The session's default database is not published; `old` and `def` of the messages tell it.


def test_a_rename_into_another_database_runs_under_the_default_one() -> None:
    planned = plan(message("RENAME TABLE t TO e.moved", "d.t", "e.moved"))
    assert (planned.sql, planned.default_database) == ("RENAME TABLE t TO `other`.moved", "new")


def test_the_new_name_tells_the_default_database() -> None:
    planned = plan(message("RENAME TABLE d.back TO back2, t TO d.t3", "d.back", "e.back2"))
    assert (planned.sql, planned.default_database) == ("RENAME TABLE `new`.back TO back2, t TO `new`.t3", "other")
    assert planned.touched == (
        Touched(TableName("new", "back"), TableName("other", "back2")),
        Touched(TableName("other", "t"), TableName("new", "t3")),
    )


def test_another_message_of_the_same_statement_tells_the_default_database() -> None:
    sql = "RENAME TABLE d.x TO d.y, t TO u"
    first, second = message(sql, "d.x", "d.y"), message(sql, "e.t", "e.u")
    with pytest.raises(PlanError, match="in which database t, u stands"):
        plan(first)
    assert plan(first, siblings=[second]).default_database == "other"


def test_what_no_message_announces_is_left_out() -> None:
    """IF EXISTS of a table that was not there, or a table that Maxwell filters."""
    renamed = message("RENAME TABLE d.x TO d.y, t TO u", "d.x", "d.y")
    assert plan(renamed, siblings=[]).sql == "RENAME TABLE `new`.x TO `new`.y"
    dropped = message("DROP TABLE IF EXISTS `t`,`d`.`x` /* generated by server */", "d.x")
    assert plan(dropped, siblings=[]).sql == "DROP TABLE IF EXISTS `new`.`x` /* generated by server */"
    with pytest.raises(PlanError, match="in which database t stands"):
        plan(message("CREATE TABLE d.x LIKE t", "d.x"), siblings=[])


@pytest.mark.parametrize(
    ("sql", "told", "default"),
    [
        ("RENAME TABLE t TO t_old, d.u TO e.t", "e.t_old", "other"),
        ("RENAME TABLE d.t TO u", "e.u", "other"),
        ("ALTER TABLE d.t RENAME TO u", "e.u", "other"),
        ("RENAME TABLE d.x TO d.y, t TO u", "d.y", None),
        ("RENAME TABLE t TO d.y", "d.y", None),
        ("DROP TABLE d.x, t", "d.x", None),
    ],
)
def test_a_single_message_of_the_name_afterwards_tells_it_or_nothing_runs(
    sql: str, told: str, default: str | None
) -> None:
    """As canal does: one message for all tables, the first by its new name, with no description."""
    change = msgspec.structs.replace(message(sql, told), kind="table-alter", old=msgspec.Raw(), def_=msgspec.Raw())
    if default is None:
        with pytest.raises(PlanError, match="in which database"):
            plan(change, siblings=[])
    else:
        assert plan(change, siblings=[]).default_database == default


def test_alter_table_renames_into_the_default_database() -> None:
    assert plan(message("ALTER TABLE d.t RENAME TO u", "d.t", "e.u")).default_database == "other"


def test_of_two_tables_of_one_name_the_unqualified_one_tells_the_default_database() -> None:
    sql = "DROP TABLE `t`,`e`.`t` /* generated by server */"
    assert plan(message(sql, "d.t"), siblings=[message(sql, "e.t")]).default_database == "new"
    with pytest.raises(PlanError, match="default database"):
        plan(message(sql, "e.t"))


def test_an_unqualified_parent_stands_in_the_database_of_the_child() -> None:
    planned = plan(message("CREATE TABLE d.t (a INT REFERENCES p (id))", "d.t"))
    assert (planned.sql, planned.default_database) == ("CREATE TABLE `new`.t (a INT REFERENCES p (id))", "new")


def columns(*names: str) -> list[Column]:
    return [Column(name=name, kind="int") for name in names]


def test_the_columns_tell_which_table_was_copied() -> None:
    change = message("CREATE TABLE e.copied LIKE t", "e.copied", columns=["id", "v"])

    def tables_named(table: str) -> Iterable[tuple[str, Sequence[Column]]]:
        assert table == "t"
        return [("d", columns("id", "v")), ("e", columns("id", "other"))]

    planned = plan(change, tables_named=tables_named)
    assert (planned.sql, planned.default_database) == ("CREATE TABLE `other`.copied LIKE t", "new")
    with pytest.raises(PlanError, match="in which database t stands"):
        plan(change)
    with pytest.raises(PlanError, match="in which database t stands"):
        plan(change, tables_named=lambda _: [("d", columns("id", "v")), ("e", columns("id", "v"))])


def test_capitals_that_the_source_does_not_distinguish_are_matched() -> None:
    planned = plan(message("RENAME TABLE D.T TO D.U", "d.t", "d.u"))
    assert planned.sql == "RENAME TABLE `new`.T TO `new`.U"
    assert planned.touched == (Touched(TableName("new", "t"), TableName("new", "u")),)


# One statement on several tables, some of them not replayed


@pytest.mark.parametrize(
    ("replayed", "expected"),
    [
        ("abc", "DROP TABLE `a` , b, d.`c` RESTRICT /* x */"),
        ("ab", "DROP TABLE `a` , b RESTRICT /* x */"),
        ("ac", "DROP TABLE `a`, `new`.`c` RESTRICT /* x */"),
        ("bc", "DROP TABLE b, `new`.`c` RESTRICT /* x */"),
        ("a", "DROP TABLE `a` RESTRICT /* x */"),
        ("b", "DROP TABLE b RESTRICT /* x */"),
        ("c", "DROP TABLE `new`.`c` RESTRICT /* x */"),
    ],
)
def test_tables_that_are_not_replayed_are_cut_out(replayed: str, expected: str) -> None:
    change = message("DROP TABLE `a` , b, d.`c` RESTRICT /* x */", "d.a")
    planned = plan(change, in_scope=lambda _, table: table in replayed)
    assert planned.sql == expected.replace("d.", "`new`.")
    assert len(planned.notes) == 3 - len(replayed)


def test_nothing_is_left_where_no_table_is_replayed() -> None:
    for change in (
        message("DROP TABLE a, b", "d.a"),
        message("CREATE DATABASE d", "d"),
        message("CREATE TABLE t (a INT)"),
    ):
        assert plan_schema_change(change, rename=new, in_scope=lambda _database, _table: False) is None


def test_pairs_that_are_not_replayed_are_cut_out() -> None:
    change = message("RENAME TABLE a TO a2, b TO b2", "d.a", "d.a2")
    planned = plan(change, in_scope=lambda _, table: table in ("b", "b2"))
    assert planned.sql == "RENAME TABLE b TO b2"
    assert planned.notes == ("left out a TO a2, which is not replayed or already in its place",)


@pytest.mark.parametrize(
    "sql",
    [
        "ALTER TABLE shown EXCHANGE PARTITION p WITH TABLE hidden",
        "ALTER TABLE hidden EXCHANGE PARTITION p WITH TABLE shown WITHOUT VALIDATION",
        "ALTER TABLE shown CONVERT PARTITION p TO TABLE hidden",
        "ALTER TABLE hidden CONVERT PARTITION p TO TABLE shown",
        "ALTER TABLE shown CONVERT TABLE hidden TO PARTITION p VALUES LESS THAN (9)",
        "ALTER TABLE hidden CONVERT TABLE shown TO PARTITION p VALUES LESS THAN (9)",
    ],
)
def test_rows_that_move_between_a_table_that_is_replayed_and_one_that_is_not_are_refused(sql: str) -> None:
    change = message(sql, f"d.{sql.split()[2]}")
    with pytest.raises(PlanError, match=r"rows move between d\.shown and d\.hidden, which is not replayed"):
        plan(change, in_scope=lambda _, table: table == "shown")
    assert plan(change, in_scope=lambda _, table: True).sql == sql
    assert plan_schema_change(change, rename=new, in_scope=lambda _, table: False) is None


@pytest.mark.parametrize("sql", ["ALTER TABLE shown RENAME TO hidden", "RENAME TABLE shown TO hidden"])
def test_a_table_that_leaves_the_replayed_ones_is_renamed_too(sql: str) -> None:
    assert plan(message(sql, "d.shown", "d.hidden"), in_scope=lambda _, table: table == "shown").sql == sql


def test_a_swap_through_a_name_that_is_not_replayed_stays_whole() -> None:
    change = message("RENAME TABLE a TO tmp, b TO a, tmp TO b", "d.a", "d.tmp")
    assert plan(change, in_scope=lambda _, table: table != "tmp").sql == change.sql


@pytest.mark.parametrize(
    "sql",
    [
        "RENAME TABLE hidden TO shown",
        "ALTER TABLE hidden RENAME TO shown",
        "ALTER TABLE hidden ADD c INT, RENAME AS d.shown, ENGINE=InnoDB",
    ],
)
def test_a_table_that_becomes_replayed_by_its_new_name_is_refused(sql: str) -> None:
    change = message(sql, "d.hidden", "d.shown")
    with pytest.raises(
        PlanError, match=r"d\.hidden, which is not replayed, becomes d\.shown, which is: .*not its rows"
    ):
        plan(change, in_scope=lambda _, table: table == "shown")


def test_a_move_between_databases_that_are_one_on_the_target_is_nothing() -> None:
    def one(_: str) -> str:
        return "one"

    change = message("RENAME TABLE d.t TO e.t, d.u TO e.v", "d.t", "e.t")
    assert plan(change, one).sql == "RENAME TABLE `one`.u TO `one`.v"
    nothing = message("ALTER TABLE d.t RENAME TO e.t", "d.t", "e.t")
    assert plan_schema_change(nothing, rename=one, in_scope=everything) is None
    altered = message("ALTER TABLE d.t ADD c INT, RENAME e.t, ADD f INT", "d.t", "e.t")
    assert plan(altered, one).sql == "ALTER TABLE `one`.t ADD c INT, ADD f INT"


# ANSI_QUOTES


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        (
            'CREATE TABLE "t" ("id" INT, "a`b" INT DEFAULT \'"\')',
            "CREATE TABLE `t` (`id` INT, `a``b` INT DEFAULT '\"')",
        ),
        ('CREATE TABLE t ("id" INT, "a""b" INT)', 'CREATE TABLE t (`id` INT, `a"b` INT)'),
        ('CREATE TABLE "d"."t" (id INT)', "CREATE TABLE `new`.`t` (id INT)"),
        ('CREATE TABLE t (id INT, PRIMARY KEY ("id"))', "CREATE TABLE t (id INT, PRIMARY KEY (`id`))"),
        ('ALTER TABLE t ADD COLUMN "new one" INT', "ALTER TABLE t ADD COLUMN `new one` INT"),
        ('ALTER TABLE t CHANGE a "b" INT AFTER "c"', "ALTER TABLE t CHANGE a `b` INT AFTER `c`"),
        ('ALTER TABLE t ADD a INT, DROP "b"', "ALTER TABLE t ADD a INT, DROP `b`"),
        ('RENAME TABLE t TO "u v"', "RENAME TABLE t TO `u v`"),
        ('CREATE TABLE t LIKE "u"', "CREATE TABLE t LIKE `u`"),
    ],
)
def test_names_in_double_quotes_are_written_in_backticks(sql: str, expected: str) -> None:
    planned = plan(message(sql))
    assert planned.sql == expected
    assert "ANSI_QUOTES" in planned.notes[-1]


@pytest.mark.parametrize(
    "sql",
    [
        'CREATE TABLE t (a VARCHAR(9) DEFAULT "x" COMMENT "y", b ENUM("p", "q"), CHECK (a LIKE "x%")) COMMENT "z"',
        'ALTER TABLE t ADD a VARCHAR(9) DEFAULT "x" AFTER b, COMMENT = "z", CONVERT TO CHARACTER SET "utf8mb4"',
        'ALTER TABLE t ALTER a SET DEFAULT "x", ADD b SET ("p", "q") COLLATE "utf8mb4_bin"',
        'CREATE TABLE t (a CHAR(1)) PARTITION BY LIST COLUMNS (a) (PARTITION p VALUES IN ("a", "b") COMMENT "c")',
    ],
)
def test_strings_in_double_quotes_stay(sql: str) -> None:
    assert plan(message(sql)).sql == sql


# What is refused


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE VIEW v AS SELECT 1", "DROP TRIGGER x", "INSERT INTO t VALUES (1)", "", "ALTER TABLE",
        "CREATE TABLE t (a INT", "SET STATEMENT max_statement_time=1 FOR CREATE TABLE t (a INT)", "RENAME USER a TO b",
        "CREATE SEQUENCE s",
    ],
)  # fmt: skip
def test_other_statements_are_refused(sql: str) -> None:
    with pytest.raises(PlanError):
        plan(message(sql))


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE t SELECT * FROM u", "CREATE TABLE t AS SELECT 1", "CREATE TABLE t (a INT) SELECT 1 AS a",
        "CREATE TABLE t (SELECT 1)", "CREATE TABLE t (a INT) ENGINE=InnoDB REPLACE AS SELECT 1 AS a",
    ],
)  # fmt: skip
def test_create_table_from_a_query_is_refused(sql: str) -> None:
    with pytest.raises(PlanError, match="binlog_format=ROW"):
        plan(message(sql))


# The corpus


@pytest.mark.parametrize("case", recorded_cases(), ids=str)
def test_recorded_statements(case: RecordedCase) -> None:
    for recorded in case.changes:
        check_names(recorded)


def check_names(recorded: Recorded) -> None:
    change = recorded.change
    tables = [("c_l_use1", columns("id", "v")), ("c_l_use2", columns("id", "other"))]

    def renamed(name: str) -> str:
        return f"target of {name}"

    options: dict[str, Any] = {
        "source": recorded.source, "target": recorded.source, "siblings": recorded.siblings,
        "tables_named": lambda _: tables,
    }  # fmt: skip
    same = plan(change, keep, **options)
    if '"quoted"' not in change.sql:
        assert same.sql == change.sql.replace(" START TRANSACTION", ""), recorded.case
    exchanged = plan(change, renamed, **options)
    assert re.sub("`target of ([^`]*)`", r"\1", exchanged.sql).replace("`", "") == same.sql.replace("`", ""), (
        recorded.case
    )
    if exchanged.default_database is not None:
        assert exchanged.default_database.startswith("target of ")
    for pair in exchanged.touched:
        assert all(name is None or name.database.startswith("target of ") for name in pair)


@pytest.mark.parametrize("case", recorded_cases(), ids=str)
def test_what_is_touched_agrees_with_what_maxwell_describes(case: RecordedCase) -> None:
    for recorded in case.changes:
        check_touched(recorded)


def check_touched(recorded: Recorded) -> None:
    change = recorded.change
    tables = [("c_l_use1", columns("id", "v")), ("c_l_use2", columns("id", "other"))]
    planned = plan(change, keep, source=recorded.source, siblings=recorded.siblings, tables_named=lambda _: tables)
    if change.table is None:
        assert planned.database == change.database
        return
    before = after = TableName(change.database, change.table)
    if bytes(change.def_):
        definition = json.loads(bytes(change.def_))
        after = TableName(definition["database"], definition["table"])
    expected = {
        "table-create": Touched(None, after),
        "table-alter": Touched(before, after),
        "table-drop": Touched(before, None),
    }[change.kind]
    assert expected in planned.touched, recorded.case
