"""The terminal: a live table where a person watches, else at most one line a second while something happens."""

from __future__ import annotations

import logging
import time
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pydbsync.process.status import WorkerStatus


class Terminal:
    """Shows the workers' statuses and passes on what they say."""

    def __init__(self, *, log: logging.Logger, console: Console, live: bool) -> None:
        self._log = log
        self._live = Live(console=console, auto_refresh=False, transient=True) if live else None
        self._shown_at = 0.0
        self._shown: dict[str, tuple[float, int]] = {}
        self._rates: dict[str, float] = {}

    def __enter__(self) -> Terminal:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def say(self, level: int, text: str) -> None:
        """A line of a worker; its own log file has it already."""
        self._log.log(level, "%s", text)

    def show(self, statuses: list[WorkerStatus], *, final: bool = False) -> None:
        """Show where the workers are, at most once a second (four times where it is live)."""
        now = time.monotonic()
        if now - self._shown_at < (0.25 if self._live else 1.0) and not final:
            return
        self._shown_at = now
        for status in statuses:
            then, applied = self._shown.get(status.stream, (now, status.applied))
            if now - then >= 0.9 or final:
                self._rates[status.stream] = (status.applied - applied) / max(now - then, 1e-9) if now > then else 0.0
                self._shown[status.stream] = (now, status.applied)
            else:
                self._shown.setdefault(status.stream, (now, status.applied))
        if self._live:
            self._live.update(self._table(statuses), refresh=True)
        else:
            for status in statuses:
                self._say_progress(status)

    def _say_progress(self, status: WorkerStatus) -> None:
        rate = self._rates.get(status.stream, 0.0)
        if not rate:
            return
        self._log.info(
            "%s: applied %d, %d rows/s, lag %s, queue depth %s%s",
            status.stream,
            status.applied,
            rate,
            _lag(status),
            "?" if status.depth is None else status.depth,
            f", parked {status.parked}" if status.parked else "",
        )

    def _table(self, statuses: list[WorkerStatus]) -> Table:
        table = Table(box=None, pad_edge=False)
        table.add_column("queue")
        for title in ("applied", "rows/s", "lag", "depth", "DDL", "parked", "duplicates", "MB"):
            table.add_column(title, justify="right")
        table.add_column("now")
        for status in statuses:
            table.add_row(
                status.stream,
                f"{status.applied:,}",
                f"{self._rates.get(status.stream, 0.0):,.0f}",
                _lag(status),
                "?" if status.depth is None else f"{status.depth:,}",
                str(status.schema_changes),
                f"[red]{status.parked}[/]" if status.parked else "0",
                f"{status.duplicates:,}",
                f"{status.resident_bytes / 2**20:.0f}",
                status.state,
            )
        return table


def _lag(status: WorkerStatus) -> str:
    lag_s = status.lag_s()
    if lag_s is None:
        return "-"
    if lag_s < 120:
        return f"{lag_s:.0f} s"
    if lag_s < 7200:
        return f"{lag_s / 60:.0f} min"
    return f"{lag_s / 3600:.1f} h" if lag_s < 2 * 86400 else f"{lag_s / 86400:.0f} d"
