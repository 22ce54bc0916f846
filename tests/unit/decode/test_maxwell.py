"""Decoding: every type of message becomes its change, and everything else is refused with the reason."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pydbsync.decode.maxwell import decode_message
from pydbsync.errors import DecodeError
from pydbsync.model import COMMIT_ROW, NO_JSON, Marker, RowChange, SchemaChange, SessionSettings
from tests.corpus import STREAM, cases, lossy_cases

ROW: dict[str, Any] = {
    "database": "shop", "table": "orders", "type": "insert", "ts": 1795162032, "xid": 7931, "xoffset": 2,
    "position": "binlog.000002:1008149", "gtid": "714f9c60-e4b2-11f1-9c62-02fc00000001:1054", "server_id": 11,
    "thread_id": 320, "primary_key": [1], "primary_key_columns": ["id"], "data": {"id": 1, "name": "ä"},
}  # fmt: skip

DDL: dict[str, Any] = {
    "type": "table-alter", "database": "shop", "table": "orders", "ts": 1795162032000,
    "old": {"database": "shop", "table": "orders", "columns": []}, "def": {"database": "shop", "table": "o2"},
    "sql": "RENAME TABLE orders TO o2", "position": "binlog.000002:1007748", "gtid": "714f9c60:1053", "charset": "utf8",
}  # fmt: skip


def body(message: dict[str, Any], **changed: Any) -> bytes:
    """The message as Maxwell prints it; a field of ... is left out."""
    merged = {**message, **changed}
    return json.dumps({name: value for name, value in merged.items() if value is not ...}).encode()


def decode_row(message: bytes) -> RowChange:
    change = decode_message(message)
    assert isinstance(change, RowChange)
    return change


# -- rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["insert", "update", "delete", "bootstrap-insert"])
def test_a_row_message_becomes_a_row_change(kind: str) -> None:
    old = {"name": "b"} if kind == "update" else ...
    change = decode_row(body(ROW, type=kind, old=old))
    assert (change.kind, change.database, change.table, change.ts) == (kind, "shop", "orders", 1795162032)
    assert (change.xid, change.xoffset, change.commit) == (7931, 2, False)
    assert (change.position, change.gtid) == (ROW["position"], ROW["gtid"])
    assert (change.server_id, change.thread_id) == (11, 320)
    assert json.loads(bytes(change.data)) == {"id": 1, "name": "ä"}
    assert change.old is NO_JSON if kind != "update" else json.loads(bytes(change.old)) == {"name": "b"}


def test_values_stay_the_text_that_maxwell_wrote() -> None:
    raw = b'{"database":"d","table":"t","type":"insert","ts":1,"data":{ "a":1.10, "b":"\\u00e9\\/", "j":{"x":1e7} }}'
    assert bytes(decode_row(raw).data) == b'{ "a":1.10, "b":"\\u00e9\\/", "j":{"x":1e7} }'


def test_the_last_row_of_a_transaction_has_commit_instead_of_a_number() -> None:
    change = decode_row(body(ROW, xoffset=..., commit=True))
    assert change.commit
    assert change.xoffset is None


@pytest.mark.parametrize(
    "missing", ["xid", "xoffset", "position", "gtid", "server_id", "thread_id", "primary_key", "primary_key_columns"]
)
def test_a_row_needs_none_of_the_optional_fields(missing: str) -> None:
    change = decode_row(body(ROW, **{missing: ...}))
    assert getattr(change, missing, None) is None
    assert change.database == "shop"


def test_an_update_without_old_is_one_whose_change_maxwell_cannot_see() -> None:
    assert decode_row(body(ROW, type="update")).old is NO_JSON


def test_an_empty_old_is_not_the_same_as_none() -> None:
    assert bytes(decode_row(body(ROW, type="update", old={})).old) == b"{}"


@pytest.mark.parametrize(
    "extra",
    [
        {"push_ts": 1795162032123}, {"reason": "x", "query": "INSERT …"}, {"schema_id": 5, "comment": None},
        {"unknown": [1, {"a": {"b": []}}]}, {"data_": {"id": 2}}, {"_partition_hash": -1},
    ],
)  # fmt: skip
def test_fields_that_are_unknown_are_left_alone(extra: dict[str, Any]) -> None:
    assert decode_message(body(ROW, **extra)) == decode_message(body(ROW))
    assert decode_message(body(DDL, **extra)) == decode_message(body(DDL))


def test_white_space_around_a_message_does_not_matter() -> None:
    assert decode_message(b" \t" + body(ROW) + b"\r\n") == decode_message(body(ROW))


def test_the_largest_numbers_of_a_binlog_are_read() -> None:
    change = decode_row(
        body(ROW, ts=2**32 - 1, server_id=2**32 - 1, xoffset=COMMIT_ROW - 1, thread_id=2**63, xid=2**64)
    )
    assert (change.ts, change.server_id, change.xoffset) == (2**32 - 1, 2**32 - 1, COMMIT_ROW - 1)


# -- schema changes and markers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["table-create", "table-alter", "table-drop"])
def test_a_schema_message_of_a_table_becomes_a_schema_change(kind: str) -> None:
    change = decode_message(body(DDL, type=kind))
    assert isinstance(change, SchemaChange)
    assert (change.kind, change.database, change.table) == (kind, "shop", "orders")
    assert (change.sql, change.position, change.gtid) == (DDL["sql"], DDL["position"], DDL["gtid"])
    assert json.loads(bytes(change.old)) == DDL["old"]
    assert json.loads(bytes(change.def_)) == DDL["def"]


@pytest.mark.parametrize("kind", ["database-create", "database-alter", "database-drop"])
def test_a_schema_message_of_a_database_has_no_table(kind: str) -> None:
    change = decode_message(body(DDL, type=kind, table=..., old=..., **{"def": ...}))
    assert isinstance(change, SchemaChange)
    assert (change.kind, change.table, change.charset) == (kind, None, "utf8")
    assert change.old is NO_JSON
    assert change.def_ is NO_JSON


def test_a_schema_message_needs_neither_position_nor_charset_nor_descriptions() -> None:
    change = decode_message(body(DDL, position=..., gtid=..., charset=..., old=..., **{"def": ...}))
    assert isinstance(change, SchemaChange)
    assert (change.position, change.gtid, change.charset) == (None, None, None)


def test_the_session_of_a_schema_message_is_read_where_it_is_sent() -> None:
    change = decode_message(body(DDL, session={"time_zone": "+05:00", "timestamp": 1.5, "something_newer": [1]}))
    assert isinstance(change, SchemaChange)
    assert change.session == SessionSettings(time_zone="+05:00", timestamp=1.5)
    with pytest.raises(DecodeError, match="sql_mode"):
        decode_message(body(DDL, session={"sql_mode": 5}))
    without = decode_message(body(DDL))
    assert isinstance(without, SchemaChange)
    assert without.session is None


def test_the_time_of_a_schema_message_is_in_milliseconds() -> None:
    change = decode_message(body(DDL, ts=1795162032999))
    assert isinstance(change, SchemaChange)
    assert change.ts == 1795162032


@pytest.mark.parametrize("kind", ["bootstrap-start", "bootstrap-complete"])
def test_the_ends_of_a_bootstrap_are_markers(kind: str) -> None:
    marker = decode_message(body(ROW, type=kind, data={}, primary_key=[None], comment="x"))
    assert marker == Marker(kind=kind, database="shop", table="orders", ts=1795162032)  # type: ignore[arg-type]


# -- poison ----------------------------------------------------------------------------------------------------------

DEEP = b"[" * 100_000 + b"]" * 100_000

POISON = {
    "empty": (b"", "not JSON"),
    "cut": (body(ROW)[:-1], "not JSON"),
    "two messages": (body(ROW) + body(ROW), "not JSON"),
    "no JSON": (b"hello", "not JSON"),
    "not a number": (body(ROW).replace(b'"id": 1', b'"id": NaN'), "not JSON"),
    "wrong escape": (body(ROW).replace(b"orders", b"or\\qders"), "not JSON"),
    "half a surrogate pair": (body(ROW).replace(b"orders", b"\\ud83d"), "not JSON"),
    "byte order mark": (b"\xef\xbb\xbf" + body(ROW), "not JSON"),
    "invalid UTF-8": (body(ROW).replace(b"orders", b"or\xe9ders"), "not UTF-8: byte 0xe9 at "),
    "invalid UTF-8 in a value": (body(ROW).replace(b"\\u00e4", b"\xe4"), "not UTF-8: byte 0xe4 at "),
    "surrogate in UTF-8": (body(ROW).replace(b"orders", b"\xed\xa0\xbd"), "not UTF-8"),
    "overlong UTF-8": (body(ROW).replace(b"orders", b"\xc0\x80"), "not UTF-8"),
    "a list": (b"[]", "Expected `object`, got `array`"),
    "null": (b"null", "Expected `object`, got `null`"),
    "text": (b'"insert"', "Expected `object`, got `str`"),
    "an empty object": (b"{}", "missing required field `type`"),
    "unknown type": (body(ROW, type="truncate"), "unknown type 'truncate'"),
    "a type that is no text": (body(ROW, type=5), "Expected `str`, got `int`"),
    "a heartbeat of another format": (body(ROW, type="heartbeat"), "unknown type 'heartbeat'"),
    "row without database": (body(ROW, database=...), "missing required field `database`"),
    "row without table": (body(ROW, table=...), "missing required field `table`"),
    "row without data": (body(ROW, data=...), "missing required field `data`"),
    "row without ts": (body(ROW, ts=...), "missing required field `ts`"),
    "table is no text": (body(ROW, table=None), "Expected `str`, got `null`"),
    "position is no text": (body(ROW, position=7), "Expected `str | null`, got `int`"),
    "commit is no flag": (body(ROW, commit="yes"), "Expected `bool`, got `str`"),
    "xoffset is no number": (body(ROW, xoffset="2"), "Expected `int | null`, got `str`"),
    "negative xoffset": (body(ROW, xoffset=-1), "Expected `int` >= 0"),
    "xoffset past the commit row": (body(ROW, xoffset=COMMIT_ROW), "Expected `int` "),
    "negative ts": (body(ROW, ts=-1), "Expected `int` >= 0"),
    "huge ts": (body(ROW, ts=10**30), "Expected `int` "),
    "ts with a fraction": (body(ROW, ts=1.5), "Expected `int`, got `float`"),
    "server_id past the binlog's": (body(ROW, server_id=2**32), "Expected `int` "),
    "schema change without sql": (body(DDL, sql=...), "missing required field `sql`"),
    "schema change with a huge ts": (body(DDL, ts=2**32 * 1000), "Expected `int` "),
    "marker without table": (body(ROW, type="bootstrap-start", table=...), "missing required field `table`"),
    "deep value": (body(ROW).replace(b'"\\u00e4"', DEEP), "nests"),
    "deep unknown field": (body(ROW)[:-1] + b', "x": ' + DEEP + b"}", "nests"),
    "deep schema change": (body(DDL)[:-1] + b', "x": ' + DEEP + b"}", "nests"),
    "deep list": (DEEP, "Expected `object`, got `array`"),
}


@pytest.mark.parametrize("name", POISON)
def test_poison_is_refused_with_its_reason(name: str) -> None:
    poison, reason = POISON[name]
    with pytest.raises(DecodeError) as caught:
        decode_message(poison)
    text = str(caught.value)
    assert reason in text
    assert text.startswith("the message ")
    assert len(text) < 200, "it is for people"


@given(st.binary(max_size=40))
@example(b"\xff")
def test_any_bytes_are_a_change_or_refused(message: bytes) -> None:
    with pytest.raises(DecodeError):
        decode_message(message)


@given(st.sampled_from([body(ROW), body(DDL), body(ROW, type="bootstrap-start")]), st.data())
def test_a_message_that_was_damaged_is_a_change_or_refused(message: bytes, data: st.DataObject) -> None:
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(message)))
        cut = data.draw(st.integers(0, 5))
        message = message[:at] + data.draw(st.binary(max_size=3)) + message[at + cut :]
    try:
        change = decode_message(message)
    except DecodeError:
        return
    assert isinstance(change, RowChange | SchemaChange | Marker)


# -- what a real Maxwell wrote ---------------------------------------------------------------------------------------


def test_every_recorded_message_is_read() -> None:
    kinds: Counter[str] = Counter()
    for case in (*cases("mariadb"), *cases("mysql"), *lossy_cases("mariadb"), *lossy_cases("mysql"), STREAM):
        for message in case.messages:
            change, raw = decode_message(message), json.loads(message)
            kinds[raw["type"]] += 1
            assert (change.kind, change.database) == (raw["type"], raw["database"])
            if isinstance(change, RowChange):
                assert (change.xoffset is None) == (change.commit or change.kind == "bootstrap-insert")
                assert change.position == raw.get("position")
    assert set(kinds) == {
        "insert", "update", "delete", "bootstrap-start", "bootstrap-insert", "bootstrap-complete",
        "table-create", "table-alter", "table-drop", "database-create", "database-alter", "database-drop",
    }  # fmt: skip
