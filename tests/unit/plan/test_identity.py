"""Row identity: a later change of the same row is recognised, also through a change of its key."""

from __future__ import annotations

import pytest

from pydbsync.model import RowChange, TableSchema
from pydbsync.plan.identity import row_identity
from tests.unit.plan.tables import change, delete, insert, plan, raw, table, update

KEYED = table("id int, v varchar")
COMPOSITE = table("a varchar, b int, v int", key="a, b")
KEYLESS = table("id int, v varchar", key="")


def meets(schema: TableSchema, earlier: RowChange, later: RowChange) -> bool:
    by = plan(schema)
    return not set(row_identity(earlier, by)).isdisjoint(row_identity(later, by))


@pytest.mark.parametrize(
    ("schema", "earlier", "later", "same"),
    [
        (KEYED, insert({"id": 1, "v": "x"}), delete({"id": 1, "v": "y"}), True),
        (KEYED, insert({"id": 1, "v": "x"}), insert({"id": 2, "v": "x"}), False),
        (KEYED, insert({"id": 1, "v": "x"}), insert({"id": 11, "v": "x"}), False),
        (KEYED, update({"id": 2, "v": "x"}, {"id": 1}), insert({"id": 1, "v": "new"}), True),
        (KEYED, update({"id": 2, "v": "x"}, {"id": 1}), delete({"id": 2, "v": "x"}), True),
        (KEYED, insert({"id": 1, "v": "x"}), update({"id": 3, "v": "x"}, {"id": 1}), True),
        (KEYED, update({"id": 1, "v": "y"}, {"v": "x"}), update({"id": 1, "v": "z"}, {"v": "y"}), True),
        (COMPOSITE, insert({"a": "x", "b": 1, "v": 1}), insert({"v": 5, "b": 1, "a": "x"}), True),
        (COMPOSITE, insert({"a": "x", "b": 1, "v": 1}), insert({"a": "x", "b": 2, "v": 1}), False),
        (COMPOSITE, insert({"a": "A", "b": 1, "v": 1}), insert({"a": "a", "b": 1, "v": 1}), True),
        (COMPOSITE, insert({"a": "ÄÖ", "b": 1, "v": 1}), insert({"a": "äö", "b": 1, "v": 1}), True),
        (KEYLESS, insert({"id": 1, "v": "x"}), delete({"id": 1, "v": "x"}), True),
        (KEYLESS, insert({"id": 1, "v": "x"}), delete({"id": 1, "v": "y"}), False),
        (KEYLESS, update({"id": 1, "v": "y"}, {"v": "x"}), delete({"id": 1, "v": "y"}), True),
        (KEYLESS, insert({"id": 1, "v": "x"}), update({"id": 1, "v": "z"}, {"v": "x"}), True),
    ],
)
def test_changes_meet_in_the_row_that_they_are_about(
    schema: TableSchema, earlier: RowChange, later: RowChange, same: bool
) -> None:
    assert meets(schema, earlier, later) is same


def test_an_update_within_a_key_is_about_one_row() -> None:
    assert len(row_identity(update({"id": 1, "v": "y"}, {"v": "x"}), plan(KEYED))) == 1
    assert len(row_identity(update({"id": 2, "v": "x"}, {"id": 1}), plan(KEYED))) == 2


ALIKE = [
    ("é", "e"), ("É", "e"), ("e\u0301", "é"), ("ﾃｽﾄ", "テスト"), ("てすと", "テスト"), ("っ", "ツ"), ("Ａ１", "a1"),
    ("ﬁ", "FI"), ("straße", "STRASSE"), ("Müller", "mueller"), ("ærø", "aero"), ("Łódź", "lodz"), ("😀", "😁"),
    ("a\u200bb", "ab"), ("ёлка", "ЕЛКА"), ("ᾳ", "Α"), ("한", "한"), ("x\u00a0", "x"), ("①", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_keys_that_a_collation_holds_for_equal_are_one_row(one: str, other: str) -> None:
    keys = [{"a": each, "b": 1, "v": 1} for each in (one, other)]
    assert meets(COMPOSITE, insert(keys[0]), delete(keys[1]))
    assert not meets(COMPOSITE, insert(keys[0]), delete({**keys[1], "b": 2}))
    assert not meets(COMPOSITE, insert(keys[0]), delete({**keys[1], "a": other + "q"}))


def test_an_image_without_its_key_may_be_any_row() -> None:
    assert row_identity(insert({"v": "x"}), plan(KEYED)) == []


def test_an_image_that_cannot_be_read_has_an_identity_too() -> None:
    for schema in (KEYED, KEYLESS):
        assert len(row_identity(insert("[1]"), plan(schema))) == 1
        assert row_identity(change("update", {"id": 1, "v": "x"}, old=raw("[]")), plan(schema))


@pytest.mark.parametrize("other", [{"ID": 1, "v": "x"}, {"id": 1, "v": "x", "unknown": 5}, {"id": 1}])
def test_what_else_an_image_holds_does_not_make_it_another_row(other: dict[str, object]) -> None:
    assert meets(KEYED, insert({"id": 1, "v": "x"}), insert(other))


def test_spaces_at_the_end_of_a_key_do_not_make_it_another_row() -> None:
    assert meets(COMPOSITE, insert({"a": "x ", "b": 1, "v": 1}), insert({"a": "x", "b": 1, "v": 1}))
