"""Places in the source's stream: how far a queue has got, and whether a change was applied already."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable

import msgspec

from pydbsync.model import COMMIT_ROW, Place, RowChange, SchemaChange


class Standing(enum.Enum):
    """What a change's place says about it."""

    NEW = "new"
    DUPLICATE = "duplicate"
    NEW_STREAM = "new stream"
    """The place lies behind the checkpoint but the change is newer: another server or a reset binlog."""
    SAME_PLACE = "same place"
    """A schema change at exactly the checkpoint: the journal of schema changes knows whether this one has run."""


class Checkpoint(msgspec.Struct):
    """How far one stream is applied; what the target keeps of it in the row `checkpoint`."""

    base: str = ""
    """The binlog's base name (`binlog` of `binlog.000002`), empty before the first positioned change."""
    place: Place = Place(0, 0, -1)
    server_id: int | None = None
    newest_ts: int = 0
    """The newest `ts` ever applied, in seconds; not the last: a long transaction carries old times."""
    gtids: str = ""
    """Applied GTIDs as a MySQL GTID set."""

    def position(self) -> str:
        """The place as MySQL writes it, with the row number behind it where it is inside a transaction."""
        if not self.base:
            return ""
        text = f"{self.base}.{self.place.file:06d}:{self.place.offset}"
        return text if self.place.xoffset in (0, COMMIT_ROW) else f"{text}/{self.place.xoffset}"


# 19 digits fit the checkpoint's BIGINT UNSIGNED columns.
_match_position = re.compile(r"(.{1,255})\.([0-9]{1,19}):([0-9]{1,19})", re.DOTALL).fullmatch
_match_gtid = re.compile(r"([!-~]+):([0-9]{1,18})").fullmatch


def parse_position(position: str) -> tuple[str, int, int]:
    """`binlog.000002:1924195` as (base name, file number, offset). Raises ValueError for anything else."""
    match = _match_position(position)
    if match is None:
        raise ValueError(f"{position!r} is not a binlog position such as binlog.000002:1924195")
    base, number, offset = match.groups()
    return base, int(number), int(offset)


def _parse_gtid(gtid: str) -> tuple[str, int] | None:
    """`uuid:n` or `uuid:tag:n` as (what is before the number, n); None for MariaDB's domain-server-sequence."""
    if ":" not in gtid:
        return None
    match = _match_gtid(gtid)
    if match is None:
        raise ValueError(f"{gtid!r} is not a GTID such as 3e11fa47-71ca-11e1-9e33-c80aa9429562:23")
    return match[1], int(match[2])


class GtidSet:
    """GTIDs as intervals, in the notation of MySQL: `uuid:1-5:7,uuid2:1-3`; tags (`uuid:tag:1-5`) are part of it."""

    def __init__(self, text: str = "") -> None:
        self._intervals: dict[str, list[list[int]]] = {}
        for part in filter(None, re.split(r"[,\s]+", text)):
            source, *ranges = part.split(":")
            uuid = source
            for span in ranges:
                if not span[:1].isdigit():
                    source = f"{uuid}:{span}"
                    continue
                low, _, high = span.partition("-")
                for_source = self._intervals.setdefault(source, [])
                for_source.append([int(low), int(high or low)])
        for spans in self._intervals.values():
            spans.sort()

    def add(self, gtid: str) -> None:
        """Take in `uuid:n`. MariaDB's domain-server-sequence is left out. Raises ValueError for any other form."""
        parsed = _parse_gtid(gtid)
        if parsed is None:
            return
        source, n = parsed
        spans = self._intervals.setdefault(source, [])
        if spans and spans[-1][1] + 1 == n:  # by far the usual case: the next one
            spans[-1][1] = n
            return
        for index, span in enumerate(spans):
            if span[0] <= n <= span[1]:
                return
            if n < span[0] - 1:
                spans.insert(index, [n, n])
                return
            if n == span[0] - 1:
                span[0] = n
                return
            if n == span[1] + 1:
                span[1] = n
                if index + 1 < len(spans) and spans[index + 1][0] == n + 1:
                    span[1] = spans.pop(index + 1)[1]
                return
        spans.append([n, n])

    def __contains__(self, gtid: str) -> bool:
        parsed = _parse_gtid(gtid)
        if parsed is None:
            return False
        source, n = parsed
        spans = self._intervals.get(source, ())
        return any(low <= n <= high for low, high in spans)

    def __str__(self) -> str:
        return ",".join(
            source + "".join(f":{low}-{high}" if high > low else f":{low}" for low, high in spans)
            for source, spans in sorted(self._intervals.items())
        )

    def update(self, gtids: Iterable[str]) -> None:
        """Take in several."""
        for gtid in gtids:
            self.add(gtid)


_UNNUMBERED = -1
"""Stands for the row number where Maxwell runs without output_xoffset: the rows of one event cannot be told apart,
so they are applied again rather than lost; with a key that converges."""


def _row_number(change: RowChange) -> int:
    if change.commit:
        return COMMIT_ROW
    return _UNNUMBERED if change.xoffset is None else change.xoffset


class Progress:
    """Follows one stream from its checkpoint on and judges each change by its place.

    A change is a duplicate only if it comes from the same binlog, its place is at or before the last one seen, and
    it is not newer than the newest ever applied. After a RESET MASTER or a rebuilt source places go backwards while
    time goes on: that is a new stream, announced and applied, never skipped. GTIDs, where there are any, also tell
    duplicates after a fail-over to a replica, whose positions mean nothing.
    """

    def __init__(self, checkpoint: Checkpoint) -> None:
        self._base = checkpoint.base
        self._file = checkpoint.place.file
        self._offset = checkpoint.place.offset
        self._xoffset = checkpoint.place.xoffset
        self._server_id = checkpoint.server_id
        self._newest_ts = checkpoint.newest_ts
        self._gtids = GtidSet(checkpoint.gtids)
        self._has_gtids = bool(checkpoint.gtids)
        self._open_gtid: str | None = None
        # The last position as text. In a growing stream nearly every position has the same file and as many digits as
        # the one before: then the texts compare as the numbers do, and the offset is parsed only when it is asked for.
        self._text = ""
        self._file_text = ""

    def checkpoint(self) -> Checkpoint:
        """What to store now: all that was judged NEW so far counts as applied."""
        return Checkpoint(
            base=self._base,
            place=self.place(),
            server_id=self._server_id,
            newest_ts=self._newest_ts,
            gtids=str(self._gtids) if self._has_gtids else "",
        )

    def judge(self, change: RowChange | SchemaChange) -> Standing:
        """How the next change of the stream stands; NEW and NEW_STREAM move the progress to its place.

        Raises ValueError for a position or GTID that is none; the progress is then as before.
        """
        position = change.position
        if position is None:
            self._newest_ts = max(self._newest_ts, change.ts)
            return Standing.NEW
        if isinstance(change, RowChange) and self.follows(change):
            return Standing.NEW
        return self._judge(change, position)

    def follows(self, change: RowChange) -> bool:
        """Move on to a row that plainly comes next; False where `judge` must tell. Runs once a row."""
        position, gtid = change.position, change.gtid
        if (
            position is None
            or change.server_id != self._server_id
            or (gtid is not None and (change.commit or gtid != self._open_gtid))
        ):
            return False
        xoffset = change.xoffset
        if change.commit:
            xoffset = COMMIT_ROW
        elif xoffset is None:
            return False
        text = self._text
        if position == text:
            if xoffset <= self._xoffset:
                return False
        elif (
            position > text
            and len(position) == len(text)
            and position.startswith(self._file_text)
            and position[len(self._file_text) :].isdecimal()
        ):
            self._text = position
        else:
            return False
        self._xoffset = xoffset
        if change.ts > self._newest_ts:  # noqa: PLR1730 (max() costs a call for every row)
            self._newest_ts = change.ts
        return True

    def _judge(self, change: RowChange | SchemaChange, position: str) -> Standing:
        self._parse_text()
        if isinstance(change, RowChange):
            is_schema, server_id = False, change.server_id
            xoffset = _row_number(change)
        else:
            is_schema, server_id, xoffset = True, None, 0
        if position == self._text:
            base, file, offset = self._base, self._file, self._offset
        else:
            base, file, offset = parse_position(position)
        same_server = base == self._base and (
            server_id is None or self._server_id is None or server_id == self._server_id
        )
        goes_back = (file, offset, xoffset) <= (self._file, self._offset, self._xoffset)
        standing = Standing.NEW
        if same_server:
            if goes_back:
                if file == self._file and offset == self._offset:
                    if is_schema:
                        return Standing.SAME_PLACE
                    if xoffset == _UNNUMBERED and self._xoffset != COMMIT_ROW:
                        return Standing.NEW
                if change.ts <= self._newest_ts:
                    return Standing.DUPLICATE
                standing = Standing.NEW_STREAM
        elif self._base and (base != self._base or goes_back):
            # A binlog that goes on may hold the rows of several servers: the source has sources of its own.
            standing = Standing.NEW_STREAM
        if change.gtid is not None and change.gtid != self._open_gtid:
            is_applied = change.gtid in self._gtids
            if is_applied and change.ts <= self._newest_ts:
                return Standing.DUPLICATE
        self._move(change, base, file, offset, xoffset, server_id, position)
        return standing

    def _parse_text(self) -> None:
        if self._text:
            self._offset = int(self._text[len(self._file_text) :])

    def place(self) -> Place:
        """The place of the last change that was judged new."""
        self._parse_text()
        return Place(self._file, self._offset, self._xoffset)

    def place_of(self, change: RowChange | SchemaChange) -> Place | None:
        """The change's own place, if it has one and comes from the binlog that is followed."""
        if change.position is None:
            return None
        base, file, offset = parse_position(change.position)
        if base != self._base:
            return None
        if isinstance(change, SchemaChange):
            return Place(file, offset, 0)
        return Place(file, offset, _row_number(change))

    def _move(
        self,
        change: RowChange | SchemaChange,
        base: str,
        file: int,
        offset: int,
        xoffset: int,
        server_id: int | None,
        position: str,
    ) -> None:
        self._base, self._file, self._offset, self._xoffset, self._text = base, file, offset, xoffset, position
        self._file_text = position[: position.rindex(":") + 1]
        if server_id is not None:
            self._server_id = server_id
        self._newest_ts = max(self._newest_ts, change.ts)
        gtid = change.gtid
        if gtid is None:
            return
        # A GTID counts as applied once its transaction is over; a queue may never see the commit row (it went to
        # another queue), so the next GTID closes the one before it as well. DDL is over by itself, but for MySQL's
        # CREATE TABLE … SELECT, which arrives as CREATE TABLE … START TRANSACTION and whose rows have the same GTID.
        if self._open_gtid is not None and self._open_gtid != gtid:
            self._gtids.add(self._open_gtid)
        self._has_gtids = True
        if xoffset == COMMIT_ROW or (
            isinstance(change, SchemaChange) and not change.sql.rstrip().upper().endswith("START TRANSACTION")
        ):
            self._gtids.add(gtid)
            self._open_gtid = None
        else:
            self._open_gtid = gtid
