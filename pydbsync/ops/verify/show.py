"""A report as text for people: a line a table, and rows that differ side by side."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from pydbsync.ops.verify.report import RowDifference, TableReport, VerifyReport

_STYLES = {"equal": "green", "different": "bold red", "unknown": "yellow", "skipped": "dim", "unfinished": "yellow"}
_NONE = "NULL"


def show_report(report: VerifyReport, console: Console, *, limit: int) -> None:
    """Print it; at most `limit` rows that differ of each table."""
    for table in report.tables:
        console.print(_headline(table))
        for text in (*table.structure, *table.notes, *_remarks(table)):
            console.print(Text(f"    {text}"))
        for difference in table.differences[:limit]:
            console.print(_side_by_side(difference, table))
        hidden = table.different - min(limit, len(table.differences))
        if hidden > 0:
            console.print(Text(f"    … and {hidden} more; a report file (--report) lists them"))
    console.print(summary(report))
    if report.counters:
        console.print(Text("At the target run before the switch, or `python -m pydbsync counters --apply`:"))
    for statement in report.counters:
        console.print(Text(f"    {statement};"), soft_wrap=True)


def summary(report: VerifyReport) -> Text:
    """One sentence about the whole."""
    counts = {status: sum(table.status == status for table in report.tables) for status in _STYLES}
    rows = sum(table.source_rows for table in report.tables)
    different = sum(table.different for table in report.tables)
    parts = [f"{count} {status}" for status, count in counts.items() if count]
    number = f"{len(report.tables)} table{'' if len(report.tables) == 1 else 's'}"
    text = f"{number}: {', '.join(parts)}; {rows:,} rows compared, {different:,} differ"
    if report.place_note:
        text += f"\nDifferences are unproven: {report.place_note}"
    if report.not_compared:
        text += f"\nNot compared: {', '.join(report.not_compared)}"
    worst = next((status for status in ("different", "unknown", "unfinished") if counts[status]), "equal")
    return Text(text, style=_STYLES[worst])


def title(table: TableReport) -> str:
    """`shop.orders`, or `shop.orders -> copy.orders`."""
    names = ", ".join(map(str, table.sources))
    return names if names == str(table.target) else f"{names or 'nothing'} -> {table.target}"


def _headline(table: TableReport) -> Text:
    text = Text.assemble((f"{table.status:<10}", _STYLES[table.status]), (title(table), "bold"))
    if table.chunks:
        rate = f", {table.source_rows / table.elapsed_s:,.0f} rows/s" if table.elapsed_s else ""
        text.append(f"  {table.source_rows:,} rows{rate}")
    if table.different:
        text.append(f", {'at least ' if table.is_cut else ''}{table.different:,} differ")
    return text


def _remarks(table: TableReport) -> Iterator[str]:
    if table.error:
        yield f"could not be compared: {table.error}"
    if table.unproven:
        yield (
            f"{table.unproven:,} of the differences are unproven: the target is not known to have passed the source's"
            " place, so the change may be on its way"
        )
    if table.in_flux:
        yield f"{table.in_flux:,} rows changed whenever they were looked at"
    if table.unreadable:
        yield f"{table.unreadable:,} rows could not be compared, since a server does not give them as they are"
    if table.unknown_extra:
        yield f"{table.unknown_extra:,} rows are at the target only; other sources write to it, so they may be theirs"
    if table.parked:
        yield f"{table.parked:,} changes of the table are parked (python -m pydbsync parked list)"
    if table.is_cut:
        yield "the comparison ended at the limit of differences (--max-differences)"


def _side_by_side(difference: RowDifference, table: TableReport) -> RenderableType:
    source, target = difference.source, difference.target
    counts = (difference.source_count, difference.target_count)
    number = f", {counts[0]} times at the source, {counts[1]} at the target" if not table.key else ""
    doubt = "" if difference.is_proven else ", unproven"
    head = Text(f"    {_WORDS[difference.kind]}{number}{doubt}: {_key_text(difference, table)}", style="bold")
    grid = Table(show_header=True, header_style="dim", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for name in ("", "column", "source", "target"):
        grid.add_column(name, overflow="fold")
    for index, column in enumerate(table.columns):
        left = source[index] if source is not None else ""
        right = target[index] if target is not None else ""
        if difference.kind == "changed" and left == right:
            continue
        style = "red" if source is not None and target is not None and left != right else ""
        shown = [Text(_NONE if value is None else value, style=style) for value in (left, right)]
        grid.add_row("     ", Text(column), *shown)
    return Group(head, grid)


_WORDS = {
    "changed": "row differs",
    "missing": "row is missing at the target",
    "extra": "row is at the target only",
    "collision": "several source tables have this key",
}


def _key_text(difference: RowDifference, table: TableReport) -> str:
    values = difference.source if difference.source is not None else difference.target
    if values is None:
        return ""
    names = table.key or table.columns[:3]
    by_name = dict(zip(table.columns, values, strict=True))
    return ", ".join(f"{name} = {by_name.get(name) if by_name.get(name) is not None else _NONE}" for name in names)
