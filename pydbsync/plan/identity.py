"""Which row a change is about, so that a later change of the same row can be recognised."""

from __future__ import annotations

import contextlib
import hashlib

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import NO_JSON, RowChange
from pydbsync.plan.rows import TablePlan


def row_identity(change: RowChange, plan: TablePlan) -> list[bytes]:
    """Digests of the row's key, before and after the change; without a key, of the whole images.

    Coarser than the key where a collation might be: keys that differ only in case count as one row, which at worst
    makes a change wait that need not.
    """
    images = [change.data]
    if change.kind == "update" and change.old is not NO_JSON:
        with contextlib.suppress(PlanError):  # an old image that cannot be read
            images.append(plan.old_image(change))
    return list(dict.fromkeys(_digest(image, plan) for image in images))


def _digest(image: msgspec.Raw, plan: TablePlan) -> bytes:
    try:
        key = plan.key_of(image) if plan.row_key else bytes(image)
    except PlanError:
        key = bytes(image)
    folded = key.decode("utf-8", "surrogateescape").casefold().encode("utf-8", "surrogateescape")
    return hashlib.sha256(folded).digest()[:16]
