"""Exchange, queue and bindings at the broker: made where they are missing, used as they are where they exist."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeAlias

from pydbsync.config.settings import QueueSettings
from pydbsync.errors import ConfigError, SourceError
from pydbsync.source.link import BrokerLink, Channel, ChannelRefused, Reply

_ACCESS_REFUSED, _NOT_FOUND, _PRECONDITION_FAILED = 403, 404, 406

_KEY = "rabbitmq_queue_bind"
_MOST_DIFFERENCES = 20
_INEQUIVALENT = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' for .*but current is"
    r" (?:none|the value '(?P<value>.*)' of type '(?P<type>\w+)'|'(?P<bare>.*)')",
    re.DOTALL,
)
"""RabbitMQ's words for an exchange or queue that exists with another property (rabbit_misc, 3.10 and 4)."""
_TYPE_IN_TEXT = re.compile(r"of queue type rabbit_(\w+)_queue")
_NUMBERS = ("byte", "short", "signedint", "long", "unsignedbyte", "unsignedshort", "unsignedint")

_Declaration: TypeAlias = Callable[[Channel, Reply], object]
"""Declares over the channel and has the answer sent to the reply."""


class Returns(NamedTuple):
    """What a queue does with messages that are given back."""

    are_counted: bool = False
    limit: int | None = None
    """How often a message may be given back, where there is a limit and it is known; the next return drops it."""
    is_new: bool = False
    """The queue was not there, and was made."""
    properties: str = ""
    """What a queue keeps for as long as it lives, as text; empty where it is not known."""


def declare(link: BrokerLink, queue: QueueSettings, *, log: logging.Logger, stop: threading.Event) -> Returns:
    """Have the durable queue, its durable exchange and its bindings; name what the queue may drop.

    Raises ConfigError for what no other try can mend, SourceError, Stopped.
    """
    if queue.exchange:
        _declare_exchange(link, queue, log=log, stop=stop)
    is_new = _is_missing(link, queue, stop=stop)
    returns = _prepare_queue(link, queue, log=log, stop=stop)._replace(is_new=is_new)
    if queue.exchange and queue.routing_keys:
        _bind(link, queue, stop)
    return returns


def inspect(link: BrokerLink, queue: QueueSettings, *, log: logging.Logger, stop: threading.Event) -> Returns:
    """As `declare`, but nothing is made. Raises ConfigError if the queue does not exist."""
    try:
        _try(link, _QueueFacts({}).declaration(queue.queue, passive=True), stop=stop)
    except ChannelRefused as error:
        if error.code == _NOT_FOUND:
            raise ConfigError(
                f"there is no queue {queue.queue!r} at RabbitMQ, and a dry run makes none", key=_KEY
            ) from error
        raise explained(error, f"looking at queue {queue.queue!r}") from error
    return _prepare_queue(link, queue, log=log, stop=stop)


def queue_arguments(configured: Mapping[str, object], *, server_version: str) -> dict[str, object]:
    """The arguments to declare a queue with: as configured, but a quorum queue must never drop what was given back.

    From RabbitMQ 4.0 on it drops a message that has come back 20 times unless it was declared with a limit of -1, and
    each lost connection of a worker counts for all that it held. Before 4.0 there is no limit, and -1 is taken as none
    to spare: the first return drops the message (seen with 3.10).
    Source: https://www.rabbitmq.com/docs/quorum-queues#poison-message-handling
    """
    arguments = dict(configured)
    if configured.get("x-queue-type") == "quorum" and _major(server_version) >= 4:
        arguments.setdefault("x-delivery-limit", -1)
    return arguments


def _major(server_version: str) -> int:
    major = server_version.partition(".")[0]
    return int(major) if major.isdecimal() else 0


def explained(error: ChannelRefused, what: str) -> SourceError | ConfigError:
    """The broker's refusal of `what` as a sentence; a missing right is a wrong setting."""
    if error.code == _ACCESS_REFUSED:
        return ConfigError(f"the user lacks the right for {what}: {error}", key="rabbitmq_conn_info.user")
    return SourceError(f"{what} failed: {error}")


def _declare_exchange(link: BrokerLink, queue: QueueSettings, *, log: logging.Logger, stop: threading.Event) -> None:
    what = f"exchange {queue.exchange!r}"

    def declaration(*, passive: bool) -> _Declaration:
        return lambda channel, reply: channel.exchange_declare(
            queue.exchange, exchange_type=queue.exchange_type, durable=True, passive=passive, callback=reply
        )

    try:
        _try(link, declaration(passive=False), stop=stop)
    except ChannelRefused as error:
        if error.code == _PRECONDITION_FAILED and _INEQUIVALENT.search(str(error)):
            log.warning("%s exists with other properties and is used as it is: %s", what, error)
        elif error.code == _PRECONDITION_FAILED:
            raise ConfigError(f"RabbitMQ does not take {what}: {error}", key=_KEY) from error
        elif error.code == _ACCESS_REFUSED:
            _find(link, what, declaration(passive=True), refused=error, stop=stop)
        else:
            raise explained(error, f"declaring {what}") from error


class _QueueFacts:
    """What a queue is as far as is known: its arguments, and the properties that are none."""

    def __init__(self, arguments: Mapping[str, object]) -> None:
        self.arguments = dict(arguments)
        self.is_durable = True
        self.is_auto_delete = False
        self.are_known = True

    def declaration(self, name: str, *, passive: bool = False) -> _Declaration:
        arguments, durable, auto_delete = dict(self.arguments), self.is_durable, self.is_auto_delete
        return lambda channel, reply: channel.queue_declare(
            name, durable=durable, auto_delete=auto_delete, passive=passive, arguments=arguments, callback=reply
        )

    def properties(self) -> str:
        """All of them as text; empty where they are not known."""
        if not self.are_known:
            return ""
        return f"{self.is_durable} {self.is_auto_delete} {sorted(self.arguments.items())}"

    def learn(self, refusal: str) -> str | None:
        """Take over from "inequivalent arg" what the queue has; that as words, None if nothing is learned."""
        found = _INEQUIVALENT.search(refusal)
        if found is None:
            return None
        name, value = found["name"], found["value"] if found["value"] is not None else found["bare"]
        before = self.arguments.get(name)
        if name == "durable":
            self.is_durable = value == "true"
        elif name == "auto_delete":
            self.is_auto_delete = value == "true"
        elif not name.startswith("x-"):
            return None
        elif value is None:
            self.arguments.pop(name, None)
        else:
            is_number = isinstance(before, int) and not isinstance(before, bool)
            if found["type"] in _NUMBERS or (is_number and found["type"] is None):
                self.arguments[name] = int(value)
            elif found["type"] == "bool":
                self.arguments[name] = value == "true"
            else:
                self.arguments[name] = value
        return f"{name} is {'not set' if value is None else value}"


def _prepare_queue(link: BrokerLink, queue: QueueSettings, *, log: logging.Logger, stop: threading.Event) -> Returns:
    """Declare the queue and name what of it matters."""
    facts, others = _declare_queue(link, queue, stop=stop)
    kind = facts.arguments.get("x-queue-type", "classic") if facts.are_known else _kind_of(link, queue.queue, stop)
    if kind == "stream":
        raise ConfigError(
            f"queue {queue.queue!r} is a stream: it remembers no place of ours, and what comes while the worker is away"
            " would be lost; bind a classic or a quorum queue to the exchange instead",
            key=_KEY,
        )
    if others:
        log.warning("queue %r exists with other properties and is used as it is: %s", queue.queue, "; ".join(others))
    if facts.are_known:
        _tell_what_it_drops(queue.queue, facts, server_version=link.server_version, log=log)
    elif kind == "quorum":
        log.warning(
            "queue %r is a quorum queue, and the rights of the user do not show whether it has a delivery limit, beyond"
            " which it drops what was given back: see `rabbitmqctl list_queues name arguments policy`", queue.queue,
        )  # fmt: skip
    limit = delivery_limit(facts.arguments, server_version=link.server_version) if facts.are_known else None
    return Returns(are_counted=kind == "quorum", limit=limit, properties=facts.properties())


def _is_missing(link: BrokerLink, queue: QueueSettings, *, stop: threading.Event) -> bool:
    """The answer to a declaration does not tell whether the queue was there before."""
    try:
        _try(link, _QueueFacts({}).declaration(queue.queue, passive=True), stop=stop)
    except ChannelRefused as error:
        return error.code == _NOT_FOUND
    return False


def _declare_queue(link: BrokerLink, queue: QueueSettings, *, stop: threading.Event) -> tuple[_QueueFacts, list[str]]:
    """Declare the queue; what it is, and what of it is not as configured.

    RabbitMQ names one difference to an existing queue at a time: each is taken over for the next try, until there is
    none.
    """
    what = f"queue {queue.queue!r}"
    facts = _QueueFacts(queue_arguments(queue.arguments, server_version=link.server_version))
    others: list[str] = []
    refusal = ""
    for _ in range(_MOST_DIFFERENCES):
        try:
            _try(link, facts.declaration(queue.queue), stop=stop)
            break
        except ChannelRefused as error:
            if error.code == _ACCESS_REFUSED:
                _find(link, what, facts.declaration(queue.queue, passive=True), refused=error, stop=stop)
                facts.are_known = False
                break
            if error.code != _PRECONDITION_FAILED:
                raise explained(error, f"declaring {what}") from error
            refusal = str(error)
            other = facts.learn(refusal)
            if other is None or other in others:
                _refuse_if_missing(link, queue, refusal, stop=stop)
                others.append(refusal)
                facts.are_known = False
                break
            others.append(other)
    return facts, others


def _refuse_if_missing(link: BrokerLink, queue: QueueSettings, refusal: str, *, stop: threading.Event) -> None:
    """RabbitMQ refuses arguments that no queue can have in the same way as those that an existing one does not have."""
    try:
        _try(link, _QueueFacts({}).declaration(queue.queue, passive=True), stop=stop)
    except ChannelRefused as error:
        if error.code != _NOT_FOUND:
            raise explained(error, f"looking at queue {queue.queue!r}") from error
        key = "queue_type" if "'x-queue-type'" in refusal else "queue_arguments"
        raise ConfigError(f"RabbitMQ makes no queue {queue.queue!r} with these: {refusal}", key=key) from None


def _tell_what_it_drops(name: str, facts: _QueueFacts, *, server_version: str, log: logging.Logger) -> None:
    dropped = what_it_drops(
        facts.arguments, server_version=server_version, is_durable=facts.is_durable, is_auto_delete=facts.is_auto_delete
    )
    if dropped:
        to = facts.arguments.get("x-dead-letter-exchange")
        log.warning(
            "queue %r %s%s: such changes do not reach the target, and only a heartbeat shows it; declare it anew"
            " without that", name, "; it ".join(dropped), f" (what it drops goes to exchange {to!r})" if to else "",
        )  # fmt: skip


def what_it_drops(
    arguments: Mapping[str, object], *, server_version: str, is_durable: bool = True, is_auto_delete: bool = False
) -> list[str]:
    """When a queue with these properties drops messages that nobody has acknowledged, in words behind its name."""
    found = []
    limit = delivery_limit(arguments, server_version=server_version)
    if limit is not None:
        found.append(
            f"drops messages that were given back more than {limit} times (x-delivery-limit): each lost connection and"
            " each kill of a worker counts for all that it holds"
        )
    if not str(arguments.get("x-overflow", "")).startswith("reject-publish"):
        for argument, unit in (("x-max-length", "messages"), ("x-max-length-bytes", "bytes")):
            if argument in arguments:
                found.append(f"drops its oldest messages beyond {arguments[argument]} {unit} ({argument})")
    if "x-message-ttl" in arguments:
        found.append(f"drops messages that wait for more than {arguments['x-message-ttl']} ms (x-message-ttl)")
    if "x-expires" in arguments:
        found.append(f"is deleted when no worker reads it for {arguments['x-expires']} ms (x-expires)")
    if is_auto_delete:
        found.append("is deleted with all its messages when its worker leaves (auto-delete)")
    if not is_durable:
        found.append("is lost when RabbitMQ starts again (not durable)")
    return found


def with_policy(
    arguments: Mapping[str, object], definition: Mapping[str, object], *, server_version: str
) -> dict[str, object]:
    """A queue's arguments together with what a policy sets, spelled as arguments: of two limits the lower holds, of
    other things the queue's own. From RabbitMQ 4 on a delivery limit of -1 is none, so that any other one holds instead
    of it (rabbit_quorum_queue:resolve_delivery_limit)."""
    found = dict(arguments)
    for name, value in definition.items():
        argument = f"x-{name}"
        before = found.get(argument)
        if before is None:
            found[argument] = value
        elif isinstance(before, int) and isinstance(value, int):
            has_none = argument == "x-delivery-limit" and _major(server_version) >= 4 and min(before, value) < 0
            found[argument] = max(before, value) if has_none else min(before, value)
    return found


def delivery_limit(arguments: Mapping[str, object], *, server_version: str) -> int | None:
    """How often a message of a queue with these arguments may be given back; None without limit."""
    if arguments.get("x-queue-type") != "quorum":
        return None
    is_new = _major(server_version) >= 4
    limit = arguments.get("x-delivery-limit", 20 if is_new else None)  # 20 is RabbitMQ's default
    return max(limit, 0) if isinstance(limit, int) and (limit >= 0 or not is_new) else None


def _kind_of(link: BrokerLink, name: str, stop: threading.Event) -> str:
    """The type of a queue that we may only read, empty where it does not come out.

    Only a stream lets a consumer say where to begin; for any other queue the refusal names the type (3.10 and later).
    """
    if link.server_numbers < (3, 10):
        return ""
    channel = link.open_channel(stop)

    def request(reply: Reply) -> None:
        channel.basic_consume(name, lambda *_: None, arguments={"x-stream-offset": "next"}, callback=reply)

    try:
        link.ask(channel, lambda reply: channel.basic_qos(prefetch_count=1, callback=reply), stop)
        link.ask(channel, request, stop)
    except ChannelRefused as error:
        found = _TYPE_IN_TEXT.search(str(error))
        return found[1] if found else ""
    link.later(channel.close)
    return "stream"


def _find(
    link: BrokerLink, what: str, passive: _Declaration, *, refused: ChannelRefused, stop: threading.Event
) -> None:
    """Without the right to declare: it must exist."""
    try:
        _try(link, passive, stop=stop)
    except ChannelRefused as error:
        if error.code == _NOT_FOUND:
            raise explained(refused, f"creating {what}, which does not exist yet") from refused
        raise explained(error, f"declaring {what}") from error


def _try(link: BrokerLink, declaration: _Declaration, *, stop: threading.Event) -> None:
    """A refusal costs the channel, so that each try has one of its own."""
    channel = link.open_channel(stop)
    link.ask(channel, lambda reply: declaration(channel, reply), stop)
    link.later(channel.close)


def _bind(link: BrokerLink, queue: QueueSettings, stop: threading.Event) -> None:
    channel = link.open_channel(stop)
    for key in queue.routing_keys:

        def request(reply: Reply, key: str = key) -> None:
            channel.queue_bind(queue.queue, queue.exchange, routing_key=key, callback=reply)

        try:
            link.ask(channel, request, stop)
        except ChannelRefused as error:
            raise explained(error, f"binding queue {queue.queue!r} to exchange {queue.exchange!r}") from error
    link.later(channel.close)
