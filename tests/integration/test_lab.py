"""The lab's promises: servers of its own on 127.0.0.1, found again, killed and started without loss."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pika
import pymysql
import pytest

import lab
from lab.process import HOST
from tests.certificates import Certificates
from tests.matrices import LONG
from tests.servers import Endpoint, Vhost

LISTEN = "0A"
LOCALHOST = {"0100007F", "00000000000000000000000001000000"}


@pytest.fixture
def private_lab(tmp_path: Path) -> Iterator[Path]:
    """The root of a lab that this test has for itself."""
    root = tmp_path / "a lab" / "with a long name" / ("x" * 100)
    yield root
    for server in lab.servers(root=root):
        server.remove()


@pytest.fixture(scope="module")
def module_broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[lab.RabbitMQ]:
    root = tmp_path_factory.mktemp("a lab with spaces")
    broker = lab.RabbitMQ(root=root, plugins=["rabbitmq_random_exchange"])
    yield broker
    broker.remove()


# Tests with brokers of their own are long: to start one takes six seconds of a processor. Always tried are plugins in
# test_scaling.py, TLS in test_security.py, a broker that is killed and comes back in test_servers_away.py.
@pytest.fixture
def private_broker(module_broker: lab.RabbitMQ) -> lab.RabbitMQ:
    """A broker of this module alone, running."""
    return module_broker.start()


def listening_ports() -> dict[int, set[str]]:
    """Every TCP port on which this machine listens, and on which addresses (hexadecimal, as in /proc)."""
    found: dict[int, set[str]] = {}
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            _, local, _, state = line.split()[:4]
            if state == LISTEN:
                address, port = local.split(":")
                found.setdefault(int(port, 16), set()).add(address)
    return found


def test_a_second_start_uses_the_running_server(mariadb: Endpoint, rabbitmq: lab.RabbitMQ) -> None:
    for server in (mariadb.server, rabbitmq):
        assert server is not None
        before = server.process
        assert before is not None
        assert lab.up(server.name).process == before


def test_a_server_started_with_other_options_is_restarted(private_lab: Path) -> None:
    quick = lab.MariaDB("own", root=private_lab).start()
    first = quick.process
    durable = lab.MariaDB("own", root=private_lab, durable=True).start()
    assert durable.process != first
    flush = Endpoint.of_lab(durable).query("SELECT @@innodb_flush_log_at_trx_commit, @@sync_binlog")
    assert flush == [(1, 1)]


def test_a_killed_database_comes_back_on_its_port_with_every_commit(private_lab: Path) -> None:
    server = lab.MariaDB("own", root=private_lab).start()
    endpoint = Endpoint.of_lab(server)
    endpoint.query("CREATE DATABASE lab_kill")
    endpoint.query("CREATE TABLE lab_kill.t (id INT PRIMARY KEY)")
    for number in range(10):
        endpoint.query("INSERT INTO lab_kill.t VALUES (%s)", number)
    server.kill()
    assert not server.is_up
    server.start()
    assert server.port == endpoint.port
    assert endpoint.query("SELECT COUNT(*) FROM lab_kill.t") == [(10,)]


@LONG
def test_other_plugins_can_be_enabled(private_broker: lab.RabbitMQ) -> None:
    vhost = Vhost(private_broker, "/")
    vhost.declare("part", exchange="by-chance", exchange_type="x-random")
    vhost.publish([b'{"database":"d","table":"t"}'], exchange="by-chance")
    assert vhost.depth("part") == 1


@LONG
def test_a_killed_broker_comes_back_with_its_persistent_messages(private_broker: lab.RabbitMQ) -> None:
    vhost = Vhost(private_broker, "/")
    vhost.declare("kept")
    vhost.publish([b'{"database":"d","table":"t"}'] * 10)
    private_broker.kill()
    assert not private_broker.is_up
    private_broker.start()
    assert vhost.depth("kept") == 10


@LONG
def test_a_stopped_server_leaves_no_process_and_no_open_port(private_broker: lab.RabbitMQ) -> None:
    processes, ports = private_broker.state().processes, private_broker.ports
    assert set(processes) == {"server", "epmd"}
    private_broker.stop()
    assert not any(process.is_alive for process in processes.values())
    assert not ports.values() & listening_ports().keys()


def test_servers_listen_on_the_loopback_interface_only(mariadb: Endpoint, rabbitmq: lab.RabbitMQ) -> None:
    addresses = listening_ports()
    ports = {*rabbitmq.ports.values(), mariadb.port} & addresses.keys()
    assert {rabbitmq.port, mariadb.port, rabbitmq.ports["management"], rabbitmq.ports["epmd"]} <= ports
    assert {address for port in ports for address in addresses[port]} <= LOCALHOST


def test_temporary_files_of_a_server_are_its_own(private_lab: Path) -> None:
    server = lab.MariaDB("own", root=private_lab).start()
    assert Endpoint.of_lab(server).query("SELECT @@tmpdir") == [(str(server.temporary),)]


def test_a_server_that_does_not_start_is_an_error_with_the_reason(private_lab: Path) -> None:
    with pytest.raises(lab.LabError, match="unknown variable 'no-such-option=1'"):
        lab.MariaDB("own", root=private_lab, options={"no-such-option": "1"}).start()


def test_a_port_that_somebody_else_has_taken_is_given_up(private_lab: Path) -> None:
    server = lab.MariaDB("own", root=private_lab)
    with socket.create_server((HOST, server.port)) as other:
        server.start()
        assert server.port != other.getsockname()[1]
        assert server.is_up


def test_a_missing_program_is_named() -> None:
    with pytest.raises(lab.LabError, match="no-such-program is not installed: run `make lab-up`"):
        lab.server.find_program("no-such-program")


def test_a_folder_without_the_server_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYDBSYNC_MARIADB", str(tmp_path))
    with pytest.raises(lab.LabError, match="has none of usr/sbin/mariadbd, bin/mariadbd, usr/sbin/mysqld, bin/mysqld"):
        lab.MariaDB("own", root=tmp_path).command()


def test_an_unknown_server_is_named() -> None:
    with pytest.raises(lab.LabError, match="no server 'tarjet': its servers are target, source, rabbitmq"):
        lab.up("tarjet")


@LONG
def test_tls_is_offered_by_both_servers(private_lab: Path, certificates: Certificates) -> None:
    tls = lab.Tls(certificates.ca, certificates.server.certificate, certificates.server.key, verify_client=True)
    broker = lab.RabbitMQ("rabbitmq-tls", root=private_lab, tls=tls).start()
    context = ssl.create_default_context(cafile=str(certificates.ca))
    context.load_cert_chain(certificates.client.certificate, certificates.client.key)
    parameters = pika.ConnectionParameters(
        "localhost",
        broker.tls_port,
        credentials=pika.PlainCredentials(broker.user, broker.password),
        ssl_options=pika.SSLOptions(context, "localhost"),
    )
    with pika.BlockingConnection(parameters) as connection:
        assert connection.is_open

    database = lab.MariaDB("mariadb-tls", root=private_lab, tls=tls).start()
    with pymysql.connect(
        host="localhost", port=database.port, user=database.user, password=database.password,
        ssl_ca=str(certificates.ca), ssl_verify_cert=True, ssl_verify_identity=True,
    ) as session, session.cursor() as cursor:  # fmt: skip
        cursor.execute("SHOW STATUS LIKE 'Ssl_cipher'")
        row = cursor.fetchone()
        assert row
        assert row[1]


def test_published_messages_reach_a_quorum_queue(vhost: Vhost) -> None:
    vhost.declare("sync", arguments={"x-queue-type": "quorum"})
    assert vhost.publish([b'{"database":"d","table":"t"}'] * 1500) == 1500
    assert vhost.depth("sync") == 1500


def test_vhosts_of_tests_are_apart(vhost: Vhost, rabbitmq: lab.RabbitMQ) -> None:
    vhost.declare("sync", routing_keys=["shop.#"])
    vhost.publish([b'{"database":"shop","table":"t"}', b'{"database":"other","table":"t"}', b'{"database":"shop"}'])
    assert vhost.depth("sync") == 2
    rabbitmq.create_vhost("lab-other")
    with pytest.raises(pika.exceptions.ChannelClosedByBroker):
        Vhost(rabbitmq, "lab-other").depth("sync")
    rabbitmq.delete_vhost("lab-other")
