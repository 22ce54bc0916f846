"""Programs that read tables with routes: views get the tables' names at the target, the rest is left out by name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pydbsync.config.routes import RouteSettings
from pydbsync.config.settings import Settings
from pydbsync.engine.routing import row_settings
from pydbsync.model import TableName
from pydbsync.plan.ddl.lexer import Edit, Span, Token
from pydbsync.plan.quoting import quote_table
from pydbsync.route.router import Router


class ProgramRoutes:
    """What routes do to the tables that programs name."""

    def __init__(self, settings: Settings, router: Router, tables: Iterable[TableName]) -> None:
        """`tables` are those of the source that take part."""
        self._names: dict[TableName, TableName] = {}
        self._changed: dict[TableName, str] = {}
        """Tables that a program cannot name as at the source, and why."""
        if not router.tables:
            return
        for name in tables:
            target, route = router.tables.target(name), row_settings(settings, router, name)
            if target is not None and target != name:
                self._names[name] = target
            if route is not None and (columns := sorted({*route.rename, *route.leave_out})):
                self._changed[name] = f"{', '.join(columns)} {_verb(route)}"

    def refusal(self, kind: str, database: str, tokens: Sequence[Token]) -> str:
        """Why a program of a database cannot be made by its text, as a sentence; empty where it can."""
        if kind == "view":  # whose text has full names, and of columns those of their tables or aliases
            found = [name for name, _ in _full_names(tokens) if name in self._changed]
        else:
            words = {token.text for token in tokens if token.is_name}
            known = {**dict.fromkeys(self._names, ""), **self._changed}
            found = [name for name in known if name.table in words and name.database in {*words, database}]
        if not found:
            return ""
        name = found[0]
        why = f"of which {self._changed[name]}" if name in self._changed else f"which is called {self._names[name]}"
        return f"it names {name}, {why} at the target (routes): make it by hand"

    def edits(self, kind: str, tokens: Sequence[Token]) -> Iterator[Edit]:
        """The names that tables have at the target, in a view."""
        if kind == "view":
            for name, span in _full_names(tokens):
                if name in self._names:
                    yield Edit(span, quote_table(self._names[name]))


def _verb(route: RouteSettings) -> str:
    return "are missing or called otherwise" if route.leave_out else "are called otherwise"


def _full_names(tokens: Sequence[Token]) -> Iterator[tuple[TableName, Span]]:
    """Each `database`.`table`, or what may be one, with where it stands."""
    for index, token in enumerate(tokens[:-2]):
        if token.is_name and tokens[index + 1].is_mark(".") and not (index and tokens[index - 1].is_mark(".")):
            yield TableName(token.text, tokens[index + 2].text), Span(token.start, tokens[index + 2].end)
