"""`--dry-run`: the same pipeline, but what would be run is printed, a statement a line, and nothing is changed.

Tables are known from the DDL in the stream; what it does not tell is read from the target's catalogue, if a target is
configured. Nothing is acknowledged: RabbitMQ gives the messages out again.
"""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable, Sequence
from typing import TextIO

from pydbsync.apply.catalog import LiveCatalog
from pydbsync.apply.connection import ROW_SQL_MODE, Connection
from pydbsync.apply.ddl.schema_session import BACK_TO_DEFAULT
from pydbsync.config.settings import Settings
from pydbsync.decode.maxwell import decode_changes
from pydbsync.engine.control import Control
from pydbsync.engine.follower import Follower
from pydbsync.engine.observe import Observer
from pydbsync.engine.routing import router_from
from pydbsync.engine.schema_flow import SchemaFlow
from pydbsync.engine.stages import Stages
from pydbsync.engine.table_plans import TablePlans
from pydbsync.errors import ConfigError, PlanError, TransientError
from pydbsync.model import TableName
from pydbsync.places import Checkpoint
from pydbsync.plan.batch import single_statements
from pydbsync.plan.ddl.altered_copy import AlteredCopy
from pydbsync.plan.ddl.for_target import PlannedSchemaChange
from pydbsync.plan.ddl.lexer import read_tokens
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.rows import TablePlan
from pydbsync.process.inputs import translated
from pydbsync.process.source_server import AskedSource
from pydbsync.process.stop_signals import stop_on_signals
from pydbsync.process.stream_catalog import StreamCatalog
from pydbsync.protocols import Decode, Source
from pydbsync.source.amqp import AmqpSource
from pydbsync.source.file import FileSource
from pydbsync.source.wrapped import WrappedSource
from pydbsync.work import CopyRows, ParkedChange, ParkedRows, Pauses, SchemaStep, StreamState, Work

_HEADER = (
    "SET NAMES utf8mb4",
    f"SET time_zone = '+00:00', sql_mode = '{ROW_SQL_MODE}', foreign_key_checks = 0",
)


def dry_run(settings: Settings, *, from_file: str | None, out: TextIO) -> int:
    """Print what would be run; the exit code. Raises ConfigError."""
    log = logging.getLogger("pydbsync")
    stop = stop_on_signals()
    catalog = StreamCatalog(_live_catalog(settings), is_mariadb=settings.source_server.startswith("mariadb"))
    sources: list[Source] = []
    if from_file is not None:
        sources.append(_Unacknowledged(FileSource(from_file, stream=settings.stream)))
    else:
        for queue in settings.queues:
            amqp = AmqpSource(
                settings.amqp, queue, prefetch=0, read_ahead_bytes=settings.read_ahead_bytes, log=log, only_looks=True
            )
            sources.append(_Unacknowledged(amqp))
    for line in _HEADER:
        print(f"{line};", file=out)
    for source in sources:
        target = PrintingTarget(catalog, write=lambda line: print(line, file=out))
        asked = AskedSource(settings.source, log)
        plans = TablePlans(
            settings,
            router=router_from(settings),
            catalog=catalog,
            log=log,
            ask_source=asked,
            ask_collation=asked.collation_of,
            ask_table=asked.table,
            input_format=settings.input_format_of(source.stream),
        )
        schema = SchemaFlow(settings, tables=target, plans=plans, log=log, decode=decode_changes)
        stages = Stages(source, decode_changes, plans, schema, store=target, sink=target)
        stages = translated(stages, settings, settings.input_format_of(source.stream))
        Follower(Control(settings), stages, observer=Observer(), log=log, until_drained=True).run(stop)
    return 0


def _live_catalog(settings: Settings) -> LiveCatalog | None:
    if not settings.target.connect:
        return None
    try:
        connection = Connection(settings.target.connect_keywords(), key=settings.target.key)
    except (TransientError, ConfigError):
        return None  # the stream alone must do; a table that it does not define is named where it is needed
    catalog = LiveCatalog()
    catalog.attach(connection)
    return catalog


_COMMENT = re.compile(r"/\*.*?\*/|--(?=\s)([^\n]*)|#([^\n]*)", re.DOTALL)


def on_one_line(sql: str) -> str:
    """The same statement without line ends: in comments and between words spaces, in strings escapes."""
    parts, end = [], 0
    for token in read_tokens(sql).tokens:
        parts.append(_flat_gap(sql[end : token.start]))
        text = sql[token.start : token.end]
        parts.append(text.replace("\r", "\\r").replace("\n", "\\n") if token.kind == "string" else text)
        end = token.end
    parts.append(_flat_gap(sql[end:]))
    return "".join(parts).strip()


def _flat_gap(gap: str) -> str:
    def flat(match: re.Match[str]) -> str:
        line = match[1] if match[1] is not None else match[2]
        return match[0] if line is None else f"/*{line.replace('*/', '* /')} */"

    return re.sub(r"\s", " ", _COMMENT.sub(flat, gap))


class _Unacknowledged(WrappedSource):
    """A source whose deliveries are only looked at."""

    def acknowledge(self, tag: int) -> None:
        pass

    def finish(self) -> bool:
        return False


class PrintingTarget:
    """Store and sink that print instead."""

    def __init__(self, catalog: StreamCatalog, *, write: Callable[[str], None]) -> None:
        self.catalog = catalog
        self.dialect = catalog.dialect
        self.parked = ParkedRows()
        self.state: StreamState | None = StreamState(Checkpoint())
        self._write = write
        self._database: str | None = None

    def acquire(self, stop: threading.Event, *, is_away: bool = False) -> StreamState | None:
        return self.state

    def release(self) -> None:
        pass

    def keep_alive(self) -> None:
        pass

    def look_around(self) -> bool:
        return False

    @property
    def pauses(self) -> Pauses:
        return Pauses()

    def was_parked(self, position: str, message: bytes) -> bool:
        return False

    def refuse_if_stopping(self, parked: ParkedChange) -> None:
        pass

    def copy_start(self, checkpoint: Checkpoint) -> None:
        return None

    def kept_rows(self, copy: CopyRows) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
        """Nothing is kept."""
        return (), ()

    def count_rows(self, table: TableName) -> int | None:
        """Nothing was written, so that it says nothing."""
        return None

    def misfit_of_copy(self, wanted: AlteredCopy, decode: Decode) -> str:
        """Nothing is kept that could be compared."""
        return ""

    def collation_of(self, database: str) -> str | None:
        return self.catalog.collation_of(database)

    def databases_with_table(self, table: str) -> Sequence[str]:
        return self.catalog.named(table)

    def begin(self, work: Work[TablePlan]) -> None:
        for parked in work.parked:
            self._refuse(f"{parked.kind} of {parked.source} at {parked.position}: {parked.reason}")
        for _, change, plan in work.entries:
            try:
                statements = single_statements(change, plan)
            except PlanError as exc:
                self._refuse(f"{change.kind} of {plan.name}: {exc}")
                continue
            for statement in statements:
                if statement.checks_foreign_keys:
                    self._print("SET foreign_key_checks = 1")
                self._print(statement.sql.decode("utf-8"))
                if statement.checks_foreign_keys:
                    self._print("SET foreign_key_checks = 0")
        self.state = work.state

    def advance(self) -> bool:
        return True

    def finish(self, work: Work[TablePlan]) -> list[ParkedChange]:
        return []

    def has_decided(self, step: SchemaStep[PlannedSchemaChange]) -> bool:
        return False

    def has_begun(self, step: SchemaStep[PlannedSchemaChange]) -> bool:
        return False

    def change_schema(self, step: SchemaStep[PlannedSchemaChange], state: StreamState) -> str:
        planned = step.planned
        self.state = state
        if step.policy != "apply":
            self._refuse(f"schema change, policy {step.policy}: {on_one_line(planned.sql)}")
            return "skipped"
        if planned.default_database is not None and planned.default_database != self._database:
            self._database = planned.default_database
            self._print(f"USE {quote_name(planned.default_database)}")
        self._print(f"SET {', '.join(f'{each.name} = {each.literal}' for each in planned.variables)}")
        self._print(on_one_line(planned.sql))
        names = [each.name for each in planned.variables]
        zone = ", time_zone = '+00:00'" if "time_zone" in names else ""
        others = "".join(f", {name} = DEFAULT" for name in names if name in BACK_TO_DEFAULT)
        self._print(f"SET sql_mode = '{ROW_SQL_MODE}', timestamp = DEFAULT{zone}{others}")
        if planned.action == "drop-database" and planned.database == self._database:
            self._database = None
        self.catalog.take(step.change, planned)
        return "done"

    def _print(self, statement: str) -> None:
        self._write(f"{statement};")

    def _refuse(self, text: str) -> None:
        self._write(f"-- not run: {' '.join(text.split())}")
