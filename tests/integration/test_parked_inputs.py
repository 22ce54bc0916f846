"""Parked messages of canal, Debezium and an encrypting Maxwell: what is kept of them loses nothing."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from pydbsync.ops.parked.desk import ParkedDesk
from tests.comparing import run_sql
from tests.integration.engine import parked, replay, settings_for
from tests.servers import Endpoint
from tests.unit.decode.test_canal import message as canal
from tests.unit.decode.test_debezium import DECIMAL, envelope, with_schema
from tests.unit.decode.test_encrypted import KEY, encrypted

pytestmark = pytest.mark.kept_state

LOG = logging.getLogger("tests.parked_inputs")
TABLE = (
    "CREATE TABLE d.t (id INT PRIMARY KEY, u BIGINT UNSIGNED, n DECIMAL(12, 4), b VARBINARY(8), s SET('x', 'y'),"
    " v VARCHAR(20) CHARACTER SET utf8mb4)"
)
TYPES = {
    "id": "int", "u": "bigint unsigned", "n": "decimal(12,4)", "b": "varbinary(8)", "s": "set('x','y')",
    "v": "varchar(20)",
}  # fmt: skip
FIELDS: list[dict[str, Any]] = [
    {"field": "id", "type": "int32"},
    {"field": "u", "type": "int64"},
    {"field": "n", "type": "bytes", "name": DECIMAL, "parameters": {"scale": "4"}},
    {"field": "b", "type": "bytes"},
    {"field": "s", "type": "string", "name": "io.debezium.data.EnumSet"},
    {"field": "v", "type": "string"},
]
IMAGE: dict[str, Any] = {"id": 1, "u": 2**63 - 1, "n": "AP8=", "b": "AP8=", "s": "x,y", "v": "é😀"}
MAXWELL: dict[str, Any] = {
    "database": "d", "table": "t", "type": "insert", "ts": 1_700_000_000, "position": "binlog.000001:4", "commit": True,
    "server_id": 1,
}  # fmt: skip
MESSAGES: dict[str, tuple[dict[str, Any], bytes]] = {
    "canal": (
        {"input_format": "canal"},
        canal("INSERT", TYPES, [{"id": "1", "u": str(2**64 - 1), "n": "-0.0255", "b": "\x00ÿ", "s": "3", "v": "é😀"}]),
    ),
    "debezium": ({"input_format": "debezium"}, with_schema(envelope("c", None, IMAGE), FIELDS)),
    "encrypted": (
        {"maxwell_secret_key": KEY},
        json.dumps(
            {
                **MAXWELL,
                **encrypted(
                    json.dumps(
                        {"data": {"id": 1, "u": 2**64 - 1, "n": -0.0255, "b": "AP8=", "s": ["x", "y"], "v": "é😀"}}
                    )
                ),
            }
        ).encode(),
    ),
}


@pytest.fixture
def target_with(fresh_target: Endpoint) -> Endpoint:
    fresh_target.query("CREATE DATABASE d")
    fresh_target.query(TABLE)
    return fresh_target


def desk_of(target: Endpoint, **options: Any) -> Iterator[ParkedDesk]:
    desk = ParkedDesk(settings_for(target, **options), LOG)
    yield desk
    desk.close()


def retry(target: Endpoint, options: dict[str, Any], **given: Any) -> list[tuple[bool, str]]:
    for desk in desk_of(target, **options):
        return [(each.applied, each.detail) for each in desk.retry(**given)]
    raise AssertionError


def rows(target: Endpoint) -> Sequence[tuple[Any, ...]]:
    return target.query("SELECT id, u, n, HEX(b), s, HEX(v) FROM d.t ORDER BY id")


@pytest.mark.parametrize("form", MESSAGES)
def test_a_parked_row_ends_as_one_that_was_not_parked(target_with: Endpoint, form: str) -> None:
    target, (options, body) = target_with, MESSAGES[form]
    replay(target, [body], **options)
    wanted = rows(target)
    assert len(wanted) == 1
    run_sql(target, ["DELETE FROM d.t", "ALTER TABLE d.t ADD CONSTRAINT c CHECK (id > 1)", "DROP DATABASE pydbsync"])
    replay(target, [body], **options)
    (kept,) = parked(target)
    assert (kept.input_format, kept.kind, kept.table) == ("maxwell", "insert", "d.t")
    assert retry(target, options)[0][0] is False
    target.query("ALTER TABLE d.t DROP CONSTRAINT c")
    assert retry(target, {})[0][0] is True, "what is kept needs neither the format nor the key any more"
    assert rows(target) == wanted


UNREAD: dict[str, tuple[dict[str, Any], dict[str, Any], bytes, str]] = {
    "canal": ({"input_format": "canal"}, {"input_format": "canal"}, b'{"isDdl": false', "canal"),
    "debezium": (
        {"input_format": "debezium"}, {"input_format": "debezium"}, json.dumps(envelope("c", None, IMAGE)).encode(),
        "debezium",
    ),
    "encrypted": ({"maxwell_secret_key": "0" * 16}, {"maxwell_secret_key": KEY}, MESSAGES["encrypted"][1], "maxwell"),
}  # fmt: skip
"""How it came, the configuration when it is retried, the message, and the format that is remembered."""


@pytest.mark.parametrize("form", UNREAD)
def test_what_could_not_be_read_remembers_its_format_and_is_written_by_those_alone_who_ask(
    fresh_target: Endpoint, form: str
) -> None:
    target, (options, later, body, remembered) = fresh_target, UNREAD[form]
    replay(target, [body], **options)
    (kept,) = parked(target)
    assert (kept.kind, kept.input_format, kept.message) == ("unreadable", remembered, body)
    run_sql(target, ["CREATE DATABASE d", TABLE])
    is_applied, why = retry(target, later)[0]
    assert not is_applied
    if form == "canal":
        assert "not JSON" in why
        return
    assert "later changes of the same rows may have been applied" in why
    assert rows(target) == []
    assert retry(target, later, takes_unread=True)[0][0] is True
    ((number, *_, binary, labels, text),) = rows(target)
    assert (number, binary, labels, text) == (1, "00FF", "x,y", "é😀".encode().hex().upper())


def test_a_value_that_is_read_by_its_table_waits_for_the_table(fresh_target: Endpoint) -> None:
    options: dict[str, Any] = {"input_format": "debezium", "debezium_modes": {"binary.handling.mode": "hex"}}
    fields = [{"field": "id", "type": "int32"}, {"field": "b", "type": "string"}]
    replay(fresh_target, [with_schema(envelope("c", None, {"id": 1, "b": "00ff"}), fields)], **options)
    (kept,) = parked(fresh_target)
    assert (kept.kind, kept.input_format) == ("unreadable", "debezium")
    run_sql(fresh_target, ["CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY, b VARBINARY(8))"])
    assert retry(fresh_target, options, takes_unread=True)[0][0] is True
    assert fresh_target.query("SELECT id, HEX(b) FROM d.t") == [(1, "00FF")]
