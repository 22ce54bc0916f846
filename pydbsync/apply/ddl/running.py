"""Runs planned statements as they must be run: one way for replay and for the retry of what was parked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from pydbsync.apply.connection import ROW_SQL_MODE, SCHEMA_SQL_MODE, Connection
from pydbsync.errors import PermanentError
from pydbsync.killpoints import kill_point
from pydbsync.plan.row_statements import RowStatement

_DATA_TRUNCATED = 1265

Missed: TypeAlias = Callable[[RowStatement, int], object]
"""Called with a statement that matched so many rows, fewer than the target must have held."""
Passes: TypeAlias = Callable[[RowStatement], object]
"""Called with a statement that passes its change on to other rows, before it runs. May raise PermanentError."""


def run_all(
    connection: Connection,
    statements: Iterable[RowStatement],
    *,
    missed: Missed | None = None,
    passes: Passes | None = None,
) -> Iterator[None]:
    """Run planned statements in order; yields whenever the answer of one is waited for, with the next one made already.

    Raises TransientError, PermanentError, and what `statements` raises.
    """
    begun: RowStatement | None = None
    try:
        for statement in statements:
            if begun is not None:
                yield
                ended, begun = begun, None
                _hold(ended, connection.receive(), missed)
            kill_point("mid-batch")
            if statement.error_values or statement.checks_foreign_keys:
                run_planned(connection, statement, missed=missed, passes=passes)
            else:
                _refuse_long(connection, statement)
                connection.send(statement.sql)
                begun = statement
        if begun is not None:
            yield
    finally:
        # Also where the next one could not be made: an answer that is not read would be taken for a later one's.
        if begun is not None:
            _hold(begun, connection.receive(), missed)


def run_planned(
    connection: Connection, statement: RowStatement, *, missed: Missed | None = None, passes: Passes | None = None
) -> None:
    """Run one planned statement, and hold it to what must be true of it. Raises TransientError, PermanentError."""
    _refuse_long(connection, statement)
    if statement.error_values:
        matched = _run_lenient(connection, statement)
    elif statement.checks_foreign_keys:
        if statement.row and passes is not None:
            passes(statement)
        connection.execute(b"SET foreign_key_checks = 1")
        try:
            matched = connection.execute(statement.sql)
        finally:
            if connection.is_open():
                connection.execute(b"SET foreign_key_checks = 0")
    else:
        matched = connection.execute(statement.sql)
    _hold(statement, matched, missed)


def commit(connection: Connection) -> Iterator[None]:
    """Commit as Connection.commit does; yields while the answer is waited for."""
    with connection.committing():
        connection.send(b"COMMIT")
        yield
        connection.receive()


def _refuse_long(connection: Connection, statement: RowStatement) -> None:
    if len(statement.sql) + 64 > connection.max_allowed_packet:
        raise PermanentError(
            f"a statement of {len(statement.sql)} bytes is longer than the target's max_allowed_packet"
            f" ({connection.max_allowed_packet}); raise it at the target",
            code=1153,
        )


def _hold(statement: RowStatement, matched: int, missed: Missed | None) -> None:
    if matched < statement.held and missed is not None:
        missed(statement, matched)
    if statement.affected is not None and matched != statement.affected:
        raise PermanentError(
            f"{statement.table}: {statement.affected} row(s) should match but {matched} do: the target is not as"
            f" the source was before this change"
        )


def _run_lenient(connection: Connection, statement: RowStatement) -> int:
    """Run a statement that writes error values of ENUM, which strict mode refuses: only they may be warned about."""
    connection.execute(f"SET SESSION sql_mode = '{SCHEMA_SQL_MODE}'")
    try:
        matched = connection.execute(statement.sql)
        warnings = connection.rows("SHOW WARNINGS")
    finally:
        if connection.is_open():
            connection.execute(f"SET SESSION sql_mode = '{ROW_SQL_MODE}'")
    if len(warnings) > statement.error_values or any(code != _DATA_TRUNCATED for _, code, _ in warnings):
        raise PermanentError("; ".join(str(text) for _, _, text in warnings), code=int(warnings[-1][1]))
    return matched
