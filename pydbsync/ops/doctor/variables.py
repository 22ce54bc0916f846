"""Global variables of a server and its clock: asked once for all checks."""

from __future__ import annotations

import time
from collections.abc import Mapping

from pydbsync.apply.answered import lenient_text
from pydbsync.apply.connection import Connection
from pydbsync.model import End
from pydbsync.ops.doctor.examination import Examination


def variables(exam: Examination, end: End) -> Mapping[str, str]:
    """All global variables, names in lower case. Raises Away, ApplyError."""

    def read() -> dict[str, str]:
        rows = server(exam, end).rows("SHOW GLOBAL VARIABLES")
        return {str(name).lower(): lenient_text(value) for name, value in rows}

    return exam.known(f"variables {end}", read)


def server(exam: Examination, end: End) -> Connection:
    return exam.source() if end == "source" else exam.target()


def is_on(value: str | None) -> bool:
    return (value or "").upper() in ("ON", "1", "YES")


def number(value: str | None) -> int:
    """0 where it is none."""
    try:
        return int(float(value or 0))
    except ValueError:
        return 0


def clock_skew_s(connection: Connection) -> float:
    """How far the server's clock is ahead of ours, at most off by the time of a query."""
    before = time.time()
    there = float(connection.value("SELECT UNIX_TIMESTAMP(SYSDATE(6))"))
    return there - (before + time.time()) / 2
