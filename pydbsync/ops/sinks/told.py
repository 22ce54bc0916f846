"""Tells how copy, verify and repair of a sink have ended, for status and the alert rules."""

from __future__ import annotations

import logging
import os
import socket
import time

from pydbsync.config.settings import Settings
from pydbsync.errors import PydbsyncError
from pydbsync.ops.sinks.desk import open_keeps
from pydbsync.sinks.notes import TaskNote, add_task


def tell_end(
    settings: Settings, log: logging.Logger, kind: str, *, began_at: float, exit_code: int, done: int, result: str
) -> None:
    """Note it beside each stream. Whoever has run the tool knows already: where it cannot be told, a line says so."""
    if not settings.state_interval_s:
        return
    note = TaskNote(kind, socket.gethostname(), os.getpid(), began_at, time.time(), exit_code, done, result)
    try:
        every = open_keeps(settings, log)
        try:
            for parts in every.values():
                parts.keep.open()
                add_task(parts.keep, note)
        finally:
            for parts in every.values():
                parts.keep.close()
                parts.writer.close()
    except PydbsyncError as exc:
        log.warning("how this run has ended cannot be kept for the next look: %s", exc)
