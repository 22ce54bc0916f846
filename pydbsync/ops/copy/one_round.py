"""One round of the copy: make what is missing, take the snapshot, let the workers carry the rows."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from pydbsync.apply.connection import Connection
from pydbsync.apply.table_start import TableStart
from pydbsync.config.settings import Settings
from pydbsync.errors import OperationError
from pydbsync.model import TableName
from pydbsync.ops.copy.definitions import Builder, Inventory
from pydbsync.ops.copy.journal import CopyJournal, TableRecord
from pydbsync.ops.copy.markers import Markers
from pydbsync.ops.copy.options import CopiedTable, CopyObserver, CopyOptions
from pydbsync.ops.copy.own_tables import OwnTables
from pydbsync.ops.copy.preview import refuse
from pydbsync.ops.copy.rounds import Round
from pydbsync.ops.copy.routes import CopyTables
from pydbsync.ops.copy.sessions import SourceReader, TargetWriter
from pydbsync.ops.copy.snapshot import SnapshotTaker
from pydbsync.ops.copy.tasks import RoundTasks, TableTask
from pydbsync.ops.copy.throttle import Throttle
from pydbsync.ops.copy.workers import CopyWorker
from pydbsync.ops.copy.writing import ChunkWriter


class Sides(NamedTuple):
    """What all rounds share."""

    settings: Settings
    options: CopyOptions
    source: Connection
    target: Connection
    tables: CopyTables
    journal: CopyJournal
    builder: Builder
    observer: CopyObserver
    stop: threading.Event
    log: logging.Logger
    throttle: Throttle
    taker: SnapshotTaker
    markers: Markers
    own: OwnTables
    is_added: bool
    """Tables are copied anew beside others whose replay goes on."""


class OneRound:
    """First `open`, then `copy`."""

    def __init__(
        self,
        sides: Sides,
        *,
        number: int,
        inventory: Inventory,
        step: Round,
        records: Mapping[TableName, TableRecord],
        reports: Mapping[TableName, CopiedTable],
        low: TableStart | None,
    ) -> None:
        """`low` is the marker that was written before `inventory` was read; None takes a snapshot."""
        self._sides = sides
        self._number = number
        self._inventory = inventory
        self._step = step
        self._records = dict(records)
        self._reports = reports
        self._low = low
        self._readers: list[SourceReader] = []
        self._passes: list[list[TableName]] = []
        self.lock_s = 0.0

    # -- opening -----------------------------------------------------------------------------------------------------

    def open(self, read_inventory: Callable[[], Inventory]) -> TableStart:
        """Make the tables and take the snapshot; where a stream has to go on from for these tables."""
        sides, step = self._sides, self._step
        self._make_structure()
        keywords = sides.settings.source.connect_keywords() if sides.settings.source else {}
        self._readers = [SourceReader(keywords, key="source_db_info") for _ in range(max(1, sides.options.jobs))]
        wanted = [*step.anew, *step.on]
        if self._low is None:
            sides.observer.phase("waiting for the moment of the snapshot")
            moment = sides.taker.take(self._readers, wanted)
            self.lock_s = moment.lock_s
            start = moment.start
            how = f"{moment.how} for {moment.lock_s * 1000:.0f} ms" if moment.lock_s else moment.how
            sides.log.info("round %d: the snapshot is of %s; %s", self._number, moment.place, how)
            self._passes = [wanted]
            starts = dict.fromkeys(step.anew, start)
        else:
            start = self._low
            exact = [name for name in step.anew if not sides.tables.converges(name)]
            self._passes = [[name for name in wanted if name not in exact]]
            starts = dict.fromkeys(step.anew, start)
            if exact:
                moment = sides.taker.take_at_marker(self._readers, exact, sides.markers.table, sides.markers.write)
                self.lock_s = moment.lock_s
                self._passes.insert(0, exact)
                starts.update(dict.fromkeys(exact, moment.start))
        self._write_starts(start, starts)
        self._set_aside(read_inventory())
        return start

    def _make_structure(self) -> None:
        sides, inventory = self._sides, self._inventory
        made: set[TableName] = set()
        with sides.target.transaction():
            for name in self._step.anew:
                record = TableRecord(name, self._number, "begun", TableStart(), inventory.tables[name].fingerprint)
                sides.journal.write_table(sides.target, record, forget_chunks=True)
                self._records[name] = record
        for database, sql in inventory.databases.items():
            sides.own.make_database(database, sql)
        for left in sides.own.remove(target.name for name in self._step.gone for target in sides.tables.targets(name)):
            sides.log.warning("%s is gone at the source, and is left at the target, being of other origin", left)
        for database in {name.database for name in self._step.gone} - inventory.databases.keys():
            sides.own.remove_database(database)
        if sides.target.dialect.is_mariadb:
            for name, sql in inventory.sequences.items():  # a table whose default is the next value needs it
                sides.builder.make_sequence(name, sql)
        refused: list[str] = []
        for name in self._step.anew:
            sides.observer.phase(f"making {name}")
            self._reports[name].rows = self._reports[name].size_bytes = 0
            for target in sides.tables.targets(name):
                if target.name in made:
                    continue
                made.add(target.name)
                existing = sides.options.existing
                try:
                    sides.own.place(
                        inventory.tables[name], target.name,
                        may_drop=existing == "drop" or (sides.is_added and existing == "stop"),
                        may_keep=existing == "keep", may_empty=existing == "keep" and sides.is_added,
                        is_large=0 < sides.options.late_keys_bytes <= inventory.tables[name].size_bytes,
                    )  # fmt: skip
                except OperationError as exc:
                    refused.append(str(exc))
        refuse(refused)

    def _write_starts(self, start: TableStart, starts: Mapping[TableName, TableStart]) -> None:
        sides = self._sides
        with sides.target.transaction():
            for name, each in starts.items():
                self._records[name].start = each
                sides.journal.write_table(sides.target, self._records[name])
            for name in self._step.gone:
                gone = TableRecord(name, self._number, "gone", start, "")
                sides.journal.write_table(sides.target, gone, forget_chunks=True)

    def _set_aside(self, after: Inventory) -> None:
        """Leave tables that were altered around the snapshot to the next round: what was made is not what is shown.

        The same for tables that are new: what the stream says of their creation may lie before the snapshot.
        """
        for name in after.tables.keys() - self._inventory.tables.keys():
            record = TableRecord(name, self._number, "begun", TableStart(), "")
            self._sides.journal.write_table(self._sides.target, record)
        for chosen in self._passes:
            for name in list(chosen):
                now = after.tables.get(name)
                if now is None or now.fingerprint != self._inventory.tables[name].fingerprint:
                    chosen.remove(name)
                    self._reports[name].state = "again"
                    self._reports[name].note = "its definition changed while the snapshot was taken"
                    self._sides.log.info("%s is left to another round: %s", name, self._reports[name].note)

    # -- copying -----------------------------------------------------------------------------------------------------

    def copy(self) -> None:
        """Carry the rows. Raises what made a worker give up."""
        try:
            for chosen in self._passes:
                self._sides.observer.phase("copying")
                tasks = self._tasks(chosen)
                board = self._work(tasks)
                for task, why in board.again:
                    self._sides.log.info("%s is left to another round: %s", task.name, why)
                if board.error is not None:
                    raise board.error
                if self._low is not None:  # only the first pass has a snapshot
                    for reader in self._readers:
                        if reader.is_open() and reader.has_snapshot:
                            reader.close_snapshot()
        finally:
            for reader in self._readers:
                reader.close()

    def _tasks(self, chosen: Iterable[TableName]) -> list[TableTask]:
        sides = self._sides
        shared = {name for names in sides.tables.merged(self._inventory.tables) for name in names}
        tasks = []
        for name in chosen:
            table, record = self._inventory.tables[name], self._records[name]
            if not table.has_rows:
                record.status = "done"
                sides.journal.write_table(sides.target, record)
                self._reports[name].state = "done"
                self._reports[name].note = f"{table.engine.upper()} has no rows of its own"
                continue
            replace = name in self._step.on or name in shared or self._low is not None or not table.is_transactional
            tasks.append(
                sides.tables.task(table, record, self._reports[name], replace=replace, is_shared=name in shared)
            )
        return tasks

    def _work(self, tasks: Sequence[TableTask]) -> RoundTasks:
        sides = self._sides
        board = RoundTasks(tasks, sides.observer)
        keywords = sides.settings.target.connect_keywords()
        threads: list[threading.Thread] = []
        for reader in self._readers:
            if not reader.is_open():
                continue
            worker = CopyWorker(
                board,
                reader=reader,
                writer=ChunkWriter(
                    lambda: TargetWriter(keywords, key=sides.settings.target.key, schema=sides.settings.state_schema),
                    stop=sides.stop,
                    log=sides.log,
                ),
                journal=sides.journal,
                prepare=sides.tables.prepare,
                finish=lambda task: sides.tables.finish(task, self._records[task.name], sides.own),
                empty=lambda task: sides.tables.empty(task, sides.own),
                brake=sides.throttle,
                stop=sides.stop,
                log=sides.log,
            )
            threads.append(threading.Thread(target=worker.run, name=f"copy-{len(threads)}"))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return board
