"""The session that a schema change runs in: what the source's was, as the target can be told it."""

from __future__ import annotations

import msgspec
import pytest

from pydbsync.errors import PlanError
from pydbsync.model import SchemaChange, SessionSettings
from pydbsync.plan.ddl.collations import StatementServer
from pydbsync.plan.ddl.for_target import plan_schema_change
from pydbsync.plan.ddl.session import depends_on, sql_mode, variables
from pydbsync.plan.ddl.statement import parse_statement

MYSQL, MARIADB = StatementServer("mysql", (9, 7, 0)), StatementServer("mariadb", (10, 11, 6))


def change(sql: str, session: SessionSettings | None = None, *, was: str = "int", now: str = "int") -> SchemaChange:
    """A message whose table has a column `c` of these types before and after."""

    def described(kind: str) -> msgspec.Raw:
        column = {"name": "c", "type": kind}
        return msgspec.Raw(msgspec.json.encode({"database": "d", "table": "t", "columns": [column]}))

    kind = "database-create" if "DATABASE" in sql else "table-alter"
    return SchemaChange(kind, "d", "t", 5, sql, old=described(was), def_=described(now), session=session)  # type: ignore[arg-type]


DEPENDS = {
    ("CREATE DATABASE d", "", ""): {"collation_server"},
    ("CREATE DATABASE d COLLATE utf8mb4_bin", "", ""): set(),
    ("CREATE TABLE t (c TIMESTAMP)", "", "timestamp"): {"explicit_defaults_for_timestamp"},
    ("CREATE TABLE t (c TIMESTAMP NOT NULL)", "", "timestamp"): {"explicit_defaults_for_timestamp"},
    ("CREATE TABLE t (c TIMESTAMP NULL, k INT)", "", "timestamp"): set(),
    ("CREATE TABLE t (c TIMESTAMP NOT NULL DEFAULT CURRENT_TIMESTAMP)", "", "timestamp"): set(),
    ("CREATE TABLE t (c TIMESTAMP NULL DEFAULT '2024-01-01')", "", "timestamp"): {"time_zone"},
    ("ALTER TABLE t MODIFY c TIMESTAMP NULL", "datetime", "timestamp"): {"time_zone"},
    ("ALTER TABLE t CHANGE c c DATETIME", "timestamp", "datetime"): {"time_zone"},
    ("ALTER TABLE t MODIFY c DATETIME(3)", "datetime", "datetime"): set(),
    ("ALTER TABLE t MODIFY c VARCHAR(30)", "timestamp", "varchar"): {"time_zone"},
    ("ALTER TABLE t MODIFY c TIMESTAMP NULL", "bigint", "timestamp"): {"time_zone"},
    ("ALTER TABLE t ALTER c SET DEFAULT '2024-01-01'", "timestamp", "timestamp"): {"time_zone"},
    ("ALTER TABLE t ADD c DATETIME DEFAULT CURRENT_TIMESTAMP", "", "datetime"): {"time_zone"},
    ("CREATE TABLE t (c DATETIME DEFAULT CURRENT_TIMESTAMP)", "", "datetime"): set(),
    ("ALTER TABLE t ADD c INT AUTO_INCREMENT PRIMARY KEY", "", "int"): {"auto_increment_increment"},
    ("ALTER TABLE t ADD c SERIAL", "", "bigint"): {"auto_increment_increment"},
    ("ALTER TABLE t MODIFY c INT NOT NULL AUTO_INCREMENT", "int", "int"): {"auto_increment_increment"},
    ("CREATE TABLE t (c INT AUTO_INCREMENT PRIMARY KEY)", "", "int"): set(),
    ("ALTER TABLE t AUTO_INCREMENT = 5", "int", "int"): set(),
    ("ALTER TABLE t ADD c VARCHAR(9) AS (MONTHNAME(d)) STORED", "", "varchar"): {"lc_time_names"},
    ("ALTER TABLE t ADD c VARCHAR(9) DEFAULT (DATE_FORMAT(NOW(), '%M'))", "", "varchar"): {"lc_time_names"},
    ("CREATE TABLE t (c VARCHAR(9) AS (MONTHNAME(d)))", "", "varchar"): set(),
    ("CREATE TABLE t (d DATE, c INT AS (WEEK(d)))", "", "int"): {"default_week_format"},
    ("CREATE TABLE t (d DATE, c INT AS (WEEK(d, 3) + WEEK(LEAST(d, d), 1)))", "", "int"): set(),
    ("ALTER TABLE t ADD c DECIMAL(30,20) AS (a / b) STORED", "", "decimal"): {"div_precision_increment"},
    ("ALTER TABLE t ADD c VARCHAR(9) AS (CONCAT(a, '/'))", "", "varchar"): set(),
    ("ALTER TABLE t ADD g DATE AS (DATE(c)) STORED", "timestamp", "timestamp"): {"time_zone"},
    ("ALTER TABLE t ADD g DATE AS (DATE(c)) STORED", "datetime", "datetime"): set(),
    ("ALTER TABLE t ADD c BIGINT DEFAULT (UNIX_TIMESTAMP('2024-01-01'))", "", "bigint"): {"time_zone"},
    ("ALTER TABLE t ADD c REAL", "", "double"): {"sql_mode"},
    ("ALTER TABLE t ADD c INT AS (a || b)", "", "int"): {"sql_mode"},
    ("ALTER TABLE t ADD c VARCHAR(9) DEFAULT '||' COMMENT 'TIMESTAMP'", "", "varchar"): set(),
    ("CREATE TABLE t (a INT, c INT AS ('a' = 'A'))", "", "int"): {"collation_connection"},
    ("CREATE TABLE t (c INT, g INT AS (CAST(c AS CHAR) LIKE 'B%'))", "", "int"): {"collation_connection"},
    ("CREATE TABLE t (c INT, CHECK ('b' IN (CONCAT(c, 'B'))))", "", "int"): {"collation_connection"},
    ("ALTER TABLE t ADD CONSTRAINT k CHECK (CAST(c AS CHAR) NOT IN ('x', 'y'))", "int", "int"): {
        "collation_connection"
    },
    ("ALTER TABLE t ADD KEY k ((FIELD('a', 'A')))", "int", "int"): {"collation_connection"},
    ("ALTER TABLE t ALTER c SET DEFAULT (IF('a' = 'A', 1, 2))", "int", "int"): {"collation_connection"},
    ("CREATE TABLE t (c INT DEFAULT STRCMP('a', 'A'))", "", "int"): {"collation_connection"},
    # a column's own collation decides, or none
    ("CREATE TABLE t (c VARCHAR(9), CHECK (c IN ('a', 'b')))", "", "varchar"): set(),
    ("CREATE TABLE t (c JSON, g INT AS (JSON_VALUE(c, '$.a') = 'A'))", "", "json"): set(),
    ("CREATE TABLE t (c DATE, CHECK (c > '2020-01-01'))", "", "date"): set(),
    ("CREATE TABLE t (c INT, g VARCHAR(9) AS (IF(c > 0, 'pos', 'neg')))", "", "int"): set(),
    ("CREATE TABLE t (c ENUM('a', 'A') DEFAULT 'a' COMMENT 'x = ''a')", "", "enum"): set(),
}


@pytest.mark.parametrize("case", DEPENDS)
def test_what_a_statement_depends_on(case: tuple[str, str, str]) -> None:
    sql, was, now = case
    assert depends_on(parse_statement(sql), change(sql, was=was or "int", now=now or "int")) == DEPENDS[case]


def test_a_mode_of_the_source_is_one_of_the_target() -> None:
    assert sql_mode(None, MYSQL, MYSQL) == "NO_AUTO_VALUE_ON_ZERO"
    assert sql_mode("", None, MYSQL) == ""
    assert sql_mode("PIPES_AS_CONCAT,NO_ENGINE_SUBSTITUTION,ANSI_QUOTES,ANSI", MYSQL, MYSQL) == "PIPES_AS_CONCAT"
    # MySQL rounds fractions, MariaDB cuts them
    assert sql_mode("", MYSQL, MARIADB) == "TIME_ROUND_FRACTIONAL"
    assert sql_mode("TIME_TRUNCATE_FRACTIONAL", MYSQL, MARIADB) == ""
    assert sql_mode("", MARIADB, MYSQL) == "TIME_TRUNCATE_FRACTIONAL"
    assert sql_mode("TIME_ROUND_FRACTIONAL", MARIADB, MYSQL) == ""
    assert sql_mode("ORACLE", MARIADB, MARIADB) == "ORACLE"
    with pytest.raises(PlanError, match="ORACLE"):
        sql_mode("ORACLE", MARIADB, MYSQL)


def found(sql: str, session: SessionSettings | None, *, told: bool, **types: str) -> dict[str, object]:
    """The variables for a session that the message tells, or that stands for it."""
    message = change(sql, session if told else None, **types)
    listed = variables(parse_statement(sql), message, session=session, source=MYSQL, target=MYSQL)
    return {variable.name: variable.value for variable in listed}


def test_the_time_zone_is_set_where_the_statement_has_used_it() -> None:
    zone = SessionSettings(time_zone="Europe/Berlin")
    assert found("ALTER TABLE t ADD c INT", zone, told=True)["time_zone"] == "Europe/Berlin"
    assert "time_zone" not in found("ALTER TABLE t ADD c INT", zone, told=False)
    modify = "ALTER TABLE t MODIFY c TIMESTAMP NULL"
    assert found(modify, zone, told=False, was="datetime", now="timestamp")["time_zone"] == "Europe/Berlin"
    for system, meant in (("UTC", "+00:00"), ("+05:30", "+05:30"), ("Asia/Shanghai", "Asia/Shanghai")):
        of_system = SessionSettings(time_zone="SYSTEM", system_time_zone=system)
        assert found(modify, of_system, told=True)["time_zone"] == meant
    for letters in (None, "CST", "CEST", "EST", "GMT"):  # of a London that was started in winter
        with pytest.raises(PlanError, match="time zone of the source's system"):
            found(modify, SessionSettings(time_zone="SYSTEM", system_time_zone=letters), told=True)


MOMENT = 1720000000  # in summer


@pytest.mark.parametrize(
    ("sql", "was", "otherwise"),
    [
        ("ALTER TABLE t ADD KEY (c)", "timestamp", "+02:00"),  # the binlog tells a zone that only defaults have used
        ("ALTER TABLE t ADD d DATETIME DEFAULT CURRENT_TIMESTAMP", "int", "+02:00"),
        ("CREATE TABLE t (c TIMESTAMP(6) NULL DEFAULT CURRENT_TIMESTAMP(6) ON UPDATE NOW(6))", "", "+02:00"),
        ("CREATE TABLE t (c TIMESTAMP DEFAULT '0000-00-00 00:00:00')", "", "+02:00"),
        ("ALTER TABLE t MODIFY c DATETIME", "timestamp", ""),
        ("ALTER TABLE t MODIFY c VARCHAR(30)", "timestamp", ""),
        ("ALTER TABLE t MODIFY c TIMESTAMP NULL", "bigint", ""),
        ("ALTER TABLE t ADD d TIMESTAMP DEFAULT (NOW() + INTERVAL 90 DAY)", "int", ""),
        ("ALTER TABLE t ADD d TIMESTAMP NOT NULL DEFAULT 20240701000000", "int", ""),
        ("ALTER TABLE t ADD d DATETIME DEFAULT (c)", "timestamp", ""),
        ("ALTER TABLE t ALTER c SET DEFAULT '2024-07-01 00:00:00'", "timestamp", ""),
        ("ALTER TABLE t ALTER c SET DEFAULT '2024-07-01 00:00:00'", "datetime", "+02:00"),
        ("ALTER TABLE t ADD PARTITION (PARTITION p VALUES LESS THAN (UNIX_TIMESTAMP('2024-07-01')))", "timestamp", ""),
    ],
)
def test_a_zone_that_the_target_does_not_know_is_an_offset_where_only_the_clock_is_needed(
    sql: str, was: str, otherwise: str
) -> None:
    zone = SessionSettings(time_zone="Europe/Berlin", timestamp=MOMENT)
    now = sql.split(" c ")[1].split(maxsplit=1)[0].lower() if "MODIFY" in sql else was or "timestamp"
    message = change(sql, zone, was=was, now=now)
    listed = variables(parse_statement(sql), message, session=zone, source=None, target=MYSQL)
    (found,) = [variable for variable in listed if variable.name == "time_zone"]
    assert (found.value, found.otherwise) == ("Europe/Berlin", otherwise)


def test_rows_are_numbered_by_the_steps_of_the_session() -> None:
    """The binlog tells steps that are not 1, and no others."""
    numbers = "ALTER TABLE t ADD c INT AUTO_INCREMENT PRIMARY KEY"
    steps = ("auto_increment_increment", "auto_increment_offset")
    told = SessionSettings(auto_increment_increment=10, auto_increment_offset=3)

    def set_for(session: SessionSettings | None, *, is_told: bool) -> list[object]:
        values = found(numbers, session, told=is_told)
        return [values[step] for step in steps if step in values]

    assert set_for(told, is_told=True) == set_for(told, is_told=False) == [10, 3]
    assert set_for(SessionSettings(sql_mode=""), is_told=True) == [1, 1]
    assert set_for(None, is_told=False) == []  # then the target's own hold, and that is said


def test_literals_are_compared_as_in_the_session() -> None:
    """By the target's collation of the same meaning; one that it lacks matters just where the statement compares."""
    compares, plain = "ALTER TABLE t ADD c INT AS ('a' = 'A')", "ALTER TABLE t ADD c INT"
    latin, newer = (SessionSettings(collation_connection=name) for name in ("latin1_bin", "utf8mb4_0900_ai_ci"))
    assert found(plain, latin, told=True)["collation_connection"] == "latin1_bin"
    assert found(compares, latin, told=False)["collation_connection"] == "latin1_bin"
    assert "collation_connection" not in found(plain, latin, told=False)  # of sessions whose client says nothing

    def on_mariadb(sql: str, *version: int) -> list[object]:
        target = StatementServer("mariadb", version)
        listed = variables(parse_statement(sql), change(sql, newer), session=newer, source=MYSQL, target=target)
        return [each.value for each in listed if each.name == "collation_connection"]

    assert on_mariadb(compares, 10, 11, 6) == ["utf8mb4_uca1400_nopad_ai_ci"]
    assert on_mariadb(plain, 10, 6, 0) == []
    with pytest.raises(PlanError, match="no collation that compares as utf8mb4_0900_ai_ci"):
        on_mariadb(compares, 10, 6, 0)


def test_the_moment_has_its_fraction_where_it_is_known() -> None:
    assert found("ALTER TABLE t ADD c INT", None, told=True)["timestamp"] == 5
    assert found("ALTER TABLE t ADD c INT", SessionSettings(timestamp=5.25), told=True)["timestamp"] == 5.25


WRITTEN = {
    (
        "CREATE DATABASE d",
        "collation_server=utf8mb4_bin",
    ): "CREATE DATABASE d CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    ("CREATE DATABASE d CHARACTER SET utf8mb4", "default_collation_for_utf8mb4=utf8mb4_general_ci"): (
        "CREATE DATABASE d CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
    ),
    ("ALTER TABLE t ADD c TEXT CHARSET utf8mb4", "default_collation_for_utf8mb4=utf8mb4_general_ci"): (
        "ALTER TABLE t ADD c TEXT CHARSET utf8mb4 COLLATE utf8mb4_general_ci"
    ),
    ("ALTER TABLE t ADD c TEXT CHARSET utf8mb4", "default_collation_for_utf8mb4=utf8mb4_0900_ai_ci"): (
        "ALTER TABLE t ADD c TEXT CHARSET utf8mb4"
    ),
}


@pytest.mark.parametrize("source", [MYSQL, None])
@pytest.mark.parametrize("case", WRITTEN)
def test_collations_that_the_session_gives_are_written_out(
    case: tuple[str, str], source: StatementServer | None
) -> None:
    sql, setting = case
    session = SessionSettings(**dict([setting.split("=")]))  # type: ignore[arg-type]
    planned = plan_schema_change(
        change(sql, session), rename=str, in_scope=lambda *_: True, target=MYSQL, source=source
    )
    assert planned is not None
    assert planned.sql == WRITTEN[case]
    assert planned.untold == ()


TABLES = {  # (text, the table's character set at the source, the databases' collations there and here) → text
    ("CREATE TABLE t (c TEXT)", "utf8mb4", "utf8mb4_bin", "utf8mb4_0900_ai_ci"): (
        "CREATE TABLE t (c TEXT) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    ),
    ("CREATE TABLE t (c TEXT)ENGINE=InnoDB", "utf8mb4", "utf8mb4_bin", "utf8mb4_0900_ai_ci"): (
        "CREATE TABLE t (c TEXT) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE=InnoDB"
    ),
    ("CREATE TABLE t (c INT) ENGINE=InnoDB PARTITION BY HASH (c)", "utf8mb4", "utf8mb4_bin", "latin1_bin"): (
        "CREATE TABLE t (c INT) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin ENGINE=InnoDB PARTITION BY HASH (c)"
    ),
    ("CREATE TABLE t (c TEXT COLLATE latin1_bin) -- x", "utf8", "utf8mb3_bin", "latin1_bin"): (
        "CREATE TABLE t (c TEXT COLLATE latin1_bin) CHARACTER SET utf8mb3 COLLATE utf8mb3_bin -- x"
    ),
    # altered since, or not known: the message tells the character set
    ("CREATE TABLE t (c TEXT)", "latin1", "utf8mb4_bin", "utf8mb4_bin"): "CREATE TABLE t (c TEXT) CHARACTER SET latin1",
    ("CREATE TABLE t (c TEXT)", "utf8mb4", "", "latin1_bin"): (
        "CREATE TABLE t (c TEXT) CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_ai_ci"
    ),
    ("CREATE TABLE t (c TEXT)", "utf8mb4", "", "utf8mb4_bin"): "CREATE TABLE t (c TEXT)",
    ("CREATE TABLE t (c TEXT)", "", "", "utf8mb4_bin"): "CREATE TABLE t (c TEXT)",
    ("CREATE TABLE t (c TEXT)", "utf8mb4", "utf8mb4_bin", ""): "CREATE TABLE t (c TEXT)",
    ("CREATE TABLE t (c TEXT)", "utf8mb4", "utf8mb4_bin", "utf8mb4_bin"): "CREATE TABLE t (c TEXT)",
    # says it itself
    ("CREATE TABLE t LIKE u", "utf8mb4", "utf8mb4_bin", "latin1_bin"): "CREATE TABLE t LIKE u",
    ("CREATE TABLE t (c TEXT) DEFAULT CHARSET latin1", "latin1", "utf8mb4_bin", "utf8mb4_bin"): (
        "CREATE TABLE t (c TEXT) DEFAULT CHARSET latin1"
    ),
    ("CREATE TABLE t (c TEXT) COLLATE=latin1_bin", "latin1", "utf8mb4_bin", "utf8mb4_bin"): (
        "CREATE TABLE t (c TEXT) COLLATE=latin1_bin"
    ),
}


@pytest.mark.parametrize("case", TABLES)
def test_a_table_gets_the_collation_of_its_database_at_the_source(case: tuple[str, str, str, str]) -> None:
    sql, charset, there, here = case
    described = msgspec.Raw(msgspec.json.encode({"database": "d", "table": "t", "charset": charset or None}))
    planned = plan_schema_change(
        msgspec.structs.replace(change(sql), def_=described),
        rename=str,
        in_scope=lambda *_: True,
        source=MYSQL._replace(collation=there or None),
        target=MYSQL._replace(collation=here or None),
    )
    assert planned is not None
    assert planned.sql == TABLES[case]


def test_what_nobody_tells_is_named() -> None:
    planned = plan_schema_change(
        change("CREATE TABLE t (c TIMESTAMP)"), rename=str, in_scope=lambda *_: True, target=MYSQL, source=MYSQL
    )
    assert planned is not None
    assert planned.untold == ("explicit_defaults_for_timestamp",)
