"""A whole copy: own the streams, read what there is, copy it round by round, and say where replay goes on."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.apply.mark import MarkedConnection
from pydbsync.apply.table_start import ALL_TABLES, TableStart
from pydbsync.backoff import Backoff
from pydbsync.config.settings import Settings
from pydbsync.engine.routing import router_from, row_settings
from pydbsync.errors import ConfigError, OperationError, PermanentError, Stopped, TransientError
from pydbsync.model import TableName
from pydbsync.ops.conditions import misnamed
from pydbsync.ops.copy.definitions import (
    Builder,
    Inventory,
    read_definition,
    read_inventory,
    unreadable_rows,
)
from pydbsync.ops.copy.fields import Carriage
from pydbsync.ops.copy.journal import CopyJournal, RunRecord, TableRecord
from pydbsync.ops.copy.markers import Markers, marker_table
from pydbsync.ops.copy.one_round import OneRound, Sides
from pydbsync.ops.copy.options import CopiedTable, CopyObserver, CopyOptions, CopyReport
from pydbsync.ops.copy.own_tables import OwnTables
from pydbsync.ops.copy.preview import Preview, broken_checks, expected_cost, preview, refuse, wrong_conditions
from pydbsync.ops.copy.programs import carry_programs, missing_definers, not_wanted, read_programs
from pydbsync.ops.copy.queues import existing_queues
from pydbsync.ops.copy.rounds import plan_round
from pydbsync.ops.copy.routes import CopyTables, row_form, targets_of
from pydbsync.ops.copy.snapshot import SnapshotTaker
from pydbsync.ops.copy.streams import OwnedStreams
from pydbsync.ops.copy.structure_only import make_structure
from pydbsync.ops.copy.throttle import Throttle
from pydbsync.ops.counters import counters_behind, raise_counters
from pydbsync.ops.servers import Servers, read_names
from pydbsync.process.conflict_start import NEEDS_TRANSACTIONS, without_transactions
from pydbsync.route.filters import Filters

MAX_ROUNDS = 20


def run_copy(
    settings: Settings,
    options: CopyOptions,
    *,
    stop: threading.Event | None = None,
    observer: CopyObserver | None = None,
    log: logging.Logger | None = None,
) -> CopyReport:
    """Copy what takes part from the source to the target, and write the checkpoints. After a stop or a kill the same
    call goes on.

    Waits while a server is away, but for the beginning: before anything was begun its absence is an error. Raises
    OperationError, ConfigError, ApplyError, Stopped.
    """
    stop, observer = stop or threading.Event(), observer or CopyObserver()
    log = log or logging.getLogger("pydbsync.copy")
    backoff = Backoff(settings.retry.first_s, settings.retry.max_s)
    began, is_begun, told = time.monotonic(), False, ""
    former: tuple[int, CopyReport] | None = None
    while True:
        copy: Copy | None = None
        tried_at = time.monotonic()
        try:
            copy = Copy(settings, options, stop=stop, observer=observer, log=log)
            report = copy.run(former)
            report.seconds = time.monotonic() - began
            return report
        except TransientError as exc:
            is_begun = is_begun or (copy is not None and copy.is_begun)
            if not is_begun:
                raise
            if copy is not None and copy.is_begun:
                former = copy.run_id, copy.report
            text = f"the copy waits, and goes on by itself: {exc}"
            if text != told:
                told = text
                observer.note(text)
                log.warning("%s", text)
            if time.monotonic() - tried_at > settings.retry.max_s:
                backoff.reset()
            options = msgspec.structs.replace(options, restart=False)
            if backoff.wait(stop):
                raise Stopped("stopped while a server was away; the same command goes on with the copy") from exc
        finally:
            if copy is not None:
                copy.close()


def preview_copy(settings: Settings, options: CopyOptions, *, log: logging.Logger | None = None) -> Preview:
    """What `run_copy` would do, without doing any of it. Raises OperationError, ConfigError, ApplyError."""
    copy = Copy(
        settings, options, stop=threading.Event(), observer=CopyObserver(),
        log=log or logging.getLogger("pydbsync.copy"),
    )  # fmt: skip
    try:
        return copy.preview()
    finally:
        copy.close()


class Copy:
    """One run. `report` can be read at any time."""

    def __init__(
        self, settings: Settings, options: CopyOptions, *, stop: threading.Event, observer: CopyObserver,
        log: logging.Logger,
    ) -> None:  # fmt: skip
        if settings.source is None:
            raise ConfigError("is missing: where to copy from", key="source_db_info")
        self._settings = settings
        self._options = options
        self._stop = stop
        self._observer = observer
        self._log = log
        self.report = CopyReport()
        self._servers = Servers(settings, stop)
        self._router = router_from(settings)
        self._source = Connection(settings.source.connect_keywords(), key=settings.source.key)
        self._target = MarkedConnection(
            settings.target.connect_keywords(), key=settings.target.key, schema=settings.state_schema, tool="copy"
        )
        for connection in (self._source, self._target):
            connection.execute("SET SESSION wait_timeout = 86400")
        names = options.streams or tuple(queue.stream for queue in settings.queues) or (settings.stream,)
        self._streams = OwnedStreams(self._target, settings.state_schema, names)
        self._journal = CopyJournal(settings.state_schema)
        self._markers = Markers(self._source, marker_table(settings))
        self._taker = SnapshotTaker(
            self._source, locking=options.locking, lock_wait_s=options.lock_wait_s, stop=stop, log=log
        )
        self._throttle = Throttle(settings, options, self._servers, stop=stop, log=log)
        self._start = self._latest = self._default = TableStart()
        self._is_added = False
        self._inventory: Inventory | None = None

    @property
    def is_begun(self) -> bool:
        """Whether the target holds the record of this copy, so that another run goes on with it."""
        return bool(self._journal.run_id)

    def close(self) -> None:
        """Close all connections, and give the streams back with them. Never raises."""
        self._throttle.close()
        self._servers.close()
        self._source.close()
        self._target.close()

    @property
    def run_id(self) -> int:
        """Its number in the journal; 0 before it is begun."""
        return self._journal.run_id

    def run(self, former: tuple[int, CopyReport] | None = None) -> CopyReport:
        """All of it, once; see run_copy. `former` is what was tried before, and its report: the answer to its last
        COMMIT may be all that is missing."""
        self._streams.acquire()
        if former is not None and self._journal.is_done(self._target, former[0]):
            return former[1]
        self.report.streams = self._streams.names
        if self._options.trust_stream and not self._journal.running(self._target) and self._streams.trust():
            self._note("the streams are trusted from now on: replay can start")
            return self.report
        self._is_added = self._adds_tables()
        self._begin_or_go_on()
        if self._options.structure_only:
            return self._make_structure()
        tables = CopyTables(
            self._settings, self._options, self._router, self._servers, self._journal, way=self._way(), log=self._log
        )
        self._copy_rounds(tables)
        self._observer.phase("views, triggers, routines and events")
        self._make_programs()
        self._finish(tables)
        return self.report

    def preview(self) -> Preview:
        """What `run` would do; writes nothing."""
        self._streams.look()
        self._is_added = self._adds_tables()
        inventory = self._read_inventory()
        found = self._preview(inventory)
        kinds, unread = read_programs(self._source, inventory, self._options)
        found.left_out = [*self._left_out(inventory), *unread, *not_wanted(kinds.values())]
        if not self._is_added:
            found.programs = [
                f"{each.kind} {each.name}" for kind in kinds.values() if kind.is_wanted for each in kind.programs
            ]
        try:
            begun = self._journal.running(self._target)
        except PermanentError:  # nothing was ever copied here
            begun = []
        if begun:
            found.notes.append("a copy was begun that is not finished: `copy` goes on with it, `--restart` gives it up")
        standing = self._streams.with_checkpoint()
        if standing and not self._is_added and not self._options.overwrite_checkpoint:
            found.problems.append(_gone_on(standing))
        return found

    def _adds_tables(self) -> bool:
        """Whether tables are copied beside others whose replay goes on."""
        options = self._options
        return bool(options.tables) and not (options.overwrite_checkpoint or options.structure_only) and (
            len(self._streams.with_checkpoint()) == len(self._streams.names)
        )  # fmt: skip

    # -- beginning ---------------------------------------------------------------------------------------------------

    def _begin_or_go_on(self) -> None:
        described = {
            **self._options.described(),
            "streams": " ".join(self._streams.names),
            "added": "yes" if self._is_added else "",
        }
        identity = {"server": self._identity(), **self._streams.commits()}
        runs = [run for run in self._journal.running(self._target) if run.options["streams"] == described["streams"]]
        if runs and self._options.restart:
            for run in runs:
                self._give_up(run)
            runs = []
        if not runs:
            self._refuse_what_is_there()
            if self._is_added and not self._options.watermark:
                self._streams.refuse_passed(self._taker.place_now())
            self._refuse_what_cannot_be_made()
            self._journal.begin(self._target, described, identity)
            return
        run = runs[-1]
        if run.options != described:
            differing = ", ".join(name for name in described if run.options.get(name) != described[name])
            raise OperationError(
                f"a copy with other options was begun ({differing}): finish it with them, or give it up with --restart"
            )
        if run.source != identity:
            raise OperationError(
                "a copy was begun from another source, or changes were replayed since: give it up with --restart"
            )
        self._journal.run_id = run.id
        self._start, self._latest, self._default = run.start, run.latest, run.default
        self.report.rounds = run.rounds
        self.report.is_resumed = True
        self._log.info("going on with the copy that was begun, run %d", run.id)

    def _identity(self) -> str:
        variable = "@@server_id" if self._source.dialect.is_mariadb else "@@server_uuid"
        return f"{self._source.value(f'SELECT {variable}')} {self._source.value('SELECT @@port')}"

    def _refuse_what_is_there(self) -> None:
        if self._options.structure_only:
            return
        self._streams.refuse_parked()
        standing = self._streams.with_checkpoint()
        if standing and not self._is_added and not self._options.overwrite_checkpoint:
            raise OperationError(_gone_on(standing))

    def _give_up(self, run: RunRecord) -> None:
        """Drop what the run has made, or empty what it has kept, and forget it."""
        self._journal.run_id = run.id
        fed = {
            each.name for name in self._journal.tables(self._target)
            for each in targets_of(self._settings, self._router, name)
        }  # fmt: skip
        for name in OwnTables(self._target, self._journal, self._builder()).remove_all():
            self._note(f"{name} is left at the target as it is: it is not the table that the copy made")
        self._streams.give_back(fed)
        self._journal.end(self._target, run.id, "given up")
        self._journal.run_id = 0

    def _refuse_what_cannot_be_made(self) -> None:
        inventory = self._read_inventory()
        found = self._preview(inventory)
        for note in found.notes:
            self._note(note)
        if found.problems:
            # What has to be made by hand shall find its database, with the source's character set.
            builder = self._builder()
            for name, create_sql in inventory.databases.items():
                builder.make_database(name, create_sql)
        refuse(found.problems)

    def _preview(self, inventory: Inventory) -> Preview:
        builder = self._builder()
        found = preview(
            self._source, self._target, inventory, own=OwnTables(self._target, self._journal, builder),
            builder=builder, targets=lambda name: targets_of(self._settings, self._router, name),
            form=lambda source, target: row_form(self._settings, self._router, source, target),
            existing=self._options.existing, is_added=self._is_added,
        )  # fmt: skip
        if not (inventory.tables or inventory.views or inventory.sequences):
            found.problems.append(
                "there is nothing to copy: the source has no table that takes part, or shows its user none: grant it"
                " SELECT, or see include, exclude and --tables"
            )
        found.problems += misnamed(
            self._settings, read_names(self._source, of_all_kinds=True),
            tables=self._options.tables, exclude=self._options.exclude,
            chosen=[*inventory.tables, *inventory.views, *inventory.sequences], done="copied",
        )  # fmt: skip
        found.problems += self._unmarkable(inventory, found)
        if not self._options.structure_only:
            found.problems += unreadable_rows(self._source, inventory.tables.values())
            found.problems += broken_checks(
                self._source, self._target, self._filled_as_they_are(inventory, found), self._options
            )
        self._tell_company(found)
        found.problems += wrong_conditions(self._source, inventory, self._options)
        found.notes += expected_cost(inventory, self._options)
        if not self._is_added:
            found.notes += missing_definers(self._source, self._target, inventory, self._options)
        return found

    def _filled_as_they_are(self, inventory: Inventory, found: Preview) -> list[TableName]:
        """The source tables that are made at the target, and get their rows without a route."""
        made = {*found.made, *found.dropped}
        return [
            name for name, table in inventory.tables.items()
            if table.has_rows and row_settings(self._settings, self._router, name) is None
            and any(each.name in made for each in targets_of(self._settings, self._router, name))
        ]  # fmt: skip

    def _unmarkable(self, inventory: Inventory, found: Preview) -> list[str]:
        """Where replay goes both ways, tables whose copied rows would come back as if others had written them."""
        if self._settings.two_way is None:
            return []
        names = [f"{name} of the source" for name, table in inventory.tables.items() if not table.is_transactional]
        names += [f"{name} of the target" for name in without_transactions(self._target, found.filled)]
        return [
            f"{name} has no transactions: with two_way what copy writes there would come back as what others write;"
            f" {NEEDS_TRANSACTIONS}"
            for name in names
        ]

    def _tell_company(self, found: Preview) -> None:
        """Tables that would be made or filled anew although streams of other servers feed them too."""
        servers = {*self._taker.server_ids()} - {0}
        emptied = [*found.dropped, *(found.filled if self._is_added else ())]
        for name in emptied:
            others = self._streams.others(name, servers)
            if not others:
                continue
            fed = f"{name} at the target is fed from another server too, by {', '.join(others)}"
            if self._options.existing == "drop":
                found.notes.append(f"{fed}: it is dropped with those rows")
            else:
                found.problems.append(
                    f"{fed}: copied anew it would lose those rows; mend it by verify and repair, or drop it with"
                    " --existing drop and copy the other server's rows too"
                )

    def _builder(self) -> Builder:
        ts = int(self._source.value("SELECT UNIX_TIMESTAMP()"))
        return Builder(self._target, self._settings, self._router, source_server=self._source.dialect.server, ts=ts)

    def _way(self) -> Carriage:
        if self._options.loading == "insert":
            return Carriage.INSERT
        if int(self._target.value("SELECT @@local_infile")):
            return Carriage.LOAD
        if self._options.loading == "load":
            raise OperationError("local_infile is off at the target: SET GLOBAL local_infile = 1, or copy with INSERT")
        self._note(
            "local_infile is off at the target, so rows are inserted; SET GLOBAL local_infile = 1 there makes it faster"
        )
        return Carriage.INSERT

    def _make_structure(self) -> CopyReport:
        builder = self._builder()
        inventory = self._inventory = self._read_inventory()
        self.report.left_out = self._left_out(inventory)
        self.report.tables = make_structure(
            inventory, own=OwnTables(self._target, self._journal, builder), builder=builder,
            targets=lambda name: [each.name for each in targets_of(self._settings, self._router, name)],
            existing=self._options.existing, has_sequences=self._target.dialect.is_mariadb,
        )  # fmt: skip
        self._make_programs()
        for note in builder.notes:
            self._note(note)
        self._journal.end(self._target, self._journal.run_id, "done")
        return self.report

    # -- rounds ------------------------------------------------------------------------------------------------------

    def _copy_rounds(self, tables: CopyTables) -> None:
        builder = self._builder()
        sides = Sides(
            settings=self._settings, options=self._options, source=self._source, target=self._target, tables=tables,
            journal=self._journal, builder=builder, observer=self._observer, stop=self._stop, log=self._log,
            throttle=self._throttle,
            taker=self._taker,
            markers=self._markers, own=OwnTables(self._target, self._journal, builder), is_added=self._is_added,
        )  # fmt: skip
        if not self.report.is_resumed or not self._has_snapshot():
            self._mark_before()
        for _ in range(MAX_ROUNDS):
            records = self._journal.tables(self._target)
            if records and all(record.status != "begun" for record in records.values()):
                if self._inventory is None:
                    self._inventory = self._read_inventory()
                    self._report_tables(tables, self._inventory, records)
                break
            low = self._markers.write() if self._options.watermark else None
            default = low or self._taker.place_now()
            self._observer.phase("reading the structure")
            inventory = self._inventory = self._read_inventory(records)
            found = {name: table.fingerprint for name, table in inventory.tables.items()}
            step = plan_round(
                found, records if self._has_snapshot() else {}, converges=tables.converges,
                tied=tables.tied({*found, *records}),
            )  # fmt: skip
            if not step:
                break
            self._report_tables(tables, inventory, records)
            self.report.rounds += 1
            one = OneRound(
                sides, number=self.report.rounds, inventory=inventory, step=step, records=records,
                reports={table.name: table for table in self.report.tables}, low=low,
            )  # fmt: skip
            self._streams.feed(
                (target.name for name in step.anew for target in tables.targets(name)),
                {*self._taker.server_ids()} - {0},
            )
            start = one.open(self._read_inventory)
            if not self._has_snapshot():
                self._start = start
            self._latest, self._default = start, default
            self._journal.set_start(self._target, self._start, start, default, self.report.rounds)
            self.report.lock_s += one.lock_s
            one.copy()
            if self._stop.is_set():
                raise Stopped("the copy was stopped; the same command goes on with it")
        else:
            raise OperationError(
                f"after {MAX_ROUNDS} snapshots tables are still unfinished, as their definitions keep changing: copy"
                " when no schema change is under way"
            )
        for note in sides.builder.notes:
            self._note(note)

    def _has_snapshot(self) -> bool:
        return bool(self._start.base or self._start.marker)

    def _mark_before(self) -> None:
        """A row before the snapshot: it comes along in every stream that begins early enough, and so proves it."""
        proven = self._options.trust_stream or self._is_added
        read_only = self._taker.read_only()
        if read_only:
            # A row written by a user who may all the same would be the replica's alone.
            self._mark_nothing(read_only, proven=proven)
            return
        try:
            self._markers.ensure()
            if not self._options.watermark:
                self._markers.write()
        except PermanentError as exc:
            if self._options.watermark:
                raise OperationError(
                    f"--watermark writes to {self._markers.table} at the source, and may not ({exc}); grant the user"
                    " CREATE and INSERT there, or copy without it"
                ) from exc
            self._note(
                f"no marker could be written to {self._markers.table} at the source ({exc}; it needs CREATE and"
                f" INSERT there): replay starts once a"
                " message comes that is older than the copy"
            )
        queues = existing_queues(self._settings) if not self._options.streams else set()
        self._streams.begin(self._journal.run_id, self._markers.table, queues, proven=proven)

    def _mark_nothing(self, read_only: str, *, proven: bool) -> None:
        if self._options.watermark:
            raise OperationError(
                f"--watermark writes to {self._markers.table} at the source, which is read-only ({read_only}); copy"
                " without it, or from a server that can be written to"
            )
        if not proven:
            self._note(
                f"the source is read-only ({read_only}), so that no marker was written to {self._markers.table}: replay"
                " starts once a message comes that is older than the copy, or when `copy --trust-stream` says that the"
                " stream begins early enough"
            )
        self._streams.begin(self._journal.run_id, self._markers.table, set(), proven=proven)

    def _read_inventory(self, known: Mapping[TableName, TableRecord] | None = None) -> Inventory:
        """What the source has. A table that was `known` counts as gone only if SHOW CREATE, which waits for the end of
        a schema change, says so too: MariaDB's catalogue misses a table for a moment while it is altered."""
        database, _, table = self._settings.heartbeat_table.partition(".")
        own = (TableName(database, table), self._markers.table)
        chosen = Filters(include=self._options.tables, exclude=self._options.exclude)
        while True:
            found = read_inventory(
                self._source, self._router, chosen=chosen, own=own, with_empty=not self._options.tables,
                to_mariadb=self._target.dialect.is_mariadb,
            )  # fmt: skip
            refuse(found.unreadable)
            missing = [n for n, record in (known or {}).items() if record.status != "gone" and n not in found.tables]
            if all(read_definition(self._source, name) is None for name in missing):
                return found
            if self._stop.wait(0.1):
                raise Stopped("stopped while the structure was read")

    def _report_tables(
        self, tables: CopyTables, inventory: Inventory, records: Mapping[TableName, TableRecord]
    ) -> None:
        known = {table.name: table for table in self.report.tables}
        for name, table in inventory.tables.items():
            if name not in known:
                known[name] = CopiedTable(
                    name=name, targets=tuple(target.name for target in tables.targets(name)),
                    estimated_rows=table.estimated_rows,
                )  # fmt: skip
                record = records.get(name)
                if record is not None and record.status == "done":
                    known[name].state, known[name].rows = "done", record.rows
                    known[name].size_bytes = record.size_bytes
        self.report.tables = [known[name] for name in sorted(known) if name in inventory.tables]
        self.report.left_out = self._left_out(inventory)
        self._observer.began(self.report)

    def _left_out(self, inventory: Inventory) -> list[str]:
        sequences = [] if self._target.dialect.is_mariadb else inventory.sequences
        return [*inventory.left_out, *(f"the sequence {name}: MySQL has none" for name in sequences)]

    # -- ending ------------------------------------------------------------------------------------------------------

    def _make_programs(self) -> None:
        if self._is_added:
            return
        inventory = self._inventory or self._read_inventory()
        carry_programs(self._source, self._target, inventory, self._options, self._settings, self._router, self.report)

    def _finish(self, tables: CopyTables) -> None:
        records = self._journal.tables(self._target)
        inventory = self._inventory
        self._raise_counters()
        without = [
            name for name, record in records.items()
            if record.status == "done" and inventory and name in inventory.tables
            and not inventory.tables[name].is_transactional and inventory.tables[name].has_rows
        ]  # fmt: skip
        self.report.unproven = [name for name in without if not tables.converges(name)]
        if self._options.watermark:
            end = self._markers.write()
        elif without:
            end = self._taker.place_now()
        else:
            end = self._latest
        default = self._default if self.report.rounds > 1 else self._start
        starts = starts_of(records, self._start, default, is_added=self._is_added)
        server_id = None if self._options.watermark else self._taker.server_id()
        self.report.place, self.report.end_place = place_text(self._start), place_text(end)
        self.report.gtids = self._start.gtids
        with self._target.transaction():
            self._streams.finish(self._start, starts, server_id=server_id, end=end, is_added=self._is_added)
            self._journal.end(self._target, self._journal.run_id, "done")

    def _raise_counters(self) -> None:
        """The source may have given out higher numbers than the copied rows have."""
        inventory = self._inventory or self._read_inventory()
        taken = {*inventory.tables, *inventory.sequences}

        def targets(name: TableName) -> list[TableName]:
            found = targets_of(self._settings, self._router, name) if name in taken else ()
            return [each.name for each in found]

        try:
            raise_counters(self._target, counters_behind(self._source, self._target, targets))
        except PermanentError as exc:
            self._note(f"the next numbers of the target are behind the source's ({exc}): see `pydbsync counters`")
        if inventory.sequences and self._target.dialect.is_mariadb:
            listed = ", ".join(map(str, inventory.sequences))
            self._note(f"replay does not move sequences ({listed}): at the switch run `pydbsync counters --apply`")

    def _note(self, text: str) -> None:
        if text not in self.report.notes:
            self.report.notes.append(text)
            self._observer.note(text)
            self._log.info("%s", text)


def _gone_on(streams: Sequence[str]) -> str:
    return (
        f"replay has gone on in {', '.join(streams)} already: name --tables to copy some of them anew, or"
        " --overwrite-checkpoint to copy everything anew"
    )


def starts_of(
    records: Mapping[TableName, TableRecord], first: TableStart, default: TableStart, *, is_added: bool
) -> dict[TableName, TableStart]:
    """From where on what is said of each table is new to the target, where that is not the checkpoint itself.

    `first` belongs to the first snapshot, `default` is what was known before the last one. A table that no record
    names was made behind `default`, or it was made and has gone again before.
    """
    if not is_added and first == default and all(record.start == first for record in records.values()):
        return {ALL_TABLES: first} if first.marker else {}
    found = {name: record.start for name, record in records.items()}
    if is_added:
        return found
    found[ALL_TABLES] = default
    for database in {name.database for name in records}:
        starts = _distinct(record.start for name, record in records.items() if name.database == database)
        # A database all of whose tables were read anew may itself have been dropped and made again.
        found[TableName(database, "")] = starts[0] if len(starts) == 1 else first
    return found


def _distinct(starts: Iterable[TableStart]) -> list[TableStart]:
    seen: list[TableStart] = []
    for start in starts:
        if start not in seen:
            seen.append(start)
    return seen


def place_text(start: TableStart) -> str:
    """`binlog.000002:1924195`, or the marker's number."""
    if not start.base:
        return f"marker {start.marker}" if start.marker else ""
    return f"{start.base}.{start.place.file:06d}:{start.place.offset}"
