"""The applier: rows and checkpoint in one transaction, one owner a stream, and no guess about a lost answer."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import pytest

from pydbsync.apply import applier
from pydbsync.apply.ddl import running
from pydbsync.errors import CheckpointConflict
from pydbsync.model import COMMIT_ROW
from pydbsync.process.worker import follow
from pydbsync.source.memory import MemorySource
from tests.integration.engine import LOG, follow_source, parked, replay, settings_for
from tests.maxwell import Binlog, delete, insert, update
from tests.processes import wait_for
from tests.proxy import Proxy
from tests.servers import Endpoint

UUID = "714f9c60-e4b2-11f1-9c62-02fc00000001"
CREATE = "CREATE TABLE t (a INT, v VARCHAR(20))"
"""Without a key: what is applied twice is seen."""


@pytest.fixture
def binlog() -> Binlog:
    return Binlog(uuid=UUID)


@pytest.fixture
def table(fresh_target: Endpoint, binlog: Binlog) -> str:
    replay(fresh_target, [*binlog.ddl("CREATE DATABASE d", "d"), *binlog.ddl(CREATE, "d.t")])
    return "d.t"


def rows(target: Endpoint) -> list[tuple[Any, ...]]:
    return target.query("SELECT * FROM d.t ORDER BY a, v")


def checkpoint(target: Endpoint, stream: str = "memory") -> dict[str, Any]:
    names = (
        *("binlog_base", "binlog_file", "binlog_offset", "xoffset", "server_id", "newest_ts", "gtids"),
        *("applied", "duplicates", "epoch"),
    )
    [row] = target.query(f"SELECT {', '.join(names)} FROM pydbsync.checkpoint WHERE stream = %s", stream)
    return dict(zip(names, row, strict=True))


# -- the checkpoint --------------------------------------------------------------------------------------------------


def test_the_checkpoint_tells_the_last_place_and_what_was_counted(
    fresh_target: Endpoint, table: str, binlog: Binlog
) -> None:
    messages = binlog.transaction(*[insert(table, {"a": n, "v": "x"}) for n in range(3)])
    replay(fresh_target, messages + messages)
    found = checkpoint(fresh_target)
    assert (found["binlog_base"], found["binlog_file"], found["binlog_offset"]) == ("binlog", 1, binlog.offset)
    assert (found["xoffset"], found["server_id"], found["newest_ts"]) == (COMMIT_ROW, 11, binlog.ts)
    assert found["gtids"] == f"{UUID}:1-3"
    assert (found["applied"], found["duplicates"]) == (3, 3)
    assert len(rows(fresh_target)) == 3


def test_a_transaction_that_is_cut_goes_on_behind_its_last_row(
    fresh_target: Endpoint, table: str, binlog: Binlog
) -> None:
    messages = binlog.transaction(*[insert(table, {"a": n, "v": "x"}) for n in range(5)])
    replay(fresh_target, messages[:3], transaction_wait_s=0)
    assert checkpoint(fresh_target)["xoffset"] == 2
    replay(fresh_target, messages)
    assert [row[0] for row in rows(fresh_target)] == [0, 1, 2, 3, 4]


def test_a_checkpoint_keeps_its_transaction_and_the_servers_of_the_binlog(
    fresh_target: Endpoint, table: str, binlog: Binlog
) -> None:
    messages = binlog.transaction(*[insert(table, {"a": n, "v": "x"}) for n in range(3)])
    binlog.server_id = 12
    messages += binlog.transaction(*[insert(table, {"a": n, "v": "y"}) for n in range(3)])
    replay(fresh_target, messages[:-1], transaction_wait_s=0)
    assert fresh_target.query("SELECT open_gtid FROM pydbsync.checkpoint") == [(f"{UUID}:4",)]
    replay(fresh_target, messages)
    assert len(rows(fresh_target)) == 6
    [found] = fresh_target.query("SELECT xid, open_gtid, server_ids FROM pydbsync.checkpoint")
    assert found == (4, "", "11,12")


def test_a_state_schema_without_the_newer_columns_is_completed(
    fresh_target: Endpoint, table: str, binlog: Binlog
) -> None:
    fresh_target.query("ALTER TABLE pydbsync.checkpoint DROP COLUMN xid, DROP COLUMN open_gtid, DROP COLUMN server_ids")
    replay(fresh_target, binlog.each([insert(table, {"a": 1, "v": "x"})]))
    assert fresh_target.query("SELECT xid FROM pydbsync.checkpoint") == [(3,)]


def test_streams_have_checkpoints_of_their_own(fresh_target: Endpoint, table: str) -> None:
    one, other = Binlog(base="one"), Binlog(base="other")
    replay(fresh_target, one.each([insert(table, {"a": 1, "v": "one"})]), stream="s1")
    replay(fresh_target, other.each([insert(table, {"a": 2, "v": "other"})]), stream="S1")
    assert (checkpoint(fresh_target, "s1")["binlog_base"], checkpoint(fresh_target, "S1")["binlog_base"]) == (
        "one",
        "other",
    )
    assert rows(fresh_target) == [(1, "one"), (2, "other")]


def test_a_new_stream_is_applied_and_said(
    fresh_target: Endpoint, table: str, binlog: Binlog, caplog: pytest.LogCaptureFixture
) -> None:
    replay(fresh_target, binlog.each([insert(table, {"a": n, "v": "x"}) for n in range(3)]))
    rebuilt = Binlog(ts=binlog.ts + 60)
    messages = rebuilt.each([insert(table, {"a": n, "v": "rebuilt"}) for n in range(3)])
    status = replay(fresh_target, messages)
    assert status.new_streams == 1
    assert "a new stream begins at binlog.000001:104" in caplog.text
    assert len(rows(fresh_target)) == 6
    assert replay(fresh_target, messages).duplicates == 3


# -- one owner -------------------------------------------------------------------------------------------------------


class Hooked(MemorySource):
    """Calls a function when the first commit is acknowledged."""

    def __init__(self, bodies: list[bytes], hook: Callable[[], object], *, block: int = 1) -> None:
        super().__init__(bodies, stream="memory", block=block)
        self._hook: Callable[[], object] | None = hook
        self.opened = 0

    def open(self, *arguments: Any, **options: Any) -> None:
        self.opened += 1
        super().open(*arguments, **options)

    def acknowledge(self, tag: int) -> None:
        super().acknowledge(tag)
        if self._hook is not None:
            hook, self._hook = self._hook, None
            hook()


def test_a_worker_that_was_replaced_can_commit_nothing(fresh_target: Endpoint, table: str, binlog: Binlog) -> None:
    messages = binlog.each([insert(table, {"a": n, "v": "x"}) for n in range(4)])

    def replaced() -> None:
        fresh_target.query("UPDATE pydbsync.checkpoint SET owner = 'another', owner_info = 'pid 1 on elsewhere'")

    source = Hooked(messages, replaced)
    with pytest.raises(CheckpointConflict, match=r"another worker \(pid 1 on elsewhere\) has taken over 'memory'"):
        follow_source(fresh_target, source, batch_rows=1)
    assert source.acknowledged == len(rows(fresh_target)) < 4
    replay(fresh_target, messages)
    assert [row[0] for row in rows(fresh_target)] == [0, 1, 2, 3]


def test_a_worker_whose_row_was_removed_can_commit_nothing(fresh_target: Endpoint, table: str, binlog: Binlog) -> None:
    source = Hooked(
        binlog.each([insert(table, {"a": n, "v": "x"}) for n in range(4)]),
        lambda: fresh_target.query("DELETE FROM pydbsync.checkpoint"),
    )
    with pytest.raises(CheckpointConflict):
        follow_source(fresh_target, source, batch_rows=1)
    assert source.acknowledged == len(rows(fresh_target)) < 4


def test_a_schema_change_of_a_worker_that_was_replaced_does_not_run(
    fresh_target: Endpoint, table: str, binlog: Binlog
) -> None:
    messages = binlog.each([insert(table, {"a": 1, "v": "x"})])
    messages += binlog.ddl("ALTER TABLE t ADD c INT", table, columns=["a", "v", "c"])
    source = Hooked(messages, lambda: fresh_target.query("UPDATE pydbsync.checkpoint SET owner = 'another'"))
    with pytest.raises(CheckpointConflict):
        follow_source(fresh_target, source, batch_rows=1)
    assert "`c`" not in fresh_target.query("SHOW CREATE TABLE d.t")[0][1]


def test_a_stand_by_waits_for_the_lock_and_not_as_a_consumer(
    fresh_target: Endpoint, table: str, binlog: Binlog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger=LOG.name)
    settings = settings_for(fresh_target)
    first, stand_by = Hooked([], lambda: None), Hooked([], lambda: None)
    stops = (threading.Event(), threading.Event())
    threads = [
        threading.Thread(
            daemon=True,
            target=follow,
            args=(settings, source),
            kwargs={"stop": stop, "send": lambda status: None, "log": LOG},
        )
        for source, stop in zip((first, stand_by), stops, strict=True)
    ]
    try:
        threads[0].start()
        wait_for(lambda: first.opened, what="the first worker")
        threads[1].start()
        wait_for(lambda: "waiting for memory: it is owned by pid" in caplog.text, what="the stand-by")
        assert stand_by.opened == 0
        stops[0].set()
        wait_for(lambda: stand_by.opened, what="the stand-by's turn")
        assert (first.opened, stand_by.opened) == (1, 1)
    finally:
        for stop in stops:
            stop.set()
        for thread in threads:
            if thread.ident:
                thread.join()
    assert checkpoint(fresh_target)["epoch"] >= 3


# -- faults ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def proxied(fresh_target: Endpoint, make_proxy: Callable[[int], Proxy]) -> tuple[Endpoint, Proxy]:
    proxy = make_proxy(fresh_target.port)
    return Endpoint(fresh_target.brand, proxy.host, proxy.port, fresh_target.user, fresh_target.password), proxy


@pytest.mark.parametrize("is_parked", [False, True], ids=["rows", "parked rows"])
def test_a_commit_whose_answer_was_lost_is_not_made_twice(
    proxied: tuple[Endpoint, Proxy],
    fresh_target: Endpoint,
    table: str,
    binlog: Binlog,
    monkeypatch: pytest.MonkeyPatch,
    is_parked: bool,
) -> None:
    through, proxy = proxied
    text = "x" * 40 if is_parked else "x"
    messages = binlog.transaction(insert(table, {"a": 1, "v": text}), insert(table, {"a": 2, "v": "y"}))
    later = binlog.each([delete(table, {"a": 1, "v": text}), insert(table, {"a": 3, "v": "z"})])
    cutters: list[threading.Thread] = []

    def cut() -> None:
        wait_for(lambda: len(rows(fresh_target)) >= 1, what="the commit")
        proxy.resume()
        proxy.cut()

    def at(name: str) -> None:
        if name == "before-commit" and not cutters:
            proxy.swallow("to_client")
            cutters.append(threading.Thread(daemon=True, target=cut))
            cutters[0].start()

    monkeypatch.setattr(applier, "kill_point", at)
    status = replay(through, messages + later, block=2, batch_rows=2)
    assert cutters
    cutters[0].join()
    assert status.duplicates == 0
    if is_parked:
        assert rows(fresh_target) == [(2, "y"), (3, "z")]
        first, behind = parked(fresh_target)
        assert (first.code, behind.kind, behind.behind) == (1406, "delete", first.id)
        assert status.parked == 2
    else:
        assert rows(fresh_target) == [(2, "y"), (3, "z")]
        assert parked(fresh_target) == []


def test_a_connection_that_is_cut_in_the_middle_of_a_batch_costs_nothing(
    proxied: tuple[Endpoint, Proxy], fresh_target: Endpoint, table: str, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    through, proxy = proxied
    cuts = iter([True, False, True, True])

    def at(name: str) -> None:
        if name == "mid-batch" and next(cuts, False):
            proxy.cut()

    monkeypatch.setattr(running, "kill_point", at)
    status = replay(through, binlog.each([insert(table, {"a": n, "v": "x"}) for n in range(9)]), block=3, batch_rows=3)
    assert next(cuts, None) is None, "it was not cut in the middle"
    assert [row[0] for row in rows(fresh_target)] == list(range(9))
    assert (status.applied, status.duplicates) == (9, 0)


def test_a_deadlock_or_a_lock_that_is_held_is_waited_for(fresh_target: Endpoint, binlog: Binlog) -> None:
    messages = binlog.ddl("CREATE DATABASE d", "d") + binlog.ddl("CREATE TABLE k (id INT PRIMARY KEY, v INT)", "d.k")
    replay(fresh_target, messages + binlog.each([insert("d.k", {"id": 1, "v": 1})]))
    with fresh_target.connect(autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("SELECT * FROM d.k WHERE id = 1 FOR UPDATE")
        change = binlog.transaction(update("d.k", {"id": 1, "v": 2}, {"v": 1}))
        source = MemorySource(change, stream="memory")
        worker = threading.Thread(daemon=True, target=follow_source, args=(fresh_target, source))
        worker.start()
        # innodb_trx is a copy that is not renewed while somebody reads it more often than every 0.1 s.
        waiting = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'REPLACE INTO%'"
        wait_for(lambda: fresh_target.query(waiting)[0][0], what="the worker to wait for the row")
        for (thread,) in fresh_target.query(
            "SELECT id FROM information_schema.processlist WHERE info LIKE 'REPLACE INTO%'"
        ):
            fresh_target.query(f"KILL QUERY {thread}")
        other.rollback()
    worker.join()
    assert fresh_target.query("SELECT * FROM d.k") == [(1, 2)]
    assert parked(fresh_target) == []


# -- tables without transactions -------------------------------------------------------------------------------------


@pytest.mark.parametrize("refused", ["d.m", "d.i"])
def test_a_refused_row_does_not_repeat_what_a_table_without_transactions_has(
    fresh_target: Endpoint, binlog: Binlog, refused: str
) -> None:
    messages = binlog.ddl("CREATE DATABASE d", "d")
    messages += binlog.ddl("CREATE TABLE m (a INT, v VARCHAR(3)) ENGINE=MyISAM", "d.m")
    messages += binlog.ddl("CREATE TABLE i (a INT, v VARCHAR(3)) ENGINE=InnoDB", "d.i")
    steps = [insert(name, {"a": n, "v": "x"}) for n in range(2) for name in ("d.m", "d.i")]
    wrong = insert(refused, {"a": 9, "v": "too long"})
    messages += binlog.each([*steps, wrong, *[delete(name, {"a": 0, "v": "x"}) for name in ("d.m", "d.i")]])
    replay(fresh_target, messages)
    assert fresh_target.query("SELECT * FROM d.m ORDER BY a") == [(1, "x")]
    assert fresh_target.query("SELECT * FROM d.i ORDER BY a") == [(1, "x")]
    [found] = parked(fresh_target)
    assert (found.table, found.code) == (refused, 1406)
