"""A source whose messages are translated into Maxwell's before the engine sees them."""

from __future__ import annotations

from collections.abc import Sequence

from pydbsync.decode.maxwell import decode_changes
from pydbsync.decode.spoken import Translate
from pydbsync.errors import DecodeError
from pydbsync.model import Change, Delivery
from pydbsync.protocols import Decode, Source
from pydbsync.source.wrapped import WrappedSource

_NOTHING = b""
"""The body of a delivery that changes nothing: it is acknowledged in its turn with all others."""


class TranslatedSource(WrappedSource):
    """Hands out one delivery a change.

    All messages of one delivery but the last have the tag of the delivery before it, as those of a sequence have. What
    cannot be translated is handed on as it came, and `decoder_of` says why it cannot be read.
    """

    def __init__(self, source: Source, translate: Translate) -> None:
        super().__init__(source)
        self._translate = translate

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        """See protocols.Source."""
        found: list[Delivery] = []
        for delivery in self._source.take(timeout_s=timeout_s):
            body, tag, redelivered = delivery
            try:
                messages = self._translate(body) or [_NOTHING]
            except DecodeError:
                found.append(delivery)
                continue
            found += [Delivery(message, tag - 1, redelivered) for message in messages[:-1]]
            found.append(Delivery(messages[-1], tag, redelivered))
        return found


def decoder_of(translate: Translate, input_format: str) -> Decode:
    """What reads the deliveries of such a source."""

    def decode(body: bytes) -> Sequence[Change]:
        if body == _NOTHING:
            return ()
        try:
            return decode_changes(body)
        except DecodeError:
            try:
                translate(body)  # raises what is wrong in the words of its own format
            except DecodeError as exc:
                exc.input_format = input_format
                raise
            raise

    return decode
