"""Which settings a running worker takes over, and which need a restart."""

from __future__ import annotations

import dataclasses
from typing import Final, NamedTuple

from pydbsync.config.settings import Settings
from pydbsync.config.values import option_key

RELOADED: Final = frozenset(
    {
        "include", "exclude", "include_maxwell_database", "dbname_rewrite", "sharding", "corpmod",
        "binary_columns", "timestamp_columns", "timestamp_offset_s", "lossy_values", "trusted_columns",
        "batch_rows", "batch_bytes", "batch_time_s", "transaction_rows", "transaction_wait_s", "target_rows_per_s",
        "max_parked", "history_days", "on_error", "on_gap", "heartbeat_stall_s", "schema_changes",
        "referential_actions", "retry", "log_level", "conflicts",
    }
)  # fmt: skip
"""Fields of Settings that hold from the next border between two batches on."""


class Reload(NamedTuple):
    """What another configuration leads to."""

    settings: Settings
    """The former ones, with what can be taken over."""
    changed: tuple[str, ...]
    """Keys that are taken over and have changed."""
    needs_restart: tuple[str, ...]
    """Keys that have changed and hold only after a restart."""


def reload_settings(former: Settings, found: Settings) -> Reload:
    """What of these settings holds at once, and the rest by name."""
    differing = [
        each for each in dataclasses.fields(Settings) if getattr(former, each.name) != getattr(found, each.name)
    ]
    taken = {each.name: getattr(found, each.name) for each in differing if each.name in RELOADED}
    return Reload(
        settings=dataclasses.replace(former, **taken),
        changed=tuple(option_key(each) for each in differing if each.name in RELOADED),
        needs_restart=tuple(option_key(each) for each in differing if each.name not in RELOADED),
    )
