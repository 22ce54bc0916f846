"""Rows that both sides change at once, each of them once, in every way: what must end alike under each policy."""

from __future__ import annotations

import random
from typing import Any, Final

RACES: Final = 24
POLICIES: Final = {
    "c_prefer": "prefer", "c_newest": "newest:n", "c_larger": "larger:n", "c_smaller": "smaller:n", "c_park": "park",
}  # fmt: skip
"""By table."""
TABLES: Final = tuple(
    statement
    for table in POLICIES
    for statement in (
        f"CREATE TABLE d.{table} (id INT PRIMARY KEY, v VARCHAR(40), n INT, u INT, UNIQUE KEY (u))",
        f"INSERT INTO d.{table} VALUES "
        + ", ".join(f"({key}, 'old', 10, {key})" for race in range(RACES) for key in (10 * race, 10 * race + 1)),
    )
)


def statement(table: str, race: int, side: int, chance: random.Random) -> str:
    """What a side does in a race, on the rows as they are there by then; one change, or none."""
    key, name, n = 10 * race, f"d.{table}", chance.choice((11, 12))
    v = chance.choice((f"side {side}", "alike"))
    own = key + 2 + side
    return chance.choice((
        f"UPDATE {name} SET v = '{v}', n = {n} WHERE id = {key}",
        f"DELETE FROM {name} WHERE id = {key}",
        f"INSERT IGNORE INTO {name} VALUES ({key + 4}, '{v}', {n}, NULL)",
        f"INSERT IGNORE INTO {name} VALUES ({own}, '{v}', {n}, {key + 5})",
        f"UPDATE IGNORE {name} SET n = {n}, u = {key + 5} WHERE id = {key}",
        f"UPDATE IGNORE {name} SET n = {n}, u = {key + 5} WHERE id = {key + 1}",
        f"UPDATE IGNORE {name} SET id = {key + 4}, n = {n} WHERE id = {key}",
        f"UPDATE IGNORE {name} SET id = {own}, n = {n}, v = '{v}' WHERE id = {key}",
    ))  # fmt: skip


class Races:
    """Those of one side, in an order of its own."""

    def __init__(self, side: int, seed: int) -> None:
        self._side = side
        self._chance = random.Random(seed)
        self._left = [(table, race) for table in POLICIES for race in range(RACES)]
        self._chance.shuffle(self._left)

    def run_first(self, cursor: Any) -> None:
        """Half of them, which those of the other side meet for certain where nothing is replayed yet."""
        first = [each for each in self._left if each[1] < RACES // 2]
        self._left = [each for each in self._left if each[1] >= RACES // 2]
        for table, race in first:
            cursor.execute(statement(table, race, self._side, self._chance))

    def run_next(self, cursor: Any) -> None:
        """One more, as long as there are any; it is over even where the transaction is taken back."""
        if self._left:
            cursor.execute(statement(*self._left.pop(), self._side, self._chance))
