"""Keeps the state of one stream in a folder of its own, for sinks that have no better place."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from pydbsync.errors import ConfigError, TransientError
from pydbsync.places import Checkpoint
from pydbsync.sinks.keep import KeptChange, behind_ids, decode_kept, encode_kept
from pydbsync.work import ParkedChange, StreamState


class _Document(msgspec.Struct):
    state: StreamState
    parked_bytes: int = 0
    """So much of the file `parked.ndjson` belongs to this state."""
    parked_count: int = 0


_decode = msgspec.json.Decoder(_Document).decode


class FolderKeep:
    """`state.json` is exchanged whole; `parked.ndjson` only grows; who holds `lock` owns the stream, and loses it with
    his process. Not for folders that several machines share."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock: int | None = None
        self._document = _Document(StreamState(Checkpoint()))

    def open(self) -> None:
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ConfigError(f"{str(self._folder)!r} cannot be made: {exc.strerror}", key="sink.state") from exc

    def lock(self) -> bool:
        with _transient():
            fd = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                return False
            os.truncate(fd, 0)
            os.write(fd, f"process {os.getpid()} on {socket.gethostname()}".encode())
        self._lock = fd
        return True

    def holder(self) -> str:
        try:
            return (self._folder / "lock").read_text(encoding="utf-8") or "another worker"
        except OSError:
            return "another worker"

    def is_ours(self) -> bool:
        return self._lock is not None

    def take_over(self) -> StreamState:
        path = self._folder / "state.json"
        with _transient():
            if path.exists():
                try:
                    self._document = _decode(path.read_bytes())
                except msgspec.MsgspecError as exc:
                    raise ConfigError(f"{path} is damaged ({exc}): restore it, or remove its folder") from exc
        self._document.state.epoch += 1
        self._write(self._document)
        return msgspec.structs.replace(self._document.state)

    def commit(self, state: StreamState, parked: Sequence[ParkedChange]) -> list[int]:
        document = self._document
        first = document.parked_count + 1
        ids = list(range(first, first + len(parked)))
        size = document.parked_bytes
        if parked:
            resolved = [behind_ids(each, ids) for each in parked]
            lines = b"".join(
                encode_kept(KeptChange(number, each)) + b"\n" for number, each in zip(ids, resolved, strict=True)
            )
            with _transient(), (self._folder / "parked.ndjson").open("ab") as file:
                file.truncate(size)  # what a crash left behind the state
                file.write(lines)
                file.flush()
                os.fsync(file.fileno())
            size += len(lines)
        document = _Document(state, size, document.parked_count + len(parked))
        self._write(document)
        self._document = document
        return ids

    def keep_alive(self) -> None:
        """The lock lives as long as the process."""

    def parked(self) -> list[KeptChange]:
        path = self._folder / "parked.ndjson"
        with _transient():
            data = path.read_bytes()[: self._document.parked_bytes] if path.exists() else b""
            skipped = self._folder / "skipped"
            left_out = set(map(int, skipped.read_text(encoding="ascii").split())) if skipped.exists() else set()
        found = [decode_kept(line) for line in data.splitlines()]
        return [msgspec.structs.replace(each, status="skipped") if each.id in left_out else each for each in found]

    def parked_count(self) -> int:
        return sum(kept.status == "parked" for kept in self.parked())

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _write(self, document: _Document) -> None:
        partial = self._folder / "state.json.partial"
        with _transient():
            with partial.open("wb") as file:
                file.write(msgspec.json.encode(document))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(self._folder / "state.json")
            folder = os.open(self._folder, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


@contextmanager
def _transient() -> Iterator[None]:
    """A disk that is full, or away, is waited for."""
    try:
        yield
    except OSError as exc:
        raise TransientError(f"the state cannot be kept: {exc}") from exc
