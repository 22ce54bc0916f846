"""Conditions of routes, compiled for the columns of one table: evaluated here, and spelled for the source's server.

Both give the same answer for every row, or there is none: a type, a collation or a literal for which that is not known
is refused when the table is planned, and a value for which it is not known (a text with a character whose place in the
collation is not known here) when its row comes. Three values: True, False, and None for what SQL calls unknown.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal
from typing import NamedTuple, TypeAlias

from pydbsync.config.conditions import (
    All,
    Any,
    Arithmetic,
    Between,
    ColumnRef,
    Compare,
    Condition,
    FunctionCall,
    In,
    IsNull,
    Like,
    Not,
    Null,
    Number,
    TextLiteral,
    Truth,
)
from pydbsync.errors import PlanError
from pydbsync.model import INTEGER_KINDS, TEXT_KINDS, Column
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.routed.functions import call
from pydbsync.plan.routed.operands import INTEGER_DIGITS, SIGNED, UNSIGNED, CompiledOperand, RowBytes
from pydbsync.plan.routed.texts import Comparison, comparison_of
from pydbsync.plan.routed.values import RoutedValue, reader_for, time_literal

Truthfulness: TypeAlias = bool | None
Evaluate: TypeAlias = Callable[[RowBytes], Truthfulness]

_SCALE_LIMIT = 30
_DIGITS_LIMIT = 65


class CompiledCondition(NamedTuple):
    """One condition for one table."""

    holds: Evaluate
    """Raises PlanError for a value of which nothing can be said."""
    sql: str
    """For the source's server, in whatever character set its session is."""


def compile_condition(condition: Condition, columns: Mapping[str, Column]) -> CompiledCondition:
    """`columns` are the source's, by name in lower case. Raises PlanError for what cannot be evaluated exactly."""
    return _Compiler(columns).condition(condition)


class _Compiler:
    def __init__(self, columns: Mapping[str, Column]) -> None:
        self._columns = columns

    # -- conditions --------------------------------------------------------------------------------------------------

    def condition(self, node: Condition) -> CompiledCondition:
        if isinstance(node, All | Any):
            return self._joined([self.condition(each) for each in node.parts], is_all=isinstance(node, All))
        if isinstance(node, Not):
            inner = self.condition(node.operand)
            return CompiledCondition(_negation(inner.holds), f"(NOT {inner.sql})")
        if isinstance(node, Compare):
            return self._compare(node.operator, self.operand(node.left), self.operand(node.right))
        if isinstance(node, IsNull):
            return self._is_null(node)
        if isinstance(node, In):
            operand = self.operand(node.operand)
            return self._joined([self._compare("=", operand, self.operand(each)) for each in node.items], is_all=False)
        if isinstance(node, Between):
            operand, low, high = (self.operand(each) for each in (node.operand, node.low, node.high))
            return self._joined([self._compare(">=", operand, low), self._compare("<=", operand, high)], is_all=True)
        if isinstance(node, Like):
            return self._like(node)
        operand = self.operand(node)
        if operand.family == "null":
            return CompiledCondition(lambda row: None, "NULL")
        if operand.family != "number":
            raise PlanError(f"{operand.sql} alone is no condition: compare it with something")
        get = operand.get
        return CompiledCondition(
            lambda row: None if (found := get(row)) is None else found != 0, f"({operand.sql} <> 0)"
        )

    def _joined(self, parts: list[CompiledCondition], *, is_all: bool) -> CompiledCondition:
        holds = [each.holds for each in parts]
        decided = not is_all

        def evaluate(row: RowBytes) -> Truthfulness:
            unknown = False
            for each in holds:
                found = each(row)
                if found is decided:
                    return decided
                unknown = unknown or found is None
            return None if unknown else not decided

        word = " AND " if is_all else " OR "
        return CompiledCondition(evaluate, f"({word.join(each.sql for each in parts)})")

    def _is_null(self, node: IsNull) -> CompiledCondition:
        operand = self.operand(node.operand)
        column = self._columns.get(operand.name)
        if column is not None and column.kind in ("json", "enum"):
            raise PlanError(
                f"{column.name} IS NULL: a message does not tell NULL from"
                f" {'the document null' if column.kind == 'json' else 'the error value of ENUM'}"
            )
        get = operand.get
        return CompiledCondition(lambda row: get(row) is None, f"({operand.sql} IS NULL)")

    def _compare(self, operator: str, left: CompiledOperand, right: CompiledOperand) -> CompiledCondition:
        left, right, comparison = self._fitted(operator, left, right)
        sql = f"({left.sql} {operator} {right.sql})"
        get_left, get_right = left.get, right.get
        ordered = _ORDER[operator]
        if operator == "<=>":

            def same(row: RowBytes) -> Truthfulness:
                a, b = get_left(row), get_right(row)
                if a is None or b is None:
                    return a is b
                return comparison.order(a, b) == 0 if comparison else bool(a == b)

            return CompiledCondition(same, sql)

        def evaluate(row: RowBytes) -> Truthfulness:
            a, b = get_left(row), get_right(row)
            if a is None or b is None:
                return None
            if comparison is not None:
                return ordered(comparison.order(a, b), 0)
            return ordered(a, b)

        return CompiledCondition(evaluate, sql)

    def _fitted(
        self, operator: str, left: CompiledOperand, right: CompiledOperand
    ) -> tuple[CompiledOperand, CompiledOperand, Comparison | None]:
        """Both sides as they are compared. Raises PlanError where they are of different types."""
        if "null" in (left.family, right.family):
            return left, right, None
        for one in (left, right):
            if one.family == "other":
                raise PlanError(
                    f"{one.sql} cannot be compared here: it is of type {self._columns[one.name].column_type}"
                )
        if {left.family, right.family} <= {"date", "datetime", "text"} and left.family != right.family:
            left, right = _as_time(left, right), _as_time(right, left)
        if left.family != right.family:
            raise PlanError(
                f"{left.sql} {operator} {right.sql}: a {left.family} and a {right.family} are not compared here, since"
                " the server would convert one of them"
            )
        if left.family != "text":
            return left, right, None
        comparison = left.comparison or right.comparison
        if comparison is None or (left.comparison and right.comparison):
            raise PlanError(f"{left.sql} {operator} {right.sql}: only a column and a 'text' are compared here")
        if operator not in ("=", "<>", "<=>") and not comparison.is_ordered:
            raise PlanError(
                f"{left.sql} {operator} {right.sql}: the order of {comparison.collation} is not known here; = and <>"
                " are, or give the column a *_bin collation"
            )
        for literal in (left.literal, right.literal):
            if literal is not None:
                comparison.check_literal(literal)
        return left, right, comparison

    def _like(self, node: Like) -> CompiledCondition:
        operand = self.operand(node.operand)
        if operand.family != "text" or operand.comparison is None:
            raise PlanError(f"{operand.sql} LIKE: it is no text column")
        comparison = operand.comparison
        comparison.check_literal(node.pattern)
        parts = [{"%": ".*", "_": "."}.get(each, re.escape(comparison.fold(each))) for each in node.pattern]
        match = re.compile("".join(parts), re.DOTALL).fullmatch
        get = operand.get

        def evaluate(row: RowBytes) -> Truthfulness:
            value = get(row)
            return None if value is None else match(comparison.like(value)) is not None

        return CompiledCondition(evaluate, f"({operand.sql} LIKE {_text_sql(node.pattern)})")

    # -- values ------------------------------------------------------------------------------------------------------

    def operand(self, node: Condition) -> CompiledOperand:
        if isinstance(node, ColumnRef):
            return self._column(node.name)
        if isinstance(node, Number):
            return _number(node.text)
        if isinstance(node, Truth):
            number = int(node.value)
            return CompiledOperand(lambda row: number, str(number), "number", 1, is_whole=True)
        if isinstance(node, Null):
            return CompiledOperand(lambda row: None, "NULL", "null")
        if isinstance(node, TextLiteral):
            value = node.value
            return CompiledOperand(lambda row: value, _text_sql(value), "text", literal=value)
        if isinstance(node, FunctionCall):
            return call(node.name, [self.operand(each) for each in node.arguments], self._columns)
        assert isinstance(node, Arithmetic)  # noqa: S101
        return self._arithmetic(node)

    def _column(self, name: str) -> CompiledOperand:
        column = self._columns.get(name.lower())
        if column is None:
            raise PlanError(f"the column {name} is not known: the table has none, or its type could not be found out")
        lower, read = name.lower(), reader_for(column)

        def get(row: RowBytes) -> RoutedValue:
            token = row.get(lower)
            if token is None:
                raise PlanError(f"the condition of the route reads {column.name}, which the row has not")
            return read(token)

        found = CompiledOperand(get, quote_name(column.name), "other", name=lower)
        kind = column.kind
        if kind in INTEGER_KINDS:
            return found._replace(family="number", digits=INTEGER_DIGITS, is_whole=True, unsigned=column.unsigned)
        if kind == "decimal":
            digits, scale = _decimal_size(column)
            return found._replace(family="number", digits=digits - scale, scale=scale)
        if kind in TEXT_KINDS or kind == "enum":
            return found._replace(family="text", comparison=comparison_of(column))
        if kind == "date":
            return found._replace(family="date")
        if kind in ("datetime", "timestamp"):
            return found._replace(family="datetime")
        return found

    def _arithmetic(self, node: Arithmetic) -> CompiledOperand:
        left, right = self.operand(node.left), self.operand(node.right)
        sql = f"({left.sql} {node.operator} {right.sql})"
        if "null" in (left.family, right.family):
            return CompiledOperand(lambda row: None, "NULL", "null")
        if left.family != "number" or right.family != "number":
            raise PlanError(f"{sql}: one side is no whole number or DECIMAL")
        if left.is_whole and right.is_whole:
            return self._of_whole_numbers(node.operator, left, right, sql)
        if node.operator in ("%", "DIV"):
            raise PlanError(f"{sql}: % and DIV are taken of whole numbers alone")
        if node.operator == "*":
            digits, scale = left.digits + right.digits, left.scale + right.scale
        else:
            digits, scale = max(left.digits, right.digits) + 1, max(left.scale, right.scale)
        if scale > _SCALE_LIMIT or digits + scale > _DIGITS_LIMIT:
            raise PlanError(f"{sql}: the result has more digits than the server keeps")
        compute = _DECIMAL_ARITHMETIC[node.operator]
        get_left, get_right = left.get, right.get

        def get(row: RowBytes) -> RoutedValue:
            a, b = get_left(row), get_right(row)
            return None if a is None or b is None else compute(Decimal(a), Decimal(b))

        return CompiledOperand(get, sql, "number", digits, scale)

    def _of_whole_numbers(
        self, operator: str, left: CompiledOperand, right: CompiledOperand, sql: str
    ) -> CompiledOperand:
        compute = _WHOLE_ARITHMETIC[operator]
        unsigned = left.unsigned if operator == "%" else left.unsigned or right.unsigned
        low, high = UNSIGNED if unsigned else SIGNED
        get_left, get_right = left.get, right.get

        def get(row: RowBytes) -> RoutedValue:
            a, b = get_left(row), get_right(row)
            if a is None or b is None:
                return None
            found = compute(a, b)
            if found is not None and not low <= found <= high:
                raise PlanError(f"{sql} is out of range for {a} and {b}, which is an error (1690) at the source too")
            return found

        return CompiledOperand(get, sql, "number", INTEGER_DIGITS, is_whole=True, unsigned=unsigned)


def _negation(holds: Evaluate) -> Evaluate:
    return lambda row: None if (found := holds(row)) is None else not found


_ORDER: Mapping[str, Callable[[RoutedValue, RoutedValue], bool]] = {
    "=": lambda a, b: a == b,
    "<>": lambda a, b: a != b,
    "<": lambda a, b: a < b,  # type: ignore[operator]
    "<=": lambda a, b: a <= b,  # type: ignore[operator]
    ">": lambda a, b: a > b,  # type: ignore[operator]
    ">=": lambda a, b: a >= b,  # type: ignore[operator]
    "<=>": lambda a, b: a == b,
}


def _remainder(a: int, b: int) -> int | None:
    """With the sign of the dividend, as MySQL."""
    return None if b == 0 else abs(a) % abs(b) * (-1 if a < 0 else 1)


def _quotient(a: int, b: int) -> int | None:
    return None if b == 0 else abs(a) // abs(b) * (-1 if (a < 0) != (b < 0) else 1)


_WHOLE_ARITHMETIC: Mapping[str, Callable[..., int | None]] = {
    "+": lambda a, b: a + b,
    "-": lambda a, b: a - b,
    "*": lambda a, b: a * b,
    "%": _remainder,
    "DIV": _quotient,
}


_EXACT = Context(prec=200)
"""Numbers of a server have 65 digits at most: nothing is rounded."""
_DECIMAL_ARITHMETIC: Mapping[str, Callable[[Decimal, Decimal], Decimal]] = {
    "+": _EXACT.add,
    "-": _EXACT.subtract,
    "*": _EXACT.multiply,
}


def _number(text: str) -> CompiledOperand:
    digits = text.lstrip("-").lstrip("0")
    before, _, behind = digits.partition(".")
    if "." not in text:
        whole = int(text)
        if not SIGNED[0] <= whole <= UNSIGNED[1]:
            raise PlanError(f"{text} is larger than any whole number of the server")
        is_unsigned = whole > SIGNED[1]
        return CompiledOperand(lambda row: whole, text, "number", INTEGER_DIGITS, is_whole=True, unsigned=is_unsigned)
    if len(behind) > _SCALE_LIMIT or len(before) + len(behind) > _DIGITS_LIMIT:
        raise PlanError(f"{text} has more digits than the server keeps")
    number = Decimal(text)
    return CompiledOperand(lambda row: number, text, "number", len(before), len(behind))


def _as_time(one: CompiledOperand, other: CompiledOperand) -> CompiledOperand:
    """A text beside a date as a literal of time; a DATE and a DATETIME compare as times."""
    if one.family != "text":
        return one._replace(family="datetime")
    found = time_literal(one.literal) if one.literal is not None else None
    if found is None:
        raise PlanError(
            f"{other.sql} is compared with {one.sql}: beside a date only a date 'YYYY-MM-DD' or a time"
            " 'YYYY-MM-DD hh:mm:ss' is taken"
        )
    value, sql = found
    return one._replace(family="datetime", get=lambda row: value, sql=sql)


_SIZE = re.compile(r"decimal\((\d+),(\d+)\)")


def _decimal_size(column: Column) -> tuple[int, int]:
    match = _SIZE.match(column.column_type)
    return (int(match[1]), int(match[2])) if match else (_DIGITS_LIMIT, _SCALE_LIMIT)


def _text_sql(value: str) -> str:
    """As a text of its own character set, so that the collation of the column decides whatever the session's is."""
    return f"_utf8mb4 X'{value.encode('utf-8').hex()}'" if value else "_utf8mb4''"
