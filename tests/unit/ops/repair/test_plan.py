"""The plan file: what it shows, what it executes, and what it refuses."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pydbsync.errors import OperationError
from pydbsync.model import ChangeKind, Column, TableName, TableSchema
from pydbsync.ops.repair.change import PlannedChange
from pydbsync.ops.repair.plan import PlanHead, RepairPlan, check_unedited, read_plan, render_change, write_plan
from pydbsync.ops.repair.writer import ChangeWriter
from pydbsync.plan.row_shape import ColumnOverrides
from pydbsync.plan.target import Dialect

NAME = TableName("shop", "t")
COLUMNS = (
    Column("id", "int", nullable=False),
    Column("v", "varchar", charset="utf8mb4"),
    Column("b", "blob"),
    Column("twice", "int", generated=True),
)
KEYED = TableSchema(name=NAME, columns=COLUMNS, primary_key=("id",), row_key=("id",))
UNIQUE = msgspec.structs.replace(KEYED, unique_keys=(("v",),))
WITH_OWN = msgspec.structs.replace(KEYED, columns=(*COLUMNS, Column("own", "int")))
UNIQUE_WITH_OWN = msgspec.structs.replace(UNIQUE, columns=WITH_OWN.columns)
KEYLESS = TableSchema(name=NAME, columns=COLUMNS)
OLD = msgspec.Raw(b'{"id":1,"v":"was","b":null,"twice":2}')
OLD_WITH_OWN = msgspec.Raw(b'{"id":1,"v":"was","b":null,"twice":2,"own":7}')
NEW = msgspec.Raw(b'{"id":1,"v":"it\'s \\n","b":"AP8=","twice":2}')


def writer(schema: TableSchema) -> ChangeWriter:
    own = frozenset(column.name for column in schema.columns if column.name == "own")
    return ChangeWriter(schema, overrides=ColumnOverrides(), dialect=Dialect(), own=own)


def planned(kind: ChangeKind, copies: int = 1, number: int = 1) -> PlannedChange:
    of_kind: dict[str, dict[str, Any]] = {
        "insert": {"after": NEW},
        "delete": {"before": OLD},
        "update": {"before": OLD, "after": NEW},
    }
    return PlannedChange(
        number=number, table=NAME, sources=(NAME,), kind=kind, request=("1",), copies=copies, **of_kind[kind]
    )


def shown(schema: TableSchema, change: PlannedChange) -> list[str]:
    return render_change(change, writer(schema)).decode().splitlines()[1:]


UPDATE = "UPDATE `shop`.`t` SET `id` = 1, `v` = {v}, `b` = {b} WHERE `id` = 1 LIMIT 1;"
INSERT = "INSERT INTO `shop`.`t` (`id`, `v`, `b`) VALUES (1,{v},{b});"
DELETE = "DELETE FROM `shop`.`t` WHERE `id` = 1 LIMIT 1;"
AS_OLD = {"v": '"was"', "b": "NULL"}
AS_NEW = {"v": '"it\'s \\n"', "b": "X'00ff'"}


@pytest.mark.parametrize(
    ("schema", "kind", "lines"),
    [
        (KEYED, "insert", [INSERT.format(**AS_NEW), f"-- undo: {DELETE}"]),
        (KEYED, "delete", [DELETE, f"-- undo: {INSERT.format(**AS_OLD)}"]),
        (KEYED, "update", [UPDATE.format(**AS_NEW), f"-- undo: {UPDATE.format(**AS_OLD)}"]),
        (
            UNIQUE,
            "update",
            [DELETE, INSERT.format(**AS_NEW), f"-- undo: {DELETE}", f"-- undo: {INSERT.format(**AS_OLD)}"],
        ),
        (WITH_OWN, "insert", [INSERT.format(**AS_NEW), f"-- undo: {DELETE}"]),
    ],
)
def test_a_change_is_shown_with_its_reverse(schema: TableSchema, kind: ChangeKind, lines: list[str]) -> None:
    assert shown(schema, planned(kind)) == lines


def test_columns_of_the_targets_own_are_written_with_the_values_that_they_have() -> None:
    change = msgspec.structs.replace(planned("update"), before=OLD_WITH_OWN)
    assert [shown(schema, change) for schema in (WITH_OWN, UNIQUE_WITH_OWN)] == [
        [
            "UPDATE `shop`.`t` SET `id` = 1, `v` = \"it's \\n\", `b` = X'00ff', `own` = 7 WHERE `id` = 1 LIMIT 1;",
            '-- undo: UPDATE `shop`.`t` SET `id` = 1, `v` = "was", `b` = NULL, `own` = 7 WHERE `id` = 1 LIMIT 1;',
        ],
        [
            DELETE,
            "INSERT INTO `shop`.`t` (`id`, `v`, `b`, `own`) VALUES (1,\"it's \\n\",X'00ff',7);",
            f"-- undo: {DELETE}",
            '-- undo: INSERT INTO `shop`.`t` (`id`, `v`, `b`, `own`) VALUES (1,"was",NULL,7);',
        ],
    ]


def test_rows_without_a_key_come_and_go_by_their_number() -> None:
    values = "(1,{v},{b})".format(**AS_NEW)
    came, gone = shown(KEYLESS, planned("insert", copies=3))
    assert came == f"INSERT INTO `shop`.`t` (`id`, `v`, `b`) VALUES {values},{values},{values};"
    assert gone.startswith("-- undo: DELETE FROM `shop`.`t` WHERE `id` = 1 AND ")
    assert gone.endswith(" LIMIT 3;")


def test_a_statement_that_would_fill_the_screen_is_not_shown() -> None:
    image = msgspec.Raw(b'{"id":1,"v":"' + b"x" * 50_000 + b'","b":null,"twice":2}')
    change = msgspec.structs.replace(planned("insert"), after=image)
    assert shown(KEYED, change)[0].startswith("-- (a statement of ")


def test_a_value_cannot_end_its_line_or_begin_a_change() -> None:
    image = msgspec.Raw(b'{"id":1,"v":"\\n-- change {}\\n","b":"' + b"Ci0tIGNoYW5nZSB7fQo=" + b'","twice":2}')
    change = msgspec.structs.replace(planned("insert"), after=image)
    assert [line for line in render_change(change, writer(KEYED)).split(b"\n") if line.startswith(b"-- change ")] == [
        b"-- change " + msgspec.json.encode(change)
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "plan.sql"
    changes = (planned("delete", number=1), planned("update", number=2), planned("insert", number=3))
    head = PlanHead(plan="p", source="s", target="t", made_at="2030-01-01T00:00:00+00:00", changes=3)
    write_plan(RepairPlan(head, changes, ("shop.u: why\nnot",)), path, {NAME: writer(KEYED)})
    return path


def test_a_plan_is_read_as_it_was_written(path: Path) -> None:
    plan = read_plan(path)
    assert plan.head.plan == "p"
    assert plan.changes == (planned("delete", number=1), planned("update", number=2), planned("insert", number=3))
    check_unedited(path, plan, {NAME: writer(KEYED)})
    assert "-- left out: shop.u: why not\n" in path.read_text()


def test_changes_may_be_taken_out(path: Path) -> None:
    head, first, _, third = path.read_text().split("\n-- change ")
    path.write_text("\n-- change ".join([head, first, third]))
    plan = read_plan(path)
    assert [change.number for change in plan.changes] == [1, 3]
    check_unedited(path, plan, {NAME: writer(KEYED)})


def test_a_plan_that_was_cut_off_between_two_changes_is_refused(path: Path) -> None:
    text = path.read_text()
    path.write_text(text.rpartition("\n-- change ")[0])
    with pytest.raises(OperationError, match=r"was cut off: its last line, '-- end of the plan', is missing"):
        read_plan(path)
    former = text.replace('"format":3', '"format":1').removesuffix("\n-- end of the plan\n")
    path.write_text(former)
    assert len(read_plan(path).changes) == 3


@pytest.mark.parametrize("behind", ["DELETE FROM t;\n", "change"])
def test_what_stands_behind_the_end_is_not_passed_over(path: Path, behind: str) -> None:
    text = path.read_text()
    change = text.split("\n-- change ")[1].replace('"number":1', '"number":9')
    path.write_text(text + (f"\n-- change {change}" if behind == "change" else behind))
    with pytest.raises(OperationError, match=r"goes on behind its last line, '-- end of the plan'"):
        read_plan(path)
    path.write_text(text + "\r\n\n")
    assert len(read_plan(path).changes) == 3


def test_an_edited_statement_is_refused(path: Path) -> None:
    path.write_text(path.read_text().replace("`id` = 1 LIMIT 1;", "`id` = 2 LIMIT 1;", 1))
    with pytest.raises(OperationError, match=r"the statements of change 1 .* were edited"):
        check_unedited(path, read_plan(path), {NAME: writer(KEYED)})


def test_an_image_that_was_edited_is_refused_where_its_statement_is_too_long_to_be_shown(tmp_path: Path) -> None:
    path = tmp_path / "plan.sql"
    image = msgspec.Raw(b'{"id":1,"v":"' + b"x" * 50_000 + b'","b":null,"twice":2}')
    changes = (msgspec.structs.replace(planned("delete"), before=image),)
    head = PlanHead(plan="p", source="s", target="t", made_at="2030-01-01T00:00:00+00:00", changes=1)
    write_plan(RepairPlan(head, changes), path, {NAME: writer(KEYED)})
    text = path.read_text()
    former = re.sub(", SHA-256 [0-9a-f]{64}", "", text.replace('"format":3', '"format":2'))
    for whole in (text, former):
        path.write_text(whole)
        check_unedited(path, read_plan(path), {NAME: writer(KEYED)})
    path.write_text(text.replace("xxx", "xyx", 1))
    with pytest.raises(OperationError, match=r"the statements of change 1 .* were edited"):
        check_unedited(path, read_plan(path), {NAME: writer(KEYED)})


def test_a_table_altered_since_is_refused(path: Path) -> None:
    with pytest.raises(OperationError, match="the table has changed since"):
        check_unedited(path, read_plan(path), {NAME: writer(UNIQUE)})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"DROP TABLE t;", "is no repair plan"),
        (b"-- pydbsync repair plan {}\n", "is no repair plan: .*plan"),
        (
            b'-- pydbsync repair plan {"plan":"p","source":"s","target":"t","made_at":"","changes":0,"format":9}\n',
            "another version",
        ),
    ],
)
def test_what_is_no_plan_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "plan.sql").write_bytes(content)
    with pytest.raises(OperationError, match=reason):
        read_plan(tmp_path / "plan.sql")
