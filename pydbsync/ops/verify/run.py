"""A whole run of verify: every pair of tables, its structure and its rows, into one report."""

from __future__ import annotations

import datetime as dt
import hashlib
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import NamedTuple

import msgspec

from pydbsync.apply.server_errors import SLOW_CODES
from pydbsync.config.settings import Settings
from pydbsync.engine.routing import router_from
from pydbsync.errors import ApplyError, OperationError, PermanentError, Stopped, TransientError
from pydbsync.model import TableName
from pydbsync.ops.brake import Brake, LoadLimits
from pydbsync.ops.conditions import described, misnamed, without_column, without_table
from pydbsync.ops.counters import behind_of
from pydbsync.ops.servers import Server, Servers, read_column_names, read_names
from pydbsync.ops.verify.compare import CompareOptions, TableComparison
from pydbsync.ops.verify.definition import read_definition
from pydbsync.ops.verify.explain import explained
from pydbsync.ops.verify.matching import TableSides, is_ignored, open_sides
from pydbsync.ops.verify.pairs import Pairs, TablePair, find_pairs, names_of_both
from pydbsync.ops.verify.place import Streams
from pydbsync.ops.verify.report import (
    TableProgress,
    TableReport,
    VerifyReport,
    new_table_report,
    read_report,
    write_report,
)
from pydbsync.ops.verify.rules import not_compared
from pydbsync.ops.verify.settle import SettleOptions, Settler
from pydbsync.ops.verify.structure import left_uncompared, structure_differences
from pydbsync.plan.quoting import quote_name, quote_table

_SAVE_EVERY_S = 5.0
_ALTERED_CODES = (1054, 1146, 1176)
"""What a query says of a column, a table or an index that went away since it was looked for."""
_DENIED_CODES = (1044, 1142)
_TIME_KINDS = frozenset({"date", "datetime", "timestamp"})
_ATTEMPTS = 5
"""How often a table is begun that is altered while it is compared."""
_OF_ONE_BRAND = ["between MySQL and MariaDB: collations, SRIDs, parsers, falling and unused indexes"]
IGNORED = "ignored columns"
"""The option of a report whose differences say nothing of some columns."""


class _Altered(OperationError):
    """A table is not any more as it was when its comparison began."""


class _CompareJob(NamedTuple):
    """What one thread compares tables with."""

    servers: Servers
    settler: Settler
    brake: Brake
    tables: list[TableName]
    """Of the source, those of the pair that is being compared."""


class VerifyOptions(msgspec.Struct, frozen=True):
    """What the command line says."""

    tables: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    """Globs of source names that are left out."""
    ignored: tuple[str, ...] = ()
    """Columns that are not compared, `column` or `database.table.column`."""
    jobs: int = 1
    """Tables that are compared at the same time."""
    compare: CompareOptions = CompareOptions()
    settle: SettleOptions = SettleOptions()
    limits: LoadLimits = LoadLimits()
    data_only: bool = False
    is_shared: bool = False
    """Other sources write to the target's tables too."""
    streams: tuple[str, ...] = ()
    """Whose checkpoints count; empty for those of the configuration's queues."""
    report: Path | None = None
    restart: bool = False
    """Begin anew, whatever the report holds."""
    continuous: bool = False

    def described(self) -> dict[str, str]:
        """What decides on the outcome; a report that was begun goes on only with the same."""
        since = self.compare.since
        return {
            "tables": " ".join(self.tables) or "all",
            "left out": " ".join(self.exclude),
            IGNORED: " ".join(self.ignored),
            "where": described(self.compare.where),
            "sample": f"{self.compare.sample_percent:g} %",
            "since": f"{since.column} >= {since.value}" if since else "",
            "structure": "no" if self.data_only else "yes",
            "shared target": "yes" if self.is_shared else "no",
            "limit of differences a table": str(self.compare.max_differences),
        }


class Verification:
    """Compares all pairs, `jobs` of them at the same time; `report` can be read at any time."""

    def __init__(
        self,
        settings: Settings,
        options: VerifyOptions,
        *,
        stop: threading.Event,
        log: logging.Logger,
        on_progress: Callable[[TableReport], None] = lambda report: None,
    ) -> None:
        self._settings = settings
        self._options = options
        self._stop = stop
        self._log = log
        self._on_progress = on_progress
        self._servers = Servers(settings, stop)
        source, target = self._servers.source, self._servers.target
        # Connections of their own, so that a look at the places does not wait for a chunk.
        self._watching = (source.another(), target.another())
        self._streams = Streams(settings, *self._watching, streams=options.streams)
        self._saved_at = float("-inf")
        self._report_lock = threading.RLock()
        self.report = VerifyReport(
            source=settings.source.address if settings.source else "",
            target=settings.target.address,
            options=options.described(),
            started_at=_now(),
        )

    def run(self) -> VerifyReport:
        """The report, whole or, after a stop, as far as it came.

        Raises ConfigError, OperationError if there is nothing to compare, TransientError if a server stays away.
        """
        self._resume()
        try:
            while True:
                self._run_round()
                self.report.rounds += 1
                self.report.finished_at = _now()
                self._save()
                if not self._options.continuous:
                    break
        except Stopped:
            self._log.info("stopped; what was compared so far is in the report")
        finally:
            self._save()
            self._close()
        return self.report

    def _resume(self) -> None:
        path = self._options.report
        if path is None or self._options.restart or not path.exists():
            return
        former = read_report(path)
        if former.finished_at or self._options.continuous:
            return
        mine = self.report
        if (former.source, former.target, former.options) != (mine.source, mine.target, mine.options):
            raise OperationError(
                f"{path} is the report of an unfinished run with other servers or options; give --restart to begin anew"
            )
        self._log.info("going on with the unfinished run of %s", former.started_at)
        self.report = former

    def explain(self) -> Iterator[str]:
        """What would be done with each table, and the statements; no row is read. Raises as `run`."""
        found = self._find_pairs()
        try:
            for pair in found.missing:
                yield f"{pair.label}: the target has no such table"
            for name in found.extra:
                yield f"{name}: the source has no such table"
            for pair in found.pairs:
                try:
                    yield from explained(self._open(pair, self._servers), self._options.compare)
                except (ApplyError, OperationError) as exc:
                    yield f"{pair.label}: could not be compared: {exc}"
        finally:
            self._close()

    def _close(self) -> None:
        self._servers.close()
        for server in self._watching:
            server.close()

    def _find_pairs(self) -> Pairs:
        options = self._options
        found = find_pairs(
            self._settings,
            router_from(self._settings),
            self._servers.source,
            self._servers.target,
            tables=options.tables,
            exclude=options.exclude,
            is_shared=options.is_shared,
        )
        if not (found.pairs or found.missing or found.extra):
            self._refuse_misnamed(found)
            raise OperationError("there is nothing to compare: the source has no table that takes part")
        if self.report.rounds == 0:
            self._refuse_misnamed(found)
        return found

    def _refuse_misnamed(self, found: Pairs) -> None:
        """Raises OperationError for options that name nothing."""
        options = self._options
        sources = [part.name for pair in (*found.pairs, *found.missing) for part in pair.sources]
        origins = {target: name for name, target in self._settings.dbname_rewrite.items()}
        # What only the target has is named as the source would call it.
        present = read_names(self._servers.source)
        there = [TableName(origins.get(n.database, n.database), n.table) for n in read_names(self._servers.target)]
        gone = [TableName(origins.get(name.database, name.database), name.table) for name in found.extra]
        wrong = misnamed(
            self._settings, present, tables=options.tables, exclude=options.exclude, chosen=[*sources, *gone],
            done="compared", absent=there,
        )  # fmt: skip
        compared = [part.name for pair in found.pairs for part in pair.sources]
        wrong += without_table(options.compare.where, compared, done="compared")
        since = options.compare.since
        if compared and (options.ignored or since):
            columns = read_column_names(self._servers.source, compared)
            columns |= read_column_names(self._servers.target, [pair.target for pair in found.pairs])
            wrong += without_column(options.ignored, columns, option="--ignore-columns")
            wrong += without_column([since.column] if since else [], columns, option="--since")
        if wrong:
            raise OperationError("; ".join(wrong))

    def _open(self, pair: TablePair, servers: Servers) -> TableSides:
        return open_sides(pair, self._settings, servers.source, servers.target, ignored=self._options.ignored)

    def _new_job(self) -> _CompareJob:
        limits, jobs = self._options.limits, self._options.jobs
        tables: list[TableName] = []
        brake = Brake(
            msgspec.structs.replace(limits, rows_per_s=limits.rows_per_s / jobs),
            servers=(("source", self._watching[0]), ("target", self._watching[1])),
            lag_s=lambda: self._streams.lag_s(tables),
            stop=self._stop,
            log=self._log,
        )
        settler = Settler(self._streams, self._options.settle, self._stop)
        return _CompareJob(Servers(self._settings, self._stop), settler, brake, tables)

    def _run_round(self) -> None:
        found = self._find_pairs()
        if not self._options.data_only:
            databases = {part.name.database for pair in (*found.pairs, *found.missing) for part in pair.sources}
            self.report.not_compared = not_compared(self._servers.source, databases)
            if self._servers.source.dialect.is_mariadb != self._servers.target.dialect.is_mariadb:
                self.report.not_compared += _OF_ONE_BRAND
        self._note_absent(found)
        waiting: queue.SimpleQueue[tuple[TablePair, TableReport]] = queue.SimpleQueue()
        for pair in found.pairs:
            former = self.report.table(pair.target)
            if former is not None and former.status != "unfinished" and not self._options.continuous:
                continue
            has_begun = former is not None and former.progress is not None
            entry = former if former is not None and has_begun else new_table_report(pair)
            if self.report.table(pair.target) is None:
                self._put(entry)
            waiting.put((pair, entry))
        jobs = min(self._options.jobs, waiting.qsize())
        with ThreadPoolExecutor(max_workers=max(1, jobs)) as pool:
            for work in [pool.submit(self._work, waiting) for _ in range(jobs)]:
                work.result()
        if not self._options.data_only:
            self._look_at_counters()
        known = {pair.target for pair in (*found.pairs, *found.missing)} | set(found.extra)
        self.report.tables = [table for table in self.report.tables if table.target in known]

    def _look_at_counters(self) -> None:
        try:
            behind = behind_of(self._settings, self._servers)
        except PermanentError as exc:
            self._log.warning("the next numbers of both sides could not be compared: %s", exc)
            return
        self.report.counters = [
            each.statement for each in behind if each.kind == "sequence" or self.report.table(each.name) is not None
        ]

    def _note_absent(self, found: Pairs) -> None:
        for pair in found.missing:
            entry = new_table_report(pair)
            self._note_missing(entry, self._servers.target, pair.target)
            entry.close()
            self._put(entry)
        for name in found.extra:
            entry = TableReport(target=name, sources=[])
            self._note_missing(entry, self._servers.source, name)
            entry.close()
            self._put(entry)

    def _note_missing(self, entry: TableReport, server: Server, name: TableName) -> None:
        """The catalogue shows no table of which the user has no right."""
        which = "target" if server is self._servers.target else "source"
        try:
            server.rows(f"SELECT 1 FROM {quote_table(name)} LIMIT 0")
        except PermanentError as exc:
            if exc.code in _DENIED_CODES:
                entry.error = (
                    f"the {which} has no such table, or does not show it to the user: grant SELECT on it ({exc})"
                )
                return
        entry.structure = [f"the {which} has no such table"]

    def _work(self, waiting: queue.SimpleQueue[tuple[TablePair, TableReport]]) -> None:
        """Compare tables until there are none; what goes wrong for good ends the work of all."""
        job = self._new_job()
        try:
            while True:
                try:
                    pair, entry = waiting.get_nowait()
                except queue.Empty:
                    return
                self._run_table(pair, entry, job)
        except BaseException:
            self._emptied(waiting)
            raise
        finally:
            job.servers.close()

    def _emptied(self, waiting: queue.SimpleQueue[tuple[TablePair, TableReport]]) -> None:
        with suppress(queue.Empty):
            while True:
                waiting.get_nowait()

    def _run_table(self, pair: TablePair, entry: TableReport, job: _CompareJob) -> None:
        started = time.monotonic()
        job.tables[:] = [part.name for part in pair.sources]
        try:
            for attempt in range(1, _ATTEMPTS + 1):
                try:
                    self._compare(pair, entry, job)
                    break
                except (PermanentError, _Altered) as exc:
                    is_altered = isinstance(exc, _Altered) or exc.code in _ALTERED_CODES
                    if not is_altered or attempt == _ATTEMPTS:
                        raise
                    self._log.info("%s was altered while it was compared, and is begun anew (%s)", pair.target, exc)
                    entry = new_table_report(pair)
                    self._put(entry)
        except TransientError as exc:
            if exc.code not in SLOW_CODES:
                raise
            entry.error = f"the server ends what takes long, however small the piece: {exc}"
        except (ApplyError, OperationError) as exc:
            entry.error = str(exc)
        finally:
            entry.elapsed_s = round(entry.elapsed_s + time.monotonic() - started, 3)
        if entry.status == "unfinished":
            entry.close()
        self.report.place_note = self._streams.why_unknown if any(t.unproven for t in self.report.tables) else ""
        self._put(entry)
        self._tell(entry)
        self._save()

    def _compare(self, pair: TablePair, entry: TableReport, job: _CompareJob) -> None:
        sides = self._open(pair, job.servers)
        self._refuse_other_shape(entry, sides)
        self._describe(entry, sides)
        if entry.structure:  # a schema change may be on its way
            self._tell(entry)
            job.settler.catch_up(job.tables)
            sides = self._open(pair, job.servers)
            self._describe(entry, sides)
        if not self._is_skipped(entry, sides):
            comparison = TableComparison(
                sides,
                entry,
                self._options.compare,
                settler=job.settler,
                brake=job.brake,
                on_progress=self._tell,
            )
            comparison.run()
            if _shape(sides) != _shape(self._open(pair, job.servers)):  # values are spelled by the columns' types
                raise _Altered(f"{pair.target} was altered while it was compared; verify it again")

    def _refuse_other_shape(self, entry: TableReport, sides: TableSides) -> None:
        """A run goes on behind a place in the order of a key: not where that is another key by now, or sorts otherwise.
        Raises _Altered."""
        conditions = [part.condition for part in sides.pair.sources]
        told = repr((sides.pair.label, conditions, _shape(sides)))
        shape = hashlib.sha256(told.encode("utf-8", "surrogatepass")).hexdigest()
        if entry.progress is not None and entry.progress.shape != shape:
            raise _Altered(f"{sides.pair.target} was altered while it was compared; verify it again")
        if sides.has_key:
            entry.progress = entry.progress or TableProgress(shape=shape)

    def _describe(self, entry: TableReport, sides: TableSides) -> None:
        """Everything about the table but its rows."""
        entry.columns = [column.name for column in sides.columns]
        entry.key = list(sides.key_names)
        entry.notes = [] if sides.has_key else ["no key that both sides share: rows are compared as a multiset"]
        ignored = self._ignored(sides)
        if ignored:
            entry.notes.append(f"not compared: {', '.join(sorted(ignored))}")
        entry.parked = self._count_parked(sides.pair)
        entry.structure = []
        if self._options.data_only:
            return
        if any(
            schema.rows_sql and part.route and part.route.has_columns
            for schema, part in zip(sides.source_schemas, sides.pair.sources, strict=True)
        ):
            entry.notes.append("its structure is not compared: a route makes other columns of it")
            return
        ends = (sides.source.server, sides.target.server)
        at_source, at_target = names_of_both(*ends, router_from(self._settings).rename_table)
        target = ends[1].call(partial(read_definition, schema=sides.target_schema, rename=at_target)).without(ignored)
        for schema in sides.source_schemas:
            source = ends[0].call(partial(read_definition, schema=schema, rename=at_source)).without(ignored)
            for text in structure_differences(
                source,
                target,
                across_brands=sides.across_brands,
                allows_own_columns=self._settings.apply_mode != "replace",
            ):
                if text not in entry.structure:
                    entry.structure.append(text)
            left = left_uncompared(source, target, across_brands=sides.across_brands)
            entry.notes += [text for text in left if text not in entry.notes]

    def _ignored(self, sides: TableSides) -> set[str]:
        """The columns of a table that are left out, in lower case."""
        compared = {column.name.lower() for column in sides.columns}
        return {
            column.name.lower()
            for schema in (*sides.source_schemas, sides.target_schema)
            for column in schema.columns
            if column.name.lower() not in compared and is_ignored(schema.name, column.name, self._options.ignored)
        }

    def _is_skipped(self, entry: TableReport, sides: TableSides) -> bool:
        since = self._options.compare.since
        if since is None:
            return False
        found = [column for column in sides.columns if column.name.lower() == since.column.lower()]
        if found and {found[0].source.kind, found[0].target.kind} <= _TIME_KINDS:
            return False
        if found:
            entry.notes.append(f"not compared: its column {since.column} holds no times; --where takes any condition")
        else:
            entry.notes.append(f"not compared: it has no column {since.column}")
        entry.close()
        if entry.status == "equal":
            entry.status = "skipped"
        return True

    def _count_parked(self, pair: TablePair) -> int:
        table = f"{quote_name(self._settings.state_schema)}.`parked`"
        target = self._watching[1]
        try:
            return sum(
                int(
                    target.value(
                        f"SELECT COUNT(*) FROM {table} WHERE status = 'parked' AND source_database = %s"
                        " AND source_table = %s",
                        part.name,
                    )
                )
                for part in pair.sources
            )
        except TransientError:
            raise
        except ApplyError:  # no state schema: the target is not written to by pydbsync, or not yet
            return 0

    def _put(self, entry: TableReport) -> None:
        with self._report_lock:
            self._put_in(entry, self.report.tables)

    def _put_in(self, entry: TableReport, tables: list[TableReport]) -> None:
        for index, table in enumerate(tables):
            if table.target == entry.target:
                tables[index] = entry
                return
        tables.append(entry)

    def _tell(self, entry: TableReport) -> None:
        with self._report_lock:
            self._on_progress(entry)
        if time.monotonic() - self._saved_at >= _SAVE_EVERY_S:
            self._save()

    def _save(self) -> None:
        with self._report_lock:
            self._saved_at = time.monotonic()
            if self._options.report is not None:
                write_report(self.report, self._options.report)


def _shape(sides: TableSides) -> list[object]:
    return [(each.columns, each.row_key) for each in (*sides.source_schemas, sides.target_schema)]


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).isoformat(timespec="seconds")
