"""Chunks as SQL, and how their size follows the time they take."""

from __future__ import annotations

import msgspec
import pytest

from pydbsync.errors import OperationError
from pydbsync.model import Column, TableName, TableSchema
from pydbsync.ops.chunks import Chunk, ChunkSize, RowKey

COLUMNS = (
    Column("id", "bigint"),
    Column("name", "varchar", charset="utf8mb4"),
    Column("raw", "varbinary", charset=None),
    Column("day", "date"),
    Column("f", "float"),
    Column("e", "enum", labels=("b", "a", "c"), charset="utf8mb4"),
    Column("s", "set", labels=("x", "y"), charset="utf8mb4"),
    Column("j", "json"),
)


def key(*names: str) -> RowKey:
    return RowKey(TableSchema(name=TableName("d", "t"), columns=COLUMNS, primary_key=names, row_key=names))


@pytest.mark.parametrize(
    ("names", "chunk", "sql"),
    [
        (["id"], Chunk(0), "TRUE"),
        (["id"], Chunk(0, ("5",)), "`id` >= 5 AND `id` > 5"),
        (["id"], Chunk(0, None, ("-9",)), "`id` <= -9 AND (`id` < -9 OR `id` = -9)"),
        (
            ["id", "name"],
            Chunk(0, ("5", "61"), ("7", "")),
            "`id` >= 5 AND (`id` > 5 OR (`id` = 5 AND `name` > _utf8mb4 X'61')) AND"
            " `id` <= 7 AND (`id` < 7 OR (`id` = 7 AND (`name` < _utf8mb4 X'' OR `name` = _utf8mb4 X'')))",
        ),
        (
            ["day", "raw", "id"],
            Chunk(0, ("2020-01-01", "00FF", "1")),
            "`day` >= '2020-01-01' AND (`day` > '2020-01-01' OR (`day` = '2020-01-01' AND (`raw` > X'00FF' OR"
            " (`raw` = X'00FF' AND `id` > 1))))",
        ),
        (["f"], Chunk(0, ("1.5",)), "`f` >= 1.5e0 AND `f` > 1.5e0"),
        (["e"], Chunk(0, ("1",), ("3",)), "`e` IN (2, 3) AND (`e` IN (0, 1, 2) OR `e` = 3)"),
        (["e"], Chunk(0, ("3",)), "FALSE"),
        (["s"], Chunk(0, ("1",)), "`s` + 0 > 1"),
    ],
)
def test_a_chunk_is_a_condition_that_an_index_can_follow(names: list[str], chunk: Chunk, sql: str) -> None:
    assert key(*names).where(chunk) == sql


def test_single_rows_are_found_by_their_keys() -> None:
    assert key("id", "name").any_of([("1", "61"), ("2", "")]) == (
        "((`id` = 1 AND `name` = _utf8mb4 X'61') OR (`id` = 2 AND `name` = _utf8mb4 X''))"
    )
    assert key("id").any_of([]) == "FALSE"


@pytest.mark.parametrize(
    ("name", "value"), [("id", "1 OR TRUE"), ("id", ""), ("raw", "0"), ("name", "61' OR '1"), ("day", "'"), ("f", "x")]
)
def test_a_boundary_that_no_column_printed_is_refused(name: str, value: str) -> None:
    with pytest.raises(OperationError, match="is no value of the key column"):
        key(name).where(Chunk(0, (value,)))


def test_a_column_without_an_order_makes_no_chunks() -> None:
    with pytest.raises(OperationError, match="json"):
        key("j")


def test_a_chunk_survives_json() -> None:
    chunk = Chunk(3, ("1", "C3A9"), ("2", ""))
    assert msgspec.json.decode(msgspec.json.encode(chunk), type=Chunk) == chunk


def test_chunks_grow_twofold_and_shrink_at_once() -> None:
    size = ChunkSize(target_s=0.5, first=1000)
    size.took(1000, 0.01)
    assert size.rows == 2000
    size.took(2000, 0.01)
    assert size.rows == 4000
    size.took(4000, 5.0)
    assert size.rows == 400
    size.took(400, 60.0)
    assert size.rows == 100


def test_a_short_last_chunk_says_little_about_the_speed() -> None:
    size = ChunkSize(target_s=0.5, first=1000)
    size.took(3, 0.0001)
    assert size.rows == 1000
    size.took(0, 0.1)
    assert size.rows == 1000
