"""RabbitMQ itself: its exchanges, limits, rights, alarms and the size of messages. Nothing is taken or declared."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from pydbsync.config.settings import QueueSettings
from pydbsync.ops.doctor.catalogue import source_tables
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, unknown, warning
from pydbsync.ops.doctor.reach import management_remedy
from pydbsync.ops.doctor.variables import number, variables
from pydbsync.ops.words import listed
from pydbsync.source.management import NoRight

_MESSAGE_LIMITS: Final = ((4, 16 * 2**20), (0, 128 * 2**20))
"""RabbitMQ's default of max_message_size by its major version; rabbitmq.conf can say otherwise."""
_WIDE = ("longtext", "longblob", "json")


def check_user_limits(exam: Examination) -> Iterator[Finding]:
    """A user can be limited too, and topics beside names."""
    management, amqp = exam.management(), exam.settings.amqp
    try:
        limits = {
            name: most
            for each in management.get(f"/user-limits/{quote(amqp.user, safe='')}") or []
            for name, most in (each.get("value") or {}).items()
        }
        topics = management.get(management.path("topic-permissions", amqp.user)) or []
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
        found = management.get(management.path("vhost-limits")) or []
        limits = found[0].get("value", {}) if found else {}
        used = len(management.get(f"{management.path('vhosts')}/connections") or []) if limits else 0
        queues = management.get(f"{management.path('queues')}?disable_stats=true") or []
    except NoRight:
        return
    names = {str(each["name"]) for each in queues}
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


def check_exchanges(exam: Examination) -> Iterator[Finding]:
    """The exchanges that Maxwell publishes to."""
    management = exam.management()
    wanted = {queue.exchange: queue.exchange_type for queue in exam.settings.queues if queue.exchange}
    for name, kind in wanted.items():
        facts = management.get(management.path("exchanges", name))
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
        found = management.get(management.path("permissions", amqp.user))
    except NoRight:
        yield unknown(
            "broker-rights",
            f"the permissions of RabbitMQ's user {amqp.user} can be seen by an administrator alone",
            f"look: rabbitmqctl list_user_permissions {amqp.user}; {permissions(exam, *exam.settings.queues)} are"
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
                    permissions(exam, *exam.settings.queues))  # fmt: skip
    else:
        yield ok("broker-rights", f"RabbitMQ's user {amqp.user} has the permissions that the workers need")


def _permits(pattern: str, name: str) -> bool:
    try:
        return bool(pattern) and re.search(pattern, name) is not None
    except re.error:
        return False


def permissions(exam: Examination, *queues: QueueSettings) -> str:
    amqp = exam.settings.amqp
    names = [re.escape(queue.queue) for queue in queues]
    exchanges = [re.escape(name) for name in dict.fromkeys(queue.exchange for queue in queues if queue.exchange)]
    declares = any(queue.routing_keys for queue in queues)
    everything = f"'^({'|'.join([*names, *exchanges])})$'"
    own = f"'^({'|'.join(names)})$'"
    shown = f"{everything} {own} {everything}" if declares else f"'' '' {own}"
    return f"rabbitmqctl set_permissions -p {amqp.vhost} {amqp.user} {shown}"
