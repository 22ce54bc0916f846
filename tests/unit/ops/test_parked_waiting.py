"""Which parked change another one must wait for, of all that it concerns and not only of the newest."""

from __future__ import annotations

import pytest

from pydbsync.model import TableName
from pydbsync.ops.parked.waiting import Waiting
from pydbsync.work import key_of_table, parent_of, structure_of

T, OTHER, NEW = TableName("d", "t"), TableName("e", "other"), TableName("d", "new")
ROW = (False, (b"a row",))
WHOLE = (True, ())
LIKE_OTHER = (True, (key_of_table(structure_of(OTHER)),))
TO_OTHER = (True, (key_of_table(parent_of(OTHER)),))
WITH_OTHER = (True, (key_of_table(OTHER),))

CASES = {
    "an exchange, for a row of the other table": ((OTHER, ROW), (T, WITH_OTHER), 1),
    "an exchange, for the other table's database": ((TableName("e", ""), WHOLE), (T, WITH_OTHER), 1),
    "a row of the other table, for an exchange": ((T, WITH_OTHER), (OTHER, ROW), 1),
    "a copy of a template, for a statement on it": ((OTHER, WHOLE), (NEW, LIKE_OTHER), 1),
    "a copy of a template, for no row of it": ((OTHER, ROW), (NEW, LIKE_OTHER), None),
    "a copy of a template, for no other copy": ((T, LIKE_OTHER), (NEW, LIKE_OTHER), None),
    "a statement on a template, for each copy": ((NEW, LIKE_OTHER), (OTHER, WHOLE), 1),
    "a row of a template, for no copy": ((NEW, LIKE_OTHER), (OTHER, ROW), None),
    "the database of a template, for a copy": ((NEW, LIKE_OTHER), (TableName("e", ""), WHOLE), 1),
    "a foreign key, for a statement on its parent": ((OTHER, WHOLE), (NEW, TO_OTHER), 1),
    "a foreign key, for no row of its parent": ((OTHER, ROW), (NEW, TO_OTHER), None),
    "a statement on a parent, for a foreign key": ((NEW, TO_OTHER), (OTHER, WHOLE), 1),
    "a row of a parent, for no foreign key": ((NEW, TO_OTHER), (OTHER, ROW), None),
    "a row, for no other row": ((T, ROW), (T, (False, (b"another row",))), None),
}


@pytest.mark.parametrize(("first", "later", "expected"), CASES.values(), ids=CASES)
def test_what_a_parked_change_waits_for(
    first: tuple[TableName, tuple[bool, tuple[bytes, ...]]],
    later: tuple[TableName, tuple[bool, tuple[bytes, ...]]],
    expected: int | None,
) -> None:
    waiting = Waiting()
    (name, (is_whole, keys)), (later_name, (later_is_whole, later_keys)) = first, later
    waiting.add(1, name, keys, is_whole_table=is_whole)
    waiting.add(2, TableName("f", "mended"), (), is_whole_table=True)
    waiting.remove(2)
    assert waiting.blocker(later_name, later_keys, is_whole_table=later_is_whole, behind=2) == expected
