"""What the steps of capture hand to each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from pydbsync.model import TableName
from pydbsync.route.filters import Filters


class TableMessages(NamedTuple):
    """Messages of one table, in order."""

    table: TableName
    bodies: list[bytes]


@dataclass
class Counts:
    """What passed so far."""

    rows: int = 0
    transactions: int = 0
    schema_changes: int = 0
    skipped_statements: int = 0


@dataclass(frozen=True, kw_only=True)
class ChangesSettings:
    """How events become messages."""

    is_mariadb: bool
    filters: Filters
    with_gtid: bool = True
    with_srid: bool = False
    buffer_bytes: int = 32 * 2**20
    temporary_folder: str | None = None
    on_unreadable: Literal["stop", "skip"] = "stop"
    skip_at: frozenset[str] = frozenset()
    collations: Mapping[int, str] = field(default_factory=dict)
    """Character set of each collation id of the source."""
    collation_names: Mapping[int, str] = field(default_factory=dict)
    system_time_zone: str | None = None
    default_week_format: int | None = None
    div_precision_increment: int | None = None
    old_mode: str | None = None
