"""A stream whose every change counts: what is lost, doubled or out of order is seen in the rows."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.maxwell import Binlog, insert, update
from tests.servers import Endpoint

QUICK: dict[str, Any] = {
    "retry": {"first_s": 0.05, "max_s": 0.5},
    "lock_timeout_s": 2,
    "statement_timeout_s": 2,
    "log_level": "info",
}
"""Settings with which faults are noticed within seconds."""


class Ledger:
    """A database with a table without a key, where each change adds a row, and a counter that each change sets."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.written = 0
        self.binlog = Binlog()

    def begin(self) -> list[bytes]:
        """Make the database."""
        name, ddl = self.name, self.binlog.ddl
        return [
            *ddl(f"CREATE DATABASE {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", name),
            *ddl(f"CREATE TABLE {name}.ledger (n INT, v VARCHAR(9))", f"{name}.ledger", columns=("n", "v")),
            *ddl(f"CREATE TABLE {name}.counter (id INT PRIMARY KEY, n INT)", f"{name}.counter", columns=("id", "n")),
            *self.binlog.transaction(insert(f"{name}.counter", {"id": 1, "n": 0})),
        ]

    def write(self, count: int) -> list[bytes]:
        """So many more transactions of two rows."""
        messages: list[bytes] = []
        for number in range(self.written, self.written + count):
            messages += self.binlog.transaction(
                insert(f"{self.name}.ledger", {"n": number + 1, "v": "x"}),
                update(f"{self.name}.counter", {"id": 1, "n": number + 1}, {"n": number}),
            )
        self.written += count
        return messages

    def applied(self, target: Endpoint) -> int:
        """How many rows there are; 0 before the table is made."""
        if not target.query(
            "SELECT 1 FROM information_schema.tables WHERE table_schema = %s AND table_name = 'ledger'", self.name
        ):
            return 0
        return int(target.query(f"SELECT COUNT(*) FROM {self.name}.ledger")[0][0])

    def faults(self, target: Endpoint) -> dict[str, Any]:
        """What is not as it was written; empty when all is."""
        found: dict[str, Any] = {}
        numbers = [number for (number,) in target.query(f"SELECT n FROM {self.name}.ledger ORDER BY n")]
        if numbers != list(range(1, self.written + 1)):
            found["lost"] = sorted(set(range(1, self.written + 1)) - set(numbers))
            found["rows"] = len(numbers)
        counter = target.query(f"SELECT n FROM {self.name}.counter")
        if list(counter) != [(self.written,)]:
            found["counter"] = counter
        return found


def all_faults(target: Endpoint, ledgers: Iterable[Ledger]) -> dict[str, Any]:
    """The faults of several, and what is parked; empty when nothing is wrong."""
    found: dict[str, Any] = {each.name: faults for each in ledgers if (faults := each.faults(target))}
    parked = target.query("SELECT stream, kind, reason FROM pydbsync.parked")
    return found | ({"parked": parked} if parked else {})
