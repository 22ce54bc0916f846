"""Fills queues quickly: AMQP frames written by hand over one socket, persistent messages, confirmed if asked for."""

from __future__ import annotations

import select
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlparse

import pika
from pika import frame, spec

from pydbsync.ops.capture.publish.bundle import BUNDLE_BYTES, Bundle

EXCHANGE = "bench"
SEND_BYTES = 1 << 18
QUORUM = {"x-queue-type": "quorum"}
PERSISTENT = pika.BasicProperties(content_type="application/json", delivery_mode=2)


def connect(url: str) -> pika.BlockingConnection:
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 0
    return pika.BlockingConnection(parameters)


def declare(url: str, queues: Mapping[str, Sequence[str]], *, quorum: Collection[str] = ()) -> None:
    """Make durable queues anew, classic ones but for those in `quorum`, and bind each with its topic keys."""
    connection = connect(url)
    channel = connection.channel()
    channel.exchange_declare(EXCHANGE, "topic", durable=True)
    for queue, keys in queues.items():
        channel.queue_delete(queue)
        channel.queue_declare(queue, durable=True, arguments=QUORUM if queue in quorum else {})
        for key in keys:
            channel.queue_bind(queue, EXCHANGE, key)
    connection.close()


def delete(url: str, queues: Iterable[str]) -> None:
    connection = connect(url)
    channel = connection.channel()
    for queue in queues:
        channel.queue_delete(queue)
    connection.close()


def depth(url: str, queue: str) -> int:
    """Messages that are ready in a queue."""
    connection = connect(url)
    count = connection.channel().queue_declare(queue, passive=True).method.message_count
    connection.close()
    return int(count)


def holds(url: str, queue: str, count: int) -> bool:
    return depth(url, queue) == count


def routing_key(body: bytes) -> str:
    """`database.table`, read from the beginning of a message as Maxwell prints it."""
    fields = body.split(b'"', 8)
    return f"{fields[3].decode()}.{fields[7].decode()}"


class FramePublisher:
    """One connection and channel that only publish; with `confirm`, close() waits until the broker has all for good."""

    def __init__(self, url: str, *, confirm: bool = False) -> None:
        parts = urlparse(url)
        self._published = self._confirmed = 0
        self._socket = socket.create_connection((parts.hostname or "127.0.0.1", parts.port or 5672))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._received = b""
        self._covered = 0
        self._single: set[int] = set()
        self._methods: dict[bytes, bytes] = {}
        self._headers: dict[int, bytes] = {}
        self._open(unquote(parts.username or ""), unquote(parts.password or ""), unquote(parts.path[1:]) or "/")
        self._confirms = confirm
        if confirm:
            self._send(1, spec.Confirm.Select())
            self._expect(spec.Confirm.SelectOk)

    def publish(self, bodies: Iterable[bytes]) -> int:
        """Send all; returns their number. Blocks while the broker holds back."""
        count = size = 0
        pending: list[bytes] = []
        for body in bodies:
            pending += (
                self._method(body),
                self._header(len(body)),
                b"\x03\x00\x01" + struct.pack(">I", len(body)),
                body,
            )
            pending.append(b"\xce")
            count += 1
            size += len(body)
            if size > SEND_BYTES:
                self._socket.sendall(b"".join(pending))
                pending.clear()
                size = 0
                self._read_confirms()
        self._socket.sendall(b"".join(pending))
        self._published += count
        return count

    def close(self) -> None:
        """Returns when the broker has taken every message, and confirmed it where that was asked for."""
        while self._confirms and self._confirmed < self._published:
            self._read_confirms(wait=True)
        self._send(1, spec.Channel.Close(200, "", 0, 0))
        self._expect(spec.Channel.CloseOk)
        self._send(0, spec.Connection.Close(200, "", 0, 0))
        self._expect(spec.Connection.CloseOk)
        self._socket.close()

    def __enter__(self) -> FramePublisher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            self._socket.close()

    def _read_confirms(self, *, wait: bool = False) -> None:
        """What has come; the tag of an acknowledgement counts up from 1, and `multiple` covers those before it."""
        if not wait and not select.select([self._socket], [], [], 0)[0]:
            return
        more = self._socket.recv(1 << 16)
        if not more:
            raise ConnectionError("the broker closed the connection before it had confirmed all messages")
        self._received += more
        while True:
            consumed, received = frame.decode_frame(self._received)
            if received is None:
                return
            self._received = self._received[consumed:]
            if isinstance(received, frame.Method):
                method = received.method
                if isinstance(method, spec.Basic.Ack):
                    self._acknowledged(method.delivery_tag, multiple=method.multiple)
                elif isinstance(method, spec.Basic.Nack | spec.Channel.Close | spec.Connection.Close):
                    raise ConnectionError(f"the broker refused a message: {method}")

    def _acknowledged(self, tag: int, *, multiple: bool) -> None:
        # Without `multiple` a tag is confirmed alone, and may come before an older one.
        if not multiple:
            self._confirmed += 1
            self._single.add(tag)
            return
        inside = {single for single in self._single if single <= tag}
        self._confirmed += tag - self._covered - len(inside)
        self._covered = tag
        self._single -= inside

    def _method(self, body: bytes) -> bytes:
        prefix = body[: body.index(b',"type"')]
        known = self._methods.get(prefix)
        if known is None:
            publish = spec.Basic.Publish(exchange=EXCHANGE, routing_key=routing_key(body))
            known = self._methods[prefix] = frame.Method(1, publish).marshal()
        return known

    def _header(self, size: int) -> bytes:
        known = self._headers.get(size)
        if known is None:
            known = self._headers[size] = frame.Header(1, size, PERSISTENT).marshal()
        return known

    def _open(self, user: str, password: str, vhost: str) -> None:
        self._socket.sendall(frame.ProtocolHeader().marshal())
        self._expect(spec.Connection.Start)
        self._send(0, spec.Connection.StartOk({}, "PLAIN", f"\0{user}\0{password}", "en_US"))
        tune = self._expect(spec.Connection.Tune)
        # A frame holds the longest message of any workload, so a body is always one frame.
        self._send(0, spec.Connection.TuneOk(tune.method.channel_max, tune.method.frame_max, 0))
        self._send(0, spec.Connection.Open(vhost))
        self._expect(spec.Connection.OpenOk)
        self._send(1, spec.Channel.Open())
        self._expect(spec.Channel.OpenOk)

    def _send(self, channel: int, method: object) -> None:
        self._socket.sendall(frame.Method(channel, method).marshal())

    def _expect(self, kind: type) -> frame.Method:
        while True:
            consumed, received = frame.decode_frame(self._received)
            if received is None:
                more = self._socket.recv(1 << 16)
                if not more:
                    raise ConnectionError(f"the broker closed the connection before {kind.__name__}")
                self._received += more
                continue
            self._received = self._received[consumed:]
            if isinstance(received, frame.Method):
                if isinstance(received.method, kind):
                    return received
                if isinstance(received.method, spec.Channel.Close | spec.Connection.Close):
                    raise ConnectionError(f"the broker refused: {received.method.reply_text}")


def read_bodies(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        for line in file:
            yield line[:-1]


def read_bundles(path: Path) -> Iterator[bytes]:
    """The same messages as capture bundles them with one routing key a database."""
    bundle = Bundle(BUNDLE_BYTES)
    for body in read_bodies(path):
        for _, made in bundle.add(routing_key(body).partition(".")[0], [body]):
            yield made
    for _, made in bundle.close():
        yield made


def wait_for(condition: Callable[[], bool], *, timeout_s: float, what: str) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what} did not come about in {timeout_s:g} s")
        time.sleep(0.02)


def fill(
    url: str,
    bodies: Iterable[bytes],
    queues: Mapping[str, Sequence[str]],
    *,
    expected: Mapping[str, int],
    quorum: Collection[str] = (),
) -> None:
    """Publish these messages once; returns when each queue holds what it should, and takes nothing more."""
    declare(url, queues, quorum=quorum)
    with FramePublisher(url, confirm=True) as publisher:
        publisher.publish(bodies)
    for queue, count in expected.items():
        wait_for(partial(holds, url, queue, count), timeout_s=60, what=f"{count} messages in {queue}")
    connection = connect(url)
    channel = connection.channel()
    for queue, keys in queues.items():
        for key in keys:
            channel.queue_unbind(queue, EXCHANGE, key)
    connection.close()
