"""pika's connection with its reading replaced: bigger receives, whole deliveries at once, and a way to pause.

pika spends some twenty microseconds on each message, most of them in objects that nobody looks at. What is overridden
here is not part of its published interface: it is looked for before it is used, and pika's own way remains.
"""

from __future__ import annotations

import errno
import inspect
import os
import socket
import ssl
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.utils import io_services_utils

from pydbsync.config.settings import AmqpSettings, TlsSettings
from pydbsync.errors import ConfigError
from pydbsync.model import Delivery
from pydbsync.source.frames import DeliveryReader

_RECEIVE_BYTES = 2**20
"""pika asks for 4 KiB at a time: a pass through its loop, and a turn with the GIL, for a few messages."""
_TRICKLE_BYTES = 512 * 1024
_TRICKLE_SHARE = 12
"""Of the receive buffer, which is far larger where the kernels were tuned for long ways."""
TRICKLE_PAUSE_S = 4.0
"""How often `read_a_little` must be called while reading is stopped."""
_LEAST_USER_TIMEOUT_S = 30


class BrokerConnection(pika.SelectConnection):  # type: ignore[misc]
    """A connection to RabbitMQ; all methods are for the thread of its loop."""

    _reader: DeliveryReader | None = None
    _on_deliveries: Callable[[list[Delivery], int], None]
    _buffer: memoryview
    _may_receive_bytes: int | None = None
    """How much may be received before the next step: None without limit, 0 while reading is stopped."""

    def prepare(self) -> str | None:
        """Take over the transport's receiving. Returns what this version of pika lacks for it, or None."""
        problem = _missing_internals(self._transport)
        if problem is None:
            self._buffer = memoryview(bytearray(_RECEIVE_BYTES))
            self._transport._sigint_safe_recv = self._receive
        return problem

    def read_fast(
        self, channel_number: int, consumer_tag: str, on_deliveries: Callable[[list[Delivery], int], None]
    ) -> None:
        """From now on take the deliveries of this consumer past pika's parser; `prepare` must have gone well.

        `on_deliveries(deliveries, size_bytes)` is called once for each receive, with what it completed.
        """
        self._transport._MAX_RECV_BYTES = _RECEIVE_BYTES
        if not self.params.ssl_options:
            self._transport._MAX_CONSUME_BYTES = 1  # one receive takes all there is; a second one would find nothing
        self._on_deliveries = on_deliveries
        self._reader = DeliveryReader(
            channel=channel_number, consumer_tag=consumer_tag, pass_on=super()._on_data_available
        )

    @property
    def most_returns(self) -> int:
        """How often the broker says, at most, that a delivery was given back before; see `read_fast`."""
        return self._reader.most_returns if self._reader is not None else 0

    @property
    def published_at(self) -> float | None:
        """When a message that came lately was published, where messages tell."""
        return self._reader.published_at if self._reader is not None else None

    def stop_reading(self) -> None:
        """Leave what comes in the socket's buffers, and so with the broker, until `read_on`."""
        if self._transport is not None:
            self._may_receive_bytes = 0
            self._nbio.remove_reader(self._transport._sock.fileno())

    def read_on(self) -> None:
        """Read as before `stop_reading`."""
        if self._transport is not None:
            self._may_receive_bytes = None
            self._nbio.set_reader(self._transport._sock.fileno(), self._transport._on_socket_readable)
            # TLS may hold bytes that it has decrypted already: for them the socket does not become readable again.
            self._nbio.add_callback_threadsafe(self._transport._on_socket_readable)

    def read_a_little(self) -> None:
        """Receive so much, while reading is stopped, that the broker can send on.

        RabbitMQ gives up a connection on which a send of its has not gone through for 30 seconds (seen with 3.10), and
        its kernel wakes it only when a third of the send buffer is free: 4 MiB with Linux's defaults. pika gives up one
        on which no bytes came between two heartbeat checks, which are five seconds apart at least.
        """
        if self._transport is None:
            return
        buffer_bytes = self._transport._sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        self._may_receive_bytes = max(_TRICKLE_BYTES, buffer_bytes // _TRICKLE_SHARE)
        left = None
        while self._may_receive_bytes and self._may_receive_bytes != left and self._transport is not None:
            left = self._may_receive_bytes
            self._transport._on_socket_readable()
        if self._may_receive_bytes is not None:
            self._may_receive_bytes = 0

    def say_goodbye(self) -> None:
        """Close channels and connection in an orderly way, without cancelling consumers first.

        pika's close sends Basic.Cancel before it closes a channel. From then on the queue has no consumer, but for a
        moment still deliveries that were not acknowledged: the next consumer would get newer messages before them.
        When a channel closes with its consumer, the queue takes back all at once (tried on classic and quorum queues).
        """
        for channel in self._channels.values():
            channel._consumers.clear()
        self.close()

    def abort(self) -> None:
        """Cut the connection without a word."""
        if self._transport is not None:
            self._transport.abort()

    def close_socket(self) -> None:
        """Close the socket of a connection whose loop has ended before it could."""
        sock = getattr(self._transport, "_sock", None)
        if sock is not None:
            sock.close()

    def _on_data_available(self, data_in: bytes) -> None:
        # What stands in pika's own buffer when the reader is set began before the first delivery.
        if self._reader is None or self._frame_buffer:
            super()._on_data_available(data_in)
            return
        passed_on_bytes = self._reader.passed_on_bytes
        deliveries = self._reader.feed(data_in)
        self.bytes_received += len(data_in) - (self._reader.passed_on_bytes - passed_on_bytes)
        self._on_deliveries(deliveries, len(data_in))

    def _receive(self, sock: Any, max_bytes: int) -> bytes:
        if self._may_receive_bytes is not None:
            max_bytes = min(max_bytes, self._may_receive_bytes)
            if not max_bytes and isinstance(sock, ssl.SSLSocket):
                raise ssl.SSLWantReadError(ssl.SSL_ERROR_WANT_READ, "reading is stopped")
            if not max_bytes:
                raise BlockingIOError(errno.EAGAIN, "reading is stopped")
        # recv would ask the system for max_bytes each time, and give most of them back: six times the cost for 5 KB.
        size = sock.recv_into(self._buffer, max_bytes)
        if self._may_receive_bytes is not None:
            self._may_receive_bytes -= size
        return self._buffer[:size].tobytes()


def _missing_internals(transport: Any) -> str | None:
    base = getattr(io_services_utils, "_AsyncTransportBase", None)
    if base is None or not isinstance(transport, base):
        return "it has another transport"
    for name in ("_MAX_RECV_BYTES", "_MAX_CONSUME_BYTES", "_sigint_safe_recv", "_on_socket_readable", "_sock"):
        if not hasattr(transport, name):
            return f"its transport has no {name}"
    if list(inspect.signature(pika.SelectConnection._on_data_available).parameters) != ["self", "data_in"]:
        return "its parser is called in another way"
    return None


def connection_parameters(amqp: AmqpSettings, *, name: str) -> Any:
    """pika's parameters for one attempt. `name` is what RabbitMQ's management shows. Raises ConfigError."""
    return pika.ConnectionParameters(
        host=amqp.host,
        port=amqp.port,
        virtual_host=amqp.vhost,
        credentials=pika.PlainCredentials(amqp.user, amqp.password.reveal()),
        heartbeat=amqp.heartbeat_s,
        blocked_connection_timeout=amqp.blocked_timeout_s or None,
        ssl_options=_ssl_options(amqp.tls, amqp.host) if amqp.tls else None,
        connection_attempts=1,
        socket_timeout=amqp.connect_timeout_s,
        stack_timeout=amqp.connect_timeout_s,
        client_properties={"product": "pydbsync", "connection_name": name},
        # A peer that has vanished is noticed while the heartbeat check is kept satisfied by what was received before.
        tcp_options={
            "TCP_KEEPIDLE": 30,
            "TCP_KEEPINTVL": 10,
            "TCP_KEEPCNT": 3,
            "TCP_USER_TIMEOUT": 1000 * max(_LEAST_USER_TIMEOUT_S, 2 * amqp.heartbeat_s),
        },
    )


def connection_name(queue: str) -> str:
    """How RabbitMQ's management shows this worker."""
    return f"pydbsync {queue} {os.getpid()}@{socket.gethostname()}"


def _ssl_options(tls: TlsSettings, host: str) -> Any:
    return pika.SSLOptions(tls_context(tls), server_hostname=tls.server_name or host)


def tls_context(tls: TlsSettings) -> ssl.SSLContext:
    """The certificates of the configuration. Raises ConfigError where they cannot be used."""
    try:
        context = ssl.create_default_context(cafile=tls.ca)
        if tls.cert:
            context.load_cert_chain(tls.cert, tls.key)
    except OSError as error:  # ssl.SSLError is one
        raise ConfigError(f"the certificates cannot be used: {error}", key="rabbitmq_conn_info.tls") from error
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
