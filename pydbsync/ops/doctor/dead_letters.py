"""Where RabbitMQ puts what a queue drops, and whether it comes back from there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.policies import effective, policies_of
from pydbsync.source.management import NoRight


def grave_of(exam: Examination, arguments: Mapping[str, Any]) -> tuple[str, bool]:
    """Where what a queue drops goes, in words, and whether it is kept there."""
    to = arguments.get("x-dead-letter-exchange")
    if to is None:
        return "", False
    management = exam.management()
    path = management.path("exchanges", str(to))
    if not to:
        key = arguments.get("x-dead-letter-routing-key")
        queue = key and management.get(management.path("queues", str(key)))
        return (f"; what it drops goes to queue {key}", True) if queue else ("; what it drops goes nowhere", False)
    if management.get(path) is None:
        return f"; what it drops should go to exchange {to}, which does not exist: it is gone", False
    if not management.get(f"{path}/bindings/source"):
        return f"; what it drops goes to exchange {to}, to which no queue is bound: it is gone", False
    return f"; what it drops goes to exchange {to}", True


def comes_back(exam: Examination, name: str, arguments: Mapping[str, Any]) -> bool:
    """Whether a dead letter of the queue gets into it again, also through queues that pass it on."""
    management = exam.management()
    try:
        bindings = management.get(management.path("bindings")) or []
        queues = management.get(management.path("queues")) or []
    except NoRight:
        return False
    version = exam.link().server_version
    passed_on = {
        str(each["name"]): effective(each, policies_of(exam, each), server_version=version) for each in queues
    } | {name: dict(arguments)}
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
