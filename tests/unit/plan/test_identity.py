"""Row identity: a later change of the same row is recognised, also through a change of its key."""

from __future__ import annotations

import msgspec
import pytest

from pydbsync.model import RowChange, TableName, TableSchema
from pydbsync.plan.identity import row_identity
from pydbsync.work import ParkedChange, ParkedRows
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


@pytest.mark.parametrize(
    ("collation", "one", "other"),
    [
        ("utf8mb4_swedish_ci", "ü", "Y"), ("utf8mb4_da_0900_ai_ci", "ý", "Ü"), ("utf8mb4_nb_0900_ai_ci", "þ", "TH"),
        ("utf8mb4_lv_0900_ai_ci", "y", "I"), ("utf8mb4_roman_ci", "jv", "IU"),
        ("latin1_swedish_ci", "[", "å"), ("utf8mb4_de_pb_0900_ai_ci", "oö", "ooe"), ("gbk_chinese_ci", "~", "Y"),
        ("utf8mb4_0900_ai_ci", "aæ", "aae"), ("hebrew_general_ci", "ך", "כ"),
    ],
)  # fmt: skip
def test_a_language_reads_letters_in_its_own_way(collation: str, one: str, other: str) -> None:
    schema = msgspec.structs.replace(COMPOSITE, columns=tuple(
        msgspec.structs.replace(each, collation=collation if each.kind == "varchar" else None)
        for each in COMPOSITE.columns
    ))  # fmt: skip
    keys = [{"a": each, "b": 1, "v": 1} for each in (one, other)]
    assert meets(schema, insert(keys[0]), delete(keys[1]))
    assert not meets(schema, insert(keys[0]), delete({**keys[1], "a": other + "q"}))


@pytest.mark.parametrize(
    ("collation", "text"),
    [
        ("macce_general_ci", "m"),
        ("utf8mb4_of_tomorrow_ci", "x"),
        ("utf8mb4_0900_ai_ci", "เก"),
        ("utf8mb4_bin", "ƾ"),
        ("utf8mb4_sv_0900_ai_ci", "ę"),
        ("utf8mb4_lt_0900_ai_ci", "ch"),
    ],
)
def test_a_key_of_which_nobody_knows_what_equals_it_may_be_any_row(collation: str, text: str) -> None:
    (column, *rest) = COMPOSITE.columns
    schema = msgspec.structs.replace(
        COMPOSITE, columns=(msgspec.structs.replace(column, collation=collation), *rest)
    )  # fmt: skip
    assert row_identity(insert({"a": text, "b": 1, "v": 1}), plan(schema)) == []
    assert row_identity(insert({"a": None, "b": 1, "v": 1}), plan(schema)) != []


def test_what_may_be_any_row_waits_and_is_waited_for() -> None:
    name, parked = TableName("d", "t"), ParkedRows()
    change = ParkedChange(message=b"", reason="", kind="insert", position="", source=name, target_database="d")
    parked.remember(7, msgspec.structs.replace(change, row_keys=(b"k",)))
    assert [parked.blocker_of_row(name, keys) for keys in ((b"k",), (b"x",), ())] == [7, None, 7]
    parked.remember(8, msgspec.structs.replace(change, is_whole_table=True))
    assert parked.blocker_of_row(name, (b"x",)) == 8
