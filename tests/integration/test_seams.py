"""Seams: between a schema change and what is parked with it, between a worker and what an operator mends meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from pydbsync.apply import applier
from pydbsync.engine import commits
from pydbsync.errors import BrokenOrderError, StopError
from pydbsync.model import Delivery
from pydbsync.ops.parked.desk import ParkedDesk
from pydbsync.ops.parked.select import Selection
from pydbsync.source.memory import MemorySource
from tests.integration.engine import LOG, follow_source, parked, replay, settings_for
from tests.maxwell import Binlog, delete, insert, update
from tests.servers import Endpoint

pytestmark = pytest.mark.kept_state

TABLE = "CREATE TABLE t (id INT PRIMARY KEY, v VARCHAR(100))"
LONG = "longer than five"


class Crash(Exception):
    """The worker dies here."""


@pytest.fixture
def created(fresh_target: Endpoint, binlog: Binlog) -> Endpoint:
    """The target with a table d.t, as the source has it."""
    replay(fresh_target, [*binlog.ddl("CREATE DATABASE d", "d"), *binlog.ddl(TABLE, "d.t", columns=["id", "v"])])
    return fresh_target


def rows(target: Endpoint, table: str = "d.t") -> list[tuple[Any, ...]]:
    return target.query(f"SELECT * FROM {table} ORDER BY 1, 2")


def retry(target: Endpoint, selection: Selection | None = None, **options: Any) -> list[str]:
    """Retry what is parked, or these; what is said of those that stay."""
    desk = ParkedDesk(settings_for(target, **options), LOG)
    try:
        return [outcome.detail for outcome in desk.retry(selection or Selection()) if not outcome.applied]
    finally:
        desk.close()


def crash_once(monkeypatch: pytest.MonkeyPatch, point: str) -> None:
    """Die the first time that the engine comes to this point."""
    left = [point]

    def kill_point(name: str) -> None:
        if name in left:
            left.remove(name)
            raise Crash(name)

    monkeypatch.setattr(commits, "kill_point", kill_point)


def follow_through(target: Endpoint, messages: list[bytes], **options: Any) -> None:
    """Follow, die where the test wants it, follow again."""
    source = MemorySource(messages)
    with pytest.raises(Crash):
        follow_source(target, source, **options)
    follow_source(target, source, **options)
    assert source.is_drained()


# -- a schema change and what is parked with it ----------------------------------------------------------------------


def test_all_messages_of_a_parked_statement_are_parked_whenever_the_worker_dies(
    created: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay(created, binlog.ddl("CREATE TABLE u (id INT PRIMARY KEY)", "d.u", columns=["id"]))
    crash_once(monkeypatch, "after-schema-step")
    messages = binlog.ddl("DROP TABLE t, u", "d.t", "d.u")
    messages += binlog.transaction(insert("d.u", {"id": 1}))
    follow_through(created, messages, schema_changes={"drop-table": "park"})
    assert [(each.kind, each.table) for each in parked(created)] == [
        ("table-drop", "d.t"),
        ("table-drop", "d.u"),
        ("insert", "d.u"),
    ]


def test_a_statement_that_was_mended_before_the_worker_came_back_is_over(
    created: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    replay(created, binlog.ddl("CREATE TABLE u (id INT PRIMARY KEY)", "d.u", columns=["id"]))
    crash_once(monkeypatch, "after-schema-step")
    messages = binlog.ddl("RENAME TABLE t TO s, u TO w", "d.t", "d.u", columns=["id"])
    source = MemorySource(messages + binlog.transaction(insert("d.w", {"id": 1})))
    options: dict[str, Any] = {"schema_changes": {"rename-table": "park"}}
    with pytest.raises(Crash):
        follow_source(created, source, **options)
    assert [each.table for each in parked(created)] == ["d.t"]
    assert retry(created) == []
    follow_source(created, source, **options)
    assert parked(created) == []
    assert created.query("SELECT id FROM d.w") == [(1,)]


def test_what_waits_on_one_shard_is_parked_once_whenever_the_worker_dies(
    fresh_target: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    sharding = {"databases": ["s"], "column": "c", "modulo": 8, "instances": 4}
    options: dict[str, Any] = {"db_corpmod": 0, "sharding": sharding}
    create = "CREATE TABLE t (id INT PRIMARY KEY, c INT, v VARCHAR(100))"
    names = ["id", "c", "v"]
    replay(fresh_target, [*binlog.ddl("CREATE DATABASE s", "s"), *binlog.ddl(create, "s.t", columns=names)], **options)
    databases = sorted(name for name in fresh_target.databases() if name.startswith("s") and name != "sys")
    assert len(databases) == 2
    fresh_target.query(f"ALTER TABLE {databases[1]}.t MODIFY v VARCHAR(5)")
    shard = int("".join(filter(str.isdigit, databases[1])) or "0")
    replay(fresh_target, binlog.transaction(insert("s.t", {"id": 1, "c": shard, "v": LONG})), **options)
    assert [each.kind for each in parked(fresh_target)] == ["insert"]
    crash_once(monkeypatch, "after-schema-step")
    messages = binlog.ddl("ALTER TABLE t MODIFY v VARCHAR(200)", "s.t", columns=names)
    follow_through(fresh_target, messages, **options)
    assert [each.kind for each in parked(fresh_target)] == ["insert", "table-alter"]
    types = fresh_target.query(
        "SELECT table_schema, character_maximum_length FROM information_schema.columns"
        " WHERE table_name = 't' AND column_name = 'v' AND table_schema IN (%s, %s) ORDER BY 1",
        *databases,
    )
    assert types == [(databases[0], 200), (databases[1], 5)]


def test_an_update_without_the_generated_column_that_picks_its_shard_goes_to_none(
    fresh_target: Endpoint, binlog: Binlog
) -> None:
    """As MariaDB 11.8 writes it: a row without such a column would go to all shards."""
    sharding = {"databases": ["s"], "column": "c", "modulo": 2, "instances": 1}
    options: dict[str, Any] = {"db_corpmod": 0, "sharding": sharding}
    create = "CREATE TABLE t (id INT PRIMARY KEY, n INT, c INT AS (n) STORED)"
    ddl = [*binlog.ddl("CREATE DATABASE s", "s"), *binlog.ddl(create, "s.t", columns=["id", "n", "c"])]
    replay(fresh_target, ddl, **options)
    replay(fresh_target, binlog.transaction(insert("s.t", {"id": 1, "n": 3, "c": 3})), **options)
    replay(fresh_target, binlog.transaction(update("s.t", {"id": 1, "n": 5}, {"n": 3})), **options)
    assert fresh_target.query("SELECT id, n FROM s0.t") == []
    assert fresh_target.query("SELECT id, n FROM s1.t") == [(1, 3)]
    assert all("lacks the column c, which picks the shard" in each.reason for each in parked(fresh_target))
    assert {each.kind for each in parked(fresh_target)} == {"update"}


def test_a_statement_that_ran_is_not_forgotten_where_what_waits_stops_the_worker(
    created: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = binlog.ddl("ALTER TABLE t ADD w INT", "d.t", columns=["id", "v", "w"])
    crash_once(monkeypatch, "after-schema-step")
    follow_through(created, messages)
    assert created.query("SELECT status FROM pydbsync.schema_change ORDER BY id DESC LIMIT 1") == [("done",)]
    assert list(parked(created)) == []


# -- messages that come back late ------------------------------------------------------------------------------------


class Disordered(MemorySource):
    """The first half was with another consumer, and comes back behind the second half, once."""

    def __init__(self, bodies: Sequence[bytes]) -> None:
        super().__init__(bodies, block=len(bodies))
        self._order = list(range(len(bodies) // 2, len(bodies))) + list(range(len(bodies) // 2))
        self._given = 0
        self._pause = False

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        half = len(self._order) - len(self._order) // 2
        if self._given == half and not self._pause:
            self._pause = True  # a moment of silence, in which the second half is committed
            return []
        given = self._order[self._given : self._given + half]
        deliveries = [
            Delivery(self._bodies[index], self._given + place + 1, self._given >= half)
            for place, index in enumerate(given)
        ]
        self._given += len(given)
        return deliveries


@pytest.mark.parametrize("options", [{"max_parked": 2}, {"on_error": "stop"}, {"max_parked": 2, "on_gap": "stop"}])
def test_what_comes_back_late_is_stored_whatever_the_limits_say(
    created: Endpoint, binlog: Binlog, options: dict[str, Any]
) -> None:
    messages = binlog.each(insert("d.t", {"id": number, "v": "x"}) for number in range(10))
    source = Disordered(messages)
    with pytest.raises(BrokenOrderError):
        follow_source(created, source, **options)
    assert rows(created) == [(number, "x") for number in range(5, 10)]
    assert [each.message for each in parked(created)] == messages[:5]
    assert source.acknowledged == 10


def test_what_comes_back_late_is_stored_even_where_what_came_before_stops_the_worker(
    created: Endpoint, binlog: Binlog
) -> None:
    created.query("ALTER TABLE d.t MODIFY v VARCHAR(5)")
    late = binlog.each(insert("d.t", {"id": number, "v": "x"}) for number in range(3))
    fresh = binlog.each(insert("d.t", {"id": number, "v": "x"}) for number in (3, 4))
    fresh += binlog.transaction(insert("d.t", {"id": 5, "v": LONG}))
    source = Disordered([*late, *fresh])
    source._pause = True  # nothing of the second half is committed when the first comes back
    with pytest.raises((StopError, BrokenOrderError)):
        follow_source(created, source, on_error="stop")
    assert [each.message for each in parked(created)] == late


# -- what others do to the tables meanwhile --------------------------------------------------------------------------


class Interrupted(MemorySource):
    """Calls `act` once, when so many deliveries have been handed out and are committed; else it is never idle."""

    def __init__(self, bodies: Sequence[bytes], *, after: int, act: Callable[[], object], block: int = 20) -> None:
        super().__init__(bodies, block=block)
        self._after = after
        self._act = act
        self._is_quiet = False

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        if self._after <= self._taken and not self._is_quiet:
            self._is_quiet = True  # the transaction under way ends first: its locks would stop whoever alters a table
            return []
        if self._after <= self._taken:
            self._after = len(self._bodies) + 1
            self._act()
        return super().take(timeout_s=timeout_s)


def many(binlog: Binlog, first: int, last: int, **values: Any) -> list[bytes]:
    return binlog.each(insert("d.t", {"id": number, "v": "x", **values}) for number in range(first, last))


@pytest.mark.parametrize("looks_every_s", [0.0, 1e9], ids=["it looks", "it does not look"])
def test_rows_flow_again_once_a_parked_statement_is_mended_under_load(
    created: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch, looks_every_s: float
) -> None:
    """By the look that is taken between transactions; without it the rows wait, and are found by the next start."""
    monkeypatch.setattr(applier, "_LOOK_S", looks_every_s)
    messages = binlog.ddl("ALTER TABLE t ADD w INT", "d.t", columns=["id", "v", "w"])
    messages += many(binlog, 0, 400, w=7)
    source = Interrupted(messages, after=100, act=lambda: retry(created))
    follow_source(
        created,
        source,
        schema_changes={"alter-table": "park"},
        batch_rows=10,
        max_parked=1000 if looks_every_s else 300,
    )
    left = parked(created)
    if looks_every_s:
        assert len(left) > 250
        assert retry(created) == []
    else:
        assert len(left) <= 30, "what was on its way when it was mended may wait, and nothing later"
        assert retry(created) == []
    assert rows(created) == [(number, "x", 7) for number in range(400)]


def test_the_limit_counts_what_stands_parked_and_not_what_did(
    created: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applier, "_LOOK_S", 1e9)
    created.query("ALTER TABLE d.t MODIFY v VARCHAR(5)")
    bad = binlog.each(insert("d.t", {"id": number, "v": LONG}) for number in range(8))
    good = many(binlog, 20, 30)
    worse = binlog.each(insert("d.t", {"id": number, "v": LONG}) for number in range(8, 14))

    def skip() -> None:
        desk = ParkedDesk(settings_for(created), LOG)
        for each in desk.find():
            desk.skip(Selection(ids=(each.id,)), reason="not needed")
        desk.close()

    source = Interrupted([*bad, *good, *worse], after=15, act=skip, block=5)
    follow_source(created, source, max_parked=10, batch_rows=5)
    assert len(parked(created)) == 6


@pytest.mark.parametrize(
    ("by_hand", "values"),
    [
        ("ALTER TABLE d.t ADD w INT", {"w": 1}),
        ("ALTER TABLE d.t MODIFY v VARCHAR(50), ADD w INT", {"w": 1}),
    ],
)
def test_a_column_that_is_added_by_hand_is_used_at_once(
    created: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch, by_hand: str, values: dict[str, Any]
) -> None:
    monkeypatch.setattr(applier, "_LOOK_S", 1e9)
    messages = many(binlog, 0, 40) + many(binlog, 40, 80, **values)
    source = Interrupted(messages, after=40, act=lambda: created.query(by_hand))
    follow_source(created, source, batch_rows=10)
    assert list(parked(created)) == []
    assert rows(created) == [(n, "x", None) for n in range(40)] + [(n, "x", 1) for n in range(40, 80)]


def test_a_column_that_is_dropped_by_hand_is_named_as_missing(
    created: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applier, "_LOOK_S", 1e9)
    source = Interrupted(many(binlog, 0, 40), after=20, act=lambda: created.query("ALTER TABLE d.t DROP v"))
    follow_source(created, source, batch_rows=10)
    found = parked(created)
    assert found
    assert all("has no column 'v'" in each.reason for each in found), found[0].reason
    assert created.query("SELECT COUNT(*) FROM d.t") == [(40 - len(found),)]


def test_rows_of_a_table_that_is_dropped_by_hand_are_parked(
    created: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applier, "_LOOK_S", 1e9)
    source = Interrupted(many(binlog, 0, 40), after=20, act=lambda: created.query("DROP TABLE d.t"))
    follow_source(created, source, batch_rows=10)
    assert [each.kind for each in parked(created)] == ["insert"] * 20


def test_a_key_that_is_changed_by_hand_is_followed(
    created: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The table is looked at now and then, so that updates find their row by the key that it has."""
    monkeypatch.setattr(applier, "_LOOK_S", 0.0)
    by_hand = "ALTER TABLE d.t DROP PRIMARY KEY, ADD UNIQUE (v)"
    unique = binlog.each(insert("d.t", {"id": 100 + n, "v": f"u{n}"}) for n in range(20))
    changes = binlog.each(update("d.t", {"id": 200 + n, "v": f"u{n}"}, {"id": 100 + n}) for n in range(20))
    messages = [*unique, *changes]
    source = Interrupted(messages, after=20, act=lambda: created.query(by_hand))
    follow_source(created, source, batch_rows=5)
    assert list(parked(created)) == []
    assert rows(created) == [(200 + n, f"u{n}") for n in range(20)]


# -- parked rows and the statements behind them ----------------------------------------------------------------------

AFTER = {
    "truncate": (["TRUNCATE TABLE t"], [], {"d.t": [(6, "x")]}),
    "drop and create": (["DROP TABLE t", TABLE], [], {"d.t": [(6, "x")]}),
    "rename and create": (
        ["RENAME TABLE t TO old", TABLE],
        [],
        {"d.t": [(6, "x")], "d.old": [(4, LONG), (5, "ok")]},
    ),
    "swap": (
        ["RENAME TABLE t TO old, n TO t"],
        ["CREATE TABLE n (id INT PRIMARY KEY, v VARCHAR(100))"],
        {"d.t": [(6, "x")], "d.old": [(4, LONG), (5, "ok")]},
    ),
    "drop the database": (
        ["DROP DATABASE d", "CREATE DATABASE d", TABLE],
        [],
        {"d.t": [(6, "x")]},
    ),
    "a new column at its default": (
        ["ALTER TABLE t ADD w INT DEFAULT 3"],
        [],
        {"d.t": [(4, LONG, 3), (5, "ok", 3), (6, "x", 3)]},
    ),
    "a column that comes again": (
        ["ALTER TABLE t DROP v, ADD v VARCHAR(100) DEFAULT 'new'"],
        [],
        {"d.t": [(4, "new"), (5, "new"), (6, "x")]},
    ),
}


def about(sql: str) -> list[str]:
    """The names in the messages of a statement."""
    if "DATABASE" in sql:
        return ["d"]
    if sql.startswith("RENAME"):
        return [f"d.{pair.split()[0]}" for pair in sql.removeprefix("RENAME TABLE ").split(", ")]
    return [f"d.{sql.split()[2]}"]


def test_what_a_parked_statement_renames_a_table_to_waits_behind_it(created: Endpoint, binlog: Binlog) -> None:
    replay(created, binlog.transaction(insert("d.t", {"id": 1, "v": "x"})))
    messages = binlog.ddl("RENAME TABLE t TO old", "d.t", columns=["id", "v"])
    messages += binlog.transaction(insert("d.old", {"id": 2, "v": "y"}))
    messages += binlog.ddl("DROP TABLE IF EXISTS old", "d.old")
    messages += binlog.ddl("CREATE TABLE old (id INT PRIMARY KEY)", "d.old", columns=["id"])
    replay(created, messages, schema_changes={"rename-table": "park"})
    found = parked(created)
    assert [each.kind for each in found] == ["table-alter", "insert", "table-drop", "table-create"]
    assert [each.behind is None for each in found] == [True, False, False, False]
    replay(created, binlog.ddl("DROP TABLE old", "d.old"))  # by a worker that was started anew
    assert parked(created)[-1].kind == "table-drop"
    assert retry(created) == []
    assert created.query("SELECT table_name FROM information_schema.tables WHERE table_schema = 'd'") == []


def test_a_statement_whose_retry_was_broken_off_is_not_run_twice(
    created: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = "ALTER TABLE t RENAME COLUMN id TO v, RENAME COLUMN v TO id"
    replay(created, binlog.ddl(sql, "d.t", columns=["v", "id"]), schema_changes={"alter-table": "park"})
    write = ParkedDesk.write_audits

    def dies(desk: ParkedDesk, ids: Sequence[int], action: str, detail: str) -> None:
        if detail.startswith("ran"):
            raise Crash
        write(desk, ids, action, detail)

    def names() -> list[str]:
        return [name for name, *_ in created.query("SHOW COLUMNS FROM d.t")]

    with monkeypatch.context() as patched:
        patched.setattr(ParkedDesk, "write_audits", dies)
        with pytest.raises(Crash):
            retry(created)
    assert names() == ["v", "id"]
    (said,) = retry(created)
    assert "an earlier retry of it was broken off" in said
    assert names() == ["v", "id"]
    assert retry(created) == []  # whoever says so once more has looked
    assert names() == ["id", "v"]


@pytest.mark.parametrize(("statements", "before", "expected"), AFTER.values(), ids=AFTER)
def test_a_parked_row_follows_the_fate_of_its_table(
    created: Endpoint,
    binlog: Binlog,
    statements: list[str],
    before: list[str],
    expected: dict[str, list[tuple[Any, ...]]],
) -> None:
    """The target's column is too short for one row. It is mended, and what is parked is retried."""
    for sql in before:
        replay(created, binlog.ddl(sql, *about(sql), columns=["id", "v"]))
    created.query("ALTER TABLE d.t MODIFY v VARCHAR(5)")
    messages = binlog.transaction(insert("d.t", {"id": 4, "v": LONG}), insert("d.t", {"id": 5, "v": "ok"}))
    values: dict[str, Any] = {"id": 6, "v": "x"}
    for sql in statements:
        columns = ["id", "v", "w"] if " w " in sql else ["id", "v"]
        values |= {"w": 3} if " w " in sql else {}
        messages += binlog.ddl(sql, *about(sql), columns=columns)
    messages += binlog.transaction(insert("d.t", values))
    replay(created, messages)
    if created.query("SELECT 1 FROM information_schema.columns WHERE table_schema = 'd' AND column_type LIKE '%(5)'"):
        created.query("ALTER TABLE d.t MODIFY v VARCHAR(100)")
    assert retry(created) == []
    assert list(parked(created)) == []
    assert {name: rows(created, name) for name in expected} == expected


def test_a_partition_is_not_emptied_past_a_parked_row_of_it(created: Endpoint, binlog: Binlog) -> None:
    table = "CREATE TABLE p (id INT PRIMARY KEY, v VARCHAR(100)) PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN"
    replay(created, binlog.ddl(f"{table} (10), PARTITION p1 VALUES LESS THAN (20))", "d.p", columns=["id", "v"]))
    created.query("ALTER TABLE d.p MODIFY v VARCHAR(5)")
    messages = binlog.transaction(insert("d.p", {"id": 4, "v": LONG}), insert("d.p", {"id": 15, "v": "ok"}))
    messages += binlog.ddl("ALTER TABLE p TRUNCATE PARTITION p0", "d.p", columns=["id", "v"])
    messages += binlog.transaction(insert("d.p", {"id": 6, "v": "x"}))
    replay(created, messages)
    created.query("ALTER TABLE d.p MODIFY v VARCHAR(100)")
    assert retry(created) == []
    assert rows(created, "d.p") == [(6, "x"), (15, "ok")]


def test_a_table_like_another_waits_behind_its_parked_alter(created: Endpoint, binlog: Binlog) -> None:
    messages = binlog.ddl("ALTER TABLE t ADD w INT", "d.t", columns=["id", "v", "w"])
    messages += binlog.ddl("CREATE TABLE u LIKE t", "d.u", columns=["id", "v", "w"])
    messages += binlog.transaction(insert("d.u", {"id": 1, "v": "x", "w": 2}))
    replay(created, messages, schema_changes={"alter-table": "park"})
    assert [each.kind for each in parked(created)] == ["table-alter", "table-create", "insert"]
    assert retry(created) == []
    assert rows(created, "d.u") == [(1, "x", 2)]


@pytest.mark.parametrize(
    "sql", ["ALTER TABLE t ADD w INT", "ALTER TABLE t RENAME TO s, ADD w INT", "DROP TABLE t", "DROP DATABASE d"]
)
def test_a_table_stays_as_it_is_while_one_that_is_made_like_it_is_parked(
    created: Endpoint, binlog: Binlog, sql: str
) -> None:
    replay(created, binlog.ddl("CREATE DATABASE e", "e"))
    messages = binlog.ddl("CREATE TABLE e.u LIKE d.t", "e.u", columns=["id", "v"])
    messages += binlog.transaction(insert("d.t", {"id": 1, "v": "x"}))
    messages += binlog.ddl(sql, *(["d"] if "DATABASE" in sql else ["d.t"]), columns=["id", "v", "w"])
    messages += binlog.transaction(insert("e.u", {"id": 1, "v": "y"}))
    replay(created, messages, schema_changes={"create-table": "park"})
    first, second, third = parked(created)
    assert (first.kind, second.behind, third.kind, third.behind) == ("table-create", first.id, "insert", first.id)
    assert rows(created) == [(1, "x")]  # what only changes its rows need not wait
    assert retry(created) == []
    assert rows(created, "e.u") == [(1, "y")]


POINTS = "ALTER TABLE c ADD CONSTRAINT f FOREIGN KEY (t) REFERENCES t (id)"


def points_at(target: Endpoint) -> str:
    ((found,),) = target.query(
        "SELECT referenced_table_name FROM information_schema.referential_constraints WHERE constraint_schema = 'd'"
    )
    return str(found)


@pytest.fixture
def with_child(created: Endpoint, binlog: Binlog) -> Endpoint:
    """With a table d.c, whose column t is a foreign key to be, and a table d.n like d.t."""
    messages = binlog.ddl("CREATE TABLE c (id INT PRIMARY KEY, t INT, KEY f (t))", "d.c", columns=["id", "t"])
    messages += binlog.ddl("CREATE TABLE n LIKE t", "d.n", columns=["id", "v"])
    replay(created, messages)
    return created


@pytest.mark.parametrize(
    ("sql", "of"),
    [
        ("RENAME TABLE t TO s, n TO t", ["t", "n"]),
        ("ALTER TABLE t RENAME TO s", ["t"]),
        ("ALTER TABLE t CHANGE id number INT", ["t"]),
        ("DROP TABLE t", ["t"]),
    ],
)
def test_a_parent_waits_behind_a_parked_foreign_key_that_points_at_it(
    with_child: Endpoint, binlog: Binlog, sql: str, of: list[str]
) -> None:
    replay(with_child, binlog.ddl(POINTS, "d.c", columns=["id", "t"]), schema_changes={"alter-table": "park"})
    replay(with_child, binlog.ddl(sql, *(f"d.{name}" for name in of), columns=["id", "v"]))
    first, *others = parked(with_child)
    assert [each.behind for each in others] == [first.id] * len(of)
    assert retry(with_child) == []
    assert points_at(with_child) == ("s" if " s" in sql else "t")


def test_a_new_column_of_a_parent_does_not_wait_behind_a_parked_foreign_key(
    with_child: Endpoint, binlog: Binlog
) -> None:
    replay(with_child, binlog.ddl(POINTS, "d.c", columns=["id", "t"]), schema_changes={"alter-table": "park"})
    messages = binlog.ddl("ALTER TABLE t ADD w INT", "d.t", columns=["id", "v", "w"])
    replay(with_child, messages + binlog.transaction(insert("d.t", {"id": 1, "v": "x", "w": 2})))
    assert [each.table for each in parked(with_child)] == ["d.c"]
    assert rows(with_child) == [(1, "x", 2)]


def test_a_foreign_key_waits_behind_a_parked_swap_of_its_parent(with_child: Endpoint, binlog: Binlog) -> None:
    messages = binlog.ddl("RENAME TABLE t TO s, n TO t", "d.t", "d.n", columns=["id", "v"])
    messages += binlog.ddl(POINTS, "d.c", columns=["id", "t"])
    replay(with_child, messages, schema_changes={"rename-table": "park"})
    assert [each.table for each in parked(with_child)] == ["d.t", "d.n", "d.c"]
    assert retry(with_child) == []
    assert points_at(with_child) == "t"


@pytest.mark.parametrize("between", ["delete", "update"])
def test_a_parked_row_takes_no_row_away_that_has_its_value_by_now(
    fresh_target: Endpoint, binlog: Binlog, between: str
) -> None:
    table = "CREATE TABLE t (id INT PRIMARY KEY, u INT UNIQUE, v VARCHAR(100))"
    replay(fresh_target, [*binlog.ddl("CREATE DATABASE d", "d"), *binlog.ddl(table, "d.t", columns=["id", "u", "v"])])
    fresh_target.query("ALTER TABLE d.t MODIFY v VARCHAR(5)")
    messages = binlog.transaction(insert("d.t", {"id": 5, "u": 1, "v": LONG}))
    if between == "delete":
        messages += binlog.transaction(delete("d.t", {"id": 5, "u": 1, "v": LONG}))
    else:
        messages += binlog.transaction(update("d.t", {"id": 5, "u": 2, "v": LONG}, {"u": 1}))
    messages += binlog.transaction(insert("d.t", {"id": 6, "u": 1, "v": "later"}))
    replay(fresh_target, messages, batch_rows=1)
    assert rows(fresh_target) == [(6, 1, "later")]
    fresh_target.query("ALTER TABLE d.t MODIFY v VARCHAR(100)")
    (said,) = retry(fresh_target, Selection(ids=(parked(fresh_target)[0].id,)))
    assert "a row that came later may have this value" in said
    assert rows(fresh_target) == [(6, 1, "later")]
    assert retry(fresh_target) == []
    assert rows(fresh_target) == ([] if between == "delete" else [(5, 2, LONG)]) + [(6, 1, "later")]


@pytest.mark.parametrize("sql", ["DROP TABLE u, t", "RENAME TABLE u TO s, t TO u"])
def test_a_statement_is_retried_when_nothing_of_any_of_its_tables_waits(
    created: Endpoint, binlog: Binlog, sql: str
) -> None:
    messages = binlog.ddl("CREATE TABLE u LIKE t", "d.u", columns=["id", "v"])
    messages += [each for n in "tu" for each in binlog.ddl(f"ALTER TABLE {n} ADD w INT", f"d.{n}", columns=["id", "v"])]
    messages += binlog.ddl(sql, "d.u", "d.t", columns=["id", "v"])
    replay(created, messages, schema_changes={"alter-table": "park"})
    of_t, of_u, first, second = (each.id for each in parked(created))
    said = retry(created, Selection(ids=(of_u, first, second)))
    assert said == [f"waits behind {of_t}, which is still parked"] * 2
    assert retry(created) == []
    assert rows(created, "d.u") == [] if "RENAME" in sql else "u" not in str(created.query("SHOW TABLES FROM d"))


@pytest.fixture
def exchanged(created: Endpoint, binlog: Binlog) -> Endpoint:
    """With tables d.p, of two partitions, and d.e; each has a row."""
    columns = ["id", "v"]
    table = "CREATE TABLE {} (id INT PRIMARY KEY, v VARCHAR(100))"
    parts = " PARTITION BY RANGE (id) (PARTITION p0 VALUES LESS THAN (10), PARTITION p1 VALUES LESS THAN (20))"
    messages = binlog.ddl(table.format("p") + parts, "d.p", columns=columns)
    messages += binlog.ddl(table.format("e"), "d.e", columns=columns)
    messages += binlog.transaction(insert("d.p", {"id": 1, "v": "p"}), insert("d.e", {"id": 2, "v": "e"}))
    replay(created, messages)
    return created


EXCHANGE = "ALTER TABLE p EXCHANGE PARTITION p0 WITH TABLE e"


def test_both_tables_of_a_parked_exchange_wait_behind_it(exchanged: Endpoint, binlog: Binlog) -> None:
    messages = binlog.ddl(EXCHANGE, "d.p", columns=["id", "v"])
    messages += binlog.transaction(update("d.p", {"id": 2, "v": "of e"}, {"v": "e"}))
    messages += binlog.transaction(
        update("d.e", {"id": 1, "v": "of p"}, {"v": "p"}), insert("d.e", {"id": 3, "v": "x"})
    )
    replay(exchanged, messages, schema_changes={"alter-table": "park"})
    assert [each.kind for each in parked(exchanged)] == ["table-alter", "update", "update", "insert"]
    assert retry(exchanged) == []
    assert (rows(exchanged, "d.p"), rows(exchanged, "d.e")) == ([(2, "of e")], [(1, "of p"), (3, "x")])


@pytest.mark.parametrize("name", ["p", "e"])
def test_an_exchange_waits_for_the_parked_rows_of_both_tables(exchanged: Endpoint, binlog: Binlog, name: str) -> None:
    def refuse(action: str) -> None:
        exchanged.query(f"ALTER TABLE d.{name} {action}")

    refuse("ADD CONSTRAINT short CHECK (CHAR_LENGTH(v) < 5)")
    messages = binlog.transaction(insert(f"d.{name}", {"id": 5, "v": LONG}))
    messages += binlog.ddl(EXCHANGE, "d.p", columns=["id", "v"])
    replay(exchanged, messages)
    assert [each.kind for each in parked(exchanged)] == ["insert", "table-alter"]
    refuse("DROP CONSTRAINT short")
    assert retry(exchanged) == []
    other = "e" if name == "p" else "p"
    assert (5, LONG) in rows(exchanged, f"d.{other}")


def test_only_what_is_made_in_a_database_waits_behind_its_parked_alter(created: Endpoint, binlog: Binlog) -> None:
    messages = binlog.ddl("ALTER DATABASE d CHARACTER SET latin1", "d")
    messages += binlog.transaction(insert("d.t", {"id": 1, "v": "x"}))
    messages += binlog.ddl("ALTER TABLE t ADD w INT", "d.t", columns=["id", "v", "w"])
    messages += binlog.ddl("CREATE TABLE u (v VARCHAR(9))", "d.u", columns=["v"])
    messages += binlog.transaction(insert("d.u", {"v": "y"}), insert("d.t", {"id": 2, "v": "x", "w": 1}))
    messages += binlog.ddl("ALTER DATABASE d CHARACTER SET ascii", "d")
    replay(created, messages, schema_changes={"alter-database": "park"})
    found = parked(created)
    assert [each.kind for each in found] == ["database-alter", "table-create", "insert", "database-alter"]
    assert [each.behind for each in found] == [None, found[0].id, found[1].id, found[0].id]
    assert rows(created) == [(1, "x", None), (2, "x", 1)]
    replay(created, binlog.ddl("CREATE TABLE w (v VARCHAR(9))", "d.w", columns=["v"]))  # by a worker started anew
    assert parked(created)[-1].behind == found[-1].id
    assert retry(created) == []
    shown = {name: created.query(f"SHOW CREATE TABLE d.{name}")[0][1] for name in "uw"}
    assert ("CHARSET=latin1" in shown["u"], "CHARSET=ascii" in shown["w"]) == (True, True)
    messages = binlog.ddl("ALTER DATABASE d CHARACTER SET latin1", "d") + binlog.ddl("DROP DATABASE d", "d")
    replay(created, messages, schema_changes={"alter-database": "park"})
    assert [each.kind for each in parked(created)] == ["database-alter", "database-drop"]
    assert retry(created) == []


def test_a_row_with_a_column_that_the_target_lacks_holds_back_what_comes_of_it(
    created: Endpoint, binlog: Binlog
) -> None:
    messages = binlog.transaction(insert("d.t", {"id": 4, "c": 40, "v": "4"}))
    messages += binlog.transaction(update("d.t", {"id": 4, "v": "5"}, {"v": "4"}))
    messages += binlog.transaction(insert("d.t", {"id": 5, "v": "other"}))
    replay(created, messages)
    assert rows(created) == [(5, "other")]
    assert [each.kind for each in parked(created)] == ["insert", "update"]
    created.query("ALTER TABLE d.t ADD c INT")
    assert retry(created) == []
    assert [row[:2] for row in rows(created)] == [(4, "5"), (5, "other")]
