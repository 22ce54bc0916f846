"""Carries rows: one connection to the source, one to the target, chunk after chunk until nothing is left."""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from pydbsync.apply.server_errors import LOST_CODES
from pydbsync.errors import OperationError, PermanentError, Stopped, TransientError
from pydbsync.killpoints import kill_point
from pydbsync.model import TableSchema
from pydbsync.ops.chunks import Chunk, RowKey, key_chunks
from pydbsync.ops.copy.fields import Carriage, RowForm
from pydbsync.ops.copy.journal import CopyJournal
from pydbsync.ops.copy.sessions import SourceReader, TargetWriter, TooLargeError
from pydbsync.ops.copy.tasks import RoundTasks, TableTask
from pydbsync.ops.copy.writing import ATTEMPTS, ChunkWriter

CHANGED_CODES = {
    1412: "it was rebuilt or replaced",
    1146: "it was dropped or renamed",
    1049: "its database was dropped",
    1051: "it was dropped",
    1054: "a column was dropped or renamed",
    1176: "an index was dropped",
}
"""What a read says of a table whose definition has changed since the snapshot."""
_LOCK_TIMEOUT = 1205
_CHECK_VIOLATED = 3819
_BROKEN_CHECK = (
    "; rows of the source break it: mend them there, or make the table by hand with the CHECK NOT ENFORCED and copy"
    " with --restart --existing keep"
)
TEXT_BYTES = 4 << 20
"""A chunk's text has about so many bytes at most."""


class SourceLostError(Exception):
    """The connection to the source is gone, and with it the snapshot."""


class SourceBlockedError(SourceLostError):
    """A schema change waits for the snapshot's locks, and this read behind it."""


class SourceChangedError(Exception):
    """The table's definition is not that of the snapshot any more."""


class CopyWorker:
    """Works on a board's tables until there are none. One thread."""

    def __init__(
        self,
        board: RoundTasks,
        *,
        reader: SourceReader,
        writer: ChunkWriter,
        journal: CopyJournal,
        prepare: Callable[[TableTask], None],
        finish: Callable[[TableTask], str],
        empty: Callable[[TableTask], None],
        brake: Callable[[int], None],
        stop: threading.Event,
        log: logging.Logger,
    ) -> None:
        self._board = board
        self._reader = reader
        self._writer = writer
        self._journal = journal
        self._prepare = prepare
        self._finish = finish
        self._empty = empty
        self._brake = brake
        self._stop = stop
        self._log = log
        self._unanswered = (0, 0)
        """Rows and bytes of the last COMMIT."""

    def run(self) -> None:
        """Work. What goes wrong is told to the board; never raises."""
        try:
            while (found := self._board.next(stop=self._stop)) is not None:
                self._work_on(*found)
        except SourceBlockedError as exc:
            self._log.info("a schema change waits for the snapshot, which is given up for it: %s", exc)
            self._board.end()
        except SourceLostError as exc:
            self._log.warning("a connection to the source was lost, and its snapshot with it: %s", exc)
        except BaseException as exc:
            self._board.failed(exc)
        finally:
            self._writer.close()

    def _work_on(self, task: TableTask, is_new: bool) -> None:
        chunk: Chunk | None = None
        try:
            if is_new:
                self._prepare(task)
                if task.is_chunked:
                    self._board.prepared(task)
                    is_new = False
            if task.is_chunked:
                while (chunk := self._next_chunk(task)) is not None:
                    self._brake(0)
                    self._copy_chunk(task, chunk)
                    kill_point("after-chunk")
            else:
                self._copy_whole(task)
                task.is_planned_whole = True
                self._board.prepared(task)
        except SourceChangedError as exc:
            self._board.changed(task, str(exc), was_new=is_new)
            return
        except SourceLostError:
            self._board.lost(task, chunk, was_new=is_new)
            raise
        except PermanentError as exc:
            raise OperationError(f"{task.name}: {exc}{_BROKEN_CHECK if exc.code == _CHECK_VIOLATED else ''}") from exc
        self._board.released(task, lambda: self._finish(task))

    # -- tables with a key -------------------------------------------------------------------------------------------

    def _next_chunk(self, task: TableTask) -> Chunk | None:
        if self._stop.is_set():
            raise Stopped("stopped between two chunks")
        if self._board.error is not None or self._board.is_ending:
            return None
        with task.lock:
            if task.returned:
                return task.returned.popleft()
            if task.is_planned_whole or task.schema is None:
                return None
            schema, last, wanted = task.schema, task.last, task.rows_wanted(self._limit_bytes())
            with self._reading(), self._reader.unlocked():
                chunk = next(key_chunks(self._reader, schema, wanted, after=last), None)
            if chunk is not None:
                planned = chunk
                self._writer.repeat(lambda connection: self._journal.plan_chunk(connection, task.name, planned))
                task.last = chunk
            task.is_planned_whole = chunk is None or chunk.upper is None
            return chunk

    def _limit_bytes(self) -> int:
        packet = min(self._reader.max_allowed_packet, self._writer.max_allowed_packet())
        return min(TEXT_BYTES, packet // 4)

    def _copy_chunk(self, task: TableTask, chunk: Chunk) -> None:
        schema, form = _prepared(task)
        where = " AND ".join([f"({RowKey(schema).where(chunk)})", *_owned(task)])
        while True:
            began, way = time.monotonic(), task.way
            try:
                if way is Carriage.SINGLE:
                    raise TooLargeError("rows of this table are too large")
                with self._reading(), self._reader.unlocked():
                    parts = self._reader.chunk(form.chunk_query(way, where, shard=task.shard))
            except TooLargeError:
                task.was_too_large()
                self._repeat_rows(task, where, chunk)
                return
            rows, size = sum(int(part[1]) for part in parts), sum(len(part[3]) for part in parts)
            is_first = True

            def write(connection: TargetWriter) -> None:
                nonlocal is_first
                # After a commit whose answer was lost, the row of the chunk tells whether it was done.
                if not is_first and self._journal.is_chunk_done(connection, task.name, chunk):
                    return
                is_first = False
                with connection.transaction():
                    for shard, count, errors, text in parts:  # noqa: B023
                        self._writer.write(task, way, text, shard=_shard(shard), rows=int(count), errors=int(errors))  # noqa: B023
                    self._journal.end_chunk(connection, task.name, chunk, rows=rows, size_bytes=size)  # noqa: B023
                    kill_point("before-chunk-commit")

            try:
                self._writer.repeat(write)
            except PermanentError as exc:
                if not self._writer.give_up_loading(task, exc):
                    raise
                continue
            task.took(rows, size, time.monotonic() - began)
            self._board.progressed(task, rows, size)
            self._brake(rows)
            return

    def _repeat_rows(self, task: TableTask, where: str, chunk: Chunk) -> None:
        """Row by row in one transaction, again as long as it is not known to be committed."""
        is_first = True

        def copy_rows(connection: TargetWriter) -> None:
            nonlocal is_first
            # A COMMIT whose answer was lost may have been done: the row of the chunk tells.
            if is_first or not self._journal.is_chunk_done(connection, task.name, chunk):
                is_first = False
                self._copy_rows(task, where, chunk=chunk)
            else:
                self._board.progressed(task, *self._unanswered)

        self._writer.repeat(copy_rows)

    # -- row by row --------------------------------------------------------------------------------------------------

    def _copy_whole(self, task: TableTask) -> None:
        """A table without a key: one pass, committed in pieces; begun again from an empty table if that fails.

        Where others write to the same target table nothing can be emptied: it is one transaction, and one chunk.
        """
        where = " AND ".join(_owned(task)) or "TRUE"
        if task.is_shared:
            whole = Chunk(0)
            self._writer.repeat(lambda connection: self._journal.plan_chunk(connection, task.name, whole))
            while True:
                try:
                    self._repeat_rows(task, where, whole)
                    return
                except PermanentError as exc:
                    if not self._writer.give_up_loading(task, exc):
                        raise
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._copy_rows(task, where, chunk=None)
                return
            except TransientError as exc:
                if attempt == ATTEMPTS:
                    raise
                self._log.warning("%s is begun again: %s", task.name, exc)
                self._stop.wait(min(0.2 * attempt, 10.0))
            except PermanentError as exc:
                if not self._writer.give_up_loading(task, exc):
                    raise
            self._begin_again(task)

    def _begin_again(self, task: TableTask) -> None:
        self._empty(task)
        self._board.progressed(task, -task.report.rows, -task.report.size_bytes)

    def _copy_rows(self, task: TableTask, where: str, *, chunk: Chunk | None) -> None:
        """Row by row, in one transaction if it is a chunk. Falls back to single values where a row is too large."""
        try:
            self._stream_rows(task, where, chunk=chunk, way=task.way)
        except TooLargeError:
            if chunk is None:
                self._begin_again(task)
            self._stream_rows(task, where, chunk=chunk, way=Carriage.SINGLE)

    def _stream_rows(self, task: TableTask, where: str, *, chunk: Chunk | None, way: Carriage) -> None:
        _, form = _prepared(task)
        limit, connection = self._limit_bytes(), self._writer.connection
        pile = _Pile()
        total_rows = total_size = 0
        self._brake(0)
        connection.execute(b"START TRANSACTION")
        try:
            for row in self._rows(form.rows_query(way, where, shard=task.shard)):
                text = form.single_values(row[2:]) if way is Carriage.SINGLE else row[2]
                if text is None:
                    raise TooLargeError("a row is longer than the source can print as one text", code=1301)
                if pile.rows and (pile.size + len(text) > limit or way is Carriage.SINGLE):
                    self._flush(task, way, pile)
                    if chunk is None:
                        connection.commit()
                        self._board.progressed(task, total_rows, total_size)
                        self._brake(total_rows)
                        self._brake(0)
                        total_rows = total_size = 0
                        connection.execute(b"START TRANSACTION")
                pile.add(_shard(row[0]), text, int(row[1] or 0))
                total_rows, total_size = total_rows + 1, total_size + len(text)
            self._flush(task, way, pile)
            if chunk is not None:
                self._journal.end_chunk(connection, task.name, chunk, rows=total_rows, size_bytes=total_size)
                kill_point("before-chunk-commit")
            self._unanswered = total_rows, total_size
            connection.commit()
        except BaseException:
            connection.rollback()
            raise
        self._board.progressed(task, total_rows, total_size)
        self._brake(total_rows)

    def _flush(self, task: TableTask, way: Carriage, pile: _Pile) -> None:
        for shard, texts in pile.texts.items():
            joined = (b"\n" if way is Carriage.LOAD else b",").join(texts)
            self._writer.write(task, way, joined, shard=shard, rows=len(texts), errors=pile.errors[shard])
        pile.clear()

    # -- the source --------------------------------------------------------------------------------------------------

    def _rows(self, sql: str) -> Iterator[tuple[Any, ...]]:
        """The rows of a query one by one; what goes wrong while they are read is the source's fault."""
        with self._reading(), self._reader.unlocked():
            for row in self._reader.stream(sql):
                yield row
                if self._stop.is_set():
                    self._reader.close()  # else all rows that are left would have to be read first
                    raise Stopped("stopped between two rows")
                if self._board.is_ending:
                    self._reader.close()
                    raise SourceLostError("the snapshot was given up")

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except TooLargeError:
            raise
        except PermanentError as exc:
            if exc.code in CHANGED_CODES:
                raise SourceChangedError(f"{CHANGED_CODES[exc.code]} ({exc})") from exc
            raise
        except TransientError as exc:
            if exc.code == _LOCK_TIMEOUT:
                raise SourceBlockedError(str(exc)) from exc
            if exc.code in LOST_CODES or not self._reader.is_open():
                raise SourceLostError(str(exc)) from exc
            raise


class _Pile:
    """Texts of rows that wait to be written, by shard."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.texts: dict[int | None, list[bytes]] = defaultdict(list)
        self.errors: dict[int | None, int] = defaultdict(int)
        self.rows = self.size = 0

    def add(self, shard: int | None, text: bytes, errors: int) -> None:
        self.texts[shard].append(text)
        self.errors[shard] += errors
        self.rows, self.size = self.rows + 1, self.size + len(text)


def _prepared(task: TableTask) -> tuple[TableSchema, RowForm]:
    if task.schema is None or task.form is None:
        raise OperationError(f"{task.name} was not prepared")
    return task.schema, task.form


def _owned(task: TableTask) -> list[str]:
    """The conditions of rows that go anywhere, if there are others."""
    shards = sorted({target.shard for target in task.targets if target.shard is not None})
    found = [f"{task.shard} IN (-1, {', '.join(map(str, shards))})"] if shards else []
    return [*found, f"({task.condition})"] if task.condition else found


def _shard(value: object) -> int | None:
    """The number of a row's shard; None where it goes to all."""
    number = int(value) if isinstance(value, bytes | str | int) else 0
    return None if number < 0 else number
