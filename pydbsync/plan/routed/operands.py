"""A value in a condition, compiled: how it is got of a row, and how it is spelled for the source's server."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Literal, NamedTuple, TypeAlias

from pydbsync.plan.routed.texts import Comparison
from pydbsync.plan.routed.values import RoutedValue

RowBytes: TypeAlias = Mapping[str, bytes]
"""Column in lower case → JSON token, of the source."""
Get: TypeAlias = Callable[[RowBytes], RoutedValue]
Family: TypeAlias = Literal["number", "text", "date", "datetime", "null", "other"]

INTEGER_DIGITS: Final = 20
SIGNED: Final = (-(2**63), 2**63 - 1)
UNSIGNED: Final = (0, 2**64 - 1)


class CompiledOperand(NamedTuple):
    """One, of a table's columns."""

    get: Get
    sql: str
    family: Family
    digits: int = 0
    """Before the decimal point, of numbers."""
    scale: int = 0
    is_whole: bool = False
    """Whether it is a whole number."""
    unsigned: bool = False
    comparison: Comparison | None = None
    """Of a text that is no literal."""
    literal: str | None = None
    name: str = ""
    """Of a column, in lower case."""
