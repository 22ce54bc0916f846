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
from pydbsync.apply.parked import read_rests
from pydbsync.apply.running import run_planned
from pydbsync.apply.schema_change import prove_refused, run_statement
from pydbsync.config.settings import Settings
from pydbsync.decode.maxwell import decode_message
from pydbsync.engine.table_plans import TablePlans, router_from
from pydbsync.errors import DecodeError, OperationError, PermanentError, PlanError
from pydbsync.model import Marker, RowChange, SchemaChange, TableName
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
    source: str
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
    def text(self) -> bytes:
        """What a retry uses: the edited message or SQL, else the message as it arrived."""
        return self.message if self.edited is None else self.edited


def _read_keys(packed: bytes) -> tuple[bytes, ...]:
    return tuple(msgspec.msgpack.decode(packed, type=list[bytes]))


class Outcome(msgspec.Struct, frozen=True):
    """What became of one retry."""

    id: int
    applied: bool
    detail: str


def _group(stream: str, target_database: str, source: str) -> tuple[str, str, str]:
    """What changes have in common that can wait for each other."""
    return stream, target_database or source.partition(".")[0], source


class _Blockers:
    """Which parked changes others wait for: asked for each of many, so that none is read again for the next."""

    def __init__(self) -> None:
        self._parked: set[int] = set()
        self._of: dict[tuple[object, ...], deque[int]] = {}
        """Ids in order: of a table, of its changes that concern it as a whole, of a row of it."""

    def add(self, parked_id: int, group: tuple[str, str, str], keys: Iterable[bytes], *, is_whole: bool) -> None:
        """One that is parked; ids must ascend."""
        self._parked.add(parked_id)
        places: list[tuple[object, ...]] = [group, *((group, key) for key in set(keys))]
        for place in [*places, (group, None)] if is_whole else places:
            self._of.setdefault(place, deque()).append(parked_id)

    def discard(self, parked_id: int) -> None:
        """It is parked no more."""
        self._parked.discard(parked_id)

    def before(
        self, parked_id: int, group: tuple[str, str, str], keys: Iterable[bytes], *, is_whole: bool
    ) -> int | None:
        """The first one that is still parked, is older than this one, and concerns the same row or table."""
        places: list[tuple[object, ...]] = [group] if is_whole else [(group, None), *((group, key) for key in keys)]
        found = [first for first in map(self._first, places) if first is not None and first < parked_id]
        return min(found, default=None)

    def _first(self, place: tuple[object, ...]) -> int | None:
        ids = self._of.get(place, deque())
        while ids and ids[0] not in self._parked:
            ids.popleft()
        return ids[0] if ids else None


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
                "SELECT id, stream, status, position, kind, CONCAT(source_database, '.', source_table),"
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
                    "row_keys": _read_keys(row[12]),
                    "message": row[13] + rests.get(int(row[0]), b""),
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
        if not parked.kind.startswith(("table-", "database-")):
            try:
                decode_message(text)
            except DecodeError as exc:
                raise OperationError(f"the edited text cannot be used: {exc}") from exc
        with self._connection.transaction():
            self._connection.run(f"UPDATE {self._table} SET edited = _binary %s WHERE id = %s", (text, parked_id))
            self._write_audit(parked_id, "edit", text.decode("utf-8", "backslashreplace"))

    def retry(self, candidates: list[Parked]) -> list[Outcome]:
        """Apply these in order; one that another parked change blocks, or that is refused again, stays."""
        outcomes = []
        blockers = self._blockers(each.stream for each in candidates)
        for each in sorted(candidates, key=lambda parked: parked.id):
            blocker = self._blocker(each, blockers)
            if blocker is not None:
                outcomes.append(Outcome(each.id, False, f"waits behind {blocker}, which is still parked"))
                continue
            try:
                detail = self._apply(each)
                blockers.discard(each.id)
                outcomes.append(Outcome(each.id, True, detail))
            except (DecodeError, PlanError, PermanentError) as exc:
                self._write_audit(each.id, "retry", f"refused: {exc}")
                outcomes.append(Outcome(each.id, False, str(exc)))
        return outcomes

    def _apply(self, parked: Parked) -> str:
        if parked.kind.startswith(("table-", "database-")):
            return self._apply_schema_change(parked)
        change = decode_message(parked.text)
        if isinstance(change, SchemaChange):
            return self._apply_schema_change(parked)
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
            for statement in single_statements(sent, plan):
                run_planned(self._connection, statement)
                count += 1
        return count

    def _apply_schema_change(self, parked: Parked) -> str:
        change = decode_message(parked.message)
        if not isinstance(change, SchemaChange):
            raise PlanError("this is no schema change")
        planned = self._plan(parked, change)
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
            self._set_status(parked.id, "applied")
            self._write_audit(parked.id, "retry", f"ran {planned.sql}")
        return planned.sql

    def _plan(self, parked: Parked, change: SchemaChange) -> PlannedSchemaChange | None:
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
            is_merged=is_merged,
        )  # fmt: skip

    def _blockers(self, streams: Iterable[str]) -> _Blockers:
        """What is parked of these streams, without the messages."""
        listed = tuple(sorted(set(streams)))
        blockers = _Blockers()
        if listed:
            for row in self._connection.rows(
                "SELECT id, stream, target_database, CONCAT(source_database, '.', source_table), row_keys,"
                f" is_whole_table FROM {self._table} WHERE status = 'parked'"
                f" AND stream IN ({', '.join(['%s'] * len(listed))}) ORDER BY id",
                listed,
            ):
                blockers.add(int(row[0]), _group(*row[1:4]), _read_keys(row[4]), is_whole=bool(row[5]))
        return blockers

    def _blocker(self, parked: Parked, blockers: _Blockers) -> int | None:
        """An earlier change of the same stream that is still parked and concerns the same row or table."""
        group = _group(parked.stream, parked.target_database, parked.source)
        while (found := blockers.before(parked.id, group, parked.row_keys, is_whole=parked.is_whole_table)) is not None:
            if self._connection.value(f"SELECT status FROM {self._table} WHERE id = %s", (found,)) == "parked":
                return found
            blockers.discard(found)  # somebody else has mended it meanwhile
        return None

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
