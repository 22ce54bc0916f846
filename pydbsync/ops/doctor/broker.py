"""RabbitMQ's queues and exchanges: what drops messages, takes them away, or stands still. Nothing is taken or
declared."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple
from urllib.parse import quote

from pydbsync.config.settings import QueueSettings
from pydbsync.errors import ApplyError, ConfigError, SourceError
from pydbsync.ops.doctor.catalogue import source_tables
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, counted, error, listed, ok, unknown, warning
from pydbsync.ops.doctor.reach import management_remedy
from pydbsync.ops.doctor.state import longest_schema_change_s
from pydbsync.ops.doctor.variables import number, variables
from pydbsync.source.management import NoRight
from pydbsync.source.topology import inspect, what_it_drops

_OWN_NAME = "pydbsync"
_DEFAULT_CONSUMER_TIMEOUT_S = 1800
_MESSAGE_LIMITS: Final = ((4, 16 * 2**20), (0, 128 * 2**20))
"""RabbitMQ's default of max_message_size by its major version; rabbitmq.conf can say otherwise."""
_WIDE = ("longtext", "longblob", "json")
_MARGIN = 1.5


def queue_facts(exam: Examination, queue: str) -> Mapping[str, Any] | None:
    """What the management API has of a queue; None where there is no such queue. Raises Away, SourceError."""
    management = exam.management()
    path = f"/queues/{management.vhost_path()}/{quote(queue, safe='')}"

    def ask() -> Mapping[str, Any] | None:
        facts: Mapping[str, Any] | None = management.get(path)
        if facts and facts.get("members"):
            # The statistics of a quorum queue that runs no more stay as they were last.
            now = management.get(f"{path}?disable_stats=true") or {}
            return {**facts, "online": now.get("online", facts.get("online"))}
        return facts

    found: Mapping[str, Any] | None = exam.known(f"queue {queue}", ask)
    return found


def effective(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The queue's arguments together with what policies set, all spelled as arguments; of two limits the lower."""
    found = dict(facts.get("arguments") or {})
    found.setdefault("x-queue-type", facts.get("type", "classic"))
    for name, value in (facts.get("effective_policy_definition") or {}).items():
        argument = f"x-{name}"
        before = found.get(argument)
        lower = isinstance(before, int) and isinstance(value, int) and before < value
        found[argument] = before if lower else value
    return found


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
    arguments = effective(facts)
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
    policies = _policies(exam, facts)
    dropped = what_it_drops(
        arguments,
        server_version=exam.link().server_version,
        is_durable=bool(facts.get("durable", True)),
        is_auto_delete=bool(facts.get("auto_delete")),
    )
    grave, is_kept = _grave(exam, arguments) if dropped else ("", False)
    for sentence in dropped:
        argument = (re.findall(r"\((x-[\w-]+)\)", sentence) or [""])[0]
        yield (warning if is_kept and "delivery-limit" in argument else error)(
            "queue-drops", f"queue {name} {sentence}{_by(policies, argument, arguments)}{grave}",
            _without(policies, argument, arguments, name, vhost),
        )  # fmt: skip
    if dropped and _comes_back(exam, name, arguments):
        yield error(
            "queue-order",
            f"what queue {name} drops goes to exchange {arguments['x-dead-letter-exchange'] or '(default)'} and comes"
            " back into it, behind newer changes: the worker would end with broken order (exit code 5)",
            "x-dead-letter-exchange: an exchange whose queues lead nowhere else, or none at all (in the queue's"
            " arguments or its policy)",
        )
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
    if "x-max-priority" in arguments:
        yield warning("queue-order", f"queue {name} has priorities (x-max-priority): messages with one overtake others",
                      _anew(name, vhost, "x-max-priority"))  # fmt: skip
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
    yield from _consumers(exam, name, facts)
    yield from _timeout(exam, name, arguments)


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


class Policy(NamedTuple):
    """A policy that holds for a queue."""

    name: str
    definition: Mapping[str, Any] | None
    """None where our user may not see it."""
    clear: str

    def sets(self, argument: str, value: object, own: object) -> bool:
        """Whether it is what gives the queue this value of an argument."""
        if self.definition is None:
            return own is None
        return argument.removeprefix("x-") in self.definition and self.definition[argument.removeprefix("x-")] == value


def _policies(exam: Examination, facts: Mapping[str, Any]) -> list[Policy]:
    """With the arguments that the queue has of its own, as a policy that nobody can clear."""
    found = [Policy("", {key.removeprefix("x-"): value for key, value in (facts.get("arguments") or {}).items()}, "")]
    management = exam.management()
    for kind, path in (("policy", "policies"), ("operator_policy", "operator-policies")):
        if not (name := str(facts.get(kind) or "")):
            continue
        try:
            answer = management.get(f"/{path}/{management.vhost_path()}/{quote(name, safe='')}")
        except SourceError:
            answer = None
        found.append(Policy(name, answer and answer.get("definition"), f"clear_{kind}"))
    return found


def _policy_of(policies: list[Policy], argument: str, arguments: Mapping[str, Any]) -> Policy | None:
    value = arguments.get(argument)
    own = (policies[0].definition or {}).get(argument.removeprefix("x-"))
    if not argument or own == value:
        return None
    return next((each for each in policies[1:] if each.sets(argument, value, own)), None)


def _by(policies: list[Policy], argument: str, arguments: Mapping[str, Any]) -> str:
    policy = _policy_of(policies, argument, arguments)
    return f", by the policy {policy.name}" if policy else ""


def _without(policies: list[Policy], argument: str, arguments: Mapping[str, Any], name: str, vhost: str) -> str:
    """How the queue gets rid of an argument."""
    policy = _policy_of(policies, argument, arguments)
    if policy is None:
        return _anew(name, vhost, argument)
    return f"rabbitmqctl {policy.clear} -p {vhost} {policy.name}, or leave {argument.removeprefix('x-')} out of it"


def _grave(exam: Examination, arguments: Mapping[str, Any]) -> tuple[str, bool]:
    """Where what a queue drops goes, in words, and whether it is kept there."""
    to = arguments.get("x-dead-letter-exchange")
    if to is None:
        return "", False
    management = exam.management()
    path = f"/exchanges/{management.vhost_path()}/{quote(str(to), safe='')}"
    if not to:
        key = arguments.get("x-dead-letter-routing-key")
        queue = key and management.get(f"/queues/{management.vhost_path()}/{quote(str(key), safe='')}")
        return (f"; what it drops goes to queue {key}", True) if queue else ("; what it drops goes nowhere", False)
    if management.get(path) is None:
        return f"; what it drops should go to exchange {to}, which does not exist: it is gone", False
    if not management.get(f"{path}/bindings/source"):
        return f"; what it drops goes to exchange {to}, to which no queue is bound: it is gone", False
    return f"; what it drops goes to exchange {to}", True


def _comes_back(exam: Examination, name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a dead letter of the queue gets into it again, also through queues that pass it on."""
    management = exam.management()
    try:
        bindings = management.get(f"/bindings/{management.vhost_path()}") or []
        queues = management.get(f"/queues/{management.vhost_path()}") or []
    except NoRight:
        return False
    passed_on = {str(each["name"]): effective(each) for each in queues} | {name: dict(arguments)}
    left, seen = [name], set[str]()
    while left:
        queue = left.pop()
        given = passed_on.get(queue, {})
        to = given.get("x-dead-letter-exchange")
        if to is None:
            continue
        reached = {str(given.get("x-dead-letter-routing-key", queue))} if not to else set[str]()
        exchanges = [str(to)] if to else []
        while exchanges:
            exchange = exchanges.pop()
            if exchange in seen:
                continue
            seen.add(exchange)
            for binding in bindings:
                if binding.get("source") == exchange:
                    is_queue = binding.get("destination_type") == "queue"
                    (reached.add if is_queue else exchanges.append)(str(binding["destination"]))
        if name in reached:
            return True
        left += [each for each in reached if each in passed_on]
        passed_on.pop(queue, None)
    return False


def check_user_limits(exam: Examination) -> Iterator[Finding]:
    """A user can be limited too, and topics beside names."""
    management, amqp = exam.management(), exam.settings.amqp
    user = quote(amqp.user, safe="")
    try:
        limits = {
            name: most
            for each in management.get(f"/user-limits/{user}") or []
            for name, most in (each.get("value") or {}).items()
        }
        topics = management.get(f"/topic-permissions/{management.vhost_path()}/{user}") or []
    except NoRight:
        return  # only an administrator sees them; a worker that is refused says so
    workers = len(exam.settings.queues)
    for name, needed in (("max-connections", workers + 1), ("max-channels", 2 * workers + 1)):
        if 0 <= limits.get(name, -1) < needed:
            yield error(
                "user-limits",
                f"RabbitMQ's user {amqp.user} may have {limits[name]} {name.removeprefix('max-')}, and the workers need"
                f" {needed}: RabbitMQ refuses the next",
                f"rabbitmqctl set_user_limits {amqp.user} '{{\"{name}\": -1}}'",
            )
    for queue in exam.settings.queues:
        for topic in topics:
            keys = [key for key in queue.routing_keys if not _permits(str(topic.get("read", "")), key)]
            if topic.get("exchange") == queue.exchange and keys:
                yield error(
                    "broker-rights",
                    f"RabbitMQ's user {amqp.user} may not bind {queue.queue} to {queue.exchange} by"
                    f" {listed(keys)}: a topic permission says which keys it may read ({topic.get('read')!r})",
                    f"rabbitmqctl set_topic_permissions -p {amqp.vhost} {amqp.user} {queue.exchange} '.*' '.*', or"
                    f" clear_topic_permissions -p {amqp.vhost} {amqp.user} {queue.exchange}",
                )


def check_limits(exam: Examination) -> Iterator[Finding]:
    """A virtual host can be limited in its connections and queues."""
    management, amqp = exam.management(), exam.settings.amqp
    try:
        found = management.get(f"/vhost-limits/{management.vhost_path()}") or []
        limits = found[0].get("value", {}) if found else {}
        used = len(management.get(f"/vhosts/{management.vhost_path()}/connections") or []) if limits else 0
        names = {
            str(each["name"]) for each in management.get(f"/queues/{management.vhost_path()}?disable_stats=true") or []
        }
    except NoRight:
        return
    missing = [queue.queue for queue in exam.settings.queues if queue.queue not in names]
    most = limits.get("max-queues", -1)
    if missing and 0 <= most < len(names) + len(missing):
        yield error(
            "vhost-limits",
            f"the virtual host {amqp.vhost} may have {most} queues and has {len(names)}: RabbitMQ makes no"
            f" {listed(missing)}",
            f"rabbitmqctl set_vhost_limits -p {amqp.vhost} '{{\"max-queues\": -1}}'",
        )
    most = limits.get("max-connections", -1)
    if 0 <= most < max(used, len(exam.settings.queues) + 1) + 1:
        yield error(
            "vhost-limits",
            f"the virtual host {amqp.vhost} may have {most} connections, {used} are open, and each worker and each"
            " publisher needs one: RabbitMQ refuses the next",
            f"rabbitmqctl set_vhost_limits -p {amqp.vhost} '{{\"max-connections\": -1}}'",
        )


def _anew(name: str, vhost: str, argument: str) -> str:
    without = f" without {argument}" if argument else " durable"
    return (
        f"stop Maxwell, let the worker empty the queue, rabbitmqctl delete_queue -p {vhost} {name}, leave it out of"
        f" queue_arguments, and start the worker: it declares the queue{without}"
    )


def _consumers(exam: Examination, name: str, facts: Mapping[str, Any]) -> Iterator[Finding]:
    others = []
    own = 0
    for consumer in facts.get("consumer_details") or ():
        if str(consumer.get("consumer_tag", "")).startswith(_OWN_NAME):
            own += 1
            continue
        details = consumer.get("channel_details") or {}
        shown = _client_name(exam, str(details.get("connection_name", "")))
        if not shown.startswith(_OWN_NAME):
            who = f" as {details['user']} from {details.get('peer_host')}" if "user" in details else ""
            others.append(f"{shown or 'a program'}{who}")
    if own > 1:
        yield error(
            "other-consumers",
            f"queue {name} is read by {own} workers of pydbsync with different targets or state schemas: each gets"
            f" a part",
            "end one of them, or give its configuration a queue of its own",
        )
    if others:
        yield error(
            "other-consumers",
            f"queue {name} is read by others too: {listed(others)}: what they take does not reach the target",
            "end that program (rabbitmqctl list_consumers -p VHOST shows it), or give it a queue of its own".replace(
                "VHOST", exam.settings.amqp.vhost
            ),
        )


def _client_name(exam: Examination, connection: str) -> str:
    try:
        found = exam.management().get(f"/connections/{quote(connection, safe='')}") or {}
    except (Away, SourceError):
        return connection
    properties = found.get("client_properties") or {}
    return str(properties.get("connection_name") or properties.get("product") or connection)


def _timeout(exam: Examination, name: str, arguments: Mapping[str, Any]) -> Iterator[Finding]:
    """A consumer that acknowledges nothing for so long is thrown out, and gets all of it again."""
    try:
        longest_s = longest_schema_change_s(exam)
    except (Away, ApplyError):
        longest_s = None
    given = arguments.get("x-consumer-timeout")
    limit_s = given / 1000 if isinstance(given, int) else _DEFAULT_CONSUMER_TIMEOUT_S
    if exam.link().server_numbers < (3, 8, 15):
        return
    needed_s = _MARGIN * (longest_s or 0)
    if needed_s > limit_s or (given is not None and limit_s < 600):
        shown = f"the longest schema change took {longest_s:,.0f} s" if longest_s else "a schema change may take longer"
        wanted_ms = max(int(2 * (longest_s or 0)) * 1000, 4 * 3600 * 1000)
        yield warning(
            "consumer-timeout",
            f"RabbitMQ throws out a reader of queue {name} that acknowledges nothing for {limit_s:,.0f} s"
            + ("" if given is not None else " (its default; the setting itself cannot be seen)") + f", and {shown}",
            f"consumer_timeout = {wanted_ms} in rabbitmq.conf and a restart"
            + ("" if given is None else "; leave consumer-timeout out of the queue's policy and arguments"),
        )  # fmt: skip


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
            yield error("broker-rights", str(exc), _permissions(exam, queue))
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


def check_exchanges(exam: Examination) -> Iterator[Finding]:
    """The exchanges that Maxwell publishes to."""
    management = exam.management()
    wanted = {queue.exchange: queue.exchange_type for queue in exam.settings.queues if queue.exchange}
    for name, kind in wanted.items():
        facts = management.get(f"/exchanges/{management.vhost_path()}/{quote(name, safe='')}")
        if facts is None:
            if not any(queue.routing_keys for queue in exam.settings.queues if queue.exchange == name):
                yield error("exchange", f"there is no exchange {name}, and nothing declares it",
                            "correct its name in rabbitmq_queue_bind, or give its queues routing keys")  # fmt: skip
            continue
        again = (
            f"stop Maxwell and the workers, rabbitmqadmin -V {exam.settings.amqp.vhost} delete exchange"
            f" name={name}, set"
            f" rabbitmq_exchange_type={kind} and rabbitmq_exchange_durable=true in Maxwell's config.properties, and"
            f" start a"
            " worker first: it declares exchange and bindings"
        )
        if facts.get("type") != kind:
            effect = ": routing keys mean nothing there" if facts.get("type") == "fanout" else ""
            yield warning(
                "exchange", f"exchange {name} is of type {facts.get('type')}, not {kind}{effect}",
                f"{again}; or write ['{name}', '{facts.get('type')}'] in rabbitmq_queue_bind",
            )  # fmt: skip
        if not facts.get("durable", True) or facts.get("auto_delete"):
            how = "not durable" if not facts.get("durable", True) else "deleted with its last binding (auto-delete)"
            yield warning(
                "exchange", f"exchange {name} is {how}: with it go the bindings, and then all messages", again
            )
        if facts.get("internal"):
            yield error("exchange", f"exchange {name} is internal: nobody can publish to it", again)


def check_alarms(exam: Examination) -> Iterator[Finding]:
    """A node in alarm takes nothing from publishers; Maxwell stands still meanwhile, or loses."""
    try:
        nodes = exam.management().get("/nodes") or []
    except NoRight:
        yield unknown("alarms", "alarms of memory and disk cannot be seen", f"needs: {management_remedy(exam)}")
        return
    for node in nodes:
        name = node.get("name")
        if not node.get("running", True):
            yield error("nodes", f"the node {name} of RabbitMQ is down", f"start it: rabbitmqctl -n {name} start_app")
            continue
        if node.get("mem_alarm"):
            yield error(
                "alarms", f"RabbitMQ's node {name} is in memory alarm: it takes no message from anybody",
                "see which queue is long (rabbitmqctl list_queues name messages memory); rabbitmqctl"
                " set_vm_memory_high_watermark 0.6 gives it more",
            )  # fmt: skip
        if node.get("disk_free_alarm"):
            yield error(
                "alarms", f"RabbitMQ's node {name} is in disk alarm: it takes no message from anybody",
                f"make room where its data are; rabbitmqctl set_disk_free_limit lowers the limit"
                f" ({int(node.get('disk_free_limit', 0)):,} bytes)",
            )  # fmt: skip
        if node.get("partitions"):
            yield error("nodes", f"RabbitMQ's cluster is split: {name} does not see {listed(node['partitions'])}",
                        "restart the nodes of one side; cluster_partition_handling = pause_minority avoids"
                        " it")  # fmt: skip
        free, least = (int(node.get(key) or 0) for key in ("disk_free", "disk_free_limit"))
        if least and not node.get("disk_free_alarm") and free < 3 * least:
            yield warning("alarms", f"RabbitMQ's node {name} has {free / 2**30:,.1f} GiB free, and stops at"
                          f" {least / 2**30:,.1f}", "make room where its data are")  # fmt: skip
    if nodes and not any(node.get("mem_alarm") or node.get("disk_free_alarm") for node in nodes):
        yield ok("alarms", "no node of RabbitMQ is in alarm")


def check_message_size(exam: Examination) -> Iterator[Finding]:
    """A row that is longer than a message may be."""
    major = exam.link().server_numbers[:1] or (0,)
    limit = next(size for since, size in _MESSAGE_LIMITS if major[0] >= since)
    packet = number(variables(exam, "source").get("max_allowed_packet"))
    wide = [
        f"{table.name}.{column.name}"
        for table in source_tables(exam).values()
        for column in table.columns.values()
        if column.kind in _WIDE
    ]
    if packet > limit and wide:
        yield warning(
            "message-size",
            f"RabbitMQ {major[0]} takes messages of {limit / 2**20:,.0f} MiB unless rabbitmq.conf says otherwise,"
            f" and rows of"
            f" the source may have {packet / 2**20:,.0f} MiB ({listed(wide)}): Maxwell ends at a longer one",
            f"max_message_size = {min(packet, 512 * 2**20)} in rabbitmq.conf and a restart",
        )


def check_rights(exam: Examination) -> Iterator[Finding]:
    """Configure, write and read on the names of the configuration."""
    management, amqp = exam.management(), exam.settings.amqp
    try:
        found = management.get(f"/permissions/{management.vhost_path()}/{quote(amqp.user, safe='')}")
    except NoRight:
        yield unknown(
            "broker-rights",
            f"the permissions of RabbitMQ's user {amqp.user} can be seen by an administrator alone",
            f"look: rabbitmqctl list_user_permissions {amqp.user}; {_permissions(exam, *exam.settings.queues)} are"
            f" enough",
        )
        return
    if found is None:
        return
    lacking = []
    for queue in exam.settings.queues:
        wanted = [("read", queue.queue)]
        if queue.routing_keys:
            wanted += [("configure", queue.queue), ("write", queue.queue)]
            wanted += [("configure", queue.exchange), ("read", queue.exchange)] if queue.exchange else []
        lacking += [f"{right} on {name}" for right, name in wanted if not _permits(str(found.get(right, "")), name)]
    if lacking:
        yield error("broker-rights", f"RabbitMQ's user {amqp.user} lacks {listed(dict.fromkeys(lacking))}",
                    _permissions(exam, *exam.settings.queues))  # fmt: skip
    else:
        yield ok("broker-rights", f"RabbitMQ's user {amqp.user} has the permissions that the workers need")


def _permits(pattern: str, name: str) -> bool:
    try:
        return bool(pattern) and re.search(pattern, name) is not None
    except re.error:
        return False


def _permissions(exam: Examination, *queues: QueueSettings) -> str:
    amqp = exam.settings.amqp
    names = [re.escape(queue.queue) for queue in queues]
    exchanges = [re.escape(name) for name in dict.fromkeys(queue.exchange for queue in queues if queue.exchange)]
    declares = any(queue.routing_keys for queue in queues)
    everything = f"'^({'|'.join([*names, *exchanges])})$'"
    own = f"'^({'|'.join(names)})$'"
    shown = f"{everything} {own} {everything}" if declares else f"'' '' {own}"
    return f"rabbitmqctl set_permissions -p {amqp.vhost} {amqp.user} {shown}"
