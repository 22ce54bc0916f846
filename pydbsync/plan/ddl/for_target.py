"""A schema change of the source as the statement to run on the target: its text as it was, only the names exchanged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, TypeAlias

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import SchemaChange, TableName
from pydbsync.plan.ddl.collations import StatementServer
from pydbsync.plan.ddl.dialect import translate
from pydbsync.plan.ddl.lexer import Edit, Span, apply_edits, cut_members
from pydbsync.plan.ddl.names import StatementNames, TablesNamed, spelled
from pydbsync.plan.ddl.session import Variable, depends_on, variables
from pydbsync.plan.ddl.statement import Action, Item, NameRef, Statement, parse_statement
from pydbsync.plan.quoting import quote_name, quote_table
from pydbsync.plan.routed.statements import RoutedEdits, routed_edits
from pydbsync.plan.routed.tables import TableRoutes, reference_edits, refuse_between, refuse_exchange
from pydbsync.work import parent_of, structure_of

Rename: TypeAlias = Callable[[str], str]
"""Name of a source's database → name of the target's."""
InScope: TypeAlias = Callable[[str, str | None], bool]
"""(source database, table or None for the database itself) → whether this instance replays it."""


class Touched(NamedTuple):
    """A table of the target that the statement creates (no `before`), drops (no `after`), alters or renames."""

    before: TableName | None
    after: TableName | None


class PlannedSchemaChange(msgspec.Struct, frozen=True):
    """What to run on the target. All names are the target's."""

    sql: str
    action: Action
    default_database: str | None
    """To USE before it; None for CREATE, ALTER and DROP DATABASE with a name."""
    touched: tuple[Touched, ...]
    """Empty for databases."""
    database: str | None
    """The database that CREATE, ALTER or DROP DATABASE is about."""
    ts: int
    variables: tuple[Variable, ...] = ()
    """The session to run it in. Its timestamp gives existing rows the source's time where the default is NOW()."""
    untold: tuple[str, ...] = ()
    """Settings of the source's session that it depends on, and that nobody tells."""
    notes: tuple[str, ...] = ()
    """What was changed besides names, for the log."""
    reads: tuple[TableName, ...] = ()
    """Tables that it takes something of: the template of CREATE … LIKE, the other one of EXCHANGE PARTITION."""
    refers: tuple[TableName, ...] = ()
    """Other tables that its foreign keys point at."""
    exchanged: TableName | None = None
    """The table that gives or takes a partition's rows."""
    is_routed: bool = False
    """Its tables may have other names than at the source."""
    source: str = ""
    """What the source of the table is called among those that are merged, where that is not its database."""
    is_merged: bool = False
    """Several sources feed the target's table: keys without names that it has already are not made again."""

    @property
    def holds(self) -> tuple[TableName, ...]:
        """What waits behind it while it is parked, besides the tables of its messages: names that it gives tables, the
        other table of an exchange, how the template of CREATE … LIKE is made, and what its foreign keys point at."""
        made = tuple(new for old, new in self.touched if None not in (old, new) and new is not None and old != new)
        reads = map(structure_of, self.reads) if self.action == "create-table" else self.reads
        return (*made, *reads, *map(parent_of, self.refers))


def plan_schema_change(
    change: SchemaChange,
    *,
    rename: Rename,
    in_scope: InScope,
    target: StatementServer | None = None,
    source: StatementServer | None = None,
    siblings: Sequence[SchemaChange] | None = None,
    tables_named: TablesNamed | None = None,
    is_merged: bool = False,
    routes: TableRoutes | None = None,
) -> PlannedSchemaChange | None:
    """The statement to run once for `change` and its `siblings`, all further messages of the same statement.

    Tables of the statement that no message announces are left out, if the siblings are given (as an empty list where
    there are none). None where nothing is left to do for the tables in scope. Without `source` or `target` nothing is
    translated between brands. `tables_named` is asked only where the text leaves open in which database an
    unqualified name is looked up; `is_merged` is handed on. `routes` say of tables what `rename` says of databases, and
    what becomes of their columns.
    Raises PlanError for what cannot be read, resolved or translated.
    """
    statement = parse_statement(change.sql, brand=source.brand if source else None)
    session = change.session or (source.session if source else None)
    source = source._replace(session=session) if source else None
    if statement.action in ("create-database", "alter-database", "drop-database"):
        planned = _plan_database(change, statement, rename, in_scope, source, target)
    else:
        planned = _plan_tables(
            change, statement, rename, in_scope, source, target, siblings=siblings, tables_named=tables_named,
            routes=routes,
        )  # fmt: skip
    if planned is None:
        return None
    untold = depends_on(statement, change) if session is None else ()
    settings = (
        variables(statement, change, session=session, source=source, target=target, is_merged=is_merged)
        if target is not None
        else ()
    )
    return msgspec.structs.replace(
        planned, is_merged=is_merged, is_routed=routes is not None, variables=settings, untold=tuple(sorted(untold))
    )


def action_of(change: SchemaChange) -> Action:
    """What a statement does, also where it cannot be planned: by its text, else by what its message says."""
    try:
        return parse_statement(change.sql).action
    except PlanError:
        subject, _, verb = change.kind.partition("-")
        return f"{verb}-{subject}"  # type: ignore[return-value]


def _plan_tables(
    change: SchemaChange,
    statement: Statement,
    rename: Rename,
    in_scope: InScope,
    source: StatementServer | None,
    target: StatementServer | None,
    *,
    siblings: Sequence[SchemaChange] | None,
    tables_named: TablesNamed | None,
    routes: TableRoutes | None,
) -> PlannedSchemaChange | None:
    names = StatementNames(statement, (change, *(siblings or ())), tables_named, are_all=siblings is not None)
    there = _TargetNames(names, rename, routes)
    kept = _kept(statement, names, in_scope, there)
    if not kept:
        return None
    notes: list[str] = []
    edits = _cuts(statement, kept, notes)
    if routes is not None:
        routed = _routed(statement, kept, there, routes)
        if routed.is_nothing:
            return None
        edits += routed.edits
        notes += routed.notes
    like = next((ref for ref in statement.names if ref.role == "like"), None)
    if like is not None and there.target(like) == there.target(kept[0].subject) and not statement.or_replace:
        return None  # both are one table of the target, which is there
    if statement.action == "alter-table" and _stays(kept[0], there):
        # ALTER TABLE d1.t ADD c INT, RENAME TO d2.t, where d1 and d2 are one database on the target
        stays = [
            clause[0].upper != "RENAME" or clause[1].upper in ("COLUMN", "INDEX", "KEY") for clause in statement.clauses
        ]
        if not any(stays):
            return None
        edits += cut_members([Span(clause[0].start, clause[-1].end) for clause in statement.clauses], stays)
        notes.append("left out the renaming, the table has its name on the target already")
    default = names.default if names.default is not None else change.database
    # With routes the table may be in another database than the default one, which the target may not even have.
    used = there.target(statement.items[0].subject).database if routes is not None else rename(default)
    edits += _renamed_names(statement, there, used)
    edits += _own_spelling(statement, notes)
    translated = translate(statement, change, source=source, target=target)
    edits += translated.edits
    notes += translated.notes

    pointed_at = {there.target(ref) for ref in statement.names if ref.role == "references"}

    def target_name(ref: NameRef | None) -> TableName | None:
        return None if ref is None else there.target(ref)

    return PlannedSchemaChange(
        sql=apply_edits(statement.sql, edits),
        action=statement.action,
        default_database=used,
        touched=tuple(Touched(target_name(item.before), target_name(item.after)) for item in kept),
        exchanged=next((target_name(ref) for ref in statement.names if ref.role == "exchange"), None),
        database=None,
        ts=change.ts,
        notes=tuple(notes),
        reads=tuple(there.target(ref) for ref in statement.names if ref.role in ("like", "exchange")),
        refers=tuple(sorted(pointed_at - {there.target(kept[0].subject)})),
    )


def _plan_database(
    change: SchemaChange,
    statement: Statement,
    rename: Rename,
    in_scope: InScope,
    source: StatementServer | None,
    target: StatementServer | None,
) -> PlannedSchemaChange | None:
    if not in_scope(change.database, None):
        return None
    edits = []
    for ref in statement.names:
        name = spelled(ref.database or "", {change.database})
        if rename(name) != name:
            edits.append(Edit(ref.span, quote_name(rename(name))))
    notes: list[str] = []
    edits += _own_spelling(statement, notes)
    translated = translate(statement, change, source=source, target=target)
    cuts = [span for span, text in translated.edits if not text]
    options = [token for token in statement.tokens if token.start >= statement.options_start]
    if statement.action == "alter-database" and all(any(s <= t.start < e for s, e in cuts) for t in options):
        return None
    edits += translated.edits
    notes += translated.notes
    return PlannedSchemaChange(
        sql=apply_edits(statement.sql, edits),
        action=statement.action,
        # ALTER DATABASE without a name changes the default database.
        default_database=None if statement.names else rename(change.database),
        touched=(),
        database=rename(change.database),
        ts=change.ts,
        notes=tuple(notes),
    )


class _TargetNames(NamedTuple):
    """What tables of the statement are called at both ends."""

    names: StatementNames
    rename: Rename
    routes: TableRoutes | None

    def source(self, ref: NameRef) -> TableName:
        return TableName(self.names.database(ref), self.names.table(ref))

    def target(self, ref: NameRef) -> TableName:
        name = self.source(ref)
        return self.routes.rename(name) if self.routes else TableName(self.rename(name.database), name.table)


def _routed(statement: Statement, kept: list[Item], there: _TargetNames, routes: TableRoutes) -> RoutedEdits:
    """What routes of rows make of the statement. Raises PlanError where it is to be held."""
    for item in kept:
        if item.before is not None and item.after is not None and item.before is not item.after:
            refuse_between(there.source(item.before), there.source(item.after), routes)
    subject = there.source(statement.items[0].subject)
    for ref in statement.names:
        if ref.role == "exchange":
            refuse_exchange((subject, there.source(ref)), routes)
        if ref.role == "like":
            refuse_between(there.source(ref), subject, routes)
    route = routes.settings(subject)
    is_definition = statement.action in ("create-table", "alter-table", "create-index", "drop-index")
    if not is_definition or any(ref.role == "like" for ref in statement.names):
        return RoutedEdits([], [])
    others = list(reference_edits(statement, lambda ref: routes.settings(there.source(ref))))
    if route is None or not route.changes_rows:
        return RoutedEdits(others, [])
    found = routed_edits(statement, route, routes.table(there.target(statement.items[0].subject)))
    return found._replace(edits=[*found.edits, *others])


def _kept(statement: Statement, names: StatementNames, in_scope: InScope, there: _TargetNames) -> list[Item]:
    """The items that concern tables in scope."""
    kept: list[Item] = []
    arrived: set[tuple[str, str]] = set()
    dropped: set[TableName] = set()
    for item in statement.items:
        if names.is_open(item):
            continue
        if statement.action == "alter-table":
            _refuse_rows_across_the_scope(statement, names, in_scope)
        before, after = (
            None if ref is None else (names.database(ref), names.table(ref)) for ref in (item.before, item.after)
        )
        if before and after and before != after:
            if before not in arrived and not in_scope(*before):
                if in_scope(*after):
                    raise PlanError(
                        f"{before[0]}.{before[1]}, which is not replayed, becomes {after[0]}.{after[1]}, which is: the"
                        " target has not its rows; copy the table, then go on behind this statement"
                    )
                continue
            arrived.add(after)
            if statement.action == "rename-table" and _stays(item, there):
                continue
        elif not in_scope(*(before or after or ("", None))):
            continue
        elif statement.action == "drop-table" and there.target(item.subject) in dropped:
            continue  # one table of the target for both
        dropped.add(there.target(item.subject))
        kept.append(item)
    return kept


def _refuse_rows_across_the_scope(statement: Statement, names: StatementNames, in_scope: InScope) -> None:
    """EXCHANGE PARTITION and CONVERT move rows between tables: the target must have both, or neither."""
    subject = statement.items[0].subject
    for ref in statement.names:
        if ref.role != "exchange":
            continue
        both = [(names.database(each), names.table(each)) for each in (subject, ref)]
        hidden = [f"{database}.{table}" for database, table in both if not in_scope(database, table)]
        if len(hidden) == 1:
            shown = next(f"{database}.{table}" for database, table in both if in_scope(database, table))
            raise PlanError(
                f"rows move between {shown} and {hidden[0]}, which is not replayed: the target has not its rows; copy"
                f" {shown}, then go on behind this statement"
            )


def _stays(item: Item, there: _TargetNames) -> bool:
    """Whether a renamed table has the same name on the target before and after: two databases became one."""
    if item.before is None or item.after is None or item.before is item.after:
        return False
    return there.target(item.before) == there.target(item.after)


def _cuts(statement: Statement, kept: list[Item], notes: list[str]) -> list[Edit]:
    """Cut the other items out, each with one comma."""
    for item in statement.items:
        if item not in kept:
            notes.append(f"left out {statement.sql[slice(*item.span)]}, which is not replayed or already in its place")
    return cut_members([item.span for item in statement.items], [item in kept for item in statement.items])


def _renamed_names(statement: Statement, there: _TargetNames, used: str) -> list[Edit]:
    edits = []
    names, rename = there.names, there.rename
    for ref in statement.names:
        if there.routes is not None:
            found = there.target(ref)
            plain = used if ref.database is None else rename(names.database(ref))
            if found != (plain, names.table(ref)):
                edits.append(Edit(ref.span, quote_table(found)))
                continue
        if ref.database_span is None:
            continue
        database = names.database(ref)
        if rename(database) != database:
            edits.append(Edit(ref.database_span, quote_name(rename(database))))
            # d.1a is a name, but in `d`.1a the servers read the number .1
            table = next(token for token in statement.tokens if token.end == ref.span.end)
            if table.kind != "quoted" and table.text[0].isdigit():
                edits.append(Edit(Span(table.start, table.end), quote_name(table.text)))
    return edits


def _own_spelling(statement: Statement, notes: list[str]) -> list[Edit]:
    """What no target runs as it is: the tail of CREATE TABLE … SELECT, and names in double quotes."""
    edits: list[Edit] = []
    if statement.transaction_tail:
        edits.append(Edit(statement.transaction_tail, ""))
        notes.append("left out START TRANSACTION, the mark of CREATE TABLE … SELECT")
    if statement.ansi_quotes:
        for token in statement.tokens:
            if token.kind == "quoted" and statement.sql[token.start] == '"':
                edits.append(Edit(Span(token.start, token.end), quote_name(token.text)))
        notes.append('names in "double quotes" (ANSI_QUOTES at the source) are written in backticks')
    return edits
