"""What a statement in the binlog is."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from itertools import islice, pairwise

import pytest

from pydbsync.model import Column, TableName
from pydbsync.ops.capture.binlog.query import parse_query
from pydbsync.ops.capture.history.follow import FollowedSchema, Snapshot, StatementSession
from pydbsync.ops.capture.history.schema import TableDef
from pydbsync.ops.capture.history.spelling import ANSI_QUOTES, NO_BACKSLASH_ESCAPES, name_its_database, spell_by_default
from pydbsync.plan.ddl.lexer import Brand, read_tokens
from pydbsync.plan.ddl.recognise import StatementKind, only_written, read_sequences, read_xa_prepare, recognise
from pydbsync.plan.ddl.statement import parse_statement
from tests.matrices import LONG

KINDS: list[tuple[str, StatementKind]] = [
    ("CREATE TABLE t (a INT)", "ddl"), ("ALTER TABLE d.t ADD b INT", "ddl"), ("alter ignore table t drop a", "ddl"),
    ("DROP TABLE IF EXISTS t, u", "ddl"), ("create   table\n\t`lower`(a int)", "ddl"), ("TRUNCATE t", "ddl"),
    ("TRUNCATE TABLE d.t", "ddl"), ("CREATE OR REPLACE TABLE t (a INT)", "ddl"), ("RENAME TABLES a TO b", "ddl"),
    ("CREATE TEMPORARY TABLE t (a INT)", "ddl"), ("DROP TEMPORARY TABLE t", "ddl"),
    ("CREATE UNIQUE INDEX i ON t (a)", "ddl"), ("CREATE FULLTEXT INDEX i ON t (a)", "ddl"),
    ("DROP INDEX i ON t", "ddl"),
    ("RENAME TABLE a TO b", "ddl"), ("DROP SCHEMA IF EXISTS d", "ddl"), ("ALTER DATABASE d CHARSET latin1", "ddl"),
    ("CREATE DATABASE IF NOT EXISTS d", "ddl"), ("ALTER ONLINE TABLE t ADD b INT;", "ddl"),
    ("CREATE DEFINER=`a`@`%` VIEW v AS SELECT 1", "nothing"),
    ("CREATE ALGORITHM=MERGE DEFINER=table_maker@my.host SQL SECURITY DEFINER VIEW v AS SELECT 1", "nothing"),
    ("CREATE OR REPLACE DEFINER=CURRENT_USER() PROCEDURE p() DROP TABLE t", "nothing"),
    ("CREATE TRIGGER t BEFORE INSERT ON x FOR EACH ROW SET @a=1", "nothing"), ("DROP VIEW v", "nothing"),
    ("CREATE DEFINER = 'index'@'table' FUNCTION f() RETURNS INT RETURN 1", "nothing"),
    ("CREATE AGGREGATE FUNCTION f RETURNS INT SONAME 'x.so'", "nothing"), ("DROP EVENT e", "nothing"),
    ("CREATE SPATIAL REFERENCE SYSTEM 4120 NAME 'x'", "nothing"), ("ALTER USER u IDENTIFIED BY 'table'", "nothing"),
    ("GRANT ALL ON *.* TO u", "nothing"), ("ANALYZE LOCAL TABLE t", "nothing"), ("FLUSH TABLES", "nothing"),
    ("RENAME USER a TO b", "nothing"), ("SET PASSWORD FOR u = 'x'", "nothing"), ("SET DEFAULT ROLE r TO u", "nothing"),
    ("RELEASE SAVEPOINT a", "nothing"), ("OPTIMIZE TABLE t", "nothing"), ("CREATE TEMPORARY SEQUENCE s", "nothing"),
    ("CREATE SEQUENCE s", "sequence"), ("DROP SEQUENCE s", "sequence"), ("ALTER SEQUENCE s RESTART 5", "sequence"),
    ("INSERT INTO t VALUES (1)", "rows"), ("UPDATE t SET a = 1", "rows"), ("DELETE FROM `d`.`t` WHERE a = 1", "rows"),
    ("REPLACE t SELECT 1", "rows"), ("WITH x AS (SELECT 1) UPDATE t SET a = 1", "rows"),
    ("LOAD DATA INFILE 'x'", "rows"),
    ("SELECT `d`.`f`(1)", "rows"), ("DO f(2)", "rows"), ("SET @x = f(3)", "rows"), ("CALL p()", "rows"),
    ("ANALYZE FORMAT=JSON UPDATE t SET a = 1", "rows"), ("DELETE FROM t", "rows"), ("DELETE FROM d.t", "emptied"),
    ("BEGIN", "begin"), ("START TRANSACTION", "begin"), ("COMMIT", "commit"), ("ROLLBACK", "rollback"),
    ("ROLLBACK WORK TO SAVEPOINT a", "rollback-to"), ("ROLLBACK TO `a`", "rollback-to"), ("SAVEPOINT `a`", "savepoint"),
    ("XA COMMIT X'61',X'',1", "xa"), ("XA START X'61'", "xa"),
    ("FROBNICATE TABLE t", "unknown"), ("CREATE GADGET g", "unknown"), ("(SELECT f())", "unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("sql", "kind"), KINDS)
def test_the_tokens_tell_what_a_statement_is(sql: str, kind: StatementKind) -> None:
    assert recognise(sql, "mysql").kind == kind
    assert recognise(sql, "mariadb").kind == kind


@pytest.mark.parametrize("body", ["$$ // don't $$", '$js$ `x${1} " /* $$ $js$', "$$ # ' $$ COMMENT 'it''s'"])
@pytest.mark.parametrize("head", ["LIBRARY l", "FUNCTION f() RETURNS INT"])
def test_the_text_of_another_language_has_quotes_of_its_own(head: str, body: str) -> None:
    assert recognise(f"CREATE {head} LANGUAGE JAVASCRIPT AS {body}", "mysql").kind == "nothing"
    assert recognise("CREATE TABLE t ($a$ INT, `AS $$` INT, b$$ INT AS (1))", "mysql").kind == "ddl"


GAPS = [
    "/**/", "/***/", "/* deploy 7 */", "/* it's */", '/* " ` */', "/* ; */", "\n", "\t \r\n", " -- c\n", " --\n",
    " # it's\n",
    "/*!*/", "/*!50000 */", "/*!50000*/", "/* a *//* b */", "/*!50000 *//**/", "/*M!100000 */", "/* CREATE VIEW v */",
    "/* ALTER TABLE t */", "/* SET STATEMENT a=1 FOR */",
]  # fmt: skip


SHARES = pytest.mark.parametrize("every", [7, pytest.param(1, marks=LONG)], ids=["a part", "all"])
"""Each comment and each gap is in the part too, with some statement."""


def with_gaps(sql: str, brand: Brand) -> Iterator[str]:
    """The statement with each comment and each kind of space in each of its gaps, at its ends too, and in all."""
    tokens = read_tokens(sql, brand=brand).tokens
    ends = [0, *(token.end for token in tokens)]
    for gap in GAPS:
        for end in ends:
            yield f"{sql[:end]}{gap}{sql[end:]}"
        yield gap.join(sql[start:end] for start, end in pairwise([*ends, len(sql)])) + gap


@SHARES
@pytest.mark.parametrize("brand", ["mysql", "mariadb"])
def test_comments_in_any_gap_change_nothing(brand: Brand, every: int) -> None:
    for number, (sql, kind) in enumerate(KINDS):
        plain = [(token.kind, token.text) for token in recognise(sql, brand).tokens]
        for spaced in islice(with_gaps(sql, brand), number % every, None, every):
            found = recognise(spaced, brand)
            assert (found.kind, [(token.kind, token.text) for token in found.tokens]) == (kind, plain), spaced


@pytest.mark.parametrize("brand", ["mysql", "mariadb"])
def test_words_in_version_comments_are_words(brand: Brand) -> None:
    for sql, kind in KINDS:
        tokens = read_tokens(sql, brand=brand).tokens
        for first in range(len(tokens)):
            for last in range(first, len(tokens)):
                start, end = tokens[first].start, tokens[last].end
                spaced = f"{sql[:start]} /*!50000 {sql[start:end]} */ {sql[end:]}"
                assert recognise(spaced, brand).kind == kind, spaced


@SHARES
@pytest.mark.parametrize("brand", ["mysql", "mariadb"])
def test_ddl_with_comments_is_followed_as_without(brand: Brand, every: int) -> None:
    name = TableName("d", "t")
    start = Snapshot(
        (TableDef(name, "utf8mb4", tuple(Column(column, "int") for column in "abc"), ("a",)),), (("d", "utf8mb4"),)
    )

    def followed(sql: str) -> FollowedSchema:
        schema = FollowedSchema(start, brand=brand)
        schema.apply(parse_statement(recognise(sql, brand).sql, brand=brand), StatementSession("d"))
        return schema

    for number, sql in enumerate((
        "ALTER TABLE d.t MODIFY c BIGINT AFTER a", "ALTER TABLE t ADD COLUMN (x ENUM('a','b'), y INT), DROP b",
        "RENAME TABLE d.t TO t2", "DROP TABLE IF EXISTS t",
        "CREATE TABLE n (a INT PRIMARY KEY, b TEXT) CHARSET = latin1",
        "ALTER DATABASE d DEFAULT CHARACTER SET = latin1", "ALTER TABLE t CHANGE COLUMN b bb INT UNSIGNED FIRST",
        "CREATE TABLE n LIKE d.t", "ALTER TABLE t DROP PRIMARY KEY, ADD PRIMARY KEY (b,c), RENAME TO u",
    )):  # fmt: skip
        plain = followed(sql).snapshot()
        for spaced in islice(with_gaps(sql, brand), number % every, None, every):
            assert followed(spaced).snapshot() == plain, spaced


@pytest.mark.parametrize(
    "sql",
    [
        "SET STATEMENT max_statement_time=10 FOR ALTER TABLE t ADD a INT",
        "SET STATEMENT max_statement_time=10, sql_mode='FOR ALTER TABLE' FOR ALTER TABLE t ADD a INT",
        "SET STATEMENT max_statement_time=(SELECT 1) FOR ALTER TABLE t ADD a INT",
    ],
)
def test_a_statement_behind_set_statement_is_taken_alone(sql: str) -> None:
    assert recognise(sql, "mariadb")[:2] == ("ddl", "ALTER TABLE t ADD a INT")


@pytest.mark.parametrize("brand", ["mysql", "mariadb"])
def test_comments_around_set_statement_are_left(brand: Brand) -> None:
    plain = read_tokens("ALTER TABLE t ADD a INT").tokens
    for sql in with_gaps("SET STATEMENT a=1 FOR ALTER TABLE t ADD a INT", brand):
        found = recognise(sql, brand)
        assert found.kind == "ddl", sql
        assert [token.text for token in found.tokens] == [token.text for token in plain]


@pytest.mark.parametrize("sql", ["", "/* nothing */", "# Dummy event", "-- x", ";"])
def test_a_comment_alone_is_no_statement(sql: str) -> None:
    assert recognise(sql, "mariadb").kind == "nothing"


@pytest.mark.parametrize("sql", ["ALTER TABLE t ADD `a INT", "/* ALTER TABLE t", "SELECT 'x"])
def test_what_has_no_tokens_is_unknown(sql: str) -> None:
    assert recognise(sql, "mysql") == ("unknown", sql, (), "")


def test_a_memory_table_that_a_restart_emptied_is_truncated() -> None:
    found = recognise("DELETE FROM `d`.`a``b` /* generated by server */", "mariadb")
    assert found[:2] == ("emptied", "TRUNCATE TABLE `d`.`a``b`")


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("XA COMMIT X'61',X'7172',7", "x'61',x'7172',7"), ("xa rollback x'61', x'7172', 7", "x'61',x'7172',7"),
        ("XA COMMIT X'61',X'',1 ONE PHASE", "x'61',x'',1"), ("XA/**/COMMIT/**/'a'", "x'61',x'',1"),
        ("XA COMMIT 'a','qr'", "x'61',x'7172',1"), ("XA COMMIT 0x61", "x'61',x'',1"),
    ],
)  # fmt: skip
def test_an_xa_transaction_has_one_name_in_its_statement_and_in_its_event(sql: str, name: str) -> None:
    assert recognise(sql, "mysql").name == name
    event = b"\0" + struct.pack("<III", 7, 1, 2) + b"a" + b"qr"
    assert read_xa_prepare(event) == "x'61',x'7172',7"


@pytest.mark.parametrize(
    ("sql", "names"),
    [
        ("CREATE SEQUENCE s START WITH 5", ["d.s"]),
        ("CREATE OR REPLACE SEQUENCE IF NOT EXISTS `e`.`s`", ["e.s"]),
        ("DROP SEQUENCE IF EXISTS e.s, `t u`, d.v", ["e.s", "d.t u", "d.v"]),
        ("/* x */ DROP /*!50000 SEQUENCE */ s", ["d.s"]),
    ],
)
def test_sequences_are_told_by_their_names(sql: str, names: list[str]) -> None:
    assert list(map(str, read_sequences(recognise(sql, "mariadb").tokens, "d"))) == names


@pytest.mark.parametrize(
    ("sql", "name"),
    [
        ("INSERT INTO x VALUES (1, CONCAT('a', 'f('))", ("", "x")),
        ("INSERT /* y */ LOW_PRIORITY IGNORE x (i, j) SELECT COUNT(*), 1 FROM t WHERE i IN (1)", ("", "x")),
        ("INSERT x SELECT COUNT(*) FROM t WHERE i IN (1)", ("", "x")),
        ("REPLACE d.x SET i = 1", ("d", "x")),
        ("UPDATE x SET i = 6", ("", "x")), ("UPDATE x, t SET t.i = 6", None), ("UPDATE x JOIN t SET t.i = 6", None),
        ("DELETE FROM `d`.`x` WHERE i = 1", ("d", "x")), ("DELETE x, t FROM x JOIN t", None),
        ("DELETE FROM x USING x JOIN t", None), ("DELETE FROM x", ("", "x")),
        ("INSERT INTO x VALUES (f(1))", None), ("INSERT INTO x VALUES (o.count(1))", None),
        ("DELETE FROM x WHERE f (i)", None), ("SELECT f()", None), ("WITH a AS (SELECT 1) DELETE FROM x", None),
    ],
)  # fmt: skip
def test_which_table_alone_a_statement_writes_to(sql: str, name: tuple[str, str] | None) -> None:
    assert only_written(recognise(sql, "mariadb").tokens) == name


def test_a_query_event_tells_its_session() -> None:
    # CREATE DATABASE and BEGIN as MySQL 9.7 wrote them
    query = parse_query(
        b"\n\0\0\0\0\0\0\0\x03\0\0.\0\0\0\0\0\0\x01 \0\xa0E\0\0\0\0\x06\x03std\x04\xff\0\xff\0\xff\0\x0c\x01c_x\0"
        b"\x11\t\0\0\0\0\0\0\0\x12\xff\0\x14\0c_x\0create database c_x"
    )
    assert (query.thread_id, query.database, query.collation, query.raw) == (10, "c_x", 255, b"create database c_x")
    assert query.sql_mode == 0x45A00020
    assert not query.sql_mode & NO_BACKSLASH_ESCAPES


@pytest.mark.parametrize(
    ("sql", "mode", "spelled"),
    [
        ("DEFAULT 'C:\\new\\'", NO_BACKSLASH_ESCAPES, "DEFAULT 'C:\\\\new\\\\'"),
        ("'it''s \\' -- '\\'\n, `a\\b`", NO_BACKSLASH_ESCAPES, "'it''s \\\\' -- '\\'\n, `a\\b`"),
        ("/* '\\ */ 'x' /*!50000 '\\' */", NO_BACKSLASH_ESCAPES, "/* '\\ */ 'x' /*!50000 '\\\\' */"),
        ('"\\"', NO_BACKSLASH_ESCAPES, '"\\\\"'),
        ('"a""b`c" = \'"x"\' /* "y" */', ANSI_QUOTES, '`a"b``c` = \'"x"\' /* "y" */'),
        ("'\\'\"' \"t\"", ANSI_QUOTES, "'\\'\"' `t`"),
        ("\"a\\\" '\\'", ANSI_QUOTES | NO_BACKSLASH_ESCAPES, "`a\\` '\\\\'"),
        ("-- it's\n--\n'\\' --\v'\n", NO_BACKSLASH_ESCAPES, "-- it's\n--\n'\\\\' --\v'\n"),
        ("[a b] '[c]' /* [d] */ `[e]`", 1 << 10, "`a b` '[c]' /* [d] */ `[e]`"),
        ("[a]", 0, "[a]"),
        ("\"x\" 'a\\nb'", 0, "\"x\" 'a\\nb'"),
    ],
)
def test_a_statement_is_spelled_as_in_the_default_mode(sql: str, mode: int, spelled: str) -> None:
    assert spell_by_default(sql, mode) == spelled


@pytest.mark.parametrize(
    ("sql", "named"),
    [
        ("CREATE TABLE d2.x LIKE t", "CREATE TABLE d2.x LIKE `d1`.t"),
        ("CREATE TABLE x LIKE t", None),
        ("CREATE TABLE d1.x LIKE t", None),
        ("CREATE TABLE d2.x LIKE d3.t", None),
        ("RENAME TABLE d2.x TO y", None),
        (
            "ALTER TABLE d2.x EXCHANGE PARTITION p WITH TABLE t",
            "ALTER TABLE d2.x EXCHANGE PARTITION p WITH TABLE `d1`.t",
        ),
    ],
)
def test_a_name_that_nothing_places_gets_its_database(sql: str, named: str | None) -> None:
    assert name_its_database(parse_statement(sql), "d1") == (named or sql)
