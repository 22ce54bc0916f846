"""What a statement in the binlog is, told by its tokens.

Whatever is not known here counts as `unknown`, and capture stops at it: it may have changed rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from pydbsync.errors import PlanError
from pydbsync.model import TableName
from pydbsync.plan.ddl.lexer import Brand, Edit, Span, Token, apply_edits, read_tokens
from pydbsync.plan.quoting import quote_name

StatementKind = Literal[
    "ddl",
    "emptied",
    "sequence",
    "xa",
    "begin",
    "commit",
    "rollback",
    "savepoint",
    "rollback-to",
    "rows",
    "nothing",
    "unknown",
]

_DDL: Final = frozenset({"TABLE", "TABLES", "DATABASE", "SCHEMA", "INDEX"})
_WITHOUT_ROWS: Final = frozenset(
    {
        "VIEW", "TRIGGER", "PROCEDURE", "FUNCTION", "EVENT", "USER", "ROLE", "SERVER", "LOGFILE", "TABLESPACE",
        "RESOURCE", "REFERENCE", "PACKAGE", "LIBRARY", "INSTANCE",
    }
)  # fmt: skip
"""What can be made, altered and dropped without a change of replayed rows; REFERENCE is SPATIAL REFERENCE SYSTEM."""
_BEFORE_OBJECT: Final = frozenset(
    {
        "OR", "REPLACE", "TEMPORARY", "ONLINE", "OFFLINE", "IGNORE", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR",
        "AGGREGATE", "UNDO", "JSON", "RELATIONAL", "DUALITY", "MATERIALIZED", "SQL", "SECURITY", "INVOKER",
    }
)  # fmt: skip
_HARMLESS: Final = frozenset(
    {"GRANT", "REVOKE", "OPTIMIZE", "REPAIR", "CHECK", "FLUSH", "INSTALL", "UNINSTALL", "RELEASE", "USE"}
)
_HARMLESS_SETTINGS: Final = frozenset({"PASSWORD", "DEFAULT", "ROLE"})
_ROWS: Final = frozenset(
    {
        "INSERT", "UPDATE", "DELETE", "REPLACE", "LOAD", "WITH", "SELECT", "DO", "CALL", "VALUES", "IMPORT", "HANDLER",
        "EXECUTE", "TABLE", "SET", "ANALYZE",
    }
)  # fmt: skip
"""Statements that are in the binlog only because they changed rows, by themselves or by a function they call."""
_VERBS: Final = frozenset({"CREATE", "ALTER", "DROP", "RENAME", "TRUNCATE"}) | _ROWS | _HARMLESS
_HEX: Final = "x'"


class Recognised(NamedTuple):
    """A statement and what it is."""

    kind: StatementKind
    sql: str
    """Its text without MariaDB's `SET STATEMENT … FOR`."""
    tokens: tuple[Token, ...]
    name: str = ""
    """Of a savepoint, or of an XA transaction in one spelling."""


def recognise(sql: str, brand: Brand) -> Recognised:
    """What the statement is to a source of this brand. The text has no quotes or escapes but the default ones."""
    try:
        tokens = read_tokens(sql, brand=brand).tokens
    except PlanError:
        return Recognised("unknown", sql, ())
    while tokens and tokens[-1].is_mark(";"):
        tokens = tokens[:-1]
    behind = _behind_set_statement(tokens)
    if behind:
        sql = apply_edits(sql, [Edit(Span(token.start, token.end), "") for token in tokens[:behind]]).strip()
        return recognise(sql, brand)
    words = [token.upper for token in tokens]
    verb, following = (*words[:2], "", "")[:2]
    if not tokens:
        return Recognised("nothing", sql, tokens)
    if verb in ("CREATE", "ALTER", "DROP"):
        return Recognised(_kind_of_object(tokens), sql, tokens)
    if verb == "TRUNCATE" or (verb == "RENAME" and following in _DDL):
        return Recognised("ddl", sql, tokens)
    if verb == "SAVEPOINT" and len(tokens) == 2:
        return Recognised("savepoint", sql, tokens, tokens[1].text.lower())
    if verb == "ROLLBACK":
        if "TO" in words[:3]:
            return Recognised("rollback-to", sql, tokens, tokens[-1].text.lower())
        return Recognised("rollback", sql, tokens)
    if verb == "COMMIT":
        return Recognised("commit", sql, tokens)
    if verb == "BEGIN" or words[:2] == ["START", "TRANSACTION"]:
        return Recognised("begin", sql, tokens)
    if verb == "XA":
        return Recognised("xa", sql, tokens, _xa_name(tokens[2:]))
    emptied = _emptied(tokens)
    if emptied is not None:
        return Recognised("emptied", f"TRUNCATE TABLE {quote_name(emptied[0])}.{quote_name(emptied[1])}", tokens)
    if (
        verb in _HARMLESS
        or (verb == "RENAME" and following == "USER")
        or (verb == "SET" and following in _HARMLESS_SETTINGS)
        or (verb == "ANALYZE" and {"TABLE", "TABLES"} & {*words[1:3]})
    ):
        return Recognised("nothing", sql, tokens)
    return Recognised("rows" if verb in _ROWS else "unknown", sql, tokens)


def _behind_set_statement(tokens: Sequence[Token]) -> int:
    """How many tokens `SET STATEMENT variable = value, … FOR` has; 0 where the statement does not begin so."""
    if [token.upper for token in tokens[:2]] != ["SET", "STATEMENT"]:
        return 0
    for index, token in enumerate(tokens[:-1]):
        following = tokens[index + 1]
        if token.upper == "FOR" and (following.upper in _VERBS or following.is_mark("(")):
            return index + 1
    return 0


def _kind_of_object(tokens: Sequence[Token]) -> StatementKind:
    """What CREATE, ALTER or DROP is about, by the word behind its options."""
    at = 1
    while at < len(tokens):
        word = tokens[at].upper
        if word in ("DEFINER", "ALGORITHM") and at + 1 < len(tokens) and tokens[at + 1].is_mark("="):
            at = _behind_account(tokens, at + 2)
        elif word in _DDL:
            return "ddl"
        elif word == "SEQUENCE":
            return "nothing" if any(token.upper == "TEMPORARY" for token in tokens[:at]) else "sequence"
        elif word in _WITHOUT_ROWS:
            return "nothing"
        elif word in _BEFORE_OBJECT or word == "DEFINER":
            at += 1
        else:
            break
    return "unknown"


def _behind_account(tokens: Sequence[Token], at: int) -> int:
    """Behind `user@host`, `role`, `CURRENT_USER()`, or the one word of an algorithm."""
    at += 1
    if at < len(tokens) and tokens[at].is_mark("@"):
        at += 2
        while at < len(tokens) and tokens[at].is_mark("."):
            at += 2
        return at
    if at + 1 < len(tokens) and tokens[at].is_mark("(") and tokens[at + 1].is_mark(")"):
        return at + 2
    return at


def _emptied(tokens: Sequence[Token]) -> TableName | None:
    """The table of `DELETE FROM d.t` and no more: so MariaDB writes that a restart emptied a MEMORY table."""
    if [token.upper for token in tokens[:2]] != ["DELETE", "FROM"] or len(tokens) != 5 or not tokens[3].is_mark("."):
        return None
    return TableName(tokens[2].text, tokens[4].text)


def _xa_name(tokens: Sequence[Token]) -> str:
    """The transaction's id as `read_xa_prepare` spells it: both parts in hexadecimal, the second and 1 by default."""
    parts = []
    for token in tokens:
        if token.kind == "string":
            parts.append(f"{_HEX}{token.text.encode().hex()}'")
        elif token.kind == "literal":
            text = token.text.lower()
            parts.append(f"{_HEX}{text[2:]}'" if text.startswith("0x") else text)
        elif not token.is_mark(","):
            break  # ONE PHASE, SUSPEND
    return ",".join([*parts, *("x''", "x''", "1")[len(parts) :]])


def read_xa_prepare(body: bytes) -> str:
    """The transaction's id in an XA_PREPARE event, spelled as that of a statement."""
    form, first, second = (int.from_bytes(body[at : at + 4], "little") for at in (1, 5, 9))
    return f"x'{body[13 : 13 + first].hex()}',x'{body[13 + first : 13 + first + second].hex()}',{form}"


def read_sequences(tokens: Sequence[Token], database: str) -> list[TableName]:
    """The names in CREATE, ALTER or DROP SEQUENCE; the last one alone can be of several."""
    at = next(index for index, token in enumerate(tokens) if token.upper == "SEQUENCE") + 1
    while tokens[at].upper in ("IF", "NOT", "EXISTS"):
        at += 1
    found = []
    while at < len(tokens) and tokens[at].is_name:
        own = database
        if at + 2 < len(tokens) and tokens[at + 1].is_mark("."):
            own, at = tokens[at].text, at + 2
        found.append(TableName(own, tokens[at].text))
        if not (at + 1 < len(tokens) and tokens[at + 1].is_mark(",")):
            break
        at += 2
    return found


_BEFORE_TABLE: Final = frozenset({"LOW_PRIORITY", "HIGH_PRIORITY", "DELAYED", "QUICK", "IGNORE", "INTO", "FROM"})
_IN_FRONT_OF_BRACKETS: Final = frozenset(
    {
        "VALUES", "VALUE", "IN", "AND", "OR", "NOT", "SELECT", "WHERE", "ON", "FROM", "BY", "AS", "UNION", "ALL",
        "EXISTS", "COUNT", "SUM", "MIN", "MAX", "AVG", "CONCAT", "IF", "IFNULL", "COALESCE", "NOW", "DATE",
    }
)  # fmt: skip
"""Words, and functions of the servers' own, that no stored function can be called by without its database."""


def calls_nothing(tokens: Sequence[Token]) -> bool:
    """Whether no function of somebody's own is surely called."""
    return not any(
        token.is_mark("(") and name.is_name and (name.upper not in _IN_FRONT_OF_BRACKETS or before.is_mark("."))
        for before, name, token in zip(tokens, tokens[1:], tokens[2:], strict=False)
    )


def only_written(tokens: Sequence[Token]) -> TableName | None:
    """The table, without a database where none is named, of a statement that surely writes to no other one: neither to
    several nor by a function that it calls. None for any other."""
    verb, at = tokens[0].upper if tokens else "", 1
    while at < len(tokens) and tokens[at].upper in _BEFORE_TABLE:
        at += 1
    words = tokens[at:]
    if verb not in ("INSERT", "REPLACE", "UPDATE", "DELETE") or not words or not words[0].is_name:
        return None
    has_database = len(words) > 2 and words[1].is_mark(".")
    table = words[2] if has_database else words[0]
    behind = words[3:] if has_database else words[1:]
    if verb == "UPDATE" and not (behind and behind[0].upper == "SET"):
        return None
    if verb == "DELETE" and behind and behind[0].upper not in ("WHERE", "ORDER", "LIMIT"):
        return None
    if not calls_nothing(behind):
        return None
    return TableName(words[0].text if has_database else "", table.text)
