"""Who reads a queue, and for how long a reader may acknowledge nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from pydbsync.errors import ApplyError, SourceError
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, error, warning
from pydbsync.ops.doctor.state import longest_schema_change_s
from pydbsync.ops.words import listed

_OWN_NAME = "pydbsync"
_DEFAULT_CONSUMER_TIMEOUT_S = 1800
_MARGIN = 1.5


def check_readers(exam: Examination, name: str, facts: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether a queue has another reader than one worker: each would get a part."""
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


def check_timeout(exam: Examination, name: str, arguments: Mapping[str, Any]) -> Iterator[Finding]:
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
