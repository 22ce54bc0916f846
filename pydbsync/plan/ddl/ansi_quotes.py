"""Whether a statement was written in a session with ANSI_QUOTES, which no message tells."""

from __future__ import annotations

from pydbsync.plan.ddl.lexer import Token, nesting

_NAME_FOLLOWS = frozenset({
    "TABLE", "TABLES", "EXISTS", "DATABASE", "SCHEMA", "REFERENCES", "TO", "ON", "ADD", "COLUMN", "MODIFY", "CHANGE",
    "ALTER", "DROP", "KEY", "INDEX", "CONSTRAINT", "AFTER", "PARTITION",
})  # fmt: skip
_NAMES_FOLLOW_IN_BRACKETS = frozenset({"KEY", "INDEX", "UNIQUE", "COLUMNS", "ADD", "COLUMN"})


_NOTHING = Token("mark", "", 0, 0)


def needs_ansi_quotes(sql: str, tokens: tuple[Token, ...]) -> bool:
    """Whether "x" stands where the grammar has only room for a name.

    A statement whose only double quotes are inside expressions cannot be told apart and is read in the default mode.
    """
    depth = 0
    for index, token in enumerate(tokens):
        depth += nesting(token)
        if token.kind != "string" or sql[token.start] != '"' or index == 0:
            continue
        before = tokens[index - 1]
        words = [part.upper for part in tokens[max(0, index - 4) : index]]
        following = tokens[index + 1] if index + 1 < len(tokens) else _NOTHING
        if (
            before.upper in _NAME_FOLLOWS
            or (before.upper == "LIKE" and depth == 0)
            or (before.is_mark("(") and _NAMES_FOLLOW_IN_BRACKETS.intersection(words[-3:-1]))
            or before.is_mark(".")
            or following.is_mark(".")
            or "CHANGE" in words[-3:]
            # the first word of a column's definition; a string in UNION=(…) or IN (…) is not followed by a word
            or (depth == 1 and (before.is_mark("(") or before.is_mark(",")) and following.kind == "word"
                and tokens[0].upper == "CREATE")
        ):  # fmt: skip
            return True
    return False
