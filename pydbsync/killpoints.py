"""Ends the process at a named step, for the tests that prove what a crash there leaves behind. Off by default.

PYDBSYNC_KILL_POINT=name or name:n (the n-th time it is reached, from 1).
"""

from __future__ import annotations

import os
import signal

KILL_POINTS = (
    "after-decode",
    "mid-batch",
    "after-conflict",
    "after-parking",
    "before-commit",
    "after-commit",
    "after-ack",
    "after-intent",
    "after-ddl",
    "after-run-mark",
    "after-schema-step",
)

_name, _, _count = os.environ.get("PYDBSYNC_KILL_POINT", "").partition(":")
_left = int(_count or 1)
IS_ARMED = bool(_name)
"""Whether one is named: what comes by for each message asks for this alone."""


def kill_point(name: str) -> None:
    """Send this process SIGKILL if it was told to end here."""
    global _left  # noqa: PLW0603
    if name == _name:
        _left -= 1
        if _left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
