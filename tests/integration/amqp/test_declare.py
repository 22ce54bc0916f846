"""Declaring and logging in: what is there is used, what is missing is named."""

from __future__ import annotations

import dataclasses
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import pytest

import lab
from pydbsync.config.settings import FrozenMapping, Secret, settings_from_mapping
from pydbsync.errors import ConfigError, SourceError
from pydbsync.process.run import watch_queues
from pydbsync.source.management import Management
from tests.integration.amqp.steps import (
    EXCHANGE,
    KINDS,
    LIMIT_S,
    LOG,
    QUEUE,
    MakeSource,
    amqp_settings,
    bodies,
    numbered,
    opened,
    queue_settings,
    take,
    until,
)
from tests.proxy import Proxy
from tests.servers import Vhost


def test_exchange_queue_and_bindings_are_made(make_source: MakeSource, vhost: Vhost) -> None:
    source = opened(make_source(queue={"routing_keys": ("shop.#", "crm.users")}))
    vhost.publish(
        [b'{"database":"shop","table":"a"}', b'{"database":"no","table":"b"}', b'{"database":"crm","table":"users"}']
    )
    assert [delivery.tag for delivery in take(source, 2)] == [1, 2]
    assert source.stream == QUEUE
    (exchange,) = [each for each in vhost.broker.call("GET", f"/exchanges/{vhost.name}") if each["name"] == EXCHANGE]
    (queue,) = vhost.broker.call("GET", f"/queues/{vhost.name}")
    assert (exchange["type"], exchange["durable"], queue["durable"]) == ("topic", True, True)
    assert source.is_new
    assert not opened(source).is_new


@pytest.mark.parametrize("kind", KINDS)
def test_a_queue_with_other_arguments_is_used_as_it_is_with_one_warning(
    make_source: MakeSource, vhost: Vhost, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    vhost.declare(QUEUE, arguments=KINDS[kind])
    vhost.publish(numbered(3))
    source = opened(make_source(queue={"arguments": FrozenMapping({"x-max-priority": 7})}))
    assert bodies(take(source, 3)) == numbered(3)
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert QUEUE in warning.getMessage()
    assert "used as it is" in warning.getMessage()


def test_an_exchange_of_another_type_is_used_as_it_is_with_one_warning(
    make_source: MakeSource, vhost: Vhost, caplog: pytest.LogCaptureFixture
) -> None:
    vhost.declare("another", exchange_type="fanout", routing_keys=())
    source = opened(make_source())
    vhost.publish(numbered(1))
    assert bodies(take(source, 1)) == numbered(1)
    (warning,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert EXCHANGE in warning.getMessage()


@pytest.mark.parametrize("kind", ["classic", "quorum"])
def test_a_queue_is_made_with_the_configured_arguments(make_source: MakeSource, vhost: Vhost, kind: str) -> None:
    opened(make_source(queue={"arguments": FrozenMapping({"x-queue-type": kind})}))
    (queue,) = vhost.broker.call("GET", f"/queues/{vhost.name}")
    assert queue["arguments"]["x-queue-type"] == kind


@pytest.fixture
def limited_user(vhost: Vhost) -> Iterator[Callable[..., dict[str, Any]]]:
    """limited_user(configure, write, read): a user with these rights alone, as settings."""
    name = vhost.name

    def make(*, configure: str = "", write: str = "", read: str = "") -> dict[str, Any]:
        vhost.broker.call("PUT", f"/users/{name}", {"password": "secret", "tags": ""})
        rights = {"configure": configure, "write": write, "read": read}
        vhost.broker.call("PUT", f"/permissions/{name}/{name}", rights)
        return {"user": name, "password": Secret("secret")}

    yield make
    with suppress(lab.LabError):
        vhost.broker.call("DELETE", f"/users/{name}")


def test_the_right_to_read_is_enough_where_queue_and_exchange_exist(
    make_source: MakeSource, vhost: Vhost, limited_user: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    vhost.declare(QUEUE)
    vhost.publish(numbered(2))
    source = opened(make_source(queue={"routing_keys": ()}, **limited_user(read=".*")))
    assert bodies(take(source, 2)) == numbered(2)
    source.acknowledge(2)
    assert source.is_drained()
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize(
    ("rights", "said"),
    [
        ({"read": ".*", "write": ".*"}, "creating exchange 'maxwell', which does not exist yet"),
        ({"read": ".*", "write": ".*", "configure": "maxwell"}, f"creating queue '{QUEUE}', which does not exist yet"),
        ({"read": ".*", "configure": ".*"}, f"binding queue '{QUEUE}' to exchange 'maxwell'"),
        ({"read": "maxwell", "write": ".*", "configure": ".*"}, f"consuming from queue '{QUEUE}'"),
    ],
)
def test_a_missing_right_is_named_as_a_wrong_setting(
    make_source: MakeSource, limited_user: Callable[..., dict[str, Any]], rights: dict[str, str], said: str
) -> None:
    with pytest.raises(ConfigError, match=f"lacks the right for {said}"):
        opened(make_source(**limited_user(**rights)))


def test_a_wrong_password_is_a_wrong_setting_and_not_shown(make_source: MakeSource) -> None:
    with pytest.raises(ConfigError, match=r"rabbitmq_conn_info\.user: .*refuses user 'app'") as caught:
        opened(make_source(password=Secret("wr0ng")))
    assert "wr0ng" not in str(caught.value)


def test_an_unknown_vhost_is_a_wrong_setting(make_source: MakeSource) -> None:
    with pytest.raises(ConfigError, match=r"rabbitmq_conn_info\.vhost: .*'nowhere'.*not found"):
        opened(make_source(vhost="nowhere"))


def test_a_vhost_without_rights_is_a_wrong_setting(make_source: MakeSource, vhost: Vhost) -> None:
    vhost.broker.call("DELETE", f"/permissions/{vhost.name}/{vhost.broker.user}")
    with pytest.raises(ConfigError, match=r"rabbitmq_conn_info\.vhost: "):
        opened(make_source())


def test_a_vhost_that_is_full_can_be_tried_again(make_source: MakeSource, vhost: Vhost) -> None:
    vhost.broker.call("PUT", f"/vhost-limits/{vhost.name}/max-connections", {"value": 0})
    with pytest.raises(SourceError, match="limit"):
        opened(make_source())


def test_a_broker_that_is_away_can_be_tried_again(make_source: MakeSource) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(SourceError, match=f"127.0.0.1:{port} cannot be reached: Connection refused"):
        opened(make_source(port=port))


def test_a_host_without_address_can_be_tried_again(make_source: MakeSource) -> None:
    with pytest.raises(SourceError, match="cannot be resolved"):
        opened(make_source(host="broker.invalid"))


def test_a_server_that_says_nothing_can_be_tried_again(make_source: MakeSource) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        source = make_source(port=server.getsockname()[1], connect_timeout_s=1.0)
        with pytest.raises(SourceError, match="did not answer within 1 s"):
            opened(source)


def test_a_server_that_hangs_up_can_be_tried_again(
    make_source: MakeSource, vhost: Vhost, make_proxy: Callable[[int], Proxy]
) -> None:
    proxy = make_proxy(vhost.broker.port)
    proxy.refuse()
    source = make_source(port=proxy.port)
    with pytest.raises(SourceError):
        opened(source)
    proxy.resume()
    opened(source)


def test_the_connection_has_a_name_that_tells_queue_and_process(make_source: MakeSource, vhost: Vhost) -> None:
    opened(make_source())

    def names() -> list[str]:
        connections = vhost.broker.call("GET", f"/vhosts/{vhost.name}/connections")
        return [each["client_properties"]["connection_name"] for each in connections]

    until(names)
    assert names() == [f"pydbsync {QUEUE} {os.getpid()}@{socket.gethostname()}"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"x-queue-type": "quorum", "x-delivery-limit": 3}, "more than 3 times (x-delivery-limit)"),
        (
            {"x-queue-type": "quorum", "x-delivery-limit": 4, "x-max-length": 9, "x-dead-letter-exchange": "dead"},
            "more than 4 times (x-delivery-limit)",
        ),
        ({"x-max-length": 100, "x-max-priority": 5}, "beyond 100 messages (x-max-length)"),
        ({"x-message-ttl": 3_600_000, "x-dead-letter-exchange": "dead"}, "goes to exchange 'dead'"),
    ],
)
@pytest.mark.parametrize("configured", [{}, {"x-queue-mode": "lazy"}, {"x-queue-type": "quorum"}])
def test_a_queue_that_drops_messages_is_named_before_anything_is_read(
    make_source: MakeSource,
    vhost: Vhost,
    caplog: pytest.LogCaptureFixture,
    arguments: dict[str, Any],
    said: str,
    configured: dict[str, Any],
) -> None:
    vhost.declare(QUEUE, arguments=arguments)
    opened(make_source(queue={"arguments": FrozenMapping(configured)}))
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2, warnings
    assert "used as it is" in warnings[0]
    assert said in warnings[1]
    (queue,) = vhost.broker.call("GET", f"/queues/{vhost.name}")
    assert {name: queue["arguments"].get(name) for name in arguments} == arguments


def test_what_a_policy_drops_is_seen_where_the_management_is_there(vhost: Vhost) -> None:
    """AMQP shows arguments alone."""
    vhost.declare(QUEUE, arguments={**KINDS["quorum"], "x-max-length": 10**6})
    management = Management(amqp_settings(vhost, management_port=vhost.broker.ports["management"]), timeout_s=LIMIT_S)
    assert management.dropped_by_policy(QUEUE) == management.dropped_by_policy("none") == []
    definition = {"delivery-limit": 3, "max-length": 10**7}
    vhost.broker.call("PUT", f"/policies/{vhost.name}/limits", {"pattern": ".*", "definition": definition})
    until(lambda: management.dropped_by_policy(QUEUE))
    (said,) = management.dropped_by_policy(QUEUE)
    assert "given back more than 3 times" in said
    assert said.endswith("by the policy 'limits'")


def test_what_is_done_to_a_queue_meanwhile_is_named_once(vhost: Vhost, caplog: pytest.LogCaptureFixture) -> None:
    vhost.declare(QUEUE, exchange=EXCHANGE)
    amqp = amqp_settings(vhost, management_port=vhost.broker.ports["management"])
    settings = dataclasses.replace(settings_from_mapping({}, require=())[0], amqp=amqp, queues=(queue_settings(),))
    management, stop = Management(amqp, timeout_s=LIMIT_S), threading.Event()
    until(lambda: management.bound_by(queue_settings()))
    watch = threading.Thread(target=watch_queues, args=(settings, LOG, stop), kwargs={"every_s": 0.05}, daemon=True)
    watch.start()
    try:
        definition = {"message-ttl": 1000}
        vhost.broker.call("PUT", f"/policies/{vhost.name}/limits", {"pattern": ".*", "definition": definition})
        until(lambda: "wait for more than 1000 ms (x-message-ttl), by the policy 'limits'" in caplog.text)
        with vhost.connect() as broker:
            broker.channel().queue_unbind(QUEUE, EXCHANGE, "#")
        until(lambda: f"queue '{QUEUE}' is no longer bound to exchange 'maxwell' by #" in caplog.text)
        until(lambda: not management.bound_by(queue_settings()))
    finally:
        stop.set()
        watch.join(LIMIT_S)
    assert [caplog.text.count(each) for each in ("by the policy", "no longer bound")] == [1, 1]


def test_a_queue_that_goes_with_its_worker_or_with_the_broker_is_named(
    make_source: MakeSource, vhost: Vhost, caplog: pytest.LogCaptureFixture
) -> None:
    with vhost.connect() as broker:
        broker.channel().queue_declare(QUEUE, durable=False, auto_delete=True)
    opened(make_source())
    assert "deleted with all its messages when its worker leaves" in caplog.text
    assert "is lost when RabbitMQ starts again" in caplog.text


def test_a_stream_is_refused(
    make_source: MakeSource, vhost: Vhost, limited_user: Callable[..., dict[str, Any]]
) -> None:
    vhost.declare(QUEUE, arguments={"x-queue-type": "stream", "x-max-age": "1h"})
    with pytest.raises(ConfigError, match=f"^rabbitmq_queue_bind: queue '{QUEUE}' is a stream"):
        opened(make_source())
    # Also where the rights do not let us declare, and so compare.
    with pytest.raises(ConfigError, match=f"^rabbitmq_queue_bind: queue '{QUEUE}' is a stream"):
        opened(make_source(queue={"routing_keys": (), "exchange": ""}, **limited_user(read=".*")))


def test_a_quorum_queue_whose_limit_cannot_be_seen_is_named(
    make_source: MakeSource, vhost: Vhost, limited_user: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    vhost.declare(QUEUE, arguments={"x-queue-type": "quorum", "x-delivery-limit": 3})
    vhost.publish(numbered(2))
    source = opened(make_source(queue={"routing_keys": ()}, **limited_user(read=".*")))
    assert bodies(take(source, 2)) == numbered(2)
    (warning,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "do not show whether it has a delivery limit" in warning


@pytest.mark.parametrize(
    ("queue", "key", "said"),
    [
        ({"arguments": FrozenMapping({"x-max-length": "many"})}, "queue_arguments", "'x-max-length'"),
        (
            {"arguments": FrozenMapping({"x-queue-type": "quorum", "x-max-priority": 5})},
            "queue_arguments",
            "'x-max-priority'",
        ),
        ({"arguments": FrozenMapping({"x-queue-type": "nonesuch"})}, "queue_type", "'x-queue-type'"),
        ({"exchange_type": "x-nothing"}, "rabbitmq_queue_bind", "unknown exchange type 'x-nothing'"),
    ],
)
def test_what_rabbitmq_cannot_make_is_a_wrong_setting_in_its_own_words(
    make_source: MakeSource,
    vhost: Vhost,
    caplog: pytest.LogCaptureFixture,
    queue: dict[str, Any],
    key: str,
    said: str,
) -> None:
    with pytest.raises(ConfigError, match=rf"^{key}: .*{said}"):
        opened(make_source(queue=queue))
    assert "used as it is" not in caplog.text
    assert vhost.broker.call("GET", f"/queues/{vhost.name}") == []


def test_an_argument_that_no_queue_takes_is_no_reason_to_leave_one_that_exists(
    make_source: MakeSource, vhost: Vhost, caplog: pytest.LogCaptureFixture
) -> None:
    vhost.declare(QUEUE)
    vhost.publish(numbered(1))
    source = opened(make_source(queue={"arguments": FrozenMapping({"x-max-length": "many"})}))
    assert bodies(take(source, 1)) == numbered(1)
    assert "used as it is" in caplog.text


def test_who_was_let_in_once_waits_where_the_login_is_refused(
    make_source: MakeSource, vhost: Vhost, limited_user: Callable[..., dict[str, Any]]
) -> None:
    vhost.declare(QUEUE)
    source = make_source(**limited_user(read=".*", write=".*", configure=".*"))
    opened(source)
    vhost.broker.call("PUT", f"/users/{vhost.name}", {"password": "another", "tags": ""})
    with pytest.raises(SourceError, match="refuses user"):
        opened(source)
    vhost.broker.call("PUT", f"/users/{vhost.name}", {"password": "secret", "tags": ""})
    vhost.broker.call("DELETE", f"/permissions/{vhost.name}/{vhost.name}")
    with pytest.raises(SourceError, match="vhost"):
        opened(source)
    limited_user(read=".*", write=".*", configure=".*")
    opened(source)


def test_who_only_looks_makes_nothing_and_leaves_a_queue_alone_that_is_read(
    make_source: MakeSource, vhost: Vhost
) -> None:
    with pytest.raises(ConfigError, match=f"there is no queue '{QUEUE}'"):
        opened(make_source(only_looks=True))
    assert vhost.broker.call("GET", f"/queues/{vhost.name}") == []
    assert EXCHANGE not in [each["name"] for each in vhost.broker.call("GET", f"/exchanges/{vhost.name}")]
    vhost.declare(QUEUE, exchange="another", arguments={"x-queue-type": "quorum"})
    vhost.publish(numbered(2), exchange="another")
    looking = make_source(only_looks=True)
    assert bodies(take(opened(looking), 2)) == numbered(2)
    with pytest.raises(ConfigError, match=r"1 consumer\(s\) are on queue"):
        opened(make_source(only_looks=True))
    assert EXCHANGE not in [each["name"] for each in vhost.broker.call("GET", f"/exchanges/{vhost.name}")]
