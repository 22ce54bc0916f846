"""What a copy is asked to do, what it tells while it runs, and what it reports at the end."""

from __future__ import annotations

from typing import Literal

import msgspec

from pydbsync.model import TableName
from pydbsync.ops.conditions import condition_of, described

Existing = Literal["stop", "drop", "keep"]
Loading = Literal["auto", "load", "insert"]
Locking = Literal["auto", "global", "tables"]


class CopyOptions(msgspec.Struct, frozen=True):
    """What the command line says."""

    tables: tuple[str, ...] = ()
    """Globs of source names, within what the configuration lets take part; none means all."""
    streams: tuple[str, ...] = ()
    """Whose checkpoints are written; none means the configured queues."""
    jobs: int = 4
    """Connections to either server that copy at the same time."""
    existing: Existing = "stop"
    """What to do with tables that the target has already: refuse, drop them, or fill them if they are empty."""
    views: bool = True
    triggers: bool = False
    routines: bool = False
    events: bool = False
    """Made, but disabled."""
    exclude: tuple[str, ...] = ()
    """Globs of source names that are not copied, though replay takes them."""
    where: tuple[tuple[str, str], ...] = ()
    """(glob of source names, SQL condition): only such rows are copied."""
    structure_only: bool = False
    """Neither rows nor checkpoints."""
    late_keys_bytes: int = 128 << 20
    """A source table with so many bytes of rows gets its keys that are not unique behind its rows; 0 is never."""
    loading: Loading = "auto"
    locking: Locking = "auto"
    lock_wait_s: int = 3
    """How long one attempt may wait for the source's lock, and with it hold up the writers behind it."""
    chunk_s: float = 0.5
    """Seconds that one chunk should take."""
    watermark: bool = False
    """Do not ask for a place of the binlog: read while changes flow, and mark begin and end in the stream."""
    rows_per_s: float = 0.0
    threads_running: int = 0
    """Wait while either server runs more statements at the same time; 0 is no limit."""
    replicas: tuple[str, ...] = ()
    """Replicas of the target, `host` or `host:port`, reached with the target's user."""
    lag_s: float = 0.0
    """Wait while a replica is further behind; 0 is no limit."""
    restart: bool = False
    """Give up a copy that was begun, and begin anew."""
    overwrite_checkpoint: bool = False
    trust_stream: bool = False
    """Take it on trust that the stream begins at or before the copy's place."""

    def described(self) -> dict[str, str]:
        """What must be the same when a copy goes on after a stop."""
        mode = "structure" if self.structure_only else "watermark" if self.watermark else "snapshot"
        return {
            "tables": " ".join(self.tables),
            "exclude": " ".join(self.exclude),
            "where": described(self.where),
            "streams": " ".join(self.streams),
            "mode": mode,
        }

    def condition(self, name: TableName) -> str:
        """Which rows of a source table are copied, as SQL; empty for all."""
        return condition_of(self.where, [name])


class CopiedTable(msgspec.Struct):
    """One source table, as far as it is copied."""

    name: TableName
    targets: tuple[TableName, ...]
    estimated_rows: int = 0
    rows: int = 0
    """Rows in the target from this copy, those of earlier runs of it included."""
    size_bytes: int = 0
    """What was carried, as text."""
    round: int = 0
    seconds: float = 0.0
    state: Literal["waiting", "copying", "again", "done"] = "waiting"
    note: str = ""


class CopyReport(msgspec.Struct):
    """The whole copy."""

    tables: list[CopiedTable] = msgspec.field(default_factory=list)
    views: list[TableName] = msgspec.field(default_factory=list)
    triggers: list[TableName] = msgspec.field(default_factory=list)
    routines: list[TableName] = msgspec.field(default_factory=list)
    events: list[TableName] = msgspec.field(default_factory=list)
    left_out: list[str] = msgspec.field(default_factory=list)
    """What the source has and the target now has not, as sentences."""
    notes: list[str] = msgspec.field(default_factory=list)
    """What was done otherwise than at the source, as sentences."""
    unproven: list[TableName] = msgspec.field(default_factory=list)
    """Tables without transactions and without a key, written to while they were read: verify them."""
    streams: tuple[str, ...] = ()
    place: str = ""
    """Where replay goes on: a place of the binlog, or the marker that it waits for."""
    end_place: str = ""
    """Behind which place the target is consistent."""
    gtids: str = ""
    rounds: int = 0
    lock_s: float = 0.0
    """How long the source was locked, all moments together."""
    seconds: float = 0.0
    is_resumed: bool = False

    @property
    def rows(self) -> int:
        """Rows of all tables."""
        return sum(table.rows for table in self.tables)

    @property
    def size_bytes(self) -> int:
        """Bytes of all tables, as text."""
        return sum(table.size_bytes for table in self.tables)


class CopyObserver:
    """Does nothing; subclasses show progress. Called from several threads, one at a time."""

    def began(self, report: CopyReport) -> None:
        """The tables are known; the report is filled while the copy runs."""

    def phase(self, text: str) -> None:
        """What the copy does now, as a few words."""

    def table(self, table: CopiedTable) -> None:
        """Something of this table has changed."""

    def note(self, text: str) -> None:
        """Something to know, as a sentence."""
