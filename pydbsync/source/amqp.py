"""Deliveries of one RabbitMQ queue, read ahead by a thread and acknowledged from where they were applied."""

from __future__ import annotations

import functools
import logging
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

from pydbsync.config.settings import AmqpSettings, QueueSettings
from pydbsync.errors import ConfigError, MessagesGoneError, SourceError
from pydbsync.model import Delivery
from pydbsync.source.arrivals import Arrivals
from pydbsync.source.connection import connection_name
from pydbsync.source.link import ANSWER_S, BrokerLink, Channel, ChannelRefused, LinkStopped, Reply
from pydbsync.source.sequence import spread
from pydbsync.source.topology import Returns, declare, explained, inspect
from pydbsync.work import Transit

# A quorum queue whose leader is silent for 250 ms is declared to hold no message and to have no consumer
# (rabbit_quorum_queue:stat/1 of RabbitMQ 3.10 and 4): a nought that took so long to come tells nothing.
_SILENT_LEADER_S = 0.2
_FILLING_S, _QUIET_S = 0.5, 0.1
"""How long a subscription that is to end waits for the broker to send all that it may, or for this much silence."""
_SETTLING_S = 0.5
"""How long the broker may take until what was acknowledged last is gone from a quorum queue."""

_IN_USE = "in exclusive use"
"""RabbitMQ's words, with code 403, to who would be a second consumer beside an exclusive one, or an exclusive one
beside others (rabbit_channel, 3.10 and 4). A classic queue with a single active consumer says them to each of these."""
_SINGLE_ACTIVE_AFTER = 2


class AmqpSource:
    """One subscription to one queue; fits protocols.Source.

    Up to `prefetch` deliveries are with this process unacknowledged. When more than `read_ahead_bytes` of them are
    held, the socket is left alone until some are acknowledged or `take` finds nothing at hand, but for the 128 KiB a
    second that keep the connection alive.
    """

    def __init__(
        self,
        amqp: AmqpSettings,
        queue: QueueSettings,
        *,
        prefetch: int,
        read_ahead_bytes: int,
        log: logging.Logger,
        consumer_poll_s: float = 1.0,
        only_looks: bool = False,
        fast: bool = True,
    ) -> None:
        """`only_looks`: nothing is declared, and a queue that somebody else reads is left alone. `fast=False` reads
        through pika's own parser alone."""
        self.stream: str = queue.stream
        self._amqp = amqp
        self._queue = queue
        self._prefetch = prefetch
        self._read_ahead_bytes = read_ahead_bytes
        self._log = log
        self._consumer_poll_s = consumer_poll_s
        self._only_looks = only_looks
        self._fast = fast
        self._consumer_tag = f"pydbsync-{uuid.uuid4().hex[:12]}"
        self._returns = Returns()
        self._is_new = self._is_subscribed = False
        self._is_last_return_told = False
        self._cancelled: Future[Any] | None = None
        self._looked: Future[Any] | None = None
        self._looked_at = self._looks_until = 0.0
        self._in_use_though_free = 0
        """How often in succession an exclusive subscription was refused by a queue without a consumer."""
        self._was_open = False
        self._refusal = ""
        """Why the broker does not let us in any more, once said."""
        self._link: BrokerLink | None = None
        self._channel: Channel = None
        self._changed = threading.Condition()
        # what follows is shared with the connection's thread and guarded by _changed
        self._at_hand: list[Delivery] = []
        self._fault: SourceError | None = None
        self._held_bytes = 0
        self._unsettled: deque[tuple[int, int, float, float | None]] = deque()
        """(last tag, bytes, when, when published) of what came in and is not acknowledged yet, in order."""
        self._published_at: float | None = None
        self._received_at = self._acknowledged_at = 0.0
        """When the newest of what is acknowledged came in, and when it was, in seconds since 1970."""
        self._uncounted_bytes = 0
        self._paused = False
        self._hungry = False
        self._last_tag = self._ack_tag = self._sent_ack_tag = 0
        self._ack_due = False
        self._holds_acks_since = 0.0
        """When acknowledgements began to be held back, by the monotonic clock; 0 while they are not."""
        self._came_at = 0.0
        self._depth: int | None = None
        self._depth_asked_at = 0.0
        self._standing = Arrivals(prefetch)
        self._ready_at_start = 0

    def open(
        self, stop: threading.Event, while_waiting: Callable[[], object] = lambda: None, *, goes_on: bool = False
    ) -> None:
        """Connect, declare and bind, wait until no other consumer is on the queue, subscribe as the only one.

        Returns without a subscription when `stop` is set. Raises ConfigError where trying again cannot help; a source
        that was open before is refused but for a while, by whatever somebody is about to change: SourceError. Of that,
        MessagesGoneError where the queue lacks what it must have, once.
        """
        self.close()
        if not goes_on:
            self._standing.forget()
        if self._is_subscribed:  # else nobody has been told yet
            self._is_new = self._is_subscribed = False
        try:
            while not self._subscribe(stop, while_waiting):
                self.close()
                self._standing.forget()
                while_waiting()
            self._was_open, self._is_subscribed, self._refusal = True, True, ""
        except LinkStopped:
            self.close()
        except ConfigError as error:
            self.close()
            raise self._for_a_while(error) from error
        except ChannelRefused as error:
            self.close()
            raise self._for_a_while(explained(error, f"consuming from queue {self._queue.queue!r}")) from error
        except BaseException:
            self.close()
            raise

    @property
    def is_new(self) -> bool:
        """Whether the queue was made anew before it was opened last, by whomever; see protocols.Source."""
        return self._is_new

    def take(self, *, timeout_s: float) -> Sequence[Delivery]:
        """All deliveries at hand in order; see protocols.Source."""
        with self._changed:
            if not self._at_hand and self._fault is None and self._link is not None:
                self._hungry = True
                if self._paused:
                    self._read_on()
                self._changed.wait_for(lambda: self._at_hand or self._fault is not None, timeout_s)
                self._hungry = False
            if self._fault is not None:
                kind = MessagesGoneError if isinstance(self._fault, MessagesGoneError) else SourceError
                raise kind(str(self._fault)) from self._fault
            deliveries, self._at_hand = self._at_hand, []
            return deliveries

    def acknowledge(self, tag: int) -> None:
        """This delivery and all before it; see protocols.Source."""
        with self._changed:
            if self._fault is not None or self._link is None:
                raise SourceError(str(self._fault or "the source is not open")) from self._fault
            while self._unsettled and self._unsettled[0][0] <= tag:
                _, size_bytes, self._received_at, self._published_at = self._unsettled.popleft()
                self._held_bytes -= size_bytes
            self._acknowledged_at = time.time()
            if self._paused and self._held_bytes <= self._read_ahead_bytes:
                self._read_on()
            if tag <= self._ack_tag:
                return  # of a sequence whose first messages alone were applied: RabbitMQ refuses a second time
            self._ack_tag = tag
            if not self._holds_acks_since:
                self._have_ack_sent(self._link)

    def is_drained(self) -> bool:
        """Whether nothing is at hand and nothing ready at the broker; see protocols.Source."""
        link = self._link
        if link is None or self._at_hand or self._fault is not None or self._paused:
            return False
        if not self._holds_none(link):
            return False
        # The broker may have sent deliveries that it no longer counts. The queue handed them to our channel before it
        # answered, so a second answer on that channel stands behind them.
        return self._holds_none(link) and not self._at_hand

    def finish(self) -> bool:
        """End the subscription of a queue that drops what was given back too often; see protocols.Source.

        What is on its way from a quorum queue to our channel when the consumer is cancelled is given back by RabbitMQ
        itself (rabbit_fifo_client:handle_delivery of 3.10 and 4), and so counted. Nothing is on its way when all has
        come that may come unacknowledged: until then nothing is acknowledged, for as long as something comes. Where
        the load does not fill that, messages of the very moment may be given back; they are first at the next start.
        """
        link, channel = self._link, self._channel
        if not self._returns.are_counted or link is None or channel is None or self._fault is not None:
            return False
        if self._cancelled is None:
            if not self._has_all_that_may_come():
                return True
            self._cancelled = link.begin(
                channel, lambda reply: channel.basic_cancel(self._consumer_tag, callback=reply)
            )
        if not self._cancelled.done():
            return True
        with self._changed:
            if self._holds_acks_since:
                self._holds_acks_since = 0.0
                if self._ack_tag > self._sent_ack_tag:
                    self._have_ack_sent(link)
            if self._unsettled:
                return True
        return not self._has_settled(link, channel)

    def depth(self) -> int | None:
        """Messages ready in the queue when last asked, a second ago or so; never waits."""
        link, now = self._link, time.monotonic()
        if link is not None and self._fault is None and now - self._depth_asked_at >= 1:
            self._depth_asked_at = now
            note = functools.partial(self._note_depth, asked_at=now, delivered=self._last_tag)
            link.begin(self._channel, self._passive_declare(self._channel)).add_done_callback(note)
        return self._depth

    @property
    def held_bytes(self) -> int:
        """What was received and is not acknowledged yet, frames included."""
        return self._held_bytes

    def transit(self) -> Transit:
        """How the messages of the present subscription fare; for any thread, and never waits."""
        with self._changed:
            return Transit(
                held=max(0, self._last_tag - self._ack_tag), acknowledged=self._ack_tag,
                received_at=self._received_at, committed_at=self._acknowledged_at,
                published_at=self._published_at,
            )  # fmt: skip

    def close(self) -> None:
        """Disconnect: RabbitMQ takes back what was not acknowledged. Never raises."""
        link, self._link = self._link, None
        if link is not None:
            try:
                link.close()
            except Exception as error:
                self._log.warning("queue %s: the connection was not closed cleanly: %s", self._queue.queue, error)
        with self._changed:
            if self._channel is not None:
                self._standing.end(self._ack_tag)
            self._channel = None
            self._at_hand, self._fault = [], None
            self._held_bytes = self._uncounted_bytes = 0
            self._unsettled.clear()
            self._paused = self._ack_due = False
            self._last_tag = self._ack_tag = self._sent_ack_tag = 0
            self._holds_acks_since = self._depth_asked_at = 0.0
        self._cancelled = self._looked = None

    # --- called by the connection's thread

    def _on_deliveries(self, deliveries: list[Delivery], size_bytes: int) -> bool:
        deliveries = spread(deliveries)
        if self._returns.limit is not None and not self._is_last_return_told:
            self._tell_last_return(self._returns.limit)
        with self._changed:
            self._held_bytes += size_bytes
            self._uncounted_bytes += size_bytes
            if deliveries:
                published_at = self._link.published_at if self._link is not None else None
                self._unsettled.append((deliveries[-1].tag, self._uncounted_bytes, time.time(), published_at))
                self._uncounted_bytes = 0
                self._last_tag = deliveries[-1].tag
                if self._holds_acks_since:
                    self._came_at = time.monotonic()
                if self._at_hand:
                    self._at_hand += deliveries
                else:
                    self._at_hand = deliveries
                    self._changed.notify_all()
            starving = self._hungry and not self._at_hand
            self._paused = self._held_bytes > self._read_ahead_bytes and not starving
            return not self._paused

    def _tell_last_return(self, limit: int) -> None:
        returns = self._link.most_returns if self._link is not None else 0
        if returns >= max(limit, 1):
            self._is_last_return_told = True
            self._log.warning(
                "queue %r: messages were given back %d times, and it drops them when they are given back once more"
                " (x-delivery-limit): keep this worker, its connection and the target up until they are applied",
                self._queue.queue, returns,
            )  # fmt: skip

    def _on_lost(self, error: SourceError) -> None:
        with self._changed:
            self._fault = error
            self._at_hand = []
            self._changed.notify_all()

    def _send_ack(self, channel: Channel) -> None:
        with self._changed:
            if channel is not self._channel:
                return  # closed since: the tags at hand are not this channel's
            self._ack_due = False
            tag = self._sent_ack_tag = self._ack_tag
        channel.basic_ack(delivery_tag=tag, multiple=True)

    def _note_depth(self, answer: Any, *, asked_at: float, delivered: int) -> None:
        if answer.exception() is not None:
            return
        self._depth = ready = answer.result().method.message_count
        if ready == 0 and time.monotonic() - asked_at >= _SILENT_LEADER_S:
            return
        gone = self._standing.look(ready, delivered=delivered, acknowledged=self._ack_tag)
        if gone:
            self._on_lost(self._gone(gone))

    def _gone(self, count: int) -> MessagesGoneError:
        return MessagesGoneError(
            f"at least {count} messages have gone from queue {self._queue.queue!r} that this worker has not"
            " acknowledged: they were purged, dropped by a limit of the queue or by a broker that started again, or"
            " another program took them"
        )

    # --- steps of acknowledge and finish

    def _have_ack_sent(self, link: BrokerLink) -> None:
        if not self._ack_due:  # the one under way takes the newer tag
            self._ack_due = True
            link.later(functools.partial(self._send_ack, self._channel))

    def _has_all_that_may_come(self) -> bool:
        """Whether the broker may send nothing more before an acknowledgement, or has sent nothing for a while."""
        now = time.monotonic()
        with self._changed:
            if not self._holds_acks_since:
                self._holds_acks_since = self._came_at = now
            return (
                (not self._ack_due and self._last_tag - self._sent_ack_tag >= self._prefetch)
                or (not self._paused and now - self._came_at >= _QUIET_S)
                or now - self._holds_acks_since >= _FILLING_S
            )

    def _has_settled(self, link: BrokerLink, channel: Channel) -> bool:
        """Whether a quorum queue has carried out the last acknowledgement: it does so behind the channel's back, and
        counts a cancelled consumer until then (rabbit_fifo:query_stat of 3.10 and 4)."""
        now = time.monotonic()
        if self._looked is None:
            self._looks_until = now + _SETTLING_S
        elif now >= self._looks_until:
            return True
        elif not self._looked.done():
            return False
        elif self._looked.exception() is not None:
            return True
        else:
            consumers = self._looked.result().method.consumer_count
            if consumers == 0 and now - self._looked_at < _SILENT_LEADER_S:
                return True
        self._looked_at = now
        self._looked = link.begin(channel, self._passive_declare(channel))
        return False

    # --- steps of open

    def _subscribe(self, stop: threading.Event, while_waiting: Callable[[], object]) -> bool:
        """Subscribe as the only consumer; False when somebody else has done so since the queue was seen to be free, as
        another worker may that has got the lock which ours has just lost. (Quorum queues take an exclusive consumer
        beside others, tried with 3.10: there only the shortness of the moment helps.)"""
        link = self._link = BrokerLink(
            self._amqp,
            name=connection_name(self._queue.queue),
            log=self._log,
            on_deliveries=self._on_deliveries,
            on_lost=self._on_lost,
            fast=self._fast,
        )
        link.connect(stop)
        if not self._in_use_though_free:
            prepare = inspect if self._only_looks else declare
            former, self._returns = self._returns, prepare(link, self._queue, log=self._log, stop=stop)
            is_another = "" not in (former.properties, self._returns.properties) and (
                former.properties != self._returns.properties
            )
            self._is_new |= self._returns.is_new or is_another
        # Nothing is asked between the answer that the queue is free and the subscription.
        channel = link.open_channel(stop, prefetch=self._prefetch)
        if self._wait_for_turn(link, channel, stop, while_waiting):
            self._in_use_though_free = 0
        if gone := self._standing.lacks(self._ready_at_start):
            self._standing.forget()
            raise self._gone(gone)
        self._standing.begin(self._ready_at_start)
        self._channel = channel
        try:
            link.consume(
                channel,
                queue=self._queue.queue,
                consumer_tag=self._consumer_tag,
                is_exclusive=self._in_use_though_free < _SINGLE_ACTIVE_AFTER,
            )
        except ChannelRefused as error:
            if _IN_USE not in str(error):
                raise
            self._in_use_though_free += 1
            return False
        return True

    def _for_a_while(self, error: SourceError | ConfigError) -> SourceError | ConfigError:
        """What is wrong for good at the start may be mended when it worked before; it is said once."""
        if not self._was_open or isinstance(error, SourceError):
            return error
        if str(error) != self._refusal:
            self._refusal = str(error)
            self._log.warning("queue %s is waited for: %s", self._queue.queue, error)
        return SourceError(str(error))

    def _wait_for_turn(
        self, link: BrokerLink, channel: Channel, stop: threading.Event, while_waiting: Callable[[], object]
    ) -> bool:
        """Wait until nobody consumes from the queue: RabbitMQ hands a waiting second consumer newer messages before
        those that the first one gives back. Returns whether anybody did."""
        pause_s, began_at = min(0.05, self._consumer_poll_s), 0.0
        while True:
            asked_at = time.monotonic()
            answer = link.ask(channel, self._passive_declare(channel), stop=stop).method
            consumers, self._ready_at_start = answer.consumer_count, answer.message_count
            if consumers == 0 and time.monotonic() - asked_at < _SILENT_LEADER_S:
                break
            if consumers and self._only_looks:
                raise ConfigError(
                    f"{consumers} consumer(s) are on queue {self._queue.queue!r}: a dry run would take messages away"
                    " from them; stop them first",
                    key="rabbitmq_queue_bind",
                )
            if consumers and not began_at:
                began_at = time.monotonic()
                self._log.info(
                    "queue %s: %d consumer(s) are on it; waiting until they have gone, to keep the order",
                    self._queue.queue,
                    consumers,
                )
            while_waiting()
            if stop.wait(pause_s):
                raise LinkStopped
            pause_s = min(2 * pause_s, self._consumer_poll_s)
        if began_at:
            self._log.info("queue %s: free after %.1f s", self._queue.queue, time.monotonic() - began_at)
        return began_at > 0

    def _passive_declare(self, channel: Channel) -> Callable[[Reply], object]:
        return lambda reply: channel.queue_declare(self._queue.queue, passive=True, callback=reply)

    def _holds_none(self, link: BrokerLink) -> bool:
        asked_at = time.monotonic()
        answer = link.begin(self._channel, self._passive_declare(self._channel))
        # The answer stands behind deliveries on their way. Once one is at hand nobody need wait for it, and must not:
        # the reading may pause for as long as what is held is not applied.
        while not answer.done():
            with self._changed:
                if self._changed.wait_for(lambda: self._at_hand or self._paused or self._fault is not None, 0.02):
                    return False
            if time.monotonic() - asked_at > ANSWER_S:
                raise SourceError(f"no answer from RabbitMQ about queue {self._queue.queue!r} within {ANSWER_S:g} s")
        count: int = answer.result().method.message_count
        return count == 0 and time.monotonic() - asked_at < _SILENT_LEADER_S

    def _read_on(self) -> None:
        self._paused = False
        if self._link is not None:
            self._link.resume()
