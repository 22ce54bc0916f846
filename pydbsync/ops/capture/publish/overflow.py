"""Queues that refuse messages when they are full, found by what the broker says of their arguments."""

from __future__ import annotations

import re
from typing import Any, Final

from pydbsync.errors import SourceError
from pydbsync.source.link import BrokerLink, ChannelRefused

_REFUSING: Final = frozenset({"reject-publish", "reject-publish-dlx"})
_DIFFERENCE: Final = re.compile(
    r"inequivalent arg '(?P<name>[^']+)' for .*but current is (?:the value '(?P<value>.*)' of type '(?P<type>\w+)'|"
    r"'(?P<plain>\w+)'|(?P<none>none))",
    re.DOTALL,
)
_MOST_ARGUMENTS: Final = 20


def refuses_when_full(link: BrokerLink, queue: str) -> bool:
    """Whether the queue was declared with x-overflow=reject-publish. A policy that says so does not show here.

    A declaration that differs is refused with the first difference, so that one after the other comes to light; nothing
    is declared, since the queue is there, and false where the broker does not tell.
    """
    flags: dict[str, bool] = {"durable": True, "exclusive": False, "auto_delete": False}
    arguments: dict[str, Any] = {"x-overflow": "drop-head"}
    try:
        channel = link.open_channel()
        link.ask(channel, lambda reply: channel.queue_declare(queue, passive=True, callback=reply))
        for _ in range(_MOST_ARGUMENTS):
            again = link.open_channel()
            try:
                link.ask(
                    again,
                    lambda reply, channel=again: channel.queue_declare(  # type: ignore[misc]
                        queue, arguments=arguments, callback=reply, **flags
                    ),
                )
                return False
            except ChannelRefused as exc:
                found = _DIFFERENCE.search(str(exc))
                if found is None:
                    return False
                if found["name"] == "x-overflow":
                    if found["value"] in _REFUSING:
                        return True
                    arguments.pop("x-overflow", None)
                elif found["name"] in flags:
                    flags[found["name"]] = found["plain"] == "true"
                elif found["none"]:
                    arguments.pop(found["name"], None)
                else:
                    arguments[found["name"]] = _typed(found["value"], found["type"])
    except (ChannelRefused, SourceError):
        return False
    return False


def _typed(value: str, kind: str) -> Any:
    if kind == "bool":
        return value == "true"
    return value if kind == "longstr" else int(value) if re.fullmatch(r"-?\d+", value) else value
