"""One spelling of an expression, however a server prints it.

MySQL puts everything in brackets and an introducer before each string (`_latin1'x'`, by what the session was that made
the table); MariaDB prints neither, and calls some functions otherwise. What is not understood stays as it is printed:
two texts are never made the same by leaving anything out but brackets, introducers that mean nothing, and databases
before names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation

import msgspec

from pydbsync.errors import PlanError
from pydbsync.plan import expression_words as words
from pydbsync.plan.ddl.lexer import Token, read_tokens
from pydbsync.plan.quoting import quote_name


class SpelledExpression(msgspec.Struct, frozen=True):
    """An expression in its one spelling, and the functions that it calls."""

    text: str
    functions: frozenset[str] = frozenset()

    @property
    def is_shared(self) -> bool:
        """Whether both brands print it in one way, so that two that differ are not the same."""
        return self.functions <= words.SHARED_FUNCTIONS


def read_expression(text: str) -> SpelledExpression:
    """The expression in a text, which may be a list of several."""
    try:
        return expression_of(read_tokens(text).tokens)
    except PlanError:
        return SpelledExpression(" ".join(text.split()), frozenset({text}))


def expression_of(tokens: Sequence[Token]) -> SpelledExpression:
    """The same of tokens."""
    reader = _Reader(tokens)
    text = ", ".join(reader.members())
    return SpelledExpression(text, frozenset(reader.functions))


def number_of(text: str) -> str:
    """A number in its one spelling: 1.50 and '1.5' are 1.5. Any other text stays as it is."""
    try:
        number = Decimal(text.strip("'"))
    except InvalidOperation:
        return text
    return format(number.normalize(), "f") if number.is_finite() else text


class _Chain(str):
    """Operands of AND or OR, which need no brackets among themselves."""

    operator: str
    parts: list[str]

    @classmethod
    def of(cls, operator: str, *operands: str) -> _Chain:
        """The chain, with the operands of operands that are such a chain themselves."""
        parts = [
            part
            for each in operands
            for part in (each.parts if isinstance(each, _Chain) and each.operator == operator else [each])
        ]
        chain = cls(f"({f' {operator} '.join(parts)})")
        chain.operator, chain.parts = operator, parts
        return chain


class _Reader:
    """One walk over the tokens of an expression, by the servers' precedence of operators."""

    def __init__(self, tokens: Sequence[Token]) -> None:
        self._tokens = list(_with_shifts(tokens))
        self._at = 0
        self.functions: set[str] = set()

    def members(self, *, until: str = "") -> list[str]:
        """Members between commas up to a bracket, or to the end; what is no operator stands beside its neighbour."""
        found: list[str] = []
        parts: list[str] = []
        while self._at < len(self._tokens) and not (until and self._is(until)):
            if self._take(","):
                found.append(_beside(parts))
                parts = []
            else:
                parts.append(self._operators(0))
        self._take(until)
        return [*found, _beside(parts)] if found or parts else []

    # -- operators ---------------------------------------------------------------------------------------------------

    def _operators(self, least: int) -> str:
        left = self._prefixed()
        while True:
            word = self._word()
            if least <= words.COMPARING and (
                word in words.PREDICATES or (word == "not" and self._word(1) in words.PREDICATES)
            ):
                left = self._predicate(left)
                continue
            strength = words.INFIX.get(word)
            if strength is None or strength < least:
                return left
            self._at += 1
            left = self._joined(left, words.SAME_OPERATOR.get(word, word), strength)

    def _joined(self, left: str, operator: str, strength: int) -> str:
        if operator == "collate":
            return f"({left} collate {words.UTF8_NAME.sub('utf8mb3', self._name().lower())})"
        right = self._operators(strength + 1)
        if operator in ("->", "->>"):
            self.functions |= {"json_extract", "json_unquote"}
            path = f"json_extract({left}, {right})"
            return path if operator == "->" else f"json_unquote({path})"
        if operator in words.CHAINS:
            return _Chain.of(operator, _truth(left), _truth(right))
        if operator == "xor":
            return f"({_truth(left)} xor {_truth(right)})"
        if operator in words.SYMMETRIC and words.CONSTANT.match(left) and not words.CONSTANT.match(right):
            left, right = right, left
        return f"({left} {operator} {right})"

    def _predicate(self, left: str) -> str:
        is_negated = self._take("not")
        word = self._word()
        self._at += 1
        if word == "is":
            is_negated = self._take("not")
            what = self._operators(words.TIGHT)
            found = f"({left if what == 'null' else _truth(left)} is {what})"
        elif word in ("regexp", "rlike"):
            self.functions.add("regexp_like")
            found = f"regexp_like({left}, {self._operators(words.BITS)})"
        elif word == "in" and self._take("("):
            found = f"({left} in ({', '.join(self.members(until=')'))}))"
        elif word == "between":
            low = self._operators(words.BITS)
            self._take("and")
            found = f"({left} between {low} and {self._operators(words.BITS)})"
        else:
            found = self._compared(left, word)
        return _negated(found) if is_negated else found

    def _compared(self, left: str, word: str) -> str:
        """LIKE, MEMBER OF, SOUNDS LIKE."""
        self._take("of")
        self._take("like")
        right = self._operators(words.BITS)
        escape = self._operators(words.TIGHT) if self._take("escape") else words.USUAL_ESCAPE
        return f"({left} {word} {right}{'' if escape == words.USUAL_ESCAPE else f' escape {escape}'})"

    def _prefixed(self) -> str:
        if self._take("not"):
            return _negated(_truth(self._operators(words.NOT + 1)))
        if self._take("!"):
            return _negated(_truth(self._operators(words.TIGHT)))
        for sign in ("-", "~", "+"):
            if self._take(sign):
                operand = self._operators(words.TIGHT)
                return operand if sign == "+" else f"{sign}{operand}"
        if self._word() == "binary" and not self._is("(", 1) and self._at + 1 < len(self._tokens):
            following = self._tokens[self._at + 1]
            if following.kind != "mark":
                self._at += 1
                self.functions.add("cast")
                return f"cast({self._operators(words.TIGHT)} as char charset `binary`)"
        return self._operand()

    # -- operands ----------------------------------------------------------------------------------------------------

    def _operand(self) -> str:
        if self._at >= len(self._tokens):
            return ""
        token = self._tokens[self._at]
        if self._take("("):
            inside = self.members(until=")")
            if len(inside) != 1:
                self.functions.add("row")
            return inside[0] if len(inside) == 1 else f"({', '.join(inside)})"
        if self._word() == "case":
            return self._case()
        if self._word() == "interval":
            return self._interval()
        self._at += 1
        if token.kind == "string":
            return _string(self._strings(token.text))
        if token.kind == "literal" and not token.behind_dot:
            return self._literal(token.text)
        if token.kind == "mark":
            return token.text
        if token.kind == "word" and self._at < len(self._tokens):
            if words.INTRODUCER.fullmatch(token.text) and (found := self._introduced(token.text[1:].lower())):
                return found
            if self._is("("):
                return self._call(token.text.lower())
        return self._named(token)

    def _named(self, token: Token) -> str:
        word = token.text.lower() if token.kind == "word" else ""
        if word in words.WITHOUT_BRACKETS:
            return self._called(word)
        if word in words.TRUTH:
            return words.TRUTH[word]
        if word in words.WORDS:
            return word.upper() if word == "maxvalue" else word
        name = token.text
        while self._is(".") and self._at + 1 < len(self._tokens):
            name = self._tokens[self._at + 1].text
            self._at += 2
        return quote_name(words.UTF8_NAME.sub("utf8mb3", name.lower()))

    def _call(self, name: str) -> str:
        self._take("(")
        return self._called(name, *self.members(until=")"))

    def _called(self, name: str, *arguments: str) -> str:
        name = words.SAME.get(name, name)
        if name == "isnull" and len(arguments) == 1:
            return f"({arguments[0]} is null)"
        if name == "mod" and len(arguments) == 2:
            return f"({arguments[0]} % {arguments[1]})"
        self.functions.add("char using" if name == "char" and (len(arguments) > 1 or " " in arguments[0]) else name)
        return f"{name}({', '.join(arguments)})"

    def _case(self) -> str:
        parts = []
        while self._at < len(self._tokens):
            word = self._word()
            if word in ("case", "when", "then", "else", "end"):
                parts.append(word)
                self._at += 1
                if word == "end":
                    break
                continue
            parts.append(self._operators(0))
        self.functions.add("case")
        return f"({' '.join(parts)})"

    def _interval(self) -> str:
        """`interval 1 day`, or the function of that name."""
        self._at += 1
        count = self.members(until=")") if self._take("(") else [self._operators(0)]
        if len(count) == 1 and (unit := self._word()).isidentifier():
            self._at += 1
            return f"interval {count[0]} {unit}"
        return self._called("interval", *count)

    def _introduced(self, charset: str) -> str:
        following = self._tokens[self._at]
        if following.kind not in ("string", "literal"):
            return ""
        self._at += 1
        if following.kind == "literal":
            return f"_{charset} {self._literal(following.text)}"
        text = self._strings(following.text)
        if charset in words.MEANS_NOTHING or (charset in words.ASCII_ALIKE and text.isascii()):
            return _string(text)
        self.functions.add(f"_{charset}")
        return f"_{charset} {_string(text)}"

    def _literal(self, text: str) -> str:
        """A number, or bytes in hexadecimal, which MariaDB prints as the text that they are."""
        lower = text.lower()
        if lower.startswith(("x'", "0x")):
            self.functions.add("_binary")
            return f"0x{lower.removeprefix('0x').removeprefix('x').strip(words.QUOTE).upper()}"
        if lower.startswith(("b'", "0b")):
            return f"0b{lower.removeprefix('0b').removeprefix('b').strip(words.QUOTE)}"
        return lower

    def _strings(self, text: str) -> str:
        """Strings that follow each other are one."""
        while self._at < len(self._tokens) and self._tokens[self._at].kind == "string":
            text += self._tokens[self._at].text
            self._at += 1
        return text

    # -- tokens ------------------------------------------------------------------------------------------------------

    def _word(self, ahead: int = 0) -> str:
        """The next word or mark, in small letters; marks that touch are one operator."""
        at = self._at + ahead
        if at >= len(self._tokens):
            return ""
        token = self._tokens[at]
        return token.text.lower() if token.kind in ("word", "mark") else ""

    def _is(self, text: str, ahead: int = 0) -> bool:
        return self._word(ahead) == text

    def _take(self, text: str) -> bool:
        if text and self._is(text):
            self._at += 1
            return True
        return False

    def _name(self) -> str:
        token = self._tokens[self._at] if self._at < len(self._tokens) else None
        self._at += 1
        return token.text if token is not None else ""


def _with_shifts(tokens: Sequence[Token]) -> Iterator[Token]:
    """The tokenizer cuts `<<` and `>>` in two."""
    last: Token | None = None
    for token in tokens:
        if last is not None and last.text == token.text and token.text in ("<", ">") and last.end == token.start:
            yield token._replace(text=token.text * 2, start=last.start)
            last = None
            continue
        if last is not None:
            yield last
        last = token
    if last is not None:
        yield last


def _truth(text: str) -> str:
    """An operand that counts as true or false: MySQL prints `(0 <> a)` for it, MariaDB now and then `a`."""
    return (
        text[1 : -len(words.IS_TRUE)]
        if text.startswith("(") and text.endswith(words.IS_TRUE) and not isinstance(text, _Chain)
        else text
    )


def _beside(parts: Sequence[str]) -> str:
    return parts[0] if len(parts) == 1 else " ".join(parts)


def _negated(text: str) -> str:
    return f"(not {text})"


def _string(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
