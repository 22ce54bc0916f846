"""What is still parked, as those behind it must know it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from pydbsync.model import TableName
from pydbsync.work import parent_of, structure_of, table_behind, table_of_key


class Waiting:
    """What of one stream stays parked of all that was looked at so far, in order."""

    def __init__(self) -> None:
        self._standing: set[int] = set()
        self._all: dict[TableName, deque[int]] = {}
        self._whole: dict[TableName, deque[int]] = {}
        self._keys: dict[tuple[TableName, bytes], deque[int]] = {}

    def add(self, parked_id: int, name: TableName, keys: Iterable[bytes], *, is_whole_table: bool) -> None:
        """It stays, behind all that was added before. A table of '' stands for the database itself."""
        self._standing.add(parked_id)
        self._all.setdefault(name, deque()).append(parked_id)
        if is_whole_table:
            self._whole.setdefault(name, deque()).append(parked_id)
        for key in keys:
            if (other := table_of_key(key)) is not None:
                self._all.setdefault(other, deque()).append(parked_id)
                self._whole.setdefault(other, deque()).append(parked_id)
            else:
                self._keys.setdefault((name, key), deque()).append(parked_id)

    def remove(self, parked_id: int) -> None:
        """It is mended."""
        self._standing.discard(parked_id)

    def blocker(
        self,
        name: TableName,
        keys: Iterable[bytes],
        *,
        is_whole_table: bool,
        behind: int | None,
        together: frozenset[int] = frozenset(),
    ) -> int | None:
        """The first that a change of these rows must wait for, of those that do not go `together` with it; None if
        there is none. `behind` is what it was parked behind."""
        homes = self._whole_of(name)
        for key in keys:
            if (other := table_of_key(key)) is None:
                homes.append(self._keys.get((name, key)))
            elif table := table_behind(other):  # whose rows say nothing
                homes += self._whole_of(table)
            else:
                homes += [*self._whole_of(other), self._all.get(other)]
        if is_whole_table:
            homes += [self._all.get(each) for each in (name, structure_of(name), parent_of(name))]
            if not name.table:
                homes += [ids for other, ids in self._all.items() if other.database == name.database]
        found = [first for ids in homes if ids and (first := self._first(ids, together)) is not None]
        if behind is not None and behind in self._standing and behind not in together:
            found.append(behind)
        return min(found, default=None)

    def _whole_of(self, name: TableName) -> list[deque[int] | None]:
        return [self._whole.get(TableName(name.database, "")), self._whole.get(name)]

    def _first(self, ids: deque[int], together: frozenset[int]) -> int | None:
        while ids and ids[0] not in self._standing:
            ids.popleft()
        return next((each for each in ids if each in self._standing and each not in together), None)
