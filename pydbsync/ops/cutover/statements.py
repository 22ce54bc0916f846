"""Which statements in a binlog are about what takes part: of tables and databases, too, that are gone since."""

from __future__ import annotations

from collections.abc import Callable

from pydbsync.apply.catalog import SYSTEM_DATABASES
from pydbsync.config.settings import QueueSettings
from pydbsync.errors import PlanError
from pydbsync.model import TableName
from pydbsync.ops.verify.place import carries
from pydbsync.plan.ddl.lexer import Brand, read_tokens
from pydbsync.plan.ddl.recognise import recognise
from pydbsync.plan.ddl.statement import parse_statement
from pydbsync.route.router import Router

_AROUND = frozenset({"BEGIN", "COMMIT", "ROLLBACK"})


def drops_trigger(sql: str, *, is_mariadb: bool) -> bool:
    """Whether it does no more than that: it changes no row, although triggers may be called as tables are."""
    try:
        tokens = read_tokens(sql, brand="mariadb" if is_mariadb else "mysql").tokens
    except PlanError:
        return False
    return [token.upper for token in tokens[:2]] == ["DROP", "TRIGGER"]


def concerning(router: Router, *, is_mariadb: bool, queue: QueueSettings | None = None) -> Callable[[str, str], bool]:
    """Whether a statement, with the default database of its session, changes the schema of what takes part, and comes
    to the queue. A table that was dropped is in no catalogue any more: only the text tells that it was one of them."""
    brand: Brand = "mariadb" if is_mariadb else "mysql"

    def is_ours(name: TableName) -> bool:
        if name.database in SYSTEM_DATABASES or (queue is not None and not carries(queue, str(name))):
            return False
        return router.takes(name) if name.table else router.filters.takes_database(name.database)

    def concerns(sql: str, database: str) -> bool:
        if sql in _AROUND:
            return False
        found = recognise(sql, brand)
        if found.kind not in ("ddl", "emptied"):
            return False
        try:
            statement = parse_statement(found.sql, brand=brand)
        except PlanError:
            return False  # no DROP is among them, and a table that is there is found by its name
        names = (TableName(name.database or database, name.table or "") for name in statement.names)
        return not statement.temporary and any(map(is_ours, names))

    return concerns
