"""What a DDL message says about the columns of a table: Maxwell's description, completed from the statement's text."""

from __future__ import annotations

import msgspec

from pydbsync.errors import PlanError


class DescribedColumn(
    msgspec.Struct, frozen=True, rename={"kind": "type", "digits": "column-length", "labels": "enum-values"}
):
    """A column as Maxwell describes it: no length, no nullability, no default, nothing about generated ones."""

    kind: str
    name: str
    charset: str | None = None
    signed: bool = True
    digits: int = 0
    """Fractional digits of temporal columns."""
    labels: tuple[str, ...] = ()
    """Labels of ENUM and SET as they stand between their quotes: an apostrophe is doubled (`it''s`)."""


class Description(msgspec.Struct, frozen=True, rename={"primary_key": "primary-key"}):
    """`old` or `def` of a DDL message."""

    database: str
    table: str
    columns: tuple[DescribedColumn, ...] = ()
    primary_key: tuple[str, ...] = ()
    charset: str | None = None


def read_description(raw: msgspec.Raw | None) -> Description | None:
    """Maxwell's `old` or `def`; None where the message has none. Raises PlanError if it has another shape."""
    if raw is None or not bytes(raw):
        return None
    try:
        return msgspec.json.decode(raw, type=Description)
    except msgspec.MsgspecError as exc:
        raise PlanError(f"Maxwell's description of the table has an unknown shape: {exc}") from exc
