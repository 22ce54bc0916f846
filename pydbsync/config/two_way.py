"""Reads `two_way`: whether replay runs in the other direction too, so that some of what comes was written by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydbsync.config.values import Kind, option, read_mapping, read_section, text
from pydbsync.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class TwoWaySettings:
    """Replay in both directions: what pydbsync has written at the source is told from what others write there."""

    source_state_schema: str = option(
        "", text(), "state schema of the source, in which the other direction keeps its checkpoint; `state_schema`"
        " where it is not given",
    )  # fmt: skip


def _read(value: object, key: str) -> TwoWaySettings | None:
    if value is False:
        return None
    if value is True:
        return TwoWaySettings()
    try:
        given = read_mapping(value, key)
    except ConfigError as exc:
        raise ConfigError("expected true, false or a mapping", key=key) from exc
    return read_section(TwoWaySettings, given, key)


TWO_WAY: Final = Kind("true or false, or mapping", _read, section=TwoWaySettings)
