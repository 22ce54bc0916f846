"""The differences between the brands that need more than a pattern: defaults, expressions, names, version comments."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple, TypeAlias

from pydbsync.errors import PlanError
from pydbsync.model import SchemaChange
from pydbsync.plan.ddl.clauses import Clause, begins_vector_key, outer, read_clauses, split_list
from pydbsync.plan.ddl.collations import StatementServer, default_collation, translate_collation
from pydbsync.plan.ddl.definition import read_description
from pydbsync.plan.ddl.introducers import kept_introducers
from pydbsync.plan.ddl.lexer import Edit, Span, Token, read_tokens, shorten
from pydbsync.plan.ddl.statement import Statement
from pydbsync.plan.quoting import quote_name

Spelling: TypeAlias = tuple[Edit, str]
"""An edit, and a note for the log where it is more than another name."""


class Spoken(NamedTuple):
    """A statement with those who speak and hear it."""

    statement: Statement
    change: SchemaChange
    source: StatementServer
    target: StatementServer


def spellings(spoken: Spoken) -> Iterator[Spelling]:
    """All edits of this module. Raises PlanError for what the target cannot express."""
    yield from default_collations(spoken)
    yield from _inline_references(spoken)
    is_same = spoken.source.brand == spoken.target.brand
    if not is_same or spoken.source.is_before(*spoken.target.version[:2]) or not spoken.source.version:
        yield from _reserved_names(spoken)  # newer versions reserve more
    if is_same:
        return
    yield from _version_comments(spoken)
    yield from _collations(spoken)
    if spoken.target.brand == "mariadb":
        yield from _json_arrows(spoken)
        yield from ((edit, "") for edit in kept_introducers(spoken.statement.tokens))
        yield from _for_mariadb(spoken)
    else:
        yield from _guards(spoken)
        yield from _for_mysql(spoken)


def _exchange(token: Token, text: str) -> Edit:
    return Edit(Span(token.start, token.end), text)


def _insert(position: int, text: str) -> Edit:
    return Edit(Span(position, position), text)


# character sets and collations


def _collations(spoken: Spoken) -> Iterator[Spelling]:
    tokens = spoken.statement.tokens
    for index, token in enumerate(tokens):
        if token.upper in ("SET", "CHARSET") and _value(tokens, index).text.lower() == "gb18030":
            raise PlanError("MariaDB has no character set gb18030")
        if token.upper != "COLLATE":
            continue
        value = _value(tokens, index)
        found = translate_collation(value.text, spoken.target)
        if found is None:
            continue
        if value.text.lower().startswith("uca1400") and "utf8mb4" not in _charsets(spoken):
            raise PlanError(f"{value.text} is meant for a character set that the statement does not name")
        yield _exchange(value, found.name), f"{value.text} became {found.name}" + (found.note and f": {found.note}")


def _charsets(spoken: Spoken) -> set[str]:
    described = read_description(spoken.change.def_)
    named = {described.charset or ""} if described else set()
    return named | {token.text.lower() for token in spoken.statement.tokens}


def _value(tokens: tuple[Token, ...] | list[Token], index: int) -> Token:
    """What follows a word, with or without an equals sign."""
    rest = tokens[index + 1 : index + 3]
    rest = rest[1:] if rest and rest[0].is_mark("=") else rest
    return rest[0] if rest else Token("mark", "", 0, 0)


def default_collations(spoken: Spoken) -> Iterator[Spelling]:
    """A character set alone means another collation on another server: write it out."""
    statement = spoken.statement
    if statement.action in ("create-database", "alter-database"):
        yield from _database_collation(spoken)
        return
    if statement.action == "create-table":
        yield from _table_collation(spoken)
    for clause in read_clauses(statement):
        if clause.kind == "column":
            yield from _written_out(spoken, outer(clause.body))
        elif clause.kind == "option" or clause.verb == "CONVERT":
            words = outer(clause.tokens)
            partition = next((i for i, token in enumerate(words) if token.upper == "PARTITION"), len(words))
            yield from _written_out(spoken, words[:partition])


def _written_out(spoken: Spoken, tokens: list[Token]) -> Iterator[Spelling]:
    if any(token.upper in ("COLLATE", "BINARY") for token in tokens):
        return
    for index, token in enumerate(tokens):
        is_charset = token.upper == "CHARSET" or (
            token.upper == "SET" and index > 0 and tokens[index - 1].upper in ("CHARACTER", "CHAR")
        )
        if is_charset and (collation := _meant(spoken, _value(tokens, index).text)):
            yield _insert(_value(tokens, index).end, f" COLLATE {collation}"), ""


def _meant(spoken: Spoken, charset: str) -> str | None:
    """The target's name of the source's default collation, where the target's own default is another one."""
    meant = default_collation(spoken.source, charset)
    if meant is None or meant == default_collation(spoken.target, charset):
        return None
    translated = translate_collation(meant, spoken.target)
    return translated.name if translated else meant


def _table_collation(spoken: Spoken) -> Iterator[Spelling]:
    """CREATE TABLE without a character set takes its database's, which may be another one at the target."""
    statement, has = spoken.statement, spoken.target.collation
    words = {token.upper for clause in read_clauses(statement) if clause.kind == "option" for token in clause.tokens}
    if has is None or words & {"CHARACTER", "CHARSET", "COLLATE"} or any(ref.role == "like" for ref in statement.names):
        return
    described = read_description(spoken.change.def_)
    charset, collation = _utf8mb3(described.charset if described else None), spoken.source.collation
    if collation is None or charset not in (None, _utf8mb3(collation.partition("_")[0])):
        # The message tells the character set alone; a database that has another one by now was altered.
        if charset is None or charset == _utf8mb3(has.partition("_")[0]):
            return
        collation = default_collation(spoken.source, charset)
    translated = translate_collation(collation, spoken.target) if collation else None
    named = translated.name if translated else collation
    if named is not None and named == has:
        return
    text = f" CHARACTER SET {charset or str(named).partition('_')[0]}" + (f" COLLATE {named}" if named else "")
    end = max(token.end for token in statement.tokens if token.end <= (statement.options_start or len(statement.sql)))
    space = "" if statement.sql[end : end + 1].isspace() or end == len(statement.sql) else " "
    yield (
        _insert(end, text + space),
        f"the table gets {text.strip()}, which the database has at the source, and not here",
    )


def _utf8mb3(charset: str | None) -> str | None:
    return "utf8mb3" if charset == "utf8" else charset


def _database_collation(spoken: Spoken) -> Iterator[Spelling]:
    """CREATE DATABASE without a character set takes the server's; Maxwell tells which one that was."""
    statement, charset = spoken.statement, spoken.change.charset
    options = [token for token in statement.tokens if token.start >= statement.options_start]
    if any(token.upper in ("CHARACTER", "CHARSET", "COLLATE") for token in options):
        yield from _written_out(spoken, options)
        return
    session = spoken.source.session
    of_session = session.collation_server if session and statement.action == "create-database" else None
    if of_session and charset in (None, of_session.partition("_")[0]):
        translated = translate_collation(of_session, spoken.target)
        named = translated.name if translated else of_session
        text = f" CHARACTER SET {named.partition('_')[0]} COLLATE {named}"
        yield _insert(statement.names[-1].span.end, text), f"the database gets {text.strip()}, as at the source"
        return
    known = spoken.target.charset
    is_other = known is not None and known != charset
    if statement.action == "create-database" and charset and (spoken.source.brand != spoken.target.brand or is_other):
        collation = _meant(spoken, charset)
        text = f" CHARACTER SET {charset}" + (f" COLLATE {collation}" if collation else "")
        yield _insert(statement.names[-1].span.end, text), f"the database gets {text.strip()}, as at the source"


# version comments and names


def _version_comments(spoken: Spoken) -> Iterator[Spelling]:
    """`/*!80023 … */` is text to one brand and a comment to the other."""
    source, target = spoken.source.brand, spoken.target.brand
    for comment in read_tokens(spoken.statement.sql, ansi_quotes=spoken.statement.ansi_quotes).version_comments:
        was, will_be = comment.is_executed_by(source), comment.is_executed_by(target)
        if was and not will_be:
            yield Edit(Span(comment.start, comment.body_start), ""), ""
            yield Edit(Span(comment.body_end, comment.end), ""), ""
        elif will_be and not was:
            yield Edit(Span(comment.start, comment.body_start), "/*"), ""


# Words that only one brand reserves, or only its newer versions: CREATE TABLE t (<word> INT) tried with each keyword on
# MySQL 9.7, MariaDB 10.11 and 11.8.
_RESERVED = {
    "mysql": frozenset({
        "CUBE", "CUME_DIST", "DATABASE", "DENSE_RANK", "EMPTY", "EXTERNAL", "FIRST_VALUE", "FUNCTION", "GENERATED",
        "GET", "GROUPING", "GROUPS", "IO_AFTER_GTIDS", "IO_BEFORE_GTIDS", "JSON_TABLE", "LAG", "LAST_VALUE",
        "LATERAL", "LEAD", "LIBRARY", "NTH_VALUE", "NTILE", "OF", "OPTIMIZER_COSTS", "OPTION", "PERCENT_RANK",
        "QUALIFY", "RANK", "ROW", "SCHEMA", "STORED", "SYSTEM", "TABLESAMPLE", "VIRTUAL", "WINDOW",
    }),
    "mariadb": frozenset({
        "CURRENT_ROLE", "DELETE_DOMAIN_ID", "DO_DOMAIN_IDS", "IGNORE_DOMAIN_IDS", "MASTER_DEMOTE_TO_REPLICA",
        "MASTER_DEMOTE_TO_SLAVE", "MASTER_SSL_VERIFY_SERVER_CERT", "OFFSET", "PAGE_CHECKSUM", "PARSE_VCOL_EXPR",
        "PORTION", "REF_SYSTEM_ID", "RETURNING", "SQL_AFTER_GTIDS", "SQL_BEFORE_GTIDS", "STATS_AUTO_RECALC",
        "STATS_PERSISTENT", "STATS_SAMPLE_PAGES", "VECTOR",
    }),
}  # fmt: skip


def _reserved_names(spoken: Spoken) -> Iterator[Spelling]:
    """Bare names that the target reserves get backticks."""
    reserved = _RESERVED[spoken.target.brand]
    names = {ref.table for ref in spoken.statement.names} | {ref.database for ref in spoken.statement.names}
    for description in (read_description(spoken.change.old), read_description(spoken.change.def_)):
        names |= {column.name for column in description.columns} if description else set()
    upper = {name.upper() for name in names if name} & reserved
    for clause in read_clauses(spoken.statement):
        for index, token in enumerate(clause.tokens):
            following = clause.tokens[index + 1] if index + 1 < len(clause.tokens) else None
            if (
                token.upper in upper
                and _stands_for_a_name(clause, index)
                and not (following and following.is_mark("="))
            ):
                yield _exchange(token, quote_name(token.text)), ""
    for ref in spoken.statement.names:
        for token in spoken.statement.tokens:
            if ref.span.start <= token.start < ref.span.end and token.upper in reserved:
                yield _exchange(token, quote_name(token.text)), ""


def _stands_for_a_name(clause: Clause, index: int) -> bool:
    """STORED, VIRTUAL, GENERATED, OF, ROW, SYSTEM and VECTOR are keywords of definitions as well as possible names."""
    token = clause.tokens[index]
    if clause.kind == "option":
        return any(part.is_mark("(") for part in clause.tokens[:index])
    words = clause.tokens[:index]
    before = words[-1] if words else None
    if token.upper in ("STORED", "VIRTUAL"):
        return before is None or not before.is_mark(")")
    if token.upper == "VECTOR":
        return clause.body[:1] != (token,) and not begins_vector_key(clause.tokens[index:])
    if token.upper == "GENERATED":
        following = clause.tokens[index + 1].upper if index + 1 < len(clause.tokens) else ""
        return following != "ALWAYS"
    return True


# expressions


def _json_arrows(spoken: Spoken) -> Iterator[Spelling]:
    """a->'$.x' is JSON_EXTRACT(a,'$.x'), a->>'$.x' is JSON_UNQUOTE of that; MariaDB has only the functions."""
    tokens = spoken.statement.tokens
    for index, token in enumerate(tokens):
        if token.kind != "mark" or token.text not in ("->", "->>") or not 0 < index < len(tokens) - 1:
            continue
        first = index - 1
        while first >= 2 and tokens[first - 1].is_mark(".") and tokens[first - 2].is_name:
            first -= 2
        path = tokens[index + 1]
        begins, ends = ("JSON_EXTRACT(", ")") if token.text == "->" else ("JSON_UNQUOTE(JSON_EXTRACT(", "))")
        yield _insert(tokens[first].start, begins), ""
        yield _exchange(token, ", "), f"{token.text} became a function"
        yield _insert(path.end, ends), ""


_LITERALS = ("string", "literal")
_NO_LITERAL_DEFAULT = frozenset({
    "TINYTEXT", "TEXT", "MEDIUMTEXT", "LONGTEXT", "TINYBLOB", "BLOB", "MEDIUMBLOB", "LONGBLOB", "LONG", "JSON",
})  # fmt: skip
_NO_BRACKETS = frozenset({"CURRENT_TIMESTAMP", "NOW", "LOCALTIME", "LOCALTIMESTAMP", "NULL", "TRUE", "FALSE"})


def _for_mysql(spoken: Spoken) -> Iterator[Spelling]:
    for clause in read_clauses(spoken.statement):
        if clause.kind == "key" and any(token.upper == "OVERLAPS" for token in clause.body):
            raise PlanError("WITHOUT OVERLAPS has no equivalent on the target: MySQL has no periods")
        words = outer(clause.body) if clause.kind == "column" else []
        for index, token in enumerate(words):
            if token.upper == "DEFAULT" and (span := _bare_default(words, index)):
                yield _insert(span.start, "("), ""
                yield _insert(span.end, ")"), ""
        yield from _checked_documents(clause, words)


_JSON_TEXT = ("LONGTEXT", "CHARACTER", "SET", "UTF8MB4", "COLLATE", "UTF8MB4_BIN")
"""What JSON is in MariaDB, with a CHECK of json_valid; SHOW CREATE TABLE prints it so."""


def _checked_documents(clause: Clause, words: list[Token]) -> Iterator[Spelling]:
    if tuple(token.upper for token in words[: len(_JSON_TEXT)]) != _JSON_TEXT:
        return
    for index, token in enumerate(words[:-2]):
        start, end = words[index + 1].start, words[index + 2].end
        inner = [each for each in clause.body if start < each.start and each.end < end]
        if token.upper != "CHECK" or len(inner) != 4 or inner[0].upper != "JSON_VALID":
            continue
        if inner[2].text.lower() == (clause.name or "").lower():
            yield Edit(Span(words[0].start, words[len(_JSON_TEXT) - 1].end), "JSON"), ""
            yield Edit(Span(words[index - 1].end, end), ""), f"{clause.name} is JSON again, which MariaDB keeps as text"


def _bare_default(words: list[Token], index: int) -> Span | None:
    """The default that MySQL takes only in brackets: a function, or a literal of a TEXT, BLOB or JSON column."""
    rest = words[index + 1 : index + 4]
    if not rest or rest[0].upper in _NO_BRACKETS or rest[0].is_mark("("):
        return None
    if rest[0].kind in _LITERALS:
        return Span(rest[0].start, rest[0].end) if words[0].upper in _NO_LITERAL_DEFAULT else None
    if len(rest) == 3 and rest[0].kind == "word" and rest[1].is_mark("("):
        return Span(rest[0].start, rest[2].end)
    return Span(rest[0].start, rest[0].end) if rest[0].upper.startswith("CURRENT_") else None


def _for_mariadb(spoken: Spoken) -> Iterator[Spelling]:
    for clause in read_clauses(spoken.statement):
        if clause.kind == "key" and any(part[:1] and part[0].is_mark("(") for part in split_list(clause.body)):
            text = shorten(spoken.statement.sql[slice(*clause.span)], 60)
            raise PlanError(f"{text} has no equivalent on the target: MariaDB has no keys on expressions")
        words = outer(clause.body) if clause.kind == "column" else []
        generated = next((i for i, token in enumerate(words) if token.upper == "AS"), None)
        for index, token in enumerate(words):
            if token.upper == "SRID" and index > 0:
                value = _value(words, index)
                yield Edit(Span(words[index - 1].end, value.end), ""), ""
                yield _insert(words[0].end, f" REF_SYSTEM_ID={value.text}"), ""
            if token.upper == "NULL" and generated is not None and index > generated:
                is_not = words[index - 1].upper == "NOT"
                first = words[index - 1] if is_not else token
                note = f"left out NOT NULL of {clause.name}, which MariaDB does not take for a generated column"
                yield Edit(Span(first.start, token.end), ""), note if is_not else ""


# what depends on the table as it is


def _guards(spoken: Spoken) -> Iterator[Spelling]:
    """IF [NOT] EXISTS inside ALTER TABLE: Maxwell's description of the table before says whether it was true."""
    old = read_description(spoken.change.old)
    present = {column.name.lower() for column in old.columns} if old else set()
    for clause in read_clauses(spoken.statement):
        if not clause.guard:
            continue
        text = shorten(spoken.statement.sql[slice(*clause.span)], 60)
        if clause.kind != "column" and clause.verb != "DROP COLUMN":
            raise PlanError(f"{text} cannot be written for MySQL: the messages do not tell whether it was there")
        wanted = clause.replaces or clause.name or ""
        is_needed = (wanted.lower() in present) != (len(clause.guard) == 3)
        if is_needed:
            yield Edit(Span(clause.guard[0].start, clause.guard[-1].end), ""), ""
        else:
            yield Edit(clause.span, ""), f"left out {text}, which did nothing at the source"


def _inline_references(spoken: Spoken) -> Iterator[Spelling]:
    """`a INT REFERENCES t (id)`: MySQL before 9.0 and MariaDB before 10.5 read it and forget it."""

    def forgets(server: StatementServer) -> bool:
        return server.is_before(9) if server.brand == "mysql" else server.is_before(10, 5)

    if forgets(spoken.source) == forgets(spoken.target):
        return
    for clause in read_clauses(spoken.statement):
        words = outer(clause.body) if clause.kind == "column" else []
        start = next((token.start for token in words if token.upper == "REFERENCES"), None)
        if start is None:
            continue
        if forgets(spoken.target):
            raise PlanError(f"the foreign key of column {clause.name} stands in a form that the target forgets")
        end = min(ref.span.end for ref in spoken.statement.names if ref.role == "references" and ref.span.start > start)
        yield (
            Edit(Span(start, _end_of_reference(clause, end)), ""),
            f"left out REFERENCES of {clause.name}, as the source did",
        )


def _end_of_reference(clause: Clause, name_end: int) -> int:
    """Where REFERENCES t (c) ON DELETE CASCADE ON UPDATE … ends."""
    tokens = [token for token in clause.tokens if token.start >= name_end]
    end, depth, index = name_end, 0, 0
    actions = {"MATCH": 1, "CASCADE": 0, "RESTRICT": 0, "SET": 1, "NO": 1, "ON": 1}
    while index < len(tokens):
        token = tokens[index]
        depth += token.is_mark("(") - token.is_mark(")")
        if depth == 0 and not token.is_mark(")"):
            if token.upper not in actions:
                break
            index += actions[token.upper]
        end = tokens[min(index, len(tokens) - 1)].end
        index += 1
    return end
