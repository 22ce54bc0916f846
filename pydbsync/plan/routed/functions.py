"""The functions that conditions may call: those that give the same on every server, whatever its settings are."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from typing import Final

from pydbsync.errors import PlanError
from pydbsync.model import TEXT_KINDS, Column
from pydbsync.plan.routed.operands import INTEGER_DIGITS, SIGNED, CompiledOperand, RowBytes
from pydbsync.plan.routed.values import RoutedValue


def call(name: str, arguments: Sequence[CompiledOperand], columns: Mapping[str, Column]) -> CompiledOperand:
    """The value of the function, whose name is known. Raises PlanError for arguments of other types than it takes."""
    sql = f"{name}({', '.join(each.sql for each in arguments)})"
    if name == "COALESCE":
        return _first(sql, [each for each in arguments if each.family != "null"], columns)
    (argument,) = arguments
    if argument.family == "null":
        return CompiledOperand(lambda row: None, "NULL", "null")
    if name == "ABS":
        return _absolute(sql, argument)
    if name == "CHAR_LENGTH":
        return _length(sql, argument, columns)
    if argument.family not in ("date", "datetime"):
        raise PlanError(f"{sql}: it is taken of a DATE or DATETIME alone")
    get = argument.get
    if name == "DATE":
        return CompiledOperand(
            lambda row: None if (at := get(row)) is None else f"{str(at)[:10]} 00:00:00.000000", sql, "date"
        )
    part = _PARTS[name]
    return CompiledOperand(
        lambda row: None if (at := get(row)) is None else int(str(at)[part]), sql, "number", INTEGER_DIGITS,
        is_whole=True,
    )  # fmt: skip


_PARTS: Final = {"YEAR": slice(0, 4), "MONTH": slice(5, 7), "DAYOFMONTH": slice(8, 10)}


def _first(sql: str, arguments: Sequence[CompiledOperand], columns: Mapping[str, Column]) -> CompiledOperand:
    """The first that is not NULL."""
    if not arguments:
        return CompiledOperand(lambda row: None, "NULL", "null")
    first = arguments[0]
    if len({each.family for each in arguments}) > 1 or first.family == "other":
        raise PlanError(f"{sql}: its values are not all of one type that is compared here")
    gets = [each.get for each in arguments]

    def get(row: RowBytes) -> RoutedValue:
        return next((found for each in gets if (found := each(row)) is not None), None)

    found = first._replace(get=get, sql=sql, name="", literal=None)
    if first.family == "text":
        return found._replace(comparison=_one_column(sql, arguments, columns).comparison)
    if first.family != "number":
        return found
    signs = {each.unsigned for each in arguments}
    return found._replace(
        digits=max(each.digits for each in arguments), scale=max(each.scale for each in arguments),
        is_whole=len(signs) == 1 and all(each.is_whole for each in arguments), unsigned=signs == {True},
    )  # fmt: skip


def _one_column(sql: str, arguments: Sequence[CompiledOperand], columns: Mapping[str, Column]) -> CompiledOperand:
    """Of texts the one column, by whose collation what comes of them compares."""
    named = [each for each in arguments if each.literal is None]
    literals = [each.literal for each in arguments if each.literal is not None]
    if len(named) != 1 or not all(each.isascii() and each.isprintable() for each in literals):
        raise PlanError(f"{sql}: of texts it takes one column, and 'text' of printable ASCII")
    if named[0].name and columns[named[0].name].kind not in TEXT_KINDS:
        raise PlanError(f"{sql}: {named[0].sql} is an ENUM, whose error value is not told from NULL")
    return named[0]


def _absolute(sql: str, argument: CompiledOperand) -> CompiledOperand:
    if argument.family != "number":
        raise PlanError(f"{sql}: it is taken of a whole number or DECIMAL alone")
    get = argument.get

    def absolute(row: RowBytes) -> RoutedValue:
        value = get(row)
        if value is None:
            return None
        found = abs(value) if isinstance(value, int) else Decimal(value).copy_abs()
        if argument.is_whole and not argument.unsigned and found > SIGNED[1]:
            raise PlanError(f"{sql} is out of range for {value}, which is an error (1690) at the source too")
        return found

    return argument._replace(get=absolute, sql=sql, name="")


def _length(sql: str, argument: CompiledOperand, columns: Mapping[str, Column]) -> CompiledOperand:
    if not argument.name or columns[argument.name].kind not in TEXT_KINDS:
        raise PlanError(f"{sql}: it is taken of a text column alone")
    get: Callable[[RowBytes], RoutedValue] = argument.get
    return CompiledOperand(
        lambda row: None if (text := get(row)) is None else len(str(text)), sql, "number", INTEGER_DIGITS, is_whole=True
    )
