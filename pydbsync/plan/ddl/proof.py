"""What must hold at the target for a statement that it refuses to count as done, clause by clause.

A refusal tells of one clause only ("there is no such key"). The others are done if saying them again, on an empty copy
of the table, changes nothing there: the server itself compares types, defaults, keys and places.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple, TypeAlias

from pydbsync.model import TableName
from pydbsync.plan.ddl.clauses import Clause, key_kind, outer, read_clauses, split_list
from pydbsync.plan.ddl.lexer import Brand, Edit, Span, Token, apply_edits, cut_members, shorten
from pydbsync.plan.ddl.shown_table import ShownTable
from pydbsync.plan.ddl.statement import Statement, parse_statement
from pydbsync.plan.quoting import quote_name, quote_table

MemberKind: TypeAlias = Literal["column", "primary key", "key", "constraint", "key or constraint", "partition"]


class Named(NamedTuple):
    """A part of a table by its name."""

    thing: MemberKind
    name: str
    """In lower case; empty for the primary key, for all partitions, and where the server thinks of a name."""

    @property
    def is_column(self) -> bool:
        return self.thing == "column"

    def is_in(self, table: ShownTable) -> bool:
        if self.is_column:
            return self.name in table.columns
        if self.thing == "primary key":
            return bool(table.primary_key)
        if self.thing == "partition":
            return self.name in table.partition_names if self.name else bool(table.partitions)
        is_key = self.name in table.keys and self.thing in ("key", "key or constraint")
        return is_key or (self.name in table.constraints and self.thing in ("constraint", "key or constraint"))

    def is_among(self, made: Collection[Named]) -> bool:
        """Whether this name stands for something new there."""
        if self.thing in ("column", "partition"):
            return False
        return any(each.name == self.name and each.thing in self.thing for each in made)


class Demand(NamedTuple):
    """What must hold for one clause to be done."""

    text: str
    """The clause, for people."""
    gone: tuple[Named, ...] = ()
    """What the table must not have any more."""
    restated: str = ""
    """A clause of ALTER TABLE which changes nothing where the clause is done."""
    makes: tuple[Named, ...] = ()
    """What is there after it. `restated` needs columns to be there before, and everything else not to be there."""
    described: str = ""
    """A column of which only the message's description tells what it is."""
    unproven: str = ""
    """Why the structure of a table cannot tell."""
    is_rename: bool = False
    """It gives the table another name."""
    is_traceless: bool = False
    """It leaves nothing in the structure and may run twice."""

    @property
    def names_itself(self) -> bool:
        """Whether the server chooses names for what the clause makes."""
        return any(not each.name or each.thing == "column" for each in self.makes)

    @property
    def makes_constraint(self) -> bool:
        return any(each.thing == "constraint" for each in self.makes)


class AlterPart(NamedTuple):
    """One member of an ALTER TABLE's list, which can be left out, and what must hold for it."""

    span: Span
    demands: tuple[Demand, ...]


class Demands(NamedTuple):
    """A statement on one table as what must hold after it."""

    statement: Statement
    parts: tuple[AlterPart, ...]

    def without(self, done: Sequence[bool], *, table: TableName | None = None) -> str:
        """The statement without the parts that are done; at least one is not. Of this table, where it has another name
        by now."""
        edits = cut_members([part.span for part in self.parts], [not each for each in done])
        if table is not None:
            edits = [Edit(self.statement.items[0].subject.span, quote_table(table)), *edits]
        return apply_edits(self.statement.sql, edits)

    def made_columns(self) -> set[str]:
        """Columns that the statement makes, or says what they are, in lower case."""
        demands = [demand for part in self.parts for demand in part.demands]
        made = {each.name for demand in demands for each in demand.makes if each.is_column}
        return made | {demand.described.lower() for demand in demands if demand.described}

    def doubtful_renaming(self, there: Collection[str], *, is_described: bool) -> str:
        """A column that has its new name among those `there`, and need not be the one that had the old name: another
        one is gone by the same statement, or nobody tells in which order they are. Empty where there is none."""
        demands = [demand for part in self.parts for demand in part.demands]
        lost = [demand for demand in demands if any(each.is_column and each.name not in there for each in demand.gone)]
        new = [demand for demand in demands if any(each.is_column and each.name in there for each in demand.makes)]
        renamed = [demand for demand in lost if demand in new]
        is_alone = len(lost) == len(renamed) and (is_described or len(new) == 1)
        return "" if not renamed or is_alone else renamed[0].text

    def remade_columns(self) -> set[str]:
        """Columns that the statement takes away and makes under the same name."""
        demands = [demand for part in self.parts for demand in part.demands]
        return {each.name for demand in demands for each in demand.gone if each.is_column} & self.made_columns()


def read_demands(sql: str, *, brand: Brand) -> Demands:
    """What ALTER TABLE, CREATE INDEX or DROP INDEX leads to. Raises PlanError."""
    statement = parse_statement(sql, brand=brand)
    if statement.version_comments:
        statement = parse_statement(_opened(statement, brand), brand=brand)
    if statement.action in ("create-index", "drop-index"):
        return Demands(statement, (AlterPart(Span(0, len(statement.sql)), (_index(statement),)),))
    if partitioning := _partition_demand(statement):
        return Demands(statement, (AlterPart(Span(0, len(statement.sql)), (partitioning,)),))
    clauses = read_clauses(statement)
    parts = []
    for tokens in statement.clauses:
        span = Span(tokens[0].start, tokens[-1].end)
        own = [each for each in clauses if span.start <= each.span.start and each.span.end <= span.end]
        parts.append(AlterPart(span, tuple(_demand(statement.sql, clause) for clause in own)))
    return Demands(statement, tuple(parts))


def database_defaults(sql: str, *, brand: Brand) -> tuple[str | None, str | None]:
    """Character set and collation that CREATE DATABASE names. Raises PlanError."""
    statement = parse_statement(sql, brand=brand)
    options = [token for token in statement.tokens if token.start >= statement.options_start and token.text != "="]
    values: dict[str, str] = {}
    for token, following in pairwise(options):
        if token.upper in ("SET", "CHARSET", "COLLATE"):
            values["COLLATE" if token.upper == "COLLATE" else "SET"] = following.text.lower()
    charset = values.get("SET")
    return "utf8mb3" if charset == "utf8" else charset, values.get("COLLATE")


def table_like(sql: str, copy: TableName, *, brand: Brand, collation: str) -> str:
    """CREATE TABLE under another name, with the collation that its database gives it. Raises PlanError."""
    statement = parse_statement(sql, brand=brand)
    edits = [Edit(statement.items[0].span, quote_table(copy))]
    options = [token for token in statement.tokens if token.start >= statement.options_start]
    is_like = any(ref.role == "like" for ref in statement.names)
    if not is_like and {"CHARSET", "COLLATE", "CHARACTER"}.isdisjoint(token.upper for token in options):
        end = max(token.end for token in statement.tokens if token.end <= statement.options_start)
        edits.append(Edit(Span(end, end), f" DEFAULT COLLATE={collation}"))
    return apply_edits(statement.sql, edits)


def _opened(statement: Statement, brand: Brand) -> str:
    """The text without version comments: what the server reads of them stands free."""
    edits = []
    for comment in statement.version_comments:
        if comment.is_executed_by(brand):
            edits += [
                Edit(Span(comment.start, comment.body_start), " "),
                Edit(Span(comment.body_end, comment.end), " "),
            ]
        else:
            edits.append(Edit(Span(comment.start, comment.end), " "))
    return apply_edits(statement.sql, edits)


_NO_EFFECT = frozenset({"FORCE", "ENABLE", "DISABLE", "ALGORITHM", "LOCK", "WITH", "WITHOUT"})
_DROPPED: dict[str, MemberKind] = {
    "DROP COLUMN": "column", "DROP PRIMARY": "primary key", "DROP KEY": "key", "DROP INDEX": "key",
    "DROP FOREIGN": "constraint", "DROP CHECK": "constraint", "DROP CONSTRAINT": "key or constraint",
}  # fmt: skip


def _demand(sql: str, clause: Clause) -> Demand:
    text = shorten(sql[slice(*clause.span)])
    if clause.kind == "column" and clause.name is not None:
        return _column(sql, clause, clause.name, text)
    if clause.kind == "key":
        thing: MemberKind = "primary key" if key_kind(clause) == "primary" else "key"
        name = "" if thing == "primary key" else (clause.name or "").lower()
        return Demand(text, restated=_added(sql, clause), makes=(Named(thing, name),))
    if clause.kind in ("check", "foreign-key"):
        return Demand(text, restated=_added(sql, clause), makes=(Named("constraint", (clause.name or "").lower()),))
    if thing_gone := _DROPPED.get(clause.verb):
        if clause.name is None and thing_gone != "primary key":
            return Demand(text, unproven="it is not known here what it takes away")
        return Demand(text, gone=(Named(thing_gone, (clause.name or "").lower()),))
    if clause.verb == "RENAME COLUMN" and clause.replaces and clause.name:
        same = clause.replaces.lower() == clause.name.lower()
        return Demand(text, gone=() if same else (Named("column", clause.replaces.lower()),), described=clause.name)
    if clause.verb == "RENAME":
        if len(clause.tokens) > 1 and clause.tokens[1].upper in ("INDEX", "KEY"):
            return Demand(text, unproven="the message does not tell which key that is")
        return Demand(text, is_rename=True)
    if clause.verb in _NO_EFFECT:
        return Demand(text)
    if clause.kind == "option" and any(token.upper == "AUTO_INCREMENT" for token in clause.tokens):
        return Demand(text, is_traceless=True)
    if clause.kind == "option" or clause.verb in ("ALTER", "CONVERT", "PARTITION"):
        return Demand(text, restated=sql[slice(*clause.span)])
    if clause.verb == "REMOVE":
        return Demand(text, gone=(Named("partition", ""),))
    return Demand(text, unproven="the structure of a table does not tell whether that was done")


def _column(sql: str, clause: Clause, name: str, text: str) -> Demand:
    body = sql[clause.body[0].start : clause.body[-1].end] if clause.body else ""
    words = [token.upper for token in outer(clause.body)]
    is_primary = any(
        word == "PRIMARY" or (word == "KEY" and words[index - 1 : index] not in (["UNIQUE"], ["PRIMARY"]))
        for index, word in enumerate(words)
    )
    gone: tuple[Named, ...] = ()
    if clause.verb == "CHANGE" and clause.replaces and clause.replaces.lower() != name.lower():
        gone = (Named("column", clause.replaces.lower()),)
    made = (Named("column", name.lower()),)
    return Demand(
        text,
        gone=gone,
        restated=f"MODIFY COLUMN {quote_name(name)} {body}",
        makes=(*made, Named("primary key", "")) if is_primary else made,
    )


def _added(sql: str, clause: Clause) -> str:
    """The clause as one of ALTER TABLE, without MariaDB's IF NOT EXISTS."""
    start, end = clause.span
    text = sql[start:end]
    if clause.guard:
        first, last = clause.guard[0].start - start, clause.guard[-1].end - start
        text = text[:first] + text[last:]
    return text if clause.tokens[0].upper == "ADD" else f"ADD {text}"


def _index(statement: Statement) -> Demand:
    """CREATE INDEX and DROP INDEX."""
    tokens, text = statement.tokens, shorten(statement.sql)
    at = next(index for index, token in enumerate(tokens) if token.upper == "INDEX") + 1
    while tokens[at].upper in ("IF", "NOT", "EXISTS"):
        at += 1
    name = tokens[at].text.lower()
    if statement.action == "drop-index":
        is_primary = name == "primary"
        return Demand(text, gone=(Named("primary key" if is_primary else "key", "" if is_primary else name),))
    subject = statement.items[0].span
    words = [token.upper for token in tokens[:at]]
    kind = next((word for word in ("UNIQUE", "FULLTEXT", "SPATIAL", "VECTOR") if word in words), "")
    on = next(token for token in tokens[at:] if token.upper == "ON" and token.end <= subject.start)
    using = statement.sql[tokens[at].end : on.start].strip()
    rest = statement.sql[subject.end : tokens[-1].end]
    restated = f"ADD {kind} INDEX {quote_name(tokens[at].text)} {using} {rest}"
    return Demand(text, restated=restated, makes=(Named("key", name),))


_ROWS_MOVE = "rows go with the partition, and the structure does not tell whether they have gone"
_KEEPS_ROWS = frozenset({"ANALYZE", "CHECK", "OPTIMIZE", "REBUILD", "REPAIR"})


def _partition_demand(statement: Statement) -> Demand | None:
    """The one clause of an ALTER TABLE that changes single partitions; None for every other statement."""
    if statement.action != "alter-table" or not statement.clauses:
        return None
    tokens = statement.clauses[0]
    words = [token.upper for token in tokens[:2]]
    if len(words) < 2 or "PARTITION" not in words[1:] or words[0] == "REMOVE":
        return Demand(shorten(statement.sql), unproven=_ROWS_MOVE) if words == ["CONVERT", "TABLE"] else None
    text = shorten(statement.sql)
    if words[0] in _KEEPS_ROWS:
        return Demand(text)
    every = [token for token in statement.tokens if token.start >= tokens[0].start]
    into = next((index for index, token in enumerate(every) if token.upper == "INTO"), None)
    if words[0] == "REORGANIZE" and into is not None:
        made, old = _partition_names(every[into:]), [token for token in every[2:into] if token.is_name]
    elif words[0] == "ADD":
        made, old = _partition_names(every[2:]), []
    else:
        return Demand(text, unproven=_ROWS_MOVE)
    listed = next((token for token in every[into or 0 :] if token.is_mark("(")), None)
    if not made or listed is None:
        return Demand(text, unproven="it names no partitions")
    names = ", ".join(quote_name(token.text) for token in made)
    gone = {token.text.lower() for token in old} - {token.text.lower() for token in made}
    return Demand(
        text,
        gone=tuple(Named("partition", name) for name in sorted(gone)),
        restated=f"REORGANIZE PARTITION {names} INTO {statement.sql[listed.start : every[-1].end]}",
    )


def _partition_names(tokens: Sequence[Token]) -> list[Token]:
    return [member[1] for member in split_list(tuple(tokens)) if len(member) > 1 and member[0].upper == "PARTITION"]
