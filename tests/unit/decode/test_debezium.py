"""Values of Debezium's JSON, one by one, with a schema and without."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from pydbsync.decode.debezium import DebeziumTranslator
from pydbsync.errors import DecodeError
from pydbsync.model import Column

SOURCE = {"db": "d", "table": "t", "ts_ms": 5_500, "file": "binlog.000002", "pos": 400, "row": 0, "server_id": 7}
ZONED = "io.debezium.time.ZonedTimestamp"
DECIMAL = "org.apache.kafka.connect.data.Decimal"
POINT = {"x": 1.0, "y": 2.0, "wkb": "AQEAAAAAAAAAAADwPwAAAAAAAABA", "srid": 4326}


def translator(columns: Mapping[str, Column] | None = None, **modes: Any) -> DebeziumTranslator:
    return DebeziumTranslator(lambda table: columns, leaves_out=lambda sql: sql.startswith("CREATE VIEW"), **modes)


def envelope(op: str, before: Any, after: Any, **source: Any) -> dict[str, Any]:
    return {"op": op, "before": before, "after": after, "source": {**SOURCE, **source}}


def with_schema(payload: dict[str, Any], fields: list[dict[str, Any]]) -> bytes:
    parts = [{"field": part, "type": "struct", "fields": fields} for part in ("before", "after")]
    return json.dumps({"schema": {"type": "struct", "fields": parts}, "payload": payload}).encode()


def read(translate: DebeziumTranslator, body: bytes | dict[str, Any]) -> list[dict[str, Any]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return [json.loads(message) for message in translate(raw)]


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ({"type": "int32", "name": "io.debezium.time.Date"}, -354285, "1000-01-01"),
        ({"type": "int32", "name": "org.apache.kafka.connect.data.Date"}, 19782, "2024-02-29"),
        ({"type": "int64", "name": "io.debezium.time.Timestamp"}, -30610223999999, "1000-01-01 00:00:00.001000"),
        ({"type": "int64", "name": "io.debezium.time.MicroTimestamp"}, 1, "1970-01-01 00:00:00.000001"),
        ({"type": "int64", "name": "io.debezium.time.NanoTimestamp"}, 1_000, "1970-01-01 00:00:00.000001"),
        ({"type": "string", "name": ZONED}, "1970-01-01T00:00:01.1Z", "1970-01-01 00:00:01.100000"),
        ({"type": "string", "name": ZONED}, "2024-01-01T00:00:00+08:00", "2023-12-31 16:00:00"),
        ({"type": "int64", "name": "io.debezium.time.MicroTime"}, -3020399000001, "-838:59:59.000001"),
        ({"type": "int32", "name": "io.debezium.time.Time"}, 3_600_000, "01:00:00"),
        ({"type": "int32", "name": "io.debezium.time.Year"}, 1901, 1901),
        ({"type": "string", "name": "io.debezium.time.IsoDate"}, "2024-02-29Z", "2024-02-29"),
        ({"type": "string", "name": "io.debezium.time.IsoTimestamp"}, "2024-02-29T01:02:03Z", "2024-02-29 01:02:03"),
        ({"type": "string", "name": "io.debezium.time.IsoTime"}, "01:02:03Z", "01:02:03"),
        ({"type": "array", "name": "io.debezium.data.FloatVector"}, [0.1, -2], "zczMPQAAAMA="),
        ({"type": "bytes", "name": "io.debezium.data.Bits", "parameters": {"length": "20"}}, "//8P", 1048575),
        ({"type": "boolean"}, True, True),
        ({"type": "string", "name": "io.debezium.data.EnumSet"}, "a,b", ["a", "b"]),
        ({"type": "string", "name": "io.debezium.data.EnumSet"}, "", []),
        ({"type": "string", "name": "io.debezium.data.Enum", "parameters": {"allowed": r"x\,y,z"}}, r"x\,y", "x,y"),
        ({"type": "string", "name": "io.debezium.data.Enum", "parameters": {"allowed": "a,b"}}, "", 0),
        ({"type": "string", "name": "io.debezium.data.Enum", "parameters": {"allowed": "a,,b"}}, "", ""),
        ({"type": "string", "name": "io.debezium.data.Json"}, '{"a": 1.50}', {"a": 1.5}),
        ({"type": "struct", "name": "io.debezium.data.geometry.Point"}, POINT, "SRID=4326;POINT (1 2)"),
        ({"type": "bytes"}, "AP8=", "AP8="),
        ({"type": "string", "name": "io.debezium.data.Uuid"}, "123e4567-e89b-12d3-a456-426655440000",
         "123e4567-e89b-12d3-a456-426655440000"),
        ({"type": "string"}, "2024-01-01", "2024-01-01"),
        ({"type": "int64", "name": "io.debezium.time.MicroTime"}, None, None),
    ],
)  # fmt: skip
def test_a_value_is_read_by_the_schema_of_its_message(field: dict[str, Any], value: Any, expected: Any) -> None:
    (message,) = read(translator(), with_schema(envelope("c", None, {"v": value}), [{"field": "v", **field}]))
    assert message["data"] == {"v": expected}


@pytest.mark.parametrize(
    ("unscaled", "scale", "expected"),
    [
        ("AA==", 2, "0.00"),
        ("+w==", 2, "-0.05"),
        ("SZYC0g==", 2, "12345678.90"),
        ("/wzp2OOAPG91dBC5sca6EIXayfYAAAAAAAAAAQ==", 0, "-" + "9" * 65),
    ],
)
def test_a_decimal_keeps_every_digit(unscaled: str, scale: int, expected: str) -> None:
    field = {"field": "v", "type": "bytes", "name": DECIMAL, "parameters": {"scale": str(scale)}}
    (message,) = translator()(with_schema(envelope("c", None, {"v": unscaled}), [field]))
    assert b'"data":{"v":%s}' % expected.encode() in message


def test_the_place_of_a_row_is_its_event_and_number() -> None:
    field = [{"field": "id", "type": "int32"}]
    (message,) = read(translator(), with_schema(envelope("c", None, {"id": 1}, row=3, gtid="u:9", thread=4), field))
    assert message == {
        "database": "d", "table": "t", "type": "insert", "ts": 5, "xoffset": 7, "position": "binlog.000002:400",
        "gtid": "u:9", "server_id": 7, "thread_id": 4, "data": {"id": 1},
    }  # fmt: skip


def test_an_update_tells_what_changed_and_a_changed_key_comes_as_two_changes_with_places_of_their_own() -> None:
    fields = [{"field": "id", "type": "int32"}, {"field": "v", "type": "int32"}]
    before, after = {"id": 1, "v": 5}, {"id": 1, "v": 6}
    (update,) = read(translator(), with_schema(envelope("u", before, after), fields))
    assert (update["type"], update["data"], update["old"]) == ("update", after, {"v": 5})
    (gone,) = read(translator(), with_schema(envelope("d", before, None, row=1), fields))
    (came,) = read(translator(), with_schema(envelope("c", None, {"id": 2, "v": 5}, row=1), fields))
    assert gone["xoffset"] < came["xoffset"]


def test_rows_of_a_snapshot_have_no_place() -> None:
    fields = [{"field": "id", "type": "int32"}]
    for op, snapshot in (("r", "true"), ("r", "incremental"), ("c", "last")):
        (message,) = read(translator(), with_schema(envelope(op, None, {"id": 1}, snapshot=snapshot), fields))
        assert message["type"] == "bootstrap-insert"
        assert not {"position", "xoffset"} & set(message)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"default",
        b'{"schema": null, "payload": null}',
        b'{"ts_ms": 1}',
        b'{"status": "BEGIN", "id": "x", "ts_ms": 1}',
    ],
)
def test_what_changes_nothing_gives_no_message(body: bytes) -> None:
    assert translator()(body) == []


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "it is no object"),
        (b"{", "not JSON"),
        (b'{"id": 1}', "ExtractNewRecordState"),
        (b"{}", "no envelope of Debezium"),
        (json.dumps(envelope("x", None, None)).encode(), "unknown operation 'x'"),
        (with_schema(envelope("u", None, {"id": 1}), [{"field": "id", "type": "int32"}]), "binlog_row_image FULL"),
        (json.dumps(envelope("c", None, {"id": 1})).encode(), "without its schema"),
        (json.dumps(envelope("d", None, None)).encode(), "no image before"),
    ],
)
def test_what_cannot_be_read_says_why(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        translator()(body)


def test_a_type_that_is_not_known_is_refused() -> None:
    field = {"field": "v", "type": "int64", "name": "io.debezium.time.Fortnight"}
    with pytest.raises(DecodeError, match="Fortnight"):
        translator()(with_schema(envelope("c", None, {"v": 1}), [field]))


def test_text_for_a_column_of_documents_is_one_document_as_a_mariadb_has_it() -> None:
    columns = {"v": Column("v", "json")}
    message = envelope("c", None, {"v": '{"a": "b"}'})
    told = {"name": "v", "typeName": "LONGTEXT", "length": None, "scale": None, "charsetName": "utf8mb4"}
    made = {"type": "CREATE", "id": '"d"."t"', "table": {"columns": [told]}}
    without = translator(columns)
    without(json.dumps(schema_change("CREATE TABLE t (v JSON)", [made])).encode())
    for translate, body in (
        (translator(columns), with_schema(message, [{"field": "v", "type": "string"}])),
        (without, json.dumps(message).encode()),
    ):
        assert read(translate, body)[0]["data"] == {"v": {"a": "b"}}


def test_a_uuid_whose_zeros_the_connector_may_have_moved_is_refused() -> None:
    """As 3.6.1 sent 123e4567-e89b-12d3-a456-426655440000 of a MariaDB 10.11."""
    field = {"field": "v", "type": "string", "name": "io.debezium.data.Uuid"}
    body = with_schema(envelope("c", None, {"v": "0000123e-4567-e89b-12d3-a45642665544"}), [field])
    with pytest.raises(DecodeError, match="may be another one"):
        translator()(body)
    plain = json.dumps(envelope("c", None, {"v": "0000123e-4567-e89b-12d3-a45642665544"})).encode()
    with pytest.raises(DecodeError, match="may be another one"):
        translator({"v": Column("v", "uuid")})(plain)


def test_text_for_a_binary_column_is_refused_unless_its_spelling_is_told() -> None:
    columns = {"v": Column("v", "blob")}
    body = with_schema(envelope("c", None, {"v": "6162"}), [{"field": "v", "type": "string"}])
    with pytest.raises(DecodeError, match=r"binary\.handling\.mode"):
        translator(columns)(body)
    assert read(translator(columns, binaries="hex"), body)[0]["data"] == {"v": "YWI="}
    assert read(translator(columns, binaries="base64"), body)[0]["data"] == {"v": "6162"}


@pytest.mark.parametrize(
    ("column", "value", "expected", "modes"),
    [
        (Column("v", "date"), 19782, "2024-02-29", {}),
        (Column("v", "datetime", digits=3), 1, "1970-01-01 00:00:00.001000", {}),
        (Column("v", "datetime", digits=6), 1, "1970-01-01 00:00:00.000001", {}),
        (Column("v", "datetime", digits=6), 1, "1970-01-01 00:00:00.001000", {"times": "connect"}),
        (Column("v", "time"), 1, "00:00:00.000001", {}),
        (Column("v", "time", digits=3), 1, "00:00:00.001000", {"times": "adaptive"}),
        (Column("v", "date"), 19782, "2024-02-29", {"times": "nanoseconds"}),
        (Column("v", "datetime"), 1, "1970-01-01 00:00:00.000001", {"times": "microseconds"}),
        (Column("v", "time", digits=3), 1, "00:00:00.000001", {"times": "microseconds"}),
        (Column("v", "datetime", digits=6), -1_000, "1969-12-31 23:59:59.999999", {"times": "nanoseconds"}),
        (Column("v", "time", digits=6), 3_600_000_001_000, "01:00:00.000001", {"times": "nanoseconds"}),
        (Column("v", "date"), "2024-02-29Z", "2024-02-29", {"times": "isostring"}),
        (Column("v", "datetime", digits=3), "2024-02-29T01:02:03.5Z", "2024-02-29 01:02:03.5", {"times": "isostring"}),
        (Column("v", "time"), "01:02:03Z", "01:02:03", {"times": "isostring"}),
        (Column("v", "uuid"), "123e4567-e89b-12d3-a456-426655440000", "123e4567-e89b-12d3-a456-426655440000", {}),
        (Column("v", "timestamp"), "2024-01-01T00:00:00Z", "2024-01-01 00:00:00", {}),
        (Column("v", "decimal", column_type="decimal(10,2)"), "+w==", -0.05, {}),
        (Column("v", "decimal", column_type="decimal(10,2)"), "-0.05", -0.05, {"decimals": "string"}),
        (Column("v", "bigint", unsigned=True), -1, 2**64 - 1, {}),
        (Column("v", "bigint", unsigned=True), "AP//////////", 2**64 - 1, {}),
        (Column("v", "bigint"), -1, -1, {}),
        (Column("v", "vector"), [0.1, -2], "zczMPQAAAMA=", {}),
        (Column("v", "bit", size=20), "//8P", 1048575, {}),
        (Column("v", "bit", size=1), True, 1, {}),
        (Column("v", "set"), "a,b", ["a", "b"], {}),
        (Column("v", "enum", labels=("a",)), "", 0, {}),
        (Column("v", "json"), "[1]", [1], {}),
        (Column("v", "point"), POINT, "SRID=4326;POINT (1 2)", {}),
        (Column("v", "blob"), "6162", "YWI=", {"binaries": "hex"}),
    ],
)
def test_without_a_schema_a_value_is_read_by_its_column(
    column: Column, value: Any, expected: Any, modes: dict[str, str]
) -> None:
    (message,) = read(translator({"v": column}, **modes), envelope("c", None, {"v": value}))
    assert message["data"] == {"v": expected}


def schema_change(ddl: str, changes: list[dict[str, Any]], **source: Any) -> dict[str, Any]:
    return {"source": {**SOURCE, **source}, "databaseName": "d", "ddl": ddl, "tableChanges": changes}


def test_columns_that_the_stream_told_last_come_before_those_of_the_target() -> None:
    translate = translator({"v": Column("v", "int")})
    column = {"name": "v", "typeName": "DATETIME", "length": 6, "scale": None, "charsetName": None}
    table = {"type": "ALTER", "id": '"d"."t"', "table": {"columns": [column]}}
    (message,) = read(translate, schema_change("ALTER TABLE t MODIFY v DATETIME(6)", [table]))
    assert (message["type"], message["database"], message["table"], message["ts"]) == ("table-alter", "d", "t", 5000)
    (row,) = read(translate, envelope("c", None, {"v": 1}))
    assert row["data"] == {"v": "1970-01-01 00:00:00.000001"}
    assert read(translate, schema_change("DROP TABLE t", [{**table, "type": "DROP"}]))[0]["type"] == "table-drop"
    (row,) = read(translate, envelope("c", None, {"v": 1}))
    assert row["data"] == {"v": 1}


@pytest.mark.parametrize(
    ("ddl", "expected"),
    [
        ("CREATE DATABASE d", [("database-create", None)]),
        ("DROP SCHEMA d", [("database-drop", None)]),
        ("CREATE INDEX i ON t (v)", [("table-alter", "t")]),
        ("CREATE VIEW w AS SELECT 1", []),
    ],
)
def test_a_statement_that_changed_no_table_by_the_connector_s_word_is_told_by_its_own(
    ddl: str, expected: list[tuple[str, str | None]]
) -> None:
    found = read(translator(), schema_change(ddl, []))
    assert [(message["type"], message.get("table")) for message in found] == expected


def test_the_statements_of_a_snapshot_are_left_out() -> None:
    assert translator()(json.dumps(schema_change("DROP TABLE IF EXISTS `d`.`t`", [], snapshot="true")).encode()) == []


def test_a_truncation_is_a_statement() -> None:
    (message,) = read(translator(), envelope("t", None, None, table="a`b"))
    assert message["sql"] == "TRUNCATE TABLE `d`.`a``b`"


def test_a_table_that_changes_is_read_by_its_new_columns() -> None:
    columns: list[Mapping[str, Column]] = [{"v": Column(name="v", kind="varchar")}]
    translate = DebeziumTranslator(lambda table: columns[-1], leaves_out=lambda sql: False, binaries="hex")
    body = with_schema(envelope("c", None, {"v": "00ff"}), [{"field": "v", "type": "string"}])
    assert [read(translate, body)[0]["data"] for _ in range(2)] == [{"v": "00ff"}] * 2
    columns.append({"v": Column(name="v", kind="varbinary")})
    assert read(translate, body)[0]["data"] == {"v": "AP8="}
    columns.pop()
    assert read(translate, body)[0]["data"] == {"v": "00ff"}


def test_one_table_with_two_schemas_is_read_by_each_of_them() -> None:
    translate = translator()
    days = [{"field": "v", "type": "int32", "name": "io.debezium.time.Date"}]
    plain = [{"field": "v", "type": "int32"}]
    for _ in range(2):
        assert read(translate, with_schema(envelope("c", None, {"v": 1}), days))[0]["data"] == {"v": "1970-01-02"}
        assert read(translate, with_schema(envelope("c", None, {"v": 1}), plain))[0]["data"] == {"v": 1}


@pytest.mark.parametrize(
    ("applied", "told", "expected"),
    [
        (
            ("", 0), [4, 3_000_000_000, 100, 2_000_000_000, 4_000_000_000, 50],
            [4, 3_000_000_000, 2**32 + 100, 2**32 + 2_000_000_000, 2**32 + 4_000_000_000, 2**33 + 50],
        ),
        (("binlog.000002", 2**32 + 700), [600, 700, 800], [2**32 + 600, 2**32 + 700, 2**32 + 800]),
        (("binlog.000002", 2**32 - 10), [2**32 - 20, 300], [2**32 - 20, 2**32 + 300]),
        (("binlog.000001", 2**32 + 700), [4, 800], [4, 800]),
        (("binlog.000002", 900), [100, 900, 1000], [100, 900, 1000]),
    ],
)  # fmt: skip
def test_offsets_beyond_4_gib_are_counted_on(applied: tuple[str, int], told: list[int], expected: list[int]) -> None:
    translate = translator({"v": Column(name="v", kind="int")}, last_place=lambda: applied)
    found = [read(translate, envelope("c", None, {"v": 1}, pos=pos))[0]["position"] for pos in told]
    assert found == [f"binlog.000002:{offset}" for offset in expected]
