"""DDL messages that wait for their time, in a form that can be saved."""

from __future__ import annotations

import msgspec

from pydbsync.model import NO_JSON, SchemaChange, SchemaKind, SessionSettings, TableName
from pydbsync.plan.ddl.lexer import Edit, apply_edits
from pydbsync.plan.ddl.statement import parse_statement
from pydbsync.plan.quoting import quote_table


class KeptMessage(msgspec.Struct, frozen=True):
    """A message that may have to run later. `old` and `def_` are JSON, empty where there was none."""

    kind: SchemaKind
    database: str
    table: str | None
    ts: int
    sql: str
    old: str = ""
    def_: str = ""
    gtid: str | None = None
    session: SessionSettings | None = None


def keep(change: SchemaChange) -> KeptMessage:
    """The message without its position: it runs at the place of another one."""
    old, new = (bytes(raw).decode() for raw in (change.old, change.def_))
    return KeptMessage(
        change.kind, change.database, change.table, change.ts, change.sql, old, new, change.gtid, change.session
    )


def resume(kept: KeptMessage, position: str | None) -> SchemaChange:
    """The message again, at this place of the stream."""
    old, new = (msgspec.Raw(text.encode()) if text else NO_JSON for text in (kept.old, kept.def_))
    return SchemaChange(
        kind=kept.kind, database=kept.database, table=kept.table, ts=kept.ts, sql=kept.sql,
        old=old, def_=new, position=position, gtid=kept.gtid,
        session=kept.session,
    )  # fmt: skip


def retarget(kept: KeptMessage, copy: TableName, real: TableName) -> KeptMessage:
    """A change of the table `copy` as the same change of the table `real`, written with its full name."""
    edits = [
        Edit(ref.span, quote_table(real))
        for ref in parse_statement(kept.sql).names
        if ref.table == copy.table and ref.database in (None, copy.database)
    ]
    return msgspec.structs.replace(
        kept,
        database=real.database,
        table=real.table,
        sql=apply_edits(kept.sql, edits),
        old=_described_as(kept.old, real),
        def_=_described_as(kept.def_, real),
    )


def _described_as(description: str, table: TableName) -> str:
    if not description:
        return ""
    fields = msgspec.json.decode(description, type=dict[str, msgspec.Raw])
    fields["database"], fields["table"] = (msgspec.Raw(msgspec.json.encode(name)) for name in table)
    return msgspec.json.encode(fields).decode()
