"""Compares the rows of one pair of tables: sums of chunks first, single rows only where these differ."""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import msgspec

from pydbsync.apply.server_errors import SLOW_CODES
from pydbsync.errors import OperationError, TransientError
from pydbsync.ops.brake import Brake
from pydbsync.ops.chunks import Chunk, ChunkSize, KeyValues, estimated_rows
from pydbsync.ops.conditions import condition_of
from pydbsync.ops.verify.matching import TableSides
from pydbsync.ops.verify.report import TableProgress, TableReport, row_difference
from pydbsync.ops.verify.settle import Settler
from pydbsync.ops.verify.sides import NO_BUCKET, NO_DIGEST, Request, Sum
from pydbsync.plan.canonical import ColumnForm, is_whole
from pydbsync.plan.quoting import quote_name, quote_text

_CANDIDATES = 2_000
"""Rows that look different are looked at again when there are so many, and at the end of the table."""
_NAMED = 20
"""Notes that name rows, at most."""
_HELD = 50_000
"""The same where they must be looked at together: one row may be spelled in several ways and has no key."""
_DIGESTS_AT_ONCE = 300_000
"""A range with more rows that differs is not read row by row, but cut in halves."""
_SCANNED_ROWS = 1_000_000
"""A chunk where each of them is a pass over the source's table."""
_NO_LIMIT_S = 1e9
_LONG_ROWS = 500
"""Rows without a key that are read whole because they have no digest."""
_BUCKET_ROWS = 2_000
_BUCKETS = 16_384
_BUCKETS_AT_ONCE = 1_024
_DEPTH = 2
"""How often a bucket is spread over more: beyond that its rows are one and the same."""


class Since(NamedTuple):
    """Only rows changed at or after a time, by a column that says when."""

    column: str
    value: str


class CompareOptions(msgspec.Struct, frozen=True):
    """What is compared, and in which steps."""

    chunk_s: float = 0.5
    """What a chunk should take on the slower server."""
    sample_percent: float = 100.0
    """Share of the chunks of tables with a key; others are compared whole."""
    seed: int = 0
    since: Since | None = None
    where: tuple[tuple[str, str], ...] = ()
    """Only rows that fulfil this SQL, at either end."""
    max_differences: int = 10_000
    """A table is left when it has so many."""


class _AskedChunk(NamedTuple):
    """A chunk that both servers are asked about."""

    chunk: Chunk
    rows: int
    """How many it was cut for; `since` may leave out some."""
    source: Future[tuple[Sum, float]]
    target: Future[tuple[Sum, float]]


class TableComparison:
    """One pair of tables on the way; `report` fills up."""

    def __init__(
        self,
        sides: TableSides,
        report: TableReport,
        options: CompareOptions,
        *,
        settler: Settler,
        brake: Brake,
        on_progress: Callable[[TableReport], None],
    ) -> None:
        self.report = report
        self._sides = sides
        self._options = options
        self._settler = settler
        self._brake = brake
        self._on_progress = on_progress
        self._condition = row_condition(options, sides)
        self._progress = report.progress or TableProgress()
        self._candidates: set[Request] = set(self._progress.candidates)
        self._size = ChunkSize(target_s=options.chunk_s)
        if sides.is_key_masked:
            self._size = ChunkSize(target_s=_NO_LIMIT_S, first=_SCANNED_ROWS, least=_SCANNED_ROWS, most=_SCANNED_ROWS)
        self._must_hold_all = any(column.form in (ColumnForm.JSON, ColumnForm.FLOAT) for column in sides.columns)
        """Without a key: one row may be under several digests, so that all that look different are settled together."""
        # Where several tables become one, the target alone knows where a chunk of all of them ends.
        is_merged = len(sides.source.tables) > 1 or bool(sides.source.tables[0][0].condition)
        self._leader = sides.target if is_merged else sides.source

    def run(self) -> None:
        """Compare all rows. Raises OperationError, ApplyError, Stopped; the report then says how far it came."""
        with ThreadPoolExecutor(max_workers=3) as pool:
            if self._sides.has_key:
                self._run_chunks(pool)
            else:
                self._run_buckets(pool)
        self._settle()

    # -- tables with a key -------------------------------------------------------------------------------------------

    def _run_chunks(self, pool: ThreadPoolExecutor) -> None:
        leader = self._leader
        after = self._progress.after
        index, lower = (after.index + 1, after.upper) if after else (0, None)
        next_upper: Future[KeyValues | None] | None = None
        asked = self._size.rows
        if after is None or after.upper is not None:
            next_upper = pool.submit(leader.boundary, lower, asked)
        waiting: deque[_AskedChunk] = deque()
        while next_upper is not None or waiting:
            if next_upper is None or len(waiting) > 1:
                self._finish(waiting.popleft(), pool)
                if self.report.is_cut:
                    return
                continue
            upper = next_upper.result()
            chunk, rows = Chunk(index, lower, upper), asked
            index, lower, asked = index + 1, upper, self._size.rows
            next_upper = pool.submit(leader.boundary, lower, asked) if upper is not None else None
            if not self._is_chosen(chunk):
                continue
            self._brake.wait()
            waiting.append(self._ask(chunk, rows, pool))

    def _finish(self, work: _AskedChunk, pool: ThreadPoolExecutor) -> None:
        report, chunk = self.report, work.chunk
        try:
            (wanted, source_s), (held, target_s) = work.source.result(), work.target.result()
        except TransientError as exc:
            if exc.code not in SLOW_CODES or not self._halve(chunk, work.rows, pool):
                raise
            self._size.took(work.rows, 2 * self._options.chunk_s)
            return
        rows = max(wanted.rows, held.rows)
        is_same = wanted == held and is_whole(wanted.total)
        if not is_same and rows > _DIGESTS_AT_ONCE and self._halve(chunk, rows, pool):
            return
        report.chunks += 1
        report.source_rows += wanted.rows
        report.target_rows += held.rows
        if chunk.upper is not None:
            self._size.took(work.rows, max(source_s, target_s))
        self._brake.worked(work.rows)
        if not is_same:
            report.chunks_differing += wanted != held
            at_source = pool.submit(self._sides.source.chunk_digests, chunk, self._condition)
            at_target = self._sides.target.chunk_digests(chunk, self._condition)
            self._look_again(at_source.result(), at_target)
        self._progress.after = chunk
        self._tell()
        if len(self._candidates) >= _CANDIDATES:
            self._settle()

    def _ask(self, chunk: Chunk, rows: int, pool: ThreadPoolExecutor) -> _AskedChunk:
        sums = [
            pool.submit(side.chunk_sum, chunk, self._condition) for side in (self._sides.source, self._sides.target)
        ]
        return _AskedChunk(chunk, rows, *sums)

    def _halve(self, chunk: Chunk, rows: int, pool: ThreadPoolExecutor) -> bool:
        """Compare a chunk in two halves; False if it is one row. The target may hold far more of it than the source."""
        middle = None
        for side in (self._leader, self._sides.target):
            middle = middle or (side.boundary(chunk.lower, rows // 2) if rows > 1 else None)
        if middle is None or middle == chunk.upper:
            return False
        for half in (Chunk(chunk.index, chunk.lower, middle), Chunk(chunk.index, middle, chunk.upper)):
            self._finish(self._ask(half, rows // 2, pool), pool)
        return True

    def _look_again(self, source: dict[KeyValues, tuple[str, ...]], target: dict[KeyValues, tuple[str, ...]]) -> None:
        different = {key for key, each in source.items() if target.get(key) != each or NO_DIGEST in each}
        only_there = target.keys() - source.keys()
        if self._sides.pair.is_complete:
            different |= only_there
        else:
            self.report.unknown_extra += len(only_there)
        self._candidates |= different

    def _is_chosen(self, chunk: Chunk) -> bool:
        percent = self._options.sample_percent
        if percent >= 100:
            return True
        # Told by the chunk itself, so that a run that goes on later takes the same ones.
        drawn = zlib.crc32(f"{self._options.seed}/{self.report.target}/{chunk.lower}".encode())
        return drawn < percent / 100 * 2**32

    # -- tables without a key ----------------------------------------------------------------------------------------

    def _run_buckets(self, pool: ThreadPoolExecutor) -> None:
        sides = self._sides
        (first, _, _), *_ = sides.target.tables
        about = sides.target.server.call(lambda connection: estimated_rows(connection, first.schema.name))
        buckets = max(1, min(_BUCKETS, about // _BUCKET_ROWS))
        wanted, held = self._bucket_sums(buckets, pool)
        report = self.report
        report.chunks += buckets
        report.source_rows += sum(each.rows for each in wanted.values())
        report.target_rows += sum(each.rows for each in held.values())
        differing = _differing(wanted, held)
        report.chunks_differing += len(differing)
        self._tell()
        self._take_long_rows(wanted.get(NO_BUCKET, Sum()).rows + held.get(NO_BUCKET, Sum()).rows)
        for modulus, chosen in self._groups(buckets, differing, pool):
            self._brake.wait()
            source_digests = pool.submit(sides.source.bucket_digests, modulus, chosen, self._condition)
            target_digests = sides.target.bucket_digests(modulus, chosen, self._condition)
            more, less = source_digests.result(), target_digests
            if not sides.pair.is_complete:
                report.unknown_extra += sum((less - more).values())
                less &= more
            self._candidates |= {(digest,) for digest in more.keys() | less.keys() if more[digest] != less[digest]}
            if self._must_hold_all and len(self._candidates) > _HELD:
                raise OperationError(
                    f"more than {_HELD} rows look different, and without a key they cannot be told apart: values of"
                    " JSON and floating point columns may be spelled in several ways"
                )
            if not self._must_hold_all and len(self._candidates) >= _CANDIDATES:
                self._settle()
            if report.is_cut:
                return

    def _bucket_sums(
        self, buckets: int, pool: ThreadPoolExecutor, *, within: tuple[int, int] | None = None
    ) -> tuple[dict[int, Sum], dict[int, Sum]]:
        self._brake.wait()
        at_source = pool.submit(self._sides.source.bucket_sums, buckets, self._condition, within=within)
        held = self._sides.target.bucket_sums(buckets, self._condition, within=within)
        wanted = at_source.result()
        self._brake.worked(sum(each.rows for each in wanted.values()))
        return wanted, held

    def _groups(
        self, buckets: int, differing: dict[int, int], pool: ThreadPoolExecutor, *, depth: int = 0
    ) -> Iterator[tuple[int, list[int]]]:
        """(number of buckets, some of them) whose digests can be held together: each is one more pass over the table.

        A bucket that holds too many rows is spread over more of them, unless it is one row many times.
        """
        group: list[int] = []
        size = 0
        for bucket, rows in sorted(differing.items()):
            if rows > _DIGESTS_AT_ONCE and depth < _DEPTH:
                finer = buckets * _BUCKETS
                sums = self._bucket_sums(finer, pool, within=(buckets, bucket))
                yield from self._groups(finer, _differing(*sums), pool, depth=depth + 1)
                continue
            if group and (size + rows > _DIGESTS_AT_ONCE or len(group) == _BUCKETS_AT_ONCE):
                yield buckets, group
                group, size = [], 0
            group.append(bucket)
            size += rows
        if group:
            yield buckets, group

    def _take_long_rows(self, rows: int) -> None:
        """Rows without a digest, which are read whole, all together."""
        if rows > _LONG_ROWS:
            raise OperationError(
                f"{rows} rows are so long that no server can tell their digest (max_allowed_packet), and there is no"
                " key by which they could be read one by one; raise max_allowed_packet at both ends"
            )
        if rows:
            self._must_hold_all = True  # the other side may have a digest of the same row
            self._candidates.add((NO_DIGEST,))

    # -- what looks different ----------------------------------------------------------------------------------------

    def _settle(self) -> None:
        """Find out which of the candidates really differ; no more of them than the limit of differences asks for."""
        waiting = sorted(self._candidates)
        step = len(waiting) if not self._sides.has_key and self._must_hold_all else _CANDIDATES
        for start in range(0, len(waiting), max(1, step)):
            self._settle_part(waiting[start : start + step])
            if self.report.is_cut:
                break
        self._candidates.clear()
        self._tell()

    def _settle_part(self, candidates: list[Request]) -> None:
        settled = self._settler.settle(self._sides, candidates)
        report = self.report
        report.in_flux += settled.in_flux
        report.unreadable += len(settled.unreadable)
        for key, why in sorted(settled.unreadable.items())[: max(0, _NAMED - len(report.notes))]:
            report.notes.append(f"the row {', '.join(key)} could not be compared: {why}")
        for verdict in settled.different:
            is_foreign = verdict.source is None and not self._sides.pair.is_complete
            if is_foreign:
                report.unknown_extra += 1
                continue
            report.different += 1
            report.unproven += not verdict.is_proven
            report.differences.append(row_difference(verdict, self._sides))
        report.is_cut = report.different >= self._options.max_differences

    def _tell(self) -> None:
        if self._sides.has_key:
            self._progress.candidates = sorted(self._candidates)
            self.report.progress = self._progress
        self._on_progress(self.report)


def _differing(source: dict[int, Sum], target: dict[int, Sum]) -> dict[int, int]:
    """The buckets that are not the same on both sides, and how many rows they have."""
    return {
        bucket: max(source.get(bucket, Sum()).rows, target.get(bucket, Sum()).rows)
        for bucket in source.keys() | target.keys()
        if bucket != NO_BUCKET and source.get(bucket, Sum()) != target.get(bucket, Sum())
    }


def row_condition(options: CompareOptions, sides: TableSides) -> str:
    """What is asked of rows to be compared, as SQL; empty for all."""
    since = options.since
    parts = [f"{quote_name(since.column)} >= {quote_text(since.value).decode('utf-8')}"] if since else []
    parts.append(condition_of(options.where, [part.name for part in sides.pair.sources]))
    return " AND ".join(filter(None, parts))
