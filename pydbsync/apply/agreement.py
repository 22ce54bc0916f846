"""What one end says to the other of rows that were in conflict, and what it does on the other's word
(plan/agreement.py): in the transaction that the conflict, or the word, is part of."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.apply.tables.told import ToldTable
from pydbsync.config.settings import Settings
from pydbsync.model import NO_JSON, RowChange, TableName, read_image
from pydbsync.plan.agreement import (
    AGREE,
    ASK,
    DIFFER,
    INSIST,
    TELL,
    RowId,
    SaidOfRow,
    Saying,
    ToldRows,
    Word,
    encode_word,
)
from pydbsync.plan.identity import nearest_identity
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.rows import TablePlan
from pydbsync.work import Entry

CONFLICTS: Final = "conflicts"
"""The tool of marks that carry a word."""
_ROOM_BYTES: Final = 2**16
_LONG_KEY_BYTES: Final = 2**16
"""An image that is no longer is sent whole: other columns may tell where the row goes (sharding)."""


class Agreement:
    """One end of the talk, of one stream. Used by one thread."""

    def __init__(self, *, schema: str, stream: str, is_preferred: bool, answers: bool = True) -> None:
        """`schema` is the state schema; `is_preferred` says whether the target's row stays where nothing else decides.
        What one without `answers` has told is told again by the one that hears the answer."""
        self.is_preferred = is_preferred
        self._mark_table = f"{quote_name(schema)}.`mark`"
        self._table = ToldTable(schema=schema, stream=stream)
        self._told = ToldRows()
        self._answers = answers
        self._is_known = not answers
        """Whether what is told is as the table has it."""

    def begin(self, connection: Connection) -> None:
        """A transaction begins: another one before it may have been taken back."""
        if not self._is_known:
            self._told.load(self._table.read(connection))
            self._is_known = True

    def touch(self, connection: Connection, entries: Iterable[Entry[TablePlan]]) -> None:
        """These changes come from the other end."""
        if not self._told:
            return
        for _, change, plan in entries:
            if not isinstance(change, SaidOfRow) and plan.row_key:
                for row_id in self._told.touch((plan.name, each) for each in nearest_identity(change, plan)):
                    self._is_known = False
                    self._table.touch(connection, row_id)

    def say(
        self,
        connection: Connection,
        plan: TablePlan,
        saying: Saying,
        key: msgspec.Raw,
        row: msgspec.Raw | None = None,
        *,
        number: str = "",
    ) -> bool:
        """Write a word of the row under the key of this image as part of the running transaction; False where it is too
        long to be written."""
        if saying in (TELL, INSIST) and self._answers:
            row_id = row_id_of(plan, key)
            number = self._told.tell(row_id)
            self._is_known = False
            self._table.write(connection, row_id, number)
        if row is not None or len(key) > _LONG_KEY_BYTES:
            key = _key_alone(plan, key)
        text = encode_word(Word(saying, *plan.name, key=key, row=NO_JSON if row is None else row, number=number))
        if 2 * len(text) + _ROOM_BYTES > connection.max_allowed_packet:  # escaped, it may be twice as long
            return False
        connection.run(
            f"INSERT INTO {self._mark_table} (writer, tool, word)"
            " VALUES (CONCAT('conflicts of ', CONNECTION_ID()), %s, %s)"
            " ON DUPLICATE KEY UPDATE number = number + 1, word = VALUES(word)",
            (CONFLICTS, str(text, "utf-8")),
        )
        return True

    def answer(self, connection: Connection, plan: TablePlan, said: SaidOfRow) -> Saying | None:
        """What the preferred side says to a word of the other one, if anything."""
        assert said.word is not None  # noqa: S101 (it is made of one)
        if said.word.saying == ASK:
            return TELL
        if said.word.saying not in (AGREE, DIFFER):
            return None
        row_id = row_id_of(plan, said.data)
        self._is_known = False
        found = self._told.answer(row_id, said.word.number, agrees=said.word.saying == AGREE)
        if found is None:
            self._table.forget(connection, row_id, said.word.number)
        return found


def _key_alone(plan: TablePlan, image: msgspec.Raw) -> msgspec.Raw:
    names = {name.casefold() for name in plan.row_key}
    found = {name: token for name, token in read_image(image).items() if name.casefold() in names}
    return msgspec.Raw(msgspec.json.encode(found))


def row_id_of(plan: TablePlan, image: msgspec.Raw) -> RowId:
    """What tells the row under the key of an image, however the key is spelled."""
    change = RowChange(kind="delete", database="", table="", ts=0, data=image)
    found = nearest_identity(change, plan)
    return TableName(*plan.name), found[-1] if found else b""


def agreement_for(settings: Settings, *, stream: str, answers: bool = True) -> Agreement | None:
    """That of a stream; None where nobody is at the other end, or no side is preferred. Without `answers` it is of a
    tool, which has gone when the other end answers."""
    if settings.two_way is None or not settings.detects_conflicts or settings.conflicts.prefer is None:
        return None
    is_preferred = settings.conflicts.prefer == "target"
    return Agreement(schema=settings.state_schema, stream=stream, is_preferred=is_preferred, answers=answers)
