"""Whether a table of the target has rows that the source has lost without a word: the rows at its two ends are asked
for at the source."""

from __future__ import annotations

from typing import Final, NamedTuple

from pydbsync.ops.servers import Server
from pydbsync.ops.verify.matching import TableSides
from pydbsync.ops.verify.sides import Request, Side, SideTable
from pydbsync.plan.quoting import quote_table

_AT_EACH_END: Final = 5
_SHOWN: Final = 3


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


def rows_left(sides: TableSides, former: Suspects | None, *, is_new: bool) -> Suspects | None:
    """The rows at both ends of the target's table that the source has not.

    Those of an earlier look are asked for again. Where the source's table has not been made anew since it was seen, all
    that were asked for must be lacking: one alone that does is what verify is for.
    """
    if not sides.has_key:
        source = any(_has_rows(sides.source.server, part[0]) for part in sides.source.tables)
        is_left = not source and _has_rows(sides.target.server, sides.target.tables[0][0])
        return Suspects(frozenset(), ()) if is_left else None
    asked = former.requests if former is not None and former.requests else _ends(sides.target)
    if former is not None and former.requests:
        asked = frozenset(sides.target.holding(asked, "TRUE"))
    lacking = frozenset(asked - sides.source.holding(asked, "TRUE")) if asked else frozenset()
    if not lacking or (former is None and not is_new and lacking != asked):
        return None
    return Suspects(lacking, sides.key_names)


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
