"""What stands in the binlog and cannot be published: capture stops there, and says how to go on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Literal

from pydbsync.errors import OperationError, PlanError, StopError
from pydbsync.plan.ddl.lexer import Brand, Token, read_tokens, shorten

log = logging.getLogger("pydbsync.capture")

Programs = Callable[[Iterable[str]], list[str | None]]
"""The texts of all functions, procedures and triggers of some databases; None for one that may not be read."""


class Unreadable:
    """Stops at what cannot be published, or leaves it out where the operator has said so."""

    def __init__(
        self, policy: Literal["stop", "skip"], places: frozenset[str], on_left_out: Callable[[], None]
    ) -> None:
        """`places` are those that are left out even where the policy is to stop, as `file:offset`."""
        self._policy = policy
        self._places = places
        self._on_left_out = on_left_out

    def leave_out(self, place: str, sql: str, why: str, *, error: type[StopError | OperationError] = StopError) -> None:
        """Raises `error` where the operator has not said to go on without it."""
        text = f"what stands at {place} cannot be published: {why}{': ' if sql else ''}{shorten(sql)}"
        if self._policy == "stop" and place not in self._places:
            raise error(
                f"{text}. Nothing behind it was published. To go on without this one, start again with "
                f"--skip-at {place}, and bring the target's tables up to date by verify and repair"
            )
        self._on_left_out()
        log.error("left out: %s", text)


class Reach:
    """Whether a statement that is no rows can have changed what is published."""

    def __init__(
        self,
        brand: Brand,
        *,
        takes_database: Callable[[str], bool],
        databases: Callable[[], Iterable[str]],
        programs: Programs,
    ) -> None:
        """`databases` are all of the source's."""
        self._brand = brand
        self._takes = takes_database
        self._databases = databases
        self._programs = programs

    def covers(self, tokens: Sequence[Token], default: str, updated: Sequence[str] | None) -> bool:
        """False only where that is sure. `updated` are the databases it changed, which MySQL writes beside it."""
        if updated is not None:
            return any(self._takes(database) for database in updated)
        if not tokens or not default or self._takes(default):
            return True
        taken = {database.lower() for database in self._databases() if self._takes(database)}
        if _names(tokens) & taken:
            return True
        # A function or a trigger in a database that is left out may write to one that is not.
        left_out = [database for database in self._databases() if not self._takes(database)]
        for text in self._programs(left_out):
            if text is None:
                return True
            try:
                if _names(read_tokens(text, brand=self._brand).tokens) & taken:
                    return True
            except PlanError:
                return True
        return False


def _names(tokens: Iterable[Token]) -> set[str]:
    return {token.text.lower() for token in tokens if token.is_name}
