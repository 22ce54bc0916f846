"""Rows broken at the target behind everybody's back, and whether a report of verify names exactly these."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypeAlias

from lab.rehearsal.tables import DATABASE, SPARED, SPARED_EACH, TABLES, Table, insert_of
from tests.servers import Endpoint

Kind: TypeAlias = Literal["changed", "missing", "extra"]
KINDS: tuple[Kind, ...] = ("changed", "missing", "extra")
BROKEN_KEYED_TABLES = 7
FIRST_EXTRA = 5_000_000
"""Numbers from here on belong to no row of the source."""


class BrokenRow(NamedTuple):
    """One difference. In all tables the column `note` tells the rows apart."""

    table: str
    kind: Kind
    note: str


Damage: TypeAlias = Counter[BrokenRow]


def break_rows(target: Endpoint, *, rows: int, chosen: random.Random) -> Damage:
    """Change, remove and add rows at the target, in tables with and without a key. Some tables stay whole."""
    damage: Damage = Counter()
    keyed = chosen.sample([table for table in TABLES if table.key], BROKEN_KEYED_TABLES)
    with target.connect(database=DATABASE) as connection, connection.cursor() as cursor:
        for place, table in enumerate(keyed):
            spared = list(range(SPARED, table.rows_of(rows), SPARED_EACH))
            for number in chosen.sample(spared, chosen.randint(1, min(3, len(spared)))):
                damage += _break_row(cursor, table, KINDS[place % len(KINDS)], number, mark=f"broken {number}")
        for table in (table for table in TABLES if not table.key):
            numbers = chosen.sample(range(SPARED, table.rows_of(rows), SPARED_EACH), 2)
            # In this order: rows here are told apart by their values alone, so what is broken could be broken again.
            damage += _break_row(cursor, table, "missing", numbers[0], mark="")
            damage += _break_row(cursor, table, "changed", numbers[1], mark=f"broken {numbers[1]}")
            damage += _break_row(cursor, table, "extra", numbers[0], mark=f"broken {numbers[0]}")
    return damage


def _break_row(cursor: Any, table: Table, kind: Kind, number: int, *, mark: str) -> Damage:
    if kind == "extra":
        cursor.execute(insert_of(table, FIRST_EXTRA + number, FIRST_EXTRA + number, note=mark))
        return Counter([BrokenRow(table.name, kind, mark)])
    where = table.row_number(number)
    cursor.execute(f"SELECT note FROM {table.name} WHERE {where} LIMIT 1")
    (note,) = cursor.fetchone()
    if kind == "missing":
        cursor.execute(f"DELETE FROM {table.name} WHERE {where} AND note = '{note}' LIMIT 1")
        return Counter([BrokenRow(table.name, kind, note)])
    cursor.execute(f"UPDATE {table.name} SET note = '{mark}' WHERE {where} AND note = '{note}' LIMIT 1")
    if table.key:
        return Counter([BrokenRow(table.name, kind, note)])
    return Counter([BrokenRow(table.name, "missing", note), BrokenRow(table.name, "extra", mark)])


def named_in(report: Path) -> Damage:
    """The rows that the report names."""
    named: Damage = Counter()
    for table in json.loads(report.read_text(encoding="utf-8"))["tables"]:
        for text in table["structure"]:
            named[BrokenRow(table["target"][1], "changed", text)] += 1
        for row in table["differences"]:
            values = row["target"] if row["kind"] == "extra" else row["source"]
            note = values[table["columns"].index("note")]
            count = 1 if row["kind"] == "changed" else abs(row["source_count"] - row["target_count"])
            named[BrokenRow(table["target"][1], row["kind"], note)] += count
    return named


def describe(damage: Damage) -> str:
    """`codes 2 missing; orders 1 changed, …`."""
    counts: dict[str, Counter[str]] = {}
    for row, count in damage.items():
        counts.setdefault(row.table, Counter())[row.kind] += count
    parts = (
        f"{table} {', '.join(f'{count} {kind}' for kind, count in sorted(kinds.items()))}"
        for table, kinds in sorted(counts.items())
    )
    return "; ".join(parts) or "nothing"
