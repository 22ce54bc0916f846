"""The indices of a table: which serves, which is being filled, and from what place on each takes changes.

A table is searched by an alias. The index behind it, `NAME-000001-89abcdef` and so on, takes no change that is before
its `floor`: what is older is in it already, or was taken away by a TRUNCATE. It is written by an alias of its own, of
that name with `.write` behind it, so that what is late for an index that was replaced finds nothing to write to.
Serving index and floor are asked for before each write. So a change that misses an index which is being filled was on
its way before that index was made, and is in the snapshot that fills it.
"""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydbsync.config.search import SearchSettings
from pydbsync.errors import ConfigError, TransientError
from pydbsync.sinks.search.client import SearchClient, SearchError, path_of
from pydbsync.sinks.search.mappings import TOO_WIDE, mark_field
from pydbsync.sinks.search.shapes import SearchTableShape

_ASKED = 50
"""Tables of one request: a path has about 4,000 bytes."""
_META = "pydbsync"
_MOST_FIELDS = "index.mapping.total_fields.limit"
_NEWER_TYPES = "%s: the index has %s as %s, the column wants %s: `pydbsync copy` builds an index with the new types"


class Index(NamedTuple):
    """One index of a table."""

    name: str
    floor: str
    """Changes before this place are not for it."""
    table: str

    @property
    def write(self) -> str:
        """The alias by which it is written."""
        return f"{self.name}.write"


class Indices(NamedTuple):
    """Those that take the changes of a table."""

    serving: Index | None
    filling: Index | None

    def both(self) -> list[Index]:
        return [each for each in self if each is not None]


class TableIndices:
    """Finds and makes the indices of tables."""

    def __init__(self, settings: SearchSettings, client: SearchClient, *, log: logging.Logger) -> None:
        self._settings = settings
        self._client = client
        self._log = log
        self._known: dict[str, Index] = {}
        self._mapped: dict[str, SearchTableShape] = {}

    def forget(self) -> None:
        """The connection, or a table of the source, may be another one."""
        self._known.clear()
        self._mapped.clear()

    # -- what there is -------------------------------------------------------------------------------------------------

    def of(self, shapes: Iterable[SearchTableShape]) -> dict[str, Indices]:
        """The indices of each table now, by its alias. Raises TransientError, ConfigError."""
        by_alias = {shape.alias: shape for shape in shapes}
        names = list(by_alias)
        found: dict[str, list[str]] = {}
        for start in range(0, len(names), _ASKED):
            asked = [each for alias in names[start : start + _ASKED] for each in (alias, filling(alias))]
            answer = self._client.call("GET", path_of("_alias", ",".join(asked)), allow=(404,))
            for index, about in answer.items():
                if isinstance(about, Mapping):
                    for alias in about.get("aliases", {}):
                        found.setdefault(alias, []).append(index)
        return {alias: self._indices(shape, found) for alias, shape in by_alias.items()}

    def _indices(self, shape: SearchTableShape, found: Mapping[str, list[str]]) -> Indices:
        pair = []
        for alias in (shape.alias, filling(shape.alias)):
            names = found.get(alias, [])
            if len(names) > 1:
                raise TransientError(f"the alias {alias!r} is that of {', '.join(sorted(names))}: it must be of one")
            pair.append(self._known_index(names[0], shape) if names else None)
        return Indices(*pair)

    def _known_index(self, name: str, shape: SearchTableShape) -> Index:
        known = self._known.get(name)
        if known is None:
            known = self._known[name] = self._read(name)
        if known.table != str(shape.name):
            raise ConfigError(
                f"the index {name} is of {known.table}, not of {shape.name}: give one of them another name", key="sink"
            )
        if self._mapped.get(name) is not shape:
            self._map_columns(name, shape)
            self._mapped[name] = shape
        return known

    def _read(self, name: str) -> Index:
        mapping, settings = self._mapping(name), self._client.call("GET", path_of(name, "_settings"))
        about = mapping.get("_meta", {}).get(_META)
        if about is None:
            raise ConfigError(f"the index {name} was not made by pydbsync: give the table another name", key="sink")
        if mapping.get("_source"):
            raise ConfigError(
                f"the index {name} does not keep `_source` whole, where the places of its documents stand: take that"
                " out of the index template; remove the index if it is there, and run `pydbsync copy`",
                key="sink",
            )
        translog = settings[name]["settings"]["index"].get("translog", {})
        if translog.get("durability", "request") == "async":
            self._log.warning(
                "%s acknowledges changes before they are on the disk (translog.durability async): what it loses does"
                " not come again, `pydbsync repair` mends it", name,
            )  # fmt: skip
        return Index(name, str(about["floor"]), str(about["table"]))

    def _mapping(self, name: str) -> Mapping[str, Any]:
        try:
            found: Mapping[str, Any] = self._client.call("GET", path_of(name, "_mapping"))[name]["mappings"]
        except (SearchError, KeyError) as exc:
            raise TransientError(f"the index {name} has gone meanwhile") from exc
        return found

    def _map_columns(self, name: str, shape: SearchTableShape) -> None:
        """Columns that have come since; those whose type has changed are told of."""
        has = self._mapping(name).get("properties", {})
        wanted = shape.mapping()
        for column, field in wanted.items():
            now = has.get(column, {})
            if column in has and now.get("type", "object") != field.get("type", "object"):
                self._log.error(_NEWER_TYPES, name, column, now.get("type", "object"), field.get("type", "object"))
        added = {column: field for column, field in wanted.items() if column not in has}
        if added:
            self._make_room(name, len(has) + len(added), shape)
            self._asked("PUT", path_of(name, "_mapping"), {"properties": added}, shape)

    def _make_room(self, name: str, fields: int, shape: SearchTableShape) -> None:
        """A table that has grown wider than the index was made for."""
        wanted = self._index_settings(shape, fields).get(_MOST_FIELDS)
        if wanted is None:
            return
        now = self._client.call("GET", path_of(name, "_settings"), flat_settings="true", include_defaults="true")[name]
        if int({**now.get("defaults", {}), **now["settings"]}.get(_MOST_FIELDS, TOO_WIDE)) < int(str(wanted)):
            self._asked("PUT", path_of(name, "_settings"), {_MOST_FIELDS: wanted}, shape)

    def _asked(self, method: str, path: str, body: object, shape: SearchTableShape) -> Any:
        """What the server refuses of an index is a matter of the configuration."""
        try:
            return self._client.call(method, path, body)
        except SearchError as exc:
            if exc.status == 404:
                raise TransientError(f"an index of {shape.name} has gone meanwhile: {exc}") from exc
            raise ConfigError(f"{self._client.product} refuses an index for {shape.name}: {exc}", key="sink") from exc

    # -- what is made --------------------------------------------------------------------------------------------------

    def make(self, shape: SearchTableShape, floor: str, *, alias: str = "") -> Index:
        """A new index, under an alias if one is given. Raises TransientError, ConfigError."""
        while True:
            # Never a name that was used before: by it what is late would find the index that it knew.
            name = f"{shape.alias}-{self._last_number(shape) + 1:06}-{secrets.token_hex(4)}"
            fields = {**shape.mapping(), self._settings.mark: mark_field()}
            mappings = {
                "_meta": {_META: {"table": str(shape.name), "floor": floor}}, "dynamic": False, "properties": fields,
            }  # fmt: skip
            aliases: dict[str, object] = {f"{name}.write": {}}
            if alias:
                aliases[alias] = self._seen() if alias == shape.alias else {}
            settings = self._index_settings(shape, len(fields))
            try:
                self._client.call(
                    "PUT", path_of(name), {"mappings": mappings, "settings": settings, "aliases": aliases}
                )  # fmt: skip
            except SearchError as exc:
                if exc.kind == "resource_already_exists_exception":
                    continue
                raise ConfigError(
                    f"{self._client.product} refuses the index {name} for {shape.name}: {exc}", key="sink"
                ) from exc
            try:
                index = self._known[name] = self._read(name)  # an index template may have changed it
            except ConfigError:
                self._client.call("DELETE", path_of(name), allow=(404,))
                raise
            return index

    def _index_settings(self, shape: SearchTableShape, fields: int) -> dict[str, object]:
        found: dict[str, object] = dict(shape.settings.settings)
        if fields * 3 > TOO_WIDE:
            found.setdefault(_MOST_FIELDS, fields * 3)
        return found

    def _seen(self) -> dict[str, object]:
        """What an alias shows: not what was deleted."""
        return {"filter": {"bool": {"must_not": [{"term": {f"{self._settings.mark}.gone": True}}]}}}

    def _add(self, shape: SearchTableShape, index: Index) -> dict[str, Any]:
        return {"add": {"index": index.name, "alias": shape.alias, **self._seen()}}

    def _last_number(self, shape: SearchTableShape) -> int:
        """Of all indices that have such a name, whoever made them; those that an end left behind are removed."""
        pattern = re.compile(re.escape(shape.alias) + r"-(\d{6,})-[0-9a-f]{8}")
        answer = self._client.call("GET", path_of(f"{shape.alias}-*", "_alias"), allow=(404,), expand_wildcards="all")
        found = {name: match for name in answer if (match := pattern.fullmatch(name))}
        for name in found:
            if set(answer[name]["aliases"]) == {f"{name}.write"} and self._read(name).table == str(shape.name):
                self._log.info("%s: removed %s, which was begun and never used", shape.name, name)
                self._client.call("DELETE", path_of(name), allow=(404,))
        return max((int(match[1]) for match in found.values()), default=0)

    def serving(self, shape: SearchTableShape) -> Index:
        """A new, empty index that serves at once, for a table that has none. Raises TransientError, ConfigError."""
        index = self.make(shape, "", alias=shape.alias)
        names = self._client.call("GET", path_of("_alias", shape.alias))
        if set(names) != {index.name}:
            # Another worker has made one at the same moment. Whoever sees two goes: the other one may have seen its own
            # alone, whatever they are called.
            self.remove(index)
            raise TransientError(f"an index for {shape.name} was made by somebody else meanwhile")
        self._log.warning(
            "%s: made the index %s, which is empty; rows that were there before come by `pydbsync copy`",
            shape.name, index.name,
        )  # fmt: skip
        return index

    def fill(self, shape: SearchTableShape, floor: str) -> Index:
        """A new index, which takes all changes behind the floor from now on, and which nobody sees. Raises
        TransientError, ConfigError."""
        return self.make(shape, floor, alias=filling(shape.alias))

    def finish(self, shape: SearchTableShape, index: Index) -> None:
        """What was filled serves from now on, instead of what did. Raises TransientError, ConfigError."""
        self._client.call("POST", path_of(index.name, "_refresh"))
        former = self.of([shape])[shape.alias].serving
        ends = {"remove": {"index": index.name, "alias": filling(shape.alias), "must_exist": True}}
        self._switch(shape, [ends, self._add(shape, index)], former)
        # A search may have seen changes in the former one that came between the refresh and the switch.
        self._client.call("POST", path_of(index.name, "_refresh"), allow=(404,))

    def _switch(self, shape: SearchTableShape, actions: list[dict[str, Any]], former: Index | None = None) -> None:
        """In one step, with the index that is not needed any more removed."""
        if former is not None:
            actions.append({"remove_index": {"index": former.name}})
        self._asked("POST", "/_aliases", {"actions": actions}, shape)

    def remove(self, index: Index) -> None:
        self._client.call("DELETE", path_of(index.name), allow=(404,))

    def begin_anew(self, shape: SearchTableShape, place: str) -> tuple[Index, Index] | None:
        """A new index without the rows that were written before the place, and the one that `replace` is to remove;
        None where there is nothing to do, as when it comes again. Raises TransientError, ConfigError."""
        now = self.of([shape])[shape.alias]
        if now.filling is not None and (not place or now.filling.floor < place):
            self.remove(now.filling)  # what fills it has rows of before; it ends with a sentence, and can be run again
        if now.serving is None or (place and now.serving.floor >= place):
            return None
        return self.make(shape, place), now.serving

    def replace(self, shape: SearchTableShape, index: Index, former: Index) -> None:
        self._switch(shape, [self._add(shape, index)], former)


def filling(alias: str) -> str:
    """The alias of the index that is being filled."""
    return f"{alias}.filling"
