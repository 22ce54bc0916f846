"""A whole repair: plan, question, application, and a last look at the rows."""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from pydbsync.config.settings import Settings
from pydbsync.engine.routing import router_from
from pydbsync.errors import OperationError
from pydbsync.model import TableName
from pydbsync.ops.brake import Brake, LoadLimits
from pydbsync.ops.repair.apply import Done, PlanRunner
from pydbsync.ops.repair.change import PlannedChange
from pydbsync.ops.repair.explain import explained
from pydbsync.ops.repair.group import TableRepair
from pydbsync.ops.repair.journal import RepairJournal
from pydbsync.ops.repair.keyless import digests_at
from pydbsync.ops.repair.plan import RepairPlan, check_unedited, read_plan, write_plan
from pydbsync.ops.repair.planning import Choice, Planner, make_writer
from pydbsync.ops.repair.writer import ChangeWriter
from pydbsync.ops.servers import Servers
from pydbsync.ops.verify.matching import open_sides
from pydbsync.ops.verify.pairs import TablePair, find_pairs
from pydbsync.ops.verify.place import Streams
from pydbsync.ops.verify.report import read_report
from pydbsync.ops.verify.run import IGNORED
from pydbsync.ops.verify.settle import SettleOptions, Settler


class RepairOptions(msgspec.Struct, frozen=True):
    """What the command line says."""

    settle: SettleOptions = SettleOptions()
    limits: LoadLimits = LoadLimits()
    group_rows: int = 100
    takes_unproven: bool = False
    choice: Choice = Choice()
    streams: tuple[str, ...] = ()
    """Whose checkpoints count; empty for those of the configuration's queues."""


class RepairOutcome(msgspec.Struct, frozen=True):
    """What became of a plan, and of its rows when they were compared again."""

    done: int
    before: int
    refused: tuple[str, ...]
    equal: int = 0
    different: int = 0


class Repair:
    """Makes plans and applies them; holds the connections to both servers."""

    def __init__(
        self, settings: Settings, options: RepairOptions, *, stop: threading.Event, log: logging.Logger
    ) -> None:
        self._settings = settings
        self._options = options
        self._stop = stop
        self._log = log
        self._servers = Servers(settings, stop, writer="repair")
        source, target = self._servers.source, self._servers.target
        self._watching = (source.another(), target.another())
        self._streams = Streams(settings, *self._watching, streams=options.streams)
        self._settler = Settler(self._streams, options.settle, stop)
        self._warned_of: set[TableName] = set()

    def __enter__(self) -> Repair:
        return self

    def __exit__(self, *_: object) -> None:
        self._servers.close()
        for server in self._watching:
            server.close()

    def make_plan(self, report: Path, path: Path) -> RepairPlan:
        """Write the plan of a report; nothing is written if there is nothing to change. Raises OperationError."""
        if path.exists():  # before the work; what comes in between is not overwritten either
            raise OperationError(
                f"the plan {path} exists; apply it (without --report), or give the new one another name"
            )
        plan, writers = self._planned(report)
        if plan.changes:
            self._warn_of_triggers(writers.values())
            write_plan(plan, path, writers)
        return plan

    def explain(self, report: Path | None, path: Path) -> tuple[RepairPlan, list[str]]:
        """The plan of a report, or the one that was written, and what it would do in words; nothing is changed."""
        if report is not None:
            plan, writers = self._planned(report)
            return plan, list(explained(plan, writers, {}))
        plan, tables = self._load(path)
        journal = RepairJournal(self._settings.state_schema, plan.head.plan)
        statuses = self._servers.target.call(journal.statuses_if_any)
        return plan, list(explained(plan, {name: table.writer for name, table in tables.items()}, statuses))

    def _planned(self, report: Path) -> tuple[RepairPlan, dict[TableName, ChangeWriter]]:
        found = read_report(report)
        mine = (self._settings.source.address if self._settings.source else "", self._settings.target.address)
        if (found.source, found.target) != mine:
            raise OperationError(
                f"{report} compares {found.source} with {found.target}; the configuration names {mine[0]} and"
                f" {mine[1]}: name the one that it was made with by --config"
            )
        if not found.finished_at:
            raise OperationError(f"{report} is the report of an unfinished run; run verify again, it goes on")
        if found.options.get(IGNORED):
            raise OperationError(
                f"{report} says nothing of the columns {found.options[IGNORED]} (--ignore-columns), which repair would"
                " write too; verify without it"
            )
        planner = Planner(
            self._settings,
            self._servers,
            self._settler,
            takes_unproven=self._options.takes_unproven,
            choice=self._options.choice,
        )
        return planner.plan(found), planner.writers

    def apply(self, path: Path) -> RepairOutcome:
        """Apply a plan and compare its rows again. Raises OperationError, TransientError, ConfigError, Stopped."""
        plan, tables = self._load(path)
        runner = self._runner(plan, tables)
        return self._compared(runner.apply(plan.changes), plan.changes, tables)

    def undo(self, path: Path) -> RepairOutcome:
        """Put back what the plan changed. Raises as `apply`."""
        plan, tables = self._load(path)
        done = self._runner(plan, tables).undo(plan.changes)
        return RepairOutcome(done.done, done.before, done.refused)

    def _load(self, path: Path) -> tuple[RepairPlan, dict[TableName, TableRepair]]:
        plan = read_plan(path)
        if plan.head.target != self._settings.target.address:
            raise OperationError(
                f"{path} is a plan for {plan.head.target}; the configuration names"
                f" {self._settings.target.address}: name the one that it was made with by --config"
            )
        source = self._settings.source.address if self._settings.source else ""
        if plan.head.source != source:
            raise OperationError(
                f"{path} is a plan of what {plan.head.source} holds; the configuration names {source} as the source:"
                " name the one that it was made with by --config"
            )
        tables = self._open({change.table for change in plan.changes})
        check_unedited(path, plan, {name: table.writer for name, table in tables.items()})
        self._warn_of_triggers(table.writer for table in tables.values())
        return plan, tables

    def _warn_of_triggers(self, writers: Iterable[ChangeWriter]) -> None:
        """Once for each table: what they do to its row is looked at, what they do elsewhere is not."""
        for schema in (writer.schema for writer in writers):
            if schema.triggers and schema.name not in self._warned_of:
                self._warned_of.add(schema.name)
                self._log.warning(
                    "%s has triggers at the target (%s): they fire when its rows are repaired or put back, and what"
                    " they write to other tables is not looked at; verify those again afterwards, or drop the triggers"
                    " meanwhile",
                    schema.name,
                    ", ".join(schema.triggers),
                )

    def _open(self, names: Iterable[TableName]) -> dict[TableName, TableRepair]:
        source, target = self._servers.source, self._servers.target
        found = find_pairs(self._settings, router_from(self._settings), source, target, tables=(), is_shared=False)
        pairs: dict[TableName, TablePair] = {pair.target: pair for pair in found.pairs}
        tables = {}
        for name in names:
            if name not in pairs:
                raise OperationError(
                    f"{name} of the plan takes no part in the comparison any more, or a user has no SELECT on it;"
                    " delete its changes from the plan, or grant it"
                )
            sides = open_sides(pairs[name], self._settings, source, target)
            tables[name] = TableRepair(sides, make_writer(self._settings, sides))
        return tables

    def _runner(self, plan: RepairPlan, tables: dict[TableName, TableRepair]) -> PlanRunner:
        source_names = [part.name for table in tables.values() for part in table.sides.pair.sources]
        brake = Brake(
            self._options.limits,
            servers=(("target", self._watching[1]),),
            lag_s=lambda: self._streams.lag_s(source_names),
            stop=self._stop,
            log=self._log,
        )
        journal = RepairJournal(self._settings.state_schema, plan.head.plan)
        return PlanRunner(self._servers.target, journal, tables, brake=brake, group_rows=self._options.group_rows)

    def _compared(
        self, done: Done, changes: Sequence[PlannedChange], tables: dict[TableName, TableRepair]
    ) -> RepairOutcome:
        different = 0
        for name, table in tables.items():
            mine = [change for change in changes if change.table == name]
            requests = {request for change in mine for request in (change.request, *change.also)}
            if not table.sides.has_key:
                requests |= digests_at(table.sides.target, table.writer, mine)
            settled = self._settler.settle(table.sides, requests)
            different += len(settled.different) + settled.in_flux + len(settled.unreadable)
        return RepairOutcome(
            done.done, done.before, done.refused, equal=max(0, len(changes) - different), different=different
        )


def describe_plan(plan: RepairPlan) -> str:
    """`12 changes of app@host:3306: shop.orders 3 update, 1 insert; …`. A plan may have been cut off, or edited."""
    parts = []
    for table in dict.fromkeys(change.table for change in plan.changes):
        kinds = Counter(change.kind for change in plan.changes if change.table == table)
        parts.append(f"{table} {', '.join(f'{count} {kind}' for kind, count in kinds.items())}")
    taken_out = plan.head.changes - len(plan.changes)
    without = f" ({taken_out} that were planned are not in the file)" if taken_out else ""
    return f"{len(plan.changes)} changes of {plan.head.target}{without}: {'; '.join(parts)}"
