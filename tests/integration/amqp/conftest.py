"""Sources on the test's virtual host, and a broker that wants TLS and a client's certificate."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

import lab
from pydbsync.config.settings import TlsSettings
from pydbsync.source.amqp import AmqpSource
from tests.certificates import Certificates
from tests.integration.amqp.steps import LOG, SEND_TIMEOUT_S, MakeSource, amqp_settings, queue_settings
from tests.servers import Vhost


@pytest.fixture
def make_source(vhost: Vhost) -> Iterator[MakeSource]:
    """make_source(port=…, queue={…}, fast=…): a source, closed at the end; on `vhost` unless another is given."""
    made: list[AmqpSource] = []

    def make(
        place: Vhost | None = None,
        *,
        queue: dict[str, Any] | None = None,
        prefetch: int = 5000,
        read_ahead_bytes: int = 2**26,
        fast: bool = True,
        only_looks: bool = False,
        **amqp: Any,
    ) -> AmqpSource:
        made.append(
            AmqpSource(
                amqp_settings(place or vhost, **amqp),
                queue_settings(**(queue or {})),
                prefetch=prefetch,
                read_ahead_bytes=read_ahead_bytes,
                log=LOG,
                fast=fast,
                only_looks=only_looks,
            )
        )
        return made[-1]

    yield make
    for source in made:
        source.close()


@pytest.fixture(scope="session")
def tls_broker(tmp_path_factory: pytest.TempPathFactory, certificates: Certificates) -> Iterator[lab.RabbitMQ]:
    """A RabbitMQ that wants TLS clients to show a certificate, and that gives up a blocked send after three seconds."""
    tls = lab.Tls(certificates.ca, certificates.server.certificate, certificates.server.key, verify_client=True)
    config = {"tcp_listen_options.send_timeout": str(1000 * SEND_TIMEOUT_S)}
    broker = lab.RabbitMQ("rabbitmq-tls", root=tmp_path_factory.mktemp("lab"), tls=tls, config=config)
    broker.start()
    yield broker
    broker.remove()


@pytest.fixture
def tls_vhost(tls_broker: lab.RabbitMQ) -> Iterator[Vhost]:
    vhost = Vhost(tls_broker, f"test-{uuid.uuid4().hex[:12]}")
    tls_broker.create_vhost(vhost.name)
    yield vhost
    tls_broker.delete_vhost(vhost.name)


@pytest.fixture
def tls_keywords(tls_broker: lab.RabbitMQ, certificates: Certificates) -> dict[str, Any]:
    """What of the settings differs for TLS."""
    client = certificates.client
    tls = TlsSettings(ca=str(certificates.ca), cert=str(client.certificate), key=str(client.key))
    return {"port": tls_broker.tls_port, "tls": tls}
