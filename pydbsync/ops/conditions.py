"""Which tables and rows are meant: globs of the configuration and of options, and `--where TABLE=SQL`."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Iterable, Sequence
from typing import TypeAlias

from pydbsync.config.settings import Settings, source_globs
from pydbsync.errors import OperationError
from pydbsync.model import TableName
from pydbsync.route.filters import Filters, other_case

Conditions: TypeAlias = Sequence[tuple[str, str]]
"""Globs of source tables, each with SQL."""
_ALIKE = 0.75
"""From 0, nothing in common, to 1, the same."""


def read_condition(text: str) -> tuple[str, str]:
    """`shop.orders=created_at >= '2030-01-01'`. Raises OperationError."""
    table, equals, condition = text.partition("=")
    if not (equals and table.strip() and condition.strip()):
        raise OperationError(f'--where: expected TABLE=SQL such as "shop.orders=id > 1000", got {text!r}')
    return table.strip(), condition.strip()


def read_conditions(texts: Iterable[str] | None) -> tuple[tuple[str, str], ...]:
    """All that were given, if any."""
    return tuple(map(read_condition, texts or ()))


def condition_of(conditions: Conditions, names: Iterable[TableName]) -> str:
    """All that holds for tables that are one (several sources of one target), as SQL; empty for all rows."""
    tables = list(names)
    # The end of a line ends a comment in it.
    return " AND ".join(f"({sql}\n)" for glob, sql in conditions if any(_takes(glob, name) for name in tables))


def without_table(conditions: Conditions, names: Iterable[TableName], *, done: str) -> list[str]:
    """A sentence for each condition that no table has; `done` is what is done with tables."""
    tables = list(names)
    return [
        f"--where names {glob}, and no table that is {done} is called so{nearly(glob, map(str, tables))}"
        for glob, _ in conditions
        if not any(_takes(glob, name) for name in tables)
    ]


def misnamed(
    settings: Settings, present: Collection[TableName], *, tables: Sequence[str], exclude: Sequence[str],
    chosen: Collection[TableName], done: str, absent: Collection[TableName] = (),
) -> list[str]:  # fmt: skip
    """A sentence for each glob that names tables of the source in other capitals, for each of --tables that none of
    those takes that are `done`, and for each of --exclude that leaves out nothing. `present` are all tables of the
    source, `chosen` those that are `done`, `absent` others that --exclude may leave out."""
    options = [("--tables", each) for each in tables] + [("--exclude", each) for each in exclude]
    return list(other_case([*source_globs(settings), *options], present)) or [
        *unmatched(tables, chosen, known=present, done=done),
        *leaving_nothing_out(exclude, [*present, *absent]),
    ]


def unmatched(
    tables: Iterable[str], names: Collection[TableName], *, known: Collection[TableName], done: str
) -> list[str]:
    """A sentence for each glob of --tables that none of the tables has; `known` are those that may be meant."""
    return [
        f"--tables names {glob}, and no table that is {done}, and that the user is shown, is called so"
        f"{nearly(glob, map(str, known))}"
        for glob in tables
        if not any(_takes(glob, name) for name in names)
    ]


def leaving_nothing_out(exclude: Iterable[str], names: Collection[TableName]) -> list[str]:
    """A sentence for each glob of --exclude that none of the tables has."""
    return [
        f"--exclude names {glob}, and no table that the user is shown is called so{nearly(glob, map(str, names))}"
        for glob in exclude
        if not any(_takes(glob, name) for name in names)
    ]


def without_column(given: Iterable[str], columns: Collection[tuple[TableName, str]], *, option: str) -> list[str]:
    """A sentence for each name, `column` or `database.table.column`, that no column has."""
    whole = {f"{table}.{column}" for table, column in columns}
    known = whole | {column for _, column in columns}
    folded = {each.lower() for each in known}
    return [
        f"{option} names {each}, and no column that the user is shown of the tables that are compared is called so"
        f"{nearly(each, whole if '.' in each else known - whole)}"
        for each in given
        if each.lower() not in folded
    ]


def nearly(given: str, known: Iterable[str]) -> str:
    """` (is shop.orders meant?)`, or nothing where no name is much like it."""
    by_folded = {name.lower(): name for name in known}
    close = difflib.get_close_matches(given.lower(), by_folded, n=3, cutoff=_ALIKE)
    return f" (is {' or '.join(by_folded[each] for each in close)} meant?)" if close else ""


def described(conditions: Conditions) -> str:
    """In one line, as it was given."""
    return "; ".join("=".join(each) for each in conditions)


def _takes(glob: str, name: TableName) -> bool:
    return Filters(include=[glob]).takes(name)
