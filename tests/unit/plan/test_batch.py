"""Batches: the SQL of compacted changes, and of each change by itself, as exact text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydbsync.errors import PlanError
from pydbsync.model import Referrer, RowChange, TableName, TableSchema
from pydbsync.plan import row_statements
from pydbsync.plan.batch import RowBatch, single_statements
from pydbsync.plan.row_statements import KEYS_PER_DELETE, RowStatement
from pydbsync.plan.rows import TablePlan
from tests.unit.plan.tables import MARIADB, MYSQL, change, column, delete, insert, plan, raw, table, update

COMPOSITE = table("a varchar, b int, v int", key="a, b")
KEYLESS = table("id int, v varchar", key="")
PARENT = table(referrers=(Referrer(TableName("d", "child"), ("id",), "CASCADE", "CASCADE"),))


def batched(changes: Iterable[RowChange], by: TablePlan | None = None) -> list[RowStatement]:
    found = RowBatch()
    by = by or plan()
    for each in changes:
        found.add(each, by)
    return list(found.statements())


def sql(statements: Iterable[RowStatement]) -> list[str]:
    return [statement.sql.decode() for statement in statements]


def row(key: int, value: str = "x") -> dict[str, object]:
    return {"id": key, "v": value}


# -- by key ----------------------------------------------------------------------------------------------------------


def test_an_empty_batch_has_no_statement() -> None:
    assert batched([]) == []
    assert not RowBatch()


def test_insertions_are_joined_into_one_replace() -> None:
    statements = batched([insert(row(1)), insert(row(2, "y")), change("bootstrap-insert", row(3))])
    assert sql(statements) == ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"x"),(2,"y"),(3,"x")']
    assert [statement.affected for statement in statements] == [None]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        pytest.param(
            [insert(row(1)), update(row(1, "y"), {"v": "x"})],
            ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"y")'],
            id="insert, update",
        ),
        pytest.param(
            [insert(row(1)), update(row(1, "y"), {"v": "x"}), delete(row(1, "y"))],
            ["DELETE FROM `d`.`t` WHERE `id` IN (1)"],
            id="insert, update, delete",
        ),
        pytest.param(
            [delete(row(1)), insert(row(1, "y"))],
            ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"y")'],
            id="delete, insert",
        ),
        pytest.param(
            [insert(row(1)), delete(row(1)), insert(row(1, "z")), insert(row(2)), delete(row(3))],
            ["DELETE FROM `d`.`t` WHERE `id` IN (3)", 'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"z"),(2,"x")'],
            id="several keys",
        ),
        pytest.param(
            [update(row(2), {"id": 1})],
            ["DELETE FROM `d`.`t` WHERE `id` IN (1)", 'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (2,"x")'],
            id="key change",
        ),
        pytest.param(
            [insert(row(1)), update(row(2), {"id": 1}), update(row(3), {"id": 2})],
            ["DELETE FROM `d`.`t` WHERE `id` IN (1,2)", 'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (3,"x")'],
            id="key changed twice",
        ),
        pytest.param(
            [update(row(9, "a"), {"id": 1}), update(row(1, "b"), {"id": 2}), update(row(2, "a"), {"id": 9})],
            ["DELETE FROM `d`.`t` WHERE `id` IN (9)", 'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"b"),(2,"a")'],
            id="keys swapped through a temporary value",
        ),
        pytest.param(
            [update(row(2), {"id": 1}), insert(row(1, "new"))],
            ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (2,"x"),(1,"new")'],
            id="key moved away and taken by another row",
        ),
        pytest.param(
            [update(row(1), {"id": 1, "v": "w"})],
            ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"x")'],
            id="old names the key but it is the same",
        ),
        pytest.param(
            [update(row(1), None)],
            ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"x")'],
            id="old is left out",
        ),
        pytest.param(
            [delete(row(1)), delete(row(1))],
            ["DELETE FROM `d`.`t` WHERE `id` IN (1)"],
            id="delete twice",
        ),
    ],
)
def test_only_the_last_image_of_each_key_is_written(changes: list[RowChange], expected: list[str]) -> None:
    statements = batched(changes)
    assert sql(statements) == expected


def test_keys_that_a_collation_takes_for_one_are_deleted_before_they_are_written() -> None:
    names = plan(table("k varchar, v int", key="k"))
    changes = [delete({"k": "a", "v": 1}), insert({"k": "A", "v": 2})]
    changes += [update({"k": "straße", "v": 3}, {"k": "STRASSE"})]
    assert sql(batched(changes, names)) == [
        'DELETE FROM `d`.`t` WHERE `k` IN ("a","STRASSE")',
        'REPLACE INTO `d`.`t` (`k`, `v`) VALUES ("A",2),("straße",3)',
    ]


def test_a_composite_key_is_compared_as_a_tuple() -> None:
    changes = [delete({"a": "x", "b": 1, "v": 1}), update({"a": "y", "b": 2, "v": 1}, {"b": 1})]
    assert sql(batched(changes, plan(COMPOSITE))) == [
        'DELETE FROM `d`.`t` WHERE (`a`, `b`) IN (("x",1),("y",1))',
        'REPLACE INTO `d`.`t` (`a`, `b`, `v`) VALUES ("y",2,1)',
    ]


@pytest.mark.parametrize("charset", ["latin1", "ucs2"])
def test_mariadb_compares_no_tuple_with_text_in_another_encoding(charset: str) -> None:
    schema = table([column("a", "varchar", charset=charset), column("b", "int")], key="a, b")
    changes = [delete({"a": "é", "b": 1}), delete({"a": "ü", "b": 1})]
    [on_mariadb], [on_mysql] = (sql(batched(changes, plan(schema, dialect=each))) for each in (MARIADB, MYSQL))
    assert on_mariadb == 'DELETE FROM `d`.`t` WHERE `a` = "é" AND `b` = 1 OR `a` = "ü" AND `b` = 1'
    assert on_mysql == 'DELETE FROM `d`.`t` WHERE (`a`, `b`) IN (("é",1),("ü",1))'


def test_keys_of_several_types_are_compared_by_their_value() -> None:
    schema = table([column("b", "binary", size=4), column("f", "float"), column("n", "decimal")], key="b, f, n")
    gone = delete('{"b":"YWI=","f":0.1,"n":1E-7}')
    assert sql(batched([gone], plan(schema))) == [
        "DELETE FROM `d`.`t` WHERE (`b`, `f`, `n`) IN ((X'61620000',0.10000000149011612e0,0.0000001))"
    ]


def test_long_lists_of_keys_and_rows_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    statements = batched(delete(row(n)) for n in range(KEYS_PER_DELETE + 1))
    assert [statement.sql.count(b",") + 1 for statement in statements] == [KEYS_PER_DELETE, 1]
    monkeypatch.setattr(row_statements, "STATEMENT_BYTES", 10)
    assert sql(batched([insert(row(1)), insert(row(2, "a longer one")), insert(row(3))])) == [
        'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"x"),(2,"a longer one")',
        'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (3,"x")',
    ]


@pytest.mark.parametrize(
    ("changes", "held"),
    [
        ([delete(row(1)), delete(row(2))], [2]),
        ([insert(row(1)), delete(row(1))], [0]),
        ([delete(row(1)), insert(row(2)), delete(row(2)), update(row(4), {"id": 3})], [2, 0]),
        ([delete(row(1)), insert(row(1)), delete(row(1))], [1]),
        ([delete(row(1)), insert(row(1))], []),
        ([update(row(2), {"id": 1}), update(row(3), {"id": 2})], [1, 0]),
    ],
)
def test_the_rows_that_were_there_before_the_batch_must_be_found(changes: list[RowChange], held: list[int]) -> None:
    placed = [msgspec.structs.replace(each, position="binlog.000001:4") for each in changes]
    assert [each.held for each in batched(placed) if each.sql.startswith(b"DELETE")] == held
    assert not any(each.held for each in batched(changes)), "without places it may have gone already"


def test_images_of_several_shapes_are_statements_of_their_own() -> None:
    wide = plan(table("id int, v varchar, w int"))
    changes = [
        insert({"id": 1, "v": "x", "w": 1}),
        insert({"w": 2, "v": "y", "id": 2}),
        insert({"id": 3, "v": "z"}),
        delete({"id": 4, "v": ""}),
    ]
    assert sql(batched(changes, wide)) == [
        "DELETE FROM `d`.`t` WHERE `id` IN (4)",
        'REPLACE INTO `d`.`t` (`id`, `v`, `w`) VALUES (1,"x",1),(2,"y",2)',
        'INSERT INTO `d`.`t` (`id`, `v`) VALUES (3,"z") ON DUPLICATE KEY UPDATE `id` = VALUES(`id`), `v` = VALUES(`v`)',
    ]


def test_tables_are_written_one_after_the_other() -> None:
    found = RowBatch()
    first, second = plan(), plan(table(name="d.other"))
    for number in range(2):
        found.add(insert(row(number)), first)
        found.add(insert(row(number)), second)
    assert sql(found.statements()) == [
        'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (0,"x"),(1,"x")',
        'REPLACE INTO `d`.`other` (`id`, `v`) VALUES (0,"x"),(1,"x")',
    ]
    assert found.rows == 4


def test_two_source_tables_that_go_to_one_table_keep_their_order() -> None:
    found = RowBatch()
    one, two = plan(), plan()
    found.add(insert(row(1)), one)
    found.add(update(row(1, "y"), {"v": "x"}), two)
    found.add(delete(row(1, "y")), one)
    assert sql(found.statements()) == [
        'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"x")',
        'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"y")',
        "DELETE FROM `d`.`t` WHERE `id` IN (1)",
    ]


# -- columns that only the target has --------------------------------------------------------------------------------


def test_rows_that_lack_columns_of_the_target_leave_these_alone() -> None:
    own = plan(table("id int, v varchar, own int"))
    statements = batched([insert(row(1)), update(row(2, "y"), {"v": "x"})], own)
    assert sql(statements) == [
        'INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x"),(2,"y")'
        " ON DUPLICATE KEY UPDATE `id` = VALUES(`id`), `v` = VALUES(`v`)"
    ]


def test_a_row_that_was_deleted_and_made_anew_has_the_defaults_in_columns_of_the_target() -> None:
    own = plan(table("id int, v varchar, own int"))
    assert sql(batched([delete(row(1)), insert(row(1, "y"))], own)) == [
        "DELETE FROM `d`.`t` WHERE `id` IN (1)",
        'INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"y") ON DUPLICATE KEY UPDATE `id` = VALUES(`id`), `v` = VALUES(`v`)',
    ]


def test_a_key_change_takes_the_columns_of_the_target_with_it() -> None:
    own = plan(table("id int, v varchar, own int"))
    statements = batched([insert(row(1)), update(row(2), {"id": 1}), update(row(2, "y"), {"v": "x"})], own)
    assert sql(statements) == [
        'INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x") ON DUPLICATE KEY UPDATE `id` = VALUES(`id`), `v` = VALUES(`v`)',
        'UPDATE `d`.`t` SET `id` = 2, `v` = "x" WHERE `id` = 1 LIMIT 1',
        'INSERT INTO `d`.`t` (`id`, `v`) VALUES (2,"y") ON DUPLICATE KEY UPDATE `id` = VALUES(`id`), `v` = VALUES(`v`)',
    ]
    assert [statement.affected for statement in statements] == [None, 1, None]


def test_with_other_unique_keys_each_change_is_made_by_itself() -> None:
    own = plan(table("id int, v varchar, own int", unique=["v"]))
    statements = batched([insert(row(1)), update(row(1, "y"), {"v": "x"}), delete(row(1, "y"))], own)
    assert sql(statements) == [
        'INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x")',
        'UPDATE `d`.`t` SET `id` = 1, `v` = "y" WHERE `id` = 1 LIMIT 1',
        "DELETE FROM `d`.`t` WHERE `id` = 1 LIMIT 1",
    ]
    assert [statement.affected for statement in statements] == [1, 1, 1]


MERGED = plan(table("id int, v varchar", unique=["v"]), is_merged=True)
MERGED_BY_KEY = plan(is_merged=True)


def placed(*changes: RowChange) -> list[RowChange]:
    return [msgspec.structs.replace(each, position="binlog.000001:4") for each in changes]


INSERT_OF = "INSERT INTO `d`.`t` (`id`, `v`) VALUES "


@pytest.mark.parametrize(
    ("changes", "by_key", "with_another_key"),
    [
        ([insert(row(1)), insert(row(2))], [INSERT_OF + '(1,"x"),(2,"x")'], None),
        ([insert(row(1)), update(row(1, "y"), {"v": "x"})], [INSERT_OF + '(1,"y")'], None),
        ([insert(row(1)), delete(row(1))], [], None),
        (
            [update(row(1, "y"), {"v": "x"})],
            ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"y")'],
            ["DELETE FROM `d`.`t` WHERE `id` IN (1)", INSERT_OF + '(1,"y")'],
        ),
        ([delete(row(1)), insert(row(1, "y"))], ["DELETE FROM `d`.`t` WHERE `id` IN (1)", INSERT_OF + '(1,"y")'], None),
        ([update(row(2), {"id": 1})], ["DELETE FROM `d`.`t` WHERE `id` IN (1)", INSERT_OF + '(2,"x")'], None),
        (
            [update(row(1, "y"), {"v": "x"}), delete(row(1, "y"))],
            ["DELETE FROM `d`.`t` WHERE `id` IN (1)"],
            None,
        ),
    ],
)
def test_of_merged_sources_no_row_is_written_over(
    changes: list[RowChange], by_key: list[str], with_another_key: list[str] | None
) -> None:
    assert sql(batched(placed(*changes), MERGED_BY_KEY)) == by_key
    assert sql(batched(placed(*changes), MERGED)) == (by_key if with_another_key is None else with_another_key)


def test_of_merged_sources_two_rows_of_one_key_do_not_become_one_within_a_batch() -> None:
    batch = RowBatch()
    for each in placed(insert(row(1)), insert(row(2))):
        batch.add(each, MERGED)
    for each in placed(insert(row(1, "z")), update(row(2, "z"), {"id": 7})):
        with pytest.raises(PlanError, match="has a row of this key from another source"):
            batch.add(each, MERGED)
    assert sql(batch.statements()) == [INSERT_OF + '(1,"x"),(2,"x")']


def test_of_merged_sources_rows_of_a_bootstrap_and_messages_without_places_may_come_again() -> None:
    expected = ["DELETE FROM `d`.`t` WHERE `id` IN (1)", INSERT_OF + '(1,"x")']
    assert sql(batched([insert(row(1))], MERGED)) == expected
    assert sql(batched(placed(change("bootstrap-insert", row(1))), MERGED)) == expected


def test_keyless_rows_are_the_same_if_their_columns_are() -> None:
    def keyless() -> TablePlan:
        return plan(table("a int, b int, c int", key=""))

    one, reordered = '{"a":1,"b":2,"c":3}', '{"c":3,"b":2,"a":1}'
    for changes in ([insert(one), delete(reordered)], [insert(reordered), delete(one)]):
        assert sql(batched(changes, keyless())) == []
    part, other_part = '{"a":1,"b":2}', '{"a":1,"c":2}'
    assert sql(batched([insert(part), delete(other_part)], keyless())) == [
        "DELETE FROM `d`.`t` WHERE `a` = 1 AND `c` = 2 LIMIT 1",
        "INSERT INTO `d`.`t` (`a`, `b`) VALUES (1,2)",
    ]
    assert sql(batched([insert(part), insert('{"b":2,"a":1}'), delete(part)], keyless())) == [
        "INSERT INTO `d`.`t` (`a`, `b`) VALUES (1,2)"
    ]
    assert sql(batched([insert(reordered), insert('{"c":2,"b":3,"a":1}')], keyless())) == [
        "INSERT INTO `d`.`t` (`c`, `b`, `a`) VALUES (3,2,1),(2,3,1)"
    ]


def test_merged_sources_that_spell_the_key_in_several_ways_move_their_rows() -> None:
    own = plan(table("id int, v varchar, own int"))
    changes = [insert({"ID": 1, "V": "x"}), update({"id": 3, "v": "y"}, {"id": 2})]
    assert sql(batched(changes, own))[1:] == ['UPDATE `d`.`t` SET `id` = 3, `v` = "y" WHERE `id` = 2 LIMIT 1']


def test_rows_that_cannot_be_joined_with_the_others_are_left_to_be_made_one_by_one() -> None:
    """Two sources are merged and altered one after the other: ON DUPLICATE KEY might find the row by the other key."""
    wide = plan(table("id int, v varchar, w int", unique=["v"]))
    found = RowBatch()
    found.add(insert({"id": 1, "v": "x", "w": 1}), wide)
    found.add(insert({"id": 2, "v": "y"}), wide)
    with pytest.raises(PlanError, match="with and without some of its columns"):
        list(found.statements())


def test_plain_mode_makes_each_change_by_itself() -> None:
    statements = batched([insert(row(1)), update(row(2), {"id": 1}), delete(row(2))], plan(apply_mode="plain"))
    assert sql(statements) == [
        'INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x")',
        'UPDATE `d`.`t` SET `id` = 2, `v` = "x" WHERE `id` = 1 LIMIT 1',
        "DELETE FROM `d`.`t` WHERE `id` = 2 LIMIT 1",
    ]
    assert [statement.affected for statement in statements] == [1, 1, 1]


# -- without a key ---------------------------------------------------------------------------------------------------

WHERE_1X = '`id` = 1 AND `v` = "x" AND CAST(`v` AS BINARY) = CAST(CONVERT("x" USING utf8mb4) AS BINARY)'


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ([insert(row(1)), insert(row(1))], ['INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x"),(1,"x")']),
        ([insert(row(1)), delete(row(1))], []),
        (
            [delete(row(1)), insert(row(1))],  # it moves behind the others
            [f"DELETE FROM `d`.`t` WHERE {WHERE_1X} LIMIT 1", 'INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x")'],
        ),
        (
            [insert(row(1)), insert(row(2)), insert(row(1)), insert(row(3))],
            ['INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x"),(2,"x"),(1,"x"),(3,"x")'],
        ),
        (
            [insert(row(1)), insert(row(2)), update(row(3), {"id": 1}), insert(row(1)), delete(row(2))],
            ['INSERT INTO `d`.`t` (`id`, `v`) VALUES (3,"x"),(1,"x")'],
        ),
        (
            [update(row(2), {"id": 1}), update(row(3), {"id": 2}), insert(row(4))],
            [
                f'UPDATE `d`.`t` SET `id` = 3, `v` = "x" WHERE {WHERE_1X} LIMIT 1',
                'INSERT INTO `d`.`t` (`id`, `v`) VALUES (4,"x")',
            ],
        ),
        ([update(row(2), {"id": 1}), delete(row(2))], [f"DELETE FROM `d`.`t` WHERE {WHERE_1X} LIMIT 1"]),
        ([update(row(2), {"id": 1}), update(row(1), {"id": 2})], []),
        ([delete(row(1))] * 2, [f"DELETE FROM `d`.`t` WHERE {WHERE_1X} LIMIT 2"]),
        (
            [delete(row(1)), delete(row(1)), insert(row(1))],
            [f"DELETE FROM `d`.`t` WHERE {WHERE_1X} LIMIT 2", 'INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x")'],
        ),
        ([update(row(2), {"id": 1})], [f'UPDATE `d`.`t` SET `id` = 2, `v` = "x" WHERE {WHERE_1X} LIMIT 1']),
        ([insert(row(2)), update(row(3), {"id": 2}), delete(row(3))], []),
        ([update(row(1), None)], []),
    ],
)
def test_a_table_without_a_key_is_a_multiset_of_rows_in_the_source_s_order(
    changes: list[RowChange], expected: list[str]
) -> None:
    assert sql(batched(changes, plan(KEYLESS))) == expected


def test_with_unique_keys_that_may_be_null_rows_change_as_they_came() -> None:
    by = plan(table("id int, v varchar", key="", unique=["id"]))
    changes = [insert(row(1)), update(row(2), {"id": 1}), insert(row(1)), delete(row(2)), insert(row(2))]
    assert [text.split(" WHERE")[0] for text in sql(batched(changes, by))] == [
        'INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x")',
        'UPDATE `d`.`t` SET `id` = 2, `v` = "x"',
        'INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x")',
        "DELETE FROM `d`.`t`",
        'INSERT INTO `d`.`t` (`id`, `v`) VALUES (2,"x")',
    ]


def test_rows_with_other_columns_are_other_rows() -> None:
    by = plan(table("id int, v varchar, w varchar", key=""))
    found = sql(batched([insert({"id": 1, "v": "x"}), delete({"id": 1, "w": "x"})], by))
    assert [text.split(" WHERE")[0] for text in found] == [
        "DELETE FROM `d`.`t`",
        'INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x")',
    ]


def test_exactly_as_many_rows_must_match_as_are_meant() -> None:
    statements = batched([delete(row(1)), delete(row(1)), insert(row(2)), insert(row(3))], plan(KEYLESS))
    assert [statement.affected for statement in statements] == [2, 2]


def test_a_change_that_cannot_be_planned_leaves_the_batch_as_it_was() -> None:
    schema = table([column("a", "int"), column("b", "blob")], key="")
    by = plan(schema)
    found = RowBatch()
    found.add(insert({"a": 1, "b": "YQ=="}), by)
    with pytest.raises(PlanError):
        found.add(update({"a": 2, "b": "no base64"}, {"a": 1, "b": "YQ=="}), by)
    assert sql(found.statements()) == ["INSERT INTO `d`.`t` (`a`, `b`) VALUES (1,X'61')"]
    assert found.rows == 1


def test_an_update_whose_old_image_cannot_be_read_leaves_the_batch_as_it_was() -> None:
    by = plan()
    found = RowBatch()
    found.add(insert(row(1)), by)
    with pytest.raises(PlanError):
        found.add(change("update", row(2), old=raw('[{"id":1}]')), by)
    assert sql(found.statements()) == ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"x")']


# -- referenced parents ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("border", "expected"),
    [
        (delete(row(1)), "DELETE FROM `d`.`t` WHERE `id` = 1 LIMIT 1"),
        (update(row(2), {"id": 1}), 'UPDATE `d`.`t` SET `id` = 2, `v` = "x" WHERE `id` = 1 LIMIT 1'),
    ],
)
def test_a_change_that_a_parent_passes_on_is_a_border_with_the_checks_on(border: RowChange, expected: str) -> None:
    found = RowBatch()
    parent, child = plan(PARENT), plan(table(name="d.child"))
    found.add(insert(row(7)), child)
    found.add(insert(row(1)), parent)
    found.add(border, parent)
    found.add(insert(row(8)), child)
    found.add(insert(row(3)), parent)
    statements = list(found.statements())
    assert sql(statements) == [
        'REPLACE INTO `d`.`child` (`id`, `v`) VALUES (7,"x")',
        'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"x")',
        expected,
        'REPLACE INTO `d`.`child` (`id`, `v`) VALUES (8,"x")',
        'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (3,"x")',
    ]
    assert [statement.checks_foreign_keys for statement in statements] == [False, False, True, False, False]
    assert statements[2].affected is None, "the target may have cascaded it already"


def test_an_update_of_a_parent_that_its_children_do_not_see_is_no_border() -> None:
    statements = batched([insert(row(1)), update(row(1, "y"), {"v": "x"}), update(row(1, "z"), None)], plan(PARENT))
    assert sql(statements) == ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"z")']


def test_a_source_that_writes_the_children_itself_needs_no_border() -> None:
    statements = batched([insert(row(1)), delete(row(1))], plan(PARENT, passes_actions_on=False))
    assert sql(statements) == ["DELETE FROM `d`.`t` WHERE `id` IN (1)"]


def test_a_parent_without_a_key_of_its_own_is_refused() -> None:
    parent = table(key="", referrers=PARENT.referrers)
    with pytest.raises(PlanError, match="referenced by a foreign key with an action but has no key"):
        batched([delete(row(1))], plan(parent))


# -- tables without transactions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("schema", [table(transactional=False), table(key="", transactional=False)])
def test_statements_on_a_table_without_transactions_are_marked(schema: TableSchema) -> None:
    assert [statement.is_transactional for statement in batched([insert(row(1))], plan(schema))] == [False]
    assert [statement.is_transactional for statement in single_statements(insert(row(1)), plan(schema))] == [False]


# -- one by one, as the original did ---------------------------------------------------------------------------------


def test_a_row_without_a_key_can_change_in_its_place() -> None:
    statements = single_statements(update(row(2), {"id": 1}), plan(KEYLESS), in_place=True)
    assert sql(statements) == [f'UPDATE `d`.`t` SET `id` = 2, `v` = "x" WHERE {WHERE_1X} LIMIT 1']
    assert [(statement.affected, statement.rows) for statement in statements] == [(1, 1)]


@pytest.mark.parametrize(
    ("schema", "mode", "single", "expected"),
    [
        (table(), "replace", insert(row(1)), ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"x")']),
        (table(), "replace", change("bootstrap-insert", row(1)), ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"x")']),
        (table(), "replace", update(row(1), {"v": "w"}), ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"x")']),
        (table(), "replace", delete(row(1)), ["DELETE IGNORE FROM `d`.`t` WHERE `id` = 1 LIMIT 1"]),
        (
            table(),
            "replace",
            update(row(2), {"id": 1}),
            ["DELETE IGNORE FROM `d`.`t` WHERE `id` = 1 LIMIT 1", 'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (2,"x")'],
        ),
        (
            COMPOSITE,
            "replace",
            delete({"a": "x", "b": 1, "v": 2}),
            ['DELETE IGNORE FROM `d`.`t` WHERE `a` = "x" AND `b` = 1 LIMIT 1'],
        ),
        (KEYLESS, "replace", insert(row(1)), ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"x")']),
        (KEYLESS, "replace", delete(row(1)), [f"DELETE IGNORE FROM `d`.`t` WHERE {WHERE_1X} LIMIT 1"]),
        (
            KEYLESS,
            "replace",
            update(row(2), {"id": 1}),
            [
                f"DELETE IGNORE FROM `d`.`t` WHERE {WHERE_1X} LIMIT 1",
                'REPLACE INTO `d`.`t` (`id`, `v`) VALUES (2,"x")',
            ],
        ),
        # REPLACE would remove the row of another that holds the same value
        (table(key="", unique=["v"]), "replace", insert(row(1)), ['INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x")']),
        (
            table(),
            "upsert",
            insert(row(1)),
            [
                'INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x")'
                " ON DUPLICATE KEY UPDATE `id` = VALUES(`id`), `v` = VALUES(`v`)"
            ],
        ),
        (table(), "plain", insert(row(1)), ['INSERT INTO `d`.`t` (`id`, `v`) VALUES (1,"x")']),
        (PARENT, "replace", delete(row(1)), ["DELETE FROM `d`.`t` WHERE `id` = 1 LIMIT 1"]),
        (PARENT, "replace", insert(row(1)), ['REPLACE INTO `d`.`t` (`id`, `v`) VALUES (1,"x")']),
    ],
)
def test_one_change_in_the_forms_of_the_original(
    schema: TableSchema, mode: str, single: RowChange, expected: list[str]
) -> None:
    statements = single_statements(single, plan(schema, apply_mode=mode))
    assert sql(statements) == expected


# -- batched and one by one are the same -----------------------------------------------------------------------------


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[RowChange], dict[str, str]]:
    """Changes of a table with a key, as a source could have made them, and the rows at the end."""
    rows: dict[str, str] = {}
    changes: list[RowChange] = []
    for _ in range(draw(st.integers(0, 12))):
        key, value = draw(st.sampled_from("abcd")), draw(st.sampled_from("uvw"))
        if key not in rows:
            changes.append(insert({"k": key, "v": value}))
            rows[key] = value
            continue
        free = [each for each in "abcdef" if each not in rows]
        kind = draw(st.sampled_from(["update", "delete", "move"] if free else ["update", "delete"]))
        if kind == "delete":
            changes.append(delete({"k": key, "v": rows.pop(key)}))
        elif kind == "update":
            changes.append(update({"k": key, "v": value}, {"v": rows[key]}))
            rows[key] = value
        else:
            moved = draw(st.sampled_from(free))
            rows[moved] = rows.pop(key)
            changes.append(update({"k": moved, "v": rows[moved]}, {"k": key}))
    return changes, rows


class _Table:
    """Just enough of a server to run the statements of these tests on one table."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}

    def run(self, statement: str) -> None:
        strings = statement.partition(" `d`.`t` ")[2].split('"')[1::2]
        if statement.startswith("REPLACE"):
            self.rows.update(zip(strings[::2], strings[1::2], strict=True))
        else:
            assert statement.startswith("DELETE")
            for key in strings:
                self.rows.pop(key, None)


@given(histories(), st.integers(1, 4))
def test_batches_lead_where_the_single_changes_lead(history: tuple[list[RowChange], dict[str, str]], size: int) -> None:
    changes, expected = history
    by = plan(table("k varchar, v varchar", key="k"))
    one_by_one, at_once, in_parts = _Table(), _Table(), _Table()
    for each in changes:
        for statement in sql(single_statements(each, by)):
            one_by_one.run(statement)
    for statement in sql(batched(changes, by)):
        at_once.run(statement)
    for start in range(0, len(changes), size):
        for statement in sql(batched(changes[start : start + size], by)):
            in_parts.run(statement)
    assert one_by_one.rows == at_once.rows == in_parts.rows == expected


@given(st.lists(st.tuples(st.sampled_from("+-"), st.integers(1, 3)), max_size=20))
def test_copies_of_rows_are_counted(steps: list[tuple[str, int]]) -> None:
    by = plan(table("n int", key=""))
    net: Counter[int] = Counter()
    for sign, number in steps:
        net[number] += 1 if sign == "+" else -1
    statements = batched((insert({"n": n}) if sign == "+" else delete({"n": n}) for sign, n in steps), by)
    found: Counter[int] = Counter()
    for statement in statements:
        assert statement.affected is not None
        text = statement.sql.decode()
        if text.startswith("DELETE"):
            found[int(text.split(" = ")[1].split()[0])] -= statement.affected
        else:
            numbers = text.partition("VALUES ")[2].strip("()").split("),(")
            assert len(numbers) == statement.affected
            found.update(map(int, numbers))
    assert +found == +net
    assert -found == -net
