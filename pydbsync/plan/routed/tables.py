"""Statements that name several tables: between which routes rows would move, and what foreign keys point at."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

from pydbsync.config.routes import RouteSettings
from pydbsync.errors import PlanError
from pydbsync.model import TableName, TableSchema
from pydbsync.plan.ddl.lexer import Edit, Span, Token
from pydbsync.plan.ddl.statement import NameRef, Statement
from pydbsync.plan.quoting import quote_name


class TableRoutes(NamedTuple):
    """How source tables come to the target."""

    rename: Callable[[TableName], TableName]
    settings: Callable[[TableName], RouteSettings | None]
    """None where the rows of a table come as they are."""
    table: Callable[[TableName], TableSchema | None] = lambda name: None
    """The target's table of this name, as it is now; None where that is not known."""


def refuse_between(before: TableName, after: TableName, routes: TableRoutes) -> None:
    """Raises PlanError where rows would come by one route and stand under another."""
    if not are_alike(routes.settings(before), routes.settings(after)):
        raise PlanError(
            f"{before} becomes {after}, whose rows go by another route (columns, masks, where): write a route for"
            f" {after} that does the same, then retry; or copy it anew"
        )


def are_alike(one: RouteSettings | None, other: RouteSettings | None) -> bool:
    """Whether the same rows come by both."""
    return _rows_of(one) == _rows_of(other)


def _rows_of(route: RouteSettings | None) -> tuple[object, ...]:
    if route is None or not route.changes_rows:
        return ()
    return route.leave_out, dict(route.rename), dict(route.add), dict(route.mask), dict(route.where)


def refuse_exchange(names: Sequence[TableName], routes: TableRoutes) -> None:
    """Raises PlanError where rows of a table with a route are exchanged with others."""
    if any(route is not None and route.changes_rows for route in map(routes.settings, names)):
        raise PlanError(
            f"rows move between {' and '.join(map(str, names))}, of which one has a route for its rows: what comes"
            " would not have passed it; run the statement by hand, then verify and repair"
        )


def reference_edits(statement: Statement, settings: Callable[[NameRef], RouteSettings | None]) -> Iterator[Edit]:
    """The columns of other tables that foreign keys point at, by the routes of these. Raises PlanError where there is
    none such at the target."""
    for ref, columns in references(statement):
        route = settings(ref)
        if route is None:
            continue
        for token in columns:
            if token.text.lower() in route.leave_out:
                raise PlanError(
                    f"a foreign key points at {ref.table}.{token.text}, which the route ({route.table}) leaves out: run"
                    " the statement at the target by hand without it, then mark this one as done"
                )
            if token.text.lower() in route.rename:
                yield exchanged(token, route.rename)


def references(statement: Statement) -> Iterator[tuple[NameRef, list[Token]]]:
    """Each table behind REFERENCES, with the names of its columns."""
    for ref in statement.names:
        if ref.role == "references":
            behind = [token for token in statement.tokens if token.start >= ref.span.end]
            if behind[:1] and behind[0].is_mark("("):
                yield ref, [token for token in first_list(behind) if token.is_name]


def exchanged(token: Token, rename: Mapping[str, str]) -> Edit:
    """The name that the route gives a column."""
    return Edit(Span(token.start, token.end), quote_name(rename[token.text.lower()]))


def first_list(tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokens of the first list in brackets."""
    depth = 0
    for token in tokens:
        if token.is_mark(")"):
            depth -= 1
            if depth == 0:
                return
        if depth > 0:
            yield token
        depth += token.is_mark("(")
