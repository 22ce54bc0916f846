"""Rows of a server as Maxwell would write them in `data`, so that the planner of replay turns them into SQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

import msgspec

from pydbsync.apply.connection import Connection
from pydbsync.errors import OperationError
from pydbsync.model import Column
from pydbsync.ops.answers import DoubtfulError
from pydbsync.ops.verify.sides import NO_DIGEST, Request, Side
from pydbsync.plan.canonical import canonical_bytes
from pydbsync.plan.images import image_expression, image_token


class CountedImage(NamedTuple):
    """A whole row as a JSON object, and how many there are of it (more than one only without a key)."""

    data: msgspec.Raw
    copies: int


def read_images(
    side: Side, requests: Collection[Request], *, within: Connection | None = None
) -> dict[Request, CountedImage | str]:
    """The whole rows under these requests, or the reason why one cannot be written.

    `within` is a connection with an open transaction, by which the rows are read and locked.
    """
    return {request: images[0] for request, images in read_all_images(side, requests, within=within).items()}


def read_all_images(
    side: Side, requests: Collection[Request], *, within: Connection | None = None, own: Collection[str] = ()
) -> dict[Request, list[CountedImage | str]]:
    """The same; where there is no key, of each digest the rows that differ in the side's `own` columns."""
    found: dict[Request, list[CountedImage | str]] = {}
    if not requests:
        return found
    dialect = side.server.dialect
    for table in side.tables:
        columns = table[0].schema.columns
        expressions = [image_expression(column, dialect) for column in columns]
        apart = [
            f"SHA2(CONCAT(ISNULL({each}), IFNULL({each}, '')), 256)"
            for column, each in zip(columns, expressions, strict=True)
            if column.name in own
        ]
        for request, count, values in side.read(table, expressions, requests, within=within, apart=apart):
            if request not in requests:
                continue
            if table[2] is None and request == (NO_DIGEST,):
                found[request] = ["it has no key, and is too long to be found by a digest (max_allowed_packet)"]
                continue
            try:
                image: CountedImage | str = CountedImage(_image(columns, values), count)
            except OperationError as exc:
                image = str(exc)
            found.setdefault(request, []).append(image)
    return found


def _image(columns: Sequence[Column], values: Sequence[object] | DoubtfulError) -> msgspec.Raw:
    if isinstance(values, DoubtfulError):
        raise OperationError(f"it cannot be read as it is: {values}")
    members = (
        msgspec.json.encode(column.name) + b":" + image_token(column, canonical_bytes(value))
        for column, value in zip(columns, values, strict=True)
    )
    return msgspec.Raw(b"{" + b",".join(members) + b"}")
