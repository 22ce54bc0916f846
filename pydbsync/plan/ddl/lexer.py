"""MySQL statement text as tokens with their positions; comments and spaces are the gaps between them.

The positions come from sqlglot's MySQL tokenizer. Where it reads a text otherwise than the servers do, the correction
and its reason stand at the function that makes it; docs/schema-changes.md lists them.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Literal, NamedTuple, TypeAlias

from pydbsync.errors import PlanError

Brand: TypeAlias = Literal["mysql", "mariadb"]
TokenKind: TypeAlias = Literal["word", "quoted", "string", "literal", "mark"]


class Token(NamedTuple):
    """One token; `sql[start:end]` is its text, quotes included."""

    kind: TokenKind
    """word: keyword or bare name; quoted: name in quotes; string; literal: number, x'..', b'..'; mark: punctuation."""
    text: str
    """Names and strings without their quotes and escapes."""
    start: int
    end: int
    behind_dot: bool = False
    """Touches the dot before it: there the servers read a name even where it looks like a number (`d.1e3`)."""

    @property
    def upper(self) -> str:
        """The keyword that a bare word may be; empty for everything else, so that a name in quotes is never one."""
        return self.text.upper() if self.kind == "word" else ""

    def is_mark(self, text: str) -> bool:
        return self.kind == "mark" and self.text == text

    @property
    def is_name(self) -> bool:
        return self.kind in ("word", "quoted") or self.behind_dot


class Span(NamedTuple):
    """A stretch of the statement's text: `sql[start:end]`."""

    start: int
    end: int


class Edit(NamedTuple):
    """One exchange in the statement's text."""

    span: Span
    text: str


def apply_edits(sql: str, edits: Iterable[Edit]) -> str:
    """The text with the edits made; what lies inside a stretch that is cut out is cut with it."""
    parts: list[str] = []
    done = 0
    # insertions (empty stretches) before what begins at the same place, longer stretches before shorter ones
    for (start, end), text in sorted(edits, key=_order):
        if start >= done:
            parts += [sql[done:start], text]
            done = end
        elif not text:
            done = max(done, end)
    return "".join([*parts, sql[done:]])


def _order(edit: Edit) -> tuple[int, bool, int]:
    (start, end), _ = edit
    return start, end > start, -end


def cut_members(spans: Sequence[Span], keep: Sequence[bool]) -> list[Edit]:
    """Cut the members of a list between commas that are not kept; at least one is."""
    edits: list[Edit] = []
    for index, span in enumerate(spans):
        if not keep[index]:
            behind_kept = any(keep[:index])
            start, end = (spans[index - 1].end, span.end) if behind_kept else (span.start, spans[index + 1].start)
            edits.append(Edit(Span(start, end), ""))
    return edits


class VersionComment(NamedTuple):
    """`/*!80023 … */` or `/*M!100100 … */`: text that only some servers execute."""

    start: int
    body_start: int
    body_end: int
    end: int
    version: int
    """As written (80023 is 8.0.23); 0 where none is given."""
    mariadb_only: bool

    def is_executed_by(self, brand: Brand) -> bool:
        """Whether a server of the brand, of any version in use, reads the text.

        MariaDB passes over 50700..99999, the versions that only MySQL has had
        (https://mariadb.com/kb/en/comment-syntax/); MySQL passes over versions above its own.
        """
        if brand == "mariadb":
            return not 50700 <= self.version <= 99999 or self.mariadb_only
        return not self.mariadb_only and self.version < 100000


class Lexed(NamedTuple):
    """A statement's tokens, those in executed version comments included, and where these comments stand."""

    tokens: tuple[Token, ...]
    version_comments: tuple[VersionComment, ...]


_VERSION_COMMENT = re.compile(r"/\*(M?)!(\d{5,6})?")
_COMMENT_END = re.compile(r"\*/")
_NUMBER = re.compile(r"\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|0[xX][0-9a-fA-F]+|0[bB][01]+", re.ASCII)
_NAME_CHARACTERS = re.compile(r"[0-9A-Za-z$_\x80-\U0010ffff]+")
# sqlglot takes every Unicode space for a gap and {# #} for a comment; to the servers the first is part of a name and
# the second is nothing of the kind. The stand-ins have the same length and only say where tokens begin and end.
_STAND_INS = {code: "z" for code in range(0x80, 0x3001) if chr(code).isspace()} | {ord("{"): "(", ord("}"): ")"}


_DOLLAR_QUOTED = re.compile(r"\bAS\s*(\$\w*\$).*?\1", re.IGNORECASE | re.DOTALL)
"""The text of a routine or library in another language (MySQL 9), in which quotes mean nothing."""


def read_tokens(sql: str, *, brand: Brand | None = None, ansi_quotes: bool = False) -> Lexed:
    """The tokens of a statement. A version comment that `brand` would not execute counts as a comment.

    Without a brand every version comment is read. Raises PlanError where quotes or comments do not end.
    """
    masked = sql.translate(_STAND_INS)
    for found in _DOLLAR_QUOTED.finditer(sql) if brand != "mariadb" and "$" in sql else ():
        start, end = found.start(1), found.end()
        if _is_code(masked[:start], ansi_quotes):
            masked = f"{masked[:start]}'{'z' * (end - start - 2)}'{masked[end:]}"
    comments: list[VersionComment] = []
    for opening in _VERSION_COMMENT.finditer(sql):
        comment = _version_comment(opening, body_end=len(sql), end=len(sql))
        if _is_code(masked[: opening.start()], ansi_quotes) and (brand is None or comment.is_executed_by(brand)):
            # sqlglot reads `/*!80023 INVISIBLE */` as a comment, the servers execute it: only its ends are blanked.
            masked = _blanked(masked, opening)
            closing = next(
                (
                    found
                    for found in _COMMENT_END.finditer(masked, opening.end())
                    if _is_code(masked[: found.start()], ansi_quotes)
                ),
                None,
            )
            if closing is None:
                raise PlanError(f"a version comment does not end: {shorten(sql)}")
            masked = _blanked(masked, closing)
            comments.append(_version_comment(opening, body_end=closing.start(), end=closing.end()))
    raw = _spans(masked, ansi_quotes)
    if raw is None:
        raise PlanError(f"a quote or a comment in the statement does not end: {shorten(sql)}")
    tokens = list(_joined(sql, _split(sql, raw, ansi_quotes)))
    return Lexed(tuple(tokens), tuple(comments))


def nesting(token: Token) -> int:
    """How many levels of brackets the token opens."""
    return token.is_mark("(") - token.is_mark(")")


def shorten(sql: str, limit: int = 120) -> str:
    """The statement as a message of one line names it."""
    line = " ".join(sql.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"


_ESCAPES = {"0": "\0", "b": "\b", "n": "\n", "r": "\r", "t": "\t", "Z": "\x1a", "%": "\\%", "_": "\\_"}


def unquote_string(text: str) -> str:
    """The value of a string literal under the default sql_mode (https://dev.mysql.com/doc/refman/9.4/en/string-literals.html)."""
    quote = text[0]
    parts = re.split(r"(\\.|" + quote * 2 + ")", text[1:-1], flags=re.DOTALL)
    parts[1::2] = [quote if part[0] == quote else _ESCAPES.get(part[1], part[1]) for part in parts[1::2]]
    return "".join(parts)


def _version_comment(opening: re.Match[str], *, body_end: int, end: int) -> VersionComment:
    return VersionComment(opening.start(), opening.end(), body_end, end, int(opening[2] or 0), bool(opening[1]))


def _blanked(sql: str, found: re.Match[str]) -> str:
    return f"{sql[: found.start()]}{' ' * len(found[0])}{sql[found.end() :]}"


def _is_code(prefix: str, ansi_quotes: bool) -> bool:
    """Whether what follows the prefix is code: the prefix does not end inside a string or a comment."""
    spans = _spans(prefix + " z", ansi_quotes) or [(0, 0)]
    return spans[-1][1] == len(prefix) + 2


def _spans(sql: str, ansi_quotes: bool) -> list[tuple[int, int]] | None:
    from pydbsync.plan.ddl.tokenizer import token_spans  # noqa: PLC0415 (sqlglot is loaded where statements are read)

    return token_spans(sql, ansi_quotes=ansi_quotes)


def _split(sql: str, spans: list[tuple[int, int]], ansi_quotes: bool) -> Iterator[Token]:
    """The tokens by what their text is; numbers behind a dot come apart."""
    dot_end = -1
    for start, end in spans:
        text = sql[start:end]
        if text[0] == "`" or (text[0] == '"' and ansi_quotes):
            yield Token("quoted", text[1:-1].replace(text[0] * 2, text[0]), start, end)
        elif text[0] in "'\"":
            yield Token("string", unquote_string(text), start, end)
        elif text[0] in "nN" and text[-1] == "'":
            yield Token("string", unquote_string(text[1:]), start, end)
        elif text[-1] == "'":
            yield Token("literal", text, start, end)
        elif text[0].isascii() and text[0].isdigit() and start == dot_end:
            # `d.1.c` is read as 1. by sqlglot, but behind a dot the servers read a name up to the next dot.
            for part in re.finditer(r"\.|[^.]+", text):
                kind: TokenKind = "mark" if part[0] == "." else "literal"
                yield Token(kind, part[0], start + part.start(), start + part.end(), kind == "literal")
        elif _NUMBER.fullmatch(text):
            yield Token("literal", text, start, end)
        elif _NAME_CHARACTERS.match(text):
            yield Token("word", text, start, end)
        else:
            yield Token("mark", text, start, end)
        dot_end = end if text == "." else -1


def _joined(sql: str, tokens: Iterator[Token]) -> Iterator[Token]:
    """sqlglot cuts names that begin with digits (`1a.b`, `1e5a`); tokens of name characters that touch are one name."""
    last: Token | None = None
    for token in tokens:
        if (
            last is not None
            and last.end == token.start
            and _NAME_CHARACTERS.fullmatch(sql, last.start, last.end)
            and _NAME_CHARACTERS.fullmatch(sql, token.start, token.end)
        ):
            last = Token("word", sql[last.start : token.end], last.start, token.end)
            continue
        if last is not None:
            yield last
        last = token
    if last is not None:
        yield last
