"""RabbitMQ's policies: which of them hold for a queue or an exchange, by their patterns and priorities. The statistics
of the management API are some seconds behind them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from pydbsync.errors import SourceError
from pydbsync.ops.doctor.examination import Examination
from pydbsync.source.management import own_arguments
from pydbsync.source.topology import with_policy

_KINDS: Final = (("policy", "policies"), ("operator_policy", "operator-policies"))
_OF_QUEUES: Final = {"classic": "classic_queues", "quorum": "quorum_queues", "stream": "streams"}


class QueuePolicy(NamedTuple):
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


def policies_of(exam: Examination, facts: Mapping[str, Any]) -> list[QueuePolicy]:
    """Those of a queue, with the arguments that it has of its own before them, as a policy that nobody can clear.
    Raises Away, SourceError."""
    found = [
        QueuePolicy("", {key.removeprefix("x-"): value for key, value in (facts.get("arguments") or {}).items()}, "")
    ]
    for kind, path in _KINDS:
        every = _all(exam, path)
        if every is not None:
            found += _chosen(every, str(facts["name"]), ("queues", _OF_QUEUES.get(str(facts.get("type")), "")), kind)
        elif name := str(facts.get(kind) or ""):
            found.append(QueuePolicy(name, None, f"clear_{kind}"))
    return found


def alternate_of(exam: Examination, exchange: Mapping[str, Any]) -> str:
    """The exchange that gets what no binding of this one takes; empty where there is none."""
    own = (exchange.get("arguments") or {}).get("alternate-exchange")
    if own is None:
        chosen = _chosen(_all(exam, _KINDS[0][1]) or [], str(exchange["name"]), ("exchanges",), _KINDS[0][0])
        own = next((each.definition.get("alternate-exchange") for each in chosen if each.definition), None)
    return str(own or "")


def effective(facts: Mapping[str, Any], policies: list[QueuePolicy], *, server_version: str) -> dict[str, Any]:
    """The queue's arguments together with what policies set, all spelled as arguments."""
    found = own_arguments(facts)
    told: Mapping[str, Any] = facts.get("effective_policy_definition") or {}
    for definition in [told] if any(each.definition is None for each in policies) else [
        each.definition or {} for each in policies[1:]
    ]:  # fmt: skip
        found = with_policy(found, definition, server_version=server_version)
    return found


def _all(exam: Examination, path: str) -> list[Mapping[str, Any]] | None:
    """The policies of the virtual host; None where our user may not see them."""

    def ask() -> list[Mapping[str, Any]] | None:
        management = exam.management()
        try:
            return list(management.get(management.path(path)) or [])
        except SourceError:
            return None

    return exam.known(path, ask)


def _chosen(every: list[Mapping[str, Any]], name: str, applies_to: tuple[str, ...], kind: str) -> list[QueuePolicy]:
    """The one that RabbitMQ takes: the first by priority whose pattern fits."""
    fitting = [
        each for each in every
        if each.get("apply-to", "all") in ("all", *applies_to) and _fits(str(each.get("pattern", "")), name)
    ]  # fmt: skip
    if not fitting:
        return []
    first = max(fitting, key=lambda each: int(each.get("priority") or 0))
    return [QueuePolicy(str(first["name"]), first.get("definition") or {}, f"clear_{kind}")]


def _fits(pattern: str, name: str) -> bool:
    try:
        return re.search(pattern, name) is not None
    except re.error:  # Erlang's expressions have some that are not ours
        return False
