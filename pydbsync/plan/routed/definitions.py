"""What a statement does to rows that are there, where a route makes other rows of them, or chooses some by a value."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from typing import Final

from pydbsync.config.routes import RouteSettings
from pydbsync.model import Column, TableSchema
from pydbsync.plan.ddl.clauses import Clause, outer, split_list
from pydbsync.plan.ddl.lexer import Token

_INTEGERS: Final = ("tinyint", "smallint", "mediumint", "int", "bigint")
_TEXTS: Final = ("tinytext", "text", "mediumtext", "longtext")
_SYNONYMS: Final = {"integer": "int", "dec": "decimal", "numeric": "decimal", "fixed": "decimal"}
BY_HAND: Final = "run the statement at the target by hand, mark this one as done, then verify and repair the table"
_SIZES = re.compile(r"\((\d+)(?:,(\d+))?\)")


def why_rows_differ(
    clause: Clause, name: str, route: RouteSettings, table: TableSchema | None, read: Collection[str]
) -> str:
    """Why a column's definition would leave other rows than the route makes; empty where it would not. `table` is the
    target's, `read` are the columns of the conditions."""
    adds = clause.verb == "ADD"
    if name in read and (adds or not _keeps_values(clause, name, route, table)):
        return (
            f"the condition of the route reads {name}, whose values {'come' if adds else 'may become others'} with this"
            f" statement: which rows the target has would be wrong; {BY_HAND}"
        )
    if adds and name in route.mask and gives_rows_values(clause.body):
        return f"in rows that are there {name} would have the source's default, which the route masks: {BY_HAND}"
    numbers = {"AUTO_INCREMENT", "SERIAL"} & {token.upper for token in outer(clause.body)}
    if adds and numbers and name not in route.leave_out and (route.where or route.mask):
        return (
            f"the rows would be numbered in {name} otherwise than at the source, where they are more, or in another"
            f" order: {BY_HAND}"
        )
    return ""


def why_values_differ(clause: Clause, route: RouteSettings, table: TableSchema | None, read: Collection[str]) -> str:
    """The same of clauses that take rows, or convert values, of the whole table."""
    words = [token.upper for token in clause.tokens[:2]]
    if words in (["DROP", "PARTITION"], ["TRUNCATE", "PARTITION"]):
        others = route.mask.keys() | route.leave_out
        # A partition goes by columns of the primary key, where there is one.
        key = {each.lower() for each in table.primary_key} if table else set()
        own = {each for each in others if route.rename.get(each, each).lower() in key}
        if own or (others and not key):
            return (
                f"which rows a partition has goes by their values, and {', '.join(sorted(own or others))} has others at"
                " the target: delete there by hand what it takes away, mark this one as done, then verify"
            )
    if words == ["CONVERT", "TO"]:
        known = _columns(table)
        texts = [
            each for each in sorted(read)
            if (column := known.get(route.rename.get(each, each).lower())) is None or column.collation is not None
        ]  # fmt: skip
        if texts:
            return (
                f"the condition of the route reads {', '.join(texts)}, which compare otherwise in another collation:"
                f" which rows the target has may be wrong; {BY_HAND}"
            )
    return ""


def _columns(table: TableSchema | None) -> Mapping[str, Column]:
    return {column.name.lower(): column for column in table.columns} if table else {}


def _keeps_values(clause: Clause, name: str, route: RouteSettings, table: TableSchema | None) -> bool:
    column = _columns(table).get(route.rename.get(name, name).lower())
    if table is None or column is None or name in route.mask or name in route.leave_out:
        return False
    return keeps_values(clause.body, column, table.collation)


def gives_rows_values(body: Sequence[Token]) -> bool:
    """Whether a column that is added with this definition has another value than NULL in rows that are there."""
    words = [token.upper for token in outer(tuple(body))]
    if "AS" in words:  # a generated column, which each end computes
        return False
    if ("NOT", "NULL") in pairwise(words) or {"AUTO_INCREMENT", "PRIMARY", "SERIAL"} & {*words}:
        return True
    if words[:1] == ["TIMESTAMP"] and "NULL" not in words:  # by explicit_defaults_for_timestamp it is NOT NULL
        return True
    return "DEFAULT" in words and words[words.index("DEFAULT") + 1 :][:1] != ["NULL"]


def default_expression(body: Sequence[Token]) -> Sequence[Token]:
    """The tokens of DEFAULT (…); nothing where the default is no expression."""
    found: list[Token] = []
    depth = 0
    for before, token in pairwise(body):
        if depth or (before.upper == "DEFAULT" and token.is_mark("(")):
            depth += token.is_mark("(") - token.is_mark(")")
            found.append(token)
    return found


def keeps_values(body: Sequence[Token], column: Column, table_collation: str) -> bool:
    """Whether every value of the column is the same, and compares the same, under this new definition of it; False
    where that is not certain. A text that names no collation gets the table's."""
    words = [token.upper for token in outer(tuple(body))]
    kind = _SYNONYMS.get(words[0].lower(), words[0].lower()) if words else ""
    if column.nullable and ("NOT", "NULL") in pairwise(words):
        return False  # without strict mode NULL becomes 0 or ''
    if column.unsigned != bool({"UNSIGNED", "ZEROFILL"} & {*words}):
        return False
    if column.collation is not None and _collation(body, column.charset, table_collation) != column.collation:
        return False
    for family in (_INTEGERS, _TEXTS):
        if kind in family and column.kind in family:
            return family.index(kind) >= family.index(column.kind)
    if kind != column.kind:
        return False
    listed = (
        [part[0].text for part in split_list(tuple(body)) if part] if len(body) > 1 and body[1].is_mark("(") else []
    )
    if kind == "enum":
        return tuple(listed[: len(column.labels)]) == column.labels
    if kind == "date":
        return True
    sizes = [int(each) for each in listed if each.isdigit()]
    if kind in ("datetime", "timestamp"):
        return (sizes or [0])[0] >= column.digits
    former = _SIZES.search(column.column_type)
    if former is None or kind not in ("char", "varchar", "decimal"):
        return False
    if kind != "decimal":
        return (sizes or [1])[0] >= int(former[1])
    precision, scale = ([*sizes, 0] if len(sizes) == 1 else sizes or [10, 0])[:2]
    return scale >= int(former[2] or 0) and precision - scale >= int(former[1]) - int(former[2] or 0)


def _collation(body: Sequence[Token], charset: str | None, table_collation: str) -> str:
    """What the definition gives a text; empty where that is not certain."""
    texts = [token.text.lower() for token in outer(tuple(body)) if token.kind != "string"]
    if "collate" in texts:
        return texts[texts.index("collate") + 1 :][0] if texts[-1] != "collate" else ""
    if {"charset", "character", "ascii", "unicode", "binary", "byte"} & {*texts}:
        return ""
    return table_collation if table_collation.startswith(f"{charset}_") else ""
