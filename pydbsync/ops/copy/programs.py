"""Views and triggers: text that the source keeps, run at the target with the databases' names exchanged."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from pydbsync.apply.connection import Connection
from pydbsync.errors import ApplyError, PermanentError, PlanError
from pydbsync.model import TableName
from pydbsync.plan.introducers import kept_introducers
from pydbsync.plan.lexer import Edit, Span, Token, apply_edits, read_tokens
from pydbsync.plan.quoting import quote_name, quote_table

_SCHEMA_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO"
_DEFINER_REFUSED = (1227, 1449, 4006)


class Program(NamedTuple):
    """One view or trigger of the source."""

    name: TableName
    sql: str
    sql_mode: str
    collation: str
    """collation_connection of the session that made it, for the literals in it."""


class Made(NamedTuple):
    """What became of them."""

    names: list[TableName]
    left_out: list[str]
    notes: list[str]


def read_views(source: Connection, names: Iterable[TableName]) -> tuple[list[Program], list[str]]:
    """The views' definitions; those that cannot be read, as sentences."""
    found, refused = [], []
    for name in names:
        try:
            row = source.rows(f"SHOW CREATE VIEW {quote_table(name)}")[0]
        except PermanentError as exc:
            refused.append(f"the view {name}: its definition cannot be read ({exc})")
            continue
        found.append(Program(name, str(row[1]), _SCHEMA_SQL_MODE, str(row[3])))
    return found, refused


def read_triggers(source: Connection, tables: Iterable[TableName]) -> list[Program]:
    """The triggers of these tables, in the order in which they fire."""
    wanted = set(tables)
    found = source.rows(
        "SELECT trigger_schema, trigger_name, event_object_schema, event_object_table FROM information_schema.triggers"
        " ORDER BY event_object_schema, event_object_table, action_timing, event_manipulation, action_order"
    )
    programs = []
    for database, trigger, table_database, table in found:
        if TableName(str(table_database), str(table)) in wanted:
            name = TableName(str(database), str(trigger))
            row = source.rows(f"SHOW CREATE TRIGGER {quote_table(name)}")[0]
            programs.append(Program(name, str(row[2]), str(row[1]), str(row[4])))
    return programs


def make_programs(
    target: Connection,
    programs: Sequence[Program],
    *,
    kind: str,
    databases: Callable[[str], Sequence[str]],
    rename: Callable[[str, str, str], str],
) -> Made:
    """Make them in every target database of their own; a view that needs another comes after it.

    `rename(database, own source database, own target database)` is a name at the target.
    """  # fmt: skip
    made = Made([], [], [])
    waiting = [(program, database) for program in programs for database in databases(program.name.database)]
    reasons: dict[tuple[Program, str], str] = {}
    while waiting:
        again = []
        for program, database in waiting:
            try:
                _make(target, program, database, rename, made.notes)
                made.names.append(TableName(database, program.name.table))
            except (ApplyError, PlanError) as exc:
                reasons[program, database] = str(exc)
                again.append((program, database))
        if len(again) == len(waiting):
            made.left_out.extend(f"the {kind} {each.name}: {reasons[each, database]}" for each, database in again)
            break
        waiting = again
    return made


def _make(
    target: Connection, program: Program, database: str, rename: Callable[[str, str, str], str], notes: list[str]
) -> None:
    tokens = read_tokens(program.sql).tokens
    own = program.name.database
    edits = list(renamed(tokens, lambda name: rename(name, own, database)))
    if target.dialect.is_mariadb:
        edits += kept_introducers(tokens)
    target.use(database)
    target.run("SET SESSION sql_mode = %s", (program.sql_mode,))
    if program.collation.startswith("utf8mb4"):
        try:
            target.execute(f"SET NAMES utf8mb4 COLLATE {program.collation}")
        except PermanentError:  # a collation of the other brand
            target.execute("SET NAMES utf8mb4")
    try:
        target.execute(apply_edits(program.sql, edits).encode())
    except PermanentError as exc:
        definer = definer_span(tokens)
        if exc.code not in _DEFINER_REFUSED or definer is None:
            raise
        target.execute(apply_edits(program.sql, [*edits, Edit(definer, "")]).encode())
        notes.append(f"{program.name} belongs to the user of the copy: its definer cannot be set ({exc})")
    finally:
        if target.is_open():
            target.execute("SET NAMES utf8mb4")


def renamed(tokens: Sequence[Token], rename: Callable[[str], str]) -> Iterable[Edit]:
    """The exchange of every name of a database in front of another name. A table's alias of the same name is none."""
    aliases = _aliases(tokens)
    for index, token in enumerate(tokens[:-1]):
        is_first = token.is_name and tokens[index + 1].is_mark(".") and not (index and tokens[index - 1].is_mark("."))
        if not is_first or rename(token.text) == token.text:
            continue
        has_three = index + 3 < len(tokens) and tokens[index + 3].is_mark(".")
        if token.text not in aliases or has_three:
            yield Edit(Span(token.start, token.end), quote_name(rename(token.text)))


def _aliases(tokens: Sequence[Token]) -> set[str]:
    """Names in quotes that stand behind a name, a closing bracket or AS: `db`.`t` `alias`."""
    return {
        token.text
        for before, token in pairwise(tokens)
        if token.kind == "quoted" and (before.kind == "quoted" or before.is_mark(")") or before.upper == "AS")
    }


def definer_span(tokens: Sequence[Token]) -> Span | None:
    """DEFINER=`user`@`host`; None where there is none."""
    for index, token in enumerate(tokens):
        if token.upper == "DEFINER" and index + 2 < len(tokens) and tokens[index + 1].is_mark("="):
            last = index + 2
            while last + 1 < len(tokens) and tokens[last + 1].upper not in ("SQL", "VIEW", "TRIGGER"):
                last += 1
            return Span(token.start, tokens[last].end)
    return None
