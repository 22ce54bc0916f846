"""The index that states, parked changes and notes are kept in: its documents, read, written and exchanged."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import msgspec

from pydbsync.config.search import SearchSettings
from pydbsync.errors import TransientError
from pydbsync.sinks.keep import decode_state, encode
from pydbsync.sinks.search.client import SearchClient, SearchError, path_of
from pydbsync.work import StreamState

_GENERATIONS = "generations"
_CHUNK = 200
_ID_LIMIT = 400


class Record(msgspec.Struct):
    """The document of a stream."""

    owner: str = ""
    """Who owns the stream; empty: nobody."""
    epoch: int = 0
    beat: int = 0
    """Grows while the owner lives: there is no clock that all have."""
    at: float = 0.0
    """When the owner wrote it, by its own clock: a hint for who only looks."""
    commits: str = ""
    state: str = ""
    parked: list[list[int]] = []
    """What is parked: epoch, first and last number. A document of another epoch is of a worker that was replaced."""


class StateIndex:
    """Reads and writes documents of the state's index, each only as it was read."""

    def __init__(self, settings: SearchSettings, client: SearchClient) -> None:
        self._index = settings.state_index
        self._client = client

    def make(self) -> None:
        """Raises TransientError, ConfigError."""
        body = {"mappings": {"dynamic": False, "properties": {}}, "settings": {"number_of_shards": 1}}
        if self._client.call("GET", path_of(self._index), allow=(404,)).get("status") == 404:
            try:
                self._client.call("PUT", path_of(self._index), body)
            except SearchError as exc:
                if exc.kind != "resource_already_exists_exception":
                    raise TransientError(f"the index {self._index} cannot be made: {exc}") from exc

    def get(self, name: str) -> tuple[Any, tuple[int, int] | None]:
        """The document, and what it is told by; None and None if there is none."""
        found = self._client.call("GET", path_of(self._index, "_doc", name), allow=(404,))
        if not found.get("found"):
            return None, None
        return found["_source"], (found["_seq_no"], found["_primary_term"])

    def put(self, name: str, document: object, seen: tuple[int, int] | None) -> tuple[int, int] | None:
        """Write it if it is still as it was seen; None if it is not."""
        told: dict[str, Any] = {"op_type": "create"} if seen is None else {}
        if seen is not None:
            told = {"if_seq_no": seen[0], "if_primary_term": seen[1]}
        found = self._client.call("PUT", path_of(self._index, "_doc", name), document, allow=(409,), **told)
        return None if found.get("status") == 409 else (found["_seq_no"], found["_primary_term"])

    def put_all(self, documents: Sequence[tuple[str, object]]) -> None:
        """Write them, whatever is there."""
        for name, document in documents:
            self._client.call("PUT", path_of(self._index, "_doc", name), document)

    def get_all(self, names: Sequence[str]) -> list[Any]:
        """The documents, in order. Raises TransientError where one is not there."""
        documents: list[Any] = []
        for start in range(0, len(names), _CHUNK):
            part = names[start : start + _CHUNK]
            answer = self._client.call("POST", path_of(self._index, "_mget"), {"ids": part})
            for found in answer["docs"]:
                if not found.get("found"):
                    raise TransientError(f"the index {self._index} lacks {found['_id']}, a change that was parked")
                documents.append(found["_source"])
        return documents

    def get_known(self, names: Sequence[str]) -> list[Any]:
        """The documents, in order; None for one that is not there."""
        found = self._client.call("POST", path_of(self._index, "_mget"), {"ids": list(names)}, allow=(404,))
        documents = found.get("docs", [{}] * len(names))
        return [each["_source"] if each.get("found") else None for each in documents]

    def record(self, stream: str) -> tuple[Record, tuple[int, int] | None]:
        """What is kept of a stream, and what that is told by."""
        found, seen = self.get(document_of(stream))
        return (msgspec.convert(found, Record) if found is not None else Record()), seen

    def state(self, stream: str) -> StreamState | None:
        """The state as it is kept; None where there is none."""
        record, _ = self.record(stream)
        return decode_state(record.state.encode()) if record.state else None

    def begin(self, stream: str, state: StreamState) -> bool:
        """Have the stream begin so, if it has not begun; whether it had not."""
        while True:
            record, seen = self.record(stream)
            if record.state:
                return False
            self.note_generation(stream, state.generation)
            begun = msgspec.structs.replace(record, commits="0", state=encode(state).decode())
            if self.put(document_of(stream), begun, seen) is not None:
                return True

    # -- generations ---------------------------------------------------------------------------------------------------

    def note_generation(self, stream: str, generation: int) -> None:
        """How often the stream has begun anew."""
        while True:
            known, seen = self.get(_GENERATIONS)
            streams = dict(known["streams"]) if known else {}
            if streams.get(stream) == generation:
                return
            streams[stream] = generation
            if self.put(_GENERATIONS, {"streams": streams}, seen) is not None:
                return

    def new_generation(self, stream: str) -> int:
        """A stream that nobody knows begins behind all that were: what they have left does not refuse it."""
        known, _ = self.get(_GENERATIONS)
        streams = dict(known["streams"]) if known else {}
        return streams[stream] + 1 if stream in streams else max(streams.values(), default=-1) + 1


def document_of(stream: str) -> str:
    """The id of a stream's document."""
    name = quote(stream, safe="")
    return f"stream:{name}" if len(name) <= _ID_LIMIT else f"stream:%#{hashlib.sha256(name.encode()).hexdigest()}"
