"""Answers whose values matter: a warning of the server may mean that a value is not what is stored.

CAST, CONCAT and QUOTE give NULL for a result that is longer than max_allowed_packet, MySQL's JSON gives '',
GROUP_CONCAT cuts: with no error, but with a warning.
"""

from __future__ import annotations

from typing import Any, Final

from pydbsync.apply.answered import lenient_text
from pydbsync.apply.connection import Connection
from pydbsync.errors import OperationError

HARMLESS: Final = frozenset(
    {
        1287,  # a character set is deprecated
        1365,  # division by zero, which the statement expects
        1681,  # a feature is deprecated
        3170,  # MySQL reads more than it must, as range_optimizer_max_mem_size is small
        1977,  # MariaDB: a character that Unicode lacks, which the statement looks for itself
        3719,  # utf8 is deprecated
        3778,  # a collation is deprecated
        4036,  # MariaDB: a text that is no JSON, which the statement expects; the same below
        4037,
        4038,
    }
)
"""Codes of warnings that tell nothing of a value."""
_NOTE = "Note"


class DoubtfulError(OperationError):
    """An answer that may not be what is stored, in the server's words."""

    def __init__(self, text: str, *, code: int) -> None:
        super().__init__(text)
        self.code = code


def exact_rows(connection: Connection, sql: str) -> list[tuple[Any, ...]]:
    """All rows of a query. Raises DoubtfulError if the server warns, TransientError, PermanentError."""
    found = connection.rows(sql)
    if connection.warnings:
        check_warnings(connection, connection.warnings)
    return found


def check_warnings(connection: Connection, count: int) -> None:
    """Look at the warnings of the last statement. Raises DoubtfulError for one that is not known to be harmless."""
    told = connection.rows("SHOW WARNINGS")
    for level, code, text in told:
        if lenient_text(level) != _NOTE and int(code) not in HARMLESS:
            raise DoubtfulError(f"{lenient_text(text)} ({code})", code=int(code))
    if len(told) < count:
        raise DoubtfulError(f"the server warned {count} times, and tells {len(told)} of them", code=0)
