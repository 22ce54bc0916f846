"""Maxwell's filter: which tables it passes, and whether these are the ones that are replayed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from pydbsync.engine.echoes import MARK_TABLES
from pydbsync.model import TableName
from pydbsync.ops.doctor.catalogue import source_tables
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding, error, warning
from pydbsync.ops.words import counted, listed

_OLD_FILTER = re.compile(r"(?:include|exclude|blacklist)_(?:dbs|tables|column_values)")


def check_filter(exam: Examination) -> Iterator[Finding]:
    """Maxwell's filter leaves tables out that take part here."""
    given = exam.maxwell
    if given is None:
        return
    if old := sorted(name for name in given if _OLD_FILTER.fullmatch(name) and given[name]):
        yield warning(
            "maxwell-filter",
            f"Maxwell's config.properties has filters of its former kind ({listed(old)}): which tables they leave out"
            " is not looked at",
            f"write {old[0]} as filter=exclude: …, include: …, and restart Maxwell",
        )
    if not given["filter"]:
        return
    rules = read_filter(given["filter"])
    absent = sorted(name for name in source_tables(exam) if not passes(rules, name))
    if absent:
        yield error(
            "maxwell-filter",
            f"Maxwell's filter leaves out {counted(len(absent), 'table')} that take part: {listed(absent)}",
            f"take the rule out of filter={given['filter']!r} in config.properties and restart Maxwell, or the"
            f" tables into"
            " exclude",
        )
    database, _, table = exam.settings.heartbeat_table.partition(".")
    if not passes(rules, TableName(database, table)):
        yield warning("maxwell-filter", "Maxwell's filter leaves out the heartbeat: a loss cannot be proven",
                      f"add include: {database}.* to filter in config.properties")  # fmt: skip
    schema = exam.settings.source_state_schema
    if schema and any(not passes(rules, TableName(schema, table)) for table in MARK_TABLES):
        yield error(
            "maxwell-filter",
            "Maxwell's filter leaves out the marks of the other direction: what it has written could not be told"
            " (two_way)",
            f"add {', '.join(f'include: {schema}.{table}' for table in MARK_TABLES)} to filter in config.properties,"
            " and restart Maxwell",
        )
    if any(not passes(rules, TableName(name.database, f"_{name.table}_gho")) and passes(rules, name)
           for name in source_tables(exam)):  # fmt: skip
        yield warning("maxwell-filter", "Maxwell's filter leaves out ghost tables: an online schema change (gh-ost)"
                                        " arrives"
                      " as a table that has changed without a statement",
                      "take the rule for _*_gho out of filter in config.properties")  # fmt: skip


class FilterRule(NamedTuple):
    """One rule of Maxwell's filter."""

    includes: bool
    database: str
    table: str


def read_filter(text: str) -> list[FilterRule]:
    """`exclude: *.*, include: shop.orders`; rules about values of columns are passed over. A name is plain, `*`, or a
    regular expression between slashes."""
    part = r"(?:/(?:[^/\\]|\\.)*/|`[^`]*`|\"[^\"]*\"|[^.,\s]+)"
    found = []
    for action, database, table, column in re.findall(
        rf"(include|exclude|blacklist)\s*:\s*({part})\s*\.\s*({part})(\s*\.\s*{part}\s*=)?", text, re.IGNORECASE
    ):
        if not column:
            found.append(FilterRule(action.lower() == "include", database, table))
    return found


def passes(rules: list[FilterRule], name: TableName) -> bool:
    """The last rule that names the table decides; without any it is included."""
    taken = True
    for rule in rules:
        if _names(rule.database, name.database) and _names(rule.table, name.table):
            taken = rule.includes
    return taken


def _names(pattern: str, name: str) -> bool:
    if pattern.startswith("/"):
        return re.search(pattern[1:-1], name) is not None
    return pattern == "*" or pattern.strip("`\"'") == name
