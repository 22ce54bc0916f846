"""What of the state schema's history is deleted after some days: never what is parked, nor what recognises a repeat.

- A parked change goes when it was applied or skipped, and nobody has touched it, for so long. Not while tables of its
  stream came by a bootstrap: what was parked of them tells repeats apart then.
- A schema change goes when every stream of its binlog has passed its place, so that it is a duplicate wherever it comes
  again. One without a place, of another binlog, that has not ended, that is parked still, or that tells what several
  sources did to one table, stays: the journal alone knows it.
- What a plan of repair has done goes with the whole plan, which can be undone for so long.
- A conflict goes when it was decided so long ago, unless its change is parked still.
"""

from __future__ import annotations

import time
from typing import NamedTuple

from pydbsync.apply.connection import Connection
from pydbsync.places import parse_position
from pydbsync.plan.quoting import quote_name

_CHUNK = 500
_EVERY_S = 3600.0


class Pruned(NamedTuple):
    """How many rows are gone."""

    parked: int = 0
    schema_changes: int = 0
    repairs: int = 0
    conflicts: int = 0


class Retention:
    """The history of one state schema. Deletes a chunk a transaction."""

    def __init__(self, schema: str) -> None:
        self._schema = quote_name(schema)
        self._next_at = 0.0

    def step(self, connection: Connection, days: int) -> None:
        """One chunk of each, at once where the last one was full, else once an hour; nothing for 0 days."""
        if not days or time.monotonic() < self._next_at:
            return
        if max(self._chunks(connection, days)) < _CHUNK:
            self._next_at = time.monotonic() + _EVERY_S

    def prune(self, connection: Connection, days: int) -> Pruned:
        """All that may go."""
        total = Pruned()
        while any(found := self._chunks(connection, days)):
            total = Pruned(*(former + more for former, more in zip(total, found, strict=True)))
        return total

    def _chunks(self, connection: Connection, days: int) -> Pruned:
        return Pruned(
            self._parked(connection, days), self._schema_changes(connection, days), self._repairs(connection, days),
            self._conflicts(connection, days),
        )  # fmt: skip

    def _parked(self, connection: Connection, days: int) -> int:
        found = connection.rows(
            f"SELECT id FROM {self._schema}.`parked` p WHERE status IN ('applied', 'skipped')"
            " AND parked_at < CURRENT_TIMESTAMP(6) - INTERVAL %s DAY"
            f" AND NOT EXISTS (SELECT 1 FROM {self._schema}.`parked_audit` a WHERE a.parked_id = p.id"
            " AND a.done_at >= CURRENT_TIMESTAMP(6) - INTERVAL %s DAY)"
            f" AND NOT EXISTS (SELECT 1 FROM {self._schema}.`bootstrap` b WHERE b.stream = p.stream)"
            f" LIMIT {_CHUNK}",
            (days, days),
        )
        if not found:
            return 0
        listed = ", ".join(str(int(row[0])) for row in found)
        with connection.transaction():
            for table in ("parked_piece", "parked_audit"):
                connection.execute(f"DELETE FROM {self._schema}.`{table}` WHERE parked_id IN ({listed})")
            connection.execute(
                f"DELETE FROM {self._schema}.`parked` WHERE id IN ({listed}) AND status IN ('applied', 'skipped')"
            )
        return len(found)

    def _schema_changes(self, connection: Connection, days: int) -> int:
        places = {
            str(stream): (str(base), (int(file), int(offset)))
            for stream, base, file, offset in connection.rows(
                f"SELECT stream, binlog_base, binlog_file, binlog_offset FROM {self._schema}.`checkpoint`"
            )
        }
        ids: list[int] = []
        before = 0
        while len(ids) < _CHUNK:
            found = connection.rows(
                f"SELECT id, stream, position FROM {self._schema}.`schema_change` j"
                " WHERE status IN ('done', 'skipped', 'parked') AND id > %s"
                " AND ended_at < CURRENT_TIMESTAMP(6) - INTERVAL %s DAY"
                f" AND NOT EXISTS (SELECT 1 FROM {self._schema}.`schema_change_source` s"
                " WHERE s.statement_hash = j.statement_hash)"
                f" AND NOT EXISTS (SELECT 1 FROM {self._schema}.`parked` p WHERE p.stream = j.stream"
                " AND p.position = j.position AND p.status = 'parked')"
                f" ORDER BY id LIMIT {_CHUNK}",
                (before, days),
            )
            if not found:
                break
            before = int(found[-1][0])
            ids += [int(parked_id) for parked_id, stream, position in found if _is_passed(stream, position, places)]
        if ids:
            connection.execute(
                f"DELETE FROM {self._schema}.`schema_change` WHERE id IN ({', '.join(map(str, ids))})"
                " AND status <> 'intent'"
            )
        return len(ids)

    def _repairs(self, connection: Connection, days: int) -> int:
        found = connection.rows(
            f"SELECT plan FROM {self._schema}.`repair` GROUP BY plan"
            " HAVING MAX(done_at) < CURRENT_TIMESTAMP(6) - INTERVAL %s DAY LIMIT 1",
            (days,),
        )
        if not found:
            return 0
        return connection.run(f"DELETE FROM {self._schema}.`repair` WHERE plan = %s LIMIT {_CHUNK}", (found[0][0],))

    def _conflicts(self, connection: Connection, days: int) -> int:
        found = connection.rows(
            f"SELECT id FROM {self._schema}.`conflict` c WHERE decided_at < CURRENT_TIMESTAMP(6) - INTERVAL %s DAY"
            f" AND NOT EXISTS (SELECT 1 FROM {self._schema}.`parked` p WHERE p.stream = c.stream"
            f" AND p.position = c.position AND p.status = 'parked') LIMIT {_CHUNK}",
            (days,),
        )
        if found:
            listed = ", ".join(str(int(row[0])) for row in found)
            connection.execute(f"DELETE FROM {self._schema}.`conflict` WHERE id IN ({listed})")
        # What nobody has answered for so long is told again where an answer comes.
        connection.run(
            f"DELETE FROM {self._schema}.`told` WHERE told_at < CURRENT_TIMESTAMP(6) - INTERVAL %s DAY LIMIT {_CHUNK}",
            (days,),
        )
        return len(found)


def _is_passed(stream: str, position: str, places: dict[str, tuple[str, tuple[int, int]]]) -> bool:
    """Whether the stream, and every other one of the same binlog, stands behind this place."""
    try:
        base, file, offset = parse_position(position)
    except ValueError:
        return False
    own = places.get(stream)
    return (
        own is not None
        and own[0] == base
        and all((file, offset) < place for name, place in places.values() if name == base)
    )
