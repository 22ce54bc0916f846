"""Shows how far each stream is applied, and moves that place where an operator says so."""

from __future__ import annotations

import datetime as dt
import threading
import time
from collections.abc import Sequence

import msgspec

from pydbsync.apply.checkpoint import CheckpointRow
from pydbsync.apply.connection import Connection
from pydbsync.apply.state import ensure_state_schema
from pydbsync.apply.tables.operator_audit import actor_here, write_audit
from pydbsync.config.settings import Settings
from pydbsync.errors import ApplyError, ConfigError, OperationError, TransientError
from pydbsync.gtids import GtidSet
from pydbsync.model import COMMIT_ROW, Place
from pydbsync.ops.servers import Servers
from pydbsync.places import Checkpoint, Recent, parse_position
from pydbsync.plan.quoting import quote_name
from pydbsync.work import StreamState

_STATEMENTS_SHOWN = 10


class ShownCheckpoint(msgspec.Struct, frozen=True):
    """One stream's row, for people."""

    stream: str
    position: str
    gtids: str
    newest: str
    """The `ts` of the newest change, in UTC; empty before the first."""
    applied: int
    parked: int
    owner: str
    is_owned: bool
    """Whether a worker holds the stream's lock now."""
    updated: str


class PlaceMove(msgspec.Struct, frozen=True):
    """What a new place would lead to."""

    stream: str
    former: StreamState | None
    wanted: Checkpoint
    consequences: tuple[str, ...]
    """A sentence each."""


class CheckpointDesk:
    """The rows `checkpoint` of one state schema."""

    def __init__(self, settings: Settings) -> None:
        """Connect to the target. Raises ConfigError."""
        self._settings = settings
        try:
            self._connection = Connection(
                settings.target.connect_keywords(), key=settings.target.key, read_timeout_s=60
            )
            ensure_state_schema(self._connection, settings.state_schema)
        except TransientError as exc:
            raise ConfigError(str(exc), key=settings.target.key) from exc
        self._schema = quote_name(settings.state_schema)

    def close(self) -> None:
        """Close the connection, and with it give back a lock."""
        self._connection.close()

    def shown(self, streams: Sequence[str] = ()) -> list[ShownCheckpoint]:
        """These streams, or all. Raises OperationError for one that there is not."""
        found: list[ShownCheckpoint] = []
        rows = self._connection.rows(
            f"SELECT stream, owner_info, updated_at FROM {self._schema}.`checkpoint` ORDER BY stream"
        )
        for stream, owner, updated_at in rows:
            if streams and stream not in streams:
                continue
            row = self._row(stream)
            state = row.read(self._connection)
            if state is not None:
                found.append(
                    shown_state(
                        stream, state, parked=self._parked(stream), owner=owner,
                        is_owned=row.is_locked(self._connection), updated=f"{updated_at:%Y-%m-%d %H:%M:%S}",
                    )
                )  # fmt: skip
        return all_of(streams, found)

    def plan(self, stream: str, position: str, *, gtids: str | None) -> PlaceMove:
        """What `position` would mean: all up to and with it counts as applied. Raises OperationError."""
        base, file, offset, xoffset = read_place(position)
        former = self._read(stream)
        before = Checkpoint() if former is None else former.checkpoint
        if before.gtids and gtids is None:
            raise OperationError(
                "--gtids is needed: the stream has GTIDs, and what they say goes before the place; give the set that"
                " is applied up to there, as @@gtid_executed or Previous_gtids (SHOW BINLOG EVENTS) has it"
            )
        try:
            wanted_gtids = str(GtidSet(gtids or ""))
        except ValueError as exc:
            raise OperationError(f"--gtids: {exc}") from exc
        place = Place(file, offset, xoffset)
        goes_on = not before.base or base != before.base or place >= before.place
        wanted = msgspec.structs.replace(
            before, base=base, place=place, gtids=wanted_gtids, xid=None, open_gtid="",
            recent=Recent(),
            # What is skipped is newer than all that was applied, and would else count as a new stream.
            newest_ts=max(before.newest_ts, int(time.time())) if goes_on else before.newest_ts,
        )  # fmt: skip
        return PlaceMove(stream, former, wanted, tuple(self._consequences(stream, before, wanted)))

    def _consequences(self, stream: str, before: Checkpoint, wanted: Checkpoint) -> list[str]:
        texts: list[str] = []
        there, here = before.position() or "the beginning", wanted.position()
        if not before.base:
            texts.append(f"{stream} has no place yet: it begins behind {here}, and all up to there is left out")
        elif before.base != wanted.base:
            texts.append(
                f"{here} is in another binlog than {there}: what lies between cannot be told; the first change that"
                " is not newer than what was applied counts as applied"
            )
        elif wanted.place > before.place:
            texts.append(f"SKIPPED: all changes behind {there} up to and with {here} are never applied")
            texts += self._size(before, wanted)
        elif wanted.place < before.place:
            texts.append(
                f"REPEATED: what lies behind {here} up to and with {there} is applied again where it comes again; rows"
                " of tables without a key are then doubled. A queue has none of it any more: publish it again (Maxwell"
                " or `pydbsync capture` from there)"
            )
            texts += self._size(wanted, before)
            texts += self._statements(stream, wanted, before)
        else:
            texts.append(f"{stream} stands at {here} already")
        if parked := self._parked(stream):
            texts.append(f"{parked} changes are parked and stay so")
        if before.gtids != wanted.gtids:
            texts.append(f"applied GTIDs: {before.gtids or 'none'} → {wanted.gtids or 'none'}")
        return texts

    def _size(self, first: Checkpoint, last: Checkpoint) -> list[str]:
        """How much binlog lies between, as far as the source tells."""
        if first.place.file == last.place.file:
            return [f"that is {last.place.offset - first.place.offset:,} bytes of binlog"]
        if self._settings.source is None:
            return [f"that is {last.place.file - first.place.file} binlog files"]
        servers = Servers(self._settings, threading.Event())
        try:
            logs = servers.source.call(lambda connection: connection.rows("SHOW BINARY LOGS"))
        except (ConfigError, ApplyError) as exc:
            return [
                f"that is {last.place.file - first.place.file} binlog files; how large they are is not known ({exc})"
            ]
        finally:
            servers.close()
        sizes = {str(row[0]): int(row[1]) for row in logs}
        names = [f"{first.base}.{number:06d}" for number in range(first.place.file, last.place.file)]
        if missing := [name for name in names if name not in sizes]:
            return [f"the source has {missing[0]} no more"]
        total = sum(sizes[name] for name in names) - first.place.offset + last.place.offset
        return [f"that is {total:,} bytes of binlog in {len(names) + 1} files"]

    def _statements(self, stream: str, first: Checkpoint, last: Checkpoint) -> list[str]:
        """The schema changes that have run between."""
        found: list[str] = []
        for position, statement in self._connection.rows(
            f"SELECT position, statement FROM {self._schema}.`schema_change` WHERE stream = %s AND status = 'done'"
            " ORDER BY id",
            (stream,),
        ):
            try:
                base, file, offset = parse_position(position)
            except ValueError:
                continue
            if base == first.base and first.place < Place(file, offset, 0) <= last.place:
                found.append(f"schema change at {position} has run and does not run again: {statement[:200]}")
        rest = len(found) - _STATEMENTS_SHOWN
        return [*found[:_STATEMENTS_SHOWN], *([f"… and {rest} schema changes more"] if rest > 0 else [])]

    def apply(self, move: PlaceMove) -> None:
        """Store the place. Raises OperationError while a worker owns the stream, or if it has moved since."""
        row = self._row(move.stream)
        if not row.try_lock(self._connection):
            raise OperationError(
                f"{move.stream} is owned by {row.holder(self._connection)}: stop the workers first, on all machines"
            )
        found = row.read(self._connection)
        if (found is None) != (move.former is None) or (
            found is not None and move.former is not None and found.commits != move.former.commits
        ):
            raise OperationError(f"{move.stream} has been moved meanwhile: look again")
        detail = f"{move.former.checkpoint.position() if move.former else 'nothing'} -> {move.wanted.position()}"
        with self._connection.transaction():
            state = row.take_over(self._connection)
            row.write(
                self._connection, msgspec.structs.replace(state, checkpoint=move.wanted, commits=state.commits + 1)
            )
            write_audit(
                self._connection, self._settings.state_schema, "checkpoint", move.stream, actor=actor_here(),
                detail=f"{detail}; {'; '.join(move.consequences)}",
            )  # fmt: skip

    def _read(self, stream: str) -> StreamState | None:
        return self._row(stream).read(self._connection)

    def _row(self, stream: str) -> CheckpointRow:
        return CheckpointRow(schema=self._settings.state_schema, stream=stream)

    def _parked(self, stream: str) -> int:
        return int(
            self._connection.value(
                f"SELECT COUNT(*) FROM {self._schema}.`parked` WHERE stream = %s AND status = 'parked'", (stream,)
            )
        )


def shown_state(
    stream: str, state: StreamState, *, parked: int, owner: str, is_owned: bool, updated: str
) -> ShownCheckpoint:
    """One stream for people."""
    checkpoint = state.checkpoint
    newest = dt.datetime.fromtimestamp(checkpoint.newest_ts, dt.timezone.utc) if checkpoint.newest_ts else None
    return ShownCheckpoint(
        stream=stream, position=checkpoint.position(), gtids=checkpoint.gtids,
        newest="" if newest is None else f"{newest:%Y-%m-%d %H:%M:%S}", applied=state.applied, parked=parked,
        owner=owner, is_owned=is_owned, updated=updated,
    )  # fmt: skip


def all_of(streams: Sequence[str], found: list[ShownCheckpoint]) -> list[ShownCheckpoint]:
    """Those that were found. Raises OperationError where one that is named is not among them."""
    if missing := set(streams) - {each.stream for each in found}:
        raise OperationError(f"there is no checkpoint of {min(missing)!r}; `pydbsync checkpoint show` lists all")
    return found


def read_place(text: str) -> tuple[str, int, int, int]:
    """`binlog.000002:1234`, with `/7` behind it for the row 7 of a transaction; else the whole transaction there is
    meant. Raises OperationError."""
    position, slash, number = text.partition("/")
    try:
        base, file, offset = parse_position(position)
        xoffset = int(number) if slash else COMMIT_ROW
    except ValueError as exc:
        raise OperationError(
            f"--to: expected a place such as binlog.000002:1234 or binlog.000002:1234/7: {exc}"
        ) from exc
    return base, file, offset, xoffset
