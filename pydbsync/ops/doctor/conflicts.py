"""Whether conflicts can be found and decided in the tables of the target."""

from __future__ import annotations

from collections.abc import Iterator

from pydbsync.ops.doctor.examination import Examination
from pydbsync.ops.doctor.finding import Finding, counted, error, listed, ok, warning
from pydbsync.process.conflict_start import NEEDS_TRANSACTIONS, other_end, tables_of, unfit_tables, unmarkable


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
