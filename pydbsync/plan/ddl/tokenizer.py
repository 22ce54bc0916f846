"""sqlglot's MySQL tokenizer as the lexer uses it: a module of its own, since sqlglot takes a while to load, and whoever
reads no statement does without."""

from __future__ import annotations

import re
from typing import ClassVar

from sqlglot.dialects.mysql import MySQL
from sqlglot.errors import TokenError


class _Tokenizer(MySQL.Tokenizer):
    """Without sqlglot's keywords: PRIMARY KEY shall be two tokens with or without a comment between the words, and
    what follows RENAME is one string to sqlglot, as behind every statement that it does not parse further."""

    COMMANDS: ClassVar = set()
    KEYWORDS: ClassVar = {key: kind for key, kind in MySQL.Tokenizer.KEYWORDS.items() if not re.search(r"\w|/\*", key)}


class _AnsiTokenizer(_Tokenizer):
    """The session had ANSI_QUOTES: "x" is a name, in which a backslash is an ordinary character."""

    QUOTES: ClassVar = ["'"]
    IDENTIFIERS: ClassVar = ["`", '"']


def token_spans(sql: str, *, ansi_quotes: bool) -> list[tuple[int, int]] | None:
    """Where each token begins and ends; None where a quote or a comment does not end."""
    tokenizer = _AnsiTokenizer if ansi_quotes else _Tokenizer
    try:
        return [(token.start, token.end + 1) for token in tokenizer().tokenize(sql)]
    except TokenError:
        return None
