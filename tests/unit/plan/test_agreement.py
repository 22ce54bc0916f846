"""What two ends say to each other of a row: carried in a mark, and answered until both know that they have the same."""

from __future__ import annotations

import msgspec
import pytest

from pydbsync.model import RowChange, TableName
from pydbsync.plan.agreement import Saying, ToldRows, Word, encode_word, said, said_by, word_of

ROW = (TableName("d", "t"), b"1")
OTHER = (TableName("d", "t"), b"2")


@pytest.mark.parametrize(
    ("touched", "agrees", "expected"),
    [(False, True, None), (False, False, "insist"), (True, True, "tell"), (True, False, "tell")],
)
def test_it_is_told_again_until_nothing_has_come_in_between(
    touched: bool, agrees: bool, expected: Saying | None
) -> None:
    told = ToldRows()
    number = told.tell(ROW)
    assert told.touch([OTHER, ROW] if touched else [OTHER]) == ([ROW] if touched else [])
    assert told.touch([ROW] if touched else []) == [], "once is enough"
    assert told.answer(ROW, number, agrees=agrees) == expected
    assert not told


def test_an_answer_to_what_was_told_again_since_is_passed_over() -> None:
    told = ToldRows()
    former, number = told.tell(ROW), told.tell(ROW)
    assert told.answer(ROW, former, agrees=False) is None
    assert told.answer(ROW, number, agrees=True) is None
    assert not told


def test_what_another_process_has_told_is_told_again_unless_it_was_kept() -> None:
    told = ToldRows()
    assert told.answer(ROW, "0" * 16, agrees=True) == "tell"
    told.load([(ROW, "0" * 16, False)])
    assert told.answer(ROW, "0" * 16, agrees=True) is None
    told.load([(ROW, "0" * 16, True)])
    assert told.answer(ROW, "0" * 16, agrees=True) == "tell"


@pytest.mark.parametrize("row", [None, msgspec.Raw(b'{"id": 1, "v": "\xc3\xa9\\n"}')])
def test_a_word_comes_back_out_of_its_mark(row: msgspec.Raw | None) -> None:
    key = msgspec.Raw(b'{"id": 1}')
    word = Word("tell", "d", "t", key=key, row=msgspec.Raw() if row is None else row, number="7")
    text = str(encode_word(word), "utf-8")
    mark = RowChange(
        kind="update", database="state", table="mark", ts=5, position="b.1:4", xid=3,
        data=msgspec.Raw(msgspec.json.encode({"writer": "w", "number": 2, "word": text})),
    )  # fmt: skip
    found = said_by(mark, "state")
    assert found == said(word_of(text), mark)
    assert found is not None
    assert (found.database, found.table, found.position, found.xid) == ("d", "t", "b.1:4", 3)
    assert (found.kind, found.row, found.data) == (("delete", None, key) if row is None else ("insert", row, row))
    assert said_by(mark, "another") is None
    assert said_by(msgspec.structs.replace(mark, data=msgspec.Raw(b'{"writer": "w", "word": null}')), "state") is None
