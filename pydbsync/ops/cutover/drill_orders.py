"""The rows of a drill: written at its servers at random, remembered as they were committed, read and compared."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from pydbsync.apply.connection import Connection
from pydbsync.config.cutover_plan import DRILL_DATABASE
from pydbsync.config.servers import TargetSettings
from pydbsync.ops.cutover.sessions import ReadOnly, read_only_statements

TABLE = f"{DRILL_DATABASE}.orders"
OrderRow: TypeAlias = "tuple[int, str, str | None]"
OrderRows: TypeAlias = "dict[int, OrderRow]"
_HERE = 15


class Orders:
    """Writes them, by choices that a seed repeats."""

    def __init__(self, seed: int) -> None:
        self._chosen = random.Random(seed)  # noqa: S311
        self._number = 0

    def write(
        self, server: TargetSettings, rows: OrderRows, count: int
    ) -> list[tuple[str, OrderRow | None, OrderRow | None]]:
        """Transactions of one to three changes; each change that was committed, with its row before and after."""
        written: list[tuple[str, OrderRow | None, OrderRow | None]] = []
        with connected(server) as connection:
            for _ in range(count):
                draft, changes = dict(rows), []
                connection.execute("START TRANSACTION")
                for _ in range(self._chosen.randint(1, 3)):
                    changes.append(self._change(connection, draft))
                if self._chosen.random() < 0.2:
                    connection.execute("ROLLBACK")
                    continue
                connection.execute("COMMIT")
                rows.clear()
                rows.update(draft)
                written += changes
        return written

    def _change(self, connection: Connection, rows: OrderRows) -> tuple[str, OrderRow | None, OrderRow | None]:
        self._number += 1
        kind = self._chosen.choice(("insert", "insert", "update", "update", "delete")) if rows else "insert"
        if kind == "insert":
            token = f"order {self._number} ü"
            connection.run(f"INSERT INTO {TABLE} (token) VALUES (%s)", (token,))
            row: OrderRow = (int(connection.value("SELECT LAST_INSERT_ID()")), token, None)
            rows[row[0]] = row
            return kind, None, row
        old = rows[self._chosen.choice(sorted(rows))]
        if kind == "delete":
            connection.run(f"DELETE FROM {TABLE} WHERE id = %s", (old[0],))
            del rows[old[0]]
            return kind, old, None
        new: OrderRow = (old[0], old[1], f"changed {self._number}")
        connection.run(f"UPDATE {TABLE} SET note = %s WHERE id = %s", (new[2], new[0]))
        rows[new[0]] = new
        return kind, old, new

    def write_here(
        self, server: TargetSettings, rows: OrderRows, written: Sequence[tuple[str, OrderRow | None, OrderRow | None]]
    ) -> set[int]:
        """What applications write at the target; the ids of rows that the old source has changed too."""
        theirs = sorted({row[0] for _, old, new in written for row in (old, new) if row} & rows.keys())
        touched = set(self._chosen.sample(theirs, min(3, len(theirs))))
        with connected(server) as connection:
            for number in touched:
                rows[number] = (number, rows[number][1], "changed at the target")
                connection.run(f"UPDATE {TABLE} SET note = %s WHERE id = %s", (rows[number][2], number))
            for _ in range(_HERE):
                self._number += 1
                connection.run(f"INSERT INTO {TABLE} (token) VALUES (%s)", (f"new {self._number}",))
                number = int(connection.value("SELECT LAST_INSERT_ID()"))
                rows[number] = (number, f"new {self._number}", None)
        return touched


def rows_of(server: TargetSettings) -> OrderRows:
    """All that a server holds now, by their ids."""
    with connected(server) as connection:
        return {int(row[0]): (int(row[0]), str(row[1]), row[2]) for row in
                connection.rows(f"SELECT id, token, note FROM {TABLE}")}  # fmt: skip


def row_of(image: Mapping[str, Any] | None) -> OrderRow | None:
    """A row as `failover --returned --json` tells it."""
    return None if image is None else (image["id"], image["token"], image["note"])


def differences(where: str, wanted: OrderRows, found: OrderRows) -> list[str]:
    """What a server holds otherwise than it must, a sentence each."""
    return [
        f"{where} has {found.get(number, 'no row')} and not {wanted.get(number, 'no row')}"
        for number in sorted(wanted.keys() | found.keys())
        if wanted.get(number) != found.get(number)
    ]


@contextmanager
def connected(server: TargetSettings) -> Iterator[Connection]:
    """A connection for a few statements."""
    connection = Connection(server.connect_keywords(), key=server.key)
    try:
        yield connection
    finally:
        connection.close()


def open_for_writes(server: TargetSettings) -> None:
    """An earlier drill may have left it closed."""
    with connected(server) as connection:
        for sql in read_only_statements(connection.dialect, ReadOnly(False)):
            connection.execute(sql)
