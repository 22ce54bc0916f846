"""The load that never rests: small transactions all over the tables, and a schema change every few seconds."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from typing import Any

import pymysql

from lab.rehearsal.tables import DATABASE, SPARED, SPARED_EACH, TABLES, Table, insert_of
from tests.servers import Endpoint

FIRST_NEW, LAST_NEW = 1_000_000, 4_000_000
"""Numbers of the rows that the load adds."""
STATEMENTS_EACH = 3
"""Statements of one transaction."""
_LOOK_S = 0.05
_REST_S = 1.0
LOAD_SHARES = [table.load_share for table in TABLES]


class Load:
    """Writes to one server from two connections, rows from one and schema changes from the other, until stopped."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        rows: int,
        seed: int,
        per_second: float,
        steps: SchemaSteps | None = None,
        schema_pause_s: float = 10.0,
        where: Callable[[], Endpoint] | None = None,
        is_behind: Callable[[float], bool] = lambda last: False,
    ) -> None:
        """`steps` are those of the load before, which the tables still show. With `where` it goes on where that says,
        as an application does, when a server refuses it or ends its session. It rests while `is_behind` tells, by the
        time of its last change, that the target is: replay that is killed all the time on a machine that is too busy
        for the load would never come level."""
        self._is_behind = is_behind
        self._last, self._looked_at = 0.0, time.monotonic()
        self._rows = rows
        self._where = where
        self.refused = 0
        self._random = random.Random(seed)
        self._steps = steps or SchemaSteps(random.Random(seed + 1))
        self._connections = [endpoint.connect(database=DATABASE) for _ in range(2)]
        self._pause_s = 1 / per_second
        self._schema_pause_s = schema_pause_s
        self._halt = threading.Event()
        self._threads = [
            threading.Thread(target=self._guarded, args=(work,), name=f"load-{name}", daemon=True)
            for name, work in (("rows", self._write_rows), ("schema", self._change_schema))
        ]
        self._fault: Exception | None = None
        self._unaltered: Collection[str] = ()
        self._altering = threading.Lock()
        self.transactions = 0
        self.rows = 0
        self.schema_changes = 0
        self.started_at = self.stopped_at = time.monotonic()

    def start(self) -> None:
        self.started_at = time.monotonic()
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """End after the running transaction."""
        if not self._halt.is_set():
            self._halt.set()
            for thread in self._threads:
                thread.join()
            self.stopped_at = time.monotonic()
            for connection in self._connections:
                with suppress(pymysql.MySQLError):
                    connection.close()

    def check(self) -> None:
        """Raises what ended the load before its time."""
        if self._fault is not None:
            raise self._fault

    def leave_unaltered(self, names: Collection[str]) -> None:
        """From now on the definitions of these tables stay as they are; their rows change on."""
        with self._altering:
            self._unaltered = names

    @property
    def per_second(self) -> float:
        """Transactions a second that it came to."""
        end = self.stopped_at if self._halt.is_set() else time.monotonic()
        return self.transactions / max(end - self.started_at, 0.001)

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as exc:
            self._fault = exc

    def _write_rows(self) -> None:
        due = time.monotonic()
        while not self._halt.wait(max(0.0, due - time.monotonic())):
            # What was missed while a schema change held a table is not made up for at once.
            due = max(due, time.monotonic() - 1) + self._pause_s
            self._rest()
            try:
                self._write_transaction(self._connections[0])
            except pymysql.MySQLError:
                if self._where is None:
                    raise
                self.refused += 1
                self._connect_again(self._where)

    def _rest(self) -> None:
        if time.monotonic() - self._looked_at < _REST_S:
            return
        while self._is_behind(self._last) and not self._halt.wait(_REST_S):
            pass
        self._looked_at = time.monotonic()

    def _write_transaction(self, connection: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("BEGIN")
            changed = sum(
                cursor.execute(self._statement(table))
                for table in self._random.choices(TABLES, LOAD_SHARES, k=STATEMENTS_EACH)
            )
            cursor.execute("COMMIT")
        self.rows += changed
        if changed:
            self._last = time.time()
        self.transactions += 1

    def _connect_again(self, where: Callable[[], Endpoint]) -> None:
        for connection in self._connections:
            with suppress(pymysql.MySQLError):
                connection.close()
        while not self._halt.wait(_LOOK_S):
            with suppress(pymysql.MySQLError):
                self._connections[:] = [where().connect(database=DATABASE) for _ in range(2)]
                return

    def _statement(self, table: Table) -> str:
        verb = self._random.choice(("insert", "update", "update", "update", "delete"))
        if verb == "insert":
            first = self._random.randrange(FIRST_NEW, LAST_NEW, SPARED_EACH) + SPARED + 1 + self._random.randrange(900)
            return insert_of(table, first, first + 2, ignore=True)
        number = self._random.randrange(table.rows_of(self._rows))
        number += number % SPARED_EACH == SPARED
        if verb == "update":
            note = f"changed {self._random.randrange(10**9)}"
            return f"UPDATE {table.name} SET note = '{note}' WHERE {table.row_number(number)} LIMIT 1"
        return f"DELETE FROM {table.name} WHERE {table.row_number(number)} LIMIT 1"

    def _change_schema(self) -> None:
        while not self._halt.wait(self._schema_pause_s):
            with self._altering:
                statement = self._steps.next(self._unaltered)
                if statement is not None:
                    with self._connections[1].cursor() as cursor:
                        cursor.execute(statement)
                    self.schema_changes += 1


class SchemaSteps:
    """A table gets a column, an index on it, another type for it and another name, and loses it again."""

    def __init__(self, chosen: random.Random) -> None:
        self._random = chosen
        self._done = dict.fromkeys((table.name for table in TABLES), 0)

    def next(self, unaltered: Collection[str]) -> str | None:
        """The next statement; None if no table may be altered."""
        tables = sorted(self._done.keys() - set(unaltered))
        if not tables:
            return None
        table = self._random.choice(tables)
        turn, step = divmod(self._done[table], 5)
        self._done[table] += 1
        return (
            f"ALTER TABLE {table} ADD COLUMN extra{turn} INT DEFAULT 7",
            f"CREATE INDEX by_extra{turn} ON {table} (extra{turn})",
            f"ALTER TABLE {table} MODIFY COLUMN extra{turn} BIGINT NOT NULL DEFAULT 8",
            f"ALTER TABLE {table} RENAME COLUMN extra{turn} TO further{turn}",
            f"ALTER TABLE {table} DROP COLUMN further{turn}",
        )[step]
