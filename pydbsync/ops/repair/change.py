"""One change of a plan, as it stands in the file."""

from __future__ import annotations

import msgspec

from pydbsync.model import NO_JSON, ChangeKind, TableName
from pydbsync.ops.verify.sides import Request


class PlannedChange(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One row of the target that is to be written, with its image before and after."""

    number: int
    table: TableName
    sources: tuple[TableName, ...]
    kind: ChangeKind
    request: Request
    """By what the row is found: its printed key, or without a key the digest of the row that comes or goes."""
    also: tuple[Request, ...] = ()
    """Without a key: other digests of the same row, where a side spells a value in another way."""
    before: msgspec.Raw = NO_JSON
    """The target's row, all its columns; NO_JSON for an insert."""
    after: msgspec.Raw = NO_JSON
    """The source's row; NO_JSON for a delete."""
    copies: int = 1
    """How many equal rows come or go; more than one only without a key."""
    had: int = 0
    """Without a key: how many such rows the target held when the plan was made."""
    source_had: int = 0
    """Without a key: how many rows with this digest the source held then."""
