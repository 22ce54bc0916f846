"""The bare broker client: takes every message of a queue and acknowledges it, nothing else.

Three ways: pika's BlockingConnection, pika's SelectConnection, and frames cut by hand from the socket (what a leaner
client could reach in the same language).
"""

from __future__ import annotations

import argparse
import json
import struct
import time
from collections.abc import Callable
from pathlib import Path

import pika
from pika import frame, spec
from pika.adapters.blocking_connection import BlockingChannel
from pika.channel import Channel

from benchmarks.publish import FramePublisher, connect

PREFETCH = 2_000
ACK_EVERY = 500


def drain_blocking(url: str, queue: str, count: int) -> float:
    connection = connect(url)
    channel = connection.channel()
    channel.basic_qos(prefetch_count=PREFETCH)
    done = 0

    def handle(of: BlockingChannel, method: spec.Basic.Deliver, _: pika.BasicProperties, body: bytes) -> None:
        nonlocal done
        done += 1
        if done % ACK_EVERY == 0 or done == count:
            of.basic_ack(method.delivery_tag, multiple=True)
            if done == count:
                of.stop_consuming()

    channel.basic_consume(queue, handle)
    start = time.perf_counter()
    channel.start_consuming()
    passed = time.perf_counter() - start
    connection.close()
    return passed


def drain_select(url: str, queue: str, count: int) -> float:
    parameters = pika.URLParameters(url)
    parameters.heartbeat = 0
    start = end = 0.0
    done = 0

    def handle(of: Channel, method: spec.Basic.Deliver, _: pika.BasicProperties, body: bytes) -> None:
        nonlocal done, end
        done += 1
        if done % ACK_EVERY == 0 or done == count:
            of.basic_ack(method.delivery_tag, multiple=True)
            if done == count:
                end = time.perf_counter()
                connection.close()

    def subscribe(of: Channel) -> None:
        nonlocal start
        of.basic_qos(prefetch_count=PREFETCH)
        of.basic_consume(queue, handle)
        start = time.perf_counter()

    connection = pika.SelectConnection(
        parameters,
        on_open_callback=lambda c: c.channel(on_open_callback=subscribe),
        on_close_callback=lambda c, _: c.ioloop.stop(),
    )
    connection.ioloop.start()
    return end - start


class FrameReader(FramePublisher):
    """One connection that only receives."""

    def drain(
        self,
        queue: str,
        count: int,
        *,
        prefetch: int = PREFETCH,
        ack_every: int = ACK_EVERY,
        take: Callable[[bytes], object] | None = None,
    ) -> float:
        """Seconds that it took; `take` is given the bodies, each of which must fit one frame."""
        self._send(1, spec.Basic.Qos(0, prefetch, False))
        self._expect(spec.Basic.QosOk)
        start = time.perf_counter()
        self._send(1, spec.Basic.Consume(queue=queue))
        self._expect(spec.Basic.ConsumeOk)
        done = 0
        buffer = self._received
        unpack = struct.Struct(">BHI").unpack_from
        while done < count:
            place = 0
            end = len(buffer) - 7
            while place < end:
                kind, _, size = unpack(buffer, place)
                if place + size + 8 > len(buffer):
                    break
                if kind == frame.spec.FRAME_BODY:
                    body = buffer[place + 7 : place + 7 + size]
                    done += bool(body)
                    if take is not None:
                        take(body)
                    if done % ack_every == 0 or done == count:
                        self._send(1, spec.Basic.Ack(done, multiple=True))
                place += size + 8
            buffer = buffer[place:]
            if done < count:
                buffer += self._socket.recv(1 << 18)
        self._received = buffer
        return time.perf_counter() - start


def drain_frames(url: str, queue: str, count: int) -> float:
    reader = FrameReader(url)
    seconds = reader.drain(queue, count)
    reader.close()
    return seconds


WAYS: dict[str, Callable[[str, str, int], float]] = {
    "blocking": drain_blocking,
    "select": drain_select,
    "frames": drain_frames,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--amqp", required=True)
    parser.add_argument("--queue", required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--way", choices=sorted(WAYS), default="select")
    parser.add_argument("--result", type=Path, required=True)
    options = parser.parse_args()
    seconds = WAYS[options.way](options.amqp, options.queue, options.count)
    options.result.write_text(json.dumps({"changes": options.count, "seconds": seconds}))


if __name__ == "__main__":
    main()
