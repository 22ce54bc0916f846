"""Writes documents by compare-and-set: what a document says of its place decides, and nothing comes between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec

from pydbsync.backoff import Backoff
from pydbsync.config.search import SearchSettings
from pydbsync.errors import ConfigError, TransientError
from pydbsync.sinks.search.client import BusyError, OversizeError, SearchClient, SearchError
from pydbsync.sinks.search.indices import Index
from pydbsync.sinks.search.shapes import Document, DocumentKey

_encode = msgspec.json.encode
_LOOKED_AT = 1000
_PATIENCE_S = 10.0
"""With no document taken for so long, the cluster counts as away."""
_ROUNDS = 200
"""So often others may come first at one document."""
_BACKOFF = (0.05, 2.0)


class Seen(NamedTuple):
    """A document as it was when it was looked at."""

    sequence: int
    term: int
    place: str
    is_gone: bool


class DocumentWrite:
    """What is to become of one document in one index."""

    __slots__ = ("document", "index", "is_looked_at", "key", "mode", "number", "place", "seen", "tries")

    def __init__(
        self,
        index: Index,
        key: DocumentKey,
        document: Document | None,
        place: str,
        mode: str,
        number: int,
        *,
        is_new: bool = False,
    ) -> None:
        """`document` is None for one that is to go; `number` is that of the row it comes from; `is_new` says that
        there is probably none yet.

        Modes: `placed`; `known`, where only documents that are there are ours; `bootstrap`, which fills what is missing
        and was not deleted; `unplaced`, which is written always.
        """
        self.index, self.key, self.document = index, key, document
        self.place, self.mode, self.number = place, mode, number
        self.is_looked_at = is_new
        self.seen: Seen | None = None
        self.tries = 0

    def is_needless(self) -> bool:
        """Whether the index has something newer, or what it has is not to be touched."""
        seen = self.seen
        if self.mode == "placed":
            return self.place < self.index.floor or (seen is not None and seen.place > self.place)
        if self.mode == "known":
            return seen is None or seen.is_gone or seen.place > self.place
        return self.mode == "bootstrap" and seen is not None


class BulkWriter:
    """Sends writes, less at a time where the cluster has no room for more."""

    def __init__(self, settings: SearchSettings, client: SearchClient, *, alive: Callable[[], object]) -> None:
        """`alive` is called while the cluster is waited for."""
        self._settings = settings
        self._client = client
        self._alive = alive
        self._rows = settings.bulk_rows
        self._bytes = settings.bulk_bytes

    def run(self, writes: Sequence[DocumentWrite]) -> list[tuple[DocumentWrite, str]]:
        """Do them; those that are refused for good, with the reason. Raises TransientError, ConfigError: some may be
        done then."""
        refused: list[tuple[DocumentWrite, str]] = []
        left = list(writes)
        backoff = Backoff(*_BACKOFF)
        since = time.monotonic()
        while left:
            try:
                self._look([write for write in left if not write.is_looked_at])
                left = [write for write in left if not write.is_needless()]
                count = len(left)
                left, is_busy = self._send(left, refused)
                why: TransientError | None = None
            except BusyError as exc:
                is_busy, count, why = True, len(left), exc
            if len(left) < count:
                backoff.reset()
                since = time.monotonic()
            if is_busy and left:
                self._lessen()
                if time.monotonic() - since > _PATIENCE_S:
                    raise why or TransientError(f"{self._client.product} has no room for more (429)")
                self._alive()
                time.sleep(backoff.next_s())
        self._rows = min(self._settings.bulk_rows, self._rows * 2)
        self._bytes = min(self._settings.bulk_bytes, self._bytes * 2)
        return refused

    def forget(self, index: Index, hits: Sequence[Any]) -> None:
        """Remove documents, those that are as they were found. Raises TransientError, SearchError."""
        lines = []
        for hit in hits:
            action = {"_index": index.write, **_where(DocumentKey(hit["_id"], hit.get("_routing")))}
            lines.append(_encode({"delete": {**action, **_told(hit["_seq_no"], hit["_primary_term"])}}))
        self._client.send("POST", "/_bulk", b"\n".join([*lines, b""]), require_alias="true", filter_path="errors")

    def _lessen(self) -> None:
        self._rows = max(1, self._rows // 2)
        self._bytes = max(1024, self._bytes // 2)

    # -- looking -------------------------------------------------------------------------------------------------------

    def _look(self, writes: Sequence[DocumentWrite]) -> None:
        for start in range(0, len(writes), _LOOKED_AT):
            part = writes[start : start + _LOOKED_AT]
            mark = self._settings.mark
            asked = [{"_index": write.index.write, **_where(write.key)} for write in part]
            answer = self._client.call("POST", "/_mget", {"docs": asked}, _source_includes=mark)
            for write, found in zip(part, answer["docs"], strict=True):
                if "error" in found:
                    error = self._client.error(404, found)
                    raise TransientError(f"{self._client.product} has lost an index meanwhile: {error}")
                write.seen = seen_in(found, mark)
                write.is_looked_at = True

    def read(self, index: Index, keys: Sequence[DocumentKey]) -> list[Any]:
        """The documents as they are now, with their places; None where there is none. Raises TransientError."""
        found: list[Any] = []
        for start in range(0, len(keys), _LOOKED_AT):
            asked = [{"_index": index.write, **_where(key)} for key in keys[start : start + _LOOKED_AT]]
            for each in self._client.call("POST", "/_mget", {"docs": asked})["docs"]:
                if "error" in each:
                    error = self._client.error(404, each)
                    raise TransientError(f"{self._client.product} has lost an index meanwhile: {error}")
                found.append(each["_source"] if each.get("found") else None)
        return found

    # -- sending -------------------------------------------------------------------------------------------------------

    def _send(
        self, writes: Sequence[DocumentWrite], refused: list[tuple[DocumentWrite, str]]
    ) -> tuple[list[DocumentWrite], bool]:
        """Those that are to be done again, and whether the cluster had no room for them."""
        again: list[DocumentWrite] = []
        at = 0
        for part, body in self._requests(writes):
            at += len(part)
            try:
                answer = self._client.send(
                    "POST", "/_bulk", body, require_alias="true", wait_for_active_shards=self._settings.active_shards,
                    filter_path="errors,items.*.status,items.*.error",
                )  # fmt: skip
            except OversizeError as exc:
                if len(part) == 1:
                    refused.append((part[0], f"the document is larger than {self._client.product} takes: {exc}"))
                    continue
                self._lessen()
                return [*again, *part, *writes[at:]], False
            except BusyError:
                return [*again, *part, *writes[at:]], True
            except SearchError as exc:
                raise TransientError(f"{self._client.product} refuses a bulk request: {exc}") from exc
            is_busy = False
            if answer["errors"]:
                for write, item in zip(part, answer["items"], strict=True):
                    is_busy |= self._judge(write, next(iter(item.values())), again, refused)
            if is_busy:
                return [*again, *writes[at:]], True
        return again, False

    def _judge(
        self, write: DocumentWrite, item: Any, again: list[DocumentWrite], refused: list[tuple[DocumentWrite, str]]
    ) -> bool:
        """What became of one; whether there was no room for it."""
        status = item["status"]
        if status < 300:
            return False
        if status == 409:  # somebody was there first, or it is there already
            write.is_looked_at = False
            write.tries += 1
            if write.tries > _ROUNDS:
                raise TransientError(f"others write the document {write.key} of {write.index.name} all the time")
            again.append(write)
            return False
        error = self._client.error(status, item)
        if isinstance(error, BusyError):
            again.append(write)
            return True
        if status == 404:
            raise TransientError(f"{self._client.product} has lost an index meanwhile: {error}")
        if isinstance(error, TransientError | ConfigError):
            raise error
        refused.append((write, f"{self._client.product}: {error}"))
        return False

    def _requests(self, writes: Sequence[DocumentWrite]) -> Iterator[tuple[list[DocumentWrite], bytes]]:
        part: list[DocumentWrite] = []
        lines: list[bytes] = []
        length = 0
        for write in writes:
            action, document = self._lines(write)
            if part and (len(part) >= self._rows or length + len(document) > self._bytes):
                yield part, b"\n".join([*lines, b""])
                part, lines, length = [], [], 0
            part.append(write)
            lines += (action, document)
            length += len(action) + len(document) + 2
        if part:
            yield part, b"\n".join([*lines, b""])

    def _lines(self, write: DocumentWrite) -> tuple[bytes, bytes]:
        seen = write.seen
        action: dict[str, Any] = {"_index": write.index.write, **_where(write.key)}
        if seen is not None:
            action |= _told(seen.sequence, seen.term)
        place = write.place
        if write.mode in ("unplaced", "bootstrap"):
            place = seen.place if seen is not None else ""
        mark: dict[str, Any] = {"place": place}
        if write.document is None:
            mark |= {"gone": True, "at": round(time.time() * 1000)}
        document = {**(write.document or {}), self._settings.mark: mark}
        return _encode({"create" if seen is None else "index": action}), _encode(document)


def _where(key: DocumentKey) -> dict[str, str]:
    return {"_id": key.id} if key.routing is None else {"_id": key.id, "routing": key.routing}


def _told(sequence: int, term: int) -> dict[str, int]:
    return {"if_seq_no": sequence, "if_primary_term": term}


def seen_in(found: Any, mark: str) -> Seen | None:
    """What a document says of its place; one without any is older than all."""
    if not found.get("found"):
        return None
    about = found.get("_source", {}).get(mark)
    about = about if isinstance(about, dict) else {}
    return Seen(found["_seq_no"], found["_primary_term"], str(about.get("place") or ""), bool(about.get("gone")))
