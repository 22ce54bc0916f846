"""Whether two addresses lead to one broker: what a connection to the one has made is there for the other, or is not."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import uuid
from collections.abc import Iterator

from pydbsync.config.settings import AmqpSettings
from pydbsync.errors import ConfigError, SourceError
from pydbsync.source.link import BrokerLink, ChannelRefused, link_for_questions

_NOT_FOUND = 404


def is_another(amqp: AmqpSettings, queue: str, place: tuple[str, int] | None) -> bool:
    """Whether another broker than that of `amqp`, with a queue of this name too, is proven to answer at this host and
    port.

    A queue that only its own connection may use is made, and looked for over there: the nodes of a cluster all know it.
    False also where nothing can be proven: nobody answers there, or lets us in, or lets us make a queue.
    """
    if place is None:
        return False
    name, stop = f"pydbsync-{uuid.uuid4().hex}", threading.Event()
    other = dataclasses.replace(amqp, host=place[0], port=place[1])
    try:
        with _linked(amqp, stop) as here, _linked(other, stop) as there:
            channel = here.open_channel(stop)
            here.ask(channel, lambda reply: channel.queue_declare(name, exclusive=True, callback=reply), stop)
            look = there.open_channel(stop)
            there.ask(look, lambda reply: look.queue_declare(queue, passive=True, callback=reply), stop)
            try:
                there.ask(look, lambda reply: look.queue_declare(name, passive=True, callback=reply), stop)
            except ChannelRefused as error:
                return error.code == _NOT_FOUND  # else it is locked: there, and not ours
    except (SourceError, ConfigError):
        return False
    return False


@contextlib.contextmanager
def _linked(amqp: AmqpSettings, stop: threading.Event) -> Iterator[BrokerLink]:
    link = link_for_questions(amqp, "check")
    try:
        link.connect(stop)
        yield link
    finally:
        link.close()
