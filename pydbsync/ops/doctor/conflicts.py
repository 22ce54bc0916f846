"""Whether conflicts can be found and decided in the tables of the target."""

from __future__ import annotations

from collections.abc import Iterator

from pydbsync.apply.catalog import SYSTEM_DATABASES
from pydbsync.model import TableName
from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding, error, ok, warning
from pydbsync.ops.doctor.variables import number, variables
from pydbsync.ops.words import counted, listed
from pydbsync.process.conflict_start import (
    NEEDS_TRANSACTIONS,
    acting_children,
    other_end,
    tables_of,
    unfit_tables,
    unmarkable,
)


def check_numbers(exam: Examination) -> Iterator[Finding]:
    """Two servers that applications write must not give out the same numbers."""
    if exam.settings.two_way is None:
        return
    both = [variables(exam, "source"), variables(exam, "target")]
    steps = {number(each.get("auto_increment_increment")) for each in both}
    offsets = {number(each.get("auto_increment_offset")) % max(1, *steps) for each in both}
    if len(steps) == 1 and len(offsets) == 2:
        return
    rows = exam.source().rows(
        "SELECT table_schema, table_name FROM information_schema.columns WHERE extra LIKE %s"
        " AND table_schema NOT IN %s ORDER BY table_schema, table_name",
        ("%auto_increment%", tuple(sorted(SYSTEM_DATABASES))),
    )
    router = exam.router
    found = [name for row in rows if router.takes(name := TableName(str(row[0]), str(row[1])))]
    if found:
        yield warning(
            "two-way-numbers",
            f"both servers give out the same AUTO_INCREMENT numbers, in {counted(len(found), 'table')}:"
            f" {listed(map(str, found))}: of two rows that are inserted at both ends at a time one is lost, by the"
            " policy of conflicts",
            "SET GLOBAL auto_increment_increment = 2 at both servers, SET GLOBAL auto_increment_offset = 1 at one and"
            " = 2 at the other, in their configurations too; or let only one server be written at a time",
        )


def check_conflicts(exam: Examination) -> Iterator[Finding]:
    """Each table has a key, transactions, and the column that its policy goes by."""
    settings = exam.settings
    if unmarked := unmarkable(exam.target(), exam.source(), settings):
        yield error(
            "two-way-engines",
            f"{counted(len(unmarked), 'table')} without transactions: {listed(unmarked)}: what one direction writes"
            " there the other could not tell from what others write, and no worker starts (two_way)",
            NEEDS_TRANSACTIONS,
        )
    if not settings.detects_conflicts:
        if settings.two_way is not None:
            yield warning(
                "conflicts-off",
                "with two_way and without detect_conflicts a row that both ends change is another one at each end"
                " afterwards",
                "leave detect_conflicts at auto, and set conflicts (docs/conflicts.md)",
            )
        return
    if acting := acting_children(exam.source(), exam.target(), settings):
        yield warning(
            "conflict-cascades",
            f"foreign keys change rows of {listed(acting)}, which stands in no binlog: of a parent that is in conflict"
            " each end may keep other children",
            "ON DELETE RESTRICT and ON UPDATE RESTRICT at both servers, or verify them behind conflicts",
        )
    unfit = list(unfit_tables(exam.target(), settings, tables_of(exam.source())))
    for text in other_end(settings):
        yield error(
            "conflict-policies",
            f"both ends would end with different rows: {text}",
            "the same policies at both ends, and `prefer: source` at one, `target` at the other (docs/conflicts.md)",
        )
    if unfit:
        yield error(
            "conflicts",
            f"conflicts cannot be found or decided in {counted(len(unfit), 'table')}:"
            f" {listed(f'{each.table} ({each.why})' for each in unfit)}: no worker starts",
            "a primary key, InnoDB, or another policy (conflicts.tables); or leave them out (exclude)",
        )
    else:
        yield ok("conflicts", "conflicts can be found and decided in every table of the target that takes part")
