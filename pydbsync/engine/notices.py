"""What a stream has shown besides its changes: new streams, holes, silence. Said once, and stopped at by policy."""

from __future__ import annotations

import logging
import time

from pydbsync.config.settings import Settings
from pydbsync.engine.judge import Judge, Judgement
from pydbsync.engine.observe import Observer
from pydbsync.errors import StopError
from pydbsync.model import RowChange, SchemaChange


class Notices:
    """Tells the observers and the log."""

    def __init__(self, settings: Settings, *, judge: Judge, observer: Observer, log: logging.Logger) -> None:
        self._settings = settings
        self._judge = judge
        self._observer = observer
        self._log = log

    def use(self, settings: Settings) -> None:
        """These hold from now on."""
        self._settings = settings

    def tell(self, judgement: Judgement, change: RowChange | SchemaChange) -> None:
        """What a change has shown. Raises StopError by policy."""
        if judgement.is_new_stream:
            self._log.warning(
                "a new stream begins at %s: places go back while time goes on (failover, RESET MASTER or a rebuilt"
                " source); it is applied from here on", change.position,
            )  # fmt: skip
            self._observer.new_stream(change.position or "")
        if judgement.missing is not None:
            self._observer.gap(judgement.missing)
            self._log.error("a hole in the stream: %s; compare the tables with the source", judgement.missing)
            if self._settings.on_gap == "stop":
                raise StopError(
                    f"a hole in the stream: {judgement.missing}; nothing after it was applied (on_gap is stop)"
                )

    def heartbeat(self) -> None:
        """The source's heartbeat has come."""
        if self._judge.heartbeat is not None:
            self._observer.heartbeat(*self._judge.heartbeat)
            self._observer.now("following")

    def look_for_silence(self) -> None:
        """Nothing has come for a while: whether the source's heartbeat is missing, or its clock is another."""
        skew = self._judge.skew(time.time(), limit_s=self._settings.heartbeat_stall_s)
        if skew is not None:
            self._log.warning("%s", skew)
        silence = self._judge.silence(stall_s=self._settings.heartbeat_stall_s)
        if silence is not None:
            self._observer.gap(silence)
            self._observer.now("stalled")
            self._log.warning("%s", silence)
