"""Views, triggers, routines and events: text that the source keeps, run at the target, or named as left out."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

from pydbsync.apply.answered import exact_text
from pydbsync.apply.connection import Connection
from pydbsync.config.settings import Settings
from pydbsync.errors import ApplyError, PermanentError, PlanError
from pydbsync.model import TableName
from pydbsync.ops.copy.definitions import Inventory
from pydbsync.ops.copy.hidden import hidden_programs
from pydbsync.ops.copy.options import CopyOptions, CopyReport
from pydbsync.ops.copy.program_routes import ProgramRoutes
from pydbsync.ops.copy.program_text import definer_span, edits_for, is_same_but_definer, sql_mode_at, tokens_of
from pydbsync.plan.ddl.lexer import Edit, Token, apply_edits
from pydbsync.plan.quoting import quote_table
from pydbsync.route.router import Router

_SCHEMA_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO"
_DEFINER_REFUSED = (1227, 1449, 4006)
_DENIED = (1044, 1142, 1370)
_EXISTS = (1050, 1304, 1359, 1537)
_SQL_AT = {"view": 1, "trigger": 2, "procedure": 2, "function": 2, "event": 3}
"""Where SHOW CREATE has the text of each kind."""
_RIGHTS = {
    "view": "CREATE VIEW", "trigger": "TRIGGER", "procedure": "CREATE ROUTINE", "function": "CREATE ROUTINE",
    "event": "EVENT",
}  # fmt: skip
"""What making each kind needs at the target."""


class Program(NamedTuple):
    """One view, trigger, procedure, function or event of the source."""

    kind: str
    name: TableName
    sql: str
    sql_mode: str
    collation: str
    """collation_connection of the session that made it, for the literals in it."""
    time_zone: str = ""
    """In which the times of an event are meant."""


class MadePrograms(NamedTuple):
    """What became of them."""

    names: list[TableName]
    left_out: list[str]
    notes: list[str]


class Definer(NamedTuple):
    """Whose rights a program has when it runs."""

    user: str
    """user@host"""
    kind: str
    name: TableName


def read_views(source: Connection, names: Iterable[TableName]) -> tuple[list[Program], list[str]]:
    """The views' definitions; those that cannot be read, as sentences."""
    found, refused = [], []
    for name in names:
        try:
            row = source.rows(f"SHOW CREATE VIEW {quote_table(name)}")[0]
        except PermanentError as exc:
            refused.append(f"the view {name}: its definition cannot be read ({exc})")
            continue
        found.append(Program("view", name, str(row[1]), _SCHEMA_SQL_MODE, str(row[3])))
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
            programs.append(Program("trigger", name, str(row[2]), str(row[1]), str(row[4])))
    return programs


def read_routines(source: Connection, databases: Container[str]) -> tuple[list[Program], list[str]]:
    """Procedures and functions; those that cannot be read, as sentences."""
    found, refused = [], []
    for database, routine, kind in source.rows(
        "SELECT routine_schema, routine_name, LOWER(routine_type) FROM information_schema.routines"
        " ORDER BY routine_type, routine_schema, routine_name"
    ):
        name = TableName(exact_text(database), exact_text(routine))
        if name.database not in databases:
            continue
        try:
            row = source.rows(f"SHOW CREATE {exact_text(kind).upper()} {quote_table(name)}")[0]
        except PermanentError as exc:
            refused.append(f"the {exact_text(kind)} {name}: its definition cannot be read ({exc})")
            continue
        if row[2] is None:
            refused.append(
                f"the {exact_text(kind)} {name}: its definition cannot be read without SELECT on mysql.proc or"
                " SHOW_ROUTINE"
            )
            continue
        found.append(Program(exact_text(kind), name, str(row[2]), str(row[1]), str(row[4])))
    return found, refused


def read_events(source: Connection, databases: Container[str]) -> list[Program]:
    """Events, whatever their state."""
    found = []
    for database, event in source.rows(
        "SELECT event_schema, event_name FROM information_schema.events ORDER BY event_schema, event_name"
    ):
        name = TableName(exact_text(database), exact_text(event))
        if name.database in databases:
            row = source.rows(f"SHOW CREATE EVENT {quote_table(name)}")[0]
            found.append(Program("event", name, str(row[3]), str(row[1]), str(row[5]), str(row[2])))
    return found


class ProgramKind(NamedTuple):
    """All programs of one kind that the source has."""

    programs: list[Program]
    is_wanted: bool
    how: str
    """How one gets them."""


def read_programs(
    source: Connection, inventory: Inventory, options: CopyOptions
) -> tuple[dict[str, ProgramKind], list[str]]:
    """All that takes part, in the order in which it can be made; what cannot be read, as sentences."""
    routines, unread = read_routines(source, inventory.databases)
    views, unread_views = read_views(source, inventory.views)
    triggers, events = read_triggers(source, inventory.tables), read_events(source, inventory.databases)
    kinds = {
        "routines": ProgramKind(routines, options.routines, "--routines makes it"),
        "views": ProgramKind(views, options.views, "--views makes it"),
        "triggers": ProgramKind(triggers, options.triggers, "--triggers makes it, for the day of the cut-over"),
        "events": ProgramKind(events, options.events, "--events makes it, disabled"),
    }
    return kinds, [*unread, *unread_views, *hidden_programs(source, inventory)]


def not_wanted(kinds: Iterable[ProgramKind]) -> list[str]:
    """What is left out because nobody asked for it, a sentence each."""
    return [
        f"the {each.kind} {each.name}: {'' if each.kind == 'view' else 'what it does at the source arrives as rows; '}"
        f"{kind.how}"
        for kind in kinds if not kind.is_wanted for each in kind.programs
    ]  # fmt: skip


def carry_programs(
    source: Connection, target: Connection, inventory: Inventory, options: CopyOptions, settings: Settings,
    router: Router, report: CopyReport,
) -> None:  # fmt: skip
    """Make what is asked for, and name all the others in the report, one by one."""
    kinds, unread = read_programs(source, inventory, options)
    report.left_out += [*unread, *not_wanted(kinds.values())]
    names = {
        "routines": report.routines, "views": report.views, "triggers": report.triggers, "events": report.events,
    }  # fmt: skip
    routes = ProgramRoutes(settings, router, inventory.tables)
    for name, kind in kinds.items():
        made = make_programs(
            target, kind.programs if kind.is_wanted else [], databases=router.databases,
            rename=lambda database, own, there: router.rename(database, shard_of=own, shard=there),
            routes=routes,
        )  # fmt: skip
        names[name].extend(made.names)
        report.left_out += made.left_out
        report.notes += made.notes
    if report.events:
        listed = ", ".join(map(str, report.events))
        report.notes.append(f"the events {listed} are disabled at the target: at the switch ALTER EVENT … ENABLE")


def make_programs(
    target: Connection,
    programs: Sequence[Program],
    *,
    databases: Callable[[str], Sequence[str]],
    rename: Callable[[str, str, str], str],
    routes: ProgramRoutes | None = None,
) -> MadePrograms:
    """Make them in every target database of their own; a view that needs another comes after it.

    `rename(database, own source database, own target database)` is a name at the target; `routes` are those of tables.
    """  # fmt: skip
    made = MadePrograms([], [], [])
    waiting = [(program, database) for program in programs for database in databases(program.name.database)]
    reasons: dict[tuple[Program, str], str] = {}
    while waiting:
        again = []
        for program, database in waiting:
            try:
                with _session_kept(target):
                    _make(target, program, database, rename, routes, made.notes)
                made.names.append(TableName(database, program.name.table))
            except (ApplyError, PlanError) as exc:
                exists = isinstance(exc, PermanentError) and exc.code in _EXISTS
                if exists and _is_there(target, program, database, rename, routes):  # of a run that was killed
                    made.names.append(TableName(database, program.name.table))
                    continue
                reasons[program, database] = f"{exc}{_right_for(program, exc)}"
                again.append((program, database))
        if len(again) == len(waiting):
            made.left_out.extend(f"the {each.kind} {each.name}: {reasons[each, database]}" for each, database in again)
            break
        waiting = again
    return made


def _right_for(program: Program, exc: Exception) -> str:
    """The right that is missing, where the server's words do not name it."""
    if not isinstance(exc, PermanentError) or exc.code not in _DENIED:
        return ""
    return f"; to make it needs {_RIGHTS[program.kind]}"


@contextmanager
def _session_kept(target: Connection) -> Iterator[None]:
    """The program's settings are not those of what the copy says afterwards."""
    sql_mode, time_zone = target.rows("SELECT @@sql_mode, @@time_zone")[0]
    try:
        yield
    finally:
        if target.is_open():
            target.run("SET SESSION sql_mode = %s, SESSION time_zone = %s", (sql_mode, time_zone))
            target.execute("SET NAMES utf8mb4")


def _make(
    target: Connection, program: Program, database: str, rename: Callable[[str, str, str], str],
    routes: ProgramRoutes | None, notes: list[str],
) -> None:  # fmt: skip
    tokens, edits = _edits(target, program, database, rename, routes)
    target.use(database)
    target.run("SET SESSION sql_mode = %s", (sql_mode_at(target.dialect, program.sql_mode),))
    if program.time_zone:
        target.run("SET SESSION time_zone = %s", (program.time_zone,))
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


def _edits(
    target: Connection, program: Program, database: str, rename: Callable[[str, str, str], str],
    routes: ProgramRoutes | None,
) -> tuple[Sequence[Token], list[Edit]]:  # fmt: skip
    """The program's words, and what to exchange in them. Raises PlanError where it cannot go its way."""
    tokens, own = tokens_of(program.sql, program.sql_mode), program.name.database
    edits = list(
        edits_for(program.kind, tokens, rename=lambda name: rename(name, own, database), target=target.dialect)
    )
    if routes is not None:
        if refusal := routes.refusal(program.kind, own, tokens):
            raise PlanError(refusal)
        edits += routes.edits(program.kind, tokens)
    return tokens, edits


def _is_there(
    target: Connection, program: Program, database: str, rename: Callable[[str, str, str], str],
    routes: ProgramRoutes | None,
) -> bool:  # fmt: skip
    """Whether the target has the same already, whoever its definer is."""
    _, edits = _edits(target, program, database, rename, routes)
    wanted = apply_edits(program.sql, edits)
    target.use("information_schema")  # else names of the database that is used are printed without it
    name = TableName(database, program.name.table)
    try:
        row = target.rows(f"SHOW CREATE {program.kind.upper()} {quote_table(name)}")[0]
    except PermanentError:
        return False
    return is_same_but_definer(wanted, exact_text(row[_SQL_AT[program.kind]]), program.sql_mode)


def missing_definers(source: Connection, target: Connection, inventory: Inventory, options: CopyOptions) -> list[str]:
    """The users whose rights the programs to be made need, and whom the target does not have, a sentence each."""
    wanted: dict[str, list[TableName]] = {}
    for each in _definers(source, inventory, options):
        wanted.setdefault(each.user, []).append(each.name)
    if not wanted:
        return []
    try:
        there = {
            f"{exact_text(user)}@{exact_text(host)}" for user, host in target.rows("SELECT user, host FROM mysql.user")
        }
    except PermanentError as exc:
        listed = ", ".join(sorted(wanted))
        return [f"whether the target has the definers of views and programs ({listed}) could not be looked up: {exc}"]
    return [
        f"the target does not have the user {user}, definer of {', '.join(map(str, sorted(names)))}: make it before"
        " they are used, else they fail (error 1449)"
        for user, names in sorted(wanted.items())
        if user not in there
    ]


def _definers(source: Connection, inventory: Inventory, options: CopyOptions) -> Iterator[Definer]:
    views, tables, databases = set(inventory.views), inventory.tables, inventory.databases
    if options.views:
        for database, view, user in source.rows(
            "SELECT table_schema, table_name, definer FROM information_schema.views"
        ):
            if (name := TableName(exact_text(database), exact_text(view))) in views:
                yield Definer(exact_text(user), "view", name)
    if options.triggers:
        for database, trigger, table, user in source.rows(
            "SELECT trigger_schema, trigger_name, event_object_table, definer FROM information_schema.triggers"
        ):
            if TableName(exact_text(database), exact_text(table)) in tables:
                yield Definer(exact_text(user), "trigger", TableName(exact_text(database), exact_text(trigger)))
    for kind, is_wanted in (("routine", options.routines), ("event", options.events)):
        for database, program, user in source.rows(
            f"SELECT {kind}_schema, {kind}_name, definer FROM information_schema.{kind}s"
        ) if is_wanted else ():  # fmt: skip
            if exact_text(database) in databases:
                yield Definer(exact_text(user), kind, TableName(exact_text(database), exact_text(program)))
