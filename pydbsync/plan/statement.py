"""What a DDL statement says about tables and databases, with the place of every name in its text."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

import msgspec

from pydbsync.errors import PlanError
from pydbsync.plan.lexer import Brand, Lexed, Span, Token, VersionComment, read_tokens, shorten

Action: TypeAlias = Literal[
    "create-table", "alter-table", "rename-table", "drop-table", "truncate-table", "create-index", "drop-index",
    "create-database", "alter-database", "drop-database",
]  # fmt: skip
Role: TypeAlias = Literal[
    "subject",  # created, altered, dropped, or renamed from
    "rename-to", "like", "references", "exchange", "union", "column", "database",
]  # fmt: skip


class NameRef(NamedTuple):
    """A name of a table or a database where it stands in the text; `database` and `table` are unquoted."""

    role: Role
    span: Span
    """The whole name, qualified or not."""
    database: str | None
    database_span: Span | None
    table: str | None


class Item(NamedTuple):
    """One table of the statement: a pair of RENAME TABLE, one name of DROP TABLE, else the only one."""

    span: Span
    subject: NameRef
    """The name that Maxwell's message about it carries."""
    before: NameRef | None
    """None where the table is created."""
    after: NameRef | None
    """None where it is dropped, `before` again where it keeps its name."""


class Statement(msgspec.Struct, frozen=True):
    """A DDL statement that was read but not changed."""

    sql: str
    action: Action
    names: tuple[NameRef, ...]
    """Every name of a table or a database, in the order of the text."""
    items: tuple[Item, ...]
    clauses: tuple[tuple[Token, ...], ...]
    """The parts of ALTER TABLE, and the definitions between the brackets of CREATE TABLE, without their commas."""
    tokens: tuple[Token, ...]
    version_comments: tuple[VersionComment, ...]
    if_exists: bool = False
    if_not_exists: bool = False
    or_replace: bool = False
    temporary: bool = False
    ansi_quotes: bool = False
    """The text makes sense only in a session with ANSI_QUOTES: "x" is a name."""
    transaction_tail: Span | None = None
    """`START TRANSACTION`, which MySQL 8.0.21 and newer write behind CREATE TABLE … SELECT."""
    options_start: int = 0
    """Where the options of CREATE TABLE, CREATE DATABASE or ALTER DATABASE begin."""


def parse_statement(sql: str, *, brand: Brand | None = None) -> Statement:
    """Read a DDL statement as a server of the source's `brand` reads it.

    Raises PlanError for what is no DDL on tables or databases, and for CREATE TABLE … SELECT.
    """
    lexed = read_tokens(sql, brand=brand)
    ansi_quotes = _needs_ansi_quotes(sql, lexed.tokens)
    if ansi_quotes:
        lexed = read_tokens(sql, brand=brand, ansi_quotes=True)
    return _Parser(sql, lexed, ansi_quotes=ansi_quotes).parse()


_NAME_FOLLOWS = frozenset({
    "TABLE", "TABLES", "EXISTS", "DATABASE", "SCHEMA", "REFERENCES", "TO", "ON", "ADD", "COLUMN", "MODIFY", "CHANGE",
    "ALTER", "DROP", "KEY", "INDEX", "CONSTRAINT", "AFTER", "PARTITION",
})  # fmt: skip
_NAMES_FOLLOW_IN_BRACKETS = frozenset({"KEY", "INDEX", "UNIQUE", "COLUMNS", "ADD", "COLUMN"})


def _needs_ansi_quotes(sql: str, tokens: tuple[Token, ...]) -> bool:
    """Whether "x" stands where the grammar has only room for a name.

    A statement whose only double quotes are inside expressions cannot be told apart and is read in the default mode.
    """
    depth = 0
    for index, token in enumerate(tokens):
        depth += _nesting(token)
        if token.kind != "string" or sql[token.start] != '"' or index == 0:
            continue
        before = tokens[index - 1]
        words = [part.upper for part in tokens[max(0, index - 4) : index]]
        following = tokens[index + 1] if index + 1 < len(tokens) else _END
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


_ALTER_DATABASE_OPTIONS = frozenset({"DEFAULT", "CHARACTER", "COLLATE", "READ"})
_ALTER_DATABASE_WORDS = frozenset({"CHARSET", "ENCRYPTION", "COMMENT"})  # not reserved: a database may be called so
_END = Token("mark", "", 0, 0)


class _Parser:
    """One walk over the tokens; `self.at` is the index of the next one."""

    def __init__(self, sql: str, lexed: Lexed, *, ansi_quotes: bool) -> None:
        tokens = lexed.tokens
        while tokens and tokens[-1].is_mark(";"):
            tokens = tokens[:-1]
        self.sql = sql
        self.tokens = tokens
        self.version_comments = lexed.version_comments
        self.ansi_quotes = ansi_quotes
        self.at = 0
        self.names: list[NameRef] = []
        self.flags: set[str] = set()

    def parse(self) -> Statement:
        if self.accept("CREATE"):
            return self.create()
        if self.accept("ALTER"):
            return self.alter()
        if self.accept("RENAME"):
            return self.rename_table()
        if self.accept("DROP"):
            return self.drop()
        if self.accept("TRUNCATE"):
            self.accept("TABLE")
            return self.one_table("truncate-table")
        raise self.unknown()

    # the statements

    def create(self) -> Statement:
        if self.accept("OR", "REPLACE"):
            self.flags.add("or_replace")
        if self.accept("TEMPORARY"):
            self.flags.add("temporary")
        if self.accept("TABLE"):
            return self.create_table()
        if self.accept("DATABASE") or self.accept("SCHEMA"):
            self.accept_if_exists()
            return self.one_database("create-database")
        while self.peek().upper in ("ONLINE", "OFFLINE", "UNIQUE", "FULLTEXT", "SPATIAL"):
            self.at += 1
        if self.accept("INDEX"):
            return self.index("create-index")
        raise self.unknown()

    def create_table(self) -> Statement:
        self.accept_if_exists()
        subject = self.name("subject")
        if self.accept("LIKE") or self.accept("(", "LIKE"):
            self.name("like")
            return self.statement("create-table", [Item(subject.span, subject, None, subject)])
        if self.peek().upper in ("SELECT", "AS", "WITH", "IGNORE", "REPLACE"):
            raise self.created_from_query()
        clauses: list[tuple[Token, ...]] = []
        if self.accept("("):
            if self.peek().upper in ("SELECT", "WITH"):
                raise self.created_from_query()
            clauses = self.comma_separated(closing=True)
        options_start = self.peek().start
        tail = None
        depth = 0
        while self.at < len(self.tokens):
            token = self.peek()
            depth += _nesting(token)
            if depth == 0 and token.upper == "SELECT":
                raise self.created_from_query()
            if depth == 0 and token.upper == "START" and self.at == len(self.tokens) - 2:
                tail = Span(self.tokens[self.at - 1].end, self.tokens[-1].end)
            if depth == 0 and self.accept("UNION"):
                self.union()
                continue
            self.at += 1
        self.names_in_clauses(subject)
        return self.statement(
            "create-table",
            [Item(subject.span, subject, None, subject)],
            clauses,
            tail=tail,
            options_start=options_start,
        )

    def alter(self) -> Statement:
        while self.peek().upper in ("ONLINE", "OFFLINE", "IGNORE"):
            self.at += 1
        if self.accept("DATABASE") or self.accept("SCHEMA"):
            return self.alter_database()
        if not self.accept("TABLE"):
            raise self.unknown()
        self.accept_if_exists()
        subject = self.name("subject")
        self.wait_option()
        clauses = self.comma_separated(closing=False)
        after = subject
        for clause in clauses:
            words = [token.upper for token in clause]
            position = self.tokens.index(clause[0]) if clause else 0
            if words[:1] == ["RENAME"] and words[1:2] != [] and words[1] not in ("COLUMN", "INDEX", "KEY"):
                self.at = position + (2 if words[1] in ("TO", "AS") or clause[1].text == "=" else 1)
                after = self.name("rename-to")
            elif words[:1] == ["UNION"]:
                self.at = position + 1
                self.union()
            elif words[:2] == ["EXCHANGE", "PARTITION"] and words[3:5] == ["WITH", "TABLE"]:
                self.at = position + 5
                self.name("exchange")
            elif words[:2] == ["CONVERT", "TABLE"]:
                self.at = position + 2
                self.name("exchange")
            elif words[:2] == ["CONVERT", "PARTITION"] and words[3:5] == ["TO", "TABLE"]:
                self.at = position + 5
                self.name("exchange")
        self.names_in_clauses(subject)
        return self.statement("alter-table", [Item(subject.span, subject, subject, after)], clauses)

    def alter_database(self) -> Statement:
        word = self.peek().upper
        following = self.tokens[self.at + 1] if self.at + 1 < len(self.tokens) else _END
        unnamed = word in _ALTER_DATABASE_OPTIONS or (
            word in _ALTER_DATABASE_WORDS and following.upper not in _ALTER_DATABASE_OPTIONS | _ALTER_DATABASE_WORDS
        )
        if unnamed:
            return self.statement("alter-database", [], options_start=self.peek().start)
        return self.one_database("alter-database")

    def rename_table(self) -> Statement:
        if not (self.accept("TABLE") or self.accept("TABLES")):
            raise self.unknown()
        self.accept_if_exists()
        items: list[Item] = []
        while not items or self.accept(","):
            before = self.name("subject")
            self.wait_option()
            self.expect("TO")
            after = self.name("rename-to")
            items.append(Item(Span(before.span.start, after.span.end), before, before, after))
        return self.statement("rename-table", items)

    def drop(self) -> Statement:
        if self.accept("DATABASE") or self.accept("SCHEMA"):
            self.accept_if_exists()
            return self.one_database("drop-database")
        while self.peek().upper in ("ONLINE", "OFFLINE"):
            self.at += 1
        if self.accept("INDEX"):
            return self.index("drop-index")
        if self.accept("TEMPORARY"):
            self.flags.add("temporary")
        if not (self.accept("TABLE") or self.accept("TABLES")):
            raise self.unknown()
        self.accept_if_exists()
        items: list[Item] = []
        while not items or self.accept(","):
            name = self.name("subject")
            items.append(Item(name.span, name, name, None))
        return self.statement("drop-table", items)

    def index(self, action: Action) -> Statement:
        self.accept_if_exists()
        while self.at < len(self.tokens) and not self.accept("ON"):
            self.at += 1
        return self.one_table(action)

    def one_table(self, action: Action) -> Statement:
        subject = self.name("subject")
        return self.statement(action, [Item(subject.span, subject, subject, subject)])

    def one_database(self, action: Action) -> Statement:
        token = self.peek()
        if not token.is_name:
            raise self.unknown()
        self.at += 1
        span = Span(token.start, token.end)
        self.names.append(NameRef("database", span, token.text, span, None))
        return self.statement(action, [], options_start=self.peek().start)

    # their parts

    def name(self, role: Role) -> NameRef:
        """A table's name, qualified or not, at this place."""
        first = self.peek()
        if first.is_mark("."):  # `.t` is t of the default database
            self.at += 1
            first = self.peek()
        if not first.is_name:
            raise self.unknown()
        self.at += 1
        database, last = None, first
        if self.peek().is_mark("."):
            self.at += 1
            database, last = first, self.peek()
            if not last.is_name:
                raise self.unknown()
            self.at += 1
        found = NameRef(
            role,
            Span(first.start, last.end),
            database.text if database else None,
            Span(database.start, database.end) if database else None,
            last.text,
        )
        self.names.append(found)
        return found

    def union(self) -> None:
        self.accept("=")
        self.expect("(")
        while not self.accept(")"):
            self.name("union")
            self.accept(",")

    def names_in_clauses(self, subject: NameRef) -> None:
        """REFERENCES t, and columns written as db.t.c in expressions."""
        taken = {name.span.start for name in self.names}
        for index, token in enumerate(self.tokens):
            if token.upper == "REFERENCES":
                self.at = index + 1
                self.name("references")
                continue
            parts = self.tokens[index : index + 5]
            if (
                len(parts) == 5
                and parts[1].is_mark(".")
                and parts[3].is_mark(".")
                and all(part.is_name for part in parts[::2])
                and parts[2].text == subject.table
                and token.start not in taken
            ):
                span, database = Span(token.start, parts[2].end), Span(token.start, token.end)
                self.names.append(NameRef("column", span, token.text, database, parts[2].text))
        self.names.sort(key=lambda name: name.span.start)

    def comma_separated(self, *, closing: bool) -> list[tuple[Token, ...]]:
        """The parts up to the closing bracket of this level, or to the end."""
        parts: list[tuple[Token, ...]] = []
        depth, begin = 0, self.at
        while self.at < len(self.tokens):
            token = self.peek()
            if depth == 0 and closing and token.is_mark(")"):
                break
            if depth == 0 and token.is_mark(","):
                parts.append(self.tokens[begin : self.at])
                begin = self.at + 1
            depth += _nesting(token)
            self.at += 1
        else:
            if closing:
                raise self.unknown()
        parts.append(self.tokens[begin : self.at])
        self.at += 1
        return [part for part in parts if part]

    def accept_if_exists(self) -> None:
        if self.accept("IF", "NOT", "EXISTS"):
            self.flags.add("if_not_exists")
        elif self.accept("IF", "EXISTS"):
            self.flags.add("if_exists")

    def wait_option(self) -> None:
        """MariaDB: how long to wait for the table's lock."""
        if not self.accept("NOWAIT") and self.accept("WAIT"):
            self.at += 1

    def peek(self) -> Token:
        if self.at < len(self.tokens):
            return self.tokens[self.at]
        return _END._replace(start=len(self.sql), end=len(self.sql))

    def accept(self, *texts: str) -> bool:
        """Step over these words or marks, if they stand here."""
        here = self.tokens[self.at : self.at + len(texts)]
        if len(here) == len(texts) and all(
            token.upper == text or token.is_mark(text) for token, text in zip(here, texts, strict=True)
        ):
            self.at += len(texts)
            return True
        return False

    def expect(self, text: str) -> None:
        if not self.accept(text):
            raise self.unknown()

    def statement(
        self,
        action: Action,
        items: list[Item],
        clauses: list[tuple[Token, ...]] | None = None,
        *,
        tail: Span | None = None,
        options_start: int = 0,
    ) -> Statement:
        return Statement(
            sql=self.sql,
            action=action,
            names=tuple(self.names),
            items=tuple(items),
            clauses=tuple(clauses or ()),
            tokens=self.tokens,
            version_comments=self.version_comments,
            if_exists="if_exists" in self.flags,
            if_not_exists="if_not_exists" in self.flags,
            or_replace="or_replace" in self.flags,
            temporary="temporary" in self.flags,
            ansi_quotes=self.ansi_quotes,
            transaction_tail=tail,
            options_start=options_start,
        )

    def unknown(self) -> PlanError:
        near = f" near {shorten(self.sql[self.peek().start :], 40)!r}" if self.at and self.at < len(self.tokens) else ""
        return PlanError(f"not a DDL statement on tables or databases that is known here{near}: {shorten(self.sql)}")

    def created_from_query(self) -> PlanError:
        return PlanError(
            "CREATE TABLE … SELECT reads rows that the target may not have; the source must use binlog_format=ROW,"
            f" which writes it as CREATE TABLE and rows: {shorten(self.sql)}"
        )


def _nesting(token: Token) -> int:
    return token.is_mark("(") - token.is_mark(")")
