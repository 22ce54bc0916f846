"""Whether a table of the target has rows that the source has lost without a word: rows of the target are asked for at
the source, the first and the last ones, or all where the source's table was made anew."""

from __future__ import annotations

import time
from collections.abc import Collection
from typing import Final, NamedTuple

import msgspec

from pydbsync.model import TableName
from pydbsync.ops.chunks import Chunk
from pydbsync.ops.ddl_watch.marks import Marks
from pydbsync.ops.servers import Server
from pydbsync.ops.verify.matching import TableSides
from pydbsync.ops.verify.sides import Request, Side, SideTable
from pydbsync.plan.quoting import quote_table

_AT_EACH_END: Final = 5
_SHOWN: Final = 3
_BLOCK: Final = 500
_WALK_S: Final = 5.0
"""So long a look goes through the keys of one table; the next one goes on from there."""


class Suspects(NamedTuple):
    """Rows of the target that the source has not; none of a table without a key."""

    requests: frozenset[Request]
    names: tuple[str, ...]

    @property
    def text(self) -> str:
        """For people."""
        if not self.requests:
            return "the source's is empty"
        shown = [", ".join(request) for request in sorted(self.requests)[:_SHOWN]]
        return f"such as ({', '.join(self.names)}) = {' and '.join(f'({each})' for each in shown)}"


class Remade(msgspec.Struct):
    """A table that the source has made anew since it was seen, by TRUNCATE or by a rebuild.

    What was inserted before may still be on its way, so that all rows are asked for once the stream has passed it.
    """

    numbers: dict[TableName, str]
    """The new ones of the source's tables."""
    marks: Marks | None = None
    """The source behind the look that saw it; None until that look has ended."""
    is_passed: bool = False
    is_over: bool = False
    upto: Request | None = None
    """The last key that was asked for."""


def rows_left(sides: TableSides, former: Suspects | None, remade: Remade | None) -> Suspects | None:
    """Rows of the target's table that the source has not.

    Those of an earlier look are asked for again. Where the source's table has not been made anew since it was seen, all
    that were asked for must be lacking: one alone that does is what verify is for.
    """
    if not sides.has_key:
        source = any(_has_rows(sides.source.server, part[0]) for part in sides.source.tables)
        is_left = not source and _has_rows(sides.target.server, sides.target.tables[0][0])
        return Suspects(frozenset(), ()) if is_left else None
    if former is not None and former.requests:
        lacking = _lacking(sides, sides.target.holding(former.requests, "TRUE"))
    else:
        ends = _ends(sides.target)
        lacking = _lacking(sides, ends)
        if lacking != ends and remade is None:
            lacking = frozenset()
    if not lacking and remade is not None and remade.is_passed:
        lacking = _walk(sides, remade)
    return Suspects(lacking, sides.key_names) if lacking else None


def _walk(sides: TableSides, remade: Remade) -> frozenset[Request]:
    """Go on through the target's keys to the first ones that the source has not, or to the end."""
    until = time.monotonic() + _WALK_S
    while not remade.is_over and time.monotonic() < until:
        upper = sides.target.boundary(remade.upto, _BLOCK)
        lacking = _lacking(sides, sides.target.keys(Chunk(0, remade.upto, upper)))
        remade.upto, remade.is_over = upper, upper is None
        if lacking:
            return lacking
    return frozenset()


def _lacking(sides: TableSides, asked: Collection[Request]) -> frozenset[Request]:
    return frozenset(asked) - sides.source.holding(asked, "TRUE")


def _ends(side: Side) -> frozenset[Request]:
    ((table, _, key), *_) = side.tables
    if key is None:
        return frozenset()
    name = quote_table(table.schema.name)
    found: set[Request] = set()
    for order in ("ASC", "DESC"):
        by = ", ".join(f"{name}.{column.name} {order}" for column in key.columns)
        rows = side.server.exact_rows(f"SELECT {', '.join(key.printed)} FROM {name} ORDER BY {by} LIMIT {_AT_EACH_END}")
        found |= {key.values(row) for row in rows}
    return frozenset(found)


def _has_rows(server: Server, table: SideTable) -> bool:
    where = f" WHERE {table.condition}" if table.condition else ""
    return bool(server.rows(f"SELECT 1 FROM {quote_table(table.schema.name)}{where} LIMIT 1"))
