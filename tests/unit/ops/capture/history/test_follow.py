"""DDL as it changes what is known of the source's tables."""

from __future__ import annotations

import pytest

from pydbsync.errors import PlanError
from pydbsync.model import TableName
from pydbsync.ops.capture.history.follow import Delta, FollowedSchema, Snapshot, StatementSession
from pydbsync.ops.capture.history.schema import TableDef
from pydbsync.plan.ddl.lexer import Brand
from pydbsync.plan.ddl.statement import parse_statement
from tests.corpus import Case, cases, lossy_cases


def schema(*statements: str, brand: Brand = "mysql") -> FollowedSchema:
    """What is known behind the statements, run in database `d` (utf8mb4)."""
    followed = FollowedSchema(Snapshot(databases=(("d", "utf8mb4"), ("l", "latin1"))), brand=brand)
    for sql in statements:
        run(followed, sql)
    return followed


def run(followed: FollowedSchema, sql: str, database: str = "d") -> list[tuple[str, str, str | None]]:
    """Kind, database and table of each message."""
    messages, _ = followed.apply(parse_statement(sql, brand=followed.brand), StatementSession(database))
    return [(message.kind, message.database, message.table) for message in messages]


def table(followed: FollowedSchema, name: str = "t", database: str = "d") -> TableDef:
    return followed.tables[TableName(database, name)]


def names(followed: FollowedSchema) -> str:
    return ",".join(column.name for column in table(followed).columns)


def test_which_columns_are_generated_is_followed() -> None:
    followed = schema(
        "CREATE TABLE t (a INT DEFAULT (1 + 2), b INT AS (a + 1), c INT GENERATED ALWAYS AS (a) STORED CHECK (c > 0),"
        " s TIMESTAMP(6) GENERATED ALWAYS AS ROW START, e TIMESTAMP(6) AS ROW END, PERIOD FOR SYSTEM_TIME (s, e),"
        " `as` INT) WITH SYSTEM VERSIONING",
        "ALTER TABLE t MODIFY b INT, ADD d INT AS (a) PERSISTENT AFTER a",
        brand="mariadb",
    )
    run(followed, "CREATE TABLE n LIKE t")
    for name in ("t", "n"):
        columns = table(followed, name).columns
        assert [column.name for column in columns if column.generated] == ["d", "c"]


@pytest.mark.parametrize(
    ("definition", "kind"),
    [
        ("INT", "int"), ("INTEGER UNSIGNED", "int unsigned"), ("INT(4) ZEROFILL", "int unsigned"), ("INT1", "tinyint"),
        ("BOOL", "tinyint"), ("MIDDLEINT", "mediumint"), ("SERIAL", "bigint unsigned"), ("DEC(4,1)", "decimal"),
        ("FIXED(4,1) UNSIGNED", "decimal"), ("FLOAT(24)", "float"), ("FLOAT(25)", "double"), ("FLOAT(7,3)", "float"),
        ("DOUBLE PRECISION", "double"), ("REAL", "double"), ("FLOAT4", "float"), ("BIT(3)", "bit"),
        ("TIME(3)", "time 3"), ("DATETIME", "datetime 0"), ("TIMESTAMP(6) NULL", "timestamp 6"), ("YEAR(4)", "year"),
        ("CHAR(3)", "char utf8mb4"), ("CHARACTER VARYING(5)", "varchar utf8mb4"), ("NATIONAL CHAR(3)", "char utf8"),
        ("NATIONAL CHARACTER VARYING(3)", "varchar utf8"), ("NVARCHAR(3)", "varchar utf8"),
        ("NCHAR VARCHAR(3)", "varchar utf8"),
        ("VARCHAR(5) CHARACTER SET latin1", "varchar latin1"), ("VARCHAR(5) CHARSET 'gbk'", "varchar gbk"),
        ("VARCHAR(5) COLLATE latin1_bin", "varchar latin1"), ("VARCHAR(5) ASCII", "varchar latin1"),
        ("CHAR(5) UNICODE", "char ucs2"), ("CHAR(5) BYTE", "char binary"), ("VARCHAR(5) BINARY", "varchar utf8mb4"),
        ("VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_bin NOT NULL DEFAULT 'latin1'", "varchar utf8mb4"),
        ("VARBINARY(5)", "varbinary"), ("BLOB", "blob"), ("BLOB(200)", "tinyblob"), ("BLOB(70000)", "mediumblob"),
        ("TEXT(60)", "tinytext utf8mb4"), ("TEXT(70)", "text utf8mb4"), ("TEXT(200) CHARSET latin1", "tinytext latin1"),
        ("LONG", "mediumtext utf8mb4"), ("LONG VARCHAR", "mediumtext utf8mb4"), ("LONG VARBINARY", "mediumblob"),
        ("JSON", "json"), ("POINT NOT NULL SRID 4326", "point"), ("VECTOR(3)", "vector"), ("UUID", "uuid"),
        ("INT AS (a + CAST('x' AS UNSIGNED)) STORED", "int"), ("INT DEFAULT (1 + (2 * 3)) COMMENT 'UNSIGNED'", "int"),
        ("ENUM('a','it''s','b\\\\c', 'pad  ')", "enum a|it's|b\\c|pad"), ("SET('x,y','')", "set x,y|"),
    ],
)  # fmt: skip
def test_a_column_is_what_the_server_makes_of_its_definition(definition: str, kind: str) -> None:
    (column,) = table(schema(f"CREATE TABLE t (c {definition})")).columns
    shown = [column.kind]
    if column.unsigned:
        shown.append("unsigned")
    if column.kind in ("time", "datetime", "timestamp"):
        shown.append(str(column.digits))
    if column.labels:
        shown.append("|".join(column.labels))
    elif column.charset is not None and column.kind != "json":
        shown.append(column.charset)
    assert " ".join(shown) == kind


@pytest.mark.parametrize(
    ("sql", "key"),
    [
        ("CREATE TABLE t (a INT PRIMARY KEY, b INT)", ("a",)),
        ("CREATE TABLE t (a INT KEY, b INT)", ("a",)),
        ("CREATE TABLE t (a INT UNIQUE KEY, b INT)", ()),
        ("CREATE TABLE t (a INT NOT NULL UNIQUE, b INT COMMENT 'PRIMARY KEY')", ()),
        ("CREATE TABLE t (Aa INT, b INT, PRIMARY KEY (`b`, aA))", ("b", "Aa")),
        ("CREATE TABLE t (a INT, b INT, CONSTRAINT x PRIMARY KEY USING BTREE (b DESC))", ("b",)),
        ("CREATE TABLE t (a VARCHAR(9), b INT, CONSTRAINT PRIMARY KEY (a(3)))", ("a",)),
        ("CREATE TABLE t (a INT, b INT, UNIQUE KEY (a), KEY (b))", ()),
    ],
)
def test_the_primary_key_is_found_wherever_it_stands(sql: str, key: tuple[str, ...]) -> None:
    assert table(schema(sql)).primary_key == key


@pytest.mark.parametrize(
    ("options", "charset"),
    [
        ("", "utf8mb4"), ("CHARSET latin1", "latin1"), ("DEFAULT CHARACTER SET = gbk ENGINE=InnoDB", "gbk"),
        ("COLLATE utf8mb3_bin", "utf8mb3"), ("CHARSET latin1 COLLATE latin1_bin", "latin1"),
        ("COMMENT='CHARSET latin1'", "utf8mb4"), ("CHARSET=DEFAULT", "utf8mb4"),
        ("/*!40101 CHARSET=latin1 */", "latin1"),
        ("PARTITION BY LIST COLUMNS (v) (PARTITION p VALUES IN (_latin1 'x' COLLATE latin1_bin))", "utf8mb4"),
    ],
)  # fmt: skip
def test_the_table_has_the_character_set_of_its_options_or_of_its_database(options: str, charset: str) -> None:
    made = table(schema(f"CREATE TABLE t (v VARCHAR(9)) {options}"))
    assert (made.charset, made.columns[0].charset) == (charset, charset)


def test_a_table_takes_the_character_set_of_the_database_it_is_in() -> None:
    assert table(schema("CREATE TABLE l.t (v TEXT)"), database="l").columns[0].charset == "latin1"
    followed = schema("ALTER DATABASE l CHARACTER SET gbk", "CREATE TABLE l.t (v TEXT)")
    assert table(followed, database="l").columns[0].charset == "gbk"


@pytest.mark.parametrize(
    ("clauses", "columns"),
    [
        ("ADD d INT", "a,b,c,d"),
        ("ADD COLUMN d INT FIRST", "d,a,b,c"),
        ("ADD d INT AFTER a, ADD e INT AFTER d", "a,d,e,b,c"),
        ("ADD d INT FIRST, ADD e INT FIRST", "e,d,a,b,c"),
        ("ADD COLUMN (d INT, e INT, KEY (d))", "a,b,c,d,e"),
        ("ADD d INT FIRST, MODIFY b INT FIRST", "b,d,a,c"),
        ("MODIFY b INT FIRST, ADD d INT FIRST", "d,b,a,c"),
        ("DROP b", "a,c"),
        ("DROP COLUMN b, ADD b INT", "a,c,b"),
        ("MODIFY COLUMN c INT AFTER a", "a,c,b"),
        ("CHANGE b x INT", "a,x,c"),
        ("CHANGE a b INT, CHANGE b a INT", "b,a,c"),
        ("CHANGE b x INT FIRST, ADD y INT AFTER x", "x,y,a,c"),
        ("RENAME COLUMN a TO b, RENAME COLUMN b TO a", "b,a,c"),
        ("ADD KEY (a), ADD UNIQUE (b), ADD CHECK (c > 0), ADD CONSTRAINT f FOREIGN KEY (a) REFERENCES t (b)", "a,b,c"),
        ("DROP KEY k, DROP FOREIGN KEY f, DROP CHECK c, DROP CONSTRAINT d, DROP INDEX b", "a,b,c"),
        ("ALTER a SET DEFAULT 5, ALTER COLUMN b DROP DEFAULT", "a,b,c"),
        ("ENGINE=InnoDB, COMMENT='ADD z INT', AUTO_INCREMENT=5, ORDER BY a", "a,b,c"),
        ("ADD PARTITION (PARTITION p2 VALUES LESS THAN (5))", "a,b,c"),
        ("DROP PARTITION p1, ALGORITHM=INPLACE, LOCK=NONE", "a,b,c"),
    ],
)
def test_alter_table_moves_columns_as_the_server_does(clauses: str, columns: str) -> None:
    followed = schema("CREATE TABLE t (a INT, b INT, c INT)", f"ALTER TABLE t {clauses}")
    assert names(followed) == columns


@pytest.mark.parametrize(
    ("clauses", "columns"),
    [
        ("ADD COLUMN IF NOT EXISTS b INT, ADD IF NOT EXISTS d INT", "a,b,c,d"),
        ("DROP COLUMN IF EXISTS x, DROP IF EXISTS b", "a,c"),
        ("MODIFY COLUMN IF EXISTS x INT, CHANGE IF EXISTS b y INT", "a,y,c"),
        ("RENAME COLUMN IF EXISTS b TO y", "a,y,c"),
        ("ADD COLUMN d UUID DEFAULT uuid(), ADD e INET6", "a,b,c,d,e"),
    ],
)
def test_alter_table_of_mariadb(clauses: str, columns: str) -> None:
    followed = schema("CREATE TABLE t (a INT, b INT, c INT)", f"ALTER TABLE t {clauses}", brand="mariadb")
    assert names(followed) == columns


@pytest.mark.parametrize(
    ("clauses", "key"),
    [
        ("DROP PRIMARY KEY", ()), ("DROP PRIMARY KEY, ADD PRIMARY KEY (b, a)", ("b", "a")), ("DROP a", ()),
        ("CHANGE a x INT", ("x",)), ("RENAME COLUMN a TO x", ("x",)), ("MODIFY a BIGINT", ("a",)),
        ("DROP PRIMARY KEY, ADD k INT AUTO_INCREMENT PRIMARY KEY", ("k",)), ("ADD UNIQUE KEY (b)", ("a",)),
    ],
)  # fmt: skip
def test_alter_table_keeps_the_primary_key_up_to_date(clauses: str, key: tuple[str, ...]) -> None:
    assert table(schema("CREATE TABLE t (a INT PRIMARY KEY, b INT)", f"ALTER TABLE t {clauses}")).primary_key == key


@pytest.mark.parametrize(
    ("clauses", "charsets"),
    [
        ("CONVERT TO CHARACTER SET latin1", ("latin1", "latin1", "latin1", "binary", None)),
        ("CONVERT TO CHARACTER SET latin1, ADD w TEXT", ("latin1", "latin1", "latin1", "binary", None, "latin1")),
        ("DEFAULT CHARACTER SET latin1", ("latin1", "utf8mb4", "gbk", "binary", None)),
        ("ENGINE=InnoDB CHARSET=latin1, ADD w TEXT", ("latin1", "utf8mb4", "gbk", "binary", None, "latin1")),
        ("MODIFY v TEXT CHARACTER SET latin2", ("utf8mb4", "latin2", "gbk", "binary", None)),
    ],
)
def test_alter_table_and_character_sets(clauses: str, charsets: tuple[str | None, ...]) -> None:
    followed = schema(
        "CREATE TABLE t (v TEXT, g TEXT CHARSET gbk, b CHAR(9) CHARSET binary, n INT)", f"ALTER TABLE t {clauses}"
    )
    assert (table(followed).charset, *(column.charset for column in table(followed).columns)) == charsets


@pytest.mark.parametrize(
    ("definition", "statements", "columns"),
    [
        ("INVISIBLE", ["ADD b INT FIRST, MODIFY a BIGINT FIRST"], "my_row_id,a,b"),
        ("INVISIBLE", ["ALTER COLUMN my_row_id SET VISIBLE, ADD b INT FIRST", "ADD c INT FIRST"], "c,my_row_id,b,a"),
        ("", ["ADD b INT FIRST", "ALTER my_row_id SET INVISIBLE", "ADD c INT FIRST"], "c,b,my_row_id,a"),
        ("INVISIBLE", ["DROP PRIMARY KEY, DROP my_row_id, ADD PRIMARY KEY (a)", "ADD c INT FIRST"], "c,a"),
    ],
)
def test_first_is_behind_the_key_that_mysql_makes(definition: str, statements: list[str], columns: str) -> None:
    """As MySQL 9.7 puts them."""
    followed = schema(
        f"CREATE TABLE t (my_row_id SERIAL {definition}, a INT, PRIMARY KEY (my_row_id))".replace(
            "SERIAL", "BIGINT UNSIGNED NOT NULL AUTO_INCREMENT"
        ),
        *(f"ALTER TABLE t {clauses}" for clauses in statements),
    )
    assert names(followed) == columns


def test_one_statement_on_several_tables_has_a_message_for_each() -> None:
    followed = schema("CREATE TABLE a (x INT)", "CREATE TABLE b (y INT)")
    assert run(followed, "RENAME TABLE a TO tmp, b TO a, tmp TO b") == [
        ("table-alter", "d", "a"), ("table-alter", "d", "b"), ("table-alter", "d", "tmp"),
    ]  # fmt: skip
    assert [table(followed, name).columns[0].name for name in "ab"] == ["y", "x"]
    assert run(followed, "DROP TABLE IF EXISTS a, nothing, b") == [("table-drop", "d", "a"), ("table-drop", "d", "b")]
    assert not followed.tables


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE IF NOT EXISTS t (other INT)", "DROP TABLE IF EXISTS nothing", "CREATE TEMPORARY TABLE x (a INT)",
        "DROP TEMPORARY TABLE x", "RENAME TABLE a_view TO b_view", "CREATE DATABASE IF NOT EXISTS d",
        "DROP DATABASE IF EXISTS nothing", "TRUNCATE TABLE a_view",
    ],
)  # fmt: skip
def test_what_changes_nothing_has_no_message(sql: str) -> None:
    followed = schema("CREATE TABLE t (a INT)")
    before = followed.snapshot()
    assert run(followed, sql) == []
    assert followed.snapshot() == before


@pytest.mark.parametrize("sql", ["TRUNCATE t", "CREATE INDEX i ON t (a)", "DROP INDEX i ON t"])
def test_truncate_and_index_ddl_are_a_table_alter_that_leaves_the_definition(sql: str) -> None:
    followed = schema("CREATE TABLE t (a INT)")
    messages, delta = followed.apply(parse_statement(sql), StatementSession("d"))
    assert [(m.kind, m.old, m.definition) for m in messages] == [("table-alter", table(followed), table(followed))]
    assert delta == Delta()


def test_or_replace_takes_the_place_of_what_was_there() -> None:
    followed = schema("CREATE TABLE t (a INT)", "CREATE OR REPLACE TABLE t (b INT)", brand="mariadb")
    assert names(followed) == "b"
    assert run(followed, "CREATE OR REPLACE DATABASE d") == [("database-create", "d", None)]
    assert not followed.tables


def test_dropping_a_database_drops_its_tables() -> None:
    followed = schema("CREATE TABLE t (a INT)", "CREATE TABLE l.t (a INT)")
    assert run(followed, "DROP DATABASE d") == [("database-drop", "d", None)]
    assert set(followed.tables) == {TableName("l", "t")}


def test_names_are_folded_where_the_source_does() -> None:
    followed = FollowedSchema(Snapshot(databases=(("d", "utf8mb4"),)), fold_names=True)
    run(followed, "CREATE TABLE D.MixedCase (A INT)")
    assert run(followed, "ALTER TABLE mixedcase ADD b INT") == [("table-alter", "d", "mixedcase")]
    assert [c.name for c in table(followed, "mixedcase").columns] == ["A", "b"]


def test_names_of_the_catalogue_are_folded_as_the_binlog_s() -> None:
    """With lower_case_table_names=2 the catalogue has names as they were given."""
    known = schema("CREATE TABLE t (a INT)").tables[TableName("d", "t")].renamed(TableName("Shop", "Orders"))
    start = Snapshot(tables=(known,), databases=(("Shop", "latin1"),), uncertain=(TableName("Shop", "Old"),))
    followed = FollowedSchema(start, fold_names=True)
    assert run(followed, "ALTER TABLE Shop.Orders ADD b INT") == [("table-alter", "shop", "orders")]
    assert run(followed, "DROP DATABASE sHOP") == [("database-drop", "shop", None)]
    assert (followed.tables, followed.databases, followed.uncertain) == ({}, {}, set())


def test_a_table_of_unknown_columns_is_renamed_altered_and_copied_without_a_definition() -> None:
    name = TableName("d", "t")
    followed = FollowedSchema(Snapshot(databases=(("d", "utf8mb4"),), uncertain=(name,)))
    for sql in ("ALTER TABLE t ADD x INT", "RENAME TABLE t TO u", "CREATE TABLE v LIKE u"):
        (message,), _ = followed.apply(parse_statement(sql), StatementSession("d"))
        assert (message.old, message.definition) == (None, None)
    assert followed.uncertain == {TableName("d", "u"), TableName("d", "v")}
    assert run(followed, "DROP TABLE IF EXISTS t, u") == [("table-drop", "d", "u")]
    run(followed, "CREATE OR REPLACE TABLE v (a INT)")
    assert followed.uncertain == set()


def test_a_column_that_cannot_be_read_is_an_error() -> None:
    with pytest.raises(PlanError):
        run(schema(), "CREATE TABLE t (a)")


@pytest.mark.parametrize("case", [*cases("mysql"), *cases("mariadb"), *lossy_cases("mysql")], ids=str)
def test_the_changes_of_a_statement_lead_to_the_same_schema_when_they_are_taken_again(case: Case) -> None:
    followed, again = schema(brand=case.brand), schema(brand=case.brand)
    database = "d"
    for sql, _ in case.statements:
        sql = sql.strip().rstrip(";")
        if sql.upper().startswith("USE "):
            database = sql[4:].strip("` ")
            continue
        try:
            statement = parse_statement(sql, brand=case.brand)
        except PlanError:
            continue
        _, delta = followed.apply(statement, StatementSession(database))
        again.take(delta)
    assert again.snapshot() == followed.snapshot()


def test_a_table_that_a_partition_becomes_is_known_and_one_that_becomes_a_partition_has_gone() -> None:
    followed = schema(
        "CREATE TABLE t (a INT PRIMARY KEY, b TEXT) PARTITION BY RANGE (a) (PARTITION p VALUES LESS THAN (5),"
        " PARTITION q VALUES LESS THAN (9))",
        "ALTER TABLE t CONVERT PARTITION p TO TABLE l.x",
        "CREATE TABLE y LIKE t",
        "ALTER TABLE t CONVERT TABLE y TO PARTITION p VALUES LESS THAN (5)",
        brand="mariadb",
    )
    assert table(followed, "x", "l") == table(followed).renamed(TableName("l", "x"))
    assert TableName("d", "y") not in followed.tables
    followed.take(Delta(uncertain=(TableName("d", "t"),)))
    run(followed, "ALTER TABLE t CONVERT PARTITION q TO TABLE z")
    assert followed.uncertain == {TableName("d", "t"), TableName("d", "z")}
