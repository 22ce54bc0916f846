"""Schema changes of tables with routes: what the route does to columns is done to their definitions, or they are held.

A statement is held, as a PlanError with what to do, where running it would carry values unmasked, or leave rows at the
target that the route would not have made.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from pydbsync.config.expressions import names_in
from pydbsync.config.routes import RouteSettings
from pydbsync.errors import PlanError
from pydbsync.model import TableSchema
from pydbsync.plan.ddl.clauses import Clause, key_kind, outer, read_clauses
from pydbsync.plan.ddl.lexer import Edit, Span, Token, cut_members
from pydbsync.plan.ddl.statement import Statement
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.routed.definitions import BY_HAND, default_expression, why_rows_differ, why_values_differ
from pydbsync.plan.routed.tables import exchanged, first_list, references


class RoutedEdits(NamedTuple):
    """What a route changes of a statement."""

    edits: list[Edit]
    notes: list[str]
    is_nothing: bool = False
    """Whether nothing is left to be run."""


def routed_edits(statement: Statement, route: RouteSettings, table: TableSchema | None) -> RoutedEdits:
    """What the route does to the definition of a table; `table` is the target's, where it is there. Raises PlanError
    where the statement is to be held."""
    return _Rewriting(statement, route, table).done()


def refuse_renames(statement: Statement, route: RouteSettings) -> None:
    """Raises PlanError where the statement renames a column that the route names."""
    rewriting = _Rewriting(statement, route, None)
    for clause in read_clauses(statement):
        if clause.replaces is not None and clause.replaces.lower() != (clause.name or "").lower():
            rewriting.refuse_renaming(clause.replaces.lower(), (clause.name or "").lower())


class _Rewriting:
    def __init__(self, statement: Statement, route: RouteSettings, table: TableSchema | None) -> None:
        self._statement = statement
        self._route = route
        self._table = table
        self._referenced = {token.start for _, columns in references(statement) for token in columns}
        """Where names of columns stand that are another table's."""
        self._key_names: list[str] = []
        """Of the keys that came before."""
        self._read = frozenset().union(*map(names_in, route.conditions().values())) if route.where else frozenset()
        self._gone = route.leave_out
        self._new = {name.lower() for name in (*route.rename.values(), *route.add)} - {
            name for name, new in route.rename.items() if name == new.lower()
        }
        self._edits: list[Edit] = []
        self._notes: list[str] = []
        self._cut: set[int] = set()
        """Where clauses begin that are left out."""

    def done(self) -> RoutedEdits:
        statement = self._statement
        if statement.action in ("create-index", "drop-index"):
            return self._index()
        clauses = read_clauses(statement)
        for clause in clauses:
            if clause.kind == "column":
                self._column(clause)
            elif clause.verb == "DROP COLUMN":
                self._dropped(clause)
            elif clause.verb == "RENAME COLUMN":
                self._renamed(clause)
            elif clause.kind in ("key", "foreign-key"):
                self._key(clause)
            else:
                self._other(clause)
        keep = [clause[0].start not in self._cut for clause in statement.clauses]
        if statement.clauses and not any(keep):
            return RoutedEdits([], self._notes, is_nothing=True)
        edits = list(self._edits)
        if statement.action == "create-table" and self._route.add:
            kept = [clause for clause in clauses if clause.kind == "column" and clause.tokens[0].start not in self._cut]
            end = kept[-1].span.end if kept else statement.clauses[0][0].start
            edits.append(Edit(Span(end, end), "".join(self._added())))
        spans = [Span(clause[0].start, clause[-1].end) for clause in statement.clauses]
        return RoutedEdits([*edits, *cut_members(spans, keep)], self._notes)

    def _added(self) -> Iterator[str]:
        for name, added in self._route.add.items():
            if not added.type:
                raise self._hold(
                    f"the route adds the column {name}, and does not give its type: write"
                    f" {{{name}: {{value: {added.value!r}, type: INT NOT NULL}}}}, or make the table by hand"
                )
            yield f", {quote_name(name)} {added.type}"

    def _column(self, clause: Clause) -> None:
        name, replaced = (clause.name or "").lower(), (clause.replaces or clause.name or "").lower()
        if name != replaced:
            self.refuse_renaming(replaced, name)
        if name in self._new:
            raise self._hold(f"the source has a column {name} now, which the route gives to another at the target")
        if self._statement.action == "alter-table":
            self._refuse_for(why_rows_differ(clause, name, self._route, self._table, self._read))
        if name in self._gone:
            return self._leave(clause, f"the column {name}, which the route leaves out")
        mask = self._route.mask.get(name)
        if mask is not None and clause.verb in ("MODIFY", "CHANGE") and mask.kind in ("hash", "fake"):
            raise self._hold(f"the masks that are there were made for the former type of {name}: {BY_HAND}")
        self._names_inside(clause.body, name)
        read = {token.text.lower() for token in default_expression(clause.body) if token.is_name} & {*self._route.mask}
        if read and mask is None:
            raise self._hold(
                f"the default of {name} reads {', '.join(sorted(read))}, which the route masks: {name} would carry it"
                " unmasked; write a mask for it too, then retry"
            )
        self._keep_key_name(clause, name)
        if name in self._route.rename:
            self._exchange_names(clause, {name})
        if len(clause.tokens) > 2 and clause.tokens[-2].upper == "AFTER":
            self._after(clause.tokens[-2], clause.tokens[-1])

    def _keep_key_name(self, clause: Clause, name: str) -> None:
        """A column that is UNIQUE gives the key its name, by which it is dropped later: the source's."""
        words = [token for token in outer(clause.body) if token.upper in ("UNIQUE", "KEY")]
        if name not in self._route.rename or not words or words[0].upper != "UNIQUE":
            return
        add = "" if self._statement.action == "create-table" else "ADD "
        if add and clause.tokens not in self._statement.clauses:
            raise self._hold("several columns are added in one bracket, of which the route names one")
        end = words[1].end if len(words) > 1 and words[1].upper == "KEY" else words[0].end
        key, column = quote_name(self._named(clause.name or name)), quote_name(self._route.rename[name])
        self._edits += [
            Edit(Span(words[0].start, end), ""),
            Edit(Span(clause.span.end, clause.span.end), f", {add}UNIQUE KEY {key} ({column})"),
        ]

    def _named(self, column: str) -> str:
        """What the source calls a key without a name, whose first column this is."""
        name, number = column, 2
        while name.lower() in self._key_names:
            name, number = f"{column}_{number}", number + 1
        self._key_names.append(name.lower())
        return name

    def _after(self, word: Token, behind: Token) -> None:
        name = behind.text.lower()
        if name in self._gone:
            self._edits.append(Edit(Span(word.start, behind.end), ""))
        elif name in self._route.rename:
            self._edits.append(Edit(Span(behind.start, behind.end), quote_name(self._route.rename[name])))

    def _dropped(self, clause: Clause) -> None:
        name = (clause.name or "").lower()
        if name in self._read:
            raise self._hold(f"the condition of the route reads the column {name}: give the route another one")
        if name in self._gone:
            self._leave(clause, f"the column {name}, which the route leaves out")
        elif name in self._route.rename:
            self._exchange_names(clause, {name})
        elif name in self._new:
            raise self._hold(f"at the target {name} is another column, by the route")

    def _renamed(self, clause: Clause) -> None:
        self.refuse_renaming((clause.replaces or "").lower(), (clause.name or "").lower())

    def refuse_renaming(self, before: str, after: str) -> None:
        """Raises PlanError where the values of a column would be treated otherwise under its new name."""
        route = self._route
        bound = {*route.rename, *self._read, *self._new}
        one, other = ((name in self._gone, route.mask.get(name)) for name in (before, after))
        if one == other and not {before, after} & bound:
            return
        retry = "mark this one as done once the target has it so" if {before, after} & bound else "then retry"
        raise self._hold(
            f"the column {before} becomes {after}, and the route names one of them, or both otherwise: write the route"
            f" for {after} as for {before}, {retry}"
        )

    def _key(self, clause: Clause) -> None:
        names = {token.text.lower() for token in _inside(clause.tokens) if token.is_name}
        if names & self._gone:
            if key_kind(clause) == "primary" and clause.kind == "key":
                raise self._hold("a column of the primary key is left out by the route")
            return self._leave(clause, f"a key on {', '.join(sorted(names & self._gone))}, which the route leaves out")
        own = names & self._route.rename.keys()
        listed = list(first_list(clause.tokens))
        for token in listed:
            if token.is_name and token.text.lower() in own:
                self._edits.append(exchanged(token, self._route.rename))
        if clause.name is not None:
            self._key_names.append(clause.name.lower())
        elif clause.kind == "key" and key_kind(clause) != "primary" and listed and listed[0].is_name:
            name = self._named(listed[0].text)
            if listed[0].text.lower() in own:
                start = clause.body[0].start
                self._edits.append(Edit(Span(start, start), f"{quote_name(name)} "))

    def _other(self, clause: Clause) -> None:
        self._names_inside(clause.tokens, "")
        self._refuse_for(why_values_differ(clause, self._route, self._table, self._read))
        if clause.verb == "ALTER":  # ALTER COLUMN x SET DEFAULT …
            named = clause.tokens[2 if clause.tokens[1].upper == "COLUMN" else 1].text.lower()
            if named in self._gone:
                self._leave(clause, f"the column {named}, which the route leaves out")
            elif named in self._route.rename:
                self._exchange_names(clause, {named})

    def _names_inside(self, tokens: Sequence[Token], own: str) -> None:
        """Expressions (CHECK, generated columns, defaults) that read a column which is not so at the target."""
        others = self._gone | self._route.rename.keys()
        inside = [token for token in _inside(tokens) if token.is_name and token.start not in self._referenced]
        found = {token.text.lower() for token in inside} & others
        if found - ({own} - self._route.rename.keys()):
            raise self._hold(
                f"an expression reads {', '.join(sorted(found))}, which is not so at the target by the route"
            )

    def _exchange_names(self, clause: Clause, names: set[str]) -> None:
        """The name of the column itself, which stands before its type."""
        body = clause.body[0].start if clause.body else clause.span.end
        for token in clause.tokens:
            if token.start < body and token.is_name and token.text.lower() in names:
                self._edits.append(exchanged(token, self._route.rename))

    def _leave(self, clause: Clause, what: str) -> None:
        if clause.tokens not in self._statement.clauses:
            raise self._hold("several columns are added in one bracket, of which the route names one")
        self._cut.add(clause.tokens[0].start)
        self._notes.append(f"left out {what}")

    def _index(self) -> RoutedEdits:
        inside = [token for token in _inside(self._statement.tokens) if token.is_name]
        gone = {token.text.lower() for token in inside} & self._gone
        if gone:
            return RoutedEdits([], [f"left out an index on {', '.join(sorted(gone))}"], is_nothing=True)
        rename = self._route.rename
        return RoutedEdits([exchanged(token, rename) for token in inside if token.text.lower() in rename], [])

    def _refuse_for(self, why: str) -> None:
        if why:
            raise self._hold(why)

    def _hold(self, why: str) -> PlanError:
        return PlanError(f"the table has a route ({self._route.table}), and {why}")


def _inside(tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokens in brackets."""
    depth = 0
    for token in tokens:
        depth -= token.is_mark(")")
        if depth > 0:
            yield token
        depth += token.is_mark("(")
