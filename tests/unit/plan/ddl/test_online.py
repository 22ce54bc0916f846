from __future__ import annotations

import json
from collections.abc import Sequence

import msgspec
import pytest

from pydbsync.errors import PlanError
from pydbsync.model import NO_JSON, SchemaChange, SchemaKind, TableName
from pydbsync.plan.ddl.for_target import plan_schema_change
from pydbsync.plan.ddl.names import StatementNames
from pydbsync.plan.ddl.online import NoCopyError, OnlineChanges, RealRows
from pydbsync.plan.ddl.statement import parse_statement
from tests.unit.plan.corpus import recorded_schema_changes


class Replay:
    """A source's statements on a target of which only the columns are kept; the state goes through JSON each time."""

    def __init__(self, **tables: Sequence[str]) -> None:
        self.rows: dict[str, int] = {}
        self.refused = ""
        self.tables = {TableName("d", name): list(columns) for name, columns in tables.items()}
        self.saved = ""
        self.ran: list[str] = []
        self.notes: list[str] = []

    @property
    def state(self) -> OnlineChanges:
        return OnlineChanges.from_json(self.saved)

    def hides(self, table: str) -> bool:
        return self.state.hides(TableName("d", table))

    def came(self, table: str, rows: int | None) -> None:
        """Rows of the source that are left out."""
        self.saved = self.state.counted({TableName("d", table): rows}).to_json()

    def statement(self, sql: str, *, before: str = "", after: str = "", columns: Sequence[str] = ()) -> list[str]:
        """Run one statement of the source, in database d; what ran on the target comes back."""
        statement = parse_statement(sql)
        item = statement.items[0]
        kind: SchemaKind = (
            "table-create" if item.before is None else "table-drop" if item.after is None else "table-alter"
        )
        old_name = before or item.subject.table or ""
        new_name = after or (item.after.table if item.after else "") or ""
        change = SchemaChange(
            kind=kind, database="d", table=old_name, ts=1700000000, sql=sql, position="bin.1:4",
            old=described(old_name, columns) if kind == "table-alter" else NO_JSON,
            def_=described(new_name, columns) if kind != "table-drop" else NO_JSON,
        )  # fmt: skip
        return self.change(change)

    def change(self, change: SchemaChange, siblings: Sequence[SchemaChange] = ()) -> list[str]:
        statement = parse_statement(change.sql)
        try:
            observed = self.state.observe(
                change, statement=statement, columns_of=self.tables.get, siblings=siblings,
                rows_of=lambda copy, real: RealRows(self.rows[real.table]) if real.table in self.rows else None,
            )  # fmt: skip
        except NoCopyError as exc:
            self.saved, self.refused = exc.state.to_json(), str(exc)
            return []
        self.saved = observed.state.to_json()
        self.notes += [observed.note] if observed.note else []
        ran: list[str] = []
        for wanted in observed.changes:
            own = siblings if wanted is change else ()
            planned = plan_schema_change(wanted, rename=str, in_scope=lambda _database, _table: True, siblings=own)
            assert planned is not None
            ran.append(planned.sql)
            self.follow(wanted, own)
        self.ran += ran
        return ran

    def follow(self, change: SchemaChange, siblings: Sequence[SchemaChange]) -> None:
        statement = parse_statement(change.sql)
        if not statement.items:
            return
        names = StatementNames(statement, (change, *siblings), None)
        for item in statement.items:
            columns: list[str] = []
            if item.before is not None:
                columns = self.tables.pop(TableName(names.database(item.before), names.table(item.before)))
            if item.after is not None:
                name = TableName(names.database(item.after), names.table(item.after))
                definition = json.loads(bytes(change.def_)) if bytes(change.def_) else None
                if definition and definition["columns"] and definition["table"] == name.table:
                    columns = [column["name"] for column in definition["columns"]]
                assert name not in self.tables
                self.tables[name] = columns


def described(table: str, columns: Sequence[str]) -> msgspec.Raw:
    listed = [{"type": "int", "name": name, "signed": True} for name in columns]
    return msgspec.Raw(json.dumps({"database": "d", "table": table, "columns": listed, "primary-key": []}).encode())


def gh_ost(replay: Replay, table: str, *, qualified: bool = True) -> None:
    """Up to the swap."""
    d = "`d`." if qualified else ""
    columns = ["id", "v"]
    replay.statement(
        f"create /* gh-ost */ table {d}`_{table}_ghc` (id int)", columns=["id", "last_update", "hint", "value"]
    )
    replay.statement(f"create /* gh-ost */ table {d}`_{table}_gho` like {d}`{table}`", columns=columns)
    replay.statement(f"alter /* gh-ost */ table {d}`_{table}_gho` ADD c INT DEFAULT 7", columns=[*columns, "c"])


SENTRY = "create /* gh-ost */ table `d`.`_t_del` (id int primary key) engine=InnoDB comment='ghost-cut-over-sentry'"


def test_gh_ost_ends_as_one_change_of_the_real_table() -> None:
    replay = Replay(t=["id", "v"])
    gh_ost(replay, "t")
    assert replay.hides("_t_gho")
    assert replay.hides("_t_ghc")
    assert not replay.hides("t")
    replay.statement(SENTRY, columns=["id"])
    replay.statement("DROP TABLE IF EXISTS `_t_del` /* generated by server */")
    assert replay.ran == []
    swap = "rename /* gh-ost */ table `d`.`t` to `d`.`_t_del`, `d`.`_t_gho` to `d`.`t`"
    assert replay.statement(swap) == ["alter /* gh-ost */ table `d`.`t` ADD c INT DEFAULT 7"]
    assert not replay.hides("_t_gho")
    replay.statement("DROP TABLE IF EXISTS `_t_ghc` /* generated by server */")
    replay.statement("DROP TABLE IF EXISTS `_t_del` /* generated by server */")
    assert len(replay.ran) == 1
    assert replay.saved == ""
    assert replay.tables == {TableName("d", "t"): ["id", "v", "c"]}


def test_the_change_of_the_real_table_is_described_as_one_of_it() -> None:
    replay = Replay(t=["id", "v"])
    gh_ost(replay, "t")
    sql = "rename table `d`.`t` to `d`.`_t_del`, `d`.`_t_gho` to `d`.`t`"
    swap = SchemaChange(
        kind="table-alter", database="d", table="t", ts=1800000000, sql=sql, position="bin.2:9", gtid="u:7"
    )
    observed = replay.state.observe(swap, statement=parse_statement(sql), columns_of=replay.tables.get)
    (change,) = observed.changes
    assert (change.kind, change.database, change.table) == ("table-alter", "d", "t")
    assert (change.position, change.ts) == ("bin.2:9", 1700000000)
    assert json.loads(bytes(change.old))["table"] == json.loads(bytes(change.def_))["table"] == "t"


@pytest.mark.parametrize("table", ["t", "a.b", "表", "_t", "a_new", "x`y", "old table"])
@pytest.mark.parametrize("qualified", [True, False])
def test_any_table_name_qualified_or_not(table: str, qualified: bool) -> None:
    replay = Replay(**{table: ["id", "v"]})
    d = "`d`." if qualified else ""
    name = table.replace("`", "``")
    gh_ost(replay, name, qualified=qualified)
    replay.statement(f"rename table {d}`{name}` to {d}`_{name}_del`, {d}`_{name}_gho` to {d}`{name}`")
    assert replay.ran == [f"alter /* gh-ost */ table `d`.`{name}` ADD c INT DEFAULT 7"]


def test_a_long_name_is_cut_by_gh_ost() -> None:
    table = "t" * 64
    copy = f"_{table[:59]}_gho"
    replay = Replay(**{table: ["id"]})
    replay.statement(f"create /* gh-ost */ table d.{copy} like d.{table}", columns=["id"])
    replay.statement(f"alter table d.{copy} ENGINE=InnoDB", columns=["id"])
    assert replay.hides(copy)
    replay.statement(f"rename table d.{table} to d._{table[:59]}_del, d.{copy} to d.{table}")
    assert replay.ran == [f"alter table `d`.`{table}` ENGINE=InnoDB"]


def test_several_changes_of_the_copy_run_in_their_order() -> None:
    replay = Replay(t=["id", "v"])
    gh_ost(replay, "t")
    replay.statement("alter table d._t_gho AUTO_INCREMENT=12")
    replay.statement("rename table d.t to d._t_20240101120000_del, d._t_gho to d.t")
    assert replay.ran == [
        "alter /* gh-ost */ table `d`.`t` ADD c INT DEFAULT 7",
        "alter table `d`.`t` AUTO_INCREMENT=12",
    ]
    assert replay.hides("_t_20240101120000_del")


def test_a_swap_in_two_steps() -> None:
    replay = Replay(t=["id", "v"])
    gh_ost(replay, "t")
    replay.statement("alter /* gh-ost */ table `d`.`t` rename `_t_del`")
    assert replay.ran == []
    replay.statement("alter /* gh-ost */ table `d`.`_t_gho` rename `t`")
    assert replay.ran == ["alter /* gh-ost */ table `d`.`t` ADD c INT DEFAULT 7"]
    replay.statement("DROP TABLE `_t_del`, `_t_ghc`")
    assert replay.saved == ""


def test_a_swap_in_two_steps_that_is_taken_back() -> None:
    replay = Replay(t=["id", "v"])
    gh_ost(replay, "t")
    replay.statement("rename table d.t to d._t_del")
    replay.statement("rename table d._t_del to d.t")
    replay.statement("drop table d._t_gho")
    assert replay.ran == []
    assert replay.tables == {TableName("d", "t"): ["id", "v"]}


def test_a_swap_in_two_steps_that_stops_in_the_middle() -> None:
    replay = Replay(t=["id", "v"])
    gh_ost(replay, "t")
    replay.statement("rename table d.t to d._t_del")
    assert replay.statement("drop table d._t_gho") == ["RENAME TABLE `d`.`t` TO `d`.`_t_del`"]
    assert not replay.hides("_t_del")


PT_CREATE = """CREATE TABLE `d`.`_t_new` (
  `id` int NOT NULL,
  `v` int DEFAULT NULL,
  PRIMARY KEY (`id`)
) ENGINE=InnoDB"""


def pt_osc(replay: Replay) -> None:
    replay.statement(PT_CREATE, columns=["id", "v"])
    replay.statement("ALTER TABLE `d`.`_t_new` MODIFY v BIGINT, DROP INDEX x", columns=["id", "v"])


def test_pt_online_schema_change_ends_as_one_change_of_the_real_table() -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    assert replay.hides("_t_new")
    replay.statement("RENAME TABLE `d`.`t` TO `d`.`_t_old`, `d`.`_t_new` TO `d`.`t`")
    replay.statement("DROP TABLE IF EXISTS `_t_old` /* generated by server */")
    assert replay.ran == ["ALTER TABLE `d`.`t` MODIFY v BIGINT, DROP INDEX x"]
    assert replay.saved == ""


def test_pt_online_schema_change_with_drop_swap() -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    replay.statement("DROP TABLE IF EXISTS `t` /* generated by server */")
    replay.statement("RENAME TABLE `d`.`_t_new` TO `d`.`t`")
    assert replay.ran == ["ALTER TABLE `d`.`t` MODIFY v BIGINT, DROP INDEX x"]
    assert replay.saved == ""


def test_a_table_that_is_dropped_while_it_is_copied() -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    assert replay.statement("DROP TABLE `t`") == []
    assert replay.statement("DROP TABLE `_t_new`") == ["DROP TABLE `d`.`t`"]
    assert replay.tables == {}


def test_a_dropped_table_that_is_made_anew_while_it_is_copied() -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    replay.statement("DROP TABLE `t`")
    assert replay.statement("CREATE TABLE t (a INT)", columns=["a"]) == ["DROP TABLE `d`.`t`", "CREATE TABLE t (a INT)"]


def test_more_underscores_where_the_first_name_was_taken() -> None:
    replay = Replay(t=["id", "v"])
    replay.statement(PT_CREATE.replace("_t_new", "___t_new"), columns=["id", "v"])
    replay.statement("ALTER TABLE `d`.`___t_new` ADD c INT", columns=["id", "v", "c"])
    replay.statement("RENAME TABLE `d`.`t` TO `d`.`__t_old`, `d`.`___t_new` TO `d`.`t`")
    assert replay.ran == ["ALTER TABLE `d`.`t` ADD c INT"]


def test_the_constraints_have_the_names_that_pt_online_schema_change_gave_them() -> None:
    create = (
        "CREATE TABLE `d`.`_t_new` (\n  `id` int, v int, KEY `fk` (`v`), KEY `id` (`id`,`v`), UNIQUE KEY `u` (`v`),"
        " CONSTRAINT `_fk` FOREIGN KEY (`v`) REFERENCES `p` (`id`),"
        " CONSTRAINT `__b` FOREIGN KEY (`id`) REFERENCES `q` (`id`), CONSTRAINT `c` CHECK (id > 0),"
        " CONSTRAINT `_t_chk_1` CHECK (id < 9))"
    )
    replay = Replay(t=["id", "v"])
    replay.statement(create, columns=["id", "v"])
    replay.statement("ALTER TABLE `d`.`_t_new` DROP FOREIGN KEY _fk", columns=["id", "v"])
    replay.statement("RENAME TABLE `d`.`t` TO `d`.`_t_old`, `d`.`_t_new` TO `d`.`t`")
    assert replay.ran == [
        "ALTER TABLE `d`.`t` DROP FOREIGN KEY `fk`, DROP INDEX `fk`, ADD KEY `fk` (`v`),"
        " ADD CONSTRAINT `_fk` FOREIGN KEY (`v`) REFERENCES `p` (`id`),"
        " DROP FOREIGN KEY `_b`, ADD CONSTRAINT `__b` FOREIGN KEY (`id`) REFERENCES `q` (`id`),"
        " DROP CONSTRAINT `__c`, ADD CONSTRAINT `c` CHECK (id > 0)",
        "ALTER TABLE `d`.`t` DROP FOREIGN KEY _fk",
    ]


def test_an_aborted_online_schema_change_leaves_nothing() -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    replay.statement("DROP TABLE IF EXISTS `_t_new` /* generated by server */")
    assert (replay.ran, replay.saved) == ([], "")


def test_a_copy_that_is_begun_again_forgets_its_first_changes() -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    replay.statement(PT_CREATE, columns=["id", "v"])
    replay.statement("RENAME TABLE d.t TO d._t_old, d._t_new TO d.t")
    assert replay.ran == []


# Ordinary tables


@pytest.mark.parametrize(
    ("tables", "columns"),
    [({}, ["id"]), ({"foo": ["id", "other"]}, ["id"]), ({"_foo_new": ["id"], "bar": ["id"]}, ["id"])],
)
def test_a_table_that_merely_looks_like_a_copy_is_ordinary(tables: dict[str, list[str]], columns: list[str]) -> None:
    replay = Replay(**tables)
    replay.tables.pop(TableName("d", "_foo_new"), None)
    assert replay.statement("CREATE TABLE _foo_new (id INT)", columns=columns) == ["CREATE TABLE _foo_new (id INT)"]
    assert not replay.hides("_foo_new")
    assert replay.statement("ALTER TABLE _foo_new ADD x INT") == ["ALTER TABLE _foo_new ADD x INT"]
    assert replay.statement("RENAME TABLE _foo_new TO bar2") == ["RENAME TABLE _foo_new TO bar2"]
    assert replay.statement("DROP TABLE bar2") == ["DROP TABLE bar2"]


def test_a_table_made_like_another_than_its_name_says_is_ordinary() -> None:
    replay = Replay(foo=["id"], bar=["id"])
    assert replay.statement("CREATE TABLE _foo_new LIKE bar", columns=["id"]) == ["CREATE TABLE _foo_new LIKE bar"]


def test_statements_on_other_tables_pass_while_a_table_is_copied() -> None:
    replay = Replay(t=["id", "v"], u=["a"])
    gh_ost(replay, "t")
    for sql in ("ALTER TABLE u ADD b INT", "ALTER TABLE t ADD w INT", "RENAME TABLE u TO w", "DROP TABLE w"):
        assert replay.statement(sql) == [sql]


def test_only_the_part_of_a_statement_that_concerns_other_tables_runs() -> None:
    replay = Replay(t=["id", "v"], u=["a"], x=["b"])
    gh_ost(replay, "t")
    assert replay.statement("RENAME TABLE u TO w, t TO _t_del, _t_gho TO t") == [
        "alter /* gh-ost */ table `d`.`t` ADD c INT DEFAULT 7",
        "RENAME TABLE `d`.`u` TO `d`.`w`",
    ]
    assert replay.statement("DROP TABLE `_t_ghc`,`w`,`_t_del`,`d`.`x` /* generated by server */") == [
        "DROP TABLE `d`.`w`,`d`.`x` /* generated by server */"
    ]


def test_dropping_a_database_forgets_its_online_schema_changes() -> None:
    replay = Replay(t=["id", "v"])
    gh_ost(replay, "t")
    change = SchemaChange(kind="database-drop", database="d", table=None, ts=1, sql="DROP DATABASE d")
    assert replay.change(change) == ["DROP DATABASE d"]
    assert replay.saved == ""


def test_what_only_the_planner_can_resolve_is_left_to_it() -> None:
    replay = Replay(t=["id", "v"])
    gh_ost(replay, "t")
    with pytest.raises(PlanError, match="in which database t stands"):
        replay.statement("CREATE TABLE e.x LIKE t", columns=["id", "v"])


# What a tool's own marks are


BY_HAND = (
    "CREATE TABLE _t_{0} LIKE t",
    "CREATE TABLE `d`.`_t_{0}` LIKE `d`.`t`",
    "CREATE TABLE `d`.`_t_{0}` (`id` int NOT NULL, `v` int, PRIMARY KEY (`id`))",
    "CREATE TABLE `_t_{0}` (\n  `id` int NOT NULL,\n  `v` int,\n  PRIMARY KEY (`id`)\n)",
    "CREATE TABLE _t_{0} (id int PRIMARY KEY, v int) COMMENT='/* gh-ost */'",
    "CREATE /* not gh-ost */ TABLE d._t_{0} LIKE d.t",
)


@pytest.mark.parametrize("ending", ["new", "gho"])
@pytest.mark.parametrize("create", BY_HAND)
def test_tables_of_a_migration_by_hand_are_ordinary_whatever_their_names(create: str, ending: str) -> None:
    replay = Replay(t=["id", "v"])
    statements = [
        create.format(ending),
        f"ALTER TABLE _t_{ending} ADD c INT",
        f"RENAME TABLE t TO _t_old, _t_{ending} TO t",
        f"RENAME TABLE t TO _t_{ending}, _t_old TO t",
        f"DROP TABLE _t_{ending}",
    ]
    for sql in statements:
        assert replay.statement(sql, columns=["id", "v"]) == [sql]
        assert not replay.hides(f"_t_{ending}")
    assert replay.saved == ""


def test_the_changelog_marks_a_copy_whose_statements_lost_their_comments() -> None:
    replay = Replay(t=["id", "v"])
    log = "CREATE TABLE _t_ghc (id int) COMMENT='gh-ost changelog'"
    assert replay.statement(log, columns=["id", "last_update", "hint", "value"]) == []
    assert replay.statement("CREATE TABLE _t_gho LIKE t", columns=["id", "v"]) == []
    assert replay.hides("_t_gho")


def test_a_table_with_the_columns_of_a_changelog_is_ordinary() -> None:
    replay = Replay(t=["id"])
    sql = "CREATE TABLE _t_ghc (id int, last_update int, hint int, value int)"
    assert replay.statement(sql, columns=["id", "last_update", "hint", "value"]) == [sql]


@pytest.mark.parametrize("is_two_steps", [False, True])
def test_names_that_gh_ost_was_told(is_two_steps: bool) -> None:
    replay = Replay(t=["id", "v"])
    replay.statement("create /* gh-ost */ table `d`.`_x_ghc` (id int)", columns=["id", "last_update", "hint", "value"])
    replay.statement("create /* gh-ost */ table `d`.`_x_gho` like `d`.`t`", columns=["id", "v"])
    replay.statement("alter /* gh-ost */ table `d`.`_x_gho` ENGINE=InnoDB", columns=["id", "v"])
    replay.statement("create /* gh-ost */ table `d`.`_x_ghk` (\n `gh_ost_chk_id` int)", columns=["gh_ost_chk_id"])
    assert all(map(replay.hides, ("_x_ghc", "_x_gho", "_x_ghk")))
    if is_two_steps:
        replay.statement("alter /* gh-ost */ table `d`.`t` rename `_x_del`")
        replay.statement("alter /* gh-ost */ table `d`.`_x_gho` rename `t`")
    else:
        replay.statement("rename /* gh-ost */ table `d`.`t` to `d`.`_x_del`, `d`.`_x_gho` to `d`.`t`")
    replay.statement("DROP TABLE `_x_del`, `_x_ghc`, `_x_ghk`")
    assert replay.ran == ["alter /* gh-ost */ table `d`.`t` ENGINE=InnoDB"]
    assert replay.saved == ""


@pytest.mark.parametrize("old", ["_t_old", "___t_old", "AB12CD___________t_old", "_t_20240101120000_del"])
def test_names_that_the_tools_find_free(old: str) -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    replay.statement(f"RENAME TABLE `d`.`t` TO `d`.`{old}`, `d`.`_t_new` TO `d`.`t`")
    replay.statement(f"DROP TABLE IF EXISTS `{old}` /* generated by server */")
    assert replay.ran == ["ALTER TABLE `d`.`t` MODIFY v BIGINT, DROP INDEX x"]
    assert replay.saved == ""


# What is refused


SWAP = "RENAME TABLE `d`.`t` TO `d`.`_t_old`, `d`.`_t_new` TO `d`.`t`"


@pytest.mark.parametrize(
    ("came", "has", "is_refused"),
    [((3, 2), 5, False), ((3, 2, -1), 5, True), ((), 1, True), ((5, None), 4, False), ((4,), None, False)],
)
def test_a_copy_must_have_as_many_rows_as_the_real_table(
    came: tuple[int | None, ...], has: int | None, is_refused: bool
) -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    for rows in came:
        replay.came("_t_new", rows)
    replay.rows = {} if has is None else {"t": has}
    ran = replay.statement(SWAP)
    if is_refused:
        assert ran == []
        assert f"rows came for d._t_new, and d.t has {has}" in replay.refused
        assert "copy d.t from the source" in replay.refused
    else:
        assert ran == ["ALTER TABLE `d`.`t` MODIFY v BIGINT, DROP INDEX x"]
    assert replay.statement("DROP TABLE IF EXISTS `_t_old`") == []
    assert replay.saved == ""


def test_a_copy_that_is_emptied_begins_to_count_again() -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    replay.came("_t_new", 7)
    replay.statement("TRUNCATE TABLE _t_new")
    replay.came("_t_new", 3)
    replay.rows = {"t": 3}
    assert replay.statement(SWAP) == ["ALTER TABLE `d`.`t` MODIFY v BIGINT, DROP INDEX x"]


@pytest.mark.parametrize("sql", ["ALTER TABLE t ADD w INT", "TRUNCATE TABLE t", "CREATE INDEX i ON t (v)"])
def test_a_real_table_that_is_changed_itself_while_it_is_copied(sql: str) -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    assert replay.statement(sql, columns=["id", "v"]) == [sql]
    assert replay.statement(SWAP) == []
    assert f"d.t was changed itself while it was copied ({sql})" in replay.refused


def test_a_state_that_does_not_know_the_rows_is_no_reason_to_refuse() -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    saved = json.loads(replay.saved)
    del saved["absent"][0]["rows"]
    replay.saved = json.dumps(saved)
    replay.came("_t_new", 2)
    replay.rows = {"t": 9}
    assert replay.statement(SWAP) == ["ALTER TABLE `d`.`t` MODIFY v BIGINT, DROP INDEX x"]


def test_rows_of_a_table_by_hand_whose_beginning_was_not_seen_are_not_left_out() -> None:
    replay = Replay(t=["id", "v"])
    assert not replay.state.hides(TableName("d", "_t_new"), replay.tables.get)


def test_a_swap_whose_beginning_was_not_seen_is_refused() -> None:
    replay = Replay(t=["id", "v"])
    assert replay.state.hides(TableName("d", "_t_gho"), replay.tables.get)
    for sql in (
        "rename table d.t to d._t_del, d._t_gho to d.t",
        "alter table d._t_gho add c int",
        "rename table d.t to d._t_old, d.__t_new to d.t",
    ):
        with pytest.raises(PlanError, match="began before this stream"):
            replay.statement(sql)


def test_a_copy_that_the_target_has_is_an_ordinary_table() -> None:
    replay = Replay(t=["id", "v"], _t_gho=["id", "v", "c"])
    assert not replay.state.hides(TableName("d", "_t_gho"), replay.tables.get)
    swap = "rename table d.t to d._t_del, d._t_gho to d.t"
    assert replay.statement(swap) == [swap]


def test_a_table_left_behind_cannot_come_back() -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    replay.statement("RENAME TABLE d.t TO d._t_old, d._t_new TO d.t")
    assert replay.hides("_t_old")
    with pytest.raises(PlanError, match="is not on the target; copy"):
        replay.statement("RENAME TABLE d.t TO d.bad, d._t_old TO d.t")


def test_a_copy_under_another_name_is_refused() -> None:
    replay = Replay(t=["id", "v"])
    pt_osc(replay)
    with pytest.raises(PlanError, match=r"copy d\.elsewhere from the source"):
        replay.statement("RENAME TABLE d._t_new TO d.elsewhere")


def test_a_state_that_was_not_written_here_is_refused() -> None:
    with pytest.raises(PlanError, match="cannot be read"):
        OnlineChanges.from_json('{"absent": 1}')


def test_values_that_differ_by_row_are_announced() -> None:
    replay = Replay(t=["id"])
    replay.statement("create /* gh-ost */ table d._t_gho like d.t", columns=["id"])
    replay.statement("alter table d._t_gho ADD at DATETIME DEFAULT CURRENT_TIMESTAMP", columns=["id", "at"])
    replay.statement("rename table d.t to d._t_del, d._t_gho to d.t")
    assert "CURRENT_TIMESTAMP can give rows other values than at the source: verify d.t" in replay.notes[-1]


# The corpus


@pytest.mark.parametrize("brand", ["mysql-9.7", "mariadb-10.11"])
@pytest.mark.parametrize(
    ("case", "database", "hidden", "expected"),
    [
        (
            "25-gh-ost",
            "c_ghost",
            {"_orders_ghc", "_orders_gho", "_orders_del"},
            [
                "CREATE DATABASE c_ghost",
                "CREATE TABLE orders (id INT AUTO_INCREMENT PRIMARY KEY, customer VARCHAR(20), total DECIMAL(10,2))",
                "/* gh-ost */ ALTER TABLE `c_ghost`.`orders` ADD COLUMN note VARCHAR(20) DEFAULT 'new',"
                " MODIFY total DECIMAL(12,3)",
            ],
        ),
        (
            "26-pt-osc",
            "c_osc",
            {"_users_new", "_users_old"},
            [
                "CREATE DATABASE c_osc",
                "CREATE TABLE users (id INT PRIMARY KEY, name VARCHAR(20), age INT, UNIQUE KEY (name))",
                "ALTER TABLE `c_osc`.`users` MODIFY age BIGINT, ADD COLUMN email VARCHAR(50)",
            ],
        ),
    ],
)
def test_recorded_online_schema_changes(
    brand: str, case: str, database: str, hidden: set[str], expected: list[str]
) -> None:
    replay = Replay()
    seen: set[str] = set()
    position = None
    for recorded in recorded_schema_changes():
        if recorded.case == f"{brand}/{case}" and recorded.change.position != position:
            position = recorded.change.position
            replay.change(recorded.change, recorded.siblings)
            seen |= {item.name.table for item in replay.state.absent}
    assert replay.ran == expected
    assert seen == hidden
    assert replay.saved == ""
    assert [name.database for name in replay.tables] == [database]
