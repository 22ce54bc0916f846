"""Statements of one brand as statements of the other: one table of rules, exact equivalents only.

Every rule was tried on MySQL 9.7 and MariaDB 10.11. docs/schema-changes.md is this table for people.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple, TypeAlias

from pydbsync.errors import PlanError
from pydbsync.model import SchemaChange
from pydbsync.plan.ddl.clauses import outer, read_clauses
from pydbsync.plan.ddl.collations import StatementServer
from pydbsync.plan.ddl.lexer import Brand, Edit, Span, Token, cut_members, shorten
from pydbsync.plan.ddl.spellings import Spoken, default_collations, spellings
from pydbsync.plan.ddl.statement import Statement

PlaceKind: TypeAlias = Literal["head", "column", "key", "check", "option", "clause", "database"]
REFUSED = None
LEFT_OUT = ""


class Rule(NamedTuple):
    """One syntax that a brand does not have."""

    target: Brand
    place: PlaceKind
    pattern: str
    """Words as written; `A|B` either; `X?` may be missing; `<x>` any one token; `()` anything in
    brackets; `^` only at the beginning."""
    becomes: str | None
    """What it is on the target: LEFT_OUT, REFUSED, or words in which `{1}` is the first `<x>` or `()`."""
    why: str


_SAME = "the same under another name"
_PHYSICAL = "it says where and how the rows are stored, not what they are"
_FASTER = "it asks for a way of doing the change, not for another result"
_VERSIONED = "MySQL has no system-versioned tables and no periods"

RULES: tuple[Rule, ...] = (
    # MySQL → MariaDB
    Rule("mariadb", "column", "^GEOMCOLLECTION", "GEOMETRYCOLLECTION", _SAME),
    Rule("mariadb", "column", "COLUMN_FORMAT FIXED|DYNAMIC|DEFAULT", LEFT_OUT, _PHYSICAL),
    Rule("mariadb", "column", "STORAGE DISK|MEMORY|DEFAULT", LEFT_OUT, _PHYSICAL),
    Rule("mariadb", "column", "ENGINE_ATTRIBUTE|SECONDARY_ENGINE_ATTRIBUTE =? <x>", LEFT_OUT, _PHYSICAL),
    Rule("mariadb", "column", "VISIBLE", LEFT_OUT, "columns are visible by default"),
    Rule("mariadb", "column", "CHECK () NOT ENFORCED", REFUSED, "MariaDB enforces every CHECK"),
    Rule("mariadb", "column", "CHECK () ENFORCED", "CHECK {1}", "MariaDB enforces every CHECK"),
    Rule("mariadb", "key", "ENGINE_ATTRIBUTE|SECONDARY_ENGINE_ATTRIBUTE =? <x>", LEFT_OUT, _PHYSICAL),
    Rule("mariadb", "key", "INVISIBLE", "IGNORED", _SAME),
    Rule("mariadb", "key", "VISIBLE", "NOT IGNORED", _SAME),
    Rule("mariadb", "key", "WITH PARSER NGRAM|MECAB", REFUSED, "MariaDB has no such full-text parser"),
    Rule("mariadb", "check", "CHECK () NOT ENFORCED", REFUSED, "MariaDB enforces every CHECK"),
    Rule("mariadb", "check", "CHECK () ENFORCED", "CHECK {1}", "MariaDB enforces every CHECK"),
    Rule("mariadb", "option", "AUTOEXTEND_SIZE|COMPRESSION|TABLESPACE =? <x>", LEFT_OUT, _PHYSICAL),
    Rule("mariadb", "option", "ENGINE_ATTRIBUTE|SECONDARY_ENGINE_ATTRIBUTE =? <x>", LEFT_OUT, _PHYSICAL),
    Rule("mariadb", "option", "SECONDARY_ENGINE =? <x>", LEFT_OUT, _PHYSICAL),
    Rule("mariadb", "option", "STORAGE DISK|MEMORY", LEFT_OUT, _PHYSICAL),
    Rule("mariadb", "option", "ENCRYPTION =? 'Y'", "ENCRYPTED=YES", _SAME),
    Rule("mariadb", "option", "ENCRYPTION =? 'N'", LEFT_OUT, "tables are not encrypted by default"),
    Rule("mariadb", "option", "ENGINE =? NDB|NDBCLUSTER", LEFT_OUT, "MariaDB has no such engine and uses its own"),
    Rule("mariadb", "clause", "^ALTER CHECK|CONSTRAINT <x> NOT? ENFORCED", REFUSED, "MariaDB enforces every CHECK"),
    Rule("mariadb", "clause", "^DROP CHECK <x>", "DROP CONSTRAINT {1}", _SAME),
    Rule("mariadb", "clause", "^ALTER INDEX <x> INVISIBLE", "ALTER INDEX {1} IGNORED", _SAME),
    Rule("mariadb", "clause", "^ALTER INDEX <x> VISIBLE", "ALTER INDEX {1} NOT IGNORED", _SAME),
    Rule("mariadb", "clause", "^ALTER COLUMN? <x> SET VISIBLE|INVISIBLE", LEFT_OUT,
         "MariaDB changes that only with the whole definition; the rows are the same"),
    Rule("mariadb", "clause", "WITH|WITHOUT VALIDATION", LEFT_OUT, "MariaDB always validates the rows"),
    Rule("mariadb", "clause", "^SECONDARY_LOAD|SECONDARY_UNLOAD", LEFT_OUT, _PHYSICAL),
    Rule("mariadb", "clause", "^ALGORITHM|LOCK =? <x>", LEFT_OUT, _FASTER),
    Rule("mariadb", "database", "DEFAULT? ENCRYPTION =? 'N'", LEFT_OUT, "tables are not encrypted by default"),
    Rule("mariadb", "database", "DEFAULT? ENCRYPTION =? 'Y'", REFUSED, "MariaDB encrypts by table or by server"),
    Rule("mariadb", "database", "READ ONLY =? <x>", REFUSED, "MariaDB has no read-only databases"),
    # MariaDB → MySQL
    Rule("mysql", "head", "^CREATE OR REPLACE", "CREATE", "Maxwell announces it only where nothing was replaced"),
    Rule("mysql", "head", "^ALTER ONLINE|OFFLINE? TABLE IF EXISTS", "ALTER TABLE", "the table existed"),
    Rule("mysql", "head", "^ALTER ONLINE|OFFLINE TABLE", "ALTER TABLE", _FASTER),
    Rule("mysql", "head", "^ALTER ONLINE|OFFLINE? IGNORE", REFUSED, "MySQL cannot leave duplicate rows out"),
    Rule("mysql", "head", "^RENAME TABLE|TABLES IF EXISTS", "RENAME TABLE", "the tables existed"),
    Rule("mysql", "head", "NOWAIT", LEFT_OUT, _FASTER),
    Rule("mysql", "head", "WAIT <x>", LEFT_OUT, _FASTER),
    Rule("mysql", "column", "^UUID|INET4|INET6|XMLTYPE", REFUSED, "MySQL has no such type"),
    Rule("mysql", "column", "() PERSISTENT", "{1} STORED", _SAME),
    Rule("mysql", "column", "COMPRESSED = <x>", LEFT_OUT, _PHYSICAL),
    Rule("mysql", "column", "COMPRESSED", LEFT_OUT, _PHYSICAL),
    Rule("mysql", "column", "REF_SYSTEM_ID =? <x>", "SRID {1}", _SAME),
    Rule("mysql", "column", "WITH|WITHOUT SYSTEM VERSIONING", REFUSED, _VERSIONED),
    Rule("mysql", "column", "AS ROW START|END", REFUSED, _VERSIONED),
    Rule("mysql", "key", "NOT IGNORED", "VISIBLE", _SAME),
    Rule("mysql", "key", "IGNORED", "INVISIBLE", _SAME),
    Rule("mysql", "key", "CLUSTERING =? <x>", LEFT_OUT, _PHYSICAL),
    Rule("mysql", "option", "PAGE_CHECKSUM|TRANSACTIONAL =? <x>", LEFT_OUT, _PHYSICAL),
    Rule("mysql", "option", "PAGE_COMPRESSED|PAGE_COMPRESSION_LEVEL =? <x>", LEFT_OUT, _PHYSICAL),
    Rule("mysql", "option", "ENCRYPTED =? YES|ON|1", "ENCRYPTION='Y'", _SAME),
    Rule("mysql", "option", "ENCRYPTED|ENCRYPTION_KEY_ID|IETF_QUOTES =? <x>", LEFT_OUT, _PHYSICAL),
    Rule("mysql", "option", "ROW_FORMAT =? PAGE", LEFT_OUT, _PHYSICAL),
    Rule("mysql", "option", "ENGINE =? ARIA|MARIA|COLUMNSTORE|ROCKSDB|MROONGA|SPIDER|CONNECT|S3|TOKUDB", LEFT_OUT,
         "MySQL has no such engine and uses its own"),
    Rule("mysql", "option", "WITH SYSTEM VERSIONING", REFUSED, _VERSIONED),
    Rule("mysql", "option", "PARTITION BY SYSTEM_TIME", REFUSED, _VERSIONED),
    Rule("mysql", "option", "SEQUENCE =? 1", REFUSED, "MySQL has no sequences"),
    Rule("mysql", "clause", "^ALTER INDEX|KEY <x> NOT IGNORED", "ALTER INDEX {1} VISIBLE", _SAME),
    Rule("mysql", "clause", "^ALTER INDEX|KEY <x> IGNORED", "ALTER INDEX {1} INVISIBLE", _SAME),
    Rule("mysql", "clause", "^ADD|DROP SYSTEM VERSIONING", REFUSED, _VERSIONED),
    Rule("mysql", "clause", "PERIOD FOR", REFUSED, _VERSIONED),
    Rule("mysql", "clause", "^CONVERT TABLE|PARTITION", REFUSED, "MySQL cannot turn a partition into a table"),
    Rule("mysql", "clause", "^ALGORITHM|LOCK =? <x>", LEFT_OUT, _FASTER),
    Rule("mysql", "database", "COMMENT =? <x>", LEFT_OUT, "MySQL's databases have no comments"),
)  # fmt: skip

_FILES = Rule("mysql", "clause", "^DISCARD|IMPORT TABLESPACE|PARTITION", REFUSED, "the rows come in files")


class Translated(NamedTuple):
    """What has to be exchanged in the text so that the target understands it as the source did."""

    edits: list[Edit]
    notes: list[str]


def translate(
    statement: Statement, change: SchemaChange, *, source: StatementServer | None, target: StatementServer | None
) -> Translated:
    """The edits that make the statement one of the target's brand; none where both are of one brand and version.

    Raises PlanError, with the syntax and the reason, for what has no equivalent.
    """
    found = Translated([], [])
    _apply(_FILES, statement, found)
    if target is None:
        return found
    if source is None:
        if change.session is not None:
            alike = target._replace(charset=None, session=change.session)
            found.edits.extend(edit for edit, _ in default_collations(Spoken(statement, change, alike, target)))
        return found
    if source.brand != target.brand:
        for rule in RULES:
            if rule.target == target.brand:
                _apply(rule, statement, found)
    for edit, note in spellings(Spoken(statement, change, source, target)):
        found.edits.append(edit)
        if note and note not in found.notes:
            found.notes.append(note)
    found.edits.extend(_whole_clauses(statement, found.edits))
    return found


class _DialectPlace(NamedTuple):
    kind: PlaceKind
    tokens: list[Token]


# What follows these words is a name or a value, whatever it looks like.
_BEFORE_NAMES = frozenset({"AFTER", "REFERENCES", "CONSTRAINT", "COLLATE", "DEFAULT"})


def _places(statement: Statement) -> Iterator[_DialectPlace]:
    clauses = read_clauses(statement)
    end = clauses[0].span.start if clauses else statement.options_start or len(statement.sql)
    spans = [ref.span for ref in statement.names]
    head = [t for t in statement.tokens if t.start < end and not any(s.start <= t.start < s.end for s in spans)]
    yield _DialectPlace("head", head)
    if statement.action.endswith("database"):
        yield _DialectPlace("database", [t for t in statement.tokens if t.start >= statement.options_start])
    for clause in clauses:
        if clause.kind in ("column", "key", "check"):
            kind: PlaceKind = "column" if clause.kind == "column" else "key" if clause.kind == "key" else "check"
            yield _DialectPlace(kind, _without_names(outer(clause.body)))
        elif clause.kind == "option":
            yield _DialectPlace("option", outer(clause.tokens))
        else:
            yield _DialectPlace("clause", outer(clause.tokens))


def _without_names(tokens: list[Token]) -> list[Token]:
    """Names that look like keywords (`AFTER visible`) do not count as such."""
    return [
        token._replace(kind="quoted") if index and tokens[index - 1].upper in _BEFORE_NAMES else token
        for index, token in enumerate(tokens)
    ]


def _apply(rule: Rule, statement: Statement, found: Translated) -> None:
    for place in _places(statement):
        if place.kind != rule.place:
            continue
        index = 0
        while index < len(place.tokens):
            captured = _match(rule.pattern, place, index, statement.sql)
            if captured is None:
                index += 1
                continue
            count, groups = captured
            first, last = place.tokens[index], place.tokens[index + count - 1]
            text = statement.sql[first.start : last.end]
            index += count
            if any(edit.span.start <= first.start < edit.span.end for edit in found.edits):
                continue  # a rule with a longer pattern stands before
            if rule.becomes is REFUSED:
                raise PlanError(f"{shorten(text, 60)} has no equivalent on the target: {rule.why}")
            becomes = rule.becomes or ""
            for number, group in enumerate(groups, 1):
                becomes = becomes.replace(f"{{{number}}}", group)
            start = first.start if becomes else _cut_from(statement, first)
            found.edits.append(Edit(Span(start, last.end), becomes))
            note = f"{shorten(text, 60)} became {becomes}" if becomes else f"left out {shorten(text, 60)}: {rule.why}"
            found.notes.append(note)


def _cut_from(statement: Statement, first: Token) -> int:
    """A cut takes the gap before it along, unless a comment stands there or a clause begins."""
    before = max((token.end for token in statement.tokens if token.end <= first.start), default=0)
    is_clause = any(clause[0] == first for clause in statement.clauses)
    return first.start if is_clause or statement.sql[before : first.start].strip() else before


def _match(pattern: str, place: _DialectPlace, index: int, sql: str) -> tuple[int, list[str]] | None:
    """(number of tokens, texts of `<x>` and `()`), or None."""
    if pattern.startswith("^"):
        if index:
            return None
        pattern = pattern[1:]
    at, groups = index, list[str]()
    for element in pattern.split():
        token = place.tokens[at] if at < len(place.tokens) else None
        optional = element.endswith("?")
        element = element.removesuffix("?")
        if element == "()":
            following = place.tokens[at + 1] if at + 1 < len(place.tokens) else None
            if token is None or not token.is_mark("(") or following is None:
                return None
            groups.append(sql[token.start : following.end])
            at += 2
        elif token is not None and _fits(element, token, place.kind):
            if element == "<x>":
                groups.append(sql[token.start : token.end])
            at += 1
        elif not optional:
            return None
    return at - index, groups


def _fits(element: str, token: Token, kind: PlaceKind) -> bool:
    if element == "<x>":
        return token.kind != "mark"
    if element == "=":
        return token.is_mark("=")
    if element.startswith("'"):
        return token.kind == "string" and token.text.upper() == element.strip("'")
    is_word = token.kind in ("word", "literal") or kind in ("option", "key")
    # SHOW CREATE TABLE has options in quotes: `encrypted`='yes', WITH PARSER `ngram`.
    return is_word and token.text.upper() in element.split("|")


def _whole_clauses(statement: Statement, edits: list[Edit]) -> Iterator[Edit]:
    """A clause that is left out as a whole goes with its comma."""
    cuts = [edit.span for edit in edits if not edit.text]
    clauses = read_clauses(statement)
    if statement.action == "create-table":
        for clause in clauses:
            if clause.kind == "option" and any(span.start >= clause.span.start for span in cuts):
                # Commas between options may be missing, so all can go.
                yield from (Edit(Span(t.start, t.end), "") for t in outer(clause.tokens) if t.is_mark(","))
        return
    spans = [Span(clause[0].start, clause[-1].end) for clause in statement.clauses]
    keep = [
        not all(any(c.start <= t.start and t.end <= c.end for c in cuts) for t in clause)
        for clause in statement.clauses
    ]
    if any(keep):
        yield from cut_members(spans, keep)
    elif keep:
        yield Edit(Span(spans[0].start, spans[-1].end), "")
