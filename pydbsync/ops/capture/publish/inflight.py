"""Messages on their way to RabbitMQ: which are confirmed, which were refused, and what the first that was not is."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple


class Sent(NamedTuple):
    """What is remembered of a message until its outcome is known."""

    size: int
    texts: int
    """How many of Maxwell's messages it holds."""
    key: str
    head: bytes
    """Its beginning, where it is large enough to be refused for its size."""


class InFlight:
    """Follows delivery tags, which count from 1. Answers may come in any order, and for several messages at once."""

    def __init__(self) -> None:
        self._waiting: deque[Sent] = deque()
        """In the order of their tags, the first unanswered one in front."""
        self._early: dict[int, bool] = {}
        """Answers to messages behind that one: whether the message was refused, by tag."""
        self._first_tag = 1
        self.count = self.size_bytes = 0
        self.confirmed = 0
        """How many of Maxwell's messages are safe, from the first on without a gap."""
        self.refused: Sent | None = None
        """The first message that was refused."""
        self.is_frozen = False
        """A message was returned, which is confirmed nevertheless: `confirmed` counts no further."""
        self.is_out_of_order = False
        """Messages behind a refused one were taken."""

    def add(self, sent: Sent) -> None:
        """One more is sent."""
        self._waiting.append(sent)
        self.count += 1
        self.size_bytes += sent.size

    def first_larger(self, size: int) -> Sent | None:
        """The first message without an answer that is larger than this."""
        return next((sent for sent in self._waiting if sent.size > size), None)

    def answer(self, tag: int, *, multiple: bool, is_refused: bool) -> None:
        """The broker's word on a message, or on all up to it."""
        if multiple:
            while self._first_tag <= tag and self._waiting:
                early = self._early.pop(self._first_tag, None)
                self._settle(is_refused=is_refused if early is None else early, is_counted=early is not None)
        elif tag == self._first_tag and self._waiting:
            self._settle(is_refused=is_refused)
        elif tag > self._first_tag and tag not in self._early:
            self._early[tag] = is_refused
            self.count -= 1
            self.size_bytes -= self._waiting[tag - self._first_tag].size
        while self._early and self._first_tag in self._early:
            self._settle(is_refused=self._early.pop(self._first_tag), is_counted=True)

    def _settle(self, *, is_refused: bool, is_counted: bool = False) -> None:
        sent = self._waiting.popleft()
        self._first_tag += 1
        if not is_counted:
            self.count -= 1
            self.size_bytes -= sent.size
        if is_refused:
            self.refused = self.refused or sent
        elif self.refused is not None:
            self.is_out_of_order = True
        elif not self.is_frozen:
            self.confirmed += sent.texts

    def forget_refusal(self) -> None:
        """The refused message is sent again before any other."""
        self.refused = None
