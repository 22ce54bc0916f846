"""What verify would do with a table, for people: how it is read, what is left out, and the statement."""

from __future__ import annotations

from collections.abc import Iterator

from pydbsync.ops.chunks import Chunk
from pydbsync.ops.verify.compare import CompareOptions, row_condition
from pydbsync.ops.verify.matching import TableSides
from pydbsync.plan.routed.masks import without_keys


def explained(sides: TableSides, options: CompareOptions) -> Iterator[str]:
    """Lines on one pair of tables. No row is read."""
    if sides.has_key:
        how = f"in ranges of its key ({', '.join(sides.key_names)}) of about {options.chunk_s:g} s each"
        if sides.is_key_masked:
            how = f"in parts of a million rows of its key ({', '.join(sides.key_names)}), which a route masks"
    else:
        how = "in one pass, as a multiset of rows: there is no key that both sides share"
    yield f"{sides.pair.label}: {how}"
    compared = {column.name for column in sides.columns}
    for where, schemas in (("source", sides.source_schemas), ("target", (sides.target_schema,))):
        names = {column.name for column in sides.columns} | {column.target.name for column in sides.columns}
        others = sorted({column.name for schema in schemas for column in schema.columns} - names)
        if others:
            yield f"    not compared at the {where}: {', '.join(others)}"
    yield f"    compared: {len(compared)} columns"
    for name, side in (("source", sides.source), ("target", sides.target)):
        for sql in side.statements(Chunk(0), row_condition(options, sides)):
            yield f"    {name}: {without_keys(' '.join(sql.split()))}"
