from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pydbsync.errors import PlanError
from pydbsync.model import SchemaChange, SessionSettings
from pydbsync.plan.ddl import dialect
from pydbsync.plan.ddl.collations import StatementServer
from pydbsync.plan.ddl.dialect import RULES, Rule
from pydbsync.plan.ddl.for_target import PlannedSchemaChange, plan_schema_change
from pydbsync.plan.ddl.statement import Statement, parse_statement
from tests.unit.plan.corpus import Recorded, RecordedCase, recorded_cases
from tests.unit.plan.dialect_cases import TO_MARIADB, TO_MYSQL

MYSQL = StatementServer("mysql", (9, 7, 4))
MARIADB = StatementServer("mariadb", (10, 11, 6))


def described(columns: Sequence[str], charset: str = "utf8mb4") -> msgspec.Raw:
    listed = [{"type": "int", "name": name, "signed": True} for name in columns]
    return msgspec.Raw(json.dumps({"database": "d", "table": "t", "charset": charset, "columns": listed}).encode())


def plan(
    sql: str,
    source: StatementServer,
    target: StatementServer,
    *,
    columns: Sequence[str] = ("a", "b"),
    charset: str = "utf8mb4",
) -> PlannedSchemaChange | None:
    is_database = "DATABASE" in sql
    change = SchemaChange(
        kind="database-create" if is_database else "table-alter", database="d", table=None if is_database else "t",
        ts=1700000000, sql=sql, old=described(columns), def_=described(columns, charset), charset=charset,
    )  # fmt: skip
    return plan_schema_change(change, rename=str, in_scope=lambda _d, _t: True, source=source, target=target)


def translated(sql: str, source: StatementServer, target: StatementServer, **options: Any) -> str:
    planned = plan(sql, source, target, **options)
    assert planned is not None
    return planned.sql


@pytest.mark.parametrize(("sql", "expected"), TO_MARIADB)
def test_what_mysql_says_in_the_words_of_mariadb(sql: str, expected: str) -> None:
    assert translated(sql, MYSQL, MARIADB) == expected


@pytest.mark.parametrize(("sql", "expected"), TO_MYSQL)
def test_what_mariadb_says_in_the_words_of_mysql(sql: str, expected: str) -> None:
    assert translated(sql, MARIADB, MYSQL) == expected


@pytest.mark.parametrize(("sql", "_expected"), TO_MARIADB)
def test_nothing_changes_between_two_mysql(sql: str, _expected: str) -> None:
    assert translated(sql, MYSQL, MYSQL) == sql


@pytest.mark.parametrize(("sql", "_expected"), TO_MYSQL)
def test_nothing_changes_between_two_mariadb(sql: str, _expected: str) -> None:
    assert translated(sql, MARIADB, MARIADB) == sql


NOT_FOR_MARIADB = [
    (
        "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_sv_0900_ai_ci)",
        "no collation that compares as utf8mb4_sv_0900_ai_ci",
    ),
    ("CREATE TABLE t (a CHAR(9) CHARACTER SET gb18030)", "no character set gb18030"),
    ("CREATE TABLE t (a INT CHECK (a > 0) NOT ENFORCED)", "enforces every CHECK"),
    ("ALTER TABLE t ADD CONSTRAINT c CHECK (a > 0) /*!80016 NOT ENFORCED */", "enforces every CHECK"),
    ("ALTER TABLE t ALTER CHECK c NOT ENFORCED", "enforces every CHECK"),
    ("CREATE TABLE t (a INT, KEY k ((a + 1)))", "no keys on expressions"),
    ("ALTER TABLE t ADD UNIQUE (b, (a + 1) DESC)", "no keys on expressions"),
    ("CREATE TABLE t (a TEXT, FULLTEXT KEY k (a) /*!50100 WITH PARSER `ngram` */)", "no such full-text parser"),
    ("ALTER DATABASE d READ ONLY = 1", "no read-only databases"),
    ("CREATE DATABASE d ENCRYPTION='Y'", "encrypts by table or by server"),
]


@pytest.mark.parametrize(("sql", "reason"), NOT_FOR_MARIADB)
def test_what_mariadb_cannot_say_is_refused(sql: str, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        plan(sql, MYSQL, MARIADB)


NOT_FOR_MYSQL = [
    ("CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_general_nopad_ci)", "no collation that compares as"),
    ("CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_uca1400_swedish_ai_ci)", "no collation that compares as"),
    ("CREATE TABLE t (a UUID)", "no such type"),
    ("ALTER TABLE t ADD c INET6 NOT NULL", "no such type"),
    ("CREATE TABLE t (a INT) WITH SYSTEM VERSIONING", "no system-versioned tables"),
    ("CREATE TABLE t (a INT WITHOUT SYSTEM VERSIONING)", "no system-versioned tables"),
    ("ALTER TABLE t ADD SYSTEM VERSIONING", "no system-versioned tables"),
    ("CREATE TABLE t (a INT, s DATE, e DATE, PERIOD FOR p (s, e))", "no periods"),
    ("CREATE TABLE t (a INT, s TIMESTAMP(6) GENERATED ALWAYS AS ROW START)", "no periods"),
    ("CREATE TABLE t (a INT) PARTITION BY SYSTEM_TIME", "no periods"),
    ("ALTER TABLE t ADD PERIOD FOR p (a, b)", "no periods"),
    ("CREATE TABLE t (next_not_cached_value BIGINT) SEQUENCE=1", "no sequences"),
    ("CREATE TABLE t (a INT, UNIQUE (a, p WITHOUT OVERLAPS))", "no periods"),
    ("ALTER IGNORE TABLE t ADD UNIQUE (a)", "duplicate rows"),
    ("ALTER TABLE t ADD INDEX IF NOT EXISTS i (a)", "do not tell whether it was there"),
    ("ALTER TABLE t DROP CONSTRAINT IF EXISTS c", "do not tell whether it was there"),
    ("ALTER TABLE t CONVERT PARTITION p TO TABLE u", "partition into a table"),
]


@pytest.mark.parametrize(("sql", "reason"), NOT_FOR_MYSQL)
def test_what_mysql_cannot_say_is_refused(sql: str, reason: str) -> None:
    with pytest.raises(PlanError, match=reason):
        plan(sql, MARIADB, MYSQL)


def test_a_collation_of_any_character_set_is_refused_where_the_character_set_is_not_known() -> None:
    with pytest.raises(PlanError, match="does not name"):
        plan("CREATE TABLE t (a CHAR(9) COLLATE uca1400_ai_ci)", MARIADB, MYSQL, charset="utf8mb3")


@pytest.mark.parametrize("server", [MYSQL, MARIADB])
@pytest.mark.parametrize("sql", ["ALTER TABLE t DISCARD TABLESPACE", "ALTER TABLE t IMPORT PARTITION p TABLESPACE"])
def test_tables_that_come_as_files_are_refused(server: StatementServer, sql: str) -> None:
    with pytest.raises(PlanError, match="the rows come in files"):
        plan(sql, server, server)


def test_names_that_only_the_target_reserves_get_backticks() -> None:
    columns = ("a", "rank", "system", "stored", "virtual")
    sql = (
        "CREATE TABLE t (a INT, rank INT, system INT, stored INT AS (rank) STORED,"
        " virtual INT AS (t.rank) VIRTUAL, KEY (rank DESC))"
    )
    assert translated(sql, MARIADB, MYSQL, columns=columns) == (
        "CREATE TABLE t (a INT, `rank` INT, `system` INT, `stored` INT AS (`rank`) STORED,"
        " `virtual` INT AS (t.`rank`) VIRTUAL, KEY (`rank` DESC))"
    )
    sql = "ALTER TABLE t ADD offset INT AFTER a, STATS_PERSISTENT=1, ADD CHECK (offset > 0)"
    assert translated(sql, MYSQL, MARIADB, columns=("a", "offset", "stats_persistent")) == (
        "ALTER TABLE t ADD `offset` INT AFTER a, STATS_PERSISTENT=1, ADD CHECK (`offset` > 0)"
    )
    change = SchemaChange(
        kind="table-alter", database="system", table="rank", ts=1, sql="RENAME TABLE system.rank TO system.x"
    )
    planned = plan_schema_change(change, rename=str, in_scope=lambda _d, _t: True, source=MARIADB, target=MYSQL)
    assert planned is not None
    assert planned.sql == "RENAME TABLE `system`.`rank` TO `system`.x"


def test_names_that_only_the_newer_version_reserves_get_backticks() -> None:
    newer, columns = StatementServer("mariadb", (11, 8, 9)), ("vector", "v")
    sql = "CREATE TABLE vector (vector INT, v VARCHAR(9) DEFAULT 'vector', KEY (vector), CHECK (vector > 0))"
    quoted = sql.replace(" vector (", " `vector` (").replace("(vector", "(`vector`")
    assert translated(sql, MARIADB, newer, columns=columns) == quoted
    assert translated(sql, newer, newer, columns=columns) == sql
    sql = "CREATE TABLE t (vector VECTOR(3), v VECTOR(2))"
    assert translated(sql, MYSQL, newer, columns=columns) == "CREATE TABLE t (`vector` VECTOR(3), v VECTOR(2))"
    sql = "ALTER TABLE t ADD VECTOR INDEX (v), ADD vector VARCHAR(9)"
    assert translated(sql, newer, newer, columns=columns) == sql
    old = "ALTER TABLE t ADD rank INT, ADD KEY k (rank)"
    fit = "ALTER TABLE t ADD `rank` INT, ADD KEY k (`rank`)"
    assert translated(old, StatementServer("mysql", (5, 7, 44)), MYSQL, columns=("rank",)) == fit
    assert translated(old, StatementServer("mysql"), MYSQL, columns=("rank",)) == fit


def test_a_character_set_alone_means_another_collation_in_another_version() -> None:
    sql = "CREATE TABLE t (a CHAR(9)) CHARSET=utf8mb4"
    old, new = StatementServer("mysql", (5, 7, 44)), StatementServer("mysql", (8, 0, 36))
    assert translated(sql, old, new) == sql + " COLLATE utf8mb4_general_ci"
    assert translated(sql, MARIADB, StatementServer("mariadb", (11, 8, 2))) == sql + " COLLATE utf8mb4_general_ci"
    assert translated(sql, StatementServer("mariadb", (11, 8, 2)), MARIADB) == sql + " COLLATE utf8mb4_uca1400_ai_ci"
    assert translated(sql, StatementServer("mysql"), StatementServer("mysql", (9, 7))) == sql
    emptied = StatementServer("mariadb", (11, 8, 2), session=SessionSettings(collation_server="latin1_swedish_ci"))
    assert translated(sql, emptied, MARIADB) == sql
    assert translated(sql, emptied, StatementServer("mariadb", (11, 8, 2))) == sql + " COLLATE utf8mb4_general_ci"


def test_a_database_gets_the_character_set_of_the_source_where_the_target_has_another() -> None:
    target = StatementServer("mysql", (9, 7, 4), "latin1")
    assert translated("CREATE DATABASE d", MYSQL, target) == "CREATE DATABASE d CHARACTER SET utf8mb4"
    assert translated("CREATE DATABASE d", MYSQL, target, charset="latin1") == "CREATE DATABASE d"
    assert translated("CREATE DATABASE d COLLATE latin1_bin", MYSQL, target) == "CREATE DATABASE d COLLATE latin1_bin"


def test_a_foreign_key_that_the_source_forgot_is_left_out() -> None:
    sql = (
        "CREATE TABLE t (a INT REFERENCES p (id) ON DELETE SET NULL ON UPDATE NO ACTION,"
        " b INT NOT NULL REFERENCES d.q (x), c INT)"
    )
    old = StatementServer("mysql", (8, 4, 1))
    assert translated(sql, old, MYSQL) == "CREATE TABLE t (a INT , b INT NOT NULL , c INT)"
    assert translated(sql, old, old) == translated(sql, MYSQL, MARIADB) == sql
    with pytest.raises(PlanError, match="column a stands in a form that the target forgets"):
        plan(sql, MARIADB, old)


def test_nothing_is_left_of_a_database_change_that_the_target_does_not_know() -> None:
    assert plan("ALTER DATABASE d ENCRYPTION='N'", MYSQL, MARIADB) is None


def test_without_a_known_source_nothing_is_translated() -> None:
    sql = "CREATE TABLE t (a INT VISIBLE) COLLATE=utf8mb4_0900_ai_ci"
    change = SchemaChange(kind="table-create", database="d", table="t", ts=1, sql=sql)
    planned = plan_schema_change(change, rename=str, in_scope=lambda _d, _t: True, target=MARIADB)
    assert planned is not None
    assert (planned.sql, planned.notes) == (sql, ())


def test_what_was_translated_is_noted() -> None:
    planned = plan("ALTER TABLE t ADD c CHAR(9) COLLATE utf8mb4_0900_ai_ci, LOCK=NONE", MYSQL, MARIADB)
    assert planned is not None
    assert planned.notes == (
        "left out LOCK=NONE: it asks for a way of doing the change, not for another result",
        "utf8mb4_0900_ai_ci became utf8mb4_uca1400_nopad_ai_ci: characters newer than Unicode 9 may compare otherwise",
    )


ALL = {
    "mariadb": [sql for sql, *_ in [*TO_MARIADB, *NOT_FOR_MARIADB]],
    "mysql": [sql for sql, *_ in [*TO_MYSQL, *NOT_FOR_MYSQL]],
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.target}: {rule.place} {rule.pattern}")
def test_every_rule_of_the_table_is_used_by_a_case_above(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dialect, "RULES", (rule,))
    source, target = (MYSQL, MARIADB) if rule.target == "mariadb" else (MARIADB, MYSQL)

    def is_used(sql: str) -> bool:
        statement = parse_statement(sql, brand=source.brand)
        change = SchemaChange(kind="table-alter", database="d", table="t", ts=1, sql=sql, old=described(["a", "b"]))
        try:
            return any(
                rule.why in note or " became " in note for note in _rule_notes(statement, change, source, target)
            )
        except PlanError as exc:
            return rule.why in str(exc)

    assert any(is_used(sql) for sql in ALL[rule.target])


GRAMMAR = {
    "ALTER",
    "CREATE",
    "DROP",
    "ADD",
    "COLUMN",
    "INDEX",
    "KEY",
    "WITH",
    "OR",
    "NOT",
    "DEFAULT",
    "CHECK",
    "CONSTRAINT",
}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.target}: {rule.place} {rule.pattern}")
def test_every_rule_of_the_table_is_documented(rule: Rule) -> None:
    page = (Path(__file__).parents[4] / "docs" / "schema-changes.md").read_text(encoding="utf-8").upper()
    words = re.findall(r"[A-Z_0-9]{2,}", rule.pattern)
    assert [word for word in words if word not in GRAMMAR and word not in page] == []


def _rule_notes(
    statement: Statement, change: SchemaChange, source: StatementServer, target: StatementServer
) -> list[str]:
    """Without the notes on collations, arrows and guards, which are no part of the table."""
    notes = dialect.translate(statement, change, source=source, target=target).notes
    return [note for note in notes if not re.match(r"\w*(uca1400|_0900_|nopad)\w* became|->>? became", note)]


@pytest.mark.parametrize("case", recorded_cases(), ids=str)
def test_every_recorded_statement_has_a_translation(case: RecordedCase) -> None:
    """All were run on the other brand; gb18030 is the one that has no equivalent."""
    for recorded in case.changes:
        check_translation(recorded)


def check_translation(recorded: Recorded) -> None:
    target = MARIADB if recorded.source.brand == "mysql" else MYSQL

    def translate() -> PlannedSchemaChange | None:
        return plan_schema_change(
            recorded.change, rename=str, in_scope=lambda _d, _t: True, source=recorded.source, target=target,
            siblings=recorded.siblings, tables_named=lambda _: [("c_l_use1", [])],
        )  # fmt: skip

    if "gb18030" in recorded.change.sql:
        with pytest.raises(PlanError, match="gb18030"):
            translate()
    elif "11-use-other-database" not in recorded.case:
        assert translate() is not None, recorded.case
