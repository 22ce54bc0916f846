"""Binlog rows as Maxwell's JSON: pure, one table definition at a time, the fields in Maxwell's order."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec import Struct

from pydbsync.errors import OperationError
from pydbsync.model import ChangeKind, Column
from pydbsync.ops.capture.binlog.tablemap import TableMap, packed_integer
from pydbsync.ops.capture.binlog.wires import JSON
from pydbsync.ops.capture.charsets import Charsets, DecodeText
from pydbsync.ops.capture.history.schema import TableDef, is_binary
from pydbsync.ops.capture.rows.jsondiff import apply_diffs
from pydbsync.ops.capture.rows.temporal import ReadColumn
from pydbsync.ops.capture.rows.values import NULL, column_reader, fixed_format, numbers_reader
from pydbsync.ops.capture.text import quote_raw

_PARTIAL_JSON: Final = 1
_LARGE_BYTES: Final = 2**20
_PLAN_LIMIT: Final = 4096
"""Ways to be NULL that one table's readers are kept for."""


class NotWhole(OperationError):
    """Images of rows without columns that belong to them."""


class RowsEvent(Struct, frozen=True, gc=False):
    """One rows event of the binlog."""

    kind: ChangeKind
    ts: int
    """Seconds since 1970."""
    server_id: int
    position: str
    """`file:offset` of the event's start."""
    body: bytes
    at: int
    """Where the first row begins in the body."""
    is_partial: bool = False
    """Whether JSON documents of an update may be written as changes (MySQL's PARTIAL_JSON)."""


class Transaction(NamedTuple):
    """What all rows of a transaction share; None where the source does not say."""

    xid: int | None = None
    gtid: str | None = None
    thread_id: int | None = None


class TableEncoder:
    """Turns the rows of one table, as it was at one time, into messages."""

    def __init__(
        self, seen: TableMap, table: TableDef, charsets: Charsets, *, with_srid: bool = False, hashes: int = 0
    ) -> None:
        """`hashes`: so many numbers of eight bytes follow the columns in each row, which are nobody's."""
        self.seen = seen
        self.table = table
        self._charsets = charsets
        self._with_srid = with_srid
        self._wires = seen.wires
        self._fixed = [fixed_format(w, c) for w, c in zip(seen.wires, table.columns, strict=True)]
        self._readers: list[ReadColumn] = [
            column_reader(
                wire,
                column,
                _decoder(column, charsets),
                has_ascii=not is_binary(column) and charsets.has_ascii(column.charset or "utf8mb4"),
                with_srid=with_srid,
            )
            for wire, column in zip(seen.wires, table.columns, strict=True)
        ]
        self.hashes = hashes
        self._count = len(seen.wires) + hashes
        self._null_bytes = (self._count + 7) // 8
        self._all_present = (1 << self._count) - 1
        self._plans: dict[int, list[ReadColumn]] = {}
        self._checked: dict[str, tuple[bytes, TableEncoder]] = {}
        """By kind, what stands before the rows, the number of columns and which are present, and who reads these."""
        self._changed: tuple[TableEncoder, tuple[int, ...]] | None = None
        """Who reads an image after an update that has the changed columns alone, and which these are."""
        names = [quote_raw(column.name) + ":" for column in table.columns]
        self._names = names
        self._data = ",".join(name.replace("%", "%%") + "%s" for name in names)
        self._key = tuple([column.name for column in table.columns].index(name) for name in table.primary_key)
        self._key_names = f'],"primary_key_columns":[{",".join(map(quote_raw, table.primary_key))}],"data":{{'
        self._head = f'{{"database":{quote_raw(table.name.database)},"table":{quote_raw(table.name.table)},"type":"'

    def encode(self, event: RowsEvent, transaction: Transaction, first: int, *, is_last: bool) -> list[bytes]:
        """The messages of one event. `first` is the xoffset of its first row; `is_last`: its last row ends the
        transaction."""
        xid, gtid, thread_id = transaction
        head = f'{self._head}{event.kind}","ts":{event.ts}{"" if xid is None else f",{_XID}{xid}"}'
        place = (
            f',"position":"{event.position}"{"" if gtid is None else f",{_GTID}{gtid}{_QUOTE}"},"server_id":'
            f'{event.server_id}{"" if thread_id is None else f",{_THREAD}{thread_id}"},"primary_key":['
        )
        at = event.at
        if event.is_partial:
            return self._partial_updates(event.body, at, head, place, first, is_last=is_last)
        if event.kind == "update":
            return self._updates(event.body, at, head, place, first, is_last=is_last)
        return self._rows(event.body, at, head, place, first, is_last=is_last)

    def _rows(self, body: bytes, at: int, head: str, place: str, number: int, *, is_last: bool) -> list[bytes]:
        messages = []
        end = len(body)
        data, key, key_names, plans, null_bytes = self._data, self._key, self._key_names, self._plans, self._null_bytes
        while at < end:
            nulls = int.from_bytes(body[at : at + null_bytes], "little")
            at += null_bytes
            row: list[object] = []
            for read in plans.get(nulls) or self._plan(nulls):
                at = read(body, at, row)
            count = ',"commit":true' if is_last and at >= end else f',"xoffset":{number}'
            number += 1
            if end > _LARGE_BYTES:
                messages.append(self._large(f"{head}{count}{place}", row))
                continue
            keys = row[key[0]] if len(key) == 1 else ",".join([str(row[i]) for i in key])
            messages.append(f"{head}{count}{place}{keys}{key_names}{data % tuple(row)}}}}}".encode())
        return messages

    def _large(self, head: str, row: list[object], old: str = "") -> bytes:
        """A message put together so that a large value is in memory twice, not five times; empties `row`."""
        keys = ",".join([str(row[i]) for i in self._key])
        parts = [f"{head}{keys}{self._key_names}".encode()]
        for index, name in enumerate(self._names):
            parts += [b"," if index else b"", name.encode(), str(row[index]).encode()]
            row[index] = None
        return b"".join([*parts, f"}}{old}}}".encode()])

    def _updates(self, body: bytes, at: int, head: str, place: str, number: int, *, is_last: bool) -> list[bytes]:
        messages = []
        end = len(body)
        plans, null_bytes, changed = self._plans, self._null_bytes, self._changed
        while at < end:
            nulls = int.from_bytes(body[at : at + null_bytes], "little")
            at += null_bytes
            before: list[object] = []
            for read in plans.get(nulls) or self._plan(nulls):
                at = read(body, at, before)
            row: list[object] = []
            if changed is None:
                nulls = int.from_bytes(body[at : at + null_bytes], "little")
                at += null_bytes
                for read in plans.get(nulls) or self._plan(nulls):
                    at = read(body, at, row)
            else:
                values, at = changed[0]._read(body, at)
                row = before.copy()
                for index, value in zip(changed[1], values, strict=True):
                    row[index] = value
            count = ',"commit":true' if is_last and at >= end else f',"xoffset":{number}'
            number += 1
            messages.append(self._update(f"{head}{count}{place}", before, row, is_large=len(body) > _LARGE_BYTES))
        return messages

    def _read(self, body: bytes, at: int) -> tuple[list[object], int]:
        """The values of one image."""
        nulls = int.from_bytes(body[at : at + self._null_bytes], "little")
        at += self._null_bytes
        row: list[object] = []
        for read in self._plans.get(nulls) or self._plan(nulls):
            at = read(body, at, row)
        return row, at

    def _update(self, head: str, before: list[object], row: list[object], *, is_large: bool) -> bytes:
        key = self._key
        keys = row[key[0]] if len(key) == 1 else ",".join([str(row[i]) for i in key])
        old = ",".join([f"{n}{b}" for n, b, a in zip(self._names, before, row, strict=True) if b != a])
        if old:
            old = f',"old":{{{old}}}'
        if is_large:
            return self._large(head, row, old)
        return f"{head}{keys}{self._key_names}{self._data % tuple(row)}}}{old}}}".encode()

    def _partial_updates(
        self, body: bytes, at: int, head: str, place: str, number: int, *, is_last: bool
    ) -> list[bytes]:
        """As `_updates`, for the event in which an image after the change may have a document's changes alone."""
        messages = []
        documents = [index for index, wire in enumerate(self._wires) if wire.kind == JSON]
        while at < len(body):
            before, spans, at = self._image(body, at)
            options, at = packed_integer(body, at)
            partial = 0
            if options & _PARTIAL_JSON:
                size = (len(documents) + 7) // 8
                partial = int.from_bytes(body[at : at + size], "little")
                at += size
            changed = {index: spans[index] for bit, index in enumerate(documents) if partial >> bit & 1}
            row, _, at = self._image(body, at, changed)
            count = ',"commit":true' if is_last and at >= len(body) else f',"xoffset":{number}'
            number += 1
            messages.append(self._update(f"{head}{count}{place}", before, row, is_large=len(body) > _LARGE_BYTES))
        return messages

    def _image(
        self, body: bytes, at: int, changed: Mapping[int, bytes] | None = None
    ) -> tuple[list[object], list[bytes], int]:
        """One row column by column: its tokens and its bytes. `changed` has the documents whose changes follow."""
        nulls = int.from_bytes(body[at : at + self._null_bytes], "little")
        at += self._null_bytes
        row: list[object] = []
        spans = []
        for index, read in enumerate(self._readers):
            start = at
            if nulls >> index & 1:
                row.append(NULL)
            elif changed is not None and index in changed:
                at = start + 4 + int.from_bytes(body[start : start + 4], "little")
                row.append(apply_diffs(changed[index][self._wires[index].size :], body[start + 4 : at]))
            else:
                at = read(body, start, row)
            spans.append(body[start:at])
        return row, spans, at

    def reader(self, body: bytes, at: int, kind: str) -> tuple[TableEncoder, int]:
        """Who reads the rows of an event, and where the first one begins; at `at` stands the number of columns, behind
        a header that versions differ in. `kind` is that of RowsEvent, or "partial".

        Raises NotWhole where columns are left out that rows cannot do without (binlog_row_image other than FULL).
        """
        if found := self._checked.get(kind):
            end = at + len(found[0])
            if body[at:end] == found[0]:
                return found[1], end
        encoder, end = self._check_columns(body, at, kind)
        self._checked[kind] = body[at:end], encoder
        return encoder, end

    def _check_columns(self, body: bytes, at: int, kind: str) -> tuple[TableEncoder, int]:
        count, at = packed_integer(body, at)
        if count != self._count:
            raise OperationError(f"rows of {self.table.name} have {count} columns, their table map {self._count}")
        images = []
        for _ in range(1 if kind in ("insert", "delete") else 2):
            images.append(int.from_bytes(body[at : at + self._null_bytes], "little") & self._all_present)
            at += self._null_bytes
        present, after = images[0], images[-1]
        # An UPDATE may name the changed columns alone behind a whole image of the row before (MariaDB's FULL_NODUP).
        is_changed_alone = kind == "update" and not after & ~present
        if not self._may_lack(self._all_present & ~present) or (after != present and not is_changed_alone):
            raise NotWhole(
                f"rows of {self.table.name} are not whole: a session of the source writes with binlog_row_image other"
                " than FULL. Set binlog_row_image=FULL there, for new sessions too"
            )
        if after != present:
            return self._only(present, after), at
        return (self if present == self._all_present else self._only(present)), at

    def _may_lack(self, missing: int) -> bool:
        """Whether rows are whole without these: columns that are computed from others, which MariaDB (11.8) leaves out
        of the images of UPDATE and DELETE."""
        key = self.table.primary_key
        return not any(
            missing >> index & 1 and (not column.generated or column.name in key)
            for index, column in enumerate(self.table.columns)
        )

    def _only(self, present: int, after: int | None = None) -> TableEncoder:
        """For rows with these columns; `after`, of images after an update, is which of them are there again."""
        shown = [index for index in range(len(self._wires)) if present >> index & 1]
        columns = tuple(self.table.columns[index] for index in shown)
        key = tuple(name for name in self.table.primary_key if any(name == column.name for column in columns))
        found = TableEncoder(
            self.seen.only(shown),
            msgspec.structs.replace(self.table, columns=columns, primary_key=key),
            self._charsets,
            with_srid=self._with_srid,
            hashes=(present >> len(self._wires)).bit_count(),
        )
        if after is not None:
            found._changed = self._only(after), tuple(at for at, index in enumerate(shown) if after >> index & 1)
        return found

    def _plan(self, nulls: int) -> list[ReadColumn]:
        """The readers for rows with this bitmap of NULLs; neighbouring integers are read in one call."""
        if len(self._plans) >= _PLAN_LIMIT:
            self._plans.clear()
        plan: list[ReadColumn] = []
        codes = ""
        for index, (reader, code) in enumerate(zip(self._readers, self._fixed, strict=True)):
            is_null = nulls >> index & 1
            if code is not None and not is_null:
                codes += code
                continue
            if codes:
                plan.append(numbers_reader(codes))
                codes = ""
            plan.append(_read_null if is_null else reader)
        if codes:
            plan.append(numbers_reader(codes))
        plan += [_skip_hash for bit in range(self._count - self.hashes, self._count) if not nulls >> bit & 1]
        self._plans[nulls] = plan
        return plan


_XID: Final = '"xid":'
_GTID: Final = '"gtid":"'
_THREAD: Final = '"thread_id":'
_QUOTE: Final = '"'


def _read_null(row: bytes, at: int, tokens: list[object]) -> int:
    tokens.append(NULL)
    return at


def _skip_hash(row: bytes, at: int, tokens: list[object]) -> int:
    return at + 8


def _decoder(column: Column, charsets: Charsets) -> DecodeText | None:
    if column.kind == "json":
        return charsets.decoder(column.charset or "utf8mb4")  # MariaDB's may be any text with a CHECK
    return None if is_binary(column) else charsets.decoder(column.charset or "utf8mb4")
