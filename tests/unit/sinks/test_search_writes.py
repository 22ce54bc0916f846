"""What the fence lets pass, how columns are mapped, and which parked changes count: without any server."""

from __future__ import annotations

from typing import Any

import pytest

from pydbsync.model import Column
from pydbsync.sinks.search.bulk import DocumentWrite, Seen, seen_in
from pydbsync.sinks.search.indices import Index
from pydbsync.sinks.search.keep import _with_span
from pydbsync.sinks.search.mappings import field_of
from pydbsync.sinks.search.shapes import DocumentKey
from pydbsync.sinks.search.state_index import document_of

NOTHING = None
OLD, SAME, NEW = (Seen(1, 1, place, is_gone=False) for place in ("03", "05", "07"))
GONE = Seen(1, 1, "03", is_gone=True)
CASES: list[tuple[str, Seen | None, bool]] = [
    # mode of a write at 05 to an index whose floor is 04, what is there, whether it is left out
    ("placed", NOTHING, False),
    ("placed", OLD, False),
    ("placed", GONE, False),
    ("placed", SAME, False),
    ("placed", NEW, True),
    ("known", NOTHING, True),
    ("known", OLD, False),
    ("known", GONE, True),
    ("known", NEW, True),
    ("bootstrap", NOTHING, False),
    ("bootstrap", OLD, True),
    ("bootstrap", GONE, True),
    ("unplaced", NEW, False),
    ("unplaced", NOTHING, False),
]


@pytest.mark.parametrize(("mode", "seen", "is_needless"), CASES)
def test_the_fence_lets_pass_what_is_not_older(mode: str, seen: Seen | None, is_needless: bool) -> None:
    write = DocumentWrite(Index("t-000001-00000000", "04", "d.t"), DocumentKey("1", None), {}, "05", mode, 0)
    write.seen = seen
    assert write.is_needless() == is_needless


def test_what_is_before_the_floor_is_left_out_whatever_is_there() -> None:
    write = DocumentWrite(Index("t-000001-00000000", "06", "d.t"), DocumentKey("1", None), {}, "05", "placed", 0)
    assert write.is_needless()


def test_a_document_without_a_place_is_older_than_all() -> None:
    found = {"found": True, "_seq_no": 4, "_primary_term": 2}
    sources: list[dict[str, Any]] = [{}, {"pydbsync": None}, {"pydbsync": "x"}, {"pydbsync": {}}]
    for source in sources:
        assert seen_in({**found, "_source": source}, "pydbsync") == Seen(4, 2, "", is_gone=False)
    assert seen_in({"found": False}, "pydbsync") is None


FIELDS: list[tuple[Column, Any]] = [
    (Column("c", "tinyint", unsigned=True), "short"),
    (Column("c", "mediumint", unsigned=True), "integer"),
    (Column("c", "int", unsigned=True), "long"),
    (Column("c", "bigint"), "long"),
    (Column("c", "bigint", unsigned=True), "unsigned_long"),
    (Column("c", "bit", size=63), "long"),
    (Column("c", "bit", size=64), "unsigned_long"),
    (Column("c", "decimal", "decimal(9,2)"), "double"),
    (Column("c", "datetime", digits=3), "date"),
    (Column("c", "time"), "keyword"),
    (Column("c", "vector"), "binary"),
    (Column("c", "polygon"), "keyword"),
    (Column("c", "uuid"), "keyword"),
    (Column("c", "json"), "object"),
]


@pytest.mark.parametrize(("column", "kind"), FIELDS, ids=[f"{column.kind} {kind}" for column, kind in FIELDS])
def test_each_type_has_a_field_that_holds_all_its_values(column: Column, kind: str) -> None:
    assert field_of(column)["type"] == kind


def test_the_format_of_a_time_has_the_digits_of_its_column() -> None:
    assert field_of(Column("c", "timestamp"))["format"] == "uuuu-MM-dd HH:mm:ss"
    assert field_of(Column("c", "datetime", digits=6))["format"] == "uuuu-MM-dd HH:mm:ss.SSSSSS"


def test_numbers_of_what_is_parked_are_joined_by_epoch() -> None:
    spans: list[list[int]] = []
    for epoch, first, last in ((1, 1, 2), (1, 3, 3), (2, 4, 4), (2, 5, 7)):
        spans = _with_span(spans, [epoch, first, last])
    assert spans == [[1, 1, 3], [2, 4, 7]]


def test_every_stream_has_a_document_of_its_own() -> None:
    names = ["a", "a b", "a%20b", "generations", "é" * 190, "é" * 189 + "e"]
    documents = [document_of(name) for name in names]
    assert len({*documents, "generations"}) == len(names) + 1
    assert max(len(each) for each in documents) <= 512
