"""The statement that makes an index of the source at the target, where nothing can go wrong with it."""

from __future__ import annotations

from pydbsync.model import TableName
from pydbsync.ops.servers import Server
from pydbsync.plan.quoting import quote_name, quote_table


def add_statement(source: Server, name: TableName, index: str, target: TableName) -> str:
    """ALTER TABLE … ADD INDEX as the source has it; empty for one that is left to a person.

    An index that is not unique changes no row, whatever comes through the stream before or after. A UNIQUE one does:
    where the source has dropped it again meanwhile, REPLACE would remove rows.
    """
    dialect = source.dialect
    if dialect.is_mariadb:
        hidden = "ignored" if dialect.version >= (10, 6) else "'NO'"
        expression, shown = "NULL", "NO"
    else:
        hidden = "is_visible" if dialect.version >= (8,) else "'YES'"
        expression, shown = ("expression" if dialect.version >= (8, 0, 13) else "NULL"), "YES"
    rows = source.rows(
        f"SELECT column_name, sub_part, collation, index_type, non_unique, {hidden}, {expression}"
        " FROM information_schema.statistics WHERE table_schema = %s AND table_name = %s AND index_name = %s"
        " ORDER BY seq_in_index",
        (*name, index),
    )
    parts = []
    for column, part, order, kind, non_unique, visibility, computed in rows:
        if column is None or computed is not None or not int(non_unique) or visibility != shown or kind != "BTREE":
            return ""
        parts.append(quote_name(str(column)) + (f"({part})" if part else "") + (" DESC" if order == "D" else ""))
    return f"ALTER TABLE {quote_table(target)} ADD INDEX {quote_name(index)} ({', '.join(parts)})" if parts else ""


def drop_statement(target: TableName, index: str) -> str:
    """ALTER TABLE … DROP INDEX. Safe anywhere in the stream for one that the source had and has no more: without an
    index the target only takes more."""
    return f"ALTER TABLE {quote_table(target)} DROP INDEX {quote_name(index)}"
