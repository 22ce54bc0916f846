"""One session of capture: the binlog → events → messages → publisher, its place stored behind what is confirmed."""

from __future__ import annotations

import logging
import re
import sys
import threading
import time
import zlib
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

from pydbsync.backoff import Backoff
from pydbsync.engine.echoes import MARK_TABLES
from pydbsync.errors import OperationError, SourceError, StopError
from pydbsync.model import TableName
from pydbsync.ops.capture.batch import ChangesSettings
from pydbsync.ops.capture.begin import begin_at, begin_now, file_number, gtids_at
from pydbsync.ops.capture.binlog.reader import BinlogPlace, BinlogReader, FileMark
from pydbsync.ops.capture.changes import Changes
from pydbsync.ops.capture.charsets import Charsets
from pydbsync.ops.capture.history.follow import Delta, FollowedSchema, Snapshot
from pydbsync.ops.capture.history.state import Beginning, CaptureState, FileState, HistoryEntry, Saved, TableState
from pydbsync.ops.capture.publish.amqp import AmqpPublisher
from pydbsync.ops.capture.publish.publisher import FilePublisher, Publisher, StreamPublisher
from pydbsync.ops.capture.settings import FIRST_SERVER_ID, CaptureSettings, StateTable
from pydbsync.ops.capture.source import SourceServer
from pydbsync.places import parse_position
from pydbsync.plan.ddl.lexer import shorten
from pydbsync.route.filters import Filters

log = logging.getLogger("pydbsync.capture")

_HOLD_S = 10.0
_MOST_ENDS = 10_000
_RESUMABLE = 1 << 32
"""A source is asked for a place by four bytes; a file grows beyond that by one transaction, and ends behind it."""
_ENCRYPTION_HEADER = 512
"""Bytes in front of an encrypted file's first event that no place counts."""
_TAG = re.compile(r":[a-z_]")
"""A tag in a set of GTIDs begins with a letter or an underscore."""


@dataclass(frozen=True, kw_only=True)
class CaptureReport:
    """What one run did."""

    rows: int = 0
    transactions: int = 0
    schema_changes: int = 0
    skipped_statements: int = 0
    """Statements left out under `on_unreadable: skip`."""
    undecodable_values: int = 0
    """Text values with bytes that are no text; they have U+FFFD instead."""
    reconnects: int = 0
    seconds: float = 0.0
    """From the first event until everything was confirmed and stored; waits for lost connections are not in it."""
    place: str = ""
    """`file:offset` up to where everything is confirmed and stored."""
    gtids: str = ""


def filters_of(settings: CaptureSettings) -> Filters:
    """Which tables are published."""
    if not settings.state_schema:
        return Filters(include=settings.include, exclude=settings.exclude)
    return Filters(
        include=settings.include,
        exclude=settings.exclude,
        hidden_databases=[settings.state_schema],
        always=[TableName(settings.state_schema, table) for table in MARK_TABLES],
    )


def _refuse_capitals(settings: CaptureSettings) -> None:
    globs = [*settings.include, *settings.exclude]
    wrong = [glob for glob in globs if glob != glob.lower() and "[" not in glob]
    if wrong:
        raise OperationError(
            f"the source has lower_case_table_names set, so that its binlog has all names in lower case: {wrong[0]!r}"
            f" of include or exclude matches none of them; write {wrong[0].lower()!r}"
        )


class CaptureSession:
    """One set of connections, from the stored place until one of them is lost."""

    def __init__(
        self,
        settings: CaptureSettings,
        stop: threading.Event,
        opened: ExitStack,
        *,
        ask_for: Sequence[TableName] = (),
        one_by_one: bool = False,
    ) -> None:
        """`ask_for` are tables that are not known yet: the catalogue tells them, if no DDL behind the place has."""
        self._settings = settings
        self._stop = stop
        self._server = SourceServer(settings.source)
        opened.callback(self._server.close)
        self._facts = facts = self._server.facts()
        if settings.by_gtid and facts.gtid_mode != "ON":
            raise OperationError(
                f"the source has gtid_mode={facts.gtid_mode}: without GTIDs it cannot be read by them. Set "
                "gtid_mode=ON there, or go on by file and offset (without by_gtid)"
            )
        if facts.fold_names:
            _refuse_capitals(settings)
        self._held_until = 0.0
        self._server_id = settings.server_id or FIRST_SERVER_ID + zlib.crc32(settings.name.encode()) % 0x20000000
        self._charsets = Charsets(self._server.ask)
        self._said_undecodable = 0
        self._seconds = 0.0
        self._state = open_state(settings)
        opened.callback(self._state.close)
        self._hold_server_id()
        saved = self._saved()
        self.place = self._stored = saved.place
        self._ends: deque[tuple[int, BinlogPlace]] = deque()
        """How many messages lie before which place, since the last checkpoint."""
        schema = saved.schema_at(saved.place, self._followed(saved.beginning.snapshot))
        for name in ask_for:
            self._ask_for(name, saved.place, schema)
        self._publisher = open_publisher(settings, stop, one_by_one=one_by_one)
        opened.callback(self._publisher.close)
        self._reader = self._read(saved.place, follow=settings.follow)
        opened.callback(self._reader.close)
        is_mariadb = facts.brand == "mariadb"
        self._changes = Changes(
            ChangesSettings(
                is_mariadb=is_mariadb,
                filters=filters_of(settings),
                with_gtid=settings.with_gtid if settings.with_gtid is not None else not is_mariadb,
                with_srid=settings.exact,
                buffer_bytes=settings.buffer_bytes,
                temporary_folder=str(settings.temporary_folder) if settings.temporary_folder else None,
                on_unreadable=settings.on_unreadable,
                skip_at=frozenset(settings.skip_at),
                collations=facts.collations,
                collation_names=facts.collation_names,
                system_time_zone=facts.system_time_zone,
                default_week_format=facts.default_week_format,
                div_precision_increment=facts.div_precision_increment,
                old_mode=facts.old_mode,
            ),
            schema,
            self._charsets,
            self._begins_at(saved.place),
            on_delta=lambda place, delta: self._state.add(HistoryEntry(place, delta)),
            is_transactional=self._server.is_transactional,
            programs=self._server.programs,
            on_left=self._left,
        )
        opened.callback(self._changes.close)

    def run(self, backoff: Backoff) -> None:
        """Until stopped, or at the end of the binlog without `follow`."""
        try:
            self._run(backoff)
        except (SourceError, OperationError, StopError):
            # What was handed over before is safe in a moment: it is not to be published again at the next start.
            try:
                self._checkpoint()
            except (SourceError, OperationError):
                self._store_confirmed()
            raise

    def _store_confirmed(self) -> None:
        """The publisher has failed: store the last place before which all is confirmed nevertheless."""
        self._forget_ends()
        if self._ends and self._ends[0][0] <= self._publisher.confirmed:
            self._store(self._ends[0][1])

    def _forget_ends(self) -> None:
        """All but the last of which everything before is confirmed, and those behind it."""
        confirmed = self._publisher.confirmed
        while len(self._ends) > 1 and self._ends[1][0] <= confirmed:
            self._ends.popleft()

    def _store(self, place: BinlogPlace) -> None:
        if place != self._stored and (place.offset < _RESUMABLE or self._settings.by_gtid):
            self._state.save_place(place)
            self._stored = place

    def _run(self, backoff: Backoff) -> None:
        publish, take, reader = self._publisher.publish, self._changes.take, self._reader
        begun = time.monotonic()
        due = begun + self._settings.checkpoint_s
        published = marked = 0
        for event in reader.events(self._publisher.push):
            for batch in take(event, reader.file):
                published += len(batch.bodies)
                publish(batch)
                del batch  # one large row at a time
                if self._stop.is_set():
                    break
            del event
            if published != marked:
                marked = published
                self._mark(published)
            if time.monotonic() >= due or self._stop.is_set():
                self._checkpoint()
                self._notice_reset()
                self._hold_server_id()
                self._seconds = time.monotonic() - begun
                if self._seconds > self._settings.retry.max_s:
                    backoff.reset()
                due = time.monotonic() + self._settings.checkpoint_s
                if self._stop.is_set():
                    return
        if self._settings.follow and not self._stop.is_set():
            raise SourceError("the source ended the binlog")
        self._checkpoint()
        self._seconds = time.monotonic() - begun

    def _mark(self, published: int) -> None:
        """Remember a place and how many messages lie before it."""
        end = self._changes.end
        if end is not None:
            # The text of all GTIDs costs more than a transaction: where it is not needed the last one stored will do.
            gtids = self._changes.place.gtids if self._settings.by_gtid else self._stored.gtids
            self._ends.append((published, end._replace(gtids=gtids)))
            if len(self._ends) > _MOST_ENDS:
                self._forget_ends()

    @property
    def waits_for(self) -> str:
        """Why the receiver takes nothing at this moment."""
        return self._publisher.waits_for

    @property
    def unknown_table(self) -> TableName | None:
        """Whose rows ended the session."""
        return self._changes.unknown_table

    def added_to(self, report: CaptureReport) -> CaptureReport:
        """The figures of the run so far."""
        counts = self._changes.counts
        return replace(
            report,
            rows=report.rows + counts.rows,
            transactions=report.transactions + counts.transactions,
            schema_changes=report.schema_changes + counts.schema_changes,
            skipped_statements=report.skipped_statements + counts.skipped_statements,
            undecodable_values=report.undecodable_values + self._charsets.undecodable,
            seconds=report.seconds + self._seconds,
            place=str(self._stored),
            gtids=self._stored.gtids,
        )

    def _checkpoint(self) -> None:
        # The place lies before a transaction that is half published: after a crash it comes again as a whole.
        self._publisher.flush()
        place = self._changes.place
        self._ends.clear()
        self._store(place)
        if self._charsets.undecodable > self._said_undecodable:
            self._said_undecodable = self._charsets.undecodable
            log.error(
                "%d text values up to %s have bytes that are no text of their character set; there stands U+FFFD",
                self._said_undecodable,
                place,
            )

    def _hold_server_id(self) -> None:
        """A second reader with one server_id throws the first one out: see that none of ours does."""
        if time.monotonic() < self._held_until:
            return
        if not self._server.holds_server_id(self._server_id):
            raise SourceError(
                f"another capture reads this source with the server_id {self._server_id}: stop it, or give this one a "
                "--server-id or a --name of its own"
            )
        self._held_until = time.monotonic() + _HOLD_S

    def _notice_reset(self) -> None:
        """MySQL leaves a reader of a binlog that is reset waiting at the end of the file that was (tried on 9.7)."""
        if time.monotonic() < self._held_until:
            return
        place = self._changes.place
        file, offset = self._server.end(self._facts.brand)
        if (file_number(file), offset) < (file_number(place.file), place.offset):
            raise SourceError(
                f"the source's binlog ends at {file}:{offset}, before {place}, which was read: it was reset"
            )

    def _left(self, file: str) -> None:
        """A server takes a reader at the end of a file that a reset has removed on to the next one of the new binlog
        (tried on MySQL 9.7, MariaDB 10.11): what stands in the new file of the same name would be left out."""
        size, ended = self._server.binlogs().get(file), self._reader.ended
        if size is not None and (size - ended) % _RESUMABLE not in (0, _ENCRYPTION_HEADER):
            raise OperationError(
                f"the source's {file} has {size:,} bytes, and is not the file that capture has read up to {ended:,}:"
                " the binlog was reset meanwhile; copy the data anew, and start with a new state"
            )

    def _ask_for(self, name: TableName, place: BinlogPlace, schema: FollowedSchema) -> None:
        found = begin_at(self._server, self._facts, self._charsets, self._scan, place).snapshot
        delta = Delta(
            tables=tuple((table.name, table) for table in found.tables if table.name == name),
            uncertain=tuple(each for each in found.uncertain if each == name),
        )
        if delta != Delta():
            schema.take(delta)
            self._state.add(HistoryEntry(place, delta))

    def _saved(self) -> Saved:
        saved = self._state.load()
        if saved is None:
            saved = self._begun()
        elif saved.beginning.identity != self._facts.identity:
            saved = self._moved(saved)
        else:
            self._refuse_what_was_reset(saved.place)
        return saved

    def _refuse_what_was_reset(self, place: BinlogPlace) -> None:
        """A source whose binlog began anew has files and GTIDs that stand for others than those that are known."""
        if not place.file:
            return
        if self._settings.by_gtid:
            sizes = self._server.binlogs()
            number = file_number(place.file)
            is_behind_all = bool(sizes) and number > max(map(file_number, sizes))
            if is_behind_all or place.offset > sizes.get(place.file, place.offset):
                raise OperationError(
                    f"the source's binlog does not have {place}, where capture was: it was reset, or lost its end in a"
                    " crash, and its GTIDs may stand for others now; copy the data anew, and start with a new state"
                )
            if place.file not in sizes:  # what is behind it may be there, as its GTIDs tell
                if not self._server.has_purged(self._facts.brand, place.gtids):
                    raise OperationError(
                        f"the source has no {place.file}, up to which capture was, and has not purged its transactions"
                        f" either (of {shorten(place.gtids, 200)}): its binlog was reset, and its GTIDs stand for"
                        " others now; copy the data anew, and start with a new state"
                    )
                return
        if place.mark is not None and not self._is_of(place.file, place.mark):
            raise OperationError(
                f"the source's {place.file} is not the file that capture has read up to {place}: the binlog was reset"
                " (or the server restored) and has grown beyond that place; copy the data anew, and start with a new"
                " state"
            )

    def _is_of(self, file: str, mark: FileMark) -> bool:
        """Whether the source's file of this name is the one that the mark was made in."""
        if mark.start >= _RESUMABLE:  # where the server cannot be asked for the event
            mark = FileMark(mark.born)
        reader = self._scan(BinlogPlace(file, mark.start or 4))
        try:
            return reader.is_of(mark)
        finally:
            reader.close()

    def _begins_at(self, place: BinlogPlace) -> BinlogPlace:
        """Where the reader begins. Asked for GTIDs, the source may begin with a newer file than that of the place."""
        if self._reader.file != place.file:
            return self._reader.begins_at
        return place if place.mark is not None else place._replace(mark=FileMark(self._reader.born))

    def _begun(self) -> Saved:
        start = self._settings.start
        if start == "now":
            beginning = begin_now(self._server, self._facts, self._charsets, self._scan)
        else:
            beginning = begin_at(self._server, self._facts, self._charsets, self._scan, self._place_of(start))
        self._state.begin(beginning)
        log.info("capture begins at %s with %d tables", beginning.place, len(beginning.snapshot.tables))
        return Saved(beginning, (), beginning.place)

    def _place_of(self, start: str) -> BinlogPlace:
        if self._settings.by_gtid:
            return BinlogPlace("", 4, start)
        try:
            parse_position(start)
        except ValueError as exc:
            raise OperationError(f"{exc}; to begin at GTIDs set by_gtid") from exc
        file, _, offset = start.rpartition(":")
        return BinlogPlace(file, int(offset), gtids_at(self._server, self._facts, self._scan, file, int(offset)))

    def _moved(self, saved: Saved) -> Saved:
        """The source is another server than before: after a fail-over only GTIDs tell where to go on. A server that has
        got another number or uuid is known by its binlog."""
        place = saved.place
        mark = place.mark
        if mark and mark.start and place.file in self._server.binlogs() and self._is_of(place.file, mark):
            schema = saved.schema_at(place, self._followed(saved.beginning.snapshot))
            beginning = Beginning(self._facts.identity, place, schema.snapshot())
            self._state.begin(beginning)
            log.warning(
                "the source is called %s now and was called %s; its binlog is the same, and capture goes on at %s",
                self._facts.identity, saved.beginning.identity, place,
            )  # fmt: skip
            return Saved(beginning, (), place)
        if not self._settings.by_gtid or not saved.place.gtids:
            raise OperationError(
                f"the state is of server {saved.beginning.identity}, and this source is {self._facts.identity}: places "
                "in its binlog mean nothing. Use by_gtid with GTIDs, or start with a new state"
            )
        schema = saved.schema_at(saved.place, self._followed(saved.beginning.snapshot))
        reader = self._scan(saved.place)
        reader.close()
        beginning = Beginning(self._facts.identity, reader.begins_at, schema.snapshot())
        self._state.begin(beginning)
        log.warning("the source is another server now; capture goes on there at %s by GTID", beginning.place)
        return Saved(beginning, (), beginning.place)

    def _followed(self, snapshot: Snapshot) -> FollowedSchema:
        facts, server = self._facts, self._server
        return FollowedSchema(
            snapshot,
            server_charset=facts.charset,
            brand=facts.brand,
            fold_names=facts.fold_names,
            look_up=lambda name: next(server.tables(facts.brand, name), None),
        )

    def _scan(self, place: BinlogPlace) -> BinlogReader:
        return self._read(place, follow=False)

    def _read(self, place: BinlogPlace, *, follow: bool) -> BinlogReader:
        settings = self._settings
        if settings.by_gtid and self._facts.brand == "mysql" and _TAG.search(place.gtids):
            raise OperationError(
                "the source has GTIDs with tags, which mysql-replication cannot ask for: go on by file and offset "
                "(without by_gtid)"
            )
        keywords: dict[str, Any] = {**settings.source, "charset": "utf8mb4"}
        keywords.pop("database", None)
        keywords.setdefault("connect_timeout", 10)
        return BinlogReader(
            keywords,
            server_id=self._server_id,
            place=place,
            by_gtid=settings.by_gtid,
            is_mariadb=self._facts.brand == "mariadb",
            follow=follow,
        )


def open_state(settings: CaptureSettings) -> CaptureState:
    """The state that the settings name."""
    if isinstance(settings.state, StateTable):
        return TableState(settings.state.connect, settings.state.schema, settings.name)
    return FileState(settings.state)


def open_publisher(settings: CaptureSettings, stop: threading.Event, *, one_by_one: bool = False) -> Publisher:
    """The receiver that the settings name."""
    if settings.output == "file" and settings.file is not None:
        return FilePublisher(settings.file)
    if settings.output == "rabbitmq" and settings.amqp is not None:
        return AmqpPublisher(
            settings.amqp,
            exchange=settings.exchange,
            exchange_type=settings.exchange_type,
            routing_key=settings.routing_key_of,
            stop=stop,
            bundle_bytes=settings.bundle_bytes,
            queues=settings.queues,
            one_by_one=one_by_one,
        )
    return StreamPublisher(sys.stdout.buffer)
