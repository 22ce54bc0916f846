"""Reads `sink`: the target where it is no MySQL. Its `type` says which options there are."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from pydbsync.config.values import (
    FrozenMapping,
    Kind,
    join_key,
    nearest,
    option,
    read_mapping,
    read_section,
    required,
    text,
)
from pydbsync.errors import ConfigError

TYPES: Final = ("ndjson", "MODULE:CLASS")


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
        Kind("mapping", lambda value, key: FrozenMapping(read_mapping(value, key))),
        "what the class is given",
    )

    @property
    def address(self) -> str:
        """For people."""
        return f"{self.type}; state in {self.state}"


SinkSettings: TypeAlias = NdjsonSettings | OwnSinkSettings


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


SINK: Final = Kind("mapping, by its `type`", _read_sink)
