"""canal's flat messages: documented examples, and each type as canal writes it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from typing import Any

import pytest

from pydbsync.decode.canal import CanalTranslator
from pydbsync.errors import DecodeError
from pydbsync.model import Column


def translator(time_zone: str = "UTC", columns: Mapping[str, Column] | None = None) -> CanalTranslator:
    return CanalTranslator(
        time_zone, columns_of=lambda table: columns, leaves_out=lambda sql: sql.startswith("CREATE VIEW")
    )


def message(kind: str, types: dict[str, str], data: Any, old: Any = None, **more: Any) -> bytes:
    return json.dumps(
        {
            "id": 1, "database": "d", "table": "t", "pkNames": ["id"], "isDdl": False, "type": kind,
            "es": 1_700_000_001_000, "ts": 1_700_000_002_000, "sql": "", "sqlType": {}, "mysqlType": types,
            "data": data, "old": old, **more,
        }
    ).encode()  # fmt: skip


def read(body: bytes, translate: CanalTranslator | None = None) -> list[dict[str, Any]]:
    return [json.loads(each) for each in (translate or translator())(body)]


def test_each_row_of_a_message_is_a_change_in_order() -> None:
    rows = [{"id": "1", "v": "a"}, {"id": "2", "v": None}]
    assert read(message("INSERT", {"id": "bigint(20) unsigned", "v": "varchar(32)"}, rows)) == [
        {"database": "d", "table": "t", "type": "insert", "ts": 1_700_000_001, "data": {"id": 1, "v": "a"}},
        {"database": "d", "table": "t", "type": "insert", "ts": 1_700_000_001, "data": {"id": 2, "v": None}},
    ]


def test_an_update_has_what_changed_and_a_deletion_the_row() -> None:
    types = {"id": "int", "v": "text"}
    (update,) = read(message("UPDATE", types, [{"id": "2", "v": "b"}], [{"id": "1", "v": None}]))
    assert (update["type"], update["data"], update["old"]) == ("update", {"id": 2, "v": "b"}, {"id": 1, "v": None})
    (delete,) = read(message("DELETE", types, [{"id": "2", "v": "b"}]))
    assert (delete["type"], delete["data"]) == ("delete", {"id": 2, "v": "b"})


@pytest.mark.parametrize("old", [None, []])
def test_rows_of_which_none_changed_are_rows_as_they_are(old: Any) -> None:
    """As where canal leaves out the columns that did (canal.instance.filter.field)."""
    rows = [{"id": "1"}, {"id": "2"}]
    found = read(message("UPDATE", {"id": "int"}, rows, old))
    assert [(each["type"], each["data"], each.get("old")) for each in found] == [
        ("update", {"id": number}, None) for number in (1, 2)
    ]


def test_former_values_that_nobody_can_assign_to_their_rows_are_refused() -> None:
    with pytest.raises(DecodeError, match="2 rows and the former values of 1"):
        read(message("UPDATE", {"id": "int"}, [{"id": "1"}, {"id": "2"}], [{"id": "0"}]))


RAW = bytes(range(256))


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("int(10) unsigned zerofill", "0000000042", "42"),
        ("bigint", "-9223372036854775808", "-9223372036854775808"),
        ("decimal(65,30)", "-0." + "0" * 29 + "1", "-0." + "0" * 29 + "1"),
        ("double", "1.0E10", "1.0E10"),
        ("year(4)", "0", "0"),
        ("bit(64)", "18446744073709551615", "18446744073709551615"),
        ("blob", RAW.decode("latin-1"), json.dumps(base64.b64encode(RAW).decode())),
        ("binary(4)", "a\x00", '"YQA="'),
        ("varchar(10)", "007", '"007"'),
        ("NATIONAL VARCHAR(10)", "007", '"007"'),
        ("TEXT(300)", "é😀".encode().decode("latin-1"), '"é😀"'),
        ("LONG VARCHAR", "é".encode().decode("latin-1"), '"é"'),
        ("LONG VARBINARY", "\xff", '"/w=="'),
        ("DEC(5,2)", "007.50", "7.50"),
        ("datetime(6)", "2024-01-01 00:00:00.000001", '"2024-01-01 00:00:00.000001"'),
        ("time(3)", "-838:59:59.001", '"-838:59:59.001"'),
        ("json", '{"a": 1.50, "b": null}', '{"a": 1.50, "b": null}'),
        ("enum('a','it''s','x,y')", "3", '"x,y"'),
        ("enum('a','it''s','x,y')", "2", '"it\'s"'),
        ("enum('a')", "0", "0"),
        ("set('a','b','c')", "5", '["a","c"]'),
        ("set('a','b','c')", "0", "[]"),
        (
            "point",
            (b"\xe6\x10\0\0" + base64.b64decode("AQEAAAAAAAAAAADwPwAAAAAAAABA")).decode("latin-1"),
            '"SRID=4326;POINT (1 2)"',
        ),
    ],
)
def test_a_value_is_read_by_its_type(kind: str, text: str, expected: str) -> None:
    (found,) = translator()(message("INSERT", {"v": kind}, [{"v": text}]))
    assert f'"data":{{"v":{expected}}}'.encode() in found


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("int", "x"),
        ("int", "1" * 5 + "e"),
        ("enum('a')", "2"),
        ("set('a')", "2"),
        ("json", "{"),
        ("point", "short"),
        ("text(300)", "\xff"),
        ("uuid", "\x01"),
    ],
)
def test_a_value_that_is_none_of_its_type_is_refused(kind: str, text: str) -> None:
    with pytest.raises(DecodeError, match="cannot be read"):
        translator()(message("INSERT", {"v": kind}, [{"v": text}]))


def test_a_document_that_a_mariadb_has_as_text_is_a_document() -> None:
    body = message("INSERT", {"V": "longtext"}, [{"V": '{"a": "b"}'}])
    assert read(body, translator(columns={"v": Column("v", "json")}))[0]["data"] == {"V": {"a": "b"}}
    assert read(body, translator(columns={"v": Column("v", "longtext")}))[0]["data"] == {"V": '{"a": "b"}'}


def test_a_column_without_a_type_is_refused() -> None:
    with pytest.raises(DecodeError, match="mysqlType"):
        translator()(message("INSERT", {}, [{"v": "1"}]))


def test_a_timestamp_is_of_canal_s_own_zone() -> None:
    body = message("INSERT", {"v": "timestamp(3)"}, [{"v": "2024-01-01 08:00:00.5"}])
    assert read(body, translator("Asia/Shanghai"))[0]["data"] == {"v": "2024-01-01 00:00:00.5"}
    assert read(body)[0]["data"] == {"v": "2024-01-01 08:00:00.5"}
    twice = message("INSERT", {"v": "timestamp"}, [{"v": "2024-10-27 02:30:00"}])
    with pytest.raises(DecodeError, match="comes twice"):
        translator("Europe/Berlin")(twice)


@pytest.mark.parametrize(
    ("kind", "sql", "expected"),
    [
        ("CREATE", "CREATE TABLE t (id int)", [("table-create", "t")]),
        ("ERASE", "DROP TABLE t", [("table-alter", "t")]),  # one message, whatever tables it drops
        ("QUERY", "DROP DATABASE IF EXISTS d", [("database-drop", None)]),
        ("TRUNCATE", "TRUNCATE TABLE t", [("table-alter", "t")]),
        ("CINDEX", "CREATE INDEX i ON t (id)", [("table-alter", "t")]),
        ("QUERY", "CREATE DATABASE d", [("database-create", None)]),
        ("QUERY", "CREATE VIEW w AS SELECT 1", []),
    ],
)
def test_a_statement_is_of_its_kind(kind: str, sql: str, expected: list[tuple[str, str | None]]) -> None:
    body = message(kind, {}, None, isDdl=True, sql=sql)
    assert [(each["type"], each.get("table")) for each in read(body)] == expected


def test_a_database_is_called_what_stands_between_its_backticks() -> None:
    for written, name in (("`a``b`", "a`b"), ("`c_db-3`", "c_db-3"), ("plain", "plain")):
        (found,) = read(message("QUERY", {}, None, isDdl=True, database=written, sql=f"CREATE DATABASE {written}"))
        assert (found["type"], found["database"]) == ("database-create", name)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"[]", "no flat message"),
        (
            message("QUERY", {}, None, isDdl=True, database="", table="", sql="CREATE TABLE i (a INT INVISIBLE)"),
            "does not tell its database: CREATE TABLE i",
        ),
        (b"{", "not JSON"),
        (message("INSERT", {}, None, isDdl=True, sql=" "), "no statement"),
        (message("MERGE", {"v": "int"}, [{"v": "1"}]), "unknown type 'MERGE'"),
    ],
)
def test_what_cannot_be_read_says_why(body: bytes, reason: str) -> None:
    with pytest.raises(DecodeError, match=reason):
        translator()(body)
