"""Parking: what cannot be applied is stored with its reason, what depends on it waits behind it, the rest flows on."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pydbsync.errors import SourceError, StopError
from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.source.memory import MemorySource
from tests.integration.engine import LOG, checksums, follow_source, parked, replay, settings_for
from tests.maxwell import Binlog, delete, insert, update
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

CREATE = "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(5))"


@pytest.fixture
def begin(fresh_target: Endpoint, binlog: Binlog) -> Callable[..., list[bytes]]:
    """begin(sql, …): the messages of a database `d` with these tables."""

    def messages(*statements: str) -> list[bytes]:
        found = binlog.ddl("CREATE DATABASE d", "d")
        for sql in statements:
            found += binlog.ddl(sql, f"d.{sql.split()[2]}")
        return found

    return messages


Begin = Callable[..., list[bytes]]


def rows(target: Endpoint, table: str = "d.t") -> list[tuple[Any, ...]]:
    return target.query(f"SELECT * FROM {table} ORDER BY 1, 2")


@pytest.mark.parametrize(
    ("poison", "reason"),
    [
        (b"not JSON", "not JSON"),
        (b'{"type":"insert","database":"d","table":"t","ts":1}', "missing required field `data`"),
        (b'{"type":"insert","database":"d\xff","table":"t","ts":1,"data":{}}', "not UTF-8"),
        (b'{"type":"flood","database":"d"}', "unknown type 'flood'"),
        (b'{"type":"insert","database":"d","table":"t","ts":1,"data":{"id":9},"position":"here"}', "is not a binlog"),
        (b'{"type":"insert","database":"d","table":"t","ts":1,"data":' + b"[" * 5000 + b"]" * 5000 + b"}", "nests"),
    ],
    ids=["no JSON", "missing field", "no UTF-8", "unknown type", "wrong position", "too deep"],
)
def test_a_poisoned_message_is_kept_as_it_came_and_the_rest_flows_on(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog, poison: bytes, reason: str
) -> None:
    messages = [*begin(CREATE), *binlog.transaction(insert("d.t", {"id": 1, "v": "a"})), poison]
    messages += binlog.transaction(insert("d.t", {"id": 2, "v": "b"}))
    status = replay(fresh_target, messages)
    assert rows(fresh_target) == [(1, "a"), (2, "b")]
    [found] = parked(fresh_target)
    assert (found.kind, found.message) == ("unreadable", poison)
    assert reason in found.reason
    assert (status.applied, status.parked) == (2, 1)


@pytest.mark.parametrize("image", ["5", "null", "[1]", '"x"'])
def test_a_row_whose_image_is_no_object_is_parked(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog, image: str
) -> None:
    messages = begin(CREATE)
    wrong = binlog.transaction(insert("d.t", {"id": 7}))[0].replace(b'{"id":7}', image.encode())
    wrong_old = binlog.transaction(update("d.t", {"id": 8, "v": "x"}, {"id": 9}))[0]
    wrong_old = wrong_old.replace(b'"old":{"id":9}', b'"old":[{"id":9}]')
    messages += [wrong, wrong_old, *binlog.transaction(insert("d.t", {"id": 1, "v": "a"}))]
    replay(fresh_target, messages)
    assert rows(fresh_target) == [(1, "a")]
    assert [each.message for each in parked(fresh_target)] == [wrong, wrong_old]


def test_what_follows_of_a_row_waits_although_its_key_is_spelled_otherwise(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog
) -> None:
    create = "CREATE TABLE t (k VARCHAR(9) PRIMARY KEY, v VARCHAR(5)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci"
    old, new = {"k": "Emile", "v": "a"}, {"k": "émile", "v": "b"}
    refused = update("d.t", {"k": "Emile", "v": "too long"}, {"v": "a"})
    later = [refused, delete("d.t", {"k": "Emile", "v": "too long"}), insert("d.t", new)]
    replay(fresh_target, [*begin(create), *binlog.each([insert("d.t", old), *later])], batch_rows=1, block=1)
    assert [(each.kind, each.behind is None) for each in parked(fresh_target)] == [
        ("update", True), ("delete", False), ("insert", False),
    ]  # fmt: skip
    fresh_target.query("ALTER TABLE d.t MODIFY v VARCHAR(9)")
    desk = ParkedDesk(settings_for(fresh_target), LOG)
    try:
        assert all(outcome.applied for outcome in desk.retry())
    finally:
        desk.close()
    assert rows(fresh_target) == [("émile", "b")]


def test_a_table_that_the_target_does_not_have_is_parked_whole_and_in_order(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog
) -> None:
    messages = begin(CREATE)
    unknown = binlog.each([insert("d.unknown", {"id": 1}), insert("d.unknown", {"id": 2})])
    unknown += binlog.each([delete("d.unknown", {"id": 1})])
    messages += unknown + binlog.transaction(insert("d.t", {"id": 1, "v": "a"}))
    replay(fresh_target, messages)
    assert rows(fresh_target) == [(1, "a")]
    found = parked(fresh_target)
    assert [each.message for each in found] == unknown
    assert {each.reason for each in found} == {"the target has no table d.unknown"}


def test_a_value_that_the_target_refuses_is_parked_and_the_rest_of_its_transaction_is_applied(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog
) -> None:
    messages = begin(CREATE)
    steps = [insert("d.t", {"id": n, "v": "x" * (9 if n == 2 else 1)}) for n in range(4)]
    messages += binlog.transaction(*steps)
    status = replay(fresh_target, messages)
    assert rows(fresh_target) == [(0, "x"), (1, "x"), (3, "x")]
    [found] = parked(fresh_target)
    assert (found.kind, found.table, found.code) == ("insert", "d.t", 1406)
    assert "too long" in found.reason
    assert (status.applied, status.parked) == (3, 1)


@pytest.mark.parametrize(
    ("options", "block"),
    [({}, 1000), ({"batch_rows": 1}, 1), ({"batch_rows": 1}, 1000)],
    ids=["one batch", "a batch each", "a batch each, read ahead"],
)
def test_later_changes_of_a_parked_row_wait_behind_it_and_other_rows_flow(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog, options: dict[str, Any], block: int
) -> None:
    messages = begin(CREATE)
    waiting = binlog.each(
        [
            insert("d.t", {"id": 1, "v": "far too long"}),
            update("d.t", {"id": 1, "v": "too long again"}, {"v": "far too long"}),
            update("d.t", {"id": 5, "v": "too long again"}, {"id": 1}),
            update("d.t", {"id": 5, "v": "too long still"}, {"v": "too long again"}),
        ]
    )
    messages += waiting
    messages += binlog.each([insert("d.t", {"id": 2, "v": "b"}), update("d.t", {"id": 2, "v": "c"}, {"v": "b"})])
    replay(fresh_target, messages, block=block, **options)
    assert rows(fresh_target) == [(2, "c")]
    found = parked(fresh_target)
    assert [each.message for each in found] == waiting
    assert [each.behind for each in found] == [None, found[0].id, found[1].id, found[2].id]


@pytest.mark.parametrize(
    ("options", "block"),
    [({}, 1000), ({"batch_rows": 1}, 1), ({"batch_rows": 1}, 1000)],
    ids=["one batch", "a batch each", "a batch each, read ahead"],
)
def test_what_waits_behind_a_change_that_could_not_be_planned_names_it(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog, options: dict[str, Any], block: int
) -> None:
    messages = begin("CREATE TABLE t (id INT PRIMARY KEY, v VARBINARY(5))")
    waiting = binlog.each(
        [insert("d.t", {"id": 1, "v": "no base64"}), update("d.t", {"id": 1, "v": "!"}, {"v": "no base64"})]
    )
    messages += [*waiting, *binlog.transaction(insert("d.t", {"id": 2, "v": "YQ=="}))]
    replay(fresh_target, messages, block=block, **options)
    assert rows(fresh_target) == [(2, b"a")]
    found = parked(fresh_target)
    assert [each.message for each in found] == waiting
    assert [each.behind for each in found] == [None, found[0].id]


def test_what_was_parked_is_remembered_by_the_next_worker(fresh_target: Endpoint, begin: Begin, binlog: Binlog) -> None:
    messages = begin(CREATE)
    messages += binlog.each([insert("d.t", {"id": 1, "v": "far too long"}), insert("d.unknown", {"id": 1})])
    replay(fresh_target, messages)
    later = binlog.each([delete("d.t", {"id": 1, "v": "x"}), insert("d.t", {"id": 2, "v": "b"})])
    later += binlog.transaction(insert("d.unknown", {"id": 2}))
    fresh_target.query("CREATE TABLE d.unknown (id INT PRIMARY KEY)")
    replay(fresh_target, later)
    assert rows(fresh_target) == [(2, "b")]
    assert fresh_target.query("SELECT * FROM d.unknown") == []
    first, unknown, behind, behind_table = parked(fresh_target)
    assert (behind.behind, behind_table.behind) == (first.id, unknown.id)


def test_a_row_that_collides_in_a_table_without_a_key_is_parked_and_never_removes_another(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog
) -> None:
    messages = begin("CREATE TABLE t (a INT, v VARCHAR(5), UNIQUE (v))")
    messages += binlog.each([insert("d.t", {"a": 1, "v": "x"}), insert("d.t", {"a": 3, "v": None})])
    messages += binlog.each([insert("d.t", {"a": 2, "v": "x"}), insert("d.t", {"a": 4, "v": None})])
    replay(fresh_target, messages)
    assert sorted(rows(fresh_target)) == [(1, "x"), (3, None), (4, None)]
    [found] = parked(fresh_target)
    assert found.code == 1062
    assert b'"a":2' in found.message


def test_a_deletion_that_finds_no_row_in_a_table_without_a_key_is_a_conflict(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog
) -> None:
    messages = begin("CREATE TABLE t (a INT, v VARCHAR(5))")
    messages += binlog.each([insert("d.t", {"a": 1, "v": "x"}), delete("d.t", {"a": 1, "v": "X"})])
    messages += binlog.each([insert("d.t", {"a": 2, "v": "y"})])
    replay(fresh_target, messages)
    assert rows(fresh_target) == [(1, "x"), (2, "y")]
    [found] = parked(fresh_target)
    assert "1 row(s) should match but 0 do: the target is not as the source was" in found.reason


def test_one_of_several_equal_rows_is_deleted_and_the_others_stay(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog
) -> None:
    messages = begin("CREATE TABLE t (a INT, v VARCHAR(5))")
    messages += binlog.transaction(*[insert("d.t", {"a": 1, "v": "x"})] * 3)
    replay(fresh_target, messages)
    replay(fresh_target, binlog.transaction(delete("d.t", {"a": 1, "v": "x"})))
    assert rows(fresh_target) == [(1, "x")] * 2
    assert parked(fresh_target) == []


def test_on_error_stop_applies_nothing_past_the_change(fresh_target: Endpoint, begin: Begin, binlog: Binlog) -> None:
    messages = [*begin(CREATE), *binlog.transaction(insert("d.t", {"id": 1, "v": "a"}))]
    replay(fresh_target, messages)
    later = binlog.each([insert("d.t", {"id": 2, "v": "far too long"}), insert("d.t", {"id": 3, "v": "c"})])
    source = MemorySource(later, stream="memory")
    with pytest.raises(StopError, match=r"insert of d\.t at binlog\.000001:\d+ cannot be applied: .*on_error is stop"):
        follow_source(fresh_target, source, on_error="stop")
    assert rows(fresh_target) == [(1, "a")]
    assert parked(fresh_target) == []
    assert source.acknowledged == 0
    # the operator made room, and the same messages come again
    fresh_target.query("ALTER TABLE d.t MODIFY v VARCHAR(50)")
    replay(fresh_target, later, on_error="stop")
    assert rows(fresh_target) == [(1, "a"), (2, "far too long"), (3, "c")]


@pytest.mark.parametrize("kind", ["poison", "unknown table", "unplanned"])
def test_on_error_stop_holds_for_every_reason(fresh_target: Endpoint, begin: Begin, binlog: Binlog, kind: str) -> None:
    messages = begin("CREATE TABLE t (id INT PRIMARY KEY, v VARBINARY(5))")
    messages += {
        "poison": [b"{"],
        "unknown table": binlog.transaction(insert("d.u", {"id": 1})),
        "unplanned": binlog.transaction(insert("d.t", {"id": 1, "v": "no base64"})),
    }[kind]
    with pytest.raises(StopError, match="nothing after it was applied"):
        follow_source(fresh_target, MemorySource(messages), on_error="stop")
    assert parked(fresh_target) == []


@pytest.mark.parametrize("kind", ["refused", "unplanned", "unknown table", "poison"])
def test_max_parked_may_be_reached_but_not_passed(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog, kind: str
) -> None:
    def wrong(number: int) -> list[bytes]:
        if kind == "poison":
            return [b"{"]
        table = "d.unknown" if kind == "unknown table" else "d.t"
        return binlog.transaction(insert(table, {"id": number, "v": "" if kind == "unplanned" else "eHh4"}))

    create = "CREATE TABLE t (id INT PRIMARY KEY, v VARBINARY(2))"
    if kind == "unplanned":
        create = "CREATE TABLE t (id INT PRIMARY KEY, v SET('a'))"
        messages = begin(create)
        for number in range(3):
            messages += [binlog.transaction(insert("d.t", {"id": number, "v": [5]}))[0]]
    else:
        messages = begin(create) + wrong(0) + wrong(1) + wrong(2)
    replay(fresh_target, messages[:2], max_parked=3)
    for at in (2, 3, 4):
        replay(fresh_target, messages[at : at + 1], max_parked=3)
    assert len(parked(fresh_target)) == 3
    one_more = wrong(3) if kind != "unplanned" else binlog.transaction(insert("d.t", {"id": 3, "v": [5]}))
    with pytest.raises(StopError, match=r"more than max_parked \(3\)"):
        follow_source(fresh_target, MemorySource(one_more), max_parked=3)
    assert len(parked(fresh_target)) == 3
    fresh_target.query("UPDATE pydbsync.parked SET status = 'skipped' LIMIT 1")
    replay(fresh_target, one_more, max_parked=3)
    assert len(parked(fresh_target)) == 3


def test_three_at_once_are_within_a_limit_of_three(fresh_target: Endpoint, begin: Begin, binlog: Binlog) -> None:
    messages = begin(CREATE) + binlog.each([insert("d.unknown", {"id": n}) for n in range(3)])
    replay(fresh_target, messages, max_parked=3)
    assert len(parked(fresh_target)) == 3


class Interrupted(MemorySource):
    """Loses the connection once, when it was asked for the second time."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._asked = 0

    def take(self, *, timeout_s: float) -> Any:
        self._asked += 1
        if self._asked == 2:
            raise SourceError("the connection was lost")
        return super().take(timeout_s=timeout_s)


def test_what_was_about_to_be_parked_when_the_source_was_lost_is_judged_anew(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog
) -> None:
    replay(fresh_target, begin(CREATE))
    messages = binlog.transaction(insert("d.unknown", {"id": 1}), insert("d.t", {"id": 1, "v": "a"}))
    status = follow_source(fresh_target, Interrupted(messages, stream="memory", block=1))
    [found] = parked(fresh_target)
    assert (found.behind, found.reason) == (None, "the target has no table d.unknown")
    assert rows(fresh_target) == [(1, "a")]
    assert status.parked == 1


def test_parking_and_the_checkpoint_are_committed_together(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog, tmp_path: Path
) -> None:
    messages = begin(CREATE) + binlog.each([insert("d.t", {"id": 1, "v": "far too long"}), delete("d.x", {"id": 1})])
    messages.append(b"poison")
    replay(fresh_target, messages)
    before = (parked(fresh_target), checksums(fresh_target, ["d"]))
    status = replay(fresh_target, messages[:-1])
    assert (parked(fresh_target), checksums(fresh_target, ["d"])) == before
    assert status.duplicates == len(messages) - 1


def test_a_statement_that_is_tried_again_is_in_the_source_s_words_too(
    fresh_target: Endpoint, begin: Begin, binlog: Binlog
) -> None:
    clause, source = ("COLUMN_FORMAT FIXED", "mysql 8.4") if fresh_target.brand == "mariadb" else (
        "COMPRESSED", "mariadb 10.11"
    )  # fmt: skip
    replay(
        fresh_target, [*begin(), *binlog.ddl(f"ALTER TABLE t ADD c VARCHAR(9) {clause}", "d.t")], source_server=source
    )
    fresh_target.query(f"CREATE TABLE d.{CREATE.split(maxsplit=2)[2]}")
    desk = ParkedDesk(settings_for(fresh_target, source_server=source), LOG)
    try:
        [outcome] = desk.retry()
    finally:
        desk.close()
    assert outcome.applied, outcome.detail
