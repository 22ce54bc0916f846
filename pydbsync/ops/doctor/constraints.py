"""What the target's tables refuse or do by rules of their own: unique keys, CHECKs, partitions and foreign keys that
are not those of the source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pydbsync.apply.answered import lenient_text
from pydbsync.apply.connection import Connection
from pydbsync.model import TableName
from pydbsync.ops.doctor.catalogue import (
    ForeignKey,
    Pair,
    TableFacts,
    pairs,
    read_foreign_keys,
    source_databases,
    target_databases,
)
from pydbsync.ops.doctor.examination import Away, Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, warning
from pydbsync.ops.words import counted, listed
from pydbsync.plan.quoting import quote_name, quote_table

_BOTH = "pydbsync verify shows all differences of the structure"
_JSON = re.compile(r"json_valid\(`((?:[^`]|``)*)`\)", re.IGNORECASE)
_BOUNDED = ("RANGE", "RANGE COLUMNS", "LIST", "LIST COLUMNS")
_OPEN = ("MAXVALUE", "DEFAULT")


def _alike(exam: Examination) -> Iterator[tuple[Pair, TableFacts]]:
    """Tables that are there on both sides, as tables."""
    for pair in pairs(exam):
        if pair.target is not None and not pair.target.is_view:
            yield pair, pair.target


def check_unique_keys(exam: Examination) -> Iterator[Finding]:
    """A unique key of the target's own: rows that stand beside each other at the source cannot do so there."""
    for pair, target in _alike(exam):
        source = pair.source
        wanted = [*source.unique_keys.values(), tuple((column.lower(), 0) for column in source.primary_key)]
        mine = {tuple(column.lower() for column in source.row_key), tuple(c.lower() for c in source.primary_key)}
        for name, parts in target.unique_keys.items():
            if tuple(column for column, _ in parts) in mine or any(_follows(parts, each) for each in wanted if each):
                continue
            shown = ", ".join(f"{column}({part})" if part else column for column, part in parts)
            yield error(
                "own-unique-key",
                f"{pair.target_name} has the unique key {name} ({shown}) at the target alone: of rows that the source"
                " has beside each other one would replace the other, or be parked",
                f"ALTER TABLE {quote_table(pair.target_name)} DROP INDEX {quote_name(name)}; or the same key at the"
                " source",
            )


def check_lost_keys(exam: Examination) -> Iterator[Finding]:
    """What the source holds unique, and the target would not, once it is written to."""
    for pair, target in _alike(exam):
        if list(exam.router.targets(pair.source.name)) != [pair.target_name]:
            continue
        found = [*target.unique_keys.values(), tuple((column.lower(), 0) for column in target.primary_key)]
        for name, parts in pair.source.unique_keys.items():
            if parts in found or any(column not in target.columns for column, _ in parts):
                continue
            shown = ", ".join(f"{quote_name(column)}({part})" if part else quote_name(column) for column, part in parts)
            yield warning(
                "lost-unique-key",
                f"{pair.target_name} lacks the unique key {name} of the source: replay is right without it, and the"
                " application would get rows twice after the cut-over",
                f"ALTER TABLE {quote_table(pair.target_name)} ADD UNIQUE {quote_name(name)} ({shown})",
            )


def check_merged(exam: Examination) -> Iterator[Finding]:
    """Several tables of the source whose rows go into one."""
    into: dict[TableName, list[TableName]] = {}
    for pair in pairs(exam):
        into.setdefault(pair.target_name, []).append(pair.source.name)
    merged = {name: sources for name, sources in into.items() if len(sources) > 1}
    for name, sources in list(merged.items())[:1]:
        more = f" (and {counted(len(merged) - 1, 'more table')} likewise)" if len(merged) > 1 else ""
        yield warning(
            "merged-tables",
            f"{name} gets the rows of {listed(sorted(sources))}{more}: where they have equal keys, a row of one"
            " replaces that of another, or is parked",
            "see that their keys cannot be equal, or give each a target of its own (dbname_rewrite, docs/routes.md)",
        )


def _follows(parts: tuple[tuple[str, int], ...], source: tuple[tuple[str, int], ...]) -> bool:
    """Whether rows that differ by the source's key differ by this one too."""
    here = dict(parts)
    return all(column in here and (here[column] == 0 or here[column] >= part > 0) for column, part in source)


def check_checks(exam: Examination) -> Iterator[Finding]:
    """A CHECK of the target's own refuses rows that the source took."""
    databases = target_databases(exam)
    if not databases:
        return
    found = _checks(exam.target(), tuple(databases))
    if not found:
        return
    wanted = _checks(exam.source(), source_databases(exam) or ("",))
    across = exam.source().dialect.is_mariadb != exam.target().dialect.is_mariadb
    for pair, target in _alike(exam):
        at_source = wanted.get(pair.source.name, {})
        clauses = {_plain(clause) for clause in at_source.values()}
        for name, clause in found.get(target.name, {}).items():
            if _plain(clause) in clauses or (across and name.lower() in {each.lower() for each in at_source}):
                continue
            if (json := _JSON.fullmatch(clause.strip())) and _is_json(pair.source, json[1].replace("``", "`"), wanted):
                continue
            yield error(
                "own-check",
                f"{pair.target_name} has the CHECK {name} ({clause[:80]}) at the target alone: rows that it does not"
                " let in would be parked",
                # A CHECK that MariaDB keeps with its column has the column's name, and goes by MODIFY alone.
                f"ALTER TABLE {quote_table(pair.target_name)}"
                + (
                    f" MODIFY {quote_name(name)} {target.columns[name.lower()].column_type} … without its CHECK"
                    if name.lower() in target.columns
                    else f" DROP CONSTRAINT {quote_name(name)}"
                )
                + "; or the same at the source",
            )


def _is_json(source: TableFacts, column: str, checks: dict[TableName, dict[str, str]]) -> bool:
    """MariaDB's JSON is a text with a CHECK."""
    facts = source.columns.get(column.lower())
    own = (_JSON.fullmatch(clause.strip()) for clause in checks.get(source.name, {}).values())
    return facts is not None and (
        facts.kind == "json" or any(each and each[1].lower() == column.lower() for each in own)
    )


def _checks(connection: Connection, databases: tuple[str, ...]) -> dict[TableName, dict[str, str]]:
    if connection.dialect.is_mariadb:
        sql = (
            "SELECT constraint_schema, table_name, constraint_name, check_clause FROM"
            " information_schema.check_constraints WHERE constraint_schema IN %s"
        )
    elif connection.dialect.version >= (8, 0, 16):
        sql = (
            "SELECT t.table_schema, t.table_name, c.constraint_name, c.check_clause"
            " FROM information_schema.check_constraints c JOIN information_schema.table_constraints t"
            " ON t.constraint_schema = c.constraint_schema AND t.constraint_name = c.constraint_name"
            " WHERE t.constraint_type = 'CHECK' AND t.enforced = 'YES' AND t.table_schema IN %s"
        )
    else:
        return {}
    found: dict[TableName, dict[str, str]] = {}
    for database, table, name, clause in connection.rows(sql, (databases,)):
        text = lenient_text(clause)
        found.setdefault(TableName(str(database), str(table)), {})[str(name)] = text
    return found


def _plain(clause: str) -> str:
    return re.sub(r"[\s`()]|_utf8mb4(?=\\?')", "", clause).lower()


class Partitions(NamedTuple):
    """How a table is divided, and the last value of each part."""

    method: str
    expression: str
    values: tuple[str, ...]


def check_partitions(exam: Examination) -> Iterator[Finding]:
    """A table that is divided in another way at the target, without a place for every row."""
    databases = target_databases(exam)
    if not databases:
        return
    found = _partitions(exam.target(), tuple(databases))
    if not found:
        return
    wanted = _partitions(exam.source(), source_databases(exam) or ("",))
    for pair, target in _alike(exam):
        here = found.get(target.name)
        if here is None or here.method not in _BOUNDED or any(_OPEN[0] in v or v == _OPEN[1] for v in here.values):
            continue
        there = wanted.get(pair.source.name)
        if there is not None and there.method == here.method and set(there.values) <= set(here.values):
            continue
        last = here.values[-1] if here.values else "nothing"
        yield error(
            "partitions",
            f"{pair.target_name} is divided by {here.method} ({here.expression}) at the target, the last part with"
            f" {last}, and {'otherwise' if there else 'not'} at the source: rows beyond would be parked",
            f"ALTER TABLE {quote_table(pair.target_name)} ADD PARTITION (PARTITION rest VALUES"
            f" {'LESS THAN (MAXVALUE)' if 'RANGE' in here.method else 'IN (…)'}); or the partitions of the source",
        )


def _partitions(connection: Connection, databases: tuple[str, ...]) -> dict[TableName, Partitions]:
    found: dict[TableName, Partitions] = {}
    for database, table, method, expression, value in connection.rows(
        "SELECT table_schema, table_name, partition_method, partition_expression, partition_description"
        " FROM information_schema.partitions WHERE partition_name IS NOT NULL AND table_schema IN %s"
        " ORDER BY table_schema, table_name, partition_ordinal_position",
        (databases,),
    ):
        name = TableName(str(database), str(table))
        before = found.get(name)
        shown = lenient_text(value or "")
        values = (*before.values, shown) if before else (shown,)
        found[name] = Partitions(str(method or "").upper(), str(expression or ""), values)
    return found


def check_cascades(exam: Examination) -> Iterator[Finding]:
    """Foreign keys that change rows by themselves: at both ends alike, or the ends part."""
    keys = read_foreign_keys(exam.target(), target_databases(exam))
    acting = [key for key in keys if key.acts]
    mode = exam.settings.referential_actions
    shown = listed(f"{key.child} ({key.name}) to {key.parent}" for key in acting)
    try:
        dialect = exam.source().dialect
    except Away:
        if acting and mode == "auto" and exam.settings.source_server == "auto":
            yield warning(
                "cascades",
                f"foreign keys of the target change rows by themselves ({shown}), and it is not known whether the"
                " source writes those rows to its binlog: the worker stops before the first change that would reach"
                " a child",
                "source_server: 'mysql 8.4' (what the source is), or source_db_info, or referential_actions: on | off",
            )
        return
    writes = not dialect.is_mariadb and dialect.version >= (9, 6)
    if acting and mode == "off" and not writes:
        yield error(
            "cascades",
            f"the source ({dialect.brand} {exam.source().version}) does not write to its binlog what foreign keys"
            f" change, and referential_actions is off: {shown} would keep rows that the source has deleted or changed",
            "referential_actions: auto",
        )
        return
    if mode == "on" or not writes:
        yield from _unlike_actions(exam, keys)
    if acting:
        how = "the target cascades itself, as referential_actions says" if mode == "on" else "are followed"
        yield ok("cascades", f"{how}: {shown}" if mode == "on" else f"foreign keys that change rows {how}: {shown}")


def _unlike_actions(exam: Examination, keys: list[ForeignKey]) -> Iterator[Finding]:
    """What a foreign key changes is not in the stream: the target's must do the same."""
    wanted = {(key.child, key.parent): key for key in _source_keys(exam)}
    found = {(key.child, key.parent): key for key in keys}
    hidden = exam.source().dialect.is_mariadb and any(
        exam.grants("source").lacks(("REFERENCES",), name) for name in source_databases(exam)
    )
    present = {str(target.name).lower() for _, target in _alike(exam)}
    for ends, key in {**wanted, **found}.items():
        here, there = found.get(ends), wanted.get(ends)
        if not (here and here.acts) and not (there and there.acts):
            continue
        if here and there:
            if (here.on_delete, here.on_update) != (there.on_delete, there.on_update):
                yield error(
                    "cascades",
                    f"{here.child} ({here.name}) acts {_rules(here)} at the target, and {_rules(there)} at the source",
                    f"make the foreign key {here.name} as the source's; {_BOTH}",
                )
        elif there and str(there.child).lower() in present and str(there.parent).lower() in present:
            yield error(
                "cascades",
                f"the foreign key {key.name} of {key.child} acts {_rules(key)} at the source, which does not write to"
                " its binlog what it changes, and the target has no such key: it keeps rows that the source has"
                " deleted or changed",
                f"ALTER TABLE {quote_table(key.child)} ADD FOREIGN KEY (…) REFERENCES {quote_table(key.parent)} (…)"
                f" {_rules(key)} as at the source; {_BOTH}",
            )
        elif here and not hidden and str(here.child).lower() in present:
            yield error(
                "cascades",
                f"the foreign key {key.name} of {key.child} acts {_rules(key)} at the target alone: it deletes or"
                " changes rows that the source keeps",
                f"ALTER TABLE {quote_table(key.child)} DROP FOREIGN KEY {quote_name(key.name)}",
            )


def _rules(key: ForeignKey) -> str:
    return f"ON DELETE {key.on_delete} ON UPDATE {key.on_update}"


def _source_keys(exam: Examination) -> list[ForeignKey]:
    """With the names of the target."""
    moved = []
    for key in read_foreign_keys(exam.source(), source_databases(exam)):
        for child in exam.router.targets(key.child):
            moved.append(key._replace(child=child, parent=exam.router.rename_table(key.parent)))
    return moved
