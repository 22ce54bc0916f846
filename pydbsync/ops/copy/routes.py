"""Which rows go to which table of the target, and what has to be known of a table before its rows are read."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable

import msgspec

from pydbsync.config.settings import Settings, columns_of
from pydbsync.engine.routing import apply_mode_of, row_route, row_settings
from pydbsync.errors import OperationError, PlanError
from pydbsync.model import TableName, TableSchema
from pydbsync.ops.chunks import RowKey
from pydbsync.ops.copy.definitions import SourceTable, read_families, read_fingerprint
from pydbsync.ops.copy.fields import Carriage, RowForm
from pydbsync.ops.copy.journal import CopyJournal, TableRecord
from pydbsync.ops.copy.options import CopiedTable, CopyOptions
from pydbsync.ops.copy.own_tables import OwnTables
from pydbsync.ops.copy.tasks import TableTask, Target
from pydbsync.ops.copy.workers import SourceChangedError
from pydbsync.ops.servers import Servers
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.rows import Strategy, TablePlan
from pydbsync.route.router import Router

WRITES_CHILDREN = (9, 6)
"""Since this version MySQL writes the rows that a cascade changes to the binlog itself."""


def targets_of(settings: Settings, router: Router, name: TableName) -> tuple[Target, ...]:
    """The tables of the target that take rows of a source table."""
    sharding = settings.sharding
    if sharding is not None and router.is_sharded(name.database):
        return tuple(
            Target(TableName(f"{name.database}{shard}", name.table), shard)
            for shard in sharding.owned(settings.corpmod)
        )
    return tuple(Target(each, None) for each in router.targets(name))


def row_form(settings: Settings, router: Router, source: TableSchema, target: TableSchema) -> RowForm:
    """How the rows of a source table reach this table of the target. Raises OperationError where they cannot."""
    own, named = row_settings(settings, router, source.name), columns_of(settings.binary_columns, *source.name)
    if own is None:
        return RowForm(source, target, named_binary=named)
    try:
        route = row_route(settings, own, source, target)
        route.check_types(source)
        return RowForm(source, target, route, named_binary=named)
    except PlanError as exc:
        raise OperationError(f"{source.name} cannot be copied by its route: {exc}") from exc


class CopyTables:
    """What is known of the tables on both sides. Several threads may ask."""

    def __init__(
        self,
        settings: Settings,
        options: CopyOptions,
        router: Router,
        servers: Servers,
        journal: CopyJournal,
        *,
        way: Carriage,
        log: logging.Logger,
    ) -> None:
        self._settings = settings
        self._options = options
        self._router = router
        self._servers = servers
        self._journal = journal
        self._way = way
        self._log = log
        self._tied: list[set[TableName]] = []
        dialect = servers.source.dialect
        if dialect.is_mariadb or dialect.version < WRITES_CHILDREN:
            self._tied = servers.source.call(read_families)

    def targets(self, name: TableName) -> tuple[Target, ...]:
        """The tables of the target that take rows of a source table."""
        return targets_of(self._settings, self._router, name)

    def merged(self, names: Iterable[TableName]) -> list[set[TableName]]:
        """Source tables that come to the same table of the target."""
        sources: dict[TableName, set[TableName]] = defaultdict(set)
        for name in names:
            for target in self.targets(name):
                sources[target.name].add(name)
        return [found for found in sources.values() if len(found) > 1]

    def tied(self, names: Iterable[TableName]) -> list[set[TableName]]:
        """Tables that can only begin anew together."""
        return [*self._tied, *self.merged(names)]

    def converges(self, name: TableName) -> bool:
        """Whether replay makes the table right although its rows were read later than the place it begins at."""
        if any(name in family for family in self._tied):
            return False
        schemas = [self._servers.target.table(target.name) for target in self.targets(name)]
        source = self._servers.source.table(name, with_referrers=False)
        return source is not None and all(
            schema is not None and self._converges_in(schema, source) for schema in schemas
        )

    def _converges_in(self, target: TableSchema, source: TableSchema) -> bool:
        if not (target.row_key and source.row_key):
            return False
        plan = TablePlan(
            target, dialect=self._servers.target.dialect,
            apply_mode=apply_mode_of(self._settings, self._router, source.name),
            passes_actions_on=False, is_merged=self._router.is_merged_table(target.name),
        )  # fmt: skip
        settings = row_settings(self._settings, self._router, source.name)
        try:
            if settings is not None:
                source = row_route(self._settings, settings, source, target).view(source)
            image = msgspec.Raw(msgspec.json.encode(dict.fromkeys(column.name for column in source.columns)))
            return plan.strategy_for(plan.shape_for(image)) in (Strategy.REPLACE, Strategy.UPSERT)
        except PlanError:  # it was altered at the source since it was made here
            return False

    def task(
        self, table: SourceTable, record: TableRecord, report: CopiedTable, *, replace: bool, is_shared: bool
    ) -> TableTask:
        """What a round has to do with a table."""
        return TableTask(
            table, report, targets=self.targets(table.name), start=record.start, replace=replace, is_shared=is_shared,
            chunk_s=self._options.chunk_s, condition=self._options.condition(table.name),
        )  # fmt: skip

    def prepare(self, task: TableTask) -> None:
        """Read the definitions of both sides. Raises SourceChangedError, OperationError."""
        source = self._servers.source.table(task.name, with_referrers=False)
        if source is None:
            raise SourceChangedError("it was dropped or renamed")
        now = self._servers.source.call(lambda connection: read_fingerprint(connection, task.name))
        if now != task.table.fingerprint:
            raise SourceChangedError("its definition changed before its rows were read")
        forms = []
        for target in task.targets:
            schema = self._servers.target.table(target.name, with_referrers=False)
            if schema is None:
                raise OperationError(
                    f"{target.name} has vanished from the target while it was copied; start the copy again"
                )
            form = row_form(self._settings, self._router, source, schema)
            if form.condition and form.condition not in task.condition:
                task.condition = " AND ".join(f"({each})" for each in (task.condition, form.condition) if each)
            forms.append(form)
            task.replace = task.replace or not schema.transactional
        task.form = forms[0]
        if any(form.fields != task.form.fields for form in forms):
            raise OperationError(
                f"the tables of the target that take {task.name} have different columns"
                f" ({', '.join(str(each.name) for each in task.targets)});"
                " make them alike, or exclude the table"
            )
        task.way = self._way if task.form.fields else Carriage.INSERT
        task.shard = self._shard_of(source)
        try:
            RowKey(source)
        except OperationError as exc:
            self._log.info("%s is read in one pass: %s", task.name, exc)
            source = msgspec.structs.replace(source, row_key=())
        task.schema = source
        if task.is_chunked:
            self._recall(task)

    def _shard_of(self, source: TableSchema) -> str:
        sharding = self._settings.sharding
        if sharding is None or not self._router.is_sharded(source.name.database):
            return "0"
        if sharding.column not in {column.name for column in source.columns}:
            return "-1"
        column, modulo = quote_name(sharding.column), sharding.modulo
        return f"IF(IFNULL({column}, 0) = 0, -1, MOD(MOD({column}, {modulo}) + {modulo}, {modulo}))"

    def _recall(self, task: TableTask) -> None:
        """What an earlier round has done of the table."""
        chunks = self._servers.target.call(lambda connection: self._journal.chunks(connection, task.name))
        if chunks:
            task.returned.extend(each.chunk for each in chunks if not each.is_done)
            task.last = chunks[-1].chunk
            task.is_planned_whole = task.last.upper is None
        task.report.rows = sum(each.rows for each in chunks)
        task.report.size_bytes = sum(each.size_bytes for each in chunks)

    def empty(self, task: TableTask, own: OwnTables) -> None:
        """Remove all rows of the task's target tables."""
        for target in task.targets:
            self._servers.target.call(lambda connection, name=target.name: own.empty(connection, name))  # type: ignore[misc]

    def finish(self, task: TableTask, record: TableRecord, own: OwnTables) -> str:
        """The table is copied: note it down. Why it must be copied again, if its definition has changed meanwhile."""
        now = self._servers.source.call(lambda connection: read_fingerprint(connection, task.name))
        if now != record.fingerprint:
            return "its definition changed while it was copied" if now else "it was dropped or renamed"
        target = self._servers.target.another()  # a large table's keys take long, and others ask meanwhile
        try:
            for each in task.targets:
                target.call(lambda connection, name=each.name: own.add_late_keys(connection, name))  # type: ignore[misc]
        finally:
            target.close()
        record.status, record.rows, record.size_bytes = "done", task.report.rows, task.report.size_bytes
        self._servers.target.call(lambda connection: self._journal.write_table(connection, record))
        return ""
