"""Which row a change is about, so that a later change of the same row can be recognised."""

from __future__ import annotations

import contextlib
import hashlib
import re
from typing import Protocol

import msgspec

from pydbsync.errors import PlanError
from pydbsync.model import NO_JSON, RowChange, read_image

_SPACES_AT_END = re.compile(' +"')


class KeyedTable(Protocol):
    """What has to be known of a table to tell its rows apart."""

    @property
    def row_key(self) -> tuple[str, ...]: ...

    def old_image(self, change: RowChange) -> msgspec.Raw: ...


def row_identity(change: RowChange, table: KeyedTable) -> list[bytes]:
    """Digests of the row's key, before and after the change; without a key, of the whole images. Nothing where a key
    column has no value: then the change may be about any row. An image that nobody can read is known by its bytes.

    What else the image holds does not matter: a row with a column that the target lacks is the same row. Coarser than
    the key where a collation might be: keys that differ only in case or in spaces at the end count as one row, which at
    worst makes a change wait that need not.
    """
    images = [change.data]
    if change.kind == "update" and change.old is not NO_JSON:
        with contextlib.suppress(PlanError):
            images.append(table.old_image(change))
    digests = [_digest(image, table.row_key) for image in images]
    return list(dict.fromkeys(filter(None, digests))) if all(digests) else []


def _digest(image: msgspec.Raw, row_key: tuple[str, ...]) -> bytes | None:
    key = bytes(image)
    with contextlib.suppress(PlanError):
        values = {name.casefold(): bytes(token) for name, token in read_image(image).items()}
        if not all(name.casefold() in values for name in row_key):
            return None
        key = b",".join(values[name.casefold()] for name in row_key) or key
    folded = _SPACES_AT_END.sub('"', key.decode("utf-8", "surrogateescape").casefold())
    return hashlib.sha256(folded.encode("utf-8", "surrogateescape")).digest()[:16]
