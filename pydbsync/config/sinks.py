"""Reads `sink`: the target where it is no MySQL. Its `type` says which options there are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from pydbsync.config.search import SEARCH_TYPES, SearchSettings, read_search
from pydbsync.config.servers import PASSWORD_SOURCES, TlsSettings, read_tls, with_password
from pydbsync.config.shapes import TEXTS
from pydbsync.config.values import (
    FLAG,
    PORT,
    SECRET,
    FrozenMapping,
    OptionKind,
    Secret,
    join_key,
    nearest,
    one_of,
    option,
    read_mapping,
    read_section,
    required,
    seconds,
    text,
    whole,
)
from pydbsync.errors import ConfigError

TYPES: Final = ("ndjson", "redis", *SEARCH_TYPES, "MODULE:CLASS")


@dataclass(frozen=True, kw_only=True)
class NdjsonSettings:
    """Changes as lines of JSON."""

    type: str = required(text(), "`ndjson`")
    path: str = required(text(), "the file, `-` is standard output; `%s` in it is the name of the stream")
    state: str = option("", text(), "folder for checkpoint and parked changes; PATH.state when not set")

    @property
    def address(self) -> str:
        """For people."""
        return f"lines of JSON in {self.path}; state in {self.state or f'{self.path}.state'}"


@dataclass(frozen=True, kw_only=True)
class OwnSinkSettings:
    """A class of the operator's own."""

    type: str = required(text(), "`module:Class`, which Python can import")
    state: str = required(text(), "folder for checkpoint and parked changes; `%s` in it is the name of the stream")
    options: FrozenMapping[str, object] = option(
        FrozenMapping[str, object](),
        OptionKind("mapping", lambda value, key: FrozenMapping(read_mapping(value, key))),
        "what the class is given",
    )

    @property
    def address(self) -> str:
        """For people."""
        return f"{self.type}; state in {self.state}"


def _read_texts_by_name(value: object, key: str) -> FrozenMapping[str, str]:
    return FrozenMapping(
        (name, text("an expression (text)").read(each, join_key(key, name)))
        for name, each in read_mapping(value, key, of="a mapping {field: expression}").items()
    )


@dataclass(frozen=True, kw_only=True)
class RedisTableSettings:
    """How the rows of a table are written."""

    key: str = required(text(), "template of the key, such as `user:{id}`")
    form: str = option(
        "hash", one_of("hash", "json", "string", "invalidate"), "what a key holds; `invalidate` only deletes it",
        key="as",
    )  # fmt: skip
    value: str = option("", text(), "expression of the value, for `string`")
    columns: tuple[str, ...] = option((), TEXTS, "only these columns; all when not set")
    fields: FrozenMapping[str, str] = option(
        FrozenMapping[str, str](), OptionKind("mapping `{field: expression}`", _read_texts_by_name), "computed fields"
    )
    ttl_s: int = option(0, whole(0, 10**9), "a key lives so long after its last change; 0 is for ever", unit="seconds")
    null: str = option("absent", one_of("absent", "empty"), "what NULL is in a hash or a string")
    binary: str = option("base64", one_of("base64", "hex", "raw"), "how binary values are written")
    changes: str = option("", text(), "key of a Redis stream that gets each change; no stream when not set")
    changes_limit: int = option(
        1_000_000, whole(0, 2**40), "about so many entries are kept in `changes`; 0 is no limit", unit="entries"
    )


@dataclass(frozen=True, kw_only=True)
class SentinelSettings:
    """Where the master is asked for."""

    service: str = required(text(), "name of the master")
    nodes: tuple[str, ...] = required(TEXTS, "`host:port` of each sentinel")
    user: str | None = option(None, text(), "user at the sentinels")
    password: Secret | None = option(None, SECRET, PASSWORD_SOURCES["password"])


def _read_sentinel(value: object, key: str) -> SentinelSettings:
    found = read_section(SentinelSettings, with_password(read_mapping(value, key), key), key)
    for index, node in enumerate(found.nodes):
        host_and_port(node, f"{key}.nodes[{index}]")
    return found


def host_and_port(node: str, key: str) -> tuple[str, int]:
    """`host:port`, or `[address]:port`. Raises ConfigError."""
    host, _, port = node.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 65536):
        raise ConfigError(f"expected host:port, got {node!r}", key=key)
    return host.strip("[]"), int(port)


def _read_tables(value: object, key: str) -> FrozenMapping[str, RedisTableSettings]:
    found = {}
    for name, each in read_mapping(value, key, of="a mapping {database.table: {key: …}}").items():
        here = join_key(key, name)
        if "." not in name:
            raise ConfigError(f"expected database.table; for a whole database write '{name}.*'", key=here)
        table = read_section(RedisTableSettings, each, here)
        if (table.form == "string") != bool(table.value):
            word = "is missing: the value is" if table.form == "string" else "is only"
            raise ConfigError(f"{word} for `as: string`", key=f"{here}.value")
        if table.fields and table.form not in ("hash", "json"):
            raise ConfigError("is only for `as: hash` and `as: json`", key=f"{here}.fields")
        found[name] = table
    if not found:
        raise ConfigError("expected at least one table, got none", key=key)
    return FrozenMapping(found)


def _read_prefix(value: object, key: str) -> str:
    prefix = text().read(value, key)
    if re.search(r"[{}\s]", prefix):
        raise ConfigError("expected text without braces and spaces", key=key)
    return prefix


TABLES: Final = OptionKind("mapping `{database.table: …}`", _read_tables)


@dataclass(frozen=True, kw_only=True)
class RedisSettings:
    """A Redis or Valkey, how rows become keys in it, and what is promised."""

    type: str = required(text(), "`redis`")
    host: str = option("127.0.0.1", text(), "name or address; of a cluster, that of any node")
    port: int = option(6379, PORT, "port")
    db: int = option(0, whole(0, 10**6), "number of the database")
    user: str | None = option(None, text(), "user (ACL)")
    password: Secret | None = option(None, SECRET, PASSWORD_SOURCES["password"])
    tls: TlsSettings | None = option(
        None, OptionKind("mapping, or true", read_tls, section=TlsSettings), "encrypt the connection"
    )
    cluster: bool = option(False, FLAG, "whether it is a cluster")
    sentinel: SentinelSettings | None = option(
        None, OptionKind("mapping", _read_sentinel, section=SentinelSettings), "ask sentinels for the master"
    )
    timeout_s: float = option(10.0, seconds(0.1), "limit for a connection, and for each answer", unit="seconds")
    prefix: str = option("pydbsync:", OptionKind("text", _read_prefix), "what the keys of pydbsync itself begin with")
    durability: str = option(
        "auto", one_of("auto", "aof", "memory"),
        "when a message is acknowledged: once the append-only file has it on disk, or at once; auto takes what is on",
    )  # fmt: skip
    replicas: int = option(0, whole(0, 100), "so many replicas must have a change before its message is acknowledged")
    tombstone_s: int = option(
        7 * 86_400, whole(60, 10**9), "the place of a deletion is known for so long", unit="seconds"
    )
    tables: FrozenMapping[str, RedisTableSettings] = required(TABLES, "tables (globs) and how their rows are written")

    @property
    def address(self) -> str:
        """For people."""
        where = f"{self.host}:{self.port}" if self.sentinel is None else f"master {self.sentinel.service} of sentinels"
        kind = "Redis cluster" if self.cluster else "Redis"
        user = f"{self.user}@" if self.user else ""
        return f"{kind} {user}{where}{'/' + str(self.db) if self.db else ''}{', TLS' if self.tls else ''}"


SinkSettings: TypeAlias = NdjsonSettings | RedisSettings | SearchSettings | OwnSinkSettings


def _read_sink(value: object, key: str) -> SinkSettings:
    given = read_mapping(value, key)
    kind = given.get("type")
    if not isinstance(kind, str):
        raise ConfigError(f"is missing: one of {', '.join(TYPES)}", key=join_key(key, "type"))
    if kind == "ndjson":
        ndjson = read_section(NdjsonSettings, given, key)
        if ndjson.path == "-" and not ndjson.state:
            raise ConfigError("is missing: standard output has no place for the checkpoint", key=f"{key}.state")
        return ndjson
    if kind == "redis":
        redis = read_section(RedisSettings, with_password(given, key), key)
        if redis.cluster and (redis.sentinel or redis.db):
            other = "sentinel" if redis.sentinel else "db"
            raise ConfigError("a cluster has neither sentinels nor numbered databases", key=f"{key}.{other}")
        return redis
    if kind in SEARCH_TYPES:
        return read_search(given, key)
    if re.fullmatch(r"[\w.]+:\w+", kind):
        return read_section(OwnSinkSettings, given, key)
    raise ConfigError(f"unknown type {kind!r}; {nearest(kind, TYPES)}", key=join_key(key, "type"))


def for_stream(path: str, stream: str) -> str:
    """The path with the name of the stream in it, as the name of a file can be."""
    return path.replace("%s", re.sub(r"[^\w.\-]", lambda found: f"%{ord(found[0]):02X}", stream))


def check_sink(sink: SinkSettings, streams: int) -> None:
    """Raises ConfigError where several streams would write one file."""
    paths = {}
    if isinstance(sink, NdjsonSettings):
        paths = {"path": sink.path, **({"state": sink.state} if sink.state else {})}
    elif isinstance(sink, OwnSinkSettings):
        paths = {"state": sink.state}
    for name, path in paths.items():
        if streams > 1 and "%s" not in path and path != "-":
            raise ConfigError(
                f"{streams} queues would write one file: put %s, the name of the stream, into it", key=f"sink.{name}"
            )


SINK: Final = OptionKind("mapping, by its `type`", _read_sink)
