"""Why a source does not serve its binlog, told apart by its words: its code 1236 stands for all of them."""

from __future__ import annotations

from typing import Final

from pydbsync.errors import OperationError, SourceError

REFUSED: Final = 1236
"""ER_SOURCE_FATAL_ERROR_READING_BINLOG, ER_MASTER_FATAL_ERROR_READING_BINLOG."""
_SAME_SERVER_ID: Final = 4052
"""MariaDB's ER_SLAVE_SAME_ID."""

_SAME_ID: Final = "same server_uuid/server_id"
_REASONS: Final = (
    (("max_allowed_packet", "event too big"),
     "an event behind {place} is larger than the source sends ({text}): raise max_allowed_packet there, start again"),
    (("purged", "could not find first log", "could not find gtid state"),
     "the source no longer has its binlog from {place} on ({text}): copy the data anew, and start with a new state"),
    (("file size", "impossible position", "not in the master's binlog", "not in the source's binlog", "more gtids than",
      "could not find next log"),
     "the source's binlog does not have {place} ({text}): it was reset, or lost its end in a crash; copy the data "
     "anew, and start with a new state"),
    (("anonymous transaction when auto_position",),
     "the source has written transactions without GTIDs, since its gtid_mode was switched, and sends none of them to a "
     "reader by GTID ({text}): go on by file and offset (without by_gtid)"),
    (("transaction when @@global.gtid_mode",),
     "the source does not send what it has written under another gtid_mode ({text}): set gtid_mode=ON_PERMISSIVE there "
     "until capture has read on"),
    (("gtid_mode",),
     "the source does not serve its binlog by GTID ({text}): set gtid_mode=ON there, or go on without by_gtid"),
    (("bogus data", "truncated", "corrupt", "checksum", "failed reading", "i/o error"),
     "the source cannot read its own binlog from {place} on ({text}): copy the data anew, and start at a later place"),
    (("server_id was not set", "server id was not set"), "the source has no server_id ({text}): set one there"),
)  # fmt: skip
_PASSING: Final = ("out of memory", "memory allocation")


def refusal(code: int, text: str, place: str, *, server_id: int | None = None) -> OperationError | SourceError | None:
    """The error to raise for the server's; SourceError where another try may succeed. None for any other code."""
    words = text.lower()
    if code == _SAME_SERVER_ID or (code == REFUSED and _SAME_ID in words):
        return SourceError(
            f"another reader took the place of this one at the source, since both have the server_id {server_id} "
            f"({text}): give one of them another --server-id, or two captures names of their own by --name"
        )
    if code != REFUSED:
        return None
    if any(part in words for part in _PASSING):
        return SourceError(f"the source cannot serve its binlog at the moment: {text}")
    for parts, reason in _REASONS:
        if any(part in words for part in parts):
            return OperationError(reason.format(place=place, text=text))
    return OperationError(f"the source does not serve its binlog from {place} on: {text}")
