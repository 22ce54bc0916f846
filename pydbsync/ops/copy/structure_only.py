"""A copy without rows: databases, sequences and tables, made once."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pydbsync.errors import OperationError
from pydbsync.model import TableName
from pydbsync.ops.copy.definitions import Builder, Inventory
from pydbsync.ops.copy.options import CopiedTable, Existing
from pydbsync.ops.copy.own_tables import OwnTables
from pydbsync.ops.copy.preview import refuse


def make_structure(
    inventory: Inventory,
    *,
    own: OwnTables,
    builder: Builder,
    targets: Callable[[TableName], Sequence[TableName]],
    existing: Existing,
    has_sequences: bool,
) -> list[CopiedTable]:
    """Make all of it; what was made. Raises OperationError that names every table which was refused."""
    reports, refused, made = [], list[str](), set[TableName]()
    for database, sql in inventory.databases.items():
        own.make_database(database, sql)
    for sequence, sql in inventory.sequences.items() if has_sequences else ():
        builder.make_sequence(sequence, sql)
    for table in inventory.tables.values():
        names = tuple(dict.fromkeys(targets(table.name)))
        reports.append(CopiedTable(name=table.name, targets=names, state="done"))
        for name in names:
            if name in made:
                continue
            made.add(name)
            try:
                own.place(table, name, may_drop=existing == "drop", may_keep=existing == "keep", may_empty=False)
            except OperationError as exc:
                refused.append(str(exc))
    refuse(refused)
    return reports
