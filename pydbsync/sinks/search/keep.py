"""The state of a stream in an index of the cluster itself: one document a stream, which is exchanged whole."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Collection, Sequence

import msgspec

from pydbsync.config.search import SearchSettings
from pydbsync.errors import CheckpointConflict, PydbsyncError
from pydbsync.places import Checkpoint
from pydbsync.sinks.keep import (
    KeepWentBack,
    KeptChange,
    KeptPause,
    behind_ids,
    decode_kept,
    decode_pauses,
    decode_state,
    encode,
)
from pydbsync.sinks.search.client import SearchClient
from pydbsync.sinks.search.state_index import Record, StateIndex, document_of
from pydbsync.work import ParkedChange, StreamState

_LOOK_S = 0.5  # between two looks at an owner that may have crashed


class SearchKeep:
    """Keeps the state by compare-and-set. A lock ends when nobody has seen its owner live for as long as it lasts."""

    def __init__(self, settings: SearchSettings, client: SearchClient, *, stream: str, lock_s: float) -> None:
        self.index = StateIndex(settings, client)
        self._client = client
        self._product = client.product
        self._stream = stream
        self._name = document_of(stream)
        self._lock_s = lock_s
        self._owner = f"process {os.getpid()} on {socket.gethostname()} {uuid.uuid4().hex}"
        self._record = Record()
        self._wanted: Record | None = None
        """What was to be committed last: its answer may have been lost, and it done."""
        self._seen: tuple[int, int] | None = None
        self._watched: tuple[tuple[int, int] | None, float] = (None, 0.0)
        self._generation: int | None = None
        self._alive_at = 0.0
        self._is_owner = False

    def open(self) -> None:
        """The writer opens the connection that both use."""
        self.index.make()

    def _read(self) -> tuple[Record, tuple[int, int] | None]:
        return self.index.record(self._stream)

    def new_generation(self) -> int:
        """That of a stream which nobody knows."""
        return self.index.new_generation(self._stream)

    def lock(self) -> bool:
        record, seen = self._read()
        now = time.monotonic()
        if record.owner not in ("", self._owner):
            if self._watched[0] != seen:
                self._watched = (seen, now)
            if now - self._watched[1] < self._lock_s:
                return False
        record.owner = self._owner
        record.beat += 1
        record.at = time.time()
        self._seen = self.index.put(self._name, record, seen)
        self._is_owner = self._seen is not None
        self._record = record
        return self._is_owner

    def holder(self) -> str:
        return self._read()[0].owner.rpartition(" ")[0] or "another worker"

    def is_ours(self) -> bool:
        if not self._is_owner:
            return False
        try:
            self._renew()
        except (CheckpointConflict, KeepWentBack):
            return False
        return True

    def take_over(self) -> StreamState:
        record = msgspec.structs.replace(self._record, epoch=self._record.epoch + 1)
        if not self._exchange(record):
            raise KeepWentBack("the lock was lost while it was taken")
        if record.state:
            state = decode_state(record.state.encode())
        else:
            state = StreamState(Checkpoint(), generation=self.new_generation())
        state.epoch = record.epoch
        self._generation = self._wanted = None
        return state

    def commit(self, state: StreamState, parked: Sequence[ParkedChange]) -> list[int]:
        if state.generation != self._generation:
            self.index.note_generation(self._stream, state.generation)
            self._generation = state.generation
        text = encode(state).decode()
        if self._is_done(str(state.commits), text):
            last = max((span[2] for span in self._record.parked), default=0)
            return list(range(last - len(parked) + 1, last + 1))
        record = self._record
        first = max((span[2] for span in record.parked), default=0) + 1
        ids = list(range(first, first + len(parked)))
        spans = record.parked
        if parked:
            kept = [
                KeptChange(number, behind_ids(each, ids), "parked", state.generation, time.time())
                for number, each in zip(ids, parked, strict=True)
            ]
            self.index.put_all([(self._parked_name(record.epoch, each.id), _document(each)) for each in kept])
            spans = _with_span(spans, [record.epoch, ids[0], ids[-1]])
        self._wanted = wanted = msgspec.structs.replace(record, commits=str(state.commits), state=text, parked=spans)
        if not self._exchange(wanted):
            self._adopt()
            if not self._is_done(wanted.commits, text) and not self._exchange(wanted):
                raise KeepWentBack(f"{self._product} lacks what was committed")
        return ids

    def _is_done(self, commits: str, state: str) -> bool:
        """Whether this very commit was done, and only its answer was lost."""
        wanted, now = self._wanted, self._record
        return wanted is not None and (now.commits, now.state) == (commits, state) == (wanted.commits, wanted.state)

    def _adopt(self) -> None:
        """Go on with the record as it is now. Raises CheckpointConflict, WentBack."""
        now, seen = self._judged()
        known = {self._record.commits, self._wanted.commits if self._wanted is not None else self._record.commits}
        if now.commits not in known:
            raise KeepWentBack(f"{self._product} lacks what was committed")
        self._record, self._seen = now, seen

    def keep_alive(self) -> None:
        if time.monotonic() - self._alive_at > self._lock_s / 3:
            self._renew()

    def _renew(self) -> None:
        if not self._exchange(self._record):
            self._adopt()

    def _exchange(self, record: Record) -> bool:
        """Write the record where it is still as it was written last."""
        record = msgspec.structs.replace(record, beat=record.beat + 1, at=time.time())
        seen = self.index.put(self._name, record, self._seen)
        if seen is not None:
            self._record, self._seen = record, seen
            self._alive_at = time.monotonic()
        return seen is not None

    def _judged(self) -> tuple[Record, tuple[int, int] | None]:
        """The record as it is now, if it is still ours. Raises CheckpointConflict, WentBack."""
        now, seen = self._read()
        if now.epoch > self._record.epoch or (now.owner not in ("", self._owner) and now.epoch == self._record.epoch):
            self._is_owner = False
            raise CheckpointConflict(
                f"another worker has taken over {self._stream!r}; what was not committed is given back to the queue"
            )
        if now.epoch < self._record.epoch or now.owner != self._owner:
            raise KeepWentBack(f"{self._product} lacks what was committed")
        return now, seen

    # -- what is parked ------------------------------------------------------------------------------------------------

    def _parked_name(self, epoch: int, number: int) -> str:
        return f"{self._name}:parked:{epoch}:{number}"

    def _parked_names(self) -> list[str]:
        spans = self._record.parked if self._is_owner else self._read()[0].parked
        return [self._parked_name(epoch, number) for epoch, a, b in spans for number in range(a, b + 1)]

    def parked(self) -> list[KeptChange]:
        mended, seen = self._mended()
        every = [decode_kept(found["kept"].encode()) for found in self.index.get_all(self._parked_names())]
        if self._is_owner:
            found = {kept.id for kept in every if kept.status != "parked"}
            if every and found != mended:  # a former version kept no list; where it moved since, it is another's
                self._keep_mended(found, seen)
        return every

    def parked_count(self) -> int:
        spans = self._record.parked if self._is_owner else self._read()[0].parked
        if not spans:
            return 0
        mended, _ = self._mended()
        if mended is None:
            return sum(kept.status == "parked" for kept in self.parked())
        return sum(last - first + 1 for _, first, last in spans) - len(mended)

    def _mended(self) -> tuple[set[int] | None, tuple[int, int] | None]:
        """The numbers of what is not parked any more, and what they are told by; None where nobody has kept them."""
        found, seen = self.index.get(f"{self._name}:mended")
        if found is None:
            return None, seen
        return {number for first, last in found["spans"] for number in range(first, last + 1)}, seen

    def _keep_mended(self, numbers: Collection[int], seen: tuple[int, int] | None) -> bool:
        spans: list[list[int]] = []
        for number in sorted(numbers):
            if spans and spans[-1][1] + 1 == number:
                spans[-1][1] = number
            else:
                spans.append([number, number])
        return self.index.put(f"{self._name}:mended", {"spans": spans}, seen) is not None

    def close(self) -> None:
        if self._is_owner:
            self._is_owner = False
            with contextlib.suppress(PydbsyncError):  # the lock ends by itself
                self._exchange(msgspec.structs.replace(self._record, owner=""))

    # -- what an operator asks -----------------------------------------------------------------------------------------

    @property
    def lock_lasts_s(self) -> float:
        return self._lock_s

    def open_to_look(self) -> None:
        self._client.open()

    def changed_at(self) -> float | None:
        return None  # a document tells no time

    def peek(self) -> StreamState | None:
        record, _ = self._read()
        return decode_state(record.state.encode()) if record.state else None

    def is_locked(self) -> bool:
        """A crashed owner leaves its name, and owns until it has not been seen to live for as long as a lock lasts."""
        record, seen = self._read()
        ends_at = time.monotonic() + self._lock_s
        while record.owner and abs(time.time() - record.at) >= self._lock_s:
            # Long ago by its clock, which another machine may have wrong: only what does not move is nobody's.
            is_of_this_host = record.owner.rpartition(" ")[0].endswith(f" on {socket.gethostname()}")
            if is_of_this_host or time.monotonic() >= ends_at:
                return False
            time.sleep(min(_LOOK_S, self._lock_s))
            record, now = self._read()
            if now != seen:
                break
        return record.owner != ""

    def amend(self, kept: KeptChange) -> None:
        for name in self._parked_names():
            if name.endswith(f":{kept.id}"):
                self.index.put_all([(name, _document(kept))])
        while True:
            mended, seen = self._mended()
            if mended is None or (kept.id in mended) == (kept.status != "parked"):
                return
            if self._keep_mended(mended ^ {kept.id}, seen):
                return

    def pauses(self) -> list[KeptPause]:
        found, _ = self.index.get(f"{self._name}:pauses")
        return decode_pauses(found["pauses"].encode()) if found is not None else []

    def pause(self, pauses: Sequence[KeptPause]) -> None:
        self.index.make()
        self.index.put_all([(f"{self._name}:pauses", {"pauses": encode(pauses).decode()})])

    # -- what a worker tells of itself ---------------------------------------------------------------------------------

    def note(self, name: str, text: bytes) -> None:
        self.index.put_all([(f"{self._name}:note:{name}", {"text": text.decode()})])

    def notes(self, names: Sequence[str]) -> list[bytes | None]:
        found = self.index.get_known([f"{self._name}:note:{name}" for name in names])
        return [None if each is None else str(each["text"]).encode() for each in found]


def _document(kept: KeptChange) -> dict[str, object]:
    return {"kept": encode(kept).decode(), "number": kept.id}


def _with_span(spans: Sequence[list[int]], span: list[int]) -> list[list[int]]:
    """The spans with one more at the end, joined with the last where they belong together."""
    if spans and spans[-1][0] == span[0] and spans[-1][2] + 1 == span[1]:
        return [*spans[:-1], [span[0], spans[-1][1], span[2]]]
    return [*spans, span]
