"""Tables and row changes in few words, for tests of plans."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from pydbsync.model import NO_JSON, Column, Referrer, RowChange, TableName, TableSchema
from pydbsync.plan.rows import TablePlan
from pydbsync.plan.target import Dialect

MARIADB = Dialect(is_mariadb=True, version=(10, 11, 6))
MYSQL = Dialect(is_mariadb=False, version=(8, 4, 0))


def table(
    columns: str | Iterable[Column] = "id int, v varchar",
    *,
    key: str = "id",
    unique: Iterable[str] = (),
    name: str = "d.t",
    referrers: tuple[Referrer, ...] = (),
    transactional: bool = True,
) -> TableSchema:
    """`columns` such as "id int, v varchar" (text is utf8mb4); `key` and each of `unique` such as "a, b"."""
    if isinstance(columns, str):
        columns = [column(*each.split()) for each in columns.split(", ")]
    parts = tuple(filter(None, key.split(", ")))
    database, _, table_name = name.partition(".")
    return TableSchema(
        name=TableName(database, table_name),
        columns=tuple(columns),
        primary_key=parts,
        unique_keys=tuple(tuple(each.split(", ")) for each in unique),
        row_key=parts,
        referrers=referrers,
        transactional=transactional,
    )


def column(name: str, kind: str, **fields: Any) -> Column:
    if kind in ("char", "varchar", "text", "enum", "set", "json"):
        fields.setdefault("charset", "utf8mb4")
    return Column(name, kind, **fields)


def plan(schema: TableSchema | None = None, **options: Any) -> TablePlan:
    return TablePlan(table() if schema is None else schema, **options)


def insert(data: dict[str, Any] | str, **fields: Any) -> RowChange:
    return change("insert", data, **fields)


def delete(data: dict[str, Any] | str, **fields: Any) -> RowChange:
    return change("delete", data, **fields)


def update(data: dict[str, Any] | str, old: dict[str, Any] | str | None, **fields: Any) -> RowChange:
    """`old` None: Maxwell saw no difference and left it out."""
    return change("update", data, old=NO_JSON if old is None else raw(old), **fields)


def change(kind: str, data: dict[str, Any] | str, **fields: Any) -> RowChange:
    return RowChange(kind=kind, database="d", table="t", ts=1, data=raw(data), **fields)  # type: ignore[arg-type]


def raw(data: dict[str, Any] | str) -> msgspec.Raw:
    """JSON text as Maxwell prints it: no spaces, nothing escaped that need not be."""
    if not isinstance(data, str):
        data = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return msgspec.Raw(data.encode())
