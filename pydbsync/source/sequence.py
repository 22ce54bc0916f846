"""Several messages in one delivery: a JSON text sequence, RFC 7464, as `capture --bundle` publishes it.

A record separator, which no JSON text can begin with or hold, stands before each text and a line feed behind it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydbsync.model import Delivery

CONTENT_TYPE: Final = "application/json-seq"
_SEPARATOR: Final = b"\x1e"
_BETWEEN: Final = b"\n\x1e"


def join_texts(texts: Sequence[bytes]) -> bytes:
    r"""The sequence of these messages.

    >>> join_texts([b"{}", b"[]"])
    b'\x1e{}\n\x1e[]\n'
    """
    return b"%b%b\n" % (_SEPARATOR, _BETWEEN.join(texts))


def is_sequence(body: bytes) -> bool:
    """Whether a message holds several."""
    return body[:1] == _SEPARATOR


def spread(deliveries: list[Delivery]) -> list[Delivery]:
    r"""The same with a delivery for each message; what is no sequence stays as it is, and so does the list if none is.

    All messages of a sequence but its last have the tag of the delivery before it (0 before the first): once they are
    applied, that much may be acknowledged. The sequence itself may be only when its last message is applied.

    >>> [(delivery.body, delivery.tag) for delivery in spread([Delivery(b"\x1e{}\n\x1e[]\n", 7)])]
    [(b'{}', 6), (b'[]', 7)]
    """
    for body, _, _ in deliveries:  # runs for every message there is
        if body[:1] == _SEPARATOR:
            break
    else:
        return deliveries
    found: list[Delivery] = []
    for delivery in deliveries:
        if not is_sequence(delivery.body):
            found.append(delivery)
            continue
        *others, last = delivery.body[1:].removesuffix(b"\n").split(_BETWEEN)
        found += [Delivery(text, delivery.tag - 1, delivery.redelivered) for text in others]
        found.append(Delivery(last, delivery.tag, delivery.redelivered))
    return found
