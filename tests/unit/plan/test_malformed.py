"""Malformed values: whatever JSON stands where a value should, it becomes a literal or PlanError, in little memory."""

from __future__ import annotations

import json
from collections.abc import Iterator

import msgspec
import pytest

from pydbsync.decode.maxwell import decode_message
from pydbsync.errors import DecodeError, PlanError
from pydbsync.model import Column, RowChange
from pydbsync.plan.batch import RowBatch, single_statements
from pydbsync.plan.identity import row_identity
from pydbsync.plan.large import LARGE_BYTES
from pydbsync.plan.row_shape import ColumnOverrides, LossPolicy
from pydbsync.plan.rows import TablePlan
from tests.unit.plan.tables import MARIADB, MYSQL, column, table

TOKENS = (
    "null", "true", "false", "0", "-0", "-1", "1.5", "-1.5", "-0.0", "1E5", "-1E5", "1e400", "-1E-400", "1E999999999",
    "-1E-999999999", "1E99999999999999999999", "9" * 5000, "-" + "9" * 5000, "0." + "1" * 5000 + "E-7",
    '""', '"a"', '"-1.5"', '"nan"', '"inf"', '"1_0"', '"1E999999999"', '"\\u0031"', '"\\q"', '"\\ud800"', '"\\udc00a"',
    '"\\u0000"', '"\\u12"', '"\\', '"YQ=="', '"YQ=\\u003d"', '"YQ=\\q"', '"é"', '"' + "9" * 5000 + '"',
    "[]", '["a"]', "[1]", "[null]", '["\\ud800"]', "[[1]]", "{}", '{"a":1}', '{"a":tru}', "[1,", "tru", "1.", "-", "01",
    '"SRID=' + "9" * 5000 + ';POINT (1 1)"', '"SRID=;POINT (1 1)"', '"SRID=4326;\\ud800"', '"POINT"',
    '"MULTIPOINT ((1 1), (2 2))"', '"MULTIPOINT (("', '"2024-01-01 00:00:00+02:00"', '"9999-12-31 23:59:59"',
    '"0001-01-01 00:00:00"', '"0000-00-00 00:00:00"', "NaN", "Infinity", "[" * 200 + "]" * 200,
)  # fmt: skip

COLUMNS: dict[str, Column] = {
    **{kind: column("c", kind) for kind in ("tinyint", "int", "bigint", "year", "decimal", "float", "double", "date")},
    **{
        kind: column("c", kind) for kind in ("time", "datetime", "timestamp", "char", "varchar", "text", "json", "uuid")
    },
    **{f"bit({size})": column("c", "bit", size=size) for size in (1, 32, 40, 64)},
    **{kind: column("c", kind, size=4) for kind in ("binary", "varbinary", "blob")},
    "enum": column("c", "enum", labels=("a", "b'c")),
    "enum not null": column("c", "enum", labels=("a", "b"), nullable=False),
    "set": column("c", "set", labels=("a", "b'c")),
    "native json": column("c", "json", native_json=True),
    "geometry": column("c", "geometry", srid=4326),
    "point": column("c", "point"),
    "shifted datetime": column("c", "datetime"),
    "shifted text": column("c", "varchar"),
    "text in base64": column("c", "varchar"),
}


def changes_of(token: str) -> Iterator[RowChange]:
    for kind, more in (("insert", ""), ("delete", ""), ("update", f',"old":{{"c":{token}}}')):
        body = '{"database":"d","table":"t","type":"%s","ts":1,"position":"b.000001:4","data":{"id":1,"c":%s}%s}'
        try:
            change = decode_message((body % (kind, token, more)).encode())
        except DecodeError:
            continue  # parked as unreadable
        assert isinstance(change, RowChange)
        yield change


def plans_of(name: str) -> Iterator[TablePlan]:
    overrides = ColumnOverrides(
        binary=frozenset({"c"} if name == "text in base64" else ()),
        timestamp=frozenset({"c"} if name.startswith("shifted") else ()),
        shift_s=3600,
    )
    for dialect, key, is_merged in ((MYSQL, "", False), (MARIADB, "c", False), (MARIADB, "id, c", True)):
        schema = table([column("id", "int"), COLUMNS[name]], key=key, unique=["c"])
        loss = LossPolicy(tell=lambda text: None)
        yield TablePlan(schema, overrides=overrides, dialect=dialect, loss=loss, is_merged=is_merged)


@pytest.mark.parametrize("name", COLUMNS)
def test_a_malformed_value_is_refused_with_its_column_and_nothing_else_happens(name: str) -> None:
    refused: list[str] = []
    for plan in plans_of(name):
        for token in TOKENS:
            for change in changes_of(token):
                row_identity(change, plan)
                try:
                    batch = RowBatch()
                    batch.add(change, plan)
                    statements = [*batch.statements(), *single_statements(change, plan)]
                    plan.rows_in_the_way(change.data)
                except PlanError as exc:
                    refused.append(str(exc))
                    continue
                assert sum(len(each.sql) for each in statements) < 40 * len(token) + 5000
    assert [each for each in refused if not each.startswith("column 'c': ")] == []


@pytest.mark.parametrize("name", COLUMNS)
def test_a_large_malformed_value_is_refused_too(name: str) -> None:
    plan = next(plans_of(name))
    refused: list[str] = []
    for filling in ("9", "\\ud800", "\\u0041", "MULTIPOINT ((", "A", "1E"):
        token = f'"{filling * (LARGE_BYTES // len(filling) + 1)}"'
        for text in (f"[{token}]" if name == "set" else token, *([token.strip('"')] if filling == "9" else [])):
            change = next(changes_of(text), None)
            if change is None:
                continue
            try:
                batch = RowBatch()
                batch.add(change, plan)
                statements = list(batch.statements())
            except PlanError as exc:
                refused.append(str(exc))
                continue
            assert sum(len(each.sql) for each in statements) < 8 * len(text)
    assert [each for each in refused if not each.startswith("column 'c': ")] == []


def test_the_tokens_are_of_every_kind_of_json() -> None:
    readable = [token for token in TOKENS if any(changes_of(token))]
    kinds = {type(json.loads(token)) for token in readable if _is_json(token)}
    assert kinds == {type(None), bool, int, float, str, list, dict}
    assert len(readable) > 40


def _is_json(token: str) -> bool:
    try:
        msgspec.json.decode(token.encode())
    except (msgspec.DecodeError, RecursionError):
        return False
    return len(token) < 4000
