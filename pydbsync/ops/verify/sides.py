"""The two ends of a compared table: what each server says of a chunk, and the rows behind it.

Nothing is grouped or ordered by an alias: in GROUP BY a name means the table's own column of that name first.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.apply.server_errors import TOO_LONG_CODE
from pydbsync.errors import PermanentError
from pydbsync.model import TableSchema
from pydbsync.ops.answers import DoubtfulError, exact_rows
from pydbsync.ops.chunks import Chunk, KeyValues, RowKey, boundary
from pydbsync.ops.servers import Server
from pydbsync.plan.canonical import CanonicalValues, ComparedColumn, RowText, canonical_bytes
from pydbsync.plan.quoting import quote_table

_DIGEST = 32
"""Hexadecimal digits of a row's digest by which a row without a key is called: 128 bits."""
NO_DIGEST = ""
"""Stands for the digest of a row that is too long to have one within the server."""
NO_BUCKET = -1
_KEPT_BYTES = 1 << 16
"""Larger values of a row that was read are kept as their digest, since many rows are held together."""

Request = KeyValues
"""By what a row is asked for: its key, or where there is none its digest, alone in a tuple."""


class Sum(NamedTuple):
    """How many rows, and the sum of their digests. Sums of disjoint sets of rows add up."""

    rows: int = 0
    total: int = 0

    def plus(self, other: Sum) -> Sum:
        return Sum(self.rows + other.rows, self.total + other.total)


class FoundRow(msgspec.Struct, frozen=True):
    """What one side holds under one identity."""

    state: object
    """Equal on both sides exactly if the rows are the same: the rows' values, or without a key their number."""
    count: int
    values: CanonicalValues
    requests: frozenset[Request]
    doubt: str = ""
    """Why the row could not be read as it is, in the server's words; nothing else is known of it then."""


class SideTable(NamedTuple):
    """One table of a side."""

    schema: TableSchema
    condition: str


class Side:
    """One server's tables behind a pair; several at the source where they are merged into one."""

    def __init__(
        self,
        server: Server,
        tables: Sequence[tuple[SideTable, RowText, RowKey | None]],
        columns: Sequence[ComparedColumn],
        *,
        across_brands: bool,
    ) -> None:
        self.server = server
        self.tables = tables
        self._columns = columns
        self._across_brands = across_brands

    # -- tables with a key -------------------------------------------------------------------------------------------

    def boundary(self, lower: KeyValues | None, rows: int) -> KeyValues | None:
        """The upper end of a chunk of so many rows behind `lower`; None where the table ends before."""
        (_, _, key), *_ = self.tables
        if key is None:
            return None
        return self.server.call(lambda connection: boundary(connection, key, lower, rows=rows))

    def statements(self, chunk: Chunk, condition: str) -> Iterator[str]:
        """What the server is asked for the sum of a chunk, a statement a table."""
        for table, text, key in self.tables:
            yield (
                f"SELECT COUNT(*), {text.sum} FROM {_from(table, key)} WHERE"
                f" {_both(_where(key, chunk), table.condition, condition)}"
            )

    def chunk_sum(self, chunk: Chunk, condition: str) -> tuple[Sum, float]:
        """All rows of the chunk for which the condition holds, and the seconds that it took.

        A sum that is not whole has rows without a digest.
        """
        found, elapsed_s = Sum(), 0.0
        for sql in self.statements(chunk, condition):
            ((rows, total),), took_s = self.server.timed_rows(sql)
            found = found.plus(Sum(int(rows), int(total or 0)))
            elapsed_s += took_s
        return found, elapsed_s

    def chunk_digests(self, chunk: Chunk, condition: str) -> dict[KeyValues, tuple[str, ...]]:
        """The digest of each row of the chunk by its key; several where merged tables share a key.

        A row without a digest has NO_DIGEST in its place.
        """
        found: dict[KeyValues, tuple[str, ...]] = {}
        for table, text, key in self.tables:
            if key is None:
                continue
            for *printed, digest in self.server.exact_rows(
                f"SELECT {', '.join(key.printed)}, LEFT({text.digest}, {_DIGEST}) FROM {_from(table, key)} WHERE"
                f" {_both(_where(key, chunk), table.condition, condition)}"
            ):
                values = key.values(printed)
                found[values] = tuple(sorted((*found.get(values, ()), _ascii(digest))))
        return found

    def keys(self, chunk: Chunk) -> set[KeyValues]:
        """The keys of the chunk's rows."""
        found: set[KeyValues] = set()
        for table, _, key in self.tables:
            if key is not None:
                rows = self.server.exact_rows(
                    f"SELECT {', '.join(key.printed)} FROM {_from(table, key)} WHERE"
                    f" {_both(_where(key, chunk), table.condition)}"
                )
                found |= {key.values(row) for row in rows}
        return found

    # -- tables without a key ----------------------------------------------------------------------------------------

    def bucket_sums(self, buckets: int, condition: str, *, within: tuple[int, int] | None = None) -> dict[int, Sum]:
        """All rows, spread over so many buckets by their digests; one pass over the table.

        Rows without a digest are in NO_BUCKET. `within` is one bucket of fewer ones: (their number, the bucket).
        """
        found: dict[int, Sum] = {}
        for table, text, key in self.tables:
            only = f"MOD({text.number}, {within[0]}) = {within[1]}" if within else ""
            for bucket, rows, total in self.server.exact_rows(
                f"SELECT MOD({text.number}, {buckets}), COUNT(*), {text.sum} FROM {_from(table, key)}"
                f" WHERE {_both(only, table.condition, condition)} GROUP BY 1"
            ):
                number = NO_BUCKET if bucket is None else int(bucket)
                found[number] = found.get(number, Sum()).plus(Sum(int(rows), int(total)))
        return found

    def bucket_digests(self, buckets: int, chosen: Iterable[int], condition: str) -> Counter[str]:
        """How often each digest occurs in some of the buckets."""
        listed = ", ".join(map(str, chosen))
        found: Counter[str] = Counter()
        for table, text, key in self.tables:
            for digest, rows in self.server.exact_rows(
                f"SELECT LEFT({text.digest}, {_DIGEST}), COUNT(*) FROM {_from(table, key)} WHERE"
                f" {_both(f'MOD({text.number}, {buckets}) IN ({listed})', table.condition, condition)} GROUP BY 1"
            ):
                found[_ascii(digest)] += int(rows)
        return found

    # -- single rows -------------------------------------------------------------------------------------------------

    def fetch(self, requests: Collection[Request], *, within: Connection | None = None) -> dict[object, FoundRow]:
        """What there is now under these requests, by identity: the key, or without one the row's own values.

        `within` is that of `read`. Raises DoubtfulError for a row without a key that cannot be read as it is; one with
        a key says so itself.
        """
        found: dict[object, FoundRow] = {}
        if not requests:
            return found
        for table in self.tables:
            key = table[2]
            for request, count, row in self.read(table, table[1].values, requests, within=within):
                if isinstance(row, DoubtfulError):
                    if key is None:
                        raise row
                    found[request] = FoundRow(state=str(row), count=1, values=(), requests=frozenset(), doubt=str(row))
                    continue
                values = tuple(map(canonical_bytes, row))
                normal = tuple(
                    _kept(column.normal(value, across_brands=self._across_brands))
                    for column, value in zip(self._columns, values, strict=True)
                )
                identity: object = normal if key is None else request
                if key is not None and request not in requests:  # a collation holds it for the one asked for
                    continue
                before = found.get(identity)
                if before is not None and before.doubt:
                    continue
                rows: tuple[object, ...] = (normal,)
                if before is not None:
                    count += before.count
                    rows = tuple(sorted((*before.state, normal), key=repr)) if key is not None else rows  # type: ignore[misc]
                found[identity] = FoundRow(
                    state=count if key is None else rows,
                    count=count,
                    values=tuple(map(_kept, values)),
                    requests=frozenset({request}) | (before.requests if before else frozenset()),
                )
        return found

    def holding(self, requests: Collection[Request], condition: str) -> set[Request]:
        """Those of the rows for which the condition holds."""
        return {
            request
            for table in self.tables
            if requests
            for request, _, _ in self.read(table, ["1"], requests, condition=condition)
            if request in requests
        }

    def digests(self, condition: str) -> set[Request]:
        """By what the rows without a key are called for which the condition holds."""
        found: set[Request] = set()
        for table, text, key in self.tables:
            for (digest,) in self.server.exact_rows(
                f"SELECT DISTINCT LEFT({text.digest}, {_DIGEST}) FROM {_from(table, key)} WHERE {condition}"
            ):
                found.add((_ascii(digest),))
        return found

    def read(
        self,
        part: tuple[SideTable, RowText, RowKey | None],
        expressions: Sequence[str],
        requests: Collection[Request],
        *,
        within: Connection | None = None,
        apart: Sequence[str] = (),
        condition: str = "",
    ) -> Iterator[tuple[Request, int, Sequence[object] | DoubtfulError]]:
        """(request, number of rows, what was selected) for the rows of one table under these requests.

        A row may come that was not asked for, where a collation holds its key for the same. `within` is a connection
        with an open transaction, by which the rows are read and locked. Rows without a key that differ in the
        expressions `apart` come by themselves. `condition` must hold too. Where the server warns of values, each row is
        asked for by itself; one that it still warns of is there as a DoubtfulError.
        """
        if part[2] is None and (NO_DIGEST,) in requests and len(requests) > 1:
            # One by one: they are not grouped, since nothing but their values tells them apart.
            yield from self.read(part, expressions, [(NO_DIGEST,)], within=within, apart=apart, condition=condition)
            requests = [request for request in requests if request != (NO_DIGEST,)]
        asked = list(requests)
        try:
            yield from self._read(part, expressions, asked, within, apart, condition)
        except DoubtfulError as exc:
            if len(asked) == 1:
                yield asked[0], 1, exc
                return
            for request in asked:
                yield from self.read(part, expressions, [request], within=within, apart=apart, condition=condition)
        except PermanentError as exc:
            if exc.code != TOO_LONG_CODE or len(asked) == 1:
                raise
            middle = len(asked) // 2
            for half in (asked[:middle], asked[middle:]):
                yield from self.read(part, expressions, half, within=within, apart=apart, condition=condition)

    def _read(
        self,
        part: tuple[SideTable, RowText, RowKey | None],
        expressions: Sequence[str],
        requests: Collection[Request],
        within: Connection | None,
        apart: Sequence[str],
        condition: str,
    ) -> list[tuple[Request, int, Sequence[object]]]:
        table, text, key = part
        tail, width = "", len(key.printed) if key is not None else 1
        if key is not None:
            head, where = ", ".join((*key.printed, "1")), key.any_of(requests)
        elif requests == [(NO_DIGEST,)]:
            head, where = "NULL, 1", f"{text.digest} IS NULL"
        else:
            listed = ", ".join(f"'{digest}'" for (digest,) in requests)
            head, tail = f"LEFT({text.digest}, {_DIGEST}), COUNT(*)", f" GROUP BY {', '.join(('1', *apart))}"
            where = f"LEFT({text.digest}, {_DIGEST}) IN ({listed})"
        sql = (
            f"SELECT {head}, {', '.join(expressions)} FROM {_from(table, key)} WHERE"
            f" {_both(where, table.condition, condition)}{tail}"
        )
        rows = self.server.exact_rows(sql) if within is None else exact_rows(within, f"{sql} FOR UPDATE")
        return [
            ((_ascii(row[0]),) if key is None else key.values(row[:width]), int(row[width]), row[width + 1 :])
            for row in rows
        ]


def _from(table: SideTable, key: RowKey | None) -> str:
    if table.schema.rows_sql:
        return table.schema.rows_sql
    quoted = quote_table(table.schema.name)
    uses_primary = key is not None and bool(table.schema.primary_key) and key.names == table.schema.primary_key
    return f"{quoted} FORCE INDEX (PRIMARY)" if uses_primary else quoted


def _where(key: RowKey | None, chunk: Chunk) -> str:
    return "TRUE" if key is None else key.where(chunk)


def _both(*conditions: str) -> str:
    return " AND ".join(each for each in conditions if each and each != "TRUE") or "TRUE"


def _ascii(value: object) -> str:
    if value is None:
        return NO_DIGEST
    return value.decode("ascii") if isinstance(value, bytes) else str(value)


def _kept(value: bytes | None) -> bytes | None:
    if value is None or len(value) <= _KEPT_BYTES:
        return value
    return f"SHA-256 {hashlib.sha256(value).hexdigest()} of {len(value)} bytes".encode("ascii")
