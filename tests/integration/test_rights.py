"""docs/rights.md: a user with just these grants works, and without any of them something fails."""

from __future__ import annotations

import json
import logging
import threading
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pydbsync.config.settings import AmqpSettings, QueueSettings, Secret
from pydbsync.errors import ApplyError, ConfigError, OperationError, PydbsyncError, StopError
from pydbsync.ops.doctor import rights
from pydbsync.ops.heartbeat import run_heartbeat
from pydbsync.source.link import BrokerLink
from pydbsync.source.topology import declare
from tests.comparing import compare, on_both, run_sql
from tests.comparing import settings_for as ends_of
from tests.integration.captured import Capture, rows
from tests.integration.engine import parked, replay
from tests.maxwell import Binlog, delete, insert, update
from tests.processes import REPOSITORY
from tests.servers import Endpoint, Vhost

LOG = logging.getLogger("tests.rights")
PAGE = (REPOSITORY / "docs" / "rights.md").read_text(encoding="utf-8")
Messages = Callable[[Binlog], list[bytes]]

TARGET: dict[str, tuple[str, Messages]] = {
    "SELECT": ("plain", lambda binlog: binlog.transaction(delete("shop.t", {"id": 1, "v": 1}))),
    "INSERT": ("replace", lambda binlog: binlog.transaction(insert("shop.t", {"id": 5, "v": 1}))),
    "UPDATE": ("plain", lambda binlog: binlog.transaction(update("shop.t", {"id": 1, "v": 2}, {"v": 1}))),
    "DELETE": ("replace", lambda binlog: binlog.transaction(delete("shop.t", {"id": 1, "v": 1}))),
    "CREATE": ("replace", lambda binlog: binlog.ddl("CREATE TABLE shop.n (id INT)", "shop.n", columns=["id"])),
    "DROP": ("replace", lambda binlog: binlog.ddl("DROP TABLE shop.t", "shop.t")),
    "ALTER": (
        "replace",
        lambda binlog: binlog.ddl("ALTER TABLE shop.t ADD w INT", "shop.t", columns=["id", "v", "w"], key=["id"]),
    ),
    "INDEX": (
        "replace",
        lambda binlog: binlog.ddl(
            "CREATE INDEX i ON shop.t (v)", "shop.t", kind="table-alter", columns=["id", "v"], key=["id"]
        ),
    ),
    "REFERENCES": (
        "replace",
        lambda binlog: binlog.ddl(
            "ALTER TABLE shop.t ADD CONSTRAINT f FOREIGN KEY (v) REFERENCES shop.p (id)", "shop.t",
            columns=["id", "v"], key=["id"],
        ),
    ),
}  # fmt: skip
"""For each right what needs it, and the apply_mode in which it does."""
TARGET_RIGHTS = (*rights.ROWS, *rights.SCHEMA_CHANGES)


def granted(end: Endpoint, *grants: str) -> Endpoint:
    """A new user with these grants alone, such as "SELECT ON shop.*"."""
    user = f"u{uuid.uuid4().hex[:10]}"
    run_sql(end, [f"CREATE USER {user}@'%' IDENTIFIED BY 'secret'"])
    run_sql(end, [f"GRANT {grant} TO {user}@'%'" for grant in grants])
    return replace(end, user=user, password="secret", server=None)


@pytest.fixture
def users(source: Endpoint, target: Endpoint) -> Iterator[None]:
    """Removes the users afterwards."""
    yield
    for end in (source, target):
        for user, host in end.query("SELECT user, host FROM mysql.user WHERE user RLIKE '^u[0-9a-f]{10}$'"):
            run_sql(end, [f"DROP USER '{user}'@'{host}'"])


@pytest.fixture
def shop(fresh_target: Endpoint, users: None) -> Endpoint:
    fresh_target.query("CREATE DATABASE shop")
    run_sql(
        fresh_target,
        ["CREATE TABLE p (id INT PRIMARY KEY)", "INSERT INTO p VALUES (1)",
         "CREATE TABLE t (id INT PRIMARY KEY, v INT)", "INSERT INTO t VALUES (1, 1)"],
        database="shop",
    )  # fmt: skip
    return fresh_target


def refusal(end: Endpoint, messages: Sequence[bytes], owner: Endpoint, *, apply_mode: str) -> str:
    """What the user is told, or why what it cannot do is parked; empty where all is well."""
    try:
        replay(end, messages, apply_mode=apply_mode)
    except (ApplyError, ConfigError, StopError) as exc:
        return str(exc)
    return " ".join(each.reason for each in parked(owner))


def replayer(shop: Endpoint, database: Sequence[str], state: Sequence[str]) -> Endpoint:
    return granted(shop, f"{', '.join(database)} ON shop.*", f"{', '.join(state)} ON pydbsync.*")


@pytest.mark.parametrize("right", TARGET)
def test_each_right_at_the_target_is_needed_and_all_are_enough(shop: Endpoint, binlog: Binlog, right: str) -> None:
    mode, messages = TARGET[right]
    bodies = messages(binlog)
    without = [each for each in TARGET_RIGHTS if each != right]
    is_needed = right != "REFERENCES" or shop.brand == "mysql"  # MariaDB does not check that one
    assert (right in refusal(replayer(shop, without, rights.STATE), bodies, shop, apply_mode=mode)) is is_needed
    run_sql(shop, ["DROP DATABASE IF EXISTS pydbsync"])
    if not is_needed:
        return
    assert refusal(replayer(shop, TARGET_RIGHTS, rights.STATE), bodies, shop, apply_mode=mode) == ""


@pytest.mark.parametrize("right", ["SELECT", "INSERT", "UPDATE", "DELETE", "CREATE"])
def test_each_right_on_the_state_schema_is_needed(shop: Endpoint, binlog: Binlog, right: str) -> None:
    """ALTER and INDEX are for a start that brings an older one up to date: tests/integration/test_state_schema.py."""
    bodies = [
        *binlog.transaction(insert("shop.t", {"id": 5, "v": 1})),
        *binlog.bootstrap("shop.t", [{"id": 6, "v": 1}]),
    ]
    if right != "CREATE":
        replay(shop, binlog.transaction(insert("shop.t", {"id": 4, "v": 1})))
    user = replayer(shop, TARGET_RIGHTS, [each for each in rights.STATE if each != right])
    assert right in refusal(user, bodies, shop, apply_mode="replace")


def test_without_drop_on_the_state_schema_nothing_is_proven_and_that_is_said(
    shop: Endpoint, binlog: Binlog, caplog: pytest.LogCaptureFixture
) -> None:
    replay(shop, binlog.transaction(insert("shop.t", {"id": 4, "v": 1})))
    user = replayer(shop, TARGET_RIGHTS, [each for each in rights.STATE if each != "DROP"])
    names, exchanged = ["id", "v"], ["id", "v", "c"]
    for table in ("a", "b"):
        replay(user, binlog.ddl(f"CREATE TABLE shop.{table} (id INT)", f"shop.{table}", columns=["id"]))
    replay(
        user, binlog.ddl("RENAME TABLE shop.a TO shop.x, shop.b TO shop.a, shop.x TO shop.b", "shop.a", columns=["id"])
    )
    replay(user, binlog.ddl("ALTER TABLE shop.t CHANGE id v INT, CHANGE v id INT FIRST", "shop.t", columns=names))
    create = "CREATE TABLE `shop`.`_t_new` (\n  `id` int,\n  `v` int NOT NULL,\n  PRIMARY KEY (`v`))"
    bodies = binlog.ddl(create, "shop._t_new", columns=names)
    bodies += binlog.ddl("ALTER TABLE `shop`.`_t_new` ADD c INT", "shop._t_new", columns=exchanged)
    bodies += binlog.transaction(*(insert("shop._t_new", {"id": 1, "v": n, "c": None}) for n in (1, 4)))
    swap = "RENAME TABLE `shop`.`t` TO `shop`.`_t_old`, `shop`.`_t_new` TO `shop`.`t`"
    bodies += binlog.ddl(swap, "shop._t_old", was="shop.t", columns=names)
    replay(user, bodies)
    assert parked(shop) == []
    assert shop.query("SELECT c FROM shop.t") == [(None,), (None,)]
    assert "are not compared with those of shop.t, since the user may not make and drop" in caplog.text
    refused = binlog.ddl("ALTER TABLE shop.t ADD c INT, ADD e INT", "shop.t", columns=[*exchanged, "e"])
    assert "DROP" in refusal(user, refused, shop, apply_mode="replace")


def test_rows_alone_need_four_rights(shop: Endpoint, binlog: Binlog) -> None:
    user = replayer(shop, rights.ROWS, rights.STATE)
    steps = [insert("shop.t", {"id": 5, "v": 1}), update("shop.t", {"id": 5, "v": 2}, {"v": 1}),
             update("shop.t", {"id": 6, "v": 2}, {"id": 5}), delete("shop.t", {"id": 1, "v": 1})]  # fmt: skip
    for mode in ("replace", "upsert", "plain"):
        replay(user, binlog.each(steps), apply_mode=mode, stream=mode)
        assert (parked(shop), shop.query("SELECT * FROM shop.t")) == ([], [(6, 2)])
        run_sql(shop, ["DELETE FROM shop.t", "INSERT INTO shop.t VALUES (1, 1)"])


@pytest.mark.parametrize("right", rights.HEARTBEAT)
def test_each_right_of_the_heartbeat_is_needed(fresh_source: Endpoint, users: None, right: str) -> None:
    def beat(end: Endpoint) -> int:
        settings = ends_of(end, end, retry={"first_s": 0.01, "max_s": 0.01})
        return run_heartbeat(settings, threading.Event(), LOG, beats=1)

    without = [each for each in rights.HEARTBEAT if each != right]
    with pytest.raises(PydbsyncError, match=right):
        beat(granted(fresh_source, f"{', '.join(without)} ON pydbsync_heartbeat.*"))
    assert beat(granted(fresh_source, f"{', '.join(rights.HEARTBEAT)} ON pydbsync_heartbeat.*")) >= 1


@pytest.mark.parametrize("right", rights.BINLOG)
def test_each_right_of_capture_is_needed(fresh_source: Endpoint, users: None, tmp_path: Path, right: str) -> None:
    run_sql(fresh_source, ["CREATE DATABASE shop", "CREATE TABLE shop.t (id INT PRIMARY KEY, v INT)"])
    other = next(each for each in rights.BINLOG if each != right)
    (tmp_path / "without").mkdir()
    spelled = "BINLOG MONITOR|REPLICATION CLIENT" if right == "REPLICATION CLIENT" else "REPLICATION SLAVE"
    with pytest.raises(OperationError, match=f"refuses what capture needs.*({spelled})"):
        Capture(granted(fresh_source, "SELECT ON *.*", f"{other} ON *.*"), tmp_path / "without").read()
    user = granted(fresh_source, "SELECT ON shop.*", f"{', '.join(rights.BINLOG)} ON *.*")
    capture = Capture(user, tmp_path)
    assert capture.read() == []
    fresh_source.query("INSERT INTO shop.t VALUES (1, 1)")
    assert rows(map(json.loads, capture.read())) == [("insert", {"id": 1, "v": 1})]


def test_verify_reads_alone(fresh_source: Endpoint, fresh_target: Endpoint, users: None) -> None:
    on_both(fresh_source, fresh_target, "CREATE TABLE t (id INT PRIMARY KEY);\nINSERT INTO t VALUES (1)")
    reading = "SELECT, REFERENCES ON shop.*"
    source = granted(fresh_source, reading, f"{', '.join(rights.BINLOG)} ON *.*")
    target = granted(fresh_target, reading, "SELECT ON pydbsync.*")
    blind = granted(fresh_target, "SELECT ON pydbsync.*")
    for end, verdict in ((target, "equal"), (blind, "unknown")):
        assert [table.status for table in compare(ends_of(source, end)).values()] == [verdict]


PERMISSIONS = {
    "read a queue that is there": ((), ("", "", "^sync$"), None),
    "not even read it": ((), ("", "", ""), "access to queue 'sync'"),
    "declare and bind": (("#",), ("^(sync|maxwell)$", "^sync$", "^(sync|maxwell)$"), None),
    "no configure": (("#",), ("^$", "^sync$", "^(sync|maxwell)$"), "lacks the right for creating exchange 'maxwell'"),
    "no write": (("#",), ("^(sync|maxwell)$", "^$", "^(sync|maxwell)$"), "for binding .* access to queue 'sync'"),
    "no read": (("#",), ("^(sync|maxwell)$", "^sync$", "^$"), "for binding .* access to exchange 'maxwell'"),
    "no read of the exchange": (
        ("#",),
        ("^(sync|maxwell)$", "^sync$", "^sync$"),
        "for binding .* access to exchange 'maxwell'",
    ),
}


@pytest.mark.parametrize("name", PERMISSIONS)
def test_the_permissions_in_rabbitmq(vhost: Vhost, name: str) -> None:
    keys, (configure, write, read), lacking = PERMISSIONS[name]
    if not keys:
        vhost.declare("sync")
    user = f"limited-{vhost.name}"
    vhost.broker.call("PUT", f"/users/{user}", {"password": "secret", "tags": ""})
    permissions = {"configure": configure, "write": write, "read": read}
    vhost.broker.call("PUT", f"/permissions/{vhost.name}/{user}", permissions)
    amqp = AmqpSettings(
        host=vhost.broker.host, port=vhost.broker.port, user=user, password=Secret("secret"), vhost=vhost.name
    )
    link = BrokerLink(amqp, name="rights", log=LOG, on_deliveries=lambda *_: True, on_lost=lambda _: None)
    queue = QueueSettings(queue="sync", exchange="maxwell", exchange_type="topic", routing_keys=keys)
    try:
        link.connect(threading.Event())

        def work() -> None:
            declare(link, queue, log=LOG, stop=threading.Event())
            link.consume(link.open_channel(), queue="sync", consumer_tag="t")

        if lacking is None:
            work()
        else:
            with pytest.raises(PydbsyncError, match=lacking):
                work()
    finally:
        link.close()
        vhost.broker.call("DELETE", f"/users/{user}")


def test_the_page_has_the_lists_that_doctor_goes_by() -> None:
    for wanted in (
        f"GRANT {', '.join(TARGET_RIGHTS)} ON `DATABASE`.*",
        f"GRANT {', '.join(rights.STATE)} ON `pydbsync`.*",
        f"GRANT {', '.join(rights.BINLOG)} ON *.*",
        f"GRANT {', '.join(rights.HEARTBEAT)} ON `pydbsync_heartbeat`.*",
        "'^(sync|maxwell)$' '^sync$' '^(sync|maxwell)$'",
    ):
        assert wanted in PAGE
