"""Which chunk of which table comes next: tables with the most rows first, several at once, their chunks shared."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from pydbsync.apply.table_start import TableStart
from pydbsync.model import TableName, TableSchema
from pydbsync.ops.chunks import Chunk, ChunkSize
from pydbsync.ops.copy.definitions import SourceTable
from pydbsync.ops.copy.fields import Carriage, RowForm
from pydbsync.ops.copy.options import CopiedTable, CopyObserver

FIRST_BYTES = 1 << 20
"""The first chunk of a table shall have about so many bytes; later ones follow what chunks really took."""


class Target(NamedTuple):
    """A table of the target that takes rows of a source table."""

    name: TableName
    shard: int | None
    """Only rows of this shard; None takes all."""


class TableTask:
    """One source table in one round. Its methods may be called from several threads."""

    def __init__(
        self,
        table: SourceTable,
        report: CopiedTable,
        *,
        targets: Sequence[Target],
        start: TableStart,
        replace: bool,
        is_shared: bool,
        chunk_s: float,
        condition: str = "",
    ) -> None:
        self.table = table
        self.name = table.name
        self.report = report
        self.targets = tuple(targets)
        self.shard = "0"
        """SQL: the number of a row's shard, -1 for all shards."""
        self.condition = condition
        """SQL: which rows are copied; empty for all."""
        self.start = start
        self.replace = replace
        """Rows may be there already: one written later, or of another source, or of a run that was killed."""
        self.is_shared = is_shared
        """Other source tables write to the same target table."""
        self.lock = threading.Lock()
        self.schema: TableSchema | None = None
        self.form: RowForm | None = None
        self.way = Carriage.LOAD
        self.returned: deque[Chunk] = deque()
        """Planned, not done: of a worker that lost its connection, or of a run that was killed."""
        self.last: Chunk | None = None
        self.is_planned_whole = False
        self.active = 0
        average = max(1, table.size_bytes // max(1, table.estimated_rows))
        self.size = ChunkSize(target_s=chunk_s, first=max(100, FIRST_BYTES // average))
        self._bytes_per_row = float(average)
        self.began_at = 0.0

    @property
    def is_chunked(self) -> bool:
        """Whether the table has a key by which it is read in pieces."""
        return self.schema is not None and bool(self.schema.row_key)

    def rows_wanted(self, limit_bytes: int) -> int:
        """How many rows the next chunk shall have."""
        return max(1, min(self.size.rows, int(limit_bytes / max(1.0, self._bytes_per_row))))

    def took(self, rows: int, size_bytes: int, elapsed_s: float) -> None:
        """A chunk was read."""
        self.size.took(rows, elapsed_s)
        if rows:
            self._bytes_per_row = max(size_bytes / rows, self._bytes_per_row * 0.5)

    def was_too_large(self) -> None:
        """A chunk could not be printed as one text."""
        self._bytes_per_row *= 4


class RoundTasks:
    """All tables of a round, and who may take what of them."""

    def __init__(self, tasks: Sequence[TableTask], observer: CopyObserver) -> None:
        # Tables without a key come first: no second worker can help with them.
        self._waiting = deque(sorted(tasks, key=lambda task: -task.table.size_bytes))
        self._open: list[TableTask] = []
        self._changed = threading.Condition()
        self._observer = observer
        self._preparing = 0
        self.again: list[tuple[TableTask, str]] = []
        """Tables whose definition has changed since the snapshot, and how that was noticed."""
        self.left: list[TableTask] = []
        """Tables that were not finished because the connections to the source were lost."""
        self.error: BaseException | None = None
        self.is_ending = False
        """The snapshot is given up: a schema change waits for it."""

    def end(self) -> None:
        """Let all workers stop, so that the snapshot and its locks go; what is unfinished is for another round."""
        with self._changed:
            self.is_ending = True
            self._changed.notify_all()

    def next(self, *, stop: threading.Event) -> tuple[TableTask, bool] | None:
        """A task, and whether it is new; None if there is nothing left to do. Waits while others prepare."""
        with self._changed:
            while not stop.is_set() and self.error is None and not self.is_ending:
                if self._waiting:
                    task = self._waiting.popleft()
                    task.active += 1
                    task.began_at = time.monotonic()
                    task.report.state = "copying"
                    self._preparing += 1
                    return task, True
                for task in self._open:
                    if task.is_chunked and (task.returned or not task.is_planned_whole):
                        task.active += 1
                        return task, False
                if not self._preparing and not any(task.active for task in self._open):
                    return None
                self._changed.wait(0.5)
            return None

    def prepared(self, task: TableTask) -> None:
        """Others may help from now on."""
        with self._changed:
            self._preparing -= 1
            self._open.append(task)
            self._changed.notify_all()

    def released(self, task: TableTask, finish: Callable[[], str]) -> None:
        """A worker has done its part of the task. The last one runs `finish`, which says why it must be done again."""
        with self._changed:
            task.active -= 1
            is_last = not task.active and task in self._open and task.is_planned_whole and not task.returned
            if is_last:
                task.active += 1  # nobody else may take the round for finished before this table is
        if is_last:
            why = finish()
            with self._changed:
                task.active -= 1
                if task in self._open:
                    self._open.remove(task)
                if why:
                    self.again.append((task, why))
                    task.report.state, task.report.note = "again", why
                else:
                    task.report.state = "done"
                task.report.seconds += time.monotonic() - task.began_at
                self._observer.table(task.report)
        with self._changed:
            self._changed.notify_all()

    def changed(self, task: TableTask, why: str, *, was_new: bool) -> None:
        """The table's definition is not that of the snapshot any more."""
        with self._changed:
            task.active -= 1
            self._preparing -= was_new
            if task in self._open:
                self._open.remove(task)
            if all(each is not task for each, _ in self.again):
                self.again.append((task, why))
            task.report.state, task.report.note = "again", why
            self._observer.table(task.report)
            self._changed.notify_all()

    def lost(self, task: TableTask, chunk: Chunk | None, *, was_new: bool) -> None:
        """A worker lost its snapshot; its chunk, and a table that it had alone, is for others or a later round."""
        with self._changed:
            task.active -= 1
            self._preparing -= was_new
            if chunk is not None and task.is_chunked:
                task.returned.append(chunk)
                if task not in self._open:
                    self._open.append(task)
            else:
                if task in self._open:
                    self._open.remove(task)
                self.left.append(task)
            self._changed.notify_all()

    def failed(self, error: BaseException) -> None:
        """Nothing can be done any more; the first reason counts."""
        with self._changed:
            if self.error is None:
                self.error = error
            self._changed.notify_all()

    def progressed(self, task: TableTask, rows: int, size_bytes: int) -> None:
        """Rows were committed."""
        with self._changed:
            task.report.rows += rows
            task.report.size_bytes += size_bytes
            self._observer.table(task.report)

    def unfinished(self) -> list[TableTask]:
        """What was not copied when the workers ended."""
        return [*self._waiting, *self._open, *self.left]
