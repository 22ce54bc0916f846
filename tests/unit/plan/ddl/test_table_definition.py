from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from pydbsync.errors import PlanError
from pydbsync.model import NO_JSON, Column, SchemaChange, TableName
from pydbsync.plan.ddl.statement import parse_statement
from pydbsync.plan.ddl.table_definition import TableDefinition, alter_table, define_table
from tests.unit.plan.corpus import CORPUS, Recorded, recorded_schema_changes


def described(columns: Sequence[dict[str, Any]], primary_key: Sequence[str] = ()) -> msgspec.Raw:
    shape = {"database": "d", "table": "t", "columns": columns, "primary-key": primary_key}
    return msgspec.Raw(json.dumps(shape).encode())


def column(name: str, kind: str = "int", **more: Any) -> dict[str, Any]:
    return {"name": name, "type": kind, **more}


def define(sql: str, *columns: dict[str, Any], primary_key: Sequence[str] = ()) -> TableDefinition:
    change = SchemaChange(
        kind="table-create", database="d", table="t", ts=1, sql=sql, def_=described(columns, primary_key)
    )
    return define_table(change)


def alter(
    definition: TableDefinition, sql: str, *columns: dict[str, Any], primary_key: Sequence[str] = ()
) -> TableDefinition:
    change = SchemaChange(
        kind="table-alter", database="d", table="t", ts=1, sql=sql, def_=described(columns, primary_key)
    )
    return alter_table(definition, change)


def test_lengths_and_attributes_are_read_in_the_text() -> None:
    definition = define(
        "CREATE TABLE t (a BINARY(16) NOT NULL COMMENT 'VARBINARY(3)', b BIT(9), c BIT,"
        " d VARBINARY (20), e CHAR(4) BYTE,"
        " f INT GENERATED ALWAYS AS (g + 1) STORED, g INT ZEROFILL DEFAULT (1 + 2), h INT AS (g),"
        " p POINT NOT NULL SRID 4326,"
        " i VARCHAR(9) CHARACTER SET binary, j TEXT CHARACTER SET binary, k DATETIME(3), l BINARY)",
        column("a", "binary", charset="binary"), column("b", "bit"), column("c", "bit"),
        column("d", "varbinary", charset="binary"), column("e", "binary", charset="binary"), column("f"),
        column("g", signed=True), column("h"), column("p", "point"), column("i", "varchar", charset="binary"),
        column("j", "text", charset="binary"), column("k", "datetime", **{"column-length": 3}),
        column("l", "binary", charset="binary"),
    )  # fmt: skip
    assert definition.columns == (
        Column(name="a", kind="binary", size=16, nullable=False),
        Column(name="b", kind="bit", size=9),
        Column(name="c", kind="bit", size=1),
        Column(name="d", kind="varbinary", size=20),
        Column(name="e", kind="binary", size=4),
        Column(name="f", kind="int", generated=True),
        Column(name="g", kind="int", unsigned=True),
        Column(name="h", kind="int", generated=True),
        Column(name="p", kind="point", nullable=False, srid=4326),
        Column(name="i", kind="varbinary", size=9),
        Column(name="j", kind="blob"),
        Column(name="k", kind="datetime", digits=3),
        Column(name="l", kind="binary", size=1),
    )


def test_labels_are_the_real_ones() -> None:
    definition = define(
        "CREATE TABLE t (e ENUM('it''s', \"dou\"\"ble\", 'back\\\\slash', N'n ') NOT NULL,"
        " s SET('a''b', 'c') DEFAULT 'c')",
        column("e", "enum", **{"enum-values": ["it''s", 'dou"ble', "back\\\\slash", "n"]}),
        column("s", "set", **{"enum-values": ["a''b", "c"]}),
    )
    assert definition.columns[0].labels == ("it's", 'dou"ble', "back\\slash", "n")
    assert definition.columns[1].labels == ("a'b", "c")


def test_json_is_native_on_mysql_only() -> None:
    change = SchemaChange(
        kind="table-create", database="d", table="t", ts=1, sql="CREATE TABLE t (j JSON)",
        def_=described([column("j", "json")]),
    )  # fmt: skip
    assert define_table(change, target="mysql").columns == (
        Column(name="j", kind="json", charset="utf8mb4", native_json=True),
    )
    assert define_table(change, target="mariadb").columns == (Column(name="j", kind="json", charset="utf8mb4"),)


NAME = TableName("d", "t")


def test_keys_are_read_in_the_text() -> None:
    schema = define(
        "CREATE TABLE t (id INT, a INT UNIQUE, b INT NOT NULL, c TEXT, d SERIAL, UNIQUE KEY bc (b, c(5)), KEY k (a),"
        " CONSTRAINT x UNIQUE (b DESC), UNIQUE (a), PRIMARY KEY (id))",
        column("id"), column("a"), column("b"), column("c", "text"), column("d"), primary_key=["id"],
    ).schema(NAME)  # fmt: skip
    assert schema.primary_key == schema.row_key == ("id",)
    assert schema.unique_keys == (("a",), ("a",), ("b", "c"), ("d",), ("b",))
    assert [item.name for item in schema.columns if not item.nullable] == ["id", "b", "d"]


@pytest.mark.parametrize(
    ("keys", "row_key"),
    [
        ("UNIQUE (a)", ("a",)),
        ("UNIQUE (b)", ()),
        ("UNIQUE (a, b)", ()),
        ("UNIQUE z (a), UNIQUE y (a, c)", ("a", "c")),
        ("UNIQUE (c(3))", ()),
        ("UNIQUE ((a + 1))", ()),
        ("UNIQUE (g)", ()),
        ("KEY (a)", ()),
    ],
)
def test_without_a_primary_key_a_unique_key_without_nulls_identifies_a_row(keys: str, row_key: tuple[str, ...]) -> None:
    sql = f"CREATE TABLE t (a INT NOT NULL, b INT, c CHAR(9) NOT NULL, g INT AS (a) STORED NOT NULL, {keys})"
    columns = (column("a"), column("b"), column("c", "char"), column("g"))
    assert define(sql, *columns).schema(NAME).row_key == row_key


def test_an_alter_keeps_what_it_does_not_name() -> None:
    before = define(
        "CREATE TABLE t (a BINARY(4) NOT NULL, b BIT(3), c INT AS (1), UNIQUE u (a))",
        column("a", "binary", charset="binary"), column("b", "bit"), column("c"),
    )  # fmt: skip
    after = alter(
        before,
        "ALTER TABLE t ADD d VARBINARY(7) FIRST, CHANGE b bb BIT(12), RENAME COLUMN a TO aa,"
        " ADD COLUMN (e INT, f BIT(2))",
        column("d", "varbinary", charset="binary"), column("aa", "binary", charset="binary"), column("bb", "bit"),
        column("c"), column("e"), column("f", "bit"),
    )  # fmt: skip
    assert [(item.name, item.size, item.generated) for item in after.columns] == [
        ("d", 7, False), ("aa", 4, False), ("bb", 12, False), ("c", None, True), ("e", None, False), ("f", 2, False),
    ]  # fmt: skip
    assert after.schema(NAME).row_key == ("aa",)


@pytest.mark.parametrize(
    ("sql", "unique"),
    [
        ("ALTER TABLE t ADD UNIQUE (b)", [("b",), ("a",)]),
        ("ALTER TABLE t ADD b2 INT UNIQUE", [("b2",), ("a",)]),
        ("ALTER TABLE t DROP INDEX u", []),
        ("ALTER TABLE t DROP KEY `U`", []),
        ("ALTER TABLE t DROP CONSTRAINT u, ADD CONSTRAINT v UNIQUE (a, b)", [("a", "b")]),
        ("ALTER TABLE t RENAME INDEX u TO v, ADD UNIQUE u (b)", [("b",), ("a",)]),
        ("ALTER TABLE t ADD INDEX (b), COMMENT 'UNIQUE (b)'", [("a",)]),
        ("ALTER TABLE t ENGINE=InnoDB", [("a",)]),
    ],
)
def test_unique_keys_after_an_alter(sql: str, unique: list[tuple[str, ...]]) -> None:
    before = define("CREATE TABLE t (a INT, b INT, UNIQUE u (a))", column("a"), column("b"))
    after = alter(before, sql, column("a"), column("b"), column("b2"))
    assert list(after.schema(NAME).unique_keys) == unique


def test_a_dropped_column_leaves_its_keys() -> None:
    before = define("CREATE TABLE t (a INT, b INT, UNIQUE (a, b), UNIQUE (b))", column("a"), column("b"))
    assert alter(before, "ALTER TABLE t DROP b", column("a")).schema(NAME).unique_keys == (("a",),)


def test_an_engine_without_transactions_is_known() -> None:
    before = define("CREATE TABLE t (a INT) ENGINE=MyISAM", column("a"))
    assert not before.schema(NAME).transactional
    assert alter(before, "ALTER TABLE t ENGINE InnoDB", column("a")).schema(NAME).transactional


def test_a_table_made_like_another_has_its_columns() -> None:
    like = define("CREATE TABLE u (a BINARY(4) NOT NULL, UNIQUE (a))", column("a", "binary", charset="binary"))
    change = SchemaChange(
        kind="table-create", database="d", table="t", ts=1, sql="CREATE TABLE t LIKE u",
        def_=described([column("a", "binary", charset="binary")]),
    )  # fmt: skip
    assert define_table(change, like=like) == like


def test_a_message_without_a_description_is_refused() -> None:
    change = SchemaChange(
        kind="table-create", database="d", table="t", ts=1, sql="CREATE TABLE t (a INT)", def_=NO_JSON
    )
    with pytest.raises(PlanError, match=r"does not describe the columns of d\.t"):
        define_table(change)


# The corpus: the definitions at the end of each case against the recorded state.


def replayed(case: list[Recorded]) -> dict[TableName, TableDefinition]:
    tables: dict[TableName, TableDefinition] = {}
    for recorded in case:
        change = recorded.change
        if change.kind == "database-drop":
            tables = {name: table for name, table in tables.items() if name.database != change.database}
        if change.table is None:
            continue
        name = TableName(change.database, change.table)
        if change.kind == "table-drop":
            tables.pop(name, None)
        elif change.kind == "table-create":
            like = next((ref for ref in parse_statement(change.sql).names if ref.role == "like"), None)
            copied = next((table for key, table in tables.items() if like and key.table == like.table), None)
            tables[name] = define_table(change, target=recorded.source.brand, like=copied)
        else:
            after = json.loads(bytes(change.def_))
            altered = alter_table(tables.pop(name), change, target=recorded.source.brand)
            tables[TableName(after["database"], after["table"])] = altered
    return tables


def cases() -> dict[str, list[Recorded]]:
    found: dict[str, list[Recorded]] = {}
    for recorded in recorded_schema_changes():
        found.setdefault(recorded.case, []).append(recorded)
    # Index DDL is not published; of two tables with one name, LIKE copied the one that the text does not tell.
    return {name: case for name, case in found.items() if not name.endswith(("08-index-ddl", "11-use-other-database"))}


CASES = cases()


@pytest.mark.parametrize("case", CASES)
def test_definitions_agree_with_the_recorded_state(case: str) -> None:
    path = CORPUS / case / "state.json"
    text = path.read_bytes() if path.exists() else gzip.decompress(path.with_suffix(".json.gz").read_bytes())
    tables = replayed(CASES[case])
    for database, recorded in json.loads(text).items():
        assert {name.table for name in tables if name.database == database} == set(recorded or {})
        for table, state in (recorded or {}).items():
            schema = tables[TableName(database, table)].schema(TableName(database, table))
            columns = [[item.name, item.nullable] for item in schema.columns]
            assert columns == [[name, nullable] for name, _, nullable in state["columns"]]
            for item, (_, kind, _) in zip(schema.columns, state["columns"], strict=True):
                assert_type(item, kind)
            indexes = {
                name: tuple(re.sub(r"\(\d+\)$", "", part) for part in parts)
                for name, unique, parts in state["indexes"]
                if unique
            }
            assert schema.primary_key == indexes.pop("PRIMARY", ())
            assert schema.unique_keys == tuple(parts for _, parts in sorted(indexes.items()))


def assert_type(item: Column, kind: str) -> None:
    """`kind` is the recorded column_type: `binary(16)`, `enum('a','b')`, `int unsigned`."""
    word = re.split(r"[ (]", kind, maxsplit=1)[0]
    assert item.kind == word, (item, kind)
    assert item.unsigned is (" unsigned" in kind)
    if word in ("binary", "varbinary", "bit"):
        assert kind == f"{word}({item.size})"
    if word in ("enum", "set"):
        labels = ",".join("'" + label.replace("'", "''") + "'" for label in item.labels)
        assert kind.replace("\\\\", "\\") == f"{word}({labels})"
    if word in ("datetime", "timestamp", "time"):
        assert kind == (f"{word}({item.digits})" if item.digits else word)
