"""What a DDL statement means by its session: the settings to run it under, and those that nobody tells."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pydbsync.errors import PlanError
from pydbsync.model import SchemaChange, SessionSettings
from pydbsync.plan.ddl.clauses import Clause, outer, read_clauses, split_list
from pydbsync.plan.ddl.collations import StatementServer, translate_collation
from pydbsync.plan.ddl.definition import Description, read_description
from pydbsync.plan.ddl.lexer import Brand, Token
from pydbsync.plan.ddl.statement import Statement
from pydbsync.plan.ddl.zone_use import ZoneUse, zone_use
from pydbsync.plan.ddl.zones import is_offset, offset_at

DEFAULT_SQL_MODE = "NO_AUTO_VALUE_ON_ZERO"
"""Where nobody tells the source's: not strict, since the source may have cut values in the same way; it has proven the
statement."""

_OWN_MODES: dict[Brand, frozenset[str]] = {
    "mysql": frozenset({"TIME_TRUNCATE_FRACTIONAL", "INTERPRET_UTF8_AS_UTF8MB4"}),
    "mariadb": frozenset({
        "IGNORE_BAD_TABLE_OPTIONS", "ORACLE", "EMPTY_STRING_IS_NULL", "SIMULTANEOUS_ASSIGNMENT",
        "TIME_ROUND_FRACTIONAL",
    }),
}  # fmt: skip
# Statements are spelled as without ANSI_QUOTES and NO_BACKSLASH_ESCAPES. The engine's name is no part of what a table
# holds: a target without it takes its own. The others stand for modes that are listed too, or say nothing of DDL.
_WITHOUT_MEANING = frozenset({
    "ANSI", "ANSI_QUOTES", "NO_BACKSLASH_ESCAPES", "NO_ENGINE_SUBSTITUTION", "NO_AUTO_CREATE_USER", "TRADITIONAL",
    "DB2", "MAXDB", "MSSQL", "MYSQL323", "MYSQL40", "POSTGRESQL", "NO_FIELD_OPTIONS", "NO_KEY_OPTIONS",
    "NO_TABLE_OPTIONS",
})  # fmt: skip
_REFUSED_MODES = frozenset({"ORACLE", "EMPTY_STRING_IS_NULL"})
_UTC = frozenset({"UTC", "GMT", "UCT", "Z", "ETC/UTC"})
_UTC_OF_SYSTEM = _UTC - {"GMT"}  # London says GMT in winter


class Variable(NamedTuple):
    """A session variable to be set around the statement."""

    name: str
    value: str | int | float
    matters: bool
    """The statement depends on it: without it, it is not run."""
    otherwise: str = ""
    """The same for this statement, where the target does not know the value."""
    is_near: bool = False
    """The zone of the source's system by a name: an hour that comes twice is read in another way."""

    @property
    def literal(self) -> str:
        return f"'{self.value}'" if isinstance(self.value, str) else str(self.value)


def variables(
    statement: Statement,
    change: SchemaChange,
    *,
    session: SessionSettings | None,
    source: StatementServer | None,
    target: StatementServer,
    is_merged: bool = False,
) -> tuple[Variable, ...]:
    """The session's variables on the target. `session` is what is known of the source's. Raises PlanError."""
    uses = depends_on(statement, change)
    zone = _zone_use(statement, change)
    mode = sql_mode(session.sql_mode if session else None, source, target)
    is_utf8mb4 = _is_utf8_utf8mb4(session, source)
    has_utf8 = any(_UTF8.match(token.text) for token in statement.tokens)
    if has_utf8 and is_utf8mb4 and target.brand == "mysql":
        mode = ",".join(filter(None, (mode, _AS_UTF8MB4))) if _AS_UTF8MB4 not in mode else mode
    if is_merged:
        mode = ",".join(filter(None, (mode, "STRICT_TRANS_TABLES")))  # values of others shall not be cut
    found = [Variable("sql_mode", mode, matters=True)]
    if has_utf8 and target.brand == "mariadb" and not target.is_before(10, 6, 1):
        found.append(Variable("old_mode", "" if is_utf8mb4 else _IS_UTF8MB3, matters=True))
    known = session or SessionSettings()
    told = change.session or SessionSettings()
    found.append(Variable("timestamp", known.timestamp or change.ts, matters=True))
    if known.explicit_defaults_for_timestamp is not None:
        name = "explicit_defaults_for_timestamp"
        found.append(Variable(name, int(known.explicit_defaults_for_timestamp), matters=name in uses))
    # The binlog tells the zone just where the server has used it.
    if known.time_zone is not None and (told.time_zone is not None or zone):
        found.append(_zone(known, known.timestamp or change.ts, zone))
    if session is not None and _STEP in uses:
        found.append(Variable(_STEP, known.auto_increment_increment or 1, matters=True))
        found.append(Variable("auto_increment_offset", known.auto_increment_offset or 1, matters=True))
    if session is not None and _LANGUAGE in uses:
        found.append(Variable(_LANGUAGE, known.lc_time_names or "en_US", matters=True))
    for name, of_servers in _OF_SERVERS.items():
        if session is not None and name in uses:
            value: int | None = getattr(known, name)
            found.append(Variable(name, of_servers if value is None else value, matters=True))
    matters = _COLLATION in uses
    # The global one is only that of sessions whose client has said nothing.
    if known.collation_connection is not None and (told.collation_connection is not None or matters):
        found += _collation(known.collation_connection, source, target, matters=matters)
    return tuple(found)


_UTF8 = re.compile(r"['\"]?_?utf8(?:_\w+)?['\"]?$", re.IGNORECASE)
_AS_UTF8MB4, _IS_UTF8MB3 = "INTERPRET_UTF8_AS_UTF8MB4", "UTF8_IS_UTF8MB3"


def _is_utf8_utf8mb4(session: SessionSettings | None, source: StatementServer | None) -> bool:
    """Whether the character set `utf8` was utf8mb4 at the source, which each brand may be told in its own way."""
    if session is None:
        return False
    if source is not None and source.brand == "mysql":
        return _AS_UTF8MB4 in (session.sql_mode or "")
    if session.old_mode is None or (source is not None and source.is_before(10, 6, 1)):
        return False
    return _IS_UTF8MB3 not in session.old_mode


_STEP, _LANGUAGE = "auto_increment_increment", "lc_time_names"
_OF_SERVERS = {"default_week_format": 0, "div_precision_increment": 4}
"""Settings that the binlog does not tell, and what servers have by default."""
_SPELLED = frozenset({"DATE_FORMAT", "DAYNAME", "MONTHNAME", "TO_CHAR"})
"""Functions that spell days and months."""
_COLLATION = "collation_connection"
"""By it literals are compared, and texts that functions make of numbers; what they hold is in its character set."""


def _collation(
    name: str, source: StatementServer | None, target: StatementServer, *, matters: bool
) -> Iterator[Variable]:
    """Raises PlanError where the target has none like it, and the statement depends on it."""
    try:
        translated = None if source is None or source.brand == target.brand else translate_collation(name, target)
    except PlanError:
        if matters:
            raise
        return
    yield Variable(_COLLATION, translated.name if translated else name, matters=matters)


def _zone(session: SessionSettings, moment: float, use: ZoneUse) -> Variable:
    """The target may lack tables of zones: where the statement needs only the clock, the distance from UTC will do."""
    zone = session.time_zone or "SYSTEM"
    is_system = zone.upper() == "SYSTEM"
    if is_system:
        zone = session.system_time_zone or ""
        if not zone:
            raise PlanError("the statement depends on the time zone of the source's system, which is not known")
        if not is_offset(zone) and "/" not in zone and zone.upper() not in _UTC_OF_SYSTEM:
            raise PlanError(
                f"the statement depends on the time zone of the source's system, and {zone} may be one of several: set"
                " time_zone at the source to a name such as Europe/Berlin, or to an offset"
            )
    if zone.upper() in _UTC:
        zone = "+00:00"
    otherwise = "" if use == "rules" or is_offset(zone) else offset_at(zone, moment) or ""
    is_near = is_system and use == "rules" and "/" in zone
    return Variable("time_zone", zone, matters=True, otherwise=otherwise, is_near=is_near)


def sql_mode(mode: str | None, source: StatementServer | None, target: StatementServer) -> str:
    """The source's sql_mode as one of the target. Raises PlanError for a mode that gives statements another meaning."""
    names = set((DEFAULT_SQL_MODE if mode is None else mode).split(",")) - _WITHOUT_MEANING - {""}
    if source is None or source.brand == target.brand:
        return ",".join(sorted(names))
    if refused := sorted(names & _REFUSED_MODES):
        raise PlanError(f"the statement was written under sql_mode {refused[0]}, which the target does not have")
    # A fraction of a second that does not fit is rounded by MySQL and cut by MariaDB, unless they are told otherwise.
    rounds = "TIME_ROUND_FRACTIONAL" in names if source.brand == "mariadb" else "TIME_TRUNCATE_FRACTIONAL" not in names
    names -= _OWN_MODES[source.brand]
    if target.brand == "mariadb" and rounds:
        names.add("TIME_ROUND_FRACTIONAL")
    if target.brand == "mysql" and not rounds:
        names.add("TIME_TRUNCATE_FRACTIONAL")
    return ",".join(sorted(names))


def depends_on(statement: Statement, change: SchemaChange) -> frozenset[str]:
    """The settings of session or server that give the statement its meaning; not what is the same everywhere."""
    found: set[str] = set()
    if statement.action == "create-database":
        options = [token.upper for token in statement.tokens if token.start >= statement.options_start]
        if {"CHARACTER", "CHARSET", "COLLATE"}.isdisjoint(options):
            found.add("collation_server")
    texts = _texts(read_description(change.old), read_description(change.def_))
    is_alter = statement.action == "alter-table"
    if _zone_use(statement, change):
        found.add("time_zone")
    for clause in read_clauses(statement):
        if is_alter and numbers_rows(clause):
            found.add(_STEP)
        if any(_takes_default_week(expression) for expression in _expressions(clause)):
            found.add("default_week_format")  # MySQL writes it into the definition
        if is_alter and any(token.is_mark("/") for expression in _expressions(clause) for token in expression):
            found.add("div_precision_increment")
        if is_alter and clause.kind in ("column", "key") and not _SPELLED.isdisjoint(_words(clause)):
            found.add(_LANGUAGE)
        if clause.kind == "column" and clause.name is not None:
            found |= set(_of_column(clause))
        if any(token.kind == "mark" and token.text == "||" for token in clause.tokens):
            found.add("sql_mode")
        if any(_compares_literals(expression, texts) for expression in _expressions(clause)):
            found.add(_COLLATION)
    return frozenset(found)


def numbers_rows(clause: Clause) -> bool:
    """Whether rows that are there may get numbers by it."""
    return clause.kind == "column" and not {"AUTO_INCREMENT", "SERIAL"}.isdisjoint(_words(clause))


def _words(clause: Clause) -> set[str]:
    return {token.upper for token in clause.body if token.kind == "word"}


def _takes_default_week(tokens: tuple[Token, ...]) -> bool:
    """Whether WEEK is called with a date alone."""
    for index, token in enumerate(tokens[:-1]):
        if token.upper == "WEEK" and tokens[index + 1].is_mark("(") and len(split_list(tokens[index + 1 :])) == 1:
            return True
    return False


def _zone_use(statement: Statement, change: SchemaChange) -> ZoneUse:
    before, after = (
        {column.name.lower(): column.kind for column in found.columns} if found else {}
        for found in (read_description(change.old), read_description(change.def_))
    )
    is_alter = statement.action == "alter-table"
    return zone_use(statement.tokens, read_clauses(statement), is_alter=is_alter, before=before, after=after)


_OF_COLUMNS = frozenset({"AS", "CHECK", "DEFAULT"})
_COMPARISONS = frozenset({"=", "<", ">", "<=", ">=", "<>", "!=", "<=>"})
_COMPARING_WORDS = frozenset({"LIKE", "IN", "REGEXP", "RLIKE", "BETWEEN", "NOT"})
_COMPARING_CALLS = frozenset({"STRCMP", "FIELD", "FIND_IN_SET", "GREATEST", "LEAST", "NULLIF", "INSTR", "LOCATE"})
_TEXTUAL = frozenset({
    "char", "varchar", "tinytext", "text", "mediumtext", "longtext", "enum", "set", "json", "binary", "varbinary",
    "tinyblob", "blob", "mediumblob", "longblob",
})  # fmt: skip


def _texts(*descriptions: Description | None) -> frozenset[str]:
    """The columns whose own collation decides a comparison with a literal, in lower case."""
    return frozenset(
        column.name.lower() for each in descriptions if each for column in each.columns if column.kind in _TEXTUAL
    )


def _expressions(clause: Clause) -> Iterator[tuple[Token, ...]]:
    """The expressions of generated columns, CHECKs, defaults and key parts."""
    tokens = clause.tokens
    begin, depth = -1, 0
    for index, token in enumerate(tokens):
        if token.is_mark(")"):
            depth -= 1
            if depth == 0 and begin >= 0:
                yield tokens[begin : index + 1]
                begin = -1
        elif token.is_mark("("):
            before = [each.upper for each in tokens[max(0, index - 2) : index]]
            if depth == 0 and (clause.kind == "key" or not _OF_COLUMNS.isdisjoint(before[-1:])):
                begin = index
            elif depth == 0 and before[:1] == ["DEFAULT"]:  # MariaDB takes DEFAULT CONCAT(…) without brackets
                begin = index - 2
            depth += 1


def _compares_literals(tokens: tuple[Token, ...], texts: frozenset[str]) -> bool:
    """Whether texts are compared of which none has a collation of its own."""
    if any(token.is_name and token.text.lower() in texts for token in tokens):
        return False
    strings = [token.kind == "string" for token in tokens]
    for index, token in enumerate(tokens[1:-1], start=1):
        if token.upper in _COMPARING_CALLS and tokens[index + 1].is_mark("(") and any(strings):
            return True
        if token.text in _COMPARISONS if token.kind == "mark" else token.upper in _COMPARING_WORDS:
            behind = index + 1
            last = len(tokens) - 1
            while behind < last and (tokens[behind].is_mark("(") or tokens[behind].upper in _COMPARING_WORDS):
                behind += 1
            is_call = behind + 1 < len(tokens) and tokens[behind].kind == "word" and tokens[behind + 1].is_mark("(")
            is_made = (strings[index - 1] or tokens[index - 1].is_mark(")"), strings[behind] or is_call)
            if all(is_made) and (strings[index - 1] or strings[behind]):
                return True
    return False


def _of_column(clause: Clause) -> Iterator[str]:
    words = [token.upper for token in outer(clause.body)]
    if words[:1] == ["REAL"]:
        yield "sql_mode"
    if words[:1] == ["TIMESTAMP"] and not _says_all(words):
        yield "explicit_defaults_for_timestamp"


def _says_all(words: list[str]) -> bool:
    """TIMESTAMP NULL, or NOT NULL with a default: the same whatever explicit_defaults_for_timestamp is."""
    if "NULL" not in words:
        return False
    return words[words.index("NULL") - 1] != "NOT" or "DEFAULT" in words or "AS" in words
