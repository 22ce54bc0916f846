"""Which queues are there already: what a queue was not there for, it did not collect."""

from __future__ import annotations

import contextlib

import pika

from pydbsync.config.settings import Settings
from pydbsync.source.connection import connection_name, connection_parameters


def existing_queues(settings: Settings) -> set[str]:
    """The streams of the configured queues that the broker has; none if it cannot be asked."""
    found: set[str] = set()
    if not settings.queues:
        return found
    with contextlib.suppress(pika.exceptions.AMQPError, OSError):
        connection = pika.BlockingConnection(connection_parameters(settings.amqp, name=connection_name("copy")))
        try:
            for queue in settings.queues:
                with contextlib.suppress(pika.exceptions.ChannelClosedByBroker):
                    channel = connection.channel()
                    channel.queue_declare(queue.queue, passive=True)
                    channel.close()
                    found.add(queue.stream)
        finally:
            connection.close()
    return found
