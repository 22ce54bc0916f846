"""Whether the target has applied what the source had written at a moment: the binlog's end then, and the checkpoints.

A checkpoint says how far a stream was applied, but a stream that has nothing to do stands still while the binlog goes
on. So a stream counts as past a place also if the binlog holds no change of the table between the two.
"""

from __future__ import annotations

import enum
import random
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, NamedTuple

from pydbsync.apply.checkpoint import CheckpointRow
from pydbsync.config.settings import QueueSettings, Settings
from pydbsync.errors import ApplyError, OperationError, SourceError
from pydbsync.model import COMMIT_ROW, Place, TableName
from pydbsync.ops.capture.binlog import kinds
from pydbsync.ops.capture.binlog.query import Query, parse_query
from pydbsync.ops.capture.binlog.reader import BinlogPlace, BinlogReader, Event
from pydbsync.ops.servers import Server
from pydbsync.places import Checkpoint, parse_position

_LOOKED_THROUGH = 200_000
"""Events of the binlog that are looked through at most before the answer is: not yet."""
_POLL_S = (0.05, 1.0)
_MADE_UP = frozenset({kinds.ROTATE, kinds.FORMAT_DESCRIPTION, kinds.HEARTBEAT, kinds.HEARTBEAT_V2})
_HARMLESS = frozenset(
    {kinds.XID, kinds.XA_PREPARE, kinds.GTID, kinds.ANONYMOUS_GTID, kinds.GTID_TAGGED, kinds.MARIADB_GTID}
)
"""Beside NOTES: events around a transaction, which change no table."""


class SourcePlace(NamedTuple):
    """The end of the source's binlog at a moment."""

    base: str
    file: int
    offset: int
    server_id: int

    def __str__(self) -> str:
        return f"{self.base}.{self.file:06d}:{self.offset}"


class Passed(enum.Enum):
    """Whether the target has applied a table's changes up to a place."""

    YES = "yes"
    NO = "no"
    UNKNOWN = "unknown"


class Streams:
    """The streams by which changes come to the target, and how far each is applied."""

    def __init__(
        self, settings: Settings, source: Server, target: Server, *, streams: Sequence[str] = (),
        concerns: Callable[[str, str], bool] = lambda sql, database: False,
        harmless: Callable[[str], bool] = lambda sql: False,
    ) -> None:  # fmt: skip
        """`concerns` tells of statements that name none of the tables which of them count all the same, by their text
        and default database; `harmless` of those that do not count, whatever they name."""
        self._concerns = concerns
        self._harmless = harmless
        self._settings = settings
        self._source = source
        self._target = target
        self._only = list(streams)
        self._quiet: dict[tuple[object, tuple[TableName, ...]], tuple[int, int]] = {}
        """Behind a checkpoint: up to where the binlog is known to hold no change of some tables."""
        self.why_unknown = ""
        self._why_blind = ""
        """Why the places cannot be compared, as a sentence for people; empty where they can."""

    def source_place(self) -> SourcePlace | None:
        """The end of the binlog now; None where the user may not see it, or there is none."""
        statement = "SHOW MASTER STATUS"
        if not self._source.dialect.is_mariadb and self._source.dialect.version >= (8, 2):
            statement = "SHOW BINARY LOG STATUS"
        try:
            found = self._source.rows(statement)
            server_id = int(self._source.value("SELECT @@server_id"))
        except ApplyError as exc:
            self.why_unknown = f"the place of the source's binlog cannot be read ({exc})"
            return None
        if not found:
            self.why_unknown = "the source writes no binlog"
            return None
        base, file, offset = parse_position(f"{found[0][0]}:{found[0][1]}")
        return SourcePlace(base, file, offset, server_id)

    def names(self, tables: Iterable[TableName]) -> list[str]:
        """The streams that carry changes of these tables, as the configuration binds them."""
        if self._only:
            return self._only
        if not self._settings.queues:
            return [self._settings.stream]
        keys = [f"{name.database}.{name.table}" for name in tables]
        return [queue.stream for queue in self._settings.queues if any(carries(queue, key) for key in keys)]

    def passed(self, place: SourcePlace | None, tables: Sequence[TableName]) -> Passed:
        """Whether every stream of these source tables has been applied up to the place."""
        if place is None:
            return Passed.UNKNOWN
        names = self.names(tables)
        if not names:
            self.why_unknown = "no queue of the configuration carries the table"
            return Passed.UNKNOWN
        answers = [self._passed(name, place, tables) for name in names]
        if Passed.UNKNOWN in answers:
            return Passed.UNKNOWN
        return Passed.NO if Passed.NO in answers else Passed.YES

    def checkpoint(self, stream: str) -> Checkpoint | None:
        """The stream's checkpoint; None where there is none with a place."""
        row = CheckpointRow(schema=self._settings.state_schema, stream=stream)
        try:
            state = self._target.call(row.read)
        except ApplyError as exc:
            self.why_unknown = f"the checkpoints of {self._settings.state_schema} cannot be read ({exc})"
            return None
        if state is None or not state.checkpoint.base:
            self.why_unknown = f"the stream {stream!r} has no checkpoint in {self._settings.state_schema}"
            return None
        return state.checkpoint

    def lag_s(self, tables: Sequence[TableName]) -> float:
        """How old the newest applied change is, in seconds, if changes of these tables wait; 0 if not, or not known."""
        if self.passed(self.source_place(), tables) is not Passed.NO:
            return 0.0
        applied = [checkpoint.newest_ts for name in self.names(tables) if (checkpoint := self.checkpoint(name))]
        now = int(self._source.value("SELECT UNIX_TIMESTAMP()"))
        return float(max(0, now - min(applied, default=now)))

    def _passed(self, stream: str, place: SourcePlace, tables: Sequence[TableName]) -> Passed:
        checkpoint = self.checkpoint(stream)
        if checkpoint is None:
            return Passed.UNKNOWN
        if checkpoint.base != place.base or checkpoint.server_id not in (None, place.server_id):
            self.why_unknown = (
                f"the stream {stream!r} stands at {checkpoint.position()} of server {checkpoint.server_id}, which is"
                f" not the binlog of the source that is read (server {place.server_id}, {place})"
            )
            return Passed.UNKNOWN
        if (checkpoint.place.file, checkpoint.place.offset) >= (place.file, place.offset):
            return Passed.YES
        try:
            is_quiet, self._why_blind = self._is_quiet_between(checkpoint, place, tables), ""
        except (ApplyError, OperationError, SourceError) as exc:
            # No right to look into the binlog, or the file is gone: wait for the checkpoint itself.
            self._why_blind = f"; what lies between cannot be looked through ({exc})"
            return Passed.NO
        return Passed.YES if is_quiet else Passed.NO

    def is_quiet(self, begin: SourcePlace, end: SourcePlace, tables: Sequence[TableName]) -> bool:
        """Whether no change of these tables lies between two ends of the binlog. Raises ApplyError, OperationError,
        SourceError where the binlog cannot be read."""
        at = Checkpoint(base=begin.base, place=Place(begin.file, begin.offset, COMMIT_ROW))
        return begin.base == end.base and self._is_quiet_between(at, end, tables)

    def _counts(self, query: Query, spelled: re.Pattern[bytes]) -> bool:
        """Whether a statement may change one of the tables that `spelled` finds by their names."""
        sql = query.raw.decode("utf-8", "replace")
        is_meant = spelled.search(query.raw) is not None or self._concerns(sql, query.database)
        return is_meant and not self._harmless(sql)

    def _is_quiet_between(self, checkpoint: Checkpoint, place: SourcePlace, tables: Sequence[TableName]) -> bool:
        """Whether no change of these tables lies behind the checkpoint and before the place."""
        at = checkpoint.place
        key = (at, tuple(tables))
        begin = max(self._quiet.get(key, (at.file, at.offset)), (at.file, at.offset))
        wanted = {f"{name.database}.{name.table}".encode() for name in tables}
        words = b"|".join(re.escape(name.table.encode()) for name in tables) or rb"(?!)"  # of no table: nothing
        spelled = re.compile(rb"(?<![\w$])(?:%s)(?![\w$])" % words, re.IGNORECASE)
        known: dict[bytes, bytes] = {}
        for file, event in self._events(place, begin):
            is_applied = (file, event.start) == (at.file, at.offset)
            if event.kind == kinds.TABLE_MAP:
                known[event.body[:6]] = _mapped(event.body)
            elif event.kind in kinds.ROWS:
                if not (is_applied and at.xoffset == COMMIT_ROW) and known.get(event.body[:6], b"") in wanted | {b""}:
                    return False
            elif event.kind in (kinds.QUERY, kinds.MARIADB_QUERY_COMPRESSED):
                is_compressed = event.kind == kinds.MARIADB_QUERY_COMPRESSED
                query = parse_query(event.body, is_compressed=is_compressed)
                if not is_applied and self._counts(query, spelled):
                    return False
            elif event.kind not in kinds.NOTES and event.kind not in _HARMLESS:
                return False  # what is inside is not looked at
            if event.kind == kinds.XID:
                self._quiet[key] = (file, event.end)
        return True

    def _events(self, place: SourcePlace, begin: tuple[int, int]) -> Iterator[tuple[int, Event]]:
        """(number of the file, event) of the binlog from `begin` up to the place.

        Read as a replica reads it: SHOW BINLOG EVENTS keeps MariaDB from committing for as long as it runs. Raises
        ApplyError, OperationError, SourceError where it cannot be read, or is longer than is looked through.
        """
        source = self._settings.source
        if begin >= (place.file, place.offset) or source is None:
            return
        keywords: dict[str, Any] = {**source.connect_keywords(), "charset": "utf8mb4"}
        keywords.pop("database", None)
        keywords.setdefault("connect_timeout", 10)
        reader = BinlogReader(
            keywords,
            server_id=random.SystemRandom().randrange(2**31, 2**32 - 1),
            place=BinlogPlace(f"{place.base}.{begin[0]:06d}", begin[1]),
            is_mariadb=self._source.dialect.is_mariadb,
            follow=False,
        )
        try:
            for number, event in enumerate(reader.events()):
                file = int(reader.file.rpartition(".")[2])
                if event.kind in _MADE_UP:
                    continue
                if (file, event.start) >= (place.file, place.offset):
                    return
                if number >= _LOOKED_THROUGH:
                    raise OperationError("the binlog between checkpoint and source is too long to look through")
                yield file, event
        finally:
            reader.close()

    def wait_until_passed(
        self,
        place: SourcePlace | None,
        tables: Sequence[TableName],
        *,
        stop: threading.Event,
        limit_s: float,
        stall_s: float,
    ) -> Passed:
        """Wait for the target to pass the place; NO after `limit_s`, or if no stream moved for `stall_s`."""
        started = moved_at = time.monotonic()
        last: list[object] = []
        pause_s = _POLL_S[0]
        while True:
            answer = self.passed(place, tables)
            if answer is not Passed.NO:
                return answer
            now = time.monotonic()
            checkpoints: list[object] = [self.checkpoint(name) for name in self.names(tables)]
            if checkpoints != last:
                last, moved_at = checkpoints, now
            if now - started >= limit_s or now - moved_at >= stall_s or stop.wait(pause_s):
                stands = ", ".join(c.position() for c in checkpoints if isinstance(c, Checkpoint))
                self.why_unknown = (
                    f"the target stands at {stands} and did not come to {place} while it was waited for"
                    f"{self._why_blind}"
                )
                return Passed.NO
            pause_s = min(pause_s * 1.5, _POLL_S[1])


def _mapped(body: bytes) -> bytes:
    """`database.table` of a TABLE_MAP event."""
    at = 9 + body[8]
    return body[9:at] + b"." + body[at + 2 : at + 2 + body[at + 1]]


def carries(queue: QueueSettings, key: str) -> bool:
    """Whether messages with this routing key (`database.table`) come to the queue."""
    if queue.exchange_type == "fanout" or queue.exchange_type not in ("topic", "direct") or not queue.routing_keys:
        return True
    if queue.exchange_type == "direct":
        return key in queue.routing_keys
    return any(topic_matches(pattern, key) for pattern in queue.routing_keys)


def topic_matches(pattern: str, key: str) -> bool:
    """AMQP's topic rule: `*` is one word, `#` any number of words, words end at dots."""
    return _words_match(pattern.split("."), key.split("."))


def _words_match(pattern: list[str], words: list[str]) -> bool:
    if not pattern:
        return not words
    head, *rest = pattern
    if head == "#":
        return any(_words_match(rest, words[start:]) for start in range(len(words) + 1))
    return bool(words) and head in ("*", words[0]) and _words_match(rest, words[1:])
