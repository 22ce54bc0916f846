"""Owns a stream, subscribes and follows; after any loss of the source or the target the same again."""

from __future__ import annotations

import logging
import threading

from pydbsync.backoff import Backoff
from pydbsync.engine.control import Control
from pydbsync.engine.observe import Observer
from pydbsync.engine.pipeline import Pipeline
from pydbsync.engine.stages import Stages
from pydbsync.engine.turn import Turn
from pydbsync.errors import BrokenOrderError, MessagesGoneError, SourceError, StopError, TransientError
from pydbsync.work import StreamState


class Follower:
    """Follows one source until it is told to stop, or, with `until_drained`, until nothing is left."""

    def __init__(
        self,
        control: Control,
        stages: Stages,
        *,
        observer: Observer,
        log: logging.Logger,
        until_drained: bool = False,
        carries_everything: bool = True,
        splits_statements: bool = False,
    ) -> None:
        """`carries_everything`: every row of a source transaction comes this way, so that a hole is a loss.
        `splits_statements`: several statements can have one place."""
        self._control = control
        self._stages = stages
        self._observer = observer
        self._log = log
        self._until_drained = until_drained
        self._carries_everything = carries_everything
        self._splits_statements = splits_statements

    def run(self, stop: threading.Event) -> None:
        """Take ownership, subscribe, follow; after any loss of the source do the same again.

        Raises ConfigError, StopError, CheckpointConflict, BrokenOrderError.
        """
        source, plans, store = self._stages.source, self._stages.plans, self._stages.store
        retry = self._control.settings.retry
        backoff = Backoff(retry.first_s, retry.max_s)
        is_away = is_target_lost = False
        try:
            while not stop.is_set():
                # First the lock, then the subscription: a stand-by must never be a waiting consumer, since RabbitMQ
                # would hand it newer messages before the ones that come back.
                if not is_away:  # then it is the queue that is waited for, since it went
                    self._observer.now("waiting for the target")
                former = store.state
                state = store.acquire(stop, is_away=is_target_lost)
                if state is None:
                    return
                is_target_lost = False
                try:
                    self._control.take_over()
                    plans.attach()
                    # Not even subscribe to a queue that is paused: a message that is held too long is given back, which
                    # some queues count.
                    turn = self._turn(stop)
                    if not turn.wait_while_paused(store.look_around):
                        return
                    self._observer.now("waiting for the queue")
                    source.open(stop, store.keep_alive, goes_on=state is former)
                    if stop.is_set():
                        return
                    if source.is_new and state.checkpoint.position():
                        self._tell_lost_queue(state)
                    if is_away:
                        self._log.info("the source is back")
                    is_away = False
                    backoff.reset()
                    self._observer.connected("broker")
                    self._observer.parked_now(store.parked.count)
                    self._observer.now("following")
                    self._pipeline(turn).follow(stop)
                    return
                except BrokenOrderError:
                    raise
                except MessagesGoneError as exc:
                    source.close()
                    self._tell_gone(exc)
                except SourceError as exc:
                    if not is_away:
                        self._log.warning("the source is away, waiting: %s", exc)
                    is_away = True
                    self._observer.now("waiting for the queue")
                    source.close()
                    backoff.wait(stop)
                except TransientError as exc:
                    # Lost while something was looked up: what was taken in comes again.
                    self._log.warning("the target was lost, beginning anew at the checkpoint: %s", exc)
                    is_target_lost = True
                    self._observer.now("waiting for the target")
                    source.close()
                    store.release()
                    backoff.wait(stop)
        finally:
            source.close()
            store.release()

    def _tell_lost_queue(self, state: StreamState) -> None:
        """The stream was read before, and its queue was not there any more. Raises StopError by policy."""
        stream, place = self._stages.source.stream, state.checkpoint.position()
        self._observer.gap(f"the queue was made anew: what was published since {place} went nowhere")
        self._log.error(
            "the queue of %r was not there any more and was made anew: what was published since %s, up to where it is"
            " applied, went nowhere, unless nothing was; compare the tables with the source (`pydbsync verify`)",
            stream, place,
        )  # fmt: skip
        if self._control.settings.on_gap == "stop":
            raise StopError(
                f"the queue of {stream!r} was not there any more and was made anew behind {place}; nothing is applied"
                " (on_gap is stop): mend the tables, then start again"
            )

    def _tell_gone(self, error: MessagesGoneError) -> None:
        """Raises StopError by policy."""
        self._observer.gap(str(error))
        self._log.error("a hole in the stream: %s; compare the tables with the source", error)
        if self._control.settings.on_gap == "stop":
            raise StopError(f"a hole in the stream: {error}; nothing more is applied (on_gap is stop)")

    def _turn(self, stop: threading.Event) -> Turn:
        return Turn(stop, control=self._control, stages=self._stages, observer=self._observer, log=self._log)

    def _pipeline(self, turn: Turn) -> Pipeline:
        return Pipeline(
            self._control,
            self._stages,
            turn=turn,
            observer=self._observer,
            log=self._log,
            until_drained=self._until_drained,
            carries_everything=self._carries_everything,
            splits_statements=self._splits_statements,
        )
