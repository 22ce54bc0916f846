"""What all ways to repair a group of rows have in common: the transaction, and how a change is refused."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import NamedTuple, TypeAlias

from pydbsync.apply.connection import Connection
from pydbsync.errors import PermanentError, PlanError, PydbsyncError
from pydbsync.killpoints import kill_point
from pydbsync.ops.repair.change import PlannedChange
from pydbsync.ops.repair.writer import ChangeWriter
from pydbsync.ops.verify.matching import TableSides
from pydbsync.plan.row_statements import RowStatement

SOURCE_CHANGED = "the source's row has changed since the plan was made"
TARGET_CHANGED = "the target's row has changed since the plan was made"
CHANGED_SINCE = "the row has changed since the repair"


class TableRepair(NamedTuple):
    """What is needed to write one target table."""

    sides: TableSides
    writer: ChangeWriter


class Refusal(NamedTuple):
    """Why a change was not done; `code` is the server's error number, 0 where there is none."""

    text: str
    code: int = 0


Refusals: TypeAlias = dict[int, Refusal]
"""By the number of the change."""


class ChangeRefused(PydbsyncError):
    """One change cannot be done, so the transaction is rolled back: the others go on without it."""

    def __init__(self, change: PlannedChange, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.change = change
        self.refusal = refusal


def refusal(change: PlannedChange, why: str, *, code: int = 0) -> Refusal:
    """A sentence for people."""
    return Refusal(f"change {change.number} ({change.kind} of {change.table}): {why}", code)


@contextmanager
def exclusive_transaction(connection: Connection) -> Iterator[None]:
    """A transaction in which a row that was looked for and is not there is not written by anybody else either."""
    connection.execute(b"SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")  # READ COMMITTED locks no gaps
    with connection.transaction():
        yield
        kill_point("before-repair-commit")
    kill_point("after-repair-commit")


def execute(connection: Connection, change: PlannedChange, statements: Iterable[RowStatement]) -> None:
    """Run the statements of one change. Raises ChangeRefused, TransientError."""
    for statement in statements:
        try:
            matched = connection.execute(statement.sql)
        except PermanentError as exc:
            raise ChangeRefused(change, refusal(change, str(exc), code=exc.code)) from exc
        if statement.affected is not None and matched != statement.affected:
            why = f"{matched} rows were matched instead of {statement.affected}"
            raise ChangeRefused(change, refusal(change, why))


@contextmanager
def refusing(change: PlannedChange) -> Iterator[None]:
    """What cannot be made into SQL refuses the change."""
    try:
        yield
    except PlanError as exc:
        raise ChangeRefused(change, refusal(change, str(exc))) from exc
