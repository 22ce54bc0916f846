"""Differences between two tables' definitions, one sentence each, and what could not be told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from pydbsync.ops.verify.definition import TABLE_COLLATION, TABLE_OPTIONS, ColumnDefinition, TableStructure
from pydbsync.plan.expressions import SpelledExpression

_NONE = SpelledExpression("")
_ASIDES = 6
"""How many of what counts for nothing are told of a table."""


def structure_differences(
    source: TableStructure, target: TableStructure, *, across_brands: bool, allows_own_columns: bool
) -> Iterator[str]:
    """What is not the same. Collations, falling and unused indexes are compared within one brand only; an expression
    that MySQL and MariaDB may print in two ways is no difference between them (see `left_uncompared`)."""
    for name, wanted in source.columns.items():
        found = _find(target.columns, name)
        if found is None:
            yield f"column {name} is missing at the target"
            continue
        if across_brands:
            wanted, found = _across_brands(wanted, found)
        if wanted != found:
            yield f"column {name} is {_differing(wanted, found)}"
    own = [name for name in target.columns if _find(source.columns, name) is None]
    if not allows_own_columns:
        yield from (f"column {name} is at the target only" for name in own)
    common = [name.lower() for name in source.columns if _find(target.columns, name)]
    order = [name.lower() for name in target.columns if name not in own]
    if common != order:
        yield f"the target's columns stand in another order: {', '.join(order)}"
    yield from _named_differences("index", source.indexes, target.indexes)
    if not across_brands:
        alike = {name for name, text in source.indexes.items() if target.indexes.get(name) == text}
        kept = ({name: text for name, text in each.index_details.items() if name in alike} for each in (source, target))
        yield from _named_differences("index", *kept)
    blind = " (a user without REFERENCES is shown none)" if not (source.foreign_keys and target.foreign_keys) else ""
    yield from (
        f"{each}{blind}" for each in _named_differences("foreign key", source.foreign_keys, target.foreign_keys)
    )
    checks = (source.checks, target.checks)
    if across_brands:
        checks, _ = _checks_across_brands(*checks)
    yield from _named_differences("CHECK constraint", *({name: e.text for name, e in each.items()} for each in checks))
    parts = (source.partitions, target.partitions)
    if parts[0] != parts[1] and not (across_brands and _may_be_same(*parts)):
        yield "the table is {} at the source, {} at the target".format(*map(_partitioned, parts))
    if source.versioning != target.versioning and not across_brands:
        ways = (source.versioning, target.versioning)
        yield "the table is {} at the source, {} at the target".format(*(way or "not system-versioned" for way in ways))


def left_uncompared(source: TableStructure, target: TableStructure, *, across_brands: bool) -> Iterator[str]:
    """What has no counterpart on the other side, or is spelled by each brand in its own way; then what differs and
    makes no row another one."""
    if source.versioning:
        yield "system-versioned: its current rows are compared, and not its history, which each server keeps itself"
    if across_brands:
        untold = list(_untold(source, target))
        if untold:
            yield f"not compared between MySQL and MariaDB: {'; '.join(untold)}"
    told = list(_asides(source.asides, target.asides, across_brands=across_brands))
    if told:
        more = [f"{len(told) - _ASIDES} more"] if len(told) > _ASIDES else []
        yield f"no difference of rows, and not counted as one: {'; '.join([*told[:_ASIDES], *more])}"


def _untold(source: TableStructure, target: TableStructure) -> Iterator[str]:
    """Expressions that differ in what both brands may print for the same."""
    for name, wanted in source.columns.items():
        found = _find(target.columns, name)
        if found is None:
            continue
        for what, one, other in (
            ("the expression", wanted.expression, found.expression), ("the default", wanted.default, found.default)
        ):  # fmt: skip
            if one != other and _may_be_same(one, other):
                yield f"{what} of column {name}, {one.text} at the source, {other.text} at the target"
    _, checks = _checks_across_brands(source.checks, target.checks)
    for side, left in zip(("source", "target"), checks, strict=True):
        yield from (f"CHECK constraint {name} {each.text} at the {side}" for name, each in left.items())
    parts = (source.partitions, target.partitions)
    if parts[0] != parts[1] and _may_be_same(*parts):
        yield "partitions, {} at the source, {} at the target".format(*map(_partitioned, parts))


def _asides(source: Mapping[str, str], target: Mapping[str, str], *, across_brands: bool) -> Iterator[str]:
    for what in dict.fromkeys([*source, *target]):
        if across_brands and what in (TABLE_COLLATION, TABLE_OPTIONS):
            continue
        wanted, found = source.get(what, ""), target.get(what, "")
        if wanted != found:
            yield f"{what} is {_shown(wanted)} at the source, {_shown(found)} at the target"


def _shown(text: str) -> str:
    return f"{text[:60]!r}" if text else "none"


def _may_be_same(one: SpelledExpression, other: SpelledExpression) -> bool:
    """Whether two expressions of two brands may be the same, though they print as two."""
    return bool(one.text and other.text) and not (one.is_shared and other.is_shared)


def _across_brands(wanted: ColumnDefinition, found: ColumnDefinition) -> tuple[ColumnDefinition, ColumnDefinition]:
    """Without what each brand has, or spells, in its own way."""
    wanted, found = (each._replace(collation="", srid="") for each in (wanted, found))
    if _may_be_same(wanted.expression, found.expression):
        wanted, found = wanted._replace(expression=_NONE), found._replace(expression=_NONE)
    if _may_be_same(wanted.default, found.default):
        wanted, found = wanted._replace(default=_NONE), found._replace(default=_NONE)
    return wanted, found


_Checks = tuple[dict[str, SpelledExpression], dict[str, SpelledExpression]]


def _checks_across_brands(
    source: Mapping[str, SpelledExpression], target: Mapping[str, SpelledExpression]
) -> tuple[_Checks, _Checks]:
    """The CHECK constraints of both sides that differ, and those of which it cannot be told. Each brand gives those
    without a name one of its own, so that the same one may have two names."""
    left: _Checks = ({}, {})
    counterparts = list(target.items())
    for name, wanted in source.items():
        same = next((each for each in counterparts if each == (name, wanted)), None)
        same = same or next((each for each in counterparts if each[1].text == wanted.text), None)
        if same is None:
            left[0][name] = wanted
        else:
            counterparts.remove(same)
    left[1].update(counterparts)
    if all(each.is_shared for side in left for each in side.values()) or not all(left):
        return left, ({}, {})
    return ({}, {}), left


def _partitioned(way: SpelledExpression) -> str:
    return f"partitioned {way.text}" if way.text else "not partitioned"


def _differing(wanted: ColumnDefinition, found: ColumnDefinition) -> str:
    if str(wanted) != str(found):
        return f"{wanted} at the source, {found} at the target"
    if wanted.collation != found.collation:
        return f"of collation {wanted.collation} at the source, {found.collation} at the target"
    if wanted.srid != found.srid:
        return f"of SRID {wanted.srid or 'any'} at the source, {found.srid or 'any'} at the target"
    if wanted.expression != found.expression:
        return f"generated as {wanted.expression.text} at the source, {found.expression.text} at the target"
    return f"by default {wanted.default.text} at the source, {found.default.text} at the target"


def _named_differences(what: str, source: Mapping[str, str], target: Mapping[str, str]) -> Iterator[str]:
    for name, wanted in source.items():
        found = target.get(name)
        if found is None:
            yield f"{what} {name} {wanted} is missing at the target"
        elif found != wanted:
            yield f"{what} {name} is {wanted} at the source, {found} at the target"
    yield from (f"{what} {name} {found} is at the target only" for name, found in target.items() if name not in source)


def _find(columns: Mapping[str, ColumnDefinition], name: str) -> ColumnDefinition | None:
    found = columns.get(name)
    if found is None:
        found = next((each for key, each in columns.items() if key.lower() == name.lower()), None)
    return found
