"""The reader of DDL statements: what they do, and every name of a table or a database in them."""

from __future__ import annotations

from pydbsync.errors import PlanError
from pydbsync.plan.ddl.ansi_quotes import needs_ansi_quotes
from pydbsync.plan.ddl.lexer import Brand, Lexed, Span, Token, nesting, read_tokens, shorten
from pydbsync.plan.ddl.syntax import Action, Item, NameRef, NameRole, Statement

__all__ = ["Action", "Item", "NameRef", "NameRole", "Statement", "parse_statement"]


def parse_statement(sql: str, *, brand: Brand | None = None) -> Statement:
    """Read a DDL statement as a server of the source's `brand` reads it.

    Raises PlanError for what is no DDL on tables or databases, and for CREATE TABLE … SELECT.
    """
    lexed = read_tokens(sql, brand=brand)
    ansi_quotes = needs_ansi_quotes(sql, lexed.tokens)
    if ansi_quotes:
        lexed = read_tokens(sql, brand=brand, ansi_quotes=True)
    return _StatementParser(sql, lexed, ansi_quotes=ansi_quotes).parse()


_ALTER_DATABASE_OPTIONS = frozenset({"DEFAULT", "CHARACTER", "COLLATE", "READ"})
_ALTER_DATABASE_WORDS = frozenset({"CHARSET", "ENCRYPTION", "COMMENT"})  # not reserved: a database may be called so
_END = Token("mark", "", 0, 0)


class _StatementParser:
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
        while self.peek().upper in ("ONLINE", "OFFLINE", "UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR"):
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
        if "temporary" not in self.flags and self.peek().upper in ("SELECT", "AS", "WITH", "IGNORE", "REPLACE"):
            raise self.created_from_query()
        clauses: list[tuple[Token, ...]] = []
        if self.accept("("):
            if "temporary" not in self.flags and self.peek().upper in ("SELECT", "WITH"):
                raise self.created_from_query()
            clauses = self.comma_separated(closing=True)
        options_start = self.peek().start
        tail = None
        depth = 0
        while self.at < len(self.tokens):
            token = self.peek()
            depth += nesting(token)
            if depth == 0 and token.upper == "SELECT" and "temporary" not in self.flags:
                raise self.created_from_query()
            if depth == 0 and token.upper == "START":
                behind = self.tokens[self.at + 1 : self.at + 2]  # and behind that, MySQL writes the partitions
                if behind and behind[0].upper == "TRANSACTION":
                    tail = Span(self.tokens[self.at - 1].end, behind[0].end)
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

    def name(self, role: NameRole) -> NameRef:
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
            depth += nesting(token)
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
