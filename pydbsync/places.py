"""Places in the source's stream: how far a queue has got, and whether a change was applied already.

The rule is told in docs/delivery.md ("Which change is which"), its cases in tests/unit/test_places.py.
"""

from __future__ import annotations

import enum
import re
import time
import zlib
from collections.abc import Callable

import msgspec

from pydbsync.gtids import GtidSet, parse_gtid
from pydbsync.model import COMMIT_ROW, Place, RowChange, SchemaChange


class Standing(enum.Enum):
    """What a change's place says about it."""

    NEW = "new"
    DUPLICATE = "duplicate"
    NEW_STREAM = "new stream"
    """The place lies behind the checkpoint but the change is newer: another server or a reset binlog."""
    SAME_PLACE = "same place"
    """A schema change at exactly the checkpoint: the journal of schema changes knows whether this one has run."""


class Former(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where the stream stood before it began anew."""

    base: str
    place: Place
    newest_ts: int
    keys: tuple[int | str, ...] | None = None
    """Of its newest second, as in Recent; None where not all are known."""
    keeps_gtids: bool = False
    """Whether the GTIDs that were applied before are known still."""


class Recent(msgspec.Struct, frozen=True, omit_defaults=True):
    """What tells a change that was never applied from one that comes again, where neither its place nor its time does.

    Each part is a proof or says nothing: as it is by default, nothing is known.
    """

    has_all: bool = False
    """Whether `keys` has every transaction of which a change with the newest `ts` was applied."""
    keys: tuple[int | str, ...] = ()
    """Their xids and GTIDs; of schema changes the place and a digest."""
    since: tuple[int, int] | None = None
    """File and offset of the first change with the newest `ts`."""
    top_xid: int | None = None
    """The largest xid that was applied of this file; a server that starts again begins another file."""
    ahead_ts: int | None = None
    """The newest `ts` applied that was too far ahead to be believed; 0 where there was none."""
    former: Former | None = None


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
    xid: int | None = None
    """The transaction that the place lies in, or ends."""
    open_gtid: str = ""
    """The GTID of that transaction while its end has not come."""
    server_ids: tuple[int, ...] = ()
    """All servers whose changes came in this stream: a replica's binlog has those of several."""
    recent: Recent = msgspec.field(default_factory=Recent)

    def position(self) -> str:
        """The place as MySQL writes it, with the row number behind it where it is inside a transaction."""
        if not self.base:
            return ""
        text = f"{self.base}.{self.place.file:06d}:{self.place.offset}"
        return text if self.place.xoffset in (0, COMMIT_ROW) else f"{text}/{self.place.xoffset}"


# 19 digits fit the checkpoint's BIGINT UNSIGNED columns.
_match_position = re.compile(r"(.{1,255})\.([0-9]{1,19}):([0-9]{1,19}|-[0-9]{1,10})", re.DOTALL).fullmatch
_WRAP = 2**32
"""The header of an event has 32 bits for its place: in a larger file offsets begin again, and whoever reads them as
signed has negative ones in between."""
_NEARBY = 2**24
"""A group commit may write so much behind the transaction that made the file so large."""


def parse_position(position: str) -> tuple[str, int, int]:
    """`binlog.000002:1924195` as (base name, file number, offset). Raises ValueError for anything else."""
    match = _match_position(position)
    offset = 0 if match is None else int(match[3])
    if match is None or offset < -_WRAP // 2:
        raise ValueError(f"{position!r} is not a binlog position such as binlog.000002:1924195")
    return match[1], int(match[2]), offset if offset >= 0 else offset + _WRAP


_UNNUMBERED = -1
"""Stands for the row number where Maxwell runs without output_xoffset: the rows of one event cannot be told apart,
so they are applied again rather than lost; with a key that converges."""

_AHEAD_S = 24 * 3600
"""How far the source's clock may go ahead of ours. A later `ts` was made up (SET timestamp) and proves nothing: taken
for the newest, all that comes after it would count as old."""
_MOST_SERVERS = 50
_MOST_SPANS = 256
"""So many spans of applied GTIDs are kept of a server. A queue that gets some of the transactions has gaps between, and
what a replica commits out of order is nearer than that."""
_MOST_KEYS = 100_000
_MOST_KEPT_KEYS = 32
_UNKNOWN_XID = 2**64
"""No xid is larger."""


def _row_number(change: RowChange) -> int:
    if change.commit:
        return COMMIT_ROW
    return _UNNUMBERED if change.xoffset is None else change.xoffset


class StreamProgress:
    """Follows one stream from its checkpoint on and judges each change by its place.

    A change is a duplicate only if its GTID was applied, or it comes from the same binlog at or before the last place
    seen; and never if it is newer than the newest ever applied. After a RESET MASTER or a rebuilt source places go
    backwards while time goes on: that is a new stream, announced and applied, never skipped.
    """

    def __init__(self, checkpoint: Checkpoint, *, now: Callable[[], float] = time.time) -> None:
        """`now` is the clock that a source's times are held against."""
        self._now = now
        self._horizon = now() + _AHEAD_S
        self._base = checkpoint.base
        self._file = checkpoint.place.file
        self._offset = checkpoint.place.offset
        self._xoffset = checkpoint.place.xoffset
        self._xid = checkpoint.xid
        self._server_id = checkpoint.server_id
        self._servers = dict.fromkeys(checkpoint.server_ids)
        if checkpoint.server_id is not None:
            self._servers[checkpoint.server_id] = None
        self._gtids = GtidSet(checkpoint.gtids)
        self._has_gtids = bool(checkpoint.gtids)
        self._open_gtid: str | None = checkpoint.open_gtid or None
        self._passed_gtid = ""
        self._has_unnamed = False
        recent, is_first = checkpoint.recent, not checkpoint.base
        self._has_all = recent.has_all or is_first
        self._seen: set[int | str] = set(recent.keys)
        self._since: str | tuple[int, int] | None = recent.since
        self._ahead_ts = 0 if is_first else recent.ahead_ts
        self._newest_ts = checkpoint.newest_ts
        if self._newest_ts > self._horizon:  # it is our clock that is behind, or a former version believed it
            self._ahead_ts = max(self._ahead_ts or 0, self._newest_ts)
            self._newest_ts = int(self._horizon)
            self._has_all, self._since = False, None
        self._believe_ahead()
        self._top_xid = -1 if is_first else _UNKNOWN_XID if recent.top_xid is None else recent.top_xid
        self._top_of = checkpoint.base, checkpoint.place.file
        self._former = recent.former
        self._is_met = False
        # The last position as text. In a growing stream nearly every position has the same file and as many digits as
        # the one before: then the texts compare as the numbers do, and the offset is parsed only when it is asked for.
        # Empty where a text does not tell the offset.
        self._text = ""
        self._file_text = ""

    def checkpoint(self) -> Checkpoint:
        """What to store now: all that was judged NEW so far counts as applied."""
        if self._has_gtids:
            self._gtids.close_gaps(_MOST_SPANS)
        return Checkpoint(
            base=self._base,
            place=self.place(),
            server_id=self._server_id,
            newest_ts=self._newest_ts,
            gtids=str(self._gtids) if self._has_gtids else "",
            xid=self._xid,
            open_gtid=self._open_gtid or "",
            server_ids=tuple(self._servers) if len(self._servers) > 1 else (),
            recent=self._recent(),
        )

    def _recent(self) -> Recent:
        if len(self._seen) > _MOST_KEYS:  # a source whose time stands still
            self._has_all, self._seen = False, set()
        is_kept = self._has_all and len(self._seen) <= _MOST_KEPT_KEYS
        if isinstance(self._since, str):
            _, file, offset = parse_position(self._since)
            self._since = file, offset
        return Recent(
            has_all=is_kept,
            keys=tuple(self._seen) if is_kept else (),
            since=self._since,
            top_xid=self._top_xid
            if self._top_xid != _UNKNOWN_XID and self._top_of == (self._base, self._file)
            else None,
            ahead_ts=self._ahead_ts,
            former=self._former,
        )

    def judge(self, change: RowChange | SchemaChange, *, again: bool = False, is_held: bool = False) -> Standing:
        """How the next change of the stream stands; NEW and NEW_STREAM move the progress to its place. `again` says
        that the broker has handed it out before, `is_held` that it may have been held back behind newer ones.

        Raises ValueError for a position or GTID that is none, or does not tell; the progress is then as before.
        """
        position = change.position
        if position is None:
            self._see(change.ts, None)
            return Standing.NEW
        if isinstance(change, RowChange) and self.follows(change):
            return Standing.NEW
        return self._judge(change, position, again=again, is_held=is_held)

    def pass_over(self, change: RowChange | SchemaChange) -> None:
        """The change is known to be applied by other means. Its GTID counts as applied when the next one comes: other
        rows of the transaction may still have to be. Raises ValueError for a position or GTID that is none."""
        if change.position is None:
            return
        base, file, _ = parse_position(change.position)
        if change.gtid is not None:
            parse_gtid(change.gtid)
            if change.gtid != self._passed_gtid:
                self._end_passed(change.gtid)
                self._passed_gtid = change.gtid
        self._note(change, base, file)

    def _note(self, change: RowChange | SchemaChange, base: str, file: int) -> None:
        """Remember a change that is applied, by its transaction."""
        if (base, file) != self._top_of:
            self._top_of, self._top_xid = (base, file), -1
        if isinstance(change, RowChange) and change.xid is not None:
            self._top_xid = max(self._top_xid, change.xid)
        self._seen.update(_keys_of(change))
        self._see(change.ts, change)

    def _end_passed(self, gtid: str) -> None:
        if self._passed_gtid not in ("", gtid):
            self._gtids.add(self._passed_gtid)
            self._has_gtids = True
            self._passed_gtid = ""

    def follows(self, change: RowChange) -> bool:
        """Move on to a row that plainly comes next; False where `judge` must tell. Runs once a row."""
        position = change.position
        if position is None or change.server_id != self._server_id:
            return False
        xoffset = COMMIT_ROW if change.commit else change.xoffset
        if xoffset is None:
            return False
        text = self._text
        if position == text:
            if xoffset <= self._xoffset:
                return False
        elif not (
            position > text
            and len(position) == len(text)
            and position.startswith(self._file_text)
            and position[len(self._file_text) :].isdecimal()
        ):
            return False
        gtid = change.gtid
        if gtid is not None:
            if change.commit:
                if self._passed_gtid or self._open_gtid not in (None, gtid) or not self._gtids.extend(gtid):
                    return False
                self._open_gtid = None
                self._seen.add(gtid)
            elif gtid != self._open_gtid:
                return False
        elif self._has_gtids:
            return False
        self._text = position
        self._xoffset = xoffset
        xid = change.xid
        if xid != self._xid:
            self._xid = xid
            if xid is not None:
                self._seen.add(xid)
                if xid > self._top_xid:  # noqa: PLR1730 (max() costs a call)
                    self._top_xid = xid
        if change.ts > self._newest_ts:
            self._see(change.ts, change)
        return True

    def _judge(self, change: RowChange | SchemaChange, position: str, *, again: bool, is_held: bool) -> Standing:
        base, file, offset, xoffset = self._place_of(change, position)
        gtid = change.gtid
        if gtid is not None:
            parse_gtid(gtid)
        if again and self._is_of_former(change, base, Place(file, offset, xoffset)):
            return Standing.DUPLICATE
        self._is_met = True
        server_id = change.server_id if isinstance(change, RowChange) else None
        is_open = gtid is not None and gtid == self._open_gtid
        is_applied = gtid is not None and not is_open and gtid in self._gtids
        goes_back = (file, offset, xoffset) <= (self._file, self._offset, self._xoffset)
        is_unseen = self._is_newer(change.ts) or (
            not (is_open or is_held) and self._is_unseen(change, base, file, offset)
        )
        is_reset = is_applied and is_unseen
        standing = Standing.NEW
        if base == self._base and (server_id is None or not self._servers or server_id in self._servers):
            if goes_back:
                if file == self._file and offset == self._offset:
                    if not isinstance(change, RowChange):
                        return Standing.SAME_PLACE
                    if xoffset == _UNNUMBERED and self._xoffset != COMMIT_ROW:
                        return Standing.NEW
                is_next = gtid is not None and not is_open and self._gtids.lacks(gtid)
                if not is_unseen and not is_next:
                    return Standing.DUPLICATE
                is_reset = not is_next
                standing = Standing.NEW_STREAM
        elif is_open and not is_unseen and xoffset <= self._xoffset:
            # A replica goes on in the midst of a transaction: its places are others, the numbers of the rows are not.
            return Standing.DUPLICATE
        elif self._base and (base != self._base or goes_back):
            standing = Standing.NEW_STREAM
        if is_applied and not is_unseen:
            return Standing.DUPLICATE
        if is_reset:
            standing = Standing.NEW_STREAM
        if standing is Standing.NEW_STREAM:
            is_known = self._has_all and len(self._seen) <= _MOST_KEPT_KEYS
            self._former = Former(
                self._base, self.place(), self._newest_ts, keys=tuple(self._seen) if is_known else None,
                keeps_gtids=self._has_gtids and not is_reset,
            )  # fmt: skip
            self._since = None
            self._servers.clear()
        if is_reset and gtid is not None:
            # The server gives its numbers anew (RESET BINARY LOGS AND GTIDS): what was applied of them tells nothing.
            self._gtids.forget_source(gtid)
            self._open_gtid = None
        self._move(change, base, file, offset, xoffset)
        return standing

    def _is_of_former(self, change: RowChange | SchemaChange, base: str, place: Place) -> bool:
        """Whether it was committed with the stream before this one began, and comes again since the broker was not told
        in time. Such changes come before all others."""
        former = self._former
        if former is None or self._is_met:
            return False
        if base != former.base or place > former.place or change.ts > former.newest_ts:
            return False
        if former.keeps_gtids and change.gtid is not None:
            return change.gtid in self._gtids
        # Where the new stream began in the former's last second, its next changes look alike.
        xid = change.xid if isinstance(change, RowChange) else None
        if former.keys is not None and change.ts == former.newest_ts:
            keys = _keys_of(change) if xid is None else (xid,)
            return any(key in former.keys for key in keys)
        is_next = xid is not None and (xid, place.file) == (self._xid, self._file)
        return not is_next and not self._is_unseen(change, base, place.file, place.offset)

    def _is_unseen(self, change: RowChange | SchemaChange, base: str, file: int, offset: int) -> bool:
        """Whether what is known of the newest second and of this file proves that the change was never applied."""
        xid = change.xid if isinstance(change, RowChange) else None
        keys = _keys_of(change)
        if not keys:
            return False
        is_newest = change.ts == self._newest_ts
        if is_newest and self._has_all:
            return self._seen.isdisjoint(keys)
        if change.gtid is not None or base != self._base:
            return False
        if is_newest and isinstance(self._since, tuple) and (file, offset) < self._since:
            return True
        return xid is not None and (base, file) == self._top_of and xid > self._top_xid

    def _is_newer(self, ts: int) -> bool:
        """Whether the change must have been made after all that was applied."""
        if ts <= self._newest_ts:
            return False
        if ts > self._horizon:
            self._horizon = self._now() + _AHEAD_S
            self._believe_ahead()
        if ts > self._horizon:
            return self._ahead_ts is not None and ts > self._ahead_ts
        return ts > self._newest_ts

    def _believe_ahead(self) -> None:
        """What was too far ahead may be so no more, since time goes on and clocks are put right."""
        if self._ahead_ts is not None and self._newest_ts < self._ahead_ts <= self._horizon:
            self._newest_ts, self._ahead_ts = self._ahead_ts, 0
            self._has_all, self._seen, self._since = False, set(), None

    def _see(self, ts: int, change: RowChange | SchemaChange | None) -> None:
        """Note the time of a change, which has been moved to if it has a place."""
        if not self._is_newer(ts):
            return
        if ts > self._horizon:
            self._ahead_ts = ts
            return
        self._newest_ts = ts
        self._has_all = True
        self._since = None if change is None else change.position
        self._seen = set() if change is None else set(_keys_of(change))

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
        base, *place = self._place_of(change, change.position)
        return Place(*place) if base == self._base else None

    def _place_of(self, change: RowChange | SchemaChange, position: str) -> tuple[str, int, int, int]:
        self._parse_text()
        xoffset = _row_number(change) if isinstance(change, RowChange) else 0
        if position == self._text:
            return self._base, self._file, self._offset, xoffset
        base, file, offset = parse_position(position)
        if offset < self._offset and file == self._file and base == self._base:
            offset = self._whole_offset(change, offset, xoffset)
        return base, file, offset, xoffset

    def _whole_offset(self, change: RowChange | SchemaChange, offset: int, xoffset: int) -> int:
        """The offset, which is smaller than the last one, as the file has it: as it is for what comes again, and so
        many times 4 GiB more for what goes on in a file that is larger. Raises ValueError where nothing tells."""
        ahead = (offset - self._offset) % _WRAP
        whole = self._offset + ahead
        if change.gtid is not None:
            is_same = change.gtid == self._open_gtid
        else:
            is_same = isinstance(change, RowChange) and change.xid is not None and change.xid == self._xid
        if is_same:
            # The rows of a transaction are numbered through.
            is_next = ahead < _WRAP // 2 if xoffset == _UNNUMBERED else xoffset > self._xoffset
            return whole if is_next else offset
        if self._offset < _WRAP:
            return offset
        if change.gtid is not None:
            return offset if change.gtid in self._gtids else whole
        if _NEARBY <= ahead < _WRAP // 2:
            raise ValueError(
                f"{change.position} is a place before or behind the transaction that made this binlog file larger than"
                " 4 GiB: without GTIDs nothing tells whether the change came before; compare the row with the source"
            )
        return whole if ahead < _NEARBY else offset

    def _move(self, change: RowChange | SchemaChange, base: str, file: int, offset: int, xoffset: int) -> None:
        position = change.position or ""
        self._base, self._file, self._offset, self._xoffset = base, file, offset, xoffset
        self._text, self._file_text = position, position[: position.rindex(":") + 1]
        if offset >= _WRAP or position[len(self._file_text)] == "-":
            self._text = ""  # behind 4 GiB the next one may seem to go on, and come again from before
        self._note(change, base, file)
        self._xid = None
        if isinstance(change, RowChange):
            self._xid = change.xid
            if change.server_id is not None:
                self._server_id = change.server_id
                if change.server_id not in self._servers:
                    self._servers[change.server_id] = None
                    if len(self._servers) > _MOST_SERVERS:
                        del self._servers[next(iter(self._servers))]
        gtid = change.gtid
        if gtid is None:
            self._has_unnamed = self._has_gtids
            return
        self._end_passed(gtid)
        if self._has_unnamed:
            # They were sent without for a while: what was applied meanwhile had the numbers in between.
            self._gtids.close_gap(gtid)
            self._has_unnamed = False
        # A GTID counts as applied once its transaction is over; a queue may never see the commit row (it went to
        # another queue), so the next GTID closes the one before it as well. DDL is over by itself, but for MySQL's
        # CREATE TABLE … SELECT, which arrives as CREATE TABLE … START TRANSACTION (partitions stand behind that) and
        # whose rows have the same GTID.
        if self._open_gtid is not None and self._open_gtid != gtid:
            self._gtids.add(self._open_gtid)
        self._has_gtids = True
        if xoffset == COMMIT_ROW or (
            isinstance(change, SchemaChange)
            and not (change.kind == "table-create" and "START TRANSACTION" in change.sql.upper())
        ):
            self._gtids.add(gtid)
            self._open_gtid = None
        else:
            self._open_gtid = gtid


def _keys_of(change: RowChange | SchemaChange) -> tuple[int | str, ...]:
    """What a transaction is known by: its xid, its GTID; a schema change without one by its place and its text."""
    keys: tuple[int | str, ...] = () if change.gtid is None else (change.gtid,)
    if isinstance(change, SchemaChange):
        return keys or (f"{change.position} {zlib.crc32(change.sql.encode('utf-8', 'surrogatepass')):08x}",)
    return keys if change.xid is None else (*keys, change.xid)
