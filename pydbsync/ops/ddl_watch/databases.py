"""Whether a database of the source was given another character set, in which tables are made that name none."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import msgspec

from pydbsync.apply.tables.seen import DefinedThing
from pydbsync.model import TableName
from pydbsync.ops.ddl_watch.ledger import Difference
from pydbsync.ops.servers import Server
from pydbsync.plan.quoting import quote_name
from pydbsync.route.router import Router


class _Defaults(msgspec.Struct, frozen=True, order=True):
    charset: str
    collation: str

    def __str__(self) -> str:
        return f"CHARACTER SET {self.charset} COLLATE {self.collation}"


def database_differences(
    source: Server,
    target: Server,
    router: Router,
    tables: Mapping[str, Sequence[TableName]],
    seen: Mapping[DefinedThing, str],
    to_remember: dict[DefinedThing, str],
) -> Iterator[Difference]:
    """The databases of the target that have not followed. `tables` are the source's, by database.

    What each had when both were seen first is meant so, whatever it is. What is remembered is the source's at that
    time, or at the last one at which both were alike.
    """
    at_source, at_target = _read(source), _read(target)
    across_brands = source.dialect.is_mariadb != target.dialect.is_mariadb
    for database, names in sorted(tables.items()):
        wanted = at_source.get(database)
        targets = [each for each in router.databases(database) if each in at_target]
        if wanted is None or not targets:
            continue
        thing = DefinedThing("database", database)
        known = _decoded(seen.get(thing, "")) or wanted
        behind = [each for each in targets if not _are_alike(wanted, at_target[each], across_brands=across_brands)]
        to_remember[thing] = msgspec.json.encode(known if behind else wanted).decode()
        if known == wanted:
            continue
        for each in behind:
            text = f"the database is by default of {wanted} at the source, of {at_target[each]} at the target"
            clause = f"CHARACTER SET {wanted.charset}" if across_brands else str(wanted)
            remedy = f"ALTER DATABASE {quote_name(each)} {clause}; at the target"
            yield Difference(TableName(each, "*"), "structure", text, tuple(names), remedy)


def _read(server: Server) -> dict[str, _Defaults]:
    rows = server.rows(
        "SELECT schema_name, default_character_set_name, default_collation_name FROM information_schema.schemata"
    )
    return {str(name): _Defaults(str(charset), str(collation)) for name, charset, collation in rows}


def _are_alike(one: _Defaults, other: _Defaults, *, across_brands: bool) -> bool:
    """Collations are compared within one brand only: each has its own."""
    charsets = {each.charset.replace("utf8mb3", "utf8") for each in (one, other)}
    collations = {each.collation.replace("utf8mb3", "utf8") for each in (one, other)}
    return len(charsets) == 1 and (across_brands or len(collations) == 1)


def _decoded(text: str) -> _Defaults | None:
    try:
        return msgspec.json.decode(text, type=_Defaults)
    except msgspec.DecodeError:
        return None
