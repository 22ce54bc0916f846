"""What two servers print of one definition, and what is a difference of it."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest

from pydbsync.config.settings import Settings
from pydbsync.ops.verify.run import Verification, VerifyOptions
from tests.comparing import LOG, QUICK, compare, on_both, run_sql, settings_for
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

COLUMNS = "a INT, b INT, s VARCHAR(99), d DATETIME, j JSON"
SAME = (
    ("INT", "(a + 1) * 2 - b % 3"), ("INT", "a - (b - 1)"), ("INT", "-a DIV (b + 1)"),
    ("BIGINT", "~a & 7 | b << 2 ^ 1"),
    ("VARCHAR(99)", r"CONCAT(s, 'it''s', '\\', '%')"), ("VARCHAR(99)", "UPPER(LOWER(SUBSTRING(s, 2, 3)))"),
    ("VARCHAR(99)", "TRIM(BOTH 'x' FROM s)"), ("INT", "CHAR_LENGTH(s) + LENGTH(s)"),
    ("VARCHAR(99)", "IF(a > b, 'x', 'y')"), ("INT", "CASE a WHEN 1 THEN 2 ELSE 3 END"), ("INT", "COALESCE(a, b, 0)"),
    ("INT", "a BETWEEN 1 AND 5 AND b NOT IN (1, 2)"), ("INT", r"s LIKE 'x\_%' OR s LIKE 'x|%' ESCAPE '|'"),
    ("INT", "s REGEXP '^x'"), ("INT", "a IS NULL OR b IS NOT NULL"), ("INT", "a <=> b XOR NOT (a AND b)"),
    ("INT", "YEAR(d) * 100 + MONTH(d)"), ("DATETIME", "d + INTERVAL 1 DAY"), ("VARCHAR(99)", "DATE_FORMAT(d, '%Y')"),
    ("INT", "EXTRACT(YEAR FROM d)"), ("BIGINT", "CAST(s AS SIGNED)"),
    ("VARCHAR(99)", "CAST(a AS CHAR(10) CHARACTER SET utf8mb4)"),
    ("VARCHAR(99)", "JSON_UNQUOTE(JSON_EXTRACT(j, '$.a.b[0]'))"), ("INT", "MOD(a, 3) + POWER(a, 2) + CEIL(a / 2)"),
    ("VARCHAR(99)", "SHA2(CONCAT_WS(',', s, a), 256)"), ("INT", "s COLLATE utf8mb4_bin = 'x'"),
)  # fmt: skip
"""Types and expressions that both brands take."""
OTHER = (
    ("(a + 1) * 2", "a + 1 * 2"), ("a - (b - 1)", "a - b - 1"), ("CONCAT(s, 'x')", "CONCAT(s, 'X')"),
    (r"CONCAT(s, '\\')", r"CONCAT(s, '\\\\')"), ("CONCAT(s, ' x')", "CONCAT(s, 'x ')"),
    ("CONCAT(s, '1')", "CONCAT(s, 1)"),
    ("CAST(a AS CHAR(10))", "CAST(a AS CHAR(11))"),
    ("SUBSTRING(s, 1, 2)", "SUBSTRING(s, 2, 1)"), ("a AND (b OR a)", "a AND b OR a"), ("s LIKE 'a%'", "s LIKE 'a_'"),
    ("d + INTERVAL 1 DAY", "d + INTERVAL 1 MONTH"), ("JSON_EXTRACT(j, '$.a')", "JSON_EXTRACT(j, '$.A')"),
    ("a IN (1, 2)", "a NOT IN (1, 2)"), ("COALESCE(a, b)", "COALESCE(b, a)"),
    ("TRIM(LEADING 'x' FROM s)", "TRIM(TRAILING 'x' FROM s)"),
)  # fmt: skip


@pytest.fixture
def shop(fresh_source: Endpoint, fresh_target: Endpoint) -> Settings:
    """The settings of a comparison of both ends' database `shop`."""
    for end in (fresh_source, fresh_target):
        end.query("CREATE DATABASE shop CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci")
    return settings_for(fresh_source, fresh_target)


def make(end: Endpoint, *statements: str, charset: str = "utf8mb4") -> None:
    """Run them in the database `shop`, as a client of a character set."""
    with end.connect(database="shop", charset=charset) as connection, connection.cursor() as cursor:
        for sql in statements:
            cursor.execute(sql)


def generated(expressions: Sequence[tuple[str, str]]) -> str:
    """CREATE TABLE of a table with a column made of each."""
    listed = [f"g{number} {kind} AS ({sql})" for number, (kind, sql) in enumerate(expressions)]
    return (
        f"CREATE TABLE t (id INT PRIMARY KEY, {COLUMNS}, {', '.join(listed)}, CONSTRAINT c CHECK (s <> 'it''s \\\\'))"
    )


def test_expressions_that_two_sessions_wrote_are_the_same(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    functional = ", KEY f ((CONCAT(s, 'x')))" if source.brand == "mysql" else ""
    more = f"CREATE TABLE u (id INT, s VARCHAR(9), n VARCHAR(99) DEFAULT (CONCAT('it''s', '\\\\')){functional})"
    make(source, generated(SAME), more, charset="latin1")
    make(target, generated(SAME), more)
    reports = compare(shop)
    assert [report.structure for report in reports.values()] == [[], []]


def test_expressions_that_differ_are_each_found(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    make(source, generated([("VARCHAR(999)", one) for one, _ in OTHER]), charset="latin1")
    make(target, generated([("VARCHAR(999)", other) for _, other in OTHER]))
    found = compare(shop)["shop.t"].structure
    assert [text.split(" ")[1] for text in found] == [f"g{number}" for number in range(len(OTHER))]


def test_expressions_of_two_brands_are_compared_where_both_print_them_alike(
    mysql_source: Endpoint, mariadb: Endpoint
) -> None:
    for end in (mysql_source, mariadb):
        end.drop_databases()
    defaults = (
        "i INT NOT NULL DEFAULT 5, n DECIMAL(9,2) DEFAULT 1.50, x VARCHAR(9) NOT NULL DEFAULT 'it''s', e TEXT,"
        " t TIMESTAMP(3) NOT NULL DEFAULT CURRENT_TIMESTAMP(3), y BINARY(4) DEFAULT 'ab', z BIT(3) DEFAULT b'101',"
        " f DOUBLE DEFAULT 1e3, u VARCHAR(99) DEFAULT (UUID()), w YEAR DEFAULT 2020, o ENUM('a','b') DEFAULT 'b'"
    )
    parts = "PARTITION BY RANGE (YEAR(d)) (PARTITION p VALUES LESS THAN (2020), PARTITION q VALUES LESS THAN MAXVALUE)"
    on_both(
        mysql_source, mariadb,
        f"{generated(SAME)};\nCREATE TABLE v ({defaults}, CHECK (i > 0));\nCREATE TABLE p (d DATE NOT NULL) {parts};\n"
        "CREATE TABLE o (a INT, j JSON, g VARCHAR(9) AS (JSON_VALUE(j, '$.a')), CHECK (JSON_CONTAINS(j, '1')))",
    )  # fmt: skip
    settings = settings_for(mysql_source, mariadb)
    whole = Verification(settings, VerifyOptions(settle=QUICK), stop=threading.Event(), log=LOG).run()
    assert whole.not_compared[-1].startswith("between MySQL and MariaDB: collations")
    assert [each.notes[1:] for each in whole.tables if each.target.table == "o"] == [[
        "not compared between MySQL and MariaDB: the expression of column g, json_value(`j`, '$.a' returning char(512))"
        " at the source, json_value(`j`, '$.a') at the target"
    ]]  # fmt: skip
    reports = {str(each.target): each for each in whole.tables}
    assert {name: report.structure for name, report in reports.items()} == {
        "shop.t": [], "shop.v": [], "shop.p": [], "shop.o": [],
    }  # fmt: skip
    run_sql(
        mariadb,
        "ALTER TABLE t MODIFY g0 INT AS ((a + 2) * 2 - b % 3);\nALTER TABLE t DROP CONSTRAINT c;\n"
        "ALTER TABLE t ADD CONSTRAINT c CHECK (s <> 'its');\nALTER TABLE v ALTER i SET DEFAULT 6;\n"
        "ALTER TABLE v ALTER x DROP DEFAULT;\nALTER TABLE p DROP PARTITION q",
        database="shop",
    )
    reports = compare(settings)
    assert reports["shop.t"].structure == [
        "column g0 is generated as (((`a` + 1) * 2) - (`b` % 3)) at the source, (((`a` + 2) * 2) - (`b` % 3)) at the"
        " target",
        r"CHECK constraint c is (`s` <> 'it\'s \\') at the source, (`s` <> 'its') at the target",
    ]
    assert reports["shop.v"].structure == [
        "column i is by default 5 at the source, 6 at the target",
        r"column x is by default 'it\'s' at the source, none at the target",
    ]
    assert [text[:50] for text in reports["shop.p"].structure] == ["the table is partitioned by RANGE (year(`d`)): p 2"]


def test_what_makes_no_row_another_is_told_and_counts_for_nothing(
    shop: Settings, source: Endpoint, target: Endpoint
) -> None:
    for end, word, engine, form, collation in (
        (source, "one", "InnoDB", "DYNAMIC", "utf8mb4_general_ci"), (target, "other", "MyISAM", "FIXED", "latin1_bin"),
    ):  # fmt: skip
        make(
            end,
            f"CREATE TABLE t (id INT PRIMARY KEY COMMENT '{word}', v VARCHAR(9) CHARACTER SET ascii, KEY v (v)"
            f" COMMENT '{word}') ENGINE={engine} ROW_FORMAT={form} COLLATE {collation} COMMENT '{word}'",
        )
    report = compare(shop)["shop.t"]
    assert (report.status, report.structure) == ("equal", [])
    (told,) = report.notes
    assert told.startswith("no difference of rows, and not counted as one: ")
    for what in (
        "the engine is 'InnoDB' at the source, 'MyISAM' at the target", "the row format is 'dynamic'",
        "later columns will have is 'utf8mb4_general_ci'", "the table's comment is 'one'", "comment of column id",
        "the comment of index v is 'one' at the source, 'other' at the target",
    ):  # fmt: skip
        assert what in told


@pytest.mark.mysql  # MariaDB's packages have no parser but the usual one
def test_what_cuts_texts_into_words_is_compared(shop: Settings, source: Endpoint, target: Endpoint) -> None:
    for end, parser in ((source, " WITH PARSER ngram"), (target, "")):
        make(end, f"CREATE TABLE t (id INT PRIMARY KEY, v TEXT, FULLTEXT KEY v (v){parser})")
    assert compare(shop)["shop.t"].structure == ["index v is (v) with parser ngram at the source, (v) at the target"]
