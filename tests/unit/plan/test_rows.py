"""Rows: images become VALUES lists and conditions for exactly the columns that the target has."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydbsync.errors import PlanError
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.plan.row_shape import ColumnOverrides, RowShape, ShapeError
from pydbsync.plan.rows import Strategy, TablePlan, overrides_for
from tests.unit.plan.tables import MARIADB, MYSQL, column, insert, plan, raw, table, update


def shape(schema: TableSchema, *names: str, **options: Any) -> RowShape:
    options = {"overrides": ColumnOverrides(), "dialect": MARIADB, **options}
    return RowShape(schema, names or tuple(each.name for each in schema.columns), **options)


# -- VALUES ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "values"),
    [
        ('{"id":1,"v":"x"}', '(1,"x")'),
        ('{"id":-1,"v":null}', "(-1,null)"),
        ('{"v":"x","id":1}', '(1,"x")'),
        ('{"id":1,"v":"a\\"b\\\\c"}', r'(1,"a\"b\\c")'),
        ('{"id":1,"v":"a\\fb"}', '(1,"a\fb")'),
        ('{"id":1,"v":"[{E-"}', '(1,"[{E-")'),
        ('{ "id" : 1 , "v" : "x" }', '(1,"x")'),
        ('{"id":1,"v":"\\u00e9"}', '(1,"é")'),
    ],
)
def test_an_image_becomes_a_list_of_values(data: str, values: str) -> None:
    assert shape(table()).values(raw(data)).decode() == values


def test_the_columns_of_a_statement_are_those_of_the_image_in_its_order() -> None:
    found = shape(table("id int, v varchar, w varchar"), "w", "id")
    assert found.replace_head == b"REPLACE INTO `d`.`t` (`w`, `id`) VALUES "
    assert found.insert_head == b"INSERT INTO `d`.`t` (`w`, `id`) VALUES "
    assert found.values(raw('{"w":"x","id":1}')) == b'("x",1)'


def test_columns_that_the_target_generates_are_left_out() -> None:
    schema = table([column("id", "int"), column("g", "int", generated=True), column("v", "varchar")])
    found = shape(schema)
    assert found.replace_head == b"REPLACE INTO `d`.`t` (`id`, `v`) VALUES "
    assert found.values(raw('{"id":1,"g":2,"v":"x"}')) == b'(1,"x")'
    assert found.assignments(raw('{"id":1,"g":2,"v":"x"}')) == b'`id` = 1, `v` = "x"'


def test_names_compare_without_case_and_are_spelled_as_at_the_target() -> None:
    found = shape(table("Id int, Name varchar", key="Id"), "ID", "name")
    assert found.column_list == b"`Id`, `Name`"
    assert found.values(raw('{"ID":1,"name":"x"}')) == b'(1,"x")'


@pytest.mark.parametrize("name", ['a"b', "a\\b", "a`b", "a b", "é", "日本", "a.b", "a,b", "%s", "null", "c0", "a\tb"])
def test_a_column_may_have_any_name(name: str) -> None:
    schema = table([column("id", "int"), column(name, "varchar")])
    image = {"id": 1, name: "x"}
    assert shape(schema).values(insert(image).data) == b'(1,"x")'
    assert shape(schema).column_list.decode() == "`id`, `" + name.replace("`", "``") + "`"


def test_a_column_that_the_target_does_not_have_is_named_with_the_likely_causes() -> None:
    with pytest.raises(PlanError) as caught:
        shape(table(), "id", "v", "extra")
    text = str(caught.value)
    assert text.startswith(
        "d.t has no column 'extra' at the target: the DDL that adds it is parked or was filtered out"
    )
    assert "ghost tables" in text
    assert "altered by hand" in text


@pytest.mark.parametrize("data", ['{"id":1}', '{"id":1,"v":"x","w":2}', '{"id":1,"w":"x"}', "{}"])
def test_an_image_with_other_columns_does_not_fit(data: str) -> None:
    with pytest.raises(ShapeError):
        shape(table()).values(raw(data))


@pytest.mark.parametrize("data", ["5", "null", '"text"', "[1]", "[]"])
def test_an_image_that_is_no_object_is_refused(data: str) -> None:
    with pytest.raises(PlanError):
        plan().shape_for(raw(data))


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers() | st.none() | st.text(max_size=5), min_size=1))
def test_plain_and_careful_way_give_the_same(image: dict[str, Any]) -> None:
    """A column with a special literal sends its whole row the careful way; the others' values must not change."""
    names = list(image)
    columns = [column(name, "varchar") for name in names]
    data = insert(image).data
    plain = shape(table(columns, key=names[0])).values(data)
    with_blob = shape(table([*columns, column("blob", "blob")], key=names[0]))
    careful = with_blob.values(insert({**image, "blob": "YQ=="}).data)
    assert careful == plain[:-1] + b",X'61')"


# -- conditions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("definition", "token", "condition"),
    [
        (column("c", "int"), "1", "`c` = 1"),
        (column("c", "int"), "null", "`c` IS NULL"),
        (column("c", "decimal"), "1E-7", "`c` = 0.0000001"),
        (column("c", "float"), "0.1", "`c` = 0.10000000149011612e0"),
        (column("c", "float"), "3.4028235E38", "`c` = 3.4028234663852886e+38"),
        (column("c", "double"), "-0.0", '`c` = "-0.0"'),
        (column("c", "binary", size=4), '"YWI="', "`c` = X'61620000'"),
        (column("c", "varbinary", size=4), '"YWI="', "`c` = X'6162'"),
        (column("c", "datetime"), '"2024-01-01 00:00:00"', '`c` = "2024-01-01 00:00:00"'),
        (
            column("c", "varchar"),
            '"A "',
            '`c` = "A " AND CAST(`c` AS BINARY) = CAST(CONVERT("A " USING utf8mb4) AS BINARY)',
        ),
        (
            column("c", "char", charset="latin1"),
            '"é"',
            '`c` = "é" AND CAST(`c` AS BINARY) = CAST(CONVERT("é" USING latin1) AS BINARY)',
        ),
        (
            column("c", "enum", labels=("a",)),
            '"a"',
            '`c` = "a" AND CAST(`c` AS BINARY) = CAST(CONVERT("a" USING utf8mb4) AS BINARY)',
        ),
        (column("c", "json", native_json=True), '{"a":1}', '`c` = CAST("{\\"a\\":1}" AS JSON)'),
        (
            column("c", "json"),
            '{"a":1}',
            '(CAST(`c` AS BINARY) = CAST(CONVERT("{\\"a\\":1}" USING utf8mb4) AS BINARY)'
            ' OR CAST(JSON_NORMALIZE(`c`) AS BINARY) = CAST(JSON_NORMALIZE("{\\"a\\":1}") AS BINARY))',
        ),
        (column("c", "json", native_json=True, nullable=False), "null", '`c` = CAST("null" AS JSON)'),
        (
            column("c", "point"),
            '"POINT (1 2)"',
            "CAST(`c` AS BINARY) = CAST(IFNULL(CAST(ST_GeomFromText(\"POINT (1 2)\", 0) AS BINARY), 'no geometry')"
            " AS BINARY)",
        ),
        (column("c", "varchar"), "null", "`c` IS NULL"),
        (column("c", "point"), "null", "`c` IS NULL"),
    ],
)
def test_a_row_without_a_key_is_found_by_its_whole_image(definition: Column, token: str, condition: str) -> None:
    schema = table([definition], key="")
    assert shape(schema).where_row(raw(f'{{"c":{token}}}')).decode() == condition


def test_the_error_value_of_an_enum_is_found_by_its_index() -> None:
    schema = table([column("c", "enum", labels=("a",), nullable=False)], key="")
    assert shape(schema).where_row(raw('{"c":null}')).startswith(b"`c` = 0")


def test_generated_columns_are_no_condition() -> None:
    schema = table([column("a", "int"), column("g", "int", generated=True)], key="")
    assert shape(schema).where_row(raw('{"a":1,"g":2}')) == b"`a` = 1"


@pytest.mark.parametrize(
    ("kind", "token", "literal"),
    [("int", "7", b"7"), ("float", "0.1", b"0.10000000149011612e0"), ("varchar", '"a"', b'"a"')],
)
def test_a_key_is_compared_by_its_value(kind: str, token: str, literal: bytes) -> None:
    schema = table([column("v", "varchar"), column("k", kind)], key="k")
    assert shape(schema).key_literals(raw(f'{{"v":"x","k":{token}}}'), ("k",)) == (literal,)


# -- overrides from the config ---------------------------------------------------------------------------------------


def test_the_configs_binary_columns_are_base64_and_its_timestamp_columns_shifted() -> None:
    overrides = ColumnOverrides(binary=frozenset({"b"}), timestamp=frozenset({"at"}), shift_s=8 * 3600)
    schema = table([column("id", "int"), column("B", "varchar"), column("at", "datetime"), column("o", "datetime")])
    found = shape(schema, overrides=overrides)
    data = '{"id":1,"B":"YWI=","at":"2024-01-31 20:00:00","o":"2024-01-31 20:00:00"}'
    assert found.values(raw(data)) == b'(1,X\'6162\',"2024-02-01 04:00:00","2024-01-31 20:00:00")'


def test_overrides_are_found_by_the_sources_names_without_case() -> None:
    binary = {"shop": {"orders": frozenset({"b"})}}
    found = overrides_for(TableName("Shop", "ORDERS"), binary, {}, 60)
    assert found == ColumnOverrides(binary=frozenset({"b"}), timestamp=frozenset(), shift_s=60)
    assert overrides_for(TableName("shop", "other"), binary, {}, 60).binary == frozenset()


def test_the_copy_of_an_online_schema_change_goes_by_its_real_table() -> None:
    columns = {"shop": {"t": frozenset({"at"}), "_u_new": frozenset({"own"}), "u": frozenset({"at"})}}
    found = {
        name: overrides_for(TableName("shop", name), {}, columns, 60).timestamp
        for name in ("_t_new", "___T_gho", "_u_new", "__u_new", "t_new", "_t_old")
    }
    of_real: frozenset[str] = frozenset({"at"})
    none: frozenset[str] = frozenset()
    assert found == {
        "_t_new": of_real, "___T_gho": of_real, "_u_new": frozenset({"own"}), "__u_new": of_real, "t_new": none,
        "_t_old": none,
    }  # fmt: skip


# -- strategies ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("schema", "mode", "columns", "strategy"),
    [
        (table(), "replace", "id v", Strategy.REPLACE),
        (table(), "upsert", "id v", Strategy.UPSERT),
        (table(), "plain", "id v", Strategy.ORDERED),
        (table(key=""), "replace", "id v", Strategy.KEYLESS),
        (table(key=""), "plain", "id v", Strategy.KEYLESS),
        # the target has a column of its own, which REPLACE would set back
        (table("id int, v varchar, own int"), "replace", "id v", Strategy.UPSERT),
        (table("id int, v varchar, own int", unique=["v"]), "replace", "id v", Strategy.ORDERED),
        (table(unique=["v"]), "upsert", "id v", Strategy.ORDERED),
        (table(unique=["v"]), "replace", "id v", Strategy.REPLACE),
        # the row's key is not in the image
        (table("id int, v varchar"), "replace", "v", Strategy.KEYLESS),
        # a column that the target generates is none of its own
        (table([column("id", "int"), column("g", "int", generated=True)]), "replace", "id", Strategy.REPLACE),
    ],
)
def test_how_rows_are_written(schema: TableSchema, mode: str, columns: str, strategy: Strategy) -> None:
    found = plan(schema, apply_mode=mode)
    image = insert(dict.fromkeys(columns.split(), None)).data
    assert found.strategy_for(found.shape_for(image)) is strategy


def test_a_unique_key_that_is_the_row_key_is_no_other_key() -> None:
    schema = TableSchema(
        name=TableName("d", "t"), columns=table().columns, unique_keys=(("id",),), row_key=("id",)
    )  # fmt: skip
    found = plan(schema, apply_mode="upsert")
    assert found.strategy_for(found.shape_for(raw('{"id":1,"v":"x"}'))) is Strategy.UPSERT


# -- keys and old images ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("old", "may"),
    [
        ({"v": "x"}, False), ({"id": 2}, True), ({"v": "x", "id": 2}, True), ({"id2": 5}, False),
        ({"v": '"id":'}, False), ({}, False), (None, False),
    ],
)  # fmt: skip
def test_an_update_may_have_changed_the_key_if_old_names_it(old: dict[str, Any] | None, may: bool) -> None:
    schema = table("id int, v varchar, id2 int")
    assert plan(schema).may_change_key(update({"id": 1, "v": "y", "id2": 6}, old)) is may


@pytest.mark.parametrize("spelling", ['{"ключ":2}', '{"\\u043a\\u043b\\u044e\\u0447":2}'])
def test_a_key_outside_ascii_is_seen_however_it_is_spelled(spelling: str) -> None:
    schema = table([column("ключ", "int"), column("v", "varchar")], key="ключ")
    assert plan(schema).may_change_key(update({"ключ": 1, "v": "y"}, spelling))


def test_the_old_image_is_the_new_one_with_the_former_values() -> None:
    changed = update('{"id":1,"v":"y","n":1.10}', '{"v":"x","n":null}')
    assert bytes(plan().old_image(changed)) == b'{"id":1,"v":"x","n":null}'
    unseen = update('{"id":1,"v":"y"}', None)
    assert bytes(plan().old_image(unseen)) == b'{"id":1,"v":"y"}'


@pytest.mark.parametrize("old", ["5", "null", "[]", '"x"'])
def test_an_old_image_that_is_no_object_is_refused(old: str) -> None:
    with pytest.raises(PlanError):
        plan().old_image(update('{"id":1,"v":"y"}', old))


@pytest.mark.parametrize(
    ("key", "image", "identity"),
    [
        ("id", '{"id":1,"v":"x"}', b"1"),
        ("v, id", '{"id":1,"v":"x"}', b'"x",1'),
        ("v, id", '{"v":"x","id":1,"other":2}', b'"x",1'),
        ("v", '{"id":1,"v":"X"}', b'"X"'),
    ],
)
def test_a_row_is_known_by_the_text_of_its_key(key: str, image: str, identity: bytes) -> None:
    found = plan(table("id int, v varchar, other int", key=key))
    assert found.key_of(raw(image)) == identity


def test_a_row_without_its_key_is_refused() -> None:
    with pytest.raises(PlanError, match=r"the row has no value for the key of d\.t"):
        plan(table("id int, v varchar")).key_of(raw('{"v":"x"}'))


def test_sources_that_are_merged_may_spell_the_key_in_several_ways() -> None:
    found = plan()
    for _ in range(2):
        assert found.key_of(raw('{"ID":1,"V":"x"}')) == b"1"
        assert found.may_change_key(update('{"ID":1,"V":"x"}', '{"ID":2}'))
        assert found.key_of(raw('{"id":2,"v":"x"}')) == b"2"
        assert found.may_change_key(update('{"id":1,"v":"x"}', '{"id":2}'))


def test_a_plan_takes_images_of_changing_shape_by_turns() -> None:
    """After a DDL that adds a column, shards that are merged send both forms for a while."""
    found: TablePlan = plan(table("id int, v varchar, w int"), dialect=MYSQL)
    for _ in range(2):
        assert found.shape_for(raw('{"id":1,"v":"x"}')).column_list == b"`id`, `v`"
        assert found.key_of(raw('{"id":1,"v":"x"}')) == b"1"
        assert found.shape_for(raw('{"w":5,"id":1,"v":"x"}')).column_list == b"`w`, `id`, `v`"
        assert found.key_of(raw('{"w":5,"id":1,"v":"x"}')) == b"1"
