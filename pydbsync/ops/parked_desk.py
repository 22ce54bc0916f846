"""Looks at parked changes and mends them: retry in order, edit, skip; every step is written down.

A retry goes through the same planner as replay and commits the row together with its new status. The workers go on
meanwhile: a worker sees that nothing waits any more and applies later changes of the row itself again; what it parked
behind in between waits for the next retry.
"""

from __future__ import annotations

import datetime as dt
import getpass
import logging
import socket
from collections import deque
from collections.abc import Iterable

import msgspec

from pydbsync.apply.catalog import LiveCatalog
from pydbsync.apply.connection import Connection
from pydbsync.apply.parked_table import read_rests
from pydbsync.apply.running import run_planned
from pydbsync.apply.schema_change import prove_refused, run_statement
from pydbsync.config.settings import Settings
from pydbsync.decode.maxwell import decode_message
from pydbsync.engine.table_plans import TablePlans, router_from
from pydbsync.errors import DecodeError, OperationError, PermanentError, PlanError
from pydbsync.model import Change, Marker, RowChange, SchemaChange, TableName
from pydbsync.plan.batch import single_statements
from pydbsync.plan.ddl import PlannedSchemaChange, plan_schema_change
from pydbsync.plan.dialect import Server
from pydbsync.plan.quoting import quote_name
from pydbsync.process.source_server import AskedSource


class Parked(msgspec.Struct, frozen=True):
    """One row of the table `parked`."""

    id: int
    stream: str
    status: str
    position: str
    kind: str
    source_database: str
    source_table: str
    target_database: str
    behind: int | None
    reason: str
    code: int
    parked_at: dt.datetime
    is_whole_table: bool
    row_keys: tuple[bytes, ...]
    message: bytes
    edited: bytes | None

    @property
    def is_schema_change(self) -> bool:
        """Whether it is a message of a DDL statement."""
        return self.kind.startswith(("table-", "database-"))

    @property
    def target(self) -> TableName:
        """The table that it would have changed; a database itself has no table."""
        return TableName(self.target_database or self.source_database, self.source_table)

    @property
    def source(self) -> TableName:
        """The table that it comes from."""
        return TableName(self.source_database, self.source_table)

    @property
    def text(self) -> bytes:
        """What a retry uses: the edited message or SQL, else the message as it arrived."""
        return self.message if self.edited is None else self.edited


def _read_keys(packed: bytes) -> tuple[bytes, ...]:
    return tuple(msgspec.msgpack.decode(packed, type=list[bytes]))


def _is_of(change: Change, own: Change) -> bool:
    return isinstance(change, SchemaChange) and isinstance(own, SchemaChange) and change.sql == own.sql


class Waiting:
    """What of one stream is still parked, as those behind it must know it: asked for each of many, in order."""

    def __init__(self) -> None:
        self._standing: set[int] = set()
        self._all: dict[TableName, deque[int]] = {}
        self._whole: dict[TableName, deque[int]] = {}
        self._keys: dict[tuple[TableName, bytes], deque[int]] = {}
        self._behind: dict[int, int] = {}

    def add(
        self, parked_id: int, name: TableName, keys: Iterable[bytes], *, is_whole_table: bool, behind: int | None
    ) -> None:
        """Something is parked, behind all that was added before. A table of '' stands for the database itself."""
        self._standing.add(parked_id)
        self._all.setdefault(name, deque()).append(parked_id)
        if is_whole_table:
            self._whole.setdefault(name, deque()).append(parked_id)
        for key in keys:
            self._keys.setdefault((name, key), deque()).append(parked_id)
        if behind is not None:
            self._behind[parked_id] = int(behind)

    def remove(self, parked_id: int) -> None:
        """It is mended."""
        self._standing.discard(parked_id)

    def blocker(self, parked: Parked, together: set[int]) -> int | None:
        """The first that this one must wait for, of those that do not go together with it; None if there is none."""
        name = parked.target
        homes = [self._whole.get(TableName(name.database, "")), self._whole.get(name)]
        homes += [self._keys.get((name, key)) for key in parked.row_keys]
        if parked.is_whole_table:
            homes.append(self._all.get(name))
            if not name.table:
                homes += [ids for other, ids in self._all.items() if other.database == name.database]
        found = [first for ids in homes if ids and (first := self._first(ids, together)) is not None]
        behind = self._behind.get(parked.id)
        if behind is not None and behind in self._standing and behind not in together:
            found.append(behind)
        return min((each for each in found if each < parked.id), default=None)

    def _first(self, ids: deque[int], together: set[int]) -> int | None:
        while ids and ids[0] not in self._standing:
            ids.popleft()
        return next((each for each in ids if each in self._standing and each not in together), None)


class Outcome(msgspec.Struct, frozen=True):
    """What became of one retry."""

    id: int
    applied: bool
    detail: str


class ParkedDesk:
    """The operator's view of all parked changes of one state schema."""

    def __init__(self, settings: Settings, log: logging.Logger) -> None:
        """Connect to the target. Raises ConfigError, TransientError."""
        self._settings = settings
        self._connection = Connection(settings.target.connect_keywords(), key=settings.target.key, read_timeout_s=600)
        schema = quote_name(settings.state_schema)
        self._table, self._audit = f"{schema}.`parked`", f"{schema}.`parked_audit`"
        catalog = LiveCatalog()
        catalog.attach(self._connection)
        self._router = router_from(settings)
        self._plans = TablePlans(
            settings, router=self._router, catalog=catalog, log=log, ask_source=AskedSource(settings.source, log)
        )
        self._plans.attach()

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def find(self, *, stream: str | None = None, ids: Iterable[int] = (), every_status: bool = False) -> list[Parked]:
        """Parked changes in order; those still parked unless `every_status` or named. Raises OperationError."""
        wanted = list(ids)
        conditions, parameters = ["TRUE"], []
        if stream is not None:
            conditions.append("stream = %s")
            parameters.append(stream)
        if wanted:
            conditions.append(f"id IN ({', '.join(str(int(each)) for each in wanted)})")
        if not every_status and not wanted:
            conditions.append("status = 'parked'")
        try:
            found = self._connection.rows(
                "SELECT id, stream, status, position, kind, source_database, source_table,"
                " target_database, behind, reason, code, parked_at, is_whole_table, row_keys, message, edited"
                f" FROM {self._table} WHERE {' AND '.join(conditions)} ORDER BY id",
                tuple(parameters),
            )
            rests = read_rests(self._connection, self._settings.state_schema, [int(row[0]) for row in found])
        except PermanentError as exc:
            raise OperationError(
                f"the state schema {self._settings.state_schema!r} cannot be read in the target: {exc}"
            ) from exc
        parked = [
            msgspec.convert(
                {
                    **dict(zip(Parked.__struct_fields__, row, strict=True)),
                    "row_keys": _read_keys(row[13]),
                    "message": row[14] + rests.get(int(row[0]), b""),
                },
                Parked,
                strict=False,
            )
            for row in found
        ]  # fmt: skip
        missing = set(wanted) - {each.id for each in parked}
        if missing:
            raise OperationError(f"there is no parked change {min(missing)}")
        return parked

    def history(self, parked_id: int) -> list[tuple[str, str, str, dt.datetime]]:
        """(action, actor, detail, when) of one parked change."""
        return [
            (str(action), str(actor), str(detail), done_at)
            for action, actor, detail, done_at in self._connection.rows(
                f"SELECT action, actor, detail, done_at FROM {self._audit} WHERE parked_id = %s ORDER BY id",
                (parked_id,),
            )
        ]

    def skip(self, parked_id: int, *, reason: str) -> None:
        """Give one up for good. Raises OperationError without a reason, or if it is not parked any more."""
        if not reason.strip():
            raise OperationError("a skip needs a reason: it is kept beside the change")
        self._still_parked(parked_id)
        with self._connection.transaction():
            self._set_status(parked_id, "skipped")
            self._write_audit(parked_id, "skip", reason)

    def edit(self, parked_id: int, text: bytes) -> None:
        """Have a retry use this message (or, for a schema change, this SQL) instead. Raises OperationError."""
        parked = self._still_parked(parked_id)
        if parked.text == text:
            raise OperationError(f"nothing was changed in {parked_id}")
        if not parked.is_schema_change:
            try:
                decode_message(text)
            except DecodeError as exc:
                raise OperationError(f"the edited text cannot be used: {exc}") from exc
        with self._connection.transaction():
            self._connection.run(f"UPDATE {self._table} SET edited = _binary %s WHERE id = %s", (text, parked_id))
            self._write_audit(parked_id, "edit", text.decode("utf-8", "backslashreplace"))

    def retry(self, candidates: list[Parked]) -> list[Outcome]:
        """Apply these in order; one that another parked change blocks, or that is refused again, stays.

        All messages of one statement go together: it is run once.
        """
        outcomes: dict[int, Outcome] = {}
        waiting = {stream: self._waiting(stream) for stream in {each.stream for each in candidates}}
        for each in sorted(candidates, key=lambda parked: parked.id):
            if each.id in outcomes:
                continue
            others = self._same_statement(each) if each.is_schema_change else []
            blocker = self._blocker(each, waiting[each.stream], {other.id for other in others})
            if blocker is not None:
                outcomes[each.id] = Outcome(each.id, False, f"waits behind {blocker}, which is still parked")
                continue
            try:
                detail = self._apply(each, others)
            except (DecodeError, PlanError, PermanentError) as exc:
                self._write_audit(each.id, "retry", f"refused: {exc}")
                outcomes[each.id] = Outcome(each.id, False, str(exc))
                continue
            for done in (each, *others):
                outcomes[done.id] = Outcome(done.id, True, detail)
                waiting[each.stream].remove(done.id)
        return [outcomes[parked_id] for parked_id in sorted(outcomes)]

    def _waiting(self, stream: str) -> Waiting:
        """What is parked of the stream now, without the messages: they may be many, and large."""
        found = self._connection.rows(
            "SELECT id, source_database, source_table, target_database, row_keys, is_whole_table, behind"
            f" FROM {self._table} WHERE stream = %s AND status = 'parked' ORDER BY id",
            (stream,),
        )
        waiting = Waiting()
        for parked_id, database, table, target, keys, is_whole, behind in found:
            name = TableName(target or database, table)
            waiting.add(int(parked_id), name, _read_keys(keys), is_whole_table=bool(is_whole), behind=behind)
        return waiting

    def _blocker(self, parked: Parked, waiting: Waiting, together: set[int]) -> int | None:
        """The first that this one must wait for, of those that do not go together with it; None if there is none."""
        while (found := waiting.blocker(parked, together)) is not None:
            if self._connection.value(f"SELECT status FROM {self._table} WHERE id = %s", (found,)) == "parked":
                return found
            waiting.remove(found)  # somebody else has mended it meanwhile
        return None

    def _same_statement(self, parked: Parked) -> list[Parked]:
        """The other messages of the same statement that are parked for the same database, in order."""
        if parked.edited is not None or not parked.position:
            return []
        found = self._connection.rows(
            f"SELECT id FROM {self._table} WHERE stream = %s AND status = 'parked' AND position = %s"
            " AND target_database = %s AND kind LIKE 'table-%%' AND id <> %s AND edited IS NULL ORDER BY id",
            (parked.stream, parked.position, parked.target_database, parked.id),
        )
        ids = [int(row[0]) for row in found]
        own = decode_message(parked.message)
        return [each for each in (self.find(ids=ids) if ids else []) if _is_of(decode_message(each.message), own)]

    def _apply(self, parked: Parked, others: list[Parked]) -> str:
        if parked.is_schema_change:
            return self._apply_schema_change(parked, others)
        change = decode_message(parked.text)
        if isinstance(change, SchemaChange):
            return self._apply_schema_change(parked, others)
        if isinstance(change, Marker):
            raise PlanError(f"a {change.kind} changes nothing; skip it")
        with self._connection.transaction():
            self._lock(parked.id)
            rows = self._apply_row(parked, change)
            self._set_status(parked.id, "applied")
            self._write_audit(parked.id, "retry", "applied")
        return f"{rows} statement(s)"

    def _apply_row(self, parked: Parked, change: RowChange) -> int:
        count = 0
        for plan, sent in self._plans.route(change):
            if parked.target_database and plan.name.database != parked.target_database:
                continue  # parked once for each shard
            for statement in single_statements(sent, plan, in_place=True):
                run_planned(self._connection, statement)
                count += 1
        return count

    def _apply_schema_change(self, parked: Parked, others: list[Parked]) -> str:
        change = decode_message(parked.message)
        if not isinstance(change, SchemaChange):
            raise PlanError("this is no schema change")
        decoded = [decode_message(other.message) for other in others]
        siblings = [message for message in decoded if isinstance(message, SchemaChange)]
        planned = self._plan(parked, change, siblings)
        if planned is None:
            raise PlanError("the filters leave the table out; skip it")
        try:
            run_statement(self._connection, planned)
        except PermanentError as exc:
            proof = prove_refused(self._connection, change, planned, exc, schema=self._settings.state_schema)
            if proof.rest:
                run_statement(self._connection, planned, rest=proof.rest)
            elif not proof.is_done:
                if not proof.reason:
                    raise
                raise PermanentError(f"{exc}; {proof.reason}", code=exc.code) from exc
        self._plans.forget()
        with self._connection.transaction():
            for each in (parked, *others):
                self._set_status(each.id, "applied")
                self._write_audit(each.id, "retry", f"ran {planned.sql}")
        return planned.sql

    def _plan(self, parked: Parked, change: SchemaChange, siblings: list[SchemaChange]) -> PlannedSchemaChange | None:
        def rename(database: str) -> str:
            return self._router.rename(database, shard_of=change.database, shard=parked.target_database or None)

        def in_scope(database: str, table: str | None) -> bool:
            if table is None:
                return self._router.filters.takes_database(database)
            return self._router.takes(TableName(database, table))

        if parked.edited is not None:
            # The operator's own words, for the target as they stand.
            sql = parked.edited.decode("utf-8")
            return PlannedSchemaChange(
                sql=sql, action="alter-table", default_database=parked.target_database or None, touched=(),
                database=None, ts=change.ts,
            )  # fmt: skip
        dialect = self._connection.dialect
        target = Server("mariadb" if dialect.is_mariadb else "mysql", dialect.version, dialect.charset)
        is_merged = self._router.is_merged(rename(change.database))
        return plan_schema_change(
            change, rename=rename, in_scope=in_scope, target=target, source=self._plans.source_of(change),
            siblings=siblings or None, is_merged=is_merged,
        )  # fmt: skip

    def _still_parked(self, parked_id: int) -> Parked:
        parked = self.find(ids=[parked_id])[0]
        if parked.status != "parked":
            raise OperationError(f"{parked_id} is {parked.status} already")
        return parked

    def _lock(self, parked_id: int) -> None:
        status = self._connection.value(f"SELECT status FROM {self._table} WHERE id = %s FOR UPDATE", (parked_id,))
        if status != "parked":
            raise PermanentError(f"it is {status} already")

    def _set_status(self, parked_id: int, status: str) -> None:
        self._connection.run(f"UPDATE {self._table} SET status = %s WHERE id = %s", (status, parked_id))

    def _write_audit(self, parked_id: int, action: str, detail: str) -> None:
        actor = f"{getpass.getuser()}@{socket.gethostname()}"
        self._connection.run(
            f"INSERT INTO {self._audit} (parked_id, action, actor, detail) VALUES (%s, %s, %s, %s)",
            (parked_id, action, actor[:190], detail),
        )
