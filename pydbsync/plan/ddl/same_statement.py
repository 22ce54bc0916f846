"""Whether two texts are one statement, run once: as it was sent, and as the server has written it to its binlog."""

from __future__ import annotations

import hashlib

from pydbsync.errors import PlanError
from pydbsync.plan.ddl.lexer import Token, read_tokens

_OF_A_DROP = ("RESTRICT", "CASCADE")


def statement_digest(sql: str, database: str | None) -> str:
    """Equal for texts that differ in nothing but comments, blanks, the quotes and the case of names and words, and
    `database`, the default one, before a name: DROP TABLE is written anew by the servers, and capture names databases.
    """
    try:
        tokens = list(read_tokens(sql).tokens)
    except PlanError:
        parts = [sql]  # whatever it is, it is the same letter by letter
    else:
        while tokens and tokens[-1].is_mark(";"):
            tokens.pop()
        if tokens and tokens[0].upper == "DROP" and tokens[-1].upper in _OF_A_DROP:
            tokens.pop()
        parts = [_part(token) for token in _without_default(tokens, database)]
    return hashlib.sha1("\0".join(parts).encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


def _part(token: Token) -> str:
    if token.is_name:
        return f"n{token.text.casefold()}"
    return f"{token.kind[0]}{token.text}"


def _without_default(tokens: list[Token], database: str | None) -> list[Token]:
    """The tokens without the default database before names."""
    if not database:
        return tokens
    found: list[Token] = []
    place = 0
    while place < len(tokens):
        token = tokens[place]
        is_qualifier = (
            token.is_name
            and token.text.casefold() == database.casefold()
            and place + 2 < len(tokens)
            and tokens[place + 1].is_mark(".")
            and not (found and found[-1].is_mark("."))
        )
        place += 2 if is_qualifier else 0
        found.append(tokens[place])
        place += 1
    return found
