"""The words for what a DDL statement says about tables and databases, with the place of every name in its text."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pydbsync.plan.ddl.lexer import Span, Token, VersionComment

Action: TypeAlias = Literal[
    "create-table", "alter-table", "rename-table", "drop-table", "truncate-table", "create-index", "drop-index",
    "create-database", "alter-database", "drop-database",
]  # fmt: skip
NameRole: TypeAlias = Literal[
    "subject",  # created, altered, dropped, or renamed from
    "rename-to", "like", "references", "exchange", "union", "column", "database",
]  # fmt: skip


class NameRef(NamedTuple):
    """A name of a table or a database where it stands in the text; `database` and `table` are unquoted."""

    role: NameRole
    span: Span
    """The whole name, qualified or not."""
    database: str | None
    database_span: Span | None
    table: str | None


class Item(NamedTuple):
    """One table of the statement: a pair of RENAME TABLE, one name of DROP TABLE, else the only one."""

    span: Span
    subject: NameRef
    """The name that Maxwell's message about it carries."""
    before: NameRef | None
    """None where the table is created."""
    after: NameRef | None
    """None where it is dropped, `before` again where it keeps its name."""


class Statement(msgspec.Struct, frozen=True):
    """A DDL statement that was read but not changed."""

    sql: str
    action: Action
    names: tuple[NameRef, ...]
    """Every name of a table or a database, in the order of the text."""
    items: tuple[Item, ...]
    clauses: tuple[tuple[Token, ...], ...]
    """The parts of ALTER TABLE, and the definitions between the brackets of CREATE TABLE, without their commas."""
    tokens: tuple[Token, ...]
    version_comments: tuple[VersionComment, ...]
    if_exists: bool = False
    if_not_exists: bool = False
    or_replace: bool = False
    temporary: bool = False
    ansi_quotes: bool = False
    """The text makes sense only in a session with ANSI_QUOTES: "x" is a name."""
    transaction_tail: Span | None = None
    """`START TRANSACTION`, which MySQL 8.0.21 and newer write behind CREATE TABLE … SELECT."""
    options_start: int = 0
    """Where the options of CREATE TABLE, CREATE DATABASE or ALTER DATABASE begin."""
