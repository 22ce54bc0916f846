"""RabbitMQ's queues: what drops messages, takes them away, or stands still. Nothing is taken or declared."""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from typing import Any

from pydbsync.config.settings import QueueSettings
from pydbsync.errors import ConfigError, SourceError
from pydbsync.ops.doctor.broker import permissions
from pydbsync.ops.doctor.dead_letters import comes_back, grave_of
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, unknown, warning
from pydbsync.ops.doctor.policies import QueuePolicy, effective, policies_of
from pydbsync.ops.doctor.reach import management_remedy
from pydbsync.ops.doctor.readers import check_readers, check_timeout
from pydbsync.ops.status.read import ask_queue
from pydbsync.ops.words import counted, listed
from pydbsync.source.management import own_arguments
from pydbsync.source.topology import inspect, queue_arguments, what_it_drops

_STATISTICS_S = 7.0
"""RabbitMQ's own statistics are taken every five seconds."""


def queue_facts(exam: Examination, queue: str) -> Mapping[str, Any] | None:
    """What the management API has of a queue; None where there is no such queue. Raises Away, SourceError."""
    management = exam.management()
    path = management.path("queues", queue)

    def ask() -> Mapping[str, Any] | None:
        facts: Mapping[str, Any] | None = management.get(path)
        if facts and facts.get("type") != "stream":
            facts = _with_consumers(exam, queue, facts)
        if facts and facts.get("members"):
            # The statistics of a quorum queue that runs no more stay as they were last.
            now = management.get(f"{path}?disable_stats=true") or {}
            return {**facts, "online": now.get("online", facts.get("online"))}
        return facts

    found: Mapping[str, Any] | None = exam.known(f"queue {queue}", ask)
    return found


def _with_consumers(exam: Examination, queue: str, facts: Mapping[str, Any]) -> Mapping[str, Any]:
    """Facts that know of all consumers: the statistics tell of one some seconds after it has come."""
    path = exam.management().path("queues", queue)
    try:
        found = ask_queue(exam.link(), queue, threading.Event())
    except (Away, SourceError):
        return facts
    deadline = time.monotonic() + _STATISTICS_S
    while not isinstance(found, str) and found.consumers > _told(facts) and time.monotonic() < deadline:
        time.sleep(0.25)
        facts = exam.management().get(path) or facts
    return facts


def _told(facts: Mapping[str, Any]) -> int:
    return sum("user" in (each.get("channel_details") or {}) for each in facts.get("consumer_details") or ())


def check_queues(exam: Examination) -> Iterator[Finding]:
    """Each queue: is it there, does it run, may it drop or refuse what nobody has applied."""
    for queue in exam.settings.queues:
        try:
            facts = queue_facts(exam, queue.queue)
        except (Away, SourceError):
            yield from _inspected(exam, queue)
            continue
        if facts is None:
            yield from _missing(queue)
        else:
            yield from _queue(exam, queue, facts)


def _missing(queue: QueueSettings) -> Iterator[Finding]:
    if queue.routing_keys:
        yield warning(
            "missing-queue",
            f"there is no queue {queue.queue} yet: the first start makes it, and what is published before goes nowhere",
            "start the worker (pydbsync run) before Maxwell, capture and copy",
        )
    else:
        yield error(
            "missing-queue",
            f"there is no queue {queue.queue}, and without routing keys nothing binds it",
            f"correct its name in rabbitmq_queue_bind, or give it routing keys: '{queue.queue}': ['#']",
        )


def _queue(exam: Examination, queue: QueueSettings, facts: Mapping[str, Any]) -> Iterator[Finding]:
    name, vhost = queue.queue, exam.settings.amqp.vhost
    policies = policies_of(exam, facts)
    arguments = effective(facts, policies, server_version=exam.link().server_version)
    if arguments["x-queue-type"] == "stream":
        yield error(
            "queue-type",
            f"queue {name} is a stream: what comes while the worker is away would be lost",
            "bind a classic or a quorum queue to the exchange, and name that one in rabbitmq_queue_bind",
        )
        return
    if facts.get("exclusive"):
        yield error("queue-type", f"queue {name} is exclusive: it belongs to another connection and goes with it",
                    f"another name for the queue in rabbitmq_queue_bind, or delete {name}")  # fmt: skip
    if (state := facts.get("state", "running")) not in ("running", "idle", "flow"):
        yield error("queue-state", f"queue {name} does not run: its state is {state}",
                    f"rabbitmqctl list_queues -p {vhost} name state; start the node {facts.get('node')}"
                    f" again")  # fmt: skip
    yield from _members(name, vhost, facts)
    dropped = yield from _drops(exam, name, facts, arguments, policies)
    yield from _by_arguments(name, vhost, arguments, policies)
    yield from _unlike(exam, name, queue, facts)
    if not dropped:
        yield ok("queue", f"queue {name} ({arguments['x-queue-type']}) keeps {int(facts.get('messages', 0)):,} messages"
                 " until they are applied")  # fmt: skip
    held = int(facts.get("messages_unacknowledged") or 0)
    if held and not int(facts.get("consumers") or 0):
        yield warning(
            "held-messages",
            f"{counted(held, 'message')} of queue {name} {'is' if held == 1 else 'are'} held by a program that took"
            " them by hand (basic.get, Get messages of the management): they come back behind newer ones, or are lost",
            f"end that program before a worker starts: rabbitmqctl list_channels -p {vhost} pid user"
            " messages_unacknowledged shows it",
        )
    yield from check_readers(exam, name, facts)
    yield from check_timeout(exam, name, arguments)


def _drops(
    exam: Examination, name: str, facts: Mapping[str, Any], arguments: Mapping[str, Any], policies: list[QueuePolicy]
) -> Generator[Finding, None, list[str]]:
    """What the queue drops, and where that goes; the sentences about it."""
    vhost = exam.settings.amqp.vhost
    dropped = what_it_drops(
        arguments,
        server_version=exam.link().server_version,
        is_durable=bool(facts.get("durable", True)),
        is_auto_delete=bool(facts.get("auto_delete")),
    )
    grave, is_kept = grave_of(exam, arguments) if dropped else ("", False)
    for sentence in dropped:
        argument = (re.findall(r"\((x-[\w-]+)\)", sentence) or [""])[0]
        yield (warning if is_kept and "delivery-limit" in argument else error)(
            "queue-drops", f"queue {name} {sentence}{_by(policies, argument, arguments)}{grave}",
            _without(policies, argument, arguments, name, vhost),
        )  # fmt: skip
    if dropped and comes_back(exam, name, arguments):
        yield error(
            "queue-order",
            f"what queue {name} drops goes to exchange {arguments['x-dead-letter-exchange'] or '(default)'} and comes"
            " back into it, behind newer changes: the worker would end with broken order (exit code 5)",
            "x-dead-letter-exchange: an exchange whose queues lead nowhere else, or none at all (in the queue's"
            " arguments or its policy)",
        )
    return dropped


def _by_arguments(
    name: str, vhost: str, arguments: Mapping[str, Any], policies: list[QueuePolicy]
) -> Iterator[Finding]:
    """What else its arguments do to order and safety."""
    if str(arguments.get("x-overflow", "")).startswith("reject-publish") and any(
        f"x-max-length{unit}" in arguments for unit in ("", "-bytes")
    ):
        limit = next(each for each in ("x-max-length", "x-max-length-bytes") if each in arguments)
        yield warning(
            "queue-refuses",
            f"queue {name} refuses messages beyond its length limit{_by(policies, limit, arguments)}: Maxwell waits for"
            " no confirmation, and loses them (pydbsync capture waits)",
            f"leave the limit out ({_without(policies, limit, arguments, name, vhost)}), or publish with pydbsync"
            " capture",
        )
    if "x-ha-mode" in arguments:
        yield warning(
            "queue-mirrors",
            f"queue {name} is mirrored{_by(policies, 'x-ha-mode', arguments)}: what a mirror has not taken over yet is"
            " lost with the node of the queue, and RabbitMQ 4 mirrors no queue",
            f"queue_type: quorum, and have it made anew (stop Maxwell, let the worker empty it, rabbitmqctl"
            f" delete_queue -p {vhost} {name}); {_without(policies, 'x-ha-mode', arguments, name, vhost)}",
        )
    if "x-max-priority" in arguments:
        yield warning("queue-order", f"queue {name} has priorities (x-max-priority): messages with one overtake others",
                      _anew(name, vhost, "x-max-priority"))  # fmt: skip


def _unlike(exam: Examination, name: str, queue: QueueSettings, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """What the configuration says of a queue holds when it is made: one that is there is used as it is."""
    wanted = queue_arguments(queue.arguments, server_version=exam.link().server_version)
    found = own_arguments(facts)
    wanted.setdefault("x-queue-type", found["x-queue-type"])
    unlike = [each for each, value in wanted.items() if found.get(each) != value]
    if unlike:
        here = listed(f"{each}={found.get(each, 'nothing')}" for each in unlike)
        yield warning(
            "queue-arguments",
            f"queue {name} has {here}, and the configuration says"
            f" {listed(f'{each}={wanted[each]}' for each in unlike)} (queue_type, queue_arguments): a worker uses the"
            " queue as it is",
            f"write it so in the configuration, or have it made anew: stop Maxwell, let the worker empty it,"
            f" rabbitmqctl delete_queue -p {exam.settings.amqp.vhost} {name}, and start the worker",
        )


def _members(name: str, vhost: str, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """A quorum queue works while most of its members do."""
    members, online = facts.get("members"), facts.get("online") or ()
    if not members or len(online) == len(members):
        return
    is_down = 2 * len(online) <= len(members)
    yield (error if is_down else warning)(
        "queue-state",
        f"queue {name} does not run: {len(online)} of its {len(members)} members are at work, and it takes and gives"
        " nothing"
        if is_down
        else f"of {len(members)} members of queue {name} {len(online)} are at work: if more go, it takes nothing",
        f"rabbitmq-queues quorum_status -p {vhost} {name} shows them; start the nodes"
        f" {listed(node for node in members if node not in online)} again",
    )


def _policy_of(policies: list[QueuePolicy], argument: str, arguments: Mapping[str, Any]) -> QueuePolicy | None:
    value = arguments.get(argument)
    own = (policies[0].definition or {}).get(argument.removeprefix("x-"))
    if not argument or own == value:
        return None
    return next((each for each in policies[1:] if each.sets(argument, value, own)), None)


def _by(policies: list[QueuePolicy], argument: str, arguments: Mapping[str, Any]) -> str:
    policy = _policy_of(policies, argument, arguments)
    return f", by the policy {policy.name}" if policy else ""


def _without(policies: list[QueuePolicy], argument: str, arguments: Mapping[str, Any], name: str, vhost: str) -> str:
    """How the queue gets rid of an argument."""
    policy = _policy_of(policies, argument, arguments)
    if policy is None:
        return _anew(name, vhost, argument)
    return f"rabbitmqctl {policy.clear} -p {vhost} {policy.name}, or leave {argument.removeprefix('x-')} out of it"


def _anew(name: str, vhost: str, argument: str) -> str:
    without = f" without {argument}" if argument else " durable"
    return (
        f"stop Maxwell, let the worker empty the queue, rabbitmqctl delete_queue -p {vhost} {name}, leave it out of"
        f" queue_arguments, and start the worker: it declares the queue{without}"
    )


def _inspected(exam: Examination, queue: QueueSettings) -> Iterator[Finding]:
    """Without the management API: what AMQP tells of a queue that exists, in the words of the worker's start."""
    told: list[str] = []
    log = logging.Logger("doctor")
    log.addHandler(_Collector(told))
    try:
        inspect(exam.link(), queue, log=log, stop=threading.Event())
    except ConfigError as exc:
        if "there is no queue" in str(exc):
            yield from _missing(queue)
        elif "is a stream" in str(exc):
            yield error(
                "queue-type", str(exc).removeprefix("rabbitmq_queue_bind: "), "bind a classic or a quorum queue"
            )
        else:
            yield error("broker-rights", str(exc), permissions(exam, queue))
        return
    except SourceError as exc:
        yield unknown("queue", f"queue {queue.queue} could not be looked at: {exc}")
        return
    for text in told:
        yield (error if "do not reach the target" in text else warning)(
            "queue-drops", text, _anew(queue.queue, exam.settings.amqp.vhost, "")
        )
    if not told:
        yield ok("queue", f"queue {queue.queue} keeps messages until they are applied, as far as its arguments tell")
    yield unknown("queue-policy", f"policies and other readers of queue {queue.queue} cannot be seen",
                  f"{management_remedy(exam)}; or look: rabbitmqctl list_queues name arguments policy"
                  f" consumers")  # fmt: skip


class _Collector(logging.Handler):
    def __init__(self, told: list[str]) -> None:
        super().__init__(logging.WARNING)
        self._told = told

    def emit(self, record: logging.LogRecord) -> None:
        self._told.append(record.getMessage())
