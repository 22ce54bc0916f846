"""Consecutive messages with one routing key, put together into one of AMQP's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from pydbsync.source.sequence import join_texts

BUNDLE_BYTES: Final = 16 * 1024


class Bundle:
    """Collects messages and gives them back as routing key and body: several as a JSON text sequence, one as it is."""

    def __init__(self, most_bytes: int) -> None:
        """`most_bytes`: a bundle grows to about this size."""
        self._most_bytes = most_bytes
        self._key = ""
        self._texts: list[bytes] = []
        self._bytes = 0

    def add(self, key: str, texts: Sequence[bytes]) -> Iterator[tuple[str, bytes]]:
        """Take these messages; what comes out is complete."""
        if key != self._key:
            yield from self.close()
            self._key = key
        for text in texts:
            if len(text) >= self._most_bytes:  # it stands alone, and is alone refused should it be too large
                yield from self.close()
            self._texts.append(text)
            self._bytes += len(text)
            if self._bytes >= self._most_bytes:
                yield from self.close()

    def close(self) -> Iterator[tuple[str, bytes]]:
        """What was collected."""
        texts, self._texts, self._bytes = self._texts, [], 0
        if texts:
            yield self._key, join_texts(texts) if len(texts) > 1 else texts[0]
