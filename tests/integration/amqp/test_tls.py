"""TLS towards RabbitMQ: verified by default, with a certificate of our own where the broker asks for it; and what needs
that broker for the short time in which it gives up a blocked send."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import lab
from pydbsync.config.settings import TlsSettings
from pydbsync.errors import ConfigError, SourceError
from pydbsync.model import Delivery
from pydbsync.source.brokers import is_another
from pydbsync.source.connection import TRICKLE_PAUSE_S
from tests.certificates import Certificates, make_certificates
from tests.integration.amqp.steps import (
    LIMIT_S,
    QUEUE,
    SEND_TIMEOUT_S,
    MakeSource,
    amqp_settings,
    bodies,
    check_heartbeats_every,
    opened,
    patterned,
    publish_raw,
    take,
    until,
)
from tests.matrices import LONG
from tests.servers import Vhost


@pytest.mark.parametrize("fast", [True, False], ids=["fast", "plain"])
def test_messages_of_any_size_arrive_over_tls(
    make_source: MakeSource, tls_vhost: Vhost, tls_keywords: dict[str, Any], fast: bool
) -> None:
    tls_vhost.declare(QUEUE)
    sent = [patterned(size) for size in (0, 1, 16_383, 16_384, 16_385, 131_064, 131_065, 3_000_000, *range(400, 700))]
    publish_raw(tls_vhost, sent)
    source = opened(make_source(tls_vhost, fast=fast, **tls_keywords))
    assert take(source, len(sent)) == [Delivery(body, tag) for tag, body in enumerate(sent, start=1)]
    source.acknowledge(len(sent))
    assert source.is_drained()


def test_an_unknown_authority_is_a_wrong_setting(
    make_source: MakeSource, tls_vhost: Vhost, tls_keywords: dict[str, Any], tmp_path: Path
) -> None:
    stranger = make_certificates(tmp_path).ca
    tls = replace(tls_keywords.pop("tls"), ca=str(stranger))
    with pytest.raises(ConfigError, match=r"rabbitmq_conn_info\.tls: .*is not trusted"):
        opened(make_source(tls_vhost, tls=tls, **tls_keywords))


def test_a_certificate_for_another_name_is_a_wrong_setting(
    make_source: MakeSource, tls_vhost: Vhost, tls_keywords: dict[str, Any]
) -> None:
    tls = replace(tls_keywords.pop("tls"), server_name="broker.example")
    with pytest.raises(ConfigError, match=r"is not trusted: .*broker\.example"):
        opened(make_source(tls_vhost, tls=tls, **tls_keywords))


def test_the_name_to_expect_can_be_set(make_source: MakeSource, tls_vhost: Vhost, tls_keywords: dict[str, Any]) -> None:
    tls = replace(tls_keywords.pop("tls"), server_name="localhost")
    opened(make_source(tls_vhost, tls=tls, **tls_keywords))


def test_verification_can_be_turned_off(
    make_source: MakeSource, tls_vhost: Vhost, tls_keywords: dict[str, Any], certificates: Certificates
) -> None:
    client = certificates.client
    tls = TlsSettings(cert=str(client.certificate), key=str(client.key), verify=False, server_name="broker.example")
    opened(make_source(tls_vhost, port=tls_keywords["port"], tls=tls))


def test_a_broker_that_misses_our_certificate_says_no(
    make_source: MakeSource, tls_vhost: Vhost, tls_keywords: dict[str, Any], certificates: Certificates
) -> None:
    with pytest.raises(SourceError):
        opened(make_source(tls_vhost, port=tls_keywords["port"], tls=TlsSettings(ca=str(certificates.ca))))


def test_a_file_that_is_no_certificate_is_a_wrong_setting(
    make_source: MakeSource, tls_vhost: Vhost, tls_keywords: dict[str, Any], tmp_path: Path
) -> None:
    text = tmp_path / "ca.pem"
    text.write_text("hello", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"rabbitmq_conn_info\.tls: the certificates cannot be used"):
        opened(make_source(tls_vhost, port=tls_keywords["port"], tls=TlsSettings(ca=str(text))))


def test_speaking_plainly_to_the_tls_port_is_named(
    make_source: MakeSource, tls_vhost: Vhost, tls_keywords: dict[str, Any]
) -> None:
    with pytest.raises(SourceError, match="`tls`"):
        opened(make_source(tls_vhost, port=tls_keywords["port"]))


def test_tls_to_the_plain_port_can_be_tried_again(
    make_source: MakeSource, tls_vhost: Vhost, tls_keywords: dict[str, Any]
) -> None:
    with pytest.raises(SourceError, match="TLS with RabbitMQ"):
        opened(make_source(tls_vhost, tls=tls_keywords["tls"]))


@pytest.mark.parametrize("over_tls", [False, pytest.param(True, marks=LONG)], ids=["tcp", "tls"])
def test_reading_stops_at_the_limit_and_the_connection_lives_on(
    make_source: MakeSource,
    tls_vhost: Vhost,
    tls_keywords: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    over_tls: bool,
) -> None:
    """Much more than may be held is on its way while pika checks for heartbeats and the broker for blocked sends."""
    monkeypatch.setattr("pydbsync.source.link.TRICKLE_PAUSE_S", TRICKLE_PAUSE_S * SEND_TIMEOUT_S / 30)
    checks = check_heartbeats_every(SEND_TIMEOUT_S / 2, monkeypatch)
    tls_vhost.declare(QUEUE)
    messages = [patterned(50_000 + number) for number in range(2000)]
    publish_raw(tls_vhost, messages)
    keywords = tls_keywords if over_tls else {}
    source = opened(make_source(tls_vhost, heartbeat_s=1, read_ahead_bytes=2**20, **keywords))
    taken = list(source.take(timeout_s=LIMIT_S))
    until(lambda: len(checks) >= 4)
    assert source.held_bytes < sum(map(len, messages)) / 2
    while len(taken) < len(messages):
        source.acknowledge(taken[-1].tag)
        taken += source.take(timeout_s=LIMIT_S)
    assert bodies(taken) == messages
    assert not any(delivery.redelivered for delivery in taken)


def test_a_second_broker_of_the_first_one_s_name_is_proven_to_be_one(vhost: Vhost, tls_broker: lab.RabbitMQ) -> None:
    amqp, there = amqp_settings(vhost), (tls_broker.host, tls_broker.port)
    vhost.declare(QUEUE)
    assert not is_another(amqp, QUEUE, there), "it does not let us in"
    tls_broker.create_vhost(vhost.name)
    try:
        assert not is_another(amqp, QUEUE, there), "the queue has moved from there"
        Vhost(tls_broker, vhost.name).declare(QUEUE)
        assert is_another(amqp, QUEUE, there)
        assert not is_another(amqp, QUEUE, ("localhost", amqp.port))
        assert not is_another(amqp, QUEUE, None)
    finally:
        tls_broker.delete_vhost(vhost.name)
    assert not is_another(amqp, QUEUE, (tls_broker.host, tls_broker.ports["distribution"])), "nobody answers"
