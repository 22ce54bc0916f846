"""Reads the conditions of routes: the part of SQL that means the same here as on the source's server, and nothing else.

What is not known to be the same is refused where the configuration is read, in a sentence that names it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from pydbsync.config.conditions import (
    CONDITIONS,
    All,
    Any,
    Arithmetic,
    Between,
    ColumnRef,
    Compare,
    Condition,
    ExpressionError,
    FunctionCall,
    In,
    IsNull,
    Like,
    Not,
    Null,
    Number,
    Operand,
    TextLiteral,
    Truth,
)

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<number>\d+(?:\.\d+)?|\.\d+)(?P<tail>[A-Za-z_$]?)
    | (?P<name>`(?:[^`]|``)+`)
    | (?P<text>'(?:[^'\\]|'')*')
    | (?P<word>[^\W\d][\w$]*)
    | (?P<mark><=>|<>|!=|<=|>=|[=<>(),+\-*%.])
    )""",
    re.VERBOSE,
)  # fmt: skip
_MARKS: Final = {"!=": "<>"}
_KEYWORDS: Final = frozenset({"AND", "OR", "NOT", "IS", "NULL", "IN", "BETWEEN", "LIKE", "TRUE", "FALSE", "DIV", "MOD"})
_REFUSED: Final = {
    '"': "double quotes, which are text or a name by the server's sql_mode: write 'text' or `name`",
    "\\": "a backslash, whose meaning depends on sql_mode",
    "|": "`||`, whose meaning depends on sql_mode: write OR",
    "&": "`&&`: write AND",
    "!": "`!`: write NOT",
    "/": "`/`, whose digits depend on div_precision_increment",
    "@": "a variable",
    "#": "a comment",
}
_REFUSED_WORDS: Final = {
    "REGEXP": "REGEXP", "RLIKE": "RLIKE", "CASE": "CASE", "COLLATE": "COLLATE", "BINARY": "BINARY", "XOR": "XOR",
    "INTERVAL": "INTERVAL", "SELECT": "a query", "EXISTS": "a query", "ESCAPE": "ESCAPE", "SOUNDS": "SOUNDS LIKE",
    "UNKNOWN": "IS UNKNOWN: write IS NULL",
}  # fmt: skip
_DEPTH: Final = 60


@dataclass(frozen=True)
class _ExpressionToken:
    kind: str
    text: str

    def is_word(self, word: str) -> bool:
        return self.kind == "word" and self.text.upper() == word


_END = _ExpressionToken("end", "the end")


def parse_condition(sql: str) -> Condition:
    """The condition that the text spells. Raises ExpressionError for what cannot be evaluated here exactly."""
    parser = _ExpressionParser(_tokens(sql))
    found = parser.either(0)
    if parser.here != _END:
        raise ExpressionError(f"{_shown(parser.here)} is not known here; {_KNOWN}")
    return found


_KNOWN: Final = (
    "known are columns, numbers, 'text', =, <>, <, <=, >, >=, <=>, IN, BETWEEN, LIKE, IS NULL, AND, OR, NOT, +, -, *,"
    " %, DIV, COALESCE, IFNULL, ABS, MOD, CHAR_LENGTH, DATE, YEAR, MONTH and DAY"
)
FUNCTIONS: Final = {
    "COALESCE": "COALESCE", "IFNULL": "COALESCE", "ABS": "ABS", "MOD": "%", "CHAR_LENGTH": "CHAR_LENGTH",
    "CHARACTER_LENGTH": "CHAR_LENGTH", "DATE": "DATE", "YEAR": "YEAR", "MONTH": "MONTH", "DAY": "DAYOFMONTH",
    "DAYOFMONTH": "DAYOFMONTH",
}  # fmt: skip
"""Name → what it is, or the operator that means the same."""


def names_in(condition: Condition) -> frozenset[str]:
    """The columns that a condition reads, in lower case."""
    if isinstance(condition, ColumnRef):
        return frozenset({condition.name.lower()})
    found: frozenset[str] = frozenset()
    if isinstance(condition, Arithmetic | Compare):
        found = names_in(condition.left) | names_in(condition.right)
    elif isinstance(condition, FunctionCall):
        found = found.union(*(names_in(each) for each in condition.arguments))
    elif isinstance(condition, In):
        found = names_in(condition.operand).union(*(names_in(each) for each in condition.items))
    elif isinstance(condition, Between):
        found = names_in(condition.operand) | names_in(condition.low) | names_in(condition.high)
    elif isinstance(condition, IsNull | Like | Not):
        found = names_in(condition.operand)
    elif isinstance(condition, All | Any):
        found = frozenset().union(*(names_in(each) for each in condition.parts))
    return found


def _tokens(sql: str) -> list[_ExpressionToken]:
    found: list[_ExpressionToken] = []
    at = 0
    while sql[at:].strip():
        match = _TOKEN.match(sql, at)
        if match is None:
            rest = sql[at:].strip()
            why = _REFUSED.get(rest[0])
            if rest[0] == "'":
                why = _REFUSED["\\"] if "\\" in rest else "a text without its end"
            raise ExpressionError(f"{why or repr(rest[:20])} is not taken; {_KNOWN}")
        kind = str(match.lastgroup if match["number"] is None else "number")
        if match["tail"]:
            raise ExpressionError(
                f"{sql[match.start('number') : match.end() + 5]!r} is not taken as a number: write 1.5"
            )
        text = match[kind]
        if kind == "name":
            text = text[1:-1].replace("``", "`")
        elif kind == "text":
            text = text[1:-1].replace("''", "'")
        if kind == "mark" and text == "-" and sql[match.end() : match.end() + 1] == "-":
            raise ExpressionError(f"a comment is not taken; {_KNOWN}")
        found.append(_ExpressionToken(kind, _MARKS.get(text, text) if kind == "mark" else text))
        at = match.end()
    return found


def _shown(token: _ExpressionToken) -> str:
    if token.kind == "word" and token.text.upper() in _REFUSED_WORDS:
        return _REFUSED_WORDS[token.text.upper()]
    return token.text if token is _END else repr(token.text)


class _ExpressionParser:
    """One walk over the tokens, by the precedence of MySQL's operators."""

    def __init__(self, tokens: list[_ExpressionToken]) -> None:
        self._tokens = [*tokens, _END]
        self._at = 0

    @property
    def here(self) -> _ExpressionToken:
        return self._tokens[self._at]

    def either(self, depth: int) -> Condition:
        if depth > _DEPTH:
            raise ExpressionError(f"more than {_DEPTH} brackets in each other are not taken")
        parts = [self._both(depth)]
        while self._accept_word("OR"):
            parts.append(self._both(depth))
        return parts[0] if len(parts) == 1 else Any(tuple(parts))

    def _both(self, depth: int) -> Condition:
        parts = [self._negated(depth)]
        while self._accept_word("AND"):
            parts.append(self._negated(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _negated(self, depth: int) -> Condition:
        if self._accept_word("NOT"):
            return Not(self._negated(depth + 1)) if depth < _DEPTH else self.either(depth + 1)
        return self._predicate(depth)

    def _predicate(self, depth: int) -> Condition:
        left = self._sum(depth)
        if isinstance(left, CONDITIONS) and not self._ends_here():
            raise ExpressionError(
                f"a condition as a value, before {_shown(self.here)}, is not taken: use AND, OR or NOT"
            )
        if self.here.kind == "mark" and self.here.text in ("=", "<>", "<", "<=", ">", ">=", "<=>"):
            operator = self._next().text
            found: Condition = Compare(operator, _value(left), _value(self._sum(depth)))
            if not self._ends_here():
                raise ExpressionError(f"{_shown(self.here)} behind a comparison is not taken: use brackets")
            return found
        if self._accept_word("IS"):
            negated = self._accept_word("NOT")
            if not self._accept_word("NULL"):
                raise ExpressionError(f"IS {_shown(self.here)} is not taken, but for IS NULL and IS NOT NULL")
            return _unless(negated, IsNull(_value(left)))
        negated = self._accept_word("NOT")
        if self._accept_word("IN"):
            return _unless(negated, In(_value(left), self._list(depth)))
        if self._accept_word("BETWEEN"):
            low = _value(self._sum(depth))
            if not self._accept_word("AND"):
                raise ExpressionError("BETWEEN without AND")
            return _unless(negated, Between(_value(left), low, _value(self._sum(depth))))
        if self._accept_word("LIKE"):
            pattern = self._next()
            if pattern.kind != "text":
                raise ExpressionError("LIKE is taken with a 'text' behind it alone")
            return _unless(negated, Like(_value(left), pattern.text))
        if negated:
            raise ExpressionError(f"NOT before {_shown(self.here)} is not taken")
        return left

    def _ends_here(self) -> bool:
        here = self.here
        return here == _END or here.is_word("AND") or here.is_word("OR") or (here.kind, here.text) == ("mark", ")")

    def _list(self, depth: int) -> tuple[Operand, ...]:
        self._expect("(")
        found = [_value(self._sum(depth))]
        while self._accept(","):
            found.append(_value(self._sum(depth)))
        self._expect(")")
        return tuple(found)

    def _sum(self, depth: int) -> Condition:
        left = self._product(depth)
        while self.here.kind == "mark" and self.here.text in ("+", "-"):
            left = Arithmetic(self._next().text, _value(left), _value(self._product(depth)))
        return left

    def _product(self, depth: int) -> Condition:
        left = self._single(depth)
        while True:
            here = self.here
            if (here.kind, here.text) in (("mark", "*"), ("mark", "%")) or here.is_word("DIV") or here.is_word("MOD"):
                operator = {"MOD": "%"}.get(here.text.upper(), here.text.upper())
                self._next()
                left = Arithmetic(operator, _value(left), _value(self._single(depth)))
            else:
                return left

    def _single(self, depth: int) -> Condition:
        token = self._next()
        if (token.kind, token.text) == ("mark", "("):
            found = self.either(depth + 1)
            self._expect(")")
            return found
        if (token.kind, token.text) == ("mark", "-"):
            number = self._next()
            if number.kind != "number":
                raise ExpressionError("a minus before anything but a number is not taken: write 0 - x")
            return Number("-" + number.text)
        if token.kind == "number":
            return Number(token.text)
        if token.kind == "text":
            return TextLiteral(token.text)
        if token.kind == "name":
            return self._column(token.text)
        if token.kind == "word":
            return self._word(token, depth)
        raise ExpressionError(f"{_shown(token)} where a value is expected")

    def _call(self, word: str, depth: int) -> Condition:
        if depth > _DEPTH:
            raise ExpressionError(f"more than {_DEPTH} brackets in each other are not taken")
        arguments, name = self._list(depth + 1), FUNCTIONS[word]
        wanted = {"IFNULL": 2, "MOD": 2, "COALESCE": len(arguments)}.get(word, 1)
        if len(arguments) != wanted:
            raise ExpressionError(f"{word}() takes {wanted} value(s), not {len(arguments)}")
        return Arithmetic(name, *arguments) if name == "%" else FunctionCall(name, arguments)

    def _word(self, token: _ExpressionToken, depth: int) -> Condition:
        word = token.text.upper()
        if word in FUNCTIONS and (self.here.kind, self.here.text) == ("mark", "("):
            return self._call(word, depth)
        if word in ("TRUE", "FALSE"):
            return Truth(word == "TRUE")
        if word == "NULL":
            return Null()
        if word in _KEYWORDS or word in _REFUSED_WORDS:
            raise ExpressionError(f"{_shown(token)} where a value is expected; {_KNOWN}")
        if self.here.text == "(":
            raise ExpressionError(f"the function {token.text}() is not taken; {_KNOWN}")
        if self.here.kind == "text":
            raise ExpressionError(f"{token.text} before a text is not taken: write the text alone")
        return self._column(token.text)

    def _column(self, name: str) -> ColumnRef:
        if self.here.text == "." and self.here.kind == "mark":
            raise ExpressionError(f"{name}. before a column is not taken: write the column alone")
        return ColumnRef(name)

    def _next(self) -> _ExpressionToken:
        token = self.here
        if token is _END:
            raise ExpressionError("the condition ends where a value is expected")
        self._at += 1
        return token

    def _accept(self, mark: str) -> bool:
        if (self.here.kind, self.here.text) == ("mark", mark):
            self._at += 1
            return True
        return False

    def _accept_word(self, word: str) -> bool:
        if self.here.is_word(word):
            self._at += 1
            return True
        return False

    def _expect(self, mark: str) -> None:
        if not self._accept(mark):
            raise ExpressionError(f"expected {mark!r}, got {_shown(self.here)}")


def _value(found: Condition) -> Operand:
    if isinstance(found, CONDITIONS):
        raise ExpressionError("a condition as a value is not taken: use AND, OR or NOT")
    return found


def _unless(negated: bool, found: Condition) -> Condition:
    return Not(found) if negated else found
