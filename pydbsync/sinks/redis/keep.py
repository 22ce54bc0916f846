"""The state of a stream in Redis itself, beside its rows: what Redis loses of one, it loses of the other."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Sequence

from pydbsync.config.sinks import RedisSettings
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
from pydbsync.sinks.redis import scripts
from pydbsync.sinks.redis.client import RedisClient, ScriptCall, tag, translated
from pydbsync.work import ParkedChange, StreamState


class StreamKeys:
    """Where the state of a stream is: in one slot of a cluster."""

    def __init__(self, prefix: str, stream: str) -> None:
        own = f"{prefix}{tag(stream)}"
        self.state = f"{own}:state"
        self.lock = f"{own}:lock"
        self.parked = f"{own}:parked"
        self.pauses = f"{own}:pauses"
        self.notes = f"{own}:notes"
        self.generations = f"{prefix}generations"
        """How often each stream has begun anew."""


class RedisKeep:
    """Keeps the state by scripts that know their owner: its epoch, and the commit before."""

    def __init__(self, settings: RedisSettings, client: RedisClient, *, stream: str, lock_s: float) -> None:
        self._client = client
        self._stream = stream
        self._keys = StreamKeys(settings.prefix, stream)
        self._lock_ms = max(1000, round(lock_s * 1000))
        self._owner = f"process {os.getpid()} on {socket.gethostname()} {uuid.uuid4().hex}"
        self._epoch = 0
        self._commits = ""
        self._generation: int | None = None
        self._next_id = 1
        self._alive_at = 0.0
        self._is_owner = False

    def open(self) -> None:
        """The writer opens the connection that both use."""

    def lock(self) -> bool:
        with translated():
            redis = self._client.any
            is_set = redis.set(self._keys.lock, self._owner, nx=True, px=self._lock_ms)
            self._is_owner = bool(is_set) or _text(redis.get(self._keys.lock)) == self._owner
        return self._is_owner

    def holder(self) -> str:
        with translated():
            found = _text(self._client.any.get(self._keys.lock))
        return found.rpartition(" ")[0] or "another worker"

    def is_ours(self) -> bool:
        if not self._is_owner:
            return False
        try:
            self._renew()
        except (CheckpointConflict, KeepWentBack):
            return False
        return True

    def take_over(self) -> StreamState:
        keys = self._keys
        answer = self._client.call(ScriptCall(scripts.TAKE_OVER, (keys.state, keys.lock), (self._owner,)))
        if answer is None:
            raise KeepWentBack("the lock was lost while it was taken")
        self._epoch, self._commits = int(answer[0]), _text(answer[1])
        state = decode_state(answer[2]) if answer[2] else StreamState(Checkpoint(), generation=self.new_generation())
        state.epoch = self._epoch
        self._generation = None
        self._next_id = self._count() + 1
        self._alive_at = time.monotonic()
        return state

    def _count(self) -> int:
        """Keep how many are parked, as a former version did not; the last number that was given."""
        keys = self._keys
        while True:
            with translated():
                before = self._client.any.hget(keys.state, "parked_now")
            every = self.parked()
            now = sum(kept.status == "parked" for kept in every)
            call = ScriptCall(scripts.COUNT, (keys.state,), (before or b"", now))
            if self._client.call(call):  # else an operator has amended one meanwhile
                return max((kept.id for kept in every), default=0)

    def new_generation(self) -> int:
        """A stream that nobody knows begins behind all that were: what they have left in a key does not refuse it."""
        with translated():
            found = self._client.any.hgetall(self._keys.generations)
        own = found.get(self._stream.encode())
        return int(own) + 1 if own is not None else max(map(int, found.values()), default=-1) + 1

    def commit(self, state: StreamState, parked: Sequence[ParkedChange]) -> list[int]:
        keys = self._keys
        if state.generation != self._generation:
            with translated():
                self._client.any.hset(keys.generations, self._stream, str(state.generation))
            self._generation = state.generation
        ids = list(range(self._next_id, self._next_id + len(parked)))
        lines = [
            (
                str(number),
                encode(KeptChange(number, behind_ids(each, ids), "parked", state.generation, time.time())),
            )
            for number, each in zip(ids, parked, strict=True)
        ]
        answer = self._client.call(
            ScriptCall(
                scripts.COMMIT,
                (keys.state, keys.lock, keys.parked),
                (
                    self._owner, self._epoch, self._commits, state.commits, encode(state), self._lock_ms,
                    self._client.run_ids.get("", ""), *(each for line in lines for each in line),
                ),
            )
        )  # fmt: skip
        self._judge(_text(answer))
        self._commits = str(state.commits)
        self._next_id += len(parked)
        self._alive_at = time.monotonic()
        return ids

    def keep_alive(self) -> None:
        if time.monotonic() - self._alive_at > self._lock_ms / 3000:
            self._renew()

    def _renew(self) -> None:
        keys = self._keys
        call = ScriptCall(
            scripts.KEEP_ALIVE, (keys.state, keys.lock), (self._owner, self._epoch, self._commits, self._lock_ms)
        )  # fmt: skip
        self._judge(_text(self._client.call(call)))
        self._alive_at = time.monotonic()

    def _judge(self, answer: str) -> None:
        if answer == "conflict":
            raise CheckpointConflict(
                f"another worker has taken over {self._stream!r}; what was not committed is given back to the queue"
            )
        if answer == "back":
            raise KeepWentBack("Redis lacks what was committed, or was started anew")

    def parked(self) -> list[KeptChange]:
        with translated():
            found = self._client.any.hgetall(self._keys.parked)
        return [decode_kept(text) for _, text in sorted(found.items(), key=lambda each: int(each[0]))]

    def parked_count(self) -> int:
        with translated():
            found = self._client.any.hget(self._keys.state, "parked_now")
        if found is None:  # a stream of a former version, which nobody has followed since
            return sum(kept.status == "parked" for kept in self.parked())
        return int(found)

    def close(self) -> None:
        if self._is_owner:
            self._is_owner = False
            with contextlib.suppress(PydbsyncError):  # the lock ends by itself
                self._client.call(ScriptCall(scripts.RELEASE, (self._keys.lock,), (self._owner,)))

    # -- what an operator asks ---------------------------------------------------------------------------------------

    @property
    def lock_lasts_s(self) -> float:
        return self._lock_ms / 1000

    def open_to_look(self) -> None:
        self._client.open()

    def changed_at(self) -> float | None:
        return None  # Redis tells no time of a key

    def peek(self) -> StreamState | None:
        with translated():
            found = self._client.any.hget(self._keys.state, "state")
        return decode_state(found) if found else None

    def is_locked(self) -> bool:
        with translated():
            return self._client.any.get(self._keys.lock) is not None

    def amend(self, kept: KeptChange) -> None:
        keys = self._keys
        call = ScriptCall(
            scripts.AMEND, (keys.state, keys.parked), (str(kept.id), encode(kept), int(kept.status == "parked"))
        )  # fmt: skip
        self._client.call(call)

    def pauses(self) -> list[KeptPause]:
        with translated():
            found = self._client.any.get(self._keys.pauses)
        return decode_pauses(found) if found else []

    def pause(self, pauses: Sequence[KeptPause]) -> None:
        with translated():
            if pauses:
                self._client.any.set(self._keys.pauses, encode(pauses))
            else:
                self._client.any.delete(self._keys.pauses)

    # -- what a worker tells of itself -------------------------------------------------------------------------------

    def note(self, name: str, text: bytes) -> None:
        with translated():
            self._client.any.hset(self._keys.notes, name, text)

    def notes(self, names: Sequence[str]) -> list[bytes | None]:
        with translated():
            found: list[bytes | None] = self._client.any.hmget(self._keys.notes, list(names))
        return found


def _text(value: object) -> str:
    return "" if value is None else value.decode("utf-8") if isinstance(value, bytes) else str(value)
