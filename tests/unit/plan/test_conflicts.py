"""Whose row stays: the same policy at both ends leads to the same rows."""

from __future__ import annotations

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pydbsync.config.conflicts import ConflictPolicy
from pydbsync.model import RowChange
from pydbsync.plan.batch import RowBatch
from pydbsync.plan.conflicts import Expected
from pydbsync.plan.row_shape import ConflictRule
from pydbsync.plan.rows import TablePlan
from tests.conflicting import SCHEMA, Change, Row, Server, exchange, rules

POLICIES = [ConflictPolicy("prefer"), *(ConflictPolicy(name, "n") for name in ("newest", "larger", "smaller"))]
SIDES = ("a", "b")
START = {1: Row(1, "old", 10, 1), 2: Row(2, "old", 10, 2)}


def kinds(side: str, n: int) -> list[list[Change]]:
    """What one server can do with row 1, or instead of it, in one step: a change of any kind."""
    old = START[1]
    return [
        [],
        [Change(None, Row(9, side, n, 9))],
        [Change(None, Row(8 if side == "a" else 7, side, n, 9))],
        [Change(old, old._replace(v=side, n=n))],
        [Change(old, old._replace(v="alike", n=20))],
        [Change(old, old._replace(n=n, u=5))],
        [Change(START[2], START[2]._replace(n=n, u=5))],
        [Change(old, None)],
        [Change(old, old._replace(id=6, n=n))],
        [Change(old, old._replace(id=5 if side == "a" else 4, v=side, n=n))],
        [Change(None, Row(6, side, n, 6))],
    ]


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("prefer", SIDES)
def test_every_pair_of_changes_ends_alike_at_both_ends(policy: ConflictPolicy, prefer: str) -> None:
    for of_a, of_b in itertools.product(range(11), range(11)):
        for n_a, n_b in ((11, 12), (12, 11), (11, 11)):
            rule_a, rule_b = rules(policy, prefer)
            a, b = Server(rule_a, dict(START)), Server(rule_b, dict(START))
            for server, changes in ((a, kinds("a", n_a)[of_a]), (b, kinds("b", n_b)[of_b])):
                for change in changes:
                    server.write(change)
            told = a.told[:], b.told[:]
            exchange(a, b)
            assert a.rows == b.rows, (policy, prefer, *told)


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, str, int, int]]:
    """(server, what it does, of which row, by how much): writes, and hearing one more change of the other."""
    step = st.tuples(
        st.sampled_from(SIDES), st.sampled_from(["write", "write", "write", "remove", "insert", "hear"]),
        st.integers(1, 3), st.integers(0, 2),
    )  # fmt: skip
    return draw(st.lists(step, max_size=14))


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("prefer", SIDES)
@given(steps=steps())
def test_any_history_ends_alike_where_versions_only_rise_and_keys_are_not_used_again(
    policy: ConflictPolicy, prefer: str, steps: list[tuple[str, str, int, int]]
) -> None:
    rule_a, rule_b = rules(policy, prefer)
    servers = {"a": Server(rule_a), "b": Server(rule_b)}
    sign = -1 if policy.name == "smaller" else 1
    for server in servers.values():
        server.rows = {key: Row(key, "old", 0) for key in (1, 2, 3)}
    for number, (side, what, key, more) in enumerate(steps):
        here, there = servers[side], servers["b" if side == "a" else "a"]
        row = here.rows.get(key)
        if what == "hear" and there.told:
            here.take(there.told.pop(0))
        elif what == "write" and row is not None:
            here.write(Change(row, row._replace(v=f"{side}{number}", n=row.n + sign * more)))
        elif what == "remove" and row is not None:
            here.write(Change(row, None))
        elif what == "insert" and key + 10 not in here.rows:
            here.write(Change(None, Row(key + 10, f"{side}{number}", more)))
    exchange(*servers.values())
    assert servers["a"].rows == servers["b"].rows


def test_a_key_that_the_other_end_has_freed_in_between_is_a_conflict_of_one_change_and_of_no_other_source() -> None:
    plan = TablePlan(SCHEMA, conflicts=ConflictRule(ConflictPolicy("prefer"), "source"))
    rows = [{"id": key, "v": "x", "n": 1, "u": None} for key in (2, 4)]
    images = [msgspec.Raw(msgspec.json.encode(row)) for row in (rows[0], {**rows[1], "id": 2})]
    first = RowChange(kind="insert", database="d", table="t", ts=1, data=images[0], position="b.1:4")
    second = RowChange(
        kind="update", database="d", table="t", ts=1, data=images[1], old=msgspec.Raw(b'{"id":4}'), position="b.1:5"
    )
    batch, expected = RowBatch(), Expected()
    for change, follows in ((first, True), (second, False)):
        batch.add(change, plan)
        assert expected.add(change, plan) == follows


STEPS = st.lists(
    st.tuples(
        st.sampled_from(SIDES), st.sampled_from(["hear", "hear", "write", "write", "remove", "insert", "key"]),
        st.integers(1, 3), st.integers(1, 3), st.integers(0, 3),
    ),
    max_size=24,
)  # fmt: skip


@pytest.mark.parametrize("policy", POLICIES, ids=str)
@pytest.mark.parametrize("prefer", SIDES)
@given(steps=STEPS)
def test_any_history_at_all_ends_alike_where_both_ends_talk_of_what_was_in_conflict(
    policy: ConflictPolicy, prefer: str, steps: list[tuple[str, str, int, int, int]]
) -> None:
    """Rows that come back to what they were, keys that are used again, columns that go both ways, values that move from
    row to row."""
    rule_a, rule_b = rules(policy, prefer)
    servers = {"a": Server(rule_a, agrees=True), "b": Server(rule_b, agrees=True)}
    for server in servers.values():
        server.rows = {key: Row(key, "x", 0, key) for key in (1, 2, 3)}
    for side, what, key, other, n in steps:
        here, there = servers[side], servers["b" if side == "a" else "a"]
        row = here.rows.get(key)
        u = None if n == 3 or any(each.u == other for each in here.rows.values()) else other
        if what == "hear" and there.told:
            here.take(there.told.pop(0))
        elif what == "write" and row is not None:
            here.write(Change(row, row._replace(v="xyz"[other - 1], n=n, u=row.u if n == 1 else u)))
        elif what == "remove" and row is not None:
            here.write(Change(row, None))
        elif what == "insert" and row is None:
            here.write(Change(None, Row(key, "xyz"[other - 1], n, u)))
        elif what == "key" and row is not None and other not in here.rows:
            here.write(Change(row, row._replace(id=other)))
    exchange(*servers.values())
    assert servers["a"].rows == servers["b"].rows
    assert not any(server.waits for server in servers.values())
