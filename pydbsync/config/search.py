"""Reads `sink` for OpenSearch and Elasticsearch: the cluster, and how rows become documents in it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from pydbsync.config.servers import PASSWORD_SOURCES, TlsSettings, read_tls, with_password
from pydbsync.config.shapes import TEXTS
from pydbsync.config.values import (
    SECRET,
    FrozenMapping,
    OptionKind,
    Secret,
    join_key,
    option,
    read_list,
    read_mapping,
    read_section,
    required,
    seconds,
    size,
    text,
    whole,
)
from pydbsync.errors import ConfigError

SEARCH_TYPES: Final = ("opensearch", "elasticsearch")
_JOINS: Final = ("nested", "join", "joins")


def _read_json(value: object, key: str) -> FrozenMapping[str, object]:
    given = read_mapping(value, key)
    try:
        json.dumps(dict(given))
    except (TypeError, ValueError) as exc:
        raise ConfigError(f"cannot be sent as JSON: {exc}", key=key) from exc
    return FrozenMapping(given)


_JSON: Final = OptionKind("mapping, as it is sent", _read_json)
_NOTHING: Final = FrozenMapping[str, object]()


@dataclass(frozen=True, kw_only=True)
class SearchTableSettings:
    """How the rows of a table are written."""

    id: str = required(text(), "template of the documents' ids, such as `{id}`")
    index: str = option(
        "{@database}-{@table}", text(), "the name (an alias) by which the table's documents are searched"
    )
    routing: str = option("", text(), "template of the routing; its columns must be in `id` too")
    columns: tuple[str, ...] = option((), TEXTS, "only these columns; all when not set")
    mapping: FrozenMapping[str, object] = option(
        _NOTHING, _JSON, "fields that are mapped in another way than by their types, `{column: {type: …}}`"
    )
    settings: FrozenMapping[str, object] = option(
        _NOTHING, _JSON, "settings of the indices, such as `{number_of_shards: 3}`"
    )


def _read_tables(value: object, key: str) -> FrozenMapping[str, SearchTableSettings]:
    found = {}
    for name, each in read_mapping(value, key, of="a mapping {database.table: {id: …}}").items():
        here = join_key(key, name)
        if "." not in name:
            raise ConfigError(f"expected database.table; for a whole database write '{name}.*'", key=here)
        for join in _JOINS:
            if isinstance(each, Mapping) and join in each:
                raise ConfigError(
                    "is refused: rows of another table inside a document could not be kept exact, since their changes"
                    " come by themselves and in any order; give that table an index of its own",
                    key=join_key(here, join),
                )
        found[name] = read_section(SearchTableSettings, each, here)
    if not found:
        raise ConfigError("expected at least one table, got none", key=key)
    return FrozenMapping(found)


def _read_nodes(value: object, key: str) -> tuple[str, ...]:
    found = []
    for index, node in enumerate(read_list(value, key, of="a list of host:port")):
        here = f"{key}[{index}]"
        name = text("host:port").read(node, here)
        if "://" in name:
            raise ConfigError(f"expected host:port, got {name!r}; for https set `tls`", key=here)
        host, _, port = name.rpartition(":")
        if not (host and port.isdecimal() and 0 < int(port) < 65536):
            raise ConfigError(f"expected host:port, got {name!r}", key=here)
        found.append(name)
    if not found:
        raise ConfigError("expected at least one node, got none", key=key)
    return tuple(found)


def _read_state_index(value: object, key: str) -> str:
    name = text("the name of an index").read(value, key)
    if not is_index_name(name):
        raise ConfigError(f"expected a name that an index can have, got {name!r}", key=key)
    return name


def _read_field(value: object, key: str) -> str:
    name = text("the name of a field").read(value, key)
    if not re.fullmatch(r"[^\W_][\w\-]*", name):
        raise ConfigError(f"expected letters, digits, - and _, got {name!r}", key=key)
    return name


def _read_active_shards(value: object, key: str) -> str:
    if value == "all":
        return "all"
    return str(whole(1, 1000, expected="all, or a whole number").read(value, key))


def is_index_name(name: str) -> bool:
    """Whether an index or alias can have this name, and room for what is put behind it."""
    # Source: https://docs.opensearch.org/latest/api-reference/index-apis/create-index/
    return (
        re.fullmatch(r"[^\\/*?\"<>|\s,#:A-Z]+", name) is not None
        and name == name.lower()
        and name[0] not in "-_+."
        and len(name.encode()) <= 230
    )


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """An OpenSearch or Elasticsearch, and how rows become documents in it."""

    type: str = required(text(), "`opensearch` or `elasticsearch`")
    nodes: tuple[str, ...] = option(
        ("127.0.0.1:9200",), OptionKind("list of `host:port`", _read_nodes, ", ".join),
        "nodes of the cluster; the first that answers is used",
    )  # fmt: skip
    user: str | None = option(None, text(), "user, with `password`")
    password: Secret | None = option(None, SECRET, PASSWORD_SOURCES["password"])
    api_key: Secret | None = option(None, SECRET, "the API key, encoded, instead of a user")
    tls: TlsSettings | None = option(
        None, OptionKind("mapping, or true", read_tls, section=TlsSettings), "encrypt the connection"
    )
    timeout_s: float = option(30.0, seconds(0.1), "limit for a connection, and for each answer", unit="seconds")
    state_index: str = option(
        "pydbsync", OptionKind("text", _read_state_index), "index for checkpoints, locks and parked changes"
    )
    mark: str = option("pydbsync", OptionKind("text", _read_field), "field of each document that keeps its place")
    active_shards: str = option(
        "1",
        OptionKind("whole number, or `all`", _read_active_shards),
        "so many copies of a shard must be there to write",
    )
    bulk_rows: int = option(1000, whole(1, 100_000), "documents of one bulk request, at most", unit="documents")
    bulk_bytes: int = option(5 * 2**20, size(1024, 2**30), "size of one bulk request, about")
    tombstone_s: int = option(86_400, whole(60, 10**9), "the place of a deletion is known for so long", unit="seconds")
    tables: FrozenMapping[str, SearchTableSettings] = required(
        OptionKind("mapping `{database.table: …}`", _read_tables), "tables (globs) and how their rows are written"
    )

    @property
    def product(self) -> str:
        """The name, for people."""
        return "Elasticsearch" if self.type == "elasticsearch" else "OpenSearch"

    @property
    def address(self) -> str:
        """For people."""
        user = f"{self.user}@" if self.user else ""
        return f"{self.product} {user}{', '.join(self.nodes)}{', TLS' if self.tls else ''}"


def read_search(given: Mapping[str, object], key: str) -> SearchSettings:
    """Raises ConfigError."""
    section = with_password(with_password(given, key), key, name="api_key")
    found = read_section(SearchSettings, section, key)
    if found.api_key is not None and (found.user is not None or found.password is not None):
        raise ConfigError("is instead of user and password: keep one of them", key=join_key(key, "api_key"))
    if (found.user is None) != (found.password is None):
        missing = "user" if found.user is None else "password"
        raise ConfigError("is missing: user and password belong together", key=join_key(key, missing))
    for name, table in found.tables.items():
        if found.mark in table.columns:
            raise ConfigError(
                f"names {found.mark!r}, which keeps the places: call that another name by `sink.mark`",
                key=join_key(join_key(join_key(key, "tables"), name), "columns"),
            )
    return found
