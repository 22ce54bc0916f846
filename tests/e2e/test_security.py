"""Least rights, verified TLS on both connections, and nothing from messages that the target would run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import lab
from tests.certificates import Certificates, make_certificates
from tests.conftest import RunSync
from tests.e2e.streams import QUICK, Ledger
from tests.integration.engine import parked, replay
from tests.maxwell import Binlog, delete, insert, update
from tests.processes import REPOSITORY, sync_config
from tests.servers import Endpoint, Vhost

DOCUMENT = REPOSITORY / "docs" / "operations.md"


def documented_grants() -> list[str]:
    """The statements of the first SQL block."""
    found = re.search(r"```sql\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return [line.rstrip(";") for line in found[1].splitlines()]


@pytest.fixture
def least(fresh_target: Endpoint, vhost: Vhost) -> Iterator[tuple[dict[str, Any], dict[str, Any]]]:
    """Users with exactly the documented rights: (db_info, rabbitmq_conn_info)."""
    fresh_target.query("DROP USER IF EXISTS 'pydbsync'@'%%'")
    for statement in documented_grants():
        fresh_target.query(statement.replace("%", "%"))
    vhost.declare("sync")
    broker = vhost.broker
    broker.call("PUT", "/users/reader", {"password": "reader", "tags": ""})
    broker.call("PUT", f"/permissions/{vhost.name}/reader", {"configure": "", "write": "", "read": "^sync$"})
    yield (
        {**fresh_target.db_info, "user": "pydbsync", "password": "choose-one"},
        {**vhost.conn_info, "user": "reader", "password": "reader"},
    )
    broker.call("DELETE", "/users/reader")
    fresh_target.query("DROP USER 'pydbsync'@'%'")


@pytest.mark.mariadb
def test_the_documented_rights_are_enough(
    least: tuple[dict[str, Any], dict[str, Any]], fresh_target: Endpoint, vhost: Vhost, run_sync: RunSync
) -> None:
    target, broker = least
    ledger = Ledger("shop")
    ddl = Binlog.ddl
    binlog = ledger.binlog
    changes = [
        *ledger.begin(),
        *ledger.write(20),
        *ddl(binlog, "CREATE TABLE shop.p (id INT PRIMARY KEY)", "shop.p"),
        *ddl(
            binlog,
            "CREATE TABLE shop.c (id INT, FOREIGN KEY f (id) REFERENCES shop.p (id) ON DELETE CASCADE)",
            "shop.c",
        ),
        *binlog.transaction(insert("shop.p", {"id": 1}), insert("shop.c", {"id": 1})),
        *binlog.transaction(delete("shop.p", {"id": 1})),
        *ddl(binlog, "ALTER TABLE shop.p ADD v INT, ADD INDEX (v)", "shop.p", columns=("id", "v")),
        *ddl(binlog, "DROP TABLE shop.c", "shop.c"),
        *binlog.transaction(insert("shop.none", {"id": 1})),
    ]
    vhost.publish(changes)
    config = sync_config(fresh_target, vhost, queues={"sync": []}, **QUICK)
    # Whether children of foreign keys are in the binlog must be known.
    config |= {"db_info": target, "rabbitmq_conn_info": broker, "source_server": "mariadb 10.11"}
    finished = run_sync(config, "--until-drained")
    assert finished.exit_code == 0, finished
    assert ledger.faults(fresh_target) == {}
    assert [(row.kind, row.table) for row in parked(fresh_target)] == [("insert", "shop.none")]


@pytest.mark.mariadb
def test_a_missing_right_is_said_with_what_to_do(
    least: tuple[dict[str, Any], dict[str, Any]], fresh_target: Endpoint, vhost: Vhost, run_sync: RunSync
) -> None:
    target, broker = least
    fresh_target.query("REVOKE CREATE ON `pydbsync`.* FROM 'pydbsync'@'%'")
    config = sync_config(fresh_target, vhost, queues={"sync": []}, **QUICK)
    finished = run_sync({**config, "db_info": target, "rabbitmq_conn_info": broker})
    assert finished.exit_code == 2, finished
    assert "state_schema: the state schema 'pydbsync' cannot be read, made or brought up to date" in finished.stderr
    assert "CREATE" in finished.stderr
    assert "docs/rights.md" in finished.stderr


@pytest.fixture(scope="module")
def encrypted(certificates: Certificates, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Endpoint, Vhost]]:
    """A target and a broker with certificates of the test's authority."""
    root = tmp_path_factory.mktemp("lab")
    tls = lab.Tls(certificates.ca, certificates.server.certificate, certificates.server.key)
    target = lab.MariaDB("tls-target", root=root, tls=tls, options={"require-secure-transport": "ON"})
    broker = lab.RabbitMQ("tls-broker", root=root, tls=tls)
    target.start()
    broker.start()
    broker.create_vhost("tls")
    yield Endpoint.of_lab(target), Vhost(broker, "tls")
    broker.remove()
    target.remove()


@pytest.mark.mariadb
def test_both_connections_are_encrypted_and_verified(
    encrypted: tuple[Endpoint, Vhost], certificates: Certificates, tmp_path: Path, run_sync: RunSync
) -> None:
    target, vhost = encrypted
    ledger = Ledger("shop")
    vhost.declare("sync")
    vhost.publish([*ledger.begin(), *ledger.write(10)])

    def config(target_ca: Path, broker_ca: Path) -> dict[str, Any]:
        found = sync_config(target, vhost, **QUICK)
        found["db_info"] = {**target.db_info, "ssl_ca": str(target_ca), "ssl_verify_identity": True}
        found["rabbitmq_conn_info"] |= {"port": vhost.broker.tls_port, "tls": {"ca": str(broker_ca)}}
        return found

    stranger = make_certificates(tmp_path / "stranger").ca
    for wrong, key in (((stranger, certificates.ca), "db_info"), ((certificates.ca, stranger), "rabbitmq_conn_info")):
        refused = run_sync(config(*wrong))
        assert refused.exit_code == 2, refused
        assert f"pydbsync: {key}" in refused.stderr, refused
    finished = run_sync(config(certificates.ca, certificates.ca), "--until-drained")
    assert finished.exit_code == 0, finished
    with target.connect(ssl_ca=str(certificates.ca)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM shop.ledger")
        assert cursor.fetchone() == (10,)


@pytest.mark.mariadb
def test_a_connection_without_options_is_encrypted_where_the_server_can(encrypted: tuple[Endpoint, Vhost]) -> None:
    target, _ = encrypted
    ((_, cipher),) = target.query("SHOW STATUS LIKE 'Ssl_cipher'")
    assert cipher


HOSTILE = [
    "a`b", "a``; DROP TABLE victim; --", "%s", "%(x)s", "{}", "{0}", "a'b", 'a"b', "a\\", "a;b", "/*x*/", "SELECT",
    "ünï", "$1", "?", ":name", "\\'", "--", "#x",
]  # fmt: skip


@pytest.mark.parametrize("keyed", [True, False], ids=["keyed", "keyless"])
def test_hostile_names_and_values_are_names_and_values(fresh_target: Endpoint, keyed: bool) -> None:
    binlog = Binlog()
    messages = binlog.ddl("CREATE DATABASE `a``b; DROP`", "a`b; DROP")
    expected = {}
    for name in HOSTILE:
        quoted = name.replace("`", "``")
        # The names are made here by hand, quoted: the stream's own statements are the source's business.
        columns = f"`{quoted}` VARCHAR(60){' PRIMARY KEY' if keyed else ''}, `v {quoted}` VARCHAR(60)"
        messages += binlog.ddl(f"CREATE TABLE `a``b; DROP`.`t{quoted}` ({columns})", f"a`b; DROP.t{name}")
        full = f"a`b; DROP.t{name}"
        values = [*HOSTILE, "\0", "'; DROP TABLE victim; -- ", "\n\r\x1a\t", "€'\\\"`", "' OR 1=1 -- "]
        rows = [{name: value, f"v {name}": value} for value in values]
        messages += binlog.transaction(*(insert(full, row) for row in rows))
        changed = [{name: row[name], f"v {name}": row[name] + "!"} for row in rows]
        messages += binlog.transaction(
            *(update(full, new, {f"v {name}": old[f"v {name}"]}) for new, old in zip(changed, rows, strict=True))
        )
        messages += binlog.transaction(*(delete(full, row) for row in changed[::2]))
        expected[name] = sorted((row[name], row[f"v {name}"]) for row in changed[1::2])
    replay(fresh_target, messages)
    assert parked(fresh_target) == []
    for name, rows_wanted in expected.items():
        table = "`a``b; DROP`.`t" + name.replace("`", "``").replace("%", "%") + "`"
        assert sorted(fresh_target.query(f"SELECT * FROM {table}")) == rows_wanted
    assert set(fresh_target.databases()) == {"a`b; DROP", "pydbsync"}


def test_a_name_that_the_target_refuses_is_parked(fresh_target: Endpoint) -> None:
    binlog = Binlog()
    messages = binlog.ddl("CREATE DATABASE d", "d")
    messages += binlog.ddl("CREATE TABLE d.`ends with a space ` (a INT)", "d.ends with a space ")
    messages += binlog.ddl("CREATE TABLE d.t (a INT)", "d.t")
    replay(fresh_target, messages)
    assert [(row.kind, row.code) for row in parked(fresh_target)] == [("table-create", 1103)]
    assert fresh_target.query("SHOW TABLES FROM d") == [("t",)]
