"""Both sides have changed the same row: each conflict is found, decided as the policy says, and written down once; and
two databases that hear each other's changes end alike."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from pydbsync.apply.conflicts import ConflictFinder
from pydbsync.cli import application
from pydbsync.config.conflicts import ConflictPolicy
from pydbsync.errors import ConfigError, OperationError
from pydbsync.ops.conflict_desk import ConflictDesk
from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.plan.batch import single_statements
from tests.conflicting import Change, Row, Server, exchange, rules
from tests.examining import global_variables
from tests.integration.engine import LOG, parked, replay, settings_for
from tests.integration.two_way import TwoWay
from tests.matrices import LONG, thinned
from tests.maxwell import Binlog, Step, delete, insert, update
from tests.processes import write_config
from tests.resolving import decide_all
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

CREATE = "CREATE TABLE {}.t (id INT PRIMARY KEY, v VARCHAR(40) CHARACTER SET utf8mb4, n INT, u INT, UNIQUE KEY u (u))"
POLICIES = ["prefer", "newest:n", "larger:n", "smaller:n"]


class End:
    """One of two databases that replicate each other: what it writes itself, and its messages."""

    def __init__(self, server: Endpoint, name: str, peer: str, create: str = CREATE) -> None:
        self.server, self.name, self.peer = server, name, peer
        self.binlog = Binlog(base=f"binlog-{name}")
        self.messages: list[bytes] = []
        server.query(f"CREATE DATABASE {name}")
        server.query(create.format(name))

    def write(self, *changes: Change) -> None:
        """One transaction of an application here."""
        steps = []
        with self.server.connect(autocommit=False) as connection, connection.cursor() as cursor:
            for change in changes:
                steps.append(step_of(change, f"{self.name}.t"))
                if change.before is not None and change.after is not None:
                    cursor.execute(
                        f"UPDATE {self.name}.t SET id=%s, v=%s, n=%s, u=%s WHERE id=%s",
                        (*change.after, change.before.id),
                    )
                elif change.after is not None:
                    cursor.execute(f"INSERT INTO {self.name}.t VALUES (%s, %s, %s, %s)", change.after)
                elif change.before is not None:
                    cursor.execute(f"DELETE FROM {self.name}.t WHERE id = %s", (change.before.id,))
                assert cursor.rowcount == 1
            connection.commit()
        self.messages += self.binlog.transaction(*steps)

    def hear(self, messages: Iterable[bytes], *, policy: str, prefer: str, **options: Any) -> Any:
        """What the other has told."""
        conflicts = {"policy": policy, "prefer": "target" if prefer == self.name else "source"}
        return replay(
            self.server, messages, stream=f"from-{self.peer}", state_schema=f"state_{self.name}",
            dbname_rewrite={self.peer: self.name}, detect_conflicts="on", conflicts=conflicts, **options,
        )  # fmt: skip

    def rows(self) -> dict[int, Row]:
        return {row[0]: Row(*row) for row in self.server.query(f"SELECT * FROM {self.name}.t ORDER BY id")}

    def conflicts(self) -> list[tuple[Any, ...]]:
        """(found, decision) of each that is written down."""
        return self.server.query(f"SELECT found, decision FROM state_{self.name}.conflict ORDER BY id")


def step_of(change: Change, table: str) -> Step:
    before, after = (None if row is None else row._asdict() for row in change)
    if before is None:
        return insert(table, after or {})
    if after is None:
        return delete(table, before)
    return update(table, after, {name: value for name, value in before.items() if after[name] != value})


@pytest.fixture
def ends(fresh_target: Endpoint) -> tuple[End, End]:
    return End(fresh_target, "a", "b"), End(fresh_target, "b", "a")


def old(key: int) -> Row:
    return Row(key, "old", 10, key)


def kinds(side: str, n: int, key: int) -> list[list[Change]]:
    """What a side can do with row `key`, or instead of it: a change of any kind, in one step."""
    row, other = old(key), old(key + 1)
    own = 2 if side == "a" else 3
    return [
        [],
        [Change(row, row._replace(v=side, n=n))],
        [Change(row, row._replace(v="alike", n=20))],
        [Change(row, None)],
        [Change(None, Row(key + 4, side, n, None))],
        [Change(None, Row(key + own, side, n, key + 5))],
        [Change(row, row._replace(n=n, u=key + 5))],
        [Change(other, other._replace(n=n, u=key + 5))],
        [Change(row, row._replace(id=key + 4, n=n))],
        [Change(row, row._replace(id=key + own, v=side, n=n))],
    ]


@pytest.mark.parametrize(
    ("policy", "first"),
    thinned(
        [("prefer", "a"), ("prefer", "b"), ("newest:n", "b"), ("larger:n", "a"), ("smaller:n", "a")],
        lambda row: row in (("prefer", "a"), ("newest:n", "b")),
    ),
)
def test_every_pair_of_changes_ends_alike_and_is_written_down_once(
    ends: tuple[End, End], policy: str, first: str
) -> None:
    a, b = ends
    models = [Server(rule) for rule in rules(ConflictPolicy(*policy.split(":")), "a")]
    numbers = [(11, 12)] if policy == "prefer" else [(11, 12), (12, 11), (11, 11)]
    pairs = [*itertools.product(range(10), range(10), numbers)]
    keys = range(0, 10 * len(pairs), 10)
    for end, model in zip(ends, models, strict=True):
        model.rows = {each: old(each) for key in keys for each in (key, key + 1)}
        with end.server.connect() as connection, connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {end.name}.t VALUES (%s, %s, %s, %s)", list(model.rows.values()))
    for key, (of_a, of_b, values) in zip(keys, pairs, strict=True):
        for end, model, which, n in zip(ends, models, (of_a, of_b), values, strict=True):
            for change in kinds(end.name, n, key)[which]:
                model.write(change)
    for end, model in zip(ends, models, strict=True):
        end.write(*(each for each in model.told if isinstance(each, Change)))
    exchange(*models)
    for end, other in ((a, b), (b, a)) if first == "a" else ((b, a), (a, b)):
        status = end.hear(other.messages, policy=policy, prefer="a")
        assert status.parked == 0
        assert sum(status.conflicts().values()) == len(end.conflicts())
    assert a.rows() == b.rows() == models[0].rows
    found = [end.conflicts() for end in ends]
    assert [len(each) for each in found] == [model.conflicts for model in models]
    for end, other in ((a, b), (b, a)):
        end.hear(other.messages, policy=policy, prefer="a")
    assert [end.conflicts() for end in ends] == found
    assert a.rows() == b.rows() == models[0].rows


def decide_at(end: End, take: Literal["source", "target"]) -> None:
    """All that is parked at this end, for one side."""
    options = {"dbname_rewrite": {end.peer: end.name}, "detect_conflicts": "on", "conflicts": {"policy": "park"}}
    decide_all(settings_for(end.server, state_schema=f"state_{end.name}", **options), take)


def test_every_pair_of_changes_that_is_parked_ends_alike_where_one_side_is_taken_at_both_ends(
    ends: tuple[End, End],
) -> None:
    a, b = ends
    models = [Server(rule) for rule in rules(ConflictPolicy("prefer"), "a")]
    pairs = [*itertools.product(range(10), range(10))]
    keys = range(0, 10 * len(pairs), 10)
    for end, model in zip(ends, models, strict=True):
        model.rows = {each: old(each) for key in keys for each in (key, key + 1)}
        with end.server.connect() as connection, connection.cursor() as cursor:
            cursor.executemany(f"INSERT INTO {end.name}.t VALUES (%s, %s, %s, %s)", list(model.rows.values()))
    for key, whiches in zip(keys, pairs, strict=True):
        for end, model, which, n in zip(ends, models, whiches, (11, 12), strict=True):
            for change in kinds(end.name, n, key)[which]:
                model.write(change)
    for end, model in zip(ends, models, strict=True):
        end.write(*(each for each in model.told if isinstance(each, Change)))
    exchange(*models)
    for end, other in ((a, b), (b, a)):
        end.hear(other.messages, policy="park", prefer="a")
    for end, take in ((a, "target"), (b, "source")):
        decide_at(end, take)  # type: ignore[arg-type]
    assert a.rows() == b.rows() == models[0].rows
    for end in ends:
        assert parked(end.server, f"state_{end.name}") == []
        assert {decision for _, decision in end.conflicts()} <= {"parked", "same"}
        twice = (
            "SELECT position FROM state_{}.conflict GROUP BY position, found, before_image, after_image, found_image"
            " HAVING COUNT(*) > 1"
        )
        assert end.server.query(twice.format(end.name)) == []


def test_what_waited_behind_a_parked_conflict_is_shown_before_it_is_made(ends: tuple[End, End]) -> None:
    a, b = ends
    first = Row(1, "old", 1, 1)
    for end in ends:
        end.server.query(f"INSERT INTO {end.name}.t VALUES (1, 'old', 1, 1)")
    for end in ends:
        row = first
        for n in (2, 3):
            end.write(Change(row, row._replace(v=f"{end.name}{n}", n=n)))
            row = row._replace(v=f"{end.name}{n}", n=n)
    for end, other in ((a, b), (b, a)):
        end.hear(other.messages, policy="park", prefer="a")
        assert len(parked(end.server, f"state_{end.name}")) == 2
    decide_at(a, "target")
    decide_at(b, "source")
    assert a.rows() == b.rows() == {1: Row(1, "a3", 3, 1)}
    assert a.conflicts() == [("changed", "parked"), ("changed", "parked")]
    assert b.conflicts() == [("changed", "parked")]


@settings(max_examples=6, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    policy=st.sampled_from(POLICIES),
    steps=st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["write", "write", "remove", "insert", "hear"]),
                  st.integers(1, 3), st.integers(0, 2)),
        min_size=6, max_size=12,
    ),
)  # fmt: skip
def test_any_history_ends_as_the_model_says(
    fresh_target: Endpoint, policy: str, steps: list[tuple[str, str, int, int]]
) -> None:
    fresh_target.drop_databases()
    ends = {"a": End(fresh_target, "a", "b"), "b": End(fresh_target, "b", "a")}
    both = rules(ConflictPolicy(*policy.split(":")), "b")
    models = {name: Server(rule) for name, rule in zip("ab", both, strict=True)}
    sign = -1 if policy.startswith("smaller") else 1
    for name, end in ends.items():
        models[name].rows = {key: Row(key, "old", 0) for key in (1, 2, 3)}
        fresh_target.query(
            f"INSERT INTO {end.name}.t VALUES (1, 'old', 0, NULL), (2, 'old', 0, NULL), (3, 'old', 0, NULL)"
        )

    def hear(side: str) -> None:
        other = ends[side].peer
        ends[side].hear(ends[other].messages, policy=policy, prefer="b")
        while models[other].told:
            models[side].take(models[other].told.pop(0))

    for number, (side, what, key, more) in enumerate(steps):
        end, row = ends[side], models[side].rows.get(key)
        change = None
        if what == "hear":
            hear(side)
        elif what == "insert" and key + 10 not in models[side].rows:
            change = Change(None, Row(key + 10, f"{side}{number}", more))
        elif what in ("write", "remove") and row is not None:
            after = row._replace(v=f"{side}{number}", n=row.n + sign * more)
            change = Change(row, after if what == "write" else None)
        if change is not None:
            models[side].write(change)
            end.write(change)
    for side in "ab":
        hear(side)
    assert ends["a"].rows() == ends["b"].rows() == models["a"].rows
    assert [len(ends[side].conflicts()) for side in "ab"] == [models[side].conflicts for side in "ab"]


# -- what is a conflict ------------------------------------------------------------------------------------------------


VALUES: list[tuple[str, Any, str, str]] = [
    # column, the token of Maxwell's message, what the target holds, and another value that only looks like it
    ("VARCHAR(9) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "a", "'a'", "'A'"),
    ("VARCHAR(9) CHARACTER SET latin1", "x", "'x'", "'x '"),
    ("VARCHAR(9) CHARACTER SET utf8mb4", "", "''", "NULL"),
    ("TEXT CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci", "é", "'é'", "'e'"),
    ("CHAR(3) CHARACTER SET ucs2", "ÿ", "'ÿ'", "'y'"),
    ("FLOAT", 0.1, "0.1", "0.10000001"),
    ("DOUBLE", 0.1, "0.1", "0.10000000000000002"),
    ("DECIMAL(40,20)", "0.10000000000000000001", "'0.10000000000000000001'", "'0.10000000000000000002'"),
    ("BIGINT UNSIGNED", 18446744073709551615, "18446744073709551615", "18446744073709551614"),
    ("DATE", "0000-00-00", "'0000-00-00'", "NULL"),
    ("DATETIME(6)", "2024-01-01 00:00:00.000001", "'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00.000002'"),
    ("DATETIME", "0000-00-00 00:00:00", "'0000-00-00 00:00:00'", "'2000-01-01'"),
    ("VARBINARY(9)", "YQA=", "X'6100'", "X'61'"),
    ("BLOB", "YQ==", "'a'", "'A'"),
    ("BINARY(3)", "YQ==", "X'610000'", "X'610001'"),
    ("BIT(9)", 257, "257", "256"),
    ("ENUM('a','A ','b') CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", "a", "'a'", "'A '"),
    ("SET('a','b') CHARACTER SET utf8mb4", ["a", "b"], "'a,b'", "'b'"),
    ("YEAR", 2001, "2001", "2002"),
    ("TIME(3)", "01:02:03.004", "'01:02:03.004'", "'01:02:03.005'"),
    ("JSON", {"a": [1, "x"]}, """'{"a": [1, "x"]}'""", """'{"a": [1, "X"]}'"""),
]


COMPARED_WHOLE = [each for each in VALUES if not any(word in each[0] for word in ("FLOAT", "JSON", "latin1", "ucs2"))]


@pytest.mark.parametrize("values", [VALUES, COMPARED_WHOLE], ids=["column by column", "whole"])
def test_exactly_the_rows_that_differ_are_in_conflict(
    fresh_target: Endpoint, values: list[tuple[str, Any, str, str]]
) -> None:
    columns = ", ".join(f"c{number} {kind}" for number, (kind, *_) in enumerate(values))
    fresh_target.query("CREATE DATABASE d")
    fresh_target.query(f"CREATE TABLE d.t (id INT PRIMARY KEY, w INT, {columns})")
    data = {f"c{number}": token for number, (_, token, _, _) in enumerate(values)}
    listed = ", ".join(literal for _, _, literal, _ in values)
    mode = "'ALLOW_INVALID_DATES,STRICT_TRANS_TABLES'"
    with fresh_target.connect(init_command=f"SET sql_mode = {mode}") as connection, connection.cursor() as cursor:
        for key in range(len(values) + 1):
            cursor.execute(f"INSERT INTO d.t VALUES ({key}, 0, {listed})")
            if key < len(values):
                cursor.execute(f"UPDATE d.t SET c{key} = {values[key][3]} WHERE id = {key}")
    keys = range(len(values) + 1)
    binlog = Binlog()
    messages = binlog.each(update("d.t", {"id": key, "w": 1, **data}, {"w": 0}) for key in keys)
    replay(fresh_target, messages, detect_conflicts="on", conflicts={"prefer": "target"}, batch_rows=1)
    rows = fresh_target.query("SELECT id FROM d.t WHERE w = 1")
    assert rows == [(len(values),)]
    found = fresh_target.query("SELECT found, decision, found_image FROM pydbsync.conflict ORDER BY id")
    assert [row[:2] for row in found] == [("changed", "target")] * len(values)
    assert all(row[2] for row in found)


ON: dict[str, Any] = {"detect_conflicts": "on", "conflicts": {"prefer": "source"}}


def test_a_row_that_changes_often_in_a_batch_is_as_the_batch_has_made_it(
    ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = ends
    first = Row(1, "one", 1, 1)
    a.write(
        Change(None, first), Change(first, first._replace(v="two")), Change(first._replace(v="two"), Row(2, "x", 2, 1)),
        Change(Row(2, "x", 2, 1), None), Change(None, Row(2, "again", 3, 1)),
    )  # fmt: skip
    a.write(Change(Row(2, "again", 3, 1), Row(2, "again", 4, None)), Change(None, Row(3, "y", 1, 1)))
    monkeypatch.setattr(ConflictFinder, "settle", None)  # nothing is looked at singly
    assert b.hear(a.messages, policy="prefer", prefer="a").parked == 0
    assert a.rows() == b.rows()
    assert b.conflicts() == []


def test_a_row_that_others_insert_after_it_was_looked_for_is_seen_all_the_same(
    ends: tuple[End, End], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = ends
    look = ConflictFinder.are_in
    asked: list[int] = []

    def looked(self: ConflictFinder, *arguments: Any) -> Any:
        found = yield from look(self, *arguments)
        if not asked:
            asked.append(1)
            b.server.query("INSERT INTO b.t VALUES (1, 'in between', 9, 1)")
        return found

    def planned(*arguments: Any, **options: Any) -> Any:
        if len(asked) == 1:
            asked.append(2)
            b.server.query("INSERT INTO b.t VALUES (3, 'in between', 9, 2)")
        return single_statements(*arguments, **options)

    monkeypatch.setattr(ConflictFinder, "are_in", looked)
    monkeypatch.setattr("pydbsync.apply.conflicts.single_statements", planned)
    a.write(Change(None, Row(1, "a", 1, 1)), Change(None, Row(2, "a", 1, 2)))
    assert b.hear(a.messages, policy="newest:n", prefer="a").parked == 0
    assert b.rows() == {1: Row(1, "in between", 9, 1), 3: Row(3, "in between", 9, 2)}
    assert b.conflicts() == [("exists", "target"), ("unique", "target")]
    assert asked == [1, 2]


def test_what_is_to_be_parked_waits_for_an_operator_with_what_follows(ends: tuple[End, End]) -> None:
    a, b = ends
    was = Row(1, "old", 1, 1)
    for end in ends:
        end.server.query(f"INSERT INTO {end.name}.t VALUES (1, 'old', 1, 1)")
    b.write(Change(was, was._replace(v="b")))
    a.write(Change(was, was._replace(v="a")))
    a.write(Change(was._replace(v="a"), was._replace(v="a2")))
    assert b.hear(a.messages, policy="park", prefer="a").parked == 2
    assert b.rows()[1].v == "b"
    assert b.conflicts() == [("changed", "parked")]
    conflict, behind = parked(b.server, "state_b")
    assert conflict.reason.startswith("conflict: the target's row was changed; its policy is to park")
    assert behind.behind == conflict.id
    options = {"state_schema": "state_b", "dbname_rewrite": {"a": "b"}, "detect_conflicts": "on"}
    desk = ParkedDesk(settings_for(b.server, **options, conflicts={"policy": "park"}), LOG)
    try:
        assert [each.applied for each in desk.retry()] == [True, True]
    finally:
        desk.close()
    assert b.rows()[1].v == "a2"
    assert b.conflicts() == [("changed", "parked")], "once, however often it is asked for"


@pytest.mark.parametrize(
    ("definition", "why"),
    [("(id INT, v INT)", "has no key"), ("(id INT PRIMARY KEY, v INT) ENGINE=MyISAM", "has no transactions")],
)
def test_a_table_in_which_no_conflict_can_be_found_is_not_written(
    fresh_source: Endpoint, fresh_target: Endpoint, binlog: Binlog, definition: str, why: str
) -> None:
    fresh_target.query("CREATE DATABASE d")
    fresh_target.query("CREATE TABLE d.other (id INT PRIMARY KEY)")
    messages = binlog.ddl(f"CREATE TABLE t {definition}", "d.t")
    messages += binlog.transaction(insert("d.t", {"id": 1, "v": 1}), insert("d.other", {"id": 1}))
    assert replay(fresh_target, messages, **ON).parked == 1
    assert f"d.t {why}" in parked(fresh_target)[0].reason
    fresh_source.query("CREATE DATABASE d")
    fresh_source.query(f"CREATE TABLE d.t {definition}")
    known = {**ON, "source_db_info": fresh_source.db_info}
    with pytest.raises(ConfigError, match=f"in tables of the target: d.t: .*{why.removeprefix('has ')}"):
        replay(fresh_target, [], **known)
    assert not replay(fresh_target, [], **known, exclude=["d.t"]).parked
    assert fresh_target.query("SELECT COUNT(*) FROM d.t") == [(0,)]
    assert fresh_target.query("SELECT COUNT(*) FROM d.other") == [(1,)]


def test_a_policy_by_a_column_that_cannot_decide_parks_with_a_sentence(
    fresh_source: Endpoint, fresh_target: Endpoint, binlog: Binlog
) -> None:
    fresh_source.query("CREATE DATABASE d")
    fresh_source.query("CREATE TABLE d.t (id INT PRIMARY KEY, v VARCHAR(9))")
    fresh_target.query("CREATE DATABASE d")
    options: dict[str, Any] = {
        "detect_conflicts": "on", "conflicts": {"prefer": "source", "tables": {"d.*": "newest:v"}}
    }  # fmt: skip
    messages = binlog.ddl("CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(9))", "d.t")
    messages += binlog.each([insert("d.t", {"id": 1, "v": "x"}), update("d.t", {"id": 1, "v": "y"}, {"v": "there"})])
    replay(fresh_target, messages, **options)
    assert "cannot be decided by 'v': it is varchar" in parked(fresh_target)[0].reason
    assert fresh_target.query("SELECT v FROM d.t") == []
    options["source_db_info"] = fresh_source.db_info
    with pytest.raises(ConfigError, match=r"d\.t: v is varchar, and only numbers and times"):
        replay(fresh_target, [], **options)
    fresh_target.query("ALTER TABLE d.t DROP COLUMN v")
    with pytest.raises(ConfigError, match=r"d\.t: it has no column 'v'"):
        replay(fresh_target, [], **options)


@pytest.mark.parametrize("policy", ["newest:n", pytest.param("prefer", marks=LONG)])
def test_two_servers_that_capture_each_other_end_alike(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path, policy: str
) -> None:
    servers = {"a": fresh_source, "b": fresh_target}
    for server in servers.values():
        server.query("CREATE DATABASE d")
        server.query(CREATE.format("d"))
    options: list[dict[str, Any]] = [
        {"detect_conflicts": "auto", "conflicts": {"prefer": side, "policy": policy}} for side in ("source", "target")
    ]
    both = TwoWay(fresh_source, fresh_target, tmp_path, forth=options[0], back=options[1])
    fresh_source.query("INSERT INTO d.t VALUES (1, 'old', 1, 1), (2, 'old', 1, 2), (3, 'old', 1, 3), (4, 'old', 1, 4)")
    both.settle()
    for name, server in servers.items():
        n = 5 if name == "b" else 4
        server.query(f"UPDATE d.t SET v = '{name}', n = {n} WHERE id = 1")
        server.query(f"INSERT INTO d.t VALUES ({n}0, '{name}', {n}, 9), (7, '{name}', {n}, NULL)")
        server.query("DELETE FROM d.t WHERE id = 3" if name == "b" else "UPDATE d.t SET n = 8 WHERE id = 3")
        server.query(f"UPDATE d.t SET id = 3{n}, v = '{name}' WHERE id = 4")
    both.settle()
    assert both.differences("d") == []
    rows = fresh_target.query("SELECT id, v FROM d.t ORDER BY id")
    wins = "a" if policy == "prefer" else "b"
    assert dict(rows)[1] == dict(rows)[7] == wins
    assert (3 in dict(rows)) == (policy == "prefer")
    found = [
        server.query("SELECT found, decision FROM pydbsync.conflict ORDER BY found, decision")
        for server in servers.values()
    ]
    assert [len(each) for each in found] == [6, 6]
    both.settle()
    assert both.differences("d") == []


DECIDING: list[tuple[str, str, str]] = [
    # a column that decides, a smaller value and a larger one
    ("INT", "-5", "3"),
    ("BIGINT UNSIGNED", "18446744073709551614", "18446744073709551615"),
    ("TINYINT(1)", "0", "1"),
    ("DECIMAL(30,10)", "9007199254740993.0000000001", "9007199254740993.0000000002"),
    ("DECIMAL(30,10)", "-1.5", "-1.4999999999"),
    ("FLOAT", "0.1", "0.3"),
    ("DOUBLE", "0.1", "0.10000000000000002"),
    ("DATE", "'0000-00-00'", "'2024-02-29'"),
    ("DATETIME(6)", "'2024-01-01 00:00:00.000001'", "'2024-01-01 00:00:00.000002'"),
    ("TIMESTAMP(3) NULL", "'2024-10-27 00:30:00.001'", "'2024-10-27 00:30:00.002'"),
    ("TIME(2)", "'-10:00:00.50'", "'09:00:00'"),
    ("YEAR", "1999", "2001"),
    ("BIT(9)", "9", "300"),
    ("BIT(64)", "9223372036854775807", "18446744073709551615"),
]


@pytest.mark.parametrize("policy", ["newest", pytest.param("smaller", marks=LONG)])
def test_a_column_of_any_type_decides_alike_at_both_ends(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path, policy: str
) -> None:
    """Of a higher, a lower, an equal value and NULL; the servers print times in zones of their own, and their tables
    have the columns in another order."""
    servers = {"a": fresh_source, "b": fresh_target}
    values = [("{1}", "{0}"), ("{0}", "{1}"), ("{0}", "{0}"), ("NULL", "{0}"), ("{0}", "NULL"), ("NULL", "NULL")]
    wins = "abaxxa" if policy == "newest" else "baaxxa"
    wins = wins.replace("xx", "ba")
    for name, server in servers.items():
        columns = ["v VARCHAR(9)", "c {}", "id INT PRIMARY KEY"]
        run_sql = ["CREATE DATABASE d", *(
            f"CREATE TABLE d.t{number} ({', '.join(columns if name == 'a' else reversed(columns))})".format(kind)
            for number, (kind, *_) in enumerate(DECIDING)
        )]  # fmt: skip
        for sql in run_sql:
            server.query(sql)
    sides = ("source", "target")
    forth, back = (
        {"detect_conflicts": "auto", "conflicts": {"prefer": side, "policy": f"{policy}:c"}} for side in sides
    )
    both = TwoWay(fresh_source, fresh_target, tmp_path, forth=forth, back=back)
    for number in range(len(DECIDING)):
        rows = ", ".join(f"({key}, 'old', NULL)" for key in range(len(values)))
        fresh_source.query(f"INSERT INTO d.t{number} (id, v, c) VALUES {rows}")
    both.settle()
    for side, (name, server) in enumerate(servers.items()):
        with server.connect() as connection, connection.cursor() as cursor:
            cursor.execute("SET time_zone = '+00:00', sql_mode = 'STRICT_ALL_TABLES'")
            for number, (_, low, high) in enumerate(DECIDING):
                for key, pair_of in enumerate(values):
                    value = pair_of[side].format(low, high)
                    cursor.execute(f"UPDATE d.t{number} SET v = '{name}', c = {value} WHERE id = {key}")
    zones = [global_variables(server, [f"SET GLOBAL time_zone = '{zone}'"]) for server, zone in (
        (fresh_source, "+09:00"), (fresh_target, "-03:30"),
    )]  # fmt: skip
    with zones[0], zones[1]:
        both.settle()
    for number, (kind, *_) in enumerate(DECIDING):
        found = [server.query(f"SELECT id, v, c FROM d.t{number} ORDER BY id") for server in servers.values()]
        assert found[0] == found[1], kind
        assert "".join(v for _, v, _ in found[0]) == wins, kind
    for server in servers.values():
        assert server.query("SELECT reason FROM pydbsync.parked") == []
        assert server.query("SELECT source_table, note FROM pydbsync.conflict WHERE note <> ''") == []


APART: list[tuple[str, dict[str, list[str]]]] = [
    # What no rule by two rows can see: each statement is one transaction, of rows 10 * number and 10 * number + 1.
    ("a row comes back to what it was", {
        "a": ["UPDATE {t} SET v = 'x' WHERE id = {k}", "UPDATE {t} SET v = 'old' WHERE id = {k}"],
        "b": ["UPDATE {t} SET v = 'y' WHERE id = {k}"],
    }),
    ("and the other way round", {
        "a": ["UPDATE {t} SET v = 'y' WHERE id = {k}"],
        "b": ["UPDATE {t} SET v = 'x' WHERE id = {k}", "UPDATE {t} SET v = 'old' WHERE id = {k}"],
    }),
    ("the column of the policy goes the other way", {
        "a": ["UPDATE {t} SET n = 20 WHERE id = {k}", "UPDATE {t} SET n = 5 WHERE id = {k}"],
        "b": ["UPDATE {t} SET n = 15 WHERE id = {k}", "UPDATE {t} SET n = 7 WHERE id = {k}"],
    }),
    ("a key is used again", {
        "a": ["DELETE FROM {t} WHERE id = {k}", "INSERT INTO {t} VALUES ({k}, 'again', 12, NULL)"],
        "b": ["UPDATE {t} SET n = 11 WHERE id = {k}", "DELETE FROM {t} WHERE id = {k}"],
    }),
    ("a key is used and left", {
        "a": ["INSERT INTO {t} VALUES ({k} + 2, 'a', 12, NULL)", "DELETE FROM {t} WHERE id = {k} + 2"],
        "b": ["INSERT INTO {t} VALUES ({k} + 2, 'b', 11, NULL)"],
    }),
    ("a key is changed and changed back", {
        "a": ["UPDATE {t} SET id = {k} + 2 WHERE id = {k}", "UPDATE {t} SET id = {k} WHERE id = {k} + 2"],
        "b": ["UPDATE {t} SET n = 11 WHERE id = {k}", "UPDATE {t} SET id = {k} + 2 WHERE id = {k} + 1"],
    }),
    ("a unique value goes from row to row", {
        "a": ["UPDATE {t} SET u = {k} + 5 WHERE id = {k}", "UPDATE {t} SET u = {k} WHERE id = {k}",
              "UPDATE {t} SET u = {k} + 5 WHERE id = {k} + 1"],
        "b": ["UPDATE {t} SET u = {k} + 5, n = 12 WHERE id = {k} + 1", "UPDATE {t} SET u = NULL WHERE id = {k} + 1",
              "INSERT INTO {t} VALUES ({k} + 3, 'b', 9, {k} + 5)", "UPDATE {t} SET u = {k} + 1 WHERE id = {k}"],
    }),
    ("both have done the same, and one goes on", {
        "a": ["UPDATE {t} SET v = 'x' WHERE id = {k}"],
        "b": ["UPDATE {t} SET v = 'x' WHERE id = {k}", "UPDATE {t} SET v = 'y' WHERE id = {k}",
              "UPDATE {t} SET v = 'old' WHERE id = {k}"],
    }),
]  # fmt: skip


def pair(servers: dict[str, Endpoint], folder: Path, *, policy: str, prefer: str) -> TwoWay:
    """Both directions between a and b, with the table d.t at each."""
    for server in servers.values():
        server.query("CREATE DATABASE d")
        server.query(CREATE.format("d"))
    sides = ("source", "target") if prefer == "a" else ("target", "source")
    forth, back = ({"detect_conflicts": "auto", "conflicts": {"prefer": side, "policy": policy}} for side in sides)
    return TwoWay(servers["a"], servers["b"], folder, forth=forth, back=back)


@pytest.mark.parametrize(("policy", "prefer"), [("prefer", "a"), pytest.param("larger:n", "b", marks=LONG)])
def test_two_servers_agree_on_rows_of_which_no_rule_can_tell(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path, policy: str, prefer: str
) -> None:
    servers = {"a": fresh_source, "b": fresh_target}
    both = pair(servers, tmp_path, policy=policy, prefer=prefer)
    rows = ", ".join(
        f"({key}, 'old', 10, {key})" for number in range(len(APART)) for key in (10 * number, 10 * number + 1)
    )
    fresh_source.query(f"INSERT INTO d.t VALUES {rows}")
    both.settle()
    applied = both.forth.applied + both.back.applied
    written = 0
    for number, (_, of) in enumerate(APART):
        for name, statements in of.items():
            for sql in statements:
                servers[name].query(sql.format(t="d.t", k=10 * number))
                written += 1
    both.settle()
    assert both.differences("d") == []
    for server in servers.values():
        assert [*server.query("SELECT reason FROM pydbsync.parked"), *server.query("SELECT * FROM pydbsync.told")] == []
    assert both.forth.applied + both.back.applied - applied == written, "what is said counts for no row"
    notes = "SELECT note FROM pydbsync.conflict WHERE note <> ''"
    noted = [note for server in servers.values() for (note,) in server.query(notes)]
    assert noted
    assert all(note.startswith("both ends have decided") for note in noted)
    assert both.settle() == 1


@pytest.mark.parametrize(("policy", "seed"), [("newest:n", 1), pytest.param("prefer", 2, marks=LONG)])
def test_two_servers_agree_after_any_history(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path, policy: str, seed: int
) -> None:
    """Of a few rows and values, so that they meet again and again; what is heard in between is cut anywhere."""
    chance = random.Random(seed)
    servers = {"a": fresh_source, "b": fresh_target}
    both = pair(servers, tmp_path, policy=policy, prefer="b")
    fresh_source.query("INSERT INTO d.t VALUES (1, 'x', 0, 1), (2, 'x', 0, 2), (3, 'x', 0, 3)")
    both.settle()
    for _ in range(5):
        for name in "ab" * 8:
            key, other, n, v = chance.randint(1, 4), chance.randint(1, 4), chance.randint(0, 3), chance.choice("xy")
            servers[name].query(chance.choice((
                f"UPDATE IGNORE d.t SET v = '{v}', n = {n} WHERE id = {key}",
                f"UPDATE IGNORE d.t SET u = {other} WHERE id = {key}",
                f"UPDATE IGNORE d.t SET id = {other} WHERE id = {key}",
                f"DELETE FROM d.t WHERE id = {key}",
                f"INSERT IGNORE INTO d.t VALUES ({key}, '{v}', {n}, {other})",
            )))  # fmt: skip
        direction = chance.choice((both.forth, both.back))
        direction.apply(direction.read())
    both.settle()
    assert both.differences("d") == []
    for server in servers.values():
        assert server.query("SELECT reason FROM pydbsync.parked") == []
    assert both.settle() == 1


def test_an_end_is_refused_whose_policies_contradict_those_of_the_other_one_at_work(
    fresh_source: Endpoint, fresh_target: Endpoint, tmp_path: Path
) -> None:
    both = TwoWay(fresh_source, fresh_target, tmp_path)
    options: dict[str, Any] = {"detect_conflicts": "on", "conflicts": {"prefer": "source"}}
    both.forth.apply([], **options)
    both.back.apply([], **options)  # nobody is at work at the other end
    fresh_target.query("UPDATE pydbsync.worker SET state = 'following', written_at = CURRENT_TIMESTAMP(6)")
    with pytest.raises(ConfigError, match=r"conflicts\.prefer is 'source' at both ends"):
        both.back.apply([], **options)
    both.back.apply([], **{**options, "conflicts": {"prefer": "target"}})
    fresh_target.query("UPDATE pydbsync.worker SET conflict_rule = NULL")
    with pytest.raises(ConfigError, match="forth at the other end does not look for conflicts"):
        both.back.apply([], **{**options, "conflicts": {"prefer": "target"}})


def test_a_bootstrap_of_equal_rows_is_no_conflict(ends: tuple[End, End]) -> None:
    a, b = ends
    b.server.query("INSERT INTO b.t VALUES (1, 'x', 1, 1), (2, 'own', 1, 2)")
    rows = [{"id": 1, "v": "x", "n": 1, "u": 1}, {"id": 2, "v": "source", "n": 1, "u": 2}]
    b.hear(a.binlog.bootstrap("a.t", rows), policy="prefer", prefer="a")
    assert b.rows()[2].v == "source"
    assert b.conflicts() == [("exists", "source")]


@pytest.mark.parametrize(
    "point",
    thinned(["after-conflict:1", "after-conflict:2", "before-commit", "after-commit"], "after-conflict:2".__eq__),
)
def test_a_kill_between_a_decision_and_its_commit_leaves_each_conflict_once(
    ends: tuple[End, End], tmp_path: Path, point: str
) -> None:
    a, b = ends
    b.server.query("INSERT INTO b.t VALUES (1, 'b', 1, 1), (2, 'b', 1, 2)")
    a.write(Change(None, Row(1, "a", 1, 1)), Change(None, Row(3, "a", 1, 2)))
    (tmp_path / "messages.json").write_bytes(b"\n".join(a.messages))
    config = write_config(
        {"db_info": b.server.db_info, "state_schema": "state_b", "dbname_rewrite": {"a": "b"}, "log_file_prefix": "",
         **ON},
        tmp_path / "config.py",
    )  # fmt: skip
    command = [sys.executable, "-m", "pydbsync", "replay", "messages.json", "--config", str(config)]
    killed = subprocess.run(command, cwd=tmp_path, env={**os.environ, "PYDBSYNC_KILL_POINT": point}, check=False)
    assert killed.returncode == -signal.SIGKILL
    subprocess.run(command, cwd=tmp_path, check=True)
    assert b.rows() == {1: Row(1, "a", 1, 1), 3: Row(3, "a", 1, 2)}
    assert b.conflicts() == [("exists", "source"), ("unique", "source")]


# -- what operators do -------------------------------------------------------------------------------------------------


class Operator:
    """The commands, in this process."""

    def __init__(self, end: End, folder: Path) -> None:
        self._config = config_of(end, folder)

    def __call__(self, *words: str, fails: bool = False) -> str:
        result = CliRunner().invoke(application("conflicts"), ["conflicts", *words, *self._config])
        if fails:
            assert isinstance(result.exception, OperationError)
            return str(result.exception)
        assert result.exception is None, result.output
        return result.stdout


def test_conflicts_are_listed_shown_and_decided_anew(ends: tuple[End, End], tmp_path: Path) -> None:
    a, b = ends
    operator = Operator(b, tmp_path)
    b.server.query("INSERT INTO b.t VALUES (1, 'b', 1, 1), (2, 'b', 1, 2), (3, 'b', 1, 3)")
    a.server.query("INSERT INTO a.t VALUES (3, 'a', 1, 3)")
    a.write(Change(None, Row(1, "a", 1, 1)), Change(None, Row(9, "a", 1, 2)), Change(Row(3, "a", 1, 3), None))
    b.hear(a.messages, policy="prefer", prefer="a")
    assert b.rows() == {1: Row(1, "a", 1, 1), 9: Row(9, "a", 1, 2)}
    listed = [json.loads(line) for line in operator("list", "--json").splitlines()]
    assert [(each["id"], each["kind"], each["found"], each["decision"]) for each in listed] == [
        (3, "delete", "changed", "source"), (2, "insert", "unique", "source"), (1, "insert", "exists", "source"),
    ]  # fmt: skip
    assert listed[1]["found_row"] == {"id": 2, "v": "b", "n": 1, "u": 2}
    for words, ids in (
        (["--found", "unique"], [2]), (["--decision", "target"], []), (["--table", "a.*"], [3, 2, 1]),
        (["--table", "x.*"], []), (["--stream", "other"], []), (["--older-than", "1h"], []), (["--limit", "1"], [3]),
    ):  # fmt: skip
        assert [json.loads(line)["id"] for line in operator("list", "--json", *words).splitlines()] == ids
    assert "after (source)" in operator("show", "1")
    assert (
        "by the source's row" in CliRunner().invoke(application("status"), ["status", *config_of(b, tmp_path)]).stdout
    )

    assert "needed where nobody can be asked" in operator("resolve", "1", "--take", "target", fails=True)
    assert "take the target's row: 1 row(s)" in operator("resolve", "1", "--take", "target", "--yes")
    assert "2 row(s)" in operator("resolve", "2", "--take", "target", "--yes")
    b.server.query("INSERT INTO b.t VALUES (3, 'later', 5, NULL)")
    assert "has changed since" in operator("resolve", "3", "--take", "target", "--yes", fails=True)
    assert b.rows()[3].v == "later"
    row = '{"id": 3, "v": "mine", "n": 7, "u": 3}'
    assert "another key" in operator("resolve", "3", "--row", '{"id": 4}', "--yes", fails=True)
    operator("resolve", "3", "--row", row, "--even-if-changed", "--yes")
    assert b.rows() == {1: Row(1, "b", 1, 1), 2: Row(2, "b", 1, 2), 3: Row(3, "mine", 7, 3)}
    assert operator("list") == "there is no conflict\n"
    assert "resolve by" in operator("show", "1")
    assert len(operator("list", "--all", "--json").splitlines()) == 3


@pytest.mark.parametrize(("take", "v"), [("source", "a"), ("target", "b")])
def test_a_parked_conflict_is_decided_by_its_parked_change(
    ends: tuple[End, End], tmp_path: Path, take: str, v: str
) -> None:
    a, b = ends
    b.server.query("INSERT INTO b.t VALUES (1, 'b', 1, 1)")
    a.write(Change(None, Row(1, "a", 1, 1)))
    b.hear(a.messages, policy="park", prefer="a")
    config = {"dbname_rewrite": {"a": "b"}, "detect_conflicts": "on", "conflicts": {"policy": "park"}}
    desk = ConflictDesk(settings_for(b.server, state_schema="state_b", **config), LOG)
    try:
        with pytest.raises(OperationError, match="was parked, and its change decides it"):
            desk.resolve(desk.named(1), row=b'{"id": 1}')
        desk.resolve(desk.named(1), take="source" if take == "source" else "target")
        with pytest.raises(OperationError, match="there is no conflict 7"):
            desk.named(7)
    finally:
        desk.close()
    assert b.rows()[1].v == v
    assert parked(b.server, "state_b") == []


@pytest.mark.mysql
def test_what_is_decided_anew_is_written_as_its_documents_are_spelled(fresh_target: Endpoint) -> None:
    """MySQL holds both documents for one, and would keep the one that is there."""
    fresh_target.query("CREATE DATABASE b")
    fresh_target.query("CREATE TABLE b.t (id INT PRIMARY KEY, v INT, j JSON)")
    fresh_target.query("""INSERT INTO b.t VALUES (1, 1, '{"a": 1}')""")
    options: dict[str, Any] = {"detect_conflicts": "on", "conflicts": {"policy": "prefer", "prefer": "target"}}
    change = update("b.t", {"id": 1, "v": 5, "j": {"a": 2}}, {"v": 2})
    replay(fresh_target, Binlog().transaction(change), **options)
    desk = ConflictDesk(settings_for(fresh_target, **options), LOG)
    try:
        desk.resolve(desk.named(1), row=b'{"id": 1, "v": 1, "j": {"a": 1.0}}')
    finally:
        desk.close()
    assert fresh_target.query("SELECT v, CAST(j AS CHAR) FROM b.t") == [(1, '{"a": 1.0}')]


def test_old_conflicts_are_pruned_but_not_what_is_parked_still(ends: tuple[End, End], tmp_path: Path) -> None:
    a, b = ends
    b.server.query("INSERT INTO b.t VALUES (1, 'b', 1, 1), (2, 'b', 1, 2), (3, 'b', 1, 3)")
    a.write(Change(None, Row(1, "a", 1, 1)))
    b.hear(a.messages, policy="prefer", prefer="a")
    a.write(Change(None, Row(2, "a", 1, 2)))
    b.hear(a.messages, policy="park", prefer="a")
    b.server.query("UPDATE state_b.conflict SET decided_at = decided_at - INTERVAL 9 DAY")
    a.write(Change(None, Row(3, "a", 1, 3)))
    b.hear(a.messages, policy="prefer", prefer="a")
    result = CliRunner().invoke(application("prune"), ["prune", "--days", "7", *config_of(b, tmp_path)])
    assert "1 conflicts" in result.stdout
    assert b.conflicts() == [("exists", "parked"), ("exists", "source")]


def config_of(end: End, folder: Path) -> list[str]:
    given = {"db_info": end.server.db_info, "state_schema": f"state_{end.name}", "log_file_prefix": ""}
    return ["--config", str(write_config(given, folder / "operator.py"))]
