"""What people have done lately: pauses, checkpoints and the like, and what became of parked changes by their hands."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from itertools import groupby
from typing import Any, Final

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.errors import PermanentError
from pydbsync.plan.quoting import quote_name

SHOWN: Final = 8
_LOOKED_AT: Final = 500
"""Rows of parked changes: many that were done at once are told as one."""
_MISSING: Final = (1049, 1146)


class Deed(msgspec.Struct, frozen=True):
    """One step of a person."""

    action: str
    about: str
    actor: str
    detail: str
    done_at: dt.datetime


def read_deeds(connection: Connection, schema: str) -> list[Deed]:
    """The newest first. Raises TransientError, PermanentError."""
    name = quote_name(schema)
    try:
        asked = connection.rows(
            f"SELECT action, about, actor, LEFT(detail, 300), done_at FROM {name}.`operator_audit`"
            f" ORDER BY id DESC LIMIT {SHOWN}"
        )
        mended = connection.rows(
            f"SELECT action, actor, LEFT(detail, 300), done_at, parked_id FROM {name}.`parked_audit`"
            f" ORDER BY id DESC LIMIT {_LOOKED_AT}"
        )
    except PermanentError as exc:
        if exc.code in _MISSING:
            return []
        raise
    found = [
        Deed(str(action), str(about), str(actor), str(detail), done_at)
        for action, about, actor, detail, done_at in asked
    ]
    found += together(mended)
    return sorted(found, key=lambda deed: deed.done_at, reverse=True)[:SHOWN]


def together(steps: Iterable[tuple[Any, ...]]) -> list[Deed]:
    """(action, actor, detail, when, id of a parked change), the newest first → what one person did in one way, one
    after the other, as one."""
    return [_together(list(rows)) for _, rows in groupby(steps, key=lambda row: row[:2])]


def _together(rows: list[tuple[Any, ...]]) -> Deed:
    action, actor, detail, done_at, parked_id = rows[0]
    about = f"parked change {parked_id}" if len(rows) == 1 else f"{len(rows):,} parked changes, {parked_id} the last"
    return Deed(str(action), about, str(actor), str(detail), done_at)
