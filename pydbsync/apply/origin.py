"""Whose queue a stream is, and at which server it was written: two queues of one name, of two brokers or virtual hosts,
must not share a checkpoint, and a server that was promoted may lack what the one before it had."""

from __future__ import annotations

import socket
from collections.abc import Callable

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.config.settings import AmqpSettings, QueueSettings
from pydbsync.errors import ConfigError
from pydbsync.plan.quoting import quote_name


class StreamOrigin(msgspec.Struct, frozen=True):
    """Where a stream's messages come from."""

    queue: str
    vhost: str
    cluster: str
    """The broker's own name for itself. It may change with the broker's host, as in containers."""
    address: str
    """How we reach the broker. It may be changed in the configuration."""
    proves_another: Callable[[StreamOrigin], bool] = lambda other: False
    """Whether the broker at another origin's address is proven to be a second one."""

    def is_same_as(self, other: StreamOrigin) -> bool:
        """Whether both are one queue, as far as can be told: a broker is known by its name or by its address."""
        is_same_broker = self.cluster == other.cluster or self.address == other.address
        if not is_same_broker or (self.queue, self.vhost) != (other.queue, other.vhost):
            return False
        return self.address == other.address or not self.proves_another(other)

    def kept(self) -> tuple[str, ...]:
        """As it is kept."""
        return tuple(each[:255] for each in (self.queue, self.vhost, self.cluster, self.address))

    def host_and_port(self) -> tuple[str, int] | None:
        """Where the broker is reached from this machine; None where the address means one on another machine."""
        address, _, machine = self.address.partition(" of ")
        host, _, port = address.rpartition(":")
        return (host, int(port)) if machine in ("", socket.gethostname()) and port.isdecimal() else None

    def __str__(self) -> str:
        return f"queue {self.queue!r} in vhost {self.vhost!r} of RabbitMQ {self.cluster} at {self.address}"


def origin_of(
    amqp: AmqpSettings,
    queue: QueueSettings,
    cluster: str,
    *,
    proves_another: Callable[[StreamOrigin], bool] = lambda other: False,
) -> StreamOrigin:
    """Whose stream a queue's is. This machine's own addresses mean another broker on another machine."""
    is_here = amqp.host == "localhost" or amqp.host.startswith("127.") or amqp.host == "::1"
    address = f"{amqp.host}:{amqp.port}{f' of {socket.gethostname()}' if is_here else ''}"
    return StreamOrigin(
        queue=queue.queue, vhost=amqp.vhost, cluster=cluster or address, address=address, proves_another=proves_another
    )


def refuse_another(connection: Connection, schema: str, stream: str, origin: StreamOrigin) -> StreamOrigin:
    """The origin that the stream had last, which may have another name or another address. Raises ConfigError if it
    belongs to another queue. One from before such things were kept belongs to nobody."""
    table = f"{quote_name(schema)}.`stream_origin`"
    found = connection.rows(f"SELECT queue, vhost, cluster, address FROM {table} WHERE stream = %s", (stream,))
    former = origin
    if found:
        queue, vhost, cluster, address = map(str, found[0])
        former = StreamOrigin(queue, vhost, cluster, address)
    if origin.is_same_as(former):
        return former
    raise ConfigError(
        f"the stream {stream!r} of this target belongs to {former}, and this one is"
        f" {origin}: two would share one place, and each take the other's changes for duplicates; give this one a name"
        f" of its own (stream_names: {{{origin.queue!r}: …}}) or another state_schema; if the queue itself has moved,"
        f" DELETE FROM {table} WHERE stream = '{stream}' at the target",
        key="stream_names",
    )


def server_of(connection: Connection) -> str:
    """What tells the target's server from its replicas; a replica's server_id has to be another one."""
    name = "server_id" if connection.dialect.is_mariadb else "server_uuid"
    return f"{name} {connection.value(f'SELECT @@{name}')}"


def former_server(connection: Connection, schema: str, stream: str) -> str:
    """The server that the stream was written to last; empty where that was not kept."""
    found = connection.value(f"SELECT server FROM {quote_name(schema)}.`stream_origin` WHERE stream = %s", (stream,))
    return str(found or "")


def keep_origin(connection: Connection, schema: str, stream: str, origin: StreamOrigin) -> None:
    """The stream belongs to this queue, and is written to this server, from now on. Needs the stream's lock."""
    columns = ("queue", "vhost", "cluster", "address", "server")
    values = (*origin.kept(), server_of(connection))
    connection.run(
        f"INSERT INTO {quote_name(schema)}.`stream_origin` (stream, {', '.join(columns)})"
        " VALUES (%s, %s, %s, %s, %s, %s)"
        f" ON DUPLICATE KEY UPDATE {', '.join(f'{name} = VALUES({name})' for name in columns)}",
        (stream, *values),
    )
