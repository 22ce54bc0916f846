"""How two servers that replicate each other come to agree on a row of which one of them has found a conflict.

What a change does to a row leads from one image to another. Both ends go over the same changes, each in an order of its
own, and where every change finds what it expects both arrive at the same image: what lies between the two is the sum
of all changes, whatever their order. So they can end unequal in those rows alone of which an end has decided a
conflict, and of these they talk. The side that is preferred tells what stands there, after each conflict of its own and
whenever the other one asks, which does so after each of its own. The other one says, at the place in its stream where
it is, whether it has the same. If nothing of the row has come from there in between, all is known on both sides: they
agree, or the row differs and is taken. Else it is told again.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Final, Literal, TypeAlias

import msgspec

from pydbsync.model import NO_JSON, RowChange, TableName

ASK: Final = "ask"
TELL: Final = "tell"
INSIST: Final = "insist"
AGREE: Final = "agree"
DIFFER: Final = "differ"
Saying: TypeAlias = Literal["ask", "tell", "insist", "agree", "differ"]
"""`ask`, `agree` and `differ` come from the other side, `tell` and `insist` from the preferred one. To insist is to
tell what is to be taken."""
RowId: TypeAlias = tuple[TableName, bytes]
"""A table of the target and the coarsest digest of a key in it."""


class Word(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one end says to the other of a row, as it stands in the table `mark` of the server that it is said at."""

    saying: Saying
    database: str
    table: str
    """As that server calls it."""
    key: msgspec.Raw
    """An image with the key."""
    row: msgspec.Raw = NO_JSON
    """What stands there; empty where there is no row."""
    number: str = ""
    """Tells which one is answered."""


class SaidOfRow(RowChange, frozen=True, gc=False):
    """A word on its way through the batch, in the order of the changes of its row."""

    word: Word | None = None

    @property
    def row(self) -> msgspec.Raw | None:
        """What stands there."""
        assert self.word is not None  # noqa: S101 (it is made of one)
        return self.data if bytes(self.word.row) else None  # a route has given it the target's names


_decode_word = msgspec.json.Decoder(Word).decode


def word_of(text: str) -> Word:
    """What `encode_word` has written. Raises msgspec.MsgspecError."""
    return _decode_word(text)


def encode_word(word: Word) -> bytes:
    """As it is written into the table `mark`."""
    found = msgspec.structs.asdict(word)
    return msgspec.json.encode({name: value for name, value in found.items() if name != "row" or bytes(value)})


def said(word: Word, mark: RowChange) -> SaidOfRow:
    """The word that came with this row of `mark`, as a change of the row that it is about."""
    has_row = bool(bytes(word.row))
    return SaidOfRow(
        kind="insert" if has_row else "delete", database=word.database, table=word.table, ts=mark.ts,
        data=word.row if has_row else word.key, xid=mark.xid, xoffset=mark.xoffset, commit=mark.commit,
        position=mark.position, gtid=mark.gtid, server_id=mark.server_id, word=word,
    )  # fmt: skip


def said_by(change: RowChange, schema: str) -> SaidOfRow | None:
    """The word that a row of `mark` in this state schema carries; None where it is another row, or carries none."""
    if change.database != schema or change.table != "mark":
        return None
    text = _decode_mark(change.data).word
    return None if text is None else said(word_of(text), change)


class _MarkRow(msgspec.Struct):
    word: str | None = None


_decode_mark = msgspec.json.Decoder(_MarkRow).decode


class _ToldRow(msgspec.Struct):
    number: str
    is_touched: bool = False
    """Whether a change of the row has come from the other end since."""


class ToldRows:
    """Of which rows the preferred side has told and not been answered."""

    def __init__(self) -> None:
        self._rows: dict[RowId, _ToldRow] = {}

    def __bool__(self) -> bool:
        return bool(self._rows)

    def load(self, rows: Iterable[tuple[RowId, str, bool]]) -> None:
        """What was kept, in place of what is known."""
        self._rows = {row_id: _ToldRow(number, is_touched) for row_id, number, is_touched in rows}

    def touch(self, row_ids: Iterable[RowId]) -> list[RowId]:
        """A change of these rows has come; those of which that is news."""
        found = []
        for row_id in row_ids:
            row = self._rows.get(row_id)
            if row is not None and not row.is_touched:
                row.is_touched = True
                found.append(row_id)
        return found

    def tell(self, row_id: RowId) -> str:
        """It is told of this row; under which number."""
        number = secrets.token_hex(8)
        self._rows[row_id] = _ToldRow(number)
        return number

    def answer(self, row_id: RowId, number: str, *, agrees: bool) -> Saying | None:
        """The other end has answered; what is to be said to that."""
        row = self._rows.get(row_id)
        if row is None:
            return TELL  # another process has told: nobody knows what has come since
        if row.number != number:
            return None  # it was told again since, and the answer to that is to come
        del self._rows[row_id]
        if row.is_touched:
            return TELL
        return None if agrees else INSIST
