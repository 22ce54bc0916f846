"""DDL messages as Maxwell writes them, and the session that Maxwell does not send."""

from __future__ import annotations

from typing import Final, NamedTuple

import msgspec

from pydbsync.model import SchemaKind, SessionSettings, TableName
from pydbsync.ops.capture.history.schema import TableDef, write_definition
from pydbsync.ops.capture.text import quote_raw


class SchemaText(NamedTuple):
    """One DDL message; `old` and `table` are the table before, `definition` the table after."""

    kind: SchemaKind
    database: str
    table: str | None
    old: TableDef | None
    definition: TableDef | None
    charset: str | None


_NOTHING_TOLD: Final = SessionSettings()


def encode_schema_message(
    message: SchemaText,
    *,
    ts: int,
    sql: str,
    position: str,
    gtid: str | None,
    session: SessionSettings = _NOTHING_TOLD,
) -> bytes:
    """A DDL message; `ts` in seconds. Maxwell's has no `session`."""
    parts = [f'{{"type":"{message.kind}","database":{quote_raw(message.database)}']
    if message.table is not None:
        parts.append(f'"table":{quote_raw(message.table)}')
    if message.old is not None:
        parts.append(f'"old":{write_definition(message.old)}')
    if message.definition is not None:
        parts.append(f'"def":{write_definition(message.definition)}')
    if message.charset is not None:
        parts.append(f'"charset":{quote_raw(message.charset)}')
    parts.append(f'"ts":{ts * 1000},"sql":{quote_raw(sql)},"position":"{position}"')
    if gtid is not None:
        parts.append(f'"gtid":"{gtid}"')
    if session != _NOTHING_TOLD:
        parts.append(f'"session":{msgspec.json.encode(session).decode()}')
    return (",".join(parts) + "}").encode()


def table_of(message: SchemaText) -> TableName:
    """The name that the message's routing key is made of; the table is empty for a database."""
    return TableName(message.database, message.table or "")
