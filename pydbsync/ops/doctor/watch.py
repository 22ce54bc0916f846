"""A queue that only we have, for some seconds: a copy of what is published, while the workers' queues stay as they
are."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator

import pika
from pika import exceptions

from pydbsync.config.settings import Settings
from pydbsync.errors import SourceError
from pydbsync.source.connection import connection_parameters
from pydbsync.source.reasons import connection_error

_MOST = 5_000
_MOST_BYTES = 64 * 2**20
_PERSISTENT = 2


def watch(settings: Settings, seconds: float) -> Iterator[tuple[bytes, bool, str]]:
    """(body, is persistent, routing key) of each message that comes within the time, up to some thousand.

    The queue is exclusive and goes with the connection. Raises SourceError, ConfigError.
    """
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    try:
        connection = pika.BlockingConnection(
            connection_parameters(settings.amqp, name="pydbsync doctor --watch-stream")
        )
    except (exceptions.AMQPError, OSError) as exc:
        raise connection_error(exc, settings.amqp) from exc
    try:
        channel = connection.channel()
        # The oldest go beyond that, without a word to the publisher: one that refused would stop capture.
        limits = {"x-max-length": _MOST, "x-max-length-bytes": _MOST_BYTES}
        queue = channel.queue_declare("", exclusive=True, auto_delete=True, arguments=limits).method.queue
        for exchange, kind in dict.fromkeys((each.exchange, each.exchange_type) for each in settings.queues):
            keys = ["#"] if kind == "topic" else _keys(settings, exchange)
            for key in keys:
                channel.queue_bind(queue, exchange, key)
        deadline = time.monotonic() + seconds
        number = 0
        while number < _MOST and (left_s := deadline - time.monotonic()) > 0:
            for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=left_s):
                if method is None:
                    break
                number += 1
                yield body, properties.delivery_mode == _PERSISTENT, method.routing_key
                if number >= _MOST or time.monotonic() >= deadline:
                    break
    except exceptions.AMQPError as exc:
        raise SourceError(f"a queue of our own could not be watched: {exc}") from exc
    finally:
        if connection.is_open:
            connection.close()


def _keys(settings: Settings, exchange: str) -> list[str]:
    keys = [key for queue in settings.queues if queue.exchange == exchange for key in queue.routing_keys]
    return list(dict.fromkeys(keys)) or [""]
