"""What sessions, accounts and whole servers can have wrong: made for real, and named by the doctor with its remedy.

Where a fault takes a time, an old server or another machine, its limit is moved instead; what is looked at is real.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from typer.testing import CliRunner

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.cli import application
from tests.comparing import run_sql
from tests.examining import Fault, examined, global_variables, must_say, settings_of
from tests.processes import write_config
from tests.servers import Endpoint, Vhost

DOCTOR = "pydbsync.ops.doctor"


class Held(NamedTuple):
    """A session that is left open at one end, and a limit that is moved."""

    fault: Fault
    end: str
    statements: tuple[str, ...]
    limit: str = ""
    value: Any = None


SESSIONS = {
    "a transaction at the source is open for long": Held(
        Fault("source", "long-transactions", "warning", "1 changed rows: they come all at once", "KILL "),
        "source", ("BEGIN", "INSERT INTO shop.t VALUES (1)"), f"{DOCTOR}.source._LONG_TRANSACTION_S", -1,
    ),
    "a transaction at the target holds locks": Held(
        Fault("target", "blockers", "warning", "row locks: changes of these rows", "KILL "),
        "target", ("BEGIN", "INSERT INTO shop.t VALUES (1)"), f"{DOCTOR}.target._LONG_S", -1,
    ),
    "a prepared transaction at the target": Held(
        Fault("target", "prepared", "warning", "'left'", "XA COMMIT 'left'; or XA ROLLBACK 'left'"),
        "target", ("XA START 'left'", "INSERT INTO shop.t VALUES (2)", "XA END 'left'", "XA PREPARE 'left'"),
    ),
    "a prepared transaction at the source": Held(
        Fault("source", "prepared", "warning", "('left')", "XA COMMIT 'left'; or XA ROLLBACK 'left'"),
        "source", ("XA START 'left'", "INSERT INTO shop.t VALUES (2)", "XA END 'left'", "XA PREPARE 'left'"),
    ),
    "a prepared transaction with a name of bytes": Held(
        Fault("target", "prepared", "warning", "(X'00ff',X'62',7)", "XA ROLLBACK X'00ff',X'62',7;"),
        "target", ("XA START X'00ff',X'62',7", "INSERT INTO shop.t VALUES (3)", "XA END X'00ff',X'62',7",
                   "XA PREPARE X'00ff',X'62',7"),
    ),
    "the connections of the target are nearly used up": Held(
        Fault("target", "max-connections", "warning", "connections in use", "SET GLOBAL max_connections = "),
        "target", (), f"{DOCTOR}.target._FULL_SHARE", 0,
    ),
    "the target's disk is nearly full": Held(
        Fault("target", "free-space", "warning", "a full disk stops replay", "PURGE BINARY LOGS"),
        "target", (), f"{DOCTOR}.target._LEAST_FREE", 2,
    ),
    "the target is older than what was tried": Held(
        Fault("connections", "target-version", "warning", "older than anything that was tried", "upgrade it to"),
        "target", (), f"{DOCTOR}.reach._OLDEST_MARIADB", (99, 0),
    ),
    "the source is older than what was tried": Held(
        Fault("connections", "source-version", "warning", "older than anything that was tried", "upgrade it to"),
        "target", (), f"{DOCTOR}.reach._OLDEST_MARIADB", (99, 0),
    ),
    "the clock of the source is off": Held(
        Fault("source", "clock-skew", "warning", "the clock of the source is", "timedatectl set-ntp true"),
        "source", (), f"{DOCTOR}.source._SKEW_S", -1,
    ),
    "the clock of the target is off": Held(
        Fault("source", "clock-skew", "warning", "the clock of the target is", "timedatectl set-ntp true"),
        "source", (), f"{DOCTOR}.source._SKEW_S", -1,
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def ends(source: Endpoint, target: Endpoint) -> Iterator[dict[str, Endpoint]]:
    """Both servers with an empty table."""
    made = {"source": source, "target": target}
    for end in made.values():
        if end.server:
            end.server.start()
        end.drop_databases()
        end.query("CREATE DATABASE shop")
        end.query("CREATE TABLE shop.t (id INT PRIMARY KEY)")
    yield made
    for end in made.values():
        end.drop_databases()


@pytest.mark.parametrize("name", SESSIONS)
def test_what_a_session_or_a_server_holds_is_named(
    ends: dict[str, Endpoint], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    held = SESSIONS[name]
    if name == "the target's disk is nearly full" and ends["target"].server is None:
        return  # a server elsewhere: its disk is not seen from here
    settings = settings_of(ends["source"], ends["target"])
    if held.fault.check.endswith("-version") and ends["target"].brand != "mariadb":
        pytest.skip("an old MySQL is refused when it is connected to")
    if held.limit:
        monkeypatch.setattr(held.limit, held.value)
    with ends[held.end].connect() as connection, connection.cursor() as cursor:
        try:
            for sql in held.statements:
                cursor.execute(sql)
            must_say(examined(settings, held.fault.group), held.fault)
        finally:
            if held.fault.check == "prepared":
                cursor.execute(held.statements[-1].replace("PREPARE", "ROLLBACK"))


@pytest.mark.parametrize(
    ("end", "statement", "fault"),
    [
        ("source", "SET GLOBAL read_only = 1", Fault("source", "source-read-only", "warning", "heartbeat cannot",
                                                     "run the heartbeat at the server that is written to")),
        ("source", "ALTER TABLE shop.t ENGINE = MyISAM", Fault("source", "source-engine", "warning",
                                                               "shop.t (MyISAM)", "ENGINE=InnoDB at the source")),
    ],
    ids=["read-only", "engine"],
)  # fmt: skip
def test_what_the_source_is_like(ends: dict[str, Endpoint], end: str, statement: str, fault: Fault) -> None:
    with ExitStack() as stack:
        if statement.startswith("SET"):
            stack.enter_context(global_variables(ends[end], [statement]))
        else:
            run_sql(ends[end], [statement])
            stack.callback(run_sql, ends[end], ["ALTER TABLE shop.t ENGINE = InnoDB"])
        must_say(examined(settings_of(ends["source"], ends["target"]), fault.group), fault)


ACCOUNTS = {
    "an application writes to the target": (
        "GRANT SELECT, INSERT ON shop.* TO shopkeeper@'%'", True,
        Fault("target", "other-writers", "warning", "1 session of shopkeeper", "ACCOUNT LOCK"),
    ),
    "our account may have few connections": (
        "ALTER USER shopkeeper@'%' WITH MAX_USER_CONNECTIONS 3", False,
        Fault("target", "account-limits", "error", "may have 3 connections, and 5 are needed", "MAX_USER_CONNECTIONS"),
    ),
    "our account may do few things an hour": (
        "ALTER USER shopkeeper@'%' WITH MAX_UPDATES_PER_HOUR 100000", False,
        Fault("target", "account-limits", "error", "MAX_UPDATES_PER_HOUR 100000", "WITH MAX_UPDATES_PER_HOUR 0;"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ACCOUNTS)
def test_what_an_account_of_the_target_is_like(ends: dict[str, Endpoint], name: str) -> None:
    statement, is_another, fault = ACCOUNTS[name]
    target = ends["target"]
    keeper = replace(target, user="shopkeeper", password="sells", server=None)
    target.query("CREATE USER shopkeeper@'%' IDENTIFIED BY 'sells'")
    try:
        target.query("GRANT SELECT ON shop.* TO shopkeeper@'%'")
        with keeper.connect(database="shop"):
            settings = settings_of(ends["source"], target if is_another else keeper)
            before = examined(settings, fault.group)
            assert not [each for each in before.findings if each.check == fault.check], "it may read alone"
            target.query(statement)
            must_say(examined(settings, fault.group), fault)
    finally:
        target.query("DROP USER shopkeeper@'%'")


def test_a_table_that_is_not_shown_is_not_said_to_be_missing(ends: dict[str, Endpoint]) -> None:
    target = ends["target"]
    keeper = replace(target, user="shopkeeper", password="sells", server=None)
    target.query("CREATE USER shopkeeper@'%' IDENTIFIED BY 'sells'")
    try:
        report = examined(settings_of(ends["source"], keeper), "tables")
        must_say(report, Fault("", "missing-tables", "unknown", "shop.t at the target are missing, or", "GRANT SELECT"))
        target.query("GRANT SELECT ON shop.* TO shopkeeper@'%'")
        report = examined(settings_of(ends["source"], keeper), "tables")
        must_say(report, Fault("", "missing-tables", "ok", "all 1 table that take part are at the target", ""))
    finally:
        target.query("DROP USER shopkeeper@'%'")


def test_a_role_that_is_not_active_is_made_so_by_the_remedy(ends: dict[str, Endpoint]) -> None:
    """The rights were granted, and a new session does not have them."""
    target = ends["target"]
    is_mariadb = "MariaDB" in str(target.query("SELECT VERSION()")[0][0])
    keeper = replace(target, user="shopkeeper", password="sells", server=None)
    target.query("CREATE USER shopkeeper@'%' IDENTIFIED BY 'sells'")
    target.query("CREATE ROLE writer")
    try:
        for database in ("shop", "pydbsync"):
            target.query(f"GRANT ALL ON {database}.* TO writer")
        target.query("GRANT writer TO shopkeeper@'%'")
        settings = settings_of(ends["source"], keeper)
        said = {each.check: each for each in examined(settings, "rights").findings if each.check.endswith("-rights")}
        assert "lacks SELECT, INSERT" in said["target-rights"].text
        for check in ("target-rights", "state-rights"):
            assert said[check].remedy.startswith("SET DEFAULT ROLE "), said[check]
        target.query(said["target-rights"].remedy.partition(";")[0])
        must_say(examined(settings, "rights"), Fault("", "target-rights", "ok", "may write to shop and pydbsync", ""))
    finally:
        target.query("DROP USER shopkeeper@'%'")
        target.query("DROP ROLE writer")
    assert is_mariadb is ("FOR" in said["target-rights"].remedy)


def test_what_amazon_says_of_its_binlog(ends: dict[str, Endpoint]) -> None:
    """By a table that its servers have."""
    source = ends["source"]
    source.query("CREATE TABLE mysql.rds_configuration (name VARCHAR(100), value VARCHAR(100))")
    try:
        source.query("INSERT INTO mysql.rds_configuration VALUES ('binlog retention hours', NULL)")
        settings = settings_of(source, ends["target"])
        fault = Fault(
            "", "binlog-retention", "error", "Amazon RDS", "rds_set_configuration('binlog retention hours', 168)"
        )
        must_say(examined(settings, "source"), fault)
        source.query("UPDATE mysql.rds_configuration SET value = '6'")
        must_say(examined(settings, "source"), fault._replace(level="warning", says="for 6 h"))
    finally:
        source.query("DROP TABLE mysql.rds_configuration")


@pytest.mark.mariadb
def test_the_account_of_root_is_named(ends: dict[str, Endpoint]) -> None:
    """The server's own, which the lab makes without a password."""
    root = replace(ends["target"], user="root", password="", server=None)
    report = examined(settings_of(ends["source"], root), "rights")
    must_say(report, Fault("", "target-account", "warning", "the target is used as root@", "CREATE USER"))


@pytest.mark.mariadb
def test_servers_elsewhere_without_tls_or_with_the_public_user_are_named(
    ends: dict[str, Endpoint], vhost: Vhost, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As from another machine; this one's servers stand for those."""
    monkeypatch.setattr(f"{DOCTOR}.reach.is_local", lambda host: False)
    monkeypatch.setattr(f"{DOCTOR}.reach._OLDEST_BROKER", (99, 0))
    vhost.broker.call("PUT", "/users/guest", {"password": "guest", "tags": "administrator"})
    vhost.broker.call("PUT", f"/permissions/{vhost.name}/guest", dict.fromkeys(("configure", "write", "read"), ".*"))
    settings = settings_of(
        ends["source"], ends["target"],
        rabbitmq_conn_info={**vhost.conn_info, "user": "guest", "password": "guest"},
        rabbitmq_queue_bind=[{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}],
    )  # fmt: skip
    report = examined(settings, "connections")
    for check, says, remedy in (
        ("target-tls", "not encrypted", "db_info: {ssl_ca"), ("source-tls", "not encrypted", "source_db_info: {ssl_ca"),
        ("broker-tls", "not encrypted", "tls: {ca"), ("broker-user", "used as guest", "rabbitmqctl add_user"),
        ("broker-version", "older than anything", "upgrade it"),
    ):  # fmt: skip
        must_say(report, Fault("", check, "warning", says, remedy))


@pytest.mark.mariadb
def test_another_queue_of_the_same_name_and_a_silent_worker_are_named(ends: dict[str, Endpoint], vhost: Vhost) -> None:
    vhost.declare("sync", routing_keys=["shop.t"])
    broker = {**vhost.conn_info, "management_port": vhost.broker.ports["management"]}
    settings = settings_of(
        ends["source"], ends["target"], rabbitmq_conn_info=broker,
        rabbitmq_queue_bind=[{"exchange": ["maxwell", "topic"], "queues": {"sync": ["#"]}}],
    )  # fmt: skip
    connection = Connection(ends["target"].db_info)
    try:
        ensure_state_schema(connection, "pydbsync")
        run_sql(
            ends["target"],
            ["INSERT INTO stream_origin (stream, queue, vhost, cluster, address) VALUES ('sync', 'sync', '/other',"
             " 'rabbit@elsewhere', 'elsewhere:5672')",
             "INSERT INTO worker (stream, host, pid, queue, state, written_at) VALUES ('sync', 'h', 1, 'sync',"
             " 'following', NOW() - INTERVAL 1 HOUR)"],
            database="pydbsync",
        )  # fmt: skip
        report = examined(settings, "state", "broker")
        must_say(
            report, Fault("", "stream-origin", "error", "the stream 'sync' of this target belongs to", "stream_names")
        )
        must_say(report, Fault("", "workers", "warning", "no worker reads the queue sync", "pydbsync run"))
        must_say(
            report, Fault("", "missing-binding", "warning", "is not bound to exchange maxwell by", "routing_key='#'")
        )
    finally:
        connection.close()
        ends["target"].query("DROP DATABASE IF EXISTS pydbsync")


def test_two_directions_and_two_sources_of_one_database_are_named(ends: dict[str, Endpoint], tmp_path: Path) -> None:
    third = {**ends["source"].db_info, "port": 1}
    pairs = {
        "forth": (ends["source"].db_info, ends["target"].db_info, {}),
        "back": (ends["target"].db_info, ends["source"].db_info, {}),
        "one": (ends["source"].db_info, ends["target"].db_info, {"a": "shop"}),
        "two": (third, ends["target"].db_info, {"b": "shop"}),
        "forth2": (ends["source"].db_info, ends["target"].db_info, {}),
        "back2": (ends["target"].db_info, ends["source"].db_info, {}),
        "same": (ends["target"].db_info, ends["source"].db_info, {}),
    }
    of_both = {"forth2": "source", "back2": "target", "same": "source"}
    files: dict[str, str] = {}
    for name, (at, to, rewrite) in pairs.items():
        config: dict[str, Any] = {"source_db_info": at, "db_info": to, "log_file_prefix": "", "dbname_rewrite": rewrite,
                  "rabbitmq_conn_info": {"host": "127.0.0.1", "port": 1}}  # fmt: skip
        if name in of_both:
            config |= {"two_way": True, "conflicts": {"prefer": of_both[name]}}
        files[name] = str(write_config(config, tmp_path / f"{name}.py"))

    def together(*names: str) -> list[tuple[str, str]]:
        words = ["doctor", *(word for name in names for word in ("--config", files[name])), "--only", "state", "--json"]
        found = json.loads(CliRunner().invoke(application("doctor"), words).stdout)["findings"]
        return [(each["check"], each["level"]) for each in found if each["group"] == "together"]

    assert together("forth", "back") == [("both-directions", "warning")]
    assert together("forth2", "back") == [("both-directions", "error")]
    assert together("forth2", "back2") == []
    assert together("forth2", "same") == [("both-directions", "error")]
    assert together("one", "two") == [("merged-targets", "warning")]
    assert together("forth", "one") == []


def test_one_row_by_two_configurations_is_named(ends: dict[str, Endpoint], tmp_path: Path) -> None:
    """Each is right by itself; a name of one machine is as good as another."""
    files: dict[str, str] = {}
    for name, host, queue, key, schema, more in (
        ("all", "localhost", "all", "#", "pydbsync", {"metrics_port": 9}),
        ("orders", "127.0.0.1", "orders", "shop.orders", "second", {"metrics_port": 9}),
        ("left", "127.0.0.1", "orders", "shop.orders", "second", {"include": ["shop.orders"]}),
        ("same", "127.0.0.1", "all", "#", "second", {}),
    ):
        config = {
            "source_db_info": ends["source"].db_info, "db_info": ends["target"].db_info, "log_file_prefix": "",
            "state_schema": schema, "rabbitmq_conn_info": {"host": host, "port": 1},
            "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": {queue: [key]}}], **more,
        }  # fmt: skip
        files[name] = str(write_config(config, tmp_path / f"{name}.py"))

    def together(*names: str) -> list[str]:
        words = ["doctor", *(word for name in names for word in ("--config", files[name])), "--only", "state", "--json"]
        found = json.loads(CliRunner().invoke(application("doctor"), words).stdout)["findings"]
        return [each["check"] for each in found if each["group"] == "together"]

    assert together("all", "orders") == ["one-row-twice", "one-port-twice"]
    assert together("all", "left") == []
    assert together("all", "same") == ["one-queue-twice"]
