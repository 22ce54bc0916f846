"""Rows events of MySQL 9.7 and MariaDB 10.11 as messages."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Literal

import msgspec
import pytest

from pydbsync.errors import OperationError
from pydbsync.model import Column, TableName
from pydbsync.ops.capture.binlog.tablemap import parse_table_map
from pydbsync.ops.capture.charsets import Charsets
from pydbsync.ops.capture.history.messages import SchemaText, encode_schema_message
from pydbsync.ops.capture.history.schema import TableDef
from pydbsync.ops.capture.rows.encode import RowsEvent, TableEncoder, Transaction
from pydbsync.ops.capture.rows.resolve import resolve_table

# CREATE TABLE c_x.t (id INT PRIMARY KEY, v VARCHAR(20), y YEAR, e ENUM('a'), g POINT);
# INSERT INTO c_x.t VALUES (1, 'x', 2000, 'a', NULL), (2, 'y', 2000, NULL, NULL)
TABLE_MAP = (
    b"m\x00\x00\x00\x00\x00\x01\x00\x03c_x\x00\x01t\x00\x05\x03\x0f\r\xfe\xff\x05P\x00\xf7\x01\x04\x1e\x01\x01@"
    b"\x02\x03\xfc\xff\x00\x07\x01\x01"
)
ROWS = b"m\x00\x00\x00\x00\x00\x11\x00\x02\x00\x05\xff\x10\x01\x00\x00\x00\x01xd\x01\x18\x02\x00\x00\x00\x01yd"
# CREATE TABLE cap_x.t (id INT PRIMARY KEY, j JSON) on MySQL with binlog_row_metadata=FULL
FULL_TABLE_MAP = (
    b"\xa6\x07\x00\x00\x00\x00\x01\x00\x05cap_x\x00\x01t\x00\x02\x03\xf5\x01\x04\x02\x01\x01\x00\x04\x05\x02id\x01j"
    b"\x08\x01\x00\x0c\x01\xc0"
)

TABLE = TableDef(
    TableName("c_x", "t"),
    "utf8mb4",
    (
        Column("id", "int"),
        Column("v", "varchar", charset="utf8mb4"),
        Column("y", "year"),
        Column("e", "enum", labels=("a",)),
        Column("g", "point"),
    ),
    ("id",),
)


def no_questions(expressions: str, parameters: Sequence[object]) -> Sequence[object]:
    raise AssertionError(f"asked the server for {expressions}")


CHARSETS = Charsets(no_questions)
COLLATIONS = {255: "utf8mb4", 63: "binary", 8: "latin1"}


def encoder(table: TableDef = TABLE) -> TableEncoder:
    return TableEncoder(parse_table_map(TABLE_MAP, mariadb=False), table, CHARSETS)


def encoded(
    encoder: TableEncoder,
    kind: Literal["insert", "update", "delete"],
    body: bytes,
    transaction: Transaction,
    first: int,
    *,
    is_last: bool,
) -> list[bytes]:
    reader, at = encoder.reader(body, 10, kind)
    event = RowsEvent(kind, 1795168799, 11, "binlog.000001:1342", body, at)
    return reader.encode(event, transaction, first, is_last=is_last)


MYSQL = Transaction(11, "a7934d73-e4c7-11f1-a136-02fc00000001:5", 8)


def test_the_rows_of_an_insert_have_maxwells_fields_in_maxwells_order() -> None:
    assert encoded(encoder(), "insert", ROWS, MYSQL, 0, is_last=True) == [
        b'{"database":"c_x","table":"t","type":"insert","ts":1795168799,"xid":11,"xoffset":0,'
        b'"position":"binlog.000001:1342","gtid":"a7934d73-e4c7-11f1-a136-02fc00000001:5","server_id":11,"thread_id":8,'
        b'"primary_key":[1],"primary_key_columns":["id"],"data":{"id":1,"v":"x","y":2000,"e":"a","g":null}}',
        b'{"database":"c_x","table":"t","type":"insert","ts":1795168799,"xid":11,"commit":true,'
        b'"position":"binlog.000001:1342","gtid":"a7934d73-e4c7-11f1-a136-02fc00000001:5","server_id":11,"thread_id":8,'
        b'"primary_key":[2],"primary_key_columns":["id"],"data":{"id":2,"v":"y","y":2000,"e":null,"g":null}}',
    ]


def test_rows_in_the_middle_of_a_transaction_go_on_counting() -> None:
    first, second = encoded(encoder(), "delete", ROWS, Transaction(11), 40, is_last=False)
    assert b'"type":"delete","ts":1795168799,"xid":11,"xoffset":40,"position"' in first
    assert b'"xid":11,"xoffset":41,"position":"binlog.000001:1342","server_id":11,"primary_key"' in second


def test_what_the_source_does_not_say_is_left_out() -> None:
    first = encoded(encoder(), "insert", ROWS, Transaction(), 0, is_last=False)[0]
    assert first.startswith(
        b'{"database":"c_x","table":"t","type":"insert","ts":1795168799,"xoffset":0,'
        b'"position":"binlog.000001:1342","server_id":11,"primary_key":[1]'
    )


def test_an_update_has_the_changed_columns_as_they_were() -> None:
    # the two rows of the insert, read as the images before and after
    body = ROWS[:11] + b"\xff\xff" + ROWS[12:]
    (message,) = encoded(encoder(), "update", body, Transaction(7), 0, is_last=True)
    assert message.endswith(
        b'"primary_key":[2],"primary_key_columns":["id"],'
        b'"data":{"id":2,"v":"y","y":2000,"e":null,"g":null},"old":{"id":1,"v":"x","e":"a"}}'
    )


def test_an_update_that_changes_nothing_has_no_old() -> None:
    row = ROWS[12:21]
    (message,) = encoded(encoder(), "update", ROWS[:11] + b"\xff\xff" + row + row, Transaction(), 0, is_last=True)
    assert message.endswith(b'"data":{"id":1,"v":"x","y":2000,"e":"a","g":null}}')


def test_a_table_without_a_key_and_one_with_a_long_key() -> None:
    keyless = TableDef(TABLE.name, "utf8mb4", TABLE.columns)
    assert (
        b'"primary_key":[],"primary_key_columns":[],'
        in encoded(encoder(keyless), "insert", ROWS, Transaction(), 0, is_last=True)[0]
    )
    long = TableDef(TABLE.name, "utf8mb4", TABLE.columns, ("v", "id"))
    assert (
        b'"primary_key":["x",1],"primary_key_columns":["v","id"],'
        in encoded(encoder(long), "insert", ROWS, Transaction(), 0, is_last=True)[0]
    )


def test_names_of_tables_and_columns_are_quoted_for_json_alone() -> None:
    hostile = TableDef(
        TableName('d"b', "%s{0}"), "utf8mb4", (Column('%(x)s"\\', "int"), *TABLE.columns[1:]), ('%(x)s"\\',)
    )
    first = encoded(encoder(hostile), "insert", ROWS, Transaction(), 0, is_last=True)[0]
    assert first.startswith(b'{"database":"d\\"b","table":"%s{0}","type":"insert"')
    assert b'"primary_key":[1],"primary_key_columns":["%(x)s\\"\\\\"],"data":{"%(x)s\\"\\\\":1,"v":"x"' in first


def test_a_row_that_is_not_whole_is_refused() -> None:
    with pytest.raises(OperationError, match="binlog_row_image"):
        encoded(encoder(), "insert", ROWS[:11] + b"\xef" + ROWS[12:], Transaction(), 0, is_last=True)


def test_images_without_generated_columns_are_whole() -> None:
    """As MariaDB 11.8 writes them for UPDATE and DELETE: bits for the columns that are there, and for their NULLs."""
    generated = msgspec.structs.replace(TABLE.columns[2], generated=True)
    computed = msgspec.structs.replace(TABLE, columns=(*TABLE.columns[:2], generated, *TABLE.columns[3:]))
    row, then = b"\xf8\x01\x00\x00\x00\x01x\x01", b"\xf8\x01\x00\x00\x00\x01z\x01"
    reading = encoder(computed)
    for body, kind, expected in (
        (b"\xfb" + row, "delete", b'"data":{"id":1,"v":"x","e":"a","g":null}}'),
        (b"\xfb\xfb" + row + then, "update", b'"data":{"id":1,"v":"z","e":"a","g":null},"old":{"v":"x"}}'),
        (ROWS[11:], "insert", b'"data":{"id":2,"v":"y","y":2000,"e":null,"g":null}}'),
    ):
        messages = encoded(reading, kind, ROWS[:11] + body, MYSQL, 0, is_last=True)  # type: ignore[arg-type]
        assert messages[-1].endswith(expected)


def test_an_image_after_an_update_may_have_the_changed_columns_alone() -> None:
    """As MariaDB's FULL_NODUP writes it, and MINIMAL of a table without a key: the image before is whole."""
    before = b"\x10\x01\x00\x00\x00\x01xd\x01"
    body = ROWS[:11] + b"\xff\xe2" + before + b"\xfe\x01z" + before + b"\xff"
    reading = encoder()
    first, second = encoded(reading, "update", body, MYSQL, 0, is_last=True)
    assert first.endswith(b'"data":{"id":1,"v":"z","y":2000,"e":"a","g":null},"old":{"v":"x"}}')
    assert second.endswith(b'"data":{"id":1,"v":null,"y":2000,"e":"a","g":null},"old":{"v":"x"}}')
    assert b'"primary_key":[1]' in first
    (whole,) = encoded(reading, "update", ROWS[:11] + b"\xff\xff" + before * 2, MYSQL, 0, is_last=True)
    assert whole.endswith(b'"e":"a","g":null}}')


@pytest.mark.parametrize(
    ("kind", "images"),
    [
        ("partial", b"\xff\xfb"),  # its documents are counted by the whole image
        ("insert", b"\xef"),
        ("delete", b"\xf9"),  # a plain column is missing too
        ("update", b"\xfb\xff"),  # one image has it, and the other has not: MINIMAL
        ("update", b"\xfa\xfa"),  # the key
    ],
)
def test_images_without_other_columns_are_refused(kind: str, images: bytes) -> None:
    computed = tuple(msgspec.structs.replace(c, generated=c.name in ("id", "y")) for c in TABLE.columns)
    reading = encoder(msgspec.structs.replace(TABLE, columns=computed))
    with pytest.raises(OperationError, match=r"c_x\.t are not whole: .*binlog_row_image"):
        reading.reader(ROWS[:11] + images + ROWS[12:], 10, kind)


def test_vectors_of_mariadb_are_bytes_in_a_varbinary() -> None:
    # CREATE TABLE c_x.t (id INT PRIMARY KEY, v VECTOR(3)): LONG, and VARCHAR of at most twelve bytes
    seen = parse_table_map(b"m\0\0\0\0\0\1\0\3c_x\0\1t\0\2\3\x0f\2\x0c\0\2", mariadb=True)
    table = TableDef(TABLE.name, "utf8mb4", (Column("id", "int"), Column("v", "vector")), ("id",))
    assert resolve_table(seen, table, CHARSETS, COLLATIONS) == table
    (message,) = encoded(
        TableEncoder(seen, table, CHARSETS), "insert", b"m\0\0\0\0\0\1\0\2\0\2\xff\xfc\1\0\0\0\x0c" + b"\0\0\x80?" * 3,
        Transaction(), 0, is_last=True,
    )  # fmt: skip
    assert message.endswith(b'"data":{"id":1,"v":"AACAPwAAgD8AAIA/"}}')


def test_a_message_larger_than_a_megabyte_is_put_together_in_another_way_with_the_same_result() -> None:
    table = TableDef(TABLE.name, "utf8mb4", (Column("id", "int"), Column("b", "longblob")), ("id",))
    # table id and flags, database, table, two columns: LONG and BLOB with four bytes of length
    seen = parse_table_map(b"m\0\0\0\0\0\1\0\3c_x\0\1t\0\2\3\xfc\1\4\2", mariadb=False)
    large = TableEncoder(seen, table, CHARSETS)
    head = b"m\0\0\0\0\0\1\0\2\0\2\xff"
    value = bytes(range(256)) * 8192
    row = b"\xfc\1\0\0\0" + len(value).to_bytes(4, "little") + value
    (message,) = encoded(large, "insert", head + row, MYSQL, 0, is_last=True)
    (small,) = encoded(large, "insert", head + b"\xfc\1\0\0\0\1\0\0\0x", MYSQL, 0, is_last=True)
    assert message == small.replace(b'"eA=="', b'"' + base64.b64encode(value) + b'"')
    (update,) = encoded(large, "update", head + b"\xff" + row + row[:1] + b"\2" + row[2:], MYSQL, 0, is_last=True)
    assert update.endswith(b'"},"old":{"id":1}}')


def test_the_table_map_with_full_metadata_is_a_definition() -> None:
    seen = parse_table_map(FULL_TABLE_MAP, mariadb=False)
    assert seen.names == ("id", "j")
    assert seen.primary_key == (0,)
    table = resolve_table(seen, None, CHARSETS, COLLATIONS)
    assert [(column.name, column.kind, column.unsigned) for column in table.columns] == [
        ("id", "int", False),
        ("j", "json", False),
    ]
    assert table.primary_key == ("id",)


def test_a_table_that_does_not_fit_is_refused_without_names_in_the_binlog() -> None:
    seen = parse_table_map(TABLE_MAP, mariadb=False)
    assert resolve_table(seen, TABLE, CHARSETS, COLLATIONS) == TABLE
    short = TableDef(TABLE.name, "utf8mb4", TABLE.columns[:3], ("id",))
    with pytest.raises(OperationError, match="binlog_row_metadata=FULL"):
        resolve_table(seen, short, CHARSETS, COLLATIONS)
    other = TableDef(TABLE.name, "utf8mb4", (Column("id", "bigint"), *TABLE.columns[1:]), ("id",))
    with pytest.raises(OperationError, match=r"c_x\.t"):
        resolve_table(seen, other, CHARSETS, COLLATIONS)
    with pytest.raises(OperationError, match="is not known"):
        resolve_table(seen, None, CHARSETS, COLLATIONS)


def test_the_table_map_knows_signs_and_character_sets_better_than_what_was_followed() -> None:
    seen = parse_table_map(TABLE_MAP, mariadb=False)
    wrong = (Column("id", "int", unsigned=True), Column("v", "varchar", charset="latin1"), *TABLE.columns[2:])
    assert resolve_table(seen, TableDef(TABLE.name, "utf8mb4", wrong, ("id",)), CHARSETS, COLLATIONS) == TABLE


@pytest.mark.parametrize(
    ("message", "body"),
    [
        (
            SchemaText("database-create", "d", None, None, None, "latin1"),
            b'{"type":"database-create","database":"d","charset":"latin1","ts":1795161865000,"sql":"x \\"y\\"",'
            b'"position":"binlog.000002:4","gtid":"u:1"}',
        ),
        (
            SchemaText("table-drop", "d", "t", None, None, None),
            b'{"type":"table-drop","database":"d","table":"t","ts":1795161865000,"sql":"x \\"y\\"",'
            b'"position":"binlog.000002:4","gtid":"u:1"}',
        ),
        (
            SchemaText("table-alter", "c_x", "t", TABLE, TABLE.renamed(TableName("c_x", "t2")), None),
            b'{"type":"table-alter","database":"c_x","table":"t","old":{"database":"c_x","charset":"utf8mb4","table":"t",'
            b'"primary-key":["id"],"columns":[{"type":"int","name":"id","signed":true},{"type":"varchar","name":"v",'
            b'"charset":"utf8mb4"},{"type":"year","name":"y"},{"type":"enum","name":"e","enum-values":["a"]},'
            b'{"type":"point","name":"g"}]},"def":{"database":"c_x","charset":"utf8mb4","table":"t2",'
            b'"primary-key":["id"],"columns":[{"type":"int","name":"id","signed":true},{"type":"varchar","name":"v",'
            b'"charset":"utf8mb4"},{"type":"year","name":"y"},{"type":"enum","name":"e","enum-values":["a"]},'
            b'{"type":"point","name":"g"}]},"ts":1795161865000,"sql":"x \\"y\\"",'
            b'"position":"binlog.000002:4","gtid":"u:1"}',
        ),
    ],
)
def test_schema_messages_have_maxwells_shape(message: SchemaText, body: bytes) -> None:
    assert encode_schema_message(message, ts=1795161865, sql='x "y"', position="binlog.000002:4", gtid="u:1") == body
