"""Reads `two_way`: whether replay runs in the other direction too, so that some of what comes was written by it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from pydbsync.config.values import OptionKind, option, read_list, read_mapping, read_section, seconds, text, whole
from pydbsync.errors import ConfigError


def _read_ids(value: object, key: str) -> tuple[int, ...]:
    number = whole(1, 2**32 - 1)
    return tuple(number.read(each, f"{key}[{n}]") for n, each in enumerate(read_list(value, key, of="numbers")))


def _show_ids(ids: tuple[int, ...]) -> str:
    return ", ".join(map(str, ids)) or "empty"


@dataclass(frozen=True, kw_only=True)
class TwoWaySettings:
    """Replay in both directions: what pydbsync has written at the source is told from what others write there."""

    source_state_schema: str = option(
        "", text(), "state schema of the source, in which the other direction keeps its checkpoint; `state_schema`"
        " where it is not given",
    )  # fmt: skip
    target_server_ids: tuple[int, ...] = option(
        (), OptionKind("list of numbers", _read_ids, _show_ids),
        "further server ids under which changes of the target come: former ones, or those of a cluster's other nodes",
    )  # fmt: skip
    mark_s: float = option(
        10.0, seconds(0.1, 3600), "how often a mark is written at the source, which must come through each queue",
        unit="seconds",
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


TWO_WAY: Final = OptionKind("true or false, or mapping", _read, section=TwoWaySettings)
