"""Maxwell's messages for generated row changes, field for field in Maxwell's order."""

from __future__ import annotations

import json

from benchmarks.tables import Row, Table, as_json

FIRST_TS = 1_700_000_000
CHANGES_A_SECOND = 2_000
"""How fast the stream's own clock runs: `ts` moves on by one second after this many changes."""


class MessageWriter:
    """Keeps the place in an imaginary binlog and writes one message a row.

    Source: https://maxwells-daemon.io/dataformat/ and recorded output of Maxwell 1.45.
    """

    def __init__(self, database: str, *, server_id: int = 1) -> None:
        self._database = json.dumps(database)
        self._server_id = server_id
        self._file = 1
        self._offset = 4
        self._xid = 100
        self._xoffset = 0
        self._changes = 0

    def insert(self, table: Table, row: Row, *, last: bool) -> bytes:
        return self._write(table, "insert", row, "{" + self._members(table, row) + "}", "", last=last)

    def update(self, table: Table, old: Row, row: Row, *, last: bool) -> bytes:
        changed = ",".join(
            f'"{column.name}":{as_json(column, before)}'
            for column, before, after in zip(table.columns, old, row, strict=True)
            if before != after
        )
        data = "{" + self._members(table, row) + "}"
        return self._write(table, "update", row, data, ',"old":{' + changed + "}", last=last)

    def delete(self, table: Table, row: Row, *, last: bool) -> bytes:
        return self._write(table, "delete", row, "{" + self._members(table, row) + "}", "", last=last)

    @staticmethod
    def _members(table: Table, row: Row) -> str:
        return ",".join([f'"{c.name}":{as_json(c, v)}' for c, v in zip(table.columns, row, strict=True)])

    def _write(self, table: Table, kind: str, row: Row, data: str, old: str, *, last: bool) -> bytes:
        place = '"commit":true' if last else f'"xoffset":{self._xoffset}'
        key, names = ("", "") if table.keyless else (as_json(table.columns[0], row[0]), f'"{table.columns[0].name}"')
        message = (
            f'{{"database":{self._database},"table":"{table.name}","type":"{kind}",'
            f'"ts":{FIRST_TS + self._changes // CHANGES_A_SECOND},"xid":{self._xid},{place},'
            f'"position":"bin.{self._file:06d}:{self._offset}","server_id":{self._server_id},'
            f'"primary_key":[{key}],"primary_key_columns":[{names}],"data":{data}{old}}}'
        ).encode()
        self._move_on(len(message), last=last)
        return message

    def _move_on(self, size: int, *, last: bool) -> None:
        self._changes += 1
        self._offset += size
        if not last:
            self._xoffset += 1
            return
        self._xid += 1
        self._xoffset = 0
        self._offset += 120
        if self._offset > 1 << 30:
            self._file += 1
            self._offset = 4
