"""Computed fields: `upper(name)`, `price * quantity`, `'new' if paid is None else 'done'`.

Parsed, and never evaluated as Python: what is not in the tables below is refused when the configuration is read.
"""

from __future__ import annotations

import ast
import hashlib
import operator
import re
from collections.abc import Callable, Mapping
from decimal import Context, Decimal, DecimalException
from typing import Any, NoReturn, TypeAlias

from pydbsync.errors import ConfigError, PlanError

ExpressionValue: TypeAlias = "str | Decimal | bool | None"
_Compiled: TypeAlias = Callable[[Mapping[str, ExpressionValue]], ExpressionValue]

_EXACT = Context(prec=200)
_DIVISION = Context(prec=40)
_MOST_DIGITS = 10_000


def _text(value: ExpressionValue) -> str:
    return "" if value is None else show(value)


def show(value: str | Decimal | bool) -> str:
    """A value as text: a number in full, without an exponent."""
    if isinstance(value, bool):
        return "1" if value else "0"
    return format(value, "f") if isinstance(value, Decimal) else value


def _number(value: ExpressionValue) -> Decimal:
    if isinstance(value, Decimal):
        return value
    try:
        return Decimal(_text(value))
    except DecimalException:
        raise PlanError(f"{value!r} is no number") from None


def _substr(value: ExpressionValue, start: ExpressionValue, count: ExpressionValue = None) -> ExpressionValue:
    begin = int(_number(start))
    if begin < 1:
        raise PlanError("substr counts from 1")
    text = _text(value)[begin - 1 :]
    return text if count is None else text[: max(0, int(_number(count)))]


def _rounded(value: ExpressionValue, digits: ExpressionValue = Decimal(0)) -> ExpressionValue:
    return _number(value).quantize(Decimal(1).scaleb(-int(_number(digits))), context=_EXACT)


FUNCTIONS: Mapping[str, tuple[Callable[..., ExpressionValue], int, int]] = {
    "lower": (lambda value: _text(value).lower(), 1, 1),
    "upper": (lambda value: _text(value).upper(), 1, 1),
    "trim": (lambda value: _text(value).strip(), 1, 1),
    "length": (lambda value: Decimal(len(_text(value))), 1, 1),
    "substr": (_substr, 2, 3),
    "replace": (lambda value, old, new: _text(value).replace(_text(old) or "\0", _text(new)), 3, 3),
    "round": (_rounded, 1, 2),
    "sha256": (lambda value: hashlib.sha256(_text(value).encode()).hexdigest(), 1, 1),
}
"""Each with the least and most of its arguments. NULL in the first argument gives NULL."""
_CALCULATIONS: Mapping[type[ast.operator], Callable[[Decimal, Decimal], Decimal]] = {
    ast.Add: _EXACT.add,
    ast.Sub: _EXACT.subtract,
    ast.Mult: _EXACT.multiply,
    ast.Div: _DIVISION.divide,
    ast.Mod: _EXACT.remainder,
}
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


class Expression:
    """One expression, and the columns that it reads."""

    def __init__(self, text: str, *, where: str) -> None:
        """`where` is the path of the setting. Raises ConfigError for whatever is not known."""
        self.text = text
        self._where = where
        self.columns: set[str] = set()
        try:
            tree = ast.parse(text.strip(), mode="eval")
        except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
            raise ConfigError(f"cannot be read: {text!r}", key=where) from exc
        self._run = self._compile(tree.body)

    def value(self, row: Mapping[str, ExpressionValue]) -> ExpressionValue:
        """Its value for a row. Raises PlanError."""
        try:
            return self._run(row)
        except (DecimalException, ArithmeticError, ValueError, TypeError) as exc:
            raise PlanError(f"{self.text!r} has no value for this row: {_why(exc)}") from exc

    def _compile(self, node: ast.expr) -> _Compiled:
        if isinstance(node, ast.Constant):
            return self._constant(node.value)
        if isinstance(node, ast.Name):
            return self._column(node.id)
        if isinstance(node, ast.BinOp) and type(node.op) in _CALCULATIONS:
            return _calculated(_CALCULATIONS[type(node.op)], self._compile(node.left), self._compile(node.right))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return _calculated(_EXACT.subtract, lambda row: Decimal(0), self._compile(node.operand))
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            operand = self._compile(node.operand)
            return lambda row: not operand(row)
        if isinstance(node, ast.BoolOp):
            parts = [self._compile(each) for each in node.values]
            join = all if isinstance(node.op, ast.And) else any
            return lambda row: join(bool(part(row)) for part in parts)
        if isinstance(node, ast.IfExp):
            test, yes, no = map(self._compile, (node.test, node.body, node.orelse))
            return lambda row: yes(row) if test(row) else no(row)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self._comparison(node.ops[0], self._compile(node.left), self._compile(node.comparators[0]))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and not node.keywords:
            return self._call(node.func.id, node.args)
        self._refuse(ast.unparse(node))

    def _constant(self, value: object) -> _Compiled:
        if value is None or isinstance(value, bool | str):
            return lambda row: value
        if isinstance(value, int | float):
            number = Decimal(str(value))
            return lambda row: number
        self._refuse(repr(value))

    def _column(self, name: str) -> _Compiled:
        self.columns.add(name)

        def column(row: Mapping[str, ExpressionValue]) -> ExpressionValue:
            if name not in row:
                raise PlanError(f"the row has no column {name!r}, which {self.text!r} reads")
            return row[name]

        return column

    def _comparison(self, op: ast.cmpop, left: _Compiled, right: _Compiled) -> _Compiled:
        if isinstance(op, ast.Is | ast.IsNot):
            is_wanted = isinstance(op, ast.Is)
            return lambda row: ((left(row) is None) == (right(row) is None)) == is_wanted
        compare = _COMPARISONS.get(type(op))
        if compare is None:
            self._refuse(type(op).__name__.lower())

        def compared(row: Mapping[str, ExpressionValue]) -> ExpressionValue:
            one, other = left(row), right(row)
            if one is None or other is None:
                return None
            if isinstance(one, Decimal) or isinstance(other, Decimal):
                return compare(_number(one), _number(other))
            return compare(_text(one), _text(other))

        return compared

    def _call(self, name: str, arguments: list[ast.expr]) -> _Compiled:
        if name == "col":
            named = [each.value for each in arguments if isinstance(each, ast.Constant) and isinstance(each.value, str)]
            if len(named) != 1 or len(arguments) != 1:
                raise ConfigError("col takes the name of a column, in quotes", key=self._where)
            return self._column(named[0])
        parts = [self._compile(each) for each in arguments]
        if name == "concat":
            return lambda row: "".join(_text(part(row)) for part in parts)
        if name == "coalesce":
            return lambda row: next((value for part in parts if (value := part(row)) is not None), None)
        if name not in FUNCTIONS:
            self._refuse(f"{name}()")
        function, least, most = FUNCTIONS[name]
        if not least <= len(parts) <= most:
            raise ConfigError(f"{name} takes {least} to {most} arguments, got {len(parts)}", key=self._where)

        def called(row: Mapping[str, ExpressionValue]) -> ExpressionValue:
            first, *rest = [part(row) for part in parts]
            return None if first is None else function(first, *rest)

        return called

    def _refuse(self, what: str) -> NoReturn:
        known = ", ".join(sorted([*FUNCTIONS, "coalesce", "col", "concat"]))
        raise ConfigError(
            f"{what} is not known here; an expression has columns, numbers, texts, + - * / %, comparisons, and, or,"
            f" not, `a if b else c`, and the functions {known}",
            key=self._where,
        )


def _calculated(step: Callable[[Decimal, Decimal], Decimal], left: _Compiled, right: _Compiled) -> _Compiled:
    def calculated(row: Mapping[str, ExpressionValue]) -> ExpressionValue:
        one, other = left(row), right(row)
        if one is None or other is None:
            return None
        found = step(_number(one), _number(other))
        if not found.is_finite() or abs(found.adjusted()) > _MOST_DIGITS:
            raise PlanError("the number is too large")
        return found

    return calculated


def _why(exc: Exception) -> str:
    """What went wrong; of decimals the text is a list of classes, and the name says it: `division by zero`."""
    if isinstance(exc, DecimalException) or not str(exc):
        return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", type(exc).__name__).lower()
    return str(exc)
