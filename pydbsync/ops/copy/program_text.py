"""The text of a view, trigger, routine or event, as the target is to read it: names, brand, definer, schedule."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import pairwise

from pydbsync.errors import PlanError
from pydbsync.plan.ddl.introducers import kept_introducers
from pydbsync.plan.ddl.lexer import Edit, Span, Token, read_tokens
from pydbsync.plan.quoting import quote_name
from pydbsync.plan.target import Dialect

_MODES_OF_MYSQL = frozenset({
    "ALLOW_INVALID_DATES", "ANSI", "ANSI_QUOTES", "ERROR_FOR_DIVISION_BY_ZERO", "HIGH_NOT_PRECEDENCE", "IGNORE_SPACE",
    "NO_AUTO_VALUE_ON_ZERO", "NO_BACKSLASH_ESCAPES", "NO_DIR_IN_CREATE", "NO_ENGINE_SUBSTITUTION",
    "NO_UNSIGNED_SUBTRACTION", "NO_ZERO_DATE", "NO_ZERO_IN_DATE", "ONLY_FULL_GROUP_BY", "PAD_CHAR_TO_FULL_LENGTH",
    "PIPES_AS_CONCAT", "REAL_AS_FLOAT", "STRICT_ALL_TABLES", "STRICT_TRANS_TABLES", "TIME_TRUNCATE_FRACTIONAL",
    "TRADITIONAL",
})  # fmt: skip
"""What MySQL 8 and newer take."""
_OTHER_LANGUAGE = frozenset({"ORACLE", "EMPTY_STRING_IS_NULL", "SIMULTANEOUS_ASSIGNMENT"})
"""Modes of MariaDB under which the same text does something else."""


def sql_mode_at(target: Dialect, sql_mode: str) -> str:
    """The sql_mode of a program without the words that the target does not have. Raises PlanError where one of them
    changes what the program does."""
    words = [word for word in sql_mode.split(",") if word]
    if target.is_mariadb:
        return ",".join(word for word in words if word != "TIME_TRUNCATE_FRACTIONAL")  # MariaDB does so anyway
    if target.version < (8,):
        return sql_mode
    if other := _OTHER_LANGUAGE & set(words):
        raise PlanError(f"it was made with the sql_mode {', '.join(sorted(other))}, which MySQL does not have")
    return ",".join(word for word in words if word in _MODES_OF_MYSQL)


def edits_for(kind: str, tokens: Sequence[Token], *, rename: Callable[[str], str], target: Dialect) -> Iterator[Edit]:
    """What to exchange in CREATE VIEW, TRIGGER, PROCEDURE, FUNCTION or EVENT."""
    yield from renamed(tokens, rename)
    if kind == "view" and target.is_mariadb:
        yield from kept_introducers(tokens)
    if kind == "event":
        yield from _disabled(tokens)
    words = [token.upper for token in tokens[:3]]
    if not target.is_mariadb and words == ["CREATE", "OR", "REPLACE"]:
        yield Edit(Span(tokens[1].start, tokens[2].end), "")


def _disabled(tokens: Sequence[Token]) -> Iterator[Edit]:
    """An event that ran at the target would change rows that replay brings."""
    for token in tokens:
        if token.upper == "DO":
            return
        if token.upper == "ENABLE":
            yield Edit(Span(token.start, token.end), "DISABLE")


def renamed(tokens: Sequence[Token], rename: Callable[[str], str]) -> Iterable[Edit]:
    """The exchange of every name of a database in front of another name. A table's alias of the same name is none."""
    aliases = _aliases(tokens)
    for index, token in enumerate(tokens[:-1]):
        is_first = token.is_name and tokens[index + 1].is_mark(".") and not (index and tokens[index - 1].is_mark("."))
        if not is_first or rename(token.text) == token.text:
            continue
        has_three = index + 3 < len(tokens) and tokens[index + 3].is_mark(".")
        if token.text not in aliases or has_three:
            yield Edit(Span(token.start, token.end), quote_name(rename(token.text)))


def _aliases(tokens: Sequence[Token]) -> set[str]:
    """Names in quotes that stand behind a name, a closing bracket or AS: `db`.`t` `alias`."""
    return {
        token.text
        for before, token in pairwise(tokens)
        if token.kind == "quoted" and (before.kind == "quoted" or before.is_mark(")") or before.upper == "AS")
    }


_BEHIND_DEFINER = ("SQL", "VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "AGGREGATE", "EVENT")


def definer_span(tokens: Sequence[Token]) -> Span | None:
    """DEFINER=`user`@`host`; None where there is none."""
    for index, token in enumerate(tokens):
        if token.upper == "DEFINER" and index + 2 < len(tokens) and tokens[index + 1].is_mark("="):
            last = index + 2
            while last + 1 < len(tokens) and tokens[last + 1].upper not in _BEHIND_DEFINER:
                last += 1
            return Span(token.start, tokens[last].end)
    return None


_BACKSLASH = "\ue000"
"""Stands for one that is a character like others; as long, so that places in the text stay what they are."""


def tokens_of(sql: str, sql_mode: str) -> Sequence[Token]:
    """The words of a program that was made under a sql_mode."""
    modes = sql_mode.split(",")
    if "NO_BACKSLASH_ESCAPES" in modes:
        sql = sql.replace("\\", _BACKSLASH)
    return read_tokens(sql, ansi_quotes="ANSI_QUOTES" in modes).tokens


def is_same_but_definer(one: str, other: str, sql_mode: str) -> bool:
    """Whether two texts of programs have the same words, whoever they belong to."""
    found = []
    for tokens in (tokens_of(one, sql_mode), tokens_of(other, sql_mode)):
        span = definer_span(tokens)
        found.append([each.text for each in tokens if span is None or not span.start <= each.start < span.end])
    return found[0] == found[1]
