"""Columns and keys as a DDL statement writes them: the tokens of one definition as a column of the source's table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from pydbsync.model import Column
from pydbsync.ops.capture.history.schema import INTEGERS, LABELLED, TEXT, WITH_DIGITS
from pydbsync.plan.ddl.clauses import Clause, is_generated, outer, split_list
from pydbsync.plan.ddl.lexer import Token

_KINDS: Final = {
    "INT1": "tinyint", "BOOL": "tinyint", "BOOLEAN": "tinyint", "INT2": "smallint", "INT3": "mediumint",
    "MIDDLEINT": "mediumint", "INTEGER": "int", "INT4": "int", "INT8": "bigint", "SERIAL": "bigint",
    "DEC": "decimal", "NUMERIC": "decimal", "FIXED": "decimal", "NUMBER": "decimal", "FLOAT4": "float",
    "FLOAT8": "double", "REAL": "double", "CHARACTER": "char", "NCHAR": "char", "VARCHARACTER": "varchar",
    "NVARCHAR": "varchar", "VARCHAR2": "varchar", "CLOB": "longtext", "RAW": "varbinary",
}  # fmt: skip
_KINDS_OF_ORACLE: Final = {"DATE": "datetime", "BLOB": "longblob"}
"""Under the mode ORACLE of MariaDB; a NUMBER without digits is a DOUBLE."""
_NATIONAL: Final = frozenset({"NATIONAL", "NCHAR", "NVARCHAR"})
_NATIONAL_CHARSET: Final = "utf8"
_SHORT_CHARSETS: Final = {"ASCII": "latin1", "UNICODE": "ucs2", "BYTE": "binary"}
_LARGE: Final = (("tiny", 1 << 8), ("", 1 << 16), ("medium", 1 << 24), ("long", 1 << 32))
_BYTES_OF_CHARACTER: Final = {"utf8mb4": 4, "utf16": 4, "utf16le": 4, "utf32": 4, "gb18030": 4, "utf8mb3": 3, "utf8": 3,
                              "ujis": 3, "eucjpms": 3, "ucs2": 2, "gbk": 2, "big5": 2, "sjis": 2, "cp932": 2,
                              "euckr": 2, "gb2312": 2}  # fmt: skip


class Definition(NamedTuple):
    """One column as the statement writes it."""

    column: Column
    explicit_charset: bool
    is_key: bool
    """PRIMARY KEY stands beside the column."""
    after: str | None
    """The column it is put behind; "" is the first place, None where the statement does not say."""


def key_columns(clause: Clause) -> tuple[str, ...]:
    """The columns of a key; parts that are expressions are left out."""
    return tuple(member[0].text for member in split_list(clause.body) if member and member[0].is_name)


def read_column(
    clause: Clause, table_charset: str, *, real_as_float: bool = False, is_oracle: bool = False,
    json_checks: bool = False,
) -> Definition:  # fmt: skip
    """The column that a clause defines, under the modes REAL_AS_FLOAT and ORACLE or without; with `json_checks` a text
    whose CHECK is json_valid is MariaDB's JSON. Raises IndexError or ValueError where its type cannot be read.

    Source: https://dev.mysql.com/doc/refman/9.4/en/create-table.html and https://mariadb.com/kb/en/create-table/
    """
    rest = clause.body
    first = rest[0].upper
    kind, used, charset = _read_kind(rest)
    arguments, used = _arguments(rest, used)
    if kind == "double" and first == "REAL" and real_as_float:
        kind = "float"
    if kind == "float" and len(arguments) == 1 and arguments[0].text.isdigit() and int(arguments[0].text) > 24:
        kind = "double"
    if is_oracle:
        kind = _KINDS_OF_ORACLE.get(first, kind) if first != "NUMBER" or arguments else "double"
    words = outer(rest[used:])
    unsigned = first == "SERIAL" or any(word.upper in ("UNSIGNED", "ZEROFILL") for word in words)
    charset = charset or charset_option(words)
    explicit = charset is not None
    kind = _large_enough(kind, first, arguments, charset or table_charset)
    if kind in TEXT or kind in LABELLED:
        charset = charset or table_charset
    elif kind == "json":
        charset = "utf8mb4"
    else:
        charset, explicit = None, False
    is_document = json_checks and kind in TEXT and (clause.name or "").lower() in checked_documents(rest)
    column = Column(
        name=clause.name or "",
        kind="json" if is_document else kind,
        charset=charset,
        digits=int(arguments[0].text) if kind in WITH_DIGITS and arguments else 0,
        unsigned=unsigned and kind in INTEGERS,
        generated=is_generated(words),
        labels=tuple(_label(token.text) for token in arguments) if kind in LABELLED else (),
        native_json=kind == "json",
    )
    return Definition(column, explicit, _is_primary(words), _place(words))


def checked_documents(tokens: Sequence[Token]) -> set[str]:
    """The columns, in lower case, that `CHECK (json_valid(column))` says are JSON: so MariaDB shows its JSON, and so
    dumps and copies of tables declare it."""
    found = set()
    for index in range(len(tokens) - 6):
        check, opening, function, inner, name, *closing = tokens[index : index + 7]
        is_so = (
            check.upper == "CHECK" and function.upper == "JSON_VALID" and opening.is_mark("(") and inner.is_mark("(")
        )
        if is_so and name.is_name and all(each.is_mark(")") for each in closing):
            found.add(name.text.lower())
    return found


def is_versioned(words: Sequence[Token]) -> bool:
    """Whether WITH SYSTEM VERSIONING stands there (MariaDB)."""
    return any(
        [token.upper for token in words[index : index + 3]] == ["WITH", "SYSTEM", "VERSIONING"]
        for index in range(len(words))
    )


def begins_period(words: Sequence[Token]) -> bool:
    """Whether a column is declared as ROW START: the table's period is then no hidden one."""
    return any(
        [token.upper for token in words[index : index + 3]] == ["AS", "ROW", "START"] for index in range(len(words))
    )


def charset_option(tokens: Sequence[Token], default: str | None = None) -> str | None:
    """The character set among a column's attributes or the options of a table or a database.

    It is named itself or by a collation; `default` stands for the word DEFAULT. None where neither is there.
    """
    by_collation = None
    for index, token in enumerate(tokens):
        word, following = token.upper, [token.upper for token in tokens[index + 1 : index + 2]]
        if word == "CHARSET" or (word in ("CHARACTER", "CHAR") and following == ["SET"]):
            value = _value(tokens, index + (1 if word == "CHARSET" else 2))
            return default if value == "default" else value
        if word == "COLLATE":
            by_collation = by_collation or charset_of_collation(_value(tokens, index + 1))
        elif word in _SHORT_CHARSETS:
            return _SHORT_CHARSETS[word]
    return by_collation


def _read_kind(rest: Sequence[Token]) -> tuple[str, int, str | None]:
    """The type in lower case, how many tokens it took, and a character set that its name implies."""
    words = [token.upper for token in rest[:4]]
    used, charset = 1, None
    first = words[0]
    if first in _NATIONAL:
        charset = _NATIONAL_CHARSET
        if first == "NATIONAL":
            used, first = 2, words[1]
    if first == "LONG":  # LONG, LONG VARCHAR, LONG CHAR VARYING, LONG VARBINARY
        if words[1:2] == ["VARBINARY"]:
            return "mediumblob", 2, None
        used = 3 if words[2:3] == ["VARYING"] else 2 if words[1:2] in (["VARCHAR"], ["CHAR"], ["CHARACTER"]) else 1
        return "mediumtext", used, None
    kind = _KINDS.get(first, rest[used - 1].text.lower())
    if kind == "double" and words[used : used + 1] == ["PRECISION"]:
        used += 1
    elif kind == "char" and words[used : used + 1] in (["VARYING"], ["VARCHAR"]):
        kind, used = "varchar", used + 1
    return kind, used, charset


def _arguments(rest: Sequence[Token], used: int) -> tuple[list[Token], int]:
    """What stands in brackets right behind the type, without commas."""
    if used >= len(rest) or not rest[used].is_mark("("):
        return [], used
    end = used
    while not rest[end].is_mark(")"):
        end += 1
    return [token for token in rest[used + 1 : end] if not token.is_mark(",")], end + 1


def charset_of_collation(collation: str) -> str | None:
    """`utf8mb4_bin` belongs to utf8mb4; MariaDB's `uca1400_ai_ci` to whatever set the column has."""
    charset = collation.partition("_")[0]
    return None if charset in ("uca1400", "default") else charset


def _value(tokens: Sequence[Token], index: int) -> str:
    if tokens[index].is_mark("="):
        index += 1
    return tokens[index].text.lower()


def _is_primary(words: Sequence[Token]) -> bool:
    for index, token in enumerate(words):
        if token.upper == "PRIMARY":
            return True
        # KEY alone means PRIMARY KEY
        if token.upper == "KEY" and not (index and words[index - 1].upper == "UNIQUE"):
            return True
    return False


def _place(words: Sequence[Token]) -> str | None:
    if words and words[-1].upper == "FIRST":
        return ""
    if len(words) > 1 and words[-2].upper == "AFTER" and words[-1].is_name:
        return words[-1].text
    return None


def _large_enough(kind: str, written: str, arguments: Sequence[Token], charset: str) -> str:
    """TEXT(300) and BLOB(300) are the smallest type that holds so much."""
    if written not in ("TEXT", "BLOB") or not arguments or not arguments[0].text.isdigit():
        return kind
    size = int(arguments[0].text) * (_BYTES_OF_CHARACTER.get(charset, 1) if written == "TEXT" else 1)
    return next(prefix for prefix, limit in _LARGE if size < limit) + written.lower()


def _label(text: str) -> str:
    return text.rstrip(" ")  # the server stores labels without the spaces behind them
