from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from pydbsync.errors import PlanError
from pydbsync.model import SchemaChange
from pydbsync.plan import dialect
from pydbsync.plan.ddl import PlannedSchemaChange, plan_schema_change
from pydbsync.plan.dialect import RULES, Rule, Server
from pydbsync.plan.statement import Statement, parse_statement
from tests.unit.plan.corpus import recorded_schema_changes

MYSQL = Server("mysql", (9, 7, 4))
MARIADB = Server("mariadb", (10, 11, 6))


def described(columns: Sequence[str], charset: str = "utf8mb4") -> msgspec.Raw:
    listed = [{"type": "int", "name": name, "signed": True} for name in columns]
    return msgspec.Raw(json.dumps({"database": "d", "table": "t", "charset": charset, "columns": listed}).encode())


def plan(
    sql: str, source: Server, target: Server, *, columns: Sequence[str] = ("a", "b"), charset: str = "utf8mb4"
) -> PlannedSchemaChange | None:
    is_database = "DATABASE" in sql
    change = SchemaChange(
        kind="database-create" if is_database else "table-alter", database="d", table=None if is_database else "t",
        ts=1700000000, sql=sql, old=described(columns), def_=described(columns, charset), charset=charset,
    )  # fmt: skip
    return plan_schema_change(change, rename=str, in_scope=lambda _d, _t: True, source=source, target=target)


def translated(sql: str, source: Server, target: Server, **options: Any) -> str:
    planned = plan(sql, source, target, **options)
    assert planned is not None
    return planned.sql


TO_MARIADB = [
    # collations
    (
        "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_0900_ai_ci)",
        "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_uca1400_nopad_ai_ci)",
    ),
    ("CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_0900_bin)", "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_nopad_bin)"),
    (
        "CREATE TABLE t (a CHAR(9)) COLLATE='utf8mb4_0900_as_cs'",
        "CREATE TABLE t (a CHAR(9)) COLLATE=utf8mb4_uca1400_nopad_as_cs",
    ),
    (
        "ALTER TABLE t ADD c CHAR(9) COLLATE utf8mb4_es_trad_0900_ai_ci",
        "ALTER TABLE t ADD c CHAR(9) COLLATE utf8mb4_uca1400_spanish2_nopad_ai_ci",
    ),
    ("CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_unicode_ci)", "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_unicode_ci)"),
    # a character set alone
    (
        "CREATE TABLE t (a CHAR(9) CHARACTER SET utf8mb4 NOT NULL) DEFAULT CHARSET=utf8mb4 ENGINE=InnoDB",
        "CREATE TABLE t (a CHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci NOT NULL)"
        " DEFAULT CHARSET=utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci ENGINE=InnoDB",
    ),
    (
        "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4",
        "ALTER TABLE t CONVERT TO CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci",
    ),
    (
        "CREATE TABLE t (a CHAR(9) CHARSET utf8mb4 NOT NULL COLLATE utf8mb4_bin,"
        " b CHAR(9) BINARY CHARSET utf8mb4) CHARSET latin1",
        "CREATE TABLE t (a CHAR(9) CHARSET utf8mb4 NOT NULL COLLATE utf8mb4_bin,"
        " b CHAR(9) BINARY CHARSET utf8mb4) CHARSET latin1",
    ),
    (
        "CREATE TABLE t (a CHAR(9) AS (CAST(b AS CHAR CHARACTER SET utf8mb4)))",
        "CREATE TABLE t (a CHAR(9) AS (CAST(b AS CHAR CHARACTER SET utf8mb4)))",
    ),
    # version comments
    (
        "CREATE TABLE t (a INT, b INT /*!80023 INVISIBLE */, KEY k (a) /*!80000 INVISIBLE */)",
        "CREATE TABLE t (a INT, b INT  INVISIBLE , KEY k (a)  IGNORED )",
    ),
    (
        "CREATE TABLE t (a INT) /*!50100 PARTITION BY HASH (a) */ /*M! COMMENT='x' */",
        "CREATE TABLE t (a INT) /*!50100 PARTITION BY HASH (a) */ /* COMMENT='x' */",
    ),
    # columns
    ("CREATE TABLE t (a INT VISIBLE, b INT INVISIBLE)", "CREATE TABLE t (a INT, b INT INVISIBLE)"),
    ("CREATE TABLE t (a INT COLUMN_FORMAT FIXED STORAGE DISK NOT NULL)", "CREATE TABLE t (a INT NOT NULL)"),
    ("CREATE TABLE t (p POINT NOT NULL SRID 4326)", "CREATE TABLE t (p POINT REF_SYSTEM_ID=4326 NOT NULL)"),
    (
        "CREATE TABLE t (p POINT NOT NULL /*!80003 SRID 4326 */)",
        "CREATE TABLE t (p POINT REF_SYSTEM_ID=4326 NOT NULL )",
    ),
    ("CREATE TABLE t (g GEOMCOLLECTION)", "CREATE TABLE t (g GEOMETRYCOLLECTION)"),
    (
        "CREATE TABLE t (a INT CHECK (a > 0) ENFORCED, CONSTRAINT c CHECK (a < 9) ENFORCED)",
        "CREATE TABLE t (a INT CHECK (a > 0), CONSTRAINT c CHECK (a < 9))",
    ),
    (
        "CREATE TABLE t (a INT, b INT AS (a + 1) STORED NOT NULL UNIQUE, c INT AS (a) NULL)",
        "CREATE TABLE t (a INT, b INT AS (a + 1) STORED  UNIQUE, c INT AS (a) )",
    ),
    (
        "ALTER TABLE t ADD c INT AS (b->'$.x'), ADD d CHAR(9) AS (t.`b`->>'$.y')",
        "ALTER TABLE t ADD c INT AS (JSON_EXTRACT(b, '$.x')),"
        " ADD d CHAR(9) AS (JSON_UNQUOTE(JSON_EXTRACT(t.`b`, '$.y')))",
    ),
    # keys and options
    (
        "CREATE TABLE t (a INT, KEY k (a) VISIBLE, UNIQUE l (a) COMMENT 'x' INVISIBLE)",
        "CREATE TABLE t (a INT, KEY k (a) NOT IGNORED, UNIQUE l (a) COMMENT 'x' IGNORED)",
    ),
    (
        "CREATE TABLE t (a INT) ENCRYPTION='N', COMMENT='x', AUTOEXTEND_SIZE=4M, ENGINE=InnoDB",
        "CREATE TABLE t (a INT) COMMENT='x' ENGINE=InnoDB",
    ),
    (
        "CREATE TABLE t (a INT) TABLESPACE=s ENCRYPTION='Y' COMPRESSION='zlib' SECONDARY_ENGINE=RAPID",
        "CREATE TABLE t (a INT) ENCRYPTED=YES",
    ),
    # ALTER TABLE
    ("ALTER TABLE t ADD c INT, ALGORITHM=INSTANT", "ALTER TABLE t ADD c INT"),
    ("ALTER TABLE t ALGORITHM=INPLACE, LOCK=NONE, ADD c INT", "ALTER TABLE t ADD c INT"),
    ("ALTER TABLE t ADD c INT, ALGORITHM=INPLACE, ADD d INT, LOCK=NONE", "ALTER TABLE t ADD c INT, ADD d INT"),
    (
        "ALTER TABLE t ALTER INDEX k INVISIBLE, ALTER INDEX l VISIBLE",
        "ALTER TABLE t ALTER INDEX k IGNORED, ALTER INDEX l NOT IGNORED",
    ),
    ("ALTER TABLE t DROP CHECK c, ADD c INT", "ALTER TABLE t DROP CONSTRAINT c, ADD c INT"),
    ("ALTER TABLE t ALTER COLUMN b SET VISIBLE", "ALTER TABLE t "),
    (
        "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u WITHOUT VALIDATION",
        "ALTER TABLE t EXCHANGE PARTITION p WITH TABLE u",
    ),
    ("ALTER TABLE t SECONDARY_LOAD", "ALTER TABLE t "),
    (
        "CREATE TABLE t (a INT ENGINE_ATTRIBUTE='{}',"
        " KEY k (a) SECONDARY_ENGINE_ATTRIBUTE='{}') ENGINE_ATTRIBUTE '' STORAGE DISK ENGINE=NDB",
        "CREATE TABLE t (a INT, KEY k (a))",
    ),
    # names that look like keywords, and keywords that are names
    (
        "ALTER TABLE t ADD c INT AFTER visible, ADD encryption INT, ADD KEY (visible)",
        "ALTER TABLE t ADD c INT AFTER visible, ADD encryption INT, ADD KEY (visible)",
    ),
    (
        "CREATE TABLE t (a INT, b VARCHAR(20) DEFAULT 'INVISIBLE' COMMENT 'SRID 4326 a->b')",
        "CREATE TABLE t (a INT, b VARCHAR(20) DEFAULT 'INVISIBLE' COMMENT 'SRID 4326 a->b')",
    ),
    # databases
    ("CREATE DATABASE d", "CREATE DATABASE d CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci"),
    (
        "CREATE DATABASE IF NOT EXISTS d /* x */ ENCRYPTION='N'",
        "CREATE DATABASE IF NOT EXISTS d CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci /* x */ ",
    ),
    (
        "CREATE DATABASE d CHARACTER SET utf8mb4",
        "CREATE DATABASE d CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci",
    ),
    ("CREATE DATABASE d CHARACTER SET latin1", "CREATE DATABASE d CHARACTER SET latin1"),
    ("CREATE DATABASE d COLLATE utf8mb4_unicode_ci", "CREATE DATABASE d COLLATE utf8mb4_unicode_ci"),
    (
        "ALTER DATABASE CHARACTER SET utf8mb4",
        "ALTER DATABASE CHARACTER SET utf8mb4 COLLATE utf8mb4_uca1400_nopad_ai_ci",
    ),
]

TO_MYSQL = [
    (
        "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_uca1400_nopad_as_ci, b CHAR(9) COLLATE uca1400_ai_ci)",
        "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_0900_as_ci, b CHAR(9) COLLATE utf8mb4_0900_ai_ci)",
    ),
    ("CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_nopad_bin)", "CREATE TABLE t (a CHAR(9) COLLATE utf8mb4_0900_bin)"),
    (
        "CREATE TABLE t (a CHAR(9)) CHARSET=utf8mb4",
        "CREATE TABLE t (a CHAR(9)) CHARSET=utf8mb4 COLLATE utf8mb4_general_ci",
    ),
    ("CREATE DATABASE d", "CREATE DATABASE d CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"),
    ("CREATE DATABASE d COMMENT 'x'", "CREATE DATABASE d CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"),
    (
        "CREATE TABLE t (a INT /*M!100100 COMMENT 'x' */, b INT /*!80023 INVISIBLE */, c INT /*!100301 INVISIBLE */)",
        "CREATE TABLE t (a INT  COMMENT 'x' , b INT /* INVISIBLE */, c INT  INVISIBLE )",
    ),
    ("CREATE OR REPLACE TABLE t (a INT)", "CREATE TABLE t (a INT)"),
    ("ALTER ONLINE TABLE t WAIT 5 ADD c INT", "ALTER TABLE t ADD c INT"),
    ("ALTER TABLE IF EXISTS t NOWAIT ADD c INT", "ALTER TABLE t ADD c INT"),
    ("ALTER TABLE t DROP COLUMN IF EXISTS x, ADD c INT", "ALTER TABLE t ADD c INT"),
    (
        "ALTER TABLE t DROP IF EXISTS b, ADD COLUMN IF NOT EXISTS a INT,"
        " ADD IF NOT EXISTS c INT, MODIFY IF EXISTS a BIGINT",
        "ALTER TABLE t DROP  b, ADD  c INT, MODIFY  a BIGINT",
    ),
    ("ALTER TABLE t ADD c INT, ALGORITHM=NOCOPY", "ALTER TABLE t ADD c INT"),
    ("CREATE TABLE t (a INT, b INT AS (a + 1) PERSISTENT)", "CREATE TABLE t (a INT, b INT AS (a + 1) STORED)"),
    (
        "CREATE TABLE t (a VARCHAR(9) COMPRESSED, b TEXT COMPRESSED=zlib NOT NULL)",
        "CREATE TABLE t (a VARCHAR(9), b TEXT NOT NULL)",
    ),
    ("CREATE TABLE t (p POINT REF_SYSTEM_ID=4326 NOT NULL)", "CREATE TABLE t (p POINT SRID 4326 NOT NULL)"),
    (
        "CREATE TABLE t (a VARCHAR(40) DEFAULT uuid(), b DATE DEFAULT curdate(),"
        " c DATETIME DEFAULT current_timestamp())",
        "CREATE TABLE t (a VARCHAR(40) DEFAULT (uuid()), b DATE DEFAULT (curdate()),"
        " c DATETIME DEFAULT current_timestamp())",
    ),
    (
        "CREATE TABLE t (a TEXT DEFAULT 'x' NOT NULL, b JSON DEFAULT '{}',"
        " c BLOB DEFAULT NULL, d CHAR(9) DEFAULT 'x', e INT DEFAULT 5)",
        "CREATE TABLE t (a TEXT DEFAULT ('x') NOT NULL, b JSON DEFAULT ('{}'),"
        " c BLOB DEFAULT NULL, d CHAR(9) DEFAULT 'x', e INT DEFAULT 5)",
    ),
    (
        "CREATE TABLE t (a INT, KEY k (a) IGNORED, KEY l (a) NOT IGNORED)",
        "CREATE TABLE t (a INT, KEY k (a) INVISIBLE, KEY l (a) VISIBLE)",
    ),
    ("ALTER ONLINE TABLE IF EXISTS t ADD c INT", "ALTER TABLE t ADD c INT"),
    ("RENAME TABLE IF EXISTS t TO u", "RENAME TABLE t TO u"),
    (
        "CREATE TABLE t (a INT, KEY k (a) CLUSTERING=YES) ENGINE=TokuDB ROW_FORMAT=PAGE IETF_QUOTES=1",
        "CREATE TABLE t (a INT, KEY k (a))",
    ),
    (
        "ALTER TABLE t ALTER INDEX k IGNORED, ALTER KEY l NOT IGNORED",
        "ALTER TABLE t ALTER INDEX k INVISIBLE, ALTER INDEX l VISIBLE",
    ),
    (
        "CREATE TABLE t (a INT) ENGINE=Aria PAGE_CHECKSUM=1 TRANSACTIONAL=0 COMMENT='x'",
        "CREATE TABLE t (a INT) COMMENT='x'",
    ),
    (
        "CREATE TABLE t (a INT) ENGINE=InnoDB, `encrypted`='yes', `page_compressed`='1'",
        "CREATE TABLE t (a INT) ENGINE=InnoDB ENCRYPTION='Y'",
    ),
]


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
def test_tables_that_come_as_files_are_refused(server: Server, sql: str) -> None:
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


def test_a_character_set_alone_means_another_collation_in_another_version() -> None:
    sql = "CREATE TABLE t (a CHAR(9)) CHARSET=utf8mb4"
    old, new = Server("mysql", (5, 7, 44)), Server("mysql", (8, 0, 36))
    assert translated(sql, old, new) == sql + " COLLATE utf8mb4_general_ci"
    assert translated(sql, MARIADB, Server("mariadb", (11, 8, 2))) == sql + " COLLATE utf8mb4_general_ci"
    assert translated(sql, Server("mariadb", (11, 8, 2)), MARIADB) == sql + " COLLATE utf8mb4_uca1400_ai_ci"
    assert translated(sql, Server("mysql"), Server("mysql", (9, 7))) == sql


def test_a_database_gets_the_character_set_of_the_source_where_the_target_has_another() -> None:
    target = Server("mysql", (9, 7, 4), "latin1")
    assert translated("CREATE DATABASE d", MYSQL, target) == "CREATE DATABASE d CHARACTER SET utf8mb4"
    assert translated("CREATE DATABASE d", MYSQL, target, charset="latin1") == "CREATE DATABASE d"
    assert translated("CREATE DATABASE d COLLATE latin1_bin", MYSQL, target) == "CREATE DATABASE d COLLATE latin1_bin"


def test_a_foreign_key_that_the_source_forgot_is_left_out() -> None:
    sql = (
        "CREATE TABLE t (a INT REFERENCES p (id) ON DELETE SET NULL ON UPDATE NO ACTION,"
        " b INT NOT NULL REFERENCES d.q (x), c INT)"
    )
    old = Server("mysql", (8, 4, 1))
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


def _rule_notes(statement: Statement, change: SchemaChange, source: Server, target: Server) -> list[str]:
    """Without the notes on collations, arrows and guards, which are no part of the table."""
    notes = dialect.translate(statement, change, source=source, target=target).notes
    return [note for note in notes if not re.match(r"\w*(uca1400|_0900_|nopad)\w* became|->>? became", note)]


@pytest.mark.parametrize("recorded", recorded_schema_changes(), ids=lambda recorded: recorded.case)
def test_every_recorded_statement_has_a_translation(recorded: Any) -> None:
    """All were run on the other brand; gb18030 is the one that has no equivalent."""
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
        assert translate() is not None
