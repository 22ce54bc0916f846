"""Whether a row change that is parked means the same behind a schema change of its table, so that neither must wait."""

from __future__ import annotations

from itertools import pairwise

from pydbsync.plan.ddl.clauses import begins_vector_key
from pydbsync.plan.ddl.lexer import Token
from pydbsync.plan.ddl.syntax import Statement

_OTHER_ROWS = {
    "AUTO_INCREMENT", "SERIAL", "UNIQUE", "PRIMARY", "KEY",  # another key, or numbers that depend on what is there
    "CURRENT_TIMESTAMP", "NOW", "LOCALTIME", "LOCALTIMESTAMP", "TIMESTAMP",  # a row of later has another time
}  # fmt: skip
_OPTIONS = {
    "ALGORITHM", "AUTO_INCREMENT", "AVG_ROW_LENGTH", "CHECKSUM", "COMMENT", "COMPRESSION", "DELAY_KEY_WRITE", "ENGINE",
    "FORCE", "KEY_BLOCK_SIZE", "LOCK", "MAX_ROWS", "MIN_ROWS", "PACK_KEYS", "ROW_FORMAT", "STATS_AUTO_RECALC",
    "STATS_PERSISTENT", "STATS_SAMPLE_PAGES",
}  # fmt: skip


def means_the_same(statement: Statement) -> bool:
    """True only where it is certain: keys that are no row's identity, options, and plain new columns at their default.

    All else waits for the parked rows of the table: a column that is taken away and comes again, or that changes its
    name or type, a partition that is emptied, a table that gets another name.
    """
    if statement.action == "create-table":
        return not statement.or_replace
    if statement.action == "create-index":
        return "UNIQUE" not in {token.upper for token in statement.tokens}
    if statement.action == "alter-table":
        return bool(statement.clauses) and all(map(_is_harmless, statement.clauses))
    return statement.action in ("create-database", "alter-database")


def gives_actions(statement: Statement) -> bool:
    """Whether a foreign key of the statement has the server change rows along with their parents."""
    words = [token.upper if token.kind != "quoted" else "`" for token in statement.tokens]
    threes = zip(words, words[1:], words[2:], strict=False)
    return any(on == "ON" and of in ("DELETE", "UPDATE") and action in ("CASCADE", "SET") for on, of, action in threes)


def _is_harmless(clause: tuple[Token, ...]) -> bool:
    words = [token.upper if token.kind != "quoted" else "`" for token in clause]
    first, second = words[0], words[1] if len(words) > 1 else ""
    if first == "ADD":
        if second in ("INDEX", "KEY", "FULLTEXT", "SPATIAL", "CHECK") or begins_vector_key(clause[1:]):
            return True
        if second == "CONSTRAINT":
            return not {"UNIQUE", "PRIMARY"} & set(words) and bool({"FOREIGN", "CHECK"} & set(words))
        if second == "FOREIGN":
            return True
        return second != "PARTITION" and not _OTHER_ROWS & set(words) and not _has_default_expression(words)
    if first == "DROP":
        return second in ("FOREIGN", "CHECK")
    if first == "RENAME":
        return second in ("INDEX", "KEY")
    return first == "ALTER" or first in _OPTIONS


def _has_default_expression(words: list[str]) -> bool:
    return any(word == "DEFAULT" and after == "(" for word, after in pairwise(words))
