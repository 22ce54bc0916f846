"""Queues, exchanges, bindings and rights of RabbitMQ that are broken for real: the doctor names each, and its
remedy."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple
from urllib.parse import quote

import pytest
from pika.exceptions import ChannelClosedByBroker

from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.config.settings import Settings, settings_from_mapping
from pydbsync.config.two_way import TwoWaySettings
from tests.comparing import run_sql
from tests.examining import Fault, examined, must_say, named, shown
from tests.processes import wait_for
from tests.servers import Endpoint, Vhost

pytestmark = pytest.mark.mariadb

SHOP = """
CREATE TABLE customers (id INT PRIMARY KEY);
CREATE TABLE orders (id INT PRIMARY KEY, customer INT, CONSTRAINT buyer FOREIGN KEY (customer) REFERENCES customers
(id));
CREATE TABLE items (id INT PRIMARY KEY)
"""
HEARTBEAT = "pydbsync_heartbeat.heartbeat"


class Broken(NamedTuple):
    """Bindings of the configuration, what is declared, and what the doctor must say."""

    says: Fault
    queues: Mapping[str, list[str]] = {"sync": ["#"]}
    arguments: Mapping[str, Any] = {}
    policy: Mapping[str, Any] | None = None
    declared: str = "topic"
    extra: tuple[tuple[str, str], ...] = ()
    """More bindings: queue and key."""
    policies: str = "policies"
    graves: tuple[str, str] = ("", "")
    """An exchange for dead letters, and a queue that is bound to it."""
    more: Sequence[Mapping[str, Any]] = ()
    """More entries of rabbitmq_queue_bind."""
    alternate: tuple[str, str] = ("", "")
    """What the exchange gives on that nobody takes: to which exchange, and the queue that is bound to it."""
    options: Mapping[str, Any] = {}
    """More keys of the configuration."""
    limit: tuple[str, int] = ("", 0)
    """Of the virtual host; of the queues then only the first is made."""


def fault(check: str, level: Any, says: str, remedy: str) -> Fault:
    return Fault("broker", check, level, says, remedy)


CASES = {
    "a queue forgets its oldest": Broken(
        fault("queue-drops", "error", "drops its oldest messages beyond 1000", "delete_queue"),
        arguments={"x-max-length": 1000},
    ),
    "a queue forgets by size": Broken(
        fault("queue-drops", "error", "beyond 5000 bytes", "without x-max-length-bytes"),
        arguments={"x-max-length-bytes": 5000},
    ),
    "a grave that gives back at once": Broken(
        fault("queue-order", "error", "goes to exchange maxwell and comes back into it", "x-dead-letter-exchange"),
        arguments={"x-queue-type": "quorum", "x-delivery-limit": 3, "x-dead-letter-exchange": "maxwell"},
    ),
    "a policy limits a queue": Broken(
        fault("queue-drops", "error", "by the policy limits", "clear_policy"), policy={"max-length": 10},
    ),
    "a policy lets messages expire": Broken(
        fault("queue-drops", "error", "wait for more than 60000 ms", "leave message-ttl out"),
        policy={"message-ttl": 60000},
    ),
    "messages expire": Broken(
        fault("queue-drops", "error", "x-message-ttl", "queue_arguments"), arguments={"x-message-ttl": 60000},
    ),
    "a queue goes when nobody reads it": Broken(
        fault("queue-drops", "error", "is deleted when no worker reads it", "x-expires"),
        arguments={"x-expires": 3_600_000},
    ),
    "a quorum queue drops what came back": Broken(
        fault("queue-drops", "error", "given back more than 5 times", "x-delivery-limit"),
        arguments={"x-queue-type": "quorum", "x-delivery-limit": 5},
    ),
    "a quorum queue buries what came back": Broken(
        fault("queue-drops", "warning", "goes to exchange graves", "x-delivery-limit"),
        arguments={"x-queue-type": "quorum", "x-delivery-limit": 5, "x-dead-letter-exchange": "graves"},
        graves=("graves", "dug"),
    ),
    "a grave that is not there": Broken(
        fault("queue-drops", "error", "should go to exchange graves, which does not exist", "x-delivery-limit"),
        arguments={"x-queue-type": "quorum", "x-delivery-limit": 5, "x-dead-letter-exchange": "graves"},
    ),
    "a grave without a queue": Broken(
        fault("queue-drops", "error", "graves, to which no queue is bound: it is gone", "x-delivery-limit"),
        arguments={"x-queue-type": "quorum", "x-delivery-limit": 5, "x-dead-letter-exchange": "graves"},
        graves=("graves", ""),
    ),
    "a policy below the queue's own limit": Broken(
        fault("queue-drops", "error", "beyond 5 messages (x-max-length), by the policy limits", "clear_policy"),
        arguments={"x-max-length": 1000}, policy={"max-length": 5},
    ),
    "a policy above the queue's own limit": Broken(
        fault("queue-drops", "error", "beyond 10 messages (x-max-length)", "delete_queue"),
        arguments={"x-max-length": 10}, policy={"max-length": 500},
    ),
    "an operator's policy": Broken(
        fault("queue-drops", "error", "by the policy limits", "clear_operator_policy"),
        policy={"max-length": 10}, policies="operator-policies",
    ),
    "a policy refuses what is too much": Broken(
        fault("queue-refuses", "warning", "by the policy limits: Maxwell waits", "clear_policy"),
        policy={"max-length": 10, "overflow": "reject-publish"},
    ),
    "a virtual host with few queues": Broken(
        fault("vhost-limits", "error", "may have 1 queues and has 1: RabbitMQ makes no other", "set_vhost_limits"),
        queues={"sync": ["#"], "other": []}, limit=("max-queues", 1),
    ),
    "a virtual host with few connections": Broken(
        fault("vhost-limits", "error", "may have 2 connections", "set_vhost_limits"), limit=("max-connections", 2),
    ),
    "a queue refuses what is too much": Broken(
        fault("queue-refuses", "warning", "waits for no confirmation", "pydbsync capture"),
        arguments={"x-max-length": 1000, "x-overflow": "reject-publish"},
    ),
    "a queue is not what the configuration says": Broken(
        fault("queue-arguments", "warning", "queue sync has x-queue-type=classic, and the configuration says"
                                            " x-queue-type=quorum", "delete_queue"),
        options={"queue_type": "quorum"},
    ),
    "a queue has not the arguments of the configuration": Broken(
        fault("queue-arguments", "warning", "x-single-active-consumer=nothing", "write it so"),
        options={"queue_arguments": {"x-single-active-consumer": True}},
    ),
    "a mirrored queue": Broken(
        fault("queue-mirrors", "warning", "is mirrored, by the policy limits", "queue_type: quorum"),
        policy={"ha-mode": "all"},
    ),
    "what no queue takes goes elsewhere": Broken(
        fault("routes", "ok", "each of 3 tables is received by one queue", ""),
        queues={"sync": ["shop.orders", "shop.customers"], "rest": []}, alternate=("others", "rest"),
    ),
    "what no queue takes goes elsewhere by a policy": Broken(
        fault("routes", "ok", "each of 3 tables is received by one queue", ""),
        queues={"sync": ["shop.orders", "shop.customers"], "rest": []}, alternate=("by policy", "rest"),
    ),
    "a queue has priorities": Broken(
        fault("queue-order", "warning", "overtake others", "x-max-priority"), arguments={"x-max-priority": 5},
    ),
    "a stream": Broken(
        fault("queue-type", "error", "queue sync is a stream", "classic or a quorum"),
        arguments={"x-queue-type": "stream"},
    ),
    "a table without a queue": Broken(
        fault("no-queue", "error", "shop.items", "add 'shop.items' to the routing keys"),
        queues={"sync": ["shop.orders", "shop.customers"]},
    ),
    "a table with two queues": Broken(
        fault("two-queues", "error", "shop.orders is received by a and b", "delete binding"),
        queues={"a": ["shop.orders"], "b": ["shop.*"]},
    ),
    "a table with two queues by two exchanges": Broken(
        fault("two-queues", "warning", "by different exchanges: if its changes are published to both", "list_bindings"),
        queues={"a": ["#"]}, more=[{"exchange": ["elsewhere", "topic"], "queues": {"b": ["shop.orders"]}}],
    ),
    "a binding that was left behind": Broken(
        fault("extra-binding", "warning", "also bound to exchange maxwell by"
                                          " shop.customers", "properties_key='shop.customers'"),
        queues={"a": ["shop.orders", "shop.items"], "b": ["shop.customers"]}, extra=(("a", "shop.customers"),),
    ),
    "a foreign key across queues": Broken(
        fault("divided-keys", "warning", "shop.orders refers to shop.customers (buyer)", "move 'shop.orders'"),
        queues={"a": ["shop.orders", "shop.items"], "b": ["shop.customers"]},
    ),
    "no heartbeat in a queue": Broken(
        fault("heartbeat-binding", "warning", "queue sync does not receive the heartbeat", f"add '{HEARTBEAT}'"),
        queues={"sync": ["shop.*"]},
    ),
    "no queue for databases themselves": Broken(
        fault("database-changes", "warning", "schema changes of databases", "add 'shop.'"),
        queues={"sync": ["shop.orders", "shop.customers", "shop.items"]},
    ),
    "the exchange is a fanout": Broken(
        fault("exchange", "warning", "of type fanout, not topic", "rabbitmq_exchange_type=topic"), declared="fanout",
    ),
    "the exchange is not durable": Broken(
        fault("exchange", "warning", "is not durable", "rabbitmq_exchange_durable=true"), declared="transient",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def shop(source: Endpoint, target: Endpoint) -> tuple[Endpoint, Endpoint]:
    for end in (source, target):
        if end.server:
            end.server.start()
        end.drop_databases()
        end.query("CREATE DATABASE shop")
        run_sql(end, SHOP, database="shop")
    return source, target


def settings(
    ends: tuple[Endpoint, Endpoint], at: Vhost, queues: Mapping[str, list[str]], options: Mapping[str, Any] = {},
    more: Sequence[Mapping[str, Any]] = (), **amqp: Any,
) -> Settings:  # fmt: skip
    given = {
        "db_info": ends[1].db_info,
        "source_db_info": ends[0].db_info,
        "rabbitmq_conn_info": {**at.conn_info, "management_port": at.broker.ports["management"], **amqp},
        "rabbitmq_queue_bind": [{"exchange": ["maxwell", "topic"], "queues": dict(queues)}, *more],
        "log_file_prefix": "",
        **options,
    }
    return settings_from_mapping(given)[0]


def declare(vhost: Vhost, broken: Broken) -> None:
    if broken.declared != "topic":
        with vhost.connect() as connection:
            kind, durable = ("fanout", True) if broken.declared == "fanout" else ("topic", False)
            channel = connection.channel()
            channel.exchange_declare("maxwell", kind, durable=durable)
            channel.queue_declare("sync", durable=True)
            channel.queue_bind("sync", "maxwell", "#")
        return
    name = quote(vhost.name, safe="")
    if broken.alternate[0]:
        by_policy = broken.alternate[0] == "by policy"
        with vhost.connect() as connection:
            channel = connection.channel()
            arguments = {} if by_policy else {"alternate-exchange": broken.alternate[0]}
            channel.exchange_declare("maxwell", "topic", durable=True, arguments=arguments)
            channel.exchange_declare(broken.alternate[0], "fanout", durable=True)
            channel.queue_declare(broken.alternate[1], durable=True)
            channel.queue_bind(broken.alternate[1], broken.alternate[0])
            for queue, keys in broken.queues.items():
                channel.queue_declare(queue, durable=True)
                for key in keys:
                    channel.queue_bind(queue, "maxwell", key)
        if by_policy:
            body = {"pattern": "maxwell", "definition": {"alternate-exchange": "by policy"}, "apply-to": "exchanges"}
            vhost.broker.call("PUT", f"/policies/{name}/others", body)
        return
    if broken.limit[0]:
        vhost.broker.call("PUT", f"/vhost-limits/{name}/{broken.limit[0]}", {"value": broken.limit[1]})
    if broken.graves[0]:
        with vhost.connect() as connection:
            channel = connection.channel()
            channel.exchange_declare(broken.graves[0], "fanout", durable=True)
            if broken.graves[1]:
                channel.queue_declare(broken.graves[1], durable=True)
                channel.queue_bind(broken.graves[1], broken.graves[0])
    for queue, keys in list(broken.queues.items())[: 1 if broken.limit[0] else None]:
        more = [key for name, key in broken.extra if name == queue]
        vhost.declare(queue, routing_keys=[*keys, *more], arguments=broken.arguments)
    if broken.policy is not None:
        body = {"pattern": ".*", "definition": broken.policy, "apply-to": "queues"}
        vhost.broker.call("PUT", f"/{broken.policies}/{name}/limits", body)


@pytest.mark.parametrize("name", CASES)
def test_a_fault_of_the_broker_is_named_with_its_remedy(
    shop: tuple[Endpoint, Endpoint], vhost: Vhost, name: str
) -> None:
    broken = CASES[name]
    declare(vhost, broken)
    report = examined(settings(shop, vhost, broken.queues, broken.options, more=broken.more), "broker")
    must_say(report, broken.says)


def test_a_grave_that_gives_back_later_is_named(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    """Its queue passes on what it has held for a while, by a policy."""
    limited = {"x-queue-type": "quorum", "x-delivery-limit": 3, "x-dead-letter-exchange": "grave"}
    vhost.declare("sync", routing_keys=["#"], arguments=limited)
    with vhost.connect() as connection:
        channel = connection.channel()
        channel.exchange_declare("grave", "fanout", durable=True)
        channel.queue_declare("later", durable=True)
        channel.queue_bind("later", "grave")
    for names in (["sync"], ["sync", "later"]):
        says = [each.check for each in examined(settings(shop, vhost, {"sync": ["#"]}), "broker").findings]
        assert ("queue-order" in says) is (len(names) == 2)
        body = {"pattern": "later", "definition": {"message-ttl": 60_000, "dead-letter-exchange": "maxwell"}}
        vhost.broker.call("PUT", f"/policies/{quote(vhost.name, safe='')}/again", {**body, "apply-to": "queues"})


def test_what_a_user_may_not_do_is_named(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    vhost.declare("sync", routing_keys=["shop.orders"])
    name, user = quote(vhost.name, safe=""), quote(str(vhost.conn_info["user"]), safe="")
    limits, topics = f"/user-limits/{user}/max-channels", f"/topic-permissions/{name}/{user}"
    vhost.broker.call("PUT", limits, {"value": 2})
    vhost.broker.call("PUT", topics, {"exchange": "maxwell", "write": ".*", "read": "^other"})
    try:
        report = examined(settings(shop, vhost, {"sync": ["#", "shop.orders"]}), "broker")
        with vhost.connect() as connection, pytest.raises(ChannelClosedByBroker, match="ACCESS_REFUSED"):  # it is so
            connection.channel().queue_bind("sync", "maxwell", "#")
    finally:
        vhost.broker.call("DELETE", topics)
        vhost.broker.call("DELETE", limits)
    must_say(report, fault("user-limits", "error", "may have 2 channels, and the workers need 3", "set_user_limits"))
    must_say(report, fault("broker-rights", "error", "may not bind sync to maxwell by #", "set_topic_permissions"))


def test_a_routing_key_that_amqp_cannot_carry(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    vhost.declare("sync", routing_keys=["#"])
    database = "書" * 45
    shop[0].query(f"CREATE DATABASE `{database}` CHARACTER SET utf8mb4")
    try:
        shop[0].query(f"CREATE TABLE `{database}`.`{'表' * 45}` (id INT PRIMARY KEY)")
        report = examined(settings(shop, vhost, {"sync": ["#"]}), "broker")
    finally:
        shop[0].query(f"DROP DATABASE `{database}`")
    must_say(report, fault("long-keys", "error", "is longer than 255 bytes", "shorter names"))


def test_a_database_server_that_is_rabbitmq(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    given = {"db_info": {**shop[1].db_info, "port": vhost.broker.ports["amqp"]}, "log_file_prefix": ""}
    report = examined(settings_from_mapping(given, require=())[0], "connections")
    must_say(report, Fault("", "target-connection", "error", "cannot be reached", "5672 RabbitMQ"))


def test_a_message_that_somebody_took_by_hand_is_named(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    vhost.declare("sync", routing_keys=["#"])
    path = f"/queues/{quote(vhost.name, safe='')}/sync"
    with vhost.connect() as connection:
        channel = connection.channel()
        channel.basic_publish("maxwell", "shop.orders", b"x")
        wait_for(lambda: channel.basic_get("sync")[0], what="the message")
        wait_for(lambda: vhost.broker.call("GET", path).get("messages_unacknowledged"), what="RabbitMQ's statistics")
        report = examined(settings(shop, vhost, {"sync": ["#"]}), "broker")
    must_say(report, fault("held-messages", "warning", "1 message of queue sync is held", "list_channels"))


@pytest.mark.parametrize("keys", [["pydbsync.mark"], ["pydbsync.*"]])
def test_a_queue_without_the_marks_of_the_other_direction_is_named(
    shop: tuple[Endpoint, Endpoint], vhost: Vhost, keys: list[str]
) -> None:
    queues = {"a": ["shop.orders", "shop.items", "pydbsync.#"], "b": ["shop.customers", *keys]}
    for queue, bound in queues.items():
        vhost.declare(queue, routing_keys=bound)
    report = examined(replace(settings(shop, vhost, queues), two_way=TwoWaySettings()), "broker")
    if keys == ["pydbsync.*"]:
        assert [each.level for each in report.findings if each.check in ("marks", "no-marks")] == ["ok"], shown(report)
        return
    says = "queue b does not receive pydbsync.checkpoint, pydbsync.schema_change"
    must_say(report, fault("no-marks", "error", says, "add 'pydbsync.checkpoint' and 'pydbsync.schema_change'"))


def test_nothing_is_wrong_with_what_is_well(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    declare(vhost, Broken(fault("", "ok", "", "")))
    report = examined(settings(shop, vhost, {"sync": ["#"]}), "connections", "broker")
    assert report.exit_code(strict=True) == 0, shown(report)


def test_a_first_start_is_told_that_nothing_comes_yet(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    """Nor is anything made by looking."""
    report = examined(settings(shop, vhost, {"sync": ["shop.orders", "shop.customers", HEARTBEAT]}))
    must_say(report, fault("missing-queue", "warning", "there is no queue sync yet", "before Maxwell"))
    must_say(report, fault("no-queue", "error", "shop.items", "add 'shop.items'"))
    assert vhost.broker.call("GET", f"/queues/{vhost.name}") == []
    assert "maxwell" not in {each["name"] for each in vhost.broker.call("GET", f"/exchanges/{vhost.name}")}


def test_another_reader_is_named(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    vhost.declare("sync")
    vhost.publish([b'{"database":"shop","table":"orders"}'])
    with vhost.connect(client_properties={"connection_name": "reporting"}) as connection:
        channel = connection.channel()
        channel.basic_consume("sync", lambda *_: None)
        connection.process_data_events(time_limit=0)
        report = examined(settings(shop, vhost, {"sync": ["#"]}), "broker")
    must_say(report, fault("other-consumers", "error", "reporting as app", "a queue of its own"))


def test_looking_takes_nothing_out_of_the_order(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    """No message is taken, given back or counted as delivered."""
    vhost.declare("sync", arguments={"x-queue-type": "quorum"})
    messages = [b'{"n":%d}' % n for n in range(5)]
    vhost.publish(messages)
    for port in (vhost.broker.ports["management"], 1):
        examined(settings(shop, vhost, {"sync": ["#"]}, management_port=port))
    with vhost.connect() as connection:
        channel = connection.channel()
        got = [channel.basic_get("sync", auto_ack=True) for _ in messages]
    assert [body for _, _, body in got] == messages
    assert not any(
        method.redelivered or (properties.headers or {}).get("x-delivery-count") for method, properties, _ in got
    )


@pytest.mark.parametrize(
    ("arguments", "check", "says"),
    [
        ({"x-max-length": 10}, "queue-drops", "drops its oldest messages beyond 10"),
        ({"x-queue-type": "quorum", "x-delivery-limit": 3}, "queue-drops", "more than 3 times"),
    ],
)
def test_without_the_management_api_arguments_are_seen_all_the_same(
    shop: tuple[Endpoint, Endpoint], vhost: Vhost, arguments: dict[str, Any], check: str, says: str
) -> None:
    """And what is not seen is said, with what would show it."""
    vhost.declare("sync", arguments=arguments)
    report = examined(settings(shop, vhost, {"sync": ["#"]}, management_port=1), "connections", "broker")
    must_say(report, fault(check, "error", says, "delete_queue"))
    must_say(report, fault("broker-management", "unknown", "does not answer", "rabbitmq-plugins enable"))
    must_say(report, fault("queue-policy", "unknown", "policies and other readers", "rabbitmqctl list_queues"))


@pytest.mark.parametrize("status", ["404 Not Found", "200 OK"])
def test_something_else_on_the_management_port_is_no_fault_of_ours(
    shop: tuple[Endpoint, Endpoint], vhost: Vhost, status: str
) -> None:
    """A web server that answers whatever it is asked."""
    vhost.declare("sync")
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve() -> None:
            server.settimeout(0.1)
            while not ended.is_set():
                with contextlib.suppress(OSError):
                    peer, _ = server.accept()
                    with peer:
                        peer.recv(65536)
                        peer.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 2\r\n\r\n[]".encode())

        thread = threading.Thread(daemon=True, target=serve)
        thread.start()
        try:
            port = server.getsockname()[1]
            report = examined(settings(shop, vhost, {"sync": ["#"]}, management_port=port), "connections", "broker")
        finally:
            ended.set()
            thread.join()
    must_say(report, fault("broker-management", "unknown", "is not RabbitMQ's management", "rabbitmq-plugins enable"))
    assert not any("fault of pydbsync" in each.text for each in report.findings), shown(report)


@contextlib.contextmanager
def user_with(vhost: Vhost, configure: str, write: str, read: str, tags: str = "") -> Iterator[dict[str, Any]]:
    name = f"limited-{vhost.name}"
    vhost.broker.call("PUT", f"/users/{name}", {"password": "secret", "tags": tags})
    rights = {"configure": configure, "write": write, "read": read}
    vhost.broker.call("PUT", f"/permissions/{vhost.name}/{name}", rights)
    try:
        yield {"user": name, "password": "secret"}
    finally:
        vhost.broker.call("DELETE", f"/users/{name}")


def test_rights_of_a_user_that_may_only_read(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    vhost.declare("sync")
    with user_with(vhost, "^$", "^$", "^sync$", tags="administrator") as login:
        report = examined(settings(shop, vhost, {"sync": ["#"]}, **login), "rights")
    wanted = "set_permissions -p " + vhost.name
    must_say(report, Fault("", "broker-rights", "error", "lacks configure on sync, write on sync", wanted))


def test_a_user_without_a_tag_is_told_what_it_does_not_see(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    vhost.declare("sync")
    with user_with(vhost, ".*", ".*", ".*") as login:
        report = examined(settings(shop, vhost, {"sync": ["#"]}, **login), "connections", "broker")
        seen = examined(settings(shop, vhost, {"sync": ["#"]}, **login, management_port=1), "rights")
    must_say(report, Fault("", "broker-management", "unknown", "lets user", "set_user_tags"))
    assert named(seen, "away"), shown(seen)


@pytest.mark.parametrize(
    ("change", "says", "remedy"),
    [
        ({"password": "wrong"}, "refuses user 'app'", "change_password app"),
        ({"vhost": "/nowhere"}, "does not let user", "add_vhost /nowhere"),
        ({"port": 1}, "cannot be reached", "rabbitmq_conn_info.host"),
        ({"port": "management"}, "closed the connection at once", "15672 is RabbitMQ's management"),
        ({"host": "no-such-host.invalid"}, "cannot be resolved", "correct rabbitmq_conn_info.host"),
        ({"tls": True}, "TLS", "5671"),
    ],
)
def test_a_broker_that_cannot_be_used(
    shop: tuple[Endpoint, Endpoint], vhost: Vhost, change: dict[str, Any], says: str, remedy: str
) -> None:
    given = {"port": vhost.broker.port, **change}
    if given["port"] == "management":
        given["port"] = vhost.broker.ports["management"]
    report = examined(settings(shop, vhost, {"sync": ["#"]}, **given), "connections", "broker")
    must_say(report, Fault("", "broker-connection", "error", says, remedy))


def test_a_node_in_alarm(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    """The limit is lowered under what it uses, as a queue without a reader would have it."""
    vhost.broker.control("set_vm_memory_high_watermark", "absolute", "1MB")
    try:
        wait_for(lambda: vhost.broker.call("GET", "/nodes")[0]["mem_alarm"], what="the alarm")
        report = examined(settings(shop, vhost, {"sync": ["#"]}), "broker")
    finally:
        vhost.broker.control("set_vm_memory_high_watermark", "0.6")
    must_say(report, fault("alarms", "error", "is in memory alarm", "set_vm_memory_high_watermark"))


def test_rows_that_are_longer_than_a_message(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    vhost.declare("sync")
    shop[0].query("ALTER TABLE shop.items ADD body LONGTEXT")
    try:
        report = examined(settings(shop, vhost, {"sync": ["#"]}), "broker")
    finally:
        shop[0].query("ALTER TABLE shop.items DROP body")
    must_say(
        report, fault("message-size", "warning", "(shop.items.body): Maxwell ends at a longer", "max_message_size")
    )


def test_a_queue_that_does_not_run(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    """The only member of a quorum queue is stopped; RabbitMQ's statistics go on saying that it runs."""
    vhost.declare("sync", arguments={"x-queue-type": "quorum"})
    path = f"/queues/{vhost.name}/sync"
    wait_for(lambda: vhost.broker.call("GET", path).get("state") == "running", what="the queue's statistics")
    stop = (
        f'{{ok, Q}} = rabbit_amqqueue:lookup(rabbit_misc:r(<<"{vhost.name}">>, queue, <<"sync">>)),'
        " ra:stop_server(quorum_queues, amqqueue:get_pid(Q))."
    )
    vhost.broker.control("eval", stop)
    report = examined(settings(shop, vhost, {"sync": ["#"]}), "broker")
    must_say(report, fault("queue-state", "error", "queue sync does not run: 0 of its 1 members", "quorum_status"))


def test_a_consumer_timeout_shorter_than_the_longest_alter(shop: tuple[Endpoint, Endpoint], vhost: Vhost) -> None:
    vhost.declare("sync")
    connection = Connection(shop[1].db_info)
    try:
        ensure_state_schema(connection, "pydbsync")
    finally:
        connection.close()
    shop[1].query(
        "INSERT INTO pydbsync.schema_change (statement_hash, position, stream, status, statement, before_state,"
        " note, ts,"
        " started_at, ended_at) VALUES ('x', 'b.1:4', 'sync', 'done', 'ALTER TABLE t …', '', '', 0,"
        " NOW() - INTERVAL 2 HOUR, NOW())"
    )
    try:
        report = examined(settings(shop, vhost, {"sync": ["#"]}), "broker")
    finally:
        shop[1].query("DROP DATABASE pydbsync")
    must_say(
        report, fault("consumer-timeout", "warning", "the longest schema change took 7,200 s", "consumer_timeout =")
    )
