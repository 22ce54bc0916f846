"""The words that conditions of routes are made of, once they are read."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias


class ExpressionError(Exception):
    """What in the condition is refused, as a sentence."""


@dataclass(frozen=True)
class Number:
    """A whole or decimal number as it was written, with its sign."""

    text: str


@dataclass(frozen=True)
class TextLiteral:
    """A text in single quotes."""

    value: str


@dataclass(frozen=True)
class Null:
    """NULL."""


@dataclass(frozen=True)
class Truth:
    """TRUE or FALSE."""

    value: bool


@dataclass(frozen=True)
class ColumnRef:
    """A column."""

    name: str


@dataclass(frozen=True)
class Arithmetic:
    """`+`, `-`, `*`, `%` or `DIV`."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True)
class FunctionCall:
    """A function that gives the same on every server."""

    name: str
    """One that FUNCTIONS leads to."""
    arguments: tuple[Operand, ...]


@dataclass(frozen=True)
class Compare:
    """`=`, `<>`, `<`, `<=`, `>`, `>=` or `<=>`."""

    operator: str
    left: Operand
    right: Operand


@dataclass(frozen=True)
class IsNull:
    """`x IS NULL`."""

    operand: Operand


@dataclass(frozen=True)
class In:
    """`x IN (…)`."""

    operand: Operand
    items: tuple[Operand, ...]


@dataclass(frozen=True)
class Between:
    """`x BETWEEN a AND b`."""

    operand: Operand
    low: Operand
    high: Operand


@dataclass(frozen=True)
class Like:
    """`x LIKE 'pattern'`."""

    operand: Operand
    pattern: str


@dataclass(frozen=True)
class Not:
    """NOT."""

    operand: Condition


@dataclass(frozen=True)
class All:
    """AND."""

    parts: tuple[Condition, ...]


@dataclass(frozen=True)
class Any:
    """OR."""

    parts: tuple[Condition, ...]


Operand: TypeAlias = Number | TextLiteral | Null | Truth | ColumnRef | Arithmetic | FunctionCall
Condition: TypeAlias = Compare | IsNull | In | Between | Like | Not | All | Any | Operand
"""An operand as a condition is true where it is a number other than 0."""
CONDITIONS: Final = (Compare, IsNull, In, Between, Like, Not, All, Any)
