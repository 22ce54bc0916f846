"""How a column is read at the source and taken at the target, as SQL."""

from __future__ import annotations

import msgspec
import pytest

from pydbsync.errors import OperationError
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.ops.copy.fields import Carriage, RowForm, field_for

AS_BYTES = "QUOTE(CAST(`c` AS BINARY))"
AS_UTF8 = "QUOTE(CAST(CONVERT(`c` USING utf8mb4) AS BINARY))"
AS_ASCII = "QUOTE(CAST(CAST(`c` AS CHAR CHARACTER SET ascii) AS BINARY))"
FROM_UTF8 = "CONVERT({} USING utf8mb4)"


@pytest.mark.parametrize(
    ("column", "text", "is_quoted"),
    [
        (Column("c", "int"), "QUOTE(`c`)", False),
        (Column("c", "int", nullable=False), "`c`", False),
        (Column("c", "bigint", unsigned=True), "QUOTE(`c`)", False),
        (Column("c", "float"), "QUOTE((`c` * 1e0))", True),
        (Column("c", "double"), "QUOTE(`c`)", True),
        (Column("c", "decimal"), "QUOTE(`c`)", True),
        (Column("c", "datetime", digits=6), "QUOTE(`c`)", True),
        (Column("c", "year"), "QUOTE(`c`)", True),
        (Column("c", "bit", size=64), AS_BYTES, True),
        (Column("c", "varbinary"), AS_BYTES, True),
        (Column("c", "point", srid=4326), AS_BYTES, True),
        (Column("c", "vector"), AS_BYTES, True),
        (Column("c", "inet6"), "QUOTE(CAST(`c` AS CHAR))", True),
        (Column("c", "varchar", charset="latin1"), AS_BYTES, True),
        (Column("c", "json", charset="utf8mb4"), AS_BYTES, True),
        (Column("c", "enum", labels=("a", "b"), charset="utf8mb4"), "IFNULL(CAST(`c` AS UNSIGNED), 'NULL')", False),
    ],
    ids=lambda value: f"{value.kind} {value.nullable}" if isinstance(value, Column) else None,
)
def test_a_column_of_the_same_kind_arrives_with_the_same_bytes(column: Column, text: str, is_quoted: bool) -> None:
    field = field_for(column, column)
    assert (field.name, field.text, field.is_quoted, field.insert_as) == ("`c`", text, is_quoted, "{}")


@pytest.mark.parametrize(
    ("source", "target", "text", "taken_as"),
    [
        (Column("c", "text", charset="utf8"), Column("c", "text", charset="utf8mb3"), AS_BYTES, "{}"),
        (Column("c", "text", charset="latin1"), Column("c", "text", charset="utf8mb4"), AS_UTF8, FROM_UTF8),
        (Column("c", "int"), Column("c", "text", charset="utf8mb4"), "QUOTE((`c` + 0))", "{}"),
        (Column("c", "year"), Column("c", "char", charset="latin1"), "QUOTE((`c` + 0))", "{}"),
        (Column("c", "bit", size=16), Column("c", "int"), "QUOTE((`c` + 0))", "{}"),
        (Column("c", "bit", size=16), Column("c", "char", charset="ascii"), "QUOTE((`c` + 0))", "{}"),
        (Column("c", "binary", size=4), Column("c", "binary", size=6), AS_BYTES, "{}"),
        (Column("c", "uuid"), Column("c", "char", charset="latin1"), AS_ASCII, FROM_UTF8),
        (Column("c", "inet4"), Column("c", "inet6"), AS_ASCII, FROM_UTF8),
        (Column("c", "varchar", charset="ascii"), Column("c", "inet6"), AS_UTF8, FROM_UTF8),
        (
            Column("c", "json", charset="utf8mb4"),
            Column("c", "json", charset="utf8mb4", native_json=True),
            AS_UTF8,
            FROM_UTF8,
        ),
        (
            Column("c", "enum", labels=("a", "b"), charset="utf8mb4"),
            Column("c", "enum", labels=("b", "a"), charset="utf8mb4"),
            AS_UTF8,
            FROM_UTF8,
        ),
    ],
)
def test_a_column_of_another_kind_takes_the_text(source: Column, target: Column, text: str, taken_as: str) -> None:
    field = field_for(source, target)
    assert (field.text, field.insert_as, field.load_as) == (text, taken_as, taken_as)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("text", "blob"), ("text", "json"), ("text", "varbinary"), ("blob", "text"), ("varbinary", "json"),
        ("binary", "varbinary"), ("binary", "blob"), ("json", "longtext"), ("json", "longblob"), ("set", "varchar"),
        ("set", "enum"), ("enum", "varbinary"), ("point", "blob"), ("float", "decimal"), ("float", "varchar"),
        ("bit", "binary"), ("varbinary", "uuid"),
    ],
)  # fmt: skip
def test_a_column_in_which_replay_writes_something_else_is_refused(source: str, target: str) -> None:
    def column(kind: str) -> Column:
        return Column("c", kind, charset="utf8mb4")

    with pytest.raises(OperationError, match="replay would write something else there than copy, or nothing"):
        field_for(column(source), column(target))


def test_bytes_that_the_configuration_names_go_into_text_as_they_are() -> None:
    blob, text = Column("c", "varbinary"), Column("c", "varchar", charset="latin1")
    field = field_for(blob, text, is_named=True)
    assert (field.text, field.load_as) == ("QUOTE(CAST(`c` AS BINARY))", "{}")
    for source, target in ((Column("c", "binary"), text), (text, blob), (blob, Column("c", "uuid"))):
        with pytest.raises(OperationError, match="replay would write something else"):
            field_for(source, target, is_named=True)


@pytest.mark.parametrize(("key", "is_refused"), [((), True), (("f",), True), (("ID", "F"), True), (("id",), False)])
def test_a_float_in_a_double_by_which_rows_are_found_is_refused(key: tuple[str, ...], is_refused: bool) -> None:
    source = schema(Column("id", "int"), Column("f", "float"))
    columns = [Column(name, kind) for name, kind in (("ID", "int"), ("F", "double"))]
    target = msgspec.structs.replace(schema(*columns), row_key=tuple(name.upper() for name in key))
    if not is_refused:
        RowForm(source, target)
        return
    with pytest.raises(OperationError, match="replay would not find copied rows"):
        RowForm(source, target)


def test_names_are_quoted_on_both_sides() -> None:
    field = field_for(Column("a`b", "int", nullable=False), Column("A`b", "int"))
    assert (field.name, field.text) == ("`A``b`", "`a``b`")


def test_an_unknown_type_is_named() -> None:
    with pytest.raises(OperationError, match="column c is of type hologram, which copy does not know"):
        field_for(Column("c", "hologram"), Column("c", "hologram"))


# -- rows --------------------------------------------------------------------------------------------------------------


def schema(*columns: Column, name: str = "t") -> TableSchema:
    return TableSchema(name=TableName("d", name), columns=columns)


ID = Column("id", "int", nullable=False)
TEXT = Column("v", "text", charset="latin1")
WIDE = Column("v", "text", charset="utf8mb4")
LABEL = Column("e", "enum", labels=("x",), charset="utf8mb4")


def test_a_chunk_is_read_as_one_text() -> None:
    form = RowForm(schema(ID, TEXT), schema(ID, TEXT))
    assert form.chunk_query(Carriage.LOAD, "`id` > 5") == (
        "SELECT 0, COUNT(*), 0, GROUP_CONCAT('', `id`, ',', QUOTE(CAST(`v` AS BINARY)) SEPARATOR '\\n')"
        " FROM `d`.`t` WHERE `id` > 5 GROUP BY 1"
    )
    assert form.chunk_query(Carriage.INSERT, "TRUE", shard="MOD(`id`, 4)") == (
        "SELECT MOD(`id`, 4), COUNT(*), 0,"
        " GROUP_CONCAT('(', `id`, ',', QUOTE(CAST(`v` AS BINARY)), ')' SEPARATOR ',')"
        " FROM `d`.`t` WHERE TRUE GROUP BY 1"
    )


def test_what_is_taken_otherwise_is_wrapped_at_the_target() -> None:
    form = RowForm(schema(ID, TEXT), schema(ID, WIDE, name="other"))
    assert "'CONVERT(', QUOTE(CAST(CONVERT(`v` USING utf8mb4) AS BINARY)), ' USING utf8mb4)'" in form.rows_query(
        Carriage.INSERT, "TRUE"
    )
    assert form.load_statement(TableName("x", "y"), "/f", replace=True) == (
        b"LOAD DATA LOCAL INFILE '/f' REPLACE INTO TABLE `x`.`y` CHARACTER SET binary FIELDS TERMINATED BY ','"
        b" OPTIONALLY ENCLOSED BY '\\'' ESCAPED BY '\\\\' LINES TERMINATED BY '\\n' (`id`, @v1)"
        b" SET `v` = CONVERT(@v1 USING utf8mb4)"
    )
    assert form.write_head(TableName("x", "y"), replace=False) == b"INSERT INTO `x`.`y` (`id`, `v`) VALUES "
    assert form.write_head(TableName("x", "y"), replace=True).startswith(b"REPLACE INTO ")


def test_error_values_of_an_enum_are_counted_so_that_their_warnings_are_expected() -> None:
    form = RowForm(schema(ID, LABEL), schema(ID, LABEL))
    assert "IFNULL(SUM(CAST(`e` AS UNSIGNED) = 0), 0)" in form.chunk_query(Carriage.LOAD, "TRUE")
    assert form.rows_query(Carriage.SINGLE, "TRUE") == (
        "SELECT 0, IFNULL(CAST(`e` AS UNSIGNED) = 0, 0), `id`, CAST(`e` AS UNSIGNED) FROM `d`.`t` WHERE TRUE"
    )


def test_single_values_are_quoted_here() -> None:
    form = RowForm(schema(ID, TEXT, LABEL), schema(ID, WIDE, LABEL))
    assert form.single_values((5, b"it's \\ \0 \n", 1)) == b"(5,CONVERT('it\\'s \\\\ \\0 \n' USING utf8mb4),1)"
    assert form.single_values((-1, None, None)) == b"(-1,CONVERT(NULL USING utf8mb4),NULL)"


def test_generated_columns_are_left_to_the_target() -> None:
    made = Column("g", "int", generated=True)
    assert [field.name for field in RowForm(schema(ID, made), schema(ID, made)).fields] == ["`id`"]
    assert [field.name for field in RowForm(schema(ID, made), schema(ID)).fields] == ["`id`"]


def test_columns_are_matched_by_name_whatever_their_order_and_case() -> None:
    form = RowForm(schema(ID, TEXT), schema(Column("V", "text", charset="latin1"), Column("x", "int"), ID))
    assert [field.name for field in form.fields] == ["`id`", "`V`"]


def test_a_column_that_the_target_lacks_is_named() -> None:
    with pytest.raises(OperationError, match=r"d\.u at the target has no column 'v', which d\.t at the source has"):
        RowForm(schema(ID, TEXT), schema(ID, name="u"))


@pytest.mark.parametrize("kind", ["uuid", "inet4", "inet6"])
def test_an_address_is_not_written_as_bytes(kind: str) -> None:
    with pytest.raises(OperationError, match="make it a text there"):
        field_for(Column("c", kind), Column("c", "binary", size=16, column_type="binary(16)"))
