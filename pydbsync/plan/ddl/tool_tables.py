"""How gh-ost and pt-online-schema-change name their tables and constraints.

Sources: go/base/context.go and go/logic/applier.go of gh-ost; create_new_table and swap_tables of
pt-online-schema-change 3.2.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from pydbsync.model import TableName
from pydbsync.plan.ddl.clauses import Clause, key_kind, read_clauses, split_list
from pydbsync.plan.ddl.statement import Statement
from pydbsync.plan.quoting import quote_name

COPY = re.compile(r"_+(.+)_(?:gho|new)", re.DOTALL)
ANY_TABLE = re.compile(r"_+.+_(?:gho|ghc|ghk|del|new|old)", re.DOTALL)
_LOG_COLUMNS = ["id", "last_update", "hint", "value"]
_CHECKPOINT_COLUMN = "gh_ost_chk_id"
LOG_COMMENT = "gh-ost changelog"
SENTRY_COMMENT = "ghost-cut-over-sentry"
_NAME_LIMIT = 64
_GH_OST = re.compile(r"/\*\s*gh-ost\b[^*]*\*/")
_SHOWN = re.compile(r"CREATE TABLE `(?:[^`]|``)+`\.`(?:[^`]|``)+` \(\n  `")


def is_marked_by_gh_ost(statement: Statement) -> bool:
    """Whether the statement has the comment that gh-ost writes into each of its own."""
    outside = re.sub(r"'(?:[^'\\]|\\.|'')*'", "''", statement.sql)
    return _GH_OST.search(outside) is not None


def is_shown_table(statement: Statement) -> bool:
    """Whether CREATE TABLE is SHOW CREATE TABLE's text with a full name, as pt-online-schema-change writes it."""
    return _SHOWN.match(statement.sql) is not None


def has_string(statement: Statement, text: str) -> bool:
    return any(token.kind == "string" and token.text == text for token in statement.tokens)


def is_log_of_gh_ost(name: str, columns: Sequence[str]) -> bool:
    """Whether this is the changelog, or the table of checkpoints, by name and columns."""
    if not name.startswith("_"):
        return False
    is_log = name.endswith("_ghc") and list(columns) == _LOG_COLUMNS
    return is_log or (name.endswith("_ghk") and list(columns[:1]) == [_CHECKPOINT_COLUMN])


def log_beside(copy: TableName) -> TableName:
    """The changelog that gh-ost makes with a copy of this name."""
    return TableName(copy.database, copy.table.removesuffix("_gho") + "_ghc")


def bases_of(copy: str) -> list[str]:
    """The tables that a copy of this name may be of: `__a_new` of `_a` or of `a`."""
    found = COPY.fullmatch(copy)
    if not found:
        return []
    bare = copy[: found.end(1)]
    bases = [bare[count:] for count in range(1, len(bare) - len(bare.lstrip("_")) + 1)]
    return [base for base in bases if base]


def is_old_name(name: str, base: str, *, statement: Statement) -> bool:
    """Whether the tools move the real table away under this name. gh-ost can be told to make it of any other."""
    if name.endswith("_del") and is_marked_by_gh_ost(statement):
        return True
    pattern = rf"_+{re.escape(base)}_(?:\d{{14}}_)?(?:del|old)"
    return re.fullmatch(pattern, name) is not None or (len(name) == _NAME_LIMIT and name.endswith(("_del", "_old")))


def renamed_constraints(create: Statement) -> list[str]:
    """What gives the constraints of the real table the names that they have in pt-online-schema-change's copy.

    Clauses of ALTER TABLE. Without them a later DROP FOREIGN KEY, which uses the new name, would fail.
    """
    clauses = read_clauses(create)
    parts: list[str] = []
    for clause in clauses:
        if clause.name is None or clause.kind not in ("foreign-key", "check") or _is_made_up(clause):
            continue
        kind = "FOREIGN KEY" if clause.kind == "foreign-key" else "CONSTRAINT"
        parts.append(f"DROP {kind} {quote_name(_name_before(clause.name))}")
        if clause.kind == "foreign-key":
            # The index that the server made for the foreign key would take its new name, unless it is made anew.
            for key in clauses:
                if key.kind == "key" and key.name and key_kind(key) == "other" and _columns(key) == _columns(clause):
                    parts += [f"DROP INDEX {quote_name(key.name)}", f"ADD {create.sql[slice(*key.span)]}"]
        parts.append(f"ADD {create.sql[slice(*clause.span)]}")
    return parts


def _columns(clause: Clause) -> list[str]:
    members = split_list(clause.body)
    return [member[0].text.lower() for member in members if len(member) == 1]


def _name_before(constraint: str) -> str:
    """The name that this one was made of: a became _a, _a became __a, __a became a."""
    return constraint[1:] if constraint.startswith("_") else "__" + constraint


def _is_made_up(clause: Clause) -> bool:
    """A CHECK that had no name got one from the server, another one on each brand."""
    return clause.kind == "check" and re.search(r"CONSTRAINT_\d+$|_chk_\d+$", clause.name or "") is not None
