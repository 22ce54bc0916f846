"""Documents that MySQL would store as others: a DECIMAL of many digits becomes a DOUBLE when it travels as text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import msgspec

from pydbsync.errors import PermanentError
from pydbsync.model import TableSchema, read_image
from pydbsync.ops.answers import DoubtfulError
from pydbsync.ops.servers import Server
from pydbsync.plan.canonical import canonical_bytes
from pydbsync.plan.literals import document_literal
from pydbsync.plan.normal import normal_json

_MAY_CHANGE = re.compile(rb"[0-9.]{16}|[0-9][eE][+-]?[0-9]{3}")
"""Numbers of up to 15 digits are the same as a DOUBLE, unless their exponent is extreme; text may look so too."""
_ASKED_BYTES = 1 << 20


class Unkept(NamedTuple):
    """Why a row cannot be written as it is, and the image of what would be written."""

    why: str
    stored: msgspec.Raw


class Documents:
    """Asks the target what it makes of documents; only MySQL's own JSON makes anything of them."""

    def __init__(self, target: Server, schema: TableSchema, *, across_brands: bool) -> None:
        self._target = target
        self._names = {column.name.lower() for column in schema.columns if column.native_json and not column.generated}
        self._across_brands = across_brands

    def unkept(self, images: Sequence[msgspec.Raw]) -> dict[int, Unkept]:
        """The images, by their place, that the target would not hold as they are. Raises TransientError, Stopped."""
        asked = [
            (place, name, bytes(token))
            for place, image in enumerate(images)
            if self._names and image
            for name, token in read_image(image).items()
            if name.lower() in self._names and _MAY_CHANGE.search(bytes(token))
        ]
        found: dict[int, Unkept] = {}
        for part in _parts(asked):
            for (place, name, token), answer in zip(part, self._stored([token for _, _, token in part]), strict=True):
                held = found[place].stored if place in found else images[place]
                if isinstance(answer, PermanentError | DoubtfulError):
                    found[place] = Unkept(f"column {name} holds a document that the target refuses: {answer}", held)
                elif self._normal(answer) != self._normal(token):
                    why = (
                        f"column {name} holds a document with a number that the target would not hold as it is, such as"
                        " a DECIMAL of more digits than a DOUBLE has"
                    )
                    found[place] = Unkept(why, _with(held, name, answer))
        return found

    def _normal(self, text: bytes) -> bytes:
        return normal_json(text, across_brands=self._across_brands)

    def _stored(self, documents: Sequence[bytes]) -> list[bytes | PermanentError | DoubtfulError]:
        """What each prints as when it is stored, or why it cannot be."""
        listed = b", ".join(b"CAST(CAST(%s AS JSON) AS CHAR)" % document_literal(document) for document in documents)
        try:
            (row,) = self._target.exact_rows((b"SELECT " + listed).decode("utf-8", "surrogateescape"))
        except (PermanentError, DoubtfulError) as exc:
            if len(documents) == 1:
                return [exc]
            return [each for document in documents for each in self._stored([document])]
        return [canonical_bytes(value) or b"" for value in row]


def _with(image: msgspec.Raw, name: str, token: bytes) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode({**read_image(image), name: msgspec.Raw(token)}))


def _parts(asked: Iterable[tuple[int, str, bytes]]) -> Iterator[list[tuple[int, str, bytes]]]:
    part: list[tuple[int, str, bytes]] = []
    size = 0
    for each in asked:
        if part and (size + len(each[2]) > _ASKED_BYTES or len(part) == 200):
            yield part
            part, size = [], 0
        part.append(each)
        size += len(each[2])
    if part:
        yield part
