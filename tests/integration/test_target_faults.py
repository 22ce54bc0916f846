"""A target that is silent, slow, read-only or full is waited for; an answer that was lost is never guessed."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import msgspec
import pytest

from pydbsync.apply import applier, connection
from pydbsync.apply.ddl import running, schema_change, schema_steps
from pydbsync.apply.origin import StreamOrigin
from pydbsync.errors import ConfigError, Stopped
from pydbsync.process.worker import follow
from pydbsync.source.amqp import AmqpSource
from pydbsync.source.memory import MemorySource
from tests.integration.amqp.steps import amqp_settings, queue_settings
from tests.integration.engine import LOG, parked, replay, settings_for
from tests.maxwell import Binlog, insert
from tests.processes import wait_for
from tests.proxy import Direction, Proxy
from tests.servers import Endpoint, Vhost

pytestmark = pytest.mark.kept_state

CREATE = "CREATE TABLE t (a INT, v LONGTEXT)"
"""Without a key: what is applied twice is seen."""
USER, PASSWORD = "limited", "limited"


@pytest.fixture
def table(fresh_target: Endpoint, binlog: Binlog) -> str:
    replay(fresh_target, [*binlog.ddl("CREATE DATABASE d", "d"), *binlog.ddl(CREATE, "d.t")])
    return "d.t"


@pytest.fixture
def limited(fresh_target: Endpoint, table: str) -> Iterator[Endpoint]:
    """A user whom a read-only server refuses."""
    fresh_target.query(f"CREATE OR REPLACE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'")
    for database in ("d", "pydbsync"):
        fresh_target.query(f"GRANT ALL ON {database}.* TO {USER}@'%'")
    yield replace(fresh_target, user=USER, password=PASSWORD)
    fresh_target.query("SET GLOBAL read_only = 0")
    fresh_target.query(f"DROP USER {USER}@'%'")


def numbers(target: Endpoint) -> list[int]:
    return [number for (number,) in target.query("SELECT a FROM d.t ORDER BY a")]


def changes(binlog: Binlog, count: int, *, first: int = 0) -> list[bytes]:
    return binlog.each(insert("d.t", {"a": number, "v": "x"}) for number in range(first, first + count))


@contextmanager
def meanwhile(work: Callable[[], object]) -> Iterator[None]:
    """Do it in another thread; its failure is ours."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as exc:
            failures.append(exc)

    thread = threading.Thread(daemon=True, target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    if failures:
        raise failures[0]


@pytest.mark.parametrize("point", ["mid-batch", "before-commit"])
@pytest.mark.parametrize("directions", [("to_client",), ("to_server",), ()], ids=["answers", "requests", "both"])
def test_a_line_on_which_nothing_comes_is_given_up_and_the_outcome_read_back(
    fresh_target: Endpoint,
    table: str,
    binlog: Binlog,
    make_proxy: Callable[[int], Proxy],
    monkeypatch: pytest.MonkeyPatch,
    point: str,
    directions: tuple[Direction, ...],
) -> None:
    proxy = make_proxy(fresh_target.port)
    begun = threading.Event()

    def at(name: str) -> None:
        if name == point and not begun.is_set():
            proxy.swallow(*directions)
            begun.set()

    def mend() -> None:
        assert begun.wait(30)
        accepted = proxy.accepted
        wait_for(lambda: proxy.accepted > accepted, what="a second connection that looks at the statement")
        proxy.resume()

    for module in (applier, running):
        monkeypatch.setattr(module, "kill_point", at)
    monkeypatch.setattr(connection, "_LOOK_S", 1.0)  # the second connection's greeting was swallowed too
    with meanwhile(mend):
        # The server hangs up on the dead connection, and with it gives back the lock, after lock_timeout_s.
        status = replay(
            replace(fresh_target, port=proxy.port, server=None), changes(binlog, 6), block=3, batch_rows=3,
            statement_timeout_s=1, lock_timeout_s=2,
        )  # fmt: skip
    assert numbers(fresh_target) == list(range(6))
    assert (status.applied, status.duplicates) == (6, 0)
    assert parked(fresh_target) == []


def test_a_slow_statement_is_waited_for_beyond_the_time_limit(
    fresh_target: Endpoint, table: str, binlog: Binlog, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    waiting = (
        "SELECT time_ms FROM information_schema.processlist WHERE state LIKE '%%metadata lock%%' AND time_ms > 2500"
    )
    if fresh_target.brand == "mysql":
        waiting = "SELECT time FROM information_schema.processlist WHERE state LIKE '%%metadata lock%%' AND time > 2"
    with fresh_target.connect() as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLES d.t WRITE")

        def unlock() -> None:
            wait_for(lambda: fresh_target.query(waiting), what="a statement that waits for long")
            cursor.execute("UNLOCK TABLES")

        with meanwhile(unlock):
            status = replay(fresh_target, changes(binlog, 3), statement_timeout_s=1)
    assert numbers(fresh_target) == [0, 1, 2]
    assert status.applied == 3
    assert [record.getMessage()[:30] for record in caplog.records].count("the target works on a statemen") == 1
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.mariadb
def test_a_commit_that_a_read_only_target_refuses_is_made_once(
    limited: Endpoint, fresh_target: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The refused COMMIT leaves its transaction open: the next START TRANSACTION of the session would commit it."""
    refused = threading.Event()

    def at(name: str) -> None:
        if name == "before-commit" and not refused.is_set():
            fresh_target.query("SET GLOBAL read_only = 1")
            refused.set()

    def mend() -> None:
        assert refused.wait(30)
        gone = "SELECT COUNT(*) FROM information_schema.innodb_trx WHERE trx_rows_modified > 0"
        wait_for(lambda: fresh_target.query(gone)[0][0] == 0, what="the end of the refused transaction")
        fresh_target.query("SET GLOBAL read_only = 0")

    monkeypatch.setattr(applier, "kill_point", at)
    with meanwhile(mend):
        status = replay(limited, changes(binlog, 3))
    assert numbers(fresh_target) == [0, 1, 2]
    assert (status.applied, status.parked) == (3, 0)


def test_a_session_commits_by_itself_also_where_the_server_would_not(fresh_target: Endpoint) -> None:
    """MySQL's greeting says that it would."""
    fresh_target.query("SET GLOBAL autocommit = 0")
    try:
        opened = connection.Connection(fresh_target.db_info)
    finally:
        fresh_target.query("SET GLOBAL autocommit = 1")
    assert opened.value("SELECT @@autocommit") == 1
    opened.close()


@pytest.mark.mariadb
def test_a_read_only_target_is_waited_for_with_one_line(
    limited: Endpoint,
    fresh_target: Endpoint,
    binlog: Binlog,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    messages = [*binlog.ddl("ALTER TABLE t ADD b INT", "d.t", columns=("a", "v", "b")), *changes(binlog, 3)]
    refusing = threading.Event()

    def at(name: str) -> None:
        if name == "after-intent":
            fresh_target.query("SET GLOBAL read_only = 1")
            refusing.set()

    tries = []

    def run_statement(*arguments: Any, **keywords: Any) -> schema_change.RanPart:
        tries.append(arguments)
        return schema_change.run_statement(*arguments, **keywords)

    def mend() -> None:
        assert refusing.wait(30)
        try:
            wait_for(lambda: len(tries) > 3, what="further tries")
        finally:
            fresh_target.query("SET GLOBAL read_only = 0")

    monkeypatch.setattr(schema_steps, "kill_point", at)
    monkeypatch.setattr(schema_steps, "run_statement", run_statement)
    with meanwhile(mend):
        replay(limited, messages)
    assert numbers(fresh_target) == [0, 1, 2]
    warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == 1, warnings
    assert "read-only" in warnings[0]
    assert parked(fresh_target) == []


def test_ddl_is_known_to_be_due_although_others_have_moved_the_counter_meanwhile(
    fresh_target: Endpoint, binlog: Binlog, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SHOW CREATE TABLE says of AUTO_INCREMENT is no sign that the statement has run."""
    create = "CREATE TABLE t (id INT AUTO_INCREMENT PRIMARY KEY, v INT)"
    replay(fresh_target, [*binlog.ddl("CREATE DATABASE d", "d"), *binlog.ddl(create, "d.t")])
    alter = binlog.ddl("ALTER TABLE t ADD w INT", "d.t", columns=("id", "v", "w"))

    class Death(BaseException):
        pass

    def at(name: str) -> None:
        if name == "after-intent":
            raise Death

    with monkeypatch.context() as patch:
        patch.setattr(schema_steps, "kill_point", at)
        with pytest.raises(Death):
            replay(fresh_target, alter)
    fresh_target.query("INSERT INTO d.t (v) VALUES (1), (2), (3)")
    replay(fresh_target, alter)
    columns = fresh_target.query("SHOW COLUMNS FROM d.t")
    assert [column[0] for column in columns] == ["id", "v", "w"]


def test_heartbeats_are_kept_during_a_long_schema_change_and_nothing_comes_again(
    fresh_target: Endpoint, table: str, binlog: Binlog, vhost: Vhost, caplog: pytest.LogCaptureFixture
) -> None:
    """RabbitMQ gives up a silent connection after two heartbeats of one second; the ALTER waits for five."""
    caplog.set_level(logging.INFO)
    vhost.declare("q")
    vhost.publish(changes(binlog, 10))
    vhost.publish(binlog.ddl("ALTER TABLE t ADD b INT", "d.t", columns=("a", "v", "b")))
    vhost.publish(changes(binlog, 10, first=10))
    queue = queue_settings(queue="q", routing_keys=("#",))
    source = AmqpSource(
        amqp_settings(vhost, heartbeat_s=1), queue, prefetch=100, read_ahead_bytes=2**20, log=LOG
    )  # fmt: skip
    waiting = "SELECT 1 FROM information_schema.processlist WHERE info LIKE 'ALTER%' AND state LIKE '%metadata lock%'"
    statuses: list[Any] = []
    with fresh_target.connect(autocommit=False) as other, other.cursor() as cursor:
        cursor.execute("SELECT * FROM d.t")  # a transaction that has read the table holds back its ALTER

        def let_go() -> None:
            wait_for(lambda: fresh_target.query(waiting), what="an ALTER that waits")
            since = time.monotonic()
            wait_for(lambda: time.monotonic() - since > 5, what="several heartbeats")
            assert fresh_target.query(waiting)
            assert vhost.consumers("q") == 1
            other.rollback()

        with meanwhile(let_go):
            settings = settings_for(fresh_target, statement_timeout_s=1)
            statuses.append(
                follow(
                    settings,
                    source,
                    stop=threading.Event(),
                    send=lambda status: None,
                    log=LOG,
                    until_drained=True,
                )
            )
    assert numbers(fresh_target) == list(range(20))
    assert statuses[0].duplicates == 0
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("body", ["rows", "ddl"])
def test_a_statement_that_waits_is_given_up_when_the_worker_is_told_to_stop(
    fresh_target: Endpoint, table: str, binlog: Binlog, body: str
) -> None:
    """Whoever is not gone four seconds later is killed, and its statement goes on without it."""
    messages = changes(binlog, 3)
    if body == "ddl":
        messages = binlog.ddl("ALTER TABLE t ADD b INT", "d.t", columns=("a", "v", "b"))
    waiting = "SELECT id FROM information_schema.processlist WHERE state LIKE '%%metadata lock%%'"
    stop = threading.Event()
    with fresh_target.connect() as other, other.cursor() as cursor:
        cursor.execute("LOCK TABLES d.t WRITE")

        def told_to_stop() -> None:
            wait_for(lambda: fresh_target.query(waiting), what="a statement that waits")
            stop.set()

        with meanwhile(told_to_stop), pytest.raises(Stopped):
            follow(
                settings_for(fresh_target), MemorySource(messages, stream="memory", block=10), stop=stop,
                send=lambda status: None, log=LOG, until_drained=True,
            )  # fmt: skip
        assert fresh_target.query(waiting) == []
        cursor.execute("UNLOCK TABLES")
    assert numbers(fresh_target) == []
    replay(fresh_target, messages)
    assert numbers(fresh_target) == ([0, 1, 2] if body == "rows" else [])
    assert len(fresh_target.query("SHOW COLUMNS FROM d.t")) == (2 if body == "rows" else 3)


class FailOver:
    """Two servers with the same tables, the second one a replica, and an address that moves from one to the other."""

    def __init__(self, first: Endpoint, second: Endpoint, proxy: Proxy) -> None:
        self.first, self.second, self._proxy = first, second, proxy
        self.address = replace(first, user=USER, password=PASSWORD, port=proxy.port, server=None)
        self._begun = Binlog()
        self.messages = [*self._begun.ddl("CREATE DATABASE d", "d"), *self._begun.ddl(CREATE, "d.t")]
        for server in (first, second):
            server.query("SET GLOBAL read_only = 0")
            server.drop_databases()
            replay(server, self.messages)
            server.query(f"CREATE OR REPLACE USER {USER}@'%' IDENTIFIED BY '{PASSWORD}'")
            for database in ("d", "pydbsync"):
                server.query(f"GRANT ALL ON {database}.* TO {USER}@'%'")

    def replicate(self) -> None:
        """The second server has what the first has."""
        for table in ("d.t", "pydbsync.checkpoint", "pydbsync.stream_origin"):
            rows = self.first.query(f"SELECT * FROM {table}")
            self.second.query(f"DELETE FROM {table}")
            for row in rows:
                self.second.query(f"INSERT INTO {table} VALUES ({', '.join(['%s'] * len(row))})", *row)

    def read_only(self) -> None:
        self.first.query("SET GLOBAL read_only = 1")

    def move(self) -> None:
        self._proxy.upstream = (self.second.host, self.second.port)

    def end(self) -> None:
        for server in (self.first, self.second):
            server.query("SET GLOBAL read_only = 0")
            server.query(f"DROP USER IF EXISTS {USER}@'%'")


@pytest.fixture
def fail_over(mariadb: Endpoint, mariadb_source: Endpoint, make_proxy: Callable[[int], Proxy]) -> Iterator[FailOver]:
    pair = FailOver(mariadb, mariadb_source, make_proxy(mariadb.port))
    yield pair
    pair.end()


@pytest.mark.parametrize("lost", [0, 2])
def test_an_address_that_moves_while_the_old_server_stays_read_only_is_followed(
    fail_over: FailOver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, lost: int
) -> None:
    """The new server may lack the last transactions: then it is said, and nothing that comes again is left out."""
    refused = threading.Event()
    commits = 0

    def at(name: str) -> None:
        nonlocal commits
        if name == "before-commit" and not refused.is_set():
            commits += 1
            if commits == 4 - lost:
                fail_over.replicate()
            if commits == 4:
                fail_over.read_only()
                refused.set()

    def mend() -> None:
        assert refused.wait(30)
        wait_for(lambda: "read-only" in caplog.text, what="the refusal")
        fail_over.move()

    monkeypatch.setattr(applier, "kill_point", at)
    binlog = fail_over._begun
    source = MemorySource(changes(binlog, 6), stream="memory", block=1)
    states: list[str] = []
    with meanwhile(mend):
        follow(
            settings_for(fail_over.address, batch_rows=1), source, stop=threading.Event(),
            send=lambda status: states.append(status.state), log=LOG, until_drained=True,
        )  # fmt: skip
    assert numbers(fail_over.first) == [0, 1, 2]
    assert numbers(fail_over.second) == [0, 1, 2, 3, 4, 5] if not lost else [0, 3, 4, 5]
    assert caplog.text.count("the target has gone back") == bool(lost)
    assert "the target is read-only" in states
    assert states[-2:] == ["following", "stopped"]


def test_a_worker_that_starts_behind_a_fail_over_says_so_once(
    fail_over: FailOver, caplog: pytest.LogCaptureFixture
) -> None:
    """It has not seen what was committed last, but at which server."""
    origin = StreamOrigin(queue="memory", vhost="/", cluster="rabbit@one", address="one:5672")
    messages = changes(fail_over._begun, 4)

    def start(*bodies: bytes, origin: StreamOrigin = origin) -> None:
        follow(
            settings_for(fail_over.address), MemorySource(bodies, stream="memory"), stop=threading.Event(),
            send=lambda status: None, log=LOG, until_drained=True, origin=origin,
        )  # fmt: skip

    start(messages[0])
    start(messages[1])
    fail_over.replicate()
    start(messages[2])  # the second server never gets it
    assert "another server" not in caplog.text
    fail_over.move()
    start(messages[3])
    assert numbers(fail_over.second) == [0, 1, 3]
    assert caplog.text.count("the target is another server") == 1
    assert f"is missing behind {json.loads(messages[1])['position']}" in caplog.text
    start()
    assert caplog.text.count("the target is another server") == 1
    assert "they are taken for one" not in caplog.text
    for _ in range(2):  # maybe a second broker of the first one's name
        start(origin=msgspec.structs.replace(origin, address="two:5672"))
    assert (
        caplog.text.count("at one:5672, and is now from queue 'memory' in vhost '/' of RabbitMQ rabbit@one at two") == 1
    )


LOCKS = {
    "PASSWORD EXPIRE": ("the password has expired", "IDENTIFIED BY 'limited' PASSWORD EXPIRE NEVER"),
    "ACCOUNT LOCK": ("the account is locked", "ACCOUNT UNLOCK"),
    "IDENTIFIED BY 'other'": ("user or password is wrong", "IDENTIFIED BY 'limited'"),
}


@pytest.mark.parametrize("lock", LOCKS)
def test_a_user_who_is_locked_out_is_a_wrong_setting_at_the_start_and_waited_for_later(
    fresh_target: Endpoint,
    table: str,
    binlog: Binlog,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    lock: str,
) -> None:
    said, unlock = LOCKS[lock]
    user = f"{USER}@'%'"
    fresh_target.query(f"DROP USER IF EXISTS {user}")
    fresh_target.query(f"CREATE USER {user} IDENTIFIED BY '{PASSWORD}'")
    for database in ("d", "pydbsync"):
        fresh_target.query(f"GRANT ALL ON {database}.* TO {user}")
    refused = threading.Event()

    def at(name: str) -> None:
        if name == "before-commit" and not refused.is_set():
            fresh_target.query(f"ALTER USER {user} {lock}")
            for (number,) in fresh_target.query("SELECT id FROM information_schema.processlist WHERE user = %s", USER):
                fresh_target.query(f"KILL {number}")
            refused.set()

    def mend() -> None:
        assert refused.wait(30)
        try:
            wait_for(lambda: "the target lets nobody in, waiting" in caplog.text, what="the refusal")
            with pytest.raises(ConfigError, match=said):
                replay(user_s, [], stream="other")
        finally:
            fresh_target.query(f"ALTER USER {user} {unlock}")

    user_s = replace(fresh_target, user=USER, password=PASSWORD)
    monkeypatch.setattr(applier, "kill_point", at)
    try:
        with meanwhile(mend):
            replay(user_s, changes(binlog, 3))
        assert numbers(fresh_target) == [0, 1, 2]
        assert said in caplog.text
    finally:
        fresh_target.query(f"DROP USER {user}")


class _Counting(MemorySource):
    """Counts what is given back, or does not."""

    counts = True

    def finish(self) -> bool:
        return self.counts and self._acknowledged < self._taken


@pytest.mark.parametrize("counts", [True, False])
def test_an_orderly_stop_applies_what_was_taken_from_a_queue_that_counts_what_is_given_back(
    fresh_target: Endpoint, table: str, binlog: Binlog, monkeypatch: pytest.MonkeyPatch, counts: bool
) -> None:
    source, stop = _Counting(changes(binlog, 12), stream="memory", block=6), threading.Event()
    source.counts = counts
    monkeypatch.setattr(applier, "kill_point", lambda name: stop.set() if name == "before-commit" else None)
    follow(
        settings_for(fresh_target, batch_rows=2), source, stop=stop, send=lambda status: None, log=LOG,
        until_drained=True,
    )  # fmt: skip
    assert len(numbers(fresh_target)) == source.acknowledged
    assert (source.acknowledged % 6 == 0) is counts
